"""Which organ at risk an ROI is: by its TG-263 name, by an alias of the protocol, and by its SNOMED CT code.

A planning volume around an organ, a part of it, and what is not for dose are no organs here: they are told by their
names, which no organ has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from psdt_planner.exam import Organ
from psdt_planner.protocol import Protocol, folded
from psdt_planner.tg263 import ANATOMY

_SIDES: Final = (
    r"left|right|lt|rt|l|r|links|rechts|linke[rsn]?|rechte[rsn]?|li|re|gauche|droite?|izq|izquierd[oa]|der|sx|dx"
)
_SIDE: Final = re.compile(rf"^(?:{_SIDES})[\s_.\-]+|[\s_.\-]+(?:{_SIDES})$")
"""A side before or after a name, apart from it."""

CODED: Final[Mapping[str, str]] = {
    anatomy.code.value: name.removesuffix("_L").removesuffix("_R")
    for name, anatomy in reversed(list(ANATOMY.items()))
    if anatomy.code is not None
}
"""TG-263 name without a side by SNOMED CT code; of names with one code the first."""


@dataclass(frozen=True)
class OrganNames:
    """The organs of a protocol by what they are called.

    Attributes:
        by_name: key of the protocol's organs by folded name.
    """

    by_name: Mapping[str, str]

    @classmethod
    def of(cls, protocol: Protocol) -> OrganNames:
        """The names of a protocol."""
        return cls(
            {folded(name): key for key, row in protocol.organs.items() for name in (key, *row.names, *row.aliases)}
        )

    def key(self, organ: Organ) -> str:
        """Key of the organ that an ROI is; empty where it is none that the protocol knows, or name and code differ."""
        named, coded = self._named(organ.name), self._coded(organ.code)
        if named and coded and named != coded:
            return ""
        return named or coded

    def contradicts(self, organ: Organ) -> bool:
        """Whether an ROI's name says one organ and its code another."""
        named, coded = self._named(organ.name), self._coded(organ.code)
        return bool(named and coded and named != coded)

    def _named(self, name: str) -> str:
        plain = name.strip().casefold()
        return self.by_name.get(folded(plain)) or self.by_name.get(folded(_SIDE.sub("", plain)), "")

    def _coded(self, code: str) -> str:
        return self.by_name.get(folded(CODED.get(code, "")), "")
