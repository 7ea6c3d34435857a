"""Earlier dose at places of the planning CT, added up as EQD2: against sums worked by hand and a slow oracle."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from psdt_planner.deformation import Deformation
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.protocol import Reirradiation
from psdt_planner.reirradiation import (
    PlacedCourse,
    Sampled,
    earlier_eqd2_gy,
    hottest,
    isodose_points,
    nearness,
    organ_record,
    sums_gy,
    target_eqd2_gy,
    with_new_dose,
)
from tests.earlier.objects import course, dose_grid, placed

CT, DOSE = "1.2.3.100", "1.2.3.900"
SOURCE = {"source": "made up", "place": "here", "basis": "read", "certainty": "H"}


def cord(**changes: object) -> dict[str, object]:
    row = {"organs": ["SpinalCord"], "eqd2_gy": 70.0, "alpha_beta_gy": 2.0, "volume_ml": 0.0, "from_months": 5.0}
    return {**row, "new_eqd2_gy": 25.0, "new_part": 0.5, **SOURCE, **changes}


def rectum(**changes: object) -> dict[str, object]:
    return {"organs": ["Rectum"], "eqd2_gy": 80.0, "alpha_beta_gy": 3.0, "volume_ml": 0.5, **SOURCE, **changes}


def rule(*limits: dict[str, object], **changes: object) -> Reirradiation:
    near = {"isodose_part": 0.5, "distance_mm": 20.0, **SOURCE}
    return Reirradiation.model_validate({"near": near, "limits": list(limits), **changes})


def ct_from_dose() -> Rigid:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("zyx", [13, -7, 4], degrees=True).as_matrix()
    matrix[:3, 3] = [31.0, -22.0, 410.0]
    return Rigid(matrix, CT, DOSE)


def smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A dose that bends everywhere: a Gaussian over a slope, in the dose's frame."""
    bump = 42.0 * np.exp(-np.sum((points - [3.0, -5.0, 4.0]) ** 2, axis=-1) / (2 * 35.0**2))
    return np.asarray(8.0 + bump + points @ [0.04, -0.03, 0.05])


def ct_grid() -> Grid:
    """A planning CT feet first, with voxels of 1.3 x 0.9 mm and uneven slices, within the dose."""
    offsets = np.array([0.0, 2.0, 4.0, 7.0, 9.0, 11.0])
    origins = np.array([20.0, -35.0, 403.0]) + offsets[:, None] * [0.0, 0.0, 1.0]
    return Grid(origins, np.array([0.0, 1.3, 0.0]), np.array([-0.9, 0.0, 0.0]), (6, 14, 11), CT)


# At every voxel -------------------------------------------------------------------------------------------------------


def test_a_turned_and_resampled_dose_is_right_within_one_percent_at_every_voxel() -> None:
    """Two courses: each voxel's dose by its formula, its EQD2 and the sum by exact fractions."""
    here = ct_from_dose()
    first = placed(course(smooth, dose_grid(DOSE)), here)
    second_field = lambda points: 0.5 * smooth(points[..., [1, 2, 0]])  # noqa: E731
    other = Rigid.identity(CT) @ here
    second = placed(course(second_field, dose_grid(DOSE), identity="C2", fractions=5, prescription_gy=25.0), other)
    points = ct_grid().centres_mm().reshape(-1, 3)
    total, known = earlier_eqd2_gy([first, second], points, 2.0)
    assert known.all()
    back = np.linalg.inv(here.matrix)
    for place, found in zip(points, total, strict=True):
        in_dose = back[:3, :3] @ place + back[:3, 3]
        by_hand = Fraction(0)
        for gy, n in ((smooth(in_dose), 25), (second_field(in_dose), 5)):
            d = Fraction(float(gy)) / n
            by_hand += n * d * (d + 2) / (2 + 2)
        assert found == pytest.approx(float(by_hand), rel=0.01), place


def test_eqd2_is_of_the_interpolated_dose_and_not_interpolated_itself() -> None:
    """Half-way between 0 and 60 Gy in 20: 30 Gy in 20 of 1.5 Gy, EQD2 at 2 Gy 26.25, not half of 75."""
    grid = Grid.regular(np.diag([2.0, 2.0, 2.0, 1.0]), (2, 2, 2), DOSE)
    step = lambda points: np.where(points[..., 0] > 1.0, 60.0, 0.0)  # noqa: E731
    one = placed(course(step, grid, fractions=20), Rigid(np.eye(4), CT, DOSE))
    total, known = earlier_eqd2_gy([one], np.array([[1.0, 1.0, 1.0]]), 2.0)
    assert (total[0], known[0]) == (pytest.approx(26.25), True)


