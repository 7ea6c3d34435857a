"""A disk that fills up while objects come in: senders hear A700, nothing is lost, and with room it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.crash import count_there
from benchmarks.soak.load import answers
from benchmarks.soak.objects import write_patient
from benchmarks.soak.rows import Row, must_be, told
from benchmarks.soak.service import configure, free_port, start, stop, wait_until
from dicom_nodes.config import Peer
from dicom_nodes.sender import send
from tests.nodes.objects import begun

DISK_MB = 16
OBJECT_BYTES = 250_000
RESERVE_MB = 2


def disk(folder: Path) -> list[Row]:
    """Fill a small file system down to the reserve, and to its end; without one, a large one's reserve."""
    rows: list[Row] = []
    for name, reserve_mb in (("down to the reserve", RESERVE_MB), ("to its end", 0)):
        place = folder / name.replace(" ", "-")
        place.mkdir(parents=True)
        with small_disk(place / "disk") as small:
            if small:
                rows += _fill(place, name, reserve_mb, [file_of(place, 1)])
            elif reserve_mb:
                rows += _fill(place, "the reserve of a large one", int(_free_mb(place)) - DISK_MB, [])
            else:
                rows.append(told("disk", "to its end", "not tried: it needs root to mount one"))
    return rows


@contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """A file system of a few MB at ``place``; False where this user cannot mount one, and a plain folder is there."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=False)


def file_of(place: Path, number: int) -> Path:
    """The filler that makes room when it is removed."""
    return place / "disk" / f"filler-{number}"


def _fill(folder: Path, name: str, reserve_mb: int, fillers: Sequence[Path]) -> Iterator[Row]:
    for filler in fillers:
        filler.write_bytes(bytes(4_000_000))
    files = write_patient(folder / "in", 1, [("CT", 60), ("MR", 1), ("SEG", 1)], pixels=OBJECT_BYTES)
    config = configure(folder, free_port(), free_port(), storage="disk/storage", reserve_mb=reserve_mb)
    node = Peer(host="127.0.0.1", port=config.node.port, ae_title="PSDT", timeout_s=10.0)
    process = start(folder / "psdt.toml")
    try:
        wait_until(lambda: answers(node), 60)
        first = send(files, node, "SOAK")
        safe = [sent.path for sent in first if sent.status == 0]
        statuses = Counter("none" if sent.status is None else f"{sent.status:04X}" for sent in first)
        yield told("disk", f"{name}: answers", ", ".join(f"{code} x {n}" for code, n in sorted(statuses.items())))
        full = {code for code in statuses if code != "0000"}
        yield Row("disk", "  answers to what found no room", " ".join(sorted(full)), "A700", full == {"A700"})
        yield must_be("disk", "  acknowledged and there with their bytes", count_there(config, safe), len(safe))
        yield must_be("disk", "  left in incoming/", len(begun(folder / "disk/storage")), 0)
        yield Row("disk", "  answers C-ECHO", "yes" if answers(node) else "no", "yes", answers(node))
        if fillers:
            for filler in fillers:
                filler.unlink()
            lacking = [sent.path for sent in first if sent.status != 0][:8]
            again = send(lacking, node, "SOAK")
            yield must_be("disk", "  with room again: taken", sum(sent.status == 0 for sent in again), len(lacking))
            yield must_be("disk", "  there with their bytes", count_there(config, lacking), len(lacking))
    finally:
        stop(process)


def _free_mb(folder: Path) -> float:
    return shutil.disk_usage(folder).free / 1e6
