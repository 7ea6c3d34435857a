"""The even lattice along the CT's axes on which a shape's field is kept."""

from __future__ import annotations

import numpy as np

from psdt_planner.geometry import Grid, Points

LATTICE_STEP_MM = (0.35, 1.0)
"""Finest and coarsest step of a shape's lattice; `LATTICE_POINTS` decides between them."""

LATTICE_POINTS = 500_000
"""About how many points a shape's lattice may have before its step grows."""

BORDER_MM = 5.0
"""How far a lattice reaches beyond the mask's voxels: a smoothed single voxel bulges over its faces."""


def lattice_around(
    points_mm: Points, ct: Grid, *, most: int = LATTICE_POINTS, coarsest_mm: float = LATTICE_STEP_MM[1]
) -> Grid:
    """An even lattice along the CT's axes that holds the points with a border, of about ``most`` points."""
    axes = np.stack([ct.normal, ct.step_j_mm / ct.spacing_ji_mm[0], ct.step_i_mm / ct.spacing_ji_mm[1]])
    along = points_mm @ axes.T
    low, high = along.min(axis=0) - BORDER_MM, along.max(axis=0) + BORDER_MM
    step = float(np.clip(np.cbrt(np.prod(high - low) / most), LATTICE_STEP_MM[0], coarsest_mm))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = step * axes.T, axes.T @ low
    k, j, i = (int(n) for n in np.ceil((high - low) / step) + 1)
    return Grid.regular(matrix, (k, j, i), ct.frame)


def step_of(lattice: Grid) -> float:
    """The step of an even lattice, in mm."""
    return lattice.spacing_ji_mm[0]
