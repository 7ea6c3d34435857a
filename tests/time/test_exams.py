"""Which of several MR exams is this one: by their days and flags, or held where nobody can tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psdt_planner.dicom.intake import read_inputs
from psdt_planner.exam import Exam
from psdt_planner.findings import Level
from psdt_planner.images import Kind
from tests.dicom_in.objects import ct_images, dwi_images, mr_images, roi, seg_object, segment, structure_set, uid, write

OLD_FRAME, OLD_STUDY, OLDEST_STUDY = "1.2.3.601", "1.2.3.602", "1.2.3.603"
NOW, BEFORE, LONG_AGO = "20260101", "20251002", "20250701"


def mask(count: int = 1) -> Any:
    voxels = np.zeros((5, 9, 7, count), dtype=np.uint8)
    for n in range(count):
        voxels[1:3, 2 + 4 * n : 5 + 4 * n, 2:5, n] = 1
    return voxels


def flags(source: Sequence[Any], *labels: str, name: str) -> Any:
    segments = [segment(n + 1, label) for n, label in enumerate(labels)]
    return seg_object(source, mask(len(labels)), segments, name=name)


def older(name: str, day: str = BEFORE, study: str = OLD_STUDY, **more: Any) -> list[Any]:
    place = {"StudyDate": day, "StudyInstanceUID": study, "FrameOfReferenceUID": f"{study}.1", **more}
    return dwi_images(f"{name}-old", **place)


def read(tmp_path: Path, *objects: Any) -> Exam:
    return read_inputs([write(tmp_path, ct_images(), *objects)]).exam


def codes(exam: Exam) -> dict[str, Level]:
    told = {"flags-on-prior", "prior-exams-several", "prior-unflagged", "flag-duplicate", "flags-absent"}
    return {finding.code: finding.level for finding in exam.findings if finding.code in told}


# "a" sorts the older flags before the present ones, "z" after them
@pytest.mark.parametrize("name", ["a", "z", "seg-old"])
def test_an_older_exam_with_flags_of_its_own_is_the_prior(tmp_path: Path, name: str) -> None:
    now, before = dwi_images("now"), older("dwi")
    exam = read(
        tmp_path, now, before, flags(now, "left ilium", "right rib", name="seg"), flags(before, "left ilium", name=name)
    )
    assert codes(exam) == {}  # that both exams use the same tracking UIDs is what they are for
    assert [(flag.id, flag.label) for flag in exam.flags] == [("L1", "left ilium"), ("L2", "right rib")]
    assert exam.prior is not None
    assert [(flag.id, flag.label) for flag in exam.prior.flags] == [("P1", "left ilium")]
    assert exam.prior.days_before == 91
    assert {volume.series_uid for volume in exam.mr} == {uid("now")}
    assert {volume.series_uid for volume in exam.prior.mr} == {uid("dwi-old")}


def test_ids_of_this_exam_do_not_depend_on_the_prior(tmp_path: Path) -> None:
    now, before = dwi_images("now"), older("dwi")
    own = flags(now, "left ilium", "right rib", name="seg")
    alone = read(tmp_path / "alone", now, own)
    both = read(tmp_path / "both", now, before, own, flags(before, "sternum", name="a"))
    assert [(flag.id, flag.label) for flag in alone.flags] == [(flag.id, flag.label) for flag in both.flags]
    assert alone.prior is None


def test_findings_of_the_prior_name_its_own_ids(tmp_path: Path) -> None:
    now, before = dwi_images("now"), older("dwi")
    exam = read(tmp_path, now, before, flags(now, "left ilium", name="seg"), flags(before, "somewhere", name="seg-old"))
    (found,) = [finding for finding in exam.findings if finding.code == "lesion-site-unknown"]
    assert (found.lesion, found.message[:3]) == ("P1", "P1:")


def test_a_structure_set_on_the_older_study_is_a_prior_too(tmp_path: Path) -> None:
    now, before = dwi_images("now"), older("dwi")
    drawn = structure_set(
        [roi(1, "left ilium", [ring(before[2])], type="GTV", frame=f"{OLD_STUDY}.1", named=[before[2]])],
        name="old-rtss",
        frame=f"{OLD_STUDY}.1",
        series=uid("dwi-old"),
        listed=before,
    )
    exam = read(tmp_path, now, before, flags(now, "left ilium", name="seg"), drawn)
    assert [flag.id for flag in exam.flags] == ["L1"]
    assert exam.prior is not None
    assert [flag.id for flag in exam.prior.flags] == ["P1"]


def test_flags_of_the_older_exam_alone_hold(tmp_path: Path) -> None:
    before = older("dwi")
    exam = read(tmp_path, dwi_images("now"), before, flags(before, "left ilium", name="seg-old"))
    assert codes(exam) == {"flags-on-prior": Level.HOLD}
    assert exam.prior is None


def test_where_the_newest_study_shows_no_diffusion_it_may_be_no_exam_of_its_own(tmp_path: Path) -> None:
    """An MR for planning, made after the whole-body exam, with a flag on each."""
    now, before = mr_images("now"), older("dwi")
    exam = read(tmp_path, now, before, flags(now, "left ilium", name="seg"), flags(before, "right rib", name="seg-old"))
    assert codes(exam)["flags-on-prior"] is Level.HOLD
    held = [finding.lesion for finding in exam.findings if finding.code == "flags-on-prior"]
    assert held == [flag.id for flag in exam.flags if flag.label == "right rib"]
    assert exam.prior is None


def ring(image: Any) -> Any:
    rows = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
    return np.array(image.ImagePositionPatient, dtype=float) + np.array([[8, 8], [16, 8], [16, 16], [8, 16]]) @ rows


def test_one_object_that_flags_both_exams_holds(tmp_path: Path) -> None:
    now, before = dwi_images("now"), older("dwi")
    frames = now[0].FrameOfReferenceUID, f"{OLD_STUDY}.1"
    rois = [
        roi(n, label, [ring(images[2])], type="GTV", frame=frame, named=[images[2]])
        for n, (label, images, frame) in enumerate(
            zip(("left ilium", "right rib"), (now, before), frames, strict=True), start=1
        )
    ]
    both = structure_set(rois, frame=frames[0], series=uid("now"), listed=[*now, *before])
    exam = read(tmp_path, now, before, both)
    held = [finding.lesion for finding in exam.findings if finding.code == "flags-on-prior"]
    assert held == [flag.id for flag in exam.flags if flag.label == "right rib"] == ["L2"]
    assert exam.prior is None


def test_of_several_older_exams_the_latest_is_the_prior_and_the_others_are_named(tmp_path: Path) -> None:
    now, before, long_ago = dwi_images("now"), older("dwi"), older("first", LONG_AGO, OLDEST_STUDY)
    exam = read(
        tmp_path,
        now,
        before,
        long_ago,
        flags(now, "left ilium", name="seg"),
        flags(before, "left ilium", name="seg-old"),
        flags(long_ago, "right rib", name="seg-oldest"),
    )
    assert codes(exam) == {"prior-exams-several": Level.WARN}
    assert exam.prior is not None
    assert [flag.label for flag in exam.prior.flags] == ["left ilium"]
    assert exam.prior.days_before == 91
    assert {volume.series_uid for volume in exam.mr} == {uid("now")}
    assert {volume.series_uid for volume in exam.prior.mr} == {uid("dwi-old")}


def test_an_older_exam_that_nobody_flagged_is_said_and_not_compared(tmp_path: Path) -> None:
    now = dwi_images("now")
    exam = read(tmp_path, now, older("dwi"), flags(now, "left ilium", name="seg"))
    assert codes(exam) == {"prior-unflagged": Level.WARN}
    assert exam.prior is None
    assert {volume.series_uid for volume in exam.mr} == {uid("now")}
    assert uid("dwi-old") in next(one.message for one in exam.findings if one.code == "prior-unflagged")


@pytest.mark.parametrize("flagged", [True, False])
def test_stations_of_an_older_exam_in_the_same_frame_are_not_composed_with_this_one_s(
    tmp_path: Path, flagged: bool
) -> None:
    """A table that moved on by four slices: two days, and nothing but these to tell them apart."""
    now = dwi_images("now")
    normal = np.cross(*(np.array(now[0].ImageOrientationPatient, dtype=float).reshape(2, 3)))
    place = np.array([11.0, -42.0, 300.0]) + 16.0 * normal
    before = older("dwi", FrameOfReferenceUID=now[0].FrameOfReferenceUID, origin=tuple(place))
    own = [flags(now, "left ilium", name="seg")] if flagged else []
    exam = read(tmp_path, now, before, *own)
    assert [(volume.series_uids, volume.grid.shape[0]) for volume in exam.mr] == [((uid("now"),), 5)]
    assert codes(exam).get("prior-unflagged") is Level.WARN


def test_an_unflagged_exam_between_the_prior_and_this_one_lends_no_images(tmp_path: Path) -> None:
    now, before = dwi_images("now"), older("dwi", day=LONG_AGO, study=OLDEST_STUDY)
    frame = now[0].FrameOfReferenceUID
    between = older("adc", FrameOfReferenceUID=frame, ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], b=None)
    exam = read(tmp_path, now, before, between, flags(now, "left ilium", name="seg"), flags(before, "rib", name="old"))
    assert exam.prior is not None
    assert {volume.series_uid for volume in exam.mr} == {uid("now")}
    assert codes(exam) == {"prior-unflagged": Level.WARN}


@pytest.mark.parametrize("day", [NOW, ""])
def test_two_studies_of_one_day_or_without_one_are_one_exam(tmp_path: Path, day: str) -> None:
    now, other = dwi_images("now"), older("dwi", StudyDate=day)
    exam = read(tmp_path, now, other, flags(now, "left ilium", name="seg"), flags(other, "right rib", name="seg-old"))
    assert exam.prior is None
    assert len(exam.flags) == 2


def test_a_prior_in_the_same_frame_lends_this_exam_no_images(tmp_path: Path) -> None:
    """Otherwise the ADC of the prior exam might be taken for this one's."""
    now = dwi_images("now")
    frame = now[0].FrameOfReferenceUID
    before = older("dwi", FrameOfReferenceUID=frame)
    adc = older("adc", FrameOfReferenceUID=frame, ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], b=None)
    exam = read(
        tmp_path, now, before, adc, flags(now, "left ilium", name="seg"), flags(before, "left ilium", name="seg-old")
    )
    assert [volume.quantity.kind for volume in exam.mr] == [Kind.DWI_TRACE]
    assert exam.prior is not None
    assert codes(exam) == {}
    assert "adc-absent" in {finding.code for finding in exam.findings}
