"""Is it the right vertebra, and the right patient: what no single lesion's fit can see.

A result one vertebra off looks perfect around a lesion. Ghost lesions along the whole spine, each compared with the
levels above and below and pooled, tell it; and the spine of another man has another length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import stats

from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Points, Rigid
from psdt_planner.images import Volume
from psdt_planner.registration.around import Box, Images, Surroundings
from psdt_planner.registration.fits import AROUND_LESION, fit
from psdt_planner.registration.similarity import Similarity
from psdt_planner.registration.spine import Spine, find_spine

GHOST_BOX = Box(3.0, (26.0, 26.0, 62.0))
GHOST_DISTANCE_MM = 30.0
GHOST_END_MM = 10.0
POINTS = 900
LEAST_GHOSTS = 3

LEVEL_STEPS_MM = np.arange(15.0, 46.0, 3.0)
"""One level is 20 mm in the neck and 40 mm at the loins."""

OTHER_PLACE_MM = 10.0
"""A fit that ends nearer than this to the first one found no other level."""

LEAST_MARGIN = 0.0
"""Least pooled gain of the level over its neighbours. On synthetic patients right levels reach 0.026 and more, but for
one chest in 36 at 0.005, and wrong ones minus 0.009 at most. On a CT of 15 cm both lie between minus 0.013 and 0.04:
there an anchor or a person decides."""

AGREEMENT_MM, AGREEMENT_VOXELS = 2.0, 0.5
"""Two measures agree within the larger of both, by the MR's largest voxel dimension."""

MOST_APART, LEAST_COMPARED = 1.75, 6
"""Median distance between a ghost's two measures, in units of what counts as agreement. On synthetic patients 1.25 at
most for the right patient; 2.3 and more for another whose spine does not lie on this one's by chance. Of fewer ghosts
than the second figure a median says nothing."""

MOST_FROM_NEIGHBOURS, LEVEL_NEIGHBOURS = 0.65, 6
"""Median distance of a ghost's measures from the motion of so many nearest others, in the same units. One man's spine
bends and his neighbouring vertebrae move alike; another man's vertebrae have other heights, so that a fit that found
one of them is off at the next. On the 22 right synthetic patients that it was chosen on, whose spines bend by 10
degrees, 0.62 at most, on 16 wrong ones 0.69 at least; of 24 right ones that nobody had looked at, two come to 0.76 and
1.12 and are held in vain, which is the lesser harm."""

MOST_STRETCH, SURE_STRETCH = 0.012, 0.003
"""Difference in length of the spine between CT and MR that one man's posture explains: 0.5 % at most on synthetic
patients; two men differ by 3 to 4 %. Its 95 % interval must lie beyond the second figure, or it tells no length."""

MOST_WIDTH = 0.02
"""Difference in width of the pelvis that the fits' own errors explain: at most 1.0 % on synthetic patients; two men
differ by 3 to 6 %, or not at all."""

NEIGHBOURS, NEIGHBOUR_MM = 3, 70.0


@dataclass(frozen=True, eq=False)
class Ghost:
    """A place on the spine that was fitted as if it were a lesion.

    Attributes:
        place_mm: ``(3,)``, on the CT.
        moved_mm: ``(3,)``, where its fit puts what the MR shows there, minus where the whole body's transform puts it.
        moved_otherwise_mm: ``(3,)``, the same by a measure of another kind; None where that lost the images.
        above, below: how much worse the next level fits (mean robust difference of self-similarity); None where no
            other level was found.
    """

    place_mm: Points
    moved_mm: Points
    moved_otherwise_mm: Points | None
    above: float | None
    below: float | None

    @property
    def apart_mm(self) -> float:
        """Distance between the two measures; infinite where there is one alone."""
        if self.moved_otherwise_mm is None:
            return float("inf")
        return float(np.linalg.norm(self.moved_mm - self.moved_otherwise_mm))


