"""Files in: every header once, whatever the order; what cannot be read is named and does no harm."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from psdt_planner.dicom.files import read_headers
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.errors import InputError
from psdt_planner.findings import Finding, Level
from tests.dicom_in.objects import blank, ct_images, structure_set, uid, write


def unreadable(name: str, why: str) -> Finding:
    return Finding("file-unreadable", Level.WARN, f"{name} was left out: {why}")


def test_a_header_tells_its_file_its_hash_and_its_object(tmp_path: Path) -> None:
    folder = write(tmp_path, ct_images()[:1])
    (header,), findings = read_headers([folder])
    assert findings == ()
    assert header.file.name == "0000"
    assert header.file.sha256 == hashlib.sha256((folder / "0000").read_bytes()).hexdigest()
    assert header.file.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert (header.file.sop_instance_uid, header.file.series_instance_uid) == (uid("ct", 0), uid("ct"))
    assert "PixelData" not in header.dataset
    assert header.path == folder / "0000"


def test_folders_may_be_nested_and_named_twice(tmp_path: Path) -> None:
    images = ct_images()
    write(tmp_path / "a" / "b" / "c", images[:2])
    write(tmp_path / "a", images[2:])
    found, findings = read_headers([tmp_path, tmp_path / "a", tmp_path / "a" / "b" / "c" / "0000"])
    assert [header.file.sop_instance_uid for header in found] == sorted(image.SOPInstanceUID for image in images)
    assert findings == ()


def test_a_linked_file_is_read_once_and_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    images = ct_images()
    write(tmp_path / "in", images[:2])
    write(tmp_path / "beside", images[2:])
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "0000")
    (tmp_path / "in" / "one more").symlink_to(tmp_path / "beside" / "0000")
    (tmp_path / "in" / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in" / "beside").symlink_to(tmp_path / "beside", target_is_directory=True)
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    steps: list[tuple[int, int]] = []
    found, findings = read_headers(
        [tmp_path / "in", tmp_path / "link"], progress=lambda done, total: steps.append((done, total))
    )
    assert [header.file.sop_instance_uid for header in found] == sorted(image.SOPInstanceUID for image in images[:3])
    assert (findings, steps[-1]) == ((), (3, 3))


def test_a_path_that_does_not_exist_is_an_error_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder nowhere") as caught:
        read_headers([tmp_path / "nowhere"])
    assert str(tmp_path) not in str(caught.value)


def test_progress_counts_every_file(tmp_path: Path) -> None:
    write(tmp_path, ct_images())
    (tmp_path / "notes.txt").write_text("no DICOM")
    steps: list[tuple[int, int]] = []
    read_headers([tmp_path], progress=lambda done, total: steps.append((done, total)))
    assert steps == [(n, 6) for n in range(1, 7)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"not DICOM at all", "not a readable DICOM file"),
        (b"\0" * 128 + b"DICM", "truncated"),
        (b"\0" * 128 + b"DICM" + bytes(range(256)) * 4, "truncated"),
        (b"\xff" * 4096, "not a readable DICOM file"),
    ],
    ids=["empty", "text", "preamble alone", "garbage after the preamble", "ones"],
)
def test_garbage_is_named_without_its_folder_and_the_rest_is_read(tmp_path: Path, content: bytes, why: str) -> None:
    write(tmp_path, ct_images())
    (tmp_path / "odd.bin").write_bytes(content)
    found, findings = read_headers([tmp_path])
    assert len(found) == 5
    assert findings == (unreadable("odd.bin", why),)


@given(data=st.data())
def test_a_truncated_image_is_never_taken_for_a_whole_one(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = write(tmp_path_factory.mktemp("cut"), ct_images())
    whole = (folder / "0002").read_bytes()
    cut = data.draw(st.integers(1, len(whole) - 1))
    (folder / "0002").write_bytes(whole[:cut])
    found, findings = read_headers([folder])
    assert len(found) == 4
    assert [finding.code for finding in findings] == ["file-unreadable"]


@given(data=st.data())
def test_a_truncated_structure_set_is_refused_wherever_the_cut_leaves_part_of_an_element(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = write(tmp_path_factory.mktemp("cut"), structure_set([{"number": 1, "name": "A", "rings": []}]))
    whole = (folder / "0000").read_bytes()
    cut = data.draw(st.integers(1, len(whole) - 1))
    (folder / "0000").write_bytes(whole[:cut])
    found, findings = read_headers([folder])
    boundaries = _element_ends(whole)
    assert (len(found), len(findings)) == ((1, 0) if cut in boundaries else (0, 1))


def _element_ends(content: bytes) -> set[int]:
    """Where a top-level element of an explicit little-endian file ends, by walking the bytes after the file header."""
    at, ends = 132 + 12 + int.from_bytes(content[140:144], "little"), set()
    long_form = {b"SQ", b"OB", b"OW", b"UT", b"UN"}
    while at < len(content):
        if content[at + 4 : at + 6] in long_form:
            length, head = int.from_bytes(content[at + 8 : at + 12], "little"), 12
        else:
            length, head = int.from_bytes(content[at + 6 : at + 8], "little"), 8
        at += head + length
        ends.add(at)
    return ends


@pytest.mark.parametrize("syntax", [RLELossless, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_truncation_is_seen_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    image = ct_images()[0]
    if syntax == RLELossless:
        image.compress(RLELossless)
    else:
        image.file_meta.TransferSyntaxUID = syntax
    image.save_as(tmp_path / "whole", enforce_file_format=True)
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "short").write_bytes(content[:-9])
    found, findings = read_headers([tmp_path])
    assert [header.file.name for header in found] == ["whole"]
    assert [finding.code for finding in findings] == ["file-unreadable"]


def test_the_same_instance_with_the_same_bytes_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "a", ct_images())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    found, findings = read_headers([tmp_path])
    assert len(found) == 5
    assert findings == ()


def test_the_same_instance_with_other_bytes_holds(tmp_path: Path) -> None:
    write(tmp_path / "a", ct_images())
    write(tmp_path / "b", ct_images(SeriesDescription="Changed")[3:4])
    found, findings = read_headers([tmp_path])
    assert len(found) == 5
    assert [(finding.code, finding.level) for finding in findings] == [("duplicate-conflicting", Level.HOLD)]
    assert uid("ct", 3) in findings[0].message
    assert "0000, 0003" in findings[0].message
    hashes = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.rglob("0*"))
    assert sorted(file.sha256 for file in read_inputs([tmp_path]).files) == hashes


def test_private_objects_and_a_dicomdir_are_listed_and_not_lost(tmp_path: Path) -> None:
    private = blank("1.3.46.670589.11.0.0.12.2", "private", Modality="MR", StudyInstanceUID="1.2.3.201")
    directory = blank("1.2.840.10008.1.3.10", "directory")
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName"):
        delattr(directory, keyword)
    directory.DirectoryRecordSequence = []
    intake = read_inputs([write(tmp_path, private, directory)])
    assert [(one.kind, one.images) for one in intake.series] == [("other", 1)]
    assert [one.sop_class_uid for one in intake.other] == ["1.2.840.10008.1.3.10"]
    assert "object-unidentified" not in {finding.code for finding in intake.exam.findings}


def test_an_object_without_uids_is_listed_by_its_file_name(tmp_path: Path) -> None:
    nameless = ct_images(SeriesInstanceUID="", SOPInstanceUID="", SOPClassUID="")[:2]
    intake = read_inputs([write(tmp_path, nameless)])
    assert [file.name for file in intake.other] == ["0000", "0001"]
    found = [finding for finding in intake.exam.findings if finding.code == "object-unidentified"]
    assert [finding.message.split()[0] for finding in found] == ["0000", "0001"]
    assert {finding.level for finding in found} == {Level.WARN}


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    folder = write(tmp_path, ct_images(), structure_set([]))
    intake = read_inputs([folder])
    assert [file.name for file in intake.files] == sorted(path.name for path in folder.iterdir())
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert {file.name: file.sha256 for file in intake.files} == hashes


def test_values_that_are_not_valid_print_nothing(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path, ct_images(StudyDate="yesterday", SeriesDescription="x" * 70))
    recwarn.clear()
    caplog.clear()
    intake = read_inputs([folder])
    assert intake.exam.planning_ct is not None
    assert len(recwarn) == 0
    assert caplog.text == ""


def test_reading_leaves_the_files_as_they_were(case: Path) -> None:
    before = {path.name: path.read_bytes() for path in case.iterdir()}
    read_inputs([case])
    assert {path.name: path.read_bytes() for path in case.iterdir()} == before


def test_a_missing_image_is_one_hold_and_not_a_shorter_ct(tmp_path: Path) -> None:
    folder = write(tmp_path, ct_images())
    content = (folder / "0002").read_bytes()
    (folder / "0002").write_bytes(content[: len(content) // 2])
    intake = read_inputs([folder])
    codes = {finding.code for finding in intake.exam.findings}
    assert {"file-unreadable", "ct-slice-missing"} <= codes
    assert intake.exam.planning_ct is None


def test_the_whole_image_is_read_where_only_its_copy_is_truncated(tmp_path: Path) -> None:
    folder = write(tmp_path, ct_images())
    (folder / "copy").write_bytes((folder / "0002").read_bytes()[:-40])
    ct = read_inputs([folder]).exam.planning_ct
    assert ct is not None
    expected = dcmread(folder / "0002").pixel_array - 1024.0
    assert np.array_equal(ct.array[2], expected)
