"""Where audit messages go: a file, UDP, TLS and the local socket, each with a real receiver."""

from __future__ import annotations

import re
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
import trustme

from psdt_planner.errors import ConfigurationError, PeerError
from psdt_planner.operation import open_sink, start_message
from psdt_planner.operation.sinks import syslog_line
from tests.operation.schema import validated

MESSAGE = start_message("PSDT", 1000.0)


def parsed(line: bytes) -> bytes:
    """The XML of a syslog line, whose head is held against RFC 5424."""
    head, mark, xml = line.partition(b"\xef\xbb\xbf")
    assert mark
    assert re.fullmatch(rb"<85>1 1970-01-01T00:16:40\.000Z host psdt \d+ DICOM\+RFC3881 - ", head)
    validated(xml)
    return xml


def test_a_line_is_of_rfc_5424() -> None:
    assert parsed(syslog_line(MESSAGE, "host")) == MESSAGE.xml()


def test_a_file_gets_a_line_a_message_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "some" / "audit.xml"
    sink = open_sink(str(path), "host")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sink(MESSAGE)
    path.rename(tmp_path / "rotated.xml")
    sink(MESSAGE)
    sink(MESSAGE)
    assert (tmp_path / "rotated.xml").read_bytes() == MESSAGE.xml() + b"\n"
    assert path.read_bytes() == (MESSAGE.xml() + b"\n") * 2


def test_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        open_sink(f"udp://127.0.0.1:{server.getsockname()[1]}", "host")(MESSAGE)
        parsed(server.recv(65536))


def test_the_local_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(10)
        open_sink(f"unix://{tmp_path}/log", "host")(MESSAGE)
        parsed(server.recv(65536))
    with pytest.raises(PeerError, match="did not reach the syslog server"):
        open_sink(f"unix://{tmp_path}/nobody", "host")(MESSAGE)


def receive_tls(server: socket.socket, context: ssl.SSLContext, got: list[bytes]) -> None:
    plain, _ = server.accept()
    try:
        with context.wrap_socket(plain, server_side=True) as peer:
            while data := peer.recv(65536):
                got.append(data)
    except (ssl.SSLError, ConnectionError):
        plain.close()


@pytest.mark.parametrize("known", [True, False])
def test_tls_to_a_server_that_the_system_knows_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    authority, got = trustme.CA(), list[bytes]()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (authority if known else trustme.CA()).cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=receive_tls, args=(server, context, got))
        thread.start()
        sink = open_sink(f"tls://127.0.0.1:{server.getsockname()[1]}", "host")
        if known:
            sink(MESSAGE)
        else:
            with pytest.raises(PeerError, match="certificate verify failed"):
                sink(MESSAGE)
        thread.join(10)
    if known:
        length, _, line = b"".join(got).partition(b" ")
        assert int(length) == len(line)
        parsed(line)
    else:
        assert got == []


@pytest.mark.parametrize("where", ["http://127.0.0.1/", "udp://", "/proc/nowhere/audit.xml"])
def test_what_is_no_sink_is_refused_at_the_start(where: str) -> None:
    with pytest.raises(ConfigurationError):
        open_sink(where, "host")
