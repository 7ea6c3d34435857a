"""What is proposed, what is not, and what stands beside it: each limit from both of its sides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psdt_planner.errors import FaultError
from psdt_planner.findings import Level, Who
from psdt_planner.fractionation import (
    EARLIER_NOT_EVALUATED,
    NO_ORGANS,
    Abstention,
    Proposal,
    Schedule,
    TargetFacts,
    propose,
)
from psdt_planner.protocol import Protocol
from tests.protocol.conftest import CITED

EASY = TargetFacts(site="bone", gtv_volume_ml=2.0, ptv_volume_ml=10.0, uncertainty_mm=0.8)
"""A small target in a sure place: the most preferred regimen holds."""


def proposed(facts: TargetFacts, protocol: Protocol, targets: int = 1) -> Proposal:
    outcome = propose(facts, protocol, targets=targets)
    assert isinstance(outcome, Proposal), outcome
    return outcome


def abstained(facts: TargetFacts, protocol: Protocol, targets: int) -> list[str]:
    outcome = propose(facts, protocol, targets=targets)
    assert isinstance(outcome, Abstention), outcome
    assert all((reason.level, reason.who) == (Level.WARN, Who.PERSON) for reason in outcome.reasons)
    return [reason.code for reason in outcome.reasons]


def test_the_first_regimen_that_holds_is_proposed(protocol: Protocol) -> None:
    proposal = proposed(EASY, protocol)

    assert proposal.schedule == Schedule(20.0, 1)
    assert proposal.rule == "round/bone/20 Gy in 1"
    assert proposal.bed_gy == pytest.approx({"1.5": 20 * (1 + 20 / 1.5), "3": 20 * (1 + 20 / 3)}, rel=1e-12)
    assert proposal.eqd2_gy == pytest.approx({"1.5": 20 * 21.5 / 3.5, "3": 20 * 23 / 5}, rel=1e-12)
    assert proposal.certainty == "H"
    assert proposal.sources == ("Book, Table 1",)
    assert proposal.decided_by == (
        "site: Bone",
        "targets: 1, at most 5",
        "uncertainty of place: 0.8 mm, at most 4 mm",
        "PTV: 10.0 ml, at most 100 ml",
        "preference 1 of 4",
    )
    assert proposal.cautions == (NO_ORGANS, EARLIER_NOT_EVALUATED)


def test_every_other_regimen_stands_beside_it_with_why_not(protocol: Protocol) -> None:
    beside = {str(other.schedule): other.why_not for other in proposed(EASY, protocol).alternatives}

    assert beside == {
        "30 Gy in 3": "after 20 Gy in 1 in the order of preference",
        "36.25 Gy in 5": "after 20 Gy in 1 in the order of preference",
        "21 Gy in 3": "below the floor",
    }


@pytest.mark.parametrize(
    ("uncertainty_mm", "ptv_ml", "schedule"),
    [
        (1.0, 20.0, "20 Gy in 1"),
        (1.001, 20.0, "30 Gy in 3"),
        (1.0, 20.001, "30 Gy in 3"),
        (4.0, 50.0, "30 Gy in 3"),
        (4.0, 50.001, "36.25 Gy in 5"),
        (4.0, 100.0, "36.25 Gy in 5"),
        (0.0, 100.0, "36.25 Gy in 5"),
    ],
)
def test_each_condition_from_both_sides(
    protocol: Protocol, uncertainty_mm: float, ptv_ml: float, schedule: str
) -> None:
    facts = dataclasses.replace(EASY, uncertainty_mm=uncertainty_mm, ptv_volume_ml=ptv_ml)

    assert str(proposed(facts, protocol).schedule) == schedule


@pytest.mark.parametrize(
    ("condition", "targets", "change", "why_not"),
    [
        ("max_targets = 2", 2, {}, ""),
        ("max_targets = 2", 3, {}, "3 targets, at most 2 (Book)"),
        ("min_months_since = 6.0", 1, {"months_since": 6.0}, ""),
        (
            "min_months_since = 6.0",
            1,
            {"months_since": 5.9},
            "interval since earlier radiotherapy 5.9 months, at least 6 months (Book)",
        ),
        (
            "min_months_since = 6.0",
            1,
            {},
            "interval since earlier radiotherapy not known, at least 6 months (Book)",
        ),
    ],
)
def test_number_and_interval_from_both_sides(
    changed: Callable[..., Protocol], condition: str, targets: int, change: dict[str, float], why_not: str
) -> None:
    protocol = changed("max_uncertainty_mm = 1.0\nmax_ptv_ml = 20.0", condition)
    proposal = proposed(dataclasses.replace(EASY, **change), protocol, targets)

    assert str(proposal.schedule) == ("30 Gy in 3" if why_not else "20 Gy in 1")
    assert not why_not or proposal.alternatives[0].why_not == why_not


def test_a_preferred_regimen_that_does_not_hold_says_why(protocol: Protocol) -> None:
    proposal = proposed(dataclasses.replace(EASY, uncertainty_mm=2.24, ptv_volume_ml=60.0), protocol)

    assert proposal.decided_by[-3:] == (
        "20 Gy in 1 is preferred, but: uncertainty 2.2 mm, at most 1 mm (Book)",
        "30 Gy in 3 is preferred, but: PTV 60.0 ml, at most 50 ml (Book)",
        "preference 3 of 4",
    )
    assert [other.why_not for other in proposal.alternatives] == [
        "uncertainty 2.2 mm, at most 1 mm (Book)",
        "PTV 60.0 ml, at most 50 ml (Book)",
        "below the floor",
    ]


@pytest.mark.parametrize(
    ("change", "targets", "code", "figures"),
    [
        ({"uncertainty_mm": 4.001}, 1, "dose-uncertainty-over-limit", (4.001, 4.0, "mm")),
        ({"ptv_volume_ml": 100.001}, 1, "dose-volume-over-limit", (100.001, 100.0, "ml")),
        ({}, 6, "dose-too-many-targets", (6, 5, "targets")),
        ({"site": "unknown"}, 1, "dose-site-unknown", (None, None, "")),
        ({"site": "spine"}, 1, "dose-site-without-rule", (None, None, "")),
        ({"held_for": ("registration-weak",)}, 1, "dose-lesion-held", (None, None, "")),
    ],
)
def test_each_reason_to_abstain(
    protocol: Protocol, change: dict[str, float], targets: int, code: str, figures: tuple[float, float, str]
) -> None:
    outcome = propose(dataclasses.replace(EASY, **change), protocol, targets=targets)

    assert isinstance(outcome, Abstention)
    [reason] = outcome.reasons
    assert reason.code == code
    assert (reason.value, reason.limit, reason.unit) == figures
    assert reason.message.endswith((".", "registration-weak"))


def test_every_reason_is_named_not_only_the_first(protocol: Protocol) -> None:
    facts = TargetFacts("bone", 50.0, 200.0, 9.0, held_for=("moved far", "weak"))

    assert abstained(facts, protocol, targets=9) == [
        "dose-lesion-held",
        "dose-lesion-held",
        "dose-too-many-targets",
        "dose-uncertainty-over-limit",
        "dose-volume-over-limit",
    ]


def test_a_site_without_a_rule_says_which_sites_have_one(protocol: Protocol) -> None:
    outcome = propose(dataclasses.replace(EASY, site="prostate"), protocol, targets=1)

    assert isinstance(outcome, Abstention)
    assert outcome.reasons[0].message == "Protocol round has no rule for prostate, only for bone."


def test_where_no_regimen_holds_there_is_no_dose(changed: Callable[..., Protocol]) -> None:
    protocol = changed("dose_gy = 36.25\nfractions = 5", 'dose_gy = 36.25\nfractions = 5\nlisted_only = "not here"')

    outcome = propose(dataclasses.replace(EASY, ptv_volume_ml=60.0), protocol, targets=1)

    assert isinstance(outcome, Abstention)
    assert [reason.code for reason in outcome.reasons] == ["dose-no-regimen"]
    assert outcome.reasons[0].message == (
        "No regimen of bone holds: 20 Gy in 1: PTV 60.0 ml, at most 20 ml (Book); "
        "30 Gy in 3: PTV 60.0 ml, at most 50 ml (Book); 36.25 Gy in 5: not here; 21 Gy in 3: below the floor."
    )


@pytest.mark.parametrize(("targets", "warned"), [(3, False), (4, True), (5, True)])
def test_more_targets_than_usual_are_said(protocol: Protocol, targets: int, warned: bool) -> None:
    assert (f"{targets} targets: more than 3." in proposed(EASY, protocol, targets).cautions) is warned


def test_a_demonstration_says_that_it_is_one(changed: Callable[..., Protocol]) -> None:
    protocol = changed('"clinical"\nsigner = "A. Physicist"', '"demo"')

    assert "Protocol round is a demonstration: nobody has signed for it." in proposed(EASY, protocol).cautions


GROUNDS = [
    "regimen",
    "condition of the regimen",
    "order of preference",
    "limit of uncertainty",
    "limit of volume",
    "CTV margin",
    "PTV margin",
    "number of targets",
    "ablative floor",
]

FIRST_KEYS = {
    "regimen": "fractions = 1\n",
    "condition of the regimen": "max_ptv_ml = 20.0\n",
    "order of preference": "[sites.bone.order]\n",
    "limit of uncertainty": "mm = 4.0\n",
    "limit of volume": "ptv_ml = 100.0\n",
    "CTV margin": "mm = 5.0\n",
    "PTV margin": "posterior_mm = 3.0\n",
    "number of targets": "max = 5\n",
    "ablative floor": "alpha_beta_gy = 3.0\n",
}
"""The last line before the source of each row that a proposal rests on."""


def test_a_proposal_names_every_ground(protocol: Protocol) -> None:
    assert [ground.decides for ground in proposed(EASY, protocol).grounds] == GROUNDS
    # Without a condition there is no such ground.
    larger = dataclasses.replace(EASY, ptv_volume_ml=60.0)
    assert [ground.decides for ground in proposed(larger, protocol).grounds] == [GROUNDS[0], *GROUNDS[2:]]


@pytest.mark.parametrize("what", GROUNDS)
@pytest.mark.parametrize(
    ("old", "new", "mark"),
    [
        ('certainty = "H"', 'certainty = "L"', "Low certainty"),
        ('basis = "read"', 'basis = "recalled"', "Recalled, to be verified at the source"),
        ('basis = "read"', 'basis = "transcribed"', "From a transcription of the source"),
        ('basis = "read"', 'basis = "project-derived"', "Project-derived"),
    ],
)
def test_an_unsure_row_that_decides_is_marked(
    changed: Callable[..., Protocol], what: str, old: str, new: str, mark: str
) -> None:
    row = FIRST_KEYS[what] + CITED
    proposal = proposed(EASY, changed(row, row.replace(old, new)))

    assert f"{mark}: {what}." in proposal.cautions
    assert proposal.certainty == ("L" if mark == "Low certainty" else "H")


def test_rows_unsure_in_the_same_way_are_marked_together(changed: Callable[..., Protocol]) -> None:
    protocol = changed('certainty = "H"', 'certainty = "L"', count=-1)

    assert f"Low certainty: {', '.join(GROUNDS)}." in proposed(EASY, protocol).cautions


def test_a_middling_certainty_is_the_proposals(changed: Callable[..., Protocol]) -> None:
    protocol = changed(f"max = 5\n{CITED}", f"max = 5\n{CITED}".replace('"H"', '"M"'))

    assert proposed(EASY, protocol).certainty == "M"


def test_a_note_of_a_row_that_decides_is_shown(changed: Callable[..., Protocol]) -> None:
    protocol = changed("mm = 5.0\n", 'mm = 5.0\nnote = "Cut at the edge of the bone."\n')

    assert proposed(EASY, protocol).cautions[-1] == "Cut at the edge of the bone."


def test_a_note_of_a_row_that_does_not_decide_is_not(changed: Callable[..., Protocol]) -> None:
    protocol = changed("dose_gy = 36.25\n", 'dose_gy = 36.25\nnote = "Every other day."\n')

    assert "Every other day." not in proposed(EASY, protocol).cautions


@pytest.mark.parametrize(
    ("dose_gy", "fractions", "suffix"),
    [
        (30.0, 3, "_1000x3"),
        (35.0, 5, "_700x5"),
        (24.0, 1, "_2400x1"),
        (27.0, 3, "_900x3"),
        (40.0, 5, "_800x5"),
        (36.25, 5, "_725x5"),
        (60.0, 3, "_2000x3"),
    ],
)
def test_a_name_holds_the_dose_of_one_fraction(dose_gy: float, fractions: int, suffix: str) -> None:
    assert Schedule(dose_gy, fractions).tg263_suffix == suffix


def test_a_proposal_has_the_suffix_of_its_schedule(protocol: Protocol) -> None:
    assert proposed(dataclasses.replace(EASY, uncertainty_mm=2.0), protocol).tg263_suffix == "_1000x3"


def test_a_dose_that_no_name_can_hold_is_refused() -> None:
    with pytest.raises(FaultError, match=r"29 Gy in 3 is 966\.6667 cGy a fraction, no whole number"):
        _ = Schedule(29.0, 3).tg263_suffix


@given(per_fraction_cgy=st.integers(100, 3000), fractions=st.integers(1, 60))
def test_a_name_multiplies_back_to_the_dose(per_fraction_cgy: int, fractions: int) -> None:
    dose = Fraction(per_fraction_cgy, 100) * fractions

    per_fraction, count = Schedule(float(dose), fractions).tg263_suffix.removeprefix("_").split("x")

    assert Fraction(int(per_fraction), 100) * int(count) == dose


@pytest.mark.parametrize("name", ["gtv_volume_ml", "ptv_volume_ml", "uncertainty_mm"])
@pytest.mark.parametrize("number", [-0.1, math.nan, math.inf])
def test_facts_that_are_no_figures_are_refused(name: str, number: float) -> None:
    with pytest.raises(FaultError, match=name):
        dataclasses.replace(EASY, **{name: number})


facts_of_any_kind = st.builds(
    TargetFacts,
    site=st.sampled_from(["spine", "bone", "pelvic-node", "paraaortic-node", "prostate", "unknown", "skull"]),
    gtv_volume_ml=st.floats(0.1, 100.0),
    ptv_volume_ml=st.floats(0.1, 400.0),
    uncertainty_mm=st.floats(0.0, 12.0),
    held_for=st.sampled_from([(), (), ("held",)]),
)


@given(facts=facts_of_any_kind, targets=st.integers(1, 9))
def test_a_dose_only_where_nothing_speaks_against_it(shipped: Protocol, facts: TargetFacts, targets: int) -> None:
    outcome = propose(facts, shipped, targets=targets)

    rule = shipped.sites.get(facts.site)
    covered = (
        rule is not None
        and not facts.held_for
        and targets <= shipped.targets.max
        and facts.uncertainty_mm <= rule.max_uncertainty.mm
        and facts.ptv_volume_ml <= rule.max_volume.ptv_ml
    )
    assert isinstance(outcome, Proposal if covered else Abstention)
    assert propose(facts, shipped, targets=targets) == outcome
    if isinstance(outcome, Proposal):
        assert {NO_ORGANS, EARLIER_NOT_EVALUATED} <= set(outcome.cautions)
        assert outcome.bed_gy["3"] >= shipped.ablative_floor.bed_gy
        assert list(outcome.bed_gy) == list(outcome.eqd2_gy) == ["1.5", "3", "10"]
        assert len(outcome.alternatives) + 1 == len(shipped.sites[facts.site].regimens)
