"""The pure whole: from an exam and a protocol to a plan, which proposes or holds and never guesses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from psdt_planner.contours import lesion_shape, trace
from psdt_planner.errors import DecisionNeededError, InputError
from psdt_planner.exam import Exam
from psdt_planner.findings import Finding, Level, Who, holds
from psdt_planner.fractionation import Abstention, Proposal, TargetFacts, propose
from psdt_planner.images import Kind, Volume, sample
from psdt_planner.lesions import FlaggedLesion, MappedLesion
from psdt_planner.protocol import Margin as ProtocolMargin
from psdt_planner.protocol import Protocol
from psdt_planner.registration import (
    CaseRegistration,
    LesionRegistrar,
    LevelCheck,
    Place,
    RegistrationSource,
    check_levels,
    register_case,
)
from psdt_planner.shapes import Contour, Roi, RoiKind, StructureSet
from psdt_planner.structures import Margin, Target, build_structure_set, grow

LABEL = "psdt PROPOSAL"
"""StructureSetLabel of everything that psdt writes."""

DESCRIPTION = "PROPOSAL by psdt, research software: not a prescription, not approved."


class PlanStatus(StrEnum):
    """Whether a plan may be put before a person for release."""

    PROPOSED = "proposed"
    HELD = "held"


class LesionStatus(StrEnum):
    """What became of a flagged lesion."""

    MAPPED = "mapped"
    HELD = "held"
    EXCLUDED = "excluded"


@dataclass(frozen=True)
class Exclusion:
    """A named person's decision to leave a flagged lesion without a target.

    Attributes:
        lesion: the lesion's id.
        reason: in the person's words.
        by: the person's name.
    """

    lesion: str
    reason: str
    by: str


@dataclass(frozen=True, eq=False)
class PlannedLesion:
    """One flagged lesion with all that was found and proposed for it.

    Attributes:
        flag: as the reader marked it.
        status: what became of it.
        reasons: why it is held or excluded, in words; empty for a mapped lesion.
        mapped: where it is on the CT; None where it could not be mapped or was excluded.
        rois: GTV, CTV and PTV in this order; empty unless mapped.
        volume_ml: of the flag's mask.
        adc_median_mm2_per_s: over the flag; None where there is no usable ADC map.
        proposal: dose and fractions, or why there are none.
    """

    flag: FlaggedLesion
    status: LesionStatus
    reasons: tuple[str, ...]
    mapped: MappedLesion | None
    rois: tuple[Roi, ...]
    volume_ml: float
    adc_median_mm2_per_s: float | None
    proposal: Proposal | Abstention


@dataclass(frozen=True, eq=False)
class Plan:
    """What psdt proposes for one patient.

    Attributes:
        status: held as soon as one finding holds the case or one lesion.
        findings: of the whole case and of each lesion.
        exam: what the plan was made from.
        registration: None where the case could not be registered.
        lesions: every flagged lesion, in order of its id.
        structure_set: None when held: a set that lacks a progressive site must not look complete.
        protocol: the clinical tables that decided.
        exclusions: as given.
        levels: what the spine says of the registration; None where that could not be asked.
    """

    status: PlanStatus
    findings: tuple[Finding, ...]
    exam: Exam
    registration: CaseRegistration | None
    lesions: tuple[PlannedLesion, ...]
    structure_set: StructureSet | None
    protocol: Protocol
    exclusions: tuple[Exclusion, ...]
    levels: LevelCheck | None = None


Progress = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many steps are over."""

ANATOMICAL = (Kind.T1, Kind.DIXON_IN, Kind.DIXON_FAT, Kind.DIXON_WATER, Kind.T2)
"""MR that shows anatomy without EPI distortion, the best for a fit first."""

DIFFUSION = (Kind.DWI_TRACE, Kind.DWI)

UNDISTORTED = frozenset(kind.value for kind in (*ANATOMICAL, Kind.DIXON_OUT, Kind.PLANNING_CT, Kind.CT))
"""A flag drawn on anything else, or on nobody knows what, may stand where an echo-planar image shows it."""

BONE_SITES = frozenset({"spine", "bone"})
"""Sites whose lesions move as bone does; everything else, and what nobody named, counts as soft tissue."""

SEEN_MM = 1.0
"""Contours further than this beside the lesion on fused images are noticed, and are explained."""

