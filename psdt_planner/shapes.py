"""Shapes in the planning CT's frame: fields that bound a volume, rings on slices, and what the TPS will see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from psdt_planner.errors import GeometryError
from psdt_planner.geometry import Grid, Points


class RoiKind(StrEnum):
    """RTROIInterpretedType (3006,00A4) of the regions that psdt writes (PS3.3 C.8.8.8)."""

    GTV = "GTV"
    CTV = "CTV"
    PTV = "PTV"


@dataclass(frozen=True, eq=False)
class Shape:
    """A volume bounded by the zero level of a smooth field: positive inside, negative outside.

    Attributes:
        grid: fine, even lattice in the CT's frame, cropped to the volume with a border that is outside everywhere.
        field: ``float32``, shape ``grid.shape``; only its sign and zero level have a meaning.
    """

    grid: Grid
    field: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.field.shape != self.grid.shape:
            raise GeometryError(f"a field of {self.field.shape} on a grid of {self.grid.shape}")
        field = np.asarray(self.field, dtype=np.float32).view()
        field.flags.writeable = False
        object.__setattr__(self, "field", field)


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed planar ring on a slice of the planning CT.

    Attributes:
        points_mm: ``(N, 3)``, N >= 3, the first point not repeated at the end, in the CT's frame.
        slice_index: ``k`` of the CT grid; every point lies on that slice's plane.
    """

    points_mm: Points
    slice_index: int


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest as the TPS will see it.

    Attributes:
        number: ROINumber, unique in the set, stable for the same input.
        name: TG-263, ASCII, at most 16 characters, unique without regard to case.
        kind: interpreted type.
        lesion: id of the lesion it belongs to.
        contours: rings, ordered by slice.
        volume_ml: ring area times slice thickness, summed.
        description: ROIDescription, long words.
        colour: display colour, 0..255 each.
    """

    number: int
    name: str
    kind: RoiKind
    lesion: str
    contours: tuple[Contour, ...]
    volume_ml: float
    description: str
    colour: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class StructureSet:
    """What the TPS will see: always UNAPPROVED, all on one planning CT.

    Attributes:
        grid: the planning CT's grid.
        label: StructureSetLabel, at most 16 characters.
        description: StructureSetDescription; says PROPOSAL.
        rois: in order of ROI number.
    """

    grid: Grid
    label: str
    description: str
    rois: tuple[Roi, ...]


def rings_volume_ml(contours: Sequence[Contour], ct: Grid) -> float:
    """Ring area times slice thickness, summed; a slice reaches half-way to both neighbours.

    Rings of one slice are taken to lie beside each other, as psdt draws them.

    Raises:
        GeometryError: a CT of a single slice, whose thickness nobody stated.
    """
    thickness_mm = ct.voxel_volumes_ml * 1000.0 / np.prod(ct.spacing_ji_mm)
    return float(sum(ring_area_mm2(ring.points_mm) * thickness_mm[ring.slice_index] for ring in contours)) / 1000.0


def rings_centroid_mm(contours: Sequence[Contour], ct: Grid) -> Points:
    """``(3,)``, centre of mass of what the rings hold, each as thick as its slice.

    Raises:
        GeometryError: no ring with an area, or a CT of a single slice.
    """
    thickness_mm = ct.voxel_volumes_ml
    weights = np.array([ring_area_mm2(ring.points_mm) * thickness_mm[ring.slice_index] for ring in contours])
    if not weights.any():
        raise GeometryError("no ring with an area has a centroid")
    centres = np.array([_ring_centroid_mm(ring.points_mm) for ring in contours])
    return np.asarray(weights @ centres / weights.sum())


def ring_area_mm2(points_mm: Points) -> float:
    """Area of a closed planar ring ``(N, 3)`` of any orientation."""
    return float(np.linalg.norm(_wedges(points_mm).sum(axis=0))) / 2.0


def _ring_centroid_mm(points_mm: Points) -> Points:
    """Centroid of the area of a ring: of the triangles from its first point, weighted by their signed areas."""
    wedges = _wedges(points_mm)
    whole = wedges.sum(axis=0)
    weights = wedges @ whole / (whole @ whole)
    corners = (points_mm[0] + points_mm + np.roll(points_mm, -1, axis=0)) / 3.0
    return np.asarray(weights @ corners)


def _wedges(points_mm: Points) -> Points:
    """``(N, 3)``, twice the vector area of each triangle from the first point along the ring."""
    from_first = points_mm - points_mm[0]
    return np.asarray(np.cross(from_first, np.roll(from_first, -1, axis=0)))
