"""Typed getters for DICOM attributes: what must be there and is not raises, with its keyword and where."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag

from psdt_planner.errors import MissingAttributeError, UnsupportedError

UNDECODABLE = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    NotImplementedError,
    AttributeError,
    struct.error,
    BytesLengthException,
)
"""What pydicom raises where an element's bytes are not what its value representation promises."""


PLAIN_VRS = ("UI", "CS", "SH", "LO", "DS", "IS")
"""Value representations whose bytes are their text, but for padding, as long as they are ASCII (PS3.5 6.2)."""


def where_of(ds: Dataset) -> str:
    """``SOP Instance UID 1.2.3`` of a whole object; empty for an item of a sequence."""
    return f"SOP Instance UID {ds['SOPInstanceUID'].value}" if "SOPInstanceUID" in ds else ""


def value(ds: Dataset, keyword: str, *, where: str = "") -> Any:
    """The decoded value of an attribute that must be there.

    Raises:
        MissingAttributeError: absent or empty.
        UnsupportedError: its bytes cannot be decoded.
    """
    try:
        tag = _tag(keyword)
        found = ds[tag].value if tag in ds else None
    except UNDECODABLE as error:
        raise UnsupportedError(f"{keyword} cannot be decoded", where=where or where_of(ds)) from error
    if found is None or (isinstance(found, (str, bytes, Sequence)) and len(found) == 0):
        raise MissingAttributeError(f"{keyword} is missing", where=where or where_of(ds))
    return found


def _plain(ds: Dataset, keyword: str) -> list[Any]:
    """The values of an element that is still the bytes of its file: texts of ASCII, or whole numbers of 16 bits.

    None at all where pydicom must decode it: it makes objects of every value, which takes most of the time that a
    series of images is looked at.
    """
    tag = _tag(keyword)
    found = ds.get_item(tag)
    if not isinstance(found, RawDataElement) or not found.value:
        return []
    representation, data = found.VR or dictionary_VR(tag), found.value
    if representation == "US" and len(data) % 2 == 0:
        return list(struct.unpack(f"{'<' if found.is_little_endian else '>'}{len(data) // 2}H", data))
    if representation not in PLAIN_VRS or not data.isascii() or b"\x1b" in data:
        return []
    stated = data.decode("ascii").strip(" \0")
    return stated.split("\\") if stated else []


@cache
def tag_of(number: int) -> BaseTag:
    """The one tag of a number: where a data set's keys are these very tags, finding one of them compares no two."""
    return BaseTag(number)


@cache
def _tag(keyword: str) -> BaseTag:
    """As the key that pydicom looks for, so that it need not make one; (0000,0000) for what is no keyword."""
    return tag_of(tag_for_keyword(keyword) or 0)


def text(ds: Dataset, keyword: str, *, where: str = "") -> str:
    """A text or UID that must be there, without padding; several values joined by backslashes."""
    parts = _plain(ds, keyword)
    if not parts:
        found = value(ds, keyword, where=where)
        several = isinstance(found, Sequence) and not isinstance(found, str)
        parts = list(found) if several else [found]
    joined = _joined(parts)
    if not joined:
        raise MissingAttributeError(f"{keyword} is missing", where=where or where_of(ds))
    return joined


def _joined(parts: Sequence[Any]) -> str:
    return "\\".join([str(part).strip(" \0") for part in parts])


def text_or_empty(ds: Dataset, keyword: str) -> str:
    """A text where its absence has no meaning of its own; empty where it is absent or undecodable."""
    if parts := _plain(ds, keyword):
        return _joined(parts)
    if _tag(keyword) not in ds:
        return ""
    try:
        return text(ds, keyword)
    except (MissingAttributeError, UnsupportedError):
        return ""


def words(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a multi-valued code string in capitals, such as ImageType; empty where it is absent."""
    return tuple(part.strip().upper() for part in text_or_empty(ds, keyword).split("\\") if part.strip())


def numbers(ds: Dataset, keyword: str, count: int, *, where: str = "") -> NDArray[np.float64]:
    """``count`` finite numbers that must be there.

    Raises:
        MissingAttributeError: absent, empty, or fewer or more than ``count``.
        UnsupportedError: not finite numbers.
    """
    found = _plain(ds, keyword) or value(ds, keyword, where=where)
    try:
        array = np.atleast_1d(np.asarray(found, dtype=np.float64))
    except (ValueError, TypeError) as error:
        raise UnsupportedError(f"{keyword} is not a number", where=where or where_of(ds)) from error
    if array.size != count:
        raise MissingAttributeError(f"{keyword} has {array.size} values, not {count}", where=where or where_of(ds))
    if not np.isfinite(array).all():
        raise UnsupportedError(f"{keyword} is not finite", where=where or where_of(ds))
    return array


def number(ds: Dataset, keyword: str, *, where: str = "") -> float:
    """One finite number that must be there."""
    plain = _plain(ds, keyword)
    with suppress(ValueError):
        if len(plain) == 1 and math.isfinite(found := float(plain[0])):
            return found
    return float(numbers(ds, keyword, 1, where=where)[0])


def integer(ds: Dataset, keyword: str, *, where: str = "") -> int:
    """One whole number that must be there.

    Raises:
        UnsupportedError: not a whole number.
    """
    found = number(ds, keyword, where=where)
    if found != int(found):
        raise UnsupportedError(f"{keyword} is not a whole number", where=where or where_of(ds))
    return int(found)


def has(ds: Dataset, keyword: str) -> bool:
    """Whether an attribute is there with a value that can be decoded."""
    try:
        if _tag(keyword) not in ds:
            return False
        value(ds, keyword)
    except (MissingAttributeError, UnsupportedError):
        return False
    return True


def items(ds: Dataset, keyword: str, *, where: str = "") -> tuple[Dataset, ...]:
    """The items of a sequence that must be there with at least one."""
    found = value(ds, keyword, where=where)
    if not isinstance(found, Sequence) or not all(isinstance(item, Dataset) for item in found):
        raise UnsupportedError(f"{keyword} is not a sequence", where=where or where_of(ds))
    return tuple(found)


def items_if_any(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence that may be absent or empty."""
    if _tag(keyword) not in ds:
        return ()
    try:
        return items(ds, keyword)
    except MissingAttributeError:
        return ()
