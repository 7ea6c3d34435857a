"""A history beside the images: read as of the day of the exam, in plan.json, report and manifest, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from fixtures.patient import PatientSpec, write_patient
from psdt_planner.cli import app
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dossier import load_history, load_protocol, make_dossier
from psdt_planner.dossier.course import course_of_intake, exam_date
from psdt_planner.errors import ConfigurationError, InputError, MissingAttributeError
from tests.end_to_end.conftest import CREATED

HISTORY = """
schema = 1
reference_date = 2020-01-01
therapies = []

[disease]
polymetastatic = true
"""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MR and flags of a patient whose CT has not come yet: held at once, so that nothing is mapped."""
    folder = tmp_path_factory.mktemp("course")
    write_patient(PatientSpec(seed=4, region="pelvis", size="small", lesions=2), folder)
    for file in (folder / "ct").iterdir():
        file.unlink()
    return folder


@pytest.fixture(scope="module")
def intake(patient: Path) -> Intake:
    return read_inputs([patient])


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "history.toml"
    path.write_text(HISTORY, encoding="utf-8")
    return path


def made(patient: Path, out: Path, history: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """plan.json and manifest.json."""
    told = load_history(history) if history else None
    make_dossier([patient], out, protocol=load_protocol(None), created=CREATED, history=told)
    plan, manifest = (json.loads((out / name).read_text(encoding="utf-8")) for name in ("plan.json", "manifest.json"))
    return plan, manifest


def test_the_history_decides_the_state_and_stands_in_every_page(patient: Path, tmp_path: Path, history: Path) -> None:
    plan, manifest = made(patient, tmp_path / "out", history)
    told = plan["classification"]
    assert told["estro_eortc"] == "Induced oligorecurrence"
    assert told["om_crpc"] == "undetermined"
    assert "serum testosterone" in told["facts_missing"]
    assert told["progressive_sites"] == len(plan["lesions"])
    assert plan["history"]["source"] == "history.toml"
    assert plan["history"]["sha256"] == manifest["history"]
    assert "history-incomplete" in {finding["code"] for finding in plan["findings"]}
    assert "Induced oligorecurrence" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_without_a_history_nothing_is_determined_nor_complained_about(patient: Path, tmp_path: Path) -> None:
    plan, manifest = made(patient, tmp_path / "out", None)
    assert plan["classification"]["estro_eortc"] == "undetermined"
    assert plan["history"] is None
    assert manifest["history"] is None
    assert "history-incomplete" not in {finding["code"] for finding in plan["findings"]}
    assert {lesion["timeline"] for lesion in plan["lesions"]} == {"unknown"}
    assert all(lesion["progressive"] for lesion in plan["lesions"])


def test_a_progressing_lesion_without_a_flag_holds(patient: Path, tmp_path: Path, history: Path) -> None:
    history.write_text(HISTORY + '\n[[rac]]\nlesion = "L9"\nrac = 5\n', encoding="utf-8")
    plan, _ = made(patient, tmp_path / "out", history)
    assert plan["status"] == "held"
    assert ("rac-lesion-unknown", "hold") in {(one["code"], one["level"]) for one in plan["findings"]}


def test_the_readers_rac_tells_what_progresses(patient: Path, tmp_path: Path, history: Path) -> None:
    history.write_text(
        HISTORY + '\n[[rac]]\nlesion = "L1"\nrac = 5\n[[rac]]\nlesion = "L2"\nrac = 3\n', encoding="utf-8"
    )
    plan, _ = made(patient, tmp_path / "out", history)
    assert [(one["progressive"], one["rac"]) for one in plan["lesions"]] == [(True, 5), (False, 3)]
    assert plan["classification"]["progressive_sites"] == 1


def test_the_day_of_the_exam_is_that_of_the_flagged_series(intake: Intake, patient: Path) -> None:
    drawn_on = {flag.series_uid for flag in intake.exam.flags}
    headers = (dcmread(path, stop_before_pixels=True) for path in sorted(patient.rglob("*.dcm")))
    days = {
        header.get("AcquisitionDate") or header.get("SeriesDate") or header.StudyDate
        for header in headers
        if header.SeriesInstanceUID in drawn_on
    }
    assert exam_date(intake) == max(date.fromisoformat(day) for day in days)


def test_without_a_day_no_history_is_read(intake: Intake, history: Path, tmp_path: Path) -> None:
    empty = read_inputs([tmp_path / "history.toml"])
    with pytest.raises(MissingAttributeError, match="no MR series states its date"):
        course_of_intake(empty, load_history(history), load_protocol(None))


def test_what_could_not_be_known_on_the_day_of_the_exam_is_refused(intake: Intake, history: Path) -> None:
    history.write_text(HISTORY.replace("2020-01-01", "2999-01-01"), encoding="utf-8")
    with pytest.raises(InputError, match="reference date lies after the exam"):
        course_of_intake(intake, load_history(history), load_protocol(None))


@pytest.mark.parametrize(("name", "words"), [("history.xml", "a .toml file or a FHIR bundle"), ("no.toml", "read")])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_history(tmp_path / name)


def test_at_the_command_line(patient: Path, tmp_path: Path, history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(patient), "--out", str(tmp_path / "out"), "--history", str(history)]
    assert guarded(lambda: app(words, standalone_mode=False)) == Exit.HELD
    said = " ".join(capsys.readouterr().out.split())
    assert "ESTRO/EORTC: Induced oligorecurrence." in said
    assert "Facts missing: serum testosterone" in said
