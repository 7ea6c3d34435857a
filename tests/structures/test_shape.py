"""The flagged mask carried to the CT: smooth, in its place, and of its size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from psdt_planner.contours import faint_parts_ml, lesion_shape
from psdt_planner.errors import FrameError, GeometryError
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.lesions import FlaggedLesion, MaskKind
from psdt_planner.shapes import Shape
from tests.structures.scenes import (
    CT_FRAME,
    MR_FRAME,
    ORIENTATIONS,
    STILL,
    Inside,
    ct_grid,
    either,
    ellipsoid,
    flag,
    moved,
    mr_grid,
    occupancy,
    sphere,
)

CT = ct_grid()


def holds(shape: Shape, points_mm: np.ndarray) -> np.ndarray:
    """Whether points are in the shape, its field taken as linear between the lattice points."""
    index = np.moveaxis(shape.grid.index_from_mm(points_mm), -1, 0)
    return ndimage.map_coordinates(shape.field, index, order=1, mode="nearest") > 0


def volume_mm3(shape: Shape) -> float:
    """By counting the points of a lattice of its own, about 20,000 inside."""
    inside = shape.grid.mm_from_index(np.argwhere(shape.field > 0))
    rough_mm3 = len(inside) * float(np.prod(shape.grid.spacing_kji_mm))
    step = np.cbrt(rough_mm3 / 20_000)
    low, high = inside.min(axis=0) - 1.0, inside.max(axis=0) + 1.0
    points = np.stack(np.meshgrid(*(np.arange(a, b, step) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
    return float(holds(shape, points).sum()) * step**3


def dice(shape: Shape, truth: Inside) -> float:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape.grid.shape), indexing="ij"), axis=-1)
    ours, theirs = shape.field > 0, truth(shape.grid.mm_from_index(index))
    return float(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))


def centroid_mm(shape: Shape) -> np.ndarray:
    return shape.grid.mm_from_index(np.argwhere(shape.field > 0)).mean(axis=0)


@given(
    seed=st.integers(0, 10_000),
    radius_mm=st.floats(3.0, 9.0),
    kind=st.sampled_from(MaskKind),
    spacing=st.sampled_from([(5.0, 1.6, 1.9), (6.0, 2.5, 2.2), (3.0, 1.2, 2.0)]),
)
@settings(max_examples=15, deadline=None)
def test_a_turned_and_moved_lesion_keeps_its_volume_and_its_place(seed, radius_mm, kind, spacing):
    rng = np.random.default_rng(seed)
    centre, turn = rng.uniform(-20, 20, 3), Rotation.from_rotvec(rng.uniform(-0.3, 0.3, 3))
    grid = mr_grid(centre + rng.uniform(-2, 2, 3), 3 * radius_mm, spacing_kji_mm=spacing, turn=turn)
    lesion = flag(grid, occupancy(grid, ellipsoid(centre, [radius_mm, 0.8 * radius_mm, 1.3 * radius_mm]), 3), kind)
    ct_from_mr = moved(rng)

    shape = lesion_shape(lesion, ct_from_mr, CT)

    assert volume_mm3(shape) == pytest.approx(lesion.volume_ml * 1000, rel=0.01)
    assert np.linalg.norm(centroid_mm(shape) - ct_from_mr.apply(lesion.centroid_mm)) < 0.5


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_the_place_does_not_depend_on_how_the_patient_lay(position):
    centre = np.array([7.0, -4.0, 3.0])
    grid = mr_grid((0, 0, 0), 30.0, position=position, turn=Rotation.from_rotvec([0.2, -0.1, 0.3]))
    lesion = flag(grid, occupancy(grid, ellipsoid(centre, [4, 6, 9])), MaskKind.OCCUPANCY)
    for ct_position in ORIENTATIONS:
        shape = lesion_shape(lesion, STILL, ct_grid(position=ct_position))
        assert dice(shape, ellipsoid(centre, [4, 6, 9])) > 0.95


@pytest.mark.parametrize(
    ("kind", "radius_mm", "least_dice", "most_bias"),
    [
        (MaskKind.BINARY, 4.5, 0.85, 0.16),
        (MaskKind.BINARY, 6.0, 0.91, 0.09),
        (MaskKind.BINARY, 10.0, 0.96, 0.03),
        (MaskKind.OCCUPANCY, 4.5, 0.94, 0.01),
        (MaskKind.OCCUPANCY, 6.0, 0.965, 0.01),
        (MaskKind.OCCUPANCY, 10.0, 0.985, 0.01),
    ],
)
def test_spheres_on_dwi_voxels_come_out_as_well_as_they_can(kind, radius_mm, least_dice, most_bias):
    rng = np.random.default_rng(1)
    overlap, bias = [], []
    for _ in range(8):
        centre = rng.uniform(-5, 5, 3)
        grid = mr_grid(centre + rng.uniform(-2.5, 2.5, 3), 2.5 * radius_mm, spacing_kji_mm=(5.0, 1.6, 1.6))
        lesion = flag(grid, occupancy(grid, sphere(centre, radius_mm)), kind)
        ct_from_mr = moved(rng)
        shape = lesion_shape(lesion, ct_from_mr, CT)
        overlap.append(dice(shape, sphere(ct_from_mr.apply(centre), radius_mm)))
        bias.append(volume_mm3(shape) / (4 / 3 * np.pi * radius_mm**3) - 1)
    assert np.mean(overlap) >= least_dice
    assert abs(np.mean(bias)) <= most_bias


def test_noise_on_large_voxels_is_smoothed_away():
    """A fixed SD of 2 mm, enough for smaller voxels, comes to 0.96."""
    rng = np.random.default_rng(3)
    overlap = []
    for _ in range(8):
        centre = rng.uniform(-5, 5, 3)
        grid = mr_grid(centre + rng.uniform(-2.5, 2.5, 3), 25.0, spacing_kji_mm=(6.0, 2.5, 2.2))
        part = occupancy(grid, sphere(centre, 10.0))
        crossed = (part > 0) & (part < 1)
        noisy = np.where(crossed, np.clip(part + rng.normal(0, 0.15, part.shape), 0, 1), part).astype(np.float32)
        overlap.append(dice(lesion_shape(flag(grid, noisy, MaskKind.OCCUPANCY), STILL, CT), sphere(centre, 10.0)))
    assert np.mean(overlap) >= 0.966


def test_lobes_of_an_occupancy_mask_are_not_rounded_off():
    """Smoothed once, as a binary mask is, they come to 0.88; the second and third drawing put the lobes back."""
    overlap = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        centre = rng.uniform(-5, 5, 3)
        ways = rng.normal(size=(3, 3))
        lobes = [sphere(centre + 3.9 * way / np.linalg.norm(way), 3.3) for way in ways]
        truth = either(sphere(centre, 4.8), *lobes)
        grid = mr_grid(centre + rng.uniform(-2.5, 2.5, 3), 20.0, spacing_kji_mm=(5.0, 1.6, 1.6))
        shape = lesion_shape(flag(grid, occupancy(grid, truth), MaskKind.OCCUPANCY), STILL, CT)
        overlap.append(dice(shape, truth))
    assert np.mean(overlap) >= 0.92


@pytest.mark.parametrize("kind", MaskKind)
@pytest.mark.parametrize("voxels", [[(3, 4, 5)], [(3, 4, 5), (3, 4, 6)], [(3, 4, 5), (4, 5, 6)]])
def test_a_lesion_of_one_or_two_voxels_is_not_lost(voxels, kind):
    grid = mr_grid((1.3, 0.4, -0.8), 20.0, turn=Rotation.from_rotvec([0.1, 0.2, 0.0]))
    mask = np.zeros(grid.shape, dtype=np.float32)
    for voxel in voxels:
        mask[voxel] = 1.0
    shape = lesion_shape(flag(grid, mask, kind), STILL, CT)
    assert volume_mm3(shape) == pytest.approx(len(voxels) * 5.0 * 1.6 * 1.9, rel=0.015)
    assert np.linalg.norm(centroid_mm(shape) - flag(grid, mask, kind).centroid_mm) < 0.3


def test_a_faint_lesion_is_not_lost():
    grid = mr_grid((0, 0, 0), 20.0)
    mask = np.zeros(grid.shape, dtype=np.float32)
    mask[3, 4, 5], mask[3, 4, 6] = 0.3, 0.2
    assert volume_mm3(lesion_shape(flag(grid, mask, MaskKind.OCCUPANCY), STILL, CT)) == pytest.approx(7.6, rel=0.02)


@pytest.mark.parametrize("kind", MaskKind)
def test_a_single_voxel_beside_a_large_lesion_is_not_lost(kind):
    grid = mr_grid((0, 0, 0), 50.0)
    large, small = sphere((-8, 0, 0), 9), grid.mm_from_index([5, 16, 23])
    mask = (occupancy(grid, large) >= 0.5).astype(np.float32)
    assert mask[4:7, 15:18, 22:25].sum() == 0
    mask[5, 16, 23] = 1.0
    lesion = flag(grid, mask, kind)

    shape = lesion_shape(lesion, STILL, CT)

    labels, parts = ndimage.label(shape.field > 0)
    assert parts == 2
    part = labels[tuple(np.round(shape.grid.index_from_mm(small)).astype(int))]
    assert part > 0
    assert (labels == part).sum() * np.prod(shape.grid.spacing_kji_mm) == pytest.approx(5.0 * 1.6 * 1.9, rel=0.12)
    assert volume_mm3(shape) == pytest.approx(lesion.volume_ml * 1000, rel=0.01)


def test_voxels_that_touch_by_a_corner_are_one_part():
    """A rib or a ramus runs obliquely through the voxels; it must not come out as a string of beads."""
    grid = mr_grid((0, 0, 0), 30.0, spacing_kji_mm=(3.0, 2.0, 2.0))
    mask = np.zeros(grid.shape, dtype=np.float32)
    for n in range(3, 9):
        mask[n, n, n] = 1.0
    shape = lesion_shape(flag(grid, mask), STILL, CT)
    assert ndimage.label(shape.field > 0)[1] == 1


def test_faint_specks_beside_a_dense_lesion_are_told_and_not_drawn():
    grid = mr_grid((0, 0, 0), 50.0)
    mask = occupancy(grid, sphere((-6, 0, 0), 8))
    specks = [(3, 30, 23), (9, 5, 24), (8, 28, 25), (2, 3, 27), (5, 8, 28), (10, 31, 6)]
    for speck in specks:
        mask[speck] = 0.4
    lesion = flag(grid, mask, MaskKind.OCCUPANCY)
    shape = lesion_shape(lesion, STILL, CT)
    assert ndimage.label(shape.field > 0)[1] == 1
    speck_mm3 = 0.4 * 5.0 * 1.6 * 1.9
    assert volume_mm3(shape) == pytest.approx(lesion.volume_ml * 1000 - 6 * speck_mm3, rel=0.008)
    assert faint_parts_ml(lesion) == pytest.approx([speck_mm3 / 1000] * 6)
    for speck in specks:
        assert not holds(shape, grid.mm_from_index(np.array([speck]))).any()


def test_the_volume_of_a_faint_part_is_not_given_to_the_others():
    grid = mr_grid((0, 0, 0), 60.0)
    dense, faint = sphere((-12, 0, 0), 7), sphere((14, 3, 2), 6)
    alone = occupancy(grid, dense)
    mask = alone + 0.45 * occupancy(grid, faint)
    lesion = flag(grid, mask, MaskKind.OCCUPANCY)
    shape = lesion_shape(lesion, STILL, CT)
    assert volume_mm3(shape) == pytest.approx(flag(grid, alone, MaskKind.OCCUPANCY).volume_ml * 1000, rel=0.008)
    assert faint_parts_ml(lesion) == pytest.approx([0.45 * 4 / 3 * np.pi * 0.216], rel=0.02)


def test_a_part_half_as_dense_is_no_faint_one_and_a_speck_is_not_told():
    grid = mr_grid((0, 0, 0), 50.0)
    mask = np.zeros(grid.shape, dtype=np.float32)
    mask[3, 8, 8], mask[8, 20, 20], mask[3, 20, 8] = 1.0, 0.5, 0.05
    lesion = flag(grid, mask, MaskKind.OCCUPANCY)
    assert faint_parts_ml(lesion) == ()
    assert ndimage.label(lesion_shape(lesion, STILL, CT).field > 0)[1] == 2


def test_two_lobes_stay_two():
    truth = either(sphere((-9, 0, 0), 6), sphere((9, 2, 4), 5))
    grid = mr_grid((0, 0, 0), 45.0)
    shape = lesion_shape(flag(grid, occupancy(grid, truth)), STILL, CT)
    assert ndimage.label(shape.field > 0)[1] == 2
    assert dice(shape, truth) > 0.9


def test_the_surface_is_smooth_where_the_mask_is_a_staircase():
    """A sphere's normals point away from its centre; a staircase's point along the axes."""
    grid = mr_grid((0, 0, 0), 40.0, spacing_kji_mm=(5.0, 2.0, 2.0))
    shape = lesion_shape(flag(grid, occupancy(grid, sphere((0.5, 0.2, 0.9), 10))), STILL, CT)
    gradient = np.stack(np.gradient(-shape.field.astype(float)), axis=-1)
    surface = np.argwhere((shape.field > 0) & ~ndimage.binary_erosion(shape.field > 0))
    outwards = surface - shape.grid.index_from_mm((0.5, 0.2, 0.9))
    normal = gradient[tuple(surface.T)]
    cosine = (outwards * normal).sum(-1) / np.linalg.norm(outwards, axis=-1) / np.linalg.norm(normal, axis=-1)
    assert np.percentile(cosine, 5) > 0.9


def test_the_lattice_is_even_fine_and_along_the_ct_with_a_border_outside():
    uneven = ct_grid(offsets_mm=np.cumsum([2, 2, 3, 1, 2.5, 2, 4, 2]), position="FFP")
    grid = mr_grid((0, 0, 0), 20.0)
    shape = lesion_shape(flag(grid, occupancy(grid, sphere((0, 0, 0), 5))), STILL, uneven)
    assert shape.grid.is_even
    assert max(shape.grid.spacing_kji_mm) <= 1.0
    assert shape.grid.frame == CT_FRAME
    np.testing.assert_allclose(np.cross(shape.grid.step_i_mm, uneven.step_i_mm), 0, atol=1e-9)
    np.testing.assert_allclose(np.cross(shape.grid.step_j_mm, uneven.step_j_mm), 0, atol=1e-9)
    border = np.ones(shape.grid.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert shape.field[border].max() < 0
    assert not shape.field.flags.writeable


def test_a_large_lesion_gets_a_coarser_lattice_not_a_larger_bill():
    grid = mr_grid((0, 0, 0), 110.0, spacing_kji_mm=(6.0, 3.0, 3.0))
    lesion = flag(grid, occupancy(grid, sphere((0, 0, 0), 45), 3))
    shape = lesion_shape(lesion, STILL, CT)
    assert 0.5 < shape.grid.spacing_ji_mm[0] <= 1.0
    assert volume_mm3(shape) == pytest.approx(lesion.volume_ml * 1000, rel=0.01)


def test_the_same_lesion_gives_the_same_bytes():
    grid = mr_grid((0, 0, 0), 20.0)
    lesion = flag(grid, occupancy(grid, sphere((0, 0, 0), 5)))
    first, second = (lesion_shape(lesion, STILL, CT).field.tobytes() for _ in range(2))
    assert first == second


def test_a_transform_of_other_frames_is_refused():
    grid = mr_grid((0, 0, 0), 20.0)
    lesion = flag(grid, occupancy(grid, sphere((0, 0, 0), 5)))
    with pytest.raises(FrameError, match="does not lead from L1's mask to the CT"):
        lesion_shape(lesion, STILL.inverse(), CT)
    with pytest.raises(FrameError, match="does not lead"):
        lesion_shape(lesion, Rigid(np.eye(4), "1.9", MR_FRAME), CT)


def test_a_flag_on_uneven_slices_is_refused():
    even = mr_grid((0, 0, 0), 20.0)
    origins = even.slice_origins_mm.copy()
    origins[-1] += 3.0 * even.normal
    grid = Grid(origins, even.step_j_mm, even.step_i_mm, even.shape, MR_FRAME)
    lesion: FlaggedLesion = flag(grid, occupancy(grid, sphere((0, 0, 0), 5)))
    with pytest.raises(GeometryError, match=r"the flag's slices are uneven \[L1\]"):
        lesion_shape(lesion, STILL, CT)
