"""Around one lesion: fits that find it, and every doubt that holds it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from psdt_planner.deformation import Deformation
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import Side
from psdt_planner.registration import (
    CaseRegistration,
    LesionRegistrar,
    LesionRegistration,
    LevelCheck,
    Place,
    RegistrationSource,
)
from psdt_planner.registration import lesion as lesion_module
from psdt_planner.registration import vote as vote_module
from psdt_planner.registration.around import Surroundings
from psdt_planner.registration.levels import Ghost
from psdt_planner.registration.spine import Spine
from psdt_planner.registration.vote import DOUBT_MM, Vote

CT, MR = "1.2.3", "1.2.4"
CENTRE_CT = np.array([4.0, -7.0, 310.0])


def truth() -> Rigid:
    """ct_from_mr."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [3.0, -2.0, 4.0], degrees=True).as_matrix()
    matrix[:3, 3] = [6.0, 3.0, 300.0]
    return Rigid(matrix, CT, MR)


def bones(points_mm: Points) -> np.ndarray:
    """Blobs and sheets that no shift maps onto themselves, 0 to 1, in the CT's frame."""
    p = points_mm - CENTRE_CT
    rng = np.random.default_rng(11)
    out = np.zeros(p.shape[:-1])
    for centre, radius in zip(rng.uniform(-50, 50, (60, 3)), rng.uniform(5, 13, 60), strict=True):
        out = np.maximum(out, 1.0 / (1.0 + np.exp((np.linalg.norm(p - centre, axis=-1) - radius) / 0.8)))
    return out


def ct_volume() -> Volume:
    matrix = [
        [0, 0, 1.6, CENTRE_CT[0] - 70],
        [0, 2.0, 0, CENTRE_CT[1] - 70],
        [2.5, 0, 0, CENTRE_CT[2] - 70],
        [0, 0, 0, 1],
    ]
    grid = Grid.regular(matrix, (57, 71, 88), CT)
    noise = np.random.default_rng(2).normal(0, 15, grid.shape)
    return Volume(
        grid, (40 + 700 * bones(grid.centres_mm()) + noise).astype(np.float32), Quantity(Kind.CT, "HU"), "1.9.1"
    )


def mr_volume(kind: Kind, *, shift_mm: float = 0.0, noise_only: bool = False) -> Volume:
    """The same bones, dark, as the MR sees them; ``shift_mm`` moves them along its phase axis."""
    centre = truth().inverse().apply(CENTRE_CT)
    matrix = [[0, 0, 2.4, centre[0] - 90], [0, 2.2, 0, centre[1] - 90], [3.0, 0, 0, centre[2] - 90], [0, 0, 0, 1]]
    grid = Grid.regular(matrix, (61, 82, 76), MR)
    seen = bones(truth().apply(grid.centres_mm() - np.array([0.0, shift_mm, 0.0])))
    rng = np.random.default_rng(int(kind is Kind.T1) + 5)
    signal = rng.rayleigh(100, grid.shape) if noise_only else 300 - 220 * seen + rng.normal(0, 8, grid.shape)
    if noise_only:
        signal = ndimage.gaussian_filter(signal, 1.0) * 10
    axis = (0.0, 1.0, 0.0) if kind is Kind.DWI_TRACE else None
    return Volume(
        grid, signal.astype(np.float32), Quantity(kind, "1", 50.0 if axis else None), f"1.9.{kind.value}", axis
    )


CT_IMAGE, T1, FAT = ct_volume(), mr_volume(Kind.T1), mr_volume(Kind.DIXON_FAT)


def off(by_mm: float) -> Rigid:
    """The true transform, off by a shift in the CT's frame."""
    matrix = truth().matrix.copy()
    matrix[0, 3] += by_mm
    return Rigid(matrix, CT, MR)


def registered(
    start: Rigid,
    source: RegistrationSource,
    *,
    anatomical: tuple[Volume, ...] = (T1, FAT),
    dwi: Volume | None = None,
    on_dwi: bool = False,
    in_bone: bool = True,
    at_ct: Points = CENTRE_CT,
    side: Side = Side.UNKNOWN,
    levels: LevelCheck | None = None,
    voxel_mm: float = 3.0,
) -> LesionRegistration:
    registrar = LesionRegistrar(CT_IMAGE, anatomical, dwi, CaseRegistration(start, source, "test"), 1, levels)
    return registrar.register(Place("L1", truth().inverse().apply(at_ct), voxel_mm, in_bone, on_dwi, side))


