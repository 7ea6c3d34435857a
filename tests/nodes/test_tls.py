"""DICOM TLS: who gets in, who does not, and what either side hears; with dcmtk and openssl on the other side."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trustme

from dicom_nodes import tls
from dicom_nodes.config import NodeConfig, Peer, Tls, node_config
from dicom_nodes.errors import ConfigurationError, PeerError
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.query import echo
from dicom_nodes.sender import send
from dicom_nodes.server import HANDSHAKE_S
from dicom_nodes.statuses import Meaning
from dicom_nodes.storage import Storage
from tests.network import run_storescu, wait_until
from tests.nodes.objects import write_set
from tests.peers import require_peer

HOSPITAL, ELSEWHERE = trustme.CA(organization_name="Hospital"), trustme.CA(organization_name="Elsewhere")


def files(
    folder: Path,
    signer: trustme.CA,
    trusted: trustme.CA = HOSPITAL,
    name: str = "127.0.0.1",
    not_after: dt.datetime | None = None,
) -> Tls:
    """A key and a certificate for ``name`` that ``signer`` has signed, and the authority that its owner believes."""
    folder.mkdir()
    made = signer.issue_cert(name, not_after=not_after)
    made.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    for blob in made.cert_chain_pems:
        blob.write_to_path(folder / "certificate.pem", append=True)
    trusted.cert_pem.write_to_path(folder / "authorities.pem")
    return Tls(certificate=folder / "certificate.pem", key=folder / "key.pem", authorities=folder / "authorities.pem")


@pytest.fixture
def ours(tmp_path: Path) -> Tls:
    return files(tmp_path / "node", HOSPITAL)


@pytest.fixture
def theirs(tmp_path: Path) -> Tls:
    return files(tmp_path / "peer", HOSPITAL)


@pytest.fixture
def secure(config: NodeConfig, ours: Tls, storage: Storage, index: Index) -> Iterator[Listener]:
    """A node that is spoken to over TLS only."""
    with Listener(config.model_copy(update={"tls": ours}), storage, index, lambda: 0.0) as listener:
        yield listener


def peer(listener: Listener, shown: Tls | None, **more: str) -> Peer:
    return Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=5, tls=shown, **more)


def handshake(listener: Listener, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection on which the node has said what it thinks of our certificate."""
    connection = context.wrap_socket(
        socket.create_connection(("127.0.0.1", listener.port), 5), server_hostname="127.0.0.1"
    )
    connection.settimeout(0.5)
    try:
        connection.recv(1)
    except TimeoutError:
        return connection
    except OSError:
        connection.close()
        raise
    raise AssertionError("the node spoke first, or closed without a word")


def dcmtk(shown: Tls, *options: str) -> list[str]:
    return ["+tls", str(shown.key), str(shown.certificate), "+cf", str(shown.authorities), *options]


@pytest.mark.peer
def test_dcmtk_sends_over_tls(tmp_path: Path, secure: Listener, theirs: Tls, index: Index) -> None:
    sent = run_storescu(write_set(tmp_path / "set", slices=2), secure.port, "PSDT", "STORESCU", *dcmtk(theirs))
    assert (sent.returncode, index.count()) == (0, 5)


def test_we_send_over_tls(tmp_path: Path, secure: Listener, theirs: Tls, index: Index) -> None:
    echo(peer(secure, theirs), "SCANNER")
    sent = send(write_set(tmp_path / "set", slices=1), peer(secure, theirs), "SCANNER")
    assert [one.meaning for one in sent] == [Meaning.SUCCESS] * 3
    assert index.count() == 3
    with pytest.raises(PeerError, match="cannot be reached, or aborted"):
        echo(peer(secure, None), "SCANNER")
    with pytest.raises(PeerError, match="cannot be reached, or aborted"):
        echo(peer(secure, theirs, tls_name="pacs.hospital"), "SCANNER")


