"""Margins, names, and the structure set: from shapes to what the planning system will see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from psdt_planner.errors import FaultError, FrameError, GeometryError, UnsupportedError
from psdt_planner.geometry import Grid, Points
from psdt_planner.shapes import Contour, Roi, RoiKind, Shape, StructureSet, rings_volume_ml

Field = NDArray[np.float32]

THINNEST_STEPS = 0.5
"""What stands for a margin of zero towards one side, in lattice steps (0.2 to 0.5 mm): the gauge divides by it."""

COARSEST_STEP_MM = 0.8
"""A lattice is thinned out for growing up to this step: what has been grown is rounder than what it grew from."""

FARTHEST = 1000.0
"""Where the gauge stops counting, so that a field stays finite."""

ALONG_PATIENT_COSINE = 0.999
"""A lattice axis this close to a patient axis counts as lying along it."""

NAME_LENGTH = 16
"""Longest ROI name (TG-263 rule 1) and longest StructureSetLabel (SH)."""

DESCRIPTION_LENGTH = 1024
"""Longest ROIDescription (ST)."""

COLOURS = {RoiKind.GTV: (255, 0, 0), RoiKind.CTV: (255, 165, 0), RoiKind.PTV: (0, 170, 255)}
"""Display colour by kind: red, orange and blue also tell apart where red and green do not."""

CLASSIFIERS = {"pelvic-node": "n", "paraaortic-node": "n", "prostate": "p"}
"""TG-263 classifier by site: nodal or primary; metastases of bone have none."""


# ---------------------------------------------------------------------------------------------------------------------
# margins


@dataclass(frozen=True)
class Margin:
    """How far to grow a shape, in mm, by patient direction.

    Raises:
        GeometryError: a margin that is negative or not finite.
    """

    left: float
    right: float
    anterior: float
    posterior: float
    superior: float
    inferior: float

    def __post_init__(self) -> None:
        if not all(np.isfinite(mm) and mm >= 0 for mm in self.as_mm):
            raise GeometryError(f"a margin must be zero or more in every direction, not {self.as_mm}")

    @classmethod
    def uniform(cls, mm: float) -> Margin:
        """The same margin in all directions."""
        return cls(mm, mm, mm, mm, mm, mm)

    def widened(self, mm: float) -> Margin:
        """Every direction with an independent error of ``mm`` added in quadrature, as van Herk's recipe joins errors
        (Int J Radiat Oncol Biol Phys 2000;47:1121-1135).

        Raises:
            GeometryError: the result is not finite.
        """
        return Margin(*(float(np.hypot(side, mm)) for side in self.as_mm))

    @property
    def as_mm(self) -> tuple[float, ...]:
        """Left, right, anterior, posterior, superior, inferior."""
        return tuple(float(getattr(self, field.name)) for field in fields(self))

    @property
    def is_uniform(self) -> bool:
        """Whether all directions have the same margin, so that orientation does not matter."""
        return len(set(self.as_mm)) == 1

    def along(self, direction: Points) -> float:
        """The margin towards a patient direction, a unit vector near an LPS axis."""
        axis = int(np.argmax(np.abs(direction)))
        ahead = direction[axis] > 0
        pairs = ((self.left, self.right), (self.posterior, self.anterior), (self.superior, self.inferior))
        return pairs[axis][0] if ahead else pairs[axis][1]


def grow(shape: Shape, margin: Margin, ct: Grid) -> Shape:
    """All points that the margin reaches from the shape: its Minkowski sum with an ellipsoid octant by octant.

    From each point of the shape, an ellipsoid is drawn whose six half-axes are the margins towards the six patient
    directions. Surfaces are kept between the lattice points; the result holds the shape. Beside larger ones, a margin
    of zero is good to half a lattice step.

    Raises:
        FrameError: the shape is in another frame than the CT.
        UnsupportedError: margins that differ by direction, on a CT whose axes are not the patient's.
    """
    if shape.grid.frame != ct.frame:
        raise FrameError(f"a shape of frame {shape.grid.frame} on a CT of frame {ct.frame}")
    if max(margin.as_mm) == 0.0:
        return shape
    while 2 * max(shape.grid.spacing_kji_mm) <= min(COARSEST_STEP_MM, min(margin.as_mm) / 2):
        shape = _thinned(shape)
    reach = _reach(shape.grid, margin)
    step_mm = np.array(shape.grid.spacing_kji_mm)
    room = np.ceil(reach / step_mm[:, None]).astype(int) + 2
    # A lattice's border is outside everywhere, so what lies beyond it is outside as well.
    field = np.pad(shape.field, room[:, ::-1], mode="edge")
    matrix = shape.grid.mm_from_kji
    matrix[:3, 3] = shape.grid.mm_from_index(-room[:, 1].astype(float))
    grid = Grid.regular(matrix, (field.shape[0], field.shape[1], field.shape[2]), shape.grid.frame)
    return Shape(grid, np.float32(1.0) - _gauge(field, reach, step_mm))


def _thinned(shape: Shape) -> Shape:
    """The shape on every second lattice point, its border outside as before."""
    # A lattice of an even count would lose its last plane; one more, outside as the border is, keeps it.
    even = [(0, 1 - count % 2) for count in shape.grid.shape]
    field = np.pad(shape.field, even, mode="edge")[::2, ::2, ::2]
    matrix = shape.grid.mm_from_kji
    matrix[:3, :3] *= 2.0
    grid = Grid.regular(matrix, (field.shape[0], field.shape[1], field.shape[2]), shape.grid.frame)
    return Shape(grid, np.ascontiguousarray(field))


def _reach(lattice: Grid, margin: Margin) -> Points:
    """``(3, 2)``, margin in mm along each lattice axis k, j, i: towards growing, then towards falling index."""
    j, i = lattice.spacing_ji_mm
    axes = np.stack([lattice.normal, lattice.step_j_mm / j, lattice.step_i_mm / i])
    if not margin.is_uniform and np.abs(axes).max(axis=1).min() < ALONG_PATIENT_COSINE:
        raise UnsupportedError(
            "margins that differ by direction need a CT along the patient's axes",
            where=lattice.frame,
            todo="Use one margin for all directions, or an axial CT.",
        )
    reach = np.array([[margin.along(axis), margin.along(-axis)] for axis in axes])
    return np.asarray(np.maximum(reach, THINNEST_STEPS * min(i, j)))


def _gauge(field: Field, reach: Points, step_mm: Points) -> Field:
    """How many margins each lattice point lies from the shape: 0 inside, 1 where the margin ends.

    The squared gauge is a sum over the axes, so that one pass an axis finds its minimum (Felzenszwalb and Huttenlocher
    2012, here with a window in place of envelopes). The first pass measures from where the surface crosses its lines,
    between the lattice points; each axis is first once, since each sees the surface best where it runs across.
    """
    window = np.ceil(reach / step_mm[:, None]).astype(int) + 1
    best = np.full(field.shape, np.inf, dtype=np.float32)
    for first in range(3):
        squared = _squared_from_crossings(np.moveaxis(field, first, -1), reach[first] / step_mm[first])
        squared = np.moveaxis(squared, -1, first)
        for axis in {0, 1, 2} - {first}:
            squared = _squared_along(squared, axis, reach[axis] / step_mm[axis], window[axis])
        np.minimum(best, squared, out=best)
    return np.sqrt(np.minimum(best, FARTHEST**2))


def _squared_from_crossings(field: Field, reach: Points) -> Field:
    """Squared gauge along the last axis from the nearest inside, its ends by linear interpolation; in steps."""
    inside = field > 0
    index = np.arange(field.shape[-1], dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = index[:-1] + field[..., :-1] / (field[..., :-1] - field[..., 1:])
    behind = np.full(field.shape, -np.inf, dtype=np.float32)
    behind[..., 1:] = np.where(inside[..., :-1] & ~inside[..., 1:], crossing, -np.inf)
    ahead = np.full(field.shape, np.inf, dtype=np.float32)
    ahead[..., :-1] = np.where(~inside[..., :-1] & inside[..., 1:], crossing, np.inf)
    behind = np.maximum.accumulate(behind, axis=-1)
    ahead = np.minimum.accumulate(ahead[..., ::-1], axis=-1)[..., ::-1]
    gauge = np.minimum((index - behind) / np.float32(reach[0]), (ahead - index) / np.float32(reach[1]))
    return np.asarray(np.where(inside, 0.0, gauge * gauge), dtype=np.float32)


def _squared_along(squared: Field, axis: int, reach: Points, window: NDArray[np.int_]) -> Field:
    """The smallest sum of a point's squared gauge and the way from it along an axis, over the window of steps."""
    source = np.moveaxis(squared, axis, 0)
    best = source.copy()
    count = len(source)
    for step in range(1, min(int(window[0]), count - 1) + 1):
        np.minimum(best[step:], source[:-step] + np.float32((step / reach[0]) ** 2), out=best[step:])
    for step in range(1, min(int(window[1]), count - 1) + 1):
        np.minimum(best[:-step], source[step:] + np.float32((step / reach[1]) ** 2), out=best[:-step])
    return np.moveaxis(best, 0, axis)


