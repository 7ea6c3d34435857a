"""Around one lesion: fits that find it, and every doubt that holds it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.registration import (
    CaseRegistration,
    LesionRegistrar,
    LesionRegistration,
    Place,
    RegistrationSource,
)
from psdt_planner.registration import lesion as lesion_module
from psdt_planner.registration import vote as vote_module

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
) -> LesionRegistration:
    registrar = LesionRegistrar(CT_IMAGE, anatomical, dwi, CaseRegistration(start, source, "test"), 1)
    return registrar.register(Place("L1", truth().inverse().apply(at_ct), 3.0, in_bone, on_dwi))


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


@pytest.mark.parametrize(
    "anatomical",
    [(), tuple(mr_volume(kind, noise_only=True) for kind in (Kind.T1, Kind.DIXON_FAT))],
    ids=["no MR", "an MR that tells nothing"],
)
def test_a_given_transform_that_nothing_can_check_says_so(anatomical: tuple[Volume, ...]) -> None:
    found = registered(off(1.0), RegistrationSource.REG_OBJECT, anatomical=anatomical)
    assert warned(found) == {"registration-unverified"}
    assert not held(found)
    assert found.uncertainty_mm == pytest.approx(np.hypot(3.0, lesion_module.FLOOR_SOFT_MM))


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
