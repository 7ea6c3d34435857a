"""Which of the registrations that came in leads: either way, through other frames, for some images, and bent."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from psdt_planner.deformation import Deformation, DeformationError
from psdt_planner.errors import DecisionNeededError
from psdt_planner.exam import ImportedRegistration, Limit
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.registration import CaseRegistration, RegistrationSource, register_case
from psdt_planner.registration.direction import LEAST_GAIN, inverted
from psdt_planner.registration.routes import LONGEST_CHAIN, routes

CT, MR, PET, OLD = "1.2.3", "1.2.4", "1.2.5", "1.2.6"
CT_SERIES, T1, DWI = "1.3.1", "1.3.2", "1.3.3"


def rigid(
    target: str,
    source: str,
    degrees: tuple[float, float, float] = (0, 0, 0),
    shift: tuple[float, float, float] = (0, 0, 0),
) -> Rigid:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return Rigid(matrix, target, source)


def air() -> Volume:
    """A CT of 200 mm each way and nothing in it."""
    matrix = [[0, 0, 10.0, -100.0], [0, 8.0, 0, -90.0], [12.5, 0, 0, 700.0], [0, 0, 0, 1]]
    grid = Grid.regular(matrix, (17, 24, 21), CT)
    array = np.full(grid.shape, -1000.0, dtype=np.float32)
    return Volume(grid, array, Quantity(Kind.PLANNING_CT, "HU"), CT_SERIES)


def sent(*transforms: Rigid | Deformation, limits: tuple[Limit, ...] = ()) -> tuple[ImportedRegistration, ...]:
    """Objects 1.9.1, 1.9.2, ... of one transform each."""
    return tuple(ImportedRegistration(one, f"1.9.{n}", limits) for n, one in enumerate(transforms, start=1))


def case(*imported: ImportedRegistration, drawn_on: tuple[str, ...] = (DWI,)) -> CaseRegistration:
    return register_case(air(), MR, None, imported, seed=1, drawn_on=drawn_on)


def codes(findings: tuple[Finding, ...]) -> list[tuple[str, Level]]:
    return [(finding.code, finding.level) for finding in findings]


# chains ---------------------------------------------------------------------------------------------------------------

PET_FROM_MR = rigid(PET, MR, (3, -8, 20), (12.5, -40, 310))
CT_FROM_PET = rigid(CT, PET, (0, 90, -4), (-90, 6, 55))


@pytest.mark.parametrize("first_turned", [False, True])
@pytest.mark.parametrize("second_turned", [False, True])
def test_a_landmark_walks_through_the_frame_in_between(first_turned: bool, second_turned: bool) -> None:
    """MR to PET to CT, whichever way each object states its part."""
    first = PET_FROM_MR.inverse() if first_turned else PET_FROM_MR
    second = CT_FROM_PET.inverse() if second_turned else CT_FROM_PET
    found = case(*sent(first, second))
    landmark = np.array([31.0, -7.5, 120.0])
    expected = CT_FROM_PET.apply(PET_FROM_MR.apply(landmark))
    np.testing.assert_allclose(found.ct_from_mr.apply(landmark), expected, atol=1e-6)
    assert found.source is RegistrationSource.REG_OBJECT
    assert found.objects == ("1.9.1", "1.9.2")
    assert "1.9.1, 1.9.2" in found.method
    assert found.findings == ()


@given(order=st.permutations(range(4)), turned=st.tuples(*[st.booleans()] * 4))
def test_a_chain_of_four_is_walked_in_any_order_of_objects(order: list[int], turned: tuple[bool, ...]) -> None:
    frames = [MR, PET, OLD, "1.2.7", CT]
    steps = [rigid(frames[n + 1], frames[n], (11 * n, 5, -9 * n), (n, 40, -7)) for n in range(4)]
    stated = [step.inverse() if back else step for step, back in zip(steps, turned, strict=True)]
    imported = [replace(one, source_uid=f"1.9.{order[n]}") for n, one in enumerate(sent(*stated))]
    found = case(*imported)
    points = np.array([[0.0, 0, 0], [100, 0, 0], [0, 50, 900]])
    expected = points
    for step in steps:
        expected = step.apply(expected)
    np.testing.assert_allclose(found.ct_from_mr.apply(points), expected, atol=1e-6)
    assert (found.ct_from_mr.target, found.ct_from_mr.source) == (CT, MR)


def test_a_chain_ends_after_four_steps() -> None:
    assert LONGEST_CHAIN == 4
    frames = [MR, PET, OLD, "1.2.7", "1.2.8", CT]
    steps = [rigid(after, before) for before, after in pairwise(frames)]
    with pytest.raises(DecisionNeededError):
        case(*sent(*steps))


def test_the_shortest_chain_leads_and_a_longer_one_may_differ_by_what_its_steps_may() -> None:
    direct = rigid(CT, MR, (0, 0, 0), (5.0, 0, 0))
    by_pet = (rigid(PET, MR, (0, 0, 0), (4.0, 0, 0)), rigid(CT, PET, (0, 0, 0), (2.9, 0, 0)))
    found = case(*sent(*by_pet, direct))
    assert found.ct_from_mr == direct
    assert found.findings == (), "1.9 mm over two steps"
    off = replace(by_pet[1], matrix=rigid(CT, PET, (0, 0, 0), (3.1, 0, 0)).matrix)
    found = case(*sent(by_pet[0], off, direct))
    assert codes(found.findings) == [("registration-contradictory", Level.HOLD)]
    assert (found.findings[0].value, found.findings[0].limit) == (pytest.approx(2.1), 2.0)
    assert "1.9.1" in found.findings[0].message
    assert found.ct_from_mr == direct


def test_of_equal_chains_the_first_by_uid_leads_whatever_their_order() -> None:
    by_pet = sent(rigid(PET, MR), rigid(CT, PET))
    by_old = tuple(
        replace(one, source_uid=f"1.8.{n}") for n, one in enumerate(sent(rigid(OLD, MR), rigid(CT, OLD, (0, 0, 0))))
    )
    for imported in ((*by_pet, *by_old), (*by_old[::-1], *by_pet[::-1])):
        assert case(*imported).objects == ("1.8.0", "1.8.1", "1.9.1", "1.9.2")


def test_a_chain_passes_no_frame_twice_and_leads_nowhere_else() -> None:
    imported = sent(rigid(PET, MR), rigid(OLD, PET), rigid(MR, OLD), rigid("1.2.9", PET))
    assert routes(imported, MR, CT, {MR: {DWI}, CT: {CT_SERIES}}) == ()


# images ---------------------------------------------------------------------------------------------------------------


def limit(series: str, named: int, of: int, first: int = 0, frame: str = MR) -> Limit:
    return Limit(frame, series, frozenset(f"{series}.{n}" for n in range(first, first + named)), of)


def only_for(transform: Rigid, uid: str, *limits: Limit) -> ImportedRegistration:
    return ImportedRegistration(transform, uid, limits)


def test_the_item_that_names_the_flags_series_leads() -> None:
    right, wrong = rigid(CT, MR, (0, 0, 0), (1, 2, 3)), rigid(CT, MR, (0, 0, 0), (40, 0, 0))
    items = (only_for(wrong, "1.9.1", limit(T1, 30, 30)), only_for(right, "1.9.2", limit(DWI, 40, 40)))
    found = case(*items)
    assert found.ct_from_mr == right
    assert found.objects == ("1.9.2",)
    assert found.findings == ()


def test_an_item_for_other_images_does_not_count() -> None:
    with pytest.raises(DecisionNeededError):
        case(only_for(rigid(CT, MR), "1.9.1", limit(T1, 30, 30)))
    with pytest.raises(DecisionNeededError):
        case(only_for(rigid(CT, MR), "1.9.1", Limit(MR, "", frozenset({"7.7"}), 0)), drawn_on=("",))


@pytest.mark.parametrize("turned", [False, True])
def test_an_item_for_images_of_the_ct_counts_where_they_are_the_planning_ct_s(turned: bool) -> None:
    transform = rigid(CT, MR, (0, 0, 0), (1, 2, 3))
    stated = transform.inverse() if turned else transform
    found = case(only_for(stated, "1.9.1", limit(CT_SERIES, 17, 17, frame=CT)))
    assert found.ct_from_mr == transform
    with pytest.raises(DecisionNeededError):
        case(only_for(stated, "1.9.1", limit("1.3.99", 17, 17, frame=CT)))


def test_images_of_a_frame_in_between_bind_nothing() -> None:
    steps = (only_for(rigid(PET, MR), "1.9.1", limit("1.3.7", 3, 60, frame=PET)), *sent(rigid(CT, PET)))
    assert case(*steps).findings == ()


def test_stations_of_one_series_that_differ_hold_and_stations_that_agree_do_not() -> None:
    one, two = rigid(CT, MR), rigid(CT, MR, (0, 0, 0), (0, 0, 1.5))
    halves = (limit(DWI, 20, 40), limit(DWI, 20, 40, first=20))
    found = case(only_for(one, "1.9.1", halves[0]), only_for(two, "1.9.1", halves[1]))
    assert codes(found.findings) == [("registration-per-image", Level.HOLD)]
    assert found.findings[0].value == pytest.approx(1.5)
    found = case(only_for(one, "1.9.1", halves[0]), only_for(one, "1.9.1", halves[1]))
    assert found.findings == ()


def test_an_item_that_leaves_images_of_the_flags_series_out_holds() -> None:
    found = case(only_for(rigid(CT, MR), "1.9.1", limit(DWI, 39, 40)))
    assert codes(found.findings) == [("registration-per-image", Level.HOLD)]
    assert f"39 of 40 images of series {DWI}" in found.findings[0].message
    whole = sent(rigid(CT, MR))
    assert case(only_for(rigid(CT, MR), "1.9.1", limit(DWI, 39, 40)), *whole).findings == ()


def test_flags_on_two_series_with_different_items_hold() -> None:
    items = (
        only_for(rigid(CT, MR), "1.9.1", limit(T1, 30, 30)),
        only_for(rigid(CT, MR, (0, 0, 0), (3, 0, 0)), "1.9.1", limit(DWI, 40, 40)),
    )
    assert codes(case(*items, drawn_on=(T1, DWI)).findings) == [("registration-per-image", Level.HOLD)]


def test_an_item_for_the_flags_images_leads_before_one_for_the_frame_and_must_agree_with_it() -> None:
    frame, images = rigid(CT, MR), rigid(CT, MR, (0, 0, 0), (2, 0, 0))
    found = case(ImportedRegistration(frame, "1.9.1"), only_for(images, "1.9.2", limit(DWI, 40, 40)))
    assert found.ct_from_mr == images
    assert codes(found.findings) == [("registration-per-image", Level.HOLD)]


# deformable -----------------------------------------------------------------------------------------------------------

MR_FROM_CT = rigid(MR, CT, (4, -6, 9), (30, -20, -690))


def field(frame: str, other_from_frame: Rigid, wave_mm: float = 0.0, reach_mm: float = 0.0) -> Deformation:
    """Oblique vectors every 12 mm over the CT (in its own frame, or where ``MR_FROM_CT`` puts it), which turn and shift
    as a rigid transform does and wave on top of it."""
    turn = Rotation.from_euler("xyz", [6, -9, 14], degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn[:, [2, 1, 0]] * [12.0, 11.0, 13.0]
    middle = np.array([0.0, 0.0, 800.0]) if frame == CT else MR_FROM_CT.apply([0.0, 0.0, 800.0])
    shape = (31, 33, 28)
    matrix[:3, 3] = middle + reach_mm - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Grid.regular(matrix, shape, frame)
    at = grid.centres_mm()
    wave = wave_mm * np.stack([np.sin(at[..., 1] / 60), np.cos(at[..., 2] / 50), np.sin(at[..., 0] / 70)], axis=-1)
    vectors = other_from_frame.apply(at) + wave - at
    return Deformation(grid, vectors.astype(np.float32), np.eye(4), np.eye(4), other_from_frame.target)


@pytest.mark.parametrize("frame", [CT, MR])
def test_a_deformable_registration_is_near_each_place_the_rigid_transform_that_it_is_there(frame: str) -> None:
    """Waves of 5 mm height and about 350 mm length: the whole body is up to 12 mm off, the place itself is not."""
    bent = field(frame, MR_FROM_CT if frame == CT else MR_FROM_CT.inverse(), wave_mm=5.0)
    found = case(*sent(bent))
    assert (found.source, found.findings, found.objects) == (RegistrationSource.REG_OBJECT, (), ("1.9.1",))
    assert (found.ct_from_mr.target, found.ct_from_mr.source) == (CT, MR)
    for at_ct in ([0.0, 0.0, 800.0], [50.0, -40.0, 750.0], [-60.0, 20.0, 850.0]):
        at_mr = bent.carried(at_ct, CT)
        near = found.around(at_mr)
        assert (near.target, near.source) == (CT, MR)
        residual_mm = found.residual_mm(at_mr)
        assert np.linalg.norm(near.apply(at_mr) - at_ct) < 0.3
        assert 0.3 < residual_mm < 2.0, "a strain of up to a tenth over 20 mm"
        assert np.linalg.norm(found.ct_from_mr.apply(at_mr) - at_ct) < 12.0


def test_the_case_s_one_transform_is_the_nearest_rigid_one_and_says_how_far_it_is_off() -> None:
    found = case(*sent(field(CT, MR_FROM_CT)))
    np.testing.assert_allclose(found.ct_from_mr.matrix, MR_FROM_CT.inverse().matrix, atol=1e-4)
    assert "deformable: this is the rigid transform nearest to it in the body, up to 0.0 mm off" in found.method
    waving = case(*sent(field(CT, MR_FROM_CT, wave_mm=5.0)))
    assert waving.deformation is not None
    assert "0.0 mm off" not in waving.method


def test_a_rigid_case_is_the_same_everywhere() -> None:
    found = case(*sent(MR_FROM_CT.inverse()))
    assert found.deformation is None
    assert found.around([1.0, 2.0, 3.0]) == found.ct_from_mr
    assert found.residual_mm([1.0, 2.0, 3.0]) == 0.0


@pytest.mark.parametrize("frame", [CT, MR])
def test_beside_the_vectors_there_is_no_transform(frame: str) -> None:
    bent = field(frame, MR_FROM_CT if frame == CT else MR_FROM_CT.inverse())
    found = case(*sent(bent))
    with pytest.raises(DeformationError) as caught:
        found.around(MR_FROM_CT.apply([0.0, 0.0, 1200.0]))
    assert caught.value.finding("L1").code == "registration-outside-grid"


def test_vectors_that_miss_the_ct_hold_the_case() -> None:
    found = case(*sent(field(CT, MR_FROM_CT, reach_mm=2000.0)))
    assert codes(found.findings) == [("registration-outside-grid", Level.HOLD)]


CHAIN = (rigid(PET, MR, (10, 0, 5), (7, -9, 40)), rigid(CT, OLD, (0, 20, 0), (-5, 8, -60)))


@pytest.mark.parametrize("frame", [PET, OLD])
def test_a_deformable_step_may_stand_in_the_middle_of_a_chain(frame: str) -> None:
    """MR to PET rigid, PET to an old CT deformable in either direction, that to the CT rigid."""
    first, last = CHAIN
    old_from_pet = last.inverse() @ MR_FROM_CT.inverse() @ first.inverse()
    middle = last.inverse().apply([0.0, 0.0, 800.0])
    if frame == PET:
        middle = old_from_pet.inverse().apply(middle)
    bent = around_middle(frame, middle, old_from_pet if frame == PET else old_from_pet.inverse())
    found = case(*sent(first, bent, last))
    assert found.findings == ()
    assert found.objects == ("1.9.1", "1.9.2", "1.9.3")
    for at_ct in ([0.0, 0.0, 800.0], [40.0, -30.0, 770.0]):
        old = last.inverse().apply(at_ct)
        pet = bent.carried(old, OLD)
        at_mr = first.inverse().apply(pet)
        assert np.linalg.norm(found.around(at_mr).apply(at_mr) - at_ct) < 0.6


def around_middle(frame: str, middle: Points, transform: Rigid) -> Deformation:
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * 15.0
    matrix[:3, 3] = middle - 15.0 * 15.0
    grid = Grid.regular(matrix, (31, 31, 31), frame)
    at = grid.centres_mm()
    vectors = transform.apply(at) - at + 3.0 * np.sin(at[..., ::-1] / 70)
    return Deformation(grid, vectors.astype(np.float32), np.eye(4), np.eye(4), transform.target)


def test_two_deformable_steps_make_no_chain() -> None:
    first = field(CT, rigid(PET, CT))
    second = Deformation(replace(first.grid, frame=PET), first.vectors_mm, np.eye(4), np.eye(4), MR)
    with pytest.raises(DecisionNeededError):
        case(*sent(first, second))


def test_a_rigid_and_a_deformable_registration_that_differ_contradict_each_other() -> None:
    bent = field(CT, MR_FROM_CT, wave_mm=5.0)
    assert codes(case(*sent(MR_FROM_CT.inverse(), bent)).findings) == [("registration-contradictory", Level.HOLD)]
    alike = field(CT, MR_FROM_CT, wave_mm=0.1)
    assert case(*sent(MR_FROM_CT.inverse(), alike)).findings == ()


# the direction that the images show -----------------------------------------------------------------------------------


def tissue(points_mm: Points) -> Points:
    """0 to 1 inside an ellipsoid of 240 x 180 x 300 mm with blobs in it, negative outside; nothing repeats."""
    x, y, z = points_mm[..., 0], points_mm[..., 1], points_mm[..., 2]
    inside = (x / 120) ** 2 + (y / 90) ** 2 + (z / 150) ** 2 <= 1
    rng = np.random.default_rng(5)
    blobs = np.zeros(x.shape)
    for centre, size in zip(rng.uniform(-1, 1, (40, 3)) * [90, 65, 120], rng.uniform(9, 22, 40), strict=True):
        blobs = np.maximum(blobs, np.exp(-(((points_mm - centre) / size) ** 2).sum(axis=-1)))
    return np.where(inside, blobs, -1.0)


def images(ct_from_mr: Rigid) -> tuple[Volume, Volume]:
    """The same tissue as a CT and, in its own frame, as an MR of another contrast; non-square, unequal slices."""
    made = []
    for frame, spacing in ((CT, (6.0, 4.0, 5.0)), (MR, (7.0, 5.0, 4.0))):
        shape = (60, 60, 70)
        matrix = np.eye(4)
        matrix[:3, :3] = np.eye(3)[:, ::-1] * spacing
        matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
        grid = Grid.regular(matrix, shape, frame)
        at = grid.centres_mm() if frame == CT else ct_from_mr.apply(grid.centres_mm())
        value = tissue(at)
        hu = np.where(value < 0, -1000.0, 600.0 * value)
        signal = np.where(value < 0, 0.0, 40.0 + 200.0 * np.abs(value - 0.4))
        kind = Quantity(Kind.PLANNING_CT, "HU") if frame == CT else Quantity(Kind.T1, "1")
        array = (hu if frame == CT else signal).astype(np.float32)
        made.append(Volume(grid, array, kind, CT_SERIES if frame == CT else T1))
    return made[0], made[1]


TRUE = rigid(CT, MR, (4, -3, 5), (14, -9, 22))


def test_an_inverse_written_by_mistake_is_noticed_and_still_leads() -> None:
    ct, mr = images(TRUE)
    backwards = Rigid(TRUE.inverse().matrix, CT, MR)
    found = register_case(ct, MR, mr, sent(backwards), seed=1)
    assert codes(found.findings) == [("registration-inverted", Level.HOLD)]
    assert found.ct_from_mr == backwards
    assert found.findings[0].value is not None
    assert found.findings[0].value > LEAST_GAIN
    assert found.findings[0].limit == LEAST_GAIN
    assert "probably wrote the inverse" in found.findings[0].message


def test_the_right_direction_is_left_alone() -> None:
    ct, mr = images(TRUE)
    assert register_case(ct, MR, mr, sent(TRUE), seed=1).findings == ()


def test_near_identity_the_two_directions_cannot_be_told_apart() -> None:
    small = rigid(CT, MR, (0.1, 0, 0), (0.3, -0.2, 0.3))
    ct, mr = images(small)
    assert inverted(ct, mr, small) is None
    assert inverted(ct, mr, Rigid(small.inverse().matrix, CT, MR)) is None


@pytest.mark.parametrize(("noise", "noticed"), [(50.0, True), (100.0, False)])
def test_images_with_little_in_common_are_no_proof(noise: float, noticed: bool) -> None:
    """At the higher noise the true direction is still better by 0.14, but itself too weak to be believed."""
    ct, mr = images(TRUE)
    rng = np.random.default_rng(1)
    noisy = replace(mr, array=(mr.array + rng.normal(scale=noise, size=mr.array.shape)).astype(np.float32))
    assert (inverted(ct, noisy, Rigid(TRUE.inverse().matrix, CT, MR)) is not None) == noticed


@pytest.mark.parametrize(("slices", "noticed"), [(40, True), (30, False)])
def test_an_mr_of_less_than_half_of_the_body_is_no_proof(slices: int, noticed: bool) -> None:
    transform = rigid(CT, MR, (4, -3, 5), (14, -9, 62))
    ct, mr = images(transform)
    grid = mr.grid
    part = Grid(grid.slice_origins_mm[-slices:], grid.step_j_mm, grid.step_i_mm, (slices, *grid.shape[1:]), grid.frame)
    short = Volume(part, mr.array[-slices:], mr.quantity, T1)
    assert (inverted(ct, short, Rigid(transform.inverse().matrix, CT, MR)) is not None) == noticed


def test_images_that_fit_neither_way_say_nothing_of_the_direction() -> None:
    ct, mr = images(TRUE)
    wrong = rigid(CT, MR, (90, 0, 0), (0, 0, 0))
    assert inverted(ct, mr, wrong) is None
    far = rigid(CT, MR, (0, 0, 0), (0, 0, 2000))
    assert inverted(ct, mr, far) is None


def test_a_ct_without_a_body_says_nothing_of_the_direction() -> None:
    _, mr = images(TRUE)
    assert inverted(air(), mr, TRUE) is None
