"""How a whole-body DWI exam should be acquired, each number with its source: `psdt_planner/criteria/wbdwi.toml`."""

from __future__ import annotations

import hashlib
import tomllib
from typing import Annotated, Final, Self

from pydantic import Field, ValidationError, model_validator

from psdt_planner.errors import ProtocolError
from psdt_planner.protocol import Cited
from psdt_planner.tables import Table, Words, defect, place_and_message

SCHEMA: Final = 1
"""Version of the file's shape."""

Positive = Annotated[float, Field(gt=0.0)]
Range = Annotated[tuple[Positive, Positive], Field(strict=False)]


class BValues(Cited):
    """How many b-values there are, and in which ranges the low and the high one lie."""

    least_count: Annotated[int, Field(ge=1, le=10)]
    low_s_per_mm2: Range
    high_s_per_mm2: Range


class Slices(Cited):
    """How thick slices are."""

    least_mm: Positive
    most_mm: Positive


class Contiguity(Cited):
    """How far apart the faces of neighbouring slices may lie."""

    most_gap_mm: Annotated[float, Field(ge=0.0)]


class Coverage(Cited):
    """How much of the body a whole-body exam shows, along its slices."""

    least_mm: Positive


class Pixels(Cited):
    """How large acquired pixels are; those that were stored may be finer."""

    least_mm: Positive


class EchoTime(Cited):
    """What TE stays below."""

    below_ms: Positive


class Inversion(Cited):
    """Between what TI lies at one field strength, where fat is suppressed by inversion."""

    field_t: Positive
    between_ms: Range


class Averages(Cited):
    """How often the signal is averaged."""

    least: Positive


class ParallelImaging(Cited):
    """By how much k-space is undersampled in the plane."""

    factor: Positive


class AdcAgreement(Cited):
    """Median ratios of an ADC map to the fit of the b-images that still are agreement."""

    ratios: Range


class AdcHistogram(Cited):
    """The bins that the ADC of a tumour load is counted in."""

    edges_mm2_per_s: Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], Field(strict=False, min_length=2)]

    @model_validator(mode="after")
    def _edges_ascend(self) -> Self:
        if list(self.edges_mm2_per_s) != sorted(set(self.edges_mm2_per_s)):
            raise ValueError("edges that do not ascend")
        return self


class AcquisitionCriteria(Table):
    """All rows of the file; ``sha256`` is that of its text."""

    name: Words
    sha256: Words
    title: Words
    b_values: BValues
    slices: Slices
    contiguity: Contiguity
    coverage: Coverage
    pixels: Pixels
    echo_time: EchoTime
    inversion: Inversion
    averages: Averages
    parallel_imaging: ParallelImaging
    adc_agreement: AdcAgreement
    adc_histogram: AdcHistogram

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        b_values, ratios = self.b_values, self.adc_agreement.ratios
        ranges = (b_values.low_s_per_mm2, b_values.high_s_per_mm2, self.inversion.between_ms, ratios)
        for low, high in (*ranges, (self.slices.least_mm, self.slices.most_mm)):
            if low > high:
                raise ValueError(f"a range from {low:g} to {high:g}")
        return self


def parse_acquisition(text: str, name: str) -> AcquisitionCriteria:
    """The criteria in the text of a TOML file, checked.

    Raises:
        ProtocolError: the text is no TOML, a key is missing or unknown, or a row has no source. Every defect is named
            with its line and field.
    """
    where, todo = f"criteria {name}", "Whoever keeps these criteria must correct them."
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"not TOML: {error}", where=where, todo=todo) from error
    if tables.pop("schema", None) != SCHEMA:
        raise ProtocolError(f"schema must be {SCHEMA}", where=where, todo=todo)
    own = {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    if taken := sorted(own.keys() & tables):
        raise ProtocolError(f"{', '.join(taken)} comes from the file, not from a key", where=where, todo=todo)
    try:
        return AcquisitionCriteria.model_validate({**tables, **own})
    except ValidationError as error:
        defects = "; ".join(defect(text, *place_and_message(detail)) for detail in error.errors())
        raise ProtocolError(defects, where=where, todo=todo) from error
