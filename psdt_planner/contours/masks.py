"""From a mask on the CT's own grid to rings: organs, bones and outlines, fast and in little memory.

Rings drawn around voxels are staircases, and rings through voxel centres shrink small things. Here a part of the mask
is smoothed, cut at the level that keeps its volume, and held within half a voxel of its voxels' faces, so that no
voxel centre changes sides. All of it works on a few slices at a time, cropped to the part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import Polygon

from psdt_planner.contours.drawing import SPECK_MM2, Drawing, Tracing
from psdt_planner.contours.outline import Outline, Smooth
from psdt_planner.contours.plane import TOLERANCE_MM
from psdt_planner.errors import GeometryError
from psdt_planner.geometry import Grid, Points

Mask = NDArray[np.bool_] | NDArray[np.float32]
Box = tuple[slice, slice, slice]

GAIN = 1024
"""What a smoothed plane holds deep inside: 4 over the slices, 16 along rows and 16 along columns."""

PAD = 4
"""How far a smoothed plane reaches beyond its part: three voxels that smoothing takes, and one that is outside."""

SLAB_PIXELS = 250_000
"""About how many pixels of a part are smoothed at a time, so that they stay in the processor's cache."""

EXACT_VOXELS = 500_000
"""Boxes up to this size are divided into parts voxel by voxel; larger ones by `BLOCK`, to keep memory small."""

BLOCK = 4
"""Rows and columns that are taken together there: parts nearer than that share a level."""

SAME_VOLUME = 0.001
"""How near the rings' volume must come to the part's, as a part of it."""

MOST_LEVELS = 12
"""Levels that are tried for it."""


def mask_rings(mask: Mask, ct: Grid, *, tolerance_mm: float = TOLERANCE_MM) -> Tracing:
    """The outline of a mask on each slice of the CT, smooth and of the mask's volume.

    Every part (voxels that touch by a face, edge or corner) is smoothed by [1 2 3 4 3 2 1] in the plane and [1 2 1]
    across, over the CT's ends as if it went on there. Its outer rings are cut at the level that keeps their volume to
    `SAME_VOLUME` wherever half a voxel of way allows, its holes at theirs. Rings are simplified and counted as by
    `trace`. In a box larger than `EXACT_VOXELS`, parts less than `BLOCK` pixels apart may share a level.

    Args:
        mask: ``ct.shape``; bool, or the part of each voxel that is inside, of which voxels of a half and more are held.
        ct: the grid of the mask and of the rings.
        tolerance_mm: as of `trace`.

    Raises:
        GeometryError: a mask of another shape than the CT, or numbers that leave 0 to 1.
        UnsupportedError: as `trace`.
    """
    if mask.shape != ct.shape:
        raise GeometryError(f"a mask of {mask.shape} on a CT of {ct.shape}", where=ct.frame)
    if mask.dtype != np.bool_ and not (mask.min() >= 0 and mask.max() <= 1):
        raise GeometryError("a mask that leaves 0 to 1", where=ct.frame)
    thickness_mm = ct.voxel_volumes_ml * 1000.0 / np.prod(ct.spacing_ji_mm)
    scale = np.array(ct.spacing_ji_mm[::-1])
    found: dict[int, list[Polygon]] = {}
    dropped_mm3 = 0.0
    for part in _parts(mask):
        outline, amounts = part.outline()
        of_part_mm = thickness_mm[part.box[0]]
        if amounts.max() * np.prod(scale) < SPECK_MM2 or not len(outline.lengths):
            dropped_mm3 += float(amounts @ of_part_mm * np.prod(scale))
            continue
        levels = _levels(outline, float(amounts @ of_part_mm), thickness_mm)
        for k, polygon in outline.polygons(levels, scale, part.corner_xy * scale):
            found.setdefault(k, []).append(polygon)
    drawing = Drawing(ct, tolerance_mm)
    for k in sorted(found):
        drawing.add(k, sorted(found[k], key=lambda polygon: polygon.bounds[1::-1]))
    return drawing.tracing(dropped_mm3=dropped_mm3)


# ---------------------------------------------------------------------------------------------------------------------
# parts


