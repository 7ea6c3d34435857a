"""The clinical tables: regimens, margins, limits and α/β by site, each row with its source.

A protocol is a TOML file (``psdt_planner/protocols/demo.toml`` shows every key). This room reads its text, says line
and field of what is wrong with it, and decides nothing: `psdt_planner.fractionation` does. No clinical number stands
here; the bounds below only tell a typing mistake from a clinic's choice.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from psdt_planner.errors import ProtocolError
from psdt_planner.radiobiology import ALPHA_BETA_GY, MAX_DOSE_GY, MAX_FRACTIONS, bed_gy

SCHEMA: Final = 1
"""Version of the file's shape."""

SITE_KEYS: Final = ("spine", "bone", "pelvic-node", "paraaortic-node", "prostate")
"""Sites that a flag can have (`psdt_planner.lesions.FlaggedLesion.site`) and a protocol may hold rules for."""

DOSE_PER_FRACTION_GY: Final = (1.0, 30.0)
"""Outside of these a row of a stereotactic protocol is a typing mistake."""

WHOLE_CGY_TOLERANCE: Final = 1e-6
"""Rounding of binary numbers; a TG-263 name holds the dose per fraction in whole cGy."""

MAX_MARGIN_MM: Final = 30.0
"""Above this a margin is a mistake of unit."""

UNKNOWN_KEY: Final = "unknown_key"
"""Our name for the finding in pydantic's list."""

Certainty = Literal["H", "M", "L"]
"""How sure the row is: high, moderate, low."""

Basis = Literal["read", "transcribed", "recalled", "project-derived"]
"""How the row came here: the source was read; only a transcription was; neither, to be verified; or it is our own."""

Words = Annotated[str, Field(min_length=3)]
Place = tuple[str | int, ...]
"""Where in the file: keys and positions in lists, from the top."""


class _Table(BaseModel):
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


class Cited(_Table):
    """A row with its source."""

    source: Words
    """The publication, or what else the row rests on."""
    place: Words
    """Where in the source."""
    basis: Basis
    certainty: Certainty
    note: str = ""
    """What a reader of the proposal should know about this row."""

    @property
    def citation(self) -> str:
        """Source and place, with how the row came here where nobody read the source for it."""
        doubt = "" if self.basis in ("read", self.source) else f" ({self.basis})"
        return f"{self.source}, {self.place}{doubt}"


class AlphaBeta(Cited):
    """An α/β at which schedules are compared."""

    gy: Annotated[float, Field(ge=ALPHA_BETA_GY[0], le=ALPHA_BETA_GY[1])]
    meaning: Words
    """The tissue that it stands for."""

    @property
    def key(self) -> str:
        """The number as text, such as ``1.5`` or ``3``: the key of BED and EQD2 tables."""
        return f"{self.gy:g}"


class AblativeFloor(Cited):
    """The BED under which a regimen is not called ablative."""

    bed_gy: Annotated[float, Field(gt=0.0, le=500.0)]
    alpha_beta_gy: Annotated[float, Field(ge=ALPHA_BETA_GY[0], le=ALPHA_BETA_GY[1])]


class TargetCount(Cited):
    """How many progressive sites may be treated together."""

    warn_above: Annotated[int, Field(ge=1, le=50)]
    max: Annotated[int, Field(ge=1, le=50)]


