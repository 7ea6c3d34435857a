"""One flagged lesion through mapping, contours and proposal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from psdt_planner.contours import Tracing, faint_parts_ml, lesion_shape, trace
from psdt_planner.errors import InputError
from psdt_planner.exam import Exam
from psdt_planner.findings import Finding, Level, Who, holds
from psdt_planner.fractionation import Abstention, Proposal, TargetFacts, propose
from psdt_planner.images import Volume
from psdt_planner.lesions import FlaggedLesion, MappedLesion, Side
from psdt_planner.planning.beside import largest_diameter_mm, organs_beside
from psdt_planner.planning.earlier import NOTHING_EARLIER, Earlier, months_since, reconsidered, target_record
from psdt_planner.planning.flagged import adc_median, as_flagged, place_of
from psdt_planner.planning.place_in_body import Bearings, caution, placed
from psdt_planner.planning.relations import drawn_organs, to_organs
from psdt_planner.planning.targets import TargetMaker, Targets
from psdt_planner.planning.types import DESCRIPTION, LABEL, Exclusion, LesionStatus, PlannedLesion
from psdt_planner.planning.vertebrae import Vertebrae
from psdt_planner.protocol import Protocol
from psdt_planner.registration import LesionRegistrar
from psdt_planner.screen import OrganAt
from psdt_planner.shapes import Contour, Roi, RoiKind, Shape
from psdt_planner.structures import Slabs, Target, build_structure_set

FAINT_HOLDS_ML = 0.1
"""Faint parts of this volume (a ball of 6 mm) may be a lesion of their own, which nobody would treat."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The rings of one lesion, traced from shapes that hold one another, and what speaks against them."""

    contours: dict[RoiKind, tuple[Contour, ...]]
    findings: tuple[Finding, ...]
    targets: Targets | None = None


@dataclass(frozen=True, eq=False)
class LesionPlanner:
    """Takes flag after flag of one case through mapping, contours and proposal.

    Attributes:
        registrars: by the lesions' ids; they differ in the MR volumes that show the lesion, and in nothing else.
        targets: how many lesions are to be treated together.
        notes: what the course of disease says of lesions, by their ids.
        tracking: identities over time, by the lesions' ids; of others that of the flag.
        earlier: courses of radiotherapy on the CT.
    """

    exam: Exam
    ct: Volume
    protocol: Protocol
    registrars: Mapping[str, LesionRegistrar]
    targets: int
    notes: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    tracking: Mapping[str, str] = field(default_factory=dict)
    earlier: Earlier = NOTHING_EARLIER

    def planned(self, flag: FlaggedLesion, exclusion: Exclusion | None) -> PlannedLesion:
        """The lesion mapped, drawn and given a proposal; one that a person excluded is only kept."""
        if exclusion is not None:
            return excluded(flag, self.exam, exclusion)
        mapped = self._mapped(flag)
        mapped, drawn = (mapped, _Drawn({}, ())) if mapped.held else self._drawn(mapped)
        mapped = replace(mapped, findings=(*mapped.findings, *drawn.findings))
        notes = self.notes.get(flag.id, ())
        held = mapped.held or holds(notes)
        rois = () if held else self._rois(mapped.flag, drawn, "")
        relations = to_organs(rois, self._organs, self.ct.grid)
        beside = organs_beside(rois, relations, self.exam.organs, self.protocol, mapped.flag.site)
        record = target_record(self.earlier, flag.id, mapped.flag.site, rois)
        since = months_since(self.earlier, record)
        facts = replace(facts_of(mapped, rois, beside, notes), months_since=since)
        proposal = reconsidered(propose(facts, self.protocol, targets=self.targets), record)
        proposal = with_caution(proposal, mapped.flag)
        if rois and isinstance(proposal, Proposal):
            rois = self._rois(mapped.flag, drawn, proposal.summary)
        return PlannedLesion(
            flag=mapped.flag,
            status=LesionStatus.HELD if held else LesionStatus.MAPPED,
            reasons=facts.held_for,
            mapped=mapped,
            rois=rois,
            volume_ml=flag.volume_ml,
            adc_median_mm2_per_s=adc_median(self.exam, flag),
            proposal=proposal,
            ctv=drawn.targets.ctv if drawn.targets else "",
            cuts=drawn.targets.cuts if drawn.targets else (),
            to_organs=relations,
            earlier=record,
        )

    def _mapped(self, flag: FlaggedLesion) -> MappedLesion:
        registrar = self.registrars[flag.id]
        found = registrar.register(place_of(flag, self.exam))
        findings = (*registrar.case.findings, *found.findings)
        return MappedLesion(
            flag,
            as_flagged(found.ct_from_mr, flag, self.exam),
            found.anatomical_ct_from_mr,
            found.uncertainty_mm,
            found.disagreement_mm,
            found.method,
            findings,
            found.distances_mm,
        )

    def _drawn(self, mapped: MappedLesion) -> tuple[MappedLesion, _Drawn]:
        """The lesion with the site and side that its place tells, and the rings of every target.

        One whose place contradicts its site, or that cannot be drawn, is held, and the others go on.
        """
        try:
            gtv = lesion_shape(mapped.flag, mapped.ct_from_mr, self.ct.grid)
            mapped = placed(mapped, gtv, self._bearings) if self._bearings else mapped
            return mapped, _Drawn({}, ()) if mapped.held else self._traced(mapped, gtv)
        except InputError as error:
            message = f"{mapped.flag.id} cannot be drawn on the CT: {error}"
            finding = Finding("lesion-not-drawn", Level.HOLD, message, Who.PERSON, lesion=mapped.flag.id)
            return mapped, _Drawn({}, (finding,))

    @cached_property
    def _bearings(self) -> Bearings | None:
        """What the CT shows of the body; None where nobody looked at its spine."""
        levels = next(iter(self.registrars.values())).levels
        return Bearings(self.ct, levels.spine, self.exam.organs) if levels else None

    @cached_property
    def _vertebrae(self) -> Vertebrae:
        return Vertebrae(self.ct, self.exam.landmarks)

    @cached_property
    def _organs(self) -> tuple[tuple[str, Slabs], ...]:
        return drawn_organs(self.exam.organs, self.ct.grid)

    def _traced(self, mapped: MappedLesion, gtv: Shape) -> _Drawn:
        """GTV, and where the protocol has a rule for the site, CTV and PTV; all on the CT's slices."""
        flag = mapped.flag
        maker = TargetMaker(self.ct, self.exam.organs, self.protocol, self._vertebrae)
        targets = maker.made(flag.id, flag.site, gtv, self._widening_mm(mapped))
        if holds(targets.findings):
            return _Drawn({}, targets.findings, targets)
        # Holes stay in every target, so that each lies in the next: one around the canal must not swallow it.
        traced = {kind: trace(shape, self.ct.grid) for kind, shape in targets.shapes.items()}
        findings = tuple(f for kind, tracing in traced.items() for f in tracing.findings(flag.id, kind.value))
        contours = {kind: tracing.contours for kind, tracing in traced.items()}
        findings = (*targets.findings, *_flagged_parts(flag, traced[RoiKind.GTV]), *findings)
        return _Drawn(contours, findings, targets)

    def _widening_mm(self, mapped: MappedLesion) -> float:
        """What the uncertainty of the lesion's place adds to its PTV margin, in quadrature."""
        rule = self.protocol.registration_margin
        return rule.factor * mapped.uncertainty_mm if rule else 0.0

    def _rois(self, flag: FlaggedLesion, drawn: _Drawn, text: str) -> tuple[Roi, ...]:
        tracking_uid = self.tracking.get(flag.id, flag.tracking_uid)
        target = Target(flag.id, flag.label, flag.site, text, drawn.contours, tracking_uid)
        return build_structure_set([target], self.ct.grid, label=LABEL, description=DESCRIPTION).rois


