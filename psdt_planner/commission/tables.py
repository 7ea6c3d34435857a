"""The report's tables as rows of text, whatever they are rendered to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from psdt_planner.commission.figures import Figure, figures, median, p95
from psdt_planner.commission.rows import CaseRow, LesionRow, Rows, TrialKind

WORST = 10
"""Accepted lesions shown beside the held ones, the furthest from their bound first."""

TRIALS = {
    TrialKind.LEVEL_OFF: "start moved by one vertebra",
    TrialKind.LEVEL_RIGHT: "start at the right vertebra",
    TrialKind.WRONG_PATIENT: "another patient's MR and flags",
}


@dataclass(frozen=True)
class Table:
    """A heading, what the table shows, its columns, and its rows of text; the first column names the row."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(rows: Rows) -> tuple[Table, ...]:
    """Every table of the report, the bars first; those without rows are left out."""
    found = (_bars(rows), _by_place(rows), _refusals(rows), _by_case(rows), _held_or_worst(rows), _trials(rows))
    return tuple(table for table in found if table.rows)


def said(value: float | None, unit: str = "") -> str:
    """A figure in words: two decimals of a mm, one of all else; a dash where there is none."""
    if value is None:
        return "–"
    number = f"{value:.2f}" if unit == "mm" or not unit else f"{value:.1f}"
    return f"{number} {unit}".strip()


def said_figure(figure: Figure) -> str:
    """A figure's value in words, a share with its interval."""
    words = said(figure.value, figure.unit)
    return f"{words} ({figure.interval[0]:.0f} to {figure.interval[1]:.0f})" if figure.interval else words


def said_bar(figure: Figure) -> str:
    """The bar in words."""
    if figure.bar is None:
        return ""
    return f"at {'least' if figure.least else 'most'} {figure.bar:g} {figure.unit}".strip()


def verdict(figure: Figure) -> str:
    """``met``, ``MISSED``, ``no data``, or nothing where there is no bar."""
    if figure.bar is None:
        return ""
    return "no data" if figure.value is None else "MISSED" if figure.missed else "met"


def _bars(rows: Rows) -> Table:
    parts = rows.deformations if len(rows.deformations) > 1 else ()
    columns = [figures(rows.of_deformation(deformation)) for deformation in parts]
    lines = [
        (
            figure.name,
            said_bar(figure),
            said_figure(figure),
            *(said(column[n].value, figure.unit) for column in columns),
            str(figure.count),
            verdict(figure),
        )
        for n, figure in enumerate(figures(rows))
    ]
    head = ("figure", "bar", "reached", *(f"deformation ×{d:g}" for d in parts), "of", "verdict")
    note = (
        "Errors are distances on the CT of accepted lesions. In brackets: where a share lies with 95 % confidence. The "
        "verdict is on all deformations together."
    )
    return Table("Figures", note, head, tuple(lines))


def _by_place(rows: Rows) -> Table:
    groups: dict[str, list[LesionRow]] = defaultdict(list)
    for lesion in rows.lesions:
        groups[lesion.where].append(lesion)
    head = (
        "place", "site", "accepted", "whole body alone", "from T1", "from the flag on DWI", "bound: median", "covered",
    )  # fmt: skip
    note = "Median / 95th percentile / worst in mm; of accepted lesions, but for the whole-body fit: that is of all."
    return Table("By place", note, head, tuple(_place_line(where, groups[where]) for where in sorted(groups)))


def _place_line(where: str, lesions: Sequence[LesionRow]) -> tuple[str, ...]:
    accepted = [lesion for lesion in lesions if lesion.accepted]
    return (
        where,
        ", ".join(sorted({lesion.site for lesion in lesions})),
        f"{len(accepted)} of {len(lesions)}",
        _spread(lesions, lambda lesion: lesion.start_mm),
        _spread(accepted, lambda lesion: lesion.t1_error_mm),
        _spread(accepted, lambda lesion: lesion.error_mm),
        said(_median(accepted, lambda lesion: lesion.bound_mm), "mm"),
        f"{sum(lesion.covered for lesion in accepted)} of {len(accepted)}",
    )


Number = Callable[[LesionRow], float | None]


def _given(lesions: Sequence[LesionRow], number: Number) -> list[float]:
    return [value for lesion in lesions if (value := number(lesion)) is not None]


