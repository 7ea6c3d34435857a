"""From an earlier planning CT to this one: CT to CT, for the dose that stands on the earlier one.

As from MR to CT: the same frame of reference or registration objects lead where there are any, else the images do.
What the images say around a place is then held against it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from psdt_planner.deformation import Deformation
from psdt_planner.exam import ImportedRegistration
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Points, Rigid, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.registration.exams import ExamImages, ExamsRegistrar, ExamsRegistration, PriorPlace
from psdt_planner.registration.lesion import Place
from psdt_planner.registration.routes import contradictions, routes
from psdt_planner.registration.types import RegistrationSource
from psdt_planner.registration.whole_body import AS_CT, Mapper, register_whole_body

AIR_HU = -1000.0
"""What a CT counts from where it stands for an MR: air is then 0, as it is there."""


def register_course(
    ct: Volume,
    dose_frame: str,
    earlier_ct: Volume | None,
    imported: tuple[ImportedRegistration, ...],
    *,
    seed: int,
    mapper: Mapper = map,
) -> ExamsRegistration:
    """How the frame of an earlier dose lies to the planning CT's.

    By the same frame, registration objects, or the two CTs, in this order. The result carries
    ``registration-contradictory`` or ``registration-per-image`` (hold) where objects disagree, and
    ``earlier-dose-unplaced`` (hold) where nothing joins the two, or the two CTs do not tell.

    Args:
        ct: planning CT in HU.
        dose_frame: that the dose stands in.
        earlier_ct: of that frame, in HU; None where it is not among the inputs.
        imported: registrations as sent; chains of them count.
        seed: of the samples that a computed one draws.
        mapper: how the starts of a computed one are gone through.
    """
    frame = ct.grid.frame
    if frame == dose_frame:
        same = Rigid.identity(frame)
        return ExamsRegistration(same, RegistrationSource.SHARED_FRAME, "dose and planning CT share their frame")
    series_of = {dose_frame: {earlier_ct.series_uid} if earlier_ct else set(), frame: {ct.series_uid}}
    found = routes(imported, dose_frame, frame, series_of)
    if found:
        objects = tuple(dict.fromkeys(uid for route in found for uid in route.objects))
        method = f"Spatial Registration object {', '.join(objects)}"
        against = contradictions(found, grid_corners_mm(ct.grid), frame)
        return ExamsRegistration(found[0].transform, RegistrationSource.REG_OBJECT, method, objects, against)
    if earlier_ct is None:
        return _unplaced(dose_frame, "no registration joins it to the planning CT, and its own CT is not there")
    whole = register_whole_body(ct, _as_mr(earlier_ct), seed=seed, mapper=mapper, look=AS_CT)
    if whole.findings:
        codes = ", ".join(finding.code for finding in whole.findings)
        return _unplaced(dose_frame, f"the two CTs do not tell how they lie to each other ({codes})")
    return ExamsRegistration(whole.ct_from_mr, RegistrationSource.COMPUTED, f"CT to CT: {whole.method}")


def _unplaced(dose_frame: str, why: str) -> ExamsRegistration:
    message = f"The earlier dose in frame {dose_frame} could not be placed: {why}. Send a Spatial Registration object."
    finding = Finding("earlier-dose-unplaced", Level.HOLD, message, Who.PERSON)
    return ExamsRegistration(None, RegistrationSource.COMPUTED, "none found", findings=(finding,))


def _as_mr(ct: Volume) -> Volume:
    """A CT whose air is 0 and whose tissue is not, as the whole-body fit expects of what it moves."""
    return replace(ct, array=np.maximum(ct.array - np.float32(AIR_HU), np.float32(0.0)))


@dataclass(frozen=True, eq=False)
class CoursePlaces:
    """Tells around place after place how far the dose's transform is to be trusted; may be used from several threads.

    Attributes:
        ct: planning CT in HU.
        earlier_ct: that the dose stands on; None where it is not among the inputs, and nothing can be told.
        whole: how the two frames lie to each other.
        seed: of the samples that the fits draw.
    """

    ct: Volume
    earlier_ct: Volume | None
    whole: ExamsRegistration
    seed: int

    def around(self, place_ct_mm: Points, name: str, *, in_bone: bool) -> PriorPlace | None:
        """The transform around a place ``(3,)`` of the planning CT, with its bound; None where nothing can be told.

        ``registration-disagrees`` (hold) where the images contradict a given transform.
        """
        if self._registrar is None or self.earlier_ct is None:
            return None
        there = self._in_dose(place_ct_mm)
        if not np.isfinite(there).all() or not self.earlier_ct.grid.contains(there):
            return None
        place = Place(name, there, max(self.earlier_ct.grid.spacing_kji_mm), in_bone, on_dwi=False)
        return self._registrar.register(place)

    def _in_dose(self, place_ct_mm: Points) -> Points:
        transform = self.whole.transform
        if isinstance(transform, Deformation):
            return transform.carried(place_ct_mm, self.ct.grid.frame)
        return np.full(3, np.nan) if transform is None else transform.inverse().apply(place_ct_mm)

    @cached_property
    def _registrar(self) -> ExamsRegistrar | None:
        if self.earlier_ct is None or self.whole.transform is None:
            return None
        this, earlier = (
            ExamImages(one.grid.frame, {one.series_uid}, (_as_mr(one),), None) for one in (self.ct, self.earlier_ct)
        )
        return ExamsRegistrar(this, earlier, self.whole, self.seed)
