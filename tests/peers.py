"""Real peers from the system's packages: where one is missing, the test says so."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def require_peer(*names: str, path: str | None = None) -> None:
    """Skip the test where a program is missing; with ``CI=true`` fail instead, since a skip there hides a gap."""
    missing = [
        name for name in names if shutil.which(name, path=path) is None and shutil.which(f"/usr/sbin/{name}") is None
    ]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{', '.join(missing)} must be installed where CI=true")
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def require_file(path: Path) -> None:
    """As ``require_peer``, for a plugin that is no program."""
    if path.exists():
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{path.name} must be installed where CI=true")
    pytest.skip(f"{path.name} is not installed")
