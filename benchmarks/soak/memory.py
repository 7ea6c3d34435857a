"""Memory of the receiver: a CT of 1,000 slices and an object of 600 MB, sent again and again."""

from __future__ import annotations

from pathlib import Path

from benchmarks.network import peak_mb, seconds, store
from benchmarks.network_files import write_large, write_series
from benchmarks.network_peers import psdt_listen, running
from benchmarks.soak.rows import Row, told

LIMIT_MB = 200.0
GROWTH_MB = 4.0
"""The allocator's unevenness; a receiver that kept one slice of each repeat would pass it twice over."""


def memory(folder: Path, slices: int = 1000, large_bytes: int = 600_000_000, repeats: int = 20) -> list[Row]:
    """Largest resident memory of ``psdt listen`` after the second repeat and after the last."""
    series = write_series(folder / "ct", slices, 512, 1)
    large = write_large(folder / "large.dcm", large_bytes)
    peaks = []
    with running(psdt_listen, folder / "receiver") as (port, process):
        for _ in range(repeats):
            seconds(store(series, port))
            seconds(store([large], port))
            peaks.append(peak_mb(process))
    growth_mb = peaks[-1] - peaks[1]
    return [
        Row("memory", f"largest after {repeats} repeats, MB", f"{peaks[-1]:.0f}", "below 200", peaks[-1] < LIMIT_MB),
        Row("memory", "grown since the second, MB", f"{growth_mb:.1f}", "below 4", growth_mb < GROWTH_MB),
        told("memory", "largest after the first, MB", peaks[0]),
    ]
