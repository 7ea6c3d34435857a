"""What a person reads and may do at the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.standin import StandIn
from psdt_planner.case import Assembled, Discarded, Event, Held, Output, Proposed, Received, Released, Reopened
from psdt_planner.casebook import Casebook
from psdt_planner.cli import app, console
from psdt_planner.cli.errors import Exit, guarded
from tests.cases.stories import REQUIRED
from tests.nodes.objects import make, uid_of, write

CASE = "7K3MQ-2ZDXW"


def psdt(*words: str | Path) -> int:
    """The exit status of a command; what it printed is with ``capsys``."""
    return guarded(lambda: app([str(word) for word in words], standalone_mode=False))


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (console.out, console.err):
        monkeypatch.setattr(one, "width", 200)


@pytest.fixture
def tps(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(tmp_path / "tps") as standin:
        yield standin


@pytest.fixture
def config(tmp_path: Path, tps: StandIn) -> Path:
    path = tmp_path / "psdt.toml"
    path.write_text(
        '[node]\nae_title = "PSDT"\nstorage = "objects"\nindex = "sqlite:///index.db"\n'
        f'[peers.tps]\nhost = "127.0.0.1"\nport = {tps.port}\nae_title = "TPS"\n'
        '[worker]\ncasebook = "sqlite:///casebook.db"\nfolder = "plans"\ndestination = "tps"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A structure set that says that psdt made it."""
    ds = make("RTSTRUCT", 1)
    ds.Manufacturer = "psdt"
    return write(ds, tmp_path / "plan")


def output(path: Path) -> Output:
    return Output(path.name, f"{CASE}/plan-1/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest(), uid_of(path))


def proposed(path: Path, *, plan: int = 1, at_s: float = 1100.0) -> tuple[Event, ...]:
    return Assembled(at_s - 40.0, plan), Proposed(at_s, plan, (output(path),), ())


def tell(config: Path, *events: Event) -> None:
    casebook = Casebook(f"sqlite:///{config.parent}/casebook.db")
    for event in events:
        casebook.append(CASE, event)
    casebook.close()


RECEIVED = Received(1000.0, REQUIRED)


def two_plans(path: Path) -> tuple[Event, ...]:
    """Reopened after the first plan, proposed again at 2100 s."""
    return RECEIVED, *proposed(path), Reopened(1500.0, "A. Person"), *proposed(path, plan=2, at_s=2100.0)


RELEASED = Released(1200.0, "A. Person", 1)


class TestPush:
    def test_what_others_made_goes_as_it_is(self, tmp_path: Path, config: Path, tps: StandIn) -> None:
        path = write(make("CT", 1), tmp_path / "ct")
        assert psdt("push", path.parent, "--to", "tps", "--config", config) == Exit.DONE
        assert [ds.SOPInstanceUID for ds in tps.received()] == [uid_of(path)]

    @pytest.mark.parametrize(
        "then",
        [
            None,
            (),
            (Held(1150.0, "A. Person", "wrong side?"),),
            (Discarded(1150.0, "A. Person", "test data"),),
            (RELEASED, Held(1250.0, "A. Person", "wrong patient?")),
        ],
        ids=["no-case", "proposed", "held", "discarded", "held-after-release"],
    )
    def test_what_psdt_made_does_not_go_without_a_release(
        self,
        config: Path,
        tps: StandIn,
        ours: Path,
        then: tuple[Event, ...] | None,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        if then is not None:
            tell(config, RECEIVED, *proposed(ours), *then)
        write(make("CT", 1), ours.parent)
        assert psdt("push", ours.parent, "--to", "tps", "--config", config) == Exit.HELD
        assert tps.received() == [], "not the CT beside it either"
        said = capsys.readouterr().err
        assert f"psdt made {ours.name}, and no released case holds it as it is: nothing was sent" in said
        assert "psdt release ID --by NAME" in said

    def test_what_was_released_goes(self, config: Path, tps: StandIn, ours: Path) -> None:
        tell(config, RECEIVED, *proposed(ours), RELEASED)
        assert psdt("push", ours, "--to", "tps", "--config", config) == Exit.DONE
        assert [ds.SOPInstanceUID for ds in tps.received()] == [uid_of(ours)]

    def test_other_bytes_under_the_uid_of_what_was_released_do_not_go(
        self, config: Path, tps: StandIn, ours: Path
    ) -> None:
        tell(config, RECEIVED, *proposed(ours), RELEASED)
        changed = make("RTSTRUCT", 1)
        changed.Manufacturer, changed.PatientSex = "psdt", "F"
        assert uid_of(write(changed, ours.parent)) == uid_of(ours)
        assert psdt("push", ours, "--to", "tps", "--config", config) == Exit.HELD
        assert tps.received() == []

    def test_the_help_shows_no_way_past_a_release(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert psdt("push", "--help") == Exit.DONE
        assert "rtstruct" not in capsys.readouterr().out


class TestRelease:
    """By the outside contract ``psdt release ID --by NAME``; with ``--plan N`` once there was more than one plan."""

    def test_the_only_plan_needs_no_number_and_is_named(
        self, config: Path, ours: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tell(config, RECEIVED, *proposed(ours))
        assert psdt("release", CASE, "--by", "A. Person", "--config", config) == Exit.DONE
        assert capsys.readouterr().out.splitlines() == [
            f"{CASE} is released by A. Person; psdt serve sends it.",
            "plan 1, proposed 1970-01-01 00:18:20 UTC",
        ]

    def test_of_several_plans_the_person_says_which(
        self, config: Path, ours: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tell(config, *two_plans(ours))
        assert psdt("release", CASE, "--by", "A. Person", "--config", config) == Exit.HELD
        assert "the case has had 2 plans; say which one was looked at" in capsys.readouterr().err
        assert psdt("release", CASE, "--by", "A. Person", "--plan", "1", "--config", config) == Exit.HELD
        assert "the case is at plan 2, not 1" in capsys.readouterr().err
        assert psdt("release", CASE, "--by", "A. Person", "--plan", "2", "--config", config) == Exit.DONE
        assert "plan 2, proposed 1970-01-01 00:35:00 UTC" in capsys.readouterr().out

    def test_that_a_case_cannot_be_released_is_said_before_which_plan(
        self, config: Path, ours: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tell(config, *two_plans(ours), Held(2200.0, "A. Person", "wrong side?"))
        assert psdt("release", CASE, "--by", "A. Person", "--config", config) == Exit.HELD
        assert "'released' is not possible while the case is held" in capsys.readouterr().err

    def test_cases_and_case_show_the_number(self, config: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
        tell(config, *two_plans(ours))
        assert psdt("cases", "--config", config) == Exit.DONE
        header, row = capsys.readouterr().out.splitlines()
        assert row[header.index("plan") :].split()[0] == "2"
        assert psdt("case", CASE, "--config", config) == Exit.DONE
        assert "plan 2, proposed 1970-01-01 00:35:00 UTC" in capsys.readouterr().out

    def test_a_plan_that_was_not_proposed_is_said_so(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        tell(config, RECEIVED, Assembled(1060.0, 1))
        assert psdt("case", CASE, "--config", config) == Exit.DONE
        assert "plan 1, not proposed" in capsys.readouterr().out
