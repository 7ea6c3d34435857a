"""Which of several MR exams is this one and which is the prior one, by the days of their studies.

The newest day is this exam's. An older exam is its prior where both have flags of their own; where only the older one
has, or the newest shows no diffusion though the older does, nobody can tell which flags are current, and they hold.
Images of an older exam never stand beside this one's: neither composed with them nor looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from psdt_planner.dicom.flags import Flags
from psdt_planner.dicom.kinds import DIFFUSION_KINDS
from psdt_planner.dicom.references import references
from psdt_planner.dicom.series import Series
from psdt_planner.exam import PriorExam
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind, Volume
from psdt_planner.lesions import FlaggedLesion

MARKING = (Kind.SEG, Kind.SR, Kind.RTSTRUCT)


@dataclass(frozen=True)
class Exams:
    """The MR exams among the inputs.

    Attributes:
        days: of every MR series that states one, by SeriesInstanceUID.
        frames: the frames of reference of every MR series, by SeriesInstanceUID.
        prior: the day of the prior exam; None where there is none.
        prior_objects: SOP Instance UIDs of the objects that flag the prior exam.
        left_out: those of the objects that flag exams older than the prior one.
        apart: whether this exam is that of the newest day alone; else nobody can tell which of them is.
    """

    days: Mapping[str, date]
    frames: Mapping[str, frozenset[str]]
    prior: date | None = None
    prior_objects: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    apart: bool = False

    @property
    def newest(self) -> date | None:
        """The day of this exam; None where no MR states one."""
        return max(self.days.values(), default=None)

    def prior_exam(self, flags: tuple[FlaggedLesion, ...], volumes: Iterable[Volume]) -> PriorExam | None:
        """The prior exam with its flags and those of the volumes that are of its day."""
        if self.prior is None or self.newest is None or not flags:
            return None
        own = tuple(volume for volume in volumes if self.days.get(volume.series_uid) == self.prior)
        return PriorExam(flags, own, (self.newest - self.prior).days)

    def of_this(self, volumes: Iterable[Volume]) -> tuple[Volume, ...]:
        """The volumes without those of older exams, whether these have flags or not."""
        first = self.newest if self.apart and self.newest else date.min
        return tuple(volume for volume in volumes if self.days.get(volume.series_uid, date.max) >= first)

    @property
    def unused(self) -> tuple[str, ...]:
        """SeriesInstanceUIDs of the exams that are neither this one nor the prior one."""
        return tuple(
            sorted(uid for uid, day in self.days.items() if self.apart and day not in (self.newest, self.prior))
        )


def exams_among(series: Sequence[Series]) -> Exams:
    """The exams of all that came in, by what each flagging object refers to."""
    mr = [one for one in series if one.is_mr]
    exams = Exams(_days(mr), {one.uid: one.frames for one in mr})
    if len(set(exams.days.values())) < 2 or exams.newest is None:
        return exams
    marked = _marked(series, exams)
    older = sorted({day for day in marked.values() if day < exams.newest})
    shows_diffusion = {exams.days[one.uid] for one in mr if one.uid in exams.days and _diffuses(one)}
    if (marked and exams.newest not in marked.values()) or (shows_diffusion and exams.newest not in shows_diffusion):
        return exams
    if not older:
        return replace(exams, apart=True)
    return replace(
        exams,
        apart=True,
        prior=older[-1],
        prior_objects=frozenset(uid for uid, day in marked.items() if day == older[-1]),
        left_out=frozenset(uid for uid, day in marked.items() if day < older[-1]),
    )


def _days(mr: Sequence[Series]) -> dict[str, date]:
    """The day of each MR series: its study's, else its own, else that of another series of its study."""
    own = {one.uid: _day(one.text("StudyDate") or one.text("SeriesDate")) for one in mr}
    of_study = {one.text("StudyInstanceUID"): day for one in mr if (day := own[one.uid])}
    days = {one.uid: own[one.uid] or of_study.get(one.text("StudyInstanceUID")) for one in mr}
    return {uid: day for uid, day in days.items() if day}


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:  # sent empty, or as something else
        return None


