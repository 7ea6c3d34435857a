"""Cuts through a volume and through rings, in patient directions and in mm, whatever the lattice is.

A window is a square of a plane in one frame. The screen shows it as radiologists do: the patient's right on the left,
anterior or superior at the top.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon, unary_union

from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Volume, sample
from psdt_planner.shapes import Contour

PARALLEL_COSINE = 0.999
"""From here on a window counts as lying along the slices."""

SEAM_MM = 1e-6
"""Boxes of neighbouring slices meet; rounding to this closes the seams that binary numbers leave."""


class View(Enum):
    """Direction of look: what is across and down the screen in LPS, and the letters at left, right, top and bottom."""

    AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), "RLAP")
    CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), "RLSI")
    SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), "APSI")

    @property
    def across(self) -> Points:
        """Unit vector towards the right of the screen."""
        return np.array(self.value[0])

    @property
    def down(self) -> Points:
        """Unit vector towards the bottom of the screen."""
        return np.array(self.value[1])

    @property
    def letters(self) -> str:
        """Where the left, right, top and bottom of the screen lie in the patient."""
        return self.value[2]


@dataclass(frozen=True, eq=False)
class Window:
    """A square of a plane.

    Attributes:
        view: its directions.
        centre_mm: ``(3,)``, its middle, in ``frame``.
        half_mm: half of its side.
        frame: frame of reference.
    """

    view: View
    centre_mm: Points
    half_mm: float
    frame: str

    @property
    def normal(self) -> Points:
        """Unit vector ``(3,)`` perpendicular to the plane."""
        return np.asarray(np.cross(self.view.across, self.view.down))

    def on_screen(self, points_mm: Points) -> Points:
        """``(..., 2)``, mm right of and below the middle, of points ``(..., 3)``."""
        way = points_mm - self.centre_mm
        return np.stack([way @ self.view.across, way @ self.view.down], axis=-1)

    def cut(self, volume: Volume, pixels: int, *, outside: float) -> NDArray[np.float32]:
        """``(pixels, pixels)``, the volume at the centres of the window's pixels; row 0 is the top.

        Raises:
            FrameError: the window is in another frame than the volume.
        """
        side = self.half_mm * ((2.0 * np.arange(pixels) + 1.0) / pixels - 1.0)
        points_mm = self.centre_mm + side[:, None, None] * self.view.down + side[None, :, None] * self.view.across
        return sample(volume, points_mm, self.frame, outside=outside)


def on_slice(window: Window, grid: Grid) -> Window:
    """The window moved along the slices' normal to the nearest slice, so that its rings lie in it."""
    k = _nearest_slice(window, grid)
    shift = (grid.slice_origins_mm[k] - window.centre_mm) @ grid.normal
    return Window(window.view, window.centre_mm + shift * grid.normal, window.half_mm, window.frame)


def outlines(contours: Iterable[Contour], grid: Grid, window: Window) -> Iterator[Points]:
    """Closed lines ``(N, 2)`` on the screen: where the window cuts the volume that the rings stand for.

    Along the slices these are the rings of the nearest slice. Across them each ring reaches half-way to both
    neighbours, as it does when a volume is computed, so that the outline has the steps of the slices.
    """
    if abs(window.normal @ grid.normal) > PARALLEL_COSINE:
        k = _nearest_slice(window, grid)
        here = (points for ring in contours if ring.slice_index == k for points in (ring.points_mm, *ring.holes_mm))
        yield from map(window.on_screen, here)
        return
    boxes = [box for ring in contours for box in _boxes(ring, grid, window)]
    union = unary_union(boxes)
    for part in getattr(union, "geoms", [union]):
        if not part.is_empty:
            yield from (np.asarray(line.coords) for line in (part.exterior, *part.interiors))


def _nearest_slice(window: Window, grid: Grid) -> int:
    return int(np.abs((grid.slice_origins_mm - window.centre_mm) @ grid.normal).argmin())


def _boxes(ring: Contour, grid: Grid, window: Window) -> Iterator[Polygon]:
    """What one ring contributes to a cut across the slices: a box for each stretch that lies inside."""
    below_mm, above_mm = _half_gaps_mm(grid, ring.slice_index)
    crossings = np.concatenate([_crossings(points, window) for points in (ring.points_mm, *ring.holes_mm)])
    along = np.cross(window.normal, grid.normal)
    crossings = crossings[np.argsort(crossings @ along)]
    for start, end in zip(crossings[::2], crossings[1::2], strict=True):
        corners = [start - below_mm * grid.normal, end - below_mm * grid.normal]
        corners += [end + above_mm * grid.normal, start + above_mm * grid.normal]
        yield Polygon(np.round(window.on_screen(np.array(corners)) / SEAM_MM) * SEAM_MM)


def _crossings(points_mm: Points, window: Window) -> Points:
    """``(N, 3)``, where a ring passes through the window's plane."""
    ahead = (points_mm - window.centre_mm) @ window.normal
    after, ahead_after = np.roll(points_mm, -1, axis=0), np.roll(ahead, -1)
    through = (ahead > 0) != (ahead_after > 0)
    part = ahead[through] / (ahead - ahead_after)[through]
    return np.asarray(points_mm[through] + part[:, None] * (after - points_mm)[through])


def _half_gaps_mm(grid: Grid, k: int) -> tuple[float, float]:
    """Half the way to the slice before and to the one after; an end slice reaches as far outwards as inwards."""
    gaps = np.diff(grid.slice_offsets_mm)
    before = gaps[max(k - 1, 0)]
    after = gaps[min(k, gaps.size - 1)]
    return float(before) / 2.0, float(after) / 2.0