def _flagged_parts(flag: FlaggedLesion, gtv: Tracing) -> Iterator[Finding]:
    """What of the flag a reader may have meant otherwise: parts too faint to be drawn, and holes."""
    faint_ml = faint_parts_ml(flag)
    if faint_ml:
        total_ml = sum(faint_ml)
        level = Level.HOLD if total_ml >= FAINT_HOLDS_ML else Level.WARN
        message = (
            f"{len(faint_ml)} parts of {flag.id}, of {total_ml:.3f} ml together, are less than half as dense as its "
            "densest one and were not drawn."
        )
        yield Finding("lesion-part-faint", level, message, Who.PERSON, total_ml, FAINT_HOLDS_ML, "ml", lesion=flag.id)
    if gtv.holes_ml > 0.0:
        message = f"The GTV of {flag.id} has holes, as it was flagged, of {gtv.holes_ml:.3f} ml. They are left out."
        yield Finding("lesion-hole", Level.WARN, message, Who.PERSON, gtv.holes_ml, 0.0, "ml", lesion=flag.id)


def with_caution(proposal: Proposal | Abstention, flag: FlaggedLesion) -> Proposal | Abstention:
    """The proposal with a caution first, where it rests on a site that only the lesion's place told."""
    words = caution(flag)
    if not words or not isinstance(proposal, Proposal):
        return proposal
    return replace(proposal, cautions=(words, *proposal.cautions))


def facts_of(
    mapped: MappedLesion, rois: tuple[Roi, ...], beside: tuple[OrganAt, ...], notes: tuple[Finding, ...] = ()
) -> TargetFacts:
    """What is known of a lesion when its dose is asked for.

    Args:
        mapped: the lesion on the CT.
        rois: its targets.
        beside: the organs beside them.
        notes: of the course of disease.
    """
    volumes = {roi.kind: roi.volume_ml for roi in rois}
    flag = mapped.flag
    return TargetFacts(
        site=flag.site,
        gtv_volume_ml=volumes.get(RoiKind.GTV, 0.0),
        ptv_volume_ml=volumes.get(RoiKind.PTV, 0.0),
        uncertainty_mm=mapped.uncertainty_mm,
        held_for=tuple(one.message for one in (*mapped.findings, *notes) if one.level is Level.HOLD),
        diameter_mm=largest_diameter_mm(rois),
        organs=beside,
        where=", ".join(filter(None, [flag.level, flag.side.value if flag.side is not Side.UNKNOWN else ""])),
    )


def unplanned(flag: FlaggedLesion, exam: Exam, status: LesionStatus, reason: Finding) -> PlannedLesion:
    """A lesion that was not mapped, and why."""
    adc = adc_median(exam, flag)
    return PlannedLesion(flag, status, (reason.message,), None, (), flag.volume_ml, adc, Abstention((reason,)))


def excluded(flag: FlaggedLesion, exam: Exam, exclusion: Exclusion) -> PlannedLesion:
    """A lesion that a named person left without a target, and whose decision it was."""
    message = f"Excluded by {exclusion.by}: {exclusion.reason}"
    reason = Finding("lesion-excluded", Level.WARN, message, Who.PERSON, lesion=flag.id)
    return unplanned(flag, exam, LesionStatus.EXCLUDED, reason)
