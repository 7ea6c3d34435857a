"""Figures of contours: each bar missed by one spoilt row and by nothing else; tables and plots of made-up rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from psdt_planner.commission import ContourRows, contours_section
from psdt_planner.commission.contours.ct_masks import COARSER, PUBLISHED, MaskRow
from psdt_planner.commission.contours.figures import DICE, HD95_MM, RADIUS, WORDS, contour_figures, worse
from psdt_planner.commission.contours.flags import (
    LARGE,
    MIDDLE,
    NEAREST_RT,
    OURS,
    SMALL,
    VOXELS,
    FlagKind,
    FlagRow,
    voxels_name,
)
from psdt_planner.commission.contours.methods import ISO_LINE, PLASTIMATCH, RT_UTILS
from psdt_planner.commission.contours.trips import TripRow
from psdt_planner.commission.figures import Figure, missed
from psdt_planner.commission.tables import Table
from tests.commission.contour_rows import CONTOURS, flag_row, mask_row, with_masks

FINE_DWI, COARSE_DWI = (voxels_name(spacing) for spacing in VOXELS)


def keys(rows: ContourRows) -> list[str]:
    return [figure.key for figure in missed(contour_figures(rows))]


def figure(rows: ContourRows, key: str) -> Figure:
    return next(one for one in contour_figures(rows) if one.key == key)


def masks(change: Callable[[MaskRow], MaskRow]) -> ContourRows:
    return replace(CONTOURS, masks=tuple(change(row) if row.method == OURS else row for row in CONTOURS.masks))


def flags(kind: FlagKind, solid: str, **changes: float) -> ContourRows:
    """Our rows of one cell changed."""
    cell = (FINE_DWI, kind, solid, OURS)
    rows = (
        replace(row, **changes) if (row.voxels, row.kind, row.solid, row.method) == cell else row
        for row in CONTOURS.flags
    )
    return replace(CONTOURS, flags=tuple(rows))


def table(rows: ContourRows, title: str) -> Table:
    return next(one for one in contours_section(rows).tables if one.title == title)


def test_good_rows_meet_every_bar_and_leave_none_without_data() -> None:
    found = contour_figures(CONTOURS)
    assert missed(found) == ()
    assert [one.key for one in found if one.value is None or one.bar is None] == []
    assert len({one.key for one in found}) == len(found) == 3 + 27 + 2 + 2


def test_no_rows_are_no_success() -> None:
    found = contour_figures(ContourRows())
    assert {one.value for one in found} == {None}
    assert len(found) == len(contour_figures(CONTOURS))


class TestMasks:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"volume_mm3": 1010 * 1.031}, ["ct_volume_4"]),
            ({"volume_mm3": 1010 * 0.969}, ["ct_volume_4"]),
            ({"volume_mm3": 1010 * 1.029}, []),
            ({"radius_mm": 6.0, "volume_mm3": 1010 * 0.989}, ["ct_volume"]),
            ({"radius_mm": 40.0, "ct": COARSER.name, "volume_mm3": 1010 * 1.011}, ["ct_volume"]),
            ({"radius_mm": 40.0, "ct": PUBLISHED.name, "volume_mm3": 1010 * 1.011}, []),
            ({"radius_mm": 6.0, "method": RT_UTILS, "volume_mm3": 800.0}, []),
        ],
        ids=["too-large", "too-small", "within", "6-mm", "other-ct", "published-ct", "peer"],
    )
    def test_one_place_off_its_masks_volume_is_a_miss(self, changes: dict[str, object], expected: list[str]) -> None:
        assert keys(with_masks(mask_row(**changes))) == expected

    def test_the_surface_error_is_the_mean_over_places_of_one_cell(self) -> None:
        rows = with_masks(mask_row(radius_mm=10.0, rms_mm=0.19))
        assert figure(rows, "ct_rms_10").value == pytest.approx((0.1 + 0.1 + 0.19) / 3)
        assert keys(rows) == ["ct_rms_10"]
        assert keys(with_masks(mask_row(radius_mm=10.0, ct=COARSER.name, rms_mm=0.5))) == []

    def test_volume_is_beside_the_mask_not_the_sphere(self) -> None:
        row = mask_row(volume_mm3=1020.1)
        assert (row.of_mask, row.of_true) == (pytest.approx(1.0), pytest.approx(2.01))


class TestFlags:
    @pytest.mark.parametrize("kind", list(FlagKind))
    @pytest.mark.parametrize("solid", [SMALL, MIDDLE, LARGE])
    def test_each_sphere_has_its_bars(self, kind: FlagKind, solid: str) -> None:
        key = f"{WORDS[kind]}_{RADIUS[solid]}"
        assert keys(flags(kind, solid, dice=DICE[kind][solid])) == []
        assert keys(flags(kind, solid, hd95_mm=HD95_MM[kind][solid])) == []
        assert keys(flags(kind, solid, dice=DICE[kind][solid] - 0.01)) == [f"{key}_dice"]
        assert keys(flags(kind, solid, hd95_mm=HD95_MM[kind][solid] + 0.01)) == [f"{key}_hd95"]
        most = 1030.5 if solid == SMALL else 1010.5
        for volume_mm3 in (most, 2000.0 - most):
            assert keys(flags(kind, solid, volume_mm3=volume_mm3)) == [f"{key}_volume"]

    def test_a_binary_or_noisy_flag_answers_for_its_mask_and_a_soft_one_for_the_lesion(self) -> None:
        lost = {"mask_mm3": 900.0, "volume_mm3": 900.0}
        assert keys(flags(FlagKind.BINARY, MIDDLE, **lost)) == keys(flags(FlagKind.NOISY, MIDDLE, **lost)) == []
        assert keys(flags(FlagKind.SOFT, MIDDLE, **lost)) == ["soft_6_volume"]

    def test_opposite_errors_of_volume_cancel_in_the_mean(self) -> None:
        extra = (flag_row(place=2, volume_mm3=1090.0), flag_row(place=3, volume_mm3=910.0))
        assert keys(replace(CONTOURS, flags=(*CONTOURS.flags, *extra))) == []

    def test_a_peer_that_is_better_anywhere_is_told(self) -> None:
        rows = tuple(
            replace(row, dice=1.0) if (row.voxels, row.kind, row.solid, row.method)
            == (COARSE_DWI, FlagKind.NOISY, "lobed", NEAREST_RT) else row
            for row in CONTOURS.flags
        )  # fmt: skip
        found = replace(CONTOURS, flags=rows)
        assert keys(found) == ["flag_dice_best"]
        assert figure(found, "flag_dice_best").value == pytest.approx(100 * 35 / 36)


@pytest.mark.parametrize(
    ("differences", "is_worse"),
    [
        ((0.0, 0.0, 0.0), False),
        ((-0.1, -0.2, -0.1), False),
        ((0.1, 0.1, 0.1), True),
        ((0.4, -0.2, 0.3, -0.3), False),
        ((0.4, 0.2, 0.3, -0.1), False),
        ((0.4, 0.2, 0.3, 0.1), True),
        ((float("-inf"), 0.5), False),
        ((float("inf"), -0.5), True),
    ],
)
def test_a_method_is_better_beyond_chance_alone(differences: tuple[float, ...], is_worse: bool) -> None:
    """Mean and standard error: 0.2 and 0.11 of the fifth, 0.25 and 0.065 of the sixth."""
    assert worse(differences) is is_worse


def test_the_worst_reading_counts_by_reader() -> None:
    for reader in (OURS, PLASTIMATCH):
        assert keys(replace(CONTOURS, trips=(*CONTOURS.trips, TripRow("C", 1, reader, 0.979)))) == [f"trip_{reader}"]


class TestTables:
    def test_figures_come_with_bar_and_verdict(self) -> None:
        spoilt = replace(CONTOURS, trips=(*CONTOURS.trips, TripRow("C", 1, PLASTIMATCH, 0.5)))
        rows = {row[0]: row[1:] for row in table(spoilt, "Figures of contours").rows}
        assert rows["masks read back by plastimatch: Dice, worst"] == ("at least 0.98", "0.50", "2", "MISSED")
        assert rows["soft flag, sphere 6 mm: HD95, mean"] == ("at most 0.55 mm", "0.40 mm", "2", "met")

    def test_methods_stand_below_each_other_for_each_ct(self) -> None:
        found = table(CONTOURS, "Masks on a CT of 1 × 1 × 2 mm")
        assert [row[0] for row in found.rows] == [
            "ideal polygon", "voxel count", OURS, RT_UTILS, PLASTIMATCH, ISO_LINE,
        ]  # fmt: skip
        rows = {row[0]: dict(zip(found.head, row, strict=True)) for row in found.rows}
        assert rows[OURS]["volume, r 4"] == "+1.0 (0.0)"
        assert rows[OURS]["of the mask's, r 10"] == "+0.0 (0.0)"
        assert (rows[OURS]["signed, r 6"], rows[OURS]["rms, r 40"], rows[OURS]["points, r 10"]) == (
            "+0.01",
            "0.10",
            "100",
        )
        assert (rows["voxel count"]["rms, r 4"], rows["voxel count"]["points, r 10"]) == ("–", "–")

    def test_a_peer_that_is_not_installed_has_no_row(self) -> None:
        rows = replace(CONTOURS, masks=tuple(row for row in CONTOURS.masks if row.method != PLASTIMATCH))
        assert PLASTIMATCH not in [row[0] for row in table(rows, "Masks on a CT of 1.27 × 1.27 × 3 mm").rows]

    def test_flags_show_volume_dice_and_distance_by_method(self) -> None:
        found = table(CONTOURS, f"Binary flags on DWI of {FINE_DWI}")
        row = dict(zip(found.head, found.rows[0], strict=True))
        assert row["lesion"] == SMALL
        assert row["the mask's own volume"] == "+0.0 (0.0)"
        assert (row[OURS], row[NEAREST_RT]) == ("+0.0 (0.0); 0.99; 0.4", "+0.0 (0.0); 0.80; 3.0")

    def test_a_part_without_rows_has_no_table(self) -> None:
        titles = [one.title for one in contours_section(ContourRows(trips=CONTOURS.trips)).tables]
        assert titles == ["Figures of contours", "Masks read back"]
        assert contours_section(ContourRows()).plots == ()

    def test_the_section_counts_spheres_flags_and_readings(self) -> None:
        one = contours_section(CONTOURS)
        assert one.counts == "Masks on CT: 30; flags on DWI: 72; masks read back: 1"
        assert len(one.plots) == 2
        assert [plot.svg for plot in contours_section(CONTOURS).plots] == [plot.svg for plot in one.plots]


def test_rows_know_their_volumes() -> None:
    row: FlagRow = flag_row(volume_mm3=950.0, mask_mm3=1000.0, true_mm3=500.0)
    assert (row.of_mask, row.of_true) == (pytest.approx(-5.0), pytest.approx(90.0))
