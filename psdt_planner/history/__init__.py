"""What happened before the exam: diagnosis, metastatic disease, therapies, PSA, testosterone, and the reader's RAC.

Told by a person in ``history.toml`` (``docs/history.toml`` shows every key), or by a FHIR bundle in the words of mCODE.
Either becomes a `History`, and both become one. What neither tells is None: it is missing, and nothing takes its place.
"""

from psdt_planner.history.fhir import parse_bundle
from psdt_planner.history.joined import joined
from psdt_planner.history.model import (
    Diagnosis,
    Disease,
    History,
    Psa,
    Rac,
    RadiographicProgression,
    Radiotherapy,
    Stage,
    Testosterone,
    Therapy,
    TherapyKind,
)
from psdt_planner.history.toml import parse_history

__all__ = [
    "Diagnosis",
    "Disease",
    "History",
    "Psa",
    "Rac",
    "RadiographicProgression",
    "Radiotherapy",
    "Stage",
    "Testosterone",
    "Therapy",
    "TherapyKind",
    "joined",
    "parse_bundle",
    "parse_history",
]
