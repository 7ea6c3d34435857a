"""What dose, in how many fractions: a proposal with its rule and source, or an abstention with its reasons.

Nothing here knows a clinical number; the protocol does. The first regimen of the site whose conditions hold, and that
the distance screen lets pass, is proposed; where none passes without planning, the first that is not infeasible is, and
says so. The others stand beside it with what stopped them. There is no default: where the protocol does not cover the
target, there is no dose. A proposal is a draft for an oncologist and a physicist, never a prescription.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psdt_planner.findings import Finding, Level, Who
from psdt_planner.fractionation.conditions import unmet
from psdt_planner.fractionation.types import Abstention, Alternative, Ground, Proposal, Schedule, TargetFacts
from psdt_planner.protocol import Cited, Limit, Protocol, Regimen, SiteRule
from psdt_planner.radiobiology import bed_gy, eqd2_gy, lql_bed_gy
from psdt_planner.screen import ADVISORY, Screened, Verdict, screened, worst_verdict

EARLIER_NOT_EVALUATED = "Earlier radiotherapy was not evaluated."
"""Said with every proposal that nobody held against earlier radiotherapy: what nobody looked at has not passed."""

NO_ORGANS = "The dose to organs at risk was not evaluated: none that the protocol knows is contoured."
"""Said where the screen had nothing to look at."""

PASSES: Final = (Verdict.LIKELY_OK, Verdict.NOT_EVALUATED)
"""What lets a regimen be proposed before one that needs planning; an organ that was not evaluated is told apart."""

DOUBTS: Final[Mapping[str, Callable[[Cited | Limit], bool]]] = {
    "Low certainty": lambda row: row.certainty == "L",
    "Recalled, to be verified at the source": lambda row: row.basis == "recalled",
    "From a transcription of the source": lambda row: row.basis == "transcribed",
    "Project-derived": lambda row: row.basis == "project-derived",
}
"""How a reader is told of grounds that are unsure, the least sure first."""


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
    tried = [_tried(facts, row, protocol, targets) for row in site.regimens]
    chosen = _chosen(tried)
    if chosen is None:
        each = "; ".join(f"{one.schedule}: {one.stopped_by}" for one in tried)
        reasons.append(_reason("dose-no-regimen", f"No regimen of {_small(site.title)} holds: {each}."))
    if reasons or chosen is None:
        return Abstention(tuple(reasons))
    return _proposal(_Case(facts, protocol, site, targets, tuple(tried)), chosen)


def _case_reasons(facts: TargetFacts, protocol: Protocol, targets: int) -> list[Finding]:
    """What forbids a dose whatever the site."""
    reasons = [_reason("dose-lesion-held", f"The lesion is held: {why}") for why in facts.held_for]
    if targets > protocol.targets.max:
        message = f"{targets} targets are more than the {protocol.targets.max} of the protocol."
        reasons.append(_reason("dose-too-many-targets", message, targets, protocol.targets.max, "targets"))
    return reasons


def _no_rule(site: str, protocol: Protocol) -> Finding:
    known = ", ".join(protocol.sites)
    finer = [key for key in protocol.sites if key.startswith(f"{site}-")]
    if finer:
        message = f"The site is {site}, and the protocol has rules for {' and '.join(finer)}: the flag must say which."
        return _reason("dose-site-undetermined", message)
    if site == "unknown":
        return _reason("dose-site-unknown", f"The site of the lesion is unknown; the protocol has rules for {known}.")
    return _reason("dose-site-without-rule", f"Protocol {protocol.name} has no rule for {site}, only for {known}.")


def _site_reasons(facts: TargetFacts, site: SiteRule) -> list[Finding]:
    """What forbids a dose at this site, whatever the regimen."""
    reasons = []
    if facts.uncertainty_mm > site.max_uncertainty.mm:
        limit = site.max_uncertainty.mm
        message = (
            f"The place is uncertain by {facts.uncertainty_mm:.2f} mm; {_small(site.title)}: at most {limit:g} mm."
        )
        reasons.append(_reason("dose-uncertainty-over-limit", message, facts.uncertainty_mm, limit, "mm"))
    if facts.ptv_volume_ml > site.max_volume.ptv_ml:
        limit = site.max_volume.ptv_ml
        message = f"The PTV has {facts.ptv_volume_ml:.1f} ml; {_small(site.title)}: at most {limit:g} ml."
        reasons.append(_reason("dose-volume-over-limit", message, facts.ptv_volume_ml, limit, "ml"))
    return reasons


def _reason(code: str, message: str, value: float | None = None, limit: float | None = None, unit: str = "") -> Finding:
    return Finding(code, Level.WARN, message, Who.PERSON, value, limit, unit)


def _schedule(row: Regimen) -> Schedule:
    return Schedule(row.dose_gy, row.fractions)


def _small(title: str) -> str:
    """A title within a sentence."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


