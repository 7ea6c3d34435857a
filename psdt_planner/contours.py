"""From a flagged mask to a smooth shape on the planning CT, and from a shape to closed rings on its slices.

A mask of 2 to 6 mm voxels says where the lesion is, not where its surface runs. `lesion_shape` makes it a smooth field
whose zero level keeps the mask's volume; `trace` cuts that field with the CT's slice planes. Nothing is lost in
silence: what a ring set does not show of its shape is counted in `Tracing` and said by `Tracing.findings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import contourpy
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon

from psdt_planner.errors import FaultError, FrameError, GeometryError, UnsupportedError
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.lesions import FlaggedLesion, MaskKind
from psdt_planner.shapes import Contour, Shape

Field = NDArray[np.float32]

SMOOTHING_MM = {MaskKind.BINARY: 2.5, MaskKind.OCCUPANCY: 1.0}
"""SD of the Gaussian over a binary mask's signed distance, and over an occupancy mask itself: enough to take the
staircase of DWI voxels away; more rounds ellipsoids and lobes."""

LATTICE_STEP_MM = (0.35, 1.0)
"""Finest and coarsest step of a shape's lattice; `LATTICE_POINTS` decides between them."""

LATTICE_POINTS = 500_000
"""About how many points a shape's lattice may have before its step grows."""

BORDER_MM = 5.0
"""How far a lattice reaches beyond the mask's voxels: a smoothed single voxel bulges over its faces."""

TOLERANCE_MM = 0.05
"""Default distance that a simplified ring may keep from the traced one."""

MAX_POINTS = 2000
"""Most points a ring may have, so that ContourData stays below 65,534 bytes and survives Explicit VR (PS3.5 7.1.2)."""

SPECK_MM2 = 1.0
"""Rings of less area are specks: a planning system may refuse them, and no lesion is seen in them."""

SPECK_MM3 = 1.0
"""Parts of less volume are specks as well."""

PARALLEL_TOLERANCE = 1e-6
"""Largest sine between the axes of a shape's lattice and those of the CT that it is traced on."""


# ---------------------------------------------------------------------------------------------------------------------
# mask to shape


def lesion_shape(flag: FlaggedLesion, ct_from_mr: Rigid, ct: Grid) -> Shape:
    """The lesion on the planning CT: a smooth field whose positive volume is the mask's volume to 1 %.

    Binary masks: signed distance, smoothed by a Gaussian; occupancy masks: the Gaussian alone (`SMOOTHING_MM`, in mm
    on the flag's anisotropic grid). The field is carried over by cubic splines, and its level is the one that keeps
    the volume. Parts that do not touch are smoothed one by one, so that a part of a single voxel is not lost beside a
    larger one. In an occupancy mask, parts less than half as dense as the densest are counted but not drawn alone.

    Returns:
        A shape on a lattice of even steps (`LATTICE_STEP_MM`) along the CT's rows, columns and normal.

    Raises:
        FrameError: the transform does not lead from the flag's frame to the CT's.
        GeometryError: the flag's slices are uneven or a single one, so that distances in it cannot be measured.
    """
    if (ct_from_mr.target, ct_from_mr.source) != (ct.frame, flag.grid.frame):
        raise FrameError(f"{ct_from_mr.target} from {ct_from_mr.source} does not lead from {flag.id}'s mask to the CT")
    if not flag.grid.is_even:
        raise GeometryError("the flag's slices are uneven", where=flag.id, todo="Flag the lesion on an even series.")
    parts = _parts(flag)
    corners = ct_from_mr.apply(_corners_mm(flag.grid, np.logical_or.reduce(parts)))
    lattice = _lattice_around(corners, ct)
    field = np.full(lattice.shape, -np.inf, dtype=np.float32)
    for part in parts:
        window = _window(lattice, ct_from_mr.apply(_corners_mm(flag.grid, part)))
        mask = np.where(part, flag.mask, np.float32(0.0))
        carried = _carried(mask, flag, ct_from_mr, lattice, window)
        level = _level_of_volume(carried, _step_mm(lattice) ** 3, _volume_mm3(mask, flag.grid))
        field[window] = np.maximum(field[window], carried - level)
    field = np.maximum(field, np.float32(-BORDER_MM))
    if len(parts) > 1 or not np.logical_or.reduce(parts)[flag.mask > 0].all():
        field -= _level_of_volume(field, _step_mm(lattice) ** 3, _volume_mm3(flag.mask, flag.grid))
    return Shape(lattice, _closed(field, flag.id))


