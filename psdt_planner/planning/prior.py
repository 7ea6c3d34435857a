"""The prior exam beside this one: both exams' lesions in this exam's frame, as it would be without distortion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psdt_planner.criteria import Criteria
from psdt_planner.deformation import Deformation
from psdt_planner.exam import Exam, PriorExam
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Volume
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.planning.channels import DIFFUSION, channels_of
from psdt_planner.planning.flagged import adc_median, as_flagged, place_of
from psdt_planner.registration import (
    ExamImages,
    ExamsRegistrar,
    ExamsRegistration,
    PriorPlace,
    RegistrationSource,
    register_exams,
)
from psdt_planner.timeline import Covers, Seen, SeenLesion, covered_by, place_lesion, without_place

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""As the built-in ``map``."""


@dataclass(frozen=True, eq=False)
class Compared:
    """This exam and the prior one in one frame.

    Attributes:
        this, prior: what each of them shows.
        days_before: how many days before this exam the prior one was made.
        registration: how the two lie to each other.
        places: of the prior lesions that were placed, by their ids.
        flags: of the prior exam.
        findings: for the case.
    """

    this: Seen
    prior: Seen
    days_before: int
    registration: ExamsRegistration
    places: Mapping[str, PriorPlace] = field(default_factory=dict)
    flags: tuple[FlaggedLesion, ...] = ()
    findings: tuple[Finding, ...] = ()


def compare_exams(exam: Exam, criteria: Criteria, *, seed: int = 1, mapper: Mapper = map) -> Compared | None:
    """Both exams' lesions in this exam's frame; None where there is no prior exam, or nothing is flagged now.

    Args:
        exam: with its prior one.
        criteria: its row ``prior_exam`` tells how near in time two exams may be one.
        seed: of the samples that the registration draws.
        mapper: how starts and lesions are gone through.

    The findings are those of `register_exams` and `ExamsRegistrar`, ``prior-lesion-unplaced`` (warn) of lesions whose
    place in this exam is not known, and ``prior-too-recent`` (hold).
    """
    if exam.prior is None or not exam.flags:
        return None
    of_prior = replace(exam, mr=exam.prior.mr, flags=exam.prior.flags, prior=None)
    findings = tuple(_too_recent(exam.prior, criteria))
    frames = [{flag.grid.frame for flag in one.flags} for one in (exam, of_prior)]
    if any(len(named) > 1 for named in frames):
        return _not_compared(exam, exam.prior, findings)
    this, then = _images(exam), _images(of_prior)
    whole = register_exams(this, then, exam.registrations, seed=seed, mapper=mapper)
    registrar = ExamsRegistrar(this, then, whole, seed)
    found = list(mapper(lambda flag: _place_then(flag, of_prior, registrar), exam.prior.flags))
    places = {flag.id: place for flag, place in zip(exam.prior.flags, found, strict=True) if place is not None}
    seen = list(mapper(lambda flag: _seen_now(flag, this, exam), exam.flags))
    about = (finding for place in places.values() for finding in place.findings)
    unplaced = tuple(flag for flag in exam.prior.flags if flag.id not in places)
    still = Rigid.identity(this.frame)
    return Compared(
        this=Seen(this.frame, tuple(seen), covered_by([(grid, still) for grid in _looked_at(exam)])),
        prior=Seen(this.frame, tuple(_seen_then(of_prior, places)), _covers_then(of_prior, whole, this.frame)),
        days_before=exam.prior.days_before,
        registration=whole,
        places=places,
        flags=exam.prior.flags,
        findings=(*findings, *whole.findings, *about, *(_unplaced(unplaced) if whole.transform is not None else ())),
    )


def _too_recent(prior: PriorExam, criteria: Criteria) -> Iterator[Finding]:
    least = criteria.prior_exam.least_days
    if prior.days_before < least:
        message = (
            f"The older MR exam was made {prior.days_before} days before the newest: perhaps both are one exam, and "
            "the flags of both are current. Send one, or flag all on one."
        )
        days = float(prior.days_before)
        yield Finding("prior-too-recent", Level.HOLD, message, Who.PERSON, days, float(least), "days")


