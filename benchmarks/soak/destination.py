"""A planning system that takes objects, remembers what it got and when it says no."""

from __future__ import annotations

import hashlib
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

from pydicom import Dataset
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

OUT_OF_RESOURCES = 0xA700
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"


@dataclass
class Destination:
    """What came.

    Attributes:
        contents: SHA-256 of each content that came under a UID.
        uids: the UIDs under which a thing came, by its description: the name of an output and what it was made of.
        times: how often each UID was taken.
        refuses: share of objects that it refuses for now.
        silent: share of questions about storage commitment that it never answers.
    """

    refuses: float = 0.0
    silent: float = 0.0
    port: int = 0
    contents: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    uids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    times: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _random: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, event: Event) -> int:
        """Answer a C-STORE."""
        request, ds = cast("C_STORE", event.request), event.dataset
        data = b"" if request.DataSet is None else request.DataSet.getvalue()
        with self._lock:
            if self._random.random() < self.refuses:
                return OUT_OF_RESOURCES
            uid = str(ds.SOPInstanceUID)
            self.contents[uid].add(hashlib.sha256(data).hexdigest())
            self.uids[str(ds.SeriesDescription)].add(uid)
            self.times[uid] += 1
        return 0

    def commit(self, event: Event) -> tuple[int, None]:
        """Take a question about storage commitment; the answer comes a moment later on the same association."""
        question = event.action_information
        with self._lock:
            if self._random.random() >= self.silent:
                threading.Timer(0.03, self._confirm, (event.assoc, question)).start()
        return 0, None

    def _confirm(self, association: Association, question: Dataset) -> None:
        """Say what it keeps; it keeps what it took."""
        answer = Dataset()
        answer.TransactionUID = question.TransactionUID
        answer.ReferencedSOPSequence = question.ReferencedSOPSequence
        assert all(str(item.ReferencedSOPInstanceUID) in self.times for item in question.ReferencedSOPSequence)
        with suppress(RuntimeError, ValueError, OSError):  # whoever asked may have been killed
            association.send_n_event_report(answer, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)


@contextmanager
def destination(refuses: float = 0.0, silent: float = 0.0) -> Iterator[Destination]:
    """A planning system on loopback."""
    entity, one = AE("TPS"), Destination(refuses, silent)
    entity.supported_contexts = StoragePresentationContexts
    entity.add_supported_context(StorageCommitmentPushModel)
    handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, one.take), (evt.EVT_N_ACTION, one.commit)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    one.port = 0 if server is None else int(server.server_address[1])
    try:
        yield one
    finally:
        entity.shutdown()
