"""Vertebrae whose six sectors are known because they were built of them: in a CT, with neighbours, ribs and a canal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.structures import Part
from tests.structures.bodies import CORTEX, MARROW, TISSUE
from tests.structures.scenes import ct_grid

EVERY_MM = tuple(2.5 * k for k in range(46))

SHELL_MM = 1.6
"""Thickness of the cortex."""


@dataclass(frozen=True)
class Form:
    """Sizes of a vertebra in mm, by (up, back, left) from the middle of its body."""

    level: str
    height: float
    width: float
    depth: float
    canal: float
    tip: tuple[float, float]
    """Tip of the spinous process: up (negative: below) and back."""
    process: tuple[float, float, float]
    """Tip of the left transverse process: up, back and left."""
    tilt: float = 0.0
    """Degrees by which both end plates lean to the side, the upper one to the left: a wedge of scoliosis."""

    @property
    def wall(self) -> float:
        return self.depth / 2

    @property
    def behind(self) -> float:
        return self.wall + self.canal

    @property
    def middle(self) -> float:
        return self.wall + self.canal / 2

    @property
    def landmarks(self) -> dict[str, tuple[float, float, float]]:
        up, back, left = self.process
        return {
            "Top": (self.height / 2, 0, 0),
            "Low": (-self.height / 2, 0, 0),
            "Left": (0, 0, self.width / 2),
            "Right": (0, 0, -self.width / 2),
            "CanF": (0, self.wall, 0),
            "CanB": (self.lamina_up, self.behind, 0),
            "TrL": (up, back, left),
            "TrR": (up, back, -left),
            "Spin": (*self.tip, 0),
        }

    @property
    def lamina_up(self) -> float:
        return -0.2 * self.height


LUMBAR = Form("L3", 26, 44, 32, 16, tip=(-8, 64), process=(1, 20, 40))
THORACIC = Form("T8", 19, 30, 28, 15, tip=(-30, 62), process=(3, 38, 31))

Solid = NDArray[np.float64]
"""Distance within a solid in mm, positive inside."""


def _rod(points: Points, a: ArrayLike, b: ArrayLike, radii: tuple[float, float]) -> Solid:
    """A rod from a to b, as thick as an ellipse of two radii: up and down, and across."""
    start, end = np.asarray(a, float), np.asarray(b, float)
    way = end - start
    along = np.clip((points - start) @ way / (way @ way), 0.0, 1.0)
    away = points - start - along[..., None] * way
    across = np.hypot(away[..., 1], away[..., 2])
    return np.asarray((1.0 - np.hypot(away[..., 0] / radii[0], across / radii[1])) * min(radii))


def solids(form: Form, points: Points) -> dict[str, Solid]:
    """The parts of a vertebra at points ``(..., 3)`` of (up, back, left); they overlap where they meet."""
    up, back, left = np.moveaxis(points, -1, 0)
    lean = np.tan(np.radians(form.tilt))
    ends = np.minimum(form.height / 2 + lean * left - up, up + form.height / 2 + lean * left)
    round_ = (1.0 - np.hypot(back / (form.depth / 2), left / (form.width / 2))) * form.depth / 2
    top, beside = form.height * 0.12, form.width * 0.3
    made = {"body": np.minimum(ends, round_)}
    made["spinous"] = _rod(points, (form.lamina_up, form.behind + 4, 0), (*form.tip, 0), (6.0, 3.5))
    for side, sign in (("L", 1.0), ("R", -1.0)):
        tip = np.array(form.process) * (1, 1, sign)
        corner = (top * 0.5, form.middle, sign * beside)
        made[f"pedicle {side}"] = _rod(points, (top, form.wall - 4, sign * beside), corner, (6.0, 4.0))
        lamina = _rod(points, corner, (form.lamina_up, form.behind + 4, 0), (7.0, 3.5))
        made[f"lamina {side}"] = np.maximum(lamina, _rod(points, corner, tip, (5.0, 4.0)))
    return made


def truth(form: Form, points: Points) -> dict[Part, NDArray[np.bool_]]:
    """Which points ``(..., 3)`` each sector holds: planes through the canal's front wall and its middle part them."""
    made = solids(form, points)
    _, back, left = np.moveaxis(points, -1, 0)
    bone = np.max(list(made.values()), axis=0) > 0
    body = bone & (back < form.wall)
    spin, arm = np.array([form.tip[1] - form.behind, 0.0]), np.array(form.process[1:]) - (form.behind, 0.0)
    across = spin / np.linalg.norm(spin) - arm / np.linalg.norm(arm)
    spinous = bone & ((back - form.behind) * across[0] + np.abs(left) * across[1] > 0)
    parts = {Part(form.level, "body"): body, Part(form.level, "spinous"): spinous}
    for side, sign in (("L", 1.0), ("R", -1.0)):
        here = bone & ~spinous & ~body & (sign * left > 0)
        within = sign * left < form.width / 2 + 2.0
        pedicle = here & within & (back < form.middle)
        parts[Part(form.level, "pedicle", side)] = pedicle
        parts[Part(form.level, "lamina", side)] = here & ~pedicle
    return parts


