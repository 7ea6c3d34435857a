"""Body masks and their profiles along the body: what tells which part of the whole-body MR a CT shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.geometry import Grid, Points

Mask = NDArray[np.bool_]

CT_BODY_HU = -300.0
"""Everything denser is body, clothing or couch."""

AIR_FRACTION_OF_OTSU = 0.5
"""An MR voxel inside the body darker than this part of the threshold counts as air-like (lung, bowel gas)."""


def ct_body(hu: NDArray[np.float32]) -> Mask:
    """The patient in a CT ``(k, j, i)`` on an LPS lattice: denser than -300 HU, without couch, filled slice by
    slice."""
    dense = ndimage.binary_opening(hu > CT_BODY_HU, iterations=2)
    labels, count = ndimage.label(dense)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return _filled(labels == sizes.argmax())


def mr_body(signal: NDArray[np.float32]) -> Mask:
    """The trunk and thighs in an MR ``(k, j, i)`` on an LPS lattice: arms and noise dropped slice by slice."""
    inside = np.asarray(signal > _otsu_of_log(signal), dtype=bool)
    closed = np.stack([ndimage.binary_closing(s, iterations=2) for s in inside])
    opened = np.stack([ndimage.binary_opening(s, iterations=3) for s in _filled(closed)])
    return np.stack([_large_parts(s) for s in opened])


def _otsu_of_log(signal: NDArray[np.float32]) -> float:
    positive = signal[signal > 0]
    if positive.size == 0:
        return 0.0
    image = sitk.GetImageFromArray(np.log(positive)[None].astype(np.float32))
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.Execute(image)
    return float(np.exp(threshold.GetThreshold()))


def _filled(mask: Mask) -> Mask:
    return np.stack([ndimage.binary_fill_holes(s) for s in mask])


def _large_parts(plane: Mask) -> Mask:
    """Parts of at least half the largest one: keeps both thighs, drops arms."""
    labels, count = ndimage.label(plane)
    if count < 2:
        return plane
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(np.isin(labels, np.flatnonzero(sizes >= 0.5 * sizes.max())))


@dataclass(frozen=True, eq=False)
class Profile:
    """Figures of each axial slice of a body on an LPS lattice.

    Attributes:
        z_mm: ``(K,)``, where the slices lie.
        figures: ``(K, 4)``: square root of area, width, thickness, square root of air-like area, all in mm; NaN where
            the slice holds no body.
        centre_xy_mm: ``(K, 2)``, centre of the body; NaN where there is none.
    """

    z_mm: Points
    figures: Points
    centre_xy_mm: Points


def profile(body: Mask, air: Mask, grid: Grid) -> Profile:
    """The body's profile; ``air`` marks air-like voxels, counted inside the body only."""
    step = grid.spacing_ji_mm[1]
    figures = np.full((grid.shape[0], 4), np.nan)
    centres = np.full((grid.shape[0], 2), np.nan)
    for k, (plane, gas) in enumerate(zip(body, air & body, strict=True)):
        rows, columns = np.nonzero(plane)
        if rows.size < 50:
            continue
        width, thickness = (float(np.ptp(np.percentile(at, [1, 99]))) * step for at in (columns, rows))
        figures[k] = np.sqrt(plane.sum()) * step, width, thickness, np.sqrt(gas.sum()) * step
        centres[k] = grid.mm_from_index([k, rows.mean(), columns.mean()])[:2]
    return Profile(grid.slice_origins_mm[:, 2].copy(), figures, centres)


def ct_air(hu: NDArray[np.float32]) -> Mask:
    """Air-like voxels of a CT."""
    return np.asarray(hu < CT_BODY_HU)


def mr_air(signal: NDArray[np.float32]) -> Mask:
    """Air-like voxels of an MR."""
    return np.asarray(signal < AIR_FRACTION_OF_OTSU * _otsu_of_log(signal))
