"""What flags of every kind share: the images that they may have been drawn on, and how a mask becomes a lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from scipy import ndimage

from psdt_planner.dicom.files import Header
from psdt_planner.dicom.kinds import DIFFUSION_KINDS
from psdt_planner.dicom.sites import UNKNOWN, Place, place, stated_place
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint, FlagSource, MaskKind, Side, covering, todo

PLANE_TOLERANCE_MM = 0.1
"""How far a contour or a segmented frame may lie from the slice that it was drawn on; text rounds to 0.01 mm."""

PARALLEL_TOLERANCE = 1e-4
"""How far the direction of two normals may differ for their planes to count as parallel."""


OVERLAP_PART = 0.5
"""Two flags that share more than this part of the smaller may be one lesion."""

LESIONS = {code.value for code in (
    codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion, codes.SCT.Neoplasm, codes.SCT.NeoplasmPrimary,
    codes.SCT.NeoplasmSecondary, codes.SCT.Metastasis, codes.SCT.Mass, codes.SCT.Nodule, codes.SCT.GrossTumorVolume,
)} | {"M-01000", "M-01100", "M-8FFFF", "M-80003", "M-80006", "M-03000", "M-03010"}  # fmt: skip
"""Categories and types, or findings, of a flag: SNOMED CT, and the SRT codes that older objects carry."""

ANATOMY = {code.value for code in (codes.SCT.AnatomicalStructure, codes.SCT.BodyStructure, codes.SCT.Organ)} | {
    "272673000",
    "T-D000A",
}
"""Categories of what belongs to the body: anatomical or body structure, organ, bone."""

NOT_MR = (Kind.CT, Kind.PLANNING_CT, Kind.PET, Kind.OTHER)
"""Images that are no MR, or of nothing known."""

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
        headers: every image by SOP Instance UID.
        segments: SOP Instance UID and segment number of every segment of the SEGs among the inputs.
    """

    kinds: Mapping[str, Kind] = field(default_factory=dict)
    frames: Mapping[str, frozenset[str]] = field(default_factory=dict)
    grids: Mapping[str, tuple[Grid, ...]] = field(default_factory=dict)
    series_of_image: Mapping[str, str] = field(default_factory=dict)
    planning_ct_uid: str = ""
    headers: Mapping[str, Header] = field(default_factory=dict)
    segments: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, eq=False)
class Flags:
    """What one object flags: lesions and points, the findings, and how many items it has, readable or not."""

    lesions: tuple[FlaggedLesion, ...] = ()
    findings: tuple[Finding, ...] = ()
    items: int = 0
    points: tuple[FlaggedPoint, ...] = ()


@dataclass(frozen=True, eq=False)
class SegmentNote:
    """What a report says of a segment of a SEG: coded places, Tracking UID, and the reader's words."""

    regions: tuple[Dataset, ...] = ()
    tracking_uid: str = ""
    label: str = ""


