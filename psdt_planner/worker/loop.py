"""The only loop: hears what came in, carries cases on, makes plans, sends what a person released.

Everything that matters is in the casebook before the next step is taken, so a worker that is killed at any point goes
on where it stopped: objects are heard again, a plan is made again in an empty folder, an output is sent again with the
same bytes. Time comes in as an argument.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from dicom_nodes.commitment import transaction_uid
from dicom_nodes.config import NodeConfig, WebPeer
from dicom_nodes.errors import NodeError, trail
from dicom_nodes.headers import read_file_header
from dicom_nodes.index import Index
from dicom_nodes.sender import Sent, send_each
from dicom_nodes.statuses import Meaning, Next
from dicom_nodes.storage import Storage
from dicom_nodes.web import store_each
from psdt_planner.case import (
    Asked,
    Case,
    Confirm,
    Confirmed,
    Delivered,
    Due,
    Event,
    MakePlan,
    NotConfirmed,
    Output,
    PlanHeld,
    Proposed,
    Send,
    SendFailed,
    SendStarted,
    Started,
    State,
    ask_again_at_s,
    due,
    rests_until_s,
    retry_at_s,
    unconfirmed,
    wanted,
)
from psdt_planner.casebook import Casebook
from psdt_planner.dicom.facts import read_facts
from psdt_planner.errors import CaseStateError, FaultError, PsdtError
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.worker.config import Config, WorkerConfig
from psdt_planner.worker.confirmation import Confirmation, Word, open_confirmation
from psdt_planner.worker.hearing import Hearing, ReadFacts

log = structlog.get_logger(__name__)


class DossierLike(Protocol):
    """What comes back from making a plan."""

    @property
    def status(self) -> str:
        """``proposed`` or ``held``."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What a person should know."""

    @property
    def outputs(self) -> Mapping[str, Path]:
        """Files by name; those that end in ``.dcm`` go out after a release."""


MakeDossier = Callable[[Sequence[Path], Path], DossierLike]
"""Makes a plan of input files in a folder; same inputs, same bytes, or other UIDs."""

Deliver = Callable[[Sequence[Path]], Iterable[Sent]]
"""Sends files and says of each what became of it, before the next one goes out."""


