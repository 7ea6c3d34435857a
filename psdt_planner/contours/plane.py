"""A slice's plane in two dimensions, and polygons with few enough points for a ring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely import GeometryType
from shapely.geometry import Polygon

from psdt_planner.errors import FaultError, UnsupportedError
from psdt_planner.geometry import Grid, Points, grid_corners_mm
from psdt_planner.shapes import MAX_RING_BYTES, Contour

TOLERANCE_MM = 0.05
"""Default distance that a simplified ring may keep from the traced one."""

COARSEST_MM = 0.4
"""Largest tolerance that a ring is given where a finer one leaves it more points than it may have."""

COARSER = 1.5
"""The step from one tolerance to the next."""

MAX_POINTS = 2000
"""Most points a ring may have, so that ContourData stays below `shapes.MAX_RING_BYTES`."""

BEYOND_MM = 100.0
"""How far beyond the CT's corners a ring's coordinates may lie."""


def flat_mm(points_mm: Points, ct: Grid) -> Points:
    """``(N, 2)``, points of a slice in mm along its columns (x) and rows (y) from its first voxel's centre."""
    return np.asarray(ct.index_from_mm(points_mm)[:, [2, 1]] * ct.spacing_ji_mm[::-1])


def placed_mm(xy_mm: Points, ct: Grid, k: int) -> Points:
    """``(N, 3)``, the reverse of `flat_mm` on slice ``k``; read-only."""
    index = np.column_stack([np.full(len(xy_mm), float(k)), xy_mm[:, ::-1] / ct.spacing_ji_mm])
    points = ct.mm_from_index(index)
    points.flags.writeable = False
    return points


def polygon_of(contour: Contour, ct: Grid) -> Polygon:
    """The contour with its holes, in mm as `flat_mm`."""
    return Polygon(flat_mm(contour.points_mm, ct), [flat_mm(hole, ct) for hole in contour.holes_mm])


def contour_of(polygon: Polygon, ct: Grid, k: int) -> Contour:
    """The reverse of `polygon_of`."""
    outline, *holes = (
        placed_mm(np.asarray(ring.coords)[:-1], ct, k) for ring in (polygon.exterior, *polygon.interiors)
    )
    return Contour(outline, k, tuple(holes))


def most_points(ct: Grid, *, points: int = MAX_POINTS, length: int = MAX_RING_BYTES) -> int:
    """How many points a ring on this CT may have, by `MAX_POINTS`, and with three decimals by its length in bytes.

    Args:
        ct: the grid that it lies on.
        points: a limit of the destination's own.
        length: likewise, of ContourData.
    """
    farthest_mm = np.abs(grid_corners_mm(ct)).max() + BEYOND_MM
    return min(MAX_POINTS, points, length // (3 * len(f"{-farthest_mm:.3f}\\")))


def drawn(found: Sequence[tuple[int, Polygon]], ct: Grid, tolerance_mm: float) -> tuple[tuple[Contour, ...], float]:
    """The contours of polygons, each behind its slice, as `simplified` makes them, and the coarsest tolerance taken.

    Polygons without holes that need nothing special, nearly all, are taken together: that is ten times as fast.
    """
    most = most_points(ct)
    polygons = np.array([polygon for _, polygon in found], dtype=object)
    simple = shapely.simplify(polygons, tolerance_mm, preserve_topology=False)
    plain = shapely.get_num_interior_rings(polygons) == 0
    plain &= (
        (shapely.get_type_id(simple) == GeometryType.POLYGON) & shapely.is_valid(simple) & ~shapely.is_empty(simple)
    )
    plain &= shapely.get_num_coordinates(simple) - 1 <= most
    slices = np.array([k for k, _ in found], dtype=int)
    together = iter(_together(polygons[plain], simple[plain], slices[plain], ct))
    contours, coarsest_mm = [], tolerance_mm
    for k, polygon, is_plain in zip(slices.tolist(), polygons, plain, strict=True):
        if is_plain:
            contours.append(Contour(next(together), k))
            continue
        special, taken_mm = simplified(polygon, tolerance_mm, most)
        contours.append(contour_of(special, ct, k))
        coarsest_mm = max(coarsest_mm, taken_mm)
    return tuple(contours), coarsest_mm


def _together(
    polygons: NDArray[np.object_], simple: NDArray[np.object_], slices: NDArray[np.int_], ct: Grid
) -> list[Points]:
    """Each simplified polygon's points in mm, scaled around its centroid to the area of its polygon."""
    xy, of = shapely.get_coordinates(simple, return_index=True)
    last = np.append(of[1:] != of[:-1], True)[: len(of)]
    xy, of = xy[~last], of[~last]
    centre = shapely.get_coordinates(shapely.centroid(simple))[of]
    scale = np.sqrt(shapely.area(polygons) / shapely.area(simple))[of, None]
    placed = centre + scale * (xy - centre)
    points = ct.mm_from_index(np.column_stack([slices[of], placed[:, ::-1] / ct.spacing_ji_mm]))
    points.flags.writeable = False
    return np.split(points, np.flatnonzero(np.diff(of)) + 1) if len(of) else []


def simplified(polygon: Polygon, tolerance_mm: float, most: int) -> tuple[Polygon, float]:
    """The polygon with the points that the tolerance needs and with the area of each ring, and that tolerance.

    Douglas and Peucker, the rings kept from crossing each other; then each is scaled back to its area, which moves no
    point by more than the tolerance again. Where a ring has more than ``most`` points, the tolerance grows by
    `COARSER` up to `COARSEST_MM`.

    Raises:
        UnsupportedError: more points even so.
    """
    for tolerance in tolerances_mm(tolerance_mm):
        simple = within(polygon, tolerance)
        if max(len(ring.coords) for ring in (simple.exterior, *simple.interiors)) - 1 <= most:
            return simple, tolerance
    raise too_many_points(polygon, most)


def tolerances_mm(first_mm: float) -> Iterator[float]:
    """The tolerances to try one after another."""
    tolerance = first_mm
    while tolerance < COARSEST_MM:
        yield tolerance
        tolerance *= COARSER
    yield max(COARSEST_MM, first_mm)


def too_many_points(polygon: Polygon, most: int) -> UnsupportedError:
    """What to raise where no tolerance is large enough."""
    return UnsupportedError(
        f"a ring of {polygon.exterior.length:.0f} mm needs more than {most} points",
        todo=f"Smooth it: {COARSEST_MM} mm is the largest tolerance.",
    )


def within(polygon: Polygon, tolerance_mm: float) -> Polygon:
    """The polygon simplified, each ring scaled to its former area; unscaled where that would make rings cross."""
    simple = polygon.simplify(tolerance_mm, preserve_topology=False)
    if not simple.is_valid or not isinstance(simple, Polygon) or len(simple.interiors) != len(polygon.interiors):
        simple = polygon.simplify(tolerance_mm, preserve_topology=True)  # slower, and seldom needed
    if not isinstance(simple, Polygon):
        raise FaultError(f"a simplified polygon is a {simple.geom_type}")
    olds, news = ((one.exterior, *one.interiors) for one in (polygon, simple))
    outline, *holes = (_scaled(new.coords, Polygon(old).area) for old, new in zip(olds, news, strict=True))
    scaled = Polygon(outline, holes)
    return scaled if scaled.is_valid else simple


def _scaled(points: ArrayLike, area_mm2: float) -> Points:
    xy = np.asarray(points, dtype=np.float64)
    ring = Polygon(xy)
    centre = np.array(ring.centroid.coords)
    return np.asarray(centre + np.sqrt(area_mm2 / ring.area) * (xy - centre))
