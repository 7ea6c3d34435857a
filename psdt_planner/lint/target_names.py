"""How targets are named: by TG-263 or not, and what the dose in a name says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psdt_planner.dicom.rtstruct_file import RoiInFile
from psdt_planner.errors import InputError
from psdt_planner.lint.codes import Complaint
from psdt_planner.lint.rois import told
from psdt_planner.tg263 import LONGEST_NAME, TARGET_TYPES, NumericDose, TargetName

TARGETS = frozenset({"GTV", "CTV", "PTV"})
"""RTROIInterpretedType of targets."""

LIKELY_CGY = (100, 10_000)
"""Total doses that are prescribed: from 1 to 100 Gy; project-derived. A name beyond says something else than was meant:
``PTV_60`` reads as 60 cGy, ``PTV_6000x30`` as 60 Gy thirty times (AAPM TG-263, rules 6 and 7 of targets)."""


def target_names(rois: Sequence[RoiInFile]) -> Iterator[Complaint]:
    """Targets, by name and interpreted type, whose names are none by TG-263, or tell a dose that nobody gives.

    A name that begins as no target's does follows no rule of TG-263 that it could break, and one too long has its own
    complaint.
    """
    for roi in rois:
        if TARGETS & set(roi.types) and roi.name.startswith(TARGET_TYPES) and len(roi.name) <= LONGEST_NAME:
            yield from _of(roi)


def _of(roi: RoiInFile) -> Iterator[Complaint]:
    try:
        dose = TargetName.parse(roi.name).dose
    except InputError as error:
        yield Complaint("target-name-other", error.message, told(roi))
        return
    if isinstance(dose, NumericDose):
        total = dose.cgy * (dose.fractions or 1)
        if not LIKELY_CGY[0] <= total <= LIKELY_CGY[1]:
            times = f" in each of {dose.fractions} fractions, {total / 100:g} Gy" if dose.fractions else ""
            yield Complaint("target-dose-unlikely", f"its name reads as {dose.cgy / 100:g} Gy{times} in all", told(roi))
