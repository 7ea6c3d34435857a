"""Apparent diffusion coefficient: fitted from b-images, held against the scanner's own map, and carried to other b.

The signal is taken to fall off with one exponential, S(b) = S0 exp(-b ADC), as MET-RADS-P reads it between b 50-100 and
800-1000 s/mm2 (Padhani 2017); the fit is the unweighted line through the logarithms of the signals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psdt_planner.criteria.acquisition import AcquisitionCriteria
from psdt_planner.errors import GeometryError, InputError
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.images import Kind, Quantity, Volume, resample

SAME_PLACE_MM = 0.05
"""Grids whose corners lie nearer than this are one grid; scanners print positions to fewer digits than they have."""

BODY_FRACTION = 0.15
"""Voxels are of the body where the signal at b = 0 is above this part of its 99th percentile."""

COUNT_ERROR = 0.03
"""Voxels are compared where one stored count more or less at the highest b moves the ADC by no more than this part.

Scanners fit before they round to whole counts, so that where little signal is left the two differ by rounding alone.
"""

CHECKED_SLICES = 12
"""So many slices of an ADC map are held against the fit."""

MOST_SLICES = 0.5
"""A map that shows more than this part of the slices of b-images is theirs."""


@dataclass(frozen=True, eq=False)
class AdcFit:
    """What the fit found in every voxel.

    Attributes:
        adc: mm2/s; 0 where nothing could be fitted.
        s0: signal that the line reaches at b = 0; 0 where nothing could be fitted.
        fitted: where every b-image has a signal above 0.
        b_values_s_per_mm2: ascending.
    """

    adc: Volume
    s0: Volume
    fitted: NDArray[np.bool_]
    b_values_s_per_mm2: tuple[float, ...]


@dataclass(frozen=True)
class AdcAgreement:
    """A scanner's map beside the fit, over voxels of the body.

    Attributes:
        median_ratio: of the map to the fit.
        correlation: Pearson's, of the voxels' values.
        voxels: how many were compared.
    """

    median_ratio: float
    correlation: float
    voxels: int


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether two grids put their voxels at the same places of the same frame, to `SAME_PLACE_MM`."""
    if one.frame != other.frame or one.shape != other.shape:
        return False
    far = np.array(one.shape[1:]) - 1
    ends = [grid.slice_origins_mm + far[0] * grid.step_j_mm + far[1] * grid.step_i_mm for grid in (one, other)]
    starts = np.abs(one.slice_origins_mm - other.slice_origins_mm).max()
    return bool(max(starts, np.abs(ends[0] - ends[1]).max()) <= SAME_PLACE_MM)


def b_images(volumes: Iterable[Volume]) -> tuple[tuple[Volume, ...], ...]:
    """The b-images that belong together: of one grid, each b-value once, ascending; trace-weighted where there are.

    Trace-weighted and directional images of one grid are not mixed but to add a b-value that the trace lacks: Siemens
    keeps b = 0 apart from the trace.
    """
    groups: list[list[Volume]] = []
    for volume in volumes:
        if volume.quantity.kind not in (Kind.DWI, Kind.DWI_TRACE) or volume.quantity.b_value_s_per_mm2 is None:
            continue
        for group in groups:
            if same_grid(group[0].grid, volume.grid):
                group.append(volume)
                break
        else:
            groups.append([volume])
    return tuple(_each_b_once(group) for group in groups)


def _each_b_once(group: Sequence[Volume]) -> tuple[Volume, ...]:
    best: dict[float, Volume] = {}
    for volume in sorted(group, key=lambda one: (one.quantity.kind is not Kind.DWI_TRACE, one.series_uid)):
        best.setdefault(_b(volume), volume)
    return tuple(best[b] for b in sorted(best))


def _b(volume: Volume) -> float:
    b = volume.quantity.b_value_s_per_mm2
    if b is None:
        raise InputError("an image without b-value has no place in a fit", where=volume.series_uid)
    return b