def _parts(flag: FlaggedLesion) -> list[NDArray[np.bool_]]:
    """Masks of the voxel groups that touch by a face, edge or corner, without the faint ones."""
    labels, count = ndimage.label(flag.mask > 0, structure=np.ones((3, 3, 3)))
    peaks = ndimage.maximum(flag.mask, labels, np.arange(1, count + 1))
    return [labels == n + 1 for n, peak in enumerate(peaks) if peak >= 0.5 * max(peaks)]


def _corners_mm(grid: Grid, mask: NDArray[np.bool_]) -> Points:
    """``(N, 3)``, the eight corners of every voxel in the mask."""
    halves = np.array(list(product((-0.5, 0.5), repeat=3)))
    return grid.mm_from_index((np.argwhere(mask)[:, None] + halves).reshape(-1, 3))


def _lattice_around(points_mm: Points, ct: Grid) -> Grid:
    """An even lattice along the CT's axes that holds the points with a border."""
    axes = np.stack([ct.normal, ct.step_j_mm / ct.spacing_ji_mm[0], ct.step_i_mm / ct.spacing_ji_mm[1]])
    along = points_mm @ axes.T
    low, high = along.min(axis=0) - BORDER_MM, along.max(axis=0) + BORDER_MM
    step = float(np.clip(np.cbrt(np.prod(high - low) / LATTICE_POINTS), *LATTICE_STEP_MM))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = step * axes.T, axes.T @ low
    k, j, i = (int(n) for n in np.ceil((high - low) / step) + 1)
    return Grid.regular(matrix, (k, j, i), ct.frame)


def _step_mm(lattice: Grid) -> float:
    return lattice.spacing_ji_mm[0]


def _window(lattice: Grid, points_mm: Points) -> tuple[slice, slice, slice]:
    """The part of the lattice that holds the points with the border."""
    index = lattice.index_from_mm(points_mm)
    border = BORDER_MM / _step_mm(lattice) + 1e-6
    low = np.maximum(np.floor(index.min(axis=0) - border), 0).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0) + border).astype(int) + 1, lattice.shape)
    k, j, i = (slice(first, last) for first, last in zip(low.tolist(), high.tolist(), strict=True))
    return k, j, i


def _carried(
    mask: Field, flag: FlaggedLesion, ct_from_mr: Rigid, lattice: Grid, window: tuple[slice, slice, slice]
) -> Field:
    """The smoothed mask, sampled by cubic splines at the lattice points of the window."""
    spacing_mm = np.array(flag.grid.spacing_kji_mm)
    sigma = SMOOTHING_MM[flag.mask_kind] / spacing_mm
    margin = np.ceil(4.0 * sigma).astype(int) + 2
    padded = np.pad(mask, [(n, n) for n in margin.tolist()])
    if flag.mask_kind is MaskKind.BINARY:
        inside = padded >= 0.5
        padded = ndimage.distance_transform_edt(inside, spacing_mm) - ndimage.distance_transform_edt(
            ~inside, spacing_mm
        )
    smooth = ndimage.gaussian_filter(padded.astype(np.float64), sigma, mode="nearest")
    flag_from_lattice = (
        np.linalg.inv(flag.grid.mm_from_kji) @ ct_from_mr.inverse().matrix @ lattice.mm_from_kji @ _shift(window)
    )
    flag_from_lattice[:3, 3] += margin
    shape = tuple(s.stop - s.start for s in window)
    carried = ndimage.affine_transform(smooth, flag_from_lattice, output_shape=shape, order=3, mode="nearest")
    return np.asarray(carried, dtype=np.float32)


def _shift(window: tuple[slice, slice, slice]) -> Points:
    """The matrix from indices in the window to those of the whole lattice."""
    matrix = np.eye(4)
    matrix[:3, 3] = [part.start for part in window]
    return matrix


def _volume_mm3(mask: Field, grid: Grid) -> float:
    return float(mask.sum(axis=(1, 2), dtype=np.float64) @ grid.voxel_volumes_ml) * 1000.0


