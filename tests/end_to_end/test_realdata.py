"""Real images: a CT of the abdomen, and CT-MR pairs of the thigh whose tumour was drawn on both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import shapely
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from psdt_planner.dossier import load_protocol, make_dossier
from psdt_planner.findings import Level
from psdt_planner.planning import LesionStatus, Plan, PlanStatus
from psdt_planner.registration import RegistrationSource
from tests.dicom_in.packs import pack
from tests.end_to_end.conftest import CREATED

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # writing other people's odd values back is the test's own doing
]

MR_FRAME = generate_uid(entropy_srcs=["an MR frame of its own"])
PAIRS = ("mrct_sts_002_ct_mr_pet_rtss", "mrct_sts_003_ct_mr_pet_rtss")


def ct_from_mr() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [4.0, -3.0, 11.0], degrees=True).as_matrix()
    matrix[:3, 3] = [31.0, -17.0, 240.0]
    return matrix


def moved(points: Any) -> np.ndarray:
    """Points of the CT's frame as the moved MR has them."""
    back = np.linalg.inv(ct_from_mr())
    return np.asarray(np.array(points, dtype=float).reshape(-1, 3) @ back[:3, :3].T + back[:3, 3])


def move_image(dataset: Dataset) -> None:
    rotation = np.linalg.inv(ct_from_mr())[:3, :3]
    cosines = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3) @ rotation.T
    dataset.ImageOrientationPatient = [f"{x:.12f}"[:16] for x in cosines.ravel()]
    dataset.ImagePositionPatient = [f"{x:.9f}"[:16] for x in moved(dataset.ImagePositionPatient)[0]]
    dataset.FrameOfReferenceUID = MR_FRAME


def move_structures(dataset: Dataset) -> None:
    dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = MR_FRAME
    for roi in dataset.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = MR_FRAME
    for item in dataset.ROIContourSequence:
        for ring in item.ContourSequence:
            ring.ContourData = [f"{x:.6f}" for x in moved(ring.ContourData).ravel()]


