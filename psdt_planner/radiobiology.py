"""What a schedule means biologically, by the linear-quadratic model and by its linear continuation at large fractions.

BED = n d (1 + d / (α/β)) and EQD2 = BED / (1 + 2 / (α/β)) for n fractions of d Gy (Fowler, Br J Radiol 1989;62:679).
The model overstates what a single large fraction does; a comparison from about 10 Gy a fraction on is a comparison of
numbers, not of effects. The linear-quadratic-linear model (Astrahan, Med Phys 2008;35:4161) goes on in a straight line
from a dose per fraction on, and stands beside it there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psdt_planner.errors import FaultError

MAX_DOSE_GY = 200.0
"""Beyond this total a number is a mistake of unit (cGy for Gy), not a schedule."""

MAX_FRACTIONS = 60
"""Beyond this number of fractions a number is a mistake, not a schedule."""

ALPHA_BETA_GY = (0.5, 25.0)
"""Values of α/β that anybody has reported for a tissue or a tumour lie well within."""


def bed_gy(*, dose_gy: float, fractions: int, alpha_beta_gy: float) -> float:
    """Biologically effective dose in Gy: D (1 + d / (α/β)).

    Raises:
        FaultError: a number that is no dose, no number of fractions or no α/β.
    """
    _check(dose_gy, fractions, alpha_beta_gy)
    return dose_gy * (alpha_beta_gy + dose_gy / fractions) / alpha_beta_gy


def eqd2_gy(*, dose_gy: float, fractions: int, alpha_beta_gy: float) -> float:
    """The dose in 2 Gy fractions with the same BED, in Gy: D (d + α/β) / (2 + α/β).

    Raises:
        FaultError: a number that is no dose, no number of fractions or no α/β.
    """
    _check(dose_gy, fractions, alpha_beta_gy)
    return dose_gy * (alpha_beta_gy + dose_gy / fractions) / (alpha_beta_gy + 2.0)


def equieffective_dose_gy(*, dose_gy: float, fractions: int, in_fractions: int, alpha_beta_gy: float) -> float:
    """The total dose in another number of fractions with the same BED, in Gy.

    Of m fractions, m d (1 + d / (α/β)) = BED gives d = (α/β) / 2 (√(1 + 4 BED / (m α/β)) - 1).

    Raises:
        FaultError: a number that is no dose, no number of fractions or no α/β.
    """
    bed = bed_gy(dose_gy=dose_gy, fractions=fractions, alpha_beta_gy=alpha_beta_gy)
    _check(dose_gy, in_fractions, alpha_beta_gy)
    root = math.sqrt(1.0 + 4.0 * bed / (in_fractions * alpha_beta_gy))
    # (root - 1) would lose digits where BED is small; this is the same without the difference.
    return 2.0 * bed / (root + 1.0)


def lql_bed_gy(*, dose_gy: float, fractions: int, alpha_beta_gy: float, transition_gy: float) -> float:
    """BED in Gy by the linear-quadratic-linear model: above the transition a fraction adds along the tangent.

    n (d_T (1 + d_T / (α/β)) + γ/α (d - d_T)) with γ/α = 1 + 2 d_T / (α/β) where d > d_T; else as `bed_gy`.

    Args:
        dose_gy: in all fractions.
        fractions: how many.
        alpha_beta_gy: of the tissue.
        transition_gy: d_T, the dose per fraction from which the line runs straight; above 0.

    Raises:
        FaultError: a number that is no dose, no number of fractions, no α/β or no transition.
    """
    _check(dose_gy, fractions, alpha_beta_gy)
    if not 0.0 < transition_gy <= MAX_DOSE_GY:
        raise FaultError(f"{transition_gy} Gy is no transition dose (above 0, at most {MAX_DOSE_GY:g})")
    above_gy = dose_gy / fractions - transition_gy
    if above_gy <= 0.0:
        return bed_gy(dose_gy=dose_gy, fractions=fractions, alpha_beta_gy=alpha_beta_gy)
    slope = 1.0 + 2.0 * transition_gy / alpha_beta_gy
    return fractions * (transition_gy * (1.0 + transition_gy / alpha_beta_gy) + slope * above_gy)


def voxel_eqd2_gy(dose_gy: NDArray[np.floating], *, fractions: int, alpha_beta_gy: float) -> NDArray[np.float64]:
    """EQD2 of every voxel of a course's total dose, in Gy, same shape; each voxel has a dose per fraction of its own.

    Raises:
        FaultError: a dose that is negative, not finite or above `MAX_DOSE_GY`; no number of fractions or no α/β.
    """
    dose = np.asarray(dose_gy, dtype=np.float64)
    if dose.size and not (np.isfinite(dose).all() and dose.min() >= 0.0 and dose.max() <= MAX_DOSE_GY):
        raise FaultError(f"a dose outside 0 to {MAX_DOSE_GY:g} Gy")
    _check(1.0, fractions, alpha_beta_gy)
    return np.asarray(dose * (alpha_beta_gy + dose / fractions) / (alpha_beta_gy + 2.0))


def cumulative_eqd2_gy(eqd2s_gy: Sequence[float], recovered_parts: Sequence[float] = ()) -> float:
    """Sum of the EQD2 of courses at one α/β, in Gy; nothing is discounted unless parts are given.

    Args:
        eqd2s_gy: of each course, 0 or more.
        recovered_parts: what part of each is discounted, 0 to 1; empty for none.

    Raises:
        FaultError: a negative dose, a part outside 0 to 1, or another number of parts than of doses.
    """
    parts = recovered_parts or (0.0,) * len(eqd2s_gy)
    if len(parts) != len(eqd2s_gy):
        raise FaultError(f"{len(parts)} recovered parts for {len(eqd2s_gy)} courses")
    if not all(0.0 <= gy < math.inf for gy in eqd2s_gy) or not all(0.0 <= part <= 1.0 for part in parts):
        raise FaultError("an EQD2 below 0, or a recovered part outside 0 to 1")
    return math.fsum(gy * (1.0 - part) for gy, part in zip(eqd2s_gy, parts, strict=True))


def _check(dose_gy: float, fractions: int, alpha_beta_gy: float) -> None:
    if not 0.0 < dose_gy <= MAX_DOSE_GY:
        raise FaultError(f"{dose_gy} Gy is no total dose (above 0, at most {MAX_DOSE_GY:g})")
    if isinstance(fractions, bool) or not isinstance(fractions, int) or not 1 <= fractions <= MAX_FRACTIONS:
        raise FaultError(f"{fractions} is no number of fractions (1 to {MAX_FRACTIONS})")
    if not ALPHA_BETA_GY[0] <= alpha_beta_gy <= ALPHA_BETA_GY[1]:
        raise FaultError(f"{alpha_beta_gy} Gy is no α/β ({ALPHA_BETA_GY[0]:g} to {ALPHA_BETA_GY[1]:g} Gy)")
