"""Stations of a whole-body exam as one volume for each kind and b-value.

Stations are joined within one frame of reference only: the same numbers in two frames are two places. Where neighbours
overlap, each slice is their mean weighted by how deep it lies in either; before that, gain and in-plane shift are
brought to those of the middle station. What was found, and the step that is left, is told for every seam.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.dwi.chains import Break, chains
from psdt_planner.dwi.overlap import UNCHANGED, Fit, fit_in_place, fit_overlap, shifted
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind, Seam, Station, Volume

DIFFUSION = (Kind.DWI_TRACE, Kind.DWI, Kind.ADC, Kind.DWI_CALCULATED)
ANATOMICAL = (Kind.T1, Kind.T2, Kind.DIXON_IN, Kind.DIXON_OUT, Kind.DIXON_WATER, Kind.DIXON_FAT)
"""Images without the shift of echo-planar ones: they are joined where they lie."""

MATCH = 0.8
"""Least correlation in an overlap for the two stations to be believed the same anatomy."""

STEP_LIMIT = 0.02
"""Signal step over a seam that is told."""

SAME_SLICE_MM = 1e-3
"""Slices nearer than this are at one place."""

MOST_SLICES = 6
"""So many slices of an overlap tell gain and shift as well as all of them do."""

THREADS = 2

LEAST_SHIFT_MM = 0.2
"""A shift below this is within what the overlap can tell, and is left alone: moving blurs."""


@dataclass(frozen=True, eq=False)
class Composed:
    """One volume of the exam; a volume of one station is as it was read."""

    volume: Volume

    @property
    def seams(self) -> tuple[Seam, ...]:
        """Where its stations meet."""
        return self.volume.seams


@dataclass(frozen=True, eq=False)
class ComposedExam:
    """The exam's volumes, and what a person should know of how they were composed."""

    composed: tuple[Composed, ...]
    findings: tuple[Finding, ...]

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """The volumes alone."""
        return tuple(one.volume for one in self.composed)


Key = tuple[str, Kind, float]
"""Frame, kind and b-value, -1 where there is none."""

Ways = tuple[tuple[float, ...], ...]
"""Where the slices of each station lie along the normal."""


def compose_exam(volumes: Iterable[Volume]) -> ComposedExam:
    """The volumes of an exam with stations joined: one for each frame of reference, kind and b-value.

    Each volume stands where its first station stood. Series that show a place again, lie turned or leave a gap are no
    stations of one volume and stay as they are. The shifts are found at the lowest b-value, where there is most signal,
    and used for all diffusion volumes of the same stations; the gain is found for each, but of ADC maps, which have
    none. Anatomical images are never moved, and are joined only where they look alike. Places in the composed volume
    are those of the middle station: a station that was moved is moved by less than it lay off.

    Finding codes: ``stations-frames-mixed`` (warn), ``stations-mismatch`` (hold), ``stations-gap`` (warn),
    ``stations-no-overlap`` (warn), ``stations-step`` (warn), ``stations-shift`` (info), ``stations-again`` (info),
    ``stations-axes-differ`` (hold).
    """
    groups: dict[Key, list[tuple[int, Volume]]] = defaultdict(list)
    placed: dict[int, Composed] = {}
    for number, volume in enumerate(volumes):
        quantity = volume.quantity
        if quantity.kind in (*DIFFUSION, *ANATOMICAL):
            b = quantity.b_value_s_per_mm2
            groups[(volume.grid.frame, quantity.kind, -1.0 if b is None else b)].append((number, volume))
        else:
            placed[number] = Composed(volume)
    findings = list(_frames(groups))
    for found, told in _composed_groups(groups):
        placed |= found
        findings += told
    return ComposedExam(tuple(placed[number] for number in sorted(placed)), tuple(dict.fromkeys(findings)))


def _lowest_b_first(key: Key) -> tuple[bool, bool, float, str, Kind]:
    frame, kind, b = key
    return kind is Kind.ADC, b < 0, b, frame, kind


Composition = tuple[dict[int, Composed], list[Finding]]


def _composed_groups(groups: Mapping[Key, Sequence[tuple[int, Volume]]]) -> list[Composition]:
    """What each group makes, the lowest b-value first.

    Diffusion volumes need the shifts of those before them; anatomical ones are composed beside these.
    """
    keys = sorted(groups, key=_lowest_b_first)
    known: dict[tuple[str, Ways], Sequence[Points]] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        in_turn = pool.submit(lambda: {key: _composed_group(groups[key], known) for key in keys if key[1] in DIFFUSION})
        beside = {key: pool.submit(_composed_group, groups[key], {}) for key in keys if key[1] in ANATOMICAL}
        made = in_turn.result() | {key: one.result() for key, one in beside.items()}
        return [made[key] for key in keys]


