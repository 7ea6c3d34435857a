"""Small whole objects of many patients: CT, diffusion MR, and flags that refer to the MR."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    SpatialRegistrationStorage,
)

ROOT = "1.2.826.0.1.3680043.8.498.77."
CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "SEG": SegmentationStorage,
    "rtstruct.dcm": RTStructureSetStorage,
    "registration.dcm": SpatialRegistrationStorage,
    "proposal.dcm": EncapsulatedPDFStorage,
}


def uid(*parts: int) -> UID:
    """A UID from numbers."""
    return UID(ROOT + ".".join(map(str, parts)))


def write_patient(folder: Path, patient: int, series: Sequence[tuple[str, int]], pixels: int = 200) -> list[Path]:
    """The files of one patient.

    Args:
        series: modality and number of objects of each; SEG refers to the first MR.
        pixels: bytes of each image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first_mr = next(number for number, (modality, _) in enumerate(series) if modality == "MR")
    files = []
    for number, (modality, count) in enumerate(series):
        for instance in range(1, count + 1):
            ds = _object(modality, patient, number, instance)
            if modality == "SEG":
                ds.ReferencedSeriesSequence = ItemSequence([Dataset()])
                ds.ReferencedSeriesSequence[0].SeriesInstanceUID = uid(patient, first_mr)
            else:
                ds.FrameOfReferenceUID = uid(patient, 900 + (modality == "MR"))
                _add_pixels(ds, pixels, instance)
            files.append(_write(ds, folder / f"{modality}-{number}-{instance}.dcm"))
    return files


def write_output(folder: Path, name: str, inputs: Sequence[Path]) -> Path:
    """One output of a plan, whose bytes and UID follow from the inputs' bytes and nothing else."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in inputs)).hexdigest()
    header = dcmread(inputs[0], stop_before_pixels=True)
    ds = _object(name, 0, 1, 1)
    ds.PatientID, ds.PatientName, ds.StudyInstanceUID = header.PatientID, header.PatientName, header.StudyInstanceUID
    ds.SOPInstanceUID = UID(f"2.25.{int(hashlib.sha256((name + digest).encode()).hexdigest()[:30], 16)}")
    ds.SeriesInstanceUID = UID(f"2.25.{int(hashlib.sha256((name + digest + 's').encode()).hexdigest()[:30], 16)}")
    ds.SeriesDescription = f"{name} {digest[:32]}"
    return _write(ds, folder / name)


def dataset_bytes(file: Path) -> bytes:
    """What stands behind the file meta information."""
    data = file.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


def _object(modality: str, patient: int, series: int, instance: int) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = CLASSES[modality]
    ds.SOPInstanceUID = uid(patient, series, instance)
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20240229", "101112", ""
    ds.Modality = modality if modality in {"CT", "MR", "SEG"} else "OT"
    ds.Manufacturer = "soak"
    ds.PatientName, ds.PatientID = f"Soak^{patient}", f"SOAK-{patient}"
    ds.PatientBirthDate, ds.PatientSex = "19500101", "M"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(patient), uid(patient, series)
    ds.SeriesNumber, ds.InstanceNumber = str(series), str(instance)
    return ds


def _add_pixels(ds: Dataset, size: int, instance: int) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = 10, size // 20
    ds.PixelSpacing = ["0.9", "1.3"]
    ds.ImagePositionPatient = ["-11.5", "-20", str(2.5 * instance)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    if ds.Modality == "MR":
        ds.DiffusionBValue = 50.0 if instance % 2 else 900.0
    ds.PixelData = bytes((instance + k) % 251 for k in range(10 * (size // 20) * 2))


def _write(ds: Dataset, path: Path) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return path
