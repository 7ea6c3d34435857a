"""The plan of one exam: what is mapped, what is held, and why. No files, no fits: flags and CT share a frame here."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from psdt_planner.errors import InputError
from psdt_planner.exam import Exam, ImportedRegistration, Landmark, Limit
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.fractionation import Abstention, Proposal
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side
from psdt_planner.planning import Exclusion, LesionStatus, Plan, PlanStatus, channels_of, plan, whole
from psdt_planner.planning.channels import channels_by_lesion
from psdt_planner.protocol import Protocol
from psdt_planner.registration import LesionRegistrar, LesionRegistration, LevelCheck, Place, RegistrationSource
from psdt_planner.registration.lesion import EPI_UNCORRECTED_MM, FLOOR_SOFT_MM
from psdt_planner.registration.spine import Spine
from psdt_planner.shapes import RoiKind
from psdt_planner.shipped import shipped_protocol
from tests import test_lesion_registrar as phantom

CT, MR = "1.2.3", "1.2.4"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return shipped_protocol()


def ct_volume() -> Volume:
    """A feet-first, non-square CT of 2.5 mm slices."""
    matrix = [[0, 0, -1.4, 70.0], [0, 1.1, 0, -60.0], [-2.5, 0, 0, 500.0], [0, 0, 0, 1]]
    grid = Grid.regular(matrix, (40, 110, 100), CT)
    return Volume(grid, np.zeros(grid.shape, dtype=np.float32), Quantity(Kind.PLANNING_CT, "HU"), "1.9.1")


def sphere(
    number: int,
    centre_mm: tuple[float, float, float],
    *,
    frame: str = CT,
    site: str = "bone",
    radius_mm: float = 9.0,
    voxel_mm: tuple[float, float, float] = (2.4, 1.9, 2.2),
) -> FlaggedLesion:
    half = radius_mm + 3 * max(voxel_mm)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * voxel_mm
    matrix[:3, 3] = np.array(centre_mm) - half
    count = [int(2 * half / mm) + 1 for mm in voxel_mm]
    grid = Grid.regular(matrix, (count[0], count[1], count[2]), frame)
    mask = (np.linalg.norm(grid.centres_mm() - centre_mm, axis=-1) <= radius_mm).astype(np.float32)
    source = FlagSource(SEG, "1.8.1", number)
    return FlaggedLesion(
        f"L{number}",
        f"lesion {number}",
        site,
        "code",
        Side.LEFT,
        f"1.7.{number}",
        grid,
        mask,
        MaskKind.BINARY,
        source,
        "1.9.3",
        "t1",
    )


CENTRES = ((10.0, -5.0, 450.0), (-15.0, 8.0, 440.0), (20.0, 10.0, 470.0))


def exam(*flags: FlaggedLesion, findings: tuple[Finding, ...] = (), **parts: object) -> Exam:
    chosen = flags or tuple(sphere(n + 1, centre) for n, centre in enumerate(CENTRES))
    return replace(Exam(ct_volume(), (), chosen, (), (), findings), **parts)


def codes(made: Plan, level: Level = Level.HOLD) -> set[str]:
    return {finding.code for finding in made.findings if finding.level is level}


def test_every_flag_becomes_three_targets_at_its_place(protocol: Protocol) -> None:
    made = plan(exam(), protocol)
    assert made.status is PlanStatus.PROPOSED
    assert made.registration is not None
    assert made.registration.source is RegistrationSource.SHARED_FRAME
    assert made.structure_set is not None
    assert [roi.name for roi in made.structure_set.rois] == [
        f"{kind}{n}" for n in (1, 2, 3) for kind in ("GTV", "CTV", "PTV")
    ]
    for lesion, centre in zip(made.lesions, CENTRES, strict=True):
        assert lesion.mapped is not None
        np.testing.assert_allclose(lesion.mapped.centroid_ct_mm, centre, atol=0.3)
        assert lesion.rois[0].volume_ml == pytest.approx(lesion.volume_ml, rel=0.03)
        assert isinstance(lesion.proposal, Proposal)


@pytest.mark.parametrize("widened", [True, False])
def test_ptv_margins_come_from_the_protocol_and_the_bound_on_the_place(protocol: Protocol, widened: bool) -> None:
    rule, factor = protocol.sites["bone"], protocol.registration_margin
    assert factor is not None
    asked = protocol if widened else protocol.model_copy(update={"registration_margin": None})
    lesion = plan(exam(), asked).lesions[0]
    assert lesion.mapped is not None
    more_mm = factor.factor * lesion.mapped.uncertainty_mm if widened else 0.0
    radius_mm = 9.0 + rule.gtv_to_ctv.mm + float(np.hypot(rule.ctv_to_ptv.mm, more_mm))
    volumes = {roi.kind: roi.volume_ml for roi in lesion.rois}
    assert volumes[RoiKind.PTV] == pytest.approx(4 / 3 * np.pi * radius_mm**3 / 1000, rel=0.06)


def test_the_words_of_a_proposal_stand_in_its_roi(protocol: Protocol) -> None:
    lesion = plan(exam(), protocol).lesions[0]
    assert isinstance(lesion.proposal, Proposal)
    for roi in lesion.rois:
        assert roi.description.startswith("PROPOSAL")
        assert str(lesion.proposal.schedule) in roi.description
        assert lesion.flag.tracking_uid in roi.description


def test_landmarks_that_no_vertebra_has_are_said_once(protocol: Protocol) -> None:
    marks = tuple(Landmark(f"VB_S1_Pt_{name}", 1, "1.8", np.zeros((1, 3))) for name in ("Top", "Low"))
    (told,) = (
        finding for finding in plan(exam(landmarks=marks), protocol).findings if finding.code == "landmark-unknown"
    )
    assert (told.level, told.lesion) == (Level.WARN, "")


def test_the_adc_is_the_median_over_the_flag(protocol: Protocol) -> None:
    grid = ct_volume().grid
    inside = np.linalg.norm(grid.centres_mm() - np.array(CENTRES[0]), axis=-1) < 14.0
    values = np.where(inside, 0.8e-3, 2.0e-3).astype(np.float32)
    adc = Volume(grid, values, Quantity(Kind.ADC, "mm2/s"), "1.9.2")
    made = plan(exam(mr=(adc,)), protocol)
    assert made.lesions[0].adc_median_mm2_per_s == pytest.approx(0.8e-3, rel=1e-3)
    assert made.lesions[1].adc_median_mm2_per_s == pytest.approx(2.0e-3, rel=0.1)


def test_an_imported_registration_moves_every_lesion(protocol: Protocol) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 9, degrees=True).as_matrix()
    matrix[:3, 3] = [4.0, -2.0, 440.0]
    ct_from_mr = Rigid(matrix, CT, MR)
    flag = sphere(1, (12.0, 5.0, 10.0), frame=MR)
    made = plan(exam(flag, registrations=(ImportedRegistration(ct_from_mr, "1.6"),)), protocol)
    assert made.registration is not None
    assert made.registration.source is RegistrationSource.REG_OBJECT
    assert made.lesions[0].mapped is not None
    expected = ct_from_mr.apply([12.0, 5.0, 10.0])
    np.testing.assert_allclose(made.lesions[0].mapped.centroid_ct_mm, expected, atol=0.3)
    assert made.lesions[0].mapped.uncertainty_mm == pytest.approx(np.hypot(2.4, FLOOR_SOFT_MM))
    assert "registration-unverified" in codes(made, Level.WARN), "no MR was there to check it"


# held -----------------------------------------------------------------------------------------------------------------


def test_a_finding_that_holds_the_case_holds_every_lesion_unmapped(protocol: Protocol) -> None:
    made = plan(exam(findings=(Finding("ct-slice-missing", Level.HOLD, "a slice is missing"),)), protocol)
    assert (made.status, made.structure_set, made.registration) == (PlanStatus.HELD, None, None)
    for lesion in made.lesions:
        assert lesion.status is LesionStatus.HELD
        assert lesion.reasons == ("The case is held: ct-slice-missing.",)
        assert isinstance(lesion.proposal, Abstention)


def test_a_warning_holds_nothing(protocol: Protocol) -> None:
    made = plan(exam(findings=(Finding("dwi-absent", Level.WARN, "no DWI"),)), protocol)
    assert made.status is PlanStatus.PROPOSED


@pytest.mark.parametrize("centre_z", [499.0, 403.5, 300.0])
def test_a_lesion_at_the_end_of_the_ct_or_beyond_holds_the_case_and_is_not_left_out(
    protocol: Protocol, centre_z: float
) -> None:
    made = plan(exam(sphere(1, CENTRES[0]), sphere(2, (0.0, 0.0, centre_z))), protocol)
    assert made.status is PlanStatus.HELD
    assert made.structure_set is None
    assert codes(made) == {"lesion-outside-ct"}
    assert [lesion.status for lesion in made.lesions] == [LesionStatus.MAPPED, LesionStatus.HELD]


def test_a_lesion_that_cannot_be_drawn_is_held_and_the_others_go_on(protocol: Protocol) -> None:
    flag = sphere(2, CENTRES[1])
    origins = flag.grid.slice_origins_mm.copy()
    origins[3:, 2] += 0.8
    grid = Grid(origins, flag.grid.step_j_mm, flag.grid.step_i_mm, flag.grid.shape, CT)
    made = plan(exam(sphere(1, CENTRES[0]), replace(flag, grid=grid)), protocol)
    assert [lesion.status for lesion in made.lesions] == [LesionStatus.MAPPED, LesionStatus.HELD]
    assert codes(made) == {"lesion-not-drawn"}
    assert made.structure_set is None


@pytest.mark.parametrize("kind", ["", "dwi-trace", "adc", "dwi-calculated", "mr-other"])
def test_a_flag_on_what_may_be_echo_planar_is_not_taken_for_undistorted(protocol: Protocol, kind: str) -> None:
    on_t1 = plan(exam(), protocol).lesions[0].mapped
    made = plan(exam(*(replace(flag, drawn_on_kind=kind) for flag in exam().flags)), protocol)
    mapped = made.lesions[0].mapped
    assert on_t1 is not None
    assert mapped is not None
    assert mapped.uncertainty_mm == pytest.approx(np.hypot(on_t1.uncertainty_mm, EPI_UNCORRECTED_MM))
    assert "epi-shift-unknown" in codes(made, Level.WARN)


def test_a_registration_of_other_frames_is_said_to_be_unused(protocol: Protocol) -> None:
    other = ImportedRegistration(Rigid(np.eye(4), "1.2.8", "1.2.9"), "1.6")
    made = plan(exam(registrations=(other,)), protocol)
    assert made.status is PlanStatus.PROPOSED
    assert codes(made, Level.INFO) == {"registration-not-used"}


def test_a_registration_that_is_a_part_of_the_chain_is_used_and_another_of_the_same_object_is_not_told(
    protocol: Protocol,
) -> None:
    steps = (Rigid(np.eye(4), "1.2.8", MR), Rigid(np.eye(4), CT, "1.2.8"), Rigid(np.eye(4), CT, "1.2.9"))
    sent = tuple(ImportedRegistration(step, uid) for step, uid in zip(steps, ("1.6", "1.7", "1.7"), strict=True))
    unused = ImportedRegistration(Rigid(np.eye(4), CT, "1.2.9"), "1.8")
    made = plan(exam(sphere(1, CENTRES[0], frame=MR), registrations=(*sent, unused)), protocol)
    assert made.registration is not None
    assert made.registration.objects == ("1.6", "1.7")
    told = [finding.message for finding in made.findings if finding.code == "registration-not-used"]
    assert len(told) == 1
    assert "1.8" in told[0]


def test_a_registration_for_other_images_than_the_flags_is_a_warning(protocol: Protocol) -> None:
    flag = replace(sphere(1, CENTRES[0], frame=MR), series_uid="1.3.2")
    right, other = Rigid(np.eye(4), CT, MR), Limit(MR, "1.3.3", frozenset({"1.4.1"}), 1)
    sent = (ImportedRegistration(right, "1.6"), ImportedRegistration(right, "1.7", (other,)))
    made = plan(exam(flag, registrations=sent), protocol)
    (told,) = (finding for finding in made.findings if finding.code == "registration-not-used")
    assert told.level is Level.WARN
    assert "1.7 holds for other images" in told.message


def test_an_adc_map_that_does_not_hold_the_lesion_says_nothing_of_it(protocol: Protocol) -> None:
    grid = sphere(9, CENTRES[0]).grid
    adc = Volume(grid, np.full(grid.shape, 1e-3, dtype=np.float32), Quantity(Kind.ADC, "mm2/s"), "1.9.2")
    made = plan(exam(mr=(adc,)), protocol)
    assert made.lesions[0].adc_median_mm2_per_s == pytest.approx(1e-3)
    assert made.lesions[1].adc_median_mm2_per_s is None


def test_flags_in_several_frames_are_not_joined(protocol: Protocol) -> None:
    made = plan(exam(sphere(1, CENTRES[0]), sphere(2, CENTRES[1], frame=MR)), protocol)
    assert codes(made) == {"flag-frames-several"}
    assert made.structure_set is None


def test_flags_of_another_frame_without_mr_or_registration_are_held(protocol: Protocol) -> None:
    made = plan(exam(sphere(1, CENTRES[0], frame=MR)), protocol)
    assert codes(made) == {"mr-absent"}


def test_contradicting_registrations_hold_every_lesion(protocol: Protocol) -> None:
    apart = np.eye(4)
    apart[0, 3] = 6.0
    sent = (ImportedRegistration(Rigid(np.eye(4), CT, MR), "1.6"), ImportedRegistration(Rigid(apart, CT, MR), "1.7"))
    made = plan(exam(sphere(1, CENTRES[0], frame=MR), registrations=sent), protocol)
    assert codes(made) == {"registration-contradictory"}
    assert [lesion.status for lesion in made.lesions] == [LesionStatus.HELD]
    assert sum(finding.code == "registration-contradictory" for finding in made.findings) == 1


def test_a_site_that_nobody_named_gets_a_gtv_and_no_dose(protocol: Protocol) -> None:
    made = plan(exam(sphere(1, CENTRES[0], site="unknown")), protocol)
    assert made.status is PlanStatus.PROPOSED
    lesion = made.lesions[0]
    assert [roi.kind for roi in lesion.rois] == [RoiKind.GTV]
    assert isinstance(lesion.proposal, Abstention)
    assert [reason.code for reason in lesion.proposal.reasons] == ["dose-site-unknown"]
    assert codes(made, Level.WARN) == {"dose-abstained", "lesion-side-unchecked", "registration-unverified"}


# exclusions -----------------------------------------------------------------------------------------------------------


def test_an_excluded_lesion_lets_the_others_go_on_under_their_own_numbers(protocol: Protocol) -> None:
    made = plan(exam(), protocol, exclusions=(Exclusion("L2", "no RT, patient's wish", "A. Reader"),))
    assert made.status is PlanStatus.PROPOSED
    assert made.structure_set is not None
    assert [roi.number for roi in made.structure_set.rois] == [1, 2, 3, 7, 8, 9]
    assert made.lesions[1].status is LesionStatus.EXCLUDED
    assert made.lesions[1].reasons == ("Excluded by A. Reader: no RT, patient's wish",)
    assert "lesion-excluded" in codes(made, Level.WARN)


def test_excluding_a_lesion_that_would_be_held_frees_the_case(protocol: Protocol) -> None:
    outside = sphere(2, (0.0, 0.0, 300.0))
    made = plan(exam(sphere(1, CENTRES[0]), outside), protocol, exclusions=(Exclusion("L2", "treated", "A. Reader"),))
    assert made.status is PlanStatus.PROPOSED


def test_excluding_every_lesion_leaves_nothing_to_propose(protocol: Protocol) -> None:
    everything = tuple(Exclusion(f"L{n}", "no RT", "A. Reader") for n in (1, 2, 3))
    made = plan(exam(), protocol, exclusions=everything)
    assert made.status is PlanStatus.HELD
    assert codes(made) == {"targets-none"}


def test_excluded_lesions_do_not_count_as_targets(protocol: Protocol) -> None:
    flags = tuple(sphere(n, (10.0 * n - 35.0, 0.0, 450.0), radius_mm=6.0) for n in range(1, 7))
    assert protocol.targets.max == 5
    too_many = plan(exam(*flags), protocol)
    assert all(isinstance(lesion.proposal, Abstention) for lesion in too_many.lesions)
    five = plan(exam(*flags), protocol, exclusions=(Exclusion("L6", "no RT", "A. Reader"),))
    assert all(isinstance(lesion.proposal, Proposal) for lesion in five.lesions[:5])


def test_an_exclusion_of_nothing_is_refused(protocol: Protocol) -> None:
    with pytest.raises(InputError, match="The flagged lesions are L1, L2, L3"):
        plan(exam(), protocol, exclusions=(Exclusion("L4", "mistyped", "A. Reader"),))


def test_progress_names_each_lesion_in_turn(protocol: Protocol) -> None:
    told: list[tuple[str, int, int]] = []
    plan(exam(), protocol, progress=lambda what, done, total: told.append((what, done, total)))
    assert told == [
        ("whole body", 0, 3),
        ("vertebral levels", 0, 3),
        ("L1 lesion 1", 0, 3),
        ("L2 lesion 2", 1, 3),
        ("L3 lesion 3", 2, 3),
        ("structure set", 3, 3),
    ]


@pytest.mark.parametrize(
    ("doubted", "sure", "told"),
    [(2, 0, False), (3, 3, True), (3, 4, False), (4, 4, True), (4, 5, False), (0, 0, False)],
)
def test_where_half_of_the_lesions_have_no_sure_place_the_images_may_be_of_two_patients(
    protocol: Protocol, doubted: int, sure: int, told: bool
) -> None:
    lesion = plan(exam(), protocol).lesions[0]
    assert lesion.mapped is not None
    doubts = cycle(sorted(whole.DOUBTS))
    lesions = [
        replace(lesion, mapped=replace(lesion.mapped, findings=findings))
        for findings in (
            *((Finding(next(doubts), Level.HOLD, "look at it", Who.PERSON),) for _ in range(doubted)),
            *((Finding("epi-shift-unknown", Level.WARN, "look at it", Who.PERSON),) for _ in range(sure)),
        )
    ]
    unmapped = replace(lesion, mapped=None)
    found = list(whole._contradicted((*lesions, unmapped)))
    assert [(f.code, f.level, f.value, f.lesion) for f in found] == (
        [("registration-wrong-patient", Level.HOLD, doubted, "")] if told else []
    )


# levels, channels and threads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["level-off", "level-unanchored", "level-unchecked", "registration-wrong-patient"])
def test_a_doubt_about_the_level_holds_the_whole_case(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    doubt = Finding(code, Level.HOLD, "look at it", Who.PERSON)
    check = LevelCheck(Spine(np.zeros((0, 3)), {}), (), 2.0, (doubt,))
    monkeypatch.setattr(whole, "check_levels", lambda *_args, **_options: check)
    made = plan(exam(), protocol)
    assert (made.status, made.structure_set) == (PlanStatus.HELD, None)
    assert codes(made) == {code}
    assert sum(finding.code == code for finding in made.findings) == 1, "told once, not once a lesion"
    assert {lesion.status for lesion in made.lesions} == {LesionStatus.HELD}
    assert all(lesion.rois == () and isinstance(lesion.proposal, Abstention) for lesion in made.lesions)
    assert made.registration is not None
    assert doubt in made.registration.findings


def mr_of(
    kind: Kind, uid: str, b_value: float | None = None, *, frame: str = CT, half_mm: float = 90.0, step_mm: float = 6.0
) -> Volume:
    """A volume around the flags."""
    count = int(2 * half_mm / step_mm) + 1
    matrix = np.diag([step_mm] * 3 + [1.0])[[2, 1, 0, 3]]
    matrix[:3, 3] = np.array([5.0, 5.0, 455.0]) - half_mm
    grid = Grid.regular(matrix, (count, count, count), frame)
    return Volume(grid, np.ones(grid.shape, dtype=np.float32), Quantity(kind, "1", b_value), uid)


B50, B400, B900 = (mr_of(Kind.DWI, f"1.9.{b}", float(b)) for b in (50, 400, 900))


def test_without_anatomy_the_dwi_at_its_two_lowest_b_values_stands_in() -> None:
    other_lattice = mr_of(Kind.DWI, "1.9.7", 800.0, step_mm=5.0)
    chosen = channels_of(exam(mr=(B900, other_lattice, B400, B50)), CT)
    assert [volume.series_uid for volume in chosen.anatomical] == ["1.9.50", "1.9.900"]
    assert chosen.dwi is None, "it would be corrected by itself"
    assert chosen.whole_body is chosen.anatomical[0]


def test_with_anatomy_two_of_it_lead_and_the_lowest_b_value_beside_them_tells_the_shift() -> None:
    fat, t1, t2 = (mr_of(kind, f"1.9.{kind.value}") for kind in (Kind.DIXON_FAT, Kind.T1, Kind.T2))
    chosen = channels_of(exam(mr=(B900, t2, fat, B50, t1)), CT)
    assert chosen.anatomical == (t1, fat)
    assert chosen.dwi is B50
    assert chosen.whole_body is t1


def test_only_volumes_of_the_frame_that_hold_every_flag_count() -> None:
    elsewhere, small = mr_of(Kind.T1, "1.9.5", frame=MR), mr_of(Kind.T1, "1.9.6", half_mm=12.0)
    assert channels_of(exam(mr=(elsewhere, small, B400)), CT).anatomical == (B400,)
    nothing = channels_of(exam(mr=(elsewhere, small)), CT)
    assert (nothing.anatomical, nothing.dwi, nothing.whole_body) == ((), None, None)


def test_a_flag_beyond_the_end_of_t1_takes_it_from_nobody_else(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T1 reaches 30 mm around L1; L2 and L3 decide with it or without it, as a person leaves them in or out."""
    near, dwi = mr_of(Kind.T1, "1.9.6", half_mm=30.0), mr_of(Kind.DWI, "1.9.50", 50.0)
    flags = tuple(sphere(n, (x, 5.0, 455.0)) for n, x in ((1, 5.0), (2, -70.0), (3, 75.0)))
    case = exam(*flags, mr=(near, dwi))
    whole_body, own = channels_by_lesion(case, CT)
    assert {lesion: one.anatomical for lesion, one in own.items()} == {"L1": (near,), "L2": (dwi,), "L3": (dwi,)}
    assert own["L1"].dwi is dwi
    assert whole_body == own["L2"]
    assert channels_by_lesion(case, CT, {"L2", "L3"})[0] == own["L1"]
    assert channels_by_lesion(case, CT, {"L1", "L2", "L3"})[0] == own["L2"]

    seen: dict[str, tuple[Volume, ...]] = {}
    register = LesionRegistrar.register

    def noted(self: LesionRegistrar, place: Place) -> LesionRegistration:
        seen[place.lesion] = self.anatomical
        return register(self, place)

    monkeypatch.setattr(LesionRegistrar, "register", noted)
    plan(case, protocol)
    assert seen == {"L1": (near,), "L2": (dwi,), "L3": (dwi,)}


