"""What no row says alone: rows that speak against each other, or of what nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from psdt_planner.protocol.constraints import BINDING, Constraint, ConstraintSet, OrganRow
from psdt_planner.protocol.rows import AblativeFloor, Condition, Protocol, Regimen, SiteRule
from psdt_planner.radiobiology import bed_gy
from psdt_planner.tables import Place
from psdt_planner.tg263 import ANATOMY

SITE_KEYS: Final = (
    "spine", "bone", "femur", "rib", "skull", "pelvic-node", "paraaortic-node", "mediastinal-node", "neck-node",
    "lung-peripheral", "lung-central", "liver", "adrenal", "prostate", "prostate-recurrence", "brain",
)  # fmt: skip
"""Sites that a flag can have (`psdt_planner.lesions.FlaggedLesion.site`) and a protocol may hold rules for."""

ROOTS: Final = frozenset(name.removesuffix("_L").removesuffix("_R") for name in ANATOMY)
"""TG-263 names without a side."""


def contradictions(protocol: Protocol) -> Iterator[tuple[Place, str]]:
    """Every contradiction, with its place."""
    if protocol.status == "clinical" and not protocol.signer:
        yield ("status",), "a clinical protocol needs a signer"
    if protocol.targets.warn_above > protocol.targets.max:
        yield ("targets", "warn_above"), "the warning comes after the limit"
    yield from _repeated(("alpha_beta",), [row.key for row in protocol.alpha_beta])
    for key, site in protocol.sites.items():
        yield from _of_site(("sites", key), key, site, protocol)
    yield from _of_organs(protocol.organs, protocol)
    for key, one in protocol.sets.items():
        yield from _of_set(("sets", key), one, protocol.organs)


def _of_site(place: Place, key: str, site: SiteRule, protocol: Protocol) -> Iterator[tuple[Place, str]]:
    if key not in SITE_KEYS:
        nearest = difflib.get_close_matches(key, SITE_KEYS, n=1, cutoff=0.0)[0]
        yield place, f"unknown site; the nearest known site is {nearest}"
    if site.spare and protocol.overlaps is None:
        yield (*place, "spare"), "organs to spare need a table [overlaps], which says what an overlap is"
    if site.sectors and site.ctv_in_bone:
        yield (*place, "sectors"), "the CTV comes from the sectors or from the bone, not from both"
    yield from _repeated((*place, "spare"), [row.organ for row in site.spare])
    for organ in site.asked.organs if site.asked else ():
        if organ not in protocol.organs:
            yield (*place, "asked"), f"{organ} is asked for and has no row among the organs"
    cases = [f"{row.dose_gy:g} Gy in {row.fractions}" for row in site.regimens]
    yield from _repeated((*place, "regimens"), cases)
    for index, row in enumerate(site.regimens):
        yield from _below_floor((*place, "regimens", index), row, protocol.ablative_floor)
        yield from _never((*place, "regimens", index), row, site, protocol)


def _below_floor(place: Place, row: Regimen, floor: AblativeFloor) -> Iterator[tuple[Place, str]]:
    """A regimen under the floor may be listed, with the reason, and not proposed."""
    bed = bed_gy(dose_gy=row.dose_gy, fractions=row.fractions, alpha_beta_gy=floor.alpha_beta_gy)
    if bed < floor.bed_gy and not row.listed_only:
        schedule = f"{row.dose_gy:g} Gy in {row.fractions}"
        limit = f"{floor.bed_gy:g} Gy at α/β {floor.alpha_beta_gy:g} Gy"
        yield place, f"{schedule} has a BED of {bed:.1f} Gy, below the ablative floor of {limit}; say so in listed_only"


def _never(place: Place, row: Regimen, site: SiteRule, protocol: Protocol) -> Iterator[tuple[Place, str]]:
    """A condition that no target can meet, that every target of the site meets, or of an organ that nobody knows."""
    when = row.when or Condition.model_construct()
    for organ in when.clear_of:
        if organ not in protocol.organs:
            yield (*place, "when"), f"{organ} has no row among the organs"
    low, high = when.above_diameter_mm, when.max_diameter_mm
    if low is not None and high is not None and low >= high:
        yield (*place, "when"), f"nothing is larger than {low:g} mm and at most {high:g} mm"
    if when.max_ptv_ml is not None and when.max_ptv_ml > site.max_volume.ptv_ml:
        yield (*place, "when"), "the site allows no PTV so large"
    if when.max_uncertainty_mm is not None and when.max_uncertainty_mm > site.max_uncertainty.mm:
        yield (*place, "when"), "the site allows no uncertainty so large"


def _of_organs(organs: Mapping[str, OrganRow], protocol: Protocol) -> Iterator[tuple[Place, str]]:
    known: dict[str, str] = {}
    for key, row in organs.items():
        place: Place = ("organs", key)
        for name in sorted({key, *row.names} - ROOTS):
            nearest = difflib.get_close_matches(name, ROOTS, n=1, cutoff=0.0)[0]
            yield place, f"{name} is no TG-263 name without a side; the nearest is {nearest}"
        for name in (key, *row.names, *row.aliases):
            other = known.setdefault(folded(name), key)
            if other != key:
                yield place, f"{name} means {other} as well"
        yield from ((place, f"answered by {name}, which has no row") for name in row.answered_by if name not in organs)
        absent = [name for name in row.sets if name not in protocol.sets]
        yield from ((place, f"asks the set {name}, which is not there") for name in absent)
    for name in protocol.set_order.sets if protocol.set_order else ():
        if name not in protocol.sets:
            yield ("set_order",), f"names the set {name}, which is not there"


def _of_set(place: Place, one: ConstraintSet, organs: Mapping[str, OrganRow]) -> Iterator[tuple[Place, str]]:
    cells: dict[tuple[str, str, str, int], int] = {}
    for index, row in enumerate(one.rows):
        here = (*place, "rows", index)
        if row.organ not in organs:
            yield here, f"{row.organ} has no row among the organs"
        for fractions in row.limit:
            if cells.setdefault((row.organ, row.metric, row.kind, fractions), index) != index:
                yield here, f"{row.organ} {row.metric} {row.kind} in {fractions} fractions is there twice"
    yield from _looser(place, one.rows)


def _looser(place: Place, rows: Sequence[Constraint]) -> Iterator[tuple[Place, str]]:
    """A limit that is looser at fewer fractions, and an optimal one that is looser than what binds."""
    for index, row in enumerate(rows):
        here = (*place, "rows", index)
        for other in rows:
            if (other.organ, other.metric, other.unit) != (row.organ, row.metric, "Gy") or other is row:
                continue
            if other.kind == row.kind:
                looser = [(n, m) for n in row.limit for m in other.limit if n < m and row.limit[n] > other.limit[m]]
                yield from (
                    (here, f"{row.organ} {row.metric} is looser in {n} fractions than in {m}") for n, m in looser
                )
            elif row.kind == "optimal" and other.kind in BINDING:
                over = [n for n in row.limit if n in other.limit and row.limit[n] > other.limit[n]]
                yield from (
                    (here, f"{row.organ} {row.metric}: optimal in {n} is looser than {other.kind}") for n in over
                )


def _repeated(place: Place, keys: list[str]) -> Iterator[tuple[Place, str]]:
    for index, key in enumerate(keys):
        if key in keys[:index]:
            yield (*place, index), f"{key} is there twice"


def folded(name: str) -> str:
    """A name without case, blanks, hyphens and underscores."""
    return "".join(letter for letter in name.casefold() if letter not in " _-")
