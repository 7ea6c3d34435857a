"""The pure whole: from an exam and a protocol to a plan, which proposes or holds and never guesses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from psdt_planner.errors import DecisionNeededError, InputError
from psdt_planner.exam import Exam
from psdt_planner.findings import Finding, Level, Who, holds
from psdt_planner.fractionation import Abstention
from psdt_planner.images import Volume
from psdt_planner.planning.beside import about_names
from psdt_planner.planning.channels import Channels, channels_by_lesion
from psdt_planner.planning.composite import with_composites
from psdt_planner.planning.course import Course
from psdt_planner.planning.earlier import Earlier, place_courses
from psdt_planner.planning.lesion import LesionPlanner, excluded, unplanned
from psdt_planner.planning.merging import merged
from psdt_planner.planning.relations import among_targets, meetings
from psdt_planner.planning.types import DESCRIPTION, LABEL, Exclusion, LesionStatus, Plan, PlannedLesion, PlanStatus
from psdt_planner.planning.vertebrae import about_landmarks
from psdt_planner.protocol import Protocol
from psdt_planner.registration import (
    CaseRegistration,
    LesionRegistrar,
    LevelCheck,
    RegistrationSource,
    check_levels,
    register_case,
)
from psdt_planner.shapes import StructureSet
from psdt_planner.structures import Relation

Progress = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many steps are over."""

SEEN_MM = 1.0
"""Contours further than this beside the lesion on fused images are noticed, and are explained."""

DOUBTS = frozenset({"lesion-uncertain", "lesion-moved-far", "lesion-side"})
"""What speaks of a lesion whose surroundings the images do not show alike."""

LEAST_DOUBTED = 3
"""On synthetic patients at most two of eight for the right patient; of another's MR, five and more where his spine has
the same length."""


def plan(
    exam: Exam,
    protocol: Protocol,
    *,
    seed: int = 1,
    exclusions: tuple[Exclusion, ...] = (),
    course: Course | None = None,
    threads: int = 1,
    progress: Progress = lambda _what, _done, _total: None,
) -> Plan:
    """The plan for one exam: every flagged lesion mapped, contoured and given a proposal, or held with its reasons.

    Args:
        exam: as read.
        protocol: the clinical tables.
        seed: of the samples that the registration draws; same input and seed, same plan.
        exclusions: lesions that a named person leaves without a target.
        course: of the disease. What it found joins the findings of the exam and of the lesions; a lesion that does not
            progress by the reader's word gets no target, and one that does not by the time-line alone is held.
        threads: how many lesions are worked on at once; the plan is the same for any number.
        progress: told of each step.

    Raises:
        InputError: an exclusion names a lesion that is not flagged.
    """
    _check_exclusions(exam, exclusions)
    notes: Mapping[str, tuple[Finding, ...]] = {}
    if course is not None:
        exclusions = (*exclusions, *_by_the_reader(course, exclusions))
        left_out = {exclusion.lesion for exclusion in exclusions}
        exam = replace(exam, findings=(*exam.findings, *course.for_case(left_out)))
        notes = course.for_lesions(left_out)
    said = tuple(finding for about in notes.values() for finding in about)
    if exam.planning_ct is None or not exam.flags or holds(exam.findings):
        return replace(_unmapped(exam, protocol, exclusions, said), course=course)
    frames = sorted({flag.grid.frame for flag in exam.flags})
    if len(frames) > 1:
        return replace(_unmapped(exam, protocol, exclusions, (*said, _several_frames(frames))), course=course)
    with ThreadPoolExecutor(threads) as pool:
        if exam.courses:
            progress("earlier radiotherapy", 0, len(exam.courses))
        earlier = place_courses(exam, protocol, seed=seed, mapper=pool.map)
        ct, exam = exam.planning_ct, replace(exam, findings=(*exam.findings, *earlier.findings))
        if holds(earlier.findings):
            return replace(_unmapped(exam, protocol, exclusions, said), course=course, earlier=earlier)
        way = _Way(seed, exclusions, pool, progress, notes, course, earlier)
        made = _mapped(exam, ct, protocol, frames[0], way)
    return replace(made, course=course, earlier=earlier)


