"""One lesion: where it is on the planning CT, how sure that is, and every doubt about it.

A rigid fit of the whole body leaves a lesion 2 mm (median) to 17 mm (worst) away; a box around the lesion moves
almost rigidly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from psdt_planner.deformation import DeformationError
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Points, Rigid
from psdt_planner.images import Kind, Volume
from psdt_planner.lesions import Side
from psdt_planner.registration.around import Images, Surroundings
from psdt_planner.registration.epi import CAP_MM, EpiShift, epi_shift
from psdt_planner.registration.levels import LevelCheck
from psdt_planner.registration.limb import other_posture
from psdt_planner.registration.types import CaseRegistration, LesionRegistration, RegistrationSource
from psdt_planner.registration.vote import DOUBT_MM, LEAST_FITS, Vote, vote

FLOOR_BONE_MM, FLOOR_SOFT_MM = 2.0, 4.0
"""Least uncertainty, even where all measures agree: they may agree on the same mistake. Of soft tissue twice the 95th
percentile that prostates and nodes reach in docs/validation.md: organs move by themselves."""

EPI_CORRECTED_MM, EPI_UNCORRECTED_MM = 1.0, 4.0
"""What is left of the EPI shift after correction, and twice its usual SD (2 mm) where it could not be corrected."""

MOST_DISAGREEMENT_MM, MOST_SCATTER_MM = 2.25, 5.0
"""Fits that lie further apart than the first tell no place. Where they start from a given transform and lie further
apart than the second, the images do not show what it says."""

MOST_MOTION_MM = 12.0
"""A local fit further than this from the whole body's, or from where the spine nearby would put it, is more likely a
vertebra or a rib off than right."""

MOST_MOTION_BELOW_MM = 30.0
"""Below the spine nothing repeats, and a thigh that lies otherwise takes the femur 15 mm away, its shaft 23."""

EDGE_MM = 15.0
"""A lesion nearer than this to the CT's first or last slice has too little around it to be fitted."""

SIDE_MM = 10.0
"""So far across the middle of the body, a lesion is on the other side; bones of the middle reach a little across."""

DISTORTED = frozenset({Kind.DWI, Kind.DWI_TRACE})


@dataclass(frozen=True, eq=False)
class Place:
    """What is to be registered: the surroundings of one flag.

    Attributes:
        lesion: the lesion's id, for the findings.
        centre_mm: ``(3,)``, the flag's centre in the MR's frame.
        voxel_mm: the flag's largest voxel dimension.
        in_bone: whether the lesion's site is bone, which moves as the fits assume; soft tissue moves by itself.
        on_dwi: whether the flag was drawn on echo-planar images.
        side: as flagged.
    """

    lesion: str
    centre_mm: Points
    voxel_mm: float
    in_bone: bool
    on_dwi: bool
    side: Side = Side.UNKNOWN

    @property
    def floor_mm(self) -> float:
        """Least uncertainty of the place, even where all measures agree."""
        return FLOOR_BONE_MM if self.in_bone else FLOOR_SOFT_MM


