"""Earlier courses among the inputs: dose and plan together, every mistake of unit refused, the planning CT told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import FileDataset

from psdt_planner.dicom.files import Header, quiet, read_headers
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.rtplan_in import read_plan
from psdt_planner.findings import Level
from psdt_planner.images import Kind
from tests.dicom_in.objects import ct_images, uid, write
from tests.dicom_in.packs import pack
from tests.earlier.objects import rt_dose, rt_plan

OLDER_FRAME = "1.2.3.900"


def intake(folder: Path, *objects: FileDataset | Sequence[FileDataset]) -> Intake:
    return read_inputs([write(folder, ct_images(), *objects)])


def about_courses(found: Intake) -> dict[str, Level]:
    return {one.code: one.level for one in found.exam.findings if one.code.startswith("earlier-")}


def message(found: Intake, code: str) -> str:
    (text,) = [one.message for one in found.exam.findings if one.code == code]
    return text


def test_a_dose_with_its_plan_is_a_course(tmp_path: Path) -> None:
    found = intake(tmp_path, rt_dose(), rt_plan())
    (one,) = found.exam.courses
    assert about_courses(found) == {}
    assert (one.id, one.dose_uid, one.plan_uids) == ("C1", uid("dose", 0), (uid("rtplan", 0),))
    assert (one.fractions, one.prescription_gy, one.days_before) == (25, 50.0, 731)
    assert float(one.dose.array.max()) == pytest.approx(54.0)
    assert not one.several_plans


def test_the_lowest_prescription_is_the_hundred_percent_of_an_isodose(tmp_path: Path) -> None:
    found = intake(tmp_path, rt_dose(), rt_plan(targets_gy=(50.0, 45.0)))
    assert found.exam.courses[0].prescription_gy == 45.0


@pytest.mark.parametrize("gy", [2.0, 1.0])
def test_without_a_prescription_the_beams_tell(tmp_path: Path, gy: float) -> None:
    found = intake(tmp_path, rt_dose(), rt_plan(targets_gy=(), beams_gy=(gy, 2.0 - gy) if gy < 2.0 else (gy,)))
    assert found.exam.courses[0].prescription_gy == 50.0


MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "the dose in cGy": ({"scaling": 1.0}, {}, "earlier-dose-unit"),
    "a small dose in cGy": ({"scaling": 0.015}, {"targets_gy": (0.8,), "fractions": (1,)}, "earlier-dose-unit"),
    "the plan in cGy": ({}, {"targets_gy": (5000.0,)}, "earlier-prescription-unlikely"),
    "the dose of one fraction": ({"scaling": 0.01 / 25}, {}, "earlier-dose-per-fraction"),
    "the dose of one of three": (
        {"scaling": 0.01 / 3},
        {"targets_gy": (50.0,), "fractions": (3,)},
        "earlier-dose-per-fraction",
    ),
    "the prescription of one fraction": ({}, {"targets_gy": (2.0,)}, "earlier-prescription-unlikely"),
    "another plan's dose": ({"scaling": 0.005}, {}, "earlier-dose-unlike-plan"),
    "a prescription far below the dose": ({}, {"targets_gy": (20.0,)}, "earlier-dose-unlike-plan"),
    "beams and target at odds": ({}, {"beams_gy": (4.5,)}, "earlier-prescription-unlikely"),
    "no prescription": ({}, {"targets_gy": ()}, "earlier-prescription-missing"),
    "no fractions": ({}, {"fractions": (None,)}, "earlier-fractions-missing"),
    "no fraction group": ({}, {"fractions": ()}, "earlier-fractions-missing"),
    "fractions of one group only": ({}, {"fractions": (20, None)}, "earlier-fractions-missing"),
    "sixty-one fractions": ({}, {"fractions": (61,)}, "earlier-fractions-missing"),
    "another plan": ({"plans": ("elsewhere",)}, {}, "earlier-fractions-missing"),
    "no plan named": ({"plans": ()}, {}, "earlier-fractions-missing"),
    "a plan of the day of the planning CT": ({}, {"RTPlanDate": "20260101"}, "earlier-dose-not-earlier"),
    "a plan after the planning CT": ({}, {"RTPlanDate": "20260109"}, "earlier-dose-not-earlier"),
    "a relative dose": ({"DoseUnits": "RELATIVE"}, {}, "earlier-dose-relative"),
    "the dose of a beam": ({"DoseSummationType": "BEAM"}, {}, "earlier-dose-summation"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_holds_the_case_and_gives_no_course(tmp_path: Path, mistake: str) -> None:
    of_dose, of_plan, code = MISTAKES[mistake]
    found = intake(tmp_path, rt_dose(**of_dose), rt_plan(**of_plan))
    assert found.exam.courses == ()
    assert about_courses(found)[code] is Level.HOLD


@pytest.mark.parametrize(("over", "held"), [(0.89, True), (0.91, False), (2.19, False), (2.21, True)])
def test_both_sides_of_what_a_maximum_may_be_of_its_prescription(tmp_path: Path, over: float, held: bool) -> None:
    found = intake(tmp_path, rt_dose(), rt_plan(targets_gy=(54.0 / over,)))
    assert (len(found.exam.courses) == 0) is held


def test_words_of_a_mistake_say_both_figures(tmp_path: Path) -> None:
    found = intake(tmp_path, rt_dose(scaling=1.0), rt_plan())
    text = message(found, "earlier-dose-unit")
    assert "reaches 5400 Gy, the plan prescribes 50 Gy in 25: one of the two seems to be in cGy" in text


def test_a_dose_of_several_plans_counts_with_the_fewest_fractions(tmp_path: Path) -> None:
    """Every EQD2 is then an upper bound: of one dose, fewer fractions do more."""
    first, boost = (
        rt_plan("first", targets_gy=(40.0,), fractions=(20,)),
        rt_plan("boost", targets_gy=(12.0,), fractions=(2,)),
    )
    found = intake(tmp_path, rt_dose(plans=("first", "boost"), DoseSummationType="MULTI_PLAN"), first, boost)
    (one,) = found.exam.courses
    assert (one.fractions, one.prescription_gy, one.several_plans) == (2, 12.0, True)


def test_a_dose_of_several_plans_of_which_one_is_missing_is_held(tmp_path: Path) -> None:
    dose = rt_dose(plans=("first", "boost"), DoseSummationType="MULTI_PLAN")
    found = intake(tmp_path, dose, rt_plan("first"))
    assert about_courses(found) == {"earlier-fractions-missing": Level.HOLD}


def test_the_dose_of_a_beam_beside_the_whole_is_left_out(tmp_path: Path) -> None:
    beam = rt_dose(name="beam", DoseSummationType="BEAM")
    found = intake(tmp_path, rt_dose(), beam, rt_plan())
    assert len(found.exam.courses) == 1
    assert about_courses(found) == {"earlier-dose-part": Level.INFO}


def test_two_doses_of_one_plan_are_held(tmp_path: Path) -> None:
    found = intake(tmp_path, rt_dose(), rt_dose(name="again"), rt_plan())
    assert about_courses(found) == {"earlier-dose-twice": Level.HOLD}


def test_a_plan_without_its_dose_is_held(tmp_path: Path) -> None:
    found = intake(tmp_path, rt_plan())
    assert about_courses(found) == {"earlier-plan-without-dose": Level.HOLD}


def test_a_plan_of_psdt_itself_is_no_earlier_course(tmp_path: Path) -> None:
    found = intake(tmp_path, rt_plan(Manufacturer="psdt"))
    assert about_courses(found) == {"earlier-plan-own": Level.WARN}


@pytest.mark.parametrize(
    ("status", "said"), [("APPROVED", False), ("UNAPPROVED", True), ("REJECTED", True), (None, True)]
)
def test_a_plan_that_nobody_approved_may_not_have_been_given(tmp_path: Path, status: str | None, said: bool) -> None:
    found = intake(tmp_path, rt_dose(), rt_plan(ApprovalStatus=status))
    assert len(found.exam.courses) == 1
    assert ("earlier-plan-unapproved" in about_courses(found)) is said


@pytest.mark.parametrize("text", [None, "", "20240230"])
def test_a_course_without_a_date_has_no_interval(tmp_path: Path, text: str | None) -> None:
    found = intake(tmp_path, rt_dose(), rt_plan(RTPlanDate=text))
    assert found.exam.courses[0].days_before is None
    assert about_courses(found) == {"earlier-dose-undated": Level.WARN}


def test_a_plan_that_cannot_be_decoded_is_held(tmp_path: Path) -> None:
    with quiet():
        plan = rt_plan(targets_gy=(float("inf"),))
        found = intake(tmp_path, rt_dose(), plan)
    assert about_courses(found)["earlier-plan-unreadable"] is Level.HOLD


# Which CT is the planning CT ------------------------------------------------------------------------------------------


def older_ct(**attributes: Any) -> list[FileDataset]:
    return ct_images("older", **{"FrameOfReferenceUID": OLDER_FRAME, "StudyDate": "20240101", **attributes})


def test_the_ct_that_an_earlier_dose_stands_on_is_not_the_planning_ct(tmp_path: Path) -> None:
    found = intake(tmp_path, older_ct(), rt_dose(FrameOfReferenceUID=OLDER_FRAME), rt_plan())
    assert "ct-ambiguous" not in {one.code for one in found.exam.findings}
    assert found.exam.planning_ct is not None
    assert found.exam.planning_ct.series_uid == uid("ct")
    (earlier,) = found.exam.earlier_cts
    assert (earlier.series_uid, earlier.quantity.unit) == (uid("older"), "HU")
    assert all(volume.quantity.kind is not Kind.CT for volume in found.exam.mr)


@pytest.mark.parametrize(
    ("older", "dose"),
    [
        ({}, {"FrameOfReferenceUID": "1.2.3.901"}),
        ({"StudyDate": "20260102"}, {"FrameOfReferenceUID": OLDER_FRAME}),
        ({"StudyDate": ""}, {"FrameOfReferenceUID": OLDER_FRAME}),
        ({"FrameOfReferenceUID": "1.2.3.100"}, {"FrameOfReferenceUID": "1.2.3.100"}),
    ],
    ids=["a dose of neither", "newer than the planning CT", "without a day", "both in the dose's frame"],
)
def test_two_cts_that_nothing_tells_apart_are_held(tmp_path: Path, older: dict[str, Any], dose: dict[str, Any]) -> None:
    found = intake(tmp_path, older_ct(**older), rt_dose(**dose), rt_plan())
    assert {one.code: one.level for one in found.exam.findings}["ct-ambiguous"] is Level.HOLD
    assert found.exam.planning_ct is None
    assert found.exam.earlier_cts == ()


def test_what_refers_to_what_is_told(tmp_path: Path) -> None:
    found = intake(tmp_path, rt_dose(), rt_plan())
    told = {(one.from_uid, one.to_uid, one.what) for one in found.references}
    assert (uid("dose", 0), uid("rtplan", 0), "doses plan") in told


# Real plans -----------------------------------------------------------------------------------------------------------


def test_a_real_plan_says_what_it_prescribed() -> None:
    """Its date was taken away with the patient's: 1901 is no day to count an interval from."""
    plan = read_plan(real_plan())
    assert (plan.fractions, plan.targets_gy, plan.approval) == ((7,), (11.3113869239676, 14.0), "UNAPPROVED")
    assert plan.beams_gy == pytest.approx(14.0)


def test_a_dose_of_a_real_plan_is_a_course(tmp_path: Path) -> None:
    plan = real_plan()
    dose = rt_dose(scaling=0.01 * 15.0 / 54.0)
    dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = plan.file.sop_instance_uid
    found = read_inputs([write(tmp_path, ct_images(), dose), plan.path])
    (one,) = found.exam.courses
    assert (one.fractions, one.prescription_gy, one.days_before) == (7, 11.3113869239676, None)
    assert about_courses(found) == {"earlier-plan-unapproved": Level.WARN, "earlier-dose-undated": Level.WARN}


def real_plan() -> Header:
    headers, _ = read_headers([pack("rtss_rtplan_dicompylercore")])
    (plan,) = [one for one in headers if one.dataset.Modality == "RTPLAN"]
    return plan


def test_a_real_plan_alone_is_held() -> None:
    found = read_inputs([pack("rtss_rtplan_dicompylercore")])
    assert about_courses(found) == {"earlier-plan-without-dose": Level.HOLD}
