"""Lattices and rigid transforms: what they map, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from psdt_planner.errors import FrameError, GeometryError
from psdt_planner.geometry import Grid, Points, Rigid, grid_corners_mm

FRAME, OTHER, THIRD = "1.2.3", "1.2.4", "1.2.5"

turns = st.tuples(*[st.floats(-3.0, 3.0)] * 3).map(lambda vector: Rotation.from_rotvec(vector).as_matrix())
shifts = st.tuples(*[st.floats(-800.0, 800.0)] * 3).map(np.array)
gaps = st.lists(st.floats(0.5, 12.0), min_size=1, max_size=6)


def uneven(
    turn: Points, origin: Points, gaps_mm: list[float], spacing: tuple[float, float] = (0.7, 2.3), normal: int = 1
) -> Grid:
    """A turned, non-square, anisotropic grid whose slices go along or against rows x columns."""
    ways = np.concatenate([[0.0], np.cumsum(gaps_mm)])
    origins = origin + ways[:, None] * turn[:, 2] * normal
    return Grid(origins, spacing[0] * turn[:, 1], spacing[1] * turn[:, 0], (len(ways), 5, 9), FRAME)


def rigid(turn: Points, shift: Points, target: str, source: str) -> Rigid:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, shift
    return Rigid(matrix, target, source)


@given(turns, shifts, gaps, st.sampled_from([1, -1]))
def test_every_voxel_centre_is_where_its_slice_says(
    turn: Points, origin: Points, gaps_mm: list[float], normal: int
) -> None:
    grid = uneven(turn, origin, gaps_mm, normal=normal)
    centres = grid.centres_mm()
    for k, j, i in [(0, 0, 0), (len(gaps_mm), 4, 8), (len(gaps_mm) // 2, 3, 1)]:
        slow = grid.slice_origins_mm[k] + j * 0.7 * turn[:, 1] + i * 2.3 * turn[:, 0]
        np.testing.assert_allclose(centres[k, j, i], slow, atol=1e-9)
        np.testing.assert_allclose(grid.mm_from_index([k, j, i]), slow, atol=1e-9)
        np.testing.assert_allclose(grid.index_from_mm(slow), [k, j, i], atol=1e-6)


@given(turns, shifts, gaps, st.tuples(*[st.floats(-20.0, 30.0)] * 3))
def test_index_and_mm_undo_each_other_inside_and_far_outside(
    turn: Points, origin: Points, gaps_mm: list[float], at: tuple[float, ...]
) -> None:
    grid = uneven(turn, origin, gaps_mm)
    np.testing.assert_allclose(grid.index_from_mm(grid.mm_from_index(at)), at, atol=1e-6)


def test_an_uneven_stack_keeps_each_slice_and_has_no_single_matrix() -> None:
    grid = uneven(np.eye(3), np.zeros(3), [3.0, 5.0, 3.0])
    assert not grid.is_even
    np.testing.assert_allclose(grid.mm_from_index([1.5, 0, 0]), [0, 0, 5.5])
    assert grid.slice_gap_mm == 3.0
    with pytest.raises(GeometryError, match="uneven slices"):
        _ = grid.mm_from_kji


def test_a_slice_reaches_half_way_to_its_neighbours() -> None:
    grid = uneven(np.eye(3), np.zeros(3), [2.0, 6.0])
    np.testing.assert_allclose(grid.voxel_volumes_ml, 0.7 * 2.3 / 1000 * np.array([2.0, 4.0, 6.0]))


def test_the_matrix_of_an_even_grid_gives_the_grid_back() -> None:
    turn = Rotation.from_euler("xyz", [10, -20, 35], degrees=True).as_matrix()
    grid = uneven(turn, np.array([5.0, -7.0, 900.0]), [2.5] * 4)
    again = Grid.regular(grid.mm_from_kji, grid.shape, FRAME)
    np.testing.assert_allclose(again.centres_mm(), grid.centres_mm(), atol=1e-9)


def test_feet_first_slices_count_downwards() -> None:
    grid = uneven(np.eye(3), np.zeros(3), [4.0, 4.0], normal=-1)
    np.testing.assert_allclose(grid.normal, [0, 0, -1])
    np.testing.assert_allclose(grid.slice_offsets_mm, [0, 4, 8])


def test_contains_ends_half_a_voxel_outside_the_last_centre() -> None:
    grid = uneven(np.eye(3), np.zeros(3), [3.0, 3.0])
    inside = [[0, 0, -1.49], [0, 0, 7.49], [-1.1, 0, 0], [8.5 * 2.3 - 0.01, 4.49 * 0.7, 0]]
    outside = [[0, 0, -1.51], [0, 0, 7.51], [-1.2, 0, 0], [8.5 * 2.3 + 0.01, 0, 0]]
    assert grid.contains(inside).all()
    assert not grid.contains(outside).any()


def test_the_corners_are_the_outermost_centres() -> None:
    grid = uneven(np.eye(3), np.zeros(3), [3.0, 5.0])
    corners = grid_corners_mm(grid)
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [[0, 0, 0], [8 * 2.3, 4 * 0.7, 8]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frame": ""}, "without a frame"),
        ({"shape": (3, 4, 5)}, "do not fit"),
        ({"slice_origins_mm": [[0, 0, 0], [0, 0, 0]]}, "duplicated or out of order"),
        ({"slice_origins_mm": [[0, 0, 0], [0, 0.5, 3]]}, "gantry tilt"),
        ({"slice_origins_mm": [[0, 0, 0], [0, np.nan, 3]]}, "not finite"),
        ({"step_i_mm": [1, 0.1, 0]}, "right angles"),
        ({"step_i_mm": [0, 0, 0]}, "zero"),
    ],
)
def test_a_grid_that_is_no_lattice_is_refused(change: dict[str, object], says: str) -> None:
    good: dict[str, object] = {
        "slice_origins_mm": [[0, 0, 0], [0, 0, 3]],
        "step_j_mm": [0, 1, 0],
        "step_i_mm": [2, 0, 0],
        "shape": (2, 4, 5),
        "frame": FRAME,
    }
    Grid(**good)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match=says):
        Grid(**{**good, **change})  # type: ignore[arg-type]


def test_one_slice_alone_does_not_know_its_thickness() -> None:
    grid = Grid(np.zeros((1, 3)), np.array([0, 1.0, 0]), np.array([2.0, 0, 0]), (1, 4, 5), FRAME)
    with pytest.raises(GeometryError, match="one slice alone"):
        _ = grid.slice_gap_mm


def test_grids_of_two_frames_differ_even_if_all_numbers_agree() -> None:
    one = uneven(np.eye(3), np.zeros(3), [3.0])
    same = uneven(np.eye(3), np.zeros(3), [3.0])
    other = Grid(one.slice_origins_mm, one.step_j_mm, one.step_i_mm, one.shape, OTHER)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other


def test_a_grid_cannot_be_changed() -> None:
    grid = uneven(np.eye(3), np.zeros(3), [3.0])
    with pytest.raises(ValueError, match="read-only"):
        grid.slice_origins_mm[0, 0] = 1.0


@given(turns, shifts, turns, shifts, shifts)
def test_transforms_compose_and_invert_as_their_names_read(
    turn: Points, shift: Points, turn2: Points, shift2: Points, point: Points
) -> None:
    ct_from_mr = rigid(turn, shift, FRAME, OTHER)
    mr_from_pet = rigid(turn2, shift2, OTHER, THIRD)
    ct_from_pet = ct_from_mr @ mr_from_pet
    assert (ct_from_pet.target, ct_from_pet.source) == (FRAME, THIRD)
    np.testing.assert_allclose(ct_from_pet.apply(point), turn @ (turn2 @ point + shift2) + shift, atol=1e-6)
    np.testing.assert_allclose(ct_from_pet.inverse().apply(ct_from_pet.apply(point)), point, atol=1e-6)


def test_a_frame_gap_is_refused() -> None:
    with pytest.raises(FrameError, match="frame gap"):
        rigid(np.eye(3), np.zeros(3), FRAME, OTHER) @ rigid(np.eye(3), np.zeros(3), THIRD, OTHER)


@pytest.mark.parametrize(
    "matrix",
    [np.diag([1, 1, 1.001, 1]), np.diag([1, 1, -1, 1]), np.full((4, 4), np.nan), np.eye(3)],
    ids=["scaled", "mirrored", "nan", "3x3"],
)
def test_a_matrix_that_is_not_rigid_is_refused(matrix: Points) -> None:
    with pytest.raises(GeometryError):
        Rigid(matrix, FRAME, OTHER)


def test_a_transform_without_a_frame_is_refused() -> None:
    with pytest.raises(GeometryError, match="without a frame"):
        Rigid(np.eye(4), FRAME, "")
