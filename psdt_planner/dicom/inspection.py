"""What came in, as the plain value that ``psdt inspect --json`` prints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.uid import UID

from psdt_planner.dicom.files import InputFile
from psdt_planner.dicom.intake import Intake, SeriesSummary
from psdt_planner.findings import Finding
from psdt_planner.images import Seam, Volume

SCHEMA = 1


def inspect_json(intake: Intake) -> dict[str, Any]:
    """``{"schema", "series", "composed", "other", "findings"}``, of numbers, texts, lists and dicts alone.

    ``composed`` are the MR volumes of several stations. The findings at the top are all findings; each series repeats
    its own. No patient's name or ID is in it.
    """
    return {
        "schema": SCHEMA,
        "series": [_series(summary) for summary in intake.series],
        "composed": [_composed(volume) for volume in intake.exam.mr if volume.stations],
        "other": [_other(file) for file in intake.other],
        "findings": _findings(intake.exam.findings),
    }


def _series(summary: SeriesSummary) -> dict[str, Any]:
    return {
        "series_instance_uid": summary.series_instance_uid,
        "modality": summary.modality,
        "kind": str(summary.kind),
        "images": summary.images,
        "b_values_s_per_mm2": {f"{b:g}": count for b, count in summary.b_values_s_per_mm2},
        "b_value_source": summary.b_value_source,
        "adc_unit_mm2_per_s": summary.adc_unit_mm2_per_s,
        "frame_of_reference_uid": summary.frame_of_reference_uid,
        "description": summary.description,
        "findings": _findings(summary.findings),
    }


def _composed(volume: Volume) -> dict[str, Any]:
    """One volume of several stations, with how far each lies from where the volume shows it, and how each two meet."""
    return {
        "kind": str(volume.quantity.kind),
        "b_value_s_per_mm2": volume.quantity.b_value_s_per_mm2,
        "slices": volume.grid.shape[0],
        "frame_of_reference_uid": volume.grid.frame,
        "stations": [
            {"series_instance_uid": one.series_uid, "moved_mm": [round(mm, 3) for mm in one.moved_mm]}
            for one in volume.stations
        ],
        "seams": [_seam(one) for one in volume.seams],
    }


def _seam(seam: Seam) -> dict[str, Any]:
    """Gain and shift that were brought to the upper station, and the step of the signal that is left, in percent."""
    overlap = bool(seam.overlap_slices)
    return {
        "lower_series_instance_uid": seam.lower_uid,
        "upper_series_instance_uid": seam.upper_uid,
        "overlap_slices": seam.overlap_slices,
        "gap_mm": round(seam.gap_mm, 3),
        "gain": round(seam.gain, 4) if overlap else None,
        "shift_mm": [round(mm, 3) for mm in seam.shift_mm] if overlap else None,
        "correlation": round(seam.correlation, 4) if overlap else None,
        "step_percent": round(100 * seam.step, 2) if overlap else None,
    }


def _other(file: InputFile) -> dict[str, Any]:
    return {
        "file": file.name,
        "sop_class_uid": file.sop_class_uid,
        "sop_class": UID(file.sop_class_uid).name if file.sop_class_uid else "",
        "sop_instance_uid": file.sop_instance_uid,
        "series_instance_uid": file.series_instance_uid,
    }


def _findings(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "code": finding.code,
            "level": str(finding.level),
            "message": finding.message,
            "value": finding.value,
            "limit": finding.limit,
            "unit": finding.unit,
            "lesion": finding.lesion,
        }
        for finding in findings
    ]