CHANNELS = 2
"""Anatomical volumes that vote on a lesion's place: more cost time and agree with the first two."""


def plan(
    exam: Exam,
    protocol: Protocol,
    *,
    seed: int = 1,
    exclusions: tuple[Exclusion, ...] = (),
    threads: int = 1,
    progress: Progress = lambda _what, _done, _total: None,
) -> Plan:
    """The plan for one exam: every flagged lesion mapped, contoured and given a proposal, or held with its reasons.

    Args:
        exam: as read.
        protocol: the clinical tables.
        seed: of the samples that the registration draws; same input and seed, same plan.
        exclusions: lesions that a named person leaves without a target.
        threads: how many lesions are worked on at once; the plan is the same for any number.
        progress: told of each step.

    Raises:
        InputError: an exclusion names a lesion that is not flagged.
    """
    _check_exclusions(exam, exclusions)
    if exam.planning_ct is None or not exam.flags or holds(exam.findings):
        return _unmapped(exam, protocol, exclusions, ())
    frames = sorted({flag.grid.frame for flag in exam.flags})
    if len(frames) > 1:
        return _unmapped(exam, protocol, exclusions, (_several_frames(frames),))
    with ThreadPoolExecutor(threads) as pool:
        return _mapped(exam, exam.planning_ct, protocol, frames[0], _Way(seed, exclusions, pool, progress))


@dataclass(frozen=True)
class _Way:
    """How a plan is made: what was decided beforehand, and what it is made with."""

    seed: int
    exclusions: tuple[Exclusion, ...]
    pool: ThreadPoolExecutor
    progress: Progress


def _mapped(exam: Exam, ct: Volume, protocol: Protocol, frame: str, way: _Way) -> Plan:
    """The plan of a case whose flags stand in one frame."""
    channels, count = channels_of(exam, frame), len(exam.flags)
    drawn_on = {flag.series_uid for flag in exam.flags}
    way.progress("whole body", 0, count)
    try:
        registration = register_case(
            ct, frame, channels.whole_body, exam.registrations, seed=way.seed, drawn_on=drawn_on, mapper=way.pool.map
        )
    except DecisionNeededError as error:
        finding = Finding("mr-absent", Level.HOLD, str(error), Who.SENDER)
        return _unmapped(exam, protocol, way.exclusions, (finding,))
    way.progress("vertebral levels", 0, count)
    levels = _levels(ct, channels, registration, way)
    if levels is not None:
        registration = replace(registration, findings=(*registration.findings, *levels.findings))
    registrar = LesionRegistrar(ct, channels.anatomical, channels.dwi, registration, way.seed, levels)
    by_lesion = {exclusion.lesion: exclusion for exclusion in way.exclusions}
    planner = _LesionPlanner(exam, ct, protocol, registrar, count - len(by_lesion))
    planned = way.pool.map(lambda flag: planner.planned(flag, by_lesion.get(flag.id)), exam.flags)
    lesions = []
    for n, flag in enumerate(exam.flags):
        way.progress(f"{flag.id} {flag.label}", n, count)
        lesions.append(next(planned))
    way.progress("structure set", count, count)
    return replace(_finished(exam, protocol, registration, tuple(lesions), way.exclusions), levels=levels)


def _levels(ct: Volume, channels: Channels, registration: CaseRegistration, way: _Way) -> LevelCheck | None:
    """What the spine says of the registration; None where nothing was found at all."""
    if any(finding.code == "registration-failed" for finding in registration.findings):
        return None
    computed = registration.source is RegistrationSource.COMPUTED
    whole = registration.ct_from_mr
    return check_levels(ct, channels.anatomical, whole, computed=computed, seed=way.seed, mapper=way.pool.map)


@dataclass(frozen=True)
class Channels:
    """The MR volumes of the flags' frame that a registration uses.

    Attributes:
        anatomical: the best first; where the exam has no anatomical images, the DWI.
        dwi: the low-b image beside them; None where there is none.
    """

    anatomical: tuple[Volume, ...]
    dwi: Volume | None

    @property
    def whole_body(self) -> Volume | None:
        """What the whole body is registered with; None where there is nothing."""
        return self.anatomical[0] if self.anatomical else None


