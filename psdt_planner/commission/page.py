"""The physicist's report: one HTML file that opens without a network, the same as Markdown, and as JSON."""

from __future__ import annotations

import base64
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from psdt_planner.commission.contours.rows import ContourRows
from psdt_planner.commission.figures import Figure, figures, rank_correlation
from psdt_planner.commission.plots import plots
from psdt_planner.commission.rows import Rows
from psdt_planner.commission.section import Section, all_missed
from psdt_planner.commission.tables import Table, tables

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


def mapping_section(rows: Rows) -> Section:
    """Everything that is said of the phantoms; the same rows give the same section."""
    counts = f"Phantoms: {len(rows.cases)}; lesions: {len(rows.lesions)}"
    remark = correlation_words(rows)
    return Section("Mapping", counts, (NOTICE, METHOD), remark, figures(rows), tables(rows), plots(rows))


def render_html(sections: Sequence[Section], made: Made) -> str:
    """The report as HTML, with its style and plots inside; the same arguments give the same text."""
    environment = Environment(
        loader=PackageLoader("psdt_planner.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    template = environment.get_template("commission.html")
    return template.render(banner=BANNER, made=made, sections=sections, met=not all_missed(sections))


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def render_markdown(section: Section, made: Made, other: tuple[str, str]) -> str:
    """One section's words and tables as Markdown; ``other`` is the other section's title and its page beside this."""
    words = "\n\n".join(section.words)
    head = (
        f"# Validation: {section.title.lower()}\n\n"
        f"Made by `{made.command}` with psdt {made.version} on Python {made.python}. {section.counts}. "
        "[physicist.md](physicist.md#commissioning) says what the figures mean.\n\n"
        f"**Tables of {other[0].lower()}: [{other[1]}]({other[1]})**, made by the same command.\n\n"
        f"{words}\n\n**{section.verdict}** {section.remark}"
    )
    return "\n\n".join([head.rstrip(), *(_markdown(table) for table in section.tables)]) + "\n"


def _markdown(table: Table) -> str:
    lines = [_line(cells) for cells in (table.head, ["---"] * len(table.head), *table.rows)]
    return f"## {table.title}\n\n{table.note}\n\n" + "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def report_json(rows: Rows, contours: ContourRows, sections: Sequence[Section], made: Made) -> dict[str, Any]:
    """The rows and the figures as values of JSON, by the schema in docs/physicist.md; of a part not run, no rows."""
    correlation, count = rank_correlation(rows.lesions)
    return {
        "schema": SCHEMA,
        "psdt": made.version,
        "python": made.python,
        "made": made.at.isoformat(),
        "command": made.command,
        "missed": [figure.key for figure in all_missed(sections)],
        "figures": [_figure_json(figure) for section in sections for figure in section.figures],
        "by_deformation": {
            f"{deformation:g}": {f.key: f.value for f in figures(rows.of_deformation(deformation))}
            for deformation in rows.deformations
        },
        "rank_correlation": {"value": correlation, "lesions": count},
        "cases": [asdict(case) | {"started_right": case.started_right} for case in rows.cases],
        "trials": [asdict(trial) for trial in rows.trials],
        "contours": asdict(contours),
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
