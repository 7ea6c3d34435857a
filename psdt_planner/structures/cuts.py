"""What is taken off a target: around organs at risk, and at the surface of the body."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from psdt_planner.geometry import Grid, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.shapes import Shape
from psdt_planner.structures.fields import (
    Field,
    Mask,
    along_axes,
    cropped,
    on_lattice,
    volume_ml,
    widened,
)
from psdt_planner.structures.margins import Margin, grow, kept_inside

BODY_HU = -300.0
"""What is less dense and reaches the border of its slice is the air around the body."""

HU_STEP = 300.0
"""Differences from `BODY_HU` between which the surface is placed by the CT's own numbers."""


@dataclass(frozen=True)
class Cut:
    """What a target lost.

    Attributes:
        target: kind of the target, ``PTV``.
        by: name of the organ, or ``skin``.
        gap_mm: how far the target stays away from it.
        lost_ml: of the target.
        lost_part: of the target's volume before this cut.
        gtv_ml, ctv_ml: of the GTV and of the CTV in what was cut away.
    """

    target: str
    by: str
    gap_mm: float
    lost_ml: float
    lost_part: float
    gtv_ml: float
    ctv_ml: float


def away_from(target: Shape, organ: Shape, gap_mm: float, ct: Grid) -> Shape:
    """The target without the organ and a gap around it, as large in all directions.

    Raises:
        FrameError: the shapes are of two frames.
    """
    keep_out = grow(organ, Margin.uniform(gap_mm), ct)
    return Shape(target.grid, np.minimum(target.field, -on_lattice(keep_out, target.grid)))


def below_skin(target: Shape, body: Shape, depth_mm: float) -> Shape:
    """The target as far as it lies deeper in the body than so many mm.

    Args:
        target: any.
        body: on a lattice that reaches at least the depth beyond what the target holds; what lies beyond counts as
            its border does.
        depth_mm: zero cuts at the surface itself.
    """
    if not _surface_near(target, body, depth_mm):
        return target
    deep = kept_inside(body, depth_mm) if depth_mm > 0 else body
    return Shape(target.grid, np.minimum(target.field, on_lattice(deep, target.grid)))


def _surface_near(target: Shape, body: Shape, depth_mm: float) -> bool:
    """Whether the body ends so near to the box around a target; a distance everywhere would take far longer."""
    inside = np.argwhere(target.field > 0)
    if not inside.size:
        return False
    ends = np.array(list(product(*zip(inside.min(axis=0), inside.max(axis=0), strict=True))))
    at = body.grid.index_from_mm(target.grid.mm_from_index(ends))
    more = depth_mm / np.array(body.grid.spacing_kji_mm) + 2.0
    low = np.maximum(np.floor(at.min(axis=0) - more), 0).astype(int)
    high = np.ceil(at.max(axis=0) + more).astype(int) + 1
    k, j, i = (slice(first, last) for first, last in zip(low.tolist(), high.tolist(), strict=True))
    return bool(body.field[k, j, i].min(initial=np.inf) <= 0)


def what_was_cut(before: Shape, after: Shape, gtv: Shape, ctv: Shape, *, by: str, gap_mm: float) -> Cut:
    """The record of a cut of the PTV; its volumes are counted on the lattice that both shapes of it are on."""
    lost = (before.field > 0) & (after.field <= 0)
    lost_ml, whole_ml = volume_ml(lost, before.grid), volume_ml(before.field > 0, before.grid)
    within = [volume_ml(lost & (on_lattice(shape, before.grid) > 0), before.grid) for shape in (gtv, ctv)]
    return Cut("PTV", by, gap_mm, lost_ml, lost_ml / whole_ml if whole_ml else 0.0, within[0], within[1])


def body_around(core: Shape, ct: Volume, reach: Grid, depth_mm: float) -> Shape | None:
    """The body near a target in the planning CT: positive inside, gas within it too.

    Air is what is thinner than `BODY_HU` and is joined to the border of its slice. Of what is left, the part that
    holds most of the core counts: an arm beside the trunk is another, and so is a couch that nothing touches.

    Args:
        core: the GTV.
        ct: the planning CT.
        reach: lattice of the largest target.
        depth_mm: how far beyond it the body must be known.

    Returns:
        The body on the reach's lattice, widened by the depth; None where the core lies in air. A field that is nowhere
        negative has no surface near.
    """
    lattice = widened(reach, depth_mm)
    index = ct.grid.index_from_mm(grid_corners_mm(lattice))
    low = np.clip(np.floor(index.min(axis=0)) - 1, 0, np.array(ct.grid.shape) - 2).astype(int)
    high = np.clip(np.ceil(index.max(axis=0)) + 2, low + 2, ct.grid.shape).astype(int)
    k, j, i = (slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    if (ct.array[k, j, i] > BODY_HU).all():
        return Shape(lattice, np.ones(lattice.shape, dtype=np.float32))
    slices = cropped(ct, (k, slice(0, ct.grid.shape[1]), slice(0, ct.grid.shape[2])))
    body = _with_core(~_outer_air(slices.array < BODY_HU), core, slices.grid)
    if body is None:
        return None
    level = _level(slices.array, body)
    return Shape(lattice, _carried_on(along_axes(level, slices.grid, lattice, outside=np.nan)))


def _outer_air(thin: Mask) -> Mask:
    """What of the thin voxels is joined to the border of its slice."""
    within_slices = np.zeros((3, 3, 3), dtype=bool)
    within_slices[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(thin, within_slices)
    outer = np.zeros(count + 1, dtype=bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outer[np.unique(edge)] = True
    outer[0] = False
    return np.asarray(outer[labels])


def _with_core(solid: Mask, core: Shape, grid: Grid) -> Mask | None:
    """The part that holds most of the core."""
    labels, count = ndimage.label(solid)
    voxels = np.round(grid.index_from_mm(core.grid.mm_from_index(np.argwhere(core.field > 0)))).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < solid.shape)).all(axis=1)]
    held = np.bincount(labels[tuple(voxels.T)], minlength=count + 1)
    held[0] = 0
    return np.asarray(labels == held.argmax()) if held.any() else None


def _level(hu: Field, body: Mask) -> Field:
    """Positive in the body; at a skin of tissue against air, the CT's own numbers say where the surface runs."""
    dense = np.clip((hu - BODY_HU) / HU_STEP, -1.0, 1.0)
    inside, outside = np.where(dense > 0, dense, 0.5), np.where(dense < 0, dense, -0.5)
    return np.where(body, inside, outside).astype(np.float32)


def _carried_on(field: Field) -> Field:
    """The field with what lies beyond the CT as its nearest known point: where the CT ends is no skin."""
    unknown = np.isnan(field)
    if not unknown.any():
        return field
    nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return np.asarray(field[tuple(nearest)])
