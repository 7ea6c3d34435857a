"""Network faults: for each a log line that says what it was, and nothing left behind: no thread, file or handle."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
import trustme

from dicom_nodes import server
from dicom_nodes.config import Limits, NodeConfig, Peer
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.query import echo
from dicom_nodes.storage import Storage
from tests.network import wait_until
from tests.nodes import raw
from tests.nodes.objects import begun, dataset_bytes, make, uid, write
from tests.nodes.raw import RawPeer, p_data, pdu
from tests.nodes.test_tls import ELSEWHERE, HOSPITAL, files

TIMEOUT_S = 1.0
HEAD = p_data(raw.store_rq(uid(1, 1, 1)), 1)


@pytest.fixture
def impatient(config: NodeConfig, storage: Storage, index: Index) -> Iterator[Listener]:
    """A node that waits for one second."""
    limits = Limits(reserve_mb=1, network_timeout_s=TIMEOUT_S)
    with Listener(config.model_copy(update={"limits": limits}), storage, index, lambda: 0.0) as listener:
        yield listener


def left() -> tuple[int, int]:
    """Threads and open handles of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def half(folder: Path) -> bytes:
    """The first half of a PDU with a data set."""
    whole = p_data(dataset_bytes(write(make("CT", 1), folder)), 0)
    return whole[: len(whole) // 2]


def gone_politely(peer: RawPeer, folder: Path) -> None:
    peer.associate()
    peer.send(HEAD, half(folder))


def gone_at_once(peer: RawPeer, folder: Path) -> None:
    peer.associate()
    peer.send(HEAD, half(folder))
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset


def silent_between_objects(peer: RawPeer, _folder: Path) -> None:
    peer.associate()
    assert peer.read()[0] == 7, "the node aborts"


def silent_inside_an_object(peer: RawPeer, folder: Path) -> None:
    peer.associate()
    peer.send(HEAD, half(folder))
    assert peer.read()[0] == 7, "the node aborts"


def slow(peer: RawPeer, _folder: Path) -> None:
    peer.associate()
    began = time.monotonic()
    with suppress(OSError):  # at last nobody reads any more
        for byte in pdu(4, bytes(100)):
            peer.send(bytes([byte]))
            time.sleep(0.3)
    assert time.monotonic() - began < 5 * TIMEOUT_S


def silent_from_the_start(peer: RawPeer, _folder: Path) -> None:
    assert peer.read()[0] in {7, 0}


def silent_inside_the_request(peer: RawPeer, _folder: Path) -> None:
    peer.send(raw.associate_rq("PSDT", "SCANNER", [(raw.CT, raw.EXPLICIT)])[:40])
    assert peer.read()[0] in {7, 0}


def gone_before_the_request(_peer: RawPeer, _folder: Path) -> None:
    """It hangs up, as a port scanner does, or a monitor that only looks whether somebody listens."""


def gone_inside_the_request(peer: RawPeer, _folder: Path) -> None:
    peer.send(raw.associate_rq("PSDT", "SCANNER", [(raw.CT, raw.EXPLICIT)])[:40])


def no_dicom(peer: RawPeer, _folder: Path) -> None:
    peer.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert peer.read()[0] in {7, 0}


FAULTS: dict[str, tuple[Callable[[RawPeer, Path], None], str]] = {
    "the peer closes inside an object": (gone_politely, "the peer closed the connection without releasing"),
    "the peer resets inside an object": (gone_at_once, "Connection reset by peer"),
    "half open, between objects": (silent_between_objects, "nothing came in 1 s"),
    "half open, inside an object": (silent_inside_an_object, "nothing came in 1 s"),
    "a slow peer": (slow, "a PDU was not whole after 1 s"),
    "half open, no request": (silent_from_the_start, "no association was asked for"),
    "hangs up before a request": (gone_before_the_request, "no association was asked for"),
    "hangs up inside the request": (gone_inside_the_request, "no association was asked for"),
    "speaks HTTP": (no_dicom, "no association was asked for"),
    "half open, inside the request": (silent_inside_the_request, "no association was asked for"),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_and_leaves_nothing(
    tmp_path: Path, impatient: Listener, storage: Storage, fault: Callable[[RawPeer, Path], None], message: str
) -> None:
    node = Peer(host="127.0.0.1", port=impatient.port, ae_title="PSDT", timeout_s=10)
    echo(node, "SCANNER")
    time.sleep(0.1)
    before = left()
    with structlog.testing.capture_logs() as logs, RawPeer(impatient.port) as peer:
        fault(peer, tmp_path)
        peer.connection.close()
        wait_until(lambda: any(message in str(line.get("reason")) for line in logs), 10)
    wait_until(lambda: left()[0] <= before[0] and left()[1] <= before[1], 10)
    assert begun(storage.root) == []
    echo(node, "SCANNER")


def old_client(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


NO_WAITING = {"hangs up": gone_before_the_request, "is cut off": gone_inside_the_request, "speaks HTTP": no_dicom}


@pytest.mark.parametrize("fault", NO_WAITING.values(), ids=NO_WAITING.keys())
def test_who_is_gone_without_a_request_is_not_waited_for(
    tmp_path: Path, listener: Listener, fault: Callable[[RawPeer, Path], None]
) -> None:
    """The node would wait for 15 s for a request on a connection that stands."""
    before = left()
    with RawPeer(listener.port) as peer:
        fault(peer, tmp_path)
    wait_until(lambda: left()[0] <= before[0] and left()[1] <= before[1], 5)


def test_a_node_that_stops_does_not_wait_for_who_asks_for_nothing(
    config: NodeConfig, storage: Storage, index: Index
) -> None:
    before = threading.active_count()
    with Listener(config, storage, index, lambda: 0.0) as listener, RawPeer(listener.port):
        wait_until(lambda: threading.active_count() >= before + 3)
    wait_until(lambda: threading.active_count() <= before, 5)


TLS_FAULTS: dict[str, tuple[trustme.CA, Callable[[ssl.SSLContext], None], str]] = {
    "a certificate of another authority": (ELSEWHERE, lambda _: None, "the peer's certificate is not accepted"),
    "TLS 1.1": (HOSPITAL, old_client, "TLS: unsupported protocol"),
}


@pytest.fixture
def secure(tmp_path: Path, config: NodeConfig, storage: Storage, index: Index) -> Iterator[Listener]:
    """A node that is spoken to over TLS only."""
    ours = files(tmp_path / "node", HOSPITAL)
    with Listener(config.model_copy(update={"tls": ours}), storage, index, lambda: 0.0) as listener:
        yield listener


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(("signer", "change", "message"), TLS_FAULTS.values(), ids=TLS_FAULTS.keys())
def test_a_tls_fault_is_named_and_leaves_nothing(
    tmp_path: Path, secure: Listener, signer: trustme.CA, change: Callable[[ssl.SSLContext], None], message: str
) -> None:
    shown = files(tmp_path / "peer", signer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(shown.authorities)
    context.load_cert_chain(shown.certificate, shown.key)
    change(context)
    before = left()
    with structlog.testing.capture_logs() as logs:
        plain = socket.create_connection(("127.0.0.1", secure.port), 5)
        with pytest.raises(ssl.SSLError), context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.recv(1)
        wait_until(lambda: any(message in str(line.get("reason")) for line in logs), 10)
    wait_until(lambda: left()[0] <= before[0] and left()[1] <= before[1], 10)


NO_TLS = {
    "silence": (b"", "the peer did not finish the TLS handshake"),
    "plain text": (raw.associate_rq("PSDT", "SCANNER", [(raw.CT, raw.EXPLICIT)]), "TLS: wrong version number"),
}


@pytest.mark.parametrize(("said", "message"), NO_TLS.values(), ids=NO_TLS.keys())
def test_what_is_no_tls_at_a_tls_port(
    secure: Listener, monkeypatch: pytest.MonkeyPatch, said: bytes, message: str
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.5)
    before = left()
    with structlog.testing.capture_logs() as logs, RawPeer(secure.port) as peer:
        peer.send(said)
        assert peer.read()[0] in {0, 0x15}  # 0x15: an alert of TLS
        wait_until(lambda: bool(logs), 10)
    assert logs[0]["reason"] == message
    wait_until(lambda: left()[0] <= before[0] and left()[1] <= before[1], 10)
