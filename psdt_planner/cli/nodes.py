"""``psdt nodes``: the node's own housekeeping."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_nodes.index import Index
from dicom_nodes.storage import Storage
from psdt_planner.cli.console import out
from psdt_planner.worker import load_config

nodes = typer.Typer(
    name="nodes",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@nodes.callback()
def housekeeping() -> None:
    """The node's own housekeeping.

    Example: [bold]psdt nodes reindex[/]
    """


@nodes.command("reindex")
def reindex_command(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The node's configuration.")] = Path(
        "psdt.toml"
    ),
) -> None:
    """Delete the index of received objects and make it again from the storage; the listener must not run.

    No object is touched. A worker hears of every object again, which changes nothing in cases that know it.

    Example: [bold]psdt nodes reindex --config psdt.toml[/]
    """
    node = load_config(config).node
    storage, index = Storage(node.storage), Index(node.index)
    try:
        with storage.locked():
            entered = index.reindex(storage)
    finally:
        index.close()
    out.print(f"{entered} objects entered in the index")
