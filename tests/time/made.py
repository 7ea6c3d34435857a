"""Lesions whose truth is known: ellipsoids drawn on oblique, anisotropic lattices, and exams with every fate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

import psdt_planner
from psdt_planner.criteria import parse_criteria
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side
from psdt_planner.timeline import Fate, Seen, SeenLesion, everywhere, place_lesion

CRITERIA = parse_criteria(
    (Path(psdt_planner.__file__).parent / "criteria" / "psdt.toml").read_text(encoding="utf-8"), "psdt"
)
CT, MR, OLD_MR = "1.2.3.1", "1.2.3.2", "1.2.3.3"
STEPS_MM = (5.0, 2.5, 2.2)
"""Slice, row and column: of whole-body diffusion, and no two alike."""

ADC = 0.9e-3


def rigid(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float], target: str, source: str) -> Rigid:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return Rigid(matrix, target, source)


CT_FROM_MR = rigid((7.0, -12.0, 4.0), (13.0, -8.0, 31.0), CT, MR)
CT_FROM_OLD = rigid((-9.0, 5.0, 15.0), (-22.0, 6.0, -17.0), CT, OLD_MR)


@dataclass(frozen=True)
class Ellipsoid:
    """In the common frame; ``cut`` keeps the part where a coordinate along x is below or above a plane."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    cut: tuple[float, float] | None = None
    """From and to, along x from the centre."""

    def holds(self, points_mm: Points) -> NDArray[np.bool_]:
        way = points_mm - np.array(self.centre_mm)
        inside = ((way / np.array(self.radii_mm)) ** 2).sum(axis=-1) <= 1.0
        if self.cut:
            inside &= (way[..., 0] >= self.cut[0]) & (way[..., 0] <= self.cut[1])
        return np.asarray(inside)

    @property
    def volume_ml(self) -> float:
        assert self.cut is None
        return 4.0 / 3.0 * math.pi * math.prod(self.radii_mm) / 1000.0

    def times(self, volume_factor: float) -> Ellipsoid:
        scale = volume_factor ** (1.0 / 3.0)
        return replace(self, radii_mm=tuple(scale * radius for radius in self.radii_mm))


