"""What the node tells of the network: each answer and each refusal once, to everybody who asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_nodes.admission import CALLING
from dicom_nodes.config import Limits, NodeConfig, Peer
from dicom_nodes.listener import open_listener
from dicom_nodes.notices import Answered, Notice, Refused, heard_by, tell
from dicom_nodes.sender import send
from tests.nodes.objects import PATIENT_ID, make, uid, write


@contextmanager
def listening(folder: Path, **settings: object) -> Iterator[Peer]:
    config = NodeConfig(
        ae_title="PSDT",
        port=0,
        storage=folder / "storage",
        index=f"sqlite:///{folder}/index.db",
        senders=("SCANNER",),
        limits=Limits(reserve_mb=1),
        **settings,  # type: ignore[arg-type]
    )
    with open_listener(config, lambda: 1000.0) as listener:
        yield Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT")


def test_each_answer_is_told_with_who_sent_what(tmp_path: Path) -> None:
    heard: list[Notice] = []
    one, other = make("CT", 1), make("CT", 1)
    other.InstanceNumber = "77"
    with listening(tmp_path) as node, heard_by(heard.append):
        for ds, folder in ((one, "a"), (one, "a"), (other, "b")):
            send([write(ds, tmp_path / folder)], node, "SCANNER")
    assert [(n.calling, n.address, n.status, n.quarantined) for n in heard if isinstance(n, Answered)] == [
        ("SCANNER", "127.0.0.1", 0x0000, False),
        ("SCANNER", "127.0.0.1", 0x0000, False),
        ("SCANNER", "127.0.0.1", 0xA901, True),
    ]
    header = heard[0].header if isinstance(heard[0], Answered) else None
    assert header is not None
    assert (header.patient_id, header.sop_instance_uid) == (PATIENT_ID, uid(1, 1, 1))


def test_a_refusal_is_told(tmp_path: Path) -> None:
    heard: list[Notice] = []
    with listening(tmp_path) as node, heard_by(heard.append):
        send([write(make("CT", 1), tmp_path)], node, "STRANGER")
    assert heard == [Refused("STRANGER", "PSDT", "127.0.0.1", CALLING.reason)]


def test_a_hearer_that_fails_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[Notice] = []

    def fail(_: Notice) -> None:
        raise ZeroDivisionError("secret")

    with listening(tmp_path) as node, heard_by(fail), heard_by(heard.append):
        (sent,) = send([write(make("CT", 1), tmp_path)], node, "SCANNER")
    assert sent.status == 0
    assert len(heard) == 1
    logged = "".join(capfd.readouterr())
    assert "notice not heard" in logged
    assert "secret" not in logged


def test_who_stopped_listening_hears_no_more() -> None:
    heard: list[Notice] = []
    with heard_by(heard.append):
        pass
    tell(Refused("A", "B", "127.0.0.1", "x"))
    assert heard == []
