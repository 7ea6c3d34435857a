"""The files of one protocol brought together: those of the protocol itself, and what a clinic lays over it.

A protocol may stand in several files, of which none says the same thing twice: ``sites``, ``organs`` and ``sets`` may
be spread over them by key, everything else stands in one. A clinic's file names the protocol that it lies over in
``base``, and replaces whole rows: a row is never half one's and half the other's, since it has one source.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from psdt_planner.tables import Place, defect, line_of

SCHEMA: Final = 1
"""Version of the files' shape."""

SPREAD: Final = ("sites", "organs", "sets")
"""Tables whose keys may stand in several files."""

BASE: Final = "base"
"""Key of a clinic's file: the protocol that it lies over."""


@dataclass
class Joined:
    """Tables of several files as one, and which file each part came from.

    Attributes:
        tables: as one file would have them.
        texts: of the files, by name.
        owners: file of every place that a file gave as a whole.
        defects: what is wrong before anything is validated.
    """

    tables: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    owners: dict[Place, str] = field(default_factory=dict)
    defects: list[str] = field(default_factory=list)

    def defect(self, place: Place, message: str) -> str:
        """A defect in words, with its file where there are several, and its line there."""
        owner = next((self.owners[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.owners), "")
        text = self.texts.get(owner, "" if len(self.texts) > 1 else next(iter(self.texts.values())))
        named = f"{owner}, " if owner and len(self.texts) > 1 else ""
        return named + defect(text, place, message)


def joined(files: Mapping[str, str], overlay: tuple[str, str] | None = None) -> Joined:
    """The files of a protocol, and over them a clinic's file (its name and text) where there is one."""
    found = Joined()
    for name, text in files.items():
        tables = _read(found, name, text)
        if BASE in tables:
            found.defects.append(found.defect((BASE,), "only a file that is laid over a protocol names its base"))
        for place, value in _parts(tables):
            _put(found, name, place, value, replace=False)
    if overlay is not None:
        name, text = overlay
        tables = _read(found, name, text)
        tables.pop(BASE, None)
        for place, value in _overlaid(found, tables):
            _put(found, name, place, value, replace=True)
    return found


def base_of(text: str) -> str:
    """The protocol that a file lies over; empty where it stands alone, or is no TOML."""
    try:
        base = tomllib.loads(text).get(BASE, "")
    except tomllib.TOMLDecodeError:
        return ""
    return base if isinstance(base, str) else ""


def _read(found: Joined, name: str, text: str) -> dict[str, Any]:
    found.texts[name] = text
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found.defects.append(f"{name + ', ' if len(found.texts) > 1 else ''}not TOML: {error}")
        return {}
    if tables.pop("schema", None) != SCHEMA:
        found.defects.append(f"{name + ', ' if len(found.texts) > 1 else ''}schema must be {SCHEMA}")
    return tables


def _parts(tables: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """What a file gives as a whole, with its place."""
    for key, value in tables.items():
        if key in SPREAD and isinstance(value, dict):
            yield from (((key, inner), part) for inner, part in value.items())
        else:
            yield (key,), value


def _overlaid(found: Joined, tables: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """What a clinic's file replaces: rows of a site that is known one by one, everything else as a whole."""
    for place, value in _parts(tables):
        known = found.tables.get("sites", {})
        if place[0] == "sites" and len(place) == 2 and place[1] in known and isinstance(value, dict):
            yield from (((*place, row), part) for row, part in value.items())
        else:
            yield place, value


def _put(found: Joined, file: str, place: Place, value: Any, *, replace: bool) -> None:
    table = found.tables
    for step in place[:-1]:
        table = table.setdefault(str(step), {})
        if not isinstance(table, dict):
            return
    if place[-1] in table and not replace:
        where = f"{file}, line {line_of(found.texts[file], place)}, {'.'.join(map(str, place))}"
        found.defects.append(f"{where}: stands in {found.owners.get(place, 'another file')} as well")
        return
    table[str(place[-1])] = value
    found.owners[place] = file
