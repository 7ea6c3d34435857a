"""``psdt.toml`` whole, and the commented example that the project ships."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from dicom_nodes.config import Limits, NodeConfig, Peer, Tls, WebPeer
from dicom_nodes.errors import ConfigurationError
from dicom_nodes.fetching import FetchConfig, FetchRule
from psdt_planner.case import Rules
from psdt_planner.worker import OperationConfig, WorkerConfig, load_config
from psdt_planner.worker.config import Kept

EXAMPLE = Path(__file__).parents[2] / "docs" / "psdt.toml"


def test_the_example_is_valid() -> None:
    config = load_config(EXAMPLE)
    folder = EXAMPLE.parent
    assert config.node.storage == folder / "var/objects"
    assert config.node.index == f"sqlite:///{folder}/var/index.db"
    assert config.worker.casebook == f"sqlite:///{folder}/var/casebook.db"
    assert config.worker.folder == folder / "var/plans"
    assert config.worker.protocol is None
    assert config.worker.rules == Rules(60.0, 8, 10.0, 3600.0, 3, 3600.0)
    assert config.node.peer(config.worker.destination).ae_title == "TPS"
    assert config.node.allowed_senders == ("READER", "SCANNER", "TPS")


def test_the_example_names_every_key_with_the_value_that_holds_without_it(tmp_path: Path) -> None:
    """A key that is commented out is uncommented here; nothing may change, so the comments tell the truth."""
    text = re.sub(r"^# (\w+ = .*)$", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    explicit = tmp_path / "psdt.toml"
    explicit.write_text(text.replace('protocol = "protocol.toml"\n', ""), encoding="utf-8")
    (tmp_path / "plain.toml").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_config(explicit) == load_config(tmp_path / "plain.toml")
    for model in (NodeConfig, Limits, Peer, WebPeer, FetchConfig, FetchRule, WorkerConfig, OperationConfig):
        for key in set(_keys(model)) - {"limits", "web", "peers", "tls", "keep_days", "rules", "certificate", "key"}:
            assert re.search(rf"^{key} = ", text, flags=re.MULTILINE), f"{key} is missing from docs/psdt.toml"
    assert "[operation.keep_days]" in text
    for key in (*_keys(Tls), *get_args(Kept)):
        assert f"#   {key} = " in text, f"{key} is missing from docs/psdt.toml"
    assert text.count("#   certificate = ") == text.count("#   key = ") == 2, "of the node, and of a web peer"


def _keys(model: type[BaseModel]) -> list[str]:
    return list(model.model_fields)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[worker]", "[wroker]", "wroker: unknown section; the nearest known section is 'worker'"),
        ("folder = ", "foldr = ", "foldr: unknown key; the nearest known key is 'folder'"),
        ('destination = "tps"', 'destination = "pacs"', r"no peer is called 'pacs' \(known: tps, vna\)"),
        ('casebook = "sqlite:///var/casebook.db"', 'casebook = "casebook.db"', "not a database URL: 'casebook.db'"),
        ("# quiet_s = 60.0", "quiet_s = -1", "quiet_s: Input should be greater than or equal to 0"),
        ("[node]", "[[node]]", r"\[node\] is no section"),
        ("[peers.tps]", "[[peers]]", "peers: Input should be a valid"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, before: str, after: str, message: str) -> None:
    path = tmp_path / "psdt.toml"
    path.write_text(EXAMPLE.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        load_config(path)


def test_operation(tmp_path: Path) -> None:
    path = tmp_path / "psdt.toml"
    text = EXAMPLE.read_text(encoding="utf-8").replace('# audit = ""', 'audit = "audit/log.xml"')
    path.write_text(text.replace("#   sent = 365.0", "sent = 365.0"), encoding="utf-8")
    operation = load_config(path).operation
    assert (operation.audit, dict(operation.keep_days)) == (str(tmp_path / "audit/log.xml"), {"sent": 365.0})
    path.write_text(text.replace("#   sent = 365.0", "proposed = 1.0"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="'sent' or 'discarded'"):
        load_config(path)


def test_the_worker_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "psdt.toml"
    path.write_text('[node]\nae_title = "PSDT"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"section \[worker\] is absent"):
        load_config(path)


def test_a_protocol_is_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "psdt.toml"
    path.write_text(EXAMPLE.read_text(encoding="utf-8").replace("# protocol", "protocol"), encoding="utf-8")
    assert load_config(path).worker.protocol == tmp_path / "protocol.toml"
