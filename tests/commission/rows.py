"""Rows made up for the tests: 46 lesions and six trials that meet every bar, to be spoilt one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from psdt_planner.commission import CaseRow, LesionRow, Rows, Trial, TrialKind

NODE = {"site": "pelvic-node", "in_bone": False, "where": "node"}
PROSTATE = {"site": "prostate", "in_bone": False, "where": "prostate"}


def lesion(**changes: Any) -> LesionRow:
    """An accepted lesion of a vertebra, half a millimetre off, bound two."""
    good = LesionRow(
        case="pelvis 1 ×1", lesion="L1", site="spine", in_bone=True, where="vertebral-body", status="mapped",
        reasons=(), start_mm=3.0, error_mm=0.5, t1_error_mm=0.5, bound_mm=2.0, disagreement_mm=0.3,
        epi_shift_mm=-1.5, epi_left_mm=0.2,
    )  # fmt: skip
    return replace(good, **changes)


def case(lesions: Iterable[LesionRow], **changes: Any) -> CaseRow:
    good = CaseRow(
        name="pelvis 1 ×1", region="pelvis", seed=1, size="full", deformation=1.0, status="proposed", codes=(),
        refused_for=(), start_median_mm=3.0, level_share=0.4, level_worst="L1", cpu_s=20.0, wall_s=11.0, read_cpu_s=2.0,
        whole_body_cpu_s=6.0, levels_cpu_s=3.0, lesions_cpu_s=12.0, lesions=tuple(lesions),
    )  # fmt: skip
    return replace(good, **changes)


def held(code: str = "lesion-uncertain", **changes: Any) -> LesionRow:
    return lesion(status="held", reasons=(code,), **changes)


GOOD_LESIONS = (
    *[lesion() for _ in range(40)],
    lesion(where="rib", site="bone"),
    lesion(where="femur", site="bone"),
    *[lesion(**NODE) for _ in range(3)],
    lesion(**PROSTATE),
)
GOOD_TRIALS = (
    Trial(TrialKind.LEVEL_OFF, "pelvis 1 ×1 L3", True, ("lesion-level",)),
    Trial(TrialKind.LEVEL_OFF, "pelvis 1 ×1 L4", True, ("lesion-level",)),
    Trial(TrialKind.LEVEL_RIGHT, "pelvis 1 ×1 L3", False),
    Trial(TrialKind.LEVEL_RIGHT, "pelvis 1 ×1 L4", False),
    Trial(TrialKind.WRONG_PATIENT, "pelvis 1 ×1", True, ("registration-wrong-patient",)),
    Trial(TrialKind.WRONG_PATIENT, "pelvis 2 ×1", True, ("registration-wrong-patient",)),
)
GOOD = Rows((case(GOOD_LESIONS),), GOOD_TRIALS)
