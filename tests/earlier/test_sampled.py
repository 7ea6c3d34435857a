"""Regions as points: every point in its slab, the volume kept, and what lies in another region told exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from shapely.geometry import Point, Polygon

from psdt_planner.geometry import Grid
from psdt_planner.planning.sampled import sampled, within
from psdt_planner.shapes import Contour, rings_volume_ml
from psdt_planner.structures import slabs
from tests.structures.scenes import ORIENTATIONS, ct_grid

UNEVEN = (0.0, 2.0, 4.0, 7.5, 9.5, 11.0)


def wedge(ct: Grid, shift_mm: tuple[float, float] = (0.0, 0.0)) -> tuple[Contour, ...]:
    """A five-cornered ring that shrinks from slice to slice, in mm along columns and rows."""
    corners = np.array([[-11.0, -8.0], [9.0, -10.0], [13.0, 2.0], [1.0, 9.0], [-9.0, 6.0]]) + shift_mm
    rings = []
    for k in range(1, 5):
        flat = corners * (1.0 - 0.1 * k) / np.array(ct.spacing_ji_mm)[::-1]
        middle = (np.array(ct.shape[1:]) - 1.0) / 2.0
        index = np.column_stack([np.full(5, k), middle[0] + flat[:, 1], middle[1] + flat[:, 0]])
        rings.append(Contour(ct.mm_from_index(index), k))
    return tuple(rings)


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_points_keep_the_volume_and_stay_in_their_slabs(position: str) -> None:
    ct = ct_grid(position=position, offsets_mm=UNEVEN)
    rings = wedge(ct)
    found = sampled(rings, ct)
    assert found.volumes_ml.sum() == pytest.approx(rings_volume_ml(rings, ct), rel=1e-9)
    assert within(found.points_mm[found.volumes_ml > 0], slabs(rings, ct), ct).all()


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_the_surface_has_a_point_within_a_millimetre_everywhere(position: str) -> None:
    """Corners, edges and the caps at both ends."""
    ct = ct_grid(position=position, offsets_mm=UNEVEN)
    rings = wedge(ct)
    found, solid = sampled(rings, ct), slabs(rings, ct)
    tree = cKDTree(found.points_mm)
    for ring in rings:
        along = np.linspace(ring.points_mm, np.roll(ring.points_mm, -1, axis=0), 37).reshape(-1, 3)
        assert tree.query(along)[0].max() <= 0.75
    first, last = solid.ends_mm[0, 0], solid.ends_mm[-1, 1]
    for k, height in ((1, first), (4, last)):
        inner = np.mean(rings[k - 1].points_mm, axis=0)
        cap = inner + (height - ct.slice_offsets_mm[k]) * ct.normal
        assert tree.query(cap)[0] <= 0.75


def test_the_points_are_spread_evenly() -> None:
    """Their middle and their spread are those of the volume: of a box, its sides over the root of 12."""
    ct = ct_grid(offsets_mm=tuple(2.0 * k for k in range(20)))
    x = np.array([-12.0, 12.0, 12.0, -12.0])
    y = np.array([-7.0, -7.0, 7.0, 7.0])
    rings = [Contour(np.column_stack([x, y, np.full(4, ct.slice_origins_mm[k, 2])]), k) for k in range(5, 15)]
    found = sampled(rings, ct)
    inner = found.points_mm[found.volumes_ml > 0]
    np.testing.assert_allclose(inner.mean(axis=0)[:2], [0.0, 0.0], atol=0.02)
    np.testing.assert_allclose(inner.std(axis=0), np.array([24.0, 14.0, 20.0]) / np.sqrt(12.0), rtol=0.01)


def test_within_against_polygon_by_polygon() -> None:
    ct = ct_grid(position="FFS", offsets_mm=UNEVEN)
    solid = slabs(wedge(ct), ct)
    points = np.random.default_rng(1).uniform(-16, 16, (400, 3)) * [1.0, 1.0, 0.5]
    found = within(points, solid, ct)
    for point, inside in zip(points, found, strict=True):
        height = (point - ct.slice_origins_mm[0]) @ ct.normal
        index = ct.index_from_mm(point)
        flat = Point(index[2] * ct.spacing_ji_mm[1], index[1] * ct.spacing_ji_mm[0])
        expected = any(
            start <= height <= end and Polygon(plane).covers(flat)
            for plane, (start, end) in zip(solid.planes, solid.ends_mm, strict=True)
        )
        assert inside == expected, point
    assert 0.05 < found.mean() < 0.5


def test_a_region_of_one_thin_ring_has_a_point() -> None:
    ct = ct_grid(offsets_mm=UNEVEN)
    z = ct.slice_origins_mm[2, 2]
    ring = Contour(np.array([[0.0, 0.0, z], [20.0, 0.0, z], [20.0, 0.05, z]]), 2)
    found = sampled((ring,), ct)
    assert found.volumes_ml.sum() == pytest.approx(rings_volume_ml((ring,), ct), rel=1e-6)


def test_nothing_has_no_points() -> None:
    found = sampled((), ct_grid(offsets_mm=UNEVEN))
    assert found.points_mm.shape == (0, 3)
    assert found.volumes_ml.shape == (0,)
