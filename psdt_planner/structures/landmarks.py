"""A vertebra by nine points on the planning CT: their names, the vertebra's own axes, and what speaks against them.

The points are ROIs of type POINT, ``VB_L4_Pt_Top`` and so on. They fix what a vertebra's bone cannot tell by itself:
where the body ends and the pedicles begin, where a lamina ends and the spinous process begins, and where the neighbours
are. Nothing is put right: of points that contradict each other or the patient's axes, none is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from psdt_planner.geometry import Points

NAME = re.compile(r"VB_([CTLS])0?(\d{1,2})_PT_([A-Z]+)", re.IGNORECASE)

POINTS: Final[Mapping[str, str]] = {
    "Top": "middle of the upper end plate",
    "Low": "middle of the lower end plate",
    "Left": "outermost point of the body on the left",
    "Right": "outermost point of the body on the right",
    "CanF": "front wall of the canal, in its middle, at half the height of the body",
    "CanB": "back wall of the canal, in its middle, at half the height of the laminae",
    "TrL": "tip of the left transverse process",
    "TrR": "tip of the right transverse process",
    "Spin": "tip of the spinous process",
}
"""Name and place of every landmark."""

LEVELS: Final = tuple(f"T{n}" for n in range(1, 14)) + tuple(f"L{n}" for n in range(1, 7))
"""Vertebrae, from above, that nine points describe. The transverse processes of the neck lie in front of the laminae
and hold an artery, and the sacrum has its own rules."""

UPRIGHT_COS: Final = 0.5
"""A vertebra is turned against the patient by less than 60 degrees; more is a landmark of another name."""


@dataclass(frozen=True)
class LandmarkName:
    """What the name of a landmark says: level, such as ``L4``, and point, a key of `POINTS` where there is such one."""

    level: str
    point: str

    @property
    def known(self) -> bool:
        """Whether there is such a landmark."""
        return self.level in LEVELS and self.point in POINTS


def landmark_of(roi_name: str) -> LandmarkName | None:
    """The landmark that an ROI of this name is; None for any other name. Case does not matter, ``T4`` is ``T04``."""
    found = NAME.fullmatch(roi_name.strip())
    if not found:
        return None
    region, number, point = found.groups()
    known = {name.casefold(): name for name in POINTS}
    return LandmarkName(f"{region.upper()}{int(number)}", known.get(point.casefold(), point))


@dataclass(frozen=True, eq=False)
class Vertebra:
    """A vertebra with axes of its own: ``(up, back, left)`` in mm from the middle of the body.

    Attributes:
        level: ``L4``.
        axes: ``(3, 3)``, the unit vectors up, back and left in the patient's coordinates, one a row.
        centre_mm: ``(3,)``, half-way between the end plates.
        at: its landmarks, ``(3,)`` each, by its own axes.
    """

    level: str
    axes: Points
    centre_mm: Points
    at: Mapping[str, Points]

    @classmethod
    def of(cls, level: str, points_mm: Mapping[str, Points]) -> Vertebra | None:
        """The vertebra of all nine landmarks; None where end plates or sides coincide, so that it has no axes."""
        up, left = points_mm["Top"] - points_mm["Low"], points_mm["Left"] - points_mm["Right"]
        height = float(np.linalg.norm(up))
        if height == 0.0:
            return None
        up = up / height
        left = left - (left @ up) * up
        width = float(np.linalg.norm(left))
        if width == 0.0:
            return None
        axes = np.stack([up, np.cross(up, left / width), left / width])
        centre = (points_mm["Top"] + points_mm["Low"]) / 2.0
        return cls(level, axes, centre, {name: axes @ (point - centre) for name, point in points_mm.items()})

    @property
    def height_mm(self) -> float:
        """Of the body, between the middles of its end plates."""
        return float(self.at["Top"][0] - self.at["Low"][0])

    @property
    def width_mm(self) -> float:
        """Of the body, from side to side."""
        return float(self.at["Left"][2] - self.at["Right"][2])

    @property
    def mid_canal_mm(self) -> float:
        """How far behind the middle of the body the middle of the canal lies."""
        return float(self.at["CanF"][1] + self.at["CanB"][1]) / 2.0


def contradictions(vertebra: Vertebra) -> tuple[str, ...]:
    """What speaks against the landmarks of a vertebra, in words; empty where nothing does.

    First against the patient's axes; then whether the points follow each other from front to back and from side to
    side; then sizes and heights, of which a point of the next vertebra has others. One kind hides the next.
    """
    for found in (_turned(vertebra), _out_of_order(vertebra), _out_of_size(vertebra)):
        if words := tuple(found):
            return words
    return ()


def _turned(vertebra: Vertebra) -> Iterator[str]:
    # Patient coordinates are LPS in every position: left is +x, back +y, up +z.
    up, back, left = (float(cos) for cos in (vertebra.axes[0][2], vertebra.axes[1][1], vertebra.axes[2][0]))
    if left < 0.0:
        yield "Left lies to the right of Right by the CT's axes"
    if up < 0.0:
        yield "Top lies below Low by the CT's axes"
    if min(up, left) >= 0.0 and min(up, back, left) < UPRIGHT_COS:
        yield "the vertebra would be turned by more than 60 degrees against the patient"


def _out_of_order(vertebra: Vertebra) -> Iterator[str]:
    at = vertebra.at
    if not 0.0 < at["CanF"][1] < at["CanB"][1] < at["Spin"][1]:
        yield "CanF, CanB and Spin do not follow each other from the body backwards"
    if at["TrL"][2] <= at["TrR"][2]:
        yield "TrL lies to the right of TrR"
    elif at["TrL"][2] <= 0.0 or at["TrR"][2] >= 0.0:
        yield "TrL and TrR lie on one side of the body"


def _out_of_size(vertebra: Vertebra) -> Iterator[str]:
    """Limits wide enough for every vertebra from T1 to L6, crushed or tall; project-derived.

    Heights are in units of the body's height, or 0.6 of its width where it is crushed: vertebrae follow each other at
    1.2 to 1.5 of it, so that a point of the next one lies outside.
    """
    at, height, width = vertebra.at, vertebra.height_mm, vertebra.width_mm
    unit = max(height, 0.6 * width)
    sizes = (
        ("the body is {:.0f} mm high", height, 4.0, 50.0),
        ("the body is {:.0f} mm wide", width, 15.0, 70.0),
        ("the body is {:.1f} times as high as wide", height / width, 0.1, 1.15),
        ("CanF lies {:.0f} mm behind the middle of the body", at["CanF"][1], 6.0, 32.0),
        ("the canal is {:.0f} mm deep", at["CanB"][1] - at["CanF"][1], 6.0, 35.0),
        ("Spin lies {:.0f} mm behind CanB", at["Spin"][1] - at["CanB"][1], 8.0, 70.0),
        ("TrL lies {:.0f} mm beside the middle of the body", at["TrL"][2], 0.5 * width, 70.0),
        ("TrR lies {:.0f} mm beside the middle of the body", -at["TrR"][2], 0.5 * width, 70.0),
    )
    yield from (words.format(found) for words, found, low, high in sizes if not low <= found <= high)
    aside = {name: abs(at[name][2]) / width for name in ("CanF", "CanB", "Spin")}
    yield from (
        f"{name} lies beside the middle" for name, part in aside.items() if part > (0.5 if name == "Spin" else 0.3)
    )
    heights = {"Left": (-0.6, 0.6), "Right": (-0.6, 0.6), "CanF": (-0.6, 0.6), "CanB": (-1.0, 0.5),
               "TrL": (-0.75, 0.75), "TrR": (-0.75, 0.75), "Spin": (-2.2, 0.5)}  # fmt: skip
    for name, (low, high) in heights.items():
        if not low <= at[name][0] / unit <= high:
            yield f"{name} lies at the height of another vertebra"


def out_of_line(vertebrae: Mapping[str, Vertebra]) -> dict[str, str]:
    """Levels that contradict each other, with why: one named twice, or one above a vertebra that it belongs below."""
    ordered = [vertebrae[level] for level in LEVELS if level in vertebrae]
    found: dict[str, str] = {}
    for upper, lower in pairwise(ordered):
        down = -(upper.axes[0] + lower.axes[0])
        between = float((lower.centre_mm - upper.centre_mm) @ down / np.linalg.norm(down))
        if between < (upper.height_mm + lower.height_mm) / 2.0 * 0.8:
            words = f"the bodies of {upper.level} and {lower.level} do not lie one below the other"
            found.update({upper.level: words, lower.level: words})
    return found
