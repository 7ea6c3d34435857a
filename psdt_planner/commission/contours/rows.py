"""All that the contours' part of a commissioning run measures, and the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from psdt_planner.commission.contours.ct_masks import MaskRow, mask_jobs, run_masks
from psdt_planner.commission.contours.flags import FlagRow, flag_jobs, run_flags
from psdt_planner.commission.contours.methods import methods
from psdt_planner.commission.contours.trips import TripRow, run_trips

TRIPS = 4
"""Files that are read back; each holds every form."""

Progress = Callable[[str, int, int], None]
"""Told what begins, and how many of how many are over."""


@dataclass(frozen=True)
class ContourRows:
    """Masks on CT, flags carried to CT, and masks read back from an RTSTRUCT."""

    masks: tuple[MaskRow, ...] = ()
    flags: tuple[FlagRow, ...] = ()
    trips: tuple[TripRow, ...] = ()


def run_contours(places: int, seed: int, progress: Progress = lambda _what, _done, _total: None) -> ContourRows:
    """Everything, each form and size at so many random places; the same seed gives the same rows."""
    on_ct, on_dwi = mask_jobs(places, seed), flag_jobs(places, seed)
    total, found = len(on_ct) + len(on_dwi) + 1, methods()
    masks: list[MaskRow] = []
    flags: list[FlagRow] = []
    for done, mask_job in enumerate(on_ct):
        progress(mask_job.name, done, total)
        masks += run_masks(mask_job, found)
    for done, flag_job in enumerate(on_dwi, start=len(on_ct)):
        progress(flag_job.name, done, total)
        flags += run_flags(flag_job)
    progress("masks read back", total - 1, total)
    return ContourRows(tuple(masks), tuple(flags), run_trips(min(places, TRIPS), seed))
