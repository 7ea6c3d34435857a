"""Names of what is not a target: organs, their planning volumes, parts of them, and what is not for dose."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final

from psdt_planner.errors import FaultError, InputError
from psdt_planner.tg263.anatomy import ANATOMY, Anatomy

LONGEST_NAME: Final = 16
"""Rule 1: several planning systems cut or refuse longer names."""

SIDES: Final = ("L", "R", "A", "P", "I", "S", "RUL", "RLL", "RML", "LUL", "LLL", "NAdj", "Dist", "Prox")
"""Rule 7: where a structure lies; always the last part of a name."""

_FORM: Final = re.compile(
    r"(?P<unused>z?)(?P<root>[A-Za-z0-9_]+?)(?P<partial>~?)(?:_PRV(?P<prv>[0-9]{0,2}))?"
    rf"(?:_(?P<side>{'|'.join(SIDES)}))?(?:-(?P<minus>[A-Za-z0-9]+))?(?:\^(?P<custom>[A-Za-z0-9]+))?",
    flags=re.ASCII,
)


@dataclass(frozen=True)
class OrganName:
    """A name of what is not a target, by its parts.

    Attributes:
        root: the structure without its side, such as ``OpticNrv``; anything where ``unused``.
        side: where it lies; empty where the name does not tell.
        prv_mm: margin of a planning organ at risk volume; 0 where the name does not tell it, None where it is none.
        partial: contoured in part only (``~``).
        minus: what was cut out, such as ``GTV``.
        custom: a qualifier of the site's own (``^``).
        unused: not for the evaluation of dose (``z``).

    Raises:
        FaultError: a structure that TG-263 does not name, a side within the root, a margin beyond two digits, or a
            name of more than 16 characters.
    """

    root: str
    side: str = ""
    prv_mm: int | None = None
    partial: bool = False
    minus: str = ""
    custom: str = ""
    unused: bool = False

    def __post_init__(self) -> None:
        if self.anatomy is None and not self.unused:
            raise FaultError(f"TG-263 does not name {self._standard!r}")
        if self.root.rpartition("_")[2] in SIDES:
            raise FaultError(f"the side of {self.root!r} is the last part of a name")
        if self.prv_mm is not None and not 0 <= self.prv_mm <= 99:
            raise FaultError(f"a margin of {self.prv_mm} mm does not fit a name")
        if len(str(self)) > LONGEST_NAME:
            raise FaultError(f"{self!s} has more than {LONGEST_NAME} characters")
        if _read(str(self)) != tuple(getattr(self, field.name) for field in fields(self)):
            raise FaultError(f"{str(self)!r} does not tell the parts that it was made of")

    @property
    def _standard(self) -> str:
        return f"{self.root}_{self.side}" if self.side else self.root

    @property
    def anatomy(self) -> Anatomy | None:
        """What TG-263 says of the structure; None for a name that is not for dose and not of a standard structure."""
        return ANATOMY.get(self._standard)

    @property
    def _prv_digits(self) -> int:
        if not self.prv_mm:
            return 0
        return 2 if self.prv_mm > 9 or len(self._written(2)) <= LONGEST_NAME else 1

    def _written(self, digits: int) -> str:
        margin = f"{self.prv_mm:0{digits}d}" if self.prv_mm else ""
        return "".join(
            [
                "z" * self.unused,
                self.root,
                "~" * self.partial,
                "" if self.prv_mm is None else f"_PRV{margin}",
                f"_{self.side}" if self.side else "",
                f"-{self.minus}" if self.minus else "",
                f"^{self.custom}" if self.custom else "",
            ]
        )

    def __str__(self) -> str:
        """The name; a margin has two digits where they fit (rule 10)."""
        return self._written(self._prv_digits)

    @classmethod
    def parse(cls, text: str) -> OrganName:
        """The parts of a name, read strictly.

        Raises:
            InputError: a name that TG-263 does not give.
        """
        parts = _read(text)
        if parts is None:
            raise InputError(f"{text!r} is no name by TG-263")
        try:
            name = cls(*parts)
        except FaultError as error:
            raise InputError(f"{text!r} is no name by TG-263: {error.message}") from error
        if str(name) != text:
            raise InputError(f"{text!r} is no name by TG-263; the nearest is {name!s}")
        return name


def _read(text: str) -> tuple[str, str, int | None, bool, str, str, bool] | None:
    """The parts in the order of the fields of a name; None where it is none."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    prv_mm = None if match["prv"] is None else int(match["prv"] or "0")
    texts = (match["minus"] or "", match["custom"] or "")
    return match["root"], match["side"] or "", prv_mm, bool(match["partial"]), *texts, bool(match["unused"])


_BY_FOLDED: Final = {name.casefold(): anatomy for name, anatomy in ANATOMY.items()}


def recognise(text: str) -> Anatomy | None:
    """The structure that a name means exactly, but for its capital letters; None where it is no standard name."""
    return _BY_FOLDED.get(text.strip().casefold())
