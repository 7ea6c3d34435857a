"""The house as docs/architecture.md draws it: which room may import which, and how large a room may grow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "psdt_planner"

FLOORS = (
    ("errors", "findings"),
    ("geometry", "radiobiology", "tables", "tg263"),
    ("images", "lesions", "shapes", "protocol", "deformation", "history"),
    ("exam", "destination", "criteria", "screen"),
    ("registration", "contours", "structures", "fractionation", "reirradiation", "dwi", "oligomets", "timeline"),
    ("planning", "case", "regions"),
    ("dicom", "casebook", "report", "shipped"),
    ("dossier", "lint"),
    ("worker", "commission"),
    ("operation",),
    ("cli",),
)
"""From the ground up. A room imports from lower floors only, never from its neighbour."""

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
HIGHEST_PURE = FLOOR_OF["planning"]
WITH_NODES = {"worker", "operation", "cli"}
"""Rooms that may know the network."""
DATABASE = {"dicom_nodes.database", "dicom_nodes.errors"}
"""What the casebook shares with the node: how a database is opened, migrated and written."""

LIBRARIES = {
    "pydicom": {"dicom", "commission"},
    "highdicom": {"dicom"},
    "rt_utils": {"dicom", "commission"},
    "SimpleITK": {"registration", "commission"},
    "sqlalchemy": {"casebook"},
    "alembic": {"casebook"},
    "prometheus_client": {"operation"},
    "jinja2": {"report", "commission"},
    "matplotlib": {"report", "commission"},
    "reportlab": {"report"},
    "typer": {"cli"},
    "rich": {"cli"},
    "structlog": {"worker", "operation", "cli"},
    "pynetdicom": set(),
}
"""Libraries that live in named rooms of psdt_planner only."""

NOT_PURE = {"os", "pathlib", "socket", "sqlite3", "subprocess", "shutil", "tempfile", "time", "random", "threading"}
"""What a pure room has no use for."""

ROOMS = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            found.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in ROOMS} == set(FLOOR_OF)


@pytest.mark.parametrize("path", ROOMS, ids=name)
def test_imports_go_down_only(path: Path) -> None:
    room = room_of(path)
    used = {parts[1] for module in imports_of(path) if (parts := module.split("."))[0] == "psdt_planner" and parts[1:]}
    up = {other for other in used & set(FLOOR_OF) if other != room and FLOOR_OF[other] >= FLOOR_OF[room]}
    assert not up, f"{room} reaches up or sideways to {up}"


@pytest.mark.parametrize("path", ROOMS, ids=name)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    used = {module.split(".")[0] for module in imports_of(path)}
    strayed = {library for library in used & set(LIBRARIES) if room_of(path) not in LIBRARIES[library]}
    assert not strayed
    shared = room_of(path) == "casebook" and all(
        ".".join(module.split(".")[:2]) in DATABASE for module in imports_of(path) if module.startswith("dicom_nodes")
    )
    assert "dicom_nodes" not in used or room_of(path) in WITH_NODES or shared
    assert "fixtures" not in used or room_of(path) == "commission"


@pytest.mark.parametrize("path", [path for path in ROOMS if FLOOR_OF.get(room_of(path), 99) <= HIGHEST_PURE], ids=name)
def test_pure_rooms_touch_nothing(path: Path) -> None:
    used = {module.split(".")[0] for module in imports_of(path)}
    assert not used & NOT_PURE
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input"}


@pytest.mark.parametrize("package", ["dicom_nodes", "fixtures"])
def test_the_other_packages_stand_alone(package: str) -> None:
    others = {"psdt_planner", "dicom_nodes", "fixtures", "tests", "benchmarks"} - {package}
    for path in (ROOT / package).rglob("*.py"):
        assert not {module.split(".")[0] for module in imports_of(path)} & others, name(path)


def product_files() -> list[Path]:
    return [path for package in ("psdt_planner", "dicom_nodes", "fixtures") for path in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize("path", product_files(), ids=name)
def test_rooms_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500, "two rooms in one?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node)
            length = (node.end_lineno or 0) - node.lineno + 1 - (documented.count("\n") + 1 if documented else 0)
            assert length <= 60, f"{node.name} has {length} lines"


def test_the_architecture_page_shows_every_floor() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for rooms in FLOORS:
        for room in rooms:
            assert f"`{room}" in page, f"{room} is missing from docs/architecture.md"
