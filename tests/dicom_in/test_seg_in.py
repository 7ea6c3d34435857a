"""DICOM SEG in: each segment at its place in mm, whatever was left out, turned or overlapping."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from scipy.spatial.transform import Rotation

from psdt_planner.dicom.flags import Flags, ImageIndex
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.dicom.seg_in import read_segmentation
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side
from tests.dicom_in.objects import (
    MR_FRAME,
    ct_images,
    dwi_images,
    headers,
    mr_images,
    seg_object,
    segment,
    uid,
    write,
)

SHAPE = (5, 9, 7)


def blob(*places: tuple[int, int, int], shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    mask = np.zeros((*shape, 1), dtype=np.uint8)
    for place in places:
        mask[place] = 1
    return mask


def centres(images: list[Any], mask: NDArray[Any]) -> Points:
    """Oracle: the centre in mm of every marked voxel, straight from each image's header."""
    found = []
    for k, j, i in np.argwhere(mask):
        image = images[k]
        row, column = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
        dj, di = (float(mm) for mm in image.PixelSpacing)
        found.append(np.array(image.ImagePositionPatient, dtype=float) + i * di * row + j * dj * column)
    return np.array(found)


def flags_of(
    folder: Path, images: list[Any], seg: Any, *others: Any, at_edge: bool = False
) -> tuple[FlaggedLesion, ...]:
    """The flags, about which nothing else is said than that they reach the end of the MR, where they do."""
    intake = read_inputs([write(folder, images, seg, *others)])
    said = {one.code for one in intake.exam.findings if one.code.startswith(("flag", "seg"))}
    assert said == ({"flag-at-mr-edge"} if at_edge else set())
    return intake.exam.flags


def alone(folder: Path, seg: Any, images: ImageIndex | None = None, first: int = 1) -> Flags:
    (header,) = headers(write(folder, seg))
    return read_segmentation(header, images or ImageIndex(), first)


def code_and_level(findings: tuple[Finding, ...]) -> list[tuple[str, Level]]:
    return [(one.code, one.level) for one in findings if one.code != "lesion-site-unknown"]


def test_a_binary_segment_is_where_its_voxels_are(tmp_path: Path) -> None:
    images, mask = dwi_images(), blob((1, 3, 2), (1, 3, 3), (2, 3, 3), (2, 4, 3))
    (flag,) = flags_of(tmp_path, images, seg_object(images, mask))
    assert flag.grid.frame == MR_FRAME
    assert flag.mask_kind is MaskKind.BINARY
    assert flag.grid.shape == (4, 4, 4)
    assert flag.source == FlagSource("1.2.840.10008.5.1.4.1.1.66.4", uid("seg", 0), 1)
    where = flag.grid.mm_from_index(np.argwhere(flag.mask))
    expected = centres(images, mask[..., 0])
    assert np.allclose(sorted(map(tuple, where)), sorted(map(tuple, expected)), atol=1e-4)
    assert flag.volume_ml == pytest.approx(4 * 1.3 * 0.8 * 4.0 / 1000)


def test_the_border_is_empty_also_at_the_edge_of_the_image(tmp_path: Path) -> None:
    images, mask = dwi_images(), blob((0, 0, 0), (4, 8, 6))
    (flag,) = flags_of(tmp_path, images, seg_object(images, mask), at_edge=True)
    assert flag.grid.shape == (7, 11, 9)
    inner = flag.mask[1:-1, 1:-1, 1:-1]
    assert inner.sum() == flag.mask.sum() == 2
    assert (inner[0, 0, 0], inner[-1, -1, -1]) == (1, 1)


def test_border_slices_lie_on_the_slices_of_the_series_even_where_these_are_uneven(tmp_path: Path) -> None:
    images = dwi_images(offsets=[0, 4.0, 8.3, 12.1, 16.0])
    (flag,) = flags_of(tmp_path, images, seg_object(images, blob((1, 3, 3), (2, 3, 3))))
    assert flag.grid.slice_offsets_mm == pytest.approx([0, 4.0, 8.3, 12.1], abs=1e-4)


