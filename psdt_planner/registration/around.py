"""The surroundings of one place: both images on small lattices, cut to what moves as one with the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Volume
from psdt_planner.registration.fits import Image
from psdt_planner.registration.sitk_bridge import even_image, lps_lattice, resample_sitk
from psdt_planner.registration.whole_body import HU_RANGE

Mask = NDArray[np.bool_]

HALF_MM = 45.0
"""Half the side of the CT's box: 9 cm move almost rigidly."""

SOFT_RADIUS_MM = 35.0
"""Soft tissue has no bone to hold it: only what lies this near moves with it."""

BONE_HU = 180.0
BONE_RIM_MM = 6.0
LEAST_BONE_ML = 12.0
"""Less bone with its rim than this, and the fits use the whole box."""

NEAR_BONE_ML, NEAR_SOFT_MM = 30.0, 26.0
"""What lies nearest to a place and still tells it: so much bone with its rim, about 3 cm around in a rib, or a ball.
Ribs breathe each its own way; with 20 ml a fit slides along a thin one."""


NEARLY_ALL = 0.9
"""A channel that shows less than this part of what another shows of a box is left out there: what lies beyond its end
is not dark tissue."""


@dataclass(frozen=True)
class Box:
    """The lattices that a place's surroundings are cut on.

    Attributes:
        step_mm: of both lattices.
        margin_mm: how far the MR's box reaches beyond the CT's, along x, y and z.
    """

    step_mm: float
    margin_mm: tuple[float, float, float]


LESION_BOX = Box(2.0, (26.0, 26.0, 26.0))
"""The margin holds the greatest motion that is believed, and the turn of a corner."""

