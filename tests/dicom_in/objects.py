"""Small DICOM objects made by hand: non-square pixels, slices that are no pixels, oblique MR, feet-first CT."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
    SpatialRegistrationStorage,
)
from scipy.spatial.transform import Rotation

from psdt_planner.dicom.files import Header, InputFile, read_headers

CT_FRAME, MR_FRAME = "1.2.3.100", "1.2.3.200"
CT_STUDY, MR_STUDY = "1.2.3.101", "1.2.3.201"
OBLIQUE = Rotation.from_euler("xyz", [6, -9, 14], degrees=True).as_matrix()
HEAD_FIRST = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
FEET_FIRST = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def uid(*words: object) -> str:
    """A UID that follows from words."""
    return f"1.2.826.0.1.3680043.10.1511.{zlib.crc32(repr(words).encode())}"


def blank(sop_class: str, name: str, index: object = 0, **attributes: Any) -> FileDataset:
    """An object with its identity and patient, and whatever attributes are named; a value of None leaves one out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid(name, index)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = "1.2.826.0.1.3680043.10.1511"
    ds = FileDataset(f"{name}-{index}.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = uid(name, index)
    ds.SeriesInstanceUID = uid(name)
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "P-1", "Doe^Jo", "19500102", "M"
    ds.StudyID, ds.AccessionNumber, ds.StudyDate, ds.StudyTime = "1", "", "20260101", "120000"
    ds.ReferringPhysicianName = ""
    return changed(ds, **attributes)


def changed(ds: FileDataset, **attributes: Any) -> FileDataset:
    """The same object with attributes set, or removed where their value is None."""
    for keyword, value in attributes.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return ds


def stored_pixels(shape: Sequence[int]) -> NDArray[np.int16]:
    """Numbers that tell their voxel: 1000 k + 30 j + i."""
    k, j, i = np.indices(shape)
    return np.asarray(1000 * k + 30 * j + i, dtype=np.int16)


def decayed_pixels(b: float) -> NDArray[np.int16]:
    """The signal at a b-value of tissue whose ADC in 10^-6 mm2/s is `stored_pixels`."""
    adc_mm2_per_s = 1e-6 * stored_pixels((5, 9, 7))
    return np.asarray(np.rint(20000.0 * np.exp(-b * adc_mm2_per_s)), dtype=np.int16)


def images(
    sop_class: str,
    name: str,
    *,
    shape: tuple[int, int, int] = (5, 9, 7),
    spacing_ji: tuple[float, float] = (1.3, 0.8),
    gap: float = 2.5,
    origin: ArrayLike = (-20.0, -31.0, 40.0),
    cosines: ArrayLike = HEAD_FIRST,
    offsets: Sequence[float] | None = None,
    pixels: NDArray[np.int16] | None = None,
    **attributes: Any,
) -> list[FileDataset]:
    """The single-frame images of one series, slice k at ``offsets[k]`` mm (or k gaps) along the normal."""
    row, column = np.asarray(cosines, dtype=np.float64)
    normal = np.cross(row, column)
    pixels = stored_pixels(shape) if pixels is None else pixels
    made = []
    for k, offset in enumerate(offsets if offsets is not None else np.arange(shape[0]) * gap):
        ds = blank(sop_class, name, k)
        ds.InstanceNumber = k + 1
        ds.ImagePositionPatient = [f"{mm:.6f}" for mm in np.asarray(origin) + offset * normal]
        ds.ImageOrientationPatient = [f"{cosine:.9f}" for cosine in (*row, *column)]
        ds.PixelSpacing = list(spacing_ji)
        ds.SliceThickness = gap
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = shape[1], shape[2], 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.PixelData = np.ascontiguousarray(pixels[k]).tobytes()
        made.append(changed(ds, **attributes))
    return made


def ct_images(name: str = "ct", **attributes: Any) -> list[FileDataset]:
    """A planning CT of 5 slices."""
    values = {
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "RescaleType": "HU",
        "SeriesDescription": "Planning CT",
        "FrameOfReferenceUID": CT_FRAME,
        "StudyInstanceUID": CT_STUDY,
        **attributes,
    }
    return images(CTImageStorage, name, **values)


def mr_images(name: str = "t1", **attributes: Any) -> list[FileDataset]:
    """A T1-weighted MR of 5 oblique slices."""
    values = {
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "SeriesDescription": "t1_tse_tra",
        "FrameOfReferenceUID": MR_FRAME,
        "StudyInstanceUID": MR_STUDY,
        "gap": 4.0,
        "cosines": OBLIQUE[:2],
        "origin": (11.0, -42.0, 300.0),
        **attributes,
    }
    return images(MRImageStorage, name, **values)


def dwi_images(name: str = "dwi", *, b: float | None = 900, **attributes: Any) -> list[FileDataset]:
    """Trace-weighted images at one b-value."""
    values = {
        "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"],
        "SeriesDescription": "ep2d_diff",
        "SliceThickness": 5.0,
        "DiffusionBValue": b,
        **attributes,
    }
    return mr_images(name, **values)


