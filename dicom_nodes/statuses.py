"""C-STORE statuses: what each means, when this node returns it, and what it does when a peer returns it.

Codes and meanings are those of PS3.4 B.2.3 (storage) and PS3.7 Annex C (every service). A7xx, A9xx and Cxxx are ranges
whose last digits the implementation may choose; this node uses that for ``OTHER_BYTES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Meaning(StrEnum):
    """The three kinds of answer to a C-STORE."""

    SUCCESS = "success"
    WARNING = "warning"
    """The object is stored, but not as it was sent."""
    FAILURE = "failure"


class Next(StrEnum):
    """What a sender does after an answer."""

    DONE = "done"
    LOOK = "look"
    """Done, and a person is told that the peer changed something."""
    RETRY = "retry"
    """Later: the peer may well take the same object then."""
    GIVE_UP = "give up"
    """Sending the same object again would fail again."""


@dataclass(frozen=True)
class Status:
    """One row of the table.

    Attributes:
        code: as returned, or the lowest code of the range.
        last: the highest code of the range; the same as ``code`` for a single one.
        name: the standard's words.
        meaning: success, warning or failure.
        next: what this node does as a sender when it gets the status.
        returned_when: when this node returns it; empty where it never does.
    """

    code: int
    last: int
    name: str
    meaning: Meaning
    next: Next
    returned_when: str = ""


def _row(code: int, name: str, meaning: Meaning, then: Next, *, last: int | None = None, when: str = "") -> Status:
    return Status(code, code if last is None else last, name, meaning, then, when)


SUCCESS = _row(
    0x0000,
    "Success",
    Meaning.SUCCESS,
    Next.DONE,
    when="the bytes are on disk (file and folder synced) and in the index; also for the same bytes a second time",
)
ATTRIBUTE_LIST_WARNING = _row(0x0107, "Warning: Attribute list error", Meaning.WARNING, Next.LOOK)
PROCESSING_FAILURE = _row(
    0x0110,
    "Processing failure",
    Meaning.FAILURE,
    Next.RETRY,
    when="the file system or the index failed",
)
ATTRIBUTE_VALUE_WARNING = _row(0x0116, "Warning: Attribute Value Out of Range", Meaning.WARNING, Next.LOOK)
INVALID_UID = _row(
    0x0117,
    "Invalid SOP Instance",
    Meaning.FAILURE,
    Next.GIVE_UP,
    when="the SOP Instance UID of the request is not digits and dots of at most 64 characters",
)
CLASS_NOT_SUPPORTED = _row(0x0122, "SOP Class not supported", Meaning.FAILURE, Next.GIVE_UP)
NOT_AUTHORISED = _row(0x0124, "Not authorized", Meaning.FAILURE, Next.GIVE_UP)
OUT_OF_RESOURCES = _row(
    0xA700,
    "Refused: Out of Resources",
    Meaning.FAILURE,
    Next.RETRY,
    last=0xA7FF,
    when="less room on the disk than the configured reserve, or the disk is full",
)
OTHER_BYTES = _row(
    0xA901,
    "Error: Data Set does not match the object held under this UID",
    Meaning.FAILURE,
    Next.GIVE_UP,
    when="other bytes are held under the same SOP Instance UID; these are kept in quarantine, the first stay",
)
MISMATCH = _row(
    0xA900,
    "Error: Data Set does not match SOP Class",
    Meaning.FAILURE,
    Next.GIVE_UP,
    last=0xA9FF,
    when="the UIDs of the data set are not those of the request, or an attribute that every object carries is absent",
)
CANNOT_UNDERSTAND = _row(
    0xC000,
    "Error: Cannot understand",
    Meaning.FAILURE,
    Next.GIVE_UP,
    last=0xCFFF,
    when="the bytes are not a data set in the transfer syntax that was agreed",
)
COERCED = _row(0xB000, "Warning: Coercion of Data Elements", Meaning.WARNING, Next.LOOK)
DISCARDED = _row(0xB006, "Warning: Elements Discarded", Meaning.WARNING, Next.LOOK)
MISMATCH_WARNING = _row(0xB007, "Warning: Data Set does not match SOP Class", Meaning.WARNING, Next.LOOK)
OTHER_WARNING = _row(0xB000, "Warning", Meaning.WARNING, Next.LOOK, last=0xBFFF)
OTHER_FAILURE = _row(0x0001, "Failure", Meaning.FAILURE, Next.GIVE_UP, last=0xFFFF)

TABLE = (
    SUCCESS,
    ATTRIBUTE_LIST_WARNING,
    PROCESSING_FAILURE,
    ATTRIBUTE_VALUE_WARNING,
    INVALID_UID,
    CLASS_NOT_SUPPORTED,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    OTHER_BYTES,
    MISMATCH,
    CANNOT_UNDERSTAND,
    COERCED,
    DISCARDED,
    MISMATCH_WARNING,
    OTHER_WARNING,
    OTHER_FAILURE,
)
"""Looked through from the top: single codes stand before the ranges that hold them."""


def find(code: int) -> Status:
    """The first row of the table that holds ``code``; a code that no row names is a failure that is not retried."""
    return next(row for row in TABLE if row.code <= code <= row.last)
