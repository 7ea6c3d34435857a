"""``psdt plan`` on a synthetic patient: right places, whole files, the same bytes again, and refusals by name."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from fixtures.patient import PatientSpec, Size, write_patient
from fixtures.variants import FLAWS, Variant
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.dossier import load_protocol, make_dossier
from psdt_planner.dossier.make import DICOM_OUTPUTS
from psdt_planner.dossier.manifest import read_back_records
from psdt_planner.errors import InputError, ReadBackError
from psdt_planner.planning import Exclusion
from psdt_planner.registration import RegistrationSource
from tests.end_to_end.conftest import CREATED, Planned
from tests.peers import require_peer

PSDT = Path(sys.executable).with_name("psdt")


def psdt(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PSDT, *map(str, words)], capture_output=True, text=True, timeout=300, check=False)


# what comes out -------------------------------------------------------------------------------------------------------


def test_every_lesion_lands_within_its_bound_of_the_truth(planned: Planned) -> None:
    assert planned.plan["status"] == "proposed"
    assert len(planned.plan["lesions"]) == 5
    errors = []
    for lesion in planned.plan["lesions"]:
        error = np.linalg.norm(np.array(lesion["centroid_ct_mm"]) - planned.true(lesion)["centre_ct_mm"])
        assert error <= lesion["uncertainty_mm"], lesion["id"]
        errors.append(error)
    assert np.median(errors) < 1.5


def test_the_volume_of_each_gtv_is_the_flags(planned: Planned) -> None:
    """Slices of 4 mm sample a ball of 8 mm up to 6 % too small or 3 % too large by where they fall; together, true."""
    drawn = {one["id"]: one["roi_volumes_ml"][one["rois"]["gtv"]] for one in planned.plan["lesions"]}
    flagged = {one["id"]: one["volume_ml"] for one in planned.plan["lesions"]}
    assert drawn == pytest.approx(flagged, rel=0.08)
    assert sum(drawn.values()) == pytest.approx(sum(flagged.values()), rel=0.02)


def test_targets_hold_one_another_and_say_whose_they_are(planned: Planned) -> None:
    for lesion in planned.plan["lesions"]:
        gtv, ctv, ptv = (lesion["roi_volumes_ml"][lesion["rois"][key]] for key in ("gtv", "ctv", "ptv"))
        assert gtv <= ctv < ptv
        number = lesion["id"].removeprefix("L")
        classifier = {"pelvic-node": "n", "paraaortic-node": "n", "prostate": "p"}.get(lesion["site"], "")
        assert lesion["rois"]["gtv"] == f"GTV{classifier}{number}"


def test_plan_json_keeps_its_contract(planned: Planned) -> None:
    plan = planned.plan
    assert plan["schema"] == 1
    assert {"status", "findings", "planning_ct", "registration", "classification", "lesions"} <= set(plan)
    assert plan["registration"]["source"] == "computed"
    assert plan["planning_ct"]["slices"] == len(list((planned.inputs / "ct").iterdir()))
    assert plan["classification"]["om_crpc"] == "undetermined"
    assert plan["classification"]["facts_missing"]
    for lesion in plan["lesions"]:
        assert {"id", "label", "site", "side", "tracking_uid", "source", "timeline", "progressive", "status"} <= set(
            lesion
        )
        assert set(lesion["source"]) == {"sop_instance_uid", "segment"}
        assert np.array(lesion["ct_from_mr"]).shape == (4, 4)
        assert (lesion["proposal"] is None) == bool(lesion["abstention"])
        if lesion["proposal"]:
            assert set(lesion["proposal"]["bed_gy"]) == {"1.5", "3", "10"}
            assert lesion["proposal"]["sources"]


def test_the_manifest_names_every_file_with_its_hash(planned: Planned) -> None:
    manifest = json.loads((planned.out / "manifest.json").read_text(encoding="utf-8"))
    outputs = {output["name"]: output["sha256"] for output in manifest["outputs"]}
    assert set(outputs) == {*DICOM_OUTPUTS, "plan.json", "report.html", "prescription.fhir.json"}
    for name, digest in outputs.items():
        assert hashlib.sha256((planned.out / name).read_bytes()).hexdigest() == digest
    sent = {hashlib.sha256(path.read_bytes()).hexdigest() for path in planned.inputs.rglob("*.dcm")}
    assert {entry["sha256"] for entry in manifest["inputs"]} == sent


def test_a_record_that_reads_back_otherwise_is_told(planned: Planned) -> None:
    data = (planned.out / "manifest.json").read_bytes()
    intake = read_inputs([planned.inputs])
    read_back_records(data, planned.dossier.plan, intake)
    changed = json.loads(data)
    changed["registration_records"][1]["method"] += "."
    with pytest.raises(ReadBackError, match="another record of a registration"):
        read_back_records(json.dumps(changed).encode(), planned.dossier.plan, intake)


def test_the_manifest_and_the_report_hold_a_record_of_each_registration(planned: Planned) -> None:
    """Images by series and date, direction, method, region and figures; its use is for a person to say."""
    manifest = json.loads((planned.out / "manifest.json").read_text(encoding="utf-8"))
    records = manifest["registration_records"]
    assert [record["of"] for record in records] == ["case", *(lesion["id"] for lesion in planned.plan["lesions"])]
    ct = dcmread(next((planned.inputs / "ct").rglob("*.dcm")), stop_before_pixels=True)
    t1 = dcmread(next((planned.inputs / "mr" / "t1").rglob("*.dcm")), stop_before_pixels=True)
    for record in records:
        assert record["direction"] == "MR (moving) to CT (stationary)"
        assert record["stationary"]["series_instance_uid"] == ct.SeriesInstanceUID
        moving = {one["series_instance_uid"]: one["date"] for one in record["moving"]}
        assert moving[t1.SeriesInstanceUID] == t1.AcquisitionDate
        assert (record["stationary_frame"], record["moving_frame"]) == (ct.FrameOfReferenceUID, t1.FrameOfReferenceUID)
        assert record["source"] == "computed"
        assert record["use"] == "not assessed"
    for record, lesion in zip(records[1:], planned.plan["lesions"], strict=True):
        figures = {figure["name"]: figure["value"] for figure in record["figures"]}
        assert figures["bound on the error"] == pytest.approx(lesion["uncertainty_mm"], abs=0.001)
        assert record["method"] == lesion["method"]
    day = f"{t1.AcquisitionDate[:4]}-{t1.AcquisitionDate[4:6]}-{t1.AcquisitionDate[6:]}"
    assert day in (planned.out / "report.html").read_text(encoding="utf-8")


def test_every_output_says_that_it_is_a_proposal(planned: Planned) -> None:
    rtstruct = dcmread(planned.out / "rtstruct.dcm")
    assert rtstruct.ApprovalStatus == "UNAPPROVED"
    assert "PROPOSAL" in rtstruct.StructureSetDescription
    assert all("PROPOSAL" in roi.ROIDescription for roi in rtstruct.StructureSetROISequence)
    assert "PROPOSAL" in dcmread(planned.out / "proposal.dcm").DocumentTitle
    assert "not a medical device" in (planned.out / "report.html").read_text(encoding="utf-8")


def test_the_registration_object_says_what_the_plan_says(planned: Planned) -> None:
    registration = dcmread(planned.out / "registration.dcm")
    assert registration.FrameOfReferenceUID == planned.plan["planning_ct"]["frame_of_reference_uid"]
    mr = next(
        item for item in registration.RegistrationSequence if item.FrameOfReferenceUID == planned.truth["mr_frame"]
    )
    matrix = mr.MatrixRegistrationSequence[0].MatrixSequence[0].FrameOfReferenceTransformationMatrix
    np.testing.assert_allclose(
        np.array(matrix, float).reshape(4, 4), planned.plan["registration"]["ct_from_mr"], atol=1e-6
    )
    sent = [dcmread(path, stop_before_pixels=True) for path in (planned.inputs / "mr").rglob("*.dcm")]
    named = [image.ReferencedSOPInstanceUID for image in mr.ReferencedImageSequence]
    assert len(named) > 50
    assert sorted(named) == sorted(image.SOPInstanceUID for image in sent)


@pytest.mark.parametrize("name", DICOM_OUTPUTS)
def test_dciodvfy_finds_no_error(planned: Planned, name: str) -> None:
    require_peer("dciodvfy")
    done = subprocess.run(["dciodvfy", "-new", planned.out / name], capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert errors == []


def test_plastimatch_reads_every_roi_at_our_volume(planned: Planned, tmp_path: Path) -> None:
    require_peer("plastimatch")
    command = [
        "plastimatch",
        "convert",
        "--input",
        planned.out / "rtstruct.dcm",
        "--referenced-ct",
        planned.inputs / "ct",
    ]
    command += ["--output-prefix", tmp_path / "masks", "--prefix-format", "nrrd"]
    subprocess.run(command, capture_output=True, check=True)
    ours = {name: ml for lesion in planned.plan["lesions"] for name, ml in lesion["roi_volumes_ml"].items()}
    masks = {path.stem: path for path in (tmp_path / "masks").glob("*.nrrd")}
    assert set(masks) == set(ours)
    ct = planned.dossier.plan.exam.planning_ct
    assert ct is not None
    voxel_ml = float(np.prod(ct.grid.spacing_kji_mm)) / 1000.0
    for name, ml in ours.items():
        theirs = mask_volume_ml(masks[name])
        # 5 %, or two voxels: a small GTV has but twenty voxels of this coarse CT.
        assert theirs == pytest.approx(ml, rel=0.05, abs=2 * voxel_ml), name


def mask_volume_ml(mask: Path) -> float:
    image = sitk.ReadImage(str(mask))
    return float(np.count_nonzero(sitk.GetArrayFromImage(image)) * np.prod(image.GetSpacing()) / 1000.0)


# the same again -------------------------------------------------------------------------------------------------------


def test_the_same_files_in_another_order_and_nesting_give_the_same_bytes(planned: Planned, tmp_path: Path) -> None:
    files = sorted(planned.inputs.rglob("*.dcm"))
    random.Random(7).shuffle(files)
    for number, path in enumerate(files):
        nest = tmp_path / "in" / f"{number % 3}" / f"{number % 5}"
        nest.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, nest / f"IM{number:05d}")
    again = make_dossier([tmp_path / "in"], tmp_path / "out", protocol=load_protocol(None), created=CREATED)
    for name in DICOM_OUTPUTS:
        assert (tmp_path / "out" / name).read_bytes() == (planned.out / name).read_bytes(), name
    lesions = json.loads((tmp_path / "out" / "plan.json").read_text())["lesions"]
    assert lesions == planned.plan["lesions"]
    assert again.status == "proposed"


def test_what_psdt_wrote_is_no_evidence_when_it_comes_back(planned: Planned, tmp_path: Path) -> None:
    objects = [planned.out / name for name in DICOM_OUTPUTS]
    inputs = [planned.inputs / part for part in ("ct", "mr", "flags", "organs")]
    again = make_dossier([*inputs, *objects], tmp_path, protocol=load_protocol(None), created=CREATED)
    assert again.plan.registration is not None
    assert again.plan.registration.source is RegistrationSource.COMPUTED
    assert "registration-own" in {finding.code for finding in again.findings}
    places = [lesion.mapped.centroid_ct_mm for lesion in again.plan.lesions if lesion.mapped]
    np.testing.assert_array_equal(
        places, [lesion.mapped.centroid_ct_mm for lesion in planned.dossier.plan.lesions if lesion.mapped]
    )


def test_a_held_run_takes_the_structure_set_of_an_earlier_one_away(planned: Planned, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(planned.out, out)
    ct = sorted((planned.inputs / "ct").iterdir())
    make_dossier(ct, out, protocol=load_protocol(None), created=CREATED)
    assert not any((out / name).exists() for name in DICOM_OUTPUTS)
    assert {path.name for path in out.iterdir()} == {"plan.json", "report.html", "manifest.json"}


# refusals -------------------------------------------------------------------------------------------------------------


OF_A_WRONG_PATIENT = {
    "level-off",
    "lesion-uncertain",
    "lesion-moved-far",
    "lesion-outside-ct",
    "registration-ambiguous",
}
"""What else another man's MR may meet."""


