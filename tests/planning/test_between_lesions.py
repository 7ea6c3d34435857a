"""How the targets of a plan lie to organs and to each other, and PTVs that are merged where the protocol asks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from psdt_planner.contours import mask_of
from psdt_planner.dossier import for_destination, load_destination
from psdt_planner.dossier.plan_json import plan_json
from psdt_planner.exam import Exam, Organ
from psdt_planner.findings import Finding, Level
from psdt_planner.fractionation import Proposal
from psdt_planner.lesions import FlaggedLesion, MaskKind
from psdt_planner.planning import LesionStatus, Plan, PlannedLesion, PlanStatus, plan
from psdt_planner.protocol import Overlaps, Protocol
from psdt_planner.shapes import TARGET_KINDS, RoiKind
from psdt_planner.structures import Relation
from tests.planning.test_targets import CITED, changed, organ, spare
from tests.test_planning import codes, exam, sphere


def merging(protocol: Protocol) -> Protocol:
    rule = Overlaps.model_validate({**CITED, "least_ml": 0.03, "targets": "merge-ptv"})
    return protocol.model_copy(update={"overlaps": rule})


def relation(made: Plan, target: str, other: str) -> Relation:
    (found,) = (one for one in made.relations if (one.target, one.other) == (target, other))
    return found


def told(made: Plan, code: str) -> list[Finding]:
    return [finding for finding in made.findings if finding.code == code]


def volumes_ml(lesion: PlannedLesion) -> dict[RoiKind, float]:
    return {roi.kind: roi.volume_ml for roi in lesion.rois}


def two(apart_mm: float, sites: tuple[str, str] = ("pelvic-node", "pelvic-node")) -> Exam:
    """Two balls of 6 mm beside each other; the PTV of a node reaches 5 mm and its registration's bound further."""
    first = sphere(1, (-apart_mm / 2, 0.0, 450.0), site=sites[0], radius_mm=6.0)
    return exam(first, sphere(2, (apart_mm / 2, 0.0, 450.0), site=sites[1], radius_mm=6.0))


def with_organs(case: Exam, *organs: Organ) -> Exam:
    return replace(case, organs=organs)


# relations ------------------------------------------------------------------------------------------------------------


def test_every_target_is_measured_to_every_organ_and_to_its_like(protocol: Protocol) -> None:
    case = two(44.0)
    assert case.planning_ct is not None
    grid = case.planning_ct.grid
    wall, line = organ("Rectum", grid, (0, 40), (30, 10)), organ("Bladder", grid, (0, -45), (8, 4))
    outline, sector = organ("External", grid, (0, 0), (60, 50)), organ("VB_L4", grid, (0, 30), (5, 5))
    made = plan(with_organs(case, wall, Organ("Empty", 9, "1.8", ()), line, outline, sector), protocol)

    names = [f"{kind}n{n}" for n in (1, 2) for kind in ("GTV", "CTV", "PTV")]
    assert [(one.target, one.other) for one in made.relations if one.kind == "organ"] == [
        (name, other) for name in names for other in ("Rectum", "Bladder")
    ]
    assert [(one.target, one.other) for one in made.relations if one.kind == "target"] == [
        (f"{kind}n1", f"{kind}n2") for kind in ("GTV", "CTV", "PTV")
    ]
    assert relation(made, "GTVn1", "Rectum").distance_mm == pytest.approx(30.0 - 6.0, abs=0.5)
    assert relation(made, "GTVn1", "GTVn2").distance_mm == pytest.approx(44.0 - 12.0, abs=0.8)
    assert not told(made, "targets-overlap")


def test_an_overlap_with_an_organ_that_is_not_spared_is_measured(protocol: Protocol) -> None:
    case = two(60.0)
    assert case.planning_ct is not None
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum"),))
    inside = organ("Ureter_L", case.planning_ct.grid, (30, 0), (2, 2))
    made = plan(with_organs(case, inside), asked)
    shared = relation(made, "GTVn2", "Ureter_L")
    assert shared.meets
    assert shared.overlap_ml == pytest.approx(4 * 4 * 12 / 1000, rel=0.1)


