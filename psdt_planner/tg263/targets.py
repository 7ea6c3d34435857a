"""Names of targets: type, classifier and number, then imaging, structure, dose, crop and a qualifier of one's own."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final, Literal

from psdt_planner.errors import FaultError, InputError
from psdt_planner.tg263.anatomy import ANATOMY
from psdt_planner.tg263.organs import LONGEST_NAME

TARGET_TYPES: Final = ("GTV", "CTV", "ITV", "IGTV", "ICTV", "PTV", "PTV!")

CLASSIFIERS: Final = {
    "n": "nodal",
    "p": "primary",
    "sb": "surgical bed",
    "par": "parenchyma",
    "v": "venous thrombosis",
    "vas": "vascular",
}
"""Metastases have none: there is no ``m``."""

EVALUATED: Final = "Eval"
"""Stands in the place of a structure where a target is cropped for evaluation: ``PTV_Eval_7000-08``."""

WHOLE_CGY: Final = 1e-6
"""Rounding of binary numbers."""

Unit = Literal["cGy", "Gy", "pGy"]
"""How a dose is written: ``5040``, ``50.4Gy``, or ``50p4Gy`` where a name can hold no point."""


@dataclass(frozen=True)
class NumericDose:
    """A dose in a name.

    Attributes:
        cgy: of the whole course; where there are ``fractions``, of ONE fraction (rule 7).
        fractions: how many; None where the name does not tell.
        unit: how it is written.

    Raises:
        FaultError: no dose, no fraction, or a whole number of Gy with a point.
    """

    cgy: int
    fractions: int | None = None
    unit: Unit = "cGy"

    def __post_init__(self) -> None:
        if self.cgy < 1 or (self.fractions is not None and self.fractions < 1):
            raise FaultError("a dose in a name is one cGy or more, in one fraction or more")
        if self.unit == "pGy" and self.cgy % 100 == 0:
            raise FaultError("a whole number of Gy has no decimals to write")

    def __str__(self) -> str:
        """``2000x3`` reads: 20 Gy a fraction, three fractions, 60 Gy in all."""
        gy = f"{self.cgy // 100}.{self.cgy % 100:02d}".rstrip("0").rstrip(".")
        dose = {"cGy": str(self.cgy), "Gy": f"{gy}Gy", "pGy": f"{gy.replace('.', 'p')}Gy"}[self.unit]
        return dose if self.fractions is None else f"{dose}x{self.fractions}"


def dose_per_fraction(*, total_gy: float, fractions: int, unit: Unit = "cGy") -> NumericDose:
    """The dose of a schedule as a name must tell it: 30 Gy in 3 fractions is ``1000x3``; ``3000x3`` would be 90 Gy.

    Raises:
        FaultError: no dose or fraction, or one that is no whole number of cGy a fraction.
    """
    if fractions < 1 or not total_gy > 0:
        raise FaultError(f"{total_gy:g} Gy in {fractions} is no schedule")
    cgy = total_gy * 100.0 / fractions
    if abs(cgy - round(cgy)) > WHOLE_CGY:
        raise FaultError(f"{total_gy:g} Gy in {fractions} is {cgy:.4f} cGy a fraction, no whole number")
    return NumericDose(round(cgy), fractions, unit)


@dataclass(frozen=True)
class TargetName:
    """A name of a target, by its parts.

    Attributes:
        type: one of ``TARGET_TYPES``.
        classifier: key of ``CLASSIFIERS``, or empty.
        number: of the target; None where it is the only one.
        imaging: what it was drawn on, with sequence numbers, such as ``MR2`` or ``CT1PT1``.
        structure: a standard name where the target lies, such as ``VB_L4``, or ``Eval``.
        dose: numeric, or relative: ``High``, ``Low``, ``Mid``, ``Mid01``.
        crop_mm: how far it was cropped from the skin.
        custom: a qualifier of the site's own.

    Raises:
        FaultError: a part that TG-263 does not know, or a name that cannot be written in 16 characters and read again.
    """

    type: str
    classifier: str = ""
    number: int | None = None
    imaging: str = ""
    structure: str = ""
    dose: NumericDose | str = ""
    crop_mm: int | None = None
    custom: str = ""

    def __post_init__(self) -> None:
        if self.type not in TARGET_TYPES or self.classifier not in {"", *CLASSIFIERS}:
            raise FaultError(f"TG-263 knows no {self.type}{self.classifier}")
        if self.structure not in {"", EVALUATED, *ANATOMY}:
            raise FaultError(f"{self.structure!r} is no standard name of a structure")
        parts = tuple(getattr(self, field.name) for field in fields(self))
        if _read(self.full) != parts:
            raise FaultError(f"{self.full!r} does not tell the parts that it was made of")
        if len(str(self)) > LONGEST_NAME:
            raise FaultError(f"{self.full!r} cannot be written in {LONGEST_NAME} characters")
        if _read(str(self)) != parts:
            raise FaultError(f"{str(self)!r}, which is {self.full!r} without underscores, reads as something else")

    @property
    def full(self) -> str:
        """The name with all its underscores, however long."""
        parts = (self.imaging, self.structure, str(self.dose))
        crop = "" if self.crop_mm is None else f"-{self.crop_mm:02d}"
        number = "" if self.number is None else str(self.number)
        head = f"{self.type}{self.classifier}{number}"
        return "_".join([head, *filter(None, parts)]) + crop + (f"^{self.custom}" if self.custom else "")

    def __str__(self) -> str:
        """The name; underscores go, from the left, only where it would pass 16 characters (rule 10, a last resort)."""
        text = self.full
        return text.replace("_", "", max(0, len(text) - LONGEST_NAME))

    @classmethod
    def parse(cls, text: str) -> TargetName:
        """The parts of a name, read strictly: a name that psdt would write otherwise is refused.

        Raises:
            InputError: no name of a target by TG-263, such as ``GTVm1``.
        """
        try:
            parts = _read(text)
            if parts is None:
                raise InputError(f"{text!r} is no name of a target by TG-263")
            name = cls(*parts)
        except FaultError as error:
            raise InputError(f"{text!r} is no name of a target by TG-263: {error.message}") from error
        if str(name) != text:
            raise InputError(f"{text!r} is no name of a target by TG-263; the nearest is {name!s}")
        return name


_BY_LETTERS: Final = {name.replace("_", ""): name for name in (EVALUATED, *ANATOMY)}
"""Structures by their names without underscores, as a shortened name has them."""

_STRUCTURES: Final = "|".join(name.replace("_", "_?") for name in sorted((EVALUATED, *ANATOMY), key=len, reverse=True))

_GY: Final = r"(?:0|[1-9][0-9]*)(?:[.p][0-9]{1,2})?Gy"

_FORM: Final = re.compile(
    rf"(?P<type>PTV!|{'|'.join(kind for kind in TARGET_TYPES if kind != 'PTV!')})"
    r"(?P<classifier>par|vas|sb|n|p|v|)(?P<number>[1-9][0-9]*|)"
    r"(?:_?(?P<imaging>(?:(?:CT|PT|MR|SP)[1-9][0-9]*)+))?"
    rf"(?:_?(?P<structure>{_STRUCTURES}))?"
    rf"(?:_?(?:(?P<relative>High|Low|Mid(?:[0-9]{{2}})?)|(?P<dose>{_GY}|[1-9][0-9]*)(?:x(?P<fractions>[1-9][0-9]*))?))?"
    r"(?:-(?P<crop>[0-9]{2}))?(?:\^(?P<custom>[A-Za-z0-9]+))?",
    flags=re.ASCII,
)


def _read(text: str) -> tuple[str, str, int | None, str, str, NumericDose | str, int | None, str] | None:
    """The parts in the order of the fields of a name, with or without underscores; None where it is no name."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    number, crop, fractions = (int(match[key]) if match[key] else None for key in ("number", "crop", "fractions"))
    structure = _BY_LETTERS[match["structure"].replace("_", "")] if match["structure"] else ""
    head = (match["type"], match["classifier"], number, match["imaging"] or "", structure)
    dose = _dose(match["dose"], fractions) if match["dose"] else match["relative"] or ""
    return *head, dose, crop, match["custom"] or ""


def _dose(text: str, fractions: int | None) -> NumericDose:
    if not text.endswith("Gy"):
        return NumericDose(int(text), fractions)
    gy, _, cents = text.removesuffix("Gy").replace("p", ".").partition(".")
    return NumericDose(int(gy) * 100 + int(cents.ljust(2, "0")), fractions, "pGy" if "p" in text else "Gy")
