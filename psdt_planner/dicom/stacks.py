"""Slices to a lattice: positions one by one along the stack's own normal, and every irregularity named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.errors import GeometryError
from psdt_planner.geometry import EVEN_TOLERANCE_MM, ON_NORMAL_TOLERANCE_MM, Grid, Points

ORIENTATION_TOLERANCE = 1e-4
"""How far a direction cosine may differ between the images of a stack: 0.05 mm over 500 mm."""

UNIT_TOLERANCE = 1e-3
"""How far a stated direction may be from unit length, or two from a right angle; four digits stay below."""

AXIAL_TOLERANCE = 1e-3
"""How far a planning CT's direction cosines may be from 0 and ±1, with the normal along z."""

SAME_PLACE_MM = 0.01
"""Two slices nearer than this lie at the same place."""

MISSING_FACTOR = 1.5
"""A gap wider than this many median gaps lacks a slice, unless the slices beside it fill it and it is no multiple."""

MULTIPLE_TOLERANCE = 0.05
"""How far a gap may be from a multiple of the median gap, as part of it, to lack slices however thick these are."""

NEAR_FACTOR = 0.5
"""Two slices nearer than this part of the median gap are of two reconstructions, or one sent twice."""

FILLED_FRACTION = 0.9
"""The part of a wide gap that the thickness of the slices beside it must fill."""


@dataclass(frozen=True, eq=False)
class Slice:
    """The geometry of one image.

    Attributes:
        origin_mm: ``(3,)``, centre of the first voxel.
        row, column: ``(3,)``, unit vectors towards growing column index and growing row index.
        spacing_ji_mm: distance between rows and between columns.
        shape_ji: rows, columns.
        frame: Frame of Reference UID; empty where the image has none.
        thickness_mm: SliceThickness, 0 where it is not stated.
        header: the image.
    """

    origin_mm: Points
    row: Points
    column: Points
    spacing_ji_mm: tuple[float, float]
    shape_ji: tuple[int, int]
    frame: str
    thickness_mm: float
    header: Header


@dataclass(frozen=True)
class Irregularity:
    """What is odd about a stack: a stable name, a sentence, the figure that decided, whether it forbids a lattice."""

    name: str
    message: str
    forbids: bool = True
    value: float | None = None
    limit: float | None = None
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Stack:
    """Images in slice order and the lattice they make; ``grid`` is None where an irregularity forbids one."""

    slices: tuple[Slice, ...]
    grid: Grid | None
    irregularities: tuple[Irregularity, ...]


def read_slice(header: Header) -> Slice:
    """The geometry that one image states.

    Raises:
        MissingAttributeError: position, orientation, pixel spacing or matrix size are missing.
        UnsupportedError: one of them is no number.
        GeometryError: the orientation is no pair of perpendicular unit vectors, or the spacing is not positive.
    """
    ds, where = header.dataset, f"SOP Instance UID {header.file.sop_instance_uid}"
    row, column = attributes.numbers(ds, "ImageOrientationPatient", 6, where=where).reshape(2, 3)
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1.0).max() > UNIT_TOLERANCE or abs(row @ column) > UNIT_TOLERANCE:
        raise GeometryError("ImageOrientationPatient is no pair of perpendicular unit vectors", where=where)
    spacing = attributes.numbers(ds, "PixelSpacing", 2, where=where)
    if spacing.min() <= 0:
        raise GeometryError("PixelSpacing is not positive", where=where)
    return Slice(
        origin_mm=attributes.numbers(ds, "ImagePositionPatient", 3, where=where),
        row=row / lengths[0],
        column=column / lengths[1],
        spacing_ji_mm=(float(spacing[0]), float(spacing[1])),
        shape_ji=(attributes.integer(ds, "Rows", where=where), attributes.integer(ds, "Columns", where=where)),
        frame=attributes.text_or_empty(ds, "FrameOfReferenceUID"),
        thickness_mm=attributes.number(ds, "SliceThickness") if attributes.text_or_empty(ds, "SliceThickness") else 0.0,
        header=header,
    )


def stack(slices: Sequence[Slice], *, axial: bool) -> Stack:
    """The lattice of the slices of one volume, whatever their order; ``axial`` asks for an axial stack (a planning CT).

    Irregularities: ``frame-missing``, ``frames-mixed``, ``orientation-mixed``, ``size-mixed``, ``not-axial``,
    ``slice-duplicate``, ``gantry-tilt``, ``slice-missing`` and ``single-slice`` forbid a lattice; ``slices-uneven``
    does not, since positions are kept one by one.
    """
    first = min(slices, key=lambda one: one.header.name)
    normal = np.cross(first.row, first.column)
    ordered = tuple(sorted(slices, key=lambda one: (one.origin_mm @ normal, one.header.name)))
    found = [*differences(ordered), *(_not_axial(first) if axial else ()), *_places(ordered, normal)]
    if any(irregularity.forbids for irregularity in found):
        return Stack(ordered, None, tuple(found))
    rows, columns = first.shape_ji
    step_j, step_i = first.column * first.spacing_ji_mm[0], first.row * first.spacing_ji_mm[1]
    origins = np.array([one.origin_mm for one in ordered])
    try:
        grid = Grid(origins, step_j, step_i, (len(ordered), rows, columns), first.frame)
    except GeometryError as error:
        return Stack(ordered, None, (*found, Irregularity("geometry", error.message)))
    return Stack(ordered, grid, tuple(found))