@dataclass(frozen=True, eq=False)
class _Part:
    """One part of a mask, seen slice by slice within its box; nothing of the mask is copied.

    Attributes:
        mask: the whole mask.
        box: where in it the part lies.
        labels: the box's blocks by part, or None where the box holds no other part.
        number: the part's label.
        block: voxels of a block along rows and columns.
    """

    mask: Mask
    box: Box
    labels: NDArray[np.int32] | None
    number: int
    block: int

    @property
    def count(self) -> int:
        """How many slices it spans."""
        return int(self.box[0].stop - self.box[0].start)

    @property
    def corner_xy(self) -> Points:
        """Column and row of a smoothed plane's first number."""
        return np.array([self.box[2].start, self.box[1].start]) - 1.0

    def values(self, first: int, last: int) -> Mask:
        """``(last - first, J, I)``, the mask on some of the part's slices, without other parts."""
        start = self.box[0].start
        planes: Mask = self.mask[start + first : start + last, self.box[1], self.box[2]]
        if self.labels is None:
            return planes
        ours = self.labels[first:last] == self.number
        if self.block > 1:
            ours = ours.repeat(self.block, axis=1).repeat(self.block, axis=2)[:, : planes.shape[1], : planes.shape[2]]
        return np.where(ours, planes, planes.dtype.type(0))

    def outline(self) -> tuple[Outline, Points]:
        """The part's outline, and how many voxels it has on each slice, ``(K,)``."""
        sizes = [some.stop - some.start for some in self.box[1:]]
        step = max(1, SLAB_PIXELS // math.prod(sizes))
        outlines, amounts = [], []
        for first in range(0, self.count, step):
            values = self.values(first, min(first + step, self.count))
            held = np.zeros((len(values), sizes[0] + 2, sizes[1] + 2), dtype=bool)
            held[:, 1:-1, 1:-1] = values if values.dtype == np.bool_ else values >= 0.5
            smooth = self._smoothed(values, first)
            outlines.append(Outline.of(held, smooth, GAIN / 2, first=self.box[0].start + first))
            amounts.append(_amounts(values))
        return Outline.joined(outlines), np.concatenate(amounts)

    def _smoothed(self, values: Mask, first: int) -> Smooth:
        """Slices smoothed, 0 to `GAIN`, with a border of one; integers of a bool mask, so that it is exact."""
        count, rows, columns = values.shape
        whole = values.dtype == np.bool_
        around = (count, rows + 2 * PAD, columns + 2 * PAD)
        planes: Smooth = np.zeros(around, dtype=np.uint8) if whole else np.zeros(around, dtype=np.float32)
        inner = planes[:, PAD:-PAD, PAD:-PAD]
        added: NDArray[Any] = values.astype(planes.dtype, copy=False)
        inner += added
        inner += added
        inner[1:] += added[:-1]
        inner[:-1] += added[1:]
        inner[0] += self._beside(first - 1)
        inner[-1] += self._beside(first + count)
        summed = _box_of_4(planes)
        if whole:  # Summed along one axis, a byte holds it; along both, no longer.
            summed = summed.astype(np.uint16)
        return _box_of_4(summed.swapaxes(1, 2)).swapaxes(1, 2)

    def _beside(self, n: int) -> Mask:
        """The part's slice ``n``; at the CT's ends the last one again, else nothing where the part has ended."""
        beyond = not 0 <= self.box[0].start + n < len(self.mask)
        if not 0 <= n < self.count and not beyond:
            return np.zeros(1, dtype=bool)
        n = min(max(n, 0), self.count - 1)
        plane: Mask = self.values(n, n + 1)[0]
        return plane


def _amounts(values: Mask) -> Points:
    """``(K,)``, how many voxels each slice holds."""
    if values.dtype == np.bool_:
        return np.array([np.count_nonzero(plane) for plane in values], dtype=np.float64)
    return np.asarray(values.sum(axis=(1, 2), dtype=np.float64))


def _box_of_4(planes: Smooth) -> Smooth:
    """Sums of four rows, twice: [1 2 3 4 3 2 1], for six rows fewer."""
    for _ in range(2):
        pairs = planes[:, :-1] + planes[:, 1:]
        planes = pairs[:, :-2] + pairs[:, 2:]
    return planes


def _parts(mask: Mask) -> Iterator[_Part]:
    box = _box_of(mask)
    if box is None:
        return
    if mask[box].size <= EXACT_VOXELS:
        yield from _exact_parts(mask, box, mask[box] > 0)
        return
    labels, count = ndimage.label(_blocks_of(mask[box]), structure=np.ones((3, 3, 3)))
    if count == 1:
        yield _Part(mask, box, None, 1, BLOCK)
        return
    for number, part in enumerate(ndimage.find_objects(labels), start=1):
        fine = _within(box, part, BLOCK)
        coarse = _Part(mask, fine, labels[part], number, BLOCK)
        if mask[fine].size <= EXACT_VOXELS:
            yield from _exact_parts(mask, fine, coarse.values(0, coarse.count) > 0)
        else:
            yield coarse


def _exact_parts(mask: Mask, box: Box, inside: NDArray[np.bool_]) -> Iterator[_Part]:
    labels, count = ndimage.label(inside, structure=np.ones((3, 3, 3)))
    alone = count == 1 and inside.sum() == np.count_nonzero(mask[box])
    for number, part in enumerate(ndimage.find_objects(labels), start=1):
        yield _Part(mask, _within(box, part, 1), None if alone else labels[part], number, 1)


def _within(box: Box, part: tuple[slice, ...], block: int) -> Box:
    """A part of a box's blocks, in voxels of the whole."""
    k, j, i = (
        slice(whole.start + some.start * size, min(whole.start + some.stop * size, whole.stop))
        for whole, some, size in zip(box, part, (1, block, block), strict=True)
    )
    return k, j, i


def _box_of(mask: Mask) -> Box | None:
    """The smallest box around what is not 0; None where everything is."""
    slices = np.flatnonzero([plane.any() for plane in mask])
    if not len(slices):
        return None
    k = slice(int(slices[0]), int(slices[-1]) + 1)
    flat = np.zeros(mask.shape[1:], dtype=bool)
    for plane in mask[k]:
        flat |= plane.astype(bool, copy=False)
    j, i = (slice(int(some[0]), int(some[-1]) + 1) for some in (np.flatnonzero(flat.any(axis=n)) for n in (1, 0)))
    return k, j, i


def _blocks_of(mask: Mask) -> NDArray[np.bool_]:
    """``(K, J / BLOCK, I / BLOCK)``, the blocks of each slice that hold anything."""
    rows, columns = (-(-size // BLOCK) for size in mask.shape[1:])
    blocks = np.zeros((len(mask), rows, columns), dtype=bool)
    for plane, out in zip(mask, blocks, strict=True):
        strips = np.zeros((rows, plane.shape[1]), dtype=bool)
        for first in range(BLOCK):
            some = plane[first::BLOCK].astype(bool, copy=False)
            strips[: len(some)] |= some
        for first in range(BLOCK):
            some = strips[:, first::BLOCK]
            out[:, : some.shape[1]] |= some
    return blocks


# ---------------------------------------------------------------------------------------------------------------------
# level


def _levels(outline: Outline, volume_mm: float, thickness_mm: Points) -> Points:
    """For every ring the level at which all outer rings together hold their volume, or all holes theirs.

    Smoothing draws a surface towards the inside of its bend: an outer one and that of a hole differ. What the mask
    has in voxels less than half inside, and lacks in the others, goes to the outer rings.

    Args:
        outline: of one part.
        volume_mm: of the part, in pixels by mm.
        thickness_mm: of every slice of the CT.
    """
    levels = np.full(len(outline.pixels), GAIN / 2)
    thickness = thickness_mm[outline.slices]
    for ours in (outline.pixels > 0, outline.pixels < 0):
        wanted = float(outline.pixels[ours] @ thickness[ours])
        if wanted > 0:
            wanted += volume_mm - float(outline.pixels @ thickness)
        if wanted:
            levels[ours] = _level(outline, thickness * ours, wanted)
    return levels


def _level(outline: Outline, thickness_mm: Points, wanted: float) -> float:
    """The level at which the rings, each as thick as told, hold the wanted volume, by regula falsi from the middle.

    Holes shrink where other rings grow: volumes are signed, and the ends of the search are taken as twice and none.
    """
    low, high = (0.0, abs(wanted)), (float(GAIN), -abs(wanted))
    for _ in range(MOST_LEVELS):
        level = (low[0] * high[1] - high[0] * low[1]) / (high[1] - low[1])
        over = float(outline.areas(np.full(len(thickness_mm), level)) @ thickness_mm) - wanted
        if abs(over) <= SAME_VOLUME * abs(wanted):
            break
        # The end that stays is taken for half as far off, so that it comes nearer as well (the Illinois rule).
        low, high = ((level, over), (high[0], high[1] / 2)) if over > 0 else ((low[0], low[1] / 2), (level, over))
    return level
