"""The storage SCP: what comes in is on disk and in the index before the sender hears Success.

The order is always: bytes to disk (file and folder synced), row in the index, answer. The data set is not decoded: its
bytes are written as they came, and only the attributes up to (0020,0052) are looked at.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from types import TracebackType
from typing import Self, cast

import structlog
from pydicom.uid import UID
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from dicom_nodes import statuses
from dicom_nodes.ae import application_entity, without_delay
from dicom_nodes.config import NodeConfig
from dicom_nodes.errors import ConfigurationError, IncompleteObjectError, UnreadableObjectError, trail
from dicom_nodes.headers import Header, is_uid, read_header
from dicom_nodes.index import Index
from dicom_nodes.services import STORAGE_CLASSES, TRANSFER_SYNTAXES, VERIFICATION
from dicom_nodes.statuses import Status
from dicom_nodes.storage import Kept, Outcome, Storage

log = structlog.get_logger(__name__)


class Listener:
    """A storage and verification SCP in threads of its own; ``with Listener(...) as listener`` starts and stops it.

    Args:
        clock: POSIX time, for the time of receipt.
    """

    def __init__(self, config: NodeConfig, storage: Storage, index: Index, clock: Callable[[], float]) -> None:
        self._config = config
        self._storage = storage
        self._index = index
        self._clock = clock
        self._held = ExitStack()
        self._server: ThreadedAssociationServer | None = None

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
        found = self._index.rebuild(self._storage)
        if found:
            log.info("objects entered that had no row", count=found)
        limits = self._config.limits
        entity = application_entity(self._config.ae_title, limits.network_timeout_s, limits.maximum_pdu_bytes)
        entity.maximum_associations = limits.associations
        entity.require_called_aet = True
        if not self._config.accept_any_sender:
            entity.require_calling_aet = list(self._config.allowed_senders)
        contexts = [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in STORAGE_CLASSES]
        contexts.append(build_context(VERIFICATION))
        address = (self._config.host, self._config.port)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_REJECTED, self._on_reject),
            (evt.EVT_CONN_OPEN, without_delay),
        ]
        try:
            self._server = entity.start_server(address, block=False, contexts=contexts, evt_handlers=handlers)
        except OSError as error:
            self._held.close()
            where = f"{address[0]}:{address[1]}"
            raise ConfigurationError(f"cannot listen: {error.strerror}", where=where) from error
        log.info("listening", ae_title=self._config.ae_title, port=self.port)

    def stop(self) -> None:
        """Stop listening, and abort what does not end by itself; what was answered with Success is safe."""
        if self._server is not None:
            self._server.shutdown()
            _end(self._server.active_associations)
            self._server = None
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
            log.warning("association rejected", calling=request.calling_ae_title, called=request.called_ae_title)

    def _on_store(self, event: Event) -> int:
        """Answer one C-STORE request."""
        request = cast("C_STORE", event.request)
        uid = str(request.AffectedSOPInstanceUID or "")
        try:
            status, reason = self._take(event)
        except Exception as error:  # whatever goes wrong, the sender must hear that the object is not ours
            full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
            status, reason = statuses.OUT_OF_RESOURCES if full else statuses.PROCESSING_FAILURE, type(error).__name__
            log.error("object not kept", uid=uid, reason=reason, trail=trail(error))  # noqa: TRY400  (see trail)
        note = log.debug if status is statuses.SUCCESS else log.error
        note("object", uid=uid, status=f"{status.code:04X}", answer=status.name, reason=reason)
        return status.code

    def _take(self, event: Event) -> tuple[Status, str]:
        """Keep and enter the object of a request, and say how it went."""
        request = cast("C_STORE", event.request)
        uid, sop_class = str(request.AffectedSOPInstanceUID or ""), str(request.AffectedSOPClassUID or "")
        if not is_uid(uid):
            return statuses.INVALID_UID, "malformed UID"
        if self._storage.free_mb() < self._config.limits.reserve_mb:
            return statuses.OUT_OF_RESOURCES, "below the reserve"
        dataset, syntax = request.DataSet or BytesIO(), event.context.transfer_syntax
        dataset.seek(0)
        try:
            header = read_header(dataset, syntax)
        except UnreadableObjectError as error:
            return statuses.CANNOT_UNDERSTAND, error.message
        except IncompleteObjectError as error:
            return statuses.MISMATCH, error.message
        if (header.sop_instance_uid, header.sop_class_uid) != (uid, sop_class):
            return statuses.MISMATCH, "the UIDs of the data set are not those of the request"
        meta = create_file_meta(sop_class_uid=UID(sop_class), sop_instance_uid=UID(uid), transfer_syntax=UID(syntax))
        return self._keep(header, encode_file_meta(meta), dataset.getbuffer())

    def _keep(self, header: Header, file_meta: bytes, dataset: memoryview) -> tuple[Status, str]:
        """On disk first, then in the index; only then is the object ours."""
        kept: Kept = self._storage.keep(header.sop_instance_uid, file_meta, dataset)
        self._index.add(header, kept, self._clock())
        if kept.outcome is Outcome.OTHER:
            return statuses.OTHER_BYTES, "other bytes are held under this UID"
        return statuses.SUCCESS, kept.outcome.value


def _end(associations: Sequence[Association]) -> None:
    """Wait a moment for associations to end, abort those that are still established, and let them finish their object.

    One that is just ending is not aborted: pynetdicom's state machine would trip over it. A connection on which nobody
    ever asked for an association has nothing to finish; its thread ends with the timeout.
    """
    patience_s = 1.0
    for association in associations:
        association.join(patience_s)
        if association.is_alive():
            patience_s = 0.0
    for association in associations:
        if association.is_established:
            association.abort()
            association.join(10.0)


@contextmanager
def open_listener(config: NodeConfig, clock: Callable[[], float]) -> Iterator[Listener]:
    """A running listener on the storage folder and the index of a configuration; it is stopped at the end."""
    index = Index(config.index)
    try:
        with Listener(config, Storage(config.storage), index, clock) as listener:
            yield listener
    finally:
        index.close()