def _not_compared(exam: Exam, prior: PriorExam, findings: tuple[Finding, ...]) -> Compared:
    """Flags of one exam stand in several frames of reference: no lesion has a place in a common one."""
    frame = exam.flags[0].grid.frame
    message = "The flags of an exam stand in several frames of reference: no lesion was compared with the prior exam."
    said = Finding("prior-not-registered", Level.WARN, message, Who.SENDER)
    nowhere = ExamsRegistration(None, RegistrationSource.COMPUTED, "none found")
    this, then = (
        Seen(frame, tuple(without_place(flag, None) for flag in f), _nowhere) for f in (exam.flags, prior.flags)
    )
    return Compared(this, then, prior.days_before, nowhere, flags=prior.flags, findings=(*findings, said))


def _unplaced(flags: tuple[FlaggedLesion, ...]) -> Iterator[Finding]:
    if flags:
        names = ", ".join(flag.id for flag in flags)
        where = f"Where {names} of the prior exam lie in this one is not known"
        message = f"{where}: only a tracking UID tells what became of them."
        yield Finding("prior-lesion-unplaced", Level.WARN, message, Who.PERSON, float(len(flags)))


def _images(exam: Exam) -> ExamImages:
    frame = exam.flags[0].grid.frame
    channels = channels_of(exam, frame)
    series = {flag.series_uid for flag in exam.flags}
    return ExamImages(frame, series, channels.anatomical, channels.dwi)


def _place_then(flag: FlaggedLesion, of_prior: Exam, registrar: ExamsRegistrar) -> PriorPlace | None:
    place = registrar.register(place_of(flag, of_prior))
    if place is None:
        return None
    return replace(place, this_from_prior=as_flagged(place.this_from_prior, flag, of_prior))


def _seen_now(flag: FlaggedLesion, this: ExamImages, exam: Exam) -> SeenLesion:
    shift, left_mm = this.undistorted(place_of(flag, exam))
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    still = as_flagged(Rigid(matrix, this.frame, this.frame), flag, exam)
    adc = adc_median(exam, flag)
    return place_lesion(flag, still, frame=this.frame, uncertainty_mm=left_mm, adc_median_mm2_per_s=adc)


def _seen_then(of_prior: Exam, places: Mapping[str, PriorPlace]) -> Iterator[SeenLesion]:
    for flag in of_prior.flags:
        place = places.get(flag.id)
        adc = adc_median(of_prior, flag)
        if place is None:
            yield without_place(flag, adc)
            continue
        yield place_lesion(
            flag,
            place.this_from_prior,
            frame=place.this_from_prior.target,
            uncertainty_mm=place.uncertainty_mm,
            adc_median_mm2_per_s=adc,
        )


# Where an exam looked -------------------------------------------------------------------------------------------------


def _looked_at(exam: Exam) -> list[Grid]:
    """The lattices of the diffusion images, else of all images, in the flags' frame."""
    frame = exam.flags[0].grid.frame
    here = [volume for volume in exam.mr if volume.grid.frame == frame]
    diffusion: list[Volume] = [volume for volume in here if volume.quantity.kind in DIFFUSION]
    return list(dict.fromkeys(volume.grid for volume in diffusion or here))


def _covers_then(of_prior: Exam, whole: ExamsRegistration, frame: str) -> Covers:
    grids, transform = _looked_at(of_prior), whole.transform
    if isinstance(transform, Deformation):
        return _covered_through(transform, grids, frame)
    return _nowhere if transform is None else covered_by([(grid, transform) for grid in grids])


def _covered_through(transform: Deformation, grids: list[Grid], frame: str) -> Covers:
    def covers(points_mm: Points) -> NDArray[np.bool_]:
        there = transform.carried(points_mm, frame)
        found = np.zeros(len(points_mm), dtype=np.bool_)
        for grid in grids:
            found |= grid.contains(there)
        return found

    return covers


def _nowhere(points_mm: Points) -> NDArray[np.bool_]:
    return np.zeros(len(points_mm), dtype=np.bool_)
