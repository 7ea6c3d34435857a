"""The rows of a protocol about organs: what each is called, at what α/β it is judged, and what it may get, by source.

A source set is kept as one publication has it; no number is merged with another's. Which set an organ asks first stands
with the organ.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from psdt_planner.protocol.cited import Basis, Certainty, Cited
from psdt_planner.radiobiology import ALPHA_BETA_GY, MAX_DOSE_GY, MAX_FRACTIONS
from psdt_planner.tables import Table, Words

Kind = Literal["optimal", "mandatory", "max", "threshold"]
"""What a limit asks for: better kept, to be kept, the maximum at a point, or the dose above which a volume counts."""

BINDING: Final = ("mandatory", "max")
"""Kinds that a plan must keep."""

METRIC: Final = re.compile(r"D(?P<cc>[0-9.]+)cc|D[0-9.]+%|mean|CV[0-9.]+cc|V[0-9.]+Gy")
"""``D0.1cc``: least dose of the hottest 0.1 cc. ``CV700cc``: most dose of the coldest 700 cc, which must be spared.
``V12Gy``: volume that gets 12 Gy."""

FROM_SET: Final = ("source", "place", "basis", "certainty")
"""Keys that a row of a set takes from the set where it has none of its own."""


class OrganRow(Cited):
    """An organ at risk; its citation is that of its α/β.

    Attributes:
        alpha_beta_gy: for late reactions.
        names: other TG-263 names, without a side, of what counts as this organ.
        aliases: what else it is called in structure sets, without a side; case, blanks and underscores do not matter.
        answered_by: organs that stand for this one where they are contoured at the height of a target.
        runs_along: it runs through the body past many heights: contours that end before the target tell nothing there.
        sets: source sets in the order in which they are asked; empty where the protocol's order holds.
    """

    alpha_beta_gy: Annotated[float, Field(ge=ALPHA_BETA_GY[0], le=ALPHA_BETA_GY[1])]
    names: Annotated[tuple[Words, ...], Field(strict=False)] = ()
    aliases: Annotated[tuple[Annotated[str, Field(min_length=2)], ...], Field(strict=False)] = ()
    answered_by: Annotated[tuple[Words, ...], Field(strict=False)] = ()
    runs_along: bool = False
    sets: Annotated[tuple[Words, ...], Field(strict=False)] = ()


class SetOrder(Cited):
    """The order in which source sets are asked for a limit, where an organ has no order of its own."""

    sets: Annotated[tuple[Words, ...], Field(min_length=1, strict=False)]


class Constraint(Cited):
    """One line of a source's table: what an organ may get, by number of fractions.

    Attributes:
        organ: key of the protocol's organs.
        metric: as `METRIC` says.
        kind: what the limit asks for.
        unit: of the values.
        limit: by number of fractions.
        unknown: numbers of fractions whose cell the source has and psdt could not read; shown as ``?``, never filled.
    """

    organ: Words
    metric: str
    kind: Kind
    unit: Literal["Gy", "cc", "%"] = "Gy"
    limit: Mapping[Annotated[int, Field(ge=1, le=MAX_FRACTIONS)], Annotated[float, Field(gt=0.0, le=MAX_DOSE_GY)]]
    unknown: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_FRACTIONS)], ...], Field(strict=False)] = ()

    @field_validator("limit", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        """Keys of TOML are text."""
        if not isinstance(value, dict):
            return value
        return {int(key) if isinstance(key, str) and key.isdecimal() else key: limit for key, limit in value.items()}

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        if not METRIC.fullmatch(self.metric):
            raise PydanticCustomError("metric", "{metric} is no metric of dose and volume", {"metric": self.metric})
        if (self.unit == "Gy") == self.metric.startswith("V"):
            raise PydanticCustomError(
                "unit", "{metric} is not stated in {unit}", {"metric": self.metric, "unit": self.unit}
            )
        if not self.limit or set(self.limit) & set(self.unknown):
            raise PydanticCustomError("cells", "a row without a value, or a cell that is known and unknown")
        fractions = sorted(self.limit)
        for fewer, more in itertools.pairwise(fractions):
            if self.unit == "Gy" and self.limit[fewer] > self.limit[more]:
                raise PydanticCustomError(
                    "looser",
                    "{organ} {metric} is looser in {fewer} fractions ({a} Gy) than in {more} ({b} Gy)",
                    {"organ": self.organ, "metric": self.metric, "fewer": fewer, "more": more}
                    | {"a": f"{self.limit[fewer]:g}", "b": f"{self.limit[more]:g}"},
                )
        return self

    @property
    def hottest_ml(self) -> float | None:
        """The volume of a ``D...cc`` metric; None of any other."""
        found = METRIC.fullmatch(self.metric)
        return float(found["cc"]) if found and found["cc"] else None


class ConstraintSet(Table):
    """The limits of one source, whose citation each row takes where it has none of its own."""

    title: Words
    source: Words
    place: Words
    basis: Basis
    certainty: Certainty
    note: str = ""
    rows: Annotated[tuple[Constraint, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="before")
    @classmethod
    def _cited(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("rows"), list):
            return data
        own = {key: data[key] for key in FROM_SET if key in data}
        return {**data, "rows": [{**own, **row} if isinstance(row, dict) else row for row in data["rows"]]}


@dataclass(frozen=True)
class Limit:
    """One cell of a source's table: what an organ may get in a number of fractions.

    Attributes:
        organ, metric, kind, unit: as the row has them.
        fractions: that the value is for.
        value: in ``unit``.
        set_key: of the source set.
        citation, basis, certainty: of the row.
        converted_from: number of fractions of the cell that this was computed from, by equal EQD2; None where the
            source itself has the cell.
    """

    organ: str
    metric: str
    kind: Kind
    unit: str
    fractions: int
    value: float
    set_key: str
    citation: str
    basis: Basis
    certainty: Certainty
    converted_from: int | None = None

    def __str__(self) -> str:
        """Such as ``D0.1cc 25.2 Gy (uk-2022 mandatory)``, with what makes it unsure."""
        how = f", converted from {self.converted_from} fractions" if self.converted_from else ""
        doubt = ", low certainty" if self.certainty == "L" else ""
        return f"{self.metric} {self.value:.4g} {self.unit} ({self.set_key} {self.kind}{how}{doubt})"
