"""Rings by themselves: crossing beside a slow oracle, and figures that are told."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from psdt_planner.dicom.rtstruct_file import RingInFile, RoiInFile, StructureSetFile, read_structure_set_file
from psdt_planner.lint.codes import Complaint
from psdt_planner.lint.is_it_right import gaps, is_it_right
from psdt_planner.lint.planes import lay
from tests.lint.builder import CT_FRAME, Ring, contour, disc, in_slice, planning_ct, rings_of, saved, sound

CROSSING = {"ring-crosses-itself", "ring-crosses-slightly"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> StructureSetFile:
    ct = planning_ct()
    return read_structure_set_file(saved(sound(ct), tmp_path_factory.mktemp("template") / "rtss.dcm"))


def roi_of(*rings: Ring, kind: str = "CLOSED_PLANAR") -> RoiInFile:
    made = tuple(
        RingInFile(n, kind, np.asarray(ring), len(ring), ring.size, 99, False, 0, 0, 0, "", ("1.2.3",))
        for n, ring in enumerate(rings, start=1)
    )
    return RoiInFile(1, "GTV1", CT_FRAME, ("GTV",), made, 1, False)


def complaints(template: StructureSetFile, roi: RoiInFile) -> list[Complaint]:
    file = replace(template, rois=(roi,))
    laid = lay(file, None)
    return [*is_it_right(file, laid), *gaps(roi, laid, None)]


def codes_of(template: StructureSetFile, *rings: Ring) -> set[str]:
    return {one.code for one in complaints(template, roi_of(*rings))} - {"roi-one-slice"}


def crosses(uv: np.ndarray) -> bool:
    """The slow oracle: two edges that are no neighbours cross where each has the ends of the other on both sides."""

    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        return float(np.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])))

    edges = list(zip(uv, np.roll(uv, -1, axis=0), strict=True))
    return any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in combinations(edges, 2)
    )


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), count=st.integers(3, 9))
def test_a_ring_crosses_itself_where_two_of_its_edges_cross(template: StructureSetFile, seed: int, count: int) -> None:
    uv = np.random.default_rng(seed).uniform(-15, 15, (count, 2))
    found = codes_of(template, in_slice(2, uv)) & (CROSSING | {"ring-touches-itself"})
    assert bool(found) == crosses(uv)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), start=st.integers(0, 5), backwards=st.booleans())
def test_where_a_ring_begins_and_how_it_turns_changes_nothing(
    template: StructureSetFile, seed: int, start: int, backwards: bool
) -> None:
    ring = in_slice(2, np.random.default_rng(seed).uniform(-15, 15, (6, 2)))
    other = np.roll(ring[::-1] if backwards else ring, start, axis=0)
    assert codes_of(template, ring) == codes_of(template, other)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    angle=st.floats(0, 2 * np.pi),
    place=st.tuples(*[st.floats(-500, 500, allow_nan=False)] * 3),
)
def test_an_oblique_plane_is_a_plane(
    template: StructureSetFile, seed: int, angle: float, place: tuple[float, float, float]
) -> None:
    """Without images, the plane is that of the largest ring, whichever way it lies."""
    axis = np.random.default_rng(seed).normal(size=3)
    axis /= np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    rings = [np.round(disc(k, 6.0) @ turn.T + np.array(place), 3) for k in (2, 3)]
    assert codes_of(template, *rings) == set()


@pytest.mark.parametrize(("mm", "expected"), [(0.09, set()), (0.11, {"ring-not-planar"})])
def test_planar_is_within_a_tenth_of_a_millimetre(template: StructureSetFile, mm: float, expected: set[str]) -> None:
    ring = disc(2, 6.0)
    ring[3, 2] += mm
    assert codes_of(template, ring) == expected


@pytest.mark.parametrize(
    ("side_mm", "expected"), [(1.01, set()), (0.99, {"ring-speck"}), (0.011, {"ring-speck"}), (0.0, {"ring-no-area"})]
)
def test_areas(template: StructureSetFile, side_mm: float, expected: set[str]) -> None:
    square = in_slice(2, np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * side_mm)
    assert codes_of(template, square) - {"points-repeated", "ring-closed-twice"} == expected


@pytest.mark.parametrize(
    ("radius", "centre", "expected"),
    [
        (2.0, (0.0, 0.0), {"ring-nested"}),
        (6.0, (0.0, 0.0), {"ring-duplicate"}),
        (5.999, (0.0, 0.0), {"ring-duplicate"}),
        (2.0, (7.0, 0.0), {"rings-overlap"}),
        (2.0, (8.5, 0.0), set()),
    ],
)
def test_two_rings_of_a_slice(
    template: StructureSetFile, radius: float, centre: tuple[float, float], expected: set[str]
) -> None:
    assert codes_of(template, disc(2, 6.0), disc(2, radius, centre)) == expected
    assert codes_of(template, disc(2, 6.0), disc(3, radius, centre)) == set(), "on two slices, nothing"


def test_xor_rings_may_be_nested_and_not_the_same_twice(template: StructureSetFile) -> None:
    nested = roi_of(disc(2, 6.0), disc(2, 2.0), kind="CLOSEDPLANAR_XOR")
    assert {one.code for one in complaints(template, nested)} == {"roi-one-slice"}
    twice = roi_of(disc(2, 6.0), disc(2, 6.0), kind="CLOSEDPLANAR_XOR")
    assert {one.code for one in complaints(template, twice)} == {"roi-one-slice", "ring-duplicate"}


def test_open_contours_and_points_have_no_inside(template: StructureSetFile) -> None:
    eight = in_slice(2, [(0, 0), (6, 5), (6, 0), (0, 5)])
    for kind in ("OPEN_PLANAR", "OPEN_NONPLANAR"):
        assert complaints(template, roi_of(eight, kind=kind)) == []
    assert complaints(template, roi_of(eight[:1], kind="POINT")) == []


def test_one_complaint_a_kind_with_its_count_and_first_ring(template: StructureSetFile) -> None:
    roi = roi_of(disc(1, 6.0), disc(2, 0.3), disc(3, 0.3), disc(4, 6.0))
    (speck,) = complaints(template, roi)
    assert (speck.code, speck.roi, speck.ring, speck.count) == ("ring-speck", "1 GTV1", 2, 2)
    assert speck.message == "ring 2 encloses less than 1 mm²; and 1 more rings"


def test_the_figure_of_a_crossing_is_the_area_that_readers_differ_by(template: StructureSetFile) -> None:
    """A square of 10 by 10 with a corner turned over: the triangle counts once or not at all, by turns minus once."""
    square = in_slice(2, [(0, 0), (10, 0), (10, 10), (8, 12), (12, 8), (0, 10)])
    (found,) = [one for one in complaints(template, roi_of(square)) if one.code in CROSSING]
    uv = np.array([(0, 0), (10, 0), (10, 10), (8, 12), (12, 8), (0, 10)], dtype=float)
    by_turns = abs(np.sum(uv[:, 0] * np.roll(uv[:, 1], -1) - uv[:, 1] * np.roll(uv[:, 0], -1))) / 2
    grid = (np.stack(np.meshgrid(np.arange(1300), np.arange(1300)), axis=-1).reshape(-1, 2) + 0.5) / 100
    inside = np.zeros(len(grid), dtype=bool)
    for (x0, y0), (x1, y1) in zip(uv, np.roll(uv, -1, axis=0), strict=True):
        if y0 != y1:
            beside = (y0 > grid[:, 1]) != (y1 > grid[:, 1])
            inside ^= beside & (grid[:, 0] < (x1 - x0) * (grid[:, 1] - y0) / (y1 - y0) + x0)
    told = float(found.message.split("up to ")[1].split(" mm")[0])
    assert told == pytest.approx(abs(inside.sum() / 1e4 - by_turns), abs=0.11)


@pytest.mark.parametrize(
    ("slices", "missing"),
    [((0, 1, 2, 3), 0), ((0, 1, 3, 4), 1), ((0, 1, 5, 6, 7), 3), ((0, 2, 4, 6), 0), ((0, 1, 3, 4, 6, 7), 2)],
)
def test_gaps_by_the_usual_step(template: StructureSetFile, slices: tuple[int, ...], missing: int) -> None:
    found = [one for one in complaints(template, roi_of(*[disc(k, 6.0) for k in slices])) if one.code == "roi-gap"]
    assert sum(one.count for one in found) == missing


def test_rings_that_cannot_be_laid_out_are_left_to_the_other_complaints(template: StructureSetFile) -> None:
    assert complaints(template, roi_of()) == []
    found = complaints(template, roi_of(disc(2, 6.0)[:2]))
    assert [one.code for one in found] == ["ring-too-few-points"]


def test_the_template_is_what_the_other_tests_break(template: StructureSetFile) -> None:
    ct = planning_ct()
    assert len(rings_of(sound(ct))) == len(template.rois[1].rings) == 3
    assert contour(disc(2, 4.0), ct[2]).NumberOfContourPoints == 24
    assert Path(template.name).suffix == ".dcm"
