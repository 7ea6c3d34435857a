"""DICOM SEG in: each segment a flagged lesion on its own lattice, cropped, with an empty border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.flags import (
    Flags,
    ImageIndex,
    Marked,
    epi_first,
    held,
    lesion,
    on_planes,
    plane_offsets_mm,
)
from psdt_planner.dicom.kinds import LABEL_MAP_SEGMENTATION_STORAGE
from psdt_planner.dicom.volumes import UNDECODED
from psdt_planner.errors import GeometryError, InputError, MissingAttributeError, UnsupportedError
from psdt_planner.findings import Finding
from psdt_planner.geometry import ON_NORMAL_TOLERANCE_MM, Grid, Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlagSource, MaskKind

LESIONS = {code.value for code in (
    codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion, codes.SCT.Neoplasm, codes.SCT.NeoplasmPrimary,
    codes.SCT.NeoplasmSecondary, codes.SCT.Metastasis, codes.SCT.Mass, codes.SCT.Nodule, codes.SCT.GrossTumorVolume,
)} | {"M-01000", "M-01100", "M-8FFFF", "M-80003", "M-80006", "M-03000", "M-03010"}  # fmt: skip
"""Property categories and types of a flag: SNOMED CT, and the SRT codes that older objects carry."""

ANATOMY = {code.value for code in (codes.SCT.AnatomicalStructure, codes.SCT.BodyStructure, codes.SCT.Organ)} | {
    "272673000",
    "T-D000A",
}
"""Property categories of what belongs to the body: anatomical or body structure, organ, bone."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a SEG: where it lies, and its pixels in 0..1 for one segment."""

    segment: int
    origin_mm: Points
    row: Points
    column: Points
    spacing_ji_mm: tuple[float, float]
    distance_mm: float
    index: int


def read_segmentation(header: Header, images: ImageIndex, first: int) -> Flags:
    """The segments of one SEG as lesions numbered from ``first``.

    BINARY, FRACTIONAL with occupancy, and label maps; segments may overlap and leave out empty frames. Findings at
    level hold: ``flag-source-absent``, ``flag-frame-unknown``, ``flag-empty``, ``flag-geometry``, ``seg-probability``,
    ``seg-unreadable``, ``seg-not-a-flag``, ``flag-on-pet``.
    """
    source = FlagSource(header.file.sop_class_uid, header.file.sop_instance_uid, 0)
    try:
        return _read(header, images, source, first)
    except _ProbabilityError as error:
        return Flags((), (held("seg-probability", str(error), source),), 0)
    except InputError as error:
        return Flags((), (held("seg-unreadable", str(error), source),), 0)


def _read(header: Header, images: ImageIndex, source: FlagSource, first: int) -> Flags:
    ds = header.dataset
    segments = [item for item in attributes.items(ds, "SegmentSequence") if _segment_number(item)]
    findings = _check_source(ds, images, source)
    drawn_on = _drawn_on(ds, images)
    if images.kinds.get(drawn_on) is Kind.PET:
        findings.append(held("flag-on-pet", f"drawn on the PET series {drawn_on}, which is not mapped", source))
        return Flags((), tuple(findings), len(segments))
    planes, (pixels, kind) = _frames(ds), _pixels(header)
    lesions = []
    for offset, segment in enumerate(sorted(segments, key=_segment_number)):
        number, identity = _segment_number(segment), f"L{first + offset}"
        item = FlagSource(source.sop_class_uid, source.sop_instance_uid, number)
        if why := _why_no_flag(segment, images.kinds.get(drawn_on)):
            findings.append(held("seg-not-a-flag", why, item, identity))
            continue
        frames = [
            (plane, _of_segment(pixels, plane, number, header)) for plane in planes if plane.segment in (number, 0)
        ]
        try:
            grid, mask = _cropped(ds, frames, images)
        except _EmptyError:
            findings.append(held("flag-empty", "the segment has no voxels", item, identity))
        except GeometryError as error:
            findings.append(held("flag-geometry", error.message, item, identity))
        else:
            flagged, found = lesion(identity, _marked(segment, item, drawn_on, images), grid, mask, kind)
            lesions.append(flagged)
            findings += found
    return Flags(tuple(lesions), tuple(findings), len(segments))