@dataclass(frozen=True, eq=False)
class LesionRegistrar:
    """Fits lesion after lesion on the same images; may be used from several threads.

    Attributes:
        ct: planning CT, HU.
        anatomical: MR volumes of one frame that show anatomy without EPI distortion, the best first (T1, then Dixon
            fat); where there are none, the DWI itself, the low b first.
        dwi: low-b DWI of the same frame, to find the EPI shift of a flag drawn on DWI; None where there is none.
        case: the whole body's transform.
        seed: of the samples that the fits draw.
        levels: what the spine says of it; None where that was not looked at.
    """

    ct: Volume
    anatomical: tuple[Volume, ...]
    dwi: Volume | None
    case: CaseRegistration
    seed: int
    levels: LevelCheck | None = None

    def register(self, place: Place) -> LesionRegistration:
        """``ct_from_mr`` around a place of the MR's frame.

        A computed case is only the start of the lesion's own fits. A shared frame or an imported registration leads;
        the same fits then check it.

        The result carries, all at level hold, ``lesion-outside-ct``, ``lesion-uncertain``, ``lesion-moved-far``,
        ``lesion-side``, ``registration-disagrees`` or, of a deformable registration, ``registration-outside-grid``,
        ``registration-folds`` and ``registration-not-locally-rigid`` where it is not to be trusted, and
        ``epi-shift-large``; at level warn
        ``registration-unverified`` where a given transform could not be checked, ``lesion-side-unchecked``, and
        ``epi-shift-unknown`` where a shift could not be corrected.
        """
        shift = self._epi_shift(place)
        at_mr = place.centre_mm + (shift.undo() if shift else np.zeros(3))
        try:
            start = self.case.around(at_mr)
        except DeformationError as error:
            return _with_epi(self._refused(error.finding(place.lesion)), shift, place)
        found = self._fitted if self.case.source is RegistrationSource.COMPUTED else self._given
        base = found(place, start, at_mr)
        side = tuple(self._wrong_side(place, base.ct_from_mr.apply(at_mr)))
        base = replace(base, findings=(*base.findings, *side))
        return _with_epi(base, shift, place) if self._epi_matters(place) else base

    def _epi_matters(self, place: Place) -> bool:
        """Whether the flag's images are distorted otherwise than those that ``ct_from_mr`` was found with.

        A computed transform of the DWI itself takes a flag on DWI with its shift to the right place; one on T1 it takes
        as far away. A given transform is of the anatomy.
        """
        computed = self.case.source is RegistrationSource.COMPUTED
        return place.on_dwi is not (self._distorted and computed)

    @property
    def _distorted(self) -> bool:
        """Whether the fits see the DWI itself: what maps its image onto the CT takes the EPI shift with it."""
        return bool(self.anatomical) and self.anatomical[0].quantity.kind in DISTORTED

    def _epi_shift(self, place: Place) -> EpiShift | None:
        usable = place.on_dwi and self.dwi is not None and self.anatomical and not self._distorted
        return epi_shift(self.anatomical, self.dwi, place.centre_mm) if usable and self.dwi else None

    def _given(self, place: Place, start: Rigid, at_mr: Points) -> LesionRegistration:
        """The case's transform as it was given, with what the lesion's own fits say of it."""
        at_ct = start.apply(at_mr)
        outside = self._outside(at_ct, place.lesion, edge_mm=0.0)
        here = self._images.around(at_ct, at_mr, start, in_bone=place.in_bone) if self.anatomical else None
        voted = None if outside or here is None else vote(here, seed=self.seed)
        if voted is None or voted.disagreement_mm > MOST_DISAGREEMENT_MM:
            scatter_mm = 0.0 if voted is None else voted.disagreement_mm
            method = f"{self.case.method}, which nothing here could check"
            note = outside or _unverified(place.lesion, self.case.method, scatter_mm)
            bound_mm = float(np.hypot(place.voxel_mm, FLOOR_SOFT_MM)) + self.case.residual_mm(at_mr) + scatter_mm
            return LesionRegistration(start, start, bound_mm, None, 0.0, method, (note,))
        apart_mm = float(np.linalg.norm(voted.place_mm - at_ct))
        return LesionRegistration(
            start,
            start,
            apart_mm + float(np.hypot(place.floor_mm, 2.0 * voted.disagreement_mm)),
            voted.disagreement_mm,
            0.0,
            f"{self.case.method}, checked by {len(voted.distances_mm)} rigid fits of {self._seen} in a 9 cm box, "
            f"{apart_mm:.1f} mm from it",
            tuple(_contradiction(place, apart_mm, float(np.hypot(place.floor_mm, 2.0 * voted.disagreement_mm)))),
            voted.distances_mm,
        )

    def _fitted(self, place: Place, start: Rigid, at_mr: Points) -> LesionRegistration:
        at_ct = start.apply(at_mr)
        outside = self._outside(at_ct, place.lesion)
        if outside:
            return self._refused(outside)
        here, voted = self._voted(place, start, at_mr)
        if voted is None:
            return self._refused(_uncertain(place.lesion, f"fewer than {LEAST_FITS} fits around it succeeded", None))
        what, floor_mm = ("bone" if place.in_bone else "soft tissue"), place.floor_mm
        if not here.masked:
            what, floor_mm = "all that is in the box (too little bone)", FLOOR_SOFT_MM
        return LesionRegistration(
            voted.ct_from_mr,
            voted.ct_from_mr,
            float(np.hypot(floor_mm, 2.0 * voted.disagreement_mm)),
            voted.disagreement_mm,
            0.0,
            f"{what}: geometric median of {len(voted.distances_mm)} rigid fits of {self._seen} in a 9 cm box",
            tuple(self._doubts(place.lesion, voted, at_ct)),
            voted.distances_mm,
        )

    def _voted(self, place: Place, start: Rigid, at_mr: Points) -> tuple[Surroundings, Vote | None]:
        """The vote on a place and what it was made on; in doubt, a bone below the spine is looked for further away."""
        here = self._images.around(start.apply(at_mr), at_mr, start, in_bone=place.in_bone)
        voted = vote(here, seed=self.seed)
        sure = voted is not None and voted.disagreement_mm <= DOUBT_MM
        if sure or not place.in_bone or not self._below_spine(here.at_ct):
            return here, voted
        other = other_posture(here, seed=self.seed)
        if other is None:
            return here, voted
        there = self._images.around(other.apply(at_mr), at_mr, other, in_bone=True)
        return there, vote(there, seed=self.seed)

    @cached_property
    def _seen(self) -> str:
        return " and ".join(dict.fromkeys(volume.quantity.kind.value for volume in self.anatomical))

    @cached_property
    def _images(self) -> Images:
        return Images(self.ct, self.anatomical)

    def _refused(self, why: Finding) -> LesionRegistration:
        """The whole body's transform, which is all there is, held."""
        whole = self.case.ct_from_mr
        return LesionRegistration(whole, whole, MOST_MOTION_MM, None, 0.0, "whole body only", (why,))

    def _outside(self, at_ct: Points, lesion_id: str, *, edge_mm: float = EDGE_MM) -> Finding | None:
        grid = self.ct.grid
        ways = grid.slice_offsets_mm
        along = float((at_ct - grid.slice_origins_mm[0]) @ grid.normal)
        room = float(min(along - ways[0], ways[-1] - along))
        if room >= edge_mm and bool(grid.contains(at_ct)):
            return None
        message = f"{lesion_id} lies outside the planning CT or less than {edge_mm:g} mm from its first or last slice."
        return Finding("lesion-outside-ct", Level.HOLD, message, Who.PERSON, room, edge_mm, "mm", lesion_id)

    def _doubts(self, lesion_id: str, voted: Vote, at_ct: Points) -> Iterator[Finding]:
        if voted.disagreement_mm > MOST_DISAGREEMENT_MM:
            yield _uncertain(lesion_id, f"independent fits around {lesion_id} disagree", voted.disagreement_mm)
        nearby = self.levels.motion_near(at_ct) if self.levels else None
        moved = voted.place_mm - at_ct
        from_whole_mm = float(np.linalg.norm(moved))
        from_spine_mm = 0.0 if nearby is None else float(np.linalg.norm(moved - nearby))
        moved_mm, most_mm = max(from_whole_mm, from_spine_mm), self._most_motion_mm(at_ct)
        if moved_mm > most_mm:
            whose = "the whole body's" if from_whole_mm == moved_mm else "where the spine nearby would put it"
            message = f"The fit around {lesion_id} lies {moved_mm:.1f} mm from {whose}: perhaps a level off."
            yield Finding("lesion-moved-far", Level.HOLD, message, Who.PERSON, moved_mm, most_mm, "mm", lesion_id)

    def _most_motion_mm(self, at_ct: Points) -> float:
        return MOST_MOTION_BELOW_MM if self._below_spine(at_ct) else MOST_MOTION_MM

    def _below_spine(self, at_ct: Points) -> bool:
        spine = self.levels.spine if self.levels else None
        return spine is not None and "hip bones" in spine.anchors and bool(at_ct[2] < spine.line_mm[0, 2])

    def _wrong_side(self, place: Place, at_ct: Points) -> Iterator[Finding]:
        """A flag of one side that lies on the other: +x is the patient's left."""
        sign = {Side.LEFT: 1.0, Side.RIGHT: -1.0}.get(place.side)
        spine = self.levels.spine if self.levels else None
        if sign is None or spine is None:
            return
        if not spine.found:
            message = f"The CT shows no spine to tell by whether {place.lesion} lies {place.side.value}, as flagged."
            yield Finding("lesion-side-unchecked", Level.WARN, message, Who.PERSON, lesion=place.lesion)
            return
        across_mm = -sign * float(at_ct[0] - spine.at(at_ct[2])[0])
        if across_mm > SIDE_MM:
            message = f"{place.lesion} is flagged {place.side.value}, but lies {across_mm:.0f} mm on the other side."
            yield Finding("lesion-side", Level.HOLD, message, Who.PERSON, across_mm, SIDE_MM, "mm", place.lesion)


