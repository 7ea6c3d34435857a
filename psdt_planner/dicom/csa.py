"""The CSA header of Siemens scanners: named texts in a private element of bytes, in two versions of one layout.

The layout was never published; it is as nibabel and dcm2niix describe it. Version 2 begins with ``SV10``; version 1
has no mark, and counts the bytes of a text relative to a length in its first tag.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from pydicom import Dataset

from psdt_planner.dicom.private import private_values

CREATOR, GROUP, IMAGE_HEADER = "SIEMENS CSA HEADER", 0x0029, 0x10
MARK = b"SV10"
MOST_TAGS, MOST_ITEMS = 128, 1000
TAG = struct.Struct("<64si4s3i")
"""Name, multiplicity, VR, and three numbers: the syngo type, the count of items, and 77 or 205."""
ITEM = struct.Struct("<4i")
CHECKS = (77, 205)
"""The only numbers that stand at the end of a tag."""


def image_header(ds: Dataset) -> Mapping[str, tuple[str, ...]]:
    """The image's CSA header: its texts by name, empty ones left out; empty where the image has none.

    Raises:
        ValueError: bytes that are no CSA header.
    """
    for value in private_values(ds, GROUP, CREATOR, IMAGE_HEADER):
        if isinstance(value, bytes) and value:
            return parse(value)
    return {}


def parse(data: bytes) -> Mapping[str, tuple[str, ...]]:
    """A CSA header as its texts by name; tags without any text are left out.

    Raises:
        ValueError: bytes that are no CSA header: cut short, or with counts that cannot be.
    """
    second = data.startswith(MARK)
    at = 8 if second else 0
    try:
        count, check = struct.unpack_from("<2i", data, at)
        if not 1 <= count <= MOST_TAGS or check not in CHECKS:
            raise ValueError(f"no CSA header: {count} tags")
        at += 8
        found: dict[str, tuple[str, ...]] = {}
        unit = 0
        for number in range(count):
            name, _, _, _, items, check = TAG.unpack_from(data, at)
            at += TAG.size
            if check not in CHECKS or not 0 <= items <= MOST_ITEMS:
                raise ValueError(f"a CSA header that is broken at tag {number}")
            texts, at, unit = _texts(data, at, items, second, unit)
            if texts:
                found[name.split(b"\0")[0].decode("latin-1")] = texts
    except struct.error as error:
        raise ValueError("a CSA header that is cut short") from error
    return found


def _texts(data: bytes, at: int, items: int, second: bool, unit: int) -> tuple[tuple[str, ...], int, int]:
    """The texts of one tag, where it ends, and the length that texts of version 1 are counted from."""
    texts = []
    for _ in range(items):
        lengths = ITEM.unpack_from(data, at)
        if second:
            length = lengths[1]
        else:
            unit = unit or lengths[0]
            length = lengths[0] - unit
        at += ITEM.size
        if not 0 <= length <= len(data) - at:
            raise ValueError("a CSA header with a text that reaches beyond its end")
        if text := data[at : at + length].split(b"\0")[0].decode("latin-1").strip():
            texts.append(text)
        at += -(-length // 4) * 4
    return tuple(texts), at, unit
