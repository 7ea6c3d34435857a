"""The health page and the metrics: what they say while all is well, and what turns them red."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicom_nodes.headers import read_file_header
from dicom_nodes.index import Index
from dicom_nodes.notices import Answered, Refused
from dicom_nodes.storage import Storage
from psdt_planner.casebook import Casebook
from psdt_planner.errors import ConfigurationError
from psdt_planner.operation import Health, Metrics, serve_status
from tests.cases.stories import PROPOSED, RELEASED
from tests.nodes.objects import PATIENT_ID, PATIENT_NAME, make, write


@pytest.fixture
def health(tmp_path: Path) -> Iterator[Health]:
    index, casebook = Index(f"sqlite:///{tmp_path}/index.db"), Casebook(f"sqlite:///{tmp_path}/casebook.db")
    yield Health(index, Storage(tmp_path / "storage"), casebook, 1.0, lambda: 1000.0, 60.0, lambda: 1059.0)
    index.close()
    casebook.close()


@pytest.fixture
def metrics(health: Health) -> Metrics:
    return Metrics(health.index, health.storage, health.casebook)


def get(port: int, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def health_page(health: Health) -> tuple[int, dict[str, str]]:
    with serve_status(0, health, bytes) as port:
        code, body = get(port, "/healthz")
    said = json.loads(body)
    assert (said["status"] == "ok") == (code == 200)
    return code, said["checks"]


def test_all_is_well(health: Health) -> None:
    assert health_page(health) == (200, {"disk": "ok", "index": "ok", "casebook": "ok", "worker": "ok"})


def test_low_disk(health: Health) -> None:
    code, checks = health_page(replace(health, reserve_mb=1e12))
    assert code == 503
    assert checks["disk"].endswith("1000000000000 MB are the reserve: senders hear A700")
    assert checks["worker"] == "ok"


def test_a_stuck_worker(health: Health) -> None:
    assert health_page(replace(health, clock=lambda: 1061.0)) == (
        503,
        {"disk": "ok", "index": "ok", "casebook": "ok", "worker": "no step for 61 s"},
    )
    assert health_page(replace(health, clock=lambda: 1061.0, stepped_at_s=None))[0] == 200, "it does not work here"


@pytest.mark.parametrize("which", ["index", "casebook"])
def test_a_dead_database(health: Health, tmp_path: Path, which: str) -> None:
    getattr(health, which).close()
    path = tmp_path / f"{which}.db"
    path.write_bytes(b"no database any more" * 100)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    code, checks = health_page(health)
    assert (code, checks[which]) == (503, "does not answer: DatabaseError")


def test_a_disk_that_is_gone(health: Health, tmp_path: Path) -> None:
    (tmp_path / "storage").rename(tmp_path / "elsewhere")
    assert health_page(health)[1]["disk"] == "does not answer: FileNotFoundError"


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample, with its labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_is_counted(health: Health, metrics: Metrics, tmp_path: Path) -> None:
    header = read_file_header(write(make("CT", 1), tmp_path))
    for notice in (
        Answered("A", "127.0.0.1", 0, header),
        Answered("A", "127.0.0.1", 0, header),
        Answered("A", "127.0.0.1", 0xA901, header, quarantined=True),
        Answered("A", "127.0.0.1", 0xA700, None),
        Refused("B", "PSDT", "127.0.0.1", "x"),
    ):
        metrics.hear(notice)
    for identifier, story in (("AAAAA-AAAAA", PROPOSED), ("BBBBB-BBBBB", RELEASED)):
        for event in story:
            health.casebook.append(identifier, event)
    found = values(metrics)
    assert {name: value for name, value in found.items() if "_created" not in name and value} == {
        "psdt_objects_received_total 0000": 2,
        "psdt_objects_received_total A901": 1,
        "psdt_objects_received_total A700": 1,
        "psdt_objects_stored_total": 2,
        "psdt_objects_quarantined_total": 1,
        "psdt_associations_rejected_total": 1,
        "psdt_cases proposed": 1,
        "psdt_cases released": 1,
        "psdt_outbox_objects": 3,
        "psdt_storage_free_bytes": found["psdt_storage_free_bytes"],
    }
    text = metrics.text().decode()
    assert not any(planted in text for planted in (PATIENT_ID, PATIENT_NAME, header.study_instance_uid))


def test_the_pages_and_no_others(health: Health, metrics: Metrics) -> None:
    with serve_status(0, health, metrics.text) as port:
        assert get(port, "/metrics")[1].startswith("# HELP")
        assert get(port, "/")[0] == get(port, "/../etc/passwd")[0] == 404
        with (
            pytest.raises(ConfigurationError, match="cannot serve the status pages"),
            serve_status(port, health, bytes),
        ):
            pass
