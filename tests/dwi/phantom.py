"""A body of smooth shapes that can be sampled at any point, so that stations of any gain and shift have a truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from psdt_planner.geometry import Grid
from psdt_planner.images import Kind, Quantity, Volume

TILT = Rotation.from_euler("xyz", [4, -7, 11], degrees=True).as_matrix()
"""Rows, columns and normal of an oblique stack."""

FRAME = "1.2.3.200"
SPACING_JI_MM = (4.2, 3.3)
SHAPE_JI = (40, 52)
GAP_MM = 5.0
CORNER_MM = np.array([-85.0, -88.0, 0.0])


def place_mm(along: ArrayLike) -> NDArray[np.float64]:
    """``(..., 3)`` mm of points given along columns, rows and normal of the stack."""
    return np.asarray(along, dtype=np.float64) @ TILT


def grid(first_mm: float, slices: int, *, frame: str = FRAME, gap_mm: float = GAP_MM) -> Grid:
    """A station that begins at a way along the normal."""
    corners = CORNER_MM + np.stack([np.zeros(slices), np.zeros(slices), first_mm + gap_mm * np.arange(slices)], axis=1)
    return Grid(place_mm(corners), SPACING_JI_MM[0] * TILT[1], SPACING_JI_MM[1] * TILT[0], (slices, *SHAPE_JI), frame)


def smooth_ball(
    points: NDArray[np.float64], centre: ArrayLike, radius_mm: ArrayLike, edge: float
) -> NDArray[np.float64]:
    distance = np.linalg.norm((points - np.asarray(centre)) / np.asarray(radius_mm), axis=-1)
    return 1.0 / (1.0 + np.exp((distance - 1.0) / edge))


def body(points_mm: NDArray[np.float64], lesion: tuple[float, float, float], radius_mm: float) -> NDArray[np.float64]:
    """Signal 100 of a trunk with organs of 40 to 220, and a lesion of 400 more; points along the stack's own axes."""
    ways = points_mm @ TILT.T
    trunk = smooth_ball(ways[..., :2], (0, 0), (68, 52), 0.05)
    organs = np.zeros(trunk.shape)
    shapes = [(-25, 10, 60, 18, 120), (30, -15, 110, 22, 90), (-10, -22, 170, 16, -60), (22, 18, 230, 20, 100)]
    shapes += [(-35, -8, 290, 15, 80), (8, 5, 20, 14, -50), (5, 25, 130, 12, 110), (-30, -20, 215, 12, 60)]
    for x, y, z, radius, height in shapes:
        organs += height * smooth_ball(ways, (x, y, z), (radius, 0.8 * radius, 2.5 * radius), 0.08)
    return 100.0 * trunk + organs * trunk + 400.0 * smooth_ball(ways, lesion, radius_mm, 0.06)


def station(
    first_mm: float,
    slices: int,
    *,
    uid: str = "",
    gain: float = 1.0,
    shift_mm: Sequence[float] = (0.0, 0.0),
    noise: float = 0.0,
    seed: int = 1,
    quantity: Quantity | None = None,
    lesion: tuple[float, float, float] = (12.0, -18.0, 100.0),
    radius_mm: float = 15.0,
    frame: str = FRAME,
    gap_mm: float = GAP_MM,
    scale: float = 1.0,
) -> Volume:
    """A station whose content lies ``shift_mm`` further along its rows' and columns' index axes (j, i)."""
    of = grid(first_mm, slices, frame=frame, gap_mm=gap_mm)
    shift = shift_mm[0] * TILT[1] + shift_mm[1] * TILT[0]
    array = gain * scale * body(of.centres_mm() - shift, lesion, radius_mm)
    array += noise * np.random.default_rng(seed).standard_normal(array.shape)
    quantity = quantity or Quantity(Kind.DWI_TRACE, "1", 50.0)
    name = uid or f"1.2.3.{int(first_mm) + 1000}"
    return Volume(of, np.maximum(array, 0.0).astype(np.float32), quantity, name)
