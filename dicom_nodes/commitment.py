"""Storage commitment, the side that asks (PS3.4 annex J): does a peer keep what it took?

The question goes out as an N-ACTION. The answer, an N-EVENT-REPORT, comes on the same association, on a later one or,
as most archives do it, on one that the archive opens to our listener. Wherever it comes, it is on disk before it is
acknowledged, so that another process, or this one after a crash, finds it by its Transaction UID.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType

import structlog
from pydicom import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext

from dicom_nodes.ae import associate
from dicom_nodes.config import Peer
from dicom_nodes.errors import PeerError
from dicom_nodes.headers import MALFORMED, is_uid
from dicom_nodes.storage import write_note

log = structlog.get_logger(__name__)

PUSH_MODEL = UID("1.2.840.10008.1.20.1")
PUSH_MODEL_INSTANCE = UID("1.2.840.10008.1.20.1.1")
LINGER_S = 2.0
"""How long the association of the question stays open for an answer on it."""

FAILURE_REASONS: Mapping[int, str] = MappingProxyType(
    {
        0x0110: "processing failure",
        0x0112: "no such object instance",
        0x0119: "class-instance conflict",
        0x0122: "SOP class not supported",
        0x0131: "duplicate transaction UID",
        0x0213: "resource limitation",
    }
)
"""Failure Reason (0008,1197) in an N-EVENT-REPORT of storage commitment (PS3.3 C.14)."""

LATER = frozenset({0x0110, 0x0112, 0x0213})
"""Reasons that may pass: an archive that is asked early may not have entered the object yet."""

SUCCESS, PROCESSING_FAILURE, NO_SUCH_EVENT, INVALID_ARGUMENT = 0x0000, 0x0110, 0x0113, 0x0115
"""Statuses of our answer to an N-EVENT-REPORT (PS3.7 10.1.1.1.8)."""


@dataclass(frozen=True)
class Answer:
    """What a peer says about the objects of one transaction.

    Attributes:
        committed: SOP Instance UIDs that it keeps.
        failed: Failure Reason by SOP Instance UID.
    """

    transaction_uid: str
    committed: tuple[str, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)


class Receipts:
    """Questions and answers in a folder, each a small file; any process may read and write.

    Only an answer to a question that was asked is taken: nobody can fill the disk with others.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ask(self, transaction_uid: str) -> None:
        """Note that a question goes out."""
        write_note(self._path(transaction_uid, "asked"), {"transaction_uid": transaction_uid})

    def is_asked(self, transaction_uid: str) -> bool:
        """Whether a question went out under this UID."""
        return self._path(transaction_uid, "asked").exists()

    def keep(self, answer: Answer) -> None:
        """Keep an answer; when this returns, it survives a power cut. A later one to the same question replaces it."""
        write_note(self._path(answer.transaction_uid, "answer"), asdict(answer))

    def find(self, transaction_uid: str) -> Answer | None:
        """The answer to a question; None where it has not come."""
        path = self._path(transaction_uid, "answer")
        if not path.exists():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        return Answer(values["transaction_uid"], tuple(values["committed"]), values["failed"])

    def forget(self, transaction_uid: str) -> None:
        """Remove a question and its answer; one that comes later is refused."""
        for kind in ("asked", "answer"):
            self._path(transaction_uid, kind).unlink(missing_ok=True)

    def on_report(self, event: Event) -> tuple[int, Dataset | None]:
        """Take one N-EVENT-REPORT: a handler of ``EVT_N_EVENT_REPORT``, for our listener and our own associations."""
        try:
            answer = read_answer(event.event_information)
        except (*MALFORMED, PeerError):
            log.warning("commitment report refused", reason="malformed")
            return INVALID_ARGUMENT, None
        if event.event_type not in {1, 2}:
            log.warning("commitment report refused", reason="no such event type", type=event.event_type)
            return NO_SUCH_EVENT, None
        if not self.is_asked(answer.transaction_uid):
            log.warning("commitment report refused", reason="nobody asked", transaction=answer.transaction_uid)
            return INVALID_ARGUMENT, None
        try:
            self.keep(answer)
        except OSError as error:
            log.error("commitment report not kept", reason=error.strerror)  # noqa: TRY400  (the log names no path)
            return PROCESSING_FAILURE, None
        counts = {"committed": len(answer.committed), "failed": len(answer.failed)}
        log.info("commitment report", transaction=answer.transaction_uid, **counts)
        return SUCCESS, None

    def _path(self, transaction_uid: str, kind: str) -> Path:
        """A UID from the network never becomes a path: its hash does."""
        return self._folder / f"{hashlib.sha256(transaction_uid.encode()).hexdigest()}.{kind}.json"


