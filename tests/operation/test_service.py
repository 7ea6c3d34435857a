"""``psdt serve`` as an operator sees it: its pages, its audit file, its log, and the commands beside it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from dicom_nodes.headers import read_file_header
from psdt_planner.casebook import Casebook
from psdt_planner.worker import hold, list_cases
from tests.network import free_port, run_storescu, wait_until
from tests.nodes.objects import PATIENT_ID, PATIENT_NAME, make, write_set
from tests.operation.schema import validated
from tests.service import configure, psdt, serving

OPERATION = """
[operation]
status_port = {status}
audit = "audit.xml"
[operation.keep_days]
sent = 1
"""


def is_well(status: int) -> bool:
    """Whether the health page says so."""
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{status}/healthz", timeout=5).status == 200)
    except OSError:
        return False


@pytest.mark.peer
def test_the_service_as_its_operator_sees_it(tmp_path: Path) -> None:
    status = free_port()
    required = 'required = ["planning-ct", "prior-dose"]'
    config, port = configure(tmp_path, worker=required, more=OPERATION.format(status=status))
    book = Casebook(f"sqlite:///{tmp_path}/casebook.db")
    files = write_set(tmp_path / "in", slices=2)
    with serving(config, lambda: is_well(status)):
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
    life = [line for line in logged.splitlines() if f"case={case.id}" in line]
    series = {read_file_header(file).series_instance_uid for file in files}
    begun = [line for line in life if 'event="series comes in"' in line]
    assert {line.split(" series=")[1].split()[0] for line in begun} == series
    assert life[0] in begun, "from the first object on"
    assert any("kind=Received" in line for line in life)
    family, given = PATIENT_NAME.split("^")
    for planted in (PATIENT_ID, family, given, str(make("CT", 1).PatientBirthDate)):
        assert planted not in logged + metrics + dry
        assert planted not in shown
    for one in (book, other):
        one.close()


def test_a_service_that_sends_by_dicomweb_is_audited_too(tmp_path: Path) -> None:
    status = free_port()
    vna = '[peers.vna]\nurl = "http://127.0.0.1:9/dicom-web"\n'
    config, _ = configure(tmp_path, more=vna + OPERATION.format(status=status))
    config.write_text(config.read_text().replace('destination = "tps"', 'destination = "vna"'))
    with serving(config, lambda: is_well(status)):
        pass
    assert len((tmp_path / "audit.xml").read_bytes().splitlines()) == 2, "start and stop"


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
