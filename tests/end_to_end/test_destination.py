"""The same case for two destinations: each gets the objects that it takes, under UIDs of their own."""

from __future__ import annotations

import json
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from pydicom import dcmread

from psdt_planner.dossier import Dossier, load_destination, load_protocol, make, make_dossier
from psdt_planner.dossier.make import ASKED_OUTPUTS, DICOM_OUTPUTS
from psdt_planner.worker import DossierLike
from tests.end_to_end.conftest import CREATED, Planned
from tests.end_to_end.test_plan import psdt
from tests.peers import require_peer

PAGES = {"plan.json", "report.html", "manifest.json", "prescription.fhir.json"}


@pytest.fixture(scope="module")
def replanned(planned: Planned, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dossier]:
    """Planned once; only what depends on the destination is made again."""
    folder = tmp_path_factory.mktemp("replanned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "plan", lambda *_, **__: planned.dossier.plan)
        return {name: made_for(name, planned, folder / name) for name in ("monaco", "eclipse", "mim")}


def made_for(name: str, planned: Planned, out: Path) -> Dossier:
    protocol, destination = load_protocol(None), load_destination(name)
    return make_dossier([planned.inputs], out, protocol=protocol, created=CREATED, destination=destination)


def test_each_destination_gets_what_it_takes(replanned: dict[str, Dossier]) -> None:
    wanted = {
        "monaco": {"rtstruct.dcm"},
        "eclipse": {"rtstruct.dcm", "registration.dcm"},
        "mim": {"rtstruct.dcm", "registration.dcm", "proposal.dcm"},
    }
    for name, objects in wanted.items():
        folder = replanned[name].outputs["plan.json"].parent
        assert {path.name for path in folder.iterdir()} == objects | PAGES
        assert set(replanned[name].outputs) == objects | PAGES
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        destination = load_destination(name)
        said = manifest["destination"]
        assert said == {"name": name, "sha256": destination.sha256, "title": destination.title}
        assert {output["name"] for output in manifest["outputs"]} == objects | PAGES - {"manifest.json"}


def test_the_node_sends_what_was_written_and_nothing_else(replanned: dict[str, Dossier]) -> None:
    """The worker sends a dossier's DICOM files on release: what the destination does not take is not among them."""
    from psdt_planner.worker.loop import _outputs

    dossier: DossierLike = replanned["monaco"]
    assert [output.name for output in _outputs(dossier.outputs, "case/plan-1")] == ["rtstruct.dcm"]


def test_no_two_destinations_share_a_uid(replanned: dict[str, Dossier], planned: Planned) -> None:
    files = [planned.out / "rtstruct.dcm", *(one.outputs["rtstruct.dcm"] for one in replanned.values())]
    uids = [uid for file in files for uid in (dcmread(file).SOPInstanceUID, dcmread(file).SeriesInstanceUID)]
    assert len(set(uids)) == len(uids) == 8


def test_an_object_of_an_earlier_destination_does_not_stay(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "plan", lambda *_, **__: planned.dossier.plan)
    (tmp_path / "proposal.dcm").write_bytes(b"of another destination")
    made_for("monaco", planned, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"rtstruct.dcm"} | PAGES


def test_a_site_that_asks_gets_the_proposal_as_a_plan_without_beams_and_as_an_intent(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan refers to the structure set beside it, and both say what plan.json says."""
    monkeypatch.setattr(make, "plan", lambda *_, **__: planned.dossier.plan)
    text = resources.files("psdt_planner").joinpath("destinations", "generic.toml").read_text(encoding="utf-8")
    ours, out = tmp_path / "ours.toml", tmp_path / "out"
    ours.write_text(text.replace("send = false", "send = true"), encoding="utf-8")
    dossier = made_for(str(ours), planned, out)
    assert set(dossier.outputs) == {*DICOM_OUTPUTS, *ASKED_OUTPUTS, *PAGES}
    structures, plan, intent = (dcmread(out / name) for name in ("rtstruct.dcm", "rtplan.dcm", "intent.dcm"))
    assert plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == structures.SOPInstanceUID
    assert plan.ApprovalStatus == "UNAPPROVED"
    lesions = json.loads((out / "plan.json").read_text(encoding="utf-8"))["lesions"]
    numbers = {roi.ROIName: roi.ROINumber for roi in structures.StructureSetROISequence}
    proposals = {one["rois"]["ptv"]: one["proposal"] for one in lesions if one["proposal"]}
    told = {one.ReferencedROINumber: float(one.TargetPrescriptionDose) for one in plan.DoseReferenceSequence}
    assert told == {numbers[name]: proposal["dose_gy"] for name, proposal in proposals.items()}
    fractions = {
        one.RTAnatomicPrescriptionSequence[0].EntityLabel: one.NumberOfFractions
        for one in intent.RTPrescriptionSequence
    }
    assert fractions == {name: proposal["fractions"] for name, proposal in proposals.items()}
    hashes = {one["name"] for one in json.loads((out / "manifest.json").read_text(encoding="utf-8"))["outputs"]}
    assert {*ASKED_OUTPUTS, "prescription.fhir.json"} <= hashes
    made_for("monaco", planned, out)
    assert not any((out / name).exists() for name in ASKED_OUTPUTS)


@pytest.mark.peer
def test_dciodvfy_and_dcentvfy_find_no_error_for_any(replanned: dict[str, Dossier], planned: Planned) -> None:
    require_peer("dciodvfy", "dcentvfy")
    ct = [str(path) for path in sorted((planned.inputs / "ct").glob("*.dcm"))]
    assert ct
    for dossier in replanned.values():
        files = [str(path) for name, path in dossier.outputs.items() if name.endswith(".dcm")]
        for file in files:
            done = subprocess.run(["dciodvfy", "-new", file], capture_output=True, text=True, check=False)
            assert "Error" not in done.stdout + done.stderr, file
        done = subprocess.run(["dcentvfy", *files, *ct], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_unknown_destination_is_a_mistake_of_the_configuration(planned: Planned, tmp_path: Path) -> None:
    done = psdt("plan", planned.inputs / "flags", "--out", tmp_path, "--destination", "eclips")
    assert done.returncode == 4
    assert "the nearest is 'eclipse'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
