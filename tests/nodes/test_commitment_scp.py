"""Storage commitment for senders that ask us: what is in the index and whole on disk, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest
import structlog
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_nodes import commitment_scp
from dicom_nodes.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Receipts, request, transaction_uid
from dicom_nodes.commitment_scp import (
    KEPT_S,
    LONGEST_PAUSE_S,
    CommitmentProvider,
    Questions,
    questions_of,
    read_question,
)
from dicom_nodes.config import NodeConfig, Peer
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.sender import send
from dicom_nodes.storage import Storage
from tests.network import free_port, wait_until
from tests.nodes.objects import CLASSES, uid, write_set
from tests.nodes.test_crash import mortal_node
from tests.orthanc import start_orthanc

CT = CLASSES["CT"]


def question(*objects: tuple[str, str], transaction: str = "1.2.3") -> Dataset:
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = Sequence([Dataset() for _ in objects])
    for item, (sop_class, sop_instance) in zip(asked.ReferencedSOPSequence, objects, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return asked


@contextmanager
def asking(port: int, *more: str) -> Iterator[tuple[Association, Queue[tuple[int, Dataset]]]]:
    """An association that may ask, and what is reported on it."""
    reports: Queue[tuple[int, Dataset]] = Queue()

    def on_report(event: Event) -> tuple[int, None]:
        reports.put((event.event_type, event.event_information))
        return 0, None

    contexts = [build_context(PUSH_MODEL, [ImplicitVRLittleEndian]), *(build_context(one) for one in more)]
    association = AE("SCANNER").associate(
        "127.0.0.1", port, contexts, ae_title="PSDT", evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)]
    )
    assert association.is_established
    try:
        yield association, reports
    finally:
        association.release()


def outcome(said: Dataset) -> tuple[list[str], dict[str, int]]:
    """Committed UIDs, and failed ones with the reason."""
    failed = {str(i.ReferencedSOPInstanceUID): int(i.FailureReason) for i in said.get("FailedSOPSequence") or []}
    return [str(i.ReferencedSOPInstanceUID) for i in said.get("ReferencedSOPSequence") or []], failed


@pytest.mark.parametrize("more", [(), (CT,)], ids=["an association that only asks", "one that also stores"])
def test_a_sender_that_is_no_peer_hears_on_its_own_association(
    tmp_path: Path, listener: Listener, index: Index, storage: Storage, more: tuple[str, ...]
) -> None:
    node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=10)
    send(write_set(tmp_path, slices=2), node, "SCANNER")
    held = [(c.header.sop_class_uid, c.header.sop_instance_uid) for c in index.changes_since(0)]
    changed = storage.path(index.changes_since(0)[0].key)
    changed.write_bytes(changed.read_bytes()[:-1] + b"!")
    absent, other_class = (CT, uid(9, 9)), (CLASSES["MR"], held[1][1])
    asked = question(held[0], *held[2:], absent, other_class)
    with asking(listener.port, *more) as (association, reports):
        status, _ = association.send_n_action(asked, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        assert status.Status == 0
        kind, said = reports.get(timeout=10)
    assert (kind, said.TransactionUID) == (2, "1.2.3")
    committed, failed = outcome(said)
    assert committed == [instance for _, instance in held[2:]]
    assert failed == {held[0][1]: 0x0110, uid(9, 9): 0x0112, held[1][1]: 0x0119}


def test_a_peer_hears_on_an_association_of_ours(
    tmp_path: Path, config: NodeConfig, storage: Storage, index: Index
) -> None:
    """Both sides are ours here: each has a listener, and the receipt is where the asking side looks for it."""
    theirs = config.model_copy(
        update={"ae_title": "SCANNER", "storage": tmp_path / "theirs", "index": f"sqlite:///{tmp_path}/theirs.db"}
    )
    other_index = Index(theirs.index)
    with Listener(
        theirs.model_copy(update={"senders": ("PSDT",)}), Storage(theirs.storage), other_index, lambda: 0.0
    ) as back:
        scanner = Peer(host="127.0.0.1", port=back.port, ae_title="SCANNER", timeout_s=5)
        with Listener(config.model_copy(update={"peers": {"s": scanner}}), storage, index, lambda: 0.0) as listener:
            node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=5)
            send(write_set(tmp_path / "set", slices=1), node, "SCANNER")
            held = [(c.header.sop_class_uid, c.header.sop_instance_uid) for c in index.changes_since(0)]
            receipts, transaction = Receipts(theirs.storage / "commitments"), transaction_uid("a test")
            request(held, node, "SCANNER", transaction, receipts)
            wait_until(lambda: receipts.find(transaction) is not None)
    other_index.close()
    found = receipts.find(transaction)
    assert found is not None
    assert (sorted(found.committed), found.failed) == (sorted(instance for _, instance in held), {})


@pytest.mark.peer
def test_orthanc_asks(tmp_path: Path, config: NodeConfig, storage: Storage, index: Index) -> None:
    """It asks about what it sent and about what it did not, leaves, and hears on an association of ours."""
    port = free_port()
    with start_orthanc(tmp_path / "peer", modalities={"psdt": ["PSDT", "127.0.0.1", port]}) as orthanc:
        peer = Peer(host="127.0.0.1", port=orthanc.dicom_port, ae_title=orthanc.aet, timeout_s=10)
        known = config.model_copy(update={"port": port, "peers": {"orthanc": peer}})
        with Listener(known, storage, index, lambda: 0.0):
            send(write_set(tmp_path / "set", slices=2), peer, "PSDT")
            ids = orthanc.instance_uids()
            never = ids.pop(uid(1, 1, 1))
            orthanc.post("/modalities/psdt/store", list(ids.values()))
            asked = orthanc.post("/modalities/psdt/storage-commitment", {"Resources": [*ids.values(), never]})
            wait_until(lambda: orthanc.json(asked["Path"])["Status"] != "Pending")
            told = orthanc.json(asked["Path"])
            wait_until(lambda: questions_of(config.storage).every() == [])
    assert told["Status"] == "Failure"
    assert {one["SOPInstanceUID"] for one in told["Success"]} == set(ids)
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in told["Failures"]] == [(uid(1, 1, 1), 0x0112)]


@contextmanager
def scanner(port: int) -> Iterator[Queue[Dataset]]:
    """The sender's own port, and what is reported to it there."""
    reports: Queue[Dataset] = Queue()

    def on_report(event: Event) -> tuple[int, None]:
        reports.put(event.event_information)
        return 0, None

    entity = AE("SCANNER")
    entity.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)])
    try:
        yield reports
    finally:
        server.shutdown()


