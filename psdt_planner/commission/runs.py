"""Phantoms through the whole of psdt, in processes of their own, each compared with its truth."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.patient import PatientSpec, Size, write_patient
from fixtures.regions import Region
from fixtures.variants import Variant
from psdt_planner.commission.rows import CaseRow, LesionRow, Rows, Trial, TrialKind
from psdt_planner.dicom.intake import read_inputs
from psdt_planner.dossier import load_protocol
from psdt_planner.findings import Level
from psdt_planner.fractionation import Abstention
from psdt_planner.geometry import Rigid
from psdt_planner.planning import BONE_SITES, LesionStatus, Plan, PlannedLesion, channels_of, plan
from psdt_planner.registration import check_levels

PARTS = ("ct", "mr", "flags", "organs")
"""Folders of a phantom that psdt may see; the truth is not among them."""

LEVEL_ALARM = "level-off"

OF_THE_MAPPING = ("registration-", "level-")
"""How codes begin whose holds, where they name no lesion, refuse a mapping as a whole."""

Progress = Callable[[str, int, int], None]
"""Told what is over, and how many of how many."""


@dataclass(frozen=True)
class Job:
    """One phantom to run; with ``wrong_patient``, another patient's MR under its name."""

    region: Region
    seed: int
    size: Size
    deformation: float
    wrong_patient: bool = False

    @property
    def name(self) -> str:
        """Region, seed and deformation."""
        return f"{self.region} {self.seed} ×{self.deformation:g}"


@dataclass(frozen=True)
class Result:
    """What a job measured."""

    cases: tuple[CaseRow, ...] = ()
    trials: tuple[Trial, ...] = ()


