"""The command line ``psdt``: thin words around the rooms below."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from psdt_planner.cli.errors import guarded

COMMANDS = {
    "plan": "plan.plan_command",
    "inspect": "plan.inspect_command",
    "candidates": "candidates.candidates_command",
    "contour": "contour.contour_command",
    "lint": "lint.lint_command",
    "serve": "node.serve_command",
    "listen": "node.listen_command",
    "work": "node.work_command",
    "cases": "cases.cases_command",
    "case": "cases.case_command",
    "release": "cases.release_command",
    "hold": "cases.hold_command",
    "reopen": "cases.reopen_command",
    "discard": "cases.discard_command",
    "backup": "operate.backup_command",
    "restore": "operate.restore_command",
    "retain": "operate.retain_command",
    "fetch": "fetch.fetch_command",
    "push": "node.push_command",
    "echo": "node.echo_command",
    "doctor": "doctor.doctor_command",
    "nodes": "nodes.nodes",
    "protocol": "protocol.protocol_app",
    "commission": "commission.commission_command",
}
"""Module of this room and function of each command, or group of commands, in the order of the help."""


class _OnDemand(TyperGroup):
    """Imports a command when it is asked for: what planning needs takes seconds to import, and most do not plan."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, function = COMMANDS[cmd_name].split(".")
        found = getattr(import_module(f"psdt_planner.cli.{module}"), function)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)


app = typer.Typer(
    name="psdt",
    cls=_OnDemand,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def psdt() -> None:
    """From flags on whole-body diffusion MRI to a reviewed structure set. Research software, not a medical device."""


def main() -> None:
    """Entry point of the console script; the exit status says who must act."""
    # Asked for huge pages, the kernel may first tidy its memory, which takes longer than reading an exam; numpy looks
    # here when it is imported, which no module above does.
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    sys.exit(guarded(lambda: app(standalone_mode=False)))


__all__ = ["COMMANDS", "app", "main"]
