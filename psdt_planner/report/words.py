"""What the report and the PDF both say, in the same words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psdt_planner.findings import Finding, Level
from psdt_planner.fractionation import EARLIER_NOT_EVALUATED, NO_ORGANS, Abstention, Proposal
from psdt_planner.lesions import MappedLesion
from psdt_planner.planning import LesionStatus, Plan, PlannedLesion
from psdt_planner.screen import ADVISORY

BANNER = (
    "Research software. A proposal, not a prescription, and not a medical device. "
    "A radiation oncologist and a medical physicist must check and approve every target and every dose."
)

MARK = "PROPOSAL - NOT A PRESCRIPTION"

STATUS_WORDS = {
    LesionStatus.MAPPED: "mapped",
    LesionStatus.HELD: "held: a person is needed",
    LesionStatus.EXCLUDED: "excluded by a person",
}

BY_WEIGHT = (Level.HOLD, Level.WARN, Level.INFO)


def heading(lesion: PlannedLesion) -> str:
    """The lesion's id with the reader's words."""
    return f"{lesion.flag.id}: {lesion.flag.label}" if lesion.flag.label else lesion.flag.id


def outcome(lesion: PlannedLesion) -> str:
    """What became of the lesion, in a few words."""
    if lesion.status is not LesionStatus.MAPPED:
        return STATUS_WORDS[lesion.status]
    return dose(lesion.proposal) if isinstance(lesion.proposal, Proposal) else "mapped, no dose proposed"


def dose(proposal: Proposal) -> str:
    """Total, fractions and dose per fraction."""
    schedule = proposal.schedule
    each = f"{schedule.dose_per_fraction_gy:g} Gy"
    return f"{schedule.dose_gy:g} Gy in {counted(schedule.fractions, 'fraction')} of {each}"


FIRST = ("Needs planning", "Sum the doses", "Low certainty", "Not evaluated", "The site (", NO_ORGANS)
"""Beginnings of the cautions that change what a reader does next."""


def looked_at_first(proposal: Proposal) -> tuple[str, ...]:
    """The cautions that change what a reader does next; the others say what the proposal rests on."""
    return tuple(caution for caution in proposal.cautions if caution.startswith(FIRST))


def reasons(lesion: PlannedLesion) -> tuple[str, ...]:
    """Why the lesion is held or excluded, or has no dose; empty where it has one."""
    if lesion.reasons:
        return lesion.reasons
    if isinstance(lesion.proposal, Abstention):
        return tuple(reason.message for reason in lesion.proposal.reasons)
    return ()


def needing_a_person(plan: Plan) -> tuple[PlannedLesion, ...]:
    """The lesions that are held, then those without a dose, then those that a person excluded."""
    held = [lesion for lesion in plan.lesions if lesion.status is LesionStatus.HELD]
    excluded = [lesion for lesion in plan.lesions if lesion.status is LesionStatus.EXCLUDED]
    mapped = [lesion for lesion in plan.lesions if lesion.status is LesionStatus.MAPPED]
    return (*held, *(lesion for lesion in mapped if isinstance(lesion.proposal, Abstention)), *excluded)


def figures(lesion: PlannedLesion) -> Iterator[tuple[str, str]]:
    """The lesion's figures with their names and units."""
    flag = lesion.flag
    yield "Site", sourced(flag.site, flag.site_source)
    yield "Side", sourced(flag.side.value, flag.side_source)
    if flag.level:
        yield "Vertebra", flag.level
    yield "Volume of the flag", millilitres(lesion.volume_ml)
    for roi in lesion.rois:
        yield f"Volume of {roi.name}", millilitres(roi.volume_ml)
    if lesion.mapped is not None:
        yield from _place(lesion.mapped)
    yield "ADC, median", adc(lesion.adc_median_mm2_per_s)
    if flag.tracking_uid:
        yield "Tracking UID", flag.tracking_uid
    yield "Flag", f"item {flag.source.item} of {flag.source.sop_instance_uid}"


def sourced(what: str, source: str) -> str:
    """A site or side with what told it: one that only the lesion's place told is to be confirmed."""
    if not source:
        return what
    return f"{what} (from the {source}{': confirm it' if source == 'place' else ''})"


def _place(mapped: MappedLesion) -> Iterator[tuple[str, str]]:
    yield "Uncertainty of place", f"{mapped.uncertainty_mm:.1f} mm"
    if mapped.disagreement_mm is not None:
        yield "Disagreement of the fits", f"{mapped.disagreement_mm:.1f} mm"
    x, y, z = (float(mm) for mm in mapped.centroid_ct_mm)
    yield "Centre on the CT", f"{x:.1f}, {y:.1f}, {z:.1f} mm (left, posterior, superior)"


def millilitres(volume_ml: float) -> str:
    """With one digit after the point, below 10 ml with two."""
    return f"{volume_ml:.2f} ml" if volume_ml < 10.0 else f"{volume_ml:.1f} ml"


def adc(value_mm2_per_s: float | None) -> str:
    """In the unit that radiologists use."""
    return "not measured" if value_mm2_per_s is None else f"{value_mm2_per_s * 1e3:.2f} × 10⁻³ mm²/s"


