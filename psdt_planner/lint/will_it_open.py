"""Will it open: attributes, lengths, references, names and numbers that planning systems refuse or change."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from psdt_planner.dicom.rtstruct_file import STRUCTURE_SET_CLASS, Missing, RoiInFile, StructureSetFile
from psdt_planner.lint.codes import Complaint
from psdt_planner.lint.rois import rings_that, told
from psdt_planner.lint.target_names import target_names
from psdt_planner.shapes import MAX_RING_BYTES

NAME_LENGTH = 16
"""Most characters of an ROI name by TG-263 rule 1 and of a structure ID in several planning systems."""

NAME_LIMIT = 64
"""Most characters of an ROI name by its VR, LO."""

MANY_POINTS = 2_000
"""Points that stay below `MAX_RING_BYTES` whatever their coordinates."""

CLOSED, XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"

GEOMETRIC_TYPES = frozenset({"POINT", "OPEN_PLANAR", "OPEN_NONPLANAR", CLOSED, XOR})
"""Defined terms of ContourGeometricType (PS3.3 C.8.8.6.1)."""

INTERPRETED_TYPES = frozenset(
    {
        *("EXTERNAL", "PTV", "CTV", "GTV", "TREATED_VOLUME", "IRRAD_VOLUME", "BOLUS", "AVOIDANCE", "ORGAN", "MARKER"),
        *("REGISTRATION", "ISOCENTER", "CONTRAST_AGENT", "CAVITY", "BRACHY_CHANNEL", "BRACHY_ACCESSORY"),
        *("BRACHY_SRC_APP", "BRACHY_CHNL_SHLD", "SUPPORT", "FIXATION", "DOSE_REGION", "CONTROL", "DOSE_MEASUREMENT"),
    }
)
"""Defined terms of RTROIInterpretedType (PS3.3 C.8.8.8.1)."""

CHARACTER_SETS = frozenset(
    {
        *(f"ISO_IR {n}" for n in (6, 13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192, 203)),
        *(f"ISO 2022 IR {n}" for n in (6, 13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166, 203)),
        *("GB18030", "GBK"),
    }
)
"""Defined terms of SpecificCharacterSet (PS3.3 C.12.1.1.2)."""


def will_it_open(file: StructureSetFile) -> Iterator[Complaint]:
    """What keeps planning systems from opening the file, or makes them change it."""
    yield from _file(file)
    yield from _missing(file)
    yield from _texts(file)
    yield from _references(file)
    yield from _numbers(file)
    yield from _parts(file)
    yield from _names(file.rois)
    yield from target_names(file.rois)
    yield from _types(file)
    for roi in file.rois:
        yield from _rings(roi)


def _file(file: StructureSetFile) -> Iterator[Complaint]:
    uid, text = file.text["SOPInstanceUID"], file.text
    if file.is_truncated:
        yield Complaint("file-truncated", "the file is shorter than its elements say", uid=uid)
    for keyword in file.damaged:
        yield Complaint("sequence-damaged", f"{keyword} cannot be taken apart", uid=uid)
    sop_class, modality = text["SOPClassUID"], text["Modality"]
    if sop_class not in ("", STRUCTURE_SET_CLASS) or modality not in ("", "RTSTRUCT"):
        yield Complaint(
            "modality-wrong", f"Modality is {modality or 'empty'}, SOP class {sop_class or 'empty'}", uid=uid
        )
    if uid and file.media_uid and uid != file.media_uid:
        yield Complaint("file-meta-differs", f"the file's header names {file.media_uid}, the data {uid}", uid=uid)
    for unknown in file.unknown_uids:
        yield Complaint("uid-invalid", f"{unknown!r} is no UID", uid=unknown)
    if text["ApprovalStatus"] == "APPROVED":
        yield Complaint("approved", "ApprovalStatus is APPROVED", uid=uid)
    if file.private:
        yield Complaint("private-attributes", f"{file.private} private attributes", uid=uid, count=file.private)


def _missing(file: StructureSetFile) -> Iterator[Complaint]:
    """One complaint for all attributes of type 1, and one for all of type 2."""
    for kind, code in ((1, "type-1-missing"), (2, "type-2-missing")):
        missing = [one for one in file.missing if one.type == kind]
        if missing:
            uid, count = file.text["SOPInstanceUID"], sum(one.items for one in missing)
            yield Complaint(code, f"missing: {', '.join(map(_told, missing))}", uid=uid, count=count)


def _told(missing: Missing) -> str:
    where = f" in {missing.items} items of {missing.sequence}" if missing.sequence else ""
    return f"{missing.keyword}{where}"


def _texts(file: StructureSetFile) -> Iterator[Complaint]:
    uid = file.text["SOPInstanceUID"]
    for keyword, length in file.overlong:
        if keyword == "StructureSetLabel":
            yield Complaint("label-too-long", f"StructureSetLabel has {length} characters, not 16 at most", uid=uid)
        elif keyword != "ROIName":
            yield Complaint("text-too-long", f"{keyword} has {length} characters", uid=uid)
    unknown = [term for term in file.character_sets if term not in CHARACTER_SETS]
    if unknown:
        yield Complaint("character-set-unknown", f"SpecificCharacterSet is {', '.join(unknown)}", uid=uid)
    elif file.undecodable_texts:
        stated = "\\".join(file.character_sets) or "no character set"
        yield Complaint(
            "character-set-wrong", f"{', '.join(file.undecodable_texts)} cannot be read in {stated}", uid=uid
        )
    if "?" in file.text["PatientName"]:
        yield Complaint("patient-name-damaged", "the patient's name holds question marks", uid=uid)


def _references(file: StructureSetFile) -> Iterator[Complaint]:
    series = sorted({one.uid for one in file.series if one.uid})
    uid = file.text["SOPInstanceUID"]
    if not series:
        yield Complaint("references-missing", "no series of images is named", uid=uid)
    if len(series) > 1:
        yield Complaint("series-several", f"{len(series)} series are named", uid=uid, count=len(series))
    frames = sorted({roi.frame for roi in file.rois if roi.frame})
    if len(frames) > 1:
        yield Complaint("frames-several", f"ROIs in {len(frames)} frames of reference", uid=uid, count=len(frames))
    strange = [frame for frame in frames if frame not in file.frames]
    # Where no frame is listed at all, that no series is named says it.
    if strange and file.frames:
        yield Complaint("frame-unreferenced", f"frame {strange[0]} of ROIs is not listed", uid=strange[0])


def _numbers(file: StructureSetFile) -> Iterator[Complaint]:
    counts = Counter(roi.number for roi in file.rois)
    for number, count in counts.items():
        if number is not None and count > 1:
            names = ", ".join(roi.name for roi in file.rois if roi.number == number)
            yield Complaint("roi-number-duplicate", f"number {number} is that of {names}", count=count)
    # Without a number, the missing attribute says it.
    for strange in filter(None, file.strange_contours):
        yield Complaint("contours-of-no-roi", f"contours of ROI {strange}, which is not there")
    for strange in filter(None, file.strange_observations):
        yield Complaint("observation-of-no-roi", f"an observation of ROI {strange}, which is not there")
    for roi in file.rois:
        if roi.contour_items > counts[roi.number]:
            yield Complaint("contours-twice", f"{roi.contour_items} items hold its contours", told(roi))


def _parts(file: StructureSetFile) -> Iterator[Complaint]:
    """What an ROI has in the two other sequences."""
    has_observations = not any(one.keyword == "RTROIObservationsSequence" for one in file.missing)
    for roi in file.rois:
        if not roi.types and has_observations:
            yield Complaint("roi-unobserved", "no observation refers to it", told(roi))
        if roi.has_empty_sequence:
            yield Complaint("contour-sequence-empty", "its ContourSequence has no items", told(roi))
        elif not roi.rings:
            yield Complaint("roi-empty", "it has no rings", told(roi))


def _names(rois: Sequence[RoiInFile]) -> Iterator[Complaint]:
    same: dict[str, list[RoiInFile]] = defaultdict(list)
    cut: dict[str, set[str]] = defaultdict(set)
    for roi in rois:
        name, length = roi.name, len(roi.name)
        same[name.casefold()].append(roi)
        cut[name[:NAME_LENGTH].casefold()].add(name.casefold())
        if not name:
            yield Complaint("roi-name-missing", "it has no name", told(roi))
        if length > NAME_LIMIT:
            yield Complaint("roi-name-too-long", f"its name has {length} characters", told(roi))
        elif length > NAME_LENGTH:
            yield Complaint("roi-name-long", f"its name has {length} characters", told(roi))
        if not name.isascii():
            yield Complaint("roi-name-not-ascii", f"its name is {name!r}", told(roi))
    for name, found in same.items():
        if name and len(found) > 1:
            which = ", ".join(told(roi) for roi in found)
            yield Complaint("roi-name-duplicate", f"the same name for ROIs {which}", told(found[1]), count=len(found))
    for name, names in cut.items():
        if len(names) > 1:
            yield Complaint("roi-names-collide", f"{len(names)} names that begin with {name!r}", count=len(names))


def _types(file: StructureSetFile) -> Iterator[Complaint]:
    external = [roi for roi in file.rois if "EXTERNAL" in roi.types]
    if len(external) > 1:
        names = ", ".join(told(roi) for roi in external)
        yield Complaint("external-several", f"ROIs {names} are of type EXTERNAL", count=len(external))
    unstated = [roi for roi in file.rois if "" in roi.types]
    if unstated:
        names = ", ".join(told(roi) for roi in unstated)
        yield Complaint("roi-type-missing", f"ROIs {names} have no interpreted type", count=len(unstated))
    for roi in file.rois:
        for term in sorted(set(roi.types) - INTERPRETED_TYPES - {""}):
            yield Complaint("roi-type-unknown", f"its interpreted type is {term}", told(roi))


def _rings(roi: RoiInFile) -> Iterator[Complaint]:
    """How the rings of an ROI are written; one complaint a kind."""
    rings = roi.rings
    strange = [ring for ring in rings if ring.geometric_type not in GEOMETRIC_TYPES | {""}]
    yield from rings_that("geometric-type-unknown", roi, strange, "is of type {ring.geometric_type}")
    xor = [ring for ring in rings if ring.geometric_type == XOR]
    yield from rings_that("contour-xor", roi, xor, "is of type {ring.geometric_type}")
    unlinked = [ring for ring in rings if not any(ring.image_uids)]
    yield from rings_that("ring-image-missing", roi, unlinked, "names no image")
    broken = [ring for ring in rings if ring.values % 3]
    yield from rings_that("coordinates-no-triples", roi, broken, "has {ring.values} coordinates")
    whole = [ring for ring in rings if ring.values and not ring.values % 3]
    miscounted = [ring for ring in whole if ring.stated_points not in (None, len(ring.points_mm))]
    say = "says {ring.stated_points} points and has {ring.values} coordinates"
    yield from rings_that("point-count-differs", roi, miscounted, say)
    unknown = [ring for ring in rings if ring.is_unknown_vr]
    yield from rings_that("ring-unknown-vr", roi, unknown, "of {ring.bytes} bytes is encoded as UN")
    large = [ring for ring in rings if ring.bytes > MAX_RING_BYTES and not ring.is_unknown_vr]
    yield from rings_that("ring-too-long", roi, large, "has {ring.bytes} bytes")
    many = [ring for ring in rings if ring.values > 3 * MANY_POINTS and ring.bytes <= MAX_RING_BYTES]
    yield from rings_that("ring-many-points", roi, many, "has {ring.stated_points} points")
    yield from _coordinates(roi)


def _coordinates(roi: RoiInFile) -> Iterator[Complaint]:
    for code, field, what in (
        ("coordinate-too-long", "too_long", "are longer than 16 characters"),
        ("coordinate-no-number", "not_finite", "are no finite numbers"),
        ("coordinate-exponent", "with_exponent", "are written with an exponent"),
    ):
        found = [ring for ring in roi.rings if getattr(ring, field)]
        if found:
            count = sum(getattr(ring, field) for ring in found)
            example = f", such as {found[0].longest}" if field == "too_long" else ""
            message = f"{count} coordinates in {len(found)} rings {what}{example}"
            yield Complaint(code, message, told(roi), found[0].number, count=count)
