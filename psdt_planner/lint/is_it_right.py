"""Is it right: rings that enclose nothing, cross, repeat or swallow each other, and slices left out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import shapely
from numpy.typing import NDArray

from psdt_planner.dicom.rtstruct_file import RoiInFile, StructureSetFile
from psdt_planner.geometry import Points
from psdt_planner.lint.codes import Complaint
from psdt_planner.lint.planes import Laid, closed_rings, distinct_points
from psdt_planner.lint.rois import rings_that, told
from psdt_planner.lint.will_it_open import XOR

PLANAR_MM = 0.1
"""How far the points of a ring may lie beside one plane: more than any rounding."""

NO_AREA_MM2 = 1e-5
"""Below it, a ring encloses nothing: less than any triangle of points 0.01 mm apart."""

SPECK_MM2 = 1.0
"""Below it, a ring is less than a voxel of the finest planning CT."""

CROSSING_MM2 = 1.0
"""From here on, two ways of reading a ring that crosses itself differ by more than a speck."""

TOUCHING_MM2 = 0.001
"""Up to here, a ring that is not simple reads the same by any rule: it touches itself, and does not cross."""

SLIVER = 1e-3
"""Part of the smaller of two rings that they may share, or leave out, and still count as apart or nested."""

GAP_FACTOR = 1.5
"""A step between the rings of an ROI that is wider than so many usual ones leaves a slice out."""

SAME_PLANE_MM = 0.01


def is_it_right(file: StructureSetFile, laid: Laid) -> Iterator[Complaint]:
    """What is wrong with the rings by themselves, whatever images they belong to."""
    areas = np.maximum(shapely.area(laid.polygons), shapely.area(laid.valid))
    crossed = np.abs(shapely.area(laid.polygons) - shapely.area(laid.valid))
    for roi in file.rois:
        of = laid.of(roi)
        yield from _counts(roi)
        if of.size:
            yield from _one_by_one(roi, laid, of, areas, crossed)
            yield from _among(roi, laid, of, areas)


def _counts(roi: RoiInFile) -> Iterator[Complaint]:
    few = [ring for ring in closed_rings(roi) if ring.values and not ring.values % 3 and distinct_points(ring) < 3]
    yield from rings_that("ring-too-few-points", roi, few, "is closed and has {ring.values} coordinates")
    several = [ring for ring in roi.rings if ring.geometric_type == "POINT" and ring.values > 3]
    yield from rings_that("point-several", roi, several, "is a point and has {ring.values} coordinates")


def _said(roi: RoiInFile, laid: Laid, code: str, at: NDArray[np.int_], say: str) -> Iterator[Complaint]:
    yield from rings_that(code, roi, [laid.rings[n][1] for n in at.tolist()], say)


def _one_by_one(
    roi: RoiInFile, laid: Laid, of: NDArray[np.int_], areas: Points, crossed: Points
) -> Iterator[Complaint]:
    """What is wrong with each ring alone."""
    flat = areas[of] < NO_AREA_MM2
    bent = laid.spreads_mm[of] > PLANAR_MM
    simple = laid.is_simple[of] | flat
    off = crossed[of]
    tests: tuple[tuple[str, NDArray[np.bool_], str], ...] = (
        ("ring-not-planar", bent, f"spreads over {_most(laid.spreads_mm[of], bent):.2f} mm across the slices"),
        ("ring-no-area", flat, "encloses nothing"),
        ("ring-speck", ~flat & (areas[of] < SPECK_MM2), f"encloses less than {SPECK_MM2:g} mm²"),
        (
            "ring-crosses-itself",
            ~simple & (off > CROSSING_MM2),
            f"crosses itself: ways of reading it differ by up to {_most(off, ~simple):.1f} mm²",
        ),
        (
            "ring-crosses-slightly",
            ~simple & (off <= CROSSING_MM2) & (off > TOUCHING_MM2),
            f"crosses itself: ways of reading it differ by up to {_most(off, ~simple & (off <= CROSSING_MM2)):.3f} mm²",
        ),
        ("ring-touches-itself", ~simple & (off <= TOUCHING_MM2), "touches itself"),
        ("ring-closed-twice", laid.closed_twice[of], "repeats its first point at its end"),
        ("points-repeated", laid.repeated[of] > 0, "has the same point twice in a row"),
    )
    for code, mask, say in tests:
        yield from _said(roi, laid, code, of[mask], say)


def _most(values: Points, mask: NDArray[np.bool_]) -> float:
    return float(values[mask].max(initial=0.0))


def _among(roi: RoiInFile, laid: Laid, of: NDArray[np.int_], areas: Points) -> Iterator[Complaint]:
    """Rings of one plane that are the same, within or across each other."""
    ordered = of[np.argsort(laid.offsets_mm[of], kind="stable")]
    planes = np.split(ordered, np.flatnonzero(np.diff(laid.offsets_mm[ordered]) > SAME_PLANE_MM) + 1)
    pairs = [pair for plane in planes for pair in combinations(sorted(plane.tolist()), 2)]
    a, b = np.array(pairs, dtype=int).reshape(-1, 2).T
    near = np.asarray(shapely.intersects(shapely.envelope(laid.valid[a]), shapely.envelope(laid.valid[b])))
    a, b = a[near], b[near]
    shared = shapely.area(shapely.intersection(laid.valid[a], laid.valid[b]))
    smaller, larger = np.minimum(areas[a], areas[b]), np.maximum(areas[a], areas[b])
    nested = (shared > (1 - SLIVER) * smaller) & (smaller > NO_AREA_MM2)
    same = nested & (smaller > (1 - SLIVER) * larger)
    across = ~nested & (shared > SLIVER * smaller)
    inner = np.where(areas[a] < areas[b], a, b)
    # Those that are combined by even and odd may lie within each other.
    xor = np.array([laid.rings[n][1].geometric_type == XOR for n in a.tolist()], dtype=bool)
    for code, at, say in (
        ("ring-duplicate", b[same], "is the same as an earlier one of its slice"),
        ("ring-nested", inner[nested & ~same & ~xor], "lies within another of its slice"),
        ("rings-overlap", b[across & ~xor], "overlaps another of its slice"),
    ):
        yield from _said(roi, laid, code, np.unique(at), say)


def gaps(roi: RoiInFile, laid: Laid, slices: NDArray[np.int_] | None) -> Iterator[Complaint]:
    """Slices without a ring between those that have one, by the series' slices or, without it, by the usual step."""
    of = laid.of(roi)
    places = laid.offsets_mm[of] if slices is None else slices[of].astype(float)
    steps = np.diff(np.unique(np.round(places, 2)))
    if of.size and not steps.size:
        yield Complaint("roi-one-slice", "all its rings lie on one slice", told(roi), count=int(of.size))
    if not steps.size:
        return
    usual = float(np.median(steps)) if slices is None else 1.0
    wide = steps[steps > GAP_FACTOR * usual]
    if wide.size:
        missing = int((np.rint(wide / usual) - 1).sum())
        message = f"{missing} slices without a ring, in {wide.size} gaps"
        yield Complaint("roi-gap", message, told(roi), count=missing)
