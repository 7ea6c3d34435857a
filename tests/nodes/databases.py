"""An empty database of each kind that the node takes, by URL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def sqlite(_request: pytest.FixtureRequest, folder: Path) -> str:
    return f"sqlite:///{folder}/index.db"


def postgresql(request: pytest.FixtureRequest, _folder: Path) -> str:
    new_database: Callable[[], str] = request.getfixturevalue("new_postgresql_database")
    return new_database()


DATABASES: dict[str, Callable[[pytest.FixtureRequest, Path], str]] = {"sqlite": sqlite, "postgresql": postgresql}
