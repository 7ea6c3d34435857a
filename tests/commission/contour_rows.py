"""Rows of contours made up for the tests: they meet every bar, to be spoilt one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from psdt_planner.commission import ContourRows
from psdt_planner.commission.contours.ct_masks import CTS, IDEAL, RADII_MM, MaskRow
from psdt_planner.commission.contours.ct_masks import VOXELS as COUNTED
from psdt_planner.commission.contours.flags import METHODS, OURS, SOLIDS, VOXELS, FlagKind, FlagRow, voxels_name
from psdt_planner.commission.contours.methods import ISO_LINE, PLASTIMATCH, RT_UTILS
from psdt_planner.commission.contours.trips import READERS, TripRow


def mask_row(**changes: Any) -> MaskRow:
    """A sphere of 1000 mm3, its mask 1 % larger, rings as large as the mask."""
    good = MaskRow(
        ct=CTS[0].name, radius_mm=4.0, place=0, method=OURS, volume_mm3=1010.0, mask_mm3=1010.0, true_mm3=1000.0,
        signed_mm=0.01, rms_mm=0.1, points=100,
    )  # fmt: skip
    return replace(good, **changes)


def flag_row(**changes: Any) -> FlagRow:
    """A lesion of 1000 mm3, rings as large as it and as its mask."""
    good = FlagRow(
        voxels=voxels_name(VOXELS[0]), kind=FlagKind.SOFT, solid="sphere 6 mm", place=0, method=OURS,
        volume_mm3=1000.0, mask_mm3=1000.0, true_mm3=1000.0, dice=0.99, hd95_mm=0.4,
    )  # fmt: skip
    return replace(good, **changes)


MASKS = tuple(
    mask_row(ct=ct.name, radius_mm=radius, place=place, method=method)
    for ct, radius, place, method in product(CTS, RADII_MM, (0, 1), (IDEAL, OURS, RT_UTILS, PLASTIMATCH, ISO_LINE))
)
COUNTS = tuple(
    replace(row, method=COUNTED, signed_mm=None, rms_mm=None, points=0) for row in MASKS if row.method == IDEAL
)
FLAGS = tuple(
    flag_row(voxels=voxels_name(spacing), kind=kind, solid=solid, place=place, method=method,
             dice=0.99 if method == OURS else 0.8, hd95_mm=0.4 if method == OURS else 3.0)
    for spacing, kind, solid, place, method in product(VOXELS, FlagKind, SOLIDS, (0, 1), METHODS)
)  # fmt: skip
TRIPS = tuple(TripRow("ring", 0, reader, 0.99) for reader in READERS)
CONTOURS = ContourRows((*MASKS, *COUNTS), FLAGS, TRIPS)


def with_masks(*changed: MaskRow) -> ContourRows:
    return replace(CONTOURS, masks=(*CONTOURS.masks, *changed))


SPOILT = with_masks(mask_row(volume_mm3=1010.0 * 1.031))
