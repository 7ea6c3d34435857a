"""What the volumes that were read become before anybody uses them: by the shipped criteria of whole-body DWI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources

import numpy as np
from pydicom import Dataset

from psdt_planner.criteria.acquisition import AcquisitionCriteria, parse_acquisition
from psdt_planner.dicom import attributes
from psdt_planner.dicom.kinds import DIFFUSION_KINDS
from psdt_planner.dicom.series import Series
from psdt_planner.dwi.acquisition import Acquisition, check_acquisition
from psdt_planner.errors import InputError
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Volume
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint

SHIPPED = "wbdwi"


@cache
def acquisition_criteria() -> AcquisitionCriteria:
    """The criteria that come with psdt."""
    file = resources.files("psdt_planner").joinpath("criteria", f"{SHIPPED}.toml")
    return parse_acquisition(file.read_text(encoding="utf-8"), SHIPPED)


def about_stations(
    marked: Iterable[FlaggedLesion | FlaggedPoint], volumes: Sequence[Volume], known: Iterable[str]
) -> list[Finding]:
    """Marks that name no series of the inputs, in a frame some of whose stations were moved: which one is unknown.

    Finding code: ``flag-station-unknown`` (hold).
    """
    moved = {one.grid.frame: one for one in volumes if any(any(station.moved_mm) for station in one.stations)}
    series = set(known)
    found = []
    for one in marked:
        frame = one.grid.frame if isinstance(one, FlaggedLesion) else one.frame
        if one.series_uid not in series and frame in moved:
            message = (
                f"{one.id} does not say on which series it was drawn, and the stations of its frame of reference lie "
                "apart: which of them shows it cannot be told"
            )
            found.append(Finding("flag-station-unknown", Level.HOLD, message, lesion=one.id))
    return found


def about_acquisition(series: Iterable[Series], volumes: Sequence[Volume]) -> tuple[Finding, ...]:
    """How the diffusion series that the volumes come from were acquired, where that differs from the criteria."""
    used = {uid for volume in volumes if volume.quantity.kind in DIFFUSION_KINDS for uid in volume.series_uids}
    acquired = [acquisition_of(one) for one in series if one.uid in used and one.kind in DIFFUSION_KINDS]
    return check_acquisition(acquired, volumes, acquisition_criteria())


def acquisition_of(series: Series) -> Acquisition:
    """What a diffusion series states of its acquisition, in its first image."""
    ds = series.images[0].dataset
    normal = None
    with suppress(InputError):
        row, column = attributes.numbers(ds, "ImageOrientationPatient", 6).reshape(2, 3)
        normal = float(np.cross(row, column)[2])
    return Acquisition(
        series_uid=series.uid,
        thickness_mm=_number(ds, "SliceThickness"),
        pixel_mm=_acquired_pixel_mm(ds),
        along_body=normal,
        echo_time_ms=_number(ds, "EchoTime"),
        inversion_time_ms=_number(ds, "InversionTime"),
        field_t=_number(ds, "MagneticFieldStrength"),
        averages=_number(ds, "NumberOfAverages"),
        parallel_factor=_number(ds, "ParallelReductionFactorInPlane"),
    )


def _number(ds: Dataset, keyword: str) -> float | None:
    """A number; None where it is absent or none."""
    with suppress(InputError):
        return attributes.number(ds, keyword)
    return None


def _acquired_pixel_mm(ds: Dataset) -> float | None:
    """The smaller side of an acquired pixel: the field of view over the acquired lines; None if unknown."""
    try:
        lines_j, lines_i = _acquired_lines(ds)
        rows, columns = (attributes.number(ds, keyword) for keyword in ("Rows", "Columns"))
        down, across = attributes.numbers(ds, "PixelSpacing", 2)
    except InputError:
        return None
    return float(min(rows * down / lines_j, columns * across / lines_i)) if min(lines_j, lines_i) > 0 else None


def _acquired_lines(ds: Dataset) -> tuple[float, float]:
    """Acquired lines down and across an image.

    AcquisitionMatrix is frequency rows, frequency columns, phase rows, phase columns, of each pair one 0 (PS3.3
    C.8.3.1). Enhanced MR states the steps of each instead, and along which axis the phase is encoded (C.8.13.5.3).

    Raises:
        InputError: neither is stated, or the direction of the steps is not.
    """
    if attributes.has(ds, "AcquisitionMatrix"):
        frequency_j, frequency_i, phase_j, phase_i = attributes.numbers(ds, "AcquisitionMatrix", 4)
        return max(frequency_j, phase_j), max(frequency_i, phase_i)
    frequency = attributes.number(ds, "MRAcquisitionFrequencyEncodingSteps")
    phase = attributes.number(ds, "MRAcquisitionPhaseEncodingStepsInPlane")
    way = attributes.text(ds, "InPlanePhaseEncodingDirection").upper()
    if way not in ("ROW", "COL", "COLUMN"):
        raise InputError("the phase is encoded along neither rows nor columns")
    return (frequency, phase) if way == "ROW" else (phase, frequency)
