"""One PTV of those that overlap or touch, where the protocol asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from psdt_planner.contours import shape_of, trace
from psdt_planner.exam import Exam
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.fractionation import Abstention, Proposal, Schedule, propose
from psdt_planner.planning.beside import organs_beside
from psdt_planner.planning.earlier import reconsidered
from psdt_planner.planning.lesion import facts_of, with_caution
from psdt_planner.planning.relations import drawn_organs, to_organs
from psdt_planner.planning.types import PlannedLesion
from psdt_planner.protocol import Protocol
from psdt_planner.screen import OrganAt
from psdt_planner.shapes import Contour, Roi, RoiKind, rings_volume_ml
from psdt_planner.structures import Relation, united


def merged(
    lesions: Sequence[PlannedLesion], relations: Sequence[Relation], exam: Exam, protocol: Protocol, targets: int
) -> tuple[tuple[PlannedLesion, ...], tuple[Finding, ...]]:
    """The lesions, with one PTV for those whose PTVs meet, and what was merged.

    The first lesion of a group takes the common PTV, the others keep GTV and CTV alone. Lesions to which the protocol
    gives different doses, or none, with or without the common PTV, are kept apart.

    Args:
        lesions: of the plan.
        relations: among their targets.
        exam: the organs beside them, and the CT that the rings lie on.
        protocol: gives the doses.
        targets: how many lesions are to be treated.
    """
    planned = list(lesions)
    findings = []
    if exam.planning_ct is None:
        return tuple(lesions), ()
    ct = exam.planning_ct.grid
    organs = drawn_organs(exam.organs, ct)
    for group in _groups(lesions, relations):
        chosen = [planned[n] for n in group]
        tracing = trace(united([shape_of(_ptv(lesion).contours, ct) for lesion in chosen]), ct)
        common = tracing.contours
        volume_ml = rings_volume_ml(common, ct)
        ids = ", ".join(lesion.flag.id for lesion in chosen)
        ptv = _holding(_ptv(chosen[0]), common, volume_ml, ids)
        beside = to_organs([ptv], organs, ct)
        by_site = {
            lesion.flag.site: organs_beside([ptv], beside, exam.organs, protocol, lesion.flag.site) for lesion in chosen
        }
        proposals = [_proposal(one, ptv, by_site[one.flag.site], protocol, targets) for one in chosen]
        schedules = {_schedule(found) for found in (*proposals, *(lesion.proposal for lesion in chosen))}
        if len(schedules) > 1 or None in schedules:
            continue
        for n, lesion, proposal in zip(group, chosen, proposals, strict=True):
            rois = [roi for roi in lesion.rois if roi.kind is not RoiKind.PTV]
            others = tuple(one for one in lesion.to_organs if one.target != _ptv(lesion).name)
            if n == group[0]:
                rois.append(ptv)
                others = (*others, *beside)
            planned[n] = replace(lesion, rois=tuple(rois), proposal=proposal, to_organs=others)
        name, first = _ptv(chosen[0]).name, chosen[0].flag.id
        message = f"The PTVs of {ids} overlap or touch: they were merged to {name}, of {volume_ml:.1f} ml."
        findings.append(Finding("targets-merged", Level.WARN, message, Who.PERSON, volume_ml, None, "ml", first))
        findings += tracing.findings(first, name)
    return tuple(planned), tuple(findings)


def _groups(lesions: Sequence[PlannedLesion], relations: Sequence[Relation]) -> list[list[int]]:
    """Positions of lesions whose PTVs meet, directly or by way of others; groups of one are left out."""
    ptv = {roi.name: n for n, lesion in enumerate(lesions) for roi in lesion.rois if roi.kind is RoiKind.PTV}
    group = {n: {n} for n in ptv.values()}
    for relation in relations:
        if relation.meets and relation.target in ptv and relation.other in ptv:
            joined = group[ptv[relation.target]] | group[ptv[relation.other]]
            group.update(dict.fromkeys(joined, joined))
    return [list(some) for some in sorted({tuple(sorted(some)) for some in group.values() if len(some) > 1})]


def _ptv(lesion: PlannedLesion) -> Roi:
    return next(roi for roi in lesion.rois if roi.kind is RoiKind.PTV)


def _proposal(
    lesion: PlannedLesion, ptv: Roi, beside: tuple[OrganAt, ...], protocol: Protocol, targets: int
) -> Proposal | Abstention:
    """What the lesion would be given with another PTV."""
    if lesion.mapped is None:
        return lesion.proposal
    rois = (*(roi for roi in lesion.rois if roi.kind is not RoiKind.PTV), ptv)
    facts = facts_of(lesion.mapped, rois, beside)
    proposal = reconsidered(propose(facts, protocol, targets=targets), lesion.earlier)
    return with_caution(proposal, lesion.flag)


def _schedule(proposal: Proposal | Abstention) -> Schedule | None:
    return proposal.schedule if isinstance(proposal, Proposal) else None


def _holding(ptv: Roi, contours: tuple[Contour, ...], volume_ml: float, ids: str) -> Roi:
    return replace(ptv, contours=contours, volume_ml=volume_ml, description=f"{ptv.description} PTV of {ids}.")
