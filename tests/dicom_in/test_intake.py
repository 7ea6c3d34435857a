"""The door: one case from a folder, the same whatever the order of its files, and the value that inspect prints."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmwrite

from psdt_planner.dicom import intake as intake_module
from psdt_planner.dicom.inspection import inspect_json
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.references import Reference
from psdt_planner.errors import InputError
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind
from tests.dicom_in.objects import (
    CT_FRAME,
    MR_FRAME,
    MR_STUDY,
    blank,
    ct_images,
    decayed_pixels,
    dwi_images,
    item,
    mr_images,
    registration_object,
    roi,
    seg_object,
    segment,
    square,
    structure_set,
    uid,
    write,
)

Codes = Callable[[Iterable[Finding]], dict[str, Level]]


def whole_case() -> list[Any]:
    """A CT with an organ, an MR exam, a flag in a SEG and one in an RTSTRUCT, and a registration."""
    low = dwi_images("dwi-50", b=50, pixels=decayed_pixels(50))
    high = dwi_images("dwi-900", pixels=decayed_pixels(900))
    for image in low:
        image.SeriesInstanceUID = high[0].SeriesInstanceUID
    mask = np.zeros((5, 9, 7, 2), dtype=np.uint8)
    mask[1:3, 3:6, 2:5, 0] = 1
    mask[2:4, 1:3, 1:3, 1] = 1
    adc = mr_images("adc", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], SeriesDescription="adc")
    objects: list[Any] = [*ct_images(), *mr_images(), *low, *high, *adc]
    objects.append(seg_object(high, mask, [segment(1, "left ilium"), segment(2, "right rib")]))
    objects.append(
        structure_set([roi(1, "Rectum", [square((-18, -25), 1.5, 45.0)])], series=uid("ct"), listed=ct_images())
    )
    objects.append(registration_object([(MR_FRAME, [np.eye(4)]), (CT_FRAME, [np.eye(4)])]))
    return objects


def told(intake: Intake) -> dict[str, Any]:
    """All that an intake says, as plain values that compare."""
    exam = intake.exam
    volumes = [one for one in (exam.planning_ct, *exam.mr) if one is not None]
    return {
        "volumes": [(v.grid, v.array.tobytes(), v.quantity, v.series_uid, v.phase_encoding_mm) for v in volumes],
        "flags": [(f.id, f.label, f.site, f.side, f.grid, f.mask.tobytes(), f.source) for f in exam.flags],
        "organs": [(o.name, [c.points_mm.tobytes() for c in o.contours]) for o in exam.organs],
        "registrations": [(r.transform, r.source_uid) for r in exam.registrations],
        "findings": exam.findings,
        "series": intake.series,
        "other": [file.sha256 for file in intake.other],
        "hashes": sorted(file.sha256 for file in intake.files),
        "references": intake.references,
        "ct": [str(header.SOPInstanceUID) for header in intake.ct_headers],
        "mr": intake.mr_images,
    }


def test_a_whole_case_is_read_without_a_finding(tmp_path: Path, codes_of: Codes) -> None:
    intake = read_inputs([write(tmp_path, whole_case())])
    exam = intake.exam
    assert codes_of(exam.findings) == {}
    assert exam.planning_ct is not None
    assert sorted((str(v.quantity.kind), v.quantity.b_value_s_per_mm2 or 0) for v in exam.mr) == [
        ("adc", 0),
        ("dwi-trace", 50),
        ("dwi-trace", 900),
        ("t1", 0),
    ]
    assert [(flag.id, flag.label) for flag in exam.flags] == [("L1", "left ilium"), ("L2", "right rib")]
    assert [organ.name for organ in exam.organs] == ["Rectum"]
    assert [r.transform.source for r in exam.registrations] == [MR_FRAME]


def test_ct_headers_follow_the_slices_and_hold_no_pixels(tmp_path: Path) -> None:
    intake = read_inputs([write(tmp_path, ct_images(cosines=((-1, 0, 0), (0, 1, 0))))])
    ct = intake.exam.planning_ct
    assert ct is not None
    positions = [[float(mm) for mm in header.ImagePositionPatient] for header in intake.ct_headers]
    assert np.allclose(positions, ct.grid.slice_origins_mm)
    assert not any("PixelData" in header for header in intake.ct_headers)


def test_every_mr_image_can_be_referred_to_and_nothing_else(tmp_path: Path) -> None:
    """By series, then UID; an image without its study cannot be referred to by it, and is left out."""
    lost = mr_images("lost", StudyInstanceUID=None)
    intake = read_inputs([write(tmp_path, whole_case(), lost)])
    by_series = {name: sorted(uid(name, n) for n in range(5)) for name in ("t1", "adc", "dwi-900")}
    by_series["dwi-900"] = sorted([*by_series["dwi-900"], *(uid("dwi-50", n) for n in range(5))])
    expected = [(uid(name), instance) for name in sorted(by_series, key=uid) for instance in by_series[name]]
    assert [(one.series_instance_uid, one.sop_instance_uid) for one in intake.mr_images] == expected
    first = intake.mr_images[0]
    assert (first.study_instance_uid, first.frame_of_reference_uid, first.patient_id) == (MR_STUDY, MR_FRAME, "P-1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = write(tmp_path_factory.mktemp("whole"), whole_case())
    return folder, told(read_inputs([folder]))


@settings(max_examples=8)
@given(data=st.data())
def test_the_order_names_and_folders_of_the_files_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, whole: tuple[Path, dict[str, Any]], data: st.DataObject
) -> None:
    folder, expected = whole
    files = sorted(folder.iterdir())
    order = data.draw(st.permutations(range(len(files))))
    shuffled = tmp_path_factory.mktemp("shuffled")
    paths = []
    for number, index in enumerate(order):
        inside = shuffled / str(number % 3) / "deep" / str(number % 2)
        inside.mkdir(parents=True, exist_ok=True)
        paths.append(Path(shutil.copy(files[index], inside / f"{number:03d}.dcm")))
    assert told(read_inputs([shuffled])) == expected
    assert told(read_inputs(paths)) == expected


@pytest.mark.parametrize(
    ("leave_out", "codes"),
    [
        ({"ct"}, {"ct-absent": Level.HOLD, "organs-unread": Level.WARN}),
        ({"seg"}, {"flags-absent": Level.HOLD}),
        ({"adc"}, {"adc-fitted": Level.INFO}),
        ({"t1"}, {"t1-absent": Level.WARN}),
        (
            {"dwi", "seg"},
            {"dwi-absent": Level.WARN, "flags-absent": Level.HOLD, "adc-unchecked": Level.INFO},
        ),
        ({"dwi", "adc", "t1", "seg"}, {"mr-absent": Level.WARN, "flags-absent": Level.HOLD}),
    ],
)
def test_what_is_absent_is_said_and_held_where_planning_cannot_go_on(
    tmp_path: Path, codes_of: Codes, leave_out: set[str], codes: dict[str, Level]
) -> None:
    series = {uid("ct"): "ct", uid("seg"): "seg", uid("adc"): "adc", uid("t1"): "t1", uid("dwi-900"): "dwi"}
    kept = [one for one in whole_case() if series.get(one.SeriesInstanceUID) not in leave_out]
    intake = read_inputs([write(tmp_path, kept)])
    assert codes_of(intake.exam.findings) == codes


@pytest.mark.parametrize(("day", "held"), [("20260301", ["L1", "L2"]), ("20260101", []), ("20251201", [])])
def test_flags_on_an_older_mr_study_than_another_hold(tmp_path: Path, day: str, held: list[str]) -> None:
    other = mr_images("later", StudyDate=day, StudyInstanceUID="1.2.3.555")
    findings = read_inputs([write(tmp_path, whole_case(), other)]).exam.findings
    prior = [one for one in findings if one.code == "flags-on-prior"]
    assert [one.lesion for one in prior] == held
    assert all(one.level is Level.HOLD and day not in one.message for one in prior)


def test_images_in_another_frame_than_the_flags_do_not_count(tmp_path: Path, codes_of: Codes) -> None:
    kept = [one for one in whole_case() if one.SeriesInstanceUID != uid("t1")]
    elsewhere = mr_images("elsewhere", FrameOfReferenceUID="1.2.3.888")
    intake = read_inputs([write(tmp_path, kept, elsewhere)])
    assert codes_of(intake.exam.findings) == {"t1-absent": Level.WARN}


def test_everything_refers_to_what_it_names(tmp_path: Path) -> None:
    plan = blank("1.2.840.10008.5.1.4.1.1.481.5", "plan", Modality="RTPLAN")
    plan.ReferencedStructureSetSequence = [item(ReferencedSOPInstanceUID=uid("rtss", 0))]
    intake = read_inputs([write(tmp_path, whole_case(), plan)])
    assert set(intake.references) == {
        Reference(uid("seg", 0), uid("dwi-900"), "segments series"),
        Reference(uid("rtss", 0), uid("ct"), "contours on series"),
        Reference(uid("rtss", 0), CT_FRAME, "contours in frame"),
        Reference(uid("reg", 0), MR_FRAME, "registers frame"),
        Reference(uid("reg", 0), CT_FRAME, "registers frame"),
        Reference(uid("plan", 0), uid("rtss", 0), "uses structure set"),
    }


def test_inspect_prints_the_contract(tmp_path: Path) -> None:
    folder = write(tmp_path, whole_case())
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "nameless").write_bytes(
        (write(tmp_path / "x", ct_images("y", SeriesInstanceUID="")[:1]) / "0000").read_bytes()
    )
    shutil.rmtree(tmp_path / "x")
    found = json.loads(json.dumps(inspect_json(read_inputs([folder]))))
    assert set(found) == {"schema", "series", "composed", "other", "findings"}
    assert found["schema"] == 1
    by_kind = {series["kind"]: series for series in found["series"]}
    assert by_kind["dwi-trace"] == {
        "series_instance_uid": uid("dwi-900"),
        "modality": "MR",
        "kind": "dwi-trace",
        "images": 10,
        "b_values_s_per_mm2": {"50": 5, "900": 5},
        "b_value_source": "(0018,9087) DiffusionBValue",
        "adc_unit_mm2_per_s": None,
        "frame_of_reference_uid": MR_FRAME,
        "description": "ep2d_diff",
        "findings": [],
    }
    assert by_kind["adc"]["adc_unit_mm2_per_s"] == 1e-6
    assert [one["file"] for one in found["other"]] == ["nameless"]
    assert [(one["code"], one["level"]) for one in found["findings"]] == [
        ("file-unreadable", "warn"),
        ("object-unidentified", "warn"),
        ("protocol-coverage", "info"),
        ("protocol-unstated", "info"),
    ]
    assert set(found["findings"][0]) == {"code", "level", "message", "value", "limit", "unit", "lesion"}


def test_neither_the_patient_nor_a_folder_is_in_what_inspect_prints(tmp_path: Path) -> None:
    folder = write(tmp_path, whole_case(), mr_images("other", PatientID="P-2", PatientName="Smith^Al"))
    (folder / "broken").write_bytes(b"DICM")
    text = json.dumps(inspect_json(read_inputs([folder])))
    for private in ("Doe", "DOE", "Smith", "SMITH", "P-1", "P-2", "19500102", str(tmp_path)):
        assert private not in text


@pytest.mark.parametrize(
    ("dates", "date"),
    [
        ({"AcquisitionDate": "20260103", "SeriesDate": "20260102"}, "20260103"),
        ({"SeriesDate": "20260102"}, "20260102"),
        ({}, "20260101"),
        ({"StudyDate": ""}, ""),
    ],
    ids=["acquisition", "series", "study", "none"],
)
def test_the_date_of_a_series_is_the_nearest_to_its_acquisition(
    tmp_path: Path, dates: dict[str, str], date: str
) -> None:
    (summary,) = read_inputs([write(tmp_path, mr_images(**dates))]).series
    assert summary.date == date


def test_the_findings_of_a_series_are_among_all_findings(tmp_path: Path) -> None:
    images = ct_images()
    del images[2]
    intake = read_inputs([write(tmp_path, images)])
    (summary,) = intake.series
    assert [finding.code for finding in summary.findings] == ["ct-slice-missing"]
    assert set(summary.findings) <= set(intake.exam.findings)


def test_the_same_series_may_hold_objects_of_several_classes(tmp_path: Path) -> None:
    private = blank("1.3.46.670589.11.0.0.12.2", "raw", SeriesInstanceUID=uid("t1"), Modality="MR")
    intake = read_inputs([write(tmp_path, mr_images(), private)])
    assert sorted((one.kind, one.images) for one in intake.series) == [("other", 1), ("t1", 5)]
    assert [volume.series_uid for volume in intake.exam.mr] == [uid("t1")]


def test_an_empty_folder_is_a_case_with_nothing_in_it(tmp_path: Path, codes_of: Codes) -> None:
    intake = read_inputs([tmp_path])
    assert codes_of(intake.exam.findings) == {
        "ct-absent": Level.HOLD,
        "flags-absent": Level.HOLD,
        "mr-absent": Level.WARN,
    }
    assert all(not getattr(intake, one.name) for one in fields(Intake) if one.name != "exam")


def test_the_small_case_of_these_tests_reads(case: Path, codes_of: Codes) -> None:
    intake = read_inputs([case])
    assert codes_of(intake.exam.findings) == {"lesion-site-unknown": Level.WARN}
    assert next(intake.exam.of_kind(Kind.T1)).series_uid == uid("t1")


@pytest.mark.parametrize("kind", ["rtss", "seg", "reg"])
def test_an_object_whose_bytes_are_nonsense_is_refused_and_the_rest_is_read(tmp_path: Path, kind: str) -> None:
    """Each of its first sequences in turn says it is something else."""
    objects = whole_case()
    (whole,) = [one for one in objects if one.SeriesInstanceUID == uid(kind)]
    rest = write(tmp_path / "rest", [one for one in objects if one is not whole])
    content = (write(tmp_path / "one", whole) / "0000").read_bytes()
    places = [at for at in range(132, len(content)) if content[at : at + 4] == b"SQ\0\0"]
    assert places
    for at in places[:10]:
        (rest / "spoiled").write_bytes(content[:at] + b"OB" + content[at + 2 :])
        exam = read_inputs([rest]).exam
        assert exam.planning_ct is not None
        assert len(exam.mr) == 4


@settings(max_examples=40)
@given(data=st.data())
def test_no_byte_in_any_file_stops_the_reading(
    tmp_path_factory: pytest.TempPathFactory, whole: tuple[Path, dict[str, Any]], data: st.DataObject
) -> None:
    folder, _ = whole
    copy = tmp_path_factory.mktemp("bytes") / "case"
    shutil.copytree(folder, copy)
    file = data.draw(st.sampled_from(sorted(copy.iterdir())))
    content = bytearray(file.read_bytes())
    for at in data.draw(st.lists(st.integers(132, len(content) - 1), min_size=1, max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(content))
    intake = read_inputs([copy])
    assert len(intake.files) + sum(one.code == "file-unreadable" for one in intake.exam.findings) == 28


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
def test_an_mr_image_is_referred_to_by_its_file_meta_information_where_it_does_not_name_itself(
    tmp_path: Path, keyword: str
) -> None:
    images = mr_images()
    wanted = read_inputs([write(tmp_path / "whole", images)]).mr_images
    delattr(images[1], keyword)
    for number, image in enumerate(images):
        dcmwrite(tmp_path / f"{number}", image, enforce_file_format=False)
    shutil.rmtree(tmp_path / "whole")
    assert read_inputs([tmp_path]).mr_images == wanted


@pytest.mark.parametrize("threads", [1, 5])
def test_however_many_threads_read_the_value_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    write(tmp_path, *whole_case())
    wanted = told(read_inputs([tmp_path]))
    monkeypatch.setattr(intake_module, "THREADS", threads)
    assert told(read_inputs([tmp_path])) == wanted


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_is_left_as_it_was_found(tmp_path: Path, collects: bool) -> None:
    write(tmp_path, mr_images())
    was = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        read_inputs([tmp_path])
        assert gc.isenabled() is collects
        with pytest.raises(InputError):
            read_inputs([tmp_path / "nowhere"])
        assert gc.isenabled() is collects
    finally:
        (gc.enable if was else gc.disable)()
