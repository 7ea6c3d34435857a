"""From masks on a CT to rings on its slices: psdt and, each really run, the programs that people use for it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import contourpy
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from rt_utils import image_helper
from rt_utils.utils import ROIData

from psdt_planner.commission.contours.measures import Ring
from psdt_planner.contours import mask_rings
from psdt_planner.geometry import Grid, Points
from psdt_planner.shapes import Contour

Mask = NDArray[np.bool_]
Method = Callable[[Sequence[Mask], Grid], list[list[Ring]]]
"""Each mask's rings; all masks lie on one axial CT, rows along y and columns along x."""

OURS, RT_UTILS, PLASTIMATCH, ISO_LINE = "psdt", "rt-utils 1.2.7", "plastimatch", "iso-line at 0.5"

MOST_AT_ONCE = 32
"""plastimatch reads structures as the bits of a 32-bit image."""


def methods() -> dict[str, Method]:
    """Every method by name; plastimatch where it is installed."""
    peers = {RT_UTILS: by_rt_utils, ISO_LINE: by_iso_line}
    if shutil.which("plastimatch"):
        peers[PLASTIMATCH] = by_plastimatch
    return {OURS: by_psdt, **peers}


def flat(contours: Sequence[Contour]) -> list[Ring]:
    """psdt's rings in x and y, with their holes."""
    return [(one.slice_index, ring[:, :2]) for one in contours for ring in (one.points_mm, *one.holes_mm)]


def by_psdt(masks: Sequence[Mask], ct: Grid) -> list[list[Ring]]:
    """`mask_rings`."""
    return [flat(mask_rings(mask, ct).contours) for mask in masks]


def by_rt_utils(masks: Sequence[Mask], ct: Grid) -> list[list[Ring]]:
    """rt-utils' own way from a mask to ContourData, on headers without pixels."""
    headers = [_header(ct, k) for k in range(ct.shape[0])]
    return [_by_rt_utils(mask, headers) for mask in masks]


def _by_rt_utils(mask: Mask, headers: Sequence[Dataset]) -> list[Ring]:
    data = ROIData(np.moveaxis(mask, 0, 2), None, 1, "ROI", "1.2.3")
    slices = image_helper.get_contours_coords(data, headers)
    return [(k, np.reshape(ring, (-1, 3))[:, :2]) for k, rings in enumerate(slices) for ring in rings]


def _header(ct: Grid, k: int) -> Dataset:
    """What rt-utils looks at."""
    header = Dataset()
    header.ImagePositionPatient = [f"{number:.6f}" for number in ct.slice_origins_mm[k]]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing = [f"{number:.6f}" for number in ct.spacing_ji_mm]
    return header


def by_iso_line(masks: Sequence[Mask], ct: Grid) -> list[list[Ring]]:
    """Marching squares at 0.5 on each slice, as contourpy, skimage and many scripts do."""
    return [iso_lines(mask.astype(np.float64), 0.5, ct) for mask in masks]


def iso_lines(values: NDArray[np.float64], level: float, ct: Grid) -> list[Ring]:
    """Where numbers ``(K, J, I)`` on a CT pass a level, on each slice; beyond its edge they do not reach it."""
    return list(_iso_lines(values, level, ct))


def _iso_lines(values: NDArray[np.float64], level: float, ct: Grid) -> Iterator[Ring]:
    row_mm, column_mm = ct.spacing_ji_mm
    outside = min(float(values.min()), level - 0.5)
    for k in np.flatnonzero((values > level).any(axis=(1, 2))).tolist():
        padded = np.pad(values[k], 1, constant_values=outside)
        generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
        for points, offsets in zip(*generator.filled(level, np.inf), strict=True):
            for start, end in pairwise(offsets.tolist()):
                # contourpy repeats the first point at the end.
                yield k, (points[start : end - 1] - 1.0) * (column_mm, row_mm) + ct.slice_origins_mm[k, :2]


def by_plastimatch(masks: Sequence[Mask], ct: Grid) -> list[list[Ring]]:
    """``plastimatch convert`` from a structure set image to an RTSTRUCT, which is read as it is.

    Raises:
        RuntimeError: plastimatch failed, or wrote another number of structures.
    """
    found: list[list[Ring]] = []
    for start in range(0, len(masks), MOST_AT_ONCE):
        found += _by_plastimatch(masks[start : start + MOST_AT_ONCE], ct)
    return found


def _by_plastimatch(masks: Sequence[Mask], ct: Grid) -> list[list[Ring]]:
    bits = sum(mask.astype(np.uint32) << np.uint32(bit) for bit, mask in enumerate(masks))
    with tempfile.TemporaryDirectory(prefix="psdt-plastimatch-") as name:
        folder = Path(name)
        save_image(np.asarray(bits, dtype=np.uint32), ct, folder / "masks.mha")
        run_plastimatch("convert", "--input-ss-img", folder / "masks.mha", "--output-dicom", folder / "out")
        structure_set = dcmread(next((folder / "out").iterdir()))
    items = structure_set.ROIContourSequence
    if len(items) != len(masks):
        raise RuntimeError(f"plastimatch wrote {len(items)} structures of {len(masks)}")
    return [list(rings_of(item, ct)) for item in items]


def run_plastimatch(*words: str | Path) -> None:
    """One command of plastimatch.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    command = ["plastimatch", *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"plastimatch {words[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-400:]}")


def rings_of(item: Dataset, ct: Grid) -> Iterator[Ring]:
    """The rings of an item of ROIContourSequence, each on the slice nearest to its first point."""
    for ring in item.get("ContourSequence", []):
        points: Points = np.asarray(ring.ContourData, dtype=np.float64).reshape(-1, 3)
        yield round(float(ct.index_from_mm(points[0])[0])), points[:, :2]


def save_image(voxels: NDArray[np.uint32] | NDArray[np.uint8], ct: Grid, path: Path) -> None:
    """Voxels ``(K, J, I)`` of an axial CT as an image file."""
    image = sitk.GetImageFromArray(voxels)
    image.SetOrigin(ct.slice_origins_mm[0].tolist())
    image.SetSpacing(ct.spacing_kji_mm[::-1])
    sitk.WriteImage(image, str(path))
