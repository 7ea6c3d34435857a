"""What an organ may get at its hottest point in a number of fractions: one source at a time, never a mixture."""

from __future__ import annotations

from collections.abc import Iterator

from psdt_planner.protocol.constraints import Constraint, Limit
from psdt_planner.protocol.rows import Protocol
from psdt_planner.radiobiology import equieffective_dose_gy


def near_maximum_limits(protocol: Protocol, organ: str, fractions: int) -> tuple[Limit, ...]:
    """The limits that an organ's nearest point is held against; empty where no source has one.

    The first set in the organ's order that has a cell for this number of fractions gives all of them. Where none has,
    the first set with any cell does, converted at the organ's α/β by equal EQD2 from the nearest numbers of fractions
    on both sides, the lower dose of the two.
    """
    for key in sets_of(protocol, organ):
        found = tuple(_exact(protocol, key, organ, fractions))
        if found:
            return found
    for key in sets_of(protocol, organ):
        found = tuple(_converted(protocol, key, organ, fractions))
        if found:
            return found
    return ()


def other_limits(protocol: Protocol, organ: str, fractions: int) -> tuple[Limit, ...]:
    """Limits of mean dose and of volumes for the same number of fractions: for the plan, not for a distance."""
    for key in sets_of(protocol, organ):
        rows = [row for row in _rows(protocol, key, organ) if not is_near_maximum(protocol, row)]
        found = tuple(_limit(key, row, fractions, row.limit[fractions]) for row in rows if fractions in row.limit)
        if found:
            return found
    return ()


def sets_of(protocol: Protocol, organ: str) -> tuple[str, ...]:
    """Source sets in the order in which an organ asks them."""
    row = protocol.organs.get(organ)
    if row is not None and row.sets:
        return row.sets
    return protocol.set_order.sets if protocol.set_order else ()


def is_near_maximum(protocol: Protocol, row: Constraint) -> bool:
    """Whether a limit is of a point, or of a volume so small that it stands for one."""
    if protocol.falloff is None or row.hottest_ml is None or row.kind == "threshold":
        return False
    return row.hottest_ml <= protocol.falloff.near_maximum.ml


def _rows(protocol: Protocol, key: str, organ: str) -> Iterator[Constraint]:
    yield from (row for row in protocol.sets[key].rows if row.organ == organ)


def _exact(protocol: Protocol, key: str, organ: str, fractions: int) -> Iterator[Limit]:
    for row in _rows(protocol, key, organ):
        if is_near_maximum(protocol, row) and fractions in row.limit:
            yield _limit(key, row, fractions, row.limit[fractions])


def _converted(protocol: Protocol, key: str, organ: str, fractions: int) -> Iterator[Limit]:
    alpha_beta_gy = protocol.organs[organ].alpha_beta_gy
    for row in _rows(protocol, key, organ):
        if not is_near_maximum(protocol, row):
            continue
        fewer = [n for n in row.limit if n < fractions]
        more = [n for n in row.limit if n > fractions]
        nearest = [*([max(fewer)] if fewer else []), *([min(more)] if more else [])]
        doses = {
            equieffective_dose_gy(
                dose_gy=row.limit[n], fractions=n, in_fractions=fractions, alpha_beta_gy=alpha_beta_gy
            ): n
            for n in nearest
        }
        yield _limit(key, row, fractions, min(doses), converted_from=doses[min(doses)])


def _limit(key: str, row: Constraint, fractions: int, value: float, converted_from: int | None = None) -> Limit:
    return Limit(
        organ=row.organ,
        metric=row.metric,
        kind=row.kind,
        unit=row.unit,
        fractions=fractions,
        value=value,
        set_key=key,
        citation=row.citation,
        basis=row.basis,
        certainty=row.certainty,
        converted_from=converted_from,
    )
