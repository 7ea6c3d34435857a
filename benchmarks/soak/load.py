"""Many senders at once, everything shuffled, some of it twice: all is there, and each patient is one case."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.soak.crash import count_there
from benchmarks.soak.objects import write_patient
from benchmarks.soak.rows import Row, must_be, told
from benchmarks.soak.service import configure, free_port, start, stop, wait_until
from dicom_nodes.config import Peer
from dicom_nodes.errors import PeerError
from dicom_nodes.index import Index
from dicom_nodes.query import echo
from psdt_planner.case import Case, State
from psdt_planner.casebook import Casebook

SENDERS = 12
RESENT = 0.1
END_S = 900.0


def load(folder: Path, patients: int, images: int, quiet_s: float, seed: int = 2) -> list[Row]:
    """Send ``patients`` patients of five series each from twelve dcmtk senders at once.

    Args:
        images: of each of the four image series; one series of one SEG besides.
        quiet_s: of the service; longer than a sender pauses between two objects of a patient.
    """
    series = [("CT", images), ("MR", images), ("MR", images), ("MR", images), ("SEG", 1)]
    files = [
        file
        for number in range(1, patients + 1)
        for file in write_patient(folder / "in" / str(number), number, series, pixels=2000)
    ]
    config = configure(folder, free_port(), free_port(), quiet_s=quiet_s)
    book, process = Casebook(config.worker.casebook), start(folder / "psdt.toml")
    node = Peer(host="127.0.0.1", port=config.node.port, ae_title="PSDT", timeout_s=5.0)
    try:
        wait_until(lambda: answers(node), 60)
        began = time.monotonic()
        refused, sent = _send(files, config.node.port, random.Random(seed))  # noqa: S311  (no secrets here)
        took_s = time.monotonic() - began
        planned = wait_until(lambda: _all_proposed(book.cases(), patients), END_S)
        planned_s = time.monotonic() - began
    finally:
        stop(process)
    cases, index = book.cases(), Index(config.node.index)
    rows = [
        must_be("load", "senders that ended with an error", refused, 0),
        told("load", "objects sent, resends among them", f"{sent}"),
        told("load", "series", f"{patients * len(series)}"),
        must_be("load", "objects there with their bytes", count_there(config, files), len(files)),
        must_be("load", "rows in the index", index.count(), len(files)),
        must_be("load", "cases", len(cases), patients),
        must_be("load", "objects in these", sum(len(case.items) for case in cases), len(files)),
        Row("load", "all proposed", "yes" if planned else "no", "yes", planned),
        must_be("load", "plans", sum(case.plan for case in cases), patients),
        told("load", "seconds to receive", took_s),
        told("load", "objects a second", sent / took_s),
        told("load", "seconds until all are proposed", planned_s),
    ]
    book.close()
    index.close()
    return rows


def _send(files: Sequence[Path], port: int, choice: random.Random) -> tuple[int, int]:
    """How many senders failed, and how many objects they sent."""
    lots: list[list[Path]] = [[] for _ in range(SENDERS)]
    for file in choice.sample(files, len(files)):
        lots[choice.randrange(SENDERS)].append(file)
    for file in choice.sample(files, round(len(files) * RESENT)):
        lots[choice.randrange(SENDERS)].append(file)
    command = ["storescu", "-R", "-aec", "PSDT", "127.0.0.1", str(port)]
    senders = [subprocess.Popen([*command, *map(str, lot)], stderr=subprocess.DEVNULL) for lot in lots if lot]
    return sum(sender.wait(END_S) != 0 for sender in senders), sum(map(len, lots))


def answers(node: Peer) -> bool:
    """Whether a node answers a C-ECHO."""
    try:
        echo(node, "SOAK")
    except PeerError:
        return False
    return True


def _all_proposed(cases: Sequence[Case], count: int) -> bool:
    return len(cases) == count and all(case.state is State.PROPOSED for case in cases)
