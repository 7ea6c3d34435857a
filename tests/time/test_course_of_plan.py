"""The prior exam joined to a plan: what progresses gets a target or a named reason, or nothing leaves the house.

No files and no fits: both exams and the CT share a frame here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from psdt_planner.dossier import load_criteria, load_protocol
from psdt_planner.exam import Exam, ImportedRegistration, PriorExam
from psdt_planner.findings import Finding, Level, holds
from psdt_planner.fractionation import Abstention
from psdt_planner.geometry import Rigid
from psdt_planner.history import History, parse_history
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.planning import (
    Course,
    Exclusion,
    LesionStatus,
    Plan,
    PlanStatus,
    compare_exams,
    course_of,
    plan,
)
from psdt_planner.planning.whole import untreated
from psdt_planner.protocol import Protocol
from psdt_planner.registration import RegistrationSource
from psdt_planner.timeline import Fate, ProgressiveBy
from tests.test_planning import CENTRES, CT, codes, ct_volume, exam, sphere

CRITERIA = load_criteria()
OLD = "1.2.5"
QUIET, GROWN, FRESH = CENTRES
FAR = (-25.0, -20.0, 470.0)


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return load_protocol(None)


def before(number: int, centre: tuple[float, float, float], radius_mm: float = 9.0, **parts: object) -> FlaggedLesion:
    flag = replace(sphere(number, centre, radius_mm=radius_mm), id=f"P{number}", tracking_uid=f"1.6.{number}")
    return replace(flag, **parts)


def looked(frame: str = CT) -> Volume:
    """An ADC map, which shows where an exam looked, and which nothing is registered with."""
    grid = replace(ct_volume().grid, frame=frame)
    return Volume(grid, np.full(grid.shape, 1e-3, dtype=np.float32), Quantity(Kind.ADC, "mm2/s"), "1.9.2")


def now() -> tuple[FlaggedLesion, ...]:
    """One as before, one that grew threefold, one that is new; the first two without an identity."""
    flags = (sphere(1, QUIET), sphere(2, GROWN), sphere(3, FRESH))
    return tuple(replace(flag, tracking_uid="") for flag in flags)


def followed(*prior: FlaggedLesion, days: int = 91, **parts: object) -> Exam:
    then = prior or (before(1, QUIET), before(2, GROWN, 9.0 / 3 ** (1 / 3)), before(3, FAR, 6.0))
    given = {"mr": (looked(),), "prior": PriorExam(then, (looked(then[0].grid.frame),), days), **parts}
    return exam(*now(), **given)


def history(*racs: tuple[str, int]) -> History:
    rows = "".join(f'[[rac]]\nlesion = "{lesion}"\nrac = {rac}\n' for lesion, rac in racs)
    return parse_history(f"schema = 1\nreference_date = 2026-01-01\n{rows}", "history.toml", exam_date=date(2026, 1, 1))


def course(of: Exam, protocol: Protocol, told: History | None = None) -> Course:
    return course_of(of.flags, told, CRITERIA, protocol, compared=compare_exams(of, CRITERIA))


def made(of: Exam, protocol: Protocol, *racs: tuple[str, int], exclusions: tuple[Exclusion, ...] = ()) -> Plan:
    told = history(*racs) if racs else None
    return plan(of, protocol, exclusions=exclusions, course=course(of, protocol, told))


def statuses(of: Plan) -> list[LesionStatus]:
    return [lesion.status for lesion in of.lesions]


# What became of each --------------------------------------------------------------------------------------------------


def test_the_fates_of_two_exams_in_one_frame(protocol: Protocol) -> None:
    timeline = course(followed(), protocol).timeline
    assert [(one.fate, one.prior, one.progressive) for one in timeline.lesions] == [
        (Fate.STABLE, ("P1",), False),
        (Fate.GROWING, ("P2",), True),
        (Fate.NEW, (), True),
    ]
    assert [(one.fate, one.prior) for one in timeline.former] == [(Fate.GONE, ("P3",))]
    assert {one.progressive_by for one in timeline.lesions} == {ProgressiveBy.TIME_LINE}


def test_volume_and_adc_stand_beside_the_error_of_measuring_them(protocol: Protocol) -> None:
    quiet, grown, fresh = course(followed(), protocol).timeline.lesions
    for one in (quiet, grown):
        assert one.volume is not None
        assert one.adc is not None
        low, high = one.volume.error_percent
        assert low < 0.0 < high
        assert one.adc.percent == pytest.approx(0.0, abs=0.1)
    assert quiet.volume is not None
    assert grown.volume is not None
    assert (quiet.volume.direction, grown.volume.direction) == (0, 1)
    assert grown.volume.percent == pytest.approx(200.0, rel=0.1)
    assert fresh.volume is None


def test_without_a_prior_there_is_nothing_to_compare(protocol: Protocol) -> None:
    assert compare_exams(exam(), CRITERIA) is None
    assert not course(exam(), protocol).timeline.has_prior


def test_where_this_exam_did_not_look_nothing_is_gone(protocol: Protocol) -> None:
    beyond = before(4, (0.0, 0.0, 700.0))
    told = course(followed(beyond), protocol)
    assert [one.fate for one in told.timeline.former] == [Fate.UNKNOWN]
    assert "lesion-fate-unknown" in {finding.code for finding in told.findings}


def test_where_the_prior_exam_did_not_look_nothing_is_new(protocol: Protocol) -> None:
    """The prior exam's images end below the third lesion, in place and in a frame of their own alike."""
    for flags, parts in (((before(1, QUIET),), {}), (elsewhere()[:1], {"registrations": (joined(),)})):
        frame = flags[0].grid.frame
        whole = looked(frame)
        origins = whole.grid.slice_origins_mm[16:30] - [40.0 if frame == OLD else 0.0, 0.0, 0.0]
        grid = replace(whole.grid, slice_origins_mm=origins, shape=(14, *whole.grid.shape[1:]))
        short = Volume(grid, whole.array[16:30], whole.quantity, whole.series_uid)
        of = exam(*now(), mr=(looked(),), prior=PriorExam(flags, (short,), 91), **parts)
        fates = [one.fate for one in course(of, protocol).timeline.lesions]
        assert (fates[0], fates[2]) == (Fate.STABLE, Fate.UNKNOWN)


