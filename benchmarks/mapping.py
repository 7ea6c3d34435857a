"""``./run bench mapping``: psdt's mapping beside its peers on the same synthetic patients, in one interleaved run.

The error (TRE) is the distance on the CT between where a method puts a lesion's true place on T1, and where the lesion
is. psdt maps what was flagged on distorted DWI and may hold a lesion; peers are told the true place on T1 and hold
nothing. Ratios compare the lesions that psdt accepted with the same ones of the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.mapping_methods import OURS, PARTS, PEERS, Run, absent, run_apart
from benchmarks.rows import Outcome, Row, as_markdown
from fixtures.patient import PatientSpec, write_patient
from fixtures.regions import Region

Errors = NDArray[np.float64]

DEFORMATIONS = (1.0, 1.8)
LARGE_MM = 5.0

RIGID = "SimpleITK rigid"
P95_RATIO = 1.0 / 3.0
P95_BARRED = (RIGID, "SimpleITK B-spline", "plastimatch B-spline")
START_RATIO = 2.5
LESION_CPU_S = 2.0
"""The bars: 95th percentile against three peers, initialisation and whole body against one rigid fit, one lesion."""

TWO_CORES = f"{OURS}, two cores"


@dataclass(frozen=True, eq=False)
class Case:
    """One patient: what every method made of it, and how far off each lesion ended.

    Attributes:
        runs: by method; psdt twice, on one core and on two.
        errors_mm: by method, ``(lesions,)``; infinite where a lesion was put nowhere.
        accepted: ``(lesions,)``, what psdt did not hold.
    """

    name: str
    runs: Mapping[str, Run]
    errors_mm: Mapping[str, Errors]
    accepted: NDArray[np.bool_]


@dataclass(frozen=True)
class Figures:
    """What a set of errors comes to."""

    lesions: int
    median_mm: float
    p95_mm: float
    worst_mm: float
    large: float
    """The part of them over 5 mm."""


def figures(errors_mm: Errors) -> Figures:
    """Figures of errors ``(N,)``; NaN where there are none."""
    if not errors_mm.size:
        return Figures(0, np.nan, np.nan, np.nan, np.nan)
    return Figures(
        lesions=errors_mm.size,
        median_mm=float(np.percentile(errors_mm, 50)),
        p95_mm=float(np.percentile(errors_mm, 95)),
        worst_mm=float(errors_mm.max()),
        large=float((errors_mm > LARGE_MM).mean()),
    )


def bench_mapping(chosen: argparse.Namespace) -> Outcome:
    """Every method that is installed, on every patient."""
    missing = dict(absent())
    methods = [OURS, *(name for name in PEERS if name not in missing)]
    if len(os.sched_getaffinity(0)) > 1:
        methods.append(TWO_CORES)
    with tempfile.TemporaryDirectory(prefix="psdt-bench-") as name:
        folders = _patients(chosen.patients or Path(name), range(chosen.first, chosen.first + chosen.seeds))
        cases = [run_case(folder, methods[n % len(methods) :] + methods[: n % len(methods)]) for n, folder in folders]
    notes = [f"{peer}: not measured, {why}" for peer, why in missing.items()]
    if chosen.markdown is not None:
        made_by = f"./run bench mapping --seeds {chosen.seeds} --first {chosen.first}"
        chosen.markdown.write_text(page(cases, made_by, notes), encoding="utf-8")
    return Outcome(tuple(rows(cases)), "\n".join([table(cases), "", *by_case(cases), *notes]))


def page(cases: Sequence[Case], made_by: str, notes: Sequence[str]) -> str:
    """What the bench found, for docs/: the ratios with their bars, then every method and every case."""
    counts = f"{len(cases)} patients, {_lesions(cases)} lesions"
    head = f"# Validation: mapping beside its peers\n\nMade by `{made_by}`: {counts}."
    words = (
        "Peers are told the place on undistorted T1, start from the true rigid transform of the whole body, run on one "
        "thread and hold nothing. Ratios are over the lesions that psdt accepted, for both."
    )
    full = "\n".join([table(cases), "", *by_case(cases), *notes])
    return f"{head}\n\n{words}\n\n{as_markdown(tuple(rows(cases)))}\n\n```\n{full}\n```\n"


def _patients(parent: Path, seeds: Iterable[int]) -> Iterator[tuple[int, Path]]:
    """Each patient's number and folder; written where it is not there yet."""
    regions: tuple[Region, ...] = ("pelvis", "thorax")
    wanted = [(seed, region, deformation) for seed in seeds for deformation in DEFORMATIONS for region in regions]
    for number, (seed, region, deformation) in enumerate(wanted):
        folder = parent / f"{region}_{seed}_{deformation:g}"
        if not (folder / "truth.json").exists():
            _say(f"{folder.name}: writing the patient")
            folder.mkdir(parents=True, exist_ok=True)
            write_patient(PatientSpec(seed=seed, region=region, size="full", deformation=deformation), folder)
        yield number, folder


