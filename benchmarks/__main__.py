"""``./run bench NAME [--json]``: one part of psdt beside peers, interleaved in one run; ratio = ours / peer.

Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contours import REPEATS as CONTOUR_REPEATS
from benchmarks.contours import bench_contours
from benchmarks.dwi import REPEATS as DWI_REPEATS
from benchmarks.dwi import bench_dwi
from benchmarks.mapping import bench_mapping
from benchmarks.network import REPEATS as NETWORK_REPEATS
from benchmarks.network import bench_network
from benchmarks.rows import Outcome, Row, as_json, as_text
from fixtures.patient import PatientSpec, write_patient

REPEATS = 3


@dataclass(frozen=True)
class Use:
    """What a process took: CPU seconds of all its threads, and its largest resident memory."""

    cpu_s: float
    memory_mb: float


def run_measured(command: list[str]) -> Use:
    """Run a command to its end in a process whose children are only that command."""
    code = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "use = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([done.returncode, use.ru_utime + use.ru_stime, use.ru_maxrss / 1024]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    status, cpu_s, memory_mb = json.loads(done.stdout)
    if status != 0:
        raise RuntimeError(f"{command[0]} ended with {status}")
    return Use(cpu_s, memory_mb)


PEER = """
import sys, pathlib, numpy as np, pydicom, SimpleITK as sitk
folder = pathlib.Path(sys.argv[1])
def image(name, spacing):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / name)))
    full = sitk.Cast(reader.Execute(), sitk.sitkFloat32)
    size = [int(n * s / spacing) for n, s in zip(full.GetSize(), full.GetSpacing())]
    place = full.GetOrigin(), [spacing] * 3, full.GetDirection()
    return sitk.Resample(full, size, sitk.Transform(), sitk.sitkLinear, *place)
import json
truth = json.loads((folder / "truth.json").read_text())
fixed, moving = image("ct", 3.0), image("mr/t1", 3.0)
start = sitk.Euler3DTransform()
matrix = np.linalg.inv(np.array(truth["ct_from_mr"]))
start.SetMatrix(matrix[:3, :3].ravel().tolist(), 1e-4)
start.SetTranslation(matrix[:3, 3].tolist())
method = sitk.ImageRegistrationMethod()
method.SetNumberOfThreads(1)
method.SetMetricAsMattesMutualInformation(32)
method.SetMetricSamplingStrategy(method.RANDOM)
method.SetMetricSamplingPercentage(0.1, 1)
method.SetInterpolator(sitk.sitkLinear)
method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 60, 0.6)
method.SetOptimizerScalesFromPhysicalShift()
method.SetShrinkFactorsPerLevel([2, 1])
method.SetSmoothingSigmasPerLevel([3, 1.5])
method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
method.SetInitialTransform(start)
method.Execute(fixed, moving)
"""
"""One rigid fit of the whole body by SimpleITK near its defaults, from a perfect start: the least that anybody pays."""


def bench_plan(_chosen: argparse.Namespace) -> Outcome:
    """``psdt plan`` on the full-size patient with eight lesions, beside one whole-body rigid fit by SimpleITK."""
    with tempfile.TemporaryDirectory(prefix="psdt-bench-") as name:
        folder = Path(name)
        write_patient(PatientSpec(seed=1, region="pelvis", size="full", lesions=8), folder / "in")
        psdt = str(Path(sys.executable).with_name("psdt"))
        ours, peers = [], []
        for _ in range(REPEATS):
            inputs = [str(folder / "in" / part) for part in ("ct", "mr", "flags", "organs")]
            ours.append(run_measured([psdt, "plan", *inputs, "--out", str(folder / "out")]))
            peers.append(run_measured([sys.executable, "-c", PEER, str(folder / "in")]))
    rigid = "SimpleITK, one rigid fit from a perfect start"
    rows = (
        Row("plan, 8 lesions", median(ours, lambda u: u.cpu_s), median(peers, lambda u: u.cpu_s), rigid, "CPU s"),
        Row("plan, 8 lesions", median(ours, lambda u: u.memory_mb), median(peers, lambda u: u.memory_mb), rigid, "MB"),
    )
    return Outcome(rows)


def median(uses: list[Use], of: Callable[[Use], float]) -> float:
    return sorted(of(use) for use in uses)[len(uses) // 2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON rows")
    names = parser.add_subparsers(metavar="NAME", required=True)
    names.add_parser("plan", parents=[common], help="psdt plan beside one rigid fit").set_defaults(bench=bench_plan)
    mapping = names.add_parser("mapping", parents=[common], help="the mapping beside SimpleITK, plastimatch and others")
    mapping.add_argument("--seeds", type=int, default=1, help="seeds; four patients each (default 1)")
    mapping.add_argument("--first", type=int, default=1, help="first seed (default 1)")
    mapping.add_argument("--patients", type=Path, help="folder with patients of an earlier run; missing ones are added")
    mapping.add_argument("--markdown", type=Path, help="also write the tables to this file")
    mapping.set_defaults(bench=bench_mapping)
    contours = names.add_parser("contours", parents=[common], help="masks to RTSTRUCT beside rt-utils, and psdt lint")
    contours.add_argument("--repeats", type=int, default=CONTOUR_REPEATS, help="runs of each (default 3)")
    contours.add_argument("--slices", type=int, default=300, help="slices of the CT (default 300)")
    contours.set_defaults(bench=bench_contours)
    dwi = names.add_parser("dwi", parents=[common], help="a 2,000-image exam to tumour load, beside pydicom")
    dwi.add_argument("--repeats", type=int, default=DWI_REPEATS, help="runs of each (default 3)")
    dwi.set_defaults(bench=bench_dwi)
    network = names.add_parser("network", parents=[common], help="receiving and sending beside dcmtk and Orthanc")
    network.add_argument("--repeats", type=int, default=NETWORK_REPEATS, help="runs of each (default 3)")
    network.add_argument("--share", type=float, default=1.0, help="part of the files to send (default all)")
    network.add_argument("--folder", type=Path, help="where files are written (default the system's)")
    network.set_defaults(bench=bench_network)
    return parser


def main() -> int:
    chosen = _parser().parse_args()
    outcome: Outcome = chosen.bench(chosen)
    if chosen.json:
        print(json.dumps(as_json(outcome.rows)))
    else:
        print("\n".join(part for part in (outcome.text, as_text(outcome.rows)) if part))
    return 1 if any(row.missed for row in outcome.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
