"""Several measures of different kind fit the surroundings of one place; their median is the result.

Disagreement between different measures predicts the error; restarts of the same one do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from psdt_planner.geometry import Points, Rigid
from psdt_planner.registration.around import Surroundings
from psdt_planner.registration.fits import AROUND_LESION, fit
from psdt_planner.registration.information import fit_information
from psdt_planner.registration.similarity import POINTS, Similarity

LEAST_FITS = 3


@dataclass(frozen=True, eq=False)
class Vote:
    """What the measures say together.

    Attributes:
        ct_from_mr: the fit nearest to the median place, shifted onto it.
        place_mm: ``(3,)``, the geometric median of the places that the fits give.
        disagreement_mm: 75th percentile of their distances to it.
        distances_mm: each measure's distance to it.
    """

    ct_from_mr: Rigid
    place_mm: Points
    disagreement_mm: float
    distances_mm: Mapping[str, float]


def vote(here: Surroundings, *, seed: int) -> Vote | None:
    """The measures' vote on a place; None where fewer than `LEAST_FITS` found the images under the start."""
    fits = dict(all_fits(here, seed))
    if len(fits) < LEAST_FITS:
        return None
    places = np.array([found.apply(here.at_mr) for found in fits.values()])
    median = geometric_median(places)
    distances = np.linalg.norm(places - median, axis=1)
    nearest = list(fits.values())[int(distances.argmin())]
    return Vote(
        _through(nearest, here.at_mr, median),
        median,
        float(np.percentile(distances, 75)),
        dict(zip(fits, distances.tolist(), strict=True)),
    )


def all_fits(here: Surroundings, seed: int) -> Iterator[tuple[str, Rigid]]:
    """Every ``ct_from_mr`` that a measure finds, by the measure's name.

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
    similarity = Similarity.of(here.ct, here.mr, here.at_ct, seed=seed, points=POINTS)
    found = min((similarity.fit(start) for start in starts), key=lambda fitted: fitted.cost)
    if np.isfinite(found.cost):
        yield "self-similarity", found.moving_from_fixed.inverse()
    fixed = replace(sharp, mask=here.mr_mask)
    whole = replace(here.ct, mask=None)
    yield from _simpleitk("inverse", lambda: fit(fixed, whole, here.ct_from_mr, here.at_mr, AROUND_LESION, seed=seed))


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
