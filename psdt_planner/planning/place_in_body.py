"""Site and side of a lesion from its place on the planning CT: told only where the place leaves no other.

A label and a code go first; a place that contradicts them holds. What the CT does not show clearly stays unknown: a
node looks like any soft tissue, and whether a lesion beside a vertebra lies in it or in a rib, nobody tells here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from psdt_planner.contours import shape_of
from psdt_planner.exam import Organ
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid, Points, grid_corners_mm
from psdt_planner.images import Volume
from psdt_planner.lesions import FlaggedLesion, MappedLesion, Side
from psdt_planner.registration.bodies import ct_body, profile
from psdt_planner.registration.sitk_bridge import coarse
from psdt_planner.registration.spine import Spine
from psdt_planner.shapes import Contour, Shape
from psdt_planner.structures import on_lattice
from psdt_planner.structures.bone import bone_around
from psdt_planner.tg263 import recognise

UNKNOWN, FROM_PLACE = "unknown", "place"

OUTLINE_STEP_MM = 5.0

IN_BONE = 0.8
"""From this part of the GTV in bone on, the lesion lies in bone; smear at its surface takes the rest."""

IN_ORGAN = 0.9
"""The same of an organ that somebody contoured."""

SITE_OF_ORGAN = {
    "Prostate": "prostate",
    "Liver": "liver",
    "Lung": "lung",
    "Lungs": "lung",
    "Glnd_Adrenal": "adrenal",
    "Brain": "brain",
    "Femur": "femur",
    "Skull": "skull",
}
"""Sites that are an organ, by its TG-263 name without a side."""

FINER = {
    "bone": ("femur", "skull", "rib"),
    "lung": ("lung-peripheral", "lung-central"),
    "prostate": ("prostate-recurrence",),
}
"""Sites that are a part of a coarser one: the one does not contradict the other."""

COLUMN_MM, COLUMN_DEPTH_MM = 20.0, 60.0
"""Bone so near the middle of the column, sideways and along the body's depth, is vertebra: heads of ribs lie further
out."""

BESIDE_MM = 50.0
"""Bone so far beside it is none: transverse processes end before."""

BEFORE_MM = 70.0
"""Bone so far in front of it is breast bone, rib or pubis."""

ABOVE_HIPS_MM = 10.0
"""So far above the crests of the hip bones, the column is neither sacrum nor last vertebra."""

UNTOLD_END_MM = 60.0
"""Where the CT shows no hip bones, its lowest stretch of column may be sacrum."""


ASIDE_MM = 20.0
"""So far beside the middle of the body, a place is on one side."""


@dataclass(frozen=True)
class Told:
    """Site and side that a place tells, each with the reason in words; unknown, and no words, where it tells none."""

    site: str = UNKNOWN
    site_words: str = ""
    side: Side = Side.UNKNOWN
    side_words: str = ""


@dataclass(frozen=True, eq=False)
class Bearings:
    """What a planning CT shows that tells where in the body a place lies.

    Attributes:
        ct: HU.
        spine: as found in it.
        organs: contoured on it.
    """

    ct: Volume
    spine: Spine
    organs: tuple[Organ, ...]

    def told(self, gtv: Shape, uncertainty_mm: float) -> Told:
        """What the place of a GTV on the CT tells, with the bound on it taken off every distance."""
        inside = np.argwhere(gtv.field > 0)
        if not inside.size:
            return Told()
        centre = gtv.grid.mm_from_index(inside).mean(axis=0)
        site, site_words = self._site(gtv, centre, uncertainty_mm)
        side, side_words = self._side(centre, uncertainty_mm)
        return Told(site, site_words, side, side_words)

    def _site(self, gtv: Shape, centre: Points, uncertainty_mm: float) -> tuple[str, str]:
        inside = gtv.field > 0
        for organ in self.organs:
            known = recognise(organ.name)
            site = SITE_OF_ORGAN.get(known.name.removesuffix("_L").removesuffix("_R")) if known else None
            rings = _near(organ.contours, gtv.grid, self.ct.grid) if site else ()
            if site and rings and _part(on_lattice(shape_of(rings, self.ct.grid), gtv.grid)[inside] > 0) >= IN_ORGAN:
                return site, f"within {organ.name} as contoured"
        in_bone = _part(bone_around(gtv, self.ct, gtv.grid)[inside] > 0)
        if in_bone < IN_BONE or not self.spine.found:
            return UNKNOWN, ""
        bone = self._which_bone(centre, uncertainty_mm)
        return (bone[0], f"{in_bone:.0%} of it in bone, {bone[1]}") if bone else (UNKNOWN, "")

    def _which_bone(self, centre: Points, uncertainty_mm: float) -> tuple[str, str] | None:
        """Site key and why, of a place in bone; None between vertebra and what lies beside it or below."""
        line, z = self.spine.line_mm, float(centre[2])
        beside, behind, _ = centre - self.spine.at(z)
        lowest, why = line[0, 2] + UNTOLD_END_MM, f"{abs(beside):.0f} mm beside the middle of the spine"
        if self.spine.hips_mm:
            third, two_thirds = (float(np.mean([right[2], left[2]])) for right, left in self.spine.hips_mm)
            if z + uncertainty_mm < third:
                return "bone", "below the upper part of the hip bones"
            lowest = 2.0 * two_thirds - third + ABOVE_HIPS_MM
        if abs(beside) - uncertainty_mm > BESIDE_MM:
            return "bone", why
        if -behind - uncertainty_mm > BEFORE_MM and line[0, 2] <= z <= line[-1, 2]:
            return "bone", f"{-behind:.0f} mm in front of the spine"
        in_column = abs(beside) + uncertainty_mm <= COLUMN_MM and abs(behind) + uncertainty_mm <= COLUMN_DEPTH_MM
        if in_column and lowest <= z - uncertainty_mm and z <= line[-1, 2]:
            return "spine", why
        return None

    def _side(self, centre: Points, uncertainty_mm: float) -> tuple[Side, str]:
        """By the middle of the spine and that of the body's outline, which must agree."""
        middles = [float(x) for x in self._middles_mm(float(centre[2]))]
        if not middles:
            return Side.UNKNOWN, ""
        left_of = [float(centre[0]) - x for x in middles]
        least_mm = ASIDE_MM + uncertainty_mm
        words = f"{min(abs(mm) for mm in left_of):.0f} mm beside the middle of the body"
        if min(left_of) > least_mm:
            return Side.LEFT, words
        if max(left_of) < -least_mm:
            return Side.RIGHT, words
        return Side.UNKNOWN, ""

    def _middles_mm(self, z: float) -> Iterator[float]:
        """x of the middle of the spine at a height, then of the body; none without a spine, or where the CT cuts the
        body on one side."""
        z_mm, middle_mm = self._outline
        outline = float(middle_mm[int(np.abs(z_mm - z).argmin())])
        if self.spine.found and np.isfinite(outline):
            yield from (float(self.spine.at(z)[0]), outline)

    @cached_property
    def _outline(self) -> tuple[Points, Points]:
        """Heights ``(K,)`` and x of the body's middle there; NaN where it is not known."""
        grid, hu, covered = coarse(self.ct, OUTLINE_STEP_MM, outside=-1000.0)
        body = ct_body(hu)
        found = profile(body, np.zeros_like(body), grid)
        across = [np.flatnonzero(plane.any(axis=0)) for plane in covered]
        ends = [(plane[:, one[:2]].any(), plane[:, one[-2:]].any()) for plane, one in zip(body, across, strict=True)]
        cut = np.array([first != last for first, last in ends])
        return found.z_mm, np.where(cut, np.nan, found.centre_xy_mm[:, 0])


