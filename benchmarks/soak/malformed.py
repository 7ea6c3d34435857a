"""Malformed input at full length: every kind that has a name, 500 mutations, and the odd files of real packs."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

from benchmarks.soak.rows import Row, must_be, told
from dicom_nodes.config import Limits, NodeConfig
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.storage import Storage
from tests.malformed import everything, read_all, send_all

MUTATIONS = 500


def malformed(folder: Path, mutations: int = MUTATIONS) -> list[Row]:
    """Send each file to a node and read each as ``psdt plan`` does; what is not as it must be raises."""
    config = NodeConfig(
        ae_title="PSDT",
        port=0,
        storage=folder / "storage",
        index=f"sqlite:///{folder}/index.db",
        senders=("SCANNER",),
        limits=Limits(reserve_mb=1),
    )
    storage, index = Storage(config.storage), Index(config.index)
    files = list(everything(folder / "made", mutations))
    with warnings.catch_warnings(action="ignore"), Listener(config, storage, index, time.time) as listener:
        statuses = send_all(iter(files), listener, storage, index)
        findings = read_all(iter(files), folder / "one")
    index.close()
    said = ", ".join(f"{status:04X} {count}" for status, count in sorted(statuses.items()))
    return [
        must_be("malformed", "files answered with a status", statuses.total(), len(files)),
        told("malformed", "statuses", said),
        told("malformed", "findings of psdt plan", findings.total()),
    ]
