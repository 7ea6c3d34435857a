"""The CTV that is kept within bone: shafts, joints, breaches, and CTs that do not tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psdt_planner.errors import FrameError
from psdt_planner.geometry import Grid
from psdt_planner.images import Volume
from psdt_planner.protocol import InBone
from psdt_planner.shapes import Shape
from psdt_planner.structures import BoneCtv, Margin, grow, kept_in_bone
from tests.structures.bodies import (
    CORTEX,
    FAT,
    MARROW,
    TISSUE,
    ball,
    both,
    ct_of,
    everywhere,
    fine_ct,
    holds,
    slab,
    tube,
    volume_ml,
    without,
)
from tests.structures.scenes import ORIENTATIONS, either, sphere

RULE = InBone(
    breach_mm=2.0, breach_part=0.05, told_part=0.25, source="Book", place="Table 1", basis="read", certainty="H"
)
UNEVEN = tuple(np.cumsum([0.0, *([2.0, 3.0, 1.5, 2.5] * 8)]))
POSITIONS = sorted(ORIENTATIONS)


def shaft(grid: Grid, half_width_mm: float = 13.0, cortex_mm: float = 3.0, marrow: float = MARROW) -> Volume:
    """A long bone along the body: a tube of cortex with marrow no denser than muscle."""
    return ct_of(grid, [(tube(half_width_mm), CORTEX), (tube(half_width_mm - cortex_mm), marrow)])


def kept(ct: Volume, gtv: Shape, margin_mm: float = 8.0, rule: InBone = RULE) -> BoneCtv:
    return kept_in_bone(gtv, grow(gtv, Margin.uniform(margin_mm), ct.grid), ct, rule)


@pytest.mark.parametrize("position", POSITIONS)
def test_a_margin_in_marrow_ends_at_the_outside_of_the_cortex(position: str) -> None:
    ct = shaft(fine_ct(position))
    found = kept(ct, ball(ct.grid, (6.0, 0.0, 0.5), 4.0))
    assert found.cut
    assert found.told
    assert found.inside_part == 1.0
    assert holds(found.shape, [(12.4, 0, 0.5), (0, 0, 0.5), (-5.4, 0, 0.5), (6, 0, 12.0), (6, 0, -11.0)]).all()
    assert not holds(found.shape, [(13.6, 0, 0.5), (6.0, 12.5, 0.5), (-6.6, 0, 0.5), (6, 0, 13.2)]).any()


@given(
    seed=st.integers(0, 10_000),
    position=st.sampled_from(POSITIONS),
    uneven=st.booleans(),
)
@settings(max_examples=8, deadline=None)
def test_the_ctv_is_the_gtv_with_what_of_its_margin_lies_in_the_bone(seed: int, position: str, uneven: bool) -> None:
    """Against the obvious: a point is in the CTV if it is in the GTV, or near it and within the rod."""
    rng = np.random.default_rng(seed)
    options = {"offsets_mm": UNEVEN} if uneven else {}
    ct = shaft(fine_ct(position, **options), half_width_mm=12.0)
    centre, radius, margin = rng.uniform(-5, 5, 3), float(rng.uniform(3, 5)), float(rng.uniform(3, 8))
    found = kept(ct, ball(ct.grid, centre, radius), margin)
    points = centre + rng.uniform(-15, 15, (4000, 3))
    from_centre, from_axis = np.linalg.norm(points - centre, axis=1), np.linalg.norm(points[:, :2], axis=1)
    expected = (from_centre <= radius) | ((from_centre <= radius + margin) & (from_axis <= 12.0))
    # The surface of the bone is known to half a voxel of the CT.
    clear = np.min(np.abs([from_centre - radius, from_centre - radius - margin, from_axis - 12.0]), axis=0) > 0.6
    assert clear.sum() > 500
    np.testing.assert_array_equal(holds(found.shape, points[clear]), expected[clear])


@given(seed=st.integers(0, 10_000), part=st.floats(0.0, 1.0))
@settings(max_examples=10, deadline=None)
def test_the_gtv_is_always_in_the_ctv(seed: int, part: float) -> None:
    rng = np.random.default_rng(seed)
    ct = shaft(fine_ct("FFP"))
    gtv = ball(ct.grid, np.array([13.0 * part, 0.0, 0.0]) + rng.uniform(-2, 2, 3), float(rng.uniform(2, 6)))
    found = kept(ct, gtv, 5.0)
    inside = gtv.grid.mm_from_index(np.argwhere(gtv.field > 0.15))
    assert holds(found.shape, rng.choice(inside, min(len(inside), 400), replace=False)).all()
    border = np.ones(found.shape.grid.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert found.shape.field[border].max() < 0


def test_what_is_lost_is_what_is_gone() -> None:
    ct = shaft(fine_ct())
    gtv = ball(ct.grid, (6.0, 0.0, 0.0), 4.0)
    grown = grow(gtv, Margin.uniform(8.0), ct.grid)
    found = kept_in_bone(gtv, grown, ct, RULE)
    assert found.lost_ml == pytest.approx(volume_ml(grown) - volume_ml(found.shape), abs=1e-6)
    assert found.lost_ml > 1.0


@pytest.mark.parametrize("joint_mm", [4.0, 5.5])
def test_the_bone_beyond_a_joint_is_another(joint_mm: float) -> None:
    """Two blocks of dense bone with cartilage between them: the margin does not leap across."""
    rod = tube(11.0)
    here, there = both(rod, slab(-40, 0)), both(rod, slab(joint_mm, 40))
    ct = ct_of(fine_ct("HFP"), [(either(here, there), CORTEX)])
    found = kept(ct, ball(ct.grid, (0, 0, -5.0), 4.0))
    assert found.cut
    assert holds(found.shape, [(0, 0, -0.8)]).all()
    assert not holds(found.shape, [(0, 0, joint_mm + 1.5)]).any()


def test_a_lesion_across_a_joint_keeps_both_bones() -> None:
    rod = tube(11.0)
    ct = ct_of(fine_ct(), [(either(both(rod, slab(-40, -2)), both(rod, slab(2, 40))), CORTEX)])
    found = kept(ct, ball(ct.grid, (0, 0, 0.0), 7.0), 4.0)
    assert found.cut
    assert holds(found.shape, [(0, 0, 10.0), (0, 0, -10.0)]).all()
    assert not holds(found.shape, [(9.5, 0, 0.0)]).any(), "the joint beside the lesion is not bone"


def test_a_small_gap_in_the_cortex_is_closed() -> None:
    gap = both(slab(-1.2, 1.2, axis=1), slab(0, 40, axis=0))
    ct = ct_of(fine_ct("FFS"), [(without(tube(13.0), without(gap, tube(10.0))), CORTEX), (tube(10.0), MARROW)])
    found = kept(ct, ball(ct.grid, (3.0, 0.0, 0.0), 4.0), 5.0)
    assert found.cut
    assert holds(found.shape, [(-1.5, 0.0, 0.0), (8.0, 2.0, 0.0)]).all()


def test_a_gtv_that_reaches_out_of_the_bone_is_a_breach_and_nothing_is_cut() -> None:
    ct = shaft(fine_ct("HFDL"))
    gtv = ball(ct.grid, (12.0, 0.0, 0.0), 7.0)
    grown = grow(gtv, Margin.uniform(5.0), ct.grid)
    found = kept_in_bone(gtv, grown, ct, RULE)
    assert (found.cut, found.told) == (False, True)
    assert found.shape is grown
    assert found.lost_ml == 0.0
    points = np.random.default_rng(5).uniform(-7, 7, (200_000, 3))
    points = points[np.linalg.norm(points, axis=1) <= 7.0] + [12.0, 0.0, 0.0]
    # Where cortex meets muscle, 150 HU lies a third of a voxel outside the half-way value.
    far = np.mean(np.linalg.norm(points[:, :2], axis=1)[:, None] > [15.7, 15.0], axis=0)
    assert far[0] < found.breach_part < far[1]


@pytest.mark.parametrize(("at_mm", "cut"), [(9.0, True), (10.2, True), (12.6, False)])
def test_a_little_beyond_the_cortex_may_be_the_registration(at_mm: float, cut: bool) -> None:
    """A ball of 4 mm: at 9 mm it touches the surface, at 10.2 mm it passes it by 1.2 mm, at 12.6 mm by 3.6 mm."""
    ct = shaft(fine_ct())
    assert kept(ct, ball(ct.grid, (at_mm, 0.0, 0.0), 4.0), 5.0).cut == cut


def test_the_rule_says_what_a_breach_is() -> None:
    ct = shaft(fine_ct())
    gtv = ball(ct.grid, (12.6, 0.0, 0.0), 4.0)
    assert kept(ct, gtv, 5.0, RULE.model_copy(update={"breach_part": 0.5})).cut
    assert kept(ct, gtv, 5.0, RULE.model_copy(update={"breach_mm": 4.0})).cut


@pytest.mark.parametrize("hu", [FAT, TISSUE, 120.0])
def test_a_ct_without_bone_there_does_not_tell(hu: float) -> None:
    ct = ct_of(fine_ct(), [(everywhere, hu)])
    gtv = ball(ct.grid, (0, 0, 0), 5.0)
    grown = grow(gtv, Margin.uniform(5.0), ct.grid)
    found = kept_in_bone(gtv, grown, ct, RULE)
    assert (found.cut, found.told, found.inside_part, found.breach_part) == (False, False, 0.0, 0.0)
    assert found.shape is grown


def test_a_lesion_beside_a_bone_is_not_of_it() -> None:
    ct = shaft(fine_ct())
    found = kept(ct, ball(ct.grid, (20.0, 0.0, 0.0), 5.0), 5.0)
    assert (found.cut, found.told) == (False, False)


def test_a_hole_as_wide_as_a_head_is_no_marrow() -> None:
    """A skull: what it encloses is not bone, and the lesion in its wall keeps within the wall."""
    grid = fine_ct("HFS", 45.0)
    ct = ct_of(grid, [(tube(40.0), CORTEX), (tube(34.0), TISSUE)])
    found = kept(ct, ball(grid, (37.0, 0.0, 0.0), 2.5), 6.0)
    assert found.cut
    assert holds(found.shape, [(36.0, 5.0, 0.0)]).all()
    assert not holds(found.shape, [(32.5, 0.0, 0.0)]).any()


def test_specks_beside_the_bone_do_not_join_the_ctv() -> None:
    specks = [sphere((15.5, 0.0, z), 1.6) for z in (-4.0, 0.0, 4.0)]
    grid = fine_ct()
    ct = ct_of(grid, [(tube(13.0), CORTEX), (tube(10.0), MARROW), (either(*specks), CORTEX)])
    found = kept(ct, ball(grid, (6.0, 0.0, 0.0), 4.0))
    assert not holds(found.shape, [(15.8, 0.0, 0.0)]).any()


def test_bone_at_the_end_of_the_ct_is_looked_at_as_far_as_it_goes() -> None:
    ct = shaft(fine_ct("FFS"))
    top = float(ct.grid.slice_origins_mm[:, 2].max())
    found = kept(ct, ball(ct.grid, (4.0, 0.0, top - 5.0), 4.0), 4.0)
    assert found.cut


def test_a_shape_of_another_frame_is_refused() -> None:
    ct = shaft(fine_ct("HFS", 20.0))
    gtv = ball(ct.grid, (0, 0, 0), 3.0)
    strange = Shape(Grid.regular(gtv.grid.mm_from_kji, gtv.grid.shape, "1.9"), gtv.field)
    with pytest.raises(FrameError):
        kept_in_bone(strange, grow(gtv, Margin.uniform(2.0), ct.grid), ct, RULE)
