"""The whole house on loopback: dcmtk sends, the node keeps, the worker plans, a person releases, Orthanc receives."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_nodes.listener import open_listener
from psdt_planner.casebook import Casebook
from psdt_planner.worker import Config, list_cases, load_config, open_worker, release
from tests.cases.test_worker import FakeDossier, propose
from tests.network import free_port, run_storescu, storescu, wait_until
from tests.nodes.objects import PATIENT_ID, PATIENT_NAME, dataset_bytes, make, write, write_set
from tests.orthanc import Orthanc, start_orthanc

UNCLOSED = "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
"""pynetdicom 3.0.4 leaves the socket of a connection that was refused to the garbage collector."""

SETTINGS = """
[node]
ae_title = "PSDT"
port = 0
storage = "objects"
index = "sqlite:///index.db"
senders = ["STORESCU"]
[node.limits]
reserve_mb = 1
[peers.tps]
host = "127.0.0.1"
port = {port}
ae_title = "ORTHANC"
timeout_s = 10.0
[worker]
casebook = "sqlite:///casebook.db"
folder = "plans"
destination = "tps"
quiet_s = {quiet_s}
first_retry_s = 0.2
longest_retry_s = 0.2
send_attempts = 200
"""


def configure(folder: Path, port: int, quiet_s: float = 0.5) -> Config:
    path = folder / "psdt.toml"
    path.write_text(SETTINGS.format(port=port, quiet_s=quiet_s), encoding="utf-8")
    return load_config(path)


def make_dossier(inputs: Sequence[Path], out: Path) -> FakeDossier:
    return propose(inputs, out)


@contextmanager
def serve(config: Config) -> Iterator[int]:
    """Listener and worker as ``psdt serve`` runs them; gives the port."""
    stop = threading.Event()
    with open_listener(config.node, time.time) as listener:
        worker = open_worker(config, make_dossier)
        thread = threading.Thread(target=worker.run, args=(stop, time.time, 0.05))
        thread.start()
        try:
            yield listener.port
        finally:
            stop.set()
            thread.join(30)
            worker.close()


def send_shuffled(files: list[Path], port: int) -> None:
    """Over four associations at once, in an order of no meaning."""
    shuffled = random.Random(5).sample(files, len(files))
    senders = [subprocess.Popen(storescu(shuffled[part::4], port, "PSDT")) for part in range(4)]
    assert [sender.wait(60) for sender in senders] == [0] * 4


@pytest.mark.peer
def test_from_dcmtk_to_orthanc_and_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = write_set(tmp_path / "in", slices=10)
    with start_orthanc(tmp_path / "peer") as orthanc:
        config = configure(tmp_path, orthanc.dicom_port)
        book = Casebook(config.worker.casebook)
        with serve(config) as port:
            send_shuffled(files, port)
            wait_until(lambda: any(row.state == "proposed" for row in list_cases(book)))
            (row,) = list_cases(book)
            assert row.objects == len(files)
            time.sleep(0.5)
            assert orthanc.instance_uids() == {}, "nothing goes without a release"
            release(book, row.id, "A. Person", time.time())
            wait_until(lambda: list_cases(book)[0].state == "sent")
        case = book.case(row.id)
        book.close()
        check_at_orthanc(orthanc, {o.sop_instance_uid: config.worker.folder / o.path for o in case.outputs})
    assert len(case.outputs) == 3
    assert (case.released_by, case.plan) == ("A. Person", 1)
    logged = "".join(capfd.readouterr())
    assert row.id in logged
    assert not any(planted in logged for planted in (PATIENT_ID, PATIENT_NAME, "4711", "19500101"))


def check_at_orthanc(orthanc: Orthanc, released: dict[str, Path]) -> None:
    """What Orthanc holds is what was released, byte for byte."""
    assert set(orthanc.instance_uids()) == set(released)
    for name, path in released.items():
        assert dataset_bytes(orthanc.file(name)) == dataset_bytes(path)


@pytest.mark.peer
@pytest.mark.filterwarnings(UNCLOSED)
def test_a_destination_that_is_away_gets_it_when_it_is_back(tmp_path: Path) -> None:
    """And a new process carries on what the old one could not finish."""
    away = free_port()
    book = Casebook(configure(tmp_path, away).worker.casebook)
    with serve(configure(tmp_path, away)) as port:
        send_shuffled(write_set(tmp_path / "in", slices=2), port)
        wait_until(lambda: any(row.state == "proposed" for row in list_cases(book)))
        (row,) = list_cases(book)
        release(book, row.id, "A. Person", time.time())
        wait_until(lambda: book.case(row.id).attempts >= 2)
    with start_orthanc(tmp_path / "peer") as orthanc:
        config = configure(tmp_path, orthanc.dicom_port)
        with serve(config):
            wait_until(lambda: book.case(row.id).state.value == "sent")
        outputs = book.case(row.id).outputs
        check_at_orthanc(orthanc, {o.sop_instance_uid: config.worker.folder / o.path for o in outputs})
    book.close()


@pytest.mark.peer
def test_an_object_that_comes_late(tmp_path: Path) -> None:
    with start_orthanc(tmp_path / "peer") as orthanc:
        config = configure(tmp_path, orthanc.dicom_port)
        book = Casebook(config.worker.casebook)
        with serve(config) as port:
            send_shuffled(write_set(tmp_path / "in", slices=2), port)
            wait_until(lambda: any(row.state == "proposed" for row in list_cases(book)))
            assert run_storescu([write(make("CT", 7), tmp_path)], port, "PSDT").returncode == 0
            wait_until(lambda: list_cases(book)[0].plan == 2 and list_cases(book)[0].state == "proposed")
            (row,) = list_cases(book)
            release(book, row.id, "A. Person", time.time(), plan=2)
            wait_until(lambda: book.case(row.id).state.value == "sent")
            assert run_storescu([write(make("CT", 8), tmp_path)], port, "PSDT").returncode == 0
            wait_until(lambda: book.case(row.id).state.value == "held")
        assert book.case(row.id).findings[-1].code == "object-late"
        assert len(orthanc.instance_uids()) == 3
        book.close()