def registration(ct: Dataset, written: np.ndarray) -> Dataset:
    """A Spatial Registration object as another system writes it: CT frame, and the matrix from the MR's to it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.1"
    uid = generate_uid(entropy_srcs=["registration"])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["registration series"])
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"):
        setattr(dataset, keyword, ct.get(keyword, ""))
    dataset.Modality = "REG"
    dataset.FrameOfReferenceUID = ct.FrameOfReferenceUID
    items = []
    for frame, matrix in ((ct.FrameOfReferenceUID, np.eye(4)), (MR_FRAME, written)):
        step, steps, item = Dataset(), Dataset(), Dataset()
        step.FrameOfReferenceTransformationMatrixType = "RIGID"
        step.FrameOfReferenceTransformationMatrix = [f"{x:.13f}"[:16] for x in matrix.ravel()]
        steps.MatrixSequence, steps.RegistrationTypeCodeSequence = [step], []
        item.FrameOfReferenceUID, item.MatrixRegistrationSequence = frame, [steps]
        items.append(item)
    dataset.RegistrationSequence = items
    return dataset


def rings(dataset: Dataset, name: str) -> dict[float, Any]:
    """Polygons of an ROI by z, in mm."""
    number = next(roi.ROINumber for roi in dataset.StructureSetROISequence if name == roi.ROIName)
    item = next(item for item in dataset.ROIContourSequence if item.ReferencedROINumber == number)
    found: dict[float, Any] = {}
    for ring in item.ContourSequence:
        points = np.array(ring.ContourData, dtype=float).reshape(-1, 3)
        polygon = shapely.make_valid(shapely.Polygon(points[:, :2]))
        z = round(float(points[0, 2]), 1)
        found[z] = found[z].symmetric_difference(polygon) if z in found else polygon
    return found


def dice(one: dict[float, Any], other: dict[float, Any]) -> float:
    """Overlap of two sets of rings on the same, evenly spaced slices."""
    shared = sum(one[z].intersection(other[z]).area for z in one.keys() & other.keys())
    return float(2 * shared / sum(polygon.area for rings_ in (one, other) for polygon in rings_.values()))


@dataclass(frozen=True)
class Thigh:
    """A pair whose MR, with the tumour drawn on it, was moved into a frame of its own."""

    ct: tuple[Path, ...]
    ct_structures: Path
    inputs: Path


@pytest.fixture
def thigh(request: pytest.FixtureRequest, tmp_path: Path) -> Thigh:
    """The pair whose name the test gives; no registration yet."""
    subject = next(pack(request.param).rglob("MR_T1")).parent
    inputs = tmp_path / "in"
    inputs.mkdir()
    for n, path in enumerate(sorted((subject / "MR_T1" / "dicom" / "image").iterdir())):
        image = dcmread(path)
        move_image(image)
        image.save_as(inputs / f"mr{n:03d}.dcm")
    structures = dcmread(next((subject / "MR_T1" / "dicom" / "mask").iterdir()))
    move_structures(structures)
    structures.save_as(inputs / "flags.dcm")
    ct = tuple(sorted((subject / "CT" / "dicom" / "image").iterdir()))
    return Thigh(ct, next((subject / "CT" / "dicom" / "mask").iterdir()), inputs)


@pytest.mark.parametrize("thigh", PAIRS, indirect=True)
def test_the_tumour_drawn_on_the_mr_lands_on_the_tumour_drawn_on_the_ct(thigh: Thigh, tmp_path: Path) -> None:
    ct, inputs = thigh.ct, thigh.inputs
    registration(dcmread(ct[0]), ct_from_mr()).save_as(inputs / "reg.dcm", enforce_file_format=True)

    dossier = make_dossier([*ct, inputs], tmp_path / "out", protocol=load_protocol(None), created=CREATED)

    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert dossier.status == "proposed", [finding.message for finding in dossier.findings]
    assert plan["registration"]["source"] == "reg-object"
    np.testing.assert_allclose(plan["registration"]["ct_from_mr"], ct_from_mr(), atol=1e-6)
    levels = {finding["code"]: finding["level"] for finding in plan["findings"]}
    assert levels["dwi-absent"] == "warn"
    assert "hold" not in levels.values()
    drawn = dcmread(thigh.ct_structures)
    ours = dcmread(tmp_path / "out" / "rtstruct.dcm")
    theirs = rings(drawn, drawn.StructureSetROISequence[0].ROIName)
    assert dice(rings(ours, "GTV1"), theirs) >= 0.9


def held(plan: Plan) -> set[str]:
    return {finding.code for finding in plan.findings if finding.level is Level.HOLD}


UNCHECKED = {"level-unchecked", "lesion-uncertain"}
"""A thigh shows no spine, and its soft tissue no two measures agree on."""

DOUBTED_BESIDES = {"registration-ambiguous", "lesion-moved-far"}
"""What else a thigh may meet: it looks alike from slice to slice."""


@pytest.mark.parametrize("thigh", PAIRS, indirect=True)
def test_a_thigh_without_a_registration_is_held_for_its_level_and_its_place(thigh: Thigh, tmp_path: Path) -> None:
    """Nobody computes the place of so little: the fits lie 4 cm off and more here, which no bound may hide."""
    dossier = make_dossier([*thigh.ct, thigh.inputs], tmp_path / "out", protocol=load_protocol(None), created=CREATED)

    plan = dossier.plan
    assert plan.registration is not None
    assert plan.registration.source is RegistrationSource.COMPUTED
    assert held(plan) >= UNCHECKED
    assert held(plan) <= UNCHECKED | DOUBTED_BESIDES
    assert_nothing_to_treat(plan, tmp_path / "out")


@pytest.mark.parametrize("thigh", PAIRS, indirect=True)
def test_a_registration_that_was_written_the_wrong_way_round_is_held(thigh: Thigh, tmp_path: Path) -> None:
    written = np.linalg.inv(ct_from_mr())
    registration(dcmread(thigh.ct[0]), written).save_as(thigh.inputs / "reg.dcm", enforce_file_format=True)

    dossier = make_dossier([*thigh.ct, thigh.inputs], tmp_path / "out", protocol=load_protocol(None), created=CREATED)

    plan = dossier.plan
    assert plan.registration is not None
    assert plan.registration.source is RegistrationSource.REG_OBJECT
    np.testing.assert_allclose(plan.registration.ct_from_mr.matrix, written, atol=1e-6)
    assert held(plan) == {"registration-inverted", "lesion-outside-ct"}
    assert_nothing_to_treat(plan, tmp_path / "out")


def assert_nothing_to_treat(plan: Plan, out: Path) -> None:
    assert plan.status is PlanStatus.HELD
    assert plan.structure_set is None
    assert [lesion.status for lesion in plan.lesions] == [LesionStatus.HELD]
    assert {path.name for path in out.iterdir()} == {"plan.json", "report.html", "manifest.json"}


def test_a_real_ct_carries_a_flag_that_was_drawn_on_it(tmp_path: Path) -> None:
    ct = sorted(next(pack("ct_crlm_1004_41slices").rglob("CRLM-CT-1004")).rglob("*.dcm"))
    images = sorted((dcmread(path) for path in ct), key=lambda image: float(image.ImagePositionPatient[2]))
    origin = np.array(images[0].ImagePositionPatient, dtype=float)
    spacing = np.array([5.0, *(float(mm) for mm in images[0].PixelSpacing)])
    centre_kji, radius_mm = np.array([20.4, 250.3, 300.7]), 14.0
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (41, 512, 512)], indexing="ij"), axis=-1)
    mask = np.linalg.norm((index - centre_kji) * spacing, axis=-1) <= radius_mm
    description = hd.seg.SegmentDescription(
        1, "L2 vertebral body", codes.SCT.Lesion, codes.SCT.Neoplasm, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    seg = hd.seg.Segmentation(
        images, mask.astype(np.uint8), "BINARY", [description], hd.UID(), 1, hd.UID(), 1, "psdt", "test", "1", "1"
    )
    seg.save_as(tmp_path / "seg.dcm")

    dossier = make_dossier([*ct, tmp_path / "seg.dcm"], tmp_path / "out", protocol=load_protocol(None), created=CREATED)

    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert dossier.status == "proposed", [finding.message for finding in dossier.findings]
    assert plan["planning_ct"]["slices"] == 41
    assert plan["registration"]["source"] == "shared-frame"
    expected = origin + (centre_kji * spacing)[[2, 1, 0]]
    np.testing.assert_allclose(plan["lesions"][0]["centroid_ct_mm"], expected, atol=1.0)
    # The slices are 5 mm apart, and there is no MR to check the shared frame with: too uncertain for a dose.
    assert plan["lesions"][0]["uncertainty_mm"] == pytest.approx(np.hypot(5.0, 4.0), abs=1e-3)
    assert "uncertain by 6.40" in plan["lesions"][0]["abstention"][0]
    assert "registration-unverified" in {finding["code"] for finding in plan["findings"]}
