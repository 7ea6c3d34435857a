"""Growing a region on high b and ADC around a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Volume, resample
from psdt_planner.regions.rule import Rule

Mask = NDArray[np.bool_]

HIGH_B_KINDS = (Kind.DWI_TRACE, Kind.DWI, Kind.DWI_CALCULATED)
CORNERS = np.ones((3, 3, 3), dtype=bool)
"""Voxels are neighbours across faces, edges and corners."""


class NotGrownError(Exception):
    """No region that the rule allows grows at a place; the reason in words."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A high-b image, and the ADC at its voxels.

    Attributes:
        high_b: signal.
        adc_mm2_per_s: ``float32`` on ``high_b.grid``; 0 where there is none.
        adc_series_uid: SeriesInstanceUID of the ADC map.
    """

    high_b: Volume
    adc_mm2_per_s: NDArray[np.float32]
    adc_series_uid: str


@dataclass(frozen=True, eq=False)
class Region:
    """What grew.

    Attributes:
        mask: on the grid of ``pair.high_b``.
        pair: the images that it grew on.
        peak: the greatest signal in it.
        seed_mm: ``(3,)``, where it was asked for; of a candidate, where its signal is greatest.
    """

    mask: Mask
    pair: Pair
    peak: float
    seed_mm: Points

    @property
    def grid(self) -> Grid:
        """Of the whole image."""
        return self.pair.high_b.grid

    @property
    def volume_ml(self) -> float:
        """Of its voxels."""
        return float(self.mask.sum(axis=(1, 2)) @ self.grid.voxel_volumes_ml)

    @property
    def centroid_mm(self) -> Points:
        """``(3,)``, mean of its voxels' centres."""
        return np.asarray(self.grid.mm_from_index(np.argwhere(self.mask)).mean(axis=0))

    @property
    def adc_median_mm2_per_s(self) -> float:
        """Median over its voxels."""
        return float(np.median(self.pair.adc_mm2_per_s[self.mask]))


def pairs(volumes: Sequence[Volume], rule: Rule) -> tuple[Pair, ...]:
    """Every image of the highest b-value in its frame (at least the rule's), with an ADC map of that frame.

    Of several maps, that of most voxels of the image. Stations make one pair each; an image without a map makes none.
    """
    found = []
    for frame in sorted({volume.grid.frame for volume in volumes}):
        here = [volume for volume in volumes if volume.grid.frame == frame]
        maps = [volume for volume in here if volume.quantity.kind is Kind.ADC]
        bright = [volume for volume in here if _b(volume) >= rule.images.least_b_s_per_mm2]
        highest = max((_b(volume) for volume in bright), default=0.0)
        for volume in (one for one in bright if _b(one) == highest):
            onto = [(resample(one, volume.grid, Rigid.identity(frame), order=1), one) for one in maps]
            if onto:
                adc, best = max(onto, key=lambda pair: int((pair[0] > 0).sum()))
                found.append(Pair(volume, adc, best.series_uid))
    return tuple(found)


def _b(volume: Volume) -> float:
    """The b-value of an image that shows diffusion weighting; 0 of any other."""
    return (volume.quantity.b_value_s_per_mm2 or 0.0) if volume.quantity.kind in HIGH_B_KINDS else 0.0


def allowed(pair: Pair, rule: Rule) -> Mask:
    """Where the ADC is one that the rule allows."""
    low, high = rule.growing.adc_mm2_per_s
    return np.asarray((pair.adc_mm2_per_s >= low) & (pair.adc_mm2_per_s <= high))


def grow(pair: Pair, seed_mm: ArrayLike, rule: Rule) -> Region:
    """The region around a point ``(3,)`` of the pair's frame.

    The maximum of high b near the point, among voxels whose ADC the rule allows, sets the threshold; the region is what
    hangs together with it above the threshold.

    Raises:
        NotGrownError: the point lies outside the image; no such voxel is near; what grew reaches further than the rule
            allows, or to the end of the image; or is smaller than the rule asks.
    """
    grid, seed = pair.high_b.grid, np.asarray(seed_mm, dtype=np.float64)
    if not bool(grid.contains(seed)):
        raise NotGrownError("the point lies outside the high-b image")
    box = _box(grid, seed, rule.reach.farthest_mm)
    signal, may = pair.high_b.array[box], allowed(pair, rule)[box]
    distance = np.linalg.norm(_centres(grid, box) - seed, axis=-1)
    near = may & (distance <= max(rule.reach.peak_within_mm, *grid.spacing_kji_mm))
    if not near.any():
        raise NotGrownError("no voxel near the point has an ADC that the rule allows")
    peak = float(signal[near].max())
    at = tuple(np.argwhere(near & (signal == peak))[0])
    labels, _ = ndimage.label(may & (signal >= rule.growing.part_of_peak * peak), structure=CORNERS)
    inside = labels == labels[at]
    if distance[inside].max() > rule.reach.farthest_mm - max(grid.spacing_kji_mm):
        raise NotGrownError(
            f"what grows reaches {rule.reach.farthest_mm:g} mm from the point: it has run out of the lesion"
        )
    mask = np.zeros(grid.shape, dtype=bool)
    mask[box] = inside
    if _at_the_end(mask):
        raise NotGrownError("what grows reaches the end of the high-b image: more of it may lie beyond")
    region = Region(mask, pair, peak, seed)
    if region.volume_ml < rule.growing.least_ml:
        raise NotGrownError(f"what grows has {region.volume_ml:.2f} ml, less than {rule.growing.least_ml:g} ml")
    return region


def _at_the_end(mask: Mask) -> bool:
    """Whether a voxel lies on the first or last slice, row or column of an image, of axes with more than one."""
    ends = (np.take(mask, [0, -1], axis=axis) for axis in range(3) if mask.shape[axis] > 1)
    return any(bool(end.any()) for end in ends)


def _box(grid: Grid, seed_mm: Points, reach_mm: float) -> tuple[slice, slice, slice]:
    """Slices, rows and columns within a distance of a point."""
    index = grid.index_from_mm(seed_mm)
    steps = np.ceil(reach_mm / np.array(grid.spacing_kji_mm)) + 1
    low = np.maximum(np.floor(index - steps), 0).astype(int)
    high = np.minimum(np.ceil(index + steps) + 1, grid.shape).astype(int)
    k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return k, j, i


def _centres(grid: Grid, box: tuple[slice, slice, slice]) -> Points:
    index = np.moveaxis(np.mgrid[box].astype(np.float64), 0, -1)
    return grid.mm_from_index(index)
