"""Stations that come in as series of their own are one exam; missing maps are fitted; flags keep their places."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import FileDataset

from psdt_planner.cli import app
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.dicom.assembly import about_stations
from psdt_planner.dicom.inspection import inspect_json
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.exam import Exam
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind, Volume, sample
from tests.dicom_in.objects import MR_FRAME, dwi_images, mr_images, seg_object, segment, uid, write
from tests.dwi.phantom import GAP_MM, SPACING_JI_MM, TILT, station

Codes = Callable[[Iterable[Finding]], dict[str, Level]]

SLICES = 24
FIRST_MM = (0.0, 95.0)


def pixels(first_mm: float, scale: float, shift_mm: float = 0.0) -> NDArray[np.int16]:
    of = station(first_mm, SLICES, shift_mm=(shift_mm, 0.0), scale=scale)
    return np.rint(of.array).astype(np.int16)


def placed(first_mm: float) -> dict[str, Any]:
    grid = station(first_mm, SLICES).grid
    return {
        "spacing_ji": SPACING_JI_MM,
        "gap": GAP_MM,
        "origin": grid.slice_origins_mm[0],
        "cosines": TILT[:2],
        "shape": grid.shape,
    }


def exam_of_stations(
    *, shift_mm: float = 0.0, adc: bool = True, low: float = 50, high: float = 900
) -> list[FileDataset]:
    """Two stations of b-images, ADC map and T1, each a series; the upper one's diffusion lies shifted along rows."""
    made: list[FileDataset] = []
    for n, first in enumerate(FIRST_MM):
        shift = n * shift_mm
        made += dwi_images(f"low-{n}", b=low, pixels=pixels(first, 8.0, shift), **placed(first))
        fall = 8.0 * np.exp(-1e-3 * (high - low))
        made += dwi_images(f"high-{n}", b=high, pixels=pixels(first, fall, shift), **placed(first))
        made += mr_images(f"t1-{n}", pixels=pixels(first, 3.0), **placed(first))
        if adc:
            flat = np.where(pixels(first, 8.0, shift) > 100, 1000, 0).astype(np.int16)
            words = {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "SeriesDescription": "adc"}
            made += mr_images(f"adc-{n}", pixels=flat, **words, **placed(first))
    return made


def read(folder: Path, *objects: Any) -> Exam:
    return read_inputs([write(folder, *objects)]).exam


def only(exam: Exam, kind: Kind, b: float | None = None) -> Volume:
    (volume,) = (one for one in exam.of_kind(kind) if one.quantity.b_value_s_per_mm2 == b)
    return volume


def about_images(codes: dict[str, Level]) -> dict[str, Level]:
    return {code: level for code, level in codes.items() if code not in ("ct-absent", "flags-absent")}


def test_stations_in_series_of_their_own_are_one_volume_for_each_kind_and_b_value(
    tmp_path: Path, codes_of: Codes
) -> None:
    exam = read(tmp_path, exam_of_stations())
    told = {(one.quantity.kind, one.quantity.b_value_s_per_mm2): one for one in exam.mr}
    assert set(told) == {(Kind.DWI_TRACE, 50.0), (Kind.DWI_TRACE, 900.0), (Kind.ADC, None), (Kind.T1, None)}
    for name, volume in zip(("low", "high", "adc", "t1"), told.values(), strict=False):
        assert volume.grid.shape[0] == 43, name
        assert len(volume.series_uids) == 2
    assert only(exam, Kind.T1).series_uids == (uid("t1-0"), uid("t1-1"))
    assert about_images(codes_of(exam.findings)) == {}


def test_inspect_tells_what_was_composed_of_which_stations(tmp_path: Path) -> None:
    found = inspect_json(read_inputs([write(tmp_path, exam_of_stations(shift_mm=6.0))]))["composed"]
    assert [(one["kind"], one["b_value_s_per_mm2"], one["slices"]) for one in found] == [
        (volume.quantity.kind, volume.quantity.b_value_s_per_mm2, 43) for volume in read_inputs([tmp_path]).exam.mr
    ]
    low = next(one for one in found if one["b_value_s_per_mm2"] == 50)
    assert [one["series_instance_uid"] for one in low["stations"]] == [uid("low-0"), uid("low-1")]
    assert np.linalg.norm(low["stations"][0]["moved_mm"]) == pytest.approx(6.0, abs=0.4)
    assert low["stations"][1]["moved_mm"] == [0.0, 0.0, 0.0]
    for one in found:
        (seam,) = one["seams"]
        assert (seam["overlap_slices"], seam["gap_mm"]) == (5, 0.0)
        assert seam["step_percent"] <= 2.0
        shift = 0.0 if one["kind"] == "t1" else 6.0
        assert np.linalg.norm(seam["shift_mm"]) == pytest.approx(shift, abs=0.4)
        assert seam["gain"] == pytest.approx(1.0, abs=0.02)


