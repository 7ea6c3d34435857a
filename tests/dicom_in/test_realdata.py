"""Real DICOM of many vendors: what each pack's own description says is what reading finds, or refuses by name."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from psdt_planner.dicom.intake import Intake, SeriesSummary, read_inputs
from psdt_planner.findings import Level
from tests.dicom_in.packs import pack

pytestmark = pytest.mark.realdata


@cache
def read(name: str, inside: str = "") -> Intake:
    folder = pack(name)
    return read_inputs([*folder.glob(f"**/{inside}")] if inside else [folder])


def codes(intake: Intake, level: Level | None = None) -> set[str]:
    return {one.code for one in intake.exam.findings if level is None or one.level is level}


def images(intake: Intake) -> list[SeriesSummary]:
    return sorted(
        (one for one in intake.series if one.modality == "MR" and one.kind != "other"), key=lambda one: one.kind
    )


def b_values(summary: SeriesSummary) -> dict[float, int]:
    return dict(summary.b_values_s_per_mm2)


@pytest.mark.parametrize(
    ("name", "expected", "source"),
    [
        ("dwi_ge_classic", {0: 2, 1000: 12}, "(0043,xx39) GEMS_PARM_01"),
        ("dwi_philips_classic", {0: 160, 1000: 384}, "(0018,9087) DiffusionBValue"),
        ("dwi_canon_classic_3vol", {0: 40, 1500: 80}, "(0018,9087) DiffusionBValue"),
        ("dwi_toshiba_classic_2vol", {0: 40, 1500: 40}, "absent, as this vendor writes b = 0"),
        ("dwi_uih_mosaic_vframe", {1.25: 20, 929.75: 320}, "(0065,xx09) Image Private Header"),
    ],
)
def test_b_values_of_every_classic_scanner(name: str, expected: dict[float, int], source: str) -> None:
    (summary,) = images(read(name))
    assert summary.kind == "dwi"
    assert b_values(summary) == expected
    assert source in summary.b_value_source
    assert "b-value-unknown" not in codes(read(name))


@pytest.mark.parametrize(
    "name", ["dwi_ge_classic", "dwi_philips_classic", "dwi_canon_classic_3vol", "dwi_toshiba_classic_2vol"]
)
def test_every_b_value_of_a_classic_series_is_a_volume(name: str) -> None:
    intake = read(name)
    (summary,) = images(intake)
    told = [(str(v.quantity.kind), v.quantity.b_value_s_per_mm2) for v in intake.exam.mr]
    fitted = [("adc", None)]  # none of these exams brings a map of its own
    assert sorted(told, key=str) == sorted([*fitted, *(("dwi", float(b)) for b in b_values(summary))], key=str)
    assert "adc-fitted" in codes(intake)
    assert len(set(summary.shapes_kji)) == 1
    slices = summary.shapes_kji[0][0]
    for b, count in b_values(summary).items():
        assert count % slices == 0, b


def test_mean_of_the_directions_of_a_philips_series_is_that_of_its_images() -> None:
    """Five volumes of b = 0, rescaled by 1.5148: the mean of all stored pixels, times the slope."""
    from pydicom import dcmread

    intake = read("dwi_philips_classic")
    (low,) = [volume for volume in intake.exam.mr if volume.quantity.b_value_s_per_mm2 == 0]
    stored = []
    for path in pack("dwi_philips_classic").glob("**/IM_*"):
        ds = dcmread(path)
        if float(ds.DiffusionBValue) < 1:
            stored.append(float(ds.pixel_array.mean()) * float(ds.RescaleSlope))
    assert len(stored) == 160
    assert low.array.mean() == pytest.approx(np.mean(stored), rel=1e-5)


def test_private_objects_within_a_philips_series_are_listed() -> None:
    intake = read("dwi_philips_classic")
    private = [one for one in intake.series if one.sop_class_uid.startswith("1.3.46.670589")]
    assert [one.kind for one in private] == ["other", "other"]
    assert any(file.name.startswith("DICOMDIR") for file in intake.other)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("siemens/dti_classic/001", {0: 4, 1000: 4}),
        ("siemens/dti_classic/001_implicit", {0: 4, 1000: 4}),
        ("ge/dti/001", {0: 4, 1000: 4}),
        ("ge/dti/001_implicit", {0: 4, 1000: 4}),
        ("philips/dti/002", {0: 3, 40: 3, 273: 3, 800: 3}),
        ("philips/dti/002_implicit", {0: 3, 40: 3, 273: 3, 800: 3}),
        ("siemens/dti/001", {0: 1, 1000: 1}),
    ],
)
def test_four_vendors_in_explicit_and_implicit_vr(folder: str, expected: dict[float, int]) -> None:
    (summary,) = images(read("dwi_dicom2nifti_4vendors", folder))
    assert summary.kind == "dwi"
    assert b_values(summary) == expected


def test_a_body_dwi_exam_tells_trace_adc_and_calculated_apart() -> None:
    intake = read("body_dwi_prostatex_0000")
    found = {one.kind: one for one in images(intake)}
    assert set(found) == {"dwi-trace", "adc", "dwi-calculated", "t2"}
    assert b_values(found["dwi-trace"]) == {50: 19, 400: 19, 800: 19}
    assert b_values(found["dwi-calculated"]) == {1000: 19}
    assert b_values(found["adc"]) == {}
    assert found["adc"].adc_unit_mm2_per_s == 1e-6
    assert {v.quantity.b_value_s_per_mm2 for v in intake.exam.of_kind(*{v.quantity.kind for v in intake.exam.mr})} == {
        None, 50.0, 400.0, 800.0,
    }  # fmt: skip
    assert codes(intake, Level.HOLD) == {"ct-absent", "flags-absent"}


@pytest.mark.parametrize(("name", "count"), [("adc_toshiba_cmbcrc_001", 36), ("adc_ge_qinprostate", 20)])
def test_adc_maps_that_carry_a_b_value_or_no_unit_are_in_millionths(name: str, count: int) -> None:
    intake = read(name)
    (summary,) = images(intake)
    assert (summary.kind, summary.images, summary.adc_unit_mm2_per_s) == ("adc", count, 1e-6)
    assert b_values(summary) == {}
    (volume,) = intake.exam.mr
    assert 3e-4 < float(np.median(volume.array[volume.array > 0])) < 4e-3


def test_an_ordinary_ct_of_the_abdomen_is_a_planning_ct() -> None:
    intake = read("ct_crlm_1004_41slices")
    ct = intake.exam.planning_ct
    assert ct is not None
    assert ct.grid.shape == (41, 512, 512)
    assert ct.grid.spacing_kji_mm == pytest.approx((5.0, 0.796875, 0.796875))
    assert not {code for code in codes(intake) if code.startswith("ct-")}
    assert -1100 < float(np.median(ct.array)) < 100
    assert len(intake.ct_headers) == 41


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("gantrytilting/001", {"ct-gantry-tilt", "ct-not-axial"}),
        ("notavolume/001", {"ct-slice-duplicate"}),
        ("sliceincrement/001", {"ct-slice-missing"}),
        ("sliceincrement/002", {"ct-gantry-tilt", "ct-not-axial"}),
    ],
)
def test_broken_ct_series_meet_their_findings(folder: str, expected: set[str]) -> None:
    """Their anonymiser removed the frame of reference as well, which is said beside it."""
    intake = read("broken_series_dicom2nifti", f"failing/{folder}")
    found = {code for code in codes(intake, Level.HOLD) if code.startswith("ct-")}
    assert found == {*expected, "ct-frame-missing"}
    assert intake.exam.planning_ct is None


@pytest.mark.parametrize(
    ("folder", "words"), [("sliceorientation/001", "several orientations"), ("slicecount/001", "no frame of reference")]
)
def test_broken_mr_series_meet_their_findings(folder: str, words: str) -> None:
    intake = read("broken_series_dicom2nifti", f"failing/{folder}")
    assert [one.message for one in intake.exam.findings if one.code == "mr-geometry" and words in one.message]
    assert intake.exam.mr == ()


def test_a_ct_without_uids_is_listed_file_by_file() -> None:
    intake = read("odd_ct_empty_uids_j2k")
    assert len([file for file in intake.other if file.name.startswith("CT.")]) == 20
    assert {"ct-absent", "object-unidentified"} <= codes(intake)


def test_a_structure_set_that_says_it_is_a_dose_is_refused() -> None:
    intake = read("rtss_odd_opentps_phantom")
    (refused,) = [one for one in intake.exam.findings if one.code == "rtstruct-refused"]
    assert (refused.level, "RTDOSE" in refused.message) == (Level.HOLD, True)
    assert "ct-frame-missing" in codes(intake)
    assert intake.exam.organs == ()


def test_a_structure_set_of_many_regions_on_one_slice_is_held_and_not_dropped() -> None:
    intake = read("rtss_rtplan_dicompylercore")
    assert {"ct-single-slice", "organs-unread"} <= codes(intake)
    assert sorted(str(one.kind) for one in intake.series) == ["planning-ct", "rtplan", "rtstruct"]


@pytest.mark.parametrize(("name", "volume_ml", "contours"), [("mrct_sts_002", 53.3, 16), ("mrct_sts_003", 80.1, 20)])
def test_the_same_tumour_is_a_flag_on_the_mr_and_an_organ_on_the_ct(name: str, volume_ml: float, contours: int) -> None:
    """Three structure sets in one frame, whose image references name instances that are not there."""
    intake = read(f"{name}_ct_mr_pet_rtss")
    exam = intake.exam
    assert codes(intake, Level.HOLD) == {"flag-on-pet"}
    assert {"dwi-absent", "adc-absent"} <= codes(intake, Level.WARN)
    (flag,), (organ,) = exam.flags, exam.organs
    assert (flag.label, organ.name) == ("GTV_Mass_MR_T1", "GTV_Mass_CT")
    assert flag.volume_ml == pytest.approx(volume_ml, abs=0.5)
    assert len(organ.contours) == contours
    rings = np.concatenate([contour.points_mm for contour in organ.contours])
    middle = (rings.min(axis=0) + rings.max(axis=0)) / 2
    assert np.linalg.norm(flag.centroid_mm - middle) < 12


@pytest.mark.parametrize("name", ["segsr_highdicom", "segsr_dcmqi", "sr_odd_dcmjs"])
def test_every_real_seg_is_read_or_refused_with_a_reason(name: str) -> None:
    intake = read(name)
    segs = {
        file.sop_instance_uid
        for file in intake.files
        if ".66." in file.sop_class_uid and file.sop_class_uid[-1] in "47"
    }
    read_in = {flag.source.sop_instance_uid for flag in intake.exam.flags}
    refused = {uid for uid in segs for one in intake.exam.findings if one.level is Level.HOLD and uid in one.message}
    assert segs
    assert segs == (segs & read_in) | refused


def test_segments_of_a_liver_on_a_ct_are_no_flags_unless_coded_as_lesions() -> None:
    intake = read("segsr_dcmqi")
    told = [one.message for one in intake.exam.findings if one.code == "seg-not-a-flag"]
    assert {
        label for label in ("GREEN", "ORANGE", "PURPLE", "DARK_BLUE", "Liver") if any(label in m for m in told)
    } == {
        "GREEN",
        "ORANGE",
        "PURPLE",
        "DARK_BLUE",
        "Liver",
    }
    assert "LIGHT_BLUE" in [flag.label for flag in intake.exam.flags]


def test_the_same_numbers_in_four_frames_never_meet() -> None:
    intake = read("geom_ge_table_FFS_HFS")
    frames = {one.frame_of_reference_uid for one in images(intake)}
    assert len(frames) > 1
    assert "" not in frames


@pytest.mark.parametrize("name", ["rtss_rtutils_mock", "dwi_nibabel_siemens_csa", "sr_odd_dcmjs"])
def test_odd_packs_are_read_to_the_last_file(name: str) -> None:
    intake = read(name)
    unreadable = sum(one.code == "file-unreadable" for one in intake.exam.findings)
    contents = {path.read_bytes() for path in pack(name).rglob("*") if path.is_file()}
    assert len(intake.files) + unreadable == len(contents)
