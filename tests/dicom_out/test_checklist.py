"""The twenty-eight lines that every output must pass before a planning system sees it, each as a test.

Where another page of tests shows a line already, the table below points there, and a test looks that it is still there.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom._standard_utils import check_required_attributes, get_iod_module_map
from pydicom import Dataset, dcmread
from shapely.geometry import Polygon

from psdt_planner.contours import mask_of, mask_rings
from psdt_planner.dicom.pdf_out import write_pdf
from psdt_planner.dicom.registration_out import ReferredImage, write_registration
from psdt_planner.dicom.rtstruct_out import headers_of_slices, write_rtstruct
from psdt_planner.dicom.rtstruct_read_back import read_back
from psdt_planner.errors import GeometryError, InputError
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Contour, HoleRule, Roi, RoiKind, StructureSet, rings_volume_ml
from tests.dicom_out.scene import CT, HEADERS, data, flags, read, structure_set
from tests.peers import require_peer
from tests.structures.scenes import (
    ORIENTATIONS,
    STAMP,
    STILL,
    clone,
    ct_grid,
    ct_headers,
    moved,
    mr_headers,
    save_ct,
)

ROOT = Path(__file__).parents[2]

HERE = "tests/dicom_out/test_checklist.py"
RTSTRUCT = "tests/structures/test_rtstruct.py"
BESIDE = "tests/structures/test_registration_and_pdf.py"
STACKS = "tests/dicom_in/test_stacks.py"

CHECKLIST: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("dciodvfy says nothing of a structure set", (f"{HERE}::test_dciodvfy_says_nothing_of_a_structure_set",)),
    2: ("nor of a registration", (f"{HERE}::test_dciodvfy_says_nothing_of_what_goes_beside_it",)),
    3: ("nor of a report", (f"{HERE}::test_dciodvfy_says_nothing_of_what_goes_beside_it",)),
    4: ("dcentvfy finds one patient, study and frame in all", (f"{HERE}::test_dcentvfy_finds_one_story_in_all_files",)),
    5: ("every required attribute is there", (f"{HERE}::test_every_attribute_that_the_standard_requires_is_there",)),
    6: ("numbers are short decimals", (f"{HERE}::test_every_number_is_a_decimal_of_at_most_16_characters",)),
    7: ("pydicom's strictest settings pass", (f"{HERE}::test_ds_raise", f"{RTSTRUCT}::test_ds_raise")),
    8: ("names are short, ASCII, unique", (f"{HERE}::test_names_and_labels_are_short_ascii_and_unique",)),
    9: ("so is the label", (f"{HERE}::test_names_and_labels_are_short_ascii_and_unique",)),
    10: ("rings lie on the slice they refer to", (f"{HERE}::test_contour_on_slice",)),
    11: ("rings are simple", (f"{HERE}::test_contour_simple",)),
    12: ("rings are short and keep their VR", (f"{HERE}::test_contour_size",)),
    13: ("pixels that are not square", (f"{HERE}::test_anisotropic",)),
    14: (
        "discs keep their area, a voxel is not lost",
        (f"{HERE}::test_area", "tests/structures/test_shape.py::test_a_lesion_of_one_or_two_voxels_is_not_lost"),
    ),
    15: (
        "odd stacks are placed slice by slice or refused by name",
        (
            f"{HERE}::test_irregular_stack",
            f"{HERE}::test_odd_stacks_are_refused_by_name",
            f"{STACKS}::test_a_missing_slice_holds",
            f"{STACKS}::test_a_tilted_gantry_is_told_apart_from_an_oblique_reformat",
            f"{STACKS}::test_each_irregularity_holds_the_ct_with_its_code_alone",
            "tests/dicom_in/test_series.py::test_two_cts_hold_and_the_message_tells_what_refers_to_which",
            "tests/dicom_in/test_files.py::test_a_truncated_image_is_never_taken_for_a_whole_one",
        ),
    ),
    16: (
        "every patient position, the same anatomy",
        (f"{HERE}::test_orientations", f"{RTSTRUCT}::test_the_place_is_the_same_in_every_patient_position"),
    ),
    17: ("a matrix that is not square", (f"{HERE}::test_nonsquare",)),
    18: (
        "plastimatch reads each ROI at our volume",
        (f"{HERE}::test_hole_policy", f"{RTSTRUCT}::test_plastimatch_reads_every_roi_at_its_size_and_place"),
    ),
    19: (
        "holes by the rule, never nested",
        (f"{HERE}::test_hole_policy", "tests/dicom_out/test_object.py::test_nested_closed_planar_rings_never_pass"),
    ),
    20: (
        "an ROI without rings is refused, a lesion outside the CT told",
        (
            f"{RTSTRUCT}::test_an_empty_roi_is_refused",
            "tests/structures/test_trace.py::test_a_lesion_that_reaches_beyond_the_ct_holds",
        ),
    ),
    21: (
        "names of any alphabet survive",
        (
            "tests/dicom_out/test_character_sets.py::test_kept_names_are_byte_identical_in_all_that_is_written",
            f"{RTSTRUCT}::test_names_and_their_character_set_survive_byte_for_byte",
        ),
    ),
    22: ("another run, another content: other UIDs", (f"{HERE}::test_fresh_uids",)),
    23: ("UNAPPROVED, always", (f"{HERE}::test_nothing_is_ever_approved",)),
    24: ("equipment is ours, the hospital theirs", (f"{HERE}::test_charset_fields",)),
    25: (
        "every target leads back to its flag",
        ("tests/dicom_out/test_object.py::test_targets_say_where_they_come_from_and_the_rest_does_not_pretend_to",),
    ),
    26: ("the registration maps MR to CT", (f"{BESIDE}::test_reg_direction",)),
    27: ("and is no inverse of it", (f"{BESIDE}::test_reg_itk_inverse",)),
    28: (
        "all that is written says PROPOSAL, and no plan is written",
        (f"{HERE}::test_proposal_marking", f"{BESIDE}::test_proposal_marking"),
    ),
}
"""Line, in plain words, and the tests that show it."""


def functions_of(path: Path) -> set[str]:
    return {
        node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    }


def test_every_line_of_the_checklist_has_its_test() -> None:
    assert sorted(CHECKLIST) == list(range(1, 29))
    for words, tests in CHECKLIST.values():
        assert tests, words
        for test in tests:
            file, name = test.split("::")
            assert name in functions_of(ROOT / file), f"{words}: {test} is gone"


# what is looked at ---------------------------------------------------------------------------------------------------


@cache
def registration() -> bytes:
    mr = [ReferredImage.of(header) for header in mr_headers()]
    return write_registration(moved(np.random.default_rng(5), degrees=170, shift_mm=987.6), HEADERS, mr, STAMP)


@cache
def report() -> bytes:
    return write_pdf(b"%PDF-1.4\n%psdt\n", HEADERS, "psdt PROPOSAL", STAMP)


def everything() -> dict[str, bytes]:
    sets = {f"rtstruct {rule.value}": data(rule) for rule in HoleRule}
    return {**sets, "registration": registration(), "report": report()}


def rings_of(dataset: Dataset) -> Iterator[tuple[str, Dataset]]:
    names = {item.ROINumber: item.ROIName for item in dataset.StructureSetROISequence}
    for item in dataset.ROIContourSequence:
        for ring in item.ContourSequence:
            yield names[item.ReferencedROINumber], ring


def triples(ring: Dataset) -> np.ndarray:
    return np.array(ring.ContourData, dtype=float).reshape(-1, 3)


def verified(path: Path, file: bytes) -> list[str]:
    """What dciodvfy says, but for the kind of object."""
    path.write_bytes(file)
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if re.search("Error|Warning", line)]


# 1 to 5: validators --------------------------------------------------------------------------------------------------


@pytest.mark.peer
@pytest.mark.parametrize("rule", HoleRule)
def test_dciodvfy_says_nothing_of_a_structure_set(tmp_path: Path, rule: HoleRule) -> None:
    """Of CLOSEDPLANAR_XOR it says one thing, once a ring: its list is older than the term (PS3.3 C.8.8.6.3)."""
    require_peer("dciodvfy")
    said = verified(tmp_path / "rt.dcm", data(rule))
    too_old = [line for line in said if re.search(r"Unrecognized enumerated value = <CLOSEDPLANAR_XOR>", line)]
    assert said == too_old
    assert len(too_old) == (10 if rule is HoleRule.XOR else 0)


@pytest.mark.peer
@pytest.mark.parametrize("what", ["registration", "report"])
def test_dciodvfy_says_nothing_of_what_goes_beside_it(tmp_path: Path, what: str) -> None:
    require_peer("dciodvfy")
    assert verified(tmp_path / "file.dcm", everything()[what]) == []


@pytest.mark.peer
def test_dcentvfy_finds_one_story_in_all_files(tmp_path: Path) -> None:
    require_peer("dcentvfy")
    save_ct(HEADERS, tmp_path)
    for name, file in everything().items():
        (tmp_path / f"{name}.out.dcm").write_bytes(file)
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("what", "iod"),
    [
        *((f"rtstruct {rule.value}", "rt-structure-set") for rule in HoleRule),
        ("registration", "spatial-registration"),
        ("report", "encapsulated-pdf"),
    ],
)
def test_every_attribute_that_the_standard_requires_is_there(what: str, iod: str) -> None:
    """By the tables of the standard that highdicom brings: type 1 and 2, in every item of every mandatory module."""
    modules = [module["key"] for module in get_iod_module_map()[iod] if module["usage"] == "M"]
    assert len(modules) >= 6
    for module in modules:
        check_required_attributes(read(everything()[what]), module)


# 6 to 9: values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", HoleRule)
def test_every_number_is_a_decimal_of_at_most_16_characters(rule: HoleRule) -> None:
    for _, ring in rings_of(read(data(rule))):
        raw = ring.get_item("ContourData")
        assert raw is not None
        for text in raw.value.decode("ascii").rstrip(" ").split("\\"):
            assert len(text) <= 16
            assert re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]{3}", text), text
            assert text != "-0.000"


@pytest.mark.parametrize("what", ["rtstruct keyhole", "rtstruct xor", "registration", "report"])
def test_ds_raise(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value of every item, read with pydicom's strictest settings; a file with one bad number does not pass."""
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.RAISE)
    file = everything()[what]
    read(file).walk(lambda _, element: element.value)
    if what == "rtstruct keyhole":
        assert write_rtstruct(structure_set(), HEADERS, flags(), STAMP) == file
        number = re.search(rb"(?:-?[0-9]+\.[0-9]{3}\\){3}", file)
        assert number is not None
        long = b"1" * (len(number[0]) - 1) + b"\\"
        with pytest.raises((OverflowError, ValueError)):
            read(file.replace(number[0], long, 1)).walk(lambda _, element: element.value)