@pytest.mark.peer
def test_dcmtk_with_a_certificate_of_another_authority_is_kept_out(
    tmp_path: Path, secure: Listener, index: Index
) -> None:
    stranger = files(tmp_path / "stranger", ELSEWHERE)
    with structlog.testing.capture_logs() as logs:
        sent = run_storescu(write_set(tmp_path / "set", slices=1), secure.port, "PSDT", "STORESCU", *dcmtk(stranger))
    assert (sent.returncode != 0, index.count()) == (True, 0)
    (refused,) = [line for line in logs if line["event"] == "connection refused"]
    assert refused["reason"].startswith("the peer's certificate is not accepted: ")


@pytest.mark.peer
def test_dcmtk_does_not_take_a_node_of_another_authority(tmp_path: Path, secure: Listener, index: Index) -> None:
    doubting = files(tmp_path / "doubting", HOSPITAL, trusted=ELSEWHERE)
    sent = run_storescu(write_set(tmp_path / "set", slices=1), secure.port, "PSDT", "STORESCU", *dcmtk(doubting))
    assert (sent.returncode != 0, index.count()) == (True, 0)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("options", "agreed"),
    [
        (["-tls1_2"], "TLSv1.2"),
        (["-tls1_3"], "TLSv1.3"),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256:AES128-GCM-SHA256"], None),
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], None),
    ],
    ids=["TLS 1.2", "TLS 1.3", "suites without AEAD or ephemeral keys", "TLS 1.1"],
)
def test_what_openssl_agrees_on(secure: Listener, theirs: Tls, options: list[str], agreed: str | None) -> None:
    require_peer("openssl")
    shown = ["-cert", str(theirs.certificate), "-key", str(theirs.key), "-CAfile", str(theirs.authorities)]
    command = ["openssl", "s_client", "-brief", "-connect", f"127.0.0.1:{secure.port}", *shown, *options]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)
    if agreed is None:
        assert done.returncode != 0
        assert "alert" in done.stderr
    else:
        assert f"Protocol version: {agreed}" in done.stderr
        assert "GCM" in done.stderr or "CHACHA20" in done.stderr
        assert "Verification: OK" in done.stderr


def test_without_a_certificate_nobody_gets_in(secure: Listener) -> None:
    context = ssl.create_default_context()
    HOSPITAL.configure_trust(context)
    with structlog.testing.capture_logs() as logs:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            handshake(secure, context)
        wait_until(lambda: bool(logs))
    assert logs[0]["reason"] == "TLS: peer did not return a certificate"


def test_plain_text_at_a_tls_port(tmp_path: Path, secure: Listener, index: Index) -> None:
    with structlog.testing.capture_logs() as logs:
        assert run_storescu(write_set(tmp_path, slices=1), secure.port, "PSDT").returncode != 0
        wait_until(lambda: any(line["event"] == "connection refused" for line in logs))
    assert index.count() == 0
    (refused,) = [line for line in logs if line["event"] == "connection refused"]
    assert refused["reason"] == "TLS: wrong version number"


def test_a_silent_peer_keeps_nobody_out(secure: Listener, theirs: Tls) -> None:
    wanted = tls.outgoing(peer(secure, theirs))
    assert wanted is not None
    with socket.create_connection(("127.0.0.1", secure.port)):
        start = time.monotonic()
        handshake(secure, wanted[0]).close()
        assert time.monotonic() - start < HANDSHAKE_S / 2


def test_why_a_peer_cannot_be_reached_over_tls(
    tmp_path: Path, secure: Listener, theirs: Tls, listener_in_plain: Listener
) -> None:
    assert tls.trouble(peer(secure, theirs)) == ""
    assert tls.trouble(peer(secure, None)) == ""
    stranger = files(tmp_path / "stranger", ELSEWHERE)
    assert tls.trouble(peer(secure, stranger)) == "TLS failed: tlsv1 alert unknown ca"
    doubting = files(tmp_path / "doubting", HOSPITAL, trusted=ELSEWHERE)
    assert tls.trouble(peer(secure, doubting)).startswith("the peer's certificate is not accepted: self-signed")
    named = peer(secure, theirs, tls_name="pacs.hospital")
    assert "Hostname mismatch, certificate is not valid for 'pacs.hospital'" in tls.trouble(named)
    assert "not a TLS port" in tls.trouble(peer(listener_in_plain, theirs))


