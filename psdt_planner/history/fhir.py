"""From a FHIR R4 bundle to a `History`, by the profiles of mCODE (HL7, STU 3): one patient, and only what is certain.

What the bundle holds of a kind that counts here but cannot be used (no day, no value, a status that is not final) is
listed in `History.unread`. A bundle says nothing of earlier poly- or oligometastatic disease, nor of the reader's RAC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from pydantic import ValidationError

from psdt_planner.errors import InputError, MissingAttributeError, UnsupportedError
from psdt_planner.history.model import FROM_A_BUNDLE, History, TherapyKind, contradictions
from psdt_planner.tables import place_and_message

Resource = dict[str, Any]

LOINC: Final = "http://loinc.org"
PSA_CODES: Final = "2857-1 35741-8 83112-3"
"""Total PSA in serum or plasma by mass; free PSA is another quantity."""

TESTOSTERONE_CODES: Final = "2986-8 14913-8 49041-7"
"""Total testosterone in serum or plasma, by mass or by amount of substance; its unit tells which."""

STAGE_CODES: Final = "21908-9 21902-2 21914-7 21907-1 21901-4 21913-9 277208005 399387003 371497001"
"""Stage groups and M categories, LOINC and SNOMED CT."""

PROSTATE_CANCER_CODES: Final = "399068003 254900004 C61"
"""Malignant tumour and carcinoma of the prostate, SNOMED CT and ICD-10."""

ASSERTED: Final = "http://hl7.org/fhir/StructureDefinition/condition-assertedDate"
COURSE_SUMMARY: Final = "/mcode-radiotherapy-course-summary"
CANCER_RELATED: Final = "/mcode-cancer-related-medication-"

FINAL: Final = ("final", "amended", "corrected")
NOT_GIVEN: Final = "draft cancelled not-done not-taken entered-in-error"
ISO_DAY: Final = 10
"""Characters of a whole day; a month or a year has fewer."""

GOING_ON: Final = ("active", "in-progress")

VOID: Final = "refuted entered-in-error"

DRUGS: Final = {
    TherapyKind.ADT: "leupro goserelin triptorelin histrelin buserelin degarelix relugolix orchiectomy orchidectomy",
    TherapyKind.ARPI: "abiraterone enzalutamide apalutamide darolutamide",
    TherapyKind.TAXANE: "docetaxel cabazitaxel",
    TherapyKind.PARP: "olaparib rucaparib niraparib talazoparib",
    TherapyKind.RADIONUCLIDE: "radium lutetium vipivotide",
}
"""Beginnings of the drugs' international names."""

ONE: Final = "Send one patient's history."
MEDICATIONS: Final = ("MedicationRequest", "MedicationStatement", "MedicationAdministration")


def parse_bundle(text: str, name: str, *, exam_date: date) -> History:
    """The history in the JSON text of a FHIR bundle, as of the day of the exam.

    Raises:
        InputError: no JSON, two patients, a resource of another patient, a page of a longer answer, a date after the
            exam, or entries that contradict each other.
        MissingAttributeError: no patient.
        UnsupportedError: not a bundle, or a value in a unit that is not known.
    """
    bundle = _bundle(text, name)
    resources = [entry["resource"] for entry in bundle.get("entry", ()) if isinstance(entry.get("resource"), dict)]
    _one_patient(bundle, resources, name)
    unread: list[str] = []
    tables: dict[str, Any] = {
        "name": name,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "source": FROM_A_BUNDLE,
        "reference_date": exam_date,
        "diagnosis": _diagnosis(resources, name, unread),
        "therapies": list(_therapies(resources, unread)) or None,
        "psa": list(_values(resources, PSA_CODES, unread)) or None,
        "testosterone": list(_values(resources, TESTOSTERONE_CODES, unread)) or None,
        "radiotherapy": list(_radiotherapy(resources, unread)) or None,
        "stages": list(_stages(resources)),
    }
    try:
        history = History.model_validate({**tables, "unread": tuple(unread)})
    except ValidationError as error:
        told = [place_and_message(detail) for detail in error.errors()]
        raise UnsupportedError(_listed(told), where=f"bundle {name}") from error
    found = list(contradictions(history, exam_date))
    if found:
        raise InputError(_listed(found), where=f"bundle {name}", todo="Correct it in the system that sent it.")
    return history


