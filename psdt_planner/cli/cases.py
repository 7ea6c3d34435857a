"""The casebook: what there is, what it waits for, and what a person decides."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from psdt_planner.case import Case, Rules, State, became_of, missing, parts, quiet_at_s, use_in_words
from psdt_planner.casebook import Casebook
from psdt_planner.cli.config_file import DEFAULT_CONFIG, ConfigFile
from psdt_planner.cli.console import out, print_findings, table
from psdt_planner.worker import decisions, load_config

CaseId = Annotated[str, typer.Argument(metavar="ID", help="The case, as `psdt cases` shows it.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides; kept with the case.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the case.")]


def _casebook(config: Path) -> Casebook:
    return Casebook(load_config(config).worker.casebook)


def _said(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _plan(casebook: Casebook, case: Case) -> str:
    """The number of the latest plan, and when it was proposed."""
    at_s = decisions.proposed_at_s(casebook, case.id)
    return f"plan {case.plan}, not proposed" if at_s is None else f"plan {case.plan}, proposed {_said(at_s)}"


def _release(case: Case) -> str:
    """Who released the plan, and what this person said of the registration."""
    return f"released by {case.released_by}; registration: {use_in_words(case.registration_use)}"


def _patience(case: Case, rules: Rules) -> str:
    """When the case goes on, or is held."""
    held = _said(case.since_s + rules.longest_wait_s)
    if missing(case, rules.required):
        return f"held at {held} if that is still missing"
    return f"planned at {_said(quiet_at_s(case, rules))} if nothing more comes in"


def _print_parts(case: Case) -> None:
    """Every series that came in, with the part it plays; by numbers, whose UIDs follow; frames of reference as letters.

    What is missing stands with its UID among what the case waits for.
    """
    made = parts(case.items.values())
    numbers = {part.series_instance_uid: str(number) for number, part in enumerate(made, start=1)}
    frames = sorted({frame for part in made for frame in part.frames})
    letters = {frame: _letters(number) for number, frame in enumerate(frames)}
    rows = table("", "", "part", "kind", "objects", "b-values", "frame", "refers to")
    for part in made:
        b_values = " ".join(f"{b:g}x{count}" for b, count in part.b_values_s_per_mm2)
        frame = " ".join(letters[frame] for frame in part.frames)
        refers = [numbers[uid] for uid in part.refers_to] + ([f"{len(part.absent)} missing"] if part.absent else [])
        number, objects = numbers[part.series_instance_uid], str(part.objects)
        rows.add_row(number, part.role.value, part.kind.value, objects, b_values, frame, ", ".join(refers))
    out.print(rows)
    for name, uid in [*((number, uid) for uid, number in numbers.items()), *((letters[one], one) for one in frames)]:
        out.print(f"{name}  {uid}", soft_wrap=True)


def _letters(number: int) -> str:
    """A, B ... Z, AA, AB ..."""
    return (_letters(number // 26 - 1) if number >= 26 else "") + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 26]


def cases_command(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """List every case with its state and what it waits for.

    Example: [bold]psdt cases[/]
    """
    rows = table("", "case", "state", "since", "objects", "plan", "waits for")
    loaded = load_config(config)
    for case in decisions.list_cases(Casebook(loaded.worker.casebook), loaded.worker.required):
        waits = "; ".join(case.waits_for)
        rows.add_row(case.id, case.state, _said(case.since_s), str(case.objects), str(case.plan or ""), waits)
    out.print(rows)


def case_command(case_id: CaseId, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show one case: what came in and what is missing, its plan, its findings, its outputs and all that happened to it.

    Example: [bold]psdt case 3f9c-a21b[/]
    """
    loaded = load_config(config)
    casebook = Casebook(loaded.worker.casebook)
    case = casebook.case(case_id)
    row = next(row for row in decisions.list_cases(casebook, loaded.worker.required) if row.id == case_id)
    out.print(f"{case_id} {row.state} since {_said(row.since_s)}, {row.objects} objects", style="bold", soft_wrap=True)
    if case.plan:
        out.print(_plan(casebook, case))
    if case.released_by:
        out.print(_release(case), soft_wrap=True)
    for what in row.waits_for:
        out.print(f"waits for {what}", soft_wrap=True)
    if case.state is State.ASSEMBLING:
        out.print(_patience(case, loaded.worker.rules), soft_wrap=True)
    _print_parts(case)
    print_findings(case.findings)
    for output in case.outputs:
        out.print(f"{output.name}  {output.sop_instance_uid}  {became_of(case, output)}", soft_wrap=True)
    history = table("", "when", "what", "by", "why")
    for event in casebook.history(case_id):
        history.add_row(_said(event.at_s), type(event).__name__, getattr(event, "by", ""), getattr(event, "reason", ""))
    out.print(history)


def release_command(
    case_id: CaseId,
    by: By,
    plan: Annotated[
        int | None,
        typer.Option(
            "--plan",
            metavar="N",
            help="The plan that was looked at; refused if it is no longer the latest. Needed once there were several.",
        ),
    ] = None,
    registration_use: Annotated[
        int | None,
        typer.Option(
            "--registration-use",
            metavar="0..4",
            min=0,
            max=4,
            help="How far the registration may be used, as you saw it (AAPM TG-132): 0 whole scan aligned, 1 locally "
            "aligned, 2 usable with a risk of deformation, 3 diagnosis only, 4 not acceptable; 3 and 4 are refused.",
        ),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Let a proposed case go out: structure set, registration and proposal, by the person who looked at them.

    A case that new objects or a reopening gave another plan is released only with --plan: the person says which plan it
    was that they looked at. [bold]psdt case ID[/] shows its number; its report lies in the folder plan-N of the case.
    --registration-use stands in the casebook with the name of the person; without it the registration is not assessed.

    Example: [bold]psdt release 3f9c-a21b --by "A. Reader" --plan 1[/]
    """
    casebook = _casebook(config)
    case = decisions.release(casebook, case_id, by, time.time(), plan, registration_use=registration_use)
    out.print(f"{case.id} is {case.state.value} by {by}; psdt serve sends it.", soft_wrap=True)
    out.print(_plan(casebook, case))
    out.print(f"registration: {use_in_words(case.registration_use)}")


def hold_command(case_id: CaseId, by: By, reason: Reason, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Stop a case until somebody reopens it.

    Example: [bold]psdt hold 3f9c-a21b --by "A. Reader" --reason "second opinion"[/]
    """
    case = decisions.hold(_casebook(config), case_id, by, reason, time.time())
    out.print(f"{case.id} is {case.state.value}.")


def reopen_command(
    case_id: CaseId,
    by: By,
    as_it_is: Annotated[
        bool, typer.Option("--as-it-is", help="Do not wait for what is missing: plan with what came in.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Let a case begin again with all that is there.

    Example: [bold]psdt reopen 3f9c-a21b --by "A. Reader"[/]
    """
    case = decisions.reopen(_casebook(config), case_id, by, time.time(), as_it_is=as_it_is)
    out.print(f"{case.id} is {case.state.value}.")


def discard_command(case_id: CaseId, by: By, reason: Reason, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Close a case without sending anything.

    Example: [bold]psdt discard 3f9c-a21b --by "A. Reader" --reason "test data"[/]
    """
    case = decisions.discard(_casebook(config), case_id, by, reason, time.time())
    out.print(f"{case.id} is {case.state.value}.")
