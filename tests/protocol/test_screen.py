"""The distance screen against analytic geometry and its own formulas written out, with both sides of every boundary."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psdt_planner.errors import FaultError
from psdt_planner.geometry import Grid
from psdt_planner.protocol import Protocol, near_maximum_limits
from psdt_planner.screen import (
    OrganAt,
    Verdict,
    best_percent,
    mean_percent,
    screened,
    summed,
    worst_percent,
    worst_verdict,
)
from psdt_planner.shapes import Contour
from psdt_planner.structures import distance_mm, overlap_ml, slabs

# PTV in ml; GM in mm; k in 1/mm; worst and mean case in % at 3, 5, 10, 15, 20 and 30 mm, as printed.
PRINTED = """
1.8  6.4  .0347 90 84 71 59 50 35  72 58 34 20 11  4
3.8  7.5  .0347 90 84 71 59 50 35  76 63 40 25 16  6
7.4  8.7  .0347 90 84 71 59 50 35  79 67 45 30 20  9
13.2 9.8  .0347 90 84 71 59 50 35  81 70 49 35 24 12
22   11.0 .0308 91 86 73 63 54 40  83 73 53 39 28 15
34   12.0 .0272 92 87 76 66 58 44  84 75 56 42 32 18
50   13.1 .0239 93 89 79 70 62 49  85 77 59 45 35 20
70   14.1 .0208 94 90 81 73 66 54  86 78 61 48 37 23
95   15.0 .0178 95 91 84 77 70 59  87 79 63 50 40 25
126  16.0 .0157 95 92 85 79 73 62  88 80 65 52 42 27
163  16.9 .0131 96 94 88 82 77 68  88 81 66 54 44 29
"""

AT_MM = (3.0, 5.0, 10.0, 15.0, 20.0, 30.0)


@pytest.mark.parametrize("row", PRINTED.strip().splitlines(), ids=lambda row: row.split()[0])
def test_the_fall_off_as_printed(shipped: Protocol, row: str) -> None:
    assert shipped.falloff
    ptv, gm, k, *cells = map(float, row.split())

    worst = [worst_percent(mm, ptv, shipped.falloff) for mm in AT_MM]
    mean = [mean_percent(mm, ptv, shipped.falloff) for mm in AT_MM]

    # Printed from rounded figures: within one in the last digit.
    np.testing.assert_allclose([*worst, *mean], cells, atol=0.9)
    assert mean_percent(gm, ptv, shipped.falloff) == pytest.approx(50.0, abs=0.6)
    assert worst_percent(1.0, ptv, shipped.falloff) == pytest.approx(100.0 * math.exp(-k), abs=0.02)


@pytest.mark.parametrize(
    ("ptv_ml", "percent"), [(1.79, None), (1.8, 50.0), (17.6, 52.0), (22.0, 54.0), (163.0, 77.0), (163.01, None)]
)
def test_the_table_is_linear_between_its_rows_and_ends_with_them(
    shipped: Protocol, ptv_ml: float, percent: float | None
) -> None:
    assert shipped.falloff
    found = worst_percent(20.0, ptv_ml, shipped.falloff)
    assert found == (None if percent is None else pytest.approx(percent))


def at(mm: float, organ: str = "Rectum", overlap_ml: float = 0.0) -> OrganAt:
    return OrganAt(organ, organ, mm, overlap_ml)


def verdict(shipped: Protocol, where: OrganAt, dose_gy: float, fractions: int = 3, ptv_ml: float = 22.0) -> Verdict:
    [found] = screened([where], shipped, dose_gy=dose_gy, fractions=fractions, ptv_ml=ptv_ml)
    return found.verdict


def test_both_sides_of_every_boundary(shipped: Protocol) -> None:
    """Rectum, 28.2 Gy at a point in 3 fractions (TG-101), PTV of 22 ml: D2cm is 54 %."""
    limit = 28.2
    # Worst case: dose x 0.54^(d/20) meets the limit at d = 20 ln(limit/dose) / ln 0.54.
    ok_mm = 20.0 * math.log(limit / 45.0) / math.log(0.54)
    assert verdict(shipped, at(ok_mm + 0.01), 45.0) is Verdict.LIKELY_OK
    assert verdict(shipped, at(ok_mm - 0.01), 45.0) is Verdict.NEEDS_PLANNING
    # Best case: dose x (1 - 0.1 d) meets the limit at d = 10 (1 - limit/dose).
    infeasible_mm = 10.0 * (1.0 - limit / 45.0)
    assert verdict(shipped, at(infeasible_mm + 0.01), 45.0) is Verdict.NEEDS_PLANNING
    assert verdict(shipped, at(infeasible_mm - 0.01), 45.0) is Verdict.INFEASIBLE
    # Contact, touch and overlap: a planner must look, whatever the numbers say.
    assert verdict(shipped, at(3.0), 30.0) is Verdict.LIKELY_OK
    assert verdict(shipped, at(2.999), 30.0) is Verdict.NEEDS_PLANNING
    assert verdict(shipped, at(2.999), 60.0) is Verdict.NEEDS_PLANNING
    assert verdict(shipped, at(0.0), 10.0) is Verdict.NEEDS_PLANNING
    assert verdict(shipped, at(0.0, overlap_ml=0.01), 60.0) is Verdict.NEEDS_PLANNING


def test_the_best_case_is_never_above_the_worst(shipped: Protocol) -> None:
    # 60 mm away the worst case is below the floor of the best one.
    [found] = screened([at(60.0)], shipped, dose_gy=45.0, fractions=3, ptv_ml=22.0)
    assert found.best_gy == found.worst_gy
    assert found.worst_gy is not None
    assert found.worst_gy < 45.0 * 0.2
    assert shipped.falloff
    assert best_percent(60.0, shipped.falloff) == 20.0


@pytest.mark.parametrize("ptv_ml", [1.0, 200.0])
def test_a_ptv_outside_the_table_needs_planning(shipped: Protocol, ptv_ml: float) -> None:
    [found] = screened([at(40.0)], shipped, dose_gy=30.0, fractions=3, ptv_ml=ptv_ml)
    assert found.verdict is Verdict.NEEDS_PLANNING
    assert "known from 1.8 to 163 ml" in found.why
    assert found.worst_gy is None


def test_an_organ_without_a_limit_of_a_maximum_is_not_evaluated(shipped: Protocol) -> None:
    [lung] = screened([at(0.0, "Lung")], shipped, dose_gy=50.0, fractions=5, ptv_ml=22.0)
    assert lung.verdict is Verdict.NOT_EVALUATED
    assert {limit.metric for limit in lung.for_the_plan} == {"mean", "V20Gy"}


def test_what_nobody_saw_is_not_evaluated(shipped: Protocol) -> None:
    unseen = OrganAt("Rectum", "Rectum", None, unseen="not contoured")
    [found] = screened([unseen], shipped, dose_gy=30.0, fractions=3, ptv_ml=22.0)
    assert (found.verdict, found.why) == (Verdict.NOT_EVALUATED, "not contoured")
    without = shipped.model_copy(update={"falloff": None})
    [found] = screened([at(10.0)], without, dose_gy=30.0, fractions=3, ptv_ml=22.0)
    assert found.verdict is Verdict.NOT_EVALUATED


def test_the_verdict_on_a_regimen_is_that_on_its_worst_organ(shipped: Protocol) -> None:
    organs = [at(40.0), at(1.0), OrganAt("Skin", "Skin", None, unseen="not contoured")]
    screen = screened(organs, shipped, dose_gy=30.0, fractions=3, ptv_ml=22.0)
    assert worst_verdict(screen) is Verdict.NEEDS_PLANNING
    assert worst_verdict(screen[::2]) is Verdict.NOT_EVALUATED
    assert worst_verdict(()) is Verdict.LIKELY_OK


GOOD = {Verdict.LIKELY_OK: 0, Verdict.NEEDS_PLANNING: 1, Verdict.INFEASIBLE: 2}
regimens = st.tuples(st.integers(600, 6000).map(lambda cgy: cgy / 100.0), st.sampled_from([1, 2, 3, 4, 5, 6, 8]))
pairs_of_mm = st.tuples(st.floats(3.0, 120.0), st.floats(3.0, 120.0)).map(sorted)
pairs_of_ml = st.tuples(st.floats(1.8, 163.0), st.floats(1.8, 163.0)).map(sorted)


@given(mm=pairs_of_mm, regimen=regimens, ml=pairs_of_ml)
def test_farther_is_never_worse(
    shipped: Protocol, mm: list[float], regimen: tuple[float, int], ml: list[float]
) -> None:
    near, far = (verdict(shipped, at(one), *regimen, ml[0]) for one in mm)
    assert GOOD[far] <= GOOD[near]


@given(mm=pairs_of_mm, regimen=regimens, ml=pairs_of_ml, more=st.floats(1.0, 3.0))
def test_more_dose_is_never_better(
    shipped: Protocol, mm: list[float], regimen: tuple[float, int], ml: list[float], more: float
) -> None:
    dose_gy, fractions = regimen
    less, greater = (verdict(shipped, at(mm[0]), gy, fractions, ml[0]) for gy in (dose_gy, dose_gy * more))
    assert GOOD[less] <= GOOD[greater]


@given(mm=pairs_of_mm, regimen=regimens, ml=pairs_of_ml)
def test_a_larger_ptv_is_never_better(
    shipped: Protocol, mm: list[float], regimen: tuple[float, int], ml: list[float]
) -> None:
    small, large = (verdict(shipped, at(mm[0]), *regimen, one) for one in ml)
    assert GOOD[small] <= GOOD[large]


def disc(centre_mm: tuple[float, float], radius_mm: float, slices: range, grid: Grid) -> tuple[Contour, ...]:
    """Regular polygons of many corners on slices of an axial grid."""
    turn = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * radius_mm + centre_mm
    return tuple(Contour(np.column_stack([ring, np.full(720, grid.slice_origins_mm[k, 2])]), k) for k in slices)


@pytest.mark.parametrize("gap_mm", [0.5, 2.5, 3.5, 8.0, 14.0, 25.0])
def test_against_slabs_and_cylinders_at_known_distances(shipped: Protocol, gap_mm: float) -> None:
    """An organ beside a cylinder, and one above it: the distance that the screen is given is the analytic one."""
    matrix = np.array([[0, 0, 1.3, -80.0], [0, 1.1, 0, -70.0], [2.5, 0, 0, 100.0], [0, 0, 0, 1]])
    grid = Grid.regular(matrix, (60, 130, 120), "1.2")
    target = slabs(disc((0.0, 0.0), 14.0, range(20, 30), grid), grid)
    beside = slabs(disc((14.0 + gap_mm + 9.0, 0.0), 9.0, range(10, 50), grid), grid)
    apart_mm, shared_ml = distance_mm(target, beside), overlap_ml(target, beside)

    assert apart_mm == pytest.approx(gap_mm, abs=0.02)
    expected = 45.0 * 0.54 ** (apart_mm / 20.0)
    [found] = screened(
        [OrganAt("Rectum", "Rectum", apart_mm, shared_ml)], shipped, dose_gy=45.0, fractions=3, ptv_ml=22.0
    )
    assert found.worst_gy == pytest.approx(expected)
    if gap_mm < 3.0:
        assert found.verdict is Verdict.NEEDS_PLANNING
    elif 45.0 * (1.0 - gap_mm / 10.0) > 28.2:
        assert found.verdict is Verdict.INFEASIBLE
    else:
        assert found.verdict is (Verdict.NEEDS_PLANNING if expected > 28.2 else Verdict.LIKELY_OK)


def ball(centre_mm: tuple[float, float], radius_mm: float, middle: int, grid: Grid) -> tuple[Contour, ...]:
    """A sphere whose centre lies on a slice: a disc on each slice that it meets."""
    z = grid.slice_origins_mm[:, 2]
    reached = [k for k in range(len(z)) if abs(z[k] - z[middle]) < radius_mm]
    discs = (disc(centre_mm, math.sqrt(radius_mm**2 - (z[k] - z[middle]) ** 2), range(k, k + 1), grid) for k in reached)
    return tuple(contour for one in discs for contour in one)


@pytest.mark.parametrize("gap_mm", [-3.0, -1.0, 2.9, 3.1, 9.0, 20.0])
def test_against_spheres_at_known_distances(shipped: Protocol, gap_mm: float) -> None:
    """The distance, and the volume of the lens that two spheres share, are the analytic ones."""
    matrix = np.array([[0, 0, 1.3, -80.0], [0, 1.1, 0, -70.0], [0.5, 0, 0, 100.0], [0, 0, 0, 1]])
    grid = Grid.regular(matrix, (120, 130, 120), "1.2")
    big, small = 17.4, 9.0
    apart = big + small + gap_mm
    target, organ = slabs(ball((0, 0), big, 60, grid), grid), slabs(ball((apart, 0), small, 60, grid), grid)
    near_mm, shared_ml = distance_mm(target, organ), overlap_ml(target, organ)
    if gap_mm < 0:
        lens_ml = math.pi * gap_mm**2 * (apart**2 + 2 * apart * (big + small) - 3 * (big - small) ** 2) / 12e3 / apart
        assert shared_ml == pytest.approx(lens_ml, rel=0.03)
    else:
        assert (near_mm, shared_ml) == (pytest.approx(gap_mm, abs=0.02), 0.0)
    found = verdict(shipped, at(near_mm, overlap_ml=shared_ml), 30.0)
    worst_gy = 30.0 * 0.54 ** (near_mm / 20.0)
    keeps = gap_mm >= 3.0 and worst_gy <= 28.2
    assert found is (Verdict.LIKELY_OK if keeps else Verdict.NEEDS_PLANNING)


def exact_eqd2(dose: Fraction, fractions: int, alpha_beta: int) -> Fraction:
    return dose * (dose / fractions + alpha_beta) / (2 + alpha_beta)


def test_two_targets_are_summed_as_eqd2(shipped: Protocol) -> None:
    """Two targets of 30 Gy in 3, rectum 20 mm from one and 10 mm from the other: 54 % and 54 %^(1/2) at worst."""
    screens = [(3, screened([at(mm)], shipped, dose_gy=30.0, fractions=3, ptv_ml=22.0)) for mm in (20.0, 10.0)]
    [found] = summed(screens, shipped)

    exact = exact_eqd2(Fraction("16.2"), 3, 3) + exact_eqd2(Fraction(30.0 * 0.54**0.5), 3, 3)
    assert found.eqd2_gy == pytest.approx(float(exact))
    assert found.limit_gy == pytest.approx(float(exact_eqd2(Fraction("28.2"), 3, 3)))
    assert found.exceeded, "each alone keeps the limit, both together do not"
    assert not dataclasses.replace(found, limit_gy=found.eqd2_gy).exceeded
    assert summed(screens[:1], shipped) == ()


@pytest.mark.parametrize(
    ("organ", "fractions", "values"),
    [
        ("SpinalCord", 1, {"optimal": 12.4, "max": 14.0}),
        ("SpinalCord", 2, {"max": 17.0}),
        ("SpinalCord", 3, {"max": 20.3}),
        ("SpinalCord", 5, {"max": 25.3}),
        ("SpinalCord", 8, {"mandatory": 32.0}),
        ("SpinalCanal", 3, {"mandatory": 20.3}),
        ("Stomach", 1, {"max": 12.4}),
        ("Stomach", 3, {"mandatory": 22.2}),
        ("BrachialPlex", 5, {"max": 30.5}),
        ("BrachialPlex", 8, {"optimal": 35.0, "mandatory": 39.0}),
        ("Rectum", 3, {"max": 28.2}),
        ("Femur_Head", 3, {}),
    ],
)
def test_the_source_that_is_asked_first(
    shipped: Protocol, organ: str, fractions: int, values: dict[str, float]
) -> None:
    """Cord: HyTEC; else UK 2022 where it has a value, else TG-101; never two of them."""
    found = near_maximum_limits(shipped, organ, fractions)
    assert {limit.kind: limit.value for limit in found} == values
    assert len({limit.set_key for limit in found}) <= 1
    assert all(limit.converted_from is None for limit in found)


def test_a_number_of_fractions_that_no_source_has_is_converted_to_the_lower_neighbour(shipped: Protocol) -> None:
    """Rectum in 2: 18.4 Gy in 1 and 28.2 Gy in 3 at α/β 3 Gy; the dose of equal EQD2 solves d(d+3) = BED x 3 / n."""
    [found] = near_maximum_limits(shipped, "Rectum", 2)

    def in_two(dose: float, fractions: int) -> float:
        product = dose * (dose / fractions + 3.0) / 2.0  # d (d + 3) of one fraction
        return 2.0 * (-3.0 + math.sqrt(9.0 + 4.0 * product)) / 2.0

    assert found.value == pytest.approx(min(in_two(18.4, 1), in_two(28.2, 3)))
    assert found.converted_from in {1, 3}
    assert "converted from" in str(found)
    [beyond] = near_maximum_limits(shipped, "Rectum", 8)
    assert beyond.converted_from == 5


@pytest.mark.parametrize(
    "call",
    [
        lambda: OrganAt("Rectum", "Rectum", None),
        lambda: OrganAt("Rectum", "Rectum", 3.0, unseen="not contoured"),
        lambda: OrganAt("Rectum", "Rectum", -1.0),
        lambda: OrganAt("Rectum", "Rectum", math.inf),
        lambda: OrganAt("Rectum", "Rectum", 1.0, -0.1),
    ],
)
def test_an_organ_without_a_figure_is_refused(call) -> None:
    with pytest.raises(FaultError):
        call()
