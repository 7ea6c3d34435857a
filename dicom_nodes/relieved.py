"""Associations that store, served in one thread straight from the socket.

pynetdicom hands each PDU through two threads and three queues that are polled, reads 4 kB at a time, and decodes and
encodes every command with a data set of its own. For the messages that an archive gets by the thousand, this module
does the same in a loop: read, write to the file, answer. pynetdicom negotiates the association, and still serves every
other message (C-ECHO, N-ACTION): its answers are sent on.

It takes an association over where pynetdicom says that it has been accepted. That rests on how pynetdicom 3.0.4 works
inside (``TESTED``; tests/nodes/test_relieved.py is the contract); with any other version ``serves`` says no, and the
association stays with pynetdicom.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import count
from typing import Any

import pynetdicom
import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_AC, P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from dicom_nodes.errors import trail
from dicom_nodes.reception import Announced, Arrival, Reception, Sender
from dicom_nodes.services import STORAGE_CLASSES

log = structlog.get_logger(__name__)

TESTED = ("3.0.4",)
LARGEST_COMMAND_BYTES = 1 << 16
LARGEST_OTHER_BYTES = 1 << 24
"""A message that is no C-STORE is held in memory; a storage commitment of 100,000 objects needs 13 MB."""

P_DATA_TF_TYPE, RELEASE_RQ_TYPE, ABORT_TYPE = 0x04, 0x05, 0x07
RELEASE_RP = b"\x06\0\0\0\0\4\0\0\0\0"
ABORT_BY_US = b"\x07\0\0\0\0\4\0\0\2\0"  # source 2: the service provider (PS3.8 9.3.8)
C_STORE_RQ, C_STORE_RSP, NO_DATASET = 0x0001, 0x8001, 0x0101


class BrokenPeerError(Exception):
    """The peer does not speak DICOM as PS3.7 and PS3.8 say, or is too slow; the association is aborted."""


def serves(association: Association) -> bool:
    """Whether this module serves an accepted association: one that may store."""
    if pynetdicom.__version__ not in TESTED or not association.is_acceptor:
        return False
    return any(context.abstract_syntax in STORAGE_CLASSES for context in association.accepted_contexts)


def let_go(event: evt.Event) -> None:
    """Stop pynetdicom's reading once it has accepted an association of ours: a handler of ``EVT_PDU_SENT``.

    It is called in the thread that reads, before that looks at the socket again: no byte is lost to it.
    """
    if isinstance(event.pdu, A_ASSOCIATE_AC) and serves(event.assoc):
        event.assoc.dul.kill_dul()


def take_over(event: evt.Event, reception: Reception) -> None:
    """Serve an association to its end: a handler of ``EVT_ESTABLISHED``, called in the association's thread."""
    association = event.assoc
    if serves(association):
        association.dul.join()
        Conversation(association, reception).serve()