def channels_of(exam: Exam, frame: str) -> Channels:
    """Anatomy first; where the exam has none, the DWI at its two lowest b-values stands in for it.

    Only volumes that hold every flag count. Of one kind the longest goes first: it shows most of the body. The EPI
    shift is told from the series on the lattice that the flags were drawn on, where there is one.
    """
    places = np.array([flag.centroid_mm for flag in exam.flags])

    def fitting(*kinds: Kind) -> list[Volume]:
        here = [volume for volume in exam.of_kind(*kinds) if volume.grid.frame == frame]
        return [volume for volume in here if volume.grid.contains(places).all()]

    anatomical = sorted(fitting(*ANATOMICAL), key=lambda v: (ANATOMICAL.index(v.quantity.kind), -_length_mm(v)))
    drawn_on = {volume.grid for volume in exam.mr if volume.series_uid == exam.flags[0].series_uid}
    dwi = sorted(
        fitting(*DIFFUSION), key=lambda v: (v.grid not in drawn_on, v.quantity.b_value_s_per_mm2 or 0.0, v.series_uid)
    )
    if anatomical:
        return Channels(tuple(anatomical[:CHANNELS]), dwi[0] if dwi else None)
    same = tuple(volume for volume in dwi if volume.grid == dwi[0].grid)
    return Channels(same[:CHANNELS], None)


def _length_mm(volume: Volume) -> float:
    return float(volume.grid.slice_offsets_mm[-1])


def _several_frames(frames: list[str]) -> Finding:
    message = f"The flags were drawn in {len(frames)} frames of reference ({', '.join(frames)}); send them in one."
    return Finding("flag-frames-several", Level.HOLD, message, Who.SENDER, len(frames), 1, "frames")


def _check_exclusions(exam: Exam, exclusions: tuple[Exclusion, ...]) -> None:
    known = {flag.id for flag in exam.flags}
    for exclusion in exclusions:
        if exclusion.lesion not in known:
            raise InputError(
                f"{exclusion.lesion} is to be excluded but is not flagged",
                todo=f"The flagged lesions are {', '.join(sorted(known)) or 'none'}.",
            )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The rings of one lesion, traced from shapes that hold one another, and what speaks against them."""

    contours: dict[RoiKind, tuple[Contour, ...]]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class _LesionPlanner:
    """Takes flag after flag of one case through mapping, contours and proposal."""

    exam: Exam
    ct: Volume
    protocol: Protocol
    registrar: LesionRegistrar
    targets: int

    def planned(self, flag: FlaggedLesion, exclusion: Exclusion | None) -> PlannedLesion:
        """The lesion mapped, drawn and given a proposal; one that a person excluded is only kept."""
        if exclusion is not None:
            return _excluded(flag, self.exam, exclusion)
        mapped = self._mapped(flag)
        drawn = _Drawn({}, ()) if mapped.held else self._drawn(mapped)
        mapped = replace(mapped, findings=(*mapped.findings, *drawn.findings))
        rois = () if mapped.held else self._rois(flag, drawn, "")
        facts = _facts(mapped, rois)
        proposal = propose(facts, self.protocol, targets=self.targets)
        if rois and isinstance(proposal, Proposal):
            rois = self._rois(flag, drawn, f"{proposal.schedule}, {proposal.rule}.")
        return PlannedLesion(
            flag=flag,
            status=LesionStatus.HELD if mapped.held else LesionStatus.MAPPED,
            reasons=facts.held_for,
            mapped=mapped,
            rois=rois,
            volume_ml=flag.volume_ml,
            adc_median_mm2_per_s=_adc_median(self.exam, flag),
            proposal=proposal,
        )

    def _mapped(self, flag: FlaggedLesion) -> MappedLesion:
        place = Place(
            lesion=flag.id,
            centre_mm=flag.centroid_mm,
            voxel_mm=max(flag.grid.spacing_kji_mm),
            in_bone=flag.site in BONE_SITES,
            on_dwi=flag.drawn_on_kind not in UNDISTORTED,
            side=flag.side,
        )
        found = self.registrar.register(place)
        findings = (*self.registrar.case.findings, *found.findings)
        return MappedLesion(
            flag,
            found.ct_from_mr,
            found.anatomical_ct_from_mr,
            found.uncertainty_mm,
            found.disagreement_mm,
            found.method,
            findings,
            found.distances_mm,
        )

    def _drawn(self, mapped: MappedLesion) -> _Drawn:
        """The rings of every target; one that cannot be drawn holds its lesion, and the others go on."""
        try:
            return self._traced(mapped)
        except InputError as error:
            message = f"{mapped.flag.id} cannot be drawn on the CT: {error}"
            finding = Finding("lesion-not-drawn", Level.HOLD, message, Who.PERSON, lesion=mapped.flag.id)
            return _Drawn({}, (finding,))

    def _traced(self, mapped: MappedLesion) -> _Drawn:
        """GTV, and where the protocol has a rule for the site, CTV and PTV; all on the CT's slices."""
        flag = mapped.flag
        shapes = {RoiKind.GTV: lesion_shape(flag, mapped.ct_from_mr, self.ct.grid)}
        rule = self.protocol.sites.get(flag.site)
        if rule is not None:
            shapes[RoiKind.CTV] = grow(shapes[RoiKind.GTV], _margin(rule.gtv_to_ctv), self.ct.grid)
            margin = _margin(rule.ctv_to_ptv).widened(self._widening_mm(mapped))
            shapes[RoiKind.PTV] = grow(shapes[RoiKind.CTV], margin, self.ct.grid)
        traced = {kind: trace(shape, self.ct.grid) for kind, shape in shapes.items()}
        findings = tuple(f for kind, tracing in traced.items() for f in tracing.findings(flag.id, kind.value))
        return _Drawn({kind: tracing.contours for kind, tracing in traced.items()}, findings)

    def _widening_mm(self, mapped: MappedLesion) -> float:
        """What the uncertainty of the lesion's place adds to its PTV margin, in quadrature."""
        rule = self.protocol.registration_margin
        return rule.factor * mapped.uncertainty_mm if rule else 0.0

    def _rois(self, flag: FlaggedLesion, drawn: _Drawn, text: str) -> tuple[Roi, ...]:
        target = Target(flag.id, flag.label, flag.site, text, drawn.contours, flag.tracking_uid)
        return build_structure_set([target], self.ct.grid, label=LABEL, description=DESCRIPTION).rois


