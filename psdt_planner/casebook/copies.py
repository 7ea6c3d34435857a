"""A copy of the casebook in one SQLite file, made while others write, and the way back."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, func, insert, select, text

from psdt_planner.casebook.tables import Constant, Position, StoredEvent, open_tables
from psdt_planner.errors import ConfigurationError, InputError

LOT = 1000
"""Rows that are copied at once."""


def back_up(url: str, to: Path) -> int:
    """Copy the casebook of a URL into a SQLite file that is not there yet; the number of events in it.

    The copy is of one moment, whatever is written meanwhile; the file appears whole or not at all.

    Raises:
        InputError: there is a file of that name.
        ConfigurationError: the file cannot be written; of `dicom_nodes.errors`, where the casebook cannot be opened.
    """
    if to.exists():
        raise InputError("there is a file of that name already", where=str(to), todo="Name another one.")
    source = open_tables(url)
    beside = to.with_name(f".{to.name}.part")
    try:
        beside.unlink(missing_ok=True)
        count = _copy_to_file(source, beside)
        os.link(beside, to)  # unlike a rename, a link never replaces what came there meanwhile
        _sync(to.parent)
    except OSError as error:
        raise ConfigurationError(f"the copy cannot be written: {error.strerror}", where=str(to)) from error
    finally:
        source.dispose()
        for leftover in (beside, *(beside.with_name(beside.name + end) for end in ("-wal", "-shm"))):
            leftover.unlink(missing_ok=True)
    return count


def restore(copy: Path, url: str) -> int:
    """Bring a copy back into the casebook of a URL that has no events; the number of events in it.

    Raises:
        InputError: there is no such copy.
        ConfigurationError: the casebook has events, or one of the two cannot be opened.
    """
    if not copy.is_file():
        raise InputError("there is no such file", where=str(copy))
    source, target = open_tables(f"sqlite:///{copy.absolute()}"), open_tables(url)
    try:
        with source.connect() as reading, target.begin() as writing:
            if writing.scalar(select(func.count()).select_from(StoredEvent)):
                raise ConfigurationError(
                    "the casebook has events, and is not written over",
                    todo="Move it away, or name an empty database.",
                )
            count = _copy(reading, writing)
            if target.dialect.name == "postgresql":
                writing.execute(text("SELECT setval('events_number_seq', (SELECT max(number) FROM events))"))
            return count
    finally:
        source.dispose()
        target.dispose()


def _copy_to_file(source: Engine, file: Path) -> int:
    target = open_tables(f"sqlite:///{file.absolute()}")
    level = "REPEATABLE READ" if source.dialect.name == "postgresql" else "SERIALIZABLE"
    try:
        with source.connect().execution_options(isolation_level=level) as reading, target.begin() as writing:
            if source.dialect.name == "sqlite":
                reading.execute(text("BEGIN"))  # Python's driver begins a transaction for writing only
            count = _copy(reading, writing)
        with target.connect() as connection:
            connection.execute(text("PRAGMA journal_mode = DELETE"))  # one file, without a log beside it
    finally:
        target.dispose()
    _sync(file)
    return count


def _copy(reading: Connection, writing: Connection) -> int:
    for table in (Constant, Position):
        rows = [dict(row._mapping) for row in reading.execute(select(table.__table__))]
        writing.execute(delete(table))
        if rows:
            writing.execute(insert(table), rows)
    count = 0
    events = reading.execution_options(yield_per=LOT).execute(
        select(StoredEvent.__table__).order_by(StoredEvent.number)
    )
    for lot in events.partitions(LOT):
        writing.execute(insert(StoredEvent), [dict(row._mapping) for row in lot])
        count += len(lot)
    return count


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
