"""The outline of a mask on its slices: between which pixel centres it runs, and where, at any level of smooth planes.

Marching squares, but which side a pixel centre is on comes from the mask and not from the level. The way around is
therefore the same at every level, and only the pixels along it are looked at: on a body's outline that is one in a
hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LinearRing, Point, Polygon

from psdt_planner.geometry import Points

Smooth = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

AHEAD = np.array((3, 2, 0, 1), dtype=np.int32)
"""Of the four ways from a pixel to the next (right, left, down, up): the way along the outline that crosses there, with
the mask on the left hand."""

BACK = np.array((2, 3, 1, 0), dtype=np.int32)
"""The reverse of `AHEAD`."""

APART = 0.5
"""How far a value at least lies from the level, so that there is a crossing at every level."""

HALF = 32
"""Bits of the lower half of a number that holds two."""

CLEAR = 0.1
"""How far a crossing stays from both pixel centres, in pixels: what simplifying moves it by does not reach them."""


@dataclass(frozen=True, eq=False)
class Outline:
    """Every crossing between a pixel inside and its neighbour outside, ring after ring, slice after slice.

    Attributes:
        inside_xy: ``(N, 2)``, column and row of the pixel inside.
        way_xy: ``(N, 2)``, the step to its neighbour outside.
        values: ``(2, N)``, the smooth plane at both.
        lengths: ``(R,)``, how many crossings each ring has.
        pixels: ``(R,)``, how many pixels each ring goes around; below 0 around a hole.
        slices: ``(R,)``, the slice that each ring lies on.
    """

    inside_xy: NDArray[np.int32]
    way_xy: NDArray[np.int8]
    values: NDArray[np.float32]
    lengths: NDArray[np.intp]
    pixels: NDArray[np.float64]
    slices: NDArray[np.intp]

    @classmethod
    def of(cls, held: NDArray[np.bool_], smooth: Smooth, middle: float, *, first: int = 0) -> Outline:
        """Around the pixels that are held.

        Args:
            held: ``(K, J, I)``, nothing held on the edge of a slice.
            smooth: the same shape.
            middle: two pixels that touch by a corner are joined where the four around it have a mean above this.
            first: the index of the first slice.
        """
        # Slice below slice, it is one plane: their edges keep them apart.
        _, rows, columns = held.shape
        tall, values = held.reshape(-1, columns), smooth.ravel()
        inside, way = _crossings(tall)
        order, starts = _rings(_following(inside, way, tall, values, middle))
        inside, way = inside[order], way[order]
        outside = inside + _steps(columns)[way]
        inside_xy = np.column_stack([inside % columns, inside // columns % rows]).astype(np.int32)
        way_xy = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)], dtype=np.int8)[way]
        # Pixel faces to the right less those to the left: Green's theorem on the staircase.
        faces = (inside_xy[:, 0] + 0.5 * way_xy[:, 0]) * way_xy[:, 0]
        return cls(
            inside_xy,
            way_xy,
            np.stack([values[inside], values[outside]]).astype(np.float32),
            np.diff(starts, append=len(inside)),
            np.add.reduceat(faces, starts) if len(starts) else np.zeros(0),
            first + inside[starts] // (rows * columns),
        )

    @classmethod
    def joined(cls, some: Sequence[Outline]) -> Outline:
        """Several, one after another."""
        return cls(
            np.concatenate([one.inside_xy for one in some]),
            np.concatenate([one.way_xy for one in some]),
            np.concatenate([one.values for one in some], axis=1),
            np.concatenate([one.lengths for one in some]),
            np.concatenate([one.pixels for one in some]),
            np.concatenate([one.slices for one in some]),
        )

    def points(self, levels: Points) -> Points:
        """``(N, 2)``, the crossings, in columns and rows: linear between both pixel centres, and `CLEAR` of
        them.

        Args:
            levels: ``(R,)``, of each ring.
        """
        level = np.repeat(levels, self.lengths)
        inside = np.maximum(self.values[0], level + APART)
        outside = np.minimum(self.values[1], level - APART)
        part = np.clip((inside - level) / (inside - outside), CLEAR, 1.0 - CLEAR)
        return np.asarray(self.inside_xy + part[:, None] * self.way_xy)

    def areas(self, levels: Points) -> Points:
        """``(R,)``, what each ring goes around, in pixels; below 0 around a hole."""
        if not len(self.lengths):
            return np.zeros(0)
        ends = np.cumsum(self.lengths)
        (x, y), after = self.points(levels).T, np.arange(1, len(self.inside_xy) + 1)
        after[ends - 1] = ends - self.lengths
        return np.asarray(np.add.reduceat(x[after] * y - x * y[after], ends - self.lengths)) / 2.0

    def polygons(self, levels: Points, scale_xy: Points, corner_xy: Points) -> list[tuple[int, Polygon]]:
        """The rings at their levels, with their holes, each behind the index of its slice.

        Args:
            levels: ``(R,)``, of each ring.
            scale_xy: way from column to column and from row to row.
            corner_xy: place of the first pixel.
        """
        placed = self.points(levels) * scale_xy + corner_xy
        ring_of = np.repeat(np.arange(len(self.lengths)), self.lengths)
        rings = np.asarray(shapely.linearrings(placed, indices=ring_of))
        outer, slices = np.asarray(shapely.polygons(rings[self.pixels > 0])), self.slices[self.pixels > 0]
        holes: dict[int, list[LinearRing]] = {}
        for hole, k in zip(rings[self.pixels < 0], self.slices[self.pixels < 0], strict=True):
            beside = np.flatnonzero(slices == k)
            around = beside[shapely.contains(outer[beside], Point(hole.coords[0]))]
            holes.setdefault(int(around[np.argmin(shapely.area(outer[around]))]), []).append(hole)
        for n, some in holes.items():
            outer[n] = Polygon(outer[n].exterior, some)
        return list(zip(slices.tolist(), outer, strict=True))


def _steps(columns: int) -> NDArray[np.int32]:
    """The four ways from a pixel to the next, as steps of the flat index."""
    return np.array((1, -1, columns, -columns), dtype=np.int32)


def _crossings(held: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The flat index of every pixel inside that has a neighbour outside, and which of the four ways that is."""
    columns, flat = held.shape[1], held.ravel()
    pixels = []
    for step in (1, columns):
        edges = np.flatnonzero(flat[:-step] != flat[step:])
        ahead = flat[edges]
        pixels += [edges[ahead], edges[~ahead] + step]
    ways = np.repeat(np.arange(4, dtype=np.int32), [len(some) for some in pixels])
    return np.concatenate(pixels).astype(np.int32), ways


