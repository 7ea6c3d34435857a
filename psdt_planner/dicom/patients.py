"""Whose images these are: every object is held against the planning CT's patient, without saying anybody's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.tag import Tag

from psdt_planner.dicom.attributes import text_or_empty
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.series import Series
from psdt_planner.findings import Finding, Level

STATED = tuple(
    Tag(keyword)
    for keyword in ("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate")
)


@dataclass(frozen=True)
class Patient:
    """What identifies a patient, in a form that compares."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str


def patient_of(header: Header) -> Patient:
    """The patient that one object names; a name without regard to case, padding and empty trailing parts."""
    ds = header.dataset
    name = text_or_empty(ds, "PatientName").split("=")[0].upper()
    return Patient(
        patient_id=text_or_empty(ds, "PatientID"),
        issuer=text_or_empty(ds, "IssuerOfPatientID"),
        name="^".join(part.strip() for part in name.split("^")).strip("^ "),
        birth_date=text_or_empty(ds, "PatientBirthDate"),
    )


def _stated(header: Header) -> tuple[str, ...]:
    """What of an object tells its patient, before it is decoded: most objects of a series state the same."""
    elements = (header.dataset.get_item(tag) for tag in STATED)
    return tuple("" if element is None else str(element.value) for element in elements)


def compare_patients(series: Sequence[Series], reference: Series) -> list[Finding]:
    """Differences from the reference series' patient, one finding for each series and kind of difference.

    ``patient-mismatch`` (hold): another PatientID, or issuer where both name one; ``patient-id-missing`` (hold);
    ``patient-birth-date-differs`` (hold) and ``patient-name-differs`` (warn), where both name one.
    """
    expected = patient_of(reference.headers[0])
    findings = []
    for one in series:
        patients = {patient_of(header) for header in {_stated(header): header for header in one.headers}.values()}
        found = sorted({code for patient in patients for code in _differences(patient, expected)})
        findings += [
            Finding(code, level, f"series {one.uid} ({one.kind}) {_WORDS[code]} series {reference.uid}")
            for code in found
            for level in [Level.WARN if code == "patient-name-differs" else Level.HOLD]
        ]
    return findings


_WORDS = {
    "patient-mismatch": "is of another patient, by PatientID or its issuer, than",
    "patient-id-missing": "names no PatientID and cannot be held against",
    "patient-birth-date-differs": "names another birth date than",
    "patient-name-differs": "names the patient differently from",
}


def _differences(patient: Patient, expected: Patient) -> set[str]:
    found = set()
    if not patient.patient_id:
        found.add("patient-id-missing")
    elif patient.patient_id != expected.patient_id or _differ(patient.issuer, expected.issuer):
        found.add("patient-mismatch")
    if _differ(patient.birth_date, expected.birth_date):
        found.add("patient-birth-date-differs")
    if _differ(patient.name, expected.name):
        found.add("patient-name-differs")
    return found


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)
