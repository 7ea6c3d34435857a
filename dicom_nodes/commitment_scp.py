"""Storage commitment, the side that is asked (PS3.4 annex J): do we keep what a sender gave us?

A question is on disk before it is answered, so that what was promised with that answer outlives this process. What it
names is then looked up: in the index, and in the bytes on disk, whose SHA-256 must be the one that was received. The
result goes to the peer of that AE title on an association of ours, again with growing pauses while it is away; to a
sender that is no peer, on the association that it asked on, or on a later one on which it asks again. A process that
was killed between the result and the end of its question brings the result once more.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog
from pydicom import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import build_context, build_role
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_nodes.ae import associate
from dicom_nodes.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_nodes.config import NodeConfig, Peer
from dicom_nodes.errors import NodeError, PeerError, trail
from dicom_nodes.headers import MALFORMED, is_uid
from dicom_nodes.index import Index
from dicom_nodes.storage import Storage, write_note

log = structlog.get_logger(__name__)

SUCCESS, NOT_KEPT, INVALID_ARGUMENT, NO_SUCH_ACTION, TOO_MANY = 0x0000, 0x0110, 0x0115, 0x0123, 0x0213
"""Statuses of the answer to an N-ACTION (PS3.7 10.1.4.1.10)."""
PROCESSING_FAILURE, NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
"""Failure Reasons (PS3.3 C.14.1.1)."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 3600.0
"""Before the next attempt to bring a result to who is away; it doubles each time."""
KEPT_S = 7 * 86400.0
"""A question that could not be answered for so long is given up."""
MOST_OPEN = 1000
"""Questions that may wait for their answer, so that nobody fills the disk with them."""


@dataclass(frozen=True)
class Question:
    """What one N-ACTION asks.

    Attributes:
        calling: AE title of the sender.
        objects: SOP Class and SOP Instance UID of each.
        asked_at_s: POSIX time.
    """

    calling: str
    transaction_uid: str
    objects: tuple[tuple[str, str], ...]
    asked_at_s: float


