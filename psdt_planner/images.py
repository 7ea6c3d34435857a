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


@dataclass(frozen=True)
class Station:
    """One of the series that a volume was composed of.

    Attributes:
        series_uid: SeriesInstanceUID.
        moved_mm: ``(3,)``, in the frame, from where the volume shows its content to where the series itself has it.
    """

    series_uid: str
    moved_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Seam:
    """Where two neighbouring stations meet.

    Attributes:
        lower_uid, upper_uid: their series; upper is the one further along the slice normal.
        overlap_slices: slices of the lower station within the upper one.
        gap_mm: way between the nearest slices where they do not overlap; 0 where they do.
        gain: factor brought to the upper station relative to the lower one.
        shift_mm: ``(3,)``, how far the upper station's content lay from the lower one's, in the frame.
        correlation: in the overlap after both.
        step: relative signal step that is left.
    """

    lower_uid: str
    upper_uid: str
    overlap_slices: int
    gap_mm: float
    gain: float
    shift_mm: tuple[float, float, float]
    correlation: float
    step: float


@dataclass(frozen=True, eq=False)
class Volume:
    """Read-only numbers on a grid.

    Attributes:
        grid: where the voxels are.
        array: ``float32``, shape ``grid.shape``, in ``quantity.unit``; made read-only here.
        quantity: what the numbers are.
        series_uid: SeriesInstanceUID they were read from; of several stations, that whose places the volume has.
        phase_encoding_mm: ``(3,)`` unit vector of the phase-encode axis in the frame, or None where nobody stated it.
        stations: what it was composed of, along the slices; empty where it is one series as it was read.
        seams: where these meet, one fewer.

    Raises:
        GeometryError: the array does not fit the grid.
    """

    grid: Grid
    array: NDArray[np.float32]
    quantity: Quantity
    series_uid: str
    phase_encoding_mm: tuple[float, float, float] | None = None
    stations: tuple[Station, ...] = ()
    seams: tuple[Seam, ...] = ()

    @property
    def series_uids(self) -> tuple[str, ...]:
        """Every series that its numbers come from."""
        return tuple(station.series_uid for station in self.stations) or (self.series_uid,)

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
