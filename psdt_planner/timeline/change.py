"""How much a volume and an ADC changed, beside the change that repeating the measurement gives in 95 %.

Changes are compared as ratios, so that growing by a factor is as far from stable as shrinking by it, and swapping the
two exams swaps the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from psdt_planner.criteria import Criteria
from psdt_planner.lesions import FlaggedLesion, MaskKind

TWO_SIDED_95: Final = 1.96
"""Standard deviations within which 95 % of a normal error lie."""


@dataclass(frozen=True)
class Change:
    """A measurement before and after.

    Attributes:
        before, after: in ``unit``.
        unit: ``ml`` or ``mm2/s``.
        limit: natural logarithm of the largest ratio that is measurement error.
        sources: where the limit comes from.
    """

    before: float
    after: float
    unit: str
    limit: float
    sources: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Of what was there before; negative where it became less."""
        return (self.after / self.before - 1.0) * 100.0

    @property
    def error_percent(self) -> tuple[float, float]:
        """The largest fall and the largest rise that are measurement error."""
        return (math.exp(-self.limit) - 1.0) * 100.0, (math.exp(self.limit) - 1.0) * 100.0

    @property
    def direction(self) -> int:
        """1 where it rose by more than the error, -1 where it fell by more, else 0."""
        ratio = math.log(self.after / self.before)
        return 0 if abs(ratio) <= self.limit else 1 if ratio > 0.0 else -1

    def as_json(self) -> dict[str, object]:
        """As plan.json has it."""
        return {
            "before": self.before,
            "after": self.after,
            "unit": self.unit,
            "percent": round(self.percent, 1),
            "error_percent": [round(bound, 1) for bound in self.error_percent],
            "beyond_error": self.direction != 0,
            "sources": list(self.sources),
        }


def volume_sd_ml(flag: FlaggedLesion, criteria: Criteria) -> float:
    """Standard deviation of one measurement of the lesion's volume.

    Three errors of their own: repeating the outline, the edge that two people draw apart (over the surface of a sphere
    of that volume, the least a lesion can have), and the voxels that the edge cuts, in a binary mask.
    """
    volume_ml = flag.volume_ml
    repeated = volume_ml * criteria.volume_repeatability.within_lesion_cv_percent / 100.0
    surface_mm2 = math.pi ** (1.0 / 3.0) * (6.0 * volume_ml * 1000.0) ** (2.0 / 3.0)
    outline = surface_mm2 * criteria.outline.edge_mm / 1000.0
    return math.hypot(repeated, outline, _voxel_sd_ml(flag, criteria.voxels.edge_voxel_sd))


def _voxel_sd_ml(flag: FlaggedLesion, edge_voxel_sd: float) -> float:
    """Of a binary mask: a voxel beside the edge on either side may be cut by it, half of them are."""
    if flag.mask_kind is not MaskKind.BINARY:
        return 0.0
    mask = flag.mask >= 0.5
    inner = mask & ~ndimage.binary_erosion(mask)
    outer = ~mask & ndimage.binary_dilation(mask)
    cut = (inner.sum(axis=(1, 2)) + outer.sum(axis=(1, 2))) / 2.0
    return edge_voxel_sd * math.sqrt(float(cut @ flag.grid.voxel_volumes_ml**2))


def volume_change(prior: Sequence[FlaggedLesion], current: Sequence[FlaggedLesion], criteria: Criteria) -> Change:
    """Of all the volumes together; either side holds at least one lesion."""
    sums, parts = [], []
    for flags in (prior, current):
        volume_ml = sum(flag.volume_ml for flag in flags)
        sums.append(volume_ml)
        parts.append(math.hypot(*(volume_sd_ml(flag, criteria) for flag in flags)) / volume_ml)
    rows = (criteria.volume_repeatability, criteria.outline, criteria.voxels)
    return Change(sums[0], sums[1], "ml", TWO_SIDED_95 * math.hypot(*parts), tuple(row.citation for row in rows))


AdcAndVolume = tuple[float | None, float]
"""Median ADC in mm2/s, None where there is no map, and volume in ml."""


def adc_change(prior: Sequence[AdcAndVolume], current: Sequence[AdcAndVolume], criteria: Criteria) -> Change | None:
    """Of the median ADC, where several lesions weigh by their volume; None where one has no ADC."""
    means = []
    for side in (prior, current):
        known = [(adc, volume_ml) for adc, volume_ml in side if adc is not None and adc > 0.0]
        if len(known) != len(side) or not known:
            return None
        adcs, volumes = np.array(known).T
        means.append(float(np.average(adcs, weights=volumes)))
    row = criteria.adc_repeatability
    return Change(means[0], means[1], "mm2/s", math.log1p(row.coefficient_percent / 100.0), (row.citation,))
