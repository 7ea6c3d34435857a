"""``psdt fetch``: what the rules of the configuration want of a patient, from the archive into the node."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from dicom_nodes.config import NodeConfig, Peer, WebPeer
from dicom_nodes.errors import ConfigurationError
from dicom_nodes.fetching import Fetched, Fetcher, Progress, Series, choose, search
from dicom_nodes.index import Index
from dicom_nodes.listener import open_listener
from dicom_nodes.retrieve import Counts
from dicom_nodes.storage import Storage
from psdt_planner.cli.config_file import DEFAULT_CONFIG, ConfigFile
from psdt_planner.cli.console import out, progress_bar, quietly, table
from psdt_planner.cli.errors import Exit
from psdt_planner.worker import load_config


def fetch_command(
    patient: Annotated[str, typer.Option("--patient", metavar="ID", help="Patient ID, as the archive knows it.")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Fetch a patient's planning CT, whole-body MRI and priors from the archive, by the rules under [fetch.rules].

    The archive sends to this node's port (C-MOVE; psdt serve may be running, or not), on our association (C-GET), or by
    DICOMweb, as its section says. A series that does not come whole is told with its counts, and the exit status is 3;
    where the archive has nothing that a rule wants, it is 1.

    Example: [bold]psdt fetch --patient 4711[/]
    """
    loaded = load_config(config)
    if loaded.fetch is None:
        raise ConfigurationError("section [fetch] is absent", where=str(config), todo="See docs/psdt.toml.")
    peer = loaded.node.any_peer(loaded.fetch.peer)
    with quietly():
        held = search(peer, loaded.node.ae_title, patient)
    wanted = choose(held, loaded.fetch.rules, datetime.now(UTC).date())
    series = {one.series_instance_uid: one for found in wanted.values() for one in found}
    with quietly(), _received(loaded.node, peer) as index, progress_bar(shown=not as_json) as bar:
        fetcher = Fetcher(loaded.node, peer, index, time.time)
        done = {one.series.series_instance_uid: one for one in fetcher.fetch(series.values(), _told(bar))}
    if as_json:
        out.print_json(json.dumps(_document(wanted, done)))
    else:
        _print(wanted, done)
    if any(one.short for one in done.values()):
        raise typer.Exit(Exit.NETWORK)
    if not done:
        raise typer.Exit(Exit.HELD)


def _told(bar: Callable[[str, int, int], None]) -> Progress:
    """What moves the bar on: it names a series by its modality, and no patient."""

    def progress(series: Series, counts: Counts) -> None:
        total = series.objects or counts.completed + counts.remaining + counts.failed + counts.warned
        bar(f"{series.modality} {series.series_description}", total - counts.remaining, total)

    return progress


@contextmanager
def _received(node: NodeConfig, peer: Peer | WebPeer) -> Iterator[Index]:
    """Our index, with somebody who listens where the archive opens associations of its own: we, or ``psdt serve``."""
    with ExitStack() as open_now:
        index = Index(node.index)
        open_now.callback(index.close)
        if isinstance(peer, Peer) and peer.retrieve == "move" and not _is_served(node):
            open_now.enter_context(open_listener(node, time.time))
        yield index


def _is_served(node: NodeConfig) -> bool:
    """Whether another process listens for this node."""
    try:
        with Storage(node.storage).locked():
            return False
    except ConfigurationError:
        return True


def _print(wanted: Mapping[str, tuple[Series, ...]], done: Mapping[str, Fetched]) -> None:
    rows = table("", "rule", "modality", "description", "here", "of", "")
    for rule, found in wanted.items():
        for one in found:
            fetched = done[one.series_instance_uid]
            objects = "?" if one.objects is None else str(one.objects)
            what = f"{one.study_description}: {one.series_description}"
            rows.add_row(rule, one.modality, what, str(fetched.held), objects, fetched.short or "whole")
        if not found:
            rows.add_row(rule, "", "the archive holds nothing that fits", "", "", "")
    out.print(rows)


def _document(wanted: Mapping[str, tuple[Series, ...]], done: Mapping[str, Fetched]) -> dict[str, object]:
    series = [
        {
            "series_instance_uid": uid,
            "study_instance_uid": one.series.study_instance_uid,
            "modality": one.series.modality,
            "rules": [rule for rule, found in wanted.items() if one.series in found],
            "held": one.held,
            "objects": one.series.objects,
            "completed": one.counts.completed,
            "failed": one.counts.failed,
            "warned": one.counts.warned,
            "short": one.short,
        }
        for uid, one in done.items()
    ]
    return {"schema": 1, "series": series, "nothing_for": [rule for rule, found in wanted.items() if not found]}
