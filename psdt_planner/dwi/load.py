"""Tumour load: total diffusion volume and global ADC, by lesion, by region and of the whole patient.

The volume is that of the masks; the ADC is of their voxels, and of several lesions of all voxels together, each
weighted by its volume (global ADC, Blackledge et al., PLoS ONE 2014;9:e91779). How the masks were made is told beside
the figures, which mean nothing without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.criteria.acquisition import AdcHistogram
from psdt_planner.geometry import Points
from psdt_planner.images import Volume
from psdt_planner.lesions import FlaggedLesion

PERCENTS = (10, 25, 50, 75, 90)

INSIDE = 0.5
"""A voxel's ADC counts where at least this part of it is lesion, or as much as any voxel of the lesion has."""

UNKNOWN_REGION = "unknown"


@dataclass(frozen=True)
class AdcSpread:
    """The ADC of the voxels of a mask, mm2/s.

    Attributes:
        voxels: how many have an ADC.
        measured_ml: their volume; the rest of the mask lies where no map of its frame shows an ADC above 0.
        mean, median: weighted by the voxels' volumes.
        percentiles: by percent.
        edges: of the histogram's bins, ascending; what lies outside is in the first and the last bin.
        bins_ml: volume in each bin.
    """

    voxels: int
    measured_ml: float
    mean: float
    median: float
    percentiles: Mapping[int, float]
    edges: tuple[float, ...]
    bins_ml: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """As `plan.json` has it."""
        return {
            "voxels": self.voxels,
            "measured_ml": round(self.measured_ml, 4),
            "mean_mm2_per_s": self.mean,
            "median_mm2_per_s": self.median,
            "percentiles_mm2_per_s": {str(percent): value for percent, value in self.percentiles.items()},
            "histogram": {"edges_mm2_per_s": list(self.edges), "ml": [round(ml, 4) for ml in self.bins_ml]},
        }


@dataclass(frozen=True)
class Load:
    """The load of one lesion, of the lesions of one region, or of all.

    Attributes:
        of: the lesion's id, the region, or ``patient``.
        lesions: ids of what was counted.
        volume_ml: total diffusion volume; voxels that two lesions share count once.
        adc: None where no map shows a voxel of the masks.
    """

    of: str
    lesions: tuple[str, ...]
    volume_ml: float
    adc: AdcSpread | None

    def as_json(self) -> dict[str, Any]:
        """As `plan.json` has it."""
        adc = self.adc.as_json() if self.adc else None
        return {"of": self.of, "lesions": list(self.lesions), "volume_ml": round(self.volume_ml, 4), "adc": adc}


@dataclass(frozen=True)
class TumourLoad:
    """The load of an exam, and the rule that made its masks.

    Attributes:
        rule: in sentences: where the masks came from, and how volume and ADC were taken.
        sources: of the numbers in the rule.
        regions: of MET-RADS-P, those that hold a lesion, in the order of the first of them.
    """

    rule: tuple[str, ...]
    sources: tuple[str, ...]
    lesions: tuple[Load, ...]
    regions: tuple[Load, ...]
    patient: Load

    def as_json(self) -> dict[str, Any]:
        """As `plan.json` has it."""
        return {
            "rule": list(self.rule),
            "sources": list(self.sources),
            "patient": self.patient.as_json(),
            "regions": [load.as_json() for load in self.regions],
            "lesions": [load.as_json() for load in self.lesions],
        }


@dataclass(frozen=True, eq=False)
class _Voxels:
    """The voxels of one lesion: their volumes and the part that no earlier lesion holds, and the ADC of some."""

    lesion: str
    own_ml: NDArray[np.float64]
    volume_ml: float
    adc: NDArray[np.float64]
    adc_ml: NDArray[np.float64]
    adc_is_own: NDArray[np.bool_]


def tumour_load(
    flags: Sequence[FlaggedLesion],
    adc_maps: Iterable[Volume],
    histogram: AdcHistogram,
    *,
    regions: Mapping[str, str],
    moved_mm: Mapping[str, Points],
) -> TumourLoad:
    """The load of flagged lesions, in order of their ids.

    Args:
        flags: as drawn.
        adc_maps: of the exam; a lesion's ADC is from the map of its frame that shows most of it.
        histogram: its bins.
        regions: by lesion; one that is not named is of an unknown region.
        moved_mm: by lesion, how far it lies from where the maps show it; one that is not named lies there.
    """
    maps = list(adc_maps)
    used: set[str] = set()
    voxels = []
    for number, flag in enumerate(flags):
        voxels.append(_voxels(flag, flags[:number], maps, moved_mm.get(flag.id, np.zeros(3)), used))
    lesions = tuple(
        Load(one.lesion, (one.lesion,), one.volume_ml, _spread([(one.adc, one.adc_ml)], histogram)) for one in voxels
    )
    by_region: dict[str, list[_Voxels]] = {}
    for one in voxels:
        by_region.setdefault(regions.get(one.lesion, UNKNOWN_REGION), []).append(one)
    return TumourLoad(
        rule=_rule(flags, sorted(used)),
        sources=(histogram.citation,),
        lesions=lesions,
        regions=tuple(_together(region, members, histogram) for region, members in by_region.items()),
        patient=_together("patient", voxels, histogram),
    )