def test_inspect_tells_the_gain_of_a_station_and_where_stations_do_not_overlap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dim = dwi_images("high-1", b=900, pixels=pixels(FIRST_MM[1], 4.0), **placed(FIRST_MM[1]))
    folder = write(tmp_path / "gain", dwi_images("high-0", b=900, pixels=pixels(0.0, 8.0), **placed(0.0)), dim)
    (one,) = inspect_json(read_inputs([folder]))["composed"]
    (seam,) = one["seams"]
    assert seam["gain"] == pytest.approx(2.0, rel=0.02)
    assert (seam["lower_series_instance_uid"], seam["upper_series_instance_uid"]) == (uid("high-0"), uid("high-1"))
    guarded(lambda: app(["inspect", str(folder)], standalone_mode=False))
    assert "5 slices overlap, gain 2.0" in capsys.readouterr().out
    beside = FIRST_MM[1] + 25.0
    apart = dwi_images("high-1", b=900, pixels=pixels(beside, 4.0), **placed(beside))
    folder = write(tmp_path / "apart", dwi_images("high-0", b=900, pixels=pixels(0.0, 8.0), **placed(0.0)), apart)
    ((seam,),) = [one["seams"] for one in inspect_json(read_inputs([folder]))["composed"]]
    assert (seam["overlap_slices"], seam["gain"], seam["shift_mm"], seam["step_percent"]) == (0, None, None, None)


def test_where_no_adc_map_came_one_is_fitted_before_the_stations_are_joined(tmp_path: Path, codes_of: Codes) -> None:
    """The stations' gains stay out of it."""
    exam = read(tmp_path, exam_of_stations(adc=False))
    adc = only(exam, Kind.ADC)
    inside = only(exam, Kind.DWI_TRACE, 50.0).array > 600
    assert np.median(adc.array[inside]) == pytest.approx(1e-3, rel=0.01)
    assert adc.series_uids == (uid("low-0"), uid("low-1"))
    assert about_images(codes_of(exam.findings)) == {"adc-fitted": Level.INFO}


def test_an_adc_map_of_one_station_alone_leaves_the_other_to_the_fit(tmp_path: Path, codes_of: Codes) -> None:
    objects = [one for one in exam_of_stations() if one.SeriesInstanceUID != uid("adc-1")]
    exam = read(tmp_path, objects)
    assert only(exam, Kind.ADC).series_uids == (uid("adc-0"), uid("low-1"))
    assert about_images(codes_of(exam.findings)) == {"adc-fitted": Level.INFO}


def test_where_no_b_value_is_high_an_image_at_a_high_one_is_computed(tmp_path: Path, codes_of: Codes) -> None:
    exam = read(tmp_path, exam_of_stations(high=400))
    computed = only(exam, Kind.DWI_CALCULATED, 800.0)
    low = only(exam, Kind.DWI_TRACE, 50.0)
    inside = low.array > 600
    assert np.median(computed.array[inside] / low.array[inside]) == pytest.approx(np.exp(-0.75), rel=0.02)
    low_b = {"protocol-b-values": Level.WARN}
    assert about_images(codes_of(exam.findings)) == {"dwi-computed": Level.INFO, **low_b}


def test_a_flag_on_an_outer_station_keeps_its_place_and_is_looked_up_where_the_volume_shows_it(
    tmp_path: Path, codes_of: Codes
) -> None:
    mask = np.zeros((SLICES, 40, 52, 1), dtype=np.uint8)
    mask[10:13, 20:23, 25:28, 0] = 1
    objects = exam_of_stations(shift_mm=6.0)
    source = [one for one in objects if one.SeriesInstanceUID == uid("high-0")]
    exam = read(tmp_path, objects, seg_object(source, mask, [segment(1, "left ilium")]))
    (flag,) = exam.flags
    assert flag.series_uid == uid("high-0")
    assert flag.centroid_mm == pytest.approx(station(0.0, SLICES).grid.mm_from_index([11.0, 21.0, 26.0]), abs=1e-3)
    moved = exam.moved_mm(flag.series_uid)
    assert moved == pytest.approx(-6.0 * TILT[1], abs=0.4)
    assert exam.moved_mm(uid("high-1")) == pytest.approx(0.0)
    assert exam.moved_mm(uid("t1-0")) == pytest.approx(0.0)
    assert exam.moved_mm("1.2.3.999") == pytest.approx(0.0)
    assert codes_of(exam.findings) == {"ct-absent": Level.HOLD, "stations-shift": Level.INFO}


@pytest.mark.parametrize(("shift_mm", "held"), [(6.0, ["L1"]), (0.0, [])])
def test_a_flag_that_names_no_series_holds_where_stations_lie_apart(
    tmp_path: Path, shift_mm: float, held: list[str]
) -> None:
    mask = np.zeros((SLICES, 40, 52, 1), dtype=np.uint8)
    mask[10:13, 20:23, 25:28, 0] = 1
    objects = exam_of_stations(shift_mm=shift_mm)
    exam = read(tmp_path, objects, seg_object(objects[:SLICES], mask, [segment(1, "left ilium")]))
    known = [uid("low-0"), uid("low-1")]
    assert about_stations(exam.flags, exam.mr, known) == []
    nameless = replace(exam.flags[0], series_uid="")
    found = about_stations([nameless], exam.mr, known)
    assert [(one.code, one.level, one.lesion) for one in found] == [
        ("flag-station-unknown", Level.HOLD, lesion) for lesion in held
    ]


