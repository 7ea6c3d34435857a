"""Whose images these are, without saying anybody's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from psdt_planner.dicom.intake import read_inputs
from psdt_planner.findings import Finding, Level
from tests.dicom_in.objects import ct_images, dwi_images, mr_images, seg_object, uid, write


def patient_findings(folder: Path, *objects: Any) -> list[Finding]:
    intake = read_inputs([write(folder, *objects)])
    return [finding for finding in intake.exam.findings if finding.code.startswith("patient")]


@pytest.mark.parametrize(
    ("change", "code", "level"),
    [
        ({"PatientID": "P-2"}, "patient-mismatch", Level.HOLD),
        ({"PatientID": "p-1"}, "patient-mismatch", Level.HOLD),
        ({"IssuerOfPatientID": "Elsewhere"}, "patient-mismatch", Level.HOLD),
        ({"PatientID": ""}, "patient-id-missing", Level.HOLD),
        ({"PatientID": None}, "patient-id-missing", Level.HOLD),
        ({"PatientBirthDate": "19500103"}, "patient-birth-date-differs", Level.HOLD),
        ({"PatientName": "Smith^Al"}, "patient-name-differs", Level.WARN),
    ],
)
def test_a_difference_from_the_planning_ct_is_a_finding_without_the_patient_in_it(
    tmp_path: Path, change: dict[str, Any], code: str, level: Level
) -> None:
    (finding,) = patient_findings(tmp_path, ct_images(IssuerOfPatientID="Here"), mr_images(**change))
    assert (finding.code, finding.level) == (code, level)
    assert uid("t1") in finding.message
    assert uid("ct") in finding.message
    for private in ("Doe", "Smith", "DOE", "SMITH", "P-1", "P-2", "1950", "Elsewhere"):
        assert private not in finding.message


@pytest.mark.parametrize(
    "change",
    [
        {"PatientID": " P-1 "},
        {"PatientName": "DOE^JO"},
        {"PatientName": "Doe^Jo^^^"},
        {"PatientName": ""},
        {"PatientName": "Doe^Jo=Doe^Jo"},
        {"PatientBirthDate": ""},
        {"IssuerOfPatientID": ""},
    ],
)
def test_padding_case_and_what_one_side_leaves_out_are_no_difference(tmp_path: Path, change: dict[str, Any]) -> None:
    assert patient_findings(tmp_path, ct_images(IssuerOfPatientID="Here"), mr_images(**change)) == []


def test_one_image_of_another_patient_within_a_series_is_seen(tmp_path: Path) -> None:
    images = mr_images()
    images[3].PatientID = "P-2"
    assert [finding.code for finding in patient_findings(tmp_path, ct_images(), images)] == ["patient-mismatch"]


def test_one_slice_of_another_patient_within_the_planning_ct_is_seen(tmp_path: Path) -> None:
    images = ct_images()
    images[3].PatientID = "P-2"
    assert [finding.code for finding in patient_findings(tmp_path, images)] == ["patient-mismatch"]


def test_another_patient_s_flags_hold(tmp_path: Path) -> None:
    images = dwi_images()
    mask = np.zeros((5, 9, 7, 1), dtype=np.uint8)
    mask[2, 3, 3] = 1
    seg = seg_object(images, mask)
    seg.PatientID = "P-2"
    (finding,) = patient_findings(tmp_path, ct_images(), images, seg)
    assert (finding.code, finding.level) == ("patient-mismatch", Level.HOLD)
    assert "(seg)" in finding.message


def test_without_a_ct_the_objects_are_held_against_each_other(tmp_path: Path) -> None:
    assert [one.code for one in patient_findings(tmp_path, mr_images("a"), mr_images("b", PatientID="P-2"))] == [
        "patient-mismatch"
    ]
