"""Rings laid into the plane of the slices, all rings of a file in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from psdt_planner.dicom.image_planes import ImageSeries
from psdt_planner.dicom.rtstruct_file import RingInFile, RoiInFile, StructureSetFile
from psdt_planner.geometry import Points

NOT_CLOSED = frozenset({"POINT", "OPEN_PLANAR", "OPEN_NONPLANAR"})
"""Contours without an inside."""

NEAR_AXIAL = 0.999
"""A normal with a larger z component than this is meant to be along z."""

Geometries = NDArray[Any]
"""``(R,)`` shapely geometries."""


@dataclass(frozen=True, eq=False)
class Laid:
    """The closed rings of at least three points, all finite, in the order of the file.

    Attributes:
        rings: with their ROI.
        offsets_mm: ``(R,)``, the way of each ring along the normal of the slices.
        spreads_mm: ``(R,)``, how far the points of a ring differ along the normal.
        polygons: each ring along rows and columns, as it is.
        valid: the same, by even and odd, where a ring crosses or touches itself.
        is_simple: ``(R,)``, whether a ring neither crosses nor touches itself.
        repeated: ``(R,)``, points that are the same as the one before.
        closed_twice: ``(R,)``, whether the first point comes again at the end.
    """

    rings: tuple[tuple[RoiInFile, RingInFile], ...]
    offsets_mm: Points
    spreads_mm: Points
    polygons: Geometries
    valid: Geometries
    is_simple: NDArray[np.bool_]
    repeated: NDArray[np.int_]
    closed_twice: NDArray[np.bool_]

    def of(self, roi: RoiInFile) -> NDArray[np.int_]:
        """Indices of the rings of an ROI."""
        return np.array([n for n, (other, _) in enumerate(self.rings) if other is roi], dtype=int)


def closed_rings(roi: RoiInFile) -> list[RingInFile]:
    """The rings of an ROI that have an inside, or mean to have one."""
    return [ring for ring in roi.rings if ring.geometric_type not in NOT_CLOSED]


def distinct_points(ring: RingInFile) -> int:
    """How many points a closed ring has, its first not counted again at the end."""
    points = ring.points_mm
    return len(points) - bool(len(points) > 1 and (points[0] == points[-1]).all())


def lay(file: StructureSetFile, series: ImageSeries | None) -> Laid:
    """The rings in the plane of the series' slices; without a series, in that of the largest ring."""
    rings = tuple(
        (roi, ring)
        for roi in file.rois
        for ring in closed_rings(roi)
        if distinct_points(ring) >= 3 and not ring.not_finite
    )
    if not rings:
        none = np.empty(0)
        return Laid((), none, none, none, none, none.astype(bool), none.astype(int), none.astype(bool))
    points = np.concatenate([ring.points_mm for _, ring in rings])
    lengths = np.array([len(ring.points_mm) for _, ring in rings])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    row, column, normal = _axes(series, rings)
    along = points @ normal
    highest, lowest = np.maximum.reduceat(along, starts), np.minimum.reduceat(along, starts)
    owner = np.repeat(np.arange(len(rings)), lengths)
    flat = np.column_stack([points @ row, points @ column])
    polygons = np.atleast_1d(np.asarray(shapely.polygons(shapely.linearrings(flat, indices=owner))))
    is_simple = np.asarray(shapely.is_valid(polygons))
    valid = polygons.copy()
    valid[~is_simple] = shapely.make_valid(polygons[~is_simple])
    same = (np.diff(points, axis=0) == 0).all(axis=1) & (np.diff(owner) == 0)
    return Laid(
        rings=rings,
        offsets_mm=(highest + lowest) / 2,
        spreads_mm=highest - lowest,
        polygons=polygons,
        valid=valid,
        is_simple=is_simple,
        repeated=np.bincount(owner[1:][same], minlength=len(rings)),
        closed_twice=(points[starts] == points[starts + lengths - 1]).all(axis=1),
    )


def _axes(series: ImageSeries | None, rings: tuple[tuple[RoiInFile, RingInFile], ...]) -> tuple[Points, Points, Points]:
    """Unit vectors along rows and columns, and the normal."""
    if series is not None:
        return series.row, series.column, series.normal
    largest = max((_area_vector(ring.points_mm) for _, ring in rings), key=lambda vector: float(vector @ vector))
    length = np.linalg.norm(largest)
    normal = largest / length if length else np.array([0.0, 0.0, 1.0])
    if abs(normal[2]) > NEAR_AXIAL:
        return np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    row = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    row /= np.linalg.norm(row)
    return row, np.cross(normal, row), normal


def _area_vector(points: Points) -> Points:
    """``(3,)`` along the normal of a ring, twice its area long (Newell)."""
    ahead = points - points[0]
    return np.asarray(np.cross(ahead, np.roll(ahead, -1, axis=0)).sum(axis=0))
