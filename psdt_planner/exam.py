"""All that came in for one patient, as values: what planning starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from psdt_planner.deformation import Deformation
from psdt_planner.findings import Finding
from psdt_planner.geometry import Points, Rigid
from psdt_planner.images import Kind, Volume
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint
from psdt_planner.shapes import Contour


@dataclass(frozen=True, eq=False)
class Organ:
    """An organ that somebody contoured on the planning CT.

    Attributes:
        name: ROIName as sent.
        number: ROINumber as sent.
        source_uid: SOPInstanceUID of the structure set.
        contours: rings on slices of the planning CT; may be empty, which is not the same as absent.
        code: SNOMED CT code of what it is, as sent; empty where there is none.
    """

    name: str
    number: int
    source_uid: str
    contours: tuple[Contour, ...]
    code: str = ""


@dataclass(frozen=True, eq=False)
class Landmark:
    """Points that somebody marked on the planning CT: one ROI of type POINT.

    Attributes:
        name: ROIName as sent.
        number: ROINumber as sent.
        source_uid: SOPInstanceUID of the structure set.
        points_mm: ``(N, 3)``, in the CT's frame; mostly one, on a slice or between.
    """

    name: str
    number: int
    source_uid: str
    points_mm: Points


@dataclass(frozen=True)
class Limit:
    """Images of one series that a registration is limited to.

    Attributes:
        frame: Frame of Reference UID of the images; empty where they are not among the inputs.
        series_uid: their SeriesInstanceUID; empty where they are not among the inputs.
        images: their SOP Instance UIDs.
        of: how many images the series has.
    """

    frame: str
    series_uid: str
    images: frozenset[str]
    of: int


@dataclass(frozen=True, eq=False)
class ImportedRegistration:
    """A transform that came in as one item of a Spatial Registration or Deformable Spatial Registration object.

    Attributes:
        transform: target frame from source frame, as the object says. A rigid item leads to the object's frame; a
            deformable one leads away from it.
        source_uid: SOPInstanceUID of the object.
        limits: the images of the item's frame that it holds for; empty where it holds for the whole frame.
    """

    transform: Rigid | Deformation
    source_uid: str
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, eq=False)
class PriorExam:
    """An older whole-body exam of the same patient with flags of its own, which this exam's are compared with.

    Attributes:
        flags: in order of their ids, ``P1``, ``P2``, ...
        mr: every MR series of it that could be read.
        days_before: how many days before the exam it was made.
    """

    flags: tuple[FlaggedLesion, ...]
    mr: tuple[Volume, ...]
    days_before: int


@dataclass(frozen=True, eq=False)
class EarlierCourse:
    """The dose of an earlier course of radiotherapy, as planned; whether all of it was given, nobody can tell from it.

    Attributes:
        id: ``C1``, ``C2``, ... in order of the SOP Instance UIDs of the doses.
        dose: physical dose of the whole course in Gy, on its own lattice and in its own frame.
        dose_uid: SOPInstanceUID of the RT Dose.
        plan_uids: those of the RT Plans that it adds up.
        fractions: of the plan; of several plans the fewest of any, which makes every EQD2 an upper bound.
        prescription_gy: lowest total dose that the plans prescribe to a target: the 100 % of an isodose.
        days_before: days from the date of the plan to that of the planning CT; None where either states none. The
            course ended later than it was planned.
    """

    id: str
    dose: Volume
    dose_uid: str
    plan_uids: tuple[str, ...]
    fractions: int
    prescription_gy: float
    days_before: int | None

    @property
    def several_plans(self) -> bool:
        """Whether its dose adds up several plans, so that its dose per fraction is not known voxel by voxel."""
        return len(self.plan_uids) > 1


@dataclass(frozen=True, eq=False)
class Exam:
    """All that came in for one patient.

    Attributes:
        planning_ct: None where it is absent or unusable; then a finding at level hold says why.
        mr: every MR series that could be read, each with its kind and b-value; stations of one exam as one volume.
        flags: in order of their ids.
        organs: on the planning CT, as the TPS sent them.
        registrations: rigid and deformable, as sent.
        findings: everything that reading found out.
        points: marked places without an extent, in order of their ids; each that lies in no flag is a finding that
            holds.
        prior: None where no older exam with flags came in; its flags and its MR are not among those above.
        courses: of earlier radiotherapy, in order of their ids.
        earlier_cts: planning CTs of these courses, in HU; not the planning CT.
        landmarks: on the planning CT, as the TPS sent them.
    """

    planning_ct: Volume | None
    mr: tuple[Volume, ...]
    flags: tuple[FlaggedLesion, ...]
    organs: tuple[Organ, ...]
    registrations: tuple[ImportedRegistration, ...]
    findings: tuple[Finding, ...]
    points: tuple[FlaggedPoint, ...] = ()
    prior: PriorExam | None = None
    courses: tuple[EarlierCourse, ...] = ()
    earlier_cts: tuple[Volume, ...] = ()
    landmarks: tuple[Landmark, ...] = ()

    def of_kind(self, *kinds: Kind) -> Iterator[Volume]:
        """The MR volumes of the given kinds, in order of the kinds, then as read."""
        for kind in kinds:
            yield from (volume for volume in self.mr if volume.quantity.kind is kind)

    def moved_mm(self, series_uid: str) -> Points:
        """``(3,)``, from where the volumes show what a series shows to where the series itself has it; mostly 0.

        A flag lies where its series has it. Where stations were brought together, the images of an outer one lie
        elsewhere in the composed volume.
        """
        stations = (station for volume in self.mr for station in volume.stations)
        moved = (station.moved_mm for station in stations if station.series_uid == series_uid)
        return np.array(next(moved, (0.0, 0.0, 0.0)))
