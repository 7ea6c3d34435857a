"""A case as its events have made it, and how the next event changes it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from functools import singledispatch
from types import MappingProxyType

from psdt_planner.case.events import (
    EVENT_KINDS,
    Asked,
    Assembled,
    Confirmed,
    Conflicted,
    Delivered,
    Discarded,
    Event,
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
    SendFailed,
    SendStarted,
    Started,
    Strayed,
)
from psdt_planner.case.identity import doubts
from psdt_planner.case.table import (
    ASSEMBLING,
    CONFIRMING,
    DISCARDED,
    FAILED,
    HELD,
    PLANNING,
    PROPOSED,
    RELEASED,
    SENT,
    TABLE,
    UNCONFIRMED,
    State,
)
from psdt_planner.case.uses import REGISTRATION_USES
from psdt_planner.errors import CaseStateError, FaultError
from psdt_planner.findings import Finding, Level, Who


@dataclass(frozen=True)
class Case:
    """One patient's set as its events have made it.

    Attributes:
        id: short, stable, and a hash: it says nothing about the patient.
        version: how many events made it.
        since_s: when the state was reached.
        items: what came in, by SOP Instance UID.
        gone: what came in and was removed since, by SOP Instance UID; the same object that comes again is news.
        removed_at_s: when.
        conflicts: SHA-256 of data sets in quarantine.
        strayed: series that another patient's case claims as well.
        as_it_is: a person said not to wait for what is missing.
        plan: number of the latest plan; 0 before the first.
        starts: how often the making of that plan was begun.
        outputs: of the plan that is proposed, released or sent; empty otherwise.
        findings: of the plan, of a person who holds the case, of sending.
        stopped: held by more than the plan's findings: a new object does not reopen the case, only a person does.
        made: SHA-256 of every output of every plan, by SOP Instance UID.
        released_by: who released the plan that is released or sent; empty otherwise.
        registration_use: the level that this person gave the registration; None where it was not assessed.
        cleared: SOP Instance UIDs of all outputs that were ever released.
        delivered: those that the destination has taken.
        attempts: attempts to send that were begun since the release.
        retry_at_s: when the next attempt, or the next question, is due.
        confirm: how the destination is asked whether it keeps what it took; empty where it is not asked.
        confirmed: how we know that it keeps an output, in words, by SOP Instance UID.
        lost: SOP Instance UIDs that it took, and said later that it does not keep.
        transactions: UIDs under which it was asked.
        asks: how often it was asked since the last output was taken.
        answer_by_s: until when it may answer; None where no question is open.
    """

    id: str
    state: State = ASSEMBLING
    version: int = 0
    since_s: float = 0.0
    items: Mapping[str, Item] = field(default_factory=lambda: MappingProxyType({}))
    gone: Mapping[str, Item] = field(default_factory=lambda: MappingProxyType({}))
    removed_at_s: float = 0.0
    conflicts: frozenset[str] = frozenset()
    strayed: frozenset[str] = frozenset()
    as_it_is: bool = False
    plan: int = 0
    starts: int = 0
    outputs: tuple[Output, ...] = ()
    findings: tuple[Finding, ...] = ()
    stopped: bool = False
    made: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    released_by: str = ""
    registration_use: int | None = None
    cleared: frozenset[str] = frozenset()
    delivered: frozenset[str] = frozenset()
    attempts: int = 0
    retry_at_s: float = 0.0
    confirm: str = ""
    confirmed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    lost: frozenset[str] = frozenset()
    transactions: tuple[str, ...] = ()
    asks: int = 0
    answer_by_s: float | None = None


@dataclass(frozen=True)
class MakePlan:
    """Make the plan of that number from objects, named by their storage keys in alphabetical order."""

    plan: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Send:
    """Send outputs, not before a time."""

    outputs: tuple[Output, ...]
    not_before_s: float


@dataclass(frozen=True)
class Confirm:
    """Ask the destination whether it keeps outputs, not before a time."""

    outputs: tuple[Output, ...]
    not_before_s: float


Action = MakePlan | Send | Confirm

AFTER_RELEASE = frozenset({RELEASED, CONFIRMING, SENT, FAILED, UNCONFIRMED, DISCARDED})
"""Where a new object does not just make another plan."""


def advance(case: Case, event: Event) -> tuple[Case, tuple[Action, ...]]:
    """The case after an event, and the actions that are wanted then.

    Raises:
        CaseStateError: the event may not happen in this state.
        FaultError: an output would change under its UID, or was delivered without having been released.
    """
    if is_old_news(case, event):
        after = case
    else:
        allowed = TABLE[case.state].get(type(event), ())
        if not allowed:
            raise refusal(case, event)
        after = _after(event, case)
        if after.state not in allowed:
            raise FaultError(f"{_kind(event)} led from {case.state} to {after.state}", where=case.id)
        if after.state is not case.state or case.version == 0:
            after = replace(after, since_s=event.at_s)
    after = replace(after, version=case.version + 1)
    return after, wanted(after)


def wanted(case: Case) -> tuple[Action, ...]:
    """The actions that the state asks for; asked for again until an event says that they are done."""
    if case.state is PLANNING:
        return (MakePlan(case.plan, tuple(sorted(item.key for item in case.items.values()))),)
    if case.state is RELEASED:
        return (Send(outstanding(case), case.retry_at_s),)
    if case.state is CONFIRMING and case.answer_by_s is None:
        return (Confirm(unconfirmed(case), case.retry_at_s),)
    return ()


def refusal(case: Case, event: Event) -> CaseStateError:
    """The error for an event that may not happen now, with what may."""
    possible = ", ".join(sorted(kind for kind, cls in EVENT_KINDS.items() if cls in TABLE[case.state]))
    return CaseStateError(
        f"{_kind(event)!r} is not possible while the case is {case.state}", where=case.id, todo=f"Possible: {possible}."
    )


def _kind(event: Event) -> str:
    return next(kind for kind, cls in EVENT_KINDS.items() if cls is type(event))


def is_old_news(case: Case, event: Event) -> bool:
    """Whether the event says nothing that the case does not know."""
    if isinstance(event, Received):
        return not _news(case, event)
    if isinstance(event, Conflicted):
        return event.sha256 in case.conflicts
    if isinstance(event, Strayed):
        return case.strayed.issuperset(event.series)
    if isinstance(event, Confirmed):
        return case.confirmed.keys() >= set(event.sop_instance_uids)
    return isinstance(event, Delivered) and event.sop_instance_uid in case.delivered


def _news(case: Case, event: Received) -> dict[str, Item]:
    known = case.items.keys() | case.made.keys()
    return {item.sop_instance_uid: item for item in event.items if item.sop_instance_uid not in known}


def outstanding(case: Case) -> tuple[Output, ...]:
    """The outputs that the destination has not taken yet."""
    return tuple(output for output in case.outputs if output.sop_instance_uid not in case.delivered)


def unconfirmed(case: Case) -> tuple[Output, ...]:
    """The outputs that the destination has not confirmed."""
    return tuple(output for output in case.outputs if output.sop_instance_uid not in case.confirmed)


def _without_plan(case: Case) -> Case:
    """The case ready to begin again: what came in and what went out stay, the plan does not."""
    return replace(
        case,
        state=ASSEMBLING,
        outputs=(),
        findings=(),
        stopped=False,
        released_by="",
        registration_use=None,
        attempts=0,
        retry_at_s=0.0,
        lost=frozenset(),
        transactions=(),
        answer_by_s=None,
    )


def _but(mapping: Mapping[str, str], keys: Set[str]) -> Mapping[str, str]:
    return MappingProxyType({key: value for key, value in mapping.items() if key not in keys})


def _stop(case: Case, finding: Finding) -> Case:
    return replace(case, state=HELD, stopped=True, findings=(*case.findings, finding))


def _require_name(case: Case, by: str) -> None:
    if not by.strip():
        raise CaseStateError("a decision needs the name of the person who takes it", where=case.id)


def _require_plan(case: Case, plan: int) -> None:
    if plan != case.plan:
        raise CaseStateError(f"the case is at plan {case.plan}, not {plan}", where=case.id, todo="Look at it again.")


def _require_use(case: Case, level: int | None) -> None:
    """Nothing goes out on a registration that the releasing person does not trust with a target."""
    if level is None:
        return
    if not 0 <= level < len(REGISTRATION_USES):
        last = len(REGISTRATION_USES) - 1
        raise CaseStateError(f"a registration's use is a level from 0 to {last}, not {level}", where=case.id)
    use = REGISTRATION_USES[level]
    if not use.for_targets:
        raise CaseStateError(
            f"a registration that is {use.name} (level {level}) carries no targets: the plan is not released",
            where=case.id,
            todo="Hold the case, or send a better registration and let it begin again.",
        )


@singledispatch
def _after(event: Event, case: Case) -> Case:
    """The case after an event that the table allows; one function for each kind of event."""
    raise FaultError(f"no rule for {_kind(event)}", where=case.id)


@_after.register
def _(event: Received, case: Case) -> Case:
    news = _news(case, event)
    before = case
    case = replace(case, items=MappingProxyType({**case.items, **news}))
    if before.state in AFTER_RELEASE:
        message = f"{len(news)} objects came in after the case was {before.state}"
        case = _stop(case, Finding("object-late", Level.HOLD, message, Who.PERSON, value=len(news)))
    for finding in doubts(before.items.values(), news.values()):
        case = _stop(case, finding)
    return case if case.stopped else _without_plan(case)


@_after.register
def _(event: Conflicted, case: Case) -> Case:
    message = f"other bytes came under a UID that is held; they are in quarantine [{event.sop_instance_uid}]"
    stopped = _stop(case, Finding("object-conflict", Level.HOLD, message, Who.SENDER))
    return replace(stopped, conflicts=case.conflicts | {event.sha256})


@_after.register
def _(event: Strayed, case: Case) -> Case:
    series = ", ".join(sorted(set(event.series) - case.strayed))
    message = f"references tie this case to case {event.case}, of another patient, by series {series}"
    stopped = _stop(case, Finding("reference-elsewhere", Level.HOLD, message, Who.SENDER))
    return replace(stopped, strayed=case.strayed | set(event.series))


@_after.register
def _(event: Incomplete, case: Case) -> Case:
    message = f"the set did not become complete in time; missing: {'; '.join(event.missing)}"
    finding = Finding("case-incomplete", Level.HOLD, message, Who.PERSON, value=len(event.missing))
    return replace(case, state=HELD, findings=(finding,))


@_after.register
def _(event: Assembled, case: Case) -> Case:
    _require_plan(case, event.plan - 1)
    return replace(case, state=PLANNING, plan=event.plan, starts=0)


@_after.register
def _(event: Started, case: Case) -> Case:
    _require_plan(case, event.plan)
    return replace(case, starts=case.starts + 1)


@_after.register
def _(event: Proposed, case: Case) -> Case:
    _require_plan(case, event.plan)
    made = {output.sop_instance_uid: output.sha256 for output in event.outputs}
    if not made:
        raise FaultError("a plan was proposed without outputs", where=case.id)
    changed = [uid for uid, sha256 in made.items() if case.made.get(uid, sha256) != sha256]
    if changed:
        raise FaultError("a plan has other bytes under the UID of an earlier one", where=", ".join(changed))
    return replace(
        case,
        state=PROPOSED,
        outputs=event.outputs,
        findings=event.findings,
        made=MappingProxyType({**case.made, **made}),
        delivered=case.delivered - made.keys(),  # the same plan again, after a reopening, goes out again
        confirmed=_but(case.confirmed, made.keys()),
    )


@_after.register
def _(event: PlanHeld, case: Case) -> Case:
    _require_plan(case, event.plan)
    return replace(case, state=HELD, findings=event.findings)


@_after.register
def _(event: Released, case: Case) -> Case:
    _require_name(case, event.by)
    _require_plan(case, event.plan)
    _require_use(case, event.registration_use)
    cleared = case.cleared | {output.sop_instance_uid for output in case.outputs}
    findings = tuple(finding for finding in case.findings if finding.code not in {"send-failed", "send-not-confirmed"})
    case = replace(case, delivered=case.delivered - case.lost, lost=frozenset())
    return replace(
        case,
        state=RELEASED if outstanding(case) else CONFIRMING,
        released_by=event.by,
        registration_use=event.registration_use,
        cleared=cleared,
        findings=findings,
        attempts=0,
        asks=0,
        retry_at_s=event.at_s,
    )


@_after.register
def _(event: SendStarted, case: Case) -> Case:
    return replace(case, attempts=case.attempts + 1, confirm=event.confirm)


@_after.register
def _(event: Delivered, case: Case) -> Case:
    if event.sop_instance_uid not in case.cleared:
        raise FaultError("an object was delivered that nobody released", where=event.sop_instance_uid)
    case = replace(case, delivered=case.delivered | {event.sop_instance_uid})
    if event.warning:
        message = f"the destination stored an object with a warning: {event.warning} [{event.sop_instance_uid}]"
        warning = Finding("send-warning", Level.WARN, message, Who.NETWORK)
        case = replace(case, findings=(*case.findings, warning))
    if case.state is RELEASED and not outstanding(case):
        return replace(case, state=CONFIRMING if case.confirm else SENT, asks=0, retry_at_s=event.at_s)
    return case


@_after.register
def _(event: SendFailed, case: Case) -> Case:
    if event.retry_at_s is not None:
        return replace(case, retry_at_s=event.retry_at_s)
    finding = Finding("send-failed", Level.HOLD, event.reason, Who.NETWORK, value=case.attempts)
    return replace(case, state=FAILED, findings=(*case.findings, finding))


@_after.register
def _(event: Asked, case: Case) -> Case:
    transactions = (*case.transactions, event.transaction_uid)
    return replace(case, asks=case.asks + 1, transactions=transactions, answer_by_s=event.answer_by_s)


@_after.register
def _(event: Confirmed, case: Case) -> Case:
    strange = set(event.sop_instance_uids) - case.delivered
    if strange:
        raise FaultError("an object was confirmed that was not delivered", where=", ".join(sorted(strange)))
    news = dict.fromkeys(event.sop_instance_uids, event.how)
    confirmed = MappingProxyType({**news, **case.confirmed})
    case = replace(case, confirmed=confirmed, lost=case.lost - news.keys())
    if unconfirmed(case):
        return case
    findings = tuple(finding for finding in case.findings if finding.code != "send-not-confirmed")
    return replace(case, state=SENT, findings=findings, answer_by_s=None)


@_after.register
def _(event: NotConfirmed, case: Case) -> Case:
    case = replace(case, lost=case.lost | (set(event.lost) - case.confirmed.keys()), answer_by_s=None)
    if event.retry_at_s is not None:
        return replace(case, retry_at_s=event.retry_at_s)
    finding = Finding("send-not-confirmed", Level.HOLD, event.reason, Who.NETWORK, value=case.asks)
    return replace(case, state=UNCONFIRMED, findings=(*case.findings, finding))


@_after.register
def _(event: Held, case: Case) -> Case:
    _require_name(case, event.by)
    return _stop(case, Finding("held-by-person", Level.HOLD, f"{event.by}: {event.reason}", Who.PERSON))


@_after.register
def _(event: Reopened, case: Case) -> Case:
    _require_name(case, event.by)
    return replace(_without_plan(case), as_it_is=event.as_it_is)


@_after.register
def _(event: Discarded, case: Case) -> Case:
    _require_name(case, event.by)
    finding = Finding("discarded", Level.INFO, f"{event.by}: {event.reason}", Who.PERSON)
    return replace(case, state=DISCARDED, findings=(*case.findings, finding))


@_after.register
def _(event: Removed, case: Case) -> Case:
    gone = MappingProxyType({**case.gone, **case.items})
    return replace(case, items=MappingProxyType({}), gone=gone, removed_at_s=event.at_s)
