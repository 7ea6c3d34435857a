"""What the measures of psdt's own are made of: reading between voxels, draws, moves and mutual information."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.registration.fits import Image
from psdt_planner.registration.information import (
    BINS,
    BLUR_BINS,
    binned,
    normalised_information,
)
from psdt_planner.registration.sampling import (
    MM_PER_RADIAN,
    Channels,
    drawn,
    drawn_points,
    moved_by,
    slopes_of,
    values_of,
)

CT, MR = "1.2.3", "1.2.4"
seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(2, 4), st.integers(5, 7), st.integers(8, 11))
origins = st.tuples(*[st.floats(-900, 900).map(lambda x: round(x, 2))] * 3)


def lattice(shape: tuple[int, ...], origin: tuple[float, ...], spacing_mm: float, frame: str = MR) -> Grid:
    """Along L, P and S: k goes up, j to the back, i to the left."""
    matrix = np.eye(4)
    matrix[:3, :3] = spacing_mm * np.eye(3)[:, ::-1]
    matrix[:3, 3] = origin
    return Grid.regular(matrix, (shape[0], shape[1], shape[2]), frame)


def rigid(degrees: tuple[float, float, float], shift_mm: tuple[float, ...]) -> Rigid:
    """mr_from_ct."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return Rigid(matrix, MR, CT)


def oracle_values(channels: Channels, points_mm: Points) -> NDArray[np.float64]:
    """``(N, C)`` by scipy, one channel after the other; beyond the lattice the nearest place on it."""
    index = channels.grid.index_from_mm(points_mm).T
    field = np.moveaxis(channels.field.astype(np.float64), -1, 0)
    return np.stack([ndimage.map_coordinates(one, index, order=1, mode="nearest") for one in field], axis=-1)


def random_channels(shape: tuple[int, ...], origin: tuple[float, ...], spacing_mm: float, seed: int) -> Channels:
    field = np.random.default_rng(seed).normal(0, 10, (*shape, 3)).astype(np.float32)
    return Channels(lattice(shape, origin, spacing_mm), field)


