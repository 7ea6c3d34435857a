"""MR to MR: the prior exam's images against this one's, on textures whose shift is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from psdt_planner.findings import Level
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.registration import (
    ExamImages,
    ExamsRegistrar,
    ExamsRegistration,
    Place,
    RegistrationSource,
    register_exams,
)
from psdt_planner.registration.lesion import EPI_UNCORRECTED_MM, FLOOR_SOFT_MM, MOST_MOTION_MM

NOW, OLD = "1.2.4", "1.2.5"
STEPS_MM = (4.0, 3.0, 2.5)
COUNTS = (44, 56, 66)
TRUE_SHIFT_MM = np.array([6.0, -4.0, 5.0])
"""From the prior exam's frame to this one's."""

HERE = np.array([3.0, -2.0, 1.0])


def volume(frame: str, shift_mm: Points, *, kind: Kind = Kind.T1, seed: int = 1, uid: str = "") -> Volume:
    """The same texture in both frames, shifted: blobs of about a centimetre."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(STEPS_MM[::-1])[:, ::-1]
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(COUNTS) - 1) / 2
    grid = Grid.regular(matrix, COUNTS, frame)
    fine = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((90, 90, 90)), 2.5)
    index = np.moveaxis((grid.centres_mm() - shift_mm)[..., ::-1] / 2.5 + 45.0, -1, 0)
    values = 500.0 + 8000.0 * ndimage.map_coordinates(fine, index, order=1, mode="nearest")
    return Volume(grid, np.clip(values, 0, None).astype(np.float32), Quantity(kind, "1"), uid or f"{frame}.{kind}")


def images(frame: str, *volumes: Volume, dwi: Volume | None = None) -> ExamImages:
    return ExamImages(frame, {f"{frame}.flags"}, volumes, dwi)


def now() -> ExamImages:
    return images(NOW, volume(NOW, TRUE_SHIFT_MM))


def prior() -> ExamImages:
    return images(OLD, volume(OLD, np.zeros(3)))


def shift(way_mm: Points, target: str = NOW, source: str = OLD) -> Rigid:
    matrix = np.eye(4)
    matrix[:3, 3] = way_mm
    return Rigid(matrix, target, source)


def place(*, on_dwi: bool = False) -> Place:
    return Place("P1", HERE, 4.0, in_bone=False, on_dwi=on_dwi)


def registrar(transform: Rigid, source: RegistrationSource) -> ExamsRegistrar:
    return ExamsRegistrar(now(), prior(), ExamsRegistration(transform, source, "as given"), seed=1)


def test_the_fits_around_a_lesion_find_its_place_from_a_rough_start() -> None:
    found = registrar(shift(TRUE_SHIFT_MM + np.array([4.0, 3.0, -3.0])), RegistrationSource.COMPUTED).register(place())
    assert found is not None
    error_mm = np.linalg.norm(found.this_from_prior.apply(HERE) - (HERE + TRUE_SHIFT_MM))
    assert error_mm < 0.5
    assert FLOOR_SOFT_MM <= found.uncertainty_mm < FLOOR_SOFT_MM + 1.0
    assert found.findings == ()


@pytest.mark.parametrize("off_mm", [0.0, 9.0])
def test_a_given_registration_leads_and_the_images_check_it(off_mm: float) -> None:
    stated = shift(TRUE_SHIFT_MM + np.array([off_mm, 0.0, 0.0]))
    found = registrar(stated, RegistrationSource.REG_OBJECT).register(place())
    assert found is not None
    np.testing.assert_allclose(found.this_from_prior.matrix, stated.matrix)
    assert found.uncertainty_mm >= off_mm  # the bound holds the truth
    told = [(one.code, one.level) for one in found.findings]
    assert told == ([("registration-disagrees", Level.HOLD)] if off_mm else [])


def test_where_the_surroundings_show_nothing_alike_the_whole_body_tells_the_place_with_a_wide_bound() -> None:
    other = images(NOW, volume(NOW, TRUE_SHIFT_MM, seed=2))
    whole = ExamsRegistration(shift(TRUE_SHIFT_MM), RegistrationSource.COMPUTED, "whole body")
    found = ExamsRegistrar(other, prior(), whole, seed=1).register(place())
    assert found is not None
    assert found.this_from_prior == shift(TRUE_SHIFT_MM)
    assert (found.uncertainty_mm, found.method) == (MOST_MOTION_MM, "whole body only")


def test_where_this_exam_did_not_look_nothing_can_be_fitted() -> None:
    away = shift(TRUE_SHIFT_MM + np.array([400.0, 0.0, 0.0]))
    found = [registrar(away, source).register(place()) for source in list(RegistrationSource)[1:]]
    methods = [one.method if one else "" for one in found]
    assert methods == ["as given, which nothing here could check", "whole body only"]


def test_one_frame_needs_no_images() -> None:
    same = register_exams(images(NOW), images(NOW), (), seed=1)
    assert (same.source, same.findings) == (RegistrationSource.SHARED_FRAME, ())
    assert same.transform == Rigid.identity(NOW)


def test_without_images_or_a_registration_nothing_joins_two_frames() -> None:
    none = register_exams(images(NOW), prior(), (), seed=1)
    assert none.transform is None
    assert [(one.code, one.level) for one in none.findings] == [("prior-not-registered", Level.WARN)]


def test_images_of_nothing_in_common_are_not_registered() -> None:
    """A texture shows no trunk, and two of them no common part."""
    none = register_exams(images(NOW, volume(NOW, TRUE_SHIFT_MM, seed=2)), prior(), (), seed=1)
    assert none.transform is None
    assert [one.code for one in none.findings] == ["prior-not-registered"]


def test_a_flag_on_diffusion_keeps_the_doubt_of_its_distortion() -> None:
    """No low-b image states its phase-encode axis, so that the shift is not known."""
    assert now().undistorted(place(on_dwi=False))[1] == 0.0
    assert now().undistorted(place(on_dwi=True))[1] == EPI_UNCORRECTED_MM
    echo_planar = images(NOW, volume(NOW, TRUE_SHIFT_MM, kind=Kind.DWI_TRACE))
    assert echo_planar.undistorted(place(on_dwi=True))[1] == 0.0
    assert echo_planar.undistorted(place(on_dwi=False))[1] == EPI_UNCORRECTED_MM
