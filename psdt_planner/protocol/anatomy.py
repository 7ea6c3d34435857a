"""The rows of a protocol about anatomy: bone, vertebral sectors, organs, skin, and targets that meet."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from psdt_planner.protocol.cited import Cited
from psdt_planner.tables import Words

MAX_GAP_MM: Final = 20.0
"""Above this a gap between a target and an organ, or the skin, is a mistake of unit."""

Part = Annotated[float, Field(ge=0.0, le=1.0)]
SmallMl = Annotated[float, Field(gt=0.0, le=1.0)]
Gap = Annotated[float, Field(ge=0.0, le=MAX_GAP_MM)]

Sector = Literal["body", "pedicle", "lamina", "spinous", "other-pedicle", "other-lamina"]
"""Sectors of a vertebra as the consensus speaks of them: of one side, and of the other. A lamina holds its transverse
process."""


class InBone(Cited):
    """A CTV kept inside the bone that the GTV lies in, unless the GTV leaves it.

    Attributes:
        breach_mm: how far outside the bone a point must lie to count as outside.
        breach_part: the part of the GTV outside, above which the cortex is taken to be breached and nothing is cut.
        told_part: the part of the GTV inside, below which the CT does not tell which bone it lies in.
    """

    breach_mm: Annotated[float, Field(ge=0.0, le=10.0)]
    breach_part: Part
    told_part: Part


class SectorRule(Cited):
    """Which sectors the CTV takes in where the GTV involves some.

    Attributes:
        gtv: the rule holds where the GTV involves all of these, on either side.
        extent: for the body alone: how much of it the GTV must take; empty where that does not matter.
        ctv: what the CTV then takes in, whole.
    """

    gtv: Annotated[tuple[Sector, ...], Field(min_length=1, strict=False)]
    extent: Literal["", "lateralised", "diffuse"] = ""
    ctv: Annotated[tuple[Sector, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.extent and "body" not in self.gtv:
            raise PydanticCustomError("extent_of_nothing", "extent is of the body, which the rule does not ask for")
        if not set(self.gtv) <= set(self.ctv):
            raise PydanticCustomError("sector_left_out", "the CTV leaves out a sector that the GTV involves")
        return self


class Sectors(Cited):
    """How the sectors of a vertebra make its CTV.

    Attributes:
        touched_ml: from so much GTV in a sector on, the CTV takes the sector in.
        involved_ml: from so much on, the sector counts for the rules; the one with the most GTV always does.
        lateralised_part: the body is involved on one side where so much of the GTV in it lies on that side.
        diffuse_part: the body is involved diffusely where the GTV takes so much of it.
        rules: all that hold are joined.
    """

    touched_ml: SmallMl
    involved_ml: SmallMl
    lateralised_part: Annotated[float, Field(gt=0.5, le=1.0)]
    diffuse_part: Part
    rules: Annotated[tuple[SectorRule, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.involved_ml < self.touched_ml:
            raise PydanticCustomError("touched_above_involved", "a sector is involved before it is touched")
        return self


class Spare(Cited):
    """An organ that is cut out of the PTV.

    Attributes:
        organ: TG-263 name.
        stands_for: organs that it holds, so that they are not missed where this one is contoured; an organ that stands
            for others is not missed itself.
        gap_mm: how far the PTV stays away from it: its planning margin.
        gtv_inside: what it means that the GTV lies in it by as much as `Overlaps` says.
    """

    organ: Words
    stands_for: Annotated[tuple[Words, ...], Field(strict=False)] = ()
    gap_mm: Gap
    gtv_inside: Literal["warn", "hold"]


class Skin(Cited):
    """How far targets keep from the surface of the body; the GTV is never cut.

    Attributes:
        gtv_in_air_part: the part of the GTV outside the body, above which the lesion cannot lie there.
    """

    ctv_mm: Gap
    ptv_mm: Gap
    gtv_in_air_part: Part


class Overlaps(Cited):
    """From what overlap on two structures overlap, and what is done where the targets of two lesions do.

    Attributes:
        least_ml: an overlap of less is none.
        targets: ``keep-apart`` leaves every target as it is and says so; ``merge-ptv`` makes one PTV of two that
            overlap or touch.
    """

    least_ml: SmallMl
    targets: Literal["keep-apart", "merge-ptv"]
