"""One part of the report, whatever it is about: its words, figures, tables, plots and rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psdt_planner.commission.figures import Figure, missed
from psdt_planner.commission.plots import Plot
from psdt_planner.commission.tables import Table, said


@dataclass(frozen=True)
class Section:
    """What the three forms of the report are made from.

    Attributes:
        title: heading.
        counts: how much was run, in words.
        words: paragraphs on how it was measured and what it does not show.
        remark: what is to be said beside the verdict; may be empty.
    """

    title: str
    counts: str
    words: tuple[str, ...]
    remark: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]

    @property
    def missed(self) -> tuple[Figure, ...]:
        """Figures beyond their bar."""
        return missed(self.figures)

    @property
    def verdict(self) -> str:
        """Whether every bar was met, and which were not."""
        return verdict_words(self.figures)


def verdict_words(found: Iterable[Figure]) -> str:
    """Whether every bar was met, and which were not."""
    names = [f"{figure.name} ({said(figure.value, figure.unit)})" for figure in missed(found)]
    return "Missed bars: " + "; ".join(names) + "." if names else "Every bar with data is met."


def all_missed(sections: Sequence[Section]) -> tuple[Figure, ...]:
    """Figures beyond their bar in any section."""
    return tuple(figure for section in sections for figure in section.missed)
