"""A sound structure set on a small planning CT, to be broken in one way at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, FileDataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, RTStructureSetStorage

from psdt_planner.dicom.files import quiet
from psdt_planner.dicom.image_planes import find
from psdt_planner.dicom.rtstruct_file import read_structure_set_file
from psdt_planner.lint import Verdict, lint
from tests.dicom_in.objects import CT_FRAME, CT_STUDY, ct_images, item, uid, write

SHAPE = (8, 40, 50)
SPACING_JI = (1.3, 0.8)
GAP_MM = 2.5
ORIGIN = (21.37, -31.2, 412.25)
"""Feet first: columns run to -x, slices to -z."""

FROM_CT = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate"),
    *("StudyTime", "StudyInstanceUID", "FrameOfReferenceUID", "InstitutionName", "ReferringPhysicianName"),
)

WIDE = {b"<a in Latin-1>": b"Darm\xe4nder ABCD", b"<a in UTF-8>": "Läsion ABCD".encode()}
"""What pydicom would write in a character set of its own choice, put into the bytes afterwards; of the same length."""
assert all(len(words) == len(written) for words, written in WIDE.items())

Ring = NDArray[np.float64]


def planning_ct(**attributes: Any) -> list[FileDataset]:
    """Eight axial slices, feet first, of pixels that are not square."""
    values: dict[str, Any] = {"shape": SHAPE, "spacing_ji": SPACING_JI, "gap": GAP_MM, "origin": ORIGIN, **attributes}
    values = {"cosines": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), "InstitutionName": "Small Hospital", **values}
    made = ct_images(**values)
    for ds in made:
        ds.ReferringPhysicianName = ""
    return made


def in_slice(k: float, uv_mm: ArrayLike) -> Ring:
    """Points of slice ``k`` at ``uv_mm`` from the middle of the image, along rows and columns."""
    u, v = np.asarray(uv_mm, dtype=float).T
    i, j = (SHAPE[2] - 1) / 2 * SPACING_JI[1], (SHAPE[1] - 1) / 2 * SPACING_JI[0]
    return np.column_stack([ORIGIN[0] - i - u, ORIGIN[1] + j + v, np.full(len(u), ORIGIN[2] - k * GAP_MM)])


def disc(k: float, radius_mm: float, centre: tuple[float, float] = (0.0, 0.0), points: int = 24) -> Ring:
    """A regular polygon in slice ``k``."""
    angle = np.arange(points) * 2 * np.pi / points + 0.1
    return in_slice(k, np.column_stack([centre[0] + radius_mm * np.cos(angle), centre[1] + radius_mm * np.sin(angle)]))


def text_of(points: Ring) -> str:
    """ContourData with three decimals."""
    return "\\".join(f"{number:.3f}" for number in (np.round(points, 3) + 0.0).ravel())


def contour(points: Ring, image: Dataset | None, kind: str = "CLOSED_PLANAR", text: str = "") -> Dataset:
    """One ring; ``text`` stands for other ContourData than its points."""
    made = item(ContourGeometricType=kind, NumberOfContourPoints=len(points))
    if image is not None:
        made.ContourImageSequence = [reference(image)]
    set_text(made, text or text_of(points))
    return made


def set_text(ring: Dataset, text: str) -> None:
    """ContourData as it is, without a look at it by pydicom."""
    data = (text + " " * (len(text) % 2)).encode("ascii")
    tag = Tag(tag_for_keyword("ContourData") or 0)
    ring[tag] = RawDataElement(tag, "DS", len(data), data, 0, True, True)


def reference(image: Dataset) -> Dataset:
    return item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def series_item(series_uid: str, images: Iterable[Dataset]) -> Dataset:
    return item(SeriesInstanceUID=series_uid, ContourImageSequence=[reference(image) for image in images])


def frame_item(frame: str, *series: Dataset) -> Dataset:
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=CT_STUDY,
        RTReferencedSeriesSequence=list(series),
    )
    return item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])


def add_roi(ds: Dataset, number: int, name: str, kind: str, rings: Sequence[Dataset]) -> None:
    """An ROI with its contours and its observation."""
    ds.StructureSetROISequence.append(
        item(ROINumber=number, ReferencedFrameOfReferenceUID=CT_FRAME, ROIName=name, ROIGenerationAlgorithm="MANUAL")
    )
    ds.ROIContourSequence.append(item(ReferencedROINumber=number, ContourSequence=list(rings)))
    ds.RTROIObservationsSequence.append(
        item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType=kind, ROIInterpreter="")
    )


def sound(ct: Sequence[FileDataset], name: str = "rtss") -> FileDataset:
    """A structure set of which nobody has anything to complain: body, target and organ, in implicit VR."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, uid(name, 0)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ImplicitVRLittleEndian, "1.2.826.0.1.3680043.10.1511"
    ds = FileDataset(f"{name}.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in FROM_CT:
        ds[keyword] = deepcopy(ct[0][keyword])
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = RTStructureSetStorage, uid(name, 0), uid(name)
    ds.Modality, ds.SeriesNumber, ds.Manufacturer, ds.OperatorsName = "RTSTRUCT", 9, "psdt tests", ""
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "SOUND", "20260101", "120000"
    ds.ApprovalStatus = "UNAPPROVED"
    ds.ReferencedFrameOfReferenceSequence = [frame_item(CT_FRAME, series_item(ct[0].SeriesInstanceUID, ct))]
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    add_roi(ds, 1, "BODY", "EXTERNAL", [contour(disc(k, 17.0, points=60), ct[k]) for k in range(SHAPE[0])])
    add_roi(ds, 2, "GTV1", "GTV", [contour(disc(k, 4.0, (3.0, -2.0)), ct[k]) for k in (2, 3, 4)])
    add_roi(ds, 3, "Rectum", "ORGAN", [contour(disc(k, 6.0, (-4.0, 7.0)), ct[k]) for k in (1, 2, 3, 4, 5)])
    return ds


def rings_of(ds: Dataset, roi: int = 1) -> list[Dataset]:
    """The rings of an ROI by its place, the target unless said otherwise."""
    return list(ds.ROIContourSequence[roi].ContourSequence)


def saved(ds: FileDataset, path: Path) -> Path:
    """The structure set as a file, whatever is wrong with its values."""
    with quiet():
        ds.save_as(path)
    data = path.read_bytes()
    for words, written in WIDE.items():
        data = data.replace(words, written)
    path.write_bytes(data)
    return path


def verdict_on(path: Path, *ct_folders: Path) -> Verdict:
    """What lint says about one file beside the CT in folders."""
    found = find(ct_folders)
    return lint([read_structure_set_file(path)], found.series)[0]


def codes(verdict: Verdict) -> set[str]:
    return {one.code for one in verdict.complaints}


__all__ = [
    "CT_FRAME", "GAP_MM", "SHAPE", "add_roi", "codes", "contour", "disc", "frame_item", "in_slice", "planning_ct",
    "reference", "rings_of", "saved", "series_item", "set_text", "sound", "text_of", "uid", "verdict_on", "write",
]  # fmt: skip
