"""kill -9 while objects come in: what was acknowledged is there, nothing half is seen, a resend completes the set."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_nodes.config import Peer
from dicom_nodes.index import Index
from dicom_nodes.listener import open_listener
from dicom_nodes.sender import send
from dicom_nodes.statuses import Meaning
from dicom_nodes.storage import Storage
from tests.network import storescu, wait_until
from tests.nodes.mortal_node import POINTS, config
from tests.nodes.objects import dataset_bytes, uid_of, write_set

RESPONSE = re.compile(r"Sending file: (\S+)|Received Store Response \(Success\)")


@contextmanager
def mortal_node(folder: Path, *armed: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A listener process and its port."""
    command = [sys.executable, "-m", "tests.nodes.mortal_node", str(folder), *armed]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until((folder / "port").exists, 30)
            yield process, int((folder / "port").read_text(encoding="ascii"))
        finally:
            process.kill()
            process.wait(10)
            (folder / "port").unlink(missing_ok=True)


def acknowledged(log: str) -> set[Path]:
    """The files that a dcmtk sender heard Success for."""
    found, current = set(), None
    for match in RESPONSE.finditer(log):
        if match.group(1):
            current = Path(match.group(1))
        elif current is not None:
            found.add(current)
    return found


def check_nothing_is_lost(folder: Path, files: list[Path], safe: set[Path]) -> None:
    """After a restart: acknowledged objects are there, whatever is there is whole, and the rest can be sent again."""
    storage, index = Storage(folder / "storage"), Index(f"sqlite:///{folder}/index.db")
    expected = {uid_of(file): dataset_bytes(file) for file in files}
    with open_listener(config(folder), lambda: 2000.0) as listener:
        held = {c.header.sop_instance_uid: dataset_bytes(storage.path(c.key)) for c in index.changes_since(0)}
        assert held.keys() >= {uid_of(file) for file in safe}
        assert held.items() <= expected.items()
        assert len(list(storage.every_key())) == index.count() == len(held)
        assert list((folder / "storage" / "incoming").iterdir()) == []
        node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT")
        assert {sent.meaning for sent in send(files, node, "AGAIN")} == {Meaning.SUCCESS}
    changes = index.changes_since(0)
    assert {c.header.sop_instance_uid: dataset_bytes(storage.path(c.key)) for c in changes} == expected
    assert len(changes) == len(files)
    index.close()


@pytest.mark.peer
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_durable_step(tmp_path: Path, point: str) -> None:
    files = write_set(tmp_path / "files", slices=4)
    with mortal_node(tmp_path, point, "5") as (process, port):
        command = storescu(files, port, "PSDT", "SENDER", "-v")
        sender = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert process.wait(20) == -9
    assert sender.returncode != 0
    safe = acknowledged(sender.stderr)
    assert len(safe) == 4
    index = Index(f"sqlite:///{tmp_path}/index.db")
    assert index.count() == (5 if point == "entered" else 4)
    index.close()
    check_nothing_is_lost(tmp_path, files, safe)


@pytest.mark.peer
def test_killed_at_any_moment_with_four_senders(tmp_path: Path) -> None:
    files = write_set(tmp_path / "files", slices=30)
    storage, index = Storage(tmp_path / "storage"), Index(f"sqlite:///{tmp_path}/index.db")
    for entered in (8, 30):
        with mortal_node(tmp_path) as (process, port):
            senders = [
                subprocess.Popen(
                    storescu(files[part::4], port, "PSDT", "SENDER", "-v"), stderr=subprocess.PIPE, text=True
                )
                for part in range(4)
            ]
            wait_until(lambda entered=entered: index.count() >= entered)
            process.kill()
            logs = [sender.communicate(timeout=60)[1] for sender in senders]
        safe = set().union(*(acknowledged(log) for log in logs))
        assert len(safe) < len(files), "killed too late to show anything"
        held = {change.header.sop_instance_uid for change in index.changes_since(0)}
        assert {uid_of(file) for file in safe} <= held
        assert all(storage.kept(change.key).sha256 == change.sha256 for change in index.changes_since(0))
    index.close()
    check_nothing_is_lost(tmp_path, files, safe)
