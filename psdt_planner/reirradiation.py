"""What earlier radiotherapy leaves to give: doses of earlier courses at places of the planning CT, added up as EQD2.

Physical dose is interpolated at a place, then turned into EQD2 with the fractions of its course, then added: EQD2 is
not linear in dose. A place outside a course's dose lattice is not known, which is not the same as spared.

The interval since a course is an upper bound: its plan is dated, its last fraction is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from psdt_planner.deformation import Deformation
from psdt_planner.exam import EarlierCourse
from psdt_planner.geometry import Points, Rigid
from psdt_planner.images import sample
from psdt_planner.protocol import CumulativeLimit, Reirradiation
from psdt_planner.radiobiology import cumulative_eqd2_gy, eqd2_gy, voxel_eqd2_gy

Doses = NDArray[np.float64]

DAYS_A_MONTH: Final = 365.25 / 12.0

DAYS_A_FRACTION: Final = 7.0 / 5.0
"""Of a course on five days a week: it takes at least this long, or less where it gave two fractions a day."""


@dataclass(frozen=True, eq=False)
class PlacedCourse:
    """An earlier course, and how its dose lies to the planning CT.

    Attributes:
        course: the dose in its own frame.
        transform: rigid from the dose's frame to the planning CT's, or a deformation between the two, either way.
        ct_frame: of the planning CT.
        source: ``shared-frame``, ``reg-object`` or ``computed``.
        method: in words, for the report.
        uncertainty_mm: bound on how far a place of the dose may lie from where it is put; 0 where both share a frame.
    """

    course: EarlierCourse
    transform: Rigid | Deformation
    ct_frame: str
    source: str
    method: str
    uncertainty_mm: float

    @property
    def isodose_name(self) -> str:
        """How the course is told in words: its id and what it prescribed."""
        return f"{self.course.id} ({self.course.prescription_gy:g} Gy in {self.course.fractions})"

    def months(self) -> float:
        """Months since the course, at most; 0 where its date is not known, so that no limit counts on an interval."""
        if self.course.days_before is None:
            return 0.0
        days = self.course.days_before - DAYS_A_FRACTION * self.course.fractions
        return max(days, 0.0) / DAYS_A_MONTH

    def in_dose(self, points_mm: Points) -> Points:
        """Points ``(N, 3)`` of the planning CT in mm of the dose's frame; NaN where a deformation is undefined."""
        if isinstance(self.transform, Deformation):
            return self.transform.carried(points_mm, self.ct_frame)
        return self.transform.inverse().apply(points_mm)

    def in_ct(self, points_mm: Points) -> Points:
        """Points ``(N, 3)`` of the dose's frame in mm of the planning CT; NaN where a deformation is undefined."""
        if isinstance(self.transform, Deformation):
            return self.transform.carried(points_mm, self.course.dose.grid.frame)
        return self.transform.apply(points_mm)

    def dose_gy(self, points_mm: Points) -> Doses:
        """``(N,)``, physical dose at points of the planning CT by linear interpolation; NaN where it is not known."""
        there = self.in_dose(points_mm)
        known = np.isfinite(there).all(axis=1)
        dose = np.full(len(there), np.nan)
        grid = self.course.dose.grid
        dose[known] = sample(self.course.dose, there[known], grid.frame, outside=np.nan)
        return dose

    def eqd2_gy(self, points_mm: Points, alpha_beta_gy: float) -> Doses:
        """``(N,)``, EQD2 at points of the planning CT; NaN where the dose is not known."""
        dose = self.dose_gy(points_mm)
        known = np.isfinite(dose)
        eqd2 = np.full(len(dose), np.nan)
        fractions = self.course.fractions
        eqd2[known] = voxel_eqd2_gy(dose[known], fractions=fractions, alpha_beta_gy=alpha_beta_gy)
        return eqd2


@dataclass(frozen=True, eq=False)
class Sampled:
    """A region of the planning CT as points.

    Attributes:
        points_mm: ``(N, 3)``.
        volumes_ml: ``(N,)``, what each point stands for; 0 for a point of the surface, which counts for a maximum
            alone.
    """

    points_mm: Points
    volumes_ml: Doses


