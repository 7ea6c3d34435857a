"""The reader's RAC: where it is read, and what is said where it cannot be taken."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from psdt_planner.findings import Level
from psdt_planner.history import History
from psdt_planner.lesions import FlaggedLesion
from psdt_planner.timeline import RacReadings, Reading, read_racs
from tests.time.made import CRITERIA, CT_FROM_MR, Ellipsoid, drawn


def flag(name: str, label: str = "left iliac wing", uid: str = "") -> FlaggedLesion:
    return drawn(Ellipsoid((0.0, 0.0, 0.0), (8.0, 8.0, 8.0)), CT_FROM_MR, name, tracking_uid=uid, label=label)


def history(*rac: dict[str, Any]) -> History:
    own = {"name": "history.toml", "sha256": "0" * 64, "source": "history.toml"}
    return History.model_validate({**own, "reference_date": date(2026, 3, 2), "rac": rac})


def read(flags: list[FlaggedLesion], told: History | None = None) -> RacReadings:
    return read_racs(flags, told, CRITERIA)


@pytest.mark.parametrize(
    ("label", "rac"),
    [
        ("left iliac wing RAC 4", 4),
        ("left iliac wing (RAC5)", 5),
        ("rac: 2, sacrum", 2),
        ("L3 RAC_1", 1),
        ("left iliac wing", None),
        ("RAC 6", None),
        ("RAC 45", None),
        ("crack 4", None),
    ],
)
def test_in_the_label(label: str, rac: int | None) -> None:
    found = read([flag("L1", label)])
    assert found.by_lesion == ({} if rac is None else {"L1": Reading(rac, "label")})
    assert found.findings == ()


def test_in_the_history_by_id_or_by_tracking_uid() -> None:
    told = history({"lesion": "L1", "rac": 5}, {"lesion": "1.2.3", "rac": 4, "secondary": 2})
    found = read([flag("L1"), flag("L2", uid="1.2.3")], told)
    assert found.by_lesion == {"L1": Reading(5, "history"), "L2": Reading(4, "history", 2)}


def test_the_same_in_both_places_is_one() -> None:
    found = read([flag("L1", "RAC 4")], history({"lesion": "L1", "rac": 4, "secondary": 3}))
    assert found.by_lesion == {"L1": Reading(4, "history", 3)}


def test_two_that_differ_hold_and_none_is_taken() -> None:
    found = read([flag("L1", "RAC 4")], history({"lesion": "L1", "rac": 2}))
    assert found.by_lesion == {}
    assert [(one.code, one.level, one.lesion) for one in found.findings] == [("rac-contradictory", Level.HOLD, "L1")]


@pytest.mark.parametrize(("rac", "level"), [(5, Level.HOLD), (4, Level.HOLD), (3, Level.WARN), (1, Level.WARN)])
def test_a_progressing_lesion_that_nobody_flagged_holds(rac: int, level: Level) -> None:
    found = read([flag("L1")], history({"lesion": "L9", "rac": rac}))
    assert [(one.code, one.level) for one in found.findings] == [("rac-lesion-unknown", level)]
