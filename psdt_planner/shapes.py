"""Shapes in the planning CT's frame: fields that bound a volume, rings on slices, and what the TPS will see."""

from __future__ import annotations

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