def run_case(folder: Path, methods: Sequence[str]) -> Case:
    """The methods, one after the other in the given order, on one patient."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    runs = {}
    for method in methods:
        _say(f"{folder.name}: {method}")
        runs[method] = run_apart(OURS, folder, 2) if method == TWO_CORES else run_apart(method, folder, 1)
    true = np.array([lesion["centre_ct_mm"] for lesion in truth["lesions"]])
    errors = {method: errors_mm(run, true) for method, run in runs.items()}
    return Case(folder.name, runs, errors, np.array([placed.accepted for placed in runs[OURS].placed]))


def errors_mm(run: Run, true_ct_mm: NDArray[np.float64]) -> Errors:
    """``(N,)``, how far each lesion lies from its true place ``(N, 3)``."""
    nowhere = (np.inf, np.inf, np.inf)
    places = np.array([placed.place_ct_mm or nowhere for placed in run.placed])
    return np.asarray(np.linalg.norm(places - true_ct_mm, axis=1))


def rows(cases: Sequence[Case]) -> Iterator[Row]:
    """Ours beside each peer's over all cases, with the bars."""
    ours = figures(_pooled(cases, OURS, only_accepted=True))
    for peer in _peers(cases):
        theirs = figures(_pooled(cases, peer, only_accepted=True))
        yield Row("TRE, p95", ours.p95_mm, theirs.p95_mm, peer, "mm", P95_RATIO if peer in P95_BARRED else None)
        yield Row("TRE, median", ours.median_mm, theirs.median_mm, peer, "mm")
        yield Row("TRE, worst", ours.worst_mm, theirs.worst_mm, peer, "mm")
    start_s = parts_cpu_s(cases)["whole body"] / len(cases)
    rigid_s = _mean([case.runs[RIGID].cpu_s for case in cases])
    yield Row("initialisation and whole body", start_s, rigid_s, RIGID, "CPU s", START_RATIO)
    fits_s = parts_cpu_s(cases)["fits"] / _lesions(cases)
    yield Row("one lesion", fits_s, LESION_CPU_S, "the bar", "CPU s", 1.0)
    if all(TWO_CORES in case.runs for case in cases):
        one_s, two_s = (_mean([case.runs[name].wall_s for case in cases]) for name in (OURS, TWO_CORES))
        yield Row("a case on two cores", two_s, one_s, "psdt on one core", "s")


def parts_cpu_s(cases: Sequence[Case]) -> dict[str, float]:
    """CPU seconds of psdt's parts over all cases; ``contours and doses`` is what is left."""
    runs = [case.runs[OURS] for case in cases]
    parts = {part: sum(run.parts_s[part] for run in runs) for part in PARTS}
    return {**parts, "contours and doses": sum(run.cpu_s for run in runs) - sum(parts.values())}


def table(cases: Sequence[Case]) -> str:
    """Every method over all cases: all its lesions, then those that psdt accepted."""
    head = f"{'method':22} {'lesions':>7} {'median':>7} {'p95':>7} {'worst':>7} {'> 5 mm':>7} {'CPU s a case':>13}"
    lines = [head + "   mm; p95 of the lesions that psdt accepted"]
    accepted = figures(_pooled(cases, OURS, only_accepted=True))
    lines.append(_line(f"{OURS}, accepted", accepted, _cpu_s(cases, OURS)))
    for name in (OURS, *_peers(cases)):
        label = f"{OURS}, held too" if name == OURS else name
        same = figures(_pooled(cases, name, only_accepted=True)).p95_mm
        lines.append(f"{_line(label, figures(_pooled(cases, name)), _cpu_s(cases, name))}   {same:.2f}")
    held = sum(int((~case.accepted).sum()) for case in cases)
    spent = ", ".join(f"{part} {cpu_s / len(cases):.1f}" for part, cpu_s in parts_cpu_s(cases).items())
    lines.append(f"psdt held {held} of {_lesions(cases)} lesions; CPU s a case: {spent}")
    return "\n".join(lines)


def _line(name: str, got: Figures, cpu_s: float) -> str:
    errors = f"{got.median_mm:7.2f} {got.p95_mm:7.2f} {got.worst_mm:7.2f} {got.large:7.1%}"
    return f"{name:22} {got.lesions:7d} {errors} {cpu_s:13.1f}"


def by_case(cases: Sequence[Case]) -> Iterator[str]:
    """For each case, psdt's accepted lesions and the peers' p95, and its wall time."""
    for case in cases:
        ours = figures(case.errors_mm[OURS][case.accepted])
        walls = ", ".join(f"{case.runs[name].wall_s:.1f}" for name in (OURS, TWO_CORES) if name in case.runs)
        peers = ", ".join(f"{name} {figures(case.errors_mm[name]).p95_mm:.1f}" for name in _peers([case]))
        held = int((~case.accepted).sum())
        yield (
            f"{case.name}: psdt median {ours.median_mm:.1f}, p95 {ours.p95_mm:.1f} mm, {held} held, {walls} s on one "
            f"core and two; p95 of peers: {peers} mm"
        )


def _pooled(cases: Sequence[Case], method: str, *, only_accepted: bool = False) -> Errors:
    return np.concatenate([c.errors_mm[method][c.accepted] if only_accepted else c.errors_mm[method] for c in cases])


def _peers(cases: Sequence[Case]) -> list[str]:
    return [name for name in PEERS if all(name in case.runs for case in cases)]


def _cpu_s(cases: Sequence[Case], method: str) -> float:
    return _mean([case.runs[method].cpu_s for case in cases])


def _lesions(cases: Sequence[Case]) -> int:
    return sum(case.accepted.size for case in cases)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
