"""Spatial Registration in: which way it points, what several matrices mean, and what is no rigid transform."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from pydicom import dcmread
from pydicom.uid import DeformableSpatialRegistrationStorage, ExplicitVRBigEndian
from scipy.spatial.transform import Rotation

from psdt_planner.deformation import Deformation
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.registration_in import KnownImages, read_registration
from psdt_planner.exam import ImportedRegistration, Limit
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Points, Rigid
from tests.dicom_in.objects import (
    CT_FRAME,
    MR_FRAME,
    OBLIQUE,
    ct_images,
    in_memory,
    item,
    mr_images,
    registration_object,
    uid,
    write,
)
from tests.peers import require_peer

PET_FRAME = "1.2.3.400"


def rigid(angles: ArrayLike, shift: ArrayLike) -> Points:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


CT_FROM_MR = rigid((3, -8, 20), (12.5, -40, 310))


def read(*arguments: Any, **named: Any) -> tuple[Any, tuple[Finding, ...]]:
    (header,) = in_memory([registration_object(*arguments, **named)])
    return read_registration(header, KnownImages())


def rigid_of(registration: ImportedRegistration) -> Rigid:
    assert isinstance(registration.transform, Rigid)
    return registration.transform


def one(found: tuple[ImportedRegistration, ...]) -> ImportedRegistration:
    assert len(found) == 1
    return found[0]


def test_the_matrix_of_an_item_takes_its_frame_to_the_frame_of_the_object() -> None:
    """A landmark on the MR lands where the matrix says in the CT, not the other way round."""
    found, findings = read([(CT_FRAME, [np.eye(4)]), (MR_FRAME, [CT_FROM_MR])])
    transform = rigid_of(one(found))
    assert findings == ()
    assert (transform.target, transform.source) == (CT_FRAME, MR_FRAME)
    landmark = np.array([31.0, -7.5, 120.0])
    assert transform.apply(landmark) == pytest.approx(CT_FROM_MR[:3, :3] @ landmark + CT_FROM_MR[:3, 3], abs=1e-6)
    assert one(found).source_uid == uid("reg", 0)


def test_an_object_in_the_mr_s_frame_points_the_other_way() -> None:
    found, _ = read([(CT_FRAME, [np.linalg.inv(CT_FROM_MR)]), (MR_FRAME, [np.eye(4)])], frame=MR_FRAME)
    transform = rigid_of(one(found))
    assert (transform.target, transform.source) == (MR_FRAME, CT_FRAME)
    assert transform.inverse().matrix == pytest.approx(CT_FROM_MR, abs=1e-6)


# landmarks, in both frames, without a matrix: what the directions are proven by

MR_LANDMARKS = np.array([[0.0, 0.0, 0.0], [100.0, 0.0, 0.0], [0.0, 50.0, 0.0], [0.0, 0.0, 400.0]])
CT_LANDMARKS = np.array([[7.0, -30.0, 900.0], [7.0, 70.0, 900.0], [7.0, -30.0, 950.0], [407.0, -30.0, 900.0]])
"""The MR's x axis (left) is the CT's y, its y the CT's z, its z the CT's x, and the origins are apart: a turn of 120
degrees, which no mistake of sign, axis or order can pass for."""

CT_FROM_LANDMARKS = np.array([[0, 0, 1, 7], [1, 0, 0, -30], [0, 1, 0, 900], [0, 0, 0, 1.0]])


def read_file(folder: Path, ds: Any) -> Rigid:
    """The one registration of an object that went through bytes."""
    return rigid_of(one(read_inputs([write(folder, ds)]).exam.registrations))


def test_an_object_of_the_ct_s_frame_takes_mr_landmarks_to_the_ct(tmp_path: Path) -> None:
    ds = registration_object([(CT_FRAME, [np.eye(4)]), (MR_FRAME, [CT_FROM_LANDMARKS])])
    found = read_file(tmp_path, ds)
    assert (found.target, found.source) == (CT_FRAME, MR_FRAME)
    np.testing.assert_allclose(found.apply(MR_LANDMARKS), CT_LANDMARKS, atol=1e-6)


def test_an_object_of_the_mr_s_frame_takes_ct_landmarks_to_the_mr(tmp_path: Path) -> None:
    items = [(MR_FRAME, [np.eye(4)]), (CT_FRAME, [np.linalg.inv(CT_FROM_LANDMARKS)])]
    found = read_file(tmp_path, registration_object(items, frame=MR_FRAME))
    assert (found.target, found.source) == (MR_FRAME, CT_FRAME)
    np.testing.assert_allclose(found.apply(CT_LANDMARKS), MR_LANDMARKS, atol=1e-6)
    np.testing.assert_allclose(found.inverse().apply(MR_LANDMARKS), CT_LANDMARKS, atol=1e-6)


def test_an_exporter_that_writes_the_inverse_is_read_as_it_states(tmp_path: Path) -> None:
    """What a round trip through some programs leaves. The object does not tell; the images must (`direction`)."""
    found = read_file(tmp_path, registration_object([(MR_FRAME, [np.linalg.inv(CT_FROM_LANDMARKS)])]))
    off = np.linalg.norm(found.apply(MR_LANDMARKS) - CT_LANDMARKS, axis=1)
    assert off.min() > 500.0
    backwards = Rigid(found.inverse().matrix, CT_FRAME, MR_FRAME)
    np.testing.assert_allclose(backwards.apply(MR_LANDMARKS), CT_LANDMARKS, atol=1e-6)


def test_one_object_may_register_several_frames() -> None:
    found, _ = read([(MR_FRAME, [CT_FROM_MR]), (PET_FRAME, [rigid((0, 0, 5), (1, 2, 3))]), (CT_FRAME, [np.eye(4)])])
    assert [registration.transform.source for registration in found] == [MR_FRAME, PET_FRAME]


def test_the_first_of_several_matrices_is_applied_first() -> None:
    """Equation C.20.2-2 of PS3.3; Slicer multiplies the other way, so a person is told."""
    first, second, third = rigid((0, 0, 90), (0, 0, 0)), rigid((0, 0, 0), (10, 0, 0)), rigid((90, 0, 0), (0, 0, 5))
    found, findings = read([(MR_FRAME, [first, second, third])])
    assert rigid_of(one(found)).matrix == pytest.approx(third @ second @ first, abs=1e-9)
    assert [(finding.code, finding.level) for finding in findings] == [("registration-matrix-order", Level.WARN)]


def test_matrices_that_commute_need_no_word() -> None:
    shifts = [rigid((0, 0, 0), (1, 2, 3)), rigid((0, 0, 0), (-4, 0, 9))]
    found, findings = read([(MR_FRAME, shifts)])
    assert rigid_of(one(found)).matrix[:3, 3] == pytest.approx([-3, 2, 12])
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
    assert np.abs(rigid_of(one(found)).matrix - matrix).max() < 1e-6


def test_cosines_rounded_to_five_digits_become_the_nearest_rotation() -> None:
    rounded = np.round(CT_FROM_MR, 5)
    found, _ = read([(MR_FRAME, [rounded])])
    rotation = rigid_of(one(found)).matrix[:3, :3]
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


def test_an_item_that_moves_a_frame_within_itself_is_a_contradiction() -> None:
    found, findings = read([(CT_FRAME, [CT_FROM_MR]), (MR_FRAME, [CT_FROM_MR])])
    assert [registration.transform.source for registration in found] == [MR_FRAME]
    assert [(finding.code, finding.level) for finding in findings] == [("registration-contradictory", Level.HOLD)]


# images instead of frames ---------------------------------------------------------------------------------------------

KNOWN = KnownImages(
    frame_of={"1.1": MR_FRAME, "1.2": MR_FRAME, "1.3": PET_FRAME, "1.4": MR_FRAME, "1.5": ""},
    series_of={"1.1": "2.1", "1.2": "2.1", "1.3": "2.3", "1.4": "2.4", "1.5": "2.4"},
)


def with_images(items: Sequence[tuple[str, Sequence[str]]], known: KnownImages = KNOWN) -> Any:
    """An object of one matrix an item, each shifted by its number; an item's frame and the images that it names."""
    ds = registration_object([(frame, [rigid((0, 0, 0), (n, 0, 0))]) for n, (frame, _) in enumerate(items)])
    for made, (_, names) in zip(ds.RegistrationSequence, items, strict=True):
        if names:
            made.ReferencedImageSequence = [item(ReferencedSOPInstanceUID=name) for name in names]
    return read_registration(in_memory([ds])[0], known)


