"""Enhanced MR and mosaics: the same volumes as of one slice an object, and what is refused."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage, ImplicitVRLittleEndian

from psdt_planner.dicom import csa
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.multiframe import cut, planes
from psdt_planner.dicom.private import private_items
from psdt_planner.errors import UnsupportedError
from tests.dicom_in.objects import (
    MR_FRAME,
    MR_STUDY,
    OBLIQUE,
    blank,
    dwi_images,
    in_memory,
    item,
    mr_images,
    stored_pixels,
    uid,
    write,
)

SHAPE = (5, 9, 7)
NORMAL = np.cross(OBLIQUE[0], OBLIQUE[1])


def read(folder: Path, *objects: Any) -> Intake:
    return read_inputs([write(folder, *objects)])


def same(one: Intake, other: Intake) -> bool:
    """Whether two exams hold the same volumes, in whichever order."""
    keys = [
        {(v.quantity, v.grid, v.phase_encoding_mm, v.array.tobytes()) for v in intake.exam.mr}
        for intake in (one, other)
    ]
    return keys[0] == keys[1]


def enhanced(frames: list[tuple[np.ndarray, Any, dict[str, Any]]], name: str = "enh", **attributes: Any) -> Dataset:
    """An Enhanced MR object: of each frame its pixels, its position and what its diffusion group says."""
    values = {
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"],
        "SeriesDescription": "ep2d_diff",
        "FrameOfReferenceUID": MR_FRAME,
        "StudyInstanceUID": MR_STUDY,
        "AcquisitionContrast": "DIFFUSION",
    }
    ds = blank(EnhancedMRImageStorage, name, **{**values, **attributes})
    pixels = np.stack([frame for frame, _, _ in frames]).astype(np.int16)
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelData = pixels.tobytes()
    cosines = [f"{cosine:.9f}" for cosine in (*OBLIQUE[0], *OBLIQUE[1])]
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[1.3, 0.8], SliceThickness=4.0)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=cosines)],
        MRFOVGeometrySequence=[item(InPlanePhaseEncodingDirection="COLUMN")],
        MREchoSequence=[item(EffectiveEchoTime=71.0)],
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [_groups(at, told) for _, at, told in frames]
    return ds


def _groups(at: Any, told: dict[str, Any]) -> Dataset:
    groups = item(PlanePositionSequence=[item(ImagePositionPatient=[f"{mm:.6f}" for mm in at])])
    frame_type = told.get("type", ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"])
    groups.MRImageFrameTypeSequence = [item(FrameType=frame_type)]
    if "b" in told:
        groups.MRDiffusionSequence = [item(DiffusionBValue=float(told["b"]), DiffusionDirectionality="ISOTROPIC")]
    if "slope" in told:
        groups.PixelValueTransformationSequence = [item(RescaleSlope=told["slope"], RescaleIntercept=0)]
    return groups


def at(k: float) -> np.ndarray:
    return np.array([11.0, -42.0, 300.0]) + 4.0 * k * NORMAL


def test_frames_are_the_volumes_that_single_images_are(tmp_path: Path) -> None:
    """Frames in an order of their own, each with its rescale, against a series of one slice an object."""
    pixels = stored_pixels(SHAPE)
    frames = [(pixels[k] + b, at(k), {"b": b, "slope": 1.5}) for k in (3, 0, 4, 1, 2) for b in (900, 50)]
    type_ = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
    scale = {"RescaleSlope": 1.5, "RescaleIntercept": 0, "InPlanePhaseEncodingDirection": "COL", "ImageType": type_}
    isotropic = {"DiffusionDirectionality": "ISOTROPIC", **scale}
    classic = [dwi_images(f"c{b}", b=b, pixels=(pixels + b).astype(np.int16), **isotropic) for b in (50, 900)]
    one, other = read(tmp_path / "e", enhanced(frames)), read(tmp_path / "c", *classic)
    assert len(one.exam.mr) == 3, "both b-values, and the ADC map that was fitted to them"
    assert same(one, other)
    assert one.exam.mr[0].phase_encoding_mm == pytest.approx(tuple(OBLIQUE[1]), abs=1e-8)
    assert one.series[0].images == 1
    assert one.series[0].b_values_s_per_mm2 == ((50.0, 5), (900.0, 5))


def test_an_adc_frame_within_a_diffusion_object_is_no_b_image(tmp_path: Path) -> None:
    """The frame's own type tells, though the frame carries a b-value."""
    pixels = np.full(SHAPE, 1200)
    adc = {"type": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "b": 800}
    frames = [(pixels[k], at(k), told) for k in range(5) for told in ({"b": 50}, {"b": 800}, adc)]
    volumes = read(tmp_path, enhanced(frames)).exam.mr
    assert [(str(v.quantity.kind), v.quantity.b_value_s_per_mm2) for v in volumes] == [
        ("adc", None),
        ("dwi-trace", 50.0),
        ("dwi-trace", 800.0),
    ]
    assert volumes[0].array.max() == pytest.approx(1.2e-3)


