"""Which transform leads: a shared frame of reference, an imported registration, or a computed one."""

from __future__ import annotations

import numpy as np

from psdt_planner.errors import DecisionNeededError
from psdt_planner.exam import ImportedRegistration
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Rigid, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.registration.types import CaseRegistration, RegistrationSource
from psdt_planner.registration.whole_body import register_whole_body

CONTRADICTION_MM = 1.0
"""Two imported registrations of the same frames that differ by more than this anywhere in the CT contradict each
other."""


def register_case(
    ct: Volume, mr_frame: str, mr: Volume | None, imported: tuple[ImportedRegistration, ...], *, seed: int
) -> CaseRegistration:
    """``ct_from_mr`` from, in this order: the same frame of reference, a Spatial Registration object, or the images.

    Args:
        ct: planning CT in HU.
        mr_frame: the frame that the flags were drawn in.
        mr: an MR of that frame to compute from; None where there is none.
        imported: registrations as sent.
        seed: of the samples that a computed one draws.

    Two registration objects that contradict each other give ``registration-contradictory`` (hold); the first, in order
    of SOP Instance UID, then stands in the field. What a computed one may carry, `register_whole_body` says.

    Raises:
        DecisionNeededError: nothing joins the two frames and there is no MR to compute from.
    """
    ct_frame = ct.grid.frame
    if ct_frame == mr_frame:
        same = Rigid.identity(ct_frame)
        return CaseRegistration(same, RegistrationSource.SHARED_FRAME, "MR and CT share their frame of reference")
    joining = _joining(imported, ct_frame, mr_frame)
    if joining:
        uids = ", ".join(uid for _, uid in joining)
        method = f"Spatial Registration object {uids}"
        findings = _contradictions(joining, ct)
        return CaseRegistration(joining[0][0], RegistrationSource.REG_OBJECT, method, None, findings)
    if mr is None:
        raise DecisionNeededError(
            "No registration joins the flags to the planning CT, and no MR of their frame is there to compute one",
            where=f"frame {mr_frame}",
            todo="Send the MR that the flags were drawn on, or a Spatial Registration object.",
        )
    return register_whole_body(ct, mr, seed=seed)


def _joining(imported: tuple[ImportedRegistration, ...], ct_frame: str, mr_frame: str) -> list[tuple[Rigid, str]]:
    """Every imported transform between the two frames, turned to ``ct_from_mr``, with its object's UID, in UID
    order."""
    found = []
    for registration in sorted(imported, key=lambda item: item.source_uid):
        transform = registration.transform
        if (transform.target, transform.source) == (ct_frame, mr_frame):
            found.append((transform, registration.source_uid))
        elif (transform.target, transform.source) == (mr_frame, ct_frame):
            found.append((transform.inverse(), registration.source_uid))
    return found


def _contradictions(joining: list[tuple[Rigid, str]], ct: Volume) -> tuple[Finding, ...]:
    corners = grid_corners_mm(ct.grid)
    at = joining[0][0].inverse().apply(corners)
    worst = max(float(np.linalg.norm(transform.apply(at) - corners, axis=1).max()) for transform, _ in joining)
    if worst <= CONTRADICTION_MM:
        return ()
    uids = ", ".join(uid for _, uid in joining)
    message = f"Spatial Registration objects {uids} disagree by {worst:.1f} mm within the CT; send only the right one."
    return (Finding("registration-contradictory", Level.HOLD, message, Who.SENDER, worst, CONTRADICTION_MM, "mm"),)
