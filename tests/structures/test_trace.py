"""Rings on the CT's slice planes: in place, of the right size, simple, and nothing lost in silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from psdt_planner.contours import COARSEST_MM, MAX_POINTS, SPECK_MM2, Tracing, trace
from psdt_planner.contours.plane import most_points, simplified
from psdt_planner.errors import FrameError, GeometryError, UnsupportedError
from psdt_planner.findings import Level
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Contour, Shape, ring_areas_mm2, rings_centroid_mm, rings_volume_ml
from tests.structures.scenes import CT_FRAME, ORIENTATIONS, ct_grid, inside_rings


def shape_of(field_mm, ct: Grid, *, half_mm: float = 20.0, step_mm: float = 0.4, centre_mm=(0.0, 0.0, 0.0)) -> Shape:
    """A shape from a function of points ``(..., 3)`` that is positive inside, on a lattice along the CT's axes."""
    axes = np.stack([ct.normal, ct.step_j_mm / ct.spacing_ji_mm[0], ct.step_i_mm / ct.spacing_ji_mm[1]], axis=1)
    count = int(2 * half_mm / step_mm)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * step_mm, np.asarray(centre_mm) - axes @ np.full(3, half_mm)
    grid = Grid.regular(matrix, (count, count + 1, count + 2), CT_FRAME)
    return Shape(grid, field_mm(grid.centres_mm()).astype(np.float32))


def ball(centre_mm, radius_mm: float):
    return lambda points: radius_mm - np.linalg.norm(points - np.asarray(centre_mm), axis=-1)


def in_plane(ring: Contour, ct: Grid) -> np.ndarray:
    """``(N, 2)`` in mm along the CT's columns and rows."""
    return ct.index_from_mm(ring.points_mm)[:, [2, 1]] * ct.spacing_ji_mm[::-1]


@given(
    seed=st.integers(0, 10_000),
    radius_mm=st.floats(4.0, 13.0),
    position=st.sampled_from(sorted(ORIENTATIONS)),
    uneven=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_rings_of_a_sphere_lie_on_the_slices_and_on_the_sphere(seed, radius_mm, position, uneven):
    rng = np.random.default_rng(seed)
    gaps = rng.uniform(1.0, 3.5, 25) if uneven else np.full(25, 2.0)
    ct = ct_grid(position=position, offsets_mm=np.cumsum(gaps))
    centre = rng.uniform(-5, 5, 3)

    traced = trace(shape_of(ball(centre, radius_mm), ct), ct)

    met = np.abs((ct.slice_origins_mm - centre) @ ct.normal) < radius_mm - 0.1
    assert set(np.flatnonzero(met)) <= {ring.slice_index for ring in traced.contours}
    for ring in traced.contours:
        off_mm = (ring.points_mm - ct.slice_origins_mm[ring.slice_index]) @ ct.normal
        assert np.abs(off_mm).max() < 1e-9
        depth = abs(float((ct.slice_origins_mm[ring.slice_index] - centre) @ ct.normal))
        if depth < radius_mm - 0.2:
            true_mm2 = np.pi * (radius_mm**2 - depth**2)
            most_mm2 = 0.03 * 2 * np.sqrt(np.pi * true_mm2)
            assert ring_areas_mm2([ring.points_mm])[0] == pytest.approx(true_mm2, abs=most_mm2)
            distance = np.linalg.norm(ring.points_mm - centre, axis=-1)
            assert np.abs(distance - radius_mm).max() < 0.1
    assert traced.filled_ml == traced.between_slices_ml == traced.beyond_ct_ml == 0.0


@pytest.mark.parametrize("radius_mm", [4.0, 6.0, 10.0])
def test_a_sphere_keeps_its_volume_as_the_ideal_polygon_does(radius_mm):
    rng = np.random.default_rng(5)
    ct = ct_grid(spacing_ji_mm=(0.9766, 0.9766))
    bias = []
    for _ in range(8):
        centre = rng.uniform(-4, 4, 3)
        rings = trace(shape_of(ball(centre, radius_mm), ct), ct).contours
        depth = (ct.slice_origins_mm - centre) @ ct.normal
        ideal_mm3 = (np.pi * np.maximum(radius_mm**2 - depth**2, 0)).sum() * 2.0
        bias.append(rings_volume_ml(rings, ct) * 1000 / ideal_mm3 - 1)
    assert abs(np.mean(bias)) < 0.01 * 4 / radius_mm
    assert np.std(bias) < 0.005


def test_surface_error_stays_far_below_a_pixel():
    ct = ct_grid(spacing_ji_mm=(0.9766, 0.9766))
    errors = []
    for seed in range(6):
        centre = np.random.default_rng(seed).uniform(-1, 1, 3)
        for ring in trace(shape_of(ball(centre, 10.0), ct), ct).contours:
            depth = float((ct.slice_origins_mm[ring.slice_index] - centre) @ ct.normal)
            if abs(depth) < 9.5:
                flat = in_plane(ring, ct)
                dense = np.concatenate(
                    [a + t * (np.roll(flat, -1, axis=0) - a) for a in [flat] for t in (0, 0.25, 0.5)]
                )
                middle = ct.index_from_mm(centre)[[2, 1]] * ct.spacing_ji_mm[::-1]
                errors.append(np.linalg.norm(dense - middle, axis=1) - np.sqrt(100 - depth**2))
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) < 0.05


