"""pynetdicom as this package uses it: its process-wide switches, and one way to make an application entity."""

from __future__ import annotations

import logging
import socket

from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity

_config.LOG_HANDLER_LEVEL = "none"  # its handlers format every PDU and print data sets; this package logs for itself
_config.STORE_SEND_CHUNKED_DATASET = True  # a file's data set goes out as it lies on disk, without being decoded
_config.USE_SHORT_DIMSE_AET = True
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def application_entity(ae_title: str, timeout_s: float, maximum_pdu_bytes: int = 131072) -> ApplicationEntity:
    """An application entity that waits at most ``timeout_s`` for a connection, an association or an answer."""
    entity = ApplicationEntity(ae_title)
    entity.connection_timeout = timeout_s
    entity.acse_timeout = timeout_s
    entity.dimse_timeout = timeout_s
    entity.network_timeout = timeout_s
    entity.maximum_pdu_size = maximum_pdu_bytes
    return entity


def without_delay(event: evt.Event) -> None:
    """Send each part of a message at once: a handler of ``EVT_CONN_OPEN``.

    A message goes out in several small writes. The system holds the second back until the first is acknowledged, and
    the peer waits 40 ms with that: every object would take so long (RFC 896 against RFC 1122 4.2.3.2).
    """
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
