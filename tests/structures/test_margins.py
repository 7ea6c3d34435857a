"""Margins in mm, in patient directions, against an obvious and slow oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from psdt_planner.errors import FrameError, GeometryError, UnsupportedError
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Shape
from psdt_planner.structures import Margin, grow
from psdt_planner.structures.margins import kept_inside
from tests.structures.scenes import CT_FRAME, ORIENTATIONS, ct_grid


def lattice(ct: Grid, half_mm: float, step_mm: float, turn: np.ndarray | None = None) -> Grid:
    axes = np.stack([ct.normal, ct.step_j_mm / ct.spacing_ji_mm[0], ct.step_i_mm / ct.spacing_ji_mm[1]], axis=1)
    axes = axes if turn is None else turn @ axes
    count = int(2 * half_mm / step_mm)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * step_mm, -axes @ np.full(3, half_mm)
    return Grid.regular(matrix, (count, count + 1, count + 2), ct.frame)


def balls(grid: Grid, *balls_mm: tuple[tuple[float, float, float], float]) -> Shape:
    points = grid.centres_mm()
    fields = [radius - np.linalg.norm(points - np.array(centre), axis=-1) for centre, radius in balls_mm]
    return Shape(grid, np.max(fields, axis=0).astype(np.float32))


def holds(shape: Shape, points_mm: np.ndarray) -> np.ndarray:
    index = np.moveaxis(shape.grid.index_from_mm(points_mm), -1, 0)
    return ndimage.map_coordinates(shape.field, index, order=1, mode="nearest") > 0


def gauge(offsets_mm: np.ndarray, margin: Margin) -> np.ndarray:
    """How many margins an offset ``(..., 3)`` in LPS is: the ellipsoid octant it lies in, said directly."""
    ahead = np.array([margin.left, margin.posterior, margin.superior])
    behind = np.array([margin.right, margin.anterior, margin.inferior])
    return np.sqrt(((offsets_mm / np.where(offsets_mm > 0, ahead, behind)) ** 2).sum(axis=-1))


def oracle(points_mm: np.ndarray, seeds_mm: np.ndarray, margin: Margin) -> np.ndarray:
    """Smallest gauge from any of many points of the shape to each point: brute force."""
    return np.array([gauge(point - seeds_mm, margin).min() for point in points_mm])


@given(
    seed=st.integers(0, 10_000),
    mm=st.lists(st.floats(1.0, 7.0), min_size=6, max_size=6),
    position=st.sampled_from(sorted(ORIENTATIONS)),
)
@settings(max_examples=8, deadline=None)
def test_margins_agree_with_brute_force(seed, mm, position):
    rng = np.random.default_rng(seed)
    margin, ct = Margin(*mm), ct_grid(position=position)
    centres = rng.uniform(-3, 3, (2, 3))
    shape = balls(lattice(ct, 10.0, 0.6), (tuple(centres[0]), 4.0), (tuple(centres[1]), 3.0))
    around = rng.uniform(-1, 1, (30_000, 3))
    around = around[np.linalg.norm(around, axis=1) <= 1]
    seeds = np.concatenate([centres[0] + 4.0 * around, centres[1] + 3.0 * around])
    points = rng.uniform(-15, 15, (200, 3))

    grown = grow(shape, margin, ct)

    exact = oracle(points, seeds, margin)
    clear = np.abs(exact - 1.0) * min(mm) > 0.35
    assert clear.sum() > 100
    assert (holds(grown, points) == (exact <= 1.0))[clear].all()


def uneven_steps(ct: Grid, turn: np.ndarray | None = None) -> Grid:
    """A lattice whose steps differ along its three axes: 0.9, 0.5 and 0.7 mm."""
    axes = np.stack([ct.normal, ct.step_j_mm / ct.spacing_ji_mm[0], ct.step_i_mm / ct.spacing_ji_mm[1]], axis=1)
    axes = axes if turn is None else turn @ axes
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * [0.9, 0.5, 0.7], -axes @ [9.9, 10.0, 10.5]
    return Grid.regular(matrix, (23, 41, 31), ct.frame)


@given(seed=st.integers(0, 10_000), mm=st.lists(st.floats(1.0, 6.0), min_size=6, max_size=6))
@settings(max_examples=6, deadline=None)
def test_steps_that_differ_by_axis_do_not_matter(seed, mm):
    rng = np.random.default_rng(seed)
    margin, ct = Margin(*mm), ct_grid(position=sorted(ORIENTATIONS)[seed % 5])
    centre = rng.uniform(-2, 2, 3)
    around = rng.uniform(-1, 1, (20_000, 3))
    seeds = centre + 5.0 * around[np.linalg.norm(around, axis=1) <= 1]
    points = rng.uniform(-13, 13, (200, 3))
    grown = grow(balls(uneven_steps(ct), (tuple(centre), 5.0)), margin, ct)
    exact = oracle(points, seeds, margin)
    clear = np.abs(exact - 1.0) * min(mm) > 0.4
    assert (holds(grown, points) == (exact <= 1.0))[clear].all()


@given(seed=st.integers(0, 10_000), mm=st.floats(0.5, 8.0), depth_mm=st.floats(0.5, 4.0))
@settings(max_examples=8, deadline=None)
def test_on_an_oblique_ct_uniform_margins_outwards_and_inwards_are_distances(seed, mm, depth_mm):
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.uniform(-1, 1, 3)).as_matrix()
    ct, grid = ct_grid(), uneven_steps(ct_grid(), turn)
    centres = rng.uniform(-2, 2, (2, 3))
    shape = balls(grid, (tuple(centres[0]), 5.0), (tuple(centres[1]), 4.0))
    points = rng.uniform(-14, 14, (3000, 3))
    outside = np.min([np.linalg.norm(points - c, axis=1) - r for c, r in zip(centres, (5.0, 4.0), strict=True)], axis=0)

    grown, shrunk = grow(shape, Margin.uniform(mm), ct), kept_inside(shape, depth_mm)

    clear = np.abs(outside - mm) > 0.25
    assert (holds(grown, points) == (outside < mm))[clear].all()
    # Inwards the union of two balls is not the smaller of two distances: measure to points of the outside itself.
    beyond = rng.uniform(-10, 10, (60_000, 3))
    away = [np.linalg.norm(beyond - c, axis=1) - r for c, r in zip(centres, (5.0, 4.0), strict=True)]
    beyond = beyond[np.min(away, axis=0) > 0]
    deep, _ = cKDTree(beyond).query(points)
    assert not holds(shrunk, points[(outside > -0.1) | (deep < depth_mm - 0.3)]).any()
    assert holds(shrunk, points[(outside < -0.5) & (deep > depth_mm + 0.8)]).all()


def test_a_lattice_that_ends_within_a_shape_has_no_surface_there():
    ct = ct_grid()
    grid = lattice(ct, 6.0, 0.5)
    filled = Shape(grid, np.ones(grid.shape, dtype=np.float32))
    assert (kept_inside(filled, 3.0).field > 0).all()
    half = Shape(grid, grid.centres_mm()[..., 0].astype(np.float32))
    kept = kept_inside(half, 2.0)
    assert holds(kept, np.array([[2.2, 0, 0], [5.5, 5.0, -5.0]])).all()
    assert not holds(kept, np.array([[1.8, 0, 0], [-3.0, 0, 0]])).any()


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_each_direction_is_the_patients_whatever_the_ct(position):
    ct = ct_grid(position=position)
    shape = balls(lattice(ct, 8.0, 0.5), ((0.3, -0.2, 0.1), 5.0))
    grown = grow(shape, Margin(left=1, right=2, anterior=3, posterior=4, superior=5, inferior=6), ct)
    reach = {(1, 0, 0): 1, (-1, 0, 0): 2, (0, -1, 0): 3, (0, 1, 0): 4, (0, 0, 1): 5, (0, 0, -1): 6}
    for direction, mm in reach.items():
        ray = np.array([0.3, -0.2, 0.1]) + np.arange(0, 14, 0.02)[:, None] * np.array(direction)
        assert holds(grown, ray).sum() * 0.02 == pytest.approx(5.0 + mm, abs=0.1)


@pytest.mark.parametrize("mm", [0.3, 1.0, 3.0, 5.0, 12.0])
def test_a_uniform_margin_makes_a_larger_ball(mm):
    ct = ct_grid()
    centre = np.array([0.21, -0.37, 0.13])
    grown = grow(balls(lattice(ct, 8.0, 0.4), (tuple(centre), 6.0)), Margin.uniform(mm), ct)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert holds(grown, centre + (6.0 + mm - 0.15) * directions).all()
    assert not holds(grown, centre + (6.0 + mm + 0.05) * directions).any()


def test_a_uniform_margin_does_not_need_the_patients_axes():
    ct = ct_grid()
    angle = np.radians(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    shape = balls(lattice(ct, 8.0, 0.5, turn), ((0, 0, 0), 5.0))
    grown = grow(shape, Margin.uniform(3.0), ct)
    assert holds(grown, np.array([[0, 7.9, 0], [0, 0, -7.9]])).all()
    assert not holds(grown, np.array([[0, 8.1, 0], [0, 0, -8.1]])).any()
    with pytest.raises(UnsupportedError, match="need a CT along the patient's axes"):
        grow(shape, Margin(3, 3, 3, 2, 3, 3), ct)


def test_no_margin_towards_one_side_leaves_that_side_where_it_was():
    ct = ct_grid()
    shape = balls(lattice(ct, 9.0, 0.4), ((0, 0, 0), 6.0))
    grown = grow(shape, Margin(left=5, right=5, anterior=5, posterior=0, superior=5, inferior=5), ct)
    assert holds(grown, np.array([[0, 5.95, 0], [0, -10.8, 0], [10.8, 0, 0]])).all()
    assert not holds(grown, np.array([[0, 6.25, 0], [0, -11.2, 0], [11.2, 0, 0], [4.0, 6.25, 0]])).any()


def test_a_margin_of_nothing_gives_the_same_shape():
    ct = ct_grid()
    shape = balls(lattice(ct, 8.0, 0.5), ((0, 0, 0), 5.0))
    assert grow(shape, Margin.uniform(0.0), ct) is shape


@given(seed=st.integers(0, 10_000), mm=st.lists(st.floats(0.0, 6.0), min_size=6, max_size=6))
@settings(max_examples=8, deadline=None)
def test_the_grown_shape_holds_the_shape_and_has_a_border_outside(seed, mm):
    rng = np.random.default_rng(seed)
    ct = ct_grid()
    shape = balls(lattice(ct, 8.0, 0.6), (tuple(rng.uniform(-2, 2, 3)), 3.0), (tuple(rng.uniform(-2, 2, 3)), 4.0))
    grown = grow(shape, Margin(*mm), ct)
    assert holds(grown, shape.grid.mm_from_index(np.argwhere(shape.field > 0))).all()
    border = np.ones(grown.grid.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert grown.field[border].max() < 0
    assert np.isfinite(grown.field).all()


def test_two_parts_grow_together():
    ct = ct_grid()
    shape = balls(lattice(ct, 14.0, 0.5), ((-7, 0, 0), 4.0), ((7, 0, 0), 4.0))
    assert not holds(shape, np.zeros((1, 3))).any()
    assert holds(grow(shape, Margin.uniform(3.2), ct), np.zeros((1, 3))).all()
    assert not holds(grow(shape, Margin.uniform(2.8), ct), np.zeros((1, 3))).any()


def test_growing_twice_adds_up():
    ct = ct_grid()
    shape = balls(lattice(ct, 8.0, 0.4), ((0, 0, 0), 5.0))
    twice = grow(grow(shape, Margin.uniform(2.0), ct), Margin.uniform(3.0), ct)
    directions = np.random.default_rng(2).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert holds(twice, 9.85 * directions).all()
    assert not holds(twice, 10.05 * directions).any()


def test_a_lattice_is_thinned_only_where_the_margins_are_wide():
    ct = ct_grid()
    shape = balls(lattice(ct, 8.0, 0.35), ((0, 0, 0), 5.0))
    wide, narrow = grow(shape, Margin.uniform(3.0), ct), grow(shape, Margin(3, 3, 3, 3, 3, 0.5), ct)
    assert wide.grid.spacing_ji_mm[0] == pytest.approx(0.7)
    assert narrow.grid.spacing_ji_mm[0] == pytest.approx(0.35)


def test_bad_margins_and_other_frames_are_refused():
    with pytest.raises(GeometryError, match="zero or more in every direction"):
        Margin(1, 1, 1, -0.1, 1, 1)
    with pytest.raises(GeometryError, match="zero or more in every direction"):
        Margin.uniform(float("nan"))
    ct = ct_grid()
    shape = balls(lattice(ct, 8.0, 0.5), ((0, 0, 0), 5.0))
    strange = Shape(Grid.regular(shape.grid.mm_from_kji, shape.grid.shape, "1.9"), shape.field)
    with pytest.raises(FrameError, match=f"on a CT of frame {CT_FRAME}"):
        grow(strange, Margin.uniform(1.0), ct)


def test_an_independent_error_widens_every_direction_in_quadrature() -> None:
    margin = Margin(left=3.0, right=4.0, anterior=0.0, posterior=3.0, superior=4.0, inferior=3.0)
    assert margin.widened(4.0).as_mm == pytest.approx((5.0, np.hypot(4, 4), 4.0, 5.0, np.hypot(4, 4), 5.0))
    assert margin.widened(0.0) == margin
    with pytest.raises(GeometryError):
        margin.widened(float("inf"))
