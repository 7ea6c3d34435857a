"""``./run soak [NAME]``: crash, load, disk, malformed input, memory; all of them without a name.

Exits with 1 where something failed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from benchmarks.soak.crash import crash
from benchmarks.soak.disk import disk
from benchmarks.soak.load import load
from benchmarks.soak.malformed import malformed
from benchmarks.soak.memory import memory
from benchmarks.soak.rows import Row, as_text

SOAKS: Mapping[str, Callable[[Path], list[Row]]] = {
    "crash": lambda folder: crash(folder, rounds=200),
    "load": lambda folder: load(folder, patients=8, images=156, quiet_s=15.0),
    "disk": disk,
    "malformed": malformed,
    "memory": memory,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run soak", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*SOAKS], help="one of them")
    chosen = parser.parse_args().name
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    rows: list[Row] = []
    for name, soak in SOAKS.items():
        if chosen in {None, name}:
            with tempfile.TemporaryDirectory(prefix=f"psdt-soak-{name}-") as folder:
                found = soak(Path(folder))
            print(as_text(found), end="\n\n", flush=True)
            rows += found
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
