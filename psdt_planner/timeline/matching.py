"""Which lesions of two exams are the same: by the reader's tracking UID first, then by the place.

Lesions that lie mostly within one another belong together, as do those with the same tracking UID. Such families tell
one to one, merged and split. What is left over is matched one to one where the gap is within what the places may be
wrong by, so that the sum of the gaps is least. Swapping the two exams swaps the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from psdt_planner.timeline.place import SeenLesion

PART: Final = 0.5
"""From this part of its volume on a lesion lies within another."""

TOUCH: Final = 0.2
"""From this part on an overlap that made no match is worth a look."""

ALONE: Final = 2.0
"""What two unmatched lesions cost together, in units of the cost of a pair: as much as a gap of the whole reach."""

FAR: Final = 2.0
"""Within so many times the reach two unmatched lesions might be one."""


@dataclass(frozen=True)
class Family:
    """Lesions that belong together, as positions in the two exams.

    Attributes:
        by_uid: the reader's tracking UID says so.
        doubt: why a person should look, in words; empty where nothing speaks against it.
    """

    prior: tuple[int, ...]
    current: tuple[int, ...]
    by_uid: bool = False
    doubt: str = ""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Of every prior lesion (row) with every one now (column)."""

    of_prior: NDArray[np.float64]
    """The part of the prior lesion that lies within the one now."""
    of_current: NDArray[np.float64]
    """The part of the lesion now that lies within the prior one."""
    gap_mm: NDArray[np.float64]
    reach_mm: NDArray[np.float64]
    same_uid: NDArray[np.bool_]
    other_uid: NDArray[np.bool_]
    """Both have a tracking UID, and not the same."""
    placed: NDArray[np.bool_]
    """The places of both are known."""

    @property
    def within(self) -> NDArray[np.float64]:
        """The larger of the two parts."""
        return np.maximum(self.of_prior, self.of_current)


def families(prior: Sequence[SeenLesion], current: Sequence[SeenLesion]) -> tuple[Family, ...]:
    """Every lesion of both exams in exactly one family, in order of the current ones, then of the prior ones."""
    if not prior and not current:
        return ()
    pairs = _pairs(prior, current)
    together = _together(pairs)
    graph = np.zeros((len(prior) + len(current),) * 2)
    graph[: len(prior), len(prior) :] = together
    _, label = connected_components(csr_matrix(graph), directed=False)
    in_prior, in_current = label[: len(prior)], label[len(prior) :]
    found = []
    for one in np.unique(label):
        rows, columns = np.flatnonzero(in_prior == one), np.flatnonzero(in_current == one)
        if len(rows) and len(columns):
            found.append(_family(pairs, rows, columns))
    left = np.flatnonzero(~together.any(axis=1)), np.flatnonzero(~together.any(axis=0))
    found += _one_to_one(pairs, *left)
    found += _alone(pairs, found)
    return tuple(sorted(found, key=lambda family: (not family.current, family.current, family.prior)))


def repeated_uids(prior: Sequence[SeenLesion], current: Sequence[SeenLesion]) -> frozenset[str]:
    """Tracking UIDs that both exams give to several lesions, so that they tell nothing."""
    uses = [Counter(one.flag.tracking_uid for one in exam if one.flag.tracking_uid) for exam in (prior, current)]
    return frozenset(uid for uid in uses[0] if uses[0][uid] > 1 and uses[1][uid] > 1)


def _pairs(prior: Sequence[SeenLesion], current: Sequence[SeenLesion]) -> _Pairs:
    shape = len(prior), len(current)
    of_prior, of_current, gap, reach = np.zeros(shape), np.zeros(shape), np.full(shape, np.inf), np.zeros(shape)
    same, other = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    placed = np.logical_and.outer([one.placed for one in prior], [one.placed for one in current])
    useless = repeated_uids(prior, current)
    for a, before in enumerate(prior):
        for b, now in enumerate(current):
            reach[a, b] = np.hypot(before.uncertainty_mm, now.uncertainty_mm)
            both = before.overlap_cells(now)
            of_prior[a, b], of_current[a, b] = both / max(before.cells.size, 1), both / max(now.cells.size, 1)
            gap[a, b] = before.gap_mm(now, FAR * reach[a, b])
            uid, uid_now = before.flag.tracking_uid, now.flag.tracking_uid
            same[a, b] = bool(uid) and uid == uid_now and uid not in useless
            other[a, b] = bool(uid) and bool(uid_now) and uid != uid_now
    return _Pairs(of_prior, of_current, gap, reach, same, other, np.asarray(placed))


