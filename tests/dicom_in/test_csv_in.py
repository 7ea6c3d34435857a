"""Tables of points: a row a place, in mm or in voxels, and the line of whatever cannot be used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.findings import Level
from psdt_planner.lesions import FlagSource, Side
from tests.dicom_in.objects import CT_FRAME, MR_FRAME, ct_images, dwi_images, mr_images, uid, write

MM = "label,x_mm,y_mm,z_mm,frame,site,side,tracking_uid\n"


def read(folder: Path, table: str | bytes, *objects: Any, name: str = "points.csv") -> Intake:
    write(folder, *(objects or (ct_images(), dwi_images())))
    (folder / name).write_bytes(table if isinstance(table, bytes) else table.encode())
    return read_inputs([folder])


def told(intake: Intake) -> list[tuple[str, Level]]:
    return [(one.code, one.level) for one in intake.exam.findings if one.code.startswith(("csv", "flag", "file"))]


def test_a_row_in_mm_is_a_point_with_the_reader_s_words(tmp_path: Path) -> None:
    table = MM + f"first, 12.5 ,-40.25,301,{MR_FRAME},spine,left,1.2.3\n\nsecond,1,2,3,{MR_FRAME},,,\n"
    intake = read(tmp_path, table)
    first, second = intake.exam.points
    assert (first.id, first.label, first.point_mm, first.frame) == ("L1", "first", (12.5, -40.25, 301.0), MR_FRAME)
    assert (first.site, first.site_source, first.side, first.side_source) == ("spine", "table", Side.LEFT, "table")
    assert (first.tracking_uid, first.series_uid, first.drawn_on_kind) == ("1.2.3", uid("dwi"), "dwi-trace")
    digest = hashlib.sha256(table.encode()).hexdigest()
    assert first.source == FlagSource("", f"sha256:{digest}", 2)
    assert (second.id, second.source.item, second.site, second.side) == ("L2", 4, "unknown", Side.UNKNOWN)
    assert (tmp_path / "points.csv").name in [file.name for file in intake.files if file.sha256 == digest]
    assert told(intake) == [("flag-point", Level.HOLD)] * 2


@pytest.mark.parametrize(
    "table",
    [
        "column,row,image_uid\n3,4,{image}\n",
        "\ufeffrow;column;series_uid;instance_number\r\n4;3;{series};3\r\n",
        "column,row,series_uid,instance_number,comment\n3,4,{series},3,not read\n",
    ],
)
def test_a_voxel_counts_from_zero_at_the_first_centre(tmp_path: Path, table: str) -> None:
    images = dwi_images()
    (point,) = read(tmp_path, table.format(image=images[2].SOPInstanceUID, series=uid("dwi")), images).exam.points
    row, column = np.array(images[2].ImageOrientationPatient, dtype=float).reshape(2, 3)
    at = np.array(images[2].ImagePositionPatient, dtype=float) + 3 * 0.8 * row + 4 * 1.3 * column
    assert point.point_mm == pytest.approx(tuple(at), abs=1e-6)
    assert point.frame == MR_FRAME


@pytest.mark.parametrize(
    ("site", "side", "expected", "expected_side"),
    [
        ("paraaortic-node", "L", "paraaortic-node", Side.LEFT),
        ("L4 Wirbelkörper", "rechts", "spine", Side.RIGHT),
        ("liver", "", "liver", Side.UNKNOWN),
        ("somewhere", "", "unknown", Side.UNKNOWN),
        ("", "", "rib", Side.RIGHT),
    ],
)
def test_the_columns_of_site_and_side_go_before_the_label(
    tmp_path: Path, site: str, side: str, expected: str, expected_side: Side
) -> None:
    (point,) = read(tmp_path, MM + f"right rib,1,2,3,{MR_FRAME},{site},{side},\n").exam.points
    assert point.site == expected
    assert point.side == (expected_side if side else Side.RIGHT)
    assert point.site_source == {"": "label"}.get(site, "table" if expected != "unknown" else "")


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        ("1,5,2,3,,,,", "csv-unreadable", "frame of reference"),
        (f"1,half,2,3,{MR_FRAME},,,", "csv-unreadable", "x_mm is 'half'"),
        (f"1,,2,3,{MR_FRAME},,,", "csv-unreadable", "x_mm is ''"),
        (f"1,inf,2,3,{MR_FRAME},,,", "csv-unreadable", "not finite"),
        ("1,5,2,3,1.2.3.999,,,", "flag-frame-unknown", "1.2.3.999"),
        (",,,,,bone,,", "csv-unreadable", "image_uid"),
    ],
)
def test_a_row_that_tells_no_place_holds_with_its_line(tmp_path: Path, row: str, code: str, words: str) -> None:
    intake = read(tmp_path, MM + f"good,1,2,3,{MR_FRAME},,,\n{row}\n")
    (finding,) = [one for one in intake.exam.findings if one.code == code]
    assert (finding.level, finding.lesion) == (Level.HOLD, "L2")
    assert "points.csv, line 3" in finding.message
    assert words in finding.message
    assert [point.label for point in intake.exam.points] == ["good"]


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ("3,4,9.9.9,,,", "flag-source-absent", "9.9.9"),
        ("3,4,,9.9.9,1,", "flag-source-absent", "9.9.9"),
        (f"3,4,,{uid('dwi')},77,", "csv-unreadable", "0 images"),
        (f"7,4,{uid('dwi', 2)},,,", "csv-unreadable", "7 columns and 9 rows"),
        (f"3,-1,{uid('dwi', 2)},,,", "csv-unreadable", "outside"),
        (f"3,4,{uid('dwi', 2)},,,1.2.3", "csv-unreadable", "both"),
        (",,,,,", "", ""),
    ],
)
def test_a_voxel_that_is_not_there_holds(tmp_path: Path, values: str, code: str, words: str) -> None:
    intake = read(tmp_path, f"column,row,image_uid,series_uid,instance_number,frame\n{values}\n", dwi_images())
    found = [one for one in intake.exam.findings if one.code in (code, "csv-unreadable")]
    assert [one.code for one in found] == ([code] if code else [])
    assert all(words in one.message and one.level is Level.HOLD for one in found)


@pytest.mark.parametrize("table", [b"name,age\nx,3\n", b"", b"\xff\xfe\x00", b"label\nx\n"])
def test_a_table_of_something_else_is_left_out_by_name(tmp_path: Path, table: bytes) -> None:
    intake = read(tmp_path, table, name="list.CSV")
    assert ("file-unreadable", Level.WARN) in told(intake)
    assert ("flags-absent", Level.HOLD) in told(intake)
    assert intake.exam.points == ()


def test_a_column_that_nobody_knows_holds_and_the_nearest_is_named(tmp_path: Path) -> None:
    intake = read(tmp_path, "label,x_mm,y_mm,z_mm,frame,syte\na,1,2,3,1.2,bone\n")
    (finding,) = [one for one in intake.exam.findings if one.code == "csv-unreadable"]
    assert (finding.level, "'syte'; the nearest known column is site" in finding.message) == (Level.HOLD, True)
    assert "flags-absent" not in {code for code, _ in told(intake)}


def test_a_frame_of_ct_and_mr_is_that_of_the_mr(tmp_path: Path) -> None:
    same = mr_images(FrameOfReferenceUID=CT_FRAME)
    (point,) = read(tmp_path, MM + f"a,1,2,3,{CT_FRAME},,,\n", ct_images(), same).exam.points
    assert (point.series_uid, point.drawn_on_kind) == (uid("t1"), "t1")


def test_a_place_on_pet_holds(tmp_path: Path) -> None:
    pet = ct_images("pet", Modality="PT", FrameOfReferenceUID="1.2.3.400")
    for image in pet:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
    intake = read(tmp_path, MM + "a,1,2,3,1.2.3.400,,,\n", ct_images(), pet)
    assert ("flag-on-pet", Level.HOLD) in told(intake)


def test_tables_are_read_in_the_order_of_their_names_whatever_the_order_of_paths(tmp_path: Path) -> None:
    write(tmp_path / "dicom", dwi_images())
    paths = []
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text(MM + f"{name},1,2,3,{MR_FRAME},,,\n")
        paths.append(tmp_path / name)
    for order in (paths, paths[::-1]):
        points = read_inputs([*order, tmp_path / "dicom"]).exam.points
        assert [(point.id, point.label) for point in points] == [("L1", "a.csv"), ("L2", "b.csv")]
