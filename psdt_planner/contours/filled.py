"""From rings to what they hold: masks by the even-odd rule, and shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import LinearRing, MultiLineString, Polygon
from shapely.geometry.base import BaseGeometry

from psdt_planner.contours.lattice import BORDER_MM, lattice_around, step_of
from psdt_planner.contours.plane import flat_mm
from psdt_planner.errors import GeometryError
from psdt_planner.geometry import Grid, Points
from psdt_planner.shapes import Contour, Shape

Field = NDArray[np.float32]

ORGAN_POINTS = 2_000_000
"""About how many points the lattice of a filled shape may have before its step grows."""

ORGAN_STEP_MM = 3.0
"""Its coarsest step; the outline is kept finer, since distances to it are exact near it."""

NEAR_STEPS = 2
"""Lattice points this many steps around a ring are given their exact distance."""


def mask_of(contours: Sequence[Contour], ct: Grid) -> NDArray[np.bool_]:
    """Which voxel centres of the CT the contours hold: within a slice by even and odd, holes and XOR rings included."""
    mask = np.zeros(ct.shape, dtype=bool)
    for k, rings in _by_slice(contours).items():
        mask[k] = even_odd([ct.index_from_mm(ring)[:, 1:] for ring in rings], ct.shape[1:])
    return mask


def even_odd_area(contours: Sequence[Contour], ct: Grid) -> BaseGeometry:
    """What contours of one slice hold by even and odd, in mm along its columns and rows; ones that cross are mended."""
    rings = [ring for contour in contours for ring in (contour.points_mm, *contour.holes_mm)]
    areas = (shapely.make_valid(Polygon(flat_mm(ring, ct))) for ring in rings if len(ring) >= 3)
    whole: BaseGeometry = Polygon()
    for area in areas:
        whole = whole.symmetric_difference(area)
    return whole


def even_odd(rings_ji: Sequence[Points], shape_ji: tuple[int, int]) -> NDArray[np.bool_]:
    """Which whole numbers ``(j, i)`` lie within an odd number of rings ``(N, 2)``, exactly.

    Every edge toggles the pixels to its left in each row that it crosses; the lower end of an edge belongs to it.
    """
    if not rings_ji:
        return np.zeros(shape_ji, dtype=bool)
    start = np.concatenate(rings_ji)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings_ji])
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    first = np.clip(np.ceil(low), 0, shape_ji[0]).astype(int)
    count = np.clip(np.ceil(high), 0, shape_ji[0]).astype(int) - first
    edge = np.repeat(np.arange(len(count)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    ahead = end[edge] - start[edge]
    crossing = start[edge, 1] + (row - start[edge, 0]) / ahead[:, 0] * ahead[:, 1]
    column = np.clip(np.ceil(crossing), 0, shape_ji[1]).astype(int)
    toggles = np.bincount(row * (shape_ji[1] + 1) + column, minlength=shape_ji[0] * (shape_ji[1] + 1))
    from_right = np.cumsum(toggles.reshape(shape_ji[0], -1)[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(from_right[:, 1:] % 2 == 1)


def shape_of(contours: Sequence[Contour], ct: Grid) -> Shape:
    """What contours on slices of the CT hold, as drawn organs have it.

    Signed distance to the rings in every slice (even and odd, so that a ring within another is a hole), linear
    between neighbouring slices. Where the next slice has no ring, the shape ends half-way to it, as slices are
    thick; so do contours that skip slices, since nobody drew what lies between.

    Returns:
        A shape on a lattice along the CT's axes, of 0.35 to `ORGAN_STEP_MM`.

    Raises:
        GeometryError: no contours, or a CT of a single slice, whose thickness nobody stated.
    """
    if not contours:
        raise GeometryError("no contours make no shape", where=ct.frame)
    rings = _by_slice(contours)
    offsets, half_gaps = ct.slice_offsets_mm, _half_gaps_mm(ct)
    ends = [ring + way * ct.normal for k, some in rings.items() for ring in some for way in half_gaps[k] * (-1.0, 1.0)]
    lattice = lattice_around(np.concatenate(ends), ct, most=ORGAN_POINTS, coarsest_mm=ORGAN_STEP_MM)
    field = np.full(lattice.shape, -BORDER_MM, dtype=np.float32)
    seen: dict[int, Field] = {}
    for n, at_mm in enumerate((lattice.slice_origins_mm - ct.slice_origins_mm[0]) @ ct.normal):
        k = int(np.searchsorted(offsets, at_mm, side="right")) - 1
        seen = {m: seen[m] if m in seen else _distances_mm(rings[m], lattice) for m in (k, k + 1) if m in rings}
        if len(seen) == 2:
            way = np.float32((at_mm - offsets[k]) / (offsets[k + 1] - offsets[k]))
            field[n] = (1 - way) * seen[k] + way * seen[k + 1]
        elif k in seen:
            field[n] = np.minimum(seen[k], half_gaps[k, 1] - (at_mm - offsets[k]))
        elif seen:
            field[n] = np.minimum(seen[k + 1], half_gaps[k + 1, 0] - (offsets[k + 1] - at_mm))
    return Shape(lattice, field)


def _by_slice(contours: Sequence[Contour]) -> dict[int, list[Points]]:
    rings: dict[int, list[Points]] = {}
    for contour in contours:
        rings.setdefault(contour.slice_index, []).extend((contour.points_mm, *contour.holes_mm))
    return rings


def _half_gaps_mm(ct: Grid) -> Points:
    """``(K, 2)``, how far each slice reaches against and along the normal; an end slice as far out as in."""
    gaps = np.diff(ct.slice_offsets_mm)
    if not gaps.size:
        raise GeometryError("one slice alone has no thickness", where=ct.frame)
    return np.column_stack([np.append(gaps[0], gaps), np.append(gaps, gaps[-1])]) / 2.0


def _distances_mm(rings_mm: Sequence[Points], lattice: Grid) -> Field:
    """``(J, I)``, signed distance within the plane, positive inside: exact near the rings, else to a lattice step."""
    rings = [lattice.index_from_mm(ring)[:, 1:] for ring in rings_mm]
    inside = even_odd(rings, lattice.shape[1:])
    away = np.where(inside, ndimage.distance_transform_edt(inside), -ndimage.distance_transform_edt(~inside))
    near = _near(rings, lattice.shape[1:])
    outline = MultiLineString([LinearRing(ring) for ring in rings])
    shapely.prepare(outline)
    exact = shapely.distance(outline, shapely.points(np.argwhere(near)))
    away[near] = np.where(inside[near], exact, -exact)
    return np.asarray(away * step_of(lattice), dtype=np.float32)


def _near(rings_ji: Sequence[Points], shape_ji: tuple[int, int]) -> NDArray[np.bool_]:
    """The lattice points within `NEAR_STEPS` of a ring, and some more."""
    near = np.zeros(shape_ji, dtype=bool)
    for ring in rings_ji:
        dense = shapely.get_coordinates(shapely.segmentize(LinearRing(ring), 1.0))
        j, i = np.round(dense).astype(int).T
        near[j, i] = True
    return np.asarray(ndimage.binary_dilation(near, np.ones((3, 3)), iterations=NEAR_STEPS))
