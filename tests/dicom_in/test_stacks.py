"""Slices to a lattice: where the slices are is where they were, and every irregularity has its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.stacks import read_slice, stack
from psdt_planner.errors import GeometryError, MissingAttributeError, UnsupportedError
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid
from tests.dicom_in.objects import CT_FRAME, HEAD_FIRST, OBLIQUE, ct_images, headers, in_memory, mr_images, write

POSITIONS = {
    "HFS": ((1, 0, 0), (0, 1, 0)),
    "HFP": ((-1, 0, 0), (0, -1, 0)),
    "FFS": ((-1, 0, 0), (0, 1, 0)),
    "FFP": ((1, 0, 0), (0, -1, 0)),
    "HFDL": ((0, 1, 0), (-1, 0, 0)),
    "HFDR": ((0, -1, 0), (1, 0, 0)),
    "FFDL": ((0, -1, 0), (-1, 0, 0)),
    "FFDR": ((0, 1, 0), (1, 0, 0)),
}


def read(folder: Path, *objects: Any) -> Intake:
    return read_inputs([write(folder, *objects)])


def ct_findings(intake: Intake) -> dict[str, Finding]:
    return {finding.code: finding for finding in intake.exam.findings if finding.code.startswith("ct-")}


def ct_grid(intake: Intake) -> Grid:
    assert intake.exam.planning_ct is not None
    return intake.exam.planning_ct.grid


@pytest.mark.parametrize("position", POSITIONS)
def test_every_axial_position_keeps_each_voxel_where_its_header_says(tmp_path: Path, position: str) -> None:
    """Against the formula of PS3.7.6.2.1-1, image by image."""
    images = ct_images(cosines=POSITIONS[position])
    intake = read(tmp_path, images)
    ct = intake.exam.planning_ct
    assert ct is not None
    assert ct_findings(intake) == {}
    assert ct.grid.frame == CT_FRAME
    for image in images:
        row, column = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
        (dj, di), origin = image.PixelSpacing, np.array(image.ImagePositionPatient, dtype=float)
        for j, i in ((0, 0), (8, 0), (0, 6), (5, 3)):
            expected = origin + float(di) * i * row + float(dj) * j * column
            k, back_j, back_i = ct.grid.index_from_mm(expected)
            assert (k, back_j, back_i) == pytest.approx((round(float(k)), j, i), abs=1e-6)
            assert ct.array[round(float(k)), j, i] == image.pixel_array[j, i] - 1024


def test_slices_are_ordered_along_the_normal_and_not_by_instance_number(tmp_path: Path) -> None:
    images = ct_images(cosines=POSITIONS["FFS"])
    for image in images:
        image.InstanceNumber = 100 - image.InstanceNumber
    grid = ct_grid(read(tmp_path, images))
    along = grid.slice_origins_mm @ grid.normal
    assert (np.diff(along) > 0).all()
    assert sorted(grid.slice_origins_mm[:, 2]) == pytest.approx([30.0, 32.5, 35.0, 37.5, 40.0])


def test_uneven_slices_are_a_warning_and_stay_where_they_are(tmp_path: Path) -> None:
    intake = read(tmp_path, ct_images(offsets=[0, 2.5, 5.0, 8.0, 10.5]))
    finding = ct_findings(intake)["ct-slices-uneven"]
    assert (finding.level, finding.value, finding.unit) == (Level.WARN, pytest.approx(0.5), "mm")
    assert ct_grid(intake).slice_origins_mm[:, 2] == pytest.approx([40.0, 42.5, 45.0, 48.0, 50.5])


@pytest.mark.parametrize(
    ("offsets", "gap"),
    [([0, 2.5, 5, 10, 12.5], 5.0), ([0, 2.5, 5, 12.5, 15], 7.5), ([0, 2.5, 5, 9.3, 11.8], 4.3)],
    ids=["one", "two", "a gap that is no multiple"],
)
def test_a_missing_slice_holds(tmp_path: Path, offsets: list[float], gap: float) -> None:
    intake = read(tmp_path, ct_images(offsets=offsets))
    finding = ct_findings(intake)["ct-slice-missing"]
    assert (finding.level, finding.unit) == (Level.HOLD, "mm")
    assert (finding.value, finding.limit) == (pytest.approx(gap), pytest.approx(2.5))
    assert "45.00) mm" in finding.message
    assert intake.exam.planning_ct is None
    assert intake.ct_headers == ()


def test_a_thick_slab_beside_thin_slices_lacks_nothing(tmp_path: Path) -> None:
    images = ct_images(shape=(7, 9, 7), offsets=[0, 2.5, 5, 7.5, 10, 14, 18])
    for image in images[4:]:
        image.SliceThickness = 4
    intake = read(tmp_path, images)
    assert set(ct_findings(intake)) == {"ct-slices-uneven"}
    assert ct_grid(intake).slice_origins_mm[-1, 2] == pytest.approx(58.0)


def sheared(images: list[Any], mm: float) -> list[Any]:
    for k, image in enumerate(images):
        image.ImagePositionPatient[1] = f"{float(image.ImagePositionPatient[1]) + k * mm:.4f}"
    return images


def tilted(degrees: float) -> Any:
    rotation = Rotation.from_euler("x", degrees, degrees=True)
    return rotation.apply(np.array(HEAD_FIRST))


def broken(kind: str) -> list[Any]:
    """A CT with one thing wrong."""
    if kind == "ct-gantry-tilt":
        return sheared(ct_images(), 0.3)
    if kind == "ct-not-axial":
        return ct_images(cosines=tilted(0.3))
    if kind == "ct-frame-missing":
        return ct_images(FrameOfReferenceUID=None)
    if kind == "ct-slice-duplicate":
        return ct_images(offsets=[0, 2.5, 2.5, 5, 7.5])
    if kind == "ct-single-slice":
        return ct_images(shape=(1, 9, 7))
    images = ct_images()
    if kind == "ct-frames-mixed":
        images[2].FrameOfReferenceUID = "1.2.3.999"
    elif kind == "ct-orientation-mixed":
        images[2].ImageOrientationPatient = [0, 1, 0, -1, 0, 0]
    elif kind == "ct-size-mixed":
        images[2].PixelSpacing = [1.3, 0.81]
    return images


@pytest.mark.parametrize(
    "code",
    [
        "ct-gantry-tilt",
        "ct-not-axial",
        "ct-frame-missing",
        "ct-frames-mixed",
        "ct-slice-duplicate",
        "ct-orientation-mixed",
        "ct-size-mixed",
        "ct-single-slice",
    ],
)
def test_each_irregularity_holds_the_ct_with_its_code_alone(tmp_path: Path, code: str) -> None:
    intake = read(tmp_path, broken(code))
    assert {name: finding.level for name, finding in ct_findings(intake).items()} == {code: Level.HOLD}
    assert intake.exam.planning_ct is None
    summary = next(one for one in intake.series if one.kind == "planning-ct")
    assert [finding.code for finding in summary.findings] == [code]


def test_a_tilted_gantry_is_told_apart_from_an_oblique_reformat(tmp_path: Path) -> None:
    tilt = ct_images(cosines=tilted(12))
    for k, image in enumerate(tilt):
        image.ImagePositionPatient = [-20, -31, 40 + 2.5 * k]
    assert set(ct_findings(read(tmp_path / "tilt", tilt))) == {"ct-gantry-tilt", "ct-not-axial"}
    reformat = ct_images(cosines=tilted(12))
    assert set(ct_findings(read(tmp_path / "reformat", reformat))) == {"ct-not-axial"}


def test_the_figure_of_a_tilt_is_the_way_beside_the_normal(tmp_path: Path) -> None:
    finding = ct_findings(read(tmp_path, sheared(ct_images(), 0.3)))["ct-gantry-tilt"]
    assert (finding.value, finding.unit) == (pytest.approx(1.2), "mm")


def test_directions_rounded_to_four_digits_are_no_irregularity(tmp_path: Path) -> None:
    images = mr_images()
    for image in images:
        image.ImageOrientationPatient = [f"{float(cosine):.4f}" for cosine in image.ImageOrientationPatient]
    intake = read(tmp_path, images)
    assert "mr-geometry" not in {finding.code for finding in intake.exam.findings}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"ImagePositionPatient": None}, MissingAttributeError),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, MissingAttributeError),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, GeometryError),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, GeometryError),
        ({"PixelSpacing": [0, 1]}, GeometryError),
        ({"Rows": None}, MissingAttributeError),
    ],
)
def test_a_slice_without_geometry_is_an_error_that_names_the_instance(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    images = ct_images(**changes)
    (header,) = headers(write(tmp_path / "one", images[:1]))
    with pytest.raises(error, match=images[0].SOPInstanceUID):
        read_slice(header)
    intake = read(tmp_path / "all", images)
    found = [finding for finding in intake.exam.findings if finding.code == "attribute-missing"]
    assert [finding.level for finding in found] == [Level.HOLD]


def test_a_number_that_is_none_is_an_error(tmp_path: Path) -> None:
    (header,) = headers(write(tmp_path, ct_images()[:1]))
    header.dataset["ImagePositionPatient"]._value = ["nan", "0", "0"]
    with pytest.raises(UnsupportedError, match="ImagePositionPatient is not finite"):
        read_slice(header)


@given(
    gaps=st.lists(st.floats(1.0, 1.4), min_size=2, max_size=12),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    seed=st.randoms(),
)
def test_the_lattice_of_any_oblique_stack_is_its_slices(
    gaps: list[float],
    angles: tuple[float, float, float],
    origin: tuple[float, float, float],
    seed: Any,
) -> None:
    cosines = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[:2]
    offsets = np.concatenate([[0], np.cumsum(gaps)])
    images = mr_images(shape=(len(offsets), 3, 4), cosines=cosines, offsets=list(offsets), origin=origin)
    shuffled = in_memory(images)
    seed.shuffle(shuffled)
    found = stack([read_slice(header) for header in shuffled], axial=False)
    assert found.grid is not None
    assert {odd.name for odd in found.irregularities} <= {"slices-uneven"}
    expected = [[float(mm) for mm in image.ImagePositionPatient] for image in images]
    assert np.allclose(found.grid.slice_origins_mm, expected, atol=1e-9)
    corner = np.asarray(expected[1]) + 2 * 1.3 * cosines[1] + 3 * 0.8 * cosines[0]
    assert found.grid.index_from_mm(corner) == pytest.approx((1, 2, 3), abs=1e-4)


@pytest.mark.parametrize("thickness", [2.5, 5.0, 8.0])
def test_a_gap_of_twice_the_usual_lacks_a_slice_however_thick_these_are(thickness: float) -> None:
    images = ct_images(offsets=[0, 2.5, 5.0, 10.0, 12.5], SliceThickness=thickness)
    found = stack([read_slice(header) for header in in_memory(images)], axial=True)
    assert [odd.name for odd in found.irregularities] == ["slice-missing"]


@pytest.mark.parametrize("offsets", [[0, 2.5, 2.52, 5.0, 7.5], [0, 2.5, 3.2, 5.0, 7.5], [0, 0.02, 2.5, 5.0, 7.5]])
def test_slices_far_nearer_than_usual_are_duplicates(offsets: list[float]) -> None:
    found = stack([read_slice(header) for header in in_memory(ct_images(offsets=offsets))], axial=True)
    assert [odd.name for odd in found.irregularities] == ["slice-duplicate"]
    assert found.grid is None


@given(drop=st.integers(1, 8), count=st.integers(10, 14), gap=st.floats(0.5, 8))
def test_any_slice_taken_from_within_an_even_stack_is_missed(drop: int, count: int, gap: float) -> None:
    images = ct_images(shape=(count, 3, 4), gap=gap)
    del images[drop]
    found = stack([read_slice(header) for header in in_memory(images)], axial=True)
    assert [odd.name for odd in found.irregularities] == ["slice-missing"]
    assert found.grid is None


def test_mr_irregularities_share_one_code(tmp_path: Path) -> None:
    intake = read(tmp_path, mr_images(offsets=[0, 4, 8, 16, 20]))
    (finding,) = [finding for finding in intake.exam.findings if finding.code == "mr-geometry"]
    assert finding.level is Level.HOLD
    assert "slice is missing" in finding.message
    assert intake.exam.mr == ()


def test_an_mr_that_planning_does_not_use_warns_where_a_used_one_holds(tmp_path: Path) -> None:
    intake = read(tmp_path, mr_images(offsets=[0, 4, 8, 16, 20], SeriesDescription="cine"))
    assert [finding.level for finding in intake.exam.findings if finding.code == "mr-geometry"] == [Level.WARN]


def test_two_orientations_in_one_mr_series_are_a_finding_even_as_two_echoes(tmp_path: Path) -> None:
    first, second = mr_images(shape=(3, 9, 7), EchoTime=20), mr_images("x", shape=(3, 9, 7), cosines=OBLIQUE[1:])
    for image in second:
        image.SeriesInstanceUID, image.EchoTime = first[0].SeriesInstanceUID, 90
    intake = read(tmp_path, first, second)
    found = [finding.message for finding in intake.exam.findings if finding.code == "mr-geometry"]
    assert len(found) == 1
    assert "several orientations" in found[0]
