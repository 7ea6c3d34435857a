"""What flags have in common: one lesion is planned once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psdt_planner.dicom.flags import ImageIndex, at_edge, compared, shared_part, together
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint, FlagSource, MaskKind, Side, covering, todo
from tests.dicom_in.objects import dwi_images, seg_object, segment, write

SHAPE = (5, 9, 7)


def flag(
    identity: str,
    voxels: Any,
    *,
    tracking: str = "",
    frame: str = "1.2.3",
    step_mm: float = 1.0,
    site: str = "bone",
    side: Side = Side.LEFT,
) -> FlaggedLesion:
    mask = np.zeros((8, 16, 12), dtype=np.float32)
    mask[voxels] = 1
    grid = Grid.regular([[0, 0, step_mm, 5], [0, 1.5, 0, -7], [3, 0, 0, 9], [0, 0, 0, 1]], mask.shape, frame)
    source = FlagSource("1.2", "1.3", 1)
    return FlaggedLesion(identity, "", site, "code", side, tracking, grid, mask, MaskKind.BINARY, source)


def block(k: slice, j: slice = slice(2, 6)) -> tuple[slice, slice, slice]:
    return k, j, slice(2, 6)


def seen(*volumes: tuple[int, int], frame: str = "1.2.3", kind: Kind = Kind.DWI) -> ImageIndex:
    """Images on the lattice of `flag`, a series for each range of slices."""
    whole = flag("L0", block(slice(1, 2))).grid
    grids = {
        f"1.7.{n}": (Grid(whole.slice_origins_mm[a:b], whole.step_j_mm, whole.step_i_mm, (b - a, 16, 12), frame),)
        for n, (a, b) in enumerate(volumes)
    }
    return ImageIndex(kinds=dict.fromkeys(grids, kind), grids=grids)


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


# points within flags --------------------------------------------------------------------------------------------------


def point(
    identity: str,
    kji: tuple[float, float, float],
    *,
    site: str = "unknown",
    side: Side = Side.UNKNOWN,
    tracking: str = "",
    frame: str = "1.2.3",
) -> FlaggedPoint:
    """At an index of the flags' grid."""
    x, y, z = (float(mm) for mm in flag("L0", block(slice(1, 2))).grid.mm_from_index(kji))
    return FlaggedPoint(identity, "", site, "label", side, tracking, (x, y, z), frame, FlagSource("", "1.4", 2))


INSIDE, OUTSIDE = (2.4, 3.0, 3.0), (6.0, 3.0, 3.0)


def bare(**said: Any) -> FlaggedLesion:
    return flag("L1", block(slice(2, 4)), **{"site": "unknown", "side": Side.UNKNOWN, **said})


def codes(findings: list[Finding]) -> set[str]:
    return {one.code for one in findings}


def test_a_point_within_a_flag_that_names_no_site_or_side_lends_its_own() -> None:
    (made,), findings = together([bare()], [point("L2", INSIDE, site="spine", side=Side.RIGHT)])
    assert (made.site, made.site_source, made.side, made.side_source) == ("spine", "point", Side.RIGHT, "point")
    assert told(findings) == [
        ("flag-point-covered", Level.INFO, "L1"),
        ("lesion-site-from-point", Level.INFO, "L1"),
    ]
    assert "L2" in findings[1].message


def test_points_lend_what_one_of_them_knows() -> None:
    points = [point("L2", INSIDE), point("L3", INSIDE, site="spine"), point("L4", INSIDE, side=Side.LEFT)]
    (made,), findings = together([bare()], points)
    assert (made.site, made.side) == ("spine", Side.LEFT)
    assert "lesion-points-differ" not in codes(findings)


@pytest.mark.parametrize(
    ("own", "lent", "words"),
    [
        ("unknown", ("spine", "bone"), "(bone, spine); none is taken"),
        ("prostate", ("bone",), "(bone); prostate is kept"),
        ("bone", ("bone", "spine"), "(bone, spine); bone is kept"),
    ],
)
def test_points_that_name_another_site_are_said_and_change_nothing(own: str, lent: tuple[str, ...], words: str) -> None:
    points = [point(f"L{n}", INSIDE, site=site) for n, site in enumerate(lent, start=2)]
    (made,), findings = together([bare(site=own)], points)
    (found,) = [one for one in findings if one.code == "lesion-points-differ"]
    assert (made.site, found.level, found.lesion) == (own, Level.WARN, "L1")
    assert words in found.message
    assert ("lesion-site-unknown" in codes(findings)) is (own == "unknown")


def test_points_on_two_sides_give_none() -> None:
    points = [point("L2", INSIDE, side=Side.LEFT), point("L3", INSIDE, side=Side.RIGHT)]
    (made,), findings = together([bare(site="bone")], points)
    assert (made.side, made.side_source) == (Side.UNKNOWN, "")
    (found,) = [one for one in findings if one.code == "lesion-points-differ"]
    assert "another side (left, right); none is taken" in found.message


def test_a_side_that_points_contradict_is_kept() -> None:
    (made,), findings = together([bare(site="bone", side=Side.LEFT)], [point("L2", INSIDE, side=Side.RIGHT)])
    assert (made.side, made.side_source) == (Side.LEFT, "")
    assert "another side (right); left is kept" in findings[-1].message


