"""DICOMweb as a second carrier (PS3.18): STOW-RS out, QIDO-RS and WADO-RS for what an archive holds.

dicomweb-client asks and parses; what is stored goes out and comes in as files, byte for byte, so that nothing is
encoded anew on the way.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog
from dicomweb_client.session_utils import create_session
from dicomweb_client.web import DICOMwebClient
from pydicom import Dataset
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from dicom_nodes import statuses, tls
from dicom_nodes.config import WebPeer
from dicom_nodes.errors import ConfigurationError, ObjectError, PeerError
from dicom_nodes.headers import Header, read_file_header
from dicom_nodes.sender import Sent
from dicom_nodes.statuses import Meaning, Next

for name in ("dicomweb_client", "retrying", "urllib3"):
    logging.getLogger(name).setLevel(logging.CRITICAL)  # their lines quote queries; this package logs for itself

log = structlog.get_logger(__name__)

LOT_BYTES = 64_000_000
"""One request carries files up to so much; a larger file goes alone."""

READABLE_BY_OTHERS = 0o077
LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may well succeed later."""

JSON, DICOM = "application/dicom+json", "application/dicom"


class Response(Protocol):
    """What of an HTTP response is used."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


def secret_of(peer: WebPeer) -> str:
    """The secret of a peer, empty where it has none.

    Raises:
        ConfigurationError: the variable is not set, or the file is absent or others may read it.
    """
    if peer.secret_env:
        if not os.environ.get(peer.secret_env):
            raise ConfigurationError("the variable that holds a secret is not set", where=peer.secret_env)
        return os.environ[peer.secret_env]
    if peer.secret_file is None:
        return ""
    try:
        if peer.secret_file.stat().st_mode & READABLE_BY_OTHERS:
            todo = f"chmod 600 {peer.secret_file}"
            raise ConfigurationError("others may read a secret", where=str(peer.secret_file), todo=todo)
        return peer.secret_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        todo = f"Write the secret there, then chmod 600 {peer.secret_file}"
        raise ConfigurationError(
            f"a secret cannot be read: {reason}", where=str(peer.secret_file), todo=todo
        ) from error


class _OurTls(HTTPAdapter):
    """Connections over TLS as `dicom_nodes.tls` sets it up; requests' own would ask a terminal for a key's password."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """As requests', with our context."""
        super().init_poolmanager(*args, ssl_context=self._context, **more)


def context_for(peer: WebPeer) -> ssl.SSLContext | None:
    """How TLS is spoken with a peer; None for http. ``ConfigurationError`` where its files are not as they must be."""
    return tls.to_web(peer, Path(DEFAULT_CA_BUNDLE_PATH)) if peer.url.startswith("https:") else None


def _session(peer: WebPeer) -> Any:
    session, secret = create_session(), secret_of(peer)
    session.trust_env = False  # no proxy and no .netrc of the machine: the configuration says everything
    if secret and peer.user:
        session.auth = (peer.user, secret)
    elif secret:
        session.headers["Authorization"] = f"Bearer {secret}"
    context = context_for(peer)
    if context is not None:
        session.mount("https://", _OurTls(context))
        session.verify = str(peer.authorities or DEFAULT_CA_BUNDLE_PATH)
    return session


def store_each(files: Iterable[Path], peer: WebPeer) -> Iterator[Sent]:
    """Store files by STOW-RS, and say of each what became of it; as ``sender.send_each``."""
    lots: list[dict[Path, Header]] = [{}]
    size = 0
    for path in dict.fromkeys(files):
        try:
            header, length = read_file_header(path), path.stat().st_size
        except (ObjectError, OSError) as error:
            yield Sent(path, "", None, Meaning.FAILURE, Next.GIVE_UP, f"the file cannot be read: {error}")
            continue
        if lots[-1] and size + length > LOT_BYTES:
            lots.append({})
            size = 0
        lots[-1][path] = header
        size += length
    for lot in lots:
        if lot:
            yield from _store_lot(lot, peer)


def _store_lot(lot: Mapping[Path, Header], peer: WebPeer) -> Iterator[Sent]:
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
    body = b"".join(head + path.read_bytes() + b"\r\n" for path in lot) + f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f'multipart/related; type="{DICOM}"; boundary={boundary}', "Accept": JSON}
    try:
        with _session(peer) as session:
            response = session.post(f"{peer.url}/studies", data=body, headers=headers, timeout=peer.timeout_s)
    except OSError as error:  # every error of requests is one
        reason = f"the archive cannot be reached: {_in_words(error)}"
        log.warning("no answer to STOW-RS", peer=peer.url, reason=reason)
        for path, header in lot.items():
            yield Sent(path, header.sop_instance_uid, None, Meaning.FAILURE, Next.RETRY, reason)
        return
    said = _read_stored(response)
    for path, header in lot.items():
        yield _outcome(path, header.sop_instance_uid, said, response.status_code)


def _read_stored(response: Response) -> dict[str, tuple[bool, int]]:
    """Whether each instance was stored, and its Failure or Warning Reason (PS3.18 10.5.3.1); empty if unreadable."""
    try:
        values = json.loads(response.content)
        dataset = Dataset.from_json(values[0] if isinstance(values, list) else values)
        stored = {
            str(item.ReferencedSOPInstanceUID): (True, int(item.get("WarningReason") or 0))
            for item in dataset.get("ReferencedSOPSequence") or []
        }
        failed = {
            str(item.ReferencedSOPInstanceUID): (False, int(item.get("FailureReason") or 0x0110))
            for item in dataset.get("FailedSOPSequence") or []
        }
    except Exception:  # what an archive sends in place of an answer is of any kind
        return {}
    return {**stored, **failed}


