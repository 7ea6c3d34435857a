"""Tumour load against a slow oracle: every voxel by itself, whatever the lattice, with overlaps and missing maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from psdt_planner.criteria.acquisition import AdcHistogram
from psdt_planner.dwi.load import PERCENTS, AdcSpread, TumourLoad, tumour_load
from psdt_planner.geometry import Grid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side
from tests.dwi.phantom import FRAME, TILT, grid

EDGES = (0.0, 0.0009, 0.0014, 0.003)
HISTOGRAM = AdcHistogram(
    edges_mm2_per_s=EDGES, source="a test", place="nowhere", basis="project-derived", certainty="L"
)


def adc_map(seed: int = 1, *, frame: str = FRAME, slices: int = 12) -> Volume:
    of = grid(0.0, slices, frame=frame)
    array = np.random.default_rng(seed).uniform(0.4e-3, 2.5e-3, of.shape).astype(np.float32)
    return Volume(of, array, Quantity(Kind.ADC, "mm2/s"), f"1.2.{seed}")


def flag(
    name: str, where: tuple[slice, slice, slice], *, of: Grid | None = None, value: float = 1.0, rule: str = ""
) -> FlaggedLesion:
    of = of or grid(0.0, 12)
    mask = np.zeros(of.shape, np.float32)
    mask[where] = value
    kind = MaskKind.OCCUPANCY if value < 1 else MaskKind.BINARY
    return FlaggedLesion(
        name,
        name,
        "bone",
        "label",
        Side.LEFT,
        "",
        of,
        mask,
        kind,
        FlagSource("", "1.2.9", 1),
        "1.2.1",
        "adc",
        rule=rule,
    )


def voxels(volume: Volume, one: FlaggedLesion) -> NDArray[np.float64]:
    return volume.array[one.mask > 0].astype(np.float64)


ONE = (slice(2, 5), slice(10, 14), slice(20, 25))
OTHER = (slice(4, 8), slice(12, 18), slice(20, 22))


def load(*flags: FlaggedLesion, maps: tuple[Volume, ...] = (), **told: Any) -> TumourLoad:
    return tumour_load(flags, maps, HISTOGRAM, regions=told.get("regions", {}), moved_mm=told.get("moved_mm", {}))


def known(spread: AdcSpread | None) -> AdcSpread:
    assert spread is not None
    return spread


def test_one_lesion_s_load_is_that_of_its_voxels() -> None:
    one, volume = flag("L1", ONE), adc_map()
    found = load(one, maps=(volume,)).patient
    adc, values = known(found.adc), voxels(volume, one)
    assert found.volume_ml == pytest.approx(60 * 5.0 * 4.2 * 3.3 / 1000)
    assert found.volume_ml == pytest.approx(one.volume_ml)
    assert (adc.voxels, adc.measured_ml) == (60, pytest.approx(found.volume_ml))
    assert adc.mean == pytest.approx(values.mean(), rel=1e-5)
    for percent in PERCENTS:
        assert adc.percentiles[percent] == pytest.approx(np.percentile(values, percent), rel=1e-5)
    assert adc.median == adc.percentiles[50]
    counts, _ = np.histogram(values, bins=EDGES)
    assert adc.bins_ml == pytest.approx(counts * 5.0 * 4.2 * 3.3 / 1000)
    assert sum(adc.bins_ml) == pytest.approx(adc.measured_ml)


def test_what_two_lesions_share_counts_once_and_each_keeps_its_own() -> None:
    one, other, volume = flag("L1", ONE), flag("L2", OTHER), adc_map()
    found = load(one, other, maps=(volume,), regions={"L1": "skull", "L2": "skull"})
    both = (one.mask > 0) | (other.mask > 0)
    assert [lesion.volume_ml for lesion in found.lesions] == pytest.approx([one.volume_ml, other.volume_ml])
    assert found.patient.volume_ml == pytest.approx(both.sum() * 5.0 * 4.2 * 3.3 / 1000)
    assert found.patient.volume_ml < one.volume_ml + other.volume_ml
    assert known(found.patient.adc).voxels == both.sum()
    assert known(found.patient.adc).median == pytest.approx(np.median(volume.array[both]), rel=1e-5)
    (region,) = found.regions
    assert (region.of, region.lesions) == ("skull", ("L1", "L2"))
    assert region.adc == found.patient.adc


def test_lesions_of_two_lattices_weigh_by_their_volume() -> None:
    """Half the voxel, half the weight: the global ADC is one of volume, not of voxel counts."""
    volume = adc_map()
    coarse = flag("L1", (slice(1, 2), slice(5, 8), slice(5, 9)))
    of = volume.grid
    fine = Grid(of.slice_origins_mm, of.step_j_mm, of.step_i_mm / 2, (12, 40, 104), FRAME)
    halves = flag("L2", (slice(9, 10), slice(20, 22), slice(60, 70)), of=fine)
    found = load(coarse, halves, maps=(volume,))
    means, ml = [known(one.adc).mean for one in found.lesions], [one.volume_ml for one in found.lesions]
    assert ml == pytest.approx([12 * 0.0693, 20 * 0.03465])
    assert known(found.patient.adc).mean == pytest.approx(np.average(means, weights=ml), rel=1e-6)
    assert [one.of for one in found.regions] == ["unknown"]


def test_regions_stand_in_the_order_of_their_first_lesion() -> None:
    flags = [flag(f"L{n}", (slice(n, n + 1), slice(5, 9), slice(5, 9))) for n in (1, 3, 5)]
    found = load(*flags, maps=(adc_map(),), regions={"L1": "limbs", "L3": "skull", "L5": "limbs"})
    assert [(one.of, one.lesions) for one in found.regions] == [("limbs", ("L1", "L5")), ("skull", ("L3",))]
    assert found.patient.volume_ml == pytest.approx(sum(one.volume_ml for one in found.regions))


def test_voxels_half_flagged_count_half_in_the_volume_and_whole_in_the_adc() -> None:
    one, volume = flag("L1", ONE, value=0.5), adc_map()
    found = load(one, maps=(volume,)).patient
    assert found.volume_ml == pytest.approx(30 * 0.0693)
    assert known(found.adc).voxels == 60


def test_a_lesion_without_a_map_has_a_volume_and_no_adc() -> None:
    away, zero = adc_map(frame="1.2.3.9"), adc_map()
    empty = Volume(zero.grid, np.zeros(zero.grid.shape, np.float32), zero.quantity, "1.2.3")
    for maps in ((), (away,), (empty,)):
        found = load(flag("L1", ONE), maps=maps).patient
        assert found.adc is None
        assert found.volume_ml > 0


def test_a_lesion_beyond_the_end_of_its_map_tells_how_much_was_measured() -> None:
    short = adc_map(slices=4)
    found = load(flag("L1", ONE), maps=(short,)).patient
    assert known(found.adc).voxels == 40
    assert known(found.adc).measured_ml == pytest.approx(found.volume_ml * 2 / 3)


def test_a_lesion_on_a_station_that_was_moved_is_measured_where_the_map_shows_it() -> None:
    volume = adc_map()
    one = flag("L1", ONE)
    found = load(one, maps=(volume,), moved_mm={"L1": 2 * 4.2 * TILT[1]})
    values = volume.array[2:5, 8:12, 20:25]
    assert known(found.patient.adc).median == pytest.approx(np.median(values), rel=1e-4)


def test_the_rule_says_who_made_each_mask_and_what_map_was_read() -> None:
    grown = "SEMIAUTOMATIC, psdt region growing, high b >= 45%"
    found = load(flag("L1", ONE), flag("L2", OTHER, rule=grown), maps=(adc_map(7),))
    assert found.rule[0] == "L1: the mask as flagged; nothing was grown or edited."
    assert found.rule[1] == f"L2: the mask as flagged, which was made by {grown}."
    assert "of series 1.2.7," in found.rule[-1]
    assert found.sources == ("a test, nowhere (project-derived)",)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_equal_weights_give_numpy_s_percentiles(seed: int, count: int) -> None:
    volume = adc_map(seed % 50 + 1)
    mask = np.zeros(volume.grid.shape, np.float32)
    mask.ravel()[np.random.default_rng(seed).choice(mask.size, count, replace=False)] = 1
    source = FlagSource("", "1.2.9", 1)
    one = FlaggedLesion("L1", "", "bone", "", Side.LEFT, "", volume.grid, mask, MaskKind.BINARY, source)
    adc = known(load(one, maps=(volume,)).patient.adc)
    inner = volume.grid.voxel_volumes_ml
    assert inner.min() == pytest.approx(inner.max())
    expected = np.percentile(voxels(volume, one), PERCENTS)
    assert list(adc.percentiles.values()) == pytest.approx(list(expected), rel=1e-4)
