"""Names of targets by TG-263, whoever wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.builder import planning_ct, saved, sound, verdict_on, write


def said(tmp_path: Path, name: str, kind: str) -> list[tuple[str, str]]:
    ct = planning_ct()
    ds = sound(ct)
    ds.StructureSetROISequence[2].ROIName = name
    ds.RTROIObservationsSequence[2].RTROIInterpretedType = kind
    verdict = verdict_on(saved(ds, tmp_path / "rtss.dcm"), write(tmp_path / "ct", ct))
    return [(one.code, one.message) for one in verdict.complaints if one.code.startswith("target")]


@pytest.mark.parametrize(
    "name", ["GTV1", "PTVn2", "CTVsb", "PTV_5040", "PTV_50.4Gy", "PTV_1000x3", "PTV_VB_L4_800x5", "PTV_20Gyx3", "PTV!"]
)
def test_names_that_tg263_knows_are_left_alone(tmp_path: Path, name: str) -> None:
    assert said(tmp_path, name, name[:3]) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PTV_60", "its name reads as 0.6 Gy in all"),
        ("PTV_6000x30", "its name reads as 60 Gy in each of 30 fractions, 1800 Gy in all"),
        ("PTV_3500x5", "its name reads as 35 Gy in each of 5 fractions, 175 Gy in all"),
        ("PTV_2x30", "its name reads as 0.02 Gy in each of 30 fractions, 0.6 Gy in all"),
    ],
)
def test_a_dose_that_nobody_gives_is_warned_of(tmp_path: Path, name: str, words: str) -> None:
    assert said(tmp_path, name, "PTV") == [("target-dose-unlikely", words)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GTVm1", "'GTVm1' is no name of a target by TG-263"),
        ("GTVVB_L4", "'GTVVB_L4' is no name of a target by TG-263; the nearest is GTV_VB_L4"),
    ],
)
def test_a_name_that_tg263_does_not_know_is_a_note(tmp_path: Path, name: str, words: str) -> None:
    assert said(tmp_path, name, "GTV") == [("target-name-other", words)]


@pytest.mark.parametrize("name", ["boost", "Prostate", "PTV_LN_Iliac_Ext_L_1000x3"])
def test_other_names_and_long_ones_are_left_to_others(tmp_path: Path, name: str) -> None:
    assert said(tmp_path, name, "PTV") == []


def test_organs_are_not_held_against_the_names_of_targets(tmp_path: Path) -> None:
    assert said(tmp_path, "PTV_6000x30", "AVOIDANCE") == []