class Questions:
    """Questions that are not answered yet, in a folder, each a small file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, question: Question) -> None:
        """Keep a question; when this returns, it survives a power cut. The same one again replaces it."""
        write_note(self._path(question), asdict(question))

    def forget(self, question: Question) -> None:
        """Remove a question."""
        self._path(question).unlink(missing_ok=True)

    def every(self) -> list[Question]:
        """All of them, the oldest first."""
        found = []
        for path in self._folder.glob("*.json"):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                found.append(Question(**{**values, "objects": tuple(map(tuple, values["objects"]))}))
            except (OSError, ValueError, TypeError, KeyError) as error:  # the node starts all the same
                log.error("commitment request cannot be read", file=path.name, reason=type(error).__name__)  # noqa: TRY400
        return sorted(found, key=lambda question: question.asked_at_s)

    def _path(self, question: Question) -> Path:
        """What comes from the network never becomes a path: its hash does."""
        name = hashlib.sha256(f"{question.calling}\0{question.transaction_uid}".encode()).hexdigest()
        return self._folder / f"{name}.json"


def questions_of(storage: Path) -> Questions:
    """The open questions beside the objects of a storage folder."""
    return Questions(storage / "questions")


@dataclass
class _Open:
    """A question that waits for its answer, how often that was tried in vain, and when it is tried next."""

    question: Question
    attempts: int = 0
    due_s: float = 0.0


class CommitmentProvider:
    """Answers storage commitment requests of our listener's senders, one after the other in a thread of its own.

    Args:
        clock: POSIX time.
    """

    def __init__(
        self, config: NodeConfig, storage: Storage, index: Index, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._storage = storage
        self._index = index
        self._clock = clock
        self._questions = questions_of(config.storage)
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], _Open] = {}
        self._acknowledging: WeakKeyDictionary[Association, Question] = WeakKeyDictionary()
        self._asked_on: WeakValueDictionary[str, Association] = WeakValueDictionary()  # by AE title, the latest
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)

    def start(self) -> None:
        """Take up what an earlier process left open, and answer from now on."""
        self.take_up()
        self._thread.start()

    def take_up(self) -> None:
        """Let what an earlier process left open be answered."""
        for question in self._questions.every():
            self._enter(question)

    def close(self) -> None:
        """End; questions that are still open are taken up by the next process."""
        self._stopped = True
        self._wake.set()
        self._thread.join(5.0)

    def on_action(self, event: Event) -> tuple[int, Dataset | None]:
        """Take one N-ACTION: a handler of ``EVT_N_ACTION``."""
        calling = event.assoc.requestor.ae_title.strip()
        if event.action_type != 1:
            return NO_SUCH_ACTION, None
        try:
            question = read_question(event.action_information, calling, self._clock())
        except (*MALFORMED, LookupError):
            log.warning("commitment request refused", reason="malformed", calling=calling)
            return INVALID_ARGUMENT, None
        if len(self._open) >= MOST_OPEN:
            log.error("commitment request refused", reason="too many wait for their answer", calling=calling)
            return TOO_MANY, None
        try:
            self._questions.keep(question)
        except OSError as error:
            log.error("commitment request not kept", reason=error.strerror, calling=calling)  # noqa: TRY400  (no path)
            return NOT_KEPT, None
        self._acknowledging[event.assoc] = question
        return SUCCESS, None

    def on_answered(self, event: Event) -> None:
        """Begin to look, once the answer to the N-ACTION is on its way: a handler of ``EVT_DIMSE_SENT``."""
        if type(event.message).__name__ != "N_ACTION_RSP":
            return
        question = self._acknowledging.pop(event.assoc, None)
        if question is not None:
            self._asked_on[question.calling] = event.assoc
            self._enter(question)

    def step(self) -> float:
        """Answer what is due, and say when more will be: POSIX time, a minute from now at the latest."""
        now_s = self._clock()
        with self._lock:
            due = [one for one in self._open.values() if one.due_s <= now_s]
        for one in due:
            if self._stopped:
                break
            self._answer(one, now_s)
        with self._lock:
            return min((one.due_s for one in self._open.values()), default=now_s + 60.0)

    def result(self, question: Question) -> Dataset:
        """The Event Information of a report (PS3.4 table J.3-2)."""
        committed: list[Dataset] = []
        failed: list[Dataset] = []
        for sop_class, sop_instance in question.objects:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
            reason = self._failure(sop_class, sop_instance)
            if reason is None:
                committed.append(item)
            else:
                item.FailureReason = reason
                failed.append(item)
        said = Dataset()
        said.TransactionUID = question.transaction_uid
        if committed:
            said.ReferencedSOPSequence = ItemSequence(committed)
        if failed:
            said.FailedSOPSequence = ItemSequence(failed)
        return said

    def _failure(self, sop_class_uid: str, sop_instance_uid: str) -> int | None:
        """Why we do not commit to an object; None where we do."""
        held = self._index.find(sop_instance_uid)
        if held is None:
            return NO_SUCH_OBJECT
        if held.header.sop_class_uid != sop_class_uid:
            return CLASS_CONFLICT
        try:
            whole = self._storage.kept(held.key).sha256 == held.sha256
        except (OSError, NodeError):
            whole = False
        if not whole:
            log.error("object in storage is not what was received", uid=sop_instance_uid, key=held.key)
        return None if whole else PROCESSING_FAILURE

    def _enter(self, question: Question) -> None:
        """Let a question be answered at once, and with it all that its sender has not been told yet."""
        with self._lock:
            self._open[question.calling, question.transaction_uid] = _Open(question)
            for one in self._open.values():
                if one.question.calling == question.calling:
                    one.due_s = 0.0
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            again_s = self.step()
            self._wake.wait(min(max(again_s - self._clock(), 0.0), 60.0))

    def _answer(self, one: _Open, now_s: float) -> None:
        """Try to bring one result; the question stays open where nobody heard it."""
        asked = one.question
        words = {"transaction": asked.transaction_uid, "calling": asked.calling}
        try:
            said, status = self._report(asked)
        except Exception as error:  # whatever goes wrong with one question, the next is served
            known = isinstance(error, PeerError)
            reason = str(error) if known else type(error).__name__
            log.warning("commitment result not taken yet", reason=reason, trail=[] if known else trail(error), **words)
            one.due_s = now_s + min(FIRST_PAUSE_S * 2**one.attempts, LONGEST_PAUSE_S)
            one.attempts += 1
            if now_s - asked.asked_at_s <= KEPT_S:
                return
            log.error("commitment result given up", **words)  # noqa: TRY400  (see trail)
        else:
            failed = len(said.get("FailedSOPSequence") or [])
            note = log.info if status == SUCCESS else log.error
            note("commitment result", status=f"{status:04X}", of=len(asked.objects), failed=failed, **words)
        with self._lock:
            if self._open.get((asked.calling, asked.transaction_uid)) is one:  # else it was asked anew meanwhile
                del self._open[asked.calling, asked.transaction_uid]
                with suppress(OSError):  # it would be brought once more after the next start
                    self._questions.forget(asked)

    def _report(self, question: Question) -> tuple[Dataset, int]:
        """What is reported, and the status that the sender answers with; ``PeerError`` where it does not hear us."""
        peer = next((peer for peer in self._config.peers.values() if peer.ae_title == question.calling), None)
        if peer is not None:
            said = self.result(question)
            return said, self._report_to(peer, said)
        association = self._asked_on.get(question.calling)
        if association is None or not association.is_established:
            raise PeerError("the sender has left, and is no peer that we could call")
        said = self.result(question)
        return said, _report_on(association, said)

    def _report_to(self, peer: Peer, said: Dataset) -> int:
        """Bring a result to a peer on an association of ours."""
        role = build_role(PUSH_MODEL, scp_role=True)
        contexts = [build_context(PUSH_MODEL, [ImplicitVRLittleEndian])]
        with associate(peer, self._config.ae_title, contexts, roles=[role]) as association:
            return _report_on(association, said)


def _report_on(association: Association, said: Dataset) -> int:
    kind = 2 if "FailedSOPSequence" in said else 1
    try:
        answer, _ = association.send_n_event_report(said, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    except (RuntimeError, ValueError) as error:  # it ended just now, or has no context for the service
        raise PeerError("the association cannot carry the report") from error
    if "Status" not in answer:
        raise PeerError("the report was not answered")
    return int(answer.Status)


def read_question(information: Dataset, calling: str, asked_at_s: float) -> Question:
    """What an N-ACTION asks; ``LookupError`` where an attribute is absent or a UID malformed."""
    transaction = str(information.get("TransactionUID", ""))
    items = information.get("ReferencedSOPSequence") or []
    pairs = tuple((str(i.get("ReferencedSOPClassUID", "")), str(i.get("ReferencedSOPInstanceUID", ""))) for i in items)
    if not pairs or not all(is_uid(uid) for uid in (transaction, *(uid for pair in pairs for uid in pair))):
        raise LookupError("a UID is absent or malformed")
    return Question(calling, transaction, pairs, asked_at_s)