def _level_of_volume(field: Field, cell_mm3: float, volume_mm3: float) -> np.float32:
    """The level above which the field, taken as linear between lattice points, holds the volume.

    Every lattice cell is divided, so that the count of the divisions is exact enough for a lesion of one voxel.
    """
    divisions = 3 if field.size <= LATTICE_POINTS else 2 if field.size <= 4 * LATTICE_POINTS else 1
    values = _divided(field, divisions).ravel()
    rank = round(volume_mm3 * divisions**3 / cell_mm3)
    if not 1 <= rank < values.size:
        raise FaultError(f"a volume of {volume_mm3:.1f} mm3 does not fit a lattice of {field.shape}")
    return np.float32(np.partition(values, values.size - rank)[values.size - rank])


def _divided(field: Field, divisions: int) -> Field:
    """The field at the centres of each cell's equal divisions along every axis, linear between lattice points."""
    for axis in range(3):
        ahead = np.moveaxis(field, axis, 0)
        padded = np.concatenate([ahead[:1], ahead, ahead[-1:]])
        out = np.empty((len(ahead), divisions, *ahead.shape[1:]), dtype=np.float32)
        for n in range(divisions):
            way = (n + 0.5) / divisions - 0.5
            towards = padded[2:] if way > 0 else padded[:-2]
            out[:, n] = ahead + np.float32(abs(way)) * (towards - ahead)
        field = np.moveaxis(out.reshape(-1, *ahead.shape[1:]), 0, axis)
    return field


def _closed(field: Field, lesion: str) -> Field:
    """The field, after a look that its border is outside everywhere, as `Shape` promises."""
    faces = (field[[0, -1]], field[:, [0, -1]], field[:, :, [0, -1]])
    if max(face.max() for face in faces) >= 0:
        raise FaultError("a shape reaches the border of its lattice", where=lesion)
    return field


# ---------------------------------------------------------------------------------------------------------------------
# shape to rings


@dataclass(frozen=True, eq=False)
class Tracing:
    """The rings of a shape, and what they do not show of it.

    Attributes:
        contours: rings in order of slice; within a slice in order of growing row, then column, of their first point.
        filled_ml: holes of the shape that the rings fill; a ring set has no holes here.
        dropped_ml: rings below `SPECK_MM2` and parts below `SPECK_MM3` that were left out.
        between_slices_ml: parts of the shape that no slice plane of the CT meets.
        beyond_ct_ml: volume of the shape outside the CT.
    """

    contours: tuple[Contour, ...]
    filled_ml: float
    dropped_ml: float
    between_slices_ml: float
    beyond_ct_ml: float

    def findings(self, lesion: str, roi: str) -> tuple[Finding, ...]:
        """What a person should know about these rings of a lesion's ROI."""
        said = (
            ("lesion-between-slices", Level.HOLD, self.between_slices_ml, "lies between two CT slices and has no ring"),
            ("lesion-outside-ct", Level.HOLD, self.beyond_ct_ml, "reaches beyond the planning CT"),
            ("contour-hole-filled", Level.WARN, self.filled_ml, "had holes, which are filled"),
            ("contour-speck-dropped", Level.INFO, self.dropped_ml, "had specks, which are left out"),
        )
        return tuple(
            Finding(code, level, f"{roi} of {lesion} {what}: {ml:.3f} ml", Who.PERSON, ml, 0.0, "ml", lesion)
            for code, level, ml, what in said
            if ml > 0.0
        )


