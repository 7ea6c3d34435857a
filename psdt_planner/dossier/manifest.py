"""``manifest.json``: what went in, what came out, and with what, so that a plan can be traced and made again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from typing import Any

from psdt_planner import __version__
from psdt_planner.dicom.intake import Intake
from psdt_planner.planning import Plan
from psdt_planner.report import ImageSeries, RegistrationRecord, registration_records

SCHEMA = 1

LIBRARIES = ("highdicom", "numpy", "pydicom", "rt-utils", "scipy", "shapely", "simpleitk")
"""Those whose version can change a number or a byte of the output."""


def manifest_json(plan: Plan, intake: Intake, output_sha256: Mapping[str, str], created: datetime) -> dict[str, Any]:
    """Inputs and outputs with SHA-256, versions, protocol, transforms and decisions, as values of JSON."""
    return {
        "schema": SCHEMA,
        "notice": "Research software, not a medical device. Every output is a proposal.",
        "created": created.isoformat(),
        "versions": _versions(),
        "protocol": {"name": plan.protocol.name, "sha256": plan.protocol.sha256, "status": plan.protocol.status},
        "inputs": [
            {"name": file.name, "sha256": file.sha256, "sop_instance_uid": file.sop_instance_uid}
            for file in sorted(intake.files, key=lambda file: (file.sop_instance_uid, file.sha256))
        ],
        "transforms": _transforms(plan),
        "registration_records": [_record(record) for record in registration_records(plan, image_series(intake))],
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


def _transforms(plan: Plan) -> list[dict[str, Any]]:
    """The case's transform, then each lesion's, with the frames that they join."""
    named = [("case", plan.registration.ct_from_mr)] if plan.registration else []
    named += [(lesion.flag.id, lesion.mapped.ct_from_mr) for lesion in plan.lesions if lesion.mapped]
    return [
        {"of": name, "target": rigid.target, "source": rigid.source, "matrix": rigid.matrix.tolist()}
        for name, rigid in named
    ]
