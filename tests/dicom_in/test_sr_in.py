"""Structured reports in: what each group marks, and the reason where it marks nothing that can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedSRStorage

from psdt_planner.dicom.files import quiet
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.sr_tree import read_groups
from psdt_planner.findings import Finding, Level
from psdt_planner.lesions import FlagSource, Side
from tests.dicom_in.objects import (
    MR_FRAME,
    blank,
    ct_images,
    dwi_images,
    item,
    mr_images,
    seg_object,
    segment,
    uid,
    write,
)
from tests.dicom_in.packs import pack
from tests.dicom_in.reports import group, referenced, region, region_3d, report, surface

SQUARE = [[2, 3], [5, 3], [5, 6], [2, 6], [2, 3]]


def read(folder: Path, *objects: Any) -> Intake:
    return read_inputs([write(folder, *objects)])


def about(intake: Intake) -> list[Finding]:
    return [one for one in intake.exam.findings if one.code.startswith(("flag", "sr-", "tracking"))]


def refused(intake: Intake) -> str:
    """The code of the one finding about the flags, which holds."""
    (finding,) = about(intake)
    assert finding.level is Level.HOLD
    assert intake.exam.flags == ()
    return finding.code


def square(images: list[Any], **how: Any) -> Any:
    return group("planar", referenced_region=region(images[2], "POLYLINE", SQUARE), **how)


def test_a_group_keeps_its_words_its_tracking_uid_and_its_number(tmp_path: Path) -> None:
    images = dwi_images()
    flags = read(tmp_path, images, report([square(images, name="a"), square(images, name="b")], images)).exam.flags
    assert [(flag.id, flag.label, flag.tracking_uid) for flag in flags] == [
        ("L1", "a", uid("a", "tracking")),
        ("L2", "b", uid("b", "tracking")),
    ]
    assert [flag.source for flag in flags] == [
        FlagSource("1.2.840.10008.5.1.4.1.1.88.34", uid("sr", 0), number) for number in (1, 2)
    ]


@pytest.mark.parametrize(
    ("laterality", "side", "source"),
    [(codes.SCT.Left, Side.LEFT, "code"), (codes.SCT.Right, Side.RIGHT, "code"), (None, Side.UNKNOWN, "")],
)
def test_site_and_side_are_those_of_the_finding_site(tmp_path: Path, laterality: Any, side: Side, source: str) -> None:
    images = dwi_images()
    sites = [hd.sr.FindingSite(codes.SCT.Ilium, laterality=laterality)]
    (flag,) = read(tmp_path, images, report([square(images, sites=sites)], images)).exam.flags
    assert (flag.site, flag.site_source, flag.side, flag.side_source) == ("bone", "code", side, source)


def test_the_older_codes_of_snomed_are_the_same_places(tmp_path: Path) -> None:
    images = dwi_images()
    sites = [hd.sr.FindingSite(hd.sr.CodedConcept("T-12340", "SRT", "Ilium"))]
    (flag,) = read(tmp_path, images, report([square(images, sites=sites)], images)).exam.flags
    assert (flag.site, flag.site_source) == ("bone", "code")


def test_a_report_says_more_of_a_segment_and_flags_it_only_once(tmp_path: Path) -> None:
    images, mask = dwi_images(), np.zeros((5, 9, 7, 1), dtype=np.uint8)
    mask[1:3, 3:5, 2:4] = 1
    seg = seg_object(images, mask, [segment(1, "x")])
    seg.SegmentSequence[0].TrackingUID = ""
    seg.SegmentSequence[0].SegmentLabel = ""
    sites = [hd.sr.FindingSite(codes.SCT.Rib, laterality=codes.SCT.Left)]
    segment_1 = referenced(seg, 1, uid("dwi"))
    told = report([group("volumetric", name="left rib", referenced_segment=segment_1, sites=sites)], [*images, seg])
    intake = read(tmp_path, images, seg, told)
    (flag,) = intake.exam.flags
    assert about(intake) == []
    assert (flag.id, flag.label, flag.site, flag.side) == ("L1", "left rib", "rib", Side.LEFT)
    assert (flag.tracking_uid, flag.source.sop_instance_uid) == (uid("left rib", "tracking"), uid("seg", 0))


def test_another_tracking_uid_in_the_report_is_said_and_the_segment_keeps_its_own(tmp_path: Path) -> None:
    images, mask = dwi_images(), np.zeros((5, 9, 7, 1), dtype=np.uint8)
    mask[1:3, 3:5, 2:4] = 1
    seg = seg_object(images, mask, [segment(1, "rib")])
    segment_1 = referenced(seg, 1, uid("dwi"))
    told = report([group("volumetric", name="other", referenced_segment=segment_1)], [*images, seg])
    intake = read(tmp_path, images, seg, told)
    assert [(one.code, one.level, one.lesion) for one in about(intake)] == [("tracking-uid-differs", Level.WARN, "L1")]
    assert intake.exam.flags[0].tracking_uid == uid("tracking", 1)


def test_a_segment_that_is_not_there_holds(tmp_path: Path) -> None:
    images, mask = dwi_images(), np.zeros((5, 9, 7, 1), dtype=np.uint8)
    mask[1:3, 3:5, 2:4] = 1
    seg = seg_object(images, mask)
    segment_1 = referenced(seg, 1, uid("dwi"))
    told = report([group("volumetric", referenced_segment=segment_1)], [*images, seg])
    assert refused(read(tmp_path, images, told)) == "flag-segment-absent"


def planar(graphic: Any) -> Any:
    return group("planar", referenced_region=graphic)


def test_what_marks_no_usable_place_holds_with_its_reason(tmp_path: Path) -> None:
    images = dwi_images()
    off = np.array([[0, 0, 1.0], [9, 0, 1], [9, 9, 1], [0, 0, 1]]) + np.array([11, -42, 300])
    many = region(images[2], "POLYLINE", SQUARE)
    many.GraphicType = "MULTIPOINT"
    cases = {
        "flag-not-closed": planar(region(images[2], "POLYLINE", SQUARE[:-1])),
        "sr-graphic-unread": planar(many),
        "flag-plane-unmatched": planar(region_3d(MR_FRAME, "POLYGON", off)),
        "flag-frame-unknown": planar(region_3d("1.2.3.999", "POINT", [[1.0, 2.0, 3.0]])),
        "flag-source-absent": planar(region(dwi_images("gone")[2], "POLYLINE", SQUARE)),
        "sr-not-a-flag": square(images, category=codes.SCT.AnatomicalStructure, finding=codes.SCT.Aorta),
        "sr-no-region": planar(region(images[2], "POLYLINE", SQUARE[:2])),
    }
    for code, one in cases.items():
        evidence = [*images, *dwi_images("gone")]
        assert refused(read(tmp_path / code, images, report([one], evidence))) == code


def test_rings_that_cross_and_regions_of_no_size_hold(tmp_path: Path) -> None:
    images = dwi_images()
    other = [[column + 1.5, row + 1.5] for column, row in SQUARE]
    rings = [region(images[2], "POLYLINE", ring) for ring in (SQUARE, other)]
    crossing = group("volumetric", referenced_regions=rings)
    assert refused(read(tmp_path / "cross", images, report([crossing], images))) == "flag-rings-cross"
    flat = planar(region(images[2], "POLYLINE", [[2, 3], [5, 3], [3, 3], [2, 3]]))
    assert refused(read(tmp_path / "flat", images, report([flat], images))) == "flag-empty"


def test_an_ellipsoid_whose_axes_do_not_cross_holds(tmp_path: Path) -> None:
    images = dwi_images()
    ends = np.array([[-3, 0, 0], [3, 0, 0], [0, -3, 0], [0, 3, 0], [0, 2, -3], [0, 9, 3.0]])
    ends += np.array([13.0, -38.0, 308.0])
    solid = group("volumetric", referenced_volume_surface=surface(MR_FRAME, "ELLIPSOID", ends, uid("dwi")))
    assert refused(read(tmp_path, images, report([solid], images))) == "flag-geometry"


def test_a_region_on_the_ct_is_a_flag_only_where_it_is_coded_as_a_lesion(tmp_path: Path) -> None:
    images = ct_images()
    plain = square(images, category=None, finding=codes.SCT.Edema)
    assert refused(read(tmp_path / "plain", images, report([plain], images))) == "sr-not-a-flag"
    (flag,) = read(tmp_path / "coded", images, report([square(images)], images)).exam.flags
    assert flag.drawn_on_kind == "planning-ct"


def test_in_a_frame_of_several_series_the_named_one_goes_first_and_else_that_of_epi(tmp_path: Path) -> None:
    t1, dwi = mr_images(), dwi_images()
    at = [[13.0, -38.0, 305.0]]
    alone = planar(region_3d(MR_FRAME, "POINT", at))
    (point,) = read(tmp_path / "alone", t1, dwi, report([alone], dwi)).exam.points
    assert (point.series_uid, point.drawn_on_kind) == (uid("dwi"), "dwi-trace")
    ends = np.array([[-2, 0, 0], [2, 0, 0], [0, -2, 0], [0, 2, 0], [0, 0, -4], [0, 0, 4.0]]) + at
    solid = group("volumetric", referenced_volume_surface=surface(MR_FRAME, "ELLIPSOID", ends, uid("t1")))
    (flag,) = read(tmp_path / "named", t1, dwi, report([solid], t1)).exam.flags
    assert (flag.series_uid, flag.drawn_on_kind) == (uid("t1"), "t1")


def test_a_point_in_a_flag_is_covered_by_it(tmp_path: Path) -> None:
    images = dwi_images()
    inside = group("planar", name="mark", referenced_region=region(images[2], "POINT", [[3.5, 4.5]]))
    outside = group("planar", name="away", referenced_region=region(images[2], "POINT", [[6.5, 8.5]]))
    intake = read(tmp_path, images, report([square(images, name="drawn"), inside, outside], images))
    assert [(one.code, one.level, one.lesion) for one in about(intake)] == [
        ("flag-point-covered", Level.INFO, "L1"),
        ("flag-point", Level.HOLD, "L3"),
    ]


def test_a_report_without_a_mark_is_named(tmp_path: Path) -> None:
    intake = read(tmp_path, blank(EnhancedSRStorage, "sr", Modality="SR"))
    assert [(one.code, one.level) for one in about(intake) if one.code != "flags-absent"] == [
        ("sr-without-groups", Level.WARN)
    ]


@pytest.mark.parametrize("spoil", ["odd", "none", "not a number"])
def test_coordinates_that_are_none_refuse_the_whole_report(tmp_path: Path, spoil: str) -> None:
    images = dwi_images()
    ds = report([square(images)], images)
    scoord = next(one for one in walk(ds) if one.get("ValueType") == "SCOORD")
    scoord.GraphicData = {"odd": [1.0, 2.0, 3.0], "none": [], "not a number": [1.0, float("nan")]}[spoil]
    intake = read(tmp_path, images, ds)
    assert {one.code for one in about(intake)} >= {"sr-unreadable"}
    assert intake.exam.flags == ()


def walk(ds: Dataset) -> list[Dataset]:
    return [one for child in ds.get("ContentSequence", ()) for one in (child, *walk(child))]


def content(kind: str, concept: str = "", *children: Dataset, **values: Any) -> Dataset:
    """A content item made by hand, as writers that do not follow a template make them."""
    made = item(ValueType=kind, RelationshipType="CONTAINS", **values)
    if concept:
        made.ConceptNameCodeSequence = [item(CodeValue=concept, CodingSchemeDesignator="DCM", CodeMeaning="x")]
    if children:
        made.ContentSequence = list(children)
    return made


def scoord(image: Dataset, kind: str, data: list[float]) -> Dataset:
    named = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    return content("SCOORD", "", content("IMAGE", ReferencedSOPSequence=[named]), GraphicType=kind, GraphicData=data)


def test_coordinates_below_a_measurement_without_a_value_are_read_once(tmp_path: Path) -> None:
    """Web viewers write a region under each number that it gave, and a number without its value."""
    images = dwi_images()
    ends = [1.5, 4.5, 5.5, 4.5, 3.5, 2.5, 3.5, 6.5]
    measured = [content("NUM", "1", scoord(images[2], "ELLIPSE", ends)) for _ in range(2)]
    typed = content("CODE", "121071")
    with quiet():  # longer than a code value may be, as these viewers write it
        typed.ConceptCodeSequence = [item(CodeValue="CORNERSTONEFREETEXT", CodeMeaning="left rib")]
    ds = blank(EnhancedSRStorage, "sr", Modality="SR", ValueType="CONTAINER")
    ds.ContentSequence = [content("CONTAINER", "125007", typed, *measured)]
    (flag,) = read(tmp_path, images, ds).exam.flags
    assert (flag.label, flag.site, flag.side, flag.site_source) == ("left rib", "rib", Side.LEFT, "label")
    assert flag.volume_ml == pytest.approx(np.pi * 2 * 2 * 1.3 * 0.8 * 4 / 1000, rel=0.01)


def test_coordinates_outside_any_measurement_group_are_not_dropped(tmp_path: Path) -> None:
    images = dwi_images()
    ds = blank(EnhancedSRStorage, "sr", Modality="SR", ValueType="CONTAINER")
    mark = scoord(images[1], "POINT", [3.0, 4.0])
    ds.ContentSequence = [content("CONTAINER", "9", content("CONTAINER", "8", content("TEXT", "7", mark)))]
    assert len(read(tmp_path, images, ds).exam.points) == 1


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("segsr_dcmqi", "sr.dcm", ["segment"]),
        ("segsr_highdicom", "sr_document.dcm", ["sr-not-a-flag"]),
        (
            "segsr_highdicom",
            "sr_document_with_multiple_groups.dcm",
            ["sr-no-region", "flag-plane-unmatched", "sr-not-a-flag", "sr-not-a-flag"],
        ),
        ("sr_odd_dcmjs", "sample-sr.dcm", ["sr-no-region"]),
        (
            "sr_odd_dcmjs",
            "structured_report.dcm",
            [*["flag-source-absent"] * 2, *["sr-no-region"] * 3, "flag-source-absent"],
        ),
    ],
)
def test_every_group_of_every_real_report_is_read_or_refused_with_its_reason(
    name: str, file: str, expected: list[str]
) -> None:
    """One of them has a number without a value, at which highdicom gives up."""
    from pydicom import dcmread

    (path,) = pack(name).rglob(file)
    instance = dcmread(path, stop_before_pixels=True).SOPInstanceUID
    intake = read_inputs([pack(name)])
    told = [one for one in intake.exam.findings if f"{instance} item" in one.message]
    with quiet():
        groups = read_groups(dcmread(path))
    assert len(groups) == len(expected)
    if expected == ["segment"]:
        assert told == []
        (reference,) = groups[0].segments
        assert {(reference.sop_instance_uid, n) for n in reference.numbers} <= {
            (flag.source.sop_instance_uid, flag.source.item) for flag in intake.exam.flags
        }
    else:
        assert [one.code for one in told] == expected
        assert all(one.level is Level.HOLD for one in told)


@pytest.mark.realdata
def test_real_groups_are_those_that_highdicom_finds() -> None:
    """Another reader's word for what the groups mark, of the reports that it can read."""
    for name, file in (("segsr_dcmqi", "sr.dcm"), ("segsr_highdicom", "sr_document_with_multiple_groups.dcm")):
        (path,) = pack(name).rglob(file)
        theirs = hd.sr.srread(path).content
        tracked = {
            str(one.tracking_uid)
            for kind in ("volumetric_roi", "planar_roi", "image")
            for one in getattr(theirs, f"get_{kind}_measurement_groups")()
        }
        from pydicom import dcmread

        assert {one.tracking_uid for one in read_groups(dcmread(path))} == tracked
