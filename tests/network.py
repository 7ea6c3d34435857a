"""dcmtk on loopback, and what every network test needs: a free port, and patience with an end."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.peers import require_peer


def free_port() -> int:
    """A port on loopback that nobody listens on now.

    It lies below those that Linux gives to connections, so that none of these takes it before it is used.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as ``true()`` holds; fail where it does not within the time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def answers(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def storescu(files: Sequence[Path], port: int, called: str, calling: str = "STORESCU", *options: str) -> list[str]:
    """The command line of dcmtk's sender; ``-R`` offers what the files need, since its own list lacks segmentations."""
    require_peer("storescu")
    return ["storescu", "-R", *options, "-aet", calling, "-aec", called, "127.0.0.1", str(port), *map(str, files)]


def run_storescu(
    files: Sequence[Path], port: int, called: str, calling: str = "STORESCU", *options: str
) -> subprocess.CompletedProcess[str]:
    """Send with dcmtk and wait for the end."""
    command = storescu(files, port, called, calling, "-v", *options)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def storescp(folder: Path, ae_title: str = "STORESCP") -> Iterator[int]:
    """dcmtk's receiver, writing into ``folder`` bit for bit; gives its port."""
    require_peer("storescp")
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = ["storescp", "+B", "+xa", "-aet", ae_title, "-od", str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(port))
            yield port
        finally:
            process.terminate()
            process.wait(10)
