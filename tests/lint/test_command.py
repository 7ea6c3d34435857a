"""``psdt lint``: what a person or a program gets, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from pydicom import FileDataset

from psdt_planner.cli import app, console
from psdt_planner.cli.errors import Exit, guarded
from tests.dicom_in.objects import blank, uid
from tests.lint.builder import planning_ct, saved, sound, write

MARKUP = "[/b] :skull:"
"""What rich would trip over, or swallow, if it took it for its own markup."""


def psdt(*words: str | Path) -> int:
    return guarded(lambda: app([str(word) for word in words], standalone_mode=False))


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (console.out, console.err):
        monkeypatch.setattr(one, "width", 200)


@pytest.fixture
def ct() -> list[FileDataset]:
    return planning_ct()


def approved(ct: list[FileDataset], name: str = "rtss") -> FileDataset:
    """A set with one warning."""
    ds = sound(ct, name)
    ds.ApprovalStatus = "APPROVED"
    return ds


def off(ct: list[FileDataset], name: str = "rtss") -> FileDataset:
    """A set with one error, and a name that is no markup."""
    ds = approved(ct, name)
    ds.StructureSetROISequence[1].ROIName = MARKUP
    ds.RTROIObservationsSequence[2].RTROIInterpretedType = "EXTERNAL"
    return ds


def as_json(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    status = psdt("lint", *words, "--json")
    return status, json.loads(capsys.readouterr().out)


def test_a_sound_set_beside_its_ct(tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(sound(ct), tmp_path / "rtss.dcm")
    assert psdt("lint", path, "--ct", write(tmp_path / "ct", ct)) == Exit.DONE
    assert capsys.readouterr().out.splitlines() == ["rtss.dcm  0 errors, 0 warnings, 0 notes"]


def test_a_warning_does_not_change_the_exit_status(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    assert psdt("lint", saved(approved(ct), tmp_path / "rtss.dcm")) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rtss.dcm  0 errors, 1 warnings, 1 notes"
    assert lines[1] == "  warning approved: ApprovalStatus is APPROVED. Approve it in the planning system."
    assert lines[2].startswith("  note    ct-absent: ")


def test_an_error_does_and_names_are_printed_as_they_are(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    ds = off(ct)
    ds.ROIContourSequence.pop(1)
    assert psdt("lint", saved(ds, tmp_path / "[b].dcm"), "--ct", write(tmp_path / "ct", ct)) == Exit.HELD
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[b].dcm  1 errors, 2 warnings, 0 notes"
    assert lines[1] == "  error   external-several: ROIs 1 BODY, 3 Rectum are of type EXTERNAL. Leave one EXTERNAL."
    assert f"  warning roi-empty: ROI 2 {MARKUP}: it has no rings. Draw it or take it out." in lines


def test_a_folder_at_a_time_each_set_beside_its_own_ct(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two exports in one folder, and a CT that is nobody's."""
    other = planning_ct(name="ct-2", FrameOfReferenceUID="1.2.3.150", origin=(0.0, 0.0, 0.0))
    write(tmp_path / "in", ct, other)
    for name in ("1", "2"):
        (tmp_path / "in" / name).mkdir()
    saved(sound(ct), tmp_path / "in" / "2" / "RS.dcm")
    saved(off(ct, "rtss-2"), tmp_path / "in" / "1" / "RS.dcm")
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    status, found = as_json(capsys, tmp_path / "in")
    assert status == Exit.HELD
    assert found["schema"] == 1
    assert found["errors"] == 1
    assert found["not_dicom"] == ["notes.txt"]
    assert [(one["file"], one["sop_instance_uid"]) for one in found["structure_sets"]] == [
        ("1/RS.dcm", uid("rtss-2", 0)),
        ("2/RS.dcm", uid("rtss", 0)),
    ]
    assert {one["checked_against_series"] for one in found["structure_sets"]} == {uid("ct")}
    assert found["structure_sets"][1]["complaints"] == []


def test_only_what_was_named_is_looked_at_and_not_the_sets_beside_the_ct(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "ct", ct)
    saved(off(ct, "rtss-2"), folder / "other.dcm")
    path = saved(sound(ct), folder / "rtss.dcm")
    monkeypatch.chdir(tmp_path)
    for words in ((path, "--ct", "ct"), ("ct/rtss.dcm", "--ct", folder), (path, "--ct", ".")):
        status, found = as_json(capsys, *words)
        assert (status, [one["file"] for one in found["structure_sets"]]) == (Exit.DONE, ["rtss.dcm"])
        assert found["structure_sets"][0]["complaints"] == []


