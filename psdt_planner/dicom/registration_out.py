"""The mapping from MR to CT as a Spatial Registration object: for fused viewing, and to say where a ring came from.

The object's frame is the CT's. Its first item is the CT itself with the identity, its second the MR with
``ct_from_mr``: a matrix takes points of the item's frame to the object's frame (PS3.3 C.20.2.1.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import SpatialRegistrationStorage
from pydicom.valuerep import format_number_as_ds

from psdt_planner.destination import CharacterSet
from psdt_planner.dicom import attributes, identity
from psdt_planner.dicom.identity import Stamp
from psdt_planner.errors import FaultError, GeometryError, InputError, ReadBackError
from psdt_planner.geometry import Points, Rigid

SERIES_NUMBER = 902

SAME_PLACE_MM = 0.001
"""How far a landmark a metre away may move by the matrix being written as text."""


@dataclass(frozen=True)
class ReferredImage:
    """What it takes to refer to an image: UIDs, frame and patient; far lighter than its header."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    patient_id: str

    @classmethod
    def of(cls, header: Dataset) -> ReferredImage:
        """From a header; frame and patient are empty where it names none.

        Raises:
            MissingAttributeError: a UID is missing.
        """
        return cls(
            attributes.text(header, "SOPClassUID"),
            attributes.text(header, "SOPInstanceUID"),
            attributes.text(header, "SeriesInstanceUID"),
            attributes.text(header, "StudyInstanceUID"),
            attributes.text_or_empty(header, "FrameOfReferenceUID"),
            attributes.text_or_empty(header, "PatientID"),
        )

    @property
    def where(self) -> str:
        """For errors."""
        return f"SOP Instance UID {self.sop_instance_uid}"

    def item(self) -> Dataset:
        """An item that refers to the image."""
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = self.sop_class_uid, self.sop_instance_uid
        return item


def write_registration(
    ct_from_mr: Rigid,
    ct_headers: Sequence[Dataset],
    mr_images: Sequence[ReferredImage],
    stamp: Stamp,
    *,
    character_set: CharacterSet = "keep",
) -> bytes:
    """The transform as a file, read back before it is returned.

    Args:
        ct_from_mr: from the MR's frame to the CT's; within one frame, the identity.
        ct_headers: the planning CT's images; all are referred to.
        mr_images: images of the MR's frame, of any number of series; all are referred to; may be none.
        stamp: date, time and UIDs.
        character_set: the destination's rule.

    Raises:
        MissingAttributeError: a CT image lacks its frame of reference or a UID.
        GeometryError: images of another frame than the transform's.
        InputError: CT images of several series, or MR images of another patient.
        FaultError: a transform that moves a frame within itself.
        ReadBackError: the bytes do not say the transform.
    """
    ct = identity.one_series(ct_headers)
    ct_images = [ReferredImage.of(header) for header in ct_headers]
    _check(ct_from_mr, ct_images[0], mr_images)
    dataset = identity.begun(SpatialRegistrationStorage, ct, character_set)
    identity.copy_frame_of_reference(dataset, ct)
    description = "psdt registration MR to CT"
    identity.describe_series(dataset, stamp, modality="REG", number=SERIES_NUMBER, description=description)
    dataset.BodyPartExamined = "WHOLEBODY"  # no paired organ, so that no Laterality is missed
    dataset.ContentDate, dataset.ContentTime = stamp.date, stamp.time
    dataset.InstanceNumber = "1"
    dataset.ContentLabel = "MR_TO_CT"
    dataset.ContentDescription = "PROPOSAL: planning CT from MR, rigid"
    dataset.ContentCreatorName = None
    dataset.RegistrationSequence = [
        _item(ct_from_mr.target, np.eye(4), ct_images),
        _item(ct_from_mr.source, ct_from_mr.matrix, mr_images),
    ]
    _refer(dataset, ct_images, mr_images)
    data = identity.sealed(dataset, stamp, "registration")
    check_registration(data, ct_from_mr, ct_images, mr_images)
    return data


def _check(ct_from_mr: Rigid, ct: ReferredImage, mr_images: Sequence[ReferredImage]) -> None:
    if ct.frame_of_reference_uid != ct_from_mr.target:
        raise GeometryError("the registration does not lead to the CT's frame", where=ct.where)
    if ct_from_mr.source == ct_from_mr.target and ct_from_mr != Rigid.identity(ct_from_mr.target):
        raise FaultError("a registration that moves a frame within itself", where=ct_from_mr.target)
    for image in mr_images:
        if image.frame_of_reference_uid != ct_from_mr.source:
            raise GeometryError("an MR image is in another frame than the registration's", where=image.where)
        if image.patient_id != ct.patient_id:
            raise InputError("an MR image of another patient than the CT", where=image.where)


