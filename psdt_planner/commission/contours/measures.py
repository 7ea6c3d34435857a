"""What contours come to beside the truth: area, signed distance, overlap and distance of surfaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from psdt_planner.geometry import Grid, Points

STEP_MM = 0.2
"""Distance of the points that outlines are compared at; the corners of a ring say nothing of the lines between."""

Ring = tuple[int, Points]
"""Index of a slice, and a ring's points ``(N, 2)`` in x and y."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Contours as areas.

    Attributes:
        areas: by slice, what the rings of that slice enclose by even and odd; in x and y.
        points: that the rings have together.
        rings: their number.
    """

    areas: Mapping[int, BaseGeometry]
    points: int
    rings: int

    @classmethod
    def of(cls, rings: Iterable[Ring]) -> Drawn:
        """Rings of one or two points, which enclose nothing, are counted as well."""
        areas: dict[int, BaseGeometry] = {}
        points = count = 0
        for k, ring in rings:
            points, count = points + len(ring), count + 1
            if len(ring) >= 3:
                area = _polygons(shapely.Polygon(ring))
                areas[k] = shapely.symmetric_difference(areas[k], area) if k in areas else area
        return cls(areas, points, count)

    def volume_mm3(self, thickness_mm: float) -> float:
        """Of slices of one thickness."""
        return float(sum(area.area for area in self.areas.values())) * thickness_mm


def _polygons(shape: BaseGeometry) -> BaseGeometry:
    """What of a shape has an area: rings of other programs run back on themselves."""
    if shape.is_valid:
        return shape
    parts = shapely.get_parts(shapely.make_valid(shape))
    flat = [piece for part in parts for piece in shapely.get_parts(part)]
    return shapely.union_all([piece for piece in flat if piece.geom_type == "Polygon"])


def outline(area: BaseGeometry) -> Points:
    """``(N, 2)``, points of its outline that are `STEP_MM` apart or closer, evenly along each ring."""
    rings = [ring for part in shapely.get_parts(area) for ring in (part.exterior, *part.interiors) if ring.length]
    found = [
        shapely.line_interpolate_point(ring, (np.arange(n) + 0.5) / n, normalized=True)
        for ring in rings
        if (n := int(np.ceil(ring.length / STEP_MM)))
    ]
    return shapely.get_coordinates(np.concatenate(found)) if found else np.zeros((0, 2))


def sphere_errors_mm(drawn: Drawn, ct: Grid, centre_mm: Points, radius_mm: float) -> Points:
    """``(N,)``, signed distance of the outlines to the sphere's circle on their slice, outwards positive.

    A slice that does not meet the sphere has no circle, and is left out.
    """
    found = []
    for k, area in drawn.areas.items():
        left = radius_mm**2 - (ct.slice_origins_mm[k, 2] - centre_mm[2]) ** 2
        if left > 0.0:
            found.append(np.linalg.norm(outline(area) - centre_mm[:2], axis=1) - np.sqrt(left))
    return np.concatenate(found) if found else np.zeros(0)


def dice(ours: Mapping[int, BaseGeometry], truth: Mapping[int, BaseGeometry]) -> float:
    """Twice the shared area over the sum of both, all slices together: exact on slices of one thickness."""
    shared = sum(shapely.intersection(ours[k], truth[k]).area for k in ours.keys() & truth.keys())
    both = sum(area.area for area in (*ours.values(), *truth.values()))
    return float(2.0 * shared / both) if both else 1.0


def hd95_mm(ours: Mapping[int, BaseGeometry], truth: Mapping[int, BaseGeometry], surface: Points, ct: Grid) -> float:
    """The greater of two 95th percentiles of distances in space, since slices lie as far apart as errors are large.

    One way from the outlines that were drawn to the true surface, as points ``(N, 3)`` close together; the other way
    from the true outlines on the CT's slices to those that were drawn, so that a slice that was missed counts with its
    distance to the next ring. Infinite where nothing was drawn.
    """
    drawn, wanted = _cloud(ours, ct), _cloud(truth, ct)
    if not len(drawn):
        return float("inf")
    ways = (cKDTree(surface).query(drawn)[0], cKDTree(drawn).query(wanted)[0])
    return float(max(np.percentile(way, 95) for way in ways))


def _cloud(areas: Mapping[int, BaseGeometry], ct: Grid) -> Points:
    found = [np.zeros((0, 3))]
    for k, area in areas.items():
        points = outline(area)
        found.append(np.column_stack([points, np.full(len(points), ct.slice_origins_mm[k, 2])]))
    return np.concatenate(found)


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of a sample; the latter is 0 of one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
