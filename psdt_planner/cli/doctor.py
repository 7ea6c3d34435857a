"""``psdt doctor``: a check of the whole set-up that sends no patient data."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from dicom_nodes import checks
from dicom_nodes.checks import Check, Stand
from psdt_planner.casebook import Casebook
from psdt_planner.cli.config_file import DEFAULT_CONFIG, ConfigFile
from psdt_planner.cli.console import out, quietly, table
from psdt_planner.cli.errors import Exit
from psdt_planner.dossier import load_destination, load_protocol
from psdt_planner.errors import PsdtError
from psdt_planner.worker import Config, load_config


def doctor_command(
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Check the set-up: port, disk, clock, databases, decoders, AE titles, certificates, and what every peer takes.

    Associations are opened and presentation contexts asked for; no patient's data is sent. The exit status is 4 where
    this machine or the configuration must be mended, 3 where only a peer or the network must, and 0 otherwise, with
    warnings too.

    Example: [bold]psdt doctor --config psdt.toml[/]
    """
    loaded = load_config(config)
    now_s = time.time()
    archive = loaded.fetch.peer if loaded.fetch else ""
    with quietly():
        found = [
            *checks.machine(loaded.node, now_s),
            _casebook(loaded),
            _plans(loaded),
            *checks.peers(loaded.node, loaded.worker.destination, archive, now_s),
        ]
    if as_json:
        out.print_json(json.dumps({"schema": 1, "checks": [asdict(check) for check in found]}))
    else:
        _print(found)
    bad = [check for check in found if check.stand is Stand.BAD]
    if bad:
        raise typer.Exit(Exit.NETWORK if all(check.is_peer for check in bad) else Exit.CONFIGURATION)


def _casebook(config: Config) -> Check:
    try:
        casebook = Casebook(config.worker.casebook)
        cases = len(casebook.cases())
        casebook.close()
    except PsdtError as error:
        return Check("casebook", Stand.BAD, error.message, error.todo or "See docs/it.md.")
    return Check("casebook", Stand.GOOD, f"{cases} cases")


def _plans(config: Config) -> Check:
    """What a plan needs beside its inputs: protocol, destination, and a folder to write into."""
    try:
        protocol = load_protocol(config.worker.protocol)
        load_destination(config.worker.profile)
        config.worker.folder.mkdir(parents=True, exist_ok=True)
    except PsdtError as error:
        return Check("plans", Stand.BAD, str(error))
    except OSError as error:
        return Check("plans", Stand.BAD, f"{config.worker.folder}: {error.strerror}", "Let psdt write there.")
    return Check("plans", Stand.GOOD, f"protocol {protocol.name}, destination profile {config.worker.profile}")


def _print(found: Sequence[Check]) -> None:
    rows = table("", "check", "", "what was found", "what to do")
    styles = {Stand.GOOD: "green", Stand.WARN: "yellow", Stand.BAD: "bold red"}
    for check in found:
        rows.add_row(check.what, check.stand.value, check.detail, check.todo, style=styles[check.stand])
    out.print(rows)
