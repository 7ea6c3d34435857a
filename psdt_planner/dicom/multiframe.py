"""Objects that hold many slices, as one header a slice: Enhanced MR, and mosaics of Siemens and of UIH.

What is read further on is then the same as of a series with one slice an object: each plane has its own position,
its own b-value and its own rescale, and a number that says where its pixels are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage

from psdt_planner.dicom import attributes, csa
from psdt_planner.dicom.attributes import UNDECODABLE
from psdt_planner.dicom.bvalues import b_value
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.private import private_items, private_values
from psdt_planner.errors import InputError, UnsupportedError

MULTI_FRAME = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
MOSAIC_WORDS = frozenset({"MOSAIC", "VFRAME", "GRID"})
"""Words of ImageType for many slices tiled into one image."""

UIH_HEADER = (0x0065, "Image Private Header")
UIH_COUNT, UIH_SLICES = 0x50, 0x51

NORMAL_TOLERANCE = 1e-3
"""How far the cosine between a mosaic's stated slice normal and that of its rows and columns may be from ±1."""

OF_THE_OBJECT = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("Manufacturer", "SeriesDescription", "ProtocolName", "ImageType", "AcquisitionContrast", "Rows", "Columns"),
    *("ComplexImageComponent", "RealWorldValueMappingSequence", "PulseSequenceName", "MagneticFieldStrength"),
)
"""What a plane of an Enhanced MR object has from the object itself."""

