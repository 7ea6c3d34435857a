"""The history in a file and the shipped criteria, joined to the course of disease of one exam."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from importlib import resources
from pathlib import Path

from psdt_planner.criteria import Criteria, parse_criteria
from psdt_planner.dicom.intake import Intake
from psdt_planner.errors import ConfigurationError, MissingAttributeError
from psdt_planner.history import History, joined, parse_bundle, parse_history
from psdt_planner.planning import Course, Progress, compare_exams, course_of
from psdt_planner.protocol import Protocol

SHIPPED = "psdt"
"""The criteria that come with psdt."""


def _silent(_what: str, _done: int, _total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class HistoryText:
    """A history as its file has it, or its two files; what it means depends on the day of the exam.

    Attributes:
        name, text: of the file.
        bundle: the FHIR bundle beside what a person wrote; None where there is one file.
    """

    name: str
    text: str
    bundle: HistoryText | None = None

    def as_of(self, exam_date: date) -> History:
        """The history, checked against the day of the exam.

        Raises:
            InputError: a text is wrong, says more than could be known on that day, or contradicts the other.
        """
        parse = parse_bundle if self.name.endswith(".json") else parse_history
        told = parse(self.text, self.name, exam_date=exam_date)
        return joined(told, self.bundle.as_of(exam_date)) if self.bundle else told


def load_history(*paths: Path) -> HistoryText | None:
    """The text of a history: ``.json`` is a FHIR bundle, ``.toml`` what a person wrote; one of each, or either.

    None without a path.

    Raises:
        ConfigurationError: another kind of file, two of one kind, or one that cannot be read.
    """
    texts = {path.suffix: _text(path) for path in paths}
    if len(texts) < len(paths):
        names = ", ".join(path.name for path in paths)
        raise ConfigurationError("a history is one .toml file, one .json bundle, or one of each", where=names)
    person, bundle = texts.get(".toml"), texts.get(".json")
    return replace(person, bundle=bundle) if person else bundle


def _text(path: Path) -> HistoryText:
    if path.suffix not in (".json", ".toml"):
        raise ConfigurationError(
            "a history is a .toml file or a FHIR bundle in .json", where=path.name, todo="See docs/history.toml."
        )
    try:
        return HistoryText(path.name, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the history cannot be read: {error}", where=path.name) from error


def load_criteria() -> Criteria:
    """The criteria that come with psdt."""
    file = resources.files("psdt_planner").joinpath("criteria", f"{SHIPPED}.toml")
    return parse_criteria(file.read_text(encoding="utf-8"), SHIPPED)


def course_of_intake(
    intake: Intake, history: HistoryText | None, protocol: Protocol, *, threads: int = 1, progress: Progress = _silent
) -> Course:
    """The course of disease of what came in, beside the prior exam where one came in.

    Args:
        intake: what came in.
        history: what happened before the exam.
        protocol: its table ``targets`` tells how many progressive sites are still few.
        threads: how many fits go on at once; the course is the same for any number.
        progress: told of each step.

    Raises:
        InputError: the history is wrong, or says more than could be known on the day of the exam.
        MissingAttributeError: a history, and no MR series that states its date.
    """
    known = history.as_of(exam_date(intake)) if history else None
    criteria = load_criteria()
    if intake.exam.prior is not None:
        progress("prior exam", 0, len(intake.exam.prior.flags))
    with ThreadPoolExecutor(threads) as pool:
        compared = compare_exams(intake.exam, criteria, mapper=pool.map)
    return course_of(intake.exam.flags, known, criteria, protocol, compared=compared)


def exam_date(intake: Intake) -> date:
    """The latest day of the MR series that the flags were drawn on, else of any MR series.

    Raises:
        MissingAttributeError: none of them states a day.
    """
    drawn_on = {flag.series_uid for flag in intake.exam.flags}
    mr = [series for series in intake.series if series.modality == "MR"]
    days = _days(one.date for one in mr if one.series_instance_uid in drawn_on) or _days(one.date for one in mr)
    if not days:
        raise MissingAttributeError("no MR series states its date, so that no history can be held against it")
    return max(days)


def _days(texts: Iterable[str]) -> list[date]:
    """Of DICOM dates, YYYYMMDD; those that were sent empty or as something else are left out."""
    days = []
    for text in texts:
        with suppress(ValueError):
            days.append(date.fromisoformat(text))
    return days
