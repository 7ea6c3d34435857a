"""The application entity: its connections send without delay."""

from __future__ import annotations

import socket

from pynetdicom import AE, evt

from dicom_nodes.ae import application_entity, without_delay

VERIFICATION = "1.2.840.10008.1.1"


def test_a_connection_sends_each_part_of_a_message_at_once() -> None:
    set_on: list[int] = []

    def look(event: evt.Event) -> None:
        transport = event.assoc.dul.socket
        assert transport is not None
        assert transport.socket is not None
        assert transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0, "the system's own choice"
        without_delay(event)
        set_on.append(transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    receiver = AE("RECEIVER")
    receiver.add_supported_context(VERIFICATION)
    server = receiver.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_CONN_OPEN, look)])
    try:
        sender = application_entity("SENDER", 5.0)
        sender.add_requested_context(VERIFICATION)
        port = int(server.server_address[1])
        association = sender.associate("127.0.0.1", port, evt_handlers=[(evt.EVT_CONN_OPEN, look)])
        assert association.is_established
        association.release()
    finally:
        server.shutdown()
    assert len(set_on) == 2
    assert all(set_on)
