"""Names of places that are bright by nature, against a synthetic patient whose organs are known; and where none is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np
import pytest

from fixtures.patient import Patient, PatientSpec, make_patient
from fixtures.render import render_mr
from fixtures.solids import Block
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import Side
from psdt_planner.regions import Body, Candidate, body_of, find_candidates, grow, pairs, parse_rule, side_of
from psdt_planner.regions.places import TRUNK_MM

RULE = parse_rule(
    resources.files("psdt_planner").joinpath("protocols", "regions.toml").read_text(encoding="utf-8"), "regions"
)
FRAME = "1.2.3"


@dataclass(frozen=True, eq=False)
class Scanned:
    """A synthetic patient's MR as volumes."""

    patient: Patient
    t1: Volume
    b900: Volume
    adc: Volume

    def organ(self, name: str) -> tuple[Points, float]:
        """Voxels ``(N, 3)`` of an organ in mm, and its volume."""
        at = self.t1.grid.centres_mm().astype(np.float32)
        (layer,) = [layer for layer in self.patient.mr_layers if layer.name == name]
        inside = layer.solid.distance(Block.of(at[..., 0], at[..., 1], at[..., 2])) < 0
        return at[inside].astype(np.float64), float(inside.sum(axis=(1, 2)) @ self.t1.grid.voxel_volumes_ml)


@pytest.fixture(scope="module")
def scanned() -> Scanned:
    """Arms beside the body, which touch the trunk and the edge of the images."""
    one = make_patient(PatientSpec(seed=7, size="small"))
    stored = render_mr(one.mr_layers, one.lesions, one.epi, one.mr, one.spec.seed)
    origins = np.array([one.mr.points([k, 0, 0]) for k in range(one.mr.shape[0])]).reshape(-1, 3)
    grid = Grid(origins, one.mr.step_j, one.mr.step_i, one.mr.shape, FRAME)

    def volume(key: str, quantity: Quantity, unit: float = 1.0) -> Volume:
        return Volume(grid, stored[key].astype(np.float32) * np.float32(unit), quantity, f"1.9.{key}")

    return Scanned(
        one,
        volume("t1", Quantity(Kind.T1, "1")),
        volume("b900", Quantity(Kind.DWI_TRACE, "1", 900.0)),
        volume("adc", Quantity(Kind.ADC, "mm2/s"), 1e-6),
    )


@pytest.fixture(scope="module")
def body(scanned: Scanned) -> Body:
    return body_of(scanned.t1)


@pytest.fixture(scope="module")
def candidates(scanned: Scanned, body: Body) -> tuple[Candidate, ...]:
    return find_candidates(pairs([scanned.b900, scanned.adc], RULE), RULE, bodies=[body])


def nearest(candidates: tuple[Candidate, ...], at_mm: Points) -> Candidate:
    return min(candidates, key=lambda one: float(np.linalg.norm(one.region.centroid_mm - at_mm)))


@pytest.mark.parametrize(
    ("organ", "name", "side"),
    [
        ("Spleen", "likely spleen", Side.LEFT),
        ("Kidney_L", "likely left kidney", Side.LEFT),
        ("Kidney_R", "likely right kidney", Side.RIGHT),
        ("Bladder", "likely bladder", Side.UNKNOWN),
        ("Prostate", "likely prostate", Side.UNKNOWN),
        ("cord", "possible spinal cord or nerve root", Side.UNKNOWN),
        ("Liver", "None", Side.RIGHT),
        ("Heart", "None", Side.LEFT),
    ],
)
def test_every_organ_has_its_name_and_side(scanned: Scanned, body: Body, organ: str, name: str, side: Side) -> None:
    voxels_mm, volume_ml = scanned.organ(organ)
    assert str(body.place(voxels_mm, volume_ml)) == name
    assert side_of(voxels_mm.mean(axis=0), body) is side


