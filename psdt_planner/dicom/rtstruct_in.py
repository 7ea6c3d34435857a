"""RTSTRUCT in: contours on the MR are flagged lesions; on the planning CT contours are organs, points landmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from psdt_planner.dicom import attributes
from psdt_planner.dicom.drawn import SLIVER, lies_on, rasterised
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.flags import (
    PLANE_TOLERANCE_MM,
    Flags,
    ImageIndex,
    Marked,
    epi_first,
    held,
    lesion,
)
from psdt_planner.dicom.kinds import KIND_OF_CLASS
from psdt_planner.errors import GeometryError, InputError, UnsupportedError
from psdt_planner.exam import Landmark, Organ
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind
from psdt_planner.shapes import Contour

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
FLAG_TYPES = ("GTV", "")
"""RTROIInterpretedType of contours on the MR that are flags; organs and markers that were drawn there are not."""


@dataclass(frozen=True, eq=False)
class Ring:
    """One contour as sent: ``(N, 3)`` points in mm, closed without repeating the first."""

    points_mm: Points
    geometric_type: str


@dataclass(frozen=True, eq=False)
class Drawn:
    """One ROI as sent.

    ``image_uids`` and ``image_classes`` are the instances and SOP classes that its contours name.
    """

    number: int
    name: str
    interpreted_type: str
    frame: str
    rings: tuple[Ring, ...]
    regions: tuple[Dataset, ...]
    tracking_uid: str
    image_uids: frozenset[str]
    image_classes: frozenset[str]


@dataclass(frozen=True, eq=False)
class StructureSetIn:
    """What one RTSTRUCT says: flags, organs and landmarks, and findings about them."""

    flags: Flags
    organs: tuple[Organ, ...] = ()
    landmarks: tuple[Landmark, ...] = ()


class _UnplacedError(Exception):
    """An ROI that cannot be tied to an image, or only to one that nothing is read from."""

    def __init__(self, code: str, message: str, level: Level = Level.HOLD) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.level = level


def read_structure_set(header: Header, images: ImageIndex, first: int) -> StructureSetIn:
    """The ROIs of one RTSTRUCT: lesions numbered from ``first`` on an MR, organs and landmarks on the planning CT.

    What an ROI was drawn on is told by its frame of reference where only the CT or only MRs have it, else by the
    series or images that it names, else by the SOP class of those images, else by the slices of its contours.
    Findings at level hold: ``rtstruct-refused``, ``rtstruct-ambiguous``, ``flag-source-absent``,
    ``flag-frame-unknown``, ``flag-plane-unmatched``, ``flag-empty``, ``flag-not-closed``, ``flag-rings-cross``,
    ``flag-on-pet``; at level warn ``rtstruct-not-used``, ``roi-not-a-flag``, ``organs-unread``,
    ``organ-plane-unmatched``.
    """
    source = FlagSource(header.file.sop_class_uid, header.file.sop_instance_uid, 0)
    try:
        rois, referenced = _read(header.dataset), _referenced_series(header.dataset)
    except InputError as error:
        return StructureSetIn(Flags((), (held("rtstruct-refused", str(error), source),)))
    lesions: list[FlaggedLesion] = []
    findings: list[Finding] = []
    organs: list[Organ] = []
    landmarks: list[Landmark] = []
    items = 0
    unplaced: dict[tuple[str, str, Level], list[int]] = {}
    for roi in rois:
        item = FlagSource(source.sop_class_uid, source.sop_instance_uid, roi.number)
        try:
            series = _drawn_on(roi, referenced, images)
        except _UnplacedError as error:
            unplaced.setdefault((error.code, error.message, error.level), []).append(roi.number)
            items += error.level is Level.HOLD
            continue
        if images.kinds[series] is Kind.PLANNING_CT and _is_marked(roi):
            points = np.concatenate(_points(roi))
            landmarks.append(Landmark(roi.name, roi.number, source.sop_instance_uid, points))
        elif images.kinds[series] is Kind.PLANNING_CT:
            organ, found = _organ(roi, images.grids[series][0], item)
            organs.append(organ)
            findings += found
        elif roi.interpreted_type not in FLAG_TYPES:
            findings.append(_no_flag(roi, item))
        else:
            flagged = _flag(roi, series, images, item, f"L{first + items}")
            items += 1
            lesions += flagged.lesions
            findings += flagged.findings
    findings += [_unplaced(source, *why, numbers) for why, numbers in unplaced.items()]
    return StructureSetIn(Flags(tuple(lesions), tuple(findings), items), tuple(organs), tuple(landmarks))


def _unplaced(source: FlagSource, code: str, message: str, level: Level, numbers: Sequence[int]) -> Finding:
    rois = ", ".join(str(number) for number in numbers)
    return Finding(code, level, f"SOP Instance UID {source.sop_instance_uid}, ROI {rois}: {message}")


def _no_flag(roi: Drawn, source: FlagSource) -> Finding:
    message = (
        f"SOP Instance UID {source.sop_instance_uid}: ROI {roi.number} on the MR is of type {roi.interpreted_type}, "
        "which is no flagged lesion, and is not used"
    )
    return Finding("roi-not-a-flag", Level.WARN, message)


def _read(ds: Dataset) -> list[Drawn]:
    """Every ROI, in order of its number; contours belong to their ROI by number, not by place in the sequence."""
    modality = attributes.text_or_empty(ds, "Modality")
    if modality != "RTSTRUCT":
        raise UnsupportedError(f"an RT Structure Set whose Modality says {modality or 'nothing'}")
    where = attributes.where_of(ds)
    contours = {
        attributes.integer(item, "ReferencedROINumber", where=where): item
        for item in attributes.items_if_any(ds, "ROIContourSequence")
    }
    observations = {
        attributes.integer(item, "ReferencedROINumber", where=where): item
        for item in attributes.items_if_any(ds, "RTROIObservationsSequence")
    }
    rois = []
    for roi in attributes.items(ds, "StructureSetROISequence"):
        number = attributes.integer(roi, "ROINumber", where=where)
        rois.append(_drawn(roi, number, contours.get(number), observations.get(number), where))
    return sorted(rois, key=lambda roi: roi.number)


def _drawn(roi: Dataset, number: int, contours: Dataset | None, observation: Dataset | None, where: str) -> Drawn:
    items = attributes.items_if_any(contours, "ContourSequence") if contours is not None else ()
    named = [image for item in items for image in attributes.items_if_any(item, "ContourImageSequence")]
    observed = observation if observation is not None else Dataset()
    return Drawn(
        number=number,
        name=attributes.text_or_empty(roi, "ROIName"),
        interpreted_type=attributes.text_or_empty(observed, "RTROIInterpretedType").upper(),
        frame=attributes.text(roi, "ReferencedFrameOfReferenceUID", where=where),
        rings=tuple(_ring(item, where) for item in items),
        regions=attributes.items_if_any(observed, "RTROIIdentificationCodeSequence"),
        tracking_uid=attributes.text_or_empty(roi, "TrackingUID"),
        image_uids=frozenset(attributes.text_or_empty(image, "ReferencedSOPInstanceUID") for image in named),
        image_classes=frozenset(attributes.text_or_empty(image, "ReferencedSOPClassUID") for image in named),
    )


def _ring(item: Dataset, where: str) -> Ring:
    count = attributes.integer(item, "NumberOfContourPoints", where=where)
    points = attributes.numbers(item, "ContourData", 3 * count, where=where).reshape(count, 3)
    if count > 1 and np.allclose(points[0], points[-1]):
        points = points[:-1]
    return Ring(points, attributes.text(item, "ContourGeometricType", where=where))


def _referenced_series(ds: Dataset) -> dict[str, frozenset[str]]:
    """SeriesInstanceUIDs that the structure set names, with the SOP classes of the images listed under each."""
    found: dict[str, frozenset[str]] = {}
    for frame in attributes.items_if_any(ds, "ReferencedFrameOfReferenceSequence"):
        for study in attributes.items_if_any(frame, "RTReferencedStudySequence"):
            for series in attributes.items_if_any(study, "RTReferencedSeriesSequence"):
                listed = attributes.items_if_any(series, "ContourImageSequence")
                classes = frozenset(attributes.text_or_empty(image, "ReferencedSOPClassUID") for image in listed)
                found[attributes.text_or_empty(series, "SeriesInstanceUID")] = classes
    return found


def _drawn_on(roi: Drawn, referenced: dict[str, frozenset[str]], images: ImageIndex) -> str:
    """SeriesInstanceUID of the image that an ROI was drawn on.

    Raises:
        _UnplacedError: no image, or more than one kind of image, fits.
    """
    listed: frozenset[str] = frozenset().union(*referenced.values())
    classes = {KIND_OF_CLASS.get(uid, Kind.OTHER) for uid in roi.image_classes or listed if uid}
    in_frame = [uid for uid, frames in images.frames.items() if roi.frame in frames]
    if not in_frame and classes == {Kind.CT}:
        raise _UnplacedError("organs-unread", f"no CT among the inputs is in its frame {roi.frame}", Level.WARN)
    if not in_frame:
        raise _UnplacedError("flag-frame-unknown", f"no image among the inputs is in its frame {roi.frame}")
    named = {images.series_of_image[uid] for uid in roi.image_uids if uid in images.series_of_image}
    named = named or {uid for uid in referenced if uid in images.kinds}
    fits = [uid for uid in in_frame if uid in named] or [uid for uid in in_frame if _is_of(images.kinds[uid], classes)]
    if not fits and classes:
        raise _UnplacedError("flag-source-absent", "drawn on a series that is not among the inputs")
    return _one_of(roi, fits or in_frame, images)


def _is_of(kind: Kind, classes: Iterable[Kind]) -> bool:
    """Whether a series of this kind is of one of the image classes (CT, MR_OTHER for any MR, PET)."""
    if kind in (Kind.CT, Kind.PLANNING_CT):
        return Kind.CT in classes
    return kind in classes if kind in (Kind.PET, Kind.OTHER) else Kind.MR_OTHER in classes


def _one_of(roi: Drawn, candidates: Sequence[str], images: ImageIndex) -> str:
    ct = [uid for uid in candidates if uid == images.planning_ct_uid]
    mr = [uid for uid in candidates if images.kinds[uid] not in (Kind.CT, Kind.PLANNING_CT, Kind.PET, Kind.OTHER)]
    if not ct and not mr:
        kinds = sorted({images.kinds[uid] for uid in candidates})
        if Kind.CT in kinds:
            raise _UnplacedError("organs-unread", "drawn on a CT that is not the planning CT", Level.WARN)
        if Kind.PET in kinds and roi.interpreted_type in FLAG_TYPES:
            raise _UnplacedError("flag-on-pet", "drawn on PET, which is not mapped")
        raise _UnplacedError("rtstruct-not-used", f"drawn on {', '.join(kinds)}, which is not used", Level.WARN)
    if ct and mr and roi.rings:
        ct, mr = ([uid for uid in some if _lies_on(roi, images.grids.get(uid, ()))] for some in (ct, mr))
        if not ct and not mr:
            raise _UnplacedError("flag-plane-unmatched", "its contours lie on no slice of its frame")
    if ct and mr:
        raise _UnplacedError("rtstruct-ambiguous", "it may have been drawn on the CT or on the MR")
    if ct and not images.grids.get(ct[0]):
        raise _UnplacedError("organs-unread", "the planning CT makes no lattice to place it on", Level.WARN)
    matching = [uid for uid in mr if _lies_on(roi, images.grids.get(uid, ()))]
    return (ct or epi_first(sorted(matching or mr), images))[0]


def _points(roi: Drawn) -> list[Points]:
    return [ring.points_mm for ring in roi.rings]


def _is_marked(roi: Drawn) -> bool:
    """Whether an ROI is points and nothing else; one without any contour is no landmark."""
    return bool(roi.rings) and all(ring.geometric_type == "POINT" for ring in roi.rings)


def _lies_on(roi: Drawn, grids: Sequence[Grid]) -> bool:
    return any(lies_on(_points(roi), grid) for grid in grids)


def _organ(roi: Drawn, grid: Grid, source: FlagSource) -> tuple[Organ, list[Finding]]:
    contours, off = [], 0
    for ring in roi.rings:
        k = _slice_of(ring, grid)
        if k is None or len(ring.points_mm) < 3:
            off += 1
        else:
            contours.append(Contour(ring.points_mm, k))
    contours.sort(key=lambda contour: contour.slice_index)
    findings = []
    if off:
        message = (
            f"SOP Instance UID {source.sop_instance_uid}: {off} of {len(roi.rings)} contours of ROI {roi.number} "
            "lie on no slice of the planning CT, or have fewer than three points, and were left out"
        )
        findings.append(Finding("organ-plane-unmatched", Level.WARN, message, value=float(off)))
    return Organ(roi.name, roi.number, source.sop_instance_uid, tuple(contours), _code(roi.regions)), findings


def _code(regions: Sequence[Dataset]) -> str:
    """The one SNOMED CT code that an organ was sent with; empty where there is none, or several."""
    coded = {
        attributes.text_or_empty(region, "CodeValue")
        for region in regions
        if attributes.text_or_empty(region, "CodingSchemeDesignator") == "SCT"
    }
    return coded.pop() if len(coded) == 1 else ""


def _slice_of(ring: Ring, grid: Grid) -> int | None:
    planes, offsets = grid.slice_origins_mm @ grid.normal, ring.points_mm @ grid.normal
    k = int(np.abs(planes - offsets.mean()).argmin())
    return k if np.abs(offsets - planes[k]).max() <= PLANE_TOLERANCE_MM else None


def _flag(roi: Drawn, series: str, images: ImageIndex, source: FlagSource, identity: str) -> Flags:
    grids = [grid for grid in images.grids.get(series, ()) if lies_on(_points(roi), grid)]
    if not any(len(ring.points_mm) for ring in roi.rings):
        return Flags((), (held("flag-empty", "the region has no contours", source, identity),))
    if any(ring.geometric_type not in CLOSED or len(ring.points_mm) < 3 for ring in roi.rings):
        return Flags((), (held("flag-not-closed", "a contour that is no closed ring", source, identity),))
    if not grids:
        message = f"its contours lie on no slices of series {series}"
        return Flags((), (held("flag-plane-unmatched", message, source, identity),))
    try:
        grid, mask = rasterised(_points(roi), grids[0])
    except GeometryError as error:
        return Flags((), (held("flag-rings-cross", error.message, source, identity),))
    if mask.sum() < SLIVER:
        return Flags((), (held("flag-empty", "the contours enclose nothing", source, identity),))
    marked = Marked(roi.name, roi.regions, roi.tracking_uid, source, series, str(images.kinds[series]))
    flagged, found = lesion(identity, marked, grid, mask, MaskKind.OCCUPANCY)
    return Flags((flagged,), tuple(found))
