"""Receivers on loopback: psdt as a service, dcmtk's storescp and Orthanc, each with what it does by default."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PSDT = "PSDT"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Receiver:
    """How to start one."""

    command: list[str]


def psdt_listen(folder: Path, port: int) -> Receiver:
    """``psdt listen`` with an SQLite index."""
    config = folder / "psdt.toml"
    config.write_text(
        f'[node]\nae_title = "{PSDT}"\nport = {port}\nstorage = "storage"\nindex = "sqlite:///index.db"\n'
        'accept_any_sender = true\n[peers.tps]\nhost = "127.0.0.1"\nport = 1\nae_title = "TPS"\n'
        '[worker]\ncasebook = "sqlite:///casebook.db"\nfolder = "plans"\ndestination = "tps"\n',
        encoding="utf-8",
    )
    return Receiver([str(Path(sys.executable).with_name("psdt")), "listen", "--config", str(config)])


def storescp(folder: Path, port: int) -> Receiver:
    """dcmtk's receiver, which neither syncs nor indexes."""
    (folder / "out").mkdir()
    return Receiver(["storescp", "+xa", "-aet", PSDT, "-od", str(folder / "out"), str(port)])


def orthanc(folder: Path, port: int) -> Receiver:
    """Orthanc as it comes, but for ports, folders and who may store."""
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [],
        "HttpServerEnabled": False,
        "DicomAet": PSDT,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
    }
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    return Receiver(["/usr/sbin/Orthanc", str(config)])


@contextmanager
def running(start: Callable[[Path, int], Receiver], folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A receiver that listens, with a new folder, which stays; its port and its process.

    Nothing is deleted while others are measured: for minutes ext4 looks at each inode that was freed, and passes over
    it, before it makes a file (``recently_deleted``), and who comes later pays for what others have left.
    """
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command, quiet = start(folder, port).command, subprocess.DEVNULL
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment) as process:
        try:
            _wait_for(port)
            yield port, process
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the receiver does not listen")
