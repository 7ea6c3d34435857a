"""Receiving: what is acknowledged is safe, what is not taken is answered with the status that says why."""

from __future__ import annotations

import errno
import random
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import pytest
import structlog
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from dicom_nodes import listener as listener_module
from dicom_nodes import statuses
from dicom_nodes.config import Limits, NodeConfig, Peer
from dicom_nodes.errors import ConfigurationError, PeerError
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener, open_listener
from dicom_nodes.query import echo
from dicom_nodes.sender import send
from dicom_nodes.services import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicom_nodes.statuses import Meaning
from dicom_nodes.storage import Outcome, Storage
from tests.network import answers, run_storescu, storescu, wait_until
from tests.nodes.objects import PATIENT_ID, PATIENT_NAME, dataset_bytes, make, uid, uid_of, write, write_set
from tests.peers import require_peer


@contextmanager
def associated(node: Peer, *files: Path, calling: str = "SCANNER") -> Iterator[Association]:
    """A bare association that offers what the files are."""
    metas = [read_file_meta_info(file) for file in files]
    pairs = {(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas}
    association = AE(calling).associate(
        node.host, node.port, [build_context(*pair) for pair in pairs], ae_title=node.ae_title
    )
    assert association.is_established
    yield association
    association.release()


def status_of(node: Peer, file: Path) -> int:
    """What the node answers to the data set of a file, sent as it lies there."""
    with associated(node, file) as association:
        return int(association.send_c_store(file).Status)


def with_dataset(file: Path, dataset: bytes) -> Path:
    """The same file with another data set behind its file meta information."""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - len(dataset_bytes(data))] + dataset)
    return file


def held(storage: Storage, index: Index) -> dict[str, bytes]:
    """Data sets on disk by SOP Instance UID, as the index names them; quarantine left out."""
    changes = [change for change in index.changes_since(0) if not change.quarantined]
    return {c.header.sop_instance_uid: dataset_bytes(storage.path(c.key)) for c in changes}


@pytest.mark.peer
def test_four_associations_of_dcmtk_in_shuffled_order(
    tmp_path: Path, listener: Listener, storage: Storage, index: Index
) -> None:
    files = write_set(tmp_path / "one", slices=14) + write_set(tmp_path / "two", patient_id="OTHER", study=2, slices=9)
    expected = {uid_of(file): dataset_bytes(file) for file in files}
    random.Random(7).shuffle(files)
    senders = [
        subprocess.Popen(storescu(files[part::4], listener.port, "PSDT"), stderr=subprocess.PIPE) for part in range(4)
    ]
    for sender in senders:
        _, complaint = sender.communicate(timeout=60)
        assert (sender.returncode, complaint) == (0, b"")
    assert held(storage, index) == expected
    changes = index.changes_since(0)
    assert [change.sequence for change in changes] == list(range(1, len(files) + 1))
    assert [change.received_at_s for change in changes] != [1000.0] * len(files)
    by_patient = {p: sum(c.header.patient_id == p for c in changes) for p in (PATIENT_ID, "OTHER")}
    assert by_patient == {PATIENT_ID: 29, "OTHER": 19}
    mr = next(change.header for change in changes if change.header.sop_instance_uid == uid(1, 3, 5))
    assert (mr.modality, mr.series_instance_uid, mr.frame_of_reference_uid) == ("MR", uid(1, 3), uid(1, 53))


@pytest.mark.peer
def test_a_resend_is_accepted_and_kept_once(tmp_path: Path, listener: Listener, storage: Storage, index: Index) -> None:
    files = write_set(tmp_path, slices=3)
    for _ in range(2):
        assert run_storescu(files, listener.port, "PSDT").returncode == 0
    assert index.count() == len(files)
    assert len(list(storage.every_key())) == len(files)


def test_a_resend_takes_the_place_of_an_object_that_changed_on_the_disk(
    tmp_path: Path, listener: Listener, node: Peer, storage: Storage, index: Index
) -> None:
    file = write(make("CT", 1), tmp_path)
    send([file], node, "SCANNER")
    before = index.changes_since(0)
    path = storage.path(before[0].key)
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    with structlog.testing.capture_logs() as logs:
        assert [sent.status for sent in send([file], node, "SCANNER")] == [0x0000]
    assert dataset_bytes(path) == dataset_bytes(file)
    assert index.changes_since(0) == before
    assert [line["key"] for line in logs if "was not what was received" in str(line["event"])] == [before[0].key]


