"""The few attributes of an object that the index holds, read without touching its pixels.

An object from the network is not trusted: whatever its bytes are, reading them ends in a ``Header`` or in an error of
``dicom_nodes.errors``, and nothing behind (0020,0052) is looked at.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom.dsutils import split_dataset

from dicom_nodes.errors import IncompleteObjectError, UnreadableObjectError

KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "IssuerOfPatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
)
TAGS = {int(Tag(keyword)): keyword for keyword in KEYWORDS}
LAST_TAG = max(TAGS)

MANUFACTURER = {int(Tag("Manufacturer")): "Manufacturer"}
TRANSFER_SYNTAX = {int(Tag("TransferSyntaxUID")): "TransferSyntaxUID"}

MALFORMED = (
    InvalidDicomError,
    EOFError,
    OSError,  # pydicom's word for a sequence that ends too early
    struct.error,
    zlib.error,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""What pydicom raises on bytes that are no data set."""

INFLATED_LIMIT_BYTES = 1 << 20
"""The attributes up to ``LAST_TAG`` fit into far less; a deflated bomb is not unpacked further."""


@dataclass(frozen=True)
class Header:
    """What the index knows of one object.

    Attributes:
        patient_id, issuer_of_patient_id: as sent, empty where the object carries none.
        frame_of_reference_uid: empty where the object carries none.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    patient_id: str
    issuer_of_patient_id: str
    frame_of_reference_uid: str
    transfer_syntax_uid: str


def is_uid(text: str) -> bool:
    """Whether ``text`` may stand as a UID: digits and dots, at most 64 characters (PS3.5 section 9.1).

    Leading zeros in a component break the standard, yet scanners send them; they do no harm.
    """
    return len(text) <= 64 and re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) is not None


def read_header(dataset: BinaryIO, transfer_syntax_uid: str) -> Header:
    """The header of a data set that starts at the stream's position.

    Raises:
        UnreadableObjectError: the bytes are not a data set in this transfer syntax.
        IncompleteObjectError: SOP Class, SOP Instance, Study or Series Instance UID or Modality is absent, empty or
            malformed.
    """
    try:
        values = _values(dataset, UID(transfer_syntax_uid), TAGS)
    except MALFORMED as error:
        raise _unreadable(transfer_syntax_uid) from error
    if "SOPClassUID" not in values and "SOPInstanceUID" not in values:
        raise _unreadable(transfer_syntax_uid)

    def uid(keyword: str) -> str:
        value = values.get(keyword, "")
        if not is_uid(value):
            raise IncompleteObjectError(f"{keyword} is absent or malformed", todo="The sender must set it.")
        return value

    if not values.get("Modality"):
        raise IncompleteObjectError("Modality is absent", where=uid("SOPInstanceUID"), todo="The sender must set it.")
    return Header(
        sop_class_uid=uid("SOPClassUID"),
        sop_instance_uid=uid("SOPInstanceUID"),
        study_instance_uid=uid("StudyInstanceUID"),
        series_instance_uid=uid("SeriesInstanceUID"),
        modality=values["Modality"],
        patient_id=values.get("PatientID", ""),
        issuer_of_patient_id=values.get("IssuerOfPatientID", ""),
        frame_of_reference_uid=values.get("FrameOfReferenceUID", ""),
        transfer_syntax_uid=transfer_syntax_uid,
    )


def read_file_header(path: Path) -> Header:
    """The header of a file in the DICOM File Format; errors as for ``read_header``."""
    transfer_syntax_uid, offset = _start(path)
    with path.open("rb") as file:
        file.seek(offset)
        return read_header(file, transfer_syntax_uid)


def read_file_manufacturer(path: Path) -> str:
    """Manufacturer of a file in the DICOM File Format, empty where it has none; ``UnreadableObjectError`` as above."""
    transfer_syntax_uid, offset = _start(path)
    with path.open("rb") as file:
        file.seek(offset)
        try:
            return _values(file, UID(transfer_syntax_uid), MANUFACTURER).get("Manufacturer", "")
        except MALFORMED as error:
            raise _unreadable(transfer_syntax_uid) from error


def file_parts(data: bytes) -> tuple[str, bytes, bytes]:
    """Transfer syntax, encoded file meta information and data set of a file's bytes.

    Raises:
        UnreadableObjectError: it is not a file in the DICOM File Format that begins with the length of group 0002.
    """
    if data[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise UnreadableObjectError("not a file in the DICOM File Format")
    start = 144 + int.from_bytes(data[140:144], "little")
    try:
        syntax = _values(BytesIO(data[132:start]), ExplicitVRLittleEndian, TRANSFER_SYNTAX)
    except MALFORMED as error:
        raise UnreadableObjectError("the file meta information cannot be read") from error
    if not is_uid(syntax.get("TransferSyntaxUID", "")):
        raise UnreadableObjectError("the file meta information names no transfer syntax")
    return syntax["TransferSyntaxUID"], data[132:start], data[start:]


def _start(path: Path) -> tuple[str, int]:
    """Transfer syntax of a file, and where its data set starts."""
    try:
        meta, offset = split_dataset(path)
        return str(meta.TransferSyntaxUID), offset
    except MALFORMED as error:
        raise UnreadableObjectError("not a file in the DICOM File Format", where=path.name) from error


def _unreadable(transfer_syntax_uid: str) -> UnreadableObjectError:
    return UnreadableObjectError(
        "the bytes are not a data set in this transfer syntax",
        where=transfer_syntax_uid,
        todo="Check how the sender encodes the object.",
    )


def _values(dataset: BinaryIO, syntax: UID, tags: Mapping[int, str]) -> dict[str, str]:
    """Values by the keywords of ``tags`` that are there, without padding; no tag may lie behind ``LAST_TAG``."""
    stream = _inflated(dataset) if syntax == DeflatedExplicitVRLittleEndian else dataset
    elements = data_element_generator(
        stream,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=_is_behind_last_tag,
        specific_tags=list(tags),
    )
    return {tags[element.tag]: _text(element.value) for element in elements if element.tag in tags}


def _is_behind_last_tag(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > LAST_TAG


def _inflated(dataset: BinaryIO) -> BytesIO:
    """The first part of a deflated data set (PS3.5 A.5: raw deflate, without zlib's header)."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    return BytesIO(inflate.decompress(dataset.read(INFLATED_LIMIT_BYTES), INFLATED_LIMIT_BYTES))


def _text(value: bytes | None) -> str:
    """The value as text to compare, not to show: what is not ASCII stays as ``\\xNN`` whatever the character set.

    So does a zero in the middle, which PostgreSQL does not take.
    """
    if not isinstance(value, bytes | None):
        raise TypeError("a sequence where a plain value must stand")
    return (value or b"").decode("ascii", "backslashreplace").strip(" \0").replace("\0", "\\x00")
