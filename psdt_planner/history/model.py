"""One patient's history as values; the tables of ``history.toml`` have the same shape."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from psdt_planner.tables import Place, Table, Words

MAX_PSA_NG_PER_ML: Final = 100_000.0
MAX_TESTOSTERONE_NMOL_PER_L: Final = 100.0
"""Above these a value is a mistake of unit: 50 ng/ml of testosterone is a castrate 50 ng/dl, mistyped."""

NMOL_PER_L: Final = {"nmol/l": 1.0, "ng/dl": 0.0347, "ng/ml": 3.47, "ug/l": 3.47}
"""Of testosterone, molar mass 288.4 g/mol."""

FROM_A_PERSON: Final = "history.toml"
FROM_A_BUNDLE: Final = "FHIR bundle"
FROM_BOTH: Final = "history.toml and FHIR bundle"


def _lower(text: object) -> object:
    return text.strip().lower().replace("µ", "u") if isinstance(text, str) else text


class TherapyKind(StrEnum):
    """Systemic therapies of prostate cancer."""

    ADT = "adt"
    """Androgen deprivation, surgical castration included."""
    ARPI = "arpi"
    """Androgen receptor pathway inhibitors, the new hormonal drugs."""
    TAXANE = "taxane"
    PARP = "parp"
    RADIONUCLIDE = "radionuclide"
    OTHER = "other"


class Diagnosis(Table):
    """Of the primary tumour."""

    date: dt.date


class Disease(Table):
    """Metastatic disease as the clinician knows it; a key that is absent is a missing fact.

    Attributes:
        polymetastatic: whether there ever was polymetastatic disease before the present state.
        oligometastatic: whether there ever was oligometastatic disease before the present state.
        oligometastatic_since: when the present oligometastatic disease was first diagnosed.
    """

    polymetastatic: bool | None = None
    oligometastatic: bool | None = None
    oligometastatic_since: dt.date | None = None


class Therapy(Table):
    """A systemic therapy; ``ongoing`` is None where a bundle does not tell, and then nobody knows."""

    name: Words
    kind: Annotated[TherapyKind, Field(strict=False)]
    start: dt.date | None = None
    end: dt.date | None = None
    ongoing: bool | None = None

    @property
    def goes_on(self) -> bool | None:
        """Whether it went on at the reference date; None where nobody says."""
        return False if self.end else self.ongoing


class Psa(Table):
    """One PSA value, ``below`` a limit of detection where the laboratory says so."""

    date: dt.date
    value: Annotated[float, Field(ge=0.0, le=MAX_PSA_NG_PER_ML)]
    unit: Annotated[Literal["ng/ml", "ug/l"], BeforeValidator(_lower)]
    below: bool = False

    @property
    def ng_per_ml(self) -> float:
        """The value, or the limit that it lies below."""
        return self.value


class Testosterone(Table):
    """One serum testosterone value, in the laboratory's unit."""

    date: dt.date
    value: Annotated[float, Field(ge=0.0)]
    unit: Annotated[Literal["ng/dl", "nmol/l", "ng/ml", "ug/l"], BeforeValidator(_lower)]
    below: bool = False

    @model_validator(mode="after")
    def _plausible(self) -> Testosterone:
        if self.value * NMOL_PER_L[self.unit] > MAX_TESTOSTERONE_NMOL_PER_L:
            raise PydanticCustomError("implausible", "no serum has so much testosterone: look at the unit")
        return self

    def is_below(self, *, ng_per_dl: float, nmol_per_l: float) -> bool:
        """Whether it lies below the limit for its own unit, so that no rounding of a conversion decides."""
        if self.unit == "nmol/l":
            limit, value = nmol_per_l, self.value
        else:
            limit, value = ng_per_dl, self.value * (1.0 if self.unit == "ng/dl" else 100.0)
        return value < limit or (self.below and value <= limit)


class RadiographicProgression(Table):
    """Progression on images before or at the reference date, as a person called it by RECIST or PCWG."""

    date: dt.date
    finding: Words


class Radiotherapy(Table):
    """An earlier course of radiotherapy."""

    site: Words
    date: dt.date
    dose_gy: Annotated[float, Field(gt=0.0, le=120.0)] | None = None
    fractions: Annotated[int, Field(ge=1, le=60)] | None = None


class Stage(Table):
    """A stage or an M category, in the words of the record; shown, and not decided by."""

    stage: Annotated[str, Field(min_length=1)]
    date: dt.date | None = None


