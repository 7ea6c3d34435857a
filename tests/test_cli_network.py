"""``psdt fetch`` and ``psdt doctor``, as a person calls them."""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_nodes import checks
from dicom_nodes.checks import Stand
from dicom_nodes.config import Peer
from dicom_nodes.index import Index
from dicom_nodes.listener import open_listener
from dicom_nodes.sender import send
from psdt_planner.cli import app
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.worker import load_config
from tests.dcmqr import dcmqrscp
from tests.network import free_port
from tests.nodes.objects import PATIENT_ID, PATIENT_NAME, write_set
from tests.nodes.test_tls import HOSPITAL, files

SETTINGS = """
[node]
ae_title = "PSDT"
port = {port}
storage = "objects"
index = "sqlite:///index.db"
accept_any_sender = true
[node.limits]
reserve_mb = 1
[peers.pacs]
host = "127.0.0.1"
port = {pacs}
ae_title = "QRSCP"
timeout_s = 5.0
{peer}
[fetch]
peer = "pacs"
[[fetch.rules]]
name = "CT"
modalities = ["CT"]
last = 1
[[fetch.rules]]
name = "PET"
modalities = ["PT"]
[worker]
casebook = "sqlite:///casebook.db"
folder = "plans"
destination = "pacs"
"""


def psdt(*words: object) -> int:
    return guarded(lambda: app([str(word) for word in words], standalone_mode=False))


def configure(folder: Path, pacs: int, port: int, peer: str = "") -> Path:
    path = folder / "psdt.toml"
    path.write_text(SETTINGS.format(port=port, pacs=pacs, peer=peer), encoding="utf-8")
    return path


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """An archive with one patient's set; its port, and ours that it knows."""
    ours = free_port()
    with dcmqrscp(tmp_path / "peer", ours) as port:
        peer = Peer(host="127.0.0.1", port=port, ae_title="QRSCP", timeout_s=10)
        send(write_set(tmp_path / "in", slices=3), peer, "PSDT")
        yield port, ours


