"""Each complaint has a broken file, and a broken file has its complaints and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from psdt_planner.dicom.files import quiet
from psdt_planner.lint import CODES
from psdt_planner.lint.codes import FOR_DESTINATION
from tests.lint.broken import CASES, Case
from tests.lint.builder import codes, planning_ct, saved, sound, verdict_on, write

ELSEWHERE = {"file-unreadable", "file-truncated", "sequence-damaged", "uid-reused", "ct-geometry"}
"""What no change of a sound set shows: see test_files.py."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_broken_set_has_its_complaints_and_no_other(case: Case, tmp_path: Path) -> None:
    ct = planning_ct()
    ds = sound(ct)
    with quiet():
        case.break_it(ds, ct)
    path = saved(ds, tmp_path / "rtss.dcm")
    assert codes(verdict_on(path, write(tmp_path / "ct", ct))) == case.codes


def test_every_complaint_has_its_broken_file() -> None:
    assert {code for case in CASES for code in case.codes} == set(CODES) - set(FOR_DESTINATION) - ELSEWHERE


def test_there_are_more_than_thirty() -> None:
    assert len(CASES) >= 30
    assert len({case.name for case in CASES}) >= len(CASES) - 1
