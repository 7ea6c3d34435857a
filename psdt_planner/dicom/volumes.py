"""Pixels to numbers with a unit: rescale slice by slice, Hounsfield units, and the unit of an ADC map."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import UNREADABLE, Header
from psdt_planner.dicom.multiframe import cut
from psdt_planner.dicom.series import VolumeStack
from psdt_planner.errors import InputError, UnsupportedError
from psdt_planner.geometry import Grid
from psdt_planner.images import Kind, Quantity, Volume

ADC_UNIT_CODES: dict[str, float] = {
    "mm2/s": 1.0,
    "10-3.mm2/s": 1e-3,
    "10*-3.mm2/s": 1e-3,
    "10-6.mm2/s": 1e-6,
    "10*-6.mm2/s": 1e-6,
    "um2/s": 1e-6,
    "um2/ms": 1e-3,
    "m2/s": 1e6,
}
"""UCUM units of an ADC map, in mm2/s."""

ADC_MEDIANS: tuple[tuple[float, float, float], ...] = ((300.0, 4000.0, 1e-6), (0.3, 4.0, 1e-3), (3e-4, 4e-3, 1.0))
"""Where nobody names the unit: the median over the body, from and to, and the mm2/s that one stored unit then is.

Tissue has 0.3 to 4 x 10^-3 mm2/s, and the three ranges do not meet. A bound of what is plausible, which tells units
apart by factors of a thousand and decides nothing about a lesion.
"""

VENDOR_MM2_PER_S = {"SIEMENS": 1e-6, "GE MEDICAL": 1e-6, "TOSHIBA": 1e-6, "CANON": 1e-6}
"""What one stored unit is in the maps of a vendor that states no unit and no rescale, by how Manufacturer begins."""

PLAIN_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
PIXEL_SHAPE = ("Rows", "Columns", "BitsAllocated", "PixelRepresentation")
BITS = 16
"""What is read without pydicom: images of one slice whose pixels lie in the file as plain 16-bit numbers."""

UNDECODED = (*UNREADABLE, RuntimeError)
"""What a decoder of compressed pixels raises."""


class AdcUnitError(UnsupportedError):
    """An ADC map whose unit nobody tells, so that its numbers mean nothing."""


class AdcUnitAmbiguousError(AdcUnitError):
    """An ADC map of which two statements contradict each other."""


@dataclass(frozen=True)
class AdcUnit:
    """What one stored unit of an ADC map is, and how that is known."""

    mm2_per_s: float
    source: str


def read_volume(of: VolumeStack, grid: Grid, series_uid: str) -> tuple[Volume, AdcUnit | None]:
    """The numbers of one volume, in HU, mm2/s or arbitrary signal; of an ADC map also its unit.

    Raises:
        MissingAttributeError: a CT without RescaleSlope or RescaleIntercept.
        UnsupportedError: pixels that cannot be decoded or do not fit, or a CT that is not in Hounsfield units.
        AdcUnitError: an ADC map whose unit nobody tells.
    """
    array = _array(of, grid)
    header = of.images[0][0].dataset
    unit, adc = "1", None
    if of.kind in (Kind.CT, Kind.PLANNING_CT):
        unit = "HU"
    elif of.kind is Kind.ADC:
        adc = adc_unit([image.dataset for images in of.images for image in images], array)
        array *= np.float32(adc.mm2_per_s)
        unit = "mm2/s"
    quantity = Quantity(of.kind, unit, None if of.b_value is None else of.b_value.s_per_mm2)
    return Volume(grid, array, quantity, series_uid, phase_encoding_mm(header)), adc


def _array(of: VolumeStack, grid: Grid) -> NDArray[np.float32]:
    """The rescaled numbers of a volume, ``grid.shape``: of several images at one slice their mean.

    Object by object, so that one that holds many slices is decoded once.
    """
    wanted: dict[Path, list[tuple[int, Header]]] = defaultdict(list)
    for k, images in enumerate(of.images):
        for header in images:
            wanted[header.path].append((k, header))
    several = max(len(images) for images in of.images) > 1
    array = np.zeros(grid.shape, np.float64) if several else np.empty(grid.shape, np.float32)
    for uses in wanted.values():
        stored = _stored(uses[0][1])
        for k, header in uses:
            if several:
                array[k] += _rescaled(stored, header, grid)
            else:
                array[k] = _rescaled(stored, header, grid)
    counts = np.array([len(images) for images in of.images])[:, None, None]
    return np.asarray(array / counts if several else array, dtype=np.float32)


def _stored(header: Header) -> NDArray[Any]:
    """The pixels of a whole object as they are stored."""
    plain = plain_pixels(header)
    if plain is not None:
        return plain
    try:
        return np.asarray(dcmread(header.path).pixel_array)
    except UNDECODED as error:
        where = f"SOP Instance UID {header.file.sop_instance_uid}"
        raise UnsupportedError("the pixels cannot be decoded", where=where) from error


def plain_pixels(header: Header) -> NDArray[Any] | None:
    """The pixels of an image of one slice, straight from its file; None where pydicom must decode them."""
    ds = header.dataset
    if header.pixels_at is None or header.plane is not None or _syntax(ds) not in PLAIN_SYNTAXES:
        return None
    try:
        rows, columns, bits, signed = (attributes.integer(ds, keyword) for keyword in PIXEL_SHAPE)
    except InputError:
        return None
    if bits != BITS or signed not in (0, 1) or attributes.text_or_empty(ds, "SamplesPerPixel") != "1":
        return None
    if attributes.text_or_empty(ds, "NumberOfFrames") not in ("", "1"):
        return None
    count = rows * columns
    pixels = np.fromfile(header.path, "<i2" if signed else "<u2", count, offset=header.pixels_at)
    return pixels.reshape(rows, columns) if pixels.size == count else None


def _syntax(ds: Dataset) -> str:
    meta = getattr(ds, "file_meta", None)
    return "" if meta is None else attributes.text_or_empty(meta, "TransferSyntaxUID")


def _rescaled(stored: NDArray[Any], header: Header, grid: Grid) -> NDArray[Any]:
    """One image in the units that its rescale leads to, ``(rows, columns)``."""
    where = f"SOP Instance UID {header.file.sop_instance_uid}"
    pixels = cut(stored, header)
    if pixels.shape != grid.shape[1:]:
        raise UnsupportedError(f"pixels of shape {pixels.shape} in an image of {grid.shape[1:]}", where=where)
    slope, intercept = _rescale(header.dataset, where)
    return pixels if (slope, intercept) == (1.0, 0.0) else np.asarray(pixels * slope + intercept, dtype=np.float64)


def _rescale(ds: Dataset, where: str) -> tuple[float, float]:
    """RescaleSlope and RescaleIntercept: of a CT required and in HU; of an MR 1 and 0 where they are not stated.

    An ADC map with a Real World Value Mapping is left as stored, since that mapping starts from stored values.
    """
    if attributes.text_or_empty(ds, "Modality") == "CT":
        kind = attributes.text_or_empty(ds, "RescaleType")
        if kind not in ("", "HU"):
            raise UnsupportedError(f"a CT in {kind}, not in Hounsfield units", where=where)
    elif not attributes.has(ds, "RescaleSlope") or _adc_mapping(ds) is not None:
        return 1.0, 0.0
    slope, intercept = (attributes.number(ds, f"Rescale{name}", where=where) for name in ("Slope", "Intercept"))
    return slope, intercept


def _adc_mapping(ds: Dataset) -> tuple[float, float, str] | None:
    """Slope, intercept and UCUM unit of the Real World Value Mapping to a diffusion coefficient, where there is one."""
    for mapping in attributes.items_if_any(ds, "RealWorldValueMappingSequence"):
        for code in attributes.items_if_any(mapping, "MeasurementUnitsCodeSequence"):
            unit = attributes.text_or_empty(code, "CodeValue")
            if unit in ADC_UNIT_CODES and attributes.has(mapping, "RealWorldValueSlope"):
                slope = attributes.number(mapping, "RealWorldValueSlope")
                return slope, attributes.number(mapping, "RealWorldValueIntercept"), unit
    return None


def adc_unit(images: Sequence[Dataset], array: NDArray[np.float32]) -> AdcUnit:
    """What one number of ``array`` is in mm2/s, by the first of these that is there.

    The Real World Value Mapping; the unit that RescaleType names; the scale of a vendor that states neither, where the
    median over the body bears it out; that median alone.

    Raises:
        AdcUnitAmbiguousError: the images disagree, the mapping has an intercept, or the vendor's scale and the median
            contradict each other.
        AdcUnitError: nothing tells.
    """
    mappings = {_adc_mapping(image) for image in images}
    if mappings != {None}:
        if len(mappings) > 1 or (mapping := mappings.pop()) is None or mapping[1] != 0.0:
            raise AdcUnitAmbiguousError("the Real World Value Mappings of an ADC map differ or have an intercept")
        slope, _, unit = mapping
        return AdcUnit(slope * ADC_UNIT_CODES[unit], f"Real World Value Mapping, {unit}")
    types = {attributes.text_or_empty(image, "RescaleType") for image in images}
    named = {ADC_UNIT_CODES.get(_plain_unit(one)) for one in types}
    if len(named) > 1:
        raise AdcUnitAmbiguousError("the images of an ADC map name several units in RescaleType")
    if (mm2_per_s := named.pop()) is not None:
        return AdcUnit(mm2_per_s, f"RescaleType {types.pop()}")
    return _unstated_unit(images, array)


def _plain_unit(told: str) -> str:
    """``10^-6 mm^2/s`` and ``1E-6 mm2/s`` as their UCUM code ``10-6.mm2/s``."""
    plain = re.sub(r"[\s^*]", "", told).lower()
    return re.sub(r"^(?:10|1e)(-\d)\.?x?(?=mm2)", r"10\1.", plain)


def _unstated_unit(images: Sequence[Dataset], array: NDArray[np.float32]) -> AdcUnit:
    """By the vendor and the median over the body."""
    body = array[array > 0]
    median = float(np.median(body)) if body.size else 0.0
    by_median = next((scale for low, high, scale in ADC_MEDIANS if low <= median <= high), None)
    vendor = attributes.text_or_empty(images[0], "Manufacturer").upper()
    as_stored = all(_is_as_stored(image) for image in images)
    of_vendor = next((scale for name, scale in VENDOR_MM2_PER_S.items() if vendor.startswith(name)), None)
    if of_vendor is not None and as_stored and by_median not in (None, of_vendor):
        message = f"an ADC map whose vendor stores {of_vendor:g} mm2/s, with a median of {median:.4g} over the body"
        raise AdcUnitAmbiguousError(message)
    if by_median is None:
        raise AdcUnitError(f"an ADC map that names no unit, with a median of {median:.4g} over the body")
    scale = "the vendor's scale and the " if of_vendor is not None and as_stored else ""
    return AdcUnit(by_median, f"{scale}median over the body {median:.4g}")


def _is_as_stored(ds: Dataset) -> bool:
    return not attributes.has(ds, "RescaleSlope") or attributes.number(ds, "RescaleSlope") == 1.0


def phase_encoding_mm(ds: Dataset) -> tuple[float, float, float] | None:
    """Unit vector of the phase-encode axis from InPlanePhaseEncodingDirection; None where nobody stated it.

    ROW means along the rows, towards growing column index; COL, of Enhanced MR COLUMN, means along the columns
    (PS3.3 C.8.3.1 and C.8.13.5.3).
    """
    way = attributes.text_or_empty(ds, "InPlanePhaseEncodingDirection").upper()
    if way not in ("ROW", "COL", "COLUMN"):
        return None
    cosines = attributes.numbers(ds, "ImageOrientationPatient", 6).reshape(2, 3)[0 if way == "ROW" else 1]
    x, y, z = cosines / np.linalg.norm(cosines)
    return float(x), float(y), float(z)
