"""A grid of vectors between two frames: where it leads, how it is undone, and what of it is locally rigid."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from psdt_planner.deformation import (
    AROUND_MM,
    MOST_RESIDUAL_MM,
    Deformation,
    DeformationError,
    nearest_rigid,
)
from psdt_planner.errors import FrameError, GeometryError
from psdt_planner.findings import Level
from psdt_planner.geometry import Grid, Points, Rigid

CT, MR, PET = "1.2.3", "1.2.4", "1.2.5"
OBLIQUE = Rotation.from_euler("xyz", [6, -9, 14], degrees=True).as_matrix()


def affine(degrees: tuple[float, float, float], shift: tuple[float, float, float], scale: float = 1.0) -> Points:
    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def rigid(target: str, source: str, degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> Rigid:
    return Rigid(affine(degrees, shift), target, source)


PRE, POST = affine((0, 0, 30), (5, -3, 8)), affine((40, 0, 0), (-7, 2, 100))


def lattice(
    shape: tuple[int, int, int] = (5, 7, 6), spacing_kji: tuple[float, float, float] = (9.0, 5.0, 7.0), frame: str = CT
) -> Grid:
    """Oblique, with unequal sides and steps; about 40 mm each way."""
    matrix = np.eye(4)
    matrix[:3, :3] = OBLIQUE[:, [2, 1, 0]] * spacing_kji
    matrix[:3, 3] = [-20.0, 31.0, 400.0]
    return Grid.regular(matrix, shape, frame)


def noise(grid: Grid, size_mm: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=size_mm, size=(*grid.shape, 3)).astype(np.float32)


def field(grid: Grid, vectors: np.ndarray, pre: Points = PRE, post: Points = POST, target: str = MR) -> Deformation:
    return Deformation(grid, vectors, pre, post, target)


def displaced(grid: Grid, displacement: np.ndarray) -> Deformation:
    """A field of vectors alone."""
    return field(grid, displacement.astype(np.float32), np.eye(4), np.eye(4))


def slowly(deformation: Deformation, point: Points) -> Points:
    """The equation of PS3.3 C.20.3 and trilinear interpolation, one corner after the other."""
    grid = deformation.grid
    index = np.linalg.solve(grid.mm_from_kji, [*point, 1.0])[:3]
    low = [min(int(np.floor(at)), n - 2) for at, n in zip(index, grid.shape, strict=True)]
    vector = np.zeros(3)
    for corner in product((0, 1), repeat=3):
        weight = 1.0
        for axis in range(3):
            part = index[axis] - low[axis]
            weight *= part if corner[axis] else 1.0 - part
        vector += weight * deformation.vectors_mm[low[0] + corner[0], low[1] + corner[1], low[2] + corner[2]]
    moved = (deformation.pre @ [*point, 1.0])[:3] + vector
    return np.asarray((deformation.post @ [*moved, 1.0])[:3])


def inner(grid: Grid, count: int, seed: int = 1) -> Points:
    """Points within the outermost vectors."""
    parts = np.random.default_rng(seed).uniform(0.0, 1.0, (count, 3))
    return grid.mm_from_index(parts * (np.array(grid.shape) - 1))


# where it leads -------------------------------------------------------------------------------------------------------


def test_a_vector_is_added_between_the_two_matrices() -> None:
    grid = lattice()
    vectors = np.zeros((*grid.shape, 3))
    vectors[2, 3, 4] = [10.0, 20.0, 30.0]
    at = grid.mm_from_index([2, 3, 4])
    expected = POST @ ((PRE @ [*at, 1.0]) + [10.0, 20.0, 30.0, 0.0])
    np.testing.assert_allclose(field(grid, vectors).apply(at), expected[:3], atol=1e-9)


@given(seed=st.integers(0, 10_000))
def test_points_go_where_the_equation_of_the_standard_says(seed: int) -> None:
    grid = lattice()
    deformation = field(grid, noise(grid, 4.0, seed))
    points = inner(grid, 12, seed)
    expected = np.array([slowly(deformation, point) for point in points])
    np.testing.assert_allclose(deformation.apply(points), expected, atol=1e-6)


def test_an_array_of_points_of_any_shape_keeps_it() -> None:
    grid = lattice()
    deformation = field(grid, noise(grid, 1.0))
    points = inner(grid, 24).reshape(2, 3, 4, 3)
    assert deformation.apply(points).shape == points.shape
    np.testing.assert_allclose(deformation.apply(points)[1, 2, 3], deformation.apply(points[1, 2, 3]))
    np.testing.assert_allclose(deformation.unapply(deformation.apply(points)), points, atol=1e-3)


def test_beyond_the_outermost_vectors_nothing_is_defined() -> None:
    grid = lattice()
    deformation = field(grid, noise(grid, 1.0))
    last = np.array(grid.shape) - 1.0
    for axis in range(3):
        beside = np.array([2.0, 3.0, 3.0])
        for edge, beyond in ((0.0, -0.01), (last[axis], last[axis] + 0.01)):
            beside[axis] = edge
            assert np.isfinite(deformation.apply(grid.mm_from_index(beside))).all()
            beside[axis] = beyond
            assert np.isnan(deformation.apply(grid.mm_from_index(beside))).all()


def test_an_undefined_vector_leaves_its_neighbourhood_undefined_and_no_more() -> None:
    grid = lattice()
    vectors = noise(grid, 1.0)
    vectors[2, 3, 3] = np.nan
    deformation = field(grid, vectors)
    assert np.isnan(deformation.apply(grid.mm_from_index([1.5, 2.5, 2.5]))).all()
    assert np.isfinite(deformation.apply(grid.mm_from_index([[1.0, 3.0, 3.0], [0.5, 2.5, 2.5]]))).all()


def test_a_point_on_a_vector_takes_nothing_from_its_neighbours() -> None:
    """On a lattice of whole millimetres, where the index of a vector is exact."""
    grid = Grid.regular(np.diag([2.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]], (4, 5, 6), CT)
    vectors = noise(grid, 1.0)
    vectors[2, 3, 3] = np.nan
    at = np.array([6.0, 6.0, 2.0])
    np.testing.assert_array_equal(grid.index_from_mm(at), [1.0, 3.0, 3.0])
    np.testing.assert_allclose(displaced(grid, vectors).apply(at), at + vectors[1, 3, 3], rtol=1e-6)


def test_the_jacobian_is_the_slope_of_the_way() -> None:
    grid = lattice()
    deformation = field(grid, noise(grid, 2.0))
    at = grid.mm_from_index([1.3, 2.6, 3.4])
    step = 1e-4 * np.eye(3)
    slow = (deformation.apply(at + step) - deformation.apply(at - step)).T / 2e-4
    np.testing.assert_allclose(deformation.jacobian(at), slow, atol=1e-6)


# and back -------------------------------------------------------------------------------------------------------------


def waves(grid: Grid, size_mm: float) -> np.ndarray:
    """A smooth field that stretches by up to a third at 4 mm."""
    x, y, z = np.moveaxis(grid.centres_mm(), -1, 0)
    return size_mm * np.stack([np.sin(y / 13 + z / 17), np.cos(x / 12), np.sin((x - y) / 15)], axis=-1)


@given(seed=st.integers(0, 10_000), size_mm=st.floats(0.0, 4.0))
def test_unapply_leads_back(seed: int, size_mm: float) -> None:
    grid = lattice((7, 12, 9))
    deformation = field(grid, waves(grid, size_mm).astype(np.float32))
    points = inner(grid, 30, seed)
    np.testing.assert_allclose(deformation.unapply(deformation.apply(points)), points, atol=1e-3)


def test_where_nothing_leads_there_is_no_way_back() -> None:
    grid = lattice()
    deformation = field(grid, waves(grid, 2.0).astype(np.float32))
    far = deformation.apply(grid.mm_from_index([2, 3, 3])) + np.array([200.0, 0.0, 0.0])
    assert np.isnan(deformation.unapply(far)).all()
    assert np.isfinite(deformation.unapply(deformation.apply(grid.mm_from_index([2, 3, 3])))).all()


def test_carried_knows_both_frames_and_no_third() -> None:
    grid = lattice()
    deformation = field(grid, waves(grid, 1.0).astype(np.float32))
    at = grid.mm_from_index([2.2, 3.1, 2.7])
    np.testing.assert_allclose(deformation.carried(deformation.carried(at, CT), MR), at, atol=1e-3)
    with pytest.raises(FrameError, match=PET):
        deformation.carried(at, PET)


# with rigid transforms before and after -------------------------------------------------------------------------------


def test_rigid_transforms_before_and_after_make_one_deformation() -> None:
    grid = lattice()
    deformation = field(grid, noise(grid, 3.0))
    first, last = rigid(CT, PET, (10, 20, -30), (40, 0, -9)), rigid("1.2.6", MR, (0, -70, 15), (3, 8, -600))
    joined = deformation.after(first).then(last)
    assert (joined.target, joined.source) == ("1.2.6", PET)
    points = first.inverse().apply(inner(grid, 20))
    np.testing.assert_allclose(joined.apply(points), last.apply(deformation.apply(first.apply(points))), atol=1e-6)


def test_a_frame_gap_is_no_composition() -> None:
    deformation = field(lattice(), noise(lattice(), 1.0))
    for gap in (rigid(MR, CT, (0, 0, 0), (0, 0, 0)), rigid(PET, CT, (0, 0, 0), (0, 0, 0))):
        with pytest.raises(FrameError, match="frame gap"):
            deformation.then(gap)
    with pytest.raises(FrameError, match="frame gap"):
        deformation.after(rigid(MR, CT, (0, 0, 0), (0, 0, 0)))


# the rigid part -------------------------------------------------------------------------------------------------------

WIDE = lattice((9, 15, 11))
"""About 70 mm each way, so that a ball of 20 mm fits in."""

MIDDLE = WIDE.mm_from_index([4.1, 7.2, 5.3])


def turned_locally(grid: Grid) -> tuple[Deformation, Rigid]:
    """Every vector is where a rotation of 12 degrees around the middle would put its point; and that rotation."""
    mr_from_ct = rigid(MR, CT, (12, -5, 4), (30, -20, 11))
    centres = grid.centres_mm()
    return displaced(grid, mr_from_ct.apply(centres) - centres), mr_from_ct


@pytest.mark.parametrize("frame", [CT, MR])
def test_a_field_that_is_rigid_gives_its_rotation_in_either_direction(frame: str) -> None:
    deformation, mr_from_ct = turned_locally(WIDE)
    expected = mr_from_ct if frame == CT else mr_from_ct.inverse()
    place = MIDDLE if frame == CT else mr_from_ct.apply(MIDDLE)
    found = deformation.rigid_around(place, frame)
    assert (found.rigid.target, found.rigid.source) == (expected.target, expected.source)
    np.testing.assert_allclose(found.rigid.matrix, expected.matrix, atol=1e-4)
    assert found.residual_mm < 1e-3


@pytest.mark.parametrize("frame", [CT, MR])
def test_a_stretched_field_gives_the_rigid_transform_of_least_squares_and_what_it_leaves(frame: str) -> None:
    """Stretched by 10 % along z around the middle: the rim of the ball lies 2 mm off, and the middle stays."""
    stretch = (WIDE.centres_mm()[..., 2] - MIDDLE[2])[..., None] * np.array([0, 0, 0.1])
    found = displaced(WIDE, stretch).rigid_around(MIDDLE, frame)
    np.testing.assert_allclose(found.rigid.matrix, np.eye(4), atol=2e-3)
    assert found.residual_mm == pytest.approx(0.1 * AROUND_MM, abs=1e-3)


def refused(deformation: Deformation, place: Points = MIDDLE, frame: str = CT) -> DeformationError:
    with pytest.raises(DeformationError) as caught:
        deformation.rigid_around(place, frame)
    return caught.value


def test_a_field_that_bends_more_than_tissue_may_is_refused() -> None:
    stretch = (WIDE.centres_mm()[..., 2] - MIDDLE[2])[..., None] * np.array([0, 0, 0.2])
    error = refused(displaced(WIDE, stretch))
    finding = error.finding("L3")
    assert (finding.code, finding.level, finding.lesion) == ("registration-not-locally-rigid", Level.HOLD, "L3")
    assert finding.value == pytest.approx(0.2 * AROUND_MM, abs=1e-3)
    assert finding.limit == MOST_RESIDUAL_MM


@pytest.mark.parametrize("frame", [CT, MR])
def test_a_field_that_folds_is_refused(frame: str) -> None:
    """One vector of 20 mm against the 9 mm to the next slice turns the cell between them inside out."""
    vectors = np.zeros((*WIDE.shape, 3))
    vectors[5, 8, 6] = -20.0 * WIDE.normal
    error = refused(displaced(WIDE, vectors), frame=frame)
    assert error.code == "registration-folds"
    assert error.finding().level is Level.HOLD


def test_a_ball_that_leaves_the_grid_is_refused_in_either_direction() -> None:
    deformation, mr_from_ct = turned_locally(WIDE)
    close = MIDDLE + 25.0 * OBLIQUE[:, 0]
    assert deformation.grid.contains(close)
    assert refused(deformation, close).code == "registration-outside-grid"
    assert refused(deformation, mr_from_ct.apply(close), MR).code == "registration-outside-grid"
    assert refused(deformation, MIDDLE + 500.0, MR).code == "registration-outside-grid"


def test_a_ball_with_an_undefined_vector_is_refused() -> None:
    deformation, _ = turned_locally(WIDE)
    vectors = deformation.vectors_mm.copy()
    vectors[4, 8, 5] = np.nan
    assert refused(displaced(WIDE, vectors)).code == "registration-outside-grid"


def test_a_smaller_ball_may_stay_inside() -> None:
    deformation, mr_from_ct = turned_locally(WIDE)
    close = MIDDLE + 25.0 * OBLIQUE[:, 0]
    np.testing.assert_allclose(deformation.rigid_around(close, CT, 4.0).rigid.apply(close), mr_from_ct.apply(close))


@pytest.mark.parametrize("frame", [CT, MR])
def test_over_many_points_the_rigid_transform_leaves_out_what_is_undefined(frame: str) -> None:
    deformation, mr_from_ct = turned_locally(WIDE)
    inside, outside = inner(WIDE, 40), inner(WIDE, 9) + 500.0
    points = np.concatenate([inside, outside])
    expected = mr_from_ct if frame == CT else mr_from_ct.inverse()
    sent = points if frame == CT else mr_from_ct.apply(points)
    np.testing.assert_allclose(deformation.rigid_over(sent, frame).rigid.matrix, expected.matrix, atol=1e-4)
    with pytest.raises(DeformationError) as caught:
        deformation.rigid_over(outside if frame == CT else mr_from_ct.apply(outside), frame)
    assert caught.value.code == "registration-outside-grid"


@given(
    degrees=st.tuples(*[st.floats(-179, 179)] * 3),
    shift=st.tuples(*[st.floats(-500, 500)] * 3),
    seed=st.integers(0, 1000),
)
def test_the_nearest_rigid_of_rigid_pairs_is_theirs(
    degrees: tuple[float, float, float], shift: tuple[float, float, float], seed: int
) -> None:
    mr_from_ct = rigid(MR, CT, degrees, shift)
    points = np.random.default_rng(seed).normal(scale=30.0, size=(12, 3))
    found = nearest_rigid(mr_from_ct.apply(points), points, MR, CT)
    np.testing.assert_allclose(found.rigid.matrix, mr_from_ct.matrix, atol=1e-6)
    assert found.residual_mm < 1e-6


def test_the_nearest_rigid_is_never_a_mirror() -> None:
    points = np.random.default_rng(3).normal(scale=30.0, size=(12, 3))
    assert np.linalg.det(nearest_rigid(points * [-1, 1, 1], points, MR, CT).rigid.matrix[:3, :3]) > 0.999


# what is none ---------------------------------------------------------------------------------------------------------


def test_what_makes_no_deformation_is_refused() -> None:
    grid, vectors = lattice(), noise(lattice(), 1.0)
    flat = lattice((1, 7, 6))
    infinite = vectors.copy()
    infinite[0, 0, 0, 0] = np.inf
    origins = grid.slice_origins_mm.copy()
    origins[-1] += 1.0 * grid.normal
    uneven = Grid(origins, grid.step_j_mm, grid.step_i_mm, grid.shape, CT)
    for broken in (
        lambda: field(grid, vectors[:-1]),
        lambda: field(flat, noise(flat, 1.0)),
        lambda: field(uneven, vectors),
        lambda: field(grid, infinite),
        lambda: field(grid, np.full_like(vectors, np.nan)),
        lambda: field(grid, vectors, pre=np.diag([1.0, 1.0, -1.0, 1.0])),
        lambda: field(grid, vectors, post=np.diag([1.0, 1.0, 0.0, 1.0])),
        lambda: field(grid, vectors, post=np.eye(4) + np.eye(4, k=-3)),
        lambda: field(grid, vectors, target=CT),
        lambda: field(grid, vectors, target=""),
    ):
        with pytest.raises(GeometryError):
            broken()


def test_vectors_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        field(lattice(), noise(lattice(), 1.0)).vectors_mm[0, 0, 0, 0] = 1.0
