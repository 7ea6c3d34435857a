"""A structure set that was written, read again from its bytes and compared with what was meant, before anybody gets it.

Every attribute of every ROI is compared, every ring is measured on its slice, and every difference is told in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import combinations

import numpy as np
from pydicom import DataElement, Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.uid import RTStructureSetStorage
from shapely.geometry import Polygon

from psdt_planner.dicom import attributes, identity
from psdt_planner.dicom.rtstruct_out import (
    ON_SLICE_MM,
    contour_head,
    headers_of_slices,
    observation_item,
    roi_item,
)
from psdt_planner.errors import ReadBackError
from psdt_planner.geometry import Grid, Points
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.shapes import (
    MAX_RING_BYTES,
    Contour,
    GeometricType,
    Roi,
    StructureSet,
    rings_centroid_mm,
    rings_volume_ml,
)
from psdt_planner.structures import DESCRIPTION_LENGTH

SAME_POINT_MM = 0.001
"""How far a point may move by being written as text."""

SAME_VOLUME = 0.005
"""How far a volume measured on the bytes may differ, as a part of it; the text has three decimals."""

SAME_CENTROID_MM = 0.01

OVERLAP_MM = 0.2
"""How deep two rings of one ROI may lie in each other: where both were simplified beside a narrow gap."""

MOST_DIFFERENCES = 20
"""How many differences an error spells out."""

ROI_SEQUENCES = (
    ("StructureSetROISequence", "ROINumber"),
    ("ROIContourSequence", "ReferencedROINumber"),
    ("RTROIObservationsSequence", "ReferencedROINumber"),
)


def read_back(
    data: bytes, structure_set: StructureSet, ct_headers: Sequence[Dataset], flags: Mapping[str, FlaggedLesion]
) -> None:
    """Read the bytes again and compare all of it with what was meant.

    Raises:
        ReadBackError: naming each difference: identity, references, ROIs dropped, added or changed, their types,
            codes and sources, rings off their slice, off their place, within each other or not simple, volumes and
            centroids that came out otherwise.
    """
    slices = headers_of_slices(ct_headers, structure_set.grid)
    dataset = dcmread(BytesIO(data))
    found = list(_identity_differences(dataset, structure_set, slices))
    found += _reference_differences(dataset, slices)
    found += _roi_differences(dataset, structure_set, flags)
    for roi, item in zip(structure_set.rois, dataset.get("ROIContourSequence", []), strict=False):
        found += [f"{roi.name}: {what}" for what in _ring_differences(roi, item, structure_set.grid, slices)]
    if found:
        more = f"; and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
        where = attributes.where_of(dataset)
        raise ReadBackError(
            f"the structure set reads back otherwise: {'; '.join(found[:MOST_DIFFERENCES])}{more}", where=where
        )


def _identity_differences(dataset: Dataset, structure_set: StructureSet, slices: Sequence[Dataset]) -> Iterator[str]:
    ct = slices[0]
    wanted = {
        "SOPClassUID": str(RTStructureSetStorage),
        "Modality": "RTSTRUCT",
        "Manufacturer": identity.MANUFACTURER,
        "ApprovalStatus": "UNAPPROVED",
        "StructureSetLabel": structure_set.label,
        "StructureSetDescription": identity.spelled(structure_set.description, dataset, DESCRIPTION_LENGTH),
        "FrameOfReferenceUID": structure_set.grid.frame,
        **{keyword: attributes.text_or_empty(ct, keyword) for keyword in ("StudyInstanceUID", *identity.TYPE_2)},
        **{keyword: attributes.text_or_empty(ct, keyword) for keyword in identity.TYPE_3 if keyword in ct},
    }
    for keyword, text in wanted.items():
        if attributes.text_or_empty(dataset, keyword) != text.strip():
            # A value may be the patient's: only the keyword is told.
            yield f"{keyword} differs"
    stored = dataset.file_meta.MediaStorageSOPInstanceUID
    if not dataset.get("SOPInstanceUID") or dataset.SOPInstanceUID != stored:
        yield "SOPInstanceUID is not that of the file"


def _reference_differences(dataset: Dataset, slices: Sequence[Dataset]) -> Iterator[str]:
    """Whether every CT slice is referenced, once, and nothing else."""
    images = sorted(attributes.text(header, "SOPInstanceUID") for header in slices)
    every = [
        series
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
    ]
    series_uid = attributes.text(slices[0], "SeriesInstanceUID")
    if [attributes.text_or_empty(series, "SeriesInstanceUID") for series in every] != [series_uid]:
        yield "the planning CT's series is not referenced alone"
    listed = [_image_of(image) for series in every for image in series.get("ContourImageSequence", [])]
    missing = len(set(images) - set(listed))
    if missing:
        yield f"{missing} of {len(images)} CT slices are not referenced"
    elif sorted(listed) != images:
        yield f"{len(listed)} images are referenced, not {len(images)}"


def _roi_differences(
    dataset: Dataset, structure_set: StructureSet, flags: Mapping[str, FlaggedLesion]
) -> Iterator[str]:
    numbers = [str(roi.number) for roi in structure_set.rois]
    complete = True
    for sequence, keyword in ROI_SEQUENCES:
        found = [attributes.text_or_empty(item, keyword) for item in dataset.get(sequence, [])]
        if found != numbers:
            complete = False
            yield f"{sequence} has the ROI numbers {found}, not {numbers}"
    if not complete or not dataset.get("FrameOfReferenceUID"):
        return
    items = zip(structure_set.rois, *(dataset[sequence].value for sequence, _ in ROI_SEQUENCES), strict=True)
    for roi, item, contours, observation in items:
        for found_item, wanted in (
            (item, roi_item(roi, flags, dataset)),
            (contours, contour_head(roi)),
            (observation, observation_item(roi)),
        ):
            yield from (f"{roi.name}: {what}" for what in _item_differences(found_item, wanted))


def _item_differences(found: Dataset, wanted: Dataset) -> Iterator[str]:
    """Every attribute that differs, is missing or is too much, items within items too; not the rings themselves."""
    for tag in sorted({*found.keys(), *wanted.keys()}):
        there, meant = found.get(tag), wanted.get(tag)
        if meant is None:
            if found[tag].keyword != "ContourSequence":
                yield f"{found[tag].keyword or found[tag].tag} is there and was not meant"
        elif there is None:
            yield f"{meant.keyword} is missing"
        elif meant.VR == "SQ":
            if len(there.value) != len(meant.value):
                yield f"{meant.keyword} has {len(there.value)} items, not {len(meant.value)}"
            for one, other in zip(there.value, meant.value, strict=False):
                yield from _item_differences(one, other)
        elif _text(there) != _text(meant):
            yield f"{meant.keyword} is {_text(there)!r}, not {_text(meant)!r}"


def _text(element: DataElement) -> str:
    """A value as text, several joined; numbers as numbers, so that 1 and 1.0 are the same."""
    values = element.value if element.VM > 1 else [element.value]
    numeric = element.VR in ("DS", "IS", "US", "UL")
    return ", ".join(f"{float(value):.10g}" if numeric else str(value or "").strip() for value in values)


def _ring_differences(roi: Roi, item: Dataset, grid: Grid, slices: Sequence[Dataset]) -> Iterator[str]:
    rings = item.get("ContourSequence", [])
    if len(rings) != len(roi.contours):
        yield f"{len(rings)} rings, not {len(roi.contours)}"
        return
    read: list[Contour] = []
    polygons: list[Polygon] = []
    for number, (ring, wanted) in enumerate(zip(rings, roi.contours, strict=True), start=1):
        points = _points_of(ring)
        if len(points) < 3:
            yield f"ring {number} on slice {wanted.slice_index} has {len(points)} points, not {len(wanted.points_mm)}"
            return
        polygon = Polygon(np.column_stack([points @ grid.step_i_mm, points @ grid.step_j_mm]))
        told = f"ring {number} on slice {wanted.slice_index}"
        if not polygon.is_valid:
            yield f"{told} crosses itself"
        differences = _one_ring_differences(ring, points, wanted, grid)
        yield from (f"{told} {what}" for what in differences)
        image = attributes.text(slices[wanted.slice_index], "SOPInstanceUID")
        if [_image_of(reference) for reference in ring.get("ContourImageSequence", [])] != [image]:
            yield f"{told} does not refer to the image of its slice"
        read.append(Contour(points, wanted.slice_index, geometric_type=wanted.geometric_type))
        polygons.append(polygon)
    yield from _nested(read, polygons)
    volume_ml = rings_volume_ml(read, grid)
    if abs(volume_ml - roi.volume_ml) > SAME_VOLUME * roi.volume_ml:
        yield f"{volume_ml:.3f} ml, not {roi.volume_ml:.3f} ml"
    off_mm = float(np.linalg.norm(rings_centroid_mm(read, grid) - rings_centroid_mm(roi.contours, grid)))
    if off_mm > SAME_CENTROID_MM:
        yield f"the centroid lies {off_mm:.3f} mm away"


def _one_ring_differences(ring: Dataset, points: Points, wanted: Contour, grid: Grid) -> Iterator[str]:
    if attributes.text_or_empty(ring, "ContourGeometricType") != wanted.geometric_type.value:
        yield f"is not {wanted.geometric_type.value}"
    if not len(points) == attributes.integer(ring, "NumberOfContourPoints") == len(wanted.points_mm):
        yield f"has {len(points)} points, not {len(wanted.points_mm)}"
        return
    off_mm = np.abs((points - grid.slice_origins_mm[wanted.slice_index]) @ grid.normal).max()
    if off_mm > ON_SLICE_MM:
        yield f"lies {off_mm:.3f} mm off its slice"
    moved_mm = np.linalg.norm(points - wanted.points_mm, axis=1).max()
    if moved_mm > SAME_POINT_MM:
        yield f"moved by {moved_mm:.3f} mm"


def _nested(rings: Sequence[Contour], polygons: Sequence[Polygon]) -> Iterator[str]:
    """Rings of one slice that overlap, which no reader is bound to add up alike, or lie within each other, unless they
    are XOR: some readers fill such a hole, some do not."""
    by_slice: dict[int, list[int]] = {}
    for number, ring in enumerate(rings):
        if polygons[number].is_valid:
            by_slice.setdefault(ring.slice_index, []).append(number)
    for k, numbers in by_slice.items():
        for one, other in combinations(numbers, 2):
            a, b = polygons[one], polygons[other]
            if a.contains(b) or b.contains(a):
                if rings[one].geometric_type is GeometricType.CLOSED_PLANAR:
                    yield f"rings {one + 1} and {other + 1} on slice {k} lie within each other"
            elif a.intersects(b) and not a.intersection(b).buffer(-OVERLAP_MM / 2).is_empty:
                yield f"rings {one + 1} and {other + 1} on slice {k} overlap"


def _image_of(reference: Dataset) -> str:
    return attributes.text_or_empty(reference, "ReferencedSOPInstanceUID")


def _points_of(ring: Dataset) -> Points:
    """``(N, 3)`` of a ring, from its text.

    Raises:
        ReadBackError: text that is no list of triples, longer than a ring may be, or with too long a number.
    """
    raw = ring.get_item("ContourData")
    text = raw.value.decode("ascii") if isinstance(raw, RawDataElement) and raw.value else ""
    numbers = text.rstrip(" ").split("\\")
    if len(text) > MAX_RING_BYTES or max(map(len, numbers)) > 16 or len(numbers) % 3:
        raise ReadBackError(f"ContourData of {len(text)} bytes and {len(numbers)} numbers is not a ring")
    try:
        return np.array(numbers, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise ReadBackError("ContourData has a value that is no number") from error
