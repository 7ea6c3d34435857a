"""Two protocols row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from psdt_planner.protocol.rows import Protocol

OWN = ("name", "sha256")
"""What tells two protocols apart without being said by them."""

KEYS = ("dose_gy", "fractions", "organ", "metric", "kind", "organs", "from_months", "gy", "ptv_ml", "gtv", "extent")
"""Fields that name a row of a list, so that a row that moved is not two that changed."""


@dataclass(frozen=True)
class Difference:
    """One value that two protocols have otherwise; empty where one of them does not have it."""

    place: str
    before: str
    after: str


def differences(before: Protocol, after: Protocol) -> Iterator[Difference]:
    """What the second says otherwise than the first, in the order of the first; what it adds comes last."""
    one, other = dict(_values(before, "")), dict(_values(after, ""))
    for place in dict.fromkeys([*one, *other]):
        if one.get(place) != other.get(place):
            yield Difference(place, one.get(place, ""), other.get(place, ""))


def _values(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every value of a table as text, by its place."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            if place or name not in OWN:
                yield from _values(getattr(value, name), f"{place}.{name}".lstrip("."))
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _values(one, f"{place}.{key}")
    elif isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
        yield place, ", ".join(_row_name(one) for one in value)
        for one in value:
            yield from _values(one, f"{place}[{_row_name(one)}]")
    elif isinstance(value, tuple):
        yield place, ", ".join(map(str, value))
    elif value is not None:
        yield place, f"{value:g}" if isinstance(value, float) else str(value)


def _row_name(row: Any) -> str:
    parts = [getattr(row, key) for key in KEYS if key in type(row).model_fields]
    told = [
        "+".join(part) if isinstance(part, tuple) else f"{part:g}" if isinstance(part, float) else str(part)
        for part in parts
        if part
    ]
    if "dose_gy" in type(row).model_fields:
        return "/".join(told)
    return " ".join(told)
