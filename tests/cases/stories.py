"""Objects, outputs and events to tell the story of a case with; time is counted in seconds from 1000."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from psdt_planner.case import (
    Asked,
    Assembled,
    Case,
    Confirmed,
    Conflicted,
    Delivered,
    Discarded,
    Event,
    Facts,
    Held,
    Incomplete,
    Item,
    NotConfirmed,
    Output,
    PlanHeld,
    Proposed,
    Received,
    Released,
    Removed,
    Reopened,
    Rules,
    SendFailed,
    SendStarted,
    Started,
    State,
    Strayed,
    advance,
)
from psdt_planner.findings import Finding, Level, Who

RULES = Rules(
    quiet_s=60.0,
    send_attempts=3,
    first_retry_s=10.0,
    longest_retry_s=15.0,
    confirm_attempts=2,
    confirm_wait_s=600.0,
)
HOLD = Finding("ct-slice-missing", Level.HOLD, "a slice is missing at 12.5 mm", Who.SENDER)
WARN = Finding("dwi-absent", Level.WARN, "no diffusion images", Who.SENDER)


def item(
    modality: str = "CT",
    number: int = 1,
    at_s: float = 1000.0,
    *,
    patient_known: bool = True,
    facts: Facts | None = None,
) -> Item:
    return Item(
        sop_instance_uid=f"1.2.{len(modality)}.{sum(map(ord, modality))}.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        series_instance_uid=f"1.2.{modality}",
        study_instance_uid="1.2",
        modality=modality,
        frame_of_reference_uid="1.2.99",
        key=f"objects/{modality}-{number}",
        sha256=f"{number:064x}",
        received_at_s=at_s,
        patient_known=patient_known,
        facts=facts,
    )


REQUIRED = (item("CT"), item("MR"), item("SEG"))


def outputs(plan: int = 1) -> tuple[Output, ...]:
    names = ("proposal.dcm", "registration.dcm", "rtstruct.dcm")
    return tuple(
        Output(name, f"ID/plan-{plan}/{name}", f"{plan}{number}".zfill(64), f"1.9.{plan}.{number}")
        for number, name in enumerate(names)
    )


def tell(*events: Event, case: Case | None = None) -> Case:
    """The case after events."""
    case = case or Case("7K3MQ-2ZDXW")
    for event in events:
        case, _ = advance(case, event)
    return case


RECEIVED = Received(1000.0, REQUIRED)
PLANNED = (RECEIVED, Assembled(1060.0, 1))
PROPOSED = (*PLANNED, Proposed(1100.0, 1, outputs(), (WARN,)))
RELEASED = (*PROPOSED, Released(1200.0, "A. Person", 1))
DELIVERED = tuple(Delivered(1210.0, output.sop_instance_uid, "") for output in outputs())
SENT = (*RELEASED, SendStarted(1201.0, ""), *DELIVERED)
CONFIRMING = (*RELEASED, SendStarted(1201.0, "commitment"), *DELIVERED)
ASKED = (*CONFIRMING, Asked(1211.0, "2.25.1", 1811.0))

STORIES: Mapping[State, tuple[Event, ...]] = {
    State.ASSEMBLING: (RECEIVED,),
    State.PLANNING: PLANNED,
    State.HELD: (*PLANNED, PlanHeld(1100.0, 1, (HOLD,))),
    State.PROPOSED: PROPOSED,
    State.RELEASED: RELEASED,
    State.CONFIRMING: ASKED,
    State.SENT: SENT,
    State.UNCONFIRMED: (*ASKED, NotConfirmed(1220.0, "no such object instance (0112)", None, ("1.9.1.0",))),
    State.FAILED: (*RELEASED, SendFailed(1210.0, "the peer does not take it", None)),
    State.DISCARDED: (*PROPOSED, Discarded(1200.0, "A. Person", "treated elsewhere")),
}


def in_state(state: State) -> Case:
    """The case after the shortest story that leads to a state."""
    case = tell(*STORIES[state])
    assert case.state is state
    return case


EVENTS: Mapping[str, Callable[[Case], Event]] = {
    "received": lambda _: Received(2000.0, (item("CT", 2, 2000.0),)),
    "conflicted": lambda _: Conflicted(2000.0, REQUIRED[0].sop_instance_uid, "ab" * 32),
    "strayed": lambda _: Strayed(2000.0, ("1.2.CT",), "ZZZZZ-ZZZZZ"),
    "incomplete": lambda _: Incomplete(2000.0, ("a CT series",)),
    "assembled": lambda case: Assembled(2000.0, case.plan + 1),
    "started": lambda case: Started(2000.0, case.plan),
    "proposed": lambda case: Proposed(2000.0, case.plan, outputs(case.plan), ()),
    "plan-held": lambda case: PlanHeld(2000.0, case.plan, (HOLD,)),
    "released": lambda case: Released(2000.0, "B. Person", case.plan),
    "send-started": lambda _: SendStarted(2000.0, ""),
    "delivered": lambda _: Delivered(2000.0, "1.9.1.0" if _.state is State.RELEASED else "1.9.7.7", ""),
    "send-failed": lambda _: SendFailed(2000.0, "away", 2010.0),
    "asked": lambda _: Asked(2000.0, "2.25.2", 2600.0),
    "confirmed": lambda _: Confirmed(2000.0, ("1.9.1.0",), "storage commitment"),
    "not-confirmed": lambda _: NotConfirmed(2000.0, "no answer", 2010.0, ()),
    "held": lambda _: Held(2000.0, "B. Person", "wrong patient?"),
    "reopened": lambda _: Reopened(2000.0, "B. Person"),
    "discarded": lambda _: Discarded(2000.0, "B. Person", "treated elsewhere"),
    "removed": lambda _: Removed(2000.0, 3),
}
"""One event of each kind that would fit the case, if its state allows it."""
