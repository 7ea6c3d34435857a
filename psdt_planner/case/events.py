"""What may happen to a case, as values. ``at_s`` is POSIX time, ``by`` a person's name, ``plan`` counts from 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from psdt_planner.findings import Finding


@dataclass(frozen=True)
class Facts:
    """What an object says about where it belongs, read once when it came in.

    Attributes:
        kind: as `images.Kind` names it; ``other`` of an object that cannot be read.
        b_values_s_per_mm2: of an MR object, one for each b-value that it holds.
        day: of its study, counted as `datetime.date.toordinal` does; None where it states none.
        frames: of reference, that it lies in or ties together.
        series: that it refers to, by SeriesInstanceUID.
        objects: other than images that it refers to, by SOP Instance UID.
        name, born: keyed hashes of the patient's name and birth date; empty where it states none.
        was: keyed hash of the identity that the object had before somebody coerced it; empty where nobody did.
    """

    kind: str
    b_values_s_per_mm2: tuple[float, ...] = ()
    day: int | None = None
    frames: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    name: str = ""
    born: str = ""
    was: str = ""


@dataclass(frozen=True)
class Item:
    """One object that came in.

    Attributes:
        key: where it lies in the node's storage.
        sha256: of its data set.
        received_at_s: POSIX time.
        patient_known: it carries a Patient ID.
        facts: None for what came in before psdt kept them.
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
    facts: Facts | None = None


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
class Strayed:
    """Objects of this case refer to a series that came in under another patient, or the other way round.

    Attributes:
        series: those that both cases claim, by SeriesInstanceUID.
        case: the other one.
    """

    at_s: float
    series: tuple[str, ...]
    case: str


@dataclass(frozen=True)
class Incomplete:
    """The longest wait is over, and something is still missing."""

    at_s: float
    missing: tuple[str, ...]


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
class SendStarted:
    """An attempt to send begins; what follows is its end, or a process that was killed.

    Attributes:
        confirm: how the destination is then asked whether it keeps what it took; empty where it is not asked.
    """

    at_s: float
    confirm: str


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
class Asked:
    """The destination is asked whether it keeps what it took; without an answer until ``answer_by_s``, again."""

    at_s: float
    transaction_uid: str
    answer_by_s: float


@dataclass(frozen=True)
class Confirmed:
    """The destination keeps outputs; ``how`` we know, in words."""

    at_s: float
    sop_instance_uids: tuple[str, ...]
    how: str


@dataclass(frozen=True)
class NotConfirmed:
    """The destination did not confirm every output; without ``retry_at_s`` it is not asked again.

    Attributes:
        lost: SOP Instance UIDs that it says it does not keep, or keeps otherwise than they were sent.
    """

    at_s: float
    reason: str
    retry_at_s: float | None
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """A person stops the case."""

    at_s: float
    by: str
    reason: str


@dataclass(frozen=True)
class Reopened:
    """A person lets the case begin again with all that is there.

    Attributes:
        as_it_is: the person does not wait for what is missing.
    """

    at_s: float
    by: str
    as_it_is: bool = False


@dataclass(frozen=True)
class Discarded:
    """A person closes the case."""

    at_s: float
    by: str
    reason: str


@dataclass(frozen=True)
class Removed:
    """What came in was removed, as the clinic's rules of retention have it; the events stay.

    Attributes:
        objects: how many.
    """

    at_s: float
    objects: int


Event = (
    Received
    | Conflicted
    | Strayed
    | Incomplete
    | Assembled
    | Started
    | Proposed
    | PlanHeld
    | Released
    | SendStarted
    | Delivered
    | SendFailed
    | Asked
    | Confirmed
    | NotConfirmed
    | Held
    | Reopened
    | Discarded
    | Removed
)

EVENT_KINDS: Mapping[str, type[Event]] = MappingProxyType(
    {
        "received": Received,
        "conflicted": Conflicted,
        "strayed": Strayed,
        "incomplete": Incomplete,
        "assembled": Assembled,
        "started": Started,
        "proposed": Proposed,
        "plan-held": PlanHeld,
        "released": Released,
        "send-started": SendStarted,
        "delivered": Delivered,
        "send-failed": SendFailed,
        "asked": Asked,
        "confirmed": Confirmed,
        "not-confirmed": NotConfirmed,
        "held": Held,
        "reopened": Reopened,
        "discarded": Discarded,
        "removed": Removed,
    }
)
"""Names under which the casebook keeps events; they never change."""
