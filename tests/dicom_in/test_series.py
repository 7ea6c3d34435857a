"""What a series is, and which CT is the planning CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.kinds import mr_kind
from psdt_planner.findings import Level
from psdt_planner.images import Kind
from tests.dicom_in.objects import (
    CT_FRAME,
    blank,
    ct_images,
    dwi_images,
    item,
    mr_images,
    registration_object,
    structure_set,
    uid,
    write,
)


def read(folder: Path, *objects: Any) -> Intake:
    return read_inputs([write(folder, *objects)])


M = ["ORIGINAL", "PRIMARY", "M"]


@pytest.mark.parametrize(
    ("image_type", "description", "diffusion", "kind"),
    [
        (M, "t1_tse_tra", False, "t1"),
        (M, "IBSI_1_STS_002_MR_T1_image", False, "t1"),
        (M, "AX T1 FSE", False, "t1"),
        (M, "T2_haste", False, "t2"),
        (M, "t2*_map", False, "mr-other"),
        (M, "t10_something", False, "mr-other"),
        (M, "localizer", False, "mr-other"),
        ([*M, "IN_PHASE"], "vibe", False, "dixon-in"),
        ([*M, "OPP_PHASE"], "vibe", False, "dixon-out"),
        ([*M, "WATER"], "lava", False, "dixon-water"),
        ([*M, "FAT"], "lava", False, "dixon-fat"),
        (["DERIVED", "PRIMARY", "W", "W", "DERIVED"], "mDIXON", False, "dixon-water"),
        (["ORIGINAL", "PRIMARY", "M_FFE", "IP", "FFE"], "mDIXON", False, "dixon-in"),
        (M, "t1_vibe_dixon_tra_in", False, "dixon-in"),
        (M, "t1_vibe_dixon_tra_opp", False, "dixon-out"),
        (M, "t1_vibe_dixon_tra_W", False, "dixon-water"),
        (M, "t1_vibe_dixon_tra_F", False, "dixon-fat"),
        (M, "Dixon Out of Phase", False, "dixon-out"),
        (M, "t1_vibe_dixon_tra", False, "t1"),
        (M, "fat sat in plane w contrast", False, "mr-other"),
        (M, "ep2d", True, "dwi"),
        ([*M, "TRACEW"], "ep2d", True, "dwi-trace"),
        (["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "ep2d_ADC", True, "adc"),
        (["DERIVED", "SECONDARY", "ADC"], "x", False, "adc"),
        (["DERIVED", "SECONDARY", "PROCESSED"], "Apparent Diffusion Coefficient (mm?/s)", False, "adc"),
        (["DERIVED", "SECONDARY"], "dADC map", False, "adc"),
        (["DERIVED", "SECONDARY"], "nADC", False, "mr-other"),
        (["DERIVED", "SECONDARY"], "ADC", False, "adc"),
        (["DERIVED", "SECONDARY"], "Exp ADC", True, "mr-other"),
        (["DERIVED", "SECONDARY"], "eADC", True, "mr-other"),
        (["DERIVED", "SECONDARY"], "dwi_exponential_map", True, "mr-other"),
        (["DERIVED", "SECONDARY"], "DTI Fractional Anisotropy", True, "mr-other"),
        (["DERIVED", "SECONDARY"], "DTI_FA", True, "mr-other"),
        (["ORIGINAL", "PRIMARY"], "dwi FA90", True, "dwi"),
        (["DERIVED", "SECONDARY"], "dwi mip", True, "mr-other"),
        (["DERIVED", "SECONDARY"], "Synthetic b1400", True, "dwi-calculated"),
        (["DERIVED", "SECONDARY"], "computed DWI", True, "dwi-calculated"),
        (["ORIGINAL", "PRIMARY"], "sDWI", True, "dwi"),
        (["DERIVED", "PRIMARY", "DIFFUSION", "EXP"], "x", True, "mr-other"),
        (["DERIVED", "PRIMARY", "DIFFUSION", "FA"], "x", True, "mr-other"),
        (["DERIVED", "PRIMARY", "DIFFUSION", "CALC_BVALUE"], "x", True, "dwi-calculated"),
        (["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"], "diff_DYNDISTCALC_BVAL", True, "dwi-calculated"),
        (["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP"], "dwi", True, "mr-other"),
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], "t1 scout", False, "mr-other"),
    ],
)
def test_an_mr_image_is_what_its_type_and_words_say(
    image_type: list[str], description: str, diffusion: bool, kind: str
) -> None:
    assert mr_kind(item(ImageType=image_type, SeriesDescription=description), diffusion=diffusion) == kind


SECONDARY, ORIGINAL = ["DERIVED", "SECONDARY"], ["ORIGINAL", "PRIMARY"]
VENDOR_MAPS = {
    "GE, Average DC": ([*SECONDARY, "PROCESSED"], "Average DC", "adc"),
    "GE, average dc in small letters": ([*SECONDARY, "OTHER"], "average dc", "adc"),
    "GE, ADC with its unit": ([*SECONDARY, "PROCESSED"], "ADC (10^-6 mm2/s)", "adc"),
    "GE, Apparent Diffusion": (SECONDARY, "Apparent Diffusion Coefficient (mm2/s)", "adc"),
    "GE, Fractional Aniso.": ([*SECONDARY, "PROCESSED"], "Fractional Aniso.", "mr-other"),
    "GE, Fractional Anisotropy": (SECONDARY, "Fractional Anisotropy", "mr-other"),
    "GE, Volume Ratio Aniso.": (SECONDARY, "Volume Ratio Aniso.", "mr-other"),
    "GE, Exponential Coefficient": ([*SECONDARY, "PROCESSED"], "Exponential Coefficient", "mr-other"),
    "GE, Exponential Attenuation": (SECONDARY, "Exponential Atten. Coeff.", "mr-other"),
    "GE, the isotropic image is the trace": ([*SECONDARY, "COMBINED"], "Isotropic image", "dwi-trace"),
    "Philips, dADC": (["DERIVED", "PRIMARY", "M_SE", "M", "SE"], "dADC", "adc"),
    "Philips, dADC of b-values": (SECONDARY, "dADC_0-1000", "adc"),
    "Philips, ADC by its code": (["DERIVED", "PRIMARY", "ADC_UNSPECIFIED", "ADC", "UNSPECIFIED"], "DWIBS", "adc"),
    "Philips, eADC": (["DERIVED", "PRIMARY", "M_SE", "M", "SE"], "eADC", "mr-other"),
    "Siemens, exp ADC": ([*SECONDARY, "DIFFUSION"], "ep2d_diff_exp_ADC", "mr-other"),
    "Siemens, b = 0 of the tensor": (["DERIVED", "PRIMARY", "DIFFUSION", "TENSOR_B0"], "dti_TENSOR_B0", "dwi"),
    "Siemens, a protocol named for its ADC": (
        ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"], "ep2d_diff_ADC_TRACEW", "dwi-trace",
    ),
    "Canon, Mean Diffusivity": (SECONDARY, "Mean diffusivity", "mr-other"),
    "UIH, a map by its code": ([*SECONDARY, "MD"], "dti", "mr-other"),
    "anybody, without a derived contrast": (["DERIVED", "PRIMARY", "DIFFUSION", "NONE", "DIS3D"], "dwi", "dwi"),
    "anybody, reformatted": ([*SECONDARY, "MPR"], "dwi cor", "mr-other"),
    "labelled original, ADC": (ORIGINAL, "ADC", "adc"),
    "labelled original, FA": (ORIGINAL, "FA", "mr-other"),
    "labelled original, flip angle": (ORIGINAL, "dwi FA=90", "dwi"),
    "labelled original, computed": (ORIGINAL, "computed b1500", "dwi-calculated"),
    "labelled original, cDWI": (ORIGINAL, "cDWI b1400", "dwi-calculated"),
    "original by its frame type, whatever it is called": ([*ORIGINAL, "DIFFUSION", "NONE"], "DWI for ADC", "dwi"),
}  # fmt: skip


@pytest.mark.parametrize(("image_type", "words", "kind"), VENDOR_MAPS.values(), ids=VENDOR_MAPS.keys())
def test_a_map_with_a_b_value_is_no_b_image(tmp_path: Path, image_type: list[str], words: str, kind: str) -> None:
    intake = read(tmp_path, dwi_images("one", b=800, ImageType=image_type, SeriesDescription=words, SequenceName=""))
    (summary,) = intake.series
    assert summary.kind == kind
    assert summary.b_values_s_per_mm2 == (((800.0, summary.images),) if kind.startswith("dwi") else ())
    assert "diffusion-unclear" not in {one.code for one in intake.exam.findings}


@pytest.mark.parametrize("image_type", [SECONDARY, ["DERIVED", "PRIMARY"], [*SECONDARY, "COMPOSED"], [*SECONDARY, "M"]])
def test_what_is_derived_of_diffusion_images_and_says_not_how_holds(tmp_path: Path, image_type: list[str]) -> None:
    intake = read(tmp_path, dwi_images("one", b=800, ImageType=image_type, SeriesDescription="dwi", SequenceName=""))
    (summary,) = intake.series
    assert (summary.kind, summary.b_values_s_per_mm2) == ("mr-other", ())
    (finding,) = [one for one in intake.exam.findings if one.code == "diffusion-unclear"]
    assert (finding.level, finding.value) == (Level.HOLD, float(summary.images))
    assert uid("one") in finding.message
    assert intake.exam.mr == ()


def test_original_images_at_two_b_values_that_are_called_a_map_hold(tmp_path: Path) -> None:
    """One b-value might be a map's; two are the images that it was made of, or nobody knows."""
    named = {"ImageType": ORIGINAL, "SeriesDescription": "DWI b50 b800 ADC", "SequenceName": ""}
    both = [*dwi_images("low", b=50, **named), *dwi_images("high", b=800, **named)]
    for image in both:
        image.SeriesInstanceUID = uid("low")
    intake = read(tmp_path, both)
    assert [one.kind for one in intake.series] == ["mr-other"]
    assert [one.level for one in intake.exam.findings if one.code == "diffusion-unclear"] == [Level.HOLD]


