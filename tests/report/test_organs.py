"""What the report says of organs: the worst first, each with what it was held against."""

from __future__ import annotations

from psdt_planner.fractionation import Proposal
from psdt_planner.planning import Plan
from psdt_planner.report.organs import in_short, organ_lines, organ_rows


def proposal(plan: Plan) -> Proposal:
    found = plan.lesions[2].proposal
    assert isinstance(found, Proposal)
    return found


def test_the_worst_organ_stands_first_and_what_nobody_saw_last(plan: Plan) -> None:
    rows = organ_rows(proposal(plan))
    assert [(row.name, row.verdict, row.level) for row in rows] == [
        ("Bladder", "needs planning", "warn"),
        ("Rectum", "likely ok", "ok"),
        ("Duodenum", "likely ok", "ok"),
        ("Bowel_Small", "not evaluated", "none"),
    ]


def test_each_row_has_its_figures_and_its_limit(plan: Plan) -> None:
    bladder, rectum, duodenum, bowel = organ_rows(proposal(plan))
    assert (bladder.distance, bladder.limit) == ("overlap 1.25 ml", "D0.035cc 28.2 Gy (tg-101 max)")
    assert bladder.for_the_plan == "D15cc 16.8 Gy (tg-101 threshold)"
    assert rectum.distance == "12.0 mm"
    # Never above the worst case, and the floor of 20 % is not reached at 12 mm: 1 - 1.2 is below it.
    assert rectum.dose.startswith("6.0 to ")
    assert "low certainty" in duodenum.limit
    assert (bowel.distance, bowel.dose, bowel.limit) == ("", "", "not contoured")


def test_in_short_and_as_lines(plan: Plan) -> None:
    assert in_short(proposal(plan)) == "needs planning: Bladder; 2 likely ok; 1 not evaluated"
    lines = list(organ_lines(proposal(plan)))
    assert lines[-1] == "Bowel_Small: not evaluated (not contoured)"
    other = plan.lesions[0].proposal
    assert isinstance(other, Proposal)
    assert in_short(other) == "no organ was evaluated"
