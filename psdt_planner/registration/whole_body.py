"""The whole body: from the MR's frame to the planning CT's, computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Points, Rigid
from psdt_planner.images import Volume
from psdt_planner.registration.bodies import ct_air, ct_body, mr_air, mr_body, profile
from psdt_planner.registration.fits import FROM_START, WHOLE_BODY, Image, fit, mutual_information
from psdt_planner.registration.sitk_bridge import coarse
from psdt_planner.registration.start import Start, starts
from psdt_planner.registration.types import CaseRegistration, RegistrationSource

HU_RANGE = (-300.0, 700.0)
"""Outside it a CT tells a registration nothing: air is air, and cortex is cortex."""

COARSE_MM, MIDDLE_MM = 5.0, 3.0

LEAST_MARGIN = 0.05
"""Mutual information by which the winning start must beat the runner-up. On synthetic patients right starts reach
0.36 to 0.58 and wrong ones 0.04 to 0.09."""

LEAST_INFORMATION = 0.2
"""Mutual information below which the MR is hardly of this patient or of this part of the body; a warning, not proof."""


@dataclass(frozen=True)
class Look:
    """How the body is told on the images that lie still.

    Attributes:
        body, air: masks ``(k, j, i)`` of the trunk and of what is air-like.
        outside: what lies beyond the images.
        span: numbers outside of it tell a registration nothing; None: all tell.
    """

    body: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
    air: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
    outside: float
    span: tuple[float, float] | None


AS_CT = Look(ct_body, ct_air, -1000.0, HU_RANGE)
AS_MR = Look(mr_body, mr_air, 0.0, None)


@dataclass(frozen=True, eq=False)
class _Level:
    """CT and MR on LPS lattices of one spacing, with the voxels that may be used."""

    ct: Image
    mr: Image
    look: Look


Mapper = Callable[[Callable[[Start], tuple[float, Rigid]], Iterable[Start]], Iterable[tuple[float, Rigid]]]
"""As the built-in ``map``; one that works in threads gives the same result sooner."""


def register_whole_body(
    ct: Volume, mr: Volume, *, seed: int, mapper: Mapper = map, look: Look = AS_CT
) -> CaseRegistration:
    """The rigid ``ct_from_mr`` of the whole body, without any prior knowledge of where the CT lies in the MR.

    Args:
        ct: planning CT in HU; a part of the body is enough.
        mr: anatomical MR (T1-weighted in-phase is best), whole body or a part that holds the CT's.
        seed: of the samples that the fits draw; same seed, same bytes.
        mapper: how the starts are gone through.
        look: how the body is told on what stands for the CT; of two exams `AS_MR`.

    The result carries ``registration-failed`` (hold) where nothing overlaps, ``registration-ambiguous`` (hold) where
    two places along the body fit alike, and ``registration-weak`` (warn) where even the best fits badly.
    """
    middle = _level(ct, mr, MIDDLE_MM, look)
    rough = _level(_volume(middle.ct, ct), _volume(middle.mr, mr), COARSE_MM, look)
    candidates = _candidates(rough)
    if not candidates:
        return _failed(ct, mr)
    body, centre = _masked(rough, MIDDLE_MM)
    tried = sorted(mapper(lambda start: _tried(body, start, centre, seed), candidates), key=lambda pair: -pair[0])
    tried = [pair for pair in tried if np.isfinite(pair[0])]
    if not tried:
        return _failed(ct, mr)
    information, best = tried[0]
    runner_up = _runner_up(tried, centre)
    margin = None if runner_up is None else information - runner_up
    fine, _ = _masked(middle, MIDDLE_MM)
    try:
        mr_from_ct = fit(fine.ct, fine.mr, best, centre, WHOLE_BODY, seed=seed)
    except RuntimeError:  # SimpleITK: the images lost each other
        return _failed(ct, mr)
    return CaseRegistration(
        ct_from_mr=mr_from_ct.inverse(),
        source=RegistrationSource.COMPUTED,
        method=f"body profile, {len(candidates)} starts, rigid fit by mutual information at 5 mm and 3 mm (SimpleITK)",
        margin=margin,
        findings=_doubts(information, margin),
    )


def _level(ct: Volume, mr: Volume, spacing_mm: float, look: Look) -> _Level:
    ct_grid, ct_array, ct_seen = coarse(ct, spacing_mm, outside=look.outside)
    mr_grid, mr_array, mr_seen = coarse(mr, spacing_mm, outside=0.0)
    return _Level(Image(ct_grid, ct_array, ct_seen), Image(mr_grid, mr_array, mr_seen), look)


def _volume(image: Image, like: Volume) -> Volume:
    return Volume(image.grid, image.array, like.quantity, like.series_uid)


def _masked(level: _Level, margin_mm: float) -> tuple[_Level, Points]:
    """The level with the CT clamped and cut to the body (and a rim), and the centre of the body in the CT."""
    look = level.look
    body = look.body(level.ct.array)
    rim = ndimage.binary_dilation(body, iterations=max(1, round(margin_mm / level.ct.grid.slice_gap_mm)))
    centre = level.ct.grid.mm_from_index(ndimage.center_of_mass(body))
    seen = level.ct.mask if level.ct.mask is not None else np.ones_like(body)
    clamped = level.ct.array if look.span is None else np.clip(level.ct.array, *look.span)
    return _Level(Image(level.ct.grid, clamped, rim & seen), level.mr, look), centre


def _candidates(level: _Level) -> tuple[Start, ...]:
    ct = profile(level.look.body(level.ct.array), level.look.air(level.ct.array), level.ct.grid)
    mr = profile(mr_body(level.mr.array), mr_air(level.mr.array), level.mr.grid)
    return starts(ct, mr)


def _tried(level: _Level, start: Start, centre: Points, seed: int) -> tuple[float, Rigid]:
    """Mutual information at 5 mm after a short fit from one start, and the fit; minus infinity where it ran away."""
    begin = start.ct_from_mr(level.ct.grid.frame, level.mr.grid.frame).inverse()
    try:
        found = fit(level.ct, level.mr, begin, centre, FROM_START, seed=seed)
        return mutual_information(level.ct, level.mr, found, centre), found
    except RuntimeError:  # SimpleITK: the images lost each other
        return -np.inf, begin


def _runner_up(tried: list[tuple[float, Rigid]], centre: Points) -> float | None:
    """Mutual information of the best fit that ended elsewhere; starts that converged to the winner are no rivals."""
    winner = tried[0][1].apply(centre)
    rivals = [value for value, other in tried[1:] if np.linalg.norm(other.apply(centre) - winner) > COARSE_MM * 3]
    return max(rivals) if rivals else None


def _doubts(information: float, margin: float | None) -> tuple[Finding, ...]:
    found = []
    if margin is not None and margin < LEAST_MARGIN:
        found.append(
            Finding(
                "registration-ambiguous",
                Level.HOLD,
                "Two places along the body fit the planning CT almost alike; show psdt the right one with a Spatial "
                "Registration object.",
                Who.PERSON,
                margin,
                LEAST_MARGIN,
            )
        )
    if information < LEAST_INFORMATION:
        found.append(
            Finding(
                "registration-weak",
                Level.WARN,
                "MR and planning CT have little in common; look whether they are of the same patient and region.",
                Who.PERSON,
                information,
                LEAST_INFORMATION,
            )
        )
    return tuple(found)


def _failed(ct: Volume, mr: Volume) -> CaseRegistration:
    finding = Finding(
        "registration-failed",
        Level.HOLD,
        f"MR series {mr.series_uid} and planning CT {ct.series_uid} show no common part of the body; send a Spatial "
        "Registration object or the right images.",
        Who.PERSON,
    )
    nowhere = Rigid(np.eye(4), ct.grid.frame, mr.grid.frame)
    return CaseRegistration(nowhere, RegistrationSource.COMPUTED, "none found", None, (finding,))
