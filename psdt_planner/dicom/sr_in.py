"""Structured reports in: each group that marks a place is a lesion, a point, or says more of a segment of a SEG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psdt_planner.dicom import attributes
from psdt_planner.dicom.drawn import SLIVER, ellipsoid, lies_on, rasterised
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.flags import (
    Flags,
    ImageIndex,
    Marked,
    SegmentNote,
    epi_first,
    held,
    lesion,
    point,
    why_no_flag,
)
from psdt_planner.dicom.planes import plane_of_image
from psdt_planner.dicom.sr_tree import Graphic, Group, read_groups
from psdt_planner.errors import GeometryError, InputError
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint, FlagSource, MaskKind

CLOSED = ("POLYGON", "CIRCLE", "ELLIPSE")
ROUND_POINTS = 360
"""Corners of the polygon that a circle or an ellipse is drawn as; its area is 0.005 % less."""

SAME_POINT = 1e-3
"""How far the ends of a closed polyline may lie apart, in pixels or mm."""


class _RefusedError(Exception):
    """A group that marks no place that can be used: a code and the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def read_report(header: Header, images: ImageIndex, first: int) -> Flags:
    """The groups of one report as lesions and points numbered from ``first``.

    Circles, ellipses and closed polylines on images, polygons, ellipses and ellipsoids in a frame of reference make a
    lesion; a point stays a point; a group that refers to segments of a SEG among the inputs makes none, since the SEG
    does. What speaks against a group is a finding at level hold: ``sr-unreadable`` (of the whole report),
    ``sr-no-region``, ``sr-not-a-flag``, ``sr-graphic-unread``, ``flag-segment-absent``, ``flag-source-absent``,
    ``flag-frame-unknown``, ``flag-on-pet``, ``flag-not-closed``, ``flag-plane-unmatched``, ``flag-rings-cross``,
    ``flag-geometry``, ``flag-empty``. A report that marks nothing is the warning ``sr-without-groups``.
    """
    source = FlagSource(header.file.sop_class_uid, header.file.sop_instance_uid, 0)
    try:
        groups = read_groups(header.dataset)
    except InputError as error:
        return Flags((), (held("sr-unreadable", str(error), source),))
    if not groups:
        message = f"SOP Instance UID {source.sop_instance_uid}: the report marks no place on an image"
        return Flags((), (Finding("sr-without-groups", Level.WARN, message),))
    lesions: list[FlaggedLesion] = []
    points: list[FlaggedPoint] = []
    findings: list[Finding] = []
    items = 0
    for group in groups:
        identity = f"L{first + items}"
        item = FlagSource(source.sop_class_uid, source.sop_instance_uid, group.number)
        try:
            found = None if _stands_in_a_seg(group, images) else _flag(group, images, item, identity)
        except _RefusedError as error:
            findings.append(held(error.code, error.message, item, identity))
            items += 1
            continue
        if found is not None:
            lesions += found.lesions
            points += found.points
            findings += found.findings
            items += 1
    return Flags(tuple(lesions), tuple(findings), items, tuple(points))


def segment_notes(headers: Iterable[Header]) -> Mapping[tuple[str, int], SegmentNote]:
    """What reports say of segments, by SOP Instance UID of the SEG and segment number; the first of several stands."""
    notes: dict[tuple[str, int], SegmentNote] = {}
    for header in headers:
        try:
            groups = read_groups(header.dataset)
        except InputError:  # read_report says so
            continue
        for group in groups:
            note = SegmentNote(group.sites, group.tracking_uid, group.label)
            for one in group.segments:
                for number in one.numbers:
                    notes.setdefault((one.sop_instance_uid, number), note)
    return notes


def _stands_in_a_seg(group: Group, images: ImageIndex) -> bool:
    """Whether a group is about segments among the inputs, so that the SEG is its flag.

    Raises:
        _RefusedError: it refers to segments that are not there.
    """
    for one in group.segments:
        absent = [number for number in one.numbers if (one.sop_instance_uid, number) not in images.segments]
        if absent or not one.numbers:
            named = ", ".join(map(str, absent)) or "(it names none)"
            message = f"it refers to segment {named} of the SEG {one.sop_instance_uid}, not among the inputs"
            raise _RefusedError("flag-segment-absent", message)
    return bool(group.segments)


def _flag(group: Group, images: ImageIndex, source: FlagSource, identity: str) -> Flags:
    graphics = [one for one in group.graphics if not _is_length(one)]
    if not graphics:
        raise _RefusedError("sr-no-region", f"the group {group.label!r} measures, but marks neither region nor point")
    series, frame = _drawn_on(group, graphics, images)
    if images.kinds.get(series[0]) is Kind.PET:
        raise _RefusedError("flag-on-pet", f"drawn on the PET series {series[0]}, which is not mapped")
    if why := why_no_flag(f"the group {group.label!r}", group.category, group.finding, images.kinds.get(series[0])):
        raise _RefusedError("sr-not-a-flag", why)
    kinds = {one.kind for one in graphics}
    marked = Marked(group.label, group.sites, group.tracking_uid, source, series[0], str(images.kinds[series[0]]))
    if kinds == {"POINT"} and len(graphics) == 1 and len(graphics[0].points) == 1:
        (at,) = _in_mm(graphics[0], images)
        flagged, found = point(identity, marked, at, frame)
        return Flags((), tuple(found), 1, (flagged,))
    grid, mask = _mask(graphics, series, images)
    if mask.sum() < SLIVER:
        raise _RefusedError("flag-empty", "the region encloses nothing")
    drawn, found = lesion(identity, marked, grid, mask, MaskKind.OCCUPANCY)
    return Flags((drawn,), tuple(found), 1)


