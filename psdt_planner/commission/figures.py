"""From rows to figures, and whether each meets its bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, spearmanr

from psdt_planner.commission.rows import CaseRow, LesionRow, Rows, TrialKind

Values = Sequence[float]


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    Attributes:
        key: stable, for programs.
        name: for people.
        unit: ``mm``, ``%``, ``s`` or empty.
        value: None where there was nothing to compute it from.
        count: of the lesions, cases or trials that it is computed from.
        bar: what it must reach; None where it is reported only.
        least: whether the bar is the least value; otherwise it is the most.
        interval: of a share, where the true one lies with 95 % confidence; None of all else.
    """

    key: str
    name: str
    unit: str
    value: float | None
    count: int
    bar: float | None = None
    least: bool = False
    interval: tuple[float, float] | None = None

    @property
    def missed(self) -> bool:
        """Whether there is a value on the wrong side of the bar."""
        if self.value is None or self.bar is None:
            return False
        return self.value < self.bar if self.least else self.value > self.bar


def figures(rows: Rows) -> tuple[Figure, ...]:
    """Every figure in the order of the report; those without rows have no value."""
    return tuple(measure.of(rows) for measure in MEASURES)


def missed(found: Iterable[Figure]) -> tuple[Figure, ...]:
    """Those beyond their bar."""
    return tuple(figure for figure in found if figure.missed)


@dataclass(frozen=True)
class _Measure:
    """How a figure is computed: ``values`` chooses, ``summary`` makes one number of them."""

    key: str
    name: str
    unit: str
    values: Callable[[Rows], Values]
    summary: Callable[[Values], float | None]
    bar: float | None = None
    least: bool = False

    def of(self, rows: Rows) -> Figure:
        values = self.values(rows)
        value = self.summary(values) if values else None
        interval = confidence(values) if values and self.summary is percent else None
        return Figure(self.key, self.name, self.unit, value, len(values), self.bar, self.least, interval)


def median(values: Values) -> float:
    """The median."""
    return float(np.median(values))


def p95(values: Values) -> float:
    """The 95th percentile, linear between the nearest ranks."""
    return float(np.percentile(values, 95))


def _most(values: Values) -> float:
    return float(np.max(values))


def percent(values: Values) -> float:
    """Share of ones among zeros and ones, in percent."""
    return float(100.0 * np.mean(values))


def confidence(values: Values) -> tuple[float, float]:
    """Exact 95 % confidence interval of a share in percent (Clopper and Pearson, 1934)."""
    found = binomtest(round(sum(values)), len(values)).proportion_ci(0.95, method="exact")
    return 100.0 * float(found.low), 100.0 * float(found.high)


def in_bone(lesion: LesionRow) -> bool:
    """Every lesion that psdt takes for bone: ribs and femora are among them."""
    return lesion.in_bone


def at(where: str) -> Callable[[LesionRow], bool]:
    """Lesions of one part of the body."""
    return lambda lesion: lesion.where == where


def t1_errors(chosen: Callable[[LesionRow], bool]) -> Callable[[Rows], Values]:
    """Errors in mm of accepted lesions, from their true place on T1."""
    return lambda rows: [
        lesion.t1_error_mm
        for lesion in rows.lesions
        if lesion.accepted and chosen(lesion) and lesion.t1_error_mm is not None
    ]


def dwi_errors(chosen: Callable[[LesionRow], bool]) -> Callable[[Rows], Values]:
    """Errors in mm of accepted lesions, from the flag as it was drawn on DWI."""
    return lambda rows: [
        lesion.error_mm for lesion in rows.lesions if lesion.accepted and chosen(lesion) and lesion.error_mm is not None
    ]


def _worse_errors(rows: Rows) -> Values:
    pairs = [(one.error_mm, one.t1_error_mm) for one in rows.lesions if one.accepted]
    return [max(given) for pair in pairs if (given := [error for error in pair if error is not None])]


def _refused(rows: Rows) -> Values:
    """Every lesion of a case that is refused as a whole is refused as well."""
    return [float(bool(case.refused_for) or not lesion.accepted) for case in rows.cases for lesion in case.lesions]


def _covered(rows: Rows) -> Values:
    return [float(lesion.covered) for lesion in rows.lesions if lesion.accepted]


def _covered_all(rows: Rows) -> Values:
    return [float(lesion.covered) for lesion in rows.lesions if lesion.bound_mm is not None]


