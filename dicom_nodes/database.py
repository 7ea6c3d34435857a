"""Databases as the node uses them: SQLite in a file, or PostgreSQL by URL; tables grow by Alembic migrations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from dicom_nodes.errors import ConfigurationError

DRIVERS = {"postgresql": "postgresql+pg8000", "postgres": "postgresql+pg8000"}
"""The driver that comes with psdt, where a URL names none."""


def open_database(url: str, *, synced: bool = True) -> Engine:
    """An engine; SQLite in WAL mode, waiting up to 30 s for another writer.

    Args:
        synced: let every commit of SQLite survive a power cut. Without it a power cut, not a killed process, may undo
            the last commits; what stands in the database is consistent either way.

    Raises:
        ConfigurationError: ``url`` is no SQLAlchemy URL, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        engine = create_engine(parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername)))
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        todo = "Write sqlite:///FILE or postgresql://USER@HOST/DATABASE."
        raise ConfigurationError(f"not a database that can be used: {error}", todo=todo) from error
    if engine.dialect.name == "sqlite":
        try:
            Path(engine.url.database or ".").parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the folder of a database cannot be made: {error}") from error
        pragmas = ("busy_timeout = 30000", "journal_mode = WAL", f"synchronous = {'FULL' if synced else 'NORMAL'}")
        event.listen(engine, "connect", lambda connection, _record: _prepare_sqlite(connection, pragmas))
    return engine


@contextmanager
def writing(engine: Engine, name: str) -> Iterator[Connection]:
    """A transaction in which nobody else writes what goes by ``name``, in this process or another.

    Rows that are numbered in such transactions become visible in the order of their numbers: a reader that has seen one
    will never be surprised by a smaller one.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})
        yield connection


def upgrade(engine: Engine, migrations: str, name: str) -> None:
    """Bring tables to the newest form: the revisions in the package ``migrations`` that are still missing.

    Which were made stands in the table ``NAME_version``. Two processes that open a new database do it one after the
    other.

    Raises:
        ConfigurationError: the database cannot be opened, or a newer psdt has written it.
    """
    folder = files(migrations)
    config = Config(attributes={"version_table": f"{name}_version"})
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    try:
        with writing(engine, name) as connection:
            options = {"version_table": f"{name}_version"}
            current = MigrationContext.configure(connection, opts=options).get_current_revision()
            if current is not None and current not in _revisions(config):
                raise ConfigurationError(
                    f"the {name} was written by a newer psdt (revision {current})",
                    where=engine.url.render_as_string(),
                    todo="Use that version, or restore a copy made before it.",
                )
            if current != newest:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except DBAPIError as error:
        where = engine.url.render_as_string()
        raise ConfigurationError(f"the {name} cannot be opened: {_first_line(error)}", where=where) from error


def _revisions(config: Config) -> set[str]:
    return {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}


def _first_line(error: DBAPIError) -> str:
    """What the driver says; PostgreSQL's answers are a dictionary of fields (M: the message)."""
    said = error.orig.args[0] if error.orig is not None and error.orig.args else error
    return str(said.get("M", said) if isinstance(said, dict) else said).splitlines()[0]


def _prepare_sqlite(connection: Any, pragmas: Sequence[str]) -> None:
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