@pytest.mark.parametrize(
    "outside",
    [point("L2", OUTSIDE, site="spine"), point("L2", INSIDE, site="spine", frame="1.2.4"), point("L2", (90, 0, 0))],
    ids=["beside it", "in another frame", "beyond its grid"],
)
def test_a_point_that_lies_elsewhere_lends_nothing_and_holds(outside: FlaggedPoint) -> None:
    (made,), findings = together([bare()], [outside])
    assert made.site == "unknown"
    assert covering(outside, [made]) is None
    held = [one.lesion for one in findings if one.level is Level.HOLD]
    assert held == ["L2"]
    assert [one.lesion for one in findings if one.code == "lesion-site-unknown"] == ["L1", "L2"][
        : 1 + (outside.site == "unknown")
    ]
    assert "psdt candidates" in todo(outside, [made])


def test_a_tracking_uid_joins_a_point_with_its_flag_wherever_it_lies() -> None:
    (made,), findings = together([bare(tracking="1.9")], [point("L2", OUTSIDE, site="bone", tracking="1.9")])
    assert made.site == "bone"
    assert "flag-point" not in codes(findings)
    assert todo(point("L2", OUTSIDE, tracking="1.9"), [made]) == "nothing: L1 stands for it"


def test_a_table_beside_a_seg_lends_its_sites(tmp_path: Path) -> None:
    images = dwi_images()
    mask: NDArray[np.uint8] = np.zeros((*SHAPE, 1), dtype=np.uint8)
    mask[1:3, 3:5, 2:4] = 1
    folder = write(tmp_path, images, seg_object(images, mask, [segment(1, "x")]))
    row = f"third vertebra,{images[1].SOPInstanceUID},3,3,spine,midline\n"
    (folder / "points.csv").write_text(f"label,image_uid,column,row,site,side\n{row}")
    exam = read_inputs([folder]).exam
    (made,), (marked,) = exam.flags, exam.points
    assert (made.site, made.site_source, made.side, made.side_source) == ("spine", "point", Side.MIDLINE, "point")
    assert covering(marked, exam.flags) is made
    assert not codes(list(exam.findings)) & {"flag-point", "lesion-site-unknown"}


# the end of the MR ---------------------------------------------------------------------------------------------------


def test_a_flag_on_the_last_slice_may_go_on_where_nobody_looked() -> None:
    (finding,) = at_edge([flag("L1", block(slice(3, 5)))], seen((0, 5)))
    assert (finding.code, finding.level, finding.lesion) == ("flag-at-mr-edge", Level.WARN, "L1")
    # 4 x 4 voxels on 2 slices have 16 neighbours at either end, and 16 beside each slice.
    assert finding.value == pytest.approx(16 / 64)
    assert "L1 reaches the edge of the MR" in finding.message


@pytest.mark.parametrize(
    ("voxels", "beyond"),
    [
        (block(slice(0, 2)), True),
        (block(slice(1, 7)), False),
        (block(slice(1, 8)), True),
        (block(slice(2, 3), slice(0, 3)), True),
        (block(slice(2, 3), slice(1, 15)), False),
        (block(slice(2, 3), slice(12, 16)), True),
        ((slice(2, 3), slice(2, 4), slice(0, 2)), True),
        ((slice(2, 3), slice(2, 4), slice(10, 12)), True),
    ],
)
def test_every_side_of_the_images_is_an_edge(voxels: Any, beyond: bool) -> None:
    assert bool(at_edge([flag("L1", voxels)], seen((0, 8)))) is beyond


def test_another_mr_of_the_frame_may_show_what_lies_beyond() -> None:
    """Stations overlap or follow each other, and T1 often reaches farther than DWI."""
    lesion = flag("L1", block(slice(3, 5)))
    assert at_edge([lesion], seen((0, 5), (5, 8))) == []
    assert at_edge([lesion], seen((0, 5), (6, 8))) != []


def test_only_mr_of_the_flags_frame_tells() -> None:
    lesion = flag("L1", block(slice(3, 5)))
    ct = seen((0, 8), kind=Kind.PLANNING_CT)
    both = ImageIndex(kinds={**ct.kinds, "1.8": Kind.DWI}, grids={**ct.grids, "1.8": seen((0, 5)).grids["1.7.0"]})
    assert told(at_edge([lesion], both)) == [("flag-at-mr-edge", Level.WARN, "L1")]
    assert at_edge([lesion], seen((0, 5), frame="1.2.4")) == []
    assert at_edge([lesion], ct) == []


def test_a_flag_at_the_edge_is_said_of_what_came_in(tmp_path: Path) -> None:
    images = dwi_images()
    for first, said in ((0, True), (1, False)):
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[first : first + 2, 3:6, 2:5] = 1
        folder = tmp_path / str(first)
        write(folder, images, seg_object(images, mask, [segment(1, "Lesion left ilium")]))
        codes = [finding.code for finding in read_inputs([folder]).exam.findings]
        assert ("flag-at-mr-edge" in codes) is said
