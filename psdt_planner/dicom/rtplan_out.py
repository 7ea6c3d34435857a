"""The proposal as an RT Plan without beams: nothing to deliver, UNAPPROVED, for sites that ask for it.

It looks like a plan; that is why it is written only where a destination's file says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import RTPlanStorage, RTStructureSetStorage

from psdt_planner.destination import CharacterSet
from psdt_planner.dicom import attributes, identity
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.proposed import LABEL, WORDS, ProposedTarget, checked
from psdt_planner.errors import ReadBackError

SERIES_NUMBER = 904


def write_plan(
    targets: Sequence[ProposedTarget],
    ct_headers: Sequence[Dataset],
    structure_set_uid: str,
    stamp: Stamp,
    *,
    character_set: CharacterSet = "keep",
) -> bytes:
    """The proposals as a file in the planning CT's study, read back before it is returned.

    Each target is a dose reference of its ROI; each number of fractions a fraction group without beams.

    Args:
        targets: in order of ROI number.
        ct_headers: the planning CT's images.
        structure_set_uid: SOPInstanceUID of the structure set that holds the ROIs.
        stamp: date, time and UIDs.
        character_set: the destination's rule.

    Raises:
        MissingAttributeError, InputError, GeometryError: the CT's images are of several series or lack UIDs.
        FaultError: no target, or an ROI twice.
        ReadBackError: the bytes do not say the proposals.
    """
    checked(targets)
    ct = identity.one_series(ct_headers)
    dataset = identity.begun(RTPlanStorage, ct, character_set)
    identity.copy_frame_of_reference(dataset, ct)
    identity.describe_series(
        dataset, stamp, modality="RTPLAN", number=SERIES_NUMBER, description="psdt PROPOSAL without beams"
    )
    dataset.OperatorsName = None
    dataset.RTPlanLabel, dataset.RTPlanName, dataset.RTPlanDescription = LABEL, LABEL, WORDS
    dataset.RTPlanDate, dataset.RTPlanTime = stamp.date, stamp.time
    dataset.PlanIntent, dataset.RTPlanGeometry = "RESEARCH", "PATIENT"
    dataset.ReferencedStructureSetSequence = [_refers_to(RTStructureSetStorage, structure_set_uid)]
    dataset.PrescriptionDescription = WORDS
    dataset.DoseReferenceSequence = [_dose(number, target) for number, target in enumerate(targets, start=1)]
    counts = sorted({target.schedule.fractions for target in targets})
    dataset.FractionGroupSequence = [_group(number, count, targets) for number, count in enumerate(counts, start=1)]
    dataset.ApprovalStatus = "UNAPPROVED"
    data = identity.sealed(dataset, stamp, "rtplan")
    check_plan(data, targets, structure_set_uid)
    return data


def _refers_to(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def _dose(number: int, target: ProposedTarget) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = target.roi_number
    item.DoseReferenceNumber = number
    item.DoseReferenceStructureType = "VOLUME"
    item.DoseReferenceDescription = f"PROPOSAL {target.roi_name}: {target.schedule}"
    item.DoseReferenceType = "TARGET"
    item.TargetPrescriptionDose = f"{target.schedule.dose_gy:.6g}"
    return item


def _group(number: int, fractions: int, targets: Sequence[ProposedTarget]) -> Dataset:
    """A fraction group with the targets that get so many fractions."""
    item = Dataset()
    item.FractionGroupNumber = number
    item.FractionGroupDescription = "PROPOSAL, no beams"
    item.NumberOfFractionsPlanned = fractions
    item.NumberOfBeams = item.NumberOfBrachyApplicationSetups = 0
    item.ReferencedDoseReferenceSequence = []
    for dose, target in enumerate(targets, start=1):
        if target.schedule.fractions == fractions:
            reference = Dataset()
            reference.ReferencedDoseReferenceNumber = dose
            reference.TargetPrescriptionDose = f"{target.schedule.dose_gy:.6g}"
            item.ReferencedDoseReferenceSequence.append(reference)
    return item


def check_plan(data: bytes, targets: Sequence[ProposedTarget], structure_set_uid: str) -> None:
    """Read the bytes again: unapproved, without a beam, marked, and each ROI with its dose and its fractions.

    Raises:
        ReadBackError: naming what differs.
    """
    dataset = dcmread(BytesIO(data))
    where = attributes.where_of(dataset)
    if attributes.text(dataset, "ApprovalStatus") != "UNAPPROVED" or "BeamSequence" in dataset:
        raise ReadBackError("the plan reads back as approved, or with a beam", where=where)
    if attributes.text(dataset, "RTPlanLabel") != LABEL:
        raise ReadBackError("the plan reads back without its mark", where=where)
    (structures,) = attributes.items(dataset, "ReferencedStructureSetSequence")
    if attributes.text(structures, "ReferencedSOPInstanceUID") != structure_set_uid:
        raise ReadBackError("the plan refers to another structure set", where=where)
    doses = {
        attributes.integer(item, "DoseReferenceNumber"): item
        for item in attributes.items(dataset, "DoseReferenceSequence")
    }
    read = []
    for group in attributes.items(dataset, "FractionGroupSequence"):
        if attributes.integer(group, "NumberOfBeams") != 0:
            raise ReadBackError("the plan reads back with beams", where=where)
        fractions = attributes.integer(group, "NumberOfFractionsPlanned")
        for reference in attributes.items(group, "ReferencedDoseReferenceSequence"):
            dose = doses[attributes.integer(reference, "ReferencedDoseReferenceNumber")]
            gy = attributes.number(dose, "TargetPrescriptionDose")
            read.append((attributes.integer(dose, "ReferencedROINumber"), gy, fractions))
    meant = [(target.roi_number, target.schedule.dose_gy, target.schedule.fractions) for target in targets]
    if sorted(read) != sorted(meant):
        raise ReadBackError(f"the plan reads back with the doses {sorted(read)}", where=where)
