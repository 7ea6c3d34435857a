"""The loop: from objects in the storage to outputs at the destination, and never past a person."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as DicomSequence

from dicom_nodes.errors import ConfigurationError, PeerError
from dicom_nodes.headers import read_file_header
from dicom_nodes.index import Index
from dicom_nodes.sender import Sent
from dicom_nodes.statuses import Meaning, Next, find
from dicom_nodes.storage import Storage
from psdt_planner.case import PLAN_STARTS, Case, Facts, Send, State, Strayed, waits_for, wanted
from psdt_planner.casebook import Casebook
from psdt_planner.errors import CaseStateError, GeometryError
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.worker import Worker, WorkerConfig, discard, hold, list_cases, release, reopen
from psdt_planner.worker.confirmation import Word
from tests.nodes.objects import PATIENT_ID, dataset_bytes, make, uid, uid_of, write, write_set

START_S = 1_700_000_000.0
HELD = Finding("lesion-outside-ct", Level.HOLD, "L2 is outside the CT", Who.PERSON, lesion="L2")


@dataclass(frozen=True)
class FakeDossier:
    status: str
    findings: tuple[Finding, ...]
    outputs: Mapping[str, Path]


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Outside:
    """All that is not the worker: what planning and the destination do, and what they saw."""

    plans: list[tuple[list[Path], Path]] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    plan: Callable[[Sequence[Path], Path], FakeDossier] | None = None
    statuses: dict[str, int | None] = field(default_factory=dict)
    die_after: int | None = None

    def make_dossier(self, inputs: Sequence[Path], out: Path) -> FakeDossier:
        self.plans.append((list(inputs), out))
        return (self.plan or propose)(inputs, out)

    def deliver(self, paths: Sequence[Path]) -> list[Sent]:
        results = []
        for path in paths:
            if self.die_after is not None and len(self.sent) >= self.die_after:
                raise Killed
            self.sent.append((uid_of(path), path.read_bytes()))
            code = self.statuses.get(path.name, 0)
            if code is None:
                results.append(Sent(path, uid_of(path), None, Meaning.FAILURE, Next.RETRY, "the peer did not answer"))
            else:
                status = find(code)
                results.append(Sent(path, uid_of(path), code, status.meaning, status.next, status.name))
        return results


def propose(inputs: Sequence[Path], out: Path) -> FakeDossier:
    """Three small real DICOM files whose UIDs follow from the inputs, and a report."""
    study = 1000 + sum(ord(letter) for path in inputs for letter in path.name) * 1000 + len(inputs)
    outputs = {}
    for kind, name in (("RTSTRUCT", "rtstruct.dcm"), ("REG", "registration.dcm"), ("DOC", "proposal.dcm")):
        outputs[name] = write(make(kind, 1, study=study), out).rename(out / name)
    outputs["report.html"] = out / "report.html"
    outputs["report.html"].write_text("<html></html>", encoding="utf-8")
    return FakeDossier("proposed", (), outputs)


@dataclass
class House:
    """One node's storage, one casebook, one worker; ``restart`` is what a new process sees."""

    folder: Path
    outside: Outside
    storage: Storage
    index: Index
    casebook: Casebook
    worker: Worker

    @classmethod
    def build(cls, folder: Path, outside: Outside) -> House:
        index, storage = Index(f"sqlite:///{folder}/index.db"), Storage(folder / "storage")
        casebook = Casebook(f"sqlite:///{folder}/casebook.db", salt="salt")
        config = WorkerConfig(casebook="unused", folder=folder / "plans", destination="tps", send_attempts=3)
        worker = Worker(
            config,
            index=index,
            storage=storage,
            casebook=casebook,
            make_dossier=outside.make_dossier,
            deliver=outside.deliver,
        )
        return cls(folder, outside, storage, index, casebook, worker)

    def restart(self) -> House:
        self.close()
        return House.build(self.folder, self.outside)

    def close(self) -> None:
        self.index.close()
        self.casebook.close()

    def receive(self, files: Sequence[Path], at_s: float) -> None:
        """What the listener does."""
        for file in files:
            header = read_file_header(file)
            data = dataset_bytes(file)
            meta = file.read_bytes()[132 : -len(data)]
            self.index.add(header, self.storage.keep(header.sop_instance_uid, meta, data), at_s)

    def until_idle(self, now_s: float) -> None:
        for _ in range(20):
            if not self.worker.step(now_s):
                return
        pytest.fail("the worker does not come to rest")

    @property
    def case(self) -> Case:
        (case,) = self.casebook.cases()
        return case


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def house(tmp_path: Path, outside: Outside) -> Iterator[House]:
    house = House.build(tmp_path, outside)
    yield house
    house.close()


@pytest.fixture
def proposed(house: House, tmp_path: Path) -> House:
    house.receive(write_set(tmp_path / "in", slices=3), START_S)
    house.until_idle(START_S + 60)
    assert house.case.state is State.PROPOSED
    return house