def test_an_item_that_names_images_alone_is_in_their_frame_and_holds_for_them() -> None:
    found, findings = with_images([("", ["1.1", "1.2", "1.4"])])
    assert findings == ()
    assert one(found).transform.source == MR_FRAME
    assert one(found).limits == (
        Limit(MR_FRAME, "2.1", frozenset({"1.1", "1.2"}), 2),
        Limit(MR_FRAME, "2.4", frozenset({"1.4"}), 2),
    )


@pytest.mark.parametrize("names", [["9.9"], ["1.1", "1.3"], ["1.5"], []])
def test_images_that_are_unknown_of_two_frames_or_of_none_tell_no_frame(names: list[str]) -> None:
    found, findings = with_images([("", names)])
    assert found == ()
    assert [(finding.code, finding.level) for finding in findings] == [("registration-frame-unknown", Level.HOLD)]


def test_the_only_item_of_a_frame_holds_for_all_of_it_whatever_images_it_names() -> None:
    """As planning systems write it: frame and images, which are those that were on the screen."""
    found, _ = with_images([(MR_FRAME, ["1.1"]), (PET_FRAME, ["1.3"])])
    assert [registration.limits for registration in found] == [(), ()]


def test_several_items_of_a_frame_hold_each_for_its_own_images() -> None:
    """Stations of one whole-body MR, each with its correction."""
    found, _ = with_images([(MR_FRAME, ["1.1", "1.2"]), (MR_FRAME, ["1.4", "8.8"]), (MR_FRAME, [])])
    assert [registration.limits for registration in found] == [
        (Limit(MR_FRAME, "2.1", frozenset({"1.1", "1.2"}), 2),),
        (Limit(MR_FRAME, "", frozenset({"8.8"}), 0), Limit(MR_FRAME, "2.4", frozenset({"1.4"}), 2)),
        (),
    ]
    assert [rigid_of(registration).matrix[0, 3] for registration in found] == [0, 1, 2]


