"""Small planning CTs, flags and lesions with known surfaces, made by hand and without the code under test."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, SegmentationStorage
from scipy.spatial.transform import Rotation

from psdt_planner.dicom.identity import Stamp
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side

CT_FRAME = "1.2.826.0.1.3680043.8.498.1001"
MR_FRAME = "1.2.826.0.1.3680043.8.498.2001"
ROOT = "1.2.826.0.1.3680043.8.498.7"
STAMP = Stamp(datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC), "test")

ORIENTATIONS = {
    "HFS": ((1, 0, 0), (0, 1, 0)),
    "HFP": ((-1, 0, 0), (0, -1, 0)),
    "FFS": ((-1, 0, 0), (0, 1, 0)),
    "FFP": ((1, 0, 0), (0, -1, 0)),
    "HFDL": ((0, -1, 0), (1, 0, 0)),
}
"""Direction of rows and of columns by patient position."""

EVERY_2_MM = tuple(2.0 * k for k in range(40))

Inside = Callable[[NDArray[np.float64]], NDArray[np.bool_]]


def sphere(centre: ArrayLike, radius_mm: float) -> Inside:
    return lambda points: np.linalg.norm(points - np.asarray(centre), axis=-1) <= radius_mm


def ellipsoid(centre: ArrayLike, half_axes_mm: ArrayLike, turn: Rotation | None = None) -> Inside:
    matrix = np.eye(3) if turn is None else turn.as_matrix()
    return lambda points: (((points - np.asarray(centre)) @ matrix / np.asarray(half_axes_mm)) ** 2).sum(-1) <= 1


def either(*shapes: Inside) -> Inside:
    return lambda points: np.logical_or.reduce([shape(points) for shape in shapes])


def ct_grid(
    *,
    position: str = "HFS",
    spacing_ji_mm: tuple[float, float] = (0.9, 1.1),
    offsets_mm: ArrayLike = EVERY_2_MM,
    shape_ji: tuple[int, int] = (90, 70),
    centre_mm: ArrayLike = (0.0, 0.0, 0.0),
) -> Grid:
    """A CT around a point, its slices at the given offsets along its own normal."""
    row, column = (np.array(axis, dtype=float) for axis in ORIENTATIONS[position])
    along = np.asarray(offsets_mm, dtype=float)
    step_j, step_i = column * spacing_ji_mm[0], row * spacing_ji_mm[1]
    corner = np.asarray(centre_mm) - step_j * (shape_ji[0] - 1) / 2 - step_i * (shape_ji[1] - 1) / 2
    origins = corner + (along - (along[0] + along[-1]) / 2)[:, None] * np.cross(row, column)
    return Grid(np.round(origins, 3), step_j, step_i, (len(along), *shape_ji), CT_FRAME)


def mr_grid(
    centre_mm: ArrayLike,
    extent_mm: float,
    *,
    spacing_kji_mm: tuple[float, float, float] = (5.0, 1.6, 1.9),
    turn: Rotation | None = None,
    position: str = "HFS",
) -> Grid:
    """A DWI lattice, possibly oblique, whose middle is at a point."""
    row, column = (np.array(axis, dtype=float) for axis in ORIENTATIONS[position])
    axes = np.stack([np.cross(row, column), column, row], axis=1)
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3) if turn is None else turn.as_matrix()) @ axes * np.array(spacing_kji_mm)
    shape = tuple(int(np.ceil(extent_mm / step)) + 4 for step in spacing_kji_mm)
    matrix[:3, 3] = np.asarray(centre_mm) - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid.regular(matrix, (shape[0], shape[1], shape[2]), MR_FRAME)


def occupancy(grid: Grid, inside: Inside, divisions: int = 5) -> NDArray[np.float32]:
    """The part of each voxel that is inside."""
    kji = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1).astype(float)
    steps = (np.arange(divisions) + 0.5) / divisions - 0.5
    total = sum(inside(grid.mm_from_index(kji + np.array(step))).astype(float) for step in product(steps, repeat=3))
    return np.asarray(total / divisions**3, dtype=np.float32)


def flag(
    grid: Grid,
    mask: NDArray[np.float32],
    kind: MaskKind = MaskKind.BINARY,
    *,
    id: str = "L1",  # noqa: A002
    site: str = "bone",
    label: str = "Lesion in the ilium",
) -> FlaggedLesion:
    source = FlagSource(str(SegmentationStorage), f"{ROOT}.5.1", int(id[1:]))
    mask = (mask >= 0.5).astype(np.float32) if kind is MaskKind.BINARY else mask
    return FlaggedLesion(id, label, site, "label", Side.LEFT, f"{ROOT}.6.{id[1:]}", grid, mask, kind, source)


def moved(rng: np.random.Generator, *, degrees: float = 8.0, shift_mm: float = 12.0) -> Rigid:
    """A transform from the MR's frame to the CT's."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    matrix[:3, 3] = rng.uniform(-shift_mm, shift_mm, 3)
    return Rigid(matrix, CT_FRAME, MR_FRAME)