def fit_adc(images: Sequence[Volume]) -> AdcFit:
    """The mono-exponential fit of b-images of one grid.

    Raises:
        InputError: fewer than two b-values, or one without.
        GeometryError: the images are not on one grid.
    """
    b = np.array([_b(image) for image in images])
    if len(set(b)) < 2:
        raise InputError("an ADC needs images at two b-values or more", todo="Send all b-values of the exam.")
    if any(not same_grid(images[0].grid, image.grid) for image in images[1:]):
        raise GeometryError("b-images on different grids make no ADC", where=images[0].series_uid)
    fitted = np.logical_and.reduce([image.array > 0 for image in images])
    off = b - b.mean()
    slope, level = np.zeros(fitted.shape, np.float32), np.zeros(fitted.shape, np.float32)
    for image, weight in zip(images, off / (off @ off), strict=True):
        logs = np.log(image.array, where=fitted, out=np.zeros(fitted.shape, np.float32))
        slope += np.float32(weight) * logs
        level += logs / np.float32(len(images))
    s0 = np.where(fitted, np.exp(level - slope * np.float32(b.mean())), np.float32(0.0))
    first = images[0]
    quantities = Quantity(Kind.ADC, "mm2/s"), Quantity(Kind.DWI_CALCULATED, "1", 0.0)
    adc, at_zero = (
        Volume(first.grid, array, quantity, first.series_uid, first.phase_encoding_mm)
        for array, quantity in zip((-slope, s0), quantities, strict=True)
    )
    return AdcFit(adc, at_zero, fitted, tuple(sorted(float(one) for one in b)))


def computed_b(fit: AdcFit, b_s_per_mm2: float) -> Volume:
    """The signal that the fit gives at another b-value, as in Blackledge 2011; 0 where nothing was fitted.

    Raises:
        InputError: a negative b-value.
    """
    if b_s_per_mm2 < 0:
        raise InputError(f"there is no image at b = {b_s_per_mm2:g} s/mm2")
    array = fit.s0.array * np.exp(np.float32(-b_s_per_mm2) * fit.adc.array)
    quantity = Quantity(Kind.DWI_CALCULATED, "1", float(b_s_per_mm2))
    return Volume(fit.adc.grid, array, quantity, fit.adc.series_uid, fit.adc.phase_encoding_mm)


def compare_adc(scanner: Volume, images: Sequence[Volume]) -> AdcAgreement:
    """A scanner's ADC map beside the fit of b-images, over voxels of the body with enough signal at the highest b.

    Raises:
        GeometryError: the map and the b-images are not on one grid.
        InputError: fewer than two b-values, or no voxel to compare.
    """
    fit = fit_adc(images)
    if not same_grid(scanner.grid, fit.adc.grid):
        raise GeometryError("an ADC map on another grid than the b-images", where=scanner.series_uid)
    both = fit.fitted & (scanner.array > 0) & (fit.adc.array > 0)
    compared = both & _in_body(fit) & _above_rounding(max(images, key=_b), fit)
    if np.count_nonzero(compared) < 2:
        raise InputError("no voxel of the ADC map can be held against the b-images", where=scanner.series_uid)
    stated, found = (volume.array[compared].astype(np.float64) for volume in (scanner, fit.adc))
    flat = stated.std() == 0 or found.std() == 0
    correlation = 0.0 if flat else float(np.corrcoef(stated, found)[0, 1])
    return AdcAgreement(float(np.median(stated / found)), correlation, len(stated))


def _in_body(fit: AdcFit) -> NDArray[np.bool_]:
    bright = float(np.percentile(fit.s0.array[fit.fitted], 99)) if fit.fitted.any() else np.inf
    return np.asarray(fit.s0.array > BODY_FRACTION * bright)


def _above_rounding(highest: Volume, fit: AdcFit) -> NDArray[np.bool_]:
    """Where a step of the stored numbers at the highest b means little to the fit."""
    levels = np.unique(highest.array)
    count = float(np.diff(levels).min()) if len(levels) > 1 else 0.0
    range_s_per_mm2 = fit.b_values_s_per_mm2[-1] - fit.b_values_s_per_mm2[0]
    return np.asarray(highest.array * fit.adc.array * range_s_per_mm2 >= count / COUNT_ERROR)


