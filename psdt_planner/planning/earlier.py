"""Earlier radiotherapy beside the plan: where its dose lies, what organs and targets got, and what that forbids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from psdt_planner.exam import EarlierCourse, Exam, Organ
from psdt_planner.findings import Finding, Level, Who, holds
from psdt_planner.fractionation import EARLIER_NOT_EVALUATED, Abstention, Proposal
from psdt_planner.geometry import Grid
from psdt_planner.images import Volume
from psdt_planner.planning.flagged import BONE_SITES
from psdt_planner.planning.sampled import sampled, within
from psdt_planner.planning.targets import is_organ
from psdt_planner.protocol import Protocol, Reirradiation
from psdt_planner.registration import CoursePlaces, ExamsRegistration, RegistrationSource, register_course
from psdt_planner.reirradiation import (
    Nearness,
    NewDose,
    OrganRecord,
    PlacedCourse,
    Sampled,
    TargetRecord,
    earlier_eqd2_gy,
    isodose_points,
    nearness,
    organ_record,
    physical_gy,
    sums_gy,
    target_eqd2_gy,
    with_new_dose,
)
from psdt_planner.shapes import Roi, RoiKind
from psdt_planner.structures import OrganNames, slabs
from psdt_planner.tg263 import OrganName, recognise

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""As the built-in ``map``."""

CHECKED_WITHIN_MM = 100.0
"""How near a target must lie to an earlier volume for the images around it to be asked."""


