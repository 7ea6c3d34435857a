"""Stations of known gain and shift, composed: steps, places and lesions over a seam against the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psdt_planner.dwi import ComposedExam, compose_exam
from psdt_planner.dwi.adc import same_grid
from psdt_planner.dwi.overlap import fit_overlap
from psdt_planner.geometry import Grid
from psdt_planner.images import Kind, Quantity, Seam, Volume, sample
from tests.dwi.phantom import FRAME, SPACING_JI_MM, TILT, body, grid, place_mm, station

HIGH, T1 = Quantity(Kind.DWI_TRACE, "1", 900.0), Quantity(Kind.T1, "1")
LESION = (12.0, -18.0, 100.0)


def codes(exam: ComposedExam) -> dict[str, str]:
    return {finding.code: str(finding.level) for finding in exam.findings}


def only(exam: ComposedExam) -> Volume:
    (composed,) = exam.composed
    return composed.volume


def volume_ml(volume: Volume, threshold: float) -> float:
    """Of the voxels above a threshold near the lesion."""
    ways = volume.grid.centres_mm() @ TILT.T
    near = np.linalg.norm(ways - np.array(LESION), axis=-1) < 35
    return float(((volume.array > threshold) & near).sum(axis=(1, 2)) @ volume.grid.voxel_volumes_ml)


def centroid(volume: Volume, threshold: float) -> np.ndarray:
    points = volume.grid.centres_mm()
    near = np.linalg.norm(points @ TILT.T - np.array(LESION), axis=-1) < 35
    weights = np.where(near, np.maximum(volume.array - threshold, 0), 0)
    return np.asarray(np.tensordot(weights, points, axes=3) / weights.sum())


def steps(volume: Volume) -> float:
    """Largest deviation of any slice's median from the truth, beside that of the whole."""
    truth = body(volume.grid.centres_mm(), LESION, 15.0)
    inside = truth > 60
    ratios = np.array([np.median(a[m] / t[m]) for a, t, m in zip(volume.array, truth, inside, strict=True)])
    return float(np.abs(ratios / np.median(ratios) - 1).max())


def test_one_station_is_left_as_it_was_read() -> None:
    alone = station(0, 20)
    exam = compose_exam([alone])
    assert only(exam) is alone
    assert exam.composed[0].seams == ()
    assert exam.findings == ()


def test_stations_without_gain_or_shift_are_the_whole_that_they_were_cut_from() -> None:
    whole = station(0, 34)
    composed = only(compose_exam([station(60, 22), station(0, 18)]))
    assert np.abs(composed.grid.slice_origins_mm - whole.grid.slice_origins_mm).max() < 1e-9
    assert composed.array == pytest.approx(whole.array, rel=1e-5)


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_gain_and_shift_of_three_stations_are_found_and_taken_out(noise: float) -> None:
    """Truth of the middle station; step within 2 %, place within 0.5 mm, lesion over the seam within 3 %."""
    stations = [
        station(0, 24, gain=1.0 / 0.72, shift_mm=(-4.3, 0.0), noise=noise, seed=1),
        station(95, 24, noise=noise, seed=2),
        station(190, 24, gain=0.8, shift_mm=(3.7, 0.0), noise=noise, seed=3),
    ]
    exam = compose_exam(stations)
    found = only(exam)
    truth = station(0, 62)
    assert codes(exam) == {"stations-shift": "info"}
    assert [one.value for one in exam.findings] == pytest.approx([4.3, 3.7], abs=0.3)
    assert steps(found) <= 0.02
    assert np.linalg.norm(centroid(found, 300) - centroid(truth, 300)) <= 0.5
    assert volume_ml(found, 300) == pytest.approx(volume_ml(truth, 300), rel=0.03)
    lower, upper = exam.composed[0].seams
    assert lower.gain == pytest.approx(1 / 0.72, rel=0.01)
    assert upper.gain == pytest.approx(1.25, rel=0.01)
    assert np.linalg.norm(np.array(lower.shift_mm) - 4.3 * TILT[1]) <= 0.3
    assert np.linalg.norm(np.array(upper.shift_mm) - 3.7 * TILT[1]) <= 0.3
    assert max(lower.step, upper.step) <= 0.02