def test_a_bright_part_of_an_organ_is_a_possible_one(scanned: Scanned, body: Body) -> None:
    voxels_mm, _ = scanned.organ("Kidney_L")
    assert str(body.place(voxels_mm[:40], 1.0)) in ("possible left kidney", "possible spleen")


def test_spleen_and_cord_are_found_and_named(scanned: Scanned, candidates: tuple[Candidate, ...]) -> None:
    spleen, cord = (nearest(candidates, scanned.organ(name)[0].mean(axis=0)) for name in ("Spleen", "cord"))
    assert (str(spleen.place), spleen.side) == ("likely spleen", Side.LEFT)
    assert str(cord.place) == "possible spinal cord or nerve root"
    volume_ml = scanned.organ("Spleen")[1]
    assert spleen.region.volume_ml == pytest.approx(volume_ml, rel=0.15)


def test_every_lesion_of_bone_is_a_candidate_without_a_name(
    scanned: Scanned, candidates: tuple[Candidate, ...]
) -> None:
    for lesion in scanned.patient.lesions:
        at_mm = scanned.patient.epi.seen_at(lesion.centre)
        found = nearest(candidates, at_mm)
        assert np.linalg.norm(found.region.centroid_mm - at_mm) < lesion.radius_mm, lesion.spot.label
        assert found.place is None, lesion.spot.label
        assert found.side in (Side(lesion.spot.side), Side.UNKNOWN), lesion.spot.label


def test_a_region_grown_in_a_lesion_of_bone_lies_at_its_place_from_wherever_it_was_marked(scanned: Scanned) -> None:
    """It is 20 to 50 % too large with voxels of 0.1 ml, and never too small: a reader must look at its edge."""
    (pair,) = pairs([scanned.b900, scanned.adc], RULE)
    for lesion in scanned.patient.lesions:
        at_mm = np.ravel(scanned.patient.epi.seen_at(lesion.centre))
        region = grow(pair, at_mm, RULE)
        assert np.linalg.norm(region.centroid_mm - at_mm) < 1.0, lesion.spot.label
        assert 1.0 < region.volume_ml / lesion.volume_ml < 1.55, lesion.spot.label
        for aside_mm in ([4.0, 0.0, 0.0], [0.0, -4.0, 0.0], [0.0, 0.0, 5.0]):
            assert np.array_equal(grow(pair, at_mm + aside_mm, RULE).mask, region.mask), lesion.spot.label


def test_the_trunk_reaches_from_the_crotch_to_the_shoulders(scanned: Scanned, body: Body) -> None:
    """Thighs that touch hide the fork: it is then taken from the shoulders."""
    assert body.shoulders_mm == pytest.approx(scanned.patient.person.vertebra("C7").centre[2] - 20.0, abs=30.0)
    assert body.fork_mm == pytest.approx(-172.0, abs=30.0)
    assert body.shoulders_mm - body.fork_mm <= TRUNK_MM + 1e-6


def test_images_that_end_below_the_shoulders_name_nothing(scanned: Scanned, body: Body) -> None:
    grid, below = scanned.t1.grid, int(np.argmax(scanned.t1.grid.slice_origins_mm[:, 2] > body.shoulders_mm - 40.0))
    part = Grid(grid.slice_origins_mm[:below], grid.step_j_mm, grid.step_i_mm, (below, *grid.shape[1:]), FRAME)
    shorter = body_of(Volume(part, scanned.t1.array[:below], scanned.t1.quantity, "1.9.t1"))
    voxels_mm, volume_ml = scanned.organ("Spleen")
    assert np.isnan(shorter.shoulders_mm)
    assert shorter.place(voxels_mm, volume_ml) is None
    assert side_of(voxels_mm.mean(axis=0), shorter) is Side.LEFT