@dataclass(frozen=True, eq=False)
class LevelCheck:
    """What the spine says of a registration of the whole body.

    Attributes:
        spine: as found in the CT.
        ghosts: from below to above; may be empty.
        agreement_mm: within which two measures agree on a ghost.
        findings: what holds the case.
        anchored: whether the MR shows, under the transform, one of the anchors that the CT shows.
        widths: how much wider the pelvis is on the CT than on the MR, as a part of its width, at each height where two
            measures found both hip bones: by the measure that says less; 0 where one says wider and one narrower.
    """

    spine: Spine
    ghosts: tuple[Ghost, ...]
    agreement_mm: float
    findings: tuple[Finding, ...] = ()
    widths: tuple[float, ...] = ()
    anchored: bool = False

    @cached_property
    def margin(self) -> float | None:
        """Pooled gain of the level over the better of its neighbours.

        None where fewer than `LEAST_GHOSTS` places could be compared with the level above, or below.
        """
        sides = [[one for one in side if one is not None] for side in zip(*self._margins, strict=True)]
        if not sides or min(len(side) for side in sides) < LEAST_GHOSTS:
            return None
        return min(float(np.mean(side)) for side in sides)

    @property
    def _margins(self) -> list[tuple[float | None, float | None]]:
        return [(ghost.above, ghost.below) for ghost in self.ghosts]

    @cached_property
    def apart_mm(self) -> float:
        """Median distance between a ghost's two measures; 0 without ghosts."""
        return float(np.median([ghost.apart_mm for ghost in self.ghosts])) if self.ghosts else 0.0

    @cached_property
    def from_neighbours_mm(self) -> float:
        """Median over the ghosts of how far their measures, in the mean, put them from how their neighbours moved.

        Neighbours are the `LEVEL_NEIGHBOURS` nearest; their motion is the median over both measures, axis by axis. 0
        where there are fewer than two ghosts.
        """
        moved = [
            np.array([one for one in (ghost.moved_mm, ghost.moved_otherwise_mm) if one is not None])
            for ghost in self.ghosts
        ]
        if len(moved) < 2:
            return 0.0
        away = []
        for n, own in enumerate(moved):
            others = np.array([m for m in range(len(moved)) if m != n])
            nearest = others[np.argsort(np.abs(others - n), kind="stable")][:LEVEL_NEIGHBOURS]
            theirs = np.median(np.concatenate([moved[m] for m in nearest.tolist()]), axis=0)
            away.append(float(np.linalg.norm(own - theirs, axis=1).mean()))
        return float(np.median(away))

    @cached_property
    def stretch(self) -> tuple[float, float, float] | None:
        """How much longer the spine is on the CT than on the MR, as a part of its length, with its 95 % interval.

        The slope of the ghosts' motion along the spine over their height (Theil and Sen), by mutual information: along
        the spine self-similarity scatters three times as much. None where fewer than `LEAST_GHOSTS` tell it.
        """
        told = [(ghost.place_mm, moved) for ghost in self.ghosts if (moved := ghost.moved_otherwise_mm) is not None]
        if len(told) < LEAST_GHOSTS:
            return None
        along = [moved @ self.spine.upwards(place[2]) for place, moved in told]
        found = stats.theilslopes(along, [float(place[2]) for place, _ in told])
        return float(found.slope), float(found.low_slope), float(found.high_slope)

    def motion_near(self, at_ct: Points) -> Points | None:
        """``(3,)``, how the spine nearby moved against the whole body; None where no three ghosts are near on which two
        measures agree."""
        agreeing = [ghost for ghost in self.ghosts if ghost.apart_mm <= self.agreement_mm]
        near = sorted(agreeing, key=lambda ghost: float(np.linalg.norm(ghost.place_mm - at_ct)))[:NEIGHBOURS]
        near = [ghost for ghost in near if np.linalg.norm(ghost.place_mm - at_ct) <= NEIGHBOUR_MM]
        return np.median([ghost.moved_mm for ghost in near], axis=0) if len(near) == NEIGHBOURS else None


Mapper = Callable[[Callable[[Points], Ghost | None], Iterable[Points]], Iterable[Ghost | None]]
"""As the built-in ``map``; one that works in threads gives the same result sooner."""