def test_the_plain_story(house: House, outside: Outside, tmp_path: Path) -> None:
    files = write_set(tmp_path / "in", slices=3)
    house.receive(files, START_S)
    house.until_idle(START_S + 59)
    assert (house.case.state, outside.plans) == (State.ASSEMBLING, [])

    house.until_idle(START_S + 60)
    assert house.case.state is State.PROPOSED
    ((inputs, out),) = outside.plans
    assert sorted(dataset_bytes(path) for path in inputs) == sorted(dataset_bytes(path) for path in files)
    assert inputs == sorted(inputs)
    assert out == tmp_path / "plans" / house.case.id / "plan-1"
    assert [output.name for output in house.case.outputs] == ["proposal.dcm", "registration.dcm", "rtstruct.dcm"]

    house.until_idle(START_S + 10**6)
    assert outside.sent == [], "time alone sends nothing"

    release(house.casebook, house.case.id, "A. Person", START_S + 10**6)
    house.until_idle(START_S + 10**6)
    assert house.case.state is State.SENT
    on_disk = [(uid_of(out / name), (out / name).read_bytes()) for name in sorted(p.name for p in out.glob("*.dcm"))]
    assert outside.sent == on_disk
    house.until_idle(START_S + 10**7)
    assert len(outside.sent) == 3, "once"


def test_two_patients_are_two_cases_and_no_id_tells_who(house: House, tmp_path: Path) -> None:
    house.receive(write_set(tmp_path / "one", slices=2), START_S)
    house.receive(write_set(tmp_path / "two", slices=2, patient_id="OTHER-17", study=2), START_S)
    house.until_idle(START_S + 60)
    rows = list_cases(house.casebook)
    assert [(row.state, row.objects, row.plan, row.waits_for) for row in rows] == [
        ("proposed", 5, 1, ("a release",))
    ] * 2
    assert len({row.id for row in rows}) == 2
    for planted in (PATIENT_ID, "OTHER-17", "4711"):
        assert all(planted not in row.id for row in rows)
        assert all(planted not in str(path) for path in tmp_path.rglob("*") if "plans" in path.parts)


def test_the_same_patient_of_another_issuer_is_another_case(house: House, tmp_path: Path) -> None:
    for number, issuer in enumerate(("A", "B"), start=1):
        ds = make("CT", number)
        ds.IssuerOfPatientID = issuer
        house.receive([write(ds, tmp_path)], START_S)
    house.until_idle(START_S)
    assert len(list_cases(house.casebook)) == 2


def test_objects_without_a_patient_wait_for_one(house: House, tmp_path: Path, outside: Outside) -> None:
    house.receive(write_set(tmp_path / "in", slices=1, patient_id=""), START_S)
    house.until_idle(START_S + 10**5)
    (row,) = list_cases(house.casebook)
    assert (row.state, row.waits_for) == ("assembling", ("a Patient ID on every object",))
    assert outside.plans == []


def test_an_incomplete_set_waits_and_says_for_what(house: House, tmp_path: Path) -> None:
    house.receive([write(make("CT", 1), tmp_path)], START_S)
    house.until_idle(START_S + 10**5)
    (row,) = list_cases(house.casebook)
    lacks = ("a diffusion series (DWI or ADC)", "flags (SEG, SR or RTSTRUCT on the MR)")
    assert (row.state, row.waits_for) == ("assembling", lacks)
    house.until_idle(START_S + 7 * 86400)
    (row,) = list_cases(house.casebook)
    assert (row.state, row.waits_for) == ("held", ("a person: case-incomplete",))


def test_a_plan_that_holds_is_held_with_its_findings(house: House, tmp_path: Path, outside: Outside) -> None:
    outside.plan = lambda _inputs, _out: FakeDossier("held", (HELD,), {})
    house.receive(write_set(tmp_path / "in", slices=1), START_S)
    house.until_idle(START_S + 60)
    assert (house.case.state, house.case.findings) == (State.HELD, (HELD,))
    with pytest.raises(CaseStateError, match="'released' is not possible while the case is held"):
        release(house.casebook, house.case.id, "A. Person", START_S + 70)
    house.until_idle(START_S + 10**6)
    assert len(outside.plans) == 1, "not tried again by itself"

    outside.plan = None
    reopen(house.casebook, house.case.id, "A. Person", START_S + 80)
    house.until_idle(START_S + 80)
    assert (house.case.state, house.case.plan) == (State.PROPOSED, 2)


