"""A mask on the CT's own grid drawn as rings: of its volume, smooth, and no voxel centre on the wrong side."""

from __future__ import annotations

from unittest.mock import patch

import contourpy
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree
from shapely.geometry import Polygon

from psdt_planner.contours import MAX_POINTS, SPECK_MM2, by_rule, even_odd, mask_of, mask_rings, masks
from psdt_planner.contours.outline import CLEAR, Outline
from psdt_planner.contours.plane import flat_mm
from psdt_planner.errors import GeometryError
from psdt_planner.geometry import Grid
from psdt_planner.shapes import HoleRule, rings_centroid_mm, rings_volume_ml
from tests.structures.scenes import ORIENTATIONS, ct_grid

FINE, COARSE = ((0.9766, 0.9766), 2.0), ((1.27, 1.27), 3.0)


def ct_for(spacing, radius_mm: float, **how) -> Grid:
    spacing_ji_mm, gap_mm = spacing
    count, rows = int(2 * radius_mm / gap_mm) + 8, int(2 * radius_mm / spacing_ji_mm[0]) + 10
    offsets_mm = how.pop("offsets_mm", gap_mm * np.arange(count))
    return ct_grid(spacing_ji_mm=spacing_ji_mm, offsets_mm=offsets_mm, shape_ji=(rows, rows + 3), **how)


def ball(ct: Grid, centre_mm, radius_mm: float) -> np.ndarray:
    return np.linalg.norm(ct.centres_mm() - np.asarray(centre_mm), axis=-1) <= radius_mm


def mask_ml(mask: np.ndarray, ct: Grid) -> float:
    return float(mask.sum(axis=(1, 2), dtype=float) @ ct.voxel_volumes_ml)


def centroid_mm(mask: np.ndarray, ct: Grid) -> np.ndarray:
    return ct.centres_mm()[mask].mean(axis=0)


def blobs(rng: np.random.Generator, shape=(9, 26, 30), threshold: float = 0.0) -> np.ndarray:
    """Smooth noise above a threshold: parts, holes and necks of all kinds, empty around."""
    mask = np.zeros(shape, dtype=bool)
    inner = tuple(slice(2, n - 2) for n in shape)
    noise = ndimage.gaussian_filter(rng.normal(size=mask[inner].shape), (0.7, 1.6, 1.6))
    mask[inner] = noise > threshold * noise.std()
    return mask


# ---------------------------------------------------------------------------------------------------------------------
# size and place


@pytest.mark.parametrize("spacing", [FINE, COARSE], ids=["2 mm", "3 mm"])
@pytest.mark.parametrize(("radius_mm", "most_off"), [(4.0, 0.03), (6.0, 0.01), (10.0, 0.01), (20.0, 0.01)])
def test_a_ball_keeps_the_volume_of_its_mask(spacing, radius_mm, most_off):
    ct = ct_for(spacing, radius_mm)
    for seed in range(8):
        centre = np.random.default_rng(seed).uniform(-1.5, 1.5, 3)
        mask = ball(ct, centre, radius_mm)
        traced = mask_rings(mask, ct)
        assert rings_volume_ml(traced.contours, ct) == pytest.approx(mask_ml(mask, ct), rel=most_off)
        assert np.linalg.norm(rings_centroid_mm(traced.contours, ct) - centroid_mm(mask, ct)) < 0.1 * spacing[1]
        assert traced.filled_ml == traced.between_slices_ml == traced.beyond_ct_ml == traced.raised_tolerance_mm == 0


