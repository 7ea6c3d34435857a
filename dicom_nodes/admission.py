"""Who may associate: AE titles and IP addresses as the configuration has them, and how many of each sender."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_nodes.config import NodeConfig
from dicom_nodes.notices import Refused, tell

log = structlog.get_logger(__name__)

MOST_SENDERS_REMEMBERED = 1000


@dataclass(frozen=True)
class Refusal:
    """Why an association is rejected: in words, and as the A-ASSOCIATE-RJ says it (PS3.8 table 9-21)."""

    reason: str
    result: int
    source: int
    diagnostic: int


CALLED = Refusal("the called AE title is not ours", 1, 1, 7)
CALLING = Refusal("the calling AE title is not one that may send", 1, 1, 3)
ADDRESS = Refusal("this AE title may not send from this address", 1, 1, 3)
TOO_MANY = Refusal("too many associations of this sender at once", 2, 3, 2)
TOO_OFTEN = Refusal("too many associations of this sender within a minute", 2, 3, 1)
REFUSALS = (CALLED, CALLING, ADDRESS, TOO_MANY, TOO_OFTEN)
"""The first three are permanent, the last two transient: the sender tries again later."""


class Admission:
    """Decides on each request for an association, before anything is negotiated.

    Args:
        now_s: a clock that only goes forward.
    """

    def __init__(self, config: NodeConfig, now_s: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._now_s = now_s
        self._lock = threading.Lock()
        self._recent: dict[tuple[str, str], deque[float]] = {}

    def on_request(self, event: Event) -> None:
        """Reject what may not come in: a handler of ``EVT_REQUESTED``."""
        association = event.assoc
        request = association.requestor.primitive
        assert request is not None  # noqa: S101  (for mypy: it is what the event is about)
        calling, called = str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()
        address = str(association.requestor.address or "")
        others = sum(_is_of(other, calling, address) for other in association.ae.active_associations)
        refusal = self.refusal(calling, called, address, others)
        if refusal is None:
            return
        log.warning("association rejected", calling=calling, called=called, address=address, reason=refusal.reason)
        tell(Refused(calling, called, address, refusal.reason))
        association.acse.send_reject(refusal.result, refusal.source, refusal.diagnostic)
        association.kill()

    def refusal(self, calling: str, called: str, address: str, others: int) -> Refusal | None:
        """Why an association is rejected; None where it is not.

        Args:
            others: established associations of the same sender.
        """
        limits = self._config.limits
        if called != self._config.ae_title:
            return CALLED
        if not self._config.accept_any_sender:
            if calling not in self._config.allowed_senders:
                return CALLING
            if not self._may_come_from(calling, address):
                return ADDRESS
        if others >= limits.associations_per_sender:
            return TOO_MANY
        return TOO_OFTEN if self._count(calling, address) > limits.associations_per_minute else None

    def _may_come_from(self, calling: str, address: str) -> bool:
        """A sender may come from where the configuration says; a peer also from its own host."""
        here = ipaddress.ip_address(address.removeprefix("::ffff:"))
        networks = [sender.network for sender in self._config.sender_rules if sender.ae_title == calling]
        if any(network is None or here in network for network in networks):
            return True
        hosts = {peer.host for peer in self._config.peers.values() if peer.ae_title == calling}
        return any(str(here) in _addresses(host) for host in hosts)

    def _count(self, calling: str, address: str) -> int:
        """How many associations a sender asked for within the last minute, this one among them."""
        now_s = self._now_s()
        with self._lock:
            if len(self._recent) > MOST_SENDERS_REMEMBERED:
                self._recent = {who: times for who, times in self._recent.items() if times[-1] > now_s - 60}
            times = self._recent.setdefault((calling, address), deque())
            while times and times[0] <= now_s - 60:
                times.popleft()
            times.append(now_s)
            return len(times)


def _is_of(association: Association, calling: str, address: str) -> bool:
    requestor = association.requestor
    return (
        association.is_acceptor
        and association.is_established
        and requestor.ae_title.strip() == calling
        and requestor.address == address
    )


def _addresses(host: str) -> set[str]:
    """The addresses of a host; none where its name is not known now."""
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError as error:
        log.warning("a peer's host name is not known", host=host, reason=error.strerror)
        return set()
