"""Changes beside their measurement error: the figures, both ways round alike, and what voxels do to a volume."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psdt_planner.lesions import MaskKind
from psdt_planner.timeline import adc_change, volume_change, volume_sd_ml
from tests.time.made import CRITERIA, CT_FROM_MR, Ellipsoid, drawn

BALL = Ellipsoid((3.0, -5.0, 7.0), (9.0, 11.0, 10.0))
POSITIVE = st.floats(0.2e-3, 3e-3)


def test_an_adc_changes_beyond_error_by_more_than_the_coefficient_of_repeatability() -> None:
    just = adc_change([(1e-3, 1.0)], [(1.148e-3, 1.0)], CRITERIA)
    more = adc_change([(1e-3, 1.0)], [(1.149e-3, 1.0)], CRITERIA)
    less = adc_change([(1.149e-3, 1.0)], [(1e-3, 1.0)], CRITERIA)
    assert just
    assert more
    assert less
    assert [just.direction, more.direction, less.direction] == [0, 1, -1]
    assert just.percent == pytest.approx(14.8)
    assert just.error_percent == pytest.approx((-12.89, 14.8), abs=0.01)
    assert "Messiou" in just.sources[0]


def test_several_adcs_weigh_by_volume_and_one_that_is_missing_leaves_none() -> None:
    change = adc_change([(1e-3, 3.0), (2e-3, 1.0)], [(1e-3, 1.0)], CRITERIA)
    assert change
    assert change.before == pytest.approx(1.25e-3)
    assert adc_change([(1e-3, 3.0), (None, 1.0)], [(1e-3, 1.0)], CRITERIA) is None
    assert adc_change([(1e-3, 3.0)], [(0.0, 1.0)], CRITERIA) is None


@given(POSITIVE, POSITIVE)
def test_a_change_is_as_large_both_ways_round(before: float, now: float) -> None:
    forth = adc_change([(before, 1.0)], [(now, 1.0)], CRITERIA)
    back = adc_change([(now, 1.0)], [(before, 1.0)], CRITERIA)
    assert forth
    assert back
    assert forth.direction == -back.direction


def test_the_error_of_a_volume_has_its_three_parts() -> None:
    """A sphere of 10 ml: 4.57 % of repeating, 0.3 mm of its surface, and no voxels where the mask is an occupancy."""
    flag = drawn(BALL, CT_FROM_MR, "L1")
    smooth = replace(flag, mask_kind=MaskKind.OCCUPANCY)
    volume = flag.volume_ml
    radius_mm = (volume * 1000.0 * 3.0 / (4.0 * math.pi)) ** (1.0 / 3.0)
    outline = 4.0 * math.pi * radius_mm**2 * 0.3 / 1000.0
    assert volume_sd_ml(smooth, CRITERIA) == pytest.approx(math.hypot(0.0457 * volume, outline))
    assert volume_sd_ml(flag, CRITERIA) > volume_sd_ml(smooth, CRITERIA)


def test_small_lesions_must_change_by_more_than_large_ones() -> None:
    limits = []
    for radius in (5.0, 10.0, 20.0):
        flag = drawn(Ellipsoid((0.0, 0.0, 0.0), (radius,) * 3), CT_FROM_MR, "L1")
        limits.append(volume_change([flag], [flag], CRITERIA).error_percent[1])
    assert limits == sorted(limits, reverse=True)
    assert limits[0] > 40.0
    assert limits[2] < 25.0


def test_the_limit_holds_what_voxels_do_to_a_volume() -> None:
    """The same body on lattices that lie elsewhere: at least 95 % of the volumes differ by less than the limit."""
    rng = np.random.default_rng(11)
    inside = []
    for _ in range(150):
        radii = rng.uniform(5.0, 12.0, 3)
        shape = Ellipsoid((0.0, 0.0, 0.0), (float(radii[0]), float(radii[1]), float(radii[2])))
        twice = []
        for _again in range(2):
            offset = rng.uniform(-0.5, 0.5, 3)
            twice.append(drawn(shape, CT_FROM_MR, "L1", offset=(float(offset[0]), float(offset[1]), float(offset[2]))))
        inside.append(volume_change(twice[:1], twice[1:], CRITERIA).direction == 0)
    assert np.mean(inside) >= 0.95


def test_the_sum_of_two_lesions_is_compared_with_one() -> None:
    flag = drawn(BALL, CT_FROM_MR, "L1")
    change = volume_change([flag, flag], [flag], CRITERIA)
    assert change.before == pytest.approx(2.0 * change.after)
    assert change.direction == -1
    assert change.percent == pytest.approx(-50.0)
