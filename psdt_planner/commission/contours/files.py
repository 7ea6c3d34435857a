"""Rings of any kind as the RTSTRUCT that psdt writes, for other programs to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.geometry import Grid
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side
from psdt_planner.shapes import Contour, Roi, RoiKind, StructureSet, rings_volume_ml

ROOT = "1.2.826.0.1.3680043.8.498.7"
STAMP = Stamp(datetime(2026, 1, 1, tzinfo=UTC), "commission")


def ct_headers(ct: Grid) -> list[Dataset]:
    """The images of a CT without their pixels."""
    j_mm, i_mm = ct.spacing_ji_mm
    axes = np.concatenate([ct.step_i_mm / i_mm, ct.step_j_mm / j_mm]).tolist()
    headers = []
    for k, origin in enumerate(ct.slice_origins_mm.tolist()):
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"{ROOT}.1.{k + 1}"
        header.StudyInstanceUID, header.SeriesInstanceUID = f"{ROOT}.2", f"{ROOT}.3"
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = ct.frame, ""
        header.Modality, header.Manufacturer = "CT", "psdt"
        header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "Phantom", "PH-1", "", ""
        header.StudyDate, header.StudyTime, header.StudyID = "20260101", "000000", "1"
        header.AccessionNumber, header.ReferringPhysicianName = "", ""
        header.SeriesDescription, header.InstanceNumber = "Phantom", str(k + 1)
        header.ImagePositionPatient = [f"{number:.6f}" for number in origin]
        header.ImageOrientationPatient = [f"{number:.6f}" for number in axes]
        header.PixelSpacing, header.SliceThickness = [f"{j_mm:.6f}", f"{i_mm:.6f}"], f"{ct.slice_gap_mm:.6f}"
        header.Rows, header.Columns = ct.shape[1:]
        headers.append(header)
    return headers


def structure_set_file(rois: Mapping[str, Sequence[Contour]], ct: Grid, headers: Sequence[Dataset]) -> bytes:
    """An RTSTRUCT with a region for each name, as psdt writes it for lesions."""
    flags, items = {}, []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        flag = flag_without_mask(f"L{number}", number)
        flags[flag.id] = flag
        volume_ml = rings_volume_ml(contours, ct)
        items.append(
            Roi(number, name, RoiKind.GTV, flag.id, tuple(contours), volume_ml, flag.tracking_uid, (255, 128, 0))
        )
    structure_set = StructureSet(ct, "psdt commission", "PROPOSAL of a phantom", tuple(items))
    return write_rtstruct(structure_set, headers, flags, STAMP)


def flag_without_mask(identity: str, number: int) -> FlaggedLesion:
    """A flag that stands for what a region was drawn from: a single voxel."""
    grid = Grid.regular(np.eye(4), (1, 1, 1), f"{ROOT}.4")
    source = FlagSource("1.2.840.10008.5.1.4.1.1.66.4", f"{ROOT}.5", number)
    mask = np.ones((1, 1, 1), dtype=np.float32)
    return FlaggedLesion(
        identity, "", "bone", "label", Side.UNKNOWN, f"{ROOT}.6.{number}", grid, mask, MaskKind.BINARY, source
    )
