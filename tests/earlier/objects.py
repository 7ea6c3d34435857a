"""Earlier courses made by hand: plans, and doses on turned lattices with uneven slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import FileDataset
from pydicom.uid import RTDoseStorage, RTPlanStorage
from scipy.spatial.transform import Rotation

from psdt_planner.exam import EarlierCourse
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.reirradiation import PlacedCourse
from tests.dicom_in.objects import CT_FRAME, CT_STUDY, blank, changed, item, uid

Field = Callable[[NDArray[np.float64]], NDArray[np.float64]]

TURNED = Rotation.from_euler("xyz", [5, -8, 17], degrees=True).as_matrix()
UNEVEN = (0.0, 3.0, 6.0, 10.0, 13.0)
"""Offsets of slices, one gap wider than the others."""


def rt_dose(
    *,
    name: str = "dose",
    plans: Sequence[str] = ("rtplan",),
    stored: NDArray[Any] | None = None,
    scaling: float = 0.01,
    cosines: ArrayLike = TURNED[:2],
    first_mm: ArrayLike = (-12.0, 7.5, 31.0),
    spacing_ji: tuple[float, float] = (2.5, 1.5),
    offsets: Sequence[float] = UNEVEN,
    **attributes: Any,
) -> FileDataset:
    """An RT Dose of 5 slices of 4 x 6 voxels, whose maximum is 54 Gy."""
    if stored is None:
        stored = np.linspace(0, 5400, len(offsets) * 24).reshape(len(offsets), 4, 6).astype(np.uint32)
    ds = blank(RTDoseStorage, name, Modality="RTDOSE", StudyInstanceUID=CT_STUDY, FrameOfReferenceUID=CT_FRAME)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.FrameIncrementPointer = 1, "MONOCHROME2", 0x3004000C
    ds.NumberOfFrames, ds.Rows, ds.Columns = stored.shape
    ds.PixelSpacing, ds.GridFrameOffsetVector = list(spacing_ji), list(offsets)
    ds.ImagePositionPatient = [f"{mm:.6f}" for mm in np.asarray(first_mm, dtype=float)]
    ds.ImageOrientationPatient = [f"{cosine:.10f}" for cosine in np.ravel(cosines)]
    bits = stored.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType, ds.DoseGridScaling = "GY", "PHYSICAL", "PLAN", f"{scaling:.10g}"
    ds.ReferencedRTPlanSequence = [
        item(ReferencedSOPClassUID=RTPlanStorage, ReferencedSOPInstanceUID=uid(plan, 0)) for plan in plans
    ]
    ds.add_new("PixelData", "OW", stored.tobytes())
    return changed(ds, **attributes)


def rt_plan(
    name: str = "rtplan",
    *,
    fractions: Sequence[int | None] = (25,),
    targets_gy: Sequence[float] = (50.0,),
    beams_gy: Sequence[float] = (),
    **attributes: Any,
) -> FileDataset:
    """An approved RT Plan of 2 years before the planning CT: 50 Gy in 25."""
    ds = blank(RTPlanStorage, name, Modality="RTPLAN", StudyInstanceUID=CT_STUDY)
    ds.RTPlanLabel, ds.RTPlanDate, ds.ApprovalStatus = "EARLIER", "20240101", "APPROVED"
    ds.DoseReferenceSequence = [
        item(DoseReferenceNumber=n, DoseReferenceType="TARGET", TargetPrescriptionDose=f"{gy:.12g}")
        for n, gy in enumerate(targets_gy, start=1)
    ]
    ds.FractionGroupSequence = []
    for number, count in enumerate(fractions, start=1):
        group = item(FractionGroupNumber=number, NumberOfBeams=len(beams_gy))
        if count is not None:
            group.NumberOfFractionsPlanned = count
        if beams_gy:
            group.ReferencedBeamSequence = [
                item(ReferencedBeamNumber=n, BeamDose=f"{b:.12g}") for n, b in enumerate(beams_gy)
            ]
        ds.FractionGroupSequence.append(group)
    return changed(ds, **attributes)


def course(
    field: Field,
    grid: Grid,
    *,
    identity: str = "C1",
    fractions: int = 25,
    prescription_gy: float = 50.0,
    days_before: int | None = 730,
    plans: tuple[str, ...] = ("1.5",),
) -> EarlierCourse:
    """A course that gave an analytic dose."""
    dose = Volume(grid, field(grid.centres_mm()).astype(np.float32), Quantity(Kind.RTDOSE, "Gy"), "1.9.7")
    return EarlierCourse(identity, dose, f"1.9.{identity}", plans, fractions, prescription_gy, days_before)


def placed(of: EarlierCourse, ct_from_dose: Rigid, uncertainty_mm: float = 0.0) -> PlacedCourse:
    return PlacedCourse(of, ct_from_dose, ct_from_dose.target, "reg-object", "by hand", uncertainty_mm)


def dose_grid(frame: str, *, half_mm: float = 40.0, steps: tuple[float, float, float] = (2.5, 2.0, 1.5)) -> Grid:
    """A turned lattice around the origin, one gap of its slices wider than the others."""
    counts = [round(2.0 * half_mm / step) + 1 for step in steps]
    along, down, ahead = TURNED
    offsets = np.arange(counts[0]) * steps[0]
    offsets[3:] += 0.7
    first = -half_mm * (along + down + ahead)
    shape = (counts[0], counts[1], counts[2])
    return Grid(first + offsets[:, None] * ahead, steps[1] * down, steps[2] * along, shape, frame)