def _marked(series: Sequence[Series], exams: Exams) -> dict[str, date]:
    """The day of what each marking object refers to, by its SOP Instance UID; of several days the newest.

    A report may refer to a SEG instead of the images: SEGs come first, and lend their day to their series.
    """
    days, found = dict(exams.days), dict[str, date]()
    for kind in MARKING:
        for one in (one for one in series if one.kind is kind):
            for reference in references(one):
                told = [days[reference.to_uid]] if reference.to_uid in days else _of_frame(reference.to_uid, exams)
                found |= {reference.from_uid: max([*told, found.get(reference.from_uid, date.min)])} if told else {}
            instances = [header.file.sop_instance_uid for header in one.headers]
            own = [found[uid] for uid in instances if uid in found]
            days |= {one.uid: max(own)} if own else {}
    return found


def _of_frame(frame: str, exams: Exams) -> list[date]:
    return [exams.days[uid] for uid, frames in exams.frames.items() if frame in frames and uid in exams.days]


def _diffuses(series: Series) -> bool:
    return series.kind in DIFFUSION_KINDS or any(kind in DIFFUSION_KINDS for kind in series.image_kinds)


def as_prior(flags: Flags) -> Flags:
    """What an object flags of the prior exam, with ids of its own, ``P1`` instead of ``L1``."""
    return replace(
        flags,
        lesions=tuple(replace(lesion, id=_prior_id(lesion.id)) for lesion in flags.lesions),
        points=tuple(replace(point, id=_prior_id(point.id)) for point in flags.points),
        findings=tuple(_of_prior(finding) for finding in flags.findings),
    )


def _prior_id(identity: str) -> str:
    return f"P{identity.removeprefix('L')}"


def _of_prior(finding: Finding) -> Finding:
    """About the same item by its new id; a message that begins with the old one begins with the new one."""
    if not finding.lesion:
        return finding
    new, rest = _prior_id(finding.lesion), finding.message.removeprefix(finding.lesion)
    message = finding.message if rest == finding.message else f"{new}{rest}"
    return replace(finding, lesion=new, message=message)


def about_exams(exams: Exams, flags: Sequence[FlaggedLesion], prior: Sequence[FlaggedLesion]) -> list[Finding]:
    """What is to be said of flags by their exams.

    ``flags-on-prior`` (hold) of a flag that counts as this exam's and was drawn on an older one, or of the prior exam's
    where this one has none; ``prior-exams-several`` (warn) where older ones were left out; ``prior-unflagged`` (warn)
    of older exams that nobody flagged, whose images are not used.
    """
    found = [_doubtful(flag) for flag in flags if _is_older(flag, exams)]
    if prior and not flags:
        found += [_doubtful(flag) for flag in prior]
    if exams.left_out:
        message = f"{len(exams.left_out)} objects flag exams older than the prior one, and were not read"
        found.append(Finding("prior-exams-several", Level.WARN, message, value=float(len(exams.left_out))))
    if exams.unused and not found:
        message = (
            f"{len(exams.unused)} series are of an older MR exam without flags: nothing was compared with it, and none "
            f"of its images is used ({', '.join(exams.unused)})"
        )
        found.append(Finding("prior-unflagged", Level.WARN, message, value=float(len(exams.unused))))
    return found


def _is_older(flag: FlaggedLesion, exams: Exams) -> bool:
    """By the series it was drawn on, else by the only day of its frame of reference."""
    day = exams.days.get(flag.series_uid)
    days = {day} if day else set() if flag.series_uid else set(_of_frame(flag.grid.frame, exams))
    return exams.newest is not None and bool(days) and days != {exams.newest}


def _doubtful(flag: FlaggedLesion) -> Finding:
    drawn_on = f"series {flag.series_uid}" if flag.series_uid else f"frame {flag.grid.frame}"
    message = f"{flag.id} was drawn on {drawn_on}, of an older MR study than another input"
    return Finding("flags-on-prior", Level.HOLD, message, lesion=flag.id)