def _outcome(path: Path, uid: str, said: Mapping[str, tuple[bool, int]], http: int) -> Sent:
    if uid not in said:
        if http in {401, 403}:
            return Sent(path, uid, None, Meaning.FAILURE, Next.GIVE_UP, f"the archive does not let us in (HTTP {http})")
        then = Next.RETRY if http in LATER or http < 300 else Next.GIVE_UP
        what = "does not say what became of it" if http < 300 else "refuses it"
        return Sent(path, uid, None, Meaning.FAILURE, then, f"the archive {what} (HTTP {http})")
    stored, code = said[uid]
    status = statuses.find(code)
    if stored:
        if status.meaning is Meaning.FAILURE:  # a reason to warn that no row of the table names
            status = statuses.OTHER_WARNING
    elif status.meaning is not Meaning.FAILURE:
        status = statuses.OTHER_FAILURE
    log.info("object stored", uid=uid, status=f"{code:04X}", answer=status.name)
    return Sent(path, uid, code, status.meaning, status.next, f"{status.name} ({code:04X})")


def find(peer: WebPeer, level: str, keys: Mapping[str, str]) -> list[Dataset]:
    """What an archive holds that matches keys (QIDO-RS); arguments as for ``query.find``.

    Raises:
        PeerError: it cannot be reached, or refuses.
    """
    filters = {keyword: value for keyword, value in keys.items() if value and not keyword.endswith("InstanceUID")}
    filters |= {"SOPInstanceUID": keys["SOPInstanceUID"]} if keys.get("SOPInstanceUID") else {}
    wanted = [keyword for keyword, value in keys.items() if not value]
    study, series = keys.get("StudyInstanceUID") or None, keys.get("SeriesInstanceUID") or None
    try:
        with _session(peer) as session:
            client = DICOMwebClient(peer.url, session=session, timeout=peer.timeout_s)
            client.set_http_retry_params(retry=False)
            asked: dict[str, Any] = {"fields": wanted, "search_filters": filters}
            if level == "STUDY":
                return _every_page(lambda offset: client.search_for_studies(offset=offset, **asked), level)
            if level == "SERIES":
                return _every_page(lambda offset: client.search_for_series(study, offset=offset, **asked), level)
            return _every_page(lambda offset: client.search_for_instances(study, series, offset=offset, **asked), level)
    except (OSError, ValueError) as error:
        raise _peer_error(error, "QIDO-RS", peer) from error


def _every_page(ask: Callable[[int | None], list[Any]], level: str) -> list[Dataset]:
    """What an archive finds, also where it tells no more than so many at once (PS3.18 8.3.4.4)."""
    keyword = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}.get(level, "SOPInstanceUID")
    found: dict[str, Dataset] = {}
    offset: int | None = None
    while True:
        page = {str(one.get(keyword)): one for one in map(Dataset.from_json, ask(offset))}
        if page.keys() <= found.keys():  # none, or an archive that starts over each time
            return list(found.values())
        found |= page
        offset = len(found)


def retrieve(peer: WebPeer, study: str, series: str, instance: str = "") -> Iterator[bytes]:
    """The files of a series, or of one instance, as the archive holds them (WADO-RS).

    Raises:
        PeerError: it cannot be reached, refuses, or the answer is not what was asked for.
    """
    url = f"{peer.url}/studies/{study}/series/{series}" + (f"/instances/{instance}" if instance else "")
    accept = f'multipart/related; type="{DICOM}"; transfer-syntax=*'
    try:
        with _session(peer) as session:
            response = session.get(url, headers={"Accept": accept}, timeout=peer.timeout_s)
            response.raise_for_status()
            yield from _parts(response)
    except (OSError, ValueError) as error:
        raise _peer_error(error, "WADO-RS", peer) from error


def _parts(response: Response) -> Iterator[bytes]:
    """The parts of a multipart/related body (RFC 2046 5.1.1), without their headers."""
    fields = [field.strip() for field in response.headers.get("Content-Type", "").split(";")]
    boundary = next((field[9:].strip('"') for field in fields if field.lower().startswith("boundary=")), "")
    if not boundary:
        raise ValueError("the answer is no multipart/related")
    for part in (b"\r\n" + response.content).split(b"\r\n--" + boundary.encode())[1:]:
        if part.startswith(b"--"):
            return
        yield part[part.index(b"\r\n\r\n") + 4 :]
    raise ValueError("the answer was cut short")


def _peer_error(error: Exception, service: str, peer: WebPeer) -> PeerError:
    """An error of requests in words: its own text may quote a query, and with it a patient."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    reason = f"HTTP {code}" if code else _in_words(error)
    return PeerError(f"{service} failed: {reason}", where=peer.name, todo="Check url, secret and certificate.")


def _in_words(error: BaseException) -> str:
    """What lies at the bottom of an error: TLS in its own words, else its kind only."""
    below: object = error
    while isinstance(below, BaseException):
        if isinstance(below, ssl.SSLError):
            return tls.in_words(below)
        below = below.__cause__ or below.__context__ or next(iter(below.args), None)  # urllib3 wraps what it caught
    return str(error) if type(error) is ValueError else type(error).__name__