@dataclass(frozen=True)
class _Way:
    """How a plan is made: what was decided beforehand, and what it is made with."""

    seed: int
    exclusions: tuple[Exclusion, ...]
    pool: ThreadPoolExecutor
    progress: Progress
    notes: Mapping[str, tuple[Finding, ...]]
    course: Course | None
    earlier: Earlier


def _mapped(exam: Exam, ct: Volume, protocol: Protocol, frame: str, way: _Way) -> Plan:
    """The plan of a case whose flags stand in one frame."""
    by_lesion = {exclusion.lesion: exclusion for exclusion in way.exclusions}
    (channels, own), count = channels_by_lesion(exam, frame, by_lesion), len(exam.flags)
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
    made_for = {
        one: LesionRegistrar(ct, one.anatomical, one.dwi, registration, way.seed, levels)
        for one in dict.fromkeys(own.values())
    }
    registrars = {lesion: made_for[one] for lesion, one in own.items()}
    tracking = way.course.tracking if way.course else {}
    planner = LesionPlanner(exam, ct, protocol, registrars, count - len(by_lesion), way.notes, tracking, way.earlier)
    planned = way.pool.map(lambda flag: planner.planned(flag, by_lesion.get(flag.id)), exam.flags)
    lesions = []
    for n, flag in enumerate(exam.flags):
        way.progress(f"{flag.id} {flag.label}", n, count)
        lesions.append(next(planned))
    way.progress("structure set", count, count)
    between = _between(exam, ct, protocol, tuple(lesions), planner.targets)
    made = _finished(exam, protocol, registration, between, way)
    return replace(made, relations=between.relations, levels=levels)


@dataclass(frozen=True, eq=False)
class _Between:
    """The lesions once they were looked at together, how their targets lie, and what is to be said of it."""

    lesions: tuple[PlannedLesion, ...]
    relations: tuple[Relation, ...]
    findings: tuple[Finding, ...]


def _between(exam: Exam, ct: Volume, protocol: Protocol, lesions: tuple[PlannedLesion, ...], targets: int) -> _Between:
    """Targets that meet are merged where the protocol asks for it; what still meets is said."""
    among = among_targets(lesions, ct.grid)
    merges: tuple[Finding, ...] = ()
    if protocol.overlaps is not None and protocol.overlaps.targets == "merge-ptv":
        lesions, merges = merged(lesions, among, exam, protocol, targets)
        among = among_targets(lesions, ct.grid)
    lesions = with_composites(lesions, among, protocol)
    relations = (*(one for lesion in lesions for one in lesion.to_organs), *among)
    findings = (
        *merges,
        *meetings(lesions, among),
        *about_names(exam.organs, protocol),
        *about_landmarks(exam.landmarks),
    )
    return _Between(lesions, relations, findings)


def _levels(ct: Volume, channels: Channels, registration: CaseRegistration, way: _Way) -> LevelCheck | None:
    """What the spine says of the registration; None where nothing was found at all."""
    if any(finding.code == "registration-failed" for finding in registration.findings):
        return None
    computed = registration.source is RegistrationSource.COMPUTED
    whole = registration.ct_from_mr
    return check_levels(ct, channels.anatomical, whole, computed=computed, seed=way.seed, mapper=way.pool.map)


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