@pytest.mark.parametrize(
    ("error", "code"),
    [(GeometryError("a slice is missing", where="1.2.3"), "plan-failed"), (ZeroDivisionError("secret"), "plan-fault")],
)
def test_a_plan_that_fails_holds_its_case_and_no_other(
    house: House, tmp_path: Path, error: Exception, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail_for_five(inputs: Sequence[Path], out: Path) -> FakeDossier:
        if len(inputs) == 5:
            raise error
        return propose(inputs, out)

    house.outside.plan = fail_for_five
    house.receive(write_set(tmp_path / "one", slices=2), START_S)
    house.receive(write_set(tmp_path / "two", slices=1, patient_id="OTHER", study=2), START_S)
    house.until_idle(START_S + 60)
    first, second = house.casebook.cases()
    assert [finding.code for finding in first.findings] == [code]
    assert (first.state, second.state) == (State.HELD, State.PROPOSED)
    assert "secret" not in first.findings[0].message + "".join(capfd.readouterr())


def test_a_proposal_without_a_dicom_file_is_a_fault_of_ours(house: House, tmp_path: Path, outside: Outside) -> None:
    outside.plan = lambda _inputs, out: FakeDossier("proposed", (), {"report.html": out / "report.html"})
    house.receive(write_set(tmp_path / "in", slices=1), START_S)
    house.until_idle(START_S + 60)
    assert house.case.state is State.HELD
    assert "without a DICOM file" in house.case.findings[0].message


def test_other_bytes_under_a_uid_of_ours_hold_the_case(house: House, tmp_path: Path, outside: Outside) -> None:
    def sloppy(inputs: Sequence[Path], out: Path) -> FakeDossier:
        dossier = propose(inputs, out)
        path = dossier.outputs["rtstruct.dcm"]
        path.write_bytes(path.read_bytes() + len(outside.plans) * b"\0\0")
        return dossier

    outside.plan = sloppy
    house.receive(write_set(tmp_path / "in", slices=1), START_S)
    house.until_idle(START_S + 60)
    reopen(house.casebook, house.case.id, "A. Person", START_S + 70)
    house.until_idle(START_S + 70)
    assert house.case.state is State.HELD
    (finding,) = house.case.findings
    assert finding.code == "plan-fault"
    assert "other bytes under the UID" in finding.message


class TestSending:
    def test_a_failure_is_tried_again_for_what_is_missing(self, proposed: House, outside: Outside) -> None:
        outside.statuses = {"registration.dcm": 0xA700}
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        proposed.until_idle(START_S + 100)
        assert (proposed.case.state, len(outside.sent)) == (State.RELEASED, 3)
        assert proposed.case.retry_at_s == START_S + 110
        proposed.until_idle(START_S + 109)
        assert len(outside.sent) == 3
        outside.statuses = {}
        proposed.until_idle(START_S + 110)
        assert proposed.case.state is State.SENT
        assert outside.sent[3] == outside.sent[1], "the same bytes under the same UID"

    def test_it_is_given_up_after_the_last_attempt_with_its_reason(self, proposed: House, outside: Outside) -> None:
        outside.statuses = {"rtstruct.dcm": None}
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        for later_s in (100, 110, 130, 10**6):
            proposed.until_idle(START_S + later_s)
        assert proposed.case.state is State.FAILED
        assert proposed.case.findings[-1].message == "rtstruct.dcm: the peer did not answer"
        assert len(outside.sent) == 5

    def test_a_refusal_for_good_is_not_tried_again(self, proposed: House, outside: Outside) -> None:
        outside.statuses = {"rtstruct.dcm": 0xA900}
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        proposed.until_idle(START_S + 100)
        assert proposed.case.state is State.FAILED
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 200)
        outside.statuses = {}
        proposed.until_idle(START_S + 200)
        assert proposed.case.state is State.SENT
        assert [name for name, _ in outside.sent[3:]] == [outside.sent[2][0]]

    def test_a_fault_of_ours_while_sending_is_tried_again_and_stops_no_other_case(
        self, proposed: House, outside: Outside, tmp_path: Path
    ) -> None:
        proposed.receive(write_set(tmp_path / "two", slices=1, patient_id="OTHER", study=2), START_S)
        proposed.until_idle(START_S + 60)
        first, second = proposed.casebook.cases()
        deliver = outside.deliver

        def trip(paths: Sequence[Path]) -> list[Sent]:
            if first.id in paths[0].parts:
                raise ZeroDivisionError
            return deliver(paths)

        proposed.worker._deliver = trip
        for case in (first, second):
            release(proposed.casebook, case.id, "A. Person", START_S + 100)
        proposed.until_idle(START_S + 100)
        assert proposed.casebook.case(second.id).state is State.SENT
        assert (proposed.casebook.case(first.id).state, proposed.casebook.case(first.id).attempts) == (
            State.RELEASED,
            1,
        )
        for later_s in (110, 130):
            proposed.until_idle(START_S + later_s)
        failed = proposed.casebook.case(first.id)
        assert (failed.state, failed.findings[-1].message) == (State.FAILED, "a fault of psdt: ZeroDivisionError")

    def test_a_warning_is_stored_and_shown(self, proposed: House, outside: Outside) -> None:
        outside.statuses = {"rtstruct.dcm": 0xB000}
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        proposed.until_idle(START_S + 100)
        assert proposed.case.state is State.SENT
        (finding,) = proposed.case.findings
        assert finding.code == "send-warning"
        assert "Coercion" in finding.message

    @pytest.mark.parametrize("damage", ["changed", "deleted"])
    def test_what_was_not_released_so_does_not_go_out(self, proposed: House, outside: Outside, damage: str) -> None:
        path = proposed.folder / "plans" / proposed.case.outputs[2].path
        if damage == "changed":
            path.write_bytes(path.read_bytes() + b"\0\0")
        else:
            path.unlink()
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        proposed.until_idle(START_S + 100)
        assert (proposed.case.state, outside.sent) == (State.FAILED, [])
        assert proposed.case.findings[-1].message == "not what was released: rtstruct.dcm"

    def test_a_secret_or_certificate_that_is_wrong_is_tried_again_and_named(
        self, proposed: House, outside: Outside
    ) -> None:
        def deliver(_paths: Sequence[Path]) -> list[Sent]:
            raise ConfigurationError("others may read a secret", where="vna.secret", todo="chmod 600 vna.secret")

        proposed.worker._deliver = deliver
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        for later_s in (100, 110, 130):
            proposed.until_idle(START_S + later_s)
        assert (proposed.case.state, outside.sent) == (State.FAILED, [])
        assert proposed.case.findings[-1].message == "others may read a secret [vna.secret]. chmod 600 vna.secret"

    def test_each_answer_is_written_down_before_the_next_output_goes_out(
        self, proposed: House, outside: Outside
    ) -> None:
        """Killed in the middle, what was acknowledged is not sent again."""

        def one_by_one(paths: Sequence[Path]) -> Iterator[Sent]:
            for path in paths:
                yield from outside.deliver([path])

        proposed.worker._deliver = one_by_one
        outside.die_after = 2
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        with pytest.raises(Killed):
            proposed.until_idle(START_S + 100)
        assert len(proposed.case.delivered) == 2
        outside.die_after = None
        house = proposed.restart()
        house.until_idle(START_S + 101)
        assert (house.case.state, len(outside.sent)) == (State.SENT, 3)
        assert len({name for name, _ in outside.sent}) == 3
        assert house.case.attempts == 2
        house.close()

    def test_sending_that_kills_the_process_each_time_ends_with_a_person(
        self, proposed: House, outside: Outside
    ) -> None:
        outside.die_after = 0
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        house = proposed
        for _ in range(3):
            with pytest.raises(Killed):
                house.until_idle(START_S + 100)
            house = house.restart()
        house.until_idle(START_S + 100)
        assert (house.case.state, outside.sent) == (State.FAILED, [])
        assert "begun 3 times" in house.case.findings[-1].message
        house.close()


