"""What dose, in how many fractions: a proposal with its rule and source, or an abstention with its reasons.

Nothing here knows a clinical number; the protocol does. The first regimen of the site whose conditions hold is
proposed, the others stand beside it with what stopped them. There is no default: where the protocol does not cover
the target, there is no dose. A proposal is a draft for an oncologist and a physicist, never a prescription.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from psdt_planner.errors import FaultError
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.protocol import Basis, Certainty, Cited, Protocol, Regimen, SiteRule
from psdt_planner.radiobiology import bed_gy, eqd2_gy

NOT_EVALUATED = "Organs at risk and earlier radiotherapy were not evaluated."
"""Said with every proposal: what nobody looked at has not passed."""

DOUBTS: Final[Mapping[str, Callable[[Cited], bool]]] = {
    "Low certainty": lambda row: row.certainty == "L",
    "Recalled, to be verified at the source": lambda row: row.basis == "recalled",
    "From a transcription of the source": lambda row: row.basis == "transcribed",
    "Project-derived": lambda row: row.basis == "project-derived",
}
"""How a reader is told of grounds that are unsure."""


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
        per_fraction_cgy = round(self.dose_per_fraction_gy * 100.0)
        if not math.isclose(per_fraction_cgy, self.dose_per_fraction_gy * 100.0, abs_tol=1e-6):
            raise FaultError(f"{self} has no whole number of cGy a fraction, which its TG-263 name needs")
        return f"_{per_fraction_cgy}x{self.fractions}"

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

    Raises:
        FaultError: a volume or uncertainty that is no positive number.
    """

    site: str
    gtv_volume_ml: float
    ptv_volume_ml: float
    uncertainty_mm: float
    held_for: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("gtv_volume_ml", "ptv_volume_ml", "uncertainty_mm"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number >= 0.0):
                raise FaultError(f"{name} of {number} is no figure to base a dose on")


