"""The loop of our own beside pynetdicom's: the same answers to the same messages, and the contract that it rests on."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pynetdicom
import pytest
import structlog
from pydicom import Dataset
from pynetdicom.association import Association

from dicom_nodes import relieved
from dicom_nodes.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_nodes.config import NodeConfig
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.storage import Storage
from tests.network import wait_until
from tests.nodes import raw
from tests.nodes.objects import begun, dataset_bytes, make, uid, write
from tests.nodes.raw import RawPeer, p_data, pdu


@pytest.fixture(params=[True, False], ids=["relieved", "pynetdicom"])
def either(request: pytest.FixtureRequest, config: NodeConfig, storage: Storage, index: Index) -> Iterator[Listener]:
    """A listener with the loop of our own, and one without."""
    with Listener(config, storage, index, lambda: 0.0, relieve=request.param) as listener:
        yield listener


def ct(folder: Path, number: int) -> bytes:
    return dataset_bytes(write(make("CT", number), folder))


def threads() -> list[threading.Thread]:
    """pynetdicom's threads for associations."""
    every = threading.enumerate()
    return [t for t in every if isinstance(t, Association) or type(t).__name__ == "DULServiceProvider"]


def test_the_pinned_version_is_one_that_was_tested() -> None:
    assert pynetdicom.__version__ in relieved.TESTED


def test_an_association_that_stores_is_taken_over_and_its_reading_thread_ends(
    tmp_path: Path, listener: Listener
) -> None:
    """The contract: the thread of pynetdicom ends before it reads a byte that comes after its acceptance."""
    for number in range(1, 11):
        with RawPeer(listener.port) as peer:
            peer.associate()
            assert peer.store(uid(1, 1, number), ct(tmp_path, number)) == 0
            assert [type(thread).__name__ for thread in threads()] == ["Association"]
            peer.release()
        wait_until(lambda: threads() == [])