def _voxels(
    flag: FlaggedLesion, before: Sequence[FlaggedLesion], maps: Sequence[Volume], moved_mm: Points, used: set[str]
) -> _Voxels:
    index = np.argwhere(flag.mask > 0)
    part = flag.mask[tuple(index.T)].astype(np.float64)
    points = flag.grid.mm_from_index(index)
    ml = part * flag.grid.voxel_volumes_ml[index[:, 0]]
    again = np.zeros(len(points), dtype=bool)
    for other in before:
        again |= _holds(other, points) if other.grid.frame == flag.grid.frame else False
    core = part >= min(INSIDE, float(part.max()))
    adc = _adc(points[core] - moved_mm, flag.grid.frame, maps, used)
    known = adc > 0
    adc_ml = flag.grid.voxel_volumes_ml[index[core][known, 0]]
    return _Voxels(flag.id, ml[~again], float(ml.sum()), adc[known], adc_ml, ~again[core][known])


def _holds(flag: FlaggedLesion, points_mm: Points) -> NDArray[np.bool_]:
    """Which points lie in a voxel of a lesion."""
    at = np.rint(flag.grid.index_from_mm(points_mm)).astype(int)
    within = ((at >= 0) & (at < flag.mask.shape)).all(axis=1)
    found = np.zeros(len(points_mm), dtype=bool)
    found[within] = flag.mask[tuple(at[within].T)] >= min(INSIDE, float(flag.mask.max()))
    return found


def _adc(points_mm: Points, frame: str, maps: Sequence[Volume], used: set[str]) -> NDArray[np.float64]:
    """``(N,)``, linear between voxels of the map that shows most of the points; 0 where it shows none."""
    here = [volume for volume in maps if volume.grid.frame == frame]
    most = max(here, key=lambda volume: int(volume.grid.contains(points_mm).sum()), default=None)
    if most is None or not most.grid.contains(points_mm).any():
        return np.zeros(len(points_mm))
    used.update(most.series_uids)
    # A point in the outer half of a border voxel has that voxel's ADC.
    index = np.clip(most.grid.index_from_mm(points_mm), 0, np.array(most.grid.shape) - 1)
    values = ndimage.map_coordinates(most.array, index.T, order=1, output=np.float64)
    return np.where(most.grid.contains(points_mm), values, 0.0)


def _together(of: str, members: Sequence[_Voxels], histogram: AdcHistogram) -> Load:
    volume_ml = float(sum(one.own_ml.sum() for one in members))
    own = [(one.adc[one.adc_is_own], one.adc_ml[one.adc_is_own]) for one in members]
    return Load(of, tuple(one.lesion for one in members), volume_ml, _spread(own, histogram))


def _spread(
    parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], histogram: AdcHistogram
) -> AdcSpread | None:
    if not any(len(adc) for adc, _ in parts):
        return None
    adc, ml = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    edges = histogram.edges_mm2_per_s
    within = np.clip(adc, edges[0], np.nextafter(edges[-1], 0.0))
    bins, _ = np.histogram(within, bins=np.array(edges), weights=ml)
    values = _percentiles(adc, ml)
    return AdcSpread(
        voxels=len(adc),
        measured_ml=float(ml.sum()),
        mean=float(np.average(adc, weights=ml)),
        median=values[50],
        percentiles=values,
        edges=edges,
        bins_ml=tuple(float(one) for one in bins),
    )


def _percentiles(values: NDArray[np.float64], weights: NDArray[np.float64]) -> dict[int, float]:
    """Linear between the middles of the weights, so that equal weights give numpy's percentiles."""
    order = np.argsort(values, kind="stable")
    sorted_values, sorted_weights = values[order], weights[order]
    middles = np.cumsum(sorted_weights) - sorted_weights / 2
    way = middles - middles[0]
    parts = way / way[-1] if way[-1] > 0 else way
    return {percent: float(np.interp(percent / 100, parts, sorted_values)) for percent in PERCENTS}


def _rule(flags: Sequence[FlaggedLesion], maps: Sequence[str]) -> tuple[str, ...]:
    drawn = [flag.id for flag in flags if not flag.rule]
    sentences = []
    if drawn:
        sentences.append(f"{', '.join(drawn)}: the mask as flagged; nothing was grown or edited.")
    for rule in dict.fromkeys(flag.rule for flag in flags if flag.rule):
        named = ", ".join(flag.id for flag in flags if flag.rule == rule)
        sentences.append(f"{named}: the mask as flagged, which was made by {rule}.")
    sentences.append("Volume: the part of each voxel that is flagged; what two lesions share counts once in a sum.")
    told = f"of series {', '.join(maps)}, " if maps else ""
    sentences.append(f"ADC: {told}linear between voxels, where half a voxel or more is flagged and the ADC is above 0.")
    return tuple(sentences)