@pytest.mark.peer
def test_other_bytes_under_a_known_uid_are_quarantined(
    tmp_path: Path, listener: Listener, storage: Storage, index: Index
) -> None:
    first = write(make("CT", 1), tmp_path / "first")
    changed = make("CT", 1)
    changed.SeriesDescription = "changed"
    second = write(changed, tmp_path / "second")
    assert run_storescu([first], listener.port, "PSDT").returncode == 0
    answer = run_storescu([second], listener.port, "PSDT")
    assert answer.returncode != 0
    assert "DataSetDoesNotMatchSOPClass" in answer.stderr
    assert held(storage, index) == {uid(1, 1, 1): dataset_bytes(first)}
    stored, quarantined = index.changes_since(0)
    assert (stored.quarantined, quarantined.quarantined) == (False, True)
    assert dataset_bytes(storage.path(quarantined.key)) == dataset_bytes(second)


@pytest.mark.peer
def test_who_may_send_and_how_the_node_is_called(tmp_path: Path, listener: Listener, index: Index) -> None:
    files = write_set(tmp_path, slices=1)
    stranger = run_storescu(files, listener.port, "PSDT", "STRANGER")
    assert "Calling AE Title Not Recognized" in stranger.stderr
    misdirected = run_storescu(files, listener.port, "SOMEBODY")
    assert "Called AE Title Not Recognized" in misdirected.stderr
    assert 0 not in {stranger.returncode, misdirected.returncode}
    assert index.count() == 0


@pytest.mark.peer
def test_any_sender_where_the_configuration_says_so(
    tmp_path: Path, config: NodeConfig, storage: Storage, index: Index
) -> None:
    with Listener(config.model_copy(update={"accept_any_sender": True}), storage, index, lambda: 0.0) as open_to_all:
        assert run_storescu(write_set(tmp_path, slices=1), open_to_all.port, "PSDT", "STRANGER").returncode == 0
    assert index.count() == 3


@pytest.mark.peer
def test_echo_of_dcmtk_and_our_own(listener: Listener, node: Peer) -> None:
    require_peer("echoscu")
    command = ["echoscu", "-aet", "SCANNER", "-aec", "PSDT", "127.0.0.1", str(listener.port)]
    assert subprocess.run(command, timeout=20, check=False).returncode == 0
    echo(node, "SCANNER")
    with pytest.raises(PeerError, match=r"Calling AE title not recognised.*PSDT at 127.0.0.1"):
        echo(node, "STRANGER")


GARBAGE = {"text": b"GET / HTTP/1.1\r\n\r\n", "zeros": b"\0" * 300, "ones": b"\xff" * 300, "two bytes": b"\x08\x00"}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_data_set_is_not_understood(
    tmp_path: Path, node: Peer, index: Index, storage: Storage, garbage: bytes
) -> None:
    assert status_of(node, with_dataset(write(make("CT", 1), tmp_path), garbage)) == 0xC000
    assert index.count() == 0
    assert list(storage.every_key()) == []
    echo(node, "SCANNER")


def test_a_data_set_of_another_object_is_a_mismatch(tmp_path: Path, node: Peer, index: Index) -> None:
    one, other = write(make("CT", 1), tmp_path), write(make("CT", 2), tmp_path)
    assert status_of(node, with_dataset(one, dataset_bytes(other))) == 0xA900
    mr = write(make("MR", 1), tmp_path)
    assert status_of(node, with_dataset(other, dataset_bytes(mr))) == 0xA900
    assert index.count() == 0


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "Modality"])
def test_an_object_without_what_every_object_carries_is_a_mismatch(
    tmp_path: Path, node: Peer, index: Index, keyword: str
) -> None:
    ds = make("CT", 1)
    file = write(ds, tmp_path)
    delattr(ds, keyword)
    ds.save_as(file, enforce_file_format=True)
    assert status_of(node, file) == 0xA900
    assert index.count() == 0


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, as the sender
def test_a_uid_with_path_characters_is_no_uid(tmp_path: Path, node: Peer, index: Index) -> None:
    file = write(make("CT", 1), tmp_path)
    data = file.read_bytes()
    bad = b"../../../../tmp/x".ljust(len(str(uid(1, 1, 1))), b"/")
    file.write_bytes(data.replace(str(uid(1, 1, 1)).encode(), bad))
    assert status_of(node, file) == 0x0117
    assert index.count() == 0


