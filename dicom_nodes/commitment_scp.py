"""Storage commitment, the side that is asked (PS3.4 annex J): do we keep what a sender gave us?

The question is answered at once, and what it names is then looked up: in the index, and in the bytes on disk, whose
SHA-256 must be the one that was received. The result goes to the peer of that AE title on an association of ours; to a
sender that is no peer, on the one that it asked on. A sender that hears nothing (it left, or this process ended in
between) asks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
from dicom_nodes.errors import NodeError, trail
from dicom_nodes.headers import MALFORMED, is_uid
from dicom_nodes.index import Index
from dicom_nodes.storage import Storage

log = structlog.get_logger(__name__)

SUCCESS, INVALID_ARGUMENT, NO_SUCH_ACTION = 0x0000, 0x0115, 0x0123
"""Statuses of the answer to an N-ACTION (PS3.7 10.1.4.1.10)."""
PROCESSING_FAILURE, NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
"""Failure Reasons (PS3.3 C.14.1.1)."""
PAUSES_S = (1.0, 5.0, 30.0)
"""Before each further attempt to bring the result to a peer that is away."""


@dataclass(frozen=True)
class Question:
    """What one N-ACTION asks: SOP Class and SOP Instance UIDs under a Transaction UID."""

    transaction_uid: str
    objects: tuple[tuple[str, str], ...]


class CommitmentProvider:
    """Answers storage commitment requests of our listener's senders, one after the other in a thread of its own."""

    def __init__(
        self, config: NodeConfig, storage: Storage, index: Index, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._config = config
        self._storage = storage
        self._index = index
        self._sleep = sleep
        self._waiting: dict[Association, Question] = {}
        self._reporter = ThreadPoolExecutor(1, "commitment")

    def on_action(self, event: Event) -> tuple[int, Dataset | None]:
        """Take one N-ACTION: a handler of ``EVT_N_ACTION``."""
        if event.action_type != 1:
            return NO_SUCH_ACTION, None
        try:
            question = read_question(event.action_information)
        except (*MALFORMED, LookupError):
            log.warning("commitment request refused", reason="malformed", calling=event.assoc.requestor.ae_title)
            return INVALID_ARGUMENT, None
        self._waiting[event.assoc] = question
        return SUCCESS, None

    def on_answered(self, event: Event) -> None:
        """Begin to look, once the answer to the N-ACTION is on its way: a handler of ``EVT_DIMSE_SENT``."""
        if type(event.message).__name__ == "N_ACTION_RSP" and (question := self._waiting.pop(event.assoc, None)):
            self._reporter.submit(self._look_and_report, event.assoc, question)

    def close(self) -> None:
        """End without waiting for questions that are still open."""
        self._reporter.shutdown(wait=False, cancel_futures=True)

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

    def _look_and_report(self, association: Association, question: Question) -> None:
        try:
            said = self.result(question)
            calling = association.requestor.ae_title.strip()
            peer = next((peer for peer in self._config.peers.values() if peer.ae_title == calling), None)
            heard = self._report_on(association, said) if peer is None else self._report_to(peer, said)
            counts = {"committed": len(question.objects) - len(said.get("FailedSOPSequence") or [])}
            note = log.info if heard else log.error
            note(
                "commitment result",
                transaction=question.transaction_uid,
                heard=heard,
                of=len(question.objects),
                **counts,
            )
        except Exception as error:  # the thread serves the next question all the same
            log.error("commitment result not sent", reason=type(error).__name__, trail=trail(error))  # noqa: TRY400

    def _report_to(self, peer: Peer, said: Dataset) -> bool:
        """Bring the result to a peer on an association of ours; whether it was taken."""
        for pause_s in (*PAUSES_S, None):
            try:
                role = build_role(PUSH_MODEL, scp_role=True)
                contexts = [build_context(PUSH_MODEL, [ImplicitVRLittleEndian])]
                with associate(peer, self._config.ae_title, contexts, roles=[role]) as association:
                    if self._report_on(association, said):
                        return True
            except NodeError as error:
                log.warning("commitment result not taken yet", reason=error.message, peer=peer.ae_title)
            if pause_s is not None:
                self._sleep(pause_s)
        return False

    @staticmethod
    def _report_on(association: Association, said: Dataset) -> bool:
        if not association.is_established:
            return False
        kind = 2 if "FailedSOPSequence" in said else 1
        answer, _ = association.send_n_event_report(said, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        return bool(answer.get("Status") == SUCCESS)


def read_question(information: Dataset) -> Question:
    """What an N-ACTION asks; ``LookupError`` where an attribute is absent or a UID malformed."""
    transaction = str(information.get("TransactionUID", ""))
    items = information.get("ReferencedSOPSequence") or []
    pairs = tuple((str(i.get("ReferencedSOPClassUID", "")), str(i.get("ReferencedSOPInstanceUID", ""))) for i in items)
    if not pairs or not all(is_uid(uid) for uid in (transaction, *(uid for pair in pairs for uid in pair))):
        raise LookupError("a UID is absent or malformed")
    return Question(transaction, pairs)