@pytest.mark.parametrize(("spacing", "most_mm"), [(FINE, 0.10), (COARSE, 0.14)], ids=["2 mm", "3 mm"])
def test_a_ball_of_10_mm_has_a_smooth_surface(spacing, most_mm):
    """Voxel faces are 0.24 mm off on the finer CT, the line through the centres of edge voxels 0.43 mm."""
    ct, errors = ct_for(spacing, 10.0), []
    for seed in range(8):
        centre = np.random.default_rng(seed).uniform(-1.5, 1.5, 3)
        for ring in mask_rings(ball(ct, centre, 10.0), ct).contours:
            depth_mm = float((ct.slice_origins_mm[ring.slice_index] - centre) @ ct.normal)
            if abs(depth_mm) < 9.7:
                after = np.roll(ring.points_mm, -1, axis=0)
                dense = np.concatenate([ring.points_mm + t * (after - ring.points_mm) for t in (0, 0.25, 0.5, 0.75)])
                errors.append(np.linalg.norm(dense - centre, axis=1) - 10.0)
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) < most_mm
    assert abs(np.mean(np.concatenate(errors))) < 0.03


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_place_and_size_do_not_depend_on_position_and_spacing(position):
    ct = ct_grid(position=position, offsets_mm=np.cumsum([2.0, 3.0, 2.5, 1.5] * 6), spacing_ji_mm=(0.8, 1.3))
    mask = ball(ct, (3.0, -4.0, 1.0), 11.0)
    rings = mask_rings(mask, ct).contours
    assert rings_volume_ml(rings, ct) == pytest.approx(mask_ml(mask, ct), rel=0.005)
    assert np.linalg.norm(rings_centroid_mm(rings, ct) - (3.0, -4.0, 1.0)) < 0.3
    assert {ring.slice_index for ring in rings} == set(np.flatnonzero(mask.any(axis=(1, 2))))
    for ring in rings:
        assert np.abs((ring.points_mm - ct.slice_origins_mm[ring.slice_index]) @ ct.normal).max() < 1e-9


@given(seed=st.integers(0, 10_000), threshold=st.floats(-0.5, 1.5))
@settings(max_examples=30, deadline=None)
def test_no_voxel_centre_changes_sides(seed, threshold):
    """Pixels above `SPECK_MM2`, so that nothing is left out: the even-odd rule gives the mask back, voxel by voxel."""
    mask = blobs(np.random.default_rng(seed), threshold=threshold)
    ct = ct_grid(spacing_ji_mm=(2.2, 2.4), shape_ji=mask.shape[1:], offsets_mm=3.0 * np.arange(len(mask)))
    traced = mask_rings(mask, ct, tolerance_mm=1e-9)
    if traced.dropped_ml == traced.filled_ml == 0:
        np.testing.assert_array_equal(mask_of(traced.contours, ct), mask)
    else:
        assert np.count_nonzero(mask_of(traced.contours, ct) != mask) <= 0.02 * mask.size


@given(seed=st.integers(0, 10_000), position=st.sampled_from(sorted(ORIENTATIONS)), threshold=st.floats(0.0, 1.5))
@settings(max_examples=25, deadline=None)
def test_rings_are_simple_apart_and_within_the_tolerance_of_the_traced_ones(seed, position, threshold):
    mask = blobs(np.random.default_rng(seed), threshold=threshold)
    ct = ct_grid(position=position, shape_ji=mask.shape[1:], offsets_mm=2.0 * np.arange(len(mask)))
    fine, rings = (mask_rings(mask, ct, tolerance_mm=t).contours for t in (1e-9, 0.05))
    assert len(fine) == len(rings)
    for full, ring in zip(fine, rings, strict=True):
        a, b = (
            Polygon(flat_mm(one.points_mm, ct), [flat_mm(hole, ct) for hole in one.holes_mm]) for one in (full, ring)
        )
        assert b.is_valid
        assert Polygon(b.exterior).area >= SPECK_MM2 * 0.999
        assert a.boundary.hausdorff_distance(b.boundary) <= 0.1 + 1e-6
        assert b.area == pytest.approx(a.area, abs=0.05 * np.sqrt(a.area))
        assert len(ring.points_mm) <= min(len(full.points_mm), MAX_POINTS)
        assert np.linalg.norm(ring.points_mm[0] - ring.points_mm[-1]) > 0.0


