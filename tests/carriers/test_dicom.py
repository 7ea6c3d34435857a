"""The proposal as an RT Plan without beams and as an RT Physician Intent: off, marked, unapproved, and read back."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from highdicom._standard_utils import check_required_attributes, get_iod_module_map
from pydicom import Dataset, dcmread
from pydicom.uid import RTPhysicianIntentStorage, RTPlanStorage

from psdt_planner.dicom.identity import instance_uid
from psdt_planner.dicom.intent_out import check_intent, write_intent
from psdt_planner.dicom.proposed import ProposedTarget
from psdt_planner.dicom.rtplan_out import check_plan, write_plan
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.errors import FaultError, ReadBackError
from psdt_planner.fractionation import Schedule
from tests.dicom_out.scene import HEADERS, flags, structure_set
from tests.peers import require_peer
from tests.structures.scenes import STAMP, save_ct

STRUCTURES = "1.2.826.0.1.3680043.8.498.55"
TARGETS = (
    ProposedTarget("L1", 3, "PTV1", "bone", "1.9.1", Schedule(30.0, 3), "demo/bone/30 Gy in 3"),
    ProposedTarget("L2", 6, "PTVn2", "pelvic-node", "", Schedule(36.25, 5), "demo/pelvic-node/36.25 Gy in 5"),
    ProposedTarget("L3", 9, "PTV3", "spine", "1.9.3", Schedule(27.0, 3), "demo/spine/27 Gy in 3"),
)


def plan_file(targets: tuple[ProposedTarget, ...] = TARGETS) -> bytes:
    return write_plan(targets, HEADERS, STRUCTURES, STAMP)


def intent_file(targets: tuple[ProposedTarget, ...] = TARGETS) -> bytes:
    return write_intent(targets, HEADERS, STAMP)


def read(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


WRITERS: dict[str, Callable[..., bytes]] = {"plan": plan_file, "intent": intent_file}


# RT Plan --------------------------------------------------------------------------------------------------------------


def test_the_plan_prescribes_to_each_ptv_and_has_no_beam() -> None:
    ds = read(plan_file())
    assert ds.SOPClassUID == RTPlanStorage
    assert (ds.ApprovalStatus, ds.PlanIntent, ds.RTPlanLabel) == ("UNAPPROVED", "RESEARCH", "psdt PROPOSAL")
    assert "NOT A PRESCRIPTION" in ds.RTPlanDescription
    assert "NOT A PRESCRIPTION" in ds.PrescriptionDescription
    assert "BeamSequence" not in ds
    assert ds.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == STRUCTURES
    doses = [(one.ReferencedROINumber, float(one.TargetPrescriptionDose)) for one in ds.DoseReferenceSequence]
    assert doses == [(3, 30.0), (6, 36.25), (9, 27.0)]
    assert all(one.DoseReferenceDescription.startswith("PROPOSAL ") for one in ds.DoseReferenceSequence)
    groups = [
        (
            group.NumberOfFractionsPlanned,
            group.NumberOfBeams,
            [one.ReferencedDoseReferenceNumber for one in group.ReferencedDoseReferenceSequence],
        )
        for group in ds.FractionGroupSequence
    ]
    assert groups == [(3, 0, [1, 3]), (5, 0, [2])]


@pytest.mark.peer
def test_dciodvfy_says_nothing_of_the_plan(tmp_path: Path) -> None:
    require_peer("dciodvfy")
    path = tmp_path / "plan.dcm"
    path.write_bytes(plan_file())
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if re.search("Error|Warning", line)] == []
    assert done.returncode == 0


@pytest.mark.peer
def test_dcentvfy_finds_one_story_in_structure_set_and_plan(tmp_path: Path) -> None:
    """Of the intent it does not know the class, so that it can compare nothing."""
    require_peer("dcentvfy")
    save_ct(HEADERS, tmp_path)
    structures = write_rtstruct(structure_set(), HEADERS, flags(), STAMP)
    plan = write_plan(TARGETS, HEADERS, instance_uid(structures), STAMP)
    for name, data in (("rtstruct", structures), ("plan", plan)):
        (tmp_path / f"{name}.out.dcm").write_bytes(data)
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


BROKEN_PLANS: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "approved": (lambda ds: setattr(ds, "ApprovalStatus", "APPROVED"), "approved"),
    "another label": (lambda ds: setattr(ds, "RTPlanLabel", "Prostate"), "mark"),
    "a beam": (lambda ds: setattr(ds, "BeamSequence", [Dataset()]), "beam"),
    "a number of beams": (lambda ds: setattr(ds.FractionGroupSequence[0], "NumberOfBeams", 1), "beams"),
    "another dose": (lambda ds: setattr(ds.DoseReferenceSequence[1], "TargetPrescriptionDose", "36.2"), "36.2"),
    "another ROI": (lambda ds: setattr(ds.DoseReferenceSequence[1], "ReferencedROINumber", 5), "doses"),
    "other fractions": (lambda ds: setattr(ds.FractionGroupSequence[0], "NumberOfFractionsPlanned", 5), "doses"),
    "other structures": (
        lambda ds: setattr(ds.ReferencedStructureSetSequence[0], "ReferencedSOPInstanceUID", "1.2"),
        "another structure set",
    ),
}


@pytest.mark.parametrize("what", BROKEN_PLANS)
def test_a_plan_that_reads_back_otherwise_is_refused(what: str) -> None:
    data = plan_file()
    check_plan(data, TARGETS, STRUCTURES)
    breaks, says = BROKEN_PLANS[what]
    with pytest.raises(ReadBackError, match=says):
        check_plan(rewritten(data, breaks), TARGETS, STRUCTURES)


# RT Physician Intent --------------------------------------------------------------------------------------------------


def test_the_intent_holds_each_target_with_dose_and_fractions_and_intends_nothing() -> None:
    ds = read(intent_file())
    assert ds.SOPClassUID == RTPhysicianIntentStorage
    assert (ds.UserContentLongLabel, ds.Modality) == ("psdt PROPOSAL", "RTINTENT")
    assert ds.RTTreatmentPhaseIntentPresenceFlag == "NO"
    for index, (intent, target) in enumerate(zip(ds.RTPhysicianIntentSequence, TARGETS, strict=True), start=1):
        assert intent.RTPhysicianIntentIndex == index
        assert intent.RTTreatmentIntentType is None or intent.RTTreatmentIntentType == ""
        assert len(intent.RTDiagnosisCodeSequence) == 0
        assert intent.TreatmentSite == target.site
        assert intent.RTPhysicianIntentNarrative.startswith("PROPOSAL - NOT A PRESCRIPTION")
    objectives = {one.DosimetricObjectiveUID: one for one in ds.DosimetricObjectiveSequence}
    for index, (item, target) in enumerate(zip(ds.RTPrescriptionSequence, TARGETS, strict=True), start=1):
        assert (item.ReferencedRTPhysicianIntentIndex, item.RTPrescriptionLabel) == (index, "psdt PROPOSAL")
        assert item.NumberOfFractions == target.schedule.fractions
        (volume,), (reference,) = item.RTAnatomicPrescriptionSequence, item.ReferencedDosimetricObjectivesSequence
        objective = objectives[reference.ReferencedDosimetricObjectiveUID]
        concept = volume.ConceptualVolumeSequence[0].ConceptualVolumeUID
        assert volume.EntityLabel == target.roi_name
        assert volume.TherapeuticRoleTypeCodeSequence[0].CodeValue == "228793007"
        assert objective.ReferencedConceptualVolumeUID == concept
        (total,) = objective.DosimetricObjectiveParameterSequence
        assert float(total.NumericValue) == target.schedule.dose_gy
        assert total.MeasurementUnitsCodeSequence[0].CodeValue == "Gy"
    assert len({one.ReferencedConceptualVolumeUID for one in objectives.values()}) == 3


BROKEN_INTENTS: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "another label": (lambda ds: setattr(ds, "UserContentLongLabel", "Intent"), "mark"),
    "another label of one": (lambda ds: setattr(ds.RTPrescriptionSequence[1], "RTPrescriptionLabel", "x"), "mark"),
    "other fractions": (lambda ds: setattr(ds.RTPrescriptionSequence[1], "NumberOfFractions", 4), "doses"),
    "another dose": (
        lambda ds: setattr(
            ds.DosimetricObjectiveSequence[0].DosimetricObjectiveParameterSequence[0], "NumericValue", "31"
        ),
        "31",
    ),
    "one lost": (lambda ds: ds.RTPrescriptionSequence.pop(), "doses"),
}


@pytest.mark.parametrize("what", BROKEN_INTENTS)
def test_an_intent_that_reads_back_otherwise_is_refused(what: str) -> None:
    data = intent_file()
    check_intent(data, TARGETS)
    breaks, says = BROKEN_INTENTS[what]
    with pytest.raises(ReadBackError, match=says):
        check_intent(rewritten(data, breaks), TARGETS)


# Both -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "iod", "beside"), [
    ("plan", "rt-plan", ("rt-prescription", "rt-fraction-scheme")),
    ("intent", "rt-physician-intent", ("rt-enhanced-prescription",)),
])  # fmt: skip
def test_every_attribute_that_the_standard_requires_is_there(what: str, iod: str, beside: tuple[str, ...]) -> None:
    """By the tables of the standard that highdicom brings: of the mandatory modules and of those that are used."""
    modules = [module["key"] for module in get_iod_module_map()[iod] if module["usage"] == "M"]
    assert len(modules) >= 6
    for module in (*modules, *beside):
        check_required_attributes(read(WRITERS[what]()), module)


@pytest.mark.parametrize("what", WRITERS)
def test_the_same_stamp_gives_the_same_bytes_and_other_content_other_uids(what: str) -> None:
    data = WRITERS[what]()
    assert data == WRITERS[what]()
    other = WRITERS[what]((replace(TARGETS[0], schedule=Schedule(27.0, 3)), *TARGETS[1:]))
    assert read(other).SOPInstanceUID != read(data).SOPInstanceUID == instance_uid(data)


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("targets", [(), (TARGETS[0], TARGETS[0])], ids=["none", "twice"])
def test_no_target_or_one_twice_is_a_fault(what: str, targets: tuple[ProposedTarget, ...]) -> None:
    with pytest.raises(FaultError):
        WRITERS[what](targets)


def rewritten(data: bytes, breaks: Callable[[Dataset], None]) -> bytes:
    ds = read(data)
    breaks(ds)
    buffer = BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()
