"""Where the slices of image series lie, from a few attributes of each header; and which files are structure sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import UNREADABLE, Header, InputFile, quiet
from psdt_planner.dicom.rtstruct_file import STRUCTURE_SET_CLASS
from psdt_planner.dicom.stacks import Irregularity, Slice, read_slice, stack
from psdt_planner.errors import InputError
from psdt_planner.geometry import Points

OF_IMAGES = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("PatientID", "PatientName", "InstitutionName", "SpecificCharacterSet", "ImageType", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
)
"""All that is read of a header."""


@dataclass(frozen=True, eq=False)
class ImageSeries:
    """The single-frame images of one series that state where they lie, each once, in the order of their slices.

    Attributes:
        uid, study_uid, sop_class_uid, modality, patient_id, patient_name, institution: of the first image.
        frames: the frames of reference that its images name.
        image_uids: SOP Instance UIDs.
        origins_mm: ``(K, 3)``, centre of the first voxel of each slice.
        row, column, normal: ``(3,)``, unit vectors of the first image; the slices follow each other along the normal.
        spacing_ji_mm, shape_ji: of the first image.
        irregularities: what is odd about the stack, as `stacks.stack` names it.
    """

    uid: str
    study_uid: str
    sop_class_uid: str
    modality: str
    patient_id: str
    patient_name: str
    institution: str
    frames: frozenset[str]
    image_uids: tuple[str, ...]
    origins_mm: Points
    row: Points
    column: Points
    normal: Points
    spacing_ji_mm: tuple[float, float]
    shape_ji: tuple[int, int]
    irregularities: tuple[Irregularity, ...]

    @property
    def is_turned(self) -> bool:
        """Whether its images have several orientations, so that no normal is that of all."""
        return any(one.name == "orientation-mixed" for one in self.irregularities)


@dataclass(frozen=True)
class Found:
    """What lies among files and folders: paths of structure sets, images and what is no DICOM, and the image series."""

    structure_sets: tuple[Path, ...]
    series: tuple[ImageSeries, ...]
    images: tuple[Path, ...]
    unreadable: tuple[Path, ...]


def find(paths: Iterable[Path]) -> Found:
    """The structure sets and image series among files and folders; other DICOM objects are passed over.

    Raises:
        InputError: a path does not exist.
    """
    structure_sets: list[Path] = []
    unreadable: list[Path] = []
    images: dict[str, list[Header]] = defaultdict(list)
    for path in _files(paths):
        header = _header(path)
        if header is None:
            unreadable.append(path)
        elif header.file.sop_class_uid == STRUCTURE_SET_CLASS or header.dataset.get("Modality") == "RTSTRUCT":
            structure_sets.append(path)
        elif header.file.series_instance_uid and attributes.has(header.dataset, "ImagePositionPatient"):
            images[header.file.series_instance_uid].append(header)
    series = [_series(uid, headers) for uid, headers in sorted(images.items())]
    placed = tuple(one for one in series if one is not None)
    paths_of_images = tuple(header.path for headers in images.values() for header in headers)
    return Found(tuple(structure_sets), placed, paths_of_images, tuple(unreadable))


def _files(paths: Iterable[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {path.name}", todo="Check the path.")
        inside = path.rglob("*") if path.is_dir() else [path]
        found.update({file.resolve(): file for file in inside if file.is_file()})
    return [found[key] for key in sorted(found)]


def _header(path: Path) -> Header | None:
    with quiet():
        try:
            ds = dcmread(path, specific_tags=list(OF_IMAGES), stop_before_pixels=True)
            media_class = str(ds.file_meta.get("MediaStorageSOPClassUID", ""))
        except UNREADABLE:
            return None
        sop_class = attributes.text_or_empty(ds, "SOPClassUID") or media_class
        uids = (attributes.text_or_empty(ds, key) for key in ("SOPInstanceUID", "SeriesInstanceUID"))
        return Header(ds, path, InputFile(path.name, "", sop_class, *uids))


def _series(uid: str, headers: Sequence[Header]) -> ImageSeries | None:
    """The series as a stack; None where none of its images, or only scouts, have a place."""
    copies = {header.file.sop_instance_uid: header for header in headers if not _is_scout(header.dataset)}
    slices = [one for header in copies.values() if (one := _slice(header))]
    if not slices:
        return None
    first = min(slices, key=lambda one: one.header.file.sop_instance_uid)
    ds, sop_class = first.header.dataset, first.header.file.sop_class_uid
    whole = stack(slices, axial=attributes.text_or_empty(ds, "Modality") == "CT")
    study, modality, patient, institution = (
        attributes.text_or_empty(ds, key) for key in ("StudyInstanceUID", "Modality", "PatientID", "InstitutionName")
    )
    origins = np.array([one.origin_mm for one in whole.slices])
    origins.flags.writeable = False
    return ImageSeries(
        uid=uid,
        study_uid=study,
        sop_class_uid=sop_class,
        modality=modality,
        patient_id=patient,
        patient_name=attributes.text_or_empty(ds, "PatientName"),
        institution=institution,
        frames=frozenset(one.frame for one in slices if one.frame),
        image_uids=tuple(one.header.file.sop_instance_uid for one in whole.slices),
        origins_mm=origins,
        row=first.row,
        column=first.column,
        normal=np.cross(first.row, first.column),
        spacing_ji_mm=first.spacing_ji_mm,
        shape_ji=first.shape_ji,
        irregularities=whole.irregularities,
    )


def _is_scout(ds: Dataset) -> bool:
    return "LOCALIZER" in attributes.words(ds, "ImageType")


def _slice(header: Header) -> Slice | None:
    try:
        return read_slice(header)
    except InputError:
        return None