def earlier_eqd2_gy(
    courses: Sequence[PlacedCourse], points_mm: Points, alpha_beta_gy: float, parts: Sequence[float] = ()
) -> tuple[Doses, NDArray[np.bool_]]:
    """EQD2 of all courses together ``(N,)``, and where the dose of every course is known ``(N,)``.

    What is not known adds nothing. ``parts`` of each course's dose are discounted; none unless given.
    """
    total, known = np.zeros(len(points_mm)), np.ones(len(points_mm), dtype=bool)
    for course, part in zip(courses, parts or (0.0,) * len(courses), strict=True):
        eqd2 = course.eqd2_gy(points_mm, alpha_beta_gy)
        known &= np.isfinite(eqd2)
        total += np.nan_to_num(eqd2) * (1.0 - part)
    return total, known


def physical_gy(courses: Sequence[PlacedCourse], points_mm: Points) -> Doses:
    """``(N,)``, physical dose of all courses together; what is not known adds nothing."""
    doses = [np.nan_to_num(course.dose_gy(points_mm)) for course in courses]
    return np.asarray(np.sum(doses, axis=0), dtype=np.float64)


def hottest(doses: Doses, volumes_ml: Doses, volume_ml: float) -> float:
    """The dose that the hottest ``volume_ml`` get at least: D0.5cc for 0.5; the maximum for 0.

    A region that is smaller than the volume is judged by its maximum.
    """
    order = np.argsort(-doses, kind="stable")
    filled = np.cumsum(volumes_ml[order])
    if volume_ml == 0.0 or filled[-1] < volume_ml:
        return float(doses.max())
    return float(doses[order][np.searchsorted(filled, volume_ml * (1.0 - 1e-9))])


@dataclass(frozen=True)
class NewDose:
    """What a schedule of the new course would add, and how the sum stands to a limit.

    Attributes:
        dose_gy, fractions: of the schedule.
        eqd2_gy: of the schedule itself, at the limit's α/β.
        cumulative_eqd2_gy: of all courses with the prescribed dose in that part of the organ that lies in the PTV, and
            nothing outside of it: a lower bound, since what a plan gives beside its target is not known here.
        obstacles: what of the limit the sum breaks; empty where it breaks nothing, which is not the same as safe.
    """

    dose_gy: float
    fractions: int
    eqd2_gy: float
    cumulative_eqd2_gy: float
    obstacles: tuple[str, ...]


@dataclass(frozen=True)
class OrganRecord:
    """What an organ got in earlier courses.

    Attributes:
        name: ROI name as sent.
        organ: TG-263 name without a side that the limit was looked up by; empty where the name is no such.
        volume_ml: of the organ.
        known_part: of its volume, where the doses of all courses are known.
        max_gy: physical maximum, all courses together.
        max_eqd2_gy: maximum, all courses together, by α/β in Gy as text: the protocol's, and the limit's.
        figure_eqd2_gy: EQD2 at the limit's α/β that the hottest ``limit.volume_ml`` get; None where there is no limit,
            or no part of the organ lies where the dose is known.
        recovered_part: what was discounted of each course, in their order; all 0 unless the clinic put recovery on.
        limit: what holds; None where the protocol has none for this organ and interval.
        beside: limits for this organ that do not count here: of another interval, or with recovery presumed.
    """

    name: str
    organ: str
    volume_ml: float
    known_part: float
    max_gy: float
    max_eqd2_gy: dict[str, float]
    figure_eqd2_gy: float | None
    recovered_part: tuple[float, ...]
    limit: CumulativeLimit | None
    beside: tuple[CumulativeLimit, ...]

    @property
    def left_eqd2_gy(self) -> float | None:
        """What the limit leaves to a new course at the place of the figure, as EQD2; None without a limit."""
        if self.limit is None or self.figure_eqd2_gy is None:
            return None
        left = self.limit.eqd2_gy - self.figure_eqd2_gy
        if self.limit.new_eqd2_gy is not None:
            left = min(left, self.limit.new_eqd2_gy)
        return max(left, 0.0)

    def left_gy(self, fractions: int) -> float | None:
        """The same as a physical dose in so many fractions; None without a limit."""
        left = self.left_eqd2_gy
        if left is None or self.limit is None:
            return None
        alpha_beta_gy = self.limit.alpha_beta_gy
        bed = left * (1.0 + 2.0 / alpha_beta_gy)
        root = np.sqrt(1.0 + 4.0 * bed / (fractions * alpha_beta_gy))
        return float(2.0 * bed / (root + 1.0))


