"""Is it in place: the rings beside the images that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from psdt_planner.dicom.image_planes import ImageSeries
from psdt_planner.dicom.rtstruct_file import RoiInFile, StructureSetFile
from psdt_planner.geometry import Points
from psdt_planner.lint.codes import Complaint
from psdt_planner.lint.is_it_right import PLANAR_MM, gaps
from psdt_planner.lint.planes import Laid
from psdt_planner.lint.rois import rings_that

ON_SLICE_MM = 0.01
"""Nearer than this, a ring lies on its slice."""

ROUNDED_MM = 0.1
"""Nearer than this, a ring lies beside its slice by a rounding to one decimal, and the slice is still plain."""

EDGE_MM = 0.1
"""How far a ring may reach beyond the edge of the outermost voxels."""


def series_of(file: StructureSetFile, candidates: Sequence[ImageSeries]) -> tuple[ImageSeries | None, str]:
    """The series that a structure set was drawn on, and else a code that says why there is none.

    A series that is named leads, then the one that has the images that are named, then the only one of the frame and
    of the kind of image that are named, then the only one there is.
    """
    named = {one.uid for one in file.series}
    images = {uid for one in file.series for uid in one.image_uids} | {
        uid for roi in file.rois for ring in roi.rings for uid in ring.image_uids
    }
    frames = {roi.frame for roi in file.rois} | {file.text["FrameOfReferenceUID"]}
    classes = {name for one in file.series for name in one.image_classes}
    in_frame = [one for one in candidates if one.frames & frames]
    for fitting in (
        [one for one in candidates if one.uid in named],
        [one for one in candidates if images & set(one.image_uids)],
        [one for one in in_frame if not classes or one.sop_class_uid in classes],
        candidates,
    ):
        if len(fitting) == 1:
            return fitting[0], ""
        if fitting:
            return None, "ct-ambiguous"
    return None, "ct-absent"


def is_in_place(
    file: StructureSetFile, series: ImageSeries, candidates: Sequence[ImageSeries], laid: Laid
) -> Iterator[Complaint]:
    """What does not fit between the structure set and the series that it was drawn on."""
    yield from _images(series)
    yield from _identity(file, series)
    yield from _listed(file, series, candidates)
    if series.is_turned:
        return
    beside = _beside(series, laid)
    listed = frozenset(uid for one in file.series for uid in one.image_uids)
    absent = _absent(file, series)
    for roi in file.rois:
        of = np.array([n for n in laid.of(roi) if not absent.intersection(laid.rings[n][1].image_uids)], dtype=int)
        yield from _places(roi, of, series, laid, beside)
        yield from _unknown_images(roi, series, listed)
        yield from _wrong_images(roi, series, laid, beside)
        placed = not absent and len(series.image_uids) > 1 and (beside.off_mm[of] <= ROUNDED_MM).all()
        yield from gaps(roi, laid, beside.slices if placed else None)


def _absent(file: StructureSetFile, series: ImageSeries) -> frozenset[str]:
    """Images that the set lists under this series, and that are missing from it while others are there."""
    listed = {uid for one in file.series if one.uid == series.uid for uid in one.image_uids if uid}
    have = frozenset(series.image_uids)
    return frozenset(listed - have) if listed & have else frozenset()


def _images(series: ImageSeries) -> Iterator[Complaint]:
    for one in series.irregularities:
        yield Complaint(f"ct-{one.name}", f"series {series.uid}: {one.message}", uid=series.uid)


def _identity(file: StructureSetFile, series: ImageSeries) -> Iterator[Complaint]:
    text, uid = file.text, file.text["SOPInstanceUID"]
    frames = sorted({roi.frame for roi in file.rois if roi.frame} or {text["FrameOfReferenceUID"]} - {""})
    strange = [frame for frame in frames if frame not in series.frames]
    if strange and series.frames:
        theirs = ", ".join(sorted(series.frames))
        yield Complaint("frame-differs", f"ROIs in frame {strange[0]}, images in {theirs}", uid=strange[0])
    # The values are the patient's: they are not told.
    if text["PatientID"] != series.patient_id:
        yield Complaint("patient-differs", f"the Patient ID is not that of series {series.uid}", uid=uid)
    elif _plain(text["PatientName"]) != _plain(series.patient_name):
        yield Complaint("patient-name-differs", f"the patient's name is not that of series {series.uid}", uid=uid)
    if text["StudyInstanceUID"] not in ("", series.study_uid):
        yield Complaint("study-differs", f"series {series.uid} is of another study", uid=text["StudyInstanceUID"])
    if text["InstitutionName"] and series.institution and text["InstitutionName"] != series.institution:
        yield Complaint("institution-differs", "InstitutionName is not that of the images", uid=uid)


def _plain(name: str) -> str:
    """A person's name without capitals, empty parts and trailing carets."""
    return "^".join(part.strip() for part in name.casefold().rstrip("^ ").split("^"))