def test_images_among_the_inputs_give_their_frame(tmp_path: Path) -> None:
    mr = mr_images()
    ds = registration_object([("", [CT_FROM_MR])])
    ds.RegistrationSequence[0].ReferencedImageSequence = [item(ReferencedSOPInstanceUID=mr[0].SOPInstanceUID)]
    intake = read_inputs([write(tmp_path, ct_images(), mr, ds)])
    registration = one(intake.exam.registrations)
    assert registration.transform.source == MR_FRAME
    named = frozenset({str(mr[0].SOPInstanceUID)})
    assert registration.limits == (Limit(MR_FRAME, str(mr[0].SeriesInstanceUID), named, 5),)


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
    found, findings = read_registration(in_memory([ds])[0], KnownImages())
    assert found == ()
    assert [(finding.code, finding.level) for finding in findings] == [("registration-unreadable", Level.HOLD)]
    assert uid("reg", 0) in findings[0].message


# deformable -----------------------------------------------------------------------------------------------------------

DIMENSIONS, RESOLUTION = (4, 3, 5), (2.5, 4.0, 6.0)
"""Columns, rows, planes: X, Y, Z as the object has them."""

COSINES = np.array(OBLIQUE[:2])
CORNER = np.array([-30.0, 12.0, 840.0])


def telling_vectors() -> np.ndarray:
    """``(planes, rows, columns, 3)`` in mm, each of which tells its place."""
    z, y, x = np.indices(DIMENSIONS[::-1])
    return np.stack([x + 0.1, y + 0.2, z + 0.3], axis=-1)


def deformable_object(
    vectors: np.ndarray | None,
    *,
    source: str = MR_FRAME,
    frame: str = CT_FRAME,
    pre: Points | None = None,
    post: Points | None = None,
    order: str = "<",
) -> Any:
    ds = registration_object([(source, [])], frame=frame)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DeformableSpatialRegistrationStorage
    del ds.RegistrationSequence
    made = item(SourceFrameOfReferenceUID=source)
    if vectors is not None:
        grid = item(
            ImagePositionPatient=CORNER.tolist(),
            ImageOrientationPatient=[f"{cosine:.9f}" for cosine in COSINES.ravel()],
            GridDimensions=list(DIMENSIONS),
            GridResolution=list(RESOLUTION),
            VectorGridData=vectors.astype(f"{order}f4").tobytes(),
        )
        made.DeformableRegistrationGridSequence = [grid]
    for keyword, matrix in (("Pre", pre), ("Post", post)):
        if matrix is not None:
            step = item(
                FrameOfReferenceTransformationMatrixType="RIGID",
                FrameOfReferenceTransformationMatrix=[f"{value:.10f}" for value in matrix.ravel()],
            )
            setattr(made, f"{keyword}DeformationMatrixRegistrationSequence", [step])
    ds.DeformableRegistrationSequence = [made]
    return ds


