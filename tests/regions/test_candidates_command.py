"""``psdt candidates``: what it finds holds until a person has accepted it by name."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from pydicom import FileDataset, dcmread

from psdt_planner.cli import app
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.dicom.files import read_headers
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.dicom.seg_out import Grown, segmentation
from psdt_planner.findings import Level
from psdt_planner.regions import parse_rule
from tests.dicom_in.objects import MR_FRAME, OBLIQUE, dwi_images, mr_images, write
from tests.dicom_in.test_multiframe import at, enhanced
from tests.peers import require_peer

SHAPE = (9, 26, 22)
RULE = parse_rule(
    resources.files("psdt_planner").joinpath("protocols", "regions.toml").read_text(encoding="utf-8"), "regions"
)
ONE, OTHER = (slice(2, 5), slice(4, 12), slice(4, 12)), (slice(5, 8), slice(15, 23), slice(10, 18))


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    """Muscle with two bright places of low ADC, on an oblique stack."""
    signal, adc = np.full(SHAPE, 60, np.int16), np.full(SHAPE, 1500, np.int16)
    for place in (ONE, OTHER):
        signal[place], adc[place] = 400, 850
    geometry = {"shape": SHAPE, "spacing_ji": (2.5, 2.0), "gap": 4.0}
    derived = ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]
    maps = mr_images("adc", pixels=adc, ImageType=derived, SeriesDescription="adc", **geometry)
    return write(tmp_path / "exam", dwi_images(pixels=signal, **geometry), maps)


def run(*words: object) -> int:
    return guarded(lambda: app([str(word) for word in words], standalone_mode=False))


def voxels(path: Path) -> list[int]:
    return [int(flag.mask.sum()) for flag in read_inputs([path.parent / "exam", path]).exam.flags]


def test_candidates_are_read_as_flags_that_hold(exam: Path) -> None:
    out = exam.parent / "seg.dcm"
    assert run("candidates", exam, "--out", out) == Exit.DONE
    found = read_inputs([exam, out]).exam
    assert voxels(out) == [3 * 8 * 8, 3 * 8 * 8]
    held = [(one.code, one.level, one.lesion) for one in found.findings if one.code == "lesion-semiautomatic"]
    assert held == [("lesion-semiautomatic", Level.HOLD, "L1"), ("lesion-semiautomatic", Level.HOLD, "L2")]
    seg = dcmread(out)
    assert [segment.SegmentAlgorithmType for segment in seg.SegmentSequence] == ["AUTOMATIC"] * 2
    (by,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert by.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Cluster Analysis"
    assert by.AlgorithmParameters == RULE.words(seeded=False)
    assert (seg.ContentLabel, "ContentCreatorName" in seg and bool(seg.ContentCreatorName)) == ("CANDIDATES", False)


def test_what_a_named_person_accepted_is_a_flag(exam: Path) -> None:
    out = exam.parent / "seg.dcm"
    assert run("candidates", exam, "--out", out, "--accept", "C2", "--by", "A. Reader") == Exit.DONE
    found = read_inputs([exam, out]).exam
    assert [flag.label.split()[0] for flag in found.flags] == ["C2"]
    assert "lesion-semiautomatic" not in {one.code for one in found.findings}
    seg = dcmread(out)
    assert (str(seg.ContentCreatorName), seg.ContentLabel) == ("A. Reader", "ACCEPTED")
    assert "accepted" in seg.ContentDescription
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC", "who grew it does not change"


def test_a_marked_point_grows_into_a_region_that_covers_it(exam: Path) -> None:
    images = sorted(read_headers([exam])[0], key=lambda header: header.file.name)
    image = next(
        one.dataset
        for one in images
        if one.dataset.SeriesDescription == "ep2d_diff" and one.dataset.InstanceNumber == 4
    )
    table = exam / "points.csv"
    table.write_text(f"label,image_uid,column,row,tracking_uid\nleft rib,{image.SOPInstanceUID},7,7,1.2.3.4\n")
    out = exam.parent / "seg.dcm"
    assert run("candidates", exam, "--out", out, "--accept", "L1", "--by", "A. Reader") == Exit.DONE
    found = read_inputs([exam, out]).exam
    (flag,) = found.flags
    assert (flag.label, flag.site, flag.tracking_uid) == ("left rib", "rib", "1.2.3.4")
    (written,) = dcmread(out).SegmentSequence
    assert written.SegmentAlgorithmType == "SEMIAUTOMATIC"
    (by,) = written.SegmentationAlgorithmIdentificationSequence
    assert by.AlgorithmParameters == RULE.words(seeded=True)
    codes = {one.code for one in found.findings}
    assert "flag-point-covered" in codes
    assert not codes & {"flag-point", "lesion-semiautomatic"}


def test_two_points_in_one_lesion_make_one_region_and_one_that_does_not_grow_is_said(
    exam: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two targets at one place would be treated twice."""
    image = next(
        one.dataset
        for one in read_headers([exam])[0]
        if one.dataset.SeriesDescription == "ep2d_diff" and one.dataset.InstanceNumber == 4
    )
    rows = "".join(f"{name},{image.SOPInstanceUID},{column},7\n" for name, column in (("a", 6), ("b", 8), ("c", 20)))
    (exam / "points.csv").write_text(f"label,image_uid,column,row\n{rows}")
    out = exam.parent / "seg.dcm"
    assert run("candidates", exam, "--out", out, "--accept", "L1", "--by", "Reader^A") == Exit.HELD
    said = capsys.readouterr().err
    assert "L2 lies in the region of L1" in said
    assert "not grown: L3 c: no voxel near the point has an ADC that the rule allows" in said
    (exam / "points.csv").write_text(f"label,image_uid,column,row\n{''.join(rows.splitlines(keepends=True)[:2])}")
    found = read_inputs([exam, out]).exam
    assert len(found.flags) == 1
    assert "flag-point" not in {one.code for one in found.findings}, "the one region stands for both points"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--accept", "C1"], Exit.USAGE),
        (["--accept", "C9", "--by", "A. Reader"], Exit.HELD),
        (["--rule", "absent.toml"], Exit.CONFIGURATION),
        (["--at", "2026-01-02T03:04:05"], Exit.USAGE),
        (["--at", "yesterday"], Exit.USAGE),
    ],
)
def test_what_cannot_be_done_says_who_must_act(exam: Path, words: list[str], status: Exit) -> None:
    out = exam.parent / "seg.dcm"
    assert run("candidates", exam, "--out", out, *words) == status
    assert not out.exists()


