"""The two ways from masks to an RTSTRUCT that ``./run bench contours`` compares, each run in a process of its own.

What neither way needs is imported where it is used: the more classes a process has, the longer pydicom looks among
them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from rt_utils import RTStructBuilder

from psdt_planner.contours import by_rule, mask_rings
from psdt_planner.dicom.attributes import numbers
from psdt_planner.dicom.files import read_header, uncollected
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Contour, HoleRule, Roi, RoiKind, StructureSet, rings_volume_ml

Mask = NDArray[np.bool_]

OURS, PEER = "psdt", "rt-utils 1.2.7"

SPACING_MM = (2.0, 1.0, 1.0)
ROWS = COLUMNS = 512
FRAME = "1.2.826.0.1.3680043.8.498.1001"
STAMP = Stamp(datetime(2026, 1, 1, tzinfo=UTC), "bench")


@dataclass(frozen=True)
class Run:
    """What one process took, and the size of its file; memory is the peak beyond what it held before."""

    cpu_s: float
    wall_s: float
    added_mb: float
    file_mb: float


# ---------------------------------------------------------------------------------------------------------------------
# a CT and masks on it


def grid(slices: int) -> Grid:
    """An axial CT around the origin."""
    matrix = np.eye(4)[:, [2, 1, 0, 3]]
    matrix[:3, :3] *= np.array(SPACING_MM)
    shape = (slices, ROWS, COLUMNS)
    matrix[:3, 3] = -(matrix[:3, :3] @ ((np.array(shape) - 1) / 2))
    return Grid.regular(matrix, shape, FRAME)


def write_ct(folder: Path, slices: int) -> None:
    """Uncompressed images, air everywhere."""
    from psdt_planner.commission.contours.files import ct_headers  # noqa: PLC0415

    folder.mkdir(parents=True)
    pixels = np.full((ROWS, COLUMNS), -1000, dtype="<i2").tobytes()
    for header in ct_headers(grid(slices)):
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
        header.RescaleIntercept, header.RescaleSlope = "0", "1"
        header.PixelData = pixels
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        dcmwrite(folder / f"{header.InstanceNumber}.dcm", header, enforce_file_format=True)


@dataclass(frozen=True)
class Region:
    """A body whose outline waves, as that of an organ does.

    Attributes:
        centre, half: along k, j and i, in voxels; without ends along k where that half axis is infinite.
        sway: how far the centre moves to and fro along j and i over 100 slices, in voxels.
        waves: part of the radius that the outline waves by, three and seven times around.
    """

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    sway: float
    waves: tuple[float, float]

    def paint(self, mask: Mask) -> None:
        """Fill the mask with it, slice by slice, so that painting takes next to no memory."""
        mask[:] = False
        for k in range(mask.shape[0]):
            left = 1.0 - ((k - self.centre[0]) / self.half[0]) ** 2
            if left > 0.0:
                self._paint(mask[k], k, float(np.sqrt(left)))

    def _paint(self, plane: Mask, k: int, scale: float) -> None:
        turn = 2.0 * np.pi * k / 100.0
        j0, i0 = self.centre[1] + self.sway * np.sin(turn), self.centre[2] + self.sway * np.cos(turn)
        reach = [half * (1.0 + sum(self.waves)) + 1.0 for half in self.half[1:]]
        low = [max(0, int(centre - far)) for centre, far in zip((j0, i0), reach, strict=True)]
        window = plane[low[0] : int(j0 + reach[0]) + 1, low[1] : int(i0 + reach[1]) + 1]
        j, i = np.ogrid[: window.shape[0], : window.shape[1]]
        up, across = (j + low[0] - j0) / self.half[1], (i + low[1] - i0) / self.half[2]
        angle = np.arctan2(up, across)
        edge = 1.0 + self.waves[0] * np.cos(3 * angle + turn) + self.waves[1] * np.cos(7 * angle - 2 * turn)
        window[:] = np.hypot(up, across) <= scale * edge


KINDS = (
    ((60.0, 60.0, 50.0), 0.0, (0.10, 0.04)),
    ((np.inf, 8.0, 8.0), 6.0, (0.0, 0.0)),
    ((130.0, 80.0, 55.0), 0.0, (0.08, 0.05)),
    ((np.inf, 14.0, 17.0), 10.0, (0.15, 0.05)),
    ((70.0, 75.0, 110.0), 0.0, (0.12, 0.10)),
    ((15.0, 12.0, 14.0), 0.0, (0.05, 0.0)),
)
"""Half axes in mm along k, j and i, sway and waves of what a CT of the trunk is drawn with: an organ, the cord, a lung,
a long bone or vessel, the bowel, a gland."""


def regions(count: int, slices: int, body_from: int) -> Iterator[Region]:
    """The same for the same numbers; the outline of a body first where there are enough."""
    random = np.random.default_rng(count)
    middle = (slices / 2, ROWS / 2, COLUMNS / 2)
    if count >= body_from:
        yield Region(middle, (np.inf, 125.3, 190.7), 3.0, (0.03, 0.01))
    for n in range(count - (count >= body_from)):
        half_mm, sway, waves = KINDS[n % len(KINDS)]
        half = np.array(half_mm) / np.array(SPACING_MM) * random.uniform(0.8, 1.2)
        centre = [size / 2 + random.uniform(-0.15, 0.15) * size for size in (slices, ROWS, COLUMNS)]
        yield Region((centre[0], centre[1], centre[2]), (half[0], half[1], half[2]), sway, waves)


# ---------------------------------------------------------------------------------------------------------------------
# the methods: from a folder with a CT, and masks that come one after another, to a file


class Clock:
    """Seconds of the process and of the wall, but for those spent painting."""

    def __init__(self) -> None:
        self._begun = self._now()
        self._aside = (0.0, 0.0)

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.process_time(), time.perf_counter()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What happens in here does not count."""
        before = self._now()
        yield
        after = self._now()
        self._aside = (self._aside[0] + after[0] - before[0], self._aside[1] + after[1] - before[1])

    def read(self) -> tuple[float, float]:
        """CPU and wall seconds so far."""
        now = self._now()
        return now[0] - self._begun[0] - self._aside[0], now[1] - self._begun[1] - self._aside[1]


