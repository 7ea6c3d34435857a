"""The proposal as FHIR R4: course, phases and volumes by the CodeX Radiation Therapy profiles (HL7, STU 2), as a draft.

The profiles fix ``intent`` to ``original-order``. Ours is ``proposal``, since nobody ordered anything: that is the one
rule of theirs that these resources break, and a validator says so.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.proposed import ProposedTarget
from psdt_planner.errors import ReadBackError
from psdt_planner.fractionation import Proposal, Schedule
from psdt_planner.planning import Plan, PlannedLesion
from psdt_planner.planning.types import DESCRIPTION
from psdt_planner.shapes import Roi, RoiKind

Resource = dict[str, Any]

CODEX: Final = "http://hl7.org/fhir/us/codex-radiation-therapy/StructureDefinition/codexrt-radiotherapy"
VOLUME: Final = "http://hl7.org/fhir/us/mcode/StructureDefinition/mcode-radiotherapy-volume"
SNOMED: Final = "http://snomed.info/sct"
UCUM: Final = "http://unitsofmeasure.org"
COURSE_CODE: Final = ("1217123003", "Radiotherapy course of treatment (regime/therapy)")
PHASE_CODE: Final = ("1222565005", "Radiotherapy treatment phase (regime/therapy)")
RADIOTHERAPY: Final = ("108290001", "Radiation oncology AND/OR radiotherapy (procedure)")
PTV: Final = ("228793007", "PTV")
CGY_A_GY: Final = 100.0
"""The profiles state dose in cGy."""


def prescription_bundle(plan: Plan, patient_id: str, stamp: Stamp) -> Resource:
    """A collection: the course, and for each lesion with a proposal its phase and its PTV.

    Args:
        plan: proposed.
        patient_id: PatientID as on the planning CT: the only thing that tells whose course it is.
        stamp: time, and what the identities are made from.
    """
    chosen = list(_proposed(plan))
    volumes = {lesion.flag.id: _volume(lesion, ptv, patient_id, stamp) for lesion, _, ptv in chosen}
    course = _request("course", "course", COURSE_CODE, patient_id, stamp)
    course["extension"] = [
        _dose(volumes[lesion.flag.id], proposal.schedule, fraction=False) for lesion, proposal, _ in chosen
    ]
    phases = []
    for lesion, proposal, _ in chosen:
        phase = _request("phase", f"phase {lesion.flag.id}", PHASE_CODE, patient_id, stamp)
        phase["basedOn"] = [{"reference": _urn(course)}]
        fractions = {"url": f"{CODEX}-fractions-prescribed", "valuePositiveInt": proposal.schedule.fractions}
        phase["extension"] = [fractions, _dose(volumes[lesion.flag.id], proposal.schedule, fraction=True)]
        words = [DESCRIPTION, f"Rule {proposal.rule}, certainty {proposal.certainty}.", *proposal.cautions]
        phase["note"] = [{"text": " ".join(words)}]
        phases.append(phase)
    resources = [course, *phases, *volumes.values()] if chosen else []
    return {
        "resourceType": "Bundle",
        "id": _id(stamp, "bundle"),
        "type": "collection",
        "timestamp": stamp.created.isoformat(),
        "entry": [{"fullUrl": _urn(resource), "resource": resource} for resource in resources],
    }


def check_bundle(bundle: Resource, plan: Plan) -> None:
    """Hold what was read back against the plan: every proposal once, as a draft, in the plan's figures.

    Raises:
        ReadBackError: naming the lesion or what is no draft.
    """
    entries = bundle.get("entry", [])
    requests = [one["resource"] for one in entries if one["resource"]["resourceType"] == "ServiceRequest"]
    if any((one["status"], one["intent"]) != ("draft", "proposal") for one in requests):
        raise ReadBackError("the FHIR bundle holds a request that is no draft of a proposal")
    read = {one["identifier"][0]["value"]: _read_schedule(one) for one in requests if _is_phase(one)}
    meant = {
        f"phase {lesion.flag.id}": (proposal.schedule.fractions, round(CGY_A_GY * proposal.schedule.dose_gy, 6))
        for lesion, proposal, _ in _proposed(plan)
    }
    if read != meant:
        differing = sorted(name for name in {*read, *meant} if read.get(name) != meant.get(name))
        raise ReadBackError(f"the FHIR bundle reads back otherwise in {', '.join(differing)}")


def _is_phase(request: Resource) -> bool:
    return bool(request["code"]["coding"][0]["code"] == PHASE_CODE[0])


def _read_schedule(phase: Resource) -> tuple[int, float]:
    fractions, dose = phase["extension"]
    total = next(one for one in dose["extension"] if one["url"] == "totalDose")
    return fractions["valuePositiveInt"], total["valueQuantity"]["value"]


def _proposed(plan: Plan) -> Iterator[tuple[PlannedLesion, Proposal, Roi]]:
    """Lesions with a proposal and the PTV that it is for; one whose PTV was merged into another's has none."""
    for lesion in plan.lesions:
        ptv = next((roi for roi in lesion.rois if roi.kind is RoiKind.PTV), None)
        if isinstance(lesion.proposal, Proposal) and ptv is not None:
            yield lesion, lesion.proposal, ptv


