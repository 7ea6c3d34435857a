"""From a flagged mask to a smooth shape on the planning CT."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.contours.drawing import SPECK_MM3
from psdt_planner.contours.lattice import BORDER_MM, LATTICE_POINTS, lattice_around, step_of
from psdt_planner.errors import FaultError, FrameError, GeometryError
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.lesions import FlaggedLesion, MaskKind
from psdt_planner.shapes import Shape

Field = NDArray[np.float32]

Indices = tuple[int, ...]

BINARY_MM = 2.5
"""SD of the Gaussian over a binary mask's signed distance: enough to take the staircase of DWI voxels away."""

LEAST_MM, MOST_MM = 2.0, 3.0
"""Between these lies the SD of the Gaussian over an occupancy mask; see `smoothing_mm`."""

ROUNDS = {MaskKind.BINARY: 0, MaskKind.OCCUPANCY: 2}
"""How often a shape is compared with its mask and drawn again: a binary mask says too little to be compared with, and
more rounds draw the noise of an occupancy mask."""

STEP = 0.7
"""The part of the difference that a round adds."""

FAINT = 0.5
"""A part whose densest voxel is below this part of the densest of all is not drawn."""

SAMPLES = 3
"""Points along every axis of a voxel that are looked at for it."""


def lesion_shape(flag: FlaggedLesion, ct_from_mr: Rigid, ct: Grid) -> Shape:
    """The lesion on the planning CT: a smooth field whose positive volume is the mask's volume to 1 %.

    Binary masks: signed distance, smoothed by a Gaussian; occupancy masks: the Gaussian alone (`smoothing_mm`, in mm
    on the flag's anisotropic grid), then drawn again until the shape fills each voxel nearly as the mask says. The
    field is carried over by cubic splines, and its level is the one that keeps the volume. Parts that do not touch
    are drawn one by one, so that a part of a single voxel is not lost beside a larger one. In an occupancy mask,
    parts less than half as dense as the densest are not drawn, nor is their volume given to the others:
    `faint_parts_ml` tells them.

    Returns:
        A shape on a lattice of even steps (`LATTICE_STEP_MM`) along the CT's rows, columns and normal.

    Raises:
        FrameError: the transform does not lead from the flag's frame to the CT's.
        GeometryError: the flag's slices are uneven or a single one, so that distances in it cannot be measured.
    """
    if (ct_from_mr.target, ct_from_mr.source) != (ct.frame, flag.grid.frame):
        raise FrameError(f"{ct_from_mr.target} from {ct_from_mr.source} does not lead from {flag.id}'s mask to the CT")
    if not flag.grid.is_even:
        raise GeometryError("the flag's slices are uneven", where=flag.id, todo="Flag the lesion on an even series.")
    parts, _ = _dense_and_faint(flag)
    corners = ct_from_mr.apply(_corners_mm(flag.grid, np.logical_or.reduce(parts)))
    lattice = lattice_around(corners, ct)
    flag_from_lattice = np.linalg.inv(flag.grid.mm_from_kji) @ ct_from_mr.inverse().matrix @ lattice.mm_from_kji
    cell_mm3 = step_of(lattice) ** 3
    field = np.full(lattice.shape, -np.inf, dtype=np.float32)
    for part in parts:
        window = _window(lattice, ct_from_mr.apply(_corners_mm(flag.grid, part)))
        mask = np.where(part, flag.mask, np.float32(0.0))
        here = field[window]
        np.maximum(here, _fitted(mask, flag, flag_from_lattice @ _shift(window), here.shape, cell_mm3), out=here)
    field = np.maximum(field, np.float32(-BORDER_MM))
    if len(parts) > 1:
        volume_mm3 = _volume_mm3(np.where(np.logical_or.reduce(parts), flag.mask, np.float32(0.0)), flag.grid)
        field -= _level_of_volume(field, cell_mm3, volume_mm3, divisions=_divisions(field))
    return Shape(lattice, _closed(field, flag.id))


