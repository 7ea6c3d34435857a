"""Where to start: which part of the whole-body MR the CT shows.

A start from the centres of the images lands half the cases 150 mm off, because the CT covers a part of the body only.
The body's profile along z proposes a few places; a short rigid fit from each and the mutual information decide, and
the runner-up is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from psdt_planner.geometry import Rigid
from psdt_planner.registration.bodies import Profile

CANDIDATES = 5
"""Places along the body that are tried."""

CANDIDATE_DISTANCE_MM = 20.0
"""Least distance between two of them; the rigid fit's capture range is several times that."""

LEAST_OVERLAP = 0.8
"""Part of the CT's slices that must find an MR slice."""

OFFSET_FORGIVEN = 0.7
"""Part of the median difference that is taken away first: arms and thresholds bias whole profiles alike."""


@dataclass(frozen=True)
class Start:
    """A shift of the MR onto the CT, and how badly the profiles fit there (mm, smaller is better)."""

    shift_mm: tuple[float, float, float]
    misfit_mm: float

    def ct_from_mr(self, ct_frame: str, mr_frame: str) -> Rigid:
        """The shift as a transform."""
        matrix = np.eye(4)
        matrix[:3, 3] = self.shift_mm
        return Rigid(matrix, ct_frame, mr_frame)


def starts(ct: Profile, mr: Profile) -> tuple[Start, ...]:
    """The best places along the body, best first, at most `CANDIDATES`, each `CANDIDATE_DISTANCE_MM` from the others.

    Both profiles lie on lattices of the same spacing along z. Empty where nothing overlaps enough.
    """
    usable = ~np.isnan(ct.figures[:, 0])
    ranked = sorted(_all_starts(ct, mr, usable), key=lambda start: start.misfit_mm)
    kept: list[Start] = []
    for start in ranked:
        if all(abs(start.shift_mm[2] - other.shift_mm[2]) >= CANDIDATE_DISTANCE_MM for other in kept):
            kept.append(start)
    return tuple(kept[:CANDIDATES])


def _all_starts(ct: Profile, mr: Profile, usable: np.ndarray) -> list[Start]:
    found = []
    for first in range(1 - len(ct.z_mm), len(mr.z_mm)):
        k = np.arange(len(ct.z_mm))
        inside = usable & (k + first >= 0) & (k + first < len(mr.z_mm))
        pairs = k[inside][~np.isnan(mr.figures[k[inside] + first, 0])]
        if len(pairs) < LEAST_OVERLAP * usable.sum() or len(pairs) < 3:
            continue
        difference = ct.figures[pairs] - mr.figures[pairs + first]
        difference -= OFFSET_FORGIVEN * np.median(difference, axis=0)
        xy = np.median(ct.centre_xy_mm[pairs] - mr.centre_xy_mm[pairs + first], axis=0)
        dz = float(np.median(ct.z_mm[pairs] - mr.z_mm[pairs + first]))
        found.append(Start((float(xy[0]), float(xy[1]), dz), float(np.abs(difference).mean())))
    return found