# How the two exams are brought together -------------------------------------------------------------------------------


def shift(x_mm: float, target: str = CT, source: str = OLD) -> Rigid:
    matrix = np.eye(4)
    matrix[:3, 3] = (x_mm, 0.0, 0.0)
    return Rigid(matrix, target, source)


def joined() -> ImportedRegistration:
    return ImportedRegistration(shift(40.0), "1.8.7")


def elsewhere(x_mm: float = 40.0) -> tuple[FlaggedLesion, ...]:
    """The prior lesions in a frame of their own, which lies so far to the right."""

    def moved(flag: FlaggedLesion) -> FlaggedLesion:
        grid = flag.grid
        origins = grid.slice_origins_mm - [x_mm, 0.0, 0.0]
        return replace(flag, grid=replace(grid, slice_origins_mm=origins, frame=OLD))

    return tuple(moved(flag) for flag in (before(1, QUIET), before(2, GROWN), before(3, FAR, 6.0)))


def test_a_registration_object_joins_them_and_counts_as_used(protocol: Protocol) -> None:
    of = followed(*elsewhere(), registrations=(joined(),))
    told = course(of, protocol)
    assert told.compared is not None
    assert told.compared.registration.source is RegistrationSource.REG_OBJECT
    assert [one.prior for one in told.timeline.lesions] == [("P1",), ("P2",), ()]
    assert "registration-not-used" not in codes(plan(of, protocol, course=told), Level.INFO)


def test_registration_objects_that_disagree_hold(protocol: Protocol) -> None:
    both = tuple(ImportedRegistration(shift(x_mm), f"1.8.{n}") for n, x_mm in enumerate((40.0, 60.0)))
    told = course(followed(*elsewhere(), registrations=both), protocol)
    (found,) = [one for one in told.findings if one.code == "registration-contradictory"]
    assert found.level is Level.HOLD
    assert "prior exam" in found.message


