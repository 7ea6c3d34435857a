"""The reader's response assessment categories (MET-RADS-P), from the flag's label or the history; never inferred."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psdt_planner.criteria import Criteria
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.history import History, Rac
from psdt_planner.lesions import FlaggedLesion

IN_LABEL: Final = re.compile(r"\bRAC[\s:=_-]*([1-5])\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """The reader's category of one lesion, and where it stands: ``label`` or ``history``."""

    rac: int
    source: str
    secondary: int | None = None


@dataclass(frozen=True)
class RacReadings:
    """The readings by the lesions' ids, and what is wrong with those that could not be taken."""

    by_lesion: Mapping[str, Reading]
    findings: tuple[Finding, ...]


def read_racs(
    flags: Sequence[FlaggedLesion],
    history: History | None,
    criteria: Criteria,
    prior: Sequence[FlaggedLesion] = (),
) -> RacReadings:
    """The readings of the flagged lesions; one that is told twice and differently is not taken.

    A lesion of the prior exam alone may have one in the history, such as a lesion that is gone; what its label said is
    of then. One that progresses must be flagged in this exam.
    """
    readings: dict[str, Reading] = {}
    findings = []
    entries = history.rac if history else ()
    for flag in flags:
        told = [Reading(int(found), "label") for found in IN_LABEL.findall(flag.label)]
        told += [Reading(entry.rac, "history", entry.secondary) for entry in entries if _names(entry, flag)]
        if len({reading.rac for reading in told}) > 1:
            words = ", ".join(f"{reading.rac} in the {reading.source}" for reading in told)
            findings.append(_contradictory(flag.id, words))
        elif told:
            readings[flag.id] = told[-1]
    strangers = [entry for entry in entries if not any(_names(entry, flag) for flag in flags)]
    for entry in strangers:
        former = next((flag for flag in prior if _names(entry, flag)), None)
        if former is not None and entry.rac < criteria.progressing.rac_from:
            readings[former.id] = Reading(entry.rac, "history", entry.secondary)
        else:
            findings.append(_unflagged(entry, criteria))
    return RacReadings(readings, tuple(findings))


def _names(entry: Rac, flag: FlaggedLesion) -> bool:
    return entry.lesion in (flag.id, flag.tracking_uid)


def _contradictory(lesion: str, words: str) -> Finding:
    message = f"The reader's RAC of {lesion} is told differently: {words}; none was taken."
    return Finding("rac-contradictory", Level.HOLD, message, who=Who.PERSON, lesion=lesion)


def _unflagged(entry: Rac, criteria: Criteria) -> Finding:
    """A progressing lesion without a flag would stay without a target."""
    progressing = entry.rac >= criteria.progressing.rac_from
    message = f"The history gives RAC {entry.rac} to {entry.lesion}, which is not among the flags of this exam."
    return Finding("rac-lesion-unknown", Level.HOLD if progressing else Level.WARN, message, who=Who.PERSON)
