"""Real diffusion series of every vendor: kind and b-values of each, exactly as the description of the packs says."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from psdt_planner.dicom import csa
from psdt_planner.dicom.files import read_headers
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.volumes import plain_pixels
from psdt_planner.images import Volume
from tests.dicom_in.packs import pack

pytestmark = pytest.mark.realdata

DTI = "dwi_dicom2nifti_4vendors"
PROSTATEX = "body_dwi_prostatex_0000"


@cache
def read(name: str, inside: str = "") -> Intake:
    folder = pack(name)
    return read_inputs([*folder.glob(f"**/{inside}")] if inside else [folder])


def told(intake: Intake) -> list[tuple[str, dict[float, int]]]:
    """Kind and images by b-value of every MR series."""
    mr = [one for one in intake.series if one.modality == "MR" and one.kind != "other"]
    return [(kind, dict(b)) for kind, b in sorted((str(one.kind), one.b_values_s_per_mm2) for one in mr)]


@pytest.mark.parametrize(
    ("name", "inside", "expected"),
    [
        ("dwi_ge_classic", "", [("dwi", {0: 2, 1000: 12})]),
        ("dwi_philips_classic", "", [("dwi", {0: 160, 1000: 384})]),
        ("dwi_canon_classic_3vol", "", [("dwi", {0: 40, 1500: 80})]),
        ("dwi_canon_enhanced", "", [("dwi", {0: 40, 1500: 480})]),
        ("dwi_toshiba_classic_2vol", "", [("dwi", {0: 40, 1500: 40})]),
        ("dwi_uih_mosaic_vframe", "", [("dwi", {1.25: 20, 929.75: 320})]),
        (
            "dwi_siemens_xa30_enhanced",
            "",
            [("adc", {}), ("dwi", {0: 39}), ("dwi", {0: 39, 2500: 117}), ("dwi-trace", {2500: 39})],
        ),
        ("dwi_nibabel_siemens_csa", "siemens_dwi_*.dcm", [("dwi", {0: 48, 1000: 48})]),
        (DTI, "siemens/dti/001", [("dwi", {0: 1, 1000: 1})]),
        (DTI, "siemens/dti_classic/001", [("dwi", {0: 4, 1000: 4})]),
        (DTI, "siemens/dti_classic/001_implicit", [("dwi", {0: 4, 1000: 4})]),
        (DTI, "ge/dti/001", [("dwi", {0: 4, 1000: 4})]),
        (DTI, "ge/dti/001_implicit", [("dwi", {0: 4, 1000: 4})]),
        (DTI, "philips/dti/001", [("dwi", {0: 2, 1000: 6})]),
        (DTI, "philips/dti/002", [("dwi", {0: 3, 40: 3, 273: 3, 800: 3})]),
        (DTI, "philips/dti/002_implicit", [("dwi", {0: 3, 40: 3, 273: 3, 800: 3})]),
        (DTI, "philips_enhanced/dti/001", [("dwi", {0: 8, 1300: 24})]),
        (
            PROSTATEX,
            "ProstateX/ProstateX-0000/07-07-2011/*",
            [
                ("adc", {}),
                ("dwi-calculated", {1000: 19}),
                ("dwi-trace", {50: 19, 400: 19, 800: 19}),
                ("t2", {}),
                ("t2", {}),
            ],
        ),
        ("adc_toshiba_cmbcrc_001", "", [("adc", {})]),
        ("adc_ge_qinprostate", "", [("adc", {})]),
        ("odd_agfa_private_remap", "", [("mr-other", {}), ("mr-other", {})]),
        ("geom_ge_table_FFS_HFS", "", [("mr-other", {})] * 5),
    ],
)
def test_kind_and_b_values_of_every_series(
    name: str, inside: str, expected: list[tuple[str, dict[float, int]]]
) -> None:
    intake = read(name, inside)
    assert told(intake) == expected
    assert "b-value-unknown" not in {one.code for one in intake.exam.findings}


def by_b_value(intake: Intake) -> dict[float | None, Volume]:
    return {volume.quantity.b_value_s_per_mm2: volume for volume in intake.exam.mr}


def test_the_same_exam_classic_and_enhanced_gives_the_same_volumes() -> None:
    """Of the 12 directions of the enhanced object the classic series holds two; b = 0 is whole in both."""
    classic, enhanced = by_b_value(read("dwi_canon_classic_3vol")), by_b_value(read("dwi_canon_enhanced"))
    assert set(classic) == set(enhanced) == {0.0, 1500.0, None}, "and the ADC map that was fitted to them"
    for b, volume in classic.items():
        assert volume.grid == enhanced[b].grid
    assert np.array_equal(classic[0.0].array, enhanced[0.0].array)
    ratio = classic[1500.0].array.sum() / enhanced[1500.0].array.sum()
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_every_image_of_the_classic_exam_is_a_frame_of_the_enhanced_one() -> None:
    frames = {frame.tobytes() for frame in dcmread(next(pack("dwi_canon_enhanced").rglob("*.dcm"))).pixel_array}
    files = sorted((pack("dwi_canon_classic_3vol") / "dcm_qa_canon_61" / "In").rglob("*"))
    images = [dcmread(path).pixel_array.tobytes() for path in files if path.is_file()]
    assert len(images) == 120
    assert set(images) <= frames


@pytest.mark.parametrize("folder", ["siemens/dti_classic/001", "ge/dti/001", "philips/dti/002"])
def test_implicit_and_explicit_vr_agree(folder: str) -> None:
    explicit, implicit = read(DTI, folder), read(DTI, f"{folder}_implicit")
    assert told(explicit) == told(implicit)
    assert explicit.series[0].b_value_source == implicit.series[0].b_value_source


def test_siemens_frames_of_one_b_value_in_several_objects_are_averaged() -> None:
    paths = sorted((pack("dwi_siemens_xa30_enhanced") / "dcm_qa_xa30" / "In" / "10_DWI_dir80_PA").iterdir())
    objects = [dcmread(path) for path in paths]
    weighted = [ds.pixel_array for ds in objects if b_of(ds) == 2500]
    (series,) = [
        volume
        for volume in read("dwi_siemens_xa30_enhanced").exam.mr
        if volume.quantity.b_value_s_per_mm2 == 2500 and volume.quantity.kind == "dwi"
    ]
    assert len(weighted) == 3
    assert np.allclose(series.array, np.mean(weighted, axis=0), rtol=1e-6)


def b_of(ds: object) -> float:
    frame = ds.PerFrameFunctionalGroupsSequence[0]  # type: ignore[attr-defined]
    return float(frame.MRDiffusionSequence[0].DiffusionBValue)


def test_slices_of_a_uih_mosaic_lie_where_its_private_sequence_says() -> None:
    low = by_b_value(read("dwi_uih_mosaic_vframe"))[1.25]
    assert low.array.shape == (20, 64, 64)
    assert low.grid.slice_origins_mm[0] == pytest.approx([-114.442863, -112.324295, -6.39442587])
    assert low.grid.slice_gap_mm == pytest.approx(4.2, abs=1e-3)
    neighbours = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(low.array[:15], low.array[1:16], strict=True)]
    assert min(neighbours) > 0.75, "tiles in the order of their positions follow each other smoothly"


def test_slices_of_a_siemens_mosaic_lie_where_nibabel_says() -> None:
    """nibabel's tests state this affine of the same file, in RAS: the first two rows change their sign."""
    ras = [
        [1.796875, 0.0, 0.0, -115.0],
        [0.0, -1.79684984, -0.01570896, 135.028779],
        [0.0, -0.00940843750, 2.99995887, -78.710481],
    ]
    lps = np.diag([-1.0, -1.0, 1.0]) @ np.array(ras)
    grid = by_b_value(read("dwi_nibabel_siemens_csa", "siemens_dwi_*.dcm"))[1000.0].grid
    found = np.stack([grid.step_i_mm, grid.step_j_mm, np.diff(grid.slice_origins_mm, axis=0)[0]], axis=1)
    assert grid.shape == (48, 128, 128)
    assert np.abs(found) == pytest.approx(np.abs(lps[:, :3]), abs=1e-5)
    assert grid.slice_origins_mm[0] == pytest.approx([-115.0, -135.028779, -78.710481], abs=1e-5)