def ask(port: int, *objects: tuple[str, str], transaction: str = "1.2.3") -> None:
    with asking(port) as (association, _):
        status, _ = association.send_n_action(
            question(*objects, transaction=transaction), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        assert status.Status == 0


def test_a_peer_that_is_away_is_tried_again_with_growing_pauses(
    config: NodeConfig, storage: Storage, index: Index
) -> None:
    away = Peer(host="127.0.0.1", port=free_port(), ae_title="SCANNER", timeout_s=5)
    now = [1000.0]
    asked = read_question(question((CT, uid(1, 1, 1))), "SCANNER", now[0])
    questions = questions_of(config.storage)
    provider = CommitmentProvider(config.model_copy(update={"peers": {"s": away}}), storage, index, lambda: now[0])
    questions.keep(asked)
    provider.take_up()
    for pause_s in (1.0, 2.0, 4.0, 8.0):
        again_s = provider.step()
        assert again_s == now[0] + pause_s
        assert provider.step() == again_s, "nothing is due before"
        now[0] = again_s
    with scanner(away.port) as reports:
        provider.step()
        assert outcome(reports.get(timeout=5)) == ([], {uid(1, 1, 1): 0x0112})
    assert questions.every() == []


def test_a_question_that_nobody_hears_the_answer_of_is_given_up_after_a_week(
    config: NodeConfig, storage: Storage, index: Index
) -> None:
    now = [1000.0]
    questions = questions_of(config.storage)
    questions.keep(read_question(question((CT, uid(1, 1, 1))), "SCANNER", now[0]))
    provider = CommitmentProvider(config, storage, index, lambda: now[0])
    provider.take_up()
    now[0] += KEPT_S
    provider.step()
    assert len(questions.every()) == 1
    now[0] += LONGEST_PAUSE_S
    with structlog.testing.capture_logs() as logs:
        provider.step()
    assert questions.every() == []
    assert [line["event"] for line in logs] == ["commitment result not taken yet", "commitment result given up"]


def test_a_peer_that_was_away_hears_after_a_restart(
    tmp_path: Path, config: NodeConfig, storage: Storage, index: Index
) -> None:
    away = Peer(host="127.0.0.1", port=free_port(), ae_title="SCANNER", timeout_s=5)
    known = config.model_copy(update={"peers": {"s": away}})
    with Listener(known, storage, index, lambda: 0.0) as listener:
        node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=5)
        send(write_set(tmp_path, slices=1), node, "SCANNER")
        ask(listener.port, (CT, uid(1, 1, 1)))
    with scanner(away.port) as reports, Listener(known, storage, index, lambda: 0.0):
        said = reports.get(timeout=10)
        wait_until(lambda: questions_of(config.storage).every() == [])
    assert (said.TransactionUID, outcome(said)) == ("1.2.3", ([uid(1, 1, 1)], {}))


