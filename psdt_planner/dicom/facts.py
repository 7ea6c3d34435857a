"""What one object says about where it belongs, read when it comes in: kind, b-values, references, frames, patient."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from pydicom import Dataset

from psdt_planner.case import Facts, keyed_hash
from psdt_planner.dicom.attributes import items_if_any, text_or_empty
from psdt_planner.dicom.files import UNREADABLE, Header, InputFile, quiet, read_header
from psdt_planner.dicom.patients import Patient, patient_of
from psdt_planner.dicom.references import Reference, references
from psdt_planner.dicom.series import Series, group
from psdt_planner.errors import InputError
from psdt_planner.images import Kind

OF_FRAMES = frozenset({"registers frame", "deforms frame", "contours in frame"})
OF_OBJECTS = frozenset({"uses structure set", "doses plan"})
UNREADABLE_FACTS = Facts(str(Kind.OTHER))
IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")


def read_facts(path: Path, salt: bytes) -> Facts:
    """The facts of a DICOM file; those of kind ``other`` and no more where it cannot be read.

    Args:
        salt: key of the hashes that stand for the patient.
    """
    with quiet():
        try:
            header = _header(path)
            series, _nameless = group([header])
            return _facts(series[0], header, salt) if series else UNREADABLE_FACTS
        except (*UNREADABLE, InputError):
            return UNREADABLE_FACTS


def _header(path: Path) -> Header:
    ds = read_header(path)
    uids = [text_or_empty(ds, keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")]
    return Header(ds, path, InputFile(path.name, "", *uids))


def _facts(series: Series, header: Header, salt: bytes) -> Facts:
    ds, patient, named = header.dataset, patient_of(header), references(series)
    return Facts(
        kind=str(series.kind),
        b_values_s_per_mm2=tuple(sorted({b.s_per_mm2 for b in series.b_values.values()})),
        day=_day(text_or_empty(ds, "StudyDate")),
        frames=tuple(sorted({text_or_empty(ds, "FrameOfReferenceUID"), *_to(named, OF_FRAMES)} - {""})),
        series=tuple(sorted({one.to_uid for one in named if one.what not in OF_FRAMES | OF_OBJECTS})),
        objects=tuple(sorted(_to(named, OF_OBJECTS))),
        name=keyed_hash(salt, *_called(patient)),
        born=keyed_hash(salt, patient.birth_date),
        was=keyed_hash(salt, *_before(ds)),
    )


def _to(named: tuple[Reference, ...], what: frozenset[str]) -> set[str]:
    return {one.to_uid for one in named if one.what in what}


def _day(text: str) -> int | None:
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:  # sent empty, or as something else
        return None


def _called(patient: Patient) -> tuple[str, ...]:
    """Family and given name: middle names, titles and degrees come and go between systems."""
    return tuple(patient.name.split("^")[:2])


def _before(ds: Dataset) -> tuple[str, ...]:
    """The patient's identity as it was before somebody on the way here changed it; empty where nobody did.

    Original Attributes Sequence (PS3.3 C.12.1.1.9) holds attributes as they were; one that has the value of now was
    not changed.
    """
    return tuple(
        f"{keyword}={before}"
        for item in items_if_any(ds, "OriginalAttributesSequence")
        for modified in items_if_any(item, "ModifiedAttributesSequence")
        for keyword, before in _stated(modified)
        if before != text_or_empty(ds, keyword)
    )


def _stated(ds: Dataset) -> Iterator[tuple[str, str]]:
    return ((keyword, text_or_empty(ds, keyword)) for keyword in IDENTITY if keyword in ds)
