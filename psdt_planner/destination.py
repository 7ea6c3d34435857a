"""What a planning system takes: holes, names, rings, character set and the objects beside the structure set.

A destination is a small TOML file (``psdt_planner/destinations/generic.toml`` shows every key). Vendors publish little
of this, so every rule names its source, or says ``site test``: then only a site's own acceptance test can tell.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from psdt_planner.errors import ConfigurationError
from psdt_planner.geometry import Points
from psdt_planner.shapes import MAX_RING_BYTES, HoleRule, Roi, StructureSet
from psdt_planner.tables import Table, Words, defect, place_and_message

SCHEMA: Final = 1
"""Version of the file's shape."""

SITE_TEST: Final = "site test"
"""The source of a rule that no public document states: to be tried at the site before anybody relies on it."""

CharacterSet = Literal["keep", "ISO_IR 100", "ISO_IR 192"]
"""``keep``: the planning CT's where it can write our words too, else ISO_IR 192."""


class Rule(Table):
    """One rule with where it comes from."""

    source: Words
    """The document, or ``site test``."""
    note: str = ""
    """What a site should know."""


class Holes(Rule):
    """How a region with a hole is written."""

    rule: Annotated[HoleRule, Field(strict=False)]


class Names(Rule):
    """What ROIName and ROIObservationLabel may be; unique without regard to case in any case."""

    max_length: Annotated[int, Field(ge=4, le=64)]
    characters: str
    """Characters allowed beside ASCII letters and digits."""


class Rings(Rule):
    """How long one ring may be."""

    max_points: Annotated[int, Field(ge=3, le=100_000)]
    max_bytes: Annotated[int, Field(ge=100, le=MAX_RING_BYTES)]


class Rois(Rule):
    """How many ROIs one set may have before it gets slow or is refused."""

    max_count: Annotated[int, Field(ge=1)]


class CharacterSets(Rule):
    """SpecificCharacterSet."""

    rule: CharacterSet


class Sent(Rule):
    """Whether an object is written for this destination, and so sent to it on release."""

    send: bool


class External(Rule):
    """What the destination makes of an outline of the body."""

    handling: Words


class Destination(Table):
    """All rules of one destination.

    Attributes:
        name: what it is called, from the name of its file.
        sha256: of its text in UTF-8, hexadecimal.
        registration, report: the Spatial Registration and the Encapsulated PDF.
        beamless_plan, physician_intent: the proposal as an RT Plan without beams, and as an RT Physician Intent; not
            written where they are absent.
        rois: None where nobody tells of a limit.
    """

    name: Words
    sha256: Words
    title: Words
    holes: Holes
    names: Names
    rings: Rings
    character_set: CharacterSets
    registration: Sent
    report: Sent
    beamless_plan: Sent | None = None
    physician_intent: Sent | None = None
    external: External
    rois: Rois | None = None

    @property
    def sends_plan(self) -> bool:
        """Whether an RT Plan without beams is written; off unless the file says so."""
        return self.beamless_plan is not None and self.beamless_plan.send

    @property
    def sends_intent(self) -> bool:
        """Whether an RT Physician Intent is written; off unless the file says so."""
        return self.physician_intent is not None and self.physician_intent.send

    def check(self, structure_set: StructureSet) -> None:
        """Refuse what this destination would refuse, cut or rename.

        Raises:
            ConfigurationError: every name and ring that breaks a rule.
        """
        found = [words for roi in structure_set.rois for words in self._broken(roi)]
        if found:
            raise ConfigurationError(
                f"destination {self.name} does not take {'; '.join(found)}",
                todo="Choose another destination, or correct its rules.",
            )

    def _broken(self, roi: Roi) -> Iterator[str]:
        if len(roi.name) > self.names.max_length:
            yield f"the name {roi.name} of {len(roi.name)} characters (at most {self.names.max_length})"
        strange = {letter for letter in roi.name if not (letter.isascii() and letter.isalnum())}
        if strange - set(self.names.characters):
            yield f"the name {roi.name} with {' '.join(sorted(strange - set(self.names.characters)))}"
        points = max((ring.points_mm for ring in roi.contours), key=len, default=None)
        if points is not None and len(points) > self.rings.max_points:
            yield f"a ring of {roi.name} with {len(points)} points (at most {self.rings.max_points})"
        length = max((_length(ring.points_mm) for ring in roi.contours), default=0)
        if length > self.rings.max_bytes:
            yield f"a ring of {roi.name} with {length} bytes (at most {self.rings.max_bytes})"


def _length(points_mm: Points) -> int:
    """Bytes of ContourData: three decimals, a backslash between two numbers, even."""
    micrometres = np.abs(np.rint(points_mm * 1000.0)).astype(np.int64)
    digits = np.maximum(np.floor(np.log10(np.maximum(micrometres, 1))).astype(int) + 1, 4)
    minus = np.rint(points_mm * 1000.0) < 0
    length = int((digits + 1 + minus).sum()) + points_mm.size - 1
    return length + length % 2


def parse_destination(text: str, name: str) -> Destination:
    """The destination in the text of a TOML file, checked.

    Raises:
        ConfigurationError: the text is no TOML, a key is missing or unknown, or a rule has no source. Every defect is
            named with its line and field.
    """
    where = f"destination {name}"
    todo = "Whoever keeps this destination must correct it."
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not TOML: {error}", where=where, todo=todo) from error
    if tables.pop("schema", None) != SCHEMA:
        raise ConfigurationError(f"schema must be {SCHEMA}", where=where, todo=todo)
    own = {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    given = [defect(text, (key,), "comes from the file, not from a key") for key in sorted(own.keys() & tables.keys())]
    try:
        destination = Destination.model_validate({**tables, **own})
    except ValidationError as error:
        given += [defect(text, *place_and_message(detail)) for detail in error.errors()]
        raise ConfigurationError("; ".join(given), where=where, todo=todo) from error
    if given:
        raise ConfigurationError("; ".join(given), where=where, todo=todo)
    return destination
