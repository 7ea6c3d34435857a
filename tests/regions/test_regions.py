"""Regions on high b and ADC: around a seed, and wherever the rule is met and nobody has flagged."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from psdt_planner.errors import ProtocolError
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint, FlagSource, MaskKind, Side
from psdt_planner.regions import NotGrownError, Pair, find_candidates, grow, pairs, parse_rule

SHAPE = (14, 40, 44)
TURN = Rotation.from_euler("xyz", [7, -12, 21], degrees=True).as_matrix()
FRAME = "1.2.3"
TEXT = resources.files("psdt_planner").joinpath("protocols", "regions.toml").read_text(encoding="utf-8")
RULE = parse_rule(TEXT, "regions")
SOURCE = FlagSource("1.2", "1.3", 1)


def grid(frame: str = FRAME) -> Grid:
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = TURN[:, 2] * 5, TURN[:, 1] * 2.5, TURN[:, 0] * 2.0
    matrix[:3, 3] = [-60, 20, 400]
    return Grid.regular(matrix, SHAPE, frame)


def ball(centre: tuple[int, int, int], radius_mm: float) -> Any:
    away = (np.indices(SHAPE).T - np.array(centre)) * [5, 2.5, 2.0]
    return (np.linalg.norm(away, axis=-1) <= radius_mm).T


BIG, SMALL, TINY = ball((6, 15, 15), 11), ball((9, 30, 33), 9), ball((3, 6, 35), 3)


def volumes(**adc: float) -> tuple[Volume, Volume]:
    """Muscle everywhere, two lesions and a speck; ADC in 1e-3 mm2/s."""
    signal, map_ = np.full(SHAPE, 60.0, np.float32), np.full(SHAPE, 1.5e-3, np.float32)
    for mask, bright, name in ((BIG, 400, "big"), (SMALL, 260, "small"), (TINY, 500, "tiny")):
        signal[mask], map_[mask] = bright, adc.get(name, 0.85) * 1e-3
    return (
        Volume(grid(), signal, Quantity(Kind.DWI_TRACE, "1", 900.0), "1.9"),
        Volume(grid(), map_, Quantity(Kind.ADC, "mm2/s"), "1.8"),
    )


def pair(**adc: float) -> Pair:
    (found,) = pairs(volumes(**adc), RULE)
    return found


def middle(mask: Any) -> Points:
    return np.asarray(grid().mm_from_index(np.argwhere(mask)).mean(axis=0))


def test_the_highest_b_value_of_each_frame_is_paired_with_its_adc_map() -> None:
    high, adc = volumes()
    low = Volume(grid(), high.array, Quantity(Kind.DWI_TRACE, "1", 50.0), "1.7")
    other = Volume(grid("1.9.9"), high.array, Quantity(Kind.DWI_TRACE, "1", 900.0), "1.6")
    assert [(one.high_b.series_uid, one.adc_series_uid) for one in pairs([low, adc, other, high], RULE)] == [
        ("1.9", "1.8")
    ]
    assert pairs([low, adc], RULE) == ()


@pytest.mark.parametrize("beside_mm", [0.0, 5.0, 8.0])
def test_a_region_grows_to_the_whole_lesion_from_anywhere_within_it(beside_mm: float) -> None:
    region = grow(pair(), middle(BIG) + beside_mm * TURN[:, 0], RULE)
    assert np.array_equal(region.mask, BIG)
    assert region.volume_ml == pytest.approx(BIG.sum() * 0.025)
    assert region.adc_median_mm2_per_s == pytest.approx(0.85e-3)
    assert np.allclose(region.centroid_mm, middle(BIG))


@pytest.mark.parametrize(
    ("seed", "adc", "words"),
    [
        (np.array([900.0, 0, 0]), {}, "outside"),
        (middle(BIG), {"big": 1.41}, "ADC"),
        (middle(BIG), {"big": 0.39}, "ADC"),
        (middle(TINY), {}, "less than 0.3 ml"),
    ],
)
def test_what_the_rule_does_not_allow_does_not_grow(seed: Points, adc: dict[str, float], words: str) -> None:
    with pytest.raises(NotGrownError, match=words):
        grow(pair(**adc), seed, RULE)


def test_a_region_that_runs_out_of_the_lesion_is_refused() -> None:
    high, adc = volumes()
    signal, map_ = high.array.copy(), adc.array.copy()
    signal[6, 15, :], map_[6, 15, :] = 400, 0.85e-3
    (leaking,) = pairs([Volume(grid(), signal, high.quantity, "1.9"), Volume(grid(), map_, adc.quantity, "1.8")], RULE)
    with pytest.raises(NotGrownError, match="run out"):
        grow(leaking, middle(BIG), RULE)


@pytest.mark.parametrize("to", [(0, 15, 15), (13, 15, 15), (6, 0, 15), (6, 15, 0)])
def test_a_region_that_reaches_the_end_of_the_image_is_refused(to: tuple[int, int, int]) -> None:
    """A lesion that the images cut off has no volume."""
    high, adc = volumes()
    signal, map_ = high.array.copy(), adc.array.copy()
    mask = ball(to, 11)
    signal[mask], map_[mask] = 400, 0.85e-3
    (cut,) = pairs([Volume(grid(), signal, high.quantity, "1.9"), Volume(grid(), map_, adc.quantity, "1.8")], RULE)
    with pytest.raises(NotGrownError, match="end of the high-b image"):
        grow(cut, middle(mask), RULE)


def test_every_bright_place_is_a_candidate_from_the_head_downwards() -> None:
    found = find_candidates([pair()], RULE)
    truth = sorted((SMALL, BIG), key=lambda mask: -middle(mask)[2])
    assert [one.id for one in found] == ["C1", "C2"]
    for one, mask in zip(found, truth, strict=True):
        assert np.array_equal(one.region.mask, mask)
    assert sorted(one.times_muscle for one in found) == pytest.approx([260 / 60, 400 / 60])
    assert all((one.place, one.side) == (None, Side.UNKNOWN) for one in found)


def flag(mask: Any) -> FlaggedLesion:
    values = mask.astype(np.float32)
    return FlaggedLesion("L1", "", "bone", "code", Side.LEFT, "", grid(), values, MaskKind.BINARY, SOURCE)


def point(at: Points, frame: str = FRAME) -> FlaggedPoint:
    x, y, z = (float(mm) for mm in at)
    return FlaggedPoint("L1", "", "bone", "code", Side.LEFT, "", (x, y, z), frame, SOURCE)


def test_what_is_flagged_is_no_candidate() -> None:
    edge = np.zeros(SHAPE, dtype=bool)
    edge[tuple(np.argwhere(BIG)[0])] = True
    for how in ({"flags": [flag(edge)]}, {"points": [point(middle(BIG))]}):
        (left,) = find_candidates([pair()], RULE, **how)
        assert np.array_equal(left.region.mask, SMALL)
    assert len(find_candidates([pair()], RULE, points=[point(middle(BIG), "1.9.9")])) == 2


def test_a_place_that_two_stations_show_counts_once() -> None:
    high, adc = volumes()
    dimmer = Volume(grid(), np.where(high.array > 100, high.array * 0.9, high.array), high.quantity, "1.7")
    found = find_candidates(pairs([dimmer, high, adc], RULE), RULE)
    assert [one.region.pair.high_b.series_uid for one in found] == ["1.9", "1.9"]


def test_a_weak_lesion_that_touches_a_bright_one_is_not_lost() -> None:
    high, adc = volumes()
    signal, map_ = high.array.copy(), adc.array.copy()
    weak = ball((6, 15, 27), 12) & ~BIG
    signal[BIG], signal[weak], map_[weak] = 900, 200, 0.9e-3
    (touching,) = pairs([Volume(grid(), signal, high.quantity, "1.9"), Volume(grid(), map_, adc.quantity, "1.8")], RULE)
    found = find_candidates([touching], RULE)
    assert any((one.region.mask & weak).sum() > 0.5 * weak.sum() for one in found)


def test_without_muscle_nothing_tells_what_is_bright() -> None:
    high, adc = volumes()
    empty = Volume(grid(), np.full(SHAPE, 0.8e-3, np.float32), adc.quantity, "1.8")
    with pytest.raises(NotGrownError, match="muscle"):
        find_candidates(pairs([high, empty], RULE), RULE)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("part_of_peak", "part_of_top", "nearest known key is part_of_peak"),
        ("[0.0004, 0.0014]", "[0.0014, 0.0004]", "range"),
        ("schema = 1", "schema = 2", "schema"),
        ("schema = 1", "schema = ", "not TOML"),
        ("schema = 1", 'schema = 1\nsha256 = "x"', "sha256"),
    ],
)
def test_a_wrong_rule_is_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        parse_rule(TEXT.replace(old, new, 1), "site")


def test_the_rule_says_itself_and_its_file() -> None:
    shared = "high b >= 45% of the region's maximum, ADC 0.4 to 1.4 x 10^-3 mm2/s, 26-connected, >= 0.3 ml"
    assert str(RULE) == shared
    file = f"; rule SHA-256 {hashlib.sha256(TEXT.encode()).hexdigest()[:16]}"
    assert RULE.words(seeded=True) == (f"{shared}, maximum within 8 mm of the point, region within 45 mm{file}")
    assert RULE.words(seeded=False) == f"{shared}, high b >= 2.5 x muscle (median where ADC is 1.2 to 1.8){file}"


def test_the_page_on_flags_says_the_shipped_rule() -> None:
    page = " ".join((Path(__file__).parents[2] / "docs" / "flags.md").read_text(encoding="utf-8").split())
    growing, (low, high) = RULE.growing, (1000 * value for value in RULE.growing.adc_mm2_per_s)
    for words in (
        f"{growing.part_of_peak:.0%}".replace("%", " %") + " of the maximum on high b",
        f"ADC of {low:g} to {high:g} × 10⁻³ mm²/s",
        f"at least {growing.least_ml:g} ml",
        f"{RULE.candidates.above_muscle:g} times the signal of muscle",
        f"runs {RULE.reach.farthest_mm:g} mm from its point",
    ):
        assert words in page, words
