"""``psdt contour``: segments on a CT's own voxels become rings that hold the same voxels; else it says why not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, dcmread
from pydicom.sr.codedict import codes

from psdt_planner.cli import app
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.contours import mask_of
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.dossier import load_destination
from psdt_planner.dossier.contoured import name_for
from tests.dicom_in.objects import seg_object, segment, uid, write
from tests.lint.builder import SHAPE, planning_ct, verdict_on
from tests.lint.builder import codes as lint_codes

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")

Mask = NDArray[np.uint8]


def organ(number: int, label: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        number, label, codes.SCT.Organ, codes.SCT.Kidney, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )


def ellipse(centre_ji: tuple[float, float], half_ji: tuple[float, float], slices: range) -> Mask:
    j, i = np.ogrid[: SHAPE[1], : SHAPE[2]]
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[slices.start : slices.stop] = ((j - centre_ji[0]) / half_ji[0]) ** 2 + (
        (i - centre_ji[1]) / half_ji[1]
    ) ** 2 <= 1
    return mask


LEFT = ellipse((14.0, 12.5), (6.0, 8.0), range(2, 7))
RIGHT = ellipse((24.0, 36.0), (9.0, 8.5), range(1, 6))
HOLLOW = RIGHT - ellipse((24.0, 36.0), (4.0, 4.0), range(2, 5))


def run(*words: object) -> int:
    return guarded(lambda: app([str(word) for word in words], standalone_mode=False))


def saved(
    folder: Path, *masks: Mask, ct: Sequence[FileDataset] | None = None, described: Any = None, **options: Any
) -> tuple[Path, Path, Path]:
    """A folder with a feet-first CT, a SEG on it, and the file to write."""
    images = list(ct or planning_ct())
    described = described or [organ(n, f"Organ {n}") for n in range(1, len(masks) + 1)]
    seg = seg_object(images, np.stack(masks, axis=-1), described, **options)
    write(folder / "seg", seg)
    return next((folder / "seg").iterdir()), write(folder / "ct", images), folder / "rtstruct.dcm"


def contoured(seg: Path, ct: Path, out: Path, *words: str) -> int:
    return run("contour", seg, "--ct", ct, "--out", out, *words)


def masks_in(ct: Path, out: Path) -> list[NDArray[np.bool_]]:
    """What psdt's own reader finds of the organs, voxel by voxel."""
    exam = read_inputs([ct, out]).exam
    assert exam.planning_ct is not None
    return [mask_of(organ.contours, exam.planning_ct.grid) for organ in exam.organs]


@pytest.mark.parametrize("kind", KINDS)
def test_rings_hold_the_voxels_that_the_segments_held(tmp_path: Path, kind: str) -> None:
    seg, ct, out = saved(tmp_path, LEFT, RIGHT, kind=kind)
    assert contoured(seg, ct, out) == Exit.DONE
    grid = read_inputs([ct]).exam.planning_ct
    assert grid is not None
    along = [int(np.argmin(np.linalg.norm(grid.grid.slice_origins_mm - origin, axis=1))) for origin in origins(ct)]
    for mask, found in zip((LEFT, RIGHT), masks_in(ct, out), strict=True):
        assert np.array_equal(found[along], mask.astype(bool))


def origins(ct: Path) -> list[NDArray[np.float64]]:
    """Of the images in the order of their numbers, as the masks have them."""
    images = sorted((dcmread(path) for path in ct.iterdir()), key=lambda image: int(image.InstanceNumber))
    return [np.array(image.ImagePositionPatient, dtype=float) for image in images]


def test_the_file_is_sound_and_names_what_it_holds(tmp_path: Path) -> None:
    described = [organ(1, "Kidney_L"), organ(2, "lung upper lobe left")]
    seg, ct, out = saved(tmp_path, LEFT, RIGHT, described=described)
    assert contoured(seg, ct, out, "--destination", "eclipse") == Exit.DONE
    assert lint_codes(verdict_on(out, ct)) == set()
    made = dcmread(out)
    assert [roi.ROIName for roi in made.StructureSetROISequence] == ["Kidney_L", "lung_upper_lobe_"]
    assert made.StructureSetROISequence[1].ROIDescription.endswith("Contours of: lung upper lobe left")
    assert {item.RTROIInterpretedType for item in made.RTROIObservationsSequence} == {"ORGAN"}
    assert made.ApprovalStatus == "UNAPPROVED"
    assert made.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID == made.FrameOfReferenceUID


def test_a_hole_is_written_by_the_destinations_rule_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seg, ct, out = saved(tmp_path, HOLLOW)
    assert contoured(seg, ct, out) == Exit.DONE
    assert masks_in(ct, out)[0].sum() == HOLLOW.sum()
    assert "contour-hole-filled" not in capsys.readouterr().err
    assert contoured(seg, ct, out, "--destination", "monaco") == Exit.DONE
    assert masks_in(ct, out)[0].sum() == RIGHT.sum()
    assert "contour-hole-filled" in capsys.readouterr().err


