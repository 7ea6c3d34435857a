"""How structures lie to each other: overlap and distance, from the rings as they go out and as they came in.

A ring stands for a slab: it reaches half-way to both neighbouring slices, as in every volume that psdt states. Of
slabs, overlap and distance are exact. A surface that runs on smoothly between slices may lie up to half a slice
distance nearer or farther along the normal; within the slices the rings themselves decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Literal

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from psdt_planner.geometry import Grid, Points
from psdt_planner.shapes import Contour


@dataclass(frozen=True)
class Relation:
    """How a target lies to an organ, or to the same target of another lesion.

    Attributes:
        target: ROI name of the target.
        other: ROI name of the other.
        kind: what the other is.
        overlap_ml: what both hold.
        distance_mm: shortest way between their surfaces; 0 where they touch or overlap.
    """

    target: str
    other: str
    kind: Literal["organ", "target"]
    overlap_ml: float
    distance_mm: float

    @property
    def meets(self) -> bool:
        """Whether they touch or overlap."""
        return self.distance_mm == 0.0


@dataclass(frozen=True, eq=False)
class Slabs:
    """A structure as slabs, one a slice.

    Attributes:
        planes: what each slice holds, in mm along columns (x) and rows (y) of the CT.
        slices: ``(N,)``, ``k`` of each.
        ends_mm: ``(N, 2)``, where each begins and ends along the CT's normal.
    """

    planes: tuple[BaseGeometry, ...]
    slices: Points
    ends_mm: Points

    @property
    def bounds_mm(self) -> Points:
        """``(N, 4)``, box of each plane: least x and y, greatest x and y."""
        return np.asarray(shapely.bounds(np.array(self.planes, dtype=object))).reshape(-1, 4)


def slabs(contours: Sequence[Contour], ct: Grid) -> Slabs:
    """The slabs of a structure's rings.

    Rings of one slice are combined by even and odd, so that one within another is a hole. Rings without an area are
    left out.

    Raises:
        GeometryError: a CT of a single slice, whose thickness nobody stated.
    """
    thickness = ct.voxel_volumes_ml * 1000.0 / np.prod(ct.spacing_ji_mm)
    middles = (ct.slice_offsets_mm[1:] + ct.slice_offsets_mm[:-1]) / 2.0
    first, last = ct.slice_offsets_mm[[0, -1]] + np.array([-0.5, 0.5]) * thickness[[0, -1]]
    edges = np.array([first, *middles, last])
    planes, slices = [], []
    ordered = sorted(contours, key=lambda contour: contour.slice_index)
    for k, rings in groupby(ordered, key=lambda contour: contour.slice_index):
        plane = _even_odd([points for ring in rings for points in (ring.points_mm, *ring.holes_mm)], ct)
        if plane.area > 0.0:
            planes.append(plane)
            slices.append(k)
    index = np.array(slices, dtype=int)
    return Slabs(tuple(planes), index, np.column_stack([edges[index], edges[index + 1]]))


def _even_odd(rings: Sequence[Points], ct: Grid) -> BaseGeometry:
    flat = (shapely.make_valid(Polygon(ct.index_from_mm(ring)[:, [2, 1]] * ct.spacing_ji_mm[::-1])) for ring in rings)
    return reduce(shapely.symmetric_difference, flat)


def overlap_ml(one: Slabs, other: Slabs) -> float:
    """Volume that two structures on one CT share."""
    _, here, there = np.intersect1d(one.slices, other.slices, return_indices=True)
    total_mm3 = 0.0
    for a, b in zip(here.tolist(), there.tolist(), strict=True):
        first, last = one.ends_mm[a]
        total_mm3 += float(last - first) * float(shapely.intersection(one.planes[a], other.planes[b]).area)
    return total_mm3 / 1000.0


def distance_mm(one: Slabs, other: Slabs) -> float:
    """Shortest way between two structures on one CT; 0 where they touch or overlap, infinite where one is empty.

    Pairs of slabs are looked at in the order of what their boxes allow, until no other pair can be nearer.
    """
    if not one.planes or not other.planes:
        return float("inf")
    along = _gap(one.ends_mm, other.ends_mm)
    a, b = one.bounds_mm, other.bounds_mm
    least = np.sqrt(along**2 + _gap(a[:, [0, 2]], b[:, [0, 2]]) ** 2 + _gap(a[:, [1, 3]], b[:, [1, 3]]) ** 2)
    best = float("inf")
    for pair in np.argsort(least, axis=None):
        i, j = divmod(int(pair), len(other.planes))
        if least[i, j] >= best:
            break
        best = min(best, float(np.hypot(along[i, j], shapely.distance(one.planes[i], other.planes[j]))))
    return best


def _gap(one: Points, other: Points) -> Points:
    """``(N, M)``, how far two sets of intervals ``(N, 2)`` and ``(M, 2)`` lie apart; 0 where they overlap."""
    apart = np.maximum(one[:, None, 0] - other[None, :, 1], other[None, :, 0] - one[:, None, 1])
    return np.asarray(np.maximum(apart, 0.0))