class Worker:
    """Carries the cases of one casebook on."""

    def __init__(
        self,
        config: WorkerConfig,
        *,
        index: Index,
        storage: Storage,
        casebook: Casebook,
        make_dossier: MakeDossier,
        deliver: Deliver,
        read_facts: ReadFacts = read_facts,
        confirmation: Confirmation | None = None,
    ) -> None:
        self._rules = config.rules
        self._folder = config.folder
        self._index = index
        self._storage = storage
        self._casebook = casebook
        self._make_dossier = make_dossier
        self._deliver = deliver
        self._confirmation = confirmation
        self._hearing = Hearing(index, storage, casebook, read_facts)
        self.stepped_at_s = 0.0  # when `run` last took up work, POSIX time
        self._resting: dict[str, tuple[int, float]] = {}  # by case: its version, and until when nothing is due

    def step(self, now_s: float) -> bool:
        """Do everything that can be done at this time; False where there was nothing."""
        did = self._listen()
        for case in self._casebook.cases():
            with structlog.contextvars.bound_contextvars(case=case.id):
                did |= self._carry_on(case, now_s)
        return did

    def run(self, stop: threading.Event, clock: Callable[[], float], idle_s: float = 0.5) -> None:
        """Step until ``stop`` is set, pausing ``idle_s`` where there was nothing to do."""
        while not stop.is_set():
            self.stepped_at_s = clock()
            if not self.step(clock()):
                stop.wait(idle_s)

    def close(self) -> None:
        """Close the databases."""
        self._index.close()
        self._casebook.close()

    def _listen(self) -> bool:
        """Tell the cases what came in since the last time."""
        did = False
        for identifier, event in self._hearing.news():
            self._append(identifier, event)
            did = True
        return did

    def _carry_on(self, case: Case, now_s: float) -> bool:
        did = self._hear(case, now_s)
        if did:
            case = self._casebook.case(case.id)
        event = self._due(case, now_s)
        if event is not None:
            case = self._append(case.id, event)
            did = True
        for action in wanted(case):
            if isinstance(action, MakePlan):
                if action in wanted(self._append(case.id, Started(now_s, action.plan))):
                    self._record_plan(case.id, self._plan(case.id, action, now_s))
                did = True
            elif now_s >= action.not_before_s:
                if isinstance(action, Send):
                    self._send(case, action, now_s)
                else:
                    self._ask(case, action, now_s)
                did = True
        return did

    def _due(self, case: Case, now_s: float) -> Due | None:
        """What is due; a case of many objects that waits for days is not put together anew at each step."""
        version, until_s = self._resting.get(case.id, (0, 0.0))
        if case.version == version and now_s < until_s:
            return None
        event = due(case, now_s, self._rules)
        if event is None and case.state is State.ASSEMBLING:
            self._resting[case.id] = (case.version, rests_until_s(case, self._rules))
        return event

    def _append(self, identifier: str, event: Event) -> Case:
        """Add an event; one that comes too late, because a person decided meanwhile, is let go."""
        try:
            case = self._casebook.append(identifier, event)
        except CaseStateError as error:
            log.info("event not wanted any more", case=identifier, kind=type(event).__name__, reason=error.message)
            return self._casebook.case(identifier)
        log.info("event", case=identifier, kind=type(event).__name__, state=case.state.value)
        return case

    def _plan(self, identifier: str, action: MakePlan, now_s: float) -> Proposed | PlanHeld:
        """Make a plan in an empty folder, and say what came of it."""
        place = f"{identifier}/plan-{action.plan}"
        folder = self._folder / place
        shutil.rmtree(folder, ignore_errors=True)  # of a worker that was killed before it could say that it was done
        folder.mkdir(parents=True)
        inputs = [self._storage.path(key) for key in action.keys]
        try:
            dossier = self._make_dossier(inputs, folder)
            if dossier.status != "proposed":
                return PlanHeld(now_s, action.plan, tuple(dossier.findings))
            outputs = _outputs(dossier.outputs, place)
        except (PsdtError, NodeError) as error:
            log.warning("no plan", case=identifier, plan=action.plan, reason=str(error))
            finding = Finding("plan-failed", Level.HOLD, str(error), Who.PERSON)
        except Exception as error:  # one case that trips over a fault of ours must not stop all others
            fault = type(error).__name__
            log.error("fault while planning", case=identifier, plan=action.plan, fault=fault, trail=trail(error))  # noqa: TRY400
            finding = Finding("plan-fault", Level.HOLD, f"a fault of psdt: {fault}", Who.US)
        else:
            return Proposed(now_s, action.plan, outputs, tuple(dossier.findings))
        return PlanHeld(now_s, action.plan, (finding,))

    def _record_plan(self, identifier: str, result: Proposed | PlanHeld) -> None:
        """Add what came of a plan; where the case finds a fault in it, it holds."""
        try:
            self._append(identifier, result)
        except FaultError as error:
            log.error("fault in a plan", case=identifier, plan=result.plan, reason=str(error))  # noqa: TRY400  (see trail)
            finding = Finding("plan-fault", Level.HOLD, str(error), Who.US)
            self._append(identifier, PlanHeld(result.at_s, result.plan, (finding,)))

    def _send(self, case: Case, action: Send, now_s: float) -> None:
        """Send what is outstanding, if it is still what was released."""
        case = self._append(case.id, SendStarted(now_s, "" if self._confirmation is None else self._confirmation.how))
        if action not in wanted(case):  # a person stopped the case just now
            return
        changed = [output.name for output in action.outputs if _sha256(self._folder / output.path) != output.sha256]
        if changed:
            reason = f"not what was released: {', '.join(changed)}"
            self._append(case.id, SendFailed(now_s, reason, None))
            return
        paths = [self._folder / output.path for output in action.outputs]
        try:
            self._record_answers(case, self._deliver(paths), now_s)
        except NodeError as error:  # a certificate or a secret is not as it must be: the clinic mends it meanwhile
            self._append(case.id, SendFailed(now_s, str(error), retry_at_s(case, now_s, self._rules)))
        except Exception as error:  # as for a plan: other cases go on
            reason = f"a fault of psdt: {type(error).__name__}"
            log.error("fault while sending", case=case.id, reason=reason, trail=trail(error))  # noqa: TRY400  (see trail)
            self._append(case.id, SendFailed(now_s, reason, retry_at_s(case, now_s, self._rules)))

    def _record_answers(self, case: Case, results: Iterable[Sent], now_s: float) -> None:
        """Write down each answer before the next output goes out: what was acknowledged is not sent again."""
        failures = []
        for sent in results:
            if sent.meaning is Meaning.FAILURE:
                failures.append(sent)
                continue
            warning = sent.reason if sent.meaning is Meaning.WARNING else ""
            self._append(case.id, Delivered(now_s, sent.sop_instance_uid, warning))
        if failures:
            final = any(sent.next is Next.GIVE_UP for sent in failures)
            reason = "; ".join(sorted({f"{sent.path.name}: {sent.reason}" for sent in failures}))
            again = None if final else retry_at_s(case, now_s, self._rules)
            self._append(case.id, SendFailed(now_s, reason, again))

    def _ask(self, case: Case, action: Confirm, now_s: float) -> None:
        """Ask the destination whether it keeps what it took."""
        if self._confirmation is None:
            reason = "the configuration no longer says how the destination confirms"
            self._append(case.id, NotConfirmed(now_s, reason, None, ()))
            return
        transaction = transaction_uid(self._casebook.salt.decode(), case.id, str(case.version))
        case = self._append(case.id, Asked(now_s, transaction, now_s + self._confirmation.wait_s))
        if transaction not in case.transactions:  # a person stopped the case just now
            return
        try:
            word = self._confirmation.ask(transaction, [self._folder / output.path for output in action.outputs])
        except NodeError as error:
            again = ask_again_at_s(case, now_s, self._rules)
            self._append(case.id, NotConfirmed(now_s, str(error), again, ()))
            return
        except Exception as error:  # as for a plan: other cases go on
            reason = f"a fault of psdt: {type(error).__name__}"
            log.error("fault while confirming", case=case.id, reason=reason, trail=trail(error))  # noqa: TRY400  (see trail)
            self._append(case.id, NotConfirmed(now_s, reason, ask_again_at_s(case, now_s, self._rules), ()))
            return
        if word is not None:
            self._take_word(case, word, now_s, closes=True)

    def _hear(self, case: Case, now_s: float) -> bool:
        """Take what the destination has said meanwhile to one of our questions; False where there is nothing new."""
        if self._confirmation is None or case.state not in {State.CONFIRMING, State.UNCONFIRMED}:
            return False
        did = False
        for transaction in case.transactions:
            word = self._confirmation.heard(transaction)
            if word is not None:
                did |= self._take_word(case, word, now_s, closes=transaction == case.transactions[-1])
                case = self._casebook.case(case.id)
        return did

    def _take_word(self, case: Case, word: Word, now_s: float, *, closes: bool) -> bool:
        """Write down what is confirmed, and what is not where this closes a question; False where that is no news."""
        before = case.version
        ours = {output.sop_instance_uid: output.name for output in unconfirmed(case)}
        for how in sorted(set(word.kept.values())):
            kept = tuple(uid for uid, known in word.kept.items() if uid in ours and known == how)
            if kept:
                case = self._append(case.id, Confirmed(now_s, kept, how))
        missing = {uid: name for uid, name in ours.items() if uid not in case.confirmed}
        if closes and missing and case.answer_by_s is not None and case.state is State.CONFIRMING:
            reasons = {name: word.lost.get(uid, "the answer does not name it") for uid, name in missing.items()}
            reason = "the destination does not keep " + "; ".join(f"{n}: {why}" for n, why in sorted(reasons.items()))
            again = ask_again_at_s(case, now_s, self._rules) if word.again else None
            lost = tuple(uid for uid in missing if uid in word.lost)
            case = self._append(case.id, NotConfirmed(now_s, reason, again, lost))
        return case.version != before