def test_a_frame_without_b_value_among_others_is_unknown_and_held(tmp_path: Path) -> None:
    frames = [(np.ones((9, 7)), at(k), {"b": 50} if k else {}) for k in range(5)]
    intake = read(tmp_path, enhanced(frames))
    (finding,) = [one for one in intake.exam.findings if one.code == "b-value-unknown"]
    assert (str(finding.level), finding.value) == ("hold", 1.0)


def test_a_private_functional_group_tells_where_the_standard_one_is_absent(tmp_path: Path) -> None:
    ds = enhanced([(np.ones((9, 7)), at(k), {}) for k in range(5)])
    for groups in ds.PerFrameFunctionalGroupsSequence:
        own = Dataset()
        own.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", 400.0)
        groups.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", [own])
    intake = read(tmp_path, ds)
    assert intake.series[0].b_values_s_per_mm2 == ((400.0, 5),)
    assert intake.series[0].b_value_source == "(2001,xx03) Philips Imaging DD 001"


def test_highdicom_s_conversion_of_a_classic_series_gives_the_same_volume(tmp_path: Path) -> None:
    classic = mr_images(
        "t1", AccessionNumber="1", PatientAge="070Y", PixelRepresentation=0,
        Manufacturer="x", ManufacturerModelName="x", DeviceSerialNumber="1", SoftwareVersions="1",
        AcquisitionDate="20260101", AcquisitionTime="120000", ContentDate="20260101", ContentTime="120000",
    )  # fmt: skip
    converted = hd.legacy.LegacyConvertedEnhancedMRImage(
        classic, series_instance_uid=uid("t1"), series_number=3, sop_instance_uid=uid("converted"), instance_number=1
    )
    one, other = read(tmp_path / "classic", classic), read(tmp_path / "converted", converted)
    assert len(one.exam.mr) == 1
    assert one.exam.mr[0].grid == other.exam.mr[0].grid
    assert np.array_equal(one.exam.mr[0].array, other.exam.mr[0].array)


@pytest.mark.parametrize("count", [4, 6])
def test_functional_groups_that_do_not_fit_the_frames_are_refused(tmp_path: Path, count: int) -> None:
    ds = enhanced([(np.ones((9, 7)), at(k), {"b": 50}) for k in range(5)])
    ds.NumberOfFrames = count
    intake = read(tmp_path, ds)
    assert [one.message for one in intake.exam.findings if f"5 functional groups for {count} frames" in one.message]
    assert intake.exam.mr == ()


