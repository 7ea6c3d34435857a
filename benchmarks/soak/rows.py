"""What a soak found, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        must: what the figure must be, in words; empty where it is only told.
        holds: whether it is.
    """

    soak: str
    what: str
    figure: str
    must: str = ""
    holds: bool = True


def must_be(soak: str, what: str, figure: float, wanted: float) -> Row:
    """A figure that must be exactly so."""
    return Row(soak, what, f"{figure:g}", f"{wanted:g}", figure == wanted)


def told(soak: str, what: str, figure: float | str) -> Row:
    """A figure that is told."""
    return Row(soak, what, figure if isinstance(figure, str) else f"{figure:.4g}")


def as_text(rows: Sequence[Row]) -> str:
    """The table, a row a line."""
    lines = [("soak", "what", "figure", "must be", "")]
    lines += [(row.soak, row.what, row.figure, row.must, "" if row.holds else "FAILED") for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
