"""The numbers by which a course of disease is read, each with its source: `psdt_planner/criteria/psdt.toml`.

They stand apart from a protocol, which says how a site is treated: these say what has changed, and what state it is.
"""

from __future__ import annotations

import hashlib
import tomllib
from typing import Annotated, Final

from pydantic import Field, ValidationError

from psdt_planner.errors import ProtocolError
from psdt_planner.protocol import Cited
from psdt_planner.tables import Table, Words, defect, place_and_message

SCHEMA: Final = 1
"""Version of the file's shape."""


class AdcRepeatability(Cited):
    """The change of a lesion's median ADC that repeating the measurement gives in 95 %."""

    coefficient_percent: Annotated[float, Field(gt=0.0, lt=100.0)]


class VolumeRepeatability(Cited):
    """The scatter of a volume that is outlined again by the same method, one standard deviation."""

    within_lesion_cv_percent: Annotated[float, Field(ge=0.0, lt=100.0)]


class Outline(Cited):
    """How far apart two people draw the same edge, one standard deviation."""

    edge_mm: Annotated[float, Field(ge=0.0, le=10.0)]


class Voxels(Cited):
    """The unknown part of a voxel on the edge of a binary mask, one standard deviation, as a part of the voxel."""

    edge_voxel_sd: Annotated[float, Field(ge=0.0, le=1.0)]


class Castration(Cited):
    """Testosterone below which a patient counts as castrate; each unit has its own number, as published."""

    testosterone_below_ng_per_dl: Annotated[float, Field(gt=0.0, le=200.0)]
    testosterone_below_nmol_per_l: Annotated[float, Field(gt=0.0, le=10.0)]


class TestosteroneAge(Cited):
    """How many days before the exam a testosterone still tells whether the patient is castrate now."""

    within_days: Annotated[int, Field(ge=1, le=1000)]


class PsaProgression(Cited):
    """When a PSA series progresses: so many rises, so far apart, so many of them so high over the nadir."""

    rises: Annotated[int, Field(ge=1, le=10)]
    apart_days: Annotated[int, Field(ge=1, le=365)]
    high_values: Annotated[int, Field(ge=1, le=10)]
    over_nadir_percent: Annotated[float, Field(ge=0.0, le=1000.0)]
    above_ng_per_ml: Annotated[float, Field(ge=0.0, le=100.0)]


class Synchronous(Cited):
    """Up to how many calendar months after the primary diagnosis metastases count as synchronous."""

    within_months: Annotated[int, Field(ge=0, le=60)]


class Responding(Cited):
    """Up to which response assessment category the reader calls a lesion responding."""

    rac_to: Annotated[int, Field(ge=1, le=4)]


class Progressing(Cited):
    """From which response assessment category on the reader calls a lesion progressing."""

    rac_from: Annotated[int, Field(ge=2, le=5)]


class PriorExam(Cited):
    """Fewer days than this between two MR exams, and they may be one that took two sessions."""

    least_days: Annotated[int, Field(ge=0, le=365)]


class Criteria(Table):
    """All rows of the file.

    Attributes:
        name: what the criteria are called, from the name of their file.
        sha256: of the text in UTF-8, hexadecimal.
    """

    name: Words
    sha256: Words
    title: Words
    adc_repeatability: AdcRepeatability
    volume_repeatability: VolumeRepeatability
    outline: Outline
    voxels: Voxels
    castration: Castration
    testosterone_age: TestosteroneAge
    psa_progression: PsaProgression
    synchronous: Synchronous
    responding: Responding
    progressing: Progressing
    prior_exam: PriorExam


def parse_criteria(text: str, name: str) -> Criteria:
    """The criteria in the text of a TOML file, checked.

    Raises:
        ProtocolError: the text is no TOML, a key is missing or unknown, or a row has no source. Every defect is named
            with its line and field.
    """
    where, todo = f"criteria {name}", "Whoever keeps these criteria must correct them."
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"not TOML: {error}", where=where, todo=todo) from error
    if tables.pop("schema", None) != SCHEMA:
        raise ProtocolError(f"schema must be {SCHEMA}", where=where, todo=todo)
    own = {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    defects = [defect(text, (key,), "comes from the file, not from a key") for key in sorted(own.keys() & tables)]
    try:
        criteria = Criteria.model_validate({**tables, **own})
    except ValidationError as error:
        defects += [defect(text, *place_and_message(detail)) for detail in error.errors()]
        raise ProtocolError("; ".join(defects), where=where, todo=todo) from error
    if defects:
        raise ProtocolError("; ".join(defects), where=where, todo=todo)
    return criteria
