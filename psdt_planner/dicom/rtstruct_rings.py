"""What a structure set has most of as bytes: rings, and references to images, in Implicit VR Little Endian.

Written here and not by pydicom, which makes an object of every number and then text of every object again: thirty times
the time and the memory for a set of forty organs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from psdt_planner.dicom import attributes
from psdt_planner.dicom.identity import encoded
from psdt_planner.errors import FaultError
from psdt_planner.geometry import Points
from psdt_planner.shapes import MAX_RING_BYTES, Contour, Roi

FARTHEST_MM = 1e5
"""100 m: no patient is larger, and no number of a ring is longer than the 16 characters of a DS."""

PLACES = 10 ** np.arange(8, -1, -1, dtype=np.int32)
"""What each digit of a coordinate in micrometres counts."""

ITEM = (0xFFFE, 0xE000)

UIDS_OF_INSTANCE = ("SOPClassUID", "SOPInstanceUID")

STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, retired: what everybody refers to a study by, for want of another."""


def image_items(slices: Sequence[Dataset]) -> tuple[bytes, ...]:
    """An item that refers to each image, for the list of all and for each ring on it."""
    return tuple(
        _item(*(_uid(f"Referenced{keyword}", attributes.text(header, keyword)) for keyword in UIDS_OF_INSTANCE))
        for header in slices
    )


def reference_sequence(ct: Dataset, images: Sequence[bytes]) -> bytes:
    """The element ReferencedFrameOfReferenceSequence: the CT's frame, study and series, with these images."""
    frame_uid, study_uid, series_uid = (
        attributes.text(ct, keyword) for keyword in ("FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    series = _item(_uid("SeriesInstanceUID", series_uid), _keyed("ContourImageSequence", b"".join(images)))
    study = _item(
        _uid("ReferencedSOPClassUID", STUDY_CLASS),
        _uid("ReferencedSOPInstanceUID", study_uid),
        _keyed("RTReferencedSeriesSequence", series),
    )
    frame = _item(_uid("FrameOfReferenceUID", frame_uid), _keyed("RTReferencedStudySequence", study))
    return _keyed("ReferencedFrameOfReferenceSequence", frame)


def contour_sequence(rois: Sequence[Roi], heads: Sequence[Dataset], images: Sequence[bytes]) -> bytes:
    """The element ROIContourSequence.

    Args:
        rois: with their rings.
        heads: the item of each ROI without its ContourSequence.
        images: as `image_items` makes them, in the order of the grid's slices.

    Raises:
        FaultError: a ring too long, too far away, or with holes that no rule has turned into rings.
    """
    beside = [_keyed("ContourImageSequence", image) for image in images]
    items = (
        _item(encoded(head, {_tag("ContourSequence"): _rings(roi, beside)}))
        for roi, head in zip(rois, heads, strict=True)
    )
    return _keyed("ROIContourSequence", b"".join(items))


def _rings(roi: Roi, images: Sequence[bytes]) -> bytes:
    """The element ContourSequence; nothing at all for an ROI without rings (type 3)."""
    if any(ring.holes_mm for ring in roi.contours):
        raise FaultError("a ring with holes that no rule has turned into rings")
    texts = contour_texts([ring.points_mm for ring in roi.contours])
    rings = [
        _ring(number, ring, text, images[ring.slice_index])
        for number, (ring, text) in enumerate(zip(roi.contours, texts, strict=True), start=1)
    ]
    return _keyed("ContourSequence", b"".join(rings)) if rings else b""


def _ring(number: int, ring: Contour, text: bytes, image: bytes) -> bytes:
    if len(text) > MAX_RING_BYTES:
        raise FaultError(f"a ring of {len(ring.points_mm)} points is longer than {MAX_RING_BYTES} bytes")
    return _item(
        image,
        _keyed("ContourGeometricType", _even(ring.geometric_type.value.encode("ascii"))),
        _keyed("NumberOfContourPoints", _even(b"%d" % len(ring.points_mm))),
        _keyed("ContourNumber", _even(b"%d" % number)),
        _keyed("ContourData", text),
    )


def contour_texts(rings_mm: Sequence[Points]) -> list[bytes]:
    """ContourData of each ring: numbers with three decimals, as ``%.3f`` has them but for -0, even in length.

    All digits of all numbers are made at once: a text of every number by itself takes six times as long.

    Raises:
        FaultError: a coordinate that is not finite or lies 100 m away or more.
    """
    if not rings_mm:
        return []
    points_mm = np.concatenate(rings_mm)
    if not np.isfinite(points_mm).all() or np.abs(points_mm).max() >= FARTHEST_MM:
        raise FaultError("a ring with coordinates that are not finite, or beyond 100 m")
    micrometres = np.rint(points_mm.ravel() * 1000.0).astype(np.int32)
    size = np.abs(micrometres)[:, None]
    digits = (size // PLACES % 10 + ord("0")).astype(np.uint8)
    minus, dot, between = (np.full((len(size), 1), ord(mark), dtype=np.uint8) for mark in "-.\\")
    letters = np.concatenate([minus, digits[:, :-3], dot, digits[:, -3:], between], axis=1)
    told = np.ones(letters.shape, dtype=bool)
    told[:, 0] = micrometres < 0
    told[:, 1:-5] = size >= PLACES[:-3]
    told[:, -6] = True
    ends = np.cumsum(told.sum(axis=1))[np.cumsum([points.size for points in rings_mm]) - 1]
    text = letters[told].tobytes()
    return [_even(text[start : end - 1]) for start, end in pairwise([0, *ends.tolist()])]


def _item(*elements: bytes) -> bytes:
    return _element(ITEM, b"".join(elements))


def _uid(keyword: str, uid: str) -> bytes:
    return _keyed(keyword, uid.encode("ascii") + b"\0" * (len(uid) % 2))


def _keyed(keyword: str, value: bytes) -> bytes:
    tag = _tag(keyword)
    return _element((tag >> 16, tag & 0xFFFF), value)


def _element(tag: tuple[int, int], value: bytes) -> bytes:
    return struct.pack("<HHL", *tag, len(value)) + value


def _even(text: bytes) -> bytes:
    return text if len(text) % 2 == 0 else text + b" "


@cache
def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise FaultError(f"{keyword} is no attribute")
    return tag