@pytest.mark.parametrize(("name", "b"), [("csa2_b0.bin", "0"), ("csa2_b1000.bin", "1000")])
def test_real_csa_headers_tell_b_value_and_mosaic(name: str, b: str) -> None:
    header = csa.parse(binary(name).read_bytes())
    assert header["B_value"] == (b,)
    assert header["NumberOfImagesInMosaic"] == ("48",)
    assert [float(cosine) for cosine in header["SliceNormalVector"]] == pytest.approx([0, 0.00523632, 0.99998629])


def test_a_malformed_csa_header_is_refused() -> None:
    with pytest.raises(ValueError, match="broken at tag 0"):
        csa.parse(binary("csa_str_1001n_items.bin").read_bytes())


def binary(name: str) -> Path:
    return next(pack("dwi_nibabel_siemens_csa").rglob(name))


def test_a_mosaic_that_tells_no_layout_is_named_and_not_read() -> None:
    intake = read(DTI, "siemens/dti/001")
    (finding,) = [one for one in intake.exam.findings if one.code == "multi-frame-unread"]
    assert "does not tell how many slices it holds" in finding.message
    assert intake.exam.mr == ()


def test_a_pack_renumbered_by_a_pacs_tells_the_same_private_values() -> None:
    from psdt_planner.dicom.private import private_values

    values = []
    for folder in ("Agfa", "Siemens"):
        path = sorted((pack("odd_agfa_private_remap") / "dcm_qa_agfa" / folder).iterdir())[0]
        frame = dcmread(path, stop_before_pixels=True).PerFrameFunctionalGroupsSequence[0]
        (items,) = private_values(frame, 0x0021, "SIEMENS MR SDI 02", 0xFE)
        (position,) = private_values(items[0], 0x0021, "SIEMENS MR SDI 02", 0x5B)
        values.append([float(mm) for mm in position])
    assert values[0] == values[1] == pytest.approx([-105.0, -105.0, -39.6])


@pytest.mark.parametrize(
    "name", ["dwi_ge_classic", "dwi_philips_classic", "dwi_toshiba_classic_2vol", PROSTATEX, "adc_ge_qinprostate", DTI]
)
def test_plain_pixels_are_those_that_pydicom_reads(name: str) -> None:
    """Images of one slice are read past pydicom; byte for byte what it gives."""
    compared = 0
    for header in read_headers([pack(name)])[0]:
        if header.pixels_at is None or "Rows" not in header.dataset:
            continue
        plain = plain_pixels(header)
        if plain is not None and compared < 60:
            assert np.array_equal(plain, dcmread(header.path).pixel_array), header.path.name
            compared += 1
    assert compared > 3