def agreed_fits(monkeypatch: pytest.MonkeyPatch, by_mm: Points, disagreement_mm: float = 0.4) -> None:
    """Fits that agree more or less on a place so far from where the true transform puts the lesion."""
    there = CENTRE_CT + by_mm
    matrix = truth().matrix.copy()
    matrix[:3, 3] += by_mm
    found = Vote(Rigid(matrix, CT, MR), there, disagreement_mm, {"one": 0.1, "two": 0.2, "three": 0.4})
    monkeypatch.setattr(lesion_module, "vote", lambda _here, *, seed: found)


def error_mm(found: LesionRegistration) -> float:
    return float(np.linalg.norm(found.ct_from_mr.apply(truth().inverse().apply(CENTRE_CT)) - CENTRE_CT))


def held(found: LesionRegistration) -> dict[str, Finding]:
    return {finding.code: finding for finding in found.findings if finding.level is Level.HOLD}


def warned(found: LesionRegistration) -> set[str]:
    return {finding.code for finding in found.findings if finding.level is Level.WARN}


# computed -------------------------------------------------------------------------------------------------------------


def test_the_fits_find_the_lesion_from_a_start_five_millimetres_off() -> None:
    found = registered(off(5.0), RegistrationSource.COMPUTED)
    assert error_mm(found) < 0.7
    assert found.findings == ()
    assert found.disagreement_mm is not None
    assert found.uncertainty_mm == pytest.approx(np.hypot(2.0, 2 * found.disagreement_mm))


def test_the_same_input_gives_the_same_transform() -> None:
    one, other = (registered(off(4.0), RegistrationSource.COMPUTED) for _ in range(2))
    assert one.ct_from_mr == other.ct_from_mr


def test_soft_tissue_has_a_larger_floor_since_it_moves_by_itself() -> None:
    found = registered(off(2.0), RegistrationSource.COMPUTED, in_bone=False)
    assert found.uncertainty_mm >= lesion_module.FLOOR_SOFT_MM > lesion_module.FLOOR_BONE_MM
    assert found.method.startswith("soft tissue")


def test_fits_that_disagree_hold_the_lesion() -> None:
    noise = tuple(mr_volume(kind, noise_only=True) for kind in (Kind.T1, Kind.DIXON_FAT))
    found = registered(off(0.0), RegistrationSource.COMPUTED, anatomical=noise)
    finding = held(found)["lesion-uncertain"]
    assert finding.value is not None
    assert finding.value > lesion_module.MOST_DISAGREEMENT_MM
    assert finding.lesion == "L1"


def test_a_fit_far_from_the_whole_bodys_holds_the_lesion(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "lesion-moved-far" not in held(registered(off(6.0), RegistrationSource.COMPUTED))
    monkeypatch.setattr(lesion_module, "MOST_MOTION_MM", 4.0)
    finding = held(registered(off(6.0), RegistrationSource.COMPUTED))["lesion-moved-far"]
    assert finding.value == pytest.approx(6.0, abs=0.7)


@pytest.mark.parametrize("away", [[0, 0, 60.0], [0, 0, 500.0], [400.0, 0, 0]], ids=["end", "beyond", "beside"])
def test_a_lesion_at_the_end_of_the_ct_or_outside_is_held(away: list[float]) -> None:
    found = registered(truth(), RegistrationSource.COMPUTED, at_ct=CENTRE_CT + away)
    assert set(held(found)) == {"lesion-outside-ct"}
    assert found.uncertainty_mm >= lesion_module.MOST_MOTION_MM


def test_too_few_fits_hold_the_lesion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vote_module, "LEAST_FITS", 99)
    assert set(held(registered(truth(), RegistrationSource.COMPUTED))) == {"lesion-uncertain"}


# given ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [RegistrationSource.REG_OBJECT, RegistrationSource.SHARED_FRAME])
def test_a_given_transform_leads_and_the_images_confirm_it(source: RegistrationSource) -> None:
    found = registered(off(1.0), source)
    assert found.ct_from_mr == off(1.0)
    assert found.findings == ()
    assert error_mm(found) < found.uncertainty_mm < 4.5


