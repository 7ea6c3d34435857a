"""The unit and container files name commands, exit statuses and folders that there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from psdt_planner.cli import COMMANDS
from psdt_planner.cli.errors import Exit

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def settings(unit: Path) -> dict[str, str]:
    """The keys of a unit file; each may stand once."""
    lines = [line for line in unit.read_text(encoding="utf-8").splitlines() if re.match(r"\w+=", line)]
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines)
    return found


@pytest.mark.parametrize(("unit", "command"), [("psdt.service", "serve"), ("psdt-retain.service", "retain")])
def test_a_unit_runs_a_command_that_there_is(unit: str, command: str) -> None:
    found = settings(DEPLOY / unit)
    assert found["ExecStart"] == f"/opt/psdt/.venv/bin/psdt {command} --config /etc/psdt/psdt.toml"
    assert command in COMMANDS
    assert (found["User"], found["UMask"], found["ProtectSystem"]) == ("psdt", "0077", "strict")


def test_what_starting_again_would_not_mend_is_not_started_again() -> None:
    statuses = settings(DEPLOY / "psdt.service")["RestartPreventExitStatus"].split()
    assert statuses == [str(int(Exit.USAGE)), str(int(Exit.CONFIGURATION))]


def test_the_container_holds_every_package_and_asks_the_health_page() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        name = package.rstrip("*")
        assert f"COPY {name} {name}\n" in text
    assert "USER psdt" in text
    assert "/healthz" in text
    assert re.search(r'CMD \["serve", "--config", "/etc/psdt/psdt.toml"\]', text)