class Conversation:
    """One established association, from the first message to the release."""

    def __init__(self, association: Association, reception: Reception) -> None:
        wrapped = association.dul.socket
        assert wrapped is not None  # noqa: S101  (for mypy: it is None only before the connection)
        assert wrapped.socket is not None  # noqa: S101
        self._association = association
        self._sender = Sender(association.requestor.ae_title, str(association.requestor.address or ""))
        self._reception = reception
        self._socket: socket.socket = wrapped.socket
        self._timeout_s = reception.config.limits.network_timeout_s
        self._syntaxes = {c.context_id: str(c.transfer_syntax[0]) for c in association.accepted_contexts}
        self._socket.settimeout(self._timeout_s)
        self._reader = _Reader(self._socket, reception.config.limits.maximum_pdu_bytes, self._timeout_s)
        self._sending = threading.RLock()
        self._answers: queue.Queue[Any] = queue.Queue()
        self._numbers = count(1)
        self._stopped = False
        self._command = bytearray()
        self._other: list[tuple[int, bytes]] = []
        self._store: _Store | None = None

    def serve(self) -> None:
        """Read and answer until the peer releases, aborts, goes away or breaks the rules, or we are stopped."""
        association = self._association
        # pynetdicom's own would wait for the thread that has ended. It replaces its methods in the same way.
        vars(association).update(abort=self.stop, send_n_event_report=self.send_n_event_report)
        ending = evt.EVT_ABORTED
        try:
            if self._until_released():
                ending = evt.EVT_RELEASED
        except BrokenPeerError as broken:
            log.warning("association aborted", reason=str(broken), **vars(self._sender))
            self._send(ABORT_BY_US)
        except OSError as error:
            log.warning("connection lost", reason=str(error.strerror or error), **vars(self._sender))
        except Exception as error:  # a fault of ours ends this association, not the node
            log.error("association aborted", reason=type(error).__name__, trail=trail(error))  # noqa: TRY400
            self._send(ABORT_BY_US)
        finally:
            if self._store is not None:
                self._store.arrival.give_up()
            association.is_established = False
            self._answers.put(None)  # nobody needs to wait for one any more
            association.is_released = ending is evt.EVT_RELEASED
            association.is_aborted = not association.is_released
            evt.trigger(association, ending, {})

    def stop(self, *_: Any) -> None:
        """Abort the association from another thread; an object that has come in whole is still answered."""
        self._stopped = True
        with suppress(OSError):  # it may end by itself just now
            self._socket.shutdown(socket.SHUT_RD)

    def send_n_event_report(
        self, dataset: Dataset, event_type: int, class_uid: str, instance_uid: str, **_: Any
    ) -> tuple[Dataset, None]:
        """As pynetdicom's: send a report from another thread and wait for its answer; empty where none comes."""
        if not self._association.is_established:
            raise RuntimeError("the association has ended")
        context = next(c for c in self._association.accepted_contexts if c.abstract_syntax == class_uid)
        request = N_EVENT_REPORT()
        request.MessageID = number = next(self._numbers) % 65536
        request.AffectedSOPClassUID = class_uid
        request.AffectedSOPInstanceUID = instance_uid
        request.EventTypeID = event_type
        syntax = context.transfer_syntax[0]
        request.EventInformation = BytesIO(encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian) or b"")
        with self._sending:
            self._association.dimse.send_msg(request, int(context.context_id or 0))
            self._pass_on()
        return self._answer_to(number), None

    def _answer_to(self, number: int) -> Dataset:
        """The answer to a message of ours; empty where none comes in time, or the association ends."""
        answer, deadline = Dataset(), time.monotonic() + self._timeout_s
        with suppress(queue.Empty):
            while primitive := self._answers.get(timeout=max(deadline - time.monotonic(), 0.0)):
                if primitive.MessageIDBeingRespondedTo == number:  # else to one that was given up
                    answer.Status = primitive.Status
                    break
        return answer

    def _until_released(self) -> bool:
        """Whether the peer released the association; False where it aborted it, or we were stopped."""
        while True:
            kind, body = self._reader.pdu()
            if self._stopped and not body:
                self._send(ABORT_BY_US)
                return False
            if kind == P_DATA_TF_TYPE:
                for context_id, control, fragment in _fragments(body):
                    self._take(context_id, control, fragment)
            elif kind == RELEASE_RQ_TYPE:
                self._send(RELEASE_RP)
                return True
            elif kind == ABORT_TYPE:
                return False
            elif kind == _Reader.CLOSED:
                raise BrokenPeerError("the peer closed the connection without releasing the association")
            else:
                raise BrokenPeerError(f"PDU type {kind:02X} inside an association")

    def _take(self, context_id: int, control: int, fragment: memoryview) -> None:
        """One fragment of a message (PS3.8 annex E: bit 0 of the control header is command, bit 1 is last)."""
        if context_id not in self._syntaxes:
            raise BrokenPeerError("a presentation context that was not accepted")
        if control & 1:
            self._take_command(context_id, fragment, last=bool(control & 2))
        elif self._store is not None:
            if self._store.context_id != context_id:
                raise BrokenPeerError("the fragments of two messages are mixed")
            self._store.arrival.write(fragment)
            if control & 2:
                store, self._store = self._store, None
                self._send(store.answer(store.arrival.finish().code))
                store.arrival.tell()
                self._reception.make_ready()
        elif self._other:
            self._other.append((context_id, bytes([control]) + fragment))
            self._serve_other(last=bool(control & 2))
        else:
            raise BrokenPeerError("a data set without a command")

    def _take_command(self, context_id: int, fragment: memoryview, *, last: bool) -> None:
        if self._store is not None or self._other:
            raise BrokenPeerError("a command inside a data set")
        self._command += fragment
        if len(self._command) > LARGEST_COMMAND_BYTES:
            raise BrokenPeerError("a command that does not end")
        if not last:
            return
        encoded, self._command = bytes(self._command), bytearray()
        command = dict(_elements(encoded))
        if _number(command, 0x0100) == C_STORE_RQ and _number(command, 0x0800) != NO_DATASET:
            self._store = _Store(context_id, command, self._reception, self._syntaxes[context_id], self._sender)
            return
        self._other = [(context_id, b"\3" + encoded)]
        self._serve_other(last=_number(command, 0x0800) == NO_DATASET)

    def _serve_other(self, *, last: bool) -> None:
        """Let pynetdicom serve a message that is no C-STORE, once it is whole."""
        if sum(len(fragment) for _, fragment in self._other) > LARGEST_OTHER_BYTES:
            raise BrokenPeerError("a message larger than any that is served")
        if not last:
            return
        fragments, self._other = self._other, []
        whole, message = P_DATA(), DIMSEMessage()
        values: list[Any] = [
            [context_id, data] for context_id, data in fragments
        ]  # pairs as lists, whatever its hint says
        whole.presentation_data_value_list = values
        try:
            message.decode_msg(whole, self._association)
            primitive = message.message_to_primitive()
        except Exception as error:
            raise BrokenPeerError("a command that cannot be read") from error
        if isinstance(primitive, C_CANCEL):
            return
        if not primitive.is_valid_request:
            self._answers.put(primitive)
            return
        with self._sending:
            self._association._serve_request(primitive, fragments[0][0])
            self._pass_on()

    def _pass_on(self) -> None:
        """Send what pynetdicom has put into the queue of its own sender, which has ended."""
        waiting = self._association.dul.to_provider_queue
        while not waiting.empty():
            primitive = waiting.get()
            if isinstance(primitive, P_DATA):
                pdu = P_DATA_TF()
                pdu.from_primitive(primitive)
                self._send(pdu.encode())

    def _send(self, data: bytes) -> None:
        with self._sending:
            try:
                self._socket.sendall(data)
            except OSError:
                self._stopped = True  # nobody listens any more; the next read says so


