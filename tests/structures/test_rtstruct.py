"""The structure set as DICOM: what the planning system opens, and what other programs make of it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from rt_utils import RTStructBuilder
from scipy.spatial.transform import Rotation

from psdt_planner.contours import lesion_shape, trace
from psdt_planner.dicom.rtstruct_out import headers_of_slices, write_rtstruct
from psdt_planner.dicom.rtstruct_read_back import read_back
from psdt_planner.dicom.rtstruct_rings import contour_texts
from psdt_planner.errors import (
    DecisionNeededError,
    FaultError,
    GeometryError,
    InputError,
    MissingAttributeError,
    ReadBackError,
)
from psdt_planner.geometry import Grid
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind
from psdt_planner.shapes import TARGET_KINDS, Contour, StructureSet
from psdt_planner.structures import Margin, Target, build_structure_set, grow
from tests.peers import require_peer
from tests.structures.scenes import (
    ORIENTATIONS,
    ROOT,
    STAMP,
    clone,
    ct_grid,
    ct_headers,
    either,
    ellipsoid,
    flag,
    moved,
    mr_grid,
    occupancy,
    save_ct,
    sphere,
)

Scene = tuple[StructureSet, list[Dataset], dict[str, FlaggedLesion]]


def scene(ct: Grid, *, labels: tuple[str, str] = ("Lesion in the ilium", "Node"), seed: int = 4) -> Scene:
    """Two lesions, one of two parts, mapped and drawn."""
    rng = np.random.default_rng(seed)
    ct_from_mr = moved(rng, shift_mm=3.0)
    truths = (ellipsoid((-9, 3, 2), (5, 7, 8)), either(sphere((9, -8, -4), 6), sphere((12, 8, 6), 5)))
    flags, targets = {}, []
    for n, (truth, site, label) in enumerate(zip(truths, ("bone", "pelvic-node"), labels, strict=True), start=1):
        grid = mr_grid((0, 0, 0), 40.0, turn=Rotation.from_rotvec([0.05, 0.1, -0.05]))
        lesion = flag(grid, occupancy(grid, truth, 3), MaskKind.OCCUPANCY, id=f"L{n}", site=site, label=label)
        gtv = lesion_shape(lesion, ct_from_mr, ct)
        ctv = grow(gtv, Margin.uniform(1.0), ct)
        shapes = dict(zip(TARGET_KINDS, (gtv, ctv, grow(ctv, Margin.uniform(2.0), ct)), strict=True))
        rings = {kind: trace(shape, ct).contours for kind, shape in shapes.items()}
        targets.append(Target(lesion.id, label, site, "27 Gy in 3 fractions.", rings, lesion.tracking_uid))
        flags[lesion.id] = lesion
    structure_set = build_structure_set(targets, ct, label="psdt PROPOSAL", description="PROPOSAL of a test")
    return structure_set, ct_headers(ct), flags


@cache
def scene_in(position: str) -> Scene:
    return scene(ct_grid(position=position, offsets_mm=np.cumsum([2.0, 2.5, 2.0, 1.5, 3.0] * 6)))


@cache
def even_scene_in(position: str) -> Scene:
    return scene(ct_grid(position=position, offsets_mm=2.0 * np.arange(35)))


SCENE = scene_in("HFS")
CT = SCENE[0].grid
DATA = write_rtstruct(*SCENE, STAMP)


def read(data: bytes = DATA) -> Dataset:
    return dcmread(BytesIO(data))


def rewritten(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def triples(ring: Dataset) -> np.ndarray:
    return np.array(ring.ContourData, dtype=float).reshape(-1, 3)


# ---------------------------------------------------------------------------------------------------------------------
# what is written


def test_reading_back_finds_nothing_to_say():
    read_back(DATA, *SCENE)


def test_the_same_input_gives_the_same_bytes_and_other_content_other_uids():
    assert write_rtstruct(*SCENE, STAMP) == DATA
    structure_set, headers, flags = SCENE
    other = replace(structure_set, description="PROPOSAL of another test")
    changed = read(write_rtstruct(other, headers, flags, STAMP))
    later = read(write_rtstruct(*SCENE, replace(STAMP, entropy="another run")))
    for dataset in (changed, later):
        assert dataset.SOPInstanceUID != read().SOPInstanceUID
        assert dataset.SeriesInstanceUID != read().SeriesInstanceUID


def test_the_order_of_the_headers_does_not_matter():
    structure_set, headers, flags = SCENE
    assert write_rtstruct(structure_set, headers[::-1], flags, STAMP) == DATA


def test_patient_study_and_frame_are_the_cts_and_the_rest_is_ours():
    dataset, ct = read(), SCENE[1][0]
    for keyword in (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDate"),
        *("StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "FrameOfReferenceUID"),
        *("InstitutionName", "PositionReferenceIndicator"),
    ):
        assert dataset[keyword].value == ct[keyword].value, keyword
    assert dataset.Manufacturer == dataset.ManufacturerModelName == "psdt"
    assert dataset.SoftwareVersions == "0.1.0"
    assert dataset.Modality == "RTSTRUCT"
    assert dataset.ApprovalStatus == "UNAPPROVED"
    assert dataset.StructureSetLabel == "psdt PROPOSAL"
    assert (dataset.StructureSetDate, dataset.StructureSetTime) == ("20260304", "050607.890123")
    assert dataset.InstanceCreationDate == "20260304"
    assert dataset["OperatorsName"].value is None or dataset["OperatorsName"].value == ""
    assert dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert b"Qurit" not in DATA
    assert b"rt-utils" not in DATA


def test_type_2_attributes_are_empty_where_the_ct_has_none():
    structure_set, headers, flags = SCENE
    bare = []
    for header in headers:
        copy = clone(header)
        for keyword in ("StudyID", "StudyDate", "StudyTime", "PatientBirthDate", "AccessionNumber", "InstitutionName"):
            del copy[keyword]
        bare.append(copy)
    data = write_rtstruct(structure_set, bare, flags, STAMP)
    dataset = read(data)
    for keyword in ("StudyID", "StudyDate", "StudyTime", "PatientBirthDate", "AccessionNumber"):
        assert keyword in dataset
        assert not dataset[keyword].value
    assert "InstitutionName" not in dataset
    read_back(data, structure_set, bare, flags)


def test_every_ct_slice_is_referenced():
    (frame,) = read().ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == CT.frame
    (study,) = frame.RTReferencedStudySequence
    assert study.ReferencedSOPClassUID == "1.2.840.10008.3.1.2.3.1"
    (series,) = study.RTReferencedSeriesSequence
    assert series.SeriesInstanceUID == SCENE[1][0].SeriesInstanceUID
    listed = [image.ReferencedSOPInstanceUID for image in series.ContourImageSequence]
    assert sorted(listed) == sorted(header.SOPInstanceUID for header in SCENE[1])


def test_rois_are_named_typed_and_lead_back_to_the_flag():
    dataset = read()
    names = [item.ROIName for item in dataset.StructureSetROISequence]
    assert names == ["GTV1", "CTV1", "PTV1", "GTVn2", "CTVn2", "PTVn2"]
    assert [item.RTROIInterpretedType for item in dataset.RTROIObservationsSequence] == 2 * ["GTV", "CTV", "PTV"]
    assert [item.ROINumber for item in dataset.StructureSetROISequence] == [1, 2, 3, 4, 5, 6]
    for roi, item in zip(SCENE[0].rois, dataset.StructureSetROISequence, strict=True):
        lesion = SCENE[2][roi.lesion]
        (source,) = item.DefinitionSourceSequence
        assert source.ReferencedSOPInstanceUID == lesion.source.sop_instance_uid
        assert source.ReferencedSegmentNumber == lesion.source.item
        assert lesion.tracking_uid in item.ROIDescription
        assert "PROPOSAL" in item.ROIDescription
        assert item.ROIGenerationAlgorithm == "SEMIAUTOMATIC"
        (algorithm,) = item.ROIDerivationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("psdt contours", "0.1.0")


def test_an_rtstruct_as_source_has_no_segment_number():
    structure_set, headers, flags = SCENE
    source = FlagSource("1.2.840.10008.5.1.4.1.1.481.3", f"{ROOT}.5.9", 4)
    drawn = {key: replace(lesion, source=source) for key, lesion in flags.items()}
    data = write_rtstruct(structure_set, headers, drawn, STAMP)
    (reference,) = read(data).StructureSetROISequence[0].DefinitionSourceSequence
    assert "ReferencedSegmentNumber" not in reference
    read_back(data, structure_set, headers, drawn)


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_contour_on_slice_in_every_patient_position(position):
    structure_set, headers, flags = scene_in(position)
    data = write_rtstruct(structure_set, headers, flags, STAMP)
    read_back(data, structure_set, headers, flags)
    where = {header.SOPInstanceUID: np.array(header.ImagePositionPatient, dtype=float) for header in headers}
    for item in read(data).ROIContourSequence:
        for ring in item.ContourSequence:
            (image,) = ring.ContourImageSequence
            off_mm = (triples(ring) - where[image.ReferencedSOPInstanceUID]) @ structure_set.grid.normal
            assert np.abs(off_mm).max() < 0.01


def test_the_place_is_the_same_in_every_patient_position():
    volumes, centres = [], []
    for position in ORIENTATIONS:
        dataset = read(write_rtstruct(*scene_in(position), STAMP))
        points = np.concatenate([triples(ring) for ring in dataset.ROIContourSequence[2].ContourSequence])
        centres.append((points.min(axis=0) + points.max(axis=0)) / 2)
        volumes.append(scene_in(position)[0].rois[2].volume_ml)
    assert np.ptp(centres, axis=0).max() < 1.0
    assert np.ptp(volumes) / np.mean(volumes) < 0.03


def test_contour_simple_and_contour_size():
    for item in read().ROIContourSequence:
        for ring in item.ContourSequence:
            assert ring.ContourGeometricType == "CLOSED_PLANAR"
            points = triples(ring)
            assert 3 <= len(points) == ring.NumberOfContourPoints <= 2000
            assert np.linalg.norm(points[0] - points[-1]) > 0.01


def test_coordinates_are_short_decimals():
    for item in read().ROIContourSequence:
        for ring in item.ContourSequence:
            for text in ring.get_item("ContourData").value.decode().strip().split("\\"):
                assert len(text) <= 16
                assert len(text.split(".")[1]) == 3
                assert text not in ("-0.000", "nan", "inf")
    assert contour_texts([np.array([[-0.0001, 1203.3699951, -1203.37]])]) == [b"0.000\\1203.370\\-1203.370"]
    assert contour_texts([]) == []
    for bad in (np.nan, np.inf, -np.inf, 1e5, -1e5):
        with pytest.raises(FaultError, match="not finite, or beyond 100 m"):
            contour_texts([np.zeros((3, 3)), np.array([[bad, 0.0, 0.0]])])


def coordinates() -> st.SearchStrategy[float]:
    """Of every length that a text may have, and about the powers of ten, where it changes."""
    anywhere = st.floats(-99_999.999, 99_999.999)
    whole = st.integers(-99_999_999, 99_999_999).map(lambda micrometres: micrometres / 1000.0)
    edges = st.builds(
        lambda sign, power, off: sign * (10.0**power + off),
        st.sampled_from((-1, 1)),
        st.integers(-4, 4),
        st.sampled_from((-0.0006, -0.0004, 0.0, 0.0004, 0.0006)),
    )
    return st.one_of(anywhere, whole, edges)


@given(st.lists(st.lists(st.tuples(*[coordinates()] * 3), min_size=1, max_size=5), max_size=4))
def test_contour_data_is_what_one_number_after_another_would_be(rings):
    def slowly(ring: list[tuple[float, float, float]]) -> bytes:
        text = "\\".join(f"{round(number * 1000.0) / 1000.0 + 0.0:.3f}" for point in ring for number in point)
        return (text + " " * (len(text) % 2)).encode("ascii")

    assert contour_texts([np.array(ring) for ring in rings]) == [slowly(ring) for ring in rings]


def test_contour_data_keeps_its_vr_through_explicit_vr():
    dataset = read()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)
    again = read(buffer.getvalue())
    assert again.ROIContourSequence[0].ContourSequence[0]["ContourData"].VR == "DS"


def test_ds_raise(monkeypatch):
    """With pydicom's strictest settings, for the writer and for every value of what it wrote."""
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.RAISE)
    data = write_rtstruct(*SCENE, STAMP)
    assert data == DATA
    read_back(data, *SCENE)
    read(data).walk(lambda ds, element: element.value)