def renamed(datasets: Sequence[FileDataset], name: str, series: str = "") -> list[FileDataset]:
    """The same images as other instances, in the series called ``series`` or as before."""
    for index, ds in enumerate(datasets):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(name, index)
        if series:
            ds.SeriesInstanceUID = uid(series)
    return list(datasets)


def segment(number: int, label: str, *regions: Any, **attributes: Any) -> hd.seg.SegmentDescription:
    """A flagged lesion's description."""
    return hd.seg.SegmentDescription(
        number,
        label,
        codes.SCT.MorphologicallyAbnormalStructure,
        codes.SCT.Lesion,
        hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        tracking_uid=uid("tracking", number),
        tracking_id=f"lesion {number}",
        anatomic_regions=list(regions) or None,
        **attributes,
    )


def seg_object(
    source: Sequence[Dataset],
    masks: NDArray[Any],
    segments: Sequence[hd.seg.SegmentDescription] | None = None,
    *,
    name: str = "seg",
    kind: str = "BINARY",
    fractional: str = "OCCUPANCY",
    **geometry: Any,
) -> hd.seg.Segmentation:
    """A SEG on single-frame images in the order given; ``masks`` is ``(k, j, i, segments)``.

    ``geometry`` is that of a SEG on another grid than its images, as highdicom names it.

    highdicom shares the patient's elements with its sources, so that it gets copies.
    """
    described = segments or [segment(n + 1, f"Lesion {n + 1}") for n in range(masks.shape[3])]
    return hd.seg.Segmentation(
        deepcopy(list(source)),
        masks,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=uid(name),
        series_number=9,
        sop_instance_uid=uid(name, 0),
        instance_number=1,
        manufacturer="psdt tests",
        manufacturer_model_name="objects.py",
        software_versions="1",
        device_serial_number="1",
        fractional_type=fractional,
        **geometry,
    )


