"""The proposal as an RT Physician Intent (PS3.3 A.86.1.2): what somebody may come to intend, marked as a proposal.

Few systems read this class yet. It is written only where a destination's file says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.uid import RTPhysicianIntentStorage

from psdt_planner.destination import CharacterSet
from psdt_planner.dicom import attributes, identity
from psdt_planner.dicom.identity import MANUFACTURER, Stamp
from psdt_planner.dicom.proposed import LABEL, WORDS, ProposedTarget, checked
from psdt_planner.dicom.rtstruct_codes import RT_TARGET, TARGETS
from psdt_planner.errors import ReadBackError
from psdt_planner.shapes import RoiKind
from psdt_planner.tg263 import Code

SERIES_NUMBER = 905

PRESCRIBED: Final = Code("130009", "DCM", "Prescription Radiation Dose")
"""Of CID 9529, the objectives that are one dose."""

GRAY: Final = Code("Gy", "UCUM", "Gray")


def write_intent(
    targets: Sequence[ProposedTarget],
    ct_headers: Sequence[Dataset],
    stamp: Stamp,
    *,
    character_set: CharacterSet = "keep",
) -> bytes:
    """The proposals as a file in the planning CT's study, read back before it is returned.

    One intent and one prescription a target. The intent's type, diagnosis and protocol are left empty: nobody intends
    anything yet.

    Args:
        targets: in order of ROI number.
        ct_headers: the planning CT's images.
        stamp: date, time and UIDs.
        character_set: the destination's rule.

    Raises:
        MissingAttributeError, InputError, GeometryError: the CT's images are of several series or lack UIDs.
        FaultError: no target, or an ROI twice.
        ReadBackError: the bytes do not say the proposals.
    """
    checked(targets)
    dataset = identity.begun(RTPhysicianIntentStorage, identity.one_series(ct_headers), character_set)
    identity.describe_series(
        dataset, stamp, modality="RTINTENT", number=SERIES_NUMBER, description="psdt PROPOSAL physician intent"
    )
    dataset.DeviceSerialNumber = MANUFACTURER
    dataset.InstanceNumber = "1"
    dataset.ContentDate, dataset.ContentTime = stamp.date, stamp.time
    dataset.ContentDescription = WORDS[:64]
    dataset.UserContentLongLabel = LABEL
    dataset.AuthorIdentificationSequence = []
    dataset.RTTreatmentPhaseIntentPresenceFlag = "NO"
    dataset.RTPhysicianIntentSequence = [_intent(n, target) for n, target in enumerate(targets, start=1)]
    volumes = {target.lesion: stamp.uid("conceptual volume", target.lesion) for target in targets}
    objectives = {target.lesion: stamp.uid("objective", target.lesion) for target in targets}
    dataset.RTPrescriptionSequence = [
        _prescription(n, target, volumes[target.lesion], objectives[target.lesion])
        for n, target in enumerate(targets, start=1)
    ]
    dataset.DosimetricObjectiveSequence = [
        _objective(target, volumes[target.lesion], objectives[target.lesion]) for target in targets
    ]
    data = identity.sealed(dataset, stamp, "intent")
    check_intent(data, targets)
    return data


def _intent(index: int, target: ProposedTarget) -> Dataset:
    item = Dataset()
    item.RTPhysicianIntentIndex = index
    item.RTTreatmentApproachLabel = LABEL
    item.RTTreatmentIntentType = None
    item.RTPhysicianIntentNarrative = f"{WORDS} {target.roi_name}: {target.schedule}; {target.rule}."
    item.RTProtocolCodeSequence = []
    item.RTDiagnosisCodeSequence = []
    item.RTPhysicianIntentInputInstanceSequence = []
    item.TreatmentSite = target.site
    item.TreatmentSiteCodeSequence = []
    return item


def _prescription(index: int, target: ProposedTarget, volume_uid: str, objective_uid: str) -> Dataset:
    item = Dataset()
    item.PatientTreatmentOrientationSequence = []
    item.RTPrescriptionIndex = index
    item.RTPrescriptionLabel = LABEL
    item.ReferencedRTPhysicianIntentIndex = index
    item.RTAnatomicPrescriptionSequence = [_volume(target, volume_uid)]
    item.PriorTreatmentDoseDescription = None
    item.PriorTreatmentReferenceSequence = []
    objective = Dataset()
    objective.ReferencedDosimetricObjectiveUID = objective_uid
    item.ReferencedDosimetricObjectivesSequence = [objective]
    item.PlanningInputInformationSequence = []
    item.PrescriptionNotes = WORDS
    item.NumberOfFractions = target.schedule.fractions
    item.FractionBasedRelationshipSequence = []
    return item


def _volume(target: ProposedTarget, volume_uid: str) -> Dataset:
    concept = Dataset()
    concept.ConceptualVolumeUID = volume_uid
    concept.ConceptualVolumeCombinationFlag = "NO"
    concept.ConceptualVolumeSegmentationDefinedFlag = "NO"
    item = Dataset()
    item.ConceptualVolumeDescription = f"{target.roi_name} of {target.lesion}"
    item.ConceptualVolumeSequence = [concept]
    item.EntityLabel = target.roi_name
    item.TherapeuticRoleCategoryCodeSequence = [_code(RT_TARGET)]
    item.TherapeuticRoleTypeCodeSequence = [_code(TARGETS[RoiKind.PTV, ""])]
    item.ConceptualVolumeOptimizationPrecedence = None
    item.ConceptualVolumeCategoryCodeSequence = []
    item.ConceptualVolumeBlockingConstraint = None
    return item


def _objective(target: ProposedTarget, volume_uid: str, objective_uid: str) -> Dataset:
    """The total dose that is proposed for the target."""
    total = Dataset()
    total.ValueType = "NUMERIC"
    total.ConceptNameCodeSequence = [_code(PRESCRIBED)]
    total.NumericValue = f"{target.schedule.dose_gy:.6g}"
    total.MeasurementUnitsCodeSequence = [_code(GRAY)]
    item = Dataset()
    item.ReferencedConceptualVolumeUID = volume_uid
    item.DosimetricObjectiveEvaluationScope = "COURSE"
    item.DosimetricObjectiveTypeCodeSequence = [_code(PRESCRIBED)]
    item.DosimetricObjectiveUID = objective_uid
    item.DosimetricObjectiveParameterSequence = [total]
    item.AbsoluteDosimetricObjectiveFlag = "YES"
    item.DosimetricObjectivePurpose = None
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def check_intent(data: bytes, targets: Sequence[ProposedTarget]) -> None:
    """Read the bytes again: marked, and each target with its dose and its fractions.

    Raises:
        ReadBackError: naming what differs.
    """
    dataset = dcmread(BytesIO(data))
    where = attributes.where_of(dataset)
    marked = [attributes.text(dataset, "UserContentLongLabel")]
    totals = {}
    for objective in attributes.items(dataset, "DosimetricObjectiveSequence"):
        (total,) = attributes.items(objective, "DosimetricObjectiveParameterSequence")
        totals[attributes.text(objective, "DosimetricObjectiveUID")] = attributes.number(total, "NumericValue")
    read = []
    for item in attributes.items(dataset, "RTPrescriptionSequence"):
        marked.append(attributes.text(item, "RTPrescriptionLabel"))
        (volume,) = attributes.items(item, "RTAnatomicPrescriptionSequence")
        (objective,) = attributes.items(item, "ReferencedDosimetricObjectivesSequence")
        gy = totals[attributes.text(objective, "ReferencedDosimetricObjectiveUID")]
        read.append((attributes.text(volume, "EntityLabel"), gy, attributes.integer(item, "NumberOfFractions")))
    if set(marked) != {LABEL}:
        raise ReadBackError("the intent reads back without its mark", where=where)
    meant = [(target.roi_name, target.schedule.dose_gy, target.schedule.fractions) for target in targets]
    if read != meant:
        raise ReadBackError(f"the intent reads back with the doses {read}", where=where)