def test_a_ptv_that_was_cut_touches_its_organ_no_more_than_the_slices_make_it(protocol: Protocol) -> None:
    case = two(60.0)
    assert case.planning_ct is not None
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum", gap_mm=2.0),))
    made = plan(with_organs(case, organ("Rectum", case.planning_ct.grid, (30, 20), (30, 10))), asked)
    assert relation(made, "PTVn2", "Rectum").overlap_ml == 0.0
    assert relation(made, "PTVn2", "Rectum").distance_mm == pytest.approx(2.0, abs=0.15)
    (finding,) = told(made, "ptv-cut-by-organ")
    assert finding.lesion == "L2"
    assert [cut.by for cut in made.lesions[1].cuts] == ["Rectum"]
    assert made.lesions[0].cuts == ()


def test_an_organ_in_a_target_that_the_protocol_forbids_holds_the_lesion_and_the_plan(protocol: Protocol) -> None:
    case = two(60.0)
    assert case.planning_ct is not None
    asked = changed(protocol, "pelvic-node", spare=(spare("SpinalCord", gtv_inside="hold"),))
    made = plan(with_organs(case, organ("SpinalCord", case.planning_ct.grid, (30, 5), (3, 3))), asked)
    assert (made.status, codes(made)) == (PlanStatus.HELD, {"gtv-in-organ"})
    assert [lesion.status for lesion in made.lesions] == [LesionStatus.MAPPED, LesionStatus.HELD]
    assert made.lesions[1].rois == ()


def test_an_organ_within_a_ptv_leaves_a_hole_in_its_rings(protocol: Protocol) -> None:
    """A bone lesion whose PTV closes around a thin nerve that runs along the body beside it."""
    case = exam(sphere(1, (0.0, 0.0, 450.0), site="pelvic-node", radius_mm=6.0))
    assert case.planning_ct is not None
    asked = changed(protocol, "pelvic-node", spare=(spare("SacralPlex"),))
    made = plan(with_organs(case, organ("SacralPlex", case.planning_ct.grid, (0, 8.4), (1.0, 1.0))), asked)
    ptv = made.lesions[0].rois[2]
    assert any(ring.holes_mm for ring in ptv.contours)
    assert relation(made, "PTVn1", "SacralPlex").overlap_ml < 0.01


def ring_around_the_canal(canal_mm: float = 7.0) -> FlaggedLesion:
    """A circumferential lesion of the spine: all around a canal, 6 mm thick and 24 mm high."""
    solid = sphere(1, (0.0, 0.0, 450.0), site="spine", radius_mm=16.0, voxel_mm=(2.4, 1.5, 1.4))
    points = solid.grid.centres_mm() - (0.0, 0.0, 450.0)
    across = np.hypot(points[..., 0], points[..., 1])
    mask = (across >= canal_mm) & (across <= canal_mm + 6.0) & (np.abs(points[..., 2]) <= 12.0)
    return replace(solid, mask=mask.astype(np.float32))


def test_a_target_around_the_canal_leaves_the_canal_out(protocol: Protocol) -> None:
    """GTV, CTV and PTV: no voxel of the canal is in any of them, and each lies in the next where nothing was cut."""
    case = exam(ring_around_the_canal())
    assert case.planning_ct is not None
    grid = case.planning_ct.grid
    asked = protocol.model_copy(update={"registration_margin": None})
    canal = organ("SpinalCanal", grid, (0, 0), (4, 4))
    made = plan(with_organs(case, canal), asked)

    masks = {roi.kind: mask_of(roi.contours, grid) for roi in made.lesions[0].rois}
    inside = mask_of(canal.contours, grid)
    assert {kind: int((mask & inside).sum()) for kind, mask in masks.items()} == dict.fromkeys(TARGET_KINDS, 0)
    assert all(any(ring.holes_mm for ring in roi.contours) for roi in made.lesions[0].rois)
    assert not (masks[RoiKind.GTV] & ~masks[RoiKind.CTV]).any()
    assert not (masks[RoiKind.CTV] & ~masks[RoiKind.PTV]).any(), "the CTV keeps 3 mm from the canal: nothing was cut"
    (finding,) = told(made, "lesion-hole")
    assert (finding.level, finding.lesion) == (Level.WARN, "L1")
    assert finding.value is not None
    assert 0.6 < finding.value / (np.pi * 0.49 * 2.4) < 1.0, "smoothing rounds the canal's ends"


