"""The time-line: known fates on oblique lattices, splits and merges by name, and the same answer both ways round."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from psdt_planner.errors import FrameError
from psdt_planner.findings import Level
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.timeline import (
    Fate,
    ProgressiveBy,
    RacReadings,
    Reading,
    Seen,
    Timeline,
    covered_by,
    everywhere,
    place_lesion,
    timeline_of,
    without_place,
)
from psdt_planner.timeline.place import CELL_MM
from tests.time.made import (
    ADC,
    CRITERIA,
    CT,
    CT_FROM_MR,
    CT_FROM_OLD,
    MR,
    Ellipsoid,
    MadeExam,
    drawn,
    lesion,
    made_exam,
    seen,
)

NOTHING = RacReadings({}, ())
HERE = (20.0, -35.0, 60.0)
BALL = Ellipsoid(HERE, (9.0, 11.0, 10.0))
EXAMS = 200


def compared(current: Seen, prior: Seen | None, readings: RacReadings = NOTHING) -> Timeline:
    return timeline_of(current, prior, readings, CRITERIA)


def codes(timeline: Timeline) -> list[str]:
    return [finding.code for finding in timeline.findings]


def unseen(exam: MadeExam) -> list[Points]:
    return [one.centroid_mm for one in exam.prior if exam.former.get(one.flag.id) is Fate.UNKNOWN]


def compared_made(exam: MadeExam) -> Timeline:
    dark = unseen(exam)

    def covers(points_mm: Points) -> NDArray[np.bool_]:
        return np.array([all(np.linalg.norm(point - spot) > 30.0 for spot in dark) for point in points_mm])

    return compared(seen(*exam.current, covers=covers), seen(*exam.prior))


def test_the_known_fates_of_two_hundred_exams() -> None:
    """All eight; growth is far outside the error, and places are wrong by up to 2 mm on either side."""
    right, wrong = Counter[Fate](), list[str]()
    for seed in range(EXAMS):
        exam = made_exam(seed)
        timeline = compared_made(exam)
        told = {entry.lesion: entry.fate for entry in timeline.lesions}
        told |= {entry.prior[0]: entry.fate for entry in timeline.former}
        for name, fate in (exam.fates | exam.former).items():
            if told.get(name) is fate:
                right[fate] += 1
            else:
                wrong.append(f"{seed} {name}: {fate} told as {told.get(name)}")
        for entry in timeline.lesions:
            if entry.fate in (Fate.MERGED, Fate.SPLIT):
                assert set(entry.prior) == exam.priors[entry.lesion], seed
    assert len(right) == len(Fate)
    assert sum(right.values()) >= 0.98 * (sum(right.values()) + len(wrong)), wrong
    assert min(right[fate] for fate in Fate) >= 0.98 * EXAMS, wrong


def test_the_same_exams_give_the_same_time_line_in_any_order() -> None:
    exam = made_exam(3)
    first = compared_made(exam)
    exam.prior.reverse()
    second = compared_made(exam)
    assert {entry.lesion: (entry.fate, set(entry.prior)) for entry in first.lesions} == {
        entry.lesion: (entry.fate, set(entry.prior)) for entry in second.lesions
    }


OPPOSITE = {
    Fate.NEW: Fate.GONE,
    Fate.GONE: Fate.NEW,
    Fate.GROWING: Fate.SHRINKING,
    Fate.SHRINKING: Fate.GROWING,
    Fate.MERGED: Fate.SPLIT,
    Fate.SPLIT: Fate.MERGED,
    Fate.STABLE: Fate.STABLE,
    Fate.UNKNOWN: Fate.UNKNOWN,
}


def told_by_prior(timeline: Timeline) -> set[tuple[str, frozenset[str], Fate]]:
    """Every pair of prior and present lesion with its fate; a lesion without another as itself."""
    pairs = {(entry.lesion, prior, entry.fate) for entry in timeline.lesions for prior in entry.prior}
    told = {("", frozenset((a, b)), fate) for a, b, fate in pairs}
    told |= {("", frozenset((entry.lesion,)), entry.fate) for entry in timeline.lesions if not entry.prior}
    return told | {("", frozenset(entry.prior), entry.fate) for entry in timeline.former}


places = st.tuples(*[st.floats(-30.0, 30.0)] * 3)
radii = st.tuples(*[st.floats(6.0, 14.0)] * 3)
shapes = st.lists(st.builds(Ellipsoid, places, radii), max_size=4)


@settings(max_examples=60)
@given(shapes, shapes)
def test_swapping_the_exams_swaps_the_fates(before: list[Ellipsoid], now: list[Ellipsoid]) -> None:
    """Whatever overlaps whatever: in a box of 60 mm most lesions do."""
    old = seen(*(lesion(shape, f"P{n}", old=True) for n, shape in enumerate(before)))
    new = seen(*(lesion(shape, f"L{n}") for n, shape in enumerate(now)))
    forth, back = told_by_prior(compared(new, old)), told_by_prior(compared(old, new))
    assert {(word, names, OPPOSITE[fate]) for word, names, fate in forth} == back


@settings(max_examples=60)
@given(shapes, shapes)
def test_every_lesion_has_exactly_one_entry(before: list[Ellipsoid], now: list[Ellipsoid]) -> None:
    old = seen(*(lesion(shape, f"P{n}", old=True) for n, shape in enumerate(before)))
    new = seen(*(lesion(shape, f"L{n}") for n, shape in enumerate(now)))
    timeline = compared(new, old)
    assert [entry.lesion for entry in timeline.lesions] == [f"L{n}" for n in range(len(now))]
    matched = {name for entry in timeline.lesions for name in entry.prior}
    former = [entry.prior[0] for entry in timeline.former]
    assert sorted([*matched, *former]) == [f"P{n}" for n in range(len(before))]


# Without a prior ----------------------------------------------------------------------------------------------------


def test_without_a_prior_every_flag_progresses_by_the_flag_itself() -> None:
    timeline = compared(seen(lesion(BALL, "L1")), None)
    (entry,) = timeline.lesions
    assert (entry.fate, entry.progressive, entry.progressive_by) == (Fate.UNKNOWN, True, ProgressiveBy.FLAG)
    assert not timeline.has_prior
    assert codes(timeline) == []


def test_flags_that_could_not_be_placed_are_told_as_unknown() -> None:
    flag = drawn(BALL, CT_FROM_MR, "L2")
    current = seen(lesion(BALL, "L1"), without_place(flag, None))
    timeline = compared(current, seen(lesion(BALL, "P1", old=True)))
    assert [(entry.lesion, entry.fate) for entry in timeline.lesions] == [("L1", Fate.STABLE), ("L2", Fate.UNKNOWN)]


def test_nothing_is_gone_while_a_lesion_has_no_place() -> None:
    current = seen(without_place(drawn(BALL, CT_FROM_MR, "L1"), None))
    timeline = compared(current, seen(lesion(BALL, "P1", old=True)))
    assert [entry.fate for entry in timeline.former] == [Fate.UNKNOWN]
    assert codes(timeline) == ["lesion-fate-unknown"]


def test_a_lesion_without_a_place_is_known_by_its_tracking_uid_alone() -> None:
    """Two exams that could not be brought together: nothing is new or gone, and what has a name is compared."""
    named, nameless = (drawn(BALL, CT_FROM_OLD, name, tracking_uid=uid) for name, uid in (("P1", "1.1"), ("P2", "")))
    prior = seen(without_place(named, ADC), without_place(nameless, ADC))
    current = seen(lesion(BALL.times(3.0), "L1", uid="1.1"), lesion(moved(BALL, 60.0), "L2"))
    timeline = compared(current, prior)
    assert [(entry.fate, entry.prior, entry.matched_by) for entry in timeline.lesions] == [
        (Fate.GROWING, ("P1",), "tracking UID"),
        (Fate.UNKNOWN, (), ""),
    ]
    assert [(entry.fate, entry.prior) for entry in timeline.former] == [(Fate.UNKNOWN, ("P2",))]
    assert codes(timeline) == ["lesion-fate-unknown"]


def test_once_every_lesion_without_a_place_has_its_successor_a_new_one_is_new() -> None:
    prior = seen(without_place(drawn(BALL, CT_FROM_OLD, "P1", tracking_uid="1.1"), ADC))
    timeline = compared(seen(lesion(BALL, "L1", uid="1.1"), lesion(moved(BALL, 60.0), "L2")), prior)
    assert [entry.fate for entry in timeline.lesions] == [Fate.STABLE, Fate.NEW]


def test_nothing_is_new_where_the_prior_exam_did_not_look() -> None:
    timeline = compared(
        seen(lesion(BALL, "L1")), seen(covers=lambda points_mm: np.zeros(len(points_mm), dtype=np.bool_))
    )
    (entry,) = timeline.lesions
    assert (entry.fate, entry.progressive, entry.progressive_by) == (Fate.UNKNOWN, True, ProgressiveBy.FLAG)
    assert codes(timeline) == ["lesion-fate-unknown"]
    assert timeline.findings[0].lesion == "L1"


def test_an_empty_prior_that_looked_makes_a_lesion_new() -> None:
    timeline = compared(seen(lesion(BALL, "L1")), seen())
    assert timeline.lesions[0].fate is Fate.NEW
    assert timeline.lesions[0].progressive_by is ProgressiveBy.TIME_LINE


def test_where_an_exam_looked_is_told_by_its_lattices() -> None:
    grid = drawn(BALL, CT_FROM_MR, "L1").grid
    covers = covered_by([(grid, CT_FROM_MR)])
    assert covers(np.array([HERE, (HERE[0] + 200.0, HERE[1], HERE[2])])).tolist() == [True, False]
    with pytest.raises(FrameError):
        covered_by([(grid, Rigid.identity(CT))])


# Who is who ----------------------------------------------------------------------------------------------------------


def moved(shape: Ellipsoid, x_mm: float) -> Ellipsoid:
    x, y, z = shape.centre_mm
    return replace(shape, centre_mm=(x + x_mm, y, z))


def test_the_tracking_uid_goes_before_the_place() -> None:
    """The reader swapped nothing: two lesions side by side, and the UIDs name each the other's place."""
    prior = seen(lesion(BALL, "P1", old=True, uid="1.1"), lesion(moved(BALL, 30.0), "P2", old=True, uid="1.2"))
    current = seen(lesion(BALL, "L1", uid="1.2"), lesion(moved(BALL, 30.0), "L2", uid="1.1"))
    timeline = compared(current, prior)
    assert [(entry.prior, entry.matched_by) for entry in timeline.lesions] == [
        (("P2",), "tracking UID"),
        (("P1",), "tracking UID"),
    ]
    assert codes(timeline).count("lesion-match-uncertain") == 2  # and that they lie elsewhere is said


