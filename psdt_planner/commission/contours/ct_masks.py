"""Spheres as masks on CT, at random places within a voxel: what each method's rings come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from psdt_planner.commission.contours.measures import Drawn, sphere_errors_mm
from psdt_planner.commission.contours.methods import Mask, Method
from psdt_planner.commission.contours.solids import Solid, ball
from psdt_planner.geometry import Grid, Points

FRAME = "1.2.826.0.1.3680043.8.498.1001"
RIM_VOXELS = 4
"""Empty voxels on every side of a sphere."""

RADII_MM = (4.0, 6.0, 10.0, 20.0, 40.0)
LARGE_MM = 40.0
"""From this radius on, a third of the places do: their figures hardly depend on the place."""

IDEAL, VOXELS = "ideal polygon", "voxel count"


@dataclass(frozen=True)
class Ct:
    """Distances of rows, columns and slices."""

    pixel_mm: float
    slice_mm: float

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.pixel_mm:g} × {self.pixel_mm:g} × {self.slice_mm:g} mm"


FINER, COARSER, PUBLISHED = Ct(1.0, 2.0), Ct(1.27, 3.0), Ct(0.9766, 2.0)
CTS = (FINER, COARSER, PUBLISHED)


@dataclass(frozen=True)
class MaskRow:
    """One sphere, one method.

    Attributes:
        ct: name of the CT's voxels.
        method: or ``ideal polygon``, or ``voxel count``, whose volume is that of the mask, and which has no surface.
        volume_mm3: of the rings, each as thick as the slices are apart.
        mask_mm3, true_mm3: of the voxels, and of the sphere.
        signed_mm, rms_mm: of the distances of the rings to the sphere's circle on each slice, outwards positive; None
            without rings.
    """

    ct: str
    radius_mm: float
    place: int
    method: str
    volume_mm3: float
    mask_mm3: float
    true_mm3: float
    signed_mm: float | None
    rms_mm: float | None
    points: int

    @property
    def of_true(self) -> float:
        """Volume beyond the sphere's, in percent of it."""
        return 100.0 * (self.volume_mm3 / self.true_mm3 - 1.0)

    @property
    def of_mask(self) -> float:
        """Volume beyond the mask's, in percent of it."""
        return 100.0 * (self.volume_mm3 / self.mask_mm3 - 1.0)


@dataclass(frozen=True)
class MaskJob:
    """Spheres of one radius on one CT."""

    ct: Ct
    radius_mm: float
    places: int
    seed: int

    @property
    def name(self) -> str:
        """For the progress bar."""
        return f"CT {self.ct.name}, radius {self.radius_mm:g} mm"


def mask_jobs(places: int, seed: int) -> tuple[MaskJob, ...]:
    """Every radius on every CT."""
    return tuple(
        MaskJob(ct, radius, max(1, places // 3) if radius >= LARGE_MM else places, seed)
        for ct in CTS
        for radius in RADII_MM
    )


def run_masks(job: MaskJob, methods: dict[str, Method]) -> tuple[MaskRow, ...]:
    """Every method on the same masks."""
    grid, spheres = placed(job)
    masks = [sphere.holds(grid.centres_mm()) for sphere in spheres]
    drawn: dict[str, Sequence[Drawn]] = {IDEAL: [Drawn.of(ideal(sphere, grid)) for sphere in spheres]}
    for name, method in methods.items():
        drawn[name] = [Drawn.of(rings) for rings in method(masks, grid)]
    rows = [
        _row(job, place, name, one, sphere=spheres[place], mask=masks[place], ct=grid)
        for name, found in drawn.items()
        for place, one in enumerate(found)
    ]
    return (*rows, *_counted(rows))


def placed(job: MaskJob) -> tuple[Grid, list[Solid]]:
    """A CT and spheres near its middle, anywhere within a voxel of it; the same for the same job."""
    spacing = np.array([job.ct.slice_mm, job.ct.pixel_mm, job.ct.pixel_mm])
    k, j, i = (int(n) for n in 2 * (np.ceil(job.radius_mm / spacing) + RIM_VOXELS) + 1)
    matrix = np.eye(4)[:, [2, 1, 0, 3]]
    matrix[:3, :3] *= spacing
    grid = Grid.regular(matrix, (k, j, i), FRAME)
    random = np.random.default_rng([job.seed, round(job.radius_mm), *np.round(spacing * 1000).astype(int).tolist()])
    middle = np.array([k - 1, j - 1, i - 1]) / 2.0
    centres = grid.mm_from_index(middle + random.uniform(-0.5, 0.5, (job.places, 3)))
    return grid, [ball(job.radius_mm, centre) for centre in centres]


def ideal(solid: Solid, ct: Grid) -> Iterator[tuple[int, Points]]:
    """The outline of a solid in one piece on every slice that meets it: what no method can beat."""
    for k, z in enumerate(ct.slice_origins_mm[:, 2].tolist()):
        section = solid.section(z)
        if not section.is_empty:
            yield k, shapely.get_coordinates(section)[:-1]


def _row(job: MaskJob, place: int, method: str, drawn: Drawn, *, sphere: Solid, mask: Mask, ct: Grid) -> MaskRow:
    errors = sphere_errors_mm(drawn, ct, sphere.parts[0].centre_mm, job.radius_mm)
    voxel_mm3 = job.ct.pixel_mm**2 * job.ct.slice_mm
    return MaskRow(
        ct=job.ct.name,
        radius_mm=job.radius_mm,
        place=place,
        method=method,
        volume_mm3=drawn.volume_mm3(job.ct.slice_mm),
        mask_mm3=float(mask.sum()) * voxel_mm3,
        true_mm3=sphere.volume_mm3,
        signed_mm=float(errors.mean()) if errors.size else None,
        rms_mm=float(np.sqrt((errors**2).mean())) if errors.size else None,
        points=drawn.points,
    )


def _counted(rows: Sequence[MaskRow]) -> Iterator[MaskRow]:
    """The mask itself, a row a place."""
    for row in rows:
        if row.method == IDEAL:
            count = (row.mask_mm3, row.mask_mm3, row.true_mm3, None, None, 0)
            yield MaskRow(row.ct, row.radius_mm, row.place, VOXELS, *count)


Value = Callable[[MaskRow], float | None]


def values(rows: Sequence[MaskRow], ct: Ct, radius_mm: float, method: str, value: Value) -> list[float]:
    """One number of every row of a CT, a radius and a method, where it has one."""
    chosen = [row for row in rows if (row.ct, row.radius_mm, row.method) == (ct.name, radius_mm, method)]
    return [number for row in chosen if (number := value(row)) is not None]
