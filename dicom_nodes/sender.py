"""The storage SCU: files go out as they lie on disk, over one association, and every answer is told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import structlog
from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_nodes import statuses
from dicom_nodes.ae import associate
from dicom_nodes.config import Peer
from dicom_nodes.errors import ObjectError, PeerError
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
    """Send files to a peer and say what became of each, in their order; see ``send_each``."""
    order = list(dict.fromkeys(files))
    results = {sent.path: sent for sent in send_each(order, peer, calling_ae_title)}
    return tuple(results[path] for path in order)


def send_each(files: Iterable[Path], peer: Peer, calling_ae_title: str) -> Iterator[Sent]:
    """Send files to a peer, and say of each what became of it as soon as the peer has answered.

    Each file is offered in its own transfer syntax only, and its data set leaves byte for byte as it is stored. The
    next file goes out when the answer to the last one has been taken, so that it can be written down before. No
    network trouble is raised: a file that was not answered is a failure to be retried. One association carries all
    files, more than one only where they need more than 128 presentation contexts.
    """
    ready: dict[Path, Header] = {}
    for path in dict.fromkeys(files):
        try:
            ready[path] = read_file_header(path)
        except (ObjectError, OSError) as error:
            yield Sent(path, "", None, Meaning.FAILURE, Next.GIVE_UP, f"the file cannot be read: {error}")
    for group in _groups(ready):
        yield from _send_group(group, peer, calling_ae_title)


def _groups(headers: dict[Path, Header]) -> Iterator[dict[Path, Header]]:
    """The files in lots whose presentation contexts fit into one association."""
    contexts = iter(sorted({_context(header) for header in headers.values()}))
    while lot := set(islice(contexts, CONTEXTS_PER_ASSOCIATION)):
        yield {path: header for path, header in headers.items() if _context(header) in lot}


def _context(header: Header) -> tuple[str, str]:
    return header.sop_class_uid, header.transfer_syntax_uid


def _send_group(headers: dict[Path, Header], peer: Peer, calling_ae_title: str) -> Iterator[Sent]:
    contexts = [build_context(*pair) for pair in sorted({_context(header) for header in headers.values()})]
    try:
        with associate(peer, calling_ae_title, contexts) as association:
            for path, header in headers.items():
                yield _send_one(association, path, header)
    except PeerError as error:
        log.warning("no association", peer=peer.ae_title, reason=error.message)
        for path, header in headers.items():
            yield _unanswered(path, header, error.message)


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
