"""What psdt's own measures find around one place, what they refuse, and how they vote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.registration import around as around_module
from psdt_planner.registration import information as information_module
from psdt_planner.registration import vote as vote_module
from psdt_planner.registration.around import Surroundings, bone_with_rim
from psdt_planner.registration.fits import Image
from psdt_planner.registration.information import LEAST_POINTS, fit_information, normalised_information
from psdt_planner.registration.limb import other_posture
from psdt_planner.registration.sampling import Channels, moved_by
from psdt_planner.registration.similarity import CAUCHY, PAIRS, Similarity, described
from psdt_planner.registration.vote import DOUBT_MM, LEAST_FITS, WITNESS, all_fits, vote

CT, MR = "1.2.3", "1.2.4"
NAMES = ("information", "SimpleITK", "self-similarity", "inverse")


def rigid(degrees: tuple[float, float, float], shift_mm: tuple[float, ...]) -> Rigid:
    """mr_from_ct."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return Rigid(matrix, MR, CT)


TRUTH = rigid((2.0, -3.0, 2.5), (-40.0, 15.0, -210.0))
AT_CT = np.array([12.0, -31.0, 305.0])
AT_MR = TRUTH.apply(AT_CT)
OFF = moved_by(np.array([1.5, -1.0, 1.2, 3.0, -2.0, 2.5]), TRUTH, AT_CT)
SHAPE = (18, 20, 22)
ELSEWHERE = np.array([14.0, -9.0, 11.0])


def texture(points_mm: Points) -> NDArray[np.float64]:
    """Of the CT's frame, -1 to 1; no shift maps it onto itself."""
    rng = np.random.default_rng(8)
    waves = [np.sin(points_mm @ way + phase) for phase, way in enumerate(rng.normal(0, 0.16, (7, 3)))]
    return np.asarray(np.tanh(np.sum(waves, axis=0)))


def around(at_mm: Points, shape: tuple[int, int, int], frame: str) -> Grid:
    """A 2 mm lattice along L, P and S with a place in its middle."""
    matrix = np.eye(4)
    matrix[:3, :3] = 2.0 * np.eye(3)[:, ::-1]
    matrix[:3, 3] = at_mm - np.array(shape)[::-1] + 1.0
    return Grid.regular(matrix, shape, frame)


def ct_image() -> Image:
    grid = around(AT_CT, SHAPE, CT)
    return Image(grid, (40 + 300 * texture(grid.centres_mm())).astype(np.float32))


