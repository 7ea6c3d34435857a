"""Where things are: lattices of voxels and rigid transforms, each bound to its frame of reference.

Conventions, kept everywhere in psdt:

* Points are patient coordinates, DICOM LPS (+x left, +y posterior, +z superior), in mm, arrays of shape ``(..., 3)``.
* Array axes are ``k, j, i`` = slice, row, column; index 0 is the centre of the first voxel.
* A frame is a DICOM Frame of Reference UID. Points of two frames never meet without a `Rigid` between them.
* A transform is named ``target_from_source``, so that ``ct_from_mr @ mr_from_pet`` reads as it composes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psdt_planner.errors import FrameError, GeometryError

Points = NDArray[np.float64]

ORTHOGONAL_TOLERANCE = 1e-4
"""Largest cosine between two axes of a lattice that still counts as a right angle."""

ON_NORMAL_TOLERANCE_MM = 0.05
"""How far a slice origin may lie beside the stack's normal; beyond it the stack is sheared (a gantry tilt)."""

EVEN_TOLERANCE_MM = 0.01
"""How far a slice gap may differ from the median gap for the stack to count as even."""

RIGID_TOLERANCE = 1e-6
"""Largest deviation of R Rᵀ from identity, and of det R from 1, in a rigid matrix."""


def _frozen(values: ArrayLike) -> Points:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxel centres in one frame of reference; slice positions are kept one by one.

    Attributes:
        slice_origins_mm: ``(K, 3)``, centre of the voxel ``j = i = 0`` of each slice, in order of growing ``k``.
        step_j_mm: ``(3,)``, the way from one row to the next (DICOM: second half of ImageOrientationPatient).
        step_i_mm: ``(3,)``, the way from one column to the next (first half of ImageOrientationPatient).
        shape: ``(K, J, I)`` = slices, rows, columns.
        frame: Frame of Reference UID.

    Raises:
        GeometryError: no frame, axes that are not at right angles, slices that do not follow each other along the
            normal of the plane (tilt, duplicates, wrong order), or sizes that do not match.
    """

    slice_origins_mm: Points
    step_j_mm: Points
    step_i_mm: Points
    shape: tuple[int, int, int]
    frame: str

    def __post_init__(self) -> None:
        for name in ("slice_origins_mm", "step_j_mm", "step_i_mm"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        self._check()

    def _check(self) -> None:
        if not self.frame:
            raise GeometryError("a lattice without a frame of reference", todo="Send images that name their frame.")
        if self.slice_origins_mm.shape != (self.shape[0], 3) or min(self.shape) < 1:
            raise GeometryError(f"{self.slice_origins_mm.shape} slice origins do not fit a grid of shape {self.shape}")
        numbers = np.concatenate([self.slice_origins_mm.ravel(), self.step_j_mm, self.step_i_mm])
        if not np.isfinite(numbers).all() or min(self.spacing_ji_mm) <= 0:
            raise GeometryError("pixel spacing or slice positions are zero or not finite", where=self.frame)
        if abs(self.step_j_mm @ self.step_i_mm) > ORTHOGONAL_TOLERANCE * np.prod(self.spacing_ji_mm):
            raise GeometryError("rows and columns are not at right angles", where=self.frame)
        ahead = self.slice_offsets_mm
        if (np.diff(ahead) <= 0).any():
            raise GeometryError("slices are duplicated or out of order along the normal", where=self.frame)
        beside = self.slice_origins_mm - self.slice_origins_mm[0] - ahead[:, None] * self.normal
        if np.abs(beside).max() > ON_NORMAL_TOLERANCE_MM:
            raise GeometryError(
                f"slices shift sideways by up to {np.abs(beside).max():.2f} mm (gantry tilt or shear)", where=self.frame
            )

    @classmethod
    def regular(cls, mm_from_kji: ArrayLike, shape: tuple[int, int, int], frame: str) -> Grid:
        """The evenly spaced grid of a 4x4 matrix that maps ``(k, j, i, 1)`` to mm.

        Raises:
            GeometryError: as the class; also a matrix whose slice axis is not along the normal.
        """
        matrix = np.asarray(mm_from_kji, dtype=np.float64)
        k = np.arange(shape[0], dtype=np.float64)[:, None]
        return cls(matrix[:3, 3] + k * matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], shape, frame)

    @property
    def spacing_ji_mm(self) -> tuple[float, float]:
        """Distance between rows and between columns (DICOM PixelSpacing)."""
        return float(np.linalg.norm(self.step_j_mm)), float(np.linalg.norm(self.step_i_mm))

    @cached_property
    def normal(self) -> Points:
        """Unit vector ``(3,)`` perpendicular to the slices, pointing to growing ``k``."""
        normal = np.cross(self.step_i_mm, self.step_j_mm)
        normal /= np.linalg.norm(normal)
        backwards = self.shape[0] > 1 and (self.slice_origins_mm[-1] - self.slice_origins_mm[0]) @ normal < 0
        return _frozen(-normal if backwards else normal)

    @cached_property
    def slice_offsets_mm(self) -> Points:
        """``(K,)``, way of each slice along the normal, from the first slice."""
        return _frozen((self.slice_origins_mm - self.slice_origins_mm[0]) @ self.normal)

    @property
    def slice_gap_mm(self) -> float:
        """Median distance between neighbouring slices.

        Raises:
            GeometryError: a single slice, whose thickness nobody stated.
        """
        if self.shape[0] == 1:
            raise GeometryError("one slice alone has no slice distance", where=self.frame)
        return float(np.median(np.diff(self.slice_offsets_mm)))

    @property
    def spacing_kji_mm(self) -> tuple[float, float, float]:
        """Median slice gap, row and column distance."""
        return (self.slice_gap_mm, *self.spacing_ji_mm)

    @property
    def is_even(self) -> bool:
        """Whether all slice gaps are equal to `EVEN_TOLERANCE_MM`."""
        gaps = np.diff(self.slice_offsets_mm)
        return bool(gaps.size == 0 or np.abs(gaps - np.median(gaps)).max() <= EVEN_TOLERANCE_MM)

    @property
    def mm_from_kji(self) -> Points:
        """The 4x4 matrix that maps ``(k, j, i, 1)`` to mm; of a single slice, with 1 mm along the normal.

        Raises:
            GeometryError: the slices are uneven, so that no matrix tells where they are.
        """
        if not self.is_even:
            raise GeometryError("uneven slices have no single matrix", where=self.frame)
        matrix = np.eye(4)
        last, first = self.slice_origins_mm[-1], self.slice_origins_mm[0]
        matrix[:3, 0] = (last - first) / (self.shape[0] - 1) if self.shape[0] > 1 else self.normal
        matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = self.step_j_mm, self.step_i_mm, first
        return matrix

    @property
    def voxel_volumes_ml(self) -> Points:
        """``(K,)``, volume of a voxel of each slice, which reaches half-way to both neighbours.

        An end slice reaches as far outwards as inwards.

        Raises:
            GeometryError: a single slice, whose thickness nobody stated.
        """
        gaps = np.diff(self.slice_offsets_mm, prepend=-self.slice_gap_mm)
        gaps[0] = gaps[1]
        thickness = (gaps + np.append(gaps[1:], gaps[-1])) / 2.0
        return np.asarray(thickness * np.prod(self.spacing_ji_mm) / 1000.0)

    def mm_from_index(self, kji: ArrayLike) -> Points:
        """Points ``(..., 3)`` in mm of fractional indices ``(..., 3)``; between slices along the straight line."""
        index = np.asarray(kji, dtype=np.float64)
        along = _piecewise(index[..., 0], *self._slice_axis())
        in_plane = index[..., 1:2] * self.step_j_mm + index[..., 2:3] * self.step_i_mm
        return np.asarray(self.slice_origins_mm[0] + along[..., None] * self.normal + in_plane)

    def index_from_mm(self, points_mm: ArrayLike) -> Points:
        """Fractional indices ``(..., 3)`` of points ``(..., 3)`` in mm; outside the stack at the last gap's pace."""
        way = np.asarray(points_mm, dtype=np.float64) - self.slice_origins_mm[0]
        k = _piecewise(way @ self.normal, *reversed(self._slice_axis()))
        j = way @ self.step_j_mm / (self.step_j_mm @ self.step_j_mm)
        i = way @ self.step_i_mm / (self.step_i_mm @ self.step_i_mm)
        return np.stack([k, j, i], axis=-1)

    def contains(self, points_mm: ArrayLike) -> NDArray[np.bool_]:
        """Whether each point ``(..., 3)`` lies within half a voxel of a voxel centre of the grid."""
        index = self.index_from_mm(points_mm)
        return np.asarray(((index >= -0.5) & (index <= np.array(self.shape) - 0.5)).all(axis=-1))

    def _slice_axis(self) -> tuple[Points, Points]:
        """Slice indices and their ways along the normal; a single slice is carried on by 1 mm an index."""
        if self.shape[0] == 1:
            return np.array([0.0, 1.0]), np.array([0.0, 1.0])
        return np.arange(self.shape[0], dtype=np.float64), self.slice_offsets_mm

    def centres_mm(self) -> Points:
        """``(K, J, I, 3)``, the centre of every voxel; for small grids."""
        j = np.arange(self.shape[1])[None, :, None, None] * self.step_j_mm
        i = np.arange(self.shape[2])[None, None, :, None] * self.step_i_mm
        return np.asarray(self.slice_origins_mm[:, None, None] + j + i)

    def _key(self) -> tuple[Any, ...]:
        arrays = (self.slice_origins_mm, self.step_j_mm, self.step_i_mm)
        return (self.frame, self.shape, *(array.tobytes() for array in arrays))

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Grid) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