def test_occupancy_tells_more_than_its_half():
    ct = ct_for(FINE, 6.0)
    errors = {}
    steps = [(k, j, i) for k in (-1, 0, 1) for j in (-1, 0, 1) for i in (-1, 0, 1)]
    for seed in range(4):
        centre = np.random.default_rng(seed).uniform(-1, 1, 3)
        away = [np.array(s) / 3 * (2.0, *ct.spacing_ji_mm) for s in steps]
        part = np.mean([ball(ct, centre + a[[2, 1, 0]], 6.0) for a in away], axis=0, dtype=np.float32)
        for mask in (part, part >= 0.5):
            off = rings_volume_ml(mask_rings(mask, ct).contours, ct) / (4 / 3 * np.pi * 0.216) - 1
            errors.setdefault(mask.dtype.kind, []).append(off)
            assert rings_volume_ml(mask_rings(mask, ct).contours, ct) == pytest.approx(mask_ml(mask, ct), rel=0.01)
    assert np.abs(errors["f"]).mean() <= np.abs(errors["b"]).mean()


# ---------------------------------------------------------------------------------------------------------------------
# parts, holes, edges


def test_each_part_keeps_its_own_volume():
    ct = ct_for(FINE, 30.0)
    parts = [ball(ct, (-12, 0, 0), 14.0), ball(ct, (14, 3, 6), 4.0), ball(ct, (14, -9, -10), 3.0)]
    rings = mask_rings(np.logical_or.reduce(parts), ct).contours
    for part in parts:
        held = [r for r in rings if part[r.slice_index].any() and near(r, part, ct)]
        assert rings_volume_ml(held, ct) == pytest.approx(mask_ml(part, ct), rel=0.03)


def near(ring, part: np.ndarray, ct: Grid) -> bool:
    """Whether a ring lies around voxels of the part."""
    inside = even_odd([ct.index_from_mm(ring.points_mm)[:, 1:]], ct.shape[1:])
    return bool((inside & part[ring.slice_index]).any())


def test_a_large_box_is_divided_by_blocks_to_the_same_rings(monkeypatch):
    ct = ct_for(FINE, 30.0)
    parts = [ball(ct, (-14, 0, 0), 12.0), ball(ct, (16, 3, 6), 6.0), ball(ct, (10, -20, -10), 5.0)]
    mask = np.logical_or.reduce(parts)
    exact = mask_rings(mask, ct)
    for size in (20_000, 2_000, 1):
        monkeypatch.setattr(masks, "EXACT_VOXELS", size)
        again = mask_rings(mask, ct)
        assert len(again.contours) == len(exact.contours)
        for a, b in zip(exact.contours, again.contours, strict=True):
            assert a.slice_index == b.slice_index
            lines = [Polygon(flat_mm(ring.points_mm, ct)).boundary for ring in (a, b)]
            assert lines[0].hausdorff_distance(lines[1]) < 0.1
            assert Polygon(lines[0]).area == pytest.approx(Polygon(lines[1]).area, rel=1e-9)


