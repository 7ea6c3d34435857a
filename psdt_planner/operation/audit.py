"""What is audited: the service's start and stop, what came in and went out, who was not let in, what persons decided.

Decisions and deliveries are read from the casebook, in its order, and their place is kept there: a process that is
killed tells them when it comes back, once more at most. What came in is told when a sender has been quiet for a moment.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from dicom_nodes.config import Peer, WebPeer
from dicom_nodes.errors import trail
from dicom_nodes.index import Index
from dicom_nodes.notices import Notice, Refused
from psdt_planner.case import Case, Delivered, Discarded, Event, Held, Released, Reopened, SendFailed
from psdt_planner.casebook import Casebook, Recorded
from psdt_planner.operation import message as words
from psdt_planner.operation.message import Message, Object, Outcome, Participant
from psdt_planner.operation.retention import Removal
from psdt_planner.operation.sinks import Sink

log = structlog.get_logger(__name__)

POSITION = "audit"
"""Name under which the casebook keeps how far it was audited."""

QUIET_S = 2.0
"""A transfer is over when nothing more came for so long."""

DECISIONS: Mapping[type[Event], words.Code] = {
    Released: words.Code("released", "Plan released", "99PSDT"),
    Held: words.Code("held", "Case held", "99PSDT"),
    Reopened: words.Code("reopened", "Case reopened", "99PSDT"),
    Discarded: words.Code("discarded", "Case discarded", "99PSDT"),
}


@dataclass
class _Transfer:
    """What one sender sent of one patient and is not audited yet."""

    last_s: float = 0.0
    failed: int = 0
    classes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # by study


class Auditor:
    """Hears the network (``hear``) and follows the casebook (``step``).

    Args:
        ae_title: of this node.
        destination: where released outputs go; None where another process follows the casebook.
    """

    def __init__(
        self, sink: Sink, casebook: Casebook, index: Index, ae_title: str, destination: Peer | WebPeer | None
    ) -> None:
        self._sink = sink
        self._casebook = casebook
        self._index = index
        self._us = ae_title
        self._destination = destination
        self._transfers: dict[tuple[str, str, str], _Transfer] = {}
        self._refused: list[Refused] = []
        self._lock = threading.Lock()

    def hear(self, notice: Notice, now_s: float) -> None:
        """Take note of what happened on the network; told at the next ``step``, off the sender's time."""
        with self._lock:
            if isinstance(notice, Refused):
                self._refused.append(notice)
            elif notice.header is not None:
                key = (notice.calling, notice.address, notice.header.patient_id)
                transfer = self._transfers.setdefault(key, _Transfer())
                transfer.last_s = now_s
                transfer.classes[notice.header.study_instance_uid][notice.header.sop_class_uid] += 1
                transfer.failed += notice.status != 0

    def step(self, now_s: float, *, everything: bool = False) -> None:
        """Write what is to be told; with ``everything``, also of transfers that may go on."""
        with self._lock:
            refused, self._refused = self._refused, []
            over = [key for key, one in self._transfers.items() if everything or now_s - one.last_s >= QUIET_S]
            done = {key: self._transfers.pop(key) for key in over}
        for notice in refused:
            self._sink(self._alert(notice, now_s))
        for (calling, address, patient_id), transfer in done.items():
            self._sink(self._came_in(calling, address, patient_id, transfer))
        if self._destination is not None:
            self._follow(self._destination)

    def run(self, stop: threading.Event, clock: Callable[[], float], pause_s: float = 1.0) -> None:
        """Step until ``stop`` is set, and once more; a sink that fails is logged and tried again."""
        while True:
            last = stop.wait(pause_s)
            try:
                self.step(clock(), everything=last)
            except Exception as error:  # the audit's trouble must not stop the node; healthz and the log show it
                log.error("audit failed", fault=type(error).__name__, trail=trail(error))  # noqa: TRY400  (see trail)
            if last:
                return

    def _follow(self, destination: Peer | WebPeer) -> None:
        while recorded := self._casebook.since(self._casebook.position(POSITION)):
            for one in recorded:
                for told in self._of_case(one, destination):
                    self._sink(told)
                self._casebook.keep_position(POSITION, one.number)

    def _alert(self, notice: Refused, now_s: float) -> Message:
        peer = Participant(notice.calling or "unknown", requestor=True, address=notice.address)
        reporter = _process(self._us)
        node = Object(notice.called or self._us, words.NODE_ID, "2", "13", detail={"Alert Description": notice.reason})
        return Message(
            words.SECURITY_ALERT,
            "E",
            now_s,
            self._us,
            [reporter, peer],
            [node],
            Outcome.MINOR_FAILURE,
            [words.NODE_AUTHENTICATION],
        )

    def _came_in(self, calling: str, address: str, patient_id: str, transfer: _Transfer) -> Message:
        source = Participant(calling, requestor=True, role=words.SOURCE, address=address)
        us = Participant(self._us, requestor=False, role=words.DESTINATION, address=_host(), alternative=_pid())
        studies = [words.study(uid, classes) for uid, classes in sorted(transfer.classes.items())]
        outcome = Outcome.MINOR_FAILURE if transfer.failed else Outcome.SUCCESS
        objects = [*studies, words.patient(patient_id)]
        return Message(words.INSTANCES_TRANSFERRED, "C", transfer.last_s, self._us, [source, us], objects, outcome)

    def _of_case(self, recorded: Recorded, peer: Peer | WebPeer) -> Iterable[Message]:
        """What one event of the casebook is to be audited as; most are not."""
        event, identifier = recorded.event, recorded.case_id
        if isinstance(event, Released | Held | Reopened | Discarded):
            person = Participant(event.by, requestor=True)
            kind = DECISIONS[type(event)]
            objects = self._objects(self._casebook.find(identifier))
            us = _process(self._us, requestor=False)
            yield Message(words.PROCEDURE_RECORD, "U", event.at_s, self._us, [person, us], objects, types=[kind])
        elif isinstance(event, Delivered | SendFailed):
            us = Participant(self._us, requestor=True, role=words.SOURCE, address=_host(), alternative=_pid())
            name = peer.url if isinstance(peer, WebPeer) else peer.ae_title
            them = Participant(name, requestor=False, role=words.DESTINATION, address=peer.host)
            failed = isinstance(event, SendFailed)
            outcome = Outcome.SERIOUS_FAILURE if failed else Outcome.SUCCESS
            objects = self._objects(self._casebook.find(identifier))
            yield Message(words.INSTANCES_TRANSFERRED, "R", event.at_s, self._us, [us, them], objects, outcome)

    def _objects(self, case: Case) -> list[Object]:
        """The case, its studies and its patient, whose ID the index still knows."""
        studies = sorted({item.study_instance_uid for item in case.items.values()})
        patient = _patient(next(iter(case.items), ""), self._index)
        return [words.case(case.id), *(words.study(uid) for uid in studies), *patient]