@pytest.mark.parametrize("rounded_mm", [0.04, -0.04])
def test_a_frame_that_rounding_moved_lies_on_the_slice_of_the_series(tmp_path: Path, rounded_mm: float) -> None:
    images = dwi_images()
    seg = seg_object(images, blob((1, 3, 3), (2, 3, 3), (3, 3, 3)))
    normal = np.cross(*np.array(images[0].ImageOrientationPatient, dtype=float).reshape(2, 3))
    position = seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    moved = np.array(position.ImagePositionPatient, dtype=float) + rounded_mm * normal
    position.ImagePositionPatient = [f"{mm:.5f}" for mm in moved]
    (flag,) = flags_of(tmp_path, images, seg)
    assert flag.grid.is_even
    assert flag.grid.slice_offsets_mm == pytest.approx(np.arange(5) * 4.0, abs=1e-3)
    origins = (flag.grid.slice_origins_mm - np.array(images[0].ImagePositionPatient, dtype=float)) @ normal
    assert origins == pytest.approx(np.arange(5) * 4.0, abs=1e-3)


def test_beyond_the_end_of_the_series_the_last_gap_goes_on(tmp_path: Path) -> None:
    images = dwi_images(offsets=[0, 4.0, 8.0, 12.0, 15.5])
    (flag,) = flags_of(tmp_path, images, seg_object(images, blob((4, 3, 3))), at_edge=True)
    assert flag.grid.slice_offsets_mm == pytest.approx([0, 3.5, 7.0], abs=1e-4)


def test_empty_frames_that_were_left_out_within_a_lesion_are_slices_of_it(tmp_path: Path) -> None:
    images, mask = dwi_images(), blob((0, 3, 3), (3, 3, 3))
    (flag,) = flags_of(tmp_path, images, seg_object(images, mask), at_edge=True)
    assert [bool(slice_.any()) for slice_ in flag.mask] == [False, True, False, False, True, False]
    assert flag.grid.slice_offsets_mm == pytest.approx([0, 4, 8, 12, 16, 20], abs=1e-4)


@pytest.mark.parametrize("gap", [4.0, 6.5])
def test_without_the_series_the_seg_goes_on_at_its_own_distance(tmp_path: Path, gap: float) -> None:
    images, mask = dwi_images(gap=gap), blob((1, 3, 3), (3, 3, 3))
    (flag,) = alone(tmp_path, seg_object(images, mask)).lesions
    assert flag.grid.slice_offsets_mm == pytest.approx(np.arange(5) * gap, abs=1e-4)
    where = flag.grid.mm_from_index(np.argwhere(flag.mask))
    assert np.allclose(sorted(map(tuple, where)), sorted(map(tuple, centres(images, mask[..., 0]))), atol=1e-4)


def test_overlapping_segments_are_lesions_of_their_own(tmp_path: Path) -> None:
    images = dwi_images()
    masks = np.concatenate([blob((1, 3, 3), (2, 3, 3)), blob((2, 3, 3), (3, 3, 4))], axis=3)
    first, second = flags_of(tmp_path, images, seg_object(images, masks))
    assert (first.id, second.id) == ("L1", "L2")
    for flag, n in ((first, 0), (second, 1)):
        where = flag.grid.mm_from_index(np.argwhere(flag.mask))
        expected = centres(images, masks[..., n])
        assert np.allclose(sorted(map(tuple, where)), sorted(map(tuple, expected)), atol=1e-4)


def test_a_fraction_is_the_part_of_the_voxel(tmp_path: Path) -> None:
    images, mask = dwi_images(), np.zeros((*SHAPE, 1))
    mask[2, 3, 3], mask[2, 4, 3] = 1.0, 51 / 255
    (flag,) = flags_of(tmp_path, images, seg_object(images, mask, kind="FRACTIONAL"))
    assert flag.mask_kind is MaskKind.OCCUPANCY
    assert sorted(flag.mask[flag.mask > 0]) == pytest.approx([0.2, 1.0])
    assert flag.volume_ml == pytest.approx(1.2 * 1.3 * 0.8 * 4 / 1000, rel=1e-6)


def test_a_label_map_is_read_segment_by_segment(tmp_path: Path) -> None:
    images = dwi_images()
    masks = np.concatenate([blob((1, 3, 3)), blob((3, 5, 2), (3, 5, 3))], axis=3)
    first, second = flags_of(tmp_path, images, seg_object(images, masks, kind="LABELMAP"))
    assert (first.mask.sum(), second.mask.sum()) == (1, 2)
    assert second.grid.mm_from_index(np.argwhere(second.mask)) == pytest.approx(
        centres(images, masks[..., 1]), abs=1e-4
    )


