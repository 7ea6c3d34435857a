"""A protocol in several files, and a clinic's file over it: whole rows, by key, with the file and line of a defect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from psdt_planner.errors import ProtocolError
from psdt_planner.protocol import Protocol, base_of, differences, parse_files
from tests.protocol.conftest import CITED, ROUND_NUMBERS

LIMITS = f"""
schema = 1

[organs.Rectum]
alpha_beta_gy = 3.0
aliases = ["enddarm"]
{CITED}
[organs.Bladder]
alpha_beta_gy = 5.0
{CITED}
[set_order]
sets = ["book"]
{CITED}
[sets.book]
title = "A book"
{CITED}
rows = [
  {{ organ = "Rectum", metric = "D0.1cc", kind = "mandatory", limit = {{ 3 = 28.0, 5 = 38.0 }} }},
  {{ organ = "Rectum", metric = "D0.1cc", kind = "optimal", limit = {{ 5 = 35.0 }}, certainty = "L" }},
  {{ organ = "Rectum", metric = "V20Gy", kind = "optimal", unit = "%", limit = {{ 3 = 10.0 }}, unknown = [5] }},
]
"""


def parsed(limits: str = LIMITS, overlay: str = "") -> Protocol:
    files = {"general.toml": ROUND_NUMBERS, "limits.toml": limits}
    return parse_files(files, "round", ("clinic.toml", f"schema = 1\n{overlay}") if overlay else None)


def refused(limits: str = LIMITS, overlay: str = "") -> str:
    with pytest.raises(ProtocolError) as refusal:
        parsed(limits, overlay)
    return refusal.value.message


def test_several_files_are_one_protocol() -> None:
    protocol = parsed()
    assert list(protocol.organs) == ["Rectum", "Bladder"]
    rows = protocol.sets["book"].rows
    assert [dict(row.limit) for row in rows] == [{3: 28.0, 5: 38.0}, {5: 35.0}, {3: 10.0}]
    # A row takes source and certainty from the head of its set, unless it has its own.
    assert [row.certainty for row in rows] == ["H", "L", "H"]
    assert {row.source for row in rows} == {"Book"}


def test_the_hash_is_of_every_file() -> None:
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in (ROUND_NUMBERS, LIMITS)]
    listed = "".join(f"{one}  {name}\n" for one, name in zip(hashes, ("general.toml", "limits.toml"), strict=True))
    assert parsed().sha256 == hashlib.sha256(listed.encode()).hexdigest()
    assert parsed(LIMITS + "# a word\n").sha256 != parsed().sha256
    assert parsed(overlay='title = "Ours"').sha256 != parsed().sha256


def test_two_files_do_not_say_the_same_thing() -> None:
    assert refused(f"{LIMITS}\n[targets]\nwarn_above = 1\nmax = 2\n{CITED}").startswith("limits.toml, line ")
    assert "targets: stands in general.toml as well" in refused(f"{LIMITS}\n[targets]\nmax = 2\n{CITED}")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "3 = 28.0, 5 = 38.0",
            "3 = 39.0, 5 = 38.0",
            "Rectum D0.1cc is looser in 3 fractions (39 Gy) than in 5 (38 Gy)",
        ),
        ("5 = 35.0", "5 = 38.5", "Rectum D0.1cc: optimal in 5 is looser than mandatory"),
        (
            'kind = "optimal", limit',
            'kind = "mandatory", limit',
            "Rectum D0.1cc mandatory in 5 fractions is there twice",
        ),
        ('"D0.1cc", kind = "mandatory"', '"Dmax", kind = "mandatory"', "Dmax is no metric of dose and volume"),
        (', unit = "%"', "", "V20Gy is not stated in Gy"),
        ("unknown = [5]", "unknown = [3]", "a cell that is known and unknown"),
        ("limit = { 3 = 10.0 }", "limit = {}", "a row without a value"),
        (
            'organ = "Rectum", metric = "V20Gy"',
            'organ = "Rectun", metric = "V20Gy"',
            "Rectun has no row among the organs",
        ),
        ("organs.Bladder", "organs.Blader", "Blader is no TG-263 name without a side; the nearest is Bladder"),
        ("alpha_beta_gy = 5.0", 'alpha_beta_gy = 5.0\naliases = ["End-Darm"]', "End-Darm means Rectum as well"),
        ("alpha_beta_gy = 5.0", 'alpha_beta_gy = 5.0\nsets = ["books"]', "asks the set books, which is not there"),
        ("alpha_beta_gy = 5.0", 'alpha_beta_gy = 5.0\nanswered_by = ["Colon"]', "answered by Colon, which has no row"),
        ('sets = ["book"]', 'sets = ["books"]', "names the set books, which is not there"),
        ("3 = 28.0", "3 = 2800.0", "less than or equal to 200"),
        ("3 = 28.0", "three = 28.0", "valid integer"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(old: str, new: str, says: str) -> None:
    assert old in LIMITS
    message = refused(LIMITS.replace(old, new, 1))
    assert says in message
    assert message.startswith("limits.toml, line ")


def test_a_clinic_replaces_whole_rows_by_key() -> None:
    overlay = f"""title = "Ours"
