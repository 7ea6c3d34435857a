"""ADC: the fit beside a slow one, the scanner's own map, computed b-images, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from psdt_planner.dicom.assembly import acquisition_criteria
from psdt_planner.dwi import b_images, check_adc_maps, compare_adc, computed_b, fit_adc, missing_adc
from psdt_planner.errors import GeometryError, InputError
from psdt_planner.findings import Finding
from psdt_planner.geometry import Grid
from psdt_planner.images import Kind, Quantity, Volume
from tests.dwi.phantom import FRAME, SHAPE_JI, grid

SHAPE = (3, *SHAPE_JI)


def volume(
    array: NDArray[np.float64], kind: Kind, b: float | None = None, *, at: Grid | None = None, uid: str = "1"
) -> Volume:
    unit = "mm2/s" if kind is Kind.ADC else "1"
    return Volume(at or grid(0.0, 3), array.astype(np.float32), Quantity(kind, unit, b), uid)


def checked(exam: Sequence[Volume]) -> tuple[Finding, ...]:
    return check_adc_maps(exam, acquisition_criteria())


def truth(seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signal at b = 0, and ADC in mm2/s."""
    rng = np.random.default_rng(seed)
    return rng.uniform(50, 900, SHAPE), rng.uniform(0.3e-3, 3e-3, SHAPE)


def images(*b_values: float, kind: Kind = Kind.DWI_TRACE, seed: int = 1, noise: float = 0.0) -> list[Volume]:
    s0, adc = truth(seed)
    rng = np.random.default_rng(seed + 1)
    return [volume(s0 * np.exp(-b * adc) + noise * rng.random(SHAPE), kind, b) for b in b_values]


def slow_fit(b: list[float], signals: list[float]) -> tuple[float, float]:
    """Slope and level of the line through the logarithms, by numpy's own polynomial fit."""
    slope, level = np.polyfit(b, np.log(signals), 1)
    return -slope, float(np.exp(level))


@pytest.mark.parametrize("b_values", [(50.0, 900.0), (0.0, 50.0, 400.0, 800.0), (900.0, 50.0, 600.0)])
def test_the_fit_finds_the_truth_of_one_exponential(b_values: tuple[float, ...]) -> None:
    s0, adc = truth()
    fit = fit_adc(images(*b_values))
    assert fit.fitted.all()
    assert fit.adc.array == pytest.approx(adc, rel=2e-4)
    assert fit.s0.array == pytest.approx(s0, rel=1e-3)
    assert fit.b_values_s_per_mm2 == tuple(sorted(b_values))
    assert (fit.adc.quantity.kind, fit.adc.quantity.unit) == (Kind.ADC, "mm2/s")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 1500), min_size=2, max_size=5, unique=True), st.integers(0, 99))
def test_the_fit_is_the_line_through_the_logarithms(b: list[int], seed: int) -> None:
    noisy = images(*(float(one) for one in b), seed=seed, noise=20.0)
    fit = fit_adc(noisy)
    for k, j, i in ((0, 0, 0), (1, 20, 30), (2, 39, 51)):
        slope, level = slow_fit([float(one) for one in b], [float(image.array[k, j, i]) for image in noisy])
        assert fit.adc.array[k, j, i] == pytest.approx(slope, rel=2e-3, abs=2e-5 / max(np.ptp(b) / 100, 0.01))
        assert fit.s0.array[k, j, i] == pytest.approx(level, rel=2e-2 if np.ptp(b) > 20 else 1.0)


def test_voxels_without_signal_are_not_fitted() -> None:
    low, high = images(50.0, 900.0)
    array = high.array.copy()
    array[1, 4, 5] = 0.0
    fit = fit_adc([low, volume(array, Kind.DWI_TRACE, 900.0)])
    assert not fit.fitted[1, 4, 5]
    assert (fit.adc.array[1, 4, 5], fit.s0.array[1, 4, 5]) == (0.0, 0.0)
    assert fit.fitted.sum() == fit.fitted.size - 1