def grid_corners_mm(grid: Grid) -> Points:
    """``(8, 3)``, the centres of the eight corner voxels."""
    ends = [(0, n - 1) for n in grid.shape]
    return grid.mm_from_index([(k, j, i) for k in ends[0] for j in ends[1] for i in ends[2]])


def _piecewise(at: Points, known: Points, values: Points) -> Points:
    """Piecewise linear through ``(known, values)``, carried on beyond both ends at the pace of the end gaps."""
    inside = np.interp(at, known, values)
    first = (values[1] - values[0]) / (known[1] - known[0])
    last = (values[-1] - values[-2]) / (known[-1] - known[-2])
    below, above = np.minimum(at - known[0], 0.0), np.maximum(at - known[-1], 0.0)
    return np.asarray(inside + below * first + above * last)


@dataclass(frozen=True, eq=False)
class Rigid:
    """Rotation and shift that take points of the ``source`` frame to the ``target`` frame.

    Attributes:
        matrix: ``(4, 4)``, orthonormal rotation and shift in mm.
        target, source: Frame of Reference UIDs.

    Raises:
        GeometryError: the matrix is not rigid to `RIGID_TOLERANCE`, or a frame is missing.
    """

    matrix: Points
    target: str
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", _frozen(self.matrix))
        if self.matrix.shape != (4, 4) or not np.isfinite(self.matrix).all():
            raise GeometryError("a rigid transform needs a finite 4x4 matrix")
        if not (self.target and self.source):
            raise GeometryError("a transform without a frame of reference")
        rotation = self.matrix[:3, :3]
        off = max(np.abs(rotation @ rotation.T - np.eye(3)).max(), abs(np.linalg.det(rotation) - 1.0))
        if off > RIGID_TOLERANCE or np.abs(self.matrix[3] - [0, 0, 0, 1]).max() > RIGID_TOLERANCE:
            raise GeometryError(f"the matrix is not rigid: off by {off:.2g}", where=f"{self.target} from {self.source}")

    @classmethod
    def identity(cls, frame: str) -> Rigid:
        """The transform of a frame to itself."""
        return cls(np.eye(4), frame, frame)

    def inverse(self) -> Rigid:
        """``source_from_target``."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.matrix[:3, :3].T
        matrix[:3, 3] = -self.matrix[:3, :3].T @ self.matrix[:3, 3]
        return Rigid(matrix, self.source, self.target)

    def apply(self, points_mm: ArrayLike) -> Points:
        """Points ``(..., 3)`` of the source frame, in mm of the target frame."""
        points = np.asarray(points_mm, dtype=np.float64)
        return np.asarray(points @ self.matrix[:3, :3].T + self.matrix[:3, 3])

    def __matmul__(self, other: Rigid) -> Rigid:
        """``target_from_middle @ middle_from_source``.

        Raises:
            FrameError: the frames in the middle differ.
        """
        if self.source != other.target:
            raise FrameError(f"cannot compose across a frame gap: {self.source} is not {other.target}")
        return Rigid(_orthonormal(self.matrix @ other.matrix), self.target, other.source)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rigid):
            return NotImplemented
        same_frames = (self.target, self.source) == (other.target, other.source)
        return same_frames and bool(np.array_equal(self.matrix, other.matrix))

    def __hash__(self) -> int:
        return hash((self.target, self.source, self.matrix.tobytes()))


def _orthonormal(matrix: Points) -> Points:
    """The nearest matrix whose rotation is exactly orthonormal: a long chain of products must not drift."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    clean = matrix.copy()
    clean[:3, :3] = u @ vt
    return clean
