"""The mapping from MR to CT as a Spatial Registration object: for fused viewing, and to say where a ring came from.

The object's frame is the CT's. Its first item is the CT itself with the identity, its second the MR with
``ct_from_mr``: a matrix takes points of the item's frame to the object's frame (PS3.3 C.20.2.1.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import SpatialRegistrationStorage
from pydicom.valuerep import format_number_as_ds

from psdt_planner.dicom import attributes, identity
from psdt_planner.dicom.identity import Stamp
from psdt_planner.errors import FaultError, GeometryError, InputError, ReadBackError
from psdt_planner.geometry import Points, Rigid

SERIES_NUMBER = 902

SAME_PLACE_MM = 0.001
"""How far a landmark a metre away may move by the matrix being written as text."""


def write_registration(
    ct_from_mr: Rigid, ct_headers: Sequence[Dataset], mr_headers: Sequence[Dataset], stamp: Stamp
) -> bytes:
    """The transform as a file, read back before it is returned.

    Args:
        ct_from_mr: from the MR's frame to the CT's; within one frame, the identity.
        ct_headers: the planning CT's images; all are referred to.
        mr_headers: images of the MR's frame, of any number of series; all are referred to; may be none.
        stamp: date, time and UIDs.

    Raises:
        MissingAttributeError: an image lacks its frame of reference or a UID.
        GeometryError: images of another frame than the transform's.
        InputError: CT images of several series, or MR images of another patient.
        FaultError: a transform that moves a frame within itself.
        ReadBackError: the bytes do not say the transform.
    """
    ct = identity.one_series(ct_headers)
    _check(ct_from_mr, ct, mr_headers)
    dataset = Dataset()
    dataset.SOPClassUID = SpatialRegistrationStorage
    identity.choose_character_set(dataset, ct, ())
    identity.copy_patient_and_study(dataset, ct)
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
        _item(ct_from_mr.target, np.eye(4), ct_headers),
        _item(ct_from_mr.source, ct_from_mr.matrix, mr_headers),
    ]
    _refer(dataset, ct, [*ct_headers, *mr_headers])
    data = identity.sealed(dataset, stamp, "registration")
    check_registration(data, ct_from_mr)
    return data


def _check(ct_from_mr: Rigid, ct: Dataset, mr_headers: Sequence[Dataset]) -> None:
    if attributes.text(ct, "FrameOfReferenceUID") != ct_from_mr.target:
        raise GeometryError("the registration does not lead to the CT's frame", where=attributes.where_of(ct))
    if ct_from_mr.source == ct_from_mr.target and ct_from_mr != Rigid.identity(ct_from_mr.target):
        raise FaultError("a registration that moves a frame within itself", where=ct_from_mr.target)
    for header in mr_headers:
        where = attributes.where_of(header)
        if attributes.text(header, "FrameOfReferenceUID") != ct_from_mr.source:
            raise GeometryError("an MR image is in another frame than the registration's", where=where)
        if attributes.text_or_empty(header, "PatientID") != attributes.text_or_empty(ct, "PatientID"):
            raise InputError("an MR image of another patient than the CT", where=where)


def _item(frame: str, matrix: Points, headers: Sequence[Dataset]) -> Dataset:
    """One frame, its images, and the matrix from it to the object's frame."""
    step = Dataset()
    step.FrameOfReferenceTransformationMatrixType = "RIGID"
    step.FrameOfReferenceTransformationMatrix = [_decimal(number) for number in matrix.ravel().tolist()]
    steps = Dataset()
    steps.RegistrationTypeCodeSequence = []
    steps.MatrixSequence = [step]
    item = Dataset()
    item.FrameOfReferenceUID = frame
    if headers:
        item.ReferencedImageSequence = [identity.reference(header) for header in headers]
    item.MatrixRegistrationSequence = [steps]
    return item


def _decimal(number: float) -> str:
    """As many digits as a DS holds (16 characters): a rotation stays one to 1e-13. Zero has no sign."""
    return format_number_as_ds(number + 0.0)


def _refer(dataset: Dataset, ct: Dataset, headers: Iterable[Dataset]) -> None:
    """All images by series, those of the CT's study apart from those of other studies (Common Instance Reference)."""
    series: dict[tuple[str, str], list[Dataset]] = {}
    for header in headers:
        key = (attributes.text(header, "StudyInstanceUID"), attributes.text(header, "SeriesInstanceUID"))
        series.setdefault(key, []).append(identity.reference(header))
    studies: dict[str, list[Dataset]] = {}
    for (study_uid, series_uid), references in series.items():
        item = Dataset()
        item.SeriesInstanceUID = series_uid
        item.ReferencedInstanceSequence = references
        studies.setdefault(study_uid, []).append(item)
    dataset.ReferencedSeriesSequence = studies.pop(attributes.text(ct, "StudyInstanceUID"))
    others = []
    for study_uid, items in studies.items():
        other = Dataset()
        other.StudyInstanceUID = study_uid
        other.ReferencedSeriesSequence = items
        others.append(other)
    if others:
        dataset.StudiesContainingOtherReferencedInstancesSequence = others


def check_registration(data: bytes, ct_from_mr: Rigid) -> None:
    """Read the bytes again: the CT's item must be the identity, the MR's must move landmarks as the transform does.

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


def _matrix(item: Dataset) -> Points:
    (steps,) = attributes.items(item, "MatrixRegistrationSequence")
    (step,) = attributes.items(steps, "MatrixSequence")
    return attributes.numbers(step, "FrameOfReferenceTransformationMatrix", 16).reshape(4, 4)
