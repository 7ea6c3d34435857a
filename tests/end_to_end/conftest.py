"""One small synthetic patient, planned once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fixtures.patient import PatientSpec, write_patient
from psdt_planner.dossier import Dossier, load_protocol, make_dossier

CREATED = datetime(2026, 3, 4, 15, 6, 7, tzinfo=UTC)


@dataclass(frozen=True)
class Planned:
    """A patient's folder, what psdt left behind, and the truth."""

    inputs: Path
    out: Path
    dossier: Dossier
    truth: dict[str, Any]

    @property
    def plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = json.loads((self.out / "plan.json").read_text(encoding="utf-8"))
        return plan

    def true(self, lesion: dict[str, Any]) -> dict[str, Any]:
        """The truth of a lesion of ``plan.json``."""
        by_uid = {true["tracking_uid"]: true for true in self.truth["lesions"]}
        found: dict[str, Any] = by_uid[lesion["tracking_uid"]]
        return found


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """A feet-first CT of a pelvis with five lesions: proposed."""
    folder = tmp_path_factory.mktemp("planned")
    inputs, out = folder / "patient", folder / "plan"
    write_patient(PatientSpec(seed=4, region="pelvis", size="small", lesions=5, ct_position="FFS"), inputs)
    dossier = make_dossier([inputs], out, protocol=load_protocol(None), created=CREATED)
    return Planned(inputs, out, dossier, json.loads((inputs / "truth.json").read_text(encoding="utf-8")))