def test_a_lesion_without_tracking_uid_gets_that_of_the_prior_exam() -> None:
    timeline = compared(seen(lesion(BALL, "L1")), seen(lesion(BALL, "P1", old=True, uid="1.1")))
    (entry,) = timeline.lesions
    assert (entry.tracking_uid, entry.matched_by) == ("1.1", "place")


def test_its_own_tracking_uid_is_kept_and_a_difference_is_said() -> None:
    timeline = compared(seen(lesion(BALL, "L1", uid="1.9")), seen(lesion(BALL, "P1", old=True, uid="1.1")))
    assert timeline.lesions[0].tracking_uid == "1.9"
    assert timeline.lesions[0].prior == ("P1",)
    assert "tracking UIDs differ" in timeline.findings[0].message


def test_pieces_that_keep_the_tracking_uid_are_a_split() -> None:
    pieces = [lesion(moved(BALL, way), f"L{n}", uid="1.1") for n, way in enumerate((-15.0, 15.0))]
    timeline = compared(seen(*pieces), seen(lesion(BALL, "P1", old=True, uid="1.1")))
    assert [(entry.fate, entry.prior) for entry in timeline.lesions] == [(Fate.SPLIT, ("P1",))] * 2


def test_a_tracking_uid_of_several_lesions_in_both_exams_tells_nothing() -> None:
    far = moved(BALL, 60.0)
    prior = seen(lesion(BALL, "P1", old=True, uid="1.1"), lesion(far, "P2", old=True, uid="1.1"))
    current = seen(lesion(BALL, "L1", uid="1.1"), lesion(far, "L2", uid="1.1"))
    timeline = compared(current, prior)
    assert [entry.prior for entry in timeline.lesions] == [("P1",), ("P2",)]
    assert {entry.matched_by for entry in timeline.lesions} == {"place"}
    assert codes(timeline).count("tracking-uid-repeated") == 1


