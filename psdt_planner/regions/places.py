"""Where in the body a place lies, from the outline of the body alone: what is bright by nature, and the side.

The body's fork and its shoulders are looked for in an MR volume; a place is then told by how far up the trunk it lies,
how far beside its middle and how far behind its front. That names a part of the body as *possible*, or, where its size
fits as well, as *likely*: it is a hint to the reader and never a reason to leave a place out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.geometry import Points
from psdt_planner.images import Volume
from psdt_planner.lesions import Side
from psdt_planner.registration.bodies import mr_body, profile
from psdt_planner.registration.sitk_bridge import coarse

STEP_MM = 6.0
SHORTEST_LEGS_MM = 24.0
"""Two parts for this far up from the lowest slice are legs."""

SHORTEST_NECK_MM = 12.0
"""Narrow for this far below the highest slice is a neck."""

TRUNK_MM = 650.0
"""From the fork of the legs to the shoulders of an adult, at most: where the thighs touch, the fork is not seen."""

BRIDGE_MM = 120.0
"""So far from a slice that shows the whole outline, the body's middle and width are taken from it."""

NARROW = 0.62
"""A body narrower than this part of the trunk's usual width is a neck."""

MIDDLE_MM = 15.0
"""Nearer to the middle of the body than this, a place has no side."""


class Sure(StrEnum):
    """How sure a name is."""

    LIKELY = "likely"
    POSSIBLE = "possible"


@dataclass(frozen=True)
class BodyPlace:
    """A part of the body that is bright by nature, and how sure it is that a place belongs to it."""

    name: str
    sure: Sure

    def __str__(self) -> str:
        return f"{self.sure.value} {self.name}"


@dataclass(frozen=True)
class Part:
    """Where a part of the body lies, each as a range.

    Attributes:
        up: part of the trunk's length above the fork of the legs.
        left: part of half the body's width to the left of its middle; negative is right.
        back: part of the body's depth behind its front.
        likely_ml: volumes that make it likely.
    """

    name: str
    up: tuple[float, float]
    left: tuple[float, float]
    back: tuple[float, float]
    likely_ml: tuple[float, float]

    def is_likely(self, volume_ml: float) -> bool:
        """Whether a place of this size fits."""
        return _within(volume_ml, self.likely_ml)

    def away(self, up: float, left: float, back: float) -> float:
        """How far off the middle of the ranges a place lies, in that range of which it lies furthest: 1 at its end."""
        spans = ((up, self.up), (left, self.left), (back, self.back))
        return max(abs(2 * value - low - high) / (high - low) for value, (low, high) in spans)


PARTS = (
    Part("spleen", (0.48, 0.80), (0.35, 1.0), (0.30, 1.0), (40.0, 800.0)),
    Part("left kidney", (0.36, 0.66), (0.18, 0.75), (0.40, 0.95), (20.0, 300.0)),
    Part("right kidney", (0.32, 0.64), (-0.75, -0.18), (0.40, 0.95), (20.0, 300.0)),
    Part("bladder", (0.08, 0.26), (-0.30, 0.30), (0.15, 0.55), (30.0, 900.0)),
    Part("prostate", (0.04, 0.16), (-0.20, 0.20), (0.30, 0.70), (10.0, 150.0)),
)
"""Adults lying on their back; of two that fit, the one whose size fits, then the one whose middle is nearer.

Bounds of what is plausible, for a hint beside a candidate: nothing is kept, left out or treated by them.
"""

ROOTS_UP, ROOTS_BESIDE_MM, ROOTS_BACK = (0.10, 1.05), 35.0, (0.40, 0.90)
ROOTS_TIMES = 3.0
"""Spinal cord and nerve roots: longer than wide by this, near the middle of the body."""

HEAD_UP, HEAD_BRAIN_ML = 1.2, 200.0
"""Above the neck; so large, nothing but brain."""

MOST = 1.5
"""A place larger than the largest likely one by this is another part of the body, such as the liver."""