class Rac(Table):
    """The reader's response assessment category of one lesion (MET-RADS-P), by its id or its tracking UID."""

    lesion: Annotated[str, Field(min_length=1)]
    rac: Annotated[int, Field(ge=1, le=5)]
    secondary: Annotated[int, Field(ge=1, le=5)] | None = None


class History(Table):
    """All that is known of the time before the exam.

    Attributes:
        name: of the file, without its folder.
        sha256: of its text in UTF-8, hexadecimal.
        source: ``history.toml``, ``FHIR bundle``, or both.
        reference_date: the day that it is told for; nothing in it is later.
        therapies: systemic; None where nothing is told, empty where a person says that there were none.
        unread: what a bundle holds beside, and why it is not used.
        therapies_of_bundle: whether, of both, the bundle alone tells therapies.
    """

    name: str
    sha256: str
    source: Literal["history.toml", "FHIR bundle", "history.toml and FHIR bundle"]
    reference_date: dt.date
    diagnosis: Diagnosis | None = None
    disease: Disease = Disease()
    therapies: Annotated[tuple[Therapy, ...], Field(strict=False)] | None = None
    psa: Annotated[tuple[Psa, ...], Field(strict=False)] | None = None
    testosterone: Annotated[tuple[Testosterone, ...], Field(strict=False)] | None = None
    radiographic_progression: Annotated[tuple[RadiographicProgression, ...], Field(strict=False)] | None = None
    radiotherapy: Annotated[tuple[Radiotherapy, ...], Field(strict=False)] | None = None
    stages: Annotated[tuple[Stage, ...], Field(strict=False)] = ()
    rac: Annotated[tuple[Rac, ...], Field(strict=False)] = ()
    unread: Annotated[tuple[str, ...], Field(strict=False)] = ()
    therapies_of_bundle: bool = False

    @property
    def therapies_complete(self) -> bool:
        """Whether the list of therapies is all there were: a person says so; a bundle is what a system sent."""
        return self.therapies is not None and self.source != FROM_A_BUNDLE and not self.therapies_of_bundle


def contradictions(history: History, exam_date: dt.date) -> Iterator[tuple[Place, str]]:
    """What no table of the history says alone: dates after the exam, and entries that speak against each other."""
    if history.reference_date > exam_date:
        yield ("reference_date",), "the reference date lies after the exam"
    for place, day in _days(history):
        if day > history.reference_date:
            yield place, "the date lies after the reference date"
    for n, therapy in enumerate(history.therapies or ()):
        if therapy.start and therapy.end and therapy.start > therapy.end:
            yield ("therapies", n, "end"), "the therapy ends before it starts"
        if therapy.ongoing and therapy.end:
            yield ("therapies", n, "ongoing"), "a therapy that goes on has no end"
    since, diagnosis = history.disease.oligometastatic_since, history.diagnosis
    if since and diagnosis and since < diagnosis.date:
        yield ("disease", "oligometastatic_since"), "metastases were found before the primary diagnosis"
    yield from _twice("psa", [(one.date.isoformat(), one.value) for one in history.psa or ()])
    yield from _twice("testosterone", [(one.date.isoformat(), one.value) for one in history.testosterone or ()])
    yield from _twice("rac", [(one.lesion, one.rac) for one in history.rac], alike=True)


def _days(history: History) -> Iterator[tuple[Place, dt.date]]:
    if history.diagnosis:
        yield ("diagnosis", "date"), history.diagnosis.date
    if history.disease.oligometastatic_since:
        yield ("disease", "oligometastatic_since"), history.disease.oligometastatic_since
    for n, therapy in enumerate(history.therapies or ()):
        yield from ((("therapies", n, key), day) for key in ("start", "end") if (day := getattr(therapy, key)))
    for key in ("psa", "testosterone", "radiographic_progression", "radiotherapy", "stages"):
        rows = getattr(history, key) or ()
        yield from (((key, n, "date"), row.date) for n, row in enumerate(rows) if row.date)


def _twice(key: str, rows: list[tuple[str, float]], *, alike: bool = False) -> Iterator[tuple[Place, str]]:
    """Two rows of one day (or lesion) with different values; with ``alike`` the same value twice, too."""
    first: dict[str, float] = {}
    for n, (name, value) in enumerate(rows):
        if name in first and (alike or first[name] != value):
            yield (key, n), f"{name} is there twice"
        first.setdefault(name, value)