class _Store:
    """A C-STORE request whose data set is coming in."""

    def __init__(
        self, context_id: int, command: dict[int, bytes], reception: Reception, syntax: str, sender: Sender
    ) -> None:
        self.context_id = context_id
        self._class, self._instance = command.get(0x0002, b""), command.get(0x1000, b"")
        self._message_id = struct.pack("<H", _number(command, 0x0110))
        self.arrival: Arrival = reception.begin(Announced(_text(self._class), _text(self._instance), syntax, sender))

    def answer(self, status: int) -> bytes:
        """The C-STORE response as one PDU (PS3.7 9.3.1.2)."""
        elements = (
            (0x0002, self._class),
            (0x0100, struct.pack("<H", C_STORE_RSP)),
            (0x0120, self._message_id),
            (0x0800, struct.pack("<H", NO_DATASET)),
            (0x0900, struct.pack("<H", status)),
            (0x1000, self._instance),
        )
        group = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)
        command = struct.pack("<HHII", 0, 0, 4, len(group)) + group
        value = struct.pack(">IBB", len(command) + 2, self.context_id, 3) + command
        return struct.pack(">BBI", P_DATA_TF_TYPE, 0, len(value)) + value


class _Reader:
    """PDUs from a socket, through one buffer of fixed size.

    Args:
        largest_bytes: length that was agreed for the peer's PDUs.
        timeout_s: for each PDU, from its first byte to its last, and for the wait for the first.
    """

    CLOSED = -1

    def __init__(self, connection: socket.socket, largest_bytes: int, timeout_s: float) -> None:
        self._socket = connection
        self._largest = largest_bytes
        self._timeout_s = timeout_s
        self._buffer = memoryview(bytearray(2 * (largest_bytes + 6)))
        self._start = self._end = 0

    def pdu(self) -> tuple[int, memoryview]:
        """Type and body of the next PDU; ``CLOSED`` where the peer has closed. The body is good until the next call."""
        if not self._fill(6):
            return self.CLOSED, self._buffer[:0]
        kind, length = struct.unpack_from(">BxI", self._buffer, self._start)
        if length > self._largest:
            raise BrokenPeerError("a PDU longer than was agreed")
        if not self._fill(6 + length):
            return self.CLOSED, self._buffer[:0]
        body = self._buffer[self._start + 6 : self._start + 6 + length]
        self._start += 6 + length
        return kind, body

    def _fill(self, wanted: int) -> bool:
        """Have so many bytes in one piece; False where the peer closed before."""
        if self._end - self._start < wanted and self._start + wanted > len(self._buffer):
            left = self._end - self._start
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        deadline = time.monotonic() + self._timeout_s
        while self._end - self._start < wanted:
            if hasattr(socket, "TCP_QUICKACK"):  # Linux: a sender that waits for our acknowledgement gets it at once
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            try:
                got = self._socket.recv_into(self._buffer[self._end :])
            except TimeoutError as error:
                raise BrokenPeerError(f"nothing came in {self._timeout_s:g} s") from error
            if got == 0:
                return False
            self._end += got
            if time.monotonic() > deadline:
                raise BrokenPeerError(f"a PDU was not whole after {self._timeout_s:g} s")
        return True


def _fragments(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Context, control header and content of each value in a P-DATA-TF PDU (PS3.8 9.3.5)."""
    at = 0
    while at < len(body):
        if at + 6 > len(body):
            raise BrokenPeerError("a presentation data value is cut off")
        length, context_id, control = struct.unpack_from(">IBB", body, at)
        if length < 2 or at + 4 + length > len(body):
            raise BrokenPeerError("a presentation data value does not fit its PDU")
        yield context_id, control, body[at + 6 : at + 4 + length]
        at += 4 + length


def _elements(command: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and values of the elements of group 0000 (PS3.7 6.3.1: Implicit VR Little Endian)."""
    at = 0
    while at + 8 <= len(command):
        group, number, length = struct.unpack_from("<HHI", command, at)
        if group != 0 or at + 8 + length > len(command):
            raise BrokenPeerError("a command that cannot be read")
        yield number, command[at + 8 : at + 8 + length]
        at += 8 + length
    if at != len(command):
        raise BrokenPeerError("a command that cannot be read")


def _number(command: dict[int, bytes], element: int) -> int:
    value = command.get(element, b"")
    if len(value) != 2:
        raise BrokenPeerError("a command that cannot be read")
    return int.from_bytes(value, "little")


def _text(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace").rstrip(" \0")
