"""The spine in a CT, and what it says of level and patient: on synthetic patients, and on made-up places along it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from fixtures.lattice import Lattice
from fixtures.patient import PatientSpec, best_rigid, make_patient, truth_record
from fixtures.regions import Region
from fixtures.render import render_ct, render_mr
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume, sample
from psdt_planner.registration import LevelCheck, check_levels
from psdt_planner.registration.levels import (
    AGREEMENT_MM,
    LEAST_COMPARED,
    LEAST_MARGIN,
    MOST_APART,
    MOST_FROM_NEIGHBOURS,
    MOST_STRETCH,
    MOST_WIDTH,
    NEIGHBOUR_MM,
    SURE_STRETCH,
    Ghost,
)
from psdt_planner.registration.spine import BONE_HU, TRUNK_MM, Spine, find_spine

CT, MR = "1.2.3", "1.2.4"
HU, T1, FAT = Quantity(Kind.PLANNING_CT, "HU"), Quantity(Kind.T1, "1"), Quantity(Kind.DIXON_FAT, "1")


# patients -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """A synthetic patient's images, and the centres ``(N, 3)`` of the vertebrae in the CT, from below to above."""

    ct: Volume
    anatomical: tuple[Volume, ...]
    levels_ct_mm: Points
    levels_mr_mm: Points

    def ct_from_mr(self, levels_off: int = 0) -> Rigid:
        """What fits the vertebrae best; or takes each to the one so many levels above it."""
        count = len(self.levels_ct_mm) - abs(levels_off)
        mr, ct = self.levels_mr_mm[max(0, -levels_off) :][:count], self.levels_ct_mm[max(0, levels_off) :][:count]
        return Rigid(best_rigid(mr, ct), CT, MR)


def volume(lattice: Lattice, array: NDArray[Any], quantity: Quantity, frame: str) -> Volume:
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([lattice.step_k, lattice.step_j, lattice.step_i], axis=1)
    matrix[:3, 3] = lattice.origin
    return Volume(Grid.regular(matrix, lattice.shape, frame), array.astype(np.float32), quantity, "1.9.1")


def synthetic(seed: int, region: Region) -> Case:
    patient = make_patient(PatientSpec(seed=seed, region=region, size="small"))
    hu = render_ct(
        layers=patient.ct_layers,
        lesions=patient.lesions,
        deformation=patient.deformation,
        lattice=patient.ct,
        couch_y=patient.couch_y,
        seed=seed,
    )
    mr = render_mr(patient.mr_layers, patient.lesions, patient.epi, patient.mr, seed)
    levels = sorted(truth_record(patient)["levels"], key=lambda level: level["ct_mm"][2])
    return Case(
        volume(patient.ct, hu, HU, CT),
        (volume(patient.mr, mr["t1"], T1, MR), volume(patient.mr, mr["fat"], FAT, MR)),
        np.array([level["ct_mm"] for level in levels]),
        np.array([level["mr_mm"] for level in levels]),
    )


@pytest.fixture(scope="module")
def pelvis() -> Case:
    return synthetic(1, "pelvis")


@pytest.fixture(scope="module")
def thorax() -> Case:
    return synthetic(1, "thorax")


@pytest.fixture(scope="module")
def loins() -> Case:
    """A CT of four lumbar vertebrae."""
    return synthetic(3, "short-lumbar")


@pytest.fixture(scope="module")
def back() -> Case:
    """A CT of six thoracic vertebrae."""
    return synthetic(3, "short-thoracic")


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """The patient whose name the test gives."""
    found: Case = request.getfixturevalue(request.param)
    return found


def feet_first(ct: Volume) -> Volume:
    """The same voxels, stored from the head down, with columns that run to the patient's right."""
    grid = ct.grid
    last = [grid.shape[0] - 1, 0, grid.shape[2] - 1]
    matrix = grid.mm_from_kji.copy()
    matrix[:3, [0, 2]] *= -1
    matrix[:3, 3] = grid.mm_from_index(last)
    return Volume(Grid.regular(matrix, grid.shape, CT), ct.array[::-1, :, ::-1], ct.quantity, ct.series_uid)


# the spine in a CT ----------------------------------------------------------------------------------------------------

