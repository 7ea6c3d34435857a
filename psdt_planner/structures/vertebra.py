"""The sectors of a vertebra from nine landmarks and the bone of the planning CT.

The landmarks part space, the CT says what of it is bone. By the vertebra's own axes: the body lies before the front
wall of the canal, and is what its cortex spans; the pedicles lie from there to the middle of the canal, within the
sides of the body; behind, and beside the pedicles, lie the laminae with their transverse processes; the spinous process
is what lies nearer to the direction of its tip than to that of a transverse process, as seen from the back wall of the
canal. Upper and lower ends follow the slope of the spinous process, one vertebra's height apart. The sectors are those
of Cox et al. 2012; where they meet is project-derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from psdt_planner.geometry import Grid
from psdt_planner.images import Volume
from psdt_planner.shapes import Shape
from psdt_planner.structures.bone import BONE_HU, bone_level, closed, filled
from psdt_planner.structures.fields import Field, Mask, volume_ml
from psdt_planner.structures.landmarks import Vertebra
from psdt_planner.structures.sectors import Part

STEP_MM: Final = 0.8
"""Of the lattice that a vertebra is looked at on."""

BORDER_MM: Final = 5.0
"""How far the lattice reaches beyond the landmarks."""

END_MM: Final = 3.0
"""How far beyond its end plates' middles a body is looked for: their rims stand higher, and end plates are tilted."""

CLICK_MM: Final = 2.0
"""How far beyond a point on the surface the bone may reach."""

PROCESS_MM: Final = 7.0
"""Half of the thickness of a transverse process: ribs lie in front of it."""

CANAL_MM: Final = 3.0
"""Around the middle of the canal nothing is marrow."""

LEAST_ML: Final = 0.1
"""A sector with less bone was not found."""

BODY_PART: Final = 0.5
"""Part of the elliptic cylinder between the landmarks that the body's bone must span, or no body is there."""

PROCESS_PART: Final = 0.6
"""Part of the way from canal to tip that must run in bone, or the tip is another vertebra's."""


@dataclass(frozen=True, eq=False)
class FoundSectors:
    """The sectors that were found.

    Attributes:
        shapes: those with bone in them.
        against: what the CT says against the landmarks, in words; then there are no shapes.
    """

    shapes: Mapping[Part, Shape]
    against: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Place:
    """A lattice along a vertebra's axes, with its points by them: up, back, left in mm, each ``grid.shape``."""

    grid: Grid
    up: NDArray[np.float64]
    back: NDArray[np.float64]
    left: NDArray[np.float64]


def sectors_of(vertebra: Vertebra, ct: Volume) -> FoundSectors:
    """The sectors of a vertebra whose landmarks do not contradict each other; none where the CT contradicts them."""
    outside = [name for name in vertebra.at if not ct.grid.contains(_point_mm(vertebra, name))]
    if outside:
        return FoundSectors({}, (f"{', '.join(outside)} lie outside the planning CT",))
    place = _place(vertebra, ct.grid.frame)
    hu = ndimage.map_coordinates(
        ct.array, np.moveaxis(ct.grid.index_from_mm(place.grid.centres_mm()), -1, 0),
        order=1, mode="constant", cval=-1000.0, output=np.float32,
    )  # fmt: skip
    canal = _beside(place, vertebra) <= CANAL_MM
    bone = filled(closed(hu > BONE_HU, place.grid), place.grid, canal=canal)
    body = _body(hu > BONE_HU, _cell_of_body(place, vertebra), place)
    against = tuple(filter(None, (_no_body(body, place, vertebra), _no_process(bone, place, vertebra))))
    if against:
        return FoundSectors({}, against)
    cells = {Part(vertebra.level, "body"): _cell_of_body(place, vertebra), **_cells_behind(place, vertebra)}
    fields = {part: np.minimum(bone_level(hu, body if part.sector == "body" else bone), cell)
              for part, cell in cells.items()}  # fmt: skip
    found = {part: field for part, field in fields.items() if volume_ml(field > 0, place.grid) >= LEAST_ML}
    return FoundSectors({part: _tight(field, place.grid) for part, field in found.items()})


