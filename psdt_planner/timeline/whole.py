"""The time-line: what became of every lesion, and which of them progress, by whose word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from psdt_planner.criteria import Criteria
from psdt_planner.errors import FrameError
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.timeline.change import Change, adc_change, volume_change
from psdt_planner.timeline.matching import Family, families, repeated_uids
from psdt_planner.timeline.place import Seen, SeenLesion
from psdt_planner.timeline.rac import RacReadings, Reading
from psdt_planner.timeline.regions import Region, region_of


class Fate(StrEnum):
    """What became of a lesion since the prior exam."""

    NEW = "new"
    GROWING = "growing"
    STABLE = "stable"
    SHRINKING = "shrinking"
    GONE = "gone"
    MERGED = "merged"
    SPLIT = "split"
    UNKNOWN = "unknown"


class ProgressiveBy(StrEnum):
    """By whose word a lesion progresses or not."""

    READER = "the reader's RAC"
    TIME_LINE = "proposed from the time-line"
    FLAG = "the reader's flag"


BY_DIRECTION = {1: Fate.GROWING, 0: Fate.STABLE, -1: Fate.SHRINKING}


@dataclass(frozen=True)
class LesionTime:
    """One lesion through time.

    Attributes:
        lesion: its id in this exam; empty for one that is no longer there.
        prior: its ids in the prior exam.
        fate: what became of it.
        matched_by: ``tracking UID`` or ``place``; empty where nothing was matched.
        tracking_uid: its own; where it has none and was matched one to one, that of the prior exam.
        volume, adc: change beside measurement error; None where there is nothing to compare. Of lesions that merged or
            split, of all of them together.
        region: of MET-RADS-P; None where site and label do not tell it.
        reading: the reader's category; None where the reader gave none.
        progressive, progressive_by: whether it progresses, and who says so.
    """

    lesion: str
    prior: tuple[str, ...]
    fate: Fate
    matched_by: str
    tracking_uid: str
    volume: Change | None
    adc: Change | None
    region: Region | None
    reading: Reading | None
    progressive: bool
    progressive_by: ProgressiveBy

    def as_json(self) -> dict[str, object]:
        """The keys ``timeline`` and ``progressive`` of a lesion in plan.json, and what they rest on."""
        return {
            "timeline": self.fate.value,
            "progressive": self.progressive,
            "progressive_by": self.progressive_by.value,
            "prior_lesions": list(self.prior),
            "matched_by": self.matched_by,
            "tracking_uid_carried_over": self.tracking_uid,
            "volume_change": self.volume.as_json() if self.volume else None,
            "adc_change": self.adc.as_json() if self.adc else None,
            "region": self.region.value if self.region else None,
            "rac": self.reading.rac if self.reading else None,
            "rac_secondary": self.reading.secondary if self.reading else None,
            "rac_source": self.reading.source if self.reading else None,
        }


@dataclass(frozen=True)
class Timeline:
    """All lesions through time.

    Attributes:
        has_prior: whether there was a prior exam to compare with.
        lesions: every flagged lesion of this exam, in order of the ids given.
        former: lesions of the prior exam that nothing was matched to: gone, or unknown.
        findings: for the case and for its lesions.
    """

    has_prior: bool
    lesions: tuple[LesionTime, ...]
    former: tuple[LesionTime, ...]
    findings: tuple[Finding, ...]

    @property
    def progressive(self) -> tuple[LesionTime, ...]:
        """The lesions that progress."""
        return tuple(lesion for lesion in self.lesions if lesion.progressive)

    @property
    def by_lesion(self) -> Mapping[str, LesionTime]:
        """Those of this exam by their ids."""
        return {lesion.lesion: lesion for lesion in self.lesions}


def timeline_of(current: Seen, prior: Seen | None, readings: RacReadings, criteria: Criteria) -> Timeline:
    """What became of every lesion since the prior exam; without one every fate is unknown.

    A lesion progresses by the reader's RAC where there is one. Else it is proposed from the time-line: a new lesion
    progresses, and one whose volume grew by more than measurement error. Where the time-line tells nothing, the flag
    itself is the reader's word.

    Raises:
        FrameError: the two exams were brought to different frames.
    """
    if prior is not None and prior.frame != current.frame:
        raise FrameError(f"the prior exam is in frame {prior.frame}, this one in {current.frame}")
    flags = [seen.flag for seen in current.lesions]
    if prior is None:
        alone = tuple(_entry(flag, Fate.UNKNOWN, readings, criteria) for flag in flags)
        return Timeline(False, alone, (), (*readings.findings, *_notes(alone, criteria)))
    entries: list[LesionTime] = []
    former: list[LesionTime] = []
    findings: list[Finding] = []
    found_families = families(prior.lesions, current.lesions)
    told = _Exams(current, prior, *_lost(found_families, current, prior))
    for family in found_families:
        own, found = _of_family(family, told, readings, criteria)
        (entries if family.current else former).extend(own)
        findings += found
    findings += _repeated(prior, current)
    order = {flag.id: n for n, flag in enumerate(flags)}
    entries.sort(key=lambda entry: order[entry.lesion])
    return Timeline(True, tuple(entries), tuple(former), (*readings.findings, *findings, *_notes(entries, criteria)))


@dataclass(frozen=True, eq=False)
class _Exams:
    """Both exams, and whether each has lesions left that have no place and nothing that was matched to them."""

    current: Seen
    prior: Seen
    current_lost: bool
    prior_lost: bool


def _lost(found: Sequence[Family], current: Seen, prior: Seen) -> tuple[bool, bool]:
    alone = [one for one in found if not (one.prior and one.current)]
    return (
        any(not current.lesions[b].placed for one in alone for b in one.current),
        any(not prior.lesions[a].placed for one in alone for a in one.prior),
    )


def _of_family(
    family: Family, exams: _Exams, readings: RacReadings, criteria: Criteria
) -> tuple[list[LesionTime], list[Finding]]:
    """The entries of one family, and why a person should look at it."""
    before = [exams.prior.lesions[a] for a in family.prior]
    now = [exams.current.lesions[b] for b in family.current]
    names = " and ".join([*(f"{one.flag.id} of the prior exam" for one in before), *(one.flag.id for one in now)])
    findings = [_uncertain(now, f"{names}: {family.doubt}.")] if family.doubt else []
    if before and now:
        volume = volume_change([one.flag for one in before], [one.flag for one in now], criteria)
        adc = adc_change([_adc(one) for one in before], [_adc(one) for one in now], criteria)
        fate = _fate(len(before), len(now), volume)
        way = "tracking UID" if family.by_uid else "place"
        carried = before[0].flag.tracking_uid if len(before) == len(now) == 1 else ""
        ids = tuple(one.flag.id for one in before)
        told = _Told(ids, way, carried, volume, adc)
        return [_entry_of(told, one.flag, fate, readings, criteria) for one in now], findings
    alone, other = (now or before)[0], exams.prior if now else exams.current
    lost = exams.prior_lost if now else exams.current_lost
    looked = alone.placed and not lost and bool(other.covers(alone.centroid_mm[None, :])[0])
    if alone.placed and not looked:
        findings.append(_not_looked(alone, now=bool(now), unplaced=lost))
    if now:
        fate = Fate.NEW if looked else Fate.UNKNOWN
        return [_entry(alone.flag, fate, readings, criteria)], findings
    return [_former(alone.flag, Fate.GONE if looked else Fate.UNKNOWN, readings)], findings


def _adc(seen: SeenLesion) -> tuple[float | None, float]:
    return seen.adc_median_mm2_per_s, seen.flag.volume_ml


def _fate(before: int, now: int, volume: Change) -> Fate:
    if before > 1 and now > 1:
        return Fate.UNKNOWN
    if before > 1:
        return Fate.MERGED
    return Fate.SPLIT if now > 1 else BY_DIRECTION[volume.direction]


@dataclass(frozen=True)
class _Told:
    """What a match tells of its lesions."""

    prior: tuple[str, ...] = ()
    matched_by: str = ""
    carried_uid: str = ""
    volume: Change | None = None
    adc: Change | None = None


def _entry(flag: FlaggedLesion, fate: Fate, readings: RacReadings, criteria: Criteria) -> LesionTime:
    return _entry_of(_Told(), flag, fate, readings, criteria)


def _entry_of(told: _Told, flag: FlaggedLesion, fate: Fate, readings: RacReadings, criteria: Criteria) -> LesionTime:
    reading = readings.by_lesion.get(flag.id)
    grew = told.volume is not None and told.volume.direction > 0
    if reading is not None:
        progressive, by = reading.rac >= criteria.progressing.rac_from, ProgressiveBy.READER
    elif fate is Fate.UNKNOWN:
        progressive, by = True, ProgressiveBy.FLAG
    else:
        progressive, by = fate is Fate.NEW or grew, ProgressiveBy.TIME_LINE
    return LesionTime(
        lesion=flag.id,
        prior=told.prior,
        fate=fate,
        matched_by=told.matched_by,
        tracking_uid=flag.tracking_uid or told.carried_uid,
        volume=told.volume,
        adc=told.adc,
        region=region_of(flag.site, flag.label, flag.site_code),
        reading=reading,
        progressive=progressive,
        progressive_by=by,
    )


def _former(flag: FlaggedLesion, fate: Fate, readings: RacReadings) -> LesionTime:
    """A lesion of the prior exam alone; nothing of it is progressive, as nothing of it is flagged."""
    region, reading = region_of(flag.site, flag.label, flag.site_code), readings.by_lesion.get(flag.id)
    by = ProgressiveBy.TIME_LINE if reading is None else ProgressiveBy.READER
    return LesionTime("", (flag.id,), fate, "", flag.tracking_uid, None, None, region, reading, False, by)


# ---------------------------------------------------------------------------------------------------------------------
# What a person should know
# ---------------------------------------------------------------------------------------------------------------------


def _uncertain(now: Sequence[SeenLesion], message: str) -> Finding:
    lesion = now[0].flag.id if len(now) == 1 else ""
    return Finding("lesion-match-uncertain", Level.WARN, message, who=Who.PERSON, lesion=lesion)


def _not_looked(alone: SeenLesion, *, now: bool, unplaced: bool) -> Finding:
    name = alone.flag.id if now else f"{alone.flag.id} of the prior exam"
    other = "prior" if now else "present"
    why = "has lesions whose place is not known" if unplaced else "does not show the place"
    word = "new" if now else "gone"
    message = f"{name} may be {word}: the {other} exam {why}."
    lesion = alone.flag.id if now else ""
    return Finding("lesion-fate-unknown", Level.WARN, message, who=Who.PERSON, lesion=lesion)


def _repeated(prior: Seen, current: Seen) -> Iterator[Finding]:
    for uid in sorted(repeated_uids(prior.lesions, current.lesions)):
        message = f"Several lesions of both exams have the tracking UID {uid}: it was not used."
        yield Finding("tracking-uid-repeated", Level.WARN, message, who=Who.SENDER)


def _notes(entries: Sequence[LesionTime], criteria: Criteria) -> Iterator[Finding]:
    """Where the reader's word and the numbers disagree, and flags that by the numbers alone do not progress."""
    for entry in entries:
        against = _against(entry, criteria)
        if against and entry.reading:
            message = f"{entry.lesion} has RAC {entry.reading.rac} by the reader, but {against}."
            yield Finding("rac-disagrees", Level.WARN, message, who=Who.PERSON, lesion=entry.lesion)
        if not entry.progressive and entry.progressive_by is ProgressiveBy.TIME_LINE:
            message = (
                f"{entry.lesion} is flagged, but by the numbers it is {entry.fate.value} and does not progress. "
                "Give its RAC, or leave it out by name: a number alone leaves no site untreated."
            )
            yield Finding("flag-not-progressive", Level.HOLD, message, who=Who.PERSON, lesion=entry.lesion)


def _against(entry: LesionTime, criteria: Criteria) -> str:
    """What the numbers say against the reader's category; ADC speaks only where it moved beyond its error."""
    if entry.reading is None:
        return ""
    responding = entry.reading.rac <= criteria.responding.rac_to
    progressing = entry.reading.rac >= criteria.progressing.rac_from
    size = entry.volume.direction if entry.volume else int(entry.fate is Fate.NEW)
    adc = entry.adc.direction if entry.adc else 0
    if size > 0 and not progressing:
        return "is new" if entry.fate is Fate.NEW else "its volume grew by more than measurement error"
    if size < 0 and not responding:
        return "its volume shrank by more than measurement error"
    if adc > 0 and size <= 0 and progressing:
        return "its ADC rose by more than measurement error and its volume did not grow"
    if adc < 0 and responding:
        return "its ADC fell by more than measurement error"
    return ""
