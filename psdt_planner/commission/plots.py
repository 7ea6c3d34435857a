"""The report's plots, as SVG.

Drawn with matplotlib's Figure alone: no pyplot, no display, no state between calls; same rows, same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from psdt_planner.commission.rows import LesionRow, Rows

LEAST_MM = 0.01
"""Fits that agree better than this are drawn here: a logarithmic axis has no zero."""

INK, ACCENT, SECOND, STOP = "#1b2127", "#0b4f6c", "#c26a00", "#9b1c1c"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "psdt",
    "svg.fonttype": "path",
    "font.size": 10.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Plot:
    """One plot: an SVG file's bytes, a caption, and the same in words for those who do not see it."""

    svg: bytes
    caption: str
    words: str


def plots(rows: Rows) -> tuple[Plot, ...]:
    """Errors cumulated, against the bound, by place, and against disagreement; none where nothing was mapped."""
    measured = [lesion for lesion in rows.lesions if lesion.error_mm is not None and lesion.bound_mm is not None]
    if not measured:
        return ()
    return (
        drawn(
            lambda axes: _cumulative(axes, measured),
            "Share of accepted lesions within an error",
            "Cumulated errors of accepted lesions in mm, from their true place on T1 and from the flag on DWI.",
        ),
        drawn(
            lambda axes: _against_bound(axes, measured),
            "Error against bound: below the line the bound holds",
            "Each lesion's error in mm over its bound in mm, accepted and held ones apart, with the line of equality.",
        ),
        drawn(
            lambda axes: _by_place(axes, measured),
            "Error by place",
            "Errors of accepted lesions in mm from the flag on DWI, a point a lesion, with boxes by place.",
        ),
        drawn(
            lambda axes: _against_disagreement(axes, measured),
            "Error against the fits' disagreement",
            "Each fitted lesion's error in mm over the disagreement of its fits in mm, both on logarithmic axes.",
        ),
    )


def drawn(draw: Callable[[Axes], None], caption: str, words: str) -> Plot:
    """What a function draws on empty axes, as a plot."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Plot(buffer.getvalue(), caption, words)


def _errors(lesions: Sequence[LesionRow], name: str) -> list[float]:
    return sorted(value for lesion in lesions if lesion.accepted and (value := getattr(lesion, name)) is not None)


def _cumulative(axes: Axes, lesions: Sequence[LesionRow]) -> None:
    for name, label, colour, line in (
        ("t1_error_mm", "from the true place on T1", ACCENT, "-"),
        ("error_mm", "from the flag on DWI", SECOND, "--"),
    ):
        errors = _errors(lesions, name)
        if errors:
            axes.step([0.0, *errors], np.linspace(0.0, 100.0, len(errors) + 1), where="post", color=colour, ls=line,
                      label=label)  # fmt: skip
    axes.axhline(95.0, color=INK, lw=0.6, ls=":")
    axes.set(xlabel="error in mm", ylabel="accepted lesions in %", xlim=(0.0, None), ylim=(0.0, 101.0))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", frameon=False)


def _against_bound(axes: Axes, lesions: Sequence[LesionRow]) -> None:
    for accepted, label, colour, marker in ((True, "accepted", ACCENT, "o"), (False, "held", STOP, "x")):
        chosen = [(lesion.bound_mm, lesion.error_mm) for lesion in lesions if lesion.accepted is accepted]
        points = np.array(chosen, dtype=float).reshape(-1, 2)
        axes.scatter(
            points[:, 0],
            points[:, 1],
            color=colour,
            marker=marker,
            s=22,
            linewidths=0.9,
            label=f"{label} ({len(chosen)})",
        )
    high = max(max(lesion.bound_mm or 0.0, lesion.error_mm or 0.0) for lesion in lesions) * 1.1
    axes.plot([0.1, high], [0.1, high], color=INK, lw=0.8)
    axes.set(xlabel="bound in mm", ylabel="error in mm")
    _logarithmic(axes)
    axes.legend(loc="upper left", frameon=False)


def _logarithmic(axes: Axes) -> None:
    """Both axes, with plain numbers."""
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _by_place(axes: Axes, lesions: Sequence[LesionRow]) -> None:
    places = sorted({lesion.where for lesion in lesions if lesion.accepted})
    groups = [_errors([lesion for lesion in lesions if lesion.where == place], "error_mm") for place in places]
    if groups:
        axes.boxplot(groups, orientation="horizontal", showfliers=False, widths=0.55, medianprops={"color": SECOND})
    for n, errors in enumerate(groups, start=1):
        spread = np.resize([-0.16, 0.0, 0.16, -0.08, 0.08], len(errors))
        axes.scatter(errors, n + spread, s=16, color=ACCENT, alpha=0.8, linewidths=0.0, zorder=3)
    axes.set_yticks(range(1, len(places) + 1), places)
    axes.set(xlabel="error in mm", xlim=(0.0, None))


def _against_disagreement(axes: Axes, lesions: Sequence[LesionRow]) -> None:
    for accepted, colour, marker in ((True, ACCENT, "o"), (False, STOP, "x")):
        pairs = [
            (max(lesion.disagreement_mm, LEAST_MM), lesion.error_mm)
            for lesion in lesions
            if lesion.disagreement_mm is not None and lesion.accepted is accepted
        ]
        points = np.array(pairs, dtype=float).reshape(-1, 2)
        label = "accepted" if accepted else "held"
        axes.scatter(points[:, 0], points[:, 1], color=colour, marker=marker, s=22, linewidths=0.9, label=label)
    axes.set(xlabel="disagreement in mm", ylabel="error in mm")
    _logarithmic(axes)
    axes.legend(loc="upper left", frameon=False)