REGIONS = {
    "pelvis": ("hip bones",),
    "thorax": ("lung base", "lung apex"),
    "loins": (),
    "back": (),
}
"""What each CT shows that does not repeat from level to level."""


@pytest.mark.parametrize("case", REGIONS, indirect=True)
def test_the_line_runs_through_every_vertebra(case: Case) -> None:
    spine = find_spine(case.ct)
    assert spine.found
    assert len(case.levels_ct_mm) >= 4
    for centre in case.levels_ct_mm:
        assert spine.line_mm[0, 2] <= centre[2] <= spine.line_mm[-1, 2]
        assert np.linalg.norm(spine.at(centre[2]) - centre) < 12.0
    np.testing.assert_allclose(np.diff(spine.line_mm[:, 2]), 4.0, atol=1e-6)


@pytest.mark.parametrize(("case", "anchors"), REGIONS.items(), indirect=["case"])
def test_what_anchors_a_ct(case: Case, anchors: tuple[str, ...]) -> None:
    assert tuple(find_spine(case.ct).anchors) == anchors


def test_the_hips_are_pairs_of_places_in_bone_on_the_right_and_on_the_left(pelvis: Case, thorax: Case) -> None:
    spine = find_spine(pelvis.ct)
    assert len(spine.hips_mm) == 2
    for right, left in spine.hips_mm:
        assert right[2] == left[2]
        middle = spine.at(right[2])[0]
        assert right[0] < middle - 45.0
        assert left[0] > middle + 45.0
        assert (sample(pelvis.ct, np.array([right, left]), CT) > BONE_HU).all()
    assert spine.hips_mm[0][0][2] < spine.hips_mm[1][0][2]
    assert find_spine(thorax.ct).hips_mm == ()


def test_a_ct_stored_feet_first_shows_the_same(pelvis: Case) -> None:
    one, other = find_spine(pelvis.ct), find_spine(feet_first(pelvis.ct))
    assert tuple(one.anchors) == tuple(other.anchors)
    for place, same in zip(one.anchors.values(), other.anchors.values(), strict=True):
        np.testing.assert_allclose(place, same, atol=1e-3)
    np.testing.assert_allclose(one.line_mm, other.line_mm, atol=1e-3)
    np.testing.assert_allclose(one.hips_mm, other.hips_mm, atol=1e-3)


def column(
    length_mm: float,
    *,
    half_width_mm: float = 150.0,
    bone: bool = True,
    hips: bool = False,
    hips_mm: float = 90.0,
    lean: float = 0.0,
) -> Volume:
    """An elliptical body with a column of bone in its back, which leans to the left on its way up; and two blocks."""
    half = half_width_mm + 20.0
    matrix = [[0, 0, 4.0, -half], [0, 4.0, 0, -130.0], [4.0, 0, 0, 500.0], [0, 0, 0, 1]]
    grid = Grid.regular(matrix, (round(length_mm / 4.0) + 1, 66, round(half / 2.0) + 1), CT)
    x, y, z = np.moveaxis(grid.centres_mm(), -1, 0)
    hu = np.where((x / half_width_mm) ** 2 + (y / 100.0) ** 2 <= 1.0, 40.0, -1000.0)
    if bone:
        hu[np.hypot(x - lean * (z - 500.0), y - 40.0) <= 16.0] = 600.0
    if hips:
        hu[(abs(abs(x) - hips_mm) <= 20.0) & (abs(y) <= 25.0) & (z < 600.0)] = 500.0
    return Volume(grid, hu.astype(np.float32), HU, "1.9.1")


@pytest.mark.parametrize("lean", [0.0, 0.12])
def test_the_line_follows_a_column(lean: float) -> None:
    spine = find_spine(column(240.0, lean=lean))
    assert spine.found
    for z in (540.0, 610.0, 700.0):
        np.testing.assert_allclose(spine.at(z), [lean * (z - 500.0), 40.0, z], atol=3.0)
        way = spine.upwards(z)
        np.testing.assert_allclose(way, np.array([lean, 0, 1.0]) / np.hypot(lean, 1.0), atol=0.02)
        assert np.linalg.norm(way) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "ct",
    [
        column(240.0, half_width_mm=TRUNK_MM / 2 - 10.0),
        column(240.0, bone=False),
        column(48.0),
        Volume(column(240.0).grid, np.full((61, 66, 86), -1000.0, dtype=np.float32), HU, "1.9.1"),
    ],
    ids=["a limb", "no bone", "too short", "empty"],
)
def test_a_ct_without_a_spine_says_so(ct: Volume) -> None:
    spine = find_spine(ct)
    assert not spine.found
    assert (spine.line_mm.shape, spine.anchors, spine.hips_mm) == ((0, 3), {}, ())


