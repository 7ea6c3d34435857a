"""What becomes of an object that comes in, whichever code reads it from the network.

The order is always: bytes to disk (file and folder synced), row in the index, answer. The data set is not decoded: its
pieces are written as they come, and only the attributes up to (0020,0052) are looked at.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog

from dicom_nodes import statuses
from dicom_nodes.config import NodeConfig
from dicom_nodes.errors import IncompleteObjectError, UnreadableObjectError, trail
from dicom_nodes.headers import Header, is_uid, read_header
from dicom_nodes.index import Index
from dicom_nodes.notices import Answered, tell
from dicom_nodes.statuses import Status
from dicom_nodes.storage import Draft, Outcome, Storage, file_start

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Sender:
    """Who sends: the calling AE title, and the IP address."""

    calling: str
    address: str


@dataclass(frozen=True)
class Announced:
    """What is known of an object before the first byte of it: the C-STORE request, and who sent that."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sender: Sender


Label = Callable[[Header], Mapping[str, str]]
"""Gives keys and values that the log has beside an object, to find what belongs to it later; without patient data."""

SERIES_REMEMBERED = 1000


def no_label(_header: Header) -> Mapping[str, str]:
    """Nothing beside the UIDs."""
    return {}


class Reception:
    """Takes objects into the storage and the index. Safe to use from many threads.

    Args:
        clock: POSIX time, for the time of receipt.
        label: for the lines of the log.
    """

    def __init__(
        self, config: NodeConfig, storage: Storage, index: Index, clock: Callable[[], float], label: Label = no_label
    ) -> None:
        self.config = config
        self.storage = storage
        self.index = index
        self.clock = clock
        self.label = label
        self._told: set[str] = set()

    def begin(self, announced: Announced) -> Arrival:
        """The arrival of one object: to be written to, then finished or given up."""
        return Arrival(self, announced)

    def make_ready(self) -> None:
        """Make a file for the object that may follow, while its sender gets it ready."""
        with suppress(OSError):  # a disk that is full is told to whoever sends
            self.storage.prepare()

    def refusal(self, announced: Announced) -> tuple[Status, str] | None:
        """Why an object is not taken, before any byte of it; None where it is."""
        if not is_uid(announced.sop_instance_uid):
            return statuses.INVALID_UID, "malformed UID"
        if self.storage.free_mb() < self.config.limits.reserve_mb:
            return statuses.OUT_OF_RESOURCES, "below the reserve"
        return None

    def keep(self, header: Header, draft: Draft) -> tuple[Status, str]:
        """On disk first, then in the index; only then is the object ours."""
        kept = self.storage.place(draft)
        self.index.add(header, kept, self.clock())
        if kept.outcome is Outcome.HEALED:
            uid = header.sop_instance_uid
            log.error("object in storage was not what was received, and is now", uid=uid, key=kept.key)
        if kept.outcome is Outcome.OTHER:
            return statuses.OTHER_BYTES, "other bytes are held under this UID"
        return statuses.SUCCESS, kept.outcome.value

    def tell_series(self, header: Header, sender: Sender) -> None:
        """Log that a series comes in: once, not for each of its objects."""
        series = header.series_instance_uid
        if series in self._told:
            return
        if len(self._told) >= SERIES_REMEMBERED:
            self._told.clear()
        self._told.add(series)
        uids = {"study": header.study_instance_uid, "series": series}
        log.info("series comes in", **uids, modality=header.modality, **vars(sender), **self.label(header))


class Arrival:
    """One object while it comes in. Whatever goes wrong is kept as the answer; what still comes is then let pass."""

    def __init__(self, reception: Reception, announced: Announced) -> None:
        self._reception = reception
        self._announced = announced
        self._draft: Draft | None = None
        self._header: Header | None = None
        self._label: Mapping[str, str] = {}
        self._answer = self._guarded(self._begin)

    def write(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the data set."""
        draft = self._draft
        if self._answer is None and draft is not None:
            self._answer = self._guarded(lambda: draft.write(piece))

    def finish(self) -> Status:
        """The answer, after the last piece. The sender waits for it, and for nothing of what ``tell`` does then."""
        self._answer = self._answer or self._guarded(self._keep) or (statuses.PROCESSING_FAILURE, "no answer")
        return self._answer[0]

    def tell(self) -> None:
        """Leave no draft behind, log the answer and let it be heard: after ``finish``, when the sender has it."""
        status, reason = self._answer or (statuses.PROCESSING_FAILURE, "no answer")
        self.give_up()
        note = log.debug if status is statuses.SUCCESS else log.error
        uid = self._announced.sop_instance_uid
        uid = uid if is_uid(uid) else "malformed"  # what else stands there may be anything
        note("object", uid=uid, status=f"{status.code:04X}", answer=status.name, reason=reason, **self._label)
        sender = self._announced.sender
        tell(Answered(sender.calling, sender.address, status.code, self._header, status is statuses.OTHER_BYTES))

    def give_up(self) -> None:
        """Leave nothing behind of an object that does not come to its end."""
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.close()

    def _begin(self) -> tuple[Status, str] | None:
        refused = self._reception.refusal(self._announced)
        if refused is None:
            said = self._announced
            start = file_start(said.sop_class_uid, said.sop_instance_uid, said.transfer_syntax_uid)
            self._draft = self._reception.storage.draft(said.sop_instance_uid, start)
        return refused

    def _keep(self) -> tuple[Status, str]:
        assert self._draft is not None  # noqa: S101  (for mypy: without a draft there is an answer already)
        said = self._announced
        try:
            with self._draft.dataset() as dataset:
                self._header = header = read_header(dataset, said.transfer_syntax_uid)
        except UnreadableObjectError as error:
            return statuses.CANNOT_UNDERSTAND, error.message
        except IncompleteObjectError as error:
            return statuses.MISMATCH, error.message
        self._label = self._reception.label(header)
        if (header.sop_instance_uid, header.sop_class_uid) != (said.sop_instance_uid, said.sop_class_uid):
            return statuses.MISMATCH, "the UIDs of the data set are not those of the request"
        status, reason = self._reception.keep(header, self._draft)
        if status is statuses.OTHER_BYTES:  # it belongs to what the first one belongs to, whatever it says itself
            first = self._reception.index.find(header.sop_instance_uid)
            self._label = self._reception.label(header if first is None else first.header)
        else:
            self._reception.tell_series(header, said.sender)
        return status, reason

    def _guarded(self, step: Callable[[], tuple[Status, str] | None]) -> tuple[Status, str] | None:
        """What a step answers; whatever goes wrong in it, the sender must hear that the object is not ours."""
        try:
            return step()
        except Exception as error:
            full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
            status, reason = statuses.OUT_OF_RESOURCES if full else statuses.PROCESSING_FAILURE, type(error).__name__
            uid = self._announced.sop_instance_uid
            log.error("object not kept", uid=uid, reason=reason, trail=trail(error))  # noqa: TRY400  (see trail)
            return status, reason
