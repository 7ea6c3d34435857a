"""What a case waits for: the set it requires, the quiet it needs, the pauses between attempts to send."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from psdt_planner.case.events import Assembled, PlanHeld
from psdt_planner.case.life import Case, outstanding
from psdt_planner.case.table import ASSEMBLING, FAILED, HELD, PLANNING, PROPOSED, RELEASED, State
from psdt_planner.findings import Finding, Level, Who

PLAN_STARTS = 3
"""A plan that was begun so often without an end is not begun again: it may be what kills the process."""


@dataclass(frozen=True)
class Rules:
    """What the clinic sets about cases.

    Attributes:
        quiet_s: how long nothing may have come in before a complete set is planned.
        send_attempts: after so many failures sending is given up.
        first_retry_s: pause after the first failure; it doubles with each, up to ``longest_retry_s``.
    """

    quiet_s: float
    send_attempts: int
    first_retry_s: float
    longest_retry_s: float


def case_id(salt: bytes, *identity: str) -> str:
    """The id of a case: 50 bits of a keyed hash, in letters and digits that are not mistaken for each other.

    Without the salt, which stays in the casebook, the id cannot be traced back to a patient by trying numbers.
    """
    digest = int.from_bytes(hmac.digest(salt, "\0".join(identity).encode(), "sha256")[:8], "big")
    letters = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digest >> 5 * place & 31] for place in range(10))
    return f"{letters[:5]}-{letters[5:]}"


def due(case: Case, now_s: float, rules: Rules) -> Assembled | PlanHeld | None:
    """The event that needs nothing from outside: the set was quiet, or its plan never ends; else None."""
    if case.state is ASSEMBLING and not missing(case) and now_s >= quiet_at_s(case, rules):
        return Assembled(now_s, case.plan + 1)
    if case.state is PLANNING and case.starts >= PLAN_STARTS:
        message = f"the plan was begun {case.starts} times and never came to an end; is there enough memory?"
        return PlanHeld(now_s, case.plan, (Finding("plan-failed", Level.HOLD, message, Who.PERSON, value=case.starts),))
    return None


def missing(case: Case) -> tuple[str, ...]:
    """What the required set still lacks, in words; empty where it is complete."""
    modalities = {item.modality for item in case.items.values()}
    lacks = {
        "a CT series": "CT" not in modalities,
        "an MR series": "MR" not in modalities,
        "flags (SEG or RTSTRUCT)": not modalities & {"SEG", "RTSTRUCT"},
        "a Patient ID on every object": any(not item.patient_known for item in case.items.values()),
    }
    return tuple(words for words, lacking in lacks.items() if lacking)


def quiet_at_s(case: Case, rules: Rules) -> float:
    """When the case will have been quiet for long enough, if nothing more comes in."""
    return max((item.received_at_s for item in case.items.values()), default=0.0) + rules.quiet_s


def retry_at_s(case: Case, now_s: float, rules: Rules) -> float | None:
    """When to send again after one more failure; None where it is given up."""
    if case.attempts + 1 >= rules.send_attempts:
        return None
    return now_s + min(rules.first_retry_s * 2.0**case.attempts, rules.longest_retry_s)


def waits_for(case: Case) -> tuple[str, ...]:
    """What has to happen for the case to go on, in words."""
    waiting: Mapping[State, Callable[[], tuple[str, ...]]] = {
        ASSEMBLING: lambda: missing(case) or ("quiet",),
        PLANNING: lambda: ("the plan",),
        HELD: lambda: tuple(f"a person: {f.code}" for f in case.findings if f.level is Level.HOLD) or ("a person",),
        PROPOSED: lambda: ("a release",),
        RELEASED: lambda: tuple(f"delivery of {output.name}" for output in outstanding(case)),
        FAILED: lambda: ("a person: send-failed",),
    }
    return waiting.get(case.state, tuple)()