class _EmptyError(Exception):
    """A segment without voxels."""


class _ProbabilityError(UnsupportedError):
    """A SEG of probabilities, which no threshold turns into a volume by itself."""


def _segment_number(segment: Dataset) -> int:
    return attributes.integer(segment, "SegmentNumber")


def _marked(segment: Dataset, source: FlagSource, series_uid: str, images: ImageIndex) -> Marked:
    keywords = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence", "SegmentedPropertyTypeCodeSequence")
    regions = [region for keyword in keywords for region in attributes.items_if_any(segment, keyword)]
    label = attributes.text_or_empty(segment, "SegmentLabel")
    tracking_uid = attributes.text_or_empty(segment, "TrackingUID")
    return Marked(label, regions, tracking_uid, source, series_uid, str(images.kinds.get(series_uid, "")))


def _why_no_flag(segment: Dataset, kind: Kind | None) -> str:
    """Why a segment is taken for no flag; empty where it is one.

    What is coded as a part of the body is an organ; so may be whatever was drawn on a CT and is not coded as a lesion.
    """
    category = _property(segment, "SegmentedPropertyCategoryCodeSequence")
    kinds = {category, _property(segment, "SegmentedPropertyTypeCodeSequence")}
    if kinds & LESIONS:
        return ""
    label = attributes.text_or_empty(segment, "SegmentLabel")
    if category in ANATOMY:
        return f"the segment {label!r} is coded as a part of the body, not as a lesion"
    if kind in (Kind.PLANNING_CT, Kind.CT):
        return f"the segment {label!r} was drawn on a CT and is not coded as a lesion"
    return ""


def _property(segment: Dataset, keyword: str) -> str:
    return next((attributes.text_or_empty(code, "CodeValue") for code in attributes.items_if_any(segment, keyword)), "")


def _check_source(ds: Dataset, images: ImageIndex, source: FlagSource) -> list[Finding]:
    """Whether the series that the SEG was drawn on is among the inputs, in the frame that the SEG names."""
    frame = attributes.text_or_empty(ds, "FrameOfReferenceUID")
    if not frame:
        raise MissingAttributeError("FrameOfReferenceUID is missing", where=attributes.where_of(ds))
    referenced = _referenced_series(ds)
    present = [uid for uid in referenced if uid in images.kinds]
    if not present:
        named = ", ".join(referenced) or "no series"
        return [held("flag-source-absent", f"drawn on {named}, which is not among the inputs", source)]
    if not any(frame in images.frames[uid] for uid in present):
        return [held("flag-frame-unknown", f"its frame {frame} is not that of series {present[0]}", source)]
    return []


def _referenced_series(ds: Dataset) -> list[str]:
    """SeriesInstanceUIDs of the images that the SEG was drawn on, in its order."""
    items = attributes.items_if_any(ds, "ReferencedSeriesSequence")
    return [attributes.text_or_empty(series, "SeriesInstanceUID") for series in items]


def _drawn_on(ds: Dataset, images: ImageIndex) -> str:
    """The series among the inputs that the SEG was drawn on; empty without one.

    Of several, one in the SEG's own frame, and of these one of EPI.
    """
    frame = attributes.text_or_empty(ds, "FrameOfReferenceUID")
    present = [uid for uid in _referenced_series(ds) if uid in images.kinds]
    in_frame = [uid for uid in present if frame in images.frames[uid]]
    return next(iter(epi_first(in_frame or present, images)), "")


