"""``psdt serve`` in a process of its own, and the commands beside it, as an operator has them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.network import free_port, wait_until

PSDT = Path(sys.executable).with_name("psdt")

SETTINGS = """
[node]
ae_title = "PSDT"
port = {port}
storage = "storage"
index = "sqlite:///index.db"
senders = ["STORESCU"]
limits = {{ reserve_mb = 1 }}
[peers.tps]
host = "127.0.0.1"
port = {tps_port}
ae_title = "{tps_ae_title}"
[worker]
casebook = "sqlite:///casebook.db"
folder = "plans"
destination = "tps"
{worker}
{more}
"""


def configure(
    folder: Path, *, tps_port: int = 4242, tps_ae_title: str = "TPS", worker: str = "", more: str = ""
) -> tuple[Path, int]:
    """A configuration in a folder, and the port that it listens on.

    Args:
        worker: further keys of ``[worker]``.
        more: further sections.
    """
    config, port = folder / "psdt.toml", free_port()
    text = SETTINGS.format(port=port, tps_port=tps_port, tps_ae_title=tps_ae_title, worker=worker, more=more)
    config.write_text(text, encoding="utf-8")
    return config, port


@contextmanager
def serving(config: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """``psdt serve`` from when it is ``ready``; its log lies beside the configuration as ``serve.log``."""
    with config.with_name("serve.log").open("wb") as log:
        process = subprocess.Popen([PSDT, "serve", "--config", config], stdout=log, stderr=log)
        try:
            wait_until(ready, 60)
            yield
        finally:
            process.terminate()
            assert process.wait(30) == 0


def psdt(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of psdt with a configuration."""
    command = [PSDT, *words, "--config", config]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={"COLUMNS": "220"})