def deliverer(node: NodeConfig, name: str) -> Deliver:
    """What sends files to the peer of that name, over the carrier that it speaks."""
    peer = node.any_peer(name)
    if isinstance(peer, WebPeer):
        return lambda paths: store_each(paths, peer)
    return lambda paths: send_each(paths, peer, node.ae_title)


def open_worker(config: Config, make_dossier: MakeDossier) -> Worker:
    """A worker on the databases, folders and the destination of a configuration."""
    return Worker(
        config.worker,
        index=Index(config.node.index),
        storage=Storage(config.node.storage),
        casebook=Casebook(config.worker.casebook),
        make_dossier=make_dossier,
        deliver=deliverer(config.node, config.worker.destination),
        confirmation=open_confirmation(config),
    )


def _outputs(files: Mapping[str, Path], place: str) -> tuple[Output, ...]:
    """The DICOM files among the outputs of a plan; there must be one."""
    outputs = tuple(
        Output(name, f"{place}/{path.name}", _sha256(path), read_file_header(path).sop_instance_uid)
        for name, path in sorted(files.items())
        if path.suffix == ".dcm"
    )
    if not outputs:
        raise FaultError("a plan was proposed without a DICOM file")
    return outputs


def _sha256(path: Path) -> str:
    """SHA-256 of a file; empty where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
