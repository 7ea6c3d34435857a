"""The pictures show the right place the right way round, with lines where the rings are."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from psdt_planner.exam import Exam
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import MaskKind
from psdt_planner.planning import Plan, PlannedLesion
from psdt_planner.report.pictures import HALF_SIDE_MM, PIXELS, Picture, pictures
from tests.report.conftest import RADII_MM

Pixels = NDArray[np.float32]
MIDDLE = (PIXELS - 1) / 2.0


def pixels(picture: Picture) -> Pixels:
    """``(rows, columns, 3)`` in 0..1."""
    array = imread(io.BytesIO(picture.png), format="png")[..., :3]
    assert array.shape == (PIXELS, PIXELS, 3)
    return np.asarray(array)


def of_colour(array: Pixels, red: float, green: float, blue: float) -> NDArray[np.intp]:
    """``(N, 2)``, row and column of the pixels of nearly this colour."""
    return np.argwhere(np.abs(array - [red, green, blue]).max(axis=-1) < 0.25)


def half_side_mm(lesion: PlannedLesion, picture: Picture) -> float:
    """From the scale bar: the longest white stretch at the bottom left is 20 mm."""
    bottom = pixels(picture)[int(0.94 * PIXELS) : int(0.96 * PIXELS), : PIXELS // 2]
    bar = max(int((row.min(axis=-1) > 0.9).sum()) for row in bottom)
    return 20.0 / bar * PIXELS / 2.0


@pytest.fixture
def lesion(plan: Plan) -> PlannedLesion:
    return plan.lesions[0]


def test_what_is_shown_in_which_order(lesion: PlannedLesion, exam: Exam) -> None:
    shown = pictures(lesion, exam)

    assert [picture.caption for picture in shown] == [
        "MR b900, axial, flag",
        "MR t1, axial, flag",
        "CT, axial",
        "CT, coronal",
        "CT, sagittal",
    ]
    assert shown[0].words == "Axial b900 image through L1, with the outline of the flag."
    assert shown[3].words == "Coronal CT through L1, with GTV1, CTV1, PTV1."


def test_the_lesion_is_in_the_middle_and_bright_on_b900(lesion: PlannedLesion, exam: Exam) -> None:
    array = pixels(pictures(lesion, exam)[0])

    middle = array[PIXELS // 2 - 8 : PIXELS // 2 + 8, PIXELS // 2 - 8 : PIXELS // 2 + 8]
    assert middle.min() > 0.9
    assert np.median(array) < 0.4


@pytest.mark.parametrize("n", [2, 3, 4])
def test_each_region_is_drawn_in_its_colour_at_its_radius(lesion: PlannedLesion, exam: Exam, n: int) -> None:
    picture = pictures(lesion, exam)[n]
    mm_per_pixel = 2.0 * half_side_mm(lesion, picture) / PIXELS
    array = pixels(picture)

    for roi, radius_mm in zip(lesion.rois, (9.0, 14.0, 19.0), strict=True):
        red, green, blue = (channel / 255.0 for channel in roi.colour)
        found = of_colour(array, red, green, blue) - MIDDLE
        assert len(found) > 40, roi.name
        away_mm = np.linalg.norm(found, axis=1) * mm_per_pixel
        # Across the slices the outline has steps of 2.5 mm; the middle of the cut is up to half a slice off.
        allowed_mm = 0.8 if n == 2 else 2.6
        assert away_mm.mean() == pytest.approx(radius_mm, abs=allowed_mm)
        assert np.abs(away_mm - radius_mm).max() < allowed_mm + 1.5


def test_the_flag_is_outlined_where_it_is(lesion: PlannedLesion, exam: Exam) -> None:
    for picture in pictures(lesion, exam)[:2]:
        mm_per_pixel = 2.0 * half_side_mm(lesion, picture) / PIXELS
        found = of_colour(pixels(picture), 1.0, 0.83, 0.0) - MIDDLE
        away_mm = np.linalg.norm(found, axis=1) * mm_per_pixel
        # Voxels of 5 x 3 x 2.8 mm make the ball's outline uneven.
        assert away_mm.mean() == pytest.approx(RADII_MM["L1"], abs=1.5)


def test_the_patients_right_is_on_the_left(lesion: PlannedLesion, exam: Exam) -> None:
    assert exam.planning_ct is not None
    grid = exam.planning_ct.grid
    centre = lesion.mapped.centroid_ct_mm if lesion.mapped else np.zeros(3)
    at = grid.centres_mm() - centre
    # Bright on the patient's left (+x) and anterior (-y) of the lesion only.
    corner = (at[..., 0] > 15.0) & (at[..., 1] < -15.0)
    marked = Volume(grid, np.where(corner, 500.0, -200.0).astype(np.float32), exam.planning_ct.quantity, "1")

    axial, coronal, sagittal = (
        pixels(picture) for picture in pictures(lesion, dataclasses.replace(exam, planning_ct=marked))[2:]
    )

    assert axial[80, 320].min() > 0.9
    assert max(axial[80, 80].max(), axial[320, 320].max(), axial[320, 80].max()) < 0.1
    # The mark does not reach the planes through the middle.
    assert max(coronal[200, 320].max(), sagittal[200, 80].max()) < 0.1


def test_superior_is_at_the_top(lesion: PlannedLesion, exam: Exam) -> None:
    assert exam.planning_ct is not None
    assert lesion.mapped is not None
    grid = exam.planning_ct.grid
    above = grid.centres_mm()[..., 2] - lesion.mapped.centroid_ct_mm[2] > 5.0
    marked = Volume(grid, np.where(above, 500.0, -200.0).astype(np.float32), exam.planning_ct.quantity, "1")

    for picture in pictures(lesion, dataclasses.replace(exam, planning_ct=marked))[3:]:
        array = pixels(picture)
        assert array[130, 60].min() > 0.9
        assert array[270, 60].max() < 0.1


def test_a_held_lesion_shows_its_place_and_uncertainty_without_contours(held_plan: Plan) -> None:
    lesion = held_plan.lesions[1]
    axial = pictures(lesion, held_plan.exam)[2]

    assert axial.words.endswith("with the mapped place and a circle of its uncertainty; no contours.")
    array = pixels(axial)
    yellow = of_colour(array, 1.0, 0.83, 0.0) - MIDDLE
    mm_per_pixel = 2.0 * half_side_mm(lesion, axial) / PIXELS
    assert np.linalg.norm(yellow, axis=1).max() * mm_per_pixel == pytest.approx(9.0, abs=1.0)
    assert not len(of_colour(array, 1.0, 0.0, 0.0))


def test_a_lesion_that_was_not_mapped_shows_the_mr_alone(held_plan: Plan) -> None:
    shown = pictures(held_plan.lesions[2], held_plan.exam)

    assert [picture.caption for picture in shown] == ["MR b900, axial, flag", "MR t1, axial, flag"]


def test_an_mr_of_another_frame_is_not_shown(lesion: PlannedLesion, exam: Exam) -> None:
    assert exam.planning_ct is not None
    foreign = dataclasses.replace(exam.planning_ct, quantity=Quantity(Kind.T1, "1"))

    shown = pictures(lesion, dataclasses.replace(exam, mr=(foreign,)))

    assert [picture.caption for picture in shown] == ["CT, axial", "CT, coronal", "CT, sagittal"]


def test_without_a_planning_ct_the_mr_is_still_shown(lesion: PlannedLesion, exam: Exam) -> None:
    assert len(pictures(lesion, dataclasses.replace(exam, planning_ct=None))) == 2


def test_an_mr_without_signal_is_black(lesion: PlannedLesion, exam: Exam) -> None:
    empty = dataclasses.replace(exam.mr[0], array=np.zeros(exam.mr[0].grid.shape, dtype=np.float32))

    array = pixels(pictures(lesion, dataclasses.replace(exam, mr=(empty,)))[0])

    assert np.median(array) == 0.0


def test_a_faint_fractional_flag_is_outlined_too(lesion: PlannedLesion, exam: Exam) -> None:
    faint = dataclasses.replace(lesion.flag, mask=lesion.flag.mask * 0.3, mask_kind=MaskKind.OCCUPANCY)

    array = pixels(pictures(dataclasses.replace(lesion, flag=faint), exam)[0])

    assert len(of_colour(array, 1.0, 0.83, 0.0)) > 40


def test_a_picture_is_neither_too_small_nor_too_large(plan: Plan, exam: Exam) -> None:
    for lesion in plan.lesions:
        for picture in pictures(lesion, exam)[2:]:
            low, high = HALF_SIDE_MM
            assert 0.95 * low < half_side_mm(lesion, picture) < 1.05 * high


def test_the_same_lesion_gives_the_same_bytes(lesion: PlannedLesion, exam: Exam) -> None:
    assert pictures(lesion, exam) == pictures(lesion, exam)