@pytest.mark.parametrize("variant", [variant for variant in Variant if FLAWS[variant].finding])
def test_a_wrong_case_is_held_by_its_named_reason(variant: Variant, tmp_path: Path) -> None:
    size: Size = "small" if FLAWS[variant].mapped else "tiny"
    spec = PatientSpec(seed=3, region="thorax", size=size, lesions=3, variant=variant)
    if variant is Variant.FLAG_SIDE_WRONG:  # which needs a lesion well beside the middle
        spec = PatientSpec(seed=2, region="pelvis", size=size, variant=variant)
    write_patient(spec, tmp_path / "in")
    expected = json.loads((tmp_path / "in" / "truth.json").read_text())["expected_finding"]
    done = psdt("plan", tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert done.returncode == 1, done.stderr
    plan = json.loads(done.stdout)
    assert plan["status"] == "held"
    held = {finding["code"] for finding in plan["findings"] if finding["level"] == "hold"}
    assert expected in held
    allowed = OF_A_WRONG_PATIENT if variant is Variant.OTHER_PATIENTS_MR else set()
    assert held <= {expected, "flags-absent", "ct-absent", "ct-not-axial", *allowed}
    assert not any((tmp_path / "out" / name).exists() for name in DICOM_OUTPUTS)
    assert {"plan.json", "report.html", "manifest.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_garbage_is_listed_by_name_and_does_no_harm(planned: Planned, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    shutil.copytree(planned.inputs, inputs)
    whole = next((inputs / "ct").iterdir()).read_bytes()
    broken = {"empty.dcm": b"", "noise.dcm": random.Random(1).randbytes(5000), "half.dcm": whole[: len(whole) // 2]}
    for name, data in broken.items():
        (inputs / "mr" / name).write_bytes(data)
    (inputs / "notes.txt").write_text("not an image")
    dossier = make_dossier([inputs], tmp_path / "out", protocol=load_protocol(None), created=CREATED)
    named = {
        name
        for finding in dossier.findings
        if finding.code == "file-unreadable"
        for name in [*broken, "notes.txt"]
        if name in finding.message
    }
    assert named == {*broken, "notes.txt"}
    assert dossier.status == "proposed"
    assert (tmp_path / "out" / "rtstruct.dcm").read_bytes() == (planned.out / "rtstruct.dcm").read_bytes()


# a person's decisions -------------------------------------------------------------------------------------------------


def test_an_excluded_lesion_is_named_with_its_reason_and_person_everywhere(planned: Planned, tmp_path: Path) -> None:
    reason, person = "no RT, patient's wish", "A. Reader"
    done = psdt("plan", planned.inputs, "--out", tmp_path, "--exclude", f"L2={reason}", "--by", person, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [lesion["status"] for lesion in plan["lesions"]] == ["mapped", "excluded", "mapped", "mapped", "mapped"]
    assert plan["exclusions"] == [{"lesion": "L2", "reason": reason, "by": person}]
    assert json.loads((tmp_path / "manifest.json").read_text())["exclusions"] == plan["exclusions"]
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert person in report
    names = {roi.ROIName for roi in dcmread(tmp_path / "rtstruct.dcm").StructureSetROISequence}
    assert not any(name.endswith("2") for name in names)
    assert len(names) == 12


def test_an_exclusion_of_a_lesion_that_is_not_there_is_refused(planned: Planned, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="L9 is to be excluded but is not flagged"):
        make_dossier(
            [planned.inputs],
            tmp_path,
            protocol=load_protocol(None),
            created=CREATED,
            exclusions=(Exclusion("L9", "mistyped", "A. Reader"),),
        )


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["plan", "{in}", "--out", "{out}", "--exclude", "L1=why"], 2, "--by"),
        (["plan", "{in}", "--out", "{out}", "--exclude", "L1", "--by", "A"], 2, "ID=REASON"),
        (["plan", "{in}/absent", "--out", "{out}"], 2, "does not exist"),
        (["plan", "{in}"], 2, "--out"),
        (["plan", "{in}", "--out", "{out}", "--protocol", "{in}/none.toml"], 4, "protocol"),
        (["cases", "--config", "{in}/none.toml"], 4, "none.toml"),
        (["nonsense"], 2, "nonsense"),
    ],
    ids=[
        "exclude-without-by",
        "exclude-without-reason",
        "absent-input",
        "no-out",
        "absent-protocol",
        "absent-config",
        "verb",
    ],
)
def test_a_wrong_command_line_has_its_status_and_no_traceback(
    words: Sequence[str], status: int, says: str, planned: Planned, tmp_path: Path
) -> None:
    done = psdt(*(word.format(**{"in": planned.inputs / "flags", "out": tmp_path}) for word in words))
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect_prints_what_is_there(planned: Planned) -> None:
    done = psdt("inspect", planned.inputs, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == 1
    kinds = sorted(series["kind"] for series in found["series"])
    assert kinds == sorted(
        ["planning-ct", "dixon-in", "dixon-fat", "dwi-trace", "dwi-trace", "adc", "seg", "rtstruct"]
    ) or (kinds == sorted(["planning-ct", "t1", "dixon-fat", "dwi-trace", "dwi-trace", "adc", "seg", "rtstruct"]))
    b_values = {key for series in found["series"] for key in series["b_values_s_per_mm2"]}
    assert {"50", "900"} <= b_values


def test_every_command_has_help_on_one_screen_with_an_example() -> None:
    from psdt_planner.cli import COMMANDS

    for command in COMMANDS:
        done = psdt(command, "--help")
        assert done.returncode == 0
        assert "Example:" in done.stdout, command
        assert len(done.stdout.splitlines()) <= 40, command


def test_the_product_runs_without_libgl_and_display() -> None:
    code = "import psdt_planner.cli.plan, psdt_planner.cli.node, cv2; print(open('/proc/self/maps').read())"
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    libraries = {Path(line.split()[-1]).name for line in done.stdout.splitlines() if ".so" in line}
    assert any("cv2" in library for library in libraries)
    assert not {library for library in libraries if library.startswith(("libGL", "libX11", "libQt", "libgtk"))}
