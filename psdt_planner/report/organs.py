"""What the distance screen says of each organ, as rows of a table: the worst first, what was not evaluated last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psdt_planner.fractionation import Proposal
from psdt_planner.screen import Screened, Verdict

ORDER: Final = (Verdict.INFEASIBLE, Verdict.NEEDS_PLANNING, Verdict.LIKELY_OK, Verdict.NOT_EVALUATED)
LEVELS: Final = {
    Verdict.INFEASIBLE: "hold",
    Verdict.NEEDS_PLANNING: "warn",
    Verdict.LIKELY_OK: "ok",
    Verdict.NOT_EVALUATED: "none",
}
"""How a verdict is shown, as the levels of findings are."""


@dataclass(frozen=True)
class OrganRow:
    """One organ under the proposed regimen, as cells of a table.

    Attributes:
        name: as contoured.
        verdict: in words; ``level`` tells how it is shown.
        distance: from the PTV.
        dose: worst and best case at its nearest point.
        limit: what it was held against, with source, kind and certainty; why it was not, where it was not.
        for_the_plan: limits that no distance tells.
    """

    name: str
    verdict: str
    level: str
    distance: str
    dose: str
    limit: str
    for_the_plan: str


def organ_rows(proposal: Proposal) -> tuple[OrganRow, ...]:
    """A row for each organ."""
    ordered = sorted(proposal.screen, key=lambda one: (ORDER.index(one.verdict), one.at.distance_mm or 0.0))
    return tuple(map(_row, ordered))


def organ_lines(proposal: Proposal) -> Iterator[str]:
    """The same as a line for each organ, for a page without tables."""
    for row in organ_rows(proposal):
        figures = ", ".join(filter(None, [row.distance, row.dose]))
        yield f"{row.name}: {row.verdict} ({figures + '; ' if figures else ''}{row.limit})"


def in_short(proposal: Proposal) -> str:
    """What the screen found, in a few words."""
    planning = [one.at.name for one in proposal.needs_planning]
    unseen = sum(one.verdict is Verdict.NOT_EVALUATED for one in proposal.screen)
    ok = sum(one.verdict is Verdict.LIKELY_OK for one in proposal.screen)
    parts = [
        f"needs planning: {', '.join(planning)}" if planning else "",
        f"{ok} likely ok" if ok else "",
        f"{unseen} not evaluated" if unseen else "",
    ]
    return "; ".join(filter(None, parts)) or "no organ was evaluated"


def _row(one: Screened) -> OrganRow:
    at = one.at
    distance = "" if at.distance_mm is None else f"{at.distance_mm:.1f} mm"
    if at.overlap_ml > 0.0:
        distance = f"overlap {at.overlap_ml:.2f} ml"
    dose = "" if one.worst_gy is None or one.best_gy is None else f"{one.best_gy:.1f} to {one.worst_gy:.1f} Gy"
    return OrganRow(
        name=at.name,
        verdict=one.verdict.value,
        level=LEVELS[one.verdict],
        distance=distance,
        dose=dose,
        limit="; ".join(map(str, one.limits)) or one.why,
        for_the_plan="; ".join(map(str, one.for_the_plan)),
    )
