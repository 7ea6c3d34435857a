"""A history that a person wrote beside a bundle: one history, or refused with every contradiction by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from psdt_planner.dossier import load_history
from psdt_planner.errors import ConfigurationError, InputError
from psdt_planner.history import History, parse_bundle, parse_history
from psdt_planner.history import joined as join
from tests.time.test_fhir import PATIENT, bundle, cancer, drug, lab

EXAM = date(2026, 3, 2)
PERSON = """
schema = 1
reference_date = 2026-02-20

[disease]
polymetastatic = false
oligometastatic = true
"""
DIAGNOSED = "[diagnosis]\ndate = 2019-05-14\n"
ADT = '[[therapies]]\nname = "leuprorelin"\nkind = "adt"\nstart = 2019-06-03\nongoing = true\n'
ADT_OVER = ADT.replace("ongoing = true", "end = 2024-06-03")
PSA = '[[psa]]\ndate = 2026-01-20\nvalue = 4.8\nunit = "ng/ml"\n'
TESTOSTERONE = '[[testosterone]]\ndate = 2026-01-20\nvalue = 0.6\nunit = "nmol/l"\n'
LEUPRORELIN = drug("MedicationRequest", "Leuprorelin 22.5 mg", status="active", intent="order", authoredOn="2020-06-03")
DOCETAXEL = drug("MedicationStatement", "docetaxel", status="completed", effectiveDateTime="2021-01-11")


def both(person: str, *resources: dict[str, object]) -> History:
    of_person = parse_history(PERSON + person, "history.toml", exam_date=EXAM)
    return join(of_person, parse_bundle(bundle(PATIENT, *resources), "bundle.json", exam_date=EXAM))


def test_each_tells_what_the_other_does_not() -> None:
    found = both(PSA, cancer(), lab("p1", "2857-1", 2.9, "ng/mL", "2025-09-09"), lab("t", "2986-8", 17.0, "ng/dL"))
    assert found.source == "history.toml and FHIR bundle"
    assert found.name == "history.toml, bundle.json"
    assert found.reference_date == EXAM
    assert found.diagnosis is not None
    assert found.diagnosis.date == date(2019, 5, 14)
    assert found.disease.oligometastatic is True
    assert [(one.date, one.value) for one in found.psa or ()] == [(date(2026, 1, 20), 4.8), (date(2025, 9, 9), 2.9)]
    assert [(one.value, one.unit) for one in found.testosterone or ()] == [(17.0, "ng/dl")]


def test_the_same_value_in_two_units_is_one() -> None:
    found = both(PSA + TESTOSTERONE, lab("p", "2857-1", 4.8, "ug/L"), lab("t", "2986-8", 17.3, "ng/dL"))
    assert len(found.psa or ()) == 1
    assert [(one.value, one.unit) for one in found.testosterone or ()] == [(0.6, "nmol/l")]


def test_the_hash_is_of_both_files() -> None:
    one, other = both(PSA), both(PSA, cancer())
    assert one.sha256 != other.sha256


@pytest.mark.parametrize(
    ("person", "resources", "complete"),
    [("", [LEUPRORELIN], False), (ADT, [LEUPRORELIN], True), (ADT, [], True), ("", [], False)],
)
def test_only_a_person_s_list_of_therapies_is_whole(
    person: str, resources: list[dict[str, object]], complete: bool
) -> None:
    found = both(person, *resources)
    assert found.therapies_complete is complete
    assert {one.kind.value for one in found.therapies or ()} == ({"adt"} if person or resources else set())


CONTRADICTIONS = {
    "diagnosis": (
        DIAGNOSED, [cancer(onsetDateTime="2020-01-01")],
        "the primary diagnosis is of 2019-05-14 in one and of 2020-01-01 in the other",
    ),
    "PSA of one day": (
        PSA, [lab("p", "2857-1", 8.4, "ng/mL")], "psa of 2026-01-20 is 4.8 ng/ml in one and 8.4 ng/ml in the other"
    ),
    "PSA below a limit": (
        PSA, [lab("p", "2857-1", 4.8, "ng/mL", quantity={"comparator": "<"})], "below 4.8 ng/ml in the other"
    ),
    "testosterone of one day": (
        TESTOSTERONE, [lab("t", "2986-8", 50.0, "ng/dL")],
        "testosterone of 2026-01-20 is 0.6 nmol/l in one and 50 ng/dl in the other",
    ),
    "a therapy that the person does not list": (
        ADT, [LEUPRORELIN, DOCETAXEL], "docetaxel (taxane) is in bundle.json alone, though history.toml lists"
    ),
    "a therapy of whoever had none": ("therapies = []\n", [LEUPRORELIN], "Leuprorelin 22.5 mg (adt) is in bundle.json"),
    "a therapy that is over": (
        ADT_OVER, [LEUPRORELIN], "Leuprorelin 22.5 mg (adt) goes on in bundle.json and is over in history.toml"
    ),
    "metastases before the diagnosis": (
        "oligometastatic_since = 2024-01-01\n", [cancer(onsetDateTime="2025-01-01")],
        "metastases were found before the primary diagnosis"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("person", "resources", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions_are_refused_by_name(person: str, resources: list[dict[str, object]], words: str) -> None:
    first = person.startswith("therapies")
    told = f"{person}{PERSON}" if first else f"{PERSON}{person}"
    of_person = parse_history(told, "history.toml", exam_date=EXAM)
    of_system = parse_bundle(bundle(PATIENT, *resources), "bundle.json", exam_date=EXAM)
    with pytest.raises(InputError) as refusal:
        join(of_person, of_system)
    assert words in str(refusal.value)
    assert "history.toml and bundle.json" in str(refusal.value)


def test_two_files_are_one_of_each_kind_in_any_order(tmp_path: Path) -> None:
    person, of_system = tmp_path / "history.toml", tmp_path / "bundle.json"
    person.write_text(PERSON + PSA, encoding="utf-8")
    of_system.write_text(bundle(PATIENT, cancer()), encoding="utf-8")
    one, other = load_history(person, of_system), load_history(of_system, person)
    assert one == other is not None
    assert one is not None
    assert one.as_of(EXAM).source == "history.toml and FHIR bundle"
    assert load_history() is None
    with pytest.raises(ConfigurationError, match="one of each"):
        load_history(person, person)
