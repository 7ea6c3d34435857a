"""The structure set as a DICOM object: RT Structure Set Storage on the planning CT.

rt-utils gives the skeleton: the object's modules. The rest is written here, since its writer shifts, shrinks and
renames (dates and UIDs of its own, a fixed character set, a foreign institution).
`psdt_planner.dicom.rtstruct_read_back` reads the bytes again and compares them with what was meant.

Attributes that dciodvfy (dicom3tools, 2022) calls a mistake stay out, though newer editions of the standard have them:
ConceptualVolumeIdentification-, SourceSeries-, SourcePixelPlanesCharacteristics-, TherapeuticRoleCategory- and
TherapeuticRoleTypeCodeSequence, and ReferencedSeriesSequence at the top. A receiver's check may be as old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import RTStructureSetStorage, SegmentationStorage
from rt_utils.ds_helper import create_rtstruct_dataset

from psdt_planner import __version__
from psdt_planner.destination import CharacterSet
from psdt_planner.dicom import attributes, identity
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.rtstruct_codes import add_meaning, code_item
from psdt_planner.dicom.rtstruct_rings import contour_sequence, image_items, reference_sequence
from psdt_planner.errors import DecisionNeededError, FaultError, GeometryError
from psdt_planner.geometry import Grid
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.shapes import TARGET_KINDS, Roi, StructureSet
from psdt_planner.structures import DESCRIPTION_LENGTH
from psdt_planner.tg263 import Code

ON_SLICE_MM = 0.01
"""How far a ring or a grid's slice may lie from the image that it belongs to."""

SAME_DIRECTION = 1e-3
"""How far direction cosines of a CT image may differ from those of the grid."""

SEGMENT_CLASSES = (str(SegmentationStorage), "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation and Label Map Segmentation Storage: a source item is a segment number there."""

SERIES_NUMBER = 901


def write_rtstruct(
    structure_set: StructureSet,
    ct_headers: Sequence[Dataset],
    flags: Mapping[str, FlaggedLesion],
    stamp: Stamp,
    *,
    character_set: CharacterSet = "keep",
) -> bytes:
    """The structure set as a file, UNAPPROVED, referring to every slice of the planning CT.

    Args:
        structure_set: every ROI with at least one ring; rings without holes of their own, as `contours.by_rule` gives.
        ct_headers: the planning CT's images, in any order, pixels not needed.
        flags: the flagged lesion of every lesion id in the set; each target refers to its object.
        stamp: date, time and UIDs.
        character_set: the destination's rule.

    Raises:
        DecisionNeededError: an ROI without rings, which nobody would see missing in the planning system.
        MissingAttributeError: the CT lacks its frame of reference or a UID.
        GeometryError: the CT's images are not the slices of the structure set's grid.
        InputError: the images are of several patients, studies or series.
        ConfigurationError: the character set cannot write the patient's name as it is.
        FaultError: a target without its flag, a description without the lesion's tracking UID, or a ring that has
            holes or is too long.
    """
    slices = headers_of_slices(ct_headers, structure_set.grid)
    _check_rois(structure_set, flags)
    ct = slices[0]
    dataset = _skeleton(ct)
    texts = [structure_set.description, *(roi.description for roi in structure_set.rois)]
    identity.choose_character_set(dataset, ct, texts, character_set)
    identity.copy_patient_and_study(dataset, ct)
    identity.copy_frame_of_reference(dataset, ct)
    description = "psdt PROPOSAL structures"
    identity.describe_series(dataset, stamp, modality="RTSTRUCT", number=SERIES_NUMBER, description=description)
    dataset.OperatorsName = None
    dataset.InstanceNumber = "1"
    dataset.StructureSetLabel = structure_set.label
    dataset.StructureSetDescription = identity.spelled(structure_set.description, dataset, DESCRIPTION_LENGTH)
    dataset.StructureSetDate, dataset.StructureSetTime = stamp.date, stamp.time
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.StructureSetROISequence = [roi_item(roi, flags, dataset) for roi in structure_set.rois]
    dataset.RTROIObservationsSequence = [observation_item(roi) for roi in structure_set.rois]
    images = image_items(slices)
    heads = [contour_head(roi) for roi in structure_set.rois]
    ready: dict[int, bytes] = {
        Tag("ReferencedFrameOfReferenceSequence"): reference_sequence(ct, images),
        Tag("ROIContourSequence"): contour_sequence(structure_set.rois, heads, images),
    }
    return identity.sealed(dataset, stamp, "rtstruct", ready)


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
        if roi.kind not in TARGET_KINDS and not roi.lesion:
            continue
        if roi.lesion not in flags:
            raise FaultError(f"{roi.name} belongs to a lesion without its flag", where=roi.lesion)
        # In words, since the module has no other place for it that receivers know.
        if flags[roi.lesion].tracking_uid not in roi.description:
            raise FaultError(f"the description of {roi.name} does not tell the lesion's tracking UID", where=roi.lesion)


def _skeleton(ct: Dataset) -> Dataset:
    """rt-utils' empty structure set, as a plain dataset, without the sequences that are written as bytes.

    rt-utils takes study date, time and ID for granted; they are type 2 and may be absent.
    """
    image = Dataset()
    image.update(ct)
    for keyword in identity.TYPE_2:
        if keyword not in image:
            setattr(image, keyword, None)
    dataset = Dataset()
    dataset.update(create_rtstruct_dataset([image]))
    dataset.SOPClassUID = RTStructureSetStorage
    del dataset.ReferencedFrameOfReferenceSequence, dataset.ROIContourSequence
    return dataset


def roi_item(roi: Roi, flags: Mapping[str, FlaggedLesion], dataset: Dataset) -> Dataset:
    """The item of StructureSetROISequence, in the frame and character set of the dataset that it is for."""
    item = Dataset()
    item.ROINumber = str(roi.number)
    item.ReferencedFrameOfReferenceUID = attributes.text(dataset, "FrameOfReferenceUID")
    item.ROIName = roi.name
    item.ROIDescription = identity.spelled(roi.description, dataset, DESCRIPTION_LENGTH)
    item.ROIVolume = f"{roi.volume_ml:.6g}"
    item.ROIGenerationAlgorithm = None
    item.ROIDerivationAlgorithmIdentificationSequence = [_algorithm_item()]
    if roi.lesion:
        flag = flags[roi.lesion]
        item.ROIGenerationAlgorithm = "SEMIAUTOMATIC"
        item.ROIGenerationDescription = "Flagged on MR by a reader, carried to CT by psdt"
        item.DefinitionSourceSequence = [_source_item(flag)]
    return item


def _algorithm_item() -> Dataset:
    """Algorithm Identification macro (PS3.3 10.16); the family from CID 7162."""
    family = codes.DCM.MorphologicalOperations
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [code_item(Code(family.value, family.scheme_designator, family.meaning))]
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


def contour_head(roi: Roi) -> Dataset:
    """The item of ROIContourSequence without its rings."""
    item = Dataset()
    item.ReferencedROINumber = str(roi.number)
    item.ROIDisplayColor = list(roi.colour)
    return item


def observation_item(roi: Roi) -> Dataset:
    """The item of RTROIObservationsSequence."""
    item = Dataset()
    item.ObservationNumber = str(roi.number)
    item.ReferencedROINumber = str(roi.number)
    item.ROIObservationLabel = roi.name
    add_meaning(item, roi)
    item.RTROIInterpretedType = roi.kind.value
    item.ROIInterpreter = None
    return item
