"""b-values: where each vendor keeps them, which place was used, and that the unknown stays unknown."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from psdt_planner.dicom.bvalues import PRIVATE_ENCODINGS, b_value, series_b_values
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.findings import Level
from tests.dicom_in.objects import dwi_images, write

SIEMENS = (0x0019, "SIEMENS MR HEADER", 0x0C)
GE = (0x0043, "GEMS_PARM_01", 0x39)
PHILIPS = (0x2001, "Philips Imaging DD 001", 0x03)
UIH = (0x0065, "Image Private Header", 0x09)


def private(group: int, creator: str, offset: int, vr: str, value: Any, *, block: int = 0x10) -> Dataset:
    """An image with one private element, in whichever block its creator reserved."""
    ds = Dataset()
    ds.add_new((group, block), "LO", creator)
    ds.add_new((group, (block << 8) + offset), vr, value)
    return ds


@pytest.mark.parametrize(
    ("place", "vr", "value", "expected"),
    [
        (SIEMENS, "IS", "800", 800),
        (SIEMENS, "UN", b"50", 50),
        (SIEMENS, "UN", b"400 ", 400),
        (SIEMENS, "OB", b"800\0", 800),
        (GE, "IS", [1000, 8, 0, 0], 1000),
        (GE, "IS", [1000000750, 8, 0, 0], 750),
        (GE, "UN", b"1000000750\\8\\0\\0 ", 750),
        (GE, "UN", b"0\\8\\0\\0 ", 0),
        (GE, "IS", 500, 500),
        (PHILIPS, "FL", 273.0, 273),
        (PHILIPS, "UN", struct.pack("<f", 273.0), 273),
        (PHILIPS, "FL", 0.004, 0),
        (UIH, "FD", 1.2512641359237109, 1.25),
        (UIH, "UN", struct.pack("<d", 929.7501831337527), 929.75),
    ],
)
def test_each_vendor_s_element_is_read_also_as_unknown_bytes(
    place: tuple[int, str, int], vr: str, value: Any, expected: float
) -> None:
    found = b_value(private(*place, vr, value))
    assert found is not None
    assert found.s_per_mm2 == expected
    assert found.source == f"({place[0]:04X},xx{place[2]:02X}) {place[1]}"


@pytest.mark.parametrize("place", [SIEMENS, GE, PHILIPS, UIH])
def test_private_elements_are_found_by_creator_in_any_block(place: tuple[int, str, int]) -> None:
    vr = {PHILIPS: "FL", UIH: "FD"}.get(place, "IS")
    found = b_value(private(*place, vr, 600, block=0x37))
    assert found is not None
    assert found.s_per_mm2 == 600


@pytest.mark.parametrize("place", [SIEMENS, GE, PHILIPS, UIH])
def test_the_same_number_under_another_creator_is_no_b_value(place: tuple[int, str, int]) -> None:
    group, _, offset = place
    assert b_value(private(group, "SOMEBODY ELSE", offset, "IS", "600")) is None


@pytest.mark.parametrize(
    ("manufacturer", "place", "vr", "value"),
    [
        ("SIEMENS", SIEMENS, "IS", "600"),
        ("GE MEDICAL SYSTEMS", GE, "IS", [600, 8, 0, 0]),
        ("Philips Healthcare", PHILIPS, "FL", 600.0),
        ("UIH", UIH, "FD", 600.0),
    ],
)
def test_where_an_anonymiser_took_the_creator_the_manufacturer_stands_in_and_is_said(
    manufacturer: str, place: tuple[int, str, int], vr: str, value: Any
) -> None:
    ds = private(*place, vr, value)
    del ds[place[0], 0x10]
    assert b_value(ds) is None
    ds.Manufacturer = manufacturer
    found = b_value(ds)
    assert found is not None
    assert found.s_per_mm2 == 600
    assert found.source.endswith(", creator removed, by manufacturer")
    ds.Manufacturer = "Other"
    assert b_value(ds) is None


def test_the_standard_attribute_wins_over_private_ones() -> None:
    ds = private(*SIEMENS, "IS", "800")
    ds.DiffusionBValue = 750.0
    found = b_value(ds)
    assert found is not None
    assert (found.s_per_mm2, found.source) == (750.0, "(0018,9087) DiffusionBValue")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("*ep_b800t", 800), ("ep_b0", 0), ("ep_b1000#12", 1000), ("*ep_b50_800", None), ("*tse2d1_25", None)],
)
def test_a_siemens_sequence_name_tells_one_b_value_or_none(name: str, expected: float | None) -> None:
    ds = Dataset()
    ds.SequenceName = name
    found = b_value(ds)
    assert (found.s_per_mm2 if found else None) == expected


@pytest.mark.parametrize("value", [b"", b"eight hundred", b"-5", b"\xff\xfe"])
def test_bytes_that_are_no_number_are_no_b_value(value: bytes) -> None:
    assert b_value(private(*SIEMENS, "UN", value)) is None


@given(st.sampled_from(PRIVATE_ENCODINGS), st.binary(max_size=40))
def test_no_bytes_break_the_reader(encoding: Any, value: bytes) -> None:
    found = b_value(private(encoding.group, encoding.creator, encoding.offset, "UN", value))
    assert found is None or found.s_per_mm2 >= 0


@given(st.integers(0, 5000))
def test_every_whole_b_value_comes_back_from_every_vendor(b: int) -> None:
    texts = {SIEMENS: str(b).encode(), GE: f"{b + 1_000_000_000}\\8\\0\\0".encode()}
    texts |= {PHILIPS: struct.pack("<f", b), UIH: struct.pack("<d", b)}
    for place, value in texts.items():
        found = b_value(private(*place, "UN", value))
        assert found is not None
        assert found.s_per_mm2 == b


@pytest.mark.parametrize("vendor", ["TOSHIBA", "TOSHIBA_MEC", "CANON_MEC"])
def test_absent_is_zero_for_the_vendor_that_writes_it_so(vendor: str) -> None:
    weighted, plain = Dataset(), Dataset()
    weighted.Manufacturer = plain.Manufacturer = vendor
    weighted.DiffusionBValue = 1500.0
    found = series_b_values([plain, weighted])
    assert [found[index].s_per_mm2 for index in range(2)] == [0.0, 1500.0]
    assert found[0].source == "absent, as this vendor writes b = 0"
    assert series_b_values([plain, plain]) == {}


def test_absent_is_unknown_for_everybody_else() -> None:
    weighted, plain = Dataset(), Dataset()
    weighted.Manufacturer = plain.Manufacturer = "GE MEDICAL SYSTEMS"
    weighted.DiffusionBValue = 1500.0
    assert set(series_b_values([plain, weighted])) == {1}


def test_an_unknown_b_value_holds_and_is_not_zero(tmp_path: Path) -> None:
    known, unknown = dwi_images("known"), dwi_images("unknown", b=None)
    for image in unknown:
        image.SeriesInstanceUID = known[0].SeriesInstanceUID
    intake = read_inputs([write(tmp_path, known, unknown)])
    (finding,) = [finding for finding in intake.exam.findings if finding.code == "b-value-unknown"]
    assert (finding.level, finding.value) == (Level.HOLD, 5.0)
    assert [volume.quantity.b_value_s_per_mm2 for volume in intake.exam.mr] == [900.0]
    assert intake.series[0].b_values_s_per_mm2 == ((900.0, 5),)


def test_implicit_vr_tells_the_same(tmp_path: Path) -> None:
    summaries = []
    for name in ("explicit", "implicit"):
        images = dwi_images("dwi", b=None)
        for image in images:
            image.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [1000000750, 8, 0, 0])
            if name == "implicit":
                image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        (summary,) = read_inputs([write(tmp_path / name, images)]).series
        summaries.append((summary.kind, summary.b_values_s_per_mm2, summary.b_value_source))
    assert summaries[0] == summaries[1] == ("dwi-trace", ((750.0, 5),), "(0043,xx39) GEMS_PARM_01")