def drawn(
    shape: Ellipsoid,
    common_from_own: Rigid,
    name: str,
    *,
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
    tracking_uid: str = "",
    site: str = "bone",
    label: str = "left iliac wing",
) -> FlaggedLesion:
    """A binary mask on the exam's own lattice, which is oblique to the common frame; ``offset`` in voxels moves it."""
    centre = common_from_own.inverse().apply(np.array(shape.centre_mm))
    counts = [int(2 * math.ceil(max(shape.radii_mm) / step + 2) + 1) for step in STEPS_MM]
    step_k, step_j, step_i = np.diag(STEPS_MM)[:, ::-1]
    # k along z, j along y, i along x of the exam's own frame
    origin = centre - sum(
        (count // 2 + part) * step for count, part, step in zip(counts, offset, (step_k, step_j, step_i), strict=True)
    )
    origins = origin + np.arange(counts[0])[:, None] * step_k
    grid = Grid(origins, step_j, step_i, (counts[0], counts[1], counts[2]), common_from_own.source)
    inside = shape.holds(common_from_own.apply(grid.centres_mm()))
    mask = inside.astype(np.float32)
    source = FlagSource("1.2.840.10008.5.1.4.1.1.66.4", f"1.2.3.{common_from_own.source[-1]}.9", 1)
    return FlaggedLesion(name, label, site, "code", Side.LEFT, tracking_uid, grid, mask, MaskKind.BINARY, source)


def seen(*lesions: SeenLesion, covers: Callable[[Points], NDArray[np.bool_]] = everywhere) -> Seen:
    return Seen(CT, lesions, covers)


def lesion(
    shape: Ellipsoid,
    name: str,
    *,
    old: bool = False,
    adc: float | None = ADC,
    uid: str = "",
    error_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
    **words: str,
) -> SeenLesion:
    """Placed in the common frame, wrongly by ``error_mm``, within a bound of 3 mm."""
    truth = CT_FROM_OLD if old else CT_FROM_MR
    flag = drawn(shape, truth, name, offset=offset, tracking_uid=uid, **words)
    matrix = truth.matrix.copy()
    matrix[:3, 3] += error_mm
    wrong = Rigid(matrix, truth.target, truth.source)
    return place_lesion(flag, wrong, frame=CT, uncertainty_mm=3.0, adc_median_mm2_per_s=adc)


# Exams with every fate ----------------------------------------------------------------------------------------------


@dataclass
class MadeExam:
    """A pair of exams and the fate of each lesion: of this exam by id, of the prior one by id where it is gone."""

    prior: list[SeenLesion] = field(default_factory=list)
    current: list[SeenLesion] = field(default_factory=list)
    fates: dict[str, Fate] = field(default_factory=dict)
    former: dict[str, Fate] = field(default_factory=dict)
    priors: dict[str, set[str]] = field(default_factory=dict)


def made_exam(seed: int) -> MadeExam:
    """Each of the seven fates once, in places 80 mm apart, with places wrong by up to 2 mm; the eighth lies unseen."""
    rng = np.random.default_rng(seed)
    exam = MadeExam()
    fates = [Fate.NEW, Fate.GROWING, Fate.STABLE, Fate.SHRINKING, Fate.GONE, Fate.MERGED, Fate.SPLIT, Fate.UNKNOWN]
    for n, at in enumerate(rng.permutation(len(fates))):
        centre = tuple(float(x) for x in np.array([80.0 * (n % 3), 80.0 * (n // 3), 40.0]) + rng.uniform(-10, 10, 3))
        _add(exam, rng, fates[at], (centre[0], centre[1], centre[2]), n)
    return exam


def _add(exam: MadeExam, rng: np.random.Generator, fate: Fate, centre: tuple[float, float, float], n: int) -> None:
    radii = tuple(float(r) for r in rng.uniform(7.0, 14.0, 3))
    shape = Ellipsoid(centre, (radii[0], radii[1], radii[2]))
    before, now = f"P{n}", f"L{n}"

    def draw(which: Ellipsoid, name: str, *, old: bool) -> SeenLesion:
        wrong, part = rng.uniform(-1.0, 1.0, 3), rng.uniform(-0.5, 0.5, 3)
        wrong *= 2.0 * rng.uniform() / np.linalg.norm(wrong)
        return lesion(
            which,
            name,
            old=old,
            error_mm=(float(wrong[0]), float(wrong[1]), float(wrong[2])),
            offset=(float(part[0]), float(part[1]), float(part[2])),
        )

    old = {before: shape}
    new = {now: shape}
    if fate is Fate.NEW:
        old = {}
    elif fate in (Fate.GONE, Fate.UNKNOWN):  # the unknown one lies where the present exam did not look
        new = {}
    elif fate in (Fate.GROWING, Fate.SHRINKING):
        factor = float(rng.uniform(2.2, 4.0))
        new = {now: shape.times(factor if fate is Fate.GROWING else 1.0 / factor)}
    elif fate in (Fate.MERGED, Fate.SPLIT):
        wide = replace(shape, radii_mm=(float(rng.uniform(16.0, 22.0)), shape.radii_mm[1], shape.radii_mm[2]))
        halves = [replace(wide, cut=(-100.0, -2.5)), replace(wide, cut=(2.5, 100.0))]
        old = {before: wide} if fate is Fate.SPLIT else {f"{before}a": halves[0], f"{before}b": halves[1]}
        new = {now: wide} if fate is Fate.MERGED else {f"{now}a": halves[0], f"{now}b": halves[1]}
    exam.prior += [draw(one, name, old=True) for name, one in old.items()]
    exam.current += [draw(one, name, old=False) for name, one in new.items()]
    if new:
        exam.fates |= dict.fromkeys(new, fate)
        exam.priors |= {name: set(old) for name in new}
    else:
        exam.former |= dict.fromkeys(old, fate)
