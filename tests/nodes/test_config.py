"""What the clinic may write, and how it hears of a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_nodes.config import NodeConfig, Peer, anchored, node_config, read_toml
from dicom_nodes.errors import ConfigurationError

NODE = {"ae_title": "PSDT", "storage": "objects", "index": "sqlite:///index.db", "senders": ["SCANNER"]}
TPS = {"host": "127.0.0.1", "port": 104, "ae_title": "TPS"}


def config(node: dict[str, Any] | None = None, **peers: dict[str, Any]) -> NodeConfig:
    return node_config({"node": {**NODE, **(node or {})}, "peers": peers}, "psdt.toml", Path("/etc/psdt"))


def test_relative_paths_are_taken_from_the_folder_of_the_file() -> None:
    assert config().storage == Path("/etc/psdt/objects")
    assert config().index == "sqlite:////etc/psdt/index.db"
    assert config({"storage": "/var/lib/psdt"}).storage == Path("/var/lib/psdt")


@pytest.mark.parametrize(
    "url", ["sqlite:////var/index.db", "sqlite:///:memory:", "sqlite://", "postgresql://u:secret@h/db"]
)
def test_other_databases_stay_as_they_are(url: str) -> None:
    assert anchored(url, Path("/etc/psdt")) == url


def test_a_database_that_is_no_url() -> None:
    with pytest.raises(ConfigurationError, match="not a database URL"):
        config({"index": "index.db"})


def test_peers_have_names_and_may_send() -> None:
    made = config(tps=TPS)
    assert made.peer("tps") == Peer(host="127.0.0.1", port=104, ae_title="TPS")
    assert made.allowed_senders == ("SCANNER", "TPS")
    with pytest.raises(ConfigurationError, match=r"no peer is called 'pacs' \(known: tps\)"):
        made.peer("pacs")


def test_somebody_must_be_allowed_to_send() -> None:
    with pytest.raises(ConfigurationError, match="nobody may send"):
        config({"senders": []})
    assert config({"senders": []}, tps=TPS).allowed_senders == ("TPS",)
    assert config({"senders": [], "accept_any_sender": True}).accept_any_sender


@pytest.mark.parametrize(
    ("node", "peers", "message"),
    [
        ({"ae_titel": "X"}, {}, "ae_titel: unknown key; the nearest known key is 'ae_title'"),
        (
            {"limits": {"asociations": 3}},
            {},
            "limits.asociations: unknown key; the nearest known key is 'associations'",
        ),
        ({}, {"tps": {**TPS, "prt": 1}}, "peers.tps.prt: unknown key; the nearest known key is 'port'"),
        ({"port": 70000}, {}, "port: Input should be less than or equal to 65535"),
        ({"ae_title": "SEVENTEEN-LETTERS"}, {}, "ae_title: an AE title has 1 to 16"),
        ({"ae_title": "A\\B"}, {}, "ae_title: an AE title has 1 to 16"),
        ({"ae_title": " "}, {}, "ae_title: an AE title has 1 to 16"),
        ({}, {"tps": {"host": "h", "port": 1}}, "peers.tps.ae_title: Field required"),
    ],
)
def test_each_mistake_is_named(node: dict[str, Any], peers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config(node, **peers)
    assert message in str(caught.value)
    assert "[psdt.toml]" in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"port: .*; hots: unknown key"):
        config({"hots": "x", "port": -1})


def test_peers_do_not_stand_inside_the_node() -> None:
    with pytest.raises(ConfigurationError, match=r"sections of their own"):
        config({"peers": {"tps": TPS}})


def test_the_section_must_be_there() -> None:
    with pytest.raises(ConfigurationError, match=r"\[node\] is absent"):
        node_config({}, "psdt.toml", Path())


def test_values_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        config().port = 5  # type: ignore[misc]


@pytest.mark.parametrize("content", [None, b"[node", b"\xff\xfe"], ids=["absent", "no TOML", "no text"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "psdt.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_toml(path)