def _item(frame: str, matrix: Points, images: Sequence[ReferredImage]) -> Dataset:
    """One frame, its images, and the matrix from it to the object's frame."""
    step = Dataset()
    step.FrameOfReferenceTransformationMatrixType = "RIGID"
    step.FrameOfReferenceTransformationMatrix = [_decimal(number) for number in matrix.ravel().tolist()]
    steps = Dataset()
    steps.RegistrationTypeCodeSequence = []
    steps.MatrixSequence = [step]
    item = Dataset()
    item.FrameOfReferenceUID = frame
    if images:
        item.ReferencedImageSequence = [image.item() for image in images]
    item.MatrixRegistrationSequence = [steps]
    return item


def _decimal(number: float) -> str:
    """As many digits as a DS holds (16 characters): a rotation stays one to 1e-13. Zero has no sign."""
    return format_number_as_ds(number + 0.0)


def _refer(dataset: Dataset, ct_images: Sequence[ReferredImage], mr_images: Sequence[ReferredImage]) -> None:
    """All images by series, those of the CT's study apart from those of other studies (Common Instance Reference)."""
    series: dict[tuple[str, str], list[Dataset]] = {}
    for image in (*ct_images, *mr_images):
        series.setdefault((image.study_instance_uid, image.series_instance_uid), []).append(image.item())
    studies: dict[str, list[Dataset]] = {}
    for (study_uid, series_uid), references in series.items():
        item = Dataset()
        item.SeriesInstanceUID = series_uid
        item.ReferencedInstanceSequence = references
        studies.setdefault(study_uid, []).append(item)
    dataset.ReferencedSeriesSequence = studies.pop(ct_images[0].study_instance_uid)
    others = []
    for study_uid, items in studies.items():
        other = Dataset()
        other.StudyInstanceUID = study_uid
        other.ReferencedSeriesSequence = items
        others.append(other)
    if others:
        dataset.StudiesContainingOtherReferencedInstancesSequence = others


def check_registration(
    data: bytes, ct_from_mr: Rigid, ct_images: Sequence[ReferredImage], mr_images: Sequence[ReferredImage]
) -> None:
    """Read the bytes again: the CT's item must be the identity, the MR's must move landmarks as the transform does, and
    both must name their images, in their items and by study and series.

    Raises:
        ReadBackError: naming what differs.
    """
    dataset = dcmread(BytesIO(data))
    where = attributes.where_of(dataset)
    items = attributes.items(dataset, "RegistrationSequence")
    frames = [
        attributes.text(dataset, "FrameOfReferenceUID"),
        *(attributes.text(i, "FrameOfReferenceUID") for i in items),
    ]
    if frames != [ct_from_mr.target, ct_from_mr.target, ct_from_mr.source]:
        raise ReadBackError(f"the registration is of the frames {frames}", where=where)
    ct, mr = (_matrix(item) for item in items)
    if not np.array_equal(ct, np.eye(4)):
        raise ReadBackError("the CT's item is not the identity", where=where)
    read = Rigid(mr, ct_from_mr.target, ct_from_mr.source)
    landmarks_mm = 1000.0 * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    off_mm = np.linalg.norm(read.apply(landmarks_mm) - ct_from_mr.apply(landmarks_mm), axis=1).max()
    if off_mm > SAME_PLACE_MM:
        raise ReadBackError(f"the registration moves a landmark to a place {off_mm:.4f} mm away", where=where)
    for name, item, images in (("CT", items[0], ct_images), ("MR", items[1], mr_images)):
        if _instances(item, "ReferencedImageSequence") != [image.sop_instance_uid for image in images]:
            raise ReadBackError(f"the {name}'s item does not name its {len(images)} images", where=where)
    if set(_by_series(dataset)) != {_place(image) for image in (*ct_images, *mr_images)}:
        raise ReadBackError("the registration does not refer to its images by their study and series", where=where)


def _place(image: ReferredImage) -> tuple[str, str, str]:
    return image.study_instance_uid, image.series_instance_uid, image.sop_instance_uid


def _by_series(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    """Study, series and instance of every image that the Common Instance Reference names."""
    studies = [(attributes.text(dataset, "StudyInstanceUID"), dataset)]
    others = attributes.items_if_any(dataset, "StudiesContainingOtherReferencedInstancesSequence")
    for study, item in [*studies, *((attributes.text(other, "StudyInstanceUID"), other) for other in others)]:
        for series in attributes.items(item, "ReferencedSeriesSequence"):
            for instance in _instances(series, "ReferencedInstanceSequence"):
                yield study, attributes.text(series, "SeriesInstanceUID"), instance


def _instances(item: Dataset, keyword: str) -> list[str]:
    return [attributes.text(one, "ReferencedSOPInstanceUID") for one in attributes.items_if_any(item, keyword)]


def _matrix(item: Dataset) -> Points:
    (steps,) = attributes.items(item, "MatrixRegistrationSequence")
    (step,) = attributes.items(steps, "MatrixSequence")
    return attributes.numbers(step, "FrameOfReferenceTransformationMatrix", 16).reshape(4, 4)