def points_in_cells(grid: Grid, seed: int, margin: float = 0.05) -> Points:
    """Forty places, none of them near the wall of its cell."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, np.array(grid.shape) - 1, (40, 3))
    return grid.mm_from_index(cells + rng.uniform(margin, 1 - margin, (40, 3)))


# reading between voxels -----------------------------------------------------------------------------------------------


@given(shapes, origins, st.sampled_from([0.7, 2.0, 3.3]), seeds)
def test_values_are_the_linear_interpolation_of_every_channel(
    shape: tuple[int, int, int], origin: tuple[float, float, float], spacing_mm: float, seed: int
) -> None:
    channels = random_channels(shape, origin, spacing_mm, seed)
    points = points_in_cells(channels.grid, seed)
    corners, way, inside = channels.corners(points)
    assert inside.all()
    assert (corners.shape, way.shape) == ((2, 2, 2, 40, 3), (40, 3))
    np.testing.assert_allclose(values_of(corners, way), oracle_values(channels, points), atol=2e-4)


@given(shapes, origins, st.sampled_from([0.7, 2.0, 3.3]), seeds)
def test_slopes_are_the_central_differences_inside_a_cell(
    shape: tuple[int, int, int], origin: tuple[float, float, float], spacing_mm: float, seed: int
) -> None:
    channels = random_channels(shape, origin, spacing_mm, seed)
    points = points_in_cells(channels.grid, seed)
    corners, way, _ = channels.corners(points)
    step = 0.04 * spacing_mm
    expected = np.stack(
        [
            (oracle_values(channels, points + axis) - oracle_values(channels, points - axis)) / (2 * step)
            for axis in step * np.eye(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(slopes_of(corners, way, spacing_mm), expected, atol=2e-3 / spacing_mm)


def test_every_voxel_reads_itself_up_to_the_last() -> None:
    channels = random_channels((3, 5, 8), (-7.0, 30.0, 410.0), 2.0, seed=4)
    corners, way, inside = channels.corners(channels.grid.centres_mm().reshape(-1, 3))
    assert inside.all()
    np.testing.assert_allclose(values_of(corners, way), channels.field.reshape(-1, 3), atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2], ids="xyz")
@pytest.mark.parametrize("beyond", [False, True], ids=["before the first", "behind the last"])
def test_a_point_beyond_the_last_centres_is_outside_and_reads_the_nearest_place(axis: int, beyond: bool) -> None:
    channels = random_channels((3, 5, 8), (-7.0, 30.0, 410.0), 2.0, seed=4)
    first, last = (channels.grid.mm_from_index(index) for index in ([0, 0, 0], [2, 4, 7]))
    point = (first + last) / 2 + [0.3, 0.4, 0.5]
    point[axis] = last[axis] + 0.01 if beyond else first[axis] - 0.01
    far = point + np.eye(3)[axis] * (1e4 if beyond else -1e4)
    corners, way, inside = channels.corners(np.array([point, far]))
    assert inside.tolist() == [False, False]
    np.testing.assert_allclose(values_of(corners, way), oracle_values(channels, np.array([point, far])), atol=1e-4)


@given(seeds)
def test_a_point_may_be_read_where_its_nearest_voxel_may(seed: int) -> None:
    whole = random_channels((3, 5, 8), (-7.0, 30.0, 410.0), 2.0, seed)
    usable = np.random.default_rng(seed).random((3, 5, 8)) < 0.5
    points = points_in_cells(whole.grid, seed)
    nearest = np.rint(whole.grid.index_from_mm(points)).astype(int)
    _, _, inside = Channels(whole.grid, whole.field, usable).corners(points)
    assert inside.tolist() == [bool(usable[tuple(index)]) for index in nearest]


@given(seeds, st.integers(1, 200))
def test_draws_do_not_repeat_and_keep_to_the_mask(seed: int, count: int) -> None:
    mask = np.random.default_rng(7).random((4, 5, 6)) < 0.6
    index = drawn(mask, count, seed)
    assert len(index) == min(count, mask.sum())
    assert len(np.unique(index, axis=0)) == len(index)
    assert mask[tuple(index.T)].all()
    np.testing.assert_array_equal(index, drawn(mask, count, seed))


def test_another_seed_draws_otherwise_and_too_few_are_all_taken() -> None:
    mask = np.ones((4, 5, 6), dtype=bool)
    assert not np.array_equal(drawn(mask, 50, seed=1), drawn(mask, 50, seed=2))
    np.testing.assert_array_equal(drawn(mask, 120, seed=1), np.argwhere(mask))


def test_drawn_points_lie_at_their_voxels_of_the_mask() -> None:
    grid = lattice((4, 5, 6), (-7.0, 30.0, 410.0), 2.0)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[1, 2, 3] = mask[3, 0, 5] = True
    index, points = drawn_points(Image(grid, mask.astype(np.float32), mask), 10, seed=1)
    assert index.tolist() == [[1, 2, 3], [3, 0, 5]]
    np.testing.assert_allclose(points, [[-1, 34, 412], [3, 30, 416]])
    assert len(drawn_points(Image(grid, mask.astype(np.float32)), 1000, seed=1)[1]) == 120, "no mask: all"


# moving ---------------------------------------------------------------------------------------------------------------

START = rigid((20, -35, 50), (10, -20, 300))
CENTRE = np.array([31.0, -12.0, 77.0])
six = st.tuples(*[st.floats(-30, 30)] * 6).map(np.array)


def test_no_parameters_move_nothing() -> None:
    np.testing.assert_allclose(moved_by(np.zeros(6), START, CENTRE).matrix, START.matrix, atol=1e-12)


@given(six)
def test_a_turn_goes_around_where_the_start_takes_the_centre(parameters: NDArray[np.float64]) -> None:
    moved = moved_by(parameters, START, CENTRE)
    assert (moved.target, moved.source) == (MR, CT)
    np.testing.assert_allclose(moved.apply(CENTRE), START.apply(CENTRE) + parameters[3:], atol=1e-9)
    turn = Rotation.from_matrix(moved.matrix[:3, :3] @ START.matrix[:3, :3].T)
    np.testing.assert_allclose(turn.as_rotvec() * MM_PER_RADIAN, parameters[:3], atol=1e-7)


@given(six)
def test_the_opposite_turn_and_then_the_opposite_shift_lead_back(parameters: NDArray[np.float64]) -> None:
    turned, shifted = parameters * [1, 1, 1, 0, 0, 0], parameters * [0, 0, 0, 1, 1, 1]
    there = moved_by(shifted, moved_by(turned, START, CENTRE), CENTRE)
    np.testing.assert_allclose(there.matrix, moved_by(parameters, START, CENTRE).matrix, atol=1e-9)
    back = moved_by(-turned, moved_by(-shifted, there, CENTRE), CENTRE)
    np.testing.assert_allclose(back.matrix, START.matrix, atol=1e-9)


def test_a_turn_of_one_is_a_millimetre_at_the_edge_of_the_box() -> None:
    edge = CENTRE + START.matrix[:3, :3].T @ [0.0, MM_PER_RADIAN, 0.0]
    moved = moved_by(np.array([1.0, 0, 0, 0, 0, 0]), START, CENTRE).apply(edge) - START.apply(edge)
    np.testing.assert_allclose(moved, [0.0, 0.0, 1.0], atol=0.02)


# normalised mutual information ----------------------------------------------------------------------------------------

whole_bins = st.integers(0, BINS - 1)


def slow_information(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Counted one by one, blurred by scipy, the entropies from their definition."""
    joint = np.zeros((BINS, BINS))
    for one, other in zip(a, b, strict=True):
        joint[round(float(one)), round(float(other))] += 1
    joint = ndimage.gaussian_filter(joint, BLUR_BINS, mode="constant", radius=2)
    p = joint / joint.sum()

    def entropy(of: NDArray[np.float64]) -> float:
        return float(-sum(x * np.log(x) for x in of.ravel() if x > 0))

    return (entropy(p.sum(axis=0)) + entropy(p.sum(axis=1))) / entropy(p)


