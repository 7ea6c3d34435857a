"""A patient irradiated before, on a CT of another posture: planned once, and held against the formula of his dose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.earlier import DAYS_BEFORE, FRACTIONS, HALF_DOSE_MM, PRESCRIBED_GY, Earlier
from fixtures.patient import Patient, PatientSpec, make_patient, write_patient
from psdt_planner.dossier import Dossier, load_protocol, make_dossier
from psdt_planner.fractionation import EARLIER_NOT_EVALUATED
from psdt_planner.reirradiation import PlacedCourse
from tests.end_to_end.conftest import CREATED

SPEC = PatientSpec(seed=4, region="pelvis", size="small", lesions=2, earlier=Earlier.OWN_CT)

STEEPEST_GY_PER_MM = 54.0 * np.sqrt(2.0 * np.log(2.0) / np.e) / HALF_DOSE_MM
"""Of a dose that halves at `HALF_DOSE_MM` as a Gaussian does."""


@dataclass(frozen=True)
class Irradiated:
    out: Path
    dossier: Dossier
    patient: Patient
    truth: dict[str, Any]

    @property
    def plan(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "plan.json").read_text(encoding="utf-8")))

    @property
    def course(self) -> PlacedCourse:
        (course,) = self.dossier.plan.earlier.courses
        return course

    def true_gy(self, places_ct_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The dose by its formula, at the place where that tissue lay on the earlier CT."""
        then = self.patient.earlier
        assert then is not None
        in_mr = self.patient.deformation.points(places_ct_mm)
        return np.asarray(then.field.gy(then.motion.ct_from_mr(in_mr)))


@pytest.fixture(scope="module")
def irradiated(tmp_path_factory: pytest.TempPathFactory) -> Irradiated:
    folder = tmp_path_factory.mktemp("irradiated")
    truth = write_patient(SPEC, folder / "patient").record
    dossier = make_dossier([folder / "patient"], folder / "plan", protocol=load_protocol(None), created=CREATED)
    return Irradiated(folder / "plan", dossier, make_patient(SPEC), truth)


def test_the_earlier_dose_lies_where_its_tissue_lies_now(irradiated: Irradiated) -> None:
    told = irradiated.truth["earlier"]
    (course,) = irradiated.plan["earlier_radiotherapy"]["courses"]
    assert (course["source"], course["frame_of_reference_uid"]) == ("computed", told["frame"])
    assert (course["prescription_gy"], course["fractions"]) == (PRESCRIBED_GY, FRACTIONS)
    assert course["months_before_at_most"] == pytest.approx((DAYS_BEFORE - 1.4 * FRACTIONS) / 30.4375, abs=0.1)
    ct_from_dose = np.array(course["ct_from_dose"])
    placed = ct_from_dose[:3, :3] @ told["centre_mm"] + ct_from_dose[:3, 3]
    error_mm = np.linalg.norm(placed - told["centre_ct_mm"])
    assert error_mm <= course["uncertainty_mm"]
    assert error_mm < 2.0


def test_the_dose_at_places_is_that_of_its_formula(irradiated: Irradiated) -> None:
    """In the PTVs: within what a dose changes in the bound on its place, which is all that may be wrong."""
    ct = irradiated.dossier.plan.exam.planning_ct
    assert ct is not None
    for lesion in irradiated.dossier.plan.lesions:
        found = lesion.earlier
        assert found is not None
        rings = next(roi for roi in lesion.rois if roi.kind.value == "PTV").contours
        places = np.concatenate([ring.points_mm[::8] for ring in rings])
        true = irradiated.true_gy(places)
        error_gy = np.abs(irradiated.course.dose_gy(places) - true)
        assert error_gy.max() <= STEEPEST_GY_PER_MM * irradiated.course.uncertainty_mm
        assert true.max() - STEEPEST_GY_PER_MM * 2.0 <= found.max_gy <= 1.01 * irradiated.truth["earlier"]["maximum_gy"]


def test_what_lies_near_the_earlier_volume_gets_no_dose_and_the_rest_does(irradiated: Irradiated) -> None:
    """By the formula: half of the prescription lies `radius` from the middle of the earlier target."""
    radius_mm = HALF_DOSE_MM * np.sqrt(np.log2(irradiated.truth["earlier"]["maximum_gy"] / (0.5 * PRESCRIBED_GY)))
    middle = np.array(irradiated.truth["earlier"]["centre_ct_mm"])
    seen = set()
    for lesion in irradiated.plan["lesions"]:
        away_mm = np.linalg.norm(np.array(lesion["centroid_ct_mm"]) - middle) - radius_mm
        (one,) = lesion["earlier_radiotherapy"]["nearness"]
        assert one["isodose_gy"] == 0.5 * PRESCRIBED_GY
        seen.add(one["near"])
        if one["near"]:
            assert lesion["proposal"] is None
            assert lesion["abstention"][0].startswith(f"{lesion['id']} overlaps what got 25 Gy in earlier course C1")
            assert away_mm < 0.0
            assert lesion["rois"]["ptv"]
        else:
            cautions = lesion["proposal"]["cautions"]
            assert any(one.startswith("Earlier radiotherapy: C1 gave 25 Gy") for one in cautions)
            assert EARLIER_NOT_EVALUATED not in cautions
            assert one["distance_mm"] < away_mm
            assert one["distance_mm"] > 20.0
    assert seen == {True, False}
    assert irradiated.plan["status"] == "proposed"


def test_no_dose_stands_in_the_structure_set_of_a_target_without_one(irradiated: Irradiated) -> None:
    near = next(one for one in irradiated.dossier.plan.lesions if one.earlier and one.earlier.near)
    assert all(" Gy in " not in roi.description for roi in near.rois)


def test_the_canal_by_the_formula(irradiated: Irradiated) -> None:
    (canal,) = [one for one in irradiated.plan["earlier_radiotherapy"]["organs"] if one["organ"] == "SpinalCanal"]
    region = irradiated.dossier.plan.earlier.contoured["SpinalCanal"]
    dose = irradiated.course.dose_gy(region.points_mm)
    assert canal["max_gy"] == pytest.approx(np.nanmax(dose), abs=0.01)
    hottest = region.points_mm[np.argsort(-np.nan_to_num(dose))[:200:10]]
    true = irradiated.true_gy(hottest)
    assert canal["max_gy"] == pytest.approx(true.max(), abs=2.0 * STEEPEST_GY_PER_MM)
    assert canal["limit"]["eqd2_gy"] == 70.0
    assert canal["figure_eqd2_gy"] == canal["max_eqd2_gy"]["2"]
    assert canal["left_eqd2_gy"] == pytest.approx(min(25.0, 70.0 - canal["figure_eqd2_gy"]), abs=0.02)


def test_the_figures_stand_in_report_pdf_and_manifest(irradiated: Irradiated) -> None:
    report = (irradiated.out / "report.html").read_text(encoding="utf-8")
    assert "Earlier radiotherapy" in report
    assert "Recovery is off" in report
    assert "50 Gy in 25" in report
    manifest = json.loads((irradiated.out / "manifest.json").read_text(encoding="utf-8"))
    joined = {one["of"]: (one["target"], one["source"]) for one in manifest["transforms"]}
    frames = (irradiated.truth["ct_frame"], irradiated.truth["earlier"]["frame"])
    assert joined["earlier course C1"] == frames