@dataclass(frozen=True, eq=False)
class Standing:
    """A vertebra where it stands in the patient.

    Attributes:
        form: its sizes.
        turn: from its own (up, back, left) with no turn, which are the patient's, to the patient.
        centre_mm: of its body.
    """

    form: Form
    turn: Rotation
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def own(self, points_mm: Points) -> Points:
        """By its own axes (up, back, left)."""
        return np.asarray(self.turn.inv().apply((points_mm - self.centre_mm).reshape(-1, 3))[:, ::-1]).reshape(
            points_mm.shape
        )

    def patient(self, own: ArrayLike) -> Points:
        """A point of its own axes in the patient's coordinates."""
        return np.asarray(self.turn.apply(np.asarray(own, float)[..., ::-1]) + self.centre_mm)

    def landmarks(self) -> dict[str, Points]:
        return {name: self.patient(at) for name, at in self.form.landmarks.items()}


def neighbours(one: Standing, gap_mm: float = 6.0) -> Iterator[Standing]:
    """The vertebrae above and below, of the same form."""
    for sign in (1.0, -1.0):
        centre = one.patient((sign * (one.form.height + gap_mm), 0.0, 0.0))
        yield Standing(one.form, one.turn, tuple(centre))


def _ribs(one: Standing, points: Points) -> Iterator[Solid]:
    """From beside the body to the front of the tip of each transverse process, and on outwards."""
    up, back, left = one.form.process
    for sign in (1.0, -1.0):
        head, neck = (4, one.form.wall - 2, sign * (one.form.width / 2 + 4.5)), (up, back - 14, sign * (left + 4))
        yield _rod(points, head, neck, (5.0, 4.0))
        yield _rod(points, neck, (up - 5, back - 10, sign * (left + 25)), (5.0, 4.0))


def ct_with(*standing: Standing, position: str = "HFS", ribs: bool = False, offsets_mm: ArrayLike = EVERY_MM) -> Volume:
    """A CT of vertebrae with cortex and marrow in soft tissue, on voxels of 1.2 x 1 mm."""
    grid = ct_grid(
        position=position, spacing_ji_mm=(1.2, 1.0), offsets_mm=offsets_mm, shape_ji=(110, 120), centre_mm=(0, 22, -4)
    )
    hu = np.full(grid.shape, TISSUE, dtype=np.float32)
    points_mm = grid.centres_mm()
    for one in standing:
        own = one.own(points_mm)
        made = [*solids(one.form, own).values(), *(_ribs(one, own) if ribs else ())]
        deep = np.max(made, axis=0)
        # The share of a voxel that a plane leaves to the bone, where the distance falls so much across the voxel.
        fall = np.maximum(sum(np.abs(np.gradient(deep, axis=axis)) for axis in range(3)), 0.1)
        part, inner = (np.clip((deep - shell) / fall + 0.5, 0.0, 1.0) for shell in (0.0, SHELL_MM))
        bone = CORTEX + inner * (MARROW - CORTEX)
        hu = np.where(part > 0, (1 - part) * hu + part * bone, hu).astype(np.float32)
    return Volume(grid, hu, Quantity(Kind.PLANNING_CT, "HU"), "1.9.1")


def truth_on(one: Standing, lattice: Grid) -> Mapping[Part, NDArray[np.bool_]]:
    return truth(one.form, one.own(lattice.centres_mm()))
