"""One rigid fit by SimpleITK: Mattes mutual information, regular-step gradient descent, several levels, one thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from psdt_planner.geometry import Grid, Points, Rigid
from psdt_planner.registration.sitk_bridge import to_rigid, to_sitk, to_transform

HISTOGRAM_BINS = 32


@dataclass(frozen=True)
class Schedule:
    """How a fit proceeds: one entry a level for shrink factors and smoothing."""

    shrink: tuple[int, ...]
    smooth_mm: tuple[float, ...]
    sampled: float
    learning_rate: float
    least_step: float
    iterations: int


FROM_START = Schedule((2, 1), (5.0, 3.0), 0.15, 4.0, 0.05, 60)
"""From a rough start, on 5 mm lattices."""

WHOLE_BODY = Schedule((2, 1), (3.0, 1.5), 0.10, 2.0, 0.02, 60)
"""The whole body, on 3 mm lattices."""

AROUND_LESION = Schedule((2, 1), (3.0, 1.0), 0.25, 1.5, 0.01, 60)
"""A box around a lesion, on a 2 mm lattice."""


@dataclass(frozen=True, eq=False)
class Image:
    """Numbers on an even grid, with the voxels that may be used (None: all)."""

    grid: Grid
    array: NDArray[np.float32]
    mask: NDArray[np.bool_] | None = None


def fit(fixed: Image, moving: Image, start: Rigid, centre_mm: Points, schedule: Schedule, *, seed: int) -> Rigid:
    """The rigid ``moving_from_fixed`` of greatest mutual information near the start.

    ``start`` is ``moving_from_fixed``; rotations turn around ``centre_mm`` of the fixed frame. Only voxels of the
    masks count. The same input gives the same result: samples are seeded and one thread sums them.

    Raises:
        RuntimeError: from SimpleITK, where the images do not overlap under the start.
    """
    method = _metric(fixed, moving, seed, schedule.sampled)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=schedule.learning_rate,
        minStep=schedule.least_step,
        numberOfIterations=schedule.iterations,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(schedule.shrink))
    method.SetSmoothingSigmasPerLevel(list(schedule.smooth_mm))
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    transform = to_transform(start, centre_mm)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(_image(fixed), _image(moving))
    return to_rigid(transform, moving_frame=moving.grid.frame, fixed_frame=fixed.grid.frame)


def mutual_information(fixed: Image, moving: Image, moving_from_fixed: Rigid, centre_mm: Points) -> float:
    """Mattes mutual information over all usable voxels of the fixed image; larger is better.

    Raises:
        RuntimeError: from SimpleITK, where the images do not overlap.
    """
    method = _metric(fixed, moving, seed=1, sampled=1.0)
    method.SetInitialTransform(to_transform(moving_from_fixed, centre_mm))
    method.SetInterpolator(sitk.sitkLinear)
    return -float(method.MetricEvaluate(_image(fixed), _image(moving)))


def _metric(fixed: Image, moving: Image, seed: int, sampled: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    if sampled < 1.0:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(sampled, seed)
    if fixed.mask is not None:
        method.SetMetricFixedMask(to_sitk(fixed.mask.astype(np.uint8), fixed.grid))
    if moving.mask is not None:
        method.SetMetricMovingMask(to_sitk(moving.mask.astype(np.uint8), moving.grid))
    return method


def _image(image: Image) -> sitk.Image:
    return to_sitk(image.array, image.grid)
