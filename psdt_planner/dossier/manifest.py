"""``manifest.json``: what went in, what came out, and with what, so that a plan can be traced and made again."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from typing import Any

import numpy as np

from psdt_planner import __version__
from psdt_planner.destination import Destination
from psdt_planner.dicom.intake import Intake
from psdt_planner.errors import ReadBackError
from psdt_planner.geometry import Rigid
from psdt_planner.planning import Plan
from psdt_planner.report import ImageSeries, RegistrationRecord, registration_records

SCHEMA = 1

LIBRARIES = ("highdicom", "numpy", "pydicom", "rt-utils", "scipy", "shapely", "simpleitk")
"""Those whose version can change a number or a byte of the output."""


def manifest_json(
    plan: Plan, intake: Intake, destination: Destination, output_sha256: Mapping[str, str], created: datetime
) -> dict[str, Any]:
    """Inputs and outputs with SHA-256, versions, protocol, destination, transforms and decisions, as values of JSON."""
    return {
        "schema": SCHEMA,
        "notice": "Research software, not a medical device. Every output is a proposal.",
        "created": created.isoformat(),
        "versions": _versions(),
        "protocol": {"name": plan.protocol.name, "sha256": plan.protocol.sha256, "status": plan.protocol.status},
        "destination": {"name": destination.name, "sha256": destination.sha256, "title": destination.title},
        "inputs": [
            {"name": file.name, "sha256": file.sha256, "sop_instance_uid": file.sop_instance_uid}
            for file in sorted(intake.files, key=lambda file: (file.sop_instance_uid, file.sha256))
        ],
        "transforms": _transforms(plan),
        "registration_records": [_record(record) for record in registration_records(plan, image_series(intake))],
        "history": plan.course.history.sha256 if plan.course and plan.course.history else None,
        "criteria": plan.course.criteria.sha256 if plan.course else None,
        "exclusions": [{"lesion": e.lesion, "reason": e.reason, "by": e.by} for e in plan.exclusions],
        "outputs": [{"name": name, "sha256": digest} for name, digest in sorted(output_sha256.items())],
    }


def image_series(intake: Intake) -> tuple[ImageSeries, ...]:
    """What a reader would look a series up by, of every series that came in."""
    return tuple(
        ImageSeries(summary.series_instance_uid, summary.modality, summary.description, summary.date)
        for summary in intake.series
    )


def _record(record: RegistrationRecord) -> dict[str, Any]:
    return {**asdict(record), "direction": record.direction}


def _versions() -> dict[str, str]:
    libraries = {name: metadata.version(name) for name in LIBRARIES}
    return {"psdt": __version__, "python": platform.python_version(), **libraries}


def read_back_transforms(data: bytes, plan: Plan) -> None:
    """Read the manifest's bytes again and compare every transform with the one that the plan was made with.

    Raises:
        ReadBackError: naming what has another transform, or none, or one too many.
    """
    read = {
        item["of"]: Rigid(np.array(item["matrix"]), item["target"], item["source"])
        for item in json.loads(data)["transforms"]
    }
    meant = dict(_named(plan))
    differing = sorted(name for name in {*read, *meant} if read.get(name) != meant.get(name))
    if differing:
        raise ReadBackError(f"the manifest reads back with other transforms of {', '.join(differing)}")


def read_back_records(data: bytes, plan: Plan, intake: Intake) -> None:
    """Read the manifest's bytes again and compare the record of every registration, figure by figure.

    Raises:
        ReadBackError: one reads back otherwise, or is missing.
    """
    meant = [_record(record) for record in registration_records(plan, image_series(intake))]
    if json.loads(data)["registration_records"] != json.loads(json.dumps(meant)):
        raise ReadBackError("the manifest reads back with another record of a registration")


def _transforms(plan: Plan) -> list[dict[str, Any]]:
    """The case's transform, then each lesion's, with the frames that they join."""
    return [
        {"of": name, "target": rigid.target, "source": rigid.source, "matrix": rigid.matrix.tolist()}
        for name, rigid in _named(plan)
    ]


def _named(plan: Plan) -> Iterator[tuple[str, Rigid]]:
    if plan.registration:
        yield "case", plan.registration.ct_from_mr
    yield from ((lesion.flag.id, lesion.mapped.ct_from_mr) for lesion in plan.lesions if lesion.mapped)
    for placed in plan.earlier.courses:
        if isinstance(placed.transform, Rigid):
            yield f"earlier course {placed.course.id}", placed.transform
    compared = plan.course.compared if plan.course else None
    if compared is not None:
        if isinstance(compared.registration.transform, Rigid):
            yield "prior exam", compared.registration.transform
        yield from ((lesion, place.this_from_prior) for lesion, place in compared.places.items())