def _unmapped(exam: Exam, protocol: Protocol, exclusions: tuple[Exclusion, ...], findings: tuple[Finding, ...]) -> Plan:
    """The plan of a case that is held before anything could be mapped."""
    found = (*exam.findings, *findings)
    codes = ", ".join(sorted({finding.code for finding in found if finding.level is Level.HOLD}))
    by_lesion = {exclusion.lesion: exclusion for exclusion in exclusions}
    lesions = []
    for flag in exam.flags:
        if flag.id in by_lesion:
            lesions.append(excluded(flag, exam, by_lesion[flag.id]))
            continue
        reason = Finding("case-held", Level.HOLD, f"The case is held: {codes}.", Who.PERSON, lesion=flag.id)
        lesions.append(unplanned(flag, exam, LesionStatus.HELD, reason))
    return Plan(PlanStatus.HELD, found, exam, None, tuple(lesions), None, protocol, exclusions)


def _finished(
    exam: Exam,
    protocol: Protocol,
    registration: CaseRegistration,
    between: _Between,
    way: _Way,
) -> Plan:
    """The plan, with the structure set of every mapped lesion unless something holds it."""
    lesions = between.lesions
    own = tuple(finding for lesion in lesions for finding in _own_findings(lesion, registration))
    findings = (
        *exam.findings,
        *registration.findings,
        *_unused(exam, registration, way.course, way.earlier),
        *_local(lesions, registration),
        *_contradicted(lesions),
        *own,
        *(finding for about in way.notes.values() for finding in about),
        *between.findings,
        *(untreated(lesions, way.course) if way.course else ()),
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
    return Plan(status, findings, exam, registration, lesions, structure_set, protocol, way.exclusions)


def _by_the_reader(course: Course, exclusions: tuple[Exclusion, ...]) -> Iterator[Exclusion]:
    """Lesions that the reader calls not progressive; a named person's own words go before these."""
    named = {exclusion.lesion for exclusion in exclusions}
    for lesion, why in course.left_by_reader.items():
        if lesion not in named:
            yield Exclusion(lesion, why, "the reader")


def untreated(lesions: tuple[PlannedLesion, ...], course: Course) -> Iterator[Finding]:
    """``progressive-untreated`` (hold) of a progressive lesion that is neither held nor left out by name, and has no
    target all the same."""
    progressive = {entry.lesion for entry in course.timeline.progressive}
    for lesion in lesions:
        if lesion.flag.id in progressive and lesion.status is LesionStatus.MAPPED and not lesion.rois:
            message = f"{lesion.flag.id} progresses, and has no target."
            yield Finding("progressive-untreated", Level.HOLD, message, Who.PERSON, lesion=lesion.flag.id)


def _unused(exam: Exam, registration: CaseRegistration, course: Course | None, earlier: Earlier) -> Iterator[Finding]:
    """Registration objects that join neither the flags' frame to the CT's, nor the prior exam to this one, nor an
    earlier dose to the CT.

    One that joins the flags' frame for other images than the flags' is a warning: whoever sent it may have meant them.
    """
    frame = registration.ct_from_mr.source
    limited = {one.source_uid for one in exam.registrations if any(limit.frame == frame for limit in one.limits)}
    used = {
        *registration.objects,
        *earlier.objects,
        *(course.compared.registration.objects if course and course.compared else ()),
    }
    for uid in dict.fromkeys(one.source_uid for one in exam.registrations):
        if uid in used:
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


def _contradicted(lesions: tuple[PlannedLesion, ...]) -> Iterator[Finding]:
    """Where half of the lesions or more, and `LEAST_DOUBTED`, have no sure place, the images may be of two patients."""
    mapped = [lesion.mapped for lesion in lesions if lesion.mapped is not None]
    doubted = [one.flag.id for one in mapped if DOUBTS & {finding.code for finding in one.findings}]
    if len(doubted) >= max(LEAST_DOUBTED, len(mapped) / 2):
        message = (
            f"Around {', '.join(doubted)} MR and planning CT do not fit each other. "
            "Look whether they are of one patient."
        )
        limit = max(LEAST_DOUBTED, len(mapped) / 2)
        yield Finding("registration-wrong-patient", Level.HOLD, message, Who.PERSON, len(doubted), limit, "lesions")


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
