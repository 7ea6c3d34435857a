"""How an ROI and its rings are told, and how many rings become one complaint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psdt_planner.dicom.rtstruct_file import RingInFile, RoiInFile
from psdt_planner.lint.codes import Complaint


def told(roi: RoiInFile) -> str:
    """``3 Heart``; an ROI without a number or a name is told by what it has."""
    number = "?" if roi.number is None else str(roi.number)
    return f"{number} {roi.name}".strip()


def rings_that(code: str, roi: RoiInFile, rings: Sequence[RingInFile], say: str, then: str = "") -> Iterator[Complaint]:
    """One complaint about all of these rings of an ROI, and none where there are none.

    ``say`` goes on after "ring 7 ", with ``{ring.bytes}`` and the like standing for what the first ring has;
    ``then`` is told as it is.
    """
    if rings:
        others = f"; and {len(rings) - 1} more rings" if len(rings) > 1 else ""
        message = f"ring {rings[0].number} {say.format(ring=rings[0])}{then}{others}"
        yield Complaint(code, message, told(roi), rings[0].number, count=len(rings))