# ---------------------------------------------------------------------------------------------------------------------
# character sets


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 192", "山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (None, "Plain^Name"),
    ],
)
def test_names_and_their_character_set_survive_byte_for_byte(stated, name):
    structure_set, headers, flags = SCENE
    named = []
    for header in headers:
        copy = clone(header)
        if stated is not None:
            copy.SpecificCharacterSet = stated
        copy.PatientName = name
        named.append(dcmread(BytesIO(with_meta(copy))))
    data = write_rtstruct(structure_set, named, flags, STAMP)
    as_sent = dcmread(BytesIO(with_meta(named[0]))).get_item("PatientName").value
    assert read(data).get_item("PatientName").value.strip() == as_sent.strip()
    assert str(read(data).PatientName) == name
    assert read(data).get("SpecificCharacterSet") == named[0].get("SpecificCharacterSet")
    read_back(data, structure_set, named, flags)


def with_meta(dataset: Dataset) -> bytes:
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return rewritten(dataset)


def test_words_that_the_cts_character_set_lacks_make_the_file_utf_8():
    structure_set, headers, flags = scene(CT, labels=("Очаг в подвздошной кости", "Node"))
    latin = []
    for header in headers:
        copy = clone(header)
        copy.SpecificCharacterSet, copy.PatientName = "ISO_IR 100", "Müller^Jörg"
        latin.append(copy)
    data = write_rtstruct(structure_set, latin, flags, STAMP)
    dataset = read(data)
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert str(dataset.PatientName) == "Müller^Jörg"
    assert "Очаг в подвздошной кости" in dataset.StructureSetROISequence[0].ROIDescription
    assert dataset.StructureSetROISequence[0].ROIName == "GTV1"
    read_back(data, structure_set, latin, flags)