def item(**attributes: Any) -> Dataset:
    """An item of a sequence."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def roi(number: int, name: str, rings: Sequence[ArrayLike], **attributes: Any) -> dict[str, Any]:
    """A region of a structure set: rings of ``(N, 3)`` mm, and ``kind``, ``frame``, ``named`` images, ``type``."""
    return {"number": number, "name": name, "rings": [np.asarray(ring) for ring in rings], **attributes}


def structure_set(
    rois: Sequence[dict[str, Any]],
    *,
    name: str = "rtss",
    frame: str = CT_FRAME,
    series: str = "",
    listed: Sequence[Dataset] = (),
    **attributes: Any,
) -> FileDataset:
    """An RTSTRUCT; ``series`` is the SeriesInstanceUID that it names, ``listed`` the images under it."""
    ds = blank(RTStructureSetStorage, name, Modality="RTSTRUCT", StudyInstanceUID=CT_STUDY, FrameOfReferenceUID=frame)
    ds.StructureSetLabel = "TEST"
    if series:
        ds.ReferencedFrameOfReferenceSequence = [_referenced(frame, series, listed)]
    ds.StructureSetROISequence = [
        item(ROINumber=one["number"], ROIName=one["name"], ReferencedFrameOfReferenceUID=one.get("frame", frame))
        for one in rois
    ]
    ds.ROIContourSequence = [_contours(one) for one in rois if one["rings"] or one.get("kept")]
    ds.RTROIObservationsSequence = [
        item(ObservationNumber=one["number"], ReferencedROINumber=one["number"], RTROIInterpretedType=one["type"])
        for one in rois
        if "type" in one
    ]
    return changed(ds, **attributes)


def _referenced(frame: str, series: str, listed: Sequence[Dataset]) -> Dataset:
    named = [item(ReferencedSOPClassUID=one.SOPClassUID, ReferencedSOPInstanceUID=one.SOPInstanceUID) for one in listed]
    of_series = item(SeriesInstanceUID=series, ContourImageSequence=named)
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=CT_STUDY,
        RTReferencedSeriesSequence=[of_series],
    )
    return item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])


def _contours(one: dict[str, Any]) -> Dataset:
    contours = []
    for ring in one["rings"]:
        contour = item(
            ContourGeometricType=one.get("kind", "CLOSED_PLANAR"),
            NumberOfContourPoints=len(ring),
            ContourData=[f"{mm:.4f}" for mm in ring.ravel()],
        )
        if "named" in one:
            contour.ContourImageSequence = [
                item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
                for image in one["named"]
            ]
        contours.append(contour)
    made = item(ReferencedROINumber=one["number"])
    if contours:
        made.ContourSequence = contours
    return made


def registration_object(
    items: Sequence[tuple[str, Sequence[ArrayLike]]],
    *,
    name: str = "reg",
    frame: str | None = CT_FRAME,
    kind: str = "RIGID",
    **attributes: Any,
) -> FileDataset:
    """A Spatial Registration: for each item its frame (or images) and its matrices in order."""
    ds = blank(SpatialRegistrationStorage, name, Modality="REG", StudyInstanceUID=CT_STUDY, FrameOfReferenceUID=frame)
    ds.RegistrationSequence = []
    for source, matrices in items:
        steps = [
            item(
                FrameOfReferenceTransformationMatrixType=kind,
                FrameOfReferenceTransformationMatrix=[f"{value:.10f}" for value in np.ravel(matrix)],
            )
            for matrix in matrices
        ]
        one = item(MatrixRegistrationSequence=[item(MatrixSequence=steps, RegistrationTypeCodeSequence=[])])
        if source:
            one.FrameOfReferenceUID = source
        ds.RegistrationSequence.append(one)
    return changed(ds, **attributes)


def write(folder: Path, *objects: Dataset | Sequence[Dataset]) -> Path:
    """Write objects into a folder, each under a name that says nothing; gives the folder back."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(list(folder.iterdir()))
    flat = [ds for one in objects for ds in ([one] if isinstance(one, Dataset) else one)]
    for number, ds in enumerate(flat, start=count):
        ds.save_as(folder / f"{number:04d}", enforce_file_format=True)
    return folder


def headers(folder: Path) -> tuple[Header, ...]:
    """The headers in a folder, of which every file must be readable."""
    found, findings = read_headers([folder])
    assert not findings
    return found


def in_memory(datasets: Sequence[FileDataset]) -> list[Header]:
    """Headers of objects that were never written."""
    return [
        Header(ds, Path(), InputFile("", "", str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID)))
        for ds in datasets
    ]


def square(centre_mm: ArrayLike, half_mm: float, z_mm: float) -> NDArray[np.float64]:
    """A square ring in an axial plane, counter-clockwise."""
    x, y = np.asarray(centre_mm, dtype=np.float64)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return np.array([(x + dx * half_mm, y + dy * half_mm, z_mm) for dx, dy in corners])
