"""Rings with holes, as a destination takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import shapely
from shapely.geometry import Point, Polygon

from psdt_planner.contours.plane import (
    TOLERANCE_MM,
    contour_of,
    most_points,
    polygon_of,
    tolerances_mm,
    too_many_points,
    within,
)
from psdt_planner.errors import FaultError
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Contour, GeometricType, HoleRule

CHANNEL_MM = 0.02
"""Width of the channel from a ring to its hole: no pixel sees it, and coordinates of three decimals keep it open."""


def by_rule(contours: Sequence[Contour], rule: HoleRule, ct: Grid, *, most: int | None = None) -> tuple[Contour, ...]:
    """The contours without `Contour.holes_mm`: every hole filled, reached by a channel, or a ring of its own.

    FILLED: outlines alone; a ring within another's hole is left out, since it is then filled as well. KEYHOLE: one
    simple ring, whose channels take `CHANNEL_MM` times their length off its area. XOR: where one ring has a hole, all
    of them are marked so, holes behind their outline. Never nested CLOSED_PLANAR rings. What has more points than a
    ring may have is simplified within the smallest tolerance that leaves few enough.

    Args:
        contours: CLOSED_PLANAR, in order of slice, as `trace` gives them.
        rule: the destination's.
        ct: the grid that they lie on.
        most: points that a ring may have, where the destination takes fewer than `most_points`.

    Raises:
        UnsupportedError: a ring of more points than it may have, whatever the tolerance.
    """
    most = most_points(ct) if most is None else most
    if rule is HoleRule.FILLED:
        slices = groupby(contours, key=lambda contour: contour.slice_index)
        contours = [ring for _, beside in slices for ring in _filled(tuple(beside), ct)]
    with_hole = any(contour.holes_mm for contour in contours)
    rings = tuple(ring for contour in contours for ring in _written(contour, rule, ct, most))
    if rule is HoleRule.XOR and with_hole:
        return tuple(replace(ring, geometric_type=GeometricType.XOR) for ring in rings)
    return rings


def _written(contour: Contour, rule: HoleRule, ct: Grid, most: int) -> Sequence[Contour]:
    """The rings of one contour, simplified only as far as the number of points asks for."""
    region: Polygon | None = None
    for tolerance in (0.0, *tolerances_mm(TOLERANCE_MM)):
        if tolerance > 0.0:
            region = region or polygon_of(contour, ct)
            contour = contour_of(within(region, tolerance), ct, contour.slice_index)
        rings = _rings(contour, rule, ct)
        if max(len(ring.points_mm) for ring in rings) <= most:
            return rings
    raise too_many_points(polygon_of(contour, ct), most)


def _rings(contour: Contour, rule: HoleRule, ct: Grid) -> Sequence[Contour]:
    if not contour.holes_mm:
        return (contour,)
    if rule is HoleRule.XOR:
        return [Contour(points, contour.slice_index) for points in (contour.points_mm, *contour.holes_mm)]
    # Several rings where a channel meets a neck as narrow as itself.
    return [contour_of(part, ct, contour.slice_index) for part in _opened(polygon_of(contour, ct))]


def _filled(contours: Sequence[Contour], ct: Grid) -> list[Contour]:
    if not any(contour.holes_mm for contour in contours):
        return list(contours)
    outlines = [Polygon(polygon_of(contour, ct).exterior) for contour in contours]
    return [
        replace(contour, holes_mm=())
        for contour, outline in zip(contours, outlines, strict=True)
        if not any(other is not outline and other.contains(outline) for other in outlines)
    ]


def _opened(region: Polygon) -> list[Polygon]:
    """The region cut open to its holes, always to the nearest first, so that no channel crosses another hole."""
    if not region.interiors:
        return [region]
    ways = [shapely.shortest_line(region.exterior, hole) for hole in region.interiors]
    way = min(ways, key=lambda line: float(line.length))
    around = way if way.length > 0 else Point(way.coords[0])
    cut = region.difference(around.buffer(CHANNEL_MM / 2, cap_style="square"))
    parts = [part for part in shapely.get_parts(cut) if isinstance(part, Polygon) and part.area > CHANNEL_MM**2]
    if sum(len(part.interiors) for part in parts) >= len(region.interiors):
        raise FaultError("a channel does not reach its hole")
    return [opened for part in parts for opened in _opened(part)]
