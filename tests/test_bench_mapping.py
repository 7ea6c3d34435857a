"""The side-by-side of mappings: its figures, its bars and what it lays before the peers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from benchmarks.mapping import TWO_CORES, Case, errors_mm, figures, page, parts_cpu_s, rows, table
from benchmarks.mapping_methods import OURS, Placed, Run, inverted, laid_on
from benchmarks.rows import Row, as_json, as_text

PLACES = ((1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 12.0), (0.0, 6.0, 0.0))


PARTS_S = {"whole body": 8.0, "level check": 3.0, "fits": 7.0}


def run(*, cpu_s: float = 1.0, wall_s: float = 1.0, parts_s: dict[str, float] | None = None) -> Run:
    return Run(tuple(Placed(place) for place in PLACES), cpu_s, wall_s, parts_s or {})


def case(ours: list[float], peer: list[float], accepted: list[bool], **peers: list[float]) -> Case:
    """One patient: 20 CPU s of psdt, 8 of them for the whole body; a rigid fit of 4."""
    runs = {
        OURS: run(cpu_s=20.0, wall_s=18.0, parts_s=PARTS_S),
        TWO_CORES: run(cpu_s=21.0, wall_s=9.0),
        "SimpleITK rigid": run(cpu_s=4.0),
        **{name: run() for name in peers},
    }
    errors = {OURS: ours, TWO_CORES: ours, "SimpleITK rigid": peer, **peers}
    return Case("pelvis_1_1", runs, {name: np.array(e) for name, e in errors.items()}, np.array(accepted))


class TestFigures:
    def test_a_known_set(self) -> None:
        got = figures(np.arange(1.0, 22.0) / 2.0)
        assert (got.lesions, got.median_mm, got.worst_mm) == (21, 5.5, 10.5)
        assert got.p95_mm == pytest.approx(10.0)
        assert got.large == pytest.approx(11 / 21), "5 mm itself is not over 5 mm"

    def test_nothing_accepted_is_no_success(self) -> None:
        assert np.isnan(figures(np.array([])).p95_mm)
        assert Row("TRE, p95", np.nan, 6.0, "SimpleITK rigid", "mm", 1 / 3).missed

    def test_errors_are_distances_on_the_ct_and_nowhere_is_infinitely_far(self) -> None:
        got = errors_mm(
            Run((Placed((3.0, 4.0, 10.0)), Placed(None, accepted=False)), 1.0, 1.0), np.array([[0, 0, 10.0], [0, 0, 0]])
        )
        assert got.tolist() == [5.0, np.inf]


class TestRows:
    def test_ratios_compare_the_lesions_that_psdt_accepted(self) -> None:
        only = case([1.0, 1.0, 1.0, 9.0], [4.0, 4.0, 4.0, 30.0], [True, True, True, False])
        p95 = next(row for row in rows([only]) if row.work == "TRE, p95")
        assert (p95.ours, p95.peer, p95.ratio, p95.bar) == (1.0, 4.0, 0.25, pytest.approx(1 / 3))
        assert not p95.missed

    def test_a_p95_over_a_third_of_a_peers_misses_the_bar(self) -> None:
        only = case([1.4] * 4, [4.0] * 4, [True] * 4)
        assert [row.work for row in rows([only]) if row.missed and row.unit == "mm"] == ["TRE, p95"]

    def test_elastix_and_ants_are_shown_without_a_bar(self) -> None:
        extra = {"elastix B-spline": [1.0] * 4, "plastimatch B-spline": [1.0] * 4}
        only = case([1.0] * 4, [4.0] * 4, [True] * 4, **extra)
        bars = {row.peer_name: row.bar for row in rows([only]) if row.work == "TRE, p95"}
        assert bars["elastix B-spline"] is None
        assert bars["plastimatch B-spline"] == pytest.approx(1 / 3)
        assert "ANTs SyN" not in bars, "not installed, not shown"

    def test_time_is_split_in_parts(self) -> None:
        both = [case([1.0] * 4, [4.0] * 4, [True] * 4)] * 2
        by_work = {row.work: row for row in rows(both)}
        start, lesion, cores = (
            by_work[name] for name in ("initialisation and whole body", "one lesion", "a case on two cores")
        )
        assert (start.ours, start.peer, start.ratio, start.bar, start.missed) == (8.0, 4.0, 2.0, 2.5, False)
        assert (lesion.ours, lesion.peer, lesion.bar, lesion.missed) == (7.0 / 4, 2.0, 1.0, False)
        assert (cores.ours, cores.peer, cores.ratio, cores.bar) == (9.0, 18.0, 0.5, None)
        assert parts_cpu_s(both) == {
            "whole body": 16.0, "level check": 6.0, "fits": 14.0, "contours and doses": 4.0,
        }  # fmt: skip

    def test_without_a_second_core_there_is_no_such_row(self) -> None:
        only = case([1.0] * 4, [4.0] * 4, [True] * 4)
        alone = Case(only.name, {k: v for k, v in only.runs.items() if k != TWO_CORES}, only.errors_mm, only.accepted)
        assert "a case on two cores" not in [row.work for row in rows([alone])]


def test_the_page_says_what_made_it_and_shows_each_ratio_beside_its_bar() -> None:
    only = case([1.0, 1.0, 1.0, 9.0], [2.0, 2.0, 2.0, 30.0], [True, True, True, False])
    text = page([only], "./run bench mapping --seeds 1 --first 1", ["ANTs SyN: not measured, not there"])
    assert "Made by `./run bench mapping --seeds 1 --first 1`: 1 patients, 4 lesions." in text
    assert "| TRE, p95 | 1.00 mm | 2.00 mm (SimpleITK rigid) | 0.50 | 0.33 | MISSED |" in text
    assert "| initialisation and whole body | 8.00 CPU s | 4.00 CPU s (SimpleITK rigid) | 2.00 | 2.50 | met |" in text
    assert "ANTs SyN: not measured, not there" in text

    def test_json_has_the_contracts_keys_and_text_says_met_or_missed(self) -> None:
        met, missed, shown = (Row("a", 1.0, 4.0, "p", "mm", bar) for bar in (0.3, 0.2, None))
        keys = {"work", "ours", "peer", "peer_name", "unit", "ratio", "bar"}
        assert set(as_json([met])[0]) == keys
        assert json.loads(json.dumps(as_json([met])))[0]["ratio"] == 0.25
        ends = [line.rsplit("  ", 1)[-1] for line in as_text([met, missed, shown]).splitlines()]
        assert ends == ["bar 0.30 met", "bar 0.20 MISSED", "ratio 0.25"]


def test_the_table_shows_held_lesions_apart() -> None:
    lines = table([case([1.0, 1.0, 1.0, 9.0], [4.0] * 4, [True, True, True, False])]).splitlines()
    accepted, all_of_them, rigid, split = lines[1:]
    assert accepted.split() == ["psdt,", "accepted", "3", "1.00", "1.00", "1.00", "0.0%", "20.0"]
    assert all_of_them.split() == ["psdt,", "held", "too", "4", "1.00", "7.80", "9.00", "25.0%", "20.0", "1.00"]
    assert rigid.split()[2:] == ["4", "4.00", "4.00", "4.00", "0.0%", "4.0", "4.00"]
    assert split == (
        "psdt held 1 of 4 lesions; CPU s a case: whole body 8.0, level check 3.0, fits 7.0, contours and doses 2.0"
    )


class TestWhatPeersGet:
    def test_a_point_goes_back_through_a_rotation_and_a_shift(self) -> None:
        transform = sitk.Euler3DTransform()
        transform.SetRotation(0.05, -0.08, 0.06)
        transform.SetTranslation((4.0, -3.0, 7.0))
        places = np.array([[10.0, -20.0, 30.0], [-60.0, 5.0, 90.0]])
        moved = np.array([transform.TransformPoint(place.tolist()) for place in places])
        np.testing.assert_allclose(inverted(transform, moved), places, atol=2e-3)

    def test_a_point_goes_back_through_tissue_that_is_stretched(self) -> None:
        stretched = sitk.ScaleTransform(3, (2.5, 0.5, 1.0))
        np.testing.assert_allclose(inverted(stretched, np.array([[25.0, 10.0, 5.0]])), [[10.0, 20.0, 5.0]], atol=5e-3)

    def test_a_transform_that_folds_is_refused(self) -> None:
        flipped = sitk.ScaleTransform(3, (-1.0, 1.0, 1.0))
        with pytest.raises(RuntimeError, match="cannot be inverted"):
            inverted(flipped, np.array([[10.0, 0.0, 0.0]]))

    def test_the_mr_is_laid_onto_the_ct_by_the_true_transform(self) -> None:
        """A bright voxel of the MR ends on the CT where the transform puts it."""
        ct = sitk.GetImageFromArray(np.full((20, 30, 40), -1000.0, dtype=np.float32))
        ct.SetOrigin((-50.0, -40.0, 700.0))
        ct.SetSpacing((2.0, 2.0, 2.5))
        signal = np.zeros((24, 26, 28), dtype=np.float32)
        signal[10, 12, 8] = 1000.0
        t1 = sitk.GetImageFromArray(signal)
        t1.SetSpacing((2.5, 2.5, 4.0))
        ct_from_mr = np.eye(4)
        ct_from_mr[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
        ct_from_mr[:3, 3] = [20.0, -30.0, 680.0]
        pair = laid_on(ct, t1, ct_from_mr)
        bright = np.unravel_index(int(sitk.GetArrayFromImage(pair.t1).argmax()), sitk.GetArrayFromImage(pair.t1).shape)
        found = pair.t1.TransformIndexToPhysicalPoint([int(n) for n in reversed(bright)])
        np.testing.assert_allclose(found, [20.0 - 30.0, -30.0 + 20.0, 680.0 + 40.0], atol=1.6)
        assert pair.ct.GetSpacing() == pair.t1.GetSpacing() == (3.0, 3.0, 3.0)
        assert sitk.GetArrayFromImage(pair.ct).min() == -300.0
