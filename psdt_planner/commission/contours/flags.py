"""Lesions flagged on coarse DWI voxels and carried to the CT: how near the rings come to the lesion's own surface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from psdt_planner.commission.contours.ct_masks import FRAME
from psdt_planner.commission.contours.measures import Drawn, Ring, dice, hd95_mm
from psdt_planner.commission.contours.methods import (
    ISO_LINE,
    RT_UTILS,
    Mask,
    by_iso_line,
    by_rt_utils,
    flat,
    iso_lines,
)
from psdt_planner.commission.contours.solids import Solid, ball, ellipsoid, together
from psdt_planner.contours import lesion_shape, trace
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side

MR_FRAME = "1.2.826.0.1.3680043.8.498.2001"

CT_SPACING_MM = (2.0, 1.0, 1.0)
"""Of the CT that lesions are carried to: slices, rows, columns."""

RIM_MM = 8.0
"""How far the CT and the MR reach beyond the lesion."""

TURN_DEG, SHIFT_MM = 12.0, 8.0
"""Most that the MR is turned about each axis and shifted along it, against the CT."""

DIVISIONS = (9, 5, 5)
"""Parts of a voxel along slice, row and column that are asked whether they lie in the lesion."""

NOISE = 0.15
"""SD of the noise on the fraction of every voxel that the lesion's surface crosses; it is kept within 0 and 1."""

OURS = "psdt"
NEAREST_RT, NEAREST_ISO, LINEAR = f"nearest voxel, {RT_UTILS}", f"nearest voxel, {ISO_LINE}", "linear, at least 0.5"
SMOOTHED = "Gaussian, cubic, volume kept"
METHODS = (OURS, NEAREST_RT, NEAREST_ISO, LINEAR, SMOOTHED)


class FlagKind(StrEnum):
    """What is known of each voxel of the flag."""

    BINARY = "binary"
    """Whether at least half of it is lesion."""
    SOFT = "soft"
    """The fraction of it that is lesion."""
    NOISY = "soft with noise"
    """That fraction, with noise on it."""


SMOOTHED_MM = {FlagKind.BINARY: 2.5, FlagKind.SOFT: 1.0, FlagKind.NOISY: 1.5}
"""SD of the Gaussian that was best for each kind, of those tried before psdt was written: over a binary flag's signed
distance, and over the fractions themselves."""

LEVELS = 30
"""Halvings of the interval that a level is looked for in."""

VOXELS = ((5.0, 1.6, 1.6), (6.0, 2.5, 2.5))
"""Slices, rows and columns of the DWI in mm."""

SMALL, MIDDLE, LARGE = "sphere 4 to 5 mm", "sphere 6 mm", "sphere 10 mm"


def _small(random: np.random.Generator) -> Solid:
    return Solid(SMALL, ball(float(random.uniform(4.0, 5.0))).parts)


def _lobed(random: np.random.Generator) -> Solid:
    """A body of 7 mm with three lobes of 4 to 5 mm on it."""
    ways = Rotation.random(rng=random).as_matrix()
    lobes = [ball(float(random.uniform(4.0, 5.0)), way * 6.0) for way in ways]
    return together("lobed", [ball(7.0), *lobes])


SOLIDS: Mapping[str, Callable[[np.random.Generator], Solid]] = {
    SMALL: _small,
    MIDDLE: lambda _random: ball(6.0),
    LARGE: lambda _random: ball(10.0),
    "ellipsoid 4 × 6 × 10 mm": lambda _random: ellipsoid("ellipsoid 4 × 6 × 10 mm", (4.0, 6.0, 10.0)),
    "ellipsoid 6 × 9 × 15 mm": lambda _random: ellipsoid("ellipsoid 6 × 9 × 15 mm", (6.0, 9.0, 15.0)),
    "lobed": _lobed,
}
"""Lesions by name; each place has its own turn."""


@dataclass(frozen=True)
class FlagRow:
    """One lesion, one method; the mask's own volume is that of its voxels, weighted by their fraction."""

    voxels: str
    kind: FlagKind
    solid: str
    place: int
    method: str
    volume_mm3: float
    mask_mm3: float
    true_mm3: float
    dice: float
    hd95_mm: float

    @property
    def of_true(self) -> float:
        """Volume beyond the lesion's, in percent of it."""
        return 100.0 * (self.volume_mm3 / self.true_mm3 - 1.0)

    @property
    def of_mask(self) -> float:
        """Volume beyond the mask's, in percent of it."""
        return 100.0 * (self.volume_mm3 / self.mask_mm3 - 1.0)


