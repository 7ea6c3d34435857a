"""Objects on disk: whole or not at all, the first one stays, and no name from the network becomes a path."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pydicom.filereader import read_file_meta_info

from dicom_nodes.errors import ConfigurationError, FaultError
from dicom_nodes.storage import DIGEST_UID, KEY, MOST_READY, PREAMBLE, Kept, Outcome, Storage, file_start

META = b"\x02\x00\x00\x00UL\x04\x00\x06\x00\x00\x00META::"
UID = "1.2.3.4"


def test_a_file_is_preamble_meta_and_the_bytes_as_received(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    kept = storage.keep(UID, META, b"data set")
    name = hashlib.sha256(UID.encode()).hexdigest()
    assert kept == Kept(Outcome.NEW, f"objects/{name[:2]}/{name}.dcm", hashlib.sha256(b"data set").hexdigest(), 8)
    assert storage.path(kept.key).read_bytes() == PREAMBLE + META + b"data set"
    assert list((tmp_path / "incoming").iterdir()) == []


def test_the_same_bytes_again_change_nothing(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    first = storage.keep(UID, META, b"data set")
    before = storage.path(first.key).stat()
    again = storage.keep(UID, META.replace(b"META::", b"OTHER:"), b"data set")
    assert again == Kept(Outcome.SAME, first.key, first.sha256, 8)
    after = storage.path(first.key).stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert list(storage.every_key()) == [first.key]


def test_other_bytes_go_to_quarantine_and_the_first_stay(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    first = storage.keep(UID, META, b"data set")
    other = storage.keep(UID, META, b"changed!")
    assert other.outcome is Outcome.OTHER
    assert other.key.startswith("quarantine/")
    assert storage.path(first.key).read_bytes().endswith(b"data set")
    assert storage.path(other.key).read_bytes() == PREAMBLE + META + b"changed!"
    assert storage.keep(UID, META, b"changed!") == other
    assert list(storage.every_key()) == [first.key, other.key]


def test_what_lies_there_is_measured_from_its_bytes(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    first, other = storage.keep(UID, META, b"data set"), storage.keep(UID, META, b"changed")
    assert storage.kept(first.key) == Kept(Outcome.SAME, first.key, first.sha256, 8)
    assert storage.kept(other.key) == other


def test_a_stored_file_without_its_beginning_is_our_fault(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    kept = storage.keep(UID, META, b"data set")
    storage.path(kept.key).write_bytes(b"cut")
    with pytest.raises(FaultError, match="does not begin"):
        storage.kept(kept.key)


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "/etc/passwd", "a" * 5000, "1.2\0.3", "..", "", "<script>"])
def test_no_name_becomes_a_path(tmp_path: Path, uid: str) -> None:
    storage = Storage(tmp_path / "storage")
    kept = storage.keep(uid, META, b"data set")
    assert KEY.fullmatch(kept.key)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / "storage" / kept.key]


@pytest.mark.parametrize(
    "key", ["../secret", "objects/ab/../../x", "/etc/passwd", "", "objects/3f/3f.dcm", "incoming/1"]
)
def test_a_key_that_the_storage_did_not_make_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(FaultError, match="not a key"):
        Storage(tmp_path).path(key)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.keep(UID, META, b"data set")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_file_and_folder_are_synced_before_keep_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink()))
    place = tmp_path / storage.keep(UID, META, b"data set").key
    assert len(synced) == 2
    (file,) = (path for path in synced if path.parent == tmp_path / "incoming")
    assert set(synced) == {file, place.parent}
    storage.keep(UID, META, b"data set")
    assert synced[2:] == [place, place.parent], "a second sender is not answered before file and folder are safe"


def test_the_folders_are_made_once_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink().name))
    Storage(tmp_path / "s")
    assert len(list((tmp_path / "s" / "objects").iterdir())) == 256
    assert synced == ["s", "objects"]
    Storage(tmp_path / "s")
    assert synced == ["s", "objects", "s"]


def test_a_draft_is_written_in_pieces_and_says_of_itself_whether_it_is_whole(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    draft = storage.draft(UID, file_start("1.2.840.10008.5.1.4.1.1.2", UID, "1.2.840.10008.1.2.1"))
    for piece in (b"data", memoryview(b" set"), b""):
        draft.write(piece)
    with draft.dataset() as written:
        assert written.read() == b"data set"
    kept = storage.place(draft)
    draft.close()
    assert kept == Kept(Outcome.NEW, kept.key, hashlib.sha256(b"data set").hexdigest(), 8)
    assert storage.kept(kept.key) == Kept(Outcome.SAME, kept.key, kept.sha256, 8)
    assert storage.is_whole(kept.key)
    meta = read_file_meta_info(storage.path(kept.key))
    assert (meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == (UID, "1.2.840.10008.1.2.1")
    assert (meta.PrivateInformationCreatorUID, meta.PrivateInformation.hex()) == (DIGEST_UID, kept.sha256)
    assert list((tmp_path / "incoming").iterdir()) == []


def test_what_a_power_cut_left_in_part_is_set_apart(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    draft = storage.draft(UID, file_start("1.2", UID, "1.3"))
    draft.write(b"data set")
    kept = storage.place(draft)
    draft.close()
    path = storage.path(kept.key)
    path.write_bytes(path.read_bytes()[:-3] + b"\0\0\0")
    assert not storage.is_whole(kept.key)
    moved = storage.set_apart(kept.key)
    assert list(storage.every_key()) == [moved]
    assert moved.startswith("quarantine/")
    assert storage.keep(UID, META, b"data set").outcome is Outcome.NEW


def test_the_right_bytes_take_the_place_of_what_changed_on_the_disk(tmp_path: Path) -> None:
    storage = Storage(tmp_path)

    def keep(content: bytes) -> Kept:
        draft = storage.draft(UID, file_start("1.2", UID, "1.3"))
        draft.write(content)
        kept = storage.place(draft)
        draft.close()
        return kept

    first = keep(b"data set")
    path = storage.path(first.key)
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    assert keep(b"other bytes").outcome is Outcome.OTHER
    assert path.read_bytes().endswith(b"data seX"), "other bytes than those that were there heal nothing"
    assert keep(b"data set") == Kept(Outcome.HEALED, first.key, first.sha256, 8)
    assert storage.is_whole(first.key)
    assert sorted(key.partition("/")[0] for key in storage.every_key()) == ["objects", "quarantine", "quarantine"]
    assert keep(b"data set").outcome is Outcome.SAME


def test_an_object_that_does_not_say_is_taken_to_be_whole(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    assert storage.is_whole(storage.keep(UID, META, b"data set").key)


def test_a_draft_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    draft = Storage(tmp_path).draft(UID, b"start")
    draft.write(b"half")
    draft.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_draft_is_written_into_a_file_that_was_made_ready(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with storage.locked():
        for _ in range(MOST_READY + 1):
            storage.prepare()
        ready = list((tmp_path / "incoming").iterdir())
        assert len(ready) == MOST_READY
        draft = storage.draft(UID, b"start")
        assert draft.path in ready
        draft.close()
    assert list((tmp_path / "incoming").iterdir()) == [], "who ends leaves none behind"
    storage.prepare()
    with storage.locked():
        assert list((tmp_path / "incoming").iterdir()) == []
        assert storage.keep(UID, META, b"data set").outcome is Outcome.NEW, "not into a file that was swept away"


def test_a_draft_that_cannot_be_begun_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    storage, before = Storage(tmp_path), len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space"):
        storage.draft(UID, b"start")
    assert list((tmp_path / "incoming").iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_of_two_senders_at_once_one_is_first(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    contents = [b"one", b"two", b"one", b"two"] * 8
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda content: storage.keep(UID, META, content), contents))
    assert sum(kept.outcome is Outcome.NEW for kept in results) == 1
    first = next(content for content, kept in zip(contents, results, strict=True) if kept.outcome is Outcome.NEW)
    for content, kept in zip(contents, results, strict=True):
        assert (kept.outcome is Outcome.OTHER) == (content != first)
        assert storage.path(kept.key).read_bytes().endswith(content)
    assert len(list(storage.every_key())) == 2


def test_one_process_writes_and_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    (tmp_path / "incoming" / "tmp1234").write_bytes(b"half an obj")
    with storage.locked():
        assert list((tmp_path / "incoming").iterdir()) == []
        with pytest.raises(ConfigurationError, match="another listener"), Storage(tmp_path).locked():
            pytest.fail("two listeners write into one folder")
    with Storage(tmp_path).locked():
        pass


def test_free_room_is_what_the_disk_says(tmp_path: Path) -> None:
    stat = os.statvfs(tmp_path)
    assert Storage(tmp_path).free_mb() == pytest.approx(stat.f_bavail * stat.f_frsize / 1e6, rel=0.05)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage(tmp_path_factory.mktemp("storage"))


@given(content=st.binary(max_size=2000), uid=st.text(max_size=80))
@settings(max_examples=40)
def test_any_bytes_under_any_name_come_back(shared: Storage, content: bytes, uid: str) -> None:
    kept = shared.keep(uid, META, content)
    assert shared.path(kept.key).read_bytes() == PREAMBLE + META + content
    assert shared.kept(kept.key).sha256 == kept.sha256 == hashlib.sha256(content).hexdigest()


class AnyOrder(RuleBasedStateMachine):
    """Whatever is kept in whatever order, a plain dictionary of first contents says what is where."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.storage = Storage(Path(self.folder.name))
        self.first: dict[str, bytes] = {}
        self.others: set[tuple[str, bytes]] = set()

    @rule(uid=st.sampled_from(["1.2", "1.3", "1.4"]), content=st.sampled_from([b"", b"a", b"b", b"ab"]))
    def keep(self, uid: str, content: bytes) -> None:
        kept = self.storage.keep(uid, META, content)
        if uid not in self.first:
            self.first[uid] = content
            assert kept.outcome is Outcome.NEW
        elif self.first[uid] == content:
            assert kept.outcome is Outcome.SAME
        else:
            assert kept.outcome is Outcome.OTHER
            self.others.add((uid, content))

    @rule()
    def restart(self) -> None:
        self.storage = Storage(Path(self.folder.name))

    @invariant()
    def everything_is_there_once(self) -> None:
        start = len(PREAMBLE) + len(META)
        found = sorted(self.storage.path(key).read_bytes()[start:] for key in self.storage.every_key())
        assert found == sorted([*self.first.values(), *(content for _, content in self.others)])

    def teardown(self) -> None:
        self.folder.cleanup()


AnyOrder.TestCase.settings = settings(max_examples=5, stateful_step_count=15, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_what_another_process_writes_just_now_is_not_swept_away(storage: Storage) -> None:
    """Who fetches needs no listener; who was killed leaves a draft that the next process sweeps away."""
    with subprocess.Popen(["sleep", "60"]) as alive, subprocess.Popen(["true"]) as dead:
        dead.wait(10)
        drafts = [storage.root / "incoming" / f"{process.pid}-1" for process in (alive, dead)]
        for draft in drafts:
            draft.write_bytes(b"half")
        with storage.locked():
            assert [draft.exists() for draft in drafts] == [True, False]
        alive.kill()
        alive.wait(10)
        with storage.locked():
            assert list((storage.root / "incoming").iterdir()) == []
