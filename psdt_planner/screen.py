"""What an organ is likely to get from a regimen, by its distance from the PTV: advisory, and psdt's own.

No publication gives the dose at a distance from a stereotactic target in one direction. Two things are known: the mean
fall (gradient measure), and the largest dose anywhere 2 cm away that a compliant plan may have. The screen carries the
second inwards as an exponential for the worst case, and takes the steepest fall that planning reaches on one side for
the best, which is never above the worst:

    worst(d) = prescription x exp(-k d), k = -ln(D2cm) / 20 mm
    best(d)  = prescription x max(floor, 1 - fall x d)
    mean(d)  = prescription x 2^(-d / GM)      shown, and decides nothing

An organ whose worst case keeps every limit is likely ok; one whose best case breaks a binding limit makes the regimen
infeasible at this dose; everything between, whatever overlaps the PTV or comes too near it, needs planning. The numbers
stand in the protocol. Nothing here is a computed dose: density, beams and the planner's skill are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from psdt_planner.errors import FaultError
from psdt_planner.protocol import BINDING, FallOff, Limit, Protocol, near_maximum_limits, other_limits
from psdt_planner.radiobiology import eqd2_gy

ADVISORY = (
    "Organs were screened by distance alone, by a rule of psdt's own that nobody has published: advisory, and no "
    "computed dose."
)
"""Said wherever a verdict of the screen is shown."""


class Verdict(StrEnum):
    """What the screen says of one organ under one regimen, from the best to the worst."""

    LIKELY_OK = "likely ok"
    NOT_EVALUATED = "not evaluated"
    NEEDS_PLANNING = "needs planning"
    INFEASIBLE = "infeasible at this dose"


@dataclass(frozen=True)
class OrganAt:
    """An organ beside a PTV.

    Attributes:
        organ: key of the protocol's organs.
        name: as contoured; the key where it is not.
        distance_mm: from the PTV, 0 where they touch or overlap; None where the organ was not seen.
        overlap_ml: what both hold.
        unseen: why the organ was not seen; empty where it was.

    Raises:
        FaultError: neither a distance nor a reason for none, or a negative or infinite figure.
    """

    organ: str
    name: str
    distance_mm: float | None
    overlap_ml: float = 0.0
    unseen: str = ""

    def __post_init__(self) -> None:
        if (self.distance_mm is None) != bool(self.unseen):
            raise FaultError(f"{self.name} has neither a distance nor a reason for none")
        for figure in (self.distance_mm or 0.0, self.overlap_ml):
            if not 0.0 <= figure < math.inf:
                raise FaultError(f"{figure} is no distance or overlap of {self.name}")


@dataclass(frozen=True)
class Screened:
    """What the screen says of one organ under one regimen.

    Attributes:
        at: where the organ lies.
        verdict: of all its limits together.
        why: in words, with the limit that decided.
        worst_gy, best_gy, mean_gy: at the organ's nearest point; None where nothing was computed.
        limits: that its nearest point was held against.
        for_the_plan: limits of mean dose and of volumes, which no distance tells.
    """

    at: OrganAt
    verdict: Verdict
    why: str
    worst_gy: float | None = None
    best_gy: float | None = None
    mean_gy: float | None = None
    limits: tuple[Limit, ...] = ()
    for_the_plan: tuple[Limit, ...] = ()


def worst_percent(distance_mm: float, ptv_ml: float, falloff: FallOff) -> float | None:
    """Dose in the worst direction in per cent of the prescription; None for a PTV outside the table."""
    volumes = [row.ptv_ml for row in falloff.worst.rows]
    if not volumes[0] <= ptv_ml <= volumes[-1]:
        return None
    far = float(np.interp(ptv_ml, volumes, [row.none_percent for row in falloff.worst.rows]))
    return float(100.0 * (far / 100.0) ** (distance_mm / falloff.worst.at_mm))


def best_percent(distance_mm: float, falloff: FallOff) -> float:
    """Dose in the direction that planning spares most, in per cent of the prescription."""
    return max(falloff.best.floor_percent, 100.0 - falloff.best.percent_per_mm * distance_mm)


def mean_percent(distance_mm: float, ptv_ml: float, falloff: FallOff) -> float:
    """Dose in the mean direction in per cent of the prescription; above the volume of its source it is extrapolated."""
    half_mm = 10.0 * falloff.mean.coefficient_cm * ptv_ml**falloff.mean.exponent
    return float(100.0 * 2.0 ** (-distance_mm / half_mm))


def screened(
    organs: Sequence[OrganAt], protocol: Protocol, *, dose_gy: float, fractions: int, ptv_ml: float
) -> tuple[Screened, ...]:
    """A verdict on every organ under one regimen, in the order given.

    Args:
        organs: beside the PTV, seen and unseen.
        protocol: fall-off and limits; without a fall-off nothing is evaluated.
        dose_gy, fractions: of the regimen.
        ptv_ml: volume of the PTV.
    """
    return tuple(_screened(at, protocol, dose_gy, fractions, ptv_ml) for at in organs)


def _screened(at: OrganAt, protocol: Protocol, dose_gy: float, fractions: int, ptv_ml: float) -> Screened:
    falloff = protocol.falloff
    if at.distance_mm is None:
        return Screened(at, Verdict.NOT_EVALUATED, at.unseen)
    if falloff is None:
        return Screened(at, Verdict.NOT_EVALUATED, "the protocol has no fall-off to screen by")
    limits = near_maximum_limits(protocol, at.organ, fractions)
    others = other_limits(protocol, at.organ, fractions)
    if not limits:
        why = "no limit of a maximum; mean dose and volumes are for the plan to show"
        return Screened(at, Verdict.NOT_EVALUATED, why, for_the_plan=others)
    near = _contact(at, limits, falloff)
    worst_part = worst_percent(at.distance_mm, ptv_ml, falloff)
    if worst_part is None:
        ends = [row.ptv_ml for row in falloff.worst.rows]
        outside = f"a PTV of {ptv_ml:.1f} ml, and the fall-off is known from {ends[0]:g} to {ends[-1]:g} ml"
        return Screened(at, Verdict.NEEDS_PLANNING, near or outside, limits=limits, for_the_plan=others)
    worst = worst_part * dose_gy / 100.0
    best = min(best_percent(at.distance_mm, falloff) * dose_gy / 100.0, worst)
    mean = mean_percent(at.distance_mm, ptv_ml, falloff) * dose_gy / 100.0
    verdict, why = (Verdict.NEEDS_PLANNING, near) if near else _by_dose(at.distance_mm, limits, worst, best)
    return Screened(at, verdict, why, worst, best, mean, limits, others)


def _contact(at: OrganAt, limits: Sequence[Limit], falloff: FallOff) -> str:
    """Why a distance says nothing of an organ that is there; empty where it lies far enough away."""
    if at.overlap_ml > 0.0:
        return f"overlaps the PTV by {at.overlap_ml:.2f} ml: coverage or limit must give way; limit {_tightest(limits)}"
    if at.distance_mm == 0.0:
        return f"touches the PTV: coverage or limit must give way; limit {_tightest(limits)}"
    if at.distance_mm is not None and at.distance_mm < falloff.contact.mm:
        return f"{at.distance_mm:.1f} mm away, less than {falloff.contact.mm:g} mm; limit {_tightest(limits)}"
    return ""


def _by_dose(distance_mm: float, limits: Sequence[Limit], worst_gy: float, best_gy: float) -> tuple[Verdict, str]:
    broken = [limit for limit in limits if limit.kind in BINDING and best_gy > limit.value]
    if broken:
        words = f"at best {best_gy:.1f} Gy at {distance_mm:.1f} mm; limit {_tightest(broken)}"
        return Verdict.INFEASIBLE, words
    exceeded = [limit for limit in limits if worst_gy > limit.value]
    words = f"up to {worst_gy:.1f} Gy at {distance_mm:.1f} mm; limit {_tightest(exceeded or limits)}"
    return (Verdict.NEEDS_PLANNING if exceeded else Verdict.LIKELY_OK), words


def _tightest(limits: Sequence[Limit]) -> Limit:
    return min(limits, key=lambda limit: limit.value)


def worst_verdict(screen: Sequence[Screened]) -> Verdict:
    """The verdict on a regimen: that on its worst organ; likely ok where nothing speaks against it."""
    order = list(Verdict)
    return max((one.verdict for one in screen), key=order.index, default=Verdict.LIKELY_OK)


@dataclass(frozen=True)
class Sum:
    """What an organ may get at worst from several targets together, as EQD2.

    Attributes:
        organ: key of the protocol's organs.
        eqd2_gy: sum of the worst cases.
        limit_gy: EQD2 of the tightest limit.
    """

    organ: str
    eqd2_gy: float
    limit_gy: float

    @property
    def exceeded(self) -> bool:
        """Whether the targets together may break the limit."""
        return self.eqd2_gy > self.limit_gy


def summed(courses: Sequence[tuple[int, Sequence[Screened]]], protocol: Protocol) -> tuple[Sum, ...]:
    """The worst cases of several targets added at each organ that all of them were screened for.

    The worst cases need not lie at one point of the organ: the sum is a bound, not a dose.

    Args:
        courses: number of fractions and screen of each target.
        protocol: α/β of the organs.
    """
    by_organ: dict[str, list[tuple[int, Screened]]] = {}
    for fractions, screen in courses:
        for one in screen:
            if one.worst_gy and one.limits:
                by_organ.setdefault(one.at.organ, []).append((fractions, one))
    return tuple(_sum(organ, found, protocol) for organ, found in by_organ.items() if len(found) > 1)


def _sum(organ: str, found: Sequence[tuple[int, Screened]], protocol: Protocol) -> Sum:
    alpha_beta_gy = protocol.organs[organ].alpha_beta_gy

    def as_eqd2(dose_gy: float, fractions: int) -> float:
        return eqd2_gy(dose_gy=dose_gy, fractions=fractions, alpha_beta_gy=alpha_beta_gy)

    total = math.fsum(as_eqd2(one.worst_gy or 0.0, fractions) for fractions, one in found)
    limits = [as_eqd2(limit.value, fractions) for fractions, one in found for limit in one.limits]
    return Sum(organ, total, min(limits))
