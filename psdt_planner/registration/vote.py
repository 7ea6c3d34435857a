"""Several measures of different kind fit the surroundings of one place; their median is the result.

Disagreement between different measures predicts the error; restarts of the same one do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from psdt_planner.geometry import Points, Rigid
from psdt_planner.registration.around import Surroundings
from psdt_planner.registration.fits import AROUND_LESION, fit
from psdt_planner.registration.information import fit_information
from psdt_planner.registration.similarity import POINTS, Similarity

LEAST_FITS = 3

LOST_MM = 30.0
"""A first look at soft tissue that ends further from its start has left the box, and there is nothing near to vote."""

DOUBT_MM = 1.3
"""In bone what is near is looked at, too, where the measures disagree by more: in a third of ribs, hardly elsewhere."""

NEAR_PERCENT = 60.0
"""In the little that is near two of seven fits may slide off and say nothing of the rest. On 84 ribs of synthetic
patients this holds 6 instead of 12, and the error of the others stays (95 % within 2.2 mm, the worst 3.9)."""

WITNESS = "self-similarity"
"""Sure where bone has corners, it slides along a thin rib: there it is 1.9 mm off (median; 90 % within 5.1) where the
others are 1.1 (2.6). In bone it speaks in the doubt, and in the place only where fewer than three others found one. In
soft tissue it is as good as the others."""


@dataclass(frozen=True, eq=False)
class Vote:
    """What the measures say together.

    Attributes:
        ct_from_mr: the fit nearest to the median place, shifted onto it.
        place_mm: ``(3,)``, the geometric median of the places that the fits give, in bone the witness's left out.
        disagreement_mm: 75th percentile of the distances to it, the witness's among them; in bone, where what is near
            had a vote, the `NEAR_PERCENT`-th.
        distances_mm: each measure's distance to it.
    """

    ct_from_mr: Rigid
    place_mm: Points
    disagreement_mm: float
    distances_mm: Mapping[str, float]


def vote(here: Surroundings, *, seed: int) -> Vote | None:
    """The measures' vote on a place; None where fewer than `LEAST_FITS` found the images under the start, or the first
    look at soft tissue lost it.

    In soft tissue mutual information looks around first, and all measures vote on what is near to where it ends. In
    bone what is near has a vote, too, where the measures disagree.
    """
    if not here.in_bone:
        return _of_soft_tissue(here, seed)
    fits = dict(all_fits(here, seed))
    first = _counted(here, fits)
    if first is None or first.disagreement_mm <= DOUBT_MM:
        return first
    near = all_fits(here.nearer(first.ct_from_mr), seed, but=WITNESS)
    return _counted(here, fits | {f"{name}, near": found for name, found in near}, NEAR_PERCENT)


def vote_once(here: Surroundings, *, seed: int) -> Vote | None:
    """The measures' vote on all of the surroundings, without a look at what is near: to tell which lesion is which."""
    return _counted(here, dict(all_fits(here, seed)))


def _of_soft_tissue(here: Surroundings, seed: int) -> Vote | None:
    wide = fit_information(here.ct, here.mr, here.mr_from_ct, here.at_ct, seed=seed)
    if wide is None:
        return _counted(here, dict(all_fits(here, seed)))
    found = wide.inverse()
    if np.linalg.norm(found.apply(here.at_mr) - here.at_ct) > LOST_MM:
        return None
    near = {f"{name}, near": fitted for name, fitted in all_fits(here.nearer(found), seed)}
    return _counted(here, {"information": found, **near})


def _counted(here: Surroundings, fits: Mapping[str, Rigid], percent: float = 75.0) -> Vote | None:
    if len(fits) < LEAST_FITS:
        return None
    places = {name: found.apply(here.at_mr) for name, found in fits.items()}
    voters = [name for name in fits if name != WITNESS or not here.in_bone]
    voters = voters if len(voters) >= LEAST_FITS else list(fits)
    median = geometric_median(np.array([places[name] for name in voters]))
    distances = {name: float(np.linalg.norm(place - median)) for name, place in places.items()}
    nearest = fits[min(voters, key=distances.__getitem__)]
    spread_mm = float(np.percentile(list(distances.values()), percent))
    return Vote(_through(nearest, here.at_mr, median), median, spread_mm, distances)


def all_fits(here: Surroundings, seed: int, *, but: str = "") -> Iterator[tuple[str, Rigid]]:
    """Every ``ct_from_mr`` that a measure finds, by the measure's name, ``but`` one.

    Mutual information of all channels together (Powell), of one channel (SimpleITK), self-similarity of all channels
    (from the start and from the first result, the lower cost of the two), and mutual information of one channel in
    the inverse direction. A measure that loses the images has no vote.
    """
    information = fit_information(here.ct, here.mr, here.mr_from_ct, here.at_ct, seed=seed)
    starts = [here.mr_from_ct]
    if information is not None:
        yield "information", information.inverse()
        starts.append(information)
    sharp = here.mr[here.sharpest]
    yield from _simpleitk(
        "SimpleITK", lambda: fit(here.ct, sharp, here.mr_from_ct, here.at_ct, AROUND_LESION, seed=seed).inverse()
    )
    if but != WITNESS:
        yield from _similar(here, starts, seed)
    fixed = replace(sharp, mask=here.mr_mask)
    whole = replace(here.ct, mask=None)
    yield from _simpleitk("inverse", lambda: fit(fixed, whole, here.ct_from_mr, here.at_mr, AROUND_LESION, seed=seed))


def _similar(here: Surroundings, starts: Sequence[Rigid], seed: int) -> Iterator[tuple[str, Rigid]]:
    similarity = Similarity.of(here.ct, here.mr, here.at_ct, seed=seed, points=POINTS)
    found = min((similarity.fit(start) for start in starts), key=lambda fitted: fitted.cost)
    if np.isfinite(found.cost):
        yield WITNESS, found.moving_from_fixed.inverse()


def _simpleitk(name: str, fitted: Callable[[], Rigid]) -> Iterator[tuple[str, Rigid]]:
    try:
        yield name, fitted()
    except RuntimeError:  # SimpleITK: too few samples under the mask
        return


def geometric_median(points: Points) -> Points:
    """The point ``(3,)`` with the least sum of distances to points ``(N, 3)`` (Weiszfeld's iteration)."""
    centre = points.mean(axis=0)
    for _ in range(100):
        distances = np.maximum(np.linalg.norm(points - centre, axis=1), 1e-6)
        centre = (points / distances[:, None]).sum(axis=0) / (1.0 / distances).sum()
    return np.asarray(centre)


def _through(found: Rigid, at_mr: Points, to_ct: Points) -> Rigid:
    """The fit's rotation with the shift that takes a place exactly where the vote says."""
    matrix = found.matrix.copy()
    matrix[:3, 3] += to_ct - found.apply(at_mr)
    return Rigid(matrix, found.target, found.source)