def smoothing_mm(kind: MaskKind, grid: Grid) -> float:
    """SD of the Gaussian over a mask, in mm.

    Of an occupancy mask the noise of each voxel weighs less where voxels are small and many lie below the Gaussian,
    and rounds that draw it again amplify it; so larger voxels are smoothed more: SD = 1.2 e^(2/3), e the edge of a
    cube of the voxel's volume. More rounds ellipsoids and lobes.
    """
    if kind is MaskKind.BINARY:
        return BINARY_MM
    edge_mm = float(np.cbrt(np.prod(grid.spacing_kji_mm)))
    return float(np.clip(1.2 * edge_mm ** (2.0 / 3.0), LEAST_MM, MOST_MM))


def faint_parts_ml(flag: FlaggedLesion) -> tuple[float, ...]:
    """Volumes of the flag's parts that `lesion_shape` does not draw, the largest first; specks are left out."""
    _, faint = _dense_and_faint(flag)
    volumes_ml = (_volume_mm3(np.where(part, flag.mask, np.float32(0.0)), flag.grid) / 1000.0 for part in faint)
    return tuple(sorted((ml for ml in volumes_ml if ml * 1000.0 >= SPECK_MM3), reverse=True))


def _dense_and_faint(flag: FlaggedLesion) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    """Masks of the voxel groups that touch by a face, edge or corner: those that are drawn, and the faint ones."""
    labels, count = ndimage.label(flag.mask > 0, structure=np.ones((3, 3, 3)))
    peaks = ndimage.maximum(flag.mask, labels, np.arange(1, count + 1))
    faint = [peak < FAINT * max(peaks) for peak in peaks]
    dense = [labels == n for n, one in enumerate(faint, start=1) if not one]
    return dense, [labels == n for n, one in enumerate(faint, start=1) if one]


def _corners_mm(grid: Grid, mask: NDArray[np.bool_]) -> Points:
    """``(N, 3)``, the eight corners of every voxel in the mask."""
    halves = np.array(list(product((-0.5, 0.5), repeat=3)))
    return grid.mm_from_index((np.argwhere(mask)[:, None] + halves).reshape(-1, 3))


def _window(lattice: Grid, points_mm: Points) -> tuple[slice, slice, slice]:
    """The part of the lattice that holds the points with the border."""
    index = lattice.index_from_mm(points_mm)
    border = BORDER_MM / step_of(lattice) + 1e-6
    low = np.maximum(np.floor(index.min(axis=0) - border), 0).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0) + border).astype(int) + 1, lattice.shape)
    k, j, i = (slice(first, last) for first, last in zip(low.tolist(), high.tolist(), strict=True))
    return k, j, i


def _fitted(mask: Field, flag: FlaggedLesion, flag_from_window: Points, shape: Indices, cell_mm3: float) -> Field:
    """The smoothed mask at the lattice points of a window, less the level that keeps its volume.

    Smoothing an occupancy mask rounds what is bent more sharply than its voxels are long. So what the shape fills of
    each voxel is compared with the mask, and the difference added before smoothing again (`ROUNDS`).
    """
    volume_mm3 = _volume_mm3(mask, flag.grid)
    drawn = mask
    for _ in range(ROUNDS[flag.mask_kind]):
        carried = _carried(drawn, flag, flag_from_window, shape)
        carried -= _level_of_volume(carried, cell_mm3, volume_mm3, divisions=1)
        drawn = drawn + np.float32(STEP) * (mask - _occupancy(carried, mask, flag_from_window))
    carried = _carried(drawn, flag, flag_from_window, shape)
    return carried - _level_of_volume(carried, cell_mm3, volume_mm3, divisions=_divisions(carried))


