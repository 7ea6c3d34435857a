"""Asking archives and having objects sent: dcmtk's and Orthanc, and one that ends short."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.events import Event

from dicom_nodes import query
from dicom_nodes.config import NodeConfig, Peer
from dicom_nodes.errors import PeerError
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.query import STUDY_ROOT_FIND, find
from dicom_nodes.read_back import find_each, get_each
from dicom_nodes.retrieve import STUDY_ROOT_GET, STUDY_ROOT_MOVE, Counts, get, move
from dicom_nodes.sender import send
from dicom_nodes.statuses import Meaning
from dicom_nodes.storage import Storage
from tests.dcmqr import dcmqrscp
from tests.nodes.objects import PATIENT_ID, dataset_bytes, make, uid, uid_of, write, write_set
from tests.orthanc import start_orthanc

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
"""pynetdicom 3.0.4, as the scripted archive, leaves the socket of a connection that was refused open."""
CT_SERIES = {"StudyInstanceUID": uid(1), "SeriesInstanceUID": uid(1, 1)}


@contextmanager
def archive(name: str, folder: Path, back: int) -> Iterator[Peer]:
    """dcmtk's archive or Orthanc, knowing our listener."""
    if name == "dcmqrscp":
        with dcmqrscp(folder, back) as port:
            yield Peer(host="127.0.0.1", port=port, ae_title="QRSCP", timeout_s=10)
    else:
        modalities = {"psdt": ["PSDT", "127.0.0.1", back]}
        with start_orthanc(folder, modalities=modalities) as orthanc:
            yield Peer(host="127.0.0.1", port=orthanc.dicom_port, ae_title=orthanc.aet, timeout_s=10)


@pytest.fixture
def trusting(config: NodeConfig, storage: Storage, index: Index) -> Iterator[Listener]:
    """A listener that takes objects from any archive."""
    with Listener(config.model_copy(update={"accept_any_sender": True}), storage, index, lambda: 1.0) as running:
        yield running


@pytest.mark.peer
@pytest.mark.parametrize("name", ["dcmqrscp", "orthanc"])
def test_a_series_is_found_moved_got_and_read_back(
    name: str, tmp_path: Path, trusting: Listener, index: Index, storage: Storage
) -> None:
    files = write_set(tmp_path / "in", slices=3)
    told: list[Counts] = []
    with archive(name, tmp_path / "peer", trusting.port) as peer:
        assert {sent.meaning for sent in send(files, peer, "PSDT")} == {Meaning.SUCCESS}
        studies = find(peer, "PSDT", "STUDY", {"PatientID": PATIENT_ID, "StudyInstanceUID": "", "StudyDate": ""})
        assert [(str(one.StudyInstanceUID), one.StudyDate) for one in studies] == [(uid(1), "20240229")]
        assert find(peer, "PSDT", "STUDY", {"PatientID": "NOBODY", "StudyInstanceUID": ""}) == []

        ended = move(peer, "PSDT", "SERIES", CT_SERIES, told.append)
        assert (ended.completed, ended.failed, ended.reason) == (3, 0, "")
        assert index.held_in(uid(1, 1)) == index.count() == 3
        assert told[-1] == ended

        mr = {"StudyInstanceUID": uid(1), "SeriesInstanceUID": uid(1, 3)}
        came: dict[str, bytes] = {}

        def take(_sop_class: str, name: str, _syntax: str, dataset: bytes) -> int:
            came[name] = dataset
            return 0xA700 if len(came) == 3 else 0

        ended = get(peer, "PSDT", "SERIES", mr, take=take, progress=told.append)
        assert (ended.completed, ended.failed, bool(ended.reason)) == (2, 1, True)
        assert came == {uid_of(path): dataset_bytes(path) for path in files if path.name.startswith("MR")}

        sent = {uid_of(path): dataset_bytes(path) for path in files}
        for change in index.changes_since(0):
            assert dataset_bytes(storage.path(change.key)) == sent[change.header.sop_instance_uid]

        absent = write(make("CT", 99), tmp_path)
        looked = list(find_each([files[0], absent], peer, "PSDT"))
        assert [(one.kept, one.absent, one.words) for one in looked] == [
            (True, False, "C-FIND"),
            (False, True, "C-FIND does not find it"),
        ]
        back = list(get_each([files[0], absent], peer, "PSDT"))
        assert [(one.kept, one.absent) for one in back] == [(True, False), (False, True)]
        assert back[0].words == "C-GET: same bytes"


