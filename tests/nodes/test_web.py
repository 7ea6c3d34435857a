"""DICOMweb: what goes out and comes in are files byte for byte, and every instance's fate is read."""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dicom_nodes import checks, web
from dicom_nodes.checks import Stand
from dicom_nodes.config import NodeConfig, Tls, WebPeer, node_config
from dicom_nodes.errors import ConfigurationError, PeerError
from dicom_nodes.read_back import find_each, get_each
from dicom_nodes.statuses import Meaning, Next
from dicom_nodes.tls import incoming
from dicom_nodes.web import find, retrieve, store_each
from tests.network import free_port
from tests.nodes.objects import PATIENT_ID, dataset_bytes, make, uid, uid_of, write
from tests.nodes.test_tls import ELSEWHERE, HOSPITAL, files
from tests.orthanc import start_orthanc


@dataclass
class Archive:
    """An HTTP server that answers what it is told, and remembers what it got."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/dicom+json"
    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    first: list[bytes] = field(default_factory=list)
    """Bodies that are given before ``body``, one to each request."""

    @property
    def peer(self) -> WebPeer:
        return WebPeer(url=f"http://127.0.0.1:{self.port}/dicom-web", timeout_s=30)

    def says(self, status: int, values: object) -> Archive:
        self.status, self.body = status, json.dumps(values).encode()
        return self


@contextmanager
def serving(made: Archive, context: ssl.SSLContext | None = None) -> Iterator[Archive]:
    """The archive on a port of its own, over TLS where there is a context."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made.requests.append((self.path, dict(self.headers), body))
            answer = made.first.pop(0) if made.first else made.body
            self.send_response(made.status)
            self.send_header("Content-Type", made.content_type)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture
def archive() -> Iterator[Archive]:
    with serving(Archive()) as made:
        yield made


def outputs(folder: Path) -> list[Path]:
    return [write(make(kind, 1), folder) for kind in ("RTSTRUCT", "REG", "DOC")]


def item(name: str, tag: str = "", code: int = 0) -> dict[str, object]:
    made: dict[str, object] = {"00081155": {"vr": "UI", "Value": [name]}}
    return made | ({tag: {"vr": "US", "Value": [code]}} if tag else {})


WARNING, FAILURE = "00081196", "00081197"