def test_a_candidate_over_a_seam_is_saved_whole_and_read_back(tmp_path: Path) -> None:
    """Its SEG refers to the station whose places the composed volume has, and says where its own slices lie."""
    objects: list[FileDataset] = []
    for n, first in enumerate(FIRST_MM):
        signal = pixels(first, 1.0)
        objects += dwi_images(f"high-{n}", pixels=signal, **placed(first))
        adc = np.where(signal > 300, 850, np.where(signal > 50, 1500, 0)).astype(np.int16)
        words = {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "SeriesDescription": "adc"}
        objects += mr_images(f"adc-{n}", pixels=adc, **words, **placed(first))
    folder, out = write(tmp_path / "exam", objects), tmp_path / "seg.dcm"
    words = ["candidates", str(folder), "--out", str(out), "--accept", "C1", "--by", "A. Reader"]
    assert guarded(lambda: app(words, standalone_mode=False)) == Exit.DONE
    exam = read_inputs([folder, out]).exam
    (flag,) = exam.flags
    assert flag.series_uid == uid("high-1")
    assert "45% of the region's maximum" in flag.rule, "what made the mask is told with its load"
    assert exam.moved_mm(flag.series_uid) == pytest.approx(0.0)
    composed = only(exam, Kind.DWI_TRACE, 900.0)
    along = np.ptp((flag.grid.mm_from_index(np.argwhere(flag.mask)) - composed.grid.slice_origins_mm[0]) @ TILT[2])
    assert along > 20.0, "it lies in slices of both stations"
    here = sample(composed, flag.grid.mm_from_index(np.argwhere(flag.mask)), MR_FRAME)
    assert here.min() > 300
    assert flag.mask.sum() == np.count_nonzero(near_lesion(composed) & (composed.array > 300))


def near_lesion(volume: Volume) -> NDArray[np.bool_]:
    ways = volume.grid.centres_mm() @ TILT.T
    return np.asarray(np.linalg.norm(ways - np.array([12.0, -18.0, 100.0]), axis=-1) < 35)


def exam_with_a_lesion_in_a_moved_station(folder: Path) -> tuple[Path, list[FileDataset]]:
    """The lesion lies in the lower station alone, which the composed volume shows 6 mm elsewhere."""
    objects: list[FileDataset] = []
    for n, first in enumerate(FIRST_MM):
        signal = station(first, SLICES, shift_mm=(6.0 * n, 0.0), lesion=(12.0, -18.0, 50.0)).array
        signal = np.rint(signal).astype(np.int16)
        objects += dwi_images(f"high-{n}", pixels=signal, **placed(first))
        adc = np.where(signal > 300, 850, np.where(signal > 50, 1500, 0)).astype(np.int16)
        words = {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "SeriesDescription": "adc"}
        objects += mr_images(f"adc-{n}", pixels=adc, **words, **placed(first))
    return write(folder / "exam", objects), [one for one in objects if one.SeriesInstanceUID == uid("high-0")]


def candidates(*words: object) -> int:
    return guarded(lambda: app(["candidates", *(str(word) for word in words)], standalone_mode=False))


def test_a_region_over_a_moved_station_is_written_where_that_station_has_it(tmp_path: Path) -> None:
    """Who looks at it over the station's own images sees it over the lesion."""
    folder, raw = exam_with_a_lesion_in_a_moved_station(tmp_path)
    out = tmp_path / "seg.dcm"
    assert candidates(folder, "--out", out, "--accept", "C1", "--by", "A. Reader") == Exit.DONE
    exam = read_inputs([folder, out]).exam
    (flag,) = exam.flags
    assert flag.series_uid == uid("high-0")
    assert np.linalg.norm(exam.moved_mm(flag.series_uid)) == pytest.approx(6.0, abs=0.4)
    truth = np.argwhere(np.stack([image.pixel_array for image in raw]) > 300)
    truth_mm = station(0.0, SLICES).grid.mm_from_index(truth.mean(axis=0))
    assert np.linalg.norm(flag.centroid_mm - truth_mm) < 0.6, "as it lies over the raw images, not 6 mm beside"
    assert {one.code for one in exam.findings if one.level is Level.HOLD} == {"ct-absent"}


def test_a_flagged_lesion_of_a_moved_station_is_no_candidate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small flag, which the composed volume shows beside where the station has it."""
    folder, raw = exam_with_a_lesion_in_a_moved_station(tmp_path)
    signal = np.stack([image.pixel_array for image in raw])
    mask = np.zeros((*signal.shape, 1), dtype=np.uint8)
    bright = np.argwhere(signal > 300)
    # The rim that lies outside the region as the composed volume shows it: 6 mm of rows 4.2 mm wide.
    low_rows = bright[bright[:, 1] <= bright[:, 1].min()]
    mask[(*low_rows.T, 0)] = 1
    write(folder, seg_object(raw, mask, [segment(1, "left ilium")]))
    capsys.readouterr()
    candidates(folder, "--out", tmp_path / "seg.dcm")
    assert "C1" not in capsys.readouterr().out
