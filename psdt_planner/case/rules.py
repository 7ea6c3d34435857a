"""What a case waits for: the set it requires, the quiet it needs, the pauses between attempts to send."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from psdt_planner.case.assembly import DEFAULT_REQUIRED, Role, lacking
from psdt_planner.case.events import Assembled, Incomplete, NotConfirmed, Output, PlanHeld, SendFailed
from psdt_planner.case.life import Case, outstanding, unconfirmed
from psdt_planner.case.table import (
    ASSEMBLING,
    CONFIRMING,
    FAILED,
    HELD,
    PLANNING,
    PROPOSED,
    RELEASED,
    UNCONFIRMED,
    State,
)
from psdt_planner.findings import Finding, Level, Who

PLAN_STARTS = 3
"""A plan that was begun so often without an end is not begun again: it may be what kills the process."""


@dataclass(frozen=True)
class Rules:
    """What the clinic sets about cases.

    Attributes:
        quiet_s: how long nothing may have come in before a complete set is planned.
        send_attempts: after so many attempts sending is given up.
        first_retry_s: pause after the first failure; it doubles with each, up to ``longest_retry_s``.
        confirm_attempts: how often the destination is asked whether it keeps what it took.
        confirm_wait_s: how long it may take to answer.
        longest_wait_s: a set that is not complete and quiet so long after its first object, or after a person reopened
            it, is held.
        required: what a set must have before it is planned.
    """

    quiet_s: float
    send_attempts: int
    first_retry_s: float
    longest_retry_s: float
    confirm_attempts: int
    confirm_wait_s: float
    longest_wait_s: float = 7 * 86400.0
    required: tuple[Role, ...] = DEFAULT_REQUIRED


def case_id(salt: bytes, *identity: str) -> str:
    """The id of a case: 50 bits of a keyed hash, in letters and digits that are not mistaken for each other.

    Without the salt, which stays in the casebook, the id cannot be traced back to a patient by trying numbers.
    """
    digest = int.from_bytes(hmac.digest(salt, "\0".join(identity).encode(), "sha256")[:8], "big")
    letters = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digest >> 5 * place & 31] for place in range(10))
    return f"{letters[:5]}-{letters[5:]}"


Due = Assembled | Incomplete | PlanHeld | SendFailed | NotConfirmed


def due(case: Case, now_s: float, rules: Rules) -> Due | None:
    """The event that needs nothing from outside, else None.

    The set was quiet, or was waited for too long; its plan, or sending it, never comes to an end; or the destination
    did not answer in time.
    """
    if case.state is ASSEMBLING:
        lacks = missing(case, rules.required)
        if not lacks and now_s >= quiet_at_s(case, rules):
            return Assembled(now_s, case.plan + 1)
        if now_s >= case.since_s + rules.longest_wait_s:
            return Incomplete(now_s, lacks or ("quiet",))
    if case.state is PLANNING and case.starts >= PLAN_STARTS:
        message = f"the plan was begun {case.starts} times and never came to an end; is there enough memory?"
        return PlanHeld(now_s, case.plan, (Finding("plan-failed", Level.HOLD, message, Who.PERSON, value=case.starts),))
    if case.state is RELEASED and case.attempts >= rules.send_attempts:
        return SendFailed(now_s, f"sending was begun {case.attempts} times, and the last time it did not end", None)
    if case.state is CONFIRMING and case.answer_by_s is not None and now_s >= case.answer_by_s:
        return NotConfirmed(now_s, "the destination did not answer in time", ask_again_at_s(case, now_s, rules), ())
    return None


def rests_until_s(case: Case, rules: Rules) -> float:
    """Before this time nothing is due in an assembling case, if nothing happens to it."""
    waited = case.since_s + rules.longest_wait_s
    return waited if missing(case, rules.required) else min(waited, quiet_at_s(case, rules))


def missing(case: Case, required: Iterable[Role] = DEFAULT_REQUIRED) -> tuple[str, ...]:
    """What the set still lacks, in words; empty where it is complete, or a person said not to wait."""
    return () if case.as_it_is else lacking(tuple(case.items.values()), required)


def quiet_at_s(case: Case, rules: Rules) -> float:
    """When the case will have been quiet for long enough, if nothing more comes in."""
    return max((item.received_at_s for item in case.items.values()), default=0.0) + rules.quiet_s


def retry_at_s(case: Case, now_s: float, rules: Rules) -> float | None:
    """When to send again after an attempt that failed; None where it is given up."""
    return _again_at_s(case.attempts, rules.send_attempts, now_s, rules)


def ask_again_at_s(case: Case, now_s: float, rules: Rules) -> float | None:
    """When to ask the destination again after a question that led to nothing; None where it is given up."""
    return _again_at_s(case.asks, rules.confirm_attempts, now_s, rules)


def _again_at_s(done: int, limit: int, now_s: float, rules: Rules) -> float | None:
    if done >= limit:
        return None
    return now_s + min(rules.first_retry_s * 2.0 ** max(done - 1, 0), rules.longest_retry_s)


def became_of(case: Case, output: Output) -> str:
    """What became of an output of a plan, in words."""
    uid = output.sop_instance_uid
    if uid in case.confirmed:
        return f"stored, confirmed by {case.confirmed[uid]}"
    if uid in case.lost:
        return "taken, but not kept"
    if uid in case.delivered:
        return "stored, not confirmed"
    return "not sent"


def waits_for(case: Case, required: Iterable[Role] = DEFAULT_REQUIRED) -> tuple[str, ...]:
    """What has to happen for the case to go on, in words."""
    waiting: Mapping[State, Callable[[], tuple[str, ...]]] = {
        ASSEMBLING: lambda: missing(case, required) or ("quiet",),
        PLANNING: lambda: ("the plan",),
        HELD: lambda: tuple(f"a person: {f.code}" for f in case.findings if f.level is Level.HOLD) or ("a person",),
        PROPOSED: lambda: ("a release",),
        RELEASED: lambda: tuple(f"delivery of {output.name}" for output in outstanding(case)),
        CONFIRMING: lambda: tuple(f"the destination's word that it keeps {o.name}" for o in unconfirmed(case)),
        FAILED: lambda: ("a person: send-failed",),
        UNCONFIRMED: lambda: ("a person: send-not-confirmed",),
    }
    return waiting.get(case.state, tuple)()