@pytest.mark.parametrize("several", [False, True])
def test_where_nothing_joins_them_nothing_is_called_new_and_every_flag_stays(protocol: Protocol, several: bool) -> None:
    """In two frames without images; and where the prior's own flags stand in two frames."""
    flags = (*elsewhere(), before(4, FAR)) if several else elsewhere()
    told = course(followed(*flags), protocol)
    assert [one.fate for one in told.timeline.lesions] == [Fate.UNKNOWN] * 3
    assert all(one.progressive for one in told.timeline.lesions)
    assert [one.fate for one in told.timeline.former] == [Fate.UNKNOWN] * len(flags)
    assert ("prior-not-registered", Level.WARN) in {(one.code, one.level) for one in told.findings}


@pytest.mark.parametrize(("days", "held"), [(13, True), (14, False)])
def test_two_exams_within_days_may_be_one(protocol: Protocol, days: int, held: bool) -> None:
    of = followed(days=days)
    told = course(of, protocol, history(("L1", 3)))
    assert ("prior-too-recent" in {one.code for one in told.findings}) is held
    assert (plan(of, protocol, course=told).status is PlanStatus.HELD) is held


# A target, a named reason, or nothing ---------------------------------------------------------------------------------


def test_a_number_alone_leaves_no_flag_untreated(protocol: Protocol) -> None:
    held = made(followed(), protocol)
    assert held.status is PlanStatus.HELD
    assert held.structure_set is None
    assert statuses(held) == [LesionStatus.HELD, LesionStatus.MAPPED, LesionStatus.MAPPED]
    assert codes(held) == {"flag-not-progressive"}
    assert "Give its RAC" in held.lesions[0].reasons[0]
    assert held.lesions[0].mapped is not None  # the reader sees where it would be
    assert held.lesions[0].rois == ()
    assert isinstance(held.lesions[0].proposal, Abstention)


def test_the_readers_word_leaves_it_out_by_name(protocol: Protocol) -> None:
    out = made(followed(), protocol, ("L1", 3))
    assert out.status is PlanStatus.PROPOSED
    assert statuses(out) == [LesionStatus.EXCLUDED, LesionStatus.MAPPED, LesionStatus.MAPPED]
    assert out.exclusions == (Exclusion("L1", "not progressive, RAC 3 in the history", "the reader"),)
    assert out.lesions[0].reasons == ("Excluded by the reader: not progressive, RAC 3 in the history",)
    assert "lesion-excluded" in codes(out, Level.WARN)
    assert out.structure_set is not None
    assert {roi.lesion for roi in out.structure_set.rois} == {"L2", "L3"}


def test_the_readers_word_makes_a_stable_lesion_a_target(protocol: Protocol) -> None:
    out = made(followed(), protocol, ("L1", 4))
    assert out.status is PlanStatus.PROPOSED
    assert statuses(out) == [LesionStatus.MAPPED] * 3


def test_a_persons_exclusion_is_a_named_reason(protocol: Protocol) -> None:
    own = Exclusion("L1", "stable for a year", "A. Reader")
    out = made(followed(), protocol, exclusions=(own,))
    assert out.status is PlanStatus.PROPOSED
    assert out.exclusions == (own,)
    assert "flag-not-progressive" in codes(out, Level.WARN)  # still said


def test_a_persons_own_words_go_before_the_readers_rac(protocol: Protocol) -> None:
    own = Exclusion("L1", "no RT, patient's wish", "A. Reader")
    assert made(followed(), protocol, ("L1", 2), exclusions=(own,)).exclusions == (own,)


def test_a_progressive_lesion_without_a_target_is_never_passed_over(protocol: Protocol) -> None:
    of = followed()
    told = course(of, protocol, history(("L1", 3)))
    done = plan(of, protocol, course=told)
    assert list(untreated(done.lesions, told)) == []
    lost = tuple(replace(lesion, rois=()) for lesion in done.lesions)
    found = list(untreated(lost, told))
    assert [(one.code, one.level, one.lesion) for one in found] == [
        ("progressive-untreated", Level.HOLD, "L2"),
        ("progressive-untreated", Level.HOLD, "L3"),
    ]


