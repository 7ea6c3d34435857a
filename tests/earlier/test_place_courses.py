"""Earlier courses beside the plan: which way the dose comes to the planning CT, what organs got, what is forbidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from psdt_planner.exam import EarlierCourse, Exam, ImportedRegistration, Organ
from psdt_planner.findings import Level
from psdt_planner.fractionation import EARLIER_NOT_EVALUATED, Abstention, Proposal, TargetFacts, propose
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.images import Volume
from psdt_planner.planning.earlier import (
    NOTHING_EARLIER,
    Earlier,
    place_courses,
    reconsidered,
    standard_name,
    target_record,
)
from psdt_planner.protocol import Protocol, Reirradiation, parse_protocol
from psdt_planner.reirradiation import TargetRecord
from psdt_planner.shapes import Contour, Roi, RoiKind
from tests.earlier.objects import course, dose_grid
from tests.earlier.test_reirradiation import RADIUS_MM, ball_dose, cord, rectum, rule
from tests.protocol.conftest import ROUND_NUMBERS
from tests.structures.bodies import ct_of
from tests.structures.scenes import CT_FRAME, ct_grid

DOSE_FRAME = "1.2.3.900"
EVERY_2_MM = tuple(2.0 * k for k in range(60))


def ct() -> Volume:
    return ct_of(ct_grid(offsets_mm=EVERY_2_MM, shape_ji=(60, 70)), [])


def protocol(of_earlier: Reirradiation | None) -> Protocol:
    return parse_protocol(ROUND_NUMBERS, "round").model_copy(update={"reirradiation": of_earlier})


def box(grid: Grid, low: ArrayLike, high: ArrayLike) -> tuple[Contour, ...]:
    (x0, y0, z0), (x1, y1, z1) = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    rings = []
    for k, z in enumerate(grid.slice_origins_mm[:, 2]):
        if z0 <= z <= z1:
            corners = np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]])
            rings.append(Contour(corners, k))
    return tuple(rings)


def ptv(grid: Grid, low: ArrayLike, high: ArrayLike) -> Roi:
    return Roi(3, "PTV1", RoiKind.PTV, "L1", box(grid, low, high), 1.0, "", (0, 0, 0))


def exam(
    courses: Sequence[EarlierCourse],
    registrations: Sequence[ImportedRegistration] = (),
    organs: Sequence[tuple[str, ArrayLike, ArrayLike]] = (),
) -> Exam:
    volume = ct()
    drawn = tuple(Organ(name, n, "1.9.8", box(volume.grid, low, high)) for n, (name, low, high) in enumerate(organs))
    return Exam(volume, (), (), drawn, tuple(registrations), (), courses=tuple(courses))


def shift(mm: ArrayLike, uid: str = "1.9.5") -> ImportedRegistration:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return ImportedRegistration(Rigid(matrix, CT_FRAME, DOSE_FRAME), uid)


def codes(earlier: Earlier) -> dict[str, Level]:
    return {finding.code: finding.level for finding in earlier.findings}


# How the dose comes to the planning CT --------------------------------------------------------------------------------


def test_a_shared_frame_needs_no_registration() -> None:
    found = place_courses(exam([course(ball_dose, dose_grid(CT_FRAME))]), protocol(rule()))
    (one,) = found.courses
    assert (one.source, one.uncertainty_mm, codes(found)) == ("shared-frame", 0.0, {})
    assert one.dose_gy(np.array([[10.0, 0.0, 0.0]]))[0] == pytest.approx(25.0 + RADIUS_MM - 10.0, rel=0.01)


def test_a_registration_object_leads_and_is_said_to_be_unchecked_without_the_earlier_ct() -> None:
    found = place_courses(exam([course(ball_dose, dose_grid(DOSE_FRAME))], [shift([5.0, 0.0, 0.0])]), protocol(rule()))
    (one,) = found.courses
    assert one.source == "reg-object"
    assert found.objects == {"1.9.5"}
    assert codes(found) == {"earlier-dose-unchecked": Level.WARN}
    assert one.dose_gy(np.array([[15.0, 0.0, 0.0]]))[0] == pytest.approx(25.0 + RADIUS_MM - 10.0, rel=0.01)


def test_registrations_that_disagree_hold() -> None:
    both = [shift([5.0, 0.0, 0.0]), shift([9.0, 0.0, 0.0], "1.9.6")]
    found = place_courses(exam([course(ball_dose, dose_grid(DOSE_FRAME))], both), protocol(rule()))
    assert codes(found) == {"registration-contradictory": Level.HOLD}
    assert found.courses == ()


def test_a_dose_that_nothing_joins_to_the_planning_ct_holds() -> None:
    found = place_courses(exam([course(ball_dose, dose_grid(DOSE_FRAME))]), protocol(rule()))
    assert codes(found) == {"earlier-dose-unplaced": Level.HOLD}
    assert DOSE_FRAME in found.findings[0].message


@pytest.mark.parametrize(("hu", "code"), [(-1000.0, "earlier-dose-unplaced"), (40.0, "earlier-dose-uncertain")])
def test_cts_that_tell_no_place_hold(hu: float, code: str) -> None:
    """Air shows no part of the body; even flesh shows one, and nothing around the dose that bears it out."""
    other = ct_of(ct().grid, [], hu)
    grid = Grid(other.grid.slice_origins_mm, other.grid.step_j_mm, other.grid.step_i_mm, other.grid.shape, DOSE_FRAME)
    case = replace(exam([course(ball_dose, dose_grid(DOSE_FRAME))]), earlier_cts=(replace(other, grid=grid),))
    assert codes(place_courses(case, protocol(rule()))) == {code: Level.HOLD}


def test_a_protocol_that_says_nothing_of_earlier_radiotherapy_holds() -> None:
    found = place_courses(exam([course(ball_dose, dose_grid(CT_FRAME))]), protocol(None))
    assert codes(found) == {"earlier-no-rule": Level.HOLD}


def test_without_courses_there_is_nothing() -> None:
    assert place_courses(exam([]), protocol(None)) is NOTHING_EARLIER


def test_a_dose_that_its_lattice_cuts_and_one_of_several_plans_are_said() -> None:
    everywhere = course(lambda points: np.full(points.shape[:-1], 45.0), dose_grid(CT_FRAME), plans=("1.5", "1.6"))
    assert codes(place_courses(exam([everywhere]), protocol(rule()))) == {
        "earlier-dose-cut": Level.WARN,
        "earlier-several-plans": Level.WARN,
    }


# Organs ---------------------------------------------------------------------------------------------------------------


def test_organs_by_their_standard_names_and_what_is_none() -> None:
    organs = [
        ("spinalcord", (-4, -4, -20), (4, 4, 20)),
        ("My Rectum", (6, 6, -9), (14, 14, 9)),
        ("BODY", (-25, -25, -50), (25, 25, 50)),
        ("Bladder", (0, 0, 30), (0, 0, 30)),
    ]
    found = place_courses(
        exam([course(ball_dose, dose_grid(CT_FRAME))], organs=organs), protocol(rule(cord(), rectum()))
    )
    assert [(one.name, one.organ, one.limit is not None) for one in found.organs] == [
        ("spinalcord", "SpinalCord", True),
        ("My Rectum", "", False),
    ]
    (of_cord, _) = found.organs
    # 42.3 Gy in the middle, in 25 fractions: d 1.69.
    most = 25.0 + RADIUS_MM
    assert of_cord.max_gy == pytest.approx(most, rel=0.04)  # a cone, whose tip a lattice cuts off
    assert of_cord.figure_eqd2_gy == pytest.approx(most * (2 + most / 25) / 4, rel=0.06)
    assert of_cord.volume_ml == pytest.approx(8 * 8 * 42 / 1000.0, rel=0.05)


def test_an_organ_that_has_had_all_of_its_limit_is_said() -> None:
    organs = [("SpinalCord", (-4, -4, -20), (4, 4, 20))]
    case = exam([course(ball_dose, dose_grid(CT_FRAME))], organs=organs)
    found = place_courses(case, protocol(rule(cord(eqd2_gy=30.0))))
    assert codes(found) == {"earlier-limit-reached": Level.WARN}


def test_sides_are_left_out_of_standard_names() -> None:
    assert [standard_name(name) for name in ("Kidney_L", "RECTUM", "Rectum2", "")] == ["Kidney", "Rectum", "", ""]


# Targets --------------------------------------------------------------------------------------------------------------


def record(distance_mm: float, *limits: dict[str, object], uncertainty_mm: float = 0.0) -> TargetRecord:
    """A PTV of 8 mm to the left of the isodose of 25 Gy, and an organ that reaches into it."""
    left = RADIUS_MM + distance_mm
    organs = [("SpinalCord", (left + 4.0, -3.0, -10.0), (left + 12.0, 3.0, 10.0))]
    case = exam([course(ball_dose, dose_grid(CT_FRAME))], organs=organs)
    of_earlier = protocol(rule(*limits))
    found = place_courses(case, of_earlier)
    found = replace(found, courses=tuple(replace(one, uncertainty_mm=uncertainty_mm) for one in found.courses))
    assert case.planning_ct is not None
    target = ptv(case.planning_ct.grid, (left, -5.0, -5.0), (left + 8.0, 5.0, 5.0))
    made = target_record(found, "L1", "bone", [target])
    assert made is not None
    return made


def proposed() -> Proposal:
    made = propose(TargetFacts("bone", 5.0, 12.0, 2.0), protocol(None), targets=1)
    assert isinstance(made, Proposal)
    return made


@pytest.mark.parametrize(("distance_mm", "near"), [(-3.0, True), (0.0, True), (19.8, True), (20.3, False)])
def test_a_target_near_an_earlier_volume_gets_no_dose(distance_mm: float, near: bool) -> None:
    found = reconsidered(proposed(), record(distance_mm))
    assert isinstance(found, Abstention) is near
    if isinstance(found, Abstention):
        (reason,) = found.reasons
        assert (reason.code, reason.lesion) == ("dose-reirradiation", "L1")
        assert "25 Gy in earlier course C1: re-irradiation, which a person plans." in reason.message


def test_what_is_not_known_of_the_place_counts_against_the_distance() -> None:
    assert isinstance(reconsidered(proposed(), record(23.0)), Proposal)
    found = reconsidered(proposed(), record(23.0, uncertainty_mm=4.0))
    assert isinstance(found, Abstention)
    assert "known within 4.0 mm" in found.reasons[0].message


def test_an_abstention_keeps_its_reasons() -> None:
    before = propose(TargetFacts("bone", 5.0, 1e4, 2.0), protocol(None), targets=1)
    assert isinstance(before, Abstention)
    found = reconsidered(before, record(0.0))
    assert isinstance(found, Abstention)
    assert [one.code for one in found.reasons] == ["dose-volume-over-limit", "dose-reirradiation"]
    assert reconsidered(before, record(30.0)) is before


def test_a_proposal_that_stays_says_what_came_before() -> None:
    found = reconsidered(proposed(), record(30.0))
    assert isinstance(found, Proposal)
    assert found.cautions[0].startswith("Earlier radiotherapy: C1 gave 25 Gy 30 mm from the PTV, and at most ")
    assert EARLIER_NOT_EVALUATED in proposed().cautions
    assert EARLIER_NOT_EVALUATED not in found.cautions


def test_an_organ_in_the_ptv_that_would_pass_its_limit_forbids_the_dose() -> None:
    found = reconsidered(proposed(), record(30.0, cord()))
    assert isinstance(found, Abstention)
    (reason,) = found.reasons
    schedule = proposed().schedule
    assert reason.code == "dose-cumulative-over-limit"
    assert f"SpinalCord lies in the PTV of L1; with {schedule} and earlier radiotherapy: " in reason.message
    loose = reconsidered(proposed(), record(30.0, cord(eqd2_gy=300.0, new_eqd2_gy=300.0, new_part=None)))
    assert isinstance(loose, Proposal)


def test_the_figures_of_a_target_by_hand() -> None:
    made = record(10.0, cord())
    most = 25.0 - 10.0
    assert made.max_gy == pytest.approx(most, abs=0.2)
    assert made.max_eqd2_gy["3"] == pytest.approx(most * (3 + most / 25) / 5, rel=0.02)
    row = next(iter(made.cumulative_eqd2_gy))
    assert set(made.cumulative_eqd2_gy[row]) == {"1.5", "3"}
    assert list(made.new) == ["SpinalCord"]
    assert made.known_part == 1.0
    assert 0.0 < made.mean_gy < made.max_gy


def test_without_a_ptv_there_is_no_record() -> None:
    case = exam([course(ball_dose, dose_grid(CT_FRAME))])
    found = place_courses(case, protocol(rule()))
    assert target_record(found, "L1", "bone", []) is None
    proposal = proposed()
    assert reconsidered(proposal, None) is proposal
