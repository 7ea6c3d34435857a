"""The port that is listened on: connections are taken in one thread, and greeted in another each.

pynetdicom's own server does the TLS handshake where it takes connections, so that one silent peer would keep all others
out; and it reads without a timeout, so that a peer that stops in the middle of a PDU would hold a thread for good.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import ThreadedAssociationServer

from dicom_nodes.errors import trail
from dicom_nodes.notices import Refused, tell

log = structlog.get_logger(__name__)

TOO_MANY = "too many connections at once"
HANDSHAKE_S = 10.0
"""A peer that has not finished its TLS handshake by then is cut off."""


class Server(ThreadedAssociationServer):
    """A pynetdicom server for one address; ``start`` lets it listen in a thread of its own.

    Args:
        tls: for connections over TLS; without it peers come in plain text.
        most: connections at the same time; one address may hold half of them.
    """

    request_queue_size = 64
    daemon_threads = True

    def __init__(
        self,
        entity: ApplicationEntity,
        address: tuple[str, int],
        contexts: list[PresentationContext],
        handlers: Sequence[evt.EventHandlerType],
        *,
        tls: ssl.SSLContext | None,
        most: int,
    ) -> None:
        super().__init__(entity, address, entity.ae_title, contexts, tls, list(handlers))
        self._entity = entity
        self._most = most
        self._greeting: Counter[str] = Counter()  # connections by address, before pynetdicom knows of them
        self._counting = threading.Lock()

    def start(self) -> None:
        """Take connections until ``shutdown``."""
        self._entity._servers.append(self)  # ``shutdown`` takes it out again
        threading.Thread(target=self.serve_forever, args=(0.1,), name="listener", daemon=True).start()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection, before any handshake."""
        assert self.socket is not None  # noqa: S101  (for mypy: it is None only before it is bound)
        return self.socket.accept()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Whether a connection is greeted at all; one too many is closed, since each holds two threads."""
        address = str(client_address[0])
        with self._counting:
            known = [str(association.requestor.address) for association in self.active_associations]
            every = len(known) + self._greeting.total()
            theirs = known.count(address) + self._greeting[address]
            if every < self._most and theirs < self._most // 2:
                self._greeting[address] += 1
                return True
        log.warning("connection refused", address=address, reason=TOO_MANY)
        tell(Refused("", "", address, TOO_MANY))
        return False

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Greet a connection, in a thread of its own: the TLS handshake, then the association."""
        greeted = None
        try:
            greeted = self._greeted(request, client_address)
        finally:
            with self._counting:  # so that each is counted once: here, or among the associations
                self._greeting[str(client_address[0])] -= 1
                if greeted is not None:
                    super().finish_request(greeted, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what went wrong with a connection; the others go on."""
        error = sys.exc_info()[1]
        found = [] if error is None else trail(error)
        log.error("connection ended", address=client_address[0], reason=type(error).__name__, trail=found)

    def _greeted(self, request: Any, client_address: Any) -> Any:
        """The connection after its handshake; None where that failed."""
        if self.ssl_context is not None:
            request.settimeout(HANDSHAKE_S)
            try:
                request = self.ssl_context.wrap_socket(request, server_side=True)
            except OSError as error:  # ssl.SSLError and TimeoutError among them
                reason = handshake_failure(error)
                log.warning("connection refused", address=client_address[0], reason=reason)
                tell(Refused("", "", str(client_address[0]), reason))
                self.shutdown_request(request)
                return None
        request.settimeout(self._entity.network_timeout)
        return request


def handshake_failure(error: OSError) -> str:
    """Why a TLS handshake failed, in words for a log."""
    if isinstance(error, TimeoutError):
        return "the peer did not finish the TLS handshake"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'the peer closed the connection').replace('_', ' ').lower()}"
    return f"the peer closed the connection: {error.strerror}"
