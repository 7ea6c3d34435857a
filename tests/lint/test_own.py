"""No false alarm: the synthetic patient's organs, and what psdt itself writes, on every kind of CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fixtures.patient import PatientSpec, write_patient
from psdt_planner.contours import lesion_shape, trace
from psdt_planner.dicom.image_planes import find
from psdt_planner.dicom.rtstruct_file import read_structure_set_file
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.geometry import Grid
from psdt_planner.lesions import MaskKind
from psdt_planner.lint import lint
from psdt_planner.shapes import RoiKind
from psdt_planner.structures import Margin, Target, build_structure_set, grow
from tests.lint.builder import codes, verdict_on
from tests.structures.scenes import (
    STAMP,
    ct_grid,
    ct_headers,
    ellipsoid,
    flag,
    moved,
    mr_grid,
    occupancy,
    save_ct,
)


def test_the_synthetic_patient_s_organs_have_no_complaint(tmp_path: Path) -> None:
    write_patient(PatientSpec(seed=4, size="tiny", lesions=2), tmp_path)
    found = find([tmp_path])
    (path,) = found.structure_sets
    (verdict,) = lint([read_structure_set_file(path)], found.series)
    assert verdict.series_uid
    assert codes(verdict) == set()


def written(ct: Grid) -> bytes:
    """A lesion and its margins as psdt writes them."""
    ct_from_mr = moved(np.random.default_rng(4), shift_mm=3.0)
    grid = mr_grid((0, 0, 0), 40.0, turn=Rotation.from_rotvec([0.05, 0.1, -0.05]))
    lesion = flag(grid, occupancy(grid, ellipsoid((-5, 3, 2), (5, 7, 8)), 3), MaskKind.OCCUPANCY)
    gtv = lesion_shape(lesion, ct_from_mr, ct)
    shapes = {RoiKind.GTV: gtv, RoiKind.PTV: grow(gtv, Margin.uniform(3.0), ct)}
    rings = {kind: trace(shape, ct).contours for kind, shape in shapes.items()}
    target = Target("L1", "Lesion in the ilium", "bone", "27 Gy in 3 fractions.", rings, lesion.tracking_uid)
    structure_set = build_structure_set([target], ct, label="psdt PROPOSAL", description="PROPOSAL of a test")
    return write_rtstruct(structure_set, ct_headers(ct), {"L1": lesion}, STAMP)


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP", "HFDL"])
@pytest.mark.parametrize("even", [True, False], ids=["even", "uneven"])
def test_what_psdt_writes_has_no_complaint(tmp_path: Path, position: str, even: bool) -> None:
    offsets = 2.0 * np.arange(30) if even else np.cumsum([2.0, 2.5, 2.0, 1.5, 3.0] * 5)
    ct = ct_grid(position=position, offsets_mm=offsets)
    path, folder = tmp_path / "rtstruct.dcm", tmp_path / "ct"
    path.write_bytes(written(ct))
    folder.mkdir()
    save_ct(ct_headers(ct), folder)
    assert codes(verdict_on(path, folder)) == (set() if even else {"ct-slices-uneven"})
