"""The rule by which a region grows: its numbers, each with its source, from a TOML file."""

from __future__ import annotations

import hashlib
import tomllib
from typing import Annotated, Final, Self

from pydantic import Field, ValidationError, model_validator

from psdt_planner.errors import ProtocolError
from psdt_planner.protocol.cited import Cited
from psdt_planner.tables import Table, Words, defect, place_and_message

SCHEMA: Final = 1
"""Version of the file's shape."""

Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[Positive, Positive], Field(strict=False)]


class Growing(Cited):
    """What belongs to a region: bright on high b beside its maximum, with an ADC between two values."""

    part_of_peak: Annotated[float, Field(gt=0, lt=1)]
    adc_mm2_per_s: Range
    least_ml: Positive


class Reach(Cited):
    """Where the maximum is looked for, and how far a region may reach from its seed."""

    peak_within_mm: Positive
    farthest_mm: Positive


class Unflagged(Cited):
    """How bright a place that nobody flagged must be: this often the signal of muscle, found by its ADC."""

    above_muscle: Annotated[float, Field(gt=1)]
    muscle_adc_mm2_per_s: Range


class HighB(Cited):
    """The least b-value of an image that shows what is bright on high b."""

    least_b_s_per_mm2: Positive


class Rule(Table):
    """The whole rule; ``sha256`` is that of the file's text."""

    sha256: Words
    growing: Growing
    reach: Reach
    candidates: Unflagged
    images: HighB

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for low, high in (self.growing.adc_mm2_per_s, self.candidates.muscle_adc_mm2_per_s):
            if low >= high:
                raise ValueError(f"a range from {low:g} to {high:g}")
        return self

    def __str__(self) -> str:
        """The rule in words, as far as seeds and candidates share it."""
        low, high = (1000 * value for value in self.growing.adc_mm2_per_s)
        return (
            f"high b >= {self.growing.part_of_peak:.0%} of the region's maximum, "
            f"ADC {low:g} to {high:g} x 10^-3 mm2/s, "
            f"26-connected, >= {self.growing.least_ml:g} ml"
        )

    def words(self, *, seeded: bool) -> str:
        """The whole rule in words, as it goes into every object that comes of it; its file by its hash."""
        if seeded:
            more = f"maximum within {self.reach.peak_within_mm:g} mm of the point, region within "
            more += f"{self.reach.farthest_mm:g} mm"
        else:
            low, high = (1000 * value for value in self.candidates.muscle_adc_mm2_per_s)
            more = f"high b >= {self.candidates.above_muscle:g} x muscle (median where ADC is {low:g} to {high:g})"
        return f"{self}, {more}; rule SHA-256 {self.sha256[:16]}"


def parse_rule(text: str, name: str) -> Rule:
    """The rule in the text of a TOML file, checked.

    Raises:
        ProtocolError: the text is no TOML, or a key is missing, unknown or wrong; each with its line and field.
    """
    where = f"rule {name}"
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"not TOML: {error}", where=where) from error
    if tables.pop("schema", None) != SCHEMA:
        raise ProtocolError(f"schema must be {SCHEMA}", where=where)
    if "sha256" in tables:
        raise ProtocolError("sha256 comes from the file, not from a key", where=where)
    try:
        return Rule.model_validate({**tables, "sha256": hashlib.sha256(text.encode()).hexdigest()})
    except ValidationError as error:
        found = "; ".join(defect(text, *place_and_message(detail)) for detail in error.errors())
        raise ProtocolError(found, where=where) from error