def test_a_destination_without_holes_holds_a_target_around_the_canal(protocol: Protocol) -> None:
    case = exam(ring_around_the_canal())
    assert case.planning_ct is not None
    canal = organ("SpinalCanal", case.planning_ct.grid, (0, 0), (4, 4))
    made = for_destination(plan(with_organs(case, canal), protocol), load_destination("monaco"))
    assert (made.status, made.structure_set) == (PlanStatus.HELD, None)
    covered = told(made, "contour-organ-covered")
    assert [finding.message.split()[0] for finding in covered] == ["GTV1", "CTV1", "PTV1"]


@pytest.mark.parametrize(("radius_mm", "level"), [(3.0, Level.WARN), (6.0, Level.HOLD)])
def test_a_faint_part_of_a_flag_is_told_and_a_large_one_holds(
    protocol: Protocol, radius_mm: float, level: Level
) -> None:
    dense = sphere(1, (0.0, 0.0, 450.0), radius_mm=14.0)
    points = dense.grid.centres_mm() - (0.0, 0.0, 450.0)
    near = np.linalg.norm(points - (-8.0, 0.0, 0.0), axis=-1) <= 5.0
    far = np.linalg.norm(points - (10.0, 0.0, 0.0), axis=-1) <= radius_mm
    mask = near + 0.4 * far
    made = plan(exam(replace(dense, mask=mask.astype(np.float32), mask_kind=MaskKind.OCCUPANCY)), protocol)
    (finding,) = told(made, "lesion-part-faint")
    assert (finding.level, finding.lesion, finding.limit) == (level, "L1", 0.1)
    assert finding.value == pytest.approx(0.4 * far.sum() * 2.4 * 1.9 * 2.2 / 1000, rel=1e-6)
    assert (made.status is PlanStatus.HELD) == (level is Level.HOLD)


def test_plan_json_holds_relations_cuts_and_how_the_ctv_came_about(protocol: Protocol) -> None:
    case = two(60.0)
    assert case.planning_ct is not None
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum", gap_mm=2.0),))
    made = plan(with_organs(case, organ("Rectum", case.planning_ct.grid, (30, 20), (30, 10))), asked)
    written = json.loads(json.dumps(plan_json(made), allow_nan=False))
    assert len(written["relations"]) == 6 + 3
    last = written["relations"][5]
    assert {key: last[key] for key in ("target", "other", "kind", "overlap_ml")} == {
        "target": "PTVn2", "other": "Rectum", "kind": "organ", "overlap_ml": 0.0,
    }  # fmt: skip
    assert last["distance_mm"] == pytest.approx(2.0, abs=0.15)
    first, second = written["lesions"]
    assert (first["ctv"], first["cuts"]) == ("GTV + 0 mm", [])
    (cut,) = second["cuts"]
    assert (cut["target"], cut["by"], cut["gap_mm"]) == ("PTV", "Rectum", 2.0)
    assert cut["lost_ml"] > 0.1
    assert set(cut) == {"target", "by", "gap_mm", "lost_ml", "lost_part", "ctv_ml", "gtv_ml"}


# targets that meet ----------------------------------------------------------------------------------------------------


def test_targets_that_overlap_are_kept_apart_and_said(protocol: Protocol) -> None:
    made = plan(two(16.0), protocol)
    (finding,) = told(made, "targets-overlap")
    assert (finding.level, finding.lesion) == (Level.WARN, "L1")
    assert "PTVn1 and PTVn2 share" in finding.message
    assert "GTVn1" not in finding.message
    assert finding.value == relation(made, "PTVn1", "PTVn2").overlap_ml > 0.1
    assert [len(lesion.rois) for lesion in made.lesions] == [3, 3]


