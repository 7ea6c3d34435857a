"""One patient's set and its life: which states there are, what may happen in each, and what is to be done then.

Nothing here reads a clock, a file or a network. What happens is an ``Event`` with its time; ``advance`` says which
state follows and which actions are wanted. Actions follow from the state alone, so a restart asks for them again, and
each of them may be carried out twice. ``table.TABLE`` is the whole of it.
"""

from psdt_planner.case.events import (
    EVENT_KINDS,
    Assembled,
    Conflicted,
    Delivered,
    Discarded,
    Event,
    Held,
    Item,
    Output,
    PlanHeld,
    Proposed,
    Received,
    Released,
    Reopened,
    SendFailed,
    Started,
)
from psdt_planner.case.life import Action, Case, MakePlan, Send, advance, is_old_news, wanted
from psdt_planner.case.rules import PLAN_STARTS, Rules, case_id, due, missing, quiet_at_s, retry_at_s, waits_for
from psdt_planner.case.table import TABLE, State
from psdt_planner.case.uses import NOT_ASSESSED, REGISTRATION_USES, RegistrationUse, use_in_words

__all__ = [
    "EVENT_KINDS",
    "NOT_ASSESSED",
    "PLAN_STARTS",
    "REGISTRATION_USES",
    "TABLE",
    "Action",
    "Assembled",
    "Case",
    "Conflicted",
    "Delivered",
    "Discarded",
    "Event",
    "Held",
    "Item",
    "MakePlan",
    "Output",
    "PlanHeld",
    "Proposed",
    "Received",
    "RegistrationUse",
    "Released",
    "Reopened",
    "Rules",
    "Send",
    "SendFailed",
    "Started",
    "State",
    "advance",
    "case_id",
    "due",
    "is_old_news",
    "missing",
    "quiet_at_s",
    "retry_at_s",
    "use_in_words",
    "waits_for",
    "wanted",
]
