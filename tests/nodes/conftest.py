"""A node on loopback for one test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_nodes.config import Limits, NodeConfig, Peer
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.storage import Storage


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return NodeConfig(
        ae_title="PSDT",
        port=0,
        storage=tmp_path / "storage",
        index=f"sqlite:///{tmp_path}/index.db",
        senders=("STORESCU", "SCANNER"),
        limits=Limits(reserve_mb=1, network_timeout_s=10),
    )


@pytest.fixture
def storage(config: NodeConfig) -> Storage:
    return Storage(config.storage)


@pytest.fixture
def index(config: NodeConfig) -> Iterator[Index]:
    index = Index(config.index)
    yield index
    index.close()


@pytest.fixture
def listener(config: NodeConfig, storage: Storage, index: Index) -> Iterator[Listener]:
    """A running listener whose clock counts the objects: 1000 s, 1001 s, ..."""
    ticks = itertools.count(1000)
    with Listener(config, storage, index, lambda: float(next(ticks))) as running:
        yield running


@pytest.fixture
def node(listener: Listener) -> Peer:
    """The running listener as its peers see it."""
    return Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=10)