def _margin(rule: ProtocolMargin) -> Margin:
    (right, left), (anterior, posterior), (inferior, superior) = rule.lps_mm
    return Margin(left=left, right=right, anterior=anterior, posterior=posterior, superior=superior, inferior=inferior)


def _facts(mapped: MappedLesion, rois: tuple[Roi, ...]) -> TargetFacts:
    volumes = {roi.kind: roi.volume_ml for roi in rois}
    return TargetFacts(
        site=mapped.flag.site,
        gtv_volume_ml=volumes.get(RoiKind.GTV, 0.0),
        ptv_volume_ml=volumes.get(RoiKind.PTV, 0.0),
        uncertainty_mm=mapped.uncertainty_mm,
        held_for=tuple(finding.message for finding in mapped.findings if finding.level is Level.HOLD),
    )


def _adc_median(exam: Exam, flag: FlaggedLesion) -> float | None:
    """Median ADC over the flagged voxels; None where no ADC map of the flag's frame holds them all."""
    inside = flag.grid.mm_from_index(np.argwhere(flag.mask >= min(0.5, float(flag.mask.max()))))
    for volume in exam.of_kind(Kind.ADC):
        if volume.grid.frame == flag.grid.frame and volume.grid.contains(inside).all():
            return float(np.median(sample(volume, inside, flag.grid.frame)))
    return None


def _unplanned(flag: FlaggedLesion, exam: Exam, status: LesionStatus, reason: Finding) -> PlannedLesion:
    """A lesion that was not mapped, and why."""
    adc = _adc_median(exam, flag)
    return PlannedLesion(flag, status, (reason.message,), None, (), flag.volume_ml, adc, Abstention((reason,)))


def _excluded(flag: FlaggedLesion, exam: Exam, exclusion: Exclusion) -> PlannedLesion:
    message = f"Excluded by {exclusion.by}: {exclusion.reason}"
    reason = Finding("lesion-excluded", Level.WARN, message, Who.PERSON, lesion=flag.id)
    return _unplanned(flag, exam, LesionStatus.EXCLUDED, reason)


