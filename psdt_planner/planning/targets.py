"""GTV, CTV and PTV of one lesion: the site's margins, and what bone, vertebra, organs and skin make of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from psdt_planner.contours import shape_of
from psdt_planner.exam import Organ
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.planning.vertebrae import Vertebrae
from psdt_planner.protocol import InBone, Protocol, Sectors, SiteRule, Skin, Spare
from psdt_planner.protocol import Margin as ProtocolMargin
from psdt_planner.shapes import Contour, RoiKind, Shape
from psdt_planner.structures import (
    Cut,
    Margin,
    away_from,
    below_skin,
    body_around,
    grow,
    kept_in_bone,
    on_lattice,
    part_of,
    spine_ctv,
    united,
    volume_ml,
    what_was_cut,
    widened,
)

BODY_NAMES = frozenset({"external", "body"})
"""TG-263 names of the body's outline, as `plain` writes them; where one is contoured, the CT is not asked."""


SEEN_ML = 0.005
"""A loss that rounds to 0.00 ml is not told."""


def plain(name: str) -> str:
    """An ROI name without case, blanks and underscores: ``Spinal Cord`` and ``SpinalCord`` are one organ."""
    return name.casefold().replace(" ", "").replace("_", "")


def is_organ(name: str) -> bool:
    """Whether an ROI is an organ: neither the outline of the body nor a sector of a vertebra."""
    return plain(name) not in BODY_NAMES and part_of(name) is None


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of one lesion.

    Attributes:
        shapes: GTV; CTV and PTV where the protocol has a rule for the site. The GTV lies in the CTV.
        ctv: how the CTV came about, in words; empty where there is none.
        cuts: what the PTV lost, in the order in which it was cut.
        findings: what a person should know of them.
    """

    shapes: dict[RoiKind, Shape]
    ctv: str
    cuts: tuple[Cut, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class TargetMaker:
    """Makes the targets of one lesion after another.

    Attributes:
        ct: the planning CT, in HU.
        organs: contoured on it.
        protocol: the clinical tables.
        vertebrae: by landmarks on it; None where there are none.
    """

    ct: Volume
    organs: tuple[Organ, ...]
    protocol: Protocol
    vertebrae: Vertebrae | None = None

    def made(self, lesion: str, site: str, gtv: Shape, widening_mm: float) -> Targets:
        """The targets of a lesion from its GTV.

        Args:
            lesion: its id, for the findings.
            site: site key; one that the protocol does not know gets a GTV alone.
            gtv: on the CT.
            widening_mm: what the uncertainty of its place adds to the PTV margin, in quadrature.
        """
        rule = self.protocol.sites.get(site)
        if rule is None:
            return Targets({RoiKind.GTV: gtv}, "", (), ())
        ctv, words, findings = self._ctv(lesion, gtv, rule)
        margin = _margin(rule.ctv_to_ptv).widened(widening_mm)
        skin, body = self.protocol.skin, None
        if skin is not None:
            body = self._body(gtv, widened(ctv.grid, max(margin.as_mm)), skin)
            findings += tuple(_in_air(lesion, gtv, body, skin))
        if skin is not None and body is not None and body.field.min() <= 0:
            ctv = united([below_skin(ctv, body, skin.ctv_mm), gtv])
        shapes = {RoiKind.GTV: gtv, RoiKind.CTV: ctv, RoiKind.PTV: grow(ctv, margin, self.ct.grid)}
        spared = tuple(self._near(rule, shapes[RoiKind.PTV]))
        inside = tuple(self._inside(lesion, gtv, spared))
        unseen = tuple(self._unseen(lesion, rule, shapes[RoiKind.PTV]))
        cuts = tuple(cut for cut in self._cuts(shapes, spared, body) if cut.lost_ml >= SEEN_ML)
        findings += (*inside, *_cut_findings(lesion, cuts, shapes), *unseen)
        return Targets(shapes, words, cuts, findings)

    # CTV --------------------------------------------------------------------------------------------------------------

    def _ctv(self, lesion: str, gtv: Shape, rule: SiteRule) -> tuple[Shape, str, tuple[Finding, ...]]:
        grown = grow(gtv, _margin(rule.gtv_to_ctv), self.ct.grid)
        words = f"GTV + {rule.gtv_to_ctv}"
        if rule.ctv_in_bone is not None:
            return self._in_bone(lesion, gtv, grown, rule.ctv_in_bone, words)
        if rule.sectors is not None:
            return self._by_sectors(lesion, gtv, grown, rule.sectors, words)
        return grown, words, ()

    def _in_bone(
        self, lesion: str, gtv: Shape, grown: Shape, rule: InBone, words: str
    ) -> tuple[Shape, str, tuple[Finding, ...]]:
        found = kept_in_bone(gtv, grown, self.ct, rule)
        if found.cut:
            message = f"The CTV of {lesion} was kept within the bone: {found.lost_ml:.2f} ml less than {words}."
            less_ml = found.lost_ml
            finding = Finding("ctv-kept-in-bone", Level.INFO, message, Who.PERSON, less_ml, None, "ml", lesion)
            return found.shape, f"{words}, within the bone", (finding,) if less_ml >= SEEN_ML else ()
        if found.told:
            out, most = 100.0 * found.breach_part, 100.0 * rule.breach_part
            message = (
                f"The cortex is taken to be breached at {lesion}: {out:.0f} % of the GTV lies more than "
                f"{rule.breach_mm:g} mm outside the bone of the CT. The CTV was not cut at the bone."
            )
            finding = Finding("ctv-cortex-breached", Level.WARN, message, Who.PERSON, out, most, "%", lesion)
            return found.shape, f"{words}, beyond the bone as well", (finding,)
        held, least = 100.0 * found.inside_part, 100.0 * rule.told_part
        message = (
            f"The CT does not tell which bone {lesion} lies in: {held:.0f} % of the GTV is in bone. "
            "The CTV was not cut at the bone."
        )
        finding = Finding("ctv-bone-unknown", Level.WARN, message, Who.PERSON, held, least, "%", lesion)
        return found.shape, f"{words}, not cut at the bone", (finding,)

    def _by_sectors(
        self, lesion: str, gtv: Shape, grown: Shape, rule: Sectors, words: str
    ) -> tuple[Shape, str, tuple[Finding, ...]]:
        known, said = self.vertebrae.near(lesion, gtv) if self.vertebrae else ({}, ())
        for organ in self.organs:
            part, rings = part_of(organ.name), _at_slices(organ.contours, gtv.grid, self.ct.grid)
            if part is not None and rings:
                # What somebody drew goes before what landmarks tell.
                known[part] = shape_of(organ.contours, self.ct.grid)
        found = spine_ctv(gtv, known, rule)
        findings = list(said)
        if found.swapped:
            message = (
                f"Left and right sectors of {', '.join(found.swapped)} lie the wrong way round: they were not used."
            )
            findings.append(Finding("ctv-sectors-swapped", Level.WARN, message, Who.PERSON, lesion=lesion))
        if not found.known:
            message = f"The sectors of the vertebra at {lesion} are not known: the CTV is {words}. Complete it by hand."
            findings.append(Finding("ctv-sectors-unknown", Level.WARN, message, Who.PERSON, lesion=lesion))
            return grown, f"{words}, sectors unknown", tuple(findings)
        added = ", ".join(map(str, found.added))
        message = f"The CTV of {lesion} holds the GTV with {added}, by the sectors that the GTV lies in."
        findings.append(Finding("ctv-from-sectors", Level.INFO, message, Who.PERSON, lesion=lesion))
        if found.missing:
            asked = ", ".join(map(str, found.missing))
            message = f"The rule for the CTV of {lesion} asks for {asked} as well, which nobody contoured or marked."
            findings.append(Finding("ctv-sectors-incomplete", Level.WARN, message, Who.PERSON, lesion=lesion))
        return united([grown, found.shape]), f"{words}, with {added}", tuple(findings)

    # PTV --------------------------------------------------------------------------------------------------------------

    def _body(self, gtv: Shape, reach: Grid, skin: Skin) -> Shape | None:
        """The body near the targets: as contoured, else from the CT; None where the GTV lies in air."""
        depth_mm = max(skin.ctv_mm, skin.ptv_mm)
        for organ in self.organs:
            near = widened(reach, depth_mm)
            rings = _at_slices(organ.contours, near, self.ct.grid)
            if plain(organ.name) in BODY_NAMES and rings:
                return Shape(near, on_lattice(shape_of(rings, self.ct.grid), near))
        return body_around(gtv, self.ct, reach, depth_mm)

    def _near(self, rule: SiteRule, ptv: Shape) -> Iterator[tuple[Spare, Shape]]:
        """The organs to spare, as far as they are contoured on slices that the PTV comes near."""
        for row in rule.spare:
            for organ in self.organs:
                rings = _at_slices(organ.contours, widened(ptv.grid, row.gap_mm), self.ct.grid)
                if plain(organ.name) == plain(row.organ) and rings:
                    yield row, shape_of(rings, self.ct.grid)

    def _inside(self, lesion: str, gtv: Shape, spared: Sequence[tuple[Spare, Shape]]) -> Iterator[Finding]:
        """The GTV itself lies in an organ."""
        limit_ml = self.protocol.overlaps.least_ml if self.protocol.overlaps else 0.0
        for row, organ in spared:
            shared_ml = volume_ml((gtv.field > 0) & (on_lattice(organ, gtv.grid) > 0), gtv.grid)
            if shared_ml >= limit_ml:
                message = f"The GTV of {lesion} lies in {row.organ} by {shared_ml:.2f} ml."
                level = Level(row.gtv_inside)
                yield Finding("gtv-in-organ", level, message, Who.PERSON, shared_ml, limit_ml, "ml", lesion)

    def _cuts(
        self, shapes: dict[RoiKind, Shape], spared: Sequence[tuple[Spare, Shape]], body: Shape | None
    ) -> Iterator[Cut]:
        """Cut the PTV among the shapes by one organ after another, then below the skin; what each took."""
        for row, organ in spared:
            after = away_from(shapes[RoiKind.PTV], organ, row.gap_mm, self.ct.grid)
            yield self._cut(shapes, after, row.organ, row.gap_mm)
        if self.protocol.skin is not None and body is not None:
            depth_mm = self.protocol.skin.ptv_mm
            yield self._cut(shapes, below_skin(shapes[RoiKind.PTV], body, depth_mm), "skin", depth_mm)

    def _cut(self, shapes: dict[RoiKind, Shape], after: Shape, by: str, gap_mm: float) -> Cut:
        """The record of a cut, which the PTV then has."""
        before = shapes[RoiKind.PTV]
        shapes[RoiKind.PTV] = after
        return what_was_cut(before, after, shapes[RoiKind.GTV], shapes[RoiKind.CTV], by=by, gap_mm=gap_mm)

    def _unseen(self, lesion: str, rule: SiteRule, ptv: Shape) -> Iterator[Finding]:
        """Organs that the protocol asks for and nobody contoured: not evaluated, which is not passed."""
        drawn = {plain(organ.name) for organ in self.organs if organ.contours}
        near = {plain(o.name) for o in self.organs if _at_slices(o.contours, ptv.grid, self.ct.grid)}
        covered = {plain(name) for row in rule.spare if plain(row.organ) in near for name in row.stands_for}
        asked = [row for row in rule.spare if not row.stands_for and plain(row.organ) not in near | covered]
        absent = [row.organ for row in asked if plain(row.organ) not in drawn]
        elsewhere = [row for row in asked if plain(row.organ) in drawn]
        if absent:
            message = f"Not contoured, so not evaluated for {lesion}: {', '.join(absent)}."
            yield Finding("organ-not-evaluated", Level.WARN, message, Who.PERSON, lesion=lesion)
        if elsewhere:
            level = Level.WARN if any(row.gtv_inside == "hold" for row in elsewhere) else Level.INFO
            names = ", ".join(row.organ for row in elsewhere)
            message = f"Not contoured at the height of {lesion}, so not evaluated there: {names}."
            yield Finding("organ-not-evaluated", level, message, Who.PERSON, lesion=lesion)


def _margin(rule: ProtocolMargin) -> Margin:
    (right, left), (anterior, posterior), (inferior, superior) = rule.lps_mm
    return Margin(left=left, right=right, anterior=anterior, posterior=posterior, superior=superior, inferior=inferior)


def _at_slices(contours: Sequence[Contour], lattice: Grid, ct: Grid) -> tuple[Contour, ...]:
    """The rings on the slices that a lattice meets, and one more on each side."""
    across = ct.index_from_mm(grid_corners_mm(lattice))[:, 0]
    first, last = np.floor(across.min()), np.ceil(across.max())
    return tuple(contour for contour in contours if first <= contour.slice_index <= last)


def _in_air(lesion: str, gtv: Shape, body: Shape | None, skin: Skin) -> Iterator[Finding]:
    """The GTV lies outside the body, where no lesion is: it is on the wrong place."""
    inside = gtv.field > 0
    part = 1.0 if body is None else float(np.mean(on_lattice(body, gtv.grid)[inside] <= 0))
    if part > skin.gtv_in_air_part:
        out, most = 100.0 * part, 100.0 * skin.gtv_in_air_part
        message = f"{out:.0f} % of the GTV of {lesion} lies outside the body."
        yield Finding("gtv-outside-body", Level.HOLD, message, Who.PERSON, out, most, "%", lesion)


def _cut_findings(lesion: str, cuts: Sequence[Cut], shapes: dict[RoiKind, Shape]) -> Iterator[Finding]:
    """What the PTV lost; a warning where CTV or GTV lie in it."""
    for cut in cuts:
        lost = f"{cut.lost_ml:.2f} ml ({100 * cut.lost_part:.0f} %)"
        gap = f" and {cut.gap_mm:g} mm around it" if cut.gap_mm and cut.by != "skin" else ""
        where = f"within {cut.gap_mm:g} mm of the skin" if cut.by == "skin" else f"at {cut.by}{gap}"
        message = f"The PTV of {lesion} lost {lost} {where}"
        if cut.ctv_ml > 0:
            message += f", {cut.ctv_ml:.2f} ml of CTV and {cut.gtv_ml:.2f} ml of GTV among it"
        level = Level.WARN if cut.ctv_ml > 0 else Level.INFO
        code = "ptv-cut-at-skin" if cut.by == "skin" else "ptv-cut-by-organ"
        yield Finding(code, level, f"{message}.", Who.PERSON, cut.lost_ml, unit="ml", lesion=lesion)
    if not (shapes[RoiKind.PTV].field > 0).any():
        message = f"Nothing is left of the PTV of {lesion} after it was cut."
        yield Finding("ptv-cut-away", Level.HOLD, message, Who.PERSON, 0.0, unit="ml", lesion=lesion)
