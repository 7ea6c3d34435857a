"""Images as numbers on a grid, with their unit and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.errors import FrameError, GeometryError
from psdt_planner.geometry import Grid, Rigid


class Kind(StrEnum):
    """What the numbers of a series mean; the words that ``psdt inspect`` prints."""

    PLANNING_CT = "planning-ct"
    CT = "ct"
    DWI = "dwi"
    DWI_TRACE = "dwi-trace"
    ADC = "adc"
    DWI_CALCULATED = "dwi-calculated"
    T1 = "t1"
    T2 = "t2"
    DIXON_IN = "dixon-in"
    DIXON_OUT = "dixon-out"
    DIXON_WATER = "dixon-water"
    DIXON_FAT = "dixon-fat"
    MR_OTHER = "mr-other"
    PET = "pet"
    SEG = "seg"
    SR = "sr"
    RTSTRUCT = "rtstruct"
    REGISTRATION = "registration"
    RTPLAN = "rtplan"
    RTDOSE = "rtdose"
    OTHER = "other"


@dataclass(frozen=True)
class Quantity:
    """What a voxel's number is: ``unit`` is ``HU``, ``mm2/s`` or ``1`` (arbitrary signal)."""

    kind: Kind
    unit: str
    b_value_s_per_mm2: float | None = None


@dataclass(frozen=True, eq=False)
class Volume:
    """Read-only numbers on a grid.

    Attributes:
        grid: where the voxels are.
        array: ``float32``, shape ``grid.shape``, in ``quantity.unit``; made read-only here.
        quantity: what the numbers are.
        series_uid: SeriesInstanceUID they were read from.
        phase_encoding_mm: ``(3,)`` unit vector of the phase-encode axis in the frame, or None where nobody stated it.

    Raises:
        GeometryError: the array does not fit the grid.
    """

    grid: Grid
    array: NDArray[np.float32]
    quantity: Quantity
    series_uid: str
    phase_encoding_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise GeometryError(f"{self.array.shape} voxels on a grid of {self.grid.shape}", where=self.series_uid)
        array = np.asarray(self.array, dtype=np.float32).view()
        array.flags.writeable = False
        object.__setattr__(self, "array", array)


def sample(
    volume: Volume, points_mm: NDArray[np.float64], frame: str, *, order: int = 1, outside: float = 0.0
) -> NDArray[np.float32]:
    """The volume at points ``(..., 3)`` of its own ``frame``, by spline interpolation of the given order.

    Raises:
        FrameError: the points are of another frame.
    """
    if frame != volume.grid.frame:
        raise FrameError(f"points of frame {frame} in a volume of frame {volume.grid.frame}")
    index = np.moveaxis(volume.grid.index_from_mm(points_mm), -1, 0)
    values = ndimage.map_coordinates(volume.array, index, order=order, mode="constant", cval=outside, output=np.float32)
    return np.asarray(values, dtype=np.float32)


def resample(
    volume: Volume, onto: Grid, onto_from_volume: Rigid, *, order: int = 1, outside: float = 0.0
) -> NDArray[np.float32]:
    """The volume's numbers at the voxel centres of another grid, shape ``onto.shape``.

    Works slice by slice, so that a large target needs little memory.

    Raises:
        FrameError: the transform does not join the two frames.
    """
    if (onto_from_volume.target, onto_from_volume.source) != (onto.frame, volume.grid.frame):
        raise FrameError(f"{onto_from_volume.target} from {onto_from_volume.source} does not join the two grids")
    back = onto_from_volume.inverse()
    out = np.empty(onto.shape, dtype=np.float32)
    in_plane = (
        np.arange(onto.shape[1])[:, None, None] * onto.step_j_mm + np.arange(onto.shape[2])[:, None] * onto.step_i_mm
    )
    for k, origin in enumerate(onto.slice_origins_mm):
        out[k] = sample(volume, back.apply(origin + in_plane), volume.grid.frame, order=order, outside=outside)
    return out