def test_a_body_just_wide_enough_is_a_trunk() -> None:
    assert find_spine(column(240.0, half_width_mm=TRUNK_MM / 2 + 10.0)).found


def test_large_bones_on_both_sides_are_hips_and_anchor_the_ct() -> None:
    spine = find_spine(column(240.0, hips=True))
    assert tuple(spine.anchors) == ("hip bones",)
    np.testing.assert_allclose(spine.anchors["hip bones"], np.mean(spine.hips_mm, axis=(0, 1)))
    for right, left in spine.hips_mm:
        np.testing.assert_allclose([right[0], left[0]], [-90.0, 90.0], atol=4.0)


def test_bones_further_out_are_arms() -> None:
    assert find_spine(column(240.0, hips=True, hips_mm=190.0, half_width_mm=230.0)).hips_mm == ()


def test_beyond_its_ends_the_spine_goes_straight_on() -> None:
    spine = Spine(np.array([[z / 10.0, 5.0, z] for z in np.arange(0.0, 81.0, 4.0)]), {})
    np.testing.assert_allclose(spine.at(-50.0), [0.0, 5.0, -50.0])
    np.testing.assert_allclose(spine.at(42.0), [4.2, 5.0, 42.0])
    np.testing.assert_allclose(spine.at(500.0), [8.0, 5.0, 500.0])
    np.testing.assert_allclose(spine.upwards(500.0), [0.0, 0.0, 1.0])


@pytest.mark.parametrize(("count", "found"), [(15, True), (14, False), (0, False)])
def test_sixty_millimetres_of_spine_are_enough(count: int, found: bool) -> None:
    assert Spine(np.zeros((count, 3)), {}).found is found


# levels of synthetic patients -----------------------------------------------------------------------------------------


def codes(check: LevelCheck, level: Level = Level.HOLD) -> list[str]:
    assert all(finding.who is Who.PERSON for finding in check.findings)
    return [finding.code for finding in check.findings if finding.level is level]


def assert_unchecked(check: LevelCheck, *, computed: bool) -> None:
    """Nobody vouches for a computed level; of a given one it is only said."""
    assert codes(check, Level.HOLD) == (["level-unchecked"] if computed else [])
    assert codes(check, Level.WARN) == ([] if computed else ["level-unchecked"])


@pytest.mark.parametrize("case", ["pelvis", "thorax"], indirect=True)
def test_the_right_level_of_the_right_patient_raises_no_doubt(case: Case) -> None:
    check = check_levels(case.ct, case.anatomical, case.ct_from_mr(), computed=True, seed=1)
    assert codes(check) == []
    assert check.margin is not None
    assert check.margin > 0.02
    assert check.apart_mm < MOST_APART * check.agreement_mm / 2
    assert check.stretch is not None
    assert abs(check.stretch[0]) < MOST_STRETCH / 2
    assert check.from_neighbours_mm < MOST_FROM_NEIGHBOURS * check.agreement_mm
    assert all(abs(width) < MOST_WIDTH for width in check.widths)
    assert bool(check.widths) == bool(check.spine.hips_mm)
    heights = [ghost.place_mm[2] for ghost in check.ghosts]
    assert heights == sorted(heights)
    assert len(heights) >= 8
    motions = np.array([ghost.moved_mm for ghost in check.ghosts])
    assert np.linalg.norm(motions, axis=1).max() < 12.0


def test_a_ghost_moves_as_a_lesion_beside_it_would(thorax: Case) -> None:
    """From where the whole body puts it to where it is: a transform too far to the left asks for the right."""
    off, line = np.array([4.0, -3.0, 2.0]), find_spine(thorax.ct).line_mm
    middle = line[len(line) // 2]
    matrix = thorax.ct_from_mr().matrix.copy()
    matrix[:3, 3] += off
    before, after = (
        check_levels(thorax.ct, thorax.anatomical, transform, computed=True, seed=1).motion_near(middle)
        for transform in (thorax.ct_from_mr(), Rigid(matrix, CT, MR))
    )
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after - before, -off, atol=1.0)