FUNCTIONAL_GROUPS = (
    *("PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "MRImageFrameTypeSequence"),
    *("MRDiffusionSequence", "MREchoSequence", "MRTimingAndRelatedParametersSequence", "MRFOVGeometrySequence"),
    *("MRAveragesSequence", "PixelValueTransformationSequence"),
    *("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence"),
)
"""Functional groups whose attributes a plane has as its own (PS3.3 C.7.6.16 and C.8.13.5)."""

ENHANCED_NAMES = {
    "FrameType": "ImageType",
    "EffectiveEchoTime": "EchoTime",
    "PulseSequenceName": "SequenceName",
}
"""Attributes of Enhanced MR that say what another attribute says in the classic object."""


@dataclass(frozen=True)
class Tiles:
    """How the slices of a mosaic are laid out, row of tiles by row of tiles from the top left.

    Attributes:
        count: slices in the mosaic.
        rows, columns: pixels of one tile.
    """

    count: int
    rows: int
    columns: int


def holds_planes(header: Header) -> bool:
    """Whether one object holds many slices."""
    ds = header.dataset
    return header.file.sop_class_uid in MULTI_FRAME or bool(MOSAIC_WORDS & set(attributes.words(ds, "ImageType")))


def planes(header: Header) -> tuple[Header, ...]:
    """The object's planes in its own order; of an object with one slice, itself.

    Raises:
        InputError: a mosaic that does not tell how many slices it holds or where they lie, or an object whose
            functional groups do not fit its frames.
    """
    if header.file.sop_class_uid in MULTI_FRAME:
        return _frames(header)
    if not holds_planes(header):
        return (header,)
    try:
        positions = _uih_positions(header.dataset) or _siemens_positions(header.dataset)
    except UNDECODABLE as error:
        raise UnsupportedError("a mosaic whose private header cannot be decoded", where=_where(header)) from error
    return _mosaic(header, positions)


def planes_or_reason(headers: Sequence[Header]) -> tuple[tuple[Header, ...], str]:
    """The planes of a series' objects in order of the objects; or these as they are, and why they cannot be cut."""
    try:
        return tuple(plane for header in headers for plane in planes(header)), ""
    except InputError as error:
        return tuple(headers), str(error)


def cut(pixels: NDArray[Any], header: Header) -> NDArray[Any]:
    """The pixels of one plane ``(rows, columns)`` out of those of its whole object.

    ``pixels`` is ``(frames, rows, columns)`` of an object of frames, ``(rows, columns)`` of any other.

    Raises:
        UnsupportedError: the object has not that many frames.
    """
    if header.plane is None:
        return pixels
    if header.file.sop_class_uid in MULTI_FRAME:
        frames = pixels if pixels.ndim == 3 else pixels[None]
        if header.plane >= len(frames):
            raise UnsupportedError(f"no pixels of frame {header.plane}", where=_where(header))
        return np.asarray(frames[header.plane])
    rows, columns = header.dataset.Rows, header.dataset.Columns
    down, across = divmod(header.plane, pixels.shape[1] // columns)
    return pixels[down * rows : (down + 1) * rows, across * columns : (across + 1) * columns]


def _where(header: Header) -> str:
    return f"SOP Instance UID {header.file.sop_instance_uid}"


def _frames(header: Header) -> tuple[Header, ...]:
    ds, where = header.dataset, _where(header)
    count = attributes.integer(ds, "NumberOfFrames", where=where)
    own = attributes.items(ds, "PerFrameFunctionalGroupsSequence", where=where)
    if len(own) != count:
        raise UnsupportedError(f"{len(own)} functional groups for {count} frames", where=where)
    shared = attributes.items_if_any(ds, "SharedFunctionalGroupsSequence")
    base = Dataset()
    base.update({ds[keyword].tag: ds[keyword] for keyword in OF_THE_OBJECT if keyword in ds})
    for groups in shared:
        _add(base, groups)
    return tuple(replace(header, dataset=_frame(base, groups, shared), plane=n) for n, groups in enumerate(own))


def _frame(base: Dataset, groups: Dataset, shared: Sequence[Dataset]) -> Dataset:
    plane = Dataset()
    plane.update(base)
    _add(plane, groups)
    for enhanced, classic in ENHANCED_NAMES.items():
        if enhanced in plane:
            _set(plane, classic, plane[enhanced].value)
    if "DiffusionBValue" not in plane:
        _add_private(plane, [groups, *shared])
    return plane


def _add(plane: Dataset, groups: Dataset) -> None:
    """Give a plane the attributes of its functional groups."""
    for keyword in FUNCTIONAL_GROUPS:
        for item in attributes.items_if_any(groups, keyword)[:1]:
            plane.update(item)
    if "RealWorldValueMappingSequence" in groups:
        plane["RealWorldValueMappingSequence"] = groups["RealWorldValueMappingSequence"]


def _add_private(plane: Dataset, groups: Sequence[Dataset]) -> None:
    """Give a plane the private functional group that tells a b-value, where the standard one does not."""
    for element in (element for group in groups for element in group if element.tag.is_private and element.VR == "SQ"):
        for item in element.value[:1]:
            if b_value(item) is not None:
                plane.update(item)
                return


def _set(plane: Dataset, keyword: str, value: Any) -> None:
    """Give a plane an element of its own: those that it was given are still the object's, and must not change."""
    tag = Tag(keyword)
    plane[tag] = DataElement(tag, dictionary_VR(tag), value)


def _uih_positions(ds: Dataset) -> list[NDArray[np.float64]]:
    """Where UIH says that each slice of a mosaic lies; empty where the image is no mosaic of UIH."""
    group, creator = UIH_HEADER
    for value in private_values(ds, group, creator, UIH_SLICES):
        positions = [attributes.numbers(item, "ImagePositionPatient", 3) for item in private_items(value)]
        stated = [int(float(_text(count))) for count in private_values(ds, group, creator, UIH_COUNT)]
        if stated and stated[0] != len(positions):
            message = f"a mosaic of {stated[0]} slices that tells {len(positions)} positions"
            raise UnsupportedError(message, where=attributes.where_of(ds))
        return positions
    return []


def _text(value: object) -> str:
    return value.decode("ascii").strip(" \0") if isinstance(value, bytes) else str(value)


def _siemens_positions(ds: Dataset) -> list[NDArray[np.float64]]:
    """Where the slices of a Siemens mosaic lie.

    ImagePositionPatient is that of one slice as large as the whole mosaic; the slices are centred in it, and follow
    each other along the normal of the CSA header, whose sign alone tells head from feet.
    """
    where = attributes.where_of(ds)
    header = csa.image_header(ds)
    if "NumberOfImagesInMosaic" not in header or "SliceNormalVector" not in header:
        raise UnsupportedError("a mosaic that does not tell how many slices it holds and which way", where=where)
    tiles = _tiles(ds, int(header["NumberOfImagesInMosaic"][0]))
    row, column = attributes.numbers(ds, "ImageOrientationPatient", 6).reshape(2, 3)
    spacing_j, spacing_i = attributes.numbers(ds, "PixelSpacing", 2)
    normal, stated = np.cross(row, column), np.array(header["SliceNormalVector"], dtype=np.float64)
    if abs(abs(normal @ stated) - 1.0) > NORMAL_TOLERANCE:
        raise UnsupportedError("a mosaic whose stated normal is not that of its slices", where=where)
    step_mm = attributes.number(ds, "SpacingBetweenSlices") * np.sign(normal @ stated) * normal
    beside_i = (attributes.integer(ds, "Columns") - tiles.columns) / 2.0 * spacing_i * row
    beside_j = (attributes.integer(ds, "Rows") - tiles.rows) / 2.0 * spacing_j * column
    first = attributes.numbers(ds, "ImagePositionPatient", 3) + beside_i + beside_j
    return [first + k * step_mm for k in range(tiles.count)]


def _tiles(ds: Dataset, count: int) -> Tiles:
    """The layout of a mosaic: as many tiles across as the root of their count; Siemens leaves whole rows empty.

    Raises:
        UnsupportedError: the image cannot be cut into so many tiles.
    """
    rows, columns = attributes.integer(ds, "Rows"), attributes.integer(ds, "Columns")
    across = math.ceil(math.sqrt(max(count, 1)))
    down = across if "MOSAIC" in attributes.words(ds, "ImageType") else math.ceil(count / across)
    if count < 1 or rows % down or columns % across:
        message = f"a mosaic of {rows} x {columns} pixels cannot be cut into {count} slices"
        raise UnsupportedError(message, where=attributes.where_of(ds))
    return Tiles(count, rows // down, columns // across)


def _mosaic(header: Header, positions: Sequence[NDArray[np.float64]]) -> tuple[Header, ...]:
    tiles = _tiles(header.dataset, len(positions))
    found = []
    for number, position in enumerate(positions):
        plane = Dataset()
        plane.update(header.dataset)
        _set(plane, "Rows", tiles.rows)
        _set(plane, "Columns", tiles.columns)
        _set(plane, "ImagePositionPatient", [float(mm) for mm in position])
        found.append(replace(header, dataset=plane, plane=number))
    return tuple(found)
