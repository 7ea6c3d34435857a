"""The synthetic patient reads without a warning and as its truth says; each wrong case meets its finding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fixtures.patient import PatientSpec, write_patient
from fixtures.variants import FLAWS, Variant
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.findings import Level
from psdt_planner.images import Kind
from psdt_planner.lesions import MaskKind, Side

READING = [variant for variant in Variant if FLAWS[variant].finding and not FLAWS[variant].mapped]
"""Wrong cases that reading can notice; the others show once the lesions are mapped."""


def inputs(folder: Path) -> list[Path]:
    """All that is DICOM: the truth is no input."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Intake]:
    folder = tmp_path_factory.mktemp("patient") / "small"
    write_patient(PatientSpec(seed=1, size="small"), folder)
    return folder, read_inputs(inputs(folder))


def test_there_is_nothing_to_remark(patient: tuple[Path, Intake]) -> None:
    codes = {one.code for one in patient[1].exam.findings}
    assert codes == {"protocol-unstated"}, "its headers are as short as they may be"


def test_every_series_is_what_it_is(patient: tuple[Path, Intake]) -> None:
    exam = patient[1].exam
    found = sorted((str(v.quantity.kind), v.quantity.b_value_s_per_mm2 or 0, v.quantity.unit) for v in exam.mr)
    assert found == [
        ("adc", 0, "mm2/s"),
        ("dixon-fat", 0, "1"),
        ("dixon-in", 0, "1"),
        ("dwi-trace", 50, "1"),
        ("dwi-trace", 900, "1"),
    ]
    (adc,) = exam.of_kind(Kind.ADC)
    body = adc.array[adc.array > 0]
    assert 3e-4 < float(np.median(body)) < 3e-3


def test_flags_are_the_lesions_of_the_truth(patient: tuple[Path, Intake]) -> None:
    folder, intake = patient
    truth = {one["tracking_uid"]: one for one in json.loads((folder / "truth.json").read_text())["lesions"]}
    assert {flag.tracking_uid for flag in intake.exam.flags} == set(truth)
    for flag in intake.exam.flags:
        lesion = truth[flag.tracking_uid]
        assert (flag.label, flag.site, flag.site_source) == (lesion["label"], lesion["site"], "code")
        assert flag.side is Side(lesion["side"])
        assert np.linalg.norm(flag.centroid_mm - lesion["centre_dwi_mm"]) < 2.5


def test_frames_and_organs_are_those_of_the_truth(patient: tuple[Path, Intake]) -> None:
    folder, intake = patient
    truth = json.loads((folder / "truth.json").read_text())
    exam = intake.exam
    assert exam.planning_ct is not None
    assert exam.planning_ct.grid.frame == truth["ct_frame"]
    assert {volume.grid.frame for volume in exam.mr} == {truth["mr_frame"]}
    assert all(organ.contours for organ in exam.organs)
    assert len(exam.organs) >= 5


def test_a_feet_first_patient_with_fractional_flags_reads_as_well(tmp_path: Path) -> None:
    spec = PatientSpec(seed=2, region="thorax", size="tiny", ct_position="FFS", mr_position="FFS", fractional=True)
    write_patient(spec, tmp_path / "patient")
    exam = read_inputs(inputs(tmp_path / "patient")).exam
    assert {one.code for one in exam.findings} == {"protocol-slices", "protocol-unstated"}, (
        "the tiny patient's slices are of 12 mm"
    )
    assert exam.planning_ct is not None
    assert {flag.mask_kind for flag in exam.flags} == {MaskKind.OCCUPANCY}
    truth = {
        one["tracking_uid"]: one for one in json.loads((tmp_path / "patient" / "truth.json").read_text())["lesions"]
    }
    for flag in exam.flags:
        assert np.linalg.norm(flag.centroid_mm - truth[flag.tracking_uid]["centre_dwi_mm"]) < 3.0


@pytest.mark.parametrize("variant", READING)
def test_each_wrong_case_meets_its_finding(tmp_path: Path, variant: Variant) -> None:
    write_patient(PatientSpec(seed=1, size="tiny", variant=variant), tmp_path / "patient")
    exam = read_inputs(inputs(tmp_path / "patient")).exam
    held = {finding.code for finding in exam.findings if finding.level is Level.HOLD}
    assert FLAWS[variant].finding in held
    if variant.name.startswith(("MISSING", "TWO", "CT", "GANTRY")):
        assert exam.planning_ct is None
        assert {code for code in held if not code.startswith("ct-")} == set()
