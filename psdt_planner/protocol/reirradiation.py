"""The rows of a protocol about earlier radiotherapy: when it counts as near, cumulative limits, and recovery."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from psdt_planner.protocol.cited import Cited
from psdt_planner.radiobiology import ALPHA_BETA_GY
from psdt_planner.tables import Table, Words

MAX_MONTHS: Final = 600.0
"""Above this an interval is a mistake of unit (days for months)."""

MAX_EQD2_GY: Final = 300.0
"""Above this a cumulative limit is a mistake of unit."""

Months = Annotated[float, Field(ge=0.0, le=MAX_MONTHS)]
Eqd2Gy = Annotated[float, Field(gt=0.0, le=MAX_EQD2_GY)]
Part = Annotated[float, Field(ge=0.0, le=1.0)]


class NearEarlier(Cited):
    """When earlier radiotherapy is so near a target that psdt proposes no dose for it.

    Attributes:
        isodose_part: the earlier volume that counts: what got at least so much of that course's prescribed dose.
        distance_mm: a target that lies within this of that volume takes the path of re-irradiation.
    """

    isodose_part: Annotated[float, Field(gt=0.0, le=1.0)]
    distance_mm: Annotated[float, Field(ge=0.0, le=100.0)]


class CumulativeLimit(Cited):
    """What an organ may get in all courses together, as EQD2.

    Attributes:
        organs: TG-263 names without a side; the limit holds for each of them.
        eqd2_gy: sum of the courses' EQD2, undiscounted unless ``with_recovery``.
        alpha_beta_gy: that EQD2 is computed at.
        volume_ml: the hottest volume that the limit is stated for; 0 for the maximum at a point.
        from_months: the limit holds from this interval since the earlier course on. Of several rows for one organ the
            one with the longest interval that has passed holds; where none has, there is no limit to hold the dose to,
            which is not the same as passed.
        with_recovery: the limit already presumes recovery, so that no earlier dose may be discounted beside it.
        new_eqd2_gy: what the new course alone may add; None where the row does not say.
        new_part: what part of the sum the new course may be; None where the row does not say.
    """

    organs: Annotated[tuple[Words, ...], Field(min_length=1, strict=False)]
    eqd2_gy: Eqd2Gy
    alpha_beta_gy: Annotated[float, Field(ge=ALPHA_BETA_GY[0], le=ALPHA_BETA_GY[1])]
    volume_ml: Annotated[float, Field(ge=0.0, le=50.0)]
    from_months: Months = 0.0
    with_recovery: bool = False
    new_eqd2_gy: Eqd2Gy | None = None
    new_part: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None

    @model_validator(mode="after")
    def _new_within_all(self) -> Self:
        if self.new_eqd2_gy is not None and self.new_eqd2_gy > self.eqd2_gy:
            raise PydanticCustomError("new_above_all", "the new course may be more than all courses together")
        return self


class Recovery(Cited):
    """What part of an earlier dose is discounted from an interval on; a convention, not a law."""

    from_months: Months
    part: Part


class Reirradiation(Table):
    """All that the protocol says of earlier radiotherapy.

    Attributes:
        near: when a target is so near an earlier volume that no dose is proposed.
        limits: cumulative, by organ and interval.
        recovery_on: whether earlier dose is discounted at all. Off unless a clinic says so.
        recovery: by interval, in rising order; what it says is shown also where it is off.
        never_recovered: TG-263 names of organs whose earlier dose is never discounted.
    """

    near: NearEarlier
    limits: Annotated[tuple[CumulativeLimit, ...], Field(strict=False)] = ()
    recovery_on: bool = False
    recovery: Annotated[tuple[Recovery, ...], Field(strict=False)] = ()
    never_recovered: Annotated[tuple[Words, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _one_rule_for_one_case(self) -> Self:
        cases = [(organ, row.from_months) for row in self.limits for organ in row.organs]
        twice = sorted({organ for n, (organ, months) in enumerate(cases) if (organ, months) in cases[:n]})
        if twice:
            raise PydanticCustomError(
                "limit_twice", "two cumulative limits for {organs} at one interval", {"organs": ", ".join(twice)}
            )
        months = [row.from_months for row in self.recovery]
        parts = [row.part for row in self.recovery]
        if months != sorted(set(months)) or parts != sorted(parts):
            raise PydanticCustomError("recovery_order", "recovery by rising interval never falls")
        return self

    def limit_for(self, organ: str, months: float) -> CumulativeLimit | None:
        """The limit that holds for an organ (TG-263 name without a side) after an interval; None where none does.

        One that presumes recovery counts only where the clinic put recovery on.
        """
        held = [row for row in self.limits if organ in row.organs and row.from_months <= months]
        held = [row for row in held if self.recovery_on or not row.with_recovery]
        return max(held, key=lambda row: row.from_months, default=None)

    def recovered_part(self, organ: str, months: float) -> float:
        """What part of an earlier dose to an organ is discounted: 0 unless the clinic put recovery on."""
        if not self.recovery_on or organ in self.never_recovered:
            return 0.0
        limit = self.limit_for(organ, months)
        if limit is not None and limit.with_recovery:
            return 0.0
        return max((row.part for row in self.recovery if row.from_months <= months), default=0.0)
