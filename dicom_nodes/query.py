"""Asking a peer: whether it is there, and what it holds (C-ECHO, C-FIND)."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import build_context

from dicom_nodes.ae import associate
from dicom_nodes.config import Peer
from dicom_nodes.errors import PeerError
from dicom_nodes.services import VERIFICATION


def echo(peer: Peer, calling_ae_title: str) -> None:
    """Verify that a peer answers (C-ECHO); returns where it does.

    Raises:
        PeerError: it cannot be reached, does not know us, or answers with a failure.
    """
    with associate(peer, calling_ae_title, [build_context(VERIFICATION)]) as association:
        answer = association.send_c_echo()
    if answer.get("Status") != 0:
        raise PeerError("the peer did not answer the C-ECHO with success", where=peer.name)


STUDY_ROOT_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
PENDING = frozenset({0xFF00, 0xFF01})


def find(peer: Peer, calling_ae_title: str, level: str, keys: Mapping[str, str]) -> list[Dataset]:
    """What a peer holds that matches keys (C-FIND, Study Root).

    Args:
        level: STUDY, SERIES or IMAGE.
        keys: by keyword; an empty value asks for the attribute, any other must match.

    Raises:
        PeerError: it cannot be reached, does not offer the service, or answers with a failure.
    """
    with associate(peer, calling_ae_title, [build_context(STUDY_ROOT_FIND)]) as association:
        found = []
        for status, match in association.send_c_find(identifier(level, keys), STUDY_ROOT_FIND):
            code = status.get("Status")
            if code in PENDING and match is not None:
                found.append(match)
            elif code != 0:
                raise PeerError(f"the C-FIND failed: {failure(code)}", where=peer.name)
        return found


def identifier(level: str, keys: Mapping[str, str]) -> Dataset:
    """The identifier of a C-FIND, C-MOVE or C-GET."""
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def failure(code: int | None) -> str:
    """A status in words."""
    return "the peer did not answer" if code is None else f"status {code:04X}"
