"""What a person wrote and what a bundle holds, as one `History`; where they contradict each other, neither is taken."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from psdt_planner.errors import InputError
from psdt_planner.history.model import FROM_BOTH, NMOL_PER_L, History, Psa, Testosterone, contradictions

ROUNDING: Final = 0.02
"""Two values of one day are one where they differ by no more than this part: units are converted and rounded."""

TODO: Final = "Find out which is right, and correct the other."


def joined(person: History, bundle: History) -> History:
    """All that both tell, as of the later of their reference dates.

    A course of radiotherapy that both tell stands twice: counting one too many is the safe mistake. Poly- and
    oligometastatic disease, progression on images and RAC are the person's alone. Where the person lists the
    therapies, that list is whole and the bundle's is held against it.

    Raises:
        InputError: they contradict each other: the day of diagnosis, two values of one day, a therapy that the person
            does not list or says is over. Every contradiction is named.
    """
    found = [*_diagnoses(person, bundle), *_therapies(person, bundle)]
    for key in ("psa", "testosterone"):
        found += _values(key, getattr(person, key) or (), getattr(bundle, key) or ())
    where = f"{person.name} and {bundle.name}"
    if found:
        raise InputError("; ".join(found), where=where, todo=TODO)
    both: dict[str, Any] = {
        "name": f"{person.name}, {bundle.name}",
        "sha256": hashlib.sha256((person.sha256 + bundle.sha256).encode()).hexdigest(),
        "source": FROM_BOTH,
        "reference_date": max(person.reference_date, bundle.reference_date),
        "diagnosis": person.diagnosis or bundle.diagnosis,
        "therapies": bundle.therapies if person.therapies is None else person.therapies,
        "therapies_of_bundle": person.therapies is None,
        "unread": (*person.unread, *bundle.unread),
        "stages": (*person.stages, *bundle.stages),
    }
    both["radiotherapy"] = (*(person.radiotherapy or ()), *(bundle.radiotherapy or ())) or person.radiotherapy
    for key in ("psa", "testosterone"):
        both[key] = _united(getattr(person, key), getattr(bundle, key))
    history = person.model_copy(update=both)
    if found := [
        f"{'.'.join(map(str, place))}: {told}" for place, told in contradictions(history, both["reference_date"])
    ]:
        raise InputError("; ".join(found), where=where, todo=TODO)
    return history


def _united(of_person: Any, of_bundle: Any) -> Any:
    """Both lists, of one day the person's; None where neither tells one."""
    if of_person is None or of_bundle is None:
        return of_bundle if of_person is None else of_person
    days = {one.date for one in of_person}
    return (*of_person, *(one for one in of_bundle if one.date not in days))


def _diagnoses(person: History, bundle: History) -> Iterator[str]:
    if person.diagnosis and bundle.diagnosis and person.diagnosis.date != bundle.diagnosis.date:
        yield f"the primary diagnosis is of {person.diagnosis.date} in one and of {bundle.diagnosis.date} in the other"


def _therapies(person: History, bundle: History) -> Iterator[str]:
    if person.therapies is None:
        return
    going_on = {one.kind: one.goes_on for one in sorted(person.therapies, key=lambda one: bool(one.goes_on))}
    for one in bundle.therapies or ():
        if one.kind not in going_on:
            yield f"{one.name} ({one.kind}) is in {bundle.name} alone, though {person.name} lists the therapies"
        elif one.goes_on and not going_on[one.kind]:
            yield f"{one.name} ({one.kind}) goes on in {bundle.name} and is over in {person.name}"


def _values(
    key: str, of_person: tuple[Psa | Testosterone, ...], of_bundle: tuple[Psa | Testosterone, ...]
) -> Iterator[str]:
    known = {one.date: one for one in of_person}
    for other in of_bundle:
        one = known.get(other.date)
        if one is None:
            continue
        first, second = _in_one_unit(one), _in_one_unit(other)
        if abs(first - second) > ROUNDING * max(first, second) or one.below != other.below:
            yield f"{key} of {one.date} is {_told(one)} in one and {_told(other)} in the other"


def _in_one_unit(value: Psa | Testosterone) -> float:
    return value.value if isinstance(value, Psa) else value.value * NMOL_PER_L[value.unit]


def _told(value: Psa | Testosterone) -> str:
    return f"{'below ' if value.below else ''}{value.value:g} {value.unit}"
