"""``psdt protocol``: tables on the screen, complaints, a signature that a change voids, and differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from psdt_planner.cli import app
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.errors import ConfigurationError, ProtocolError
from psdt_planner.shipped import load_protocol, shipped_protocol, signature_of

CLINIC = """schema = 1
base = "psdt-crpc"
title = "House protocol"
status = "clinical"
signer = "A. Physicist"

[targets]
warn_above = 2
max = 3
source = "House rule 7"
place = "page 1"
basis = "read"
certainty = "H"
"""


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    file = tmp_path / "clinic.toml"
    file.write_text(CLINIC, encoding="utf-8")
    return file


def run(*arguments: str) -> int:
    return guarded(lambda: app(["protocol", *arguments], standalone_mode=False))


def test_show_has_a_row_a_regimen_with_name_source_and_certainty(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "--site", "brain") == Exit.DONE
    text = " ".join(capsys.readouterr().out.split())
    assert "psdt-crpc" in text
    assert "demo, nobody has signed" in text
    for row in shipped_protocol().sites["brain"].regimens:
        assert f"{row.dose_gy:g}/{row.fractions}" in text
    assert "_2400x1" in text


def test_show_of_an_organ_asks_its_sources_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "--organ", "SpinalCord") == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    sets = [word for line in lines for word in line.split() if word in ("hytec", "uk-2022", "tg-101")]
    assert list(dict.fromkeys(sets)) == ["hytec", "uk-2022", "tg-101"]
    assert run("show", "--organ", "BrachialPlex") == Exit.DONE
    assert "?" in capsys.readouterr().out


def test_show_of_what_nobody_knows_is_a_mistake_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "--site", "spin") == Exit.USAGE
    assert "spin is none of" in " ".join(capsys.readouterr().err.split())


def test_check_of_what_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check") == Exit.DONE
    assert "psdt-crpc holds (demo): 16 sites" in capsys.readouterr().out


def test_check_prints_every_complaint(clinic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clinic.write_text(CLINIC.replace("max = 3", "max = 1").replace('"House rule 7"', '""'), encoding="utf-8")
    assert run("check", str(clinic)) == Exit.CONFIGURATION
    out = capsys.readouterr().out
    assert "clinic.toml, line 10, targets.source: String should have at least 3 characters" in " ".join(out.split())
    clinic.write_text(CLINIC.replace("max = 3", "max = 1"), encoding="utf-8")
    assert run("check", str(clinic)) == Exit.CONFIGURATION
    assert "targets.warn_above: the warning comes after the limit" in " ".join(capsys.readouterr().out.split())


def test_a_signature_holds_until_the_file_changes(clinic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProtocolError, match="nobody has signed"):
        load_protocol(clinic)
    assert run("check", str(clinic)) == Exit.CONFIGURATION

    assert run("sign", str(clinic), "--by", "A. Physicist") == Exit.DONE
    assert signature_of(clinic).name == "clinic.signed.toml"
    protocol = load_protocol(clinic)
    assert (protocol.status, protocol.signer, protocol.targets.max) == ("clinical", "A. Physicist", 3)
    assert run("check", str(clinic)) == Exit.DONE

    clinic.write_text(CLINIC.replace("page 1", "page 2"), encoding="utf-8")
    with pytest.raises(ProtocolError, match="the signature is void"):
        load_protocol(clinic)
    capsys.readouterr()
    assert run("check", str(clinic)) == Exit.CONFIGURATION
    assert "the signature is void" in " ".join(capsys.readouterr().out.split())


def test_a_signature_of_another_person_or_of_nothing_is_refused(clinic: Path) -> None:
    assert run("sign", str(clinic), "--by", "A. Physicist") == Exit.DONE
    signed = signature_of(clinic).read_text(encoding="utf-8")
    signature_of(clinic).write_text(signed.replace("A. Physicist", "B. Physicist"), encoding="utf-8")
    with pytest.raises(ProtocolError, match=r"was signed by B\. Physicist"):
        load_protocol(clinic)
    signature_of(clinic).write_text("no toml [", encoding="utf-8")
    with pytest.raises(ProtocolError, match="its signature cannot be read"):
        load_protocol(clinic)


def test_only_the_signer_signs_and_no_demonstration(clinic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sign", str(clinic), "--by", "B. Physicist") == Exit.CONFIGURATION
    assert "names A. Physicist as its signer" in " ".join(capsys.readouterr().err.split())
    clinic.write_text(CLINIC.replace('"clinical"', '"demo"'), encoding="utf-8")
    assert run("sign", str(clinic), "--by", "A. Physicist") == Exit.CONFIGURATION
    assert not signature_of(clinic).exists()


def test_diff_names_each_row_that_differs(clinic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", str(clinic)) == Exit.DONE
    text = capsys.readouterr().out
    for place in ("targets.max", "targets.warn_above", "targets.source", "title", "signer", "status"):
        assert place in text
    assert "sites.spine" not in text
    assert run("diff", str(clinic), str(clinic)) == Exit.DONE
    assert "clinic says what clinic says" in capsys.readouterr().out


def test_a_base_that_nobody_knows_is_the_clinics(clinic: Path) -> None:
    clinic.write_text(CLINIC.replace("psdt-crpc", "psdt-other"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no protocol is called 'psdt-other'"):
        load_protocol(clinic)


@pytest.mark.parametrize("command", ["show", "check", "sign", "diff"])
def test_each_help_has_an_example_and_fits_a_screen(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == Exit.DONE
    help_text = capsys.readouterr().out
    assert f"psdt protocol {command}" in help_text
    assert "Example:" in help_text
    assert len(help_text.splitlines()) <= 32
