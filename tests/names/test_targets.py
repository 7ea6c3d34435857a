"""Names of targets by TG-263: what is written, what is read, and the dose that is told a fraction at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psdt_planner.errors import FaultError, InputError
from psdt_planner.tg263 import ANATOMY, CLASSIFIERS, TARGET_TYPES, NumericDose, TargetName, dose_per_fraction

BY_THE_REPORT = {
    "GTV1": TargetName("GTV", number=1),
    "PTVn2": TargetName("PTV", "n", 2),
    "GTVp": TargetName("GTV", "p"),
    "CTVsb": TargetName("CTV", "sb"),
    "GTVpar3": TargetName("GTV", "par", 3),
    "GTVv": TargetName("GTV", "v"),
    "GTVvas": TargetName("GTV", "vas"),
    "PTV!": TargetName("PTV!"),
    "IGTV_CT2": TargetName("IGTV", imaging="CT2"),
    "PTVp1_CT1PT1": TargetName("PTV", "p", 1, imaging="CT1PT1"),
    "PTV_MR2_Prostate": TargetName("PTV", imaging="MR2", structure="Prostate"),
    "GTV_VB_L4": TargetName("GTV", structure="VB_L4"),
    "PTV_High": TargetName("PTV", dose="High"),
    "PTV1_Mid01": TargetName("PTV", number=1, dose="Mid01"),
    "PTV_5040": TargetName("PTV", dose=NumericDose(5040)),
    "PTV_50.4Gy": TargetName("PTV", dose=NumericDose(5040, unit="Gy")),
    "PTV_50p4Gy": TargetName("PTV", dose=NumericDose(5040, unit="pGy")),
    "PTV_Liver_2000x3": TargetName("PTV", structure="Liver", dose=NumericDose(2000, 3)),
    "PTV_Liver_20Gyx3": TargetName("PTV", structure="Liver", dose=NumericDose(2000, 3, "Gy")),
    "PTV_0.5Gyx30": TargetName("PTV", dose=NumericDose(50, 30, "Gy")),
    "PTV-03": TargetName("PTV", crop_mm=3),
    "PTV_Eval_7000-08": TargetName("PTV", structure="Eval", dose=NumericDose(7000), crop_mm=8),
    "GTV_Liver^ICG": TargetName("GTV", structure="Liver", custom="ICG"),
    "PTV_VB_L4_1000x3": TargetName("PTV", structure="VB_L4", dose=NumericDose(1000, 3)),
    "PTVLiverR_2000x3": TargetName("PTV", structure="Liver_R", dose=NumericDose(2000, 3)),
}


@pytest.mark.parametrize(("text", "name"), BY_THE_REPORT.items())
def test_names_of_the_report_are_written_and_read(text: str, name: TargetName) -> None:
    assert str(name) == text
    assert TargetName.parse(text) == name


@pytest.mark.parametrize(
    "text",
    [
        *("GTVm", "GTVm1", "GTVx1", "XTV1", "gtv1", "GTV 1", " GTV1", "GTV1 ", "", "GTV01", "GTV0", "GTV-1", "GTV_"),
        *("PTV_03", "PTV_Foo", "PTV__5040", "PTV_CT", "PTV_CT0", "PTV_5040x0", "PTV_0", "PTV_0x3", "PTV_50p0Gy"),
        *("PTV_50.40Gy", "PTV_50.Gy", "PTV_504Gy0", "PTV_050Gy", "PTV-3", "PTV-003", "PTV^", "PTV^a_b", "PTV_high"),
        *("PTV_Mid1", "PTV_50.4", "PTV_5040_High", "PTV_High_Liver", "PTV_Liver_CT1", "GTVn_Осн", "PTV1\n"),
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no name of a target by TG-263"):
        TargetName.parse(text)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"type": "GTV", "classifier": "m"}, "TG-263 knows no GTVm"),
        ({"type": "Lesion"}, "TG-263 knows no Lesion"),
        ({"type": "GTV", "structure": "Ileum"}, "'Ileum' is no standard name"),
        ({"type": "GTV", "number": 0}, "does not tell the parts"),
        ({"type": "GTV", "number": -2}, "does not tell the parts"),
        ({"type": "GTV", "imaging": "US1"}, "does not tell the parts"),
        ({"type": "GTV", "dose": "Highest"}, "does not tell the parts"),
        ({"type": "GTV", "crop_mm": 100}, "does not tell the parts"),
        ({"type": "GTV", "custom": "two words"}, "does not tell the parts"),
        ({"type": "GTV", "custom": "müde"}, "does not tell the parts"),
        ({"type": "PTV", "structure": "LN_Iliac_Ext_L", "dose": NumericDose(1000, 3)}, "cannot be written in 16"),
    ],
)
def test_parts_that_make_no_name_are_refused(parts: dict[str, object], words: str) -> None:
    with pytest.raises(FaultError, match=words):
        TargetName(**parts)  # type: ignore[arg-type]


def test_underscores_go_from_the_left_and_only_where_they_must() -> None:
    dose = NumericDose(2000, 3)
    assert str(TargetName("PTV", structure="Liver", dose=dose)) == "PTV_Liver_2000x3"
    right = TargetName("PTV", structure="Liver_R", dose=dose)
    assert right.full == "PTV_Liver_R_2000x3"
    assert str(right) == "PTVLiverR_2000x3"
    one = TargetName("PTV", number=1, structure="VB_L4", dose=NumericDose(1000, 3))
    assert (one.full, str(one)) == ("PTV1_VB_L4_1000x3", "PTV1VB_L4_1000x3")
    assert TargetName.parse("PTV1VB_L4_1000x3") == one


def test_a_name_is_not_read_as_if_it_had_been_short_of_room() -> None:
    with pytest.raises(InputError, match="the nearest is PTV_Liver_2000x3"):
        TargetName.parse("PTVLiver_2000x3")


def test_a_name_that_would_read_as_another_without_its_underscores_is_refused() -> None:
    """The only underscore stands between number and dose: ``PTV12100.25Gyx30`` is target 1210."""
    assert str(TargetName("PTV", number=1, dose=NumericDose(10025, 30, "Gy"))) == "PTV1_100.25Gyx30"
    with pytest.raises(FaultError, match="reads as something else"):
        TargetName("PTV", number=12, dose=NumericDose(10025, 30, "Gy"))


# the dose-per-fraction trap ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total_gy", "fractions", "text"),
    [
        (30, 3, "1000x3"),
        (35, 5, "700x5"),
        (24, 1, "2400x1"),
        (27, 3, "900x3"),
        (40, 5, "800x5"),
        (36.25, 5, "725x5"),
        (60, 3, "2000x3"),
        (0.3, 3, "10x3"),
    ],
)
def test_a_name_tells_the_dose_of_one_fraction(total_gy: float, fractions: int, text: str) -> None:
    dose = dose_per_fraction(total_gy=total_gy, fractions=fractions)
    assert str(dose) == text
    assert dose.cgy * fractions == pytest.approx(total_gy * 100)
    assert TargetName.parse(f"PTV1_{text}").dose == dose


@pytest.mark.parametrize(("total_gy", "fractions"), [(20, 3), (25.01, 3), (50.4, 29), (0.001, 1)])
def test_a_dose_that_is_no_whole_number_of_cgy_a_fraction_is_refused(total_gy: float, fractions: int) -> None:
    with pytest.raises(FaultError, match="no whole number"):
        dose_per_fraction(total_gy=total_gy, fractions=fractions)


@pytest.mark.parametrize(("total_gy", "fractions"), [(0.0, 1), (-30.0, 3), (30.0, 0), (float("nan"), 3)])
def test_what_is_no_schedule_is_refused(total_gy: float, fractions: int) -> None:
    with pytest.raises(FaultError, match="is no schedule"):
        dose_per_fraction(total_gy=total_gy, fractions=fractions)


@given(cgy=st.integers(1, 5000), fractions=st.integers(1, 40))
def test_the_dose_of_any_schedule_of_whole_cgy_is_told(cgy: int, fractions: int) -> None:
    assert dose_per_fraction(total_gy=cgy * fractions / 100, fractions=fractions) == NumericDose(cgy, fractions)


def test_a_dose_of_nothing_is_refused() -> None:
    for cgy, fractions in ((0, 3), (100, 0), (-1, None)):
        with pytest.raises(FaultError, match="one cGy or more"):
            NumericDose(cgy, fractions)
    with pytest.raises(FaultError, match="has no decimals to write"):
        NumericDose(2000, 3, "pGy")


# any name ------------------------------------------------------------------------------------------------------------

DOSES = st.one_of(
    st.sampled_from(["", "High", "Low", "Mid", "Mid01", "Mid22"]),
    st.builds(NumericDose, st.integers(1, 9999), st.none() | st.integers(1, 40), st.sampled_from(["cGy", "Gy"])),
    st.builds(lambda gy, tail: NumericDose(100 * gy + tail, None, "pGy"), st.integers(0, 99), st.integers(1, 99)),
)

PARTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(TARGET_TYPES),
        "classifier": st.sampled_from(["", *CLASSIFIERS]),
        "number": st.none() | st.integers(1, 99),
        "imaging": st.sampled_from(["", "CT1", "MR2", "CT1PT1", "SP12"]),
        "structure": st.sampled_from(["", "Eval", *ANATOMY]),
        "dose": DOSES,
        "crop_mm": st.none() | st.integers(0, 99),
        "custom": st.text("abcXYZ019", max_size=4),
    }
)


def plain(parts: dict[str, object]) -> str:
    """The slow and obvious way to write a name in full."""
    text = f"{parts['type']}{parts['classifier']}{parts['number'] or ''}"
    for key in ("imaging", "structure", "dose"):
        text += f"_{parts[key]}" if str(parts[key]) else ""
    text += f"-{parts['crop_mm']:02d}" if parts["crop_mm"] is not None else ""
    return text + (f"^{parts['custom']}" if parts["custom"] else "")


def joins_digits(text: str) -> bool:
    """Whether an underscore between two digits would have to go; nothing else can be misread, and not all of these."""
    places = [n for n, letter in enumerate(text) if letter == "_"][: max(0, len(text) - 16)]
    return any(text[n - 1].isdigit() and text[n + 1].isdigit() for n in places)


def reads_otherwise(text: str) -> bool:
    """Whether the shortened name is read as another one, or as none."""
    short = text.replace("_", "", len(text) - 16)
    try:
        return TargetName.parse(short).full != text
    except InputError:
        return True


@given(PARTS)
def test_what_is_written_is_read_again(parts: dict[str, object]) -> None:
    text = plain(parts)
    if len(text.replace("_", "")) > 16:
        with pytest.raises(FaultError, match="cannot be written in 16 characters"):
            TargetName(**parts)  # type: ignore[arg-type]
        return
    if joins_digits(text) and reads_otherwise(text):
        with pytest.raises(FaultError, match="reads as something else"):
            TargetName(**parts)  # type: ignore[arg-type]
        return
    name = TargetName(**parts)  # type: ignore[arg-type]
    assert TargetName.parse(str(name)) == name
    assert str(name).isascii()
    assert len(str(name)) <= 16
    assert name.full == text
    assert str(name) == text or (len(text) > 16 and str(name).replace("_", "") == text.replace("_", ""))


def test_digits_that_meet_are_refused_only_where_they_are_read_otherwise() -> None:
    """``VBC10p01Gy`` can only be C1 and 0.01 Gy: there is no C10."""
    name = TargetName("GTV", structure="VB_C1", dose=NumericDose(1, None, "pGy"), crop_mm=0)
    assert str(name) == "GTVVBC10p01Gy-00"
    assert TargetName.parse(str(name)) == name


def test_parts_are_frozen_and_compared() -> None:
    name = TargetName("GTV", number=1)
    assert replace(name, number=2) != name
    with pytest.raises(AttributeError):
        name.number = 3  # type: ignore[misc]
