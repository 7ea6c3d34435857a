"""What may happen to a case, as values. ``at_s`` is POSIX time, ``by`` a person's name, ``plan`` counts from 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from psdt_planner.findings import Finding


@dataclass(frozen=True)
class Item:
    """One object that came in.

    Attributes:
        key: where it lies in the node's storage.
        sha256: of its data set.
        received_at_s: POSIX time.
        patient_known: it carries a Patient ID.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    modality: str
    frame_of_reference_uid: str
    key: str
    sha256: str
    received_at_s: float
    patient_known: bool


@dataclass(frozen=True)
class Output:
    """One DICOM file of a plan.

    Attributes:
        name: such as ``rtstruct.dcm``.
        path: below the worker's folder, with slashes.
        sha256: of the whole file; what is sent is checked against it.
    """

    name: str
    path: str
    sha256: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Received:
    """Objects came in. Those that are known already, and our own outputs coming back, are passed over."""

    at_s: float
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Conflicted:
    """Other bytes came under the UID of an object of this case; the node keeps them in quarantine."""

    at_s: float
    sop_instance_uid: str
    sha256: str


@dataclass(frozen=True)
class Assembled:
    """The required set is there and has been quiet."""

    at_s: float
    plan: int


@dataclass(frozen=True)
class Started:
    """The making of a plan begins; what follows is its end, or a process that was killed."""

    at_s: float
    plan: int


@dataclass(frozen=True)
class Proposed:
    """A plan was made, and nothing in it holds the case."""

    at_s: float
    plan: int
    outputs: tuple[Output, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class PlanHeld:
    """A plan could not be made, or something in it needs a person."""

    at_s: float
    plan: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Released:
    """A person has looked at a plan and released it.

    Attributes:
        registration_use: level of `uses.REGISTRATION_USES` that the person gives the registration; None where it was
            not assessed, as in every release before there was such a level.
    """

    at_s: float
    by: str
    plan: int
    registration_use: int | None = None


@dataclass(frozen=True)
class Delivered:
    """The destination took an output; ``warning`` is empty where it took it as it was sent."""

    at_s: float
    sop_instance_uid: str
    warning: str


@dataclass(frozen=True)
class SendFailed:
    """The destination did not take every output; without ``retry_at_s`` it is not tried again."""

    at_s: float
    reason: str
    retry_at_s: float | None


@dataclass(frozen=True)
class Held:
    """A person stops the case."""

    at_s: float
    by: str
    reason: str


@dataclass(frozen=True)
class Reopened:
    """A person lets the case begin again with all that is there."""

    at_s: float
    by: str


@dataclass(frozen=True)
class Discarded:
    """A person closes the case."""

    at_s: float
    by: str
    reason: str


Event = (
    Received
    | Conflicted
    | Assembled
    | Started
    | Proposed
    | PlanHeld
    | Released
    | Delivered
    | SendFailed
    | Held
    | Reopened
    | Discarded
)

EVENT_KINDS: Mapping[str, type[Event]] = MappingProxyType(
    {
        "received": Received,
        "conflicted": Conflicted,
        "assembled": Assembled,
        "started": Started,
        "proposed": Proposed,
        "plan-held": PlanHeld,
        "released": Released,
        "delivered": Delivered,
        "send-failed": SendFailed,
        "held": Held,
        "reopened": Reopened,
        "discarded": Discarded,
    }
)
"""Names under which the casebook keeps events; they never change."""
