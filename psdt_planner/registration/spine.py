"""The spine in a planning CT, and the parts of the body in it that do not repeat from level to level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Volume
from psdt_planner.registration.bodies import CT_BODY_HU, ct_body
from psdt_planner.registration.sitk_bridge import coarse

Mask = NDArray[np.bool_]

STEP_MM = 4.0
BONE_HU = 150.0
SMOOTH_MM = (10.0, 14.0, 14.0)
"""About a vertebral body: smoothed by it, bone is densest along the column."""

LEAST_DENSITY = 0.25
BESIDE_MM = 40.0
"""The column is looked for so near the middle of the body."""

BEHIND = (0.45, 0.96)
"""And between these parts of the body's depth, from the front."""

TRUNK_MM = 200.0
"""A body narrower than this is a limb or a neck."""

JUMP_MM = 12.0
LEAST_LENGTH_MM = 60.0

HIP_BESIDE_MM = (45.0, 150.0)
"""A hip bone lies between these distances beside the column; an arm lies further out."""

HIP_ML = 60.0
"""A piece of bone beside the column as large as this is a hip bone; a rib has 10 to 20 ml."""

LUNG_ML = 300.0
"""Air on each side of the column that makes a lung; gas in the bowel is less, or on one side."""

ANCHOR_INSIDE_MM = 10.0
"""How far an end of the lungs must lie within the CT to count."""


@dataclass(frozen=True, eq=False)
class Spine:
    """The column of vertebrae in a CT.

    Attributes:
        line_mm: ``(N, 3)``, its middle from below to above, every 4 mm; empty where the CT shows none.
        anchors: what else the CT shows that does not repeat from level to level, and ``(3,)`` where: ``hip bones``,
            ``lung apex``, ``lung base``.
        hips_mm: places in the right and in the left hip bone, in pairs of one height; empty where the CT shows none.
    """

    line_mm: Points
    anchors: Mapping[str, Points]
    hips_mm: tuple[tuple[Points, Points], ...] = ()

    @property
    def found(self) -> bool:
        """Whether the CT shows enough of it to compare levels."""
        return len(self.line_mm) * STEP_MM >= LEAST_LENGTH_MM

    def at(self, z_mm: float) -> Points:
        """``(3,)``, the middle at a height; beyond the ends, that of the end."""
        z = self.line_mm[:, 2]
        return np.array([*(np.interp(z_mm, z, self.line_mm[:, a]) for a in range(2)), z_mm])

    def upwards(self, z_mm: float) -> Points:
        """``(3,)``, the unit vector along it at a height."""
        way = self.at(z_mm + 3 * STEP_MM) - self.at(z_mm - 3 * STEP_MM)
        return np.asarray(way / np.linalg.norm(way))


def find_spine(ct: Volume) -> Spine:
    """The spine of a planning CT in HU, and the anchors beside it."""
    grid, hu, _ = coarse(ct, STEP_MM, outside=-1000.0)
    body = ct_body(hu)
    bone = (hu > BONE_HU) & body
    line = _line(grid, body, bone)
    if not len(line):
        return Spine(line, {})
    hips = _hips(grid, bone, line)
    pelvis = {"hip bones": np.mean([place for pair in hips for place in pair], axis=0)} if hips else {}
    return Spine(line, pelvis | _lung_ends(grid, hu, body, line), hips)


def _line(grid: Grid, body: Mask, bone: Mask) -> Points:
    density = ndimage.gaussian_filter(bone.astype(np.float32), [mm / STEP_MM for mm in SMOOTH_MM])
    runs: list[list[Points]] = [[]]
    for k, plane in enumerate(body):
        place = _densest(plane, density[k])
        if place is None:
            runs.append([])
            continue
        here = grid.mm_from_index([k, *place])
        if runs[-1] and np.abs(here - runs[-1][-1])[:2].max() > JUMP_MM:
            runs.append([])
        runs[-1].append(here)
    longest = max(runs, key=len)
    if len(longest) * STEP_MM < LEAST_LENGTH_MM:
        return np.zeros((0, 3))
    line = np.array(longest)
    line[:, :2] = ndimage.gaussian_filter1d(line[:, :2], 3.0, axis=0, mode="nearest")
    return line


