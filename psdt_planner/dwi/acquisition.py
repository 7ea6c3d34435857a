"""How the diffusion images were acquired, held against the UK consensus and MET-RADS-P.

What a header does not state is not held against anything: many scanners leave it out, and an anonymiser removes more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from psdt_planner.criteria.acquisition import AcquisitionCriteria
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind, Volume

AXIAL = 0.9
"""Least cosine between the slices' normal and the body's long axis of slices that are called axial."""

FIELD_TOLERANCE_T = 0.1

MEASURED = (Kind.DWI_TRACE, Kind.DWI)

STATED = {
    "thickness_mm": "slice thickness",
    "pixel_mm": "acquired pixels",
    "along_body": "plane",
    "echo_time_ms": "TE",
    "inversion_time_ms": "TI",
    "field_t": "field strength",
    "averages": "signal averages",
    "parallel_factor": "parallel imaging",
}
"""What a header may state, by the attribute of `Acquisition`."""

NEVER_STATED = (
    "free breathing, TR of five times T1, the receive coils, fat suppression over the whole field, quality control"
)


@dataclass(frozen=True)
class Acquisition:
    """What a diffusion series states of its acquisition; None where it says nothing.

    Attributes:
        pixel_mm: the smaller side of a pixel as it was acquired, before any interpolation.
        along_body: cosine between the slices' normal and the z axis.
        parallel_factor: in the plane.
    """

    series_uid: str
    thickness_mm: float | None = None
    pixel_mm: float | None = None
    along_body: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    field_t: float | None = None
    averages: float | None = None
    parallel_factor: float | None = None


def check_acquisition(
    acquisitions: Sequence[Acquisition], volumes: Sequence[Volume], criteria: AcquisitionCriteria
) -> tuple[Finding, ...]:
    """What of an exam's diffusion images differs from the criteria.

    ``volumes`` are those of the exam. Series that were acquired alike are told of once, by the first.

    Finding codes: ``protocol-b-values`` (hold: there is one alone and no ADC map; warn: the highest b-value; info: the
    low one), ``protocol-slices`` (warn: too thick; info: thin), ``protocol-contiguity`` (warn), ``protocol-plane``
    (warn), and at level info ``protocol-trace``, ``protocol-coverage``, ``protocol-pixels``, ``protocol-echo-time``,
    ``protocol-inversion``, ``protocol-averages``, ``protocol-parallel-imaging``, and ``protocol-unstated``: what the
    headers do not tell, and what none can.
    """
    found = [*_b_values(volumes, criteria), *_trace(volumes, criteria), *_coverage(volumes, criteria)]
    found += _contiguity(acquisitions, volumes, criteria)
    if acquisitions:
        found.append(_unstated(acquisitions))
    for one in {replace(one, series_uid=""): one for one in reversed(acquisitions)}.values():
        found += [*_slices(one, criteria), *_plane(one, criteria), *_timing(one, criteria), *_encoding(one, criteria)]
    return tuple(found)


def _b_values(volumes: Sequence[Volume], criteria: AcquisitionCriteria) -> Iterator[Finding]:
    measured = {volume.quantity.b_value_s_per_mm2 for volume in volumes if volume.quantity.kind in MEASURED}
    values = sorted(b for b in measured if b is not None)
    rule = criteria.b_values
    if not values:
        return
    told = ", ".join(f"{b:g}" for b in values)
    low, high = rule.high_s_per_mm2
    if not low <= values[-1] <= high:
        message = f"the highest b-value is {values[-1]:g} s/mm2, not {low:g} to {high:g} ({rule.citation})"
        limit = low if values[-1] < low else high
        yield Finding("protocol-b-values", Level.WARN, message, value=values[-1], limit=limit, unit="s/mm2")
    if len(values) < rule.least_count and not any(volume.quantity.kind is Kind.ADC for volume in volumes):
        message = f"one b-value alone ({told} s/mm2) and no ADC map: diffusion cannot be told from long T2"
        count = float(len(values))
        yield Finding("protocol-b-values", Level.HOLD, message, value=count, limit=float(rule.least_count))
    elif len(values) >= rule.least_count and not any(_within(b, rule.low_s_per_mm2) for b in values):
        low, high = rule.low_s_per_mm2
        message = f"no b-value of {low:g} to {high:g} s/mm2 among {told} ({rule.citation}): perfusion raises the ADC"
        yield Finding("protocol-b-values", Level.INFO, message, value=values[0], limit=low, unit="s/mm2")


def _trace(volumes: Sequence[Volume], criteria: AcquisitionCriteria) -> Iterator[Finding]:
    """b-images of single directions, or that do not say that they are trace-weighted."""
    weighted = {
        kind: {one.quantity.b_value_s_per_mm2 for one in volumes if one.quantity.kind is kind} for kind in MEASURED
    }
    rest = sorted(b for b in weighted[Kind.DWI] - weighted[Kind.DWI_TRACE] if b)
    if rest:
        told = ", ".join(f"{b:g}" for b in rest)
        message = (
            f"the images at b = {told} s/mm2 do not say that they are trace-weighted ({criteria.b_values.citation})"
        )
        yield Finding("protocol-trace", Level.INFO, message, value=float(len(rest)), limit=0.0)


def _coverage(volumes: Sequence[Volume], criteria: AcquisitionCriteria) -> Iterator[Finding]:
    """The longest diffusion volume of each frame; several frames are several parts of the body."""
    longest: dict[str, float] = {}
    for one in (each for each in volumes if each.quantity.kind in MEASURED and each.grid.shape[0] > 1):
        length = float(one.grid.slice_offsets_mm[-1]) + one.grid.slice_gap_mm
        longest[one.grid.frame] = max(length, longest.get(one.grid.frame, 0.0))
    shown, rule = sum(longest.values()), criteria.coverage
    if longest and shown < rule.least_mm:
        message = (
            f"the diffusion images show {shown:.0f} mm of the body, not from vertex to mid-thigh ({rule.citation})"
        )
        yield Finding("protocol-coverage", Level.INFO, message, value=shown, limit=rule.least_mm, unit="mm")


def _contiguity(
    acquisitions: Sequence[Acquisition], volumes: Sequence[Volume], criteria: AcquisitionCriteria
) -> Iterator[Finding]:
    """A way between slices that nobody saw; of several series with the same one the first."""
    thickness = {one.series_uid: one.thickness_mm for one in acquisitions if one.thickness_mm}
    rule, told = criteria.contiguity, set[float]()
    for one in (each for each in volumes if each.quantity.kind in MEASURED and each.grid.shape[0] > 1):
        if one.series_uid not in thickness:
            continue
        gap = round(one.grid.slice_gap_mm - thickness[one.series_uid], 2)
        if gap > rule.most_gap_mm and gap not in told:
            told.add(gap)
            message = f"series {one.series_uid}: {gap:g} mm between slices were not acquired ({rule.citation})"
            yield Finding("protocol-contiguity", Level.WARN, message, value=gap, limit=rule.most_gap_mm, unit="mm")


def _unstated(acquisitions: Sequence[Acquisition]) -> Finding:
    missing = [name for key, name in STATED.items() if any(getattr(one, key) is None for one in acquisitions)]
    stated = f"the headers do not state {', '.join(missing)}; " if missing else ""
    message = f"{stated}no header tells {NEVER_STATED}: none of it was checked"
    return Finding("protocol-unstated", Level.INFO, message, value=float(len(missing)))


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _slices(one: Acquisition, criteria: AcquisitionCriteria) -> Iterator[Finding]:
    rule, thickness = criteria.slices, one.thickness_mm
    if thickness is None or thickness <= 0 or rule.least_mm <= thickness <= rule.most_mm:
        return
    thick = thickness > rule.most_mm
    message = (
        f"series {one.series_uid}: slices of {thickness:g} mm, {'more than' if thick else 'less than'} "
        f"{rule.most_mm if thick else rule.least_mm:g} mm ({rule.citation})"
    )
    limit, level = (rule.most_mm, Level.WARN) if thick else (rule.least_mm, Level.INFO)
    yield Finding("protocol-slices", level, message, value=thickness, limit=limit, unit="mm")


def _plane(one: Acquisition, criteria: AcquisitionCriteria) -> Iterator[Finding]:
    if one.along_body is not None and abs(one.along_body) < AXIAL:
        message = f"series {one.series_uid}: the slices are not axial ({criteria.slices.citation})"
        yield Finding("protocol-plane", Level.WARN, message, value=abs(one.along_body), limit=AXIAL)


def _timing(one: Acquisition, criteria: AcquisitionCriteria) -> Iterator[Finding]:
    echo, inversion = criteria.echo_time, criteria.inversion
    if one.echo_time_ms is not None and one.echo_time_ms >= echo.below_ms:
        message = f"series {one.series_uid}: TE is {one.echo_time_ms:g} ms ({echo.citation})"
        yield Finding("protocol-echo-time", Level.INFO, message, value=one.echo_time_ms, limit=echo.below_ms, unit="ms")
    # An inversion time of 0 says that there is none, and another field strength has another one.
    at_field = one.field_t is not None and abs(one.field_t - inversion.field_t) <= FIELD_TOLERANCE_T
    low, high = inversion.between_ms
    if at_field and one.inversion_time_ms and not low < one.inversion_time_ms < high:
        message = f"series {one.series_uid}: TI is {one.inversion_time_ms:g} ms ({inversion.citation})"
        limit = low if one.inversion_time_ms <= low else high
        yield Finding("protocol-inversion", Level.INFO, message, value=one.inversion_time_ms, limit=limit, unit="ms")


def _encoding(one: Acquisition, criteria: AcquisitionCriteria) -> Iterator[Finding]:
    pixels, averages, parallel = criteria.pixels, criteria.averages, criteria.parallel_imaging
    if one.pixel_mm is not None and one.pixel_mm < pixels.least_mm:
        message = f"series {one.series_uid}: acquired pixels of {one.pixel_mm:.2f} mm ({pixels.citation})"
        yield Finding("protocol-pixels", Level.INFO, message, value=one.pixel_mm, limit=pixels.least_mm, unit="mm")
    if one.averages is not None and one.averages < averages.least:
        message = f"series {one.series_uid}: {one.averages:g} signal averages ({averages.citation})"
        yield Finding("protocol-averages", Level.INFO, message, value=one.averages, limit=averages.least)
    if one.parallel_factor is not None and one.parallel_factor != parallel.factor:
        message = f"series {one.series_uid}: parallel imaging factor {one.parallel_factor:g} ({parallel.citation})"
        yield Finding(
            "protocol-parallel-imaging", Level.INFO, message, value=one.parallel_factor, limit=parallel.factor
        )