_SAME = sitk.Transform(3, sitk.sitkIdentity)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the fits around one place work on.

    Attributes:
        ct: box of 9 cm around the place, HU within `HU_RANGE`, on an LPS lattice; its mask is bone with a rim, or for
            soft tissue a ball.
        mr: the anatomical channels on one lattice, which reaches further.
        sharpest: which of them shows the edge of bone best.
        masked: whether there was bone, or soft tissue, enough for a mask; else all of the box counts.
        at_ct, at_mr: ``(3,)``, the place in both frames under ``ct_from_mr``.
        ct_from_mr: where the fits start.
        in_bone: whether the place is in bone.
    """

    ct: Image
    mr: tuple[Image, ...]
    sharpest: int
    masked: bool
    at_ct: Points
    at_mr: Points
    ct_from_mr: Rigid
    in_bone: bool = True

    @property
    def mr_from_ct(self) -> Rigid:
        """The start the other way round."""
        return self.ct_from_mr.inverse()

    @cached_property
    def mr_mask(self) -> Mask:
        """The CT's mask carried to the MR's lattice by the start, with a rim for what the start is off."""
        lattice = self.mr[0].grid
        there = self.ct.grid.index_from_mm(self.ct_from_mr.apply(lattice.centres_mm()))
        shares = self._usable_ct.astype(np.float32)
        carried = ndimage.map_coordinates(shares, np.moveaxis(there, -1, 0), order=1) > 0.5
        usable = self.mr[0].mask
        wide = ndimage.binary_dilation(carried, iterations=2)
        return np.asarray(wide if usable is None else wide & usable)

    def nearer(self, found: Rigid) -> Surroundings:
        """What lies nearest to where ``found`` puts the place, to be fitted from there.

        Of a place at a joint the bone that it sits in, where that alone is enough to tell it: the other one moves
        otherwise.
        """
        at_ct = found.apply(self.at_mr)
        away_mm = np.linalg.norm(self.ct.grid.centres_mm() - at_ct, axis=-1)
        usable, radius_mm = self._usable_ct, NEAR_SOFT_MM
        if self.in_bone:
            voxels = round(NEAR_BONE_ML * 1000.0 / float(np.prod(self.ct.grid.spacing_kji_mm)))
            own = usable & own_bone_with_rim(self.ct, at_ct)
            usable = own if np.count_nonzero(own) >= voxels else usable
            usable_mm = np.sort(away_mm[usable])
            radius_mm = float(usable_mm[min(voxels, len(usable_mm)) - 1])
        near = replace(self.ct, mask=usable & (away_mm <= radius_mm))
        return replace(self, ct=near, at_ct=at_ct, ct_from_mr=found)

    @property
    def _usable_ct(self) -> Mask:
        return np.ones(self.ct.grid.shape, dtype=bool) if self.ct.mask is None else self.ct.mask


@dataclass(frozen=True, eq=False)
class Images:
    """The CT and the anatomical MR of a case, from which boxes are cut."""

    ct: Volume
    anatomical: tuple[Volume, ...]
    box: Box = LESION_BOX

    def around(self, at_ct: Points, at_mr: Points, ct_from_mr: Rigid, *, in_bone: bool) -> Surroundings:
        """The surroundings of a place; ``in_bone`` chooses what of the CT counts."""
        box = self._ct_box(at_ct)
        mask = bone_with_rim(box) if in_bone else ball_around(box.grid, at_ct)
        usable = mask if box.mask is None else mask & box.mask
        masked = bool(usable.sum() * self.box.step_mm**3 / 1000.0 >= LEAST_BONE_ML)
        if masked:
            box = replace(box, mask=usable)
        kinds = [volume.quantity.kind for volume in self.anatomical]
        seen = seen_together([self._mr_box(n, at_mr) for n in range(len(kinds))])
        # Fat surrounds and fills bone: on a fat image its cortex is a dark line.
        sharpest = next((n for n, k in enumerate(seen) if kinds[k] is Kind.DIXON_FAT), 0)
        return Surroundings(box, tuple(seen.values()), sharpest, masked, at_ct, at_mr, ct_from_mr, in_bone)

    def _ct_box(self, at_ct: Points) -> Image:
        lattice = self._lattice(at_ct, np.full(3, HALF_MM), self.ct.grid.frame)
        array = resample_sitk(self._ct_image, lattice, _SAME, outside=-1000.0)
        return Image(lattice, np.clip(array, *HU_RANGE), self.ct.grid.contains(lattice.centres_mm()))

    def _mr_box(self, channel: int, at_mr: Points) -> Image:
        volume = self.anatomical[channel]
        lattice = self._lattice(at_mr, HALF_MM + np.array(self.box.margin_mm), volume.grid.frame)
        array = resample_sitk(self._mr_images[channel], lattice, _SAME, outside=0.0)
        return Image(lattice, array, volume.grid.contains(lattice.centres_mm()))

    def _lattice(self, centre_mm: Points, half_mm: Points, frame: str) -> Grid:
        return lps_lattice(np.array([centre_mm - half_mm, centre_mm + half_mm]), self.box.step_mm, frame)

    @cached_property
    def _ct_image(self) -> sitk.Image:
        return even_image(self.ct)

    @cached_property
    def _mr_images(self) -> tuple[sitk.Image, ...]:
        return tuple(even_image(volume) for volume in self.anatomical)


def seen_together(boxes: Sequence[Image]) -> dict[int, Image]:
    """By its number, each box that shows nearly as much as the fullest, all cut to what they show in common."""
    masks = [np.ones(box.grid.shape, dtype=bool) if box.mask is None else box.mask for box in boxes]
    most = max(mask.mean() for mask in masks)
    kept = [n for n, mask in enumerate(masks) if mask.mean() >= NEARLY_ALL * most]
    common = np.logical_and.reduce([masks[n] for n in kept])
    return {n: replace(boxes[n], mask=common) for n in kept}


def ball_around(grid: Grid, centre_mm: Points) -> Mask:
    """What lies within `SOFT_RADIUS_MM` of a place."""
    return np.asarray(np.linalg.norm(grid.centres_mm() - centre_mm, axis=-1) <= SOFT_RADIUS_MM)


def bone_with_rim(ct: Image) -> Mask:
    """Bone and the tissue next to it: the rim holds the edge that a fit needs."""
    return _rimmed(_dense(ct), ct)


def own_bone_with_rim(ct: Image, at_ct: Points) -> Mask:
    """Of the pieces of bone that do not touch, the one nearest to a place, with its rim but nothing of the others."""
    labels, count = ndimage.label(_dense(ct))
    if count < 2:
        return _rimmed(labels > 0, ct)
    away_mm = np.linalg.norm(ct.grid.centres_mm() - at_ct, axis=-1)
    nearest = labels.ravel()[np.where(labels > 0, away_mm, np.inf).argmin()]
    return np.asarray(_rimmed(labels == nearest, ct) & ((labels == 0) | (labels == nearest)))


def _dense(ct: Image) -> Mask:
    return np.asarray(ndimage.binary_opening(ct.array > BONE_HU))


def _rimmed(dense: Mask, ct: Image) -> Mask:
    return np.asarray(ndimage.binary_dilation(dense, iterations=round(BONE_RIM_MM / ct.grid.slice_gap_mm)))