class Margin(Cited):
    """A three-dimensional margin; a direction without its own key takes ``mm``."""

    mm: Annotated[float, Field(ge=0.0, le=MAX_MARGIN_MM)]
    right_mm: Annotated[float, Field(ge=0.0, le=MAX_MARGIN_MM)] | None = None
    left_mm: Annotated[float, Field(ge=0.0, le=MAX_MARGIN_MM)] | None = None
    anterior_mm: Annotated[float, Field(ge=0.0, le=MAX_MARGIN_MM)] | None = None
    posterior_mm: Annotated[float, Field(ge=0.0, le=MAX_MARGIN_MM)] | None = None
    inferior_mm: Annotated[float, Field(ge=0.0, le=MAX_MARGIN_MM)] | None = None
    superior_mm: Annotated[float, Field(ge=0.0, le=MAX_MARGIN_MM)] | None = None

    @property
    def lps_mm(self) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
        """Against and along each LPS axis: (right, left), (anterior, posterior), (inferior, superior)."""

        def pair(against: float | None, along: float | None) -> tuple[float, float]:
            return self.mm if against is None else against, self.mm if along is None else along

        return (
            pair(self.right_mm, self.left_mm),
            pair(self.anterior_mm, self.posterior_mm),
            pair(self.inferior_mm, self.superior_mm),
        )

    def __str__(self) -> str:
        names = ("right", "left", "anterior", "posterior", "inferior", "superior")
        own = [f"{name} {getattr(self, name + '_mm'):g}" for name in names if getattr(self, name + "_mm") is not None]
        return f"{self.mm:g} mm" + (f" ({', '.join(own)} mm)" if own else "")


class RegistrationMargin(Cited):
    """What part of a lesion's bound on its place joins the CTV to PTV margin, in quadrature."""

    factor: Annotated[float, Field(ge=0.0, le=3.0)]


class UncertaintyLimit(Cited):
    """The largest mapping uncertainty at which the site gets a proposal."""

    mm: Annotated[float, Field(gt=0.0, le=MAX_MARGIN_MM)]


class VolumeLimit(Cited):
    """The largest PTV for which the site gets a proposal."""

    ptv_ml: Annotated[float, Field(gt=0.0, le=5000.0)]


class Order(Cited):
    """Where the order of preference of a site's regimens comes from."""


class Condition(Cited):
    """What must hold for one regimen, beyond the limits of its site."""

    max_ptv_ml: Annotated[float, Field(gt=0.0, le=5000.0)] | None = None
    max_uncertainty_mm: Annotated[float, Field(gt=0.0, le=MAX_MARGIN_MM)] | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Condition:
        if self.max_ptv_ml is None and self.max_uncertainty_mm is None:
            raise PydanticCustomError("empty_condition", "a condition that asks for nothing")
        return self


class Regimen(Cited):
    """A dose in a number of fractions, for one site."""

    dose_gy: Annotated[float, Field(gt=0.0, le=MAX_DOSE_GY)]
    fractions: Annotated[int, Field(ge=1, le=MAX_FRACTIONS)]
    when: Condition | None = None
    listed_only: str = ""
    """Why this regimen is shown beside a proposal, but never proposed; empty where it may be."""

    @model_validator(mode="after")
    def _plausible(self) -> Regimen:
        per_fraction_gy = self.dose_gy / self.fractions
        low, high = DOSE_PER_FRACTION_GY
        if not low <= per_fraction_gy <= high:
            raise PydanticCustomError(
                "dose_per_fraction",
                "{dose} Gy a fraction is out of range ({low} to {high} Gy)",
                {"dose": f"{per_fraction_gy:g}", "low": f"{low:g}", "high": f"{high:g}"},
            )
        if abs(per_fraction_gy * 100.0 - round(per_fraction_gy * 100.0)) > WHOLE_CGY_TOLERANCE:
            raise PydanticCustomError(
                "whole_cgy", "{dose} Gy a fraction is no whole number of cGy", {"dose": f"{per_fraction_gy:.5g}"}
            )
        return self


class SiteRule(_Table):
    """All that the protocol says about one site."""

    title: Words
    gtv_to_ctv: Margin
    ctv_to_ptv: Margin
    max_uncertainty: UncertaintyLimit
    max_volume: VolumeLimit
    order: Order
    regimens: Annotated[tuple[Regimen, ...], Field(min_length=1, strict=False)]
    """In order of preference."""


class Protocol(_Table):
    """A protocol as one value.

    Attributes:
        name: what it is called, from the name of its file.
        sha256: of its text in UTF-8, hexadecimal.
        status: ``clinical`` only where a named person, the ``signer``, answers for it at a site.
        alpha_beta: values at which schedules are compared.
        registration_margin: how the uncertainty of a place widens the PTV; None where the margins hold it already.
        sites: by site key.
    """

    name: Words
    sha256: Words
    title: Words
    status: Literal["demo", "clinical"]
    signer: str = ""
    alpha_beta: Annotated[tuple[AlphaBeta, ...], Field(min_length=1, strict=False)]
    ablative_floor: AblativeFloor
    targets: TargetCount
    registration_margin: RegistrationMargin | None = None
    sites: Annotated[Mapping[str, SiteRule], Field(min_length=1)]


