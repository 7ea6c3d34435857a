"""Site and side from the place on the CT: what leaves no other site is told, everything else stays unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.lesions import PLACES
from fixtures.patient import PatientSpec, make_patient
from fixtures.render import render_ct
from psdt_planner.exam import Exam, Organ
from psdt_planner.findings import Level
from psdt_planner.fractionation import Abstention, Proposal
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import FlaggedLesion, FlagSource, MappedLesion, MaskKind, Side
from psdt_planner.planning import LesionStatus, Plan, PlanStatus, plan
from psdt_planner.planning import place_in_body as module
from psdt_planner.planning.place_in_body import Bearings, Told, caution, placed
from psdt_planner.protocol import Protocol
from psdt_planner.registration.spine import Spine, find_spine
from psdt_planner.shapes import Contour, Shape

CT, MIDDLE_X, COLUMN_Y = "1.2.3", 12.0, 35.0
BONE_HU = 400.0
QUANTITY = Quantity(Kind.PLANNING_CT, "HU")


def ct_grid(*, left_mm: float = 170.0) -> Grid:
    """Feet first, anisotropic; ``left_mm``: how far it reaches to the left of the body's middle."""
    count = int((left_mm + 170.0) / 3.0)
    step = np.eye(4)
    step[:3, :3] = np.array([[0, 0, -3.0], [0, 3.5, 0], [-4.0, 0, 0]])
    step[:3, 3] = [MIDDLE_X + left_mm, -110.0, 200.0]
    return Grid.regular(step, (100, 64, count), CT)


def made_ct(grid: Grid | None = None) -> Volume:
    """A body 300 by 200 mm; in it a column, a rib-like bar on both sides of it, a plate in front, and a bone below."""
    grid = grid or ct_grid()
    x, y, z = np.moveaxis(grid.centres_mm(), -1, 0)
    beside, behind = x - MIDDLE_X, y - COLUMN_Y
    hu = np.where(np.hypot(beside / 150.0, y / 100.0) < 1.0, 40.0, -1000.0)
    bar = (np.abs(beside) < 110.0) & (np.abs(behind) < 14.0) & (np.abs(z - 120.0) < 14.0)
    plate = (np.abs(beside) < 30.0) & (np.abs(behind + 105.0) < 14.0) & (z > 40.0)
    hu[(np.hypot(beside, behind) < 22.0) | bar | plate] = BONE_HU
    return Volume(grid, hu.astype(np.float32), QUANTITY, "1.9")


LINE = np.stack([np.full(76, MIDDLE_X), np.full(76, COLUMN_Y), np.arange(-110.0, 194.0, 4.0)], axis=1)


def hips(third: float, two_thirds: float) -> tuple[tuple[Points, Points], ...]:
    heights = (third, two_thirds)
    return tuple((np.array([-70.0, 20.0, z]), np.array([95.0, 20.0, z])) for z in heights)


def bearings(ct: Volume | None = None, *, spine: Spine | None = None, organs: tuple[Organ, ...] = ()) -> Bearings:
    """Hip bones between -170 and -20 mm, so that the column is vertebra for certain from -10 mm upwards."""
    return Bearings(ct or made_ct(), spine or Spine(LINE, {}, hips(-120.0, -70.0)), organs)


