"""What a person reads and may do at the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_nodes.index import Index
from dicom_nodes.storage import Storage
from fixtures.patient import PatientSpec, write_patient
from fixtures.standin import StandIn
from psdt_planner.case import Assembled, Discarded, Event, Held, Output, Proposed, Received, Released, Reopened
from psdt_planner.casebook import Casebook
from psdt_planner.cli import app, console
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.cli.plan import print_dossier
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.dossier import Dossier, load_protocol
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.fractionation import Abstention
from psdt_planner.planning import LesionStatus, Plan, PlannedLesion, PlanStatus
from psdt_planner.worker import load_config
from tests.cases.stories import REQUIRED
from tests.nodes.objects import dataset_bytes, make, uid_of, write

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
            "registration: not assessed",
        ]

    def test_the_person_says_how_far_the_registration_may_be_used(
        self, config: Path, ours: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tell(config, RECEIVED, *proposed(ours))
        person = ("--by", "A. Person", "--config", config)
        assert psdt("release", CASE, *person, "--registration-use", "1") == Exit.DONE
        assert capsys.readouterr().out.splitlines()[-1] == "registration: level 1, locally aligned"
        assert psdt("case", CASE, "--config", config) == Exit.DONE
        assert "released by A. Person; registration: level 1, locally aligned" in capsys.readouterr().out

    @pytest.mark.parametrize("level", [3, 4])
    def test_a_registration_that_carries_no_targets_is_not_released(
        self, config: Path, ours: Path, level: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tell(config, RECEIVED, *proposed(ours))
        assert psdt("release", CASE, "--by", "A. Person", "--registration-use", level, "--config", config) == Exit.HELD
        assert f"(level {level}) carries no targets: the plan is not released" in capsys.readouterr().err
        assert psdt("case", CASE, "--config", config) == Exit.DONE
        assert capsys.readouterr().out.startswith(f"{CASE} proposed since"), "nothing was stored"

    @pytest.mark.parametrize("level", ["5", "-1", "good"])
    def test_there_is_no_other_level(self, config: Path, ours: Path, level: str) -> None:
        tell(config, RECEIVED, *proposed(ours))
        assert (
            psdt("release", CASE, "--by", "A. Person", f"--registration-use={level}", "--config", config) == Exit.USAGE
        )

    def test_a_release_without_a_level_is_shown_as_not_assessed(
        self, config: Path, ours: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tell(config, RECEIVED, *proposed(ours), RELEASED)
        assert psdt("case", CASE, "--config", config) == Exit.DONE
        assert "released by A. Person; registration: not assessed" in capsys.readouterr().out

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


MARKUP = "[/b] x :skull: [red]"
"""What rich would trip over, or swallow, if it took it for its own markup."""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny patient whose first flag and MR series bear names that are no markup."""
    folder = tmp_path_factory.mktemp("tiny") / "patient"
    write_patient(PatientSpec(seed=4, size="tiny", lesions=2), folder)
    (folder / "truth.json").unlink()
    flags = dcmread(folder / "flags" / "seg.dcm")
    flags.SeriesDescription = f"Flags {MARKUP}"
    flags.SegmentSequence[0].SegmentLabel = f"L2 vertebral body {MARKUP}"
    flags.save_as(folder / "flags" / "seg.dcm")
    return folder


@pytest.fixture(scope="module")
def lines(patient: Path) -> list[str]:
    """What ``psdt inspect`` prints of the patient."""
    printed = StringIO()
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patched:
        patched.setattr(console.out, "width", 200)
        assert psdt("inspect", patient) == Exit.DONE
    return printed.getvalue().splitlines()


