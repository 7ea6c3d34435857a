"""What the prescribing objects share: each PTV with its proposed schedule, and the words that mark a proposal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psdt_planner.errors import FaultError
from psdt_planner.fractionation import Schedule

LABEL: Final = "psdt PROPOSAL"
"""RTPlanLabel and its like (SH, 16 characters)."""

WORDS: Final = "PROPOSAL - NOT A PRESCRIPTION. By psdt, research software; unapproved."


@dataclass(frozen=True)
class ProposedTarget:
    """One PTV and the dose that is proposed for it.

    Attributes:
        lesion: its id.
        roi_number, roi_name: of the PTV in the structure set.
        site: in words.
        tracking_uid: the lesion's identity over time; empty where it has none.
        schedule: dose and fractions.
        rule: what it rests on.
    """

    lesion: str
    roi_number: int
    roi_name: str
    site: str
    tracking_uid: str
    schedule: Schedule
    rule: str


def checked(targets: Sequence[ProposedTarget]) -> None:
    """Raises:
    FaultError: no target, or an ROI twice.
    """
    numbers = [target.roi_number for target in targets]
    if not numbers or len(set(numbers)) != len(numbers):
        raise FaultError("an object that prescribes needs each target once, and at least one")
