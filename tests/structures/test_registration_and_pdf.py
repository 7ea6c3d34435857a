"""The Spatial Registration and the Encapsulated PDF beside the structure set, and the stamp on all three."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite

from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.pdf_out import document_of, write_pdf
from psdt_planner.dicom.registration_out import ReferredImage, check_registration, write_registration
from psdt_planner.errors import FaultError, GeometryError, InputError, MissingAttributeError, ReadBackError
from psdt_planner.geometry import Rigid
from tests.peers import require_peer
from tests.structures.scenes import (
    CT_FRAME,
    MR_FRAME,
    STAMP,
    STILL,
    clone,
    ct_grid,
    ct_headers,
    moved,
    mr_headers,
    save_ct,
)

CT = ct_headers(ct_grid())
MR_HEADERS = [*mr_headers(), *mr_headers(2, series=3, study=1)]
MR = [ReferredImage.of(header) for header in MR_HEADERS]
CT_IMAGES = [ReferredImage.of(header) for header in CT]
PDF = b"%PDF-1.4\n%psdt\n1 0 obj\n"


def read(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


def matrix_of(item: Dataset) -> np.ndarray:
    step = item.MatrixRegistrationSequence[0].MatrixSequence[0]
    assert step.FrameOfReferenceTransformationMatrixType == "RIGID"
    return np.array(step.FrameOfReferenceTransformationMatrix, dtype=float).reshape(4, 4)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_reg_direction(seed):
    """An MR landmark times the matrix is the CT landmark; the rotation stays one after sixteen characters."""
    ct_from_mr = moved(np.random.default_rng(seed), degrees=180.0, shift_mm=1500.0)
    dataset = read(write_registration(ct_from_mr, CT[:2], (), STAMP))
    ct, mr = dataset.RegistrationSequence
    assert dataset.FrameOfReferenceUID == ct.FrameOfReferenceUID == CT_FRAME
    assert mr.FrameOfReferenceUID == MR_FRAME
    assert (matrix_of(ct) == np.eye(4)).all()
    landmark = np.array([123.0, -45.0, 678.0, 1.0])
    np.testing.assert_allclose((matrix_of(mr) @ landmark)[:3], ct_from_mr.apply(landmark[:3]), atol=1e-6)
    rotation = matrix_of(mr)[:3, :3]
    assert np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-9
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-9)
    assert max(len(str(text)) for text in mr.MatrixRegistrationSequence[0].MatrixSequence[0][0x300600C6].value) <= 16


def test_reg_itk_inverse():
    """A SimpleITK transform maps fixed (CT) to moving (MR); through the object and back it maps the same."""
    itk = sitk.Euler3DTransform((10.0, 20.0, 30.0), 0.1, -0.2, 0.05, (4.0, -7.0, 11.0))
    mr_from_ct = np.eye(4)
    mr_from_ct[:3, :3] = np.array(itk.GetMatrix()).reshape(3, 3)
    mr_from_ct[:3, 3] = itk.TransformPoint((0.0, 0.0, 0.0))
    ct_from_mr = Rigid(mr_from_ct, MR_FRAME, CT_FRAME).inverse()
    dataset = read(write_registration(ct_from_mr, CT, MR, STAMP))
    back = np.linalg.inv(matrix_of(dataset.RegistrationSequence[1]))
    for point in ((0.0, 0.0, 0.0), (100.0, -50.0, 300.0)):
        np.testing.assert_allclose((back @ [*point, 1.0])[:3], itk.TransformPoint(point), atol=1e-6)


def test_all_images_are_referred_to_by_study_and_series():
    dataset = read(write_registration(STILL, CT, MR, STAMP))
    ct, mr = dataset.RegistrationSequence
    for item, headers in ((ct, CT), (mr, MR_HEADERS)):
        named = [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in item.ReferencedImageSequence]
        assert named == [(header.SOPClassUID, header.SOPInstanceUID) for header in headers]
    same = {
        series.SeriesInstanceUID: len(series.ReferencedInstanceSequence) for series in dataset.ReferencedSeriesSequence
    }
    assert same == {CT[0].SeriesInstanceUID: len(CT), MR[-1].series_instance_uid: 2}
    (other,) = dataset.StudiesContainingOtherReferencedInstancesSequence
    assert other.StudyInstanceUID == MR[0].study_instance_uid
    assert [len(series.ReferencedInstanceSequence) for series in other.ReferencedSeriesSequence] == [3]


def test_the_words_to_refer_to_an_image_are_those_of_its_header():
    header = MR_HEADERS[0]
    assert MR[0] == ReferredImage(
        header.SOPClassUID,
        header.SOPInstanceUID,
        header.SeriesInstanceUID,
        header.StudyInstanceUID,
        MR_FRAME,
        "PH-1",
    )
    nameless = clone(header)
    del nameless.StudyInstanceUID
    with pytest.raises(MissingAttributeError, match="StudyInstanceUID is missing"):
        ReferredImage.of(nameless)


def test_without_mr_headers_the_frames_alone_are_told():
    dataset = read(write_registration(STILL, CT, (), STAMP))
    assert "ReferencedImageSequence" not in dataset.RegistrationSequence[1]
    assert dataset.RegistrationSequence[1].FrameOfReferenceUID == MR_FRAME
    assert "StudiesContainingOtherReferencedInstancesSequence" not in dataset


def test_a_shared_frame_is_the_identity_or_nothing():
    dataset = read(write_registration(Rigid.identity(CT_FRAME), CT, (), STAMP))
    assert (matrix_of(dataset.RegistrationSequence[1]) == np.eye(4)).all()
    shifted = np.eye(4)
    shifted[0, 3] = 1.0
    with pytest.raises(FaultError, match="moves a frame within itself"):
        write_registration(Rigid(shifted, CT_FRAME, CT_FRAME), CT, (), STAMP)


def test_registration_of_other_frames_or_patients_is_refused():
    with pytest.raises(GeometryError, match="does not lead to the CT's frame"):
        write_registration(STILL.inverse(), CT, (), STAMP)
    strange = [MR[0], replace(MR[1], frame_of_reference_uid="1.9")]
    with pytest.raises(GeometryError, match="an MR image is in another frame"):
        write_registration(STILL, CT, strange, STAMP)
    with pytest.raises(GeometryError, match="an MR image is in another frame"):
        write_registration(STILL, CT, [replace(MR[0], frame_of_reference_uid="")], STAMP)
    with pytest.raises(InputError, match="an MR image of another patient"):
        write_registration(STILL, CT, [MR[0], replace(MR[1], patient_id="PH-2")], STAMP)


def spoilt(data: bytes, change) -> bytes:
    dataset = read(data)
    change(dataset)
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ds: ds.RegistrationSequence.reverse(), "is of the frames"),
        (lambda ds: ds.RegistrationSequence.pop(), "is of the frames"),
        (lambda ds: setattr(ds, "FrameOfReferenceUID", MR_FRAME), "is of the frames"),
        (lambda ds: put(ds, 0, 3, "0.5"), "the CT's item is not the identity"),
        (lambda ds: put(ds, 1, 3, "0.5"), r"a place \d+\.\d+ mm away"),
        (lambda ds: ds.RegistrationSequence[0].ReferencedImageSequence.pop(), "the CT's item does not name its 40"),
        (lambda ds: ds.RegistrationSequence[1].ReferencedImageSequence.reverse(), "the MR's item does not name its 5"),
        (lambda ds: ds.ReferencedSeriesSequence.pop(), "by their study and series"),
        (lambda ds: ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence.pop(), "by their study and series"),
        (lambda ds: setattr(ds, "StudyInstanceUID", "1.9"), "by their study and series"),
    ],
)
def test_a_registration_that_reads_back_otherwise_is_named(change, words):
    ct_from_mr = moved(np.random.default_rng(1))
    data = write_registration(ct_from_mr, CT, MR, STAMP)
    check_registration(data, ct_from_mr, CT_IMAGES, MR)
    with pytest.raises(ReadBackError, match=words):
        check_registration(spoilt(data, change), ct_from_mr, CT_IMAGES, MR)


def put(dataset: Dataset, item: int, place: int, text: str) -> None:
    step = dataset.RegistrationSequence[item].MatrixRegistrationSequence[0].MatrixSequence[0]
    values = list(step.FrameOfReferenceTransformationMatrix)
    values[place] = text
    step.FrameOfReferenceTransformationMatrix = values


def test_an_inverted_registration_is_named():
    """The classic mistake: the matrix of the other direction in the right place."""
    ct_from_mr = moved(np.random.default_rng(1))
    backwards = Rigid(ct_from_mr.inverse().matrix, CT_FRAME, MR_FRAME)
    with pytest.raises(ReadBackError, match="mm away"):
        check_registration(write_registration(backwards, CT, MR, STAMP), ct_from_mr, CT_IMAGES, MR)


@pytest.mark.parametrize("document", [PDF, PDF + b"x"])
def test_the_document_comes_back_byte_for_byte_whatever_its_length(document):
    data = write_pdf(document, CT, "psdt PROPOSAL", STAMP)
    assert document_of(data) == document
    dataset = read(data)
    assert len(dataset.EncapsulatedDocument) % 2 == 0
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert dataset.DocumentTitle == "psdt PROPOSAL"
    assert dataset.VerificationFlag == "UNVERIFIED"
    assert dataset.StudyInstanceUID == CT[0].StudyInstanceUID
    assert dataset.PatientID == "PH-1"
    assert dataset.BurnedInAnnotation == "YES"
    assert len(dataset.SourceInstanceSequence) == len(CT)


def test_proposal_marking():
    with pytest.raises(FaultError, match="does not say PROPOSAL"):
        write_pdf(PDF, CT, "Dose", STAMP)
    with pytest.raises(FaultError, match="is no PDF"):
        write_pdf(b"<html>", CT, "PROPOSAL", STAMP)
    for data in (write_pdf(PDF, CT, "PROPOSAL", STAMP), write_registration(STILL, CT, MR, STAMP)):
        assert b"PROPOSAL" in data


def test_title_in_another_alphabet_makes_the_file_utf_8():
    dataset = read(write_pdf(PDF, CT, "PROPOSAL: предложение", STAMP))
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert dataset.DocumentTitle == "PROPOSAL: предложение"


def test_all_three_kinds_have_series_of_their_own_and_the_same_bytes_again():
    registration, document = write_registration(STILL, CT, MR, STAMP), write_pdf(PDF, CT, "PROPOSAL", STAMP)
    assert registration == write_registration(STILL, CT, MR, STAMP)
    assert document == write_pdf(PDF, CT, "PROPOSAL", STAMP)
    assert read(registration).SeriesInstanceUID != read(document).SeriesInstanceUID
    assert write_pdf(PDF + b"y", CT, "PROPOSAL", STAMP)[200:] != document[200:]
    assert read(write_pdf(PDF + b"y", CT, "PROPOSAL", STAMP)).SOPInstanceUID != read(document).SOPInstanceUID


def test_ds_raise(monkeypatch):
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.RAISE)
    ct_from_mr = moved(np.random.default_rng(7), degrees=170, shift_mm=1234.5)
    for data in (write_registration(ct_from_mr, CT, MR, STAMP), write_pdf(PDF, CT, "PROPOSAL", STAMP)):
        read(data).walk(lambda ds, element: element.value)


@pytest.mark.peer
def test_dciodvfy_and_dcentvfy_find_nothing(tmp_path: Path):
    require_peer("dciodvfy", "dcentvfy")
    many = [*MR, *(replace(MR[0], sop_instance_uid=f"1.2.3.{n}", series_instance_uid="1.2.3") for n in range(1, 1000))]
    registration = write_registration(moved(np.random.default_rng(7)), CT, many, STAMP)
    folder = tmp_path / "ct"
    folder.mkdir()
    save_ct(CT, folder)
    paths = []
    for name, data in (
        ("SpatialRegistration", registration),
        ("EncapsulatedPDF", write_pdf(PDF, CT, "PROPOSAL", STAMP)),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        paths.append(str(path))
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, "", name)
    done = subprocess.run(
        ["dcentvfy", *paths, *map(str, folder.iterdir())], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_stamp_gives_the_same_uid_for_the_same_role_and_no_other():
    stamp = Stamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "entropy")
    assert stamp.uid("a", "b") == Stamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "entropy").uid("a", "b")
    uids = {
        stamp.uid("a", "b"),
        stamp.uid("ab"),
        stamp.uid("a"),
        Stamp(stamp.created, "other").uid("a"),
        Stamp(datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC), "entropy").uid("a"),
    }
    assert len(uids) == 5
    assert all(pydicom.uid.UID(uid).is_valid and len(uid) <= 64 for uid in uids)
    assert (stamp.date, stamp.time) == ("20260102", "030405.000000")


def test_a_stamp_without_zone_or_entropy_is_refused():
    with pytest.raises(FaultError, match="a time with its zone, and entropy"):
        Stamp(datetime(2026, 1, 2), "entropy")  # noqa: DTZ001
    with pytest.raises(FaultError, match="a time with its zone, and entropy"):
        Stamp(datetime(2026, 1, 2, tzinfo=UTC), "")
