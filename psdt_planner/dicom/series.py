"""Series: which images belong together, what they are, and the volumes that they make."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydicom import Dataset
from pydicom.uid import CTImageStorage

from psdt_planner.dicom import attributes
from psdt_planner.dicom.bvalues import BValue, is_diffusion_marked, series_b_values
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.kinds import (
    DIFFUSION_KINDS,
    KIND_OF_CLASS,
    MAPPING_KINDS,
    is_localizer,
    is_map_by_words,
    is_unclear,
    mr_kind,
    says_diffusion,
)
from psdt_planner.dicom.multiframe import planes_or_reason
from psdt_planner.dicom.stacks import Irregularity, Slice, Stack, differences, read_slice, stack
from psdt_planner.errors import InputError
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind


@dataclass(frozen=True, eq=False)
class Series:
    """The objects of one SOP class in one series.

    Attributes:
        uid: SeriesInstanceUID.
        sop_class_uid: what the objects are.
        kind: what the series is.
        headers: ordered by SOP Instance UID.
        images: what they hold, one header a slice: frames and tiles of the objects that hold many, in their order.
        image_kinds: of an MR series, what each image is, in the same order; a series may mix them.
        b_values: of a diffusion series, by index into ``images``; an index that is absent has an unknown b-value.
        unread: why its objects cannot be taken apart into slices; empty where they can.
        unclear: how many images stem from diffusion images, though what they are cannot be told; none of them is used.
    """

    uid: str
    sop_class_uid: str
    kind: Kind
    headers: tuple[Header, ...]
    images: tuple[Header, ...]
    image_kinds: tuple[Kind, ...] = ()
    b_values: Mapping[int, BValue] = field(default_factory=dict)
    unread: str = ""
    unclear: int = 0

    @property
    def is_mr(self) -> bool:
        """Whether these are MR images."""
        return KIND_OF_CLASS.get(self.sop_class_uid) is Kind.MR_OTHER

    @cached_property
    def frames(self) -> frozenset[str]:
        """The frames of reference that its objects name."""
        named = (attributes.text_or_empty(header.dataset, "FrameOfReferenceUID") for header in self.headers)
        return frozenset(frame for frame in named if frame)

    def text(self, keyword: str) -> str:
        """A text of the first object; empty where it has none."""
        return attributes.text_or_empty(self.headers[0].dataset, keyword)

    def as_planning_ct(self) -> Series:
        """The same series, chosen to plan on."""
        return replace(self, kind=Kind.PLANNING_CT)


@dataclass(frozen=True, eq=False)
class VolumeStack:
    """The images of one volume, with what the volume is.

    ``images`` are those at each slice of the stack; where there are several (directions of one b-value), their mean is
    meant.
    """

    kind: Kind
    b_value: BValue | None
    stack: Stack
    images: tuple[tuple[Header, ...], ...]


def group(headers: Iterable[Header]) -> tuple[tuple[Series, ...], tuple[Header, ...]]:
    """Headers by series, SOP class and localizer or not, in the order of these; and those without all their UIDs."""
    grouped: dict[tuple[str, str, bool], list[Header]] = defaultdict(list)
    nameless = []
    for header in headers:
        file = header.file
        if file.series_instance_uid and file.sop_class_uid and file.sop_instance_uid:
            localizer = is_localizer(header.dataset)
            grouped[(file.series_instance_uid, file.sop_class_uid, localizer)].append(header)
        else:
            nameless.append(header)
    series = tuple(_series(uid, sop_class, grouped[key]) for key in sorted(grouped) for uid, sop_class, _ in [key])
    return series, tuple(sorted(nameless, key=lambda header: (header.file.name, header.file.sha256)))


def _series(uid: str, sop_class: str, headers: Sequence[Header]) -> Series:
    ordered = tuple(sorted(headers, key=lambda header: header.file.sop_instance_uid))
    kind = KIND_OF_CLASS.get(sop_class, Kind.OTHER)
    if kind is not Kind.MR_OTHER:
        unread = "multi-frame CT is not read" if kind is Kind.CT and sop_class != CTImageStorage else ""
        return Series(uid, sop_class, kind, ordered, ordered, unread=unread)
    planes, unread = planes_or_reason(ordered)
    images = [header.dataset for header in planes]
    b_values = series_b_values(images)
    diffusion = any(b.s_per_mm2 > 0 for b in b_values.values()) or any(
        is_diffusion_marked(image) or says_diffusion(image) for image in images
    )
    kinds = tuple(mr_kind(image, diffusion=diffusion) for image in images)
    unclear = _unclear(images, b_values) if diffusion else frozenset()
    kinds = tuple(Kind.MR_OTHER if index in unclear else kind for index, kind in enumerate(kinds))
    counts = Counter(kinds)
    kind = max(counts, key=lambda one: (counts[one], one))
    weighted = {index: b for index, b in b_values.items() if kinds[index] in (*DIFFUSION_KINDS, Kind.DWI_CALCULATED)}
    return Series(uid, sop_class, kind, ordered, planes, kinds, weighted, unread, len(unclear))


def _unclear(images: Sequence[Dataset], b_values: Mapping[int, BValue]) -> frozenset[int]:
    """Images of a diffusion series, by index, that may be measured or a map, and nothing tells which.

    A map has one b-value at most; original images at several, which their words call a map, contradict themselves.
    """
    by_words = [index for index, image in enumerate(images) if is_map_by_words(image)]
    several = len({b_values[index].s_per_mm2 for index in by_words if index in b_values}) > 1
    derived = {index for index, image in enumerate(images) if is_unclear(image)}
    return frozenset(derived | set(by_words if several else ()))


def stacks_of(series: Series) -> tuple[tuple[VolumeStack, ...], tuple[Finding, ...]]:
    """The volumes of a CT or MR series, one for each kind and b-value, and what is odd about them.

    Finding codes: those of `stacks.stack` after ``ct-``, ``mr-geometry``, ``b-value-unknown``, ``diffusion-unclear``,
    ``dwi-directions-averaged``, ``dwi-directions-uneven``, ``attribute-missing``. What an MR kind that planning does
    not use lacks is a warning.
    """
    try:
        slices = [read_slice(header) for header in series.images]
    except InputError as error:
        return (), (Finding("attribute-missing", _level(series.kind), f"series {series.uid}: {error}"),)
    if not series.is_mr:
        whole = stack(slices, axial=True)
        found = [_finding(series, series.kind, one) for one in whole.irregularities]
        return (VolumeStack(series.kind, None, whole, tuple((one.header,) for one in whole.slices)),), tuple(found)
    volumes: list[VolumeStack] = []
    findings = [
        *_unclear_images(series),
        *_unknown_b_values(series),
        *(_finding(series, series.kind, one) for one in differences(slices)),
    ]
    for key, members in sorted(_volumes(series, slices).items(), key=lambda item: _order(item[0])):
        volume, found = _mr_volume(series, key[0], key[1], members)
        volumes.append(volume)
        findings += found
    return tuple(volumes), tuple(dict.fromkeys(findings))


Key = tuple[Kind, BValue | None, str]


def _order(key: Key) -> tuple[str, float, str]:
    return key[0], -1.0 if key[1] is None else key[1].s_per_mm2, key[2]


def _volumes(series: Series, slices: Sequence[Slice]) -> dict[Key, list[Slice]]:
    """Slices by what makes them one volume: kind, b-value, and echo time where they are not diffusion weighted."""
    found: dict[tuple[Kind, float | None, str], list[int]] = defaultdict(list)
    for index, kind in enumerate(series.image_kinds):
        weighted = kind in (*DIFFUSION_KINDS, Kind.DWI_CALCULATED)
        b_value = series.b_values.get(index)
        if kind in DIFFUSION_KINDS and b_value is None:
            continue
        echo = "" if weighted else attributes.text_or_empty(series.images[index].dataset, "EchoTime")
        found[(kind, b_value.s_per_mm2 if weighted and b_value else None, echo)].append(index)
    return {
        (kind, series.b_values[members[0]] if b is not None else None, echo): [slices[index] for index in members]
        for (kind, b, echo), members in found.items()
    }


def _mr_volume(
    series: Series, kind: Kind, b_value: BValue | None, slices: Sequence[Slice]
) -> tuple[VolumeStack, list[Finding]]:
    places = _places(slices)
    counts = sorted({len(images) for images in places})
    findings = []
    if counts != [1] and kind in DIFFUSION_KINDS and b_value is not None:
        b = f"series {series.uid}, b = {b_value.s_per_mm2:g} s/mm2"
        if len(counts) == 1:
            message = f"{b}: the mean of {counts[0]} images a slice (directions or averages) is used"
            findings.append(Finding("dwi-directions-averaged", Level.INFO, message, value=float(counts[0])))
        else:
            message = f"{b}: {counts[0]} to {counts[-1]} images a slice, which make no mean image"
            findings.append(Finding("dwi-directions-uneven", _level(kind), message))
    else:
        places = [[one] for one in slices]
    whole = stack([images[0] for images in places], axial=False)
    findings += [_finding(series, kind, one) for one in whole.irregularities]
    by_first = {images[0].header.name: images for images in places}
    images = tuple(tuple(one.header for one in by_first[place.header.name]) for place in whole.slices)
    if any(finding.code == "dwi-directions-uneven" for finding in findings):
        whole = replace(whole, grid=None)
    return VolumeStack(kind, b_value, whole, images), findings


def _places(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices that lie at one place (to 0.01 mm) together, each place ordered by SOP Instance UID and plane."""
    at: dict[tuple[float, ...], list[Slice]] = defaultdict(list)
    for one in sorted(slices, key=lambda each: each.header.name):
        at[tuple(round(float(mm), 2) + 0.0 for mm in one.origin_mm)].append(one)
    return list(at.values())