# ---------------------------------------------------------------------------------------------------------------------
# what is refused


def test_an_empty_roi_is_refused():
    structure_set, headers, flags = SCENE
    rois = (replace(structure_set.rois[0], contours=()), *structure_set.rois[1:])
    with pytest.raises(DecisionNeededError, match=r"GTV1 has no ring on any CT slice \[L1\]"):
        write_rtstruct(replace(structure_set, rois=rois), headers, flags, STAMP)


def test_a_lesion_without_its_flag_or_its_tracking_uid_is_refused():
    structure_set, headers, flags = SCENE
    with pytest.raises(FaultError, match="a lesion without its flag"):
        write_rtstruct(structure_set, headers, {"L1": flags["L1"]}, STAMP)
    other = {**flags, "L2": replace(flags["L2"], tracking_uid="1.2.9.9")}
    with pytest.raises(FaultError, match="does not tell the lesion's tracking UID"):
        write_rtstruct(structure_set, headers, other, STAMP)


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_ct_without_a_uid_is_refused_and_none_is_invented(keyword):
    structure_set, headers, flags = SCENE
    bare = [clone(header) for header in headers]
    for header in bare:
        del header[keyword]
    with pytest.raises(MissingAttributeError, match=f"{keyword} is missing"):
        write_rtstruct(structure_set, bare, flags, STAMP)