# ---------------------------------------------------------------------------------------------------------------------
# names


def roi_name(kind: RoiKind, site: str, number: int) -> str:
    """Kind, classifier and number by TG-263: ``GTV1`` in bone, ``PTVn2`` for a node, ``CTVp3`` in the prostate.

    The number is the lesion's, so that a name means the same lesion in every version of the set. Sites that psdt does
    not know are named as bone is, without a classifier.

    Raises:
        FaultError: a number below 1, or one so long that the name passes 16 characters.
    """
    name = f"{kind.value}{CLASSIFIERS.get(site, '')}{number}"
    if number < 1 or len(name) > NAME_LENGTH:
        raise FaultError(f"no ROI name of at most {NAME_LENGTH} characters for {kind.value} number {number}")
    return name


def lesion_number(lesion: str) -> int:
    """The number in a lesion's id: 3 of ``L3``.

    Raises:
        FaultError: an id of another form.
    """
    match = re.fullmatch(r"L([1-9][0-9]*)", lesion)
    if not match:
        raise FaultError(f"{lesion!r} is not a lesion id of the form L1")
    return int(match[1])


# ---------------------------------------------------------------------------------------------------------------------
# the structure set


@dataclass(frozen=True, eq=False)
class Target:
    """The rings of one lesion.

    Attributes:
        lesion: id, ``L1``.
        label: the reader's words.
        site: site key of the protocol.
        text: words for ROIDescription, such as the proposed schedule and the margins.
        contours: rings of each kind, as traced from shapes that hold one another: GTV in CTV in PTV.
        tracking_uid: the lesion's identity over time; empty where the flag has none.
    """

    lesion: str
    label: str
    site: str
    text: str
    contours: Mapping[RoiKind, tuple[Contour, ...]]
    tracking_uid: str = ""