def test_every_ring_is_a_simple_polygon_that_does_not_repeat_its_first_point():
    ct = ct_grid()
    lobes = lambda p: np.maximum(ball((-6, 0, 0), 8)(p), ball((6, 3, 4), 7)(p))  # noqa: E731
    for ring in trace(shape_of(lobes, ct), ct).contours:
        flat = in_plane(ring, ct)
        assert len(flat) >= 3
        assert np.linalg.norm(flat[0] - flat[-1]) > 0.01
        assert np.linalg.norm(np.diff(flat, axis=0), axis=1).min() > 0.01
        assert Polygon(flat).is_valid
        assert Polygon(flat).area >= SPECK_MM2
        assert not ring.points_mm.flags.writeable


@given(seed=st.integers(0, 10_000), tolerance_mm=st.sampled_from([0.02, 0.05, 0.2]))
@settings(max_examples=15, deadline=None)
def test_simplifying_keeps_within_the_tolerance_and_keeps_the_area(seed, tolerance_mm):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-8, 8, (3, 3))
    ct = ct_grid()
    shape = shape_of(lambda p: np.max([ball(c, r)(p) for c, r in zip(centres, (5, 6, 7), strict=True)], axis=0), ct)
    fine, simple = trace(shape, ct, tolerance_mm=1e-6), trace(shape, ct, tolerance_mm=tolerance_mm)
    assert len(fine.contours) == len(simple.contours)
    for full, ring in zip(fine.contours, simple.contours, strict=True):
        assert len(ring.points_mm) <= len(full.points_mm)
        a, b = Polygon(in_plane(full, ct)), Polygon(in_plane(ring, ct))
        assert a.area == pytest.approx(b.area, rel=1e-6)
        assert a.boundary.hausdorff_distance(b.boundary) <= 2 * tolerance_mm + 1e-6


def test_rings_hold_what_the_field_holds():
    """Against the even-odd rule on points, for a shape of two parts."""
    ct = ct_grid()
    field = lambda p: np.maximum(ball((-8, 0, 0), 6)(p), ball((9, 3, 1), 5)(p))  # noqa: E731
    traced = trace(shape_of(field, ct), ct)
    rng = np.random.default_rng(0)
    for k in range(ct.shape[0]):
        flat = rng.uniform(-20, 20, (200, 2))
        corner = ct.slice_origins_mm[k]
        middle = (np.array(ct.shape[1:]) - 1) / 2 * ct.spacing_ji_mm
        points = corner + np.outer(flat[:, 1] + middle[0], [0, 1, 0]) + np.outer(flat[:, 0] + middle[1], [1, 0, 0])
        value = field(points)
        rings = [ring.points_mm[:, :2] for ring in traced.contours if ring.slice_index == k]
        clear = np.abs(value) > 0.2
        assert (inside_rings(rings, points[:, :2])[clear] == (value > 0)[clear]).all()


def test_all_parts_are_kept_and_said():
    ct = ct_grid()
    centres = [(-12, 0, 0), (0, 9, 2), (11, -3, -2)]
    traced = trace(shape_of(lambda p: np.max([ball(c, 4)(p) for c in centres], axis=0), ct), ct)
    for centre in centres:
        near = [r for r in traced.contours if np.linalg.norm(r.points_mm.mean(axis=0) - centre) < 4.5]
        assert rings_volume_ml(near, ct) == pytest.approx(4 / 3 * np.pi * 0.064, rel=0.06)
    (finding,) = traced.findings("L1", "GTV1")
    assert (finding.code, finding.level, finding.value) == ("lesion-in-parts", Level.INFO, 3)
    assert finding.message == "GTV1 of L1 has 3 parts that do not touch each other"


