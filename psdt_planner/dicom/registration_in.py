"""Spatial Registration objects in: transforms between frames of reference, in the direction that they state.

A rigid item takes its own frame to the object's (PS3.3 C.20.2). A deformable item leads the other way: its grid lies in
the object's frame, and its vectors tell where in the item's frame a point is sampled (C.20.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import DeformableSpatialRegistrationStorage

from psdt_planner.deformation import Deformation
from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.identity import MANUFACTURER
from psdt_planner.errors import InputError, MissingAttributeError
from psdt_planner.exam import ImportedRegistration, Limit
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points, Rigid

RIGID_INPUT_TOLERANCE = 1e-4
"""How far R Rᵀ may be from identity in a matrix that came in as text; the nearest rotation is then taken."""

IDENTITY_TOLERANCE_MM = 0.01
"""Largest shift, and rotation over a metre, of a matrix within one frame that still counts as identity."""


@dataclass(frozen=True, eq=False)
class KnownImages:
    """The images among the inputs, by SOP Instance UID: the frame that each names (or empty), and its series."""

    frame_of: Mapping[str, str] = field(default_factory=dict)
    series_of: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def count_of(self) -> Mapping[str, int]:
        """How many images each series has."""
        return Counter(self.series_of.values())


@dataclass(frozen=True, eq=False)
class _Item:
    """One item of an object: what it says, and of what.

    Attributes:
        dataset: the item.
        frame: the frame that it registers; empty where neither it nor its images tell.
        target: the object's frame.
        limits: the images that it is limited to.
        where: the object, for errors.
    """

    dataset: Dataset
    frame: str
    target: str
    limits: tuple[Limit, ...]
    where: str


def read_registration(
    header: Header, images: KnownImages
) -> tuple[tuple[ImportedRegistration, ...], tuple[Finding, ...]]:
    """The transforms of one object, rigid or deformable, item by item.

    An item that names images and no frame is in those images' frame and holds for them alone. So do several items of
    one frame that each name images; the only item of a frame holds for all of it. An item within the object's own frame
    says nothing where it is the identity.

    Findings at level hold: ``registration-not-rigid``, ``registration-frame-unknown``, ``registration-contradictory``
    (an item that moves a frame within itself), and ``registration-unreadable``; at level warn
    ``registration-matrix-order``, and ``registration-own`` for an object that psdt wrote itself: a result of an earlier
    run is no evidence for the next one.
    """
    ds, uid = header.dataset, header.file.sop_instance_uid
    deformable = header.file.sop_class_uid == DeformableSpatialRegistrationStorage
    found: list[ImportedRegistration] = []
    findings: list[Finding] = []
    try:
        if attributes.text_or_empty(ds, "Manufacturer") == MANUFACTURER:
            return (), (_finding("registration-own", uid, "psdt wrote it itself; it is not used", Level.WARN),)
        for item in _items(ds, uid, images, deformable=deformable):
            if not item.frame:
                message = "an item names no frame and no image among the inputs"
                findings.append(_finding("registration-frame-unknown", uid, message))
                continue
            transform, odd = _deformable(item, uid, _byte_order(ds)) if deformable else _rigid(item, uid)
            findings += odd
            if transform is not None:
                found.append(ImportedRegistration(transform, uid, item.limits))
    except InputError as error:
        return (), (_finding("registration-unreadable", uid, str(error)),)
    return tuple(found), tuple(findings)


def _items(ds: Dataset, uid: str, images: KnownImages, *, deformable: bool) -> list[_Item]:
    """The items with their frames, and the images that each is limited to."""
    target = attributes.text(ds, "FrameOfReferenceUID")
    where = f"SOP Instance UID {uid}"
    sequence, keyword = "RegistrationSequence", "FrameOfReferenceUID"
    if deformable:
        sequence, keyword = "DeformableRegistrationSequence", "SourceFrameOfReferenceUID"
    datasets = attributes.items(ds, sequence)
    named = [_named(dataset) for dataset in datasets]
    stated = [attributes.text_or_empty(dataset, keyword) for dataset in datasets]
    frames = [one or _frame(uids, images) for one, uids in zip(stated, named, strict=True)]
    alike = Counter(frames)
    made = []
    for dataset, uids, one, frame in zip(datasets, named, stated, frames, strict=True):
        limited = bool(uids) and (not one or alike[frame] > 1)
        made.append(_Item(dataset, frame, target, _limits(uids, frame, images) if limited else (), where))
    return made


def _named(item: Dataset) -> frozenset[str]:
    """SOP Instance UIDs of the images that an item refers to."""
    references = attributes.items_if_any(item, "ReferencedImageSequence")
    return frozenset(attributes.text_or_empty(image, "ReferencedSOPInstanceUID") for image in references) - {""}


def _frame(uids: frozenset[str], images: KnownImages) -> str:
    """The frame of all of some images that are among the inputs; empty where there is none, or several."""
    frames = {images.frame_of.get(uid, "") for uid in uids} - {""}
    return frames.pop() if len(frames) == 1 else ""


def _limits(uids: frozenset[str], frame: str, images: KnownImages) -> tuple[Limit, ...]:
    by_series: dict[str, set[str]] = {}
    for uid in uids:
        by_series.setdefault(images.series_of.get(uid, ""), set()).add(uid)
    return tuple(
        Limit(frame, series, frozenset(some), images.count_of.get(series, 0))
        for series, some in sorted(by_series.items())
    )


def _rigid(item: _Item, uid: str) -> tuple[Rigid | None, list[Finding]]:
    matrices = _matrices(item)
    matrix = reduce(np.matmul, reversed(matrices), np.eye(4))
    if off := _off_rigid(matrix):
        return None, [_not_rigid(uid, off)]
    findings = []
    if np.abs(reduce(np.matmul, matrices, np.eye(4)) - matrix).max() > IDENTITY_TOLERANCE_MM:
        message = (
            "several matrices that do not commute: applied first item first, as the standard says; some tools differ"
        )
        findings.append(_finding("registration-matrix-order", uid, message, Level.WARN))
    if item.frame != item.target:
        return Rigid(_nearest_rigid(matrix), item.target, item.frame), findings
    if not _is_identity(matrix):
        findings.append(_within_itself(uid, item))
    return None, findings


def _matrices(item: _Item) -> Sequence[Points]:
    """The matrices of an item; M3 M2 M1 x is the registered point, M1 the first of them (Equation C.20.2-2)."""
    registrations = attributes.items(item.dataset, "MatrixRegistrationSequence", where=item.where)
    if len(registrations) > 1:
        raise MissingAttributeError("MatrixRegistrationSequence has more than its one item", where=item.where)
    return [_matrix(one, item.where) for one in attributes.items(registrations[0], "MatrixSequence", where=item.where)]


def _matrix(dataset: Dataset, where: str) -> Points:
    return attributes.numbers(dataset, "FrameOfReferenceTransformationMatrix", 16, where=where).reshape(4, 4)


def _deformable(item: _Item, uid: str, byte_order: str) -> tuple[Rigid | Deformation | None, list[Finding]]:
    """The way from the object's frame to the item's: matrix, vectors, matrix; rigid where the item has no vectors."""
    pre = _beside(item, "PreDeformationMatrixRegistrationSequence")
    post = _beside(item, "PostDeformationMatrixRegistrationSequence")
    grids = attributes.items_if_any(item.dataset, "DeformableRegistrationGridSequence")
    if len(grids) > 1:
        raise MissingAttributeError("DeformableRegistrationGridSequence has more than one item", where=item.where)
    if not grids:
        return _without_vectors(item, uid, post @ pre)
    grid, vectors = _vectors(grids[0], item, byte_order)
    if item.frame != item.target:
        return Deformation(grid, vectors, pre, post, item.frame), []
    still = bool((np.abs(np.nan_to_num(vectors)) <= IDENTITY_TOLERANCE_MM).all())
    still = still and _is_identity(pre) and _is_identity(post)
    return None, [] if still else [_within_itself(uid, item)]


def _without_vectors(item: _Item, uid: str, matrix: Points) -> tuple[Rigid | None, list[Finding]]:
    if off := _off_rigid(matrix):
        return None, [_not_rigid(uid, off)]
    if item.frame != item.target:
        return Rigid(_nearest_rigid(matrix), item.frame, item.target), []
    return None, [] if _is_identity(matrix) else [_within_itself(uid, item)]


def _beside(item: _Item, keyword: str) -> Points:
    """The matrix before or after the vectors; identity where there is none."""
    matrices = attributes.items_if_any(item.dataset, keyword)
    if len(matrices) > 1:
        raise MissingAttributeError(f"{keyword} has more than its one item", where=item.where)
    return _matrix(matrices[0], item.where) if matrices else np.eye(4)


def _vectors(dataset: Dataset, item: _Item, byte_order: str) -> tuple[Grid, NDArray[np.float32]]:
    """Lattice and vectors: GridDimensions and GridResolution in the order X, Y, Z, of which X runs along a row and
    changes fastest (PS3.3 C.20.3.1.3)."""
    where = item.where
    counts = attributes.numbers(dataset, "GridDimensions", 3, where=where).astype(int)
    steps_mm = attributes.numbers(dataset, "GridResolution", 3, where=where)
    row, column = attributes.numbers(dataset, "ImageOrientationPatient", 6, where=where).reshape(2, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = (np.stack([row, column, np.cross(row, column)]) * steps_mm[:, None])[::-1].T
    matrix[:3, 3] = attributes.numbers(dataset, "ImagePositionPatient", 3, where=where)
    data = bytes(attributes.value(dataset, "VectorGridData", where=where))
    if counts.min() < 1 or len(data) != 12 * counts.prod():
        message = f"VectorGridData has {len(data)} bytes, not 12 for each of the {counts.tolist()} vectors"
        raise MissingAttributeError(message, where=where)
    k, j, i = counts[::-1].tolist()
    vectors = np.frombuffer(data, dtype=f"{byte_order}f4").reshape(k, j, i, 3)
    return Grid.regular(matrix, (k, j, i), item.target), vectors


def _byte_order(ds: Dataset) -> str:
    """Of the numbers in an OF element, which pydicom leaves as they came."""
    return ">" if ds.original_encoding[1] is False else "<"


def _off_rigid(matrix: Points) -> float:
    """How far a matrix is from a rotation and a shift; 0 within the tolerance of numbers that came as text."""
    rotation = matrix[:3, :3]
    off = max(np.abs(rotation @ rotation.T - np.eye(3)).max(), abs(np.linalg.det(rotation) - 1.0))
    off = max(off, np.abs(matrix[3] - [0, 0, 0, 1]).max())
    return float(off) if off > RIGID_INPUT_TOLERANCE else 0.0


def _nearest_rigid(matrix: Points) -> Points:
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = u @ vt, matrix[:3, 3]
    return rigid


def _is_identity(matrix: Points) -> bool:
    off = np.abs(matrix - np.eye(4))
    return bool(max(off[:3, 3].max(), 1000.0 * off[:3, :3].max()) <= IDENTITY_TOLERANCE_MM)


def _not_rigid(uid: str, off: float) -> Finding:
    return _finding("registration-not-rigid", uid, f"its matrix is off a rotation by {off:.2g}")


def _within_itself(uid: str, item: _Item) -> Finding:
    return _finding("registration-contradictory", uid, f"it moves frame {item.target} within itself")


def _finding(code: str, uid: str, message: str, level: Level = Level.HOLD) -> Finding:
    return Finding(code, level, f"SOP Instance UID {uid}: {message}")
