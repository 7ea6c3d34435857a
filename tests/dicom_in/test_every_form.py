"""One patient, flagged in every form: the same lesions, whatever the grid and its orientation."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from scipy.spatial.transform import Rotation

from psdt_planner.dicom.intake import read_inputs
from psdt_planner.exam import Exam
from psdt_planner.findings import holds
from psdt_planner.geometry import Points
from tests.dicom_in.objects import MR_FRAME, OBLIQUE, dwi_images, roi, seg_object, segment, structure_set, uid, write
from tests.dicom_in.reports import group, region, region_3d, report, surface

SHAPE = (8, 21, 17)
CENTROID_MM, VOLUME = 0.2, 0.02


@dataclass(frozen=True, eq=False)
class Scene:
    """Images and two lesions on them, with what is true of these straight from the headers."""

    images: list[Any]
    mask: NDArray[np.uint8]

    @classmethod
    def of(cls, **geometry: Any) -> Scene:
        mask = np.zeros((*SHAPE, 2), dtype=np.uint8)
        mask[1:4, 4:9, 3:8, 0] = 1
        mask[3, 9:11, 5:7, 0] = 1
        mask[5, 12:17, 8:15, 1] = 1
        mask[5, 12:14, 8:10, 1] = 0
        pixels = np.zeros(SHAPE, dtype=np.int16)
        return cls(dwi_images(shape=SHAPE, pixels=pixels, **geometry), mask)

    def mm(self, k: int, column_row: Any) -> Points:
        """Points of graphic data on image k, 0.5 at the centre of the first pixel."""
        image = self.images[k]
        row, column = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
        dj, di = (float(mm) for mm in image.PixelSpacing)
        at = np.asarray(column_row, dtype=float) - 0.5
        return np.asarray(
            np.array(image.ImagePositionPatient, dtype=float) + at[:, :1] * di * row + at[:, 1:] * dj * column
        )

    def truth(self, n: int) -> tuple[Points, float]:
        """Centroid in mm and volume in ml: the mean of the voxels' centres, and their number."""
        voxels = np.argwhere(self.mask[..., n])
        centres = np.array([self.mm(k, [[i + 0.5, j + 0.5]])[0] for k, j, i in voxels])
        gap = np.linalg.norm(self.mm(1, [[0, 0]])[0] - self.mm(0, [[0, 0]])[0])
        dj, di = (float(mm) for mm in self.images[0].PixelSpacing)
        return centres.mean(axis=0), len(voxels) * gap * dj * di / 1000

    def outlines(self, n: int) -> list[tuple[int, NDArray[np.float64]]]:
        """The edges of the voxels on each slice, closed, in graphic coordinates."""
        found = []
        for k in np.flatnonzero(self.mask[..., n].any(axis=(1, 2))):
            boxes = [shapely.box(i, j, i + 1, j + 1) for j, i in np.argwhere(self.mask[k, ..., n])]
            ring = shapely.union_all(boxes).exterior
            found.append((int(k), np.asarray(ring.coords, dtype=float)))
        return found


def name(n: int) -> str:
    return f"Lesion {n + 1}"


def described(n: int) -> hd.seg.SegmentDescription:
    return segment(n + 1, name(n), codes.SCT.Ilium)


def binary(scene: Scene) -> list[Any]:
    return [seg_object(scene.images, scene.mask, [described(0), described(1)])]


def fractional(scene: Scene) -> list[Any]:
    return [seg_object(scene.images, scene.mask.astype(float), [described(0), described(1)], kind="FRACTIONAL")]


def probability_of_yes_and_no(scene: Scene) -> list[Any]:
    segments = [described(0), described(1)]
    return [seg_object(scene.images, scene.mask.astype(float), segments, kind="FRACTIONAL", fractional="PROBABILITY")]


def label_map(scene: Scene) -> list[Any]:
    return [seg_object(scene.images, scene.mask, [described(0), described(1)], kind="LABELMAP")]


def on_a_grid_of_its_own(scene: Scene) -> list[Any]:
    """Pixels of half the size, rows that run the other way, slices in another order."""
    image, patient = scene.images[0], hd.CoordinateSystemNames.PATIENT
    row, column = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
    dj, di = (float(mm) for mm in image.PixelSpacing)
    mask = scene.mask.repeat(2, axis=1).repeat(2, axis=2)[:, :, ::-1]
    first = [scene.mm(k, [[SHAPE[2] - 0.25, 0.25]])[0] for k in range(SHAPE[0])]
    order = [5, 0, 7, 3, 1, 6, 2, 4]
    gap = float(image.SliceThickness)
    measures = hd.PixelMeasuresSequence((dj / 2, di / 2), gap, gap)
    return [
        seg_object(
            scene.images,
            np.ascontiguousarray(mask[order]),
            [described(0), described(1)],
            plane_positions=[hd.PlanePositionSequence(patient, first[k]) for k in order],
            plane_orientation=hd.PlaneOrientationSequence(patient, [*-row, *column]),
            pixel_measures=measures,
        )
    ]