@pytest.mark.parametrize(
    ("keyword", "other", "error", "words"),
    [
        ("SeriesInstanceUID", "1.2.9", InputError, "different SeriesInstanceUID"),
        ("StudyInstanceUID", "1.2.9", InputError, "different StudyInstanceUID"),
        ("PatientID", "PH-2", InputError, "different patients"),
        ("FrameOfReferenceUID", "1.2.9", GeometryError, "different frames of reference"),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "-1", "0"], GeometryError, "another orientation"),
        ("ImagePositionPatient", ["0", "0", "900"], GeometryError, "mm from its slice"),
    ],
)
def test_images_that_do_not_belong_together_are_refused(keyword, other, error, words):
    structure_set, headers, flags = SCENE
    mixed = [clone(header) for header in headers]
    setattr(mixed[3], keyword, other)
    with pytest.raises(error, match=words):
        write_rtstruct(structure_set, mixed, flags, STAMP)


def test_a_missing_slice_no_slice_and_another_frame_are_refused():
    structure_set, headers, flags = SCENE
    with pytest.raises(GeometryError, match="29 CT images for 30 slices"):
        write_rtstruct(structure_set, headers[1:], flags, STAMP)
    with pytest.raises(InputError, match="no image to refer to"):
        write_rtstruct(structure_set, [], flags, STAMP)
    elsewhere = replace(structure_set, grid=Grid(CT.slice_origins_mm, CT.step_j_mm, CT.step_i_mm, CT.shape, "1.2.9"))
    with pytest.raises(GeometryError, match="in another frame of reference than the CT"):
        write_rtstruct(elsewhere, headers, flags, STAMP)


