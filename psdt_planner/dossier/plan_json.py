"""``plan.json``: the plan as other programs read it. Schema 1; a key is never taken away within a schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psdt_planner.findings import Finding
from psdt_planner.fractionation import Abstention, Proposal
from psdt_planner.geometry import Points
from psdt_planner.lesions import MappedLesion
from psdt_planner.planning import Plan, PlannedLesion
from psdt_planner.shapes import Roi

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
        "lesions": [_lesion(lesion) for lesion in plan.lesions],
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
        "tracking_uid": flag.tracking_uid,
        "source": {"sop_instance_uid": flag.source.sop_instance_uid, "segment": flag.source.item},
        "timeline": "unknown",
        "progressive": True,
        "status": lesion.status.value,
        "reasons": list(lesion.reasons),
        **_place(lesion.mapped),
        "volume_ml": round(lesion.volume_ml, 4),
        "rois": {key: _roi_name(lesion.rois, key) for key in ("gtv", "ctv", "ptv")},
        "roi_volumes_ml": {roi.name: round(roi.volume_ml, 4) for roi in lesion.rois},
        "adc_median_mm2_per_s": lesion.adc_median_mm2_per_s,
        "proposal": _proposal(lesion.proposal) if isinstance(lesion.proposal, Proposal) else None,
        "abstention": [finding.message for finding in lesion.proposal.reasons]
        if isinstance(lesion.proposal, Abstention)
        else [],
    }


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


def _proposal(proposal: Proposal) -> dict[str, Any]:
    return {
        "dose_gy": proposal.schedule.dose_gy,
        "fractions": proposal.schedule.fractions,
        "bed_gy": {key: round(value, 2) for key, value in proposal.bed_gy.items()},
        "eqd2_gy": {key: round(value, 2) for key, value in proposal.eqd2_gy.items()},
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
            }
            for other in proposal.alternatives
        ],
    }


def _rows(matrix: Points) -> list[list[float]]:
    return [[float(x) for x in row] for row in matrix]