@dataclass(frozen=True)
class FlagJob:
    """Lesions of one form on DWI of one size of voxels."""

    spacing_kji_mm: tuple[float, float, float]
    solid: str
    places: int
    seed: int

    @property
    def name(self) -> str:
        """For the progress bar."""
        return f"DWI {voxels_name(self.spacing_kji_mm)}, {self.solid}"


def voxels_name(spacing_kji_mm: tuple[float, float, float]) -> str:
    """For tables."""
    k, j, i = spacing_kji_mm
    return f"{i:g} × {j:g} × {k:g} mm"


def flag_jobs(places: int, seed: int) -> tuple[FlagJob, ...]:
    """Every form on every size of voxels, at three fifths of the places: each of them is flagged in three ways."""
    fewer = max(1, 3 * places // 5)
    return tuple(FlagJob(spacing, solid, fewer, seed) for spacing in VOXELS for solid in SOLIDS)


@dataclass(frozen=True, eq=False)
class Scene:
    """A lesion on the CT, the DWI that it was flagged on, the fraction of each of its voxels that is lesion."""

    solid: Solid
    ct: Grid
    ct_from_mr: Rigid
    mr: Grid
    fraction: NDArray[np.float32]


def scene(job: FlagJob, place: int) -> Scene:
    """The same for the same job and place: lesion, CT and MR are turned and shifted against each other."""
    form = list(SOLIDS).index(job.solid)
    random = np.random.default_rng([job.seed, place, form, *(round(1000 * mm) for mm in job.spacing_kji_mm)])
    turn = Rotation.random(rng=random).as_matrix()
    solid = SOLIDS[job.solid](random).moved(turn, random.uniform(-5.0, 5.0, 3))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(random.uniform(-TURN_DEG, TURN_DEG, 3), degrees=True).as_matrix()
    matrix[:3, 3] = random.uniform(-SHIFT_MM, SHIFT_MM, 3)
    ct_from_mr = Rigid(matrix, FRAME, MR_FRAME)
    ct = _around(solid, CT_SPACING_MM, FRAME, random)
    mr_from_ct = ct_from_mr.inverse().matrix
    there = solid.moved(mr_from_ct[:3, :3], mr_from_ct[:3, 3])
    mr = _around(there, job.spacing_kji_mm, MR_FRAME, random)
    return Scene(solid, ct, ct_from_mr, mr, fractions(there, mr))


def _around(solid: Solid, spacing_kji_mm: tuple[float, float, float], frame: str, random: np.random.Generator) -> Grid:
    """A lattice along x, y and z that holds the solid with a rim, its voxels anywhere against it."""
    spacing = np.array(spacing_kji_mm)
    low, high = solid.bounds_mm
    corner = low - RIM_MM - random.uniform(0.0, 1.0, 3) * spacing[::-1]
    k, j, i = (int(n) for n in np.ceil((high - corner + RIM_MM)[::-1] / spacing) + 1)
    matrix = np.eye(4)[:, [2, 1, 0, 3]]
    matrix[:3, :3] *= spacing
    matrix[:3, 3] = corner
    return Grid.regular(matrix, (k, j, i), frame)


def fractions(solid: Solid, grid: Grid) -> NDArray[np.float32]:
    """The part of each voxel that lies in the solid, from `DIVISIONS` points in it."""
    kji = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1).astype(np.float64)
    within = [(np.arange(n) + 0.5) / n - 0.5 for n in DIVISIONS]
    held = np.zeros(grid.shape)
    for step in product(*within):
        held += solid.holds(grid.mm_from_index(kji + np.array(step)))
    return np.asarray(held / np.prod(DIVISIONS), dtype=np.float32)


def run_flags(job: FlagJob) -> tuple[FlagRow, ...]:
    """Every method on every kind of flag of every place; a binary flag without a voxel is left out."""
    return tuple(row for place in range(job.places) for row in _rows(job, place))


def _rows(job: FlagJob, place: int) -> Iterator[FlagRow]:
    made = scene(job, place)
    truth = {
        k: section
        for k, z in enumerate(made.ct.slice_origins_mm[:, 2].tolist())
        if not (section := made.solid.section(z)).is_empty
    }
    surface = made.solid.surface()
    true_mm3, voxel_mm3 = made.solid.volume_mm3, float(np.prod(job.spacing_kji_mm))
    for kind in FlagKind:
        mask = flagged(made.fraction, kind, np.random.default_rng([job.seed, place]))
        if not mask.any():
            continue
        for method in METHODS:
            drawn = carried(method, made, mask, kind)
            yield FlagRow(
                voxels=voxels_name(job.spacing_kji_mm),
                kind=kind,
                solid=job.solid,
                place=place,
                method=method,
                volume_mm3=drawn.volume_mm3(CT_SPACING_MM[0]),
                mask_mm3=float(mask.sum()) * voxel_mm3,
                true_mm3=true_mm3,
                dice=dice(drawn.areas, truth),
                hd95_mm=hd95_mm(drawn.areas, truth, surface, made.ct),
            )