def ball(centre: tuple[float, float, float], radius_mm: float = 7.0) -> Shape:
    """The GTV beside the middle of the column, behind it, and at a height."""
    at = np.array([MIDDLE_X + centre[0], COLUMN_Y + centre[1], centre[2]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (
        np.array([[0, 0, -2.0], [0, 2.0, 0], [-2.0, 0, 0]]),
        at + np.array([12.0, -12.0, 12.0]),
    )
    grid = Grid.regular(matrix, (13, 13, 13), CT)
    return Shape(grid, (radius_mm - np.linalg.norm(grid.centres_mm() - at, axis=-1)).astype(np.float32))


@pytest.mark.parametrize(
    ("centre", "site"),
    [
        pytest.param((3, 4, 60), "spine", id="in the column"),
        pytest.param((3, 4, -8), "unknown", id="in the column, next to the crests of the hip bones"),
        pytest.param((3, 4, -80), "unknown", id="last vertebra or sacrum"),
        pytest.param((-3, 4, -140), "bone", id="below the upper part of the hip bones"),
        pytest.param((80, 0, 120), "bone", id="far beside the column"),
        pytest.param((-80, 0, 120), "bone", id="far beside the column, on the other side"),
        pytest.param((36, 0, 120), "unknown", id="transverse process or rib"),
        pytest.param((0, -105, 120), "bone", id="far in front of the column"),
        pytest.param((60, -40, 60), "unknown", id="soft tissue"),
        pytest.param((30, 0, 60), "unknown", id="beside the column, outside bone"),
    ],
)
def test_only_a_place_that_leaves_no_other_site_tells_one(centre: tuple[float, float, float], site: str) -> None:
    told = bearings().told(ball(centre), 3.0)
    assert told.site == site
    assert bool(told.site_words) is (site != "unknown")


@pytest.mark.parametrize(
    ("centre", "uncertainty_mm", "site"),
    [
        ((3, 4, 60), 16.0, "spine"),
        ((3, 4, 60), 18.0, "unknown"),
        ((80, 0, 120), 29.0, "bone"),
        ((80, 0, 120), 31.0, "unknown"),
        ((-3, 4, -140), 19.0, "bone"),
        ((-3, 4, -140), 21.0, "unknown"),
    ],
)
def test_the_bound_on_the_place_is_taken_off(
    centre: tuple[float, float, float], uncertainty_mm: float, site: str
) -> None:
    assert bearings().told(ball(centre), uncertainty_mm).site == site


@pytest.mark.parametrize(("behind_mm", "site"), [(9, "bone"), (13, "unknown"), (18, "unknown")])
def test_what_reaches_far_out_of_its_bone_is_not_told(behind_mm: float, site: str) -> None:
    """Of a ball of 7 mm, 9 in 10, 6 in 10 and 1 in 10 lie in a bar that ends 14 mm behind its middle."""
    assert bearings().told(ball((80, behind_mm, 120)), 3.0).site == site


@pytest.mark.parametrize(("centre", "site"), [((3, 4, 150), "spine"), ((0, -105, 150), "bone")])
def test_beyond_the_end_of_the_column_neither_vertebra_nor_breast_bone_is_told(
    centre: tuple[float, float, float], site: str
) -> None:
    """The column of the CT goes on, but nobody followed it."""
    ending = Spine(LINE[LINE[:, 2] < 140.0], {}, hips(-120.0, -70.0))
    assert bearings().told(ball(centre), 3.0).site == site
    assert bearings(spine=ending).told(ball(centre), 3.0).site == "unknown"


def test_without_hip_bones_the_lowest_stretch_of_the_column_may_be_sacrum() -> None:
    somewhere = bearings(spine=Spine(LINE, {}))
    assert [somewhere.told(ball((0, 0, z)), 3.0).site for z in (-100.0, -52.0, -40.0, 60.0)] == [
        "unknown", "unknown", "spine", "spine",
    ]  # fmt: skip


def test_where_the_ct_shows_no_spine_nothing_is_told() -> None:
    assert bearings(spine=Spine(np.zeros((0, 3)), {})).told(ball((80, 0, 120)), 3.0) == Told()


@pytest.mark.parametrize(("half_mm", "site"), [(14.0, "prostate"), (5.0, "unknown")])
@pytest.mark.parametrize("name", ["Prostate", "prostate "])
def test_a_lesion_within_the_contoured_prostate_lies_in_it(half_mm: float, name: str, site: str) -> None:
    ct = made_ct()
    middle = np.array([MIDDLE_X + 20.0, COLUMN_Y - 40.0])
    corners = middle + half_mm * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    rings = tuple(
        Contour(np.column_stack([corners, np.full(4, ct.grid.slice_origins_mm[k, 2])]), k) for k in range(20, 60)
    )
    prostate, other = Organ(name, 1, "1.5", rings), Organ("Rectum", 2, "1.5", ())
    assert bearings(ct, organs=(other, prostate)).told(ball((20, -40, 40)), 3.0).site == site


@pytest.mark.parametrize(
    ("beside_mm", "side"),
    [(60, Side.LEFT), (-60, Side.RIGHT), (25, Side.LEFT), (21, Side.UNKNOWN), (0, Side.UNKNOWN), (-21, Side.UNKNOWN)],
)
def test_a_side_is_told_clear_of_the_middle(beside_mm: float, side: Side) -> None:
    assert bearings().told(ball((beside_mm, -40, 60)), 3.0).side is side


def test_spine_and_outline_must_agree_on_the_side() -> None:
    crooked = LINE + np.array([30.0, 0.0, 0.0])
    seen = bearings(spine=Spine(crooked, {}))
    assert seen.told(ball((40, -40, 60)), 3.0).side is Side.UNKNOWN
    assert seen.told(ball((70, -40, 60)), 3.0).side is Side.LEFT


def test_a_ct_that_cuts_the_body_on_one_side_tells_no_side() -> None:
    narrow = made_ct(ct_grid(left_mm=90.0))
    assert bearings(narrow).told(ball((-60, -40, 60)), 3.0).side is Side.UNKNOWN


# what becomes of the lesion -------------------------------------------------------------------------------------------


def flag(
    site: str = "unknown", side: Side = Side.UNKNOWN, centre: tuple[float, float, float] = (0, 0, 0)
) -> FlaggedLesion:
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * 2.0
    matrix[:3, 3] = np.array([MIDDLE_X + centre[0], COLUMN_Y + centre[1], centre[2]]) - 14.0
    grid = Grid.regular(matrix, (15, 15, 15), CT)
    mask = (np.linalg.norm(grid.centres_mm() - (matrix[:3, 3] + 14.0), axis=-1) <= 7.0).astype(np.float32)
    source = "code" if site != "unknown" else ""
    return FlaggedLesion(
        "L1", "", site, source, side, "1.7", grid, mask, MaskKind.BINARY, FlagSource("1.2", "1.8", 1), "1.9", "t1",
        "code" if side is not Side.UNKNOWN else "",
    )  # fmt: skip


def lesion(**said: Any) -> MappedLesion:
    same = Rigid.identity(CT)
    return MappedLesion(flag(**said), same, same, 3.0, None, "same frame")


def test_what_nobody_said_is_filled_in_and_marked() -> None:
    found = placed(lesion(), ball((80, 0, 120)), bearings())
    assert (found.flag.site, found.flag.site_source) == ("bone", "place")
    assert (found.flag.side, found.flag.side_source) == (Side.LEFT, "place")
    assert [(one.code, one.level, one.lesion) for one in found.findings] == [
        ("lesion-site-from-place", Level.WARN, "L1"),
        ("lesion-side-from-place", Level.INFO, "L1"),
    ]
    assert "confirm" in found.findings[0].message
    assert "bone" in caution(found.flag)


def test_what_somebody_said_is_kept() -> None:
    said = lesion(site="bone", side=Side.MIDLINE)
    found = placed(said, ball((80, 0, 120)), bearings())
    assert found.flag is said.flag
    assert (found.findings, caution(found.flag)) == ((), "")


def test_what_the_place_does_not_tell_stays_unknown() -> None:
    found = placed(lesion(), ball((0, -40, 60)), bearings())
    assert (found.flag.site, found.flag.site_source, found.findings) == ("unknown", "", ())


@pytest.mark.parametrize(
    ("site", "centre", "held"),
    [
        ("prostate", (80, 0, 120), True),
        ("pelvic-node", (-3, 4, -140), True),
        ("spine", (80, 0, 120), True),
        ("bone", (3, 4, 60), True),
        ("bone", (80, 0, 120), False),
        ("bone", (36, 0, 120), False),
        ("bone", (60, -40, 60), False),
        ("pelvic-node", (60, -40, 60), False),
    ],
)
def test_a_site_that_the_place_contradicts_holds(site: str, centre: tuple[float, float, float], held: bool) -> None:
    found = placed(lesion(site=site, side=Side.LEFT), ball(centre), bearings())
    assert found.held is held
    assert [one.code for one in found.findings] == ["lesion-site-elsewhere"] * held
    assert found.flag.site == site


# within a plan --------------------------------------------------------------------------------------------------------


def planned(protocol: Protocol, *flags: FlaggedLesion) -> Plan:
    """Flags in the CT's own frame: nothing is fitted."""
    return plan(Exam(made_ct(), (), flags, (), (), ()), protocol)


def test_a_site_told_by_place_gets_targets_and_a_dose_with_a_caution_first(protocol: Protocol) -> None:
    made = planned(protocol, flag(centre=(80, 0, 120)))
    (one,) = made.lesions
    assert (one.flag.site, one.flag.site_source) == ("bone", "place")
    assert made.exam.flags[0].site == "unknown"
    assert isinstance(one.proposal, Proposal)
    assert "place alone" in one.proposal.cautions[0]
    assert "lesion-site-from-place" in {finding.code for finding in made.findings}
    assert len(one.rois) == 3


def test_a_vertebra_told_by_place_was_mapped_as_soft_tissue_and_gets_no_dose_where_the_protocol_asks_for_more(
    protocol: Protocol,
) -> None:
    (one,) = planned(protocol, flag(centre=(3, 4, 60))).lesions
    assert (one.flag.site, one.flag.site_source) == ("spine", "place")
    assert isinstance(one.proposal, Abstention)
    assert [reason.code for reason in one.proposal.reasons] == ["dose-uncertainty-over-limit"]


def test_a_contradicted_site_holds_its_lesion_and_the_case(protocol: Protocol) -> None:
    made = planned(protocol, flag("spine", centre=(80, 0, 120)), flag("bone", centre=(-80, 0, 120)))
    assert made.status is PlanStatus.HELD
    assert [one.status for one in made.lesions] == [LesionStatus.HELD, LesionStatus.MAPPED]
    assert isinstance(made.lesions[0].proposal, Abstention)
    assert made.lesions[0].rois == ()


def test_a_ct_without_a_spine_says_nothing_of_a_site(protocol: Protocol) -> None:
    bare = replace(made_ct(), array=np.zeros(ct_grid().shape, dtype=np.float32))
    made = plan(Exam(bare, (), (flag(centre=(3, 4, 60)),), (), (), ()), protocol)
    assert made.lesions[0].flag.site == "unknown"


# on synthetic patients ------------------------------------------------------------------------------------------------


def test_on_a_synthetic_pelvis_no_place_tells_a_wrong_site_or_side() -> None:
    """Eight draws of every place in the pelvis, each 1 mm off: most bones are told, and nothing is told wrong."""
    seed = 3
    one = make_patient(PatientSpec(seed=seed, size="small", ct_position="FFS"))
    hu = render_ct(
        layers=one.ct_layers, lesions=(), deformation=one.deformation, lattice=one.ct, couch_y=one.couch_y, seed=seed
    )
    origins = np.array([one.ct.points([k, 0, 0]) for k in range(one.ct.shape[0])]).reshape(-1, 3)
    grid = Grid(origins, one.ct.step_j, one.ct.step_i, one.ct.shape, CT)
    ct = Volume(grid, hu.astype(np.float32), QUANTITY, "1.9")
    here, rng = Bearings(ct, find_spine(ct), ()), np.random.default_rng(seed)
    told = []
    for place in PLACES["pelvis"] * 8:
        spot = place(one.person, rng)
        at = one.deformation.ct_from_mr(spot.centre)[0] + rng.normal(0, 1.0, 3)
        found = here.told(ball(tuple(at - [MIDDLE_X, COLUMN_Y, 0.0]), spot.radius_mm[0]), 3.0)
        true = {spot.site, "bone"} if spot.site == "femur" else {spot.site}  # a place tells bone, not which
        assert found.site in {*true, "unknown"}, spot.label
        assert found.side in (Side(spot.side), Side.UNKNOWN), spot.label
        told.append((spot.where, found.site != "unknown", found.side is not Side.UNKNOWN))
    for where, least in (("femur", 8), ("ischium", 8), ("acetabulum", 8), ("vertebral-body", 6)):
        assert sum(site for part, site, _ in told if part == where) >= least, where
    assert sum(side for part, _, side in told if part in ("femur", "ilium", "node", "ischium")) >= 30


def test_the_page_on_flags_says_when_a_place_tells() -> None:
    page = " ".join((Path(__file__).parents[2] / "docs" / "flags.md").read_text(encoding="utf-8").split())
    for words in (
        f"at least {100 * module.IN_BONE:g} % of the lesion lies in bone",
        f"within {module.COLUMN_MM:g} mm of the middle of the column",
        f"more than {module.BESIDE_MM:g} mm beside it",
        f"{100 * module.IN_ORGAN:g} % lies in a contoured prostate",
        f"A side needs {module.ASIDE_MM:g} mm",
    ):
        assert words in page, words
