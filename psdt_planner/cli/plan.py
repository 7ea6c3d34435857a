"""``psdt plan`` and ``psdt inspect``: offline, no node; files in, files out."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from psdt_planner.cli.console import out, print_findings, progress_bar, table
from psdt_planner.cli.errors import Exit
from psdt_planner.dicom.inspection import inspect_json
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dossier import (
    GENERIC,
    Dossier,
    load_destination,
    load_history,
    load_protocol,
    make_dossier,
    plan_json,
)
from psdt_planner.findings import holds
from psdt_planner.fractionation import Proposal
from psdt_planner.planning import Exclusion, PlannedLesion
from psdt_planner.report import course_lines

Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT...", exists=True, help="DICOM files or folders.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Folder for the outputs.")]
ProtocolFile = Annotated[
    Path | None,
    typer.Option(
        "--protocol", metavar="FILE", help="Clinical tables; the shipped ones, which nobody signed for, if absent."
    ),
]
DestinationName = Annotated[
    str,
    typer.Option("--destination", metavar="NAME", help="Planning system that the outputs are for, or a .toml file."),
]
Excluded = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="ID=REASON", help="Leave a lesion without a target. Needs --by."),
]
HistoryFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--history",
        metavar="FILE",
        help="What happened before the exam: history.toml or a FHIR bundle; twice for one of each.",
    ),
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decided the exclusions.")]


def plan_command(
    inputs: Inputs,
    out_dir: Out,
    *,
    protocol: ProtocolFile = None,
    destination: DestinationName = GENERIC,
    exclude: Excluded = None,
    by: By = "",
    history: HistoryFiles = None,
    as_json: AsJson = False,
) -> None:
    """Map each flagged lesion to a contour on the planning CT and propose a dose.

    Writes plan.json, report.html and manifest.json to DIR, and, unless a finding holds the case (exit status 1),
    rtstruct.dcm with those of registration.dcm and proposal.dcm that the destination takes.

    Example: [bold]psdt plan ct/ mr/ flags/seg.dcm --out plan/ --exclude L3="no RT, patient's wish" --by "A. Reader"[/]
    """
    exclusions = tuple(_exclusion(text, by) for text in exclude or ())
    with progress_bar(shown=not as_json) as progress:
        dossier = make_dossier(
            inputs,
            out_dir,
            protocol=load_protocol(protocol),
            created=datetime.now(UTC),
            destination=load_destination(destination),
            exclusions=exclusions,
            history=load_history(*history or ()),
            progress=progress,
        )
    if as_json:
        out.print_json(json.dumps(plan_json(dossier.plan)))
    else:
        print_dossier(dossier)
    if dossier.status == "held":
        raise typer.Exit(Exit.HELD)


def _exclusion(text: str, by: str) -> Exclusion:
    lesion, equals, reason = text.partition("=")
    if not (lesion and equals and reason.strip()):
        raise typer.BadParameter(f"--exclude {text!r} is not of the form ID=REASON, such as L3='no RT, patient's wish'")
    if not by.strip():
        raise typer.BadParameter("--exclude needs --by NAME: an exclusion is a person's decision")
    return Exclusion(lesion, reason.strip(), by.strip())


def print_dossier(dossier: Dossier) -> None:
    """The plan on one screen: findings, a row a lesion, the paths of the outputs."""
    print_findings(dossier.findings)
    rows = table("", "lesion", "site", "status", "GTV ml", "± mm", "proposal")
    for lesion in dossier.plan.lesions:
        rows.add_row(*_cells(lesion))
    out.print(rows)
    for line in course_lines(dossier.plan.course):
        out.print(line, soft_wrap=True)
    out.print(dossier.status, style="bold")
    for path in dossier.outputs.values():
        out.print(str(path), soft_wrap=True)
    out.print("A proposal, not a prescription: research software, not a medical device.", style="dim")


def _cells(lesion: PlannedLesion) -> tuple[str, ...]:
    gtv = f"{lesion.rois[0].volume_ml:.2f}" if lesion.rois else ""
    bound = f"{lesion.mapped.uncertainty_mm:.1f}" if lesion.mapped else ""
    dose = str(lesion.proposal.schedule) if isinstance(lesion.proposal, Proposal) else "none"
    return f"{lesion.flag.id} {lesion.flag.label}", lesion.flag.site, lesion.status.value, gtv, bound, dose


def inspect_command(inputs: Inputs, as_json: AsJson = False) -> None:
    """Say what is there: every series with its kind, b-values, frame and findings, and what refers to what.

    Exit status 1 where a finding would hold the case.

    Example: [bold]psdt inspect incoming/ --json[/]
    """
    with progress_bar(shown=not as_json) as progress:
        intake = read_inputs(inputs, progress=lambda done, total: progress("reading", done, total))
    if as_json:
        out.print_json(json.dumps(inspect_json(intake)))
    else:
        _print_intake(intake)
    if holds(intake.exam.findings):
        raise typer.Exit(Exit.HELD)


def _print_intake(intake: Intake) -> None:
    print_findings(intake.exam.findings)
    rows = table("", "kind", "images", "b-values (images)", "frame ends in", "series")
    for series in inspect_json(intake)["series"]:
        b_values = ", ".join(f"{b} ({n})" for b, n in series["b_values_s_per_mm2"].items())
        frame = (series["frame_of_reference_uid"] or "")[-8:]
        rows.add_row(series["kind"], str(series["images"]), b_values, frame, series["description"] or "")
    out.print(rows)
    for one in inspect_json(intake)["composed"]:
        b = "" if one["b_value_s_per_mm2"] is None else f" at b = {one['b_value_s_per_mm2']:g}"
        out.print(f"{one['kind']}{b}: {len(one['stations'])} stations composed into {one['slices']} slices")
        for seam in one["seams"]:
            out.print(f"  {_seam_words(seam)}", style="dim")
    for flag in intake.exam.flags:
        out.print(f"{flag.id} {flag.label}: {flag.site}, {flag.side.value}, {flag.volume_ml:.2f} ml")
    for flag in intake.exam.prior.flags if intake.exam.prior else ():
        out.print(f"{flag.id} {flag.label}: of the prior exam, {flag.site}, {flag.side.value}, {flag.volume_ml:.2f} ml")
    for organ in intake.exam.organs:
        out.print(f"organ {organ.name}: {len(organ.contours)} contours", style="dim")
    for landmark in intake.exam.landmarks:
        out.print(f"landmark {landmark.name}", style="dim")
    for line in _references(intake):
        out.print(line, soft_wrap=True)


def _seam_words(seam: dict[str, Any]) -> str:
    ends = f"...{seam['lower_series_instance_uid'][-8:]} to ...{seam['upper_series_instance_uid'][-8:]}"
    if not seam["overlap_slices"]:
        return f"{ends}: no overlap, gain and shift unknown"
    shift_mm = math.hypot(*seam["shift_mm"])
    told = f"gain {seam['gain']:.3f}, shift {shift_mm:.1f} mm, step left {seam['step_percent']:.1f} %"
    return f"{ends}: {seam['overlap_slices']} slices overlap, {told}"


def _references(intake: Intake) -> list[str]:
    """What refers to what, by kind and the end of the UID; what is not among the inputs is said to be absent."""
    kinds = {series.series_instance_uid: series.kind.value for series in intake.series}
    known = {file.sop_instance_uid: kinds.get(file.series_instance_uid, "other") for file in intake.files} | kinds
    known |= {series.frame_of_reference_uid: "of the images" for series in intake.series}

    def named(uid: str) -> str:
        return f"{known.get(uid, 'absent')} ...{uid[-8:]}"

    return [f"{named(one.from_uid)}: {one.what} {named(one.to_uid)}" for one in intake.references]
