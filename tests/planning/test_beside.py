"""Organs beside a target in a whole plan: recognised, screened, not seen; and what opens a proposal again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from psdt_planner.dossier.plan_json import plan_json
from psdt_planner.exam import Exam, Organ
from psdt_planner.fractionation import Proposal
from psdt_planner.planning import Plan, plan
from psdt_planner.planning.beside import largest_diameter_mm, organs_beside
from psdt_planner.planning.relations import drawn_organs, to_organs
from psdt_planner.protocol import Protocol
from psdt_planner.screen import OrganAt, Screened, Verdict
from tests.planning.test_targets import organ
from tests.test_planning import ct_volume, exam, sphere

MIDDLE = (0.0, 0.0, 450.0)


def case(*organs: Organ, site: str = "pelvic-node", radius_mm: float = 6.0) -> Exam:
    return replace(exam(sphere(1, MIDDLE, site=site, radius_mm=radius_mm)), organs=organs)


def box(name: str, at: tuple[float, float], half: tuple[float, float], code: str = "") -> Organ:
    return replace(organ(name, ct_volume().grid, at, half), code=code)


def proposed(made: Plan, n: int = 0) -> Proposal:
    found = made.lesions[n].proposal
    assert isinstance(found, Proposal), found
    return found


def by_organ(made: Plan) -> dict[str, Screened]:
    return {one.at.organ: one for one in proposed(made).screen}


@pytest.fixture(scope="module")
def beside_rectum(protocol: Protocol) -> Plan:
    """One node, its rectum far enough away, and a bladder that its code alone tells."""
    organs = (box("Enddarm", (0, 45), (20, 10)), box("OAR", (-45, 0), (10, 10), code="89837001"))
    thing, clash = box("Thing", (0, -45), (5, 5)), box("Rectum", (0, -30), (5, 5), code="89837001")
    around = (box("External", (0, 0), (60, 50)), box("PTV_old", (30, 0), (5, 5)))
    return plan(case(*organs, thing, clash, *around), protocol)


def test_every_organ_that_is_known_is_screened_at_its_distance_from_the_ptv(beside_rectum: Plan) -> None:
    made = beside_rectum
    found = by_organ(made)

    distance = {one.other: one.distance_mm for one in made.relations if one.target == "PTVn1"}
    assert found["Rectum"].at.distance_mm == distance["Enddarm"]
    assert found["Bladder"].at.distance_mm == distance["OAR"]
    assert found["Rectum"].verdict is Verdict.LIKELY_OK
    # What the site asks for and nobody contoured has not passed.
    assert (found["Bowel_Small"].verdict, found["Bowel_Small"].why) == (Verdict.NOT_EVALUATED, "not contoured")
    assert any(line.startswith("Not evaluated, which is not passed: ") for line in proposed(made).cautions)


def test_an_organ_that_runs_past_the_target_but_was_not_contoured_there_is_not_evaluated(
    protocol: Protocol, beside_rectum: Plan
) -> None:
    rois, grid = beside_rectum.lesions[0].rois, ct_volume().grid
    cord = box("SpinalCord", (0, 40), (6, 6))
    away = replace(cord, contours=tuple(one for one in cord.contours if one.slice_index > 33))

    def seen(one: Organ) -> dict[str, OrganAt]:
        relations = to_organs(rois, drawn_organs([one], grid), grid)
        return {at.organ: at for at in organs_beside(rois, relations, [one], protocol, "spine")}

    assert seen(away)["SpinalCanal"].unseen == "not contoured at the height of the target"
    assert seen(away)["Esophagus"].unseen == "not contoured"
    # Contoured all along, the cord answers for the canal, and is measured.
    assert "SpinalCanal" not in seen(cord)
    assert seen(cord)["SpinalCord"].distance_mm == pytest.approx(40.0 - 6.0 - 11.8, abs=1.5)


def test_rois_that_nobody_knows_are_named(beside_rectum: Plan) -> None:
    made = beside_rectum
    told = {finding.code: finding.message for finding in made.findings if finding.code.startswith("organ-")}
    assert told["organ-unknown"] == "No organ that the protocol knows, and not evaluated: Thing."
    assert "Rectum is coded as another organ (89837001)" in told["organ-name-contradicts-code"]
    assert "Rectum" not in {one.at.name for one in proposed(made).screen if one.at.distance_mm is not None}


def test_plan_json_has_the_screen_of_the_proposal_and_of_the_alternatives(beside_rectum: Plan) -> None:
    written = plan_json(beside_rectum)["lesions"][0]["proposal"]

    [rectum] = (row for row in written["screen"] if row["organ"] == "Rectum")
    assert (rectum["verdict"], rectum["roi"]) == ("likely ok", "Enddarm")
    assert rectum["worst_gy"] >= rectum["best_gy"]
    [limit] = rectum["limits"]
    assert (limit["metric"], limit["value"], limit["set"], limit["kind"]) == ("D0.035cc", 28.2, "tg-101", "max")
    assert limit["source"].startswith("AAPM TG-101")
    assert set(written["lql_bed_gy"]) == {"1.5", "3", "10"}
    assert written["tg263_suffix"] == "_1000x3"
    assert {one["decides"] for one in written["grounds"]} >= {"regimen", "PTV margin", "max limit of Rectum"}
    other = next(one for one in written["alternatives"] if one["fractions"] == 5 and one["dose_gy"] == 30.0)
    assert [row["organ"] for row in other["screen"]] == [row["organ"] for row in written["screen"]]


def test_the_summary_stands_in_every_roi(protocol: Protocol) -> None:
    made = plan(case(box("Rectum", (0, 13), (20, 4))), protocol)
    proposal = proposed(made)
    assert proposal.needs_planning
    for roi in made.lesions[0].rois:
        assert proposal.summary in roi.description
        assert len(roi.description) <= 1024
    assert "needs planning: Rectum" in proposal.summary
    assert "BED in Gy by α/β: 230 at 1.5, 130 at 3, 60 at 10" in proposal.summary


# what opens a proposal again ------------------------------------------------------------------------------------------


def test_an_organ_that_comes_late_changes_the_proposal(protocol: Protocol) -> None:
    before = plan(case(), protocol)
    bowel = box("Bowel_Small", (0, 20.5), (20, 4))
    after = plan(case(bowel), protocol)

    assert str(proposed(before).schedule) == "30 Gy in 3"
    nearest = by_organ(after)["Bowel_Small"].at.distance_mm
    assert nearest is not None
    assert 3.0 <= nearest < 6.0, "the geometry of this test: near, and not in contact"
    assert str(proposed(after).schedule) == "30 Gy in 5"
    [other] = (one for one in proposed(after).alternatives if str(one.schedule) == "30 Gy in 3")
    assert other.why_not.startswith("needs planning: Bowel_Small up to ")


def test_another_margin_or_flag_changes_what_is_screened(protocol: Protocol, beside_rectum: Plan) -> None:
    rule = protocol.sites["pelvic-node"]
    wider = rule.model_copy(update={"ctv_to_ptv": rule.ctv_to_ptv.model_copy(update={"mm": 9.0})})
    other = protocol.model_copy(update={"sites": {**protocol.sites, "pelvic-node": wider}})
    rectum = box("Rectum", (0, 45), (20, 10))
    before = by_organ(beside_rectum)["Rectum"]
    margin = by_organ(plan(case(rectum), other))["Rectum"]
    flag = by_organ(plan(case(rectum, radius_mm=8.0), protocol))["Rectum"]

    assert before.at.distance_mm is not None
    for after in (margin, flag):
        assert after.at.distance_mm is not None
        assert after.at.distance_mm < before.at.distance_mm - 1.5
        assert after.worst_gy is not None
        assert before.worst_gy is not None
        assert after.worst_gy > before.worst_gy


# targets near each other ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("apart_mm", "told"), [(48.0, True), (92.0, False)])
def test_targets_within_five_centimetres_are_summed(protocol: Protocol, apart_mm: float, told: bool) -> None:
    flags = [
        sphere(n, (x, 0.0, 450.0), site="pelvic-node", radius_mm=6.0)
        for n, x in ((1, -apart_mm / 2), (2, apart_mm / 2))
    ]
    made = plan(replace(exam(*flags), organs=(box("Rectum", (0, 30), (40, 4)),)), protocol)
    for n, other in ((0, "PTVn2"), (1, "PTVn1")):
        lines = [line for line in proposed(made, n).cautions if line.startswith("Sum the doses with ")]
        assert bool(lines) is told
        assert all(other in line and "within 50 mm" in line for line in lines)


def test_a_sum_above_a_limit_that_each_target_keeps_is_told(protocol: Protocol) -> None:
    flags = [sphere(n, (x, 0.0, 450.0), site="pelvic-node", radius_mm=6.0) for n, x in ((1, -17.0), (2, 17.0))]
    made = plan(replace(exam(*flags), organs=(box("Rectum", (0, 26), (40, 5)),)), protocol)
    for n in (0, 1):
        rectum = next(one for one in proposed(made, n).screen if one.at.organ == "Rectum")
        assert rectum.verdict is Verdict.LIKELY_OK
        assert any("Needs planning together" in line and "Rectum" in line for line in proposed(made, n).cautions)


def test_the_largest_diameter_is_that_of_the_gtv(beside_rectum: Plan) -> None:
    made = beside_rectum
    diameter = largest_diameter_mm(made.lesions[0].rois)
    assert diameter == pytest.approx(12.0, abs=1.3)
    # An oracle that knows no hulls: every point against every other.
    gtv = made.lesions[0].rois[0]
    points = np.concatenate([ring.points_mm for ring in gtv.contours])[::3]
    slow = max(float(np.linalg.norm(points - one, axis=1).max()) for one in points)
    assert slow <= diameter + 1e-9
    assert diameter == pytest.approx(slow, abs=0.3)
    assert largest_diameter_mm(()) is None
