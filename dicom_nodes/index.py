"""What is in the storage, as rows of a database, and in which order it came: a feed that readers pull from.

The index can be deleted: it is made again from the storage. Rows are added, and removed only with their file, until
``reindex`` begins anew.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import BigInteger, Float, Integer, String, delete, func, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from dicom_nodes.database import open_database, upgrade, writing
from dicom_nodes.errors import ObjectError
from dicom_nodes.headers import Header, read_file_header
from dicom_nodes.storage import Kept, Outcome, Storage

log = structlog.get_logger(__name__)

NAME = "index"
"""Of the lock under which rows are entered, and in the name of the table of revisions."""


UIDS_IN_A_QUERY = 1000


class Base(DeclarativeBase):
    """The tables of the index."""


class Instance(Base):
    """One object in the storage."""

    __tablename__ = "instances"
    __table_args__ = ({"sqlite_autoincrement": True},)

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[str] = mapped_column(String, unique=True)
    quarantined: Mapped[bool] = mapped_column(default=False)
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64))
    series_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    modality: Mapped[str] = mapped_column(String)
    patient_id: Mapped[str] = mapped_column(String, index=True)
    issuer_of_patient_id: Mapped[str] = mapped_column(String)
    frame_of_reference_uid: Mapped[str] = mapped_column(String)
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    received_at_s: Mapped[float] = mapped_column(Float)


INSERT = insert(Instance)


@dataclass(eq=False)
class _Entry:
    """A row that waits to be entered, and how that went."""

    row: dict[str, Any]
    fresh: bool = False
    """Its file was not there before, so that it hardly has a row."""
    done: bool = False
    new: bool = False
    error: Exception | None = None


@dataclass(frozen=True)
class Change:
    """One row of the feed.

    Attributes:
        sequence: larger than that of every change before it.
        key: where the object lies in the storage.
        quarantined: other bytes came first under this UID; this object is kept apart.
        sha256: of the data set as received.
        received_at_s: POSIX time.
    """

    sequence: int
    key: str
    quarantined: bool
    header: Header
    sha256: str
    size_bytes: int
    received_at_s: float


class Index:
    """The rows of one storage, in a database by URL. Safe to use from many threads and processes.

    ``changes_since`` rests on rows becoming visible in the order of their sequence: they are entered one transaction at
    a time (``database.writing``). Threads that come meanwhile wait together, and one of them enters the rows of all:
    a transaction costs more than its rows.

    A row that a power cut takes is no loss: the object is on disk, and every start enters those that have no row. So
    SQLite is not made to sync each commit, which would cost as much as the object itself.

    Raises:
        ConfigurationError: the database cannot be opened, or a newer psdt has written it.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_database(url, synced=False)
        upgrade(self._engine, "dicom_nodes.migrations", NAME)
        self._gate = threading.Lock()
        self._writer = threading.Lock()
        self._waiting: list[_Entry] = []

    def add(self, header: Header, kept: Kept, received_at_s: float) -> bool:
        """Enter an object; False where its key is there already. When this returns, the row is committed."""
        entry = _Entry(_row(header, kept, received_at_s), fresh=kept.outcome is Outcome.NEW)
        with self._gate:
            self._waiting.append(entry)
        with self._writer:
            if not entry.done:  # else the thread that was here before has entered it with its own
                with self._gate:
                    batch, self._waiting = self._waiting, []
                self._enter(batch)
        if entry.error is not None:
            raise entry.error
        return entry.new

    def _enter(self, batch: Sequence[_Entry]) -> None:
        """Enter rows in one transaction; where that fails, each in its own, so that one does not take others along."""
        try:
            with writing(self._engine, NAME) as connection:
                keys = [entry.row["key"] for entry in batch if not entry.fresh]
                known = set(connection.scalars(select(Instance.key).where(Instance.key.in_(keys)))) if keys else set()
                new = {e.row["key"]: e for e in reversed(batch) if e.row["key"] not in known}  # the first of a key wins
                if new:
                    connection.execute(INSERT, [entry.row for entry in batch if entry in new.values()])
        except Exception as error:  # each waiting thread must hear of it
            if len(batch) > 1 or batch[0].fresh:
                for entry in batch:
                    entry.fresh = False
                    self._enter([entry])
                return
            batch[0].error = error
        else:
            for entry in new.values():
                entry.new = True
        for entry in batch:
            entry.done = True

    def changes_since(self, sequence: int, limit: int = 1000) -> list[Change]:
        """The changes after ``sequence`` in their order, the oldest ``limit`` of them; 0 stands before the first."""
        query = select(Instance).where(Instance.sequence > sequence).order_by(Instance.sequence).limit(limit)
        with Session(self._engine) as session:
            return [_change(row) for row in session.scalars(query)]

    def find(self, sop_instance_uid: str) -> Change | None:
        """The object held under a UID (not those in quarantine), or None where there is none."""
        query = select(Instance).where(Instance.sop_instance_uid == sop_instance_uid, Instance.quarantined.is_(False))
        with Session(self._engine) as session:
            row = session.scalar(query)
            return None if row is None else _change(row)

    def quarantined(self, sop_instance_uids: Sequence[str]) -> list[str]:
        """The keys of what came with other bytes under UIDs."""
        keys: list[str] = []
        with Session(self._engine) as session:
            for start in range(0, len(sop_instance_uids), UIDS_IN_A_QUERY):
                few = sop_instance_uids[start : start + UIDS_IN_A_QUERY]
                query = select(Instance.key).where(Instance.sop_instance_uid.in_(few), Instance.quarantined.is_(True))
                keys += session.scalars(query)
        return keys

    def received_at_s(self, key: str) -> float | None:
        """When the object of a key was received, POSIX time; None where it has no row."""
        with Session(self._engine) as session:
            return session.scalar(select(Instance.received_at_s).where(Instance.key == key))

    def remove(self, key: str) -> None:
        """Forget the object of a key. Readers that have not come so far in the feed do not hear of it any more."""
        with self._engine.begin() as connection:
            connection.execute(delete(Instance).where(Instance.key == key))

    def held_in(self, series_instance_uid: str) -> int:
        """How many objects of a series are held, those in quarantine left out."""
        of_series = Instance.series_instance_uid == series_instance_uid, Instance.quarantined.is_(False)
        with Session(self._engine) as session:
            return session.scalar(select(func.count()).select_from(Instance).where(*of_series)) or 0

    def count(self) -> int:
        """How many objects are held, quarantine included."""
        with Session(self._engine) as session:
            return session.scalar(select(func.count()).select_from(Instance)) or 0

    def rebuild(self, storage: Storage) -> int:
        """Enter every object of the storage that has no row, and say how many there were.

        A process that was killed between placing a file and entering it leaves such an object; so does a deleted
        index. The time at which the file was written stands for the time of receipt.
        """
        return sum(self._enter_absent(storage, keys) for keys in storage.keys_by_folder())

    def reindex(self, storage: Storage) -> int:
        """Delete every row, enter every object of the storage anew, and say how many there were.

        Where the database stays, the new rows' sequences go on from the old ones: readers hear of all objects again.
        """
        with writing(self._engine, NAME) as connection:
            connection.execute(delete(Instance))
        return self.rebuild(storage)

    def _enter_absent(self, storage: Storage, keys: Sequence[str]) -> int:
        if not keys:
            return 0
        with Session(self._engine) as session:
            known = set(session.scalars(select(Instance.key).where(Instance.key.between(keys[0], keys[-1]))))
        entries = []
        for key in keys:
            if key in known:
                continue
            if not storage.is_whole(key):
                log.error("object in storage is not what was received", key=key, moved=(key := storage.set_apart(key)))
            try:
                header = read_file_header(storage.path(key))
            except ObjectError as error:
                log.warning("stored file not entered", key=key, reason=error.message)
                continue
            entries.append(_Entry(_row(header, storage.kept(key), storage.path(key).stat().st_mtime)))
        with self._writer:
            self._enter(entries)
        for entry in entries:
            if entry.error is not None:
                raise entry.error
        return sum(entry.new for entry in entries)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _row(header: Header, kept: Kept, received_at_s: float) -> dict[str, Any]:
    return {
        **vars(header),
        "key": kept.key,
        "quarantined": kept.key.startswith("quarantine/"),
        "sha256": kept.sha256,
        "size_bytes": kept.size_bytes,
        "received_at_s": received_at_s,
    }


def _change(row: Instance) -> Change:
    header = Header(**{name: getattr(row, name) for name in Header.__dataclass_fields__})
    return Change(
        sequence=row.sequence,
        key=row.key,
        quarantined=row.quarantined,
        header=header,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        received_at_s=row.received_at_s,
    )
