"""The exam of ``./run bench dwi``, and the two ways of reading it, each run in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from psdt_planner.dicom.assembly import acquisition_criteria
from psdt_planner.dicom.files import read_headers
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.seg_out import Grown, segmentation
from psdt_planner.dicom.series import group, stacks_of
from psdt_planner.dwi.load import TumourLoad, tumour_load
from psdt_planner.images import Kind

OURS, PEER = "psdt", "pydicom"

STATIONS = 5
DIFFUSION = {"b50": (50.0, 1.0), "b400": (400.0, 0.7), "b900": (900.0, 0.42), "adc": (None, 0.0)}
"""Series of each station and what remains of the signal."""

DIXON = {"IN_PHASE": 1.0, "OPP_PHASE": 0.8, "WATER": 0.6, "FAT": 0.4}
DIFFUSION_SHAPE, DIXON_SHAPE = (40, 208, 256), (60, 260, 320)
"""Slices, rows and columns of a station's series: with five stations 2,000 images."""

DIFFUSION_MM, DIXON_MM = (5.0, 1.9, 1.7), (3.0, 1.52, 1.36)
OVERLAP = (4, 6)
"""Slices that neighbours share."""

LESIONS = 8
ROOT = "1.2.826.0.1.3680043.8.498.77"

STATED = {
    "ScanningSequence": "EP", "SequenceVariant": "SK", "ScanOptions": "FS", "MRAcquisitionType": "2D",
    "RepetitionTime": "6500", "EchoTime": "62", "InversionTime": "170", "NumberOfAverages": "4",
    "ImagingFrequency": "63.68", "ImagedNucleus": "1H", "EchoNumbers": "1", "MagneticFieldStrength": "1.5",
    "SpacingBetweenSlices": "5", "NumberOfPhaseEncodingSteps": "96", "EchoTrainLength": "48", "PercentSampling": "100",
    "PercentPhaseFieldOfView": "81.25", "PixelBandwidth": "1860", "DeviceSerialNumber": "12345",
    "SoftwareVersions": "syngo MR E11", "ProtocolName": "wb", "TransmitCoilName": "Body", "FlipAngle": "90",
    "AcquisitionMatrix": [128, 0, 0, 104], "InPlanePhaseEncodingDirection": "COL", "VariableFlipAngleFlag": "N",
    "SAR": "0.11", "dBdt": "0", "PatientPosition": "HFS", "StudyID": "1", "SeriesNumber": "4", "AcquisitionNumber": "1",
    "Laterality": "", "PositionReferenceIndicator": "", "SliceLocation": "0", "WindowCenter": "300",
    "WindowWidth": "700", "StationName": "MR1", "InstitutionName": "A", "ManufacturerModelName": "Aera",
    "InstanceCreationDate": "20260101", "InstanceCreationTime": "120000", "StudyDate": "20260101",
    "SeriesDate": "20260101", "AcquisitionDate": "20260101", "ContentDate": "20260101", "StudyTime": "120000",
    "SeriesTime": "120000", "AcquisitionTime": "120000", "ContentTime": "120000", "AccessionNumber": "1",
    "ReferringPhysicianName": "", "StudyDescription": "whole body", "BodyPartExamined": "TRUNK", "PatientName": "A^B",
    "PatientID": "1", "PatientBirthDate": "19500101", "PatientSex": "M", "PatientAge": "075Y", "PatientWeight": "80",
    "SmallestImagePixelValue": 0, "LargestImagePixelValue": 4095, "SpecificCharacterSet": "ISO_IR 100",
    "Manufacturer": "SIEMENS", "Modality": "MR",
}  # fmt: skip
"""What a scanner writes into every image beside what psdt asks for."""


@dataclass(frozen=True)
class Run:
    """What one process took: seconds from the files to the result, imports aside, and its largest resident memory."""

    wall_s: float
    cpu_s: float
    memory_mb: float


@dataclass(frozen=True)
class _Series:
    """One series of one station; ``spacing_mm`` is that of slices, rows and columns."""

    name: str
    station: int
    spacing_mm: tuple[float, float, float]
    overlap: int
    b: float | None
    image_type: tuple[str, ...]

    def first_mm(self, slices: int) -> float:
        return -self.station * (slices - self.overlap) * self.spacing_mm[0]