def read_deformable(ds: Any) -> tuple[Any, tuple[Finding, ...]]:
    return read_registration(in_memory([ds])[0], KNOWN)


def test_vectors_lie_where_the_grid_says_and_lead_from_the_object_s_frame_to_the_item_s(tmp_path: Path) -> None:
    """X along the row, Y along the column, Z along their cross product, and X fastest; matrix, vector, matrix."""
    pre, post = rigid((0, 0, 25), (10, 20, 30)), rigid((70, 0, 0), (-5, 0, -800))
    ds = deformable_object(telling_vectors(), pre=pre, post=post)
    intake = read_inputs([write(tmp_path, ct_images(), ds)])
    transform = one(intake.exam.registrations).transform
    assert isinstance(transform, Deformation)
    assert (transform.target, transform.source) == (MR_FRAME, CT_FRAME)
    row, column = COSINES
    normal = np.cross(row, column)
    for x, y, z in ((0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 4), (2, 1, 3)):
        place = CORNER + x * 2.5 * row + y * 4.0 * column + z * 6.0 * normal
        vector = np.array([x + 0.1, y + 0.2, z + 0.3])
        moved = pre[:3, :3] @ place + pre[:3, 3] + vector
        np.testing.assert_allclose(transform.apply(place), post[:3, :3] @ moved + post[:3, 3], atol=1e-4)


def test_an_object_of_the_mr_s_frame_deforms_the_mr() -> None:
    found, findings = read_deformable(deformable_object(telling_vectors(), source=CT_FRAME, frame=MR_FRAME))
    assert findings == ()
    assert (one(found).transform.target, one(found).transform.source) == (CT_FRAME, MR_FRAME)


def test_inspection_tells_which_frame_an_object_deforms(tmp_path: Path) -> None:
    intake = read_inputs([write(tmp_path, deformable_object(telling_vectors()))])
    assert [(reference.to_uid, reference.what) for reference in intake.references] == [(MR_FRAME, "deforms frame")]


def test_big_endian_vectors_are_the_same_vectors(tmp_path: Path) -> None:
    ds = deformable_object(telling_vectors(), order=">")
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.set_original_encoding(is_implicit_vr=False, is_little_endian=False)
    transform = one(read_inputs([write(tmp_path, ds)]).exam.registrations).transform
    assert isinstance(transform, Deformation)
    np.testing.assert_allclose(transform.vectors_mm, telling_vectors(), rtol=1e-6)


def test_undefined_vectors_stay_undefined() -> None:
    vectors = telling_vectors()
    vectors[2, 1, 1] = np.nan
    found, findings = read_deformable(deformable_object(vectors))
    assert findings == ()
    assert np.argwhere(np.isnan(one(found).transform.vectors_mm[..., 0])).tolist() == [[2, 1, 1]]


def test_an_item_without_vectors_is_the_product_of_its_matrices_away_from_the_object() -> None:
    pre, post = rigid((0, 0, 90), (0, 0, 0)), rigid((0, 0, 0), (10, 0, 0))
    found, findings = read_deformable(deformable_object(None, pre=pre, post=post))
    transform = rigid_of(one(found))
    assert findings == ()
    assert (transform.target, transform.source) == (MR_FRAME, CT_FRAME)
    np.testing.assert_allclose(transform.apply([1.0, 0.0, 0.0]), [10.0, 1.0, 0.0], atol=1e-9)


def test_an_item_without_vectors_that_scales_is_not_rigid() -> None:
    _, findings = read_deformable(deformable_object(None, pre=np.diag([1.1, 1, 1, 1])))
    assert [(finding.code, finding.level) for finding in findings] == [("registration-not-rigid", Level.HOLD)]


