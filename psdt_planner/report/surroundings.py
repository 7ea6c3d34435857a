"""What lies around a lesion's targets, as rows of a table: organs by distance, other lesions, and what was cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psdt_planner.planning import PlannedLesion
from psdt_planner.structures import Cut, Relation

NEAR_MM = 50.0
"""Organs further than this from every target of a lesion are named, not tabled."""

NOT_DRAWN = "not drawn"


@dataclass(frozen=True)
class Row:
    """How one structure lies to each target of a lesion, in the order of its targets."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Surroundings:
    """All that the report says of a lesion's surroundings.

    Attributes:
        targets: names of the lesion's targets, the heads of the columns.
        near: organs within `NEAR_MM`, the nearest first.
        far: names of the other organs that were contoured.
        others: the same targets of other lesions within `NEAR_MM`, in words.
        cuts: what the PTV lost, in words.
    """

    targets: tuple[str, ...]
    near: tuple[Row, ...]
    far: tuple[str, ...]
    others: tuple[str, ...]
    cuts: tuple[str, ...]


def surroundings(lesion: PlannedLesion, relations: Sequence[Relation]) -> Surroundings:
    """What of the plan's relations is about this lesion."""
    targets = tuple(roi.name for roi in lesion.rois)
    to_organs = [one for one in relations if one.kind == "organ" and one.target in targets]
    by_organ: dict[str, dict[str, Relation]] = {}
    for one in to_organs:
        by_organ.setdefault(one.other, {})[one.target] = one
    nearest = {name: min(one.distance_mm for one in found.values()) for name, found in by_organ.items()}
    ordered = sorted(by_organ, key=lambda name: nearest[name])
    return Surroundings(
        targets,
        tuple(
            Row(name, tuple(_cell(by_organ[name].get(target)) for target in targets))
            for name in ordered
            if nearest[name] <= NEAR_MM
        ),
        tuple(name for name in ordered if nearest[name] > NEAR_MM),
        tuple(_others(targets, relations)),
        tuple(map(_lost, lesion.cuts)),
    )


def _cell(relation: Relation | None) -> str:
    if relation is None:
        return NOT_DRAWN
    return f"overlap {relation.overlap_ml:.2f} ml" if relation.meets else f"{relation.distance_mm:.1f} mm"


def _others(targets: Sequence[str], relations: Sequence[Relation]) -> Iterator[str]:
    for one in relations:
        if one.kind == "target" and {one.target, one.other} & set(targets) and one.distance_mm <= NEAR_MM:
            yield f"{one.target} and {one.other}: {_cell(one)}"


def _lost(cut: Cut) -> str:
    gap = f", {cut.gap_mm:g} mm kept" if cut.gap_mm else ""
    of_it = f"; of it CTV {cut.ctv_ml:.2f} ml, GTV {cut.gtv_ml:.2f} ml" if cut.ctv_ml else ""
    return f"{cut.target} at {cut.by}{gap}: {cut.lost_ml:.2f} ml ({100 * cut.lost_part:.0f} %){of_it}"
