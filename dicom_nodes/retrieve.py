"""Having objects sent by an archive: to our listener (C-MOVE), or on the association that asks for them (C-GET)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import build_context, build_role, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from dicom_nodes.ae import associate
from dicom_nodes.config import Peer
from dicom_nodes.errors import PeerError
from dicom_nodes.query import PENDING, failure, identifier
from dicom_nodes.services import STORAGE_CLASSES, TRANSFER_SYNTAXES

STUDY_ROOT_MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
STUDY_ROOT_GET = UID("1.2.840.10008.5.1.4.1.2.2.3")


@dataclass(frozen=True)
class Counts:
    """How far a retrieval is, or how it ended, in the peer's own words.

    Attributes:
        completed, failed, warned, remaining: sub-operations, one for each object.
        reason: why it ended short; empty where the peer says that it did not.
    """

    completed: int = 0
    failed: int = 0
    warned: int = 0
    remaining: int = 0
    reason: str = ""


Progress = Callable[[Counts], None]
Take = Callable[[str, str, str, bytes], int]
"""Takes one object: SOP Class and SOP Instance UID, transfer syntax, data set; gives the status of its C-STORE."""
Answers = Iterator[tuple[Dataset, Dataset | None]]


def move(peer: Peer, calling_ae_title: str, level: str, keys: Mapping[str, str], progress: Progress) -> Counts:
    """Ask a peer to send what matches to us, who listen under ``calling_ae_title``.

    Raises:
        PeerError: it cannot be reached, or does not offer the service.
    """
    with associate(peer, calling_ae_title, [build_context(STUDY_ROOT_MOVE)]) as association:
        what = identifier(level, keys)
        return _follow(lambda: association.send_c_move(what, calling_ae_title, STUDY_ROOT_MOVE), peer, progress)


def get(
    peer: Peer,
    calling_ae_title: str,
    level: str,
    keys: Mapping[str, str],
    *,
    take: Take,
    progress: Progress,
    classes: tuple[UID, ...] = STORAGE_CLASSES,
    syntaxes: tuple[UID, ...] = TRANSFER_SYNTAXES,
) -> Counts:
    """Ask a peer for what matches, on this association; ``take`` is given each object as it comes.

    Raises:
        PeerError: it cannot be reached, or does not offer the service.
    """
    contexts = [build_context(STUDY_ROOT_GET), *(build_context(uid, list(syntaxes)) for uid in classes)]
    roles = [build_role(uid, scp_role=True) for uid in classes]

    def on_store(event: Event) -> int:
        request = cast("C_STORE", event.request)
        uids = (str(request.AffectedSOPClassUID or ""), str(request.AffectedSOPInstanceUID or ""))
        dataset = request.DataSet.getvalue() if request.DataSet else b""
        return take(*uids, str(event.context.transfer_syntax), dataset)

    handlers = [(evt.EVT_C_STORE, on_store)]
    with associate(peer, calling_ae_title, contexts, roles=roles, handlers=handlers) as association:
        what = identifier(level, keys)
        return _follow(lambda: association.send_c_get(what, STUDY_ROOT_GET), peer, progress)


def _follow(ask: Callable[[], Answers], peer: Peer, progress: Progress) -> Counts:
    """Ask, tell each answer on, and give the last one."""
    counts = Counts()
    try:
        for status, _ in ask():
            counts = _counts(status, counts)
            progress(counts)
    except ValueError as error:  # the peer took other contexts, and none for the service
        raise PeerError("the peer does not offer this service", where=peer.name) from error
    return counts


def _counts(status: Dataset, before: Counts) -> Counts:
    """The counts of an answer; those that it leaves out stay as they were."""
    code = status.get("Status")

    def number(what: str, known: int) -> int:
        value = status.get(f"NumberOf{what}Suboperations")
        return known if value is None else int(value)

    failed = number("Failed", before.failed)
    reason = "" if code in PENDING or code == 0 else failure(code)
    return Counts(
        completed=number("Completed", before.completed),
        failed=failed,
        warned=number("Warning", before.warned),
        remaining=number("Remaining", before.remaining) if code in PENDING else 0,
        reason=reason,
    )