def test_an_exam_without_an_adc_map_holds(tmp_path: Path) -> None:
    exam = write(tmp_path / "exam", dwi_images())
    assert run("candidates", exam, "--out", tmp_path / "seg.dcm") == Exit.HELD


def test_the_same_regions_give_the_same_bytes(exam: Path) -> None:
    images = [one for one in read_headers([exam])[0] if one.dataset.SeriesDescription == "ep2d_diff"]
    (volume,) = [one for one in read_inputs([exam]).exam.mr if one.quantity.b_value_s_per_mm2 == 900]
    mask = np.zeros(SHAPE, dtype=bool)
    mask[ONE] = True
    stamp = Stamp(datetime(2026, 1, 2, tzinfo=UTC), "x")
    grown = [Grown("a", mask, "", seeded=True, rule="r")]
    files = [segmentation(grown, volume.grid, some, stamp=stamp) for some in (images, images[::-1])]
    assert files[0] == files[1]
    assert volume.grid.frame == MR_FRAME


@pytest.mark.parametrize("accepted", [(), ("--accept", "C1", "--by", "Reader^A")], ids=["open", "accepted"])
def test_dciodvfy_says_nothing_of_the_seg(exam: Path, accepted: tuple[str, ...]) -> None:
    require_peer("dciodvfy")
    out = exam.parent / "seg.dcm"
    assert run("candidates", exam, "--out", out, *accepted) == Exit.DONE
    done = subprocess.run(["dciodvfy", "-new", str(out)], capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))] == []


