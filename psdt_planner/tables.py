"""What every TOML file of ours has in common: no key that nobody knows, and defects told by line and field."""

from __future__ import annotations

import difflib
import itertools
import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

UNKNOWN_KEY: Final = "unknown_key"
"""Our name for the finding in pydantic's list."""

Words = Annotated[str, Field(min_length=3)]
Place = tuple[str | int, ...]
"""Where in the file: keys and positions in lists, from the top."""


class Table(BaseModel):
    """A table of the file: frozen, and with no key that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                nearest = difflib.get_close_matches(key, cls.model_fields, n=1, cutoff=0.0)[0]
                raise PydanticCustomError(
                    UNKNOWN_KEY,
                    "unknown key {key}; the nearest known key is {nearest}",
                    {"key": key, "nearest": nearest},
                )
        return data


def place_and_message(detail: ErrorDetails) -> tuple[Place, str]:
    """Of one finding of pydantic's; an unknown key is the end of its own place."""
    key = (detail["ctx"]["key"],) if detail["type"] == UNKNOWN_KEY else ()
    return (*detail["loc"], *key), detail["msg"]


def defect(text: str, place: Place, message: str) -> str:
    """A defect of a file in words, with its line where that can be found."""
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
    line = line_of(text, place)
    return ", ".join(filter(None, [f"line {line}" if line else "", field])) + f": {message}"


def line_of(text: str, place: Place) -> int | None:
    """Line of the key, or of the nearest table above it; None where no header of the way is in the file.

    Each step is looked for below the line of the step before: as a key of the table that stands there, else as a
    header, which for a list of tables is repeated once an item.
    """
    lines, found, table = text.splitlines(), 0, ""
    for n, step in enumerate(place):
        if isinstance(step, int):
            continue
        following = place[n + 1] if n + 1 < len(place) else 0
        table = f"{table}.{step}".lstrip(".")
        rest = list(enumerate(lines[found:], start=found + 1))
        own = itertools.takewhile(lambda row: not row[1].lstrip().startswith("["), rest)
        keys = [number for number, line in own if re.match(rf"\s*{re.escape(step)}\s*=", line)]
        headers = [number for number, line in rest if re.match(rf"\s*\[+\s*{re.escape(table)}\s*\]", line)]
        nth = following if isinstance(following, int) else 0
        found = keys[0] if keys else headers[nth] if nth < len(headers) else found
    return found or None
