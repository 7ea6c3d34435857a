"""Shapes on each other's lattices: what two of them share, and what one of them holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.errors import FrameError
from psdt_planner.geometry import Grid, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.shapes import Shape

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

MANY_POINTS, COARSE_MM = 1_000_000, 0.8
"""From so many points on a lattice of united shapes becomes coarser, and up to which step."""

BEYOND = np.float32(-1.0)
"""The field where a lattice ends: outside."""


def on_lattice(shape: Shape, lattice: Grid) -> Field:
    """The shape's field at another lattice's points, linear between its own; outside where its own lattice ends.

    Raises:
        FrameError: the lattices are of two frames.
    """
    if shape.grid.frame != lattice.frame:
        raise FrameError(f"a shape of frame {shape.grid.frame} on a lattice of frame {lattice.frame}")
    if shape.grid == lattice:
        return shape.field
    own_from_other = np.linalg.inv(shape.grid.mm_from_kji) @ lattice.mm_from_kji
    at = ndimage.affine_transform(
        shape.field, own_from_other, output_shape=lattice.shape, order=1, mode="constant", cval=float(BEYOND)
    )
    return np.asarray(at, dtype=np.float32)


def along_axes(array: Field, grid: Grid, onto: Grid, *, outside: float) -> Field:
    """An array's numbers at the points of another lattice with the same axes, linear between its own.

    Args:
        array: on ``grid``, whose slices may be uneven.
        grid, onto: lattices with parallel rows, columns and normals, as a CT and the lattices of shapes on it are.
        outside: what stands where ``grid`` ends.
    """
    lines = (onto.mm_from_index(_line(axis, onto)) for axis in range(3))
    k, j, i = (grid.index_from_mm(line)[:, axis] for axis, line in enumerate(lines))
    index = np.meshgrid(k, j, i, indexing="ij")
    at = ndimage.map_coordinates(array, index, order=1, mode="constant", cval=outside, output=np.float32)
    return np.asarray(at)


def cropped(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The voxels of a box, each where it was."""
    k, j, i = box
    grid = volume.grid
    origins = grid.slice_origins_mm[k] + j.start * grid.step_j_mm + i.start * grid.step_i_mm
    array = volume.array[box]
    shape = (array.shape[0], array.shape[1], array.shape[2])
    part = Grid(origins, grid.step_j_mm, grid.step_i_mm, shape, grid.frame)
    return Volume(part, array, volume.quantity, volume.series_uid)


def _line(axis: int, lattice: Grid) -> NDArray[np.float64]:
    line = np.zeros((lattice.shape[axis], 3))
    line[:, axis] = np.arange(lattice.shape[axis])
    return line


def volume_ml(inside: Mask, lattice: Grid) -> float:
    """Of the lattice points inside, each as large as the lattice's cell."""
    return float(np.count_nonzero(inside) * np.prod(lattice.spacing_kji_mm)) / 1000.0


def united(shapes: Sequence[Shape]) -> Shape:
    """What any of the shapes holds, on the first one's lattice, widened to hold the others.

    A lattice of more than `MANY_POINTS` becomes coarser, up to `COARSE_MM`: a small lesion's would be too fine for all
    of its vertebra.
    """
    lattice = _no_finer(_widened(shapes[0].grid, np.concatenate([grid_corners_mm(shape.grid) for shape in shapes])))
    return Shape(lattice, np.max([on_lattice(shape, lattice) for shape in shapes], axis=0))


def _no_finer(lattice: Grid) -> Grid:
    """The lattice with longer steps from its first point on, where it has more than `MANY_POINTS`."""
    longer = min(COARSE_MM / max(lattice.spacing_kji_mm), float(np.cbrt(np.prod(lattice.shape) / MANY_POINTS)))
    if longer <= 1.0:
        return lattice
    matrix = lattice.mm_from_kji
    matrix[:3, :3] *= longer
    k, j, i = (int(np.ceil((count - 1) / longer)) + 1 for count in lattice.shape)
    return Grid.regular(matrix, (k, j, i), lattice.frame)


def _widened(lattice: Grid, points_mm: NDArray[np.float64]) -> Grid:
    """The lattice with further points of the same steps, so that it holds all points with a step to spare."""
    index = np.concatenate([lattice.index_from_mm(points_mm), np.zeros((1, 3)), [np.array(lattice.shape) - 1.0]])
    low, high = np.floor(index.min(axis=0)) - 1.0, np.ceil(index.max(axis=0)) + 1.0
    matrix = lattice.mm_from_kji
    matrix[:3, 3] = lattice.mm_from_index(low)
    k, j, i = (int(n) for n in high - low + 1)
    return Grid.regular(matrix, (k, j, i), lattice.frame)


def widened(lattice: Grid, more_mm: float) -> Grid:
    """The lattice with further points of the same steps, so many mm in all directions and two steps more."""
    more = np.ceil(more_mm / np.array(lattice.spacing_kji_mm)) + 2.0
    ends = np.array([-more, np.array(lattice.shape) - 1.0 + more])
    return _widened(lattice, lattice.mm_from_index(ends))


def connected_to(field: Field, core: Mask) -> Field:
    """The field with every part turned outside that holds nothing of the core."""
    labels, count = ndimage.label(field > 0)
    kept = np.zeros(count + 1, dtype=bool)
    kept[np.unique(labels[core])] = True
    kept[0] = True
    return np.where(kept[labels], field, BEYOND)
