"""The loop that carries cases on, its configuration, and what a person decides."""

from psdt_planner.worker.config import Config, OperationConfig, WorkerConfig, load_config
from psdt_planner.worker.decisions import CaseRow, discard, hold, list_cases, may_leave, proposed_at_s, release, reopen
from psdt_planner.worker.hearing import case_of
from psdt_planner.worker.loop import Deliver, DossierLike, MakeDossier, Worker, deliverer, open_worker

__all__ = [
    "CaseRow",
    "Config",
    "Deliver",
    "DossierLike",
    "MakeDossier",
    "OperationConfig",
    "Worker",
    "WorkerConfig",
    "case_of",
    "deliverer",
    "discard",
    "hold",
    "list_cases",
    "load_config",
    "may_leave",
    "open_worker",
    "proposed_at_s",
    "release",
    "reopen",
]
