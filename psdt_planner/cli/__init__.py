"""The command line ``psdt``: thin words around the rooms below."""

from __future__ import annotations

import sys

import typer

from psdt_planner.cli import cases, node
from psdt_planner.cli.commission import commission_command
from psdt_planner.cli.errors import guarded
from psdt_planner.cli.plan import inspect_command, plan_command

app = typer.Typer(
    name="psdt",
    help="From flags on whole-body diffusion MRI to a reviewed structure set. Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

for name, command in (
    ("plan", plan_command),
    ("inspect", inspect_command),
    ("serve", node.serve_command),
    ("listen", node.listen_command),
    ("work", node.work_command),
    ("cases", cases.cases_command),
    ("case", cases.case_command),
    ("release", cases.release_command),
    ("hold", cases.hold_command),
    ("reopen", cases.reopen_command),
    ("discard", cases.discard_command),
    ("push", node.push_command),
    ("echo", node.echo_command),
    ("commission", commission_command),
):
    app.command(name)(command)


def main() -> None:
    """Entry point of the console script; the exit status says who must act."""
    sys.exit(guarded(lambda: app(standalone_mode=False)))


__all__ = ["app", "main"]
