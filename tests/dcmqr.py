"""dcmtk's archive on loopback: dcmqrscp, with an empty database."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.network import answers, free_port, wait_until
from tests.peers import require_peer

CONFIG = """
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
psdt = (PSDT, 127.0.0.1, {back})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
QRSCP {folder} RW (200, 1024mb) ANY
AETable END
"""


@contextmanager
def dcmqrscp(folder: Path, back: int) -> Iterator[int]:
    """A running archive called QRSCP that knows PSDT on port ``back``; gives its own port."""
    require_peer("dcmqrscp")
    store = folder / "store"
    store.mkdir(parents=True)
    port = free_port()
    config = folder / "dcmqrscp.cfg"
    config.write_text(CONFIG.format(port=port, back=back, folder=store), encoding="utf-8")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(["dcmqrscp", "-c", str(config)], stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: answers(port))
            yield port
        finally:
            process.terminate()
            process.wait(10)
