"""Solids whose volume and sections are known, for contours to be measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from psdt_planner.geometry import Points

CORNERS = 256
"""Corners of an ellipse's polygon. It has the area of the ellipse, and strays from it by 1 in 13,000 of its radius."""

APART_MM = 0.25
"""Distance of the points that stand for a surface: a distance to the surface comes out at most half of it too long,
and next to nothing where it is longer."""

SECTIONS_MM = 0.05
"""Distance of the sections that the volume of a solid of several parts is summed from."""


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """A turned ellipsoid.

    Attributes:
        centre_mm: ``(3,)``, x, y, z.
        half_axes_mm: ``(3,)``.
        turn: ``(3, 3)``, its columns the directions of the half axes.
    """

    centre_mm: Points
    half_axes_mm: Points
    turn: Points

    @property
    def form(self) -> Points:
        """``(3, 3)``, the quadratic form that is 1 on the surface."""
        return np.asarray(self.turn @ np.diag(self.half_axes_mm**-2.0) @ self.turn.T)

    @property
    def reach_mm(self) -> Points:
        """``(3,)``, how far it reaches from its centre along x, y and z."""
        return np.asarray(np.sqrt(np.diag(np.linalg.inv(self.form))))

    def holds(self, points_mm: Points) -> NDArray[np.bool_]:
        """Whether each point ``(..., 3)`` lies in it."""
        scaled = (points_mm - self.centre_mm) @ self.turn / self.half_axes_mm
        return np.asarray((scaled**2).sum(axis=-1) <= 1.0)

    def surface(self) -> Points:
        """``(N, 3)``, points along a spiral of even steps on a sphere, which the half axes stretch."""
        count = int(np.ceil(4.0 * np.pi * np.max(self.half_axes_mm) ** 2 / APART_MM**2))
        up = 1.0 - (2.0 * np.arange(count) + 1.0) / count
        angle = np.pi * (1.0 + np.sqrt(5.0)) * np.arange(count)
        across = np.sqrt(1.0 - up**2)
        unit = np.stack([across * np.cos(angle), across * np.sin(angle), up], axis=1)
        return np.asarray(self.centre_mm + (unit * self.half_axes_mm) @ self.turn.T)

    def section(self, z_mm: float) -> BaseGeometry:
        """The ellipse at a height, as a polygon in x and y; empty where the plane misses it."""
        form, up = self.form, z_mm - self.centre_mm[2]
        across = np.linalg.solve(form[:2, :2], form[:2, 2])
        left = 1.0 - up**2 * (form[2, 2] - form[:2, 2] @ across)
        if left <= 0.0:
            return shapely.Polygon()
        angle = 2.0 * np.pi * np.arange(CORNERS) / CORNERS
        same_area = np.sqrt(2.0 * np.pi / CORNERS / np.sin(2.0 * np.pi / CORNERS))
        ring = same_area * np.sqrt(left) * np.stack([np.cos(angle), np.sin(angle)])
        points = np.linalg.solve(np.linalg.cholesky(form[:2, :2]).T, ring)
        return shapely.Polygon((self.centre_mm[:2] - up * across)[:, None].T + points.T)


@dataclass(frozen=True, eq=False)
class Solid:
    """What several ellipsoids cover together; ``name`` is for tables."""

    name: str
    parts: tuple[Ellipsoid, ...]

    def holds(self, points_mm: Points) -> NDArray[np.bool_]:
        """Whether each point ``(..., 3)`` lies in it."""
        return np.asarray(np.logical_or.reduce([part.holds(points_mm) for part in self.parts]))

    def section(self, z_mm: float) -> BaseGeometry:
        """Its polygon or polygons at a height, in x and y."""
        return shapely.union_all([part.section(z_mm) for part in self.parts])

    @property
    def bounds_mm(self) -> tuple[Points, Points]:
        """The lowest and the highest x, y and z that it reaches, ``(3,)`` each."""
        low = np.min([part.centre_mm - part.reach_mm for part in self.parts], axis=0)
        return low, np.max([part.centre_mm + part.reach_mm for part in self.parts], axis=0)

    @property
    def volume_mm3(self) -> float:
        """By the formula of one ellipsoid; of several, the sum of close sections."""
        if len(self.parts) == 1:
            return float(4.0 / 3.0 * np.pi * np.prod(self.parts[0].half_axes_mm))
        low, high = (float(bound[2]) for bound in self.bounds_mm)
        count = int(np.ceil((high - low) / SECTIONS_MM))
        step = (high - low) / count
        return float(sum(self.section(low + (n + 0.5) * step).area for n in range(count)) * step)

    def surface(self) -> Points:
        """``(N, 3)``, points all over its surface, about `APART_MM` from each other."""
        found = []
        for part in self.parts:
            points = part.surface()
            others = [other.holds(points) for other in self.parts if other is not part]
            found.append(points[~np.logical_or.reduce(others)] if others else points)
        return np.concatenate(found)

    def moved(self, turn: Points, shift_mm: ArrayLike) -> Solid:
        """The same solid, turned ``(3, 3)`` about the origin and then shifted ``(3,)``."""
        shift = np.asarray(shift_mm, dtype=np.float64)
        parts = [Ellipsoid(turn @ part.centre_mm + shift, part.half_axes_mm, turn @ part.turn) for part in self.parts]
        return Solid(self.name, tuple(parts))


def ball(radius_mm: float, centre_mm: ArrayLike = (0.0, 0.0, 0.0)) -> Solid:
    """A sphere."""
    return ellipsoid(f"sphere {radius_mm:g} mm", (radius_mm,) * 3, centre_mm)


def ellipsoid(name: str, half_axes_mm: ArrayLike, centre_mm: ArrayLike = (0.0, 0.0, 0.0)) -> Solid:
    """An ellipsoid along the axes."""
    centre, half = np.asarray(centre_mm, dtype=np.float64), np.asarray(half_axes_mm, dtype=np.float64)
    return Solid(name, (Ellipsoid(centre, half, np.eye(3)),))


def together(name: str, solids: Sequence[Solid]) -> Solid:
    """What several solids cover."""
    return Solid(name, tuple(part for solid in solids for part in solid.parts))