@pytest.mark.parametrize(("levels_off", "computed"), [(1, False), (-1, True)], ids=["up, given", "down, computed"])
def test_one_vertebra_off_is_told(thorax: Case, levels_off: int, computed: bool) -> None:
    check = check_levels(thorax.ct, thorax.anatomical, thorax.ct_from_mr(levels_off), computed=computed, seed=1)
    assert "level-off" in codes(check)
    assert set(codes(check)) <= {"level-off", "registration-wrong-patient"}
    found = next(finding for finding in check.findings if finding.code == "level-off")
    assert found.value == check.margin
    assert found.limit == LEAST_MARGIN
    assert found.value is not None
    assert found.value < -0.02


def test_threads_change_nothing_and_only_a_computed_transform_needs_an_anchor(loins: Case) -> None:
    alone = check_levels(loins.ct, loins.anatomical, loins.ct_from_mr(), computed=True, seed=1)
    with ThreadPoolExecutor(2) as pool:
        given = check_levels(loins.ct, loins.anatomical, loins.ct_from_mr(), computed=False, seed=1, mapper=pool.map)
    assert codes(alone) == ["level-unanchored"]
    assert codes(given) == []
    assert len(alone.ghosts) == len(given.ghosts) >= 4
    for one, other in zip(alone.ghosts, given.ghosts, strict=True):
        np.testing.assert_array_equal(one.place_mm, other.place_mm)
        np.testing.assert_array_equal(one.moved_mm, other.moved_mm)
        assert (one.apart_mm, one.above, one.below) == (other.apart_mm, other.above, other.below)


@pytest.mark.parametrize("computed", [True, False])
def test_an_mr_that_does_not_show_the_spine_leaves_it_unchecked(loins: Case, computed: bool) -> None:
    matrix = loins.ct_from_mr().matrix.copy()
    matrix[0, 3] += 3000.0
    check = check_levels(loins.ct, loins.anatomical, Rigid(matrix, CT, MR), computed=computed, seed=1)
    assert_unchecked(check, computed=computed)
    assert check.ghosts == ()
    assert check.margin is None
    assert check.motion_near(loins.levels_ct_mm[0]) is None


# made-up places -------------------------------------------------------------------------------------------------------

UP = np.array([0.0, 0.0, 1.0])


def ghost(
    place_mm: ArrayLike,
    moved_mm: ArrayLike = (0.0, 0.0, 0.0),
    *,
    apart_mm: float = 0.5,
    above: float | None = 0.05,
    below: float | None = 0.05,
) -> Ghost:
    """A place whose two measures lie apart along the patient, which changes no width."""
    moved = np.asarray(moved_mm, dtype=float)
    otherwise = None if np.isinf(apart_mm) else moved + apart_mm * UP
    return Ghost(np.asarray(place_mm, dtype=float), moved, otherwise, above, below)


def straight(*ghosts: Ghost, agreement_mm: float = AGREEMENT_MM) -> LevelCheck:
    line = np.array([[0.0, 0.0, z] for z in np.arange(0.0, 301.0, 4.0)])
    return LevelCheck(Spine(line, {}), ghosts, agreement_mm)


@pytest.mark.parametrize(
    ("neighbours", "margin"),
    [
        ([(0.1, 0.1), (0.2, 0.05), (0.3, 0.15)], 0.1),
        ([(0.1, 0.4), (0.3, 0.2), (None, None), (0.5, 0.6)], 0.3),
        ([(-0.02, 0.4), (None, 0.2), (-0.01, 0.3), (0.0, 0.4)], -0.01),
        ([(0.1, 0.4), (0.3, None), (0.5, 0.6)], None),
        ([(None, 0.04), (None, 0.08), (None, 0.3)], None),
        ([], None),
    ],
)
def test_the_margin_is_the_mean_gain_over_the_better_neighbour_where_three_places_show_each(
    neighbours: list[tuple[float | None, float | None]], margin: float | None
) -> None:
    ghosts = [ghost((0, 0, 30.0 * n), above=up, below=down) for n, (up, down) in enumerate(neighbours)]
    found = straight(*ghosts).margin
    assert found == (None if margin is None else pytest.approx(margin))


