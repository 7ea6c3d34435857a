"""From the text of ``history.toml`` to a `History`, or to all that is wrong with it, by line and field."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from datetime import date
from typing import Final

from pydantic import ValidationError

from psdt_planner.errors import InputError
from psdt_planner.history.model import FROM_A_PERSON, History, contradictions
from psdt_planner.tables import Place, defect, place_and_message

SCHEMA: Final = 1
"""Version of the file's shape."""

OURS: Final = ("name", "sha256", "source", "unread", "therapies_of_bundle")
"""Keys of a `History` that the file does not say itself."""

TODO: Final = "Whoever wrote this history must correct it."


def parse_history(text: str, name: str, *, exam_date: date) -> History:
    """The history in the text of a TOML file, checked against the day of the exam.

    Raises:
        InputError: the text is no TOML, a key is unknown, a value has no unit that is known, a date lies after the
            exam, or entries contradict each other. Every defect is named with its line and field, not only the first.
    """
    where = f"history {name}"
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", where=where, todo=TODO) from error
    if tables.pop("schema", None) != SCHEMA:
        raise InputError(f"schema must be {SCHEMA}", where=where, todo=TODO)
    defects = [defect(text, (key,), "comes from the file, not from a key") for key in OURS if key in tables]
    own = {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "source": FROM_A_PERSON, "unread": ()}
    try:
        history = History.model_validate({**tables, **own})
    except ValidationError as error:
        defects += [defect(text, *place_and_message(detail)) for detail in error.errors()]
        raise InputError("; ".join(defects), where=where, todo=TODO) from error
    found = [*_unfinished(history), *contradictions(history, exam_date)]
    defects += [defect(text, place, message) for place, message in found]
    if defects:
        raise InputError("; ".join(defects), where=where, todo=TODO)
    return history


def _unfinished(history: History) -> Iterator[tuple[Place, str]]:
    """A person must say whether a therapy goes on; a bundle need not."""
    for n, therapy in enumerate(history.therapies or ()):
        if therapy.start is None:
            yield ("therapies", n), "a therapy needs a start"
        if not therapy.ongoing and therapy.end is None:
            yield ("therapies", n), "a therapy needs an end, or ongoing = true"
