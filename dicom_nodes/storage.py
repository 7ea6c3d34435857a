"""Objects on disk: the bytes as they were received, whole or not at all.

A name from the network never becomes a path: an object lies under the SHA-256 of its SOP Instance UID. A file is
written beside its place (``incoming/``), linked to its place, which fails where something is there already, and synced;
then the folder is. Only then is it ours. Linking first lets one write of the file system's journal carry both.

A process that is killed leaves at most a file in ``incoming/``, which the next one sweeps away. A power cut may leave a
file in its place of which only a part was written, and nobody was told of it: its file meta information holds the
SHA-256 of the data set as private information, so that ``is_whole`` tells.

::

    objects/3f/3f9a...c2.dcm         the first object received under a UID; no other bytes replace it
    quarantine/3f9a...c2-81d0...77.dcm    other bytes that came under the same UID later
    incoming/                        being written; an empty file is made ready for what comes next
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import re
import shutil
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

from dicom_nodes.errors import ConfigurationError, FaultError

PREAMBLE = b"\0" * 128 + b"DICM"
IMPLEMENTATION_CLASS_UID = "2.25.287586961682435771077288755061766805293"
DIGEST_UID = "2.25.198019374108992261493794207908491209217"
"""Of the private information in the files' meta information: the SHA-256 of the data set."""
PARALLEL_SYNCS = 16
MOST_READY = 4
DRAFTS = count(1)
"""Numbers of the files that this process begins."""
KEY = re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{64}\.dcm|quarantine/[0-9a-f]{64}-[0-9a-f]{64}\.dcm")


class Outcome(StrEnum):
    """What became of an object that was to be kept."""

    NEW = "new"
    SAME = "same"
    """The same bytes are there already."""
    HEALED = "healed"
    """The same bytes were there once and had changed on the disk; these have taken their place."""
    OTHER = "other"
    """Other bytes are there under this UID: the new ones are in quarantine."""


@dataclass(frozen=True)
class Kept:
    """Where an object lies.

    Attributes:
        key: path below the storage folder, with slashes; made by us, never by a sender.
        sha256: of the data set as received, without preamble and file meta information.
        size_bytes: of the data set as received.
    """

    outcome: Outcome
    key: str
    sha256: str
    size_bytes: int


