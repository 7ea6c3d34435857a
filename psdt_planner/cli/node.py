"""``psdt serve`` with its halves, and the network by hand."""

from __future__ import annotations

import hashlib
import logging
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from importlib import import_module
from pathlib import Path
from typing import Annotated

import structlog
import typer

from dicom_nodes.headers import read_file_header, read_file_manufacturer
from dicom_nodes.listener import open_listener
from dicom_nodes.query import echo
from dicom_nodes.reception import Label
from dicom_nodes.sender import Sent
from dicom_nodes.statuses import Meaning
from psdt_planner.casebook import Casebook
from psdt_planner.cli.config_file import DEFAULT_CONFIG, ConfigFile
from psdt_planner.cli.console import out, table
from psdt_planner.cli.errors import Exit
from psdt_planner.cli.operate import operated
from psdt_planner.dicom.identity import MANUFACTURER
from psdt_planner.errors import InputError
from psdt_planner.worker import Config, case_of, deliverer, load_config, may_leave, open_worker


def serve_command(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Receive studies, plan each case that is complete and quiet, and send what is released.

    Runs until interrupted; [bold]psdt listen[/] and [bold]psdt work[/] are its halves.

    Example: [bold]psdt serve --config psdt.toml[/]
    """
    _run(load_config(config), listening=True, working=True)


def listen_command(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Only receive; another process works.

    Example: [bold]psdt listen --config psdt.toml[/]
    """
    _run(load_config(config), listening=True, working=False)


def work_command(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Only plan and send; another process receives.

    Example: [bold]psdt work --config psdt.toml[/]
    """
    _run(load_config(config), listening=False, working=True)


def _run(config: Config, *, listening: bool, working: bool) -> None:
    _log_lines()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    with ExitStack() as running:
        worker = None
        if working:
            # What planning needs takes twice the memory of all the rest; who only listens does without.
            planner = import_module("psdt_planner.cli.planner").planner
            worker = open_worker(config, planner(config))
            running.callback(worker.close)
        running.enter_context(operated(config, worker, listening=listening))
        if listening:
            listener = running.enter_context(open_listener(config.node, time.time, _label(config)))
            out.print(f"{config.node.ae_title} listens on {config.node.host}:{listener.port}", soft_wrap=True)
        if worker is not None:
            worker.run(stop, time.time)
        else:
            stop.wait()


def _label(config: Config) -> Label:
    """Lets the listener's lines name the case that an object belongs to, before the case has heard of it."""
    with closing(Casebook(config.worker.casebook)) as casebook:
        salt = casebook.salt
    return lambda header: {"case": case_of(salt, header)}


def _log_lines() -> None:
    """One line an event on standard output, keys and values; what is logged names no patient."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event", "case"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def echo_command(
    peer: Annotated[str, typer.Argument(metavar="PEER", help="Name of a peer in the configuration.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Ask a peer whether it answers (C-ECHO).

    Example: [bold]psdt echo tps[/]
    """
    node = load_config(config).node
    echo(node.peer(peer), node.ae_title)
    out.print(f"{peer} answers.")


def push_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, help="A DICOM file, or a folder of them.")],
    to: Annotated[str, typer.Option("--to", metavar="PEER", help="Name of a peer in the configuration.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Send files to a peer (C-STORE or STOW-RS), as they are: to test a connection, or to hand on what others made.

    What psdt itself made goes only if a case of the casebook was released with it; otherwise nothing is sent and the
    exit status is 1.

    Example: [bold]psdt push incoming/ct/ --to tps[/]
    """
    loaded = load_config(config)
    files = sorted(file for file in path.rglob("*.dcm")) if path.is_dir() else [path]
    _refuse_unreleased(files, loaded.worker.casebook)
    results = tuple(deliverer(loaded.node, to)(files))
    _print_sent(results)
    if any(sent.meaning is Meaning.FAILURE for sent in results):
        raise typer.Exit(Exit.NETWORK)


def _refuse_unreleased(files: Sequence[Path], casebook_url: str) -> None:
    """Raise ``InputError`` where a file of ours is not, byte for byte, what a person released."""
    ours = [file for file in files if read_file_manufacturer(file).casefold() == MANUFACTURER]
    if not ours:
        return
    casebook = Casebook(casebook_url)
    refused = [
        file.name
        for file in ours
        if not may_leave(
            casebook, read_file_header(file).sop_instance_uid, hashlib.sha256(file.read_bytes()).hexdigest()
        )
    ]
    casebook.close()
    if refused:
        raise InputError(
            f"psdt made {', '.join(refused)}, and no released case holds it as it is: nothing was sent",
            todo="Look at the case and release it: psdt release ID --by NAME.",
        )


def _print_sent(results: tuple[Sent, ...]) -> None:
    rows = table("", "file", "status", "what it means")
    for sent in results:
        status = "none" if sent.status is None else f"{sent.status:04X}"
        rows.add_row(sent.path.name, status, sent.reason or sent.meaning.value)
    out.print(rows)
