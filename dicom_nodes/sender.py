"""The storage SCU: files go out as they lie on disk, over one association, and every answer is told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import structlog
from pynetdicom import build_context, evt
from pynetdicom.association import Association

from dicom_nodes import statuses
from dicom_nodes.ae import application_entity, without_delay
from dicom_nodes.config import Peer
from dicom_nodes.errors import ObjectError
from dicom_nodes.headers import Header, read_file_header
from dicom_nodes.statuses import Meaning, Next

log = structlog.get_logger(__name__)

CONTEXTS_PER_ASSOCIATION = 128
"""An association holds no more presentation contexts: their ids are the odd numbers of one byte (PS3.8 9.3.2.2)."""


@dataclass(frozen=True)
class Sent:
    """What became of one file.

    Attributes:
        sop_instance_uid: empty where the file could not be read.
        status: what the peer answered; None where it did not answer.
        meaning: success, warning (stored, but not as sent) or failure.
        next: what to do about it.
        reason: in words.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    meaning: Meaning
    next: Next
    reason: str


def send(files: Iterable[Path], peer: Peer, calling_ae_title: str) -> tuple[Sent, ...]:
    """Send files to a peer and say what became of each, in their order.

    Each file is offered in its own transfer syntax only, and its data set leaves byte for byte as it is stored. No
    network trouble is raised: a file that was not answered is a failure to be retried. One association carries all
    files, more than one only where they need more than 128 presentation contexts.
    """
    results: dict[Path, Sent] = {}
    ready: dict[Path, Header] = {}
    order = list(dict.fromkeys(files))
    for path in order:
        try:
            ready[path] = read_file_header(path)
        except (ObjectError, OSError) as error:
            results[path] = Sent(path, "", None, Meaning.FAILURE, Next.GIVE_UP, f"the file cannot be read: {error}")
    for group in _groups(ready):
        results.update({sent.path: sent for sent in _send_group(group, peer, calling_ae_title)})
    return tuple(results[path] for path in order)


def _groups(headers: dict[Path, Header]) -> Iterator[dict[Path, Header]]:
    """The files in lots whose presentation contexts fit into one association."""
    contexts = iter(sorted({_context(header) for header in headers.values()}))
    while lot := set(islice(contexts, CONTEXTS_PER_ASSOCIATION)):
        yield {path: header for path, header in headers.items() if _context(header) in lot}


def _context(header: Header) -> tuple[str, str]:
    return header.sop_class_uid, header.transfer_syntax_uid


def _send_group(headers: dict[Path, Header], peer: Peer, calling_ae_title: str) -> Sequence[Sent]:
    entity = application_entity(calling_ae_title, peer.timeout_s)
    contexts = [build_context(*pair) for pair in sorted({_context(header) for header in headers.values()})]
    handlers: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, without_delay)]
    association = entity.associate(peer.host, peer.port, contexts, ae_title=peer.ae_title, evt_handlers=handlers)
    if not association.is_established:
        reason = no_association(association)
        log.warning("no association", peer=peer.ae_title, reason=reason)
        return [_unanswered(path, header, reason) for path, header in headers.items()]
    try:
        return [_send_one(association, path, header) for path, header in headers.items()]
    finally:
        association.release()


def _send_one(association: Association, path: Path, header: Header) -> Sent:
    accepted = {(cx.abstract_syntax, cx.transfer_syntax[0]) for cx in association.accepted_contexts}
    uid = header.sop_instance_uid
    if not association.is_established:
        return _unanswered(path, header, "the association ended before this file")
    if _context(header) not in accepted:
        reason = f"the peer does not take {header.sop_class_uid} in transfer syntax {header.transfer_syntax_uid}"
        return Sent(path, uid, None, Meaning.FAILURE, Next.GIVE_UP, reason)
    try:
        answer = association.send_c_store(path)
    except (RuntimeError, OSError) as error:  # the association ended just now, or the file went away
        return _unanswered(path, header, str(error))
    if "Status" not in answer:
        return _unanswered(path, header, "the peer did not answer")
    code = int(answer.Status)
    status = statuses.find(code)
    log.info("object sent", uid=uid, status=f"{code:04X}", answer=status.name)
    comment = str(answer.get("ErrorComment", ""))
    return Sent(path, uid, code, status.meaning, status.next, f"{status.name} ({code:04X}) {comment}".strip())


def _unanswered(path: Path, header: Header, reason: str) -> Sent:
    return Sent(path, header.sop_instance_uid, None, Meaning.FAILURE, Next.RETRY, reason)


def no_association(association: Association) -> str:
    """Why an association could not be had, in words."""
    if association.is_rejected:
        primitive = association.acceptor.primitive
        return f"the peer rejected the association: {primitive.reason_str}" if primitive else "the peer rejected us"
    if association.is_aborted:
        return "the peer cannot be reached, or aborted the association"
    return "the peer accepted none of the presentation contexts"