def _tight(field: Field, lattice: Grid) -> Shape:
    """The shape on the part of the lattice that holds it, with a border that is outside."""
    inside = np.argwhere(field > 0)
    low, high = np.maximum(inside.min(axis=0) - 2, 0), inside.max(axis=0) + 3
    matrix = lattice.mm_from_kji
    matrix[:3, 3] = lattice.mm_from_index(low.astype(float))
    k, j, i = (slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    part = field[k, j, i]
    return Shape(Grid.regular(matrix, (part.shape[0], part.shape[1], part.shape[2]), lattice.frame), part)


def _point_mm(vertebra: Vertebra, name: str) -> NDArray[np.float64]:
    return np.asarray(vertebra.centre_mm + vertebra.at[name] @ vertebra.axes)


def _place(vertebra: Vertebra, frame: str) -> _Place:
    points = np.stack(list(vertebra.at.values()))
    low, high = points.min(axis=0), points.max(axis=0)
    # The front of the body has no landmark: it lies as far before the middle as the canal lies behind it.
    low[1] = -vertebra.at["CanF"][1]
    low[0] -= vertebra.height_mm / 2.0
    high[0] += vertebra.height_mm / 2.0
    low, high = low - BORDER_MM, high + BORDER_MM
    shape = tuple(int(n) for n in np.ceil((high - low) / STEP_MM) + 1)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = vertebra.axes.T * STEP_MM, vertebra.centre_mm + low @ vertebra.axes
    up, back, left = np.moveaxis(low + STEP_MM * np.moveaxis(np.indices(shape), 0, -1), -1, 0)
    return _Place(Grid.regular(matrix, (shape[0], shape[1], shape[2]), frame), up, back, left)


# Cells: distances to their borders in mm, positive inside. ------------------------------------------------------------


def _cell_of_body(place: _Place, vertebra: Vertebra) -> Field:
    wall, half = vertebra.at["CanF"][1], vertebra.height_mm / 2.0
    sides = np.minimum(vertebra.at["Left"][2] - place.left, place.left - vertebra.at["Right"][2]) + CLICK_MM
    depth = np.minimum(wall - place.back, place.back + wall + CLICK_MM)
    return _all(sides, depth, half + END_MM - np.abs(place.up))


def _cells_behind(place: _Place, vertebra: Vertebra) -> dict[Part, Field]:
    """Pedicles, laminae and spinous process, which do not share a point."""
    at = vertebra.at
    wall, middle = at["CanF"][1], vertebra.mid_canal_mm
    centre = (at["CanF"][2] + at["CanB"][2]) / 2.0
    height = vertebra.height_mm / 2.0 - np.abs(place.up - _mid_height(place, vertebra))
    spinous = _of_the_process(place, vertebra)
    cells = {Part(vertebra.level, "spinous"): _all(height, spinous, at["Spin"][1] + CLICK_MM - place.back)}
    for side, sign, flank, process in (("L", 1.0, "Left", "TrL"), ("R", -1.0, "Right", "TrR")):
        beside, width = sign * (place.left - centre), sign * (at[flank][2] - centre)
        tip = sign * (at[process][2] - centre)
        within = width + CLICK_MM - beside
        pedicle = _all(height, place.back - wall, middle - place.back, beside, within)
        # From the side of the body outwards, the way to the tip; its front is the lamina's.
        way = np.clip((beside - width) / max(tip - width, STEP_MM), 0.0, 1.0)
        front = np.where(within > 0, middle, middle + way * (at[process][1] - middle) - PROCESS_MM)
        tall = np.where(within > 0, height, vertebra.height_mm / 2.0 - np.abs(place.up - way * at[process][0]))
        lamina = _all(tall, place.back - front, beside, tip + CLICK_MM - beside, -spinous)
        cells[Part(vertebra.level, "pedicle", side)] = pedicle
        cells[Part(vertebra.level, "lamina", side)] = lamina
    return cells


def _mid_height(place: _Place, vertebra: Vertebra) -> NDArray[np.float64]:
    """Half-way up the vertebra, point by point: level to the middle of the canal, then down with its process."""
    behind = [vertebra.mid_canal_mm, *(vertebra.at[name][1] for name in ("CanB", "Spin"))]
    heights = [0.0, *(vertebra.at[name][0] for name in ("CanB", "Spin"))]
    return np.asarray(np.interp(place.back, behind, heights))


def _of_the_process(place: _Place, vertebra: Vertebra) -> Field:
    """How far within the spinous process, from above: nearer to its direction than to a transverse process's."""
    base = vertebra.at["CanB"][1:]
    ways = {name: vertebra.at[name][1:] - base for name in ("Spin", "TrL", "TrR")}
    ways = {name: way / np.linalg.norm(way) for name, way in ways.items()}
    nearer = []
    for name in ("TrL", "TrR"):
        across = ways["Spin"] - ways[name]
        across = across / np.linalg.norm(across)
        nearer.append((place.back - base[0]) * across[0] + (place.left - base[1]) * across[1])
    return _all(*nearer)


def _beside(place: _Place, vertebra: Vertebra) -> NDArray[np.float64]:
    """Distance from the middle of the canal, as seen from above."""
    aside = (vertebra.at["CanF"][2] + vertebra.at["CanB"][2]) / 2.0
    return np.asarray(np.hypot(place.back - vertebra.mid_canal_mm, place.left - aside))


def _all(*distances: NDArray[np.float64] | Field) -> Field:
    return np.asarray(np.minimum.reduce(distances), dtype=np.float32)


# Bone -----------------------------------------------------------------------------------------------------------------


def _body(dense: Mask, cell: Field, place: _Place) -> Mask:
    """What the body's bone spans, layer by layer: its marrow, and the wall where disease opened it.

    The bone is the largest piece within the cell: a neighbour's rim, beyond the disc, is another.
    """
    inside = cell > 0
    labels, count = ndimage.label(closed(dense & inside, place.grid))
    body = np.zeros(dense.shape, dtype=bool)
    if not count:
        return body
    largest = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    rows, columns = np.indices(dense.shape[1:])
    for k in np.flatnonzero(largest.any(axis=(1, 2))):
        hull = shapely.MultiPoint(np.argwhere(largest[k])).convex_hull.buffer(1e-6)
        body[k] = shapely.contains_xy(hull, rows, columns)
    return body & inside


def _no_body(body: Mask, place: _Place, vertebra: Vertebra) -> str:
    """What the CT says against the body; empty where it shows one."""
    spanned = np.pi / 4.0 * vertebra.width_mm * 2.0 * vertebra.at["CanF"][1] * vertebra.height_mm / 1000.0
    found = volume_ml(body, place.grid)
    if found >= BODY_PART * spanned:
        return ""
    return f"the CT shows {found:.1f} ml of a body where the landmarks span {spanned:.1f} ml"


def _no_process(bone: Mask, place: _Place, vertebra: Vertebra) -> str:
    """What the CT says against the spinous process; empty where bone leads to its tip."""
    near = ndimage.distance_transform_edt(~bone, place.grid.spacing_kji_mm) <= CLICK_MM
    way = np.linspace(_point_mm(vertebra, "CanB"), _point_mm(vertebra, "Spin"), 50)
    k, j, i = np.rint(place.grid.index_from_mm(way)).astype(int).T
    part = float(np.mean(near[k, j, i]))
    if part >= PROCESS_PART:
        return ""
    return f"{100 * (1 - part):.0f} % of the way from CanB to Spin runs outside bone"
