"""Margins in mm, in three dimensions, by patient direction: from a shape to a larger one."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from psdt_planner.errors import FrameError, GeometryError, UnsupportedError
from psdt_planner.geometry import Grid, Points
from psdt_planner.shapes import Shape

Field = NDArray[np.float32]

THINNEST_STEPS = 0.5
"""What stands for a margin of zero towards one side, in lattice steps (0.2 to 0.5 mm): the gauge divides by it."""

COARSEST_STEP_MM = 0.8
"""A lattice is thinned out for growing up to this step: what has been grown is rounder than what it grew from."""

FARTHEST = 1000.0
"""Where the gauge stops counting, so that a field stays finite."""

ALONG_PATIENT_COSINE = 0.999
"""A lattice axis this close to a patient axis counts as lying along it."""


@dataclass(frozen=True)
class Margin:
    """How far to grow a shape, in mm, by patient direction.

    Raises:
        GeometryError: a margin that is negative or not finite.
    """

    left: float
    right: float
    anterior: float
    posterior: float
    superior: float
    inferior: float

    def __post_init__(self) -> None:
        if not all(np.isfinite(mm) and mm >= 0 for mm in self.as_mm):
            raise GeometryError(f"a margin must be zero or more in every direction, not {self.as_mm}")

    @classmethod
    def uniform(cls, mm: float) -> Margin:
        """The same margin in all directions."""
        return cls(mm, mm, mm, mm, mm, mm)

    def widened(self, mm: float) -> Margin:
        """Every direction with an independent error of ``mm`` added in quadrature, as van Herk's recipe joins errors
        (Int J Radiat Oncol Biol Phys 2000;47:1121-1135).

        Raises:
            GeometryError: the result is not finite.
        """
        return Margin(*(float(np.hypot(side, mm)) for side in self.as_mm))

    @property
    def as_mm(self) -> tuple[float, ...]:
        """Left, right, anterior, posterior, superior, inferior."""
        return tuple(float(getattr(self, field.name)) for field in fields(self))

    @property
    def is_uniform(self) -> bool:
        """Whether all directions have the same margin, so that orientation does not matter."""
        return len(set(self.as_mm)) == 1

    def along(self, direction: Points) -> float:
        """The margin towards a patient direction, a unit vector near an LPS axis."""
        axis = int(np.argmax(np.abs(direction)))
        ahead = direction[axis] > 0
        pairs = ((self.left, self.right), (self.posterior, self.anterior), (self.superior, self.inferior))
        return pairs[axis][0] if ahead else pairs[axis][1]


def grow(shape: Shape, margin: Margin, ct: Grid) -> Shape:
    """All points that the margin reaches from the shape: its Minkowski sum with an ellipsoid octant by octant.

    From each point of the shape, an ellipsoid is drawn whose six half-axes are the margins towards the six patient
    directions. Surfaces are kept between the lattice points; the result holds the shape. Beside larger ones, a margin
    of zero is good to half a lattice step.

    Raises:
        FrameError: the shape is in another frame than the CT.
        UnsupportedError: margins that differ by direction, on a CT whose axes are not the patient's.
    """
    if shape.grid.frame != ct.frame:
        raise FrameError(f"a shape of frame {shape.grid.frame} on a CT of frame {ct.frame}")
    if max(margin.as_mm) == 0.0:
        return shape
    while 2 * max(shape.grid.spacing_kji_mm) <= min(COARSEST_STEP_MM, min(margin.as_mm) / 2):
        shape = _thinned(shape)
    reach = _reach(shape.grid, margin)
    step_mm = np.array(shape.grid.spacing_kji_mm)
    room = np.ceil(reach / step_mm[:, None]).astype(int) + 2
    # A lattice's border is outside everywhere, so what lies beyond it is outside as well.
    field = np.pad(shape.field, room[:, ::-1], mode="edge")
    matrix = shape.grid.mm_from_kji
    matrix[:3, 3] = shape.grid.mm_from_index(-room[:, 1].astype(float))
    grid = Grid.regular(matrix, (field.shape[0], field.shape[1], field.shape[2]), shape.grid.frame)
    return Shape(grid, np.float32(1.0) - _gauge(field, reach, step_mm))


def kept_inside(shape: Shape, depth_mm: float) -> Shape:
    """All points of a shape deeper than so many mm below its surface, on its own lattice.

    The shape need not be closed: where its lattice ends within it, that is no surface.
    """
    step_mm = np.array(shape.grid.spacing_kji_mm)
    reach = np.full((3, 2), max(depth_mm, THINNEST_STEPS * float(step_mm.min())))
    return Shape(shape.grid, _gauge(-shape.field, reach, step_mm) - np.float32(1.0))


def _thinned(shape: Shape) -> Shape:
    """The shape on every second lattice point, its border outside as before."""
    # A lattice of an even count would lose its last plane; one more, outside as the border is, keeps it.
    even = [(0, 1 - count % 2) for count in shape.grid.shape]
    field = np.pad(shape.field, even, mode="edge")[::2, ::2, ::2]
    matrix = shape.grid.mm_from_kji
    matrix[:3, :3] *= 2.0
    grid = Grid.regular(matrix, (field.shape[0], field.shape[1], field.shape[2]), shape.grid.frame)
    return Shape(grid, np.ascontiguousarray(field))


def _reach(lattice: Grid, margin: Margin) -> Points:
    """``(3, 2)``, margin in mm along each lattice axis k, j, i: towards growing, then towards falling index."""
    j, i = lattice.spacing_ji_mm
    axes = np.stack([lattice.normal, lattice.step_j_mm / j, lattice.step_i_mm / i])
    if not margin.is_uniform and np.abs(axes).max(axis=1).min() < ALONG_PATIENT_COSINE:
        raise UnsupportedError(
            "margins that differ by direction need a CT along the patient's axes",
            where=lattice.frame,
            todo="Use one margin for all directions, or an axial CT.",
        )
    reach = np.array([[margin.along(axis), margin.along(-axis)] for axis in axes])
    return np.asarray(np.maximum(reach, THINNEST_STEPS * min(i, j)))


def _gauge(field: Field, reach: Points, step_mm: Points) -> Field:
    """How many margins each lattice point lies from the shape: 0 inside, 1 where the margin ends.

    The squared gauge is a sum over the axes, so that one pass an axis finds its minimum (Felzenszwalb and Huttenlocher
    2012, here with a window in place of envelopes). The first pass measures from where the surface crosses its lines,
    between the lattice points; each axis is first once, since each sees the surface best where it runs across.
    """
    window = np.ceil(reach / step_mm[:, None]).astype(int) + 1
    best = np.full(field.shape, np.inf, dtype=np.float32)
    for first in range(3):
        squared = _squared_from_crossings(np.moveaxis(field, first, -1), reach[first] / step_mm[first])
        squared = np.moveaxis(squared, -1, first)
        for axis in {0, 1, 2} - {first}:
            squared = _squared_along(squared, axis, reach[axis] / step_mm[axis], window[axis])
        np.minimum(best, squared, out=best)
    return np.sqrt(np.minimum(best, FARTHEST**2))


def _squared_from_crossings(field: Field, reach: Points) -> Field:
    """Squared gauge along the last axis from the nearest inside, its ends by linear interpolation; in steps."""
    inside = field > 0
    index = np.arange(field.shape[-1], dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = index[:-1] + field[..., :-1] / (field[..., :-1] - field[..., 1:])
    behind = np.full(field.shape, -np.inf, dtype=np.float32)
    behind[..., 1:] = np.where(inside[..., :-1] & ~inside[..., 1:], crossing, -np.inf)
    ahead = np.full(field.shape, np.inf, dtype=np.float32)
    ahead[..., :-1] = np.where(~inside[..., :-1] & inside[..., 1:], crossing, np.inf)
    behind = np.maximum.accumulate(behind, axis=-1)
    ahead = np.minimum.accumulate(ahead[..., ::-1], axis=-1)[..., ::-1]
    gauge = np.minimum((index - behind) / np.float32(reach[0]), (ahead - index) / np.float32(reach[1]))
    return np.asarray(np.where(inside, 0.0, gauge * gauge), dtype=np.float32)


def _squared_along(squared: Field, axis: int, reach: Points, window: NDArray[np.int_]) -> Field:
    """The smallest sum of a point's squared gauge and the way from it along an axis, over the window of steps."""
    source = np.moveaxis(squared, axis, 0)
    best = source.copy()
    count = len(source)
    for step in range(1, min(int(window[0]), count - 1) + 1):
        np.minimum(best[step:], source[:-step] + np.float32((step / reach[0]) ** 2), out=best[step:])
    for step in range(1, min(int(window[1]), count - 1) + 1):
        np.minimum(best[:-step], source[step:] + np.float32((step / reach[1]) ** 2), out=best[:-step])
    return np.moveaxis(best, 0, axis)
