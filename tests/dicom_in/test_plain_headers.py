"""Headers of plain files: what is read fast is what pydicom reads, and what is not plain is left to pydicom."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, FileDataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from psdt_planner.dicom.attributes import UNDECODABLE
from psdt_planner.dicom.files import quiet, read_headers
from psdt_planner.dicom.plain_headers import HEAD_BYTES, read_plain
from tests.dicom_in.objects import blank, changed, ct_images, dwi_images, item
from tests.dicom_in.packs import pack

PACKS = ("dwi_ge_classic", "dwi_dicom2nifti_4vendors", "body_dwi_prostatex_0000", "mrct_sts_002_ct_mr_pet_rtss")


def written(image: FileDataset, syntax: str = "") -> bytes:
    if syntax:
        image.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def image(**attributes: Any) -> FileDataset:
    """A diffusion image with a text that is no ASCII, an empty number, a private element and a sequence."""
    one = changed(dwi_images()[0], PatientName="Dóe^Jö", SpecificCharacterSet="ISO_IR 100", EchoTime=None, **attributes)
    one.add_new(0x00180080, "DS", "")
    one.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "900")
    one.ReferencedImageSequence = [item(ReferencedSOPInstanceUID="1.2.3")]
    return one


def told(ds: Dataset) -> dict[int, object]:
    """What each element says; of bytes that are not decoded yet, these and where they stood."""
    found: dict[int, object] = {}
    for tag in ds.keys():  # noqa: SIM118
        element = ds.get_item(tag)
        found[tag] = (
            tuple(element)
            if isinstance(element, RawDataElement)
            else (element.VR, element.value, element.file_tell, element.is_undefined_length)
        )
    return found


def assert_as_pydicom_reads(content: bytes) -> bool:
    """Hold what is read fast against pydicom; whether anything was."""
    file, peer_file = BytesIO(content), BytesIO(content)
    with quiet():
        try:
            fast = read_plain(file)
        except UNDECODABLE as error:
            with pytest.raises(type(error)):
                dcmread(peer_file, stop_before_pixels=True)
            return False
        if fast is None:
            return False
        peer = dcmread(peer_file, stop_before_pixels=True)
        assert list(fast.keys()) == list(peer.keys())
        for ds in (fast, peer):  # pydicom has decoded these while it read
            decoded = ds.get("SpecificCharacterSet"), ds.file_meta.get("TransferSyntaxUID")
            assert (*decoded, ds.file_meta.FileMetaInformationGroupLength) != (None, None, None)
        assert told(fast) == told(peer)
        assert told(fast.file_meta) == told(peer.file_meta)
    for name in ("preamble", "original_encoding", "original_character_set"):
        assert getattr(fast, name) == getattr(peer, name)
    assert fast.file_meta.original_encoding == peer.file_meta.original_encoding
    assert file.tell() == peer_file.tell()
    return True


def test_an_image_is_read_as_pydicom_reads_it() -> None:
    assert assert_as_pydicom_reads(written(image()))
    assert assert_as_pydicom_reads(written(ct_images()[0]))


@pytest.mark.parametrize("name", PACKS)
def test_images_of_scanners_are_read_as_pydicom_reads_them(name: str) -> None:
    files = [path for path in sorted(pack(name).rglob("*")) if path.is_file() and b"DICM" in path.read_bytes()[:132]]
    plain = [assert_as_pydicom_reads(path.read_bytes()) for path in files]
    assert any(plain)


def test_a_value_is_decoded_by_the_character_set_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(written(image()))
    with (tmp_path / "one").open("rb") as file:
        fast = read_plain(file)
    assert fast is not None
    assert (str(fast.PatientName), fast.filename) == ("Dóe^Jö", str(tmp_path / "one"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no DICOM at all" * 20,
        written(image())[132:],
        written(image(), ImplicitVRLittleEndian),
        written(image()).replace(ExplicitVRLittleEndian.encode(), ExplicitVRBigEndian.encode()),
        written(image(), DeflatedExplicitVRLittleEndian),
        written(blank("1.2.840.10008.5.1.4.1.1.481.3", "no-pixels")),
        written(image(ImageComments="long", PixelDataProviderURL="x" * sum(HEAD_BYTES))),
        written(image()).replace(b"\x02\x00\x00\x00UL", b"\x02\x00\x00\x00UX"),
        written(image()).replace(b"\x08\x00\x05\x00CS", b"\x08\x00\x05\x00LO"),
    ],
    ids=["empty", "other", "bare", "implicit", "big", "deflated", "no-pixels", "long", "unknown", "characters"],
)
def test_what_is_not_plain_is_left_to_pydicom(content: bytes) -> None:
    assert read_plain(BytesIO(content)) is None


@pytest.mark.parametrize("before", [0, HEAD_BYTES[0] - 1400, HEAD_BYTES[0] - 1200, HEAD_BYTES[0], 3 * HEAD_BYTES[0]])
def test_a_sequence_of_undefined_length_is_read_wherever_it_lies(before: int) -> None:
    one = image(ImageComments="x")
    one.URNCodeValue = "x" * before
    for step in range(40):
        one.URNCodeValue = "x" * (before + 10 * step)
        one["ReferencedImageSequence"].is_undefined_length = True
        one.ReferencedImageSequence[0].is_undefined_length_sequence_item = bool(step % 2)
        assert assert_as_pydicom_reads(written(one))


def test_a_sequence_cut_off_by_the_head_alone_is_no_truncated_file(tmp_path: Path) -> None:
    icon = item(Rows=1, Columns=1)
    icon.add_new(0x7FE00010, "OB", encapsulate([b"x" * HEAD_BYTES[0]]))
    icon["PixelData"].is_undefined_length = True
    one = image(IconImageSequence=[icon])
    one["IconImageSequence"].is_undefined_length = True
    (tmp_path / "one").write_bytes(written(one))
    (header,), findings = read_headers([tmp_path])
    assert (header.dataset.IconImageSequence[0].PixelData, findings) == (icon.PixelData, ())


@given(length=st.integers(0, 2000))
def test_a_file_cut_short_anywhere_is_read_as_pydicom_reads_it(length: int) -> None:
    assert_as_pydicom_reads(written(image())[:length])


@given(data=st.data())
def test_broken_bytes_are_read_as_pydicom_reads_them(data: st.DataObject) -> None:
    content = bytearray(written(image()))
    for at, byte in data.draw(st.lists(st.tuples(st.integers(132, 1100), st.integers(0, 255)), min_size=1, max_size=4)):
        content[at] = byte
    assert_as_pydicom_reads(bytes(content))
