"""``psdt commission``: what this installation makes of synthetic patients, for the physicist."""

from __future__ import annotations

import json
import os
import shlex
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from psdt_planner import __version__
from psdt_planner.cli.console import err, out, progress_bar, table
from psdt_planner.cli.errors import Exit
from psdt_planner.commission import (
    Figure,
    Made,
    Rows,
    figures,
    missed,
    plan_jobs,
    render_html,
    render_markdown,
    report_json,
    run_jobs,
)
from psdt_planner.commission.tables import said, said_bar, said_figure, verdict


class Covered(StrEnum):
    """What a phantom's CT covers: each region of the fixtures."""

    PELVIS = "pelvis"
    THORAX = "thorax"
    SHORT_LUMBAR = "short-lumbar"
    SHORT_THORACIC = "short-thoracic"


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
Markdown = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", dir_okay=False, help="Tables as Markdown.")
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
    markdown: Markdown = None,
) -> None:
    """Run synthetic patients with known truth through psdt, and write a physicist's report.

    Writes commission.html and commission.json: errors by place, coverage of the bound, refusals and time beside their
    bars. Exit status 1 where a bar is missed. The defaults are 24 phantoms and 10 wrong patients: 30 minutes.

    Example: [bold]psdt commission --out commissioning/ --size small --seeds 2 --region pelvis --deformation 1[/]
    """
    todo = plan_jobs(
        regions=[one.value for one in region or (Covered.PELVIS, Covered.THORAX)],
        seeds=range(first, first + seeds),
        size=size,
        deformations=deformation or [1.0, 1.8],
        pairs=pairs,
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    with progress_bar(shown=True) as progress:
        rows = run_jobs(todo, jobs or os.cpu_count() or 1, progress)
    made = Made(_command(context), __version__, datetime.now(UTC))
    _write(rows, made, out_dir, markdown)
    found = figures(rows)
    _print(found, out_dir)
    if missed(found):
        raise typer.Exit(Exit.HELD)


def _command(context: typer.Context) -> str:
    """What would make the same rows again: every option that decides about them."""
    words = ["psdt", "commission", "--out", "DIR"]
    for name in ("seeds", "first", "size", "region", "deformation", "pairs"):
        given = context.params[name]
        for value in given if isinstance(given, (list, tuple)) else [given]:
            if value is not None:
                words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _write(rows: Rows, made: Made, out_dir: Path, markdown: Path | None) -> None:
    (out_dir / "commission.html").write_text(render_html(rows, made), encoding="utf-8")
    text = json.dumps(report_json(rows, made), indent=1, allow_nan=False)
    (out_dir / "commission.json").write_text(text + "\n", encoding="utf-8")
    if markdown is not None:
        markdown.write_text(render_markdown(rows, made), encoding="utf-8")


def _print(found: tuple[Figure, ...], out_dir: Path) -> None:
    """The figures on one screen, the paths, and on standard error the bars that were missed."""
    rows = table("", "figure", "reached", "bar", "of", "")
    for figure in found:
        rows.add_row(figure.name, said_figure(figure), said_bar(figure), str(figure.count), verdict(figure))
    out.print(rows)
    for name in ("commission.html", "commission.json"):
        out.print(str(out_dir / name), soft_wrap=True)
    for figure in missed(found):
        reached = said(figure.value, figure.unit)
        err.print(f"missed: {figure.name}: {reached}, must be {said_bar(figure)}", style="bold red", soft_wrap=True)
