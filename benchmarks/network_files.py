"""Files to send about: images of a series with noise for pixels, and one large enhanced object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.8.498.77"


def write_series(folder: Path, count: int, side: int, number: int) -> list[Path]:
    """``count`` images of ``side`` times ``side`` 16-bit pixels; ``number`` tells one series from another."""
    folder.mkdir()
    random = np.random.default_rng(side + number)
    ds = _image(CTImageStorage, f"{ROOT}.{side}.{number}")
    ds.Rows = ds.Columns = side
    paths = []
    for instance in range(1, count + 1):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.{side}.{number}.{instance}")
        ds.InstanceNumber = instance
        ds.PixelData = random.integers(0, 2000, side * side, dtype=np.int16).tobytes()
        paths.append(folder / f"{instance:05d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_large(path: Path, size_bytes: int) -> Path:
    """One enhanced MR object of about that size, written a frame at a time."""
    side, frame = 512, 512 * 512 * 2
    frames = max(size_bytes // frame, 1)
    ds = _image(EnhancedMRImageStorage, f"{ROOT}.9")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.9.9")
    ds.Rows = ds.Columns = side
    ds.NumberOfFrames = frames
    ds.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OW\0\0" + (frames * frame).to_bytes(4, "little"))
        for _ in range(frames):
            file.write(bytes(frame))
    return path


def _image(sop_class: UID, series: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.Modality = "CT" if sop_class == CTImageStorage else "MR"
    ds.PatientName, ds.PatientID = "Bench^Mark", "BENCH"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = f"{series}.0", series, f"{series}.1"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 16, 16, 15, 1, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    return ds
