"""DICOM SEG in: each segment a flagged lesion on its own lattice, cropped, with an empty border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.flags import (
    NO_NOTES,
    Flags,
    ImageIndex,
    Marked,
    SegmentNote,
    epi_first,
    held,
    lesion,
    on_planes,
    plane_offsets_mm,
    why_no_flag,
)
from psdt_planner.dicom.identity import MANUFACTURER
from psdt_planner.dicom.kinds import LABEL_MAP_SEGMENTATION_STORAGE
from psdt_planner.dicom.planes import Plane, plane_of_groups
from psdt_planner.dicom.volumes import UNDECODED
from psdt_planner.errors import GeometryError, InputError, MissingAttributeError, UnsupportedError
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import ON_NORMAL_TOLERANCE_MM, Grid, Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a SEG: its segment (0 in a label map, where it holds all), where it lies, and its index."""

    segment: int
    plane: Plane
    index: int


def read_segmentation(
    header: Header, images: ImageIndex, first: int, notes: Mapping[tuple[str, int], SegmentNote] = NO_NOTES
) -> Flags:
    """The segments of one SEG as lesions numbered from ``first``; ``notes`` are what reports say of them.

    BINARY, FRACTIONAL with occupancy, FRACTIONAL with a probability of 0 or 1 everywhere, and label maps; segments may
    overlap and leave out empty frames. Findings at level hold: ``flag-source-absent``, ``flag-frame-unknown``,
    ``flag-empty``, ``flag-geometry``, ``seg-probability``, ``seg-unreadable``, ``seg-not-a-flag``, ``flag-on-pet``,
    ``lesion-semiautomatic``; at level warn ``tracking-uid-differs`` and ``lesion-automatic``.
    """
    source = FlagSource(header.file.sop_class_uid, header.file.sop_instance_uid, 0)
    try:
        return _read(header, images, source, first, notes)
    except _ProbabilityError as error:
        return Flags((), (held("seg-probability", str(error), source),), 0)
    except InputError as error:
        return Flags((), (held("seg-unreadable", str(error), source),), 0)


def segment_numbers(ds: Dataset) -> tuple[int, ...]:
    """The numbers of a SEG's segments but the background (0) of a label map; none where they cannot be decoded."""
    try:
        found = {segment_number(item) for item in attributes.items_if_any(ds, "SegmentSequence")}
    except InputError:
        return ()
    return tuple(sorted(found - {0}))


def _read(
    header: Header, images: ImageIndex, source: FlagSource, first: int, notes: Mapping[tuple[str, int], SegmentNote]
) -> Flags:
    ds = header.dataset
    segments = [item for item in attributes.items(ds, "SegmentSequence") if segment_number(item)]
    findings = _check_source(ds, images, source)
    drawn_on = _drawn_on(ds, images)
    if images.kinds.get(drawn_on) is Kind.PET:
        findings.append(held("flag-on-pet", f"drawn on the PET series {drawn_on}, which is not mapped", source))
        return Flags((), tuple(findings), len(segments))
    planes, (pixels, kind) = frames_of(ds), pixels_of(header)
    lesions = []
    for offset, segment in enumerate(sorted(segments, key=segment_number)):
        number, identity = segment_number(segment), f"L{first + offset}"
        item = FlagSource(source.sop_class_uid, source.sop_instance_uid, number)
        try:
            _check_flag(segment, images.kinds.get(drawn_on))
            frames = [
                (one.plane, part_of_segment(pixels, one, number, ds)) for one in planes if one.segment in (number, 0)
            ]
            grid, mask = _cropped(ds, frames, images)
        except _NoFlagError as error:
            findings.append(held("seg-not-a-flag", str(error), item, identity))
        except _EmptyError:
            findings.append(held("flag-empty", "the segment has no voxels", item, identity))
        except GeometryError as error:
            findings.append(held("flag-geometry", error.message, item, identity))
        else:
            note = notes.get((source.sop_instance_uid, number), SegmentNote())
            marked = _marked(segment, item, drawn_on, images, note)
            flagged, found = lesion(identity, marked, grid, mask, kind)
            lesions.append(flagged)
            findings += [*found, *_about_segment(ds, flagged, note, segment)]
    return Flags(tuple(lesions), tuple(findings), len(segments))


class _NoFlagError(Exception):
    """A segment that is no flag, with the reason."""


class _EmptyError(Exception):
    """A segment without voxels."""


class _ProbabilityError(UnsupportedError):
    """A SEG of probabilities, which no threshold turns into a volume by itself."""