def write_exam(folder: Path) -> int:
    """A whole-body exam of stations, each with gain and noise of its own, and flags; how many images it has."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    count = 0
    for station in range(STATIONS):
        for name, (b, part) in DIFFUSION.items():
            kind = ("DERIVED", "PRIMARY", "DIFFUSION", "ADC" if b is None else "TRACEW")
            series = _Series(name, station, DIFFUSION_MM, OVERLAP[0], b, kind)
            signal = _signal(series, DIFFUSION_SHAPE)
            mean = np.where(signal > 0, 1000.0, 0.0) if b is None else part * (1 + 0.08 * station) * signal
            count += _write(folder, series, mean + rng.normal(0, 4, signal.shape) * (signal > 0))
        for name, part in DIXON.items():
            series = _Series(name, station, DIXON_MM, OVERLAP[1], None, ("DERIVED", "PRIMARY", "DIXON", name))
            signal = _signal(series, DIXON_SHAPE)
            count += _write(folder, series, part * signal + rng.normal(0, 3, signal.shape))
    _write_flags(folder)
    return count


def _signal(series: _Series, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """A trunk with a texture that goes on from station to station."""
    k, j, i = np.indices(shape, dtype=np.float64)
    z = series.first_mm(shape[0]) + series.spacing_mm[0] * k
    y, x = (j / shape[1] - 0.5) * 2, (i / shape[2] - 0.5) * 2
    texture = 300 + 90 * np.sin(z / 40 + 3 * x) * np.cos(5 * y + z / 70) + 60 * np.cos(9 * x + z / 23)
    return np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, texture, 0.0)


def _write(folder: Path, series: _Series, pixels: NDArray[np.float64]) -> int:
    slices, rows, columns = (int(n) for n in pixels.shape)
    gap_mm, down_mm, across_mm = series.spacing_mm
    stored = np.clip(pixels, 0, 4095).astype("<u2")
    template = _template(series, (rows, columns))
    for k in range(slices):
        image = deepcopy(template)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = _uid(series.name, series.station, k)
        image.InstanceNumber = k + 1
        corner = [-columns * across_mm / 2, -rows * down_mm / 2, series.first_mm(slices) + k * gap_mm]
        image.ImagePositionPatient = [f"{mm:.4f}" for mm in corner]
        image.PixelData = stored[k].tobytes()
        dcmwrite(folder / f"{series.name}-{series.station}-{k}.dcm", image, enforce_file_format=True)
    return slices


def _template(series: _Series, shape: tuple[int, int]) -> Dataset:
    image = Dataset()
    for keyword, value in STATED.items():
        setattr(image, keyword, value)
    image.ImageType = list(series.image_type)
    image.SeriesDescription = "t1_vibe_dixon" if "DIXON" in series.image_type else f"ep2d_diff_{series.name}"
    image.SOPClassUID = MRImageStorage
    image.StudyInstanceUID, image.FrameOfReferenceUID = _uid("study"), _uid("frame")
    image.SeriesInstanceUID = _uid(series.name, series.station)
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = list(series.spacing_mm[1:]), series.spacing_mm[0]
    image.Rows, image.Columns = shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    if series.b is not None:
        image.DiffusionBValue = series.b
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = MRImageStorage
    return image


def _uid(*words: object) -> UID:
    return UID(f"{ROOT}.{zlib.crc32(repr(words).encode())}")


def _write_flags(folder: Path) -> None:
    """Blocks on the high-b images of the second station, in one SEG."""
    headers, _ = read_headers([folder])
    (series,) = (one for one in group(headers)[0] if one.uid == _uid("b900", 1))
    (stack,) = stacks_of(series)[0]
    grid = stack.stack.grid
    if grid is None:
        raise RuntimeError("the exam that was written makes no volume")
    grown = []
    for n in range(LESIONS):
        mask = np.zeros(grid.shape, dtype=bool)
        mask[3 + 4 * n : 6 + 4 * n, 80 + 8 * n : 88 + 8 * n, 100:110] = True
        grown.append(Grown(f"lesion {n}", mask, "", True, "blocks"))
    images = [one[0] for one in stack.images]
    stamp = Stamp(datetime(2026, 1, 1, tzinfo=UTC), "bench")
    data = segmentation(grown, grid, images, stamp=stamp, accepted_by="Bench")
    (folder / "flags.dcm").write_bytes(data)


def load_of_intake(intake: Intake) -> TumourLoad:
    """Of every flag that was read."""
    exam = intake.exam
    moved_mm = {flag.id: exam.moved_mm(flag.series_uid) for flag in exam.flags}
    histogram = acquisition_criteria().adc_histogram
    return tumour_load(exam.flags, exam.of_kind(Kind.ADC), histogram, regions={}, moved_mm=moved_mm)


def read_with_pydicom(folder: Path) -> Iterator[NDArray[np.generic]]:
    """The pixels of every image, one after another."""
    for path in sorted(folder.glob("*-*.dcm")):
        yield dcmread(path).pixel_array


def run_apart(method: str, folder: Path) -> Run:
    """One method in a process of its own, both without huge pages, as the command ``psdt`` sets it.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.dwi_methods", method, str(folder)]
    as_psdt_has_it = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=as_psdt_has_it)
    if done.returncode != 0:
        raise RuntimeError(f"{method} ended with {done.returncode}: {done.stderr[-400:]}")
    return Run(**json.loads(done.stdout))


def _run(method: str, folder: Path) -> Run:
    begun, cpu = time.perf_counter(), time.process_time()
    if method == OURS:
        load = load_of_intake(read_inputs([folder]))
        if len(load.lesions) != LESIONS or load.patient.adc is None:
            raise RuntimeError("the load was not computed")
    else:
        for _ in read_with_pydicom(folder):
            pass
    wall_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    return Run(wall_s, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    print(json.dumps(asdict(_run(sys.argv[1], Path(sys.argv[2])))))
