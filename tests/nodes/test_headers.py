"""Reading the few attributes of an object that the index holds, from bytes that nobody has checked."""

from __future__ import annotations

import contextlib
import struct
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_nodes.errors import IncompleteObjectError, ObjectError, UnreadableObjectError
from dicom_nodes.headers import Header, is_uid, read_file_header, read_file_manufacturer, read_header
from tests.nodes.objects import PATIENT_ID, dataset_bytes, make, uid, write

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_the_header_of_a_file(tmp_path: Path, syntax: str) -> None:
    ds = make("MR", 3)
    ds.IssuerOfPatientID = "HOSPITAL "
    assert read_file_header(write(ds, tmp_path, syntax)) == Header(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        sop_instance_uid=uid(1, 3, 3),
        study_instance_uid=uid(1),
        series_instance_uid=uid(1, 3),
        modality="MR",
        patient_id=PATIENT_ID,
        issuer_of_patient_id="HOSPITAL",
        frame_of_reference_uid=uid(1, 53),
        transfer_syntax_uid=syntax,
    )


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_the_manufacturer_of_a_file(tmp_path: Path, syntax: str) -> None:
    ds = make("MR", 3)
    assert read_file_manufacturer(write(ds, tmp_path, syntax)) == "psdt tests"
    del ds.Manufacturer
    assert read_file_manufacturer(write(ds, tmp_path, syntax)) == ""


def test_the_manufacturer_of_what_is_no_dicom_file(tmp_path: Path) -> None:
    (tmp_path / "notes.dcm").write_bytes(b"not DICOM" * 100)
    with pytest.raises(UnreadableObjectError):
        read_file_manufacturer(tmp_path / "notes.dcm")


def test_big_endian(tmp_path: Path) -> None:
    stream = BytesIO()
    ds = make("SEG", 1)
    ds.save_as(stream, implicit_vr=False, little_endian=False)
    assert read_header(BytesIO(stream.getvalue()), ExplicitVRBigEndian).sop_instance_uid == uid(1, 6, 1)


def test_nothing_behind_the_frame_of_reference_is_read(tmp_path: Path) -> None:
    data = dataset_bytes(write(make("CT", 1), tmp_path))
    cut = data.index(struct.pack("<HH", 0x0028, 0x0002))
    whole = read_header(BytesIO(data), ExplicitVRLittleEndian)
    assert read_header(BytesIO(data[:cut] + b"\xff" * 9), ExplicitVRLittleEndian) == whole


def test_an_identifier_outside_ascii_stays_told_apart() -> None:
    def patient_id(raw: bytes) -> str:
        return read_header(BytesIO(_encode(PatientID=raw)), ExplicitVRLittleEndian).patient_id

    assert patient_id(b"M\xfcller") == "M\\xfcller"
    assert patient_id(b"M\xf6ller") != patient_id(b"M\xfcller")
    assert patient_id(b" 12 ") == "12"
    assert patient_id(b"") == ""


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"]
)
@pytest.mark.parametrize("value", [None, b""], ids=["absent", "empty"])
def test_what_every_object_carries_must_be_there(keyword: str, value: bytes | None) -> None:
    with pytest.raises(IncompleteObjectError, match=keyword):
        read_header(BytesIO(_encode(**{keyword: value})), ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "1.2.3/4", "1.2.a", "1..2", "1.2.", ".1", "1" * 65, "", " ", "1.2\n"]
)
def test_a_malformed_uid_is_refused(text: str) -> None:
    assert not is_uid(text)


@pytest.mark.parametrize("text", ["1.2.3", "1", "1.02.3", "1." + "2" * 62])
def test_a_uid_may_break_the_standard_harmlessly(text: str) -> None:
    assert is_uid(text)


GARBAGE = {
    "empty": b"",
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": b"\0" * 512,
    "ones": b"\xff" * 512,
    "half an element": struct.pack("<HH2sH", 0x0008, 0x0016, b"UI", 900) + b"1.2.840",
    "sequence without end": struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0",
}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused_by_name(garbage: bytes, syntax: str) -> None:
    with pytest.raises(ObjectError):
        read_header(BytesIO(garbage), syntax)


def test_sequences_a_thousand_deep_do_no_harm() -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    deep = (struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + item) * 1000
    with pytest.raises(UnreadableObjectError):
        read_header(BytesIO(deep), ExplicitVRLittleEndian)


def test_a_deflated_bomb_is_not_unpacked(tmp_path: Path) -> None:
    ds = make("CT", 1)
    ds.add_new(0x00091001, "OB", b"\0" * 30_000_000)
    path = write(ds, tmp_path, DeflatedExplicitVRLittleEndian)
    assert path.stat().st_size < 100_000
    with pytest.raises(ObjectError):
        read_file_header(path)


@given(data=st.binary(max_size=400), syntax=st.sampled_from(SYNTAXES))
def test_any_bytes_end_in_a_header_or_in_a_refusal(data: bytes, syntax: str) -> None:
    with contextlib.suppress(ObjectError):
        assert isinstance(read_header(BytesIO(data), syntax), Header)


@given(place=st.integers(0, 600), value=st.integers(0, 255))
def test_one_changed_byte_ends_in_a_header_or_in_a_refusal(place: int, value: int) -> None:
    data = bytearray(_encode())
    data[place % len(data)] = value
    with contextlib.suppress(ObjectError):
        assert isinstance(read_header(BytesIO(bytes(data)), ExplicitVRLittleEndian), Header)


@pytest.mark.parametrize("content", [b"", b"not DICOM", b"\0" * 128 + b"DICM"], ids=["empty", "text", "no meta"])
def test_a_file_that_is_no_dicom_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(content)
    with pytest.raises(UnreadableObjectError, match="DICOM File Format"):
        read_file_header(path)


def _encode(**changed: bytes | None) -> bytes:
    """A data set in Explicit VR Little Endian with some values set as raw bytes, or left out."""
    values: dict[str, bytes | None] = {
        "SOPClassUID": b"1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": b"1.2.3.4",
        "Modality": b"CT",
        "PatientID": b"ID",
        "StudyInstanceUID": b"1.2.3",
        "SeriesInstanceUID": b"1.2.3.1",
        **changed,
    }
    encoded = b""
    for keyword, value in values.items():
        if value is not None:
            element = Dataset()
            setattr(element, keyword, "1")
            tag, vr = next(iter(element)).tag, next(iter(element)).VR
            padded = value + b" " * (len(value) % 2)
            encoded += struct.pack("<HH2sH", tag.group, tag.element, vr.encode(), len(padded)) + padded
    return encoded


def test_the_oracle_reads_what_the_tests_encode() -> None:
    assert dcmread(BytesIO(_encode()), force=True).SOPInstanceUID == "1.2.3.4"
