"""Running phantoms: what is measured on each, in which order, and one small run as a physicist would start it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from psdt_planner.cli import app, console
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.commission import Job, TrialKind, plan_jobs, run_jobs, runs
from psdt_planner.commission.runs import Result, case_row, level_share, wrong_patient_trial
from psdt_planner.findings import Finding, Level
from psdt_planner.fractionation import Abstention
from psdt_planner.geometry import Rigid
from psdt_planner.planning import LesionStatus, PlanStatus
from tests.commission.rows import GOOD
from tests.report.test_page import Page

JOB = Job("pelvis", 7, "small", 1.8)


def shift(x: float, y: float, z: float) -> Rigid:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return Rigid(matrix, "ct", "mr")


SIX_OFF = shift(100, 0, 6)
TRUTH: dict[str, Any] = {
    "lesions": [
        {
            "tracking_uid": "1.2.3",
            "where": "femur",
            "centre_mr_mm": [10.0, 20.0, 30.0],
            "centre_dwi_mm": [10.0, 18.0, 30.0],
            "centre_ct_mm": [110.0, 20.0, 30.0],
        }
    ],
    "levels": [
        {"name": "L5", "mr_mm": [0.0, 0.0, 0.0], "ct_mm": [100.0, 0.0, 0.0]},
        {"name": "L4", "mr_mm": [0.0, 0.0, 30.0], "ct_mm": [100.0, 0.0, 30.0]},
        {"name": "L3", "mr_mm": [0.0, 0.0, 50.0], "ct_mm": [100.0, 0.0, 50.0]},
    ],
}
"""CT and MR lie 100 mm apart along x; the lesion is seen 2 mm too far forward on DWI."""


def planned(**changes: Any) -> SimpleNamespace:
    """A lesion whose T1 transform is 1 mm off, with 1.5 of the 2 mm of EPI shift undone."""
    mapped = SimpleNamespace(
        anatomical_ct_from_mr=shift(100, 0, 1),
        ct_from_mr=shift(100, 1.5, 1),
        centroid_ct_mm=np.array([110.0, 19.5, 31.0]),
        uncertainty_mm=2.5,
        disagreement_mm=0.4,
        findings=(),
    )
    flag = SimpleNamespace(id="L1", tracking_uid="1.2.3", site="bone")
    values = {"flag": flag, "mapped": mapped, "status": LesionStatus.MAPPED, "proposal": None}
    return SimpleNamespace(**{**values, **changes})


def plan_of(*lesions: SimpleNamespace, findings: Sequence[Finding] = (), start: Rigid | None = SIX_OFF) -> Any:
    registration = None if start is None else SimpleNamespace(ct_from_mr=start)
    return SimpleNamespace(
        lesions=lesions, findings=tuple(findings), registration=registration, status=PlanStatus.PROPOSED
    )


def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reading 1 s, the whole body 4 s, levels 0.5 s, lesions 1.5 s and 2 s, the structure set 1 s."""
    seconds = iter([100.0, 101.0, 105.0, 105.5, 107.0, 109.0, 110.0])
    monkeypatch.setattr(runs, "_cpu_s", lambda: next(seconds))
    made = runs._Clock()
    for what in ("whole body", "vertebral levels", "L1 ilium", "L2 L3 vertebral body", "structure set"):
        made.step(what, 0, 2)
    made.stop()
    return made


def test_a_lesion_is_measured_from_t1_and_from_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    row = case_row(JOB, plan_of(planned()), TRUTH, clock(monkeypatch))
    (found,) = row.lesions
    assert found.start_mm == pytest.approx(6.0)
    assert found.t1_error_mm == pytest.approx(1.0)
    assert found.error_mm == pytest.approx(np.hypot(0.5, 1.0))
    assert (found.epi_shift_mm, found.epi_left_mm) == (-2.0, pytest.approx(0.5))
    assert (found.bound_mm, found.disagreement_mm, found.covered, found.accepted) == (2.5, 0.4, True, True)
    assert (found.case, found.lesion, found.site, found.in_bone, found.where) == (
        "pelvis 7 ×1.8", "L1", "bone", True, "femur",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("site", "bone"), [("spine", True), ("bone", True), ("pelvic-node", False), ("prostate", False), ("unknown", False)]
)
def test_bone_is_what_psdt_takes_for_bone(monkeypatch: pytest.MonkeyPatch, site: str, bone: bool) -> None:
    lesion = planned(flag=SimpleNamespace(id="L1", tracking_uid="1.2.3", site=site))
    assert case_row(JOB, plan_of(lesion), TRUTH, clock(monkeypatch)).lesions[0].in_bone is bone


