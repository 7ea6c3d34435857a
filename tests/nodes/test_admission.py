"""Who may associate, and what he hears who may not."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog

from dicom_nodes import admission
from dicom_nodes.admission import ADDRESS, CALLED, CALLING, TOO_MANY, TOO_OFTEN, Admission
from dicom_nodes.config import Limits, NodeConfig, Peer, node_config
from dicom_nodes.errors import ConfigurationError, PeerError
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.notices import Notice, Refused, heard_by
from dicom_nodes.query import echo
from dicom_nodes.server import TOO_MANY as TOO_MANY_CONNECTIONS
from dicom_nodes.storage import Storage
from tests.network import wait_until
from tests.nodes.raw import CT, EXPLICIT, RawPeer, associate_rq

PACS = Peer(host="10.2.0.1", port=104, ae_title="PACS", plain=True)
SENDERS = ("ANYWHERE", "DESK@10.1.0.7", "HALL@10.1.4.0/24", "HALL@10.1.9.9", "SIX@2001:db8::/32")


@pytest.fixture
def rules(config: NodeConfig) -> NodeConfig:
    return config.model_copy(update={"senders": SENDERS, "peers": {"pacs": PACS}})


@pytest.mark.parametrize(
    ("calling", "called", "address", "expected"),
    [
        ("ANYWHERE", "PSDT", "192.0.2.1", None),
        ("ANYWHERE", "PSDT", "2001:db8::1", None),
        ("ANYWHERE", "OTHER", "192.0.2.1", CALLED),
        ("NOBODY", "PSDT", "10.1.0.7", CALLING),
        ("DESK", "PSDT", "10.1.0.7", None),
        ("DESK", "PSDT", "::ffff:10.1.0.7", None),
        ("DESK", "PSDT", "10.1.0.8", ADDRESS),
        ("HALL", "PSDT", "10.1.4.200", None),
        ("HALL", "PSDT", "10.1.9.9", None),
        ("HALL", "PSDT", "10.1.5.1", ADDRESS),
        ("SIX", "PSDT", "2001:db8::7", None),
        ("SIX", "PSDT", "10.1.0.7", ADDRESS),
        ("PACS", "PSDT", "10.2.0.1", None),
        ("PACS", "PSDT", "10.2.0.2", ADDRESS),
    ],
)
def test_titles_and_addresses(
    rules: NodeConfig, calling: str, called: str, address: str, expected: admission.Refusal | None
) -> None:
    assert Admission(rules).refusal(calling, called, address, 0) is expected


def test_a_peer_whose_name_is_not_known_does_not_come_from_there(config: NodeConfig) -> None:
    nowhere = PACS.model_copy(update={"host": "no-such-host.invalid"})
    rules = Admission(config.model_copy(update={"peers": {"pacs": nowhere}}))
    assert rules.refusal("PACS", "PSDT", "10.2.0.1", 0) is ADDRESS


def test_any_sender_where_the_configuration_says_so(config: NodeConfig) -> None:
    rules = Admission(config.model_copy(update={"accept_any_sender": True}))
    assert rules.refusal("NOBODY", "PSDT", "192.0.2.1", 0) is None
    assert rules.refusal("NOBODY", "OTHER", "192.0.2.1", 0) is CALLED


def test_limits_hold_for_each_sender(config: NodeConfig) -> None:
    limits = Limits(associations_per_sender=2, associations_per_minute=3)
    now = [0.0]
    rules = Admission(config.model_copy(update={"limits": limits}), lambda: now[0])
    assert rules.refusal("SCANNER", "PSDT", "10.0.0.1", 2) is TOO_MANY
    assert [rules.refusal("SCANNER", "PSDT", "10.0.0.1", 1) for _ in range(4)] == [None, None, None, TOO_OFTEN]
    assert rules.refusal("SCANNER", "PSDT", "10.0.0.2", 1) is None, "the same title elsewhere is another sender"
    assert rules.refusal("STORESCU", "PSDT", "10.0.0.1", 1) is None
    now[0] = 60.0
    assert rules.refusal("SCANNER", "PSDT", "10.0.0.1", 1) is None


def test_what_is_remembered_of_senders_does_not_grow(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_SENDERS_REMEMBERED", 50)
    now = [0.0]
    rules = Admission(config.model_copy(update={"accept_any_sender": True}), lambda: now[0])
    for number in range(500):
        now[0] = float(number)
        rules.refusal(f"AE{number}", "PSDT", "10.0.0.1", 0)
    assert len(rules._recent) < 120


@pytest.mark.parametrize("refusal", admission.REFUSALS, ids=lambda r: r.reason)
def test_what_the_peer_hears(
    refusal: admission.Refusal, listener: Listener, node: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Admission, "refusal", lambda *_: refusal)
    heard: list[Notice] = []
    with heard_by(heard.append), structlog.testing.capture_logs() as logs, RawPeer(listener.port) as peer:
        peer.send(associate_rq("PSDT", "SCANNER", [(CT, EXPLICIT)]))
        assert peer.read() == (3, bytes([0, refusal.result, refusal.source, refusal.diagnostic]))
    assert heard == [Refused("SCANNER", "PSDT", "127.0.0.1", refusal.reason)]
    assert [line["reason"] for line in logs if line["event"] == "association rejected"] == [refusal.reason]


def test_more_associations_of_one_sender_than_it_may_have(config: NodeConfig, storage: Storage, index: Index) -> None:
    narrow = config.model_copy(update={"limits": Limits(associations_per_sender=2)})
    with Listener(narrow, storage, index, lambda: 0.0) as listener:
        node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=10)
        with RawPeer(listener.port) as one, RawPeer(listener.port) as two:
            one.associate()
            two.associate()
            with pytest.raises(PeerError, match="Local limit exceeded"):
                echo(node, "SCANNER")
            echo(node, "STORESCU")
            one.release()
            two.release()
        echo(node, "SCANNER")


@pytest.mark.parametrize("senders", [["DESK@10.1.0"], ["DESK@10.1.0.7/16"], ["@10.1.0.7"], ["A\\B"]])
def test_a_sender_that_is_none(senders: list[Any]) -> None:
    node = {"ae_title": "PSDT", "storage": "o", "index": "sqlite:///i.db", "senders": senders}
    with pytest.raises(ConfigurationError, match="senders"):
        node_config({"node": node}, "psdt.toml", Path("/etc"))


def test_one_address_does_not_take_every_connection(config: NodeConfig, storage: Storage, index: Index) -> None:
    """Four connections that ask for nothing: two stand, two are closed; the node serves whoever comes after them."""
    limits = config.limits.model_copy(update={"connections": 5})
    with Listener(config.model_copy(update={"limits": limits}), storage, index, lambda: 0.0) as listener:
        with structlog.testing.capture_logs() as logs, ExitStack() as held:
            for number in range(4):
                peer = held.enter_context(RawPeer(listener.port))
                if number > 1:
                    assert peer.read() == (0, b"")
        assert [line["reason"] for line in logs if line["event"] == "connection refused"] == [TOO_MANY_CONNECTIONS] * 2
        node = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=5)

        def is_served() -> bool:
            try:
                echo(node, "SCANNER")
            except PeerError:
                return False
            return True

        wait_until(is_served)