def test_headers_are_put_in_the_order_of_the_slices():
    ordered = headers_of_slices(SCENE[1], CT)
    assert [int(header.InstanceNumber) for header in ordered] == list(range(1, CT.shape[0] + 1))


# ---------------------------------------------------------------------------------------------------------------------
# reading back finds what is wrong


def spoilt(change) -> bytes:
    dataset = read()
    change(dataset)
    return rewritten(dataset)


def ring(dataset: Dataset, roi: int = 0, number: int = 2) -> Dataset:
    return dataset.ROIContourSequence[roi].ContourSequence[number]


def move(dataset: Dataset, by) -> None:
    points = triples(ring(dataset)) + np.array(by)
    ring(dataset).ContourData = [f"{number:.3f}" for number in points.ravel()]


def cross(dataset: Dataset) -> None:
    points = triples(ring(dataset))
    points[[2, len(points) // 2]] = points[[len(points) // 2, 2]]
    ring(dataset).ContourData = [f"{number:.3f}" for number in points.ravel()]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ds: move(ds, (0, 0, 0.02)), r"GTV1: ring 3 on slice \d+ lies 0.020 mm off its slice"),
        (lambda ds: move(ds, (0.3, 0, 0)), r"GTV1: ring 3 on slice \d+ moved by 0.300 mm"),
        (lambda ds: move(ds, (0.3, 0, 0)), r"GTV1: the centroid lies 0.0\d\d mm away"),
        (cross, r"GTV1: ring 3 on slice \d+ crosses itself"),
        (lambda ds: ds.ROIContourSequence[1].ContourSequence.pop(), r"CTV1: \d+ rings, not \d+"),
        (lambda ds: ds.ROIContourSequence.pop(), "ROIContourSequence has the ROI numbers"),
        (lambda ds: ds.StructureSetROISequence.pop(0), "StructureSetROISequence has the ROI numbers"),
        (lambda ds: ds.RTROIObservationsSequence.reverse(), "RTROIObservationsSequence has the ROI numbers"),
        (lambda ds: setattr(ds, "ApprovalStatus", "APPROVED"), "ApprovalStatus differs"),
        (lambda ds: setattr(ds, "PatientID", "PH-2"), "PatientID differs"),
        (lambda ds: setattr(ds, "PatientName", "Other^Name"), "PatientName differs"),
        (lambda ds: setattr(ds, "FrameOfReferenceUID", "1.2.9"), "FrameOfReferenceUID differs"),
        (lambda ds: setattr(ds, "StructureSetLabel", "other"), "StructureSetLabel differs"),
        (
            lambda ds: setattr(ds.StructureSetROISequence[2], "ROIName", "PTV9"),
            "PTV1: ROIName is 'PTV9', not 'PTV1'",
        ),
        (
            lambda ds: setattr(ds.RTROIObservationsSequence[2], "RTROIInterpretedType", "ORGAN"),
            "PTV1: RTROIInterpretedType is 'ORGAN', not 'PTV'",
        ),
        (
            lambda ds: setattr(
                ds.StructureSetROISequence[0].DefinitionSourceSequence[0], "ReferencedSOPInstanceUID", "1.2"
            ),
            "GTV1: ReferencedSOPInstanceUID is '1.2'",
        ),
        (
            lambda ds: setattr(ring(ds).ContourImageSequence[0], "ReferencedSOPInstanceUID", "1.2"),
            "does not refer to the image of its slice",
        ),
        (lambda ds: setattr(ring(ds), "ContourGeometricType", "POINT"), "is not CLOSED_PLANAR"),
        (lambda ds: setattr(ring(ds), "NumberOfContourPoints", "8"), r"has \d+ points, not"),
        (
            lambda ds: (
                ds.ReferencedFrameOfReferenceSequence[0]
                .RTReferencedStudySequence[0]
                .RTReferencedSeriesSequence[0]
                .ContourImageSequence.pop()
            ),
            "1 of 30 CT slices are not referenced",
        ),
    ],
)
def test_what_reads_back_otherwise_is_named(change, words):
    with pytest.raises(ReadBackError, match=words):
        read_back(spoilt(change), *SCENE)