NO_NOTES: Mapping[tuple[str, int], SegmentNote] = MappingProxyType({})
"""Of segments, by SOP Instance UID of the SEG and segment number."""


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
        rule: what made the mask where no person drew it; empty where nothing is said.
    """

    label: str
    regions: Sequence[Dataset]
    tracking_uid: str
    source: FlagSource
    series_uid: str = ""
    drawn_on_kind: str = ""
    rule: str = ""


def epi_first(series: Sequence[str], images: ImageIndex) -> list[str]:
    """Series UIDs, those of EPI before others: a flag that may have been drawn on either may lie where EPI shifted it.

    The order is otherwise kept.
    """
    return sorted(series, key=lambda uid: images.kinds[uid] not in EPI_KINDS)


def why_no_flag(what: str, category: str, kind_code: str, kind: Kind | None) -> str:
    """Why ``what`` (such as ``the segment 'Liver'``) is taken for no flag; empty where it is one.

    What is coded as a part of the body is an organ; so may be whatever was drawn on a CT and is not coded as a lesion.
    ``category`` and ``kind_code`` are code values, ``kind`` is what the images are.
    """
    if {category, kind_code} & LESIONS:
        return ""
    if category in ANATOMY:
        return f"{what} is coded as a part of the body, not as a lesion"
    if kind in (Kind.PLANNING_CT, Kind.CT):
        return f"{what} was drawn on a CT and is not coded as a lesion"
    return ""


def lesion(
    identity: str, marked: Marked, grid: Grid, mask: NDArray[np.float32], kind: MaskKind
) -> tuple[FlaggedLesion, list[Finding]]:
    """The lesion of a mask on its grid; ``lesion-site-contradictory`` about its site."""
    where = place(marked.regions, marked.label)
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
        side_source=where.side_source,
        rule=marked.rule,
        site_code=where.code,
        level=where.level,
    )
    return flagged, _about_place(identity, where)


def point(
    identity: str, marked: Marked, point_mm: Points, frame: str, *, site: str = "", side: str = ""
) -> tuple[FlaggedPoint, list[Finding]]:
    """A marked place without an extent, and the same finding about its site.

    ``site`` and ``side`` are words of their own for these, which go before the label.
    """
    where = stated_place(marked.regions, marked.label, site, side)
    x, y, z = (float(mm) for mm in point_mm)
    flagged = FlaggedPoint(
        id=identity,
        label=marked.label,
        site=where.site,
        site_source=where.source,
        side=where.side,
        tracking_uid=marked.tracking_uid,
        point_mm=(x, y, z),
        frame=frame,
        source=marked.source,
        series_uid=marked.series_uid,
        drawn_on_kind=marked.drawn_on_kind,
        side_source=where.side_source,
    )
    return flagged, _about_place(identity, where)


def _about_place(identity: str, where: Place) -> list[Finding]:
    if not where.contradictory:
        return []
    coded = "another part of the body" if where.site == UNKNOWN else where.site
    message = f"{identity}: the code says {coded}, its label otherwise; the code is used"
    return [Finding("lesion-site-contradictory", Level.WARN, message, lesion=identity)]


def _site_unknown(identity: str) -> Finding:
    message = f"{identity}: neither a code nor the label tells clearly where in the body it lies"
    return Finding("lesion-site-unknown", Level.WARN, message, lesion=identity)


def together(
    flags: Sequence[FlaggedLesion], points: Sequence[FlaggedPoint]
) -> tuple[tuple[FlaggedLesion, ...], list[Finding]]:
    """The flags of one exam with what the points within them add, and what flags and points say of each other.

    A flag without a site or side takes those of the points that it stands for, where they agree. Findings: those of
    `compared` and `about_points`; ``lesion-site-from-point`` (info), ``lesion-points-differ`` (warn); and
    ``lesion-site-unknown`` (warn) of what is left without a site.
    """
    by_flag: dict[str, list[FlaggedPoint]] = {}
    for one in points:
        if (by := covering(one, flags)) is not None:
            by_flag.setdefault(by.id, []).append(one)
    covered = {one.id for some in by_flag.values() for one in some}
    findings = [*compared(flags), *about_points(points, flags)]
    made = []
    for flag in flags:
        flagged, found = _with_points(flag, by_flag.get(flag.id, ()))
        made.append(flagged)
        findings += found
    left: list[FlaggedLesion | FlaggedPoint] = [*made, *(one for one in points if one.id not in covered)]
    findings += [_site_unknown(one.id) for one in left if one.site == UNKNOWN]
    return tuple(made), findings


def _with_points(flag: FlaggedLesion, points: Sequence[FlaggedPoint]) -> tuple[FlaggedLesion, list[Finding]]:
    """The flag with the site and side of the points within it, where it has none and they agree."""
    findings, by = [], ", ".join(one.id for one in points)
    sites = {one.site for one in points} - {UNKNOWN}
    sides = {one.side for one in points} - {Side.UNKNOWN}
    if len(sites) == 1 and flag.site == UNKNOWN and not flag.site_code:
        flag = replace(flag, site=sites.pop(), site_source="point")
        message = f"{flag.id}: {flag.site} by the point within it ({by})"
        findings.append(Finding("lesion-site-from-point", Level.INFO, message, lesion=flag.id))
    if len(sides) == 1 and flag.side is Side.UNKNOWN:
        flag = replace(flag, side=sides.pop(), side_source="point")
    for what, own, told in (("site", flag.site, sites), ("side", flag.side.value, {side.value for side in sides})):
        if told - {own}:
            kept = f"{own} is kept" if own != UNKNOWN else "none is taken"
            message = f"{flag.id}: points within it ({by}) name another {what} ({', '.join(sorted(told))}); {kept}"
            findings.append(Finding("lesion-points-differ", Level.WARN, message, lesion=flag.id))
    return flag, findings


def about_points(points: Sequence[FlaggedPoint], flags: Sequence[FlaggedLesion]) -> list[Finding]:
    """What is to be done about each point: ``flag-point`` (hold) until a flag has its Tracking UID or contains it.

    Of a point within a flag, ``flag-point-covered`` (info).
    """
    findings = []
    for one in points:
        by = covering(one, flags)
        if by is not None:
            message = f"{one.id} is a point within {by.id}, which stands for it"
            findings.append(Finding("flag-point-covered", Level.INFO, message, lesion=by.id))
            continue
        message = f"{one.id} {one.label!r} is a point and has no extent; {todo(one, ())}"
        findings.append(Finding("flag-point", Level.HOLD, message, lesion=one.id))
    return findings


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


def at_edge(flags: Sequence[FlaggedLesion], images: ImageIndex) -> list[Finding]:
    """``flag-at-mr-edge`` (warn) of each flag that reaches the end of the MR: nobody saw whether it goes on there.

    That is where a voxel beside it, on its own lattice, lies in no MR volume of its frame.
    """
    mr = [grid for uid, some in images.grids.items() if images.kinds[uid] not in NOT_MR for grid in some]
    findings = []
    for flag in flags:
        volumes = [grid for grid in mr if grid.frame == flag.grid.frame]
        if volumes and (share := _unseen_part(flag, volumes)) > 0.0:
            message = f"{flag.id} reaches the edge of the MR, and may go on beyond it; {share:.0%} of its rim is there"
            findings.append(Finding("flag-at-mr-edge", Level.WARN, message, value=share, limit=0.0, lesion=flag.id))
    return findings


def _unseen_part(flag: FlaggedLesion, volumes: Sequence[Grid]) -> float:
    """The part of the voxels that share a face with the flag, and are not of it, whose centre is in no volume."""
    inside = np.pad(flag.mask > 0, 1)
    beside_mm = flag.grid.mm_from_index(np.argwhere(ndimage.binary_dilation(inside) & ~inside) - 1.0)
    return 1.0 - float(np.any([grid.contains(beside_mm) for grid in volumes], axis=0).mean())


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