def organ_record(
    names: tuple[str, str],
    region: Sampled,
    courses: Sequence[PlacedCourse],
    rule: Reirradiation,
    alpha_betas_gy: Sequence[float],
) -> OrganRecord:
    """The figures of one organ.

    Args:
        names: as sent, and by TG-263 without a side (empty where it is no such name).
        region: the organ; at least one point.
        courses: earlier ones; at least one.
        rule: the protocol's.
        alpha_betas_gy: that maxima are told at, beside the limit's own.
    """
    months = min(course.months() for course in courses)
    limit = rule.limit_for(names[1], months)
    parts = tuple(rule.recovered_part(names[1], course.months()) for course in courses)
    wanted = dict.fromkeys([*alpha_betas_gy, *([limit.alpha_beta_gy] if limit else [])])
    eqd2 = {ab: earlier_eqd2_gy(courses, region.points_mm, ab, parts) for ab in wanted}
    known = next(iter(eqd2.values()))[1]
    volume_ml = float(region.volumes_ml.sum())
    figure = None
    if limit is not None and known.any():
        figure = hottest(eqd2[limit.alpha_beta_gy][0], region.volumes_ml, limit.volume_ml)
    return OrganRecord(
        name=names[0],
        organ=names[1],
        volume_ml=volume_ml,
        known_part=float(region.volumes_ml[known].sum()) / volume_ml if volume_ml else 0.0,
        max_gy=float(physical_gy(courses, region.points_mm).max()),
        max_eqd2_gy={f"{ab:g}": float(total.max()) for ab, (total, _) in sorted(eqd2.items())},
        figure_eqd2_gy=figure,
        recovered_part=parts,
        limit=limit,
        beside=tuple(row for row in rule.limits if names[1] in row.organs and row is not limit),
    )


def with_new_dose(
    record: OrganRecord,
    region: Sampled,
    in_ptv: NDArray[np.bool_],
    courses: Sequence[PlacedCourse],
    schedule: tuple[float, int],
) -> NewDose | None:
    """What a schedule as prescribed would add where the organ lies in the PTV; None where no limit holds.

    Args:
        record: of the organ.
        region: the organ as it was sampled.
        in_ptv: ``(N,)``, which of its points lie in the PTV.
        courses: earlier ones.
        schedule: total dose in Gy and fractions.
    """
    limit, (dose_gy, fractions) = record.limit, schedule
    if limit is None:
        return None
    new = eqd2_gy(dose_gy=dose_gy, fractions=fractions, alpha_beta_gy=limit.alpha_beta_gy)
    before, _ = earlier_eqd2_gy(courses, region.points_mm, limit.alpha_beta_gy, record.recovered_part)
    figure = hottest(before + np.where(in_ptv, new, 0.0), region.volumes_ml, limit.volume_ml)
    return NewDose(dose_gy, fractions, new, figure, tuple(_obstacles(limit, figure, new)))


def _obstacles(limit: CumulativeLimit, figure: float, new: float) -> Iterator[str]:
    if figure > limit.eqd2_gy:
        yield f"cumulative {figure:.1f} Gy, at most {limit.eqd2_gy:g} Gy"
    if limit.new_eqd2_gy is not None and new > limit.new_eqd2_gy:
        yield f"new course {new:.1f} Gy, at most {limit.new_eqd2_gy:g} Gy"
    if limit.new_part is not None and new > limit.new_part * figure:
        yield f"new course {100 * new / figure:.0f} % of the sum, at most {100 * limit.new_part:g} %"


# How near a target lies to an earlier volume --------------------------------------------------------------------------


@dataclass(frozen=True)
class Nearness:
    """How near a target lies to what got at least a part of an earlier course's prescription.

    Attributes:
        course: its id.
        isodose_gy: that part, in Gy.
        distance_mm: shortest way between the two, at most; 0 where they overlap, infinite where no place got so much.
        uncertainty_mm: of the dose's place.
        near: whether the distance, less the uncertainty, is within the limit.
        cut: whether the dose lattice ends where the dose is still as high, so that the volume may reach further.
    """

    course: str
    isodose_gy: float
    distance_mm: float
    uncertainty_mm: float
    near: bool
    cut: bool


