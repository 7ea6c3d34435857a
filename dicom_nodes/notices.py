"""What happened on the network, told to whoever wants to count or audit it; nobody has to.

A notice is told after the fact, in the thread that it happened in. A hearer that fails is logged, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from dicom_nodes.errors import trail
from dicom_nodes.headers import Header

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Answered:
    """A sender heard an answer to its C-STORE.

    Attributes:
        calling, address: the sender's AE title and IP address.
        status: as answered.
        header: of the object; None where it was not understood.
        quarantined: other bytes were held under its UID, and it was kept apart.
    """

    calling: str
    address: str
    status: int
    header: Header | None
    quarantined: bool = False


@dataclass(frozen=True)
class Refused:
    """A peer was not let in.

    Attributes:
        calling, called: AE titles as the peer gave them; empty where it did not come so far.
        address: its IP address.
        reason: in words.
    """

    calling: str
    called: str
    address: str
    reason: str


Notice = Answered | Refused
Hearer = Callable[[Notice], None]

_hearers: list[Hearer] = []


@contextmanager
def heard_by(hearer: Hearer) -> Iterator[None]:
    """Let ``hearer`` hear every notice of this process meanwhile."""
    _hearers.append(hearer)
    try:
        yield
    finally:
        _hearers.remove(hearer)


def tell(notice: Notice) -> None:
    """Let every hearer hear a notice."""
    for hearer in tuple(_hearers):
        try:
            hearer(notice)
        except Exception as error:  # the sender's answer must not depend on who counts
            log.error("notice not heard", notice=type(notice).__name__, trail=trail(error))  # noqa: TRY400  (see trail)
