"""Where the whole-body fit begins: parts of the body, arms up or down, CTs stored feet first."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.organs import Arms
from fixtures.patient import Patient, PatientSpec, make_patient, truth_record
from fixtures.regions import Region
from fixtures.render import render_ct, render_mr
from psdt_planner.findings import Level
from psdt_planner.geometry import Grid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.registration import CaseRegistration, register_case

CT, MR = "1.2.3", "1.2.4"
RIGHT_MM = 15.0


def volumes(patient: Patient, seed: int) -> tuple[Volume, Volume]:
    """The planning CT and the T1 of a synthetic patient, as the scanners stored them."""
    hu = render_ct(
        layers=patient.ct_layers,
        lesions=patient.lesions,
        deformation=patient.deformation,
        lattice=patient.ct,
        couch_y=patient.couch_y,
        seed=seed,
    )
    mr = render_mr(patient.mr_layers, patient.lesions, patient.epi, patient.mr, seed)["t1"]
    kinds = (patient.ct, hu, Kind.PLANNING_CT, "HU", CT), (patient.mr, mr, Kind.T1, "1", MR)
    made = []
    for lattice, array, kind, unit, frame in kinds:
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([lattice.step_k, lattice.step_j, lattice.step_i], axis=1)
        matrix[:3, 3] = lattice.origin
        grid = Grid.regular(matrix, lattice.shape, frame)
        made.append(Volume(grid, array.astype(np.float32), Quantity(kind, unit), f"{frame}.1"))
    return made[0], made[1]


def vertebrae_off_mm(found: CaseRegistration, patient: Patient) -> float:
    """Median distance between where the transform puts the vertebrae in the CT and where they are."""
    levels = truth_record(patient)["levels"]
    there = np.array([level["ct_mm"] for level in levels])
    put = found.ct_from_mr.apply([level["mr_mm"] for level in levels])
    return float(np.median(np.linalg.norm(put - there, axis=1)))


@pytest.mark.parametrize(
    ("region", "arms", "position"),
    [
        ("pelvis", "down", "FFS"),
        ("thorax", "up", "HFS"),
        ("thorax", "down", "FFS"),
        ("short-lumbar", "up", "FFS"),
        ("short-thoracic", "down", "HFS"),
    ],
)
def test_a_part_of_the_body_is_found_in_the_whole(region: Region, arms: Arms, position: str) -> None:
    """The MR has its arms down and lies head first; the runner-up and the margin to it are kept, or there is none."""
    spec = PatientSpec(seed=12, region=region, size="small", ct_arms=arms, ct_position=position)
    patient = make_patient(spec)
    ct, t1 = volumes(patient, spec.seed)
    found = register_case(ct, MR, t1, (), seed=1)
    held = {finding.code for finding in found.findings if finding.level is Level.HOLD}
    assert held or vertebrae_off_mm(found, patient) < RIGHT_MM
    if region in ("pelvis", "thorax"):
        assert not held, "an ordinary planning CT is not refused"
    assert found.margin is None or found.margin >= 0.0