def by_psdt(ct: Path, masks: Iterator[Mask], out: Path) -> None:
    with uncollected():
        headers = [read_header(path) for path in ct.iterdir()]
    lattice = _grid_of(headers)
    rois = []
    for number, mask in enumerate(masks, start=1):
        rings = by_rule(mask_rings(mask, lattice).contours, HoleRule.FILLED, lattice)
        volume_ml = rings_volume_ml(rings, lattice)
        rois.append(Roi(number, f"ROI_{number}", RoiKind.ORGAN, "", rings, volume_ml, "PROPOSAL", (0, 158, 115)))
    made = StructureSet(lattice, "psdt bench", "PROPOSAL", tuple(rois))
    out.write_bytes(write_rtstruct(made, headers, {}, STAMP))


def _grid_of(headers: Sequence[Dataset]) -> Grid:
    origins = np.array([numbers(header, "ImagePositionPatient", 3) for header in headers])
    origins = origins[np.argsort(origins[:, 2])]
    row, column = np.reshape(np.array(headers[0].ImageOrientationPatient, dtype=float), (2, 3))
    j_mm, i_mm = (float(spacing) for spacing in headers[0].PixelSpacing)
    shape = (len(headers), int(headers[0].Rows), int(headers[0].Columns))
    return Grid(origins, column * j_mm, row * i_mm, shape, str(headers[0].FrameOfReferenceUID))


def by_rt_utils(ct: Path, masks: Iterator[Mask], out: Path) -> None:
    builder = RTStructBuilder.create_new(str(ct))
    for number, mask in enumerate(masks, start=1):
        # A view: rt-utils takes slices last, and reads them as they lie in memory.
        builder.add_roi(mask=np.moveaxis(mask, 0, 2), name=f"ROI_{number}")
    builder.save(str(out))


METHODS: Mapping[str, Callable[[Path, Iterator[Mask], Path], None]] = {OURS: by_psdt, PEER: by_rt_utils}


def run(method: str, ct: Path, out: Path, count: int, body_from: int) -> Run:
    """One method in this process."""
    slices = sum(1 for _ in ct.iterdir())
    mask = np.ones((slices, ROWS, COLUMNS), dtype=bool)
    before_mb = _forget_peak_mb()
    clock = Clock()

    def painted() -> Iterator[Mask]:
        for region in regions(count, slices, body_from):
            with clock.aside():
                region.paint(mask)
            yield mask

    METHODS[method](ct, painted(), out)
    cpu_s, wall_s = clock.read()
    return Run(cpu_s, wall_s, _memory_mb("VmHWM") - before_mb, out.stat().st_size / 1e6)


def _forget_peak_mb() -> float:
    """Let the kernel begin anew with this process' peak of memory; what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mb("VmRSS")


def _memory_mb(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024.0 for line in lines if line.startswith(f"{key}:"))


def run_apart(method: str, ct: Path, out: Path, count: int, body_from: int) -> Run:
    """One method in a process of its own.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    words = [method, str(ct), str(out), str(count), str(body_from)]
    command = [sys.executable, "-m", "benchmarks.contours_methods", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{method}, {count} regions: {done.stderr[-800:]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


# ---------------------------------------------------------------------------------------------------------------------
# something large to lint


def large_structure_set(points: int, slices: int) -> tuple[bytes, int]:
    """A file with an ellipse on every slice that has its share of so many points, and how many it has."""
    from psdt_planner.commission.contours.files import ct_headers, structure_set_file  # noqa: PLC0415

    ct = grid(slices)
    angle = 2.0 * np.pi * np.arange(points // slices) / (points // slices)
    flat = np.column_stack([190.7 * np.cos(angle), 125.3 * np.sin(angle), np.zeros(len(angle))])
    contours = [Contour(flat + np.array([0.0, 0.0, z]), k) for k, z in enumerate(ct.slice_origins_mm[:, 2].tolist())]
    return structure_set_file({"BODY": contours}, ct, ct_headers(ct)), len(angle) * slices


def main(words: Sequence[str]) -> None:
    method, ct, out, count, body_from = words
    with redirect_stdout(sys.stderr):
        found = run(method, Path(ct), Path(out), int(count), int(body_from))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
