"""Volumes: numbers that know where they are, and resampling that never crosses frames by itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from psdt_planner.errors import FrameError, GeometryError
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.images import Kind, Quantity, Volume, resample, sample

CT, MR = "1.2.3", "1.2.4"
SIGNAL = Quantity(Kind.T1, "1")


def plane(points_mm: np.ndarray) -> np.ndarray:
    """A field that linear interpolation must reproduce exactly."""
    return np.asarray(points_mm @ np.array([0.5, -1.5, 2.0]) + 7.0)


def linear_volume(frame: str) -> Volume:
    turn = Rotation.from_euler("zyx", [12, 5, -8], degrees=True).as_matrix()
    ways = np.array([0.0, 4.0, 9.0, 13.0, 17.0])
    origins = np.array([-20.0, -15.0, 100.0]) + ways[:, None] * turn[:, 2]
    grid = Grid(origins, 2.5 * turn[:, 1], 1.5 * turn[:, 0], (5, 14, 23), frame)
    return Volume(grid, plane(grid.centres_mm()).astype(np.float32), SIGNAL, "1.9")


def test_a_linear_field_is_sampled_exactly_on_an_uneven_turned_grid() -> None:
    volume = linear_volume(MR)
    inside = volume.grid.mm_from_index(np.random.default_rng(1).uniform([0, 0, 0], [4, 13, 22], (200, 3)))
    np.testing.assert_allclose(sample(volume, inside, MR), plane(inside), rtol=1e-5)


def test_outside_is_what_was_asked_for() -> None:
    volume = linear_volume(MR)
    assert sample(volume, np.array([[0.0, 0.0, 9999.0]]), MR, outside=-1000.0) == [-1000.0]


def test_resampling_moves_each_number_to_its_place() -> None:
    volume = linear_volume(MR)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 3, degrees=True).as_matrix()
    matrix[:3, 3] = [30.0, -4.0, 12.0]
    ct_from_mr = Rigid(matrix, CT, MR)
    middle = ct_from_mr.apply(volume.grid.mm_from_index([2, 6, 11]))
    onto = Grid.regular(
        [[0, 0, 1.0, middle[0]], [0, 1.2, 0, middle[1]], [2.0, 0, 0, middle[2]], [0, 0, 0, 1]], (2, 3, 4), CT
    )
    slow = plane(ct_from_mr.inverse().apply(onto.centres_mm()))
    np.testing.assert_allclose(resample(volume, onto, ct_from_mr), slow, rtol=1e-5)


def test_points_of_another_frame_are_refused() -> None:
    with pytest.raises(FrameError):
        sample(linear_volume(MR), np.zeros((1, 3)), CT)


def test_a_transform_between_other_frames_is_refused() -> None:
    volume = linear_volume(MR)
    with pytest.raises(FrameError):
        resample(volume, volume.grid, Rigid(np.eye(4), CT, MR))


def test_numbers_that_do_not_fit_their_grid_are_refused() -> None:
    grid = linear_volume(MR).grid
    with pytest.raises(GeometryError, match=r"1\.9"):
        Volume(grid, np.zeros((5, 23, 14), dtype=np.float32), SIGNAL, "1.9")


def test_a_volume_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        linear_volume(MR).array[0, 0, 0] = 1.0