def nearness(ptv: Sampled, placed: PlacedCourse, rule: Reirradiation) -> Nearness:
    """How near a PTV lies to a course's isodose of ``rule.near``.

    Between lattice points the dose is linear: each step of the lattice that crosses the isodose is cut where it does.
    Of the distances to those places, and to the points within, the least is taken: at most 0.1 mm too far for a target
    20 mm away and a lattice of 2.5 mm.
    """
    isodose_gy = rule.near.isodose_part * placed.course.prescription_gy
    hot = placed.in_ct(isodose_points(placed.course, isodose_gy))
    hot = hot[np.isfinite(hot).all(axis=1)]
    distance_mm = float("inf")
    if len(hot):
        distance_mm = float(cKDTree(ptv.points_mm).query(hot)[0].min())
    if (np.nan_to_num(placed.dose_gy(ptv.points_mm)) >= isodose_gy).any():
        distance_mm = 0.0
    near = distance_mm - placed.uncertainty_mm <= rule.near.distance_mm
    return Nearness(
        placed.course.id, isodose_gy, distance_mm, placed.uncertainty_mm, near, _is_cut(placed.course, isodose_gy)
    )


def isodose_points(course: EarlierCourse, isodose_gy: float) -> Points:
    """``(N, 3)`` of the dose's frame: lattice points that got the dose, and where the steps to others cross it."""
    dose, grid = course.dose.array, course.dose.grid
    inside = dose >= isodose_gy
    found = [np.argwhere(inside).astype(np.float64)]
    for axis in range(3):
        low, high = _pairs(dose, axis)
        crossing = np.argwhere((low >= isodose_gy) != (high >= isodose_gy))
        at = tuple(crossing.T)
        part = (isodose_gy - low[at]) / (high[at] - low[at])
        place = crossing.astype(np.float64)
        place[:, axis] += part
        found.append(place)
    return grid.mm_from_index(np.concatenate(found))


def _pairs(dose: NDArray[np.float32], axis: int) -> tuple[Doses, Doses]:
    """Each lattice point's dose along an axis, and its next neighbour's."""
    whole = np.moveaxis(dose.astype(np.float64), axis, 0)
    return np.moveaxis(whole[:-1], 0, axis), np.moveaxis(whole[1:], 0, axis)


def _is_cut(course: EarlierCourse, isodose_gy: float) -> bool:
    dose = course.dose.array
    faces = [np.take(dose, end, axis=axis) for axis in range(3) for end in (0, -1)]
    return any(bool((face >= isodose_gy).any()) for face in faces)


@dataclass(frozen=True)
class TargetRecord:
    """What a target's place got in earlier courses.

    Attributes:
        lesion: its id.
        nearness: to each course.
        known_part: of the PTV, where the doses of all courses are known.
        max_gy, mean_gy: physical, in the PTV, all courses together.
        max_eqd2_gy: by α/β in Gy as text.
        new: by organ in part or whole in the PTV (ROI name), what each schedule of the site would add there.
        cumulative_eqd2_gy: by schedule and α/β, of the hottest place in the PTV with the schedule as prescribed.
    """

    lesion: str
    nearness: tuple[Nearness, ...]
    known_part: float
    max_gy: float
    mean_gy: float
    max_eqd2_gy: dict[str, float]
    new: dict[str, tuple[NewDose, ...]]
    cumulative_eqd2_gy: dict[str, dict[str, float]]

    @property
    def near(self) -> tuple[Nearness, ...]:
        """The courses whose volume is so near that a person must plan."""
        return tuple(one for one in self.nearness if one.near)


def target_eqd2_gy(ptv: Sampled, courses: Sequence[PlacedCourse], alpha_betas_gy: Sequence[float]) -> dict[str, float]:
    """Greatest EQD2 in a PTV by α/β in Gy as text."""
    return {f"{ab:g}": float(earlier_eqd2_gy(courses, ptv.points_mm, ab)[0].max()) for ab in alpha_betas_gy}


def sums_gy(earlier: dict[str, float], schedules: Sequence[tuple[float, int]]) -> dict[str, dict[str, float]]:
    """EQD2 of earlier courses and of each schedule together, by schedule in words and α/β."""
    return {
        f"{dose:g} Gy in {n}": {
            key: cumulative_eqd2_gy([gy, eqd2_gy(dose_gy=dose, fractions=n, alpha_beta_gy=float(key))])
            for key, gy in earlier.items()
        }
        for dose, n in schedules
    }
