"""What flags have in common: one lesion is planned once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psdt_planner.dicom.flags import compared, shared_part
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side
from tests.dicom_in.objects import dwi_images, seg_object, segment, write

SHAPE = (5, 9, 7)


def flag(
    identity: str, voxels: Any, *, tracking: str = "", frame: str = "1.2.3", step_mm: float = 1.0
) -> FlaggedLesion:
    mask = np.zeros((8, 16, 12), dtype=np.float32)
    mask[voxels] = 1
    grid = Grid.regular([[0, 0, step_mm, 5], [0, 1.5, 0, -7], [3, 0, 0, 9], [0, 0, 0, 1]], mask.shape, frame)
    source = FlagSource("1.2", "1.3", 1)
    return FlaggedLesion(identity, "", "bone", "code", Side.LEFT, tracking, grid, mask, MaskKind.BINARY, source)


def block(k: slice, j: slice = slice(2, 6)) -> tuple[slice, slice, slice]:
    return k, j, slice(2, 6)


def told(findings: list[Finding]) -> list[tuple[str, Level, str]]:
    return [(one.code, one.level, one.lesion) for one in findings]


def test_one_tracking_uid_on_two_flags_holds_both() -> None:
    flags = [flag("L1", block(slice(1, 2)), tracking="1.9"), flag("L2", block(slice(5, 6)), tracking="1.9")]
    assert told(compared(flags)) == [("flag-duplicate", Level.HOLD, "L1"), ("flag-duplicate", Level.HOLD, "L2")]


def test_flags_without_a_tracking_uid_are_not_the_same() -> None:
    assert compared([flag("L1", block(slice(1, 2))), flag("L2", block(slice(5, 6)))]) == []


@pytest.mark.parametrize(
    ("other", "share"),
    [(block(slice(2, 4)), 1.0), (block(slice(3, 5)), 0.5), (block(slice(5, 7)), 0.0), (block(slice(1, 4)), 2 / 3)],
)
def test_what_two_flags_share_is_the_part_of_the_smaller(other: Any, share: float) -> None:
    one, two = flag("L1", block(slice(2, 4), slice(2, 8))), flag("L2", other)
    assert shared_part(one, two) == shared_part(two, one) == pytest.approx(share)
    expected = [("flag-overlap", Level.WARN, "L2")] if share > 0.5 else []
    assert told(compared([one, two])) == expected


def test_flags_on_two_lattices_meet_in_mm() -> None:
    fine = flag("L2", (slice(2, 4), slice(2, 6), slice(4, 12)), step_mm=0.5)
    assert shared_part(flag("L1", block(slice(2, 4))), fine) == pytest.approx(1.0, abs=0.15)


def test_flags_in_two_frames_never_meet() -> None:
    assert compared([flag("L1", block(slice(1, 3))), flag("L2", block(slice(1, 3)), frame="1.2.4")]) == []


def test_flags_of_two_objects_are_compared(tmp_path: Path) -> None:
    images = dwi_images()
    mask: NDArray[np.uint8] = np.zeros((*SHAPE, 1), dtype=np.uint8)
    mask[1:3, 3:5, 2:4] = 1
    first, second = (seg_object(images, mask, name=name) for name in ("seg", "again"))
    findings = read_inputs([write(tmp_path / "same", images, first, second)]).exam.findings
    assert [one.lesion for one in findings if one.code == "flag-duplicate"] == ["L1", "L2"]
    other = seg_object(images, mask, [segment(1, "x")], name="again")
    other.SegmentSequence[0].TrackingUID = "1.2.3.4"
    findings = read_inputs([write(tmp_path / "other", images, first, other)]).exam.findings
    assert [one.level for one in findings if one.code == "flag-overlap"] == [Level.WARN]
