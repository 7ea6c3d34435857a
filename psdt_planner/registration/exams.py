"""From the prior exam's frame to this exam's: MR to MR, of the whole body and around each prior lesion.

As from MR to CT: the same frame of reference or registration objects lead where there are any, else the images do; a
rigid fit of the whole body is then only the start of the fits around each lesion.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from psdt_planner.deformation import Deformation, DeformationError
from psdt_planner.exam import ImportedRegistration
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Points, Rigid, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.registration.around import HALF_MM, LESION_BOX, Surroundings, ball_around, seen_together
from psdt_planner.registration.epi import epi_shift
from psdt_planner.registration.fits import Image
from psdt_planner.registration.lesion import (
    DISTORTED,
    EPI_CORRECTED_MM,
    EPI_UNCORRECTED_MM,
    FLOOR_SOFT_MM,
    MOST_DISAGREEMENT_MM,
    MOST_MOTION_BELOW_MM,
    MOST_MOTION_MM,
    MOST_SCATTER_MM,
    Place,
)
from psdt_planner.registration.routes import contradictions, routes
from psdt_planner.registration.sitk_bridge import even_image, lps_lattice, resample_sitk
from psdt_planner.registration.types import RegistrationSource
from psdt_planner.registration.vote import Vote, vote_once
from psdt_planner.registration.whole_body import AS_MR, LEAST_INFORMATION, Mapper, register_whole_body

_SAME = sitk.Transform(3, sitk.sitkIdentity)


@dataclass(frozen=True, eq=False)
class ExamImages:
    """What a registration uses of one exam.

    Attributes:
        frame: Frame of Reference UID of all of them.
        series: SeriesInstanceUIDs that its flags were drawn on.
        anatomical: the best first; where there are none, the DWI.
        dwi: a low-b image beside them; None where there is none.
    """

    frame: str
    series: Collection[str]
    anatomical: tuple[Volume, ...]
    dwi: Volume | None

    @property
    def distorted(self) -> bool:
        """Whether the fits see the DWI itself, and with it the shift of what was flagged on it."""
        return bool(self.anatomical) and self.anatomical[0].quantity.kind in DISTORTED

    def undistorted(self, place: Place) -> tuple[Points, float]:
        """``(3,)``, what takes a flag from where it was drawn to where the fits see it, and what of it is unknown."""
        if place.on_dwi is self.distorted or not self.anatomical:
            return np.zeros(3), 0.0
        shift = epi_shift(self.anatomical, self.dwi, place.centre_mm) if place.on_dwi and self.dwi else None
        if shift is None or not shift.trusted:
            return np.zeros(3), max(EPI_UNCORRECTED_MM, abs(shift.shift_mm) if shift else 0.0)
        return shift.undo(), EPI_CORRECTED_MM


@dataclass(frozen=True, eq=False)
class ExamsRegistration:
    """How the prior exam lies to this one.

    Attributes:
        transform: from the prior exam's frame to this one's, or a deformation between the two, either way; None where
            none was found.
        source: where it comes from.
        method: in words, for the report.
        objects: of an imported one, SOP Instance UIDs.
        findings: what speaks against it.
    """

    transform: Rigid | Deformation | None
    source: RegistrationSource
    method: str
    objects: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def around(self, place_mm: Points, frame: str) -> Rigid | None:
        """The rigid transform around a place of the prior exam's frame; None where there is none."""
        if not isinstance(self.transform, Deformation):
            return self.transform
        try:
            return self.transform.rigid_around(place_mm, frame).rigid
        except DeformationError:
            return None


