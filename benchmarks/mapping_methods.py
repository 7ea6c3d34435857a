"""The methods that ``./run bench mapping`` compares, each run in a process of its own so that its CPU time is its own.

Every peer gets what is good for it: anatomical MR without distortion, the CT clamped to soft tissue and bone, even 3 mm
lattices, and an MR that the true rigid transform of the whole body has already laid onto the CT, which in life nobody
has. What is left for it is the residue: bending, breathing and hips. Peers run on one thread.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from psdt_planner.dicom.intake import read_inputs
from psdt_planner.dossier import load_protocol
from psdt_planner.planning import LesionStatus, PlannedLesion, plan, whole
from psdt_planner.registration import LesionRegistrar

Points = NDArray[np.float64]

LATTICE_MM = 3.0
HU_RANGE = (-300.0, 700.0)
RIM_MM = 60.0
"""How far the MR reaches beyond the CT, so that no sample of a fit leaves it."""

ONE_THREAD = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Placed:
    """Where a method puts one lesion on the CT; None where it puts it nowhere.

    Attributes:
        accepted: False where the method itself holds the lesion. Peers hold nothing.
    """

    place_ct_mm: tuple[float, float, float] | None
    accepted: bool = True


@dataclass(frozen=True)
class Run:
    """One method on one patient.

    Attributes:
        placed: each lesion, in the order of truth.json.
        cpu_s: of all threads and child processes, without reading DICOM.
        parts_s: CPU seconds of psdt's parts, `PARTS`; empty for peers.
    """

    placed: tuple[Placed, ...]
    cpu_s: float
    wall_s: float
    parts_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Pair:
    """The images of one patient for a peer, all in the CT's frame, even and 3 mm.

    Attributes:
        body: 1 in the patient and a rim around: without it a B-spline follows air and couch, and does worse.
    """

    ct: sitk.Image
    t1: sitk.Image
    body: sitk.Image


def sitk_rigid(pair: Pair) -> sitk.Transform:
    """SimpleITK: Mattes mutual information, two levels, regular-step gradient descent."""
    method = _sitk_method()
    method.SetMetricSamplingPercentage(0.1, 1)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 60, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([3, 1.5])
    transform = sitk.Euler3DTransform()
    transform.SetCenter(pair.ct.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in pair.ct.GetSize()]))
    method.SetInitialTransform(transform)
    method.Execute(pair.ct, pair.t1)
    return transform


def sitk_bspline(pair: Pair) -> sitk.Transform:
    """SimpleITK: the rigid fit, then a B-spline of 110 mm and 55 mm by LBFGS2."""
    rigid = sitk_rigid(pair)
    size_mm = np.array(pair.ct.GetSize()) * LATTICE_MM
    spline = sitk.BSplineTransformInitializer(pair.ct, np.maximum(1, np.round(size_mm / 110.0)).astype(int).tolist(), 3)
    method = _sitk_method()
    method.SetMetricSamplingPercentage(0.1, 1)
    method.SetOptimizerAsLBFGS2(solutionAccuracy=1e-5, numberOfIterations=15, deltaConvergenceTolerance=1e-5)
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([3, 1.5])
    method.SetMovingInitialTransform(rigid)
    method.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=[1, 2])
    method.SetMetricFixedMask(pair.body)
    method.Execute(pair.ct, pair.t1)
    return sitk.CompositeTransform([rigid, spline])


def _sitk_method() -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetInterpolator(sitk.sitkLinear)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def plastimatch(pair: Pair) -> sitk.Transform:
    """Plastimatch: rigid, then B-spline of 100 mm and 50 mm, both by mutual information."""
    with tempfile.TemporaryDirectory(prefix="psdt-bench-plastimatch-") as name:
        folder = _written(pair, Path(name))
        (folder / "parms.txt").write_text(PLASTIMATCH)
        _call(["plastimatch", "register", "parms.txt"], folder)
        return _field(folder / "field.mha")


PLASTIMATCH = """
[GLOBAL]
fixed=ct.mha
moving=t1.mha
fixed_roi=body.mha
vf_out=field.mha

[STAGE]
xform=rigid
optim=versor
impl=itk
metric=mattes
max_its=100
max_step=4
min_step=0.02
res=2 2 2

[STAGE]
xform=bspline
optim=lbfgsb
impl=plastimatch
metric=mi
max_its=40
grid_spac=100 100 100
res=2 2 2