def check_adc_maps(volumes: Sequence[Volume], criteria: AcquisitionCriteria) -> tuple[Finding, ...]:
    """Each ADC map held against the fit of b-images, where it lies over two or more of its frame.

    A map on another grid than the b-images is brought onto theirs, linearly, for the comparison alone.

    Finding codes: ``adc-disagrees`` (hold), ``adc-unchecked`` (info: no b-images at two b-values lie under it, or there
    is too little signal to tell).
    """
    groups = [group for group in b_images(volumes) if len(group) > 1]
    found: list[Finding] = []
    for scanner in (volume for volume in volumes if volume.quantity.kind is Kind.ADC):
        same = [group for group in groups if same_grid(scanner.grid, group[0].grid)]
        under = same or [group for group in groups if shown_slices(scanner, group[0].grid).any()]
        for group in under:
            found += _disagreement(*_some_slices(scanner, group), criteria)
        if not under:
            message = (
                f"series {scanner.series_uid}: no b-images at two b-values lie under the ADC map to hold it against"
            )
            found.append(Finding("adc-unchecked", Level.INFO, message))
    return tuple(found)


def _disagreement(scanner: Volume, images: Sequence[Volume], criteria: AcquisitionCriteria) -> list[Finding]:
    try:
        ratio = compare_adc(scanner, images).median_ratio
    except InputError as error:
        return [Finding("adc-unchecked", Level.INFO, f"series {scanner.series_uid}: {error}")]
    low, high = criteria.adc_agreement.ratios
    if low <= ratio <= high:
        return []
    message = (
        f"series {scanner.series_uid}: the ADC map is {ratio:.3g} times the fit of the exam's own b-images; "
        "its unit or its source is not what it seems"
    )
    return [Finding("adc-disagrees", Level.HOLD, message, value=ratio, limit=high if ratio > high else low)]


def _some_slices(scanner: Volume, images: Sequence[Volume]) -> tuple[Volume, list[Volume]]:
    """The map on the b-images' grid, and these: at `CHECKED_SLICES` that both show, evenly."""
    grid = images[0].grid
    shown = np.flatnonzero(shown_slices(scanner, grid))
    at = shown[np.unique(np.linspace(0, len(shown) - 1, CHECKED_SLICES).astype(int))]
    thin = Grid(grid.slice_origins_mm[at], grid.step_j_mm, grid.step_i_mm, (len(at), *grid.shape[1:]), grid.frame)
    if same_grid(scanner.grid, grid):
        array = scanner.array[at]
    else:
        array = resample(scanner, thin, Rigid(np.eye(4), grid.frame, grid.frame))
    onto = Volume(thin, array, scanner.quantity, scanner.series_uid)
    return onto, [Volume(thin, image.array[at], image.quantity, image.series_uid) for image in images]


def missing_adc(volumes: Sequence[Volume]) -> tuple[AdcFit, ...]:
    """The fit of every group of b-images that no ADC map of its frame lies over."""
    maps = [volume for volume in volumes if volume.quantity.kind is Kind.ADC]
    groups = [group for group in b_images(volumes) if len(group) > 1]
    return tuple(fit_adc(group) for group in groups if not any(_lies_over(one, group[0].grid) for one in maps))


def without_high_b(volumes: Sequence[Volume], least_s_per_mm2: float) -> tuple[AdcFit, ...]:
    """The fit of every group of b-images in a frame none of whose measured images reaches a b-value."""
    groups = b_images(volumes)
    reached = {group[-1].grid.frame for group in groups if _b(group[-1]) >= least_s_per_mm2}
    return tuple(fit_adc(group) for group in groups if len(group) > 1 and group[0].grid.frame not in reached)


def _lies_over(volume: Volume, grid: Grid) -> bool:
    """Whether a volume of the same frame shows the middle of most slices of a grid."""
    return bool(shown_slices(volume, grid).mean() > MOST_SLICES)


def shown_slices(volume: Volume, grid: Grid) -> NDArray[np.bool_]:
    """``(K,)``, for each slice of a grid whether the volume, of the same frame, shows its middle."""
    if volume.grid.frame != grid.frame:
        return np.zeros(grid.shape[0], dtype=bool)
    middle = grid.slice_origins_mm + (grid.shape[1] - 1) / 2 * grid.step_j_mm + (grid.shape[2] - 1) / 2 * grid.step_i_mm
    return np.asarray(volume.grid.contains(middle), dtype=bool)
