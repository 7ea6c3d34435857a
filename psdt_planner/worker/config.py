"""``psdt.toml`` whole: the node, its peers and the worker."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dicom_nodes.config import NodeConfig, Port, Settings, anchored, node_config, parse, read_toml, section
from dicom_nodes.errors import ConfigurationError
from dicom_nodes.fetching import FetchConfig
from psdt_planner.case import DEFAULT_REQUIRED, Role, Rules

Kept = Literal["sent", "discarded"]
"""States of a case that has come to its end."""


class WorkerConfig(Settings):
    """The ``[worker]`` section.

    Attributes:
        casebook: database of the cases, as an SQLAlchemy URL.
        folder: where plans are written.
        destination: name of the peer that released outputs go to.
        profile: what that peer takes: a destination of psdt's by name, or a file that ends in ``.toml``.
        protocol: file of the clinical tables; psdt's own demo tables where it is absent.
        quiet_s: how long nothing may have come in for a patient before the set is planned.
        longest_wait_days: a set that is not complete and quiet by then is held, with what is missing.
        required: what a set must have before it is planned.
        send_attempts, first_retry_s, longest_retry_s: how sending is tried again.
        confirm_attempts, confirm_wait_s: how often a destination that confirms is asked, and how long it may take.
    """

    casebook: str = Field(min_length=1)
    folder: Path
    destination: str
    profile: str = "generic"
    protocol: Path | None = None
    quiet_s: float = Field(default=60.0, ge=0)
    longest_wait_days: float = Field(default=7.0, gt=0)
    required: tuple[Role, ...] = DEFAULT_REQUIRED
    send_attempts: int = Field(default=8, ge=1)
    first_retry_s: float = Field(default=10.0, gt=0)
    longest_retry_s: float = Field(default=3600.0, gt=0)
    confirm_attempts: int = Field(default=3, ge=1)
    confirm_wait_s: float = Field(default=3600.0, gt=0)

    @property
    def rules(self) -> Rules:
        """What of this the case needs to know."""
        return Rules(
            quiet_s=self.quiet_s,
            send_attempts=self.send_attempts,
            first_retry_s=self.first_retry_s,
            longest_retry_s=self.longest_retry_s,
            longest_wait_s=self.longest_wait_days * 86400.0,
            required=self.required,
            confirm_attempts=self.confirm_attempts,
            confirm_wait_s=self.confirm_wait_s,
        )


class OperationConfig(Settings):
    """The ``[operation]`` section.

    Attributes:
        status_port: of ``/healthz`` and ``/metrics``, on 127.0.0.1; 0 for none. `psdt work` alone takes the next port.
        stuck_s: a worker that took up no work for so long is not healthy.
        audit: a file, or a syslog server, for audit messages; empty for none.
        keep_days: how long the objects and plans of a case are kept after it was sent, or discarded; for ever where a
            state is not named.
    """

    status_port: Port = 0
    stuck_s: float = Field(default=3600.0, gt=0)
    audit: str = ""
    keep_days: Mapping[Kept, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """All of ``psdt.toml``."""

    node: NodeConfig
    worker: WorkerConfig
    operation: OperationConfig
    fetch: FetchConfig | None = None


def load_config(path: Path) -> Config:
    """Read ``psdt.toml``; relative paths are taken from the folder of the file.

    Raises:
        dicom_nodes.errors.ConfigurationError: unknown keys, each with the nearest known one; absent or wrong ones; a
            destination that is no peer.
    """
    tables = read_toml(path)
    where, folder = str(path), path.absolute().parent
    known = ["fetch", "node", "operation", "peers", "worker"]
    for name in tables:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f"{name}: unknown section; the nearest known section is {near!r}", where=where)
    worker = parse(WorkerConfig, section(tables, "worker", where), where)
    operation = parse(OperationConfig, dict(tables.get("operation", {})), where)
    if operation.audit and "://" not in operation.audit:
        operation = operation.model_copy(update={"audit": str(folder / operation.audit)})
    node = node_config(tables, where, folder)
    node.any_peer(worker.destination)
    fetch = parse(FetchConfig, section(tables, "fetch", where), where) if "fetch" in tables else None
    if fetch is not None:
        node.any_peer(fetch.peer)
    protocol = None if worker.protocol is None else folder / worker.protocol
    update = {
        "folder": folder / worker.folder,
        "profile": str(folder / worker.profile) if worker.profile.endswith(".toml") else worker.profile,
        "protocol": protocol,
        "casebook": anchored(worker.casebook, folder),
    }
    return Config(node, worker.model_copy(update=update), operation, fetch)
