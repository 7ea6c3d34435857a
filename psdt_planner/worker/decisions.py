"""What a person decides about a case, and what there is to see of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psdt_planner.case import (
    DEFAULT_REQUIRED,
    TABLE,
    Case,
    Discarded,
    Held,
    Proposed,
    Released,
    Reopened,
    Role,
    State,
    waits_for,
)
from psdt_planner.casebook import Casebook
from psdt_planner.errors import CaseStateError


@dataclass(frozen=True)
class CaseRow:
    """One case in a list.

    Attributes:
        since_s: when the state was reached, POSIX time.
        objects: how many objects came in.
        plan: number of the latest plan, 0 before the first.
        waits_for: what has to happen for the case to go on, in words.
        released_by: who released it; empty where nobody did.
    """

    id: str
    state: str
    since_s: float
    objects: int
    plan: int
    waits_for: tuple[str, ...]
    released_by: str


def list_cases(casebook: Casebook, required: Sequence[Role] = DEFAULT_REQUIRED) -> tuple[CaseRow, ...]:
    """Every case, the oldest first; ``required`` is what a set must have before it is planned."""
    return tuple(_row(case, required) for case in casebook.cases())


def release(
    casebook: Casebook,
    case_id: str,
    by: str,
    now_s: float,
    plan: int | None = None,
    *,
    registration_use: int | None = None,
) -> Case:
    """Let the outputs of a proposed case go out; ``by`` is the person who has looked at them.

    Args:
        plan: number of the plan that was looked at, to be refused if another one has taken its place. It may be left
            out only while the case has had one plan, which then is the one that was looked at.
        registration_use: the level of `case.REGISTRATION_USES` that this person gives the registration; None where it
            was not assessed.

    Raises:
        CaseStateError: the case is neither proposed nor failed, ``by`` is empty, the plan is another one, or it is left
            out where there were several; or the registration is of a level that carries no targets.
        InputError: there is no such case.
    """
    case = casebook.case(case_id)
    if plan is None and case.plan > 1 and Released in TABLE[case.state]:
        raise CaseStateError(
            f"the case has had {case.plan} plans; say which one was looked at",
            where=case_id,
            todo=f"If it was the latest, release it with --plan {case.plan}.",
        )
    return casebook.append(case_id, Released(now_s, by, case.plan if plan is None else plan, registration_use))


def proposed_at_s(casebook: Casebook, case_id: str) -> float | None:
    """When the latest plan of a case was proposed, POSIX time; None where it was not."""
    latest = casebook.case(case_id).plan
    events = casebook.history(case_id)
    return next((event.at_s for event in events if isinstance(event, Proposed) and event.plan == latest), None)


def may_leave(casebook: Casebook, sop_instance_uid: str, sha256: str) -> bool:
    """Whether a file of ours is, byte for byte, an output of a plan that a person released and nobody has stopped."""
    return any(
        output.sop_instance_uid == sop_instance_uid and output.sha256 == sha256
        for case in casebook.cases()
        if case.state in {State.RELEASED, State.CONFIRMING, State.SENT, State.FAILED, State.UNCONFIRMED}
        for output in case.outputs
    )


def hold(casebook: Casebook, case_id: str, by: str, reason: str, now_s: float) -> Case:
    """Stop a case until a person reopens it; what has gone out cannot be called back. Errors as for ``release``."""
    return casebook.append(case_id, Held(now_s, by, reason))


def reopen(casebook: Casebook, case_id: str, by: str, now_s: float, *, as_it_is: bool = False) -> Case:
    """Let a case begin again with all that is there; ``as_it_is`` waits for nothing that is missing.

    Errors as for ``release``.
    """
    return casebook.append(case_id, Reopened(now_s, by, as_it_is))


def discard(casebook: Casebook, case_id: str, by: str, reason: str, now_s: float) -> Case:
    """Close a case without sending anything. Errors as for ``release``."""
    return casebook.append(case_id, Discarded(now_s, by, reason))


def _row(case: Case, required: Sequence[Role]) -> CaseRow:
    return CaseRow(
        id=case.id,
        state=case.state.value,
        since_s=case.since_s,
        objects=len(case.items),
        plan=case.plan,
        waits_for=waits_for(case, required),
        released_by=case.released_by,
    )
