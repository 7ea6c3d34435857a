"""The tumour load in words: a row for the patient, for each region and each lesion, and the rule of the masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from psdt_planner.dwi.load import AdcSpread, Load, TumourLoad
from psdt_planner.report import words


@dataclass(frozen=True)
class LoadRow:
    """One mask, as cells of a table; ADC in 10^-3 mm2/s."""

    of: str
    lesions: str
    volume: str
    median: str
    mean: str
    spread: str


@dataclass(frozen=True)
class LoadSection:
    """All that the page says of the load.

    Attributes:
        bins: range of ADC and volume in it, of the whole patient; empty where no ADC is known.
        rule, sources: as the load has them.
    """

    rows: tuple[LoadRow, ...]
    bins: tuple[tuple[str, str], ...]
    rule: tuple[str, ...]
    sources: tuple[str, ...]


def load_section(load: TumourLoad) -> LoadSection:
    """The words of one load."""
    regions = load.regions if len(load.regions) > 1 else ()
    rows = tuple(_row(one) for one in (load.patient, *regions, *load.lesions))
    return LoadSection(rows, tuple(_bins(load.patient.adc)), load.rule, load.sources)


def _row(load: Load) -> LoadRow:
    adc, volume = load.adc, words.millilitres(load.volume_ml)
    lesions = ", ".join(load.lesions)
    if adc is None:
        return LoadRow(load.of, lesions, volume, "no ADC", "", "")
    spread = f"{_adc(adc.percentiles[10])} to {_adc(adc.percentiles[90])}"
    return LoadRow(load.of, lesions, volume, _adc(adc.median), _adc(adc.mean), spread)


def _bins(adc: AdcSpread | None) -> Iterator[tuple[str, str]]:
    if adc is None:
        return
    for (low, high), ml in zip(pairwise(adc.edges), adc.bins_ml, strict=True):
        yield f"{_adc(low)} to {_adc(high)}", words.millilitres(ml)


def _adc(mm2_per_s: float) -> str:
    return f"{1000 * mm2_per_s:.2f}"
