"""The bone around a lesion in a planning CT, marrow and all, and the CTV that is kept within it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from psdt_planner.geometry import Grid, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.protocol import InBone
from psdt_planner.shapes import Shape
from psdt_planner.structures.fields import (
    BEYOND,
    Field,
    Mask,
    along_axes,
    connected_to,
    cropped,
    on_lattice,
    volume_ml,
)
from psdt_planner.structures.margins import Margin, grow

BONE_HU = 150.0
"""Cortex and dense marrow lie above, soft tissue and contrast-free vessels below: the usual 150 to 200 HU of bone
masks, its lower end because cortex is thinner than a CT voxel; project-derived."""

CLOSING_MM = 1.5
"""Gaps in the cortex up to twice this are closed; a joint space is wider (hip: 3 to 5 mm)."""

MARROW_MM2 = 3000.0
"""Largest hole in a slice of bone that counts as marrow (the widest shafts and condyles); a skull's is larger."""

AROUND_MM = 100.0
"""How far beside the lesion its bone is looked at, within the slices: an iliac wing must close around its marrow."""

SPECK_MM3 = 100.0
"""Dense pieces of less volume are calcifications or noise."""

LEAST_SHARE = 0.05
"""A bone counts as the lesion's if it holds this part of the GTV: one at a joint may lie in two."""

HU_STEP = 150.0
"""Differences from `BONE_HU` at which a voxel is wholly bone, or wholly not: between them the surface is placed."""


@dataclass(frozen=True, eq=False)
class BoneCtv:
    """A CTV after its bone was looked at.

    Attributes:
        shape: the CTV; it holds the GTV.
        cut: whether it was kept within the bone.
        told: whether the CT shows which bone the GTV lies in.
        inside_part: part of the GTV within the bone.
        breach_part: part of the GTV outside the bone by more than the rule's distance; 0 where no bone is told.
        lost_ml: what the cut took off.
    """

    shape: Shape
    cut: bool
    told: bool
    inside_part: float
    breach_part: float
    lost_ml: float


def kept_in_bone(gtv: Shape, grown: Shape, ct: Volume, rule: InBone) -> BoneCtv:
    """The grown GTV within the bone that the GTV lies in, and the GTV itself; uncut where the cortex is breached.

    Breached: more than ``rule.breach_part`` of the GTV lies more than ``rule.breach_mm`` outside the bone. Where less
    than ``rule.told_part`` of it lies within any bone, the CT does not tell its bone, and nothing is cut either.

    Raises:
        FrameError: the shapes are in another frame than the CT.
    """
    bone = Shape(grown.grid, bone_around(gtv, ct, grown.grid))
    core = on_lattice(gtv, grown.grid)
    inside = core > 0
    inside_part = float(np.mean(bone.field[inside] > 0)) if inside.any() else 0.0
    if inside_part < max(rule.told_part, LEAST_SHARE):
        return BoneCtv(grown, cut=False, told=False, inside_part=inside_part, breach_part=0.0, lost_ml=0.0)
    near = grow(bone, Margin.uniform(rule.breach_mm), ct.grid)
    breach_part = float(np.mean(on_lattice(near, grown.grid)[inside] <= 0))
    if breach_part > rule.breach_part:
        return BoneCtv(grown, cut=False, told=True, inside_part=inside_part, breach_part=breach_part, lost_ml=0.0)
    field = connected_to(np.maximum(core, np.minimum(grown.field, bone.field)), inside)
    lost_ml = volume_ml((grown.field > 0) & (field <= 0), grown.grid)
    shape = Shape(grown.grid, field)
    return BoneCtv(shape, cut=True, told=True, inside_part=inside_part, breach_part=breach_part, lost_ml=lost_ml)


