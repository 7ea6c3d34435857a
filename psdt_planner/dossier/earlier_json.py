"""Earlier radiotherapy as values of JSON, by the contract in docs/plan-json.md."""

from __future__ import annotations

import math
from typing import Any

from psdt_planner.geometry import Rigid
from psdt_planner.planning import Plan
from psdt_planner.protocol import CumulativeLimit
from psdt_planner.reirradiation import Nearness, NewDose, OrganRecord, PlacedCourse, TargetRecord


def earlier_json(plan: Plan) -> dict[str, Any] | None:
    """The courses and what organs got; None where there is none, or none could be placed."""
    rule = plan.protocol.reirradiation
    if not plan.earlier.courses or rule is None:
        return None
    return {
        "courses": [_course(course) for course in plan.earlier.courses],
        "recovery_on": rule.recovery_on,
        "organs": [_organ(record) for record in plan.earlier.organs],
    }


def target_json(record: TargetRecord | None) -> dict[str, Any] | None:
    """What one target's place got, and what the site's schedules would make of it."""
    if record is None:
        return None
    return {
        "nearness": [_nearness(one) for one in record.nearness],
        "known_part": round(record.known_part, 4),
        "max_gy": round(record.max_gy, 2),
        "mean_gy": round(record.mean_gy, 2),
        "max_eqd2_gy": _rounded(record.max_eqd2_gy),
        "cumulative_eqd2_gy": {schedule: _rounded(sums) for schedule, sums in record.cumulative_eqd2_gy.items()},
        "organs_in_ptv": {organ: [_new(dose) for dose in doses] for organ, doses in record.new.items()},
    }


def _course(placed: PlacedCourse) -> dict[str, Any]:
    course, transform = placed.course, placed.transform
    return {
        "id": course.id,
        "dose_sop_instance_uid": course.dose_uid,
        "plan_sop_instance_uids": list(course.plan_uids),
        "frame_of_reference_uid": course.dose.grid.frame,
        "prescription_gy": round(course.prescription_gy, 2),
        "fractions": course.fractions,
        "eqd2_is_upper_bound": course.several_plans,
        "months_before_at_most": None if course.days_before is None else round(placed.months(), 1),
        "source": placed.source,
        "method": placed.method,
        "uncertainty_mm": round(placed.uncertainty_mm, 2),
        "ct_from_dose": transform.matrix.tolist() if isinstance(transform, Rigid) else None,
    }


def _organ(record: OrganRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "organ": record.organ or None,
        "volume_ml": round(record.volume_ml, 2),
        "known_part": round(record.known_part, 4),
        "max_gy": round(record.max_gy, 2),
        "max_eqd2_gy": _rounded(record.max_eqd2_gy),
        "recovered_parts": list(record.recovered_part),
        "limit": None if record.limit is None else _limit(record.limit),
        "figure_eqd2_gy": _or_none(record.figure_eqd2_gy),
        "left_eqd2_gy": _or_none(record.left_eqd2_gy),
        "other_limits": [_limit(row) for row in record.beside],
    }


def _limit(row: CumulativeLimit) -> dict[str, Any]:
    return {
        "eqd2_gy": row.eqd2_gy,
        "alpha_beta_gy": row.alpha_beta_gy,
        "volume_ml": row.volume_ml,
        "from_months": row.from_months,
        "with_recovery": row.with_recovery,
        "new_eqd2_gy": row.new_eqd2_gy,
        "new_part": row.new_part,
        "source": row.citation,
        "certainty": row.certainty,
    }


def _nearness(one: Nearness) -> dict[str, Any]:
    return {
        "course": one.course,
        "isodose_gy": round(one.isodose_gy, 2),
        "distance_mm": round(one.distance_mm, 2) if math.isfinite(one.distance_mm) else None,
        "uncertainty_mm": round(one.uncertainty_mm, 2),
        "near": one.near,
    }


def _new(dose: NewDose) -> dict[str, Any]:
    return {
        "dose_gy": dose.dose_gy,
        "fractions": dose.fractions,
        "eqd2_gy": round(dose.eqd2_gy, 2),
        "cumulative_eqd2_gy": round(dose.cumulative_eqd2_gy, 2),
        "obstacles": list(dose.obstacles),
    }


def _rounded(by_key: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 2) for key, value in by_key.items()}


def _or_none(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