def flagged(fraction: NDArray[np.float32], kind: FlagKind, random: np.random.Generator) -> NDArray[np.float32]:
    """The flag's mask, from the part of each voxel that is lesion."""
    if kind is FlagKind.BINARY:
        return (fraction >= 0.5).astype(np.float32)
    if kind is FlagKind.SOFT:
        return fraction
    noisy = np.clip(fraction + random.normal(0.0, NOISE, fraction.shape), 0.0, 1.0)
    return np.where((fraction > 0.0) & (fraction < 1.0), noisy, fraction).astype(np.float32)


def carried(method: str, made: Scene, mask: NDArray[np.float32], kind: FlagKind) -> Drawn:
    """The rings that a method draws of a flag's mask on the CT."""
    if method == OURS:
        shape = lesion_shape(_lesion(made.mr, mask, kind), made.ct_from_mr, made.ct)
        return Drawn.of(flat(trace(shape, made.ct).contours))
    if method == SMOOTHED:
        return Drawn.of(smoothed(made, mask, kind))
    on_ct = resampled(made, mask, 1 if method == LINEAR else 0)
    draw = by_rt_utils if method == NEAREST_RT else by_iso_line
    return Drawn.of(draw([on_ct], made.ct)[0])


def smoothed(made: Scene, mask: NDArray[np.float32], kind: FlagKind) -> list[Ring]:
    """The flag smoothed on its own grid, at the CT's voxels by cubic splines; the iso-line that keeps its volume."""
    spacing_mm, pad = np.array(made.mr.spacing_kji_mm), 6
    wide = np.pad(mask.astype(np.float64), pad)
    if kind is FlagKind.BINARY:
        wide = ndimage.distance_transform_edt(wide, spacing_mm) - ndimage.distance_transform_edt(wide == 0, spacing_mm)
    soft = ndimage.gaussian_filter(wide, SMOOTHED_MM[kind] / spacing_mm, mode="nearest")
    index = made.mr.index_from_mm(made.ct_from_mr.inverse().apply(made.ct.centres_mm().reshape(-1, 3))) + pad
    on_ct = ndimage.map_coordinates(soft, index.T, order=3, mode="nearest").reshape(made.ct.shape)
    wanted_mm3 = float(mask.sum()) * float(np.prod(spacing_mm))
    low, high = float(on_ct.min()), float(on_ct.max())
    for _ in range(LEVELS):
        level = (low + high) / 2.0
        larger = Drawn.of(iso_lines(on_ct, level, made.ct)).volume_mm3(CT_SPACING_MM[0]) > wanted_mm3
        low, high = (level, high) if larger else (low, level)
    return iso_lines(on_ct, (low + high) / 2.0, made.ct)


def resampled(made: Scene, mask: NDArray[np.float32], order: int) -> Mask:
    """The flag on the CT's voxels, by the nearest voxel (order 0) or between eight (1): where it is at least a half."""
    index = made.mr.index_from_mm(made.ct_from_mr.inverse().apply(made.ct.centres_mm().reshape(-1, 3)))
    found = ndimage.map_coordinates(mask, index.T, order=order, mode="constant")
    return np.asarray(found.reshape(made.ct.shape) >= 0.5)


def _lesion(mr: Grid, mask: NDArray[np.float32], kind: FlagKind) -> FlaggedLesion:
    mask_kind = MaskKind.BINARY if kind is FlagKind.BINARY else MaskKind.OCCUPANCY
    source = FlagSource("1.2.840.10008.5.1.4.1.1.66.4", "1.2.3", 1)
    return FlaggedLesion("L1", "", "bone", "label", Side.UNKNOWN, "", mr, mask, mask_kind, source)


def chosen(rows: Sequence[FlagRow], voxels: str, kind: FlagKind, solid: str, method: str) -> list[FlagRow]:
    """The rows of one cell of the table."""
    wanted = (voxels, kind, solid, method)
    return [row for row in rows if (row.voxels, row.kind, row.solid, row.method) == wanted]
