"""What a hospital's operation asks of a service: audit, metrics, a health page, retention."""

from psdt_planner.operation.audit import Auditor, start_message, stop_message
from psdt_planner.operation.metrics import Metrics
from psdt_planner.operation.retention import Removal, carry_out, removable
from psdt_planner.operation.sinks import Sink, open_sink
from psdt_planner.operation.status import Health, serve_status

__all__ = [
    "Auditor",
    "Health",
    "Metrics",
    "Removal",
    "Sink",
    "carry_out",
    "open_sink",
    "removable",
    "serve_status",
    "start_message",
    "stop_message",
]
