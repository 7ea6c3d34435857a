"""Points from a table: a CSV among the inputs with a row for each place that a reader marked.

Columns, in any order, the separator a comma or a semicolon, numbers with a decimal point, text in UTF-8:

* ``label``: the reader's words; may be empty.
* ``x_mm``, ``y_mm``, ``z_mm`` and ``frame``: patient coordinates (LPS) and the Frame of Reference UID they are in; or
* ``column``, ``row`` and ``image_uid``, or ``series_uid`` and ``instance_number``: a voxel, counted from 0, of the
  image with that SOP Instance UID, or with that InstanceNumber in that series; ``frame_number`` (from 1) of a
  multi-frame image.
* ``site``: a site key of the protocol or words such as a label has; ``side``: ``left``, ``right`` or ``midline``, or
  words; ``tracking_uid``; ``comment``, which is not read. All may be left out.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from psdt_planner.dicom import attributes
from psdt_planner.dicom.files import InputFile
from psdt_planner.dicom.flags import Flags, ImageIndex, Marked, epi_first, point
from psdt_planner.dicom.planes import plane_of_image
from psdt_planner.errors import InputError
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedPoint, FlagSource

IN_MM = ("x_mm", "y_mm", "z_mm", "frame")
IN_VOXELS = ("column", "row", "image_uid", "series_uid", "instance_number", "frame_number")
COLUMNS = ("label", *IN_MM, *IN_VOXELS, "site", "side", "tracking_uid", "comment")

Row = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class TableIn:
    """What one CSV says, and the file that it is."""

    flags: Flags
    file: InputFile | None = None


class _RowError(Exception):
    """A row that tells no place, with the code of its finding."""

    def __init__(self, message: str, code: str = "csv-unreadable") -> None:
        super().__init__(message)
        self.code = code


def read_table(path: Path, images: ImageIndex, first: int) -> TableIn:
    """The rows of one CSV as points numbered from ``first``.

    A CSV without our columns is the warning ``file-unreadable``. One whose columns or a row of which cannot be used is
    ``csv-unreadable``; a place on an image or in a frame that is not among the inputs is ``flag-source-absent`` or
    ``flag-frame-unknown``; all at level hold, with the line.
    """
    content = path.read_bytes()
    source = FlagSource("", f"sha256:{hashlib.sha256(content).hexdigest()}", 0)
    try:
        rows = _rows(content)
    except _RowError as error:
        finding = Finding(error.code, Level.WARN, f"{path.name} was left out: {error}")
        if error.code != "file-unreadable":
            finding = Finding(error.code, Level.HOLD, f"{path.name}: {error}")
        return TableIn(Flags((), (finding,), int(finding.level is Level.HOLD)))
    points: list[FlaggedPoint] = []
    findings: list[Finding] = []
    for offset, (line, row) in enumerate(rows):
        item, identity = FlagSource("", source.sop_instance_uid, line), f"L{first + offset}"
        try:
            marked, found = _point(row, images, item, identity)
        except _RowError as error:
            findings.append(Finding(error.code, Level.HOLD, f"{path.name}, line {line}: {error}", lesion=identity))
        else:
            points.append(marked)
            findings += found
    file = InputFile(path.name, source.sop_instance_uid.removeprefix("sha256:"), "", "", "")
    return TableIn(Flags((), tuple(findings), len(rows), tuple(points)), file)


def _rows(content: bytes) -> list[tuple[int, Row]]:
    """The rows that are not empty, each with its line.

    Raises:
        _RowError: no table of ours, or one with a column that nobody knows.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _RowError("a CSV that is not UTF-8", "file-unreadable") from None
    separator = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=separator, restval="", restkey="")
    columns = [(name or "").strip() for name in reader.fieldnames or ()]
    if not (set(IN_MM[:3]) <= set(columns) or {"column", "row"} <= set(columns)):
        raise _RowError("a CSV without the columns x_mm, y_mm, z_mm or column, row", "file-unreadable")
    for name in columns:
        if name not in COLUMNS:
            (nearest,) = get_close_matches(name, COLUMNS, n=1, cutoff=0.0)
            raise _RowError(f"unknown column {name!r}; the nearest known column is {nearest}")
    if len(set(columns)) < len(columns):
        raise _RowError("a column that is there twice")
    reader.fieldnames = columns
    rows = [(reader.line_num, {name: (value or "").strip() for name, value in row.items() if name}) for row in reader]
    return [(line, row) for line, row in rows if any(row.values())]


