"""Planning CTs in HU made of simple solids, and shapes of balls in them, by hand and without the code under test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psdt_planner.geometry import Grid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.shapes import Shape
from tests.structures.scenes import Inside, ct_grid, occupancy

AIR, FAT, TISSUE, MARROW, CORTEX = -1000.0, -100.0, 40.0, 60.0, 700.0


def everywhere(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.ones(points.shape[:-1], dtype=bool)


def tube(half_width_mm: float, axis: int = 2, centre: ArrayLike = (0.0, 0.0, 0.0)) -> Inside:
    """A rod along an LPS axis, without ends."""
    keep = [a for a in range(3) if a != axis]
    return lambda points: np.linalg.norm((points - np.asarray(centre))[..., keep], axis=-1) <= half_width_mm


def slab(low_mm: float, high_mm: float, axis: int = 2) -> Inside:
    return lambda points: (points[..., axis] >= low_mm) & (points[..., axis] <= high_mm)


def both(*shapes: Inside) -> Inside:
    return lambda points: np.logical_and.reduce([shape(points) for shape in shapes])


def without(one: Inside, *others: Inside) -> Inside:
    return lambda points: one(points) & ~np.logical_or.reduce([other(points) for other in others])


def ct_of(grid: Grid, layers: Sequence[tuple[Inside, float]], background: float = TISSUE) -> Volume:
    """A CT of solids painted one over the other, each voxel the mean of what it holds."""
    hu = np.full(grid.shape, background, dtype=np.float32)
    for inside, value in layers:
        part = occupancy(grid, inside, divisions=2)
        hu = (1 - part) * hu + part * np.float32(value)
    return Volume(grid, hu.astype(np.float32), Quantity(Kind.PLANNING_CT, "HU"), "1.9.1")


def fine_ct(position: str = "HFS", half_mm: float = 30.0, **options: object) -> Grid:
    """A CT of 0.9 x 1.1 x 2 mm voxels around the origin."""
    count_j, count_i = int(2 * half_mm / 0.9), int(2 * half_mm / 1.1)
    offsets = options.pop("offsets_mm", tuple(2.0 * k for k in range(int(half_mm))))
    return ct_grid(position=position, shape_ji=(count_j, count_i), offsets_mm=offsets, **options)  # type: ignore[arg-type]


def lattice(ct: Grid, half_mm: float, step_mm: float = 0.5, centre_mm: ArrayLike = (0.0, 0.0, 0.0)) -> Grid:
    """An even lattice along the CT's axes, of three different counts."""
    axes = np.stack([ct.normal, ct.step_j_mm / ct.spacing_ji_mm[0], ct.step_i_mm / ct.spacing_ji_mm[1]], axis=1)
    count = int(2 * half_mm / step_mm)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * step_mm, np.asarray(centre_mm) - axes @ np.full(3, half_mm)
    return Grid.regular(matrix, (count, count + 1, count + 2), ct.frame)


def ball(ct: Grid, centre_mm: ArrayLike, radius_mm: float, step_mm: float = 0.5) -> Shape:
    """A ball as a signed distance, on a lattice of its own."""
    grid = lattice(ct, radius_mm + 4.0, step_mm, centre_mm)
    away = radius_mm - np.linalg.norm(grid.centres_mm() - np.asarray(centre_mm), axis=-1)
    return Shape(grid, away.astype(np.float32))


def box(ct: Grid, low_mm: ArrayLike, high_mm: ArrayLike, step_mm: float = 0.5) -> Shape:
    """A box along the patient's axes, as a distance, on a lattice of its own."""
    low, high = np.asarray(low_mm, dtype=float), np.asarray(high_mm, dtype=float)
    grid = lattice(ct, float((high - low).max()) / 2 + 3.0, step_mm, (low + high) / 2)
    points = grid.centres_mm()
    return Shape(grid, np.minimum(points - low, high - points).min(axis=-1).astype(np.float32))


def holds(shape: Shape, points_mm: ArrayLike) -> NDArray[np.bool_]:
    """Whether the shape holds each point, by its own field between its lattice points, said slowly."""
    index = shape.grid.index_from_mm(np.asarray(points_mm, dtype=float))
    found = np.zeros(index.shape[:-1], dtype=bool)
    for place in np.ndindex(found.shape):
        at = index[place]
        base = np.floor(at).astype(int)
        if (base < 0).any() or (base + 1 >= np.array(shape.grid.shape)).any():
            continue
        way = at - base
        value = 0.0
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(np.array(corner) == 1, way, 1 - way))
            value += weight * float(shape.field[tuple(base + corner)])
        found[place] = value > 0
    return found


def volume_ml(shape: Shape) -> float:
    return float((shape.field > 0).sum() * np.prod(shape.grid.spacing_kji_mm)) / 1000.0