def bone_around(gtv: Shape, ct: Volume, lattice: Grid) -> Field:
    """The bone, or the bones, that the GTV lies in, on a lattice: positive inside, with the surface at `BONE_HU`.

    Dense voxels that touch by their faces make a bone; each is closed (`CLOSING_MM`) and its holes are filled slice by
    slice (`MARROW_MM2`), alone, so that neighbours do not grow together. All outside where the GTV lies in none.
    """
    crop = _crop(ct, lattice)
    core = along_axes(gtv.field, gtv.grid, crop.grid, outside=float(BEYOND)) > 0
    bone = _bones(crop.array > BONE_HU, core, crop.grid)
    return along_axes(bone_level(crop.array, bone), crop.grid, lattice, outside=float(BEYOND))


def bone_level(hu: Field, bone: Mask) -> Field:
    """A field that is positive in bone, from HU and a mask of one shape.

    Where dense voxels meet others, the CT's own numbers say where the surface runs; elsewhere it is half-way.
    """
    dense = np.clip((hu - BONE_HU) / HU_STEP, -1.0, 1.0)
    level = np.where(bone, np.where(dense > 0, dense, 0.5), np.where(dense < 0, dense, -0.5))
    return np.asarray(level, dtype=np.float32)


def _crop(ct: Volume, lattice: Grid) -> Volume:
    """The part of the CT that holds the lattice, and its slices as far as bone is looked at."""
    index = ct.grid.index_from_mm(grid_corners_mm(lattice))
    beside = np.array([CLOSING_MM, AROUND_MM, AROUND_MM]) / np.array(ct.grid.spacing_kji_mm) + 2.0
    low = np.clip(np.floor(index.min(axis=0) - beside), 0, np.array(ct.grid.shape) - 2).astype(int)
    high = np.clip(np.ceil(index.max(axis=0) + beside) + 1, low + 2, ct.grid.shape).astype(int)
    k, j, i = (slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    return cropped(ct, (k, j, i))


def _bones(dense: Mask, core: Mask, grid: Grid) -> Mask:
    """The bones that hold a part of the core, closed and filled."""
    bones = np.zeros(dense.shape, dtype=bool)
    if not core.any():
        return bones
    labels, _ = ndimage.label(dense)
    least = SPECK_MM3 / float(np.prod(grid.spacing_kji_mm))
    sizes = np.bincount(labels.ravel())
    ends = [(np.flatnonzero(core.any(axis=axes))[[0, -1]]) for axes in ((1, 2), (0, 2), (0, 1))]
    for n, box in enumerate(ndimage.find_objects(labels), start=1):
        meets = all(part.start <= last and part.stop > first for part, (first, last) in zip(box, ends, strict=True))
        if sizes[n] < least or not meets:
            continue
        bone = filled(closed(labels[box] == n, grid), grid)
        if np.count_nonzero(bone & core[box]) >= LEAST_SHARE * np.count_nonzero(core):
            bones[box] |= bone
    return bones


def closed(bone: Mask, grid: Grid) -> Mask:
    """With every gap closed that a ball of `CLOSING_MM` cannot pass."""
    spacing = grid.spacing_kji_mm
    pad = [int(np.ceil(CLOSING_MM / step)) + 1 for step in spacing]
    padded = np.pad(bone, [(n, n) for n in pad])
    near = ndimage.distance_transform_edt(~padded, spacing) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(near, spacing) > CLOSING_MM
    return np.asarray(closed[tuple(slice(n, -n) for n in pad)])


def filled(bone: Mask, grid: Grid, *, canal: Mask | None = None) -> Mask:
    """With every hole filled that a slice of bone encloses, up to the size of marrow, but those that hold a canal."""
    within_slices = np.zeros((3, 3, 3), dtype=bool)
    within_slices[1] = ndimage.generate_binary_structure(2, 1)
    holes, count = ndimage.label(~np.pad(bone, ((0, 0), (1, 1), (1, 1))), within_slices)
    marrow = np.bincount(holes.ravel(), minlength=count + 1) * np.prod(grid.spacing_ji_mm) <= MARROW_MM2
    marrow[0] = True
    marrow[holes[:, 0, 0]] = False
    if canal is not None:
        marrow[np.unique(holes[:, 1:-1, 1:-1][canal & ~bone])] = False
    return np.asarray(marrow[holes][:, 1:-1, 1:-1])