@settings(max_examples=6, deadline=None)
@given(
    gain=st.floats(0.5, 2.0),
    shift=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    overlap=st.integers(4, 9),
    off_mm=st.sampled_from([0.0, 1.3, 2.5]),
)
def test_any_gain_shift_and_overlap_is_found(
    gain: float, shift: tuple[float, float], overlap: int, off_mm: float
) -> None:
    """Also where the slices of the two stations do not lie at each other's places."""
    lower = station(0, 22)
    upper = station(5.0 * (22 - overlap) - off_mm, 20, gain=gain, shift_mm=shift)
    exam = compose_exam([upper, lower])
    (seam,) = exam.composed[0].seams
    assert seam.gain == pytest.approx(1 / gain, rel=0.02)
    truth = np.array(shift) @ TILT[[1, 0]]
    assert np.linalg.norm(np.array(seam.shift_mm) - truth) <= 0.5
    assert (np.diff(only(exam).grid.slice_offsets_mm) > 0).all()
    assert "stations-mismatch" not in codes(exam)


def test_shifts_of_the_lowest_b_are_used_for_the_others_and_adc_has_no_gain() -> None:
    """At high b there is hardly a signal to find a shift with; an ADC map has no receiver gain."""
    high, adc = Quantity(Kind.DWI_TRACE, "1", 900.0), Quantity(Kind.ADC, "mm2/s")
    volumes = []
    for first, gain, shift, uid in ((0, 1.0, 0.0, "1"), (90, 0.7, 4.0, "2")):
        where = {"shift_mm": (shift, 0.0), "uid": f"1.2.{uid}"}
        volumes += [
            station(first, 24, gain=gain, **where),
            station(first, 24, gain=gain, quantity=high, scale=0.05, noise=1.5, seed=first, **where),
            station(first, 24, quantity=adc, scale=1e-5, **where),
        ]
    exam = compose_exam(volumes)
    by_kind = {(one.volume.quantity.kind, one.volume.quantity.b_value_s_per_mm2): one for one in exam.composed}
    assert set(by_kind) == {(Kind.DWI_TRACE, 50.0), (Kind.DWI_TRACE, 900.0), (Kind.ADC, None)}
    seams: list[Seam] = [one.seams[0] for one in by_kind.values()]
    assert len({seam.shift_mm for seam in seams}) == 1
    assert by_kind[(Kind.ADC, None)].seams[0].gain == 1.0
    assert by_kind[(Kind.DWI_TRACE, 900.0)].seams[0].gain == pytest.approx(1 / 0.7, rel=0.02)
    adc_volume = by_kind[(Kind.ADC, None)].volume
    truth = 1e-5 * body(adc_volume.grid.centres_mm() - 4.0 * TILT[1], LESION, 15.0)
    inside = truth > 6e-4
    assert np.median(adc_volume.array[inside] / truth[inside]) == pytest.approx(1.0, abs=0.01)


def test_the_same_numbers_in_two_frames_never_meet() -> None:
    exam = compose_exam([station(0, 20), station(80, 20, frame="1.2.3.201")])
    assert sorted(one.volume.grid.frame for one in exam.composed) == ["1.2.3.200", "1.2.3.201"]
    assert all(one.seams == () for one in exam.composed)
    assert codes(exam) == {"stations-frames-mixed": "warn"}


def test_stations_that_touch_are_joined_and_told() -> None:
    exam = compose_exam([station(0, 20), station(100, 20, gain=0.5)])
    composed = only(exam)
    assert codes(exam) == {"stations-no-overlap": "warn"}
    assert same_grid(composed.grid, grid(0, 40))
    assert exam.composed[0].seams[0].gain == 1.0