def mr_image(contrast: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Image:
    """The same tissue in another contrast, on a larger lattice."""
    grid = around(AT_MR, (28, 31, 33), MR)
    return Image(grid, contrast(texture(TRUTH.inverse().apply(grid.centres_mm()))).astype(np.float32))


FIXED = ct_image()
INVERTED = mr_image(lambda seen: 300 - 220 * seen)
BENT = mr_image(lambda seen: 500 * np.exp(-1.2 * seen) + 100 * seen**2)


def error_mm(found: Rigid | None) -> float:
    """The greatest at eight places, 1 cm from the centre along each axis."""
    assert found is not None
    places = AT_CT + 10.0 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return float(np.linalg.norm(found.apply(places) - TRUTH.apply(places), axis=1).max())


def test_the_start_of_these_fits_is_clearly_off() -> None:
    assert error_mm(OFF) > 4.0


# mutual information ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moving", [(BENT,), (INVERTED,), (INVERTED, BENT)], ids=["bent", "inverted", "both"])
def test_information_finds_the_images_in_another_contrast(moving: tuple[Image, ...]) -> None:
    found = fit_information(FIXED, moving, OFF, AT_CT, seed=1)
    assert error_mm(found) < 0.2
    assert found is not None
    assert (found.target, found.source) == (MR, CT)


def test_the_same_seed_gives_the_same_fit_and_another_one_its_neighbour() -> None:
    one, same, other = (fit_information(FIXED, (BENT,), OFF, AT_CT, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert error_mm(other) < 0.2


def test_only_the_fixed_images_mask_counts() -> None:
    """Outside the mask the CT shows the same tissue somewhere else."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, :12, :14] = True
    elsewhere = 40 + 300 * texture(FIXED.grid.centres_mm() + ELSEWHERE)
    contradicting = np.where(mask, FIXED.array, elsewhere).astype(np.float32)
    assert error_mm(fit_information(Image(FIXED.grid, contradicting), (INVERTED,), OFF, AT_CT, seed=1)) > 2.0
    assert error_mm(fit_information(Image(FIXED.grid, contradicting, mask), (INVERTED,), OFF, AT_CT, seed=1)) < 0.2


def test_voxels_of_the_moving_image_that_may_not_be_used_do_not_count() -> None:
    """They show the tissue 5 mm further back."""
    mask = np.ones(INVERTED.grid.shape, dtype=bool)
    mask[:, :, 18:] = False
    further = 300 - 220 * texture(TRUTH.inverse().apply(INVERTED.grid.centres_mm()) - np.array([0, 5.0, 0]))
    contradicting = Image(INVERTED.grid, np.where(mask, INVERTED.array, further).astype(np.float32))
    assert error_mm(fit_information(FIXED, (contradicting,), OFF, AT_CT, seed=1)) > 2.0
    masked = replace(contradicting, mask=mask)
    assert error_mm(fit_information(FIXED, (masked,), OFF, AT_CT, seed=1)) < 0.2


@pytest.mark.parametrize(("beside_mm", "found"), [(0.0, True), (60.0, False)])
def test_where_the_image_does_not_show_the_place_nothing_is_found(beside_mm: float, found: bool) -> None:
    """Further than the fit's steps reach."""
    start = moved_by(np.array([0, 0, 0, beside_mm, 0, 0]), TRUTH, AT_CT)
    assert (fit_information(FIXED, (INVERTED,), start, AT_CT, seed=1) is not None) == found


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("columns_outside", "penalty"), [(0, 0.0), (8, 0.0), (10, 0.1), (14, 0.3), (15, None)])
def test_leaving_the_image_costs_below_a_share_of_six_tenths_and_is_worthless_below_three(
    channels: int, columns_outside: int, penalty: float | None
) -> None:
    """Twenty columns, shifted along x by a half-voxel less than the columns that leave."""
    field = np.random.default_rng(6).uniform(0, 27, (7, 9, 20, channels)).astype(np.float32)
    grid = around(np.zeros(3), (7, 9, 20), MR)
    still = np.random.default_rng(7).uniform(0, 27, 7 * 9 * 20).astype(np.float32)
    start = Rigid(np.eye(4), MR, CT)
    points = grid.centres_mm().reshape(-1, 3)
    objective = information_module._Objective(points, still, Channels(grid, field), start, np.zeros(3))
    shift = max(0.0, 2.0 * columns_outside - 1.0)
    loss = objective(np.array([0, 0, 0, shift, 0, 0]))
    if penalty is None:
        assert loss == 0.0
        return
    stays = np.tile(np.arange(20) < 20 - columns_outside, 7 * 9)
    index = np.moveaxis(grid.index_from_mm(points[stays] + [shift, 0, 0]), -1, 0)
    values = [
        ndimage.map_coordinates(field[..., n].astype(np.float64), index, order=1, mode="nearest").astype(np.float32)
        for n in range(channels)
    ]
    gain = sum(normalised_information(still[stays], channel) for channel in values)
    assert loss == pytest.approx(-gain + channels * penalty, abs=1e-4)


# self-similarity ------------------------------------------------------------------------------------------------------


def test_the_twelve_pairs_are_of_neighbours_that_do_not_lie_opposite() -> None:
    assert len({frozenset({tuple(one), tuple(other)}) for one, other in PAIRS}) == 12
    for one, other in PAIRS:
        assert np.linalg.norm(one) == np.linalg.norm(other) == 2.0
        assert one @ other == 0


def slow_description(array: NDArray[np.float64], at: tuple[int, int, int]) -> NDArray[np.float64]:
    """One voxel's twelve numbers, patch voxel after patch voxel."""
    away = np.zeros(len(PAIRS))
    for n, (one, other) in enumerate(PAIRS):
        weights = 0.0
        for step in np.ndindex(7, 7, 7):
            near = np.array(step) - 3
            weight = np.exp(-0.5 * float(near @ near))
            difference = array[tuple(at + near + one)] - array[tuple(at + near + other)]
            away[n] += weight * difference**2
            weights += weight
        away[n] /= weights
    away -= away.min()
    return np.exp(-away / away.mean())


@pytest.mark.parametrize("at", [(8, 9, 10), (9, 12, 6), (5, 5, 16)])
def test_a_description_is_what_the_patches_say(at: tuple[int, int, int]) -> None:
    expected = slow_description(FIXED.array.astype(np.float64), at)
    np.testing.assert_allclose(described(FIXED).field[at], expected, atol=1e-3)


@pytest.mark.parametrize(("scale", "offset"), [(3.0, -200.0), (-1.0, 0.0), (-0.02, 7.0)])
def test_a_description_does_not_ask_for_the_intensities_scale_offset_or_sign(scale: float, offset: float) -> None:
    other = replace(FIXED, array=(scale * FIXED.array + offset).astype(np.float32))
    np.testing.assert_allclose(described(other).field, described(FIXED).field, atol=2e-3)


def test_a_description_lies_between_nothing_and_one_and_keeps_lattice_and_mask() -> None:
    mask = np.random.default_rng(3).random(SHAPE) < 0.5
    found = described(replace(FIXED, mask=mask))
    assert found.field.shape == (*SHAPE, 12)
    assert found.grid == FIXED.grid
    assert found.usable is mask
    assert 0.0 < found.field.min() < 0.2
    np.testing.assert_array_equal(found.field.max(axis=-1), np.ones(SHAPE))


def test_where_nothing_differs_all_is_alike() -> None:
    flat = replace(FIXED, array=np.full(SHAPE, 40.0, dtype=np.float32))
    np.testing.assert_array_equal(described(flat).field, np.ones((*SHAPE, 12)))


def similarity(*moving: Image, fixed: Image = FIXED, points: int = 2500) -> Similarity:
    return Similarity.of(fixed, moving, AT_CT, seed=1, points=points)


def test_an_image_on_itself_costs_nothing_and_anywhere_else_something() -> None:
    here = similarity(FIXED)
    same = Rigid.identity(CT)
    assert here.cost(same) == pytest.approx(0.0, abs=1e-9)
    for axis in np.eye(3):
        assert here.cost(moved_by(np.concatenate([np.zeros(3), axis]), same, AT_CT)) > 0.05


def test_the_cost_is_the_mean_robust_difference_of_the_descriptors_that_may_be_read() -> None:
    usable = np.random.default_rng(9).random(INVERTED.grid.shape) < 0.7
    here = similarity(replace(INVERTED, mask=usable), replace(BENT, mask=usable), points=60)
    at = INVERTED.grid.index_from_mm(OFF.apply(here.points_mm))
    fields = np.concatenate([described(image).field for image in (INVERTED, BENT)], axis=-1)
    seen = [ndimage.map_coordinates(fields[..., n], at.T, order=1, output=np.float64) for n in range(24)]
    index = FIXED.grid.index_from_mm(here.points_mm).round().astype(int)
    difference = np.stack(seen, axis=-1) - np.tile(described(FIXED).field[tuple(index.T)], 2)
    read = usable[tuple(at.round().astype(int).T)]
    assert 30 < read.sum() < 60
    assert here.cost(OFF) == pytest.approx(np.log1p((difference[read] / CAUCHY) ** 2).mean(), abs=1e-5)


@pytest.mark.parametrize(("usable", "known"), [(12, True), (11, True), (10, False)], ids=["more", "half", "less"])
def test_a_cost_without_half_of_the_points_is_infinite(usable: int, known: bool) -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, :, :usable] = True
    here = similarity(replace(FIXED, mask=mask), points=10**6)
    assert len(here.points_mm) == np.prod(SHAPE)
    assert np.isfinite(here.cost(Rigid.identity(CT))) == known


@pytest.mark.parametrize("moving", [(INVERTED,), (BENT,), (INVERTED, BENT)], ids=["inverted", "bent", "both"])
def test_self_similarity_finds_the_images_in_another_contrast(moving: tuple[Image, ...]) -> None:
    here = similarity(*moving)
    found = here.fit(OFF)
    assert error_mm(found.moving_from_fixed) < 0.25
    assert found.cost == here.cost(found.moving_from_fixed)
    assert found.cost < 0.6 * here.cost(OFF)
    assert found.moving_from_fixed == here.fit(OFF).moving_from_fixed, "deterministic"


def test_a_fit_that_starts_beside_the_image_stays_and_says_so() -> None:
    lost = moved_by(np.array([0, 0, 0, 500.0, 0, 0]), TRUTH, AT_CT)
    found = similarity(INVERTED).fit(lost)
    assert found.cost == np.inf
    np.testing.assert_allclose(found.moving_from_fixed.matrix, lost.matrix, atol=1e-9)


def test_the_gradient_is_that_of_the_cost() -> None:
    """A quarter turn takes every voxel to the same way into its cell: there the cost is smooth, and Cauchy's weights
    give its gradient exactly, up to a factor."""
    quarter = rigid((0.0, 0.0, 90.0), (0.0, 0.0, 0.0))
    shift = AT_MR - quarter.apply(AT_CT)
    start = Rigid(rigid((0.0, 0.0, 90.0), tuple(shift + np.array([0.2, 1.1, -0.1]))).matrix, MR, CT)
    grid = around(AT_MR, (27, 32, 33), MR)
    noise = ndimage.gaussian_filter(np.random.default_rng(4).normal(0, 50, grid.shape), 1.2).astype(np.float32)
    usable = np.random.default_rng(9).random(grid.shape) < 0.7
    here = similarity(Image(grid, noise, usable), points=300)
    into_cell = grid.index_from_mm(start.apply(here.points_mm)) % 1.0
    assert into_cell.min() > 0.3
    assert into_cell.max() < 0.7
    step = 0.01 * np.eye(6)
    slopes = [(here.cost(moved_by(h, start, AT_CT)) - here.cost(moved_by(-h, start, AT_CT))) / 0.02 for h in step]
    gradient, curvature = here._slope(start)
    read = here.moving.corners(start.apply(here.points_mm))[2]
    assert 150 < read.sum() < 300
    numbers = here.expected[read].size
    np.testing.assert_allclose(gradient * 2.0 / CAUCHY**2 / numbers, slopes, atol=3e-4)
    assert np.abs(slopes).max() > 0.01
    np.testing.assert_allclose(curvature, curvature.T, rtol=1e-3, atol=1e-3)
    assert np.linalg.eigvalsh(curvature).min() > 0.0


# votes ----------------------------------------------------------------------------------------------------------------


def surroundings(start: Rigid = OFF, mr: tuple[Image, ...] = (INVERTED, BENT), sharpest: int = 1) -> Surroundings:
    return Surroundings(
        ct=FIXED,
        mr=mr,
        sharpest=sharpest,
        masked=False,
        at_ct=start.inverse().apply(AT_MR),
        at_mr=AT_MR,
        ct_from_mr=start.inverse(),
    )


def test_four_measures_find_the_place_each_by_itself() -> None:
    fits = dict(all_fits(surroundings(), seed=1))
    assert tuple(fits) == NAMES
    for found in fits.values():
        assert (found.target, found.source) == (CT, MR)
        assert error_mm(found.inverse()) < 0.5


def test_measures_that_agree_give_a_place_with_little_disagreement() -> None:
    found, same = (vote(surroundings(), seed=1) for _ in range(2))
    assert found is not None
    assert same is not None
    assert np.linalg.norm(found.place_mm - AT_CT) < 0.2
    assert found.disagreement_mm < 0.3
    assert tuple(found.distances_mm) == NAMES
    np.testing.assert_allclose(found.ct_from_mr.apply(AT_MR), found.place_mm, atol=1e-9)
    assert found.ct_from_mr == same.ct_from_mr, "deterministic"


def test_self_similarity_starts_from_the_first_result_too() -> None:
    """From 12 mm away it alone ends elsewhere."""
    start = moved_by(np.array([2.0, 0, 0, 0, 12.0, 0]), TRUTH, AT_CT)
    assert error_mm(similarity(INVERTED, BENT).fit(start).moving_from_fixed) > 5.0
    assert error_mm(dict(all_fits(surroundings(start), seed=1))["self-similarity"].inverse()) < 0.25


def test_the_measures_of_one_channel_see_each_others_images_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the fixed image its mask counts, of the moving one all: a mask there would cut the edge that is looked for."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:15, 4:18, 2:15] = True
    here = replace(surroundings(), ct=replace(FIXED, mask=mask))
    seen: list[tuple[Image, Image, Rigid, Points]] = []

    def noted(fixed: Image, moving: Image, start: Rigid, centre_mm: Points, *rest: object, seed: int) -> Rigid:
        seen.append((fixed, moving, start, centre_mm))
        return start

    monkeypatch.setattr(vote_module, "fit", noted)
    assert tuple(dict(all_fits(here, seed=1))) == NAMES
    (fixed, moving, start, centre), (back_fixed, back_moving, back_start, back_centre) = seen
    assert fixed.mask is mask
    assert moving is BENT
    assert (start, centre.tolist()) == (here.mr_from_ct, here.at_ct.tolist())
    np.testing.assert_array_equal(back_fixed.mask, here.mr_mask)
    assert back_fixed.array is BENT.array
    assert (back_moving.mask, back_moving.array is FIXED.array) == (None, True)
    assert (back_start, back_centre.tolist()) == (here.ct_from_mr, AT_MR.tolist())


def test_measures_of_one_channel_use_the_sharpest() -> None:
    """The other channel tells nothing: only where it is the sharpest do the measures of one channel fail."""
    noise = replace(BENT, array=np.random.default_rng(1).normal(0, 9, BENT.array.shape).astype(np.float32))
    by_tissue, by_noise = (dict(all_fits(surroundings(mr=(noise, BENT), sharpest=n), seed=1)) for n in (1, 0))
    for name in ("SimpleITK", "inverse"):
        assert error_mm(by_tissue[name].inverse()) < 0.5
        assert error_mm(by_noise[name].inverse()) > 1.0


def test_a_measure_that_loses_the_images_has_no_vote_and_too_few_are_none() -> None:
    lost = moved_by(np.array([0, 0, 0, 500.0, 0, 0]), TRUTH, AT_CT)
    here = replace(surroundings(lost), at_ct=AT_CT)
    assert dict(all_fits(here, seed=1)) == {}
    assert vote(here, seed=1) is None


def test_self_similarity_has_no_vote_where_it_sees_less_than_half() -> None:
    mask = np.zeros(INVERTED.grid.shape, dtype=bool)
    mask[:, :, :14] = True
    names = set(dict(all_fits(surroundings(TRUTH, (replace(INVERTED, mask=mask),), 0), seed=1)))
    assert "self-similarity" not in names
    assert "information" in names


def through(place: tuple[float, ...], degrees: float) -> Rigid:
    """A ct_from_mr that turns by so much and takes the place to ``AT_CT`` and so many mm further."""
    turned = rigid((degrees, 0.0, 2.0 * degrees), (0.0, 0.0, 0.0)).matrix.copy()
    turned[:3, 3] = AT_CT + place - turned[:3, :3] @ AT_MR
    return Rigid(turned, CT, MR)


def voting(
    monkeypatch: pytest.MonkeyPatch, fits: dict[str, Rigid], near: dict[str, Rigid] | None = None
) -> list[Surroundings]:
    """The measures find ``fits``, and on what is near ``near`` (by default the same), first of all mutual information;
    what they were asked of is noted."""
    asked: list[Surroundings] = []

    def given(here: Surroundings, seed: int, *, but: str = "") -> Iterator[tuple[str, Rigid]]:
        asked.append(here)
        found = fits if here.ct is FIXED or near is None else near
        yield from ((name, fitted) for name, fitted in found.items() if name != but)

    def wide(fixed: Image, moving: object, start: Rigid, centre_mm: Points, *, seed: int) -> Rigid:
        return next(iter(fits.values())).inverse()

    monkeypatch.setattr(vote_module, "all_fits", given)
    monkeypatch.setattr(vote_module, "fit_information", wide)
    return asked


def test_the_vote_is_the_nearest_fit_on_the_median_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four places the geometric median is where their diagonals cross; 1.25 lies at 3/4 of 0.5, 0.55, 1 and 2."""
    fits = {
        "a": through((-1.2, -1.6, 0.0), 1.0),
        "b": through((-0.44, 0.33, 0.0), 2.0),
        "c": through((0.6, 0.8, 0.0), 3.0),
        "d": through((0.4, -0.3, 0.0), 4.0),
    }
    voting(monkeypatch, fits)
    found = vote(surroundings(), seed=1)
    assert found is not None
    np.testing.assert_allclose(found.place_mm, AT_CT, atol=1e-3)
    assert dict(found.distances_mm) == pytest.approx({"a": 2.0, "b": 0.55, "c": 1.0, "d": 0.5}, abs=1e-3)
    assert found.disagreement_mm == pytest.approx(1.25, abs=1e-3)
    np.testing.assert_array_equal(found.ct_from_mr.matrix[:3, :3], fits["d"].matrix[:3, :3])
    np.testing.assert_allclose(found.ct_from_mr.apply(AT_MR), found.place_mm, atol=1e-9)
    assert (found.ct_from_mr.target, found.ct_from_mr.source) == (CT, MR)


def test_the_witness_speaks_in_the_doubt_and_not_in_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three places with their median at the middle one; the witness, 4 mm off, is the third quarter's neighbour."""
    fits = {name: through((x, 0.0, 0.0), 1.0) for name, x in (("a", -0.2), ("b", 0.0), ("c", 0.2))}
    voting(monkeypatch, {"a": fits["a"], WITNESS: through((0.0, 4.0, 0.0), 2.0), "b": fits["b"], "c": fits["c"]})
    found = vote(surroundings(), seed=1)
    assert found is not None
    np.testing.assert_allclose(found.place_mm, AT_CT, atol=1e-4)
    assert dict(found.distances_mm) == pytest.approx({"a": 0.2, WITNESS: 4.0, "b": 0.0, "c": 0.2}, abs=1e-3)
    assert found.disagreement_mm == pytest.approx(0.2 + 0.25 * 3.8, abs=1e-3)


@pytest.mark.parametrize(("apart_mm", "near_votes"), [(DOUBT_MM - 0.01, False), (DOUBT_MM + 0.01, True)])
def test_in_doubt_what_is_near_in_bone_has_a_vote_too(
    monkeypatch: pytest.MonkeyPatch, apart_mm: float, near_votes: bool
) -> None:
    """Two measures either way of a third, the near ones 1 mm further along: the witness only where it looks wide."""
    wide = {name: through((x, 0.0, 0.0), 1.0) for name, x in (("a", -apart_mm), ("b", 0.0), ("c", apart_mm))}
    wide[WITNESS] = through((0.0, apart_mm, 0.0), 1.0)
    near = {name: through((1.0, 0.0, 0.0), 2.0) for name in ("a", "b", "c", WITNESS)}
    asked = voting(monkeypatch, wide, near)
    found = vote(surroundings(), seed=1)
    assert found is not None
    assert tuple(found.distances_mm) == (*wide, *(("a, near", "b, near", "c, near") if near_votes else ()))
    assert found.place_mm[0] - AT_CT[0] == pytest.approx(1.0 if near_votes else 0.0, abs=2e-3)
    assert len(asked) == 1 + near_votes
    if near_votes:  # seven fits: the 60th percentile lies 0.6 of the way from the fourth to the fifth distance
        near_and_far = sorted(found.distances_mm.values())
        assert found.disagreement_mm == pytest.approx(0.4 * near_and_far[3] + 0.6 * near_and_far[4])
        np.testing.assert_allclose(asked[1].at_ct, AT_CT, atol=1e-3)
        np.testing.assert_allclose(asked[1].ct_from_mr.matrix[:3, :3], wide["b"].matrix[:3, :3])


def test_in_soft_tissue_information_looks_around_and_all_measures_vote_nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five places, four at the corners of a square and one in its middle, the median is the middle; the witness
    votes as the others do."""
    near = {name: through((x, y, 0.0), 1.0) for name, x, y in (("a", -2, 0), ("b", 2, 0), ("c", 0, -2))}
    near[WITNESS] = through((0.0, 2.0, 0.0), 2.0)
    asked = voting(monkeypatch, {"information": through((0.0, 0.0, 0.0), 3.0)}, near)
    found = vote(replace(surroundings(), in_bone=False), seed=1)
    assert found is not None
    np.testing.assert_allclose(found.place_mm, AT_CT, atol=1e-3)
    assert tuple(found.distances_mm) == ("information", *(f"{name}, near" for name in near))
    assert found.disagreement_mm == pytest.approx(2.0, abs=1e-3)
    (here,) = asked
    np.testing.assert_allclose(here.at_ct, AT_CT, atol=1e-9)


def test_a_first_look_at_soft_tissue_that_loses_the_place_gives_no_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = voting(monkeypatch, {"information": through((75.0, 0.0, 0.0), 0.0)}, {})
    assert vote(replace(surroundings(), in_bone=False), seed=1) is None
    assert not asked, "nothing near was looked at"


def test_too_few_points_share_no_information() -> None:
    here = surroundings()
    few = np.zeros(here.ct.grid.shape, dtype=bool)
    few.ravel()[: LEAST_POINTS - 1] = True
    assert fit_information(replace(here.ct, mask=few), here.mr, here.mr_from_ct, here.at_ct, seed=1) is None
    assert fit_information(replace(here.ct, mask=few | ~few), here.mr, here.mr_from_ct, here.at_ct, seed=1) is not None


def test_what_is_near_is_a_ball_of_soft_tissue_or_so_much_bone_around_the_found_place() -> None:
    found = through((6.0, 2.0, 0.0), 4.0)
    small = replace(surroundings(), ct=replace(FIXED, mask=FIXED.array > 100.0))
    away = np.linalg.norm(FIXED.grid.centres_mm() - AT_CT - [6.0, 2.0, 0.0], axis=-1)
    for in_bone, radius_mm in ((False, 26.0), (True, np.sort(away[FIXED.array > 100.0])[1499])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(around_module, "NEAR_BONE_ML", 12.0)
            here = replace(small, in_bone=in_bone).nearer(found)
        np.testing.assert_array_equal(here.ct.mask, (FIXED.array > 100.0) & (away <= radius_mm))
        np.testing.assert_allclose(here.at_ct, AT_CT + np.array([6.0, 2.0, 0.0]))
        assert (here.ct_from_mr, here.at_mr.tolist()) == (found, AT_MR.tolist())
    all_of_it = small.nearer(found)
    np.testing.assert_array_equal(all_of_it.ct.mask, FIXED.array > 100.0)  # less than 30 ml


def test_near_a_joint_only_the_bone_that_the_place_sits_in_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ball in a socket, a gap of 6 mm between them: each sits in its own bone, and its rim leaves the other out."""
    here = surroundings()
    away = np.linalg.norm(FIXED.grid.centres_mm() - AT_CT, axis=-1)
    ball, socket = away <= 9.0, away >= 15.0
    joint = replace(FIXED, array=np.where(ball | socket, 600.0, 20.0).astype(np.float32))
    still = here.ct_from_mr
    at_joint = replace(here, ct=replace(joint, mask=bone_with_rim(joint)), at_mr=still.inverse().apply(AT_CT))
    monkeypatch.setattr(around_module, "NEAR_BONE_ML", 3.0)
    mask = at_joint.nearer(still).ct.mask
    assert mask is not None
    assert mask[away <= 7.0].all()
    assert not (mask & socket).any()
    aside = replace(at_joint, at_mr=still.inverse().apply(AT_CT + np.array([0.0, 17.0, 0.0])))
    mask = aside.nearer(still).ct.mask
    assert mask is not None
    assert mask.any()
    assert not (mask & ball).any()
    monkeypatch.setattr(around_module, "NEAR_BONE_ML", 30.0)
    mask = at_joint.nearer(still).ct.mask
    assert mask is not None
    assert (mask & socket).any(), "where its own bone is too little to tell it, all bone counts"


# a limb that lies otherwise -------------------------------------------------------------------------------------------


def test_another_posture_is_found_where_the_start_is_too_far_for_a_fit() -> None:
    """A bent and turned hip takes the place 17 mm away."""
    turned = moved_by(np.array([-8.0, 2.0, 9.0, 3.0, 16.0, -4.0]), TRUTH, AT_CT)
    assert np.linalg.norm(turned.apply(AT_CT) - AT_MR) > 16.0
    here = replace(surroundings(turned), at_ct=AT_CT)
    lost = Similarity.of(FIXED, (INVERTED, BENT), AT_CT, seed=1, points=600).fit(turned)
    assert error_mm(lost.moving_from_fixed) > 5.0
    found, same = (other_posture(here, seed=1) for _ in range(2))
    assert found is not None
    assert found == same
    assert (found.target, found.source) == (CT, MR)
    assert error_mm(found.inverse()) < 1.0


def test_a_limb_that_lies_as_the_start_says_has_no_other_posture() -> None:
    assert other_posture(surroundings(), seed=1) is None


def test_where_the_images_are_lost_there_is_no_other_posture() -> None:
    lost = moved_by(np.array([0, 0, 0, 500.0, 0, 0]), TRUTH, AT_CT)
    assert other_posture(replace(surroundings(lost), at_ct=AT_CT), seed=1) is None


def test_the_witness_is_heard_where_only_two_others_found_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = {"a": through((-1.0, 0.0, 0.0), 1.0), WITNESS: through((0.0, 0.0, 0.0), 2.0), "b": through((1.0, 0, 0), 3.0)}
    voting(monkeypatch, fits)
    found = vote(surroundings(), seed=1)
    assert found is not None
    np.testing.assert_allclose(found.place_mm, AT_CT, atol=1e-3)
    np.testing.assert_array_equal(found.ct_from_mr.matrix[:3, :3], fits[WITNESS].matrix[:3, :3])


def test_the_witness_lends_no_rotation_where_three_others_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lie nearest to their median by chance."""
    around = [(2.0, 0.0, 0.0), (-1.0, 1.7320508, 0.0), (-1.0, -1.7320508, 0.0)]
    fits = {str(n): through(place, 1.0 + n) for n, place in enumerate(around)}
    voting(monkeypatch, {WITNESS: through((0.0, 0.0, 0.0), 9.0), **fits})
    found = vote(surroundings(), seed=1)
    assert found is not None
    assert any(np.array_equal(found.ct_from_mr.matrix[:3, :3], fit.matrix[:3, :3]) for fit in fits.values())


@pytest.mark.parametrize("count", [LEAST_FITS - 1, LEAST_FITS])
def test_two_fits_are_no_vote_and_three_are(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    voting(monkeypatch, {f"fit {n}": through((n, 0.0, 0.0), 1.0) for n in range(count)})
    assert (vote(surroundings(), seed=1) is not None) == (count == 3)
