"""Short forms of ``./run soak``: the same runners with fewer rounds, fewer objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.soak.crash import crash
from benchmarks.soak.disk import disk
from benchmarks.soak.load import load
from benchmarks.soak.rows import Row, as_text, must_be, told
from benchmarks.soak.service import POINTS
from tests.peers import require_peer


def check(rows: Sequence[Row]) -> dict[str, str]:
    """The figures by what they are; all of them must hold."""
    assert all(row.holds for row in rows), "\n" + as_text(rows)
    return {row.what.strip(): row.figure for row in rows}


@pytest.mark.slow
def test_killed_at_every_durable_step_and_at_any_moment(tmp_path: Path) -> None:
    figures = check(crash(tmp_path, rounds=12))
    assert {point: figures[f"killed: {point}"] for point in POINTS} == dict.fromkeys(POINTS, "1"), "each was reached"
    assert int(figures["outputs at the destination"]) >= 36


@pytest.mark.peer
@pytest.mark.slow
def test_twelve_senders_at_once(tmp_path: Path) -> None:
    require_peer("storescu")
    figures = check(load(tmp_path, patients=3, images=25, quiet_s=4.0))
    assert figures["objects there with their bytes"] == "303"
    assert figures["objects sent, resends among them"] == "333"


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    rows = disk(tmp_path)
    check(rows)
    assert any("A700 x" in row.figure for row in rows)


def test_a_figure_that_does_not_hold_is_shown_as_failed() -> None:
    rows = [must_be("crash", "cases", 11, 12), must_be("crash", "lost", 0, 0), told("crash", "seconds", 1.2345)]
    assert [row.holds for row in rows] == [False, True, True]
    assert as_text(rows).splitlines() == [
        "soak   what     figure  must be",
        "crash  cases    11      12       FAILED",
        "crash  lost     0       0",
        "crash  seconds  1.234",
    ]