def test_what_was_acknowledged_before_a_kill_is_answered_after_it(tmp_path: Path) -> None:
    """The node dies between the answer to the N-ACTION and its report; the sender hears when it asks the next time."""
    with mortal_node(tmp_path, "question taken") as (_, port):
        ask(port, (CT, uid(1, 1, 1)))
    with mortal_node(tmp_path) as (_, port), asking(port) as (association, reports):
        association.send_n_action(question((CT, uid(1, 1, 2)), transaction="1.2.4"), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        heard = [reports.get(timeout=10)[1] for _ in range(2)]
    assert {str(said.TransactionUID): outcome(said)[1] for said in heard} == {
        "1.2.3": {uid(1, 1, 1): 0x0112},
        "1.2.4": {uid(1, 1, 2): 0x0112},
    }


def test_nobody_fills_the_disk_with_questions(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment_scp, "MOST_OPEN", 0)
    with asking(listener.port) as (association, _):
        status, _ = association.send_n_action(question((CT, "1.2")), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    assert status.Status == 0x0213


def test_a_question_that_cannot_be_kept_is_not_taken(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Questions, "keep", full)
    with asking(listener.port) as (association, _):
        status, _ = association.send_n_action(question((CT, "1.2")), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    assert status.Status == 0x0110


def _with_uid_of_path_characters() -> Dataset:
    asked = question((CT, "1.2"))
    with warnings.catch_warnings(action="ignore"):  # pydicom's, of the value
        asked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "../../etc/passwd"
    return asked


MALFORMED = {
    "no objects": question(),
    "no transaction": question((CT, "1.2"), transaction=""),
    "a UID with path characters": _with_uid_of_path_characters(),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("asked", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_question_is_refused(listener: Listener, asked: Dataset) -> None:
    with asking(listener.port) as (association, _):
        status, _ = association.send_n_action(asked, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    assert status.Status == 0x0115


def test_another_action_does_not_exist(listener: Listener) -> None:
    with asking(listener.port) as (association, _):
        status, _ = association.send_n_action(question((CT, "1.2")), 7, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    assert status.Status == 0x0123


def test_a_sender_that_left_hears_nothing_and_the_next_is_served(
    tmp_path: Path, listener: Listener, node: Peer
) -> None:
    send(write_set(tmp_path, slices=1), node, "SCANNER")
    with asking(listener.port) as (association, _):
        association.send_n_action(question((CT, uid(1, 1, 1))), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        association.abort()
    with asking(listener.port) as (association, reports):
        association.send_n_action(question((CT, uid(1, 1, 1))), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        kind, said = reports.get(timeout=30)  # the node may wait 10 s for who has left
    assert (kind, outcome(said)) == (1, ([uid(1, 1, 1)], {}))