def test_a_disk_below_its_reserve_refuses_before_it_is_full(
    tmp_path: Path, config: NodeConfig, storage: Storage, index: Index
) -> None:
    hungry = config.model_copy(update={"limits": Limits(reserve_mb=10**9)})
    file = write(make("CT", 1), tmp_path)
    with Listener(hungry, storage, index, lambda: 0.0) as listener:
        assert status_of(Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT"), file) == 0xA700
    assert (index.count(), list(storage.every_key())) == (0, [])


@pytest.mark.parametrize(
    ("trouble", "code"), [(errno.ENOSPC, 0xA700), (errno.EDQUOT, 0xA700), (errno.EIO, 0x0110)], ids=errno.errorcode.get
)
def test_a_disk_that_fails_is_not_a_success(
    tmp_path: Path, node: Peer, monkeypatch: pytest.MonkeyPatch, trouble: int, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(trouble, "the disk fails")

    file = write(make("CT", 1), tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Storage, "place", fail)
        assert status_of(node, file) == code
    assert status_of(node, file) == 0, "the node recovers"


def test_an_index_that_fails_is_not_a_success(tmp_path: Path, node: Peer, config: NodeConfig, index: Index) -> None:
    """The object is on disk, but a reader of the feed would never hear of it; sent again, it is entered."""
    file = write(make("CT", 1), tmp_path)
    with closing(sqlite3.connect(config.index.removeprefix("sqlite:///"))) as database:
        database.execute("ALTER TABLE instances RENAME TO away")
    assert status_of(node, file) == 0x0110
    with closing(sqlite3.connect(config.index.removeprefix("sqlite:///"))) as database:
        database.execute("ALTER TABLE away RENAME TO instances")
    assert status_of(node, file) == 0
    assert index.count() == 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless], ids=lambda s: s.name)
def test_the_bytes_are_kept_in_the_transfer_syntax_they_came_in(
    tmp_path: Path, node: Peer, storage: Storage, index: Index, syntax: str
) -> None:
    """Compressed pixels are not looked at: bytes that no decoder would take come through as well."""
    ds = make("MR", 1)
    file = write(ds, tmp_path, ImplicitVRLittleEndian)
    if syntax != ImplicitVRLittleEndian:
        file = tmp_path / "compressed.dcm"
        ds.file_meta.TransferSyntaxUID = syntax
        ds["PixelData"].is_undefined_length = True
        ds.PixelData = (
            b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00\xff\x4f\xff\x51\xfe\xff\xdd\xe0\0\0\0\0"
        )
        ds.save_as(file, enforce_file_format=True)
    (sent,) = send([file], node, "SCANNER")
    assert sent.meaning is Meaning.SUCCESS
    assert held(storage, index) == {uid(1, 3, 1): dataset_bytes(file)}
    assert dcmread(storage.path(index.changes_since(0)[0].key)).file_meta.TransferSyntaxUID == syntax


def test_what_the_node_takes(node: Peer) -> None:
    for chunk in (STORAGE_CLASSES[:12], STORAGE_CLASSES[12:]):
        wanted = [build_context(uid, [syntax]) for uid in chunk for syntax in TRANSFER_SYNTAXES[:10]]
        association = AE("SCANNER").associate(node.host, node.port, wanted, ae_title="PSDT")
        assert len(association.accepted_contexts) == len(wanted)
        association.release()
    video, raw = "1.2.840.10008.5.1.4.1.1.77.1.4.1", "1.2.840.10008.5.1.4.1.1.66"
    refused = AE("SCANNER").associate(node.host, node.port, [build_context(video), build_context(raw)], ae_title="PSDT")
    assert not refused.is_established


def test_one_association_more_than_the_limit_is_refused_for_now(
    config: NodeConfig, storage: Storage, index: Index, tmp_path: Path
) -> None:
    file = write(make("CT", 1), tmp_path)
    with Listener(
        config.model_copy(update={"limits": Limits(associations=1)}), storage, index, lambda: 0.0
    ) as listener:
        node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT")
        with associated(node, file), pytest.raises(PeerError, match="Local limit exceeded"):
            echo(node, "SCANNER")


def test_what_a_killed_process_left_without_a_row_is_entered_at_the_start(
    tmp_path: Path, config: NodeConfig, storage: Storage, index: Index
) -> None:
    file = write(make("CT", 1), tmp_path)
    meta = file.read_bytes()[132 : -len(dataset_bytes(file))]
    assert storage.keep(uid(1, 1, 1), meta, dataset_bytes(file)).outcome is Outcome.NEW
    with Listener(config, storage, index, lambda: 0.0):
        assert [change.header.sop_instance_uid for change in index.changes_since(0)] == [uid(1, 1, 1)]


