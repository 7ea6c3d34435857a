"""What organs and skin take off a target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psdt_planner.errors import FrameError
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Shape
from psdt_planner.structures import Cut, Margin, away_from, below_skin, body_around, grow, what_was_cut, widened
from psdt_planner.structures.fields import on_lattice, united
from tests.structures.bodies import (
    AIR,
    TISSUE,
    ball,
    both,
    box,
    ct_of,
    everywhere,
    fine_ct,
    holds,
    lattice,
    slab,
    tube,
    volume_ml,
    without,
)
from tests.structures.scenes import ORIENTATIONS, either, sphere

POSITIONS = sorted(ORIENTATIONS)
UNEVEN = tuple(np.cumsum([0.0, *([2.0, 3.0, 1.5, 2.5] * 7)]))


# organs ---------------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), position=st.sampled_from(POSITIONS), gap_mm=st.floats(0.0, 4.0))
@settings(max_examples=10, deadline=None)
def test_a_target_keeps_the_gap_from_every_point_of_the_organ(seed: int, position: str, gap_mm: float) -> None:
    rng = np.random.default_rng(seed)
    ct = fine_ct(position)
    organ_at, radius = rng.uniform(-9, 9, 3), float(rng.uniform(2, 5))
    target, organ = ball(ct, (0, 0, 0), 9.0), ball(ct, organ_at, radius)

    cut = away_from(target, organ, gap_mm, ct)

    points = rng.uniform(-10, 10, (2000, 3))
    from_target, from_organ = np.linalg.norm(points, axis=1), np.linalg.norm(points - organ_at, axis=1)
    clear = np.min(np.abs([from_target - 9.0, from_organ - radius - gap_mm]), axis=0) > 0.3
    expected = (from_target <= 9.0) & (from_organ > radius + gap_mm)
    np.testing.assert_array_equal(holds(cut, points[clear]), expected[clear])


def test_an_organ_that_is_not_near_takes_nothing() -> None:
    ct = fine_ct()
    target = ball(ct, (0, 0, 0), 5.0)
    cut = away_from(target, ball(ct, (20, 0, 0), 5.0), 3.0, ct)
    np.testing.assert_array_equal(cut.field > 0, target.field > 0)


def test_an_organ_within_a_target_leaves_a_hole_and_one_across_it_two_parts() -> None:
    ct = fine_ct()
    target = ball(ct, (0, 0, 0), 9.0)
    hollow = away_from(target, ball(ct, (0, 0, 0), 3.0), 1.0, ct)
    assert not holds(hollow, [(0, 0, 0), (3.6, 0, 0)]).any()
    assert holds(hollow, [(4.5, 0, 0), (0, 0, -8.0)]).all()
    halved = away_from(target, box(ct, (-12, -1, -12), (12, 1, 12)), 1.0, ct)
    assert holds(halved, [(0, 4, 0), (0, -4, 0)]).all()
    assert not holds(halved, [(0, 1.6, 0), (0, -1.6, 0), (8.0, 0, 0)]).any()


def test_the_record_of_a_cut_tells_what_was_lost_and_of_what() -> None:
    ct = fine_ct()
    gtv, ctv, ptv = (ball(ct, (0, 0, 0), radius) for radius in (4.0, 6.0, 9.0))
    half = box(ct, (2.25, -12, -12), (14, 12, 12))
    after = away_from(ptv, half, 0.0, ct)

    cut = what_was_cut(ptv, after, gtv, ctv, by="Rectum", gap_mm=0.0)

    def cap_ml(radius: float) -> float:
        height = radius - 2.25
        return np.pi * height**2 * (3 * radius - height) / 3 / 1000

    assert (cut.target, cut.by, cut.gap_mm) == ("PTV", "Rectum", 0.0)
    assert cut.lost_ml == pytest.approx(cap_ml(9.0), rel=0.04)
    assert cut.ctv_ml == pytest.approx(cap_ml(6.0), rel=0.06)
    assert cut.gtv_ml == pytest.approx(cap_ml(4.0), rel=0.15)
    assert cut.lost_part == pytest.approx(cap_ml(9.0) / (4 / 3 * np.pi * 0.729), rel=0.04)
    assert cut.lost_ml == pytest.approx(volume_ml(ptv) - volume_ml(after), abs=1e-9)


def test_a_cut_of_nothing_is_no_part_of_it() -> None:
    ct = fine_ct()
    ptv = ball(ct, (0, 0, 0), 5.0)
    gone = Shape(ptv.grid, np.full(ptv.grid.shape, -1.0, dtype=np.float32))
    assert what_was_cut(gone, gone, ptv, ptv, by="skin", gap_mm=3.0) == Cut("PTV", "skin", 3.0, 0.0, 0.0, 0.0, 0.0)


# skin -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("depth_mm", [0.0, 3.0])
def test_a_target_ends_below_the_skin(position: str, depth_mm: float) -> None:
    """A round trunk of 22 mm half-width: skin at 22 mm on every side."""
    ct = ct_of(fine_ct(position), [(tube(22.0), TISSUE)], AIR)
    gtv, target = ball(ct.grid, (14, 0, 0), 4.0), ball(ct.grid, (14, 0, 0), 10.0)
    body = body_around(gtv, ct, target.grid, depth_mm)
    assert body is not None

    cut = below_skin(target, body, depth_mm)

    edge = 22.0 - depth_mm
    assert holds(cut, [(edge - 0.6, 0, 0), (14, 0, 9), (14, -9, 0), (5, 0, 0)]).all()
    assert not holds(cut, [(edge + 0.6, 0, 0), (edge + 1.5, 0, 3)]).any()


@given(seed=st.integers(0, 10_000), depth_mm=st.floats(1.0, 6.0), uneven=st.booleans())
@settings(max_examples=8, deadline=None)
def test_the_depth_is_the_distance_to_the_nearest_skin(seed: int, depth_mm: float, uneven: bool) -> None:
    rng = np.random.default_rng(seed)
    options = {"offsets_mm": UNEVEN} if uneven else {}
    ct = ct_of(fine_ct("FFS", **options), [(tube(20.0), TISSUE)], AIR)
    angle = rng.uniform(0, 2 * np.pi)
    centre = np.array([13 * np.cos(angle), 13 * np.sin(angle), rng.uniform(-5, 5)])
    target = ball(ct.grid, centre, 9.0)
    body = body_around(ball(ct.grid, centre, 3.0), ct, target.grid, depth_mm)
    assert body is not None
    cut = below_skin(target, body, depth_mm)
    points = centre + rng.uniform(-9, 9, (2000, 3))
    depth, away = 20.0 - np.linalg.norm(points[:, :2], axis=1), np.linalg.norm(points - centre, axis=1)
    clear = np.min(np.abs([depth - depth_mm, away - 9.0]), axis=0) > 0.7
    np.testing.assert_array_equal(holds(cut, points[clear]), ((away <= 9.0) & (depth > depth_mm))[clear])


def test_a_target_deep_in_the_body_is_left_as_it_is() -> None:
    ct = ct_of(fine_ct(), [(everywhere, TISSUE)])
    target = ball(ct.grid, (0, 0, 0), 6.0)
    body = body_around(target, ct, target.grid, 5.0)
    assert body is not None
    assert body.field.min() > 0
    np.testing.assert_array_equal(below_skin(target, body, 5.0).field > 0, target.field > 0)


@pytest.mark.parametrize(("skin_mm", "cut"), [(17.0, False), (10.5, True)])
def test_a_skin_that_lies_near_and_not_within_the_depth_changes_nothing(skin_mm: float, cut: bool) -> None:
    ct = ct_of(fine_ct(), [(tube(skin_mm), TISSUE)], AIR)
    target = ball(ct.grid, (0, 0, 0), 6.0)
    body = body_around(target, ct, target.grid, 5.0)
    assert body is not None
    assert body.field.min() < 0
    assert (below_skin(target, body, 5.0) is target) is not cut


def test_where_the_ct_ends_is_no_skin() -> None:
    ct = ct_of(fine_ct("HFP"), [(tube(22.0), TISSUE)], AIR)
    top = float(ct.grid.slice_origins_mm[:, 2].max())
    target = ball(ct.grid, (0, 0, top - 3.0), 6.0)
    body = body_around(target, ct, target.grid, 3.0)
    assert body is not None
    assert holds(below_skin(target, body, 3.0), [(0, 0, top - 0.5)]).all()


def test_gas_in_the_body_is_no_skin() -> None:
    gas = either(sphere((8, 0, 0), 4.0), sphere((-8, 5, 4), 5.0))
    ct = ct_of(fine_ct(), [(tube(24.0), TISSUE), (gas, AIR)], AIR)
    target = ball(ct.grid, (0, 0, 0), 8.0)
    body = body_around(ball(ct.grid, (0, 0, 0), 3.0), ct, target.grid, 3.0)
    assert body is not None
    assert holds(below_skin(target, body, 3.0), [(7.0, 0, 0), (-6.0, 3.0, 2.0)]).all()


def test_an_arm_beside_the_trunk_is_a_body_of_its_own() -> None:
    trunk, arm = tube(14.0, centre=(-14, 0, 0)), tube(8.0, centre=(17, 0, 0))
    ct = ct_of(fine_ct(), [(either(trunk, arm), TISSUE)], AIR)
    gtv, target = ball(ct.grid, (17, 0, 0), 3.0), ball(ct.grid, (17, 0, 0), 7.0)
    body = body_around(gtv, ct, target.grid, 2.0)
    assert body is not None
    cut = below_skin(target, body, 2.0)
    assert holds(cut, [(17, 5.3, 0), (11.8, 0, 0)]).all()
    assert not holds(cut, [(17, 6.8, 0), (10.3, 0, 0)]).any()


def test_a_couch_that_nothing_touches_is_air_to_the_body() -> None:
    couch = both(slab(25.0, 28.0, axis=1), slab(-25, 25, axis=0))
    ct = ct_of(fine_ct(), [(tube(20.0), TISSUE), (couch, TISSUE)], AIR)
    gtv, target = ball(ct.grid, (0, 15, 0), 3.0), ball(ct.grid, (0, 15, 0), 12.0)
    body = body_around(gtv, ct, target.grid, 2.0)
    assert body is not None
    assert not holds(below_skin(target, body, 0.0), [(0, 26.0, 0), (0, 22.0, 0)]).any()


def test_a_lesion_in_the_air_has_no_body() -> None:
    ct = ct_of(fine_ct(), [(tube(12.0), TISSUE)], AIR)
    assert body_around(ball(ct.grid, (20, 0, 0), 3.0), ct, lattice(ct.grid, 6.0, centre_mm=(20, 0, 0)), 2.0) is None


def test_the_border_of_a_cut_shape_is_outside_still() -> None:
    ct = ct_of(fine_ct(), [(without(everywhere, slab(12.0, 40.0, axis=0)), TISSUE)], AIR)
    target = grow(ball(ct.grid, (6, 0, 0), 4.0), Margin.uniform(5.0), ct.grid)
    body = body_around(ball(ct.grid, (6, 0, 0), 4.0), ct, target.grid, 3.0)
    assert body is not None
    cut = below_skin(target, body, 3.0)
    border = np.ones(cut.grid.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert cut.field[border].max() < 0


# lattices -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", POSITIONS)
def test_shapes_of_different_lattices_unite(position: str) -> None:
    ct = fine_ct(position)
    whole = united([ball(ct, (-6.2, 1, 0), 4.0, 0.4), ball(ct, (7, 0, 3.3), 5.0, 0.7), ball(ct, (0, -9, -8), 2.0)])
    points = np.random.default_rng(3).uniform(-14, 14, (3000, 3))
    away = np.min(
        [
            np.linalg.norm(points - centre, axis=1) - radius
            for centre, radius in (((-6.2, 1, 0), 4.0), ((7, 0, 3.3), 5.0), ((0, -9, -8), 2.0))
        ],
        axis=0,
    )
    clear = np.abs(away) > 0.2
    np.testing.assert_array_equal(holds(whole, points[clear]), (away < 0)[clear])


def test_a_wider_lattice_holds_the_same_points() -> None:
    ct = fine_ct("FFP")
    shape = ball(ct, (1, 2, 3), 4.0)
    wide = widened(shape.grid, 3.0)
    assert np.all(np.array(wide.shape) >= np.array(shape.grid.shape) + 12)
    index = wide.index_from_mm(shape.grid.mm_from_index([(0, 0, 0), (5, 6, 7)]))
    np.testing.assert_allclose(index, np.round(index), atol=1e-6)
    assert volume_ml(Shape(wide, on_lattice(shape, wide))) == pytest.approx(volume_ml(shape))


def test_nothing_is_sampled_across_frames() -> None:
    ct = fine_ct()
    shape = ball(ct, (0, 0, 0), 3.0)
    strange = Grid.regular(shape.grid.mm_from_kji, shape.grid.shape, "1.9")
    with pytest.raises(FrameError, match=r"of frame 1\.9"):
        on_lattice(shape, strange)
