"""A fit by normalised mutual information, summed over several images, climbed without a gradient.

Studholme, Hill and Hawkes, Pattern Recognition 1999;32:71-86.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from psdt_planner.geometry import Points, Rigid
from psdt_planner.registration.fits import Image
from psdt_planner.registration.sampling import Channels, drawn_points, moved_by, values_of

BINS = 28
BLUR_BINS = 0.7
_REACH = 2
_KERNEL = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / BLUR_BINS) ** 2)
_BLUR = sum(np.eye(BINS, k=k) * weight for k, weight in enumerate(_KERNEL / _KERNEL.sum(), -_REACH))


@dataclass(frozen=True)
class Stage:
    """One pass of a fit.

    Attributes:
        smooth_voxels: Gaussian of both images.
        step_mm: first step of the climb.
        points: at most so many of the fixed image.
        evaluations: at most.
    """

    smooth_voxels: float
    step_mm: float
    points: int
    evaluations: int


STAGES = (Stage(1.05, 5.0, 1500, 420), Stage(0.35, 2.0, 3000, 300))

NOTHING = 0.0
"""Loss of a place where nothing can be compared; any other is at most -0.7 a channel: the information is at least 1,
the penalty at most 0.3."""

LEAST_POINTS = 200
"""Of fewer points a histogram of 28 by 28 bins says nothing."""

LEAST_SHARE, FULL_SHARE = 0.3, 0.6
"""Part of the points that must stay in the moving image: below the second the fit is penalised, below the first it is
worth nothing. Without it a fit gains by leaving the image."""


def fit_information(
    fixed: Image, moving: Sequence[Image], start: Rigid, centre_mm: Points, *, seed: int
) -> Rigid | None:
    """The rigid ``moving_from_fixed`` of greatest summed normalised mutual information near the start.

    None where the fixed image offers fewer than `LEAST_POINTS`, or fewer than `LEAST_SHARE` of them lie in the moving
    images, so that nothing could be compared.

    Args:
        fixed: on an LPS lattice; only the voxels of its mask count.
        moving: images on one LPS lattice and with one mask.
        start: ``moving_from_fixed``.
        centre_mm: ``(3,)``, of the turns, in the fixed frame.
        seed: of the points that are drawn.
    """
    best = np.zeros(6)
    for stage in STAGES:
        index, points = drawn_points(fixed, stage.points, seed)
        if len(points) < LEAST_POINTS:
            return None
        still = binned(ndimage.gaussian_filter(fixed.array, stage.smooth_voxels)[tuple(index.T)])
        objective = _Objective(points, still, _smoothed(moving, stage.smooth_voxels), start, centre_mm)
        options = {
            "xtol": 0.02,
            "ftol": 2e-5,
            "maxfev": stage.evaluations,
            "direc": np.eye(6) * stage.step_mm,
        }
        found = optimize.minimize(objective, best, method="Powell", options=options)
        if found.fun == NOTHING:
            return None
        best = found.x
    return moved_by(best, start, centre_mm)


def _smoothed(moving: Sequence[Image], sigma_voxels: float) -> Channels:
    binned_images = [binned(ndimage.gaussian_filter(image.array, sigma_voxels)) for image in moving]
    return Channels(moving[0].grid, np.stack(binned_images, axis=-1), moving[0].mask)


@dataclass(frozen=True, eq=False)
class _Objective:
    """What the climb sees: parameters in, loss out."""

    points_mm: Points
    still: NDArray[np.float32]
    moving: Channels
    start: Rigid
    centre_mm: Points

    def __call__(self, parameters: NDArray[np.float64]) -> float:
        at = moved_by(parameters, self.start, self.centre_mm).apply(self.points_mm)
        corners, way, inside = self.moving.corners(at)
        share = float(inside.mean())
        if share < LEAST_SHARE:
            return NOTHING
        values, still = values_of(corners, way)[inside], self.still[inside]
        gain = sum(normalised_information(still, channel) for channel in values.T)
        return -gain + len(values.T) * max(0.0, FULL_SHARE - share)


def binned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fractional bin of each number, 0 to `BINS` - 1, between the 1st and 99th percentiles."""
    low, high = np.percentile(values, [1, 99])
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0) * (BINS - 1), dtype=np.float32)


def normalised_information(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """``(H(a) + H(b)) / H(a, b)`` of fractional bins ``(N,)``; 1 means independent.

    ``b`` is shared between its two nearest bins, so that the figure changes smoothly with it; the joint histogram is
    blurred by 0.7 bins.
    """
    row = np.rint(a).astype(np.int64) * BINS
    lower = np.minimum(b.astype(np.int64), BINS - 2)
    upper = b - lower
    joint = np.bincount(row + lower, 1.0 - upper, BINS * BINS)
    joint += np.bincount(row + lower + 1, upper, BINS * BINS)
    table = _BLUR @ joint.reshape(BINS, BINS) @ _BLUR
    table /= table.sum()
    return (_entropy(table.sum(axis=0)) + _entropy(table.sum(axis=1))) / _entropy(table)


def _entropy(p: NDArray[np.float64]) -> float:
    positive = p[p > 1e-12]
    return float(-(positive * np.log(positive)).sum())
