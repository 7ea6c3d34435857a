"""The criteria of an exam's acquisition: the shipped file, and what a wrong one is refused for."""

from __future__ import annotations

from pathlib import Path

import pytest

import psdt_planner
from psdt_planner.criteria.acquisition import parse_acquisition
from psdt_planner.dicom.assembly import acquisition_criteria
from psdt_planner.errors import ProtocolError

TEXT = (Path(psdt_planner.__file__).parent / "criteria" / "wbdwi.toml").read_text(encoding="utf-8")


def test_the_shipped_criteria_are_those_of_the_consensus() -> None:
    found = acquisition_criteria()
    assert (found.b_values.low_s_per_mm2, found.b_values.high_s_per_mm2) == ((50, 100), (800, 1000))
    assert (found.slices.least_mm, found.slices.most_mm, found.echo_time.below_ms) == (5, 7, 95)
    assert (found.inversion.field_t, found.inversion.between_ms) == (1.5, (160, 180))
    assert all(row.source and row.place for row in (found.b_values, found.slices, found.pixels, found.adc_histogram))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("schema = 1", "schema = 2", "schema must be 1"),
        ("below_ms = 95.0", "below = 95.0", "unknown key below; the nearest known key is below_ms"),
        ("high_s_per_mm2 = [800.0, 1000.0]", "high_s_per_mm2 = [1000.0, 800.0]", "a range from 1000 to 800"),
        ('title = "Whole', 'sha256 = "0000"\ntitle = "Whole', "sha256 comes from the file"),
        ("edges_mm2_per_s = [0.0, 0.0004", "edges_mm2_per_s = [0.1, 0.0004", "edges that do not ascend"),
        ("[averages]", "[averages", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(old: str, new: str, told: str) -> None:
    assert old in TEXT
    with pytest.raises(ProtocolError, match=told):
        parse_acquisition(TEXT.replace(old, new, 1), "mine")


def test_a_row_without_a_source_is_refused() -> None:
    lines = [line for line in TEXT.splitlines() if not (line.startswith("source") and "JMRI" in line)]
    with pytest.raises(ProtocolError, match="adc_histogram"):
        parse_acquisition("\n".join(lines), "mine")
