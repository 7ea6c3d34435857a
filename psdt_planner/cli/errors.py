"""Exit statuses, by who must act."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum

import typer
from rich.text import Text
from typer.exceptions import TyperException

from dicom_nodes import errors as node_errors
from psdt_planner import errors
from psdt_planner.cli.console import err


class Exit(IntEnum):
    """What a program that calls psdt learns from its exit status."""

    DONE = 0
    HELD = 1
    USAGE = 2
    NETWORK = 3
    CONFIGURATION = 4
    FAULT = 5


BY_ERROR: tuple[tuple[type[Exception], Exit], ...] = (
    (errors.ConfigurationError, Exit.CONFIGURATION),
    (node_errors.ConfigurationError, Exit.CONFIGURATION),
    (errors.PeerError, Exit.NETWORK),
    (node_errors.PeerError, Exit.NETWORK),
    (errors.FaultError, Exit.FAULT),
    (node_errors.FaultError, Exit.FAULT),
    (errors.PsdtError, Exit.HELD),
    (node_errors.NodeError, Exit.HELD),
    (OSError, Exit.CONFIGURATION),
)
"""First match wins; whatever is not listed is a fault of ours."""


def guarded(run: Callable[[], int | None]) -> int:
    """Run a command; whatever it raises becomes one plain sentence on standard error and an exit status.

    This is the one place that catches everything: a person gets a sentence, not a traceback. With ``PSDT_DEBUG=1`` in
    the environment the error is raised as it is.
    """
    try:
        status = run()
    except TyperException as error:
        _say("usage", f"{error.format_message()} (psdt --help shows how.)")
        return Exit.USAGE
    except (typer.Abort, KeyboardInterrupt):
        err.print("Interrupted.")
        return Exit.HELD
    except Exception as error:
        if os.environ.get("PSDT_DEBUG") == "1":
            raise
        return _told(error)
    return status or Exit.DONE


def _told(error: Exception) -> Exit:
    for kind, status in BY_ERROR:
        if isinstance(error, kind):
            _say("error", str(error))
            return status
    name = type(error).__name__
    _say("fault of psdt", f"{name}: {error}\nPlease report it with what you ran; PSDT_DEBUG=1 shows where it happened.")
    return Exit.FAULT


def _say(kind: str, what: str) -> None:
    err.print(Text(kind, "bold red").append(f" {what}", "default"), soft_wrap=True)