IMAGES = {"1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.7"}
"""Classes whose objects have pixels: one without is cut short."""


@pytest.mark.parametrize(
    ("sop_class", "kind"),
    [
        ("1.2.840.10008.5.1.4.1.1.128", "pet"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "sr"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "rtplan"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "rtdose"),
        ("1.2.840.10008.5.1.4.1.1.7", "other"),
    ],
)
def test_what_is_no_image_of_ours_is_listed_by_its_class(tmp_path: Path, sop_class: str, kind: str) -> None:
    pixels = {"Rows": 2, "Columns": 3, "BitsAllocated": 8, "PixelData": bytes(6)} if sop_class in IMAGES else {}
    (summary,) = read(tmp_path, blank(sop_class, "one", Modality="OT", **pixels)).series
    assert (summary.kind, summary.images, summary.sop_class_uid) == (kind, 1, sop_class)


def test_a_structured_report_is_not_dropped_in_silence(tmp_path: Path) -> None:
    intake = read(tmp_path, blank("1.2.840.10008.5.1.4.1.1.88.33", "sr", Modality="SR"))
    assert [one.level for one in intake.exam.findings if one.code == "sr-without-groups"] == [Level.WARN]


@pytest.mark.parametrize("change", [{"DiffusionBValue": 0}, {"SeriesDescription": "fMRI"}])
def test_b_zero_alone_makes_no_diffusion_series(tmp_path: Path, change: dict[str, Any]) -> None:
    """Some vendors write b = 0 into every image of every series."""
    (summary,) = read(tmp_path, mr_images(**{"SeriesDescription": "epi", "DiffusionBValue": 0, **change})).series
    assert summary.kind == "mr-other"
    assert summary.b_values_s_per_mm2 == ()