def test_a_copy_of_the_images_is_no_second_slice(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(sound(ct), tmp_path / "rtss.dcm")
    write(tmp_path / "ct", ct, ct)
    assert as_json(capsys, path, "--ct", tmp_path / "ct")[1]["structure_sets"][0]["complaints"] == []


def test_the_json_form_of_a_complaint(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    ds = sound(ct)
    del ds.ROIContourSequence[1].ContourSequence[1].ContourImageSequence
    status, found = as_json(capsys, saved(ds, tmp_path / "rtss.dcm"), "--ct", write(tmp_path / "ct", ct))
    assert status == Exit.HELD
    assert found["structure_sets"][0]["complaints"] == [
        {
            "level": "error",
            "code": "ring-image-missing",
            "message": "ring 2 names no image",
            "roi": "2 GTV1",
            "ring": 2,
            "uid": "",
            "count": 1,
            "do": "export them with it",
        }
    ]


def test_no_value_of_the_patient_is_told(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    ds = sound(ct)
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = "SECRET-1", "Secret^Name?", "19010101"
    psdt("lint", saved(ds, tmp_path / "rtss.dcm"), "--ct", write(tmp_path / "ct", ct))
    printed = capsys.readouterr()
    assert "patient-differs" in printed.out
    assert not [word for word in ("SECRET", "Secret", "1901", "Doe") if word in printed.out + printed.err]


def test_one_file_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    """As rt-utils leaves it when it is stopped while it saves."""
    (tmp_path / "empty.dcm").touch()
    plan = write(tmp_path / "plan", blank("1.2.840.10008.5.1.4.1.1.481.5", "plan", Modality="RTPLAN")) / "0000"
    status, found = as_json(capsys, tmp_path / "empty.dcm", plan, saved(sound(ct), tmp_path / "rtss.dcm"))
    assert status == Exit.HELD
    by_name = {one["file"]: [each["code"] for each in one["complaints"]] for one in found["structure_sets"]}
    assert by_name == {
        "rtss.dcm": ["ct-absent"],
        "empty.dcm": ["file-unreadable"],
        "0000": ["file-unreadable"],
    }


def test_a_destination_by_name_or_file(
    tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    ds = sound(ct)
    ds.StructureSetROISequence[1].ROIName = "PTV_LN_Iliac_Ext_L"
    path, folder = saved(ds, tmp_path / "rtss.dcm"), write(tmp_path / "ct", ct)
    for destination, expected in (
        ((), ["roi-name-long"]),
        (("--destination", "eclipse"), ["destination-name-long"]),
        (("--destination", str(site_rules(tmp_path))), []),
    ):
        status, found = as_json(capsys, path, "--ct", folder, *destination)
        assert [one["code"] for one in found["structure_sets"][0]["complaints"]] == expected
        assert status == (Exit.HELD if "destination-name-long" in expected else Exit.DONE)
    assert psdt("lint", path, "--destination", "eclips") == Exit.CONFIGURATION
    assert "the nearest is 'eclipse'" in capsys.readouterr().err


def site_rules(folder: Path) -> Path:
    """A site's own file, which takes names of 18 characters."""
    shipped = resources.files("psdt_planner").joinpath("destinations", "eclipse.toml").read_text(encoding="utf-8")
    path = folder / "ours.toml"
    path.write_text(shipped.replace("max_length = 16", "max_length = 18"), encoding="utf-8")
    return path


def test_nothing_to_lint_is_an_error(tmp_path: Path, ct: list[FileDataset], capsys: pytest.CaptureFixture[str]) -> None:
    assert psdt("lint", write(tmp_path / "ct", ct)) == Exit.HELD
    assert "there is no RT Structure Set among the inputs" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("lint",), ("lint", "gone.dcm"), ("lint", ".", "--ct", "gone"), ("lint", "--what")])
def test_wrong_words_are_usage(words: tuple[str, ...]) -> None:
    assert psdt(*words) == Exit.USAGE


def test_help_is_one_screen_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert psdt("lint", "--help") == Exit.DONE
    printed = capsys.readouterr().out
    assert "Example:" in printed
    assert len(printed.splitlines()) <= 40


def test_it_imports_no_planning() -> None:
    """Half of its time is Python's own imports; planning would be three times as much."""
    code = "import sys, psdt_planner.cli.lint; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"SimpleITK", "matplotlib", "scipy", "highdicom", "rt_utils", "cv2", "sqlalchemy", "reportlab"}
    assert not heavy & set(done.stdout.split())


def test_a_command_that_is_not_there_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert psdt("lnt") == Exit.USAGE
    assert "lnt" in capsys.readouterr().err