def _unmapped(exam: Exam, protocol: Protocol, exclusions: tuple[Exclusion, ...], findings: tuple[Finding, ...]) -> Plan:
    """The plan of a case that is held before anything could be mapped."""
    found = (*exam.findings, *findings)
    codes = ", ".join(sorted({finding.code for finding in found if finding.level is Level.HOLD}))
    by_lesion = {exclusion.lesion: exclusion for exclusion in exclusions}
    lesions = []
    for flag in exam.flags:
        if flag.id in by_lesion:
            lesions.append(_excluded(flag, exam, by_lesion[flag.id]))
            continue
        reason = Finding("case-held", Level.HOLD, f"The case is held: {codes}.", Who.PERSON, lesion=flag.id)
        lesions.append(_unplanned(flag, exam, LesionStatus.HELD, reason))
    return Plan(PlanStatus.HELD, found, exam, None, tuple(lesions), None, protocol, exclusions)


def _finished(
    exam: Exam,
    protocol: Protocol,
    registration: CaseRegistration,
    lesions: tuple[PlannedLesion, ...],
    exclusions: tuple[Exclusion, ...],
) -> Plan:
    """The plan, with the structure set of every mapped lesion unless something holds it."""
    own = tuple(finding for lesion in lesions for finding in _own_findings(lesion, registration))
    findings = (
        *exam.findings,
        *registration.findings,
        *_unused(exam, registration),
        *_local(lesions, registration),
        *own,
    )
    targets = [lesion for lesion in lesions if lesion.rois]
    held = holds(findings) or not targets
    if not targets and not holds(findings):
        findings = (*findings, Finding("targets-none", Level.HOLD, "No flagged lesion is left to treat.", Who.PERSON))
    structure_set = None
    if not held and exam.planning_ct is not None:
        rois = tuple(roi for lesion in targets for roi in lesion.rois)
        structure_set = StructureSet(exam.planning_ct.grid, LABEL, DESCRIPTION, rois)
    status = PlanStatus.HELD if held else PlanStatus.PROPOSED
    return Plan(status, findings, exam, registration, lesions, structure_set, protocol, exclusions)


def _unused(exam: Exam, registration: CaseRegistration) -> Iterator[Finding]:
    """Registration objects by which the flags' frame is not joined to the CT's, alone or in a chain.

    One that joins the flags' frame for other images than the flags' is a warning: whoever sent it may have meant them.
    """
    frame = registration.ct_from_mr.source
    limited = {one.source_uid for one in exam.registrations if any(limit.frame == frame for limit in one.limits)}
    for uid in dict.fromkeys(one.source_uid for one in exam.registrations):
        if uid in registration.objects:
            continue
        if uid in limited:
            message = f"Spatial Registration object {uid} holds for other images than the flags were drawn on, and was "
            yield Finding("registration-not-used", Level.WARN, f"{message}not used.", Who.SENDER)
        else:
            message = f"Spatial Registration object {uid} joins other frames, and was not used."
            yield Finding("registration-not-used", Level.INFO, message, Who.SENDER)


def _local(lesions: tuple[PlannedLesion, ...], registration: CaseRegistration) -> Iterator[Finding]:
    """How far the contours lie from where the registration object, which holds one transform, would put them."""
    mapped = [lesion.mapped for lesion in lesions if lesion.mapped is not None]
    apart_mm = [
        float(np.linalg.norm(one.centroid_ct_mm - registration.ct_from_mr.apply(one.flag.centroid_mm)))
        for one in mapped
    ]
    if apart_mm and max(apart_mm) > SEEN_MM:
        message = (
            "Each lesion has a transform of its own. The registration object holds the whole body's: fused images show "
            f"contours up to {max(apart_mm):.1f} mm beside the lesion."
        )
        yield Finding("registration-differs-locally", Level.INFO, message, Who.PERSON, max(apart_mm), SEEN_MM, "mm")


def _own_findings(lesion: PlannedLesion, registration: CaseRegistration) -> Iterator[Finding]:
    """What was found about this lesion alone; a registration's findings are the case's."""
    if lesion.status is LesionStatus.EXCLUDED and isinstance(lesion.proposal, Abstention):
        yield from lesion.proposal.reasons
    if lesion.mapped is None:
        return
    yield from (finding for finding in lesion.mapped.findings if finding not in registration.findings)
    if lesion.status is LesionStatus.MAPPED and isinstance(lesion.proposal, Abstention):
        reasons = " ".join(reason.message for reason in lesion.proposal.reasons)
        message = f"No dose is proposed for {lesion.flag.id}: {reasons}"
        yield Finding("dose-abstained", Level.WARN, message, Who.PERSON, lesion=lesion.flag.id)
