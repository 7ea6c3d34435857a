"""A listener in a process of its own, to be killed: ``python -m tests.nodes.mortal_node FOLDER [POINT [COUNT]]``.

With a point it kills itself (SIGKILL) when it comes there for the COUNT-th time; otherwise, and once it has taken a
question about storage commitment (``question taken``), it waits to be killed. It writes its port into FOLDER/port once
it listens.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicom_nodes.commitment_scp import CommitmentProvider
from dicom_nodes.config import Limits, NodeConfig
from dicom_nodes.index import Index
from dicom_nodes.listener import open_listener
from dicom_nodes.storage import Storage

POINTS = ("file written", "file placed", "kept", "entered")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, count: int) -> None:
    """Make the process die when it comes to a point for the ``count``-th time."""
    arrivals = itertools.count(1)
    lock = threading.Lock()

    def dies(function: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with lock:
                mine = next(arrivals) == count
            if mine and before:
                die()
            result = function(*args, **kwargs)
            if mine:
                die()
            return result

        return wrapped

    if point == "file written":
        os.link = dies(os.link, before=True)
    elif point == "file placed":
        os.link = dies(os.link, before=False)
    elif point == "kept":
        Storage.place = dies(Storage.place, before=False)  # type: ignore[method-assign]
    elif point == "entered":
        Index.add = dies(Index.add, before=False)  # type: ignore[method-assign]


def config(folder: Path) -> NodeConfig:
    return NodeConfig(
        ae_title="PSDT",
        port=0,
        storage=folder / "storage",
        index=f"sqlite:///{folder}/index.db",
        accept_any_sender=True,
        limits=Limits(reserve_mb=1, network_timeout_s=20),
    )


def main(folder: Path, point: str = "", count: str = "1") -> None:
    if point == "question taken":
        CommitmentProvider._answer = lambda *_: threading.Event().wait(120)  # type: ignore[method-assign,assignment]
    elif point:
        arm(point, int(count))
    with open_listener(config(folder), lambda: 1000.0) as listener:
        beside = folder / "port.part"
        beside.write_text(str(listener.port), encoding="ascii")
        beside.replace(folder / "port")
        threading.Event().wait(120)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
