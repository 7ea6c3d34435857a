"""The physicist's report: one HTML file that opens without a network, the same as Markdown, and as JSON."""

from __future__ import annotations

import base64
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from psdt_planner.commission.figures import Figure, figures, missed, rank_correlation
from psdt_planner.commission.plots import plots
from psdt_planner.commission.rows import Rows
from psdt_planner.commission.tables import Table, said, tables

SCHEMA = 1
BANNER = "Research software, not a medical device. Synthetic patients: not a commissioning of your scanners."
NOTICE = (
    "These patients are made by a program. Expect two to four times these errors on real ones: bones are not as clean, "
    "and nothing here went through your scanners, your planning system or your hands."
)
METHOD = (
    "Each phantom is written as DICOM, read and planned as a patient would be, and compared with the truth that psdt "
    "never saw. CT and MR differ by a rigid motion, bending at every disc, turning hips, breathing, arms elsewhere, "
    "and the filling of bladder and bowel; lesions are flagged on echo-planar DWI that is shifted along the "
    "phase-encode axis."
)


@dataclass(frozen=True)
class Made:
    """How the report came about: by which command of which version, and when; the same in all three forms."""

    command: str
    version: str
    at: datetime

    @property
    def python(self) -> str:
        """Version of Python."""
        return platform.python_version()


def correlation_words(rows: Rows) -> str:
    """What the fits' disagreement says of the error."""
    value, count = rank_correlation(rows.lesions)
    if value is None:
        return "Too few lesions to tell whether disagreement goes with error."
    return f"Rank correlation of disagreement with error: {value:.2f} over {count} lesions, held ones included."


def verdict_words(found: Iterable[Figure]) -> str:
    """Whether every bar was met, and which were not."""
    names = [f"{figure.name} ({said(figure.value, figure.unit)})" for figure in missed(found)]
    return "Missed bars: " + "; ".join(names) + "." if names else "Every bar with data is met."


def render_html(rows: Rows, made: Made) -> str:
    """The report as HTML, with its style and plots inside; the same arguments give the same text."""
    environment = Environment(
        loader=PackageLoader("psdt_planner.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    found = figures(rows)
    return environment.get_template("commission.html").render(
        banner=BANNER,
        notice=NOTICE,
        method=METHOD,
        made=made,
        rows=rows,
        met=not missed(found),
        verdict=verdict_words(found),
        correlation=correlation_words(rows),
        plots=plots(rows),
        tables=tables(rows),
    )


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def render_markdown(rows: Rows, made: Made) -> str:
    """The report's words and tables as Markdown."""
    head = (
        "# Validation\n\n"
        f"Made by `{made.command}` with psdt {made.version} on Python {made.python}. Phantoms: "
        f"{len(rows.cases)}; lesions: {len(rows.lesions)}. [physicist.md](physicist.md#commissioning) says what the "
        "figures mean.\n\n"
        f"{NOTICE}\n\n{METHOD}\n\n**{verdict_words(figures(rows))}** {correlation_words(rows)}"
    )
    return "\n\n".join([head, *(_markdown(table) for table in tables(rows))]) + "\n"


def _markdown(table: Table) -> str:
    lines = [_line(cells) for cells in (table.head, ["---"] * len(table.head), *table.rows)]
    return f"## {table.title}\n\n{table.note}\n\n" + "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def report_json(rows: Rows, made: Made) -> dict[str, Any]:
    """The rows and the figures as values of JSON, by the schema in docs/physicist.md."""
    found = figures(rows)
    correlation, count = rank_correlation(rows.lesions)
    return {
        "schema": SCHEMA,
        "psdt": made.version,
        "python": made.python,
        "made": made.at.isoformat(),
        "command": made.command,
        "missed": [figure.key for figure in missed(found)],
        "figures": [_figure_json(figure) for figure in found],
        "by_deformation": {
            f"{deformation:g}": {f.key: f.value for f in figures(rows.of_deformation(deformation))}
            for deformation in rows.deformations
        },
        "rank_correlation": {"value": correlation, "lesions": count},
        "cases": [asdict(case) | {"started_right": case.started_right} for case in rows.cases],
        "trials": [asdict(trial) for trial in rows.trials],
    }


def _figure_json(figure: Figure) -> dict[str, Any]:
    limit = "least" if figure.least else "most"
    bar = None if figure.bar is None else {"at": limit, "value": figure.bar}
    return {
        "key": figure.key,
        "name": figure.name,
        "unit": figure.unit,
        "value": figure.value,
        "count": figure.count,
        "interval": figure.interval,
        "bar": bar,
        "missed": figure.missed,
    }
