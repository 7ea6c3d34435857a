"""The rows of a protocol: regimens, margins, limits and α/β by site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from psdt_planner.protocol.anatomy import InBone, Overlaps, Sectors, Skin, Spare
from psdt_planner.protocol.cited import Cited
from psdt_planner.protocol.constraints import ConstraintSet, OrganRow, SetOrder
from psdt_planner.protocol.falloff import FallOff, LinearContinuation
from psdt_planner.protocol.reirradiation import Reirradiation
from psdt_planner.radiobiology import ALPHA_BETA_GY, MAX_DOSE_GY, MAX_FRACTIONS
from psdt_planner.tables import Table, Words

DOSE_PER_FRACTION_GY: Final = (1.0, 34.0)
"""Outside of these a row of a stereotactic protocol is a typing mistake."""

WHOLE_CGY_TOLERANCE: Final = 1e-6
"""Rounding of binary numbers; a TG-263 name holds the dose per fraction in whole cGy."""

MAX_MARGIN_MM: Final = 30.0
"""Above this a margin is a mistake of unit."""


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
    """What must hold for one regimen, beyond the limits of its site.

    Attributes:
        max_ptv_ml: volume of the PTV.
        above_diameter_mm, max_diameter_mm: the GTV's largest extent lies above the one, and not above the other.
        max_uncertainty_mm: bound on the lesion's place.
        max_targets: how many progressive sites are treated together.
        min_months_since: interval since earlier radiotherapy to the same place; where nobody knows of any, or its date,
            the condition does not hold.
        clear_of: organs that the PTV does not touch, and keeps ``clear_mm`` away from; where one is not contoured, the
            condition does not hold.
    """

    max_ptv_ml: Annotated[float, Field(gt=0.0, le=5000.0)] | None = None
    above_diameter_mm: Annotated[float, Field(ge=0.0, le=500.0)] | None = None
    max_diameter_mm: Annotated[float, Field(gt=0.0, le=500.0)] | None = None
    max_uncertainty_mm: Annotated[float, Field(gt=0.0, le=MAX_MARGIN_MM)] | None = None
    max_targets: Annotated[int, Field(ge=1, le=50)] | None = None
    min_months_since: Annotated[float, Field(gt=0.0, le=600.0)] | None = None
    clear_of: Annotated[tuple[Words, ...], Field(strict=False)] = ()
    clear_mm: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0

    @model_validator(mode="after")
    def _asks_for_something(self) -> Condition:
        asked = [getattr(self, name) for name in type(self).model_fields if name.startswith(("max_", "min_", "above_"))]
        if all(one is None for one in asked) and not self.clear_of:
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


class AskedOrgans(Cited):
    """Organs that must be contoured beside a site's targets; one that is not is said to be not evaluated."""

    organs: Annotated[tuple[Words, ...], Field(min_length=1, strict=False)]


class SiteRule(Table):
    """All that the protocol says about one site.

    Attributes:
        asked: organs that a screen must have seen; None where the site asks for none.
        ctv_in_bone: where the CTV is kept inside the bone; None where the margin goes everywhere.
        sectors: how the sectors of a vertebra make the CTV; None where the margin alone does.
        spare: organs that the PTV is cut by; one that is not contoured is said not to be evaluated.
        regimens: in order of preference.
    """

    title: Words
    gtv_to_ctv: Margin
    ctv_in_bone: InBone | None = None
    sectors: Sectors | None = None
    ctv_to_ptv: Margin
    spare: Annotated[tuple[Spare, ...], Field(strict=False)] = ()
    asked: AskedOrgans | None = None
    max_uncertainty: UncertaintyLimit
    max_volume: VolumeLimit
    order: Order
    regimens: Annotated[tuple[Regimen, ...], Field(min_length=1, strict=False)]


class Protocol(Table):
    """A protocol as one value.

    Attributes:
        name: what it is called, from the name of its file.
        sha256: of its text in UTF-8, hexadecimal; of several files, of their names and hashes in order.
        status: ``clinical`` only where a named person, the ``signer``, answers for it at a site.
        alpha_beta: values at which schedules are compared.
        registration_margin: how the uncertainty of a place widens the PTV; None where the margins hold it already.
        skin: how far targets keep from the surface of the body; None where they may reach it and beyond.
        overlaps: what counts as an overlap, and what is done about it.
        lql: when LQ-L is shown beside LQ; None where it never is.
        organs: organs at risk by TG-263 name without a side.
        set_order: in which order source sets are asked.
        sets: limits by source.
        falloff: what the distance screen rests on; None where nothing is screened.
        reirradiation: what holds beside earlier radiotherapy; None where the protocol says nothing of it.
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
    skin: Skin | None = None
    overlaps: Overlaps | None = None
    lql: LinearContinuation | None = None
    organs: Mapping[str, OrganRow] = {}
    set_order: SetOrder | None = None
    sets: Mapping[str, ConstraintSet] = {}
    falloff: FallOff | None = None
    reirradiation: Reirradiation | None = None
    sites: Annotated[Mapping[str, SiteRule], Field(min_length=1)]

    def rows(self) -> Iterator[tuple[str, Cited]]:
        """Every row that has a source of its own, with its place, such as ``sites.spine.ctv_to_ptv``."""
        yield from _rows(self, "")


def _rows(value: object, place: str) -> Iterator[tuple[str, Cited]]:
    if isinstance(value, Cited):
        yield place, value
    if isinstance(value, Table):
        for name in type(value).model_fields:
            yield from _rows(getattr(value, name), f"{place}.{name}".lstrip("."))
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _rows(one, f"{place}.{key}")
    elif isinstance(value, tuple):
        for n, one in enumerate(value):
            yield from _rows(one, f"{place}[{n}]")
