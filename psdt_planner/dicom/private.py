"""Private elements, found by the creator that reserved their block, whichever block that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.values import convert_SQ

FIRST_BLOCK, LAST_BLOCK = 0x10, 0xFF


def private_values(ds: Dataset, group: int, creator: str, offset: int) -> Iterator[Any]:
    """The values at one offset of every block that the creator reserved, the lowest block first.

    A PACS may have moved the block (PS3.5 7.8.1), and may have sent the creator itself as bytes of unknown
    representation. What cannot be decoded raises what pydicom raises.
    """
    for block in _blocks(ds, group):
        if _text(ds[(group, block)].value) == creator.upper():
            tag = (group, (block << 8) + offset)
            if tag in ds:
                yield ds[tag].value


def has_creators(ds: Dataset, group: int) -> bool:
    """Whether any block of the group is reserved by anybody."""
    return bool(_blocks(ds, group))


def private_groups(ds: Dataset) -> frozenset[int]:
    """The numbers of the private groups that a dataset has elements of."""
    return frozenset(tag >> 16 for tag in ds.keys() if tag & 0x10000)  # noqa: SIM118


def _blocks(ds: Dataset, group: int) -> list[int]:
    """The blocks of a group that are reserved, ascending."""
    # The keys of a dataset are numbers; to ask it for 240 tags in turn takes a hundred times as long.
    first, last = (group << 16) + FIRST_BLOCK, (group << 16) + LAST_BLOCK
    return sorted(tag & 0xFF for tag in ds.keys() if first <= tag <= last)  # noqa: SIM118


def private_items(value: Any) -> tuple[Dataset, ...]:
    """The items of a private sequence; of one that came as bytes of unknown representation, by parsing these.

    Raises:
        ValueError: no sequence.
    """
    if isinstance(value, bytes):
        value = convert_SQ(value, True, True)
    items = tuple(value)
    if not all(isinstance(item, Dataset) for item in items):
        raise ValueError("no sequence")
    return items


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip(" \0").upper()