def test_outside_its_lattice_a_dose_is_not_known_and_adds_nothing() -> None:
    one = placed(course(smooth, dose_grid(DOSE)), Rigid(np.eye(4), CT, DOSE))
    total, known = earlier_eqd2_gy([one, one], np.array([[0.0, 0.0, 0.0], [200.0, 0.0, 0.0]]), 3.0)
    assert known.tolist() == [True, False]
    assert total[0] > 0.0
    assert total[1] == 0.0


def test_a_deformed_dose_is_looked_up_through_its_vectors() -> None:
    """A grid of constant vectors is a shift; beyond it nothing is known."""
    grid = Grid.regular(np.diag([5.0, 5.0, 5.0, 1.0]), (9, 9, 9), CT)
    shift = np.broadcast_to(np.float32([4.0, -3.0, 2.0]), (9, 9, 9, 3))
    field = Deformation(grid, np.ascontiguousarray(shift), np.eye(4), np.eye(4), DOSE)
    bent = PlacedCourse(course(smooth, dose_grid(DOSE)), field, CT, "reg-object", "by hand", 0.0)
    places = np.array([[10.0, 11.0, 12.0], [70.0, 10.0, 10.0]])
    dose = bent.dose_gy(places)
    assert dose[0] == pytest.approx(smooth(places[0] + [4.0, -3.0, 2.0]), rel=0.01)
    assert np.isnan(dose[1])
    np.testing.assert_allclose(bent.in_ct(bent.in_dose(places[:1])), places[:1], atol=1e-3)


def test_a_discount_takes_its_part_of_each_course() -> None:
    one = placed(course(smooth, dose_grid(DOSE)), Rigid(np.eye(4), CT, DOSE))
    place = np.zeros((1, 3))
    whole, part = (earlier_eqd2_gy([one, one], place, 3.0, parts)[0][0] for parts in ((), (0.25, 0.5)))
    assert part == pytest.approx(whole / 2 * (0.75 + 0.5))


# Hottest volumes ------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 0.4)), min_size=1, max_size=30),
    st.floats(0.0, 3.0),
)
def test_the_hottest_volume_against_filling_it_point_by_point(points: list[tuple[float, float]], ml: float) -> None:
    doses, volumes = (np.array(column) for column in zip(*points, strict=True))
    filled, expected = 0.0, float(doses.max())
    if ml > 0.0 and volumes.sum() >= ml:
        for dose, volume in sorted(points, key=lambda one: -one[0]):
            filled += volume
            if filled >= ml * (1 - 1e-9):
                expected = dose
                break
    assert hottest(doses, volumes, ml) == expected


def test_points_of_the_surface_count_for_the_maximum_alone() -> None:
    doses, volumes = np.array([50.0, 40.0, 30.0]), np.array([0.0, 0.5, 0.5])
    assert [hottest(doses, volumes, ml) for ml in (0.0, 0.5, 1.0, 1.5)] == [50.0, 40.0, 30.0, 50.0]


# Organs ---------------------------------------------------------------------------------------------------------------


def flat(gy: float, *, fractions: int = 25, days: int | None = 730, **options: object) -> PlacedCourse:
    """A course that gave the same dose everywhere."""
    made = course(lambda points: np.full(points.shape[:-1], gy), dose_grid(DOSE), fractions=fractions, days_before=days)
    return placed(made, Rigid(np.eye(4), CT, DOSE))


def region(count: int = 8, ml: float = 0.25) -> Sampled:
    points = np.random.default_rng(5).uniform(-15, 15, (count, 3))
    return Sampled(points, np.full(count, ml))


def test_the_record_of_a_cord_by_hand() -> None:
    """45 Gy in 25: d 1.8; EQD2 at 2 Gy 45 * 3.8 / 4 = 42.75; left of 70 more than the 25 that the row allows."""
    found = organ_record(("Cord", "SpinalCord"), region(), [flat(45.0)], rule(cord()), [3.0])
    assert (found.max_gy, found.known_part, found.volume_ml) == (pytest.approx(45.0), 1.0, 2.0)
    assert found.max_eqd2_gy == {"2": pytest.approx(42.75), "3": pytest.approx(45 * 4.8 / 5)}
    assert found.figure_eqd2_gy == pytest.approx(42.75)
    assert found.left_eqd2_gy == 25.0
    assert found.recovered_part == (0.0,)
    # 25 Gy EQD2 in 5 fractions: BED 50 = 5 d (1 + d/2) gives d = sqrt(21) - 1.
    assert found.left_gy(5) == pytest.approx(5 * (np.sqrt(21.0) - 1.0))


@pytest.mark.parametrize(
    ("gy", "left"), [(45.0, 25.0), (52.0, 70 - 52 * (2 + 52 / 25) / 4), (70.0, 0.0), (60.0, 4.0), (75.0, 0.0)]
)
def test_what_the_limit_leaves(gy: float, left: float) -> None:
    found = organ_record(("Cord", "SpinalCord"), region(), [flat(gy)], rule(cord()), [3.0])
    assert found.left_eqd2_gy == pytest.approx(left)


