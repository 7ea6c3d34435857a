"""Names of organs by TG-263, and their codes."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from psdt_planner.errors import FaultError, InputError
from psdt_planner.tg263 import ANATOMY, OrganName, recognise
from psdt_planner.tg263.organs import SIDES

BY_THE_REPORT = {
    "SpinalCord": OrganName("SpinalCord"),
    "SpinalCord_PRV02": OrganName("SpinalCord", prv_mm=2),
    "SpinalCord_PRV": OrganName("SpinalCord", prv_mm=0),
    "OpticChiasm_PRV3": OrganName("OpticChiasm", prv_mm=3),
    "OpticNrv_PRV03_L": OrganName("OpticNrv", "L", prv_mm=3),
    "Kidney_L": OrganName("Kidney", "L"),
    "Lung~_L": OrganName("Lung", "L", partial=True),
    "Lungs~": OrganName("Lungs", partial=True),
    "Lungs^Ex": OrganName("Lungs", custom="Ex"),
    "Liver-GTV": OrganName("Liver", minus="GTV"),
    "SeminalVes_Dist": OrganName("SeminalVes", "Dist"),
    "V_Venacava_S": OrganName("V_Venacava", "S"),
    "Lung_RUL": OrganName("Lung", "RUL"),
    "VB_T09": OrganName("VB_T09"),
    "zPTVopt": OrganName("PTVopt", unused=True),
    "zDWI_1": OrganName("DWI_1", unused=True),
    "zRing_L": OrganName("Ring", "L", unused=True),
    "zKidney_R": OrganName("Kidney", "R", unused=True),
}


@pytest.mark.parametrize(("text", "name"), BY_THE_REPORT.items())
def test_names_of_the_report_are_written_and_read(text: str, name: OrganName) -> None:
    assert str(name) == text
    assert OrganName.parse(text) == name


@pytest.mark.parametrize(
    "text",
    [
        *("OpticChiasm_PRV03", "SpinalCord_PRV2", "Kidney_L_PRV03", "kidney_l", "Cord", "Kidney L", "", "z", "VB_T9"),
        *("SpinalCord_PRV002", "Liver-", "Lungs^", "Lungs^a^b", "Myelon_тест", "Bowel_Small_L", "Liver_PRV00"),
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no name by TG-263"):
        OrganName.parse(text)


def test_parts_that_make_no_name_are_refused() -> None:
    with pytest.raises(FaultError, match="TG-263 does not name 'Foo_L'"):
        OrganName("Foo", "L")
    with pytest.raises(FaultError, match="a margin of 100 mm"):
        OrganName("Liver", prv_mm=100)
    with pytest.raises(FaultError, match="has more than 16 characters"):
        OrganName("BileDuct_Common", prv_mm=3)
    with pytest.raises(FaultError, match="does not tell the parts"):
        OrganName("Liver", custom="two words")
    for root in ("Ring_L", "Kidney_R"):
        with pytest.raises(FaultError, match="is the last part of a name"):
            OrganName(root, unused=True)


@given(
    standard=st.sampled_from(sorted(ANATOMY)),
    prv_mm=st.none() | st.integers(0, 99),
    rest=st.tuples(
        st.booleans(), st.sampled_from(["", "GTV", "PTV1"]), st.text("abcXYZ019", max_size=3), st.booleans()
    ),
)
def test_what_is_written_is_read_again(standard: str, prv_mm: int | None, rest: tuple[bool, str, str, bool]) -> None:
    partial, minus, custom, unused = rest
    root, _, last = standard.rpartition("_")
    side = last if root and last in SIDES else ""
    tails = (f"-{minus}" if minus else "", f"^{custom}" if custom else "", "~" * partial, "z" * unused)
    margin = "" if prv_mm is None else f"_PRV{prv_mm or ''}"
    assume(len(standard + margin + "".join(tails)) <= 16)
    name = OrganName(root if side else standard, side, prv_mm, partial, minus, custom, unused)
    assert OrganName.parse(str(name)) == name
    assert str(name).isascii()
    assert len(str(name)) <= 16
    assert name.anatomy == ANATOMY[standard]


def test_standard_names_are_short_and_unique_without_case_or_underscores() -> None:
    assert all(len(name) <= 16 and name.isascii() and " " not in name for name in ANATOMY)
    assert len({name.replace("_", "").casefold() for name in ANATOMY}) == len(ANATOMY)
    assert all(name == anatomy.name for name, anatomy in ANATOMY.items())
    assert all(name[0].isupper() for name in ANATOMY)
    for name in ANATOMY:
        assert OrganName.parse(name).anatomy == ANATOMY[name]


@pytest.mark.parametrize(
    ("text", "name"), [("spinalcord", "SpinalCord"), (" KIDNEY_L ", "Kidney_L"), ("Lungs", "Lungs")]
)
def test_a_standard_name_is_recognised_but_for_its_capitals(text: str, name: str) -> None:
    anatomy = recognise(text)
    assert anatomy is not None
    assert anatomy.name == name


@pytest.mark.parametrize("text", ["Cord", "Kidney L", "KidneyL", "Kidney_Left", "Kidney", "SpinalCord_PRV02", ""])
def test_what_is_like_a_standard_name_is_not_taken_for_one(text: str) -> None:
    assert recognise(text) is None


# codes ---------------------------------------------------------------------------------------------------------------


def test_codes_are_snomed_ct_with_words_that_fit() -> None:
    for anatomy in ANATOMY.values():
        for code in filter(None, (anatomy.code, anatomy.laterality)):
            assert code.scheme == "SCT"
            assert 6 <= len(code.value) <= 16
            assert code.value.isdigit()
            assert 0 < len(code.meaning) <= 64
            assert check_digit_is_right(code.value), anatomy.name


def check_digit_is_right(value: str) -> bool:
    """SNOMED CT identifiers end in a Verhoeff check digit: a typing slip in the table would show."""
    permutation = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    check = 0
    for place, digit in enumerate(map(int, reversed(value))):
        turned = digit
        for _ in range(place % 8):
            turned = permutation[turned]
        check = dihedral_product(check, turned)
    return check == 0


def dihedral_product(a: int, b: int) -> int:
    """In the group of a pentagon's turns (0 to 4) and flips (5 to 9)."""
    sign = 1 if a < 5 else -1
    return (a % 5 + sign * (b % 5)) % 5 + (0 if (a < 5) == (b < 5) else 5)