def _frames(ds: Dataset) -> list[Frame]:
    shared = attributes.items_if_any(ds, "SharedFunctionalGroupsSequence")[:1]
    where = attributes.where_of(ds)
    frames = []
    for index, group in enumerate(attributes.items(ds, "PerFrameFunctionalGroupsSequence")):
        groups = (group, *shared)
        measures = _macro(groups, "PixelMeasuresSequence", where)
        cosines = attributes.numbers(
            _macro(groups, "PlaneOrientationSequence", where), "ImageOrientationPatient", 6, where=where
        ).reshape(2, 3)
        cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
        spacing = attributes.numbers(measures, "PixelSpacing", 2, where=where)
        position = _macro(groups, "PlanePositionSequence", where)
        frames.append(
            Frame(
                segment=_frame_segment(ds, groups, where),
                origin_mm=attributes.numbers(position, "ImagePositionPatient", 3, where=where),
                row=cosines[0],
                column=cosines[1],
                spacing_ji_mm=(float(spacing[0]), float(spacing[1])),
                distance_mm=_distance_mm(measures),
                index=index,
            )
        )
    return frames


def _macro(groups: Sequence[Dataset], keyword: str, where: str) -> Dataset:
    for group in groups:
        for item in attributes.items_if_any(group, keyword):
            return item
    raise MissingAttributeError(f"{keyword} is missing", where=where)


def _frame_segment(ds: Dataset, groups: Sequence[Dataset], where: str) -> int:
    """The segment that a frame belongs to; 0 for a frame of a label map, which holds all segments."""
    for group in groups:
        for item in attributes.items_if_any(group, "SegmentIdentificationSequence"):
            return attributes.integer(item, "ReferencedSegmentNumber")
    if attributes.text_or_empty(ds, "SOPClassUID") != LABEL_MAP_SEGMENTATION_STORAGE:
        raise MissingAttributeError("SegmentIdentificationSequence is missing from a frame", where=where)
    return 0


def _distance_mm(measures: Dataset) -> float:
    """SpacingBetweenSlices, else SliceThickness; 0 where neither is stated."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if attributes.has(measures, keyword):
            return abs(attributes.number(measures, keyword))
    return 0.0


def _pixels(header: Header) -> tuple[NDArray[np.generic], MaskKind]:
    ds, where = header.dataset, attributes.where_of(header.dataset)
    kind = attributes.text(ds, "SegmentationType")
    if kind == "FRACTIONAL" and attributes.text(ds, "SegmentationFractionalType") != "OCCUPANCY":
        raise _ProbabilityError("a segmentation of probabilities has no volume until a person sets a threshold")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise UnsupportedError(f"a segmentation of type {kind}", where=where)
    try:
        pixels = dcmread(header.path).pixel_array
    except UNDECODED as error:
        raise UnsupportedError("the pixels cannot be decoded", where=where) from error
    shape = (-1, attributes.integer(ds, "Rows"), attributes.integer(ds, "Columns"))
    return pixels.reshape(shape), MaskKind.OCCUPANCY if kind == "FRACTIONAL" else MaskKind.BINARY


def _of_segment(pixels: NDArray[np.generic], frame: Frame, number: int, header: Header) -> NDArray[np.float32]:
    """One frame's part of one segment, 0..1."""
    if header.file.sop_class_uid == LABEL_MAP_SEGMENTATION_STORAGE:
        return np.asarray(pixels[frame.index] == number, dtype=np.float32)
    ds = header.dataset
    full = attributes.number(ds, "MaximumFractionalValue") if ds.SegmentationType == "FRACTIONAL" else 1.0
    return np.asarray(pixels[frame.index] / full, dtype=np.float32)


