"""What is asked, and what is answered: facts of a target, and a proposal or an abstention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from psdt_planner.errors import FaultError
from psdt_planner.findings import Finding
from psdt_planner.protocol import Basis, Certainty
from psdt_planner.screen import OrganAt, Screened, Verdict
from psdt_planner.tg263 import dose_per_fraction


@dataclass(frozen=True)
class Schedule:
    """A total dose in equal fractions."""

    dose_gy: float
    fractions: int

    @property
    def dose_per_fraction_gy(self) -> float:
        """Dose of one fraction."""
        return self.dose_gy / self.fractions

    @property
    def tg263_suffix(self) -> str:
        """End of a TG-263 target name: dose PER FRACTION in cGy, ``x``, fractions.

        30 Gy in 3 is ``_1000x3``; ``_3000x3`` would read as 90 Gy (AAPM TG-263, section 8.2).

        Raises:
            FaultError: the dose per fraction is no whole number of cGy; a protocol that was checked has none such.
        """
        return f"_{dose_per_fraction(total_gy=self.dose_gy, fractions=self.fractions)}"

    def __str__(self) -> str:
        return f"{self.dose_gy:g} Gy in {self.fractions}"


@dataclass(frozen=True)
class TargetFacts:
    """What is known of a target when its dose is asked for.

    Attributes:
        site: site key, or ``unknown``.
        gtv_volume_ml, ptv_volume_ml: of the regions that would go out.
        uncertainty_mm: bound on how far the target may lie from its true place.
        held_for: why a person must look at the lesion first; empty where nothing holds it.
        diameter_mm: largest extent of the GTV; None where it was not measured.
        months_since: interval since earlier radiotherapy to the place; None where nobody knows of any.
        organs: beside the PTV, those that were contoured and those that the site asks for and nobody saw.
        where: side and vertebra as far as they are known, for a reader; empty where neither is.

    Raises:
        FaultError: a volume or uncertainty that is no positive number.
    """

    site: str
    gtv_volume_ml: float
    ptv_volume_ml: float
    uncertainty_mm: float
    held_for: tuple[str, ...] = ()
    diameter_mm: float | None = None
    months_since: float | None = None
    organs: tuple[OrganAt, ...] = ()
    where: str = ""

    def __post_init__(self) -> None:
        for name in ("gtv_volume_ml", "ptv_volume_ml", "uncertainty_mm", "diameter_mm", "months_since"):
            number = getattr(self, name)
            if number is not None and not (math.isfinite(number) and number >= 0.0):
                raise FaultError(f"{name} of {number} is no figure to base a dose on")


@dataclass(frozen=True)
class Alternative:
    """A regimen of the site that was not proposed, and why.

    Attributes:
        schedule: dose and fractions.
        why_not: what stopped it, or what is preferred to it.
        source, certainty: of its row.
        screen: what the distance screen says of it; empty where it was not asked.
    """

    schedule: Schedule
    why_not: str
    source: str
    certainty: Certainty
    screen: tuple[Screened, ...] = ()


@dataclass(frozen=True)
class Ground:
    """A row of the protocol that a proposal rests on.

    Attributes:
        decides: what the row decides, such as ``regimen`` or ``PTV margin``.
        citation: source and place.
        basis, certainty: as the row says of itself.
    """

    decides: str
    citation: str
    basis: Basis
    certainty: Certainty


@dataclass(frozen=True)
class Proposal:
    """A dose for one target, with all that it rests on.

    Attributes:
        schedule: dose and fractions.
        bed_gy, eqd2_gy: by α/β in Gy as text (``"1.5"``, ``"3"``, ``"10"``).
        lql_bed_gy: BED by the linear-quadratic-linear model, by α/β; empty below the dose per fraction from which the
            protocol asks for it.
        rule: protocol, site and regimen, such as ``psdt-crpc/spine/30 Gy in 3``.
        grounds: the rows that decided, the regimen first.
        decided_by: the facts and limits that led here, in order.
        cautions: what a reader must see beside the dose: what was not evaluated, which grounds are unsure, and what the
            rows themselves ask a reader to know.
        alternatives: the other regimens of the site, in order of preference.
        screen: what the distance screen says of each organ.
    """

    schedule: Schedule
    bed_gy: Mapping[str, float]
    eqd2_gy: Mapping[str, float]
    lql_bed_gy: Mapping[str, float]
    rule: str
    grounds: tuple[Ground, ...]
    decided_by: tuple[str, ...]
    cautions: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    screen: tuple[Screened, ...] = ()

    @property
    def needs_planning(self) -> tuple[Screened, ...]:
        """The organs that a planner must look at before this dose is more than an idea."""
        return tuple(one for one in self.screen if one.verdict is Verdict.NEEDS_PLANNING)

    @property
    def summary(self) -> str:
        """What stands in the name's own field of a planning system: dose, effect, rule, organs, source, certainty."""
        bed = ", ".join(f"{gy:.0f} at {key}" for key, gy in self.bed_gy.items())
        eqd2 = ", ".join(f"{gy:.0f} at {key}" for key, gy in self.eqd2_gy.items())
        organs = ", ".join(one.at.name for one in self.needs_planning)
        screen = f"needs planning: {organs}. " if organs else ""
        return (
            f"{self.schedule}, {self.rule}. {screen}BED in Gy by α/β: {bed}; EQD2: {eqd2}. "
            f"{self.sources[0]}; certainty {self.certainty}."
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """What the grounds cite, each once, the regimen's source first."""
        return tuple(dict.fromkeys(ground.citation for ground in self.grounds))

    @property
    def certainty(self) -> Certainty:
        """Of the least certain ground."""
        return max((ground.certainty for ground in self.grounds), key="HML".index)

    @property
    def tg263_suffix(self) -> str:
        """End of the PTV's TG-263 name: ``_1000x3`` for 30 Gy in 3."""
        return self.schedule.tg263_suffix


@dataclass(frozen=True)
class Abstention:
    """No dose, and why: findings whose codes begin with ``dose-``, at least one."""

    reasons: tuple[Finding, ...]
