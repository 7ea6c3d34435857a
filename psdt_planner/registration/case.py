"""Which transform leads: a shared frame of reference, imported registrations, or a computed one."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from psdt_planner.deformation import Deformation, DeformationError
from psdt_planner.errors import DecisionNeededError
from psdt_planner.exam import ImportedRegistration
from psdt_planner.findings import Finding
from psdt_planner.geometry import Points, Rigid, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.registration.bodies import CT_BODY_HU
from psdt_planner.registration.direction import inverted
from psdt_planner.registration.routes import Route, contradictions, gaps, routes
from psdt_planner.registration.types import CaseRegistration, RegistrationSource
from psdt_planner.registration.whole_body import Mapper, register_whole_body

BODY_STEP_MM = 20.0
"""Distance of the places in the body over which transforms are compared, and one rigid transform fits a deformation."""


def register_case(
    ct: Volume,
    mr_frame: str,
    mr: Volume | None,
    imported: tuple[ImportedRegistration, ...],
    *,
    seed: int,
    drawn_on: Collection[str] = (),
    mapper: Mapper = map,
) -> CaseRegistration:
    """``ct_from_mr`` from, in this order: the same frame of reference, registration objects, or the images.

    Args:
        ct: planning CT in HU.
        mr_frame: the frame that the flags were drawn in.
        mr: an MR of that frame to compute from, and to check an imported one's direction with; None where there is
            none.
        imported: registrations as sent; chains of them count.
        seed: of the samples that a computed one draws.
        drawn_on: SeriesInstanceUIDs that the flags were drawn on; a registration that is limited to images counts only
            where it names images of these.
        mapper: how the starts of a computed one are gone through.

    Of several ways through the objects the shortest leads, of these one that names the flags' images, then the first in
    order of SOP Instance UID. Findings, all at level hold: ``registration-contradictory`` and
    ``registration-per-image`` where ways disagree (`routes`), ``registration-inverted`` where the images fit the
    inverse far better, ``registration-outside-grid`` where a deformable one is defined nowhere in the CT. What a
    computed one may carry, `register_whole_body` says.

    Raises:
        DecisionNeededError: nothing joins the two frames and there is no MR to compute from.
    """
    ct_frame = ct.grid.frame
    if ct_frame == mr_frame:
        same = Rigid.identity(ct_frame)
        return CaseRegistration(same, RegistrationSource.SHARED_FRAME, "MR and CT share their frame of reference")
    series_of = {mr_frame: set(drawn_on), ct_frame: {ct.series_uid}}
    found = routes(imported, mr_frame, ct_frame, series_of)
    if found:
        findings = (*contradictions(found, _places(ct), ct_frame), *gaps(found, series_of))
        return _given(found, findings, ct, mr)
    if mr is None:
        raise DecisionNeededError(
            "No registration joins the flags to the planning CT, and no MR of their frame is there to compute one",
            where=f"frame {mr_frame}",
            todo="Send the MR that the flags were drawn on, or a Spatial Registration object.",
        )
    return register_whole_body(ct, mr, seed=seed, mapper=mapper)


def _given(found: tuple[Route, ...], findings: tuple[Finding, ...], ct: Volume, mr: Volume | None) -> CaseRegistration:
    """The first way, with what speaks against it."""
    transform = found[0].transform
    objects = tuple(dict.fromkeys(uid for route in found for uid in route.objects))
    method = f"Spatial Registration object {', '.join(objects)}"
    if isinstance(transform, Deformation):
        rigid, said, odd = _as_one(transform, ct)
        return CaseRegistration(
            rigid, RegistrationSource.REG_OBJECT, f"{method}; {said}", None, (*findings, *odd), objects, transform
        )
    doubt = inverted(ct, mr, transform) if mr is not None else None
    findings = (*findings, doubt) if doubt else findings
    return CaseRegistration(transform, RegistrationSource.REG_OBJECT, method, None, findings, objects)


def _as_one(transform: Deformation, ct: Volume) -> tuple[Rigid, str, tuple[Finding, ...]]:
    """The rigid ``ct_from_mr`` nearest to a deformation over the CT's body, how far that is off, and a doubt."""
    try:
        nearest = transform.rigid_over(_places(ct), ct.grid.frame)
    except DeformationError as error:
        mr_frame = transform.target if transform.source == ct.grid.frame else transform.source
        return Rigid(np.eye(4), ct.grid.frame, mr_frame), "deformable", (error.finding(),)
    said = f"deformable: this is the rigid transform nearest to it in the body, up to {nearest.residual_mm:.1f} mm off"
    return nearest.rigid.inverse(), f"{said}; each lesion has its own", ()


def _places(ct: Volume) -> Points:
    """``(N, 3)``, the CT's corners, and points about `BODY_STEP_MM` apart in the body."""
    grid = ct.grid
    steps = [max(1, round(BODY_STEP_MM / spacing)) for spacing in (grid.slice_gap_mm, *grid.spacing_ji_mm)]
    sparse = ct.array[:: steps[0], :: steps[1], :: steps[2]]
    body = grid.mm_from_index(np.argwhere(sparse > CT_BODY_HU) * steps)
    return np.concatenate([grid_corners_mm(grid), body])
