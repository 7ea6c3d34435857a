"""``psdt protocol``: the clinical tables on the screen, checked, signed for, and compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from psdt_planner.cli.console import out, table
from psdt_planner.cli.errors import Exit
from psdt_planner.dossier.files import write_whole
from psdt_planner.errors import ProtocolError
from psdt_planner.fractionation import Schedule
from psdt_planner.protocol import Cited, Constraint, Difference, Protocol, differences, sets_of
from psdt_planner.radiobiology import bed_gy
from psdt_planner.shipped import load_protocol, read_protocol, shipped_protocol, signature_of

protocol_app = typer.Typer(
    name="protocol",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="The clinical tables: look at them, check them, sign for them, compare them. docs/protocols.md tells more.\n\n"
    "Example: [bold]psdt protocol show --site spine[/]",
)

File = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", exists=True, dir_okay=False, help="A clinic's file; the shipped one.")
]
Site = Annotated[str, typer.Option("--site", metavar="KEY", help="One site alone, such as spine.")]
OrganKey = Annotated[str, typer.Option("--organ", metavar="KEY", help="One organ alone, such as SpinalCord.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who answers for the protocol: its signer.")]
Wanted = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A clinic's file.")]
Other = Annotated[
    Path | None,
    typer.Argument(metavar="[OTHER]", exists=True, dir_okay=False, help="What it is compared with; the shipped one."),
]

MARKED = {"L": "bold yellow", "M": "", "H": ""}
"""Unsure rows stand out."""


@protocol_app.command("show")
def show_command(file: File = None, *, site: Site = "", organ: OrganKey = "") -> None:
    """What a protocol says, as tables: regimens by site, limits by organ, each with its source and certainty.

    Example: [bold]psdt protocol show --site spine[/]
    """
    protocol = read_protocol(file) if file else shipped_protocol()
    signed = f"signer {protocol.signer}" if protocol.signer else "nobody has signed"
    out.print(Text(f"{protocol.name}: {protocol.title} ({protocol.status}, {signed})", "bold"), soft_wrap=True)
    out.print(f"SHA-256 {protocol.sha256}", style="dim", soft_wrap=True)
    if site or not organ:
        out.print(_regimens(protocol, site))
    if organ or not site:
        out.print(_limits(protocol, organ))
    out.print("Certainty: H high, M moderate, L low. ? is a cell that nobody could read. Doses in Gy.", style="dim")


@protocol_app.command("check")
def check_command(file: File = None) -> None:
    """Whether a protocol holds: keys, sources, plausible numbers, contradictions, and its signature.

    Prints every complaint with file, line and field. Exit status 4 where there is one.

    Example: [bold]psdt protocol check clinic.toml[/]
    """
    try:
        protocol = load_protocol(file)
    except ProtocolError as error:
        out.print(Text(f"{error.where}: refused", "bold red"), soft_wrap=True)
        for complaint in error.message.split("; "):
            out.print(f"  {complaint}", soft_wrap=True)
        out.print(f"  {error.todo}", style="dim", soft_wrap=True)
        raise typer.Exit(Exit.CONFIGURATION) from error
    low = sum(row.certainty == "L" for _, row in protocol.rows())
    counts = f"{len(protocol.sites)} sites, {len(protocol.organs)} organs, {sum(1 for _ in protocol.rows())} rows"
    out.print(f"{protocol.name} holds ({protocol.status}): {counts}, {low} of low certainty.", soft_wrap=True)


@protocol_app.command("sign")
def sign_command(file: Wanted, *, by: By) -> None:
    """Sign for a protocol as it is now: writes FILE's name with .signed.toml beside it.

    The file says status = "clinical" and names its signer; the signature holds the hash of every text that it is made
    of, the shipped rows among them, and is void as soon as one of them changes.

    Example: [bold]psdt protocol sign clinic.toml --by "Your Name"[/]
    """
    protocol = read_protocol(file)
    if protocol.status != "clinical":
        todo = 'Put status = "clinical" and signer = "..." into it once it is more than a demonstration.'
        raise ProtocolError("a demonstration is not signed for", where=str(file), todo=todo)
    if by.strip() != protocol.signer:
        raise ProtocolError(
            f"it names {protocol.signer} as its signer, not {by.strip() or 'nobody'}",
            where=str(file),
            todo="Whoever is to answer for it must stand in it, and signs.",
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [
        "# A signature for a protocol of psdt: void as soon as the protocol changes.",
        f"signer = {_quoted(protocol.signer)}",
        f"signed_at = {_quoted(now)}",
        f"protocol = {_quoted(protocol.name)}",
        f"sha256 = {_quoted(protocol.sha256)}",
    ]
    write_whole(signature_of(file), ("\n".join(lines) + "\n").encode())
    out.print(f"{protocol.signer} signed for {protocol.name}, SHA-256 {protocol.sha256[:12]}…", soft_wrap=True)
    out.print(f"The signature is in {signature_of(file).name}.", soft_wrap=True)


@protocol_app.command("diff")
def diff_command(file: Wanted, other: Other = None) -> None:
    """Row by row, what a clinic's file says otherwise than another, or than the shipped protocol.

    Example: [bold]psdt protocol diff clinic.toml[/]
    """
    mine, theirs = read_protocol(file), read_protocol(other) if other else shipped_protocol()
    found = list(differences(theirs, mine))
    if not found:
        out.print(f"{mine.name} says what {theirs.name} says.")
        return
    made = table(f"{len(found)} differences", "row", theirs.name, mine.name)
    for one in found:
        made.add_row(one.place, *_sides(one))
    out.print(made)


def _sides(one: Difference) -> tuple[Text, Text]:
    return Text(one.before or "-", "dim"), Text(one.after or "-")


def _quoted(text: str) -> str:
    escaped = re.sub(r'([\\"])', r"\\\1", text)
    return f'"{escaped}"'


def _regimens(protocol: Protocol, site: str) -> Table:
    _known(site, protocol.sites)
    made = table("Regimens, in order of preference", "site", "Gy", "name", "BED", "use", "source", "sure")
    floor = protocol.ablative_floor
    for key, rule in protocol.sites.items():
        if site in ("", key):
            for n, row in enumerate(rule.regimens):
                schedule = Schedule(row.dose_gy, row.fractions)
                bed = bed_gy(dose_gy=row.dose_gy, fractions=row.fractions, alpha_beta_gy=floor.alpha_beta_gy)
                use = row.listed_only or (" ".join(_conditions(row.when)) if row.when else "")
                cells = ["" if n else key, f"{row.dose_gy:g}/{row.fractions}", schedule.tg263_suffix, f"{bed:.0f}", use]
                made.add_row(*cells, row.citation, row.certainty, style=MARKED[row.certainty])
    return made


def _conditions(row: Cited) -> Iterator[str]:
    """What a condition asks for, as its keys have it."""
    for name in type(row).model_fields:
        value = getattr(row, name)
        if name not in Cited.model_fields and value not in (None, (), 0.0):
            yield f"{name} {', '.join(value) if isinstance(value, tuple) else f'{value:g}'}"


def _limits(protocol: Protocol, organ: str) -> Table:
    _known(organ, protocol.organs)
    counts = sorted({n for one in protocol.sets.values() for row in one.rows for n in (*row.limit, *row.unknown)})
    made = table("Limits by number of fractions", "organ", "metric", "kind", *map(str, counts), "set", "sure")
    for key in protocol.organs:
        asked = sets_of(protocol, key)
        ordered = [*asked, *(name for name in protocol.sets if name not in asked)]
        rows = [(name, row) for name in ordered for row in protocol.sets[name].rows if row.organ == key]
        for n, (name, row) in enumerate(rows if organ in ("", key) else []):
            metric = row.metric + ("" if row.unit == "Gy" else f" ({row.unit})")
            cells = [_cell(row, count) for count in counts]
            made.add_row("" if n else key, metric, row.kind, *cells, name, row.certainty, style=MARKED[row.certainty])
    return made


def _cell(row: Constraint, fractions: int) -> str:
    return f"{row.limit[fractions]:g}" if fractions in row.limit else "?" if fractions in row.unknown else ""


def _known(key: str, keys: Mapping[str, object]) -> None:
    if key and key not in keys:
        raise typer.BadParameter(f"{key} is none of {', '.join(keys)}")
