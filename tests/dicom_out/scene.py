"""A small structure set drawn by hand: two lesions, a PTV with a hole where an organ was cut out, an organ, a body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread, dcmwrite

from psdt_planner.contours import by_rule
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.geometry import Grid, Points
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.shapes import Contour, HoleRule, Roi, RoiKind, StructureSet, rings_volume_ml
from tests.structures.scenes import STAMP, ct_grid, ct_headers, flag, mr_grid

CT = ct_grid(offsets_mm=np.cumsum([2.0, 2.5, 2.0, 1.5] * 3))
HEADERS = ct_headers(CT)
TEXT = "PROPOSAL of a test. Tracking UID {}. 27 Gy in 3 fractions."


def circle(k: int, centre_ji_mm: tuple[float, float], radius_mm: float, points: int = 48, grid: Grid = CT) -> Points:
    """On slice ``k``, at a place told from the middle of the slice along its columns and rows."""
    angle = np.linspace(0.0, 2 * np.pi, points, endpoint=False)
    j_mm, i_mm = grid.spacing_ji_mm
    middle = grid.mm_from_index([[k, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2]])[0]
    down, along = grid.step_j_mm / j_mm, grid.step_i_mm / i_mm
    j = centre_ji_mm[0] + radius_mm * np.sin(angle)
    i = centre_ji_mm[1] + radius_mm * np.cos(angle)
    return np.asarray(middle + j[:, None] * down + i[:, None] * along)


def column(
    centre_ji_mm: tuple[float, float], radius_mm: float, hole_mm: float = 0.0, grid: Grid = CT
) -> tuple[Contour, ...]:
    """A round column over slices 3 to 7, with a round hole in its middle."""
    holes = [circle(k, centre_ji_mm, hole_mm, grid=grid) for k in range(3, 8)] if hole_mm else [None] * 5
    return tuple(
        Contour(circle(k, centre_ji_mm, radius_mm, grid=grid), k, () if hole is None else (hole,))
        for k, hole in zip(range(3, 8), holes, strict=True)
    )


@cache
def flags() -> dict[str, FlaggedLesion]:
    grid = mr_grid((0, 0, 0), 10.0)
    mask = np.ones(grid.shape, dtype=np.float32)
    sites = {"L1": "bone", "L2": "pelvic-node"}
    return {key: flag(grid, mask, id=key, site=site, label=f"Lesion {key}") for key, site in sites.items()}


def structure_set(rule: HoleRule = HoleRule.KEYHOLE, grid: Grid = CT) -> StructureSet:
    """As a destination with this rule takes it."""
    drawn = (
        ("GTV1", RoiKind.GTV, "L1", column((-12.0, -8.0), 6.0, grid=grid)),
        ("PTV1", RoiKind.PTV, "L1", column((-12.0, -8.0), 11.0, 4.0, grid=grid)),
        ("GTVn2", RoiKind.GTV, "L2", column((16.0, 10.0), 5.0, grid=grid)),
        ("Kidney_L", RoiKind.ORGAN, "", column((18.0, -20.0), 8.0, grid=grid)),
        ("External", RoiKind.EXTERNAL, "", column((0.0, 0.0), 34.0, grid=grid)),
    )
    rois = []
    for number, (name, kind, lesion, contours) in enumerate(drawn, start=1):
        rings = by_rule(contours, rule, grid)
        words = TEXT.format(flags()[lesion].tracking_uid) if lesion else "PROPOSAL"
        colour = (10 * number, 20, 30)
        rois.append(Roi(number, name, kind, lesion, rings, rings_volume_ml(rings, grid), words, colour))
    return StructureSet(grid, "psdt PROPOSAL", "PROPOSAL of a test", tuple(rois))


@cache
def data(rule: HoleRule = HoleRule.KEYHOLE) -> bytes:
    return write_rtstruct(structure_set(rule), HEADERS, flags(), STAMP)


def read(file: bytes) -> Dataset:
    return dcmread(BytesIO(file))


def spoilt(change: Callable[[Dataset], object], file: bytes | None = None) -> bytes:
    """The file with one thing changed, as if it had been written so."""
    dataset = read(data() if file is None else file)
    change(dataset)
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def renamed(name: str) -> StructureSet:
    """With its first ROI named otherwise."""
    made = structure_set()
    return replace(made, rois=(replace(made.rois[0], name=name), *made.rois[1:]))