def by_weight(findings: Iterable[Finding]) -> list[Finding]:
    """What holds first, then what warns, then the rest; else in the order in which they were found."""
    return sorted(findings, key=lambda finding: BY_WEIGHT.index(finding.level))


def limit(finding: Finding) -> str:
    """The figure that decided and the limit that it met, or nothing."""
    if finding.value is None:
        return ""
    against = "" if finding.limit is None else f" (limit {finding.limit:g})"
    return f"{finding.value:.4g}{against} {finding.unit}".strip()


def methods(plan: Plan, version: str) -> str:
    """What was done, as a paragraph for a physicist's file; says nothing that this plan did not do."""
    return " ".join([*_inputs(plan, version), *_mapping(plan), *_drawing(plan), *_doses(plan)])


def _inputs(plan: Plan, version: str) -> Iterator[str]:
    exam = plan.exam
    objects = len({flag.source.sop_instance_uid for flag in exam.flags})
    yield (
        f"psdt {version} read {counted(len(exam.flags), 'flagged lesion')} from {counted(objects, 'object')} "
        f"and {counted(len(exam.mr), 'MR volume')}."
    )
    if exam.planning_ct is None:
        yield "There was no planning CT that could be used, so nothing was mapped."
        return
    slices, rows, columns = exam.planning_ct.grid.shape
    j_mm, i_mm = exam.planning_ct.grid.spacing_ji_mm
    gap = f"{exam.planning_ct.grid.slice_gap_mm:g} mm apart" if slices > 1 else "alone"
    yield (
        f"The planning CT has {counted(slices, 'slice')} {gap} with {rows} × {columns} voxels "
        f"of {j_mm:g} × {i_mm:g} mm."
    )


def _mapping(plan: Plan) -> Iterator[str]:
    if plan.registration is None:
        return
    yield f"MR to CT: {sentence(plan.registration.method)}"
    by_method: dict[str, list[str]] = {}
    for lesion in plan.lesions:
        if lesion.mapped is not None:
            by_method.setdefault(lesion.mapped.method, []).append(lesion.flag.id)
    for method, lesions in by_method.items():
        yield f"Mapping of {', '.join(lesions)}: {sentence(method)}"


def _drawing(plan: Plan) -> Iterator[str]:
    sites = sorted({lesion.flag.site for lesion in plan.lesions if lesion.rois} & set(plan.protocol.sites))
    if not any(lesion.rois for lesion in plan.lesions):
        yield "No contours were drawn."
        return
    margins = [
        f"{site} {plan.protocol.sites[site].gtv_to_ctv} and {plan.protocol.sites[site].ctv_to_ptv}" for site in sites
    ]
    yield "The surface of each flag was carried to the CT and contoured on its slice planes as GTV."
    if margins:
        yield f"CTV and PTV were grown in three dimensions by (GTV to CTV, CTV to PTV): {'; '.join(margins)}."
        if plan.protocol.registration_margin:
            factor = plan.protocol.registration_margin.factor
            yield f"Each PTV margin was widened by {factor:g} of the lesion's bound on its place, added in quadrature."
        yield from _anatomy(plan)


def _anatomy(plan: Plan) -> Iterator[str]:
    """What was made of the margins at bone, vertebra, organs and skin."""
    by_rule: dict[str, list[str]] = {}
    for lesion in plan.lesions:
        if lesion.ctv:
            by_rule.setdefault(lesion.ctv, []).append(lesion.flag.id)
    for rule, lesions in by_rule.items():
        yield f"CTV of {', '.join(lesions)}: {sentence(rule)}"
    cut = [f"{lesion.flag.id} at {one.by} ({one.lost_ml:.2f} ml)" for lesion in plan.lesions for one in lesion.cuts]
    if cut:
        yield f"PTVs were cut: {', '.join(cut)}."


def _doses(plan: Plan) -> Iterator[str]:
    protocol = plan.protocol
    proposals = sum(isinstance(lesion.proposal, Proposal) for lesion in plan.lesions)
    keys = ", ".join(row.key for row in protocol.alpha_beta)
    status = "a demonstration that nobody signed for" if protocol.status == "demo" else f"signed by {protocol.signer}"
    yield (
        f"Doses are from protocol {protocol.name} ({protocol.title}; {status}; SHA-256 {protocol.sha256[:12]}…): "
        f"{counted(proposals, 'proposal')} for {counted(len(plan.lesions), 'lesion')}."
    )
    lql = f", and LQ-L from {protocol.lql.from_gy:g} Gy a fraction on" if protocol.lql else ""
    yield f"BED and EQD2 are linear-quadratic, at α/β of {keys} Gy{lql}."
    made = [lesion.proposal for lesion in plan.lesions if isinstance(lesion.proposal, Proposal)]
    yield from dict.fromkeys(one for proposal in made for one in proposal.cautions if one in (ADVISORY, NO_ORGANS))
    yield from dict.fromkeys(EARLIER_NOT_EVALUATED for proposal in made if EARLIER_NOT_EVALUATED in proposal.cautions)


def counted(number: int, thing: str) -> str:
    """The number with the thing, in the plural where it is one."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def sentence(text: str) -> str:
    """The text with a full stop."""
    return text if text.endswith(".") else f"{text}."