def parse_protocol(text: str, name: str) -> Protocol:
    """The protocol in the text of a TOML file, checked.

    Raises:
        ProtocolError: the text is no TOML, a key is missing or unknown, a row has no source, or a number is
            implausible. Every defect is named with its line and field, not only the first.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _refusal(name, [f"not TOML: {error}"]) from error
    if tables.pop("schema", None) != SCHEMA:
        raise _refusal(name, [f"schema must be {SCHEMA}"])
    own = {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    try:
        protocol = Protocol.model_validate({**tables, **own})
    except ValidationError as error:
        raise _refusal(name, [_defect(text, *_place_and_message(detail)) for detail in error.errors()]) from error
    defects = [_defect(text, place, message) for place, message in _contradictions(protocol)]
    given = sorted(own.keys() & tables.keys())
    defects += [_defect(text, (key,), "comes from the file, not from a key") for key in given]
    if defects:
        raise _refusal(name, defects)
    return protocol


def _contradictions(protocol: Protocol) -> Iterator[tuple[Place, str]]:
    """What no row says alone: rows that speak against each other."""
    if protocol.status == "clinical" and not protocol.signer:
        yield ("status",), "a clinical protocol needs a signer"
    if protocol.targets.warn_above > protocol.targets.max:
        yield ("targets", "warn_above"), "the warning comes after the limit"
    yield from _repeated(("alpha_beta",), [row.key for row in protocol.alpha_beta])
    for key, site in protocol.sites.items():
        place = ("sites", key)
        if key not in SITE_KEYS:
            nearest = difflib.get_close_matches(key, SITE_KEYS, n=1, cutoff=0.0)[0]
            yield place, f"unknown site; the nearest known site is {nearest}"
        yield from _repeated((*place, "regimens"), [f"{row.dose_gy:g} Gy in {row.fractions}" for row in site.regimens])
        for index, row in enumerate(site.regimens):
            yield from _below_floor((*place, "regimens", index), row, protocol.ablative_floor)


def _below_floor(place: Place, row: Regimen, floor: AblativeFloor) -> Iterator[tuple[Place, str]]:
    """A regimen under the floor may be listed, with the reason, and not proposed."""
    bed = bed_gy(dose_gy=row.dose_gy, fractions=row.fractions, alpha_beta_gy=floor.alpha_beta_gy)
    if bed < floor.bed_gy and not row.listed_only:
        schedule = f"{row.dose_gy:g} Gy in {row.fractions}"
        limit = f"{floor.bed_gy:g} Gy at α/β {floor.alpha_beta_gy:g} Gy"
        yield place, f"{schedule} has a BED of {bed:.1f} Gy, below the ablative floor of {limit}; say so in listed_only"


def _repeated(place: Place, keys: list[str]) -> Iterator[tuple[Place, str]]:
    for index, key in enumerate(keys):
        if key in keys[:index]:
            yield (*place, index), f"{key} is there twice"


def _place_and_message(detail: ErrorDetails) -> tuple[Place, str]:
    """Of one finding of pydantic's; an unknown key is the end of its own place."""
    key = (detail["ctx"]["key"],) if detail["type"] == UNKNOWN_KEY else ()
    return (*detail["loc"], *key), detail["msg"]


def _refusal(name: str, defects: list[str]) -> ProtocolError:
    return ProtocolError(
        "; ".join(defects), where=f"protocol {name}", todo="Whoever keeps this protocol must correct it."
    )


def _defect(text: str, place: Place, message: str) -> str:
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
    line = _line_of(text, place)
    return ", ".join(filter(None, [f"line {line}" if line else "", field])) + f": {message}"


def _line_of(text: str, place: Place) -> int | None:
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
