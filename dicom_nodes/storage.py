"""Objects on disk: the bytes as they were received, whole or not at all.

A name from the network never becomes a path: an object lies under the SHA-256 of its SOP Instance UID. A file is
written beside its place (``incoming/``), synced, linked to its place, which fails where something is there already, and
the folder is synced. A process that is killed leaves at most a file in ``incoming/``, which the next one sweeps away.

::

    objects/3f/3f9a...c2.dcm         the first object received under a UID; it is never replaced
    quarantine/3f9a...c2-81d0...77.dcm    other bytes that came under the same UID later
    incoming/                        being written
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dicom_nodes.errors import ConfigurationError, FaultError

PREAMBLE = b"\0" * 128 + b"DICM"
KEY = re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{64}\.dcm|quarantine/[0-9a-f]{64}-[0-9a-f]{64}\.dcm")


class Outcome(StrEnum):
    """What became of an object that was to be kept."""

    NEW = "new"
    SAME = "same"
    """The same bytes are there already."""
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


class Storage:
    """A folder of objects. Many threads may keep at once; one process at a time may write (``locked``)."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        for name in ("incoming", "quarantine", "objects"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        _sync_folder(self.root)
        self._safe_folders: set[Path] = set()

    def path(self, key: str) -> Path:
        """Where the object of a key lies; a key that this storage did not make is a ``FaultError``."""
        if KEY.fullmatch(key) is None:
            raise FaultError("not a key of the storage", where=repr(key))
        return self.root / key

    def keep(self, sop_instance_uid: str, file_meta: bytes, dataset: bytes | memoryview) -> Kept:
        """Keep a data set for good; when this returns, its bytes survive a power cut.

        ``file_meta`` is the encoded group 0002 with its group length in front. The same bytes a second time leave
        everything as it is; other bytes go to quarantine.
        """
        name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
        digest = hashlib.sha256(dataset).hexdigest()
        key = f"objects/{name[:2]}/{name}.dcm"
        outcome = Outcome.NEW
        if not self._place(key, file_meta, dataset):
            outcome = Outcome.SAME
            if self.kept(key).sha256 != digest:
                outcome = Outcome.OTHER
                key = f"quarantine/{name}-{digest}.dcm"
                self._place(key, file_meta, dataset)
        _sync_folder((self.root / key).parent)  # also where it was there: the thread that placed it may not be so far
        return Kept(outcome, key, digest, len(dataset))

    def kept(self, key: str) -> Kept:
        """What lies under a key, measured from its bytes."""
        path = self.path(key)
        with path.open("rb") as file:
            head = file.read(len(PREAMBLE) + 12)
            if len(head) != len(PREAMBLE) + 12 or not head.startswith(PREAMBLE):
                raise FaultError("a stored file does not begin as it was written", where=key)
            offset = file.seek(int.from_bytes(head[-4:], "little"), os.SEEK_CUR)  # (0002,0000), then its group
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        outcome = Outcome.OTHER if key.startswith("quarantine/") else Outcome.SAME
        return Kept(outcome, key, digest, path.stat().st_size - offset)

    def every_key(self) -> Iterator[str]:
        """The keys of all objects, quarantine included, in alphabetical order within each."""
        for folder in ("objects", "quarantine"):
            for path in sorted((self.root / folder).rglob("*.dcm")):
                yield path.relative_to(self.root).as_posix()

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
                leftover.unlink()
            yield

    def _place(self, key: str, file_meta: bytes, dataset: bytes | memoryview) -> bool:
        """Write a file whole under its key; False where one is there already."""
        target = self.root / key
        self._make_folder(target.parent)
        if target.exists():
            return False
        with tempfile.NamedTemporaryFile(dir=self.root / "incoming") as beside:
            beside.writelines((PREAMBLE, file_meta, dataset))
            beside.flush()
            os.fsync(beside.fileno())
            try:
                os.link(beside.name, target)  # unlike a rename, a link never replaces what another thread placed first
            except FileExistsError:
                return False
        return True

    def _make_folder(self, folder: Path) -> None:
        """A folder that survives a power cut; one that this process did not sync itself may not be safe yet."""
        if folder not in self._safe_folders:
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)
            self._safe_folders.add(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