def csa_header(**texts: list[str]) -> bytes:
    """A CSA header of version 2, with three items a tag as the scanner pads them."""
    out = b"SV10\4\3\2\1" + struct.pack("<2i", len(texts), 77)
    for name, values in texts.items():
        out += struct.pack("<64si4s3i", name.encode(), len(values), b"DS", 3, len(values) + 1, 77)
        for value in [*values, ""]:
            raw = value.encode() + b"\0" if value else b""
            out += struct.pack("<4i", len(raw), len(raw), 77, len(raw)) + raw.ljust(-(-len(raw) // 4) * 4, b"\0")
    return out


def siemens_mosaic(name: str = "mosaic", *, count: int = 5, sign: float = 1.0, csa_b: str = "", **changes: Any) -> Any:
    """A 3 x 3 mosaic of non-square tiles, on an oblique stack that grows along the given sense of the normal."""
    tiles = stored_pixels((count, 9, 7))
    pixels = np.zeros((27, 21), dtype=np.int16)
    for k in range(count):
        down, across = divmod(k, 3)
        pixels[down * 9 : down * 9 + 9, across * 7 : across * 7 + 7] = tiles[k]
    beside = (21 - 7) / 2 * 0.8 * OBLIQUE[0] + (27 - 9) / 2 * 1.3 * OBLIQUE[1]
    attributes = {"SpacingBetweenSlices": 4.0, "Manufacturer": "SIEMENS", **changes}
    images = dwi_images(
        name, shape=(1, 27, 21), pixels=pixels[None], origin=at(0) - beside,
        ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "MOSAIC"], **attributes,
    )  # fmt: skip
    texts = {"NumberOfImagesInMosaic": [str(count)], "SliceNormalVector": [f"{sign * c:.8f}" for c in NORMAL]}
    texts |= {"B_value": [csa_b]} if csa_b else {}
    images[0].private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa_header(**texts))
    return images


def test_a_siemens_mosaic_is_the_volume_that_single_images_are(tmp_path: Path) -> None:
    mosaic = read(tmp_path / "m", siemens_mosaic())
    (volume,) = mosaic.exam.mr
    single = read(tmp_path / "s", dwi_images(ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION"])).exam.mr[0]
    assert np.array_equal(volume.array, single.array)
    assert volume.grid.slice_origins_mm == pytest.approx(single.grid.slice_origins_mm, abs=1e-5)
    assert volume.grid.spacing_ji_mm == single.grid.spacing_ji_mm


def test_the_sign_of_the_csa_normal_tells_head_from_feet(tmp_path: Path) -> None:
    (volume,) = read(tmp_path, siemens_mosaic(sign=-1.0)).exam.mr
    assert volume.grid.index_from_mm(at(0)) == pytest.approx([4, 0, 0], abs=1e-4)
    assert volume.grid.index_from_mm(at(-4)) == pytest.approx([0, 0, 0], abs=1e-4)
    assert np.array_equal(volume.array[::-1], stored_pixels(SHAPE))


def test_the_csa_header_tells_the_b_value_where_nothing_else_does(tmp_path: Path) -> None:
    intake = read(tmp_path, siemens_mosaic(b=None, csa_b="750", SequenceName="ep2d"))
    assert intake.series[0].b_values_s_per_mm2 == ((750.0, 5),)
    assert intake.series[0].b_value_source == "(0029,xx10) SIEMENS CSA HEADER"


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"count": 11}, "cannot be cut into 11 slices"), ({"SpacingBetweenSlices": None}, "SpacingBetweenSlices")],
)
def test_a_mosaic_that_cannot_be_cut_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    images = siemens_mosaic(**{key: value for key, value in changes.items() if key != "count"})
    if "count" in changes:
        texts = {"NumberOfImagesInMosaic": ["17"], "SliceNormalVector": [f"{c:.8f}" for c in NORMAL]}
        words = "cannot be cut into 17 slices"
        images[0].private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value = csa_header(**texts)
    intake = read(tmp_path, images)
    (finding,) = [one for one in intake.exam.findings if one.code == "multi-frame-unread"]
    assert words in finding.message
    assert intake.exam.mr == ()


def test_a_mosaic_whose_normal_is_not_its_slices_is_refused() -> None:
    images = siemens_mosaic()
    texts = {"NumberOfImagesInMosaic": ["5"], "SliceNormalVector": ["1", "0", "0"]}
    images[0].private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value = csa_header(**texts)
    with pytest.raises(UnsupportedError, match="stated normal is not that of its slices"):
        planes(in_memory(images)[0])


