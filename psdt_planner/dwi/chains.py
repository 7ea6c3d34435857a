"""Which series of one kind are stations of one exam: those that follow each other along the slices and touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from psdt_planner.geometry import Grid, Points, grid_corners_mm
from psdt_planner.images import Volume

AXIS_TOLERANCE = 1e-3
"""How far the axes of two stations may differ, as a cosine."""

GAP_FACTOR = 1.5
"""Stations further apart than this many slice gaps leave a place of the body unseen, and are not joined over it."""

MOST_OVERLAP = 0.5
"""Series that share more than this part of the shorter one show the same place twice: no stations of one exam."""


@dataclass(frozen=True)
class Break:
    """Why a series does not go on with another one.

    Attributes:
        why: ``again`` (it shows the same place), ``axes`` (its planes are turned) or ``gap``.
        gap_mm, limit_mm: of a gap, how wide it is and how wide it might be.
    """

    why: str
    lower_uid: str
    upper_uid: str
    gap_mm: float = 0.0
    limit_mm: float = 0.0


def chains(volumes: Sequence[Volume]) -> tuple[list[list[Volume]], list[Break]]:
    """Volumes of one frame and kind as rows of stations, each from the lowest along its normal; and why they end."""
    normal = min(volumes, key=lambda one: one.series_uid).grid.normal
    rows: list[list[Volume]] = []
    breaks: list[Break] = []
    for volume in sorted(volumes, key=lambda one: (*_order(one.grid, normal), one.series_uid)):
        why = [_break(row[-1], volume, normal) for row in rows]
        if (number := next((n for n, one in enumerate(why) if one is None), None)) is not None:
            rows[number].append(volume)
            continue
        rows.append([volume])
        # That it shows a place again explains it; else it is the last series before it that it does not go on with.
        told = [one for one in why if one is not None]
        breaks += [next((one for one in told if one.why == "again"), told[-1])] if told else []
    return rows, breaks


def _order(grid: Grid, normal: Points) -> tuple[float, float]:
    start, end = _span_mm(grid, normal)
    return round(start, 1), -round(end, 1)


def _span_mm(grid: Grid, normal: Points) -> tuple[float, float]:
    ways = grid_corners_mm(grid) @ normal
    return float(ways.min()), float(ways.max())


def _break(lower: Volume, upper: Volume, normal: Points) -> Break | None:
    """Why the upper volume does not go on where the lower one ends; None where it does."""
    uids = lower.series_uid, upper.series_uid
    parallel = np.abs(_axes(lower.grid) - _axes(upper.grid)).max() <= AXIS_TOLERANCE
    along = lower.grid.normal if parallel else normal
    (start, end), (next_start, next_end) = _span_mm(lower.grid, along), _span_mm(upper.grid, along)
    if end - next_start > MOST_OVERLAP * min(end - start, next_end - next_start):
        return Break("again", *uids)
    if not parallel:
        return Break("axes", *uids)
    limit = GAP_FACTOR * lower.grid.slice_gap_mm
    return Break("gap", *uids, next_start - end, limit) if next_start - end > limit else None


def _axes(grid: Grid) -> Points:
    step_j, step_i = (step / np.linalg.norm(step) for step in (grid.step_j_mm, grid.step_i_mm))
    return np.stack([grid.normal, step_j, step_i])
