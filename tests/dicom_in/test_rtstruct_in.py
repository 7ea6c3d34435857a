"""RTSTRUCT in: contours on the MR are flags, contours on the planning CT are organs, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Ring

from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points
from psdt_planner.lesions import MaskKind
from tests.dicom_in.objects import (
    CT_FRAME,
    MR_FRAME,
    OBLIQUE,
    ct_images,
    dwi_images,
    item,
    mr_images,
    roi,
    square,
    structure_set,
    uid,
    write,
)


def read(folder: Path, *objects: Any) -> Intake:
    return read_inputs([write(folder, *objects)])


def found(intake: Intake, *prefixes: str) -> list[Finding]:
    return [
        one for one in intake.exam.findings if one.code.startswith(prefixes or ("flag", "rtstruct", "organ", "roi"))
    ]


def on_mr(k: int, ji: Any, *, origin: Any = (11.0, -42.0, 300.0)) -> Points:
    """Points of fractional (row, column) on slice k of the oblique MR."""
    ji = np.asarray(ji, dtype=np.float64)
    row, column, normal = OBLIQUE
    return np.asarray(origin + 4.0 * k * normal + ji[:, :1] * 1.3 * column + ji[:, 1:] * 0.8 * row)


BOX = [(2, 1), (2, 4), (5, 4), (5, 1)]
"""A ring through voxel centres: rows 2 to 5, columns 1 to 4, half of its edge voxels and a quarter of its corners."""


def flag_set(*rings: Points, **attributes: Any) -> Any:
    return structure_set([roi(7, "left ilium", rings, type="GTV")], frame=MR_FRAME, **attributes)


def test_a_ring_on_the_mr_is_a_flag_with_exact_occupancy(tmp_path: Path) -> None:
    intake = read(tmp_path, ct_images(), mr_images(), flag_set(on_mr(2, BOX)))
    (flag,) = intake.exam.flags
    assert found(intake) == []
    assert (flag.id, flag.label, flag.site, flag.site_source, flag.side) == (
        "L1",
        "left ilium",
        "bone",
        "label",
        "left",
    )
    assert (flag.mask_kind, flag.grid.frame, flag.source.item) == (MaskKind.OCCUPANCY, MR_FRAME, 7)
    expected = np.array([[0.25, 0.5, 0.5, 0.25], [0.5, 1, 1, 0.5], [0.5, 1, 1, 0.5], [0.25, 0.5, 0.5, 0.25]])
    assert flag.mask.shape == (3, 6, 6)
    assert np.allclose(flag.mask[1, 1:-1, 1:-1], expected, atol=1e-4)
    assert not flag.mask[[0, 2]].any()
    assert flag.volume_ml == pytest.approx(3 * 1.3 * 3 * 0.8 * 4 / 1000, rel=1e-4)
    assert flag.centroid_mm == pytest.approx(on_mr(2, [(3.5, 2.5)])[0], abs=1e-3)


def test_the_tracking_uid_and_the_codes_of_an_roi_are_the_lesion_s(tmp_path: Path) -> None:
    drawn = structure_set([roi(7, "somewhere", [on_mr(2, BOX)], type="GTV")], frame=MR_FRAME)
    drawn.StructureSetROISequence[0].TrackingUID = "1.2.3.4"
    left = item(CodeValue="7771000", CodingSchemeDesignator="SCT", CodeMeaning="Left")
    rib = item(CodeValue="113197003", CodingSchemeDesignator="SCT", CodeMeaning="Rib")
    rib.AnatomicRegionModifierSequence = [left]
    drawn.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence = [rib]
    (flag,) = read(tmp_path, mr_images(), drawn).exam.flags
    assert (flag.tracking_uid, flag.site, flag.site_source) == ("1.2.3.4", "rib", "code")
    assert (flag.side, flag.side_source) == ("left", "code")


def test_a_flag_knows_what_kind_of_images_it_was_drawn_on(tmp_path: Path) -> None:
    both = [mr_images(), dwi_images()]
    (named,) = read(tmp_path / "named", both[0], both[1], flag_set(on_mr(2, BOX), series=uid("t1"))).exam.flags
    assert (named.series_uid, named.drawn_on_kind) == (uid("t1"), "t1")
    (either,) = read(tmp_path / "either", both[0], both[1], flag_set(on_mr(2, BOX))).exam.flags
    assert (either.series_uid, either.drawn_on_kind) == (uid("dwi"), "dwi-trace")


def oracle(ring: Points, grid: Grid, k: int) -> Any:
    """Occupancy of one slice by counting 40 x 40 points a voxel."""
    fine = (np.arange(40) + 0.5) / 40 - 0.5
    polygon = Ring(grid.index_from_mm(ring)[:, [2, 1]])
    part = np.zeros(grid.shape[1:])
    for j, i in np.ndindex(*part.shape):
        x, y = np.meshgrid(i + fine, j + fine)
        part[j, i] = polygon.contains_points(np.column_stack([x.ravel(), y.ravel()])).mean()
    return part


@given(
    radii=st.lists(st.floats(0.3, 2.6), min_size=3, max_size=9),
    centre=st.tuples(st.floats(3, 5), st.floats(2.5, 3.5)),
)
def test_occupancy_agrees_with_counting_points(
    tmp_path_factory: pytest.TempPathFactory, radii: list[float], centre: tuple[float, float]
) -> None:
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    star = np.asarray(centre) + np.asarray(radii)[:, None] * np.column_stack([np.sin(angles), np.cos(angles)])
    ring = on_mr(1, star)
    (flag,) = read(tmp_path_factory.mktemp("star"), mr_images(), flag_set(ring)).exam.flags
    assert np.allclose(flag.mask[1], oracle(ring, flag.grid, 1), atol=0.04)
    x, y = star.T
    area = 0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) * 1.3 * 0.8
    assert flag.mask.sum() * 1.3 * 0.8 == pytest.approx(area, rel=1e-3, abs=1e-3)


def test_a_ring_within_a_ring_is_a_hole_and_one_beside_it_is_more(tmp_path: Path) -> None:
    outer, inner = on_mr(2, [(1, 1), (1, 5), (7, 5), (7, 1)]), on_mr(2, [(3, 2), (3, 4), (5, 4), (5, 2)])
    (hole,) = read(tmp_path / "hole", mr_images(), flag_set(outer, inner)).exam.flags
    assert hole.mask.sum() == pytest.approx(6 * 4 - 2 * 2, abs=1e-2)
    one, two = on_mr(2, [(1, 1), (1, 2), (3, 2), (3, 1)]), on_mr(2, [(5, 3), (5, 5), (6, 5), (6, 3)])
    (both,) = read(tmp_path / "both", mr_images(), flag_set(one, two)).exam.flags
    assert both.mask.sum() == pytest.approx(2 + 2, abs=1e-2)


def test_a_keyhole_is_a_hole(tmp_path: Path) -> None:
    ring = [(1, 1), (1, 5), (7, 5), (7, 1), (4, 1), (4, 2), (5, 2), (5, 4), (3, 4), (3, 2), (4, 2), (4, 1)]
    (flag,) = read(tmp_path, mr_images(), flag_set(on_mr(2, ring))).exam.flags
    assert flag.mask.sum() == pytest.approx(6 * 4 - 2 * 2, abs=1e-2)


def test_rings_that_cross_hold(tmp_path: Path) -> None:
    crossing = on_mr(2, BOX), on_mr(2, [(3, 2), (3, 6), (7, 6), (7, 2)])
    intake = read(tmp_path, mr_images(), flag_set(*crossing))
    assert [(one.code, one.level, one.lesion) for one in found(intake)] == [("flag-rings-cross", Level.HOLD, "L1")]
    assert intake.exam.flags == ()


def test_a_flag_keeps_the_slices_between_its_rings_and_leaves_them_empty(tmp_path: Path) -> None:
    (flag,) = read(tmp_path, mr_images(), flag_set(on_mr(0, BOX), on_mr(3, BOX))).exam.flags
    assert [bool(slice_.any()) for slice_ in flag.mask] == [False, True, False, False, True, False]
    assert flag.grid.slice_offsets_mm == pytest.approx(np.arange(6) * 4.0, abs=1e-4)


def test_references_to_instances_that_are_not_there_are_matched_by_frame_and_plane(tmp_path: Path) -> None:
    gone = mr_images("gone")
    one = roi(1, "rib", [on_mr(2, BOX)], type="GTV", named=gone[2:3])
    structures = structure_set([one], frame=MR_FRAME, series=uid("gone"), listed=gone)
    intake = read(tmp_path, ct_images(), mr_images(), structures)
    assert [flag.id for flag in intake.exam.flags] == ["L1"]
    assert found(intake) == []


def test_a_flag_on_no_slice_of_its_frame_holds(tmp_path: Path) -> None:
    intake = read(tmp_path, mr_images(), flag_set(on_mr(2.4, BOX)))
    assert [(one.code, one.level, one.lesion) for one in found(intake, "flag-plane")] == [
        ("flag-plane-unmatched", Level.HOLD, "L1")
    ]
    assert intake.exam.flags == ()


@pytest.mark.parametrize(
    ("rings", "kind", "code"),
    [
        ([], "CLOSED_PLANAR", "flag-empty"),
        ([on_mr(2, [(3, 3)])], "POINT", "flag-not-closed"),
        ([on_mr(2, [(3, 3), (4, 4)])], "CLOSED_PLANAR", "flag-not-closed"),
        ([on_mr(2, BOX)], "OPEN_PLANAR", "flag-not-closed"),
        ([on_mr(2, [(3, 3), (4, 4), (5, 5)])], "CLOSED_PLANAR", "flag-empty"),
    ],
)
def test_a_flag_that_encloses_nothing_holds(tmp_path: Path, rings: list[Points], kind: str, code: str) -> None:
    intake = read(tmp_path, mr_images(), structure_set([roi(1, "x", rings, kind=kind)], frame=MR_FRAME))
    assert [(one.code, one.level) for one in found(intake)] == [(code, Level.HOLD)]
    assert intake.exam.flags == ()


def test_regions_of_other_types_on_the_mr_are_no_flags(tmp_path: Path) -> None:
    rois = [roi(1, "Bladder", [on_mr(2, BOX)], type="ORGAN"), roi(2, "rib", [on_mr(2, BOX)], type="GTV")]
    intake = read(tmp_path, mr_images(), structure_set(rois, frame=MR_FRAME))
    assert [(flag.id, flag.source.item) for flag in intake.exam.flags] == [("L1", 2)]
    assert [(one.code, one.level) for one in found(intake)] == [("roi-not-a-flag", Level.WARN)]


def test_contours_belong_to_their_region_by_number_and_not_by_place(tmp_path: Path) -> None:
    small, large = on_mr(2, [(3, 3), (3, 4), (4, 4), (4, 3)]), on_mr(2, BOX)
    structures = structure_set([roi(3, "rib", [small]), roi(5, "ilium", [large]), roi(4, "none", [])], frame=MR_FRAME)
    structures.ROIContourSequence = list(reversed(structures.ROIContourSequence))
    intake = read(tmp_path, mr_images(), structures)
    by_label = {flag.label: flag for flag in intake.exam.flags}
    assert by_label["rib"].mask.sum() < by_label["ilium"].mask.sum()
    assert (by_label["rib"].id, by_label["ilium"].id) == ("L1", "L3")
    assert [one.lesion for one in found(intake, "flag-empty")] == ["L2"]


def test_a_repeated_first_point_is_one_point(tmp_path: Path) -> None:
    ring = on_mr(2, BOX)
    (flag,) = read(tmp_path, mr_images(), flag_set(np.vstack([ring, ring[:1]]))).exam.flags
    assert flag.mask.sum() == pytest.approx(9, abs=1e-2)


def test_contours_on_the_planning_ct_are_organs(tmp_path: Path) -> None:
    rings = [square((-18, -25), 1.5, 45.0), square((-18, -25), 2.0, 42.5)]
    structures = structure_set([roi(1, "Rectum", rings, type="ORGAN"), roi(2, "Bladder", [], type="ORGAN", kept=True)])
    intake = read(tmp_path, ct_images(), mr_images(), structures)
    rectum, bladder = intake.exam.organs
    assert found(intake, "organ", "rtstruct", "roi") == []
    assert (rectum.name, rectum.number, rectum.source_uid) == ("Rectum", 1, uid("rtss", 0))
    assert [contour.slice_index for contour in rectum.contours] == [1, 2]
    assert np.allclose(rectum.contours[0].points_mm, rings[1], atol=1e-4)
    assert (bladder.name, bladder.contours) == ("Bladder", ())
    assert [one.code for one in found(intake, "flags")] == ["flags-absent"]


def test_an_organ_on_a_feet_first_ct_names_the_slice_of_the_grid(tmp_path: Path) -> None:
    images = ct_images(cosines=((-1, 0, 0), (0, 1, 0)), origin=(20, -31, 40))
    intake = read(tmp_path, images, structure_set([roi(1, "Rectum", [square((18, -25), 1.5, 32.5)])]))
    ct = intake.exam.planning_ct
    assert ct is not None
    ((contour,),) = [organ.contours for organ in intake.exam.organs]
    assert ct.grid.slice_origins_mm[contour.slice_index, 2] == pytest.approx(32.5)


def test_points_on_the_planning_ct_are_landmarks_wherever_they_lie(tmp_path: Path) -> None:
    at = [(-18.25, -25.5, 43.1)], [(-10.0, -20.0, 45.0)]
    structures = structure_set(
        [roi(4, "VB_L4_Pt_Top", at[:1], kind="POINT"), roi(3, "ISO", at, kind="POINT"), roi(9, "VB_L4_Pt_Low", [])]
    )
    intake = read(tmp_path, ct_images(), structures)
    assert found(intake, "organ", "rtstruct", "roi") == []
    assert [(one.name, one.number, one.source_uid) for one in intake.exam.landmarks] == [
        ("ISO", 3, uid("rtss", 0)),
        ("VB_L4_Pt_Top", 4, uid("rtss", 0)),
    ]
    np.testing.assert_allclose(intake.exam.landmarks[0].points_mm, np.concatenate(at))
    np.testing.assert_allclose(intake.exam.landmarks[1].points_mm, at[0])
    assert [organ.name for organ in intake.exam.organs] == ["VB_L4_Pt_Low"], "without a point it is no landmark"


def test_rings_among_points_make_an_organ(tmp_path: Path) -> None:
    structures = structure_set([roi(1, "Rectum", [square((-18, -25), 1.5, 45.0)])])
    point = item(ContourGeometricType="POINT", NumberOfContourPoints=1, ContourData=["-18.0", "-25.0", "45.0"])
    structures.ROIContourSequence[0].ContourSequence.append(point)
    intake = read(tmp_path, ct_images(), structures)
    assert intake.exam.landmarks == ()
    assert [len(organ.contours) for organ in intake.exam.organs] == [1]
    assert [one.code for one in found(intake, "organ")] == ["organ-plane-unmatched"]


def test_organ_contours_off_the_slices_are_counted_and_left_out(tmp_path: Path) -> None:
    rings = [square((-18, -25), 1.5, 45.0), square((-18, -25), 1.5, 46.3), square((-18, -25), 1.5, 90.0)]
    intake = read(tmp_path, ct_images(), structure_set([roi(1, "Rectum", rings)]))
    (finding,) = found(intake, "organ")
    assert (finding.code, finding.level, finding.value) == ("organ-plane-unmatched", Level.WARN, 2.0)
    assert [len(organ.contours) for organ in intake.exam.organs] == [1]


def shared_frame(gap_mr: float = 2.5, **attributes: Any) -> list[Any]:
    """A CT and a T1 in one frame of reference, whose slices lie where the MR's gap says."""
    straight = {
        "cosines": ((1, 0, 0), (0, 1, 0)),
        "origin": (-20, -31, 40),
        "gap": gap_mr,
        "FrameOfReferenceUID": CT_FRAME,
    }
    return [*ct_images(), *mr_images(**straight, **attributes)]