def planar(scene: Scene) -> list[Any]:
    """On images, and of the lesion on a single slice a planar region."""
    rings = [region(scene.images[k], "POLYLINE", ring) for k, ring in scene.outlines(0)]
    ((k, ring),) = scene.outlines(1)
    groups = [
        group("volumetric", name=name(0), referenced_regions=rings),
        group("planar", name=name(1), referenced_region=region(scene.images[k], "POLYLINE", ring)),
    ]
    return [report(groups, scene.images)]


def volumetric(scene: Scene) -> list[Any]:
    groups = [
        group("volumetric", name=name(n), referenced_regions=[
            region(scene.images[k], "POLYLINE", ring) for k, ring in scene.outlines(n)
        ])
        for n in (0, 1)
    ]  # fmt: skip
    return [report(groups, scene.images)]


def polygons(scene: Scene) -> list[Any]:
    """In mm: a volume surface, and, of the lesion on a single slice, a planar region."""
    first = [scene.mm(k, ring) for k, ring in scene.outlines(0)]
    ((k, ring),) = scene.outlines(1)
    drawn = surface(MR_FRAME, "POLYGON", first, uid("dwi"))
    flat = region_3d(MR_FRAME, "POLYGON", scene.mm(k, ring))
    groups = [
        group("volumetric", name=name(0), referenced_volume_surface=drawn),
        group("planar", name=name(1), referenced_region=flat),
    ]
    return [report(groups, scene.images)]


def segments_in_a_report(scene: Scene) -> list[Any]:
    (seg,) = binary(scene)
    groups = [
        group("volumetric", name=name(n), referenced_segment=hd.sr.ReferencedSegment.from_segmentation(seg, n + 1))
        for n in (0, 1)
    ]
    return [seg, report(groups, [*scene.images, seg])]


def drawn(scene: Scene, **more: Any) -> list[dict[str, Any]]:
    return [roi(n + 1, name(n), [scene.mm(k, ring) for k, ring in scene.outlines(n)], **more) for n in (0, 1)]


def structures(scene: Scene) -> list[Any]:
    return [structure_set(drawn(scene), frame=MR_FRAME, series=uid("dwi"), listed=scene.images)]


def structures_without_references(scene: Scene) -> list[Any]:
    """No series and no image is named: frame and planes tell."""
    return [structure_set(drawn(scene), frame=MR_FRAME)]


def structures_that_name_absent_images(scene: Scene) -> list[Any]:
    """Another program wrote the images anew: their UIDs are others, their frame and planes the same."""
    absent = dwi_images("elsewhere", shape=SHAPE, pixels=np.zeros(SHAPE, dtype=np.int16))
    return [structure_set(drawn(scene, named=absent), frame=MR_FRAME, series=uid("elsewhere"), listed=absent)]


FORMS: dict[str, Callable[[Scene], list[Any]]] = {
    "SEG binary": binary,
    "SEG fractional": fractional,
    "SEG of probabilities that are 0 or 1": probability_of_yes_and_no,
    "SEG label map": label_map,
    "SEG on a grid of its own": on_a_grid_of_its_own,
    "SR volumetric": volumetric,
    "SR planar": planar,
    "SR polygons in mm": polygons,
    "SR of segments": segments_in_a_report,
    "RTSTRUCT": structures,
    "RTSTRUCT without references": structures_without_references,
    "RTSTRUCT that names absent images": structures_that_name_absent_images,
}


def read(folder: Path, scene: Scene, *objects: Any) -> Exam:
    return read_inputs([write(folder, scene.images, list(objects))]).exam


def check_lesions(exam: Exam, scene: Scene) -> None:
    assert [flag.label for flag in exam.flags] == [name(0), name(1)]
    assert exam.points == ()
    for n, flag in enumerate(exam.flags):
        centroid, volume = scene.truth(n)
        assert np.linalg.norm(flag.centroid_mm - centroid) < CENTROID_MM
        assert flag.volume_ml == pytest.approx(volume, rel=VOLUME)
        assert (flag.grid.frame, flag.series_uid, flag.drawn_on_kind) == (MR_FRAME, uid("dwi"), "dwi-trace")


def about_flags(exam: Exam) -> set[str]:
    return {one.code for one in exam.findings if one.code.startswith(("flag", "seg", "sr", "rtstruct", "csv"))}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_lesions(tmp_path: Path, form: str) -> None:
    scene = Scene.of(spacing_ji=(1.9, 1.4), gap=3.3)
    exam = read(tmp_path, scene, *FORMS[form](scene))
    check_lesions(exam, scene)
    assert about_flags(exam) == set()


@settings(max_examples=6)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing_ji=st.tuples(st.floats(0.6, 4), st.floats(0.6, 4)),
    gap=st.floats(1.5, 8),
    origin=st.tuples(*[st.floats(-600, 600)] * 3),
)
def test_grids_and_orientations_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    spacing_ji: tuple[float, float],
    gap: float,
    origin: tuple[float, float, float],
) -> None:
    cosines = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[:2]
    scene = Scene.of(cosines=cosines, spacing_ji=spacing_ji, gap=gap, origin=origin)
    for form, made in FORMS.items():
        exam = read(tmp_path_factory.mktemp("form"), scene, *made(scene))
        check_lesions(exam, scene)
        assert about_flags(exam) == set(), form


