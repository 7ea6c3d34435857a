"""The casebook's tables through the versions of psdt, and copies of it."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from dicom_nodes.errors import ConfigurationError as NodeConfigurationError
from psdt_planner.case import Received
from psdt_planner.casebook import Casebook, back_up, restore
from psdt_planner.casebook.tables import Base
from psdt_planner.errors import ConfigurationError, InputError
from tests.cases.stories import PROPOSED, RECEIVED, SENT, item

ID = "7K3MQ-2ZDXW"


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def head() -> str | None:
    config = Config()
    config.set_main_option("script_location", str(files("psdt_planner.casebook.migrations")))
    return ScriptDirectory.from_config(config).get_current_head()


def test_the_migrations_lead_to_the_tables_of_the_code(tmp_path: Path) -> None:
    Casebook(url_of(tmp_path / "casebook.db")).close()
    engine = create_engine(url_of(tmp_path / "casebook.db"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "casebook_version", "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    assert query(tmp_path / "casebook.db", "SELECT version_num FROM casebook_version") == [(head(),)]


def test_a_casebook_from_before_migrations_keeps_every_event(tmp_path: Path) -> None:
    path = tmp_path / "casebook.db"
    first = Casebook(url_of(path), salt="salt")
    for event in SENT:
        first.append(ID, event)
    first.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE casebook_version")
        database.execute("DROP TABLE positions")
        database.commit()
    again = Casebook(url_of(path))
    assert again.history(ID) == SENT
    assert again.salt == b"salt"
    again.close()
    assert query(path, "SELECT version_num FROM casebook_version") == [(head(),)]


def test_events_of_an_older_psdt_are_read_as_they_were_written(tmp_path: Path) -> None:
    """An object without facts, a reopening that says nothing of what is missing."""
    path = tmp_path / "casebook.db"
    Casebook(url_of(path)).close()
    old_item = (
        '{"sop_instance_uid":"1.2","sop_class_uid":"1.3","series_instance_uid":"1.4","study_instance_uid":"1.5",'
        '"modality":"CT","frame_of_reference_uid":"1.6","key":"objects/a","sha256":"00","received_at_s":1000.0,'
        '"patient_known":true}'
    )
    payloads = [
        ("received", f'{{"at_s":1000.0,"items":[{old_item}]}}'),
        ("held", '{"at_s":1001.0,"by":"A. Person","reason":"x"}'),
        ("reopened", '{"at_s":1002.0,"by":"A. Person"}'),
    ]
    with closing(sqlite3.connect(path)) as database:
        for sequence, (kind, payload) in enumerate(payloads, start=1):
            row = (ID, sequence, 1000.0, kind, payload)
            database.execute("INSERT INTO events (case_id, sequence, at_s, kind, payload) VALUES (?,?,?,?,?)", row)
        database.commit()
    book = Casebook(url_of(path))
    case = book.case(ID)
    assert (case.state.value, case.items["1.2"].facts, case.as_it_is) == ("assembling", None, False)
    book.close()


def test_a_casebook_of_a_newer_psdt_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "casebook.db"
    Casebook(url_of(path)).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE casebook_version SET version_num = '9999'")
        database.commit()
    with pytest.raises(NodeConfigurationError, match=r"the casebook was written by a newer psdt \(revision 9999\)"):
        Casebook(url_of(path))
    assert query(path, "SELECT version_num FROM casebook_version") == [("9999",)]


def test_four_processes_open_a_new_casebook_at_once(tmp_path: Path) -> None:
    code = f"from psdt_planner.casebook import Casebook; print(Casebook({url_of(tmp_path / 'c.db')!r}).salt)"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    salts = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(salts) == 1, "one of them drew it"


class TestCopies:
    def test_a_copy_comes_back_whole(self, tmp_path: Path) -> None:
        book = Casebook(url_of(tmp_path / "casebook.db"))
        for event in SENT:
            book.append(ID, event)
        book.append("ZZZZZ-ZZZZZ", RECEIVED)
        assert back_up(url_of(tmp_path / "casebook.db"), tmp_path / "copy.db") == len(SENT) + 1
        assert sorted(path.name for path in tmp_path.glob("*copy*")) == ["copy.db"]
        assert restore(tmp_path / "copy.db", url_of(tmp_path / "other.db")) == len(SENT) + 1
        other = Casebook(url_of(tmp_path / "other.db"))
        assert other.salt == book.salt, "the same patients make the same case ids"
        assert other.cases() == book.cases()
        assert [one.number for one in other.since(0)] == [one.number for one in book.since(0)]
        assert other.append(ID, Received(1e9, (item("PT", 9, 1e9),))).state.value == "held"
        for one in (book, other):
            one.close()

    def test_a_copy_is_of_one_moment_while_others_write(self, tmp_path: Path) -> None:
        url, stop = url_of(tmp_path / "casebook.db"), threading.Event()
        book = Casebook(url)
        for event in PROPOSED:
            book.append(ID, event)

        def write() -> None:
            mine, number = Casebook(url), 0
            while not stop.is_set():
                number += 1
                mine.append("ZZZZZ-ZZZZZ", Received(1000.0, (item("CT", number),)))
            mine.close()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            counts = [back_up(url, tmp_path / f"copy-{number}.db") for number in range(5)]
        finally:
            stop.set()
            writer.join()
        assert counts == sorted(counts)
        for number, count in enumerate(counts):
            copy = Casebook(url_of(tmp_path / f"copy-{number}.db"))
            recorded = copy.since(0, limit=10**6)
            assert [one.number for one in recorded] == list(range(1, count + 1)), "no event is missing in the middle"
            assert copy.replay(ID) == book.case(ID)
            copy.close()
        book.close()

    def test_nothing_is_written_over(self, tmp_path: Path) -> None:
        url = url_of(tmp_path / "casebook.db")
        book = Casebook(url)
        book.append(ID, RECEIVED)
        book.close()
        back_up(url, tmp_path / "copy.db")
        before = (tmp_path / "copy.db").read_bytes()
        with pytest.raises(InputError, match="there is a file of that name already"):
            back_up(url, tmp_path / "copy.db")
        assert (tmp_path / "copy.db").read_bytes() == before
        with pytest.raises(ConfigurationError, match="has events, and is not written over"):
            restore(tmp_path / "copy.db", url)
        with pytest.raises(InputError, match="no such file"):
            restore(tmp_path / "nowhere.db", url_of(tmp_path / "new.db"))
        with pytest.raises(NodeConfigurationError, match="the folder of a database cannot be made"):
            back_up(url, Path("/proc/nowhere/copy.db"))
        assert re.findall(r"copy", " ".join(path.name for path in tmp_path.iterdir())) == ["copy"]


@pytest.mark.peer
def test_on_postgresql(new_postgresql_database: Callable[[], str], tmp_path: Path) -> None:
    """Four writers at once, a copy while they write, and back into another database."""
    url = new_postgresql_database()
    book = Casebook(url, salt="salt")
    for event in SENT:
        book.append(ID, event)
    book.append("ZZZZZ-ZZZZZ", RECEIVED)

    def write(writer: int) -> None:
        mine = Casebook(url)
        for number in range(5):
            mine.append("ZZZZZ-ZZZZZ", Received(2000.0, (item("CT", 100 * writer + number + 2, 2000.0),)))
        mine.close()

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    between = back_up(url, tmp_path / "between.db")
    for thread in writers:
        thread.join()
    total = len(SENT) + 21
    assert len(SENT) + 1 <= between <= total
    assert (book.case("ZZZZZ-ZZZZZ").version, len(book.case("ZZZZZ-ZZZZZ").items)) == (21, 23)
    assert len(book.since(0)) == back_up(url, tmp_path / "copy.db") == total
    other_url = new_postgresql_database()
    assert restore(tmp_path / "copy.db", other_url) == total
    other = Casebook(other_url)
    assert (other.salt, other.cases()) == (b"salt", book.cases())
    assert other.append(ID, Received(1e9, (item("PT", 9, 1e9),))).state.value == "held", "numbers go on"
    for one in (book, other):
        one.close()
