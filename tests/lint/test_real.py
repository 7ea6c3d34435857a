"""Real structure sets of five programs: each verdict was looked up by hand in the file, and is exact."""

from __future__ import annotations

from functools import cache

import pytest

from psdt_planner.dicom.image_planes import find
from psdt_planner.dicom.rtstruct_file import read_structure_set_file
from psdt_planner.lint import Complaint, Level, Verdict, lint
from tests.dicom_in.packs import pack

pytestmark = pytest.mark.realdata

Said = set[tuple[str, str, str, int]]


@cache
def verdicts(name: str) -> dict[str, Verdict]:
    """By the path of the file within its pack."""
    folder = pack(name)
    found = find([folder])
    files = [read_structure_set_file(path) for path in found.structure_sets]
    names = [str(path.relative_to(folder)) for path in found.structure_sets]
    return dict(zip(names, lint(files, found.series), strict=True))


def one(name: str, end: str) -> Verdict:
    (found,) = [verdict for path, verdict in verdicts(name).items() if path.endswith(end)]
    return found


def said(verdict: Verdict) -> Said:
    return {(each.level.value, each.code, each.roi, each.count) for each in verdict.complaints}


def of(verdict: Verdict, code: str) -> Complaint:
    (found,) = [each for each in verdict.complaints if each.code == code]
    return found


MIM = {("warning", "type-2-missing", "", 1), ("warning", "text-too-long", "", 1)}
"""No OperatorsName; a StudyID that the archive's anonymiser made longer than 16 characters."""


@pytest.mark.parametrize(
    ("name", "kind", "images", "more"),
    [
        ("mrct_sts_002", "CT", 267, set()),
        ("mrct_sts_002", "MR_T1", 35, set()),
        # Slices at -527.65 and so on, 3.27 mm apart, where the rings have -527.61.
        ("mrct_sts_002", "PET", 267, {("warning", "ring-beside-slice", "1 GTV_Mass_PET", 16)}),
        ("mrct_sts_003", "CT", 267, set()),
        ("mrct_sts_003", "MR_T1", 47, set()),
        ("mrct_sts_003", "PET", 267, set()),
    ],
)
def test_mim_sets_lie_on_their_slices_and_name_images_that_are_not_there(
    name: str, kind: str, images: int, more: Said
) -> None:
    """The archive's images were cut to the tumour and got UIDs of their own; frame and slices agree.

    TG-263 knows no structure called Mass.
    """
    verdict = one(f"{name}_ct_mr_pet_rtss", f"{kind}/dicom/mask/RS.dcm")
    of_name = ("note", "target-name-other", f"1 GTV_Mass_{kind}", 1)
    assert said(verdict) == {("error", "image-not-in-ct", "", images), of_name, *MIM, *more}
    assert verdict.series_uid


def test_a_set_of_opentps_is_wrong_in_all_that_is_wrong_with_it() -> None:
    """Modality RTDOSE, no label, no frame, no references, another patient and study than the CT beside it; the caps of
    its sphere are five times one point."""
    roi = "1 TargetVolume"
    assert said(one("rtss_odd_opentps_phantom", ".dcm")) == {
        ("error", "modality-wrong", "", 1),
        ("error", "type-1-missing", "", 3),
        ("error", "references-missing", "", 1),
        ("error", "ring-image-missing", roi, 41),
        ("error", "ring-no-area", roi, 2),
        ("error", "patient-differs", "", 1),
        ("error", "ct-frame-missing", "", 1),
        ("warning", "study-differs", "", 1),
        ("note", "ring-closed-twice", roi, 41),
        ("note", "points-repeated", roi, 41),
    }


def test_an_approved_set_of_eclipse_beside_one_slice_of_its_ct() -> None:
    """97 of 98 images are not in the pack, so no ring is said to be off; the numbers have exponents now and then."""
    verdict = one("rtss_rtplan_dicompylercore", "rtss.dcm")
    assert said(verdict) == {
        ("error", "ct-incomplete", "", 97),
        ("error", "ct-single-slice", "", 1),
        ("warning", "approved", "", 1),
        ("warning", "type-2-missing", "", 1),
        ("warning", "roi-empty", "2 Areola", 1),
        ("warning", "ring-speck", "1 BODY", 14),
        ("warning", "ring-speck", "4 Breast", 1),
        ("warning", "ring-speck", "6 Lt Lung", 19),
        ("warning", "ring-nested", "1 BODY", 2),
        ("warning", "ring-nested", "6 Lt Lung", 77),
        ("note", "coordinate-exponent", "1 BODY", 704),
        ("note", "coordinate-exponent", "4 Breast", 211),
        ("note", "coordinate-exponent", "5 Heart", 81),
        ("note", "coordinate-exponent", "6 Lt Lung", 826),
        ("note", "coordinate-exponent", "9 Tumor Bed", 36),
        ("note", "coordinate-exponent", "10 Tumor Bed Block", 76),
    }


ROIS = tuple(f"{n} ROI-{n}" for n in (1, 2, 3, 4))
MOCK = {
    ("error", "uid-reused", "", 2),
    ("note", "private-attributes", "", 2),
    ("note", "roi-type-missing", "", 4),
    ("note", "ring-touches-itself", "2 ROI-2", 1),
    ("note", "ring-touches-itself", "4 ROI-4", 3),
    ("note", "points-repeated", "4 ROI-4", 1),
}
"""Of a MIM set whose copies have other content under its UID."""


@pytest.mark.parametrize("end", ["empty/dummy_rt.dcm", "mock_data/invalid_reference_rt.dcm"])
def test_a_set_whose_ct_is_there_in_part(end: str) -> None:
    """Two of the five slices that it lists."""
    assert said(one("rtss_rtutils_mock", end)) == {*MOCK, ("error", "ct-incomplete", "", 3)}


def test_a_set_that_lists_nothing_names_images_that_nobody_knows_and_lies_beyond_the_slices() -> None:
    """Slices at 60 and 65 mm; each ROI has rings at 60, 65 and 70."""
    unknown = {("error", code, roi, 1) for roi in ROIS for code in ("ring-image-unknown", "ring-off-ct")}
    expected = {*MOCK, ("error", "references-missing", "", 1), *unknown}
    assert said(one("rtss_rtutils_mock", "non_existent_reference_rt.dcm")) == expected


def test_a_set_of_rt_utils_has_a_frame_that_was_made_up() -> None:
    verdict = one("rtss_rtutils_mock", "mock_data/rt.dcm")
    assert said(verdict) == {
        ("error", "frame-differs", "", 1),
        ("warning", "type-2-missing", "", 3),
        ("warning", "ring-nested", "1 ROI-1", 1),
        ("note", "roi-type-missing", "", 1),
        ("note", "points-repeated", "1 ROI-1", 1),
        ("note", "institution-differs", "", 1),
        ("note", "roi-one-slice", "1 ROI-1", 2),
    }
    assert of(verdict, "type-2-missing").message == "missing: AccessionNumber, OperatorsName, ReferringPhysicianName"


def test_without_its_images_a_set_is_still_looked_at() -> None:
    folder = pack("rtss_rtplan_dicompylercore")
    (path,) = folder.rglob("rtss.dcm")
    (verdict,) = lint([read_structure_set_file(path)], ())
    assert {each.code for each in verdict.complaints if each.level is Level.ERROR} == set()
    assert ("note", "ct-absent", "", 1) in said(verdict)
