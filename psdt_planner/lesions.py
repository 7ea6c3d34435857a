"""Lesions: what the reader flagged, where it was flagged, and where it is on the planning CT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from psdt_planner.errors import GeometryError
from psdt_planner.findings import Finding, holds
from psdt_planner.geometry import Grid, Points, Rigid


class Side(StrEnum):
    """Side of the body."""

    LEFT = "left"
    RIGHT = "right"
    MIDLINE = "midline"
    UNKNOWN = "unknown"


class MaskKind(StrEnum):
    """What a mask's numbers mean."""

    BINARY = "binary"
    """0 or 1: the voxel's centre is in the lesion."""
    OCCUPANCY = "occupancy"
    """0 to 1: the part of the voxel that is lesion."""


@dataclass(frozen=True)
class FlagSource:
    """The object and the item in it that a flag was read from.

    The item is the SEG segment number, the RTSTRUCT ROI number, the number of the SR's measurement group or the line of
    the CSV; of a CSV the class is empty and the instance is ``sha256:`` with the hash of the file.
    """

    sop_class_uid: str
    sop_instance_uid: str
    item: int


@dataclass(frozen=True, eq=False)
class FlaggedLesion:
    """What the reader marked, where it was marked; never edited, but for a site or side that the reader left out.

    Attributes:
        id: ``L1``, ``L2``, ... stable for the same input.
        label: the reader's words.
        site: site key of the protocol (``spine``, ``bone``, ``pelvic-node``, ``liver``, ...; docs/flags.md has all),
            ``lung`` where nobody said whether it is central, or ``unknown``; ``site_source`` tells what said so:
            ``code``, ``label``, ``table``, or, where the flag itself says nothing, ``point`` (marked within it) or
            ``place`` (on the planning CT); empty where it is unknown.
        side: side of the body; ``side_source`` as ``site_source``.
        tracking_uid: the lesion's identity over time; empty where the object has none.
        grid: lattice of the mask in the frame it was drawn in, cropped to the lesion with an empty border.
        mask: ``float32`` in 0..1, shape ``grid.shape``.
        mask_kind: how to read the mask's numbers.
        source: the object it was read from.
        series_uid: SeriesInstanceUID of the images it was drawn on; empty where the object names none.
        drawn_on_kind: what those images are, as the value of their ``Kind`` (``dwi-trace``, ``adc``, ``t1``); empty
            where they are unknown.
        rule: what made the mask where no person drew it, as the object says; empty where it says nothing.
        site_code: SNOMED CT code of the place, which may be of no site key; empty where no code tells the region.
        level: vertebra of a lesion in the spine, such as ``L4``; empty where neither code nor label tells one.

    Raises:
        GeometryError: the mask does not fit its grid, is empty, or leaves 0..1.
    """

    id: str
    label: str
    site: str
    site_source: str
    side: Side
    tracking_uid: str
    grid: Grid
    mask: NDArray[np.float32]
    mask_kind: MaskKind
    source: FlagSource
    series_uid: str = ""
    drawn_on_kind: str = ""
    side_source: str = ""
    rule: str = ""
    site_code: str = ""
    level: str = ""

    def __post_init__(self) -> None:
        mask = np.asarray(self.mask, dtype=np.float32).view()
        mask.flags.writeable = False
        object.__setattr__(self, "mask", mask)
        if mask.shape != self.grid.shape:
            raise GeometryError(f"a mask of {mask.shape} on a grid of {self.grid.shape}", where=self.id)
        if not mask.any() or mask.min() < 0.0 or mask.max() > 1.0:
            raise GeometryError("a mask that is empty or leaves 0 to 1", where=self.id)

    @property
    def volume_ml(self) -> float:
        """Sum of the mask's occupancy."""
        return float(self.mask.sum(axis=(1, 2), dtype=np.float64) @ self.grid.voxel_volumes_ml)

    @property
    def centroid_mm(self) -> Points:
        """``(3,)``, centre of mass in the flag's own frame."""
        weights = self.mask * self.grid.voxel_volumes_ml[:, None, None]
        return np.asarray(np.tensordot(weights, self.grid.centres_mm(), axes=3) / weights.sum())


@dataclass(frozen=True, eq=False)
class FlaggedPoint:
    """A place that the reader marked without an extent: not a lesion until somebody gives it one.

    Attributes:
        id: ``L1``, ``L2``, ... numbered together with the lesions of the same input.
        point_mm: ``(3,)`` in ``frame``, exactly as marked.
        frame: Frame of Reference UID.

    The others are those of `FlaggedLesion`.
    """

    id: str
    label: str
    site: str
    site_source: str
    side: Side
    tracking_uid: str
    point_mm: tuple[float, float, float]
    frame: str
    source: FlagSource
    series_uid: str = ""
    drawn_on_kind: str = ""
    side_source: str = ""


def covering(point: FlaggedPoint, flags: Iterable[FlaggedLesion]) -> FlaggedLesion | None:
    """The first flag that stands for a point: it has the point's Tracking UID, or its mask contains the point."""
    return next((flag for flag in flags if _covers(flag, point)), None)


def _covers(flag: FlaggedLesion, point: FlaggedPoint) -> bool:
    if point.tracking_uid and flag.tracking_uid == point.tracking_uid:
        return True
    if flag.grid.frame != point.frame or not flag.grid.contains(point.point_mm):
        return False
    k, j, i = np.rint(flag.grid.index_from_mm(point.point_mm)).astype(int)
    return bool(flag.mask[k, j, i] > 0)


def todo(point: FlaggedPoint, flags: Iterable[FlaggedLesion]) -> str:
    """What is to be done about a point, in words."""
    flag = covering(point, flags)
    if flag is not None:
        return f"nothing: {flag.id} stands for it"
    return (
        "psdt candidates grows a region around it, to be looked at, accepted by name (--accept, --by) and sent as a "
        "SEG; or draw it"
    )


@dataclass(frozen=True, eq=False)
class MappedLesion:
    """A flagged lesion on the planning CT.

    Attributes:
        flag: the lesion as flagged, in the MR's frame.
        ct_from_mr: the transform used for this lesion, as it was flagged: with the EPI shift of a flag on DWI undone.
        anatomical_ct_from_mr: the same for what is seen on undistorted MR, where that shift is not.
        uncertainty_mm: bound on the distance between the mapped and the true place.
        disagreement_mm: how far the independent fits lie apart; None where nothing was fitted.
        method: how the transform was found, in words.
        findings: what speaks against it; one at level hold keeps the lesion from going out.
        distances_mm: of each measure that was fitted, by its name, to the place that they voted for.
    """

    flag: FlaggedLesion
    ct_from_mr: Rigid
    anatomical_ct_from_mr: Rigid
    uncertainty_mm: float
    disagreement_mm: float | None
    method: str
    findings: tuple[Finding, ...] = ()
    distances_mm: Mapping[str, float] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether a person must act before this lesion may go out."""
        return holds(self.findings)

    @property
    def centroid_ct_mm(self) -> Points:
        """``(3,)``, centre of mass in the CT's frame."""
        return self.ct_from_mr.apply(self.flag.centroid_mm)
