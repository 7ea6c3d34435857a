"""From rings to what they hold: masks against the crossing count, shapes against known bodies."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from shapely.geometry import Point, Polygon

from psdt_planner.contours import even_odd, mask_of, shape_of, trace
from psdt_planner.contours.plane import contour_of
from psdt_planner.errors import GeometryError
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Contour, GeometricType, Shape, rings_volume_ml
from tests.structures.scenes import ORIENTATIONS, ct_grid, inside_rings


def discs(ct: Grid, radius_of_mm, slices, centre=(35.0, 40.0)) -> list[Contour]:
    """A disc on each slice, its radius by the slice's place along the normal."""
    out = []
    for k in slices:
        radius_mm = radius_of_mm(float(ct.slice_offsets_mm[k]))
        if radius_mm > 0.5:
            out.append(contour_of(Point(centre).buffer(radius_mm, quad_segs=24), ct, k))
    return out


def value_at(shape: Shape, points_mm: np.ndarray) -> np.ndarray:
    index = np.moveaxis(shape.grid.index_from_mm(np.atleast_2d(points_mm)), -1, 0)
    return ndimage.map_coordinates(shape.field, index, order=1, mode="nearest")


@given(seed=st.integers(0, 100_000), whole=st.booleans())
@settings(max_examples=60, deadline=None)
def test_even_odd_is_the_crossing_count(seed, whole):
    """Any rings, also self-crossing, partly outside, and with corners and edges on pixel centres."""
    rng = np.random.default_rng(seed)
    rings = [rng.uniform(-4, 16, (rng.integers(3, 9), 2)) for _ in range(rng.integers(1, 4))]
    rings = [np.round(ring) for ring in rings] if whole else rings
    j, i = np.mgrid[0:12, 0:11]
    pixels = np.column_stack([i.ravel(), j.ravel()]).astype(float)
    slow = inside_rings([ring[:, ::-1] for ring in rings], pixels).reshape(12, 11)
    np.testing.assert_array_equal(even_odd(rings, (12, 11)), slow)


def test_no_rings_hold_nothing():
    assert not even_odd([], (3, 4)).any()
    assert not mask_of([], ct_grid()).any()


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_a_mask_is_what_the_rings_hold_hole_and_island_included(position):
    ct = ct_grid(position=position)
    ring = Point(35, 40).buffer(15).difference(Point(33, 41).buffer(8))
    island = Point(33, 41).buffer(3)
    drawn = [contour_of(ring, ct, 5), contour_of(island, ct, 5), contour_of(island, ct, 9)]
    nested = [
        Contour(points, 5, geometric_type=GeometricType.XOR) for points in (drawn[0].points_mm, *drawn[0].holes_mm)
    ]
    j, i = np.mgrid[0 : ct.shape[1], 0 : ct.shape[2]]
    x, y = i * ct.spacing_ji_mm[1], j * ct.spacing_ji_mm[0]
    for contours in (drawn, [*nested, *drawn[1:]]):
        mask = mask_of(contours, ct)
        assert mask.shape == ct.shape
        assert set(np.flatnonzero(mask.any(axis=(1, 2)))) == {5, 9}
        np.testing.assert_array_equal(mask[5], shapely.contains_xy(shapely.union(ring, island), x, y))
        np.testing.assert_array_equal(mask[9], shapely.contains_xy(island, x, y))


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_a_ball_comes_out_a_ball_on_uneven_slices(position):
    ct = ct_grid(position=position, offsets_mm=np.cumsum([2.0, 3.0, 2.5, 1.5] * 8))
    middle_mm = ct.slice_offsets_mm[-1] / 2
    contours = discs(ct, lambda at: np.sqrt(max(144 - (at - middle_mm) ** 2, 0.0)), range(ct.shape[0]))
    shape = shape_of(contours, ct)
    centre = ct.slice_origins_mm[0] + middle_mm * ct.normal
    centre = centre + 35.0 * ct.step_i_mm / ct.spacing_ji_mm[1] + 40.0 * ct.step_j_mm / ct.spacing_ji_mm[0]
    away = np.random.default_rng(1).normal(size=(500, 3))
    away /= np.linalg.norm(away, axis=1)[:, None]
    away = away[np.abs(away @ ct.normal) < 0.8]  # nearer to the poles, the end slices are flat and thick
    assert (value_at(shape, centre + 11.5 * away) > 0).all()
    assert (value_at(shape, centre + 12.5 * away) < 0).all()
    assert shape.field[[0, -1]].max() < 0
    assert shape.field[:, [0, -1]].max() < 0
    assert shape.field[:, :, [0, -1]].max() < 0