def test_targets_merge_where_the_protocol_asks_for_it(protocol: Protocol) -> None:
    apart, together = plan(two(16.0), protocol), plan(two(16.0), merging(protocol))
    first, second = together.lesions
    assert [roi.name for roi in first.rois] == ["GTVn1", "CTVn1", "PTVn1"]
    assert [roi.name for roi in second.rois] == ["GTVn2", "CTVn2"]
    shared = relation(apart, "PTVn1", "PTVn2").overlap_ml
    expected = sum(volumes_ml(lesion)[RoiKind.PTV] for lesion in apart.lesions) - shared
    assert volumes_ml(first)[RoiKind.PTV] == pytest.approx(expected, rel=0.01)
    assert "PTV of L1, L2." in first.rois[2].description
    assert not told(together, "targets-overlap")
    (finding,) = told(together, "targets-merged")
    assert (finding.level, finding.value) == (Level.WARN, volumes_ml(first)[RoiKind.PTV])
    assert together.status is PlanStatus.PROPOSED
    assert together.structure_set is not None
    assert [roi.number for roi in together.structure_set.rois] == [1, 2, 3, 4, 5]
    assert all(isinstance(lesion.proposal, Proposal) for lesion in together.lesions)


def test_what_the_common_ptv_does_not_show_is_told(protocol: Protocol) -> None:
    """A sheet of an organ through both PTVs: what is left of the common one are two parts."""
    case = two(16.0)
    assert case.planning_ct is not None
    asked = changed(merging(protocol), "pelvic-node", spare=(spare("Rectum", gap_mm=1.0),))
    made = plan(with_organs(case, organ("Rectum", case.planning_ct.grid, (0, 0), (50, 1.0))), asked)
    assert len(told(made, "targets-merged")) == 1
    assert "PTVn1 of L1 has 2 parts that do not touch each other" in [
        finding.message for finding in told(made, "lesion-in-parts")
    ]


def test_three_in_a_row_become_one(protocol: Protocol) -> None:
    flags = [sphere(n, (17.0 * n - 34.0, 0.0, 450.0), site="pelvic-node", radius_mm=6.0) for n in (1, 2, 3)]
    made = plan(exam(*flags), merging(protocol))
    assert [len(lesion.rois) for lesion in made.lesions] == [3, 2, 2]
    assert "L1, L2, L3" in told(made, "targets-merged")[0].message


def test_lesions_apart_are_not_merged(protocol: Protocol) -> None:
    made = plan(two(50.0), merging(protocol))
    assert [len(lesion.rois) for lesion in made.lesions] == [3, 3]
    assert not told(made, "targets-merged")


def test_lesions_of_different_doses_are_kept_apart(protocol: Protocol) -> None:
    made = plan(two(16.0, ("pelvic-node", "paraaortic-node")), merging(protocol))
    schedules = {str(lesion.proposal.schedule) for lesion in made.lesions if isinstance(lesion.proposal, Proposal)}
    assert schedules == {"30 Gy in 3", "30 Gy in 5"}
    assert [len(lesion.rois) for lesion in made.lesions] == [3, 3]
    assert not told(made, "targets-merged")
    assert len(told(made, "targets-overlap")) == 1


def test_a_common_ptv_beyond_the_limit_is_not_made(protocol: Protocol) -> None:
    single_ml = max(volumes_ml(lesion)[RoiKind.PTV] for lesion in plan(two(16.0), protocol).lesions)
    rule = protocol.sites["pelvic-node"].max_volume.model_copy(update={"ptv_ml": 1.2 * single_ml})
    made = plan(two(16.0), changed(merging(protocol), "pelvic-node", max_volume=rule))
    assert [len(lesion.rois) for lesion in made.lesions] == [3, 3]
    assert not told(made, "targets-merged")


def test_the_common_ptv_holds_what_both_held(protocol: Protocol) -> None:
    apart, together = plan(two(16.0), protocol), plan(two(16.0), merging(protocol))
    (common,) = (roi for roi in together.lesions[0].rois if roi.kind is RoiKind.PTV)
    for lesion in apart.lesions:
        slices = {ring.slice_index for roi in lesion.rois if roi.kind is RoiKind.PTV for ring in roi.contours}
        assert slices <= {ring.slice_index for ring in common.contours}
    reach = np.concatenate([ring.points_mm for ring in common.contours])[:, 0]
    alone = [np.concatenate([r.points_mm for r in lesion.rois[2].contours])[:, 0] for lesion in apart.lesions]
    assert reach.min() == pytest.approx(min(x.min() for x in alone), abs=0.1)
    assert reach.max() == pytest.approx(max(x.max() for x in alone), abs=0.1)
