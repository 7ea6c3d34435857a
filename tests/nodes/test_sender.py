"""Sending: bytes leave as they lie on disk, and every answer is told apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

from dicom_nodes.config import Peer
from dicom_nodes.errors import PeerError
from dicom_nodes.query import echo
from dicom_nodes.sender import Sent, send
from dicom_nodes.services import STORAGE_CLASSES
from dicom_nodes.statuses import Meaning, Next
from tests.network import free_port, storescp
from tests.nodes.objects import CLASSES, dataset_bytes, make, uid_of, write
from tests.orthanc import start_orthanc

UNCLOSED = "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
"""pynetdicom 3.0.4 leaves the socket of a connection that was refused to the garbage collector."""


class ScriptedPeer:
    """A receiver that answers what it is told, by SOP Instance UID, and remembers what it got."""

    def __init__(self, entity: AE, answers: dict[str, int | str]) -> None:
        self.entity = entity
        self.answers = answers
        self.got: list[tuple[str, bytes]] = []
        self.associations = 0

    def accepted(self, _event: Event) -> None:
        self.associations += 1

    def store(self, event: Event) -> int:
        name = str(event.request.AffectedSOPInstanceUID)
        self.got.append((name, event.request.DataSet.getvalue()))
        answer = self.answers.get(name, 0)
        if answer == "abort":
            event.assoc.abort()
            return 0
        if answer == "silence":
            threading.Event().wait(1.5)
            return 0
        return int(answer)


@contextmanager
def scripted(
    answers: dict[str, int | str],
    classes: tuple[UID, ...] = STORAGE_CLASSES,
    syntaxes: tuple[str, ...] = (),
    timeout_s: float = 30,
) -> Iterator[tuple[ScriptedPeer, Peer]]:
    entity = AE("SCRIPT")
    script = ScriptedPeer(entity, answers)
    for sop_class in classes:
        entity.add_supported_context(sop_class, list(syntaxes) or None)
    handlers = [(evt.EVT_C_STORE, script.store), (evt.EVT_ACCEPTED, script.accepted)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield script, Peer(host="127.0.0.1", port=server.server_address[1], ae_title="SCRIPT", timeout_s=timeout_s)
    finally:
        entity.shutdown()


def outputs(folder: Path, syntax: str = ImplicitVRLittleEndian) -> list[Path]:
    """What a release sends: structure set, registration, proposal."""
    return [write(make(kind, 1), folder, UID(syntax)) for kind in ("RTSTRUCT", "REG", "DOC")]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=lambda s: s.name
)
def test_bytes_leave_as_they_lie_on_disk_over_one_association(tmp_path: Path, syntax: str) -> None:
    files = outputs(tmp_path, syntax)
    with scripted({}) as (script, peer):
        results = send(files, peer, "PSDT")
    assert script.got == [(uid_of(file), dataset_bytes(file)) for file in files]
    assert script.associations == 1
    assert [sent.meaning for sent in results] == [Meaning.SUCCESS] * 3
    assert [sent.path for sent in results] == files
    assert [sent.sop_instance_uid for sent in results] == [uid_of(file) for file in files]


@pytest.mark.parametrize(
    ("code", "meaning", "then"),
    [
        (0x0000, Meaning.SUCCESS, Next.DONE),
        (0xB000, Meaning.WARNING, Next.LOOK),
        (0xB006, Meaning.WARNING, Next.LOOK),
        (0xB007, Meaning.WARNING, Next.LOOK),
        (0xA700, Meaning.FAILURE, Next.RETRY),
        (0x0110, Meaning.FAILURE, Next.RETRY),
        (0xA900, Meaning.FAILURE, Next.GIVE_UP),
        (0xC123, Meaning.FAILURE, Next.GIVE_UP),
        (0x0122, Meaning.FAILURE, Next.GIVE_UP),
    ],
    ids=lambda value: f"{value:04X}" if isinstance(value, int) else "",
)
def test_every_answer_is_told_apart(tmp_path: Path, code: int, meaning: Meaning, then: Next) -> None:
    first, second, third = outputs(tmp_path)
    with scripted({uid_of(second): code}) as (_, peer):
        results = send([first, second, third], peer, "PSDT")
    assert [sent.status for sent in results] == [0, code, 0]
    assert (results[1].meaning, results[1].next) == (meaning, then)
    assert f"({code:04X})" in results[1].reason


@pytest.mark.parametrize("trouble", ["abort", "silence"])
def test_an_association_that_ends_in_the_middle(tmp_path: Path, trouble: str) -> None:
    first, second, third = outputs(tmp_path)
    with scripted({uid_of(second): trouble}, timeout_s=1) as (script, peer):
        results = send([first, second, third], peer, "PSDT")
    assert results[0] == Sent(first, uid_of(first), 0, Meaning.SUCCESS, Next.DONE, "Success (0000)")
    assert [(sent.status, sent.meaning, sent.next) for sent in results[1:]] == [(None, Meaning.FAILURE, Next.RETRY)] * 2
    assert [name for name, _ in script.got] == [uid_of(first), uid_of(second)]


def test_what_the_peer_does_not_take_is_not_sent_otherwise(tmp_path: Path) -> None:
    structure_set, registration, _ = outputs(tmp_path)
    with scripted({}, classes=(CLASSES["REG"],)) as (script, peer):
        refused, taken = send([structure_set, registration], peer, "PSDT")
    assert (refused.meaning, refused.next) == (Meaning.FAILURE, Next.GIVE_UP)
    assert CLASSES["RTSTRUCT"] in refused.reason
    assert taken.meaning is Meaning.SUCCESS
    explicit = outputs(tmp_path / "explicit", ExplicitVRLittleEndian)
    with scripted({}, syntaxes=(ImplicitVRLittleEndian,)) as (script, peer):
        results = send(explicit, peer, "PSDT")
    assert script.got == []
    assert {sent.meaning for sent in results} == {Meaning.FAILURE}


def test_no_association_is_a_failure_of_every_file_to_be_tried_again(tmp_path: Path) -> None:
    files = outputs(tmp_path)
    with scripted({}) as (script, peer):
        script.entity.require_calling_aet = ["SOMEBODY"]
        results = send(files, peer, "PSDT")
    assert [(sent.path, sent.status, sent.next) for sent in results] == [(file, None, Next.RETRY) for file in files]
    assert {sent.reason for sent in results} == {"the peer rejected the association: Calling AE title not recognised"}


@pytest.mark.filterwarnings(UNCLOSED)
def test_a_peer_that_is_away(tmp_path: Path) -> None:
    files = outputs(tmp_path)
    away = Peer(host="127.0.0.1", port=free_port(), ae_title="AWAY", timeout_s=2)
    results = send(files, away, "PSDT")
    assert [(sent.path, sent.status, sent.next) for sent in results] == [(file, None, Next.RETRY) for file in files]
    assert {sent.reason for sent in results} == {"the peer cannot be reached, or aborted the association"}
    with pytest.raises(PeerError, match=r"cannot be reached.*AWAY at 127.0.0.1"):
        echo(away, "PSDT")


def test_a_file_that_cannot_be_read_does_not_keep_the_others(tmp_path: Path) -> None:
    good = outputs(tmp_path)[0]
    garbage, absent = tmp_path / "garbage.dcm", tmp_path / "absent.dcm"
    garbage.write_bytes(b"not DICOM")
    with scripted({}) as (script, peer):
        results = send([garbage, good, absent], peer, "PSDT")
    assert [sent.path for sent in results] == [garbage, good, absent]
    assert [sent.meaning for sent in results] == [Meaning.FAILURE, Meaning.SUCCESS, Meaning.FAILURE]
    assert [sent.next for sent in results] == [Next.GIVE_UP, Next.DONE, Next.GIVE_UP]
    assert len(script.got) == 1


def test_nothing_to_send_is_no_association(tmp_path: Path) -> None:
    with scripted({}) as (script, peer):
        assert send([], peer, "PSDT") == ()
        only = tmp_path / "garbage.dcm"
        only.write_bytes(b"")
        assert [sent.next for sent in send([only], peer, "PSDT")] == [Next.GIVE_UP]
    assert script.associations == 0


def test_more_kinds_than_an_association_has_contexts(tmp_path: Path) -> None:
    """130 SOP classes need two associations; every object arrives."""
    files, classes = [], []
    for number, context in enumerate(AllStoragePresentationContexts[:130]):
        ds = make("DOC", number + 1)
        ds.SOPClassUID = context.abstract_syntax
        classes.append(UID(ds.SOPClassUID))
        files.append(write(ds, tmp_path))
    with scripted({}, classes=tuple(classes)) as (script, peer):
        assert {sent.meaning for sent in send(files, peer, "PSDT")} == {Meaning.SUCCESS}
    assert script.associations == 2
    assert sorted(name for name, _ in script.got) == sorted(uid_of(file) for file in files)


@pytest.mark.peer
def test_dcmtk_gets_the_bytes(tmp_path: Path) -> None:
    files = outputs(tmp_path)
    with storescp(tmp_path / "received") as port:
        peer = Peer(host="127.0.0.1", port=port, ae_title="STORESCP", timeout_s=10)
        echo(peer, "PSDT")
        assert {sent.meaning for sent in send(files, peer, "PSDT")} == {Meaning.SUCCESS}
    received = {uid_of(path): dataset_bytes(path) for path in (tmp_path / "received").iterdir()}
    assert received == {uid_of(file): dataset_bytes(file) for file in files}


@pytest.mark.peer
def test_orthanc_gets_the_bytes_and_gives_them_back(tmp_path: Path) -> None:
    """The data set comes back byte for byte; Orthanc writes file meta information of its own."""
    files = outputs(tmp_path)
    with start_orthanc(tmp_path / "peer") as orthanc:
        peer = Peer(host="127.0.0.1", port=orthanc.dicom_port, ae_title=orthanc.aet, timeout_s=10)
        echo(peer, "PSDT")
        for _ in range(2):  # a second time, as after a crash, makes no second object
            assert {sent.meaning for sent in send(files, peer, "PSDT")} == {Meaning.SUCCESS}
        assert set(orthanc.instance_uids()) == {uid_of(file) for file in files}
        pulled = {uid_of(file): orthanc.file(uid_of(file)) for file in files}
    for file in files:
        back = pulled[uid_of(file)]
        assert dataset_bytes(back) == dataset_bytes(file)
        (tmp_path / "back.dcm").write_bytes(back)
        ours, theirs = dcmread(file).file_meta, dcmread(tmp_path / "back.dcm").file_meta
        same = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
        assert [ours[keyword].value for keyword in same] == [theirs[keyword].value for keyword in same]


@pytest.mark.peer
def test_orthanc_that_does_not_know_its_name(tmp_path: Path) -> None:
    with start_orthanc(tmp_path / "peer") as orthanc:
        peer = Peer(host="127.0.0.1", port=orthanc.dicom_port, ae_title="SOMEBODY", timeout_s=10)
        results = send(outputs(tmp_path), peer, "PSDT")
    assert {(sent.status, sent.next) for sent in results} == {(None, Next.RETRY)}
    assert "Called AE title not recognised" in results[0].reason