def test_images_that_cut_the_body_off_tell_no_middle(scanned: Scanned) -> None:
    """The left half of a body alone would put its middle into the left half."""
    grid = scanned.t1.grid
    half = grid.shape[2] // 2
    origins = grid.slice_origins_mm + half * grid.step_i_mm
    narrow = Grid(origins, grid.step_j_mm, grid.step_i_mm, (*grid.shape[:2], grid.shape[2] - half), FRAME)
    cut = body_of(Volume(narrow, scanned.t1.array[:, :, half:], scanned.t1.quantity, "1.9.t1"))
    voxels_mm, volume_ml = scanned.organ("Spleen")
    assert side_of(voxels_mm.mean(axis=0), cut) is Side.UNKNOWN
    assert cut.place(voxels_mm, volume_ml) is None


def outline(**changed: Any) -> Body:
    """A trunk of 600 mm from 0 upwards, 400 mm wide and 200 deep, its middle at 10 mm; head and neck above."""
    z = np.arange(-100.0, 900.0, 6.0)
    same = np.ones_like(z)
    body = Body(FRAME, z, 10 * same, 400 * same, -100 * same, 200 * same, 0.0, 600.0)
    return replace(body, **changed)


def cloud(centre: tuple[float, float, float], size: tuple[float, float, float] = (10, 10, 10)) -> Points:
    return np.asarray(np.random.default_rng(1).normal(centre, size, (200, 3)))


@pytest.mark.parametrize(
    ("up_mm", "volume_ml", "name"),
    [(800, 900.0, "likely brain"), (800, 3.0, "possible brain"), (660, 3.0, "None"), (300, 3.0, "None")],
)
def test_brain_lies_above_the_neck(up_mm: float, volume_ml: float, name: str) -> None:
    assert str(outline().place(cloud((10, -20, up_mm)), volume_ml)) == name


@pytest.mark.parametrize(
    ("volume_ml", "name"),
    [(19.0, "possible right kidney"), (21.0, "likely right kidney"), (440.0, "possible right kidney"), (460.0, "None")],
)
def test_what_is_far_too_large_for_a_part_is_none_of_it(volume_ml: float, name: str) -> None:
    assert str(outline().place(cloud((-80, 35, 290)), volume_ml)) == name


@pytest.mark.parametrize(
    ("size", "beside_mm", "name"),
    [
        ((4, 4, 30), 0.0, "possible spinal cord or nerve root"),
        ((4, 4, 30), 25.0, "possible spinal cord or nerve root"),
        ((4, 4, 30), 45.0, "None"),
        ((10, 10, 10), 0.0, "None"),
        ((25, 10, 30), 0.0, "None"),
    ],
    ids=["along the canal", "a root beside it", "far beside it", "round", "a plate"],
)
def test_cord_and_roots_are_long_and_thin(size: tuple[float, float, float], beside_mm: float, name: str) -> None:
    place = outline().place(cloud((10 + beside_mm, 30, 420), size), 2.0)
    assert str(place) == name


@pytest.mark.parametrize(("beside_mm", "side"), [(16, Side.LEFT), (14, Side.UNKNOWN), (-16, Side.RIGHT)])
def test_the_side_is_by_the_bodys_own_middle(beside_mm: float, side: Side) -> None:
    assert side_of(np.array([10.0 + beside_mm, 0.0, 300.0]), outline()) is side


@pytest.mark.parametrize(("z_mm", "side"), [(-107.0, Side.UNKNOWN), (-104.0, Side.LEFT), (910.0, Side.UNKNOWN)])
def test_beyond_the_images_nothing_has_a_side(z_mm: float, side: Side) -> None:
    assert side_of(np.array([90.0, 0.0, z_mm]), outline()) is side


def test_a_middle_that_is_not_known_gives_no_side_and_no_name() -> None:
    unknown = outline(middle_mm=np.full(167, np.nan), width_mm=np.full(167, np.nan))
    assert side_of(np.array([90.0, 0.0, 300.0]), unknown) is Side.UNKNOWN
    assert unknown.place(cloud((100, 20, 340)), 80.0) is None
    assert outline().place(cloud((100, 20, 340)), 80.0) is not None