def _composed_group(
    members: Sequence[tuple[int, Volume]], known: dict[tuple[str, Ways], Sequence[Points]]
) -> Composition:
    """The volumes of one frame, kind and b-value, by the number of the first station of each."""
    numbers = {id(volume): number for number, volume in members}
    rows, breaks = chains([volume for _, volume in members])
    diffusion = members[0][1].quantity.kind in DIFFUSION
    findings = [_about_break(one) for one in breaks] if diffusion else []
    placed = {}
    for row in rows:
        for part, (composed, told) in _compose(row, known):
            placed[min(numbers[id(station)] for station in part)] = composed
            findings += told
    return placed, findings


def _frames(groups: Mapping[Key, object]) -> list[Finding]:
    """One kind of diffusion image in several frames: the exam's places cannot be held against each other."""
    frames: dict[tuple[Kind, float], set[str]] = defaultdict(set)
    for frame, kind, b in groups:
        if kind in DIFFUSION:
            frames[(kind, b)].add(frame)
    most = max(frames.values(), key=len, default=set())
    if len(most) < 2:
        return []
    message = f"the diffusion images lie in {len(most)} frames of reference ({', '.join(sorted(most))}), never joined"
    return [Finding("stations-frames-mixed", Level.WARN, message, value=float(len(most)), limit=1.0)]


def _about_break(one: Break) -> Finding:
    where = f"between series {one.lower_uid} and {one.upper_uid}"
    if one.why == "again":
        message = f"series {one.upper_uid} shows again what series {one.lower_uid} shows, and is not joined with it"
        return Finding("stations-again", Level.INFO, message)
    if one.why == "axes":
        message = f"{where}: stations lie in different planes and are not joined"
        return Finding("stations-axes-differ", Level.HOLD, message)
    message = f"{where}: {one.gap_mm:.1f} mm of the body lie in no station"
    return Finding("stations-gap", Level.WARN, message, value=one.gap_mm, limit=one.limit_mm, unit="mm")


def _named(volume: Volume) -> str:
    b = volume.quantity.b_value_s_per_mm2
    return f"{volume.quantity.kind}" + ("" if b is None else f" at b = {b:g} s/mm2")


def _compose(
    stations: Sequence[Volume], known: dict[tuple[str, Ways], Sequence[Points]]
) -> Iterator[tuple[Sequence[Volume], tuple[Composed, list[Finding]]]]:
    """One volume of stations in order, and the stations; of anatomical ones that look different, one of each part.

    ``known`` keeps the shifts of stations at the same places.
    """
    if len(stations) == 1:
        yield stations, (Composed(stations[0]), [])
        return
    kind = stations[0].quantity.kind
    middle = len(stations) // 2
    slabs = [_on_plane_of(station, stations[middle]) for station in stations]
    ways: Ways = tuple(tuple(float(mm) for mm in np.round(slab.offsets_mm, 1)) for slab in slabs)
    place = stations[0].grid.frame, ways
    shifts = known.get(place) if kind in DIFFUSION else [np.zeros(2)] * (len(slabs) - 1)
    fits, seams, findings = [], [], []
    for number, (lower, upper) in enumerate(pairwise(slabs)):
        at = _overlap(lower, upper)
        fit = _fit(lower, upper, at, None if shifts is None else shifts[number], fit_gain=kind is not Kind.ADC)
        if len(at) and fit.correlation < MATCH and kind in ANATOMICAL:
            for part in (stations[: number + 1], stations[number + 1 :]):
                yield from _compose(part, known)
            return
        if shifts is None and len(at) and fit.correlation < MATCH:
            findings.append(_mismatch(lower, upper, fit))
            fit = UNCHANGED
        fits.append(fit)
        seams.append(_seam(lower, upper, len(at), fit))
    if kind in DIFFUSION:
        known.setdefault(place, [np.array(fit.shift_ji_pixels) for fit in fits])
    volume = replace(_joined(_brought_together(slabs, fits, middle), stations[middle]), seams=tuple(seams))
    yield stations, (Composed(volume), [*findings, *_about(_named(volume), seams)])


