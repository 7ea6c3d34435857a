"""Is everything as the node needs it? Looks at the machine and at every peer, and sends no patient's data.

Each check says what it looked at, how it stands, and what to do where it does not stand well.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

from dicom_nodes import query, tls, web
from dicom_nodes.ae import associate
from dicom_nodes.commitment import PUSH_MODEL
from dicom_nodes.config import NodeConfig, Peer, WebPeer
from dicom_nodes.errors import ConfigurationError, NodeError, PeerError
from dicom_nodes.index import Index
from dicom_nodes.query import STUDY_ROOT_FIND
from dicom_nodes.retrieve import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_nodes.services import TRANSFER_SYNTAXES, VERIFICATION
from dicom_nodes.storage import Storage

CERTIFICATE_WARNING_DAYS = 30
TIME_ERROR = 5
"""What Linux's ``adjtimex`` returns where nothing keeps the clock right (adjtimex(2))."""

RELEASED_CLASSES: dict[str, UID] = {
    "RT Structure Set": uid.RTStructureSetStorage,
    "Spatial Registration": uid.SpatialRegistrationStorage,
    "Encapsulated PDF": uid.EncapsulatedPDFStorage,
}
"""What a released plan is made of."""


class Stand(StrEnum):
    """How a check stands."""

    GOOD = "good"
    WARN = "warn"
    """It works; somebody should look at it."""
    BAD = "bad"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: such as ``disk`` or ``peer tps``.
        is_peer: a peer or the network must be looked at, not this machine.
    """

    what: str
    stand: Stand
    detail: str
    todo: str = ""
    is_peer: bool = False


def machine(config: NodeConfig, now_s: float) -> Iterator[Check]:
    """Port, disk, index, clock, decoders, AE titles and our certificate."""
    yield _port(config)
    yield _disk(config)
    yield _index(config)
    yield _clock(now_s, config.storage)
    yield _decoders()
    yield _ae_titles(config)
    if config.tls is not None:
        yield _certificate("certificate", config.tls.certificate, now_s)


def peers(config: NodeConfig, destination: str, archive: str, now_s: float) -> Iterator[Check]:
    """Every peer: does it answer, and does it take what psdt will ask of it?

    Args:
        destination: name of the peer that released plans go to.
        archive: name of the peer that is fetched from; empty where there is none.
    """
    for name, peer in config.peers.items():
        needs = _needs(peer, is_destination=name == destination, is_archive=name == archive)
        yield _peer(f"peer {name}", peer, config.ae_title, needs)
        if peer.tls is not None and peer.tls != config.tls:
            yield _certificate(f"certificate for {name}", peer.tls.certificate, now_s)
        yield from _shown(f"certificate of {name}", peer, now_s)
    for name, other in config.web.items():
        yield _web_peer(f"peer {name}", other)
        if other.certificate is not None:
            yield _certificate(f"certificate for {name}", other.certificate, now_s)
        yield from _shown(f"certificate of {name}", other, now_s)


def _port(config: NodeConfig) -> Check:
    where = f"{config.host}:{config.port}"
    try:
        with Storage(config.storage).locked():
            free = True
    except (ConfigurationError, OSError):
        free = False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            if not free:
                return Check("port", Stand.GOOD, f"{where}: psdt listens")
            todo = "Stop the program that listens there, or choose another port."
            return Check("port", Stand.BAD, f"{where}: {error.strerror}", todo)
    return Check("port", Stand.GOOD, f"{where} is free")


def _disk(config: NodeConfig) -> Check:
    try:
        config.storage.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.storage) as probe:
            probe.write(b"psdt")
            probe.flush()
            os.fsync(probe.fileno())
        free_mb = shutil.disk_usage(config.storage).free / 1e6
    except OSError as error:
        return Check("disk", Stand.BAD, f"{config.storage}: {error.strerror}", "Let psdt write there.")
    reserve = config.limits.reserve_mb
    detail = f"{free_mb:.0f} MB free, {reserve} MB are kept in reserve"
    if free_mb < reserve:
        return Check("disk", Stand.BAD, detail, "Make room: senders hear A700 until then.")
    stand = Stand.GOOD if free_mb > 2 * reserve else Stand.WARN
    return Check("disk", stand, detail, "" if stand is Stand.GOOD else "Make room soon.")


def _index(config: NodeConfig) -> Check:
    try:
        index = Index(config.index)
        count = index.count()
        index.close()
    except NodeError as error:
        return Check("index", Stand.BAD, error.message, error.todo or "See docs/it.md.")
    return Check("index", Stand.GOOD, f"{count} objects")


def _clock(now_s: float, folder: Path) -> Check:
    """The clock against that of the file system, and whether the system keeps it right."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            apart_s = abs(Path(probe.name).stat().st_mtime - now_s)
    except OSError as error:
        return Check("clock", Stand.WARN, f"not held against the disk's: {error.strerror}")
    if apart_s > 60:
        return Check("clock", Stand.BAD, f"{apart_s:.0f} s from the disk's clock", "Set both by NTP.")
    if not is_kept_right():
        return Check("clock", Stand.WARN, "nothing keeps it right", "Run a time service (chrony, systemd-timesyncd).")
    return Check("clock", Stand.GOOD, "kept right by a time service")