def test_reading_back_tells_no_patient():
    with pytest.raises(ReadBackError) as raised:
        read_back(spoilt(lambda ds: setattr(ds, "PatientName", "Secret^Name")), *SCENE)
    assert "Secret" not in str(raised.value)
    assert "Phantom" not in str(raised.value)


def test_text_that_is_no_ring_is_named():
    for text in ("1.000\\2.000", "1\\2\\x", "12345678901234567\\1\\1"):
        with pytest.raises(ReadBackError, match="ContourData"):
            read_back(spoilt(lambda ds, text=text: with_text(ring(ds), text)), *SCENE)


def with_text(item: Dataset, text: str) -> None:
    raw = item.get_item("ContourData")
    padded = text.encode() + b" " * (len(text) % 2)
    item[raw.tag] = raw._replace(value=padded, length=len(padded))


def test_many_differences_are_counted():
    structure_set, headers, flags = SCENE
    moved_rois = tuple(
        replace(roi, contours=tuple(Contour(r.points_mm + 0.5, r.slice_index) for r in roi.contours))
        for roi in structure_set.rois
    )
    with pytest.raises(ReadBackError, match=r"and \d+ more"):
        read_back(DATA, replace(structure_set, rois=moved_rois), headers, flags)


# ---------------------------------------------------------------------------------------------------------------------
# other programs


@pytest.mark.peer
def test_dciodvfy_and_dcentvfy_find_nothing(tmp_path: Path):
    require_peer("dciodvfy", "dcentvfy")
    path, folder = tmp_path / "rt.dcm", tmp_path / "ct"
    path.write_bytes(DATA)
    folder.mkdir()
    save_ct(SCENE[1], folder)
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, "", "RTStructureSet")
    files = [str(path), *map(str, folder.iterdir())]
    done = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.peer
