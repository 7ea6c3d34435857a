"""``psdt commission``: what this installation makes of synthetic patients, for the physicist."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from psdt_planner import __version__
from psdt_planner.cli.console import err, out, progress_bar, table
from psdt_planner.cli.errors import Exit
from psdt_planner.commission import (
    ContourRows,
    Made,
    Rows,
    Section,
    all_missed,
    contours_section,
    mapping_section,
    plan_jobs,
    render_html,
    render_markdown,
    report_json,
    run_contours,
    run_jobs,
)
from psdt_planner.commission.tables import said, said_bar, said_figure, verdict


class Covered(StrEnum):
    """What a phantom's CT covers: each region of the fixtures."""

    PELVIS = "pelvis"
    THORAX = "thorax"
    SHORT_LUMBAR = "short-lumbar"
    SHORT_THORACIC = "short-thoracic"


class Part(StrEnum):
    """What is measured: lesions mapped on phantoms, or masks drawn as contours."""

    MAPPING = "mapping"
    CONTOURS = "contours"


Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where the report goes.")]
Seeds = Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Phantoms of each kind.")]
First = Annotated[int, typer.Option("--first", metavar="N", min=0, help="The first seed.")]
Sizes = Annotated[Literal["small", "full"], typer.Option("--size", help="small is a quick look.")]
Regions = Annotated[list[Covered] | None, typer.Option("--region", help="Repeatable.")]
Deformations = Annotated[
    list[float] | None,
    typer.Option("--deformation", metavar="X", min=0.0, help="Repeatable; 1 and 1.8."),
]
Pairs = Annotated[int, typer.Option("--pairs", metavar="N", min=0, help="Wrong patients.")]
Jobs = Annotated[int | None, typer.Option("--jobs", metavar="N", min=1, help="Processes.")]
Only = Annotated[Part | None, typer.Option("--only", help="One part alone.")]
Places = Annotated[int, typer.Option("--places", metavar="N", min=1, help="Contours: places of each form.")]
Markdown = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="FILE", dir_okay=False, help="Mapping's tables; contours go beside."),
]


def commission_command(
    context: typer.Context,
    out_dir: Out,
    *,
    seeds: Seeds = 6,
    first: First = 101,
    size: Sizes = "full",
    region: Regions = None,
    deformation: Deformations = None,
    pairs: Pairs = 10,
    jobs: Jobs = None,
    only: Only = None,
    places: Places = 40,
    markdown: Markdown = None,
) -> None:
    """Run synthetic patients with known truth through psdt, and write a physicist's report.

    Writes commission.html and commission.json: errors by place, coverage of the bound, refusals, contours and time
    beside their bars. Exit status 1 where a bar is missed. Default: 24 phantoms, 10 wrong patients; 40 minutes.

    Example: [bold]psdt commission --out commissioning/ --size small --seeds 2 --region pelvis --deformation 1[/]
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    parts = [only] if only else list(Part)
    rows, contours, sections = Rows(()), ContourRows(), {}
    if Part.MAPPING in parts:
        todo = plan_jobs(
            regions=[one.value for one in region or (Covered.PELVIS, Covered.THORAX)],
            seeds=range(first, first + seeds),
            size=size,
            deformations=deformation or [1.0, 1.8],
            pairs=pairs,
        )
        with progress_bar(shown=True) as progress:
            rows = run_jobs(todo, jobs or os.cpu_count() or 1, progress)
        sections[Part.MAPPING] = mapping_section(rows)
    if Part.CONTOURS in parts:
        with progress_bar(shown=True) as progress:
            contours = run_contours(places, first, progress)
        sections[Part.CONTOURS] = contours_section(contours)
    made = Made(_command(context), __version__, datetime.now(UTC))
    _write_report(rows, contours, tuple(sections.values()), made, out_dir)
    if markdown is not None:
        _write_markdown(sections, made, markdown)
    _print(tuple(sections.values()), out_dir)
    if all_missed(tuple(sections.values())):
        raise typer.Exit(Exit.HELD)


DECIDING = {
    Part.MAPPING: ("seeds", "first", "size", "region", "deformation", "pairs", "only"),
    Part.CONTOURS: ("first", "only", "places"),
    None: ("seeds", "first", "size", "region", "deformation", "pairs", "places"),
}
"""Options that decide about the rows, by what is measured."""


def _command(context: typer.Context) -> str:
    """What would make the same rows again: every option that decides about them."""
    words = ["psdt", "commission", "--out", "DIR"]
    for name in DECIDING[context.params["only"]]:
        given = context.params[name]
        for value in given if isinstance(given, (list, tuple)) else [given]:
            if value is not None:
                words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _write_report(rows: Rows, contours: ContourRows, sections: Sequence[Section], made: Made, out_dir: Path) -> None:
    (out_dir / "commission.html").write_text(render_html(sections, made), encoding="utf-8")
    text = json.dumps(report_json(rows, contours, sections, made), indent=1, allow_nan=False)
    (out_dir / "commission.json").write_text(text + "\n", encoding="utf-8")


def _write_markdown(sections: Mapping[Part, Section], made: Made, mapping: Path) -> None:
    """A page a section, so that one of them can be made again while the other stays as it was."""
    pages = {Part.MAPPING: mapping, Part.CONTOURS: mapping.with_name(f"{mapping.stem}-contours{mapping.suffix}")}
    for part, section in sections.items():
        other = next(one for one in Part if one is not part)
        text = render_markdown(section, made, (other.value, pages[other].name))
        pages[part].write_text(text, encoding="utf-8")


def _print(sections: Sequence[Section], out_dir: Path) -> None:
    """The figures, the paths, and on standard error the bars that were missed."""
    for section in sections:
        rows = table("", section.title, "reached", "bar", "of", "")
        for figure in section.figures:
            rows.add_row(figure.name, said_figure(figure), said_bar(figure), str(figure.count), verdict(figure))
        out.print(rows)
    for name in ("commission.html", "commission.json"):
        out.print(str(out_dir / name), soft_wrap=True)
    for figure in all_missed(sections):
        reached = said(figure.value, figure.unit)
        err.print(f"missed: {figure.name}: {reached}, must be {said_bar(figure)}", style="bold red", soft_wrap=True)
