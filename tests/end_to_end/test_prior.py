"""A patient with a prior exam, planned once: every known fate, what progresses, and what becomes of the rest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from fixtures.patient import PatientSpec, write_patient
from fixtures.prior import DAYS_BEFORE, Fate
from psdt_planner.dossier import load_history, load_protocol, make_dossier
from tests.end_to_end.conftest import CREATED

FATES = (Fate.MERGED, Fate.SPLIT, Fate.GROWING, Fate.SHRINKING, Fate.STABLE, Fate.GONE, Fate.NEW)
QUIET = {Fate.SPLIT, Fate.SHRINKING, Fate.STABLE, Fate.GONE}


@dataclass(frozen=True)
class Followed:
    """What came of a patient with a prior exam, and the truth; lesions are told by their segment numbers."""

    out: Path
    plan: dict[str, Any]
    truth: dict[str, Any]

    @property
    def fates(self) -> list[dict[str, Any]]:
        return list(self.truth["prior"]["fates"])

    def lesion(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in self.plan["lesions"] if one["id"] == name)
        return found


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """The reader gave a RAC to what does not progress; the rest is left to the time-line."""
    folder = tmp_path_factory.mktemp("followed")
    truth = write_patient(PatientSpec(seed=4, region="pelvis", size="small", fates=FATES), folder / "patient").record
    quiet = [name for one in truth["prior"]["fates"] if one["fate"] in QUIET for name in one["lesions"] or one["prior"]]
    rows = "".join(f'[[rac]]\nlesion = "{name}"\nrac = {2 + n % 2}\n' for n, name in enumerate(quiet))
    (folder / "history.toml").write_text(f"schema = 1\nreference_date = 2024-01-11\n{rows}", encoding="utf-8")
    told = load_history(folder / "history.toml")
    out = folder / "plan"
    make_dossier([folder / "patient"], out, protocol=load_protocol(None), created=CREATED, history=told)
    return Followed(out, json.loads((out / "plan.json").read_text(encoding="utf-8")), truth)


def test_every_known_fate_is_in_plan_json(followed: Followed) -> None:
    """Splits and merges by the names of their parts."""
    for one in followed.fates:
        for name in one["lesions"]:
            lesion = followed.lesion(name)
            assert (lesion["timeline"], lesion["prior_lesions"]) == (one["fate"], one["prior"]), name
    gone = [(one["timeline"], one["prior_lesions"]) for one in followed.plan["former_lesions"]]
    assert gone == [("gone", one["prior"]) for one in followed.fates if one["fate"] == "gone"]
    assert {one["timeline"] for one in [*followed.plan["lesions"], *followed.plan["former_lesions"]]} == {
        str(fate) for fate in Fate
    }


def test_every_prior_lesion_lies_within_its_bound_of_the_truth(followed: Followed) -> None:
    """In this exam's frame, with the distortion of the prior's diffusion images undone."""
    prior = followed.plan["prior_exam"]
    assert prior["days_before"] == DAYS_BEFORE
    assert prior["frame_of_reference_uid"] == followed.truth["prior"]["mr_frame"]
    assert prior["registration"]["source"] == "computed"
    errors = []
    for lesion, true in zip(prior["lesions"], followed.truth["prior"]["lesions"], strict=True):
        assert (lesion["id"], lesion["label"]) == (true["id"], true["label"])
        error_mm = np.linalg.norm(np.array(lesion["centroid_mr_mm"]) - true["centre_this_mm"])
        assert error_mm <= lesion["uncertainty_mm"], lesion["id"]
        errors.append(error_mm)
    assert np.median(errors) < 1.5


def test_change_stands_beside_the_error_and_near_the_truth(followed: Followed) -> None:
    then = {one["id"]: one["volume_ml"] for one in followed.truth["prior"]["lesions"]}
    now = {one["id"]: one["volume_ml"] for one in followed.truth["lesions"]}
    for one in followed.fates:
        for name in one["lesions"] if one["prior"] else ():
            change = followed.lesion(name)["volume_change"]
            low, high = change["error_percent"]
            true = sum(now[lesion] for lesion in one["lesions"]) / sum(then[lesion] for lesion in one["prior"])
            told = change["after"] / change["before"]
            assert 1.0 + low / 100.0 <= told / true <= 1.0 + high / 100.0, name
            assert change["beyond_error"] is not (low <= change["percent"] <= high)
            adc = followed.lesion(name)["adc_change"]
            assert abs(adc["percent"]) < 15.0  # the tumour is the same tissue in both exams


def test_what_progresses_is_marked_by_whose_word_it_is(followed: Followed) -> None:
    for one in followed.fates:
        for name in one["lesions"]:
            lesion = followed.lesion(name)
            quiet = one["fate"] in QUIET
            assert lesion["progressive_by"] == ("the reader's RAC" if quiet else "proposed from the time-line")
            assert lesion["progressive"] is not quiet  # what merged is larger by the gap, beyond the error here
    assert followed.plan["former_lesions"][0]["rac"] in (2, 3)


def test_every_progressive_site_has_a_target_and_the_others_a_named_reason(followed: Followed) -> None:
    assert followed.plan["status"] == "proposed"
    for lesion in followed.plan["lesions"]:
        if lesion["progressive"]:
            assert lesion["status"] == "mapped"
            assert lesion["rois"]["gtv"]
        else:
            assert lesion["status"] == "excluded"
            assert lesion["reasons"] == [f"Excluded by the reader: not progressive, RAC {lesion['rac']} in the history"]
    named = {one["lesion"]: one["by"] for one in followed.plan["exclusions"]}
    assert named == {one["id"]: "the reader" for one in followed.plan["lesions"] if not one["progressive"]}
    assert followed.plan["classification"]["progressive_sites"] == sum(
        lesion["progressive"] for lesion in followed.plan["lesions"]
    )


def test_identities_are_carried_over(followed: Followed) -> None:
    prior = {one["id"]: one["tracking_uid"] for one in followed.plan["prior_exam"]["lesions"]}
    for one in followed.fates:
        if one["fate"] in (Fate.GROWING, Fate.SHRINKING, Fate.STABLE):
            lesion = followed.lesion(one["lesions"][0])
            assert lesion["tracking_uid_carried_over"] == prior[one["prior"][0]]
            assert lesion["matched_by"] == ("tracking UID" if one["fate"] == Fate.STABLE else "place")
    (growing,) = [one for one in followed.fates if one["fate"] == "growing"]
    structures = dcmread(followed.out / "rtstruct.dcm").StructureSetROISequence
    told = [
        roi.ROIDescription for roi in structures if roi.ROIName == followed.lesion(growing["lesions"][0])["rois"]["gtv"]
    ]
    assert prior[growing["prior"][0]] in told[0]


def test_manifest_and_report_tell_of_both_exams(followed: Followed) -> None:
    manifest = json.loads((followed.out / "manifest.json").read_text(encoding="utf-8"))
    joined = {one["of"]: (one["target"], one["source"]) for one in manifest["transforms"]}
    frames = followed.truth["mr_frame"], followed.truth["prior"]["mr_frame"]
    assert joined["prior exam"] == frames
    assert {joined[one["id"]] for one in followed.truth["prior"]["lesions"]} == {frames}
    report = (followed.out / "report.html").read_text(encoding="utf-8")
    assert f"Compared with the exam of {DAYS_BEFORE} days before" in report
    assert "prior MR" in report
