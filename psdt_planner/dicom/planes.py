"""The plane of one image: of a single-frame image from its own attributes, of a frame from its functional groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.multiframe import holds_planes
from psdt_planner.dicom.stacks import read_slice
from psdt_planner.errors import InputError, MissingAttributeError, UnsupportedError
from psdt_planner.geometry import Points


@dataclass(frozen=True, eq=False)
class Plane:
    """Where the pixels of one image lie.

    Attributes:
        origin_mm: ``(3,)``, centre of the first pixel.
        row, column: ``(3,)``, unit vectors towards growing column index and growing row index.
        spacing_ji_mm: distance between rows and between columns.
        distance_mm: stated distance to the next image; 0 where none is stated.
    """

    origin_mm: Points
    row: Points
    column: Points
    spacing_ji_mm: tuple[float, float]
    distance_mm: float = 0.0

    def mm_from_graphic(self, column_row: Points) -> Points:
        """Points ``(N, 3)`` of graphic data ``(N, 2)``: 0 is the edge of the first pixel, 0.5 its centre (C.18.6)."""
        steps = np.stack([self.row * self.spacing_ji_mm[1], self.column * self.spacing_ji_mm[0]])
        return np.asarray(self.origin_mm + (np.asarray(column_row, dtype=np.float64) - 0.5) @ steps)


def plane_of_image(header: Header, frame_number: int) -> Plane:
    """The plane of an image, or of a frame (from 1) of a multi-frame image.

    Raises:
        MissingAttributeError: position, orientation or pixel spacing are missing.
        InputError: there is no such frame, or more than one and none is named (``frame_number`` 0).
        UnsupportedError: a mosaic.
    """
    ds, where = header.dataset, f"SOP Instance UID {header.file.sop_instance_uid}"
    groups = attributes.items_if_any(ds, "PerFrameFunctionalGroupsSequence")
    if not groups and holds_planes(header):
        raise UnsupportedError("a mosaic, whose pixels lie on many planes", where=where)
    if not groups:
        one = read_slice(header)
        return Plane(one.origin_mm, one.row, one.column, one.spacing_ji_mm)
    if not 1 <= (frame_number or (len(groups) == 1)) <= len(groups):
        raise InputError(f"frame {frame_number or 'not named'} of {len(groups)}", where=where)
    shared = attributes.items_if_any(ds, "SharedFunctionalGroupsSequence")[:1]
    return plane_of_groups((groups[max(frame_number, 1) - 1], *shared), where)


def plane_of_groups(groups: Sequence[Dataset], where: str) -> Plane:
    """The plane that functional groups state, the first of them that has each macro.

    Raises:
        MissingAttributeError: position, orientation or pixel measures are missing.
    """
    measures = macro(groups, "PixelMeasuresSequence", where)
    cosines = attributes.numbers(
        macro(groups, "PlaneOrientationSequence", where), "ImageOrientationPatient", 6, where=where
    ).reshape(2, 3)
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
    spacing = attributes.numbers(measures, "PixelSpacing", 2, where=where)
    position = macro(groups, "PlanePositionSequence", where)
    return Plane(
        origin_mm=attributes.numbers(position, "ImagePositionPatient", 3, where=where),
        row=cosines[0],
        column=cosines[1],
        spacing_ji_mm=(float(spacing[0]), float(spacing[1])),
        distance_mm=_distance_mm(measures),
    )


def macro(groups: Sequence[Dataset], keyword: str, where: str) -> Dataset:
    """The first item of a functional group macro, per frame before shared.

    Raises:
        MissingAttributeError: none of the groups has it.
    """
    for group in groups:
        for item in attributes.items_if_any(group, keyword):
            return item
    raise MissingAttributeError(f"{keyword} is missing", where=where)


def _distance_mm(measures: Dataset) -> float:
    """SpacingBetweenSlices, else SliceThickness; 0 where neither is stated."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if attributes.has(measures, keyword):
            return abs(attributes.number(measures, keyword))
    return 0.0
