"""pynetdicom as this package uses it: its process-wide switches, and the one way out to a peer."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from dicom_nodes import tls
from dicom_nodes.config import Peer
from dicom_nodes.errors import PeerError

_config.LOG_HANDLER_LEVEL = "none"  # its handlers format every PDU and print data sets; this package logs for itself
_config.STORE_SEND_CHUNKED_DATASET = True  # a file's data set goes out as it lies on disk, without being decoded
_config.USE_SHORT_DIMSE_AET = True
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def _close_always(self: AssociationSocket) -> None:
    """Close a socket also where its other end is gone; pynetdicom 3.0.4 leaves such a one to the garbage collector."""
    if self.socket is not None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self.socket.close()


AssociationSocket._shutdown_socket = _close_always  # type: ignore[method-assign]


def application_entity(ae_title: str, timeout_s: float, maximum_pdu_bytes: int = 131072) -> ApplicationEntity:
    """An application entity that waits at most ``timeout_s`` for a connection, an association or an answer."""
    entity = ApplicationEntity(ae_title)
    entity.connection_timeout = timeout_s
    entity.acse_timeout = timeout_s
    entity.dimse_timeout = timeout_s
    entity.network_timeout = timeout_s
    entity.maximum_pdu_size = maximum_pdu_bytes
    return entity


@contextmanager
def associate(
    peer: Peer,
    calling_ae_title: str,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[evt.EventHandlerType] = (),
) -> Iterator[Association]:
    """An association with a peer, for a ``with`` block; released at its end where it still stands.

    Every association that this package asks for is asked for here.

    Raises:
        PeerError: there is none; it says why.
        ConfigurationError: the files of its TLS are not as they must be.
    """
    entity = application_entity(calling_ae_title, peer.timeout_s)
    association = entity.associate(
        peer.host,
        peer.port,
        list(contexts),
        ae_title=peer.ae_title,
        ext_neg=list(roles),
        evt_handlers=[(evt.EVT_CONN_OPEN, prepare), *handlers],
        tls_args=tls.outgoing(peer),
    )
    if not association.is_established:
        reason = _no_association(association)
        raise PeerError(reason, where=peer.name, todo="Check host, port and both AE titles.")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _no_association(association: Association) -> str:
    """Why an association could not be had, in words."""
    if association.is_rejected:
        primitive = association.acceptor.primitive
        return f"the peer rejected the association: {primitive.reason_str}" if primitive else "the peer rejected us"
    if association.is_aborted:
        return "the peer cannot be reached, or aborted the association"
    return "the peer accepted none of the presentation contexts"


def prepare(event: evt.Event) -> None:
    """Make an association fast and safe: a handler of ``EVT_CONN_OPEN``.

    A message goes out in several small writes. The system holds the second back until the first is acknowledged, and
    the peer waits 40 ms with that: every object would take so long (RFC 896 against RFC 1122 4.2.3.2).
    """
    event.assoc._reactor_checkpoint = Checkpoint(event.assoc)  # type: ignore[assignment]
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Checkpoint:
    """Where an association's own thread rests while another thread sends and waits for the answer.

    That of pynetdicom 3.0.4 is an ``Event``: a thread that was let go may still look as if it rested when the next
    message goes out, and then takes the answer to it away. The sender would wait for its whole timeout.
    """

    def __init__(self, association: Association) -> None:
        self._association = association
        self._changed = threading.Condition()
        self._is_open = True

    def set(self) -> None:
        """Let the thread go."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Keep the thread from passing; from now on ``_is_paused`` says whether it rests."""
        with self._changed:
            self._is_open = False

    def wait(self) -> None:
        """Rest until let go."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_open)
            self._association._is_paused = False
