"""A deformable registration as it came: a grid of vectors between two frames, and what of it is locally rigid.

DICOM (PS3.3 C.20.3) lays the grid in the object's own frame, the *Registered RCS*, and says where a point of it is
sampled in the other frame, the *Source RCS*. psdt names transforms by where they lead, as `Rigid` does: a `Deformation`
takes points of the object's frame (here ``source``) to the frame that DICOM calls Source (here ``target``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from psdt_planner.errors import FrameError, GeometryError
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Grid, Points, Rigid

AROUND_MM = 20.0
"""Radius of the ball in which a deformation is taken for rigid: it holds most lesions, and the bone next to them."""

MOST_RESIDUAL_MM = 3.0
"""How far, within that ball, a rigid transform may lie from the field: a strain of 15 %. Bone has none, and tissue that
is stretched further has no rigid transform worth the name."""

BALL_STEP_MM = (1.0, 4.0)
"""Least and greatest distance of the points in the ball; between them, the grid's own smallest step."""

INVERSE_TOLERANCE_MM = 1e-4
NEWTON_STEPS = 60
START_NODES = 20_000
"""Nodes among which the start of an inversion is looked up."""

LEAST_SLOPE = 1e-6
"""Volume to which the field may shrink one, for a Newton step to make use of its slope."""

ON_EDGE = 1e-6
"""How far, in voxels, a point may lie outside the outermost vectors by rounding."""

FEWEST_POINTS = 4


class DeformationError(GeometryError):
    """Around a place the field tells no rigid transform; ``finding`` says it with its code."""

    def __init__(self, code: str, message: str, value: float | None = None, limit: float | None = None) -> None:
        super().__init__(message)
        self.code, self.value, self.limit = code, value, limit

    def finding(self, lesion: str = "") -> Finding:
        """The same as a finding at level hold, of a lesion or of the case."""
        message = f"{lesion}: {self.message}" if lesion else self.message
        unit = "mm" if self.value is not None else ""
        return Finding(self.code, Level.HOLD, message, Who.SENDER, self.value, self.limit, unit, lesion)


@dataclass(frozen=True, eq=False)
class LocalRigid:
    """The rigid transform nearest to a field over some points, and the greatest distance between the two there."""

    rigid: Rigid
    residual_mm: float


