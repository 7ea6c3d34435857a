"""Listener and worker in a process of its own, with a planner that takes no time, and points at which it kills itself.

Processes are forked from a server that has imported everything once: a start takes milliseconds.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import structlog
from pynetdicom.association import Association

from benchmarks.soak.objects import write_output
from dicom_nodes.index import Index
from dicom_nodes.listener import open_listener
from dicom_nodes.storage import Storage
from psdt_planner.case import Assembled, Confirmed, Proposed
from psdt_planner.casebook import Casebook
from psdt_planner.findings import Finding
from psdt_planner.worker import Config, load_config, open_worker

POINTS = ("received", "stored", "indexed", "assembled", "planned", "released", "sent", "committed")
"""The durable steps, in their order: the process dies right after the bytes have come, after the file is placed, after
the row is entered, after the casebook has heard that the set is complete, that a plan is there; after a release and
before anything goes out, after the destination has taken an object and before that is written down, and after it has
confirmed that it keeps them.
"""

OUTPUTS = ("proposal.dcm", "registration.dcm", "rtstruct.dcm")


@dataclass(frozen=True)
class Dossier:
    """What the planner gives back."""

    outputs: Mapping[str, Path]
    status: str = "proposed"
    findings: tuple[Finding, ...] = ()


def plan(inputs: Sequence[Path], folder: Path) -> Dossier:
    """Three small objects that follow from the inputs alone."""
    return Dossier({name: write_output(folder, name, inputs) for name in OUTPUTS})


def configure(folder: Path, port: int, destination_port: int, **settings: object) -> Config:
    """A configuration in a folder; ``settings`` are quiet_s, reserve_mb, confirm, storage and index."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "psdt.toml"
    path.write_text(
        f"""
        [node]
        ae_title = "PSDT"
        port = {port}
        storage = "{settings.get("storage", "storage")}"
        index = "sqlite:///{settings.get("index", "index.db")}"
        accept_any_sender = true
        limits = {{ reserve_mb = {settings.get("reserve_mb", 1)}, network_timeout_s = 20.0, associations = 40 }}
        [peers.tps]
        host = "127.0.0.1"
        port = {destination_port}
        ae_title = "TPS"
        timeout_s = 10.0
        confirm = "{settings.get("confirm", "none")}"
        [worker]
        casebook = "sqlite:///casebook.db"
        folder = "plans"
        destination = "tps"
        quiet_s = {settings.get("quiet_s", 0.3)}
        send_attempts = 1000
        first_retry_s = 0.05
        longest_retry_s = 0.2
        confirm_attempts = 1000
        confirm_wait_s = 1.0
        """,
        encoding="utf-8",
    )
    return load_config(path)


def start(config_file: Path, point: str = "", count: int = 0) -> BaseProcess:
    """The service in a process that, with a point, dies when it comes there for the ``count``-th time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.soak.service"])
    process = context.Process(target=serve, args=(config_file, point, count), daemon=True)
    process.start()
    return process


def serve(config_file: Path, point: str, count: int) -> None:
    """Run until SIGTERM, as ``psdt serve`` does."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if point:
        arm(point, count)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    config = load_config(config_file)
    with open_listener(config.node, time.time):
        worker = open_worker(config, plan)
        worker.run(stop, time.time, idle_s=0.02)
        worker.close()


def arm(point: str, count: int) -> None:
    """Make the process kill itself when it comes to a point for the ``count``-th time."""
    arrivals, lock = itertools.count(1), threading.Lock()

    def arrive() -> None:
        with lock:
            if next(arrivals) == count:
                os.kill(os.getpid(), signal.SIGKILL)

    events = {"assembled": Assembled, "planned": Proposed, "committed": Confirmed}
    if point == "received":
        _wrap(Storage, "place", before=lambda *_: arrive())
    elif point == "stored":
        _wrap(Storage, "place", after=lambda *_: arrive())
    elif point == "indexed":
        _wrap(Index, "add", after=lambda *_: arrive())
    elif point in {"released", "sent"}:
        when = {"released": "before", "sent": "after"}[point]
        _wrap(Association, "send_c_store", **{when: lambda *_: arrive()})
    else:
        kind = events[point]
        _wrap(Casebook, "append", after=lambda _book, _id, event: arrive() if isinstance(event, kind) else None)


def _wrap(
    owner: type, name: str, before: Callable[..., object] | None = None, after: Callable[..., object] | None = None
) -> None:
    function = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args)
        result = function(*args, **kwargs)
        if after is not None:
            after(*args)
        return result

    setattr(owner, name, wrapped)


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether ``true()`` holds within the time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def stop(process: BaseProcess) -> None:
    """End a service as an operator does."""
    process.terminate()
    process.join(60)
    if process.is_alive():
        process.kill()
        process.join(10)


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