def test_names_and_labels_are_short_ascii_and_unique() -> None:
    dataset = read(data())
    names = [item.ROIName for item in dataset.StructureSetROISequence]
    labels = [item.ROIObservationLabel for item in dataset.RTROIObservationsSequence]
    assert names == labels
    assert all(1 <= len(name) <= 16 and name.isascii() and name.strip() == name for name in names)
    assert len({name.casefold() for name in names}) == len(names)
    assert 1 <= len(dataset.StructureSetLabel) <= 16


# 10 to 12: rings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", HoleRule)
def test_contour_on_slice(rule: HoleRule) -> None:
    where = {header.SOPInstanceUID: np.array(header.ImagePositionPatient, dtype=float) for header in HEADERS}
    seen = set()
    for _, ring in rings_of(read(data(rule))):
        (image,) = ring.ContourImageSequence
        off_mm = (triples(ring) - where[image.ReferencedSOPInstanceUID]) @ CT.normal
        assert np.abs(off_mm).max() < 0.01
        seen.add(image.ReferencedSOPInstanceUID)
    assert len(seen) == 5


@pytest.mark.parametrize("rule", HoleRule)
def test_contour_simple(rule: HoleRule) -> None:
    for _, ring in rings_of(read(data(rule))):
        points = triples(ring)
        assert len(points) == ring.NumberOfContourPoints >= 3
        assert np.linalg.norm(points[0] - points[-1]) > 0.005, "the first point is not repeated"
        polygon = Polygon(points[:, :2])
        assert polygon.is_valid
        assert polygon.area >= 1.0


