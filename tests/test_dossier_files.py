"""Files that appear whole or not at all, protocols from files, and exit statuses by who must act."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_nodes import errors as node_errors
from psdt_planner import errors
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.dossier import load_protocol
from psdt_planner.dossier.files import remove, write_whole


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "plan.json", b"one")
    write_whole(tmp_path / "plan.json", b"two")
    assert (tmp_path / "plan.json").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_file_that_cannot_be_put_in_place_leaves_the_old_one_and_no_crumbs(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    target.mkdir()
    (target / "kept").write_text("as it was")
    with pytest.raises(OSError, match=r"plan\.json"):
        write_whole(target, b"new")
    assert (target / "kept").read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_file_is_removed_and_removing_nothing_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "rtstruct.dcm").write_bytes(b"stale")
    remove(tmp_path / "rtstruct.dcm")
    remove(tmp_path / "rtstruct.dcm")
    assert list(tmp_path.iterdir()) == []


def test_without_a_file_the_shipped_demonstration_is_the_protocol() -> None:
    protocol = load_protocol(None)
    assert (protocol.name, protocol.status) == ("psdt-crpc", "demo")


def test_a_protocol_is_called_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text('schema = 1\nbase = "psdt-crpc"\ntitle = "Ours"\n', encoding="utf-8")
    protocol = load_protocol(tmp_path / "ours.toml")
    assert (protocol.name, protocol.title) == ("ours", "Ours")


@pytest.mark.parametrize("data", [None, b"\xff\xfe not text", b"schema = 1"])
def test_a_protocol_that_cannot_be_read_is_the_clinics(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "ours.toml").write_bytes(data)
    with pytest.raises(errors.ConfigurationError):
        load_protocol(tmp_path / "ours.toml")


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (errors.InputError("x"), Exit.HELD),
        (errors.GeometryError("x"), Exit.HELD),
        (errors.DecisionNeededError("x"), Exit.HELD),
        (errors.ProtocolError("x"), Exit.CONFIGURATION),
        (node_errors.ConfigurationError("x"), Exit.CONFIGURATION),
        (PermissionError(13, "denied"), Exit.CONFIGURATION),
        (errors.PeerError("x"), Exit.NETWORK),
        (node_errors.PeerError("x"), Exit.NETWORK),
        (errors.ReadBackError("x"), Exit.FAULT),
        (node_errors.FaultError("x"), Exit.FAULT),
        (ZeroDivisionError("x"), Exit.FAULT),
        (KeyboardInterrupt(), Exit.HELD),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.name,
)
def test_the_exit_status_says_who_must_act(
    raised: BaseException, status: Exit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PSDT_DEBUG", raising=False)

    def run() -> int:
        raise raised

    assert guarded(run) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert printed.err.strip()


def test_a_run_that_ends_well_is_done() -> None:
    assert guarded(lambda: None) == Exit.DONE
    assert guarded(lambda: 1) == Exit.HELD


def test_an_unexpected_error_is_shown_whole_to_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSDT_DEBUG", "1")

    def run() -> int:
        raise ZeroDivisionError("where it happened")

    with pytest.raises(ZeroDivisionError, match="where it happened"):
        guarded(run)


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = errors.InputError("two CT series", where="1.2.3", todo="Send one.")
    assert str(error) == "two CT series [1.2.3]. Send one."