def plan_jobs(
    *, regions: Sequence[Region], seeds: Sequence[int], size: Size, deformations: Sequence[float], pairs: int
) -> tuple[Job, ...]:
    """A job for every combination, and ``pairs`` with a wrong patient, spread over regions and seeds."""
    cases = [Job(region, seed, size, d) for region in regions for d in deformations for seed in seeds]
    wrong = [
        Job(regions[n % len(regions)], seeds[0] + n // len(regions), size, deformations[0], wrong_patient=True)
        for n in range(pairs)
    ]
    return (*cases, *wrong)


def run_jobs(jobs: Sequence[Job], processes: int, progress: Progress = lambda _what, _done, _total: None) -> Rows:
    """Every job's rows, in the order of the jobs however many processes there are."""
    way = _one_by_one(jobs, progress) if processes == 1 else _side_by_side(jobs, processes, progress)
    results = dict(way)
    in_order = [results[n] for n in range(len(jobs))]
    cases = tuple(case for result in in_order for case in result.cases)
    return Rows(cases, tuple(trial for result in in_order for trial in result.trials))


def _one_by_one(jobs: Sequence[Job], progress: Progress) -> Iterator[tuple[int, Result]]:
    for n, job in enumerate(jobs):
        progress(job.name, n, len(jobs))
        yield n, run(job)


def _side_by_side(jobs: Sequence[Job], processes: int, progress: Progress) -> Iterator[tuple[int, Result]]:
    """New interpreters, not forks: a fork would copy locks that the threads of this one hold."""
    progress(f"{len(jobs)} phantoms", 0, len(jobs))
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        numbers = {pool.submit(run, job): n for n, job in enumerate(jobs)}
        for done, future in enumerate(as_completed(numbers), start=1):
            progress(f"{jobs[numbers[future]].name} is over", done, len(jobs))
            yield numbers[future], future.result()


def run(job: Job) -> Result:
    """Write the phantom, read and plan it, and compare with its truth."""
    variant = Variant.OTHER_PATIENTS_MR if job.wrong_patient else Variant.NONE
    spec = PatientSpec(seed=job.seed, region=job.region, size=job.size, deformation=job.deformation, variant=variant)
    with tempfile.TemporaryDirectory(prefix="psdt-commission-") as folder:
        write_patient(spec, Path(folder))
        truth = json.loads((Path(folder) / "truth.json").read_text(encoding="utf-8"))
        clock = _Clock()
        intake = read_inputs([Path(folder) / part for part in PARTS])
        made = plan(intake.exam, load_protocol(None), progress=clock.step)
        clock.stop()
    if job.wrong_patient:
        return Result(trials=(wrong_patient_trial(job, made),))
    return Result((case_row(job, made, truth, clock),), tuple(level_trials(job, made, truth["levels"])))


class _Clock:
    """CPU and wall seconds, and the CPU seconds between the steps that a plan tells of."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = [("reading", _cpu_s())]
        self._begun_s = time.monotonic()
        self.wall_s = 0.0

    def step(self, what: str, _done: int, _total: int) -> None:
        """What begins now."""
        self.marks.append((what, _cpu_s()))

    def stop(self) -> None:
        """The end."""
        self.marks.append(("end", _cpu_s()))
        self.wall_s = time.monotonic() - self._begun_s

    def spent_s(self, *names: str) -> float:
        """CPU seconds of the steps of these names."""
        return sum(after - before for (name, before), (_, after) in pairwise(self.marks) if name in names)

    @property
    def cpu_s(self) -> float:
        """From the first to the last."""
        return self.marks[-1][1] - self.marks[0][1]


def _cpu_s() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def case_row(job: Job, made: Plan, truth: dict[str, Any], clock: _Clock) -> CaseRow:
    """One case beside its truth."""
    true = {lesion["tracking_uid"]: lesion for lesion in truth["lesions"]}
    lesions = tuple(_lesion_row(job.name, made, lesion, true[lesion.flag.tracking_uid]) for lesion in made.lesions)
    starts = [lesion.start_mm for lesion in lesions if lesion.start_mm is not None]
    share, worst = level_share(made, truth["levels"])
    read_s, whole_s, levels_s = (clock.spent_s(step) for step in ("reading", "whole body", "vertebral levels"))
    return CaseRow(
        name=job.name,
        region=job.region,
        seed=job.seed,
        size=job.size,
        deformation=job.deformation,
        status=made.status.value,
        codes=tuple(sorted({f.code for f in made.findings if f.level is not Level.INFO})),
        refused_for=refused_for(made),
        start_median_mm=float(np.median(starts)) if starts else None,
        level_share=share,
        level_worst=worst,
        cpu_s=clock.cpu_s,
        wall_s=clock.wall_s,
        read_cpu_s=read_s,
        whole_body_cpu_s=whole_s,
        levels_cpu_s=levels_s,
        lesions_cpu_s=clock.cpu_s - read_s - whole_s - levels_s,
        lesions=lesions,
    )


def _lesion_row(case: str, made: Plan, lesion: PlannedLesion, true: dict[str, Any]) -> LesionRow:
    on_mr, on_dwi, on_ct = (np.array(true[f"centre_{name}_mm"]) for name in ("mr", "dwi", "ct"))
    start = error = t1_error = epi_left = None
    if made.registration is not None:
        start = _apart_mm(made.registration.ct_from_mr.apply(on_mr), on_ct)
    if lesion.mapped is not None:
        from_t1 = lesion.mapped.anatomical_ct_from_mr.apply(on_mr)
        error, t1_error = _apart_mm(lesion.mapped.centroid_ct_mm, on_ct), _apart_mm(from_t1, on_ct)
        epi_left = _apart_mm(lesion.mapped.ct_from_mr.apply(on_dwi), from_t1)
    return LesionRow(
        case=case,
        lesion=lesion.flag.id,
        site=lesion.flag.site,
        in_bone=lesion.flag.site in BONE_SITES,
        where=true["where"],
        status=lesion.status.value,
        reasons=_reasons(lesion),
        start_mm=start,
        error_mm=error,
        t1_error_mm=t1_error,
        bound_mm=lesion.mapped.uncertainty_mm if lesion.mapped else None,
        disagreement_mm=lesion.mapped.disagreement_mm if lesion.mapped else None,
        epi_shift_mm=float(on_dwi[1] - on_mr[1]),
        epi_left_mm=epi_left,
    )


def _apart_mm(one: Any, other: Any) -> float:
    return float(np.linalg.norm(np.asarray(one) - np.asarray(other)))


def _reasons(lesion: PlannedLesion) -> tuple[str, ...]:
    """Codes of what holds a lesion."""
    if lesion.status is LesionStatus.MAPPED:
        return ()
    found = lesion.mapped.findings if lesion.mapped else ()
    if not found and isinstance(lesion.proposal, Abstention):
        found = lesion.proposal.reasons
    return tuple(sorted({finding.code for finding in found if finding.level is Level.HOLD}))


def level_share(made: Plan, levels: Sequence[dict[str, Any]]) -> tuple[float | None, str]:
    """The greatest error of the whole body's transform at a vertebra over half the way to the next, and its name.

    None and no name without a registration or with fewer than two vertebrae.
    """
    if made.registration is None or len(levels) < 2:
        return None, ""
    there = np.array([level["ct_mm"] for level in levels])
    moved = made.registration.ct_from_mr.apply([level["mr_mm"] for level in levels])
    gaps = np.linalg.norm(np.diff(there, axis=0), axis=1)
    nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    shares = np.linalg.norm(moved - there, axis=1) / (nearest / 2.0)
    n = int(shares.argmax())
    return float(shares[n]), str(levels[n]["name"])


def level_trials(job: Job, made: Plan, levels: Sequence[dict[str, Any]]) -> Iterator[Trial]:
    """The case as it is, which must raise no alarm, and shifted one level up and down, each of which must.

    None without a registration, or with fewer than two vertebrae in the CT.
    """
    if made.registration is None or made.exam.planning_ct is None or len(levels) < 2:
        return
    codes = sorted({finding.code for finding in made.findings if finding.code == LEVEL_ALARM})
    yield Trial(TrialKind.LEVEL_RIGHT, job.name, bool(codes), tuple(codes))
    whole = made.registration.ct_from_mr
    channels = channels_of(made.exam, whole.source)
    there = np.array([level["ct_mm"] for level in levels])
    level_mm = np.median(np.diff(there, axis=0), axis=0)
    for name, way in (("up", 1.0), ("down", -1.0)):
        matrix = whole.matrix.copy()
        matrix[:3, 3] += way * level_mm
        off = Rigid(matrix, whole.target, whole.source)
        check = check_levels(made.exam.planning_ct, channels.anatomical, off, computed=True, seed=1)
        codes = sorted(finding.code for finding in check.findings)
        yield Trial(TrialKind.LEVEL_OFF, f"{job.name} {name}", LEVEL_ALARM in codes, tuple(codes))


def wrong_patient_trial(job: Job, made: Plan) -> Trial:
    """Whether the mapping is refused as a whole: a finding at one lesion would let the others through."""
    codes = sorted({finding.code for finding in made.findings if finding.level is Level.HOLD})
    return Trial(TrialKind.WRONG_PATIENT, job.name, bool(refused_for(made)), tuple(codes))


def refused_for(made: Plan) -> tuple[str, ...]:
    """Codes of the findings that refuse a mapping as a whole, in alphabetical order."""
    held = {finding.code for finding in made.findings if finding.level is Level.HOLD and not finding.lesion}
    return tuple(sorted(code for code in held if code.startswith(OF_THE_MAPPING)))