@dataclass(frozen=True, eq=False)
class _Slab:
    """A station on the in-plane lattice of the middle one: its slices by their way along the normal.

    Attributes:
        gain: factor that brings its signal to the middle station's.
        shift_ji_pixels: how far along rows and columns its content lies from the middle station's.
    """

    uid: str
    offsets_mm: Points
    array: NDArray[np.float32]
    grid: Grid
    gain: float = 1.0
    shift_ji_pixels: tuple[float, float] = (0.0, 0.0)

    @property
    def gap_mm(self) -> float:
        return float(np.median(np.diff(self.offsets_mm))) if len(self.offsets_mm) > 1 else 0.0

    @property
    def moved_mm(self) -> tuple[float, float, float]:
        down, along = self.shift_ji_pixels
        x, y, z = (float(mm) + 0.0 for mm in down * self.grid.step_j_mm + along * self.grid.step_i_mm)
        return x, y, z

    def at(self, offsets_mm: Points) -> NDArray[np.float32]:
        """Slices ``(N, J, I)`` at ways along the normal within the slab, as they were read."""
        return np.stack([self._plane(float(mm)) for mm in offsets_mm])

    def fit_into(self, out: NDArray[np.float32], offset_mm: float, weight: float) -> None:
        """One slice ``(J, I)`` with the gain and at the place of the middle station, times a weight."""
        plane = shifted(self._plane(offset_mm)[None], np.array(self.shift_ji_pixels))[0]
        np.multiply(plane, np.float32(self.gain * weight), out=out)

    def _plane(self, offset_mm: float) -> NDArray[np.float32]:
        """Linear between the slab's own slices; within a micrometre of one of these, that one."""
        index = float(np.interp(offset_mm, self.offsets_mm, np.arange(len(self.offsets_mm))))
        near = round(index)
        if abs(self.offsets_mm[near] - offset_mm) < SAME_SLICE_MM:
            return np.asarray(self.array[near])
        below = min(int(index), len(self.offsets_mm) - 2)
        part = np.float32(index - below)
        return np.asarray(self.array[below] * (1 - part) + self.array[below + 1] * part, dtype=np.float32)


def _on_plane_of(station: Volume, middle: Volume) -> _Slab:
    """A station's slices on the rows and columns of another, resampled in the plane where these differ."""
    grid, onto = station.grid, middle.grid
    offsets = np.asarray((grid.slice_origins_mm - onto.slice_origins_mm[0]) @ onto.normal)
    origins = onto.slice_origins_mm[0] + offsets[:, None] * onto.normal
    beside = np.abs(grid.slice_origins_mm - origins).max()
    same = grid.shape[1:] == onto.shape[1:] and np.allclose(grid.spacing_ji_mm, onto.spacing_ji_mm, atol=1e-3)
    lattice = Grid(origins, onto.step_j_mm, onto.step_i_mm, (len(origins), *onto.shape[1:]), onto.frame)
    if same and beside < 0.05:
        return _Slab(station.series_uid, offsets, station.array, lattice)
    array = np.empty(lattice.shape, dtype=np.float32)
    for k in range(len(origins)):
        array[k] = _in_plane(station, k, lattice)
    return _Slab(station.series_uid, offsets, array, lattice)


def _in_plane(station: Volume, k: int, lattice: Grid) -> NDArray[np.float32]:
    corner = station.grid.index_from_mm(lattice.slice_origins_mm[k])[1:]
    ratio = np.array(lattice.spacing_ji_mm) / np.array(station.grid.spacing_ji_mm)
    found = ndimage.affine_transform(
        station.array[k], ratio, offset=corner, output_shape=lattice.shape[1:], order=1, mode="constant"
    )
    return np.asarray(found, dtype=np.float32)


def _overlap(lower: _Slab, upper: _Slab) -> Points:
    """Ways of the lower station's slices that lie within the upper one."""
    within = (lower.offsets_mm >= upper.offsets_mm[0] - 1e-3) & (lower.offsets_mm <= upper.offsets_mm[-1] + 1e-3)
    return np.asarray(lower.offsets_mm[within])


def _fit(lower: _Slab, upper: _Slab, at: Points, shift: Points | None, *, fit_gain: bool) -> Fit:
    """Gain and shift in the overlap; with a shift that is known, the gain alone; nothing where there is no overlap."""
    if not len(at):
        return UNCHANGED
    at = at[np.unique(np.linspace(0, len(at) - 1, MOST_SLICES).astype(int))]
    one, other = lower.at(at), upper.at(at)
    if shift is None:
        fit = fit_overlap(one, other, fit_gain=fit_gain)
        mm = np.array(fit.shift_ji_pixels) * np.array(lower.grid.spacing_ji_mm)
        if fit.correlation < MATCH or np.linalg.norm(mm) >= LEAST_SHIFT_MM:
            return fit
        shift = np.zeros(2)
    moved = shifted(other.astype(np.float64), shift).astype(np.float32) if shift.any() else other
    return replace(fit_in_place(one, moved, fit_gain=fit_gain), shift_ji_pixels=(float(shift[0]), float(shift[1])))