def test_nothing_is_joined_over_a_gap_which_is_told_with_its_width() -> None:
    """A volume with a gap would hold places that nobody has seen, and its voxels beside the gap would reach into it."""
    volumes = [station(125, 20), station(0, 20)]
    exam = compose_exam([*volumes, *(replace(one, quantity=HIGH) for one in volumes)])
    assert [one.volume.grid for one in exam.composed] == [volumes[0].grid, volumes[1].grid] * 2
    (finding,) = exam.findings
    assert (finding.code, str(finding.level)) == ("stations-gap", "warn")
    assert (finding.value, finding.limit, finding.unit) == (pytest.approx(30.0), pytest.approx(7.5), "mm")


def test_stations_that_do_not_look_alike_hold_and_are_joined_as_they_lie() -> None:
    lower, upper = station(0, 24), station(80, 24)
    noise = np.random.default_rng(5).uniform(50, 150, upper.grid.shape).astype(np.float32)
    exam = compose_exam([lower, Volume(upper.grid, noise, upper.quantity, upper.series_uid)])
    assert codes(exam)["stations-mismatch"] == "hold"
    (seam,) = exam.composed[0].seams
    assert (seam.gain, seam.shift_mm) == (1.0, (0.0, 0.0, 0.0))


def test_stations_in_different_planes_are_not_joined() -> None:
    lower, upper = station(0, 20), station(80, 20)
    turned = Grid(
        upper.grid.slice_origins_mm, upper.grid.step_i_mm, -upper.grid.step_j_mm, upper.grid.shape, "1.2.3.200"
    )
    exam = compose_exam([lower, Volume(turned, upper.array, upper.quantity, "1.2")])
    assert codes(exam) == {"stations-axes-differ": "hold"}
    assert len(exam.composed) == 2


def test_a_station_of_another_matrix_is_resampled_in_its_plane() -> None:
    lower = station(0, 24)
    fine = grid(90, 24)
    steps_mm = fine.step_j_mm * 0.8, fine.step_i_mm * 0.8
    wide = Grid(fine.slice_origins_mm, *steps_mm, (24, 50, 65), fine.frame)
    upper = Volume(wide, body(wide.centres_mm(), LESION, 15.0).astype(np.float32), lower.quantity, "1.2")
    composed = only(compose_exam([lower, upper]))
    truth = body(composed.grid.centres_mm(), LESION, 15.0)
    inside = truth > 60
    assert np.percentile(np.abs(composed.array[inside] / truth[inside] - 1), 95) < 0.05


def test_other_kinds_are_left_as_they_are() -> None:
    others = [station(0, 20, quantity=Quantity(Kind.MR_OTHER, "1")), station(80, 20, quantity=Quantity(Kind.PET, "1"))]
    assert compose_exam(others).volumes == tuple(others)


def test_anatomical_stations_are_joined_where_they_lie() -> None:
    """They have a gain, and none of the shift of echo-planar images; a composed T1 holds every lesion of the exam."""
    lower = station(0, 24, quantity=T1)
    upper = station(90, 24, quantity=T1, gain=0.6, shift_mm=(4.0, 0.0))
    exam = compose_exam([upper, lower])
    composed = only(exam)
    (seam,) = exam.composed[0].seams
    assert seam.shift_mm == (0.0, 0.0, 0.0)
    assert {one.moved_mm for one in composed.stations} == {(0.0, 0.0, 0.0)}
    assert seam.gain == pytest.approx(1 / 0.6, rel=0.03)
    assert same_grid(composed.grid, grid(0, 42))
    assert np.array_equal(composed.array[24:], upper.array[6:])
    assert composed.array[:18] == pytest.approx(lower.array[:18] / seam.gain, rel=1e-5)


def test_anatomical_and_diffusion_stations_are_composed_as_if_the_others_were_not_there() -> None:
    diffusion = [station(0, 24), station(90, 24, gain=0.7, shift_mm=(4.0, 0.0)), station(0, 24, quantity=HIGH)]
    anatomical = [station(0, 24, quantity=T1, gain=0.9), station(90, 24, quantity=T1, shift_mm=(4.0, 0.0))]
    both = compose_exam([anatomical[1], *diffusion, anatomical[0]])
    alone = compose_exam(anatomical), compose_exam(diffusion)
    wanted = [one for exam in alone for one in exam.composed]
    assert [one.seams for one in both.composed] == [one.seams for one in wanted]
    for found, one in zip(both.composed, wanted, strict=True):
        assert found.volume.stations == one.volume.stations
        assert np.array_equal(found.volume.array, one.volume.array)
    assert sorted(map(repr, both.findings)) == sorted(repr(said) for exam in alone for said in exam.findings)