def test_holes_stay_and_are_counted():
    ct = ct_grid()
    shell = lambda p: np.minimum(ball((0, 0, 0), 10)(p), -ball((0, 0, 0), 5)(p))  # noqa: E731
    traced = trace(shape_of(shell, ct), ct)
    assert [ring.slice_index for ring in traced.contours] == sorted({ring.slice_index for ring in traced.contours})
    assert rings_volume_ml(traced.contours, ct) == pytest.approx(4 / 3 * np.pi * (1 - 0.125), rel=0.02)
    assert traced.holes_ml == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.1)
    assert traced.filled_ml == 0.0
    assert traced.findings("L2", "GTV2") == ()


def test_holes_that_no_planning_system_draws_are_filled_and_said():
    """A bore of 1 mm across."""
    ct = ct_grid()
    bored = lambda p: np.minimum(ball((0, 0, 0), 10)(p), np.hypot(p[..., 0], p[..., 1]) - 0.5)  # noqa: E731
    traced = trace(shape_of(bored, ct), ct)
    assert not any(ring.holes_mm for ring in traced.contours)
    assert traced.holes_ml == 0.0
    assert traced.filled_ml == pytest.approx(np.pi * 0.25 * 20 / 1000, rel=0.2)
    (finding,) = traced.findings("L2", "GTV2")
    assert (finding.code, finding.level, finding.lesion) == ("contour-speck-filled", Level.INFO, "L2")
    assert finding.message == f"GTV2 of L2 had holes below 1 mm², which are filled: {traced.filled_ml:.3f} ml"


def test_a_lesion_between_two_slices_holds():
    ct = ct_grid(offsets_mm=6.0 * np.arange(9))
    middle = (ct.slice_origins_mm[4] + ct.slice_origins_mm[5]) @ ct.normal / 2
    traced = trace(shape_of(ball((0, 0, middle), 2.0), ct), ct)
    assert traced.contours == ()
    (finding,) = traced.findings("L3", "GTV3")
    assert (finding.code, finding.level) == ("lesion-between-slices", Level.HOLD)
    assert finding.value == pytest.approx(4 / 3 * np.pi * 0.008, rel=0.1)


def test_a_part_between_two_slices_holds_although_the_other_part_is_seen():
    ct = ct_grid(offsets_mm=6.0 * np.arange(9))
    middle = (ct.slice_origins_mm[4] + ct.slice_origins_mm[5]) @ ct.normal / 2
    both = lambda p: np.maximum(ball((-9, 0, 0), 7)(p), ball((9, 0, middle), 2)(p))  # noqa: E731
    traced = trace(shape_of(both, ct), ct)
    assert traced.contours
    assert [finding.code for finding in traced.findings("L3", "GTV3")] == ["lesion-between-slices", "lesion-in-parts"]
    assert traced.between_slices_ml == pytest.approx(4 / 3 * np.pi * 0.008, rel=0.1)


def test_a_speck_is_dropped_and_said():
    ct = ct_grid()
    plane = float(ct.slice_origins_mm[22] @ ct.normal)
    grazing = ball((0, 0, plane - 5.99), 6.0)
    traced = trace(shape_of(grazing, ct), ct)
    assert 22 not in {ring.slice_index for ring in traced.contours}
    (finding,) = traced.findings("L1", "GTV1")
    assert (finding.code, finding.level) == ("contour-speck-dropped", Level.INFO)
    assert 0 < traced.dropped_ml < SPECK_MM2 * 2.0 / 1000


def test_a_lesion_that_reaches_beyond_the_ct_holds():
    ct = ct_grid()
    top = float(ct.slice_origins_mm[-1] @ ct.normal)
    traced = trace(shape_of(ball((0, 0, top + 1.0), 6), ct, centre_mm=(0, 0, top)), ct)
    (finding,) = traced.findings("L1", "PTV1")
    assert (finding.code, finding.level) == ("lesion-outside-ct", Level.HOLD)
    assert traced.beyond_ct_ml == pytest.approx(4 / 3 * np.pi * 0.216 / 2, rel=0.1)
    side = trace(shape_of(ball((36.0, 0, 0), 6), ct, centre_mm=(36, 0, 0)), ct)
    assert "lesion-outside-ct" in [finding.code for finding in side.findings("L1", "PTV1")]


def flower(petals: int, depth_mm: float):
    """A disc of 40 mm with a wavy edge, 6 mm thick."""

    def field_mm(p):
        angle = np.arctan2(p[..., 1], p[..., 0])
        edge = 40 + depth_mm * np.sin(petals * angle) - np.hypot(p[..., 0], p[..., 1])
        return np.minimum(edge, 3 - np.abs(p[..., 2]))

    return field_mm


