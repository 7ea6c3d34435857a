"""The proposal as FHIR: course, phases and volumes, a draft in every part, and valid R4B by another library."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from psdt_planner.dossier.fhir import check_bundle, prescription_bundle, proposed_targets
from psdt_planner.errors import ReadBackError
from psdt_planner.fractionation import Proposal
from psdt_planner.planning import Plan
from tests.structures.scenes import STAMP

CODEX = "http://hl7.org/fhir/us/codex-radiation-therapy/StructureDefinition/"


@pytest.fixture(scope="module")
def bundle(plan: Plan) -> dict[str, Any]:
    return dict(json.loads(json.dumps(prescription_bundle(plan, "P-1", STAMP))))


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def proposals(plan: Plan) -> dict[str, Proposal]:
    return {lesion.flag.id: lesion.proposal for lesion in plan.lesions if isinstance(lesion.proposal, Proposal)}


def part(extension: dict[str, Any], url: str) -> Any:
    (found,) = [one for one in extension["extension"] if one["url"] == url]
    return found


def test_another_library_takes_every_resource(bundle: dict[str, Any]) -> None:
    read = Bundle.model_validate(bundle)
    assert read.type == "collection"
    assert len(read.entry) == len(bundle["entry"]) == 7


def test_every_request_is_a_draft_of_a_proposal_by_its_profile(bundle: dict[str, Any]) -> None:
    requests = resources(bundle, "ServiceRequest")
    assert {(one["status"], one["intent"]) for one in requests} == {("draft", "proposal")}
    profiles = [one["meta"]["profile"] for one in requests]
    course, phase = (f"{CODEX}codexrt-radiotherapy-{what}-prescription" for what in ("course", "phase"))
    assert profiles == [[course], [phase], [phase], [phase]]
    codes = [one["code"]["coding"][0]["code"] for one in requests]
    assert codes == ["1217123003", *["1222565005"] * 3]
    for one in requests:
        assert "not a prescription" in one["note"][0]["text"]
        assert one["subject"] == {"identifier": {"value": "P-1"}}


def test_every_phase_has_the_dose_of_its_lesion(bundle: dict[str, Any], plan: Plan) -> None:
    """In cGy, a fraction and in all, to the volume that is the lesion's PTV."""
    volumes = {f"urn:uuid:{one['id']}": one for one in resources(bundle, "BodyStructure")}
    course, *phases = resources(bundle, "ServiceRequest")
    meant = proposals(plan)
    assert [phase["identifier"][0]["value"] for phase in phases] == [f"phase {lesion}" for lesion in meant]
    for phase, (lesion, proposal) in zip(phases, meant.items(), strict=True):
        schedule = proposal.schedule
        assert phase["basedOn"] == [{"reference": f"urn:uuid:{course['id']}"}]
        fractions, dose = phase["extension"]
        assert fractions["url"] == f"{CODEX}codexrt-radiotherapy-fractions-prescribed"
        assert fractions["valuePositiveInt"] == schedule.fractions
        assert dose["url"] == f"{CODEX}codexrt-radiotherapy-dose-prescribed-to-volume"
        total, each = (part(dose, url)["valueQuantity"] for url in ("totalDose", "fractionDose"))
        assert (total["value"], total["code"]) == (100 * schedule.dose_gy, "cGy")
        assert each["value"] * schedule.fractions == pytest.approx(total["value"])
        volume = volumes[part(dose, "volume")["valueReference"]["reference"]]
        assert volume["identifier"][0]["value"] == f"PTV{lesion[1:]}"
        assert volume["meta"]["profile"] == [
            "http://hl7.org/fhir/us/mcode/StructureDefinition/mcode-radiotherapy-volume"
        ]
        assert "PROPOSAL" in volume["description"]


def test_the_course_has_every_volume_with_its_fractions_and_no_dose_of_one(bundle: dict[str, Any], plan: Plan) -> None:
    course = resources(bundle, "ServiceRequest")[0]
    told = [
        (part(dose, "totalDose")["valueQuantity"]["value"], part(dose, "fractions")["valuePositiveInt"])
        for dose in course["extension"]
    ]
    assert told == [(100 * one.schedule.dose_gy, one.schedule.fractions) for one in proposals(plan).values()]
    assert all("fractionDose" not in {one["url"] for one in dose["extension"]} for dose in course["extension"])


def test_a_lesion_without_a_dose_or_without_a_ptv_of_its_own_is_in_nothing(plan: Plan) -> None:
    first, *rest = plan.lesions
    merged = replace(plan, lesions=(replace(first, rois=first.rois[:2]), *rest))
    found = json.dumps(prescription_bundle(merged, "P-1", STAMP))
    assert "phase L1" not in found
    assert "L4" not in found
    assert "phase L2" in found


def test_a_plan_without_doses_is_an_empty_collection(plan: Plan) -> None:
    none = replace(plan, lesions=plan.lesions[-1:])
    found = prescription_bundle(none, "P-1", STAMP)
    assert found["entry"] == []
    check_bundle(found, none)


def test_the_same_plan_and_stamp_give_the_same_identities(plan: Plan, bundle: dict[str, Any]) -> None:
    assert prescription_bundle(plan, "P-1", STAMP) == bundle
    other = prescription_bundle(plan, "P-1", replace(STAMP, entropy="another"))
    assert not {one["fullUrl"] for one in other["entry"]} & {one["fullUrl"] for one in bundle["entry"]}


@pytest.mark.parametrize("what", ["status", "intent", "dose", "fractions", "lost"])
def test_what_reads_back_otherwise_is_refused(bundle: dict[str, Any], plan: Plan, what: str) -> None:
    check_bundle(bundle, plan)
    broken = copy.deepcopy(bundle)
    phase = resources(broken, "ServiceRequest")[2]
    if what in ("status", "intent"):
        phase[what] = "active" if what == "status" else "order"
    elif what == "dose":
        part(phase["extension"][1], "totalDose")["valueQuantity"]["value"] += 1
    elif what == "fractions":
        phase["extension"][0]["valuePositiveInt"] += 1
    else:
        broken["entry"] = [one for one in broken["entry"] if one["resource"] is not phase]
    with pytest.raises(ReadBackError, match="draft" if what in ("status", "intent") else "phase L2"):
        check_bundle(broken, plan)


def test_targets_for_dicom_are_those_of_the_phases(plan: Plan) -> None:
    found = proposed_targets(plan)
    assert [(one.lesion, one.roi_name, one.schedule) for one in found] == [
        (lesion, f"PTV{lesion[1:]}", proposal.schedule) for lesion, proposal in proposals(plan).items()
    ]
    ptv = {roi.name: roi.number for lesion in plan.lesions for roi in lesion.rois}
    assert all(one.roi_number == ptv[one.roi_name] for one in found)
