"""The course of disease that a plan stands in: what became of every lesion, and what kind of disease this is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from psdt_planner.criteria import Criteria
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.history import History
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.oligomets import Classification, Sites, classify
from psdt_planner.planning.prior import Compared
from psdt_planner.protocol import Protocol, TargetCount
from psdt_planner.timeline import Seen, Timeline, everywhere, read_racs, timeline_of, without_place

OVER_LIMIT: Final = "progressive-sites-over-limit"


@dataclass(frozen=True)
class Course:
    """What the plan says of time.

    Attributes:
        history: None where nobody told it.
        criteria: what counted as a change and as a state.
        timeline: of every flagged lesion.
        classification: genuine or induced, and the ESTRO/EORTC state.
        compared: this exam beside the prior one; None where there is none.
        limits: how many progressive sites are few, by the protocol.
    """

    history: History | None
    criteria: Criteria
    timeline: Timeline
    classification: Classification
    compared: Compared | None
    limits: TargetCount

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of the comparison and the time-line, then of the number of sites and the classification."""
        compared = self.compared.findings if self.compared else ()
        sites = tuple(_about_number(len(self.timeline.progressive), self.limits))
        return (*compared, *self.timeline.findings, *sites, *self.classification.findings)

    def for_case(self, left_out: Collection[str]) -> tuple[Finding, ...]:
        """The findings that are about no flagged lesion, or about one that a person left out: those hold no more.

        Nor does the number of sites, where no more than the protocol's limit are left to be treated.
        """
        flagged = self.timeline.by_lesion
        few = sum(one.lesion not in left_out for one in self.timeline.progressive) <= self.limits.max
        resolved = (
            replace(one, level=Level.WARN) if _held_of(one, left_out) or (few and one.code == OVER_LIMIT) else one
            for one in self.findings
        )
        return tuple(one for one in resolved if one.lesion not in flagged or one.lesion in left_out)

    def for_lesions(self, left_out: Collection[str]) -> Mapping[str, tuple[Finding, ...]]:
        """The others, by the ids of the lesions that they are about."""
        ids = [lesion for lesion in self.timeline.by_lesion if lesion not in left_out]
        return {lesion: tuple(one for one in self.findings if one.lesion == lesion) for lesion in ids}

    @property
    def left_by_reader(self) -> Mapping[str, str]:
        """Flagged lesions that the reader's RAC calls not progressive, and so in words: they get no target."""
        return {
            entry.lesion: f"not progressive, RAC {entry.reading.rac} in the {entry.reading.source}"
            for entry in self.timeline.lesions
            if entry.reading is not None and not entry.progressive
        }

    @property
    def tracking(self) -> Mapping[str, str]:
        """Each lesion's identity over time: its own, or the one carried over."""
        return {entry.lesion: entry.tracking_uid for entry in self.timeline.lesions}


def _held_of(finding: Finding, left_out: Collection[str]) -> bool:
    return finding.level is Level.HOLD and finding.lesion in left_out


def course_of(
    flags: Sequence[FlaggedLesion],
    history: History | None,
    criteria: Criteria,
    protocol: Protocol,
    *,
    compared: Compared | None = None,
) -> Course:
    """The course of disease of the flagged lesions.

    Args:
        flags: of this exam, every one.
        history: what happened before the exam.
        criteria: what counts as a change and as a state.
        protocol: its table ``targets`` tells how many progressive sites are still few.
        compared: this exam and the prior one in a common frame, where there is a prior one.

    The findings carry, beside those of the parts, ``progressive-sites-many`` (warn) above the protocol's warning and
    ``progressive-sites-over-limit`` (hold, until a person has left out as many by name) above its limit.

    Raises:
        FrameError: the two exams are in different frames.
    """
    this, prior = (compared.this, compared.prior) if compared else (_of_flags(flags), None)
    readings = read_racs(flags, history, criteria, compared.flags if compared else ())
    timeline = timeline_of(this, prior, readings, criteria)
    sites = Sites(flagged=len(flags), progressive=len(timeline.progressive), limit=protocol.targets.max)
    return Course(history, criteria, timeline, classify(history, sites, criteria), compared, protocol.targets)


def _of_flags(flags: Sequence[FlaggedLesion]) -> Seen:
    """Without a prior exam no lesion needs a place in a common frame."""
    return Seen("", tuple(without_place(flag, None) for flag in flags), everywhere)


def _about_number(progressive: int, limits: TargetCount) -> Iterator[Finding]:
    sites = f"{progressive} progressive sites"
    if progressive > limits.max:
        message = (
            f"{sites}: more than {limits.max} are not oligoprogressive by the protocol. "
            "Leave sites out by name, or plan by a protocol that allows more."
        )
        yield Finding(OVER_LIMIT, Level.HOLD, message, Who.PERSON, progressive, limits.max, "sites")
    elif progressive > limits.warn_above:
        message = f"{sites}: more than the {limits.warn_above} of most trials, and no more than the protocol's limit."
        yield Finding(
            "progressive-sites-many", Level.WARN, message, Who.PERSON, progressive, limits.warn_above, "sites"
        )
