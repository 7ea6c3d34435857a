"""``./run bench dwi``: a whole-body exam read, composed and its load computed, beside reading its pixels with pydicom.

The exam has 2,000 images in 40 series: five stations of three b-values, ADC and four Dixon images. Both run in turns,
each in its own process; the pixels come from the system's cache for both. Imports are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.dwi_methods import OURS, PEER, Run, run_apart, write_exam
from benchmarks.rows import Outcome, Row

REPEATS = 3
RATIO = 1.5
"""At most this many times the time that pydicom takes for the pixels alone."""

MEMORY_MB = 1536.0

Runs = Mapping[str, Sequence[Run]]


def bench_dwi(chosen: argparse.Namespace) -> Outcome:
    """Both methods in turns on one exam."""
    with tempfile.TemporaryDirectory(prefix="psdt-bench-") as name:
        folder = Path(name) / "exam"
        images = write_exam(folder)
        runs: dict[str, list[Run]] = {OURS: [], PEER: []}
        for method in (OURS, PEER):
            run_apart(method, folder)  # once for nothing, so that files and libraries are in the system's cache
        for n in range(chosen.repeats):
            for method in (OURS, PEER) if n % 2 == 0 else (PEER, OURS):
                print(f"run {n + 1}: {method}", file=sys.stderr, flush=True)
                runs[method].append(run_apart(method, folder))
    return Outcome(tuple(rows(runs, images)))


def rows(runs: Runs, images: int) -> Iterator[Row]:
    """Medians of ours beside the peer's, with the bars."""
    work, peer = f"{images} images to tumour load", f"{PEER}, pixels alone"
    for unit, bar in (("s", RATIO), ("CPU s", None)):
        yield Row(work, _median(runs[OURS], unit), _median(runs[PEER], unit), peer, unit, bar)
    yield Row(work, max(run.memory_mb for run in runs[OURS]), MEMORY_MB, "the bar", "MB", 1.0)


def _median(runs: Sequence[Run], unit: str) -> float:
    return float(statistics.median(run.wall_s if unit == "s" else run.cpu_s for run in runs))
