"""Small whole DICOM objects to send about: nothing in them is square, and each carries a name that must not leak."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    SpatialRegistrationStorage,
)

ROOT = "1.2.826.0.1.3680043.8.498."
PATIENT_NAME = "Planted^Name"
PATIENT_ID = "PLANTED-4711"
ROWS, COLUMNS = 12, 17

CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "SEG": SegmentationStorage,
    "RTSTRUCT": RTStructureSetStorage,
    "REG": SpatialRegistrationStorage,
    "DOC": EncapsulatedPDFStorage,
}


def uid(*parts: int) -> UID:
    """A UID from numbers."""
    return UID(ROOT + ".".join(map(str, parts)))


def begun(root: Path) -> list[Path]:
    """What is being written into a storage and has no place yet; an empty file is made ready, and nothing is in it."""
    found = []
    for path in (root / "incoming").iterdir():
        with suppress(FileNotFoundError):  # it has just got its place
            if path.stat().st_size:
                found.append(path)
    return found


def make(modality: str, number: int, *, patient_id: str = PATIENT_ID, study: int = 1) -> Dataset:
    """One object: number ``number`` of its modality, in one series for each modality."""
    series = sorted(CLASSES).index(modality) + 1
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = CLASSES[modality]
    ds.SOPInstanceUID = uid(study, series, number)
    ds.StudyDate = "20240229"
    ds.StudyTime = "101112"
    ds.AccessionNumber = ""
    ds.Modality = modality
    ds.Manufacturer = "psdt tests"
    ds.ReferringPhysicianName = ""
    ds.ReferencedStudySequence = Sequence([Dataset()])
    ds.ReferencedStudySequence[0].ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    ds.ReferencedStudySequence[0].ReferencedSOPInstanceUID = uid(study, 99)
    ds.PatientName = PATIENT_NAME
    ds.PatientID = patient_id
    ds.PatientBirthDate = "19500101"
    ds.PatientSex = "M"
    ds.StudyInstanceUID = uid(study)
    ds.SeriesInstanceUID = uid(study, series)
    ds.StudyID = ""
    ds.SeriesNumber = str(series)
    ds.InstanceNumber = str(number)
    if modality in {"CT", "MR"}:
        ds.FrameOfReferenceUID = uid(study, 50 + series)
        _add_pixels(ds, number)
        if modality == "MR":
            ds.DiffusionBValue = 50.0 if number % 2 else 900.0
    elif modality == "DOC":
        ds.EncapsulatedDocument = b"%PDF-1.4 " + bytes(range(256)) + b"%%EOF\n"
    return ds


def write(ds: Dataset, folder: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write an object into ``folder`` in the DICOM File Format."""
    folder.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    path = folder / f"{ds.Modality}-{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return path


def write_set(folder: Path, *, patient_id: str = PATIENT_ID, study: int = 1, slices: int = 7) -> list[Path]:
    """A patient's required set: CT and MR of ``slices`` images each, and one SEG."""
    made = [make(kind, n, patient_id=patient_id, study=study) for kind in ("CT", "MR") for n in range(1, slices + 1)]
    return [write(ds, folder) for ds in [*made, make("SEG", 1, patient_id=patient_id, study=study)]]


def dataset_bytes(file: Path | bytes) -> bytes:
    """What stands behind the file meta information."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    assert data[128:136] == b"DICM\x02\x00\x00\x00"
    return data[144 + int.from_bytes(data[140:144], "little") :]


def uid_of(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def _add_pixels(ds: Dataset, number: int) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.PixelSpacing = ["0.9", "1.3"]
    ds.ImagePositionPatient = ["-11.5", "-20", str(2.5 * number)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = bytes((number + k) % 251 for k in range(ROWS * COLUMNS * 2))
