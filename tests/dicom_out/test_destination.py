"""Destinations: small files of rules with sources, and a page that says the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from psdt_planner.destination import SITE_TEST, Destination, parse_destination
from psdt_planner.dossier import load_destination, shipped_destinations
from psdt_planner.errors import ConfigurationError
from psdt_planner.shapes import Contour, HoleRule
from tests.dicom_out.scene import CT, circle, renamed, structure_set

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "psdt_planner" / "destinations"
TEXT = (FOLDER / "generic.toml").read_text(encoding="utf-8")
SENT = ("registration", "report", "beamless_plan", "physician_intent")
RULES = ("holes", "names", "rings", "character_set", *SENT, "external")


def test_every_planning_system_of_the_plan_has_a_file() -> None:
    assert shipped_destinations() == ("eclipse", "elements", "generic", "mim", "monaco", "raystation")


@pytest.mark.parametrize("name", shipped_destinations())
def test_every_rule_of_every_destination_has_a_source(name: str) -> None:
    destination = load_destination(name)
    assert destination.name == name
    for rule in RULES:
        source = getattr(destination, rule).source
        assert source == SITE_TEST or len(source) > 12, (name, rule)
    assert destination.names.max_length <= 16
    assert destination.rings.max_points <= 2000
    assert "psdt writes no EXTERNAL" in destination.external.handling


def test_xor_is_for_those_who_ask_for_it() -> None:
    rules = {name: load_destination(name).holes.rule for name in shipped_destinations()}
    assert rules["generic"] is HoleRule.KEYHOLE
    assert [name for name, rule in rules.items() if rule is HoleRule.XOR] == ["mim"]


def test_objects_that_look_like_a_prescription_are_off_everywhere_and_in_a_file_that_does_not_know_them() -> None:
    for name in shipped_destinations():
        destination = load_destination(name)
        assert not destination.sends_plan
        assert not destination.sends_intent
    older = re.sub(r"\[(beamless_plan|physician_intent)\][^\[]*", "", TEXT)
    destination = parse_destination(older, "ours")
    assert (destination.beamless_plan, destination.sends_plan, destination.sends_intent) == (None, False, False)
    asked = parse_destination(older + '[beamless_plan]\nsend = true\nsource = "site test"\n', "ours")
    assert (asked.sends_plan, asked.sends_intent) == (True, False)


def test_a_file_of_the_sites_own_is_read_and_its_hash_is_that_of_its_text(tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    file.write_text(TEXT.replace('title = "', 'title = "Ours: '), encoding="utf-8")
    destination = load_destination(str(file))
    assert (destination.name, destination.title[:4]) == ("ours", "Ours")
    assert destination.sha256 != load_destination("generic").sha256


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schema = 1", "schema = 2", "schema must be 1"),
        ("schema = 1", "schema = ", "not TOML"),
        ("[holes]", "[hole]", "unknown key hole; the nearest known key is holes"),
        (
            "max_points = 2000",
            "max_point = 2000",
            "rings.max_point: unknown key max_point; the nearest known key is max",
        ),
        ('rule = "keyhole"', 'rule = "nested"', "line 11, holes.rule: Input should be 'filled', 'keyhole' or 'xor'"),
        ('rule = "keep"', 'rule = "UTF-8"', "character_set.rule: Input should be 'keep'"),
        ("max_length = 16", "max_length = 65", "names.max_length: Input should be less than or equal to 64"),
        ("max_bytes = 65534", "max_bytes = 65536", "rings.max_bytes: Input should be less than or equal to 65534"),
        ("send = true", 'send = "yes"', "registration.send: Input should be a valid boolean"),
        ('source = "AAPM report 263 (2018), rule 1"\n', "", "names.source: Field required"),
        ('source = "AAPM report 263 (2018), rule 1"\n', 'source = ""\n', "names.source: String should have at least 3"),
        ("schema = 1", 'schema = 1\nname = "x"', "name: comes from the file, not from a key"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_field(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigurationError, match=re.escape(words)) as raised:
        parse_destination(TEXT.replace(old, new, 1), "ours")
    assert raised.value.where == "destination ours"


def test_every_defect_is_named_not_only_the_first() -> None:
    with pytest.raises(ConfigurationError, match=r"names\.max_length.*rings\.max_points"):
        parse_destination(TEXT.replace("max_length = 16", "max_length = 0").replace("2000", "1"), "ours")


def test_an_unknown_name_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="no destination is called 'Eclips'; the nearest is 'eclipse'"
    ) as raised:
        load_destination("Eclips")
    assert "raystation" in raised.value.todo
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_destination(str(tmp_path / "absent.toml"))


# what a destination refuses ------------------------------------------------------------------------------------------


def with_rules(**changes: object) -> Destination:
    """The generic destination with values of its rules changed, as ``names__max_length=6``."""
    destination = load_destination("generic")
    for key, value in changes.items():
        rule, field = key.split("__")
        changed = getattr(destination, rule).model_copy(update={field: value})
        destination = destination.model_copy(update={rule: changed})
    return destination


def test_what_a_destination_takes_passes() -> None:
    for name in shipped_destinations():
        load_destination(name).check(structure_set())


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"names__max_length": 7}, "GTV1", "the name Kidney_L of 8 characters (at most 7)"),
        ({"names__characters": ""}, "GTV1", "the name Kidney_L with _"),
        ({}, "GTV 1", "the name GTV 1 with  "),
        ({}, "GTVä1", "the name GTVä1 with ä"),
        ({}, "GTV_VB_L4_1000x3^", "the name GTV_VB_L4_1000x3^ of 17 characters"),
        ({"rings__max_points": 47}, "GTV1", "a ring of GTV1 with 48 points (at most 47)"),
    ],
)
def test_what_a_destination_would_cut_or_refuse_is_not_sent(changes: dict[str, object], name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)) as raised:
        with_rules(**changes).check(renamed(name))
    assert "destination generic does not take" in raised.value.message


def test_all_that_is_refused_is_named_at_once() -> None:
    many = Contour(circle(4, (0.0, 0.0), 20.0, points=2001), 4)
    made = renamed("GTV/1")
    made = replace(made, rois=(replace(made.rois[0], contours=(many,)), *made.rois[1:]))
    with pytest.raises(ConfigurationError, match="GTV/1 with /; a ring of GTV/1 with 2001 points"):
        load_destination("eclipse").check(made)
    assert np.isfinite(CT.slice_origins_mm).all()


# the page ------------------------------------------------------------------------------------------------------------


def rows_of_the_page() -> dict[tuple[str, str], tuple[str, str]]:
    """What docs/destinations.md says: (destination, rule) -> (what, source)."""
    page = (ROOT / "docs" / "destinations.md").read_text(encoding="utf-8")
    rows, name = {}, ""
    for line in page.splitlines():
        if line.startswith("## "):
            match = re.search(r"`(\w+)`", line)
            name = match[1] if match else ""
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if name and len(cells) == 4 and cells[0] in RULES:
            rows[name, cells[0]] = (cells[1], cells[2])
    return rows


def said(destination: Destination, rule: str) -> str:
    row = getattr(destination, rule)
    if rule == "names":
        return f"at most {row.max_length} characters; letters, digits and `{row.characters}`"
    if rule == "rings":
        return f"at most {row.max_points} points and {row.max_bytes} bytes"
    if rule in SENT:
        return "sent" if row.send else "not sent"
    return str(row.handling if rule == "external" else row.rule)


def test_the_page_says_what_the_files_say() -> None:
    wanted = {
        (name, rule): (said(load_destination(name), rule), getattr(load_destination(name), rule).source)
        for name in shipped_destinations()
        for rule in RULES
    }
    assert rows_of_the_page() == wanted


def test_the_page_says_how_many_rois_a_destination_takes() -> None:
    page = (ROOT / "docs" / "destinations.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| rois \| at most (\d+); `psdt lint` tells of more \| (.+?) \|", page, flags=re.MULTILINE)
    known = [load_destination(name).rois for name in shipped_destinations()]
    assert told == [(str(rois.max_count), rois.source) for rois in known if rois is not None]
    assert len(told) == 1


def test_the_notes_of_the_files_are_on_the_page() -> None:
    page = (ROOT / "docs" / "destinations.md").read_text(encoding="utf-8")
    for name in shipped_destinations():
        for rule in RULES:
            assert getattr(load_destination(name), rule).note in page, (name, rule)