def uih_mosaic(word: str, *, count: int = 5, b: float = 929.75) -> Any:
    """A UIH mosaic of 3 x 2 tiles; its slices lie unevenly, and each says where."""
    tiles = stored_pixels((count, 9, 7))
    pixels = np.zeros((18, 21), dtype=np.int16)
    for k in range(count):
        down, across = divmod(k, 3)
        pixels[down * 9 : down * 9 + 9, across * 7 : across * 7 + 7] = tiles[k]
    images = dwi_images(
        "uih", b=None, shape=(1, 18, 21), pixels=pixels[None], ImagePositionPatient=None, Manufacturer="UIH",
        ImageType=["ORIGINAL", "PRIMARY", "M", word],
    )  # fmt: skip
    block = images[0].private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x09, "FD", b)
    block.add_new(0x50, "DS", str(count))
    slices = [item(ImagePositionPatient=[f"{mm:.6f}" for mm in at(k + (k > 2) * 0.25)]) for k in range(count)]
    block.add_new(0x51, "SQ", slices)
    return images


@pytest.mark.parametrize("word", ["VFRAME", "GRID"])
@pytest.mark.parametrize("implicit", [False, True])
def test_slices_of_a_uih_mosaic_lie_one_by_one(tmp_path: Path, word: str, implicit: bool) -> None:
    images = uih_mosaic(word)
    if implicit:
        images[0].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    intake = read(tmp_path, images)
    (volume,) = intake.exam.mr
    assert intake.series[0].b_values_s_per_mm2 == ((929.75, 5),)
    assert np.array_equal(volume.array, stored_pixels(SHAPE))
    assert np.diff(volume.grid.slice_offsets_mm) == pytest.approx([4, 4, 5, 4], abs=1e-4)


def test_a_uih_mosaic_with_fewer_positions_than_slices_is_refused() -> None:
    images = uih_mosaic("VFRAME")
    images[0].private_block(0x0065, "Image Private Header")[0x50].value = "6"
    with pytest.raises(UnsupportedError, match="6 slices that tells 5 positions"):
        planes(in_memory(images)[0])


def test_items_of_a_private_sequence_that_came_as_unknown_bytes_are_parsed() -> None:
    body = struct.pack("<HHI", 0x0020, 0x0032, 6) + b"1\\2\\3 "
    (one,) = private_items(struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body)
    assert [float(mm) for mm in one.ImagePositionPatient] == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="no sequence"):
        private_items(["not", "a", "dataset"])


def test_planes_do_not_change_the_object_that_they_are_of() -> None:
    (header,) = in_memory(siemens_mosaic())
    before = [float(mm) for mm in header.dataset.ImagePositionPatient]
    found = planes(header)
    assert (header.dataset.Rows, header.dataset.Columns) == (27, 21)
    assert [float(mm) for mm in header.dataset.ImagePositionPatient] == before
    assert len({tuple(one.dataset.ImagePositionPatient) for one in found}) == 5
    assert np.array_equal(cut(header.dataset.pixel_array, found[4]), stored_pixels(SHAPE)[4])


@given(st.binary(max_size=300))
def test_no_bytes_break_the_csa_reader(data: bytes) -> None:
    for head in (b"", b"SV10\4\3\2\1" + struct.pack("<2i", 1, 77)):
        with suppress(ValueError):
            assert all(texts for texts in csa.parse(head + data).values())


def test_a_csa_header_of_version_1_is_read() -> None:
    """Its texts are counted from the length that its first item states for an empty one."""
    out = struct.pack("<2i", 2, 77)
    for name, value in (("EchoNumber", "1"), ("B_value", "800")):
        out += struct.pack("<64si4s3i", name.encode(), 1, b"IS", 6, 2, 77)
        for text in (value, ""):
            out += struct.pack("<4i", 100 + len(text) if text else 100, 0, 77, 0) if name != "EchoNumber" else b""
            out += b"" if name == "EchoNumber" else text.encode().ljust(-(-len(text) // 4) * 4, b"\0")
        if name == "EchoNumber":
            out += struct.pack("<4i", 100, 0, 77, 0) * 2
    assert csa.parse(out) == {"B_value": ("800",)}
