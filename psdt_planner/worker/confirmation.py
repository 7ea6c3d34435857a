"""What the destination says about the outputs that it took: asked for by storage commitment, or read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dicom_nodes import commitment, read_back
from dicom_nodes.commitment import Receipts
from dicom_nodes.config import Peer, WebPeer
from dicom_nodes.headers import read_file_header
from psdt_planner.worker.config import Config


@dataclass(frozen=True)
class Word:
    """What the destination says.

    Attributes:
        kept: how we know that it keeps an output, by SOP Instance UID.
        lost: why it does not, by SOP Instance UID.
        again: asking again later may help.
    """

    kept: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    again: bool = False


class Confirmation(Protocol):
    """A way to ask the destination; `Commitment` and `ReadBack` are two."""

    @property
    def how(self) -> str:
        """Its name in the configuration."""

    @property
    def wait_s(self) -> float:
        """How long an answer may take."""

    def ask(self, transaction_uid: str, paths: Sequence[Path]) -> Word | None:
        """Ask about files; None where the answer comes later. A ``NodeError`` where the question could not be put."""

    def heard(self, transaction_uid: str) -> Word | None:
        """The answer that came in meanwhile; None where none did."""


@dataclass(frozen=True)
class Commitment:
    """Storage commitment: the answer comes when the archive sends it, and lies in the receipts then."""

    peer: Peer
    calling_ae_title: str
    receipts: Receipts
    wait_s: float
    how: str = "commitment"

    def ask(self, transaction_uid: str, paths: Sequence[Path]) -> Word | None:
        """As `Confirmation.ask`; an answer on the same association is there at once."""
        headers = [read_file_header(path) for path in paths]
        objects = [(header.sop_class_uid, header.sop_instance_uid) for header in headers]
        commitment.request(objects, self.peer, self.calling_ae_title, transaction_uid, self.receipts)
        return self.heard(transaction_uid)

    def heard(self, transaction_uid: str) -> Word | None:
        """As `Confirmation.heard`."""
        answer = self.receipts.find(transaction_uid)
        if answer is None:
            return None
        return Word(
            kept=dict.fromkeys(answer.committed, "storage commitment"),
            lost={uid: commitment.in_words(reason) for uid, reason in answer.failed.items()},
            again=set(answer.failed.values()) <= commitment.LATER,
        )


@dataclass(frozen=True)
class ReadBack:
    """Looking for the outputs at the destination (``find``), or fetching and comparing them (``get``)."""

    peer: Peer | WebPeer
    calling_ae_title: str
    how: str
    wait_s: float = 0.0
    """The answer is there at once; a question that a crash ended is put again."""

    def ask(self, transaction_uid: str, paths: Sequence[Path]) -> Word | None:  # noqa: ARG002
        """As `Confirmation.ask`."""
        look = read_back.find_each if self.how == "find" else read_back.get_each
        seen = list(look(paths, self.peer, self.calling_ae_title))
        return Word(
            kept={one.sop_instance_uid: one.words for one in seen if one.kept},
            lost={one.sop_instance_uid: one.words for one in seen if not one.kept},
            again=all(one.kept or one.absent for one in seen),
        )

    def heard(self, transaction_uid: str) -> Word | None:  # noqa: ARG002
        """Nothing comes later."""
        return None


def open_confirmation(config: Config) -> Confirmation | None:
    """How the destination of a configuration is asked; None where it is not."""
    peer = config.node.any_peer(config.worker.destination)
    if peer.confirm == "none":
        return None
    if isinstance(peer, Peer) and peer.confirm == "commitment":
        receipts = commitment.receipts_of(config.node.storage)
        return Commitment(peer, config.node.ae_title, receipts, config.worker.confirm_wait_s)
    return ReadBack(peer, config.node.ae_title, peer.confirm)
