"""All that came in for one patient, as values: what planning starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from psdt_planner.deformation import Deformation
from psdt_planner.findings import Finding
from psdt_planner.geometry import Rigid
from psdt_planner.images import Kind, Volume
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.shapes import Contour


@dataclass(frozen=True, eq=False)
class Organ:
    """An organ that somebody contoured on the planning CT.

    Attributes:
        name: ROIName as sent.
        number: ROINumber as sent.
        source_uid: SOPInstanceUID of the structure set.
        contours: rings on slices of the planning CT; may be empty, which is not the same as absent.
    """

    name: str
    number: int
    source_uid: str
    contours: tuple[Contour, ...]


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
class Exam:
    """All that came in for one patient.

    Attributes:
        planning_ct: None where it is absent or unusable; then a finding at level hold says why.
        mr: every MR series that could be read, each with its kind and b-value.
        flags: in order of their ids.
        organs: on the planning CT, as the TPS sent them.
        registrations: rigid and deformable, as sent.
        findings: everything that reading found out.
    """

    planning_ct: Volume | None
    mr: tuple[Volume, ...]
    flags: tuple[FlaggedLesion, ...]
    organs: tuple[Organ, ...]
    registrations: tuple[ImportedRegistration, ...]
    findings: tuple[Finding, ...]

    def of_kind(self, *kinds: Kind) -> Iterator[Volume]:
        """The MR volumes of the given kinds, in order of the kinds, then as read."""
        for kind in kinds:
            yield from (volume for volume in self.mr if volume.quantity.kind is kind)