def _bounds(rows: Rows) -> Values:
    return [lesion.bound_mm for lesion in rows.lesions if lesion.accepted and lesion.bound_mm is not None]


def _starts(rows: Rows) -> Values:
    return [lesion.start_mm for lesion in rows.lesions if lesion.start_mm is not None]


def _of_cases(value: Callable[[CaseRow], float]) -> Callable[[Rows], Values]:
    return lambda rows: [value(case) for case in rows.cases]


def _right_starts(rows: Rows) -> Values:
    return [float(case.started_right) for case in rows.cases]


def _per_lesion_s(rows: Rows) -> Values:
    return [case.lesions_cpu_s / len(case.lesions) for case in rows.cases if case.lesions]


def _noticed(kind: TrialKind) -> Callable[[Rows], Values]:
    return lambda rows: [float(trial.noticed) for trial in rows.trials if trial.kind is kind]


def rank_correlation(lesions: Iterable[LesionRow]) -> tuple[float | None, int]:
    """Spearman's coefficient of disagreement and error over all lesions that were fitted, held ones too.

    None where there are fewer than three, or one of the two never changes.
    """
    pairs = [
        (one.disagreement_mm, one.error_mm)
        for one in lesions
        if one.disagreement_mm is not None and one.error_mm is not None
    ]
    if len(pairs) < 3 or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return None, len(pairs)
    return float(spearmanr(*zip(*pairs, strict=True)).statistic), len(pairs)


MEASURES = (
    _Measure("starts_right", "starts in the right place", "%", _right_starts, percent, 100, True),
    _Measure("bone_t1_median", "bone, from T1: median", "mm", t1_errors(in_bone), median, 0.7),
    _Measure("bone_t1_p95", "bone, from T1: 95th percentile", "mm", t1_errors(in_bone), p95, 2.0),
    _Measure("bone_dwi_median", "bone, from the flag on DWI: median", "mm", dwi_errors(in_bone), median, 1.0),
    _Measure("bone_dwi_p95", "bone, from the flag on DWI: 95th percentile", "mm", dwi_errors(in_bone), p95, 3.0),
    _Measure("rib_t1_p95", "ribs, from T1: 95th percentile", "mm", t1_errors(at("rib")), p95, 3.0),
    _Measure("femur_t1_p95", "femora, from T1: 95th percentile", "mm", t1_errors(at("femur")), p95, 3.0),
    _Measure("node_t1_median", "nodes, from T1: median", "mm", t1_errors(at("node")), median, 1.5),
    _Measure("node_t1_p95", "nodes, from T1: 95th percentile", "mm", t1_errors(at("node")), p95, 3.0),
    _Measure("worst", "worst accepted lesion, from T1 or DWI", "mm", _worse_errors, _most, 5.0),
    _Measure("refused", "lesions held", "%", _refused, percent, 5.0),
    _Measure("covered", "accepted lesions within their bound", "%", _covered, percent, 95.0, True),
    _Measure("bound_median", "bound of accepted lesions: median", "mm", _bounds, median, 2.5),
    _Measure("level_off_noticed", "start a level off, noticed", "%", _noticed(TrialKind.LEVEL_OFF), percent, 99, True),
    _Measure("level_false_alarms", "right level, false alarms", "%", _noticed(TrialKind.LEVEL_RIGHT), percent, 1.0),
    _Measure("wrong_patient", "wrong patient refused", "%", _noticed(TrialKind.WRONG_PATIENT), percent, 100, True),
    _Measure("covered_all", "lesions within their bound, held ones too", "%", _covered_all, percent),
    _Measure("start_median", "whole-body fit alone, at the lesions: median", "mm", _starts, median),
    _Measure("start_p95", "whole-body fit alone, at the lesions: 95th percentile", "mm", _starts, p95),
    _Measure("case_cpu", "CPU time a case: median", "s", _of_cases(lambda case: case.cpu_s), median),
    _Measure("whole_body_cpu", "CPU time of the whole-body fit: median", "s", _of_cases(lambda c: c.whole_body_cpu_s),
             median),
    _Measure("lesion_cpu", "CPU time a lesion: median", "s", _per_lesion_s, median),
    _Measure("case_wall", "waiting time a case: median", "s", _of_cases(lambda case: case.wall_s), median),
)  # fmt: skip
"""The bars are those that the mapping was built to; docs/physicist.md says what each figure means."""
