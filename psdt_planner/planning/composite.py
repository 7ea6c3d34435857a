"""Targets so near to each other that their doses add up at the organs between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from psdt_planner.fractionation import Proposal
from psdt_planner.planning.types import PlannedLesion
from psdt_planner.protocol import Protocol
from psdt_planner.screen import summed
from psdt_planner.shapes import RoiKind
from psdt_planner.structures import Relation


def with_composites(
    lesions: Sequence[PlannedLesion], relations: Sequence[Relation], protocol: Protocol
) -> tuple[PlannedLesion, ...]:
    """The lesions, each proposal with a caution where another target lies so near that the doses must be summed.

    Args:
        lesions: of the plan.
        relations: among their targets.
        protocol: how near is near.
    """
    if protocol.falloff is None:
        return tuple(lesions)
    within_mm = protocol.falloff.composite.within_mm
    return tuple(_with_composite(one, lesions, relations, protocol, within_mm) for one in lesions)


def _with_composite(
    lesion: PlannedLesion,
    lesions: Sequence[PlannedLesion],
    relations: Sequence[Relation],
    protocol: Protocol,
    within_mm: float,
) -> PlannedLesion:
    own = _ptv(lesion)
    if not isinstance(lesion.proposal, Proposal) or not own:
        return lesion
    apart = _from(own, relations)
    near = [other for other in lesions if apart.get(_ptv(other), within_mm + 1.0) <= within_mm]
    if not near:
        return lesion
    cautions = (*_words(lesion.proposal, near, apart, protocol), *lesion.proposal.cautions)
    return replace(lesion, proposal=replace(lesion.proposal, cautions=cautions))


def _ptv(lesion: PlannedLesion) -> str:
    return next((roi.name for roi in lesion.rois if roi.kind is RoiKind.PTV), "")


def _from(own: str, relations: Sequence[Relation]) -> dict[str, float]:
    """Distance of every other target from one, by name."""
    pairs = [(one.target, one.other, one.distance_mm) for one in relations if one.kind == "target"]
    return {other: mm for a, b, mm in pairs for name, other in ((a, b), (b, a)) if name == own}


def _words(
    proposal: Proposal, near: Sequence[PlannedLesion], apart: dict[str, float], protocol: Protocol
) -> Iterator[str]:
    named = ", ".join(f"{_ptv(other)} ({apart[_ptv(other)]:.0f} mm)" for other in near)
    yield f"Sum the doses with {named}: targets within {_limit_mm(protocol):g} mm of each other."
    dosed = [other.proposal for other in near if isinstance(other.proposal, Proposal)]
    without = [_ptv(other) for other in near if not isinstance(other.proposal, Proposal)]
    if without:
        yield f"{', '.join(without)} has no dose to sum."
    sums = summed([(one.schedule.fractions, one.screen) for one in (proposal, *dosed)], protocol)
    over = [f"{one.organ} {one.eqd2_gy:.0f} Gy, limit {one.limit_gy:.0f} Gy" for one in sums if one.exceeded]
    if over:
        yield f"Needs planning together: worst cases added as EQD2 are above the limit of {'; '.join(over)}."


def _limit_mm(protocol: Protocol) -> float:
    assert protocol.falloff is not None  # noqa: S101
    return protocol.falloff.composite.within_mm
