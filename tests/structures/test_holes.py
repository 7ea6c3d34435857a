"""Rings with holes as a destination takes them: filled, reached by a channel, or combined by even and odd."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon, box

from psdt_planner.contours import MAX_POINTS, by_rule
from psdt_planner.contours.holes import CHANNEL_MM
from psdt_planner.contours.plane import contour_of, flat_mm, placed_mm
from psdt_planner.shapes import Contour, GeometricType, HoleRule, rings_centroid_mm, rings_volume_ml
from tests.structures.scenes import ORIENTATIONS, ct_grid, inside_rings

CT = ct_grid(shape_ji=(120, 140))
K = 20
RULES = list(HoleRule)


def disc(x: float, y: float, radius_mm: float) -> Polygon:
    return Point(x, y).buffer(radius_mm, quad_segs=16)


def contour(polygon: Polygon, k: int = K) -> Contour:
    return contour_of(polygon, CT, k)


def flat(contours: tuple[Contour, ...]) -> list[np.ndarray]:
    return [flat_mm(ring.points_mm, CT) for ring in contours]


RING = disc(60, 60, 20).difference(disc(62, 58, 8))
ISLAND = disc(62, 58, 3)


def test_a_contour_without_holes_stays_as_it_is():
    whole = contour(disc(60, 60, 10))
    for rule in RULES:
        assert by_rule([whole], rule, CT) == (whole,)
        assert by_rule([], rule, CT) == ()


def test_filled_leaves_the_outline_and_no_ring_within_it():
    beside = contour(disc(100, 60, 5))
    filled = by_rule([contour(RING), contour(ISLAND), beside], HoleRule.FILLED, CT)
    assert [ring.geometric_type for ring in filled] == [GeometricType.CLOSED_PLANAR] * 2
    assert filled[1].points_mm is beside.points_mm
    np.testing.assert_array_equal(filled[0].points_mm, contour(RING).points_mm)
    assert filled[0].holes_mm == ()


def test_a_ring_within_the_hole_of_another_slice_stays():
    filled = by_rule([contour(RING), contour(ISLAND, K + 1)], HoleRule.FILLED, CT)
    assert [ring.slice_index for ring in filled] == [K, K + 1]


def test_a_keyhole_is_one_simple_ring_with_the_area_of_the_region():
    (ring,) = by_rule([contour(RING)], HoleRule.KEYHOLE, CT)
    (points,) = flat((ring,))
    drawn = Polygon(points)
    assert ring.holes_mm == ()
    assert ring.geometric_type is GeometricType.CLOSED_PLANAR
    assert drawn.is_valid
    channel_mm = 20 - 8 - np.hypot(2, 2)
    assert 0 <= RING.area - drawn.area == pytest.approx(CHANNEL_MM * channel_mm, rel=0.05)
    assert not drawn.contains(Point(62, 58))


def test_three_decimals_keep_a_keyhole_open():
    turned = ct_grid(shape_ji=(120, 140), position="HFDL", centre_mm=(-303.337, 411.251, -1203.37))
    (ring,) = by_rule([contour_of(RING, turned, K)], HoleRule.KEYHOLE, turned)
    written = np.round(ring.points_mm, 3)
    assert Polygon(flat_mm(written, turned)).is_valid
    assert Polygon(flat_mm(written, turned)).area == pytest.approx(RING.area, rel=1e-3)


def test_xor_marks_every_ring_of_the_region():
    contours = [contour(disc(60, 60, 9), K - 1), contour(RING), contour(ISLAND)]
    rings = by_rule(contours, HoleRule.XOR, CT)
    assert {ring.geometric_type for ring in rings} == {GeometricType.XOR}
    assert [ring.slice_index for ring in rings] == [K - 1, K, K, K]
    assert rings_volume_ml(rings, CT) == pytest.approx(rings_volume_ml(contours, CT))
    np.testing.assert_allclose(rings_centroid_mm(rings, CT), rings_centroid_mm(contours, CT))


def test_a_sieve_is_cut_open_without_crossing():
    """Many holes, which shadow each other from the outline."""
    holes = [disc(40 + 5 * n, 40 + 5 * m, 2) for n in range(8) for m in range(8)]
    sieve = box(30, 30, 85, 85).difference(shapely.union_all(holes))
    rings = by_rule([contour(sieve)], HoleRule.KEYHOLE, CT)
    drawn = [Polygon(points) for points in flat(rings)]
    assert all(one.is_valid and not one.interiors for one in drawn)
    assert sum(one.area for one in drawn) == pytest.approx(sieve.area, abs=64 * CHANNEL_MM * 6)
    assert max(len(ring.points_mm) for ring in rings) <= MAX_POINTS
    assert shapely.union_all(drawn).difference(sieve.buffer(0.15)).area == pytest.approx(0, abs=1e-9)


def test_a_hole_that_touches_its_outline_is_opened_there():
    touching = Polygon([(40, 40), (80, 40), (80, 80), (40, 80)], [[(40, 60), (50, 55), (50, 65)]])
    assert touching.is_valid
    rings = by_rule([contour(touching)], HoleRule.KEYHOLE, CT)
    drawn = [Polygon(points) for points in flat(rings)]
    assert all(one.is_valid for one in drawn)
    assert sum(one.area for one in drawn) == pytest.approx(touching.area, abs=0.01)


@given(seed=st.integers(0, 10_000), holes=st.integers(1, 6), position=st.sampled_from(sorted(ORIENTATIONS)))
@settings(max_examples=25, deadline=None)
def test_every_rule_keeps_what_even_and_odd_say(seed, holes, position):
    """Filled: the outlines; keyhole and XOR: the region itself, but for the channels."""
    rng = np.random.default_rng(seed)
    ct = ct_grid(shape_ji=(120, 140), position=position)
    region = disc(60, 60, 40)
    for x, y, radius_mm in np.column_stack([rng.uniform(30, 90, (holes, 2)), rng.uniform(2, 9, holes)]):
        region = region.difference(disc(x, y, radius_mm))
    parts = [part for part in shapely.get_parts(region) if part.area > 1]
    contours = [contour_of(part, ct, K) for part in parts]
    truth = {HoleRule.FILLED: shapely.union_all([Polygon(part.exterior) for part in parts])}
    points = rng.uniform(15, 105, (300, 2))
    for rule in RULES:
        rings = by_rule(contours, rule, ct)
        drawn = [flat_mm(ring.points_mm, ct) for ring in rings]
        meant = truth.get(rule, shapely.union_all(parts))
        assert all(Polygon(points).is_valid for points in drawn)
        assert not any(ring.holes_mm for ring in rings)
        clear = shapely.distance(shapely.points(points), meant.boundary) > 0.1
        hit = inside_rings(drawn, points)
        disagree = clear & (hit != shapely.contains_xy(meant, points))
        assert disagree.mean() <= (0.01 if rule is HoleRule.KEYHOLE else 0.0)
        thickness_mm = 2.0
        area_mm2 = rings_volume_ml(rings, ct) * 1000 / thickness_mm
        assert area_mm2 == pytest.approx(meant.area, abs=holes * 40 * CHANNEL_MM)


def test_a_plane_and_back_is_the_same_place():
    points = placed_mm(np.array([[3.5, 7.25], [0.0, 1.0], [2.0, 2.0]]), CT, K)
    assert not points.flags.writeable
    np.testing.assert_allclose(flat_mm(points, CT), [[3.5, 7.25], [0.0, 1.0], [2.0, 2.0]], atol=1e-12)
    assert np.abs((points - CT.slice_origins_mm[K]) @ CT.normal).max() < 1e-12