def _following(
    inside: NDArray[np.int32],
    way: NDArray[np.int32],
    held: NDArray[np.bool_],
    values: Smooth,
    middle: float,
) -> NDArray[np.int32]:
    """The crossing after each, with the mask on the left hand; it is one of the same four pixels."""
    flat, steps = held.ravel(), _steps(held.shape[1])
    outside, ahead, back = inside + steps[way], AHEAD[way], BACK[way]
    left, right = inside + steps[ahead], outside + steps[ahead]
    to_right = flat[right] & flat[left]
    touching = np.flatnonzero(flat[right] > flat[left])
    corners = [some[touching] for some in (inside, outside, left, right)]
    to_right[touching] = sum(values[some].astype(np.float32) for some in corners) > 4 * middle
    to_left = ~to_right & ~flat[left]
    next_inside = np.where(to_right, right, np.where(to_left, inside, left))
    next_way = np.where(to_right, back, np.where(to_left, ahead, way))
    place = np.empty(4 * flat.size, dtype=np.int32)
    place[inside * 4 + way] = np.arange(len(inside), dtype=np.int32)
    return np.asarray(place[next_inside * 4 + next_way])


def _rings(following: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The crossings in the order of the rings, and where in it each ring starts: at its lowest crossing.

    All rings are gone around at once: every crossing keeps the lowest one that it sees ahead and, in the lower half of
    the same number, the steps to it, and at each turn sees twice as far.
    """
    every = np.arange(len(following))
    seen, ahead, reach = every << HALF, following.astype(np.intp), 1
    while ((nearer := np.minimum(seen, seen[ahead] + reach)) < seen).any():
        seen, ahead, reach = nearer, ahead[ahead], 2 * reach
    lowest, steps = seen >> HALF, seen & (1 << HALF) - 1
    first = np.flatnonzero(steps == 0)
    lengths = steps[following[first]] + 1
    ends = np.cumsum(lengths)
    end_of = np.empty_like(every)
    end_of[first] = ends
    place = end_of[lowest] - steps
    place[first] = ends - lengths
    order = np.empty_like(every)
    order[place] = every
    return order, ends - lengths
