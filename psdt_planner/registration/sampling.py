"""What the measures of psdt's own share: points of a fixed image, and several channels read between their voxels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.registration.fits import Image

MM_PER_RADIAN = 45.0
"""A turn counts as the shift that it gives at the edge of a 9 cm box."""


@dataclass(frozen=True, eq=False)
class Channels:
    """Several numbers a voxel on a lattice along L, P and S of one spacing; a point reads all of them at once.

    Attributes:
        grid: the lattice.
        field: ``(K, J, I, C)``, ``float32``.
        usable: ``(K, J, I)``, the voxels that may be read; None: all.
    """

    grid: Grid
    field: NDArray[np.float32]
    usable: NDArray[np.bool_] | None = None

    def corners(self, points_mm: Points) -> tuple[NDArray[np.float32], Points, NDArray[np.bool_]]:
        """The eight voxels around each point, for linear interpolation.

        Returns:
            ``(2, 2, 2, N, C)`` numbers along k, j, i; ``(N, 3)`` the way into the cell in voxels; ``(N,)`` whether the
            point lies within the lattice and on a usable voxel. Points outside read the nearest cell.
        """
        index = np.ascontiguousarray((points_mm - self.grid.slice_origins_mm[0]).T[::-1]) / self._step_mm
        last = np.array(self.grid.shape)[:, None] - 1
        within = np.clip(index, 0, last)
        inside = np.all(within == index, axis=0)
        if self.usable is not None:
            inside &= self.usable.take(self._numbers(np.rint(within).astype(np.int64)))
        lower = np.minimum(within.astype(np.int64), last - 1)
        _, rows, columns = self.grid.shape
        steps = np.array([[[0, 1], [columns, columns + 1]]]) + np.array([0, rows * columns])[:, None, None]
        # ``take`` gathers rows some ten times as fast as an index in brackets
        flat = self.field.reshape(-1, self.field.shape[-1])
        found = flat.take(self._numbers(lower) + steps[..., None], axis=0)
        return found, (within - lower).T, np.asarray(inside)

    def _numbers(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """``(N,)``, each voxel's number in the flat lattice, from its ``(3, N)`` index along k, j, i."""
        _, rows, columns = self.grid.shape
        return np.asarray((index[0] * rows + index[1]) * columns + index[2])

    @cached_property
    def _step_mm(self) -> float:
        return self.grid.slice_gap_mm


def values_of(corners: NDArray[np.float32], way: Points) -> NDArray[np.float32]:
    """``(N, C)``, the linear interpolation of what `Channels.corners` gave."""
    u, v, w = (way[:, n, None].astype(np.float32) for n in range(3))
    along_k = corners[0] + u * (corners[1] - corners[0])
    along_j = along_k[0] + v * (along_k[1] - along_k[0])
    return np.asarray(along_j[0] + w * (along_j[1] - along_j[0]))


def slopes_of(corners: NDArray[np.float32], way: Points, spacing_mm: float) -> NDArray[np.float32]:
    """``(N, C, 3)``, the slope of the interpolation along x, y and z, per mm, on a lattice of one spacing."""
    u, v, w = (way[:, n, None].astype(np.float32) for n in range(3))
    k0, k1 = (face[0] + v * (face[1] - face[0]) for face in corners)  # (2, N, C) along i
    along_k = (k1[0] + w * (k1[1] - k1[0])) - (k0[0] + w * (k0[1] - k0[0]))
    plane = corners[0] + u * (corners[1] - corners[0])  # (2, 2, N, C) along j and i
    along_j = (plane[1, 0] + w * (plane[1, 1] - plane[1, 0])) - (plane[0, 0] + w * (plane[0, 1] - plane[0, 0]))
    line = plane[0] + v * (plane[1] - plane[0])
    slopes = np.stack([line[1] - line[0], along_j, along_k], axis=-1) / spacing_mm
    return slopes.astype(np.float32)


def drawn(mask: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.int_]:
    """``(N, 3)``, indices of at most ``count`` of a mask's voxels, drawn without repeats; all where there are fewer."""
    usable = np.argwhere(mask)
    if len(usable) <= count:
        return usable
    return np.asarray(usable[np.random.default_rng(seed).choice(len(usable), count, replace=False)])


def drawn_points(fixed: Image, count: int, seed: int) -> tuple[NDArray[np.int_], Points]:
    """Indices and places ``(N, 3)`` of at most ``count`` usable voxels of an image."""
    mask = np.ones(fixed.grid.shape, dtype=bool) if fixed.mask is None else fixed.mask
    index = drawn(mask, count, seed)
    return index, fixed.grid.mm_from_index(index)


def moved_by(parameters: NDArray[np.float64], start: Rigid, centre_mm: Points) -> Rigid:
    """The start, then a turn around where it takes the centre, and a shift.

    ``parameters`` are three components of a rotation vector in radians times `MM_PER_RADIAN`, and three of a shift in
    mm, so that a step of 1 means about the same in each.
    """
    turn = Rotation.from_rotvec(parameters[:3] / MM_PER_RADIAN).as_matrix()
    pivot = start.apply(centre_mm)
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ start.matrix[:3, :3]
    matrix[:3, 3] = turn @ (start.matrix[:3, 3] - pivot) + pivot + parameters[3:]
    return Rigid(matrix, start.target, start.source)
