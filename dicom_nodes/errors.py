"""Everything that the node raises on purpose, branching by who must act.

::

    NodeError
    ├── ConfigurationError          the clinic: psdt.toml, a folder or a port is not as it must be
    ├── ObjectError                 the sender: an object cannot be taken or used as it came
    │   ├── UnreadableObjectError       its bytes are not a DICOM data set
    │   └── IncompleteObjectError       an attribute that every object carries is absent, or a UID is malformed
    ├── PeerError                   the network: a peer is away, refused us, or did not answer
    └── FaultError                  us: a promise of the code was broken
"""

from __future__ import annotations

import traceback
from pathlib import Path


class NodeError(Exception):
    """Root of the tree; says what is wrong, where (UIDs, peers, files), and what to do about it."""

    def __init__(self, message: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        todo = f" {self.todo}" if self.todo else ""
        return f"{self.message.removesuffix('.')}{where}.{todo}"


class ConfigurationError(NodeError):
    """The clinic must act: the configuration, a folder or a port is not as it must be."""


class ObjectError(NodeError):
    """The sender must act: an object cannot be taken or used as it came."""


class UnreadableObjectError(ObjectError):
    """The bytes are not a DICOM data set in the transfer syntax that was agreed."""


class IncompleteObjectError(ObjectError):
    """An attribute that every composite object carries is absent or empty, or a UID is malformed."""


class PeerError(NodeError):
    """The network must be looked at: a peer is away, refused us, or did not answer."""


class FaultError(NodeError):
    """We must act: a promise of the code was broken."""


def trail(error: BaseException) -> list[str]:
    """Where an error came from, the innermost place last: file, line and function, and nothing of what they held.

    A log gets this in place of a traceback: the text of a library's error may quote a patient's data, and so do the
    local variables that some formatters print.
    """
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