def test_a_given_transform_that_the_images_contradict_holds_the_lesion_with_an_honest_bound() -> None:
    found = registered(off(7.0), RegistrationSource.REG_OBJECT)
    finding = held(found)["registration-disagrees"]
    assert finding.value == pytest.approx(7.0, abs=0.7)
    assert finding.limit == 3.0
    assert found.ct_from_mr == off(7.0), "it leads all the same"
    assert found.uncertainty_mm > 7.0


@pytest.mark.parametrize(("apart_mm", "holds"), [(1.9, False), (2.3, True)])
def test_fine_voxels_do_not_ask_more_of_a_given_transform_than_the_fits_know(
    monkeypatch: pytest.MonkeyPatch, apart_mm: float, holds: bool
) -> None:
    agreed_fits(monkeypatch, np.array([apart_mm, 0.0, 0.0]))
    found = registered(truth(), RegistrationSource.REG_OBJECT, voxel_mm=1.0)
    assert ("registration-disagrees" in held(found)) is holds
    if holds:
        assert held(found)["registration-disagrees"].limit == pytest.approx(np.hypot(2.0, 0.8))


def test_a_given_transform_that_nothing_can_check_says_so() -> None:
    found = registered(off(1.0), RegistrationSource.REG_OBJECT, anatomical=())
    assert warned(found) == {"registration-unverified"}
    assert not held(found)
    assert found.uncertainty_mm == pytest.approx(np.hypot(3.0, lesion_module.FLOOR_SOFT_MM))


def test_an_mr_that_tells_nothing_holds_a_given_transform_and_its_bound_is_wider() -> None:
    noise = tuple(mr_volume(kind, noise_only=True) for kind in (Kind.T1, Kind.DIXON_FAT))
    found = registered(off(1.0), RegistrationSource.REG_OBJECT, anatomical=noise)
    assert set(held(found)) == {"registration-disagrees"}
    scatter_mm = found.uncertainty_mm - np.hypot(3.0, lesion_module.FLOOR_SOFT_MM)
    assert scatter_mm > lesion_module.MOST_SCATTER_MM


@pytest.mark.parametrize(
    ("scatter_mm", "holds"),
    [(lesion_module.MOST_SCATTER_MM - 0.1, set()), (lesion_module.MOST_SCATTER_MM + 0.1, {"registration-disagrees"})],
)
def test_fits_from_a_given_transform_that_scatter_count_in_its_bound(
    monkeypatch: pytest.MonkeyPatch, scatter_mm: float, holds: set[str]
) -> None:
    agreed_fits(monkeypatch, np.zeros(3), disagreement_mm=scatter_mm)
    found = registered(truth(), RegistrationSource.REG_OBJECT)
    assert set(held(found)) == holds
    assert warned(found) == (set() if holds else {"registration-unverified"})
    assert found.uncertainty_mm == pytest.approx(np.hypot(3.0, lesion_module.FLOOR_SOFT_MM) + scatter_mm)


# the EPI shift --------------------------------------------------------------------------------------------------------


