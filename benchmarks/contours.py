"""``./run bench contours``: masks to an RTSTRUCT on disk, psdt beside rt-utils, each in its own process, interleaved.

The CT has 300 slices of 512 x 512. The masks are bool arrays of the whole CT, painted one after another into one
buffer outside of the clock, so that 40 of them fit into any memory and none counts for anybody. Time is from the CT's
files to the RTSTRUCT on disk, imports aside; memory is the peak beyond what the process held before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.contours_methods import OURS, PEER, Run, large_structure_set, run_apart, write_ct
from benchmarks.rows import Outcome, Row

COUNTS = (1, 10, 40)
BODY_FROM = 10
"""From this number of regions on, the outline of the body is among them."""

REPEATS = 3
RATIO = 0.2
"""At most this part of rt-utils' time and of its added memory."""

LINT_S = 2.0
LINT_POINTS = 145_000

Runs = Mapping[int, Mapping[str, Sequence[Run]]]
"""By number of regions and method."""


def bench_contours(chosen: argparse.Namespace) -> Outcome:
    """Both methods on every number of regions, in turns; then lint on a large structure set."""
    with tempfile.TemporaryDirectory(prefix="psdt-bench-") as name:
        folder = Path(name)
        ct = folder / "ct"
        write_ct(ct, chosen.slices)
        runs = {count: _interleaved(ct, folder, count, chosen.repeats) for count in COUNTS}
        data, points = large_structure_set(LINT_POINTS, chosen.slices)
        (folder / "large.dcm").write_bytes(data)
        lint_s = statistics.median(_lint_s(folder / "large.dcm") for _ in range(chosen.repeats))
    work = f"lint, {points} points, {len(data) / 1e6:.1f} MB"
    return Outcome((*rows(runs), Row(work, lint_s, LINT_S, "the bar", "s", 1.0)), text(runs))


def _interleaved(ct: Path, folder: Path, count: int, repeats: int) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {OURS: [], PEER: []}
    for n in range(repeats):
        for method in (OURS, PEER) if n % 2 == 0 else (PEER, OURS):
            print(f"{count} regions: {method}", file=sys.stderr, flush=True)
            found[method].append(run_apart(method, ct, folder / "out.dcm", count, BODY_FROM))
    return found


def _lint_s(path: Path) -> float:
    """Waiting time of the whole command, its start included."""
    psdt = Path(sys.executable).with_name("psdt")
    begun_s = time.perf_counter()
    done = subprocess.run([psdt, "lint", path], capture_output=True, text=True, check=False)
    waited_s = time.perf_counter() - begun_s
    if done.returncode not in (0, 1):
        raise RuntimeError(f"psdt lint ended with {done.returncode}: {done.stderr[-400:]}")
    return waited_s


def rows(runs: Runs) -> Iterator[Row]:
    """Medians of ours beside the peer's, with the bars."""
    for count, by_method in runs.items():
        ours, peer = by_method[OURS], by_method[PEER]
        work = named(count)
        for unit in ("CPU s", "s", "MB"):
            yield Row(work, _median(ours, unit), _median(peer, unit), PEER, unit, RATIO)


def named(count: int) -> str:
    """What was written."""
    regions = "1 region" if count == 1 else f"{count} regions"
    return f"{regions}, body among them" if count >= BODY_FROM else regions


def _median(runs: Sequence[Run], unit: str) -> float:
    values = {
        "CPU s": [run.cpu_s for run in runs],
        "s": [run.wall_s for run in runs],
        "MB": [run.added_mb for run in runs],
    }
    return float(statistics.median(values[unit]))


def text(runs: Runs) -> str:
    """Size of the files: a smaller one is no merit by itself, and a reader's time goes with it."""
    return "\n".join(
        f"{named(count)}: file of {by_method[OURS][0].file_mb:.1f} MB; {by_method[PEER][0].file_mb:.1f} MB ({PEER})"
        for count, by_method in runs.items()
    )