def test_the_only_ct_is_the_planning_ct_and_a_localizer_is_none(tmp_path: Path) -> None:
    scout = ct_images(
        "scout", shape=(1, 9, 7), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesDescription="scout"
    )
    intake = read(tmp_path, ct_images(), scout)
    kinds = {summary.series_instance_uid: summary.kind for summary in intake.series}
    assert kinds == {uid("ct"): "planning-ct", uid("scout"): "ct"}
    assert intake.exam.planning_ct is not None
    assert intake.exam.planning_ct.series_uid == uid("ct")


def test_a_localizer_in_the_planning_series_itself_is_set_apart(tmp_path: Path) -> None:
    scout = ct_images(
        "scout", shape=(1, 9, 7), cosines=((0, 1, 0), (0, 0, -1)), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    scout[0].SeriesInstanceUID = uid("ct")
    intake = read(tmp_path, ct_images(), scout)
    assert intake.exam.planning_ct is not None
    assert intake.exam.planning_ct.grid.shape == (5, 9, 7)
    assert sorted((one.kind, one.images) for one in intake.series) == [("ct", 1), ("planning-ct", 5)]


def test_no_ct_holds(tmp_path: Path) -> None:
    intake = read(tmp_path, mr_images())
    assert [one.level for one in intake.exam.findings if one.code == "ct-absent"] == [Level.HOLD]


def test_two_cts_hold_and_the_message_tells_what_refers_to_which(tmp_path: Path) -> None:
    """A structure set on one of them is no proof: the question goes to a person."""
    first, second = ct_images("first"), ct_images("second", FrameOfReferenceUID="1.2.3.300")
    structures = structure_set([], series=uid("first"), listed=first)
    intake = read(
        tmp_path, first, second, structures, registration_object([("1.2.3.200", [[1.0] * 16])], frame=CT_FRAME)
    )
    (finding,) = [one for one in intake.exam.findings if one.code == "ct-ambiguous"]
    assert (finding.level, finding.value, finding.limit) == (Level.HOLD, 2.0, 1.0)
    assert f"series {uid('first')} (Planning CT, 5 images, referred to by rtstruct)" in finding.message
    assert f"series {uid('second')} (Planning CT, 5 images, nothing refers to it)" in finding.message
    assert intake.exam.planning_ct is None
    assert {one.kind for one in intake.series} >= {"ct"}
    assert "planning-ct" not in {one.kind for one in intake.series}


@pytest.mark.parametrize("make", [ct_images, mr_images])
def test_multi_frame_images_without_functional_groups_are_named_and_not_read(tmp_path: Path, make: Any) -> None:
    sop_class = {ct_images: "1.2.840.10008.5.1.4.1.1.2.1", mr_images: "1.2.840.10008.5.1.4.1.1.4.1"}[make]
    image = make(shape=(1, 9, 7))[0]
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
    intake = read(tmp_path, image)
    (finding,) = [one for one in intake.exam.findings if one.code == "multi-frame-unread"]
    assert finding.level is (Level.HOLD if make is ct_images else Level.WARN)
    assert intake.exam.planning_ct is None
    assert intake.exam.mr == ()


@pytest.mark.parametrize("word", ["MOSAIC", "VFRAME"])
def test_mosaics_are_named_and_not_read(tmp_path: Path, word: str) -> None:
    intake = read(tmp_path, dwi_images(ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", word]))
    assert "multi-frame-unread" in {one.code for one in intake.exam.findings}
    assert intake.exam.mr == ()
    assert intake.series[0].b_values_s_per_mm2 == ((900.0, 5),)


def test_a_series_of_two_echoes_is_two_volumes(tmp_path: Path) -> None:
    first, second = mr_images("e1", EchoTime=10), mr_images("e2", EchoTime=80)
    for image in second:
        image.SeriesInstanceUID = first[0].SeriesInstanceUID
    intake = read(tmp_path, first, second)
    assert [volume.quantity.kind for volume in intake.exam.mr] == [Kind.T1, Kind.T1]
    assert "mr-geometry" not in {one.code for one in intake.exam.findings}


def test_a_series_that_mixes_kinds_is_a_volume_for_each(tmp_path: Path) -> None:
    water = mr_images("w", ImageType=[*M, "WATER"])
    fat = mr_images("f", ImageType=[*M, "FAT"])
    for image in fat:
        image.SeriesInstanceUID = water[0].SeriesInstanceUID
    volumes = read(tmp_path, water, fat).exam.mr
    assert [volume.quantity.kind for volume in volumes] == [Kind.DIXON_FAT, Kind.DIXON_WATER]
    assert {volume.series_uid for volume in volumes} == {uid("w")}
