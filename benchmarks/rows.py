"""What a bench returns: figures beside a peer's, and which of them must reach a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure beside its peer's; less is better.

    Attributes:
        bar: greatest ratio of ours to the peer's that is good enough; None where there is no bar.
    """

    work: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    bar: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def missed(self) -> bool:
        return self.bar is not None and not self.ratio <= self.bar


@dataclass(frozen=True)
class Outcome:
    """All rows of a bench, and what there is to read above them."""

    rows: tuple[Row, ...]
    text: str = ""


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{**asdict(row), "ratio": row.ratio} for row in rows]


def as_text(rows: Sequence[Row]) -> str:
    return "\n".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    said = f"{row.work:30} {row.ours:8.2f} {row.unit:6} {row.peer:8.2f} ({row.peer_name})  ratio {row.ratio:.2f}"
    return said if row.bar is None else f"{said}  bar {row.bar:.2f} {'MISSED' if row.missed else 'met'}"


def as_markdown(rows: Sequence[Row]) -> str:
    """A table, a line a row."""
    lines = ["| figure | ours | peer | ratio | bar | |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        bar, verdict = ("", "") if row.bar is None else (f"{row.bar:.2f}", "MISSED" if row.missed else "met")
        ours, peer = f"{row.ours:.2f} {row.unit}", f"{row.peer:.2f} {row.unit} ({row.peer_name})"
        lines.append(f"| {row.work} | {ours} | {peer} | {row.ratio:.2f} | {bar} | {verdict} |")
    return "\n".join(lines)
