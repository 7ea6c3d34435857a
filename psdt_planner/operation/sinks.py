"""Where audit messages go: a file, or a syslog server by RFC 5424 over UDP, TLS (RFC 5425) or the local socket."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from psdt_planner.errors import ConfigurationError, PeerError
from psdt_planner.operation.message import Message

PRIORITY = 10 * 8 + 5
"""Facility 10, security and authorisation, and severity 5, as PS3.15 A.6 asks."""

MESSAGE_ID = "DICOM+RFC3881"
TIMEOUT_S = 10.0

Sink = Callable[[Message], None]
"""Takes a message for good, or raises ``PeerError``."""


def open_sink(where: str, host: str) -> Sink:
    """The sink that a setting names: a file, ``udp://HOST:PORT``, ``tls://HOST:PORT`` or ``unix:///dev/log``.

    Args:
        host: this machine, as a syslog server shall see it.

    Raises:
        ConfigurationError: none of these, or a file that cannot be written.
    """
    url = urlsplit(where)
    if not url.scheme:
        return _file(Path(where))
    if url.scheme == "unix":
        return _syslog(host, lambda text: _to_unix(url.path, text))
    if url.scheme not in {"udp", "tls"} or url.hostname is None:
        raise ConfigurationError("audit is no file and no syslog server", where=where, todo="See docs/psdt.toml.")
    address = (url.hostname, url.port or (514 if url.scheme == "udp" else 6514))
    deliver = _to_udp if url.scheme == "udp" else _to_tls
    return _syslog(host, lambda text: deliver(address, text))


def syslog_line(message: Message, host: str) -> bytes:
    """A message as RFC 5424 has it: its time, host, application, process and kind in front, a UTF-8 mark before XML."""
    at = datetime.fromtimestamp(message.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = f"<{PRIORITY}>1 {at} {host or '-'} psdt {os.getpid()} {MESSAGE_ID} - "
    return head.encode("ascii", "replace") + b"\xef\xbb\xbf" + message.xml()


def _file(path: Path) -> Sink:
    lock = threading.Lock()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    except OSError as error:
        raise ConfigurationError(f"the audit file cannot be written: {error.strerror}", where=str(path)) from error

    def write(message: Message) -> None:
        try:
            # Opened each time: whoever rotates the file may move it away.
            with lock, os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as file:
                file.write(message.xml() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PeerError(f"the audit file cannot be written: {error.strerror}", where=str(path)) from error

    return write


def _syslog(host: str, deliver: Callable[[bytes], None]) -> Sink:
    def write(message: Message) -> None:
        try:
            deliver(syslog_line(message, host))
        except OSError as error:
            raise PeerError(f"the audit message did not reach the syslog server: {error}") from error

    return write


def _to_udp(address: tuple[str, int], text: bytes) -> None:
    family = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0][0]
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.sendto(text, address)


def _to_unix(path: str, text: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text, path)


def _to_tls(address: tuple[str, int], text: bytes) -> None:
    """Length, space, message (RFC 5425 4.3), under the system's certificates, or those of ``SSL_CERT_FILE``."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(address, TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as sender,
    ):
        sender.sendall(str(len(text)).encode() + b" " + text)
