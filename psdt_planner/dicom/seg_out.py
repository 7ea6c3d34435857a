"""SEG out: regions that grew by a rule, on the high-b images that they grew on, for a person to look at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from psdt_planner import __version__
from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header, quiet
from psdt_planner.dicom.identity import MANUFACTURER, Stamp
from psdt_planner.dicom.multiframe import MULTI_FRAME
from psdt_planner.errors import GeometryError, UnsupportedError
from psdt_planner.geometry import Grid, Points

SAME_PLACE_MM = 0.1

OPEN = "Grown by a rule: no target until a person accepts it"
ACCEPTED = "Grown by a rule, accepted by the content creator"


@dataclass(frozen=True, eq=False)
class Grown:
    """One region to be written.

    Attributes:
        label: up to 64 characters.
        mask: on the grid of its high-b image.
        tracking_uid: that of the point that it grew around; empty for a candidate, which gets one of its own.
        seeded: whether it grew around a point that a reader marked.
        rule: what it grew by, in words.
    """

    label: str
    mask: NDArray[np.bool_]
    tracking_uid: str
    seeded: bool
    rule: str


def segmentation(
    grown: Sequence[Grown], grid: Grid, images: Sequence[Header], *, stamp: Stamp, accepted_by: str = ""
) -> bytes:
    """The file of a binary SEG with a segment a region; the same arguments give the same bytes.

    ``images`` are those of the high-b volume, any order: single-frame images, or planes of one Enhanced MR object.
    Where a slice of the grid has none, since the volume was composed of several series, or lies beside its image in its
    plane, since a station was moved, the SEG says where its slices lie. With ``accepted_by`` the regions count as
    a reader's flags when the file is read; without, they hold.

    Raises:
        UnsupportedError: mosaics, or planes of several multi-frame objects.
        GeometryError: no slice of the grid has an image.
    """
    digest = hashlib.sha256(b"".join([np.packbits(one.mask).tobytes() for one in grown]) + accepted_by.encode())
    role = ("seg", digest.hexdigest(), *(one.label for one in grown))
    with quiet():
        seg = hd.seg.Segmentation(
            **_sources(grid, images),
            pixel_array=np.stack([one.mask for one in grown], axis=-1).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=[_described(n, one, stamp, role) for n, one in enumerate(grown, start=1)],
            series_instance_uid=stamp.uid(*role, "series"),
            series_number=9901,
            sop_instance_uid=stamp.uid(*role, "instance"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MANUFACTURER,
            software_versions=__version__,
            device_serial_number="0",
            content_label="ACCEPTED" if accepted_by else "CANDIDATES",
            content_description=ACCEPTED if accepted_by else OPEN,
            content_creator_name=accepted_by or None,
            series_description="psdt regions, SEMIAUTOMATIC",
        )
    _make_still(seg, stamp, role)
    buffer = BytesIO()
    seg.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _described(number: int, one: Grown, stamp: Stamp, role: Sequence[str]) -> hd.seg.SegmentDescription:
    # Of the families of PS3.16 CID 7162 the one that joins voxels by place and value; nothing here was trained.
    name = hd.AlgorithmIdentificationSequence("psdt region growing", codes.DCM.ClusterAnalysis, __version__)
    name[0].AlgorithmParameters = one.rule
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=one.label[:64],
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type="SEMIAUTOMATIC" if one.seeded else "AUTOMATIC",
        algorithm_identification=name,
        tracking_uid=UID(one.tracking_uid or stamp.uid(*role, "tracking", str(number))),
        tracking_id=one.label[:64],
    )


def _sources(grid: Grid, images: Sequence[Header]) -> dict[str, Any]:
    """What highdicom needs of the images: those at slices of the grid, or the Enhanced MR object of its frames."""
    if any(image.plane is not None for image in images):
        return _of_frames(grid, images)
    places = np.array([attributes.numbers(image.dataset, "ImagePositionPatient", 3) for image in images])
    slices, nearest = _nearest(grid, places)
    found = [dcmread(images[n].path, stop_before_pixels=True) for n in nearest]
    beside = np.linalg.norm(grid.slice_origins_mm[slices] - places[nearest], axis=1).max()
    on_images = len(found) == grid.shape[0] and beside <= SAME_PLACE_MM
    return {"source_images": found, **({} if on_images else _geometry(grid))}


def _of_frames(grid: Grid, images: Sequence[Header]) -> dict[str, Any]:
    paths = {image.path for image in images}
    if len(paths) > 1 or any(image.file.sop_class_uid not in MULTI_FRAME for image in images):
        raise UnsupportedError(
            "regions are written on images of one slice, or on one Enhanced MR object", todo="Send the classic images."
        )
    _nearest(grid, np.array([attributes.numbers(image.dataset, "ImagePositionPatient", 3) for image in images]))
    return {"source_images": [dcmread(paths.pop(), stop_before_pixels=True)], **_geometry(grid)}


def _geometry(grid: Grid) -> dict[str, Any]:
    """Where the slices lie, for a SEG that does not lie slice by slice on its images."""
    patient, gap_mm = hd.CoordinateSystemNames.PATIENT, grid.slice_gap_mm
    row, column = (step / np.linalg.norm(step) for step in (grid.step_i_mm, grid.step_j_mm))
    return {
        "plane_positions": [hd.PlanePositionSequence(patient, origin) for origin in grid.slice_origins_mm],
        "plane_orientation": hd.PlaneOrientationSequence(patient, [*row, *column]),
        "pixel_measures": hd.PixelMeasuresSequence(grid.spacing_ji_mm, gap_mm, gap_mm),
    }


def _nearest(grid: Grid, places_mm: Points) -> tuple[list[int], list[int]]:
    """Slices of the grid that an image lies in, in their order, and of each that image's position among ``(N, 3)``."""
    away = np.abs((grid.slice_origins_mm[:, None] - places_mm[None]) @ grid.normal)
    lies = away.min(axis=1) <= SAME_PLACE_MM
    if not lies.any():
        raise GeometryError("no slice of the high-b volume has an image to refer to", where=grid.frame)
    return [int(k) for k in np.flatnonzero(lies)], [int(n) for n in away.argmin(axis=1)[lies]]


def _make_still(seg: Dataset, stamp: Stamp, role: Sequence[str]) -> None:
    """Takes out the clock and the random UIDs of highdicom, so that the same regions give the same bytes."""
    for keyword in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        if keyword in seg:
            setattr(seg, keyword, stamp.date)
    for keyword in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        if keyword in seg:
            setattr(seg, keyword, stamp.time)
    for item in seg.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = stamp.date + stamp.time
    still = stamp.uid(*role, "dimensions")
    for sequence in (seg.DimensionOrganizationSequence, seg.DimensionIndexSequence):
        for item in sequence:
            item.DimensionOrganizationUID = still