def file_start(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """What stands before a data set in a file (PS3.10 7.1), with room for the data set's digest as its last bytes."""
    group = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1"),
            _element(0x0002, b"UI", sop_class_uid.encode("ascii")),
            _element(0x0003, b"UI", sop_instance_uid.encode("ascii")),
            _element(0x0010, b"UI", transfer_syntax_uid.encode("ascii")),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            DIGEST_MARK,
            bytes(DIGEST_BYTES),
        )
    )
    return PREAMBLE + _element(0x0000, b"UL", len(group).to_bytes(4, "little")) + group


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    """One element of group 0002, in Explicit VR Little Endian."""
    value += bytes(len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if vr == b"OB" else struct.pack("<H", len(value))
    return struct.pack("<HH", 0x0002, number) + vr + length + value


DIGEST_BYTES = 32
DIGEST_MARK = _element(0x0100, b"UI", DIGEST_UID.encode("ascii")) + _element(0x0102, b"OB", bytes(DIGEST_BYTES))[:12]
"""Private Information Creator UID, and Private Information up to its value."""


def _noted_digest(start: bytes) -> str | None:
    """The digest that stands before a data set, as hexadecimal digits; None where there is none."""
    return start[-DIGEST_BYTES:].hex() if start[:-DIGEST_BYTES].endswith(DIGEST_MARK) else None


class _File:
    """A new file in a folder, open and empty."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{os.getpid()}-{next(DRAFTS)}"
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def remove(self) -> None:
        """Close it, and take its name away."""
        os.close(self.handle)
        self.path.unlink(missing_ok=True)


class Draft:
    """An object while its data set comes in, piece by piece; it is in no place until ``Storage.place`` gives it one."""

    def __init__(self, file: _File, sop_instance_uid: str, start: bytes) -> None:
        self.sop_instance_uid = sop_instance_uid
        self.size_bytes = 0
        self._start = start
        self._digest = hashlib.sha256()
        self._file = file
        self._write(start)

    @property
    def path(self) -> Path:
        """Where it is written."""
        return self._file.path

    def write(self, piece: bytes | memoryview) -> None:
        """Append a piece of the data set."""
        self._digest.update(piece)
        self.size_bytes += len(piece)
        self._write(piece)

    def finish(self) -> str:
        """Note the digest of what was written where there is room for it, and return it as hexadecimal digits."""
        if _noted_digest(self._start) is not None:
            os.pwrite(self._file.handle, self._digest.digest(), len(self._start) - DIGEST_BYTES)
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Let the bytes survive a power cut."""
        os.fsync(self._file.handle)

    @contextmanager
    def dataset(self) -> Iterator[BinaryIO]:
        """The data set as far as it was written, to read."""
        with mmap.mmap(
            self._file.handle, 0, access=mmap.ACCESS_READ
        ) as file:  # a parser asks a hundred times where it is
            file.seek(len(self._start))
            yield cast("BinaryIO", file)

    def close(self) -> None:
        """Forget the draft; where it was placed, it stays."""
        self._file.remove()

    def _write(self, piece: bytes | memoryview) -> None:
        left = memoryview(piece)
        while left:
            left = left[os.write(self._file.handle, left) :]


class Storage:
    """A folder of objects. Many threads may keep at once; one process at a time may write (``locked``)."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        for name in ("incoming", "quarantine", "objects"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        _sync(self.root)
        self._make_folders()
        self._beside = ThreadPoolExecutor(PARALLEL_SYNCS, "sync")
        self._ready: deque[_File] = deque()
        self._placing = [threading.Lock() for _ in range(256)]

    def path(self, key: str) -> Path:
        """Where the object of a key lies; a key that this storage did not make is a ``FaultError``."""
        if KEY.fullmatch(key) is None:
            raise FaultError("not a key of the storage", where=repr(key))
        return self.root / key

    def draft(self, sop_instance_uid: str, start: bytes) -> Draft:
        """A new object that is about to be written behind ``start``; close it whatever happens."""
        try:
            file = self._ready.pop()
        except IndexError:
            file = _File(self.root / "incoming")
        try:
            return Draft(file, sop_instance_uid, start)
        except BaseException:
            file.remove()
            raise

    def prepare(self) -> None:
        """Make the file of a next draft while nobody waits for it: where much was deleted, ext4 takes its time."""
        if len(self._ready) < MOST_READY:
            self._ready.append(_File(self.root / "incoming"))

    def keep(self, sop_instance_uid: str, file_meta: bytes, dataset: bytes | memoryview) -> Kept:
        """Keep a data set that is there as a whole; ``file_meta`` is the encoded group 0002, its length first."""
        draft = self.draft(sop_instance_uid, PREAMBLE + file_meta)
        try:
            draft.write(dataset)
            return self.place(draft)
        finally:
            draft.close()

    def place(self, draft: Draft) -> Kept:
        """Keep what was written for good; when this returns, its bytes survive a power cut.

        The same bytes a second time leave everything as it is; other bytes go to quarantine. Where what is there has
        changed on the disk and was once what comes, it goes to quarantine itself.
        """
        name = hashlib.sha256(draft.sop_instance_uid.encode()).hexdigest()
        digest = draft.finish()
        with self._placing[int(name[:2], 16)]:  # a second sender must not lean on a file that is not synced yet
            key = f"objects/{name[:2]}/{name}.dcm"
            outcome = Outcome.NEW if self._link(draft, key) else Outcome.SAME
            if outcome is Outcome.SAME and self.kept(key).sha256 != digest:
                outcome = Outcome.HEALED if self._noted(key) == digest else Outcome.OTHER
                if outcome is Outcome.HEALED:
                    self.set_apart(key)
                else:
                    key = f"quarantine/{name}-{digest}.dcm"
                self._link(draft, key)
            elif outcome is Outcome.SAME:  # a process that was killed may have placed it without syncing it
                _sync(self.root / key)
                _sync((self.root / key).parent)
        return Kept(outcome, key, digest, draft.size_bytes)

    def is_whole(self, key: str) -> bool:
        """Whether an object has the bytes that it was kept with; one that does not say is taken to be whole."""
        noted = self._noted(key)
        return noted is None or noted == self.kept(key).sha256

    def set_apart(self, key: str) -> str:
        """Move an object that is not what it was to quarantine, and return its key there."""
        moved = f"quarantine/{Path(key).stem[:64]}-{self.kept(key).sha256}.dcm"
        self.path(key).replace(self.path(moved))
        _sync(self.path(moved).parent)
        _sync(self.path(key).parent)
        return moved

    def kept(self, key: str) -> Kept:
        """What lies under a key, measured from its bytes."""
        path = self.path(key)
        offset = self._offset(key)
        with path.open("rb") as file:
            file.seek(offset)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        outcome = Outcome.OTHER if key.startswith("quarantine/") else Outcome.SAME
        return Kept(outcome, key, digest, path.stat().st_size - offset)

    def sync(self, key: str) -> None:
        """Let the place of a file survive a power cut."""
        _sync(self.path(key).parent)

    def every_key(self) -> Iterator[str]:
        """The keys of all objects, quarantine included, in alphabetical order within each."""
        for keys in self.keys_by_folder():
            yield from keys

    def keys_by_folder(self) -> Iterator[list[str]]:
        """The keys of all objects, the sorted keys of one folder at a time: never all of a large archive."""
        for folder in [*sorted((self.root / "objects").iterdir()), self.root / "quarantine"]:
            yield sorted(path.relative_to(self.root).as_posix() for path in folder.glob("*.dcm"))

    def free_mb(self) -> float:
        """Room that is left on the disk, in 1e6 bytes."""
        return shutil.disk_usage(self.root).free / 1e6

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that writes, and begin by sweeping away what a killed one left unfinished.

        Raises:
            ConfigurationError: another process writes into this folder.
        """
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigurationError(
                    "another listener writes into the storage folder",
                    where=str(self.root),
                    todo="Stop it, or give this one a folder of its own.",
                ) from error
            for leftover in (self.root / "incoming").iterdir():
                if not _is_being_written(leftover):
                    leftover.unlink(missing_ok=True)
            self._forget_ready()
            try:
                yield
            finally:
                self._forget_ready()

    def _forget_ready(self) -> None:
        """Remove what was made ready; an association that outlived its listener may have done so after the end."""
        while self._ready:
            self._ready.pop().remove()

    def _noted(self, key: str) -> str | None:
        """The digest that an object was kept with, as hexadecimal digits; None where it does not say."""
        with self.path(key).open("rb") as file:
            return _noted_digest(file.read(self._offset(key)))

    def _offset(self, key: str) -> int:
        """Where the data set of an object starts."""
        with self.path(key).open("rb") as file:
            start = file.read(len(PREAMBLE) + 12)
        if len(start) != len(PREAMBLE) + 12 or not start.startswith(PREAMBLE):
            raise FaultError("a stored file does not begin as it was written", where=key)
        return len(start) + int.from_bytes(start[-4:], "little")  # (0002,0000), then its group

    def _link(self, draft: Draft, key: str) -> bool:
        """Give a file its place and sync both; False where one is there already. A failure leaves the place empty."""
        target = self.root / key
        try:
            os.link(draft.path, target)  # unlike a rename, a link never replaces what is there
        except FileExistsError:
            return False
        name = self._beside.submit(_sync, target.parent)  # both wait for the same write of the file system's journal
        try:
            draft.sync()
            name.result()
        except BaseException:
            target.unlink()
            raise
        return True

    def _make_folders(self) -> None:
        """The folders of objects, so that they survive a power cut."""
        wanted = {f"{number:02x}" for number in range(256)} - {path.name for path in (self.root / "objects").iterdir()}
        for name in wanted:
            (self.root / "objects" / name).mkdir(exist_ok=True)
        if wanted:
            _sync(self.root / "objects")


def _is_being_written(draft: Path) -> bool:
    """Whether another process that lives writes a draft: one that fetches needs no listener, and no lock."""
    process = draft.name.partition("-")[0]
    return process != str(os.getpid()) and Path("/proc", process).exists()


def write_note(path: Path, values: Mapping[str, Any]) -> None:
    """Write values into a small file, whole or not at all; when this returns, it survives a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as beside:
        json.dump(values, beside)
        beside.flush()
        os.fsync(beside.fileno())
    Path(beside.name).rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Let a file's bytes, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