def test_one_b_value_makes_no_adc() -> None:
    with pytest.raises(InputError, match="two b-values"):
        fit_adc(images(900.0, 900.0))
    with pytest.raises(InputError, match="without b-value"):
        fit_adc([volume(truth()[0], Kind.DWI)])


def test_images_on_two_grids_make_no_adc() -> None:
    low, high = images(50.0, 900.0)
    for other in (grid(0.2, 3), grid(0.0, 3, frame="1.2.3.9"), grid(0.0, 3, gap_mm=5.1)):
        with pytest.raises(GeometryError, match="different grids"):
            fit_adc([low, volume(high.array, Kind.DWI_TRACE, 900.0, at=other)])


def test_a_computed_b_image_is_the_signal_at_that_b() -> None:
    s0, adc = truth()
    high = computed_b(fit_adc(images(50.0, 800.0)), 1400.0)
    assert high.array == pytest.approx(s0 * np.exp(-1400.0 * adc), rel=3e-3)
    assert high.quantity == Quantity(Kind.DWI_CALCULATED, "1", 1400.0)
    with pytest.raises(InputError, match="no image at b = -1"):
        computed_b(fit_adc(images(50.0, 800.0)), -1.0)


def test_trace_and_directional_images_of_one_grid_are_not_mixed_but_for_a_b_value_that_is_missing() -> None:
    trace, directions = images(50.0, 900.0), images(0.0, 900.0, kind=Kind.DWI)
    (group,) = b_images([*directions, *trace])
    assert [(one.quantity.kind, one.quantity.b_value_s_per_mm2) for one in group] == [
        (Kind.DWI, 0.0),
        (Kind.DWI_TRACE, 50.0),
        (Kind.DWI_TRACE, 900.0),
    ]


def test_grids_and_frames_are_groups_of_their_own() -> None:
    other = volume(truth()[0], Kind.DWI_TRACE, 900.0, at=grid(0.0, 3, frame="1.2.3.9"))
    assert [len(group) for group in b_images([*images(50.0, 900.0), other])] == [2, 1]


def test_calculated_images_and_maps_are_no_b_images() -> None:
    s0, adc = truth()
    others = [volume(s0, Kind.DWI_CALCULATED, 1400.0), volume(adc, Kind.ADC, 800.0), volume(s0, Kind.DWI)]
    assert b_images(others) == ()


@pytest.mark.parametrize("scale", [0.85, 1.0, 1.2])
def test_a_map_that_agrees_with_the_fit_is_silent(scale: float) -> None:
    exam = [*images(50.0, 900.0), volume(scale * truth()[1], Kind.ADC)]
    assert checked(exam) == ()
    agreement = compare_adc(exam[-1], exam[:2])
    assert agreement.median_ratio == pytest.approx(scale, rel=1e-3)
    assert agreement.correlation > 0.999


@pytest.mark.parametrize("scale", [1e-3, 0.1, 0.7, 1.4, 10.0, 1e3])
def test_a_map_in_another_unit_holds(scale: float) -> None:
    (finding,) = checked([*images(50.0, 900.0), volume(scale * truth()[1], Kind.ADC)])
    assert (finding.code, str(finding.level)) == ("adc-disagrees", "hold")
    assert finding.value == pytest.approx(scale, rel=1e-3)


def turned(spacing_mm: float = 3.7) -> Grid:
    """Another lattice over the b-images: finer slices and pixels, and turned about the slices' normal."""
    of = grid(0.0, 3)
    down, along = (step / np.linalg.norm(step) for step in (of.step_j_mm, of.step_i_mm))
    step_j, step_i = 3.4 * (0.99 * down + 0.14 * along), 2.6 * (0.99 * along - 0.14 * down)
    origins = of.slice_origins_mm[0] - of.normal + spacing_mm * np.arange(4)[:, None] * of.normal
    return Grid(origins, step_j, step_i, (4, 46, 60), of.frame)