def proposed_targets(plan: Plan) -> tuple[ProposedTarget, ...]:
    """The same for the DICOM objects that prescribe, in order of ROI number."""
    targets = (
        ProposedTarget(
            lesion=lesion.flag.id,
            roi_number=ptv.number,
            roi_name=ptv.name,
            site=lesion.flag.site,
            tracking_uid=lesion.flag.tracking_uid,
            schedule=proposal.schedule,
            rule=proposal.rule,
        )
        for lesion, proposal, ptv in _proposed(plan)
    )
    return tuple(sorted(targets, key=lambda target: target.roi_number))


def _request(profile: str, role: str, code: Sequence[str], patient_id: str, stamp: Stamp) -> Resource:
    return {
        "resourceType": "ServiceRequest",
        "id": _id(stamp, role),
        "meta": {"profile": [f"{CODEX}-{profile}-prescription"]},
        "identifier": [{"value": role}],
        "status": "draft",
        "intent": "proposal",
        "category": [_coded(RADIOTHERAPY)],
        "code": _coded(code),
        "subject": {"identifier": {"value": patient_id}},
        "authoredOn": stamp.created.isoformat(),
        "note": [{"text": DESCRIPTION}],
    }


def _volume(lesion: PlannedLesion, ptv: Roi, patient_id: str, stamp: Stamp) -> Resource:
    identity = [{"use": "usual", "value": ptv.name}]
    if lesion.flag.tracking_uid:
        identity.append({"system": "urn:dicom:uid", "value": f"urn:oid:{lesion.flag.tracking_uid}"})
    side = "" if lesion.flag.side.value == "unknown" else f", {lesion.flag.side.value}"
    return {
        "resourceType": "BodyStructure",
        "id": _id(stamp, f"volume {lesion.flag.id}"),
        "meta": {"profile": [VOLUME]},
        "identifier": identity,
        "morphology": {**_coded(PTV), "text": "Planning target volume"},
        "location": {"text": f"{lesion.flag.site}{side}"},
        "description": f"{ptv.name} of {lesion.flag.id}: PROPOSAL, not approved",
        "patient": {"identifier": {"value": patient_id}},
    }


def _dose(volume: Resource, schedule: Schedule, *, fraction: bool) -> Resource:
    """The dose to one volume: of a phase by fraction, of a course with the number of fractions."""
    parts: list[Resource] = [{"url": "volume", "valueReference": {"reference": _urn(volume)}}]
    if fraction:
        parts.append({"url": "fractionDose", "valueQuantity": _cgy(schedule.dose_per_fraction_gy)})
    parts.append({"url": "totalDose", "valueQuantity": _cgy(schedule.dose_gy)})
    if not fraction:
        parts.append({"url": "fractions", "valuePositiveInt": schedule.fractions})
    return {"url": f"{CODEX}-dose-prescribed-to-volume", "extension": parts}


def _cgy(dose_gy: float) -> Resource:
    return {"value": round(CGY_A_GY * dose_gy, 6), "unit": "cGy", "system": UCUM, "code": "cGy"}


def _coded(code: Sequence[str]) -> Resource:
    return {"coding": [{"system": SNOMED, "code": code[0], "display": code[1]}]}


def _id(stamp: Stamp, role: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, stamp.uid("fhir", role)))


def _urn(resource: Resource) -> str:
    return f"urn:uuid:{resource['id']}"