def test_anatomical_series_that_look_different_stay_apart() -> None:
    """Another contrast of the same kind, such as after contrast medium, is no station."""
    lower, upper = station(0, 24, quantity=T1), station(90, 24, quantity=T1)
    other = Volume(upper.grid, upper.array.max() - upper.array, upper.quantity, upper.series_uid)
    exam = compose_exam([lower, other])
    assert exam.volumes == (lower, other)
    assert exam.findings == ()


def test_a_place_that_is_shown_again_is_not_mixed_in() -> None:
    """The scanner's own composed series beside its stations, and a repeated station."""
    whole, stations = station(0, 62, uid="1.2.1"), [station(first, 24, uid=f"1.2.{first}") for first in (0, 95, 190)]
    again = station(97.5, 24, uid="1.2.96", noise=9.0)
    exam = compose_exam([*stations, again, whole])
    assert [one.volume.series_uids for one in exam.composed] == [
        ("1.2.0", "1.2.95", "1.2.190"),
        ("1.2.96",),
        ("1.2.1",),
    ]
    assert codes(exam) == {"stations-again": "info"}
    assert [one.volume.grid.shape[0] for one in exam.composed] == [62, 24, 62]


def test_stations_say_how_far_their_content_was_moved() -> None:
    """A flag on a station keeps the station's places: these lie ``moved_mm`` from those of the composed volume."""
    stations = [station(0, 24, shift_mm=(-4.3, 1.1), uid="1.2.1"), station(95, 24, uid="1.2.2")]
    composed = only(compose_exam(stations))
    assert composed.series_uid == "1.2.2"
    assert [one.series_uid for one in composed.stations] == ["1.2.1", "1.2.2"]
    moved = np.array(composed.stations[0].moved_mm)
    assert moved == pytest.approx(np.array([-4.3, 1.1]) @ TILT[[1, 0]], abs=0.3)
    assert composed.stations[1].moved_mm == (0.0, 0.0, 0.0)
    points = np.array([place_mm(way) for way in [(-25, 10, 60), (5, 25, 40), (-30, -20, 30), (8, 5, 20)]])
    as_drawn = sample(stations[0], points + moved, FRAME, order=3)
    assert sample(composed, points, FRAME, order=3) == pytest.approx(as_drawn, rel=0.03)


def test_every_volume_stands_where_its_first_station_stood() -> None:
    exam = [
        station(95, 24, uid="1.2.2"),
        station(0, 20, quantity=Quantity(Kind.MR_OTHER, "1"), uid="1.2.9"),
        station(0, 24, quantity=T1, uid="1.2.4"),
        station(0, 24, uid="1.2.1"),
        station(0, 24, quantity=HIGH, uid="1.2.3"),
    ]
    assert [one.series_uids[0] for one in compose_exam(exam).volumes] == ["1.2.1", "1.2.9", "1.2.4", "1.2.3"]


def test_an_empty_overlap_says_nothing() -> None:
    nothing = np.zeros((3, 20, 24), dtype=np.float32)
    fit = fit_overlap(nothing, nothing)
    assert (fit.gain, fit.shift_ji_pixels, fit.correlation) == (1.0, (0.0, 0.0), 0.0)


def test_a_shift_that_no_table_move_makes_is_not_believed() -> None:
    lower = station(0, 24)
    upper = station(80, 24, shift_mm=(16 * SPACING_JI_MM[0], 0.0))
    exam = compose_exam([lower, upper])
    assert codes(exam)["stations-mismatch"] == "hold"


def test_the_order_of_the_stations_means_nothing() -> None:
    stations = [station(0, 24), station(95, 24, gain=0.7), station(190, 24, shift_mm=(4, 0))]
    one, other = only(compose_exam(stations)), only(compose_exam(stations[::-1]))
    assert one.grid == other.grid
    assert np.array_equal(one.array, other.array)
