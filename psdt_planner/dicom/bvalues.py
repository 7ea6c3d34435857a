"""b-values: the standard attribute first, then the vendors' private elements by their creator, and which was used.

A row of `PRIVATE_ENCODINGS` is one vendor's place for the b-value (dcm2niix's vendor notes agree with all of them).
What no row can tell stays unknown: an image without a b-value is not an image at b = 0.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from psdt_planner.dicom import csa
from psdt_planner.dicom.attributes import UNDECODABLE, number, text_or_empty, words
from psdt_planner.dicom.private import has_creators, private_groups, private_values
from psdt_planner.errors import InputError

B_VALUE_DIGITS = 2
"""b-values are rounded to 0.01 s/mm2: some scanners number repeated volumes in the third decimal."""

LARGEST_S_PER_MM2 = 50_000.0
"""No scanner reaches this b-value; a larger number is something else."""

GE_OFFSET = 1_000_000_000
"""GE adds this to the b-value of some sequences."""

SIEMENS_SEQUENCE_NAME = re.compile(r"^\*?ep_b(\d+)(t|#\d+)?$")
"""One b-value, as in ``*ep_b800t`` or ``ep_b1000#12``; ``*ep_b50_800`` names the range of a derived map instead."""

CANON_COMMENT = re.compile(r"^b=(\d+(?:\.\d+)?)\(")
"""The b-value and direction in the comments of Canon's version 6.0, as in ``b=1500(0.2,-0.5,0.8)``."""


@dataclass(frozen=True)
class BValue:
    """A diffusion weighting and where it was read."""

    s_per_mm2: float
    source: str


@dataclass(frozen=True)
class PrivateEncoding:
    """Where one vendor keeps the b-value: an element of a private block, found by the block's creator.

    ``manufacturer`` is the vendor's word in Manufacturer; it stands in for the creator where an anonymiser removed
    every creator of the group, and the element then lies in the first block.
    """

    creator: str
    group: int
    offset: int
    manufacturer: str
    decode: Callable[[Any], float]

    @property
    def name(self) -> str:
        """``(0019,xx0C) SIEMENS MR HEADER``."""
        return f"({self.group:04X},xx{self.offset:02X}) {self.creator}"


def _first_text_number(raw: Any) -> float:
    """The first number of a text value, which Implicit VR may have turned into bytes."""
    if isinstance(raw, bytes):
        return float(raw.decode("ascii").split("\\")[0].strip(" \0"))
    return float(raw if isinstance(raw, (str, int, float)) else raw[0])


def _ge_number(raw: Any) -> float:
    return _first_text_number(raw) % GE_OFFSET


def _float32(raw: Any) -> float:
    return float(struct.unpack("<f", raw)[0]) if isinstance(raw, bytes) else _first_text_number(raw)


def _float64(raw: Any) -> float:
    return float(struct.unpack("<d", raw)[0]) if isinstance(raw, bytes) else _first_text_number(raw)


def _csa_number(raw: Any) -> float:
    """B_value of the CSA header of an image, which some exports keep where they drop (0019,xx0C)."""
    return float(csa.parse(raw)["B_value"][0])


PRIVATE_ENCODINGS = (
    PrivateEncoding("SIEMENS MR HEADER", 0x0019, 0x0C, "SIEMENS", _first_text_number),
    PrivateEncoding(csa.CREATOR, csa.GROUP, csa.IMAGE_HEADER, "SIEMENS", _csa_number),
    PrivateEncoding("GEMS_PARM_01", 0x0043, 0x39, "GE MEDICAL", _ge_number),
    PrivateEncoding("Philips Imaging DD 001", 0x2001, 0x03, "PHILIPS", _float32),
    PrivateEncoding("Image Private Header", 0x0065, 0x09, "UIH", _float64),
)

ABSENT_IS_ZERO = ("TOSHIBA", "CANON")
"""Vendors that write DiffusionBValue only on images with b > 0, in a series that has such images."""


def b_value(ds: Dataset) -> BValue | None:
    """The b-value that one image states itself; None where it states none."""
    if "DiffusionBValue" in ds:
        try:
            stated = _rounded(number(ds, "DiffusionBValue"), "(0018,9087) DiffusionBValue")
        except InputError:
            stated = None
        if stated is not None:
            return stated
    groups = private_groups(ds)
    for encoding in (one for one in PRIVATE_ENCODINGS if one.group in groups):
        found = _private(ds, encoding)
        if found is not None:
            return found
    named = SIEMENS_SEQUENCE_NAME.match(text_or_empty(ds, "SequenceName"))
    if named:
        return _rounded(float(named.group(1)), "(0018,0024) SequenceName")
    commented = CANON_COMMENT.match(text_or_empty(ds, "ImageComments"))
    if commented and text_or_empty(ds, "Manufacturer").upper().startswith(ABSENT_IS_ZERO):
        return _rounded(float(commented.group(1)), "(0020,4000) ImageComments")
    return None


def series_b_values(images: Sequence[Dataset]) -> Mapping[int, BValue]:
    """The b-values of a diffusion series by index into ``images``; an index that is absent has an unknown b-value.

    Where the vendor leaves the attribute out at b = 0 and another image of the series carries it, absent means 0.
    """
    found = {index: stated for index, image in enumerate(images) if (stated := b_value(image)) is not None}
    if found and len(found) < len(images):
        for index, image in enumerate(images):
            vendor = text_or_empty(image, "Manufacturer").upper()
            if index not in found and vendor.startswith(ABSENT_IS_ZERO):
                found[index] = BValue(0.0, "absent, as this vendor writes b = 0")
    return found


def _rounded(s_per_mm2: float, source: str) -> BValue | None:
    possible = 0.0 <= s_per_mm2 <= LARGEST_S_PER_MM2
    return BValue(abs(round(s_per_mm2, B_VALUE_DIGITS)), source) if possible else None


def _private(ds: Dataset, encoding: PrivateEncoding) -> BValue | None:
    try:
        for raw in private_values(ds, encoding.group, encoding.creator, encoding.offset):
            if (found := _decoded(raw, encoding, encoding.name)) is not None:
                return found
        raw = _without_creator(ds, encoding)
        return _decoded(raw, encoding, f"{encoding.name}, creator removed, by manufacturer")
    except UNDECODABLE:
        return None


def _decoded(raw: Any, encoding: PrivateEncoding, name: str) -> BValue | None:
    try:
        return None if raw in (None, "", b"") else _rounded(encoding.decode(raw), name)
    except (*UNDECODABLE, IndexError):
        return None


def _without_creator(ds: Dataset, encoding: PrivateEncoding) -> Any:
    tag = (encoding.group, 0x1000 + encoding.offset)
    if tag not in ds or not text_or_empty(ds, "Manufacturer").upper().startswith(encoding.manufacturer):
        return None
    return None if has_creators(ds, encoding.group) else ds[tag].value


def is_diffusion_marked(ds: Dataset) -> bool:
    """Whether an image says by itself, apart from its b-value, that it is diffusion weighted."""
    contrast = {*words(ds, "ImageType"), *words(ds, "AcquisitionContrast")}
    return "DIFFUSION" in contrast or SIEMENS_SEQUENCE_NAME.match(text_or_empty(ds, "SequenceName")) is not None
