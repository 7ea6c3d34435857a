"""One lesion: a rigid fit of its surroundings by several independent measures, and how far they agree.

A rigid fit of the whole body leaves a lesion 2 mm (median) to 17 mm (worst) away; a box around the lesion moves
almost rigidly. Disagreement between different measures predicts the error; restarts of the same one do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Volume
from psdt_planner.registration.epi import EpiShift, epi_shift
from psdt_planner.registration.fits import AROUND_LESION, Image, fit
from psdt_planner.registration.sitk_bridge import even_image, lps_lattice, resample_sitk
from psdt_planner.registration.types import CaseRegistration, LesionRegistration, RegistrationSource
from psdt_planner.registration.whole_body import HU_RANGE

BOX_STEP_MM = 2.0
BOX_HALF_MM = 45.0
MOVING_MARGIN_MM = (32.0, 32.0, 50.0)
"""How far the MR's box reaches beyond the CT's, along x, y and z."""

BONE_HU = 180.0
BONE_RIM_MM = 6.0
LEAST_BONE_VOXELS = 1500
"""Fewer 2 mm voxels of bone and its rim than this, and the fits use the whole box."""

FLOOR_BONE_MM, FLOOR_SOFT_MM = 2.0, 4.0
"""Least uncertainty, even where all measures agree: they may agree on the same mistake. Of soft tissue twice the 95th
percentile that prostates and nodes reach in docs/validation.md: the fits see the bone nearby, and organs move by
themselves."""

EPI_CORRECTED_MM, EPI_UNCORRECTED_MM = 1.0, 4.0
"""What is left of the EPI shift after correction, and twice its usual SD (2 mm) where it could not be corrected."""

MOST_DISAGREEMENT_MM = 2.0
MOST_MOTION_MM = 12.0
"""A local fit further than this from the whole body's is more likely a vertebra or a rib off than right."""

EDGE_MM = 15.0
"""A lesion nearer than this to the CT's first or last slice has too little around it to be fitted."""

LEAST_FITS = 3


@dataclass(frozen=True, eq=False)
class Place:
    """What is to be registered: the surroundings of one flag.

    Attributes:
        lesion: the lesion's id, for the findings.
        centre_mm: ``(3,)``, the flag's centre in the MR's frame.
        voxel_mm: the flag's largest voxel dimension.
        in_bone: whether the lesion's site is bone, which moves as the fits assume; soft tissue moves by itself.
        on_dwi: whether the flag was drawn on echo-planar images.
    """

    lesion: str
    centre_mm: Points
    voxel_mm: float
    in_bone: bool
    on_dwi: bool

    @property
    def floor_mm(self) -> float:
        """Least uncertainty of the place, even where all measures agree."""
        return FLOOR_BONE_MM if self.in_bone else FLOOR_SOFT_MM


@dataclass(frozen=True, eq=False)
class _Vote:
    """What the measures say together.

    Attributes:
        ct_from_mr: the fit nearest to the median place, shifted onto it.
        place_mm: ``(3,)``, the geometric median of the places that the fits give.
        disagreement_mm: 75th percentile of their distances to it.
        count: how many fits there are.
    """

    ct_from_mr: Rigid
    place_mm: Points
    disagreement_mm: float
    count: int