def trace(shape: Shape, ct: Grid, *, tolerance_mm: float = TOLERANCE_MM) -> Tracing:
    """The shape's outline on each slice plane of the CT, whatever its orientation and spacing.

    Marching squares on the field between its two nearest lattice planes; each ring simplified within the tolerance
    (Douglas and Peucker) and scaled back to its area, which moves no point by more than the tolerance again. Holes
    are filled. Rings below `SPECK_MM2` are left out. Both are counted in the result.

    Raises:
        FrameError: the shape is in another frame than the CT.
        GeometryError: the shape's lattice is not along the CT's axes.
        UnsupportedError: a ring needs more than `MAX_POINTS` points within the tolerance.
    """
    _check_along(shape.grid, ct)
    thickness_mm = ct.voxel_volumes_ml * 1000.0 / np.prod(ct.spacing_ji_mm)
    labels, _ = ndimage.label(shape.field > 0)
    unseen = np.bincount(labels.ravel()).astype(np.float64)
    unseen[0] = 0.0
    contours: list[Contour] = []
    filled_mm3 = dropped_mm3 = 0.0
    for k, plane_k in _planes(shape.grid, ct):
        for polygon in _polygons(_at_plane(shape.field, plane_k), _step_mm(shape.grid)):
            outline = Polygon(polygon.exterior)
            if outline.area < SPECK_MM2:
                dropped_mm3 += outline.area * thickness_mm[k]
                continue
            filled_mm3 += (outline.area - polygon.area) * thickness_mm[k]
            ring = _simplified(outline, tolerance_mm)
            contours.append(Contour(_points_mm(ring, shape.grid, plane_k), k))
            unseen[_labels_at(labels, plane_k, polygon, _step_mm(shape.grid))] = 0.0
    parts_mm3 = unseen * _step_mm(shape.grid) ** 3
    specks = parts_mm3 < SPECK_MM3
    return Tracing(
        tuple(contours),
        filled_ml=filled_mm3 / 1000.0,
        dropped_ml=float(dropped_mm3 + parts_mm3[specks].sum()) / 1000.0,
        between_slices_ml=float(parts_mm3[~specks].sum()) / 1000.0,
        beyond_ct_ml=_beyond_mm3(shape, ct) / 1000.0,
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


def _polygons(plane: Field, step_mm: float) -> Iterator[Polygon]:
    """Valid polygons, holes kept, in mm along the lattice's columns (x) and rows (y) from its first point."""
    if not (plane > 0).any():
        return
    generator = contourpy.contour_generator(z=plane, fill_type=contourpy.FillType.OuterOffset)
    found: list[Polygon] = []
    for points, offsets in zip(*generator.filled(0.0, np.inf), strict=True):
        rings = [points[a:b] * step_mm for a, b in pairwise(offsets)]
        found.extend(_valid(Polygon(rings[0], rings[1:])))
    yield from sorted(found, key=lambda polygon: polygon.bounds[1::-1])


def _valid(polygon: Polygon) -> list[Polygon]:
    """The polygon's parts, where touching itself makes it several."""
    if polygon.is_valid:
        return [polygon]
    mended = shapely.make_valid(polygon)
    parts = mended.geoms if hasattr(mended, "geoms") else [mended]
    flat = [piece for part in parts for piece in (part.geoms if isinstance(part, MultiPolygon) else [part])]
    return [piece for piece in flat if isinstance(piece, Polygon) and piece.area > 0]


def _simplified(outline: Polygon, tolerance_mm: float) -> Polygon:
    """The outline with the points that the tolerance needs, and with its area."""
    points = shapely.get_coordinates(outline.simplify(tolerance_mm, preserve_topology=True))
    simple = Polygon(points)
    scale = float(np.sqrt(outline.area / simple.area))
    if len(points) - 1 > MAX_POINTS:
        raise UnsupportedError(
            f"a ring of {outline.length:.0f} mm needs more than {MAX_POINTS} points",
            todo=f"Trace it with a larger tolerance than {tolerance_mm} mm.",
        )
    centre = np.array(simple.centroid.coords)
    return Polygon(centre + scale * (points - centre))


def _points_mm(ring: Polygon, lattice: Grid, plane_k: float) -> Points:
    """``(N, 3)``, the ring's points on the plane."""
    in_plane = np.asarray(ring.exterior.coords)[:-1] / _step_mm(lattice)
    kji = np.column_stack([np.full(len(in_plane), plane_k), in_plane[:, 1], in_plane[:, 0]])
    points = lattice.mm_from_index(kji)
    points.flags.writeable = False
    return points


def _labels_at(labels: NDArray[np.int32], plane_k: float, polygon: Polygon, step_mm: float) -> NDArray[np.int32]:
    """The labels around a point inside the polygon: those of the part that the polygon is cut from."""
    inside = polygon.representative_point()
    corner = np.floor([plane_k, inside.y / step_mm, inside.x / step_mm]).astype(int)
    k, j, i = np.clip(corner, 0, np.array(labels.shape) - 2)
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
    return float(np.count_nonzero((shape.field > 0) & ~inside)) * _step_mm(shape.grid) ** 3