@dataclass
class FakeConfirmation:
    """A destination that says what a test wants; without a word it answers later, through ``said``."""

    at_once: Word | None = None
    error: Exception | None = None
    said: dict[str, Word] = field(default_factory=dict)
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    how: str = "commitment"
    wait_s: float = 600.0

    def ask(self, transaction_uid: str, paths: Sequence[Path]) -> Word | None:
        self.asked.append((transaction_uid, [path.name for path in paths]))
        if self.error is not None:
            raise self.error
        return self.at_once

    def heard(self, transaction_uid: str) -> Word | None:
        return self.said.get(transaction_uid)


class TestConfirming:
    """pending, partial, failed and never answered: each ends where a person sees it."""

    @pytest.fixture
    def asking(self, proposed: House) -> FakeConfirmation:
        """The destination's side, after everything was taken."""
        fake = FakeConfirmation()
        proposed.worker._confirmation = fake
        return fake

    def go(self, house: House, *later_s: float) -> Case:
        """Release, and let the worker run at each of these times."""
        if house.case.state is State.PROPOSED:
            release(house.casebook, house.case.id, "A. Person", START_S + 100)
        for at_s in later_s:
            house.until_idle(START_S + at_s)
        return house.case

    def all_of(self, house: House, how: str = "storage commitment") -> Word:
        return Word(kept={output.sop_instance_uid: how for output in house.case.outputs})

    def test_a_word_at_once(self, proposed: House, asking: FakeConfirmation) -> None:
        asking.at_once = self.all_of(proposed, "read back: same bytes")
        case = self.go(proposed, 100)
        assert (case.state, set(case.confirmed.values())) == (State.SENT, {"read back: same bytes"})
        assert [names for _, names in asking.asked] == [["proposal.dcm", "registration.dcm", "rtstruct.dcm"]]

    def test_pending_and_then_a_word_that_came_over_the_listener(
        self, proposed: House, asking: FakeConfirmation
    ) -> None:
        case = self.go(proposed, 100, 400)
        assert (case.state, len(asking.asked), case.answer_by_s) == (State.CONFIRMING, 1, START_S + 700)
        asking.said[case.transactions[0]] = self.all_of(proposed)
        assert self.go(proposed, 401).state is State.SENT
        assert not proposed.worker.step(START_S + 402)

    def test_partial(self, proposed: House, asking: FakeConfirmation, outside: Outside) -> None:
        case = self.go(proposed, 100)
        first, second, _ = (output.sop_instance_uid for output in case.outputs)
        asking.said[case.transactions[0]] = Word({first: "commitment"}, {second: "class-instance conflict (0119)"})
        case = self.go(proposed, 101)
        assert (case.state, set(case.confirmed), case.lost) == (State.UNCONFIRMED, {first}, {second})
        message = case.findings[-1].message
        assert "registration.dcm: class-instance conflict (0119)" in message
        assert "rtstruct.dcm: the answer does not name it" in message
        assert not proposed.worker.step(START_S + 10**6), "it waits for a person"

        release(proposed.casebook, case.id, "B. Person", START_S + 200)
        asking.at_once = self.all_of(proposed)
        assert self.go(proposed, 200).state is State.SENT
        assert [name for name, _ in outside.sent[3:]] == [second], "only what was lost goes out again"
        assert outside.sent[3] == outside.sent[1], "the same bytes"

    def test_failed_for_now_is_asked_again(self, proposed: House, asking: FakeConfirmation) -> None:
        """An archive that has not entered the objects yet says that it has none."""
        uids = [output.sop_instance_uid for output in proposed.case.outputs]
        asking.at_once = Word(lost=dict.fromkeys(uids, "no such object instance (0112)"), again=True)
        case = self.go(proposed, 100)
        assert (case.state, case.retry_at_s) == (State.CONFIRMING, START_S + 110)
        asking.at_once = self.all_of(proposed)
        assert self.go(proposed, 109).state is State.CONFIRMING
        assert self.go(proposed, 110).state is State.SENT
        assert len({transaction for transaction, _ in asking.asked}) == 2, "each question has a UID of its own"

    def test_failed_for_good_ends_with_a_person(self, proposed: House, asking: FakeConfirmation) -> None:
        uids = [output.sop_instance_uid for output in proposed.case.outputs]
        asking.at_once = Word(lost=dict.fromkeys(uids, "no such object instance (0112)"), again=True)
        case = self.go(proposed, 100, 110, 130)
        assert (case.state, case.findings[-1].code, case.lost) == (State.UNCONFIRMED, "send-not-confirmed", set(uids))

    def test_never_answered(self, proposed: House, asking: FakeConfirmation) -> None:
        case = self.go(proposed, 100, 700, 710, 1310, 1330, 1929)
        assert (case.state, len(asking.asked)) == (State.CONFIRMING, 3)
        case = self.go(proposed, 1930)
        assert (case.state, case.findings[-1].message) == (
            State.UNCONFIRMED,
            "the destination did not answer in time",
        )
        asking.said[case.transactions[0]] = self.all_of(proposed)
        assert self.go(proposed, 10**6).state is State.SENT, "an answer to the first question, late, still counts"

    def test_a_question_that_cannot_be_put(self, proposed: House, asking: FakeConfirmation) -> None:
        asking.error = PeerError("the peer cannot be reached", where="TPS at host:1")
        case = self.go(proposed, 100)
        assert (case.state, case.retry_at_s) == (State.CONFIRMING, START_S + 110)
        case = self.go(proposed, 110, 130)
        assert case.state is State.UNCONFIRMED
        assert "cannot be reached" in case.findings[-1].message

    def test_a_fault_of_ours_while_asking_names_no_patient(self, proposed: House, asking: FakeConfirmation) -> None:
        asking.error = ZeroDivisionError("secret")
        case = self.go(proposed, 100, 110, 130)
        assert (case.state, case.findings[-1].message) == (
            State.UNCONFIRMED,
            "a fault of psdt: ZeroDivisionError",
        )

    def test_killed_between_question_and_answer(self, proposed: House, asking: FakeConfirmation) -> None:
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        asking.error = Killed()  # type: ignore[assignment]
        with pytest.raises(Killed):
            proposed.until_idle(START_S + 100)
        house = proposed.restart()
        fresh = FakeConfirmation(said={proposed.case.transactions[0]: self.all_of(proposed)})
        house.worker._confirmation = fresh
        house.until_idle(START_S + 101)
        assert (house.case.state, fresh.asked) == (State.SENT, []), "the answer to the old question is found"
        house.close()

    def test_a_destination_that_is_no_longer_asked(self, proposed: House, asking: FakeConfirmation) -> None:
        self.go(proposed, 100)
        proposed.worker._confirmation = None
        case = self.go(proposed, 100, 700, 710)
        assert case.state is State.UNCONFIRMED
        assert "configuration" in case.findings[-1].message

    def test_a_late_object_while_the_word_is_awaited_holds(
        self, proposed: House, asking: FakeConfirmation, tmp_path: Path
    ) -> None:
        self.go(proposed, 100)
        proposed.receive([write(make("CT", 9), tmp_path)], START_S + 101)
        assert self.go(proposed, 101).state is State.HELD
        assert len(asking.asked) == 1