@dataclass(frozen=True, eq=False)
class LesionRegistrar:
    """Fits lesion after lesion on the same images.

    Attributes:
        ct: planning CT, HU.
        anatomical: MR volumes of one frame that show anatomy without EPI distortion, the best first (T1, then Dixon
            fat); where there are none, the low-b DWI itself.
        dwi: low-b DWI of the same frame, to find the EPI shift of a flag drawn on DWI; None where there is none.
        case: the whole body's transform.
        seed: of the samples that the fits draw.
    """

    ct: Volume
    anatomical: tuple[Volume, ...]
    dwi: Volume | None
    case: CaseRegistration
    seed: int

    def register(self, place: Place) -> LesionRegistration:
        """``ct_from_mr`` around a place of the MR's frame.

        A computed case is only the start of the lesion's own fits. A shared frame or an imported registration leads;
        the same fits then check it.

        The result carries, all at level hold, ``lesion-outside-ct``, ``lesion-uncertain``, ``lesion-moved-far``, or
        ``registration-disagrees`` where it is not to be trusted; at level warn ``registration-unverified`` where a
        given transform could not be checked, and ``epi-shift-unknown`` where a flag on DWI could not be corrected.
        """
        usable = place.on_dwi and self.dwi is not None and self.anatomical
        shift = epi_shift(self.anatomical, self.dwi, place.centre_mm) if usable and self.dwi else None
        undo = shift.undo() if shift else np.zeros(3)
        at_mr = place.centre_mm + undo
        at_ct = self.case.ct_from_mr.apply(at_mr)
        if self.case.source is RegistrationSource.COMPUTED:
            base = self._fitted(place, at_ct, at_mr)
        else:
            base = self._given(place, at_ct, at_mr)
        return _with_epi(base, shift, undo, place)

    def _given(self, place: Place, at_ct: Points, at_mr: Points) -> LesionRegistration:
        """The case's transform as it was given, with what the lesion's own fits say of it."""
        outside = self._outside(at_ct, place.lesion, edge_mm=0.0)
        vote = None if outside or not self.anatomical else self._vote(at_ct, at_mr)
        if vote is None or vote.disagreement_mm > MOST_DISAGREEMENT_MM:
            method = f"{self.case.method}, which nothing here could check"
            note = outside or _unverified(place.lesion, self.case.method)
            bound_mm = float(np.hypot(place.voxel_mm, FLOOR_SOFT_MM))
            return LesionRegistration(self.case.ct_from_mr, bound_mm, None, 0.0, method, (note,))
        apart_mm = float(np.linalg.norm(vote.place_mm - at_ct))
        return LesionRegistration(
            self.case.ct_from_mr,
            apart_mm + float(np.hypot(place.floor_mm, 2.0 * vote.disagreement_mm)),
            vote.disagreement_mm,
            0.0,
            f"{self.case.method}, checked by {vote.count} rigid fits in a 9 cm box, {apart_mm:.1f} mm from it",
            tuple(_contradiction(place, apart_mm)),
        )

    def _fitted(self, place: Place, at_ct: Points, at_mr: Points) -> LesionRegistration:
        outside = self._outside(at_ct, place.lesion)
        if outside:
            return self._refused(outside)
        vote = self._vote(at_ct, at_mr)
        if vote is None:
            return self._refused(_uncertain(place.lesion, f"fewer than {LEAST_FITS} fits around it succeeded", None))
        moved_mm = float(np.linalg.norm(vote.place_mm - at_ct))
        return LesionRegistration(
            vote.ct_from_mr,
            float(np.hypot(place.floor_mm, 2.0 * vote.disagreement_mm)),
            vote.disagreement_mm,
            0.0,
            f"{'bone' if place.in_bone else 'soft tissue'}: geometric median of {vote.count} rigid fits in a 9 cm box",
            tuple(_doubts(place.lesion, vote.disagreement_mm, moved_mm)),
        )

    def _refused(self, why: Finding) -> LesionRegistration:
        """The whole body's transform, which is all there is, held."""
        return LesionRegistration(self.case.ct_from_mr, MOST_MOTION_MM, None, 0.0, "whole body only", (why,))

    def _outside(self, at_ct: Points, lesion_id: str, *, edge_mm: float = EDGE_MM) -> Finding | None:
        grid = self.ct.grid
        ways = grid.slice_offsets_mm
        along = float((at_ct - grid.slice_origins_mm[0]) @ grid.normal)
        room = min(along - ways[0], ways[-1] - along)
        if room >= edge_mm and bool(grid.contains(at_ct)):
            return None
        message = f"{lesion_id} lies outside the planning CT or less than {edge_mm:g} mm from its first or last slice."
        return Finding("lesion-outside-ct", Level.HOLD, message, Who.PERSON, room, edge_mm, "mm", lesion_id)

    def _vote(self, at_ct: Points, at_mr: Points) -> _Vote | None:
        """What the fits around a place say together; None where fewer than `LEAST_FITS` succeeded."""
        fits = list(self._fits(at_ct, at_mr))
        if len(fits) < LEAST_FITS:
            return None
        places = np.array([found.apply(at_mr) for found in fits])
        median = geometric_median(places)
        distances = np.linalg.norm(places - median, axis=1)
        chosen = _moved(fits[int(distances.argmin())], at_mr, median)
        return _Vote(chosen, median, float(np.percentile(distances, 75)), len(fits))

    def _fits(self, at_ct: Points, at_mr: Points) -> Iterator[Rigid]:
        """Every ``ct_from_mr`` that a measure finds; measures that lose the images are left out of the vote."""
        box = self._ct_box(at_ct)
        bone = _bone(box.array)
        masked = replace(box, mask=bone) if int(bone.sum()) >= LEAST_BONE_VOXELS else box
        start = self.case.ct_from_mr.inverse()
        boxes = [self._mr_box(n, at_mr) for n in range(len(self.anatomical))]
        forward = [(masked, moving, start) for moving in boxes]
        if masked is not box:
            forward.append((box, boxes[0], start))
        for ct_image, moving, begin in forward:
            try:
                yield fit(ct_image, moving, begin, at_ct, AROUND_LESION, seed=self.seed).inverse()
            except RuntimeError:  # SimpleITK: too few samples under the mask
                continue
        for moving in boxes:
            try:
                yield fit(_inner(moving, at_mr), box, self.case.ct_from_mr, at_mr, AROUND_LESION, seed=self.seed)
            except RuntimeError:
                continue

    def _ct_box(self, at_ct: Points) -> Image:
        lattice = _box(at_ct, np.full(3, BOX_HALF_MM), self.ct.grid.frame)
        array = resample_sitk(self._ct_image, lattice, _SAME, outside=-1000.0)
        covered = self.ct.grid.contains(lattice.centres_mm())
        return Image(lattice, np.clip(array, *HU_RANGE), covered)

    def _mr_box(self, channel: int, at_mr: Points) -> Image:
        volume = self.anatomical[channel]
        lattice = _box(at_mr, BOX_HALF_MM + np.array(MOVING_MARGIN_MM), volume.grid.frame)
        array = resample_sitk(self._mr_images[channel], lattice, _SAME, outside=0.0)
        return Image(lattice, array, volume.grid.contains(lattice.centres_mm()))

    @cached_property
    def _ct_image(self) -> sitk.Image:
        return even_image(self.ct)

    @cached_property
    def _mr_images(self) -> tuple[sitk.Image, ...]:
        return tuple(even_image(volume) for volume in self.anatomical)


