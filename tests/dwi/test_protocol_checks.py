"""Protocol checks: each criterion at its boundary, and silence about what no header states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psdt_planner.dicom.assembly import acquisition_criteria, acquisition_of
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.dicom.series import group
from psdt_planner.dwi import Acquisition, check_acquisition
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind, Quantity, Volume
from tests.dicom_in.conftest import OF_EVERY_SMALL_EXAM
from tests.dicom_in.objects import dwi_images, in_memory, item, mr_images, write
from tests.dicom_in.test_multiframe import at, enhanced
from tests.dwi.phantom import SHAPE_JI, grid

GOOD = Acquisition("1.2.3", 5.0, 3.0, 1.0, 70.0, 170.0, 1.5, 4.0, 2.0)


def volumes(*b_values: float, adc: bool = True) -> list[Volume]:
    array = np.ones((3, *SHAPE_JI), np.float32)
    found = [Volume(grid(0.0, 3), array, Quantity(Kind.DWI_TRACE, "1", b), "1.2.3") for b in b_values]
    return [*found, *([Volume(grid(0.0, 3), array, Quantity(Kind.ADC, "mm2/s"), "1.2.4")] if adc else [])]


def told(found: tuple[Finding, ...]) -> list[tuple[str, Level]]:
    return [(one.code, one.level) for one in found]


def check(*acquired: Acquisition, b: tuple[float, ...] = (50.0, 900.0), adc: bool = True) -> tuple[Finding, ...]:
    """Without what every exam of three slices has."""
    found = check_acquisition(acquired, volumes(*b, adc=adc), acquisition_criteria())
    return tuple(one for one in found if one.code not in OF_EVERY_SMALL_EXAM)


def test_an_exam_as_the_consensus_asks_for_it_is_silent() -> None:
    assert check(GOOD) == ()


def test_what_no_header_states_is_said_and_not_held_against_anything() -> None:
    short = Acquisition("1.2.3", 5.0, echo_time_ms=70.0)
    (finding,) = check_acquisition([short], diffusion(200), acquisition_criteria())
    assert (finding.code, finding.level, finding.value) == ("protocol-unstated", Level.INFO, 6.0)
    assert (
        "do not state acquired pixels, plane, TI, field strength, signal averages, parallel imaging" in finding.message
    )
    assert "no header tells free breathing" in finding.message
    (whole,) = check_acquisition([GOOD], diffusion(200), acquisition_criteria())
    assert (whole.code, whole.value) == ("protocol-unstated", 0.0)


def diffusion(slices: int, gap_mm: float = 5.0, kind: Kind = Kind.DWI_TRACE, frame: str = "1.2.3.200") -> list[Volume]:
    lattice = grid(0.0, slices, gap_mm=gap_mm, frame=frame)
    array = np.ones((slices, *SHAPE_JI), np.float32)
    return [Volume(lattice, array, Quantity(kind, "1", b), "1.2.3") for b in (0.0, 50.0, 900.0)]


@pytest.mark.parametrize(("slices", "told"), [(159, 795.0), (160, None)])
def test_how_much_of_the_body_the_exam_shows(slices: int, told: float | None) -> None:
    found = [one for one in check_acquisition([], diffusion(slices), acquisition_criteria()) if "coverage" in one.code]
    assert [(one.level, one.value, one.limit) for one in found] == ([(Level.INFO, told, 800.0)] if told else [])


def test_parts_of_the_body_in_frames_of_their_own_are_added_up() -> None:
    exam = [*diffusion(80), *diffusion(80, frame="1.2.3.9")]
    assert not [one for one in check_acquisition([], exam, acquisition_criteria()) if "coverage" in one.code]


@pytest.mark.parametrize(("gap_mm", "told"), [(4.0, None), (5.0, None), (5.1, None), (5.11, 0.11), (6.0, 1.0)])
def test_ways_between_slices_that_nobody_saw_are_told(gap_mm: float, told: float | None) -> None:
    found = check_acquisition([GOOD], diffusion(200, gap_mm), acquisition_criteria())
    gaps = [(one.level, one.value) for one in found if one.code == "protocol-contiguity"]
    assert gaps == ([(Level.WARN, pytest.approx(told))] if told else [])


@pytest.mark.parametrize(
    ("kinds", "told"), [([Kind.DWI_TRACE], []), ([Kind.DWI], [2.0]), ([Kind.DWI, Kind.DWI_TRACE], [])]
)
def test_images_that_do_not_say_that_they_are_trace_weighted_are_told(kinds: list[Kind], told: list[float]) -> None:
    """b = 0 has no direction, and is not asked for one."""
    exam = [volume for kind in kinds for volume in diffusion(200, kind=kind)]
    found = check_acquisition([GOOD], exam, acquisition_criteria())
    assert [one.value for one in found if one.code == "protocol-trace"] == told


@pytest.mark.parametrize(
    ("change", "code", "level", "value", "limit"),
    [
        ({"thickness_mm": 7.01}, "protocol-slices", Level.WARN, 7.01, 7.0),
        ({"thickness_mm": 4.99}, "protocol-slices", Level.INFO, 4.99, 5.0),
        ({"along_body": 0.5}, "protocol-plane", Level.WARN, 0.5, 0.9),
        ({"along_body": -0.5}, "protocol-plane", Level.WARN, 0.5, 0.9),
        ({"echo_time_ms": 95.0}, "protocol-echo-time", Level.INFO, 95.0, 95.0),
        ({"inversion_time_ms": 160.0}, "protocol-inversion", Level.INFO, 160.0, 160.0),
        ({"inversion_time_ms": 180.0}, "protocol-inversion", Level.INFO, 180.0, 180.0),
        ({"pixel_mm": 2.0}, "protocol-pixels", Level.INFO, 2.0, 2.9),
        ({"averages": 2.0}, "protocol-averages", Level.INFO, 2.0, 3.0),
        ({"parallel_factor": 3.0}, "protocol-parallel-imaging", Level.INFO, 3.0, 2.0),
    ],
)
def test_what_differs_is_told_with_its_figure_and_limit(
    change: dict[str, Any], code: str, level: Level, value: float, limit: float
) -> None:
    (finding,) = check(replace(GOOD, **change))
    assert (finding.code, finding.level, finding.value, finding.limit) == (code, level, value, limit)
    assert "1.2.3" in finding.message
    assert "Barnes" in finding.message


@pytest.mark.parametrize(
    "change",
    [
        {"thickness_mm": 7.0}, {"along_body": -1.0}, {"echo_time_ms": 94.9}, {"inversion_time_ms": 160.1},
        {"inversion_time_ms": 220.0, "field_t": 3.0}, {"inversion_time_ms": 0.0}, {"averages": 3.0}, {"pixel_mm": 2.97},
    ],
)  # fmt: skip
def test_what_is_within_the_criteria_is_silent(change: dict[str, Any]) -> None:
    assert check(replace(GOOD, **change)) == ()


@pytest.mark.parametrize(
    ("b", "adc", "expected"),
    [
        ((50, 800), True, []),
        ((100, 1000), True, []),
        ((50, 600), True, [("protocol-b-values", Level.WARN)]),
        ((50, 1500), True, [("protocol-b-values", Level.WARN)]),
        ((0, 900), True, [("protocol-b-values", Level.INFO)]),
        ((900,), True, []),
        ((900,), False, [("protocol-b-values", Level.HOLD)]),
        ((500,), False, [("protocol-b-values", Level.WARN), ("protocol-b-values", Level.HOLD)]),
        ((), False, []),
    ],
)
def test_b_values(b: tuple[float, ...], adc: bool, expected: list[tuple[str, Level]]) -> None:
    assert told(check(b=b, adc=adc)) == expected


def test_stations_that_were_acquired_alike_are_told_of_once() -> None:
    stations = [replace(GOOD, series_uid=f"1.2.{n}", echo_time_ms=100.0) for n in range(3)]
    (finding,) = check(*stations)
    assert "series 1.2.0:" in finding.message


def test_the_header_s_own_words_are_read() -> None:
    stated = {
        "EchoTime": 63, "InversionTime": 180, "MagneticFieldStrength": 1.5, "NumberOfAverages": 4,
        "ParallelReductionFactorInPlane": 2.0, "AcquisitionMatrix": [0, 4, 3, 0],
    }  # fmt: skip
    ((series,), _) = group(in_memory(dwi_images(shape=(5, 9, 8), spacing_ji=(1.3, 0.8), **stated)))
    found = acquisition_of(series)
    assert found.pixel_mm == pytest.approx(min(9 * 1.3 / 3, 8 * 0.8 / 4))
    assert (found.thickness_mm, found.echo_time_ms, found.inversion_time_ms) == (5.0, 63.0, 180.0)
    assert (found.field_t, found.averages, found.parallel_factor) == (1.5, 4.0, 2.0)
    assert found.along_body == pytest.approx(0.9823, abs=1e-3)


@pytest.mark.parametrize(
    ("way", "lines_ji"),
    [("ROW", (6, 4)), ("COLUMN", (4, 6)), ("OTHER", None), ("", None)],
)
def test_an_enhanced_object_states_its_acquired_pixels_in_its_functional_groups(
    way: str, lines_ji: tuple[int, int] | None
) -> None:
    """6 steps of frequency and 4 of phase: along rows these lie across the image."""
    made = enhanced([(np.zeros((9, 7)), at(k), {"b": 900}) for k in range(3)])
    shared = made.SharedFunctionalGroupsSequence[0]
    steps = item(MRAcquisitionFrequencyEncodingSteps=6, MRAcquisitionPhaseEncodingStepsInPlane=4)
    steps.InPlanePhaseEncodingDirection = way
    shared.MRFOVGeometrySequence = [steps]
    ((series,), _) = group(in_memory([made]))
    spacing = [float(mm) for mm in series.images[0].dataset.PixelSpacing]
    found = acquisition_of(series).pixel_mm
    if lines_ji is None:
        assert found is None
    else:
        assert found == pytest.approx(min(9 * spacing[0] / lines_ji[0], 7 * spacing[1] / lines_ji[1]))


def test_an_exam_that_was_read_tells_what_differs_and_an_anatomical_series_does_not(tmp_path: Path) -> None:
    anatomy = mr_images(SliceThickness=9.0, EchoTime=200)
    exam = read_inputs([write(tmp_path, dwi_images(b=900, EchoTime=110), dwi_images("low", b=50), anatomy)]).exam
    assert told(tuple(one for one in exam.findings if one.code.startswith("protocol"))) == [
        ("protocol-coverage", Level.INFO),
        ("protocol-unstated", Level.INFO),
        ("protocol-echo-time", Level.INFO),
    ]
