"""What is removed and when; never what is open, never an event, never what came again."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dicom_nodes.commitment import Answer, Receipts, receipts_of
from dicom_nodes.removal import FOLDER, GRACE_S, set_aside, settle
from dicom_nodes.storage import Kept, Outcome
from psdt_planner.case import State
from psdt_planner.operation import carry_out, removable
from psdt_planner.worker import discard, release, reopen
from psdt_planner.worker.confirmation import Word
from tests.cases.stories import STORIES, in_state
from tests.cases.test_worker import START_S, House, Outside
from tests.nodes.objects import make, uid_of, write, write_set

DAY_S = 86400.0
KEEP = {State.SENT: 30.0, State.DISCARDED: 7.0}


@pytest.fixture
def house(tmp_path: Path) -> House:
    """One case that was sent just now."""
    house = House.build(tmp_path, Outside())
    house.receive(write_set(tmp_path / "in", slices=2), START_S)
    house.until_idle(START_S + 60)
    release(house.casebook, house.case.id, "A. Person", START_S + 60)
    house.until_idle(START_S + 60)
    assert house.case.state is State.SENT
    return house


def retain(house: House, now_s: float, keep: dict[State, float] = KEEP) -> int:
    removals = removable(house.casebook.cases(), keep, now_s)
    plans = house.folder / "plans"
    return len(carry_out(removals, house.casebook, house.index, house.storage, plans=plans, now_s=now_s))


@pytest.mark.parametrize("state", list(State))
def test_only_what_the_rules_name_and_only_after_its_time(state: State) -> None:
    case = in_state(state)
    later_s = case.since_s + 30 * DAY_S
    assert len(removable([case], KEEP, later_s + 1)) == (state in KEEP)
    assert len(removable([case], KEEP, later_s)) == (state is State.DISCARDED)
    assert removable([case], {}, later_s * 100) == ()
    assert set(STORIES) == set(State)


def test_objects_and_plans_go_and_events_stay(house: House) -> None:
    before = house.casebook.history(house.case.id)
    assert retain(house, START_S + 60 + 29 * DAY_S) == 0
    assert len(list(house.storage.every_key())) == 5
    now_s = time.time() + 31 * DAY_S
    assert retain(house, now_s) == 1
    assert list(house.storage.every_key()) == []
    assert house.index.count() == 0
    assert not (house.folder / "plans" / house.case.id).exists()
    assert house.casebook.history(house.case.id)[:-1] == before
    assert len(house.case.gone) == 5
    assert len(list((house.folder / "storage" / FOLDER).iterdir())) == 0, "the clock says that they lay long enough"
    assert retain(house, now_s) == 0, "nothing is left to remove"
    again = house.restart()
    assert not again.worker.step(now_s), "and nothing is heard of it"
    again.close()


def test_a_case_that_was_reopened_is_left_alone(house: House) -> None:
    removals = removable(house.casebook.cases(), KEEP, START_S + 99 * DAY_S)
    reopen(house.casebook, house.case.id, "A. Person", START_S + 99 * DAY_S)
    plans = house.folder / "plans"
    now_s = START_S + 99 * DAY_S
    assert carry_out(removals, house.casebook, house.index, house.storage, plans=plans, now_s=now_s) == ()
    assert len(list(house.storage.every_key())) == house.index.count() == 5
    house.until_idle(now_s)
    assert house.case.state is State.PROPOSED
    house.close()


def test_a_discarded_case_goes_too(house: House, tmp_path: Path) -> None:
    house.receive(write_set(tmp_path / "two", slices=1, patient_id="OTHER", study=2), START_S)
    house.until_idle(START_S + 60)
    other = house.casebook.cases()[1]
    discard(house.casebook, other.id, "A. Person", "no", START_S + 70)
    assert retain(house, START_S + 8 * DAY_S) == 1
    assert len(list(house.storage.every_key())) == 5, "those of the other patient"
    house.close()


def test_other_bytes_under_the_uids_of_a_case_go_with_it(house: House, tmp_path: Path) -> None:
    changed = make("CT", 1)
    changed.PatientSex = "O"
    house.receive([write(changed, tmp_path / "other")], START_S + 70)
    house.until_idle(START_S + 70)
    discard(house.casebook, house.case.id, "A. Person", "no", START_S + 80)
    assert [key.split("/")[0] for key in house.storage.every_key()] == [*["objects"] * 5, "quarantine"]
    assert retain(house, time.time() + 8 * DAY_S) == 1
    assert list(house.storage.every_key()) == []
    assert house.index.count() == 0
    assert list((house.folder / "storage" / FOLDER).iterdir()) == []
    house.close()


@dataclass
class Archive:
    """A destination that commits to everything, and whose receipts lie where the node keeps them."""

    receipts: Receipts
    how: str = "commitment"
    wait_s: float = 60.0
    asked: list[str] = field(default_factory=list)

    def ask(self, transaction_uid: str, paths: Sequence[Path]) -> Word:
        uids = [uid_of(path) for path in paths]
        self.asked.append(transaction_uid)
        self.receipts.ask(transaction_uid)
        self.receipts.keep(Answer(transaction_uid, tuple(uids)))
        return Word(kept=dict.fromkeys(uids, "storage commitment"))

    def heard(self, transaction_uid: str) -> None:
        return None


def test_receipts_go_with_the_case_that_asked_for_them(tmp_path: Path) -> None:
    house = House.build(tmp_path, Outside())
    receipts = receipts_of(house.storage.root)
    house.worker._confirmation = archive = Archive(receipts)
    receipts.ask("1.2.3")
    house.receive(write_set(tmp_path / "in", slices=2), START_S)
    house.until_idle(START_S + 60)
    release(house.casebook, house.case.id, "A. Person", START_S + 60)
    house.until_idle(START_S + 60)
    assert house.case.state is State.SENT
    (transaction,) = archive.asked
    assert retain(house, START_S + 60 + 29 * DAY_S) == 0
    assert receipts.find(transaction) is not None
    assert retain(house, START_S + 60 + 31 * DAY_S) == 1
    assert not receipts.is_asked(transaction)
    assert receipts.find(transaction) is None
    assert receipts.is_asked("1.2.3"), "that of a case that is open"
    house.close()


def test_a_run_that_was_cut_short_is_finished_by_the_next(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("psdt_planner.operation.retention.set_aside", die)
        with pytest.raises(KeyboardInterrupt):
            retain(house, START_S + 99 * DAY_S)
    assert len(list(house.storage.every_key())) == 5
    house = house.restart()
    assert not house.worker.step(START_S + 99 * DAY_S), "what is to be removed is no news"
    assert retain(house, START_S + 99 * DAY_S) == 0
    assert list(house.storage.every_key()) == []
    house.close()


def test_what_comes_again_after_it_was_removed_is_kept_and_held(house: House, tmp_path: Path) -> None:
    now_s = START_S + 99 * DAY_S
    retain(house, now_s)
    house.receive([write(make("CT", 1), tmp_path)], now_s + 1)
    house.until_idle(now_s + 1)
    assert (house.case.state, house.case.findings[-1].code) == (State.HELD, "object-late")
    retain(house, now_s + 2)
    assert len(list(house.storage.every_key())) == house.index.count() == 1
    house.close()


def test_what_comes_again_while_it_is_removed_is_put_back(house: House) -> None:
    """A sender heard Success because the file was there, in the moment before it was set aside."""
    change = house.index.changes_since(0)[0]
    content = house.storage.path(change.key).read_bytes()
    assert set_aside(house.storage, house.index, [change.key], before_s=START_S + 1) == 1
    assert not house.storage.path(change.key).exists()
    house.index.add(change.header, Kept(Outcome.SAME, change.key, change.sha256, change.size_bytes), START_S + 2)
    assert settle(house.storage, house.index, time.time()) == 0
    assert house.storage.path(change.key).read_bytes() == content
    assert set_aside(house.storage, house.index, [change.key], before_s=START_S + 1) == 0, "it came later"
    house.close()


def test_files_are_set_aside_for_a_while_before_they_are_removed(house: House) -> None:
    key = next(iter(house.storage.every_key()))
    set_aside(house.storage, house.index, [key], before_s=START_S + 1)
    (aside,) = (house.folder / "storage" / FOLDER).iterdir()
    assert settle(house.storage, house.index, time.time()) == 0
    assert aside.exists()
    os.utime(aside, (0, time.time() - GRACE_S - 1))
    assert settle(house.storage, house.index, time.time()) == 1
    assert not aside.exists()
    house.close()
