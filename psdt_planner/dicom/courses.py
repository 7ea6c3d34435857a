"""Earlier courses of radiotherapy: each dose with its plan, held against what the plan prescribes.

A dose in cGy, in percent or of one fraction looks like any other dose. What does not fit its plan holds the case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from psdt_planner.dicom.dose_in import WHOLE_PLANS, DoseIn, DoseRefusedError, plans_of, read_dose, summation
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.identity import MANUFACTURER
from psdt_planner.dicom.kinds import is_localizer
from psdt_planner.dicom.rtplan_in import PlanIn, day, plan_or_reason
from psdt_planner.dicom.series import Series
from psdt_planner.exam import EarlierCourse
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.images import Kind
from psdt_planner.radiobiology import MAX_DOSE_GY, MAX_FRACTIONS

MAXIMUM_OVER_PRESCRIPTION: Final = (0.9, 2.2)
"""A plan covers its target, and stereotactic ones prescribe to isodoses down to 50 % of the maximum. Outside of these
the dose and its plan speak of different things."""

FRACTION_GY: Final = (0.5, 35.0)
"""A prescription of less or more a fraction is a mistake of unit."""

BEAMS_OVER_TARGET: Final = (0.5, 2.0)
"""How the doses that a plan's beams add up to may differ from what it prescribes to its target."""

LONGEST_DAYS: Final = 36_525
"""A plan of more than a century before is one whose date was taken away."""


@dataclass(frozen=True, eq=False)
class Courses:
    """The earlier courses among the inputs, and what is to be said of them."""

    courses: tuple[EarlierCourse, ...] = ()
    findings: tuple[Finding, ...] = ()


def earlier_cts(series: Sequence[Series]) -> frozenset[str]:
    """SeriesInstanceUIDs of the CTs that earlier doses stand on, where exactly one other CT is left to plan on.

    A CT is an earlier course's where a dose stands in its frame of reference. The CT that is left must state a day that
    is none before theirs; where it does not, nothing tells the two apart, and none is set aside.
    """
    frames = {frame for one in series if one.kind is Kind.RTDOSE for frame in one.frames}
    kinds = (Kind.CT, Kind.PLANNING_CT)
    ct = [one for one in series if one.kind in kinds and not is_localizer(one.headers[0].dataset)]
    older = [one for one in ct if one.frames & frames]
    left = [one for one in ct if not one.frames & frames]
    if len(left) != 1 or not older:
        return frozenset()
    days = [day_of(one) for one in older]
    newest = day_of(left[0])
    if newest is None or any(one is None or one > newest for one in days):
        return frozenset()
    return frozenset(one.uid for one in older)


def day_of(series: Series) -> date | None:
    """The day of a CT: when it was acquired, else of its study."""
    return day(series.text("AcquisitionDate")) or day(series.text("StudyDate"))


def read_courses(series: Sequence[Series]) -> Courses:
    """Every earlier course, in order of the SOP Instance UIDs of the doses.

    Findings at level hold, beside those of `read_dose`: ``earlier-plan-unreadable``, ``earlier-plan-without-dose``,
    ``earlier-dose-twice``, ``earlier-fractions-missing``, ``earlier-prescription-missing``,
    ``earlier-prescription-unlikely``, ``earlier-dose-unit``, ``earlier-dose-per-fraction``,
    ``earlier-dose-unlike-plan``, ``earlier-dose-not-earlier``; at level warn ``earlier-dose-undated``,
    ``earlier-plan-unapproved`` and ``earlier-plan-own``; at level info ``earlier-dose-part``.
    """
    doses, plans = _of_kind(series, Kind.RTDOSE), _of_kind(series, Kind.RTPLAN)
    if not doses and not plans:
        return Courses()
    read, findings = _read_plans(plans)
    whole, odd = _whole(doses)
    findings += odd
    findings += _twice(whole)
    findings += _without_dose(read, whole)
    planned_on = next((day_of(one) for one in series if one.kind is Kind.PLANNING_CT), None)
    courses: list[EarlierCourse] = []
    for header in whole:
        try:
            dose = read_dose(header)
        except DoseRefusedError as error:
            findings.append(_about(error.where, error.code, error.message))
            continue
        course, said = _course(dose, read, planned_on, f"C{len(courses) + 1}")
        findings += said
        courses += [course] if course else []
    return Courses(tuple(courses), tuple(findings))


