"""The structure set as a DICOM object: RT Structure Set Storage on the planning CT, and the reading back of its bytes.

rt-utils gives the skeleton: the object's modules and the references to every CT slice. The rest is written here, since
its writer shifts, shrinks and renames (dates and UIDs of its own, a fixed character set, a foreign institution).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import RTStructureSetStorage, SegmentationStorage
from rt_utils.ds_helper import create_rtstruct_dataset
from shapely.geometry import Polygon

from psdt_planner import __version__
from psdt_planner.dicom import attributes, identity
from psdt_planner.dicom.identity import Stamp
from psdt_planner.errors import DecisionNeededError, FaultError, GeometryError, ReadBackError
from psdt_planner.geometry import Grid, Points
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.shapes import Contour, Roi, StructureSet, rings_centroid_mm, rings_volume_ml

ON_SLICE_MM = 0.01
"""How far a ring or a grid's slice may lie from the image that it belongs to."""

SAME_DIRECTION = 1e-3
"""How far direction cosines of a CT image may differ from those of the grid."""

MAX_RING_BYTES = 65_534
"""Longest ContourData that keeps its VR through Explicit VR (PS3.5 7.1.2)."""

SEGMENT_CLASSES = (str(SegmentationStorage), "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation and Label Map Segmentation Storage: a source item is a segment number there."""

SERIES_NUMBER = 901


def write_rtstruct(
    structure_set: StructureSet, ct_headers: Sequence[Dataset], flags: Mapping[str, FlaggedLesion], stamp: Stamp
) -> bytes:
    """The structure set as a file, UNAPPROVED, referring to every slice of the planning CT.

    Args:
        structure_set: every ROI with at least one ring.
        ct_headers: the planning CT's images, in any order, pixels not needed.
        flags: the flagged lesion of every lesion id in the set; each ROI refers to its object.
        stamp: date, time and UIDs.

    Raises:
        DecisionNeededError: an ROI without rings, which nobody would see missing in the planning system.
        MissingAttributeError: the CT lacks its frame of reference or a UID.
        GeometryError: the CT's images are not the slices of the structure set's grid.
        InputError: the images are of several patients, studies or series.
        FaultError: a lesion without its flag, a description without the lesion's tracking UID, or a ring too long.
    """
    slices = headers_of_slices(ct_headers, structure_set.grid)
    _check_rois(structure_set, flags)
    ct = slices[0]
    dataset = _skeleton(slices)
    texts = [structure_set.description, *(roi.description for roi in structure_set.rois)]
    identity.choose_character_set(dataset, ct, texts)
    identity.copy_patient_and_study(dataset, ct)
    identity.copy_frame_of_reference(dataset, ct)
    description = "psdt PROPOSAL structures"
    identity.describe_series(dataset, stamp, modality="RTSTRUCT", number=SERIES_NUMBER, description=description)
    dataset.OperatorsName = None
    dataset.InstanceNumber = "1"
    dataset.StructureSetLabel = structure_set.label
    dataset.StructureSetDescription = structure_set.description
    dataset.StructureSetDate, dataset.StructureSetTime = stamp.date, stamp.time
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.StructureSetROISequence = [_roi_item(roi, flags[roi.lesion], ct) for roi in structure_set.rois]
    dataset.ROIContourSequence = [_contour_item(roi, slices) for roi in structure_set.rois]
    dataset.RTROIObservationsSequence = [_observation_item(roi) for roi in structure_set.rois]
    return identity.sealed(dataset, stamp, "rtstruct")


def headers_of_slices(ct_headers: Sequence[Dataset], grid: Grid) -> tuple[Dataset, ...]:
    """The CT's images in the order of the grid's slices, after a look that they are those slices.

    Raises:
        MissingAttributeError, InputError: as `identity.one_series`.
        GeometryError: another frame, another number of images, or an image that is turned or not where its slice is.
    """
    first = identity.one_series(ct_headers)
    where = f"series {attributes.text(first, 'SeriesInstanceUID')}"
    if attributes.text(first, "FrameOfReferenceUID") != grid.frame:
        raise GeometryError("the structure set is in another frame of reference than the CT", where=where)
    if len(ct_headers) != grid.shape[0]:
        raise GeometryError(f"{len(ct_headers)} CT images for {grid.shape[0]} slices", where=where)
    axes = np.concatenate([grid.step_i_mm / grid.spacing_ji_mm[1], grid.step_j_mm / grid.spacing_ji_mm[0]])
    turned = [np.abs(attributes.numbers(header, "ImageOrientationPatient", 6) - axes).max() for header in ct_headers]
    if max(turned) > SAME_DIRECTION:
        raise GeometryError("a CT image has another orientation than the structure set's grid", where=where)
    origins = np.array([attributes.numbers(header, "ImagePositionPatient", 3) for header in ct_headers])
    order = np.argsort(origins @ grid.normal, kind="stable")
    off_mm = np.linalg.norm(origins[order] - grid.slice_origins_mm, axis=1).max()
    if off_mm > ON_SLICE_MM:
        raise GeometryError(f"a CT image lies {off_mm:.3f} mm from its slice", where=where)
    return tuple(ct_headers[n] for n in order.tolist())


def _check_rois(structure_set: StructureSet, flags: Mapping[str, FlaggedLesion]) -> None:
    for roi in structure_set.rois:
        if not roi.contours:
            raise DecisionNeededError(
                f"{roi.name} has no ring on any CT slice", where=roi.lesion, todo="Contour it by hand or exclude it."
            )
        if roi.lesion not in flags:
            raise FaultError(f"{roi.name} belongs to a lesion without its flag", where=roi.lesion)
        # The structure set module has no place for a tracking UID (Conceptual Volume is no part of older readers).
        if flags[roi.lesion].tracking_uid not in roi.description:
            raise FaultError(f"the description of {roi.name} does not tell the lesion's tracking UID", where=roi.lesion)


def _skeleton(slices: Sequence[Dataset]) -> Dataset:
    """rt-utils' empty structure set on these images, as a plain dataset.

    rt-utils takes study date, time and ID for granted; they are type 2 and may be absent.
    """
    first = Dataset()
    first.update(slices[0])
    for keyword in identity.TYPE_2:
        if keyword not in first:
            setattr(first, keyword, None)
    dataset = Dataset()
    dataset.update(create_rtstruct_dataset([first, *slices[1:]]))
    dataset.SOPClassUID = RTStructureSetStorage
    return dataset


def _roi_item(roi: Roi, flag: FlaggedLesion, ct: Dataset) -> Dataset:
    item = Dataset()
    item.ROINumber = str(roi.number)
    item.ReferencedFrameOfReferenceUID = attributes.text(ct, "FrameOfReferenceUID")
    item.ROIName = roi.name
    item.ROIDescription = roi.description
    item.ROIGenerationAlgorithm = "SEMIAUTOMATIC"
    item.ROIGenerationDescription = "Flagged on MR by a reader, carried to CT by psdt"
    item.ROIDerivationAlgorithmIdentificationSequence = [_algorithm_item()]
    item.DefinitionSourceSequence = [_source_item(flag)]
    return item


def _algorithm_item() -> Dataset:
    """Algorithm Identification macro (PS3.3 10.16); the family from CID 7162."""
    family = Dataset()
    code = codes.DCM.MorphologicalOperations
    family.CodeValue, family.CodingSchemeDesignator, family.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [family]
    item.AlgorithmName = "psdt contours"
    item.AlgorithmVersion = __version__
    return item


def _source_item(flag: FlaggedLesion) -> Dataset:
    """The object that the lesion was flagged in, and its segment."""
    item = Dataset()
    item.ReferencedSOPClassUID = flag.source.sop_class_uid
    item.ReferencedSOPInstanceUID = flag.source.sop_instance_uid
    if flag.source.sop_class_uid in SEGMENT_CLASSES:
        item.ReferencedSegmentNumber = flag.source.item
    return item


def _contour_item(roi: Roi, slices: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = str(roi.number)
    item.ROIDisplayColor = list(roi.colour)
    item.ContourSequence = [
        _ring_item(number, ring, slices[ring.slice_index]) for number, ring in enumerate(roi.contours, start=1)
    ]
    return item


def _ring_item(number: int, ring: Contour, header: Dataset) -> Dataset:
    item = Dataset()
    item.ContourImageSequence = [identity.reference(header)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = str(len(ring.points_mm))
    item.ContourNumber = str(number)
    text = contour_text(ring.points_mm)
    if len(text) > MAX_RING_BYTES:
        raise FaultError(f"a ring of {len(ring.points_mm)} points is longer than {MAX_RING_BYTES} bytes")
    # As bytes: given as numbers, pydicom would make an object of each, at twenty times the cost.
    tag = Tag(tag_for_keyword("ContourData") or 0)
    item[tag] = RawDataElement(tag, "DS", len(text), text, 0, True, True)
    return item


def contour_text(points_mm: Points) -> bytes:
    """ContourData: micrometres as text, even in length; no number is longer than the 16 characters of a DS.

    Raises:
        FaultError: a coordinate that is not finite or lies more than 100 m away.
    """
    if not np.isfinite(points_mm).all() or np.abs(points_mm).max() >= 1e5:
        raise FaultError("a ring with coordinates that are not finite, or beyond 100 m")
    # Adding 0 turns the -0 that rounding leaves into 0.
    text = "\\".join(f"{number:.3f}" for number in (np.round(points_mm.ravel(), 3) + 0.0).tolist())
    return (text if len(text) % 2 == 0 else text + " ").encode("ascii")


def _observation_item(roi: Roi) -> Dataset:
    item = Dataset()
    item.ObservationNumber = str(roi.number)
    item.ReferencedROINumber = str(roi.number)
    item.ROIObservationLabel = roi.name
    item.RTROIInterpretedType = roi.kind.value
    item.ROIInterpreter = None
    return item


# ---------------------------------------------------------------------------------------------------------------------
# reading back

SAME_POINT_MM = 0.001
"""How far a point may move by being written as text."""

SAME_VOLUME = 0.005
"""How far a volume measured on the bytes may differ, as a part of it; the text has three decimals."""

SAME_CENTROID_MM = 0.01

MOST_DIFFERENCES = 20
"""How many differences an error spells out."""


def read_back(
    data: bytes, structure_set: StructureSet, ct_headers: Sequence[Dataset], flags: Mapping[str, FlaggedLesion]
) -> None:
    """Read the bytes again and compare all of it with what was meant.

    Raises:
        ReadBackError: naming each difference: identity, references, ROIs dropped, added or changed, rings off their
            slice, off their place or not simple, volumes and centroids that came out otherwise.
    """
    slices = headers_of_slices(ct_headers, structure_set.grid)
    dataset = dcmread(BytesIO(data))
    found = list(_identity_differences(dataset, structure_set, slices))
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
        "ApprovalStatus": "UNAPPROVED",
        "StructureSetLabel": structure_set.label,
        "StructureSetDescription": structure_set.description,
        "FrameOfReferenceUID": structure_set.grid.frame,
        **{keyword: attributes.text_or_empty(ct, keyword) for keyword in ("StudyInstanceUID", *identity.TYPE_2)},
    }
    for keyword, text in wanted.items():
        if attributes.text_or_empty(dataset, keyword) != text.strip():
            # A value may be the patient's: only the keyword is told.
            yield f"{keyword} differs"
    images = [attributes.text(header, "SOPInstanceUID") for header in slices]
    listed = [
        attributes.text_or_empty(image, "ReferencedSOPInstanceUID")
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
        for image in series.get("ContourImageSequence", [])
    ]
    if sorted(listed) != sorted(images):
        yield f"{len(set(images) - set(listed))} of {len(images)} CT slices are not referenced"


def _roi_differences(
    dataset: Dataset, structure_set: StructureSet, flags: Mapping[str, FlaggedLesion]
) -> Iterator[str]:
    numbers = [str(roi.number) for roi in structure_set.rois]
    for sequence, keyword in (
        ("StructureSetROISequence", "ROINumber"),
        ("ROIContourSequence", "ReferencedROINumber"),
        ("RTROIObservationsSequence", "ReferencedROINumber"),
    ):
        found = [attributes.text_or_empty(item, keyword) for item in dataset.get(sequence, [])]
        if found != numbers:
            yield f"{sequence} has the ROI numbers {found}, not {numbers}"
    items = zip(
        structure_set.rois,
        dataset.get("StructureSetROISequence", []),
        dataset.get("RTROIObservationsSequence", []),
        strict=False,
    )
    for roi, item, observation in items:
        source = flags[roi.lesion].source
        defined = item.get("DefinitionSourceSequence", [Dataset()])[0]
        wanted = (
            ("ROIName", item, roi.name),
            ("ROIDescription", item, roi.description),
            ("ReferencedFrameOfReferenceUID", item, structure_set.grid.frame),
            ("RTROIInterpretedType", observation, roi.kind.value),
            ("ReferencedSOPInstanceUID", defined, source.sop_instance_uid),
        )
        for keyword, of, text in wanted:
            if attributes.text_or_empty(of, keyword) != text.strip():
                yield f"{roi.name}: {keyword} is {attributes.text_or_empty(of, keyword)!r}, not {text!r}"


def _ring_differences(roi: Roi, item: Dataset, grid: Grid, slices: Sequence[Dataset]) -> Iterator[str]:
    rings = item.get("ContourSequence", [])
    if len(rings) != len(roi.contours):
        yield f"{len(rings)} rings, not {len(roi.contours)}"
        return
    read: list[Contour] = []
    for number, (ring, wanted) in enumerate(zip(rings, roi.contours, strict=True), start=1):
        points = _points_of(ring)
        told = f"ring {number} on slice {wanted.slice_index}"
        yield from (f"{told} {what}" for what in _one_ring_differences(ring, points, wanted, grid, slices))
        read.append(Contour(points, wanted.slice_index))
    volume_ml = rings_volume_ml(read, grid)
    if abs(volume_ml - roi.volume_ml) > SAME_VOLUME * roi.volume_ml:
        yield f"{volume_ml:.3f} ml, not {roi.volume_ml:.3f} ml"
    off_mm = float(np.linalg.norm(rings_centroid_mm(read, grid) - rings_centroid_mm(roi.contours, grid)))
    if off_mm > SAME_CENTROID_MM:
        yield f"the centroid lies {off_mm:.3f} mm away"


def _one_ring_differences(
    ring: Dataset, points: Points, wanted: Contour, grid: Grid, slices: Sequence[Dataset]
) -> Iterator[str]:
    if attributes.text_or_empty(ring, "ContourGeometricType") != "CLOSED_PLANAR":
        yield "is not CLOSED_PLANAR"
    if not len(points) == attributes.integer(ring, "NumberOfContourPoints") == len(wanted.points_mm):
        yield f"has {len(points)} points, not {len(wanted.points_mm)}"
        return
    off_mm = np.abs((points - grid.slice_origins_mm[wanted.slice_index]) @ grid.normal).max()
    if off_mm > ON_SLICE_MM:
        yield f"lies {off_mm:.3f} mm off its slice"
    moved_mm = np.linalg.norm(points - wanted.points_mm, axis=1).max()
    if moved_mm > SAME_POINT_MM:
        yield f"moved by {moved_mm:.3f} mm"
    if not Polygon(np.column_stack([points @ grid.step_i_mm, points @ grid.step_j_mm])).is_valid:
        yield "crosses itself"
    images = [
        attributes.text_or_empty(image, "ReferencedSOPInstanceUID") for image in ring.get("ContourImageSequence", [])
    ]
    if images != [attributes.text(slices[wanted.slice_index], "SOPInstanceUID")]:
        yield "does not refer to the image of its slice"


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
