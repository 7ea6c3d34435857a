"""Who, when and by what: what every object of ours shares with the planning CT, and its UIDs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import SEEK_END, BytesIO
from types import MappingProxyType

from pydicom import Dataset, dcmread
from pydicom.charset import convert_encodings
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ImplicitVRLittleEndian, generate_uid

from psdt_planner import __version__
from psdt_planner.destination import CharacterSet
from psdt_planner.dicom import attributes
from psdt_planner.errors import ConfigurationError, FaultError, GeometryError, InputError
from psdt_planner.structures import shortened

MANUFACTURER = "psdt"

UTF_8 = "ISO_IR 192"

NOTHING: Mapping[int, bytes] = MappingProxyType({})

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
    series = {keyword: attributes.text(first, keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID")}
    patient, frame = attributes.text_or_empty(first, "PatientID"), attributes.text(first, "FrameOfReferenceUID")
    for header in headers:
        for keyword in ("SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            attributes.text(header, keyword)
        for keyword, uid in series.items():
            if attributes.text(header, keyword) != uid:
                raise InputError(f"images with different {keyword}", where=attributes.where_of(header))
        if attributes.text_or_empty(header, "PatientID") != patient:
            raise InputError("images of different patients", where=attributes.where_of(header))
        if attributes.text(header, "FrameOfReferenceUID") != frame:
            raise GeometryError("images in different frames of reference", where=attributes.where_of(header))
    return first


def begun(sop_class: UID, ct: Dataset, rule: CharacterSet, texts: Iterable[str] = ()) -> Dataset:
    """A new object of ours in the planning CT's study: its class, its character set, its patient and study.

    Raises:
        ConfigurationError: as `choose_character_set`.
    """
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    choose_character_set(dataset, ct, texts, rule)
    copy_patient_and_study(dataset, ct)
    return dataset


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


def choose_character_set(dataset: Dataset, ct: Dataset, texts: Iterable[str], rule: CharacterSet = "keep") -> None:
    """The character set that the rule asks for; ``keep`` is the CT's where it can write our texts too, else UTF-8.

    To be chosen before anything is copied. What a forced character set lacks of our own words, `spelled` spells out; a
    patient's name is never spelled otherwise.

    Raises:
        ConfigurationError: the forced character set cannot write what is copied from the CT.
    """
    if rule != "keep":
        _check_copied(ct, rule)
        dataset.SpecificCharacterSet = rule
        return
    stated = ct.get("SpecificCharacterSet") or None
    encodings = _encodings(ct)
    chosen = stated if all(_writable(text, encodings) for text in texts) else UTF_8
    if chosen is None:
        dataset.pop("SpecificCharacterSet", None)
    else:
        dataset.SpecificCharacterSet = chosen


def spelled(text: str, dataset: Dataset, longest: int) -> str:
    """Our own words as the dataset's character set can write them, cut to a length.

    A letter that it lacks is spelled by its number (``&#1086;``), so that nothing is lost; a cut shows as ``[...]``.
    """
    if not text.isascii():
        encoding = _encodings(dataset)[0]
        encoding = "ascii" if encoding == "iso8859" else encoding
        text = text.encode(encoding, "xmlcharrefreplace").decode(encoding)
    return shortened(text, longest)


def _check_copied(ct: Dataset, rule: CharacterSet) -> None:
    encodings = convert_encodings(rule)
    for keyword in (*TYPE_2, *TYPE_3):
        if keyword in ct and not _writable(str(ct[keyword].value), encodings):
            raise ConfigurationError(
                f"the destination's character set {rule} cannot write {keyword}",
                where=attributes.where_of(ct),
                todo="Let the destination keep the CT's character set.",
            )


def _encodings(dataset: Dataset) -> list[str]:
    """Python's names of a dataset's character sets."""
    stated = dataset.get("SpecificCharacterSet") or None
    several = isinstance(stated, Sequence) and not isinstance(stated, str)
    return list(convert_encodings(list(stated) if several and stated is not None else stated))


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


def sealed(dataset: Dataset, stamp: Stamp, role: str, ready: Mapping[int, bytes] = NOTHING) -> bytes:
    """The whole file, Implicit VR Little Endian, with series and instance UIDs made from stamp, role and content.

    Since the content is part of the UIDs, changed content can never go out under a UID that was used before. ``ready``
    holds elements that are encoded already, by tag.
    """
    dataset.SeriesInstanceUID = dataset.SOPInstanceUID = stamp.uid(role)
    digest = hashlib.sha256(_file(dataset, ready)).hexdigest()
    dataset.SeriesInstanceUID = stamp.uid(role, "series", digest)
    dataset.SOPInstanceUID = stamp.uid(role, "instance", digest)
    return _file(dataset, ready)


def instance_uid(data: bytes) -> str:
    """SOPInstanceUID of a file of ours.

    Raises:
        MissingAttributeError: it states none.
    """
    return attributes.text(dcmread(BytesIO(data), specific_tags=["SOPInstanceUID"]), "SOPInstanceUID")


def encoded(dataset: Dataset, ready: Mapping[int, bytes] = NOTHING) -> bytes:
    """A dataset in Implicit VR Little Endian, with elements that are encoded already in their places."""
    character_set = dataset.get("SpecificCharacterSet") or "iso8859"
    ends = [*sorted(ready), None]
    parts = []
    for first, last in zip([0, *ends], ends, strict=False):
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = True, True
        write_dataset(buffer, dataset[first:last], character_set)
        parts += [buffer.getvalue(), b"" if last is None else ready[last]]
    return b"".join(parts)


def _file(dataset: Dataset, ready: Mapping[int, bytes]) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"PSDT {__version__}"
    buffer = DicomBytesIO(b"\0" * 128 + b"DICM")
    buffer.seek(0, SEEK_END)
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return bytes(buffer.getvalue()) + encoded(dataset, ready)