def test_a_case_says_how_it_began_what_it_met_and_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("dose-abstained", Level.WARN, "."), Finding("registration-differs-locally", Level.INFO, ".")]
    row = case_row(JOB, plan_of(planned(), findings=findings), TRUTH, clock(monkeypatch))
    assert (row.name, row.region, row.seed, row.size, row.deformation) == ("pelvis 7 ×1.8", "pelvis", 7, "small", 1.8)
    assert (row.status, row.codes) == ("proposed", ("dose-abstained",))
    assert (row.start_median_mm, row.level_share, row.level_worst) == (pytest.approx(6.0), pytest.approx(0.6), "L4")
    assert row.started_right
    assert [row.cpu_s, row.read_cpu_s, row.whole_body_cpu_s] == [10.0, 1.0, 4.0]
    assert [row.levels_cpu_s, row.lesions_cpu_s] == [0.5, 4.5]


def test_a_held_lesion_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    hold, warn = Finding("lesion-uncertain", Level.HOLD, "."), Finding("epi-shift-unknown", Level.WARN, ".")
    doubtful = planned(status=LesionStatus.HELD)
    doubtful.mapped.findings = (hold, warn, hold)
    unmapped = planned(
        status=LesionStatus.HELD, mapped=None, proposal=Abstention((Finding("case-held", Level.HOLD, "."),))
    )
    rows = case_row(JOB, plan_of(doubtful, unmapped, start=None), TRUTH, clock(monkeypatch))
    assert [row.reasons for row in rows.lesions] == [("lesion-uncertain",), ("case-held",)]
    nothing = rows.lesions[1]
    lengths = (nothing.start_mm, nothing.error_mm, nothing.t1_error_mm, nothing.bound_mm, nothing.epi_left_mm)
    assert set(lengths) == {None}
    assert (rows.start_median_mm, rows.level_share, rows.started_right) == (None, None, False)


@pytest.mark.parametrize(
    ("along_mm", "share", "worst"), [(6.0, 0.6, "L4"), (10.0, 1.0, "L4"), (-30.0, 3.0, "L4"), (0.0, 0.0, "L5")]
)
def test_the_level_is_lost_from_half_the_way_to_the_next(along_mm: float, share: float, worst: str) -> None:
    """Vertebrae lie 30 and 20 mm apart: half the way is 15 mm for L5, 10 mm for L4 and L3."""
    found = level_share(plan_of(start=shift(100, 0, along_mm)), TRUTH["levels"])
    assert found == (pytest.approx(share), worst)


def test_one_vertebra_has_no_next() -> None:
    assert level_share(plan_of(), TRUTH["levels"][:1]) == (None, "")


@pytest.mark.parametrize(
    ("findings", "noticed"),
    [
        ((), False),
        ((Finding("lesion-uncertain", Level.HOLD, ".", lesion="L1"),), False),
        ((Finding("registration-weak", Level.WARN, "."),), False),
        ((Finding("progressive-sites-over-limit", Level.HOLD, "."),), False),
        ((Finding("registration-wrong-patient", Level.HOLD, "."),), True),
        ((Finding("level-off", Level.HOLD, "."),), True),
    ],
    ids=["nothing", "one-lesion", "a-warning", "something-else", "the-case", "its-level"],
)
def test_a_wrong_patient_is_noticed_where_the_case_is_held(findings: tuple[Finding, ...], noticed: bool) -> None:
    trial = wrong_patient_trial(JOB, plan_of(findings=findings))
    assert (trial.kind, trial.case, trial.noticed) == (TrialKind.WRONG_PATIENT, "pelvis 7 ×1.8", noticed)


