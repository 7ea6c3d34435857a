"""Archives that answer a question about storage commitment as a test tells them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_nodes.config import Peer

PUSH_MODEL, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"


def report(transaction_uid: str, committed: list[str], failed: dict[str, int]) -> Dataset:
    """The Event Information of an N-EVENT-REPORT."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = Sequence(map(_item, committed))
    if failed:
        information.FailedSOPSequence = Sequence(map(_item, failed))
        for item, reason in zip(information.FailedSOPSequence, failed.values(), strict=True):
            item.FailureReason = reason
    return information


def _item(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    item.ReferencedSOPInstanceUID = uid
    return item


def bring(port: int, information: Dataset, *, event_type: int = 1, role: bool = True) -> int:
    """Bring a report to a listener on an association of our own, as archives do; its status."""
    entity = AE("SCANNER")
    entity.add_requested_context(PUSH_MODEL, ImplicitVRLittleEndian)
    roles = [build_role(PUSH_MODEL, scp_role=True)] if role else []
    association = entity.associate("127.0.0.1", port, ae_title="PSDT", ext_neg=roles)
    assert association.is_established
    try:
        status, _ = association.send_n_event_report(information, event_type, PUSH_MODEL, INSTANCE)
        return int(status.Status)
    finally:
        association.release()


@dataclass
class Archive:
    """Takes a question, and answers it on the same association, or leaves that to the test.

    Attributes:
        failed: Failure Reason by SOP Instance UID; all others are committed.
        status: of the N-ACTION.
        same: answer on the same association.
    """

    failed: dict[str, int] = field(default_factory=dict)
    status: int = 0
    same: bool = False
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def on_action(self, event: Event) -> tuple[int, None]:
        question = event.action_information
        uids = [str(item.ReferencedSOPInstanceUID) for item in question.ReferencedSOPSequence]
        self.asked.append((str(question.TransactionUID), uids))
        if self.same:
            self.threads.append(threading.Thread(target=self._answer_on, args=(event.assoc,)))
            self.threads[-1].start()
        return self.status, None

    def answer(self) -> Dataset:
        """The report on the latest question."""
        transaction, uids = self.asked[-1]
        known = {uid: self.failed[uid] for uid in uids if uid in self.failed}
        return report(transaction, [uid for uid in uids if uid not in known], known)

    def _answer_on(self, association: Association) -> None:
        threading.Event().wait(0.1)  # behind the answer to the N-ACTION
        status, _ = association.send_n_event_report(self.answer(), 2 if self.failed else 1, PUSH_MODEL, INSTANCE)
        self.statuses.append(int(status.Status))


@contextmanager
def archive(made: Archive, store: Callable[[Event], int] | None = None) -> Iterator[Peer]:
    """A running archive as its peers see it."""
    entity = AE("SCRIPT")
    entity.add_supported_context(PUSH_MODEL)
    handlers: list[evt.EventHandlerType] = [(evt.EVT_N_ACTION, made.on_action)]
    if store is not None:
        for name in ("481.3", "66.1", "104.1"):
            entity.add_supported_context(
                f"1.2.840.10008.5.1.4.1.1.{name}", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]
            )
        handlers.append((evt.EVT_C_STORE, store))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        port = server.server_address[1]
        yield Peer(host="127.0.0.1", port=port, ae_title="SCRIPT", timeout_s=30, confirm="commitment")
    finally:
        for thread in made.threads:
            thread.join(5)
        entity.shutdown()