@given(st.lists(st.tuples(whole_bins, whole_bins), min_size=1, max_size=60))
def test_on_whole_bins_the_information_is_that_of_the_counted_pairs(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.float32).T
    assert normalised_information(a, b) == pytest.approx(slow_information(a, b), abs=1e-6)


@given(st.lists(st.tuples(whole_bins, st.integers(0, BINS - 2)), min_size=1, max_size=60))
def test_a_number_between_two_bins_counts_half_in_each(pairs: list[tuple[int, int]]) -> None:
    a, lower = np.array(pairs, dtype=np.float32).T
    twice = normalised_information(np.concatenate([a, a]), np.concatenate([lower, lower + 1]))
    assert normalised_information(a, lower + 0.5) == pytest.approx(twice, abs=1e-9)


@given(st.lists(st.tuples(whole_bins, whole_bins), min_size=1, max_size=60), st.floats(-0.45, 0.45))
def test_the_still_image_counts_in_its_nearest_bin(pairs: list[tuple[int, int]], off: float) -> None:
    a, b = np.array(pairs, dtype=np.float32).T
    near = np.clip(a + off, 0, BINS - 1).astype(np.float32)
    assert normalised_information(near, b) == normalised_information(a, b)


def test_the_information_of_independent_numbers_is_one() -> None:
    rng = np.random.default_rng(5)
    a, b = np.meshgrid(rng.integers(0, BINS, 40), rng.uniform(0, BINS - 1, 50))
    independent = normalised_information(a.ravel().astype(np.float32), b.ravel().astype(np.float32))
    assert independent == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("relation", [[2, 8, 14, 20, 25], [25, 20, 14, 8, 2], [14, 2, 25, 8, 20]])
def test_the_information_of_a_one_to_one_relation_is_that_of_its_bins_and_the_blur(relation: list[int]) -> None:
    """Five bins so far apart that the blur joins none: each entropy is theirs and once or twice the kernel's."""
    a, b = (np.repeat(bins, 30).astype(np.float32) for bins in ([2, 8, 14, 20, 25], relation))
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / BLUR_BINS) ** 2)
    kernel /= kernel.sum()
    blur, bins = float(-(kernel * np.log(kernel)).sum()), np.log(5.0)
    expected = (2 * bins + 2 * blur) / (bins + 2 * blur)
    assert 1.0 < expected < 2.0, "two is the limit without the blur"
    assert normalised_information(a, b) == pytest.approx(expected, abs=1e-6)


def test_bins_span_the_first_to_the_99th_percentile() -> None:
    values = np.arange(0, 1001, dtype=np.float32)  # percentiles 10 and 990
    bins = binned(values)
    np.testing.assert_allclose(bins[[0, 10, 500, 990, 1000]], np.array([0, 0, 0.5, 1, 1]) * (BINS - 1), atol=1e-4)
    np.testing.assert_allclose(binned(values * 3 - 70), bins, atol=1e-4)
    np.testing.assert_array_equal(binned(np.full(9, 5.0, dtype=np.float32)), np.zeros(9))