def _point(row: Row, images: ImageIndex, source: FlagSource, identity: str) -> tuple[FlaggedPoint, list[Finding]]:
    in_mm = any(row.get(name) for name in IN_MM)
    if in_mm and any(row.get(name) for name in IN_VOXELS):
        raise _RowError("a place both in mm and in voxels")
    at, frame, series = _in_mm(row, images) if in_mm else _in_voxels(row, images)
    kind = images.kinds[series]
    if kind is Kind.PET:
        raise _RowError(f"marked on the PET series {series}, which is not mapped", "flag-on-pet")
    marked = Marked(row.get("label", ""), (), row.get("tracking_uid", ""), source, series, str(kind))
    return point(identity, marked, at, frame, site=row.get("site", ""), side=row.get("side", ""))


def _in_mm(row: Row, images: ImageIndex) -> tuple[Points, str, str]:
    frame = row.get("frame", "")
    if not frame:
        raise _RowError("coordinates without the frame of reference that they are in")
    at = np.array([_number(row, name) for name in IN_MM[:3]])
    series = [uid for uid in sorted(images.frames) if frame in images.frames[uid]]
    off_ct = [uid for uid in series if images.kinds[uid] not in (Kind.CT, Kind.PLANNING_CT)]
    if not series:
        raise _RowError(f"no image among the inputs is in the frame {frame}", "flag-frame-unknown")
    return at, frame, epi_first(off_ct or series, images)[0]


def _in_voxels(row: Row, images: ImageIndex) -> tuple[Points, str, str]:
    uid = row.get("image_uid", "") or _numbered(row, images)
    if uid not in images.headers:
        raise _RowError(f"the image {uid} is not among the inputs", "flag-source-absent")
    header = images.headers[uid]
    frame = attributes.text_or_empty(header.dataset, "FrameOfReferenceUID")
    if not frame:
        raise _RowError(f"the image {uid} names no frame of reference", "flag-frame-unknown")
    voxel = np.array([[_number(row, "column"), _number(row, "row")]])
    number = int(_number(row, "frame_number")) if row.get("frame_number") else 0
    try:
        (at,) = plane_of_image(header, number).mm_from_graphic(voxel + 0.5)
        size = [attributes.integer(header.dataset, name) for name in ("Columns", "Rows")]
    except InputError as error:
        raise _RowError(str(error)) from error
    if not ((voxel >= -0.5) & (voxel <= np.array(size) - 0.5)).all():
        raise _RowError(f"the voxel lies outside the image of {size[0]} columns and {size[1]} rows")
    return at, frame, images.series_of_image[uid]


def _numbered(row: Row, images: ImageIndex) -> str:
    """SOP Instance UID of the image that a series and an InstanceNumber name."""
    series, number = row.get("series_uid", ""), row.get("instance_number", "")
    if not (series and number):
        raise _RowError("a voxel needs image_uid, or series_uid and instance_number")
    if series not in images.kinds:
        raise _RowError(f"the series {series} is not among the inputs", "flag-source-absent")
    of_series = (uid for uid, of in images.series_of_image.items() if of == series)
    found = [
        uid for uid in of_series if attributes.text_or_empty(images.headers[uid].dataset, "InstanceNumber") == number
    ]
    if len(found) != 1:
        raise _RowError(f"{len(found)} images of series {series} have the number {number}")
    return found[0]


def _number(row: Row, name: str) -> float:
    try:
        value = float(row.get(name, ""))
    except ValueError:
        raise _RowError(f"{name} is {row.get(name, '')!r}, which is no number with a decimal point") from None
    if not np.isfinite(value):
        raise _RowError(f"{name} is not finite")
    return value


def tables_among(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The CSV files among files and folders, each once, in the order of their names."""
    inside = (file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]))
    tables = {file.resolve(): file for file in inside if file.suffix.lower() == ".csv" and file.is_file()}
    return tuple(sorted(tables.values(), key=lambda file: (file.name, str(file))))
