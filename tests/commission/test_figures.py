"""Every figure against a computation by hand; every bar met at its value and missed beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from psdt_planner.commission import LesionRow, Rows, Trial, TrialKind, figures, missed
from psdt_planner.commission.figures import Figure, confidence, median, p95, rank_correlation
from tests.commission.rows import GOOD, GOOD_LESIONS, GOOD_TRIALS, NODE, PROSTATE, case, held, lesion


def keys(rows: Rows) -> list[str]:
    return [figure.key for figure in missed(figures(rows))]


def figure(rows: Rows, key: str) -> Figure:
    return next(figure for figure in figures(rows) if figure.key == key)


def with_lesions(change: Callable[[LesionRow], LesionRow], *, count: int | None = None) -> Rows:
    """The good rows with the first ``count`` lesions changed, all where it is not given."""
    lesions = [change(one) if count is None or n < count else one for n, one in enumerate(GOOD_LESIONS)]
    return Rows((case(lesions),), GOOD_TRIALS)


def at(where: str, **changes: float) -> Rows:
    return with_lesions(lambda one: replace(one, **changes) if one.where == where else one)


def bones(**changes: float) -> Rows:
    return with_lesions(lambda one: replace(one, **changes) if one.in_bone else one)


def with_trial(trial: Trial) -> Rows:
    return Rows(GOOD.cases, (*GOOD_TRIALS, trial))


def test_good_rows_meet_every_bar_and_leave_none_without_data() -> None:
    found = figures(GOOD)
    assert missed(found) == ()
    assert [figure.key for figure in found if figure.value is None] == []
    assert len({figure.key for figure in found}) == len(found)


MISSED = [
    ("starts_right", Rows((case(GOOD_LESIONS, start_median_mm=15.0),), GOOD_TRIALS)),
    ("starts_right", Rows((case(GOOD_LESIONS, level_share=1.0),), GOOD_TRIALS)),
    ("starts_right", Rows((case(GOOD_LESIONS, start_median_mm=None, level_share=None),), GOOD_TRIALS)),
    ("bone_t1_median", bones(t1_error_mm=0.71)),
    ("bone_t1_p95", with_lesions(lambda one: replace(one, t1_error_mm=2.9), count=4)),
    ("bone_dwi_median", bones(error_mm=1.01)),
    ("bone_dwi_p95", with_lesions(lambda one: replace(one, error_mm=3.1, bound_mm=4.0), count=4)),
    ("rib_t1_p95", at("rib", t1_error_mm=3.01)),
    ("femur_t1_p95", at("femur", t1_error_mm=3.01)),
    ("node_t1_median", at("node", t1_error_mm=1.51)),
    ("worst", at("prostate", t1_error_mm=5.01)),
    ("worst", at("prostate", error_mm=5.01)),
    ("refused", with_lesions(lambda one: replace(one, status="held"), count=3)),
    ("covered", with_lesions(lambda one: replace(one, bound_mm=0.49), count=3)),
    ("bound_median", with_lesions(lambda one: replace(one, bound_mm=2.51))),
    ("level_off_noticed", with_trial(Trial(TrialKind.LEVEL_OFF, "pelvis 1 ×1", False))),
    ("level_false_alarms", with_trial(Trial(TrialKind.LEVEL_RIGHT, "pelvis 1 ×1", True, ("lesion-level",)))),
    ("wrong_patient", with_trial(Trial(TrialKind.WRONG_PATIENT, "pelvis 3 ×1", False))),
]


@pytest.mark.parametrize(("key", "rows"), MISSED, ids=[f"{n}-{key}" for n, (key, _) in enumerate(MISSED)])
def test_a_miss_is_named_and_nothing_else_is(key: str, rows: Rows) -> None:
    assert keys(rows) == [key]


def test_the_95th_percentile_of_nodes_has_a_bar_of_its_own() -> None:
    nodes = [lesion(**NODE, t1_error_mm=error) for error in (1.0, 1.0, 3.5)]
    rows = Rows((case([*nodes, *GOOD_LESIONS[:40]]),))
    assert figure(rows, "node_t1_p95").value == pytest.approx(1.0 + 0.9 * 2.5)
    assert keys(rows) == ["node_t1_p95"]


def test_every_bar_is_missed_by_one_of_these_tests() -> None:
    assert {key for key, _ in MISSED} | {"node_t1_p95"} == {f.key for f in figures(GOOD) if f.bar is not None}


def test_at_the_bar_is_met() -> None:
    errors = {"spine": (1.0, 0.7), "bone": (3.0, 0.7), "pelvic-node": (1.5, 1.5), "prostate": (5.0, 5.0)}
    rows = with_lesions(
        lambda one: (
            replace(one, error_mm=errors[one.site][0], t1_error_mm=errors[one.site][1], bound_mm=2.5)
            if one.site != "prostate"
            else replace(one, error_mm=5.0, t1_error_mm=5.0, bound_mm=5.0)
        )
    )
    assert figure(rows, "worst").value == 5.0
    assert figure(rows, "bound_median").value == 2.5
    assert keys(rows) == []


@pytest.mark.parametrize(("held_count", "expected"), [(0, 0.0), (1, 5.0), (2, 10.0)])
def test_the_share_of_held_lesions_counts_every_site(held_count: int, expected: float) -> None:
    lesions = [*[held(**PROSTATE) for _ in range(held_count)], *[lesion() for _ in range(20 - held_count)]]
    found = figure(Rows((case(lesions),)), "refused")
    assert (found.value, found.count, found.missed) == (expected, 20, expected > 5.0)


def test_held_lesions_count_for_nothing_but_refusals_and_coverage_of_all() -> None:
    rows = Rows((case([lesion(error_mm=0.4), held(error_mm=30.0, t1_error_mm=30.0, bound_mm=12.0)]),))
    values = {f.key: (f.value, f.count) for f in figures(rows)}
    assert values["worst"] == (0.5, 1)
    assert values["bone_dwi_p95"] == (0.4, 1)
    assert values["covered"] == (100.0, 1)
    assert values["bound_median"] == (2.0, 1)
    assert values["covered_all"] == (50.0, 2)


def test_every_lesion_of_a_case_that_is_refused_as_a_whole_counts_as_refused() -> None:
    cases = (case([lesion()] * 3), case([lesion(), held()], refused_for=("registration-wrong-patient",)))
    assert figure(Rows(cases), "refused").value == pytest.approx(40.0)


def test_a_lesion_without_a_transform_is_refused_and_measured_nowhere() -> None:
    nothing = held("case-held", start_mm=None, error_mm=None, t1_error_mm=None, bound_mm=None, disagreement_mm=None)
    found = {f.key: f for f in figures(Rows((case([nothing], start_median_mm=None, level_share=None),)))}
    assert [key for key, one in found.items() if one.missed] == ["starts_right", "refused"]
    nowhere = ("bone_t1_median", "worst", "covered", "covered_all", "start_p95")
    assert [key for key in nowhere if found[key].value is not None] == []


def test_medians_and_percentiles_by_hand() -> None:
    assert median([3.0, 1.0, 2.0, 10.0]) == 2.5
    assert p95([float(n) for n in range(1, 22)]) == 20.0
    assert p95([0.0, 1.0]) == pytest.approx(0.95)
    rows = Rows((case([lesion(t1_error_mm=float(n), error_mm=2.0 * n) for n in range(1, 22)]),))
    assert [figure(rows, f"bone_{of}").value for of in ("t1_median", "t1_p95", "dwi_median", "dwi_p95")] == [
        11.0, 20.0, 22.0, 40.0,
    ]  # fmt: skip
    assert figure(rows, "start_median").value == 3.0


def test_times_are_medians_over_cases() -> None:
    cases = [
        case([lesion()] * 2, cpu_s=10.0, wall_s=5.0, whole_body_cpu_s=1.0, lesions_cpu_s=4.0),
        case([lesion()] * 3, cpu_s=30.0, wall_s=20.0, whole_body_cpu_s=3.0, lesions_cpu_s=18.0),
    ]
    keys_of_time = ("case_cpu", "case_wall", "whole_body_cpu", "lesion_cpu")
    assert [figure(Rows(tuple(cases)), key).value for key in keys_of_time] == [20.0, 12.5, 2.0, 4.0]


def test_the_interval_of_a_share_is_the_exact_one() -> None:
    low, high = confidence([1.0] * 10)
    assert (low, high) == (pytest.approx(100 * 0.025**0.1), 100.0)
    low, high = confidence([0.0] * 10)
    assert (low, high) == (0.0, pytest.approx(100 * (1 - 0.025**0.1)))
    assert figure(GOOD, "refused").interval == (0.0, pytest.approx(100 * (1 - 0.025 ** (1 / 46))))
    assert figure(GOOD, "worst").interval is None


def test_the_rank_correlation_is_one_minus_six_sums_of_squares() -> None:
    pairs = [(0.1, 0.3), (0.2, 0.1), (0.3, 0.9), (0.4, 0.7), (5.0, 30.0)]
    lesions = [lesion(disagreement_mm=a, error_mm=b) for a, b in pairs]
    lesions.append(held(disagreement_mm=None))
    squares = 1 + 1 + 1 + 1 + 0  # ranks 1..5 against 2, 1, 4, 3, 5
    assert rank_correlation(lesions) == (pytest.approx(1 - 6 * squares / (5 * 24)), 5)


TOO_LITTLE = ([], [lesion(), lesion(error_mm=2.0, disagreement_mm=1.0)], [lesion(error_mm=float(n)) for n in range(5)])


@pytest.mark.parametrize("lesions", TOO_LITTLE, ids=["none", "two", "constant"])
def test_there_is_no_rank_correlation_of_too_little(lesions: list[LesionRow]) -> None:
    assert rank_correlation(lesions) == (None, len(lesions))


def test_a_deformation_has_its_own_figures_without_the_trials() -> None:
    calm, hard = case([lesion(error_mm=0.2)]), case([lesion(error_mm=0.8)], deformation=1.8)
    rows = Rows((hard, calm), GOOD_TRIALS)
    assert rows.deformations == (1.0, 1.8)
    assert [figure(rows.of_deformation(d), "bone_dwi_median").value for d in (1.0, 1.8)] == [0.2, 0.8]
    assert figure(rows, "bone_dwi_median").value == 0.5
    assert figure(rows.of_deformation(1.8), "wrong_patient").value is None
