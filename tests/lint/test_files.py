"""Files that are hardly files: empty, cut short, no DICOM, another object, explicit and deflated, and reused UIDs."""

from __future__ import annotations

import struct
import warnings
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom import FileDataset, dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from psdt_planner.dicom.image_planes import find
from psdt_planner.dicom.rtstruct_file import read_structure_set_file
from psdt_planner.errors import InputError, UnsupportedError
from psdt_planner.lint import lint
from tests.dicom_in.objects import mr_images, uid
from tests.lint.builder import SHAPE, codes, disc, planning_ct, saved, set_text, sound, text_of, verdict_on, write


@pytest.fixture
def ct() -> list[FileDataset]:
    return planning_ct()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "x.dcm is empty"),
        (b"no DICOM at all", "not a DICOM file"),
        (b"\0" * 128 + b"DICM\x08", "no RT Structure Set"),
    ],
    ids=["empty", "text", "header alone"],
)
def test_what_is_no_dicom_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_structure_set_file(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.dcm"):
        read_structure_set_file(tmp_path / "gone.dcm")
    with pytest.raises(InputError, match="no file or folder gone"):
        find([tmp_path / "gone"])


def test_another_object_is_refused(tmp_path: Path, ct: list[FileDataset]) -> None:
    write(tmp_path, ct[:1])
    with pytest.raises(UnsupportedError, match="0000 is no RT Structure Set"):
        read_structure_set_file(tmp_path / "0000")


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_said_to_be(tmp_path: Path, ct: list[FileDataset], part: float) -> None:
    path = saved(sound(ct), tmp_path / "rtss.dcm")
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert codes(verdict_on(path)) & {"file-truncated", "sequence-damaged"}


def test_every_cut_gives_a_verdict_or_a_refusal_and_never_a_clean_one(tmp_path: Path, ct: list[FileDataset]) -> None:
    path = saved(sound(ct), tmp_path / "rtss.dcm")
    data, folder = path.read_bytes(), write(tmp_path / "ct", ct)
    found = find([folder])
    for end in np.linspace(200, len(data) - 2, 60).astype(int).tolist():
        path.write_bytes(data[:end])
        try:
            (verdict,) = lint([read_structure_set_file(path)], found.series)
        except InputError:
            continue
        assert verdict.complaints, end


def test_bytes_changed_at_random_never_stop_it(tmp_path: Path, ct: list[FileDataset]) -> None:
    """Whatever is in the file, there is a verdict or a refusal."""
    path = saved(sound(ct), tmp_path / "rtss.dcm")
    data, rng = path.read_bytes(), np.random.default_rng(3)
    for _ in range(150):
        bad = bytearray(data)
        for at in rng.integers(132, len(data), rng.integers(1, 30)).tolist():
            bad[at] = int(rng.integers(256))
        path.write_bytes(bytes(bad))
        with suppress(InputError):
            lint([read_structure_set_file(path)], ())


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_encoding_gives_the_same_verdict(tmp_path: Path, ct: list[FileDataset], syntax: str) -> None:
    ds = dcmread(saved(sound(ct), tmp_path / "implicit.dcm"))
    for roi in ds.ROIContourSequence:  # decoded, so that pydicom encodes them anew
        for ring in roi.ContourSequence:
            assert ring.ContourData
    ds.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(tmp_path / "other.dcm", ds, little_endian=syntax != ExplicitVRBigEndian, implicit_vr=False)
    verdict = verdict_on(tmp_path / "other.dcm", write(tmp_path / "ct", ct))
    assert verdict.complaints == ()


def test_sequences_of_undefined_length_are_not_missing(tmp_path: Path, ct: list[FileDataset]) -> None:
    ds = sound(ct)
    for keyword in ("StructureSetROISequence", "ROIContourSequence", "ReferencedFrameOfReferenceSequence"):
        ds[keyword].is_undefined_length = True
    for roi in ds.ROIContourSequence:
        roi["ContourSequence"].is_undefined_length = True
    path = saved(ds, tmp_path / "rtss.dcm")
    assert verdict_on(path, write(tmp_path / "ct", ct)).complaints == ()


@pytest.mark.parametrize(
    ("keyword", "more"),
    [
        ("ReferencedFrameOfReferenceSequence", {"references-missing"}),
        ("RTROIObservationsSequence", {"roi-unobserved"}),
        ("ROIContourSequence", {"roi-empty"}),
    ],
)
def test_a_sequence_that_cannot_be_taken_apart(
    tmp_path: Path, ct: list[FileDataset], keyword: str, more: set[str]
) -> None:
    path = saved(sound(ct), tmp_path / "rtss.dcm")
    tag = Tag(tag_for_keyword(keyword) or 0)
    begin = struct.pack("<HH", tag.group, tag.element)
    data = bytearray(path.read_bytes())
    at = data.index(begin) + 8
    assert data[at : at + 4] == b"\xfe\xff\x00\xe0"
    data[at : at + 4] = b"none"
    path.write_bytes(data)
    verdict = verdict_on(path, write(tmp_path / "ct", ct))
    assert codes(verdict) == {"sequence-damaged", *more}
    assert [one.message for one in verdict.complaints if one.code == "sequence-damaged"] == [
        f"{keyword} cannot be taken apart"
    ]


def test_one_uid_for_two_contents_is_said_of_both(tmp_path: Path, ct: list[FileDataset]) -> None:
    first, second = sound(ct), sound(ct)
    second.ROIContourSequence[1].ContourSequence.pop()
    files = [read_structure_set_file(saved(ds, tmp_path / name)) for ds, name in ((first, "a"), (second, "b"))]
    found = find([write(tmp_path / "ct", ct)])
    assert [codes(one) for one in lint(files, found.series)] == [{"uid-reused"}, {"uid-reused"}]
    assert [codes(one) for one in lint([files[0], files[0]], found.series)] == [set(), set()], "a copy is no reuse"


def test_what_the_slices_say_is_read_slice_by_slice(tmp_path: Path, ct: list[FileDataset]) -> None:
    (series,) = find([write(tmp_path / "ct", ct, mr_images(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))]).series
    assert series.uid == uid("ct")
    assert len(series.image_uids) == SHAPE[0]
    assert series.image_uids[0] == uid("ct", 0)
    assert not series.origins_mm.flags.writeable


def test_points_are_those_of_the_text(tmp_path: Path, ct: list[FileDataset]) -> None:
    file = read_structure_set_file(saved(sound(ct), tmp_path / "rtss.dcm"))
    ring = file.rois[1].rings[0]
    np.testing.assert_array_equal(ring.points_mm, np.round(disc(2, 4.0, (3.0, -2.0)), 3))
    assert not ring.points_mm.flags.writeable
    assert (ring.values, ring.stated_points, ring.image_uids) == (72, 24, (uid("ct", 2),))


def test_what_is_no_number_is_nan_and_the_rest_stays(tmp_path: Path, ct: list[FileDataset]) -> None:
    ds = sound(ct)
    words = text_of(disc(2, 4.0)).split("\\")
    words[4], words[7] = "1,5", "-inf"
    set_text(ds.ROIContourSequence[1].ContourSequence[0], "\\".join(words))
    ring = read_structure_set_file(saved(ds, tmp_path / "rtss.dcm")).rois[1].rings[0]
    assert ring.not_finite == 2
    assert np.flatnonzero(~np.isfinite(ring.points_mm.ravel())).tolist() == [4, 7]


def test_a_series_without_a_place_is_passed_over(tmp_path: Path, ct: list[FileDataset]) -> None:
    for image in ct:
        del image.ImageOrientationPatient
    found = find([write(tmp_path / "ct", deepcopy(ct))])
    assert found.series == ()
    assert len(found.images) == SHAPE[0]
