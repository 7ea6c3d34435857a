"""Rings beside the images: which series is meant, and how far off is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import FileDataset
from pydicom.uid import MRImageStorage

from psdt_planner.dicom.image_planes import find
from psdt_planner.dicom.rtstruct_file import read_structure_set_file
from psdt_planner.dicom.stacks import Irregularity
from psdt_planner.lint import Level, Verdict, lint
from tests.dicom_in.objects import renamed, uid
from tests.lint.builder import (
    GAP_MM,
    codes,
    disc,
    planning_ct,
    rings_of,
    saved,
    set_text,
    sound,
    text_of,
    verdict_on,
    write,
)

OF_A_STACK = {
    *("frame-missing", "frames-mixed", "gantry-tilt", "not-axial", "orientation-mixed", "single-slice", "size-mixed"),
    *("slice-duplicate", "slice-missing", "slices-uneven"),
}
"""What `stacks.stack` may find."""

Linted = Callable[..., Verdict]


@pytest.fixture
def linted(tmp_path: Path) -> Linted:
    def run(ds: FileDataset, *series: list[FileDataset]) -> Verdict:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return verdict_on(saved(ds, tmp_path / "rtss.dcm"), write(folder, *series))

    return run


def moved(ds: FileDataset, z_mm: float) -> FileDataset:
    """The target along z."""
    for k, ring in zip((2, 3, 4), rings_of(ds), strict=True):
        set_text(ring, text_of(disc(k, 4.0, (3.0, -2.0)) + np.array([0.0, 0.0, z_mm])))
    return ds


def unnamed(ds: FileDataset) -> FileDataset:
    """A set that names no series and no image that is there."""
    del ds.ReferencedFrameOfReferenceSequence
    for roi in range(3):
        for ring in rings_of(ds, roi):
            del ring.ContourImageSequence
    return ds


@pytest.mark.parametrize(
    ("mm", "code"),
    [
        (0.009, None),
        (0.011, "ring-beside-slice"),
        (0.099, "ring-beside-slice"),
        (0.101, "ring-off-slice"),
        (-1.0, "ring-off-slice"),
        (1.25, "ring-off-slice"),
    ],
)
def test_on_its_slice_is_within_a_hundredth_and_a_rounding_within_a_tenth(
    linted: Linted, mm: float, code: str | None
) -> None:
    ct = planning_ct()
    assert codes(linted(moved(sound(ct), mm), ct)) == ({code} if code else set())


def test_half_a_slice_off_says_so(linted: Linted) -> None:
    ct = planning_ct()
    (found,) = linted(moved(sound(ct), GAP_MM / 2), ct).complaints
    assert found.message == ("ring 1 lies up to 1.25 mm beside its slice, 0.50 of the slice distance; and 2 more rings")
    assert (found.roi, found.count) == ("2 GTV1", 3)


def test_a_whole_slice_off_lies_on_another_image_than_it_names(linted: Linted) -> None:
    ct = planning_ct()
    (found,) = linted(moved(sound(ct), -GAP_MM), ct).complaints
    assert (found.code, found.count) == ("ring-wrong-image", 3)
    assert uid("ct", 2) in found.message


def test_all_rings_beyond_the_ct_are_off_it_and_not_off_their_slice(linted: Linted) -> None:
    ct = planning_ct()
    verdict = linted(moved(sound(ct), 200.0), ct)
    assert codes(verdict) == {"ring-off-ct"}


def test_the_series_that_is_named_leads(linted: Linted) -> None:
    ct, other = planning_ct(), planning_ct(name="ct-2", origin=(21.37, -31.2, 0.0))
    assert linted(sound(ct), other, ct).series_uid == uid("ct")
    assert linted(sound(other), other, ct).series_uid == uid("ct-2")


def test_then_the_one_that_has_the_images_then_the_only_one_of_its_frame(linted: Linted) -> None:
    ct = planning_ct()
    other = planning_ct(name="ct-2", FrameOfReferenceUID="1.2.3.150")
    by_images = sound(ct)
    del by_images.ReferencedFrameOfReferenceSequence
    assert linted(by_images, other, ct).series_uid == uid("ct")
    by_frame = linted(unnamed(sound(ct)), other, ct)
    assert by_frame.series_uid == uid("ct")
    assert codes(by_frame) == {"references-missing", "ring-image-missing"}


def test_of_two_series_in_the_frame_the_kind_of_image_that_is_named_decides(linted: Linted) -> None:
    ct = planning_ct()
    ds = sound(ct)
    anonymised = renamed(planning_ct(), "ct-anon", "ct-anon")
    mr = renamed(planning_ct(SOPClassUID=MRImageStorage, Modality="MR"), "mr", "mr")
    verdict = linted(ds, anonymised, mr)
    assert verdict.series_uid == uid("ct-anon")
    assert codes(verdict) == {"image-not-in-ct"}


def test_the_only_series_is_held_against_whatever_its_frame(linted: Linted) -> None:
    ct = planning_ct()
    other = planning_ct(name="ct-2", FrameOfReferenceUID="1.2.3.150", PatientID="P-2")
    verdict = linted(sound(ct), other)
    assert codes(verdict) == {"frame-differs", "image-not-in-ct", "patient-differs"}


def test_a_set_on_mr_may_be_oblique(linted: Linted) -> None:
    """Only a CT is planned on, and only that must be axial."""
    sine, cosine = np.sin(0.3), np.cos(0.3)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    mr = planning_ct(SOPClassUID=MRImageStorage, Modality="MR")
    ds = sound(mr)
    for image in mr:
        image.ImagePositionPatient = [f"{n:.6f}" for n in turn @ np.array(image.ImagePositionPatient, dtype=float)]
        image.ImageOrientationPatient = [f"{n:.8f}" for n in (-1, 0, 0, 0, cosine, sine)]
    for roi in range(3):
        for ring in rings_of(ds, roi):
            points = np.array(ring.ContourData, dtype=float).reshape(-1, 3) @ turn.T
            set_text(ring, text_of(points))
    assert codes(linted(ds, mr)) == set()


@pytest.mark.parametrize("position", [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, -1, 0)), ((1, 0, 0), (0, -1, 0))])
def test_rings_follow_the_images_not_the_axes(linted: Linted, position: tuple[tuple[int, ...], ...]) -> None:
    """The same sound set, with the images listed by other directions of rows and columns but over the same places."""
    ct = planning_ct()
    (row, column) = (np.array(axis, dtype=float) for axis in position)
    low = np.array([21.37 - 49 * 0.8, -31.2])
    high = np.array([21.37, -31.2 + 39 * 1.3])
    for image in ct:
        z = image.ImagePositionPatient[2]
        corner = np.where((row + column)[:2] > 0, low, high)
        image.ImagePositionPatient = [f"{corner[0]:.3f}", f"{corner[1]:.3f}", z]
        image.ImageOrientationPatient = [*row, *column]
    assert codes(linted(sound(ct), ct)) == set()


def test_a_name_is_the_same_whatever_its_capitals_and_empty_parts(linted: Linted) -> None:
    ct = planning_ct()
    ds = sound(ct)
    ds.PatientName = "DOE^JO^^"
    assert codes(linted(ds, ct)) == set()


@pytest.mark.parametrize("name", sorted([*OF_A_STACK, "geometry"]))
def test_whatever_is_odd_about_a_stack_is_told_of_the_images(tmp_path: Path, name: str) -> None:
    ct = planning_ct()
    file = read_structure_set_file(saved(sound(ct), tmp_path / "rtss.dcm"))
    (series,) = find([write(tmp_path / "ct", ct)]).series
    odd = replace(series, irregularities=(Irregularity(name, "as it is"),))
    ((found,),) = [one.complaints for one in lint([file], [odd])]
    assert (found.code, found.message, found.uid) == (f"ct-{name}", f"series {uid('ct')}: as it is", uid("ct"))
    assert found.level in Level
