"""Which MR volumes of an exam a registration uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from psdt_planner.exam import Exam
from psdt_planner.images import Kind, Volume
from psdt_planner.lesions import FlaggedLesion

ANATOMICAL = (Kind.T1, Kind.DIXON_IN, Kind.DIXON_FAT, Kind.DIXON_WATER, Kind.T2)
"""MR that shows anatomy without EPI distortion, the best for a fit first."""

DIFFUSION = (Kind.DWI_TRACE, Kind.DWI)

CHANNELS = 2
"""Anatomical volumes that vote on a lesion's place: more cost time and agree with the first two."""


@dataclass(frozen=True)
class Channels:
    """The MR volumes of the flags' frame that a registration uses.

    Attributes:
        anatomical: the best first; where the exam has no anatomical images, the DWI.
        dwi: the low-b image beside them; None where there is none.
    """

    anatomical: tuple[Volume, ...]
    dwi: Volume | None

    @property
    def whole_body(self) -> Volume | None:
        """What the whole body is registered with; None where there is nothing."""
        return self.anatomical[0] if self.anatomical else None


def channels_of(exam: Exam, frame: str, flags: Sequence[FlaggedLesion] | None = None) -> Channels:
    """Anatomy first; where the exam has none, the DWI at its lowest and at its highest b-value stands in for it.

    Only volumes that hold every one of ``flags`` (by default all of the exam's) count. Of one kind the longest goes
    first: it shows most of the body. The EPI shift is told from the series on the lattice that the flags were drawn
    on, where there is one.
    """
    flags = exam.flags if flags is None else flags
    places = np.array([flag.centroid_mm for flag in flags])

    def fitting(*kinds: Kind) -> list[Volume]:
        here = [volume for volume in exam.of_kind(*kinds) if volume.grid.frame == frame]
        return [volume for volume in here if volume.grid.contains(places).all()]

    anatomical = sorted(fitting(*ANATOMICAL), key=lambda v: (ANATOMICAL.index(v.quantity.kind), -_length_mm(v)))
    drawn_on = {volume.grid for volume in exam.mr if flags[0].series_uid in volume.series_uids}
    dwi = sorted(
        fitting(*DIFFUSION), key=lambda v: (v.grid not in drawn_on, v.quantity.b_value_s_per_mm2 or 0.0, v.series_uid)
    )
    if anatomical:
        return Channels(tuple(anatomical[:CHANNELS]), dwi[0] if dwi else None)
    same = tuple(volume for volume in dwi if volume.grid == dwi[0].grid)
    return Channels((*same[:1], *same[1:][-1:]), None)


def channels_by_lesion(exam: Exam, frame: str, excluded: Collection[str] = ()) -> tuple[Channels, dict[str, Channels]]:
    """What the whole body is registered with, and what each lesion is, by its id.

    A flag beyond the end of T1 takes T1 from itself alone. The whole body has what serves most flags, those of lesions
    that a person excluded not counted.
    """
    own = {flag.id: channels_of(exam, frame, (flag,)) for flag in exam.flags}
    wanted = [flag.id for flag in exam.flags if flag.id not in excluded] or list(own)
    ((most, _),) = Counter(own[lesion].anatomical for lesion in wanted).most_common(1)
    return next(one for one in own.values() if one.anatomical == most), own


def _length_mm(volume: Volume) -> float:
    return float(volume.grid.slice_offsets_mm[-1])