def test_an_organ_of_which_no_dose_is_known_has_no_figure() -> None:
    far = Sampled(np.full((3, 3), 300.0), np.ones(3))
    found = organ_record(("Rectum", "Rectum"), far, [flat(45.0)], rule(rectum()), [3.0])
    assert (found.known_part, found.figure_eqd2_gy, found.left_eqd2_gy, found.left_gy(5)) == (0.0, None, None, None)


def test_an_organ_without_a_limit_has_maxima_alone() -> None:
    found = organ_record(("Spleen", "Spleen"), region(), [flat(45.0)], rule(rectum()), [3.0])
    assert (found.limit, found.figure_eqd2_gy, found.left_eqd2_gy) == (None, None, None)
    assert found.max_eqd2_gy == {"3": pytest.approx(43.2)}


@pytest.mark.parametrize(
    ("days", "fractions", "months"),
    [(None, 25, 0.0), (730, 25, 22.83), (30, 25, 0.0), (188, 25, 5.03), (186, 25, 4.96)],
)
def test_the_interval_leaves_out_the_days_that_the_course_took(days: int | None, fractions: int, months: float) -> None:
    assert flat(45.0, fractions=fractions, days=days).months() == pytest.approx(months, abs=0.01)


@pytest.mark.parametrize(("days", "held"), [(188, True), (186, False), (None, False)])
def test_a_limit_counts_from_its_interval_on(days: int | None, held: bool) -> None:
    found = organ_record(("Cord", "SpinalCord"), region(), [flat(45.0, days=days)], rule(cord()), [3.0])
    assert (found.limit is not None) is held
    assert [row.eqd2_gy for row in found.beside] == ([] if held else [70.0])


def test_of_several_courses_the_last_one_tells_the_interval() -> None:
    found = organ_record(("C", "SpinalCord"), region(), [flat(20.0), flat(20.0, days=100)], rule(cord()), [3.0])
    assert found.limit is None


@pytest.mark.parametrize(("on", "eqd2_gy", "part"), [(False, 80.0, 0.0), (True, 100.0, 0.0)])
def test_a_limit_that_presumes_recovery_counts_only_where_it_is_on(on: bool, eqd2_gy: float, part: float) -> None:
    rows = rule(rectum(), rectum(eqd2_gy=100.0, from_months=12.0, with_recovery=True), recovery_on=on)
    found = organ_record(("Rectum", "Rectum"), region(), [flat(45.0)], rows, [3.0])
    assert found.limit is not None
    assert (found.limit.eqd2_gy, found.recovered_part) == (eqd2_gy, (part,))
    assert len(found.beside) == 1


def test_recovery_discounts_only_where_a_clinic_put_it_on() -> None:
    recovery = [{"from_months": 12.0, "part": 0.5, **SOURCE}]
    figures = [
        organ_record(("R", "Rectum"), region(), [flat(45.0)], rule(rectum(), recovery=recovery, recovery_on=on), [3.0])
        for on in (False, True)
    ]
    assert [one.figure_eqd2_gy for one in figures] == [pytest.approx(43.2), pytest.approx(21.6)]


# With the new course --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "obstacles"),
    [
        # 9 Gy in 3: EQD2 at 2 Gy 11.25; with 42.75 of before 54.
        ((9.0, 3), ()),
        # 15 Gy in 3: 26.25, above 25.
        ((15.0, 3), ("new course 26.2 Gy, at most 25 Gy",)),
        # 30 Gy in 3: 90; 132.75 in all, and 68 % of it.
        (
            (30.0, 3),
            (
                "cumulative 132.8 Gy, at most 70 Gy",
                "new course 90.0 Gy, at most 25 Gy",
                "new course 68 % of the sum, at most 50 %",
            ),
        ),
    ],
)
def test_a_schedule_in_the_part_of_the_organ_that_lies_in_the_ptv(
    schedule: tuple[float, int], obstacles: tuple[str, ...]
) -> None:
    courses, rows, organ = [flat(45.0)], rule(cord()), region()
    record = organ_record(("Cord", "SpinalCord"), organ, courses, rows, [3.0])
    inside = np.arange(8) < 2
    found = with_new_dose(record, organ, inside, courses, schedule)
    assert found is not None
    n, d = schedule[1], schedule[0] / schedule[1]
    assert found.eqd2_gy == pytest.approx(n * d * (d + 2) / 4)
    assert found.cumulative_eqd2_gy == pytest.approx(42.75 + n * d * (d + 2) / 4)
    assert found.obstacles == obstacles