def _of_kind(series: Sequence[Series], kind: Kind) -> list[Header]:
    headers = [header for one in series if one.kind is kind for header in one.headers]
    return sorted(headers, key=lambda header: header.file.sop_instance_uid)


def _read_plans(headers: Sequence[Header]) -> tuple[dict[str, PlanIn], list[Finding]]:
    plans: dict[str, PlanIn] = {}
    findings = []
    for header in headers:
        uid, plan = header.file.sop_instance_uid, plan_or_reason(header)
        if isinstance(plan, str):
            findings.append(_about(_where(uid), "earlier-plan-unreadable", f"the RT Plan cannot be read: {plan}"))
        elif plan.manufacturer == MANUFACTURER:
            message = "psdt wrote this RT Plan itself, as a proposal; it is not used"
            findings.append(_about(_where(uid), "earlier-plan-own", message, Level.WARN))
        else:
            plans[uid] = plan
    return plans, findings


def _whole(headers: Sequence[Header]) -> tuple[list[Header], list[Finding]]:
    """The doses to be read: parts of a plan, such as beams, are not, where the dose of the whole plan is there too."""
    whole = {uid for one in headers if summation(one.dataset) in WHOLE_PLANS for uid in plans_of(one.dataset)}
    kept, findings = [], []
    for header in headers:
        part, of = summation(header.dataset), set(plans_of(header.dataset))
        if part not in WHOLE_PLANS and of and of <= whole:
            message = f"a dose of DoseSummationType {part}, beside that of the whole plan; it is not used"
            findings.append(_about(_where(header.file.sop_instance_uid), "earlier-dose-part", message, Level.INFO))
        else:
            kept.append(header)
    return kept, findings


def _twice(headers: Sequence[Header]) -> Iterator[Finding]:
    """Two doses of one plan would count it twice."""
    counts = Counter(uid for header in headers for uid in plans_of(header.dataset))
    for uid, count in sorted(counts.items()):
        if count > 1:
            message = f"{count} doses hold the dose of RT Plan {uid}; send one of them"
            yield Finding("earlier-dose-twice", Level.HOLD, message, value=float(count), limit=1.0)


def _without_dose(plans: Mapping[str, PlanIn], doses: Sequence[Header]) -> Iterator[Finding]:
    with_dose = {uid for header in doses for uid in plans_of(header.dataset)}
    for uid in sorted(set(plans) - with_dose):
        message = (
            "an RT Plan whose dose is not among the inputs: what it gave cannot be evaluated. Send its RT Dose, or "
            "leave it out, where it was never given"
        )
        yield _about(_where(uid), "earlier-plan-without-dose", message)


def _course(
    dose: DoseIn, plans: Mapping[str, PlanIn], planned_on: date | None, identity: str
) -> tuple[EarlierCourse | None, list[Finding]]:
    """One course; None where its fractions or its prescription are not known or its unit is in doubt."""
    own = [plans[uid] for uid in dose.plan_uids if uid in plans]
    fractions = [number for plan in own for number in plan.fractions]
    complete = len(own) == len(dose.plan_uids) and all(plan.fractions for plan in own)
    if not own or not complete or not 1 <= min(fractions) <= max(fractions) <= MAX_FRACTIONS:
        message = (
            "the number of fractions of this dose is not known: send the RT Plan that it refers to, with its "
            "NumberOfFractionsPlanned"
        )
        return None, [_about(_where(dose.uid), "earlier-fractions-missing", message)]
    findings = [*_unit(dose, own), *_approval(own)]
    days, said = _days_before(dose, own, planned_on)
    findings += said
    if any(finding.level is Level.HOLD for finding in findings):
        return None, findings
    course = EarlierCourse(
        id=identity,
        dose=dose.volume,
        dose_uid=dose.uid,
        plan_uids=dose.plan_uids,
        fractions=min(fractions),
        prescription_gy=min(gy for plan in own for gy in _prescribed(plan)),
        days_before=days,
    )
    return course, findings


def _prescribed(plan: PlanIn) -> tuple[float, ...]:
    """What a plan prescribes: to its targets, else what its beams add up to."""
    stated = tuple(gy for gy in plan.targets_gy if gy > 0.0)
    return stated or ((plan.beams_gy,) if plan.beams_gy else ())


