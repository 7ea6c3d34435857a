"""Real peers from the system's packages: where one is missing, the test says so."""

from __future__ import annotations

import os
import shutil

import pytest


def require_peer(*names: str) -> None:
    """Skip the test where a program is missing; with ``CI=true`` fail instead, since a skip there hides a gap."""
    missing = [name for name in names if shutil.which(name) is None and shutil.which(f"/usr/sbin/{name}") is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{', '.join(missing)} must be installed where CI=true")
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
