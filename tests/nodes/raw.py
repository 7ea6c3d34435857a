"""A peer that says what it is told to, byte by byte: right, wrong, or half of it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU (PS3.8 9.3.1); ``length`` where it shall not be the body's."""
    return struct.pack(">BBI", kind, 0, len(body) if length is None else length) + body


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def associate_rq(called: str, calling: str, contexts: Iterable[tuple[str, str]]) -> bytes:
    """A request for an association with one context for each pair of abstract and transfer syntax."""
    body = struct.pack(">HH", 1, 0) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, (abstract, transfer) in enumerate(contexts):
        syntaxes = item(0x30, abstract.encode()) + item(0x40, transfer.encode())
        body += item(0x20, bytes([2 * number + 1, 0, 0, 0]) + syntaxes)
    return pdu(1, body + item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4")))


def command(elements: dict[int, bytes]) -> bytes:
    """A command set: group 0000 with its length, in Implicit VR Little Endian."""
    group = b"".join(struct.pack("<HHI", 0, n, len(v)) + v for n, v in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(group)) + group


def us(number: int) -> bytes:
    return struct.pack("<H", number)


def even(text: str) -> bytes:
    data = text.encode()
    return data + bytes(len(data) % 2)


def store_rq(sop_instance_uid: str, sop_class_uid: str = CT, message: int = 1) -> bytes:
    return command(
        {
            0x0002: even(sop_class_uid),
            0x0100: us(1),
            0x0110: us(message),
            0x0700: us(0),
            0x0800: us(1),
            0x1000: even(sop_instance_uid),
        }
    )


def echo_rq(message: int = 9) -> bytes:
    return command({0x0002: even(VERIFICATION), 0x0100: us(0x30), 0x0110: us(message), 0x0800: us(0x0101)})


def event_report_rsp(message: int, status: int) -> bytes:
    """The answer to an N-EVENT-REPORT."""
    return command({0x0100: us(0x8100), 0x0120: us(message), 0x0800: us(0x0101), 0x0900: us(status)})


def values(data: bytes, control: int, context: int = 1, size: int = 1 << 14) -> list[bytes]:
    """Presentation data values of at most ``size`` bytes; ``control`` is that of all but the last (PS3.8 annex E)."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    last = len(pieces) - 1
    return [
        struct.pack(">IBB", len(piece) + 2, context, control | 2 * (number == last)) + piece
        for number, piece in enumerate(pieces)
    ]


def p_data(data: bytes, control: int, context: int = 1, size: int = 1 << 14) -> bytes:
    """P-DATA-TF PDUs with one value each."""
    return b"".join(pdu(4, value) for value in values(data, control, context, size))


@dataclass
class RawPeer:
    """One connection to a node, and an association where it is asked for."""

    port: int
    timeout_s: float = 10.0
    connection: socket.socket = field(init=False)

    def __enter__(self) -> Self:
        self.connection = socket.create_connection(("127.0.0.1", self.port), self.timeout_s)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.connection.close()

    def send(self, *parts: bytes) -> None:
        self.connection.sendall(b"".join(parts))

    def read(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b"") where the node has closed."""
        head = self._exactly(6)
        if head is None:
            return 0, b""
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length) or b""

    def associate(self, *contexts: tuple[str, str], calling: str = "SCANNER") -> None:
        self.send(associate_rq("PSDT", calling, contexts or ((CT, EXPLICIT), (VERIFICATION, IMPLICIT))))
        assert self.read()[0] == 2, "the association was not accepted"

    def store(self, sop_instance_uid: str, dataset: bytes, *, size: int = 1 << 14) -> int:
        """The status that a data set is answered with; -1 where the association was aborted instead."""
        self.send(p_data(store_rq(sop_instance_uid), 1), p_data(dataset, 0, size=size))
        return self.status()

    def status(self) -> int:
        """The status in the response that comes next; -1 for anything else."""
        kind, body = self.read()
        if kind != 4:
            return -1
        at, status = 6 + 12, -1
        while at < len(body):
            number, length = struct.unpack_from("<HI", body, at + 2)
            if number == 0x0900:
                status = int.from_bytes(body[at + 8 : at + 10], "little")
            at += 8 + length
        return status

    def release(self) -> None:
        self.send(pdu(5, bytes(4)))
        assert self.read() == (6, bytes(4))

    def _exactly(self, wanted: int) -> bytes | None:
        got = b""
        while len(got) < wanted:
            try:
                more = self.connection.recv(wanted - len(got))
            except ConnectionResetError:
                return None
            if not more:
                return None
            got += more
        return got