class TestLateObjects:
    def test_before_a_release_the_plan_is_made_again(self, proposed: House, outside: Outside, tmp_path: Path) -> None:
        first = {output.sop_instance_uid for output in proposed.case.outputs}
        proposed.receive([write(make("CT", 9), tmp_path)], START_S + 100)
        proposed.until_idle(START_S + 101)
        assert proposed.case.state is State.ASSEMBLING
        proposed.until_idle(START_S + 160)
        assert (proposed.case.state, proposed.case.plan) == (State.PROPOSED, 2)
        assert len(outside.plans[1][0]) == len(outside.plans[0][0]) + 1
        assert first.isdisjoint({output.sop_instance_uid for output in proposed.case.outputs})

    def test_after_a_release_nothing_goes_out(self, proposed: House, outside: Outside, tmp_path: Path) -> None:
        proposed.receive([write(make("CT", 9), tmp_path)], START_S + 100)
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        proposed.until_idle(START_S + 10**6)
        assert (proposed.case.state, outside.sent) == (State.HELD, [])
        assert proposed.case.findings[-1].code == "object-late"

    def test_one_that_comes_while_the_plan_is_being_made(self, house: House, outside: Outside, tmp_path: Path) -> None:
        def plan(inputs: Sequence[Path], out: Path) -> FakeDossier:
            if len(outside.plans) == 1:
                house.receive([write(make("CT", 9), tmp_path)], START_S + 65)
            return propose(inputs, out)

        outside.plan = plan
        house.receive(write_set(tmp_path / "in", slices=2), START_S)
        house.until_idle(START_S + 60)
        assert house.case.state is State.ASSEMBLING
        house.until_idle(START_S + 125)
        assert (house.case.state, len(outside.plans[1][0])) == (State.PROPOSED, 6)

    def test_a_resend_changes_nothing(self, proposed: House, tmp_path: Path) -> None:
        before = proposed.case
        proposed.receive(write_set(tmp_path / "in", slices=3), START_S + 100)
        assert not proposed.worker.step(START_S + 200)
        assert proposed.case == before

    def test_other_bytes_under_a_known_uid_hold_the_case(self, proposed: House, tmp_path: Path) -> None:
        ds = make("CT", 1)
        ds.PatientID = "SOMEBODY-ELSE"
        proposed.receive([write(ds, tmp_path)], START_S + 100)
        proposed.until_idle(START_S + 200)
        assert proposed.case.state is State.HELD, "the case of the first object, whoever the other one names"
        assert proposed.case.findings[-1].code == "object-conflict"
        assert uid(1, 1, 1) in proposed.case.findings[-1].message