def test_the_parts_of_voxels_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A fractional SEG whose outer voxels are half full: the rings have the volume of the fractions."""
    outer = ellipse((20.0, 25.0), (12.0, 15.0), range(2, 6))
    inner = ellipse((20.0, 25.0), (11.0, 14.0), range(2, 6))
    fraction = np.where(inner == 1, 1.0, 0.4 * outer).astype(np.float32)
    images = planning_ct()
    seg = seg_object(images, fraction[..., None], [organ(1, "Bowel")], kind="FRACTIONAL")
    path, ct = write(tmp_path / "seg", seg), write(tmp_path / "ct", images)
    assert contoured(next(path.iterdir()), ct, tmp_path / "rtstruct.dcm") == Exit.DONE
    volume_ml = fraction.sum() * 1.3 * 0.8 * 2.5 / 1000
    assert f"{volume_ml:.2f}" in capsys.readouterr().out
    made = dcmread(tmp_path / "rtstruct.dcm")
    assert float(made.StructureSetROISequence[0].ROIVolume) == pytest.approx(volume_ml, rel=0.01)


# refusals -------------------------------------------------------------------------------------------------------------


def refused(paths: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert contoured(*paths) == Exit.HELD
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert not paths[2].exists()


def test_a_segment_coded_as_a_lesion_goes_through_planning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = saved(tmp_path, LEFT, RIGHT, described=[organ(1, "Kidney"), segment(2, "Metastasis")])
    refused(paths, capsys, "segments coded as lesions: 2 Metastasis. Use psdt plan")


@pytest.mark.parametrize(
    ("shift_mm", "words"),
    [((0.4, 0.0, 0.0), "lies 0.40 mm beside"), ((0.0, 0.0, 1.25), "lies 1.25 mm beside"), ((0.0, 0.0, 30.0), "beyond")],
)
def test_a_seg_beside_the_voxels_of_the_ct_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift_mm: tuple[float, float, float], words: str
) -> None:
    def shift(seg: Dataset) -> None:
        for frame in seg.PerFrameFunctionalGroupsSequence:
            place = frame.PlanePositionSequence[0]
            place.ImagePositionPatient = (np.array(place.ImagePositionPatient, dtype=float) + shift_mm).tolist()

    refused(changed(saved(tmp_path, LEFT), shift), capsys, words)


def changed(paths: tuple[Path, Path, Path], change: Any) -> tuple[Path, Path, Path]:
    seg = dcmread(paths[0])
    change(seg)
    seg.save_as(paths[0])
    return paths


def test_a_seg_of_other_pixels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stretch(seg: Dataset) -> None:
        seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.3, 0.81]

    refused(changed(saved(tmp_path, LEFT), stretch), capsys, "beside the CT's voxels")


def test_a_seg_of_another_frame_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def move(seg: Dataset) -> None:
        seg.FrameOfReferenceUID = uid("elsewhere")

    refused(changed(saved(tmp_path, LEFT), move), capsys, "another frame of reference than the CT")


def test_a_ct_without_a_slice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seg, ct, out = saved(tmp_path, LEFT)
    next(path for path in ct.iterdir() if dcmread(path).InstanceNumber == 4).unlink()
    refused((seg, ct, out), capsys, "the CT makes no lattice")


def test_no_ct_and_no_seg_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seg, ct, out = saved(tmp_path, LEFT)
    refused((seg, seg, out), capsys, "no CT series in the folder")
    refused((next(ct.iterdir()), ct, out), capsys, "no DICOM segmentation")


# names ----------------------------------------------------------------------------------------------------------------


@given(labels=st.lists(st.text(max_size=40), min_size=1, max_size=12))
def test_every_label_becomes_a_name_that_the_destination_takes(labels: list[str]) -> None:
    rules = load_destination("generic")
    names: list[str] = []
    for number, label in enumerate(labels, start=1):
        names.append(name_for(label, number, names, rules))
    assert len({name.casefold() for name in names}) == len(labels)
    for name in names:
        assert 1 <= len(name) <= rules.names.max_length
        assert name.isascii()
        assert all(letter.isalnum() or letter in rules.names.characters for letter in name)


def test_a_name_that_is_taken_is_numbered() -> None:
    rules = load_destination("generic")
    long = "vertebra of the neck, first"
    assert name_for(long, 1, [], rules) == "vertebra_of_the_"
    assert name_for(long, 2, ["VERTEBRA_OF_THE_"], rules) == "vertebra_of_th~2"
    assert name_for("肝", 3, [], rules) == "ROI_3"