def test_a_part_in_the_ptv_smaller_than_the_limits_volume_does_not_decide() -> None:
    """Of a limit on the hottest 0.5 ml, 0.25 ml in the PTV leave the other 0.25 ml at the earlier dose."""
    courses, rows, organ = [flat(45.0)], rule(rectum()), region()
    record = organ_record(("R", "Rectum"), organ, courses, rows, [3.0])
    one, two = (with_new_dose(record, organ, np.arange(8) < n, courses, (30.0, 3)) for n in (1, 2))
    assert one is not None
    assert two is not None
    assert (one.cumulative_eqd2_gy, one.obstacles) == (pytest.approx(43.2), ())
    assert two.cumulative_eqd2_gy == pytest.approx(43.2 + 78.0)
    assert two.obstacles == ("cumulative 121.2 Gy, at most 80 Gy",)


def test_a_target_with_every_schedule_at_every_alpha_beta() -> None:
    earlier = target_eqd2_gy(region(), [flat(45.0)], [1.5, 3.0])
    assert earlier == {"1.5": pytest.approx(45 * 3.3 / 3.5), "3": pytest.approx(43.2)}
    sums = sums_gy(earlier, [(30.0, 3), (20.0, 1)])
    assert sums["30 Gy in 3"]["3"] == pytest.approx(43.2 + 78.0)
    assert sums["20 Gy in 1"]["1.5"] == pytest.approx(45 * 3.3 / 3.5 + 20 * 21.5 / 3.5)


# Nearness -------------------------------------------------------------------------------------------------------------

RADIUS_MM = 17.3


def ball_dose(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """25 Gy at `RADIUS_MM` from the origin, falling by 1 Gy a mm."""
    return np.asarray(np.clip(25.0 - (np.linalg.norm(points, axis=-1) - RADIUS_MM), 0.0, 60.0))


def target_at(distance_mm: float) -> Sampled:
    """One point of a PTV in a direction that is no axis."""
    way = np.array([2.0, -3.0, 6.0]) / 7.0
    return Sampled(((RADIUS_MM + distance_mm) * way)[None], np.ones(1))


@pytest.mark.parametrize("distance_mm", [0.5, 5.0, 12.0, 19.0, 19.9, 20.2, 20.9, 60.0])
def test_the_distance_to_an_isodose_between_lattice_points(distance_mm: float) -> None:
    one = placed(course(ball_dose, dose_grid(DOSE)), Rigid(np.eye(4), CT, DOSE))
    found = nearness(target_at(distance_mm), one, rule())
    assert found.isodose_gy == 25.0
    assert found.distance_mm == pytest.approx(distance_mm, abs=0.5 if distance_mm < 5.0 else 0.1)
    assert found.near is (distance_mm < 20.0)
    assert not found.cut


@pytest.mark.parametrize(("bound_mm", "near"), [(0.0, False), (4.0, False), (6.0, True)])
def test_what_is_not_known_of_the_place_brings_the_volume_nearer(bound_mm: float, near: bool) -> None:
    one = placed(course(ball_dose, dose_grid(DOSE)), Rigid(np.eye(4), CT, DOSE), bound_mm)
    assert nearness(target_at(25.0), one, rule()).near is near


def test_a_target_within_the_volume_has_no_distance() -> None:
    one = placed(course(ball_dose, dose_grid(DOSE)), Rigid(np.eye(4), CT, DOSE))
    assert nearness(target_at(-5.3), one, rule()).distance_mm == 0.0


def test_a_course_that_reached_its_isodose_nowhere_is_near_nothing() -> None:
    weak = course(lambda points: np.full(points.shape[:-1], 10.0), dose_grid(DOSE))
    found = nearness(target_at(0.0), placed(weak, Rigid(np.eye(4), CT, DOSE)), rule())
    assert (found.distance_mm, found.near, found.cut) == (float("inf"), False, False)


def test_a_volume_that_the_lattice_cuts_is_said() -> None:
    assert nearness(target_at(50.0), flat(45.0), rule()).cut


def test_isodose_points_lie_on_the_isodose_or_within() -> None:
    made = course(ball_dose, dose_grid(DOSE))
    away_mm = np.linalg.norm(isodose_points(made, 25.0), axis=1)
    assert away_mm.max() == pytest.approx(RADIUS_MM, abs=0.05)


@given(st.floats(1.0, 40.0), st.floats(0.1, 20.0))
def test_a_higher_isodose_is_never_nearer(distance_mm: float, more: float) -> None:
    made = course(ball_dose, dose_grid(DOSE, half_mm=30.0, steps=(6.0, 5.0, 5.5)))
    one = placed(made, Rigid(np.eye(4), CT, DOSE))
    low, high = (
        Reirradiation.model_validate({"near": {"isodose_part": part, "distance_mm": 20.0, **SOURCE}})
        for part in (0.4, 0.4 + more / 40.0)
    )
    target = target_at(distance_mm)
    assert nearness(target, one, high).distance_mm >= nearness(target, one, low).distance_mm - 1e-9
