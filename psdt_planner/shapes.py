"""Shapes in the planning CT's frame: fields that bound a volume, rings on slices, and what the TPS will see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon

from psdt_planner.errors import GeometryError
from psdt_planner.geometry import Grid, Points


class RoiKind(StrEnum):
    """RTROIInterpretedType (3006,00A4) of the regions that psdt writes (PS3.3 C.8.8.8); for a lesion, targets alone."""

    GTV = "GTV"
    CTV = "CTV"
    PTV = "PTV"
    ORGAN = "ORGAN"
    EXTERNAL = "EXTERNAL"


MAX_RING_BYTES: Final = 65_534
"""Longest ContourData that keeps its VR through Explicit VR (PS3.5 7.1.2)."""

TARGET_KINDS = (RoiKind.GTV, RoiKind.CTV, RoiKind.PTV)
"""What is drawn for a lesion, from the inside out."""


class HoleRule(StrEnum):
    """How a destination takes a ring with holes; never as nested CLOSED_PLANAR rings, which some readers fill."""

    FILLED = "filled"
    """Without its holes."""
    KEYHOLE = "keyhole"
    """As one ring, which reaches each hole by a channel too narrow for a pixel."""
    XOR = "xor"
    """As CLOSEDPLANAR_XOR rings, which readers combine by even and odd; some readers know nothing of them."""


class GeometricType(StrEnum):
    """ContourGeometricType (3006,0042) of the rings that psdt writes (PS3.3 C.8.8.6.3)."""

    CLOSED_PLANAR = "CLOSED_PLANAR"
    XOR = "CLOSEDPLANAR_XOR"


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
        holes_mm: rings ``(M, 3)`` within it, on the same plane, that it leaves out. DICOM has no such ring:
            `psdt_planner.contours.by_rule` turns it into those that a destination takes.
        geometric_type: XOR where the ring is to be combined with the slice's other XOR rings by even and odd.
    """

    points_mm: Points
    slice_index: int
    holes_mm: tuple[Points, ...] = ()
    geometric_type: GeometricType = GeometricType.CLOSED_PLANAR


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest as the TPS will see it.

    Attributes:
        number: ROINumber, unique in the set, stable for the same input.
        name: TG-263, ASCII, at most 16 characters, unique without regard to case.
        kind: interpreted type.
        lesion: id of the lesion it belongs to; empty for what is no target.
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

    Holes are taken off. CLOSED_PLANAR rings of one slice are taken to lie beside each other, as psdt draws them; XOR
    rings may lie within each other, but do not cross.

    Raises:
        GeometryError: a CT of a single slice, whose thickness nobody stated.
    """
    thickness_mm = ct.voxel_volumes_ml * 1000.0 / np.prod(ct.spacing_ji_mm)
    signed = list(_signed(contours, ct))
    return float(_signed_areas_mm2(signed) @ [thickness_mm[k] for _, k, _ in signed]) / 1000.0


def rings_centroid_mm(contours: Sequence[Contour], ct: Grid) -> Points:
    """``(3,)``, centre of mass of what the rings hold, each as thick as its slice; holes as in `rings_volume_ml`.

    Raises:
        GeometryError: no ring with an area, or a CT of a single slice.
    """
    thickness_mm = ct.voxel_volumes_ml
    signed = list(_signed(contours, ct))
    weights = _signed_areas_mm2(signed) * [thickness_mm[k] for _, k, _ in signed]
    if not weights.any():
        raise GeometryError("no ring with an area has a centroid")
    held = weights != 0.0
    centres = np.array([_ring_centroid_mm(points) for (points, _, _), some in zip(signed, held, strict=True) if some])
    return np.asarray(weights[held] @ centres / weights.sum())


def _signed(contours: Sequence[Contour], ct: Grid) -> Iterator[tuple[Points, int, float]]:
    """Every ring with its slice, and whether what it bounds is added (1) or taken off (-1)."""
    xor = [contour for contour in contours if contour.geometric_type is GeometricType.XOR]
    flat = {id(contour): Polygon(ct.index_from_mm(contour.points_mm)[:, 1:]) for contour in xor}
    for contour in contours:
        around = 0
        if contour.geometric_type is GeometricType.XOR:
            others = (o for o in xor if o is not contour and o.slice_index == contour.slice_index)
            around = sum(flat[id(other)].contains(flat[id(contour)]) for other in others)
        yield contour.points_mm, contour.slice_index, -1.0 if around % 2 else 1.0
        for hole in contour.holes_mm:
            yield hole, contour.slice_index, -1.0


def _signed_areas_mm2(signed: Sequence[tuple[Points, int, float]]) -> Points:
    return ring_areas_mm2([points for points, _, _ in signed]) * [sign for _, _, sign in signed]


def ring_areas_mm2(rings_mm: Sequence[Points]) -> Points:
    """``(R,)``, area of each closed planar ring ``(N, 3)`` of any orientation, all measured at once."""
    if not rings_mm:
        return np.zeros(0)
    ends = np.cumsum([len(points) for points in rings_mm])
    starts = np.append(0, ends[:-1])
    points = np.concatenate(rings_mm)
    here = points - np.repeat(points[starts], ends - starts, axis=0)
    after = np.arange(1, len(points) + 1)
    after[ends - 1] = starts
    return np.asarray(np.linalg.norm(np.add.reduceat(_crossed(here, here[after]), starts), axis=1)) / 2.0


def _ring_centroid_mm(points_mm: Points) -> Points:
    """Centroid of the area of a ring: of the triangles from its first point, weighted by their signed areas."""
    wedges = _wedges(points_mm)
    whole = wedges.sum(axis=0)
    weights = wedges @ whole / (whole @ whole)
    corners = (points_mm[0] + points_mm + np.roll(points_mm, -1, axis=0)) / 3.0
    return np.asarray(weights @ corners)


def _wedges(points_mm: Points) -> Points:
    """``(N, 3)``, twice the vector area of each triangle from the first point along the ring."""
    here = points_mm - points_mm[0]
    return _crossed(here, np.concatenate([here[1:], here[:1]]))


def _crossed(here: Points, then: Points) -> Points:
    """As np.cross has it, at a quarter of its time."""
    return np.asarray(here[:, (1, 2, 0)] * then[:, (2, 0, 1)] - here[:, (2, 0, 1)] * then[:, (1, 2, 0)])