def _is_length(one: Graphic) -> bool:
    """Two ends of a measured distance."""
    return one.kind in ("POLYLINE", "MULTIPOINT") and len(one.points) == 2


def _drawn_on(group: Group, graphics: Sequence[Graphic], images: ImageIndex) -> tuple[list[str], str]:
    """The series that the graphics may have been drawn on, likeliest first, and their one frame of reference."""
    uids = {one.image_uid for one in graphics if not one.frame}
    if uids - set(images.headers):
        raise _RefusedError(
            "flag-source-absent", "drawn on an image that is not among the inputs, or that is not named"
        )
    frames = {one.frame for one in graphics if one.frame}
    frames |= {attributes.text_or_empty(images.headers[uid].dataset, "FrameOfReferenceUID") for uid in uids}
    if len(frames) != 1 or "" in frames:
        raise _RefusedError("flag-frame-unknown", "its coordinates are in several frames of reference, or in none")
    (frame,) = frames
    if uids:
        named = {images.series_of_image[uid] for uid in uids}
        if len(named) > 1:
            raise _RefusedError("sr-graphic-unread", "one region on images of several series")
        return list(named), frame
    in_frame = [uid for uid in sorted(images.frames) if frame in images.frames[uid]]
    if not in_frame:
        raise _RefusedError("flag-frame-unknown", f"no image among the inputs is in its frame {frame}")
    sources = {*group.series_uids, *(images.series_of_image.get(uid, "") for uid in group.image_uids)}
    named_in_frame = [uid for uid in in_frame if uid in sources]
    off_ct = [uid for uid in in_frame if images.kinds[uid] not in (Kind.CT, Kind.PLANNING_CT)]
    return epi_first(named_in_frame or off_ct or in_frame, images), frame


def _mask(graphics: Sequence[Graphic], series: Sequence[str], images: ImageIndex) -> tuple[Grid, NDArray[np.float32]]:
    grids = [grid for uid in series for grid in images.grids.get(uid, ())]
    kinds = sorted({one.kind for one in graphics})
    try:
        if kinds == ["ELLIPSOID"] and len(graphics) == 1 and len(graphics[0].points) == 6:
            frame = graphics[0].frame
            of_frame = [grid for grid in grids if grid.frame == frame and grid.shape[0] > 1]
            if not of_frame:
                raise _RefusedError("flag-plane-unmatched", "no series of its frame makes a lattice to place it on")
            return ellipsoid(graphics[0].points, of_frame[0])
        rings = [_ring(one, images) for one in graphics]
        grid = next((grid for grid in grids if lies_on(rings, grid)), None)
        if grid is None:
            raise _RefusedError("flag-plane-unmatched", "its contours lie on no slice of the series of their frame")
    except InputError as error:
        raise _RefusedError("flag-geometry", str(error)) from error
    try:
        return rasterised(rings, grid)
    except GeometryError as error:
        raise _RefusedError("flag-rings-cross", error.message) from error


def _ring(one: Graphic, images: ImageIndex) -> Points:
    """A closed ring in mm, ``(N, 3)``, without repeating its first point."""
    if one.kind not in (*CLOSED, "POLYLINE"):
        raise _RefusedError("sr-graphic-unread", f"{one.kind} of {len(one.points)} points, alone or beside others")
    points = _in_mm(one, images)
    if one.kind == "CIRCLE" and len(points) == 2:
        middle, edge = one.points
        radius = float(np.linalg.norm(edge - middle))
        return _placed(_round(middle, np.array([radius, 0.0]), np.array([0.0, radius])), one, images)
    if one.kind == "ELLIPSE" and len(points) == 4:
        ends = points if one.frame else one.points
        middle = ends.mean(axis=0)
        return _placed(_round(middle, (ends[1] - ends[0]) / 2, (ends[3] - ends[2]) / 2), one, images)
    closed = np.linalg.norm(one.points[0] - one.points[-1]) <= SAME_POINT
    if one.kind == "POLYLINE" and not closed:
        raise _RefusedError("flag-not-closed", "a line that is not closed")
    ring = points[:-1] if closed else points
    if one.kind in ("CIRCLE", "ELLIPSE") or len(ring) < 3:
        raise _RefusedError("flag-not-closed", f"{one.kind} of {len(points)} points")
    return ring


def _round(middle: Points, one: Points, other: Points) -> Points:
    turn = np.linspace(0.0, 2.0 * np.pi, ROUND_POINTS, endpoint=False)[:, None]
    return np.asarray(middle + np.cos(turn) * one + np.sin(turn) * other)


def _placed(points: Points, one: Graphic, images: ImageIndex) -> Points:
    return points if one.frame else _on_image(points, one, images)


def _in_mm(one: Graphic, images: ImageIndex) -> Points:
    """``(N, 3)`` in mm, as stated or through the plane of the image."""
    return one.points if one.frame else _on_image(one.points, one, images)


def _on_image(points: Points, one: Graphic, images: ImageIndex) -> Points:
    try:
        plane = plane_of_image(images.headers[one.image_uid], one.frame_number)
    except InputError as error:
        raise _RefusedError("flag-geometry", str(error)) from error
    return plane.mm_from_graphic(points)
