"""Regions of the planning CT as points, each with the volume that it stands for: what a dose is looked up at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from psdt_planner.geometry import Grid, Points
from psdt_planner.reirradiation import Sampled
from psdt_planner.shapes import Contour
from psdt_planner.structures import Slabs, slabs

STEP_MM = 1.0
"""Between the points that stand for a region, within its slices and across."""

MOST_POINTS = 400_000
"""Of one region; a larger one is sampled more coarsely."""


def sampled(contours: Sequence[Contour], ct: Grid) -> Sampled:
    """Points that stand for what rings hold: a lattice of `STEP_MM` in their slabs, and their surface as densely."""
    solid = slabs(contours, ct)
    if not solid.planes:
        return Sampled(np.empty((0, 3)), np.empty(0))
    lengths_mm = np.diff(solid.ends_mm)[:, 0]
    areas_mm2 = np.array([plane.area for plane in solid.planes])
    step_mm = max(STEP_MM, float(areas_mm2 @ lengths_mm / MOST_POINTS) ** (1.0 / 3.0))
    points, volumes = [], []
    ends = {int(solid.slices[0]): 0, int(solid.slices[-1]): 1}
    for plane, k, (start, end), area in zip(solid.planes, solid.slices, solid.ends_mm, areas_mm2, strict=True):
        inner, rim = _lattice(plane, step_mm), _rim(plane, step_mm)
        layers = max(1, round(float(end - start) / step_mm))
        heights = start + (np.arange(layers) + 0.5) * (end - start) / layers
        each_ml = area * (end - start) / 1000.0 / (len(inner) * layers)
        shown = [(inner, height, each_ml) for height in heights]
        shown += [(rim, height, 0.0) for height in (start, *heights, end)]
        if int(k) in ends:
            shown.append((inner, (start, end)[ends[int(k)]], 0.0))
        for flat, height, ml in shown:
            points.append(_at(flat, float(height), ct))
            volumes.append(np.full(len(flat), ml))
    return Sampled(np.concatenate(points), np.concatenate(volumes))


def _rim(plane: Any, step_mm: float) -> Points:
    """``(N, 2)``, points on the outlines of a plane's polygons, no further apart than a step."""
    return np.asarray(shapely.get_coordinates(shapely.segmentize(plane.boundary, step_mm)))


def _lattice(plane: Any, step_mm: float) -> Points:
    """``(N, 2)``, lattice points in a plane's polygons; at least one, for the thinnest."""
    x0, y0, x1, y1 = plane.bounds
    x, y = (np.arange(low + step_mm / 2.0, high, step_mm) for low, high in ((x0, x1), (y0, y1)))
    across, down = (axis.ravel() for axis in np.meshgrid(x, y))
    inside = shapely.contains_xy(plane, across, down) if across.size else np.zeros(0, dtype=bool)
    if not inside.any():
        point = plane.representative_point()
        return np.array([[point.x, point.y]])
    return np.column_stack([across[inside], down[inside]])


def _at(flat: Points, height_mm: float, ct: Grid) -> Points:
    """mm along columns and rows of the CT, and from its first slice along the normal, as patient coordinates."""
    spacing_j, spacing_i = ct.spacing_ji_mm
    k = int(np.abs(ct.slice_offsets_mm - height_mm).argmin())
    first = ct.slice_origins_mm[k] + (height_mm - ct.slice_offsets_mm[k]) * ct.normal
    return np.asarray(first + flat[:, :1] * (ct.step_i_mm / spacing_i) + flat[:, 1:] * (ct.step_j_mm / spacing_j))


def within(points_mm: Points, solid: Slabs, ct: Grid) -> NDArray[np.bool_]:
    """Which points lie in a structure's slabs, their surface included."""
    way = points_mm - ct.slice_origins_mm[0]
    height = way @ ct.normal
    flat = ct.index_from_mm(points_mm)[:, [2, 1]] * np.array(ct.spacing_ji_mm)[::-1]
    inside = np.zeros(len(points_mm), dtype=bool)
    for plane, (start, end) in zip(solid.planes, solid.ends_mm, strict=True):
        here = np.flatnonzero((height >= start) & (height <= end))
        inside[here] |= shapely.intersects_xy(plane, flat[here, 0], flat[here, 1])
    return inside
