"""A protocol is read whole or refused with line and field; it says nothing that it was not told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from psdt_planner.errors import ConfigurationError, ProtocolError
from psdt_planner.protocol import Protocol, parse_protocol
from tests.protocol.conftest import CITED

Changed = Callable[..., Protocol]


def line_of(text: str, part: str, nth: int = 1) -> int:
    """The slow way: the nth line that holds a part."""
    return [number for number, line in enumerate(text.splitlines(), start=1) if part in line][nth - 1]


def test_a_protocol_says_what_its_file_says(protocol: Protocol, text: str) -> None:
    bone = protocol.sites["bone"]

    assert (protocol.name, protocol.status, protocol.signer) == ("round", "clinical", "A. Physicist")
    assert protocol.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert [row.key for row in protocol.alpha_beta] == ["1.5", "3"]
    assert [(row.dose_gy, row.fractions) for row in bone.regimens] == [(20, 1), (30, 3), (36.25, 5), (21, 3)]
    assert bone.regimens[1].when is not None
    assert (bone.regimens[1].when.max_ptv_ml, bone.regimens[1].when.max_uncertainty_mm) == (50.0, None)
    assert bone.regimens[2].when is None
    assert bone.regimens[0].citation == "Book, Table 1"


def test_a_margin_differs_by_direction_where_the_file_says_so(protocol: Protocol) -> None:
    bone = protocol.sites["bone"]

    assert bone.gtv_to_ctv.lps_mm == ((5.0, 5.0), (5.0, 5.0), (5.0, 5.0))
    assert bone.ctv_to_ptv.lps_mm == ((4.0, 4.0), (4.0, 3.0), (4.0, 4.0))
    assert str(bone.gtv_to_ctv) == "5 mm"
    assert str(bone.ctv_to_ptv) == "4 mm (posterior 3 mm)"


@pytest.mark.parametrize(
    ("direction", "axis", "end"),
    [
        ("right", 0, 0),
        ("left", 0, 1),
        ("anterior", 1, 0),
        ("posterior", 1, 1),
        ("inferior", 2, 0),
        ("superior", 2, 1),
    ],
)
def test_a_direction_is_one_end_of_one_lps_axis(changed: Changed, direction: str, axis: int, end: int) -> None:
    margin = changed("posterior_mm = 3.0", f"{direction}_mm = 0.0").sites["bone"].ctv_to_ptv

    expected = [[4.0, 4.0], [4.0, 4.0], [4.0, 4.0]]
    expected[axis][end] = 0.0
    assert [list(pair) for pair in margin.lps_mm] == expected


@pytest.mark.parametrize(
    ("basis", "citation"),
    [
        ("read", "Book, Table 1"),
        ("transcribed", "Book, Table 1 (transcribed)"),
        ("recalled", "Book, Table 1 (recalled)"),
        ("project-derived", "Book, Table 1 (project-derived)"),
    ],
)
def test_a_citation_says_how_the_row_came_here(changed: Changed, basis: str, citation: str) -> None:
    protocol = changed('basis = "read"', f'basis = "{basis}"')

    assert protocol.alpha_beta[0].citation == citation


def test_a_row_of_our_own_says_so_once(changed: Changed) -> None:
    own = CITED.replace("Book", "project-derived").replace('"read"', '"project-derived"')

    assert changed(CITED, own).alpha_beta[0].citation == "project-derived, Table 1"


def test_a_protocol_does_not_change(protocol: Protocol) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        protocol.status = "demo"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        protocol.sites["bone"].regimens[0].dose_gy = 99.0  # type: ignore[misc]


def test_another_text_has_another_hash(changed: Changed, protocol: Protocol) -> None:
    assert changed("A. Physicist", "B. Physicist").sha256 != protocol.sha256


def test_a_demonstration_needs_no_signer(changed: Changed) -> None:
    assert changed('"clinical"\nsigner = "A. Physicist"', '"demo"').signer == ""


REFUSALS = [
    pytest.param("gy = 1.5", "gi = 1.5", "alpha_beta[0].gi", "unknown key gi; the nearest known key is gy", id="key"),
    pytest.param(
        "max_ptv_ml = 50.0",
        "max_ptv_cc = 50.0",
        "sites.bone.regimens[1].when.max_ptv_cc",
        "unknown key max_ptv_cc; the nearest known key is max_ptv_ml",
        id="key-deep",
    ),
    pytest.param("title = ", "titel = ", "titel", "unknown key titel; the nearest known key is title", id="key-top"),
    pytest.param('source = "Book"\n', "", "alpha_beta[0].source", "Field required", id="source-absent"),
    pytest.param('source = "Book"', 'source = " "', "alpha_beta[0].source", "at least 3 characters", id="source-empty"),
    pytest.param('place = "Table 1"\n', "", "alpha_beta[0].place", "Field required", id="place-absent"),
    pytest.param('certainty = "H"\n', "", "alpha_beta[0].certainty", "Field required", id="certainty-absent"),
    pytest.param('certainty = "H"', 'certainty = "X"', "alpha_beta[0].certainty", "'H', 'M' or 'L'", id="certainty"),
    pytest.param('basis = "read"', 'basis = "heard"', "alpha_beta[0].basis", "'read', 'transcribed'", id="basis"),
    pytest.param('signer = "A. Physicist"\n', "", "status", "a clinical protocol needs a signer", id="signer"),
    pytest.param('"A. Physicist"', '"  "', "status", "a clinical protocol needs a signer", id="signer-blank"),
    pytest.param('"clinical"', '"signed"', "status", "'demo' or 'clinical'", id="status"),
    pytest.param("gy = 3.0\nm", "gy = 1.5\nm", "alpha_beta[1]", "1.5 is there twice", id="alpha-beta-twice"),
    pytest.param("gy = 1.5", "gy = 0.1", "alpha_beta[0].gy", "greater than or equal to 0.5", id="alpha-beta-small"),
    pytest.param("bed_gy = 80.0", "bed_gy = nan", "ablative_floor.bed_gy", "finite number", id="not-a-number"),
    pytest.param("bed_gy = 80.0", 'bed_gy = "80"', "ablative_floor.bed_gy", "valid number", id="text-for-number"),
    pytest.param("max = 5", "max = 2", "targets.warn_above", "the warning comes after the limit", id="warn-above"),
    pytest.param("max = 5", "max = 5.0", "targets.max", "valid integer", id="count"),
    pytest.param("mm = 5.0", "mm = -5.0", "sites.bone.gtv_to_ctv.mm", "greater than or equal to 0", id="margin"),
    pytest.param("mm = 5.0", "mm = 50.0", "sites.bone.gtv_to_ctv.mm", "less than or equal to 30", id="margin-large"),
    pytest.param(
        "posterior_mm = 3.0",
        "posterior_mm = -3.0",
        "sites.bone.ctv_to_ptv.posterior_mm",
        "greater than or equal to 0",
        id="margin-directed",
    ),
    pytest.param(
        "dose_gy = 30.0", "dose_gy = 103.0", "sites.bone.regimens[1]", "34.3333 Gy a fraction is out of", id="large"
    ),
    pytest.param(
        "dose_gy = 30.0", "dose_gy = 3000.0", "sites.bone.regimens[1].dose_gy", "less than or equal to 200", id="cgy"
    ),
    pytest.param("fractions = 5", "fractions = 37", "sites.bone.regimens[2]", "0.97973 Gy a fraction", id="small"),
    pytest.param("fractions = 5", "fractions = 0", "sites.bone.regimens[2].fractions", "greater than", id="none"),
    pytest.param(
        "dose_gy = 30.0", "dose_gy = 29.0", "sites.bone.regimens[1]", "9.6667 Gy a fraction is no whole", id="not-whole"
    ),
    pytest.param(
        "dose_gy = 36.25\nfractions = 5",
        "dose_gy = 30\nfractions = 3",
        "sites.bone.regimens[2]",
        "30 Gy in 3 is there twice",
        id="regimen-twice",
    ),
    pytest.param(
        'listed_only = "below the floor"\n',
        "",
        "sites.bone.regimens[3]",
        "21 Gy in 3 has a BED of 70.0 Gy, below the ablative floor of 80 Gy at α/β 3 Gy; say so in listed_only",
        id="below-floor",
    ),
    pytest.param(
        "max_ptv_ml = 50.0\n", "", "sites.bone.regimens[1].when", "a condition that asks for nothing", id="no-condition"
    ),
]


@pytest.mark.parametrize(("old", "new", "field", "says"), REFUSALS)
def test_a_wrong_table_is_refused_with_its_field(changed: Changed, old: str, new: str, field: str, says: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        changed(old, new)

    assert f"{field}: " in refusal.value.message
    assert says in refusal.value.message
    assert refusal.value.where == "protocol round"
    assert refusal.value.todo
    assert isinstance(refusal.value, ConfigurationError)


def test_the_floor_itself_is_ablative(changed: Changed) -> None:
    # 30 Gy in 5 has a BED of exactly 90 Gy at 3 Gy.
    kept = changed("bed_gy = 80.0", "bed_gy = 90.0")
    assert kept.ablative_floor.bed_gy == 90.0
    with pytest.raises(
        ProtocolError, match=r"36\.25 Gy in 5 has a BED of 123\.9 Gy, below the ablative floor of 124 Gy"
    ):
        changed("bed_gy = 80.0", "bed_gy = 124.0")


@pytest.mark.parametrize(("dose_gy", "fractions"), [(34.0, 1), (60.0, 60)])
def test_the_ends_of_the_range_of_a_fraction_are_in_it(changed: Changed, dose_gy: float, fractions: int) -> None:
    row = f'dose_gy = {dose_gy}\nfractions = {fractions}\nlisted_only = "the end of the range"'

    regimen = changed("dose_gy = 36.25\nfractions = 5", row).sites["bone"].regimens[2]

    assert (regimen.dose_gy, regimen.fractions) == (dose_gy, fractions)


def test_an_unknown_site_is_refused_with_the_nearest(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"sites\.bome: unknown site; the nearest known site is bone"):
        parse_protocol(text.replace("sites.bone", "sites.bome"), "round")


@pytest.mark.parametrize("schema", ["", "schema = 2", 'schema = "1"'])
def test_another_shape_of_file_is_refused(changed: Changed, schema: str) -> None:
    with pytest.raises(ProtocolError, match="schema must be 1"):
        changed("schema = 1", schema)


@pytest.mark.parametrize("key", ["name", "sha256"])
def test_what_comes_from_the_file_is_no_key(changed: Changed, key: str) -> None:
    with pytest.raises(ProtocolError, match=f"line 3, {key}: comes from the file, not from a key"):
        changed("schema = 1", f'schema = 1\n{key} = "mine"')


def test_text_that_is_no_toml_is_refused_with_its_line(changed: Changed, text: str) -> None:
    with pytest.raises(ProtocolError, match=rf"not TOML: .*line {line_of(text, 'bed_gy')}, column 10"):
        changed("bed_gy = 80.0", "bed_gy = eighty")


def test_every_defect_is_named_not_only_the_first(text: str) -> None:
    broken = text.replace("bed_gy = 80.0", "bed_gy = -1.0").replace("posterior_mm = 3.0", "posterior_mm = -1.0")

    with pytest.raises(ProtocolError) as refusal:
        parse_protocol(broken, "round")

    assert refusal.value.message.count("; ") == 1
    assert "ablative_floor.bed_gy" in refusal.value.message
    assert "sites.bone.ctv_to_ptv.posterior_mm" in refusal.value.message


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("gy = 1.5", "gy = 0.1", ("gy = 1.5", 1)),
        ("gy = 1.5", "gi = 1.5", ("gy = 1.5", 1)),
        ("bed_gy = 80.0", "bed_gy = -1.0", ("bed_gy", 1)),
        ("posterior_mm = 3.0", "posterior_mm = -3.0", ("posterior_mm", 1)),
        ("dose_gy = 36.25", "dose_gy = 999.0", ("dose_gy = 36.25", 1)),
        ("max_ptv_ml = 50.0", "max_ptv_ml = 0.0", ("max_ptv_ml = 50.0", 1)),
        ("max_ptv_ml = 20.0", "max_ptv_ml = 0.0", ("max_ptv_ml = 20.0", 1)),
        ("dose_gy = 36.25", "dose_gy = 29.01", ("[[sites.bone.regimens]]", 3)),
        ("[sites.bone.order]", "[sites.bone.ordr]", ("[sites.bone.order]", 1)),
        ("max = 5\n", "", ("[targets]", 1)),
    ],
)
def test_a_defect_is_named_with_its_line(changed: Changed, text: str, old: str, new: str, at: tuple[str, int]) -> None:
    with pytest.raises(ProtocolError, match=rf"\bline {line_of(text, *at)}, "):
        changed(old, new)


def test_a_defect_without_a_line_of_its_own_is_named_by_its_field(changed: Changed) -> None:
    with pytest.raises(ProtocolError, match=r"^title: Field required") as refusal:
        changed('title = "Round numbers"\n', "")

    assert "line" not in refusal.value.message


def test_keys_in_one_line_are_named_with_that_line(changed: Changed, text: str) -> None:
    inline = 'ablative_floor = { bed_gy = -1, alpha_beta_gy = 3, source = "Book", place = "1-2", basis = "read", '
    old = text[text.index("[ablative_floor]") : text.index("[targets]")]
    without = text.replace(old, "").replace("schema = 1", f'schema = 1\n{inline}certainty = "H" }}')

    with pytest.raises(ProtocolError, match=r"line 3, ablative_floor\.bed_gy: Input should be greater than 0"):
        parse_protocol(without, "round")
