"""What a plan is made of: values, frozen, that the report and the writers read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from psdt_planner.dwi.load import TumourLoad
from psdt_planner.exam import Exam
from psdt_planner.findings import Finding
from psdt_planner.fractionation import Abstention, Proposal
from psdt_planner.lesions import FlaggedLesion, MappedLesion
from psdt_planner.planning.course import Course
from psdt_planner.planning.earlier import NOTHING_EARLIER, Earlier
from psdt_planner.protocol import Protocol
from psdt_planner.registration import CaseRegistration, LevelCheck
from psdt_planner.reirradiation import TargetRecord
from psdt_planner.shapes import Roi, StructureSet
from psdt_planner.structures import Cut, Relation

LABEL = "psdt PROPOSAL"
"""StructureSetLabel of everything that psdt writes."""

DESCRIPTION = "PROPOSAL by psdt, research software: not a prescription, not approved."


class PlanStatus(StrEnum):
    """Whether a plan may be put before a person for release."""

    PROPOSED = "proposed"
    HELD = "held"


class LesionStatus(StrEnum):
    """What became of a flagged lesion."""

    MAPPED = "mapped"
    HELD = "held"
    EXCLUDED = "excluded"


@dataclass(frozen=True)
class Exclusion:
    """A decision to leave a flagged lesion without a target.

    Attributes:
        lesion: the lesion's id.
        reason: in the person's words; where the reader's RAC says that it does not progress, that.
        by: the person's name, or ``the reader``.
    """

    lesion: str
    reason: str
    by: str


@dataclass(frozen=True, eq=False)
class PlannedLesion:
    """One flagged lesion with all that was found and proposed for it.

    Attributes:
        flag: as the reader marked it.
        status: what became of it.
        reasons: why it is held or excluded, in words; empty for a mapped lesion.
        mapped: where it is on the CT; None where it could not be mapped or was excluded.
        rois: GTV, CTV and PTV in this order; empty unless mapped.
        volume_ml: of the flag's mask.
        adc_median_mm2_per_s: over the flag; None where there is no usable ADC map.
        proposal: dose and fractions, or why there are none.
        ctv: how the CTV came about, in words; empty where there is none.
        cuts: what the PTV lost to organs and skin, in the order in which it was cut.
        to_organs: how its targets lie to each organ.
        earlier: what earlier radiotherapy gave to the PTV; None where there was none, or there is no PTV.
    """

    flag: FlaggedLesion
    status: LesionStatus
    reasons: tuple[str, ...]
    mapped: MappedLesion | None
    rois: tuple[Roi, ...]
    volume_ml: float
    adc_median_mm2_per_s: float | None
    proposal: Proposal | Abstention
    ctv: str = ""
    cuts: tuple[Cut, ...] = ()
    to_organs: tuple[Relation, ...] = ()
    earlier: TargetRecord | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """What psdt proposes for one patient.

    Attributes:
        status: held as soon as one finding holds the case or one lesion.
        findings: of the whole case and of each lesion.
        exam: what the plan was made from.
        registration: None where the case could not be registered.
        lesions: every flagged lesion, in order of its id.
        structure_set: None when held: a set that lacks a progressive site must not look complete.
        protocol: the clinical tables that decided.
        exclusions: as given, and those by the reader's RAC.
        relations: how each target lies to each organ, and to the same target of the other lesions.
        levels: what the spine says of the registration; None where that could not be asked.
        course: of the disease; None where nobody asked for it.
        earlier: earlier courses of radiotherapy on the planning CT; empty where there are none.
        load: total diffusion volume and ADC of the flags; None where nobody asked for it, or nothing is flagged.
    """

    status: PlanStatus
    findings: tuple[Finding, ...]
    exam: Exam
    registration: CaseRegistration | None
    lesions: tuple[PlannedLesion, ...]
    structure_set: StructureSet | None
    protocol: Protocol
    exclusions: tuple[Exclusion, ...]
    relations: tuple[Relation, ...] = ()
    levels: LevelCheck | None = None
    course: Course | None = None
    earlier: Earlier = NOTHING_EARLIER
    load: TumourLoad | None = None
