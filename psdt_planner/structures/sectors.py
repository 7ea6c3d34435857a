"""The CTV in the spine by sectors of the vertebra, where somebody contoured them on the planning CT.

The sectors are those of the International Spine Radiosurgery Consortium (Cox et al. 2012). Their ROIs are known by
name: ``VB_L4`` for the body, as TG-263 has it, and of our own making ``VB_L4_Ped_L``, ``VB_L4_Lam_R`` (lamina with its
transverse process) and ``VB_L4_Spin``. Sides stand in the name, since the consensus' numbers could be read either way
round. Which sectors the CTV takes in, the protocol's table says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from psdt_planner.geometry import Points
from psdt_planner.protocol import Sector, SectorRule, Sectors
from psdt_planner.shapes import Shape
from psdt_planner.structures.fields import Mask, on_lattice, united, volume_ml

Side = Literal["L", "R"]

NAME = re.compile(r"VB_([CTLS])0?(\d{1,2})(?:_(SPIN)|_(PED|LAM)_([LR]))?", re.IGNORECASE)

PARTS = {"SPIN": "spinous", "PED": "pedicle", "LAM": "lamina"}


@dataclass(frozen=True, order=True)
class Part:
    """One sector of one vertebra.

    Attributes:
        level: ``L4``.
        sector: ``body``, ``pedicle``, ``lamina`` or ``spinous``.
        side: ``L`` or ``R``; empty in the middle.
    """

    level: str
    sector: str
    side: str = ""

    def __str__(self) -> str:
        side = {"L": "left ", "R": "right "}.get(self.side, "")
        return f"{side}{self.sector} of {self.level}"


@dataclass(frozen=True, eq=False)
class SpineCtv:
    """What the sectors make of a GTV.

    Attributes:
        shape: the CTV: the GTV with every sector that it takes in; the GTV alone where no sector is known.
        involved: sectors that the rules were asked with.
        added: sectors that the CTV takes in.
        missing: sectors that the rules ask for and nobody contoured.
        swapped: levels whose left sectors lie to the right of their right ones; they are not used.
    """

    shape: Shape
    involved: tuple[Part, ...]
    added: tuple[Part, ...]
    missing: tuple[Part, ...]
    swapped: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether the GTV lies in a sector at all."""
        return bool(self.added)


def part_of(roi_name: str) -> Part | None:
    """The sector that an ROI of this name holds; None for any other name. Case does not matter, ``T4`` is ``T04``."""
    found = NAME.fullmatch(roi_name.strip())
    if not found:
        return None
    region, number, spinous, paired, side = found.groups()
    level = f"{region.upper()}{int(number)}"
    sector = PARTS[(spinous or paired).upper()] if spinous or paired else "body"
    return Part(level, sector, side.upper() if side else "")


def spine_ctv(gtv: Shape, contoured: Mapping[Part, Shape], rule: Sectors) -> SpineCtv:
    """The CTV of a GTV in the spine by the protocol's rules on sectors.

    A sector that the GTV touches is taken in whole; sectors that it involves are put to the rules; every rule that
    holds adds its own. The GTV is part of the CTV wherever it lies.

    Args:
        gtv: of the lesion.
        contoured: the sectors that are known near the lesion, in the GTV's frame.
        rule: the protocol's.
    """
    swapped = _swapped(contoured)
    known = {part: shape for part, shape in contoured.items() if part.level not in swapped}
    inside = gtv.field > 0
    shared = {part: inside & (on_lattice(shape, gtv.grid) > 0) for part, shape in known.items()}
    held_ml = {part: volume_ml(mask, gtv.grid) for part, mask in shared.items()}
    touched = {part for part, ml in held_ml.items() if ml >= rule.touched_ml}
    # A lesion smaller than the rule's limit is involved somewhere all the same: where most of it lies.
    most = max(touched, key=lambda part: held_ml[part], default=None)
    involved = {part for part in touched if held_ml[part] >= rule.involved_ml or part == most}
    wanted = set(touched)
    for level in sorted({part.level for part in involved}):
        body = Part(level, "body")
        extents = _extents(known, shared[body], gtv, body, rule) if body in involved else set()
        wanted |= ctv_parts(level, involved, extents, rule.rules)
    added = sorted(wanted & known.keys())
    shape = united([gtv, *(known[part] for part in added)]) if added else gtv
    return SpineCtv(shape, tuple(sorted(involved)), tuple(added), tuple(sorted(wanted - known.keys())), swapped)


def ctv_parts(
    level: str, involved: Iterable[Part], extents: Iterable[tuple[str, str]], rules: Iterable[SectorRule]
) -> set[Part]:
    """The sectors of a vertebra that the rules add.

    Args:
        level: of the vertebra.
        involved: sectors in which the GTV lies.
        extents: how it takes the body: ``("diffuse", "")``, ``("lateralised", "L")``.
        rules: each is tried with either side as its own.
    """
    here, how = set(involved), set(extents)
    found: set[Part] = set()
    for rule in rules:
        for side, other in (("L", "R"), ("R", "L")):
            if rule.extent and not how & {(rule.extent, side), (rule.extent, "")}:
                continue
            if {_part(level, word, side, other) for word in rule.gtv} <= here:
                found |= {_part(level, word, side, other) for word in rule.ctv}
    return found


def _part(level: str, word: Sector, side: str, other: str) -> Part:
    if word in ("body", "spinous"):
        return Part(level, word)
    return Part(level, word.removeprefix("other-"), other if word.startswith("other-") else side)


def _extents(known: Mapping[Part, Shape], shared: Mask, gtv: Shape, body: Part, rule: Sectors) -> set[tuple[str, str]]:
    """How the GTV takes the body: diffusely, on one side, both, or neither."""
    extents = set()
    whole = known[body]
    if volume_ml(shared, gtv.grid) >= rule.diffuse_part * volume_ml(whole.field > 0, whole.grid):
        extents.add(("diffuse", ""))
    left = _to_the_left(known, body)
    beside = gtv.grid.mm_from_index(np.argwhere(shared)) @ left > _centre_mm(whole) @ left
    for side, part in (("L", beside.mean()), ("R", 1.0 - beside.mean())):
        if part >= rule.lateralised_part:
            extents.add(("lateralised", side))
    return extents


def _to_the_left(known: Mapping[Part, Shape], body: Part) -> Points:
    """``(3,)``, the vertebra's own left, from its right pedicle to its left one; else the patient's."""
    pair = [known.get(Part(body.level, "pedicle", side)) for side in ("R", "L")]
    if pair[0] is None or pair[1] is None:
        return np.array([1.0, 0.0, 0.0])
    way = _centre_mm(pair[1]) - _centre_mm(pair[0])
    return np.asarray(way / np.linalg.norm(way))


def _swapped(contoured: Mapping[Part, Shape]) -> tuple[str, ...]:
    """Levels of which a left sector lies to the right of its right one."""
    levels = {
        part.level
        for part, shape in contoured.items()
        if part.side == "L"
        and (right := contoured.get(Part(part.level, part.sector, "R"))) is not None
        and _centre_mm(shape)[0] <= _centre_mm(right)[0]
    }
    return tuple(sorted(levels))


def _centre_mm(shape: Shape) -> Points:
    return shape.grid.mm_from_index(np.argwhere(shape.field > 0).mean(axis=0))
