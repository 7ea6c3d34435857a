"""The content tree of a structured report, as far as it marks places: groups of coordinates and segments.

The tree is read as TID 1500 has it (TID 1410 and 1411 planar and volumetric groups, TID 1501 measurements), and
wherever else coordinates stand: some viewers put them below a measurement, or leave out what the template asks for.
Numbers that were measured are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from psdt_planner.dicom import attributes
from psdt_planner.dicom.kinds import KIND_OF_CLASS
from psdt_planner.errors import UnsupportedError
from psdt_planner.images import Kind

MEASUREMENT_GROUP = "125007"
TRACKING_IDENTIFIER, TRACKING_UID = "112039", "112040"
FINDING, SOURCE_SERIES = "121071", "121232"
FINDING_CATEGORY = ("276214006",)
FINDING_SITE = ("363698007", "G-C0E3")
LATERALITY = ("272741003", "G-C171")
"""Concept names, each by its code value; SNOMED CT, and the SRT codes that older objects carry."""

FREE_TEXT = "CORNERSTONEFREETEXT"
"""The code of a finding whose meaning is what the reader typed into a web viewer."""


@dataclass(frozen=True, eq=False)
class Graphic:
    """Coordinates as stated.

    Attributes:
        kind: GraphicType, such as ``POLYLINE`` or ``ELLIPSOID``.
        points: ``(N, 2)`` column and row on an image, 0.5 at the centre of the first pixel; or ``(N, 3)`` in mm.
        image_uid, frame_number: the image of 2-D points, empty where none is named, and its frame, 0 where none is.
        frame: Frame of Reference UID of 3-D points; empty for 2-D points.
    """

    kind: str
    points: NDArray[np.float64]
    image_uid: str = ""
    frame_number: int = 0
    frame: str = ""


@dataclass(frozen=True)
class SegmentReference:
    """Segments of a SEG; ``numbers`` may be empty, where the report names none."""

    sop_instance_uid: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Group:
    """One measurement group, or one container elsewhere that holds coordinates or segments.

    Attributes:
        number: from 1, in the order of the report.
        label: what the reader typed, else the Tracking Identifier, else the meaning of the finding.
        tracking_uid: empty where there is none.
        category, finding: code values; empty where there is none.
        sites: Finding Sites as items of an anatomic region, each with its laterality as a modifier.
        graphics: those of the group itself, else those that measurements were inferred from, each once.
        segments: the segments that it refers to.
        image_uids, series_uids: images and series that it names as its source.
    """

    number: int
    label: str
    tracking_uid: str
    category: str
    finding: str
    sites: tuple[Dataset, ...]
    graphics: tuple[Graphic, ...]
    segments: tuple[SegmentReference, ...]
    image_uids: tuple[str, ...]
    series_uids: tuple[str, ...]


def read_groups(ds: Dataset) -> tuple[Group, ...]:
    """The groups of a report, in its order; none where it marks nothing.

    Raises:
        MissingAttributeError: coordinates without their type or numbers.
        UnsupportedError: coordinates that are no numbers, or no pairs or triples.
    """
    return tuple(_group(container, number) for number, container in enumerate(_containers(ds), start=1))


def _children(item: Dataset) -> tuple[Dataset, ...]:
    return attributes.items_if_any(item, "ContentSequence")


def _type(item: Dataset) -> str:
    return attributes.text_or_empty(item, "ValueType")


def _concept(item: Dataset) -> str:
    return next((_code(code) for code in attributes.items_if_any(item, "ConceptNameCodeSequence")), "")


def _code(code: Dataset) -> str:
    return attributes.text_or_empty(code, "CodeValue")


def _containers(ds: Dataset) -> Iterator[Dataset]:
    """Measurement groups, and other containers that hold coordinates or segments outside any of these."""
    if _concept(ds) == MEASUREMENT_GROUP:
        yield ds
        return
    if any(_marks(item) for item in _below(ds)):
        yield ds
    for item in _children(ds):
        if _type(item) == "CONTAINER":
            yield from _containers(item)


def _below(container: Dataset, *, through: bool = False) -> Iterator[Dataset]:
    """Everything below a container, down to other containers or through these."""
    for item in _children(container):
        if _type(item) != "CONTAINER":
            yield item
        if through or _type(item) != "CONTAINER":
            yield from _below(item, through=through)


def _marks(item: Dataset) -> bool:
    if _type(item) in ("SCOORD", "SCOORD3D"):
        return True
    segment = _segment_reference(item)
    return segment is not None and bool(segment.numbers)


def _group(container: Dataset, number: int) -> Group:
    own = [item for item in _children(container) if _type(item) != "CONTAINER"]
    texts = {_concept(item): item for item in own}
    finding = _coded(texts, FINDING)
    typed = attributes.text_or_empty(finding, "CodeMeaning") if _code(finding) == FREE_TEXT else ""
    tracking = attributes.text_or_empty(texts.get(TRACKING_IDENTIFIER, Dataset()), "TextValue")
    everything = list(_below(container, through=_concept(container) == MEASUREMENT_GROUP))
    return Group(
        number=number,
        label=typed or tracking or attributes.text_or_empty(finding, "CodeMeaning"),
        tracking_uid=attributes.text_or_empty(texts.get(TRACKING_UID, Dataset()), "UID"),
        category=_code(_coded(texts, *FINDING_CATEGORY)),
        finding=_code(finding),
        sites=tuple(_site(item) for item in own if _concept(item) in FINDING_SITE and _type(item) == "CODE"),
        graphics=_graphics(own) or _graphics(everything),
        segments=tuple(one for item in everything if (one := _segment_reference(item)) is not None),
        image_uids=tuple(uid for item in own if _type(item) == "IMAGE" for uid in [_image(item)[0]] if uid),
        series_uids=tuple(attributes.text_or_empty(item, "UID") for item in own if _concept(item) == SOURCE_SERIES),
    )


def _coded(items: dict[str, Dataset], *concepts: str) -> Dataset:
    """The code of the first of these concepts that is there; an empty item without one."""
    for concept in concepts:
        for code in attributes.items_if_any(items.get(concept, Dataset()), "ConceptCodeSequence"):
            return code
    return Dataset()


def _site(item: Dataset) -> Dataset:
    """A Finding Site as an item of AnatomicRegionSequence would be."""
    region = deepcopy(next(iter(attributes.items_if_any(item, "ConceptCodeSequence")), Dataset()))
    sides = [child for child in _children(item) if _concept(child) in LATERALITY]
    region.AnatomicRegionModifierSequence = [
        code for side in sides for code in attributes.items_if_any(side, "ConceptCodeSequence")
    ]
    return region


def _graphics(items: list[Dataset]) -> tuple[Graphic, ...]:
    found: dict[tuple[str, bytes, str, int, str], Graphic] = {}
    for item in items:
        if _type(item) in ("SCOORD", "SCOORD3D"):
            one = _graphic(item)
            found.setdefault((one.kind, one.points.tobytes(), one.image_uid, one.frame_number, one.frame), one)
    return tuple(found.values())


def _graphic(item: Dataset) -> Graphic:
    flat = _type(item) == "SCOORD"
    stated = np.atleast_1d(np.asarray(attributes.value(item, "GraphicData", where="a content item"), dtype=np.float64))
    if stated.size % (2 if flat else 3) or not np.isfinite(stated).all():
        raise UnsupportedError("GraphicData holds no whole number of finite points")
    kind = attributes.text(item, "GraphicType", where="a content item").upper()
    if not flat:
        frame = attributes.text(item, "ReferencedFrameOfReferenceUID", where="a content item")
        return Graphic(kind, stated.reshape(-1, 3), frame=frame)
    images = [_image(child) for child in _children(item) if _type(child) == "IMAGE"]
    image_uid, frame_number = images[0] if images else ("", 0)
    return Graphic(kind, stated.reshape(-1, 2), image_uid, frame_number)


def _referenced(item: Dataset) -> Dataset:
    return next(iter(attributes.items_if_any(item, "ReferencedSOPSequence")), Dataset())


def _image(item: Dataset) -> tuple[str, int]:
    """SOP Instance UID and frame number of an IMAGE item; empty and 0 where it names none."""
    named = _referenced(item)
    frames = _integers(named, "ReferencedFrameNumber")
    return attributes.text_or_empty(named, "ReferencedSOPInstanceUID"), frames[0] if len(frames) == 1 else 0


def _segment_reference(item: Dataset) -> SegmentReference | None:
    named = _referenced(item)
    if KIND_OF_CLASS.get(attributes.text_or_empty(named, "ReferencedSOPClassUID")) is not Kind.SEG:
        return None
    uid = attributes.text_or_empty(named, "ReferencedSOPInstanceUID")
    return SegmentReference(uid, _integers(named, "ReferencedSegmentNumber"))


def _integers(ds: Dataset, keyword: str) -> tuple[int, ...]:
    return tuple(int(one) for one in attributes.text_or_empty(ds, keyword).split("\\") if one.strip().isdigit())
