"""From a shape to closed rings on the CT's slices.

What a ring set does not show of its shape is counted in `Tracing` and said by `Tracing.findings`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.contours.drawing import SPECK_MM3, Drawing, Tracing, polygons
from psdt_planner.contours.lattice import step_of
from psdt_planner.contours.plane import TOLERANCE_MM, flat_mm
from psdt_planner.errors import FrameError, GeometryError
from psdt_planner.geometry import Grid, Points
from psdt_planner.shapes import Shape

Field = NDArray[np.float32]

PARALLEL_TOLERANCE = 1e-6
"""Largest sine between the axes of a shape's lattice and those of the CT that it is traced on."""


def trace(shape: Shape, ct: Grid, *, tolerance_mm: float = TOLERANCE_MM) -> Tracing:
    """The shape's outline on each slice plane of the CT, whatever its orientation and spacing.

    Marching squares on the field between its two nearest lattice planes; each ring simplified within the tolerance
    (`plane.simplified`, which says when a larger one is taken). Rings below `SPECK_MM2` are left out, holes below it
    are filled, and both are counted in the result; larger holes are `Contour.holes_mm`.

    Raises:
        FrameError: the shape is in another frame than the CT.
        GeometryError: the shape's lattice is not along the CT's axes.
        UnsupportedError: a ring needs more than `MAX_POINTS` points within `COARSEST_MM`.
    """
    _check_along(shape.grid, ct)
    labels, _ = ndimage.label(shape.field > 0)
    unseen = np.bincount(labels.ravel()).astype(np.float64)
    unseen[0] = 0.0
    parts = int(np.count_nonzero(unseen * step_of(shape.grid) ** 3 >= SPECK_MM3))
    drawing = Drawing(ct, tolerance_mm)
    corner, ahead = flat_mm(shape.grid.mm_from_index([(0, 0, 0), (0, 1, 1)]), ct)
    scale = ahead - corner
    for k, plane_k in _planes(shape.grid, ct):
        for polygon in drawing.add(k, polygons(_at_plane(shape.field, plane_k), 0.0, scale, corner)):
            inside = np.array(polygon.representative_point().coords[0])
            unseen[_labels_at(labels, plane_k, (inside - corner) / scale)] = 0.0
    parts_mm3 = unseen * step_of(shape.grid) ** 3
    specks = parts_mm3 < SPECK_MM3
    return drawing.tracing(
        dropped_mm3=float(parts_mm3[specks].sum()),
        between_slices_mm3=float(parts_mm3[~specks].sum()),
        beyond_ct_mm3=_beyond_mm3(shape, ct),
        parts=max(parts, 1),
    )


def _check_along(lattice: Grid, ct: Grid) -> None:
    if lattice.frame != ct.frame:
        raise FrameError(f"a shape of frame {lattice.frame} on a CT of frame {ct.frame}")
    for ours, theirs in ((lattice.step_j_mm, ct.step_j_mm), (lattice.step_i_mm, ct.step_i_mm)):
        sine = np.linalg.norm(np.cross(ours, theirs)) / np.linalg.norm(ours) / np.linalg.norm(theirs)
        if sine > PARALLEL_TOLERANCE:
            raise GeometryError("a shape's lattice is not along the CT's axes", where=ct.frame)


def _planes(lattice: Grid, ct: Grid) -> Iterator[tuple[int, float]]:
    """Each CT slice that meets the lattice, with its fractional index among the lattice's planes."""
    across = lattice.index_from_mm(ct.slice_origins_mm)[:, 0]
    for k, plane_k in enumerate(across.tolist()):
        if 0.0 <= plane_k <= lattice.shape[0] - 1:
            yield k, plane_k


def _at_plane(field: Field, plane_k: float) -> Field:
    """``(J, I)``, the field on a plane between two lattice planes, linear between them."""
    below = min(int(plane_k), field.shape[0] - 2)
    weight = np.float32(plane_k - below)
    return np.asarray((1 - weight) * field[below] + weight * field[below + 1], dtype=np.float32)


def _labels_at(labels: NDArray[np.int32], plane_k: float, xy: Points) -> NDArray[np.int32]:
    """The labels around a point of the lattice: those of the part that a polygon around it is cut from."""
    k, j, i = np.clip(np.floor([plane_k, xy[1], xy[0]]).astype(int), 0, np.array(labels.shape) - 2)
    return np.unique(labels[k : k + 2, j : j + 2, i : i + 2])


def _beyond_mm3(shape: Shape, ct: Grid) -> float:
    """Volume of the shape outside the CT's voxels; lattice and CT share their axes."""
    inside = np.ones(shape.grid.shape, dtype=bool)
    for axis, count in enumerate(shape.grid.shape):
        line = np.zeros((count, 3))
        line[:, axis] = np.arange(count)
        at = ct.index_from_mm(shape.grid.mm_from_index(line))[:, axis]
        within = (at >= -0.5) & (at <= ct.shape[axis] - 0.5)
        inside &= within.reshape([-1 if a == axis else 1 for a in range(3)])
    return float(np.count_nonzero((shape.field > 0) & ~inside)) * step_of(shape.grid) ** 3