def build_structure_set(targets: Iterable[Target], ct: Grid, *, label: str, description: str) -> StructureSet:
    """The ROIs of all lesions, in order of lesion and kind.

    ROI numbers follow from the lesion's number alone (L1: 1, 2, 3; L2: 4, 5, 6), so that a lesion left out does not
    renumber the others. Descriptions say PROPOSAL and are cut at 1,024 characters. A target without rings of a kind
    gives an ROI without rings, which the writer refuses.

    Raises:
        FaultError: two targets of one lesion, or a label of more than 16 characters.
    """
    if not 1 <= len(label) <= NAME_LENGTH:
        raise FaultError(f"the label {label!r} is empty or has more than {NAME_LENGTH} characters")
    rois = sorted((roi for target in targets for roi in _rois(target, ct)), key=lambda roi: roi.number)
    if len({roi.number for roi in rois}) != len(rois) or len({roi.name.upper() for roi in rois}) != len(rois):
        raise FaultError("two targets have the same lesion id")
    return StructureSet(ct, label, _proposal(description), tuple(rois))


def _rois(target: Target, ct: Grid) -> Iterable[Roi]:
    number = lesion_number(target.lesion)
    tracking = f"Tracking UID {target.tracking_uid}. " if target.tracking_uid else ""
    text = f"of {target.lesion}, {target.site}. {tracking}Flagged as: {target.label}. {target.text}"
    for order, kind in enumerate(RoiKind):
        contours = target.contours.get(kind)
        if contours is None:
            continue
        yield Roi(
            number=len(RoiKind) * (number - 1) + order + 1,
            name=roi_name(kind, target.site, number),
            kind=kind,
            lesion=target.lesion,
            contours=contours,
            volume_ml=rings_volume_ml(contours, ct),
            description=_proposal(f"{kind.value} {text}"),
            colour=COLOURS[kind],
        )


def _proposal(text: str) -> str:
    """The text, marked as a proposal and cut to what ROIDescription holds."""
    marked = text if text.startswith("PROPOSAL") else f"PROPOSAL, not a prescription. {text}"
    return marked.strip()[:DESCRIPTION_LENGTH]
