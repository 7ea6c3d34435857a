"""Which states there are, and what may happen in each: the whole of a case's life on one page.

A pair of state and event that is not in ``TABLE`` is refused. Nothing leads to ``SENT`` but ``RELEASED``, and nothing
to ``RELEASED`` but a ``Released`` event with a person's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from psdt_planner.case.events import (
    Assembled,
    Conflicted,
    Delivered,
    Discarded,
    Event,
    Held,
    PlanHeld,
    Proposed,
    Received,
    Released,
    Reopened,
    SendFailed,
    Started,
)


class State(StrEnum):
    """Where a case stands."""

    ASSEMBLING = "assembling"
    """Objects are coming in."""
    PLANNING = "planning"
    """The set is there and has been quiet; a plan is being made."""
    HELD = "held"
    """A person must act; the findings say why."""
    PROPOSED = "proposed"
    """A plan waits for a person to release it."""
    RELEASED = "released"
    """A named person has released the plan; it is on its way."""
    SENT = "sent"
    """The destination has taken every output."""
    FAILED = "failed"
    """Sending was given up; the findings say why."""
    DISCARDED = "discarded"
    """A person has closed the case."""


ASSEMBLING, PLANNING, HELD, PROPOSED = State.ASSEMBLING, State.PLANNING, State.HELD, State.PROPOSED
RELEASED, SENT, FAILED, DISCARDED = State.RELEASED, State.SENT, State.FAILED, State.DISCARDED

TABLE: Mapping[State, Mapping[type[Event], tuple[State, ...]]] = MappingProxyType(
    {
        ASSEMBLING: {
            Received: (ASSEMBLING,),
            Conflicted: (HELD,),
            Assembled: (PLANNING,),
            Held: (HELD,),
            Discarded: (DISCARDED,),
            Delivered: (ASSEMBLING,),  # of an earlier release that was stopped while an object was on its way
        },
        PLANNING: {
            Received: (ASSEMBLING,),
            Conflicted: (HELD,),
            Started: (PLANNING,),
            Proposed: (PROPOSED,),
            PlanHeld: (HELD,),
            Held: (HELD,),
            Discarded: (DISCARDED,),
        },
        HELD: {
            Received: (ASSEMBLING, HELD),  # back to assembling only where the plan's own findings hold the case
            Conflicted: (HELD,),
            Held: (HELD,),
            Reopened: (ASSEMBLING,),
            Discarded: (DISCARDED,),
            Delivered: (HELD,),  # the object was on its way when a person stopped the case
        },
        PROPOSED: {
            Received: (ASSEMBLING,),
            Conflicted: (HELD,),
            Released: (RELEASED,),
            Held: (HELD,),
            Reopened: (ASSEMBLING,),
            Discarded: (DISCARDED,),
        },
        RELEASED: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Delivered: (RELEASED, SENT),  # sent with the last of them
            SendFailed: (RELEASED, FAILED),  # failed where it is not tried again
            Held: (HELD,),
        },
        SENT: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Reopened: (ASSEMBLING,),
        },
        FAILED: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Released: (RELEASED,),
            Held: (HELD,),
            Reopened: (ASSEMBLING,),
            Discarded: (DISCARDED,),
        },
        DISCARDED: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Reopened: (ASSEMBLING,),
            Delivered: (DISCARDED,),  # as in HELD
        },
    }
)
"""State, event, and the states that may follow."""