def test_a_lesion_within_an_older_one_that_has_its_own_successor_is_not_a_split() -> None:
    """By their UIDs the small one is another lesion."""
    small = Ellipsoid((HERE[0] + 3.0, HERE[1], HERE[2]), (5.0, 5.0, 5.0))
    prior = seen(lesion(BALL, "P1", old=True, uid="1.1"), lesion(moved(small, 12.0), "P2", old=True, uid="1.2"))
    current = seen(lesion(BALL, "L1", uid="1.1"), lesion(small, "L2", uid="1.2"))
    assert [entry.prior for entry in compared(current, prior).lesions] == [("P1",), ("P2",)]


def test_many_to_many_is_unknown_and_said() -> None:
    """Two that lie along x became two that lie along y, in the same place."""
    wide = Ellipsoid(HERE, (20.0, 20.0, 10.0))
    old = [lesion(replace(wide, cut=cut), f"P{n}", old=True) for n, cut in enumerate([(-99.0, -1.0), (1.0, 99.0)])]
    ends = [Ellipsoid((HERE[0], HERE[1] + y, HERE[2]), (16.0, 6.0, 8.0)) for y in (-7.0, 7.0)]
    timeline = compared(seen(*(lesion(shape, f"L{n}") for n, shape in enumerate(ends))), seen(*old))
    assert [entry.fate for entry in timeline.lesions] == [Fate.UNKNOWN] * 2
    assert all(entry.progressive for entry in timeline.lesions)
    assert codes(timeline) == ["lesion-match-uncertain"]


