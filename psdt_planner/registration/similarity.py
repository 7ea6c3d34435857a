"""A fit by self-similarity: how each image resembles itself nearby, which needs no relation between intensities.

Self-similarity context: Heinrich, Jenkinson, Papiez, Brady and Schnabel, MICCAI 2013, LNCS 8149:187-194.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.geometry import Points, Rigid
from psdt_planner.registration.fits import Image
from psdt_planner.registration.sampling import (
    MM_PER_RADIAN,
    Channels,
    drawn_points,
    moved_by,
    slopes_of,
    values_of,
)

Array = NDArray[np.float32]

REACH_VOXELS = 2
PATCH_SIGMA_VOXELS = 1.0
POINTS = 2500
ITERATIONS = 25
SETTLED_MM = 0.01
CAUCHY = 0.25
"""Difference of descriptors (0 to 1) at which a channel of a point has lost half its weight."""

_SIX = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) * REACH_VOXELS
PAIRS = tuple((_SIX[a], _SIX[b]) for a in range(6) for b in range(a + 1, 6) if (_SIX[a] + _SIX[b]).any())
"""The twelve pairs of the six neighbours that do not lie opposite each other."""


def described(image: Image) -> Channels:
    """Twelve numbers a voxel, 0 to 1: how alike the patches at each pair of neighbours are, over their mean
    unlikeness."""
    away = np.stack([_patch_distance(image.array, one, other) for one, other in PAIRS], axis=-1)
    away -= away.min(axis=-1, keepdims=True)
    spread = away.mean(axis=-1, keepdims=True)
    typical = float(spread.mean()) + 1e-9
    return Channels(image.grid, np.exp(-away / np.clip(spread, 1e-3 * typical, 1e3 * typical)), image.mask)


def _patch_distance(array: Array, one: NDArray[np.int_], other: NDArray[np.int_]) -> Array:
    difference = _seen_from(array, one) - _seen_from(array, other)
    return np.asarray(ndimage.gaussian_filter(difference * difference, PATCH_SIGMA_VOXELS, truncate=2.5))


def _seen_from(array: Array, away: NDArray[np.int_]) -> Array:
    """The array shifted, so that each voxel holds what lies ``away`` from it; the edge is repeated."""
    padded = np.pad(array, REACH_VOXELS, mode="edge")
    window = (
        slice(REACH_VOXELS + int(step), REACH_VOXELS + int(step) + size)
        for step, size in zip(away, array.shape, strict=True)
    )
    return np.asarray(padded[tuple(window)])


@dataclass(frozen=True, eq=False)
class SimilarityFit:
    """Where a fit ended.

    Attributes:
        moving_from_fixed: the transform.
        cost: mean robust difference of the descriptors there; smaller is better.
    """

    moving_from_fixed: Rigid
    cost: float


@dataclass(frozen=True, eq=False)
class Similarity:
    """Points of the fixed image with their descriptors, and the moving image's descriptors everywhere."""

    points_mm: Points
    expected: Array
    moving: Channels
    centre_mm: Points

    @classmethod
    def of(cls, fixed: Image, moving: Sequence[Image], centre_mm: Points, *, seed: int, points: int) -> Similarity:
        """From at most so many seeded points of the fixed image's mask; turns go around ``centre_mm``.

        Moving images lie on one lattice with one mask; each is compared with the fixed one.
        """
        index, places = drawn_points(fixed, points, seed)
        expected = described(fixed).field[tuple(index.T)]
        fields = np.concatenate([described(image).field for image in moving], axis=-1)
        channels = Channels(moving[0].grid, fields, moving[0].mask)
        return cls(places, np.tile(expected, (1, len(moving))), channels, centre_mm)

    def cost(self, moving_from_fixed: Rigid) -> float:
        """Mean robust difference of the descriptors, ``log(1 + (d / CAUCHY)^2)`` over points and channels.

        Infinite where fewer than half of the points lie in the moving image.
        """
        corners, way, inside = self.moving.corners(moving_from_fixed.apply(self.points_mm))
        if inside.mean() < 0.5:
            return float("inf")
        residual = (values_of(corners, way) - self.expected)[inside]
        return float(np.log1p((residual / CAUCHY) ** 2).mean())

    def fit(self, start: Rigid) -> SimilarityFit:
        """The nearest minimum of `cost`, by Gauss and Newton's step with Levenberg's damping."""
        current, cost, damping = start, self.cost(start), 1e-2
        for _ in range(ITERATIONS):
            gradient, curvature = self._slope(current)
            step = np.asarray(np.linalg.solve(curvature + damping * np.diag(np.diag(curvature) + 1e-9), -gradient))
            tried = moved_by(step, current, self.centre_mm)
            found = self.cost(tried)
            if found >= cost:
                damping *= 5.0
                if damping > 1e5:
                    break
                continue
            current, cost, damping = tried, found, damping * 0.3
            if np.abs(step).max() < SETTLED_MM:
                break
        return SimilarityFit(current, cost)

    def _slope(self, transform: Rigid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gradient ``(6,)`` and curvature ``(6, 6)`` of the robust cost for a further turn and shift."""
        at = transform.apply(self.points_mm)
        corners, way, inside = self.moving.corners(at)
        residual = values_of(corners, way) - self.expected
        weight = inside[:, None] / (1.0 + (residual / CAUCHY) ** 2)
        slope = slopes_of(corners, way, self.moving.grid.slice_gap_mm)
        arms = (at - transform.apply(self.centre_mm)).astype(np.float32)
        turning = np.cross(arms[:, None, :], slope) / np.float32(MM_PER_RADIAN)
        jacobian = np.concatenate([turning, slope], axis=-1).reshape(-1, 6)
        weighted = jacobian * weight.reshape(-1, 1).astype(np.float32)
        gradient = weighted.T @ residual.reshape(-1)
        return gradient.astype(np.float64), (weighted.T @ jacobian).astype(np.float64)
