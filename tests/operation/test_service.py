"""``psdt serve`` as an operator sees it: its pages, its audit file, its log, and the commands beside it."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from psdt_planner.casebook import Casebook
from psdt_planner.worker import hold, list_cases
from tests.network import free_port, run_storescu, wait_until
from tests.nodes.objects import PATIENT_ID, PATIENT_NAME, make, write_set
from tests.operation.schema import validated

PSDT = Path(sys.executable).with_name("psdt")


def configure(folder: Path) -> tuple[Path, int, int]:
    config, port, status = folder / "psdt.toml", free_port(), free_port()
    config.write_text(
        f"""
        [node]
        ae_title = "PSDT"
        port = {port}
        storage = "storage"
        index = "sqlite:///index.db"
        senders = ["STORESCU"]
        limits = {{ reserve_mb = 1 }}
        [peers.tps]
        host = "127.0.0.1"
        port = 4242
        ae_title = "TPS"
        [worker]
        casebook = "sqlite:///casebook.db"
        folder = "plans"
        destination = "tps"
        required = ["planning-ct", "prior-dose"]
        [operation]
        status_port = {status}
        audit = "audit.xml"
        [operation.keep_days]
        sent = 1
        """
    )
    return config, port, status


@contextmanager
def serving(config: Path, status: int) -> Iterator[None]:
    def well() -> bool:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{status}/healthz", timeout=5).status == 200
        except OSError:
            return False

    with config.with_name("serve.log").open("wb") as log:
        process = subprocess.Popen([PSDT, "serve", "--config", config], stdout=log, stderr=log)
        try:
            wait_until(well, 60)
            yield
        finally:
            process.terminate()
            assert process.wait(30) == 0


def psdt(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [PSDT, *words, "--config", config]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={"COLUMNS": "220"})


@pytest.mark.peer
def test_the_service_as_its_operator_sees_it(tmp_path: Path) -> None:
    config, port, status = configure(tmp_path)
    book = Casebook(f"sqlite:///{tmp_path}/casebook.db")
    files = write_set(tmp_path / "in", slices=2)
    with serving(config, status):
        assert run_storescu(files, port, "PSDT").returncode == 0
        assert run_storescu(files[:1], port, "PSDT", "STRANGER").returncode != 0
        wait_until(lambda: any(row.objects == 5 for row in list_cases(book)))
        (case,) = book.cases()
        hold(book, case.id, "A. Person", "looks odd", 2e9)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{status}/metrics", timeout=10).read().decode()
        assert psdt(config, "backup", "--to", str(tmp_path / "copy.db")).returncode == 0
        shown = psdt(config, "case", case.id).stdout
    restored = config.with_name("other.toml")
    restored.write_text(config.read_text().replace("casebook.db", "restored.db"))
    assert "events came back" in psdt(restored, "restore", str(tmp_path / "copy.db")).stdout
    assert psdt(restored, "restore", str(tmp_path / "copy.db")).returncode == 4, "it has events now"
    other = Casebook(f"sqlite:///{tmp_path}/restored.db")
    assert other.cases() == book.cases()
    dry = psdt(config, "retain", "--dry-run").stdout
    assert "Objects and plans of 0 cases would be removed." in dry

    for line in (
        "psdt_objects_stored_total 5.0",
        "psdt_associations_rejected_total 1.0",
        'psdt_cases{state="held"} 1.0',
    ):
        assert line in metrics
    for words in ("planning-ct", "dwi", "flags", "50x1 900x1", "a person: held-by-person"):
        assert words in shown
    check_audit(tmp_path / "audit.xml")
    logged = (tmp_path / "serve.log").read_text(encoding="utf-8")
    assert f"case={case.id}" in logged
    family, given = PATIENT_NAME.split("^")
    for planted in (PATIENT_ID, family, given, str(make("CT", 1).PatientBirthDate)):
        assert planted not in logged + metrics + dry
        assert planted not in shown
    for one in (book, other):
        one.close()


def check_audit(path: Path) -> None:
    """Start, receipt, alert, decision, export, import, stop: each in the structure of the standard, once."""
    text = path.read_bytes()
    assert b"Planted" not in text
    assert PATIENT_ID.encode() in text, "the standard demands the ID"
    told = []
    for line in text.splitlines():
        event = validated(line).find("EventIdentification")
        assert event is not None
        told.append(" ".join(code.attrib["csd-code"] for code in event if "csd-code" in code.attrib))
    assert told[0] == "110100 110120"
    assert sorted(told) == [
        "110100 110120",
        "110100 110121",
        "110104",
        "110106",
        "110107",
        "110111 held",
        "110113 110126",
    ]
