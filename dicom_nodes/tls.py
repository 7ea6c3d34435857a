"""DICOM over TLS, both ways: TLS 1.2 with ephemeral keys and AEAD suites, or 1.3; both sides show a certificate.

This is the profile that DICOM takes from BCP 195 (PS3.15 annex B; RFC 8996, and RFC 9325 4.2 for the suites). There is
no weaker form to fall back to: a connection is of this kind, or plain where the configuration says so.
"""

from __future__ import annotations

import calendar
import os
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from dicom_nodes.config import Peer, Tls, WebPeer
from dicom_nodes.errors import ConfigurationError

SUITES_1_2 = "ECDHE+AESGCM"
"""RFC 9325 4.2: the four suites with ephemeral elliptic-curve keys and AES-GCM. Those of TLS 1.3 are all AEAD."""

KEY_PASSWORD = "PSDT_TLS_KEY_PASSWORD"  # noqa: S105  (the name of a variable, not its value)
"""Environment variable with the password of an encrypted key."""

READABLE_BY_OTHERS = 0o037
"""Bits that a key file must not have: written by the group, or anything by others."""


def incoming(tls: Tls) -> ssl.SSLContext:
    """For the listener: peers must show a certificate that one of the authorities has signed.

    Raises:
        ConfigurationError: a file is absent, no PEM, readable by others, or key and certificate do not belong together.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, tls.authorities, tls.certificate, tls.key)


def outgoing(peer: Peer) -> tuple[ssl.SSLContext, str] | None:
    """What ``pynetdicom`` takes as ``tls_args``, or None for a peer that is spoken to in plain text.

    The peer's certificate must carry the name under which it is called: ``tls_name``, or else ``host``.

    Raises:
        ConfigurationError: as for ``incoming``.
    """
    if peer.tls is None:
        return None
    tls = peer.tls
    return _context(ssl.PROTOCOL_TLS_CLIENT, tls.authorities, tls.certificate, tls.key), peer.tls_name or peer.host


def to_web(peer: WebPeer, public: Path) -> ssl.SSLContext:
    """For https, by the same profile; a certificate is shown where the peer has one for us.

    Args:
        public: the authorities where the peer names none.

    Raises:
        ConfigurationError: as for ``incoming``.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, peer.authorities or public, peer.certificate, peer.key)


def _context(protocol: ssl._SSLMethod, authorities: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES_1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_mode = ssl.CERT_REQUIRED
    if key is not None:
        _check_readers(key)
    try:
        context.load_verify_locations(authorities)
        if certificate is not None:
            context.load_cert_chain(certificate, key, lambda: os.environ.get(KEY_PASSWORD, ""))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = "no PEM, no password, or key and certificate do not belong together"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = str(error.strerror)
        where = ", ".join(str(path) for path in (certificate, key, authorities) if path is not None)
        raise ConfigurationError(f"TLS cannot be set up: {reason}", where=where, todo="See docs/it.md.") from error
    return context


def _check_readers(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"the TLS key cannot be read: {error.strerror}", where=str(key)) from error
    if mode & READABLE_BY_OTHERS:
        raise ConfigurationError("others may read the TLS key", where=str(key), todo=f"chmod 600 {key}")


def days_left(certificate: Path, now_s: float) -> float:
    """How long the first certificate of a PEM file is good for, in days from ``now_s`` (POSIX); negative once expired.

    Raises:
        ConfigurationError: the file is absent, or its first block is no X.509 certificate.
    """
    try:
        text = certificate.read_text(encoding="ascii")
        end = text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
        return (_not_after_s(ssl.PEM_cert_to_DER_cert(text[text.index(ssl.PEM_HEADER) : end])) - now_s) / 86400
    except (OSError, ValueError, IndexError) as error:
        raise ConfigurationError("not a certificate in PEM form", where=str(certificate)) from error


def days_left_at(where: tuple[str, int], context: ssl.SSLContext, name: str, timeout_s: float, now_s: float) -> float:
    """How long the certificate that a peer shows is good for, as ``days_left``.

    Args:
        where: host and port.
        name: that the certificate must carry.

    Raises:
        OSError: no connection, or no certificate that we accept.
    """
    with (
        socket.create_connection(where, timeout=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        shown = connection.getpeercert() or {}
    return (ssl.cert_time_to_seconds(str(shown["notAfter"])) - now_s) / 86400


@dataclass(frozen=True)
class _Der:
    """One value of a DER encoding (X.690 8.1): its tag, its content, and where the next begins."""

    tag: int
    content: bytes
    end: int


def _not_after_s(der: bytes) -> float:
    """POSIX time at which a certificate ends: the second time of ``validity`` (RFC 5280 4.1.2.5)."""
    fields = _values(_values(_value(der, 0).content)[0].content)
    validity = fields[4 if fields[0].tag == 0xA0 else 3]  # behind version (absent in v1), serial, signature and issuer
    time_of_end = _values(validity.content)[1]
    form = "%y%m%d%H%M%SZ" if time_of_end.tag == 0x17 else "%Y%m%d%H%M%SZ"
    return float(calendar.timegm(time.strptime(time_of_end.content.decode("ascii"), form)))


def _values(content: bytes) -> list[_Der]:
    found: list[_Der] = []
    while (at := found[-1].end if found else 0) < len(content):
        found.append(_value(content, at))
    return found


def _value(data: bytes, at: int) -> _Der:
    length, start = data[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[at + 2 : start], "big")
    return _Der(data[at], data[start : start + length], start + length)


def trouble(peer: Peer) -> str:
    """Why no TLS connection with a peer comes about, in words; empty where one does, or where none is wanted.

    Asked after an association has failed, since the reason is lost inside the library that tried.
    """
    wanted = outgoing(peer)
    if wanted is None:
        return ""
    context, name = wanted
    try:
        with (
            socket.create_connection((peer.host, peer.port), timeout=peer.timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            tls.settimeout(1.0)  # in TLS 1.3 the peer's verdict on our certificate comes after the handshake
            tls.recv(1)
    except TimeoutError as error:
        return "" if "read" in str(error) else "the peer does not answer the TLS handshake"
    except OSError as error:
        return in_words(error)
    return ""


def in_words(error: OSError) -> str:
    """Why a connection did not come about, or ended."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
            return "the peer's port is not a TLS port"
        if "EOF" in str(error):
            return "the peer closed the connection: it is not a TLS port, or our certificate is not accepted"
        return f"TLS failed: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
    return f"no connection: {error.strerror or error}"