def test_the_same_input_and_time_give_the_same_file(exam: Path) -> None:
    files = [exam.parent / name for name in ("one.dcm", "two.dcm", "later.dcm")]
    for out, minute in zip(files, (4, 4, 5), strict=True):
        assert run("candidates", exam, "--out", out, "--at", f"2026-01-02T03:0{minute}:05+01:00") == Exit.DONE
    one, two, later = (path.read_bytes() for path in files)
    assert one == two != later
    seg = dcmread(files[0])
    assert (seg.ContentDate, seg.ContentTime) == ("20260102", "030405.000000")
    assert seg.StudyDate == "20260101"


def test_regions_on_an_enhanced_mr_are_written_on_its_frames(tmp_path: Path) -> None:
    """Frames of two b-values and of the ADC in one object, in an order of their own."""
    require_peer("dciodvfy")
    shape = (5, 9, 7)
    signal, adc = np.full(shape, 60), np.full(shape, 1500)
    signal[1:4, 2:7, 1:6], adc[1:4, 2:7, 1:6] = 400, 850
    isotropic = ["DERIVED", "PRIMARY", "DIFFUSION", "ISOTROPIC"]
    of_adc = ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]
    frames = [(signal[k] * (900 // b), at(k), {"b": b, "type": isotropic}) for k in (3, 0, 4, 1, 2) for b in (900, 50)]
    maps = [(adc[k], at(k), {"type": of_adc}) for k in (2, 0, 1, 3, 4)]
    exam = write(tmp_path / "exam", enhanced(frames), enhanced(maps, "map", ImageType=of_adc))
    out = tmp_path / "seg.dcm"
    assert run("candidates", exam, "--out", out, "--accept", "C1", "--by", "Reader^A") == Exit.DONE
    (flag,) = read_inputs([exam, out]).exam.flags
    assert int(flag.mask.sum()) == 3 * 5 * 5
    middle = at(2) + 1.3 * 4 * OBLIQUE[1] + 0.8 * 3 * OBLIQUE[0]
    assert np.linalg.norm(flag.centroid_mm - middle) < 0.01
    named = [
        image.ReferencedFrameNumber
        for group in dcmread(out).PerFrameFunctionalGroupsSequence
        for image in group.DerivationImageSequence[0].SourceImageSequence
    ]
    assert set(named) == {1, 2, 7, 8, 9, 10}, "the frames at k = 1 to 3, of either b-value"
    done = subprocess.run(["dciodvfy", "-new", str(out)], capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))] == []


DOUBTS = {
    "b-value-unknown": dwi_images("odd", b=None),
    "adc-unit-ambiguous": mr_images(
        "odd",
        ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"],
        Manufacturer="SIEMENS",
        pixels=np.full((5, 9, 7), 1),
    ),
    "diffusion-unclear": dwi_images("odd", ImageType=["DERIVED", "SECONDARY"], SequenceName=""),
    "mr-geometry": dwi_images("odd")[:3:2] + dwi_images("odd")[3:],
}


@pytest.mark.parametrize(("code", "odd"), DOUBTS.items(), ids=DOUBTS.keys())
def test_what_is_doubtful_of_the_images_is_said_and_holds(
    exam: Path, code: str, odd: list[FileDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    write(exam, odd)
    out = exam.parent / "seg.dcm"
    assert run("candidates", exam, "--out", out) == Exit.HELD
    said = capsys.readouterr().err
    assert f"hold  {code}" in said
    assert "warn  t1-absent" in said, "every warning is told"
    assert "info" not in said, "what is good to know is not"
