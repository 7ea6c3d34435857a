"""The storage SCP: what comes in is on disk and in the index before the sender hears Success (see ``reception``)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from types import TracebackType
from typing import Self, cast

import structlog
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from dicom_nodes import relieved, tls
from dicom_nodes.admission import Admission
from dicom_nodes.ae import application_entity, prepare
from dicom_nodes.commitment import receipts_of, report_context
from dicom_nodes.commitment_scp import CommitmentProvider
from dicom_nodes.config import NodeConfig
from dicom_nodes.errors import ConfigurationError
from dicom_nodes.index import Index
from dicom_nodes.notices import Refused, tell
from dicom_nodes.reception import Announced, Label, Reception, Sender, no_label
from dicom_nodes.server import Server
from dicom_nodes.services import STORAGE_CLASSES, TRANSFER_SYNTAXES, VERIFICATION
from dicom_nodes.storage import Storage

log = structlog.get_logger(__name__)

START_PATIENCE_S = 1.0
"""A thread that the server has made starts within microseconds; more is for a machine that is busy."""


class Listener:
    """A storage and verification SCP in threads of its own; ``with Listener(...) as listener`` starts and stops it.

    Args:
        clock: POSIX time, for the time of receipt.
        label: what the lines of the log about an object have beside its UIDs.
        relieve: serve associations that store in a loop of our own; otherwise pynetdicom's does.
    """

    def __init__(
        self,
        config: NodeConfig,
        storage: Storage,
        index: Index,
        clock: Callable[[], float],
        *,
        label: Label = no_label,
        relieve: bool = True,
    ) -> None:
        self._config = config
        self._storage = storage
        self._index = index
        self._reception = Reception(config, storage, index, clock, label)
        self._commitment = CommitmentProvider(config, storage, index)
        self._relieve = relieve
        self._held = ExitStack()
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; what the system chose where the configuration says 0."""
        if self._server is None:
            return self._config.port
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Enter what a killed process left without a row, then listen.

        Raises:
            ConfigurationError: the port is taken, or another process writes into the storage folder.
        """
        self._held.enter_context(self._storage.locked())
        try:
            self._listen()
        except BaseException:
            self._held.close()
            raise

    def _listen(self) -> None:
        found = self._index.rebuild(self._storage)
        if found:
            log.info("objects entered that had no row", count=found)
        limits = self._config.limits
        entity = application_entity(self._config.ae_title, limits.network_timeout_s, limits.maximum_pdu_bytes)
        entity.acse_timeout = 1.5 * limits.network_timeout_s  # so that a read that takes too long is what is told
        entity.maximum_associations = limits.associations
        contexts = [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in STORAGE_CLASSES]
        contexts += [build_context(VERIFICATION), report_context()]
        address = (self._config.host, self._config.port)
        context = None if self._config.listens_in_plain or self._config.tls is None else tls.incoming(self._config.tls)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, Admission(self._config).on_request),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._commitment.on_action),
            (evt.EVT_DIMSE_SENT, self._commitment.on_answered),
            (evt.EVT_REJECTED, self._on_reject),
            (evt.EVT_CONN_CLOSE, self._on_close),
            (evt.EVT_CONN_OPEN, prepare),
            (evt.EVT_N_EVENT_REPORT, receipts_of(self._config.storage).on_report),
        ]
        if self._relieve:
            handlers.append((evt.EVT_PDU_SENT, relieved.let_go))
            handlers.append((evt.EVT_ESTABLISHED, relieved.take_over, [self._reception]))
        try:
            self._server = Server(entity, address, contexts, handlers, tls=context, most=limits.connections)
        except OSError as error:
            where = f"{address[0]}:{address[1]}"
            raise ConfigurationError(f"cannot listen: {error.strerror}", where=where) from error
        self._commitment.start()
        self._server.start()
        log.info("listening", ae_title=self._config.ae_title, port=self.port, tls=context is not None)

    def stop(self) -> None:
        """Stop listening, and abort what does not end by itself; what was answered with Success is safe."""
        if self._server is not None:
            self._server.shutdown()
            _end(self._server.active_associations)
            self._server = None
            self._commitment.close()
            log.info("stopped listening", ae_title=self._config.ae_title)
        self._held.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @staticmethod
    def _on_reject(event: Event) -> None:
        request = event.assoc.requestor.primitive
        if request is not None:
            calling, called = str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()
            log.warning("association rejected", calling=calling, called=called)
            tell(Refused(calling, called, str(event.assoc.requestor.address or ""), "association rejected"))

    @staticmethod
    def _on_close(event: Event) -> None:
        """Say of a connection that it came to nothing: a peer that is half open, or somebody who tries ports."""
        association = event.assoc
        if association.requestor.primitive is None:
            address = association.requestor.address
            log.info("connection closed", address=address, reason="no association was asked for")
            association.dul.to_user_queue.put(None)  # "no request in time": its thread would wait for that alone

    def _on_store(self, event: Event) -> int:
        """Answer one C-STORE request of an association that stays with pynetdicom; its data set is in memory."""
        request = cast("C_STORE", event.request)
        sop_class, sop_instance = (
            str(uid or "") for uid in (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
        )
        peer = event.assoc.requestor
        sender = Sender(peer.ae_title, str(peer.address or ""))
        arrival = self._reception.begin(Announced(sop_class, sop_instance, event.context.transfer_syntax, sender))
        arrival.write((request.DataSet or BytesIO()).getbuffer())
        status = arrival.finish()
        arrival.tell()
        return status.code


def _end(associations: Sequence[Association]) -> None:
    """Wait a moment for associations to end, abort those that are still established, and let them finish their object.

    One that is just ending is not aborted: pynetdicom's state machine would trip over it. A connection on which nobody
    has asked for an association has nothing to finish, and is cut.
    """
    patience_s = 1.0
    for association in associations:
        if association.requestor.primitive is None and (wrapped := association.dul.socket) and wrapped.socket:
            with suppress(OSError):  # it may end by itself just now
                wrapped.socket.shutdown(socket.SHUT_RDWR)
        _join(association, patience_s)
        if association.is_alive():
            patience_s = 0.0
    for association in associations:
        if association.is_established:
            association.abort()
            _join(association, 10.0)


def _join(association: Association, patience_s: float) -> None:
    """Wait for an association's thread, also where it is only about to start: the server lists it before."""
    end = time.monotonic() + START_PATIENCE_S
    while association.ident is None and time.monotonic() < end:
        time.sleep(0.001)
    if association.ident is not None:
        association.join(patience_s)


@contextmanager
def open_listener(config: NodeConfig, clock: Callable[[], float], label: Label = no_label) -> Iterator[Listener]:
    """A running listener on the storage folder and the index of a configuration; it is stopped at the end."""
    index = Index(config.index)
    try:
        with Listener(config, Storage(config.storage), index, clock, label=label) as listener:
            yield listener
    finally:
        index.close()
