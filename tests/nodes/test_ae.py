"""The application entity: its connections send without delay, and each answer reaches who waits for it."""

from __future__ import annotations

import socket
import threading
import time
from types import SimpleNamespace

import pytest
from pynetdicom import AE, evt

from dicom_nodes.ae import Checkpoint, application_entity, prepare

VERIFICATION = "1.2.840.10008.1.1"


def test_a_connection_sends_each_part_of_a_message_at_once() -> None:
    set_on: list[int] = []

    def look(event: evt.Event) -> None:
        transport = event.assoc.dul.socket
        assert transport is not None
        assert transport.socket is not None
        assert transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0, "the system's own choice"
        prepare(event)
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


@pytest.mark.parametrize("begun", ["just now", "long ago"])
def test_who_looks_as_if_it_rested_does_rest(begun: str) -> None:
    """Once a sender has closed the checkpoint and sees the thread rest, the thread takes no message away from it."""
    association = SimpleNamespace(_is_paused=False)
    checkpoint = Checkpoint(association)  # type: ignore[arg-type]
    stopped, taken = threading.Event(), [0]

    def serve() -> None:
        while not stopped.is_set():
            association._is_paused = True
            checkpoint.wait()
            association._is_paused = False
            taken[0] += 1

    thread = threading.Thread(target=serve)
    thread.start()
    for _ in range(500):
        if begun == "long ago":
            time.sleep(0.0005)
        checkpoint.clear()
        while not association._is_paused:
            time.sleep(0)
        before = taken[0]
        time.sleep(0.0002)
        assert taken[0] == before
        checkpoint.set()
    stopped.set()
    thread.join(5)
    assert not thread.is_alive()
