"""The casebook: events are the truth, and a case is what they make of it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dicom_nodes.errors import ConfigurationError as NodeConfigurationError
from psdt_planner.case import Case, Delivered, Held, Received, Released, Reopened, State
from psdt_planner.casebook import Casebook
from psdt_planner.errors import CaseStateError, ConfigurationError, InputError
from tests.cases.stories import PROPOSED, RECEIVED, RELEASED, SENT, STORIES, item, outputs, tell

ID = "7K3MQ-2ZDXW"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/some/folder/casebook.db"


@pytest.fixture
def casebook(url: str) -> Iterator[Casebook]:
    casebook = Casebook(url, salt="salt")
    yield casebook
    casebook.close()


@pytest.mark.parametrize("state", list(State))
def test_every_story_comes_back_event_by_event(casebook: Casebook, url: str, state: State) -> None:
    for event in STORIES[state]:
        after = casebook.append(ID, event)
    assert after == tell(*STORIES[state])
    assert casebook.history(ID) == STORIES[state]
    again = Casebook(url)
    assert again.replay(ID) == again.case(ID) == after
    again.close()


def test_an_event_that_may_not_happen_is_not_written(casebook: Casebook) -> None:
    casebook.append(ID, RECEIVED)
    with pytest.raises(CaseStateError):
        casebook.append(ID, Released(1100.0, "A. Person", 0))
    assert casebook.history(ID) == (RECEIVED,)


def test_cases_are_listed_in_the_order_in_which_they_began(casebook: Casebook) -> None:
    casebook.append("ZZZZZ-ZZZZZ", RECEIVED)
    casebook.append("AAAAA-AAAAA", Received(1.0, (item("CT"),)))
    casebook.append("ZZZZZ-ZZZZZ", Held(1200.0, "A. Person", "why not"))
    assert [(case.id, case.state.value) for case in casebook.cases()] == [
        ("ZZZZZ-ZZZZZ", "held"),
        ("AAAAA-AAAAA", "assembling"),
    ]


def test_the_level_of_a_release_comes_back(casebook: Casebook, url: str) -> None:
    for event in (*PROPOSED, Released(1200.0, "A. Person", 1, 2)):
        casebook.append(ID, event)
    again = Casebook(url)
    assert again.history(ID)[-1] == Released(1200.0, "A. Person", 1, registration_use=2)
    assert again.case(ID).registration_use == 2
    again.close()


def test_a_release_of_before_there_were_levels_still_reads(casebook: Casebook, url: str) -> None:
    for event in RELEASED:
        casebook.append(ID, event)
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database, database:
        old = '{"at_s":1200.0,"by":"A. Person","plan":1}'
        assert database.execute("UPDATE events SET payload = ? WHERE kind = 'released'", [old]).rowcount == 1
    again = Casebook(url)
    assert again.history(ID)[-1] == Released(1200.0, "A. Person", 1, registration_use=None)
    assert (again.case(ID).state, again.case(ID).registration_use) == (State.RELEASED, None)
    again.close()


def test_only_objects_open_a_case(casebook: Casebook) -> None:
    with pytest.raises(InputError, match="no case 'NO-CASE'"):
        casebook.append("NO-CASE", Held(1.0, "A. Person", "typing error"))
    for ask in (casebook.case, casebook.replay, casebook.history):
        with pytest.raises(InputError, match="no case 'NO-CASE'"):
            ask("NO-CASE")
    assert casebook.find("NO-CASE") == Case("NO-CASE")
    assert casebook.cases() == ()


def test_another_process_is_heard_of(casebook: Casebook, url: str) -> None:
    for event in PROPOSED:
        casebook.append(ID, event)
    other = Casebook(url)
    other.append(ID, Released(1200.0, "A. Person", 1))
    assert casebook.case(ID).state is State.RELEASED
    assert casebook.cases()[0].released_by == "A. Person"
    other.close()


def test_an_event_is_weighed_again_where_another_one_came_first(
    casebook: Casebook, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release was possible when it was read, but a hold is written before it: the release is refused."""
    for event in PROPOSED:
        casebook.append(ID, event)
    other, find = Casebook(url), Casebook.find

    def late(book: Casebook, case_id: str) -> Case:
        case = find(book, case_id)
        if book is casebook and case.state is State.PROPOSED:
            other.append(ID, Held(1150.0, "B. Person", "stop"))
        return case

    monkeypatch.setattr(Casebook, "find", late)
    with pytest.raises(CaseStateError, match="'released' is not possible while the case is held"):
        casebook.append(ID, Released(1200.0, "A. Person", 1))
    assert [type(event).__name__ for event in other.history(ID)][-1] == "Held"
    other.close()


def test_many_writers_lose_no_event(casebook: Casebook, url: str) -> None:
    casebook.append(ID, RECEIVED)

    def write(writer: int) -> None:
        book = Casebook(url)
        for number in range(10):
            book.append(ID, Received(2000.0, (item("CT", 100 * writer + number + 2, 2000.0),)))
        book.close()

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert casebook.case(ID).version == 41
    assert len(casebook.case(ID).items) == 43
    assert casebook.replay(ID) == casebook.case(ID)


def test_the_salt_is_drawn_once_and_kept(url: str, tmp_path: Path) -> None:
    first, again, other = Casebook(url), Casebook(url, salt="ignored"), Casebook(f"sqlite:///{tmp_path}/other.db")
    assert first.salt == again.salt != other.salt
    assert len(first.salt) == 32
    for book in (first, again, other):
        book.close()


def test_no_patient_stands_in_the_casebook(casebook: Casebook, url: str) -> None:
    for event in SENT:
        casebook.append(ID, event)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        payloads = [json.loads(row[0]) for row in database.execute("SELECT payload FROM events")]
    assert set(payloads[0]["items"][0]) == {
        "sop_instance_uid",
        "sop_class_uid",
        "series_instance_uid",
        "study_instance_uid",
        "modality",
        "frame_of_reference_uid",
        "key",
        "sha256",
        "received_at_s",
        "patient_known",
        "facts",
    }


def test_events_of_a_newer_psdt_are_not_guessed_at(casebook: Casebook, url: str) -> None:
    casebook.append(ID, RECEIVED)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        database.execute("UPDATE events SET kind = 'beamed'")
        database.commit()
    fresh = Casebook(url)
    with pytest.raises(ConfigurationError, match="kind 'beamed' that this psdt does not know"):
        fresh.cases()
    fresh.close()


def test_an_event_survives_the_loss_of_everything_else(casebook: Casebook, url: str) -> None:
    """The state is in no column: only the events are."""
    for event in (*RELEASED, Delivered(1210.0, outputs()[0].sop_instance_uid, "")):
        casebook.append(ID, event)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(events)")}
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert columns == {"number", "case_id", "sequence", "at_s", "kind", "payload"}


@pytest.mark.parametrize("broken", ["no url", "sqlite:////proc/no/casebook.db"])
def test_a_casebook_that_cannot_be_opened(broken: str) -> None:
    with pytest.raises(NodeConfigurationError):
        Casebook(broken)


def test_a_reopened_case_remembers_what_went_out(casebook: Casebook) -> None:
    for event in (*SENT, Reopened(3000.0, "A. Person")):
        casebook.append(ID, event)
    case = casebook.replay(ID)
    assert case.state is State.ASSEMBLING
    assert case.delivered == case.cleared == {output.sop_instance_uid for output in outputs()}
    assert case.outputs == ()
