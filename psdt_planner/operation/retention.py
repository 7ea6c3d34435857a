"""What is removed when a case has long come to its end: its objects, those that came with other bytes under their UIDs
among them, its plans, and the receipts of its destination; never its events.

The casebook hears of it first, so that an object that comes again afterwards is news, and so that nothing is removed of
a case that a person reopens in the same moment. A run that was cut short is finished by the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_nodes.commitment import receipts_of
from dicom_nodes.index import Index
from dicom_nodes.removal import set_aside, settle
from dicom_nodes.storage import Storage
from psdt_planner.case import Asked, Case, Item, Removed, State
from psdt_planner.casebook import Casebook
from psdt_planner.errors import CaseStateError

DAY_S = 86400.0


@dataclass(frozen=True)
class Removal:
    """What is removed of one case.

    Attributes:
        since_s: when it came into its state, POSIX time.
        items: the objects, those in quarantine not among them.
    """

    case_id: str
    state: State
    since_s: float
    items: tuple[Item, ...]


def removable(cases: Iterable[Case], keep_days: Mapping[State, float], now_s: float) -> tuple[Removal, ...]:
    """What may go: of cases that have been for longer than ``keep_days`` in a state it names."""
    return tuple(
        Removal(case.id, case.state, case.since_s, tuple(case.items.values()))
        for case in cases
        if case.state in keep_days and case.items and now_s - case.since_s > keep_days[case.state] * DAY_S
    )


def carry_out(
    removals: Iterable[Removal], casebook: Casebook, index: Index, storage: Storage, *, plans: Path, now_s: float
) -> tuple[Removal, ...]:
    """Remove, and say what was removed: a case that a person took up again meanwhile is left alone.

    Files of objects are set aside first, and removed by the next run (`dicom_nodes.removal`).
    """
    done, receipts = [], receipts_of(storage.root)
    for removal in removals:
        try:
            casebook.append(removal.case_id, Removed(now_s, len(removal.items)))
        except CaseStateError:
            continue
        done.append(removal)
    for case in casebook.cases():  # those of runs that were cut short among them
        if case.gone and case.state in {State.SENT, State.DISCARDED}:
            keys = [*(item.key for item in case.gone.values()), *index.quarantined(list(case.gone))]
            set_aside(storage, index, keys, before_s=case.removed_at_s)
            shutil.rmtree(plans / case.id, ignore_errors=True)
            for event in casebook.history(case.id):
                if isinstance(event, Asked):
                    receipts.forget(event.transaction_uid)
    settle(storage, index, now_s)
    return tuple(done)