def test_small_lesions_that_only_just_miss_each_other_are_matched_with_doubt() -> None:
    small = Ellipsoid(HERE, (4.0, 4.0, 6.0))
    timeline = compared(seen(lesion(moved(small, 7.0), "L1")), seen(lesion(small, "P1", old=True)))
    assert timeline.lesions[0].prior == ("P1",)
    assert codes(timeline)[0] == "lesion-match-uncertain"


def test_a_new_lesion_close_to_a_gone_one_is_said() -> None:
    small = Ellipsoid(HERE, (4.0, 4.0, 6.0))
    timeline = compared(seen(lesion(moved(small, 15.0), "L1")), seen(lesion(small, "P1", old=True)))
    assert timeline.lesions[0].fate is Fate.NEW
    assert timeline.former[0].fate is Fate.GONE
    assert codes(timeline).count("lesion-match-uncertain") == 2


def test_the_assignment_is_the_cheapest_of_all() -> None:
    """Small lesions in a row, shifted by less than half their distance: each stays itself."""
    row = [Ellipsoid((HERE[0] + 12.0 * n, HERE[1], HERE[2]), (3.0, 3.0, 5.0)) for n in range(5)]
    old = seen(*(lesion(shape, f"P{n}", old=True) for n, shape in enumerate(row)))
    new = seen(*(lesion(moved(shape, 4.5), f"L{n}") for n, shape in enumerate(row)))
    assert [entry.prior for entry in compared(new, old).lesions] == [(f"P{n}",) for n in range(5)]