[targets]
warn_above = 2
max = 3
{CITED.replace("Book", "House rule")}
[sites.bone.ctv_to_ptv]
mm = 6.0
{CITED.replace("Book", "House rule")}
[organs.Rectum]
alpha_beta_gy = 4.0
{CITED}"""
    protocol, before = parsed(overlay=overlay), parsed()

    assert (protocol.title, protocol.targets.max, protocol.targets.source) == ("Ours", 3, "House rule")
    # The whole row: the base's own posterior margin went with it.
    assert str(protocol.sites["bone"].ctv_to_ptv) == "6 mm"
    assert str(before.sites["bone"].ctv_to_ptv) == "4 mm (posterior 3 mm)"
    assert protocol.organs["Rectum"].aliases == ()
    # Whatever was not named stands as it was.
    assert protocol.sites["bone"].regimens == before.sites["bone"].regimens
    assert protocol.organs["Bladder"] == before.organs["Bladder"]


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ("[target]\nmax = 3\n", "clinic.toml, line 2, target: unknown key target; the nearest known key is targets"),
        ("[sites.bone.ctv_ptv]\nmm = 3.0\n", "unknown key ctv_ptv; the nearest known key is ctv_to_ptv"),
        ("[sites.bome]\n", "clinic.toml, line 2, sites.bome.title: Field required"),
        ("[targets]\nmax = 3\n", "clinic.toml, line 2, targets.warn_above: Field required"),
        ("[targets]\nwarn_above = 2\nmax = 3\n", "clinic.toml, line 2, targets.source: Field required"),
        ("sha256 = 'mine'\n", "comes from the file, not from a key"),
    ],
)
def test_a_clinic_s_unknown_keys_and_half_rows_are_refused(overlay: str, says: str) -> None:
    assert says in refused(overlay=overlay)


def test_only_a_file_that_lies_over_another_names_its_base() -> None:
    assert base_of('base = "psdt-crpc"') == "psdt-crpc"
    assert base_of("schema = 1") == base_of("no toml [") == base_of("base = 3") == ""
    assert "only a file that is laid over a protocol names its base" in refused('base = "x"\n' + LIMITS)


def test_what_differs_row_by_row(changed: Callable[..., Protocol], protocol: Protocol) -> None:
    assert list(differences(protocol, protocol)) == []
    other = changed("dose_gy = 36.25", "dose_gy = 37.5")
    found = {one.place: (one.before, one.after) for one in differences(protocol, other)}
    assert found["sites.bone.regimens"] == ("20/1, 30/3, 36.25/5, 21/3", "20/1, 30/3, 37.5/5, 21/3")
    assert found["sites.bone.regimens[36.25/5].dose_gy"] == ("36.25", "")
    assert found["sites.bone.regimens[37.5/5].dose_gy"] == ("", "37.5")
    [only] = differences(protocol, changed("max = 5", "max = 4"))
    assert (only.place, only.before, only.after) == ("targets.max", "5", "4")