def test_a_ring_with_too_many_points_is_simplified_further_and_that_is_said():
    ct = ct_grid(spacing_ji_mm=(2.0, 2.0))
    shape = shape_of(flower(60, 4.0), ct, half_mm=46.0, step_mm=0.5)
    fine, plain = trace(shape, ct, tolerance_mm=1e-5), trace(shape, ct)
    for traced in (fine, plain):
        assert max(len(ring.points_mm) for ring in traced.contours) <= MAX_POINTS
    assert 1e-5 < fine.raised_tolerance_mm <= COARSEST_MM
    assert plain.raised_tolerance_mm == 0.0
    assert "contour-coarse" not in [finding.code for finding in plain.findings("L1", "GTV1")]
    (said,) = [finding for finding in fine.findings("L1", "GTV1") if finding.code == "contour-coarse"]
    assert (said.level, said.value, said.unit, said.lesion) == (Level.WARN, fine.raised_tolerance_mm, "mm", "L1")
    assert f"drawn only to {fine.raised_tolerance_mm:.2f} mm" in said.message


def test_a_ring_that_no_tolerance_makes_short_enough_is_refused():
    angle = np.linspace(0, 2 * np.pi, 2 * MAX_POINTS, endpoint=False)
    spikes = np.where(np.arange(len(angle)) % 2, 300.0, 305.0)
    star = Polygon(np.column_stack([spikes * np.cos(angle), spikes * np.sin(angle)]))
    with pytest.raises(UnsupportedError, match=f"needs more than {MAX_POINTS} points"):
        simplified(star, 0.05, MAX_POINTS)
    assert len(simplified(star, 0.05, 2 * MAX_POINTS)[0].exterior.coords) == 2 * MAX_POINTS + 1


def test_far_coordinates_leave_a_ring_fewer_points():
    assert most_points(ct_grid()) == MAX_POINTS
    assert most_points(ct_grid(centre_mm=(0, 0, -12000.0))) * 3 * len("-12040.000\\") <= 65_534 < 2000 * 33


def test_a_shape_of_another_frame_or_along_other_axes_is_refused():
    ct = ct_grid()
    other = shape_of(ball((0, 0, 0), 5), ct)
    strange = Shape(Grid.regular(other.grid.mm_from_kji, other.grid.shape, "1.9"), other.field)
    with pytest.raises(FrameError, match=r"a shape of frame 1\.9 on a CT of frame"):
        trace(strange, ct)
    matrix = other.grid.mm_from_kji
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.01), -np.sin(0.01)], [np.sin(0.01), np.cos(0.01)]]
    with pytest.raises(GeometryError, match="not along the CT's axes"):
        trace(Shape(Grid.regular(turn @ matrix, other.grid.shape, CT_FRAME), other.field), ct)


def test_ring_volume_area_and_centroid_of_a_known_ring():
    """A 4 x 3 mm rectangle on a slice whose neighbours are 2 and 4 mm away, so that it is 3 mm thick."""
    ct = ct_grid(offsets_mm=(0, 2, 6, 8))
    corner = ct.slice_origins_mm[1]
    rectangle = corner + np.array([[0, 0, 0], [4, 0, 0], [4, 3, 0], [0, 3, 0]])
    ring = Contour(rectangle, 1)
    assert ring_areas_mm2([rectangle, rectangle[[0, 2, 1]], rectangle[::-1]]) == pytest.approx([12.0, 6.0, 12.0])
    assert len(ring_areas_mm2([])) == 0
    assert rings_volume_ml([ring], ct) == pytest.approx(0.036)
    np.testing.assert_allclose(rings_centroid_mm([ring], ct), corner + np.array([2.0, 1.5, 0.0]))
    middle = np.array([2.0, 1.5, 0.0])
    upper = Contour(rectangle + (ct.slice_origins_mm[3] - corner), 3)
    weight = np.array([3.0, 2.0]) / 5.0
    expected = weight[0] * (corner + middle) + weight[1] * (ct.slice_origins_mm[3] + middle)
    np.testing.assert_allclose(rings_centroid_mm([ring, upper], ct), expected)
    with pytest.raises(GeometryError, match="no ring with an area"):
        rings_centroid_mm([], ct)


def test_nothing_to_say_about_a_whole_tracing():
    assert Tracing((), 0.0, 0.0, 0.0, 0.0).findings("L1", "GTV1") == ()