def _seam(lower: _Slab, upper: _Slab, overlap: int, fit: Fit) -> Seam:
    down, along = fit.shift_ji_pixels
    shift = down * lower.grid.step_j_mm + along * lower.grid.step_i_mm
    gap = 0.0 if overlap else max(float(upper.offsets_mm[0] - lower.offsets_mm[-1]), 0.0)
    x, y, z = (float(mm) for mm in shift)
    return Seam(lower.uid, upper.uid, overlap, gap, fit.gain, (x, y, z), fit.correlation, fit.step)


def _brought_together(slabs: Sequence[_Slab], fits: Sequence[Fit], middle: int) -> list[_Slab]:
    """Every station with its gain and shift against the middle one, seam by seam."""
    found = []
    for number, slab in enumerate(slabs):
        between = fits[middle:number] if number > middle else fits[number:middle]
        sense = 1.0 if number > middle else -1.0
        gain = float(np.prod([fit.gain for fit in between])) ** sense
        down, along = (sense * sum(fit.shift_ji_pixels[axis] for fit in between) for axis in (0, 1))
        found.append(replace(slab, gain=gain, shift_ji_pixels=(down, along)))
    return found


def _joined(slabs: Sequence[_Slab], middle: Volume) -> Volume:
    """One volume: the lower station's slices first, then of each next one those that lie further on."""
    offsets = list(slabs[0].offsets_mm)
    for slab in slabs[1:]:
        beyond_mm = offsets[-1] + 0.5 * slab.gap_mm
        offsets += [mm for mm in slab.offsets_mm if mm > beyond_mm]
    array = np.empty((len(offsets), *slabs[0].array.shape[1:]), dtype=np.float32)
    part = np.empty_like(array[0])
    halves = [0.5 * slab.gap_mm for slab in slabs]
    for plane, mm in zip(array, offsets, strict=True):
        depths = [min(mm - slab.offsets_mm[0], slab.offsets_mm[-1] - mm) for slab in slabs]
        inside = [
            (slab, depth + half) for slab, depth, half in zip(slabs, depths, halves, strict=True) if depth > -1e-3
        ]
        inside[0][0].fit_into(plane, mm, inside[0][1] / sum(weight for _, weight in inside))
        for slab, weight in inside[1:]:
            slab.fit_into(part, mm, weight / sum(weight for _, weight in inside))
            np.add(plane, part, out=plane)
    grid = middle.grid
    origins = grid.slice_origins_mm[0] + np.array(offsets)[:, None] * grid.normal
    whole_grid = Grid(origins, grid.step_j_mm, grid.step_i_mm, (len(offsets), *grid.shape[1:]), grid.frame)
    stations = tuple(Station(slab.uid, slab.moved_mm) for slab in slabs)
    return Volume(whole_grid, array, middle.quantity, middle.series_uid, middle.phase_encoding_mm, stations)


def _mismatch(lower: _Slab, upper: _Slab, fit: Fit) -> Finding:
    message = (
        f"series {lower.uid} and {upper.uid} do not look alike where they overlap (correlation {fit.correlation:.2f}); "
        "they are joined as they lie"
    )
    return Finding("stations-mismatch", Level.HOLD, message, value=fit.correlation, limit=MATCH)


def _about(named: str, seams: Sequence[Seam]) -> list[Finding]:
    """Seams without an overlap, shifts that were taken out, and steps that are left."""
    found = []
    for seam in seams:
        where = f"between series {seam.lower_uid} and {seam.upper_uid}"
        if not seam.overlap_slices:
            message = f"{where}: the stations do not overlap, so that gain and shift between them are unknown"
            found.append(Finding("stations-no-overlap", Level.WARN, message))
        if (shift := float(np.linalg.norm(seam.shift_mm))) > 0:
            message = f"{where}: the images lie {shift:.1f} mm apart, and were brought together"
            found.append(Finding("stations-shift", Level.INFO, message, value=shift, unit="mm"))
        if seam.step > STEP_LIMIT:
            message = f"{named}, {where}: a signal step of {100 * seam.step:.1f} % is left"
            limit = 100 * STEP_LIMIT
            found.append(Finding("stations-step", Level.WARN, message, value=100 * seam.step, limit=limit, unit="%"))
    return found