def test_jobs_are_every_combination_and_the_pairs() -> None:
    jobs = plan_jobs(regions=["pelvis", "thorax"], seeds=range(101, 103), size="full", deformations=[1.0, 1.8], pairs=3)
    assert [job.name for job in jobs if not job.wrong_patient] == [
        "pelvis 101 ×1", "pelvis 102 ×1", "pelvis 101 ×1.8", "pelvis 102 ×1.8",
        "thorax 101 ×1", "thorax 102 ×1", "thorax 101 ×1.8", "thorax 102 ×1.8",
    ]  # fmt: skip
    assert [job.name for job in jobs if job.wrong_patient] == ["pelvis 101 ×1", "thorax 101 ×1", "pelvis 102 ×1"]


def test_rows_stand_in_the_order_of_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job("pelvis", seed, "tiny", 1.0, wrong_patient=seed == 2) for seed in (1, 2, 3)]
    done: list[tuple[str, int, int]] = []

    def pretended(job: Job) -> Result:
        return Result(trials=GOOD.trials[:1]) if job.wrong_patient else Result(cases=GOOD.cases)

    monkeypatch.setattr(runs, "run", pretended)
    rows = run_jobs(jobs, 1, lambda *step: done.append(step))
    assert (len(rows.cases), rows.trials) == (2, GOOD.trials[:1])
    assert done == [("pelvis 1 ×1", 0, 3), ("pelvis 2 ×1", 1, 3), ("pelvis 3 ×1", 2, 3)]


def test_what_goes_wrong_in_another_process_is_not_swallowed() -> None:
    with pytest.raises(ValueError, match="no such region or size: knee"):
        run_jobs([Job("knee", 1, "tiny", 1.0)] * 2, 2)  # type: ignore[arg-type]


# as a physicist runs it ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (console.out, console.err):
        monkeypatch.setattr(one, "width", 200)


def psdt(*words: str | Path) -> int:
    return guarded(lambda: app([str(word) for word in words], standalone_mode=False))


def test_one_small_phantom_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "report", tmp_path / "validation.md"
    words = "--only mapping --seeds 1 --first 2 --size small --region short-lumbar --deformation 1 --pairs 0"
    status = psdt("commission", "--out", out, *words.split(), "--jobs", "1", "--markdown", page)
    printed = capsys.readouterr()
    report = json.loads((out / "commission.json").read_text(encoding="utf-8"))
    assert status == (Exit.HELD if report["missed"] else Exit.DONE)
    names = {figure["key"]: figure["name"] for figure in report["figures"]}
    assert [line.split(": ")[0] for line in printed.err.splitlines()] == ["missed"] * len(report["missed"])
    assert all(f"missed: {names[key]}: " in printed.err for key in report["missed"])
    (case,) = report["cases"]
    assert (case["name"], case["size"], len(case["lesions"])) == ("short-lumbar 2 ×1", "small", 3)
    for lesion in case["lesions"]:
        if lesion["status"] == "mapped":
            assert lesion["error_mm"] < 8.0
            assert abs(lesion["error_mm"] - lesion["t1_error_mm"]) <= lesion["epi_left_mm"] + 4.0
    assert 0 < case["read_cpu_s"] + case["whole_body_cpu_s"] < case["cpu_s"]
    html = Page((out / "commission.html").read_text(encoding="utf-8"))
    assert "Phantoms: 1; lesions: 3" in html.text
    assert (
        "psdt commission --out DIR --seeds 1 --first 2 --size small --region short-lumbar --deformation 1 --pairs 0 "
        "--only mapping" in page.read_text(encoding="utf-8")
    )
    assert [path.name for path in tmp_path.glob("*.md")] == ["validation.md"]


def test_the_help_shows_an_example_that_runs_in_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    assert psdt("commission", "--help") == Exit.DONE
    said = " ".join(capsys.readouterr().out.split())
    assert "Example: psdt commission --out commissioning/ --size small" in said
    assert "Exit status 1 where a bar is missed" in said


def test_a_region_that_there_is_not_is_a_matter_of_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert psdt("commission", "--out", tmp_path / "out", "--region", "knee") == Exit.USAGE
    assert "'knee' is not one of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