@pytest.mark.peer
def test_other_content_under_our_uid_is_seen(tmp_path: Path) -> None:
    """The archive keeps what it had first and says Success all the same; only reading back shows it."""
    theirs = make("RTSTRUCT", 1)
    theirs.PatientID = "SOMEBODY-ELSE"
    with archive("orthanc", tmp_path / "peer", 1) as peer:
        send([write(theirs, tmp_path / "theirs")], peer, "PSDT")
        ours = write(make("RTSTRUCT", 1), tmp_path / "ours")
        assert send([ours], peer, "PSDT")[0].meaning is Meaning.SUCCESS
        (seen,) = get_each([ours], peer, "PSDT")
    assert (seen.kept, seen.absent) == (False, False)
    assert seen.words == "C-GET: it comes back with other PatientID"
    assert "SOMEBODY" not in seen.words


@contextmanager
def scripted(answers: list[tuple[int, Dataset | None]]) -> Iterator[Peer]:
    """An archive that answers C-FIND, C-MOVE and C-GET as told."""
    entity = AE("SCRIPT")
    for service in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET):
        entity.add_supported_context(service)

    def on_find(_event: Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from answers

    def on_move(_event: Event) -> Iterator[object]:
        yield "127.0.0.1", 1  # nobody listens there
        yield 3
        yield from answers

    def on_get(_event: Event) -> Iterator[object]:
        yield len(answers)
        yield from answers

    entity.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_C_FIND, on_find), (evt.EVT_C_MOVE, on_move), (evt.EVT_C_GET, on_get)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Peer(host="127.0.0.1", port=server.server_address[1], ae_title="SCRIPT", timeout_s=5)
    finally:
        entity.shutdown()


@pytest.mark.parametrize(
    ("numbers", "words", "kept"),
    [
        ((1, 2), "C-GET: same bytes", True),
        ((2, 1, 3), "C-GET: same bytes", True),
        ((2,), "C-GET does not give it back (nothing came)", False),
    ],
)
def test_an_archive_that_gives_back_a_whole_series_is_judged_by_the_object_asked_for(
    numbers: tuple[int, ...], words: str, kept: bool, tmp_path: Path
) -> None:
    sent = write(make("CT", 1), tmp_path)
    given: list[tuple[int, Dataset | None]] = [
        (0xFF00, dcmread(write(make("CT", number), tmp_path / "given"))) for number in numbers
    ]
    with scripted(given) as peer:
        (seen,) = get_each([sent], peer, "PSDT")
    assert (seen.kept, seen.absent, seen.words) == (kept, not kept, words)


def test_a_query_that_fails_in_the_middle_is_no_short_answer() -> None:
    first = query.identifier("STUDY", {"StudyInstanceUID": uid(1)})
    with (
        scripted([(0xFF00, first), (0xC001, None)]) as peer,
        pytest.raises(PeerError, match="C-FIND failed: status C001"),
    ):
        find(peer, "PSDT", "STUDY", {"PatientID": PATIENT_ID})


def test_a_move_to_somebody_who_is_away_ends_short() -> None:
    with scripted([]) as peer:
        ended = move(peer, "PSDT", "SERIES", CT_SERIES, lambda _counts: None)
    gc.collect()  # the archive's open socket is to be found here, where it is expected
    assert ended.completed == 0
    assert ended.reason.startswith("status ")


@pytest.mark.peer
def test_a_move_that_loses_some_is_told_with_its_counts(tmp_path: Path, config: NodeConfig, storage: Storage) -> None:
    """Our disk is full for it: every object is refused with A700, and the archive says so."""
    index = Index(f"sqlite:///{tmp_path}/other.db")
    full = config.model_copy(
        update={"accept_any_sender": True, "limits": config.limits.model_copy(update={"reserve_mb": 10**9})}
    )
    with (
        Listener(full, storage, index, lambda: 1.0) as listener,
        archive("dcmqrscp", tmp_path / "peer", listener.port) as peer,
    ):
        send(write_set(tmp_path / "in", slices=3), peer, "PSDT")
        ended = move(peer, "PSDT", "SERIES", CT_SERIES, lambda _counts: None)
    assert (ended.completed, ended.failed, index.count()) == (0, 3, 0)
    assert ended.reason
    index.close()


def test_a_peer_without_the_service(node: Peer) -> None:
    for ask in (
        lambda: move(node, "SCANNER", "SERIES", CT_SERIES, lambda _counts: None),
        lambda: find(node, "SCANNER", "STUDY", {"PatientID": PATIENT_ID}),
    ):
        with pytest.raises(PeerError, match=r"accepted none|aborted"):
            ask()
    with pytest.raises(PeerError, match="does not offer this service"):
        get(node, "SCANNER", "SERIES", CT_SERIES, take=lambda *_: 0, progress=lambda _counts: None)
