"""The shift of echo-planar DWI against the anatomical images of the same exam, along the phase-encode axis.

Echo-planar images shift where the field is off: displacement = frequency offset / bandwidth per pixel in the
phase-encode direction. The low-b image shows the anatomy, so the shift at a lesion is the one that shares most
information with T1 there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.geometry import Points
from psdt_planner.images import Volume, sample
from psdt_planner.registration.information import binned, normalised_information

SEARCH_MM = 14.0
CAP_MM = 6.0
"""A larger shift is not believed: it is not corrected, and holds the lesion. The search reaches well beyond it, so that
a large one is seen as such; one that still grows at the search's end is larger yet."""

STEP_MM = 1.0
BOX_HALF_MM = (40.0, 40.0, 30.0)
BOX_STEP_MM = 2.5
DULL_PEAK = 0.002
"""Normalised mutual information by which the peak must rise above the search's median; below, there is nothing to
go by."""


@dataclass(frozen=True)
class EpiShift:
    """How far a lesion flagged on DWI lies from its anatomical place, along ``axis_mm`` (unit vector).

    Attributes:
        shift_mm: DWI place minus anatomical place, `SEARCH_MM` either way where it is that or more; 0 where nothing
            stands out.
        trusted: whether a clear peak lies within `CAP_MM`.
        axis_mm: the phase-encode axis in the MR's frame.
    """

    shift_mm: float
    trusted: bool
    axis_mm: tuple[float, float, float]

    def undo(self) -> NDArray[np.float64]:
        """``(3,)``, what to add to a DWI place to get the anatomical one; nothing where not trusted."""
        return np.asarray(-self.shift_mm * self.trusted * np.array(self.axis_mm))


def epi_shift(anatomical: tuple[Volume, ...], dwi: Volume, centre_mm: Points) -> EpiShift | None:
    """The shift at a place of the DWI's frame; None where the DWI does not state its phase-encode axis.

    The sum of the normalised mutual information of the DWI with each anatomical volume, in a box around the place, is
    searched over shifts of up to `SEARCH_MM` in steps of 1 mm; a parabola through the three best gives the rest.
    """
    if dwi.phase_encoding_mm is None:
        return None
    axis = np.array(dwi.phase_encoding_mm)
    box = _box(centre_mm)
    frame = dwi.grid.frame
    still = [binned(sample(volume, box, frame)) for volume in anatomical]
    shifts = np.arange(-SEARCH_MM, SEARCH_MM + STEP_MM / 2, STEP_MM)
    scores = np.zeros(len(shifts))
    for n, shift in enumerate(shifts):
        moved = binned(sample(dwi, box + shift * axis, frame))
        scores[n] = sum(normalised_information(image, moved) for image in still)
    scores = ndimage.gaussian_filter1d(scores, 0.5, mode="nearest")
    best = int(scores.argmax())
    clear = scores[best] - np.median(scores) > DULL_PEAK
    within = _vertex(scores[best - 1 : best + 2]) if 0 < best < len(shifts) - 1 else 0.0
    shift = float(shifts[best] + STEP_MM * within) if clear else 0.0
    return EpiShift(shift, bool(clear and abs(shift) <= CAP_MM), (float(axis[0]), float(axis[1]), float(axis[2])))


def _box(centre_mm: Points) -> Points:
    axes = [np.arange(-half, half + BOX_STEP_MM / 2, BOX_STEP_MM) for half in BOX_HALF_MM]
    return np.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) + centre_mm)


def _vertex(three: NDArray[np.float64]) -> float:
    """Where the parabola through values at -1, 0, 1 peaks."""
    curve = three[0] - 2.0 * three[1] + three[2]
    return 0.0 if curve == 0.0 else float(0.5 * (three[0] - three[2]) / curve)
