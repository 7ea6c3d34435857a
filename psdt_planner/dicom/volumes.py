"""Pixels to numbers with a unit: rescale slice by slice, Hounsfield units, and the unit of an ADC map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import UNREADABLE, Header
from psdt_planner.dicom.series import VolumeStack
from psdt_planner.errors import UnsupportedError
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

Tissue has 0.3 to 4 x 10^-3 mm2/s (dicom.md section 6 of the references), and the three ranges do not meet.
"""

UNDECODED = (*UNREADABLE, RuntimeError)
"""What a decoder of compressed pixels raises."""


class AdcUnitError(UnsupportedError):
    """An ADC map whose unit nobody tells, so that its numbers mean nothing."""


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
    array = np.empty(grid.shape, dtype=np.float32)
    for k, images in enumerate(of.images):
        first = _pixels(images[0], grid)
        if len(images) == 1:
            array[k] = first
        else:
            rest = [_pixels(image, grid) for image in images[1:]]
            array[k] = np.mean([first, *rest], axis=0, dtype=np.float64)
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


def _pixels(header: Header, grid: Grid) -> NDArray[np.float64]:
    """One image in the units that its rescale leads to, ``(rows, columns)``."""
    where = f"SOP Instance UID {header.file.sop_instance_uid}"
    try:
        stored = dcmread(header.path).pixel_array
    except UNDECODED as error:
        raise UnsupportedError("the pixels cannot be decoded", where=where) from error
    if stored.shape != grid.shape[1:]:
        raise UnsupportedError(f"pixels of shape {stored.shape} in an image of {grid.shape[1:]}", where=where)
    slope, intercept = _rescale(header.dataset, where)
    return np.asarray(stored * slope + intercept)


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
    """What one number of ``array`` is in mm2/s: by the Real World Value Mapping, else by the median over the body.

    Raises:
        AdcUnitError: the images disagree, the mapping has an intercept, or the median fits no known unit.
    """
    mappings = {_adc_mapping(image) for image in images}
    if mappings != {None}:
        if len(mappings) > 1 or (mapping := mappings.pop()) is None or mapping[1] != 0.0:
            raise AdcUnitError("the Real World Value Mappings of an ADC map differ or have an intercept")
        slope, _, unit = mapping
        return AdcUnit(slope * ADC_UNIT_CODES[unit], f"Real World Value Mapping, {unit}")
    body = array[array > 0]
    median = float(np.median(body)) if body.size else 0.0
    for lowest, highest, mm2_per_s in ADC_MEDIANS:
        if lowest <= median <= highest:
            return AdcUnit(mm2_per_s, f"median over the body {median:.4g}")
    raise AdcUnitError(f"an ADC map that names no unit, with a median of {median:.4g} over the body")


def phase_encoding_mm(ds: Dataset) -> tuple[float, float, float] | None:
    """Unit vector of the phase-encode axis from InPlanePhaseEncodingDirection; None where nobody stated it.

    ROW means along the rows, towards growing column index; COL means along the columns (PS3.3 C.8.3.1).
    """
    way = attributes.text_or_empty(ds, "InPlanePhaseEncodingDirection").upper()
    if way not in ("ROW", "COL"):
        return None
    cosines = attributes.numbers(ds, "ImageOrientationPatient", 6).reshape(2, 3)[0 if way == "ROW" else 1]
    x, y, z = cosines / np.linalg.norm(cosines)
    return float(x), float(y), float(z)