def register_exams(
    this: ExamImages,
    prior: ExamImages,
    imported: tuple[ImportedRegistration, ...],
    *,
    seed: int,
    mapper: Mapper = map,
) -> ExamsRegistration:
    """How the prior exam lies to this one: by the same frame, registration objects, or the images, in this order.

    The result carries ``registration-contradictory`` (hold) where objects disagree, and ``prior-not-registered`` (warn)
    where the images do not tell, or there are none.
    """
    if this.frame == prior.frame:
        same = Rigid.identity(this.frame)
        return ExamsRegistration(same, RegistrationSource.SHARED_FRAME, "both exams share their frame of reference")
    found = routes(imported, prior.frame, this.frame, {prior.frame: prior.series, this.frame: this.series})
    if found:
        objects = tuple(dict.fromkeys(uid for route in found for uid in route.objects))
        method = f"Spatial Registration object {', '.join(objects)}"
        against = _contradictory(objects, this, contradictions(found, _corners(this), this.frame))
        return ExamsRegistration(found[0].transform, RegistrationSource.REG_OBJECT, method, objects, against)
    if not this.anatomical or not prior.anatomical:
        return _none("no registration joins them, and not both have images to compute one from")
    return _computed(this.anatomical[0], prior.anatomical[0], seed, mapper)


def _computed(this: Volume, prior: Volume, seed: int, mapper: Mapper) -> ExamsRegistration:
    """By the images; the shorter exam is looked for in the longer one."""
    shorter, longer = sorted((this, prior), key=lambda volume: float(volume.grid.slice_offsets_mm[-1]))
    found = register_whole_body(shorter, longer, seed=seed, mapper=mapper, look=AS_MR)
    against = {finding.code: finding for finding in found.findings}
    if "registration-failed" in against:
        return _none("they show no common part of the body")
    if "registration-ambiguous" in against:
        return _none("two places along the body fit alike")
    if "registration-weak" in against:
        return _none(f"they have little in common (mutual information below {LEAST_INFORMATION:g})")
    transform = found.ct_from_mr if shorter is this else found.ct_from_mr.inverse()
    return ExamsRegistration(transform, RegistrationSource.COMPUTED, found.method)


def _none(why: str) -> ExamsRegistration:
    message = f"The prior exam could not be brought to this one: {why}. No lesion was matched by its place."
    finding = Finding("prior-not-registered", Level.WARN, message, Who.PERSON)
    return ExamsRegistration(None, RegistrationSource.COMPUTED, "none found", findings=(finding,))


def _corners(images: ExamImages) -> Points:
    """``(N, 3)``, of the exam's images; its origin where it has none."""
    corners = [grid_corners_mm(volume.grid) for volume in images.anatomical]
    return np.concatenate(corners) if corners else np.zeros((1, 3))