def receipts_of(storage: Path) -> Receipts:
    """The receipts beside the objects of a storage folder."""
    return Receipts(storage / "commitments")


def report_context() -> PresentationContext:
    """What a listener offers to an archive that brings an answer: the archive is the SCP, whoever called."""
    context = build_context(PUSH_MODEL, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    context.scu_role, context.scp_role = True, True
    return context


def transaction_uid(*seed: str) -> str:
    """A UID that is the same for the same seed (PS3.5 B.2: an integer of 128 bits under 2.25)."""
    digest = hashlib.sha256("\0".join(seed).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def request(
    objects: Sequence[tuple[str, str]],
    peer: Peer,
    calling_ae_title: str,
    transaction_uid: str,
    receipts: Receipts,
) -> None:
    """Ask a peer whether it keeps objects; the answer is found in ``receipts``, at once or later.

    Args:
        objects: SOP Class and SOP Instance UID of each.

    Raises:
        PeerError: the question could not be put, or the peer refused it.
    """
    receipts.ask(transaction_uid)
    question = Dataset()
    question.TransactionUID = transaction_uid
    question.ReferencedSOPSequence = ItemSequence([_reference(*pair) for pair in objects])
    acknowledged = _Acknowledged()
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_N_EVENT_REPORT, receipts.on_report),
        (evt.EVT_DIMSE_SENT, acknowledged.on_message),
        (evt.EVT_PDU_SENT, acknowledged.on_pdu),
    ]
    contexts = [build_context(PUSH_MODEL, [ImplicitVRLittleEndian])]
    with associate(peer, calling_ae_title, contexts, handlers=handlers) as association:
        status, _ = association.send_n_action(question, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        code = status.get("Status")
        if code != SUCCESS:
            what = "did not answer" if code is None else f"refused it ({code:04X})"
            raise PeerError(f"asked for storage commitment, the peer {what}", where=peer.name)
        acknowledged.wait(LINGER_S)


class _Acknowledged:
    """Whether our answer to a report has left: an association that is released before it trips over it."""

    def __init__(self) -> None:
        self._on_its_way = False
        self._left = threading.Event()

    def on_message(self, event: Event) -> None:
        self._on_its_way |= type(event.message).__name__ == "N_EVENT_REPORT_RSP"

    def on_pdu(self, _event: Event) -> None:
        if self._on_its_way:
            self._left.set()

    def wait(self, limit_s: float) -> None:
        """Return when an answer has left, or after so long."""
        self._left.wait(limit_s)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def read_answer(information: Dataset) -> Answer:
    """The answer in the Event Information of an N-EVENT-REPORT (PS3.4 table J.3-2).

    Raises:
        PeerError: an attribute is absent, or a UID is malformed.
    """
    transaction = str(information.get("TransactionUID", ""))
    committed = [_uid(item) for item in information.get("ReferencedSOPSequence") or []]
    failed = {_uid(item): item.get("FailureReason") for item in information.get("FailedSOPSequence") or []}
    if not is_uid(transaction) or None in failed.values():
        raise PeerError("a commitment report lacks its Transaction UID or a Failure Reason")
    kept = tuple(uid for uid in committed if uid not in failed)  # named twice: the failure counts
    return Answer(transaction, kept, {uid: int(reason or 0) for uid, reason in failed.items()})


def _uid(item: Dataset) -> str:
    uid = str(item.get("ReferencedSOPInstanceUID", ""))
    if not is_uid(uid):
        raise PeerError("a commitment report names an object without a well-formed UID")
    return uid


def in_words(reason: int) -> str:
    """A Failure Reason as a person reads it."""
    return f"{FAILURE_REASONS.get(reason, 'failure')} ({reason:04X})"
