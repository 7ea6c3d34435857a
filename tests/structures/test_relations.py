"""Overlap and distance of structures, against counting and measuring between many points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from psdt_planner.errors import GeometryError
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Contour, rings_volume_ml
from psdt_planner.structures import distance_mm, overlap_ml, slabs
from tests.structures.scenes import ORIENTATIONS, ct_grid, inside_rings

UNEVEN = (0.0, 2.0, 4.0, 7.0, 9.0, 11.5, 14.0, 16.0, 19.0, 21.0)


def ring(ct: Grid, k: int, xy_mm: NDArray[np.float64]) -> Contour:
    """A ring from places in mm along columns and rows from the middle of slice ``k``."""
    j, i = ct.spacing_ji_mm
    middle = (np.array(ct.shape[1:]) - 1) / 2
    index = np.column_stack([np.full(len(xy_mm), k), middle[0] + xy_mm[:, 1] / j, middle[1] + xy_mm[:, 0] / i])
    return Contour(ct.mm_from_index(index), k)


def circle(radius_mm: float, centre: tuple[float, float] = (0.0, 0.0), points: int = 90) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.array(centre) + radius_mm * np.column_stack([np.cos(angle), np.sin(angle)])


def square(half_mm: float, centre: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float64]:
    return np.array(centre) + half_mm * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])


def ends_mm(ct: Grid, k: int) -> tuple[float, float]:
    """Where a slice begins and ends along the normal, said slowly: half-way to its neighbours."""
    at = ct.slice_offsets_mm
    before = at[k] - at[k - 1] if k else at[1] - at[0]
    after = at[k + 1] - at[k] if k + 1 < len(at) else at[-1] - at[-2]
    return at[k] - before / 2, at[k] + after / 2


def cloud(ct: Grid, contours: list[Contour], step_mm: float) -> NDArray[np.float64]:
    """Points every ``step_mm`` within slabs of the rings, their faces and outlines included."""
    points: list[NDArray[np.float64]] = []
    for k in sorted({contour.slice_index for contour in contours}):
        rings = [
            ct.index_from_mm(c.points_mm)[:, [2, 1]] * ct.spacing_ji_mm[::-1] for c in contours if c.slice_index == k
        ]
        low, high = np.min([r.min(axis=0) for r in rings], axis=0), np.max([r.max(axis=0) for r in rings], axis=0)
        axes = [np.arange(a, b + step_mm, step_mm) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        held = [grid[inside_rings(rings, grid)]]
        for outline in rings:
            ways = [np.linspace(a, b, 40) for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True)]
            held.append(np.concatenate(ways))
        flat = np.concatenate(held)
        first, last = ends_mm(ct, k)
        heights = np.linspace(first, last, int((last - first) / step_mm) + 2)
        points.extend(np.column_stack([flat, np.full(len(flat), z)]) for z in heights)
    return np.concatenate(points)


@given(
    seed=st.integers(0, 10_000),
    position=st.sampled_from(sorted(ORIENTATIONS)),
    uneven=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_distance_agrees_with_many_points(seed: int, position: str, uneven: bool) -> None:
    rng = np.random.default_rng(seed)
    ct = ct_grid(position=position, offsets_mm=UNEVEN if uneven else np.arange(10) * 2.0)
    low, high = np.sort(rng.choice(10, 4, replace=False)).reshape(2, 2)
    apart = rng.uniform(6.0, 16.0) * np.array([np.cos(seed), np.sin(seed)])
    one = [ring(ct, k, circle(rng.uniform(2, 5), points=24)) for k in range(low[0], low[1] + 1)]
    two = [ring(ct, k, square(rng.uniform(1, 4), (apart[0], apart[1]))) for k in range(high[0], high[1] + 1)]

    found = distance_mm(slabs(one, ct), slabs(two, ct))

    near, _ = cKDTree(cloud(ct, two, 0.4)).query(cloud(ct, one, 0.4))
    assert found <= near.min() + 1e-6
    assert found >= near.min() - 0.3
    assert distance_mm(slabs(two, ct), slabs(one, ct)) == pytest.approx(found)


def test_distances_are_exact_where_one_can_say_them() -> None:
    ct = ct_grid(offsets_mm=UNEVEN)
    one = slabs([ring(ct, k, square(3.0)) for k in (1, 2)], ct)
    beside = slabs([ring(ct, k, square(2.0, (9.0, 0.0))) for k in (0, 1, 2)], ct)
    above = slabs([ring(ct, 6, square(3.0))], ct)
    both = slabs([ring(ct, 6, square(2.0, (9.0, 0.0)))], ct)
    assert distance_mm(one, beside) == pytest.approx(4.0)
    assert distance_mm(one, above) == pytest.approx(12.75 - 5.5), "slice 2 ends at 5.5 mm, slice 6 begins at 12.75 mm"
    assert distance_mm(one, both) == pytest.approx(np.hypot(4.0, 7.25))


def test_slices_that_follow_each_other_touch() -> None:
    ct = ct_grid(offsets_mm=UNEVEN)
    below, on_top = (slabs([ring(ct, k, square(3.0))], ct) for k in (3, 4))
    assert distance_mm(below, on_top) == 0.0
    assert overlap_ml(below, on_top) == 0.0


@given(seed=st.integers(0, 10_000), position=st.sampled_from(sorted(ORIENTATIONS)))
@settings(max_examples=10, deadline=None)
def test_overlap_agrees_with_counting(seed: int, position: str) -> None:
    rng = np.random.default_rng(seed)
    ct = ct_grid(position=position, offsets_mm=UNEVEN)
    one = {k: circle(rng.uniform(4, 9), (rng.uniform(-3, 3), rng.uniform(-3, 3)), 30) for k in range(1, 7)}
    two = {k: square(rng.uniform(3, 8), (rng.uniform(-6, 6), rng.uniform(-6, 6))) for k in range(3, 9)}

    first, second = (slabs([ring(ct, k, xy) for k, xy in some.items()], ct) for some in (one, two))

    points = rng.uniform(-15, 15, (40_000, 2))
    expected = 0.0
    for k in one.keys() & two.keys():
        part = np.mean(inside_rings([one[k]], points) & inside_rings([two[k]], points))
        expected += part * 900.0 * np.diff(ends_mm(ct, k))[0] / 1000.0
    assert overlap_ml(first, second) == pytest.approx(expected, abs=0.03 + 0.05 * expected)
    assert overlap_ml(second, first) == pytest.approx(overlap_ml(first, second))
    assert (overlap_ml(first, second) > 0) == (distance_mm(first, second) == 0.0)


def test_a_structure_overlaps_itself_by_its_volume() -> None:
    ct = ct_grid(position="FFP", offsets_mm=UNEVEN)
    rings = [ring(ct, k, circle(6.0)) for k in range(2, 8)]
    assert overlap_ml(slabs(rings, ct), slabs(rings, ct)) == pytest.approx(rings_volume_ml(rings, ct))


def test_a_ring_within_a_ring_is_a_hole_and_so_is_one_that_the_contour_names() -> None:
    ct = ct_grid()
    outer, inner = ring(ct, 5, square(10.0)), ring(ct, 5, square(6.0))
    named = Contour(outer.points_mm, 5, (inner.points_mm,))
    target = slabs([ring(ct, 5, square(2.0))], ct)
    for organ in (slabs([outer, inner], ct), slabs([named], ct)):
        assert overlap_ml(target, organ) == 0.0
        assert distance_mm(target, organ) == pytest.approx(4.0)


def test_parts_on_one_slice_all_count() -> None:
    ct = ct_grid()
    organ = slabs([ring(ct, 5, square(2.0, (-15.0, 0.0))), ring(ct, 5, square(2.0, (15.0, 0.0)))], ct)
    assert distance_mm(slabs([ring(ct, 5, square(2.0, (8.0, 0.0)))], ct), organ) == pytest.approx(3.0)
    assert distance_mm(slabs([ring(ct, 5, square(2.0, (-8.0, 0.0)))], ct), organ) == pytest.approx(3.0)


def test_what_has_no_area_is_nowhere() -> None:
    ct = ct_grid()
    line = Contour(ring(ct, 5, np.array([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0]])).points_mm, 5)
    empty = slabs([line], ct)
    assert not empty.planes
    assert distance_mm(empty, slabs([ring(ct, 5, square(2.0))], ct)) == float("inf")


def test_a_ct_of_one_slice_is_refused() -> None:
    with pytest.raises(GeometryError, match="no slice distance"):
        slabs([], ct_grid(offsets_mm=(0.0,)))