@dataclass(frozen=True, eq=False)
class Earlier:
    """The earlier courses of one patient on the planning CT.

    Attributes:
        courses: placed; each with the transform of its whole dose.
        registrations: how each lies to the planning CT, in the order of the courses.
        places: tell how far each is to be trusted around a place, in the same order.
        organs: what each contoured organ got, in order of the structure sets.
        findings: for the case.
        protocol: the clinical tables.
        ct: that the organs lie on.
        contoured: the organs.
    """

    courses: tuple[PlacedCourse, ...] = ()
    registrations: tuple[ExamsRegistration, ...] = ()
    places: tuple[CoursePlaces, ...] = ()
    organs: tuple[OrganRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    protocol: Protocol | None = None
    ct: Grid | None = None
    contoured: Mapping[str, Sampled] = field(default_factory=dict)

    @cached_property
    def objects(self) -> frozenset[str]:
        """SOP Instance UIDs of the registration objects that were used."""
        return frozenset(uid for one in self.registrations for uid in one.objects)


NOTHING_EARLIER = Earlier()


def place_courses(exam: Exam, protocol: Protocol, *, seed: int = 1, mapper: Mapper = map) -> Earlier:
    """Every earlier course on the planning CT, and what the organs got; empty without courses or planning CT.

    Findings, beside those of `register_course`: ``earlier-no-rule`` (hold) where the protocol says nothing of earlier
    radiotherapy, ``earlier-dose-uncertain`` (hold) where the images around the dose do not bear out where it was put,
    ``registration-disagrees`` (hold) where they contradict a given registration, ``earlier-dose-unchecked`` (warn)
    where no earlier CT is there to tell, ``earlier-dose-cut`` (warn), ``earlier-several-plans`` (warn) and
    ``earlier-limit-reached`` (warn).
    """
    if exam.planning_ct is None or not exam.courses:
        return NOTHING_EARLIER
    rule = protocol.reirradiation
    if rule is None:
        message = f"There is earlier radiotherapy, and protocol {protocol.name} says nothing of it."
        return Earlier(findings=(Finding("earlier-no-rule", Level.HOLD, message, Who.CLINIC),))
    ct = exam.planning_ct
    found = [_registered(course, exam, ct, seed, mapper) for course in exam.courses]
    registrations = tuple(places.whole for places in found)
    findings = [finding for one in registrations for finding in one.findings]
    if holds(findings):
        return Earlier(registrations=registrations, findings=tuple(findings))
    placed = []
    for course, places in zip(exam.courses, found, strict=True):
        one, said = _placed(course, places, ct, rule)
        placed.append(one)
        findings += said
    contoured = {organ.name: sampled(organ.contours, ct.grid) for organ in exam.organs if is_organ(organ.name)}
    contoured = {name: region for name, region in contoured.items() if len(region.points_mm)}
    records = tuple(_recorded(organ, contoured, placed, protocol) for organ in exam.organs if organ.name in contoured)
    findings += [finding for record in records for finding in _reached(record)]
    return Earlier(tuple(placed), registrations, tuple(found), records, tuple(findings), protocol, ct.grid, contoured)


def _recorded(
    organ: Organ, contoured: Mapping[str, Sampled], placed: Sequence[PlacedCourse], protocol: Protocol
) -> OrganRecord:
    """What an organ got; at the protocol's α/β of its tissue beside those of the schedules."""
    assert protocol.reirradiation is not None  # noqa: S101
    names = OrganNames.of(protocol)
    key = names.key(organ)
    own = [protocol.organs[key].alpha_beta_gy] if key else []
    limited = {name for row in protocol.reirradiation.limits for name in row.organs}
    standard = "" if names.contradicts(organ) else standard_name(organ.name)
    known_as = standard if key not in limited and standard in limited else key or standard
    alpha_betas = [*(row.gy for row in protocol.alpha_beta), *own]
    return organ_record((organ.name, known_as), contoured[organ.name], placed, protocol.reirradiation, alpha_betas)


def standard_name(text: str) -> str:
    """The TG-263 name without its side that an ROI name means; empty where it is no standard name."""
    known = recognise(text)
    return "" if known is None else OrganName.parse(known.name).root


def months_since(earlier: Earlier, record: TargetRecord | None) -> float | None:
    """Months since the last course near a target, at most; None where there is none, or nobody dated one."""
    near = {one.course for one in record.near} if record else set()
    dated = [one for one in earlier.courses if one.course.id in near]
    if not dated or any(one.course.days_before is None for one in dated):
        return None
    return min(one.months() for one in dated)


def _registered(course: EarlierCourse, exam: Exam, ct: Volume, seed: int, mapper: Mapper) -> CoursePlaces:
    frame = course.dose.grid.frame
    earlier_ct = next((one for one in exam.earlier_cts if one.grid.frame == frame), None)
    whole = register_course(ct, frame, earlier_ct, exam.registrations, seed=seed, mapper=mapper)
    return CoursePlaces(ct, earlier_ct, whole, seed)


def _placed(
    course: EarlierCourse, places: CoursePlaces, ct: Volume, rule: Reirradiation
) -> tuple[PlacedCourse, list[Finding]]:
    """A course on the planning CT with the bound on its place: that of the middle of what got half its dose."""
    whole = places.whole
    assert whole.transform is not None  # noqa: S101
    placed = PlacedCourse(course, whole.transform, ct.grid.frame, whole.source.value, whole.method, 0.0)
    findings = list(_about(course, rule))
    if whole.source is RegistrationSource.SHARED_FRAME:
        return placed, findings
    hot = placed.in_ct(isodose_points(course, rule.near.isodose_part * course.prescription_gy))
    middle = np.nanmean(hot, axis=0)
    around = places.around(middle, course.id, in_bone=False)
    if around is None:
        message = f"Nothing checks how the dose of {course.id} was placed: {whole.method}."
        return placed, [*findings, Finding("earlier-dose-unchecked", Level.WARN, message, Who.PERSON)]
    findings += around.findings
    bound_mm, limit_mm = around.uncertainty_mm, rule.near.distance_mm / 2.0
    if bound_mm > limit_mm:
        message = (
            f"The images around the dose of {course.id} bear out its place only within {bound_mm:.1f} mm: send a "
            "Spatial Registration object."
        )
        findings.append(Finding("earlier-dose-uncertain", Level.HOLD, message, Who.PERSON, bound_mm, limit_mm, "mm"))
    return replace(placed, uncertainty_mm=bound_mm), findings


def _about(course: EarlierCourse, rule: Reirradiation) -> Iterator[Finding]:
    if course.several_plans:
        message = (
            f"The dose of {course.id} adds up {len(course.plan_uids)} plans: every EQD2 is an upper bound, as if all "
            f"had been given in {course.fractions} fractions."
        )
        yield Finding("earlier-several-plans", Level.WARN, message, Who.PERSON)
    isodose_gy = rule.near.isodose_part * course.prescription_gy
    faces = [np.take(course.dose.array, end, axis=axis) for axis in range(3) for end in (0, -1)]
    greatest = max(float(face.max()) for face in faces)
    if greatest >= isodose_gy:
        message = (
            f"The dose of {course.id} is still {greatest:.1f} Gy where its lattice ends: what lies beyond is not known."
        )
        yield Finding("earlier-dose-cut", Level.WARN, message, Who.SENDER, greatest, isodose_gy, "Gy")


def _reached(record: OrganRecord) -> Iterator[Finding]:
    """An organ that has had all that the limit allows."""
    if record.limit is not None and record.figure_eqd2_gy is not None and record.left_eqd2_gy == 0.0:
        message = (
            f"{record.name} got {record.figure_eqd2_gy:.1f} Gy EQD2 at α/β {record.limit.alpha_beta_gy:g} Gy in "
            f"earlier courses, of {record.limit.eqd2_gy:g} Gy in all: nothing is left of the limit "
            f"({record.limit.citation})."
        )
        yield Finding(
            "earlier-limit-reached",
            Level.WARN,
            message,
            Who.PERSON,
            record.figure_eqd2_gy,
            record.limit.eqd2_gy,
            "Gy",
        )


# A target -------------------------------------------------------------------------------------------------------------


def target_record(earlier: Earlier, lesion: str, site: str, rois: Sequence[Roi]) -> TargetRecord | None:
    """What a lesion's PTV got, and how near it lies to what got much; None without courses or without a PTV."""
    ptv = next((roi for roi in rois if roi.kind is RoiKind.PTV), None)
    protocol, ct = earlier.protocol, earlier.ct
    if ptv is None or not earlier.courses or protocol is None or protocol.reirradiation is None or ct is None:
        return None
    region, rule = sampled(ptv.contours, ct), protocol.reirradiation
    courses = tuple(
        _around(course, places, region, rule, name=lesion, in_bone=site in BONE_SITES)
        for course, places in zip(earlier.courses, earlier.places, strict=True)
    )
    schedules = (
        [(row.dose_gy, row.fractions) for row in protocol.sites[site].regimens] if site in protocol.sites else []
    )
    eqd2 = target_eqd2_gy(region, courses, [row.gy for row in protocol.alpha_beta])
    _, known = earlier_eqd2_gy(courses, region.points_mm, protocol.alpha_beta[0].gy)
    physical = physical_gy(courses, region.points_mm)
    volumes = region.volumes_ml
    return TargetRecord(
        lesion=lesion,
        nearness=tuple(nearness(region, course, rule) for course in courses),
        known_part=float(volumes[known].sum() / volumes.sum()),
        max_gy=float(physical.max()),
        mean_gy=float((physical * volumes).sum() / volumes.sum()),
        max_eqd2_gy=eqd2,
        new=dict(_new(earlier, ptv, courses, schedules)),
        cumulative_eqd2_gy=sums_gy(eqd2, schedules),
    )


def _around(
    course: PlacedCourse, places: CoursePlaces, ptv: Sampled, rule: Reirradiation, *, name: str, in_bone: bool
) -> PlacedCourse:
    """A course with the transform that the images tell around a target; of a given transform, with its bound there."""
    if course.source == RegistrationSource.SHARED_FRAME.value:
        return course
    away_mm = nearness(ptv, course, rule).distance_mm
    if away_mm > CHECKED_WITHIN_MM:
        return course
    place = places.around(ptv.points_mm.mean(axis=0), name, in_bone=in_bone)
    if place is None:
        return course
    bound_mm = max(place.uncertainty_mm, course.uncertainty_mm)
    if course.source == RegistrationSource.COMPUTED.value:
        return replace(course, transform=place.this_from_prior, uncertainty_mm=bound_mm)
    return replace(course, uncertainty_mm=bound_mm)


def _new(
    earlier: Earlier, ptv: Roi, courses: Sequence[PlacedCourse], schedules: Sequence[tuple[float, int]]
) -> Iterator[tuple[str, tuple[NewDose, ...]]]:
    """Of each organ that lies in the PTV in part, what the schedules would add there."""
    assert earlier.ct is not None  # noqa: S101
    solid = slabs(ptv.contours, earlier.ct)
    for record in earlier.organs:
        region = earlier.contoured[record.name]
        inside = within(region.points_mm, solid, earlier.ct)
        if record.limit is not None and inside.any():
            added = (with_new_dose(record, region, inside, courses, one) for one in schedules)
            yield record.name, tuple(one for one in added if one is not None)


def reconsidered(proposal: Proposal | Abstention, record: TargetRecord | None) -> Proposal | Abstention:
    """The proposal, or none where earlier radiotherapy forbids one.

    ``dose-reirradiation`` where the target lies near an earlier volume; ``dose-cumulative-over-limit`` where an organ
    in the PTV would pass a limit with the dose as prescribed. What stays stands with a caution.
    """
    if record is None:
        return proposal
    reasons = [_near(record.lesion, one) for one in record.near]
    reasons += [] if isinstance(proposal, Abstention) else list(_over(proposal, record))
    if reasons:
        return Abstention((*(proposal.reasons if isinstance(proposal, Abstention) else ()), *reasons))
    if isinstance(proposal, Abstention):
        return proposal
    others = (one for one in proposal.cautions if one != EARLIER_NOT_EVALUATED)
    return replace(proposal, cautions=(_caution(record), *others))


def _near(lesion: str, one: Nearness) -> Finding:
    how = f"lies {one.distance_mm:.1f} mm from" if one.distance_mm else "overlaps"
    sure = f", known within {one.uncertainty_mm:.1f} mm" if one.uncertainty_mm else ""
    message = (
        f"{lesion} {how} what got {one.isodose_gy:g} Gy in earlier course {one.course}{sure}: re-irradiation, which a "
        "person plans."
    )
    return Finding("dose-reirradiation", Level.WARN, message, Who.PERSON, one.distance_mm, None, "mm", lesion)


def _over(proposal: Proposal, record: TargetRecord) -> Iterator[Finding]:
    schedule = proposal.schedule
    for organ, doses in record.new.items():
        for new in doses:
            if (new.dose_gy, new.fractions) == (schedule.dose_gy, schedule.fractions) and new.obstacles:
                message = (
                    f"{organ} lies in the PTV of {record.lesion}; with {schedule} and earlier radiotherapy: "
                    f"{'; '.join(new.obstacles)}."
                )
                yield Finding(
                    "dose-cumulative-over-limit",
                    Level.WARN,
                    message,
                    Who.PERSON,
                    new.cumulative_eqd2_gy,
                    None,
                    "Gy",
                    record.lesion,
                )


def _caution(record: TargetRecord) -> str:
    nearest = min(record.nearness, key=lambda one: one.distance_mm)
    away = f"{nearest.distance_mm:.0f} mm" if np.isfinite(nearest.distance_mm) else "nowhere near"
    return (
        f"Earlier radiotherapy: {nearest.course} gave {nearest.isodose_gy:g} Gy {away} from the PTV, and at most "
        f"{record.max_gy:.1f} Gy in it. What a plan gives to organs on its way was not added up."
    )
