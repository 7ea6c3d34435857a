"""The parts of the registration that can be known by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize
from scipy.spatial.transform import Rotation

from psdt_planner.errors import DecisionNeededError
from psdt_planner.exam import ImportedRegistration
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.registration import RegistrationSource, register_case
from psdt_planner.registration.bodies import Profile
from psdt_planner.registration.epi import SEARCH_MM, epi_shift
from psdt_planner.registration.information import binned, normalised_information
from psdt_planner.registration.sitk_bridge import even_image, lps_lattice, to_rigid, to_sitk, to_transform
from psdt_planner.registration.start import CANDIDATE_DISTANCE_MM, starts
from psdt_planner.registration.vote import geometric_median

CT, MR = "1.2.3", "1.2.4"

coordinates = st.floats(-50, 50).map(lambda x: round(x, 3))


def volume(
    frame: str, array: np.ndarray, grid: Grid | None = None, axis: tuple[float, float, float] | None = None
) -> Volume:
    return Volume(grid or even_grid(frame, array.shape), array, Quantity(Kind.T1, "1"), f"{frame}.1", axis)


def even_grid(frame: str, shape: tuple[int, ...]) -> Grid:
    matrix = [[0, 0, 2.0, -30.0], [0, 2.5, 0, -25.0], [4.0, 0, 0, 700.0], [0, 0, 0, 1]]
    return Grid.regular(matrix, (shape[0], shape[1], shape[2]), frame)


def rigid(degrees: tuple[float, float, float], shift: tuple[float, float, float], target: str, source: str) -> Rigid:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return Rigid(matrix, target, source)


# which transform leads -----------------------------------------------------------------------------------------------


def test_a_shared_frame_leads_before_everything_else() -> None:
    ct = volume(CT, np.zeros((3, 4, 5), dtype=np.float32))
    found = register_case(ct, CT, None, (), seed=1)
    assert found.source is RegistrationSource.SHARED_FRAME
    assert found.ct_from_mr == Rigid.identity(CT)


@pytest.mark.parametrize("turned_round", [False, True])
def test_an_imported_registration_leads_in_either_direction(turned_round: bool) -> None:
    ct = volume(CT, np.zeros((3, 4, 5), dtype=np.float32))
    ct_from_mr = rigid((2, -3, 5), (10, 20, -30), CT, MR)
    sent = ct_from_mr.inverse() if turned_round else ct_from_mr
    found = register_case(ct, MR, None, (ImportedRegistration(sent, "1.9"),), seed=1)
    assert found.source is RegistrationSource.REG_OBJECT
    assert "1.9" in found.method
    np.testing.assert_allclose(found.ct_from_mr.matrix, ct_from_mr.matrix, atol=1e-9)


def test_registrations_that_contradict_each_other_hold_the_case() -> None:
    ct = volume(CT, np.zeros((3, 4, 5), dtype=np.float32))
    one, two = rigid((0, 0, 0), (0, 0, 0), CT, MR), rigid((0, 0, 0), (0, 0, 1.5), CT, MR)
    sent = (ImportedRegistration(two, "1.9.2"), ImportedRegistration(one, "1.9.1"))
    found = register_case(ct, MR, None, sent, seed=1)
    assert [(f.code, f.level.value, f.value) for f in found.findings] == [("registration-contradictory", "hold", 1.5)]
    assert found.ct_from_mr == one


def test_registrations_that_agree_to_a_tenth_of_a_millimetre_do_not() -> None:
    ct = volume(CT, np.zeros((3, 4, 5), dtype=np.float32))
    sent = tuple(ImportedRegistration(rigid((0, 0, 0), (0, 0, z), CT, MR), f"1.9.{z}") for z in (0.0, 0.1))
    assert register_case(ct, MR, None, sent, seed=1).findings == ()


def test_a_registration_of_other_frames_does_not_lead_and_nothing_is_guessed() -> None:
    ct = volume(CT, np.zeros((3, 4, 5), dtype=np.float32))
    other = ImportedRegistration(Rigid.identity("1.7"), "1.9")
    with pytest.raises(DecisionNeededError, match="no MR of their frame"):
        register_case(ct, MR, None, (other,), seed=1)


def test_a_ct_without_a_body_holds_the_case_instead_of_lying_somewhere() -> None:
    ct = volume(CT, np.full((30, 40, 50), -1000.0, dtype=np.float32))
    mr = volume(MR, np.random.default_rng(1).rayleigh(5.0, (40, 50, 60)).astype(np.float32))
    found = register_case(ct, MR, mr, (), seed=1)
    assert [(finding.code, finding.level.value) for finding in found.findings] == [("registration-failed", "hold")]


# the bridge to SimpleITK ---------------------------------------------------------------------------------------------


@given(st.tuples(*[st.floats(-40, 40)] * 3), st.tuples(*[coordinates] * 3), st.tuples(*[coordinates] * 3))
def test_a_transform_survives_the_way_to_simpleitk_and_back(
    degrees: tuple[float, float, float], shift: tuple[float, float, float], centre: tuple[float, float, float]
) -> None:
    mr_from_ct = rigid(degrees, shift, MR, CT)
    there = to_transform(mr_from_ct, np.array(centre))
    np.testing.assert_allclose(there.TransformPoint((1.0, 2.0, 3.0)), mr_from_ct.apply([1.0, 2.0, 3.0]), atol=1e-6)
    np.testing.assert_allclose(to_rigid(there, moving_frame=MR, fixed_frame=CT).matrix, mr_from_ct.matrix, atol=1e-6)


def test_an_image_lies_where_its_grid_says() -> None:
    turn = Rotation.from_euler("zyx", [10, 4, -7], degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn[:, [2, 1, 0]] * [5.0, 2.5, 1.5]
    matrix[:3, 3] = [-100.0, 20.0, 900.0]
    grid = Grid.regular(matrix, (4, 6, 9), MR)
    image = to_sitk(np.zeros(grid.shape, dtype=np.float32), grid)
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((7, 5, 2)), grid.mm_from_index([2, 5, 7]), atol=1e-9)


def test_uneven_slices_are_interpolated_where_they_are() -> None:
    origins = np.array([[0, 0, z] for z in (0.0, 2.0, 6.0, 8.0)])
    grid = Grid(origins, np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), (4, 3, 5), CT)
    z = grid.centres_mm()[..., 2].astype(np.float32)
    image = even_image(volume(CT, z, grid))
    assert image.GetSize() == (5, 3, 5)
    np.testing.assert_allclose([image[2, 1, k] for k in range(5)], [0, 2, 4, 6, 8], atol=1e-5)


def test_uneven_slices_lose_nothing_at_the_end() -> None:
    """Gaps of 2 and 5 mm: the last slice is no whole number of smallest gaps from the first."""
    origins = np.array([[0, 0, z] for z in (0.0, 2.0, 7.0)])
    grid = Grid(origins, np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), (3, 3, 5), CT)
    image = even_image(volume(CT, grid.centres_mm()[..., 2].astype(np.float32), grid))
    assert image.GetSpacing() == pytest.approx((1.0, 1.0, 7.0 / 4.0))
    np.testing.assert_allclose([image[2, 1, k] for k in range(5)], np.arange(5) * 7.0 / 4.0, atol=1e-5)


def test_a_lattice_spans_its_corners() -> None:
    lattice = lps_lattice(np.array([[-3.0, 2.0, 10.0], [4.0, 7.0, 21.0]]), 2.0, CT)
    ends = lattice.mm_from_index([[0, 0, 0], np.array(lattice.shape) - 1])
    np.testing.assert_allclose(ends[0], [-3, 2, 10])
    assert (ends[1] >= [4, 7, 21]).all()
    assert (ends[1] < [6, 9, 23]).all()


# starts --------------------------------------------------------------------------------------------------------------


def body_profile(z_mm: np.ndarray, along_mm: np.ndarray, centre: tuple[float, float]) -> Profile:
    """A body that narrows at the waist and holds air in the chest, by its own coordinate."""
    width = 300 + 60 * np.cos(along_mm / 110) + 15 * np.sin(along_mm / 31)
    figures = np.stack([0.8 * width, width, 0.6 * width, 100 / (1 + np.exp(-(along_mm - 400) / 25))], axis=1)
    return Profile(z_mm, figures, np.tile(np.array(centre), (len(z_mm), 1)))


@pytest.mark.parametrize("first", [0, 37, 90, 120])
def test_the_best_start_is_where_the_profiles_agree(first: int) -> None:
    along = np.arange(180) * 5.0
    mr = body_profile(along - 400.0, along, (4.0, -6.0))
    part = along[first : first + 60]
    ct = body_profile(part + 1000.0, part, (-11.0, 14.0))
    best = starts(ct, mr)[0]
    np.testing.assert_allclose(best.shift_mm, [-15.0, 20.0, 1400.0], atol=1e-9)
    assert best.misfit_mm == pytest.approx(0.0, abs=1e-9)


def test_starts_keep_their_distance_and_come_best_first() -> None:
    along = np.arange(180) * 5.0
    mr, ct = body_profile(along, along, (0, 0)), body_profile(along[:60], along[70:130], (0, 0))
    found = starts(ct, mr)
    z = np.array([start.shift_mm[2] for start in found])
    assert len(found) == 5
    assert np.abs(z[:, None] - z[None])[~np.eye(5, dtype=bool)].min() >= CANDIDATE_DISTANCE_MM
    assert [s.misfit_mm for s in found] == sorted(s.misfit_mm for s in found)


def test_a_ct_longer_than_the_mr_has_no_start() -> None:
    along = np.arange(100) * 5.0
    assert starts(body_profile(along, along, (0, 0)), body_profile(along[:50], along[:50], (0, 0))) == ()


# votes ---------------------------------------------------------------------------------------------------------------


@given(arrays(np.float64, (5, 3), elements=coordinates))
def test_the_geometric_median_has_the_least_sum_of_distances(points: Points) -> None:
    def total(at: Points) -> float:
        return float(np.linalg.norm(points - at, axis=1).sum())

    slow = min(
        total(optimize.minimize(total, begin, method="Nelder-Mead").x) for begin in (*points, points.mean(axis=0))
    )
    assert total(geometric_median(points)) <= slow + 0.02


def test_one_stray_vote_hardly_moves_the_median() -> None:
    votes = np.array([[0.0, 0, 0], [0.3, 0, 0], [0, 0.3, 0], [0, 0, 0.3], [0, 0, 40.0]])
    assert np.linalg.norm(geometric_median(votes)) < 0.3


# the EPI shift -------------------------------------------------------------------------------------------------------


def texture(points_mm: Points) -> np.ndarray:
    x, y, z = points_mm[..., 0], points_mm[..., 1], points_mm[..., 2]
    waves = np.sin(x / 6) * np.cos(y / 5) + np.sin((y + z) / 7) + 0.5 * np.cos((x - z) / 4)
    return np.asarray(np.tanh(2 * waves))


@pytest.mark.parametrize("shift_mm", [-4.2, 0.0, 2.7])
def test_the_shift_along_the_phase_axis_is_found_in_a_different_contrast(shift_mm: float) -> None:
    grid = even_grid(MR, (40, 50, 60))
    grid = Grid.regular(grid.mm_from_kji, (30, 45, 55), MR)
    still = texture(grid.centres_mm())
    moved = np.exp(-texture(grid.centres_mm() - np.array([0.0, shift_mm, 0.0])))
    anatomical = volume(MR, still.astype(np.float32), grid)
    dwi = volume(MR, moved.astype(np.float32), grid, axis=(0.0, 1.0, 0.0))
    found = epi_shift((anatomical,), dwi, grid.mm_from_index([15, 22, 27]))
    assert found is not None
    assert found.trusted
    assert found.shift_mm == pytest.approx(shift_mm, abs=0.3)
    np.testing.assert_allclose(found.undo(), [0, -found.shift_mm, 0])


@pytest.mark.parametrize("shift_mm", [7.0, -8.5, 10.0, 12.0])
def test_a_shift_beyond_the_cap_is_not_believed(shift_mm: float) -> None:
    grid = Grid.regular(even_grid(MR, (1, 1, 1)).mm_from_kji, (30, 45, 55), MR)
    still = texture(grid.centres_mm())
    moved = texture(grid.centres_mm() - np.array([0.0, shift_mm, 0.0]))
    dwi = volume(MR, moved.astype(np.float32), grid, axis=(0.0, 1.0, 0.0))
    found = epi_shift((volume(MR, still.astype(np.float32), grid),), dwi, grid.mm_from_index([15, 22, 27]))
    assert found is not None
    assert not found.trusted
    assert found.shift_mm == pytest.approx(shift_mm, abs=0.3), "told, so that the bound may hold it"
    np.testing.assert_array_equal(found.undo(), 0.0)


def test_likeness_that_still_grows_at_the_end_of_the_search_is_a_shift_as_large_at_least() -> None:
    """A ramp of few grey levels: every further step along the axis is a little more alike."""
    grid = Grid.regular(even_grid(MR, (1, 1, 1)).mm_from_kji, (30, 45, 55), MR)
    still, moved = (np.tanh((grid.centres_mm()[..., 1] - y_mm) / 12.0).astype(np.float32) for y_mm in (0.0, 40.0))
    dwi = volume(MR, moved, grid, axis=(0.0, 1.0, 0.0))
    found = epi_shift((volume(MR, still, grid),), dwi, grid.mm_from_index([15, 22, 27]))
    assert found is not None
    assert (found.shift_mm, found.trusted) == (SEARCH_MM, False)


def test_without_a_stated_phase_axis_there_is_no_shift() -> None:
    image = volume(MR, np.zeros((3, 4, 5), dtype=np.float32))
    assert epi_shift((image,), image, np.zeros(3)) is None


def test_mutual_information_falls_with_noise_to_one_for_independent_numbers() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 40_000)).astype(np.float32)
    values = [normalised_information(binned(a), binned(-a + noise * b)) for noise in (0.0, 0.5, 2.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.2
    assert normalised_information(binned(a), binned(b)) == pytest.approx(1.0, abs=0.01)