# Regimen by regimen ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tried:
    """A regimen held against its conditions, and, where these hold, against the organs."""

    row: Regimen
    obstacle: str
    screen: tuple[Screened, ...]

    @property
    def schedule(self) -> Schedule:
        return _schedule(self.row)

    @property
    def verdict(self) -> Verdict:
        return worst_verdict(self.screen)

    @property
    def stopped_by(self) -> str:
        """What speaks against it: its condition, or the organs with the worst verdict; empty where nothing does."""
        if self.obstacle or self.verdict in PASSES:
            return self.obstacle
        organs = [f"{one.at.name} {one.why}" for one in self.screen if one.verdict is self.verdict]
        return f"{self.verdict.value}: {'; '.join(organs)}"


def _tried(facts: TargetFacts, row: Regimen, protocol: Protocol, targets: int) -> _Tried:
    obstacle = row.listed_only or (unmet(facts, row.when, targets) if row.when else "")
    if obstacle:
        return _Tried(row, obstacle, ())
    schedule = {"dose_gy": row.dose_gy, "ptv_ml": facts.ptv_volume_ml}
    return _Tried(row, "", screened(facts.organs, protocol, fractions=row.fractions, **schedule))


def _chosen(tried: Sequence[_Tried]) -> _Tried | None:
    """The first regimen that passes; else the first that planning may make pass; else none."""
    open_ = [one for one in tried if not one.obstacle]
    passing = [one for one in open_ if one.verdict in PASSES]
    planning = [one for one in open_ if one.verdict is Verdict.NEEDS_PLANNING]
    return next(iter([*passing, *planning]), None)


# The proposal ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """A target with the rule of its site, and every regimen of the rule tried on it."""

    facts: TargetFacts
    protocol: Protocol
    site: SiteRule
    targets: int
    tried: tuple[_Tried, ...]


def _proposal(case: _Case, chosen: _Tried) -> Proposal:
    protocol, schedule = case.protocol, chosen.schedule
    deciding = _deciding_rows(protocol, case.site, chosen)
    return Proposal(
        schedule=schedule,
        bed_gy=_by_alpha_beta(bed_gy, schedule, protocol),
        eqd2_gy=_by_alpha_beta(eqd2_gy, schedule, protocol),
        lql_bed_gy=_lql(schedule, protocol),
        rule=f"{protocol.name}/{case.facts.site}/{schedule}",
        grounds=tuple(Ground(what, row.citation, row.basis, row.certainty) for what, row in deciding.items()),
        decided_by=_decided_by(case, chosen),
        cautions=_cautions(case, deciding, chosen),
        alternatives=tuple(_alternative(one, chosen) for one in case.tried if one is not chosen),
        screen=chosen.screen,
    )


def _alternative(one: _Tried, chosen: _Tried) -> Alternative:
    later = f"after {chosen.schedule} in the order of preference"
    return Alternative(one.schedule, one.stopped_by or later, one.row.citation, one.row.certainty, one.screen)


def _deciding_rows(protocol: Protocol, site: SiteRule, chosen: _Tried) -> dict[str, Cited | Limit]:
    """Every row that a proposal rests on, by what it decides."""
    row, falloff = chosen.row, protocol.falloff
    limits = {f"{one.kind} limit of {one.organ}": one for organ in chosen.screen for one in organ.limits}
    fall = (
        {"worst fall-off": falloff.worst, "best fall-off": falloff.best, "contact": falloff.contact} if falloff else {}
    )
    return {
        "regimen": row,
        **({"condition of the regimen": row.when} if row.when else {}),
        "order of preference": site.order,
        "limit of uncertainty": site.max_uncertainty,
        "limit of volume": site.max_volume,
        "CTV margin": site.gtv_to_ctv,
        **({"CTV within the bone": site.ctv_in_bone} if site.ctv_in_bone else {}),
        **({"CTV by sectors": site.sectors} if site.sectors else {}),
        "PTV margin": site.ctv_to_ptv,
        **({"uncertainty in the PTV margin": protocol.registration_margin} if protocol.registration_margin else {}),
        **({"distance to the skin": protocol.skin} if protocol.skin else {}),
        "number of targets": protocol.targets,
        "ablative floor": protocol.ablative_floor,
        **(fall if limits else {}),
        **limits,
    }


