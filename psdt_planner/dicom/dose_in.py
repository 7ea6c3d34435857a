"""RT Dose in: the dose of a whole course in Gy on its own lattice, or the reason why it is not to be used.

A wrong unit is worse than no dose. What is not an absolute, physical dose of whole plans is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.volumes import UNDECODED
from psdt_planner.errors import GeometryError, InputError, UnsupportedError
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind, Quantity, Volume

WHOLE_PLANS: Final = ("PLAN", "MULTI_PLAN")
"""DoseSummationType of a dose of all that one plan, or several, prescribe (PS3.3 C.8.8.3)."""

SAME_PLACE_MM: Final = 0.01
"""How far the first offset may lie from 0, or from the z of ImagePositionPatient, to count as it."""

ABSOLUTE_OFFSETS: Final = ((1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0))
"""ImageOrientationPatient with which GridFrameOffsetVector may hold z itself (PS3.3 C.8.8.3.2)."""


class DoseRefusedError(UnsupportedError):
    """A dose that is not used; ``code`` is that of the finding."""

    def __init__(self, code: str, message: str, *, where: str) -> None:
        super().__init__(message, where=where)
        self.code = code


@dataclass(frozen=True, eq=False)
class DoseIn:
    """One RT Dose as it was read.

    Attributes:
        volume: in Gy.
        uid: SOPInstanceUID.
        plan_uids: the RT Plans that it refers to, sorted.
    """

    volume: Volume
    uid: str
    plan_uids: tuple[str, ...]


def plans_of(ds: Dataset) -> tuple[str, ...]:
    """SOP Instance UIDs of the RT Plans that a dose refers to, sorted."""
    named = attributes.items_if_any(ds, "ReferencedRTPlanSequence")
    return tuple(sorted({attributes.text(item, "ReferencedSOPInstanceUID") for item in named}))


def summation(ds: Dataset) -> str:
    """DoseSummationType in capitals; empty where it is not stated."""
    return attributes.text_or_empty(ds, "DoseSummationType").upper()


def read_dose(header: Header) -> DoseIn:
    """The dose of one object.

    Raises:
        DoseRefusedError: ``earlier-dose-relative``, ``earlier-dose-summation``, ``earlier-dose-not-physical``,
            ``earlier-dose-geometry`` (offsets of slices that are neither relative nor absolute, one plane alone, a
            lattice that is none) or ``earlier-dose-unreadable`` (an attribute is missing, pixels that cannot be
            decoded or are negative).
    """
    ds, where = header.dataset, f"SOP Instance UID {header.file.sop_instance_uid}"
    try:
        _check_meaning(ds, where)
        grid = _grid(ds, where)
        volume = Volume(grid, _gray(header, grid), Quantity(Kind.RTDOSE, "Gy"), header.file.series_instance_uid)
        return DoseIn(volume, header.file.sop_instance_uid, plans_of(ds))
    except GeometryError as error:
        raise DoseRefusedError("earlier-dose-geometry", error.message, where=where) from error
    except DoseRefusedError:
        raise
    except InputError as error:
        raise DoseRefusedError("earlier-dose-unreadable", error.message, where=where) from error


def _check_meaning(ds: Dataset, where: str) -> None:
    units = attributes.text(ds, "DoseUnits", where=where).upper()
    if units != "GY":
        message = f"a dose in DoseUnits {units}: only GY is a dose that can be added up"
        raise DoseRefusedError("earlier-dose-relative", message, where=where)
    kind = attributes.text(ds, "DoseType", where=where).upper()
    if kind != "PHYSICAL":
        message = f"a dose of DoseType {kind}: only a PHYSICAL one can be turned into EQD2"
        raise DoseRefusedError("earlier-dose-not-physical", message, where=where)
    if summation(ds) not in WHOLE_PLANS:
        message = f"a dose of DoseSummationType {summation(ds) or 'nothing'}, which is not that of a whole plan"
        raise DoseRefusedError("earlier-dose-summation", message, where=where)


def _grid(ds: Dataset, where: str) -> Grid:
    cosines = attributes.numbers(ds, "ImageOrientationPatient", 6, where=where)
    row_mm, column_mm = attributes.numbers(ds, "PixelSpacing", 2, where=where)
    count = attributes.integer(ds, "NumberOfFrames", where=where) if attributes.has(ds, "NumberOfFrames") else 1
    if count < 2:
        raise GeometryError("a dose of one plane alone, whose thickness nobody stated", where=where)
    along_row, along_column = cosines.reshape(2, 3)
    return Grid(
        slice_origins_mm=_origins(ds, cosines, count, where),
        step_j_mm=along_column * row_mm,
        step_i_mm=along_row * column_mm,
        shape=(count, attributes.integer(ds, "Rows", where=where), attributes.integer(ds, "Columns", where=where)),
        frame=attributes.text(ds, "FrameOfReferenceUID", where=where),
    )


def _origins(ds: Dataset, cosines: Points, count: int, where: str) -> Points:
    """``(K, 3)``, from GridFrameOffsetVector: relative where it begins with 0, else z itself (PS3.3 C.8.8.3.2)."""
    first = attributes.numbers(ds, "ImagePositionPatient", 3, where=where)
    offsets = attributes.numbers(ds, "GridFrameOffsetVector", count, where=where)
    if abs(offsets[0]) <= SAME_PLACE_MM:
        return np.asarray(first + offsets[:, None] * np.cross(cosines[:3], cosines[3:]))
    axial = any(np.allclose(cosines, one, atol=1e-6) for one in ABSOLUTE_OFFSETS)
    if not axial or abs(offsets[0] - first[2]) > SAME_PLACE_MM:
        message = (
            f"GridFrameOffsetVector begins with {offsets[0]:g}: neither 0 nor, on axial slices, the z of "
            f"ImagePositionPatient ({first[2]:g})"
        )
        raise GeometryError(message, where=where)
    return np.column_stack([np.full(count, first[0]), np.full(count, first[1]), offsets])


def _gray(header: Header, grid: Grid) -> NDArray[np.float32]:
    """The dose in Gy, shape ``grid.shape``."""
    where = f"SOP Instance UID {header.file.sop_instance_uid}"
    scaling = attributes.number(header.dataset, "DoseGridScaling", where=where)
    try:
        stored = np.asarray(dcmread(header.path).pixel_array)
    except UNDECODED as error:
        raise UnsupportedError("the dose cannot be decoded", where=where) from error
    if stored.shape != grid.shape:
        raise UnsupportedError(f"a dose of shape {stored.shape} on a lattice of {grid.shape}", where=where)
    if scaling <= 0.0 or stored.min() < 0:
        raise UnsupportedError("a negative dose, or a DoseGridScaling that is not positive", where=where)
    return np.asarray(stored * scaling, dtype=np.float32)