def _listed(file: StructureSetFile, series: ImageSeries, candidates: Sequence[ImageSeries]) -> Iterator[Complaint]:
    """The images that the set lists, beside those of the series."""
    listed = {uid for one in file.series for uid in one.image_uids if uid}
    have, elsewhere = set(series.image_uids), {uid: one.uid for one in candidates for uid in one.image_uids}
    absent = sorted(listed - have)
    of_others = [uid for uid in absent if uid in elsewhere]
    unknown = [uid for uid in absent if uid not in elsewhere]
    if of_others:
        message = f"{len(of_others)} of {len(listed)} images listed are of series {elsewhere[of_others[0]]}"
        yield Complaint("images-of-several-series", message, uid=of_others[0], count=len(of_others))
    if unknown:
        code = "ct-incomplete" if _absent(file, series) else "image-not-in-ct"
        message = f"{len(unknown)} of {len(listed)} images that the set lists are not in series {series.uid}"
        yield Complaint(code, message, uid=unknown[0], count=len(unknown))
    unlisted = sorted(have - listed)
    if listed & have and unlisted:
        message = f"{len(unlisted)} of {len(have)} images of series {series.uid} are not listed"
        yield Complaint("images-unlisted", message, uid=unlisted[0], count=len(unlisted))


@dataclass(frozen=True, eq=False)
class _Beside:
    """Each ring beside the images, arrays ``(R,)``: its nearest slice, how far from it, how far beyond the edge."""

    slices: NDArray[np.int_]
    off_mm: Points
    beyond_mm: Points


def _beside(series: ImageSeries, laid: Laid) -> _Beside:
    planes = series.origins_mm @ series.normal
    away = np.abs(laid.offsets_mm[:, None] - planes[None, :])
    nearest = away.argmin(axis=1)
    return _Beside(nearest, away[np.arange(len(nearest)), nearest], _beyond(series, laid))


def _beyond(series: ImageSeries, laid: Laid) -> Points:
    """How far each ring reaches beyond the edge of the outermost voxels in plane, ``(R,)``; 0 within."""
    j, i = series.spacing_ji_mm
    corner = np.array([series.origins_mm[0] @ series.row - i / 2, series.origins_mm[0] @ series.column - j / 2])
    low = shapely.bounds(laid.polygons)[:, :2] - corner
    high = shapely.bounds(laid.polygons)[:, 2:] - corner - np.array([series.shape_ji[1] * i, series.shape_ji[0] * j])
    return np.asarray(np.maximum(-low, high).max(axis=1, initial=0.0))


def _places(
    roi: RoiInFile, of: NDArray[np.int_], series: ImageSeries, laid: Laid, beside: _Beside
) -> Iterator[Complaint]:
    """Where the rings ``of`` an ROI lie."""
    at, off_mm, beyond_mm = laid.offsets_mm[of], beside.off_mm[of], beside.beyond_mm[of]
    planes = np.sort(series.origins_mm @ series.normal)
    gap = float(np.median(np.diff(planes))) if len(planes) > 1 else 0.0
    reach = max(gap / 2, ROUNDED_MM)
    flat = laid.spreads_mm[of] <= PLANAR_MM
    outside = (at < planes[0] - reach) | (at > planes[-1] + reach)
    off = flat & ~outside & (off_mm > ROUNDED_MM)
    near = flat & ~outside & ~off & (off_mm > ON_SLICE_MM)
    part = f", {off_mm[off].max() / gap:.2f} of the slice distance" if off.any() and gap else ""
    tests = (
        ("ring-off-ct", outside, "lies beyond the first or last slice"),
        ("ring-off-slice", off, f"lies up to {off_mm[off].max(initial=0.0):.2f} mm beside its slice{part}"),
        ("ring-beside-slice", near, f"lies up to {off_mm[near].max(initial=0.0):.3f} mm beside its slice"),
        ("ring-off-image", beyond_mm > EDGE_MM, f"reaches up to {beyond_mm.max(initial=0.0):.1f} mm beyond the images"),
    )
    for code, mask, say in tests:
        yield from rings_that(code, roi, [laid.rings[n][1] for n in of[mask].tolist()], say)


def _unknown_images(roi: RoiInFile, series: ImageSeries, listed: frozenset[str]) -> Iterator[Complaint]:
    known = {*series.image_uids, *listed, ""}
    unknown = [ring for ring in roi.rings if not known.issuperset(ring.image_uids)]
    yield from rings_that("ring-image-unknown", roi, unknown, "names image {ring.image_uids[0]}")


def _wrong_images(roi: RoiInFile, series: ImageSeries, laid: Laid, beside: _Beside) -> Iterator[Complaint]:
    """Rings that lie on one image and name another."""
    index = {uid: k for k, uid in enumerate(series.image_uids)}
    wrong = []
    for n in laid.of(roi).tolist():
        ring = laid.rings[n][1]
        named = [index[uid] for uid in ring.image_uids if uid in index]
        if named and beside.slices[n] not in named and beside.off_mm[n] <= ROUNDED_MM:
            wrong.append(ring)
    yield from rings_that("ring-wrong-image", roi, wrong, "does not lie on image {ring.image_uids[0]}")
