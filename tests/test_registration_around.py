"""What is cut around a place: both boxes on the right millimetre, and the part that moves as one with it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.registration.around import HALF_MM, LEAST_BONE_ML, SOFT_RADIUS_MM, Box, Images, Surroundings

CT, MR = "1.2.3", "1.2.4"
AT_CT = np.array([7.0, -43.0, 611.0])
AT_MR = np.array([-20.0, 15.0, 300.0])
STEP_MM = 2.0
BOX = Box(STEP_MM, (6.0, 10.0, 14.0))
IN_BOX = (slice(7, 53), slice(6, 52), slice(8, 54))
"""What of `tissue_with_bone` lies in the CT's box."""

Mask = NDArray[np.bool_]


def start(degrees_z: float = 0.0) -> Rigid:
    """ct_from_mr that takes the place to itself."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", degrees_z, degrees=True).as_matrix().round(12)
    matrix[:3, 3] = AT_CT - matrix[:3, :3] @ AT_MR
    return Rigid(matrix, CT, MR)


def ct_volume(hu: NDArray[np.float64], *, feet_first: bool = False) -> Volume:
    """2 mm voxels ``(k, j, i)`` along S, P and L, on which the CT's box falls exactly; feet first they are stored from
    the head down and from left to right, and lie where they did."""
    first = AT_CT - STEP_MM * (np.array(hu.shape)[::-1] // 2) + 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = STEP_MM * np.eye(3)[:, ::-1]
    matrix[:3, 3] = first
    if feet_first:
        last = first + STEP_MM * (np.array(hu.shape)[::-1] - 1)
        matrix[:3, [0, 2]] *= -1.0
        matrix[[0, 2], 3] = last[[0, 2]]
        hu = hu[::-1, :, ::-1]
    grid = Grid.regular(matrix, (hu.shape[0], hu.shape[1], hu.shape[2]), CT)
    return Volume(grid, hu.astype(np.float32), Quantity(Kind.CT, "HU"), "1.9.1")


def mr_volume(
    kind: Kind = Kind.T1, shape: tuple[int, int, int] = (60, 60, 60), up_mm: float = 0.0, value: float = 1.0
) -> Volume:
    """3 mm voxels, the place in their middle, or so far below it."""
    matrix = np.eye(4)
    matrix[:3, :3] = 3.0 * np.eye(3)[:, ::-1]
    matrix[:3, 3] = AT_MR - 3.0 * (np.array(shape)[::-1] // 2) + np.array([0.0, 0.0, up_mm])
    grid = Grid.regular(matrix, shape, MR)
    return Volume(grid, np.full(shape, value, dtype=np.float32), Quantity(kind, "1"), f"1.9.{kind.value}")


def tissue_with_bone(k: int, j: int, i: int) -> NDArray[np.float64]:
    """Soft tissue with a block of bone, and a speck of calcium that is none."""
    hu = np.full((61, 59, 63), 40.0)
    hu[30 : 30 + k, 25 : 25 + j, 28 : 28 + i] = 900.0
    hu[20, 20, 20] = 900.0
    hu[40, 40, 40] = -1000.0
    return hu


def cut(
    ct: Volume, mr: tuple[Volume, ...] = (mr_volume(),), *, in_bone: bool, ct_from_mr: Rigid | None = None
) -> Surroundings:
    return Images(ct, mr, BOX).around(AT_CT, AT_MR, ct_from_mr or start(), in_bone=in_bone)


def slow_bone(hu: NDArray[np.float64]) -> Mask:
    """Centres of crosses that are bone all through; what they cover, and three voxels of rim by steps along axes."""
    dense = hu > 180.0
    whole = np.zeros_like(dense)
    for at in np.argwhere(dense):
        cross = [tuple(at + step) for step in np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])]
        whole[tuple(at)] = all(dense[place] for place in cross)
    return np.asarray(ndimage.distance_transform_cdt(~whole, metric="taxicab") <= 1 + 3)


def index_of(grid: Grid, points_mm: Points) -> NDArray[np.int_]:
    index = grid.index_from_mm(points_mm)
    np.testing.assert_allclose(index, index.round(), atol=1e-6)
    return np.asarray(index.round().astype(int))


# the mask -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feet_first", [False, True])
def test_around_a_lesion_of_bone_counts_bone_and_six_millimetres_next_to_it(feet_first: bool) -> None:
    hu = tissue_with_bone(10, 9, 12)
    found = cut(ct_volume(hu, feet_first=feet_first), in_bone=True).ct
    expected = slow_bone(hu[IN_BOX])
    assert found.mask is not None
    np.testing.assert_array_equal(found.mask, expected)
    assert not expected[13, 14, 12], "the speck of calcium"
    assert 1500 < expected.sum() < 3000
    at = found.grid.mm_from_index(np.argwhere(found.mask))
    middle = AT_CT + np.array([2 * (28 - 31) + 11, 2 * (25 - 29) + 8, 9]) + 1.0
    np.testing.assert_allclose((at.min(axis=0) + at.max(axis=0)) / 2, middle, atol=1e-6)


@pytest.mark.parametrize(("block", "bone_ml"), [((8, 8, 8), 12.352), ((7, 8, 8), None)], ids=["enough", "too little"])
def test_too_little_bone_leaves_the_whole_box(block: tuple[int, int, int], bone_ml: float | None) -> None:
    """Blocks to both sides of 12 ml."""
    hu = tissue_with_bone(*block)
    in_block_ml = slow_bone(hu[IN_BOX]).sum() * STEP_MM**3 / 1000.0
    here = cut(ct_volume(hu), in_bone=True)
    mask = here.ct.mask
    assert mask is not None
    assert here.masked == (bone_ml is not None)
    assert (in_block_ml >= LEAST_BONE_ML) == (bone_ml is not None)
    assert mask.sum() * STEP_MM**3 / 1000.0 == pytest.approx(bone_ml or 46**3 * STEP_MM**3 / 1000.0)


@pytest.mark.parametrize("in_bone", [False, True])
def test_around_soft_tissue_counts_a_ball_with_or_without_bone(in_bone: bool) -> None:
    hu = tissue_with_bone(10, 9, 12) if not in_bone else np.full((61, 59, 63), 40.0)
    found = cut(ct_volume(hu), in_bone=in_bone).ct
    away = np.linalg.norm(found.grid.centres_mm() - AT_CT, axis=-1)
    assert found.mask is not None
    np.testing.assert_array_equal(found.mask, np.ones(away.shape, dtype=bool) if in_bone else away <= SOFT_RADIUS_MM)
    assert (away <= 35.0).sum() * 0.008 == pytest.approx(4 / 3 * np.pi * 3.5**3, rel=0.01)


@pytest.mark.parametrize("in_bone", [False, True])
def test_what_lies_beyond_the_ct_never_counts(in_bone: bool) -> None:
    """The CT ends 9 mm above the place, through the bone; its last voxels reach a millimetre further."""
    hu = tissue_with_bone(10, 14, 16)
    hu[35:] = -1000.0
    full = ct_volume(hu)
    grid = Grid(full.grid.slice_origins_mm[:35], full.grid.step_j_mm, full.grid.step_i_mm, (35, 59, 63), CT)
    found = cut(Volume(grid, full.array[:35], full.quantity, "1.9.1"), in_bone=in_bone).ct
    scanned = np.zeros((46, 46, 46), dtype=bool)
    scanned[: 35 - 7] = True
    counts = slow_bone(hu[IN_BOX]) if in_bone else np.linalg.norm(found.grid.centres_mm() - AT_CT, axis=-1) <= 35.0
    assert (counts & ~scanned).any()
    assert (counts & scanned).sum() * 0.008 > LEAST_BONE_ML
    np.testing.assert_array_equal(found.mask, counts & scanned)
    assert (found.array[~scanned] == -300.0).all(), "air, where nothing was scanned"


def test_the_ct_is_clipped_to_the_range_that_the_fits_use() -> None:
    hu = tissue_with_bone(10, 9, 12)
    found = cut(ct_volume(hu), in_bone=True).ct
    np.testing.assert_allclose(found.array, np.clip(hu[IN_BOX], -300.0, 700.0), atol=1e-3)
    assert set(np.unique(found.array.round())) == {-300.0, 40.0, 700.0}


# the boxes ------------------------------------------------------------------------------------------------------------


def test_the_ct_box_has_nine_centimetres_and_the_mr_box_its_margins_besides() -> None:
    here = cut(ct_volume(tissue_with_bone(8, 8, 8)), (mr_volume(), mr_volume(Kind.DIXON_FAT)), in_bone=True)
    assert [image.grid.frame for image in (here.ct, *here.mr)] == [CT, MR, MR]
    for image, at, half in ((here.ct, AT_CT, np.full(3, HALF_MM)), *((mr, AT_MR, [51, 55, 59]) for mr in here.mr)):
        centres = image.grid.centres_mm()
        np.testing.assert_allclose([centres[0, 0, 0], centres[-1, -1, -1]], [at - half, at + half])
        np.testing.assert_allclose(centres[1, 1, 1] - centres[0, 0, 0], STEP_MM)
    assert (here.ct.array.shape, here.mr[0].array.shape) == ((46, 46, 46), (60, 56, 52))


def test_the_start_goes_along_in_both_directions() -> None:
    ct_from_mr = start(90.0)
    here = cut(ct_volume(tissue_with_bone(8, 8, 8)), in_bone=True, ct_from_mr=ct_from_mr)
    assert here.ct_from_mr == ct_from_mr
    assert here.mr_from_ct == ct_from_mr.inverse()
    np.testing.assert_array_equal([here.at_ct, here.at_mr], [AT_CT, AT_MR])


def placed(name: str, middle: Points, frame: str) -> Grid:
    """An anisotropic grid around a place, a little smaller than the boxes."""
    shape, spacing = (25, 40, 48), np.array([3.4, 2.0, 2.1])
    turn = {
        "head first": np.eye(3),
        "feet first": np.diag([-1.0, 1.0, -1.0]),
        "oblique": Rotation.from_euler("zyx", [12, -25, 17], degrees=True).as_matrix(),
        "sagittal": np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]),
    }[name]
    matrix = np.eye(4)
    matrix[:3, :3] = turn[:, ::-1] * spacing
    matrix[:3, 3] = middle - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid.regular(matrix, shape, frame)


def ramp(points_mm: Points, middle: Points) -> NDArray[np.float64]:
    """Linear in mm, so that linear interpolation gives it back exactly; every place has its own direction to it."""
    return np.asarray(100 + (points_mm - middle) @ np.array([1.1, -1.7, 2.3]))


@pytest.mark.parametrize("name", ["head first", "feet first", "oblique", "sagittal"])
def test_numbers_stay_on_their_millimetre_however_the_images_lie(name: str) -> None:
    grids = placed(name, AT_CT + 3.0, CT), placed(name, AT_MR - 4.0, MR)
    ct = Volume(grids[0], ramp(grids[0].centres_mm(), AT_CT), Quantity(Kind.CT, "HU"), "1.9.1")
    mr = Volume(grids[1], ramp(grids[1].centres_mm(), AT_MR), Quantity(Kind.T1, "1"), "1.9.2")
    here = cut(ct, (mr,), in_bone=False)
    for image, grid, at, air in ((here.ct, grids[0], AT_CT, -300.0), (here.mr[0], grids[1], AT_MR, 0.0)):
        points = image.grid.centres_mm()
        index = grid.index_from_mm(points)
        inside = ((index >= 0) & (index <= np.array(grid.shape) - 1)).all(axis=-1)
        outside = ((index < -0.51) | (index > np.array(grid.shape) - 0.49)).any(axis=-1)
        assert inside.mean() > 0.4
        assert outside.any()
        np.testing.assert_allclose(image.array[inside], ramp(points, at)[inside], atol=0.01)
        np.testing.assert_array_equal(image.array[outside], air)
    np.testing.assert_array_equal(here.mr[0].mask, grids[1].contains(here.mr[0].grid.centres_mm()))


def test_uneven_slices_stay_on_their_millimetre() -> None:
    z = AT_CT[2] - 60 + np.concatenate([[0.0], np.cumsum([3.0, 6.0, 3.0, 3.0, 9.0] * 5)])
    origins = np.stack([np.full(26, AT_CT[0] - 55), np.full(26, AT_CT[1] - 55), z], axis=1)
    grid = Grid(origins, np.array([0, 2.75, 0]), np.array([2.5, 0, 0]), (26, 41, 45), CT)
    ct = Volume(grid, ramp(grid.centres_mm(), AT_CT), Quantity(Kind.CT, "HU"), "1.9.1")
    here = cut(ct, in_bone=False)
    expected = np.clip(ramp(here.ct.grid.centres_mm(), AT_CT), -300, 700)
    np.testing.assert_allclose(here.ct.array, expected, atol=0.01)


# the channels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "sharpest"),
    [
        ((Kind.T1, Kind.DIXON_FAT), 1),
        ((Kind.DIXON_FAT, Kind.T1), 0),
        ((Kind.T1, Kind.DIXON_WATER), 0),
        ((Kind.T2, Kind.DIXON_IN, Kind.DIXON_FAT), 2),
        ((Kind.DWI,), 0),
    ],
)
def test_fat_shows_the_edge_of_bone_best_and_else_the_first(kinds: tuple[Kind, ...], sharpest: int) -> None:
    here = cut(ct_volume(tissue_with_bone(8, 8, 8)), tuple(mr_volume(kind) for kind in kinds), in_bone=True)
    assert here.sharpest == sharpest
    assert len(here.mr) == len(kinds)


def short_by(mm: float, kind: Kind = Kind.DIXON_FAT, value: float = 2.0) -> Volume:
    """A channel that begins so far above the lower end of the MR's box, which is 118 mm high."""
    lower_mm = 3.0 * (60 // 2) + 1.5
    return mr_volume(kind, up_mm=lower_mm - 59.0 + mm, value=value)


@pytest.mark.parametrize(("missing_mm", "kept"), [(0.0, True), (10.0, True), (14.0, False), (59.0, False)])
def test_a_channel_that_ends_in_the_box_is_left_out_there_and_does_not_count_as_the_sharpest(
    missing_mm: float, kept: bool
) -> None:
    """Of 60 slices of the box 5 or 7 are missing: a tenth is 6."""
    ct = ct_volume(tissue_with_bone(8, 8, 8))
    here = cut(ct, (short_by(missing_mm), mr_volume(Kind.T1, value=1.0)), in_bone=True)
    assert [image.array.max() for image in here.mr] == ([2.0, 1.0] if kept else [1.0])
    assert here.sharpest == 0
    assert cut(ct, (mr_volume(), short_by(missing_mm)), in_bone=True).sharpest == int(kept)


def test_the_sharpest_is_counted_among_the_channels_that_are_left() -> None:
    three = (short_by(59.0, Kind.T2, 1.0), mr_volume(Kind.T1, value=2.0), mr_volume(Kind.DIXON_FAT, value=3.0))
    here = cut(ct_volume(tissue_with_bone(8, 8, 8)), three, in_bone=True)
    assert here.mr[here.sharpest].array.max() == 3.0
    assert len(here.mr) == 2


def test_channels_are_cut_to_what_they_show_in_common() -> None:
    here = cut(ct_volume(tissue_with_bone(8, 8, 8)), (mr_volume(), short_by(9.0)), in_bone=True)
    expected = np.ones((60, 56, 52), dtype=bool)
    expected[:5] = False
    for image in here.mr:
        np.testing.assert_array_equal(image.mask, expected)


def test_a_channel_may_be_the_only_one_however_short_it_is() -> None:
    here = cut(ct_volume(tissue_with_bone(8, 8, 8)), (short_by(59.0, Kind.T1),), in_bone=True)
    assert len(here.mr) == 1
    assert here.mr[0].mask is not None
    assert here.mr[0].mask[:, 0, 0].sum() == 30


@pytest.mark.parametrize("degrees_z", [0.0, 90.0])
@pytest.mark.parametrize("mr_slices", [60, 12])
def test_the_mr_carries_the_cts_mask_with_two_voxels_of_rim(degrees_z: float, mr_slices: int) -> None:
    """Shifts of whole voxels and quarter turns: every voxel of the MR is one of the CT. A shorter MR cuts it."""
    here = cut(
        ct_volume(tissue_with_bone(10, 9, 12)),
        (mr_volume(shape=(mr_slices, 60, 60)),),
        in_bone=True,
        ct_from_mr=start(degrees_z),
    )
    assert here.ct.mask is not None
    carried = np.zeros((60, 56, 52), dtype=bool)
    in_mr = index_of(here.mr[0].grid, here.mr_from_ct.apply(here.ct.grid.mm_from_index(np.argwhere(here.ct.mask))))
    carried[tuple(in_mr.T)] = True
    assert carried.sum() == here.ct.mask.sum()
    wide = ndimage.distance_transform_cdt(~carried, metric="taxicab") <= 2
    usable = here.mr[0].mask
    assert usable is not None
    assert usable.all() == (mr_slices == 60)
    assert (wide & ~usable).any() == (mr_slices == 12)
    np.testing.assert_array_equal(here.mr_mask, wide & usable)


def test_without_a_mask_the_mr_uses_the_cts_box() -> None:
    here = cut(ct_volume(np.full((61, 59, 63), 40.0)), in_bone=True)
    assert here.mr_mask.sum() > 46**3
    np.testing.assert_array_equal(here.mr_mask[7 : 7 + 46, 5 : 5 + 46, 3 : 3 + 46], np.ones((46, 46, 46), dtype=bool))
    assert not here.mr_mask[:5].any(), "two voxels of rim"
    assert here.mr_mask[5].any()
