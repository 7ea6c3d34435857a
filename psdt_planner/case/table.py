"""Which states there are, and what may happen in each: the whole of a case's life on one page.

A pair of state and event that is not in ``TABLE`` is refused. Nothing leads to ``SENT`` but ``RELEASED``, and nothing
to ``RELEASED`` but a ``Released`` event with a person's name. Where the destination confirms what it keeps, the way
from ``RELEASED`` to ``SENT`` leads through ``CONFIRMING``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from psdt_planner.case.events import (
    Asked,
    Assembled,
    Confirmed,
    Conflicted,
    Delivered,
    Discarded,
    Event,
    Held,
    Incomplete,
    NotConfirmed,
    PlanHeld,
    Proposed,
    Received,
    Released,
    Removed,
    Reopened,
    SendFailed,
    SendStarted,
    Started,
    Strayed,
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
    CONFIRMING = "confirming"
    """The destination has taken every output, and has yet to say that it keeps them."""
    SENT = "sent"
    """The destination has taken every output, and has confirmed them where it does so."""
    FAILED = "failed"
    """Sending was given up; the findings say why."""
    UNCONFIRMED = "unconfirmed"
    """The destination took every output, and does not say that it keeps them; the findings say why."""
    DISCARDED = "discarded"
    """A person has closed the case."""


ASSEMBLING, PLANNING, HELD, PROPOSED = State.ASSEMBLING, State.PLANNING, State.HELD, State.PROPOSED
RELEASED, SENT, FAILED, DISCARDED = State.RELEASED, State.SENT, State.FAILED, State.DISCARDED
CONFIRMING, UNCONFIRMED = State.CONFIRMING, State.UNCONFIRMED

TABLE: Mapping[State, Mapping[type[Event], tuple[State, ...]]] = MappingProxyType(
    {
        ASSEMBLING: {
            Received: (ASSEMBLING, HELD),  # held where it is not clear whose objects these are; so below
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Incomplete: (HELD,),
            Assembled: (PLANNING,),
            Held: (HELD,),
            Discarded: (DISCARDED,),
            Delivered: (ASSEMBLING,),  # of an earlier release that was stopped while an object was on its way
        },
        PLANNING: {
            Received: (ASSEMBLING, HELD),
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Started: (PLANNING,),
            Proposed: (PROPOSED,),
            PlanHeld: (HELD,),
            Held: (HELD,),
            Discarded: (DISCARDED,),
        },
        HELD: {
            Received: (ASSEMBLING, HELD),  # back to assembling only where the plan's own findings hold the case
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Held: (HELD,),
            Reopened: (ASSEMBLING,),
            Discarded: (DISCARDED,),
            Delivered: (HELD,),  # the object was on its way when a person stopped the case
        },
        PROPOSED: {
            Received: (ASSEMBLING, HELD),
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Released: (RELEASED,),
            Held: (HELD,),
            Reopened: (ASSEMBLING,),
            Discarded: (DISCARDED,),
        },
        RELEASED: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Strayed: (HELD,),
            SendStarted: (RELEASED,),
            Delivered: (RELEASED, CONFIRMING, SENT),  # on with the last of them
            SendFailed: (RELEASED, FAILED),  # failed where it is not tried again
            Held: (HELD,),
        },
        CONFIRMING: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Asked: (CONFIRMING,),
            Confirmed: (CONFIRMING, SENT),  # sent with the last of them
            NotConfirmed: (CONFIRMING, UNCONFIRMED),  # unconfirmed where it is not asked again
            Held: (HELD,),
        },
        SENT: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Reopened: (ASSEMBLING,),
            Removed: (SENT,),
        },
        FAILED: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Released: (RELEASED,),
            Held: (HELD,),
            Reopened: (ASSEMBLING,),
            Discarded: (DISCARDED,),
        },
        UNCONFIRMED: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Confirmed: (UNCONFIRMED, SENT),  # the answer came late
            Released: (RELEASED, CONFIRMING),  # sent again where the destination lost something, else asked again
            Held: (HELD,),
            Reopened: (ASSEMBLING,),
            Discarded: (DISCARDED,),
        },
        DISCARDED: {
            Received: (HELD,),
            Conflicted: (HELD,),
            Strayed: (HELD,),
            Reopened: (ASSEMBLING,),
            Removed: (DISCARDED,),
            Delivered: (DISCARDED,),  # as in HELD
        },
    }
)
"""State, event, and the states that may follow."""