def table_of(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "points.csv"
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    return path


@settings(max_examples=10)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing_ji=st.tuples(st.floats(0.6, 4), st.floats(0.6, 4)),
    place=st.tuples(st.integers(0, 7), st.floats(0, 20), st.floats(0, 16)),
)
def test_a_point_is_at_the_same_place_in_every_form(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    spacing_ji: tuple[float, float],
    place: tuple[int, float, float],
) -> None:
    folder = tmp_path_factory.mktemp("points")
    cosines = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[:2]
    scene = Scene.of(cosines=cosines, spacing_ji=spacing_ji)
    k, row, column = place[0], round(place[1], 3), round(place[2], 3)
    graphic = [[column + 0.5, row + 0.5]]
    at = scene.mm(k, graphic)
    flat = group("planar", name="flat", referenced_region=region(scene.images[k], "POINT", graphic))
    deep = group("planar", name="deep", referenced_region=region_3d(MR_FRAME, "POINT", at))
    x, y, z = (f"{mm:.9f}" for mm in at[0])
    in_voxel = {"column": column, "row": row}
    rows = [
        {"label": "by image", "image_uid": scene.images[k].SOPInstanceUID, **in_voxel},
        {"label": "by number", "series_uid": uid("dwi"), "instance_number": k + 1, **in_voxel},
        {"label": "in mm", "x_mm": x, "y_mm": y, "z_mm": z, "frame": MR_FRAME},
    ]
    table_of(folder, rows)
    exam = read(folder, scene, report([flat, deep], scene.images))
    points = {point.label: np.array(point.point_mm) for point in exam.points}
    assert np.array_equal(points["deep"], at[0].astype(np.float32))
    assert np.linalg.norm(points["flat"] - at[0]) < 2e-5 * max(spacing_ji)
    for label in ("by image", "by number", "in mm"):
        assert np.linalg.norm(points[label] - at[0]) < 1e-6
    assert exam.flags == ()
    assert {one.code for one in exam.findings if one.code.startswith("flag")} == {"flag-point"}
    assert holds(exam.findings)


def ring_of(middle: tuple[float, float], one: tuple[float, float], other: tuple[float, float]) -> NDArray[np.float64]:
    """The four ends of an ellipse's axes."""
    at, a, b = np.array(middle), np.array(one), np.array(other)
    return np.array([at - a, at + a, at - b, at + b])


def test_a_circle_and_an_ellipse_have_their_area_and_their_middle(tmp_path: Path) -> None:
    scene = Scene.of(spacing_ji=(1.9, 1.4), gap=3.3)
    circle = group("planar", name="circle", referenced_region=region(scene.images[2], "CIRCLE", [[8, 10], [11, 14]]))
    ends = ring_of((9.3, 8.1), (4.0, 3.0), (-1.5, 2.0))
    flat = group("planar", name="flat", referenced_region=region(scene.images[4], "ELLIPSE", ends))
    deep = group(
        "planar",
        name="deep",
        referenced_region=region_3d(MR_FRAME, "ELLIPSE", scene.mm(6, ring_of((9, 8), (5, 0), (0, 3)))),
    )
    exam = read(tmp_path, scene, report([circle, flat, deep], scene.images))
    voxel = 1.9 * 1.4 * 3.3 / 1000
    for flag, k, middle, area in zip(
        exam.flags, (2, 4, 6), ((8, 10), (9.3, 8.1), (9, 8)), (np.pi * 25, np.pi * 12.5, np.pi * 15), strict=True
    ):
        assert flag.volume_ml == pytest.approx(area * voxel, rel=VOLUME)
        assert np.linalg.norm(flag.centroid_mm - scene.mm(k, [middle])[0]) < CENTROID_MM


@pytest.mark.parametrize("gap", [1.6, 4.0])
def test_an_ellipsoid_has_its_volume_and_its_middle(tmp_path: Path, gap: float) -> None:
    scene = Scene.of(spacing_ji=(1.3, 0.9), gap=gap, origin=(0, 0, 0))
    middle = scene.mm(4, [[9.0, 10.0]])[0]
    axes = OBLIQUE @ np.diag([3.1, 4.4, 5.0])
    ends = np.array([middle + sign * axes[:, n] for n in range(3) for sign in (-1, 1)])
    solid = group("volumetric", referenced_volume_surface=surface(MR_FRAME, "ELLIPSOID", ends, uid("dwi")))
    (flag,) = read(tmp_path, scene, report([solid], scene.images)).flags
    assert flag.volume_ml == pytest.approx(4 / 3 * np.pi * 3.1 * 4.4 * 5.0 / 1000, rel=VOLUME)
    assert np.linalg.norm(flag.centroid_mm - middle) < CENTROID_MM