RING = square((-18, -25), 1.5, 42.5)


def test_in_one_frame_the_series_that_is_named_decides(tmp_path: Path) -> None:
    images = shared_frame()
    for name, organs, flags in (("ct", 1, 0), ("t1", 0, 1)):
        structures = structure_set([roi(1, "rib", [RING])], series=uid(name), listed=[])
        intake = read(tmp_path / name, images, structures)
        assert (len(intake.exam.organs), len(intake.exam.flags)) == (organs, flags)


def test_in_one_frame_the_class_of_the_images_that_are_named_decides(tmp_path: Path) -> None:
    """The instances themselves are not there: only what they were is known."""
    images = shared_frame()
    for name, gone, organs, flags in (("ct", ct_images("g"), 1, 0), ("mr", mr_images("g"), 0, 1)):
        structures = structure_set([roi(1, "rib", [RING], named=gone[1:2])], series=uid("gone"), listed=gone)
        intake = read(tmp_path / name, images, structures)
        assert (len(intake.exam.organs), len(intake.exam.flags)) == (organs, flags)


def test_in_one_frame_without_references_the_planes_decide(tmp_path: Path) -> None:
    images = shared_frame(gap_mr=4.0)
    for name, z, organs, flags in (("ct", 42.5, 1, 0), ("mr", 44.0, 0, 1)):
        structures = structure_set([roi(1, "rib", [square((-18, -25), 1.5, z)])])
        intake = read(tmp_path / name, images, structures)
        assert (len(intake.exam.organs), len(intake.exam.flags)) == (organs, flags)