def _level(kind: Kind) -> Level:
    return Level.HOLD if kind in (*MAPPING_KINDS, Kind.PLANNING_CT, Kind.CT) else Level.WARN


def _finding(series: Series, kind: Kind, odd: Irregularity) -> Finding:
    code = "mr-geometry" if series.is_mr else f"ct-{odd.name}"
    level = _level(kind) if odd.forbids else Level.WARN
    return Finding(code, level, f"series {series.uid}: {odd.message}", value=odd.value, limit=odd.limit, unit=odd.unit)


def _unclear_images(series: Series) -> list[Finding]:
    if not series.unclear:
        return []
    message = (
        f"series {series.uid} ({series.text('SeriesDescription') or 'no description'}): {series.unclear} of "
        f"{len(series.images)} images stem from diffusion images, and neither ImageType nor words tell whether they "
        "are b-images or a map; they are not used"
    )
    return [Finding("diffusion-unclear", Level.HOLD, message, value=float(series.unclear))]


def _unknown_b_values(series: Series) -> list[Finding]:
    unknown = sum(
        kind in DIFFUSION_KINDS and index not in series.b_values for index, kind in enumerate(series.image_kinds)
    )
    if not unknown:
        return []
    message = f"series {series.uid}: {unknown} of {len(series.images)} diffusion images tell no b-value"
    return [Finding("b-value-unknown", Level.HOLD, message, value=float(unknown))]