def test_a_port_that_is_taken_and_a_folder_that_is_in_use(
    tmp_path: Path, config: NodeConfig, listener: Listener, index: Index
) -> None:
    with pytest.raises(ConfigurationError, match="another listener"):
        open_listener(config, lambda: 0.0).__enter__()
    elsewhere = config.model_copy(update={"storage": tmp_path / "elsewhere", "port": listener.port})
    with pytest.raises(ConfigurationError, match=f"cannot listen.*{listener.port}"):
        open_listener(elsewhere, lambda: 0.0).__enter__()


def test_after_stop_nobody_answers_and_the_folder_is_free(config: NodeConfig) -> None:
    with open_listener(config, lambda: 0.0) as listener:
        port = listener.port
        assert answers(port)
    assert not answers(port)
    with open_listener(config, lambda: 0.0) as again:
        assert answers(again.port)


@pytest.mark.parametrize("starts", [True, False])
def test_a_thread_that_the_server_made_and_did_not_start_yet_is_waited_for(
    starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server lists an association before its thread runs, and a node may stop just then."""
    monkeypatch.setattr(listener_module, "START_PATIENCE_S", 5.0 if starts else 0.01)
    ended = threading.Event()
    thread = threading.Thread(target=ended.set)
    starter = threading.Timer(0.05, thread.start)
    if starts:
        starter.start()
    listener_module._join(cast("Association", thread), 5.0)
    assert ended.is_set() is starts


def test_stop_ends_an_association_that_does_not_end_by_itself(tmp_path: Path, config: NodeConfig) -> None:
    file = write(make("CT", 1), tmp_path)
    with open_listener(config, lambda: 0.0) as listener:
        node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT")
        association = AE("SCANNER").associate(
            node.host, node.port, [build_context(str(make("CT", 1).SOPClassUID))], ae_title="PSDT"
        )
        assert association.is_established
        assert status_of(node, file) == 0
    wait_until(lambda: association.is_aborted)
    threads = [thread for thread in threading.enumerate() if isinstance(thread, Association)]
    assert not [thread for thread in threads if thread.is_acceptor and thread.is_established]


def test_a_fault_of_ours_is_not_a_success_and_its_log_quotes_nothing(
    tmp_path: Path, node: Peer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def trip(_storage: Storage, *_: object) -> None:
        patient = PATIENT_NAME
        raise ZeroDivisionError(f"cannot divide {patient}")

    file = write(make("CT", 1), tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Storage, "place", trip)
        assert status_of(node, file) == 0x0110
    logged = "".join(capfd.readouterr())
    assert "ZeroDivisionError" in logged
    assert "test_listener.py" in logged
    assert "trip" in logged
    assert "Planted" not in logged
    assert status_of(node, file) == 0


def test_logs_carry_no_patient(tmp_path: Path, node: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    file = write(make("CT", 1), tmp_path)
    send([file], node, "SCANNER")
    send([with_dataset(file, dataset_bytes(file)[:-8])], node, "SCANNER")
    with associated(node, file) as association:
        association.send_c_store(with_dataset(file, dataset_bytes(file)[:150]))
    logged = "".join(capfd.readouterr())
    assert uid(1, 1, 1) in logged
    for planted in (PATIENT_ID, PATIENT_NAME, "Planted", "4711", "19500101", "20240229"):
        assert planted not in logged


def test_every_status_that_the_node_returns_is_one_that_these_tests_saw() -> None:
    seen = {0x0000, 0x0110, 0x0117, 0xA700, 0xA900, 0xA901, 0xC000}
    assert {row.code for row in statuses.TABLE if row.returned_when} == seen


def test_every_line_about_an_object_says_what_it_belongs_to(
    tmp_path: Path, config: NodeConfig, storage: Storage, index: Index
) -> None:
    """A series is told once; an object in quarantine belongs to what the first one under its UID belongs to."""
    files = write_set(tmp_path / "set", slices=2)
    other = make("CT", 1, patient_id="ANOTHER")
    with Listener(
        config, storage, index, lambda: 0.0, label=lambda header: {"case": f"of-{header.patient_id}"}
    ) as listener:
        node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=10)
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                send(files, node, "SCANNER")
            send([write(other, tmp_path / "other")], node, "SCANNER")
    series = [line for line in logs if line["event"] == "series comes in"]
    assert [(line["modality"], line["calling"], line["case"]) for line in series] == [
        (kind, "SCANNER", f"of-{PATIENT_ID}") for kind in ("CT", "MR", "SEG")
    ]
    answered = [line for line in logs if line["event"] == "object"]
    assert {line["case"] for line in answered} == {f"of-{PATIENT_ID}"}
    assert answered[-1]["status"] == "A901"