@pytest.mark.parametrize(
    ("apart", "median"),
    [([1.0, 2.0, float("inf"), 2.4, 3.0], 2.4), ([1.0, 4.0], 2.5), ([float("inf")] * 2, float("inf")), ([], 0.0)],
)
def test_how_far_measures_lie_apart_is_their_median_over_the_places(apart: list[float], median: float) -> None:
    check = straight(*[ghost((0, 0, 30.0 * n), apart_mm=mm) for n, mm in enumerate(apart)])
    assert check.apart_mm == pytest.approx(median)


def test_the_stretch_is_the_slope_of_the_motion_along_the_spine_over_height() -> None:
    """Every pair of places has a slope; their median is one that an odd place does not change."""
    lean = 0.2
    line = np.array([[lean * z, 0.0, z] for z in np.arange(0.0, 301.0, 4.0)])
    along = np.array([lean, 0.0, 1.0]) / np.hypot(lean, 1.0)
    across = np.array([1.0, 0.0, -lean])
    rng = np.random.default_rng(4)
    heights = np.linspace(20.0, 280.0, 9)
    motion = 0.02 * heights + rng.normal(0.0, 0.4, 9)
    motion[3] += 35.0
    ghosts = [
        ghost((lean * z, 0, z), mm * along + rng.normal(0, 3) * across) for z, mm in zip(heights, motion, strict=True)
    ]
    stretch = LevelCheck(Spine(line, {}), tuple(ghosts), 2.0).stretch
    assert stretch is not None
    slope, low, high = stretch
    pairs = combinations(zip(heights, motion, strict=True), 2)
    expected = np.median([(mm_b - mm_a) / (z_b - z_a) for (z_a, mm_a), (z_b, mm_b) in pairs])
    assert slope == pytest.approx(expected, abs=1e-9)
    assert low < slope < high


def test_a_spine_that_only_moved_as_a_whole_is_not_stretched() -> None:
    ghosts = [ghost((0, 0, z), (4.0, -2.0, 9.0)) for z in (20.0, 60.0, 110.0, 190.0)]
    stretch = straight(*ghosts).stretch
    assert stretch is not None
    np.testing.assert_allclose(stretch, 0.0, atol=1e-12)


def test_the_stretch_is_what_mutual_information_says_and_nothing_where_it_lost_the_images() -> None:
    places = [(0.0, 0.0, 30.0 * n) for n in range(4)]
    told = [replace(ghost(place), moved_otherwise_mm=0.01 * place[2] * UP) for place in places]
    stretch = straight(*told).stretch
    assert stretch is not None
    assert stretch[0] == pytest.approx(0.01)
    lost = [ghost(place, 0.01 * place[2] * UP, apart_mm=np.inf) for place in places[:2]]
    assert straight(*lost, *told[2:]).stretch is None


def test_a_place_is_held_against_the_motion_of_its_neighbours_by_both_measures() -> None:
    """Seven of eight places move alike; of the eighth one measure is 8 mm off, the other not."""
    alike = [ghost((0, 0, 30.0 * n), (2.0, 0, 0), apart_mm=0.0) for n in range(7)]
    odd = replace(ghost((0, 0, 210.0), (2.0, 8.0, 0)), moved_otherwise_mm=np.array([2.0, 0, 0]))
    assert straight(*alike, odd).from_neighbours_mm == 0.0
    zigzag = [ghost((0, 0, 30.0 * n), (0, 0, 3.0 * (-1) ** n), apart_mm=0.0) for n in range(16)]
    assert straight(*zigzag).from_neighbours_mm == 6.0, "four of six neighbours moved the other way"
    assert straight(alike[0]).from_neighbours_mm == 0.0


def test_the_motion_near_a_place_is_the_median_of_the_three_nearest() -> None:
    moved = [(9.0, 9.0, 9.0), (1.0, 5.0, -2.0), (2.0, 4.0, 30.0), (3.0, 6.0, -1.0), (8.0, 8.0, 8.0)]
    check = straight(*[ghost((0, 0, 30.0 * n), mm) for n, mm in enumerate(moved)])
    near = check.motion_near(np.array([20.0, 0.0, 62.0]))
    assert near is not None
    np.testing.assert_allclose(near, [2.0, 5.0, -1.0])