def test_a_case_that_cannot_be_mapped_says_of_each_lesion_what_time_says(protocol: Protocol) -> None:
    of = replace(followed(), planning_ct=None, findings=(Finding("ct-absent", Level.HOLD, "no CT"),))
    held = made(of, protocol)
    assert codes(held) == {"ct-absent", "flag-not-progressive"}


def test_a_lesion_that_is_gone_may_have_its_rac_and_one_that_progresses_must_be_flagged(protocol: Protocol) -> None:
    gone = course(followed(), protocol, history(("P3", 1)))
    (former,) = gone.timeline.former
    assert former.reading is not None
    assert (former.reading.rac, former.progressive_by) == (1, ProgressiveBy.READER)
    assert "rac-lesion-unknown" not in {one.code for one in gone.findings}
    missed = course(followed(), protocol, history(("P3", 5)))
    assert ("rac-lesion-unknown", Level.HOLD) in {(one.code, one.level) for one in missed.findings}


def test_what_the_label_of_the_prior_exam_said_is_of_then(protocol: Protocol) -> None:
    of = followed(before(1, QUIET, label="left ilium RAC 5"), before(3, FAR, label="right rib RAC 5"))
    timeline = course(of, protocol).timeline
    assert [one.reading for one in (*timeline.lesions, *timeline.former)] == [None] * 4


# Identity and number --------------------------------------------------------------------------------------------------


def test_the_tracking_uid_of_the_prior_exam_is_carried_into_the_structure_set(protocol: Protocol) -> None:
    out = made(followed(), protocol, ("L1", 3))
    assert out.course is not None
    assert [one.tracking_uid for one in out.course.timeline.lesions] == ["1.6.1", "1.6.2", ""]
    described = {roi.lesion: roi.description for lesion in out.lesions for roi in lesion.rois}
    assert "Tracking UID 1.6.2." in described["L2"]
    assert "Tracking UID" not in described["L3"]


def numbered(count: int) -> Sequence[FlaggedLesion]:
    return [sphere(n + 1, (0.0, 0.0, 410.0 + 10.0 * n), radius_mm=2.5) for n in range(count)]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (3, set()),
        (4, {"progressive-sites-many"}),
        (5, {"progressive-sites-many"}),
        (6, {"progressive-sites-over-limit"}),
    ],
)
def test_progressive_sites_are_counted_against_the_protocol(protocol: Protocol, count: int, told: set[str]) -> None:
    assert (protocol.targets.warn_above, protocol.targets.max) == (3, 5)
    found = course_of(numbered(count), None, CRITERIA, protocol).findings
    assert {one.code for one in found if one.code.startswith("progressive-sites")} == told
    assert all(one.value == count for one in found if one.code.startswith("progressive-sites"))
    assert holds(found) is (count > 5)


@pytest.mark.parametrize(("left_out", "held"), [((), True), (("L7",), True), (("L6", "L7"), False)])
def test_more_sites_than_the_limit_hold_until_a_person_has_left_enough_out(
    protocol: Protocol, left_out: tuple[str, ...], held: bool
) -> None:
    """Seven progress; where five are left to be treated, that a person decided so is still told."""
    of = replace(followed(), flags=tuple(numbered(7)), prior=None)
    exclusions = tuple(Exclusion(lesion, "no RT", "A. Reader") for lesion in left_out)
    out = made(of, protocol, exclusions=exclusions)
    (finding,) = [one for one in out.findings if one.code == "progressive-sites-over-limit"]
    assert (finding.level, finding.value) == (Level.HOLD if held else Level.WARN, 7)
    assert any(lesion.mapped is not None for lesion in out.lesions) is not held


def test_another_protocol_may_allow_more_sites(protocol: Protocol) -> None:
    wider = protocol.model_copy(update={"targets": protocol.targets.model_copy(update={"max": 7})})
    assert not holds(course_of(numbered(7), None, CRITERIA, wider).findings)


def test_sites_that_do_not_progress_are_not_counted(protocol: Protocol) -> None:
    quiet = history(("L1", 1), ("L2", 2), ("L3", 3))
    found = course_of(numbered(6), quiet, CRITERIA, protocol)
    assert found.classification.progressive_sites == 3
    assert not [one for one in found.findings if one.code.startswith("progressive-sites")]
