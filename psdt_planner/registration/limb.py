"""A thigh that lies otherwise: where a bone is too far from the whole body's fit for a local fit to find it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from psdt_planner.geometry import Points, Rigid
from psdt_planner.registration.around import Surroundings
from psdt_planner.registration.similarity import Similarity

TRIES, POINTS = 600, 600

TURN_DEG = (22.0, 10.0, 22.0)
"""How far either way about x (the hip bent), y (the leg to the side) and z (the foot turned) is looked."""

SHIFT_MM = (12.0, 25.0, 12.0)
"""How far either way along x, y and z: a bent hip takes the shaft forward."""

REFINED = 3
"""The best tries are fitted."""

CLEARLY = 0.75
"""The other posture must cost this part of what the start's own fit costs, or less. Of femora that were turned it cost
0.4, of bones that lay right all but the same."""


def other_posture(here: Surroundings, *, seed: int) -> Rigid | None:
    """A ``ct_from_mr`` under which the images resemble each other far better than near the start; None without one.

    Turns and shifts about the place are tried at random (seeded) by self-similarity, and the best fitted. Only for
    bones that nothing nearby repeats: along ribs and spine it would find the neighbour.
    """
    similarity = Similarity.of(here.ct, here.mr, here.at_ct, seed=seed, points=POINTS)
    draw = np.random.default_rng(seed)
    turns = draw.uniform(-1.0, 1.0, (TRIES, 3)) * TURN_DEG
    shifts = draw.uniform(-1.0, 1.0, (TRIES, 3)) * SHIFT_MM
    starts = [_moved(here, turn, shift) for turn, shift in zip(turns, shifts, strict=True)]
    starts.sort(key=similarity.cost)
    found = min((similarity.fit(start) for start in starts[:REFINED]), key=lambda fitted: fitted.cost)
    plain = similarity.fit(here.mr_from_ct)
    if not np.isfinite(found.cost) or found.cost > CLEARLY * plain.cost:
        return None
    return found.moving_from_fixed.inverse()


def _moved(here: Surroundings, turn_deg: Points, shift_mm: Points) -> Rigid:
    """``mr_from_ct`` of the start, after a turn about the place and a shift on the CT's side."""
    turn = Rotation.from_rotvec(turn_deg, degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = here.at_ct + shift_mm - turn @ here.at_ct
    frame = here.ct_from_mr.target
    return (Rigid(matrix, frame, frame) @ here.ct_from_mr).inverse()