def test_places_whose_measures_contradict_each_other_tell_no_motion() -> None:
    apart = [0.5, 2.01, 2.0, 0.5]
    ghosts = [ghost((0, 0, 15.0 * n), (n, 0, 0), apart_mm=mm) for n, mm in enumerate(apart)]
    near = straight(*ghosts, agreement_mm=2.0).motion_near(np.zeros(3))
    assert near is not None
    np.testing.assert_allclose(near, [2.0, 0.0, 0.0])
    assert straight(*ghosts, agreement_mm=0.4).motion_near(np.zeros(3)) is None


@pytest.mark.parametrize(("away_mm", "known"), [(NEIGHBOUR_MM - 0.1, True), (NEIGHBOUR_MM + 0.1, False)])
def test_where_the_third_place_is_far_nobody_knows_the_motion(away_mm: float, known: bool) -> None:
    places = [(0, 0, 0.0), (0, 0, 10.0), (0, 0, away_mm)]
    check = straight(*[ghost(place, (1.0, 2.0, 3.0)) for place in places])
    assert (check.motion_near(np.zeros(3)) is not None) is known
    assert straight(*check.ghosts[:2]).motion_near(np.zeros(3)) is None


# what they amount to --------------------------------------------------------------------------------------------------

Found = Callable[[int, Points], Ghost | None]


def small_mr(voxel_mm: float, at_z_mm: float = 548.0) -> Volume:
    """An MR of the middle between the hips of `column`, or of another height."""
    matrix = np.diag([voxel_mm, 2.0, 2.5, 1.0])[[2, 1, 0, 3]]
    matrix[:3, 3] = [-10.0, -8.0, at_z_mm - 4 * voxel_mm]
    grid = Grid.regular(matrix, (9, 9, 9), MR)
    return Volume(grid, np.ones(grid.shape, dtype=np.float32), T1, "1.9.2")


def judged(
    found: Found,
    *,
    hips: bool = False,
    computed: bool = False,
    voxel_mm: float = 3.0,
    length_mm: float = 260.0,
    mr_z_mm: float = 548.0,
) -> LevelCheck:
    """The check of a straight column, whose n-th place (the hips' come last) fits as ``found`` says."""

    def mapper(_fit: object, places: Iterable[Points]) -> Iterator[Ghost | None]:
        return (found(n, place) for n, place in enumerate(places))

    ct, mr = column(length_mm, hips=hips), small_mr(voxel_mm, mr_z_mm)
    return check_levels(ct, (mr,), Rigid(np.eye(4), CT, MR), computed=computed, seed=1, mapper=mapper)


def test_places_stand_along_the_whole_spine_about_thirty_millimetres_apart() -> None:
    check = judged(lambda _, place: ghost(place))
    heights = np.array([one.place_mm[2] for one in check.ghosts])
    assert heights[0] == pytest.approx(check.spine.line_mm[0, 2] + 10.0)
    assert heights[-1] == pytest.approx(check.spine.line_mm[-1, 2] - 10.0)
    assert (abs(np.diff(heights) - 30.0) < 6.0).all()
    assert codes(check) == []


@pytest.mark.parametrize(
    ("above", "expected"),
    [(LEAST_MARGIN + 1e-4, []), (LEAST_MARGIN - 1e-4, ["level-off"]), (-0.04, ["level-off"])],
)
def test_a_level_that_gains_too_little_over_a_neighbour_is_doubted(above: float | None, expected: list[str]) -> None:
    assert codes(judged(lambda _, place: ghost(place, above=above))) == expected
    assert codes(judged(lambda _, place: ghost(place, below=above))) == expected


@pytest.mark.parametrize(("hips", "computed", "expected"), [(0, 1, ["level-unanchored"]), (1, 1, []), (0, 0, [])])
def test_a_computed_level_needs_an_anchor(hips: int, computed: int, expected: list[str]) -> None:
    assert codes(judged(lambda _, place: ghost(place), hips=bool(hips), computed=bool(computed))) == expected


@pytest.mark.parametrize(("mr_z_mm", "expected"), [(548.0, []), (700.0, ["level-unanchored"])])
def test_an_anchor_that_the_mr_does_not_show_anchors_nothing(mr_z_mm: float, expected: list[str]) -> None:
    """The hips of this CT lie between 500 and 600 mm."""
    check = judged(lambda _, place: ghost(place), hips=True, computed=True, mr_z_mm=mr_z_mm)
    assert codes(check) == expected
    assert check.anchored is not bool(expected)