@pytest.mark.peer
@pytest.mark.parametrize("rule", HoleRule)
def test_contour_size(rule: HoleRule, tmp_path: Path) -> None:
    require_peer("dcmconv")
    for _, ring in rings_of(read(data(rule))):
        raw = ring.get_item("ContourData")
        assert raw is not None
        assert len(raw.value) <= 65_534
        assert ring.NumberOfContourPoints <= 2000
    (tmp_path / "rt.dcm").write_bytes(data(rule))
    subprocess.run(["dcmconv", "+te", str(tmp_path / "rt.dcm"), str(tmp_path / "explicit.dcm")], check=True)
    explicit = dcmread(tmp_path / "explicit.dcm")
    assert {ring["ContourData"].VR for _, ring in rings_of(explicit)} == {"DS"}
    for (_, before), (_, after) in zip(rings_of(read(data(rule))), rings_of(explicit), strict=True):
        np.testing.assert_array_equal(triples(before), triples(after))


# 13 to 17: from masks, on CTs of every kind --------------------------------------------------------------------------


def file_of(mask: np.ndarray, grid: Grid, headers: list[Dataset] | None = None) -> bytes:
    """A mask on the CT as a structure set of one organ, read back."""
    headers = headers or ct_headers(grid)
    rings = mask_rings(mask, grid).contours
    roi = Roi(1, "Liver", RoiKind.ORGAN, "", rings, rings_volume_ml(rings, grid), "PROPOSAL", (1, 2, 3))
    made = StructureSet(grid, "psdt", "PROPOSAL", (roi,))
    written = write_rtstruct(made, headers, {}, STAMP)
    read_back(written, made, headers, {})
    return written