def _by_alpha_beta(formula: Callable[..., float], schedule: Schedule, protocol: Protocol) -> dict[str, float]:
    dose_gy, fractions = schedule.dose_gy, schedule.fractions
    return {row.key: formula(dose_gy=dose_gy, fractions=fractions, alpha_beta_gy=row.gy) for row in protocol.alpha_beta}


def _lql(schedule: Schedule, protocol: Protocol) -> dict[str, float]:
    """BED by LQ-L where a fraction is large enough for the protocol to ask for it."""
    rule = protocol.lql
    if rule is None or schedule.dose_per_fraction_gy < rule.from_gy:
        return {}
    return {
        row.key: lql_bed_gy(
            dose_gy=schedule.dose_gy,
            fractions=schedule.fractions,
            alpha_beta_gy=row.gy,
            transition_gy=rule.transition_alpha_betas * row.gy,
        )
        for row in protocol.alpha_beta
    }


def _decided_by(case: _Case, chosen: _Tried) -> tuple[str, ...]:
    facts, site = case.facts, case.site
    place = case.tried.index(chosen)
    passed_over = [f"{one.schedule} is preferred, but: {one.stopped_by}" for one in case.tried[:place]]
    return (
        f"site: {site.title}" + (f", {facts.where}" if facts.where else ""),
        f"targets: {case.targets}, at most {case.protocol.targets.max}",
        f"uncertainty of place: {facts.uncertainty_mm:.1f} mm, at most {site.max_uncertainty.mm:g} mm",
        f"PTV: {facts.ptv_volume_ml:.1f} ml, at most {site.max_volume.ptv_ml:g} ml",
        *passed_over,
        *_of_organs(chosen.screen),
        f"preference {place + 1} of {len(site.regimens)}",
    )


def _of_organs(screen: Sequence[Screened]) -> Iterator[str]:
    """What the screen said, in a line."""
    said = {verdict: [one.at.name for one in screen if one.verdict is verdict] for verdict in Verdict}
    told = [f"{verdict.value} {', '.join(names)}" for verdict, names in said.items() if names]
    if told:
        yield f"organs by distance: {'; '.join(told)}"


def _cautions(case: _Case, deciding: Mapping[str, Cited | Limit], chosen: _Tried) -> tuple[str, ...]:
    """What must stand beside the dose wherever it is shown."""
    protocol, targets = case.protocol, case.targets
    doubts = {doubt: [what for what, row in deciding.items() if unsure(row)] for doubt, unsure in DOUBTS.items()}
    low, *others = [f"{doubt}: {', '.join(what)}." if what else "" for doubt, what in doubts.items()]
    said = [*_about_organs(chosen.screen), low, EARLIER_NOT_EVALUATED]
    if protocol.status == "demo":
        said.append(f"Protocol {protocol.name} is a demonstration: nobody has signed for it.")
    if targets > protocol.targets.warn_above:
        said.append(f"{targets} targets: more than {protocol.targets.warn_above}.")
    notes = (row.note for row in deciding.values() if isinstance(row, Cited))
    return tuple(filter(None, [*said, *others, *notes]))


def _about_organs(screen: Sequence[Screened]) -> Iterator[str]:
    """What the screen found, the worst first, and what it did not see."""
    for one in screen:
        if one.verdict is Verdict.NEEDS_PLANNING:
            yield f"Needs planning: {one.at.name} {one.why}."
    by_why: dict[str, list[str]] = {}
    for one in screen:
        if one.verdict is Verdict.NOT_EVALUATED:
            by_why.setdefault(one.why, []).append(one.at.name)
    for why, names in by_why.items():
        yield f"Not evaluated, which is not passed: {', '.join(names)} ({why})."
    yield ADVISORY if any(one.limits for one in screen) else NO_ORGANS
