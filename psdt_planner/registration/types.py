"""What a registration says of itself: the transform, how it was found and how far it is to be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from numpy.typing import ArrayLike

from psdt_planner.deformation import Deformation
from psdt_planner.findings import Finding
from psdt_planner.geometry import Rigid


class RegistrationSource(StrEnum):
    """Where ``ct_from_mr`` comes from, in the order of preference."""

    SHARED_FRAME = "shared-frame"
    REG_OBJECT = "reg-object"
    COMPUTED = "computed"


@dataclass(frozen=True, eq=False)
class CaseRegistration:
    """The transform of the whole body, from the MR's frame to the planning CT's.

    Attributes:
        ct_from_mr: rigid, for the case as a whole; a computed one is only the start of each lesion's own fit.
        source: where it comes from.
        method: in words, for the report.
        margin: of a computed one, how much better the winning start was than the runner-up (mutual information at
            5 mm); None otherwise, or where there was no runner-up.
        findings: what speaks against it.
        objects: of an imported one, SOP Instance UIDs of the registration objects that join the frames.
        deformation: of a deformable one, what they say together, between the two frames, either way; ``ct_from_mr`` is
            then the rigid transform nearest to it over the body.
    """

    ct_from_mr: Rigid
    source: RegistrationSource
    method: str
    margin: float | None = None
    findings: tuple[Finding, ...] = ()
    objects: tuple[str, ...] = ()
    deformation: Deformation | None = None

    def around(self, place_mm: ArrayLike) -> Rigid:
        """``ct_from_mr`` around a place ``(3,)`` of the MR; of a deformable one, the rigid transform nearest to it.

        Raises:
            DeformationError: around this place there is none; ``finding`` of the error tells why.
        """
        if self.deformation is None:
            return self.ct_from_mr
        return self.deformation.rigid_around(place_mm, self.ct_from_mr.source).rigid

    def residual_mm(self, place_mm: ArrayLike) -> float:
        """How far `around` lies from the imported deformation near a place of the MR at most; 0 of a rigid one.

        Raises:
            DeformationError: as `around`.
        """
        if self.deformation is None:
            return 0.0
        return self.deformation.rigid_around(place_mm, self.ct_from_mr.source).residual_mm


@dataclass(frozen=True, eq=False)
class LesionRegistration:
    """The transform of one lesion's surroundings.

    Attributes:
        ct_from_mr: rigid, for this lesion; holds the correction of the EPI shift where one was found.
        anatomical_ct_from_mr: the same without that correction: for what is seen on undistorted MR.
        uncertainty_mm: bound on the distance between the mapped and the true place.
        disagreement_mm: how far the independent fits lie from their geometric median, as `Vote` says; None
            where nothing was fitted.
        epi_shift_mm: the flag's shift along the phase-encode axis that was corrected; 0 where none was estimated.
        method: in words, for the report.
        findings: what speaks against it.
        distances_mm: of each measure that was fitted, by its name, to the median place.
    """

    ct_from_mr: Rigid
    anatomical_ct_from_mr: Rigid
    uncertainty_mm: float
    disagreement_mm: float | None
    epi_shift_mm: float
    method: str
    findings: tuple[Finding, ...] = ()
    distances_mm: Mapping[str, float] = field(default_factory=dict)