class TestInspect:
    def test_it_prints_what_refers_to_what(self, patient: Path, lines: list[str]) -> None:
        flags, organs = dcmread(patient / "flags" / "seg.dcm"), dcmread(patient / "organs" / "rtstruct.dcm")
        (frame,) = organs.ReferencedFrameOfReferenceSequence
        (study,) = frame.RTReferencedStudySequence
        (series,) = study.RTReferencedSeriesSequence
        of_flags, of_organs = end(flags.SOPInstanceUID), end(organs.SOPInstanceUID)
        assert sorted(line for line in lines if "..." in line) == [
            f"rtstruct {of_organs}: contours in frame of the images {end(frame.FrameOfReferenceUID)}",
            f"rtstruct {of_organs}: contours on series planning-ct {end(series.SeriesInstanceUID)}",
            f"seg {of_flags}: segments series dwi-trace {end(flags.ReferencedSeriesSequence[0].SeriesInstanceUID)}",
        ]

    def test_what_is_not_there_is_said_to_be_absent(self, patient: Path, capsys: pytest.CaptureFixture[str]) -> None:
        flags = dcmread(patient / "flags" / "seg.dcm")
        assert psdt("inspect", patient / "flags") == Exit.HELD
        printed = capsys.readouterr()
        source = end(flags.ReferencedSeriesSequence[0].SeriesInstanceUID)
        assert f"seg {end(flags.SOPInstanceUID)}: segments series absent {source}" in printed.out.splitlines()
        assert "ct-absent" in printed.err

    def test_it_prints_every_series_and_flag_as_they_are_named(self, lines: list[str]) -> None:
        kinds = [line.split()[0] for line in lines[1:9]]
        assert sorted(kinds) == [
            "adc", "dixon-fat", "dixon-in", "dwi-trace", "dwi-trace", "planning-ct", "rtstruct", "seg",
        ]  # fmt: skip
        assert any(line.rstrip().endswith(f"Flags {MARKUP}") for line in lines[1:9])
        assert any(line.startswith(f"L1 L2 vertebral body {MARKUP}: ") for line in lines)


def end(uid: str) -> str:
    return f"...{uid[-8:]}"


class TestTextFromOutside:
    """A label, a reason or a file's name is printed as it is, whatever brackets are in it."""

    def test_plan(self, patient: Path, capsys: pytest.CaptureFixture[str]) -> None:
        intake = read_inputs([patient / "flags", patient / "mr"])
        finding = Finding("lesion-uncertain", Level.HOLD, f"too uncertain: {MARKUP}", Who.PERSON, lesion="L1")
        none = Abstention((Finding("dose-lesion-held", Level.INFO, "held", Who.PERSON),))
        lesions = tuple(
            PlannedLesion(flag, LesionStatus.HELD, (MARKUP,), None, (), flag.volume_ml, None, none)
            for flag in intake.exam.flags
        )
        plan = Plan(PlanStatus.HELD, (finding,), intake.exam, None, lesions, None, load_protocol(None), ())
        print_dossier(Dossier("held", (finding,), {"report.html": Path(f"{MARKUP}/report.html")}, plan))
        printed = capsys.readouterr()
        assert f"L1 L2 vertebral body {MARKUP} " in printed.out
        assert f"{MARKUP}/report.html" in printed.out.splitlines()
        assert printed.err == f"hold  lesion-uncertain: too uncertain: {MARKUP}\n"

    def test_cases_and_case(self, config: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
        tell(config, RECEIVED, *proposed(ours), Held(1150.0, f"A. {MARKUP}", f"why {MARKUP}"))
        assert psdt("cases", "--config", config) == Exit.DONE
        assert psdt("case", CASE, "--config", config) == Exit.DONE
        printed = capsys.readouterr()
        assert f"held-by-person: A. {MARKUP}: why {MARKUP}" in printed.err
        assert any(line.rstrip().endswith(f"Held       A. {MARKUP}  why {MARKUP}") for line in printed.out.splitlines())

    def test_decisions(self, config: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
        tell(config, RECEIVED, *proposed(ours))
        assert psdt("release", CASE, "--by", MARKUP, "--config", config) == Exit.DONE
        assert f"{CASE} is released by {MARKUP};" in capsys.readouterr().out

    def test_push(self, tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write(make("CT", 1), tmp_path / "ct").rename(tmp_path / "[b] x :skull:.dcm")
        assert psdt("push", path, "--to", "tps", "--config", config) == Exit.DONE
        assert "[b] x :skull:.dcm" in capsys.readouterr().out

    def test_errors(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert psdt("case", MARKUP, "--config", config) == Exit.HELD
        assert f"error there is no case '{MARKUP}'" in capsys.readouterr().err


def test_the_index_is_made_again_from_the_storage(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = load_config(config).node
    storage = Storage(node.storage)
    path = write(make("CT", 1), tmp_path / "files")
    data, kept = path.read_bytes(), dataset_bytes(path)
    storage.keep(uid_of(path), data[132 : -len(kept)], kept)
    for _ in range(2):
        assert psdt("nodes", "reindex", "--config", config) == Exit.DONE
        assert "1 objects entered in the index" in capsys.readouterr().out
    index = Index(node.index)
    assert [change.header.sop_instance_uid for change in index.changes_since(0)] == [uid_of(path)]
    index.close()
    with storage.locked():
        assert psdt("nodes", "reindex", "--config", config) == Exit.CONFIGURATION
    assert "another listener writes into the storage folder" in capsys.readouterr().err