@pytest.mark.parametrize("still", [True, False])
def test_an_item_of_the_object_s_own_frame_must_leave_it_where_it_is(still: bool) -> None:
    vectors = np.zeros_like(telling_vectors())
    vectors[0, 0, 0, 0] = 0.0 if still else 0.02
    found, findings = read_deformable(deformable_object(vectors, source=CT_FRAME))
    assert found == ()
    assert [finding.code for finding in findings] == ([] if still else ["registration-contradictory"])


def test_the_only_item_of_a_frame_deforms_all_of_it_and_names_an_image_in_passing() -> None:
    ds = deformable_object(telling_vectors())
    ds.DeformableRegistrationSequence[0].ReferencedImageSequence = [item(ReferencedSOPInstanceUID="1.1")]
    assert one(read_deformable(ds)[0]).limits == ()


@pytest.mark.parametrize(
    "spoil",
    ["source", "data", "dimensions", "flat", "resolution", "infinite", "cosines", "grids", "matrices", "mirror"],
)
def test_a_broken_deformable_object_is_refused_whole(spoil: str) -> None:
    vectors = telling_vectors()
    if spoil == "infinite":
        vectors[0, 0, 0, 0] = np.inf
    ds = deformable_object(vectors, pre=np.diag([1.0, 1.0, -1.0, 1.0]) if spoil == "mirror" else np.eye(4))
    made = ds.DeformableRegistrationSequence[0]
    grids = made.DeformableRegistrationGridSequence
    if spoil == "source":
        del made.SourceFrameOfReferenceUID
    elif spoil == "data":
        grids[0].VectorGridData = grids[0].VectorGridData[:-12]
    elif spoil == "dimensions":
        grids[0].GridDimensions = [4, 3]
    elif spoil == "flat":
        grids[0].GridDimensions, grids[0].VectorGridData = [4, 3, 1], grids[0].VectorGridData[: 12 * 12]
    elif spoil == "resolution":
        grids[0].GridResolution = [2.5, 0.0, 6.0]
    elif spoil == "cosines":
        grids[0].ImageOrientationPatient = [1, 0, 0, 0.2, 0.9, 0]
    elif spoil == "grids":
        grids.append(grids[0])
    elif spoil == "matrices":
        made.PreDeformationMatrixRegistrationSequence.append(made.PreDeformationMatrixRegistrationSequence[0])
    found, findings = read_deformable(ds)
    assert found == ()
    code = "registration-frame-unknown" if spoil == "source" else "registration-unreadable"
    assert [(finding.code, finding.level) for finding in findings] == [(code, Level.HOLD)]
    assert uid("reg", 0) in findings[0].message


@pytest.mark.peer
def test_what_plastimatch_writes_leads_where_plastimatch_s_field_does(tmp_path: Path) -> None:
    """plastimatch holds a field as image of vectors from the fixed image to the moving one, and writes the object."""
    require_peer("plastimatch")
    vectors = telling_vectors()
    image = sitk.GetImageFromArray(vectors.astype(np.float32), isVector=True)
    image.SetOrigin((-30.0, 12.0, 840.0))
    image.SetSpacing(RESOLUTION)
    for name in ("fixed", "moving"):
        flat = sitk.Image(list(DIMENSIONS), sitk.sitkInt16)
        flat.CopyInformation(image)
        sitk.WriteImage(flat, tmp_path / f"{name}.mha")
    sitk.WriteImage(image, tmp_path / "field.mha")
    command = ["plastimatch", "xf-convert", "--input", "field.mha", "--output-dicom", "out"]
    command += ["--fixed-image", "fixed.mha", "--moving-image", "moving.mha"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    exam = read_inputs([tmp_path / "out"]).exam
    transform = one(exam.registrations).transform
    assert isinstance(transform, Deformation)
    header = dcmread(next((tmp_path / "out" / "fixed").iterdir()), stop_before_pixels=True)
    assert transform.source == header.FrameOfReferenceUID
    field = sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64))
    for x, y, z in ((-30.0, 12.0, 840.0), (-25.1, 17.3, 851.0), (-23.0, 19.9, 863.9)):
        np.testing.assert_allclose(transform.apply([x, y, z]), field.TransformPoint((x, y, z)), atol=1e-4)