def test_probabilities_hold_until_a_person_sets_a_threshold(tmp_path: Path) -> None:
    images, mask = dwi_images(), np.full((*SHAPE, 1), 0.5)
    seg = seg_object(images, mask, kind="FRACTIONAL", fractional="PROBABILITY")
    found = alone(tmp_path, seg)
    assert code_and_level(found.findings) == [("seg-probability", Level.HOLD)]
    assert found.lesions == ()


def test_a_flag_on_a_series_that_is_absent_holds_and_names_it(tmp_path: Path) -> None:
    images = dwi_images("elsewhere")
    intake = read_inputs([write(tmp_path, mr_images(), seg_object(images, blob((1, 3, 3))))])
    (finding,) = [one for one in intake.exam.findings if one.code == "flag-source-absent"]
    assert finding.level is Level.HOLD
    assert uid("elsewhere") in finding.message
    assert [flag.id for flag in intake.exam.flags] == ["L1"]


def test_a_flag_in_another_frame_than_its_series_holds(tmp_path: Path) -> None:
    images = dwi_images()
    seg = seg_object(images, blob((1, 3, 3)))
    seg.FrameOfReferenceUID = "1.2.3.999"
    intake = read_inputs([write(tmp_path, images, seg)])
    assert [one.level for one in intake.exam.findings if one.code == "flag-frame-unknown"] == [Level.HOLD]


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "SegmentSequence", "PerFrameFunctionalGroupsSequence"])
def test_a_seg_that_lacks_what_it_must_have_is_refused_by_name(tmp_path: Path, keyword: str) -> None:
    images = dwi_images()
    seg = seg_object(images, blob((1, 3, 3)))
    delattr(seg, keyword)
    index = ImageIndex(kinds={uid("dwi"): Kind.DWI}, frames={uid("dwi"): frozenset({MR_FRAME})})
    found = alone(tmp_path, seg, index)
    assert code_and_level(found.findings) == [("seg-unreadable", Level.HOLD)]
    assert f"{keyword} is missing" in found.findings[0].message
    assert uid("seg", 0) in found.findings[0].message


def test_an_empty_segment_holds_under_the_id_that_it_would_have_had(tmp_path: Path) -> None:
    images = dwi_images()
    masks = np.concatenate([blob(), blob((1, 3, 3))], axis=3)
    intake = read_inputs([write(tmp_path, images, seg_object(images, masks))])
    (finding,) = [one for one in intake.exam.findings if one.code == "flag-empty"]
    assert (finding.level, finding.lesion) == (Level.HOLD, "L1")
    assert [flag.id for flag in intake.exam.flags] == ["L2"]
    assert "flags-absent" not in {one.code for one in intake.exam.findings}


def with_frames_changed(change: Any) -> Any:
    images = dwi_images()
    seg = seg_object(images, blob((1, 3, 3), (2, 3, 3), (3, 3, 3)))
    change(seg.PerFrameFunctionalGroupsSequence)
    return seg


def twice(frames: Any) -> None:
    frames[1].PlanePositionSequence = frames[0].PlanePositionSequence


def aside(frames: Any) -> None:
    position = frames[1].PlanePositionSequence[0]
    x, y, z = position.ImagePositionPatient
    position.ImagePositionPatient = [float(x) + 1, y, z]


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_a_frame_that_names_no_segment_is_unreadable(tmp_path: Path, kind: str) -> None:
    seg = seg_object(dwi_images(), blob((1, 3, 3), (2, 3, 3)), kind=kind)
    for group in (*seg.SharedFunctionalGroupsSequence, *seg.PerFrameFunctionalGroupsSequence[1:]):
        if "SegmentIdentificationSequence" in group:
            del group.SegmentIdentificationSequence
    found = alone(tmp_path, seg)
    assert code_and_level(found.findings) == [("seg-unreadable", Level.HOLD)]
    assert "SegmentIdentificationSequence is missing" in found.findings[0].message


@pytest.mark.parametrize(("change", "words"), [(twice, "the same place"), (aside, "sideways")])
def test_frames_that_make_no_stack_hold(tmp_path: Path, change: Any, words: str) -> None:
    found = alone(tmp_path, with_frames_changed(change))
    geometry = [one for one in found.findings if one.code == "flag-geometry"]
    assert [(one.level, one.lesion) for one in geometry] == [(Level.HOLD, "L1")]
    assert words in geometry[0].message


