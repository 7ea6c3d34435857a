"""From the MR's frame to the CT's through what came in: one object, or a chain of them by way of other frames.

A step may be walked either way. A chain holds at most one deformable step; the rigid steps beside it become part of its
matrices, so that one transform comes of every chain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from psdt_planner.deformation import Deformation
from psdt_planner.exam import ImportedRegistration
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Points, Rigid

CONTRADICTION_MM = 1.0
"""What each step of a chain may be off: two ways that differ anywhere in the CT by more than this, times the steps of
the longer one, contradict each other."""

LONGEST_CHAIN = 4
"""Steps. The chains of a clinic lead by way of a PET's CT or an earlier plan: two or three."""


@dataclass(frozen=True, eq=False)
class Route:
    """One way from the MR's frame to the CT's.

    Attributes:
        steps: in the order in which a point of the MR walks them.
        transform: ``ct_from_mr`` where all steps are rigid; else one deformation between the two frames, either way.
    """

    steps: tuple[ImportedRegistration, ...]
    transform: Rigid | Deformation

    @property
    def objects(self) -> tuple[str, ...]:
        """SOP Instance UIDs of the steps."""
        return tuple(step.source_uid for step in self.steps)

    @property
    def limited(self) -> bool:
        """Whether a step holds for some images only."""
        return any(step.limits for step in self.steps)

    def mr_from_ct(self, points_mm: Points, ct_frame: str) -> Points:
        """Points ``(N, 3)`` of the CT in mm of the MR; NaN where a deformation is undefined."""
        if isinstance(self.transform, Deformation):
            return self.transform.carried(points_mm, ct_frame)
        return self.transform.inverse().apply(points_mm)


def routes(
    imported: Sequence[ImportedRegistration], mr_frame: str, ct_frame: str, series_of: Mapping[str, Collection[str]]
) -> tuple[Route, ...]:
    """Every way from the MR's frame to the CT's: the shortest first, then what names the images, then by UIDs.

    No frame is passed twice, and no more than `LONGEST_CHAIN` steps are made. An item that is limited to images of the
    MR's or the CT's frame counts only where it names images of the series that matter there.

    Args:
        imported: as sent.
        mr_frame, ct_frame: where from and where to.
        series_of: for these two frames, the series that matter: those that flags were drawn on, and the planning CT.
    """
    usable = [one for one in imported if _counts(one, series_of)]
    ordered = sorted(usable, key=lambda one: one.source_uid)
    found = [Route(steps, _joined(steps, mr_frame)) for steps in _chains(ordered, mr_frame, ct_frame, ())]
    return tuple(sorted(found, key=lambda route: (len(route.steps), not route.limited, route.objects)))


def _counts(registration: ImportedRegistration, series_of: Mapping[str, Collection[str]]) -> bool:
    limits = [limit for limit in registration.limits if limit.frame in series_of]
    return not limits or any(limit.series_uid in series_of[limit.frame] for limit in limits if limit.series_uid)


def _chains(
    registrations: Sequence[ImportedRegistration], here: str, goal: str, walked: tuple[ImportedRegistration, ...]
) -> Iterator[tuple[ImportedRegistration, ...]]:
    if here == goal:
        yield walked
        return
    passed = {frame for step in walked for frame in (step.transform.source, step.transform.target)}
    bent = any(isinstance(step.transform, Deformation) for step in walked)
    for step in registrations if len(walked) < LONGEST_CHAIN else ():
        if here not in (step.transform.source, step.transform.target):
            continue
        ahead = _ahead(step.transform, here)
        if ahead not in passed and not (bent and isinstance(step.transform, Deformation)):
            yield from _chains(registrations, ahead, goal, (*walked, step))


def _ahead(transform: Rigid | Deformation, here: str) -> str:
    return transform.target if transform.source == here else transform.source


def _joined(steps: Sequence[ImportedRegistration], start: str) -> Rigid | Deformation:
    transforms = [step.transform for step in steps]
    at = next((n for n, transform in enumerate(transforms) if isinstance(transform, Deformation)), len(steps))
    before = _rigid(transforms[:at], start)
    if at == len(steps):
        return before
    bend = transforms[at]
    assert isinstance(bend, Deformation)  # noqa: S101
    after = _rigid(transforms[at + 1 :], _ahead(bend, before.target))
    if bend.source == before.target:
        return bend.after(before).then(after)
    return bend.after(after.inverse()).then(before.inverse())


def _rigid(transforms: Sequence[Rigid | Deformation], start: str) -> Rigid:
    """Rigid steps as one, from a frame; of none, the frame's identity."""
    turned, here = [], start
    for transform in transforms:
        if isinstance(transform, Rigid):
            turned.append(transform if transform.source == here else transform.inverse())
            here = turned[-1].target
    return reduce(lambda done, step: step @ done, turned) if turned else Rigid.identity(start)


def contradictions(found: Sequence[Route], places_ct_mm: Points, ct_frame: str) -> tuple[Finding, ...]:
    """``registration-contradictory`` (hold) where another way leads elsewhere than the first, over places of the CT;
    ``registration-per-image`` (hold) where that is because objects hold for some images only."""
    first = found[0].mr_from_ct(places_ct_mm, ct_frame)
    worst: tuple[float, float, Route] | None = None
    for other in found[1:]:
        apart = np.linalg.norm(other.mr_from_ct(places_ct_mm, ct_frame) - first, axis=1)
        apart_mm = float(np.max(apart, where=np.isfinite(apart), initial=0.0))
        limit_mm = CONTRADICTION_MM * max(len(found[0].steps), len(other.steps))
        if apart_mm > limit_mm and (worst is None or apart_mm > worst[0]):
            worst = apart_mm, limit_mm, other
    if worst is None:
        return ()
    apart_mm, limit_mm, other = worst
    limited = found[0].limited or other.limited
    code = "registration-per-image" if limited else "registration-contradictory"
    uids = ", ".join(dict.fromkeys(uid for route in found for uid in route.objects))
    why = ", each for images of its own among those that the flags were drawn on" if limited else ""
    message = f"Spatial Registration objects {uids} disagree by {apart_mm:.1f} mm within the CT{why}; "
    message += "send only the right one."
    return (Finding(code, Level.HOLD, message, Who.SENDER, apart_mm, limit_mm, "mm"),)


def gaps(found: Sequence[Route], series_of: Mapping[str, Collection[str]]) -> tuple[Finding, ...]:
    """``registration-per-image`` (hold) where all ways together name only a part of the images of a series."""
    if not all(route.limited for route in found):
        return ()
    findings = []
    limits = [limit for route in found for step in route.steps for limit in step.limits]
    for uid in sorted({uid for series in series_of.values() for uid in series}):
        of_series = [limit for limit in limits if limit.series_uid == uid]
        named = frozenset[str]().union(*(limit.images for limit in of_series))
        if of_series and len(named) < of_series[0].of:
            message = (
                f"Spatial Registration objects name {len(named)} of {of_series[0].of} images of series {uid}, and say "
                "nothing of the others; send one for the whole series."
            )
            findings.append(Finding("registration-per-image", Level.HOLD, message, Who.SENDER, len(named)))
    return tuple(findings)
