"""Files in: every header with its hash, in any order and nesting; what cannot be read is named and does no harm."""

from __future__ import annotations

import gc
import hashlib
import os
import struct
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, FileDataset, config, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from psdt_planner.dicom.attributes import UNDECODABLE, text_or_empty
from psdt_planner.dicom.plain_headers import read_plain
from psdt_planner.errors import InputError
from psdt_planner.findings import Finding, Level

UNREADABLE = (*UNDECODABLE, InvalidDicomError, EOFError, OSError, zlib.error, RecursionError, MemoryError)
"""What reading bytes that are no sound DICOM file raises."""

PIXEL_ELEMENTS = {(0x7FE0, 0x0008): 4, (0x7FE0, 0x0009): 8, (0x7FE0, 0x0010): 4}
PIXEL_DATA = (0x7FE0, 0x0010)
SEQUENCE_DELIMITER = (0xFFFE, 0xE0DD)
ITEM = (0xFFFE, 0xE000)
UNDEFINED_LENGTH = 0xFFFFFFFF

READ_BYTES = 1 << 15
"""What is read of a file at once: more than most headers, so that what begins their pixels is there with them."""


@dataclass(frozen=True)
class InputFile:
    """One file that came in: its name without the folder, the hash of its bytes, and the object that it holds.

    UIDs are empty where the object does not state them.
    """

    name: str
    sha256: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, eq=False)
class Header:
    """A DICOM object without its pixels, and the file to get them from.

    ``rivals`` are the files that hold the same instance with other bytes. Of one plane of an object that holds many,
    ``plane`` is its number from 0 among the object's frames or tiles, and ``dataset`` is what the object says of it.
    ``pixels_at`` is where in the file its pixels begin, where they are neither compressed nor deflated.
    """

    dataset: Dataset
    path: Path
    file: InputFile
    rivals: tuple[InputFile, ...] = ()
    plane: int | None = None
    pixels_at: int | None = None

    @property
    def name(self) -> tuple[str, int]:
        """SOP Instance UID and number of the plane: what tells any two images apart, and orders them."""
        return self.file.sop_instance_uid, -1 if self.plane is None else self.plane


@contextmanager
def quiet() -> Iterator[None]:
    """While objects of other people are read: pydicom neither judges nor prints their values.

    Its warnings carry values, and values may be patient data. What matters about a value is checked by the getters.
    """
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def uncollected() -> Iterator[None]:
    """While many objects are made that all stay: Python would look through them for garbage again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def read_headers(
    paths: Sequence[Path], *, progress: Callable[[int, int], None] | None = None
) -> tuple[tuple[Header, ...], tuple[Finding, ...]]:
    """Every DICOM object below the paths, once, ordered by its UIDs whatever the order of files.

    An instance that came twice with the same bytes counts once; with other bytes it is the finding
    ``duplicate-conflicting`` and one copy stands for it. Garbage, truncated and empty files are findings
    ``file-unreadable``. Tables (``.csv``) are passed over: whoever reads them says so.

    Raises:
        InputError: a path does not exist.
    """
    files = [path for path in _walk(paths) if path.suffix.lower() != ".csv"]
    headers: list[Header] = []
    findings: list[Finding] = []
    # Hashes are made beside: hashing needs no part of Python's own lock.
    with quiet(), uncollected(), warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        digests = [pool.submit(_sha256, path) for path in files]
        for done, (path, digest) in enumerate(zip(files, digests, strict=True), start=1):
            try:
                caught.clear()
                dataset, pixels_at = _parse(path, caught)
                file = _input_file(path.name, digest.result(), dataset)
            except UNREADABLE as error:
                findings.append(_unreadable(path, error))
            else:
                headers.append(Header(dataset, path, file, pixels_at=pixels_at))
            if progress is not None:
                progress(done, len(files))
    unique, conflicts = _without_duplicates(headers)
    return unique, (*sorted(findings, key=lambda finding: finding.message), *conflicts)


def _walk(paths: Sequence[Path]) -> list[Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {path.name}", todo="Check the path.")
        if path.is_dir():
            found.update(_files_below(os.path.realpath(path)))
        elif path.is_file():
            found[os.path.realpath(path)] = path
    return [found[key] for key in sorted(found)]


def _files_below(folder: str) -> Iterator[tuple[str, Path]]:
    """Where each file below a real folder really is, and where it was found; linked folders are not followed."""
    for inner, _, names in os.walk(folder):
        for name in names:
            file = f"{inner}{os.sep}{name}"
            path = Path(file)
            if path.is_file():
                yield (os.path.realpath(file) if path.is_symlink() else file), path


def _unreadable(path: Path, error: BaseException) -> Finding:
    why = str(error) if isinstance(error, _UnsoundError) else "not a readable DICOM file"
    if path.is_file() and path.stat().st_size == 0:
        why = "empty"
    return Finding("file-unreadable", Level.WARN, f"{path.name} was left out: {why}")


class _UnsoundError(ValueError):
    """A DICOM file whose end is missing."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_header(path: Path) -> FileDataset:
    """The object in a file without its pixels; whether these are all there is not looked at.

    Raises:
        Exception: one of `UNREADABLE`, of a file that is no sound DICOM.
    """
    with path.open("rb", buffering=READ_BYTES) as file:
        return _up_to_pixels(file)


