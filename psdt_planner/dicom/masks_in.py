"""SEG in, where it was drawn on a CT: every segment as a mask on that CT's own voxels, and nothing resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.flags import LESIONS
from psdt_planner.dicom.planes import Plane
from psdt_planner.dicom.seg_in import Frame, frames_of, part_of_segment, pixels_of, segment_number
from psdt_planner.dicom.series import Series, stacks_of
from psdt_planner.errors import GeometryError, InputError
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid
from psdt_planner.images import Kind
from psdt_planner.lesions import MaskKind

SAME_PLACE_MM = 0.05
"""How far a pixel of the SEG may lie from the CT's voxel that it stands for: text rounds to 0.01 mm or so."""


@dataclass(frozen=True, eq=False)
class SegmentOnCt:
    """One segment, drawn on the voxels of a CT.

    Attributes:
        number: SegmentNumber.
        label: SegmentLabel.
        is_lesion: whether it is coded as one.
    """

    number: int
    label: str
    is_lesion: bool
    _parts: tuple[tuple[int, int, int, NDArray[np.float32]], ...]
    _kind: MaskKind

    def mask(self, ct: Grid) -> NDArray[np.bool_] | NDArray[np.float32]:
        """``ct.shape``: bool, or the part of each voxel that is inside."""
        mask: NDArray[np.bool_] | NDArray[np.float32] = np.zeros(
            ct.shape, dtype=np.float32 if self._kind is MaskKind.OCCUPANCY else np.bool_
        )
        for k, j, i, part in self._parts:
            mask[k, j : j + part.shape[0], i : i + part.shape[1]] = part
        return mask


def ct_alone(series: Sequence[Series]) -> tuple[Series, Grid, tuple[Finding, ...]]:
    """The only CT among the series, its lattice, and what is odd about it but does not hold it.

    Raises:
        InputError: no CT, or several.
        GeometryError: its images make no lattice of axial slices; every reason is named.
    """
    found = [one for one in series if one.kind is Kind.CT and stacks_of(one.as_planning_ct())[0]]
    if len(found) != 1:
        raise InputError(
            f"{len(found) or 'no'} CT series in the folder", todo="Name the folder of the CT that the SEG was drawn on."
        )
    ct = found[0].as_planning_ct()
    (volume,), findings = stacks_of(ct)
    held = [finding.message for finding in findings if finding.level is Level.HOLD]
    if volume.stack.grid is None or held:
        raise GeometryError(
            f"the CT makes no lattice: {'; '.join(held)}", todo="Send the whole series of axial slices."
        )
    return ct, volume.stack.grid, findings


def segments_on(header: Header, ct: Grid) -> tuple[SegmentOnCt, ...]:
    """The segments of a SEG that lies on the CT's voxels, in order of their numbers; frames may be cropped or left out.

    Raises:
        GeometryError: another frame of reference, a frame beside the CT's voxels, or two of one segment on one slice.
        InputError: what `seg_in.pixels_of` refuses, or a segment without a voxel.
    """
    ds = header.dataset
    if attributes.text(ds, "FrameOfReferenceUID") != ct.frame:
        raise GeometryError("the SEG is in another frame of reference than the CT", where=attributes.where_of(ds))
    frames, stored = frames_of(ds), pixels_of(header)
    segments = sorted(
        (one for one in attributes.items(ds, "SegmentSequence") if segment_number(one)), key=segment_number
    )
    return tuple(_segment(one, frames, stored, ds, ct) for one in segments)


def _segment(
    segment: Dataset, frames: Sequence[Frame], stored: tuple[NDArray[np.generic], MaskKind], ds: Dataset, ct: Grid
) -> SegmentOnCt:
    pixels, kind = stored
    number, label = segment_number(segment), attributes.text_or_empty(segment, "SegmentLabel")
    told = f"segment {number} {label}".strip()
    parts: dict[int, tuple[int, int, int, NDArray[np.float32]]] = {}
    for frame in frames:
        part = part_of_segment(pixels, frame, number, ds) if frame.segment in (number, 0) else None
        if part is None or not part.any():
            continue
        k, j, i = _place(frame.plane, part.shape, ct, told)
        if k in parts:
            raise GeometryError(f"two frames of {told} on slice {k}")
        parts[k] = (k, j, i, part)
    if not parts:
        raise InputError(f"{told} has no voxels", todo="Take it out of the SEG.")
    codes = [
        attributes.text_or_empty(item, "CodeValue")
        for keyword in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence")
        for item in attributes.items_if_any(segment, keyword)
    ]
    return SegmentOnCt(number, label, not LESIONS.isdisjoint(codes), tuple(parts.values()), kind)


def _place(plane: Plane, shape: tuple[int, ...], ct: Grid, told: str) -> tuple[int, int, int]:
    """Slice, row and column of the CT that the first pixel lies on, after a look that the others lie on its voxels."""
    rows, columns = shape
    down, along = plane.column * plane.spacing_ji_mm[0] * (rows - 1), plane.row * plane.spacing_ji_mm[1] * (columns - 1)
    corners = np.array([plane.origin_mm, plane.origin_mm + down, plane.origin_mm + along])
    k, j, i = (int(n) for n in np.round(ct.index_from_mm(corners[:1]))[0])
    wanted = np.array([(k, j, i), (k, j + rows - 1, i), (k, j, i + columns - 1)])
    if (wanted < 0).any() or (wanted >= ct.shape).any():
        raise GeometryError(f"{told} reaches beyond the CT")
    off_mm = float(np.linalg.norm(ct.mm_from_index(wanted) - corners, axis=1).max())
    if off_mm > SAME_PLACE_MM:
        raise GeometryError(
            f"{told} lies {off_mm:.2f} mm beside the CT's voxels",
            todo="Send it on the CT's own grid: nothing is resampled. What was flagged on MR goes through psdt plan.",
        )
    return k, j, i
