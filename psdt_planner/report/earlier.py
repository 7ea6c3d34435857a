"""Earlier radiotherapy in words: a row for each course, each organ and each target, for the page and the PDF alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from psdt_planner.planning import Plan
from psdt_planner.protocol import CumulativeLimit
from psdt_planner.reirradiation import Nearness, OrganRecord, PlacedCourse, TargetRecord

PLANNED = (
    "Doses as planned: whether all of them was given is not known. The interval counts from the date of the plan, less "
    "the days that its fractions take, and is at most what is stated."
)


@dataclass(frozen=True)
class CourseRow:
    """One course, as cells."""

    name: str
    prescribed: str
    interval: str
    placed: str
    sure: str


@dataclass(frozen=True)
class OrganRow:
    """What one organ got, as cells."""

    name: str
    known: str
    most: str
    eqd2: str
    figure: str
    limit: str
    left: str
    source: str


@dataclass(frozen=True)
class EarlierSection:
    """All that is said of earlier courses.

    Attributes:
        recovery: whether earlier dose was discounted.
        note: what every figure rests on.
    """

    courses: tuple[CourseRow, ...]
    organs: tuple[OrganRow, ...]
    recovery: str
    note: str


@dataclass(frozen=True)
class TargetRows:
    """What is said of one target.

    Attributes:
        facts: names and values.
        schedules: a regimen, its cumulative EQD2 in the target by α/β, and what it does to organs in the PTV.
        keys: the α/β.
    """

    facts: tuple[tuple[str, str], ...]
    schedules: tuple[tuple[str, tuple[str, ...], str], ...]
    keys: tuple[str, ...]


def earlier_section(plan: Plan) -> EarlierSection | None:
    """The words of a plan's earlier courses; None where there are none on the planning CT."""
    rule = plan.protocol.reirradiation
    if not plan.earlier.courses or rule is None:
        return None
    recovery = "Recovery is off: no earlier dose is discounted."
    if rule.recovery_on:
        recovery = "RECOVERY IS ON: earlier dose is discounted by the protocol's convention, which is no law."
    return EarlierSection(
        courses=tuple(_course(course) for course in plan.earlier.courses),
        organs=tuple(_organ(record) for record in plan.earlier.organs),
        recovery=recovery,
        note=PLANNED,
    )


def target_rows(record: TargetRecord | None) -> TargetRows | None:
    """The words of one target; None where there is nothing to say."""
    if record is None:
        return None
    keys = tuple(record.max_eqd2_gy)
    facts = [(f"Distance to {one.isodose_gy:g} Gy of {one.course}", _distance(one)) for one in record.nearness]
    known = "" if record.known_part > KNOWN else f" (known in {100.0 * record.known_part:.0f} % of it)"
    facts += [("Earlier dose in the PTV", f"maximum {record.max_gy:.1f} Gy, mean {record.mean_gy:.1f} Gy{known}")]
    each = "; ".join(f"{gy:.1f} Gy at α/β {key} Gy" for key, gy in record.max_eqd2_gy.items())
    facts += [("Earlier EQD2, maximum in the PTV", each)]
    schedules = tuple(
        (schedule, tuple(f"{sums[key]:.1f}" for key in keys), "; ".join(_organs(record, n)))
        for n, (schedule, sums) in enumerate(record.cumulative_eqd2_gy.items())
    )
    return TargetRows(tuple(facts), schedules, keys)


KNOWN = 0.999
"""From here on a region counts as wholly within the dose."""


def _course(placed: PlacedCourse) -> CourseRow:
    course = placed.course
    interval = "not known" if course.days_before is None else f"at most {placed.months():.0f} months"
    bound = f"{course.prescription_gy:g} Gy in {course.fractions}"
    if course.several_plans:
        bound = f"{len(course.plan_uids)} plans; EQD2 as of {course.fractions} fractions, an upper bound"
    sure = "shares the frame" if placed.source == "shared-frame" else f"within {placed.uncertainty_mm:.1f} mm"
    if placed.source != "shared-frame" and placed.uncertainty_mm == 0.0:
        sure = "not checked"
    return CourseRow(course.id, bound, interval, placed.method, sure)


def _organ(record: OrganRecord) -> OrganRow:
    most = "; ".join(f"{gy:.1f} ({key})" for key, gy in record.max_eqd2_gy.items())
    known = f"{100.0 * record.known_part:.0f} %"
    limit, figure = record.limit, record.figure_eqd2_gy
    if record.known_part == 0.0:
        return OrganRow(record.name, known, "not known", "not known", "not known", _limit(limit), "not known", "")
    return OrganRow(
        name=record.name,
        known=known,
        most=f"{record.max_gy:.1f} Gy",
        eqd2=most,
        figure="" if limit is None or figure is None else f"{figure:.1f} Gy",
        limit=_limit(limit),
        left="" if record.left_eqd2_gy is None else f"{record.left_eqd2_gy:.1f} Gy",
        source="" if limit is None else f"{limit.citation}; certainty {limit.certainty}",
    )


def _limit(limit: CumulativeLimit | None) -> str:
    if limit is None:
        return "no limit in the protocol for this interval"
    what = "maximum" if limit.volume_ml == 0.0 else f"hottest {limit.volume_ml:g} ml"
    return f"{what}: {limit.eqd2_gy:g} Gy at α/β {limit.alpha_beta_gy:g} Gy"


def _distance(one: Nearness) -> str:
    if not math.isfinite(one.distance_mm):
        return "no place got so much"
    sure = f", known within {one.uncertainty_mm:.1f} mm" if one.uncertainty_mm else ""
    return f"{'overlap' if one.distance_mm == 0.0 else f'{one.distance_mm:.1f} mm'}{sure}"


def _organs(record: TargetRecord, n: int) -> Iterator[str]:
    for organ, doses in record.new.items():
        if n < len(doses):
            words = ", ".join(doses[n].obstacles) or f"cumulative {doses[n].cumulative_eqd2_gy:.1f} Gy within its limit"
            yield f"{organ}: {words}"
