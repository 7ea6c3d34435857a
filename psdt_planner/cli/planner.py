"""What the worker calls to make a plan, with all that planning needs to import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from psdt_planner.dossier import Dossier, load_destination, load_protocol, make_dossier
from psdt_planner.worker import Config


def planner(config: Config) -> Callable[[Sequence[Path], Path], Dossier]:
    """What the worker calls to make a plan: protocol and destination are read now: a wrong one stops the start."""
    protocol, destination = load_protocol(config.worker.protocol), load_destination(config.worker.profile)
    return lambda inputs, folder: make_dossier(
        inputs, folder, protocol=protocol, created=datetime.now(UTC), destination=destination
    )