_SAME = sitk.Transform(3, sitk.sitkIdentity)


def geometric_median(points: Points) -> Points:
    """The point ``(3,)`` with the least sum of distances to points ``(N, 3)`` (Weiszfeld's iteration)."""
    centre = points.mean(axis=0)
    for _ in range(100):
        distances = np.maximum(np.linalg.norm(points - centre, axis=1), 1e-6)
        centre = (points / distances[:, None]).sum(axis=0) / (1.0 / distances).sum()
    return np.asarray(centre)


def _box(centre_mm: Points, half_mm: Points, frame: str) -> Grid:
    return lps_lattice(np.array([centre_mm - half_mm, centre_mm + half_mm]), BOX_STEP_MM, frame)


def _inner(moving: Image, at_mr: Points) -> Image:
    """The MR's box with only the CT box's size usable, so that it may serve as the fixed image."""
    near = np.abs(moving.grid.centres_mm() - at_mr).max(axis=-1) <= BOX_HALF_MM
    return replace(moving, mask=near if moving.mask is None else near & moving.mask)


def _bone(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Bone and the tissue next to it: the rim holds the edge that a fit needs."""
    dense = ndimage.binary_opening(hu > BONE_HU)
    return np.asarray(ndimage.binary_dilation(dense, iterations=round(BONE_RIM_MM / BOX_STEP_MM)))


def _moved(fit_: Rigid, at_mr: Points, to_ct: Points) -> Rigid:
    """The fit's rotation with the shift that takes a place exactly where the vote says."""
    matrix = fit_.matrix.copy()
    matrix[:3, 3] += to_ct - fit_.apply(at_mr)
    return Rigid(matrix, fit_.target, fit_.source)


def _doubts(lesion_id: str, disagreement_mm: float, motion_mm: float) -> Iterator[Finding]:
    if disagreement_mm > MOST_DISAGREEMENT_MM:
        yield _uncertain(lesion_id, f"independent fits around {lesion_id} disagree", disagreement_mm)
    if motion_mm > MOST_MOTION_MM:
        message = f"The fit around {lesion_id} lies {motion_mm:.1f} mm from the whole body's: perhaps a level off."
        yield Finding("lesion-moved-far", Level.HOLD, message, Who.PERSON, motion_mm, MOST_MOTION_MM, "mm", lesion_id)


def _uncertain(lesion_id: str, why: str, value: float | None) -> Finding:
    message = f"The place of {lesion_id} on the CT is uncertain: {why}."
    return Finding("lesion-uncertain", Level.HOLD, message, Who.PERSON, value, MOST_DISAGREEMENT_MM, "mm", lesion_id)


def _contradiction(place: Place, apart_mm: float) -> Iterator[Finding]:
    """A given transform may lie off the images by the tolerance of AAPM TG-132, the largest voxel dimension."""
    if apart_mm > place.voxel_mm:
        message = f"The images around {place.lesion} lie {apart_mm:.1f} mm from where the given registration puts them."
        limit_mm = place.voxel_mm
        yield Finding("registration-disagrees", Level.HOLD, message, Who.PERSON, apart_mm, limit_mm, "mm", place.lesion)


def _unverified(lesion_id: str, method: str) -> Finding:
    message = f"{lesion_id} was mapped by what was given ({method}), which nothing here could check."
    return Finding("registration-unverified", Level.WARN, message, Who.PERSON, lesion=lesion_id)


def _with_epi(base: LesionRegistration, shift: EpiShift | None, undo: Points, place: Place) -> LesionRegistration:
    """The registration with the EPI correction in front of it, and its part in the uncertainty."""
    if not place.on_dwi:
        return base
    trusted = shift is not None and shift.trusted
    left = EPI_CORRECTED_MM if trusted else EPI_UNCORRECTED_MM
    matrix = np.eye(4)
    matrix[:3, 3] = undo
    frame = base.ct_from_mr.source
    findings = base.findings
    if not trusted:
        message = f"The EPI shift at {place.lesion} could not be estimated: flagged on DWI, it stands uncorrected."
        note = Finding("epi-shift-unknown", Level.WARN, message, Who.PERSON, lesion=place.lesion)
        findings = (*findings, note)
    shift_mm = shift.shift_mm if trusted and shift else 0.0
    said = f"EPI shift of {shift_mm:.1f} mm undone" if trusted else "EPI shift not corrected"
    return replace(
        base,
        ct_from_mr=base.ct_from_mr @ Rigid(matrix, frame, frame),
        method=f"{base.method}; {said}",
        uncertainty_mm=float(np.hypot(base.uncertainty_mm, left)),
        epi_shift_mm=shift_mm,
        findings=findings,
    )
