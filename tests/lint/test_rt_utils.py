"""Structure sets that rt-utils 1.2.7 really wrote: each of its defects that a file shows is found."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import FileDataset
from rt_utils import RTStructBuilder

from psdt_planner.lint import Verdict
from tests.dicom_in.objects import renamed
from tests.lint.builder import SHAPE, codes, planning_ct, verdict_on, write

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

ALWAYS = {"type-2-missing", "roi-type-missing", "institution-differs"}
"""No AccessionNumber, ReferringPhysicianName and OperatorsName, no interpreted type, and its own institution."""

Mask = NDArray[np.bool_]


def mask_of(count: int = SHAPE[0], shape_ji: tuple[int, int] = SHAPE[1:]) -> Mask:
    """Nothing marked, as rt-utils has it: rows, columns, slices."""
    return np.zeros((*shape_ji, count), dtype=bool)


def block(count: int = SHAPE[0], shape_ji: tuple[int, int] = SHAPE[1:]) -> Mask:
    """A block of three slices."""
    mask = mask_of(count, shape_ji)
    mask[10:20, 15:25, 2:5] = True
    return mask


@pytest.fixture
def linted(tmp_path: Path) -> Callable[..., Verdict]:
    """What lint says about what rt-utils writes of masks on a CT."""

    def write_and_lint(
        ct: list[FileDataset], *masks: tuple[str, Mask], beside: list[FileDataset] | None = None
    ) -> Verdict:
        folder = write(tmp_path / "ct", ct)
        path = tmp_path / "rtss.dcm"
        with contextlib.redirect_stdout(io.StringIO()):
            made = RTStructBuilder.create_new(str(folder))
            for name, mask in masks:
                made.add_roi(mask=mask, name=name)
            made.save(str(path))
        return verdict_on(path, folder if beside is None else write(tmp_path / "beside", beside))

    return write_and_lint


def square_ct(**attributes: object) -> list[FileDataset]:
    """Square pixels, so that only what is asked for goes wrong; positions that need few digits."""
    ct = planning_ct(spacing_ji=(1.0, 1.0), origin=(20.0, -31.0, 412.5), **attributes)
    for image in ct:
        image.SeriesDescription = "CT"
    return ct


def test_at_best_it_leaves_out_attributes_and_types(linted: Callable[..., Verdict]) -> None:
    verdict = linted(square_ct(), ("GTV1", block()))
    assert codes(verdict) == ALWAYS
    (missing,) = [one for one in verdict.complaints if one.code == "type-2-missing"]
    assert missing.message == "missing: AccessionNumber, OperatorsName, ReferringPhysicianName"


def test_an_empty_mask(linted: Callable[..., Verdict]) -> None:
    verdict = linted(square_ct(), ("GTV1", block()), ("Nothing", mask_of()))
    assert codes(verdict) == ALWAYS | {"contour-sequence-empty"}


def test_one_voxel_and_two(linted: Callable[..., Verdict]) -> None:
    mask = mask_of()
    mask[10, 15, 2] = mask[10, 15:17, 3] = True
    verdict = linted(square_ct(), ("GTV1", mask))
    assert codes(verdict) == ALWAYS | {"ring-too-few-points"}
    assert [one.count for one in verdict.complaints if one.code == "ring-too-few-points"] == [2]


def test_a_hole(linted: Callable[..., Verdict]) -> None:
    mask = block()
    mask[13:17, 18:22, 2:5] = False
    assert codes(linted(square_ct(), ("GTV1", mask))) == ALWAYS | {"ring-nested"}


def test_a_position_that_needs_digits(linted: Callable[..., Verdict]) -> None:
    ct = planning_ct(spacing_ji=(1.0, 1.0), origin=(20.0, -31.0, -1203.37), gap=3.0)
    verdict = linted(ct, ("GTV1", block()))
    assert codes(verdict) == ALWAYS | {"coordinate-too-long"}
    (long,) = [one for one in verdict.complaints if one.code == "coordinate-too-long"]
    assert "such as -1209.3699951171875" in long.message


def test_names_as_they_come(linted: Callable[..., Verdict]) -> None:
    verdict = linted(square_ct(), ("n" * 80, block()), ("Läsion", block()), ("LÄSION", block()))
    assert codes(verdict) == ALWAYS | {"roi-name-too-long", "roi-name-not-ascii", "roi-name-duplicate"}


def test_a_patient_s_name_in_another_character_set(linted: Callable[..., Verdict]) -> None:
    ct = square_ct(SpecificCharacterSet="ISO_IR 192")
    for image in ct:
        image.PatientName = "Müller^Łucja"
    assert codes(linted(ct, ("GTV1", block()))) == ALWAYS | {"patient-name-damaged", "patient-name-differs"}


def test_pixels_that_are_not_square(linted: Callable[..., Verdict]) -> None:
    """Rows of 0.5 mm and columns of 2 mm, swapped: what lay within the image lies beyond its edge."""
    ct = planning_ct(spacing_ji=(0.5, 2.0), shape=(8, 60, 30), origin=(20.0, -31.0, 412.5))
    mask = mask_of(8, (60, 30))
    mask[40:55, 5:10, 2:5] = True
    assert codes(linted(ct, ("GTV1", mask))) == ALWAYS | {"ring-off-image"}


def test_uneven_slices_are_taken_for_even(linted: Callable[..., Verdict]) -> None:
    offsets = [0.0, 2.0, 4.0, 7.0, 10.0, 13.0, 15.0, 17.0]
    verdict = linted(square_ct(offsets=offsets, SliceThickness=3.0), ("GTV1", block()))
    assert codes(verdict) == ALWAYS | {"ct-slices-uneven", "ring-off-slice", "coordinate-too-long"}


def test_a_slice_that_is_missing_is_passed_over(linted: Callable[..., Verdict]) -> None:
    ct = square_ct()
    del ct[5]
    verdict = linted(ct, ("GTV1", block(7)))
    assert codes(verdict) == ALWAYS | {"ct-slice-missing", "ring-off-slice", "coordinate-too-long"}


def test_a_tilted_gantry_is_passed_over(linted: Callable[..., Verdict]) -> None:
    ct = square_ct()
    for k, image in enumerate(ct):
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [x, y + 0.5 * k, z]
    assert {*ALWAYS, "ct-gantry-tilt"} <= codes(linted(ct, ("GTV1", block())))


def test_an_oblique_stack_is_passed_over(linted: Callable[..., Verdict]) -> None:
    sine, cosine = np.sin(0.35), np.cos(0.35)
    ct = square_ct(cosines=((-1.0, 0.0, 0.0), (0.0, cosine, sine)))
    assert codes(linted(ct, ("GTV1", block()))) == ALWAYS | {"ct-not-axial", "coordinate-too-long"}


def test_two_series_in_one_folder_become_one(linted: Callable[..., Verdict]) -> None:
    other = renamed(square_ct(FrameOfReferenceUID="1.2.3.150", offsets=[40.0, 42.5, 45.0]), "other", "other")
    verdict = linted([*square_ct(), *other], ("GTV1", block(11)))
    assert "images-of-several-series" in codes(verdict)


def test_a_slice_that_cannot_be_decoded_is_left_out(linted: Callable[..., Verdict]) -> None:
    """Written on the CT without it, held against the CT with it."""
    ct = square_ct()
    verdict = linted(ct[:-1], ("GTV1", block(7)), beside=ct)
    assert codes(verdict) == ALWAYS | {"images-unlisted"}


def test_a_ct_without_a_frame_gets_one_made_up(linted: Callable[..., Verdict]) -> None:
    ct = square_ct()
    bare = square_ct(FrameOfReferenceUID=None)
    assert codes(linted(bare, ("GTV1", block()), beside=ct)) == ALWAYS | {"frame-differs"}
