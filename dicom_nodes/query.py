"""Asking a peer: for now, whether it is there."""

from __future__ import annotations

from pynetdicom import build_context

from dicom_nodes.ae import application_entity
from dicom_nodes.config import Peer
from dicom_nodes.errors import PeerError
from dicom_nodes.sender import no_association
from dicom_nodes.services import VERIFICATION


def echo(peer: Peer, calling_ae_title: str) -> None:
    """Verify that a peer answers (C-ECHO); returns where it does.

    Raises:
        PeerError: it cannot be reached, does not know us, or answers with a failure.
    """
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    entity = application_entity(calling_ae_title, peer.timeout_s)
    association = entity.associate(peer.host, peer.port, [build_context(VERIFICATION)], ae_title=peer.ae_title)
    if not association.is_established:
        raise PeerError(no_association(association), where=where, todo="Check host, port and both AE titles.")
    try:
        answer = association.send_c_echo()
    finally:
        association.release()
    if answer.get("Status") != 0:
        raise PeerError("the peer did not answer the C-ECHO with success", where=where)
