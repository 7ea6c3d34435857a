"""What planning asks of one flag: where it stands, on what it was drawn, and its ADC."""

from __future__ import annotations

import numpy as np

from psdt_planner.exam import Exam
from psdt_planner.geometry import Rigid
from psdt_planner.images import Kind, sample
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.planning.channels import ANATOMICAL
from psdt_planner.registration import Place

UNDISTORTED = frozenset(kind.value for kind in (*ANATOMICAL, Kind.DIXON_OUT, Kind.PLANNING_CT, Kind.CT))
"""A flag drawn on anything else, or on nobody knows what, may stand where an echo-planar image shows it."""

BONE_SITES = frozenset({"spine", "bone", "femur", "rib", "skull"})
"""Sites whose lesions move as bone does; everything else, and what nobody named, counts as soft tissue."""


def place_of(flag: FlaggedLesion, exam: Exam) -> Place:
    """What a registration must know of a flag's surroundings, where the exam's volumes show them."""
    return Place(
        lesion=flag.id,
        centre_mm=flag.centroid_mm - exam.moved_mm(flag.series_uid),
        voxel_mm=max(flag.grid.spacing_kji_mm),
        in_bone=flag.site in BONE_SITES,
        on_dwi=flag.drawn_on_kind not in UNDISTORTED,
        side=flag.side,
    )


def as_flagged(to_target: Rigid, flag: FlaggedLesion, exam: Exam) -> Rigid:
    """A transform of what the exam's volumes show, for the flag as it was drawn; mostly the same.

    A flag keeps the place of the station that it was drawn on, which a composed volume may show elsewhere.
    """
    moved_mm = exam.moved_mm(flag.series_uid)
    if not moved_mm.any():
        return to_target
    back = np.eye(4)
    back[:3, 3] = -moved_mm
    return to_target @ Rigid(back, to_target.source, to_target.source)


def adc_median(exam: Exam, flag: FlaggedLesion) -> float | None:
    """Median ADC over the flagged voxels; None where no ADC map of the flag's frame holds them all."""
    inside = flag.grid.mm_from_index(np.argwhere(flag.mask >= min(0.5, float(flag.mask.max()))))
    inside = inside - exam.moved_mm(flag.series_uid)
    for volume in exam.of_kind(Kind.ADC):
        if volume.grid.frame == flag.grid.frame and volume.grid.contains(inside).all():
            return float(np.median(sample(volume, inside, flag.grid.frame)))
    return None
