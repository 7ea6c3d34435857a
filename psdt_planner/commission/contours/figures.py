"""From rows of contours to figures, and whether each meets its bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from psdt_planner.commission.contours.ct_masks import COARSER, FINER, RADII_MM, MaskRow, values
from psdt_planner.commission.contours.flags import (
    LARGE,
    METHODS,
    MIDDLE,
    SMALL,
    SOLIDS,
    VOXELS,
    FlagKind,
    FlagRow,
    chosen,
    voxels_name,
)
from psdt_planner.commission.contours.measures import mean_sd
from psdt_planner.commission.contours.methods import OURS
from psdt_planner.commission.contours.rows import ContourRows
from psdt_planner.commission.contours.trips import READERS
from psdt_planner.commission.figures import Figure, percent

SMALL_RADIUS_MM = 4.0
SMALL_VOLUME, VOLUME = 3.0, 1.0
"""Most that the rings' volume may differ from what it should be, in percent: of lesions of 4 to 5 mm, and others."""

RMS_MM = 0.12
"""Most rms distance to the circle, at 10 mm radius on the finer CT."""

TRIP_DICE = 0.98

DICE = {
    FlagKind.BINARY: {SMALL: 0.885, MIDDLE: 0.915, LARGE: 0.965},
    FlagKind.SOFT: {SMALL: 0.915, MIDDLE: 0.955, LARGE: 0.975},
    FlagKind.NOISY: {SMALL: 0.915, MIDDLE: 0.955, LARGE: 0.975},
}
HD95_MM = {
    FlagKind.BINARY: {SMALL: 1.55, MIDDLE: 2.25, LARGE: 1.35},
    FlagKind.SOFT: {SMALL: 0.65, MIDDLE: 0.55, LARGE: 0.55},
    FlagKind.NOISY: {SMALL: 0.75, MIDDLE: 0.65, LARGE: 0.55},
}
"""Means to reach on DWI voxels of 1.6 x 1.6 x 5 mm: the best that any of the methods tried for psdt had reached, to the
two digits and the one that it was noted with."""

BEYOND_CHANCE = 2.0
"""A mean of paired differences this many of its standard errors from nothing is no chance."""

WORDS = {FlagKind.BINARY: "binary", FlagKind.SOFT: "soft", FlagKind.NOISY: "noisy"}
RADIUS = {SMALL: "4", MIDDLE: "6", LARGE: "10"}


def contour_figures(rows: ContourRows) -> tuple[Figure, ...]:
    """Every figure in the order of the report; those without rows have no value."""
    return (*_of_masks(rows.masks), *_of_spheres(rows.flags), *_of_cells(rows.flags), *_of_trips(rows))


def _of_masks(rows: Sequence[MaskRow]) -> Iterator[Figure]:
    def most_off(radii: Sequence[float]) -> list[float]:
        cells = product((FINER, COARSER), radii)
        return [abs(v) for ct, radius in cells for v in values(rows, ct, radius, OURS, lambda row: row.of_mask)]

    large = most_off([radius for radius in RADII_MM if radius > SMALL_RADIUS_MM])
    small = most_off([SMALL_RADIUS_MM])
    rms = values(rows, FINER, 10.0, OURS, lambda row: row.rms_mm)
    named = "volume off the mask's, worst"
    yield Figure("ct_volume_4", f"CT mask of 4 mm: {named}", "%", _most(small), len(small), SMALL_VOLUME)
    yield Figure("ct_volume", f"CT masks from 6 mm: {named}", "%", _most(large), len(large), VOLUME)
    yield Figure("ct_rms_10", "CT mask of 10 mm, finer CT: rms distance, mean", "mm", _mean(rms), len(rms), RMS_MM)


def _of_spheres(rows: Sequence[FlagRow]) -> Iterator[Figure]:
    for kind, solid in product(FlagKind, RADIUS):
        cell = chosen(rows, voxels_name(VOXELS[0]), kind, solid, OURS)
        # Binary and noisy masks have another volume before anything is drawn; the rings must keep what there is.
        off = _mean([row.of_true if kind is FlagKind.SOFT else row.of_mask for row in cell])
        dice, hd95_mm = _mean([row.dice for row in cell]), _mean([row.hd95_mm for row in cell])
        named, key, count = f"{kind.value} flag, {solid}", f"{WORDS[kind]}_{RADIUS[solid]}", len(cell)
        beside = "the lesion's" if kind is FlagKind.SOFT else "the mask's"
        volume, bar = None if off is None else abs(off), SMALL_VOLUME if solid == SMALL else VOLUME
        yield Figure(f"{key}_volume", f"{named}: mean volume off {beside}", "%", volume, count, bar)
        yield Figure(f"{key}_dice", f"{named}: Dice, mean", "", dice, count, DICE[kind][solid], least=True)
        yield Figure(f"{key}_hd95", f"{named}: HD95, mean", "mm", hd95_mm, count, HD95_MM[kind][solid])


def _of_cells(rows: Sequence[FlagRow]) -> Iterator[Figure]:
    """Over every size of voxels, kind of flag and form of lesion: whether a method is better by more than chance."""
    dices: list[float] = []
    distances: list[float] = []
    for spacing, kind, solid in product(VOXELS, FlagKind, SOLIDS):
        cells = {method: chosen(rows, voxels_name(spacing), kind, solid, method) for method in METHODS}
        if all(cells.values()):
            pairs = [_paired(cells[OURS], cells[method]) for method in METHODS if method != OURS]
            dices.append(float(not any(worse([b.dice - a.dice for a, b in pair]) for pair in pairs)))
            distances.append(float(not any(worse([a.hd95_mm - b.hd95_mm for a, b in pair]) for pair in pairs)))
    of = "of voxels, kinds of flag and forms"
    for key, name, found in (("dice", "Dice", dices), ("hd95", "HD95", distances)):
        value, named = percent(found) if found else None, f"flags: no method has a better {name}, {of}"
        yield Figure(f"flag_{key}_best", named, "%", value, len(found), 100.0, least=True)


def _paired(ours: Sequence[FlagRow], theirs: Sequence[FlagRow]) -> list[tuple[FlagRow, FlagRow]]:
    """The rows of two methods at the same places."""
    at = {row.place: row for row in theirs}
    return [(row, at[row.place]) for row in ours if row.place in at]


def worse(differences: Sequence[float]) -> bool:
    """Whether paired differences, positive where psdt is the worse, have a mean above nothing by `BEYOND_CHANCE`."""
    if not np.isfinite(differences).all():  # A method that drew nothing at a place.
        return max(differences) == float("inf")
    mean, sd = mean_sd(differences)
    return bool(mean > 1e-9 and mean > BEYOND_CHANCE * sd / np.sqrt(len(differences)))


def _of_trips(rows: ContourRows) -> Iterator[Figure]:
    for reader in READERS:
        found = [row.dice for row in rows.trips if row.reader == reader]
        value, name = min(found, default=None), f"masks read back by {reader}: Dice, worst"
        yield Figure(f"trip_{reader}", name, "", value, len(found), TRIP_DICE, least=True)


def _mean(found: Sequence[float]) -> float | None:
    return float(np.mean(found)) if found else None


def _most(found: Sequence[float]) -> float | None:
    return max(found, default=None)