def test_any_number_of_threads_makes_the_same_plan(protocol: Protocol) -> None:
    """Flags in two places of the phantom whose images confirm a given registration, fit by fit."""
    back = phantom.truth().inverse()
    places = [back.apply(phantom.CENTRE_CT + np.array([x, 0.0, 4.0])) for x in (-6.0, 12.0)]
    flags = [sphere(n, (p[0], p[1], p[2]), frame=MR, radius_mm=6.0) for n, p in enumerate(places, start=1)]
    sent = (ImportedRegistration(phantom.off(1.0), "1.6"),)
    ct = replace(phantom.CT_IMAGE, quantity=Quantity(Kind.PLANNING_CT, "HU"))
    case = exam(*flags, planning_ct=ct, mr=(phantom.T1, phantom.FAT), registrations=sent)
    one, two = (plan(case, protocol, threads=threads) for threads in (1, 2))
    assert one.findings == two.findings
    for alone, beside in zip(one.lesions, two.lesions, strict=True):
        assert alone.mapped is not None
        assert beside.mapped is not None
        assert alone.mapped.distances_mm
        assert alone.mapped.ct_from_mr == beside.mapped.ct_from_mr
        assert alone.mapped.distances_mm == beside.mapped.distances_mm
        assert alone.mapped.uncertainty_mm == beside.mapped.uncertainty_mm
        for roi, same in zip(alone.rois, beside.rois, strict=True):
            assert roi.name == same.name
            for ring, again in zip(roi.contours, same.contours, strict=True):
                np.testing.assert_array_equal(ring.points_mm, again.points_mm)
