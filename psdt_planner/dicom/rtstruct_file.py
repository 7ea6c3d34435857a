"""Any vendor's RTSTRUCT as it stands in its file: what is there, what is missing, how long, in which order.

Nothing is judged, repaired or dropped here. Values are read from the bytes, not through pydicom's number and text
classes: it is many times faster, and what those would refuse or round is what a check wants to see.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from psdt_planner.dicom.attributes import text_or_empty
from psdt_planner.dicom.files import UNDEFINED_LENGTH, UNREADABLE, quiet
from psdt_planner.errors import InputError, UnsupportedError
from psdt_planner.geometry import Points

STRUCTURE_SET_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"

TYPES: dict[str, dict[str, int]] = {
    "": {
        **dict.fromkeys(("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"), 1),
        **dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "PatientSex"), 2),
        **dict.fromkeys(("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"), 2),
        **dict.fromkeys(("OperatorsName", "SeriesNumber", "Manufacturer", "StructureSetDate", "StructureSetTime"), 2),
        **dict.fromkeys(("StructureSetLabel", "StructureSetROISequence", "ROIContourSequence"), 1),
        "RTROIObservationsSequence": 1,
    },
    "ReferencedFrameOfReferenceSequence": {"FrameOfReferenceUID": 1},
    "RTReferencedStudySequence": {
        **dict.fromkeys(("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "RTReferencedSeriesSequence"), 1)
    },
    "RTReferencedSeriesSequence": {"SeriesInstanceUID": 1, "ContourImageSequence": 1},
    "StructureSetROISequence": {
        **dict.fromkeys(("ROINumber", "ReferencedFrameOfReferenceUID"), 1),
        **dict.fromkeys(("ROIName", "ROIGenerationAlgorithm"), 2),
    },
    "ROIContourSequence": {"ReferencedROINumber": 1},
    "ContourSequence": dict.fromkeys(("ContourGeometricType", "NumberOfContourPoints", "ContourData"), 1),
    "RTROIObservationsSequence": {
        **dict.fromkeys(("ObservationNumber", "ReferencedROINumber"), 1),
        **dict.fromkeys(("RTROIInterpretedType", "ROIInterpreter"), 2),
    },
}
"""Attributes of types 1 and 2 by the sequence that they stand in (PS3.3 A.19.3 and C.8.8.5, C.8.8.6, C.8.8.8)."""

TEXT_LIMITS = {
    **dict.fromkeys(("StructureSetLabel", "StudyID", "AccessionNumber", "ROIObservationLabel"), 16),
    **dict.fromkeys(("StructureSetName", "PatientID", "SeriesDescription", "StudyDescription", "ROIName"), 64),
    **dict.fromkeys(("Manufacturer", "ManufacturerModelName", "InstitutionName"), 64),
    **dict.fromkeys(("StructureSetDescription", "ROIDescription"), 1024),
}
"""Most characters of a text (PS3.5 6.2: SH 16, LO 64, ST 1,024)."""

UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")

ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""How a sequence with items begins, in either byte order (PS3.5 7.5)."""

DS_LENGTH = 16
"""Most characters of a decimal string (PS3.5 6.2)."""


@dataclass(frozen=True)
class Missing:
    """An attribute of type 1 that is absent or empty, or of type 2 that is absent, in so many items of a sequence."""

    keyword: str
    sequence: str
    type: int
    items: int


@dataclass(frozen=True, eq=False)
class RingInFile:
    """One item of a ContourSequence.

    Attributes:
        number: its place in the sequence, from 1.
        geometric_type: ContourGeometricType as written, in capitals.
        points_mm: ``(N, 3)``; NaN where a value is no number; empty where the values are no triples.
        stated_points: NumberOfContourPoints; None where it is missing or no whole number.
        values: how many values ContourData has.
        bytes: its length.
        is_unknown_vr: whether it is encoded as UN.
        too_long, not_finite, with_exponent: how many of the values are longer than 16 characters, no finite numbers,
            written with an exponent.
        longest: the longest value.
        image_uids: the images that it refers to.
    """

    number: int
    geometric_type: str
    points_mm: Points
    stated_points: int | None
    values: int
    bytes: int
    is_unknown_vr: bool
    too_long: int
    not_finite: int
    with_exponent: int
    longest: str
    image_uids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RoiInFile:
    """One item of StructureSetROISequence, with what the other sequences say of its number.

    Attributes:
        number: ROINumber; None where it is missing or no whole number.
        name, frame: ROIName, ReferencedFrameOfReferenceUID.
        types: RTROIInterpretedType of each observation.
        rings: of all its contour items.
        contour_items: how many items of ROIContourSequence refer to it.
        has_empty_sequence: whether one of those has a ContourSequence without items.
    """

    number: int | None
    name: str
    frame: str
    types: tuple[str, ...]
    rings: tuple[RingInFile, ...]
    contour_items: int
    has_empty_sequence: bool