STILL = Rigid(np.eye(4), CT_FRAME, MR_FRAME)


def inside_rings(rings: list[NDArray[np.float64]], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The slow oracle: even-odd crossing count of points ``(N, 2)`` in rings ``(M, 2)``."""
    hit = np.zeros(len(points), dtype=bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
            with np.errstate(divide="ignore", invalid="ignore"):
                hit ^= crosses & (points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / (y1 - y0) + x0)
    return hit


# ---------------------------------------------------------------------------------------------------------------------
# headers


def _image(grid: Grid, k: int, sop_class: str, series: int, study: int) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"{ROOT}.{series}.{k + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.90.{study}", f"{ROOT}.91.{series}"
    ds.FrameOfReferenceUID = grid.frame
    ds.PositionReferenceIndicator = ""
    ds.PatientName, ds.PatientID = "Phantom^Small", "PH-1"
    ds.PatientBirthDate, ds.PatientSex = "19500102", "M"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260101", "120000", "S1"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A1", "Doe^Referring"
    ds.StudyDescription, ds.SeriesDescription = "Planning", "Images"
    ds.Manufacturer, ds.InstitutionName = "Scanner Ltd", "Small Hospital"
    j, i = grid.spacing_ji_mm
    ds.ImagePositionPatient = [f"{number:.3f}" for number in grid.slice_origins_mm[k]]
    direction = np.concatenate([grid.step_i_mm / i, grid.step_j_mm / j])
    ds.ImageOrientationPatient = [f"{number + 0.0:.8g}" for number in direction]
    ds.PixelSpacing = [f"{j:.6g}", f"{i:.6g}"]
    ds.Rows, ds.Columns = grid.shape[1:]
    ds.InstanceNumber = str(k + 1)
    return ds


def ct_headers(grid: Grid) -> list[Dataset]:
    """The CT's images in an order that is not the order of the slices."""
    headers = []
    for k in range(grid.shape[0]):
        ds = _image(grid, k, str(CTImageStorage), 1, 1)
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SliceThickness = "2"
        headers.append(ds)
    return headers[1::2] + headers[::2]


def clone(header: Dataset) -> Dataset:
    """A header that can be changed alone; ``Dataset(header)``, ``copy.copy`` and ``update`` share its elements."""
    return copy.deepcopy(header)


def mr_headers(count: int = 3, *, series: int = 2, study: int = 2) -> list[Dataset]:
    grid = mr_grid((0, 0, 0), 10.0)
    headers = [_image(grid, k, str(MRImageStorage), series, study) for k in range(count)]
    for ds in headers:
        ds.Modality = "MR"
    return headers


def save_ct(headers: list[Dataset], folder: Path) -> None:
    """The CT with pixels, as files that other programs read."""
    for header in headers:
        ds = clone(header)
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
        ds.PixelData = np.zeros((ds.Rows, ds.Columns), dtype="<i2").tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            ds.SOPClassUID,
            ds.SOPInstanceUID,
        )
        dcmwrite(folder / f"{ds.InstanceNumber}.dcm", ds, enforce_file_format=True)
