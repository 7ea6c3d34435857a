"""BED and EQD2 against exact fractions, and against a table worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psdt_planner.errors import FaultError
from psdt_planner.radiobiology import (
    bed_gy,
    cumulative_eqd2_gy,
    eqd2_gy,
    equieffective_dose_gy,
    lql_bed_gy,
    voxel_eqd2_gy,
)

# Dose in Gy, fractions, then BED and EQD2 at 1.5, at 3 and at 10 Gy, as printed with one digit.
TABLE = """
16     1  186.7   80.0  101.3   60.8   41.6   34.7
18     1  234.0  100.3  126.0   75.6   50.4   42.0
20     1  286.7  122.9  153.3   92.0   60.0   50.0
24     1  408.0  174.9  216.0  129.6   81.6   68.0
24     2  216.0   92.6  120.0   72.0   52.8   44.0
28     2  289.3  124.0  158.7   95.2   67.2   56.0
18     3   90.0   38.6   54.0   32.4   28.8   24.0
21     3  119.0   51.0   70.0   42.0   35.7   29.8
24     3  152.0   65.1   88.0   52.8   43.2   36.0
27     3  189.0   81.0  108.0   64.8   51.3   42.8
30     3  230.0   98.6  130.0   78.0   60.0   50.0
33     3  275.0  117.9  154.0   92.4   69.3   57.8
36     3  324.0  138.9  180.0  108.0   79.2   66.0
45     3  495.0  212.1  270.0  162.0  112.5   93.8
54     3  702.0  300.9  378.0  226.8  151.2  126.0
60     3  860.0  368.6  460.0  276.0  180.0  150.0
25     5  108.3   46.4   66.7   40.0   37.5   31.2
27.5   5  128.3   55.0   77.9   46.8   42.6   35.5
30     5  150.0   64.3   90.0   54.0   48.0   40.0
35     5  198.3   85.0  116.7   70.0   59.5   49.6
36.25  5  211.5   90.6  123.9   74.3   62.5   52.1
40     5  253.3  108.6  146.7   88.0   72.0   60.0
45     5  315.0  135.0  180.0  108.0   85.5   71.2
50     5  383.3  164.3  216.7  130.0  100.0   83.3
55     5  458.3  196.4  256.7  154.0  115.5   96.2
36     6  180.0   77.1  108.0   64.8   57.6   48.0
45     6  270.0  115.7  157.5   94.5   78.8   65.6
60     8  360.0  154.3  210.0  126.0  105.0   87.5
"""

ALPHA_BETA_GY = ("1.5", "3", "10")
ROWS = [tuple(line.split()) for line in TABLE.strip().splitlines()]


def exact_bed(dose: Fraction, fractions: int, alpha_beta: Fraction) -> Fraction:
    """n d (1 + d / (α/β)), word by word and without rounding."""
    per_fraction = dose / fractions
    return fractions * per_fraction * (1 + per_fraction / alpha_beta)


def exact_eqd2(dose: Fraction, fractions: int, alpha_beta: Fraction) -> Fraction:
    return exact_bed(dose, fractions, alpha_beta) / (1 + 2 / alpha_beta)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}Gy/{row[1]}")
def test_every_row_of_the_table_to_its_last_printed_digit(row: tuple[str, ...]) -> None:
    dose, fractions, printed = Fraction(row[0]), int(row[1]), row[2:]

    for n, alpha_beta in enumerate(ALPHA_BETA_GY):
        bed = bed_gy(dose_gy=float(dose), fractions=fractions, alpha_beta_gy=float(alpha_beta))
        eqd2 = eqd2_gy(dose_gy=float(dose), fractions=fractions, alpha_beta_gy=float(alpha_beta))
        assert (f"{bed:.1f}", f"{eqd2:.1f}") == printed[2 * n : 2 * n + 2]
        # The oracle prints the same digits (both round half to even), so the table is not our rounding written down.
        oracle = exact_bed(dose, fractions, Fraction(alpha_beta)), exact_eqd2(dose, fractions, Fraction(alpha_beta))
        assert tuple(f"{float(round(exact, 1)):.1f}" for exact in oracle) == printed[2 * n : 2 * n + 2]


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 28
    assert {len(row) for row in ROWS} == {8}


whole_cgy = st.integers(min_value=100, max_value=20_000).map(lambda cgy: Fraction(cgy, 100))
fraction_counts = st.integers(min_value=1, max_value=60)
alpha_betas = st.integers(min_value=5, max_value=250).map(lambda tenths: Fraction(tenths, 10))


@given(dose=whole_cgy, fractions=fraction_counts, alpha_beta=alpha_betas)
def test_both_formulas_equal_the_exact_ones(dose: Fraction, fractions: int, alpha_beta: Fraction) -> None:
    numbers = {"dose_gy": float(dose), "fractions": fractions, "alpha_beta_gy": float(alpha_beta)}

    assert math.isclose(bed_gy(**numbers), exact_bed(dose, fractions, alpha_beta), rel_tol=1e-14)
    assert math.isclose(eqd2_gy(**numbers), exact_eqd2(dose, fractions, alpha_beta), rel_tol=1e-14)


@given(fractions=fraction_counts, alpha_beta=alpha_betas)
def test_the_eqd2_of_two_gray_fractions_is_the_dose(fractions: int, alpha_beta: Fraction) -> None:
    dose_gy = 2.0 * fractions

    assert eqd2_gy(dose_gy=dose_gy, fractions=fractions, alpha_beta_gy=float(alpha_beta)) == pytest.approx(dose_gy)


@given(dose=whole_cgy, fractions=st.integers(min_value=1, max_value=59), alpha_beta=alpha_betas)
def test_the_same_dose_in_more_fractions_does_less(dose: Fraction, fractions: int, alpha_beta: Fraction) -> None:
    fewer = bed_gy(dose_gy=float(dose), fractions=fractions, alpha_beta_gy=float(alpha_beta))
    more = bed_gy(dose_gy=float(dose), fractions=fractions + 1, alpha_beta_gy=float(alpha_beta))

    assert more < fewer


@pytest.mark.parametrize("formula", [bed_gy, eqd2_gy])
@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"dose_gy": 0.0}, "no total dose"),
        ({"dose_gy": -30.0}, "no total dose"),
        ({"dose_gy": 3000.0}, "no total dose"),
        ({"dose_gy": math.nan}, "no total dose"),
        ({"dose_gy": math.inf}, "no total dose"),
        ({"fractions": 0}, "no number of fractions"),
        ({"fractions": 61}, "no number of fractions"),
        ({"fractions": 3.0}, "no number of fractions"),
        ({"fractions": True}, "no number of fractions"),
        ({"alpha_beta_gy": 0.0}, "no α/β"),
        ({"alpha_beta_gy": 0.49}, "no α/β"),
        ({"alpha_beta_gy": 25.1}, "no α/β"),
        ({"alpha_beta_gy": math.nan}, "no α/β"),
    ],
)
def test_numbers_that_are_no_schedule_are_refused(formula, numbers: dict[str, float], says: str) -> None:
    with pytest.raises(FaultError, match=says):
        formula(**{"dose_gy": 30.0, "fractions": 3, "alpha_beta_gy": 3.0, **numbers})


def test_numbers_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        bed_gy(30.0, 3, 3.0)  # type: ignore[misc]


# Equi-effective dose, LQ-L, voxels and sums ---------------------------------------------------------------------------


@given(dose=whole_cgy, fractions=fraction_counts, others=fraction_counts, alpha_beta=alpha_betas)
def test_an_equieffective_dose_has_the_same_exact_bed(
    dose: Fraction, fractions: int, others: int, alpha_beta: Fraction
) -> None:
    found = equieffective_dose_gy(
        dose_gy=float(dose), fractions=fractions, in_fractions=others, alpha_beta_gy=float(alpha_beta)
    )

    # The equation that the dose solves, in exact fractions: no square root, so not our formula written twice.
    again = exact_bed(Fraction(found), others, alpha_beta)
    assert math.isclose(again, exact_bed(dose, fractions, alpha_beta), rel_tol=1e-12)


def test_an_equieffective_dose_in_the_same_fractions_is_the_dose() -> None:
    same = equieffective_dose_gy(dose_gy=30.0, fractions=3, in_fractions=3, alpha_beta_gy=3.0)
    assert same == pytest.approx(30.0, rel=1e-14)


def exact_lql(dose: Fraction, fractions: int, alpha_beta: Fraction, transition: Fraction) -> Fraction:
    """Fraction by fraction: BED of the transition dose, then the tangent there."""
    each = dose / fractions
    if each <= transition:
        return exact_bed(dose, fractions, alpha_beta)
    tangent = 1 + 2 * transition / alpha_beta
    return sum(
        (exact_bed(transition, 1, alpha_beta) + tangent * (each - transition) for _ in range(fractions)), Fraction(0)
    )


@pytest.mark.parametrize(
    ("dose_gy", "fractions", "lql", "lq"),
    [
        (24.0, 1, "114", "408"),
        (20.0, 1, "94", "287"),
        (27.0, 3, "117", "189"),
        (30.0, 3, "132", "230"),
        (35.0, 5, "145", "198"),
        (40.0, 5, "170", "253"),
    ],
)
def test_lql_beside_lq_as_printed(dose_gy: float, fractions: int, lql: str, lq: str) -> None:
    numbers = {"dose_gy": dose_gy, "fractions": fractions, "alpha_beta_gy": 1.5}

    assert f"{lql_bed_gy(**numbers, transition_gy=3.0):.0f}" == lql
    assert f"{bed_gy(**numbers):.0f}" == lq


@given(dose=whole_cgy, fractions=fraction_counts, alpha_beta=alpha_betas, tenths=st.integers(1, 300))
def test_lql_equals_the_exact_one_and_is_never_above_lq(
    dose: Fraction, fractions: int, alpha_beta: Fraction, tenths: int
) -> None:
    transition = Fraction(tenths, 10)
    numbers = {"dose_gy": float(dose), "fractions": fractions, "alpha_beta_gy": float(alpha_beta)}
    found = lql_bed_gy(**numbers, transition_gy=float(transition))

    assert math.isclose(found, exact_lql(dose, fractions, alpha_beta, transition), rel_tol=1e-13)
    assert found <= bed_gy(**numbers) * (1 + 1e-12)


@given(dose=whole_cgy, fractions=fraction_counts, alpha_beta=alpha_betas)
def test_each_voxel_has_the_eqd2_of_its_own_dose(dose: Fraction, fractions: int, alpha_beta: Fraction) -> None:
    doses = np.array([[[0.0, float(dose)], [float(dose) / 2.0, float(dose) / 7.0]]])

    found = voxel_eqd2_gy(doses, fractions=fractions, alpha_beta_gy=float(alpha_beta))

    assert found.shape == doses.shape
    for index in np.ndindex(doses.shape):
        exact = exact_eqd2(Fraction(doses[index]), fractions, alpha_beta)
        assert math.isclose(found[index], exact, rel_tol=1e-13)


@given(eqd2s=st.lists(st.integers(0, 20_000).map(lambda c: Fraction(c, 100)), max_size=6))
def test_a_sum_without_recovery_is_a_plain_sum(eqd2s: list[Fraction]) -> None:
    assert math.isclose(cumulative_eqd2_gy([float(one) for one in eqd2s]), sum(eqd2s), rel_tol=1e-14)


def test_a_sum_with_recovery_that_was_asked_for() -> None:
    # 60 Gy, a quarter of it recovered, and 25 Gy of now: 45 + 25.
    assert cumulative_eqd2_gy([60.0, 25.0], [0.25, 0.0]) == 70.0
    assert cumulative_eqd2_gy([60.0, 25.0]) == 85.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lql_bed_gy(dose_gy=30.0, fractions=3, alpha_beta_gy=3.0, transition_gy=0.0), "no transition dose"),
        (lambda: lql_bed_gy(dose_gy=30.0, fractions=3, alpha_beta_gy=3.0, transition_gy=math.nan), "no transition"),
        (lambda: lql_bed_gy(dose_gy=3e3, fractions=3, alpha_beta_gy=3.0, transition_gy=6.0), "no total dose"),
        (
            lambda: equieffective_dose_gy(dose_gy=30.0, fractions=3, in_fractions=0, alpha_beta_gy=3.0),
            "no number of fractions",
        ),
        (lambda: voxel_eqd2_gy(np.array([30.0, -0.1]), fractions=3, alpha_beta_gy=3.0), "a dose outside 0 to 200 Gy"),
        (lambda: voxel_eqd2_gy(np.array([3000.0]), fractions=3, alpha_beta_gy=3.0), "a dose outside"),
        (lambda: voxel_eqd2_gy(np.array([math.nan]), fractions=3, alpha_beta_gy=3.0), "a dose outside"),
        (lambda: voxel_eqd2_gy(np.array([3.0]), fractions=0, alpha_beta_gy=3.0), "no number of fractions"),
        (lambda: cumulative_eqd2_gy([30.0, -1.0]), "an EQD2 below 0"),
        (lambda: cumulative_eqd2_gy([30.0, math.inf]), "an EQD2 below 0"),
        (lambda: cumulative_eqd2_gy([30.0], [1.1]), "outside 0 to 1"),
        (lambda: cumulative_eqd2_gy([30.0, 20.0], [0.5]), "1 recovered parts for 2 courses"),
    ],
)
def test_what_is_no_dose_is_refused(call: Callable[[], object], says: str) -> None:
    with pytest.raises(FaultError, match=says):
        call()