def test_one_frame_without_a_slice_distance_holds(tmp_path: Path) -> None:
    seg = seg_object(dwi_images(), blob((1, 3, 3)))
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        if keyword in measures:
            delattr(measures, keyword)
    found = alone(tmp_path, seg)
    assert ("flag-geometry", Level.HOLD) in code_and_level(found.findings)


def test_tracking_label_site_and_side_are_the_reader_s(tmp_path: Path) -> None:
    images = dwi_images()
    left = codes.SCT.Ilium
    described = segment(1, "my words", left)
    described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_code("7771000")]
    (flag,) = flags_of(tmp_path, images, seg_object(images, blob((1, 3, 3)), [described]))
    assert (flag.label, flag.tracking_uid) == ("my words", uid("tracking", 1))
    assert (flag.site, flag.site_source, flag.side) == ("bone", "code", Side.LEFT)


def _code(value: str) -> Any:
    from highdicom.sr.coding import CodedConcept

    return CodedConcept(value, "SCT", "a code")


def test_a_lesion_whose_place_nobody_told_warns(tmp_path: Path) -> None:
    images = dwi_images()
    intake = read_inputs([write(tmp_path, images, seg_object(images, blob((1, 3, 3))))])
    (finding,) = [one for one in intake.exam.findings if one.code == "lesion-site-unknown"]
    assert (finding.level, finding.lesion) == (Level.WARN, "L1")
    assert (intake.exam.flags[0].site, intake.exam.flags[0].site_source) == ("unknown", "")


def test_a_label_that_contradicts_the_code_warns(tmp_path: Path) -> None:
    images, described = dwi_images(), segment(1, "liver metastasis", codes.SCT.Ilium)
    intake = read_inputs([write(tmp_path, images, seg_object(images, blob((1, 3, 3)), [described]))])
    (finding,) = [one for one in intake.exam.findings if one.code == "lesion-site-contradictory"]
    assert (finding.level, finding.lesion) == (Level.WARN, "L1")
    assert intake.exam.flags[0].site == "bone"


ORGAN_CODES = [codes.SCT.AnatomicalStructure, codes.SCT.BodyStructure, codes.SCT.Organ]


@pytest.mark.parametrize("category", ORGAN_CODES)
def test_a_segment_coded_as_a_part_of_the_body_is_no_flag(tmp_path: Path, category: Any) -> None:
    images, described = dwi_images(), segment(1, "liver")
    described.SegmentedPropertyCategoryCodeSequence[0].CodeValue = category.value
    described.SegmentedPropertyTypeCodeSequence[0].CodeValue = codes.SCT.Liver.value
    seg = seg_object(images, blob((1, 3, 3)), [described])
    intake = read_inputs([write(tmp_path, images, seg)])
    (finding,) = [one for one in intake.exam.findings if one.code == "seg-not-a-flag"]
    assert (finding.level, finding.lesion, intake.exam.flags) == (Level.HOLD, "L1", ())
    assert "'liver'" in finding.message


@pytest.mark.parametrize(
    ("category", "kind", "taken"),
    [
        (codes.SCT.Lesion, codes.SCT.Neoplasm, True),
        (codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Liver, True),
        (codes.SCT.AnatomicalStructure, codes.SCT.Lesion, True),
        (codes.SCT.Tissue, codes.SCT.Tissue, False),
        (codes.SCT.AnatomicalStructure, codes.SCT.Liver, False),
    ],
)
def test_on_the_planning_ct_only_what_is_coded_as_a_lesion_is_a_flag(
    tmp_path: Path, category: Any, kind: Any, taken: bool
) -> None:
    images, described = ct_images(), segment(1, "rib")
    described.SegmentedPropertyCategoryCodeSequence[0].CodeValue = category.value
    described.SegmentedPropertyTypeCodeSequence[0].CodeValue = kind.value
    intake = read_inputs([write(tmp_path, images, seg_object(images, blob((1, 3, 3)), [described]))])
    assert len(intake.exam.flags) == taken
    assert ("seg-not-a-flag" in {one.code for one in intake.exam.findings}) is not taken


def test_a_flag_on_pet_holds(tmp_path: Path) -> None:
    images = dwi_images()
    index = ImageIndex(kinds={uid("dwi"): Kind.PET}, frames={uid("dwi"): frozenset({MR_FRAME})})
    found = alone(tmp_path, seg_object(images, blob((1, 3, 3))), index)
    assert code_and_level(found.findings) == [("flag-on-pet", Level.HOLD)]
    assert (found.lesions, found.items) == ((), 1)


