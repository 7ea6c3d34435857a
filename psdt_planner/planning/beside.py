"""The organs beside a target, for the screen: those that were contoured, and those that the site asks for in vain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from shapely import MultiPoint

from psdt_planner.exam import Organ
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.planning.targets import BODY_NAMES, plain
from psdt_planner.protocol import Protocol
from psdt_planner.screen import OrganAt
from psdt_planner.shapes import Contour, Roi, RoiKind
from psdt_planner.structures import OrganNames, Relation, part_of
from psdt_planner.tg263 import TARGET_TYPES

NOT_CONTOURED = "not contoured"
NOT_AT_THE_HEIGHT = "not contoured at the height of the target"


def organs_beside(
    rois: Sequence[Roi], relations: Sequence[Relation], organs: Sequence[Organ], protocol: Protocol, site: str
) -> tuple[OrganAt, ...]:
    """Every organ that the protocol knows, as it lies to the PTV: the nearest first, then what was not seen.

    Args:
        rois: targets of one lesion; without a PTV among them there is nothing to say.
        relations: of these targets to the organs.
        organs: contoured on the planning CT.
        protocol: names and limits of organs, and which of them the site asks for.
        site: site key.
    """
    ptv = next((roi for roi in rois if roi.kind is RoiKind.PTV), None)
    if ptv is None:
        return ()
    names = OrganNames.of(protocol)
    keys = {organ.name: names.key(organ) for organ in organs}
    unseen = tuple(_unseen(ptv, organs, names, protocol, site))
    hidden = {at.organ for at in unseen}
    seen = [
        OrganAt(keys[one.other], one.other, one.distance_mm, one.overlap_ml)
        for one in relations
        if one.target == ptv.name and keys.get(one.other) and keys[one.other] not in hidden
    ]
    return (*sorted(seen, key=lambda at: at.distance_mm or 0.0), *unseen)


def _unseen(ptv: Roi, organs: Sequence[Organ], names: OrganNames, protocol: Protocol, site: str) -> Iterator[OrganAt]:
    """What the site asks for and nobody contoured, or not as far as the target for an organ that runs past it."""
    rule = protocol.sites.get(site)
    drawn = {names.key(organ) for organ in organs if organ.contours}
    at_height = {names.key(organ) for organ in organs if _meet(organ.contours, ptv.contours)}
    for key in rule.asked.organs if rule and rule.asked else ():
        row = protocol.organs[key]
        answers = {key, *row.answered_by}
        if not answers & drawn:
            yield OrganAt(key, key, None, unseen=NOT_CONTOURED)
        elif row.runs_along and not answers & at_height:
            yield OrganAt(key, key, None, unseen=NOT_AT_THE_HEIGHT)


def _meet(organ: Sequence[Contour], ptv: Sequence[Contour]) -> bool:
    """Whether an organ was contoured on a slice of the PTV, or on one beside it."""
    slices = {contour.slice_index for contour in ptv}
    near = {k + step for k in slices for step in (-1, 0, 1)}
    return any(contour.slice_index in near for contour in organ)


def largest_diameter_mm(rois: Sequence[Roi]) -> float | None:
    """Longest way between two points of the GTV's rings; None without a GTV."""
    rings = [contour.points_mm for roi in rois if roi.kind is RoiKind.GTV for contour in roi.contours]
    if not rings:
        return None
    corners = np.concatenate([ring[_outermost(ring)] for ring in rings])
    return float(max(np.linalg.norm(corners - corner, axis=1).max() for corner in corners))


def _outermost(ring: np.ndarray) -> np.ndarray:
    """Positions of the corners of a ring's convex hull, along its two longest axes."""
    across = np.argsort(np.ptp(ring, axis=0))[1:]
    hull = MultiPoint(ring[:, across]).convex_hull
    on_hull = {tuple(point) for point in np.asarray(getattr(hull, "exterior", hull).coords)}
    return np.array([n for n, point in enumerate(ring[:, across]) if tuple(point) in on_hull])


def about_names(organs: Sequence[Organ], protocol: Protocol) -> Iterator[Finding]:
    """ROIs on the planning CT that nobody can tell the organ of, and that no screen saw.

    ``organ-name-contradicts-code`` (warn) and ``organ-unknown`` (info).
    """
    if not protocol.organs:
        return
    names = OrganNames.of(protocol)
    for organ in organs:
        if names.contradicts(organ):
            message = f"ROI {organ.name} is coded as another organ ({organ.code}): it was not evaluated."
            yield Finding("organ-name-contradicts-code", Level.WARN, message, Who.PERSON)
    unknown = [organ.name for organ in organs if _is_unknown(organ, names)]
    if unknown:
        message = f"No organ that the protocol knows, and not evaluated: {', '.join(unknown)}."
        yield Finding("organ-unknown", Level.INFO, message, Who.PERSON)


def _is_unknown(organ: Organ, names: OrganNames) -> bool:
    if names.key(organ) or names.contradicts(organ) or not organ.contours:
        return False
    plain_name = plain(organ.name)
    if plain_name in BODY_NAMES or part_of(organ.name) is not None:
        return False
    return not plain_name.startswith(tuple(kind.casefold() for kind in TARGET_TYPES))
