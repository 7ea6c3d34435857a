"""The tables of the casebook as this psdt writes them; ``migrations/`` leads there from every earlier version."""

from __future__ import annotations

from sqlalchemy import Engine, Float, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dicom_nodes.database import open_database, upgrade
from dicom_nodes.errors import ConfigurationError

NAME = "casebook"
"""Of the lock under which events are added, and in the name of the table of revisions."""


class Base(DeclarativeBase):
    """The tables of the casebook."""


class StoredEvent(Base):
    """One event of one case."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("case_id", "sequence"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    case_id: Mapped[str] = mapped_column(String(16), index=True)
    sequence: Mapped[int] = mapped_column(Integer)
    at_s: Mapped[float] = mapped_column(Float(53))
    kind: Mapped[str] = mapped_column(String(16))
    payload: Mapped[str] = mapped_column(Text)


class Constant(Base):
    """Something that is set once, when the casebook is made."""

    __tablename__ = "constants"

    name: Mapped[str] = mapped_column(String, primary_key=True)
    value: Mapped[str] = mapped_column(String)


class Position(Base):
    """How far somebody has read the events."""

    __tablename__ = "positions"

    name: Mapped[str] = mapped_column(String, primary_key=True)
    number: Mapped[int] = mapped_column(Integer)


def open_tables(url: str) -> Engine:
    """The database of a URL, with the tables of this psdt.

    Raises:
        dicom_nodes.errors.ConfigurationError: it cannot be opened, or a newer psdt has written it.
    """
    engine = open_database(url)
    try:
        upgrade(engine, "psdt_planner.casebook.migrations", NAME)
    except ConfigurationError:
        engine.dispose()
        raise
    return engine
