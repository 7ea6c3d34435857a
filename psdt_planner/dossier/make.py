"""Read, plan, write: each step in its own room; here is only their order."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from psdt_planner import __version__
from psdt_planner.destination import Destination
from psdt_planner.dicom.assembly import acquisition_criteria
from psdt_planner.dicom.identity import Stamp, instance_uid
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.intent_out import write_intent
from psdt_planner.dicom.pdf_out import write_pdf
from psdt_planner.dicom.registration_out import write_registration
from psdt_planner.dicom.rtplan_out import write_plan
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.dicom.rtstruct_read_back import read_back
from psdt_planner.dossier.course import HistoryText, course_of_intake
from psdt_planner.dossier.destinations import for_destination
from psdt_planner.dossier.fhir import check_bundle, prescription_bundle, proposed_targets
from psdt_planner.dossier.files import remove, write_whole
from psdt_planner.dossier.manifest import image_series, manifest_json, read_back_records, read_back_transforms
from psdt_planner.dossier.plan_json import plan_json
from psdt_planner.findings import Finding
from psdt_planner.planning import Exclusion, Plan, PlanStatus, load_of, plan
from psdt_planner.protocol import Protocol
from psdt_planner.report import proposal_pdf, render_report
from psdt_planner.shipped import GENERIC, load_destination

DICOM_OUTPUTS = ("rtstruct.dcm", "registration.dcm", "proposal.dcm")
"""What may go to a planning system: absent while the case is held, or where the destination does not take it."""

ASKED_OUTPUTS = ("rtplan.dcm", "intent.dcm")
"""What looks like a prescription: written only for a destination whose file asks for it."""

PAGES = ("plan.json", "report.html", "manifest.json", "prescription.fhir.json")

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


def make_dossier(
    inputs: Sequence[Path],
    out: Path,
    *,
    protocol: Protocol,
    created: datetime,
    destination: Destination | None = None,
    exclusions: tuple[Exclusion, ...] = (),
    history: HistoryText | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Dossier:
    """Plan from DICOM files or folders and write the outputs to a folder.

    ``plan.json``, ``report.html`` and ``manifest.json`` are always written; ``rtstruct.dcm``,
    ``prescription.fhir.json``, and those of ``registration.dcm``, ``proposal.dcm``, ``rtplan.dcm`` and ``intent.dcm``
    that the destination takes, only when nothing holds the case; ones of an earlier run are taken away first. The same
    inputs, protocol, destination, exclusions, history and time give the same bytes.

    Args:
        inputs: files and folders, in any order and nesting.
        out: made where absent.
        protocol: the clinical tables.
        created: with its time zone; stands in every output and its UIDs.
        destination: what the planning system takes; any planning system where none is given.
        exclusions: lesions that a named person leaves without a target.
        history: what happened before the exam; without it nobody can tell genuine from induced.
        progress: told of each step.

    Raises:
        InputError: an exclusion names a lesion that is not flagged, or the history is wrong.
        ConfigurationError: the destination does not take a name, a ring or the character set of the plan.
        ReadBackError: what would be written is not what was meant; then nothing is written.
        OSError: the folder cannot be written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (*DICOM_OUTPUTS, *ASKED_OUTPUTS, *PAGES):
        remove(out / name)
    destination = destination or load_destination(GENERIC)
    intake = read_inputs(inputs, progress=lambda done, total: progress("reading", done, total))
    threads = len(os.sched_getaffinity(0))
    course = course_of_intake(intake, history, protocol, threads=threads, progress=progress)
    made = plan(intake.exam, protocol, exclusions=exclusions, course=course, threads=threads, progress=progress)
    made = replace(for_destination(made, destination), load=load_of(made, acquisition_criteria().adc_histogram))
    stamp = Stamp(created, _entropy(intake, protocol, destination, made))
    progress("writing", 0, 1)
    objects = _dicom(made, intake, destination, stamp) if made.status is PlanStatus.PROPOSED else {}
    report = render_report(
        made, version=__version__, made_at=created, patient=patient_of(intake), series=image_series(intake)
    )
    pages = {"plan.json": _json(plan_json(made)), "report.html": report.encode()}
    if made.status is PlanStatus.PROPOSED:
        pages["prescription.fhir.json"] = _prescription(made, intake, stamp)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in {**pages, **objects}.items()}
    pages["manifest.json"] = _json(manifest_json(made, intake, destination, hashes, created))
    read_back_transforms(pages["manifest.json"], made)
    read_back_records(pages["manifest.json"], made, intake)
    # The objects come last: whatever interrupts this, no structure set stands without its plan, report and manifest.
    for name, data in {**pages, **objects}.items():
        write_whole(out / name, data)
    progress("writing", 1, 1)
    return Dossier(made.status.value, made.findings, {name: out / name for name in (*objects, *pages)}, made)


def _dicom(made: Plan, intake: Intake, destination: Destination, stamp: Stamp) -> dict[str, bytes]:
    """The objects that the destination takes, read back from their bytes and compared before anything else happens."""
    assert made.structure_set is not None and made.registration is not None  # noqa: S101, PT018
    flags = {lesion.flag.id: lesion.flag for lesion in made.lesions}
    character_set = destination.character_set.rule
    rtstruct = write_rtstruct(made.structure_set, intake.ct_headers, flags, stamp, character_set=character_set)
    read_back(rtstruct, made.structure_set, intake.ct_headers, flags)
    objects = {}
    if destination.registration.send:
        ct_from_mr = made.registration.ct_from_mr
        mr_images = [image for image in intake.mr_images if image.frame_of_reference_uid == ct_from_mr.source]
        objects["registration.dcm"] = write_registration(
            ct_from_mr, intake.ct_headers, mr_images, stamp, character_set=character_set
        )
    if destination.report.send:
        pdf = proposal_pdf(made, version=__version__, made_at=stamp.created, patient=patient_of(intake))
        objects["proposal.dcm"] = write_pdf(pdf, intake.ct_headers, "psdt PROPOSAL", stamp, character_set=character_set)
    targets = proposed_targets(made)
    if destination.sends_plan and targets:
        uid = instance_uid(rtstruct)
        objects["rtplan.dcm"] = write_plan(targets, intake.ct_headers, uid, stamp, character_set=character_set)
    if destination.sends_intent and targets:
        objects["intent.dcm"] = write_intent(targets, intake.ct_headers, stamp, character_set=character_set)
    return {**objects, "rtstruct.dcm": rtstruct}


def _prescription(made: Plan, intake: Intake, stamp: Stamp) -> bytes:
    """The proposals as FHIR, read back from its bytes."""
    data = _json(prescription_bundle(made, str(intake.ct_headers[0].get("PatientID", "")), stamp))
    check_bundle(json.loads(data), made)
    return data


def patient_of(intake: Intake) -> str:
    """Name and PatientID as on the planning CT, for the eyes of a reader; empty without a planning CT."""
    if not intake.ct_headers:
        return ""
    header = intake.ct_headers[0]
    return f"{header.get('PatientName', '')} ({header.get('PatientID', '')})"


def _entropy(intake: Intake, protocol: Protocol, destination: Destination, made: Plan) -> str:
    """What tells this run from every other: inputs, version, protocol, destination, history and decisions."""
    facts = [__version__, protocol.sha256, destination.sha256, *sorted(file.sha256 for file in intake.files)]
    facts += [f"{exclusion.lesion}={exclusion.reason}={exclusion.by}" for exclusion in made.exclusions]
    if made.course is not None:
        facts += [made.course.criteria.sha256, made.course.history.sha256 if made.course.history else ""]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
