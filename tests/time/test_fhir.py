"""FHIR bundles in the words of mCODE: what is taken, what is said to be unread, and what is refused."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from psdt_planner.errors import InputError, MissingAttributeError, UnsupportedError
from psdt_planner.history import History, TherapyKind, parse_bundle

EXAM = date(2026, 3, 2)
MINE = {"subject": {"reference": "Patient/p1"}}
PATIENT = {"resourceType": "Patient", "id": "p1"}
MCODE = "http://hl7.org/fhir/us/mcode/StructureDefinition"


def lab(name: str, code: str, value: float, unit: str, day: str = "2026-01-20", **more: Any) -> dict[str, Any]:
    quantity = {"value": value, "code": unit, "system": "http://unitsofmeasure.org", **more.pop("quantity", {})}
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "effectiveDateTime": day,
        "valueQuantity": quantity,
        **MINE,
        **more,
    }


def cancer(**more: Any) -> dict[str, Any]:
    code = {"coding": [{"system": "http://snomed.info/sct", "code": "399068003"}]}
    return {"resourceType": "Condition", "id": "c1", "code": code, "onsetDateTime": "2019-05-14", **MINE, **more}


def drug(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": name, "medicationCodeableConcept": {"text": name}, **MINE, **more}


def bundle(*resources: dict[str, Any], **more: Any) -> str:
    return json.dumps({"resourceType": "Bundle", "entry": [{"resource": one} for one in resources], **more})


def read(*resources: dict[str, Any], **more: Any) -> History:
    return parse_bundle(bundle(PATIENT, *resources, **more), "bundle.json", exam_date=EXAM)


def test_a_bundle_becomes_a_history() -> None:
    history = read(
        cancer(),
        lab("psa1", "2857-1", 4.8, "ng/mL"),
        lab("psa2", "35741-8", 0.01, "ng/mL", "2021-06-01T08:00:00+09:00", quantity={"comparator": "<"}),
        lab("t1", "2986-8", 17.0, "ng/dL"),
        lab("t2", "14913-8", 0.6, "nmol/L", "2026-02-01"),
        drug("MedicationRequest", "Leuprorelin 22.5 mg", status="active", intent="order", authoredOn="2019-06-03"),
        drug(
            "MedicationStatement",
            "docetaxel",
            status="completed",
            effectivePeriod={"start": "2021-01-11", "end": "2021-05-03"},
        ),
    )
    assert history.source == "FHIR bundle"
    assert history.reference_date == EXAM
    assert history.diagnosis
    assert history.diagnosis.date == date(2019, 5, 14)
    assert [(one.date, one.value, one.below) for one in history.psa or ()] == [
        (date(2026, 1, 20), 4.8, False),
        (date(2021, 6, 1), 0.01, True),
    ]
    assert [(one.value, one.unit) for one in history.testosterone or ()] == [(17.0, "ng/dl"), (0.6, "nmol/l")]
    assert [(one.kind, one.ongoing) for one in history.therapies or ()] == [
        (TherapyKind.ADT, True),
        (TherapyKind.TAXANE, False),
    ]
    assert history.unread == ()


def test_a_bundle_does_not_tell_earlier_disease_nor_that_therapies_are_all() -> None:
    history = read(cancer())
    assert history.disease.polymetastatic is None
    assert history.disease.oligometastatic is None
    assert history.therapies is None
    assert not history.therapies_complete


def test_the_asserted_date_of_diagnosis_goes_before_the_onset_and_the_record() -> None:
    asserted = {"url": "http://hl7.org/fhir/StructureDefinition/condition-assertedDate", "valueDateTime": "2019-06-01"}
    history = read(cancer(extension=[asserted], recordedDate="2025-01-01"))
    assert history.diagnosis
    assert history.diagnosis.date == date(2019, 6, 1)


def test_when_a_diagnosis_was_recorded_is_not_when_it_was_made() -> None:
    history = read(cancer(onsetDateTime=None, recordedDate="2025-01-01"))
    assert history.diagnosis is None
    assert history.unread == ("Condition/c1 does not say the day of diagnosis",)


def test_a_refuted_diagnosis_is_none() -> None:
    assert read(cancer(verificationStatus={"coding": [{"code": "refuted"}]})).diagnosis is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "preliminary"}, "is not final"),
        ({"status": "entered-in-error"}, "is not final"),
        ({"valueQuantity": {}}, "has no value"),
        ({"effectiveDateTime": "2026-01"}, "does not say the day"),
        ({"quantity": {"comparator": ">"}}, "is above what the laboratory measures"),
    ],
)
def test_a_value_that_cannot_be_used_is_said_to_be_unread(change: dict[str, Any], why: str) -> None:
    history = read(lab("psa1", "2857-1", 4.8, "ng/mL", **change))
    assert history.psa is None
    assert history.unread == (f"Observation/psa1 {why}",)


@pytest.mark.parametrize("code", ["10886-0", "718-7"], ids=["free PSA", "haemoglobin"])
def test_other_quantities_are_not_total_psa(code: str) -> None:
    history = read(lab("o1", code, 4.8, "ng/mL"))
    assert history.psa is None
    assert history.unread == ()


def test_a_code_of_another_system_is_no_loinc() -> None:
    observation = lab("o1", "2857-1", 4.8, "ng/mL")
    observation["code"]["coding"][0]["system"] = "http://hospital.example/codes"
    assert read(observation).psa is None


def test_single_doses_do_not_tell_whether_a_therapy_goes_on() -> None:
    history = read(drug("MedicationAdministration", "goserelin", status="completed", effectiveDateTime="2026-01-05"))
    assert history.therapies
    assert history.therapies[0].ongoing is None


def test_what_is_not_for_the_cancer_is_no_therapy_of_it() -> None:
    assert read(drug("MedicationRequest", "metformin", status="active", authoredOn="2020-01-01")).therapies is None


def test_a_drug_that_is_marked_as_for_the_cancer_counts_by_any_name() -> None:
    profile = {"profile": [f"{MCODE}/mcode-cancer-related-medication-request|3.0.0"]}
    history = read(drug("MedicationRequest", "trial drug 12", status="active", authoredOn="2025-01-01", meta=profile))
    assert history.therapies
    assert history.therapies[0].kind is TherapyKind.OTHER


@pytest.mark.parametrize("change", [{"status": "cancelled"}, {"intent": "proposal"}, {"doNotPerform": True}])
def test_what_was_not_given_is_no_therapy(change: dict[str, Any]) -> None:
    request = drug("MedicationRequest", "enzalutamide", **{"status": "active", "authoredOn": "2025-01-01", **change})
    history = read(request)
    assert history.therapies is None
    assert history.unread == ("MedicationRequest/enzalutamide does not say that something was given",)


def test_a_drug_may_stand_in_its_own_resource() -> None:
    request = drug("MedicationRequest", "m1", status="active", authoredOn="2025-01-01")
    del request["medicationCodeableConcept"]
    request["medicationReference"] = {"reference": "Medication/d1"}
    medication = {"resourceType": "Medication", "id": "d1", "code": {"coding": [{"display": "abiraterone acetate"}]}}
    history = read(request, medication)
    assert history.therapies
    assert history.therapies[0].kind is TherapyKind.ARPI


def test_stage_and_earlier_radiotherapy() -> None:
    stage = lab("s1", "21908-9", 0.0, "", "2019-05-28")
    stage["valueCodeableConcept"] = {"text": "IVB"}
    course = {
        "resourceType": "Procedure",
        "id": "r1",
        "meta": {"profile": [f"{MCODE}/mcode-radiotherapy-course-summary"]},
        "performedPeriod": {"start": "2019-09-02"},
        "bodySite": [{"coding": [{"display": "Prostate"}]}],
        **MINE,
    }
    history = read(stage, course)
    assert [(one.stage, one.date) for one in history.stages] == [("IVB", date(2019, 5, 28))]
    assert [(one.site, one.date) for one in history.radiotherapy or ()] == [("Prostate", date(2019, 9, 2))]


def test_a_patient_may_be_named_by_its_full_url() -> None:
    url = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
    entries = [{"fullUrl": url, "resource": PATIENT}, {"resource": {**cancer(), "subject": {"reference": url}}}]
    text = json.dumps({"resourceType": "Bundle", "entry": entries})
    assert parse_bundle(text, "bundle.json", exam_date=EXAM).diagnosis


@pytest.mark.parametrize(
    ("status", "unread"),
    [
        ("active", ("MedicationRequest/wonderumab: wonderumab goes on, and is not known for a therapy of the cancer",)),
        ("completed", ()),
        ("cancelled", ()),
    ],
)
def test_a_drug_that_goes_on_and_nobody_knows_is_said(status: str, unread: tuple[str, ...]) -> None:
    """It may be a systemic therapy under another name."""
    history = read(drug("MedicationRequest", "wonderumab", status=status, intent="order"))
    assert history.therapies is None
    assert history.unread == unread


OTHER_PATIENT = {"resourceType": "Patient", "id": "p2"}
REFUSED: dict[str, tuple[str, type[Exception], str]] = {
    "no JSON": ("{", InputError, "not JSON"),
    "no bundle": (json.dumps(PATIENT), UnsupportedError, "not a FHIR Bundle"),
    "no patient": (bundle(cancer()), MissingAttributeError, "no Patient"),
    "two patients": (bundle(PATIENT, OTHER_PATIENT), InputError, "two patients"),
    "another patient's value": (
        bundle(PATIENT, lab("psa1", "2857-1", 1.0, "ng/mL", subject={"reference": "Patient/p11"})),
        InputError,
        "Observation/psa1 is of another patient",
    ),
    "nobody's value": (
        bundle(PATIENT, lab("psa1", "2857-1", 1.0, "ng/mL", subject={})),
        MissingAttributeError,
        "Observation/psa1 does not say whose it is",
    ),
    "a page of more": (bundle(PATIENT, link=[{"relation": "next", "url": "x"}]), InputError, "page of a longer answer"),
    "an unknown unit": (bundle(PATIENT, lab("p", "2857-1", 1.0, "mg/L")), UnsupportedError, "psa.0.unit"),
    "no unit": (bundle(PATIENT, lab("p", "2857-1", 1.0, "")), UnsupportedError, "psa.0.unit"),
    "a value after the exam": (
        bundle(PATIENT, lab("p", "2857-1", 1.0, "ng/mL", "2026-03-03")),
        InputError,
        "lies after the reference date",
    ),
    "two days of diagnosis": (
        bundle(PATIENT, cancer(), cancer(onsetDateTime="2020-01-01")),
        InputError,
        "two days of the primary diagnosis",
    ),
}


@pytest.mark.parametrize(("text", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name_and_without_a_patient(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as refusal:
        parse_bundle(text, "bundle.json", exam_date=EXAM)
    assert words in str(refusal.value)
    assert "p2" not in str(refusal.value)
