"""What a person should know about a case: findings, each with a code, a level and who must act."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding weighs."""

    INFO = "info"
    """Good to know."""
    WARN = "warn"
    """To be looked at before release."""
    HOLD = "hold"
    """Nothing leaves the house until a person has acted."""


class Who(StrEnum):
    """Who must act on a finding."""

    SENDER = "sender"
    CLINIC = "clinic"
    PERSON = "person"
    NETWORK = "network"
    US = "us"


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know.

    Attributes:
        code: stable, lower case with hyphens, such as ``ct-slice-missing``.
        message: one plain sentence with the place (UIDs, slice positions, file name without its folder).
        value, limit, unit: the figure that decided and the limit it met, where there is one.
        who: who must act.
        lesion: the lesion's id, where the finding is about one.
    """

    code: str
    level: Level
    message: str
    who: Who = Who.SENDER
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    lesion: str = ""


def holds(findings: Iterable[Finding]) -> bool:
    """Whether one of the findings holds the case or the lesion."""
    return any(finding.level is Level.HOLD for finding in findings)