def shell_with_core(ct: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outer, hole, core = (ball(ct, (0, 0, 0), radius_mm) for radius_mm in (14.0, 9.0, 4.0))
    return outer, hole, core


def test_holes_are_kept_and_counted():
    ct = ct_for(FINE, 16.0)
    outer, hole, core = shell_with_core(ct)
    mask = (outer & ~hole) | core

    kept = mask_rings(mask, ct)
    assert kept.filled_ml == pytest.approx(0.0, abs=0.01)
    assert kept.holes_ml == pytest.approx(mask_ml(hole, ct), rel=0.02)
    assert rings_volume_ml(kept.contours, ct) == pytest.approx(mask_ml(mask, ct), rel=0.01)
    for rule in (HoleRule.KEYHOLE, HoleRule.XOR):
        rings = by_rule(kept.contours, rule, ct)
        assert rings_volume_ml(rings, ct) == pytest.approx(mask_ml(mask, ct), rel=0.01)
        differ = mask_of(rings, ct) != mask
        assert np.count_nonzero(differ) <= 0.002 * np.count_nonzero(mask)
    filled = by_rule(kept.contours, HoleRule.FILLED, ct)
    assert rings_volume_ml(filled, ct) == pytest.approx(mask_ml(outer, ct), rel=0.01)
    assert len({ring.slice_index for ring in filled}) == len(filled)


def test_a_mask_that_reaches_the_ends_of_the_ct_is_not_rounded_off_there():
    """The body goes on beyond the CT: its end slices are as large as the others."""
    ct = ct_grid()
    mask = np.repeat(ball(ct, (0, 0, 1.0), 20.0)[[20]], ct.shape[0], axis=0)
    rings = mask_rings(mask, ct).contours
    areas = [Polygon(flat_mm(ring.points_mm, ct)).area for ring in rings]
    assert len(areas) == ct.shape[0]
    assert np.ptp(areas) < 1e-6 * np.mean(areas)


def test_a_mask_that_fills_the_image_is_drawn_around_its_outer_pixels():
    ct = ct_grid(shape_ji=(30, 20), offsets_mm=2.0 * np.arange(4), spacing_ji_mm=(1.0, 1.5))
    rings = mask_rings(np.ones(ct.shape, dtype=bool), ct).contours
    assert rings_volume_ml(rings, ct) == pytest.approx(4 * 2.0 * 30 * 30 / 1000, rel=0.01)
    for ring in rings:
        index = ct.index_from_mm(ring.points_mm)[:, 1:]
        assert index.min() >= -1.0
        assert (index.max(axis=0) <= [30.0, 20.0]).all()


def test_specks_are_left_out_and_counted():
    ct = ct_grid(spacing_ji_mm=(0.7, 0.7))
    mask = ball(ct, (0, 0, 0), 8.0)
    mask[30, 5, 5] = mask[8, 70, 60] = True
    traced = mask_rings(mask, ct)
    assert traced.dropped_ml == pytest.approx(2 * 0.49 * 2.0 / 1000)
    assert rings_volume_ml(traced.contours, ct) == pytest.approx(mask_ml(mask, ct) - traced.dropped_ml, rel=0.005)
    (finding,) = traced.findings("L1", "GTV1")
    assert finding.code == "contour-speck-dropped"


def test_what_is_nowhere_half_inside_is_left_out_and_counted():
    ct = ct_grid()
    faint = 0.3 * ball(ct, (0, 0, 0), 8.0).astype(np.float32)
    traced = mask_rings(faint, ct)
    assert traced.contours == ()
    assert traced.dropped_ml == pytest.approx(mask_ml(faint, ct), rel=1e-5)


def test_an_empty_mask_has_no_rings():
    ct = ct_grid()
    traced = mask_rings(np.zeros(ct.shape, dtype=bool), ct)
    assert traced.contours == ()
    assert traced.findings("L1", "GTV1") == ()


def test_the_same_mask_gives_the_same_bytes_and_stays_as_it_is():
    ct = ct_for(FINE, 8.0)
    mask = ball(ct, (0.3, 0.1, 0.2), 8.0)
    mask.flags.writeable = False
    first, second = ([ring.points_mm.tobytes() for ring in mask_rings(mask, ct).contours] for _ in range(2))
    assert first == second


def test_a_mask_that_does_not_fit_is_refused():
    ct = ct_grid()
    with pytest.raises(GeometryError, match=r"a mask of \(2, 3, 4\) on a CT of"):
        mask_rings(np.zeros((2, 3, 4), dtype=bool), ct)
    with pytest.raises(GeometryError, match="leaves 0 to 1"):
        mask_rings(np.full(ct.shape, 2.0, dtype=np.float32), ct)
    with pytest.raises(GeometryError, match="leaves 0 to 1"):
        mask_rings(np.full(ct.shape, np.nan, dtype=np.float32), ct)


# ---------------------------------------------------------------------------------------------------------------------
# outline


@given(seed=st.integers(0, 10_000), level=st.floats(200.0, 800.0))
@settings(max_examples=40, deadline=None)
def test_an_outline_is_the_iso_line_of_the_plane_held_to_its_mask(seed, level):
    """Against contourpy, on a plane whose pixels were put on their side of the level."""
    rng = np.random.default_rng(seed)
    held = np.pad(ndimage.gaussian_filter(rng.normal(size=(14, 17)), 1.0) > 0, 1)
    smooth = ndimage.gaussian_filter(held.astype(float), 1.2) * 1024
    plane = np.where(held, np.maximum(smooth, level + 0.5), np.minimum(smooth, level - 0.5))
    outline = Outline.of(held[None], smooth.astype(np.float32)[None], 512.0)

    levels = np.full(len(outline.pixels), level)
    away = np.abs(outline.points(levels) - outline.inside_xy).sum(axis=1)
    assert away.min() >= CLEAR - 1e-9
    assert away.max() <= 1 - CLEAR + 1e-9
    with patch("psdt_planner.contours.outline.CLEAR", 0.0):
        _compare(outline, plane, held, level)


def _compare(outline: Outline, plane: np.ndarray, held: np.ndarray, level: float) -> None:
    levels = np.full(len(outline.pixels), level)
    ours = [polygon for _, polygon in outline.polygons(levels, np.ones(2), np.zeros(2))]

    assert outline.pixels.sum() == held.sum()
    assert sum(polygon.area for polygon in ours) == pytest.approx(outline.areas(levels).sum())
    assert all(polygon.is_valid for polygon in ours)
    centres = shapely.points(*np.meshgrid(np.arange(held.shape[1]), np.arange(held.shape[0])))
    np.testing.assert_array_equal(shapely.contains(shapely.union_all(ours), centres), held)
    lines = contourpy.contour_generator(z=plane, line_type=contourpy.LineType.Separate).lines(level)
    corners = np.concatenate([line[:-1] for line in lines])
    assert len(corners) == len(outline.inside_xy)
    assert cKDTree(corners).query(outline.points(levels))[0].max() < 2e-3
    saddles = (held[1:, 1:] == held[:-1, :-1]) & (held[1:, :-1] == held[:-1, 1:]) & (held[1:, 1:] != held[1:, :-1])
    if not saddles.any():
        theirs = abs(sum(float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) for x, y in (line.T for line in lines))) / 2
        assert outline.areas(levels).sum() == pytest.approx(theirs, abs=1e-2)
        assert len(lines) == len(outline.pixels) == sum(1 + len(polygon.interiors) for polygon in ours)