@pytest.mark.parametrize(
    "found",
    [
        lambda n, place: ghost(place) if n in (1, 4) else None,
        lambda _, place: ghost(place, above=None, below=None),
        lambda _, place: ghost(place, above=None),
        lambda n, place: ghost(place, below=0.05 if n < 2 else None),
    ],
    ids=["two places", "no neighbours", "none above", "two below"],
)
def test_a_spine_that_tells_no_level_leaves_a_computed_one_unchecked(found: Found) -> None:
    for computed in (True, False):
        assert_unchecked(judged(found, computed=computed, hips=True), computed=computed)


def test_another_patient_is_told_even_where_no_level_can_be_compared() -> None:
    check = judged(lambda _, place: ghost(place, apart_mm=9.0, above=None), computed=True, hips=True)
    assert codes(check) == ["level-unchecked", "registration-wrong-patient"]
    longer = judged(lambda _, place: ghost(place, 0.03 * place[2] * UP, above=None))
    assert set(codes(longer)) == {"registration-wrong-patient"}
    assert codes(longer, Level.WARN) == ["level-unchecked"]


def test_three_places_are_enough() -> None:
    assert codes(judged(lambda n, place: ghost(place) if n in (1, 4, 6) else None, computed=True, hips=True)) == []


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("ct", [column(240.0, half_width_mm=80.0), column(48.0)], ids=["a limb", "too short"])
def test_a_ct_without_a_spine_leaves_a_computed_level_unchecked(ct: Volume, computed: bool) -> None:
    def never(_fit: object, _places: Iterable[Points]) -> Iterator[Ghost | None]:
        raise AssertionError("nothing is there to fit")

    here = Rigid(np.eye(4), CT, MR)
    check = check_levels(ct, (small_mr(3.0),), here, computed=computed, seed=1, mapper=never)
    assert_unchecked(check, computed=computed)
    assert check.motion_near(np.zeros(3)) is None


def test_without_an_mr_only_the_spine_is_found() -> None:
    check = check_levels(column(240.0), (), Rigid(np.eye(4), CT, MR), computed=False, seed=1)
    assert check.spine.found
    assert (check.ghosts, check.findings) == ((), ())


def wrong_patient(check: LevelCheck) -> list[Finding]:
    assert set(codes(check)) <= {"registration-wrong-patient"}
    return list(check.findings)


