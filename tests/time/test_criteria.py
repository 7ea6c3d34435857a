"""The criteria file: every number with its source, and every defect named."""

from __future__ import annotations

from pathlib import Path

import pytest

import psdt_planner
from psdt_planner.criteria import Criteria, parse_criteria
from psdt_planner.errors import ProtocolError
from psdt_planner.protocol import Cited

SHIPPED = Path(psdt_planner.__file__).parent / "criteria" / "psdt.toml"
TEXT = SHIPPED.read_text(encoding="utf-8")


def test_the_shipped_criteria_cite_every_row() -> None:
    criteria = parse_criteria(TEXT, "psdt")
    rows = [getattr(criteria, key) for key in Criteria.model_fields]
    cited = [row for row in rows if isinstance(row, Cited)]
    assert len(cited) == len(rows) - 3  # name, sha256, title
    assert all(row.citation for row in cited)
    assert criteria.castration.testosterone_below_ng_per_dl == 50.0
    assert criteria.castration.testosterone_below_nmol_per_l == 1.7
    assert criteria.synchronous.within_months == 6
    assert criteria.adc_repeatability.coefficient_percent == 14.8


REFUSED = {
    "no TOML": ("schema =", "not TOML"),
    "another schema": (TEXT.replace("schema = 1", "schema = 2"), "schema must be 1"),
    "an unknown key": (TEXT.replace("edge_mm", "edges_mm"), "unknown key edges_mm; the nearest known key is edge_mm"),
    "a row without a source": (TEXT.replace('certainty = "H"', "", 1), "certainty"),
    "a missing row": (TEXT.replace("[synchronous]", "[synchron]"), "unknown key synchron"),
    "a key of ours": (TEXT.replace("schema = 1", 'schema = 1\nsha256 = "00"'), "sha256: comes from the file"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(text: str, words: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        parse_criteria(text, "psdt")
    assert words in str(refusal.value)