@dataclass(frozen=True)
class Alternative:
    """A regimen of the site that was not proposed, and why."""

    schedule: Schedule
    why_not: str
    source: str
    certainty: Certainty


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
        rule: protocol, site and regimen, such as ``demo/spine/30 Gy in 3``.
        grounds: the rows that decided, the regimen first.
        decided_by: the facts and limits that led here, in order.
        cautions: what a reader must see beside the dose: what was not evaluated, which grounds are unsure, and what the
            rows themselves ask a reader to know.
        alternatives: the other regimens of the site, in order of preference.
    """

    schedule: Schedule
    bed_gy: Mapping[str, float]
    eqd2_gy: Mapping[str, float]
    rule: str
    grounds: tuple[Ground, ...]
    decided_by: tuple[str, ...]
    cautions: tuple[str, ...]
    alternatives: tuple[Alternative, ...]

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


def propose(facts: TargetFacts, protocol: Protocol, *, targets: int) -> Proposal | Abstention:
    """The protocol's dose for a target, or the reasons why it has none.

    Args:
        facts: of this target.
        protocol: the clinical tables.
        targets: how many progressive sites are to be treated together, this one among them.
    """
    site = protocol.sites.get(facts.site)
    reasons = _case_reasons(facts, protocol, targets)
    if site is None:
        return Abstention((*reasons, _no_rule(facts.site, protocol)))
    reasons += _site_reasons(facts, site)
    obstacles = [_obstacle(facts, row) for row in site.regimens]
    if all(obstacles):
        each = "; ".join(f"{_schedule(row)}: {why}" for row, why in zip(site.regimens, obstacles, strict=True))
        reasons.append(_reason("dose-no-regimen", f"No regimen of {site.title.lower()} holds: {each}."))
    if reasons:
        return Abstention(tuple(reasons))
    return _proposal(facts, protocol, site, obstacles, targets)


def _case_reasons(facts: TargetFacts, protocol: Protocol, targets: int) -> list[Finding]:
    """What forbids a dose whatever the site."""
    reasons = [_reason("dose-lesion-held", f"The lesion is held: {why}") for why in facts.held_for]
    if targets > protocol.targets.max:
        message = f"{targets} targets are more than the {protocol.targets.max} of the protocol."
        reasons.append(_reason("dose-too-many-targets", message, targets, protocol.targets.max, "targets"))
    return reasons


def _no_rule(site: str, protocol: Protocol) -> Finding:
    known = ", ".join(protocol.sites)
    if site == "unknown":
        return _reason("dose-site-unknown", f"The site of the lesion is unknown; the protocol has rules for {known}.")
    return _reason("dose-site-without-rule", f"Protocol {protocol.name} has no rule for {site}, only for {known}.")


def _site_reasons(facts: TargetFacts, site: SiteRule) -> list[Finding]:
    """What forbids a dose at this site, whatever the regimen."""
    reasons = []
    if facts.uncertainty_mm > site.max_uncertainty.mm:
        limit = site.max_uncertainty.mm
        message = (
            f"The place is uncertain by {facts.uncertainty_mm:.2f} mm; {site.title.lower()}: at most {limit:g} mm."
        )
        reasons.append(_reason("dose-uncertainty-over-limit", message, facts.uncertainty_mm, limit, "mm"))
    if facts.ptv_volume_ml > site.max_volume.ptv_ml:
        limit = site.max_volume.ptv_ml
        message = f"The PTV has {facts.ptv_volume_ml:.1f} ml; {site.title.lower()}: at most {limit:g} ml."
        reasons.append(_reason("dose-volume-over-limit", message, facts.ptv_volume_ml, limit, "ml"))
    return reasons


def _reason(code: str, message: str, value: float | None = None, limit: float | None = None, unit: str = "") -> Finding:
    return Finding(code, Level.WARN, message, Who.PERSON, value, limit, unit)


def _schedule(row: Regimen) -> Schedule:
    return Schedule(row.dose_gy, row.fractions)


def _obstacle(facts: TargetFacts, row: Regimen) -> str:
    """Why a regimen may not be proposed for this target; empty where it may."""
    if row.listed_only:
        return row.listed_only
    if row.when and row.when.max_uncertainty_mm is not None and facts.uncertainty_mm > row.when.max_uncertainty_mm:
        return (
            f"uncertainty {facts.uncertainty_mm:.1f} mm, at most {row.when.max_uncertainty_mm:g} mm ({row.when.source})"
        )
    if row.when and row.when.max_ptv_ml is not None and facts.ptv_volume_ml > row.when.max_ptv_ml:
        return f"PTV {facts.ptv_volume_ml:.1f} ml, at most {row.when.max_ptv_ml:g} ml ({row.when.source})"
    return ""


def _proposal(facts: TargetFacts, protocol: Protocol, site: SiteRule, obstacles: list[str], targets: int) -> Proposal:
    row = site.regimens[obstacles.index("")]
    schedule = _schedule(row)
    deciding = _deciding_rows(protocol, site, row)
    later = f"after {schedule} in the order of preference"
    others = [(other, why or later) for other, why in zip(site.regimens, obstacles, strict=True) if other is not row]
    return Proposal(
        schedule=schedule,
        bed_gy=_by_alpha_beta(bed_gy, schedule, protocol),
        eqd2_gy=_by_alpha_beta(eqd2_gy, schedule, protocol),
        rule=f"{protocol.name}/{facts.site}/{schedule}",
        grounds=tuple(Ground(what, row.citation, row.basis, row.certainty) for what, row in deciding.items()),
        decided_by=_decided_by(facts, protocol, site, obstacles, targets),
        cautions=_cautions(protocol, deciding, targets),
        alternatives=tuple(Alternative(_schedule(o), why, o.citation, o.certainty) for o, why in others),
    )


def _deciding_rows(protocol: Protocol, site: SiteRule, row: Regimen) -> dict[str, Cited]:
    """Every row that a proposal rests on, by what it decides."""
    return {
        "regimen": row,
        **({"condition of the regimen": row.when} if row.when else {}),
        "order of preference": site.order,
        "limit of uncertainty": site.max_uncertainty,
        "limit of volume": site.max_volume,
        "CTV margin": site.gtv_to_ctv,
        "PTV margin": site.ctv_to_ptv,
        **({"uncertainty in the PTV margin": protocol.registration_margin} if protocol.registration_margin else {}),
        "number of targets": protocol.targets,
        "ablative floor": protocol.ablative_floor,
    }


def _by_alpha_beta(formula: Callable[..., float], schedule: Schedule, protocol: Protocol) -> dict[str, float]:
    dose_gy, fractions = schedule.dose_gy, schedule.fractions
    return {row.key: formula(dose_gy=dose_gy, fractions=fractions, alpha_beta_gy=row.gy) for row in protocol.alpha_beta}


def _decided_by(
    facts: TargetFacts, protocol: Protocol, site: SiteRule, obstacles: list[str], targets: int
) -> tuple[str, ...]:
    chosen = obstacles.index("")
    passed_over = [
        f"{_schedule(row)} is preferred, but: {why}"
        for row, why in zip(site.regimens[:chosen], obstacles[:chosen], strict=True)
    ]
    return (
        f"site: {site.title}",
        f"targets: {targets}, at most {protocol.targets.max}",
        f"uncertainty of place: {facts.uncertainty_mm:.1f} mm, at most {site.max_uncertainty.mm:g} mm",
        f"PTV: {facts.ptv_volume_ml:.1f} ml, at most {site.max_volume.ptv_ml:g} ml",
        *passed_over,
        f"preference {chosen + 1} of {len(site.regimens)}",
    )


def _cautions(protocol: Protocol, deciding: Mapping[str, Cited], targets: int) -> tuple[str, ...]:
    """What must stand beside the dose wherever it is shown."""
    said = [NOT_EVALUATED]
    if protocol.status == "demo":
        said.append(f"Protocol {protocol.name} is a demonstration: nobody has signed for it.")
    if targets > protocol.targets.warn_above:
        said.append(f"{targets} targets: more than {protocol.targets.warn_above}.")
    for doubt, unsure in DOUBTS.items():
        what = [what for what, row in deciding.items() if unsure(row)]
        if what:
            said.append(f"{doubt}: {', '.join(what)}.")
    return (*said, *(row.note for row in deciding.values() if row.note))