def check_levels(
    ct: Volume, anatomical: tuple[Volume, ...], ct_from_mr: Rigid, *, computed: bool, seed: int, mapper: Mapper = map
) -> LevelCheck:
    """Whether the spine agrees with a transform of the whole body.

    Args:
        ct: planning CT, HU.
        anatomical: MR volumes of one frame, the best first; without one, only the spine is found.
        ct_from_mr: of the whole body.
        computed: whether psdt found it itself; then somebody must vouch for the level where the CT cannot.
        seed: of the samples that the fits draw.
        mapper: how the places along the spine are gone through.

    The result carries, all at level hold: ``level-off`` where a neighbouring level fits as well,
    ``registration-wrong-patient`` where the measures contradict each other along the spine, vertebrae lie elsewhere
    than their neighbours would put them, or the spine's length or the pelvis's width differs,
    and of a computed transform ``level-unchecked`` (of a given one a warning) where the CT shows too little of the
    spine, and ``level-unanchored`` where both show nothing that does not repeat from level to level.
    """
    spine = find_spine(ct)
    if not anatomical:
        return LevelCheck(spine, (), AGREEMENT_MM)
    if not spine.found:
        return LevelCheck(spine, (), AGREEMENT_MM, tuple(_unchecked(computed)))
    images = Images(ct, anatomical, GHOST_BOX)
    places = [*_places(spine), *(hip for pair in spine.hips_mm for hip in pair)]
    found = list(mapper(lambda place: _ghost(images, spine, place, ct_from_mr, seed), places))
    count = len(places) - 2 * len(spine.hips_mm)
    ghosts = tuple(ghost for ghost in found[:count] if ghost is not None)
    agreement_mm = max(AGREEMENT_MM, AGREEMENT_VOXELS * max(anatomical[0].grid.spacing_kji_mm))
    there = [ct_from_mr.inverse().apply(place) for place in spine.anchors.values()]
    anchored = any(bool(anatomical[0].grid.contains(place)) for place in there)
    check = LevelCheck(spine, ghosts, agreement_mm, (), tuple(_widths(found[count:])), anchored)
    return replace(check, findings=tuple(_findings(check, computed=computed)))


def _widths(hips: Sequence[Ghost | None]) -> Iterator[float]:
    """Of another man's hips the measures seldom agree on the place, and yet on the sign."""
    for right, left in zip(hips[::2], hips[1::2], strict=True):
        if right is None or left is None or right.moved_otherwise_mm is None or left.moved_otherwise_mm is None:
            continue
        across = left.place_mm - right.place_mm
        apart = np.array([left.moved_mm - right.moved_mm, left.moved_otherwise_mm - right.moved_otherwise_mm])
        one, other = (apart @ across / (across @ across)).tolist()
        yield min(one, other, key=abs) if one * other > 0.0 else 0.0


def _places(spine: Spine) -> list[Points]:
    low, high = spine.line_mm[0, 2] + GHOST_END_MM, spine.line_mm[-1, 2] - GHOST_END_MM
    count = max(LEAST_GHOSTS, round((high - low) / GHOST_DISTANCE_MM) + 1)
    return [spine.at(z) for z in np.linspace(low, high, count)]


def _ghost(images: Images, spine: Spine, place: Points, ct_from_mr: Rigid, seed: int) -> Ghost | None:
    """A place's fits; None where the MR does not show it."""
    here = images.around(place, ct_from_mr.inverse().apply(place), ct_from_mr, in_bone=True)
    similarity = Similarity.of(here.ct, here.mr[:1], place, seed=seed, points=POINTS)
    level = similarity.fit(here.mr_from_ct)
    if not np.isfinite(level.cost):
        return None
    there = level.moving_from_fixed.apply(place)
    upwards = here.mr_from_ct.matrix[:3, :3] @ spine.upwards(place[2])
    above, below = (_other_level(similarity, level.moving_from_fixed, level.cost, side * upwards) for side in (1, -1))
    otherwise = _otherwise(here, seed)
    moved_otherwise = None if otherwise is None else place - ct_from_mr.apply(otherwise)
    return Ghost(place, place - ct_from_mr.apply(there), moved_otherwise, above, below)


