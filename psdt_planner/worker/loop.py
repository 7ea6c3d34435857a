"""The only loop: hears what came in, carries cases on, makes plans, sends what a person released.

Everything that matters is in the casebook before the next step is taken, so a worker that is killed at any point goes
on where it stopped: objects are heard again, a plan is made again in an empty folder, an output is sent again with the
same bytes. Time comes in as an argument.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from dicom_nodes.errors import NodeError, trail
from dicom_nodes.headers import Header, read_file_header
from dicom_nodes.index import Change, Index
from dicom_nodes.sender import Sent, send
from dicom_nodes.statuses import Meaning, Next
from dicom_nodes.storage import Storage
from psdt_planner.case import (
    Assembled,
    Case,
    Conflicted,
    Delivered,
    Event,
    Item,
    MakePlan,
    Output,
    PlanHeld,
    Proposed,
    Received,
    Send,
    SendFailed,
    Started,
    case_id,
    due,
    is_old_news,
    retry_at_s,
    wanted,
)
from psdt_planner.casebook import Casebook
from psdt_planner.errors import CaseStateError, FaultError, PsdtError
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.worker.config import Config, WorkerConfig

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

Deliver = Callable[[Sequence[Path]], Sequence[Sent]]
"""Sends files and says what became of each."""


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
    ) -> None:
        self._rules = config.rules
        self._folder = config.folder
        self._index = index
        self._storage = storage
        self._casebook = casebook
        self._make_dossier = make_dossier
        self._deliver = deliver
        self._heard = 0  # the feed is read from its start by each new worker: the casebook knows what it has heard

    def step(self, now_s: float) -> bool:
        """Do everything that can be done at this time; False where there was nothing."""
        did = self._listen()
        for case in self._casebook.cases():
            did |= self._carry_on(case, now_s)
        return did

    def run(self, stop: threading.Event, clock: Callable[[], float], idle_s: float = 0.5) -> None:
        """Step until ``stop`` is set, pausing ``idle_s`` where there was nothing to do."""
        while not stop.is_set():
            if not self.step(clock()):
                stop.wait(idle_s)

    def close(self) -> None:
        """Close the databases."""
        self._index.close()
        self._casebook.close()

    def _listen(self) -> bool:
        """Tell the cases what came in since the last time."""
        did = False
        while changes := self._index.changes_since(self._heard):
            by_case: dict[str, list[Change]] = defaultdict(list)
            for change in changes:
                by_case[self._case_of(change)].append(change)
            for identifier, theirs in by_case.items():
                for event in _events(theirs):
                    if not is_old_news(self._casebook.find(identifier), event):
                        self._append(identifier, event)
                        did = True
            self._heard = changes[-1].sequence
        return did

    def _case_of(self, change: Change) -> str:
        """The case that an object belongs to: that of its patient; where other bytes came, that of the first ones."""
        header: Header = change.header
        if change.quarantined:
            first = self._index.find(header.sop_instance_uid)
            header = header if first is None else first.header
        if not header.patient_id:
            return case_id(self._casebook.salt, "study", header.study_instance_uid)
        return case_id(self._casebook.salt, "patient", header.issuer_of_patient_id, header.patient_id)

    def _carry_on(self, case: Case, now_s: float) -> bool:
        did = False
        event: Assembled | PlanHeld | None = due(case, now_s, self._rules)
        if event is not None:
            case = self._append(case.id, event)
            did = True
        for action in wanted(case):
            if isinstance(action, MakePlan):
                if action in wanted(self._append(case.id, Started(now_s, action.plan))):
                    self._record_plan(case.id, self._plan(case.id, action, now_s))
                did = True
            elif now_s >= action.not_before_s:
                self._send(case, action, now_s)
                did = True
        return did

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
        paths = {output.sop_instance_uid: self._folder / output.path for output in action.outputs}
        changed = [output.name for output in action.outputs if _sha256(self._folder / output.path) != output.sha256]
        if changed:
            reason = f"not what was released: {', '.join(changed)}"
            self._append(case.id, SendFailed(now_s, reason, None))
            return
        try:
            results = self._deliver(list(paths.values()))
        except Exception as error:  # as for a plan: other cases go on
            reason = f"a fault of psdt: {type(error).__name__}"
            log.error("fault while sending", case=case.id, reason=reason, trail=trail(error))  # noqa: TRY400  (see trail)
            self._append(case.id, SendFailed(now_s, reason, retry_at_s(case, now_s, self._rules)))
            return
        self._record_answers(case, results, now_s)

    def _record_answers(self, case: Case, results: Sequence[Sent], now_s: float) -> None:
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


def open_worker(config: Config, make_dossier: MakeDossier) -> Worker:
    """A worker on the databases, folders and the destination of a configuration."""
    peer = config.node.peer(config.worker.destination)
    return Worker(
        config.worker,
        index=Index(config.node.index),
        storage=Storage(config.node.storage),
        casebook=Casebook(config.worker.casebook),
        make_dossier=make_dossier,
        deliver=lambda paths: send(paths, peer, config.node.ae_title),
    )


def _events(changes: Sequence[Change]) -> list[Event]:
    """What a case has to hear of changes that are all its own."""
    received = [change for change in changes if not change.quarantined]
    events: list[Event] = []
    if received:
        items = tuple(_item(change) for change in received)
        events.append(Received(max(item.received_at_s for item in items), items))
    return events + [
        Conflicted(change.received_at_s, change.header.sop_instance_uid, change.sha256)
        for change in changes
        if change.quarantined
    ]


def _item(change: Change) -> Item:
    header = change.header
    return Item(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        series_instance_uid=header.series_instance_uid,
        study_instance_uid=header.study_instance_uid,
        modality=header.modality,
        frame_of_reference_uid=header.frame_of_reference_uid,
        key=change.key,
        sha256=change.sha256,
        received_at_s=change.received_at_s,
        patient_known=bool(header.patient_id),
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