def _densest(plane: Mask, density: NDArray[np.float32]) -> tuple[int, int] | None:
    """Row and column of the most bone in the back middle of an axial slice; None where there is no column."""
    rows, columns = np.nonzero(plane)
    if rows.size == 0 or np.ptp(columns) * STEP_MM < TRUNK_MM:
        return None
    middle, (front, back) = np.median(columns), np.percentile(rows, [2, 98])
    j, i = np.indices(plane.shape)
    first, last = (front + share * (back - front) for share in BEHIND)
    looked_at = (np.abs(i - middle) * STEP_MM <= BESIDE_MM) & (j >= first) & (j <= last)
    found = np.where(looked_at, density, 0.0)
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    return (int(row), int(column)) if found[row, column] > LEAST_DENSITY else None


def _hips(grid: Grid, bone: Mask, line: Points) -> tuple[tuple[Points, Points], ...]:
    """Places in the large pieces of bone on each side of the column, a third and two thirds up."""
    beside = _beside_mm(grid, line)
    near, far = HIP_BESIDE_MM
    right, left = (_largest(bone & (side * beside > near) & (side * beside < far)) for side in (-1.0, 1.0))
    if min(right.sum(), left.sum()) * STEP_MM**3 / 1000.0 < HIP_ML:
        return ()
    heights = np.flatnonzero(right.any(axis=(1, 2)) & left.any(axis=(1, 2)))
    if heights.size < 2:
        return ()
    chosen = np.percentile(heights, [33, 67], method="nearest")
    return tuple((_within(grid, right, int(k)), _within(grid, left, int(k))) for k in chosen)


def _beside_mm(grid: Grid, line: Points) -> Points:
    """``(K, 1, I)``, how far to the left of the column each sagittal line of voxels lies."""
    x = grid.mm_from_index([[0, 0, i] for i in range(grid.shape[2])])[:, 0]
    column_x = np.interp(grid.slice_origins_mm[:, 2], line[:, 2], line[:, 0])
    return np.asarray((x[None, :] - column_x[:, None])[:, None, :])


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    return np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax()) if count else mask


def _within(grid: Grid, mask: Mask, k: int) -> Points:
    """The voxel of a mask's slice nearest to the slice's middle."""
    voxels = np.argwhere(mask[k])
    middle = voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()]
    return grid.mm_from_index([k, *middle])


def _lung_ends(grid: Grid, hu: NDArray[np.float32], body: Mask, line: Points) -> dict[str, Points]:
    """Which ends of the lungs lie within the CT, and the middle of the air there."""
    air = ndimage.binary_opening((hu < CT_BODY_HU) & body)
    beside = _beside_mm(grid, line)
    right, left = (_largest(air & (side * beside > 0)) for side in (-1.0, 1.0))
    if min(right.sum(), left.sum()) * STEP_MM**3 / 1000.0 < LUNG_ML:
        return {}
    lungs = right | left
    held = np.flatnonzero(lungs.any(axis=(1, 2)))
    if held.size == 0:
        return {}
    lowest, highest = int(held[0]), int(held[-1])
    ends = {}
    if lowest * STEP_MM > ANCHOR_INSIDE_MM:
        ends["lung base"] = _middle(grid, lungs, lowest)
    if (grid.shape[0] - 1 - highest) * STEP_MM > ANCHOR_INSIDE_MM:
        ends["lung apex"] = _middle(grid, lungs, highest)
    return ends


def _middle(grid: Grid, mask: Mask, k: int) -> Points:
    """The centre of a mask's slice."""
    return grid.mm_from_index([float(k), *np.argwhere(mask[k]).mean(axis=0)])
