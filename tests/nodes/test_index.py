"""The index: rows of what is held, and the feed of what came in which order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.headers import Header
from dicom_nodes.index import Index, open_database
from dicom_nodes.storage import Kept, Outcome, Storage
from tests.nodes.objects import dataset_bytes, make, write

HEADER = Header(
    "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2", "1.2.1", "CT", "ID", "ISSUER", "1.2.9", "1.2.840.10008.1.2"
)


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


def test_a_row_outlives_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/index.db"
    first = Index(url)
    first.add(HEADER, kept(1), 1000.0)
    assert Index(url).changes_since(0)[0].header == HEADER
    first.close()


def test_sqlite_syncs_at_every_commit(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/some/folder/index.db")
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2}
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