@dataclass(frozen=True, eq=False)
class Body:
    """The outline of a body, slice by slice.

    Attributes:
        frame: Frame of Reference UID.
        z_mm: ``(K,)`` ascending.
        middle_mm, width_mm: ``(K,)``, left-right middle and width; NaN where they are not known.
        front_mm, depth_mm: ``(K,)``, foremost y and depth.
        fork_mm, shoulders_mm: heights; NaN where the images do not show the shoulders.
    """

    frame: str
    z_mm: Points
    middle_mm: Points
    width_mm: Points
    front_mm: Points
    depth_mm: Points
    fork_mm: float
    shoulders_mm: float

    def place(self, voxels_mm: Points, volume_ml: float) -> BodyPlace | None:
        """The part that a place ``(N, 3)`` of the body's frame may be; None where none fits, or nothing tells."""
        x, y, z = voxels_mm.mean(axis=0)
        k = int(np.abs(self.z_mm - z).argmin())
        length = self.shoulders_mm - self.fork_mm
        up = (z - self.fork_mm) / length
        if not np.isfinite([up, self.width_mm[k]]).all():
            return None
        left = (x - self.middle_mm[k]) / (self.width_mm[k] / 2)
        back = (y - self.front_mm[k]) / self.depth_mm[k]
        if up > HEAD_UP:
            return BodyPlace("brain", Sure.LIKELY if volume_ml >= HEAD_BRAIN_ML else Sure.POSSIBLE)
        if _within(up, ROOTS_UP) and _within(back, ROOTS_BACK) and self._is_strand(voxels_mm, float(x), k):
            return BodyPlace("spinal cord or nerve root", Sure.POSSIBLE)
        fits = [part for part in PARTS if part.away(up, left, back) <= 1.0 and volume_ml <= MOST * part.likely_ml[1]]
        if not fits:
            return None
        best = min(fits, key=lambda part: (not part.is_likely(volume_ml), part.away(up, left, back)))
        return BodyPlace(best.name, Sure.LIKELY if best.is_likely(volume_ml) else Sure.POSSIBLE)

    def _is_strand(self, voxels_mm: Points, x_mm: float, k: int) -> bool:
        if abs(x_mm - self.middle_mm[k]) > ROOTS_BESIDE_MM or len(voxels_mm) < 4:
            return False
        spreads = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(voxels_mm.T)), 0.0))
        return bool(spreads[2] >= ROOTS_TIMES * max(spreads[1], 1.0))


def _within(value: float, span: tuple[float, float]) -> bool:
    return span[0] <= value <= span[1]


def side_of(point_mm: Points, body: Body) -> Side:
    """Left or right of the body's middle at its height; unknown near the middle and where the middle is not known."""
    k = int(np.abs(body.z_mm - point_mm[2]).argmin())
    beside = float(point_mm[0] - body.middle_mm[k])
    if not abs(beside) > MIDDLE_MM or abs(body.z_mm[k] - point_mm[2]) > STEP_MM:
        return Side.UNKNOWN
    return Side.LEFT if beside > 0 else Side.RIGHT


def body_of(volume: Volume) -> Body:
    """The outline of the body in an MR volume that shows all of it: T1, Dixon, or low b."""
    grid, array, covered = coarse(volume, STEP_MM, outside=0.0)
    mask = mr_body(array)
    figures = profile(mask, np.zeros_like(mask), grid)
    width, depth = figures.figures[:, 1], figures.figures[:, 2]
    beside = np.pad(~covered, ((0, 0), (0, 0), (1, 1)), constant_values=True)
    edge = ndimage.binary_dilation(beside, structure=np.ones((1, 1, 3)), iterations=2)[:, :, 1:-1]
    whole = ~(mask & edge).any(axis=(1, 2)) & np.isfinite(width)
    shoulders = _shoulders(figures.z_mm, width)
    fork = _fork(mask, figures.z_mm)
    return Body(
        frame=volume.grid.frame,
        z_mm=figures.z_mm,
        middle_mm=_bridged(figures.centre_xy_mm[:, 0], whole, figures.z_mm),
        width_mm=_bridged(width, whole, figures.z_mm),
        front_mm=figures.centre_xy_mm[:, 1] - depth / 2,
        depth_mm=depth,
        fork_mm=float(np.fmax(fork, shoulders - TRUNK_MM)),
        shoulders_mm=shoulders,
    )


def _bridged(values: Points, known: NDArray[np.bool_], z_mm: Points) -> Points:
    """The values ``(K,)``, between slices where they are known linear; NaN further than `BRIDGE_MM` from any of these.

    Arms that touch the trunk and the edge of the images hide its outline, over the length of the chest.
    """
    if not known.any():
        return np.full(values.shape, np.nan)
    away = np.abs(z_mm[:, None] - z_mm[None, known]).min(axis=1)
    return np.where(away <= BRIDGE_MM, np.interp(z_mm, z_mm[known], values[known]), np.nan)


def _fork(mask: NDArray[np.bool_], z_mm: Points) -> float:
    """Height at which two legs, in the lowest slices that show a body, become one; NaN where they are not seen apart.

    Thighs that touch become one far below the trunk.
    """
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    if not filled.size:
        return float("nan")
    first = k = int(filled[0])
    while k < len(mask) and ndimage.label(mask[k])[1] == 2:
        k += 1
    return float(z_mm[k]) if k < len(mask) and z_mm[k] - z_mm[first] >= SHORTEST_LEGS_MM else float("nan")


def _shoulders(z_mm: Points, width_mm: Points) -> float:
    """Height above which the body is narrower than a trunk; NaN where the images end below."""
    shown = np.flatnonzero(np.isfinite(width_mm))
    if not shown.size:
        return float("nan")
    wide = shown[width_mm[shown] >= NARROW * np.median(width_mm[shown])]
    return float(z_mm[wide[-1]]) if z_mm[shown[-1]] - z_mm[wide[-1]] >= SHORTEST_NECK_MM else float("nan")