@pytest.fixture
def listener_in_plain(tmp_path: Path, config: NodeConfig) -> Iterator[Listener]:
    index = Index(f"sqlite:///{tmp_path}/plain.db")
    with Listener(config, Storage(tmp_path / "plain"), index, lambda: 0.0) as listener:
        yield listener
    index.close()


def test_a_key_that_others_may_read_is_refused(ours: Tls) -> None:
    ours.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"others may read the TLS key.*chmod 600"):
        tls.incoming(ours)


def test_files_that_do_not_belong_together_or_are_none(tmp_path: Path, ours: Tls, theirs: Tls) -> None:
    with pytest.raises(ConfigurationError, match="do not belong together"):
        tls.incoming(ours.model_copy(update={"key": theirs.key}))
    with pytest.raises(ConfigurationError, match="the TLS key cannot be read: No such file"):
        tls.incoming(ours.model_copy(update={"key": tmp_path / "absent"}))
    with pytest.raises(ConfigurationError, match="TLS cannot be set up: No such file"):
        tls.incoming(ours.model_copy(update={"authorities": tmp_path / "absent"}))


def test_a_key_with_a_password(ours: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password comes from the environment; without it nothing is asked on a terminal."""
    require_peer("openssl")
    plain = ours.key.rename(ours.key.with_suffix(".plain"))
    command = ["openssl", "pkey", "-in", str(plain), "-aes256", "-passout", "pass:of-the-key", "-out", str(ours.key)]
    subprocess.run(command, check=True, timeout=20)
    with pytest.raises(ConfigurationError, match="no PEM, no password"):
        tls.incoming(ours)
    monkeypatch.setenv(tls.KEY_PASSWORD, "of-the-key")
    assert tls.incoming(ours).verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("days", [-3, 12, 40_000], ids=["expired", "soon", "past 2050"])
def test_days_until_a_certificate_ends(tmp_path: Path, days: int) -> None:
    end = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=days)
    start = end - dt.timedelta(days=90)
    path = tmp_path / "certificate.pem"
    HOSPITAL.issue_cert("node", not_before=start, not_after=end).cert_chain_pems[0].write_to_path(path)
    assert tls.days_left(path, end.timestamp() - days * 86400) == days
    with pytest.raises(ConfigurationError, match="not a certificate"):
        tls.days_left(tmp_path, 0.0)


NODE = {"ae_title": "PSDT", "storage": "objects", "index": "sqlite:///index.db", "accept_any_sender": True}
FILES = {"certificate": "a.pem", "key": "b.pem", "authorities": "/etc/ca.pem"}
PACS = {"host": "pacs.hospital", "port": 2762, "ae_title": "PACS"}


def read(node: dict[str, object], **peers: dict[str, object]) -> NodeConfig:
    return node_config({"node": NODE | node, "peers": peers}, "psdt.toml", Path("/etc/psdt"))


def test_plain_text_leaves_the_machine_only_where_the_configuration_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"no TLS on 10\.1\.2\.3: .*plain = true under \[node\]"):
        read({"host": "10.1.2.3"})
    with pytest.raises(ConfigurationError, match=r"no TLS with pacs: .*plain = true under \[peers\.pacs\]"):
        read({}, pacs=PACS)
    assert read({"host": "10.1.2.3", "plain": True}).listens_in_plain
    assert read({}, pacs=PACS | {"plain": True}).peer("pacs").tls is None
    assert read({}, pacs=PACS | {"host": "127.0.0.1"}).listens_in_plain


def test_with_tls_everything_is_tls_but_what_is_called_plain() -> None:
    made = read({"host": "10.1.2.3", "tls": FILES}, pacs=PACS, tps=PACS | {"plain": True}, own=PACS | {"tls": FILES})
    assert not made.listens_in_plain
    expected = Tls(certificate=Path("/etc/psdt/a.pem"), key=Path("/etc/psdt/b.pem"), authorities=Path("/etc/ca.pem"))
    assert (made.tls, made.peer("pacs").tls, made.peer("tps").tls) == (expected, expected, None)
    assert made.peer("own").tls == expected
    assert read({"host": "10.1.2.3", "tls": FILES, "plain": True}, pacs=PACS).listens_in_plain