def mask_in(file: bytes, headers: list[Dataset], grid: Grid) -> np.ndarray:
    """The slow way back: by the image that each ring names."""
    ordered = [header.SOPInstanceUID for header in headers_of_slices(headers, grid)]
    rings = [
        Contour(triples(ring), ordered.index(ring.ContourImageSequence[0].ReferencedSOPInstanceUID))
        for _, ring in rings_of(dcmread(BytesIO(file)))
    ]
    return mask_of(rings, grid)


def test_anisotropic() -> None:
    """Rows 3 mm apart, columns 1 mm: rt-utils 1.2.7 swaps them."""
    grid = ct_grid(spacing_ji_mm=(3.0, 1.0), shape_ji=(40, 80), offsets_mm=2.0 * np.arange(6))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[1:5, 10:20, 30:60] = True
    points = np.concatenate([triples(ring) for _, ring in rings_of(read(file_of(mask, grid)))])
    first, last = grid.mm_from_index([(1, 10, 30), (4, 19, 59)])
    half_pixel_mm = np.array([0.5, 1.5])
    assert (np.abs(points.min(axis=0)[:2] - (first[:2] - half_pixel_mm)) < half_pixel_mm).all()
    assert (np.abs(points.max(axis=0)[:2] - (last[:2] + half_pixel_mm)) < half_pixel_mm).all()


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 10, 20])
def test_area(radius: int) -> None:
    """A drum of discs: within 2 % of its mask, where tracing pixel centres loses 60 to 5 %; even one of 5 pixels."""
    grid = ct_grid(spacing_ji_mm=(1.0, 1.0), shape_ji=(64, 64), offsets_mm=1.0 * np.arange(24))
    j, i = np.mgrid[:64, :64] - 31
    mask = np.zeros(grid.shape, dtype=bool)
    mask[2:22, j**2 + i**2 <= radius**2] = True
    areas = [Polygon(triples(ring)[:, :2]).area for _, ring in rings_of(read(file_of(mask, grid)))]
    assert sum(areas) == pytest.approx(mask.sum(), rel=0.02)


def test_irregular_stack() -> None:
    """Each ring has the height of its own slice, however uneven."""
    grid = ct_grid(offsets_mm=np.cumsum([2.0, 3.5, 1.0, 2.0, 4.0, 2.0]))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[:, 30:50, 20:40] = True
    heights = sorted({float(triples(ring)[0, 2]) for _, ring in rings_of(read(file_of(mask, grid)))})
    np.testing.assert_allclose(heights, grid.slice_origins_mm[:, 2], atol=5e-4)


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("missing slice", GeometryError, "11 CT images for 12 slices"),
        ("gantry tilt", GeometryError, "mm from its slice"),
        ("oblique ct", GeometryError, "another orientation"),
        ("two series", InputError, "different SeriesInstanceUID"),
    ],
)
def test_odd_stacks_are_refused_by_name(what: str, error: type[Exception], words: str) -> None:
    headers = [clone(header) for header in HEADERS]
    if what == "missing slice":
        headers.pop()
    for n, header in enumerate(headers):
        if what == "gantry tilt":
            x, y, z = map(float, header.ImagePositionPatient)
            header.ImagePositionPatient = [f"{x:.3f}", f"{y + 0.1 * z:.3f}", f"{z:.3f}"]
        if what == "oblique ct":
            header.ImageOrientationPatient = ["1", "0", "0", "0", "0.939693", "0.342020"]
        if what == "two series" and n % 2:
            header.SeriesInstanceUID = "1.2.3"
    with pytest.raises(error, match=words):
        write_rtstruct(structure_set(), headers, flags(), STAMP)


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_orientations(position: str) -> None:
    """A lump in the patient's left front, drawn on a CT of each position, is in the left front of every file."""
    grid = ct_grid(position=position, spacing_ji_mm=(1.0, 1.0), shape_ji=(60, 60), offsets_mm=2.0 * np.arange(20))
    kji = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    mask = np.linalg.norm(grid.mm_from_index(kji.astype(float)) - [9.0, -7.0, 4.0], axis=-1) <= 8.0
    points = np.concatenate([triples(ring) for _, ring in rings_of(read(file_of(mask, grid)))])
    np.testing.assert_allclose((points.min(axis=0) + points.max(axis=0)) / 2, [9.0, -7.0, 4.0], atol=1.01)


