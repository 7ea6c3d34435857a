"""The conformance statement says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_nodes import admission, commitment_scp, server, services, statuses, tls
from dicom_nodes.commitment import PUSH_MODEL
from dicom_nodes.config import Limits
from dicom_nodes.query import STUDY_ROOT_FIND
from dicom_nodes.retrieve import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_nodes.storage import IMPLEMENTATION_CLASS_UID
from tests.nodes.test_faults import FAULTS, NO_TLS, TLS_FAULTS

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
CALLS = re.compile(r"build_context\(([^,()\]]+)")


def table(title: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    below = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_sop_classes_and_roles() -> None:
    both = {services.VERIFICATION, *services.STORAGE_CLASSES, PUSH_MODEL}
    asked = {STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET}
    expected = {str(uid): "SCP, SCU" for uid in both} | {str(uid): "SCU" for uid in asked}
    rows = table("SOP classes")
    assert {uid: roles for _, uid, roles in rows} == expected
    assert len(rows) == len(expected)


def test_every_context_that_the_code_builds_is_on_the_page() -> None:
    """A service that somebody adds cannot be forgotten here: its name would be a new one."""
    code = "".join(path.read_text(encoding="utf-8") for path in Path(services.__file__).parent.glob("*.py"))
    assert set(CALLS.findall(code)) == {
        "PUSH_MODEL", "STUDY_ROOT_FIND", "STUDY_ROOT_GET", "STUDY_ROOT_MOVE", "VERIFICATION", "uid", "*pair",
    }  # fmt: skip


def test_transfer_syntaxes_in_the_order_of_choice() -> None:
    assert [uid for _, uid in table("Transfer syntaxes")] == [str(uid) for uid in services.TRANSFER_SYNTAXES]


@pytest.mark.parametrize(
    "syntax", [uid for uid in services.TRANSFER_SYNTAXES if uid.is_compressed], ids=lambda u: u.name
)
def test_each_compressed_syntax_has_a_decoder_that_is_installed(syntax: str) -> None:
    if syntax != DeflatedExplicitVRLittleEndian:  # inflated by zlib, not decoded
        assert get_decoder(syntax).available_plugins


def test_statuses_that_are_returned_and_what_is_made_of_those_that_come() -> None:
    returned = [[f"{row.code:04X}", row.name, row.returned_when] for row in statuses.TABLE if row.returned_when]
    assert table("Storage as SCP") == returned
    taken = [
        [
            f"{row.code:04X}" if row.code == row.last else f"{row.code:04X} to {row.last:04X}",
            row.name,
            row.meaning.value,
            row.next.value,
        ]
        for row in statuses.TABLE
    ]
    assert table("Storage as SCU") == taken


def test_rejections() -> None:
    rows = [[f"{r.result}, {r.source}, {r.diagnostic}", r.reason] for r in admission.REFUSALS]
    assert table("Associations that are rejected")[:-1] == rows


def test_commitment() -> None:
    reasons = {commitment_scp.PROCESSING_FAILURE, commitment_scp.NO_SUCH_OBJECT, commitment_scp.CLASS_CONFLICT}
    assert {int(code, 16) for code, _ in table("Storage commitment")} == reasons
    statuses_of_ours = (
        commitment_scp.NOT_KEPT,
        commitment_scp.INVALID_ARGUMENT,
        commitment_scp.NO_SUCH_ACTION,
        commitment_scp.TOO_MANY,
    )
    for status in statuses_of_ours:
        assert f"with {status:04X}" in PAGE
    assert (commitment_scp.FIRST_PAUSE_S, commitment_scp.LONGEST_PAUSE_S, commitment_scp.KEPT_S) == (1, 3600, 7 * 86400)
    assert commitment_scp.MOST_OPEN == 1000
    assert "pauses that double from 1 s to an hour, for a week" in " ".join(PAGE.split())
    assert "while 1000 others wait" in PAGE


def test_numbers() -> None:
    limits = Limits()
    assert f"{limits.maximum_pdu_bytes} bytes" in PAGE
    for name in ("connections", "associations", "associations_per_sender", "associations_per_minute"):
        assert f"{getattr(limits, name)}" in PAGE
        assert f"`{name}`" in PAGE
    assert f"aborted after {limits.network_timeout_s:g} s" in PAGE
    assert f"closes after {server.HANDSHAKE_S:g} s" in PAGE
    assert IMPLEMENTATION_CLASS_UID in PAGE


def test_security() -> None:
    assert tls.SUITES_1_2 == "ECDHE+AESGCM"
    assert "TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM" in PAGE


def test_faults_are_those_that_are_tested() -> None:
    messages = [message for _, message in [*FAULTS.values(), *NO_TLS.values()]]
    messages += [message for _, _, message in TLS_FAULTS.values()]
    told = " ".join(log for _, _, log in table("When a connection fails"))
    for message in messages:
        assert re.sub(r"\b1 s\b", "N s", message) in told
