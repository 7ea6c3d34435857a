"""A destination's own rules stand in place of what holds for most."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from pydicom import FileDataset

from psdt_planner.destination import parse_destination
from psdt_planner.dicom.image_planes import find
from psdt_planner.dicom.rtstruct_file import read_structure_set_file
from psdt_planner.lint import lint
from psdt_planner.lint.codes import FOR_DESTINATION
from psdt_planner.lint.destined import DECIDED
from tests.lint.builder import contour, disc, planning_ct, rings_of, saved, sound, write

RULES = dedent("""
    schema = 1
    title = "A destination"
    [holes]
    rule = "{holes}"
    source = "site test"
    [names]
    max_length = {length}
    characters = "_"
    source = "site test"
    [rings]
    max_points = 50
    max_bytes = 2000
    source = "site test"
    [character_set]
    rule = "{characters}"
    source = "site test"
    [registration]
    send = false
    source = "site test"
    [report]
    send = false
    source = "site test"
    [external]
    handling = "none"
    source = "site test"
""")


FEW = """
[rois]
max_count = {}
source = "site test"
"""


def codes_at(tmp_path: Path, ds: FileDataset, ct: list[FileDataset], most: int = 0, **rules: object) -> set[str]:
    text = RULES.format(**{"holes": "filled", "length": 12, "characters": "keep", **rules})
    text += FEW.format(most) if most else ""
    tmp_path.mkdir(exist_ok=True)
    path = saved(ds, tmp_path / "rtss.dcm")
    found = find([write(tmp_path / "ct", ct)])
    (verdict,) = lint([read_structure_set_file(path)], found.series, parse_destination(text, "here"))
    return {one.code for one in verdict.complaints}


def small_body(ct: list[FileDataset]) -> FileDataset:
    """The sound set with rings of 24 points throughout."""
    ds = sound(ct)
    ds.ROIContourSequence[0].ContourSequence = [contour(disc(k, 17.0), ct[k]) for k in range(8)]
    return ds


def test_what_it_takes_has_no_complaint(tmp_path: Path) -> None:
    ct = planning_ct()
    assert codes_at(tmp_path, small_body(ct), ct) == set()


def test_a_name_is_held_against_its_length_and_letters(tmp_path: Path) -> None:
    ct = planning_ct()
    ds = small_body(ct)
    ds.StructureSetROISequence[1].ROIName = "GTV of thirteen"
    assert codes_at(tmp_path, ds, ct) == {"destination-name-long", "destination-name-letters", "target-name-other"}


@pytest.mark.parametrize(("length", "expected"), [(24, {"destination-name-long"}), (25, set())])
def test_its_length_stands_in_place_of_sixteen(tmp_path: Path, length: int, expected: set[str]) -> None:
    ct = planning_ct()
    ds = small_body(ct)
    ds.StructureSetROISequence[1].ROIName = "PTV_LN_Iliac_Ext_L_1000x3"
    assert codes_at(tmp_path, ds, ct, length=length) == expected


@pytest.mark.parametrize(("points", "expected"), [(50, set()), (51, {"destination-ring-long"})])
def test_a_ring_is_held_against_its_points(tmp_path: Path, points: int, expected: set[str]) -> None:
    ct = planning_ct()
    ds = small_body(ct)
    ds.ROIContourSequence[1].ContourSequence[0] = contour(disc(2, 4.0, (3.0, -2.0), points), ct[2])
    assert codes_at(tmp_path, ds, ct) == expected


@pytest.mark.parametrize(("most", "expected"), [(2, {"roi-count-many"}), (3, set())])
def test_the_number_of_rois_is_held_against_its_own(tmp_path: Path, most: int, expected: set[str]) -> None:
    ct = planning_ct()
    ds = small_body(ct)
    assert len(ds.StructureSetROISequence) == 3
    assert codes_at(tmp_path, ds, ct, most=most) == expected


@pytest.mark.parametrize(("holes", "expected"), [("xor", set()), ("keyhole", {"destination-xor"})])
def test_xor_is_right_where_the_destination_asks_for_it(tmp_path: Path, holes: str, expected: set[str]) -> None:
    ct = planning_ct()
    ds = small_body(ct)
    ds.ROIContourSequence[1].ContourSequence.append(contour(disc(2, 1.5, (3.0, -2.0)), ct[2]))
    for ring in rings_of(ds):
        ring.ContourGeometricType = "CLOSEDPLANAR_XOR"
    assert codes_at(tmp_path, ds, ct, holes=holes) == expected


@pytest.mark.parametrize(
    ("characters", "expected"),
    [("keep", set()), ("ISO_IR 192", set()), ("ISO_IR 100", {"destination-character-set"})],
)
def test_its_character_set_counts_where_a_text_needs_one(tmp_path: Path, characters: str, expected: set[str]) -> None:
    ct = planning_ct()
    ds = small_body(ct)
    assert codes_at(tmp_path / "plain", ds, ct, characters=characters) == set()
    ds.StructureSetROISequence[1].ROIName = "<a in UTF-8>"
    assert codes_at(tmp_path / "wide", ds, ct, characters=characters) - expected == {
        "roi-name-not-ascii",
        "destination-name-letters",
    }


def test_what_it_decides_is_named_and_every_rule_is_tested_here() -> None:
    assert {"roi-name-long", "roi-names-collide", "ring-many-points", "contour-xor"} == DECIDED
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{code}"' in text for code in FOR_DESTINATION)