@pytest.mark.parametrize(
    ("name", "concept"),
    [
        ("SpinalCanal", codes.SCT.VertebralCanal),
        ("Brainstem", codes.SCT.BrainStem),
        ("Liver", codes.SCT.Liver),
        ("Kidney_L", codes.SCT.Kidney),
        ("Lung_R", codes.SCT.Lung),
        ("Prostate", codes.SCT.Prostate),
        ("VB_C1", codes.SCT.C1Vertebra),
        ("Bladder", codes.SCT.Bladder),
        ("Rectum", codes.SCT.Rectum),
        ("LN_Paraaortic", codes.SCT.AorticLymphNode),
    ],
)
def test_codes_are_those_that_dicom_uses(name: str, concept: object) -> None:
    code = ANATOMY[name].code
    assert code is not None
    assert code.value == getattr(concept, "value", None)


def test_slips_of_the_published_map_are_not_copied() -> None:
    def value(name: str) -> str | None:
        code = ANATOMY[name].code
        return code.value if code else None

    assert value("Lung_R") == value("Lung_L") == "39607008"
    assert value("VB_T12") == "280849005"
    assert value("LN_Iliac_Int") == value("LN_Iliac_Int_L") == value("LN_Iliac_Int_R")
    assert "LN_lliac_Int_R" not in ANATOMY
    assert value("Spc_Bowel") is None
    assert value("Brainstem") == "119238007"


def test_sides_are_told_by_a_modifier() -> None:
    for anatomy in ANATOMY.values():
        wanted = {"_L": "7771000", "_R": "24028007"}.get(anatomy.name[-2:])
        if anatomy.name in ("Lungs", "Kidneys", "Femurs", "Eyes"):
            wanted = "51440002"
        assert (anatomy.laterality.value if anatomy.laterality else None) == wanted, anatomy.name
