"""The course of disease in words: what kind of disease this is, what became of each lesion, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from psdt_planner.planning import Compared, Course
from psdt_planner.report import words
from psdt_planner.timeline import Change, LesionTime

RESISTANT = {
    True: "castration-resistant",
    False: "not castration-resistant",
    None: "castration resistance undetermined",
}


@dataclass(frozen=True)
class CourseRow:
    """One lesion through time, as cells of a table; ``name`` is its id, or its former ids where it is gone."""

    name: str
    lesion: str
    prior: str
    fate: str
    volume: str
    adc: str
    region: str
    rac: str
    progressive: str


@dataclass(frozen=True)
class CourseSection:
    """All that the page says of time.

    Attributes:
        kind: genuine or induced, in a sentence.
        state: of the ESTRO/EORTC classification, in a sentence.
        sites: how many progress, against the limit.
        used, missing, reasons: facts in words.
        rows: lesions of this exam, then those that are no longer there.
        compared: with what exam, and how the two were brought together; empty without a prior exam.
        sources: where the measurement errors come from, each once.
    """

    kind: str
    state: str
    sites: str
    used: tuple[str, ...]
    missing: tuple[str, ...]
    reasons: tuple[str, ...]
    rows: tuple[CourseRow, ...]
    compared: str
    sources: tuple[str, ...]


def course_section(course: Course) -> CourseSection:
    """The words of one course."""
    found, timeline = course.classification, course.timeline
    entries = (*timeline.lesions, *timeline.former)
    changes = [change for entry in entries for change in (entry.volume, entry.adc) if change]
    return CourseSection(
        kind=f"{found.om_crpc.value.capitalize()} oligometastatic disease; {RESISTANT[found.castration_resistant]}."
        if found.om_crpc.value != "undetermined"
        else f"Genuine or induced: undetermined; {RESISTANT[found.castration_resistant]}.",
        state=f"ESTRO/EORTC: {found.estro_eortc.value}.",
        sites=_sites(course),
        used=found.facts_used,
        missing=found.facts_missing,
        reasons=found.reasons,
        rows=tuple(_row(entry) for entry in entries),
        compared=_compared(course.compared) if course.compared else "",
        sources=tuple(dict.fromkeys(source for change in changes for source in change.sources)),
    )


def course_lines(course: Course | None) -> Iterator[str]:
    """The same in a few lines for a screen; none where nobody asked."""
    if course is None:
        return
    section = course_section(course)
    if section.compared:
        yield section.compared
        yield f"Since then: {', '.join(f'{row.name} {row.fate}' for row in section.rows)}."
    yield f"{section.kind} {section.state} {section.sites}"
    if section.missing:
        yield f"Facts missing: {', '.join(section.missing)}."


def _compared(compared: Compared) -> str:
    days = words.counted(compared.days_before, "day")
    lesions = words.counted(len(compared.flags), "flagged lesion")
    way = words.sentence(compared.registration.method)
    return f"Compared with the exam of {days} before, with {lesions}. Prior exam to this one: {way}"


def _sites(course: Course) -> str:
    progressive, flagged = len(course.timeline.progressive), len(course.timeline.lesions)
    proposed = sum(entry.progressive_by.value.startswith("proposed") for entry in course.timeline.progressive)
    told = f"{words.counted(progressive, 'progressive site')} of {flagged} flagged"
    return f"{told}, {proposed} of them proposed from the time-line." if proposed else f"{told}."


def _row(entry: LesionTime) -> CourseRow:
    rac = entry.reading
    secondary = f", secondary {rac.secondary}" if rac and rac.secondary else ""
    return CourseRow(
        name=entry.lesion or ", ".join(entry.prior),
        lesion=entry.lesion or "no longer there",
        prior=", ".join(entry.prior) or "none",
        fate=entry.fate.value,
        volume=_change(entry.volume),
        adc=_change(entry.adc),
        region=entry.region.value if entry.region else "unknown",
        rac=f"{rac.rac}{secondary} ({rac.source})" if rac else "not given",
        progressive=f"{'yes' if entry.progressive else 'no'}: {entry.progressive_by.value}" if entry.lesion else "",
    )


def _change(change: Change | None) -> str:
    """Before, after and the change in per cent, with the changes that are measurement error."""
    if change is None:
        return "not compared"
    shown = words.millilitres if change.unit == "ml" else words.adc
    low, high = change.error_percent
    return (
        f"{shown(change.before)} to {shown(change.after)}: {change.percent:+.0f} % "
        f"(error {low:+.0f} % to {high:+.0f} %)"
    )
