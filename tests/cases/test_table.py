"""What may happen to a case in each state: every pair, legal and illegal, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from psdt_planner.case import EVENT_KINDS, TABLE, Case, Event, State, advance
from psdt_planner.errors import CaseStateError, FaultError
from tests.cases.stories import EVENTS, in_state

LEGAL = {
    "assembling": "received conflicted strayed incomplete assembled held discarded",
    "planning": "received conflicted strayed started proposed plan-held held discarded",
    "held": "received conflicted strayed held reopened discarded",
    "proposed": "received conflicted strayed released held reopened discarded",
    "released": "received conflicted strayed send-started delivered send-failed held",
    "confirming": "received conflicted strayed asked confirmed not-confirmed held",
    "sent": "received conflicted strayed reopened removed",
    "failed": "received conflicted strayed released held reopened discarded",
    "unconfirmed": "received conflicted strayed confirmed released held reopened discarded",
    "discarded": "received conflicted strayed reopened removed",
}
"""The table in words."""

LATE = {("assembling", "delivered"), ("held", "delivered"), ("discarded", "delivered")}
"""Legal only for an object that was on its way when a person stopped the case; a fault for any other."""

NEXT = {
    ("assembling", "received"): "assembling",
    ("assembling", "conflicted"): "held",
    ("assembling", "strayed"): "held",
    ("assembling", "incomplete"): "held",
    ("assembling", "assembled"): "planning",
    ("assembling", "held"): "held",
    ("assembling", "discarded"): "discarded",
    ("planning", "received"): "assembling",
    ("planning", "conflicted"): "held",
    ("planning", "strayed"): "held",
    ("planning", "started"): "planning",
    ("planning", "proposed"): "proposed",
    ("planning", "plan-held"): "held",
    ("planning", "held"): "held",
    ("planning", "discarded"): "discarded",
    ("held", "received"): "assembling",
    ("held", "conflicted"): "held",
    ("held", "strayed"): "held",
    ("held", "held"): "held",
    ("held", "reopened"): "assembling",
    ("held", "discarded"): "discarded",
    ("proposed", "received"): "assembling",
    ("proposed", "conflicted"): "held",
    ("proposed", "strayed"): "held",
    ("proposed", "released"): "released",
    ("proposed", "held"): "held",
    ("proposed", "reopened"): "assembling",
    ("proposed", "discarded"): "discarded",
    ("released", "received"): "held",
    ("released", "conflicted"): "held",
    ("released", "strayed"): "held",
    ("released", "send-started"): "released",
    ("released", "delivered"): "released",
    ("released", "send-failed"): "released",
    ("released", "held"): "held",
    ("confirming", "received"): "held",
    ("confirming", "conflicted"): "held",
    ("confirming", "strayed"): "held",
    ("confirming", "asked"): "confirming",
    ("confirming", "confirmed"): "confirming",
    ("confirming", "not-confirmed"): "confirming",
    ("confirming", "held"): "held",
    ("sent", "received"): "held",
    ("sent", "conflicted"): "held",
    ("sent", "strayed"): "held",
    ("sent", "reopened"): "assembling",
    ("sent", "removed"): "sent",
    ("failed", "received"): "held",
    ("failed", "conflicted"): "held",
    ("failed", "strayed"): "held",
    ("failed", "released"): "released",
    ("failed", "held"): "held",
    ("failed", "reopened"): "assembling",
    ("failed", "discarded"): "discarded",
    ("unconfirmed", "received"): "held",
    ("unconfirmed", "conflicted"): "held",
    ("unconfirmed", "strayed"): "held",
    ("unconfirmed", "confirmed"): "unconfirmed",
    ("unconfirmed", "released"): "released",
    ("unconfirmed", "held"): "held",
    ("unconfirmed", "reopened"): "assembling",
    ("unconfirmed", "discarded"): "discarded",
    ("discarded", "received"): "held",
    ("discarded", "conflicted"): "held",
    ("discarded", "strayed"): "held",
    ("discarded", "reopened"): "assembling",
    ("discarded", "removed"): "discarded",
}

PAIRS = [(state, kind) for state in State for kind in EVENT_KINDS]


def test_the_words_above_are_the_same_twice() -> None:
    assert {(state, kind) for state, kinds in LEGAL.items() for kind in kinds.split()} == set(NEXT)
    assert {state.value for state in State} == set(LEGAL)


@pytest.mark.parametrize(("state", "kind"), PAIRS, ids=[f"{state}-{kind}" for state, kind in PAIRS])
def test_each_pair_of_state_and_event(state: State, kind: str) -> None:
    case = in_state(state)
    make: Callable[[Case], Event] = EVENTS[kind]
    if kind in LEGAL[state].split():
        after, _ = advance(case, make(case))
        assert after.state == NEXT[state, kind]
        assert after.version == case.version + 1
    elif (state, kind) in LATE:
        with pytest.raises(FaultError, match="nobody released"):
            advance(case, make(case))
    else:
        with pytest.raises(CaseStateError, match=f"'{kind}' is not possible while the case is {state}"):
            advance(case, make(case))


def test_the_table_of_the_code_is_the_table_of_this_page() -> None:
    kinds = {cls: kind for kind, cls in EVENT_KINDS.items()}
    assert {(state.value, kinds[event]) for state in TABLE for event in TABLE[state]} - LATE == set(NEXT)


def test_nothing_leads_to_sent_but_released_and_nothing_there_but_a_release() -> None:
    to_sent = {
        (state, event)
        for state, row in TABLE.items()
        for event, after in row.items()
        if State.SENT in after and state is not State.SENT
    }
    confirmed = EVENT_KINDS["confirmed"]
    assert to_sent == {
        (State.RELEASED, EVENT_KINDS["delivered"]),
        (State.CONFIRMING, confirmed),
        (State.UNCONFIRMED, confirmed),
    }
    into_confirming = {
        (state, event)
        for state, row in TABLE.items()
        for event, after in row.items()
        if State.CONFIRMING in after and state is not State.CONFIRMING
    }
    assert into_confirming == {
        (State.RELEASED, EVENT_KINDS["delivered"]),
        (State.UNCONFIRMED, EVENT_KINDS["released"]),
    }
    to_released = {
        event
        for state, row in TABLE.items()
        for event, after in row.items()
        if State.RELEASED in after and state is not State.RELEASED
    }
    assert to_released == {EVENT_KINDS["released"]}


def test_every_state_can_be_left_by_a_person_or_by_the_worker() -> None:
    for state, row in TABLE.items():
        assert any(set(after) != {state} for after in row.values())