def test_traced_again_the_rings_are_where_they_were():
    ct = ct_grid()
    shell = [
        contour_of(Point(35, 40).buffer(14 - 0.05 * k).difference(Point(37, 40).buffer(5)), ct, k) for k in range(8, 20)
    ]
    again = trace(shape_of(shell, ct), ct)
    assert [ring.slice_index for ring in again.contours] == list(range(8, 20))
    for old, new in zip(shell, again.contours, strict=True):
        assert len(new.holes_mm) == 1
        for first, second in ((old.points_mm, new.points_mm), (old.holes_mm[0], new.holes_mm[0])):
            a, b = (Polygon(ct.index_from_mm(points)[:, 1:]) for points in (first, second))
            assert a.boundary.hausdorff_distance(b.boundary) < 0.2
    assert rings_volume_ml(again.contours, ct) == pytest.approx(rings_volume_ml(shell, ct), rel=2e-3)
    assert again.filled_ml == again.beyond_ct_ml == again.between_slices_ml == 0.0


def test_an_end_slice_is_as_thick_as_it_counts():
    ct = ct_grid(offsets_mm=[0, 2, 6, 9, 12, 15])
    shape = shape_of(discs(ct, lambda at: 8.0, [2]), ct)
    centre = ct.slice_origins_mm[0] + np.array([35.0, 40.0, 0.0])
    for at_mm, inside in ((3.9, False), (4.1, True), (6.0, True), (7.4, True), (7.6, False)):
        assert (value_at(shape, centre + at_mm * ct.normal)[0] > 0) == inside


def test_nothing_is_drawn_on_slices_that_were_skipped():
    ct = ct_grid(offsets_mm=3.0 * np.arange(12))
    shape = shape_of(discs(ct, lambda at: 8.0, [2, 3, 6, 7]), ct)
    centre = ct.slice_origins_mm[0] + np.array([35.0, 40.0, 0.0])
    inside = [bool(value_at(shape, centre + 3.0 * k * ct.normal)[0] > 0) for k in range(12)]
    assert np.flatnonzero(inside).tolist() == [2, 3, 6, 7]
    assert [ring.slice_index for ring in trace(shape, ct).contours] == [2, 3, 6, 7]


def test_a_large_organ_gets_a_coarser_lattice_and_a_fine_outline():
    ct = ct_grid(shape_ji=(300, 260), offsets_mm=3.0 * np.arange(80))
    middle_mm = ct.slice_offsets_mm[-1] / 2
    contours = discs(ct, lambda at: np.sqrt(max(110.0**2 - (at - middle_mm) ** 2, 0.0)), range(80), (140, 135))
    shape = shape_of(contours, ct)
    assert 1.0 < shape.grid.spacing_ji_mm[0] <= 3.0
    assert rings_volume_ml(trace(shape, ct).contours, ct) == pytest.approx(rings_volume_ml(contours, ct), rel=2e-3)


def test_no_contours_and_no_thickness_are_refused():
    with pytest.raises(GeometryError, match="no contours make no shape"):
        shape_of([], ct_grid())
    single = ct_grid(offsets_mm=[0.0])
    with pytest.raises(GeometryError, match="one slice alone has no thickness"):
        shape_of(discs(single, lambda at: 8.0, [0]), single)
