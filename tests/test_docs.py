"""The pages say what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from psdt_planner.cli import COMMANDS
from psdt_planner.dossier.plan_json import SCHEMA

ROOT = Path(__file__).parents[1]
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")

OF_A_STACK = {
    "frame-missing", "frames-mixed", "gantry-tilt", "not-axial", "orientation-mixed", "single-slice", "size-mixed",
    "slice-duplicate", "slice-missing", "slices-uneven",
}  # fmt: skip
"""Written in the code without the ``ct-`` or ``mr-`` that tells whose they are."""

NO_CODES = {
    "dixon-fat", "dixon-in", "dixon-out", "dixon-water", "dwi-calculated", "dwi-trace", "mr-other", "planning-ct",
    "paraaortic-node", "pelvic-node", "project-derived", "psdt-sans", "psdt-sans-bold", "reg-object", "shared-frame",
    "rt-utils", "self-similarity", "utf-8", "utf-8-sig", "latin-1", "2020-01-01", "plan-held",
    "send-started", "not-confirmed", "in-progress",
    "short-lumbar", "short-thoracic", "castration-resistant",
    "other-ct", "prior-dose", "prior-exam", "prior-flags", "prior-plan", "b-values", "csd-code",
    "lung-central", "lung-peripheral", "mediastinal-node", "neck-node", "prostate-recurrence", "psdt-crpc",
    "keep-apart", "merge-ptv", "other-lamina", "other-pedicle",
}  # fmt: skip
"""Words with hyphens that are no finding: kinds and roles of images, sites, libraries, events and phantoms."""


def written_codes() -> set[str]:
    words = {
        node.value
        for path in (ROOT / "psdt_planner").rglob("*.py")
        if "lint" not in path.parts  # docs/lint.md has its codes
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    }
    assert words >= OF_A_STACK
    return {f"ct-{word}" if word in OF_A_STACK else word for word in words - NO_CODES} | {"ct-geometry"}


def test_every_finding_is_on_its_page_and_every_row_is_in_the_code() -> None:
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {code for cell in rows for code in re.findall(r"`([^`]+)`", cell)}
    assert documented == written_codes()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_on_a_page(command: str) -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert f"psdt {command}" in pages


def test_the_page_of_plan_json_is_of_its_schema() -> None:
    assert f"Schema {SCHEMA}." in (ROOT / "docs" / "plan-json.md").read_text(encoding="utf-8")


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
