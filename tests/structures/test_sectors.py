"""The CTV in the spine by sectors: a vertebra of six boxes, and rules that are data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psdt_planner.protocol import Sectors
from psdt_planner.shapes import Shape
from psdt_planner.shipped import shipped_protocol
from psdt_planner.structures import Part, SpineCtv, ctv_parts, part_of, spine_ctv
from tests.structures.bodies import ball, box, fine_ct, holds, volume_ml

BODY, SPINOUS = Part("L4", "body"), Part("L4", "spinous")
PED_L, PED_R, LAM_L, LAM_R = (Part("L4", what, side) for what in ("pedicle", "lamina") for side in "LR")
ALL = (BODY, SPINOUS, PED_L, PED_R, LAM_L, LAM_R)

# In LPS: left is +x, back is +y.
PLACES = {
    BODY: ((-16, -14, -9), (16, 8, 9)),
    PED_L: ((9, 8.5, -4), (15, 16, 5)),
    PED_R: ((-15, 8.5, -4), (-9, 16, 5)),
    LAM_L: ((5, 16.5, -6), (25, 24, 5)),
    LAM_R: ((-25, 16.5, -6), (-5, 24, 5)),
    SPINOUS: ((-4, 24.5, -8), (4, 36, 4)),
}
CT = fine_ct("FFP")
VERTEBRA = {part: box(CT, *place, 0.7) for part, place in PLACES.items()}


@pytest.fixture(scope="module")
def rule() -> Sectors:
    found = shipped_protocol().sites["spine"].sectors
    assert found is not None
    return found


def ctv(
    rule: Sectors, *balls: tuple[tuple[float, float, float], float], known: Mapping[Part, Shape] = VERTEBRA
) -> SpineCtv:
    shapes = [ball(CT, centre, radius, 0.5) for centre, radius in balls]
    if len(shapes) == 1:
        return spine_ctv(shapes[0], known, rule)
    grid = box(CT, (-30, -20, -12), (30, 40, 12), 0.7).grid
    points = grid.centres_mm()
    field = np.max([radius - np.linalg.norm(points - centre, axis=-1) for centre, radius in balls], axis=0)
    return spine_ctv(Shape(grid, field.astype(np.float32)), known, rule)


# names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("VB_L4", Part("L4", "body")),
        ("VB_T04", Part("T4", "body")),
        ("VB_T4_Spin", Part("T4", "spinous")),
        ("vb_t12_ped_l", Part("T12", "pedicle", "L")),
        (" VB_S1_Lam_R ", Part("S1", "lamina", "R")),
    ],
)
def test_a_sector_is_known_by_its_name(name: str, part: Part) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize(
    "name",
    ["L4", "VB_L4_S1", "VB_L4_Ped", "VB_L4_Spin_L", "VB_X4", "VB_L4_1", "xVB_L4", "VB_L4_Ped_LR", "VB_L444"],
)
def test_any_other_name_is_no_sector(name: str) -> None:
    assert part_of(name) is None


@given(
    st.sampled_from("CTLS"), st.integers(1, 12), st.sampled_from(["", "_Spin", "_Ped_L", "_Ped_R", "_Lam_L", "_Lam_R"])
)
def test_names_fit_tg263_and_are_one_to_one(region: str, number: int, end: str) -> None:
    name = f"VB_{region}{number:02d}{end}"
    part = part_of(name)
    assert part is not None
    assert len(name) <= 16
    assert part.level == f"{region}{number}"
    assert part == part_of(f"VB_{region}{number}{end}")


def test_a_sector_has_words() -> None:
    assert [str(part) for part in (BODY, PED_L, LAM_R)] == ["body of L4", "left pedicle of L4", "right lamina of L4"]


# rules ----------------------------------------------------------------------------------------------------------------

TABLE = [
    ({BODY}, set(), {BODY}),
    ({BODY}, {("lateralised", "L")}, {BODY, PED_L, LAM_L}),
    ({BODY}, {("lateralised", "R")}, {BODY, PED_R, LAM_R}),
    ({BODY}, {("diffuse", "")}, {BODY, PED_L, PED_R, LAM_L, LAM_R}),
    ({BODY, PED_R}, set(), {BODY, PED_R, LAM_R}),
    ({BODY, PED_L, PED_R}, set(), set(ALL)),
    ({PED_L}, set(), {PED_L, LAM_L}),
    ({LAM_R}, set(), {LAM_R, PED_R, SPINOUS}),
    ({SPINOUS}, set(), {SPINOUS, LAM_L, LAM_R}),
    ({BODY, LAM_L}, set(), {BODY, LAM_L, PED_L, SPINOUS}),
    (set(), set(), set()),
]


@pytest.mark.parametrize(("involved", "extents", "expected"), TABLE)
def test_the_consensus_row_by_row(
    rule: Sectors, involved: set[Part], extents: set[tuple[str, str]], expected: set[Part]
) -> None:
    assert ctv_parts("L4", involved, extents, rule.rules) == expected


@given(
    st.sets(st.sampled_from(ALL)),
    st.sets(st.sampled_from([("diffuse", ""), ("lateralised", "L"), ("lateralised", "R")])),
)
def test_left_and_right_are_alike(involved: set[Part], extents: set[tuple[str, str]]) -> None:
    found = shipped_protocol().sites["spine"].sectors
    assert found is not None
    mirror = {"L": "R", "R": "L", "": ""}

    def mirrored(parts: set[Part]) -> set[Part]:
        return {Part(part.level, part.sector, mirror[part.side]) for part in parts}

    one = ctv_parts("L4", involved, extents, found.rules)
    other = ctv_parts("L4", mirrored(involved), {(how, mirror[side]) for how, side in extents}, found.rules)
    assert mirrored(one) == other
    assert involved <= one, "a sector with disease is in the CTV"


# shapes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("balls", "involved", "added"),
    [
        ([((0, 0, 0), 5.0)], {BODY}, {BODY}),
        ([((9, 0, 0), 5.0)], {BODY}, {BODY, PED_L, LAM_L}),
        ([((-9, 0, 0), 5.0)], {BODY}, {BODY, PED_R, LAM_R}),
        ([((12, 12, 0), 2.5)], {PED_L}, {PED_L, LAM_L}),
        ([((0, 30, -2), 3.0)], {SPINOUS}, {SPINOUS, LAM_L, LAM_R}),
        ([((-12, 8, 0), 5.0)], {BODY, PED_R}, {BODY, PED_R, LAM_R}),
        ([((12, 8, 0), 5.0), ((-12, 8, 0), 5.0)], {BODY, PED_L, PED_R}, set(ALL)),
    ],
)
def test_where_the_gtv_lies_decides(
    rule: Sectors, balls: list[tuple[tuple[float, float, float], float]], involved: set[Part], added: set[Part]
) -> None:
    found = ctv(rule, *balls)
    assert (set(found.involved), set(found.added)) == (involved, added)
    assert found.missing == ()
    assert found.known
    for part, (low, high) in PLACES.items():
        inside = [np.mean([low, high], axis=0), np.array(low) + 0.6, np.array(high) - 0.6]
        in_gtv = [any(np.linalg.norm(place - centre) < radius for centre, radius in balls) for place in inside]
        held = holds(found.shape, inside)
        assert held.all() if part in added else (held == in_gtv).all()
    assert all(holds(found.shape, [centre]).all() for centre, _ in balls)


def test_a_body_taken_by_half_is_taken_diffusely(rule: Sectors) -> None:
    found = ctv(rule, ((0, -3, 0), 15.5))
    assert {PED_L, PED_R, LAM_L, LAM_R} <= set(found.added)


def test_a_sector_that_is_touched_is_taken_in_and_asks_for_no_other(rule: Sectors) -> None:
    """Half a millimetre into the pedicle: 0.02 ml."""
    found = ctv(rule, ((12, 5.0, 0), 4.6))
    assert set(found.involved) == {BODY}
    assert PED_L in found.added
    strict = rule.model_copy(update={"rules": tuple(row for row in rule.rules if not row.extent)})
    assert set(ctv(strict, ((12, 5.0, 0), 4.6)).added) == {BODY, PED_L}


def test_disease_outside_every_sector_stays_in_the_ctv(rule: Sectors) -> None:
    found = ctv(rule, ((0, -15, 0), 5.0))
    assert set(found.added) == {BODY}
    assert holds(found.shape, [(0, -19.5, 0)]).all()
    assert not holds(found.shape, [(6, -18, 0)]).any()


def test_sectors_that_nobody_contoured_are_told(rule: Sectors) -> None:
    known = {part: VERTEBRA[part] for part in (BODY, PED_L)}
    found = ctv(rule, ((12, 8, 0), 5.0), known=known)
    assert set(found.added) == {BODY, PED_L}
    assert found.missing == (LAM_L,)


def test_without_sectors_the_ctv_is_the_gtv(rule: Sectors) -> None:
    gtv = ball(CT, (0, 0, 0), 5.0)
    for known in ({}, {SPINOUS: VERTEBRA[SPINOUS]}):
        found = spine_ctv(gtv, known, rule)
        assert not found.known
        assert found.shape is gtv
        assert (found.involved, found.added, found.missing, found.swapped) == ((), (), (), ())


def test_two_vertebrae_are_two(rule: Sectors) -> None:
    below = {Part("L5", part.sector, part.side): box(CT, *(np.array(p) - [0, 0, 19] for p in place), 0.7)
             for part, place in PLACES.items()}  # fmt: skip
    found = ctv(rule, ((0, 0, -9.5), 6.0), known={**VERTEBRA, **below})
    assert set(found.added) == {BODY, Part("L5", "body")}


def test_sectors_with_their_sides_swapped_are_not_used(rule: Sectors) -> None:
    swapped = {**VERTEBRA, PED_L: VERTEBRA[PED_R], PED_R: VERTEBRA[PED_L]}
    found = ctv(rule, ((0, 0, 0), 5.0), known=swapped)
    assert found.swapped == ("L4",)
    assert not found.known


def test_the_sides_are_the_vertebras_own_where_its_pedicles_tell(rule: Sectors) -> None:
    """A vertebra turned by 40 degrees about the body's axis: its left is no longer the patient's."""
    angle = np.radians(40)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = {}
    for part, (low, high) in PLACES.items():
        size = np.linalg.norm(np.array(high) - low) / 2
        grid = ball(CT, turn @ np.mean([low, high], axis=0), size, 0.7).grid
        points = grid.centres_mm() @ turn
        turned[part] = Shape(grid, np.minimum(points - low, high - points).min(axis=-1).astype(np.float32))
    found = ctv(rule, (tuple(turn @ [8.0, -9.0, 0.0]), 4.0), known=turned)
    assert set(found.added) == {BODY, PED_L, LAM_L}


def test_the_volumes_are_those_of_the_sectors(rule: Sectors) -> None:
    found = ctv(rule, ((9, 0, 0), 5.0))
    expected = sum(volume_ml(VERTEBRA[part]) for part in (BODY, PED_L, LAM_L))
    assert volume_ml(found.shape) == pytest.approx(expected, rel=0.06)