def _otherwise(here: Surroundings, seed: int) -> Points | None:
    """``(3,)``, where SimpleITK's mutual information puts the place on the MR; None where it loses the images."""
    try:
        found = fit(here.ct, here.mr[here.sharpest], here.mr_from_ct, here.at_ct, AROUND_LESION, seed=seed)
    except RuntimeError:  # SimpleITK's word for it
        return None
    return found.apply(here.at_ct)


def _other_level(similarity: Similarity, level: Rigid, cost: float, way: Points) -> float | None:
    """How much worse the best place one level along the way fits; None where the fit slid back or lost the image."""
    tried = [_shifted(level, step * way) for step in LEVEL_STEPS_MM]
    costs = [similarity.cost(one) for one in tried]
    other = similarity.fit(tried[int(np.argmin(costs))])
    place = similarity.centre_mm
    moved = float(np.linalg.norm(other.moving_from_fixed.apply(place) - level.apply(place)))
    if not np.isfinite(other.cost) or moved < OTHER_PLACE_MM:
        return None
    return other.cost - cost


def _shifted(transform: Rigid, by_mm: Points) -> Rigid:
    matrix = transform.matrix.copy()
    matrix[:3, 3] += by_mm
    return Rigid(matrix, transform.target, transform.source)


def _unchecked(computed: bool) -> Iterator[Finding]:
    """Nobody vouched for a computed place; of a given one it is said."""
    message = "The planning CT and the MR share too little of the spine to tell one level from the next."
    if computed:
        yield _hold("level-unchecked", f"{message} {_SHOW}", None, None)
    else:
        yield Finding("level-unchecked", Level.WARN, f"{message} Look at the fused images.", Who.PERSON)


_SHOW = "Show psdt the right place with a Spatial Registration object, or send a CT that reaches further."


def _findings(check: LevelCheck, *, computed: bool) -> Iterator[Finding]:
    if check.margin is None:
        yield from _unchecked(computed)
    elif check.margin < LEAST_MARGIN:
        message = "The spine fits the planning CT as well or better one level above or below."
        yield _hold("level-off", f"{message} {_SHOW}", check.margin, LEAST_MARGIN)
    if computed and check.margin is not None and not check.anchored:
        message = (
            "Planning CT and MR show neither hip bones nor an end of the lungs in common: nothing that does not repeat "
            "from level to level."
        )
        yield _hold("level-unanchored", f"{message} {_SHOW}", 0, 1)
    yield from _wrong_patient(check)


def _wrong_patient(check: LevelCheck) -> Iterator[Finding]:
    ask = "Look whether MR and planning CT are of one patient."
    limit_mm = MOST_APART * check.agreement_mm
    if len(check.ghosts) >= LEAST_COMPARED and check.apart_mm > limit_mm:
        message = f"At most places along the spine independent fits lie {check.apart_mm:.1f} mm apart or more. {ask}"
        yield _hold("registration-wrong-patient", message, check.apart_mm, limit_mm, "mm")
        return
    limit_mm = MOST_FROM_NEIGHBOURS * check.agreement_mm
    if len(check.ghosts) >= LEAST_COMPARED and check.from_neighbours_mm > limit_mm:
        message = (
            f"Most vertebrae lie {check.from_neighbours_mm:.1f} mm or more from where their neighbours would put them. "
            f"{ask}"
        )
        yield _hold("registration-wrong-patient", message, check.from_neighbours_mm, limit_mm, "mm")
    stretch, low, high = check.stretch or (0.0, 0.0, 0.0)
    if abs(stretch) > MOST_STRETCH and (low > SURE_STRETCH or high < -SURE_STRETCH):
        message = f"The spine's length differs by {abs(stretch):.1%} between MR and planning CT. {ask}"
        yield _hold("registration-wrong-patient", message, abs(stretch), MOST_STRETCH)
    width = float(np.mean(check.widths)) if check.widths else 0.0
    if abs(width) > MOST_WIDTH:
        message = f"The width of the pelvis differs by {abs(width):.1%} between MR and planning CT. {ask}"
        yield _hold("registration-wrong-patient", message, abs(width), MOST_WIDTH)


def _hold(code: str, message: str, value: float | None, limit: float | None, unit: str = "") -> Finding:
    return Finding(code, Level.HOLD, message, Who.PERSON, value, limit, unit)
