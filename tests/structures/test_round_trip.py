"""From a mask to an RT Structure Set on disk and back to a mask, by our own reader and by other programs."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rt_utils import RTStructBuilder

from psdt_planner.contours import by_rule, mask_of, mask_rings
from psdt_planner.dicom.rtstruct_file import read_structure_set_file
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Contour, GeometricType, HoleRule, Roi, RoiKind, StructureSet, rings_volume_ml
from tests.peers import require_peer
from tests.structures.scenes import ORIENTATIONS, STAMP, ct_grid, ct_headers, save_ct

EVEN = tuple(2.0 * np.arange(24))
UNEVEN = tuple(np.cumsum([2.0, 3.0, 2.5, 1.5] * 6))


def bodies(ct: Grid) -> dict[str, np.ndarray]:
    """Masks by name, around the CT's middle."""
    x, y, z = np.moveaxis(ct.centres_mm(), -1, 0)

    def ball(radius_mm: float, cx: float = 0.0, cy: float = 0.0, cz: float = 0.0) -> np.ndarray:
        return (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 <= radius_mm**2

    slab = np.abs(z) <= 12.0
    tube = np.hypot(x, y) <= 15.0
    bone = ((x / 12) ** 2 + (y / 20) ** 2 <= 1) & slab
    return {
        "Ball6": ball(6.0, 0.3, -0.2, 0.4),
        "Ball12": ball(12.0, -0.4, 0.1, 0.3),
        "Ring": tube & (np.hypot(x - 1, y) > 8.0) & slab,
        "C": tube & (np.hypot(x, y) > 8.0) & ~((np.abs(y) < 4) & (x > 0)) & slab,
        "TwoParts": ball(8.0, -11.0, 3.0) | ball(6.5, 11.0, -4.0, 2.0),
        # A cortex of 4 mm around marrow, with a strut through it and a notch in its outline.
        "Bone": bone & ~(((x / 8) ** 2 + (y / 16) ** 2 <= 1) & (np.abs(y) > 2.5)) & ~ball(6.0, 14.0, 3.0, 4.0),
    }


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def structure_set_of(ct: Grid, rule: HoleRule) -> StructureSet:
    rois = []
    for number, (name, mask) in enumerate(bodies(ct).items(), start=1):
        rings = by_rule(mask_rings(mask, ct).contours, rule, ct)
        volume_ml = rings_volume_ml(rings, ct)
        rois.append(Roi(number, name, RoiKind.ORGAN, "", rings, volume_ml, f"PROPOSAL {name}", (0, 200, 0)))
    return StructureSet(ct, "psdt PROPOSAL", "PROPOSAL of a test", tuple(rois))


@cache
def written(position: str, rule: HoleRule, *, even: bool) -> tuple[Grid, bytes]:
    ct = ct_grid(position=position, offsets_mm=EVEN if even else UNEVEN)
    return ct, write_rtstruct(structure_set_of(ct, rule), ct_headers(ct), {}, STAMP)


def own_masks(path: Path, ct: Grid) -> dict[str, np.ndarray]:
    """Through `read_structure_set_file`: each ring to the slice whose image it names, then even and odd."""
    slice_of = {
        header.SOPInstanceUID: k
        for k, header in enumerate(
            sorted(ct_headers(ct), key=lambda ds: float(np.dot(np.array(ds.ImagePositionPatient, float), ct.normal)))
        )
    }
    masks = {}
    for roi in read_structure_set_file(path).rois:
        rings = [
            Contour(ring.points_mm, slice_of[ring.image_uids[0]], geometric_type=GeometricType(ring.geometric_type))
            for ring in roi.rings
        ]
        masks[roi.name] = mask_of(rings, ct)
    return masks


def files(ct: Grid, data: bytes, folder: Path) -> tuple[Path, Path]:
    path, images = folder / "rt.dcm", folder / "ct"
    path.write_bytes(data)
    images.mkdir()
    save_ct(ct_headers(ct), images)
    return path, images


@pytest.mark.parametrize("even", [True, False], ids=["even", "uneven"])
@pytest.mark.parametrize("position", ORIENTATIONS)
@pytest.mark.parametrize("rule", [HoleRule.KEYHOLE, HoleRule.XOR])
def test_our_own_reader_gives_the_mask_back(tmp_path: Path, position: str, rule: HoleRule, even: bool):
    ct, data = written(position, rule, even=even)
    path = tmp_path / "rt.dcm"
    path.write_bytes(data)
    found = own_masks(path, ct)
    for name, mask in bodies(ct).items():
        assert dice(found[name], mask) >= 0.99, name


def test_filled_is_the_mask_with_its_holes_filled(tmp_path: Path):
    ct, data = written("FFP", HoleRule.FILLED, even=True)
    path = tmp_path / "rt.dcm"
    path.write_bytes(data)
    found, masks = own_masks(path, ct), bodies(ct)
    x, y, z = np.moveaxis(ct.centres_mm(), -1, 0)
    assert dice(found["Ring"], (np.hypot(x, y) <= 15.0) & (np.abs(z) <= 12.0)) >= 0.99
    assert dice(found["C"], masks["C"]) >= 0.99
    assert dice(found["TwoParts"], masks["TwoParts"]) >= 0.99


@pytest.mark.parametrize("rule", HoleRule)
def test_no_rings_lie_within_each_other_but_xor_rings(rule: HoleRule):
    from shapely.geometry import Polygon

    for roi in structure_set_of(ct_grid(offsets_mm=EVEN), rule).rois:
        closed = [ring for ring in roi.contours if ring.geometric_type is GeometricType.CLOSED_PLANAR]
        flat = [(ring.slice_index, Polygon(ring.points_mm[:, :2])) for ring in closed]
        assert all(polygon.is_valid for _, polygon in flat)
        assert not any(one is not other and k == m and one.contains(other) for k, one in flat for m, other in flat)
        if rule is not HoleRule.XOR:
            assert closed == list(roi.contours)


@pytest.mark.peer
@pytest.mark.parametrize("position", ORIENTATIONS)
def test_plastimatch_gives_the_mask_back(tmp_path: Path, position: str):
    require_peer("plastimatch")
    ct, data = written(position, HoleRule.KEYHOLE, even=True)
    found = plastimatch_masks(*files(ct, data, tmp_path), tmp_path)
    for name, mask in bodies(ct).items():
        assert dice(on_grid(found[name], ct), mask) >= 0.98, name


@pytest.mark.peer
@pytest.mark.parametrize("position", ["HFS", "FFP", "HFDL"])
def test_plastimatch_puts_rings_of_uneven_slices_on_even_ones(tmp_path: Path, position: str):
    """It has one slice distance for a CT, and takes each ring to the nearest of its own slices.

    What is the same all along the normal comes back whole; what tapers is a slice off here and there.
    """
    require_peer("plastimatch")
    ct, data = written(position, HoleRule.KEYHOLE, even=False)
    found = plastimatch_masks(*files(ct, data, tmp_path), tmp_path)
    for name, mask in bodies(ct).items():
        image = found[name]
        assert image.GetSize()[2] < ct.shape[0]
        assert dice(on_grid(image, ct), mask) >= (0.98 if name in ("Ring", "C", "Bone") else 0.94), name


def plastimatch_masks(path: Path, images: Path, folder: Path) -> dict:
    import SimpleITK as sitk

    command = ["plastimatch", "convert", "--input", str(path), "--referenced-ct", str(images)]
    command += ["--output-prefix", str(folder / "masks"), "--prefix-format", "mha"]
    subprocess.run(command, capture_output=True, check=True)
    return {file.stem: sitk.ReadImage(str(file)) for file in (folder / "masks").glob("*.mha")}


def on_grid(image, ct: Grid) -> np.ndarray:
    """Another program's mask at the CT's voxel centres, wherever it keeps its first voxel."""
    import SimpleITK as sitk

    direction = np.array(image.GetDirection()).reshape(3, 3)
    index = (ct.centres_mm() - image.GetOrigin()) @ direction / image.GetSpacing()
    i, j, k = np.moveaxis(np.round(index).astype(int), -1, 0)
    array = sitk.GetArrayFromImage(image)
    inside = np.logical_and.reduce([(a >= 0) & (a < n) for a, n in zip((k, j, i), array.shape, strict=True)])
    assert inside.all()
    return array[k, j, i] > 0


def test_rt_utils_gives_the_mask_back_where_its_matrix_is_square(tmp_path: Path):
    """It fills a ring's pixels and its line, so that it finds more than the mask: Dice 0.9 and above."""
    ct = ct_grid(spacing_ji_mm=(1.0, 1.0), shape_ji=(80, 80), offsets_mm=EVEN)
    data = write_rtstruct(structure_set_of(ct, HoleRule.FILLED), ct_headers(ct), {}, STAMP)
    path, images = files(ct, data, tmp_path)
    reader = RTStructBuilder.create_from(str(images), str(path))
    for name in ("Ball6", "Ball12", "C", "TwoParts"):
        theirs = np.moveaxis(reader.get_roi_mask_by_name(name), 2, 0)
        assert dice(theirs, bodies(ct)[name]) >= 0.9, name
