"""Storage commitment as the side that asks: where the answer comes from, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_nodes import commitment
from dicom_nodes.commitment import Answer, Receipts, in_words, read_answer, receipts_of, request, transaction_uid
from dicom_nodes.config import NodeConfig, Peer
from dicom_nodes.errors import PeerError
from dicom_nodes.headers import is_uid, read_file_header
from dicom_nodes.listener import Listener
from dicom_nodes.sender import send
from dicom_nodes.statuses import Meaning
from tests.network import free_port, storescp, wait_until
from tests.nodes.commitment_peers import Archive, archive, bring, report
from tests.nodes.objects import make, uid_of, write
from tests.orthanc import start_orthanc

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
ONE, TWO = "1.2.3.1", "1.2.3.2"
OBJECTS = [(STRUCTURE_SET, ONE), (STRUCTURE_SET, TWO)]
QUESTION = "2.25.77"


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "LINGER_S", 0.4)


@pytest.fixture
def receipts(tmp_path: Path) -> Receipts:
    return Receipts(tmp_path / "receipts")


class TestTheAnswerComes:
    def test_on_the_same_association(self, receipts: Receipts) -> None:
        made = Archive(same=True, failed={TWO: 0x0112})
        with archive(made) as peer:
            request(OBJECTS, peer, "PSDT", QUESTION, receipts)
        assert made.asked == [(QUESTION, [ONE, TWO])]
        assert receipts.find(QUESTION) == Answer(QUESTION, (ONE,), {TWO: 0x0112})
        assert made.statuses == [0]

    def test_on_a_new_association_to_our_listener(self, config: NodeConfig, listener: Listener) -> None:
        receipts, made = receipts_of(config.storage), Archive()
        with archive(made) as peer:
            request(OBJECTS, peer, "PSDT", QUESTION, receipts)
        assert receipts.find(QUESTION) is None
        assert bring(listener.port, made.answer()) == 0
        assert receipts.find(QUESTION) == Answer(QUESTION, (ONE, TWO), {})

    def test_on_a_later_association_of_ours(self, receipts: Receipts) -> None:
        """An archive that was asked twice answers the first question while it is asked the second."""
        made = Archive()
        with archive(made) as peer:
            request(OBJECTS, peer, "PSDT", QUESTION, receipts)
            first = made.answer()
            made.same, made.answer = True, lambda: first  # type: ignore[method-assign]
            request(OBJECTS, peer, "PSDT", "2.25.78", receipts)
        assert receipts.find(QUESTION) == Answer(QUESTION, (ONE, TWO), {})
        assert receipts.find("2.25.78") is None

    def test_to_another_process_after_a_restart(self, receipts: Receipts, tmp_path: Path) -> None:
        receipts.ask(QUESTION)
        Receipts(tmp_path / "receipts").keep(Answer(QUESTION, (ONE,), {TWO: 0x0110}))
        assert receipts.find(QUESTION) == Answer(QUESTION, (ONE,), {TWO: 0x0110})


class TestTheListener:
    @pytest.fixture
    def port(self, config: NodeConfig, listener: Listener) -> int:
        receipts_of(config.storage).ask(QUESTION)
        return listener.port

    def test_only_the_answer_to_a_question_is_taken(self, port: int, config: NodeConfig) -> None:
        assert bring(port, report("2.25.1", [ONE], {})) == 0x0115
        assert receipts_of(config.storage).find("2.25.1") is None
        assert bring(port, report(QUESTION, [ONE], {})) == 0

    @pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
    @pytest.mark.parametrize(
        ("transaction", "uid", "event_type", "status"),
        [
            (QUESTION, ONE, 7, 0x0113),
            ("not a uid", ONE, 1, 0x0115),
            (QUESTION, "../../etc/passwd", 1, 0x0115),
            ("", ONE, 1, 0x0115),
        ],
        ids=["event type", "transaction", "object", "no transaction"],
    )
    def test_odd_reports_are_refused(  # noqa: PLR0917
        self, listener: Listener, config: NodeConfig, transaction: str, uid: str, event_type: int, status: int
    ) -> None:
        receipts_of(config.storage).ask(QUESTION)
        information = report(transaction, [uid], {})
        if not transaction:
            del information.TransactionUID
        assert bring(listener.port, information, event_type=event_type) == status
        assert receipts_of(config.storage).find(QUESTION) is None

    def test_a_full_disk_is_not_answered_with_success(
        self, port: int, config: NodeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Receipts, "keep", full)
        assert bring(port, report(QUESTION, [ONE], {})) == 0x0110

    def test_an_archive_that_names_no_role_is_heard_too(self, port: int, config: NodeConfig) -> None:
        """Some open the association as if they were the SCU, and report all the same."""
        assert bring(port, report(QUESTION, [ONE], {}), role=False) == 0
        assert receipts_of(config.storage).find(QUESTION) is not None


class TestNoAnswer:
    @pytest.mark.parametrize("status", [0x0110, 0x0112, 0x0124, 0x0213])
    def test_a_question_that_is_refused(self, receipts: Receipts, status: int) -> None:
        with archive(Archive(status=status)) as peer, pytest.raises(PeerError, match=rf"refused it \({status:04X}\)"):
            request(OBJECTS, peer, "PSDT", QUESTION, receipts)

    def test_a_peer_that_is_away(self, receipts: Receipts) -> None:
        away = Peer(host="127.0.0.1", port=free_port(), ae_title="AWAY", timeout_s=1)
        with pytest.raises(PeerError, match="cannot be reached"):
            request(OBJECTS, away, "PSDT", QUESTION, receipts)

    @pytest.mark.peer
    def test_a_peer_that_does_not_know_the_service(self, receipts: Receipts, tmp_path: Path) -> None:
        with storescp(tmp_path / "received") as port:
            peer = Peer(host="127.0.0.1", port=port, ae_title="STORESCP", timeout_s=5)
            with pytest.raises(PeerError, match="aborted the association"):
                request(OBJECTS, peer, "PSDT", QUESTION, receipts)


class TestReading:
    def test_named_as_kept_and_as_failed_it_failed(self) -> None:
        assert read_answer(report(QUESTION, [ONE, TWO], {TWO: 0x0112})) == Answer(QUESTION, (ONE,), {TWO: 0x0112})

    def test_a_failure_without_a_reason_is_no_answer(self) -> None:
        information = report(QUESTION, [], {ONE: 0x0112})
        del information.FailedSOPSequence[0].FailureReason
        with pytest.raises(PeerError, match="lacks its Transaction UID or a Failure Reason"):
            read_answer(information)

    def test_reasons_in_words(self) -> None:
        assert in_words(0x0112) == "no such object instance (0112)"
        assert in_words(0xBEEF) == "failure (BEEF)"

    @given(st.lists(st.text(), min_size=1))
    def test_a_transaction_uid_is_well_formed_and_the_same_again(self, seed: list[str]) -> None:
        made = transaction_uid(*seed)
        assert is_uid(made)
        assert made == transaction_uid(*seed)
        assert made != transaction_uid(*seed, "x")


@pytest.mark.peer
def test_orthanc_commits_what_it_holds_and_names_what_it_does_not(
    tmp_path: Path, config: NodeConfig, listener: Listener
) -> None:
    """Orthanc answers on an association of its own, with the role of the SCP."""
    receipts = receipts_of(config.storage)
    files = [write(make(kind, 1), tmp_path) for kind in ("RTSTRUCT", "REG")]
    never = write(make("DOC", 1), tmp_path)
    with start_orthanc(
        tmp_path / "peer", aet="SCANNER", modalities={"psdt": ["PSDT", "127.0.0.1", listener.port]}
    ) as o:
        peer = Peer(host="127.0.0.1", port=o.dicom_port, ae_title=o.aet, timeout_s=10, confirm="commitment")
        assert {sent.meaning for sent in send(files, peer, "PSDT")} == {Meaning.SUCCESS}
        headers = [read_file_header(path) for path in [*files, never]]
        request([(h.sop_class_uid, h.sop_instance_uid) for h in headers], peer, "PSDT", QUESTION, receipts)
        wait_until(lambda: receipts.find(QUESTION) is not None)
    answer = receipts.find(QUESTION)
    assert answer is not None
    assert set(answer.committed) == {uid_of(path) for path in files}
    assert answer.failed == {uid_of(never): 0x0112}
