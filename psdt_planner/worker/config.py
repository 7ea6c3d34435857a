"""``psdt.toml`` whole: the node, its peers and the worker."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from dicom_nodes.config import NodeConfig, Settings, anchored, node_config, parse, read_toml, section
from dicom_nodes.errors import ConfigurationError
from psdt_planner.case import Rules


class WorkerConfig(Settings):
    """The ``[worker]`` section.

    Attributes:
        casebook: database of the cases, as an SQLAlchemy URL.
        folder: where plans are written.
        destination: name of the peer that released outputs go to.
        protocol: file of the clinical tables; psdt's own demo tables where it is absent.
        quiet_s: how long nothing may have come in for a patient before the set is planned.
        send_attempts, first_retry_s, longest_retry_s: how sending is tried again.
    """

    casebook: str = Field(min_length=1)
    folder: Path
    destination: str
    protocol: Path | None = None
    quiet_s: float = Field(default=60.0, ge=0)
    send_attempts: int = Field(default=8, ge=1)
    first_retry_s: float = Field(default=10.0, gt=0)
    longest_retry_s: float = Field(default=3600.0, gt=0)

    @property
    def rules(self) -> Rules:
        """What of this the case needs to know."""
        return Rules(self.quiet_s, self.send_attempts, self.first_retry_s, self.longest_retry_s)


@dataclass(frozen=True)
class Config:
    """All of ``psdt.toml``."""

    node: NodeConfig
    worker: WorkerConfig


def load_config(path: Path) -> Config:
    """Read ``psdt.toml``; relative paths are taken from the folder of the file.

    Raises:
        dicom_nodes.errors.ConfigurationError: unknown keys, each with the nearest known one; absent or wrong ones; a
            destination that is no peer.
    """
    tables = read_toml(path)
    where, folder = str(path), path.absolute().parent
    known = ["node", "peers", "worker"]
    for name in tables:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f"{name}: unknown section; the nearest known section is {near!r}", where=where)
    worker = parse(WorkerConfig, section(tables, "worker", where), where)
    node = node_config(tables, where, folder)
    node.peer(worker.destination)
    protocol = None if worker.protocol is None else folder / worker.protocol
    update = {"folder": folder / worker.folder, "protocol": protocol, "casebook": anchored(worker.casebook, folder)}
    return Config(node, worker.model_copy(update=update))