def _cropped(
    ds: Dataset, frames: Sequence[tuple[Frame, NDArray[np.float32]]], images: ImageIndex
) -> tuple[Grid, NDArray[np.float32]]:
    """The lattice and mask of one segment, with one empty voxel and one empty slice on each side.

    Raises:
        GeometryError: frames of several orientations, beside each other, twice at one place, or no slice distance.
    """
    filled = [(frame, mask) for frame, mask in frames if mask.any()]
    if not filled:
        raise _EmptyError
    first = filled[0][0]
    normal = np.cross(first.row, first.column)
    filled.sort(key=lambda pair: float(pair[0].origin_mm @ normal))
    offsets = np.array([frame.origin_mm @ normal for frame, _ in filled])
    _check_alike([frame for frame, _ in filled], offsets, normal)
    all_offsets = np.unique(np.round([frame.origin_mm @ normal for frame, _ in frames], 3))
    known = _known_planes(ds, images, normal, offsets)
    planes = (
        _between(offsets, known) if known.size else _spaced(offsets, _own_distance_mm(all_offsets, first.distance_mm))
    )
    _, rows, columns = np.nonzero(np.stack([mask for _, mask in filled]))
    j0, j1, i0, i1 = rows.min() - 1, rows.max() + 2, columns.min() - 1, columns.max() + 2
    step_j, step_i = first.column * first.spacing_ji_mm[0], first.row * first.spacing_ji_mm[1]
    shape = (len(planes), int(j1 - j0), int(i1 - i0))
    out = np.zeros(shape, dtype=np.float32)
    for (_, mask), offset in zip(filled, offsets, strict=True):
        k = int(np.abs(planes - offset).argmin())
        out[k] = np.pad(mask, 1)[j0 + 1 : j1 + 1, i0 + 1 : i1 + 1]
    base = filled[0][0].origin_mm + j0 * step_j + i0 * step_i
    origins = base + (planes - offsets[0])[:, None] * normal
    return Grid(origins, step_j, step_i, shape, attributes.text(ds, "FrameOfReferenceUID")), out


def _check_alike(frames: Sequence[Frame], offsets: Points, normal: Points) -> None:
    first = frames[0]
    beside = (
        np.array([frame.origin_mm - first.origin_mm for frame in frames]) - (offsets - offsets[0])[:, None] * normal
    )
    turned = max(float(np.abs([frame.row - first.row, frame.column - first.column]).max()) for frame in frames)
    if turned > ON_NORMAL_TOLERANCE_MM / 1000 or len({frame.spacing_ji_mm for frame in frames}) > 1:
        raise GeometryError("frames of several orientations or pixel spacings")
    if np.abs(beside).max() > ON_NORMAL_TOLERANCE_MM:
        raise GeometryError("frames that shift sideways from slice to slice")
    if (np.diff(offsets) < ON_NORMAL_TOLERANCE_MM).any():
        raise GeometryError("two frames of one segment at the same place")


def _known_planes(ds: Dataset, images: ImageIndex, normal: Points, offsets: Points) -> Points:
    """Offsets of the slices of the series that the SEG was drawn on; empty where the frames do not lie on them."""
    for series in attributes.items_if_any(ds, "ReferencedSeriesSequence"):
        for grid in images.grids.get(attributes.text_or_empty(series, "SeriesInstanceUID"), ()):
            known = plane_offsets_mm(grid, normal)
            if known.size > 1 and on_planes(offsets, known):
                return known
    return np.empty(0)


def _spaced(offsets: Points, step_mm: float) -> Points:
    """The frames, what was left out between them, and one more on each side, at the SEG's own distance."""
    planes = [np.array([offsets[0] - step_mm])]
    for low, high in pairwise(offsets):
        parts = max(round(float(high - low) / step_mm), 1)
        planes.append(low + (high - low) * np.arange(parts) / parts)
    return np.concatenate([*planes, [offsets[-1], offsets[-1] + step_mm]])


def _between(offsets: Points, known: Points) -> Points:
    """The known planes from one before the first offset to one after the last.

    A frame lies on its known plane and not where rounding put it, so that an even series gives an even lattice.
    """
    padded = np.concatenate([[2 * known[0] - known[1]], known, [2 * known[-1] - known[-2]]])
    at = np.abs(padded[None, :] - offsets[:, None]).argmin(axis=1)
    if (np.diff(at) < 1).any():
        raise GeometryError("two frames of one segment at the same place")
    return np.asarray(padded[at[0] - 1 : at[-1] + 2])


def _own_distance_mm(all_offsets: Points, stated_mm: float) -> float:
    if stated_mm > 0:
        return stated_mm
    if all_offsets.size < 2:
        raise GeometryError("one frame alone, without a slice distance")
    return float(np.diff(all_offsets).min())
