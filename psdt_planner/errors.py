"""Everything that psdt raises on purpose, branching by who must act.

::

    PsdtError
    ├── InputError                  the sender: what came in cannot be used as it is
    │   ├── MissingAttributeError       a DICOM attribute that must be there is not
    │   ├── GeometryError               positions, orientations or frames that make no lattice
    │   └── UnsupportedError            a kind of object, encoding or unit that psdt does not read
    ├── ConfigurationError          the clinic: configuration or protocol
    │   └── ProtocolError               a clinical table that is wrong or incomplete
    ├── PeerError                   the network: a peer refused, failed or did not answer
    ├── DecisionNeededError         a person: the case cannot go on without a decision
    │   └── CaseStateError              what is asked is not possible in the state of the case
    └── FaultError                  us: a promise of the code was broken
        ├── FrameError                  two frames of reference were mixed
        └── ReadBackError               what was written is not what was meant
"""

from __future__ import annotations


class PsdtError(Exception):
    """Root of the tree; says what is wrong, where, and what to do about it.

    ``where`` holds the UIDs, file or lesion the error is about, ``todo`` the next step for the person who must act.
    """

    def __init__(self, message: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        todo = f" {self.todo}" if self.todo else ""
        return f"{self.message.removesuffix('.')}{where}.{todo}"


class InputError(PsdtError):
    """The sender must act: what came in cannot be used as it is."""


class MissingAttributeError(InputError):
    """A DICOM attribute that must be there is absent or empty."""


class GeometryError(InputError):
    """Positions, orientations or frames of reference that make no lattice."""


class UnsupportedError(InputError):
    """A kind of object, an encoding or a unit that psdt does not read."""


class ConfigurationError(PsdtError):
    """The clinic must act: its configuration is wrong or incomplete."""


class ProtocolError(ConfigurationError):
    """The physicist must act: a clinical table is wrong or incomplete."""


class PeerError(PsdtError):
    """The network must be looked at: a peer refused, failed or did not answer."""


class DecisionNeededError(PsdtError):
    """A person must decide before the case can go on."""


class CaseStateError(DecisionNeededError):
    """What is asked is not possible in the state of the case; the error says what is."""


class FaultError(PsdtError):
    """We must act: a promise of the code was broken."""


class FrameError(FaultError):
    """Two frames of reference were mixed."""


class ReadBackError(FaultError):
    """What was written is not what was meant."""
