"""What a schedule means biologically, by the linear-quadratic model.

BED = n d (1 + d / (α/β)) and EQD2 = BED / (1 + 2 / (α/β)) for n fractions of d Gy (Fowler, Br J Radiol 1989;62:679).
The model overstates what a single large fraction does; a comparison from about 10 Gy a fraction on is a comparison of
numbers, not of effects.
"""

from __future__ import annotations

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


def _check(dose_gy: float, fractions: int, alpha_beta_gy: float) -> None:
    if not 0.0 < dose_gy <= MAX_DOSE_GY:
        raise FaultError(f"{dose_gy} Gy is no total dose (above 0, at most {MAX_DOSE_GY:g})")
    if isinstance(fractions, bool) or not isinstance(fractions, int) or not 1 <= fractions <= MAX_FRACTIONS:
        raise FaultError(f"{fractions} is no number of fractions (1 to {MAX_FRACTIONS})")
    if not ALPHA_BETA_GY[0] <= alpha_beta_gy <= ALPHA_BETA_GY[1]:
        raise FaultError(f"{alpha_beta_gy} Gy is no α/β ({ALPHA_BETA_GY[0]:g} to {ALPHA_BETA_GY[1]:g} Gy)")