def referring(series_uid: str, *, patient_id: str, study: int) -> Dataset:
    """Flags of one patient that refer to a series."""
    flags = make("SEG", 1, patient_id=patient_id, study=study)
    flags.ReferencedSeriesSequence = DicomSequence([Dataset()])
    flags.ReferencedSeriesSequence[0].SeriesInstanceUID = series_uid
    return flags


class TestReferences:
    """Where the patient that an object names and what it refers to disagree, nothing is planned."""

    @pytest.mark.parametrize("flags_first", [True, False])
    def test_flags_under_another_patient_hold_both_cases(
        self, house: House, tmp_path: Path, outside: Outside, flags_first: bool
    ) -> None:
        images = write_set(tmp_path / "one", slices=2)
        series = str(dcmread(images[2]).SeriesInstanceUID)
        flags = [write(referring(series, patient_id="OTHER-17", study=2), tmp_path)]
        for files in (flags, images) if flags_first else (images, flags):
            house.receive(files, START_S)
            house.worker.step(START_S)
        house.until_idle(START_S + 10**5)
        cases = house.casebook.cases()
        assert [case.state for case in cases] == [State.HELD] * 2
        assert [[f.code for f in case.findings] for case in cases] == [["reference-elsewhere"]] * 2
        assert cases[0].id in cases[1].findings[0].message
        assert outside.plans == []

    def test_what_was_heard_before_a_crash_is_told_after_it(self, house: House, tmp_path: Path) -> None:
        images = write_set(tmp_path / "one", slices=2)
        series = str(dcmread(images[2]).SeriesInstanceUID)
        house.receive([*images, write(referring(series, patient_id="OTHER-17", study=2), tmp_path)], START_S)
        for identifier, event in house.worker._hearing.news():
            if isinstance(event, Strayed):
                break  # killed before it was written down
            house.casebook.append(identifier, event)
        house = house.restart()
        house.until_idle(START_S)
        assert [case.state for case in house.casebook.cases()] == [State.HELD] * 2
        house.close()

    def test_flags_wait_for_the_series_that_they_refer_to(self, house: House, tmp_path: Path) -> None:
        (*images, _flags) = write_set(tmp_path / "one", slices=2)
        late = make("MR", 1)
        late.SeriesInstanceUID, late.SOPInstanceUID = uid(1, 77), uid(1, 77, 1)
        flags = referring(uid(1, 77), patient_id=PATIENT_ID, study=1)
        house.receive([*images, write(flags, tmp_path)], START_S)
        house.until_idle(START_S + 1000)
        assert house.case.state is State.ASSEMBLING
        assert waits_for(house.case)[-1] == f"series {uid(1, 77)}, which seg refers to"
        house.receive([write(late, tmp_path)], START_S + 2000)
        house.until_idle(START_S + 2060)
        assert house.case.state is State.PROPOSED

    def test_a_coerced_identity_holds_the_case(self, house: House, tmp_path: Path, outside: Outside) -> None:
        ds = make("CT", 8)
        original, before = Dataset(), Dataset()
        before.PatientID = "SOMEBODY-ELSE"
        original.ModifiedAttributesSequence = DicomSequence([before])
        ds.OriginalAttributesSequence = DicomSequence([original])
        house.receive([*write_set(tmp_path / "one", slices=2), write(ds, tmp_path)], START_S)
        house.until_idle(START_S + 1000)
        assert (house.case.state, house.case.findings[0].code) == (State.HELD, "patient-coerced")
        assert outside.plans == []

    def test_a_fault_while_reading_stops_no_case(
        self, house: House, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def trip(_path: Path, _salt: bytes) -> Facts:
            raise ZeroDivisionError("secret")

        house.worker._hearing._read_facts = trip
        house.receive(write_set(tmp_path / "one", slices=1), START_S)
        house.until_idle(START_S + 100)
        assert (house.case.state, len(house.case.items)) == (State.ASSEMBLING, 3)
        assert "secret" not in "".join(capfd.readouterr())


class TestPersons:
    def test_hold_reopen_discard(self, proposed: House, outside: Outside) -> None:
        book, identifier = proposed.casebook, proposed.case.id
        hold(book, identifier, "A. Person", "wrong patient?", START_S + 100)
        proposed.until_idle(START_S + 10**6)
        assert proposed.case.state is State.HELD
        reopen(book, identifier, "A. Person", START_S + 10**6)
        proposed.until_idle(START_S + 10**6)
        assert proposed.case.state is State.PROPOSED
        discard(book, identifier, "A. Person", "treated elsewhere", START_S + 10**6)
        proposed.until_idle(START_S + 10**7)
        assert (proposed.case.state, outside.sent) == (State.DISCARDED, [])

    def test_a_hold_while_the_plan_is_being_made_wins(self, house: House, outside: Outside, tmp_path: Path) -> None:
        def plan(inputs: Sequence[Path], out: Path) -> FakeDossier:
            other = Casebook(f"sqlite:///{tmp_path}/casebook.db")
            hold(other, house.case.id, "A. Person", "stop", START_S + 65)
            other.close()
            return propose(inputs, out)

        outside.plan = plan
        house.receive(write_set(tmp_path / "in", slices=2), START_S)
        house.until_idle(START_S + 60)
        assert (house.case.state, house.case.outputs) == (State.HELD, ())

    def test_a_hold_while_an_object_is_on_its_way_stops_the_rest_of_the_case(
        self, proposed: House, outside: Outside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliver = outside.deliver

        def deliver_and_hold(paths: Sequence[Path]) -> list[Sent]:
            hold(proposed.casebook, proposed.case.id, "A. Person", "stop", START_S + 101)
            return deliver(paths)

        monkeypatch.setattr(proposed.worker, "_deliver", deliver_and_hold)
        outside.statuses = {"rtstruct.dcm": 0xA700}
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        proposed.until_idle(START_S + 10**6)
        assert proposed.case.state is State.HELD
        assert len(proposed.case.delivered) == 2, "what went out is known"
        assert len(outside.sent) == 3

    def test_the_plan_that_was_looked_at(self, proposed: House, tmp_path: Path) -> None:
        proposed.receive([write(make("CT", 9), tmp_path)], START_S + 100)
        proposed.until_idle(START_S + 160)
        with pytest.raises(CaseStateError, match="at plan 2, not 1"):
            release(proposed.casebook, proposed.case.id, "A. Person", START_S + 170, plan=1)
        with pytest.raises(CaseStateError, match=r"has had 2 plans; say which .* --plan 2"):
            release(proposed.casebook, proposed.case.id, "A. Person", START_S + 170)
        assert release(proposed.casebook, proposed.case.id, "A. Person", START_S + 170, plan=2).state is State.RELEASED


class TestRestart:
    def test_a_restart_hears_everything_again_and_changes_nothing(self, proposed: House, outside: Outside) -> None:
        before = proposed.case
        house = proposed.restart()
        assert not house.worker.step(START_S + 10**6)
        assert house.case == house.casebook.replay(before.id) == before
        assert len(outside.plans) == 1
        house.close()

    def test_killed_while_planning_the_plan_is_made_again_in_an_empty_folder(
        self, house: House, outside: Outside, tmp_path: Path
    ) -> None:
        def die(_inputs: Sequence[Path], out: Path) -> FakeDossier:
            (out / "rtstruct.dcm").write_bytes(b"half a structure set")
            raise Killed

        outside.plan = die
        house.receive(write_set(tmp_path / "in", slices=2), START_S)
        with pytest.raises(Killed):
            house.until_idle(START_S + 60)
        assert house.case.state is State.PLANNING
        outside.plan = None
        house = house.restart()
        house.until_idle(START_S + 70)
        assert (house.case.state, house.case.plan) == (State.PROPOSED, 1)
        assert outside.plans[0] == outside.plans[1]
        house.close()

    def test_a_plan_that_kills_the_process_each_time_is_held_for_a_person(
        self, house: House, outside: Outside, tmp_path: Path
    ) -> None:
        def die(_inputs: Sequence[Path], _out: Path) -> FakeDossier:
            raise Killed

        outside.plan = die
        house.receive(write_set(tmp_path / "in", slices=2), START_S)
        for number in range(1, PLAN_STARTS + 1):
            with pytest.raises(Killed):
                house.until_idle(START_S + 60)
            assert (house.case.state, len(outside.plans)) == (State.PLANNING, number)
            house = house.restart()
        house.until_idle(START_S + 70)
        assert (house.case.state, len(outside.plans)) == (State.HELD, PLAN_STARTS)
        (finding,) = house.case.findings
        assert (finding.code, finding.level, finding.value) == ("plan-failed", Level.HOLD, PLAN_STARTS)
        assert house.case == house.casebook.replay(house.case.id)

        outside.plan = None
        reopen(house.casebook, house.case.id, "A. Person", START_S + 80)
        house.until_idle(START_S + 80)
        assert (house.case.state, house.case.plan, house.case.starts) == (State.PROPOSED, 2, 1)
        house.close()

    @pytest.mark.parametrize("sent_before", [0, 1, 2, 3])
    def test_killed_while_sending_the_same_bytes_go_again(
        self, proposed: House, outside: Outside, sent_before: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outside.die_after = sent_before
        if sent_before == 3:  # everything is at the destination, but nothing of it was written down

            def die(*_: object) -> None:
                raise Killed

            monkeypatch.setattr(proposed.worker, "_append", die)
        release(proposed.casebook, proposed.case.id, "A. Person", START_S + 100)
        with pytest.raises(Killed):
            proposed.until_idle(START_S + 100)
        outside.die_after = None
        house = proposed.restart()
        house.until_idle(START_S + 200)
        assert house.case.state is State.SENT
        by_uid: dict[str, set[bytes]] = {}
        for name, content in outside.sent:
            by_uid.setdefault(name, set()).add(content)
        assert len(by_uid) == 3
        assert all(len(contents) == 1 for contents in by_uid.values())
        house.close()


STEPS = ("ct", "mr", "flags", "time", "release", "hold", "reopen", "discard", "restart", "refuse", "accept")
MODALITIES = {"ct": "CT", "mr": "MR", "flags": "SEG"}


def decide(house: House, step: str, now_s: float) -> set[str]:
    """Ask for a decision about every case; the outputs that a release cleared."""
    book, cleared = house.casebook, set[str]()
    decisions = {
        "hold": lambda case: hold(book, case.id, "A. Person", "stop", now_s),
        "reopen": lambda case: reopen(book, case.id, "A. Person", now_s),
        "discard": lambda case: discard(book, case.id, "A. Person", "no", now_s),
        "release": lambda case: release(book, case.id, "A. Person", now_s, case.plan),
    }
    for case in book.cases():
        with suppress(CaseStateError):
            decisions[step](case)
            if step == "release":
                cleared |= {output.sop_instance_uid for output in case.outputs}
    return cleared


@given(steps=st.lists(st.sampled_from(STEPS), max_size=20))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_any_order_only_what_was_released_goes_out(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    outside, folder, now_s = Outside(), tmp_path_factory.mktemp("house"), START_S
    house, cleared = House.build(folder, outside), set[str]()
    house.receive(write_set(folder / "in", slices=1), now_s)
    for number, step in enumerate(["time", *steps], start=10):
        now_s += 3600.0 if step == "time" else 7.0
        if step in MODALITIES:
            house.receive([write(make(MODALITIES[step], number), folder / "in")], now_s)
        elif step == "restart":
            house = house.restart()
        elif step in {"refuse", "accept"}:
            outside.statuses = {"registration.dcm": 0xA700} if step == "refuse" else {}
        elif step != "time":
            cleared |= decide(house, step, now_s)
        house.until_idle(now_s)
        assert {name for name, _ in outside.sent} <= cleared
    assert len(set(outside.sent)) == len({name for name, _ in outside.sent}), "one UID, one content"
    case = house.case
    assert house.casebook.replay(case.id) == case
    assert all(isinstance(action, Send) for action in wanted(case))
    if case.state is State.SENT:
        assert {output.sop_instance_uid for output in case.outputs} <= {name for name, _ in outside.sent}
    house.close()


def test_the_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    """Shuffled objects, heard of in lots of any size, make the same plan."""
    files = write_set(tmp_path / "in", slices=4)
    seen = []
    for seed in range(3):
        outside = Outside()
        (tmp_path / str(seed)).mkdir()
        house = House.build(tmp_path / str(seed), outside)
        shuffled = random.Random(seed).sample(files, len(files))
        for first in range(0, len(files), seed + 1):
            house.receive(shuffled[first : first + seed + 1], START_S)
            house.worker.step(START_S)
        house.until_idle(START_S + 60)
        seen.append([path.relative_to(house.folder) for path in outside.plans[0][0]])
        house.close()
    assert seen[0] == seen[1] == seen[2]
