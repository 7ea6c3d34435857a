"""How the targets of a plan lie to organs at risk and to each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal

from psdt_planner.exam import Organ
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid
from psdt_planner.planning.targets import is_organ
from psdt_planner.planning.types import PlannedLesion
from psdt_planner.shapes import Roi
from psdt_planner.structures import Relation, Slabs, distance_mm, overlap_ml, slabs


def drawn_organs(organs: Sequence[Organ], ct: Grid) -> tuple[tuple[str, Slabs], ...]:
    """Name and slabs of every organ, in the order of the structure sets.

    The outline of the body and the sectors of vertebrae are no organs; what has no contours, or none with an area,
    has no place.
    """
    drawn = [(organ.name, slabs(organ.contours, ct)) for organ in organs if is_organ(organ.name)]
    return tuple((name, one) for name, one in drawn if one.planes)


def to_organs(rois: Sequence[Roi], organs: Sequence[tuple[str, Slabs]], ct: Grid) -> tuple[Relation, ...]:
    """Overlap and distance of every target to every organ, in the order of both."""
    targets = [(roi.name, slabs(roi.contours, ct)) for roi in rois]
    return tuple(_relation(name, one, other, two, "organ") for name, one in targets for other, two in organs)


def among_targets(lesions: Sequence[PlannedLesion], ct: Grid) -> tuple[Relation, ...]:
    """Overlap and distance of the same target of every two lesions."""
    solid = {roi.name: slabs(roi.contours, ct) for lesion in lesions for roi in lesion.rois}
    pairs = [(a.name, b.name) for one, other in combinations(lesions, 2) for a, b in same_kind(one, other)]
    return tuple(_relation(a, solid[a], b, solid[b], "target") for a, b in pairs)


def same_kind(one: PlannedLesion, other: PlannedLesion) -> Iterator[tuple[Roi, Roi]]:
    """GTV with GTV, CTV with CTV, PTV with PTV, as far as both lesions have them."""
    yield from ((a, b) for a in one.rois for b in other.rois if a.kind is b.kind)


def meetings(lesions: Sequence[PlannedLesion], relations: Sequence[Relation]) -> Iterator[Finding]:
    """Lesions whose targets overlap or touch: one disease flagged twice, or doses that add up."""
    meet = {(relation.target, relation.other): relation for relation in relations if relation.meets}
    for one, other in combinations(lesions, 2):
        pairs = [meet[a.name, b.name] for a, b in same_kind(one, other) if (a.name, b.name) in meet]
        if pairs:
            shared = ", ".join(f"{pair.target} and {pair.other} share {pair.overlap_ml:.2f} ml" for pair in pairs)
            message = f"Targets of {one.flag.id} and {other.flag.id} overlap or touch: {shared}. They are kept apart."
            most_ml = max(pair.overlap_ml for pair in pairs)
            yield Finding("targets-overlap", Level.WARN, message, Who.PERSON, most_ml, None, "ml", one.flag.id)


def _relation(target: str, one: Slabs, other: str, two: Slabs, kind: Literal["organ", "target"]) -> Relation:
    shared_ml = overlap_ml(one, two)
    return Relation(target, other, kind, shared_ml, 0.0 if shared_ml > 0.0 else distance_mm(one, two))