@pytest.mark.parametrize(("z", "code"), [(42.5, "rtstruct-ambiguous"), (43.1, "flag-plane-unmatched")])
def test_what_the_planes_do_not_decide_holds(tmp_path: Path, z: float, code: str) -> None:
    intake = read(tmp_path, shared_frame(), structure_set([roi(1, "rib", [square((-18, -25), 1.5, z)])]))
    assert [(one.code, one.level) for one in found(intake)] == [(code, Level.HOLD)]
    assert intake.exam.organs == ()
    assert intake.exam.flags == ()


def test_contours_of_a_series_that_is_absent_from_the_shared_frame_hold(tmp_path: Path) -> None:
    gone = mr_images("gone")
    structures = structure_set([roi(1, "rib", [RING])], series=uid("gone"), listed=gone)
    intake = read(tmp_path, ct_images(), structures)
    assert [(one.code, one.level) for one in found(intake, "flag-source")] == [("flag-source-absent", Level.HOLD)]


def test_a_frame_that_no_image_has_holds(tmp_path: Path) -> None:
    intake = read(tmp_path, ct_images(), mr_images(), structure_set([roi(1, "rib", [RING])], frame="1.2.3.999"))
    assert [(one.code, one.level) for one in found(intake, "flag-frame")] == [("flag-frame-unknown", Level.HOLD)]
    assert "1.2.3.999" in found(intake, "flag-frame")[0].message


