"""Pixels to numbers with a unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind, Volume
from tests.dicom_in.objects import OBLIQUE, ct_images, dwi_images, item, mr_images, stored_pixels, write

SHAPE = (5, 9, 7)
ADC_TYPE = ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]


def read(folder: Path, *objects: Any) -> Intake:
    return read_inputs([write(folder, *objects)])


def finding(intake: Intake, code: str) -> Finding:
    (found,) = [finding for finding in intake.exam.findings if finding.code == code]
    return found


def adc_images(median: float, **attributes: Any) -> list[Any]:
    pixels = np.zeros(SHAPE, dtype=np.int16)
    pixels[:, 1:8, 1:6] = median
    return mr_images("adc", ImageType=ADC_TYPE, pixels=pixels, **attributes)


def mapping(unit: str, slope: float, intercept: float = 0.0) -> list[Any]:
    code = item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
    return [
        item(
            RealWorldValueSlope=slope,
            RealWorldValueIntercept=intercept,
            RealWorldValueFirstValueMapped=0,
            RealWorldValueLastValueMapped=4095,
            LUTLabel="ADC",
            MeasurementUnitsCodeSequence=[code],
        )
    ]


def spoil(image: Any) -> None:
    """Compressed pixels whose file is whole and whose code stream is not."""
    image.compress(JPEGLSLossless)
    whole = image.PixelData
    image.PixelData = whole[:40] + bytes(len(whole) - 48) + whole[-8:]


def test_a_ct_is_rescaled_slice_by_slice(tmp_path: Path) -> None:
    images = ct_images()
    images[3].RescaleSlope, images[3].RescaleIntercept = 0.5, -1000
    ct = read(tmp_path, images).exam.planning_ct
    assert ct is not None
    expected = stored_pixels(SHAPE) - 1024.0
    expected[3] = stored_pixels(SHAPE)[3] * 0.5 - 1000
    assert np.array_equal(ct.array, expected)
    assert (ct.quantity.kind, ct.quantity.unit) == (Kind.PLANNING_CT, "HU")
    assert ct.array.dtype == np.float32
    assert not ct.array.flags.writeable


def test_a_philips_mr_is_rescaled_and_another_is_as_stored(tmp_path: Path) -> None:
    plain = mr_images("t1-plain")
    scaled = mr_images("t1-scaled", RescaleSlope=1.5, RescaleIntercept=2)
    volumes = {volume.series_uid: volume for volume in read(tmp_path, plain, scaled).exam.mr}
    assert np.array_equal(volumes[plain[0].SeriesInstanceUID].array, stored_pixels(SHAPE))
    assert np.array_equal(volumes[scaled[0].SeriesInstanceUID].array, stored_pixels(SHAPE) * 1.5 + 2)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_ct_without_its_rescale_holds(tmp_path: Path, keyword: str) -> None:
    intake = read(tmp_path, ct_images(**{keyword: None}))
    found = finding(intake, "pixels-unreadable")
    assert found.level is Level.HOLD
    assert f"{keyword} is missing" in found.message
    assert intake.exam.planning_ct is None


def test_a_ct_that_is_not_in_hounsfield_units_holds(tmp_path: Path) -> None:
    found = finding(read(tmp_path, ct_images(RescaleType="US")), "pixels-unreadable")
    assert "not in Hounsfield units" in found.message


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_pixels_are_the_same_numbers(tmp_path: Path, syntax: str) -> None:
    shape = (3, 64, 48)
    images = ct_images(shape=shape, pixels=stored_pixels(shape).astype(np.uint16), PixelRepresentation=0)
    for image in images:
        image.compress(syntax)
    ct = read(tmp_path, images).exam.planning_ct
    assert ct is not None
    assert np.array_equal(ct.array, stored_pixels(shape) - 1024.0)


def test_pixels_that_cannot_be_decoded_hold_and_name_the_instance(tmp_path: Path) -> None:
    images = ct_images()
    spoil(images[1])
    intake = read(tmp_path, images)
    assert images[1].SOPInstanceUID in finding(intake, "pixels-unreadable").message
    assert intake.exam.planning_ct is None


@pytest.mark.parametrize(
    ("stored", "slope", "unit"),
    [(1200, None, 1e-6), (1200, 0.001, 1e-3), (1200, 1e-6, 1.0), (350, None, 1e-6), (3, None, 1e-3)],
)
def test_an_adc_map_without_unit_is_told_by_its_median_over_the_body(
    tmp_path: Path, stored: int, slope: float | None, unit: float
) -> None:
    scale = {} if slope is None else {"RescaleSlope": slope, "RescaleIntercept": 0}
    intake = read(tmp_path, adc_images(stored, **scale))
    (volume,) = intake.exam.mr
    (summary,) = intake.series
    assert (volume.quantity.kind, volume.quantity.unit) == (Kind.ADC, "mm2/s")
    assert summary.adc_unit_mm2_per_s == unit
    assert summary.adc_unit_source.startswith("median over the body")
    assert volume.array[2, 4, 3] == pytest.approx(stored * (slope or 1.0) * unit, rel=1e-6)


@pytest.mark.parametrize("stored", [30, 9000, 0])
def test_an_adc_map_whose_median_fits_no_unit_is_not_used(tmp_path: Path, stored: int) -> None:
    intake = read(tmp_path, adc_images(stored))
    assert finding(intake, "adc-unit-unknown").level is Level.WARN
    assert intake.exam.mr == ()
    assert intake.series[0].adc_unit_mm2_per_s is None


@pytest.mark.parametrize(
    ("unit", "slope", "expected"),
    [("mm2/s", 1e-6, 1e-6), ("um2/s", 1.0, 1e-6), ("10-6.mm2/s", 2.0, 2e-6), ("10-3.mm2/s", 0.001, 1e-6)],
)
def test_a_real_world_value_mapping_wins_over_the_median(
    tmp_path: Path, unit: str, slope: float, expected: float
) -> None:
    attributes = {"RealWorldValueMappingSequence": mapping(unit, slope), "RescaleSlope": 3, "RescaleIntercept": 7}
    intake = read(tmp_path, adc_images(30, **attributes))
    assert intake.series[0].adc_unit_mm2_per_s == pytest.approx(expected)
    assert intake.series[0].adc_unit_source == f"Real World Value Mapping, {unit}"
    assert intake.exam.mr[0].array[2, 4, 3] == pytest.approx(30 * expected)


@pytest.mark.parametrize(
    ("told", "mm2_per_s"),
    [("mm2/s", 1.0), ("10^-6 mm^2/s", 1e-6), ("1E-6 mm2/s", 1e-6), ("10-3.mm2/s", 1e-3), ("um2/s", 1e-6)],
)
def test_a_unit_in_rescale_type_is_taken_at_its_word(tmp_path: Path, told: str, mm2_per_s: float) -> None:
    intake = read(tmp_path, adc_images(30, RescaleSlope=1, RescaleIntercept=0, RescaleType=told))
    assert intake.series[0].adc_unit_mm2_per_s == mm2_per_s
    assert intake.series[0].adc_unit_source == f"RescaleType {told}"


def test_units_in_rescale_type_that_differ_hold(tmp_path: Path) -> None:
    images = adc_images(1200, RescaleSlope=1, RescaleIntercept=0, RescaleType="um2/s")
    images[1].RescaleType = "mm2/s"
    found = finding(read(tmp_path, images), "adc-unit-ambiguous")
    assert "several units in RescaleType" in found.message


@pytest.mark.parametrize("vendor", ["SIEMENS", "Siemens Healthineers", "GE MEDICAL SYSTEMS", "TOSHIBA", "CANON_MEC"])
def test_a_vendor_s_scale_must_be_borne_out_by_the_body(tmp_path: Path, vendor: str) -> None:
    right = read(tmp_path / "right", adc_images(1200, Manufacturer=vendor))
    assert right.series[0].adc_unit_mm2_per_s == 1e-6
    assert right.series[0].adc_unit_source == "the vendor's scale and the median over the body 1200"
    wrong = read(tmp_path / "wrong", adc_images(2, Manufacturer=vendor))
    found = finding(wrong, "adc-unit-ambiguous")
    assert (found.level, wrong.exam.mr) == (Level.HOLD, ())


def test_a_vendor_s_scale_is_not_that_of_rescaled_numbers(tmp_path: Path) -> None:
    scaled = adc_images(1200, Manufacturer="SIEMENS", RescaleSlope=0.001, RescaleIntercept=0)
    assert read(tmp_path, scaled).series[0].adc_unit_mm2_per_s == 1e-3


@pytest.mark.parametrize(("factor", "codes"), [(1.0, set()), (10.0 / 3.0, {"adc-disagrees"})])
def test_a_map_is_held_against_the_exam_s_own_b_images(tmp_path: Path, factor: float, codes: set[str]) -> None:
    """1.1 x 10^-3 mm2/s in truth; a map of three times that has a median that some tissue has, and still is wrong."""
    at_zero = np.linspace(4000, 9000, int(np.prod(SHAPE))).reshape(SHAPE)
    signal = {b: np.rint(at_zero * np.exp(-b * 1.1e-3)).astype(np.int16) for b in (50, 900)}
    images = [dwi_images(f"b{b}", b=b, pixels=pixels) for b, pixels in signal.items()]
    adc = mr_images("adc", ImageType=ADC_TYPE, pixels=np.full(SHAPE, 1100 * factor).astype(np.int16))
    found = {one.code for one in read(tmp_path, *images, adc).exam.findings}
    assert found & {"adc-disagrees", "adc-unchecked"} == codes


def test_mappings_that_differ_or_have_an_intercept_are_no_unit(tmp_path: Path) -> None:
    differing = adc_images(1200, RealWorldValueMappingSequence=mapping("mm2/s", 1e-6))
    differing[2].RealWorldValueMappingSequence = mapping("mm2/s", 1e-3)
    shifted = adc_images(1200, RealWorldValueMappingSequence=mapping("mm2/s", 1e-6, 5.0))
    for name, images in (("differing", differing), ("shifted", shifted)):
        assert "differ or have an intercept" in finding(read(tmp_path / name, images), "adc-unit-ambiguous").message


def test_an_adc_map_that_carries_a_b_value_is_an_adc_map(tmp_path: Path) -> None:
    intake = read(tmp_path, adc_images(1100, DiffusionBValue=500))
    assert [volume.quantity.kind for volume in intake.exam.mr] == [Kind.ADC]
    assert intake.exam.mr[0].quantity.b_value_s_per_mm2 is None
    assert intake.series[0].b_values_s_per_mm2 == ()


@pytest.mark.parametrize(("way", "axis"), [("ROW", 0), ("COL", 1)])
def test_the_phase_encode_axis_is_a_direction_in_the_patient(tmp_path: Path, way: str, axis: int) -> None:
    (volume,) = read(tmp_path, dwi_images(InPlanePhaseEncodingDirection=way)).exam.mr
    assert volume.phase_encoding_mm == pytest.approx(tuple(OBLIQUE[axis]), abs=1e-8)


def test_a_phase_encode_axis_that_nobody_stated_is_none(tmp_path: Path) -> None:
    volumes = read(tmp_path, dwi_images(), mr_images(InPlanePhaseEncodingDirection="OTHER")).exam.mr
    assert [volume.phase_encoding_mm for volume in volumes] == [None, None]


def by_b_value(intake: Intake) -> dict[float | None, Volume]:
    return {volume.quantity.b_value_s_per_mm2: volume for volume in intake.exam.mr}


def in_one_series(*groups: list[Any]) -> list[Any]:
    for image in (image for group in groups[1:] for image in group):
        image.SeriesInstanceUID = groups[0][0].SeriesInstanceUID
    return [image for group in groups for image in group]


def test_a_series_of_several_b_values_is_a_volume_for_each(tmp_path: Path) -> None:
    low = dwi_images("low", b=50, pixels=stored_pixels(SHAPE) + 7)
    intake = read(tmp_path, in_one_series(dwi_images("high", b=900), low))
    volumes = by_b_value(intake)
    assert set(volumes) == {50.0, 900.0, None}, "and the ADC map that was fitted to them"
    assert np.array_equal(volumes[50.0].array, stored_pixels(SHAPE) + 7)
    assert np.array_equal(volumes[900.0].array, stored_pixels(SHAPE))
    assert intake.series[0].b_values_s_per_mm2 == ((50.0, 5), (900.0, 5))


def test_directions_are_averaged_where_every_slice_has_as_many(tmp_path: Path) -> None:
    directions = [dwi_images(f"d{n}", ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION"], pixels=stored_pixels(SHAPE) + n)
                  for n in (0, 1, 5)]  # fmt: skip
    intake = read(tmp_path, in_one_series(*directions))
    assert np.array_equal(by_b_value(intake)[900.0].array, stored_pixels(SHAPE) + 2)
    found = finding(intake, "dwi-directions-averaged")
    assert (found.level, found.value) == (Level.INFO, 3.0)


def test_directions_that_some_slices_lack_hold(tmp_path: Path) -> None:
    images = in_one_series(dwi_images("d0"), dwi_images("d1"))
    intake = read(tmp_path, images[:-1])
    assert finding(intake, "dwi-directions-uneven").level is Level.HOLD
    assert intake.exam.mr == ()


def test_pixels_of_a_series_that_nobody_uses_are_not_read(tmp_path: Path) -> None:
    images = mr_images(SeriesDescription="cine")
    spoil(images[0])
    intake = read(tmp_path, images)
    assert "pixels-unreadable" not in {one.code for one in intake.exam.findings}
    assert intake.series[0].shapes_kji == (SHAPE,)