@pytest.mark.peer
class TestFetch:
    @pytest.mark.parametrize("how", ["", 'retrieve = "get"'], ids=["move", "get"])
    def test_what_the_rules_want_comes(
        self, tmp_path: Path, pacs: tuple[int, int], how: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = configure(tmp_path, *pacs, how)
        assert psdt("fetch", "--patient", PATIENT_ID, "--config", config) == Exit.DONE
        printed = capsys.readouterr().out
        assert "whole" in printed
        assert "the archive holds nothing that fits" in printed
        index = Index(load_config(config).node.index)
        assert index.count() == 3
        index.close()

    def test_while_psdt_serve_listens(
        self, tmp_path: Path, pacs: tuple[int, int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = configure(tmp_path, *pacs)
        with open_listener(load_config(config).node, time.time):
            capsys.readouterr()
            assert psdt("fetch", "--patient", PATIENT_ID, "--config", config, "--json") == Exit.DONE
            document = json.loads(capsys.readouterr().out)
        (series,) = document["series"]
        assert (series["held"], series["objects"], series["completed"], series["short"]) == (3, 3, 3, "")
        assert (series["rules"], document["nothing_for"]) == (["CT"], ["PET"])

    def test_a_move_that_ends_short_is_told_with_its_counts(
        self, tmp_path: Path, pacs: tuple[int, int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The archive believes that we are somewhere else."""
        config = configure(tmp_path, pacs[0], free_port())
        assert psdt("fetch", "--patient", PATIENT_ID, "--config", config, "--json") == Exit.NETWORK
        (series,) = json.loads(capsys.readouterr().out)["series"]
        assert (series["held"], series["objects"]) == (0, 3)
        assert "0 of 3 are here" in series["short"]

    def test_a_patient_that_nobody_knows(self, tmp_path: Path, pacs: tuple[int, int]) -> None:
        assert psdt("fetch", "--patient", "NOBODY", "--config", configure(tmp_path, *pacs)) == Exit.HELD


def test_without_rules_nothing_is_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = configure(tmp_path, 1, 0)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("[fetch]")] + text[text.index("[worker]") :], encoding="utf-8")
    assert psdt("fetch", "--patient", "X", "--config", path) == Exit.CONFIGURATION
    assert "section [fetch] is absent" in capsys.readouterr().err


@pytest.mark.peer
class TestDoctor:
    def test_what_it_finds(
        self,
        tmp_path: Path,
        pacs: tuple[int, int],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(checks, "RELEASED_CLASSES", {})  # dcmtk's archive does not take all of them
        config = configure(tmp_path, *pacs)
        assert psdt("doctor", "--config", config, "--json") == Exit.DONE
        found = {one["what"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
        assert set(found) == {
            "port", "disk", "index", "clock", "decoders", "AE titles", "casebook", "plans", "peer pacs",
        }  # fmt: skip
        assert {name for name, one in found.items() if one["stand"] == "bad"} == set()
        assert found["peer pacs"]["detail"] == "answers (plain text), takes C-FIND, C-MOVE"
        assert found["decoders"]["detail"].startswith("all ")
        assert psdt("doctor", "--config", config) == Exit.DONE
        printed = capsys.readouterr().out
        assert "any AE title may send" in printed
        assert PATIENT_ID not in printed
        assert PATIENT_NAME not in printed

    def test_a_service_that_a_peer_does_not_take(
        self, tmp_path: Path, pacs: tuple[int, int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = configure(tmp_path, *pacs, 'confirm = "commitment"')
        assert psdt("doctor", "--config", config) == Exit.NETWORK
        assert "Storage Commitment" in capsys.readouterr().out


class TestDoctorAlone:
    def stands(self, config: Path) -> dict[str, Stand]:
        loaded = load_config(config)
        return {check.what: check.stand for check in checks.machine(loaded.node, time.time())}

    def test_a_peer_that_is_away_is_the_network(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = configure(tmp_path, free_port(), 0)
        assert psdt("doctor", "--config", config) == Exit.NETWORK
        assert "cannot be reached" in " ".join(capsys.readouterr().out.split())

    def test_a_port_that_another_program_has_is_the_configuration(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            config = configure(tmp_path, free_port(), taken.getsockname()[1])
            assert self.stands(config)["port"] is Stand.BAD
            assert psdt("doctor", "--config", config) == Exit.CONFIGURATION

    def test_a_port_that_psdt_itself_has_is_good(self, tmp_path: Path) -> None:
        config = configure(tmp_path, 1, free_port())
        with open_listener(load_config(config).node, time.time):
            assert self.stands(config)["port"] is Stand.GOOD

    def test_a_disk_below_its_reserve(self, tmp_path: Path) -> None:
        config = configure(tmp_path, 1, 0)
        config.write_text(config.read_text().replace("reserve_mb = 1", "reserve_mb = 999999999"))
        assert self.stands(config)["disk"] is Stand.BAD

    def test_a_clock_that_is_wrong(self, tmp_path: Path) -> None:
        node = load_config(configure(tmp_path, 1, 0)).node
        stands = {check.what: check for check in checks.machine(node, time.time() - 3600)}
        assert stands["clock"].stand is Stand.BAD
        assert re.fullmatch(r"36\d\d s from the disk's clock", stands["clock"].detail)

    @pytest.mark.parametrize(("kept", "stand"), [(True, Stand.GOOD), (False, Stand.WARN)])
    def test_a_clock_that_nothing_keeps_right(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kept: bool, stand: Stand
    ) -> None:
        monkeypatch.setattr(checks, "is_kept_right", lambda: kept)
        assert self.stands(configure(tmp_path, 1, 0))["clock"] is stand

    def test_a_database_that_cannot_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "index.db").write_bytes(b"this is no database, however long it is" * 9)
        config = configure(tmp_path, 1, 0)
        assert psdt("doctor", "--config", config) == Exit.CONFIGURATION

    def test_a_decoder_that_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Without:
            is_available = False

        monkeypatch.setattr(checks, "get_decoder", lambda _syntax: Without())
        assert self.stands(configure(tmp_path, 1, 0))["decoders"] is Stand.BAD

    def test_two_of_one_name(self, tmp_path: Path) -> None:
        config = configure(tmp_path, 1, 0)
        config.write_text(config.read_text().replace('"QRSCP"', '"PSDT"'))
        assert self.stands(config)["AE titles"] is Stand.WARN


@pytest.mark.parametrize("command", ["fetch", "doctor"])
def test_help_fits_on_a_screen_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert psdt(command, "--help") == Exit.DONE
    printed = capsys.readouterr().out
    assert f"psdt {command}" in printed.split("Example:")[1]
    assert len(printed.splitlines()) <= 40


@pytest.mark.parametrize(
    ("days", "stand", "words"),
    [(400, Stand.GOOD, "good for"), (10, Stand.WARN, "good for"), (-3, Stand.BAD, "it ended 3 days ago")],
)
def test_the_days_that_a_certificate_is_good_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, stand: Stand, words: str
) -> None:
    config = load_config(configure(tmp_path, 1, 0)).node
    shown = files(tmp_path / "node", HOSPITAL)
    monkeypatch.setattr(checks.tls, "days_left", lambda _path, _now_s: days)
    found = {one.what: one for one in checks.machine(config.model_copy(update={"tls": shown}), time.time())}
    assert found["certificate"].stand is stand
    assert words in found["certificate"].detail


def looked_at(folder: Path, days: float) -> dict[str, checks.Check]:
    """What is said of a peer whose certificate ends so many days from now."""
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days, hours=1)
    shown, theirs = files(folder / "peer", HOSPITAL, not_after=end), files(folder / "node", HOSPITAL)
    node = load_config(configure(folder, 1, 0)).node.model_copy(update={"tls": shown})
    with open_listener(node, time.time) as listener:
        there = Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=5, tls=theirs)
        asked = node.model_copy(update={"peers": {"other": there}, "ae_title": "SCANNER"})
        return {check.what: check for check in checks.peers(asked, "", "", time.time())}


@pytest.mark.parametrize(("days", "stand"), [(400, Stand.GOOD), (10, Stand.WARN)])
def test_over_tls_every_peer_is_asked_over_tls(tmp_path: Path, days: int, stand: Stand) -> None:
    found = looked_at(tmp_path, days)
    assert (found["peer other"].stand, found["peer other"].detail) == (Stand.GOOD, "answers (TLS)")
    assert found["certificate for other"].stand is Stand.GOOD
    theirs = found["certificate of other"]
    assert (theirs.stand, theirs.detail, theirs.is_peer) == (stand, f"good for {days} days", True)


def test_a_peer_whose_certificate_has_ended(tmp_path: Path) -> None:
    found = looked_at(tmp_path, -1)
    assert set(found) == {"peer other", "certificate for other"}
    assert found["peer other"].detail == "the peer's certificate is not accepted: certificate has expired"