def placed(mapped: MappedLesion, gtv: Shape, bearings: Bearings) -> MappedLesion:
    """The lesion with the site and side that its place tells, where neither a code nor its label did.

    ``lesion-site-from-place`` (warn) and ``lesion-side-from-place`` (info) say so. A site that its place contradicts
    holds as ``lesion-site-elsewhere``; a side that it contradicts, the registration has held already.
    """
    told, flag = bearings.told(gtv, mapped.uncertainty_mm), mapped.flag
    findings = tuple(_about_site(flag, told))
    if flag.site == UNKNOWN and not flag.site_code and told.site != UNKNOWN:
        flag = replace(flag, site=told.site, site_source=FROM_PLACE)
    if flag.side is Side.UNKNOWN and told.side is not Side.UNKNOWN:
        flag = replace(flag, side=told.side, side_source=FROM_PLACE)
        message = f"{flag.id} lies {told.side.value} by its place alone: {told.side_words}."
        findings += (Finding("lesion-side-from-place", Level.INFO, message, Who.PERSON, lesion=flag.id),)
    return replace(mapped, flag=flag, findings=(*mapped.findings, *findings))


def caution(flag: FlaggedLesion) -> str:
    """What a reader must see beside a dose that rests on a site told by place; empty where it does not."""
    if flag.site_source != FROM_PLACE:
        return ""
    return f"The site ({flag.site}) was told from the lesion's place alone. Confirm it before anything else."


def _about_site(flag: FlaggedLesion, told: Told) -> Iterator[Finding]:
    if told.site in (UNKNOWN, flag.site) or told.site in FINER.get(flag.site, ()):
        return
    if flag.site in FINER.get(told.site, ()):
        return
    if flag.site == UNKNOWN:
        message = f"{flag.id}: {told.site} by its place alone ({told.site_words}). A person must confirm it."
        yield Finding("lesion-site-from-place", Level.WARN, message, Who.PERSON, lesion=flag.id)
        return
    message = f"{flag.id} is flagged as {flag.site}, and lies in {told.site}: {told.site_words}."
    yield Finding("lesion-site-elsewhere", Level.HOLD, message, Who.PERSON, lesion=flag.id)


def _part(inside: NDArray[np.bool_]) -> float:
    return float(np.mean(inside))


def _near(contours: tuple[Contour, ...], lattice: Grid, ct: Grid) -> tuple[Contour, ...]:
    """The rings on the slices that a lattice meets, and one more on each side."""
    across = ct.index_from_mm(grid_corners_mm(lattice))[:, 0]
    first, last = np.floor(across.min()) - 1, np.ceil(across.max()) + 1
    return tuple(contour for contour in contours if first <= contour.slice_index <= last)
