"""What refers to what: from an object to the series, frames or objects that it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset

from psdt_planner.dicom.attributes import items_if_any, text_or_empty
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.series import Series
from psdt_planner.errors import InputError
from psdt_planner.images import Kind


@dataclass(frozen=True, order=True)
class Reference:
    """``from_uid`` (SOP Instance UID) names ``to_uid`` (series, frame of reference or SOP instance) as ``what``."""

    from_uid: str
    to_uid: str
    what: str


def references(series: Series) -> tuple[Reference, ...]:
    """The references of the objects of a series, each once, in order; none of an object that cannot be decoded."""
    found = {reference for header in series.headers for reference in _of_object(series.kind, header)}
    return tuple(sorted(found))


def _of_object(kind: Kind, header: Header) -> set[Reference]:
    try:
        named = set(_named(kind, header.dataset))
    except InputError:  # whoever reads the object itself says that it cannot be decoded
        return set()
    return {Reference(header.file.sop_instance_uid, to_uid, what) for to_uid, what in named if to_uid}


def _named(kind: Kind, ds: Dataset) -> Iterator[tuple[str, str]]:
    if kind is Kind.SEG:
        for item in items_if_any(ds, "ReferencedSeriesSequence"):
            yield text_or_empty(item, "SeriesInstanceUID"), "segments series"
    elif kind is Kind.RTSTRUCT:
        yield from _structure_set(ds)
    elif kind is Kind.REGISTRATION:
        yield from _registration(ds)
    elif kind is Kind.SR:
        for study in items_if_any(ds, "CurrentRequestedProcedureEvidenceSequence"):
            for item in items_if_any(study, "ReferencedSeriesSequence"):
                yield text_or_empty(item, "SeriesInstanceUID"), "reports on series"
    else:
        for item in items_if_any(ds, "ReferencedStructureSetSequence"):
            yield text_or_empty(item, "ReferencedSOPInstanceUID"), "uses structure set"
        for item in items_if_any(ds, "ReferencedRTPlanSequence"):
            yield text_or_empty(item, "ReferencedSOPInstanceUID"), "doses plan"


def _registration(ds: Dataset) -> Iterator[tuple[str, str]]:
    for item in items_if_any(ds, "RegistrationSequence"):
        yield text_or_empty(item, "FrameOfReferenceUID"), "registers frame"
    for item in items_if_any(ds, "DeformableRegistrationSequence"):
        yield text_or_empty(item, "SourceFrameOfReferenceUID"), "deforms frame"


def _structure_set(ds: Dataset) -> Iterator[tuple[str, str]]:
    for frame in items_if_any(ds, "ReferencedFrameOfReferenceSequence"):
        yield text_or_empty(frame, "FrameOfReferenceUID"), "contours in frame"
        for study in items_if_any(frame, "RTReferencedStudySequence"):
            for item in items_if_any(study, "RTReferencedSeriesSequence"):
                yield text_or_empty(item, "SeriesInstanceUID"), "contours on series"