def _unit(dose: DoseIn, plans: Sequence[PlanIn]) -> Iterator[Finding]:
    """The dose held against the plans' prescription."""
    where = _where(dose.uid)
    if not all(_prescribed(plan) for plan in plans):
        message = (
            "the RT Plan states neither TargetPrescriptionDose nor BeamDose: nothing tells whether the dose is in Gy "
            "and of all fractions"
        )
        yield _about(where, "earlier-prescription-missing", message)
        return
    for plan in plans:
        yield from _unlikely(plan)
    greatest = float(dose.volume.array.max())
    prescribed = sum(max(_prescribed(plan)) for plan in plans)
    fractions = sum(sum(plan.fractions) for plan in plans)
    if _fits(greatest / prescribed) and greatest <= MAX_DOSE_GY:
        return
    code, guess = "earlier-dose-unlike-plan", "the two speak of different things"
    if greatest > MAX_DOSE_GY or _fits(greatest / prescribed / 100.0) or _fits(greatest / prescribed * 100.0):
        code, guess = "earlier-dose-unit", "one of the two seems to be in cGy"
    elif _fits(greatest / prescribed * fractions):
        code, guess = "earlier-dose-per-fraction", "it seems to be the dose of one fraction"
    message = f"the dose reaches {greatest:.4g} Gy, the plan prescribes {prescribed:.4g} Gy in {fractions}: {guess}"
    yield _about(where, code, message, value=greatest, limit=prescribed, unit="Gy")


def _fits(ratio: float) -> bool:
    low, high = MAXIMUM_OVER_PRESCRIPTION
    return low <= ratio <= high


def _unlikely(plan: PlanIn) -> Iterator[Finding]:
    """A prescription that no course has, or of which plan and beams tell two stories."""
    prescribed, fractions = max(_prescribed(plan)), sum(plan.fractions)
    low, high = FRACTION_GY
    if not low <= prescribed / fractions <= high:
        message = f"the RT Plan prescribes {prescribed:.4g} Gy in {fractions}, which is no dose in Gy of all fractions"
        each = prescribed / fractions
        yield _about(_where(plan.uid), "earlier-prescription-unlikely", message, value=each, limit=high, unit="Gy")
    elif plan.targets_gy and plan.beams_gy and not _between(plan.beams_gy / prescribed, BEAMS_OVER_TARGET):
        message = f"the RT Plan prescribes {prescribed:.4g} Gy, and its beams add up to {plan.beams_gy:.4g} Gy"
        beams = plan.beams_gy
        yield _about(
            _where(plan.uid), "earlier-prescription-unlikely", message, value=beams, limit=prescribed, unit="Gy"
        )


def _between(number: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= number <= limits[1]


def _approval(plans: Sequence[PlanIn]) -> Iterator[Finding]:
    for plan in plans:
        if plan.approval != "APPROVED":
            message = f"the RT Plan is {plan.approval or 'of unknown approval'}: look whether it was given"
            yield _about(_where(plan.uid), "earlier-plan-unapproved", message, Level.WARN)


def _days_before(dose: DoseIn, plans: Sequence[PlanIn], planned_on: date | None) -> tuple[int | None, list[Finding]]:
    """Days from the newest plan to the planning CT."""
    where, dates = _where(dose.uid), [plan.made_on for plan in plans]
    stated = [one for one in dates if one]
    if planned_on is None or len(stated) < len(dates) or (planned_on - min(stated)).days > LONGEST_DAYS:
        message = "when the course was planned is not stated: the interval since then is not known"
        return None, [_about(where, "earlier-dose-undated", message, Level.WARN)]
    days = (planned_on - max(stated)).days
    if days <= 0:
        message = (
            f"its plan was made {-days} days after the planning CT: this may be the plan of the targets themselves, "
            "not an earlier course"
        )
        return days, [_about(where, "earlier-dose-not-earlier", message, value=float(days), limit=1.0, unit="days")]
    return days, []


def _where(uid: str) -> str:
    return f"SOP Instance UID {uid}"


def _about(
    where: str,
    code: str,
    message: str,
    level: Level = Level.HOLD,
    *,
    value: float | None = None,
    limit: float | None = None,
    unit: str = "",
) -> Finding:
    return Finding(code, level, f"{where}: {message}", Who.SENDER, value, limit, unit)
