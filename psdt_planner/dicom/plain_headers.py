"""The headers of plain image files, in a third of the time that pydicom takes; what comes out is what it would give.

Plain is a file in Explicit VR Little Endian with pixels, in which each element before these states its length, but for
sequences: most images of scanners are. Of anything else nothing is said here: it is for pydicom to read, or to refuse.
"""

from __future__ import annotations

import struct
import warnings
from functools import cache, lru_cache
from io import BytesIO
from typing import BinaryIO, cast

from pydicom import DataElement, FileDataset, Sequence
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_sequence
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR
from pydicom.values import convert_string

from psdt_planner.dicom.attributes import UNDECODABLE, tag_of

HEAD_BYTES = (1 << 14, 1 << 20)
"""What is read of a file: that is enough for most, and so much more for those with large private elements."""

UNDEFINED_LENGTH = 0xFFFFFFFF
PREFIX, META_AT = b"DICM", 132
META_LENGTH, TRANSFER_SYNTAX, CHARACTER_SET = 0x00020000, 0x00020010, 0x00080005
COMMAND_GROUP, META_GROUP = 0x0000, 0x0002
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

KEY, SHORT_LENGTH, LONG_LENGTH = struct.Struct("<HH2s"), struct.Struct("<H"), struct.Struct("<2xL")
LONGEST_START = KEY.size + LONG_LENGTH.size
NAMES = {vr.value.encode(): str(vr.value) for vr in VR if len(vr.value) == 2}
LONG = frozenset(vr.value.encode() for vr in EXPLICIT_VR_LENGTH_32)

Elements = dict[BaseTag, DataElement | RawDataElement]


def read_plain(file: BinaryIO) -> FileDataset | None:
    """The object in a file up to its pixels, where the file stands then; None where the file is not plain."""
    head = b""
    for size in HEAD_BYTES:
        head += file.read(size)
        meta, at = _elements(head, META_AT, of_meta=True)
        if head[META_AT - len(PREFIX) : META_AT] != PREFIX or not _is_plain_meta(meta):
            return None
        elements, at = _elements(head, at, of_meta=False)
        if elements:
            file.seek(at)
            return None if next(iter(elements)) >> 16 == COMMAND_GROUP else _object(file, head, meta, elements)
    return None


def _object(file: BinaryIO, head: bytes, meta: Elements, elements: Elements) -> FileDataset:
    file_meta = FileMetaDataset(meta)
    file_meta.set_original_encoding(False, True, default_encoding)
    dataset = FileDataset(file, elements, head[: META_AT - len(PREFIX)], file_meta, False, True)
    dataset.set_original_encoding(False, True, _encoding(elements))
    return dataset


def _is_plain_meta(meta: Elements) -> bool:
    """Whether the file meta information begins with its own length and names the transfer syntax."""
    first, syntax = next(iter(meta.values()), None), meta.get(tag_of(TRANSFER_SYNTAX))
    if not isinstance(first, RawDataElement) or (first.tag, first.VR, first.length) != (META_LENGTH, "UL", 4):
        return False
    return syntax is not None and (syntax.value or b"").rstrip(b"\0 ") == ExplicitVRLittleEndian.encode()


def _elements(head: bytes, at: int, *, of_meta: bool) -> tuple[Elements, int]:
    """The elements from a place on and where they end: those of the meta information, or those before the pixels.

    No elements where one of them is not plain, or reaches beyond the head.
    """
    found: Elements = {}
    while at + LONGEST_START <= len(head):
        number, tag, name, length_of = _key(head[at : at + KEY.size])
        if number >> 16 != META_GROUP if of_meta else number in PIXELS:
            return found, at
        if name is None:
            break
        (length,) = length_of.unpack_from(head, at + KEY.size)
        start = at + KEY.size + length_of.size
        at = start + length
        if length == UNDEFINED_LENGTH and name == VR.SQ:
            sequence, at = _sequence(head, start, _encoding(found))
            found[tag] = DataElement(tag, name, sequence, start, is_undefined_length=True)
        elif at <= len(head):
            value = head[start:at] if length else cast("bytes | None", empty_value_for_VR(name, raw=True))
            found[tag] = RawDataElement(tag, name, length, value, start, False, True)
    return {}, len(head)


@lru_cache(maxsize=1 << 14)
def _key(stated: bytes) -> tuple[int, BaseTag, str | None, struct.Struct]:
    """What an element begins with: its tag, its value representation, and how its length is written.

    No value representation where there is none, or none that the element may have.
    """
    group, element, vr = KEY.unpack(stated)
    number, name = group << 16 | element, NAMES.get(vr)
    if number == CHARACTER_SET and name != VR.CS:
        name = None
    return number, tag_of(number), name, LONG_LENGTH if vr in LONG else SHORT_LENGTH


def _sequence(head: bytes, start: int, encoding: str | list[str]) -> tuple[Sequence, int]:
    """A sequence of undefined length, which pydicom reads, and where it ends; beyond the head where it is cut off."""
    source = BytesIO(head)
    source.seek(start)
    try:
        with warnings.catch_warnings(action="ignore"):  # what is cut off here may go on in the file
            return read_sequence(source, False, True, UNDEFINED_LENGTH, encoding), source.tell()
    except (*UNDECODABLE, OSError, EOFError, RecursionError):
        return Sequence(), len(head) + 1


def _encoding(elements: Elements) -> str | list[str]:
    """Python's names of the encodings that SpecificCharacterSet states."""
    stated = elements.get(tag_of(CHARACTER_SET))
    return list(_encodings(stated.value or b"")) if stated else default_encoding


@cache
def _encodings(character_set: bytes) -> tuple[str, ...]:
    return tuple(convert_encodings(convert_string(character_set, True)))
