"""How two stations of one exam fit where they overlap: gain and in-plane shift of one against the other.

Stations differ in receiver gain, and echo-planar stations lie shifted along the phase-encode axis by the difference of
their centre frequencies over the bandwidth of a pixel. Both are found in the overlap by least squares: Lucas-Kanade
steps with the gain as a further unknown, from the best whole-pixel shift of the cross-correlation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

FOREGROUND = 0.2
"""The part of the 99th percentile that a voxel must reach in both stations to count."""

AROUND_PIXELS = 5

STEPS, STILL_PIXELS = 30, 5e-3
LARGEST_SHIFT_PIXELS = 12
"""Beyond this many pixels two stations are not the same anatomy."""

LEAST_VOXELS = 50

ENOUGH_LINES = 100
"""So many rows and columns tell a gain as well as all of them do."""

SPLINE_REACH = 8
"""Beyond this many pixels a voxel has no weight in a cubic spline, to a part in ten thousand."""

Slices = NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """How the upper station differs from the lower one.

    Attributes:
        gain: factor that brings the upper station's signal to the lower one's.
        shift_ji_pixels: the upper station's content is found this many pixels further along rows and columns.
        correlation: of both after that, over the foreground; 0 where there is none.
        step: what the median ratio of the two still is away from 1 after that.
    """

    gain: float
    shift_ji_pixels: tuple[float, float]
    correlation: float
    step: float


UNCHANGED = Fit(1.0, (0.0, 0.0), 0.0, 0.0)
"""What is said where nothing can be told."""


def fit_overlap(lower: Slices, upper: Slices, *, fit_gain: bool = True) -> Fit:
    """Gain and shift of two stations at the same slice positions, both ``(K, J, I)``.

    Where either has no foreground, or nothing varies, the correlation is 0 and the rest says "no difference".
    """
    reference, moving = lower.astype(np.float64), upper.astype(np.float64)
    if not (_bright(reference).any() and _bright(moving).any()):
        return UNCHANGED
    shift = _coarse(reference, moving)
    for _ in range(STEPS):
        step = _lucas_kanade(reference, shifted(moving, shift), fit_gain=fit_gain)
        shift = shift + step
        if np.abs(shift).max() > LARGEST_SHIFT_PIXELS:
            return UNCHANGED
        if np.abs(step).max() < STILL_PIXELS:
            break
    fit = fit_in_place(lower, shifted(moving, shift).astype(np.float32), fit_gain=fit_gain)
    return replace(fit, shift_ji_pixels=(float(shift[0]), float(shift[1])))


def fit_in_place(lower: Slices, upper: Slices, *, fit_gain: bool = True) -> Fit:
    """Gain, correlation and step of two stations that lie right already, as the ratio of their sums.

    Sums are right on average however much noise there is, where a line through the voxels is too flat.
    """
    step = max(1, min(lower.shape[1:]) // ENOUGH_LINES)
    lower, upper = lower[:, ::step, ::step], upper[:, ::step, ::step]
    both = _bright(lower) & _bright(upper)
    if both.sum() < LEAST_VOXELS:
        return UNCHANGED
    one, other = lower[both].astype(np.float64), upper[both].astype(np.float64)
    gain = float(one.sum() / other.sum()) if fit_gain else 1.0
    signal = one > 0
    step = abs(float(np.median(gain * other[signal] / one[signal])) - 1.0)
    return Fit(gain, (0.0, 0.0), _correlation(one, other), step)


def shifted(slices: NDArray[Any], by_ji_pixels: NDArray[Any]) -> NDArray[Any]:
    """Slices ``(K, J, I)`` whose content is moved back by a shift in pixels; the border is carried on."""
    moved = slices
    for axis, by in ((1, float(by_ji_pixels[0])), (2, float(by_ji_pixels[1]))):
        if by:
            moved = ndimage.correlate1d(moved, _weights(by), axis=axis, mode="nearest")
    return moved


def _weights(by: float) -> NDArray[np.float64]:
    """What each neighbour along a line weighs in the cubic spline through it, a shift further on."""
    reach = math.ceil(abs(by)) + SPLINE_REACH
    impulse = np.zeros(2 * reach + 1)
    impulse[reach] = 1.0
    return np.asarray(ndimage.shift(impulse, by, order=3, mode="constant"))


def _bright(slices: NDArray[Any]) -> NDArray[np.bool_]:
    """The foreground, told from means over `AROUND_PIXELS`: single bright voxels of noise would raise the gain."""
    around = ndimage.uniform_filter(slices, (1, AROUND_PIXELS, AROUND_PIXELS))
    top = np.percentile(around, 99)
    return np.asarray(around > FOREGROUND * top) if top > 0 else np.zeros(slices.shape, bool)


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _coarse(reference: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """The whole-pixel shift at which the slices correlate best, within `LARGEST_SHIFT_PIXELS`."""
    spectra = [fft.rfft2(slices - slices.mean(axis=(1, 2), keepdims=True)) for slices in (reference, moving)]
    cross = fft.irfft2((np.conj(spectra[0]) * spectra[1]).sum(axis=0), s=reference.shape[1:])
    rows, columns = (np.asarray(np.fft.fftfreq(n, 1.0 / n)) for n in reference.shape[1:])
    near = (np.abs(rows)[:, None] <= LARGEST_SHIFT_PIXELS) & (np.abs(columns)[None, :] <= LARGEST_SHIFT_PIXELS)
    j, i = divmod(int(np.argmax(np.where(near, cross, -np.inf))), len(columns))
    return np.array([rows[j], columns[i]], dtype=np.float64)


def _lucas_kanade(reference: NDArray[np.float64], moved: NDArray[np.float64], *, fit_gain: bool) -> NDArray[np.float64]:
    """The further shift that solves ``reference = gain * (moved + shift . gradient of moved)`` by least squares."""
    used = _bright(reference) | _bright(moved)
    slopes = [np.asarray(np.gradient(moved, axis=axis))[used] for axis in (1, 2)]
    values, wanted = moved[used], reference[used]
    columns = np.stack([*slopes, *([values] if fit_gain else [])])
    target = wanted if fit_gain else wanted - values
    solved = np.linalg.lstsq(columns @ columns.T, columns @ target, rcond=None)
    found = np.asarray(solved[0], dtype=np.float64)
    gain = float(found[2]) if fit_gain and found[2] > 0 else 1.0
    return np.asarray(found[:2] / gain)