@dataclass(frozen=True)
class ReferencedSeries:
    """A series that the structure set names, under its frame of reference, with the images listed."""

    frame: str
    study_uid: str
    uid: str
    image_uids: tuple[str, ...]
    image_classes: frozenset[str]


@dataclass(frozen=True, eq=False)
class StructureSetFile:
    """An RTSTRUCT as it stands in its file.

    Attributes:
        name, sha256: of the file, without its folder, and of its bytes.
        text: attributes of the object itself, by keyword; empty where absent.
        media_uid: MediaStorageSOPInstanceUID.
        missing: attributes of types 1 and 2.
        overlong: keyword and length of texts longer than their VR allows.
        character_sets: SpecificCharacterSet.
        has_wide_text: whether a text has bytes beyond ASCII.
        undecodable_texts: keywords of texts that the stated character set cannot read.
        frames: the frames that the structure set lists.
        series: the series that it names.
        rois: in the order of the file.
        strange_contours, strange_observations: ROI numbers that these refer to and that no ROI has.
        unknown_uids: UIDs that are none.
        private: how many private elements stand beside the standard ones.
        damaged: keywords of sequences that cannot be read.
        is_truncated: whether the file ends before its last element does.
    """

    name: str
    sha256: str
    text: Mapping[str, str]
    media_uid: str
    missing: tuple[Missing, ...]
    overlong: tuple[tuple[str, int], ...]
    character_sets: tuple[str, ...]
    has_wide_text: bool
    undecodable_texts: tuple[str, ...]
    frames: tuple[str, ...]
    series: tuple[ReferencedSeries, ...]
    rois: tuple[RoiInFile, ...]
    strange_contours: tuple[str, ...]
    strange_observations: tuple[str, ...]
    unknown_uids: tuple[str, ...]
    private: int
    damaged: tuple[str, ...]
    is_truncated: bool


def read_structure_set_file(path: Path) -> StructureSetFile:
    """What one RTSTRUCT says, whoever wrote it and however badly.

    Raises:
        InputError: no such file, or one that is not DICOM, empty, or damaged from the start.
        UnsupportedError: a DICOM object that neither its SOP class nor its modality calls a structure set.
    """
    with quiet():
        try:
            ds = dcmread(path)
        except UNREADABLE as error:
            what = "empty" if path.is_file() and not path.stat().st_size else "not a DICOM file that can be read"
            raise InputError(f"{path.name} is {what}", todo="Export the structure set again.") from error
        reader = _Reader(ds)
        if STRUCTURE_SET_CLASS not in (reader.text(ds, "SOPClassUID"), reader.media_class) and (
            reader.text(ds, "Modality") != "RTSTRUCT"
        ):
            raise UnsupportedError(f"{path.name} is no RT Structure Set", todo="Name the RTSTRUCT or its folder.")
        return reader.read(path)


# ---------------------------------------------------------------------------------------------------------------------

_TAGS: dict[str, BaseTag] = {}


def _tag(keyword: str) -> BaseTag:
    if keyword not in _TAGS:
        _TAGS[keyword] = Tag(tag_for_keyword(keyword) or 0)
    return _TAGS[keyword]


def _element(ds: Dataset, keyword: str) -> RawDataElement | None:
    tag = _tag(keyword)
    found = ds.get_item(tag) if tag in ds else None
    return found if isinstance(found, RawDataElement) else None


def _raw(ds: Dataset, keyword: str) -> bytes | None:
    """The bytes of an element; None where it is absent."""
    found = _element(ds, keyword)
    return None if found is None else (found.value or b"")


def _is_blank(ds: Dataset, keyword: str) -> bool:
    found = ds.get_item(_tag(keyword))
    # A sequence of undefined length, or one that was taken apart before, is no longer raw.
    value = (found.value or b"").strip(b" \0") if isinstance(found, RawDataElement) else found.value
    return not value