class TestStoring:
    def test_each_instance_is_told_apart(self, archive: Archive, tmp_path: Path) -> None:
        files = outputs(tmp_path)
        first, second, third = map(uid_of, files)
        archive.says(
            202,
            {
                "00081199": {"vr": "SQ", "Value": [item(first), item(second, WARNING, 0xB000)]},
                "00081198": {"vr": "SQ", "Value": [item(third, FAILURE, 0xA900)]},
            },
        )
        sent = list(store_each(files, archive.peer))
        assert [(one.sop_instance_uid, one.status, one.meaning, one.next) for one in sent] == [
            (first, 0, Meaning.SUCCESS, Next.DONE),
            (second, 0xB000, Meaning.WARNING, Next.LOOK),
            (third, 0xA900, Meaning.FAILURE, Next.GIVE_UP),
        ]
        assert "(A900)" in sent[2].reason

    def test_files_leave_as_they_lie_on_disk_in_one_request(self, archive: Archive, tmp_path: Path) -> None:
        files = outputs(tmp_path)
        list(store_each(files, archive.peer))
        ((path, headers, body),) = archive.requests
        assert path == "/dicom-web/studies"
        boundary = headers["Content-Type"].split("boundary=")[1].encode()
        parts = body.split(b"--" + boundary)[1:-1]
        assert [part.split(b"\r\n\r\n", 1)[1][:-2] for part in parts] == [file.read_bytes() for file in files]

    @pytest.mark.parametrize(
        ("code", "then"),
        [(0xA700, Next.RETRY), (0x0110, Next.RETRY), (0x0122, Next.GIVE_UP), (0xC000, Next.GIVE_UP), (0, Next.RETRY)],
        ids=lambda value: f"{value:04X}" if isinstance(value, int) else "",
    )
    def test_reasons_of_failure_decide_what_to_do(
        self, archive: Archive, tmp_path: Path, code: int, then: Next
    ) -> None:
        """A failure without a reason counts as a processing failure."""
        file = outputs(tmp_path)[0]
        archive.says(409, {"00081198": {"vr": "SQ", "Value": [item(uid_of(file), FAILURE, code)]}})
        (sent,) = store_each([file], archive.peer)
        assert (sent.meaning, sent.next) == (Meaning.FAILURE, then)

    @pytest.mark.parametrize(
        ("status", "then", "reason"),
        [
            (200, Next.RETRY, "does not say what became of it"),
            (401, Next.GIVE_UP, "does not let us in"),
            (403, Next.GIVE_UP, "does not let us in"),
            (404, Next.GIVE_UP, "refuses it"),
            (429, Next.RETRY, "refuses it"),
            (503, Next.RETRY, "refuses it"),
        ],
    )
    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"00081199": 7}', b"[]"])
    def test_an_answer_that_names_no_instance(  # noqa: PLR0917
        self, archive: Archive, tmp_path: Path, status: int, then: Next, reason: str, body: bytes
    ) -> None:
        archive.status, archive.body = status, body
        (sent,) = store_each(outputs(tmp_path)[:1], archive.peer)
        assert (sent.status, sent.meaning, sent.next) == (None, Meaning.FAILURE, then)
        assert sent.reason == f"the archive {reason} (HTTP {status})"

    def test_an_archive_that_is_away(self, tmp_path: Path) -> None:
        peer = WebPeer(url=f"http://127.0.0.1:{free_port()}", timeout_s=1)
        sent = list(store_each(outputs(tmp_path), peer))
        assert {(one.status, one.next) for one in sent} == {(None, Next.RETRY)}
        assert sent[0].reason == "the archive cannot be reached: ConnectionError"

    def test_a_file_that_cannot_be_read_does_not_keep_the_others(self, archive: Archive, tmp_path: Path) -> None:
        good = outputs(tmp_path)[0]
        (tmp_path / "garbage.dcm").write_bytes(b"not DICOM")
        archive.says(200, {"00081199": {"vr": "SQ", "Value": [item(uid_of(good))]}})
        sent = {one.path.name: one.meaning for one in store_each([tmp_path / "garbage.dcm", good], archive.peer)}
        assert sent == {"garbage.dcm": Meaning.FAILURE, good.name: Meaning.SUCCESS}

    def test_much_goes_in_several_requests(
        self, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = outputs(tmp_path)
        monkeypatch.setattr(web, "LOT_BYTES", files[0].stat().st_size + files[1].stat().st_size)
        list(store_each(files, archive.peer))
        assert len(archive.requests) == 2


class TestAsking:
    def test_no_match_is_an_empty_answer(self, archive: Archive) -> None:
        archive.status = 204
        assert find(archive.peer, "STUDY", {"PatientID": "NOBODY"}) == []

    @pytest.mark.parametrize("status", [401, 500])
    def test_a_refusal_names_no_patient(self, archive: Archive, status: int) -> None:
        archive.status = status
        with pytest.raises(PeerError, match=f"QIDO-RS failed: HTTP {status}") as caught:
            find(archive.peer, "STUDY", {"PatientID": PATIENT_ID})
        assert PATIENT_ID not in str(caught.value)

    @pytest.mark.parametrize(
        ("content_type", "body", "message"),
        [
            ("application/dicom", b"", "no multipart/related"),
            ("multipart/related; boundary=x", b"--x\r\n\r\nhalf a file", "cut short"),
        ],
    )
    def test_an_answer_that_is_not_whole(self, archive: Archive, content_type: str, body: bytes, message: str) -> None:
        archive.content_type, archive.body = content_type, body
        with pytest.raises(PeerError, match=message):
            list(retrieve(archive.peer, "1.2", "1.3"))

    def test_parts_come_byte_for_byte(self, archive: Archive) -> None:
        parts = [b"\r\n--almost\r\n\r\n", bytes(range(256))]
        archive.content_type = 'multipart/related; type="application/dicom"; boundary="x.y"'
        archive.body = b"".join(b"--x.y\r\nA: b\r\n\r\n" + part + b"\r\n" for part in parts) + b"--x.y--"
        assert list(retrieve(archive.peer, "1.2", "1.3")) == parts


class TestSecrets:
    def test_a_user_and_a_file(self, archive: Archive, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("open sesame\n")
        secret.chmod(0o600)
        peer = archive.peer.model_copy(update={"user": "psdt", "secret_file": secret})
        archive.status = 204
        find(peer, "STUDY", {})
        expected = base64.b64encode(b"psdt:open sesame").decode()
        assert archive.requests[0][1]["Authorization"] == f"Basic {expected}"
        assert "sesame" not in repr(peer) + str(peer.model_dump())

    def test_a_token_from_the_environment(self, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PSDT_TEST_TOKEN", "t0ken")
        archive.status = 204
        find(archive.peer.model_copy(update={"secret_env": "PSDT_TEST_TOKEN"}), "STUDY", {})
        assert archive.requests[0][1]["Authorization"] == "Bearer t0ken"

    def test_a_file_that_others_may_read_is_refused(self, archive: Archive, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("open sesame")
        secret.chmod(0o644)
        with pytest.raises(ConfigurationError, match="others may read a secret") as caught:
            find(archive.peer.model_copy(update={"secret_file": secret}), "STUDY", {})
        assert "sesame" not in str(caught.value)
        assert archive.requests == []

    def test_what_is_not_there(self, archive: Archive, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="variable that holds a secret is not set"):
            find(archive.peer.model_copy(update={"secret_env": "PSDT_NOT_SET"}), "STUDY", {})
        with pytest.raises(ConfigurationError, match="a secret cannot be read"):
            find(archive.peer.model_copy(update={"secret_file": tmp_path / "none"}), "STUDY", {})


NODE = {"ae_title": "PSDT", "storage": "objects", "index": "sqlite:///index.db", "senders": ["SCANNER"]}


def configured(**peer: object) -> NodeConfig:
    return node_config({"node": NODE, "peers": {"vna": peer}}, "psdt.toml", Path("/etc/psdt"))


class TestConfiguration:
    def test_a_peer_with_a_url_speaks_dicomweb(self) -> None:
        config = configured(url="https://vna.hospital/dicom-web", secret_file="vna.secret")  # noqa: S106  (the name of a file)
        peer = config.any_peer("vna")
        assert isinstance(peer, WebPeer)
        assert peer.secret_file == Path("/etc/psdt/vna.secret")
        assert config.allowed_senders == ("SCANNER",)
        with pytest.raises(ConfigurationError, match="vna speaks DICOMweb"):
            config.peer("vna")

    @pytest.mark.parametrize(
        ("peer", "message"),
        [
            ({"url": "https://h/", "prot": 1}, "peers.vna.prot: unknown key; the nearest known key is "),
            ({"url": "ftp://h/"}, "url: write https://HOST/PATH"),
            ({"url": "https://u:sesame@h/"}, "url: no user or password here"),
            ({"url": "https://h/", "key": "a.key"}, "certificate and key belong together"),
            ({"url": "http://vna.hospital/"}, "no TLS with vna.hospital: write https, or plain = true"),
            ({"url": "https://h/", "confirm": "commitment"}, "peers.vna.confirm: Input should be"),
        ],
    )
    def test_each_mistake_is_named(self, peer: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            configured(**peer)
        assert message in str(caught.value)
        assert "sesame" not in str(caught.value)


def test_an_archive_that_tells_a_few_at_once_is_asked_for_the_rest(archive: Archive) -> None:
    def page(*names: str) -> bytes:
        return json.dumps([{"0020000D": {"vr": "UI", "Value": [name]}} for name in names]).encode()

    archive.first, archive.body = [page("1.1", "1.2"), page("1.3")], page()
    assert [str(one.StudyInstanceUID) for one in find(archive.peer, "STUDY", {"PatientID": "P"})] == [
        "1.1",
        "1.2",
        "1.3",
    ]
    assert [path.partition("?")[2] for path, _, _ in archive.requests] == [
        "PatientID=P",
        "PatientID=P&offset=2",
        "PatientID=P&offset=3",
    ]
    archive.body = page("1.1", "1.2")
    assert len(find(archive.peer, "STUDY", {"PatientID": "P"})) == 2, "it knows no offset, and starts over"


class TestOverTls:
    @pytest.fixture
    def secure(self, tmp_path: Path) -> Iterator[Archive]:
        """An archive that wants to see a certificate of the hospital's authority, and shows one."""
        with serving(Archive(), incoming(files(tmp_path / "archive", HOSPITAL))) as made:
            yield made

    def peer(self, made: Archive, shown: Tls, **more: Path | None) -> WebPeer:
        return WebPeer(url=f"https://127.0.0.1:{made.port}/dicom-web", timeout_s=10, **{**dict(shown), **more})

    def test_both_sides_show_a_certificate(self, secure: Archive, tmp_path: Path) -> None:
        peer = self.peer(secure, files(tmp_path / "ours", HOSPITAL))
        (file, *_) = outputs(tmp_path)
        secure.says(200, {"00081199": {"vr": "SQ", "Value": [item(uid_of(file))]}})
        assert [one.meaning for one in store_each([file], peer)] == [Meaning.SUCCESS]
        secure.says(200, [{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}])
        assert [one.SOPInstanceUID for one in find(peer, "IMAGE", {"SOPInstanceUID": "1.2.3"})] == ["1.2.3"]
        secure.content_type = f'multipart/related; type="application/dicom"; boundary={"b" * 16}'
        secure.body = b"\r\n".join(
            [b"--" + b"b" * 16, b"Content-Type: application/dicom", b"", file.read_bytes(), b"--" + b"b" * 16 + b"--"]
        )
        assert list(retrieve(peer, "1.2", "1.3")) == [file.read_bytes()]
        assert [path for path, _, _ in secure.requests] == [
            "/dicom-web/studies",
            "/dicom-web/instances?SOPInstanceUID=1.2.3",
            "/dicom-web/instances?SOPInstanceUID=1.2.3&offset=1",
            "/dicom-web/studies/1.2/series/1.3",
        ]

    def test_who_does_not_get_in_is_told_why(
        self, secure: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        ours = files(tmp_path / "ours", HOSPITAL)
        stranger, doubting = files(tmp_path / "a", ELSEWHERE), files(tmp_path / "b", HOSPITAL, trusted=ELSEWHERE)
        refused = [
            (
                self.peer(secure, ours, certificate=None, key=None),
                "certificate required|our certificate is not accepted",
            ),
            (self.peer(secure, stranger), "unknown ca|our certificate is not accepted"),
            (self.peer(secure, doubting), "the peer's certificate is not accepted: self-signed"),
            (self.peer(secure, ours, authorities=None), "the peer's certificate is not accepted: self-signed"),
        ]
        (file, *_) = outputs(tmp_path)
        for peer, reason in refused:
            with pytest.raises(PeerError) as caught:
                find(peer, "STUDY", {"PatientID": PATIENT_ID})
            assert re.search(reason, caught.value.message)
            assert PATIENT_ID not in str(caught.value)
            assert caplog.records == [], "a library's line may quote the query"
            (sent,) = store_each([file], peer)
            assert re.search(reason, sent.reason)
            assert sent.next is Next.RETRY
        assert secure.requests == []

    def test_files_that_are_not_as_they_must_be(self, secure: Archive, tmp_path: Path) -> None:
        ours = files(tmp_path / "ours", HOSPITAL)
        ours.key.chmod(0o644)
        with pytest.raises(ConfigurationError, match="others may read the TLS key"):
            find(self.peer(secure, ours), "STUDY", {})
        with pytest.raises(ConfigurationError, match="TLS cannot be set up: No such file"):
            find(self.peer(secure, ours, certificate=None, key=None, authorities=tmp_path / "absent"), "STUDY", {})

    def test_the_doctor_shows_the_days_of_both_certificates(
        self, secure: Archive, tmp_path: Path, config: NodeConfig
    ) -> None:
        secure.says(200, [])
        peer = self.peer(secure, files(tmp_path / "ours", HOSPITAL))
        found = list(checks.peers(config.model_copy(update={"web": {"vna": peer}}), "", "", time.time()))
        assert [(check.what, check.stand) for check in found] == [
            (what, Stand.GOOD) for what in ("peer vna", "certificate for vna", "certificate of vna")
        ]
        assert found[-1].detail.startswith("good for ")


@contextmanager
def orthanc_web(folder: Path) -> Iterator[WebPeer]:
    with start_orthanc(folder, dicomweb=True) as orthanc:
        yield WebPeer(url=f"http://127.0.0.1:{orthanc.http_port}/dicom-web", timeout_s=10)


@pytest.mark.peer
def test_orthanc_stores_finds_and_gives_back_the_same_bytes(tmp_path: Path) -> None:
    files = [*outputs(tmp_path), *(write(make("CT", number), tmp_path) for number in (1, 2, 3))]
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(files[0].read_bytes()[:600])
    with orthanc_web(tmp_path / "peer") as peer:
        assert [one.meaning for one in store_each(files, peer)] == [Meaning.SUCCESS] * 6
        (study,) = find(peer, "STUDY", {"PatientID": PATIENT_ID, "StudyInstanceUID": "", "StudyDate": ""})
        assert study.StudyInstanceUID == uid(1)
        series = find(peer, "SERIES", {"StudyInstanceUID": uid(1), "Modality": "", "SeriesInstanceUID": ""})
        assert sorted(str(one.Modality) for one in series) == ["CT", "DOC", "REG", "RTSTRUCT"]
        parts = [dataset_bytes(part) for part in retrieve(peer, uid(1), uid(1, 1))]
        assert sorted(parts) == sorted(dataset_bytes(file) for file in files[3:])
        absent = write(make("CT", 99), tmp_path / "absent")
        assert [(one.kept, one.words) for one in find_each([files[0], absent], peer, "")] == [
            (True, "QIDO-RS"),
            (False, "QIDO-RS does not find it"),
        ]
        assert [(one.kept, one.words) for one in get_each(files[:2], peer, "")] == [(True, "WADO-RS: same bytes")] * 2
