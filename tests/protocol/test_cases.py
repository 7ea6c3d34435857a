"""The blind table of constructed cases, line by line: what is proposed or not, and why."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from psdt_planner.fractionation import Abstention, Proposal, TargetFacts, propose
from psdt_planner.protocol import SITE_KEYS, Protocol
from psdt_planner.screen import OrganAt

CASES = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))["cases"]

KEYS = {
    "why", "site", "ptv_ml", "uncertainty_mm", "targets", "diameter_mm", "held", "organs", "unseen", "decision",
    "reason", "planning",
}  # fmt: skip


def facts(case: dict[str, Any]) -> TargetFacts:
    seen = [OrganAt(one["name"], one["name"], one["mm"], one.get("overlap_ml", 0.0)) for one in case.get("organs", ())]
    unseen = [OrganAt(name, name, None, unseen="not contoured") for name in case.get("unseen", ())]
    return TargetFacts(
        site=case["site"],
        gtv_volume_ml=2.0,
        ptv_volume_ml=case.get("ptv_ml", 22.0),
        uncertainty_mm=case.get("uncertainty_mm", 2.0),
        held_for=(case["held"],) if "held" in case else (),
        diameter_mm=case.get("diameter_mm", 20.0),
        organs=(*seen, *unseen),
    )


def test_the_table_has_forty_cases_and_every_site() -> None:
    assert len(CASES) >= 40
    assert set(SITE_KEYS) <= {case["site"] for case in CASES}
    assert all(set(case) <= KEYS for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['site']}: {case['why'][:60]}")
def test_a_constructed_case_is_decided_as_the_table_says(shipped: Protocol, case: dict[str, Any]) -> None:
    outcome = propose(facts(case), shipped, targets=case.get("targets", 1))

    if case["decision"].startswith("dose-"):
        assert isinstance(outcome, Abstention), outcome
        assert [reason.code for reason in outcome.reasons] == [case["decision"]]
        assert case["reason"] in outcome.reasons[0].message
        return
    assert isinstance(outcome, Proposal), outcome
    assert str(outcome.schedule) == case["decision"]
    said = [*outcome.decided_by, *outcome.cautions]
    assert any(case["reason"] in line for line in said), said
    assert [one.at.name for one in outcome.needs_planning] == case.get("planning", [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"][:60])
def test_no_cell_of_low_certainty_decides_without_its_mark(shipped: Protocol, case: dict[str, Any]) -> None:
    outcome = propose(facts(case), shipped, targets=case.get("targets", 1))
    if isinstance(outcome, Abstention):
        return
    marked = [line for line in outcome.cautions if line.startswith("Low certainty: ")]
    for ground in outcome.grounds:
        assert (ground.certainty == "L") == any(ground.decides in line for line in marked), ground
    for one in outcome.screen:
        for limit in one.limits:
            assert (limit.certainty == "L") == ("low certainty" in str(limit))
            if limit.certainty == "L":
                assert any(f"{limit.kind} limit of {limit.organ}" in line for line in marked)
    # What passed a regimen over is marked where it is said.
    for other in outcome.alternatives:
        for one in other.screen:
            if any(limit.certainty == "L" and str(limit) in other.why_not for limit in one.limits):
                assert "low certainty" in other.why_not