def test_a_flag_on_dwi_is_moved_back_by_the_shift() -> None:
    shift_mm = 3.0
    dwi = mr_volume(Kind.DWI_TRACE, shift_mm=shift_mm)
    found = registered(off(2.0), RegistrationSource.COMPUTED, dwi=dwi, on_dwi=True)
    assert found.epi_shift_mm == pytest.approx(shift_mm, abs=0.8)
    assert found.method.endswith(f"EPI shift of {found.epi_shift_mm:.1f} mm undone"), "a reader is told"
    seen = truth().inverse().apply(CENTRE_CT) + np.array([0.0, shift_mm, 0.0])
    assert np.linalg.norm(found.ct_from_mr.apply(seen) - CENTRE_CT) < 1.5
    undone = found.anatomical_ct_from_mr.inverse().matrix @ found.ct_from_mr.matrix
    np.testing.assert_allclose(undone[:3, :3], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(undone[:3, 3], [0.0, -found.epi_shift_mm, 0.0], atol=1e-6)
    assert np.linalg.norm(found.anatomical_ct_from_mr.apply(truth().inverse().apply(CENTRE_CT)) - CENTRE_CT) < 1.5
    assert "epi-shift-unknown" not in warned(found)


def test_a_flag_on_dwi_that_cannot_be_corrected_is_said_and_counted() -> None:
    with_it, without = (
        registered(off(2.0), RegistrationSource.COMPUTED, dwi=None, on_dwi=on_dwi) for on_dwi in (True, False)
    )
    assert warned(with_it) == {"epi-shift-unknown"}
    assert with_it.uncertainty_mm == pytest.approx(np.hypot(without.uncertainty_mm, lesion_module.EPI_UNCORRECTED_MM))
    np.testing.assert_allclose(with_it.ct_from_mr.matrix, without.ct_from_mr.matrix, atol=1e-12)
    assert with_it.anatomical_ct_from_mr == without.anatomical_ct_from_mr == without.ct_from_mr


def registered_by_dwi(source: RegistrationSource, start: Rigid, *, on_dwi: bool) -> LesionRegistration:
    """Where there are no anatomical images; the lesion stands where the DWI shows it."""
    dwi = tuple(mr_volume(kind, shift_mm=SHIFT_MM) for kind in (Kind.DWI_TRACE, Kind.DWI))
    registrar = LesionRegistrar(CT_IMAGE, dwi, None, CaseRegistration(start, source, "test"), 1)
    return registrar.register(Place("L1", seen_on_dwi(), 3.0, True, on_dwi))


SHIFT_MM = 3.0


def seen_on_dwi() -> Points:
    return np.asarray(truth().inverse().apply(CENTRE_CT) + np.array([0.0, SHIFT_MM, 0.0]))


def test_a_computed_transform_of_a_dwi_takes_its_shift_with_it() -> None:
    found = registered_by_dwi(RegistrationSource.COMPUTED, truth(), on_dwi=True)
    assert found.findings == ()
    assert "EPI" not in found.method
    assert found.ct_from_mr == found.anatomical_ct_from_mr
    assert found.epi_shift_mm == 0.0
    assert np.linalg.norm(found.ct_from_mr.apply(seen_on_dwi()) - CENTRE_CT) < 0.8


def test_a_flag_on_t1_in_a_transform_of_a_dwi_is_off_by_the_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed_fits(monkeypatch, np.zeros(3))
    on_dwi, on_t1 = (registered_by_dwi(RegistrationSource.COMPUTED, truth(), on_dwi=on) for on in (True, False))
    assert not warned(on_dwi)
    assert warned(on_t1) == {"epi-shift-unknown"}
    assert on_t1.uncertainty_mm == pytest.approx(np.hypot(on_dwi.uncertainty_mm, lesion_module.EPI_UNCORRECTED_MM))


def test_a_given_transform_of_the_anatomy_leaves_a_flag_on_dwi_uncorrected(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed_fits(monkeypatch, np.zeros(3))
    on_dwi, on_t1 = (registered_by_dwi(RegistrationSource.REG_OBJECT, truth(), on_dwi=on) for on in (True, False))
    assert warned(on_dwi) == {"epi-shift-unknown"}
    assert not warned(on_t1)


def test_a_shift_larger_than_is_believed_holds_the_lesion_uncorrected(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed_fits(monkeypatch, np.zeros(3))
    dwi = mr_volume(Kind.DWI_TRACE, shift_mm=7.0)
    found = registered(truth(), RegistrationSource.COMPUTED, dwi=dwi, on_dwi=True)
    finding = held(found)["epi-shift-large"]
    assert finding.value == pytest.approx(7.0, abs=0.8)
    assert finding.lesion == "L1"
    assert found.uncertainty_mm > finding.value
    assert found.epi_shift_mm == 0.0
    np.testing.assert_allclose(found.ct_from_mr.matrix, found.anatomical_ct_from_mr.matrix, atol=1e-12)


# the side -------------------------------------------------------------------------------------------------------------

LEAN = 0.1


def spine_check(*ghosts: Ghost, x_mm: float = CENTRE_CT[0], ends: tuple[float, float] = (260.0, 360.0)) -> LevelCheck:
    """A spine that passes a place ``x_mm`` at the lesion's height, and leans to the left on its way up."""
    heights = np.arange(ends[0], ends[1] + 1.0, 4.0)
    line = np.stack([x_mm + LEAN * (heights - CENTRE_CT[2]), np.full(len(heights), 30.0), heights], axis=1)
    return LevelCheck(Spine(line, {}), ghosts, 2.0)


@pytest.mark.parametrize(
    ("side", "across_mm", "told"),
    [
        (Side.LEFT, lesion_module.SIDE_MM + 0.2, True),
        (Side.LEFT, lesion_module.SIDE_MM - 0.2, False),
        (Side.LEFT, -60.0, False),
        (Side.RIGHT, -lesion_module.SIDE_MM - 0.2, True),
        (Side.RIGHT, -lesion_module.SIDE_MM + 0.2, False),
        (Side.RIGHT, 60.0, False),
        (Side.MIDLINE, 60.0, False),
        (Side.MIDLINE, -60.0, False),
        (Side.UNKNOWN, 60.0, False),
    ],
)
@pytest.mark.parametrize("above_mm", [0.0, 40.0])
def test_a_lesion_on_the_other_side_of_the_spine_is_held(
    side: Side, across_mm: float, told: bool, above_mm: float
) -> None:
    """``across_mm``: how far to the right (-x) of the spine it lies."""
    levels = spine_check(x_mm=CENTRE_CT[0] + across_mm - LEAN * above_mm)
    at_ct = CENTRE_CT + np.array([0.0, 0.0, above_mm])
    found = registered(truth(), RegistrationSource.REG_OBJECT, anatomical=(), at_ct=at_ct, side=side, levels=levels)
    assert set(held(found)) == ({"lesion-side"} if told else set())
    if told:
        finding = held(found)["lesion-side"]
        assert finding.value == pytest.approx(abs(across_mm))
        assert (finding.limit, finding.unit, finding.lesion) == (lesion_module.SIDE_MM, "mm", "L1")
        assert f"flagged {side.value}" in finding.message


@pytest.mark.parametrize(
    "levels",
    [None, LevelCheck(Spine(np.zeros((0, 3)), {}), (), 2.0), spine_check(x_mm=90.0, ends=(290.0, 330.0))],
    ids=["not looked at", "none", "too short"],
)
def test_without_a_spine_nobody_knows_the_side(levels: LevelCheck | None) -> None:
    for side in Side:
        found = registered(truth(), RegistrationSource.REG_OBJECT, anatomical=(), side=side, levels=levels)
        assert not held(found)
        said = levels is not None and side in (Side.LEFT, Side.RIGHT)
        assert ("lesion-side-unchecked" in warned(found)) is said


def test_a_fitted_lesion_that_lands_on_the_other_side_is_held() -> None:
    levels = spine_check(x_mm=CENTRE_CT[0] + 30.0)
    found = registered(off(2.0), RegistrationSource.COMPUTED, side=Side.LEFT, levels=levels)
    assert held(found)["lesion-side"].value == pytest.approx(30.0, abs=0.7)


# motion against the spine ---------------------------------------------------------------------------------------------


def ghosts_near(moved_mm: Points, distance_mm: float = 30.0) -> tuple[Ghost, ...]:
    places = [CENTRE_CT + np.array([0.0, 0.0, n * distance_mm]) for n in (-1, 0, 1)]
    moved = np.asarray(moved_mm, dtype=float)
    return tuple(Ghost(place, moved, moved + np.array([0.5, 0.0, 0.0]), 0.05, 0.05) for place in places)


FAR = lesion_module.MOST_MOTION_MM
WAY = np.array([0.6, 0.0, -0.8])


@pytest.mark.parametrize(
    ("fit_mm", "spine_mm", "told_mm", "whose"),
    [
        (FAR - 0.1, FAR - 0.1, None, ""),
        (FAR - 0.1, 0.0, None, ""),
        (0.0, FAR + 0.1, FAR + 0.1, "where the spine nearby would put it"),
        (6.0, -6.1, 12.1, "where the spine nearby would put it"),
        (6.0, -5.9, None, ""),
        (FAR + 0.1, FAR + 0.1, FAR + 0.1, "the whole body's"),
        (FAR + 8.0, 9.0, FAR + 8.0, "the whole body's"),
    ],
)
def test_a_lesion_is_held_that_moved_far_from_the_whole_body_or_otherwise_than_the_spine_nearby(
    monkeypatch: pytest.MonkeyPatch, fit_mm: float, spine_mm: float, told_mm: float | None, whose: str
) -> None:
    agreed_fits(monkeypatch, fit_mm * WAY)
    found = registered(truth(), RegistrationSource.COMPUTED, levels=spine_check(*ghosts_near(spine_mm * WAY)))
    assert set(held(found)) == ({"lesion-moved-far"} if told_mm else set())
    if told_mm:
        finding = held(found)["lesion-moved-far"]
        assert (finding.value, finding.limit) == (pytest.approx(told_mm), FAR)
        assert whose in finding.message


@pytest.mark.parametrize(
    "levels",
    [None, spine_check(), spine_check(*ghosts_near(15.0 * WAY)[:2]), spine_check(*ghosts_near(15.0 * WAY, 80.0))],
    ids=["not looked at", "no places", "two places", "places far away"],
)
def test_where_no_spine_is_near_the_whole_body_alone_counts(
    monkeypatch: pytest.MonkeyPatch, levels: LevelCheck | None
) -> None:
    agreed_fits(monkeypatch, (FAR + 0.1) * WAY)
    finding = held(registered(truth(), RegistrationSource.COMPUTED, levels=levels))["lesion-moved-far"]
    assert finding.value == pytest.approx(FAR + 0.1)
    assert "the whole body's" in finding.message


@pytest.mark.parametrize(
    ("anchors", "ends", "most_mm"),
    [
        (("hip bones",), (320.0, 420.0), lesion_module.MOST_MOTION_BELOW_MM),
        (("hip bones",), (300.0, 420.0), FAR),
        (("lung base", "lung apex"), (320.0, 420.0), FAR),
        ((), (320.0, 420.0), FAR),
    ],
    ids=["thigh", "beside the spine", "below a thorax", "below nobody knows what"],
)
def test_below_the_spine_beside_the_hips_a_thigh_may_move_further(
    monkeypatch: pytest.MonkeyPatch, anchors: tuple[str, ...], ends: tuple[float, float], most_mm: float
) -> None:
    check = spine_check(ends=ends)
    levels = LevelCheck(Spine(check.spine.line_mm, dict.fromkeys(anchors, np.zeros(3))), (), 2.0)
    for beyond_mm, told in ((-0.1, set()), (0.1, {"lesion-moved-far"})):
        agreed_fits(monkeypatch, (most_mm + beyond_mm) * WAY)
        found = held(registered(truth(), RegistrationSource.COMPUTED, levels=levels))
        assert set(found) == told
    assert found["lesion-moved-far"].limit == most_mm


def thigh() -> LevelCheck:
    """Levels of a spine that ends above the lesion, beside hips."""
    check = spine_check(ends=(320.0, 420.0))
    return LevelCheck(Spine(check.spine.line_mm, {"hip bones": np.zeros(3)}), (), 2.0)


@pytest.mark.parametrize(
    ("levels", "in_bone", "disagreement_mm", "looked"),
    [
        (thigh(), True, DOUBT_MM + 0.01, True),
        (thigh(), True, DOUBT_MM, False),
        (thigh(), False, DOUBT_MM + 0.01, False),
        (spine_check(), True, DOUBT_MM + 0.01, False),
        (None, True, DOUBT_MM + 0.01, False),
    ],
    ids=["thigh", "sure", "soft tissue", "beside the spine", "levels not looked at"],
)
def test_only_a_doubtful_bone_below_the_spine_is_looked_for_in_another_posture(
    monkeypatch: pytest.MonkeyPatch, levels: LevelCheck | None, in_bone: bool, disagreement_mm: float, looked: bool
) -> None:
    """Elsewhere the neighbouring rib or vertebra would be found. The vote from there counts; without one, the first."""
    agreed_fits(monkeypatch, 2.0 * WAY, disagreement_mm)
    asked: list[Rigid] = []

    def other(here: Surroundings, *, seed: int) -> Rigid | None:
        asked.append(here.ct_from_mr)
        return None

    monkeypatch.setattr(lesion_module, "other_posture", other)
    first = registered(truth(), RegistrationSource.COMPUTED, levels=levels, in_bone=in_bone)
    assert asked == [truth()] * looked
    assert first.disagreement_mm == disagreement_mm


def test_from_another_posture_the_place_is_voted_on_again() -> None:
    """A thigh 24 mm and 24 degrees from where the whole body's transform puts it."""
    turn = Rotation.from_rotvec([18.0, 4.0, -16.0], degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = CENTRE_CT + np.array([6.0, 22.0, -8.0]) - turn @ CENTRE_CT
    bent = Rigid(matrix, CT, CT) @ truth()
    assert "lesion-uncertain" in held(registered(bent, RegistrationSource.COMPUTED))
    found = registered(bent, RegistrationSource.COMPUTED, levels=thigh())
    assert error_mm(found) < 0.7
    assert held(found) == {}


# deformable -----------------------------------------------------------------------------------------------------------


def bent(*, undefined: bool = False, folded: bool = False, bend: float = 0.02) -> Deformation:
    """CT frame to MR frame: the true transform after a shift along z that grows with z and with x squared."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * 8.0
    matrix[:3, 3] = CENTRE_CT - 80.0
    grid = Grid.regular(matrix, (21, 21, 21), CT)
    away = grid.centres_mm() - CENTRE_CT
    vectors = np.zeros((*grid.shape, 3))
    vectors[..., 2] = bend * away[..., 2] + 5e-4 * away[..., 0] ** 2
    if folded:
        vectors[..., 2] = -1.5 * away[..., 2]
    if undefined:
        vectors[np.linalg.norm(away, axis=-1) < 12.0] = np.nan
    return Deformation(grid, vectors.astype(np.float32), np.eye(4), truth().inverse().matrix, MR)


def deformed(field: Deformation, at_ct: Points, anatomical: tuple[Volume, ...] = ()) -> LesionRegistration:
    case = CaseRegistration(truth(), RegistrationSource.REG_OBJECT, "test", deformation=field)
    registrar = LesionRegistrar(CT_IMAGE, anatomical, None, case, 1)
    return registrar.register(Place("L1", field.apply(at_ct), 3.0, True, False))


@pytest.mark.parametrize("away", [[0.0, 0.0, 0.0], [35.0, -10.0, 30.0]], ids=["middle", "beside"])
def test_each_lesion_has_the_rigid_transform_of_a_deformation_around_it(away: list[float]) -> None:
    field, at_ct = bent(), CENTRE_CT + away
    at_mr = field.apply(at_ct)
    found = deformed(field, at_ct)
    around = field.rigid_around(at_mr, MR)
    assert found.ct_from_mr == found.anatomical_ct_from_mr == around.rigid
    assert np.linalg.norm(found.ct_from_mr.apply(at_mr) - at_ct) <= around.residual_mm
    assert 0.0 < around.residual_mm < 1.0
    floor_mm = np.hypot(3.0, lesion_module.FLOOR_SOFT_MM)
    assert found.uncertainty_mm == pytest.approx(floor_mm + around.residual_mm), "what no rigid transform holds"
    assert warned(found) == {"registration-unverified"}
    assert not held(found)


def test_lesions_of_one_deformation_move_differently() -> None:
    field = bent(bend=0.05)
    one, other = (deformed(field, CENTRE_CT + z * np.array([0, 0, 1.0])).ct_from_mr for z in (0.0, 50.0))
    apart_mm = np.linalg.norm(one.apply(field.apply(CENTRE_CT)) - other.apply(field.apply(CENTRE_CT)))
    assert apart_mm == pytest.approx(2.5, abs=0.3)


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (bent(undefined=True), "registration-outside-grid"),
        (bent(folded=True), "registration-folds"),
        (bent(bend=0.4), "registration-not-locally-rigid"),
    ],
)
@pytest.mark.parametrize("on_dwi", [False, True])
def test_where_a_deformation_tells_no_transform_the_lesion_is_held_by_its_code(
    field: Deformation, code: str, on_dwi: bool
) -> None:
    case = CaseRegistration(truth(), RegistrationSource.REG_OBJECT, "test", deformation=field)
    registrar = LesionRegistrar(CT_IMAGE, (T1, FAT), None, case, 1)
    found = registrar.register(Place("L1", truth().inverse().apply(CENTRE_CT), 3.0, True, on_dwi))
    assert set(held(found)) == {code}
    assert held(found)[code].lesion == "L1"
    assert held(found)[code].message.startswith("L1: ")
    assert found.ct_from_mr.matrix == pytest.approx(truth().matrix)
    assert found.disagreement_mm is None
    assert found.uncertainty_mm >= lesion_module.MOST_MOTION_MM


def test_the_images_judge_a_deformation_as_any_other_given_transform() -> None:
    """Around the lesion it shifts by 5 mm what truly did not move."""
    matrix = truth().inverse().matrix.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [5.0, 0.0, 0.0]
    true, wrong = bent(bend=0.0), bent(bend=0.0)
    wrong = Deformation(wrong.grid, wrong.vectors_mm, wrong.pre, matrix, MR)
    assert not held(deformed(true, CENTRE_CT, (T1, FAT)))
    finding = held(deformed(wrong, CENTRE_CT, (T1, FAT)))["registration-disagrees"]
    assert finding.value == pytest.approx(5.0, abs=0.8)
