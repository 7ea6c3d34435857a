"""Operation: copies of the casebook, and what is no longer kept; and what `psdt serve` does beside its work."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dicom_nodes.index import Index
from dicom_nodes.notices import heard_by
from dicom_nodes.storage import Storage
from psdt_planner.case import State
from psdt_planner.casebook import Casebook, back_up, restore
from psdt_planner.cli.config_file import DEFAULT_CONFIG, ConfigFile
from psdt_planner.cli.console import out, table
from psdt_planner.operation import Auditor, Health, Metrics, Removal, carry_out, open_sink, removable, serve_status
from psdt_planner.operation.audit import deletion, exported, start_message, stop_message
from psdt_planner.worker import Config, Worker, load_config


def backup_command(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The copy: one SQLite file that is not there yet.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Copy the casebook into one file, of one moment, while psdt serve runs.

    The storage folder and the plans are copied afterwards, with whatever copies files: what the casebook names is there
    before it is named, and never changes.

    Example: [bold]psdt backup --to /backup/casebook-$(date +%F).db[/]
    """
    loaded = load_config(config)
    count = back_up(loaded.worker.casebook, to)
    if loaded.operation.audit:
        open_sink(loaded.operation.audit, socket.gethostname())(exported(loaded.node.ae_title, time.time(), str(to)))
    out.print(f"{count} events are in {to}.", soft_wrap=True)


def restore_command(
    copy: Annotated[Path, typer.Argument(metavar="FILE", help="What psdt backup made.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Bring a copy of the casebook back, into a database that has no events. Stop psdt serve first.

    Put storage folder and plans back as well, then start psdt serve: it goes on where the casebook stands, and hears of
    what came in after the copy was made.

    Example: [bold]psdt restore /backup/casebook-2026-01-31.db[/]
    """
    loaded = load_config(config)
    count = restore(copy, loaded.worker.casebook)
    if loaded.operation.audit:
        sink = open_sink(loaded.operation.audit, socket.gethostname())
        sink(exported(loaded.node.ae_title, time.time(), str(copy), imported=True))
    out.print(f"{count} events came back.", soft_wrap=True)


def retain_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Remove objects and plans of cases that were sent or discarded long ago, as keep_days of the configuration says.

    Nothing of a case in any other state is removed, and no event of any. Run it daily: files are set aside by one run
    and removed for good by the next.

    Example: [bold]psdt retain --dry-run[/]
    """
    loaded = load_config(config)
    keep_days = {State(state): days for state, days in loaded.operation.keep_days.items()}
    casebook, index, now_s = Casebook(loaded.worker.casebook), Index(loaded.node.index), time.time()
    storage, plans = Storage(loaded.node.storage), loaded.worker.folder
    removals = removable(casebook.cases(), keep_days, now_s)
    told = [deletion(loaded.node.ae_title, now_s, removal, index) for removal in removals]
    if not dry_run:
        removals = carry_out(removals, casebook, index, storage, plans=plans, now_s=now_s)
        done = {removal.case_id for removal in removals}
        if loaded.operation.audit:
            sink = open_sink(loaded.operation.audit, socket.gethostname())
            for identifier, message in told:
                if identifier in done:
                    sink(message)
    _print_removals(removals, dry_run=dry_run)
    casebook.close()
    index.close()


def _print_removals(removals: tuple[Removal, ...], *, dry_run: bool) -> None:
    rows = table("", "case", "state", "since", "objects")
    for one in removals:
        since = datetime.fromtimestamp(one.since_s, UTC).strftime("%Y-%m-%d")
        rows.add_row(one.case_id, one.state.value, since, str(len(one.items)))
    if removals:
        out.print(rows)
    words = "would be removed" if dry_run else "were removed; their events stay"
    out.print(f"Objects and plans of {len(removals)} cases {words}.")


@contextmanager
def operated(config: Config, worker: Worker | None, *, listening: bool) -> Iterator[None]:
    """Audit, counting and the status pages, beside a node that listens, works or both."""
    with ExitStack() as running:
        casebook, index = Casebook(config.worker.casebook), Index(config.node.index)
        running.callback(casebook.close)
        running.callback(index.close)
        storage = Storage(config.node.storage)
        metrics = Metrics(index, storage, casebook)
        running.enter_context(heard_by(metrics.hear))
        if config.operation.audit:
            running.enter_context(_audited(config, follow=worker is not None))
        if config.operation.status_port:
            health = Health(
                index=index,
                storage=storage,
                casebook=casebook,
                reserve_mb=config.node.limits.reserve_mb,
                stepped_at_s=None if worker is None else lambda: worker.stepped_at_s,
                stuck_s=config.operation.stuck_s,
                clock=time.time,
            )
            port = config.operation.status_port + (0 if listening else 1)
            running.enter_context(serve_status(port, health, metrics.text))
            out.print(f"status pages on 127.0.0.1:{port}", soft_wrap=True)
        yield


@contextmanager
def _audited(config: Config, *, follow: bool) -> Iterator[None]:
    """The audit in a thread of its own, with databases of its own; ``follow`` the casebook in one process only."""
    sink, stop = open_sink(config.operation.audit, socket.gethostname()), threading.Event()
    casebook, index = Casebook(config.worker.casebook), Index(config.node.index)
    destination = config.node.any_peer(config.worker.destination)
    auditor = Auditor(sink, casebook, index, config.node.ae_title, destination if follow else None)
    sink(start_message(config.node.ae_title, time.time()))
    thread = threading.Thread(target=auditor.run, args=(stop, time.time), name="audit")
    thread.start()
    try:
        with heard_by(lambda notice: auditor.hear(notice, time.time())):
            yield
    finally:
        stop.set()
        thread.join()
        sink(stop_message(config.node.ae_title, time.time()))
        casebook.close()
        index.close()
