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
"""Fewer 2 mm voxels of bone and its rim than this, and the lesion counts as one of soft tissue: the whole box is
used."""

FLOOR_BONE_MM, FLOOR_SOFT_MM = 2.0, 5.0
"""Least uncertainty, even where all measures agree: they may agree on the same mistake."""

EPI_CORRECTED_MM, EPI_UNCORRECTED_MM = 1.0, 4.0
"""What is left of the EPI shift after correction, and twice its usual SD (2 mm) where it could not be corrected."""

MOST_DISAGREEMENT_MM = 2.0
MOST_MOTION_MM = 12.0
"""A local fit further than this from the whole body's is more likely a vertebra or a rib off than right."""

EDGE_MM = 15.0
"""A lesion nearer than this to the CT's first or last slice has too little around it to be fitted."""

LEAST_FITS = 3


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

    def register(self, lesion_id: str, centre_mm: Points, voxel_mm: float, *, on_dwi: bool) -> LesionRegistration:
        """``ct_from_mr`` around a place of the MR's frame.

        Args:
            lesion_id: for the findings.
            centre_mm: ``(3,)``, the flag's centre in the MR's frame.
            voxel_mm: the flag's largest voxel dimension: the tolerance of TG-132 where the transform was given, not
                fitted.
            on_dwi: whether the flag was drawn on echo-planar images.

        The result carries ``lesion-outside-ct``, ``lesion-uncertain`` or ``lesion-moved-far`` (all hold) where it is
        not to be trusted, and ``epi-shift-unknown`` (warn) where a flag on DWI could not be corrected.
        """
        shift = epi_shift(self.anatomical, self.dwi, centre_mm) if on_dwi and self.dwi and self.anatomical else None
        undo = shift.undo() if shift else np.zeros(3)
        anatomical_mm = centre_mm + undo
        at_ct = self.case.ct_from_mr.apply(anatomical_mm)
        if self.case.source is not RegistrationSource.COMPUTED:
            base = self._as_given(at_ct, lesion_id, voxel_mm)
        elif outside := self._outside(at_ct, lesion_id):
            base = LesionRegistration(self.case.ct_from_mr, FLOOR_SOFT_MM, None, 0.0, "whole body only", (outside,))
        else:
            base = self._fitted(at_ct, anatomical_mm, lesion_id)
        return _with_epi(base, shift, undo, lesion_id, on_dwi=on_dwi)

    def _as_given(self, at_ct: Points, lesion_id: str, voxel_mm: float) -> LesionRegistration:
        outside = self._outside(at_ct, lesion_id, edge_mm=0.0)
        method = f"{self.case.method}; bound: largest voxel dimension (AAPM TG-132 tolerance), not measured"
        return LesionRegistration(self.case.ct_from_mr, voxel_mm, None, 0.0, method, (outside,) if outside else ())

    def _outside(self, at_ct: Points, lesion_id: str, *, edge_mm: float = EDGE_MM) -> Finding | None:
        grid = self.ct.grid
        ways = grid.slice_offsets_mm
        along = float((at_ct - grid.slice_origins_mm[0]) @ grid.normal)
        room = min(along - ways[0], ways[-1] - along)
        if room >= edge_mm and bool(grid.contains(at_ct)):
            return None
        message = f"{lesion_id} lies outside the planning CT or less than {edge_mm:g} mm from its first or last slice."
        return Finding("lesion-outside-ct", Level.HOLD, message, Who.PERSON, room, edge_mm, "mm", lesion_id)

    def _fitted(self, at_ct: Points, at_mr: Points, lesion_id: str) -> LesionRegistration:
        box = self._ct_box(at_ct)
        bone = _bone(box.array)
        soft = int(bone.sum()) < LEAST_BONE_VOXELS
        fits = list(self._fits(box, bone, soft, at_ct, at_mr))
        if len(fits) < LEAST_FITS:
            finding = _uncertain(lesion_id, f"only {len(fits)} fits around {lesion_id} succeeded", None)
            return LesionRegistration(self.case.ct_from_mr, FLOOR_SOFT_MM, None, 0.0, "whole body only", (finding,))
        places = np.array([found.apply(at_mr) for found in fits])
        centre = geometric_median(places)
        distances = np.linalg.norm(places - centre, axis=1)
        disagreement = float(np.percentile(distances, 75))
        chosen = _moved(fits[int(distances.argmin())], at_mr, centre)
        floor = FLOOR_SOFT_MM if soft else FLOOR_BONE_MM
        return LesionRegistration(
            chosen,
            float(np.hypot(floor, 2.0 * disagreement)),
            disagreement,
            0.0,
            f"{'soft tissue' if soft else 'bone'}: geometric median of {len(fits)} rigid fits in a 9 cm box",
            tuple(_doubts(lesion_id, disagreement, float(np.linalg.norm(centre - at_ct)))),
        )

    def _fits(self, box: Image, bone: NDArray[np.bool_], soft: bool, at_ct: Points, at_mr: Points) -> Iterator[Rigid]:
        """Every ``ct_from_mr`` that a measure finds; measures that lose the images are left out of the vote."""
        start = self.case.ct_from_mr.inverse()
        boxes = [self._mr_box(n, at_mr) for n in range(len(self.anatomical))]
        fixed = box if soft else replace(box, mask=bone)
        forward = [(fixed, moving, start) for moving in boxes] + ([] if soft else [(box, boxes[0], start)])
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


def _with_epi(
    base: LesionRegistration, shift: EpiShift | None, undo: Points, lesion_id: str, *, on_dwi: bool
) -> LesionRegistration:
    """The registration with the EPI correction in front of it, and its part in the uncertainty."""
    if not on_dwi:
        return base
    trusted = shift is not None and shift.trusted
    left = EPI_CORRECTED_MM if trusted else EPI_UNCORRECTED_MM
    matrix = np.eye(4)
    matrix[:3, 3] = undo
    frame = base.ct_from_mr.source
    findings = base.findings
    if not trusted:
        message = f"The EPI shift at {lesion_id} could not be estimated; it was flagged on DWI and stands uncorrected."
        note = Finding("epi-shift-unknown", Level.WARN, message, Who.PERSON, lesion=lesion_id)
        findings = (*findings, note)
    return replace(
        base,
        ct_from_mr=base.ct_from_mr @ Rigid(matrix, frame, frame),
        uncertainty_mm=float(np.hypot(base.uncertainty_mm, left)),
        epi_shift_mm=shift.shift_mm if trusted and shift else 0.0,
        findings=findings,
    )
