"""Between volumes on grids and SimpleITK's images and transforms; the only place where the two meet.

SimpleITK works in patient coordinates (LPS, mm) like psdt, but orders index axes i, j, k, knows no frame of
reference, and lets a registration map points of the fixed image to points of the moving one.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from psdt_planner.geometry import Grid, Points, Rigid, grid_corners_mm
from psdt_planner.images import Volume, resample


def to_sitk(array: NDArray[np.generic], grid: Grid) -> sitk.Image:
    """The array ``(k, j, i)`` as an image that lies where the grid says.

    Raises:
        GeometryError: the grid's slices are uneven.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    origin, spacing, direction = _placement(grid)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


def _placement(grid: Grid) -> tuple[list[float], list[float], list[float]]:
    """Origin, spacing and direction cosines of an even grid, axes in the order i, j, k."""
    matrix = grid.mm_from_kji
    steps = matrix[:3, [2, 1, 0]]
    spacing = np.linalg.norm(steps, axis=0)
    return matrix[:3, 3].tolist(), spacing.tolist(), (steps / spacing).ravel().tolist()


def even_image(volume: Volume) -> sitk.Image:
    """The volume as an image from its first to its last slice; uneven ones are first interpolated onto even ones, at
    the smallest gap or a little less."""
    grid = volume.grid
    if grid.is_even:
        return to_sitk(volume.array, grid)
    offsets_mm = grid.slice_offsets_mm
    count = int(np.ceil(offsets_mm[-1] / np.diff(offsets_mm).min() - 1e-6)) + 1
    origins = np.linspace(grid.slice_origins_mm[0], grid.slice_origins_mm[-1], count)
    even = Grid(origins, grid.step_j_mm, grid.step_i_mm, (count, *grid.shape[1:]), grid.frame)
    return to_sitk(resample(volume, even, Rigid.identity(grid.frame)), even)


def lps_lattice(corners_mm: Points, spacing_mm: float, frame: str) -> Grid:
    """The even grid along L, P and S that spans points ``(N, 3)``."""
    low, high = corners_mm.min(axis=0), corners_mm.max(axis=0)
    counts = (np.ceil((high - low) / spacing_mm) + 1).astype(int)
    matrix = np.eye(4)
    matrix[:3, :3] = spacing_mm * np.eye(3)[:, ::-1]
    matrix[:3, 3] = low
    return Grid.regular(matrix, (int(counts[2]), int(counts[1]), int(counts[0])), frame)


def coarse(volume: Volume, spacing_mm: float, *, outside: float) -> tuple[Grid, NDArray[np.float32], NDArray[np.bool_]]:
    """The volume on an LPS lattice, smoothed against aliasing, and which voxels of the lattice the volume covers.

    The Gaussian's full width at half maximum is the new spacing; an axis that is coarser already is left alone.
    """
    image = even_image(volume)
    variance = [(spacing_mm / 2.355) ** 2 if step < spacing_mm else 1e-6 for step in image.GetSpacing()]
    smooth = sitk.DiscreteGaussian(image, variance=variance, maximumKernelWidth=32, useImageSpacing=True)
    lattice = lps_lattice(grid_corners_mm(volume.grid), spacing_mm, volume.grid.frame)
    same = sitk.Transform(3, sitk.sitkIdentity)
    array = resample_sitk(smooth, lattice, same, outside=outside)
    covered = resample_sitk(sitk.Cast(image * 0 + 1, sitk.sitkUInt8), lattice, same, outside=0.0) > 0.5
    return lattice, array, covered


def resample_sitk(
    image: sitk.Image, onto: Grid, image_from_onto: sitk.Transform, *, outside: float
) -> NDArray[np.float32]:
    """The image at the voxel centres of an even grid, through a transform of points of the grid to the image;
    linear."""
    origin, spacing, direction = _placement(onto)
    size = [onto.shape[2], onto.shape[1], onto.shape[0]]
    pixel = sitk.sitkFloat32
    out = sitk.Resample(image, size, image_from_onto, sitk.sitkLinear, origin, spacing, direction, outside, pixel)
    return np.asarray(sitk.GetArrayFromImage(out), dtype=np.float32)


def to_transform(moving_from_fixed: Rigid, centre_mm: Points) -> sitk.Euler3DTransform:
    """The same mapping as a SimpleITK transform that turns around a centre of the fixed frame."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter(np.asarray(centre_mm, dtype=float).tolist())
    transform.SetMatrix(moving_from_fixed.matrix[:3, :3].ravel().tolist(), 1e-5)
    shift = moving_from_fixed.apply(centre_mm) - centre_mm
    transform.SetTranslation(shift.tolist())
    return transform


def to_rigid(transform: sitk.Euler3DTransform, *, moving_frame: str, fixed_frame: str) -> Rigid:
    """The mapping of a SimpleITK transform, bound to its frames: ``moving_from_fixed``."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    return Rigid(matrix, moving_frame, fixed_frame)
