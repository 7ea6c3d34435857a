"""``psdt lint``: will it open, and is it in the right place; any vendor's structure set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from psdt_planner.cli.console import err, out
from psdt_planner.cli.errors import Exit
from psdt_planner.destination import Destination
from psdt_planner.dicom.image_planes import Found, find
from psdt_planner.dicom.rtstruct_file import StructureSetFile, read_structure_set_file
from psdt_planner.errors import InputError
from psdt_planner.lint import Complaint, Level, Verdict, lint, unreadable
from psdt_planner.shipped import load_destination

SCHEMA = 1
"""Version of the JSON form: a key is never taken away within one."""

STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTE: "dim"}

Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="RTSTRUCT...", exists=True, resolve_path=True, help="Structure sets, or folders with their CT."
    ),
]
Ct = Annotated[
    Path | None,
    typer.Option("--ct", metavar="DIR", exists=True, resolve_path=True, help="The images they were drawn on."),
]
Name = Annotated[str, typer.Option("--destination", metavar="NAME", help="Hold it against a destination's rules too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def lint_command(paths: Paths, *, ct: Ct = None, destination: Name = "", as_json: AsJson = False) -> None:
    """Will a structure set open elsewhere, and is it right: any vendor's RTSTRUCT, beside its CT.

    Says what is wrong, with a code and what to do; docs/lint.md lists all. Exit status 1 where there is an error.

    Example: [bold]psdt lint export/rtss.dcm --ct export/ct/ --json[/]
    """
    found = find([*paths, *([ct] if ct else [])])
    verdicts = _verdicts(paths, found, load_destination(destination) if destination else None)
    if not verdicts:
        raise InputError("there is no RT Structure Set among the inputs", todo="Name one, or a folder that has one.")
    passed_over = [path.name for path in found.unreadable if path not in paths]
    if as_json:
        out.print_json(json.dumps(as_dict(verdicts, passed_over)))
    else:
        _print(verdicts, passed_over)
    if any(verdict.count(Level.ERROR) for verdict in verdicts):
        raise typer.Exit(Exit.HELD)


def _verdicts(paths: Sequence[Path], found: Found, destination: Destination | None) -> tuple[Verdict, ...]:
    """A verdict on every structure set found, and on every file that was named as one and is none."""
    read: list[StructureSetFile] = []
    failed: list[Verdict] = []
    of_images = set(found.images)
    named = [path for path in paths if path.is_file() and path not in of_images]
    # What lies beside the images is not what was asked about.
    within = [path for path in found.structure_sets if any(path.is_relative_to(given) for given in paths)]
    for path in dict.fromkeys([*within, *named]):
        name = _name_within(path, paths)
        try:
            read.append(replace(read_structure_set_file(path), name=name))
        except InputError as error:
            failed.append(unreadable(name, error.message))
    return (*lint(read, found.series, destination), *failed)


def _name_within(path: Path, paths: Sequence[Path]) -> str:
    """The path from the folder that was named: exports often have a file of one name in each of their folders."""
    folders = [folder for folder in paths if folder.is_dir() and path.is_relative_to(folder)]
    return path.relative_to(folders[0]).as_posix() if folders else path.name


def as_dict(verdicts: Sequence[Verdict], passed_over: Sequence[str]) -> dict[str, Any]:
    """The verdicts as JSON has them."""
    return {
        "schema": SCHEMA,
        "errors": sum(verdict.count(Level.ERROR) for verdict in verdicts),
        "structure_sets": [
            {
                "file": verdict.name,
                "sop_instance_uid": verdict.sop_instance_uid,
                "checked_against_series": verdict.series_uid,
                "complaints": [{"level": one.level.value, **asdict(one), "do": one.do} for one in verdict.complaints],
            }
            for verdict in verdicts
        ],
        "not_dicom": list(passed_over),
    }


def _print(verdicts: Sequence[Verdict], passed_over: Sequence[str]) -> None:
    for verdict in verdicts:
        counts = ", ".join(f"{verdict.count(level)} {level.value}s" for level in Level)
        out.print(Text(verdict.name, "bold").append(f"  {counts}", "default"), soft_wrap=True)
        for complaint in verdict.complaints:
            out.print(_line(complaint), soft_wrap=True)
    if passed_over:
        err.print(f"not DICOM, passed over: {', '.join(passed_over)}", style="dim", soft_wrap=True)


def _line(complaint: Complaint) -> Text:
    roi = f"ROI {complaint.roi}: " if complaint.roi else ""
    do = f". {complaint.do[0].upper()}{complaint.do[1:]}." if complaint.do else "."
    line = Text(f"  {complaint.level.value:7} ", STYLES[complaint.level])
    return line.append(f"{complaint.code}: {roi}{complaint.message}{do}", "default")