@dataclass(frozen=True, eq=False)
class Deformation:
    """``post @ (pre @ x + vector(x))``: points of the ``source`` frame to the ``target`` frame (Equation C.20.3-1).

    Between the vectors it is trilinear. Where the grid ends, or a vector is undefined (NaN), nothing is defined; there
    is no extrapolation.

    Attributes:
        grid: even lattice of the vectors, in the ``source`` frame (DICOM: the object's own).
        vectors_mm: ``float32`` of shape ``(*grid.shape, 3)``; components along L, P and S, added after ``pre``; NaN
            where undefined; made read-only here.
        pre, post: ``(4, 4)`` affine, in mm.
        target: Frame of Reference UID (DICOM: Source Frame of Reference UID).

    Raises:
        GeometryError: shapes that do not match, a grid of one vector along an axis or of uneven slices, infinite or no
            vectors, matrices that are not affine, singular or mirrored, or one frame on both sides.
    """

    grid: Grid
    vectors_mm: NDArray[np.float32]
    pre: Points
    post: Points
    target: str

    def __post_init__(self) -> None:
        for name, kind in (("vectors_mm", np.float32), ("pre", np.float64), ("post", np.float64)):
            array = np.asarray(getattr(self, name), dtype=kind).view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.vectors_mm.shape != (*self.grid.shape, 3) or min(self.grid.shape) < 2 or not self.grid.is_even:
            raise GeometryError("vectors that make no even grid of at least two along each axis", where=self.source)
        if np.isinf(self.vectors_mm).any() or np.isnan(self.vectors_mm).all():
            raise GeometryError("vectors that are infinite, or none that is defined", where=self.source)
        for matrix in (self.pre, self.post):
            sound = matrix.shape == (4, 4) and np.isfinite(matrix).all() and (matrix[3] == [0, 0, 0, 1]).all()
            if not sound or np.linalg.det(matrix[:3, :3]) <= 0:
                raise GeometryError("a matrix beside the vectors is singular, mirrored or not affine")
        if self.source == self.target or not self.target:
            raise GeometryError("a deformation needs two frames of reference", where=self.source)

    @property
    def source(self) -> str:
        """Frame of Reference UID of the grid."""
        return self.grid.frame

    def apply(self, points_mm: ArrayLike) -> Points:
        """Points ``(..., 3)`` of the source frame in mm of the target frame; NaN, as DICOM has it, where undefined."""
        points = np.asarray(points_mm, dtype=np.float64)
        vectors, _ = self._sampled(points)
        return _affine(self.post, _affine(self.pre, points) + vectors)

    def jacobian(self, points_mm: ArrayLike) -> Points:
        """``(..., 3, 3)``, derivative of `apply`, at points of the source frame; NaN where undefined."""
        _, slopes = self._sampled(np.asarray(points_mm, dtype=np.float64))
        kji_from_mm = np.linalg.inv(self.grid.mm_from_kji[:3, :3])
        return np.asarray(self.post[:3, :3] @ (self.pre[:3, :3] + slopes @ kji_from_mm))

    def unapply(self, points_mm: ArrayLike) -> Points:
        """Points ``(..., 3)`` of the target frame in mm of the source frame; NaN where no point leads there.

        Damped Newton steps from the nearest of the mapped vectors, until `apply` leads back to
        `INVERSE_TOLERANCE_MM`. Where the field folds, one of several answers.
        """
        wanted = np.asarray(points_mm, dtype=np.float64)
        flat = wanted.reshape(-1, 3)
        nodes, tree = self._mapped_nodes
        at = nodes[tree.query(flat)[1]]
        off = self.apply(at) - flat
        damping = np.ones((len(flat), 1))
        for _ in range(NEWTON_STEPS):
            trial = self._into_grid(at - damping * self._newton(at, off))
            trial_off = self.apply(trial) - flat
            better = (np.linalg.norm(trial_off, axis=1) < np.linalg.norm(off, axis=1))[:, None]
            at, off = np.where(better, trial, at), np.where(better, trial_off, off)
            damping = np.where(better, 1.0, damping / 2.0)
            if np.linalg.norm(off, axis=1).max(initial=0.0) <= INVERSE_TOLERANCE_MM / 10.0:
                break
        led_back = np.linalg.norm(off, axis=1, keepdims=True) <= INVERSE_TOLERANCE_MM
        at = np.where(led_back, at, np.nan)
        return np.asarray(at.reshape(wanted.shape))

    def carried(self, points_mm: ArrayLike, frame: str) -> Points:
        """Points ``(..., 3)`` of either frame in mm of the other one; NaN where undefined.

        Raises:
            FrameError: a third frame.
        """
        if frame not in (self.source, self.target):
            raise FrameError(f"points of frame {frame} in a deformation of {self.target} from {self.source}")
        return self.apply(points_mm) if frame == self.source else self.unapply(points_mm)

    def rigid_around(self, place_mm: ArrayLike, frame: str, radius_mm: float = AROUND_MM) -> LocalRigid:
        """The rigid transform from ``frame`` to the other one, nearest to the field around a place ``(3,)`` of it.

        Least squares over a ball of the grid's frame.

        Raises:
            DeformationError: ``registration-outside-grid``, the ball is not wholly inside the defined vectors;
                ``registration-folds``, the field turns inside out in it; ``registration-not-locally-rigid``, the rigid
                transform lies more than `MOST_RESIDUAL_MM` from the field.
            FrameError: a third frame.
        """
        place = np.asarray(place_mm, dtype=np.float64)
        centre = place if frame == self.source else self.carried(place, frame)
        here = centre + _ball(radius_mm, float(np.clip(min(self.grid.spacing_kji_mm), *BALL_STEP_MM)))
        there = self.carried(here, self.source)
        slopes = self.jacobian(here)
        if not (np.isfinite(there).all() and np.isfinite(slopes).all()):
            message = f"the deformable registration is not defined everywhere within {radius_mm:g} mm of it"
            raise DeformationError("registration-outside-grid", message)
        if np.linalg.det(slopes).min() <= 0:
            message = f"the deformable registration turns tissue inside out within {radius_mm:g} mm of it"
            raise DeformationError("registration-folds", message)
        found = self._nearest_rigid(here, there, frame)
        if found.residual_mm > MOST_RESIDUAL_MM:
            message = f"the deformable registration bends by {found.residual_mm:.1f} mm within {radius_mm:g} mm of it"
            raise DeformationError("registration-not-locally-rigid", message, found.residual_mm, MOST_RESIDUAL_MM)
        return found

    def rigid_over(self, points_mm: Points, frame: str) -> LocalRigid:
        """The rigid transform from ``frame`` to the other one nearest to the field over points ``(N, 3)`` of it.

        Points where the field is undefined are left out.

        Raises:
            DeformationError: ``registration-outside-grid``, fewer than four points are left.
            FrameError: a third frame.
        """
        there = self.carried(points_mm, frame)
        kept = np.isfinite(there).all(axis=1)
        if kept.sum() < FEWEST_POINTS:
            message = "the deformable registration is defined nowhere in the planning CT"
            raise DeformationError("registration-outside-grid", message)
        here, there = np.asarray(points_mm)[kept], there[kept]
        return self._nearest_rigid(*((here, there) if frame == self.source else (there, here)), frame)

    def then(self, rigid: Rigid) -> Deformation:
        """This deformation, and a rigid transform after it.

        Raises:
            FrameError: it does not start where this one ends.
        """
        if rigid.source != self.target:
            raise FrameError(f"cannot compose across a frame gap: {rigid.source} is not {self.target}")
        return Deformation(self.grid, self.vectors_mm, self.pre, rigid.matrix @ self.post, rigid.target)

    def after(self, rigid: Rigid) -> Deformation:
        """A rigid transform, and this deformation after it: the grid moves to where the rigid one comes from.

        Raises:
            FrameError: it does not end where this one starts.
        """
        if rigid.target != self.source:
            raise FrameError(f"cannot compose across a frame gap: {self.source} is not {rigid.target}")
        matrix = rigid.inverse().matrix @ self.grid.mm_from_kji
        grid = Grid.regular(matrix, self.grid.shape, rigid.source)
        return Deformation(grid, self.vectors_mm, self.pre @ rigid.matrix, self.post, self.target)

    def _sampled(self, points_mm: Points) -> tuple[Points, Points]:
        """The vector at points ``(..., 3)``, and its derivative by the index k, j, i ``(..., 3, 3)``."""
        index = self.grid.index_from_mm(points_mm)
        last = np.array(self.grid.shape) - 1
        inside = np.asarray(np.all((index >= -ON_EDGE) & (index <= last + ON_EDGE), axis=-1))
        low = np.clip(np.floor(np.where(inside[..., None], index, 0.0)), 0, last - 1).astype(int)
        part = np.clip(np.where(inside[..., None], index, 0.0) - low, 0.0, 1.0)
        value = np.zeros(points_mm.shape)
        slope = np.zeros((*points_mm.shape, 3))
        for corner in product((0, 1), repeat=3):
            vectors = self.vectors_mm[tuple(np.moveaxis(low + corner, -1, 0))].astype(np.float64)
            weights = np.where(corner, part, 1.0 - part)
            weight = weights.prod(axis=-1)[..., None]
            value += np.where(weight > 0, weight * vectors, 0.0)
            for axis, ahead in enumerate(corner):
                others = np.delete(weights, axis, axis=-1).prod(axis=-1)[..., None]
                slope[..., axis] += (1.0 if ahead else -1.0) * others * vectors
        value[~inside], slope[~inside] = np.nan, np.nan
        return value, slope

    def _newton(self, at: Points, off: Points) -> Points:
        """The step that would undo ``off`` were the field linear; by the matrices alone where it cannot be told."""
        slopes = self.jacobian(at)
        alone = self.post[:3, :3] @ self.pre[:3, :3]
        defined = np.asarray(np.isfinite(slopes).all(axis=(1, 2)))[:, None, None]
        slopes = np.where(defined, slopes, alone)
        steep = np.asarray(np.abs(np.linalg.det(slopes)) > LEAST_SLOPE)[:, None, None]
        slopes = np.where(steep, slopes, alone)
        return np.asarray(np.linalg.solve(slopes, off[..., None])[..., 0])

    def _into_grid(self, points_mm: Points) -> Points:
        index = np.clip(self.grid.index_from_mm(points_mm), 0.0, np.array(self.grid.shape) - 1.0)
        return self.grid.mm_from_index(index)

    @cached_property
    def _mapped_nodes(self) -> tuple[Points, cKDTree]:
        """Some of the grid's points where it is defined, and a tree of where they lead."""
        stride = max(1, int(np.ceil((np.prod(self.grid.shape) / START_NODES) ** (1 / 3))))
        axes = [np.unique(np.append(np.arange(0, n, stride), n - 1)) for n in self.grid.shape]
        nodes = self.grid.mm_from_index(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3))
        mapped = self.apply(nodes)
        kept = np.isfinite(mapped).all(axis=1)
        if not kept.any():  # defined vectors, but none of those looked at
            nodes = self.grid.mm_from_index(np.argwhere(np.isfinite(self.vectors_mm).all(axis=-1)))
            mapped, kept = self.apply(nodes), np.ones(len(nodes), dtype=bool)
        return nodes[kept], cKDTree(mapped[kept])

    def _nearest_rigid(self, here: Points, there: Points, frame: str) -> LocalRigid:
        """From pairs of points of the source and the target frame; leads from ``frame`` to the other one."""
        if frame == self.source:
            return nearest_rigid(there, here, self.target, self.source)
        return nearest_rigid(here, there, self.source, self.target)


def nearest_rigid(target_mm: Points, source_mm: Points, target: str, source: str) -> LocalRigid:
    """The rigid ``target_from_source`` of least squares between pairs of points ``(N, 3)`` (Kabsch), and the greatest
    distance that it leaves."""
    centre_target, centre_source = target_mm.mean(axis=0), source_mm.mean(axis=0)
    rotation = Rotation.align_vectors(target_mm - centre_target, source_mm - centre_source)[0].as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, centre_target - rotation @ centre_source
    rigid = Rigid(matrix, target, source)
    return LocalRigid(rigid, float(np.linalg.norm(rigid.apply(source_mm) - target_mm, axis=1).max()))


def _affine(matrix: Points, points_mm: Points) -> Points:
    return np.asarray(points_mm @ matrix[:3, :3].T + matrix[:3, 3])


def _ball(radius_mm: float, step_mm: float) -> Points:
    """Points ``(N, 3)`` of a cubic lattice around zero, within a radius."""
    ahead = np.arange(step_mm, radius_mm + step_mm / 2, step_mm)
    axis = np.concatenate([-ahead[::-1], [0.0], ahead])
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(points[np.linalg.norm(points, axis=1) <= radius_mm])
