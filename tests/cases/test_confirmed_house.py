"""The whole way to a real archive that then says, in each way there is, whether it keeps what was released."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydicom import Dataset

from dicom_nodes.config import Peer
from dicom_nodes.sender import send
from psdt_planner.case import Case, became_of
from psdt_planner.casebook import Casebook
from psdt_planner.worker import Config, list_cases, load_config, release
from tests.cases.test_house import check_at_orthanc, serve
from tests.network import free_port, run_storescu, wait_until
from tests.nodes.objects import make, write, write_set
from tests.orthanc import start_orthanc

SETTINGS = """
[node]
ae_title = "PSDT"
port = {ours}
storage = "objects"
index = "sqlite:///index.db"
senders = ["STORESCU", "ORTHANC"]
[node.limits]
reserve_mb = 1
[peers.tps]
{peer}
timeout_s = 10.0
confirm = "{confirm}"
[worker]
casebook = "sqlite:///casebook.db"
folder = "plans"
destination = "tps"
quiet_s = 0.5
first_retry_s = 0.2
longest_retry_s = 0.2
confirm_attempts = 2
confirm_wait_s = 5.0
"""


def configure(folder: Path, ours: int, peer: str, confirm: str) -> Config:
    path = folder / "psdt.toml"
    path.write_text(SETTINGS.format(ours=ours, peer=peer, confirm=confirm), encoding="utf-8")
    return load_config(path)


def until(book: Casebook, *states: str) -> Case:
    wait_until(lambda: any(row.state in states for row in list_cases(book)), 30)
    return book.case(list_cases(book)[0].id)


def released(config: Config, folder: Path, book: Casebook, *states: str) -> Case:
    """What a set comes to, once it was released, in one of these states."""
    with serve(config) as port:
        assert run_storescu(write_set(folder / "in", slices=2), port, "PSDT").returncode == 0
        release(book, until(book, "proposed").id, "A. Person", time.time())
        return until(book, *states)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("carrier", "confirm", "words"),
    [
        ("dicom", "commitment", "stored, confirmed by storage commitment"),
        ("dicom", "find", "stored, confirmed by C-FIND"),
        ("dicom", "get", "stored, confirmed by C-GET: same bytes"),
        ("web", "find", "stored, confirmed by QIDO-RS"),
        ("web", "get", "stored, confirmed by WADO-RS: same bytes"),
        ("web", "none", "stored, not confirmed"),
    ],
)
def test_what_was_released_is_confirmed(tmp_path: Path, carrier: str, confirm: str, words: str) -> None:
    ours = free_port()
    modalities = {"psdt": ["PSDT", "127.0.0.1", ours]}
    with start_orthanc(tmp_path / "peer", modalities=modalities, dicomweb=carrier == "web") as orthanc:
        url = f'url = "http://127.0.0.1:{orthanc.http_port}/dicom-web"'
        dicom = f'host = "127.0.0.1"\nport = {orthanc.dicom_port}\nae_title = "ORTHANC"'
        config = configure(tmp_path, ours, url if carrier == "web" else dicom, confirm)
        book = Casebook(config.worker.casebook)
        case = released(config, tmp_path, book, "sent", "unconfirmed", "failed")
        book.close()
        assert (case.state.value, [finding.code for finding in case.findings]) == ("sent", [])
        assert {became_of(case, output) for output in case.outputs} == {words}
        check_at_orthanc(orthanc, {o.sop_instance_uid: config.worker.folder / o.path for o in case.outputs})


def alike(ds: Dataset, output_uid: str) -> Dataset:
    ds.SOPInstanceUID = output_uid
    ds.PatientID = "SOMEBODY-ELSE"
    return ds


@pytest.mark.peer
def test_an_archive_that_holds_something_else_under_our_uid_is_found_out(tmp_path: Path) -> None:
    """Orthanc keeps what it had first and answers Success all the same; a person hears of it, and what differs."""
    ours = free_port()
    with start_orthanc(tmp_path / "peer", modalities={"psdt": ["PSDT", "127.0.0.1", ours]}) as orthanc:
        dicom = f'host = "127.0.0.1"\nport = {orthanc.dicom_port}\nae_title = "ORTHANC"'
        config = configure(tmp_path, ours, dicom, "get")
        book = Casebook(config.worker.casebook)
        with serve(config) as port:
            assert run_storescu(write_set(tmp_path / "in", slices=2), port, "PSDT").returncode == 0
            case = until(book, "proposed")
            target = next(output for output in case.outputs if output.name == "rtstruct.dcm")
            theirs = make("RTSTRUCT", 1, study=int(target.sop_instance_uid.split(".")[-3]))
            path = write(alike(theirs, target.sop_instance_uid), tmp_path / "theirs")
            peer = Peer(host="127.0.0.1", port=orthanc.dicom_port, ae_title="ORTHANC", timeout_s=10)
            send([path], peer, "PSDT")
            release(book, case.id, "A. Person", time.time())
            case = until(book, "sent", "unconfirmed")
        book.close()
    assert case.state.value == "unconfirmed"
    assert case.findings[-1].message == (
        "the destination does not keep rtstruct.dcm: C-GET: it comes back with other PatientID"
    )
    assert case.lost == {target.sop_instance_uid}
