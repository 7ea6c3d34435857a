"""``psdt serve`` between real peers: dcmtk sends, a person releases, Orthanc receives."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.patient import PatientSpec, write_patient
from tests.network import answers, storescu, wait_until
from tests.orthanc import Orthanc, start_orthanc
from tests.service import configure, psdt, serving

pytestmark = pytest.mark.peer


@contextmanager
def sending_to(folder: Path, orthanc: Orthanc) -> Iterator[tuple[Path, int]]:
    """``psdt serve`` on a free port with Orthanc as the planning system; gives its configuration and port."""
    config, port = configure(folder, tps_port=orthanc.dicom_port, tps_ae_title=orthanc.aet, worker="quiet_s = 3")
    with serving(config, lambda: answers(port)):
        assert psdt(config, "echo", "tps").returncode == 0
        yield config, port


def state(config: Path) -> tuple[str, str]:
    """Id and state of the only case; empty where there is none yet."""
    for line in psdt(config, "cases").stdout.splitlines():
        found = re.match(r"(\S+)\s+(assembling|planning|proposed|held|released|sent|failed|discarded)\b", line)
        if found:
            return found[1], found[2]
    return "", ""


def dataset_bytes(file: bytes) -> bytes:
    """What follows the file meta information: preamble, prefix, group length, and the group of that length."""
    assert file[128:136] == b"DICM\x02\x00\x00\x00"
    return file[144 + int.from_bytes(file[140:144], "little") :]


def test_shuffled_studies_over_four_associations_end_as_released_bytes_in_orthanc(tmp_path: Path) -> None:
    write_patient(PatientSpec(seed=4, region="pelvis", size="small", lesions=3), tmp_path / "patient")
    files = sorted((tmp_path / "patient").rglob("*.dcm"))
    random.Random(5).shuffle(files)
    with start_orthanc(tmp_path / "tps") as orthanc, sending_to(tmp_path, orthanc) as (config, port):
        senders = [subprocess.Popen(storescu(files[n::4], port, "PSDT")) for n in range(4)]
        assert [sender.wait(120) for sender in senders] == [0, 0, 0, 0]
        wait_until(lambda: state(config)[1] in {"proposed", "held"}, 300)
        case_id, reached = state(config)
        assert reached == "proposed", psdt(config, "case", case_id).stderr
        assert orthanc.instance_uids() == {}, "something left without a release"

        pushed = psdt(config, "push", str(tmp_path / "plans"), "--to", "tps")
        assert pushed.returncode == 1
        assert "psdt made proposal.dcm, registration.dcm, rtstruct.dcm" in pushed.stderr
        assert orthanc.instance_uids() == {}, "something left without a release"

        assert psdt(config, "release", case_id).returncode == 2, "a release needs a name"
        assert psdt(config, "release", case_id, "--by", "A. Reader").returncode == 0
        wait_until(lambda: state(config)[1] == "sent", 60)
        shown = psdt(config, "case", case_id).stdout
        assert "A. Reader" in shown

        made = {path.name: path.read_bytes() for path in (tmp_path / "plans").rglob("*.dcm")}
        assert set(made) == {"rtstruct.dcm", "registration.dcm", "proposal.dcm"}
        held = {dataset_bytes(orthanc.file(uid)) for uid in orthanc.instance_uids()}
        assert held == {dataset_bytes(data) for data in made.values()}

        again = psdt(config, "release", case_id, "--by", "A. Reader")
        assert again.returncode == 1
        assert "Traceback" not in again.stderr
        assert len(orthanc.instance_uids()) == 3


def test_the_log_names_no_patient(tmp_path: Path) -> None:
    write_patient(PatientSpec(seed=6, region="pelvis", size="tiny", lesions=2), tmp_path / "patient")
    truth = json.loads((tmp_path / "patient" / "truth.json").read_text())
    files = sorted((tmp_path / "patient").rglob("*.dcm"))
    with start_orthanc(tmp_path / "tps") as orthanc, sending_to(tmp_path, orthanc) as (config, port):
        assert subprocess.run(storescu(files, port, "PSDT"), check=False).returncode == 0
        wait_until(lambda: state(config)[1] in {"proposed", "held"}, 300)
    log = (tmp_path / "serve.log").read_text(encoding="utf-8")
    assert truth["patient_id"] not in log
    assert "Synthetic" not in log
    assert log