def is_kept_right() -> bool:
    """Whether the kernel says that a time service keeps the clock; False where it does not say."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # all zero: it only reads
    except (OSError, AttributeError):
        return False
    return 0 <= int(state) < TIME_ERROR


def _decoders() -> Check:
    native = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
    native.add(uid.DeflatedExplicitVRLittleEndian)
    compressed = [syntax for syntax in TRANSFER_SYNTAXES if syntax not in native]
    missing = [syntax.name for syntax in compressed if not get_decoder(syntax).is_available]
    if missing:
        todo = "Install the packages of requirements.lock: objects that need these are taken, and cannot be read."
        return Check("decoders", Stand.BAD, f"none for {', '.join(missing)}", todo)
    return Check("decoders", Stand.GOOD, f"all {len(compressed)} compressed transfer syntaxes can be read")


def _ae_titles(config: NodeConfig) -> Check:
    titles = [config.ae_title, *(peer.ae_title for peer in config.peers.values())]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        return Check("AE titles", Stand.WARN, f"{', '.join(twice)} stands more than once", "Give each its own.")
    if config.accept_any_sender:
        return Check("AE titles", Stand.WARN, "any AE title may send", "List those that may in senders.")
    return Check("AE titles", Stand.GOOD, f"{config.ae_title}; may send: {', '.join(config.allowed_senders)}")


def _certificate(what: str, path: Path, now_s: float) -> Check:
    try:
        days = tls.days_left(path, now_s)
    except ConfigurationError as error:
        return Check(what, Stand.BAD, error.message, f"Look at {path}.")
    if days < 0:
        return Check(what, Stand.BAD, f"it ended {-days:.0f} days ago", "Renew it.")
    stand = Stand.WARN if days < CERTIFICATE_WARNING_DAYS else Stand.GOOD
    return Check(what, stand, f"good for {days:.0f} days", "Renew it." if stand is Stand.WARN else "")


def _shown(what: str, peer: Peer | WebPeer, now_s: float) -> Iterator[Check]:
    """The certificate that a peer shows; nothing where it shows none that we accept, which the peer's check tells."""
    try:
        if isinstance(peer, WebPeer):
            context, name = web.context_for(peer), peer.host
            where = (peer.host, urlsplit(peer.url).port or 443)
        else:
            context, name = tls.outgoing(peer) or (None, "")
            where = (peer.host, peer.port)
        if context is None:
            return
        days = tls.days_left_at(where, context, name, peer.timeout_s, now_s)
    except (ConfigurationError, OSError):
        return
    stand = Stand.WARN if days < CERTIFICATE_WARNING_DAYS else Stand.GOOD
    todo = "Ask for its renewal." if stand is Stand.WARN else ""
    yield Check(what, stand, f"good for {days:.0f} days", todo, is_peer=True)


def _needs(peer: Peer, *, is_destination: bool, is_archive: bool) -> dict[str, UID]:
    """The services that psdt will ask of a peer, by their names for a person."""
    needs: dict[str, UID] = {}
    if is_destination:
        needs |= RELEASED_CLASSES
        needs |= {"Storage Commitment": PUSH_MODEL} if peer.confirm == "commitment" else {}
        needs |= {"C-FIND": STUDY_ROOT_FIND} if peer.confirm == "find" else {}
        needs |= {"C-GET": STUDY_ROOT_GET} if peer.confirm == "get" else {}
    if is_archive:
        how = {"C-MOVE": STUDY_ROOT_MOVE} if peer.retrieve == "move" else {"C-GET": STUDY_ROOT_GET}
        needs |= {"C-FIND": STUDY_ROOT_FIND} | how
    return needs


def _peer(what: str, peer: Peer, ae_title: str, needs: dict[str, UID]) -> Check:
    try:
        query.echo(peer, ae_title)
        refused = _refused(peer, ae_title, needs)
    except PeerError as error:
        reason = tls.trouble(peer) or error.message
        return Check(what, Stand.BAD, reason, "Check host, port, both AE titles and TLS.", is_peer=True)
    except ConfigurationError as error:
        return Check(what, Stand.BAD, error.message, error.todo or error.where)
    how = "TLS" if peer.tls is not None else "plain text"
    if refused:
        detail = f"answers ({how}), and does not take {', '.join(refused)}"
        return Check(what, Stand.BAD, detail, "Ask for it there, or change the configuration.", is_peer=True)
    taken = f", takes {', '.join(needs)}" if needs else ""
    return Check(what, Stand.GOOD, f"answers ({how}){taken}", is_peer=True)


def _refused(peer: Peer, ae_title: str, needs: dict[str, UID]) -> list[str]:
    """What a peer does not accept; a presentation context is asked for, and nothing is sent."""
    if not needs:
        return []
    contexts: Sequence[PresentationContext] = [build_context(VERIFICATION), *map(build_context, needs.values())]
    with associate(peer, ae_title, contexts) as association:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
    return [name for name, service in needs.items() if service not in accepted]


def _web_peer(what: str, peer: WebPeer) -> Check:
    """A search for a study that nobody has: the secret is tried, and no patient is named."""
    try:
        web.find(peer, "STUDY", {"AccessionNumber": "PSDT-DOCTOR"})
    except PeerError as error:
        return Check(what, Stand.BAD, error.message, error.todo, is_peer=True)
    except ConfigurationError as error:
        return Check(what, Stand.BAD, error.message, error.todo or error.where)
    return Check(what, Stand.GOOD, "answers QIDO-RS", is_peer=True)