def _listed(found: list[tuple[tuple[str | int, ...], str]]) -> str:
    return "; ".join(f"{'.'.join(map(str, place))}: {message}" for place, message in found)


def _bundle(text: str, name: str) -> Resource:
    where = f"bundle {name}"
    try:
        bundle = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error}", where=where) from error
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise UnsupportedError("not a FHIR Bundle", where=where)
    if any(link.get("relation") == "next" for link in bundle.get("link", ())):
        raise InputError("a page of a longer answer", where=where, todo="Send all its pages as one bundle.")
    return bundle


def _one_patient(bundle: Resource, resources: list[Resource], name: str) -> None:
    """Refuse none, two, and resources whose subject is somebody else; no patient is named."""
    where = f"bundle {name}"
    patients = [resource for resource in resources if resource.get("resourceType") == "Patient"]
    if not patients:
        raise MissingAttributeError("no Patient in the bundle", where=where)
    if len({patient.get("id") for patient in patients}) > 1:
        raise InputError("two patients in one bundle", where=where, todo=ONE)
    known = {f"Patient/{patients[0].get('id')}"}
    known |= {entry["fullUrl"] for entry in bundle["entry"] if entry.get("resource") in patients and "fullUrl" in entry}
    for resource in resources:
        if resource.get("resourceType") not in ("Observation", "Condition", "Procedure", *MEDICATIONS):
            continue
        subject = resource.get("subject", {}).get("reference")
        if subject is None:
            raise MissingAttributeError(f"{_named(resource)} does not say whose it is", where=where)
        if subject not in known and not any(subject.endswith(f"/{one}") for one in known):
            raise InputError(f"{_named(resource)} is of another patient", where=where, todo=ONE)


def _values(resources: list[Resource], codes: str, unread: list[str]) -> Iterator[dict[str, Any]]:
    """Laboratory values by day; those that are not final, or have no number or no day, are said to be unread."""
    for resource in _of_type(resources, "Observation"):
        if not _coded(resource.get("code"), codes, LOINC):
            continue
        quantity, day = resource.get("valueQuantity", {}), _day(resource.get("effectiveDateTime"))
        why = ""
        if resource.get("status") not in FINAL:
            why = "is not final"
        elif "value" not in quantity:
            why = "has no value"
        elif day is None:
            why = "does not say the day"
        elif quantity.get("comparator") in (">", ">="):
            why = "is above what the laboratory measures"
        if why:
            unread.append(f"{_named(resource)} {why}")
            continue
        below = quantity.get("comparator") in ("<", "<=")
        unit = quantity.get("code") or quantity.get("unit") or ""
        yield {"date": day, "value": float(quantity["value"]), "unit": unit, "below": below}


def _diagnosis(resources: list[Resource], name: str, unread: list[str]) -> dict[str, Any] | None:
    """When the prostate cancer was diagnosed: asserted, else begun; when it was recorded says nothing of it."""
    days = set()
    for resource in _of_type(resources, "Condition"):
        void = _coded(resource.get("verificationStatus"), VOID)
        if void or not _coded(resource.get("code"), PROSTATE_CANCER_CODES):
            continue
        asserted = [one.get("valueDateTime") for one in resource.get("extension", ()) if one.get("url") == ASSERTED]
        day = _day(next(iter(asserted), None) or resource.get("onsetDateTime"))
        if day is None:
            unread.append(f"{_named(resource)} does not say the day of diagnosis")
        else:
            days.add(day)
    if len(days) > 1:
        raise InputError("two days of the primary diagnosis", where=f"bundle {name}")
    return {"date": days.pop()} if days else None