def differences(slices: Sequence[Slice]) -> list[Irregularity]:
    """In what images differ that the images of one stack share: frame of reference, orientation, matrix."""
    found: list[Irregularity] = []
    frames = {one.frame for one in slices}
    if "" in frames:
        count = sum(not one.frame for one in slices)
        found.append(Irregularity("frame-missing", f"{count} images name no frame of reference"))
    if len(frames - {""}) > 1:
        found.append(Irregularity("frames-mixed", f"images in {len(frames - {''})} frames of reference"))
    directions = np.array([(one.row, one.column) for one in slices])
    turned = float(np.abs(directions - directions[0]).max())
    if turned > ORIENTATION_TOLERANCE:
        message = "images of several orientations"
        found.append(Irregularity("orientation-mixed", message, True, turned, ORIENTATION_TOLERANCE))
    if len({(one.shape_ji, one.spacing_ji_mm) for one in slices}) > 1:
        found.append(Irregularity("size-mixed", "images of several matrix sizes or pixel spacings"))
    return found


def _not_axial(first: Slice) -> list[Irregularity]:
    """Rows and columns must run along the patient axes, slices along z; flips and quarter turns are fine."""
    cosines = np.abs([first.row, first.column])
    off = float(max(np.minimum(cosines, np.abs(1.0 - cosines)).max(), cosines[:, 2].max()))
    if off <= AXIAL_TOLERANCE:
        return []
    return [Irregularity("not-axial", "the slices are not axial", True, off, AXIAL_TOLERANCE)]


def _places(ordered: Sequence[Slice], normal: Points) -> list[Irregularity]:
    """What is odd about where the slices lie."""
    if len(ordered) == 1:
        return [Irregularity("single-slice", "one slice alone makes no volume")]
    origins = np.array([one.origin_mm for one in ordered])
    offsets = (origins - origins[0]) @ normal
    gaps = np.diff(offsets)
    found = []
    same = np.flatnonzero(gaps < SAME_PLACE_MM)
    if same.size:
        at = ", ".join(_at(ordered[k]) for k in same[:3])
        found.append(Irregularity("slice-duplicate", f"{same.size} slices lie where another lies, first {at}"))
    beside = origins - origins[0] - offsets[:, None] * normal
    aside_mm = float(np.linalg.norm(beside, axis=1).max())
    if aside_mm > ON_NORMAL_TOLERANCE_MM:
        message = f"slices shift sideways by up to {aside_mm:.2f} mm (gantry tilt or shear)"
        found.append(Irregularity("gantry-tilt", message, True, aside_mm, ON_NORMAL_TOLERANCE_MM, "mm"))
    return found if found else _gaps(ordered, gaps)


def _gaps(ordered: Sequence[Slice], gaps_mm: Points) -> list[Irregularity]:
    typical = float(np.median(gaps_mm))
    filled = np.array([min(a.thickness_mm, b.thickness_mm) for a, b in pairwise(ordered)])
    near = np.flatnonzero(gaps_mm < NEAR_FACTOR * typical)
    if near.size:
        k = int(near[0])
        message = f"{near.size} slices lie nearly where another lies, first {gaps_mm[k]:.2f} mm from {_at(ordered[k])}"
        return [Irregularity("slice-duplicate", message, True, float(gaps_mm[k]), NEAR_FACTOR * typical, "mm")]
    parts = np.rint(gaps_mm / typical)
    multiple = (parts >= 2) & (np.abs(gaps_mm / typical - parts) <= MULTIPLE_TOLERANCE)
    missing = np.flatnonzero((gaps_mm > MISSING_FACTOR * typical) & (multiple | (filled < FILLED_FRACTION * gaps_mm)))
    if missing.size:
        k = int(missing[0])
        message = (
            f"between {_at(ordered[k])} and {_at(ordered[k + 1])} the gap is {gaps_mm[k]:.2f} mm "
            f"where {typical:.2f} mm is usual: a slice is missing"
        )
        return [Irregularity("slice-missing", message, True, float(gaps_mm[k]), typical, "mm")]
    off_mm = float(np.abs(gaps_mm - typical).max())
    if off_mm <= EVEN_TOLERANCE_MM:
        return []
    message = f"slice gaps differ by up to {off_mm:.2f} mm from {typical:.2f} mm; each slice is kept where it is"
    return [Irregularity("slices-uneven", message, False, off_mm, EVEN_TOLERANCE_MM, "mm")]


def _at(one: Slice) -> str:
    return "({:.2f}, {:.2f}, {:.2f}) mm".format(*one.origin_mm)