[STAGE]
xform=bspline
optim=lbfgsb
impl=plastimatch
metric=mi
max_its=40
grid_spac=50 50 50
res=1 1 1
"""


def elastix(pair: Pair) -> sitk.Transform:
    """Elastix: rigid, then B-spline of 32 mm, both by mutual information with its adaptive gradient descent."""
    with tempfile.TemporaryDirectory(prefix="psdt-bench-elastix-") as name:
        folder = _written(pair, Path(name))
        (folder / "rigid.txt").write_text(
            ELASTIX + '(Transform "EulerTransform")\n(AutomaticScalesEstimation "true")\n'
        )
        (folder / "bspline.txt").write_text(
            ELASTIX + '(Transform "BSplineTransform")\n(FinalGridSpacingInPhysicalUnits 32.0)\n'
        )
        images = ["-f", "ct.mha", "-m", "t1.mha", "-fMask", "body.mha"]
        _call(["elastix", *images, "-p", "rigid.txt", "-p", "bspline.txt", "-out", ".", "-threads", "1"], folder)
        _call(["transformix", "-def", "all", "-tp", "TransformParameters.1.txt", "-out", ".", "-threads", "1"], folder)
        return _field(folder / "deformationField.mha")


ELASTIX = """
(FixedInternalImagePixelType "float")
(MovingInternalImagePixelType "float")
(UseDirectionCosines "true")
(Registration "MultiResolutionRegistration")
(Interpolator "LinearInterpolator")
(ResampleInterpolator "FinalBSplineInterpolator")
(FinalBSplineInterpolationOrder 1)
(Resampler "DefaultResampler")
(FixedImagePyramid "FixedSmoothingImagePyramid")
(MovingImagePyramid "MovingSmoothingImagePyramid")
(Optimizer "AdaptiveStochasticGradientDescent")
(Metric "AdvancedMattesMutualInformation")
(NumberOfHistogramBins 32)
(NumberOfResolutions 3)
(MaximumNumberOfIterations 500)
(ImageSampler "RandomCoordinate")
(NumberOfSpatialSamples 3000)
(NewSamplesEveryIteration "true")
(RandomSeed 1)
(HowToCombineTransforms "Compose")
(AutomaticTransformInitialization "false")
(WriteResultImage "false")
(ResultImageFormat "mha")
"""


def ants_syn(pair: Pair) -> sitk.Transform:
    """ANTs: rigid, affine and SyN by mutual information."""
    ants = importlib.import_module("ants")
    with tempfile.TemporaryDirectory(prefix="psdt-bench-ants-") as name:
        folder = _written(pair, Path(name))
        fixed, moving = (ants.image_read(str(folder / file)) for file in ("ct.mha", "t1.mha"))
        found = ants.registration(
            fixed,
            moving,
            type_of_transform="SyNRA",
            syn_metric="mattes",
            mask=ants.image_read(str(folder / "body.mha")),
            outprefix=str(folder / "ants_"),
            singleprecision=True,
            random_seed=1,
        )
        warp, *linear = found["fwdtransforms"]
        return sitk.CompositeTransform([*(sitk.ReadTransform(path) for path in reversed(linear)), _field(Path(warp))])


def _written(pair: Pair, folder: Path) -> Path:
    sitk.WriteImage(pair.ct, str(folder / "ct.mha"))
    sitk.WriteImage(pair.t1, str(folder / "t1.mha"))
    sitk.WriteImage(pair.body, str(folder / "body.mha"))
    return folder


def _field(path: Path) -> sitk.Transform:
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:] or done.stdout[-500:]}")


def inverted(moved_from_fixed: sitk.Transform, places_mm: Points) -> Points:
    """``(N, 3)``, the points that a transform near the identity takes to places.

    Half a step at a time: converges wherever tissue is stretched to less than four times its size.

    Raises:
        RuntimeError: no such points are found: the transform folds.
    """
    found = places_mm.copy()
    for _ in range(200):
        rest = places_mm - np.array([moved_from_fixed.TransformPoint(point.tolist()) for point in found])
        found += 0.5 * rest
        if np.abs(rest).max() < 1e-3:
            return found
    raise RuntimeError("a transform that cannot be inverted")


PEERS: dict[str, Callable[[Pair], sitk.Transform]] = {
    "SimpleITK rigid": sitk_rigid,
    "SimpleITK B-spline": sitk_bspline,
    "plastimatch B-spline": plastimatch,
    "elastix B-spline": elastix,
    "ANTs SyN": ants_syn,
}
OURS = "psdt"


def absent() -> Iterator[tuple[str, str]]:
    """The peers that cannot run here, and what is missing."""
    if shutil.which("plastimatch") is None:
        yield "plastimatch B-spline", "the program plastimatch is not on the PATH"
    if shutil.which("elastix") is None or shutil.which("transformix") is None:
        yield "elastix B-spline", "the program elastix is not on the PATH"
    if importlib.util.find_spec("ants") is None:
        yield "ANTs SyN", "the package antspyx is not importable"


def run_apart(method: str, folder: Path, cores: int) -> Run:
    """One method on the patient of a folder, in a process of its own, on so many cores.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    command = [sys.executable, "-m", "benchmarks.mapping_methods", method, str(folder), str(cores)]
    environment = os.environ if method == OURS else {**os.environ, **ONE_THREAD}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{method} on {folder.name}: {done.stderr[-800:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    placed = tuple(Placed(p["place_ct_mm"] and tuple(p["place_ct_mm"]), p["accepted"]) for p in told.pop("placed"))
    return Run(placed, **told)


def _used_cpu_s() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _run_peer(method: str, folder: Path, truth: dict[str, Any]) -> Run:
    ct, t1 = _series(folder / "ct"), _series(folder / "mr" / "t1")
    cpu_s, wall_s = _used_cpu_s(), time.perf_counter()
    ct_from_mr = np.array(truth["ct_from_mr"])
    found = PEERS[method](laid_on(ct, t1, ct_from_mr))
    cpu_s, wall_s = _used_cpu_s() - cpu_s, time.perf_counter() - wall_s
    places = (
        np.array([lesion["centre_mr_mm"] for lesion in truth["lesions"]]) @ ct_from_mr[:3, :3].T + ct_from_mr[:3, 3]
    )
    return Run(tuple(Placed(tuple(place)) for place in inverted(found, places).tolist()), cpu_s, wall_s)


def laid_on(ct: sitk.Image, t1: sitk.Image, ct_from_mr: Points) -> Pair:
    """Both on even lattices along the CT's axes, the T1 through a rigid ``(4, 4)`` and `RIM_MM` beyond the CT."""
    back = sitk.AffineTransform(3)
    matrix = np.linalg.inv(ct_from_mr)
    back.SetMatrix(matrix[:3, :3].ravel().tolist())
    back.SetTranslation(matrix[:3, 3].tolist())
    clamped = sitk.Clamp(ct, sitk.sitkFloat32, *HU_RANGE)
    even_ct = _even(clamped, ct, 0.0, sitk.Transform(), HU_RANGE[0])
    return Pair(even_ct, _even(t1, ct, RIM_MM, back, 0.0), _body(even_ct))


def _body(ct: sitk.Image) -> sitk.Image:
    dense = sitk.BinaryMorphologicalOpening(ct > HU_RANGE[0] + 10.0, [1] * 3)
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(dense)) == 1
    return sitk.BinaryDilate(largest, [2] * 3)


def _even(
    image: sitk.Image, around: sitk.Image, rim_mm: float, transform: sitk.Transform, outside: float
) -> sitk.Image:
    """The image through a transform on a lattice over another one's extent and a rim."""
    sides_mm = [n * step + 2 * rim_mm for n, step in zip(around.GetSize(), around.GetSpacing(), strict=True)]
    corner = around.TransformContinuousIndexToPhysicalPoint([-rim_mm / step for step in around.GetSpacing()])
    size = [int(side / LATTICE_MM) for side in sides_mm]
    direction = around.GetDirection()
    return sitk.Resample(image, size, transform, sitk.sitkLinear, corner, [LATTICE_MM] * 3, direction, outside)


def _series(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.Cast(reader.Execute(), sitk.sitkFloat32)


def _run_ours(folder: Path, truth: dict[str, Any], cores: int) -> Run:
    exam = read_inputs([folder / part for part in ("ct", "mr", "flags", "organs")]).exam
    protocol = load_protocol(None)
    parts_s = dict.fromkeys(PARTS, 0.0)
    begin_s, wall_s = _used_cpu_s(), time.perf_counter()
    with ExitStack() as patched:
        for part, (room, name) in PARTS.items():
            patched.enter_context(patch.object(room, name, _timed(getattr(room, name), part, parts_s)))
        made = plan(exam, protocol, threads=cores)
    cpu_s, wall_s = _used_cpu_s() - begin_s, time.perf_counter() - wall_s
    by_uid = {lesion.flag.tracking_uid: lesion for lesion in made.lesions}
    placed = tuple(_placed(by_uid[true["tracking_uid"]], true) for true in truth["lesions"])
    return Run(placed, cpu_s, wall_s, parts_s)


PARTS = {
    "whole body": (whole, "register_case"),
    "level check": (whole, "check_levels"),
    "fits": (LesionRegistrar, "register"),
}
"""What the CPU time of psdt goes to, and what does it. Right on one core, where nothing else runs beside it."""


def _timed(function: Callable[..., Any], part: str, parts_s: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*given: Any, **named: Any) -> Any:
        before_s = _used_cpu_s()
        found = function(*given, **named)
        parts_s[part] += _used_cpu_s() - before_s
        return found

    return timed


def _placed(lesion: PlannedLesion, true: dict[str, Any]) -> Placed:
    """Where the lesion's true place on T1 lands."""
    if lesion.mapped is None:
        return Placed(None, accepted=False)
    x, y, z = lesion.mapped.anatomical_ct_from_mr.apply(np.array(true["centre_mr_mm"])).tolist()
    return Placed((x, y, z), lesion.status is LesionStatus.MAPPED)


def main() -> None:
    """``METHOD FOLDER CORES``, as `run_apart` calls it: the run as one line of JSON."""
    method, folder, cores = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    done = _run_ours(folder, truth, cores) if method == OURS else _run_peer(method, folder, truth)
    print(json.dumps(asdict(done)))


if __name__ == "__main__":
    main()
