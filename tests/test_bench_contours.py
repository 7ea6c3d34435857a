"""The side-by-side of mask to RTSTRUCT: its bars, its workload and a small run of both methods."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from benchmarks import __main__ as bench
from benchmarks.contours import BODY_FROM, LINT_S, RATIO, named, rows, text
from benchmarks.contours_methods import (
    OURS,
    PEER,
    Region,
    Run,
    grid,
    large_structure_set,
    regions,
    run_apart,
    write_ct,
)
from benchmarks.rows import Row, as_json


def run(cpu_s: float, wall_s: float = 1.0, added_mb: float = 100.0) -> Run:
    return Run(cpu_s, wall_s, added_mb, 2.0)


class TestRows:
    def test_medians_of_ours_stand_beside_those_of_the_peer(self) -> None:
        ours, peer = [run(0.3, 0.5, 9.0), run(9.0, 9.0, 7.0), run(0.1, 0.4, 8.0)], [run(2.0), run(3.0), run(1.0)]
        found = list(rows({10: {OURS: ours, PEER: peer}}))
        assert [(row.unit, row.ours, row.peer) for row in found] == [
            ("CPU s", 0.3, 2.0), ("s", 0.5, 1.0), ("MB", 8.0, 100.0),
        ]  # fmt: skip
        assert {(row.work, row.peer_name, row.bar) for row in found} == {("10 regions, body among them", PEER, RATIO)}
        assert [row.unit for row in found if row.missed] == ["s"]

    def test_a_fifth_is_met_and_more_is_missed(self) -> None:
        assert not Row("", 0.2, 1.0, PEER, "s", RATIO).missed
        assert Row("", 0.21, 1.0, PEER, "s", RATIO).missed
        assert set(as_json([Row("", 0.2, 1.0, PEER, "s", RATIO)])[0]) == {
            "work", "ours", "peer", "peer_name", "unit", "bar", "ratio",
        }  # fmt: skip

    def test_the_body_is_among_ten_and_forty(self) -> None:
        assert [named(count) for count in (1, 10, 40)] == [
            "1 region", "10 regions, body among them", "40 regions, body among them",
        ]  # fmt: skip
        runs = {1: {OURS: [run(1.0)], PEER: [Run(1.0, 1.0, 1.0, 3.0)]}}
        assert text(runs) == "1 region: file of 2.0 MB; 3.0 MB (rt-utils 1.2.7)"


class TestWorkload:
    def test_regions_are_the_same_again_and_the_body_comes_first(self) -> None:
        assert list(regions(10, 60, BODY_FROM)) == list(regions(10, 60, BODY_FROM))
        ten = list(regions(10, 60, BODY_FROM))
        assert (len(ten), len(list(regions(1, 60, BODY_FROM)))) == (10, 1)
        mask = np.zeros((60, 512, 512), dtype=bool)
        ten[0].paint(mask)
        assert mask.any(axis=(1, 2)).all()
        assert mask.mean() > 0.2

    @pytest.mark.parametrize("number", range(10))
    def test_every_region_lies_in_the_images(self, number: int) -> None:
        mask = np.ones((60, 512, 512), dtype=bool)
        list(regions(10, 60, BODY_FROM))[number].paint(mask)
        assert mask.sum() > 1000
        assert not mask[:, [0, -1]].any()
        assert not mask[:, :, [0, -1]].any()

    def test_painting_is_the_formula(self) -> None:
        region = Region((4.0, 100.0, 200.0), (4.5, 30.0, 20.0), 5.0, (0.1, 0.05))
        mask = np.zeros((9, 256, 300), dtype=bool)
        region.paint(mask)
        j, i = np.ogrid[:256, :300]
        for k in range(9):
            turn = 2 * np.pi * k / 100
            up, across = (j - 100 - 5 * np.sin(turn)) / 30, (i - 200 - 5 * np.cos(turn)) / 20
            angle = np.arctan2(up, across)
            edge = 1 + 0.1 * np.cos(3 * angle + turn) + 0.05 * np.cos(7 * angle - 2 * turn)
            assert (mask[k] == (np.hypot(up, across) <= edge * np.sqrt(1 - ((k - 4) / 4.5) ** 2))).all()

    def test_the_ct_is_what_its_grid_says(self, tmp_path: Path) -> None:
        write_ct(tmp_path / "ct", 3)
        images = sorted((dcmread(path) for path in (tmp_path / "ct").iterdir()), key=lambda ds: ds.InstanceNumber)
        assert [image.pixel_array.shape for image in images] == [(512, 512)] * 3
        for image, origin in zip(images, grid(3).slice_origins_mm, strict=True):
            assert np.array(image.ImagePositionPatient, dtype=float) == pytest.approx(origin)

    def test_a_large_structure_set_has_the_points_it_says(self, tmp_path: Path) -> None:
        data, points = large_structure_set(1000, 9)
        (tmp_path / "large.dcm").write_bytes(data)
        (item,) = dcmread(tmp_path / "large.dcm").ROIContourSequence
        assert [int(ring.NumberOfContourPoints) for ring in item.ContourSequence] == [111] * 9
        assert points == 999


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux' /proc")
def test_both_write_the_same_regions_and_rt_utils_takes_more_memory(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct", 24)
    found = {}
    for method in (OURS, PEER):
        out = tmp_path / f"{method}.dcm"
        found[method] = run_apart(method, tmp_path / "ct", out, 2, 2)
        structure_set = dcmread(out)
        assert len(structure_set.ROIContourSequence) == 2
        assert len(structure_set.ROIContourSequence[0].ContourSequence) == 24, "the body is on every slice"
        assert found[method].cpu_s > 0.0
        assert found[method].file_mb == pytest.approx(out.stat().st_size / 1e6)
    assert 0.0 < found[OURS].added_mb < found[PEER].added_mb
    assert found[PEER].added_mb > 24 * 0.5, "it holds the pixels of every slice"


def test_a_method_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    with pytest.raises(RuntimeError, match=r"(?s)rt-utils 1\.2\.7, 1 regions: .*No DICOM Images"):
        run_apart(PEER, tmp_path / "ct", tmp_path / "out.dcm", 1, 10)


def test_the_command_knows_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "contours", "--help"], capture_output=True, text=True, check=True
    )
    assert "--repeats" in done.stdout
    late = Row("lint", 3.0, LINT_S, "the bar", "s", 1.0)
    monkeypatch.setattr(bench, "bench_contours", lambda _chosen: bench.Outcome((late,)))
    monkeypatch.setattr(sys, "argv", ["bench", "contours", "--json"])
    assert bench.main() == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["ratio"], row["bar"]) == (1.5, 1.0)
