"""From the node's feed of changes to what the cases have to hear: objects, conflicts, and references that stray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog

from dicom_nodes.errors import trail
from dicom_nodes.headers import Header
from dicom_nodes.index import Change, Index
from dicom_nodes.storage import Storage
from psdt_planner.case import Case, Conflicted, Event, Facts, Item, Received, Strayed, case_id, is_old_news
from psdt_planner.casebook import Casebook
from psdt_planner.dicom.facts import UNREADABLE_FACTS

log = structlog.get_logger(__name__)

ReadFacts = Callable[[Path, bytes], Facts]
"""Reads what an object says about where it belongs; the bytes are the casebook's salt."""


def case_of(salt: bytes, header: Header) -> str:
    """The id of the case that an object belongs to: that of its patient; of its study where it names no patient."""
    if not header.patient_id:
        return case_id(salt, "study", header.study_instance_uid)
    return case_id(salt, "patient", header.issuer_of_patient_id, header.patient_id)


class Hearing:
    """Hears what came into one storage, for the cases of one casebook.

    The feed is read from its start by each new process: the casebook knows what it has heard.
    """

    def __init__(self, index: Index, storage: Storage, casebook: Casebook, read_facts: ReadFacts) -> None:
        self._index = index
        self._storage = storage
        self._casebook = casebook
        self._read_facts = read_facts
        self._heard = 0
        self._claims = Claims()
        self._seeded = False

    def news(self) -> Iterator[tuple[str, Event]]:
        """Each event that a case does not know yet, with the case's id; to be added before the next is asked for."""
        if not self._seeded:
            for case in self._casebook.cases():
                yield from self._strays(case.id, tuple(case.items.values()))
            self._seeded = True
        while changes := self._index.changes_since(self._heard):
            by_case: dict[str, list[Change]] = defaultdict(list)
            for change in changes:
                by_case[self._case_of(change)].append(change)
            for identifier, theirs in by_case.items():
                yield from self._told(identifier, theirs)
            self._heard = changes[-1].sequence

    def _told(self, identifier: str, changes: Sequence[Change]) -> Iterator[tuple[str, Event]]:
        known = self._casebook.find(identifier)
        items = tuple(self._item(change) for change in changes if _is_new(change, known))
        if items:
            yield identifier, Received(max(item.received_at_s for item in items), items)
            yield from self._strays(identifier, items)
        for change in changes:
            if change.quarantined:
                conflict = Conflicted(change.received_at_s, change.header.sop_instance_uid, change.sha256)
                if not is_old_news(self._casebook.find(identifier), conflict):
                    yield identifier, conflict

    def _strays(self, identifier: str, items: Sequence[Item]) -> Iterator[tuple[str, Event]]:
        """Both cases hear of a series that ties them: neither may be planned as if it were whole."""
        at_s = max((item.received_at_s for item in items), default=0.0)
        for other, series in sorted(self._claims.enter(identifier, items).items()):
            for one, beside in ((identifier, other), (other, identifier)):
                event = Strayed(at_s, tuple(sorted(series)), beside)
                if not is_old_news(self._casebook.find(one), event):
                    yield one, event

    def _case_of(self, change: Change) -> str:
        """The case that an object belongs to: that of its patient; where other bytes came, that of the first ones."""
        header: Header = change.header
        if change.quarantined:
            first = self._index.find(header.sop_instance_uid)
            header = header if first is None else first.header
        return case_of(self._casebook.salt, header)

    def _item(self, change: Change) -> Item:
        header = change.header
        return Item(
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            series_instance_uid=header.series_instance_uid,
            study_instance_uid=header.study_instance_uid,
            modality=header.modality,
            frame_of_reference_uid=header.frame_of_reference_uid,
            key=change.key,
            sha256=change.sha256,
            received_at_s=change.received_at_s,
            patient_known=bool(header.patient_id),
            facts=self._facts(change),
        )

    def _facts(self, change: Change) -> Facts:
        try:
            return self._read_facts(self._storage.path(change.key), self._casebook.salt)
        except Exception as error:  # one object that trips over a fault of ours must not stop all others
            uid, fault = change.header.sop_instance_uid, type(error).__name__
            log.error("fault while reading facts", uid=uid, fault=fault, trail=trail(error))  # noqa: TRY400  (see trail)
            return UNREADABLE_FACTS


class Claims:
    """Which case holds a series, and which cases' objects refer to it."""

    def __init__(self) -> None:
        self._holders: dict[str, set[str]] = defaultdict(set)
        self._referring: dict[str, set[str]] = defaultdict(set)

    def enter(self, identifier: str, items: Sequence[Item]) -> dict[str, set[str]]:
        """Enter objects of a case; the series that they share with another case, by that case's id."""
        shared: dict[str, set[str]] = defaultdict(set)
        for series in {item.series_instance_uid for item in items}:
            self._holders[series].add(identifier)
            for other in (self._holders[series] | self._referring[series]) - {identifier}:
                shared[other].add(series)
        for series in {name for item in items if item.facts is not None for name in item.facts.series}:
            self._referring[series].add(identifier)
            for other in self._holders[series] - {identifier}:
                shared[other].add(series)
        return shared


def _is_new(change: Change, case: Case) -> bool:
    """Whether the case has yet to hear of an object; of one that was removed, only if it came again since."""
    uid = change.header.sop_instance_uid
    if change.quarantined or uid in case.items or uid in case.made:
        return False
    return uid not in case.gone or change.received_at_s > case.removed_at_s
