"""``plan.json``: the plan as other programs read it. Schema 1; a key is never taken away within a schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psdt_planner.dossier.earlier_json import earlier_json, target_json
from psdt_planner.findings import Finding
from psdt_planner.fractionation import Abstention, Proposal
from psdt_planner.geometry import Points, Rigid
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint, MappedLesion, covering, todo
from psdt_planner.planning import Plan, PlannedLesion
from psdt_planner.protocol import Limit
from psdt_planner.registration import PriorPlace
from psdt_planner.screen import Screened
from psdt_planner.shapes import Roi
from psdt_planner.structures import Cut, Relation

SCHEMA = 1

UNREAD_HISTORY = (
    "history of polymetastatic disease",
    "history of oligometastatic disease",
    "date of the primary diagnosis",
    "systemic therapy at present",
    "serum testosterone",
    "PSA series",
)
"""Facts that genuine or induced, and the ESTRO/EORTC state, depend on; no history file is read yet."""


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as values of JSON, by the contract in docs/plan-json.md."""
    return {
        "schema": SCHEMA,
        "status": plan.status.value,
        "findings": [finding_json(finding) for finding in plan.findings],
        "planning_ct": _planning_ct(plan),
        "registration": _registration(plan),
        "classification": _classification(plan),
        "lesions": [{**_lesion(lesion), **_time(plan, lesion.flag.id)} for lesion in plan.lesions],
        "points": [_point(point, plan) for point in plan.exam.points],
        "former_lesions": [entry.as_json() for entry in plan.course.timeline.former] if plan.course else [],
        "prior_exam": _prior_exam(plan),
        "history": _history(plan),
        "tumour_load": plan.load.as_json() if plan.load else None,
        "earlier_radiotherapy": earlier_json(plan),
        "relations": [_relation(relation) for relation in plan.relations],
        "exclusions": [{"lesion": e.lesion, "reason": e.reason, "by": e.by} for e in plan.exclusions],
        "protocol": {"name": plan.protocol.name, "sha256": plan.protocol.sha256, "status": plan.protocol.status},
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding as values of JSON."""
    return {
        "code": finding.code,
        "level": finding.level.value,
        "message": finding.message,
        "who": finding.who.value,
        "value": None if finding.value is None else float(finding.value),
        "limit": None if finding.limit is None else float(finding.limit),
        "unit": finding.unit,
        "lesion": finding.lesion,
    }


def _planning_ct(plan: Plan) -> dict[str, Any] | None:
    ct = plan.exam.planning_ct
    if ct is None:
        return None
    return {
        "series_instance_uid": ct.series_uid,
        "frame_of_reference_uid": ct.grid.frame,
        "slices": ct.grid.shape[0],
    }


def _registration(plan: Plan) -> dict[str, Any] | None:
    registration = plan.registration
    if registration is None:
        return None
    return {
        "source": registration.source.value,
        "method": registration.method,
        "ct_from_mr": _rows(registration.ct_from_mr.matrix),
        "margin": registration.margin,
    }


def _classification(plan: Plan) -> dict[str, Any]:
    """Genuine or induced cannot be told without a history, and is not guessed."""
    if plan.course is not None:
        return plan.course.classification.as_json()
    progressive = sum(1 for _ in plan.lesions)
    return {
        "om_crpc": "undetermined",
        "estro_eortc": "undetermined",
        "progressive_sites": progressive,
        "facts_used": [f"{progressive} sites flagged as progressive"] if progressive else [],
        "facts_missing": list(UNREAD_HISTORY),
    }


def _lesion(lesion: PlannedLesion) -> dict[str, Any]:
    flag = lesion.flag
    return {
        "id": flag.id,
        "label": flag.label,
        "site": flag.site,
        "site_source": flag.site_source,
        "side": flag.side.value,
        "side_source": flag.side_source,
        "level": flag.level,
        "tracking_uid": flag.tracking_uid,
        "source": {"sop_instance_uid": flag.source.sop_instance_uid, "segment": flag.source.item},
        "status": lesion.status.value,
        "reasons": list(lesion.reasons),
        **_place(lesion.mapped),
        "volume_ml": round(lesion.volume_ml, 4),
        "rois": {key: _roi_name(lesion.rois, key) for key in ("gtv", "ctv", "ptv")},
        "roi_volumes_ml": {roi.name: round(roi.volume_ml, 4) for roi in lesion.rois},
        "ctv": lesion.ctv,
        "cuts": [_cut(cut) for cut in lesion.cuts],
        "adc_median_mm2_per_s": lesion.adc_median_mm2_per_s,
        "proposal": _proposal(lesion.proposal) if isinstance(lesion.proposal, Proposal) else None,
        "abstention": [finding.message for finding in lesion.proposal.reasons]
        if isinstance(lesion.proposal, Abstention)
        else [],
        "earlier_radiotherapy": target_json(lesion.earlier),
    }


def _point(point: FlaggedPoint, plan: Plan) -> dict[str, Any]:
    """A marked place that is no lesion by itself, and what is to be done about it."""
    by = covering(point, plan.exam.flags)
    return {
        "id": point.id,
        "label": point.label,
        "site": point.site,
        "site_source": point.site_source,
        "side": point.side.value,
        "side_source": point.side_source,
        "tracking_uid": point.tracking_uid,
        "source": {"sop_instance_uid": point.source.sop_instance_uid, "item": point.source.item},
        "point_mm": list(point.point_mm),
        "frame_of_reference_uid": point.frame,
        "lesion": by.id if by else None,
        "todo": todo(point, plan.exam.flags),
    }


def _time(plan: Plan, lesion: str) -> dict[str, Any]:
    """What became of a lesion; where nobody asked, the flag itself says that it progresses."""
    if plan.course is None:
        return {"timeline": "unknown", "progressive": True}
    return plan.course.timeline.by_lesion[lesion].as_json()


def _prior_exam(plan: Plan) -> dict[str, Any] | None:
    compared = plan.course.compared if plan.course else None
    if compared is None:
        return None
    found, transform = compared.registration, compared.registration.transform
    return {
        "days_before": compared.days_before,
        "frame_of_reference_uid": compared.flags[0].grid.frame,
        "registration": {
            "source": found.source.value,
            "method": found.method,
            "this_from_prior": _rows(transform.matrix) if isinstance(transform, Rigid) else None,
        },
        "lesions": [_prior_lesion(flag, compared.places.get(flag.id)) for flag in compared.flags],
    }


def _prior_lesion(flag: FlaggedLesion, place: PriorPlace | None) -> dict[str, Any]:
    here = place.this_from_prior.apply(flag.centroid_mm) if place else None
    return {
        "id": flag.id,
        "label": flag.label,
        "site": flag.site,
        "side": flag.side.value,
        "tracking_uid": flag.tracking_uid,
        "source": {"sop_instance_uid": flag.source.sop_instance_uid, "segment": flag.source.item},
        "volume_ml": round(flag.volume_ml, 4),
        "centroid_mr_mm": None if here is None else [round(float(x), 3) for x in here],
        "uncertainty_mm": round(place.uncertainty_mm, 3) if place else None,
        "method": place.method if place else None,
    }


def _history(plan: Plan) -> dict[str, Any] | None:
    history = plan.course.history if plan.course else None
    if history is None:
        return None
    day = history.reference_date.isoformat()
    return {"name": history.name, "sha256": history.sha256, "source": history.source, "reference_date": day}


def _place(mapped: MappedLesion | None) -> dict[str, Any]:
    if mapped is None:
        return {
            "centroid_ct_mm": None,
            "ct_from_mr": None,
            "uncertainty_mm": None,
            "disagreement_mm": None,
            "method": None,
        }
    return {
        "centroid_ct_mm": [round(float(x), 3) for x in mapped.centroid_ct_mm],
        "ct_from_mr": _rows(mapped.ct_from_mr.matrix),
        "uncertainty_mm": round(mapped.uncertainty_mm, 3),
        "disagreement_mm": None if mapped.disagreement_mm is None else round(mapped.disagreement_mm, 3),
        "method": mapped.method,
    }


def _roi_name(rois: Sequence[Roi], key: str) -> str | None:
    return next((roi.name for roi in rois if roi.kind.value.lower() == key), None)


def _cut(cut: Cut) -> dict[str, Any]:
    return {
        "target": cut.target,
        "by": cut.by,
        "gap_mm": cut.gap_mm,
        "lost_ml": round(cut.lost_ml, 4),
        "lost_part": round(cut.lost_part, 4),
        "ctv_ml": round(cut.ctv_ml, 4),
        "gtv_ml": round(cut.gtv_ml, 4),
    }


def _relation(relation: Relation) -> dict[str, Any]:
    return {
        "target": relation.target,
        "other": relation.other,
        "kind": relation.kind,
        "overlap_ml": round(relation.overlap_ml, 4),
        "distance_mm": round(relation.distance_mm, 3),
    }


def _screened(one: Screened) -> dict[str, Any]:
    """What the distance screen says of one organ: advisory, and no computed dose."""
    at = one.at
    return {
        "organ": at.organ,
        "roi": at.name if at.distance_mm is not None else None,
        "verdict": one.verdict.value,
        "why": one.why,
        "distance_mm": None if at.distance_mm is None else round(at.distance_mm, 3),
        "overlap_ml": round(at.overlap_ml, 4),
        "worst_gy": None if one.worst_gy is None else round(one.worst_gy, 2),
        "best_gy": None if one.best_gy is None else round(one.best_gy, 2),
        "mean_gy": None if one.mean_gy is None else round(one.mean_gy, 2),
        "limits": [_limit(limit) for limit in one.limits],
        "for_the_plan": [_limit(limit) for limit in one.for_the_plan],
    }


def _limit(limit: Limit) -> dict[str, Any]:
    return {
        "metric": limit.metric,
        "value": round(limit.value, 3),
        "unit": limit.unit,
        "kind": limit.kind,
        "set": limit.set_key,
        "source": limit.citation,
        "basis": limit.basis,
        "certainty": limit.certainty,
        "converted_from_fractions": limit.converted_from,
    }


def _proposal(proposal: Proposal) -> dict[str, Any]:
    return {
        "dose_gy": proposal.schedule.dose_gy,
        "fractions": proposal.schedule.fractions,
        "bed_gy": {key: round(value, 2) for key, value in proposal.bed_gy.items()},
        "eqd2_gy": {key: round(value, 2) for key, value in proposal.eqd2_gy.items()},
        "lql_bed_gy": {key: round(value, 2) for key, value in proposal.lql_bed_gy.items()},
        "tg263_suffix": proposal.tg263_suffix,
        "screen": [_screened(one) for one in proposal.screen],
        "grounds": [
            {"decides": one.decides, "source": one.citation, "basis": one.basis, "certainty": one.certainty}
            for one in proposal.grounds
        ],
        "rule": proposal.rule,
        "sources": list(proposal.sources),
        "certainty": proposal.certainty,
        "decided_by": list(proposal.decided_by),
        "cautions": list(proposal.cautions),
        "alternatives": [
            {
                "dose_gy": other.schedule.dose_gy,
                "fractions": other.schedule.fractions,
                "why_not": other.why_not,
                "source": other.source,
                "certainty": other.certainty,
                "screen": [_screened(one) for one in other.screen],
            }
            for other in proposal.alternatives
        ],
    }


def _rows(matrix: Points) -> list[list[float]]:
    return [[float(x) for x in row] for row in matrix]
