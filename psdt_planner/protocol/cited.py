"""What every row of a protocol has: known keys only, and a source."""

from __future__ import annotations

from typing import Literal

from psdt_planner.tables import Table, Words

Certainty = Literal["H", "M", "L"]
"""How sure the row is: high, moderate, low."""

Basis = Literal["read", "transcribed", "recalled", "project-derived"]
"""How the row came here: the source was read; only a transcription was; neither, to be verified; or it is our own."""


class Cited(Table):
    """A row with its source."""

    source: Words
    """The publication, or what else the row rests on."""
    place: Words
    """Where in the source."""
    basis: Basis
    certainty: Certainty
    note: str = ""
    """What a reader of the proposal should know about this row."""

    @property
    def citation(self) -> str:
        """Source and place, with how the row came here where nobody read the source for it."""
        doubt = "" if self.basis in ("read", self.source) else f" ({self.basis})"
        return f"{self.source}, {self.place}{doubt}"