class _Reader:
    """One pass over one structure set; gathers on the way what is missing, too long, unreadable."""

    def __init__(self, ds: FileDataset) -> None:
        self.ds = ds
        # The only element that pydicom takes out of its bytes while it reads.
        self.stated_sets = tuple(filter(None, text_or_empty(ds, "SpecificCharacterSet").split("\\")))
        self.missing: Counter[tuple[str, str, int]] = Counter()
        self.overlong: dict[str, int] = {}
        self.undecodable: set[str] = set()
        self.damaged: set[str] = set()
        self.uids: set[str] = set()
        self.has_wide_text = False
        self.encodings = self._encodings()
        self.media_class = str(ds.file_meta.get("MediaStorageSOPClassUID", ""))

    def _encodings(self) -> list[str]:
        try:
            return list(convert_encodings(list(self.stated_sets) or [""]))
        except UNREADABLE:
            return ["latin_1"]

    def read(self, path: Path) -> StructureSetFile:
        ds = self.ds
        # Whether the end is missing shows on the raw elements, before the sequences are taken apart.
        is_truncated = _is_truncated(ds)
        self._note_missing("", [ds])
        keywords = {*TYPES[""], *TEXT_LIMITS, *UIDS, "ApprovalStatus"} - {"ROIName", "ROIDescription"}
        text = {key: self.text(ds, key) for key in sorted(keywords) if not key.endswith("Sequence")}
        frames, series = self._references()
        rois, strange_contours, strange_observations = self._rois()
        self.uids |= {text[key] for key in UIDS}
        media_uid = str(ds.file_meta.get("MediaStorageSOPInstanceUID", ""))
        return StructureSetFile(
            name=path.name,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            text=text,
            media_uid=media_uid,
            missing=tuple(Missing(key, of, kind, count) for (of, key, kind), count in sorted(self.missing.items())),
            overlong=tuple(sorted(self.overlong.items())),
            character_sets=self.stated_sets,
            has_wide_text=self.has_wide_text,
            undecodable_texts=tuple(sorted(self.undecodable)),
            frames=frames,
            series=series,
            rois=rois,
            strange_contours=strange_contours,
            strange_observations=strange_observations,
            unknown_uids=tuple(sorted(uid for uid in self.uids if uid and not _is_uid(uid))),
            private=sum(tag.is_private and not tag.is_private_creator for tag in sorted(ds.keys())),
            damaged=tuple(sorted(self.damaged)),
            is_truncated=is_truncated,
        )

    # values

    def text(self, ds: Dataset, keyword: str) -> str:
        """A text without padding; empty where it is absent."""
        raw = (_raw(ds, keyword) or b"").strip(b" \0")
        text = raw.decode("ascii") if raw.isascii() and b"\x1b" not in raw else self._wide(raw, keyword)
        limit = TEXT_LIMITS.get(keyword)
        if limit is not None and len(text) > limit:
            self.overlong[keyword] = max(len(text), self.overlong.get(keyword, 0))
        return text

    def _wide(self, raw: bytes, keyword: str) -> str:
        self.has_wide_text = True
        try:
            if len(self.encodings) == 1 and b"\x1b" not in raw:
                raw.decode("ascii" if self.encodings[0] == "iso8859" else self.encodings[0])
        except UnicodeDecodeError:
            self.undecodable.add(keyword)
        delimiters = {"^", "="} if keyword == "PatientName" else {"\\"}
        return decode_bytes(raw, self.encodings, {ord(mark) for mark in delimiters})

    def whole(self, ds: Dataset, keyword: str) -> int | None:
        text = self.text(ds, keyword)
        try:
            return int(text)
        except ValueError:
            return None

    def items(self, ds: Dataset, keyword: str) -> tuple[Dataset, ...] | None:
        """The items of a sequence; None where it is absent, none where it cannot be read."""
        if _tag(keyword) not in ds:
            return None
        raw = _raw(ds, keyword)
        try:
            # pydicom makes items of whatever stands there.
            found = ds[_tag(keyword)].value if not raw or raw.startswith(ITEM_TAGS) else raw
        except UNREADABLE:
            found = raw
        if isinstance(found, (str, bytes)) or not isinstance(found, Sequence):
            self.damaged.update([keyword] if found else [])
            return ()
        return tuple(item for item in found if isinstance(item, Dataset))

    def _note_missing(self, sequence: str, datasets: Iterable[Dataset]) -> None:
        for ds in datasets:
            for keyword, kind in TYPES[sequence].items():
                if _tag(keyword) not in ds or (kind == 1 and _is_blank(ds, keyword)):
                    self.missing[sequence, keyword, kind] += 1

    # parts

    def _references(self) -> tuple[tuple[str, ...], tuple[ReferencedSeries, ...]]:
        frames, series = [], []
        for frame in self._children(self.ds, "ReferencedFrameOfReferenceSequence"):
            frames.append(self.text(frame, "FrameOfReferenceUID"))
            for study in self._children(frame, "RTReferencedStudySequence"):
                for one in self._children(study, "RTReferencedSeriesSequence"):
                    images = self.items(one, "ContourImageSequence") or ()
                    classes = frozenset(self.text(image, "ReferencedSOPClassUID") for image in images)
                    uids = tuple(self.text(image, "ReferencedSOPInstanceUID") for image in images)
                    study_uid, uid = self.text(study, "ReferencedSOPInstanceUID"), self.text(one, "SeriesInstanceUID")
                    self.uids |= {frames[-1], study_uid, uid, *uids}
                    series.append(ReferencedSeries(frames[-1], study_uid, uid, uids, classes))
        return tuple(frames), tuple(series)

    def _children(self, ds: Dataset, sequence: str) -> tuple[Dataset, ...]:
        found = self.items(ds, sequence) or ()
        self._note_missing(sequence, found)
        return found

    def _rois(self) -> tuple[tuple[RoiInFile, ...], tuple[str, ...], tuple[str, ...]]:
        items = self._children(self.ds, "StructureSetROISequence")
        contours = self._by_number("ROIContourSequence")
        observations = self._by_number("RTROIObservationsSequence")
        numbers = [self.text(item, "ROINumber") for item in items]
        rois = [
            self._roi(item, contours.get(number, []), observations.get(number, []))
            for item, number in zip(items, map(_plain, numbers), strict=True)
        ]
        known = set(map(_plain, numbers))
        strange = [tuple(sorted(set(found) - known)) for found in (contours, observations)]
        return tuple(rois), strange[0], strange[1]

    def _by_number(self, sequence: str) -> dict[str, list[Dataset]]:
        found: dict[str, list[Dataset]] = {}
        for item in self._children(self.ds, sequence):
            found.setdefault(_plain(self.text(item, "ReferencedROINumber")), []).append(item)
        return found

    def _roi(self, item: Dataset, contours: Sequence[Dataset], observations: Sequence[Dataset]) -> RoiInFile:
        self.text(item, "ROIDescription")
        for observation in observations:
            self.text(observation, "ROIObservationLabel")
        frame = self.text(item, "ReferencedFrameOfReferenceUID")
        self.uids.add(frame)
        sequences = [self.items(one, "ContourSequence") for one in contours]
        rings = [ring for found in sequences for ring in found or ()]
        self._note_missing("ContourSequence", rings)
        return RoiInFile(
            number=self.whole(item, "ROINumber"),
            name=self.text(item, "ROIName"),
            frame=frame,
            types=tuple(self.text(one, "RTROIInterpretedType").upper() for one in observations),
            rings=tuple(self._ring(ring, number) for number, ring in enumerate(rings, start=1)),
            contour_items=len(contours),
            has_empty_sequence=any(found == () for found in sequences),
        )

    def _ring(self, item: Dataset, number: int) -> RingInFile:
        element = _element(item, "ContourData")
        raw = b"" if element is None else (element.value or b"")
        words = raw.rstrip(b" \0").split(b"\\") if raw.strip(b" \0") else []
        text = np.array(words or [b""])
        numbers = _numbers(text) if words else np.empty(0)
        lengths = np.char.str_len(text) if text.dtype.itemsize > DS_LENGTH else np.zeros(1)
        points = numbers.reshape(-1, 3) if numbers.size % 3 == 0 else np.empty((0, 3))
        points.flags.writeable = False
        images = self.items(item, "ContourImageSequence") or ()
        uids = tuple(self.text(image, "ReferencedSOPInstanceUID") for image in images)
        self.uids.update(uids)
        return RingInFile(
            number=number,
            geometric_type=self.text(item, "ContourGeometricType").upper(),
            points_mm=points,
            stated_points=self.whole(item, "NumberOfContourPoints"),
            values=len(words),
            bytes=len(raw),
            is_unknown_vr=element is not None and element.VR == "UN",
            too_long=int((lengths > DS_LENGTH).sum()),
            not_finite=int((~np.isfinite(numbers)).sum()),
            with_exponent=sum(b"E" in word.upper() for word in words) if b"e" in raw or b"E" in raw else 0,
            longest=max(words, key=len).decode("latin_1") if text.dtype.itemsize > DS_LENGTH else "",
            image_uids=uids,
        )


def _plain(number: str) -> str:
    """An integer string as others would write it: ``+01`` and ``1`` are the same ROI."""
    try:
        return str(int(number))
    except ValueError:
        return number


def _numbers(text: NDArray[np.bytes_]) -> Points:
    """The values as numbers, NaN for what is none."""
    try:
        return text.astype(np.float64)
    except ValueError:
        return np.array([_number(word) for word in text.tolist()])


def _number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _is_uid(uid: str) -> bool:
    """Whether a text is a UID (PS3.5 9.1): at most 64 characters, numbers without leading zeros between dots."""
    parts = uid.split(".")
    sound = all(part.isdigit() and part.isascii() and (part == "0" or part[0] != "0") for part in parts)
    return sound and len(uid) <= 64


def _is_truncated(ds: FileDataset) -> bool:
    """Whether the last element is shorter than it says; of a deflated file, zlib has found the end."""
    tags = sorted(ds.keys())
    last = ds.get_item(tags[-1]) if tags else None
    if ds.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return False
    if not isinstance(last, RawDataElement) or last.length == UNDEFINED_LENGTH:
        return False
    return len(last.value or b"") < last.length
