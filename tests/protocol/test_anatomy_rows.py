"""Rows about anatomy: what a protocol may leave out, what it may not say, and where it says it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from psdt_planner.errors import ProtocolError
from psdt_planner.protocol import Protocol, parse_protocol
from tests.protocol.conftest import CITED

SKIN = f"[skin]\nctv_mm = 0.0\nptv_mm = 4.0\ngtv_in_air_part = 0.2\n{CITED}\n"
OVERLAPS = f'[overlaps]\nleast_ml = 0.05\ntargets = "merge-ptv"\n{CITED}\n'
SPARE = f'[[sites.bone.spare]]\norgan = "Rectum"\ngap_mm = 3.0\ngtv_inside = "warn"\n{CITED}\n'
IN_BONE = f"[sites.bone.ctv_in_bone]\nbreach_mm = 1.5\nbreach_part = 0.1\ntold_part = 0.5\n{CITED}\n"
SECTORS = f"""[sites.bone.sectors]
touched_ml = 0.02
involved_ml = 0.2
lateralised_part = 0.7
diffuse_part = 0.4
{CITED}
[[sites.bone.sectors.rules]]
gtv = ["body"]
extent = "diffuse"
ctv = ["body", "pedicle"]
{CITED}
"""
Refused = Callable[[str], str]


@pytest.fixture
def refused(text: str) -> Refused:
    """What is wrong with the protocol that has these tables as well."""

    def message(more: str) -> str:
        with pytest.raises(ProtocolError) as caught:
            parse_protocol(text + more, "round")
        return str(caught.value)

    return message


def test_a_protocol_without_anatomy_has_none(protocol: Protocol) -> None:
    bone = protocol.sites["bone"]
    assert (protocol.skin, protocol.overlaps) == (None, None)
    assert (bone.ctv_in_bone, bone.sectors, bone.spare) == (None, None, ())


def test_rows_say_what_their_tables_say(text: str) -> None:
    found = parse_protocol(text + SKIN + OVERLAPS + SPARE + IN_BONE, "round")
    bone = found.sites["bone"]
    assert found.skin is not None
    assert found.overlaps is not None
    assert bone.ctv_in_bone is not None
    assert (found.skin.ctv_mm, found.skin.ptv_mm, found.skin.gtv_in_air_part) == (0.0, 4.0, 0.2)
    assert (found.overlaps.least_ml, found.overlaps.targets) == (0.05, "merge-ptv")
    assert (bone.ctv_in_bone.breach_mm, bone.ctv_in_bone.breach_part, bone.ctv_in_bone.told_part) == (1.5, 0.1, 0.5)
    assert [(row.organ, row.gap_mm, row.gtv_inside, row.stands_for) for row in bone.spare] == [
        ("Rectum", 3.0, "warn", ())
    ]
    assert bone.spare[0].citation == "Book, Table 1"


def test_sectors_are_a_table_of_rules(text: str) -> None:
    sectors = parse_protocol(text + SECTORS, "round").sites["bone"].sectors
    assert sectors is not None
    assert [(rule.gtv, rule.extent, rule.ctv) for rule in sectors.rules] == [
        (("body",), "diffuse", ("body", "pedicle"))
    ]
    assert (sectors.touched_ml, sectors.involved_ml) == (0.02, 0.2)
    assert (sectors.lateralised_part, sectors.diffuse_part) == (0.7, 0.4)


@pytest.mark.parametrize("table", [SKIN, OVERLAPS, SPARE, IN_BONE, SECTORS])
@pytest.mark.parametrize("key", ["source", "place", "basis", "certainty"])
def test_no_row_stands_without_its_source(refused: Refused, table: str, key: str) -> None:
    lines = table.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(key))
    message = refused("\n".join(lines[:first] + lines[first + 1 :]))
    assert key in message
    assert "Field required" in message


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        (SKIN, ("ptv_mm = 4.0", "ptv_mm = 30.0"), ("skin.ptv_mm", "less than or equal to 20")),
        (SKIN, ("ctv_mm = 0.0", "ctv_mm = -1.0"), ("skin.ctv_mm", "greater than or equal to 0")),
        (SKIN, ("part = 0.2", "part = 20.0"), ("skin.gtv_in_air_part", "less than or equal to 1")),
        (OVERLAPS, ("0.05", "0.0"), ("overlaps.least_ml", "greater than 0")),
        (OVERLAPS, ("merge-ptv", "merge"), ("overlaps.targets", "'keep-apart' or 'merge-ptv'")),
        (OVERLAPS, ("least_ml", "lest_ml"), ("overlaps.lest_ml", "nearest known key is least_ml")),
        (IN_BONE, ("0.1", "10.0"), ("ctv_in_bone.breach_part", "less than or equal to 1")),
        (IN_BONE, ("1.5", "15.0"), ("ctv_in_bone.breach_mm", "less than or equal to 10")),
        (SECTORS, ("0.7", "0.5"), ("sectors.lateralised_part", "greater than 0.5")),
        (SECTORS, ("touched_ml = 0.02", "touched_ml = 0.3"), ("sectors", "involved before it is touched")),
        (SECTORS, ('gtv = ["body"]', 'gtv = ["spinous"]'), ("rules[0]", "extent is of the body")),
        (SECTORS, ('ctv = ["body", "pedicle"]', 'ctv = ["pedicle"]'), ("rules[0]", "leaves out a sector")),
        (SECTORS, ('gtv = ["body"]', 'gtv = ["facet"]'), ("rules[0].gtv", "Input should be")),
        (SECTORS, ('gtv = ["body"]', "gtv = []"), ("rules[0].gtv", "at least 1 item")),
    ],
)
def test_a_mistake_is_named_with_its_line_and_field(
    refused: Refused, table: str, change: tuple[str, str], said: tuple[str, str]
) -> None:
    assert change[0] in table
    message = refused(table.replace(*change, 1))
    assert all(words in message for words in said)
    assert "line " in message


@pytest.mark.parametrize(("old", "new"), [("3.0", "21.0"), ('"warn"', '"info"'), ('"Rectum"', '""')])
def test_a_mistake_in_an_organ_is_named(refused: Refused, old: str, new: str) -> None:
    assert "sites.bone.spare[0]" in refused(OVERLAPS + SPARE.replace(old, new, 1))


def test_rows_that_speak_against_each_other_are_refused(refused: Refused) -> None:
    assert "need a table [overlaps]" in refused(SPARE)
    assert "Rectum is there twice" in refused(OVERLAPS + SPARE + SPARE)
    assert "from the sectors or from the bone, not from both" in refused(IN_BONE + SECTORS)
