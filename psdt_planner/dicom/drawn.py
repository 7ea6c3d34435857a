"""What was drawn, as a mask on the lattice of the images that it was drawn on: closed rings and ellipsoids, in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from psdt_planner.dicom.flags import on_planes, plane_offsets_mm
from psdt_planner.errors import GeometryError
from psdt_planner.geometry import Grid, Points

SLIVER = 1e-3
"""Share of the smaller ring that two rings on a slice may share, or leave out, for them to count as apart or nested;
and the part of one voxel below which a region encloses nothing."""

SAMPLES = 6
"""Points along each axis of a voxel that tell how much of it lies in an ellipsoid."""


def lies_on(rings_mm: Sequence[Points], grid: Grid) -> bool:
    """Whether every point of the rings lies on a slice of the grid; not where there is no ring."""
    offsets = [ring @ grid.normal for ring in rings_mm]
    return bool(offsets) and on_planes(np.concatenate(offsets), plane_offsets_mm(grid, grid.normal))


def rasterised(rings_mm: Sequence[Points], grid: Grid) -> tuple[Grid, NDArray[np.float32]]:
    """Exact occupancy of rings on the lattice of their images, cropped, with one empty voxel and slice on each side.

    A ring takes up the slice that it was drawn on. Rings of one slice are combined by even and odd: one within another
    is a hole.

    Raises:
        GeometryError: two rings on one slice cross.
    """
    indices = [grid.index_from_mm(ring) for ring in rings_mm]
    by_slice: dict[int, list[BaseGeometry]] = {}
    for index in indices:
        polygon = shapely.make_valid(shapely.Polygon(index[:, [2, 1]]))
        by_slice.setdefault(round(float(index[:, 0].mean())), []).append(polygon)
    low = np.floor(np.min([index.min(axis=0) for index in indices], axis=0) + 0.5).astype(int) - 1
    high = np.floor(np.max([index.max(axis=0) for index in indices], axis=0) + 0.5).astype(int) + 2
    low[0], high[0] = min(by_slice) - 1, max(by_slice) + 2
    crop = cropped(grid, low, high)
    mask = np.zeros(crop.shape, dtype=np.float32)
    for k, polygons in by_slice.items():
        mask[k - low[0]] = _occupancy(_even_odd(polygons), low[1:], crop.shape[1:])
    return crop, mask


def ellipsoid(ends_mm: Points, grid: Grid) -> tuple[Grid, NDArray[np.float32]]:
    """Occupancy of an ellipsoid on a lattice, cropped, with an empty border; ``ends_mm`` are the ends of its axes.

    ``(6, 3)``, two ends of each axis (PS3.3 C.18.9.1.2).

    Raises:
        GeometryError: the axes do not share a middle, are not at right angles, or have no length.
    """
    middle, axes = _axes(ends_mm)
    reach = np.sqrt(np.square(axes).sum(axis=0))
    corners = middle + reach * np.array(np.meshgrid(*[[-1, 1]] * 3, indexing="ij")).reshape(3, 8).T
    index = grid.index_from_mm(corners)
    low = np.floor(index.min(axis=0) + 0.5).astype(int) - 1
    high = np.floor(index.max(axis=0) + 0.5).astype(int) + 2
    crop = cropped(grid, low, high)
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    mask = np.zeros(crop.shape, dtype=np.float64)
    centres = np.moveaxis(np.indices(crop.shape).astype(np.float64), 0, -1)
    across = axes / np.square(axes).sum(axis=1, keepdims=True)
    for step in np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T:
        at = crop.mm_from_index(centres + step) - middle
        mask += np.square(at @ across.T).sum(axis=-1) <= 1.0
    return crop, np.asarray(mask / SAMPLES**3, dtype=np.float32)


def _axes(ends_mm: Points) -> tuple[Points, Points]:
    """Middle ``(3,)`` and half axes ``(3, 3)``, one a row."""
    pairs = np.asarray(ends_mm, dtype=np.float64).reshape(3, 2, 3)
    middles, axes = pairs.mean(axis=1), (pairs[:, 1] - pairs[:, 0]) / 2.0
    lengths = np.linalg.norm(axes, axis=1)
    if lengths.min() <= 0:
        raise GeometryError("an ellipsoid with an axis of no length")
    apart = float(np.linalg.norm(middles - middles.mean(axis=0), axis=1).max())
    cosines = np.abs((axes / lengths[:, None]) @ (axes / lengths[:, None]).T - np.eye(3)).max()
    if apart > 0.01 * lengths.max() + 0.01 or cosines > 0.02:
        raise GeometryError("the axes of an ellipsoid do not cross at right angles in its middle")
    return middles.mean(axis=0), axes


def cropped(grid: Grid, low_kji: NDArray[np.int_], high_kji: NDArray[np.int_]) -> Grid:
    """The part of a grid from an index to before another, ``(3,)`` each; it may reach beyond the grid."""
    shape = tuple(int(n) for n in high_kji - low_kji)
    origins = grid.mm_from_index([(k, low_kji[1], low_kji[2]) for k in range(low_kji[0], high_kji[0])])
    return Grid(origins, grid.step_j_mm, grid.step_i_mm, (shape[0], shape[1], shape[2]), grid.frame)


def _even_odd(polygons: Sequence[BaseGeometry]) -> BaseGeometry:
    region = polygons[0]
    for polygon in polygons[1:]:
        shared = shapely.intersection(region, polygon).area
        smaller = min(region.area, polygon.area)
        if SLIVER * smaller < shared < (1 - SLIVER) * smaller:
            raise GeometryError("two contours on one slice cross each other")
        region = shapely.symmetric_difference(region, polygon)
    return region


def _occupancy(region: BaseGeometry, low_ji: NDArray[np.int_], shape_ji: Sequence[int]) -> NDArray[np.float64]:
    """Part of each pixel that lies within the region, ``shape_ji``; pixel centres are whole numbers of ``(i, j)``."""
    j, i = np.mgrid[0 : shape_ji[0], 0 : shape_ji[1]] + np.asarray(low_ji)[:, None, None]
    boxes = shapely.box(i - 0.5, j - 0.5, i + 0.5, j + 0.5)
    shapely.prepare(region)
    part = np.asarray(shapely.contains_properly(region, boxes), dtype=np.float64)
    edge = (part == 0) & shapely.intersects(region, boxes)
    part[edge] = shapely.area(shapely.intersection(boxes[edge], region))
    return part
