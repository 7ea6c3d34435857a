"""Read, plan, write: each step in its own room; here is only their order."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from psdt_planner import __version__
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.pdf_out import write_pdf
from psdt_planner.dicom.registration_out import write_registration
from psdt_planner.dicom.rtstruct_out import read_back, write_rtstruct
from psdt_planner.dossier.files import remove, write_whole
from psdt_planner.dossier.manifest import image_series, manifest_json
from psdt_planner.dossier.plan_json import plan_json
from psdt_planner.errors import ConfigurationError
from psdt_planner.findings import Finding
from psdt_planner.planning import Exclusion, Plan, PlanStatus, plan
from psdt_planner.protocol import Protocol, parse_protocol
from psdt_planner.report import proposal_pdf, render_report

DICOM_OUTPUTS = ("rtstruct.dcm", "registration.dcm", "proposal.dcm")
"""What may go to a planning system; absent while the case is held."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Dossier:
    """What a run left behind.

    Attributes:
        status: ``proposed`` or ``held``.
        findings: all of them.
        outputs: name to path of every file that was written.
        plan: what was written, as values.
    """

    status: str
    findings: tuple[Finding, ...]
    outputs: Mapping[str, Path]
    plan: Plan


def load_protocol(path: Path | None) -> Protocol:
    """The protocol in a file; without one, the shipped demonstration, which nobody has signed for.

    Raises:
        ConfigurationError: the file cannot be read.
        ProtocolError: its text is wrong.
    """
    if path is None:
        text = resources.files("psdt_planner").joinpath("protocols", "demo.toml").read_text(encoding="utf-8")
        return parse_protocol(text, "demo")
    try:
        return parse_protocol(path.read_text(encoding="utf-8"), path.stem)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the protocol cannot be read: {error}", where=str(path)) from error


def make_dossier(
    inputs: Sequence[Path],
    out: Path,
    *,
    protocol: Protocol,
    created: datetime,
    exclusions: tuple[Exclusion, ...] = (),
    progress: Progress = lambda _what, _done, _total: None,
) -> Dossier:
    """Plan from DICOM files or folders and write the outputs to a folder.

    ``plan.json``, ``report.html`` and ``manifest.json`` are always written; ``rtstruct.dcm``, ``registration.dcm`` and
    ``proposal.dcm`` only when nothing holds the case, and ones of an earlier run are taken away first. The same inputs,
    protocol, exclusions and time give the same bytes.

    Args:
        inputs: files and folders, in any order and nesting.
        out: made where absent.
        protocol: the clinical tables.
        created: with its time zone; stands in every output and its UIDs.
        exclusions: lesions that a named person leaves without a target.
        progress: told of each step.

    Raises:
        InputError: an exclusion names a lesion that is not flagged.
        ReadBackError: what would be written is not what was meant; then nothing is written.
        OSError: the folder cannot be written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (*DICOM_OUTPUTS, "plan.json", "report.html", "manifest.json"):
        remove(out / name)
    intake = read_inputs(inputs, progress=lambda done, total: progress("reading", done, total))
    threads = len(os.sched_getaffinity(0))
    made = plan(intake.exam, protocol, exclusions=exclusions, threads=threads, progress=progress)
    stamp = Stamp(created, _entropy(intake, protocol, exclusions))
    progress("writing", 0, 1)
    objects = _dicom(made, intake, stamp) if made.status is PlanStatus.PROPOSED else {}
    report = render_report(
        made, version=__version__, made_at=created, patient=patient_of(intake), series=image_series(intake)
    )
    pages = {"plan.json": _json(plan_json(made)), "report.html": report.encode()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in {**pages, **objects}.items()}
    pages["manifest.json"] = _json(manifest_json(made, intake, hashes, created))
    # The objects come last: whatever interrupts this, no structure set stands without its plan, report and manifest.
    for name, data in {**pages, **objects}.items():
        write_whole(out / name, data)
    progress("writing", 1, 1)
    return Dossier(made.status.value, made.findings, {name: out / name for name in (*objects, *pages)}, made)


def _dicom(made: Plan, intake: Intake, stamp: Stamp) -> dict[str, bytes]:
    """The objects for the planning system, read back from their bytes and compared before anything else happens."""
    assert made.structure_set is not None and made.registration is not None  # noqa: S101, PT018
    flags = {lesion.flag.id: lesion.flag for lesion in made.lesions}
    rtstruct = write_rtstruct(made.structure_set, intake.ct_headers, flags, stamp)
    read_back(rtstruct, made.structure_set, intake.ct_headers, flags)
    pdf = proposal_pdf(made, version=__version__, made_at=stamp.created, patient=patient_of(intake))
    ct_from_mr = made.registration.ct_from_mr
    mr_images = [image for image in intake.mr_images if image.frame_of_reference_uid == ct_from_mr.source]
    return {
        "registration.dcm": write_registration(ct_from_mr, intake.ct_headers, mr_images, stamp),
        "proposal.dcm": write_pdf(pdf, intake.ct_headers, "psdt PROPOSAL", stamp),
        "rtstruct.dcm": rtstruct,
    }


def patient_of(intake: Intake) -> str:
    """Name and PatientID as on the planning CT, for the eyes of a reader; empty without a planning CT."""
    if not intake.ct_headers:
        return ""
    header = intake.ct_headers[0]
    return f"{header.get('PatientName', '')} ({header.get('PatientID', '')})"


def _entropy(intake: Intake, protocol: Protocol, exclusions: tuple[Exclusion, ...]) -> str:
    """What tells this run from every other: inputs, version, protocol and decisions."""
    facts = [__version__, protocol.sha256, *sorted(file.sha256 for file in intake.files)]
    facts += [f"{exclusion.lesion}={exclusion.reason}={exclusion.by}" for exclusion in exclusions]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