@pytest.mark.parametrize(
    ("kind", "code", "level"),
    [({}, "flag-on-pet", Level.HOLD), ({"type": "ORGAN"}, "rtstruct-not-used", Level.WARN)],
)
def test_flags_on_pet_hold_and_organs_on_it_are_not_used(
    tmp_path: Path, kind: dict[str, str], code: str, level: Level
) -> None:
    pet = ct_images("pet", Modality="PT", FrameOfReferenceUID="1.2.3.400")
    for image in pet:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
    rois = [roi(1, "a", [RING], **kind), roi(2, "b", [RING], **kind)]
    structures = structure_set(rois, frame="1.2.3.400", series=uid("pet"), listed=pet)
    intake = read(tmp_path, ct_images(), mr_images(), pet, structures)
    (finding,) = found(intake, "rtstruct", "flag-on")
    assert (finding.code, finding.level) == (code, level)
    assert "ROI 1, 2: drawn on" in finding.message


@pytest.mark.parametrize("modality", ["RTDOSE", None])
def test_a_structure_set_that_says_it_is_something_else_is_refused_by_name(
    tmp_path: Path, modality: str | None
) -> None:
    intake = read(tmp_path, ct_images(), structure_set([roi(1, "a", [RING])], Modality=modality))
    (finding,) = found(intake, "rtstruct")
    assert (finding.code, finding.level) == ("rtstruct-refused", Level.HOLD)
    assert uid("rtss", 0) in finding.message
    assert (modality or "nothing") in finding.message