def _contradictory(objects: tuple[str, ...], this: ExamImages, found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    message = f"Spatial Registration objects {', '.join(objects)} disagree on how the prior exam lies to this one"
    said = f"{message} (frame {this.frame}); send only the right one."
    return tuple(Finding(one.code, one.level, said, one.who, one.value, one.limit, one.unit) for one in found)


@dataclass(frozen=True, eq=False)
class PriorPlace:
    """Where a prior lesion lies in this exam.

    Attributes:
        this_from_prior: rigid, for this lesion, as it was flagged: to where it would be seen without distortion.
        uncertainty_mm: bound on the distance between that place and the true one.
        method: in words.
        findings: what speaks against it.
    """

    this_from_prior: Rigid
    uncertainty_mm: float
    method: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class ExamsRegistrar:
    """Places prior lesion after prior lesion in this exam; may be used from several threads.

    Attributes:
        this, prior: the images of the two exams.
        whole: how they lie to each other.
        seed: of the samples that the fits draw.
    """

    this: ExamImages
    prior: ExamImages
    whole: ExamsRegistration
    seed: int

    def register(self, place: Place) -> PriorPlace | None:
        """Where a lesion of the prior exam lies in this one; None where that is not known.

        A given transform leads, and the fits check it: ``registration-disagrees`` (hold) where they contradict it.
        Where the fits of a computed one lie more than `MOST_SCATTER_MM` apart, or further from it than is believed, the
        whole body's transform is all there is: to tell which lesion is which, it will do with a wide bound.
        """
        shift, left_mm = self.prior.undistorted(place)
        at_prior = place.centre_mm + shift
        start = self.whole.around(at_prior, self.prior.frame)
        if start is None:
            return None
        voted, computed = self._vote(at_prior, start), self.whole.source is RegistrationSource.COMPUTED
        if voted is not None and voted.disagreement_mm > (MOST_SCATTER_MM if computed else MOST_DISAGREEMENT_MM):
            voted = None
        found = self._fitted(voted, start, at_prior) if computed else self._given(place, voted, start, at_prior)
        back = np.eye(4)
        back[:3, 3] = shift
        frame = self.prior.frame
        bound_mm = float(np.hypot(found.uncertainty_mm, left_mm))
        return PriorPlace(found.this_from_prior @ Rigid(back, frame, frame), bound_mm, found.method, found.findings)

    def _fitted(self, voted: Vote | None, start: Rigid, at_prior: Points) -> PriorPlace:
        if voted is None or np.linalg.norm(voted.place_mm - start.apply(at_prior)) > MOST_MOTION_BELOW_MM:
            return PriorPlace(start, MOST_MOTION_MM, "whole body only")
        bound_mm = float(np.hypot(FLOOR_SOFT_MM, 2.0 * voted.disagreement_mm))
        method = f"geometric median of {len(voted.distances_mm)} rigid fits in a 9 cm box"
        return PriorPlace(voted.ct_from_mr, bound_mm, method)

    def _given(self, place: Place, voted: Vote | None, start: Rigid, at_prior: Points) -> PriorPlace:
        if voted is None:
            bound_mm = float(np.hypot(place.voxel_mm, FLOOR_SOFT_MM))
            return PriorPlace(start, bound_mm, f"{self.whole.method}, which nothing here could check")
        apart_mm = float(np.linalg.norm(voted.place_mm - start.apply(at_prior)))
        bound_mm = apart_mm + float(np.hypot(FLOOR_SOFT_MM, 2.0 * voted.disagreement_mm))
        method = f"{self.whole.method}, checked by rigid fits in a 9 cm box, {apart_mm:.1f} mm from it"
        findings = (_disagrees(place, apart_mm),) if apart_mm > max(place.voxel_mm, FLOOR_SOFT_MM) else ()
        return PriorPlace(start, bound_mm, method, findings)

    def _vote(self, at_prior: Points, start: Rigid) -> Vote | None:
        if not self.this.anatomical or not self.prior.anatomical:
            return None
        at_this = start.apply(at_prior)
        if not self.this.anatomical[0].grid.contains(at_this):
            return None
        still = self._boxes(self.this, at_this, np.zeros(3))[0]
        ball = ball_around(still.grid, at_this)
        still = Image(still.grid, still.array, ball if still.mask is None else ball & still.mask)
        seen = seen_together(self._boxes(self.prior, at_prior, np.array(LESION_BOX.margin_mm)))
        here = Surroundings(still, tuple(seen.values()), 0, True, at_this, at_prior, start, in_bone=False)
        return vote_once(here, seed=self.seed)

    def _boxes(self, exam: ExamImages, centre_mm: Points, margin_mm: Points) -> list[Image]:
        half_mm = HALF_MM + margin_mm
        lattice = lps_lattice(np.array([centre_mm - half_mm, centre_mm + half_mm]), LESION_BOX.step_mm, exam.frame)
        images = self._this_images if exam is self.this else self._prior_images
        return [
            Image(
                lattice,
                resample_sitk(image, lattice, _SAME, outside=0.0),
                volume.grid.contains(lattice.centres_mm()),
            )
            for volume, image in zip(exam.anatomical, images, strict=True)
        ]

    @cached_property
    def _this_images(self) -> tuple[sitk.Image, ...]:
        return tuple(even_image(volume) for volume in self.this.anatomical)

    @cached_property
    def _prior_images(self) -> tuple[sitk.Image, ...]:
        return tuple(even_image(volume) for volume in self.prior.anatomical)


def _disagrees(place: Place, apart_mm: float) -> Finding:
    message = (
        f"The images around {place.lesion} of the prior exam lie {apart_mm:.1f} mm from where the given registration "
        "of the two exams puts them."
    )
    limit_mm = max(place.voxel_mm, FLOOR_SOFT_MM)
    return Finding("registration-disagrees", Level.HOLD, message, Who.PERSON, apart_mm, limit_mm, "mm")
