"""RT Plan in: what an earlier course prescribed, in how many fractions, and when it was planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from pydicom import Dataset

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.errors import InputError

GROUP_SEQUENCES = (
    ("ReferencedBeamSequence", "BeamDose"),
    ("ReferencedBrachyApplicationSetupSequence", "BrachyApplicationSetupDose"),
)
"""Where a fraction group states the dose of one fraction, beam by beam or setup by setup."""


@dataclass(frozen=True)
class PlanIn:
    """What one RT Plan says of its course.

    Attributes:
        uid: SOPInstanceUID.
        fractions: of each fraction group, NumberOfFractionsPlanned; empty where one of them states none.
        targets_gy: total doses that it prescribes to targets (TargetPrescriptionDose); may be empty.
        beams_gy: dose of all fractions from the doses of the beams; None where they state none.
        made_on: RTPlanDate; None where it states none.
        approval: ApprovalStatus; empty where it states none.
        manufacturer: whose program wrote it.
    """

    uid: str
    fractions: tuple[int, ...]
    targets_gy: tuple[float, ...]
    beams_gy: float | None
    made_on: date | None
    approval: str
    manufacturer: str


def read_plan(header: Header) -> PlanIn:
    """What a plan says; what it leaves out is empty.

    Raises:
        InputError: a number or sequence that cannot be decoded.
    """
    ds = header.dataset
    groups = attributes.items_if_any(ds, "FractionGroupSequence")
    stated = [_fractions(group) for group in groups]
    return PlanIn(
        uid=header.file.sop_instance_uid,
        fractions=tuple(number for number in stated if number) if all(stated) else (),
        targets_gy=tuple(sorted(_targets(ds))),
        beams_gy=_beams(groups),
        made_on=day(attributes.text_or_empty(ds, "RTPlanDate")),
        approval=attributes.text_or_empty(ds, "ApprovalStatus").upper(),
        manufacturer=attributes.text_or_empty(ds, "Manufacturer"),
    )


def day(text: str) -> date | None:
    """A DICOM date; None where it is empty or something else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _fractions(group: Dataset) -> int:
    """NumberOfFractionsPlanned; 0 where it states none."""
    if not attributes.has(group, "NumberOfFractionsPlanned"):
        return 0
    return max(attributes.integer(group, "NumberOfFractionsPlanned"), 0)


def _targets(ds: Dataset) -> Iterator[float]:
    for item in attributes.items_if_any(ds, "DoseReferenceSequence"):
        is_target = attributes.text_or_empty(item, "DoseReferenceType").upper() == "TARGET"
        if is_target and attributes.has(item, "TargetPrescriptionDose"):
            yield attributes.number(item, "TargetPrescriptionDose")


def _beams(groups: tuple[Dataset, ...]) -> float | None:
    doses = [fractions * dose for group in groups if (fractions := _fractions(group)) for dose in _of_fraction(group)]
    return sum(doses) if doses else None


def _of_fraction(group: Dataset) -> Iterator[float]:
    for sequence, keyword in GROUP_SEQUENCES:
        for item in attributes.items_if_any(group, sequence):
            if attributes.has(item, keyword):
                yield attributes.number(item, keyword)


def plan_or_reason(header: Header) -> PlanIn | str:
    """The plan, or why it cannot be read."""
    try:
        return read_plan(header)
    except InputError as error:
        return str(error)