def _occupancy(field: Field, mask: Field, flag_from_window: Points) -> Field:
    """The part of each of the flag's voxels that is inside, of the mask's and of those beside them; 0 elsewhere."""
    filled = np.argwhere(mask > 0)
    low, high = np.maximum(filled.min(axis=0) - 1, 0), np.minimum(filled.max(axis=0) + 2, mask.shape)
    flag_from_samples = np.diag([1.0 / SAMPLES] * 3 + [1.0])
    flag_from_samples[:3, 3] = low + 0.5 / SAMPLES - 0.5
    size = high - low
    samples = ndimage.affine_transform(
        field,
        np.linalg.inv(flag_from_window) @ flag_from_samples,
        output_shape=tuple((SAMPLES * size).tolist()),
        order=1,
        mode="nearest",
    )
    k, j, i = size.tolist()
    occupancy = np.zeros(mask.shape, dtype=np.float32)
    inside = (samples > 0).reshape(k, SAMPLES, j, SAMPLES, i, SAMPLES)
    occupancy[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = inside.mean(axis=(1, 3, 5))
    return occupancy


def _carried(mask: Field, flag: FlaggedLesion, flag_from_window: Points, shape: Indices) -> Field:
    """The smoothed mask, sampled by cubic splines at the lattice points of a window."""
    spacing_mm = np.array(flag.grid.spacing_kji_mm)
    sigma = smoothing_mm(flag.mask_kind, flag.grid) / spacing_mm
    margin = np.ceil(4.0 * sigma).astype(int) + 2
    padded = np.pad(mask, [(n, n) for n in margin.tolist()])
    if flag.mask_kind is MaskKind.BINARY:
        inside = padded >= 0.5
        padded = ndimage.distance_transform_edt(inside, spacing_mm) - ndimage.distance_transform_edt(
            ~inside, spacing_mm
        )
    smooth = ndimage.gaussian_filter(padded.astype(np.float64), sigma, mode="nearest")
    padded_from_window = flag_from_window.copy()
    padded_from_window[:3, 3] += margin
    carried = ndimage.affine_transform(smooth, padded_from_window, output_shape=shape, order=3, mode="nearest")
    return np.asarray(carried, dtype=np.float32)


def _shift(window: tuple[slice, slice, slice]) -> Points:
    """The matrix from indices in the window to those of the whole lattice."""
    matrix = np.eye(4)
    matrix[:3, 3] = [part.start for part in window]
    return matrix


def _volume_mm3(mask: Field, grid: Grid) -> float:
    return float(mask.sum(axis=(1, 2), dtype=np.float64) @ grid.voxel_volumes_ml) * 1000.0


def _divisions(field: Field) -> int:
    """Into how many a lattice cell is divided along every axis: the count is to be exact for a lesion of one voxel."""
    return 3 if field.size <= LATTICE_POINTS else 2 if field.size <= 4 * LATTICE_POINTS else 1


def _level_of_volume(field: Field, cell_mm3: float, volume_mm3: float, *, divisions: int) -> np.float32:
    """The level above which the field, taken as linear between lattice points, holds the volume."""
    values = _divided(field, divisions).ravel()
    rank = round(volume_mm3 * divisions**3 / cell_mm3)
    if not 1 <= rank < values.size:
        raise FaultError(f"a volume of {volume_mm3:.1f} mm3 does not fit a lattice of {field.shape}")
    return np.float32(np.partition(values, values.size - rank)[values.size - rank])


def _divided(field: Field, divisions: int) -> Field:
    """The field at the centres of each cell's equal divisions along every axis, linear between lattice points."""
    for axis in range(3):
        ahead = np.moveaxis(field, axis, 0)
        padded = np.concatenate([ahead[:1], ahead, ahead[-1:]])
        out = np.empty((len(ahead), divisions, *ahead.shape[1:]), dtype=np.float32)
        for n in range(divisions):
            way = (n + 0.5) / divisions - 0.5
            towards = padded[2:] if way > 0 else padded[:-2]
            out[:, n] = ahead + np.float32(abs(way)) * (towards - ahead)
        field = np.moveaxis(out.reshape(-1, *ahead.shape[1:]), 0, axis)
    return field


def _closed(field: Field, lesion: str) -> Field:
    """The field, after a look that its border is outside everywhere, as `Shape` promises."""
    faces = (field[[0, -1]], field[:, [0, -1]], field[:, :, [0, -1]])
    if max(face.max() for face in faces) >= 0:
        raise FaultError("a shape reaches the border of its lattice", where=lesion)
    return field
