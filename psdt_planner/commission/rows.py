"""What one run of a phantom leaves behind: a row a lesion, a row a case, a row a trial."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

RIGHT_START_MM = 15.0
"""A whole-body fit whose median error is less than this has begun in the right place."""


@dataclass(frozen=True)
class LesionRow:
    """One flagged lesion, mapped or held, beside its truth. Lengths are None where there was no transform.

    Attributes:
        case: name of the case.
        lesion: id of the flag.
        site: the protocol's word, as psdt read it; ``in_bone`` whether psdt takes it for bone.
        where: the part of the body, as the phantom says.
        status: ``mapped`` (accepted) or ``held``.
        reasons: codes of the findings that hold it.
        start_mm: error of the whole body's transform at the lesion.
        error_mm: from where the flag, drawn on distorted DWI, was mapped to, to where the lesion is.
        t1_error_mm: the same for the lesion's true place on T1, mapped without the EPI correction.
        bound_mm: what psdt says the error is at most.
        disagreement_mm: of the fits around it; None where nothing was fitted.
        epi_shift_mm: true shift of the lesion on DWI, along the phase-encode axis, with its sign.
        epi_left_mm: what the correction left of it.
    """

    case: str
    lesion: str
    site: str
    in_bone: bool
    where: str
    status: str
    reasons: tuple[str, ...]
    start_mm: float | None
    error_mm: float | None
    t1_error_mm: float | None
    bound_mm: float | None
    disagreement_mm: float | None
    epi_shift_mm: float
    epi_left_mm: float | None

    @property
    def accepted(self) -> bool:
        """Whether psdt lets the place stand."""
        return self.status == "mapped"

    @property
    def covered(self) -> bool:
        """Whether the error, from the flag as it was drawn, is within the bound."""
        return self.error_mm is not None and self.bound_mm is not None and self.error_mm <= self.bound_mm


@dataclass(frozen=True)
class CaseRow:
    """One phantom, planned.

    Attributes:
        name: region, seed and deformation.
        size: of the phantom's voxels, ``full`` being clinical.
        status: of the plan.
        codes: of its findings that warn or hold.
        refused_for: codes of what holds the mapping as a whole: registration, level or patient.
        start_median_mm: median of the lesions' start errors; None without a registration.
        level_share: the greatest error of the whole body's transform at a vertebra, as a share of half the way to the
            next one; from 1 on, a level is lost. None without a registration, or with fewer than two vertebrae.
        level_worst: the vertebra where it is greatest.
        cpu_s, wall_s: of reading and planning.
        read_cpu_s, whole_body_cpu_s, levels_cpu_s, lesions_cpu_s: parts of it.
        lesions: every flag.
    """

    name: str
    region: str
    seed: int
    size: str
    deformation: float
    status: str
    codes: tuple[str, ...]
    refused_for: tuple[str, ...]
    start_median_mm: float | None
    level_share: float | None
    level_worst: str
    cpu_s: float
    wall_s: float
    read_cpu_s: float
    whole_body_cpu_s: float
    levels_cpu_s: float
    lesions_cpu_s: float
    lesions: tuple[LesionRow, ...]

    @property
    def started_right(self) -> bool:
        """Whether the whole body's transform begins in the right place, at the right vertebra."""
        near = self.start_median_mm is not None and self.start_median_mm < RIGHT_START_MM
        return near and (self.level_share is None or self.level_share < 1.0)


class TrialKind(StrEnum):
    """What was put before psdt, to see whether it notices."""

    LEVEL_OFF = "level_off"
    """A start moved by one vertebra."""
    LEVEL_RIGHT = "level_right"
    """The right start, which must raise no alarm."""
    WRONG_PATIENT = "wrong_patient"
    """Another patient's MR and flags under this patient's name."""


@dataclass(frozen=True)
class Trial:
    """One trial: what was tried on which case, whether psdt raised an alarm, and the codes it gave."""

    kind: TrialKind
    case: str
    noticed: bool
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """All that a commissioning run measured."""

    cases: tuple[CaseRow, ...]
    trials: tuple[Trial, ...] = ()

    @property
    def lesions(self) -> tuple[LesionRow, ...]:
        """Of all cases."""
        return tuple(lesion for case in self.cases for lesion in case.lesions)

    @property
    def deformations(self) -> tuple[float, ...]:
        """That occur, the least first."""
        return tuple(sorted({case.deformation for case in self.cases}))

    def of_deformation(self, deformation: float) -> Rows:
        """The cases of one deformation, without trials."""
        return Rows(tuple(case for case in self.cases if case.deformation == deformation))
