"""What was registered to what, and how well: one record for the case and one for each lesion, after AAPM TG-132.

TG-132 (Brock et al., Med Phys 2017;44:e43-e76) wants a registration to be documented by its images, their dates, which
of them moved, the method, the region it is meant for, what was measured of it, and a person's word on how far it may be
used. All but the last is known when the plan is made; the last comes with the release and stands in the casebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from psdt_planner.case import NOT_ASSESSED
from psdt_planner.exam import Exam
from psdt_planner.lesions import MappedLesion
from psdt_planner.planning import Plan, PlannedLesion
from psdt_planner.registration import CaseRegistration, LevelCheck, RegistrationSource

CASE = "case"


@dataclass(frozen=True)
class ImageSeries:
    """One series that was registered, as a reader would look it up.

    Attributes:
        date: as sent (YYYYMMDD); empty where the series states none.
    """

    series_instance_uid: str
    modality: str = ""
    description: str = ""
    date: str = ""

    @property
    def day(self) -> str:
        """The date for a reader."""
        sent = self.date
        return f"{sent[:4]}-{sent[4:6]}-{sent[6:]}" if len(sent) == 8 and sent.isdigit() else sent or "date not stated"


@dataclass(frozen=True)
class Figure:
    """One thing that was measured of a registration; ``unit`` is empty for a pure number."""

    name: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:.3g} {self.unit}".strip()


@dataclass(frozen=True)
class RegistrationRecord:
    """One registration.

    Attributes:
        of: ``case``, or the lesion's id.
        stationary: the planning CT.
        moving: every MR series of the frame of reference that is carried to the CT.
        stationary_frame, moving_frame: UIDs of the frames of reference that the transform joins.
        source: value of the `RegistrationSource`.
        method: how the transform was found, in words.
        region: the part of the body that it is meant for.
        figures: what was measured.
        findings: codes of what speaks against it.
        use: how far it may be used; not assessed before a release.
    """

    of: str
    stationary: ImageSeries
    moving: tuple[ImageSeries, ...]
    stationary_frame: str
    moving_frame: str
    source: str
    method: str
    region: str
    figures: tuple[Figure, ...]
    findings: tuple[str, ...]
    use: str = NOT_ASSESSED

    @property
    def direction(self) -> str:
        """Which image was carried to which."""
        moving = "/".join(dict.fromkeys(series.modality for series in self.moving if series.modality)) or "flags"
        return f"{moving} (moving) to {self.stationary.modality or 'CT'} (stationary)"


def registration_records(plan: Plan, series: Iterable[ImageSeries]) -> tuple[RegistrationRecord, ...]:
    """The case's record, then that of each lesion that was mapped; empty where nothing could be registered.

    Args:
        plan: what was planned.
        series: what is known of the series that came in; one that is not among them is named by its UID alone.
    """
    ct = plan.exam.planning_ct
    if plan.registration is None or ct is None:
        return ()
    known = {one.series_instance_uid: one for one in series}
    moving_frame = plan.registration.ct_from_mr.source
    return tuple(
        RegistrationRecord(
            of=of,
            stationary=known.get(ct.series_uid, ImageSeries(ct.series_uid, "CT")),
            moving=_moving(plan.exam, moving_frame, known),
            stationary_frame=ct.grid.frame,
            moving_frame=moving_frame,
            source=plan.registration.source.value,
            method=method,
            region=region,
            figures=figures,
            findings=findings,
        )
        for of, method, region, figures, findings in _each(plan, plan.registration)
    )


Parts = tuple[str, str, str, tuple[Figure, ...], tuple[str, ...]]
"""What differs between the records of one plan: whose, method, region, figures and findings."""


def _each(plan: Plan, case: CaseRegistration) -> Iterator[Parts]:
    figures = tuple(_case_figures(case, plan.levels))
    yield CASE, case.method, _CASE_REGION[case.source], figures, tuple(one.code for one in case.findings)
    for lesion in plan.lesions:
        if lesion.mapped is not None:
            codes = tuple(one.code for one in lesion.mapped.findings if one not in case.findings)
            region = _region(lesion.mapped, case)
            yield lesion.flag.id, lesion.mapped.method, region, tuple(_figures(lesion, lesion.mapped, case)), codes


def _case_figures(case: CaseRegistration, levels: LevelCheck | None) -> Iterator[Figure]:
    if case.margin is not None:
        yield Figure("mutual information over the second-best place", case.margin, "")
    if levels is None or not levels.ghosts:
        return
    yield Figure("places compared along the spine", len(levels.ghosts), "")
    if levels.margin is not None:
        yield Figure("gain of the vertebral level over its neighbours", levels.margin, "")
    if levels.stretch is not None:
        yield Figure("difference in length of the spine", 100.0 * levels.stretch[0], "%")
    if levels.widths:
        yield Figure("difference in width of the pelvis", 100.0 * float(np.mean(levels.widths)), "%")


_CASE_REGION: Mapping[RegistrationSource, str] = {
    RegistrationSource.COMPUTED: "the body, as far as the planning CT shows it",
    RegistrationSource.REG_OBJECT: "what the registration object is meant for",
    RegistrationSource.SHARED_FRAME: "the whole frame of reference",
}


def _region(mapped: MappedLesion, case: CaseRegistration) -> str:
    x, y, z = (float(mm) for mm in mapped.centroid_ct_mm)
    box = f"the 9 cm box around {x:.0f}, {y:.0f}, {z:.0f} mm on the CT"
    if mapped.disagreement_mm is None:
        return _CASE_REGION[case.source]
    return box if case.source is RegistrationSource.COMPUTED else f"{_CASE_REGION[case.source]}, checked in {box}"


def _figures(lesion: PlannedLesion, mapped: MappedLesion, case: CaseRegistration) -> Iterator[Figure]:
    yield Figure("bound on the error", mapped.uncertainty_mm, "mm")
    if mapped.disagreement_mm is not None:
        yield Figure("disagreement of independent fits", mapped.disagreement_mm, "mm")
    for measure, distance_mm in mapped.distances_mm.items():
        yield Figure(f"distance of {measure} from their median", distance_mm, "mm")
    apart = mapped.centroid_ct_mm - case.ct_from_mr.apply(lesion.flag.centroid_mm)
    yield Figure("distance from the case's transform", float(np.linalg.norm(apart)), "mm")
    yield Figure("largest voxel of the flag, TG-132's tolerance", max(lesion.flag.grid.spacing_kji_mm), "mm")


def _moving(exam: Exam, frame: str, known: Mapping[str, ImageSeries]) -> tuple[ImageSeries, ...]:
    uids = dict.fromkeys(uid for volume in exam.mr if volume.grid.frame == frame for uid in volume.series_uids)
    return tuple(known.get(uid, ImageSeries(uid, "MR")) for uid in uids)