def segment_number(segment: Dataset) -> int:
    """SegmentNumber; 0 is the background of a label map."""
    return attributes.integer(segment, "SegmentNumber")


def _check_flag(segment: Dataset, kind: Kind | None) -> None:
    what = f"the segment {attributes.text_or_empty(segment, 'SegmentLabel')!r}"
    category, kind_code = (_property(segment, f"SegmentedProperty{name}CodeSequence") for name in ("Category", "Type"))
    if why := why_no_flag(what, category, kind_code, kind):
        raise _NoFlagError(why)


def _marked(segment: Dataset, source: FlagSource, series_uid: str, images: ImageIndex, note: SegmentNote) -> Marked:
    """What the segment says of itself; a note adds coded places, and stands in for a label or Tracking UID."""
    keywords = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence", "SegmentedPropertyTypeCodeSequence")
    regions = [region for keyword in keywords for region in attributes.items_if_any(segment, keyword)]
    label = attributes.text_or_empty(segment, "SegmentLabel") or note.label
    tracking_uid = attributes.text_or_empty(segment, "TrackingUID") or note.tracking_uid
    kind = str(images.kinds.get(series_uid, ""))
    return Marked(label, [*regions, *note.regions], tracking_uid, source, series_uid, kind, _rule(segment))


def _rule(segment: Dataset) -> str:
    """What made a segment that no person drew: kind of algorithm, name and parameters, as far as they are stated."""
    how = attributes.text_or_empty(segment, "SegmentAlgorithmType")
    if how in ("", "MANUAL"):
        return ""
    told = [attributes.text_or_empty(segment, "SegmentAlgorithmName")]
    for item in attributes.items_if_any(segment, "SegmentationAlgorithmIdentificationSequence")[:1]:
        told = [attributes.text_or_empty(item, keyword) for keyword in ("AlgorithmName", "AlgorithmParameters")]
    return ", ".join(part for part in (how, *told) if part)


def _about_segment(ds: Dataset, flagged: FlaggedLesion, note: SegmentNote, segment: Dataset) -> list[Finding]:
    found = []
    if note.tracking_uid and note.tracking_uid != flagged.tracking_uid:
        message = (
            f"{flagged.id}: a report names it with the Tracking UID {note.tracking_uid}, its segment with "
            f"{flagged.tracking_uid}, which is kept"
        )
        found.append(Finding("tracking-uid-differs", Level.WARN, message, lesion=flagged.id))
    algorithm = attributes.text_or_empty(segment, "SegmentAlgorithmType")
    ours = attributes.text_or_empty(ds, "Manufacturer") == MANUFACTURER
    if algorithm != "MANUAL" and ours and not attributes.has(ds, "ContentCreatorName"):
        message = (
            "a region that psdt grew by a rule and nobody accepted; look at it, then write it again with "
            "psdt candidates --accept and --by, or save it from your viewer"
        )
        found.append(held("lesion-semiautomatic", message, flagged.source, flagged.id))
    if algorithm == "AUTOMATIC" and not ours:
        message = f"{flagged.id}: a program drew it without a reader's hand, as its object says; look at it"
        found.append(Finding("lesion-automatic", Level.WARN, message, lesion=flagged.id))
    return found


def _property(segment: Dataset, keyword: str) -> str:
    return next((attributes.text_or_empty(code, "CodeValue") for code in attributes.items_if_any(segment, keyword)), "")


def _check_source(ds: Dataset, images: ImageIndex, source: FlagSource) -> list[Finding]:
    """Whether the series that the SEG was drawn on is among the inputs, in the frame that the SEG names."""
    frame = attributes.text_or_empty(ds, "FrameOfReferenceUID")
    if not frame:
        raise MissingAttributeError("FrameOfReferenceUID is missing", where=attributes.where_of(ds))
    referenced = _referenced_series(ds, images)
    present = [uid for uid in referenced if uid in images.kinds]
    if not present:
        named = ", ".join(referenced) or "no series"
        return [held("flag-source-absent", f"drawn on {named}, which is not among the inputs", source)]
    if not any(frame in images.frames[uid] for uid in present):
        return [held("flag-frame-unknown", f"its frame {frame} is not that of series {present[0]}", source)]
    return []


def _referenced_series(ds: Dataset, images: ImageIndex) -> list[str]:
    """SeriesInstanceUIDs of the images that the SEG was drawn on, in its order."""
    items = attributes.items_if_any(ds, "ReferencedSeriesSequence")
    named = [attributes.text_or_empty(series, "SeriesInstanceUID") for series in items]
    return named or _derived_from(ds, images)


