"""Spatial Registration in: which way it points, what several matrices mean, and what is no rigid transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.registration_in import read_registration
from psdt_planner.exam import ImportedRegistration
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Points
from tests.dicom_in.objects import (
    CT_FRAME,
    MR_FRAME,
    ct_images,
    in_memory,
    item,
    mr_images,
    registration_object,
    uid,
    write,
)

PET_FRAME = "1.2.3.400"


def rigid(angles: ArrayLike, shift: ArrayLike) -> Points:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


CT_FROM_MR = rigid((3, -8, 20), (12.5, -40, 310))


def read(*arguments: Any, frames: dict[str, str] | None = None, **named: Any) -> tuple[Any, tuple[Finding, ...]]:
    (header,) = in_memory([registration_object(*arguments, **named)])
    return read_registration(header, frames or {})


def one(found: tuple[ImportedRegistration, ...]) -> ImportedRegistration:
    assert len(found) == 1
    return found[0]


def test_the_matrix_of_an_item_takes_its_frame_to_the_frame_of_the_object() -> None:
    """A landmark on the MR lands where the matrix says in the CT, not the other way round."""
    found, findings = read([(CT_FRAME, [np.eye(4)]), (MR_FRAME, [CT_FROM_MR])])
    transform = one(found).transform
    assert findings == ()
    assert (transform.target, transform.source) == (CT_FRAME, MR_FRAME)
    landmark = np.array([31.0, -7.5, 120.0])
    assert transform.apply(landmark) == pytest.approx(CT_FROM_MR[:3, :3] @ landmark + CT_FROM_MR[:3, 3], abs=1e-6)
    assert one(found).source_uid == uid("reg", 0)


def test_an_object_in_the_mr_s_frame_points_the_other_way() -> None:
    found, _ = read([(CT_FRAME, [np.linalg.inv(CT_FROM_MR)]), (MR_FRAME, [np.eye(4)])], frame=MR_FRAME)
    transform = one(found).transform
    assert (transform.target, transform.source) == (MR_FRAME, CT_FRAME)
    assert transform.inverse().matrix == pytest.approx(CT_FROM_MR, abs=1e-6)


def test_one_object_may_register_several_frames() -> None:
    found, _ = read([(MR_FRAME, [CT_FROM_MR]), (PET_FRAME, [rigid((0, 0, 5), (1, 2, 3))]), (CT_FRAME, [np.eye(4)])])
    assert [registration.transform.source for registration in found] == [MR_FRAME, PET_FRAME]


def test_the_first_of_several_matrices_is_applied_first() -> None:
    """Equation C.20.2-2 of PS3.3; Slicer multiplies the other way, so a person is told."""
    first, second, third = rigid((0, 0, 90), (0, 0, 0)), rigid((0, 0, 0), (10, 0, 0)), rigid((90, 0, 0), (0, 0, 5))
    found, findings = read([(MR_FRAME, [first, second, third])])
    assert one(found).transform.matrix == pytest.approx(third @ second @ first, abs=1e-9)
    assert [(finding.code, finding.level) for finding in findings] == [("registration-matrix-order", Level.WARN)]


def test_matrices_that_commute_need_no_word() -> None:
    shifts = [rigid((0, 0, 0), (1, 2, 3)), rigid((0, 0, 0), (-4, 0, 9))]
    found, findings = read([(MR_FRAME, shifts)])
    assert one(found).transform.matrix[:3, 3] == pytest.approx([-3, 2, 12])
    assert findings == ()


@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    shift=st.tuples(*[st.floats(-900, 900)] * 3),
)
def test_any_rigid_matrix_survives_sixteen_characters_a_number(
    angles: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    matrix = rigid(angles, shift)
    found, findings = read([(MR_FRAME, [matrix])])
    assert findings == ()
    assert np.abs(one(found).transform.matrix - matrix).max() < 1e-6


def test_cosines_rounded_to_five_digits_become_the_nearest_rotation() -> None:
    rounded = np.round(CT_FROM_MR, 5)
    found, _ = read([(MR_FRAME, [rounded])])
    rotation = one(found).transform.matrix[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert rotation == pytest.approx(CT_FROM_MR[:3, :3], abs=1e-5)


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([1.02, 1, 1, 1]),
        np.diag([-1, 1, 1, 1]),
        np.eye(4) + np.eye(4, k=1) * 0.01,
        np.vstack([np.eye(4)[:3], [0, 0, 0.1, 1]]),
    ],
    ids=["scaled", "mirrored", "sheared", "projective"],
)
def test_what_is_no_rotation_and_shift_holds(matrix: Points) -> None:
    found, findings = read([(MR_FRAME, [matrix])], kind="AFFINE")
    assert found == ()
    assert [(finding.code, finding.level) for finding in findings] == [("registration-not-rigid", Level.HOLD)]


def test_an_affine_that_is_a_rotation_is_rigid() -> None:
    found, findings = read([(MR_FRAME, [CT_FROM_MR])], kind="AFFINE")
    assert len(found) == 1
    assert findings == ()


def test_a_deformable_registration_holds() -> None:
    ds = registration_object([(MR_FRAME, [CT_FROM_MR])])
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.3"
    found, findings = read_registration(in_memory([ds])[0], {})
    assert found == ()
    assert [finding.code for finding in findings] == ["registration-not-rigid"]


def test_an_item_that_moves_a_frame_within_itself_is_a_contradiction() -> None:
    found, findings = read([(CT_FRAME, [CT_FROM_MR]), (MR_FRAME, [CT_FROM_MR])])
    assert [registration.transform.source for registration in found] == [MR_FRAME]
    assert [(finding.code, finding.level) for finding in findings] == [("registration-contradictory", Level.HOLD)]


def with_images(names: list[str]) -> Any:
    ds = registration_object([("", [CT_FROM_MR])])
    ds.RegistrationSequence[0].ReferencedImageSequence = [item(ReferencedSOPInstanceUID=name) for name in names]
    return in_memory([ds])[0]


def test_an_item_that_names_images_is_in_their_frame() -> None:
    frames = {"1.1": MR_FRAME, "1.2": MR_FRAME, "1.3": PET_FRAME}
    found, _ = read_registration(with_images(["1.1", "1.2"]), frames)
    assert one(found).transform.source == MR_FRAME
    for names in (["9.9"], ["1.1", "1.3"]):
        found, findings = read_registration(with_images(names), frames)
        assert found == ()
        assert [finding.code for finding in findings] == ["registration-frame-unknown"]


def test_images_among_the_inputs_give_their_frame(tmp_path: Path) -> None:
    mr = mr_images()
    ds = registration_object([("", [CT_FROM_MR])])
    ds.RegistrationSequence[0].ReferencedImageSequence = [item(ReferencedSOPInstanceUID=mr[0].SOPInstanceUID)]
    intake = read_inputs([write(tmp_path, ct_images(), mr, ds)])
    assert one(intake.exam.registrations).transform.source == MR_FRAME


def test_the_order_of_objects_does_not_matter(tmp_path: Path) -> None:
    objects = [registration_object([(frame, [CT_FROM_MR])], name=frame) for frame in (MR_FRAME, PET_FRAME)]
    intakes: list[Intake] = [
        read_inputs([write(tmp_path / name, some)]) for name, some in (("a", objects), ("b", objects[::-1]))
    ]
    first, second = ([one.source_uid for one in intake.exam.registrations] for intake in intakes)
    assert first == second


@pytest.mark.parametrize("spoil", ["frame", "sequence", "matrix", "items"])
def test_a_broken_object_is_refused_whole(spoil: str) -> None:
    ds = registration_object([(MR_FRAME, [CT_FROM_MR])], frame=None if spoil == "frame" else CT_FRAME)
    matrices = ds.RegistrationSequence[0].MatrixRegistrationSequence
    if spoil == "sequence":
        del ds.RegistrationSequence
    elif spoil == "matrix":
        matrices[0].MatrixSequence[0].FrameOfReferenceTransformationMatrix = [1.0] * 15
    elif spoil == "items":
        matrices.append(matrices[0])
    found, findings = read_registration(in_memory([ds])[0], {})
    assert found == ()
    assert [(finding.code, finding.level) for finding in findings] == [("registration-unreadable", Level.HOLD)]
    assert uid("reg", 0) in findings[0].message
