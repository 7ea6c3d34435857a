"""Spatial Registration objects in: rigid transforms between frames of reference, in the direction that they state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
from pydicom import Dataset
from pydicom.uid import SpatialRegistrationStorage

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.identity import MANUFACTURER
from psdt_planner.errors import InputError, MissingAttributeError
from psdt_planner.exam import ImportedRegistration
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Points, Rigid

RIGID_INPUT_TOLERANCE = 1e-4
"""How far R Rᵀ may be from identity in a matrix that came in as text; the nearest rotation is then taken."""

IDENTITY_TOLERANCE_MM = 0.01
"""Largest shift, and rotation over a metre, of a matrix within one frame that still counts as identity."""


def read_registration(
    header: Header, frame_of_image: Mapping[str, str]
) -> tuple[tuple[ImportedRegistration, ...], tuple[Finding, ...]]:
    """The rigid transforms of one object, each from an item's frame to the object's own frame (PS3.3 C.20.2.1.1).

    An item that names images instead of a frame is in those images' frame. An item within the object's own frame says
    nothing where it is the identity. Findings at level hold: ``registration-not-rigid`` (also deformable objects),
    ``registration-frame-unknown``, ``registration-contradictory`` (an item that moves a frame within itself), and
    ``registration-unreadable``; at level warn ``registration-matrix-order``, and ``registration-own`` for an object
    that psdt wrote itself: a result of an earlier run is no evidence for the next one.
    """
    ds, uid = header.dataset, header.file.sop_instance_uid
    if header.file.sop_class_uid != SpatialRegistrationStorage:
        return (), (_finding("registration-not-rigid", uid, "a deformable registration is not read"),)
    found: list[ImportedRegistration] = []
    findings: list[Finding] = []
    try:
        if attributes.text_or_empty(ds, "Manufacturer") == MANUFACTURER:
            return (), (_finding("registration-own", uid, "psdt wrote it itself; it is not used", Level.WARN),)
        target = attributes.text(ds, "FrameOfReferenceUID")
        for item in attributes.items(ds, "RegistrationSequence"):
            transform, odd = _item(item, target, frame_of_image, uid)
            findings += odd
            if transform is not None:
                found.append(ImportedRegistration(transform, uid))
    except InputError as error:
        return (), (_finding("registration-unreadable", uid, str(error)),)
    return tuple(found), tuple(findings)


def _item(
    item: Dataset, target: str, frame_of_image: Mapping[str, str], uid: str
) -> tuple[Rigid | None, list[Finding]]:
    source = _source_frame(item, frame_of_image)
    if not source:
        return None, [
            _finding("registration-frame-unknown", uid, "an item names no frame and no image among the inputs")
        ]
    matrices = _matrices(item, uid)
    matrix = reduce(np.matmul, reversed(matrices), np.eye(4))
    rotation = matrix[:3, :3]
    off = float(max(np.abs(rotation @ rotation.T - np.eye(3)).max(), abs(np.linalg.det(rotation) - 1.0)))
    if off > RIGID_INPUT_TOLERANCE or np.abs(matrix[3] - [0, 0, 0, 1]).max() > RIGID_INPUT_TOLERANCE:
        message = f"its matrix is off a rotation by {off:.2g}"
        return None, [_finding("registration-not-rigid", uid, message)]
    findings = []
    if np.abs(reduce(np.matmul, matrices, np.eye(4)) - matrix).max() > IDENTITY_TOLERANCE_MM:
        message = (
            "several matrices that do not commute: applied first item first, as the standard says; some tools differ"
        )
        findings.append(_finding("registration-matrix-order", uid, message, Level.WARN))
    if source != target:
        return Rigid(_nearest_rigid(matrix), target, source), findings
    if not _is_identity(matrix):
        message = f"it moves frame {target} within itself"
        findings.append(_finding("registration-contradictory", uid, message))
    return None, findings


def _source_frame(item: Dataset, frame_of_image: Mapping[str, str]) -> str:
    named = attributes.text_or_empty(item, "FrameOfReferenceUID")
    images = {
        frame_of_image.get(attributes.text_or_empty(image, "ReferencedSOPInstanceUID"), "")
        for image in attributes.items_if_any(item, "ReferencedImageSequence")
    } - {""}
    return named or (images.pop() if len(images) == 1 else "")


def _matrices(item: Dataset, uid: str) -> Sequence[Points]:
    """The matrices of an item; M3 M2 M1 x is the registered point, M1 the first of them (Equation C.20.2-2)."""
    where = f"SOP Instance UID {uid}"
    registrations = attributes.items(item, "MatrixRegistrationSequence", where=where)
    if len(registrations) > 1:
        raise MissingAttributeError("MatrixRegistrationSequence has more than its one item", where=where)
    return [
        attributes.numbers(matrix, "FrameOfReferenceTransformationMatrix", 16, where=where).reshape(4, 4)
        for matrix in attributes.items(registrations[0], "MatrixSequence", where=where)
    ]


def _nearest_rigid(matrix: Points) -> Points:
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = u @ vt, matrix[:3, 3]
    return rigid


def _is_identity(matrix: Points) -> bool:
    off = np.abs(matrix - np.eye(4))
    return bool(max(off[:3, 3].max(), 1000.0 * off[:3, :3].max()) <= IDENTITY_TOLERANCE_MM)


def _finding(code: str, uid: str, message: str, level: Level = Level.HOLD) -> Finding:
    return Finding(code, level, f"SOP Instance UID {uid}: {message}")
