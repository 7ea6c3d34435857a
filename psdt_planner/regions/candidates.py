"""Places that meet the rule and that nobody has flagged: for the reader to look at, never targets by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.geometry import Points
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint, Side
from psdt_planner.regions.grow import CORNERS, Mask, NotGrownError, Pair, Region, allowed
from psdt_planner.regions.places import Body, BodyPlace, side_of
from psdt_planner.regions.rule import Rule


@dataclass(frozen=True, eq=False)
class Candidate:
    """A place that meets the rule.

    Attributes:
        id: ``C1``, ``C2``, ... from the head downwards.
        region: what meets it.
        times_muscle: its greatest signal in that of muscle.
        place: the part of the body that is bright by nature and may be what this is; None where none is told.
        side: by its place in the body.
    """

    id: str
    region: Region
    times_muscle: float
    place: BodyPlace | None
    side: Side


def _unmoved(_series_uid: str) -> Points:
    return np.zeros(3)


def find_candidates(
    found: Sequence[Pair],
    rule: Rule,
    *,
    flags: Sequence[FlaggedLesion] = (),
    points: Sequence[FlaggedPoint] = (),
    bodies: Sequence[Body] = (),
    moved_mm: Callable[[str], Points] = _unmoved,
) -> tuple[Candidate, ...]:
    """Every place of the pairs that meets the rule and shares no voxel with a flag, nor holds a marked point.

    A place that two stations show counts once, where its signal is greater. ``bodies`` tell, by frame, which part of
    the body a place may be; ``moved_mm``, by SeriesInstanceUID, how far from where the volumes show it a series has
    what was marked on it (`Exam.moved_mm`).

    Raises:
        NotGrownError: no voxel has the ADC of muscle, so that nothing tells what is bright.
    """
    regions: list[tuple[Region, float]] = []
    for pair in found:
        muscle = muscle_signal(pair, rule)
        regions += [(region, region.peak / muscle) for region in _bright(pair, muscle, rule)]
    free = [one for one in regions if not _is_flagged(one[0], flags, points, moved_mm)]
    once: list[tuple[Region, float]] = []
    for one in sorted(free, key=lambda each: (-each[1], *each[0].centroid_mm)):
        if not any(_meet(one[0], other[0]) for other in once):
            once.append(one)
    once.sort(key=lambda one: tuple(-one[0].centroid_mm[::-1]))
    return tuple(_named(f"C{n}", region, times, bodies) for n, (region, times) in enumerate(once, start=1))


def _named(identity: str, region: Region, times: float, bodies: Sequence[Body]) -> Candidate:
    body = next((one for one in bodies if one.frame == region.grid.frame), None)
    if body is None:
        return Candidate(identity, region, times, None, Side.UNKNOWN)
    voxels_mm = region.grid.mm_from_index(np.argwhere(region.mask))
    place = body.place(voxels_mm, region.volume_ml)
    return Candidate(identity, region, times, place, side_of(region.centroid_mm, body))


def muscle_signal(pair: Pair, rule: Rule) -> float:
    """Median high-b signal of the voxels with the ADC of muscle.

    Raises:
        NotGrownError: there is none, or it is 0.
    """
    low, high = rule.candidates.muscle_adc_mm2_per_s
    signal = pair.high_b.array[(pair.adc_mm2_per_s >= low) & (pair.adc_mm2_per_s <= high)]
    muscle = float(np.median(signal)) if signal.size else 0.0
    if muscle <= 0:
        raise NotGrownError("no voxel has the ADC of muscle, so that nothing tells what is bright")
    return muscle


def _bright(pair: Pair, muscle: float, rule: Rule) -> Iterator[Region]:
    """Regions of the rule within what is brighter than muscle.

    What hangs together is cut at the rule's part of its maximum. What that leaves, but for the voxels beside, is looked
    at again by itself, so that a weak lesion that touches a bright one is not lost.
    """
    signal = pair.high_b.array
    todo = [allowed(pair, rule) & (signal >= rule.candidates.above_muscle * muscle)]
    voxel_ml = pair.high_b.grid.voxel_volumes_ml
    while todo:
        labels, count = ndimage.label(todo.pop(), structure=CORNERS)
        for box, number in zip(ndimage.find_objects(labels), range(1, count + 1), strict=True):
            part = labels[box] == number
            if part.sum(axis=(1, 2)) @ voxel_ml[box[0]] < rule.growing.least_ml:
                continue
            peak = float(signal[box][part].max())
            core = part & (signal[box] >= rule.growing.part_of_peak * peak)
            for region in _parts(core, box, pair):
                if region.volume_ml >= rule.growing.least_ml:
                    yield region
            rest = np.zeros(signal.shape, dtype=bool)
            rest[box] = part & ~ndimage.binary_dilation(core, structure=CORNERS)
            if rest.any():
                todo.append(rest)


def _parts(core: Mask, box: tuple[slice, ...], pair: Pair) -> Iterator[Region]:
    labels, count = ndimage.label(core, structure=CORNERS)
    for number in range(1, count + 1):
        mask = np.zeros(pair.high_b.grid.shape, dtype=bool)
        mask[box] = labels == number
        brightest = np.where(mask, pair.high_b.array, -np.inf)
        at = np.unravel_index(int(brightest.argmax()), mask.shape)
        yield Region(mask, pair, float(brightest[at]), pair.high_b.grid.mm_from_index(at))


def _is_flagged(
    region: Region,
    flags: Sequence[FlaggedLesion],
    points: Sequence[FlaggedPoint],
    moved_mm: Callable[[str], Points],
) -> bool:
    voxels_mm = region.grid.mm_from_index(np.argwhere(region.mask))
    for flag in (one for one in flags if one.grid.frame == region.grid.frame):
        if _hits(flag.grid.index_from_mm(voxels_mm + moved_mm(flag.series_uid)), flag.mask > 0):
            return True
    marked = [point.point_mm - moved_mm(point.series_uid) for point in points if point.frame == region.grid.frame]
    return bool(marked) and _hits(region.grid.index_from_mm(np.array(marked)), region.mask)


def _meet(one: Region, other: Region) -> bool:
    """Whether two regions of one frame share a place."""
    if one.grid.frame != other.grid.frame:
        return False
    return _hits(other.grid.index_from_mm(one.grid.mm_from_index(np.argwhere(one.mask))), other.mask)


def _hits(index: Points, mask: NDArray[np.bool_]) -> bool:
    """Whether one of the indices ``(N, 3)``, rounded, is a voxel of the mask."""
    at = np.rint(index).astype(int)
    within = ((at >= 0) & (at < mask.shape)).all(axis=1)
    return bool(mask[tuple(at[within].T)].any())
