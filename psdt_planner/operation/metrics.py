"""Counters and gauges for Prometheus; no label carries anything of a patient."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from dicom_nodes import statuses
from dicom_nodes.index import Index
from dicom_nodes.notices import Answered, Notice
from dicom_nodes.storage import Storage
from psdt_planner.case import Case, State, outstanding
from psdt_planner.casebook import Casebook


class Metrics:
    """What one process counts, and what the databases and the disk say at the moment of the question."""

    def __init__(self, index: Index, storage: Storage, casebook: Casebook) -> None:
        self._registry = CollectorRegistry()

        def make(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=self._registry)

        self._received = make("psdt_objects_received", "C-STORE requests that were answered", "status")
        self._stored = make("psdt_objects_stored", "C-STORE requests that were answered with Success")
        self._quarantined = make("psdt_objects_quarantined", "objects with other bytes than those held under their UID")
        self._rejected = make("psdt_associations_rejected", "associations and connections that were refused")
        self._registry.register(_Now(index, storage, casebook))

    def hear(self, notice: Notice) -> None:
        """Count what happened on the network."""
        if isinstance(notice, Answered):
            self._received.labels(f"{notice.status:04X}").inc()
            if notice.status == statuses.SUCCESS.code:
                self._stored.inc()
            if notice.quarantined:
                self._quarantined.inc()
        else:
            self._rejected.inc()

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self._registry)


class _Now(Collector):
    """Gauges that are looked up when they are asked for."""

    def __init__(self, index: Index, storage: Storage, casebook: Casebook) -> None:
        self._index = index
        self._storage = storage
        self._casebook = casebook

    def describe(self) -> list[Metric]:
        """None: the databases are not asked before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        cases = self._casebook.cases()
        states = Count(case.state for case in cases)
        by_state = GaugeMetricFamily("psdt_cases", "cases by state", labels=["state"])
        for state in State:
            by_state.add_metric([state.value], states[state])
        yield by_state
        yield GaugeMetricFamily("psdt_outbox_objects", "released objects not yet taken", value=waiting(cases))
        yield GaugeMetricFamily("psdt_objects_held", "objects in the storage", value=self._index.count())
        free = self._storage.free_mb() * 1e6
        yield GaugeMetricFamily("psdt_storage_free_bytes", "room on the disk of the storage", value=free)


def waiting(cases: tuple[Case, ...]) -> int:
    """Outputs that a person released and the destination has not taken."""
    return sum(len(outstanding(case)) for case in cases if case.state is State.RELEASED)
