"""Plans made by hand: a pelvis of blocks and balls, CT and MR in different frames, lesions of each status."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from psdt_planner.exam import Exam, ImportedRegistration, Organ
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.fractionation import TargetFacts, propose
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import FlaggedLesion, FlagSource, MappedLesion, MaskKind, Side
from psdt_planner.planning import Exclusion, LesionStatus, Plan, PlannedLesion, PlanStatus
from psdt_planner.protocol import Protocol
from psdt_planner.registration import CaseRegistration, RegistrationSource
from psdt_planner.screen import OrganAt
from psdt_planner.shapes import TARGET_KINDS, Contour, Roi, RoiKind, StructureSet, rings_volume_ml
from psdt_planner.shipped import shipped_protocol

CT_FRAME, MR_FRAME = "1.2.826.0.1.1", "1.2.826.0.1.2"
MADE_AT = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)

COLOURS = {RoiKind.GTV: (255, 0, 0), RoiKind.CTV: (255, 165, 0), RoiKind.PTV: (0, 170, 255)}

CENTRES_MM = {"L1": (-62.0, 18.0, 12.0), "L2": (4.0, 40.0, 31.0), "L3": (48.0, -8.0, -20.0), "L4": (20.0, -30.0, 4.0)}
"""Of the lesions, in the CT's frame."""

RADII_MM = {"L1": 9.0, "L2": 13.0, "L3": 6.0, "L4": 7.0}


def axial_grid(spacing_kji_mm: Points, shape: tuple[int, int, int], frame: str, *, turn_degrees: float = 0.0) -> Grid:
    """A grid around the origin of its frame, turned about the patient's long axis."""
    angle = np.radians(turn_degrees)
    matrix = np.eye(4)
    matrix[:3, 0] = [0.0, 0.0, spacing_kji_mm[0]]
    matrix[:3, 1] = spacing_kji_mm[1] * np.array([-np.sin(angle), np.cos(angle), 0.0])
    matrix[:3, 2] = spacing_kji_mm[2] * np.array([np.cos(angle), np.sin(angle), 0.0])
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(shape) - 1.0) / 2.0
    return Grid.regular(matrix, shape, frame)


def ball(grid: Grid, centre_mm: Points, radius_mm: float) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(grid.centres_mm() - centre_mm, axis=-1) < radius_mm)


