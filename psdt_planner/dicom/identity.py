"""Who, when and by what: what every object of ours shares with the planning CT, and its UIDs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from pydicom import Dataset, dcmwrite
from pydicom.charset import convert_encodings
from pydicom.dataset import FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ImplicitVRLittleEndian, generate_uid

from psdt_planner import __version__
from psdt_planner.dicom import attributes
from psdt_planner.errors import FaultError, GeometryError, InputError

MANUFACTURER = "psdt"

TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Patient and study attributes that must be there and may be empty (PS3.3 C.7.1.1, C.7.2.1)."""

TYPE_3 = (
    "IssuerOfPatientID",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "InstitutionName",
)
"""Attributes that go along where the CT has them, so that an archive finds no two stories of one study."""


@dataclass(frozen=True)
class Stamp:
    """When a set of outputs was made, and what makes its UIDs its own.

    Attributes:
        created: with its time zone; written as local date and time.
        entropy: anything that tells this run from every other, such as a hash of inputs and a run number.

    Raises:
        FaultError: a time without its zone, or no entropy.
    """

    created: datetime
    entropy: str

    def __post_init__(self) -> None:
        if self.created.tzinfo is None or not self.entropy:
            raise FaultError("a stamp needs a time with its zone, and entropy")

    def uid(self, *role: str) -> str:
        """A UID for a role such as ``"rtstruct", "series"``: the same stamp and role give the same UID."""
        sources = [self.created.isoformat(), self.entropy, *role]
        return str(generate_uid(entropy_srcs=["\x1f".join(sources)]))

    @property
    def date(self) -> str:
        """DICOM date."""
        return self.created.strftime("%Y%m%d")

    @property
    def time(self) -> str:
        """DICOM time to the microsecond."""
        return self.created.strftime("%H%M%S.%f")


def one_series(headers: Sequence[Dataset]) -> Dataset:
    """The first header of a series, after a look that all are of one patient, study, series and frame.

    Raises:
        MissingAttributeError: a UID of the image, series, study or frame of reference is missing.
        InputError: no header at all, or images of several patients, studies or series.
        GeometryError: images in several frames of reference.
    """
    if not headers:
        raise InputError("no image to refer to")
    first = headers[0]
    for header in headers:
        for keyword in ("SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            attributes.text(header, keyword)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            if attributes.text(header, keyword) != attributes.text(first, keyword):
                raise InputError(f"images with different {keyword}", where=attributes.where_of(header))
        if attributes.text_or_empty(header, "PatientID") != attributes.text_or_empty(first, "PatientID"):
            raise InputError("images of different patients", where=attributes.where_of(header))
        if header.FrameOfReferenceUID != first.FrameOfReferenceUID:
            raise GeometryError("images in different frames of reference", where=attributes.where_of(header))
    return first


def copy_patient_and_study(dataset: Dataset, ct: Dataset) -> None:
    """Patient and study as the planning CT has them; type 2 attributes empty where it has none."""
    dataset.StudyInstanceUID = attributes.text(ct, "StudyInstanceUID")
    for keyword in (*TYPE_2, *TYPE_3):
        if keyword in ct:
            dataset[keyword] = copy.deepcopy(ct[keyword])
        elif keyword in TYPE_2:
            setattr(dataset, keyword, None)
        elif keyword in dataset:
            delattr(dataset, keyword)


def copy_frame_of_reference(dataset: Dataset, ct: Dataset) -> None:
    """The frame of reference of the planning CT, and its position reference, empty where it has none."""
    dataset.FrameOfReferenceUID = attributes.text(ct, "FrameOfReferenceUID")
    dataset.PositionReferenceIndicator = attributes.text_or_empty(ct, "PositionReferenceIndicator")


def describe_series(dataset: Dataset, stamp: Stamp, *, modality: str, number: int, description: str) -> None:
    """Modality, series and equipment of an object of ours; its UIDs come with `sealed`."""
    dataset.Modality = modality
    dataset.SeriesNumber = str(number)
    dataset.SeriesDescription = description
    dataset.SeriesDate = dataset.InstanceCreationDate = stamp.date
    dataset.SeriesTime = dataset.InstanceCreationTime = stamp.time
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MANUFACTURER
    dataset.SoftwareVersions = __version__


def choose_character_set(dataset: Dataset, ct: Dataset, texts: Iterable[str]) -> None:
    """The CT's character set where it can write our texts too, so that names stay as they came; else UTF-8."""
    stated = ct.get("SpecificCharacterSet") or None
    encodings = convert_encodings(
        list(stated) if isinstance(stated, Sequence) and not isinstance(stated, str) else stated
    )
    chosen = stated if all(_writable(text, encodings) for text in texts) else "ISO_IR 192"
    if chosen is None:
        dataset.pop("SpecificCharacterSet", None)
    else:
        dataset.SpecificCharacterSet = chosen


def _writable(text: str, encodings: list[str]) -> bool:
    if text.isascii():
        return True
    # Without code extensions, only the first encoding holds for the whole value; that is the strict reading.
    try:
        text.encode(encodings[0])
    except UnicodeEncodeError:
        return False
    return encodings[0] != "iso8859"


def reference(header: Dataset) -> Dataset:
    """An item that refers to an image."""
    item = Dataset()
    item.ReferencedSOPClassUID = attributes.text(header, "SOPClassUID")
    item.ReferencedSOPInstanceUID = attributes.text(header, "SOPInstanceUID")
    return item


def sealed(dataset: Dataset, stamp: Stamp, role: str) -> bytes:
    """The whole file, Implicit VR Little Endian, with series and instance UIDs made from stamp, role and content.

    Since the content is part of the UIDs, changed content can never go out under a UID that was used before.
    """
    dataset.SeriesInstanceUID = dataset.SOPInstanceUID = stamp.uid(role)
    digest = hashlib.sha256(_encoded(dataset)).hexdigest()
    dataset.SeriesInstanceUID = stamp.uid(role, "series", digest)
    dataset.SOPInstanceUID = stamp.uid(role, "instance", digest)
    return _encoded(dataset)


def _encoded(dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"PSDT {__version__}"
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