# Frames -------------------------------------------------------------------------------------------------------------


def test_exams_in_two_frames_do_not_meet() -> None:
    with pytest.raises(FrameError):
        compared(seen(), Seen(MR, (), everywhere))


def test_a_transform_of_another_frame_is_refused() -> None:
    flag = drawn(BALL, CT_FROM_MR, "L1")
    with pytest.raises(FrameError):
        place_lesion(flag, Rigid.identity(CT), frame=CT, uncertainty_mm=2.0, adc_median_mm2_per_s=None)


def test_a_transform_may_be_more_than_rigid() -> None:
    flag = drawn(BALL, CT_FROM_MR, "L1")
    rigid = place_lesion(flag, CT_FROM_MR, frame=CT, uncertainty_mm=2.0, adc_median_mm2_per_s=None)
    called = place_lesion(flag, CT_FROM_MR.apply, frame=CT, uncertainty_mm=2.0, adc_median_mm2_per_s=None)
    assert np.array_equal(rigid.cells, called.cells)


def test_cells_hold_the_lesion_where_it_is_on_uneven_slices() -> None:
    """Against every cell's centre asked of the ellipsoid itself."""
    origins = np.array([[-20.0, -20.0, z] for z in (-16.0, -11.0, -7.0, -4.0, 0.0, 5.0, 9.0, 13.0, 18.0)])
    grid = Grid(origins, np.array([0.0, 1.7, 0.0]), np.array([1.9, 0.0, 0.0]), (9, 24, 22), MR)
    ball = Ellipsoid((1.0, 0.5, 0.3), (11.0, 12.0, 9.0))
    mask = ball.holds(grid.centres_mm()).astype(np.float32)
    flag = replace(drawn(BALL, CT_FROM_MR, "L1"), grid=grid, mask=mask)
    placed = place_lesion(flag, Rigid.identity(MR), frame=MR, uncertainty_mm=2.0, adc_median_mm2_per_s=None)
    axis = np.arange(-9, 9) * CELL_MM + CELL_MM / 2.0
    truth = np.array([point for point in itertools.product(axis, axis, axis) if ball.holds(np.array(point))])
    found = {tuple(point) for point in placed.centres_mm}
    assert np.linalg.norm(placed.centroid_mm - ball.centre_mm) < 1.0
    assert len({tuple(point) for point in truth} & found) / len(truth) > 0.95
    assert len(found) * CELL_MM**3 / 1000.0 == pytest.approx(ball.volume_ml, rel=0.35)


# What progresses ----------------------------------------------------------------------------------------------------


def of_rac(rac: int, **more: Ellipsoid) -> Timeline:
    now = more.get("now", BALL)
    return compared(seen(lesion(now, "L1")), seen(lesion(BALL, "P1", old=True)), by_reader(rac))


def by_reader(rac: int) -> RacReadings:
    return RacReadings({"L1": Reading(rac, "history")}, ())


@pytest.mark.parametrize("rac", [1, 2, 3, 4, 5])
def test_the_readers_word_goes_before_the_numbers(rac: int) -> None:
    (entry,) = of_rac(rac).lesions
    assert (entry.progressive, entry.progressive_by) == (rac >= 4, ProgressiveBy.READER)


