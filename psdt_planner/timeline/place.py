"""Lesions of one exam in the frame that both exams share: as cells of a lattice, so that overlap is a count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from psdt_planner.errors import FrameError
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.lesions import FlaggedLesion

Move = Callable[[Points], Points]
"""Takes points ``(..., 3)`` of one frame to another, where that is more than a rigid transform."""

Covers = Callable[[Points], NDArray[np.bool_]]
"""Whether an exam shows each of points ``(N, 3)`` of the common frame."""

CELL_MM: Final = 2.0
"""Side of the cells that overlap is counted in; finer than a pixel of diffusion, coarser than what a mask can tell."""

WITHIN_CELL: Final = 1.5
"""Points of a voxel are set so many times closer than cells, so that no cell within it stays empty."""

REACH: Final = 1 << 19
"""Cells either way of the origin along an axis: one kilometre."""


@dataclass(frozen=True, eq=False)
class SeenLesion:
    """A lesion of one exam in the common frame.

    Attributes:
        flag: as flagged, in its own frame.
        cells: sorted numbers of the cells that it fills; none where its place in the common frame is not known.
        uncertainty_mm: bound on how far its place in the common frame may be wrong.
        adc_median_mm2_per_s: None where there is no usable ADC map.
    """

    flag: FlaggedLesion
    cells: NDArray[np.int64]
    uncertainty_mm: float
    adc_median_mm2_per_s: float | None

    @property
    def placed(self) -> bool:
        """Whether its place in the common frame is known."""
        return self.cells.size > 0

    @cached_property
    def centres_mm(self) -> Points:
        """``(N, 3)``, of its cells."""
        parts = [(self.cells >> shift) & (2 * REACH - 1) for shift in (40, 20, 0)]
        return np.asarray((np.stack(parts, axis=-1) - REACH + 0.5) * CELL_MM)

    @cached_property
    def centroid_mm(self) -> Points:
        """``(3,)``, of its cells."""
        return np.asarray(self.centres_mm.mean(axis=0))

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.centres_mm)

    def overlap_cells(self, other: SeenLesion) -> int:
        """How many cells both fill."""
        return int(np.intersect1d(self.cells, other.cells, assume_unique=True).size)

    def gap_mm(self, other: SeenLesion, limit_mm: float) -> float:
        """The way between the two, to a cell; infinite beyond the limit, and where a place is not known."""
        if not (self.placed and other.placed):
            return float("inf")
        distances = self._tree.query(other.centres_mm, distance_upper_bound=limit_mm + CELL_MM)[0]
        return max(float(distances.min()) - CELL_MM, 0.0)


@dataclass(frozen=True, eq=False)
class Seen:
    """What one exam shows, in the common frame.

    Attributes:
        frame: Frame of Reference UID of the common frame.
        lesions: in order of their ids.
        covers: where the exam looked: a lesion that is absent from where nobody looked is neither new nor gone.
    """

    frame: str
    lesions: tuple[SeenLesion, ...]
    covers: Covers


def place_lesion(
    flag: FlaggedLesion,
    common_from_own: Rigid | Move,
    *,
    frame: str,
    uncertainty_mm: float,
    adc_median_mm2_per_s: float | None,
) -> SeenLesion:
    """The lesion in the common frame.

    Raises:
        FrameError: a rigid transform that does not lead from the flag's frame to the common one.
    """
    move = common_from_own
    if isinstance(move, Rigid):
        if (move.target, move.source) != (frame, flag.grid.frame):
            raise FrameError(f"{move.target} from {move.source} does not bring {flag.id} to {frame}")
        move = move.apply
    return SeenLesion(flag, _cells(move(_points_mm(flag))), uncertainty_mm, adc_median_mm2_per_s)


def without_place(flag: FlaggedLesion, adc_median_mm2_per_s: float | None) -> SeenLesion:
    """A lesion whose place in the common frame is not known: only its tracking UID tells which it is."""
    return SeenLesion(flag, np.empty(0, dtype=np.int64), 0.0, adc_median_mm2_per_s)


def everywhere(points_mm: Points) -> NDArray[np.bool_]:
    """Of an exam that leaves nothing out."""
    return np.ones(len(points_mm), dtype=np.bool_)


def covered_by(grids: Sequence[tuple[Grid, Rigid]]) -> Covers:
    """Where at least one of the lattices lies, each with its transform ``common_from_own``.

    Raises:
        FrameError: a transform of another frame than its lattice's.
    """
    backs = []
    for grid, common_from_own in grids:
        if common_from_own.source != grid.frame:
            raise FrameError(f"{common_from_own.source} is not the frame of the lattice, {grid.frame}")
        backs.append((grid, common_from_own.inverse()))

    def covers(points_mm: Points) -> NDArray[np.bool_]:
        found = np.zeros(len(points_mm), dtype=np.bool_)
        for grid, back in backs:
            found |= grid.contains(back.apply(points_mm))
        return found

    return covers


def _points_mm(flag: FlaggedLesion) -> Points:
    """``(N, 3)`` in the flag's frame, evenly over every voxel that is at least half lesion, or else lesion at all."""
    inside = np.argwhere(flag.mask >= 0.5) if (flag.mask >= 0.5).any() else np.argwhere(flag.mask > 0.0)
    counts = [int(np.ceil(step / CELL_MM * WITHIN_CELL)) for step in flag.grid.spacing_kji_mm]
    parts = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    offsets = np.array(list(itertools.product(*parts)))
    return flag.grid.mm_from_index((inside[:, None, :] + offsets).reshape(-1, 3))


def _cells(points_mm: Points) -> NDArray[np.int64]:
    """Sorted, each once."""
    steps = np.floor(points_mm / CELL_MM).astype(np.int64) + REACH
    return np.unique((steps[:, 0] << 40) | (steps[:, 1] << 20) | steps[:, 2])