def body(grid: Grid, centres_mm: dict[str, Points], levels: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """Air, body, bone and lesion."""
    at = grid.centres_mm()
    air, soft, bone, lesion = levels
    array = np.full(grid.shape, air, dtype=np.float32)
    array[(at[..., 0] / 150.0) ** 2 + (at[..., 1] / 95.0) ** 2 < 1.0] = soft
    array[(np.abs(at[..., 0]) < 24.0) & (np.abs(at[..., 1] - 42.0) < 22.0)] = bone
    array[np.abs(np.hypot(np.abs(at[..., 0]) - 62.0, at[..., 1] - 14.0) - 22.0) < 6.0] = bone
    for name, centre_mm in centres_mm.items():
        array[ball(grid, centre_mm, RADII_MM[name])] = lesion
    return array


def mr_from_ct() -> Rigid:
    angle = np.radians(4.0)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = [6.0, -11.0, 140.0]
    return Rigid(matrix, MR_FRAME, CT_FRAME)


def flagged(name: str, site: str, label: str, dwi: Grid, at_mm: Points) -> FlaggedLesion:
    """A ball on its own part of the diffusion grid."""
    middle = np.round(dwi.index_from_mm(at_mm)).astype(int)
    half = np.ceil(RADII_MM[name] / np.array(dwi.spacing_kji_mm)).astype(int) + 2
    matrix = dwi.mm_from_kji
    matrix[:3, 3] = dwi.mm_from_index((middle - half).astype(float))
    k, j, i = (int(n) for n in 2 * half + 1)
    grid = Grid.regular(matrix, (k, j, i), dwi.frame)
    mask = ball(grid, at_mm, RADII_MM[name]).astype(np.float32)
    source = FlagSource("1.2.840.10008.5.1.4.1.1.66.4", "1.2.826.0.1.77", int(name[1:]))
    uid = f"1.2.826.0.1.9.{name[1:]}"
    return FlaggedLesion(
        name, label, site, "code", Side.RIGHT, uid, grid, mask, MaskKind.BINARY, source, "1.2.826.0.1.31"
    )


def ball_rings(ct: Grid, centre_mm: Points, radius_mm: float) -> tuple[Contour, ...]:
    """The circles in which a ball meets the CT's slices."""
    turn = np.linspace(0.0, 2.0 * np.pi, 60, endpoint=False)
    rings = []
    for k, origin in enumerate(ct.slice_origins_mm):
        away = float((origin - centre_mm) @ ct.normal)
        if abs(away) < radius_mm - 0.2:
            radius = np.sqrt(radius_mm**2 - away**2)
            ring = np.stack([np.cos(turn) * radius, np.sin(turn) * radius, np.zeros(60)], axis=-1)
            rings.append(Contour(centre_mm + ring + [0.0, 0.0, away * ct.normal[2]], k))
    return tuple(rings)


def rois_of(name: str, ct: Grid, centre_mm: Points) -> tuple[Roi, ...]:
    rois = []
    for order, (kind, margin_mm) in enumerate(zip(TARGET_KINDS, (0.0, 5.0, 10.0), strict=True)):
        rings = ball_rings(ct, centre_mm, RADII_MM[name] + margin_mm)
        number = 3 * int(name[1:]) - 2 + order
        text = f"PROPOSAL, {kind} of {name}"
        volume_ml = rings_volume_ml(rings, ct)
        rois.append(Roi(number, f"{kind}{name[1:]}", kind, name, rings, volume_ml, text, COLOURS[kind]))
    return tuple(rois)


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    return shipped_protocol()


@pytest.fixture(scope="session")
def exam() -> Exam:
    """A CT of 2.5 mm slices, and DWI, ADC and T1 turned against it, in a frame of their own."""
    to_mr = mr_from_ct()
    ct_mm = {name: np.array(at) for name, at in CENTRES_MM.items()}
    mr_mm = {name: to_mr.apply(at) for name, at in ct_mm.items()}
    ct_grid = axial_grid((2.5, 1.6, 1.5), (44, 124, 212), CT_FRAME)
    dwi_grid = axial_grid((5.0, 3.0, 2.8), (26, 72, 118), MR_FRAME, turn_degrees=4.0)
    t1_grid = axial_grid((4.0, 1.9, 1.8), (32, 112, 182), MR_FRAME, turn_degrees=4.0)
    shift = np.array([6.0, -11.0, 140.0])
    dwi_grid, t1_grid = (
        Grid(g.slice_origins_mm + shift, g.step_j_mm, g.step_i_mm, g.shape, g.frame) for g in (dwi_grid, t1_grid)
    )
    local = {name: at - shift for name, at in mr_mm.items()}

    def mr(grid: Grid, levels: tuple[float, float, float, float], quantity: Quantity, uid: str) -> Volume:
        around = Grid(grid.slice_origins_mm - shift, grid.step_j_mm, grid.step_i_mm, grid.shape, grid.frame)
        return Volume(grid, body(around, local, levels), quantity, uid)

    dwi = [
        mr(dwi_grid, (3.0, 60.0, 25.0, 210.0), Quantity(Kind.DWI_TRACE, "1", 900.0), "1.2.826.0.1.31"),
        mr(dwi_grid, (5.0, 300.0, 120.0, 420.0), Quantity(Kind.DWI_TRACE, "1", 50.0), "1.2.826.0.1.32"),
        mr(dwi_grid, (0.0, 1.6e-3, 0.7e-3, 0.85e-3), Quantity(Kind.ADC, "mm2/s"), "1.2.826.0.1.33"),
        mr(t1_grid, (4.0, 220.0, 330.0, 140.0), Quantity(Kind.T1, "1"), "1.2.826.0.1.34"),
    ]
    ct = Volume(
        ct_grid, body(ct_grid, ct_mm, (-1000.0, 40.0, 420.0, 480.0)), Quantity(Kind.PLANNING_CT, "HU"), "1.2.826.0.1.30"
    )
    flags = [
        flagged("L1", "bone", "right ilium", dwi_grid, mr_mm["L1"]),
        flagged("L2", "spine", "sacrum S2", dwi_grid, mr_mm["L2"]),
        flagged("L3", "pelvic-node", "obturator node, left", dwi_grid, mr_mm["L3"]),
        flagged("L4", "unknown", "?", dwi_grid, mr_mm["L4"]),
    ]
    organs = (Organ("Bladder", 1, "1.2.826.0.1.88", ()), Organ("Rectum", 2, "1.2.826.0.1.88", ()))
    registration = ImportedRegistration(to_mr.inverse(), "1.2.826.0.1.99")
    return Exam(ct, tuple(dwi), tuple(flags), organs, (registration,), ())


BESIDE = {
    "L3": (
        OrganAt("Bladder", "Bladder", 0.0, 1.25),
        OrganAt("Rectum", "Rectum", 12.0),
        OrganAt("Duodenum", "Duodenum", 80.0),
        OrganAt("Bowel_Small", "Bowel_Small", None, unseen="not contoured"),
    )
}
"""What lies beside the PTV of a lesion; of the others nothing is known."""


def planned(flag: FlaggedLesion, exam: Exam, protocol: Protocol) -> PlannedLesion:
    """The lesion mapped by the known transform, with balls for regions."""
    assert exam.planning_ct is not None
    ct_from_mr = mr_from_ct().inverse()
    mapped = MappedLesion(flag, ct_from_mr, ct_from_mr, 2.2, 0.6, "local rigid fit of t1 and b50, median of four")
    rois = rois_of(flag.id, exam.planning_ct.grid, np.array(CENTRES_MM[flag.id]))
    facts = TargetFacts(flag.site, rois[0].volume_ml, rois[2].volume_ml, 2.2, organs=BESIDE.get(flag.id, ()))
    proposal = propose(facts, protocol, targets=4)
    return PlannedLesion(flag, LesionStatus.MAPPED, (), mapped, rois, flag.volume_ml, 0.85e-3, proposal)


@pytest.fixture(scope="session")
def plan(exam: Exam, protocol: Protocol) -> Plan:
    """Three lesions with a dose, and one of unknown site without."""
    assert exam.planning_ct is not None
    lesions = tuple(planned(flag, exam, protocol) for flag in exam.flags)
    method = "global rigid fit of t1 to the CT from the best of 96 starts"
    registration = CaseRegistration(mr_from_ct().inverse(), RegistrationSource.COMPUTED, method, 0.12)
    findings = (
        Finding("ct-slices-uneven", Level.INFO, "Two gaps differ by 0.02 mm.", Who.SENDER, 0.02, 0.01, "mm"),
        Finding("lesion-site-unknown", Level.WARN, "The flag L4 names no site.", Who.PERSON, lesion="L4"),
    )
    rois = tuple(roi for lesion in lesions for roi in lesion.rois)
    structure_set = StructureSet(exam.planning_ct.grid, "PSDT PROPOSAL", "PROPOSAL", rois)
    return Plan(PlanStatus.PROPOSED, findings, exam, registration, lesions, structure_set, protocol, ())


@pytest.fixture(scope="session")
def held_plan(plan: Plan) -> Plan:
    """L2 is held where it was mapped, L3 could not be mapped, L4 is excluded."""
    hold = Finding("lesion-uncertain", Level.HOLD, "L2 is uncertain by 9.0 mm.", Who.PERSON, 9.0, 8.0, "mm", "L2")
    l1, l2, l3, l4 = plan.lesions
    assert l2.mapped is not None
    facts = TargetFacts("spine", 0.0, 0.0, 9.0, (hold.message,))
    l2 = dataclasses.replace(
        l2,
        status=LesionStatus.HELD,
        reasons=(hold.message,),
        mapped=dataclasses.replace(l2.mapped, uncertainty_mm=9.0, findings=(hold,)),
        rois=(),
        proposal=propose(facts, plan.protocol, targets=3),
    )
    l3 = dataclasses.replace(
        l3,
        status=LesionStatus.HELD,
        reasons=("L3 lies 22 mm above the CT.",),
        mapped=None,
        rois=(),
        proposal=l2.proposal,
    )
    l4 = dataclasses.replace(
        l4, status=LesionStatus.EXCLUDED, reasons=("Excluded by A. Physician: patient's wish",), mapped=None, rois=()
    )
    case = Finding("registration-weak", Level.HOLD, "The body fit is weak.", Who.PERSON, 0.01, 0.03)
    exclusion = Exclusion("L4", "patient's wish", "A. Physician")
    return dataclasses.replace(
        plan,
        status=PlanStatus.HELD,
        findings=(*plan.findings, case, hold),
        lesions=(l1, l2, l3, l4),
        structure_set=None,
        exclusions=(exclusion,),
    )