def test_slices_are_followed_as_if_each_were_alone():
    rng = np.random.default_rng(3)
    held = np.pad(ndimage.gaussian_filter(rng.normal(size=(6, 14, 17)), 1.0) > 0, ((0, 0), (1, 1), (1, 1)))
    smooth = (ndimage.gaussian_filter(held.astype(float), 1.2) * 1024).astype(np.float32)
    together = Outline.of(held, smooth, 512.0, first=4)
    alone = Outline.joined([Outline.of(held[[k]], smooth[[k]], 512.0, first=k + 4) for k in range(6)])
    halves = Outline.joined(
        [Outline.of(held[:3], smooth[:3], 512.0, first=4), Outline.of(held[3:], smooth[3:], 512.0, first=7)]
    )
    assert set(together.slices) <= set(range(4, 10))
    for other in (alone, halves):
        for name in ("inside_xy", "way_xy", "values", "lengths", "pixels", "slices"):
            np.testing.assert_array_equal(getattr(together, name), getattr(other, name))


def test_pixels_that_touch_by_a_corner_are_joined_where_the_plane_is_high():
    held = np.zeros((6, 6), dtype=bool)
    held[2, 2] = held[3, 3] = True
    for height, parts in ((900.0, 1), (10.0, 2)):
        outline = Outline.of(held[None], np.where(held, 1000.0, height).astype(np.float32)[None], 512.0)
        assert outline.pixels.sum() == 2
        assert len(outline.polygons(np.full(parts, 950.0), np.ones(2), np.zeros(2))) == parts
