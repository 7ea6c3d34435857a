"""What a person sees: progress while it takes long, findings in order of weight, errors in plain words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from psdt_planner.findings import Finding, Level

out = Console(highlight=False, markup=False, emoji=False)
"""Text is printed as it is: labels, reasons and names come from outside, and a bracket in one is not markup."""
err = Console(stderr=True, highlight=False, markup=False, emoji=False)

STYLES = {Level.HOLD: "bold red", Level.WARN: "yellow", Level.INFO: "dim"}
ORDER = (Level.HOLD, Level.WARN, Level.INFO)


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, and what to tell it: what is being done, how much of how many."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not (shown and err.is_terminal)) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the lines of the log off the screen, for a command that says for itself what happened."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def print_findings(findings: Iterable[Finding]) -> None:
    """Every finding on standard error, those that hold first."""
    for finding in sorted(findings, key=lambda finding: ORDER.index(finding.level)):
        line = Text(f"{finding.level.value:5}", STYLES[finding.level])
        err.print(line.append(f" {finding.code}: {finding.message}", "default"), soft_wrap=True)


def table(title: str, *columns: str) -> Table:
    """An empty table in the house style."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column)
    return made