def adc_images(name: str = "adc", **attributes: Any) -> list[Any]:
    derived = ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]
    return mr_images(name, ImageType=derived, SeriesDescription="adc", **attributes)


def naming(seg: Any, *series: str) -> Any:
    """The SEG with the series that it names, in this order."""
    (first,) = seg.ReferencedSeriesSequence
    seg.ReferencedSeriesSequence = [deepcopy(first) for _ in series]
    for one, name in zip(seg.ReferencedSeriesSequence, series, strict=True):
        one.SeriesInstanceUID = uid(name)
    return seg


@pytest.mark.parametrize(
    ("name", "images", "kind"),
    [("dwi", dwi_images(), "dwi-trace"), ("t1", mr_images(), "t1"), ("adc", adc_images(), "adc")],
)
def test_a_flag_knows_what_kind_of_images_it_was_drawn_on(
    tmp_path: Path, name: str, images: list[Any], kind: str
) -> None:
    (flag,) = flags_of(tmp_path, images, seg_object(images, blob((1, 3, 3))))
    assert (flag.series_uid, flag.drawn_on_kind) == (uid(name), kind)


def test_the_kind_is_empty_where_the_series_is_absent(tmp_path: Path) -> None:
    (flag,) = alone(tmp_path, seg_object(dwi_images(), blob((1, 3, 3)))).lesions
    assert (flag.series_uid, flag.drawn_on_kind) == ("", "")


@pytest.mark.parametrize("order", [("t1", "dwi"), ("dwi", "t1")])
def test_of_several_series_in_its_frame_the_distorted_one_is_what_the_flag_was_drawn_on(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    images = mr_images()
    seg = naming(seg_object(images, blob((1, 3, 3))), *order)
    (flag,) = flags_of(tmp_path, images, seg, dwi_images())
    assert (flag.series_uid, flag.drawn_on_kind) == (uid("dwi"), "dwi-trace")


def test_a_series_in_another_frame_is_not_what_the_flag_was_drawn_on(tmp_path: Path) -> None:
    images = mr_images()
    seg = naming(seg_object(images, blob((1, 3, 3))), "dwi", "t1")
    (flag,) = flags_of(tmp_path, images, seg, dwi_images(FrameOfReferenceUID="1.2.3.777"))
    assert (flag.series_uid, flag.drawn_on_kind) == (uid("t1"), "t1")


@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    voxels=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(0, 6)), min_size=1, max_size=12),
    order=st.permutations(range(5)),
)
def test_any_mask_on_any_stack_comes_back_at_its_place(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    voxels: set[tuple[int, int, int]],
    order: list[int],
) -> None:
    cosines = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[:2]
    images, mask = dwi_images(cosines=cosines), blob(*voxels)
    seg = seg_object([images[k] for k in order], mask[order])
    intake = read_inputs([write(tmp_path_factory.mktemp("seg"), images, seg)])
    (flag,) = intake.exam.flags
    where = flag.grid.mm_from_index(np.argwhere(flag.mask))
    distance = np.linalg.norm(where[:, None] - centres(images, mask[..., 0])[None], axis=2)
    assert len(where) == len(voxels)
    assert distance.min(axis=0).max() < 1e-3
    assert distance.min(axis=1).max() < 1e-3
    border = flag.mask.copy()
    border[1:-1, 1:-1, 1:-1] = 0
    assert not border.any()


@pytest.mark.parametrize(("algorithm", "told"), [("MANUAL", False), ("SEMIAUTOMATIC", False), ("AUTOMATIC", True)])
def test_what_another_program_drew_by_itself_is_said(tmp_path: Path, algorithm: str, told: bool) -> None:
    images = dwi_images()
    mask: NDArray[np.uint8] = np.zeros((*SHAPE, 1), dtype=np.uint8)
    mask[1:3, 3:5, 2:4] = 1
    seg = seg_object(images, mask)
    seg.SegmentSequence[0].SegmentAlgorithmType = algorithm
    exam = read_inputs([write(tmp_path, images, seg)]).exam
    assert len(exam.flags) == 1
    found = [(one.level, one.lesion) for one in exam.findings if one.code == "lesion-automatic"]
    assert found == [(Level.WARN, "L1")] * told