@pytest.mark.parametrize("spoil", ["points", "number", "frame"])
def test_a_structure_set_with_a_broken_contour_is_refused_whole(tmp_path: Path, spoil: str) -> None:
    structures = structure_set([roi(1, "a", [RING])])
    contour = structures.ROIContourSequence[0].ContourSequence[0]
    if spoil == "points":
        contour.NumberOfContourPoints = 5
    elif spoil == "number":
        del structures.ROIContourSequence[0].ReferencedROINumber
    else:
        structures.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = ""
    intake = read(tmp_path, ct_images(), structures)
    assert [(one.code, one.level) for one in found(intake, "rtstruct")] == [("rtstruct-refused", Level.HOLD)]
    assert intake.exam.organs == ()


@pytest.mark.parametrize("why", ["no lattice", "no frame", "two"])
def test_organs_on_a_ct_that_cannot_be_used_are_said_once(tmp_path: Path, why: str) -> None:
    images = ct_images(FrameOfReferenceUID=None if why == "no frame" else CT_FRAME)
    if why == "no lattice":
        del images[2]
    others = [ct_images("second", FrameOfReferenceUID="1.2.3.300")] if why == "two" else []
    rois = [roi(1, "a", [RING]), roi(2, "b", [RING])]
    intake = read(tmp_path, images, *others, structure_set(rois, series=uid("ct"), listed=ct_images()))
    assert [(one.code, one.level) for one in found(intake, "organ", "rtstruct", "flag-")] == [
        ("organs-unread", Level.WARN)
    ]
    assert "ROI 1, 2" in found(intake, "organ")[0].message


def test_flags_of_several_objects_are_numbered_by_their_uids(tmp_path: Path) -> None:
    sets = [structure_set([roi(2, f"rib {n}b", [on_mr(2, BOX)]), roi(1, f"rib {n}a", [on_mr(1, BOX)])],
                          frame=MR_FRAME, name=f"rtss-{n}") for n in range(3)]  # fmt: skip
    ordered = sorted(sets, key=lambda one: str(one.SOPInstanceUID))
    intake = read(tmp_path, mr_images(), sets)
    names = [one.StructureSetROISequence[index].ROIName for one in ordered for index in (1, 0)]
    assert [(flag.id, flag.label) for flag in intake.exam.flags] == [
        (f"L{n + 1}", name) for n, name in enumerate(names)
    ]