def test_any_other_version_stays_with_pynetdicom(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    monkeypatch.setattr(relieved, "TESTED", ("9.9.9",))
    with RawPeer(listener.port) as peer:
        peer.associate()
        assert len(threads()) == 2
        assert peer.store(uid(1, 1, 1), ct(tmp_path, 1)) == 0
        peer.release()
    assert index.count() == 1


def test_what_does_not_store_stays_with_pynetdicom(listener: Listener) -> None:
    with RawPeer(listener.port) as peer:
        peer.associate((raw.VERIFICATION, raw.IMPLICIT))
        assert len(threads()) == 2
        peer.send(p_data(raw.echo_rq(), 1))
        assert peer.status() == 0
        peer.release()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, inside pynetdicom
def test_the_same_answers(tmp_path: Path, either: Listener, storage: Storage, index: Index) -> None:
    one, two = ct(tmp_path, 1), ct(tmp_path, 2)
    with RawPeer(either.port) as peer:
        peer.associate()
        assert peer.store(uid(1, 1, 1), one) == 0x0000
        assert peer.store(uid(1, 1, 1), one) == 0x0000
        assert peer.store(uid(1, 1, 1), one[:-2] + b"zz") == 0xA901
        assert peer.store(uid(1, 1, 9), two) == 0xA900
        assert peer.store(uid(1, 1, 2), b"no data set") == 0xC000
        assert peer.store("../../etc", two) == 0x0117
        peer.send(p_data(raw.echo_rq(), 1, context=3))
        assert peer.status() == 0
        assert peer.store(uid(1, 1, 2), two) == 0x0000
        peer.release()
    held = [change for change in index.changes_since(0) if not change.quarantined]
    assert [dataset_bytes(storage.path(change.key)) for change in held] == [one, two]
    assert index.count() == 3


@pytest.mark.parametrize("size", [1, 7, 100], ids=lambda n: f"{n} bytes a fragment")
def test_fragments_of_any_size(tmp_path: Path, either: Listener, storage: Storage, index: Index, size: int) -> None:
    dataset = ct(tmp_path, 1)
    with RawPeer(either.port) as peer:
        peer.associate()
        peer.send(p_data(raw.store_rq(uid(1, 1, 1)), 1, size=size), p_data(dataset, 0, size=size))
        assert peer.status() == 0
        peer.release()
    assert dataset_bytes(storage.path(index.changes_since(0)[0].key)) == dataset


def test_command_and_data_set_in_one_pdu(tmp_path: Path, either: Listener, index: Index) -> None:
    values = raw.values(raw.store_rq(uid(1, 1, 1)), 1) + raw.values(ct(tmp_path, 1), 0, size=300)
    with RawPeer(either.port) as peer:
        peer.associate()
        peer.send(pdu(4, b"".join(values)))
        assert peer.status() == 0
        peer.release()
    assert index.count() == 1


STORE = raw.store_rq("1.2.3")
BROKEN = {
    "a context that was not accepted": p_data(STORE, 1, context=99),
    "a data set without a command": p_data(b"data", 0),
    "a value longer than its PDU": pdu(4, b"\xff\xff\xff\xff\1\3" + STORE),
    "a value cut off": pdu(4, b"\0\0\0"),
    "a command that is none": p_data(b"\xff" * 40, 1),
    "a command without a message id": p_data(raw.command({0x0100: raw.us(1), 0x0800: raw.us(1)}), 1),
    "a message that does not exist": p_data(raw.command({0x0100: raw.us(0x7777), 0x0800: raw.us(0x101)}), 1),
    "a second request for an association": raw.associate_rq("PSDT", "SCANNER", [(raw.CT, raw.EXPLICIT)]),
    "a PDU of no known type": pdu(0x99, b"what"),
    "text": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_who_breaks_the_rules_is_cut_off_and_nobody_else(
    tmp_path: Path, listener: Listener, storage: Storage, broken: bytes
) -> None:
    with RawPeer(listener.port) as other, RawPeer(listener.port) as peer:
        other.associate()
        peer.associate()
        peer.send(broken)
        assert peer.read()[0] in {7, 0}
        assert other.store(uid(1, 1, 1), ct(tmp_path, 1)) == 0
        other.release()
    wait_until(lambda: threads() == [])
    assert begun(storage.root) == []


def test_a_pdu_longer_than_agreed_is_not_waited_for(listener: Listener) -> None:
    with RawPeer(listener.port) as peer, structlog.testing.capture_logs() as logs:
        peer.associate()
        peer.send(pdu(4, b"", length=0xFFFFFFF0))
        assert peer.read()[0] == 7
    assert [line["reason"] for line in logs] == ["a PDU longer than was agreed"]


def test_a_large_object_is_never_in_memory(tmp_path: Path, listener: Listener, index: Index) -> None:
    """100 MB in 6,000 PDUs: what Python holds of it stays below 4 MB."""
    start, rest = ct(tmp_path, 1), bytes(1 << 14)
    start = (
        start[: start.rindex(b"\xe0\x7f\x10\x00OW")] + b"\xe0\x7f\x10\x00OW\0\0" + (6000 << 14).to_bytes(4, "little")
    )
    value = raw.values(rest, 0)[0]
    more, last = pdu(4, value[:5] + b"\0" + value[6:]), pdu(4, value)
    with RawPeer(listener.port, timeout_s=60) as peer:
        peer.associate()
        peer.send(p_data(raw.store_rq(uid(1, 1, 1)), 1))
        peer.send(pdu(4, raw.values(start, 0)[0][:5] + b"\0" + start))
        tracemalloc.start()
        for _ in range(5999):
            peer.send(more)
        peer.send(last)
        assert peer.status() == 0
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        peer.release()
    assert index.changes_since(0)[0].size_bytes == len(start) + (6000 << 14)
    assert peak < 4e6


def test_a_report_takes_no_late_answer_to_another(listener: Listener, tmp_path: Path) -> None:
    """The first report is answered after the node has given it up; the second hears its own answer, and the end."""
    contexts = ((raw.CT, raw.EXPLICIT), (PUSH_MODEL, raw.IMPLICIT))
    with RawPeer(listener.port) as peer:
        peer.associate(*contexts)
        wait_until(lambda: [type(thread) for thread in threads()] == [Association])
        (association,) = threads()
        wait_until(lambda: "send_n_event_report" in vars(association))  # it has been taken over
        conversation = vars(association)["send_n_event_report"].__self__
        conversation._timeout_s = 0.3
        assert conversation.send_n_event_report(Dataset(), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)[0] == Dataset()
        conversation._timeout_s = 20.0
        heard: Queue[Dataset] = Queue()

        def report() -> None:
            heard.put(conversation.send_n_event_report(Dataset(), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)[0])

        for answers in ([(1, 0x0110), (2, 0x0000)], []):
            thread = threading.Thread(target=report)
            thread.start()
            for _ in range(2 if answers else 1):  # the report that was given up, and this one
                assert peer.read()[0] == 4
            for number, status in answers:
                peer.send(p_data(raw.event_report_rsp(number, status), 1, context=3))
            if not answers:
                peer.release()
            said = heard.get(timeout=10)
            thread.join(5)
            assert said.get("Status") == (0x0000 if answers else None)
