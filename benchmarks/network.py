"""Receiving and sending over loopback, beside dcmtk and Orthanc, one after the other in one run.

All dcmtk programs run with ``TCP_NODELAY=1``: without it each of their objects waits 40 ms for an acknowledgement on
loopback, and every ratio would flatter us. Each receiver starts anew, with a new folder, for each repeat; the folders
are removed at the end (7 GB at 3 repeats).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.network_files import write_large, write_series
from benchmarks.network_peers import PSDT, Receiver, orthanc, psdt_listen, running, storescp
from benchmarks.rows import Outcome, Row

REPEATS = 3
BARS = {
    ("receive-ct", "storescp"): 2.2,
    ("receive-dwi", "storescp"): 2.4,
    ("receive-ct", "Orthanc, default"): 1.0,
    ("receive-dwi", "Orthanc, default"): 1.0,
}
FOUR_BESIDE_ONE = 1.0
MEMORY_LIMIT_MB = 200.0
RECEIVERS: dict[str, Callable[[Path, int], Receiver]] = {
    "psdt": psdt_listen,
    "storescp": storescp,
    "Orthanc, default": orthanc,
}
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


@dataclass(frozen=True)
class Work:
    """Files of one kind, in two sets of the same size: for one association, and for four."""

    name: str
    one: list[Path]
    four: list[Path]


def bench_network(chosen: argparse.Namespace) -> Outcome:
    """Time to receive 400 CT and 1,000 DWI, durable and indexed, and to send 400 CT; memory of the receiver."""
    times: dict[tuple[str, str], list[float]] = {}
    memory: list[float] = []
    with tempfile.TemporaryDirectory(prefix="psdt-bench-", dir=chosen.folder) as name:
        folder = Path(name)
        works = make_works(folder, chosen.share)
        large = write_large(folder / "large.dcm", int(600e6 * chosen.share))
        for repeat in range(chosen.repeats):
            for n, (receiver, start) in enumerate(RECEIVERS.items()):
                with running(start, folder / f"receiver-{repeat}-{n}") as (port, process):
                    for work in works:
                        key = (work.name, receiver)
                        times.setdefault(key, []).append(seconds(store(work.one, port)))
                        times.setdefault((f"{work.name}-4", receiver), []).append(
                            seconds(*(command for part in range(4) for command in store(work.four[part::4], port)))
                        )
                    if receiver == "psdt":
                        seconds(store([large], port))
                        memory.append(peak_mb(process))
            time_sending(works[0].one, folder / f"sending-{repeat}", times)
    return Outcome(rows(times, memory))


def make_works(folder: Path, share: float) -> list[Work]:
    """The files, or the first part of them where ``share`` is below 1."""

    def series(kind: str, count: int, side: int) -> Work:
        sets = [write_series(folder / f"{kind}-{n}", int(count * share), side, n) for n in (1, 2)]
        return Work(f"receive-{kind}", *sets)

    return [series("ct", 400, 512), series("dwi", 1000, 256)]


def store(files: list[Path], port: int) -> list[list[str]]:
    """The command of dcmtk's sender for files; they are named in a folder of links, since there may be a thousand."""
    folder = files[0].parent / f"sent-{len(files)}-{files[0].stem}"
    if not folder.exists():
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file)
    return [["storescu", "-R", "-aet", "STORESCU", "-aec", PSDT, "+sd", "127.0.0.1", str(port), str(folder)]]


def seconds(*commands: list[list[str]] | list[str]) -> float:
    """Time until all of some commands, started together, have ended well."""
    flat = [c for one in commands for c in ([one] if isinstance(one[0], str) else one)]
    began = time.perf_counter()
    with ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(command, env=ENVIRONMENT)) for command in flat]
        for process in started:
            if process.wait() != 0:
                raise RuntimeError(f"storescu ended with {process.returncode}")
    return time.perf_counter() - began


def time_sending(files: list[Path], folder: Path, times: dict[tuple[str, str], list[float]]) -> None:
    """Our sender and dcmtk's to the same kind of receiver, each to a new one."""
    ours = [sys.executable, "-m", "benchmarks.network_send"]
    folder.mkdir()
    for sender in ("psdt", "storescu"):
        with running(storescp, folder / sender) as (port, _):
            if sender == "psdt":
                command = [*ours, str(port), str(files[0].parent / f"sent-{len(files)}-{files[0].stem}")]
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
                took = float(done.stdout.splitlines()[-1])  # behind the log
            else:
                took = seconds(store(files, port))
        times.setdefault(("send-ct", sender), []).append(took)


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    """Largest resident memory that a process has had."""
    for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) / 1000
    raise RuntimeError("the kernel does not say")


def rows(times: dict[tuple[str, str], list[float]], memory: list[float]) -> tuple[Row, ...]:
    """Medians side by side, each with its bar."""
    middle = {key: statistics.median(values) for key, values in times.items()}
    made = []
    for work in ("receive-ct", "receive-dwi", "receive-ct-4", "receive-dwi-4"):
        for peer in ("storescp", "Orthanc, default"):
            bar = BARS.get((work, peer))
            made.append(Row(work, middle[work, "psdt"], middle[work, peer], peer, "s", bar))
    for work in ("receive-ct", "receive-dwi"):
        one, four = middle[work, "psdt"], middle[f"{work}-4", "psdt"]
        made.append(Row(f"{work}, four associations", four, one, "one association", "s", FOUR_BESIDE_ONE))
    made.append(Row("send-ct", middle["send-ct", "psdt"], middle["send-ct", "storescu"], "storescu", "s"))
    made.append(Row("receive-memory", max(memory), MEMORY_LIMIT_MB, "limit, with a 600 MB object", "MB", 1.0))
    return tuple(made)
