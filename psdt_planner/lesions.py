"""Lesions: what the reader flagged, where it was flagged, and where it is on the planning CT."""

from __future__ import annotations

from collections.abc import Mapping
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
    """The object and the item in it that a flag was read from: SEG segment number or RTSTRUCT ROI number."""

    sop_class_uid: str
    sop_instance_uid: str
    item: int


@dataclass(frozen=True, eq=False)
class FlaggedLesion:
    """What the reader marked, where it was marked; never edited.

    Attributes:
        id: ``L1``, ``L2``, ... stable for the same input.
        label: the reader's words.
        site: site key of the protocol (``spine``, ``bone``, ``pelvic-node``, ``paraaortic-node``, ``prostate``), or
            ``unknown``; ``site_source`` tells whether a code or the label said so.
        side: side of the body as flagged.
        tracking_uid: the lesion's identity over time; empty where the object has none.
        grid: lattice of the mask in the frame it was drawn in, cropped to the lesion with an empty border.
        mask: ``float32`` in 0..1, shape ``grid.shape``.
        mask_kind: how to read the mask's numbers.
        source: the object it was read from.
        series_uid: SeriesInstanceUID of the images it was drawn on; empty where the object names none.
        drawn_on_kind: what those images are, as the value of their ``Kind`` (``dwi-trace``, ``adc``, ``t1``); empty
            where they are unknown.

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