def start_message(ae_title: str, at_s: float) -> Message:
    """The service starts."""
    return _activity(ae_title, at_s, words.APPLICATION_START)


def stop_message(ae_title: str, at_s: float) -> Message:
    """The service stops."""
    return _activity(ae_title, at_s, words.APPLICATION_STOP)


def _activity(ae_title: str, at_s: float, kind: words.Code) -> Message:
    us = Participant(ae_title, requestor=False, role=words.APPLICATION, address=_host(), alternative=_pid())
    return Message(words.APPLICATION_ACTIVITY, "E", at_s, ae_title, [us], types=[kind])


def exported(ae_title: str, at_s: float, to: str, *, imported: bool = False) -> Message:
    """The casebook was copied to a file, or back from one."""
    us = Participant(ae_title, requestor=True, role=words.DESTINATION if imported else words.SOURCE, address=_host())
    media = Participant(to, requestor=False, role=words.SOURCE_MEDIA if imported else words.DESTINATION_MEDIA)
    event = words.DATA_IMPORT if imported else words.DATA_EXPORT
    return Message(event, "C" if imported else "R", at_s, ae_title, [us, media])


def deletion(ae_title: str, at_s: float, removal: Removal, index: Index) -> tuple[str, Message]:
    """The objects of a case are removed; with the case's id. To be made while the index still knows the patient."""
    us = Participant(ae_title, requestor=True, role=words.APPLICATION, address=_host(), alternative=_pid())
    studies: dict[str, Counter[str]] = defaultdict(Counter)
    for item in removal.items:
        studies[item.study_instance_uid][item.sop_class_uid] += 1
    objects = [words.case(removal.case_id), *(words.study(uid, classes) for uid, classes in sorted(studies.items()))]
    objects += _patient(removal.items[0].sop_instance_uid, index)
    return removal.case_id, Message(words.STUDY_DELETED, "D", at_s, ae_title, [us], objects)


def _patient(sop_instance_uid: str, index: Index) -> list[Object]:
    """The patient of an object that the index knows; none where it names none."""
    held = index.find(sop_instance_uid)
    return [] if held is None or not held.header.patient_id else [words.patient(held.header.patient_id)]


def _process(ae_title: str, *, requestor: bool = False) -> Participant:
    return Participant(ae_title, requestor=requestor, role=words.APPLICATION, address=_host(), alternative=_pid())


def _pid() -> str:
    return str(os.getpid())


def _host() -> str:
    return socket.gethostname()