def _spread(lesions: Sequence[LesionRow], number: Number) -> str:
    values = _given(lesions, number)
    return f"{median(values):.1f} / {p95(values):.1f} / {max(values):.1f}" if values else "–"


def _median(lesions: Sequence[LesionRow], number: Number) -> float | None:
    values = _given(lesions, number)
    return median(values) if values else None


def _refusals(rows: Rows) -> Table:
    lesions = Counter(code for lesion in rows.lesions for code in lesion.reasons)
    cases = Counter(code for case in rows.cases for code in case.codes)
    lines = [(code, str(lesions[code]), str(cases[code])) for code in sorted(lesions | cases)]
    note = (
        "Codes as in docs/findings.md. A lesion may be held for several reasons; a case may be warned of and not held."
    )
    return Table("Refusals and warnings", note, ("finding", "lesions held for it", "cases with it"), tuple(lines))


def _by_case(rows: Rows) -> Table:
    head = (
        "case", "accepted", "starts right", "whole body: median", "worst vertebra, share of half a level",
        "from the flag: median / worst mm", "CPU s", "of it a lesion", "waited s",
    )  # fmt: skip
    note = (
        "From a share of 1 on, the whole-body fit has lost a level. Time is of reading and planning, without drawing."
    )
    return Table("By case", note, head, tuple(_case_line(case) for case in rows.cases))


def _case_line(case: CaseRow) -> tuple[str, ...]:
    accepted = [lesion for lesion in case.lesions if lesion.accepted]
    errors = _given(accepted, lambda lesion: lesion.error_mm)
    return (
        case.name,
        f"{len(accepted)} of {len(case.lesions)}",
        "yes" if case.started_right else "NO",
        said(case.start_median_mm, "mm"),
        "–" if case.level_share is None else f"{case.level_share:.2f} ({case.level_worst})",
        f"{median(errors):.1f} / {max(errors):.1f}" if errors else "–",
        f"{case.cpu_s:.1f}",
        f"{case.lesions_cpu_s / max(1, len(case.lesions)):.1f}",
        f"{case.wall_s:.1f}",
    )


def _held_or_worst(rows: Rows) -> Table:
    held = [lesion for lesion in rows.lesions if not lesion.accepted]
    accepted = [lesion for lesion in rows.lesions if lesion.accepted]
    worst = sorted(accepted, key=_room_mm)[:WORST]
    head = ("case", "lesion", "place", "outcome", "from T1", "from the flag", "bound", "disagreement", "EPI shift",
            "left of it")  # fmt: skip
    note = (
        f"Every held lesion, and the {len(worst)} accepted ones whose error comes nearest to their bound or exceeds it."
    )
    return Table("Held, or nearest to the bound", note, head, tuple(_lesion_line(one) for one in (*held, *worst)))


def _room_mm(lesion: LesionRow) -> float:
    if lesion.bound_mm is None or lesion.error_mm is None:
        return float(np.inf)
    return lesion.bound_mm - lesion.error_mm


def _lesion_line(lesion: LesionRow) -> tuple[str, ...]:
    lengths = (
        lesion.t1_error_mm, lesion.error_mm, lesion.bound_mm, lesion.disagreement_mm,
        lesion.epi_shift_mm, lesion.epi_left_mm,
    )  # fmt: skip
    outcome = "accepted" if lesion.accepted else ", ".join(lesion.reasons) or lesion.status
    return (lesion.case, lesion.lesion, lesion.where, outcome, *(said(length, "mm") for length in lengths))


def _trials(rows: Rows) -> Table:
    lines = tuple(_trial_lines(rows))
    note = "What was put before psdt on purpose, and whether it raised an alarm."
    return Table("Trials", note, ("trial", "alarms", "without", "cases without"), lines)


def _trial_lines(rows: Rows) -> Iterator[tuple[str, ...]]:
    for kind, words in TRIALS.items():
        trials = [trial for trial in rows.trials if trial.kind is kind]
        if trials:
            silent = [trial.case for trial in trials if not trial.noticed]
            named = ", ".join(silent) if kind is not TrialKind.LEVEL_RIGHT else ""
            yield words, str(len(trials) - len(silent)), str(len(silent)), named
