"""A plan as a destination takes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import shapely
from shapely.geometry.base import BaseGeometry

from psdt_planner.contours import by_rule, even_odd_area, most_points
from psdt_planner.destination import Destination
from psdt_planner.exam import Organ
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid
from psdt_planner.planning import Plan, PlanStatus, plain
from psdt_planner.shapes import Contour, HoleRule, Roi, rings_volume_ml

SEEN_ML = 0.005
"""A change of a volume that its two printed decimals show."""

SEEN_MM = 0.005
"""Likewise, of a distance."""


def for_destination(made: Plan, destination: Destination) -> Plan:
    """The plan with its rings as the destination takes them, and what that changes, as findings.

    Where a destination takes no holes, and filling one would draw a target over an organ that the protocol spares, the
    plan is held: its targets are shown with their holes, and there is no structure set.

    Raises:
        ConfigurationError: the destination does not take a name of it.
        UnsupportedError: a ring that needs more points than the destination takes.
    """
    ct = made.exam.planning_ct
    if ct is None:
        return made
    writer = _Writer(destination, ct.grid, _spared(made))
    lesions = tuple(replace(one, rois=tuple(writer.drawn(roi)[0] for roi in one.rois)) for one in made.lesions)
    if made.structure_set is None:
        return replace(made, lesions=lesions)
    drawn = [writer.drawn(roi) for roi in made.structure_set.rois]
    findings = (*made.findings, *(finding for _, found in drawn for finding in found))
    if any(finding.level is Level.HOLD for finding in findings):
        return replace(made, lesions=lesions, findings=findings, structure_set=None, status=PlanStatus.HELD)
    structure_set = replace(made.structure_set, rois=tuple(roi for roi, _ in drawn))
    destination.check(structure_set)
    return replace(made, lesions=lesions, findings=findings, structure_set=structure_set)


def as_taken(roi: Roi, ct: Grid, destination: Destination) -> tuple[Roi, tuple[Finding, ...]]:
    """An ROI of no plan as a destination takes it: no organ is spared by it.

    Raises:
        UnsupportedError: as `for_destination`.
    """
    return _Writer(destination, ct, ()).drawn(roi)


def _spared(made: Plan) -> tuple[Organ, ...]:
    """The contoured organs that the protocol spares at the site of any lesion: a common PTV is cut for all."""
    rules = [made.protocol.sites.get(lesion.flag.site) for lesion in made.lesions]
    names = {plain(row.organ) for rule in rules if rule is not None for row in rule.spare}
    return tuple(organ for organ in made.exam.organs if plain(organ.name) in names)


@dataclass(frozen=True, eq=False)
class _Writer:
    """Draws ROIs as one destination takes them, on one CT."""

    destination: Destination
    ct: Grid
    spared: tuple[Organ, ...]

    def drawn(self, roi: Roi) -> tuple[Roi, tuple[Finding, ...]]:
        """The ROI, and what a person should know of how it is written."""
        rule, rings = self.destination.holes.rule, self.destination.rings
        most = most_points(self.ct, points=rings.max_points, length=rings.max_bytes)
        held: tuple[Finding, ...] = ()
        if rule is HoleRule.FILLED and any(ring.holes_mm for ring in roi.contours):
            held = tuple(self._covered(roi))
            rule = HoleRule.KEYHOLE if held else rule
        elif not any(ring.holes_mm or len(ring.points_mm) > most for ring in roi.contours):
            return roi, ()
        contours = by_rule(roi.contours, rule, self.ct, most=most)
        written = replace(roi, contours=contours, volume_ml=rings_volume_ml(contours, self.ct))
        return written, held or (*self._filled(roi, written), *self._coarser(roi, written, most))

    def _covered(self, roi: Roi) -> Iterator[Finding]:
        """Organs to spare that filling the holes would draw the target over."""
        thickness_mm = self.ct.voxel_volumes_ml * 1000.0 / (self.ct.spacing_ji_mm[0] * self.ct.spacing_ji_mm[1])
        filled = by_rule(roi.contours, HoleRule.FILLED, self.ct)
        for organ in self.spared:
            shared_mm3 = 0.0
            for k in sorted({ring.slice_index for ring in roi.contours if ring.holes_mm}):
                more = self._region(filled, k).difference(self._region(roi.contours, k))
                shared_mm3 += more.intersection(self._region(organ.contours, k)).area * thickness_mm[k]
            if shared_mm3 / 1000.0 > SEEN_ML:
                message = (
                    f"{roi.name} has a hole around {organ.name}, and destination {self.destination.name} takes none: "
                    f"filled, it would hold {shared_mm3 / 1000.0:.2f} ml of {organ.name}. Choose a destination that "
                    "takes keyholes, or draw it by hand."
                )
                yield Finding(
                    "contour-organ-covered", Level.HOLD, message, Who.PERSON, shared_mm3 / 1000.0, SEEN_ML, "ml",
                    lesion=roi.lesion,
                )  # fmt: skip

    def _region(self, contours: Sequence[Contour], k: int) -> BaseGeometry:
        """What the rings of a slice hold by even and odd, in mm along its columns and rows."""
        return even_odd_area([ring for ring in contours if ring.slice_index == k], self.ct)

    def _filled(self, meant: Roi, written: Roi) -> Iterator[Finding]:
        """Where a hole went."""
        more_ml = written.volume_ml - meant.volume_ml
        if self.destination.holes.rule is HoleRule.FILLED and more_ml > SEEN_ML:
            message = (
                f"{written.name} has a hole of {more_ml:.2f} ml. Destination {self.destination.name} takes none: it is "
                "written filled."
            )
            yield Finding(
                "contour-hole-filled", Level.WARN, message, Who.PERSON, more_ml, SEEN_ML, "ml", lesion=written.lesion
            )

    def _coarser(self, meant: Roi, written: Roi, most: int) -> Iterator[Finding]:
        """How far rings moved that the destination wants of fewer points."""
        slices = {ring.slice_index for ring in meant.contours if _points(ring) > most}
        # One way: the channels of keyholes run where nothing was.
        away_mm = [
            _farthest_mm(self._region(meant.contours, k), self._region(written.contours, k)) for k in sorted(slices)
        ]
        if away_mm and max(away_mm) > SEEN_MM:
            message = (
                f"{written.name} has a ring of more than the {most} points that destination {self.destination.name} "
                f"takes: it is drawn only to {max(away_mm):.2f} mm."
            )
            yield Finding(
                "contour-coarse", Level.WARN, message, Who.PERSON, max(away_mm), SEEN_MM, "mm", lesion=written.lesion
            )


def _farthest_mm(one: BaseGeometry, other: BaseGeometry) -> float:
    """The largest distance of the outlines of one area to those of another."""
    dense = shapely.points(shapely.get_coordinates(shapely.segmentize(one.boundary, 0.5)))
    return float(shapely.distance(dense, other.boundary).max())


def _points(ring: Contour) -> int:
    return len(ring.points_mm) + sum(map(len, ring.holes_mm))