def _up_to_pixels(file: BinaryIO) -> FileDataset:
    dataset = read_plain(file)
    if dataset is None:
        file.seek(0)
        dataset = dcmread(file, stop_before_pixels=True)
    return dataset


def _parse(path: Path, caught: Sequence[warnings.WarningMessage]) -> tuple[FileDataset, int | None]:
    """The object without its pixels, and where its plain pixels begin; ``caught`` gets what pydicom warns of."""
    with path.open("rb", buffering=READ_BYTES) as file:
        dataset = _up_to_pixels(file)
        if any(" in file " in str(warning.message) for warning in caught):
            raise _UnsoundError("truncated")
        pixels_at = _check_end(file, dataset)
    return dataset, pixels_at


def _input_file(name: str, sha256: str, dataset: FileDataset) -> InputFile:
    meta = dataset.file_meta
    sop_class = text_or_empty(dataset, "SOPClassUID") or text_or_empty(meta, "MediaStorageSOPClassUID")
    instance = text_or_empty(dataset, "SOPInstanceUID") or text_or_empty(meta, "MediaStorageSOPInstanceUID")
    series = text_or_empty(dataset, "SeriesInstanceUID")
    return InputFile(name, sha256, sop_class, instance, series)


def _check_end(file: BinaryIO, dataset: FileDataset) -> int | None:
    """Hold the file's length against what its elements promise; `dcmread` itself lets a missing end pass.

    Gives back where in the file plain pixels begin.

    Raises:
        _UnsoundError: the last element before the pixels, or the pixels, are cut short, or an image has none.
    """
    syntax = text_or_empty(dataset.file_meta, "TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        return None  # zlib has found the end
    size = os.fstat(file.fileno()).st_size
    if file.tell() < size:
        return _check_pixels(file, dataset, size, syntax)
    if _last_element_is_short(dataset, file):
        raise _UnsoundError("truncated")
    named = UID(text_or_empty(dataset.file_meta, "MediaStorageSOPClassUID")).name
    if ("Rows" in dataset and "BitsAllocated" in dataset) or named.endswith("Image Storage"):
        raise _UnsoundError("truncated: an image without its pixels")
    return None


def _last_element_is_short(dataset: Dataset, file: BinaryIO) -> bool:
    tags = sorted(dataset.keys())
    last = dataset.get_item(tags[-1]) if tags else None
    if not isinstance(last, RawDataElement) or last.length == UNDEFINED_LENGTH:
        return last is None
    file.seek(last.value_tell + last.length)
    return len(last.value or b"") < last.length or any(file.read())


def _check_pixels(file: BinaryIO, dataset: FileDataset, size: int, syntax: str) -> int | None:
    order = "<" if dataset.original_encoding[1] else ">"
    group, element = struct.unpack(f"{order}HH", file.read(4))
    if (group, element) not in PIXEL_ELEMENTS:
        raise _UnsoundError("truncated")
    if syntax != ImplicitVRLittleEndian:
        file.read(4)
    (length,) = struct.unpack(f"{order}I", file.read(4))
    if length != UNDEFINED_LENGTH and file.tell() + length > size:
        raise _UnsoundError("truncated: its pixels are cut short")
    if length == UNDEFINED_LENGTH:
        _check_fragments(file, size)
        return None
    return file.tell() if (group, element) == PIXEL_DATA else None


def _check_fragments(file: BinaryIO, size: int) -> None:
    """Walk the items of encapsulated pixels (PS3.5 A.4) to their delimiter."""
    while len(head := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == SEQUENCE_DELIMITER:
            return
        if (group, element) != ITEM or file.tell() + length > size:
            break
        file.seek(length, 1)
    raise _UnsoundError("truncated: its pixels are cut short")


def _without_duplicates(headers: Sequence[Header]) -> tuple[tuple[Header, ...], list[Finding]]:
    by_instance: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        by_instance[header.file.sop_instance_uid or header.file.sha256].append(header)
    unique, findings = [], []
    for uid in sorted(by_instance):
        copies = sorted(by_instance[uid], key=lambda header: (header.file.sha256, header.file.name))
        distinct = list({copy.file.sha256: copy.file for copy in reversed(copies)}.values())[::-1]
        unique.append(replace(copies[0], rivals=tuple(distinct[1:])))
        if len(distinct) > 1:
            names = ", ".join(sorted({copy.file.name for copy in copies}))
            message = f"SOP Instance UID {uid} came in with different content in {names}"
            findings.append(Finding("duplicate-conflicting", Level.HOLD, message))
    return tuple(unique), findings