@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP"])
def test_plastimatch_reads_every_roi_at_its_size_and_place(tmp_path: Path, position: str):
    require_peer("plastimatch")
    import SimpleITK as sitk

    structure_set, headers, flags = even_scene_in(position)
    path, folder = tmp_path / "rt.dcm", tmp_path / "ct"
    path.write_bytes(write_rtstruct(structure_set, headers, flags, STAMP))
    folder.mkdir()
    save_ct(headers, folder)
    command = ["plastimatch", "convert", "--input", str(path), "--referenced-ct", str(folder)]
    command += ["--output-prefix", str(tmp_path / "masks"), "--prefix-format", "mha"]
    subprocess.run(command, capture_output=True, check=True)
    masks = {file.stem: file for file in (tmp_path / "masks").iterdir()}
    assert set(masks) == {roi.name for roi in structure_set.rois}
    for roi in structure_set.rois:
        image = sitk.ReadImage(str(masks[roi.name]))
        array = sitk.GetArrayFromImage(image)
        voxel_ml = np.prod(image.GetSpacing()) / 1000
        assert array.sum() * voxel_ml == pytest.approx(roi.volume_ml, rel=0.05)
        centre = np.argwhere(array).mean(axis=0)[::-1]
        points = np.concatenate([ring.points_mm for ring in roi.contours])
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        assert np.linalg.norm(np.array(image.TransformContinuousIndexToPhysicalPoint(centre)) - middle) < 4.0


def test_rt_utils_reads_every_roi_where_its_matrix_is_square(tmp_path: Path):
    """Its known faults (rows and columns swapped, uneven slices) do not show on a square, even CT."""
    ct = ct_grid(spacing_ji_mm=(1.0, 1.0), shape_ji=(80, 80), offsets_mm=2.0 * np.arange(35))
    structure_set, headers, flags = scene(ct)
    path, folder = tmp_path / "rt.dcm", tmp_path / "ct"
    path.write_bytes(write_rtstruct(structure_set, headers, flags, STAMP))
    folder.mkdir()
    save_ct(headers, folder)
    reader = RTStructBuilder.create_from(str(folder), str(path))
    assert reader.get_roi_names() == [roi.name for roi in structure_set.rois]
    for roi in structure_set.rois:
        mask = reader.get_roi_mask_by_name(roi.name)
        # Its polygon filling paints the pixels under the outline too, half a pixel all round.
        assert 1.0 < mask.sum() * 2.0 / 1000 / roi.volume_ml < 1.35


def test_an_oracle_of_its_own_finds_the_lesion_in_the_file():
    """Every CT voxel centre, by the even-odd rule on the rings of the bytes, against the shape it was drawn from."""
    from tests.structures.scenes import inside_rings

    structure_set, _, flags = SCENE
    dataset = read()
    item = dataset.ROIContourSequence[3]
    by_slice: dict[int, list[np.ndarray]] = {}
    for each in item.ContourSequence:
        k = int(np.argmin(np.abs((CT.slice_origins_mm - triples(each)[0]) @ CT.normal)))
        by_slice.setdefault(k, []).append(triples(each)[:, :2])
    voxels = np.array(list(product(range(CT.shape[1]), range(CT.shape[2]))))
    area = np.prod(CT.spacing_ji_mm)
    total = 0.0
    for k, rings in by_slice.items():
        points = CT.mm_from_index(np.column_stack([np.full(len(voxels), k), voxels]))[:, :2]
        total += inside_rings(rings, points).sum() * CT.voxel_volumes_ml[k]
    assert area > 0
    assert total == pytest.approx(structure_set.rois[3].volume_ml, rel=0.03)
    assert total == pytest.approx(flags["L2"].volume_ml, rel=0.06)
