"""A mask, its rings as an RTSTRUCT, and the mask that a reader makes of that: what is lost on the way."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import shapely
import SimpleITK as sitk
from pydicom import dcmread

from psdt_planner.commission.contours.ct_masks import FRAME
from psdt_planner.commission.contours.files import ct_headers, structure_set_file
from psdt_planner.commission.contours.measures import Drawn, Ring
from psdt_planner.commission.contours.methods import PLASTIMATCH, Mask, rings_of, run_plastimatch, save_image
from psdt_planner.contours import by_rule, mask_rings
from psdt_planner.geometry import Grid, Points
from psdt_planner.shapes import HoleRule

SPACING_MM = (2.0, 1.0, 1.0)
SHAPE = (34, 72, 72)
"""A CT of 68 x 72 x 72 mm around the origin, but for a part of a voxel."""

EXACT = "psdt"
READERS = (EXACT, PLASTIMATCH)


def _ball(points: Points, radius_mm: float, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mask:
    return np.asarray(np.linalg.norm(points - np.array(centre_mm), axis=-1) <= radius_mm)


def _tube(points: Points, middle_mm: float, half_mm: float) -> Mask:
    """A torus that lies 20 degrees out of the slices."""
    x, y, z = np.moveaxis(points, -1, 0)
    along, up = np.cos(0.35) * y + np.sin(0.35) * z, np.cos(0.35) * z - np.sin(0.35) * y
    return np.asarray(np.hypot(np.hypot(x, along) - middle_mm, up) <= half_mm)


def _bone(points: Points) -> Mask:
    """A vertebra: a body with a hollow, an arch around a canal, and three processes."""
    x, y, z = np.moveaxis(points, -1, 0)
    across = np.hypot(x, y + 8.0)
    body = (np.hypot(x / 19.0, (y + 8.0) / 14.0) <= 1.0) & (np.abs(z) <= 13.0)
    hollow = (across <= 5.0) & (np.abs(z) <= 5.0)
    arch = (np.hypot(x, y - 11.0) <= 13.0) & (np.hypot(x / 8.0, (y - 11.0) / 7.0) > 1.0) & (np.abs(z + 3.0) <= 9.0)
    spine = (np.abs(x) <= 3.5) & (y > 18.0) & (y <= 31.0) & (np.abs(z + 7.0 + 0.3 * (y - 18.0)) <= 6.0)
    sides = (np.abs(x) > 10.0) & (np.abs(x) <= 28.0) & (np.hypot((y - 10.0) / 4.5, (z + 1.0) / 5.0) <= 1.0)
    return np.asarray((body & ~hollow) | arch | spine | sides)


SOLIDS: Mapping[str, Callable[[Points], Mask]] = {
    "sphere 6 mm": lambda points: _ball(points, 6.0),
    "sphere 10 mm": lambda points: _ball(points, 10.0),
    "sphere 20 mm": lambda points: _ball(points, 20.0),
    "ring": lambda points: _tube(points, 15.0, 5.0),
    "C": lambda points: _tube(points, 15.0, 5.0) & ~((points[..., 0] > 0) & (np.abs(points[..., 1]) < 6.0)),
    "two parts": lambda points: _ball(points, 7.0, (-10.0, -3.0, -2.0)) | _ball(points, 9.0, (10.0, 4.0, 3.0)),
    "vertebra": _bone,
}


@dataclass(frozen=True)
class TripRow:
    """One mask, there and back: Dice with the mask that it was."""

    solid: str
    place: int
    reader: str
    dice: float


def run_trips(places: int, seed: int) -> tuple[TripRow, ...]:
    """Every form through psdt's own reading and, where it is installed, plastimatch; a file a place."""
    return tuple(row for place in range(places) for row in _trip(place, seed))


def _trip(place: int, seed: int) -> list[TripRow]:
    ct = _ct(np.random.default_rng([seed, place]))
    masks = {name: holds(ct.centres_mm()) for name, holds in SOLIDS.items()}
    rois = {name: by_rule(mask_rings(mask, ct).contours, HoleRule.KEYHOLE, ct) for name, mask in masks.items()}
    data = structure_set_file(rois, ct, ct_headers(ct))
    back = {EXACT: read_exactly(data, ct)}
    if shutil.which("plastimatch"):
        back[PLASTIMATCH] = read_by_plastimatch(data, ct)
    return [
        TripRow(name, place, reader, masks_dice(mask, found[n]))
        for reader, found in back.items()
        for n, (name, mask) in enumerate(masks.items())
    ]


def _ct(random: np.random.Generator) -> Grid:
    matrix = np.eye(4)[:, [2, 1, 0, 3]]
    matrix[:3, :3] *= np.array(SPACING_MM)
    middle = (np.array(SHAPE) - 1) / 2 + random.uniform(-0.5, 0.5, 3)
    matrix[:3, 3] = np.round(-(matrix[:3, :3] @ middle), 3)
    return Grid.regular(matrix, SHAPE, FRAME)


def masks_dice(one: Mask, other: Mask) -> float:
    """Twice the shared voxels over the sum of both."""
    return float(2.0 * (one & other).sum() / (one.sum() + other.sum()))


def read_exactly(data: bytes, ct: Grid) -> list[Mask]:
    """A mask a region: voxels whose centre lies within its rings by even and odd."""
    items = dcmread(BytesIO(data)).ROIContourSequence
    return [rasterised(list(rings_of(item, ct)), ct) for item in items]


def rasterised(rings: Sequence[Ring], ct: Grid) -> Mask:
    """Voxels whose centre the rings of their slice enclose, by even and odd."""
    mask = np.zeros(ct.shape, dtype=bool)
    centres = ct.centres_mm()
    for k, area in Drawn.of(rings).areas.items():
        shapely.prepare(area)
        mask[k] = shapely.contains_xy(area, centres[k, :, :, 0], centres[k, :, :, 1])
    return mask


def read_by_plastimatch(data: bytes, ct: Grid) -> list[Mask]:
    """A mask a region: what plastimatch makes of the file on the CT's voxels."""
    with tempfile.TemporaryDirectory(prefix="psdt-plastimatch-") as name:
        folder = Path(name)
        (folder / "rtstruct.dcm").write_bytes(data)
        save_image(np.zeros(ct.shape, dtype=np.uint8), ct, folder / "ct.mha")
        output = folder / "masks.mha"
        words = ("--input", folder / "rtstruct.dcm", "--fixed", folder / "ct.mha", "--output-ss-img", output)
        run_plastimatch("convert", *words)
        bits = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    # Eight regions a byte, the bytes as the image's components.
    planes = bits.reshape(*ct.shape, -1)
    return [(planes[..., n // 8] >> (n % 8)) & 1 == 1 for n in range(len(SOLIDS))]