@pytest.mark.parametrize(
    ("places", "apart", "told"),
    [
        (LEAST_COMPARED + 1, LEAST_COMPARED // 2, False),
        (LEAST_COMPARED + 1, LEAST_COMPARED // 2 + 1, True),
        (LEAST_COMPARED - 1, LEAST_COMPARED - 1, False),
    ],
    ids=["less than half", "more than half", "too few places"],
)
def test_measures_that_contradict_each_other_at_most_places_tell_another_patient(
    places: int, apart: int, told: bool
) -> None:
    def found(n: int, place: Points) -> Ghost | None:
        return ghost(place, apart_mm=9.0 if n < apart else 0.5) if n < places else None

    findings = wrong_patient(judged(found))
    assert len(findings) == told
    if told:
        assert (findings[0].value, findings[0].unit) == (9.0, "mm")
        assert findings[0].limit == MOST_APART * AGREEMENT_MM


@pytest.mark.parametrize("voxel_mm", [3.0, 6.0])
@pytest.mark.parametrize(("beyond", "told"), [(-0.01, False), (0.01, True)])
def test_how_far_measures_may_lie_apart_follows_the_voxel(voxel_mm: float, beyond: float, told: bool) -> None:
    """They agree within two millimetres or half a voxel; another patient's are well beyond."""
    limit_mm = MOST_APART * max(2.0, voxel_mm / 2)
    check = judged(lambda _, place: ghost(place, apart_mm=limit_mm + beyond), voxel_mm=voxel_mm)
    assert any("independent fits" in finding.message for finding in wrong_patient(check)) is told


@pytest.mark.parametrize(("beyond_mm", "told"), [(0.01, True), (-0.01, False)])
def test_vertebrae_that_each_lie_elsewhere_than_their_neighbours_tell_another_patient(
    beyond_mm: float, told: bool
) -> None:
    """Both measures agree on each of them, and the spine is as long as it was."""
    off_mm = (MOST_FROM_NEIGHBOURS * AGREEMENT_MM + beyond_mm) / 2.0

    def found(n: int, place: Points) -> Ghost:
        return ghost(place, (off_mm * (-1) ** n, 0.0, 0.0), apart_mm=0.0)

    findings = wrong_patient(judged(found))
    assert len(findings) == told
    if told:
        assert findings[0].value == pytest.approx(2.0 * off_mm)
        assert "neighbours" in findings[0].message


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["longer", "shorter"])
@pytest.mark.parametrize(("beyond", "told"), [(1e-3, True), (-1e-3, False)])
def test_a_spine_of_another_length_tells_another_patient(sign: float, beyond: float, told: bool) -> None:
    stretch = sign * (MOST_STRETCH + beyond)
    check = judged(lambda _, place: ghost(place, stretch * place[2] * UP))
    findings = wrong_patient(check)
    assert len(findings) == told
    if told:
        assert (findings[0].value, findings[0].limit) == (pytest.approx(abs(stretch)), MOST_STRETCH)
        assert "length" in findings[0].message


def test_a_length_that_the_places_do_not_agree_on_tells_nothing() -> None:
    check = judged(lambda n, place: ghost(place, (0.02 * place[2] + 15.0 * (-1) ** n) * UP))
    assert check.stretch is not None
    assert check.stretch[1] < SURE_STRETCH < MOST_STRETCH < check.stretch[0]
    assert not any("length" in finding.message for finding in wrong_patient(check))


def wider(by: float, otherwise: float | None = None, *, apart_mm: float = 0.5, missing: bool = False) -> Found:
    """Places in the hips that lie further apart on the MR by a part of their distance; the spine did not move.

    ``otherwise`` is what the other measure says of that part.
    """
    beside = by if otherwise is None else otherwise

    def found(n: int, place: Points) -> Ghost | None:
        if abs(place[0]) <= 45.0:
            return ghost(place)
        if place[0] < 0.0 and missing:
            return None
        here = ghost(place, (by * place[0], 0, 0), apart_mm=apart_mm)
        if here.moved_otherwise_mm is None:
            return here
        more = np.array([(beside - by) * place[0], 0.0, 0.0])
        return replace(here, moved_otherwise_mm=here.moved_otherwise_mm + more)

    return found


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["wider", "narrower"])
@pytest.mark.parametrize(("beyond", "told"), [(1e-3, True), (-1e-3, False)])
def test_a_pelvis_of_another_width_tells_another_patient(sign: float, beyond: float, told: bool) -> None:
    width = sign * (MOST_WIDTH + beyond)
    check = judged(wider(width), hips=True)
    assert check.widths == pytest.approx((width, width))
    findings = wrong_patient(check)
    assert len(findings) == told
    if told:
        assert (findings[0].value, findings[0].limit) == (pytest.approx(abs(width)), MOST_WIDTH)
        assert "width of the pelvis" in findings[0].message


@pytest.mark.parametrize(
    "found", [wider(0.05, apart_mm=np.inf), wider(0.05, missing=True)], ids=["one measure alone", "one hip alone"]
)
def test_hips_that_two_measures_did_not_find_tell_no_width(found: Found) -> None:
    check = judged(found, hips=True)
    assert check.widths == ()
    assert wrong_patient(check) == []


@pytest.mark.parametrize(
    ("one", "other", "width"), [(0.08, 0.03, 0.03), (-0.03, -0.08, -0.03), (0.08, -0.03, 0.0), (0.08, 0.0, 0.0)]
)
def test_of_two_measures_the_one_that_says_less_tells_the_width(one: float, other: float, width: float) -> None:
    """Wherever they put the hips: another man's differ in width, and his bones fit nowhere well."""
    check = judged(wider(one, other, apart_mm=9.0), hips=True)
    assert check.widths == pytest.approx((width, width))
    assert len(wrong_patient(check)) == (abs(width) > MOST_WIDTH)


def test_hips_do_not_count_as_places_of_the_spine() -> None:
    check = judged(wider(0.0, apart_mm=50.0), hips=True)
    assert check.apart_mm == 0.5
    assert all(abs(one.place_mm[0]) < 10.0 for one in check.ghosts)