def _uncertain(lesion_id: str, why: str, value: float | None) -> Finding:
    message = f"The place of {lesion_id} on the CT is uncertain: {why}."
    return Finding("lesion-uncertain", Level.HOLD, message, Who.PERSON, value, MOST_DISAGREEMENT_MM, "mm", lesion_id)


def _contradiction(place: Place, apart_mm: float, known_within_mm: float) -> Iterator[Finding]:
    """A given transform may lie off the images by the tolerance of AAPM TG-132, the largest voxel dimension.

    Nor do the fits know the place better than within their own bound.
    """
    limit_mm = max(place.voxel_mm, known_within_mm)
    if apart_mm > limit_mm:
        message = f"The images around {place.lesion} lie {apart_mm:.1f} mm from where the given registration puts them."
        yield Finding("registration-disagrees", Level.HOLD, message, Who.PERSON, apart_mm, limit_mm, "mm", place.lesion)


def _unverified(lesion_id: str, method: str, scatter_mm: float) -> Finding:
    if scatter_mm > MOST_SCATTER_MM:
        message = f"The images around {lesion_id} do not bear out the given registration: fits from there scatter."
        limit_mm = MOST_SCATTER_MM
        return Finding("registration-disagrees", Level.HOLD, message, Who.PERSON, scatter_mm, limit_mm, "mm", lesion_id)
    message = f"{lesion_id} was mapped by what was given ({method}), which nothing here could check."
    return Finding("registration-unverified", Level.WARN, message, Who.PERSON, lesion=lesion_id)


def _epi_doubt(lesion_id: str, measured_mm: float) -> Finding:
    if measured_mm > CAP_MM:
        message = f"The DWI at {lesion_id} seems shifted by {measured_mm:.1f} mm, more than is believed or corrected."
        return Finding("epi-shift-large", Level.HOLD, message, Who.PERSON, measured_mm, CAP_MM, "mm", lesion_id)
    message = f"The EPI shift at {lesion_id} could not be estimated, and stands uncorrected."
    return Finding("epi-shift-unknown", Level.WARN, message, Who.PERSON, lesion=lesion_id)


def _with_epi(base: LesionRegistration, shift: EpiShift | None, place: Place) -> LesionRegistration:
    """The registration with the EPI correction in front of it, and its part in the uncertainty."""
    trusted = shift is not None and shift.trusted
    left = EPI_CORRECTED_MM if trusted else EPI_UNCORRECTED_MM
    matrix = np.eye(4)
    matrix[:3, 3] = shift.undo() if shift else 0.0
    frame = base.ct_from_mr.source
    findings = base.findings
    if not trusted:
        measured_mm = abs(shift.shift_mm) if shift else 0.0
        left = max(left, measured_mm)
        findings = (*findings, _epi_doubt(place.lesion, measured_mm))
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
