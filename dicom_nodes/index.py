"""What is in the storage, as rows of a database, and in which order it came: a feed that readers pull from.

The index can be deleted: ``rebuild`` makes it again from the storage. Rows are only ever added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Engine, Float, Integer, String, create_engine, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from dicom_nodes.errors import ConfigurationError, ObjectError
from dicom_nodes.headers import Header, read_file_header
from dicom_nodes.storage import Kept, Storage

log = structlog.get_logger(__name__)


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
    size_bytes: Mapped[int] = mapped_column(Integer)
    received_at_s: Mapped[float] = mapped_column(Float)


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
    """The rows of one storage. Safe to use from many threads.

    ``changes_since`` rests on rows becoming visible in the order of their sequence. SQLite writes one transaction at a
    time, so it does; a database with several writers needs a lock around ``add``.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_database(url)
        with self._configured(url):
            Base.metadata.create_all(self._engine)

    def add(self, header: Header, kept: Kept, received_at_s: float) -> bool:
        """Enter an object; False where its key is there already. When this returns, the row survives a power cut."""
        row = {
            **vars(header),
            "key": kept.key,
            "quarantined": kept.key.startswith("quarantine/"),
            "sha256": kept.sha256,
            "size_bytes": kept.size_bytes,
            "received_at_s": received_at_s,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(Instance).values(row))
        except IntegrityError:
            return False
        return True

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

    def count(self) -> int:
        """How many objects are held, quarantine included."""
        with Session(self._engine) as session:
            return session.scalar(select(func.count()).select_from(Instance)) or 0

    def rebuild(self, storage: Storage) -> int:
        """Enter every object of the storage that has no row, and say how many there were.

        A process that was killed between placing a file and entering it leaves such an object; so does a deleted
        index. The time at which the file was written stands for the time of receipt.
        """
        with Session(self._engine) as session:
            known = set(session.scalars(select(Instance.key)))
        added = 0
        for key in storage.every_key():
            if key in known:
                continue
            try:
                header = read_file_header(storage.path(key))
            except ObjectError as error:
                log.warning("stored file not entered", key=key, reason=error.message)
                continue
            added += self.add(header, storage.kept(key), storage.path(key).stat().st_mtime)
        return added

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @staticmethod
    @contextmanager
    def _configured(url: str) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            where = make_url(url).render_as_string()
            raise ConfigurationError(f"the index cannot be opened: {error.orig}", where=where) from error


def open_database(url: str) -> Engine:
    """An engine; SQLite in WAL mode, synced at every commit, waiting up to 30 s for another writer.

    Raises:
        ConfigurationError: ``url`` is no SQLAlchemy URL, or its driver is not installed.
    """
    try:
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(f"not a database that can be used: {error}", todo="Write sqlite:///FILE.") from error
    if engine.dialect.name == "sqlite":
        try:
            Path(engine.url.database or ".").parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the folder of a database cannot be made: {error}") from error
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


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