def _therapies(resources: list[Resource], unread: list[str]) -> Iterator[dict[str, Any]]:
    """Systemic therapies of the cancer, with whether they go on; single doses do not tell that."""
    drugs = {f"Medication/{one.get('id')}": one.get("code") for one in _of_type(resources, "Medication")}
    for resource in _of_type(resources, *MEDICATIONS):
        concept = resource.get("medicationCodeableConcept") or drugs.get(
            resource.get("medicationReference", {}).get("reference", "")
        )
        name = _words(concept)
        kind = _kind(name)
        status = resource.get("status")
        if kind is None and not any(CANCER_RELATED in profile for profile in _profiles(resource)):
            if status in GOING_ON:
                told = name or "a drug without a name"
                unread.append(f"{_named(resource)}: {told} goes on, and is not known for a therapy of the cancer")
            continue
        meant = resource.get("intent", "order") not in ("proposal", "option") and not resource.get("doNotPerform")
        if not name or not meant or status in NOT_GIVEN.split():
            unread.append(f"{_named(resource)} does not say that something was given")
            continue
        period = resource.get("effectivePeriod", {})
        start = period.get("start") or resource.get("effectiveDateTime") or resource.get("authoredOn")
        end = _day(period.get("end"))
        yield {
            "name": name,
            "kind": kind or TherapyKind.OTHER,
            "start": _day(start),
            "end": end,
            "ongoing": _ongoing(resource, end),
        }


def _ongoing(resource: Resource, end: date | None) -> bool | None:
    if end is not None:
        return False
    if resource["resourceType"] == "MedicationAdministration":
        return None
    return {"active": True, "completed": False, "stopped": False}.get(resource.get("status", ""))


def _kind(name: str) -> TherapyKind | None:
    words = name.lower().replace("-", " ").split()
    found = (kind for kind, drugs in DRUGS.items() if any(word.startswith(tuple(drugs.split())) for word in words))
    return next(found, None)


def _radiotherapy(resources: list[Resource], unread: list[str]) -> Iterator[dict[str, Any]]:
    for resource in _of_type(resources, "Procedure"):
        if not any(profile.endswith(COURSE_SUMMARY) for profile in _profiles(resource)):
            continue
        day = _day(resource.get("performedPeriod", {}).get("start") or resource.get("performedDateTime"))
        if day is None:
            unread.append(f"{_named(resource)} does not say the day")
            continue
        sites = [_words(site) for site in resource.get("bodySite", ())]
        yield {"site": ", ".join(filter(None, sites)) or "site not stated", "date": day}


def _stages(resources: list[Resource]) -> Iterator[dict[str, Any]]:
    for resource in _of_type(resources, "Observation"):
        words = _words(resource.get("valueCodeableConcept"))
        if _coded(resource.get("code"), STAGE_CODES) and words and resource.get("status") in FINAL:
            yield {"stage": words, "date": _day(resource.get("effectiveDateTime"))}


def _of_type(resources: list[Resource], *types: str) -> list[Resource]:
    return [resource for resource in resources if resource.get("resourceType") in types]


def _coded(concept: Resource | None, codes: str, system: str = "") -> bool:
    """Whether a concept has one of the codes, of the given system where one is given."""
    coding = (concept or {}).get("coding", ())
    return any(one.get("code") in codes.split() for one in coding if not system or one.get("system") == system)


def _words(concept: Resource | None) -> str:
    """The text of a concept, else what its first code displays."""
    if not concept:
        return ""
    shown = [one.get("display", "") for one in concept.get("coding", ())]
    return str(concept.get("text") or next(filter(None, shown), ""))


def _profiles(resource: Resource) -> list[str]:
    return [str(profile).split("|")[0] for profile in resource.get("meta", {}).get("profile", ())]


def _named(resource: Resource) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id', 'without id')}"


def _day(text: str | None) -> date | None:
    """The day of a FHIR date or dateTime, as written; None for a month, a year, or nothing."""
    return date.fromisoformat(text[:10]) if text and len(text) >= ISO_DAY else None
