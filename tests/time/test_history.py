"""The history file: what it says, and everything that is refused by line and field."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from psdt_planner.errors import InputError
from psdt_planner.history import History, TherapyKind, parse_history

EXAMPLE = Path(__file__).parents[2] / "docs" / "history.toml"
EXAM = date(2026, 3, 2)


def read(text: str, *, exam: date = EXAM) -> History:
    return parse_history(text, "history.toml", exam_date=exam)


def of(*lines: str) -> str:
    return "\n".join(["schema = 1", "reference_date = 2026-03-02", *lines])


def test_the_example_shows_every_key_and_is_read() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    history = read(text)
    told = {"name", "sha256", "source", "unread", "therapies_of_bundle"}
    for key in set(History.model_fields) - told:
        assert f"\n{key} =" in text or f"[{key}]" in text, key
    assert history.diagnosis
    assert history.diagnosis.date == date(2019, 5, 14)
    assert history.disease.polymetastatic is False
    assert history.disease.oligometastatic is True
    assert [therapy.kind for therapy in history.therapies or ()] == [TherapyKind.ADT, TherapyKind.TAXANE]
    assert [value.ng_per_ml for value in history.psa or ()] == [0.1, 1.4, 2.9, 4.8]
    assert [(entry.lesion, entry.rac, entry.secondary) for entry in history.rac] == [("L1", 5, None), ("L2", 4, 2)]
    assert history.therapies_complete
    assert history.unread == ()


def test_the_same_text_gives_the_same_history() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert read(text) == read(text)


def test_what_is_left_out_is_missing_and_not_no() -> None:
    history = read(of())
    assert history.diagnosis is None
    assert history.disease.polymetastatic is None
    assert history.therapies is None
    assert history.psa is None
    assert not history.therapies_complete


def test_none_is_another_thing_than_nothing_told() -> None:
    history = read(of("therapies = []"))
    assert history.therapies == ()
    assert history.therapies_complete


THERAPY = ("[[therapies]]", 'name = "leuprorelin"', 'kind = "adt"', "start = 2019-06-03")
PSA = ("[[psa]]", "date = 2026-01-20", "value = 4.8")

REFUSED = {
    "no TOML": ("schema = ", "not TOML"),
    "another schema": ("schema = 2", "schema must be 1"),
    "no reference date": ("schema = 1", "reference_date: Field required"),
    "an unknown table": (of("[diagnoses]"), "unknown key diagnoses; the nearest known key is diagnosis"),
    "an unknown key": (of("[disease]", "polymetastasic = true"), "line 4, disease.polymetastasic: unknown key"),
    "a key of ours": (of('sha256 = "abc"'), "line 3, sha256: comes from the file, not from a key"),
    "yes as a word": (of("[disease]", 'polymetastatic = "no"'), "line 4, disease.polymetastatic"),
    "a day as a word": (of("[diagnosis]", 'date = "May 2019"'), "line 4, diagnosis.date"),
    "a date after the reference date": (
        of("[diagnosis]", "date = 2026-03-03"),
        "line 4, diagnosis.date: the date lies",
    ),
    "a therapy of an unknown kind": (of(*THERAPY[:2], 'kind = "hormone"'), "line 5, therapies[0].kind"),
    "a therapy that neither ended nor goes on": (of(*THERAPY), "needs an end, or ongoing = true"),
    "a therapy without a start": (of(*THERAPY[:3], "ongoing = true"), "a therapy needs a start"),
    "a therapy that ended and goes on": (of(*THERAPY, "end = 2020-01-01", "ongoing = true"), "has no end"),
    "a therapy that ends before it starts": (of(*THERAPY, "end = 2019-06-02"), "ends before it starts"),
    "an unknown unit": (of(*PSA, 'unit = "mg/l"'), "line 6, psa[0].unit"),
    "no unit": (of(*PSA), "psa[0].unit: Field required"),
    "another unit than PSA has": (of(*PSA, 'unit = "nmol/l"'), "psa[0].unit"),
    "two values of one day": (of(*PSA, 'unit = "ug/l"', *PSA[:2], "value = 4.9", 'unit = "ug/l"'), "is there twice"),
    "testosterone in the wrong unit": (
        of("[[testosterone]]", "date = 2026-01-20", "value = 50.0", 'unit = "ng/ml"'),
        "no serum has so much testosterone",
    ),
    "a RAC that does not exist": (of("[[rac]]", 'lesion = "L1"', "rac = 6"), "rac[0].rac"),
    "two RACs of one lesion": (of(*2 * ("[[rac]]", 'lesion = "L1"', "rac = 4")), "L1 is there twice"),
    "metastases before the tumour": (
        of("[diagnosis]", "date = 2020-01-02", "[disease]", "oligometastatic_since = 2020-01-01"),
        "before the primary diagnosis",
    ),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        read(text)
    assert words in str(refusal.value)


def test_a_reference_date_after_the_exam_is_refused() -> None:
    with pytest.raises(InputError, match="reference date lies after the exam"):
        read(of(), exam=date(2026, 3, 1))


def test_every_defect_is_named_not_only_the_first() -> None:
    with pytest.raises(InputError) as refusal:
        read(of("[disease]", "poly = true", "[[rac]]", 'lesion = "L1"', "rac = 0"))
    assert "poly" in str(refusal.value)
    assert "rac[0].rac" in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "unit", "below", "castrate"),
    [
        (49.9, "ng/dl", False, True),
        (50.0, "ng/dl", False, False),
        (50.0, "ng/dl", True, True),  # the laboratory says less than 50
        (1.69, "nmol/l", False, True),
        (1.7, "nmol/l", False, False),  # though 1.7 nmol/l are 49 ng/dl
        (0.49, "ng/ml", False, True),
        (0.5, "ug/L", False, False),
        (51.0, "ng/dl", True, False),  # less than 51 may be 50
    ],
)
def test_testosterone_is_compared_in_its_own_unit(value: float, unit: str, below: bool, castrate: bool) -> None:
    text = of("[[testosterone]]", "date = 2026-01-20", f"value = {value}", f'unit = "{unit}"')
    history = read(text + ("\nbelow = true" if below else ""))
    assert history.testosterone
    assert history.testosterone[0].is_below(ng_per_dl=50.0, nmol_per_l=1.7) is castrate
