"""The index: rows of what is held, and the feed of what came in which order."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian
from sqlalchemy import create_engine, insert, text

from dicom_nodes.database import open_database
from dicom_nodes.errors import ConfigurationError
from dicom_nodes.headers import Header, read_header
from dicom_nodes.index import Base, Index, Instance
from dicom_nodes.storage import Kept, Outcome, Storage
from tests.network import free_port
from tests.nodes.databases import DATABASES
from tests.nodes.objects import dataset_bytes, make, uid, write

HEADER = Header(
    "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2", "1.2.1", "CT", "ID", "ISSUER", "1.2.9", "1.2.840.10008.1.2"
)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return str(DATABASES[request.param](request, tmp_path))


@pytest.fixture
def index(url: str) -> Iterator[Index]:
    index = Index(url)
    yield index
    index.close()


def kept(number: int, outcome: Outcome = Outcome.NEW) -> Kept:
    folder = "quarantine" if outcome is Outcome.OTHER else "objects"
    return Kept(outcome, f"{folder}/{number}", f"{number:064x}", 10 + number)


def test_a_row_holds_what_was_entered(index: Index) -> None:
    assert index.add(HEADER, kept(1), 1000.5)
    (change,) = index.changes_since(0)
    assert change.sequence == 1
    assert change.header == HEADER
    assert (change.key, change.sha256, change.size_bytes) == ("objects/1", f"{1:064x}", 11)
    assert change.received_at_s == 1000.5
    assert not change.quarantined


def test_the_feed_gives_each_change_once_and_in_order(index: Index) -> None:
    for number in range(1, 8):
        index.add(replace(HEADER, sop_instance_uid=f"1.2.{number}"), kept(number), 1000.0)
    assert [change.sequence for change in index.changes_since(0)] == [1, 2, 3, 4, 5, 6, 7]
    assert [change.sequence for change in index.changes_since(0, limit=3)] == [1, 2, 3]
    assert [change.key for change in index.changes_since(3, limit=3)] == ["objects/4", "objects/5", "objects/6"]
    assert index.changes_since(7) == []


def test_an_object_is_entered_once(index: Index) -> None:
    assert index.add(HEADER, kept(1), 1000.0)
    assert not index.add(HEADER, kept(1, Outcome.SAME), 2000.0)
    assert [change.received_at_s for change in index.changes_since(0)] == [1000.0]
    index.add(replace(HEADER, sop_instance_uid="1.2.4"), kept(2), 1000.0)
    assert index.changes_since(1)[0].sequence > 1


def test_what_is_in_quarantine_is_in_the_feed_but_is_not_the_object(index: Index) -> None:
    index.add(HEADER, kept(1), 1000.0)
    index.add(HEADER, kept(2, Outcome.OTHER), 1001.0)
    assert [change.quarantined for change in index.changes_since(0)] == [False, True]
    found = index.find("1.2.3")
    assert found is not None
    assert found.key == "objects/1"
    assert index.find("1.2.4") is None
    assert index.count() == 2


def test_threads_enter_at_once_and_the_feed_has_no_gap_in_time(index: Index) -> None:
    """A reader that pulls while others write must never see a sequence appear behind where it stands."""

    def enter(number: int) -> None:
        index.add(replace(HEADER, sop_instance_uid=f"1.2.{number}"), kept(number), 1000.0)

    heard: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(enter, number) for number in range(1, 161)]
        while not all(future.done() for future in done):
            heard += [change.sequence for change in index.changes_since(heard[-1] if heard else 0)]
    heard += [change.sequence for change in index.changes_since(heard[-1] if heard else 0)]
    assert heard == sorted(heard)
    assert len(heard) == len(set(heard)) == 160


def enter_many(url: str, first: int, last: int) -> None:
    """What another process does: enter objects one by one."""
    index = Index(url)
    for number in range(first, last):
        index.add(replace(HEADER, sop_instance_uid=f"1.2.{number}"), kept(number), 1000.0)
    index.close()


def test_processes_enter_at_once_and_the_feed_has_no_gap_in_time(url: str, index: Index) -> None:
    """PostgreSQL hands out numbers before it commits: without a lock, a smaller one may show up behind the reader."""
    heard: list[int] = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        done = [pool.submit(enter_many, url, first, first + 40) for first in (1, 101)]
        while not all(future.done() for future in done):
            heard += [change.sequence for change in index.changes_since(heard[-1] if heard else 0)]
        assert [future.result() for future in done] == [None] * 2
    heard += [change.sequence for change in index.changes_since(heard[-1] if heard else 0)]
    assert heard == list(range(1, 81))


def test_rows_of_threads_that_wait_are_entered_together(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    enter = Index._enter

    def slow(self: Index, batch: Sequence[Any]) -> None:
        batches.append(len(batch))
        time.sleep(0.05)
        enter(self, batch)

    monkeypatch.setattr(Index, "_enter", slow)
    with ThreadPoolExecutor(8) as pool:
        entered = list(pool.map(lambda n: index.add(HEADER, kept(n), 1000.0), [*range(8), 3]))
    assert (sum(entered), index.count()) == (8, 8)
    assert (sum(batches), max(batches) > 1) == (9, True)


def test_a_row_that_cannot_be_entered_takes_no_other_along(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(number: int) -> bool:
        modality = "CT" if number % 5 else None
        return index.add(replace(HEADER, modality=modality), kept(number), 1000.0)  # type: ignore[arg-type]

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(enter, number) for number in range(20)]
    assert [number for number, future in enumerate(done) if future.exception() is not None] == [0, 5, 10, 15]
    assert index.count() == 16


def test_a_row_outlives_the_process(url: str) -> None:
    first = Index(url)
    first.add(HEADER, kept(1), 1000.0)
    again = Index(url)
    assert again.changes_since(0)[0].header == HEADER
    for index in (first, again):
        index.close()


def test_what_no_database_takes_as_text_is_entered_all_the_same(index: Index) -> None:
    ds = make("CT", 1)
    ds.PatientID = "A\0B"
    encoded = DicomBytesIO()
    encoded.is_implicit_VR = encoded.is_little_endian = True
    write_dataset(encoded, ds)
    header = read_header(BytesIO(encoded.getvalue()), ImplicitVRLittleEndian)
    assert index.add(header, kept(1), 1000.0)
    assert index.changes_since(0)[0].header.patient_id == "A\\x00B"


def test_reindex_begins_anew_and_readers_hear_of_all_again(tmp_path: Path, index: Index, storage: Storage) -> None:
    for number in (1, 2):
        path = write(make("CT", number), tmp_path / "files")
        storage.keep(f"uid {number}", path.read_bytes()[132 : -len(dataset_bytes(path))], dataset_bytes(path))
    index.add(HEADER, kept(7), 1000.0)  # of a file that is not there
    index.rebuild(storage)
    before = index.changes_since(0)
    assert len(before) == 3
    assert index.reindex(storage) == 2
    after = index.changes_since(before[-1].sequence)
    assert {change.header.sop_instance_uid for change in after} == {uid(1, 1, 1), uid(1, 1, 2)}
    assert index.count() == 2


def test_an_index_without_revisions_is_taken_over(tmp_path: Path) -> None:
    """Before there were revisions, the table was made straight from the model."""
    url = f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        values = {**vars(HEADER), "key": "objects/1", "quarantined": False, "sha256": "", "size_bytes": 1}
        connection.execute(insert(Instance).values(**values, received_at_s=1.0))
    engine.dispose()
    index = Index(url)
    assert [change.header for change in index.changes_since(0)] == [HEADER]
    index.close()


def test_the_revisions_make_what_the_model_says(url: str, index: Index) -> None:
    engine = open_database(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "index_version"})
        assert context.get_current_revision() == "0001"
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_an_index_of_a_newer_psdt_is_left_alone(url: str, index: Index) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE index_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigurationError, match=r"index was written by a newer psdt \(revision 9999\)"):
        Index(url)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_database_server_that_refuses_us(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = str(DATABASES["postgresql"](request, tmp_path))
    with pytest.raises(ConfigurationError, match=r"index cannot be opened: .*nobody.*\[postgresql"):
        Index(url.replace("psdt@", "nobody:secret@"))
    with pytest.raises(ConfigurationError, match="index cannot be opened") as away:
        Index(f"postgresql://psdt:secret@127.0.0.1:{free_port()}/none")
    assert "secret" not in str(away.value)
    gc.collect()  # pg8000 leaves the socket of a refused connection to it, with a warning


@pytest.mark.parametrize(("synced", "level"), [(True, 2), (False, 1)], ids=["FULL", "NORMAL"])
def test_sqlite_syncs_at_every_commit_where_it_shall(tmp_path: Path, synced: bool, level: int) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/some/folder/index.db", synced=synced)
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    assert settings == {"journal_mode": "wal", "synchronous": level}
    engine.dispose()


def test_an_index_is_made_again_from_the_storage(tmp_path: Path, storage: Storage) -> None:
    index = Index(f"sqlite:///{tmp_path}/one.db")
    for number in (1, 2, 3):
        path = write(make("CT", number), tmp_path / "files")
        meta = path.read_bytes()[132 : -len(dataset_bytes(path))]
        for content in (dataset_bytes(path), dataset_bytes(path) + b"\0" * 8)[: number % 2 + 1]:
            kept = storage.keep(f"uid {number}", meta, content)
            header = Header(**{**vars(HEADER), "sop_instance_uid": make("CT", number).SOPInstanceUID})
            index.add(header, kept, storage.path(kept.key).stat().st_mtime)
    again = Index(f"sqlite:///{tmp_path}/two.db")
    assert again.rebuild(storage) == 5
    assert again.rebuild(storage) == 0

    def facts(index: Index) -> list[tuple[str, str, int, bool, str, float]]:
        changes = sorted(index.changes_since(0), key=lambda change: change.key)
        return [
            (c.key, c.sha256, c.size_bytes, c.quarantined, c.header.sop_instance_uid, c.received_at_s) for c in changes
        ]

    assert facts(again) == facts(index)


def test_a_file_that_cannot_be_read_is_not_entered_and_harms_no_other(
    tmp_path: Path, storage: Storage, index: Index
) -> None:
    storage.keep("1.2.3", b"\x02\x00\x00\x00UL\x04\x00\x00\x00\x00\x00", b"garbage")
    path = write(make("MR", 1), tmp_path)
    storage.keep("1.2.4", path.read_bytes()[132 : -len(dataset_bytes(path))], dataset_bytes(path))
    assert index.rebuild(storage) == 1
    assert index.changes_since(0)[0].header.modality == "MR"


@pytest.mark.parametrize("url", ["no url", "nosuchdb:///file", "sqlite:////proc/no/such/index.db"])
def test_a_database_that_cannot_be_opened_is_the_clinics_to_correct(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Index(url)
