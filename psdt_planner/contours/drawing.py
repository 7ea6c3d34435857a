"""From a plane of numbers to rings, and the account of what they leave out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import contourpy
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from psdt_planner.contours.plane import TOLERANCE_MM, drawn
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid, Points
from psdt_planner.shapes import Contour

SPECK_MM2 = 1.0
"""Rings of less area are specks: a planning system may refuse them, and no lesion is seen in them."""

SPECK_MM3 = 1.0
"""Parts of less volume are specks as well."""


@dataclass(frozen=True, eq=False)
class Tracing:
    """The rings of a shape, and what they do not show of it.

    Attributes:
        contours: rings in order of slice; within a slice in order of growing row, then column, of their box. Holes of
            `SPECK_MM2` and above stay, as `Contour.holes_mm`.
        filled_ml: smaller holes, which the rings fill.
        holes_ml: what the rings leave out as holes.
        dropped_ml: rings below `SPECK_MM2` and parts below `SPECK_MM3` that were left out.
        between_slices_ml: parts of the shape that no slice plane of the CT meets.
        beyond_ct_ml: volume of the shape outside the CT.
        raised_tolerance_mm: tolerance of the coarsest ring, where the number of points asked for more than the given
            one; else 0.
        parts: of the shape, that do not touch each other and are no specks; 1 where nobody counted.
    """

    contours: tuple[Contour, ...]
    filled_ml: float
    dropped_ml: float
    between_slices_ml: float
    beyond_ct_ml: float
    raised_tolerance_mm: float = 0.0
    parts: int = 1
    holes_ml: float = 0.0

    def findings(self, lesion: str, roi: str) -> tuple[Finding, ...]:
        """What a person should know about these rings of a lesion's ROI."""
        said = (
            ("lesion-between-slices", Level.HOLD, self.between_slices_ml, "lies between two CT slices and has no ring"),
            ("lesion-outside-ct", Level.HOLD, self.beyond_ct_ml, "reaches beyond the planning CT"),
            ("contour-speck-filled", Level.INFO, self.filled_ml, "had holes below 1 mm², which are filled"),
            ("contour-speck-dropped", Level.INFO, self.dropped_ml, "had specks, which are left out"),
        )
        found = [
            Finding(code, level, f"{roi} of {lesion} {what}: {ml:.3f} ml", Who.PERSON, ml, 0.0, "ml", lesion)
            for code, level, ml, what in said
            if ml > 0.0
        ]
        if (raised_mm := self.raised_tolerance_mm) > 0.0:
            message = f"{roi} of {lesion} has a ring with so many points that it is drawn only to {raised_mm:.2f} mm"
            found.append(
                Finding("contour-coarse", Level.WARN, message, Who.PERSON, raised_mm, TOLERANCE_MM, "mm", lesion)
            )
        if self.parts > 1:
            message = f"{roi} of {lesion} has {self.parts} parts that do not touch each other"
            found.append(Finding("lesion-in-parts", Level.INFO, message, Who.PERSON, self.parts, 1, lesion=lesion))
        return tuple(found)


@dataclass(eq=False)
class Drawing:
    """The rings of one shape on one CT, slice after slice.

    Attributes:
        ct: the grid that they lie on.
        tolerance_mm: as `plane.simplified` takes it.
    """

    ct: Grid
    tolerance_mm: float
    _kept: list[tuple[int, Polygon]] = field(default_factory=list)
    _filled_mm3: float = 0.0
    _holes_mm3: float = 0.0
    _dropped_mm3: float = 0.0

    def __post_init__(self) -> None:
        self._thickness_mm = (self.ct.voxel_volumes_ml * 1000.0 / np.prod(self.ct.spacing_ji_mm)).tolist()

    def add(self, k: int, found: Iterable[Polygon]) -> list[Polygon]:
        """Draw the polygons of slice ``k``; the ones that are no specks, as they came."""
        seen: list[Polygon] = []
        for polygon in found:
            if _outline_area(polygon) < SPECK_MM2:
                self._dropped_mm3 += polygon.area * self._thickness_mm[k]
            else:
                seen.append(polygon)
        for polygon in seen:
            kept = polygon
            if polygon.interiors:
                kept = _without_small_holes(polygon)
                self._filled_mm3 += (kept.area - polygon.area) * self._thickness_mm[k]
                self._holes_mm3 += (_outline_area(kept) - kept.area) * self._thickness_mm[k]
            self._kept.append((k, kept))
        return seen

    def tracing(
        self,
        *,
        dropped_mm3: float = 0.0,
        between_slices_mm3: float = 0.0,
        beyond_ct_mm3: float = 0.0,
        parts: int = 1,
    ) -> Tracing:
        """The rings in order of slice, with what else is known to be missing."""
        kept = sorted(self._kept, key=lambda one: one[0])
        contours, coarsest_mm = drawn(kept, self.ct, self.tolerance_mm)
        return Tracing(
            contours,
            filled_ml=self._filled_mm3 / 1000.0,
            dropped_ml=(self._dropped_mm3 + dropped_mm3) / 1000.0,
            between_slices_ml=between_slices_mm3 / 1000.0,
            beyond_ct_ml=beyond_ct_mm3 / 1000.0,
            raised_tolerance_mm=coarsest_mm if coarsest_mm > self.tolerance_mm else 0.0,
            parts=parts,
            holes_ml=self._holes_mm3 / 1000.0,
        )


def _outline_area(polygon: Polygon) -> float:
    return float((Polygon(polygon.exterior) if polygon.interiors else polygon).area)


def _without_small_holes(polygon: Polygon) -> Polygon:
    return Polygon(polygon.exterior, [hole for hole in polygon.interiors if Polygon(hole).area >= SPECK_MM2])


def polygons(plane: NDArray[np.floating], level: float, scale_xy: Points, corner_xy: Points) -> list[Polygon]:
    """Where a plane ``(J, I)`` exceeds a level: valid polygons, holes kept, by marching squares.

    Args:
        plane: the numbers; above the level nowhere on its edge.
        level: the level.
        scale_xy: way from column to column and from row to row.
        corner_xy: place of the first number.

    Returns:
        In order of growing row, then column, of their boxes.
    """
    if not (plane > level).any():
        return []
    generator = contourpy.contour_generator(z=plane, fill_type=contourpy.FillType.OuterOffset)
    found: list[Polygon] = []
    for points, offsets in zip(*generator.filled(level, np.inf), strict=True):
        placed = points * scale_xy + corner_xy
        rings = [placed[a:b] for a, b in pairwise(offsets)]
        found.extend(_valid(Polygon(rings[0], rings[1:])))
    return sorted(found, key=lambda polygon: polygon.bounds[1::-1])


def _valid(polygon: Polygon) -> list[Polygon]:
    """The polygon's parts, where touching itself makes it several."""
    if polygon.is_valid:
        return [polygon]
    mended = shapely.make_valid(polygon)
    parts = mended.geoms if hasattr(mended, "geoms") else [mended]
    flat = [piece for part in parts for piece in (part.geoms if isinstance(part, MultiPolygon) else [part])]
    return [piece for piece in flat if isinstance(piece, Polygon) and piece.area > 0]
