"""Having a patient's series from an archive by the rules of the configuration, such as the last two exams of a kind.

Choosing is pure: what the archive holds and the day come in as arguments. Whatever the archive says, a series counts as
fetched only when as many of its objects are in our index as the archive said that there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from io import BytesIO
from typing import Annotated

from pydantic import AfterValidator, Field
from pydicom import Dataset

from dicom_nodes import query, statuses, web
from dicom_nodes.config import NodeConfig, Peer, Settings, WebPeer
from dicom_nodes.errors import NodeError, ObjectError, PeerError
from dicom_nodes.headers import file_parts, is_uid, read_header
from dicom_nodes.index import Index
from dicom_nodes.reception import Announced, Reception, Sender
from dicom_nodes.retrieve import Counts, get, move
from dicom_nodes.storage import Storage

DAYS_OF_A_YEAR = 365.25


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_is_pattern)]


class FetchRule(Settings):
    """Which series of a patient are wanted.

    Attributes:
        name: for a person.
        modalities: of the series.
        study, series: regular expressions, found anywhere in the study's or the series' description, in any case; one
            of them is enough, and where there is none every description will do.
        last: only the so many latest studies that have such a series; all of them where absent.
        within_years: only studies that are not older.
    """

    name: str = Field(min_length=1)
    modalities: tuple[str, ...] = Field(min_length=1)
    study: tuple[Pattern, ...] = ()
    series: tuple[Pattern, ...] = ()
    last: int | None = Field(default=None, ge=1)
    within_years: float | None = Field(default=None, gt=0)


class FetchConfig(Settings):
    """The ``[fetch]`` section: the archive that is asked, and the rules."""

    peer: str
    rules: tuple[FetchRule, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Series:
    """A series that an archive says it holds.

    Attributes:
        study_date: None where the archive does not tell it as a date.
        objects: how many it says there are; None where it does not say.
    """

    study_instance_uid: str
    series_instance_uid: str
    study_date: date | None
    modality: str
    study_description: str
    series_description: str
    objects: int | None


@dataclass(frozen=True)
class Fetched:
    """What became of one series.

    Attributes:
        held: how many of its objects are in our index now.
        counts: what the archive said at the end.
        short: why it is not whole; empty where it is.
    """

    series: Series
    held: int
    counts: Counts
    short: str


def choose(held: Iterable[Series], rules: Iterable[FetchRule], today: date) -> dict[str, tuple[Series, ...]]:
    """The series that each rule wants, by its name, the latest study first; one that two rules want stands in both.

    A study without a date is wanted by no rule that asks for a date: nobody can say how old it is.
    """
    known = sorted(held, key=lambda one: (one.study_instance_uid, one.series_instance_uid))
    return {rule.name: _chosen(known, rule, today) for rule in rules}


def _chosen(held: Sequence[Series], rule: FetchRule, today: date) -> tuple[Series, ...]:
    fitting = [one for one in held if _fits(one, rule)]
    if rule.within_years is not None:
        oldest = today - timedelta(days=rule.within_years * DAYS_OF_A_YEAR)
        fitting = [one for one in fitting if one.study_date is not None and one.study_date >= oldest]
    if rule.last is not None:
        fitting = [one for one in fitting if one.study_date is not None]
    days = {one.study_instance_uid: one.study_date or date.min for one in fitting}
    studies = sorted(days, key=lambda uid: (days[uid], uid), reverse=True)[: rule.last]
    return tuple(one for uid in studies for one in fitting if one.study_instance_uid == uid)


def _fits(one: Series, rule: FetchRule) -> bool:
    return (
        one.modality in rule.modalities
        and _matches(rule.study, one.study_description)
        and _matches(rule.series, one.series_description)
    )


def _matches(patterns: Sequence[str], text: str) -> bool:
    return not patterns or any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


def search(peer: Peer | WebPeer, calling_ae_title: str, patient_id: str) -> tuple[Series, ...]:
    """Every series of a patient that an archive holds (C-FIND or QIDO-RS, by study, then by series).

    Raises:
        PeerError: the archive does not answer, or answers with the studies of other patients.
    """

    def find(level: str, keys: dict[str, str]) -> list[Dataset]:
        return (
            web.find(peer, level, keys)
            if isinstance(peer, WebPeer)
            else query.find(peer, calling_ae_title, level, keys)
        )

    found = []
    asked = {"PatientID": patient_id, "StudyInstanceUID": "", "StudyDate": "", "StudyDescription": ""}
    for study in find("STUDY", asked):
        if str(study.get("PatientID", "")).strip() != patient_id:
            raise PeerError("the archive answers with another patient's study; nothing is fetched", where=peer.name)
        keys = {"StudyInstanceUID": _uid(study, "StudyInstanceUID", peer), "SeriesInstanceUID": "", "Modality": ""}
        keys |= {"SeriesDescription": "", "NumberOfSeriesRelatedInstances": ""}
        found += [_series(study, series, peer) for series in find("SERIES", keys)]
    return tuple(one if one.objects is not None else replace(one, objects=_count(one, find)) for one in found)


def _count(one: Series, find: Callable[[str, dict[str, str]], list[Dataset]]) -> int:
    """How many objects a series has, for archives that do not say it with the series."""
    keys = {"StudyInstanceUID": one.study_instance_uid, "SeriesInstanceUID": one.series_instance_uid}
    return len(find("IMAGE", {**keys, "SOPInstanceUID": ""}))


def _series(study: Dataset, series: Dataset, peer: Peer | WebPeer) -> Series:
    number = str(series.get("NumberOfSeriesRelatedInstances") or "").strip()
    return Series(
        study_instance_uid=_uid(study, "StudyInstanceUID", peer),
        series_instance_uid=_uid(series, "SeriesInstanceUID", peer),
        study_date=_date(str(study.get("StudyDate") or "")),
        modality=str(series.get("Modality") or ""),
        study_description=str(study.get("StudyDescription") or ""),
        series_description=str(series.get("SeriesDescription") or ""),
        objects=int(number) if number.isdecimal() else None,
    )


def _uid(match: Dataset, keyword: str, peer: Peer | WebPeer) -> str:
    uid = str(match.get(keyword) or "")
    if not is_uid(uid):
        raise PeerError(f"the archive answers without a {keyword}", where=peer.name)
    return uid


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if re.fullmatch(r"\d{8}", text) else None
    except ValueError:
        return None


Progress = Callable[[Series, Counts], None]


class Fetcher:
    """Has series sent into our storage and index.

    Args:
        clock: POSIX time, for the time of receipt.
    """

    def __init__(self, config: NodeConfig, peer: Peer | WebPeer, index: Index, clock: Callable[[], float]) -> None:
        self._ae_title = config.ae_title
        self._peer = peer
        self._index = index
        self._reception = Reception(config, Storage(config.storage), index, clock)
        self._sender = Sender(*_who(peer))

    def fetch(self, wanted: Iterable[Series], progress: Progress) -> Iterator[Fetched]:
        """Fetch series one by one, and say what became of each; a series that fails does not keep the next."""
        for series in wanted:
            try:
                counts = self._retrieve(series, progress)
            except (NodeError, OSError) as error:
                counts = Counts(reason=str(error))
            held = self._index.held_in(series.series_instance_uid)
            yield Fetched(series, held, counts, _short(series, held, counts))

    def _retrieve(self, series: Series, progress: Progress) -> Counts:
        if isinstance(self._peer, WebPeer):
            return self._by_web(self._peer, series, progress)
        keys = {"StudyInstanceUID": series.study_instance_uid, "SeriesInstanceUID": series.series_instance_uid}

        def told(counts: Counts) -> None:
            progress(series, counts)

        if self._peer.retrieve == "move":
            return move(self._peer, self._ae_title, "SERIES", keys, told)
        return get(self._peer, self._ae_title, "SERIES", keys, take=self._take, progress=told)

    def _by_web(self, peer: WebPeer, series: Series, progress: Progress) -> Counts:
        counts = Counts(remaining=series.objects or 0)
        for data in web.retrieve(peer, series.study_instance_uid, series.series_instance_uid):
            taken = self._keep(data)
            counts = Counts(
                completed=counts.completed + taken,
                failed=counts.failed + (not taken),
                remaining=max(counts.remaining - 1, 0),
            )
            progress(series, counts)
        return counts

    def _keep(self, data: bytes) -> bool:
        """Take one file; False where it is none, or was not taken."""
        try:
            syntax, _, dataset = file_parts(data)
            header = read_header(BytesIO(dataset), syntax)
        except ObjectError:
            return False
        return self._take(header.sop_class_uid, header.sop_instance_uid, syntax, dataset) == statuses.SUCCESS.code

    def _take(self, sop_class_uid: str, sop_instance_uid: str, syntax: str, dataset: bytes) -> int:
        """As from a sender: on disk and in the index, or a status that says why not."""
        arrival = self._reception.begin(Announced(sop_class_uid, sop_instance_uid, syntax, self._sender))
        arrival.write(dataset)
        status = arrival.finish()
        arrival.tell()
        return status.code


def _who(peer: Peer | WebPeer) -> tuple[str, str]:
    """The peer as a sender."""
    return (peer.url if isinstance(peer, WebPeer) else peer.ae_title), peer.host


def _short(series: Series, held: int, counts: Counts) -> str:
    """Why a series is not whole, in words with the counts; empty where it is."""
    said = f"{counts.completed} completed, {counts.failed} failed, {counts.warned} with a warning"
    if counts.reason or counts.failed:
        return f"{counts.reason or 'it ended short'}: {said}; {held} of {series.objects or '?'} are here"
    expected = series.objects if series.objects is not None else counts.completed + counts.warned
    if held < expected:
        return f"{held} of {expected} are here, though the archive says: {said}"
    return ""