def _together(pairs: _Pairs) -> NDArray[np.bool_]:
    """Same UID, or one within the other, or within several together; but not where the UIDs of both name others."""
    named = np.logical_and.outer(pairs.same_uid.any(axis=1), pairs.same_uid.any(axis=0))
    one = pairs.within >= PART
    several = _within_several(pairs.of_current, one) | _within_several(pairs.of_prior.T, one.T).T
    return np.asarray(pairs.same_uid | ((one | several) & ~named))


def _within_several(part: NDArray[np.float64], one: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Columns that lie within no single row, but for the most part within several."""
    touched = np.where(part >= TOUCH, part, 0.0)
    across = (touched.sum(axis=0) >= PART) & ~one.any(axis=0)
    return np.asarray((touched > 0.0) & across[None, :])


def _family(pairs: _Pairs, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Family:
    part = np.ix_(rows, columns)
    by_uid = bool(pairs.same_uid[part].any())
    doubt = ""
    if len(rows) > 1 and len(columns) > 1:
        doubt = "several lesions became several others: which became which cannot be told"
    elif (pairs.same_uid[part] & pairs.placed[part] & (pairs.gap_mm[part] > pairs.reach_mm[part])).any():
        doubt = "the tracking UID is the same, but the places lie further apart than they can be wrong"
    elif pairs.other_uid[part].all():
        doubt = "they lie in the same place, but their tracking UIDs differ"
    return Family(tuple(map(int, rows)), tuple(map(int, columns)), by_uid, doubt)


def _one_to_one(pairs: _Pairs, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> list[Family]:
    """Of what has no family: the assignment that costs least, within reach."""
    part = np.ix_(rows, columns)
    gap, reach = pairs.gap_mm[part], pairs.reach_mm[part]
    near = gap <= reach
    beside = np.divide(gap, reach, out=np.zeros_like(gap), where=near & (reach > 0.0))
    cost = np.where(pairs.within[part] > 0.0, 1.0 - pairs.within[part], 1.0 + beside)
    saved = np.where(near, np.minimum(cost - ALONE, 0.0), 0.0)
    doubt = "they overlap by less than half, within what their places may be wrong by"
    return [
        Family((int(rows[a]),), (int(columns[b]),), doubt=doubt)
        for a, b in zip(*linear_sum_assignment(saved), strict=True)
        if near[a, b]
    ]


def _alone(pairs: _Pairs, found: Sequence[Family]) -> list[Family]:
    """What nothing was matched to, with doubt where something else lies close."""
    taken_a = {a for family in found for a in family.prior}
    taken_b = {b for family in found for b in family.current}
    free_a = np.array([a not in taken_a for a in range(len(pairs.gap_mm))], dtype=np.bool_)
    free_b = np.array([b not in taken_b for b in range(pairs.gap_mm.shape[1])], dtype=np.bool_)
    touches = pairs.within >= TOUCH
    close = (pairs.gap_mm <= FAR * pairs.reach_mm) & free_a[:, None] & free_b[None, :]
    doubtful = (touches | close) & ~pairs.same_uid
    words = "another lesion of the other exam lies close, and might be the same"
    alone = [Family((int(a),), (), doubt=words if doubtful[a].any() else "") for a in np.flatnonzero(free_a)]
    alone += [Family((), (int(b),), doubt=words if doubtful[:, b].any() else "") for b in np.flatnonzero(free_b)]
    return alone
