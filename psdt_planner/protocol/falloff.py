"""The rows of a protocol about dose outside a target: how fast it falls, and what is made of it beside an organ."""

from __future__ import annotations

import itertools
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from psdt_planner.protocol.cited import Cited
from psdt_planner.tables import Table

Percent = Annotated[float, Field(gt=0.0, le=100.0)]


class Gradient(Cited):
    """Mean fall to one half: GM in cm = coefficient times V to the exponent, V the PTV in ml."""

    coefficient_cm: Annotated[float, Field(gt=0.0, le=5.0)]
    exponent: Annotated[float, Field(gt=0.0, lt=1.0)]
    max_ptv_ml: Annotated[float, Field(gt=0.0, le=5000.0)]


class FarPoint(Table):
    """Largest dose at a distance from the PTV, in per cent of the prescription, for one volume of the PTV."""

    ptv_ml: Annotated[float, Field(gt=0.0, le=5000.0)]
    none_percent: Percent
    minor_percent: Percent


class FarDose(Cited):
    """The compliance table of largest dose at a distance; linear between its rows, refused outside of them."""

    at_mm: Annotated[float, Field(gt=0.0, le=100.0)]
    rows: Annotated[tuple[FarPoint, ...], Field(min_length=2, strict=False)]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        volumes = [row.ptv_ml for row in self.rows]
        if volumes != sorted(set(volumes)):
            raise PydanticCustomError("far_order", "the rows rise in volume")
        if any(row.minor_percent < row.none_percent for row in self.rows):
            raise PydanticCustomError("far_minor", "a minor deviation below none")
        falling = [(a, b) for a, b in itertools.pairwise(self.rows) if b.none_percent < a.none_percent]
        if falling:
            raise PydanticCustomError("far_falling", "a larger PTV with less dose around it")
        return self


class BestCase(Cited):
    """The steepest fall that planning reaches on one side, and how low it goes."""

    percent_per_mm: Annotated[float, Field(gt=0.0, le=50.0)]
    floor_percent: Percent


class Contact(Cited):
    """How near an organ is no longer judged by distance: a planner must look at it."""

    mm: Annotated[float, Field(ge=0.0, le=20.0)]


class NearMaximum(Cited):
    """Up to what hottest volume a limit is held against the dose at the organ's nearest point."""

    ml: Annotated[float, Field(gt=0.0, le=5.0)]


class Composite(Cited):
    """How near two targets must be for their doses to be summed at the organs."""

    within_mm: Annotated[float, Field(gt=0.0, le=300.0)]


class FallOff(Table):
    """All that the distance screen rests on."""

    mean: Gradient
    worst: FarDose
    best: BestCase
    contact: Contact
    near_maximum: NearMaximum
    composite: Composite


class LinearContinuation(Cited):
    """From what dose per fraction on LQ-L is shown beside LQ, and where its line begins."""

    from_gy: Annotated[float, Field(gt=0.0, le=30.0)]
    transition_alpha_betas: Annotated[float, Field(gt=0.0, le=10.0)]