@pytest.mark.parametrize(("scale", "codes"), [(1.0, []), (1.1, []), (0.7, ["adc-disagrees"]), (1e3, ["adc-disagrees"])])
def test_a_map_on_another_grid_is_held_against_the_b_images_under_it(scale: float, codes: list[str]) -> None:
    """A smooth map, since bringing it onto their grid smooths it."""
    way = np.moveaxis(grid(0.0, 3).centres_mm(), -1, 0)[0]
    smooth = 1e-3 + 4e-6 * way
    b_values = [volume(800.0 * np.exp(-b * smooth), Kind.DWI_TRACE, b) for b in (50.0, 900.0)]
    there = turned()
    found = checked([*b_values, volume(scale * (1e-3 + 4e-6 * there.centres_mm()[..., 0]), Kind.ADC, at=there)])
    assert [one.code for one in found] == codes
    if found:
        assert found[0].value == pytest.approx(scale, rel=0.01)


@pytest.mark.parametrize("case", ["one b-value", "another frame", "beside"])
def test_a_map_over_no_two_b_values_is_said_to_be_unchecked(case: str) -> None:
    _, adc = truth()
    at = {"another frame": grid(0.0, 3, frame="1.2.3.9"), "beside": grid(900.0, 3)}.get(case)
    scanner = volume(99 * adc, Kind.ADC, at=at)
    (finding,) = checked([*images(*((900.0,) if case == "one b-value" else (50.0, 900.0))), scanner])
    assert (finding.code, str(finding.level)) == ("adc-unchecked", "info")
    if at is not None:
        with pytest.raises(GeometryError, match="another grid"):
            compare_adc(scanner, images(50.0, 900.0))


def test_a_map_without_anything_to_compare_is_said_to_be_unchecked() -> None:
    (finding,) = checked([*images(50.0, 900.0), volume(np.zeros(SHAPE), Kind.ADC)])
    assert (finding.code, str(finding.level)) == ("adc-unchecked", "info")


def test_where_signals_are_whole_counts_only_voxels_with_enough_of_them_are_compared() -> None:
    """Over all voxels, rounding down to counts moves the median further than over those that are compared."""
    s0, adc = truth()
    rounded = [volume(np.floor(0.12 * s0 * np.exp(-b * adc)), Kind.DWI_TRACE, b) for b in (50.0, 800.0)]
    agreement = compare_adc(volume(adc, Kind.ADC), rounded)
    fit = fit_adc(rounded)
    naive = float(np.median(adc[fit.fitted] / fit.adc.array[fit.fitted]))
    assert agreement.median_ratio == pytest.approx(1.0, abs=0.03)
    assert abs(naive - 1.0) > abs(agreement.median_ratio - 1.0)
    assert 0 < agreement.voxels < 0.2 * fit.fitted.sum()


def test_an_adc_is_fitted_where_no_map_of_the_frame_came() -> None:
    exam = images(50.0, 900.0)
    (fit,) = missing_adc(exam)
    assert fit.adc.grid.frame == FRAME
    assert missing_adc([*exam, volume(truth()[1], Kind.ADC)]) == ()
    assert missing_adc(images(900.0)) == ()


@pytest.mark.realdata
def test_the_fit_of_a_real_pelvis_is_the_scanner_s_own_map() -> None:
    from psdt_planner.dicom.intake import read_inputs
    from tests.dicom_in.packs import pack

    folder = pack("body_dwi_prostatex_0000")
    exam = read_inputs([*folder.glob("**/ProstateX/ProstateX-0000/07-07-2011/*")]).exam
    (group,) = b_images(exam.mr)
    agreement = compare_adc(next(exam.of_kind(Kind.ADC)), group)
    assert [one.quantity.b_value_s_per_mm2 for one in group] == [50, 400, 800]
    assert agreement.median_ratio == pytest.approx(1.0, abs=0.03)
    assert agreement.correlation >= 0.99
    assert agreement.voxels > 5000
    assert checked(exam.mr) == ()