def _derived_from(ds: Dataset, images: ImageIndex) -> list[str]:
    """SeriesInstanceUIDs of the images that its frames name as their source, for a SEG that names no series."""
    groups = attributes.items_if_any(ds, "PerFrameFunctionalGroupsSequence")
    sources = [
        attributes.text_or_empty(image, "ReferencedSOPInstanceUID")
        for group in (*attributes.items_if_any(ds, "SharedFunctionalGroupsSequence"), *groups)
        for derivation in attributes.items_if_any(group, "DerivationImageSequence")
        for image in attributes.items_if_any(derivation, "SourceImageSequence")
    ]
    return list(dict.fromkeys(images.series_of_image[uid] for uid in sources if uid in images.series_of_image))


def _drawn_on(ds: Dataset, images: ImageIndex) -> str:
    """The series among the inputs that the SEG was drawn on; empty without one.

    Of several, one in the SEG's own frame, and of these one of EPI.
    """
    frame = attributes.text_or_empty(ds, "FrameOfReferenceUID")
    present = [uid for uid in _referenced_series(ds, images) if uid in images.kinds]
    in_frame = [uid for uid in present if frame in images.frames[uid]]
    return next(iter(epi_first(in_frame or present, images)), "")


def frames_of(ds: Dataset) -> list[Frame]:
    """Every frame of a SEG, in their order."""
    shared = attributes.items_if_any(ds, "SharedFunctionalGroupsSequence")[:1]
    where = attributes.where_of(ds)
    frames = []
    for index, group in enumerate(attributes.items(ds, "PerFrameFunctionalGroupsSequence")):
        groups = (group, *shared)
        frames.append(Frame(_frame_segment(ds, groups, where), plane_of_groups(groups, where), index))
    return frames


def _frame_segment(ds: Dataset, groups: Sequence[Dataset], where: str) -> int:
    """The segment that a frame belongs to; 0 for a frame of a label map, which holds all segments."""
    for group in groups:
        for item in attributes.items_if_any(group, "SegmentIdentificationSequence"):
            return attributes.integer(item, "ReferencedSegmentNumber")
    if attributes.text_or_empty(ds, "SOPClassUID") != LABEL_MAP_SEGMENTATION_STORAGE:
        raise MissingAttributeError("SegmentIdentificationSequence is missing from a frame", where=where)
    return 0


def pixels_of(header: Header) -> tuple[NDArray[np.generic], MaskKind]:
    """``(frames, rows, columns)``, the stored numbers of a SEG.

    Raises:
        UnsupportedError: another type of segmentation, pixels that cannot be decoded, or probabilities.
    """
    ds, where = header.dataset, attributes.where_of(header.dataset)
    kind = attributes.text(ds, "SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise UnsupportedError(f"a segmentation of type {kind}", where=where)
    probability = kind == "FRACTIONAL" and attributes.text(ds, "SegmentationFractionalType") != "OCCUPANCY"
    try:
        pixels = dcmread(header.path).pixel_array
    except UNDECODED as error:
        raise UnsupportedError("the pixels cannot be decoded", where=where) from error
    if probability and not np.isin(pixels, (0, attributes.number(ds, "MaximumFractionalValue"))).all():
        raise _ProbabilityError("a segmentation of probabilities has no volume until a person sets a threshold")
    pixels = pixels.reshape((-1, attributes.integer(ds, "Rows"), attributes.integer(ds, "Columns")))
    return pixels, MaskKind.OCCUPANCY if kind == "FRACTIONAL" and not probability else MaskKind.BINARY


def part_of_segment(pixels: NDArray[np.generic], frame: Frame, number: int, ds: Dataset) -> NDArray[np.float32]:
    """``(rows, columns)``, one frame's part of one segment, 0 to 1."""
    kind = attributes.text(ds, "SegmentationType")
    if kind == "LABELMAP":
        return np.asarray(pixels[frame.index] == number, dtype=np.float32)
    full = attributes.number(ds, "MaximumFractionalValue") if kind == "FRACTIONAL" else 1.0
    return np.asarray(pixels[frame.index] / full, dtype=np.float32)


def _cropped(
    ds: Dataset, frames: Sequence[tuple[Plane, NDArray[np.float32]]], images: ImageIndex
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


def _check_alike(frames: Sequence[Plane], offsets: Points, normal: Points) -> None:
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
    for series in _referenced_series(ds, images):
        for grid in images.grids.get(series, ()):
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
