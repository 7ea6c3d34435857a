"""What flags of every kind share: the images that they may have been drawn on, and how a mask becomes a lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from psdt_planner.dicom.kinds import DIFFUSION_KINDS
from psdt_planner.dicom.sites import UNKNOWN, place
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind

PLANE_TOLERANCE_MM = 0.1
"""How far a contour or a segmented frame may lie from the slice that it was drawn on; text rounds to 0.01 mm."""

PARALLEL_TOLERANCE = 1e-4
"""How far the direction of two normals may differ for their planes to count as parallel."""


OVERLAP_PART = 0.5
"""Two flags that share more than this part of the smaller may be one lesion."""

EPI_KINDS = (*DIFFUSION_KINDS, Kind.ADC, Kind.DWI_CALCULATED)
"""Images that echo-planar reading distorts."""


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """The image series among the inputs, as far as other objects may refer to them.

    Attributes:
        kinds: by SeriesInstanceUID.
        frames: Frame of Reference UIDs by SeriesInstanceUID.
        grids: lattices of the volumes that could be read, by SeriesInstanceUID.
        series_of_image: SeriesInstanceUID by SOP Instance UID.
        planning_ct_uid: SeriesInstanceUID of the planning CT; empty where there is none.
    """

    kinds: Mapping[str, Kind] = field(default_factory=dict)
    frames: Mapping[str, frozenset[str]] = field(default_factory=dict)
    grids: Mapping[str, tuple[Grid, ...]] = field(default_factory=dict)
    series_of_image: Mapping[str, str] = field(default_factory=dict)
    planning_ct_uid: str = ""


@dataclass(frozen=True, eq=False)
class Flags:
    """What one object flags: the lesions, the findings, and how many items it has, readable or not."""

    lesions: tuple[FlaggedLesion, ...] = ()
    findings: tuple[Finding, ...] = ()
    items: int = 0


@dataclass(frozen=True, eq=False)
class Marked:
    """One flagged item before it has a lesion id.

    Attributes:
        label: the reader's words.
        regions: coded places, items of anatomic region or property type sequences.
        tracking_uid: empty where the object has none.
        source: the object and the item.
        series_uid: of the images that it was drawn on, among the inputs; empty where none of those that it names is.
        drawn_on_kind: value of their `Kind`; empty with ``series_uid``.
    """

    label: str
    regions: Sequence[Dataset]
    tracking_uid: str
    source: FlagSource
    series_uid: str = ""
    drawn_on_kind: str = ""


def epi_first(series: Sequence[str], images: ImageIndex) -> list[str]:
    """Series UIDs, those of EPI before others: a flag that may have been drawn on either may lie where EPI shifted it.

    The order is otherwise kept.
    """
    return sorted(series, key=lambda uid: images.kinds[uid] not in EPI_KINDS)


def lesion(
    identity: str, marked: Marked, grid: Grid, mask: NDArray[np.float32], kind: MaskKind
) -> tuple[FlaggedLesion, list[Finding]]:
    """The lesion of a mask on its grid; ``lesion-site-unknown`` or ``lesion-site-contradictory`` about its site."""
    where = place(marked.regions, marked.label)
    found = []
    if where.site == UNKNOWN:
        message = f"{identity}: neither a code nor the label tells clearly where in the body it lies"
        found.append(Finding("lesion-site-unknown", Level.WARN, message, lesion=identity))
    if where.contradictory:
        message = f"{identity}: the code says {where.site}, its label otherwise; the code is used"
        found.append(Finding("lesion-site-contradictory", Level.WARN, message, lesion=identity))
    flagged = FlaggedLesion(
        id=identity,
        label=marked.label,
        site=where.site,
        site_source=where.source,
        side=where.side,
        tracking_uid=marked.tracking_uid,
        grid=grid,
        mask=mask,
        mask_kind=kind,
        source=marked.source,
        series_uid=marked.series_uid,
        drawn_on_kind=marked.drawn_on_kind,
    )
    return flagged, found


def compared(flags: Sequence[FlaggedLesion]) -> list[Finding]:
    """What two flags have in common: ``flag-duplicate`` (hold, of each) by TrackingUID, ``flag-overlap`` (warn)."""
    findings = []
    for one, other in combinations(flags, 2):
        if one.tracking_uid and one.tracking_uid == other.tracking_uid:
            message = f"{one.id} and {other.id} are flagged under the same Tracking UID {one.tracking_uid}"
            findings += [Finding("flag-duplicate", Level.HOLD, message, lesion=flag.id) for flag in (one, other)]
            continue
        share = round(shared_part(one, other), 6)
        if share > OVERLAP_PART:
            message = f"{one.id} and {other.id} share {share:.0%} of the smaller: perhaps one lesion flagged twice"
            findings.append(
                Finding("flag-overlap", Level.WARN, message, value=share, limit=OVERLAP_PART, lesion=other.id)
            )
    return list(dict.fromkeys(findings))


def shared_part(one: FlaggedLesion, other: FlaggedLesion) -> float:
    """Part of the smaller flag that lies within the other, 0..1; by the centres of its voxels, 0 in two frames."""
    if one.grid.frame != other.grid.frame:
        return 0.0
    small, large = sorted((one, other), key=lambda flag: flag.volume_ml)
    inside = np.argwhere(small.mask)
    at = np.rint(large.grid.index_from_mm(small.grid.mm_from_index(inside))).astype(int)
    within = ((at >= 0) & (at < large.grid.shape)).all(axis=1)
    own = small.mask[tuple(inside.T)]
    volumes_ml = small.grid.voxel_volumes_ml[inside[:, 0]]
    met = np.minimum(own[within], large.mask[tuple(at[within].T)]) * volumes_ml[within]
    return float(met.sum() / (own * volumes_ml).sum())


def held(code: str, message: str, source: FlagSource, identity: str = "") -> Finding:
    """A finding that holds, about an item of an object."""
    item = f" item {source.item}" if source.item else ""
    return Finding(code, Level.HOLD, f"SOP Instance UID {source.sop_instance_uid}{item}: {message}", lesion=identity)


def plane_offsets_mm(grid: Grid, normal: Points) -> Points:
    """``(K,)`` ascending, where the slices of a grid lie along ``normal``; empty where its slices are not parallel."""
    if 1.0 - abs(float(grid.normal @ normal)) > PARALLEL_TOLERANCE**2:
        return np.empty(0)
    return np.sort(grid.slice_origins_mm @ normal)


def on_planes(offsets_mm: Points, planes_mm: Points) -> bool:
    """Whether every offset lies on one of the planes, to `PLANE_TOLERANCE_MM`."""
    if not planes_mm.size:
        return False
    return bool(np.abs(offsets_mm[:, None] - planes_mm[None, :]).min(axis=1).max() <= PLANE_TOLERANCE_MM)