def test_nonsquare() -> None:
    """64 rows of 96: the mask comes back voxel by voxel."""
    grid = ct_grid(spacing_ji_mm=(1.3, 0.9), shape_ji=(64, 96), offsets_mm=2.0 * np.arange(10))
    headers = ct_headers(grid)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[2:8, 5:58, 60:92] = True
    mask[3:6, 20:30, 10:40] = True
    np.testing.assert_array_equal(mask_in(file_of(mask, grid, headers), headers, grid), mask)


# 18 and 19: what plastimatch makes of it -----------------------------------------------------------------------------


@pytest.mark.peer
@pytest.mark.parametrize("rule", [HoleRule.FILLED, HoleRule.KEYHOLE])
def test_hole_policy(rule: HoleRule, tmp_path: Path) -> None:
    """A filled hole is filled and a keyhole is a hole to a reader that knows CLOSED_PLANAR alone."""
    require_peer("plastimatch")
    grid = ct_grid(spacing_ji_mm=(0.5, 0.5), shape_ji=(160, 150), offsets_mm=2.0 * np.arange(12))
    headers, made = ct_headers(grid), structure_set(rule, grid)
    (tmp_path / "ct").mkdir()
    save_ct(headers, tmp_path / "ct")
    (tmp_path / "rt.dcm").write_bytes(write_rtstruct(made, headers, flags(), STAMP))
    command = ["plastimatch", "convert", "--input", str(tmp_path / "rt.dcm"), "--referenced-ct", str(tmp_path / "ct")]
    command += ["--output-prefix", str(tmp_path / "masks"), "--prefix-format", "mha"]
    subprocess.run(command, capture_output=True, check=True)
    for roi in made.rois:
        image = sitk.ReadImage(str(tmp_path / "masks" / f"{roi.name}.mha"))
        voxel_ml = np.prod(image.GetSpacing()) / 1000
        assert sitk.GetArrayFromImage(image).sum() * voxel_ml == pytest.approx(roi.volume_ml, rel=0.05), roi.name
    filled_ml = structure_set(HoleRule.FILLED, grid).rois[1].volume_ml
    part = made.rois[1].volume_ml / filled_ml
    assert part == pytest.approx(1.0 if rule is HoleRule.FILLED else 1 - 16 / 121, abs=0.002)
    shutil.rmtree(tmp_path / "masks")


# 22 to 28: identity and marking --------------------------------------------------------------------------------------


def test_fresh_uids() -> None:
    """The same input gives the same bytes; another rule, time or word gives UIDs that were never used."""
    assert write_rtstruct(structure_set(), HEADERS, flags(), STAMP) == data()
    files = everything()
    uids = {(read(file).SOPInstanceUID, read(file).SeriesInstanceUID) for file in files.values()}
    flat = {uid for pair in uids for uid in pair}
    assert len(flat) == 2 * len(files)
    assert flat.isdisjoint({HEADERS[0].SeriesInstanceUID, *(header.SOPInstanceUID for header in HEADERS)})
    assert all(pydicom.uid.UID(uid).is_valid for uid in flat)


def test_nothing_is_ever_approved() -> None:
    for name, file in everything().items():
        assert b"APPROVED" not in file.replace(b"UNAPPROVED", b""), name
        assert name in ("registration", "report") or read(file).ApprovalStatus == "UNAPPROVED"
        assert not {"ReviewDate", "ReviewTime", "ReviewerName"} & {element.keyword for element in read(file)}
    assert read(report()).VerificationFlag == "UNVERIFIED"


def test_charset_fields() -> None:
    for name, file in everything().items():
        dataset = read(file)
        assert (dataset.Manufacturer, dataset.SoftwareVersions) == ("psdt", "0.1.0"), name
        assert dataset.InstitutionName == HEADERS[0].InstitutionName
        assert "DeviceSerialNumber" not in dataset
        assert b"Qurit" not in file


def test_proposal_marking() -> None:
    for name, file in everything().items():
        dataset = read(file)
        assert b"PROPOSAL" in file, name
        assert dataset.Modality in ("RTSTRUCT", "REG", "DOC")
    dataset = read(data())
    assert all("PROPOSAL" in item.ROIDescription for item in dataset.StructureSetROISequence)
    assert "PROPOSAL" in dataset.StructureSetDescription
    assert "PROPOSAL" in dataset.SeriesDescription
    assert STILL.target == CT.frame
