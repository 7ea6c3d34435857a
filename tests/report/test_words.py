"""Words and figures that report and PDF share; the methods say what was done and nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from psdt_planner.findings import Finding, Level
from psdt_planner.fractionation import EARLIER_NOT_EVALUATED, NO_ORGANS
from psdt_planner.planning import Plan
from psdt_planner.report import words
from psdt_planner.screen import ADVISORY


@pytest.mark.parametrize(
    ("volume_ml", "text"), [(0.123, "0.12 ml"), (9.994, "9.99 ml"), (10.0, "10.0 ml"), (123.45, "123.5 ml")]
)
def test_a_volume_has_three_figures_or_so(volume_ml: float, text: str) -> None:
    assert words.millilitres(volume_ml) == text


def test_an_adc_is_in_the_unit_of_radiologists() -> None:
    assert words.adc(0.000853) == "0.85 × 10⁻³ mm²/s"
    assert words.adc(None) == "not measured"


@pytest.mark.parametrize(
    ("value", "limit", "unit", "text"),
    [
        (None, None, "", ""),
        (None, 3.0, "mm", ""),
        (9.04, 8.0, "mm", "9.04 (limit 8) mm"),
        (0.02, None, "mm", "0.02 mm"),
        (2, 1, "", "2 (limit 1)"),
    ],
)
def test_a_figure_stands_with_its_limit(value: float | None, limit: float | None, unit: str, text: str) -> None:
    assert words.limit(Finding("code", Level.WARN, "message", value=value, limit=limit, unit=unit)) == text


def test_findings_keep_their_order_within_a_level() -> None:
    found = [
        Finding(code, Level(level), "") for code, level in [("a", "info"), ("b", "hold"), ("c", "warn"), ("d", "hold")]
    ]

    assert [finding.code for finding in words.by_weight(found)] == ["b", "d", "c", "a"]


def test_a_lesion_without_words_is_called_by_its_id(plan: Plan) -> None:
    lesion = plan.lesions[0]
    silent = dataclasses.replace(lesion, flag=dataclasses.replace(lesion.flag, label=""))

    assert (words.heading(lesion), words.heading(silent)) == ("L1: right ilium", "L1")


def test_the_held_come_first_then_those_without_a_dose_then_the_excluded(held_plan: Plan, plan: Plan) -> None:
    mixed = dataclasses.replace(held_plan, lesions=(held_plan.lesions[3], plan.lesions[3], *held_plan.lesions[:3]))

    outcomes = [(lesion.flag.id, words.outcome(lesion)) for lesion in words.needing_a_person(mixed)]

    assert outcomes == [
        ("L2", "held: a person is needed"),
        ("L3", "held: a person is needed"),
        ("L4", "mapped, no dose proposed"),
        ("L4", "excluded by a person"),
    ]


def test_reasons_are_the_lesions_own_or_those_of_the_abstention(plan: Plan, held_plan: Plan) -> None:
    assert words.reasons(plan.lesions[0]) == ()
    assert words.reasons(plan.lesions[3])[0].startswith("The site of the lesion is unknown")
    assert words.reasons(held_plan.lesions[2]) == ("L3 lies 22 mm above the CT.",)


def test_a_single_fraction_reads_as_one(plan: Plan) -> None:
    proposal = plan.lesions[0].proposal
    single = dataclasses.replace(proposal, schedule=dataclasses.replace(proposal.schedule, dose_gy=20.0, fractions=1))

    assert words.dose(single) == "20 Gy in 1 fraction of 20 Gy"


def test_the_methods_say_what_was_done(plan: Plan) -> None:
    assert words.methods(plan, "0.1.0") == (
        "psdt 0.1.0 read 4 flagged lesions from 1 object and 4 MR volumes. "
        "The planning CT has 44 slices 2.5 mm apart with 124 × 212 voxels of 1.6 × 1.5 mm. "
        "MR to CT: global rigid fit of t1 to the CT from the best of 96 starts. "
        "Mapping of L1, L2, L3, L4: local rigid fit of t1 and b50, median of four. "
        "The surface of each flag was carried to the CT and contoured on its slice planes as GTV. "
        "CTV and PTV were grown in three dimensions by (GTV to CTV, CTV to PTV): "
        "bone 5 mm and 5 mm; pelvic-node 0 mm and 5 mm; spine 0 mm and 3 mm. "
        "Each PTV margin was widened by 0.9 of the lesion's bound on its place, added in quadrature. "
        "Doses are from protocol psdt-crpc (PSDT in oligoprogressive castration-resistant prostate cancer; "
        f"a demonstration that nobody signed for; SHA-256 {plan.protocol.sha256[:12]}…): "
        "3 proposals for 4 lesions. "
        "BED and EQD2 are linear-quadratic, at α/β of 1.5, 3, 10 Gy, and LQ-L from 10 Gy a fraction on. "
        f"{NO_ORGANS} {ADVISORY} {EARLIER_NOT_EVALUATED}"
    )


def test_the_methods_do_not_say_what_was_not_done(held_plan: Plan, plan: Plan) -> None:
    held = words.methods(held_plan, "0.1.0")
    assert "Mapping of L1, L2: local" in held
    assert "bone 5 mm and 5 mm. Each PTV margin was widened by 0.9" in held

    exam = dataclasses.replace(plan.exam, planning_ct=None)
    lesions = tuple(dataclasses.replace(lesion, mapped=None, rois=()) for lesion in plan.lesions)
    unmapped = words.methods(dataclasses.replace(plan, exam=exam, registration=None, lesions=lesions), "0.1.0")
    assert "There was no planning CT that could be used, so nothing was mapped." in unmapped
    assert "No contours were drawn." in unmapped
    assert "MR to CT" not in unmapped
    assert "Mapping" not in unmapped


def test_a_signed_protocol_names_its_signer(plan: Plan) -> None:
    signed = plan.protocol.model_copy(update={"status": "clinical", "signer": "A. Physicist"})

    assert "; signed by A. Physicist; " in words.methods(dataclasses.replace(plan, protocol=signed), "0.1.0")
