"""Vertebrae by their landmarks: which are complete, what speaks against them, and the sectors near a lesion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from psdt_planner.exam import Landmark
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Points
from psdt_planner.images import Volume
from psdt_planner.shapes import Shape
from psdt_planner.structures import (
    POINTS,
    FoundSectors,
    Part,
    Vertebra,
    contradictions,
    landmark_of,
    out_of_line,
    sectors_of,
)

NEAR_MM = 30.0
"""No point of a vertebra is farther from its nearest landmark: a lesion beyond lies in another one."""


@dataclass(frozen=True, eq=False)
class _Marked:
    """One level: its points as sent, and the vertebra where they are complete and agree; else why not."""

    points_mm: Mapping[str, Points]
    missing: tuple[str, ...]
    against: tuple[str, ...]
    vertebra: Vertebra | None

    def distance_mm(self, inside_mm: Points) -> float:
        """From the nearest landmark to the nearest of the points ``(N, 3)``."""
        marked = np.concatenate(list(self.points_mm.values()))
        return float(min(np.linalg.norm(inside_mm - point, axis=1).min() for point in marked))


@dataclass(frozen=True, eq=False)
class Vertebrae:
    """The vertebrae of a planning CT by their landmarks.

    Attributes:
        ct: in HU.
        landmarks: as sent; those with other names are passed over.
    """

    ct: Volume
    landmarks: tuple[Landmark, ...]
    _found: dict[str, FoundSectors] = field(default_factory=dict, repr=False)

    def near(self, lesion: str, gtv: Shape) -> tuple[dict[Part, Shape], tuple[Finding, ...]]:
        """The sectors of the vertebrae near a GTV, and what a person should know of their landmarks.

        Findings: ``ctv-landmarks-missing``, ``ctv-landmarks-contradict`` (hold), ``ctv-from-landmarks``.
        """
        inside_mm = gtv.grid.mm_from_index(np.argwhere(gtv.field > 0))
        shapes: dict[Part, Shape] = {}
        findings: list[Finding] = []
        for level, marked in self._marked.items():
            if not len(inside_mm) or marked.distance_mm(inside_mm) > NEAR_MM:
                continue
            found = self._sectors(level, marked)
            shapes.update(found.shapes)
            findings += _said(lesion, level, marked.missing, found)
        return shapes, tuple(findings)

    def _sectors(self, level: str, marked: _Marked) -> FoundSectors:
        if marked.vertebra is None:
            return FoundSectors({}, marked.against)
        if level not in self._found:
            self._found[level] = sectors_of(marked.vertebra, self.ct)
        return self._found[level]

    @cached_property
    def _marked(self) -> dict[str, _Marked]:
        """Every level with a landmark."""
        points: dict[str, dict[str, Points]] = {}
        for landmark in self.landmarks:
            name = landmark_of(landmark.name)
            if name is not None and name.known:
                known = points.setdefault(name.level, {})
                known[name.point] = np.concatenate([known.get(name.point, np.empty((0, 3))), landmark.points_mm])
        marked = {level: _looked_at(level, found) for level, found in points.items()}
        whole = {level: one.vertebra for level, one in marked.items() if one.vertebra is not None}
        for level, words in out_of_line(whole).items():
            marked[level] = _Marked(marked[level].points_mm, (), (words,), None)
        return marked


def _looked_at(level: str, points_mm: Mapping[str, Points]) -> _Marked:
    missing = tuple(name for name in POINTS if name not in points_mm)
    against = tuple(f"{name} is marked {len(found)} times" for name, found in points_mm.items() if len(found) > 1)
    if missing or against:
        return _Marked(points_mm, missing, against, None)
    vertebra = Vertebra.of(level, {name: found[0] for name, found in points_mm.items()})
    if vertebra is None:
        return _Marked(points_mm, (), ("Top and Low, or Left and Right, are one point",), None)
    against = contradictions(vertebra)
    return _Marked(points_mm, (), against, None if against else vertebra)


def _said(lesion: str, level: str, missing: tuple[str, ...], found: FoundSectors) -> Iterator[Finding]:
    if missing:
        message = f"Landmarks of {level} near {lesion} are missing: {', '.join(missing)}. None of {level} was used."
        yield Finding("ctv-landmarks-missing", Level.WARN, message, Who.PERSON, lesion=lesion)
    if found.against:
        message = f"The landmarks of {level} near {lesion} contradict each other or the CT: {'; '.join(found.against)}."
        yield Finding("ctv-landmarks-contradict", Level.HOLD, message, Who.PERSON, lesion=lesion)
    if found.shapes:
        message = (
            f"The sectors of {level} near {lesion} were made from landmarks and the bone of the CT. "
            "Look at them, above all where its joints and ribs meet it."
        )
        yield Finding("ctv-from-landmarks", Level.WARN, message, Who.PERSON, lesion=lesion)


def about_landmarks(landmarks: Sequence[Landmark]) -> Iterator[Finding]:
    """Points that are named as landmarks of a vertebra and are none: of another level, or of another name."""
    names = [(landmark.name, landmark_of(landmark.name)) for landmark in landmarks]
    if odd := [name for name, read in names if read is not None and not read.known]:
        message = f"No landmarks of a vertebra, and not used: {', '.join(odd)}."
        yield Finding("landmark-unknown", Level.WARN, message, Who.PERSON)