@pytest.mark.parametrize(
    ("factor", "fate", "progressive"),
    [(3.0, Fate.GROWING, True), (1.0, Fate.STABLE, False), (1.0 / 3.0, Fate.SHRINKING, False)],
)
def test_without_the_readers_word_growth_is_a_proposal(factor: float, fate: Fate, progressive: bool) -> None:
    timeline = compared(seen(lesion(BALL.times(factor), "L1")), seen(lesion(BALL, "P1", old=True)))
    (entry,) = timeline.lesions
    assert (entry.fate, entry.progressive, entry.progressive_by) == (fate, progressive, ProgressiveBy.TIME_LINE)
    assert ("flag-not-progressive" in codes(timeline)) is not progressive
    assert len(timeline.progressive) == progressive


def test_lesions_that_merged_progress_by_all_of_their_volume() -> None:
    halves = [lesion(replace(BALL, cut=cut), f"P{n}", old=True) for n, cut in enumerate([(-99.0, -0.5), (0.5, 99.0)])]
    quiet = compared(seen(lesion(BALL, "L1")), seen(*halves)).lesions[0]
    grown = compared(seen(lesion(BALL.times(3.0), "L1")), seen(*halves)).lesions[0]
    assert (quiet.fate, quiet.progressive) == (Fate.MERGED, False)
    assert (grown.fate, grown.progressive) == (Fate.MERGED, True)
    assert quiet.volume
    assert quiet.volume.before == pytest.approx(sum(half.flag.volume_ml for half in halves))


@pytest.mark.parametrize(
    ("rac", "factor", "adc", "disagrees"),
    [
        (1, 1.0, ADC, False),
        (1, 3.0, ADC, True),
        (3, 3.0, ADC, True),
        (5, 3.0, ADC, False),
        (3, 1.0, ADC, False),
        (4, 1.0, ADC, False),  # no size change is allowed for category 4
        (4, 0.3, ADC, True),
        (3, 0.3, ADC, True),
        (1, 0.3, ADC, False),
        (5, 1.0, 1.3 * ADC, True),
        (5, 3.0, 1.3 * ADC, False),
        (1, 1.0, 1.3 * ADC, False),
        (1, 1.0, 0.7 * ADC, True),
        (3, 1.0, 0.7 * ADC, False),
        (5, 1.0, 1.1 * ADC, False),  # within the error of measurement
    ],
)
def test_where_the_reader_and_the_numbers_disagree_it_is_said(
    rac: int, factor: float, adc: float, disagrees: bool
) -> None:
    now = seen(lesion(BALL.times(factor), "L1", adc=adc))
    timeline = compared(now, seen(lesion(BALL, "P1", old=True)), by_reader(rac))
    assert ("rac-disagrees" in codes(timeline)) is disagrees
    assert all(finding.level is Level.WARN for finding in timeline.findings)
    assert timeline.lesions[0].progressive is (rac >= 4)


def test_a_new_lesion_that_the_reader_calls_stable_is_said() -> None:
    timeline = compared(seen(lesion(BALL, "L1")), seen(), by_reader(3))
    assert "rac-disagrees" in codes(timeline)


@given(st.floats(0.3e-3, 2.5e-3), st.floats(0.3e-3, 2.5e-3))
@settings(max_examples=25)
def test_adc_alone_makes_nothing_progress(before: float, now: float) -> None:
    timeline = compared(seen(lesion(BALL, "L1", adc=now)), seen(lesion(BALL, "P1", old=True, adc=before)))
    assert (timeline.lesions[0].fate, timeline.lesions[0].progressive) == (Fate.STABLE, False)


def test_the_json_of_a_lesion() -> None:
    timeline = of_rac(5, now=BALL.times(3.0))
    told = timeline.by_lesion["L1"].as_json()
    assert told["timeline"] == "growing"
    assert told["progressive"] is True
    assert told["progressive_by"] == "the reader's RAC"
    assert told["prior_lesions"] == ["P1"]
    assert (told["rac"], told["rac_source"], told["region"]) == (5, "history", "pelvis (bone)")
    change = told["volume_change"]
    assert isinstance(change, dict)
    assert change["beyond_error"] is True
    assert change["unit"] == "ml"
    assert len(change["sources"]) == 3
