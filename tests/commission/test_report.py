"""The physicist's report in its three forms, of made-up rows."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from psdt_planner.commission import (
    ContourRows,
    Made,
    Rows,
    Trial,
    TrialKind,
    contours_section,
    mapping_section,
    render_html,
    render_markdown,
    report_json,
)
from psdt_planner.commission.plots import plots
from psdt_planner.commission.tables import Table, said, tables
from tests.commission.contour_rows import CONTOURS, SPOILT
from tests.commission.rows import GOOD, GOOD_LESIONS, GOOD_TRIALS, case, held, lesion
from tests.report.test_page import Page

MADE = Made("psdt commission --out DIR --seeds 1", "0.1.0", datetime(2024, 1, 18, 10, 15, tzinfo=UTC))
BAD = Rows(
    (
        case([lesion(lesion="L1", error_mm=2.4), held(lesion="L2", where="rib", error_mm=7.0), lesion(lesion="L3")]),
        case([lesion(case="thorax 2 ×1.8", error_mm=0.9)], name="thorax 2 ×1.8", deformation=1.8, level_share=1.2,
             codes=("lesion-uncertain",)),
    ),
    (*GOOD_TRIALS, Trial(TrialKind.WRONG_PATIENT, "pelvis 3 ×1", False)),
)  # fmt: skip
NOTHING = Rows((case([held(error_mm=None, t1_error_mm=None, bound_mm=None, start_mm=None, disagreement_mm=None)]),))

OTHER = ("contours", "validation-contours.md")


def page_of(rows: Rows) -> str:
    return render_html([mapping_section(rows)], MADE)


def json_of(rows: Rows) -> dict[str, Any]:
    return report_json(rows, ContourRows(), [mapping_section(rows)], MADE)


def table(rows: Rows, title: str) -> Table:
    return next(one for one in tables(rows) if one.title == title)


def line(rows: Rows, title: str, first: str) -> dict[str, str]:
    """A row of a table by its first cell."""
    found = table(rows, title)
    return next(dict(zip(found.head, row, strict=True)) for row in found.rows if row[0] == first)


def test_figures_say_the_bar_what_was_reached_and_whether() -> None:
    row = line(BAD, "Figures", "accepted lesions within their bound")
    assert row == {
        "figure": "accepted lesions within their bound", "bar": "at least 95 %", "reached": "66.7 % (9 to 99)",
        "deformation ×1": "50.0 %", "deformation ×1.8": "100.0 %", "of": "3", "verdict": "MISSED",
    }  # fmt: skip
    assert line(BAD, "Figures", "worst accepted lesion, from T1 or DWI")["verdict"] == "met"
    assert line(BAD, "Figures", "nodes, from T1: median")["verdict"] == "no data"
    assert line(BAD, "Figures", "CPU time a case: median")["bar"] == ""
    assert "deformation ×1" not in table(GOOD, "Figures").head, "one deformation needs no column of its own"


def test_places_show_what_was_accepted_and_how_far_off_it_was() -> None:
    rows = Rows((case([lesion(start_mm=float(n), error_mm=float(n), bound_mm=20.5) for n in range(1, 22)]),))
    assert line(rows, "By place", "vertebral-body") == {
        "place": "vertebral-body", "site": "spine", "accepted": "21 of 21", "whole body alone": "11.0 / 20.0 / 21.0",
        "from T1": "0.5 / 0.5 / 0.5", "from the flag on DWI": "11.0 / 20.0 / 21.0", "bound: median": "20.50 mm",
        "covered": "20 of 21",
    }  # fmt: skip
    assert line(BAD, "By place", "rib")["from T1"] == "–"
    assert [row[0] for row in table(BAD, "By place").rows] == ["rib", "vertebral-body"]


def test_refusals_are_counted_by_code() -> None:
    assert table(BAD, "Refusals and warnings").rows == (("lesion-uncertain", "1", "1"),)
    assert "Refusals and warnings" not in [one.title for one in tables(GOOD)], "a table without rows is left out"


def test_cases_show_start_error_and_time() -> None:
    assert line(BAD, "By case", "pelvis 1 ×1") == {
        "case": "pelvis 1 ×1", "accepted": "2 of 3", "starts right": "yes", "whole body: median": "3.00 mm",
        "worst vertebra, share of half a level": "0.40 (L1)", "from the flag: median / worst mm": "1.4 / 2.4",
        "CPU s": "20.0", "of it a lesion": "4.0", "waited s": "11.0",
    }  # fmt: skip
    assert line(BAD, "By case", "thorax 2 ×1.8")["starts right"] == "NO"


def test_held_lesions_come_first_then_those_nearest_to_their_bound() -> None:
    rows = table(BAD, "Held, or nearest to the bound").rows
    assert [row[:4] for row in rows] == [
        ("pelvis 1 ×1", "L2", "rib", "lesion-uncertain"),
        ("pelvis 1 ×1", "L1", "vertebral-body", "accepted"),
        ("thorax 2 ×1.8", "L1", "vertebral-body", "accepted"),
        ("pelvis 1 ×1", "L3", "vertebral-body", "accepted"),
    ]


def test_trials_name_those_that_went_unnoticed() -> None:
    assert table(BAD, "Trials").rows == (
        ("start moved by one vertebra", "2", "0", ""),
        ("start at the right vertebra", "0", "2", ""),
        ("another patient's MR and flags", "2", "1", "pelvis 3 ×1"),
    )


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(None, "mm", "–"), (0.704, "mm", "0.70 mm"), (97.35, "%", "97.3 %"), (12.0, "s", "12.0 s"), (0.5, "", "0.50")],
)
def test_numbers_have_the_decimals_that_mean_something(value: float | None, unit: str, words: str) -> None:
    assert said(value, unit) == words


@pytest.fixture(scope="module")
def html() -> str:
    return page_of(BAD)


def test_the_page_opens_offline(html: str) -> None:
    page = Page(html)
    assert page.open == []
    sources = page.attributes("img", "src")
    assert len(sources) == 4
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not {"script", "link", "iframe", "object", "form", "a"} & {tag for tag, _ in page.elements}
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in page.attributes("meta", "content")[1]
    assert all(len(words) > 20 for words in page.attributes("img", "alt"))


def test_each_plot_is_an_svg_that_refers_to_nothing_outside(html: str) -> None:
    for source in Page(html).attributes("img", "src"):
        root = ET.fromstring(base64.b64decode(source.split(",")[1]))  # noqa: S314 - made by ourselves
        assert root.tag.endswith("svg")
        links = [value for part in root.iter() for name, value in part.attrib.items() if name.endswith("href")]
        assert links
        assert all(link.startswith("#") for link in links)


def test_the_page_says_what_was_missed_and_that_it_is_synthetic(html: str) -> None:
    text = Page(html).text
    assert Page(html).texts[0].startswith("Research software, not a medical device. Synthetic patients")
    assert "BARS MISSED" in text
    assert "wrong patient refused (66.7 %)" in text
    assert "two to four times" in text
    assert "Phantoms: 2; lesions: 4" in text
    assert "Made 2024-01-18 10:15 UTC · psdt 0.1.0" in text
    good = Page(page_of(GOOD)).text
    assert "BARS MET" in good
    assert "Every bar with data is met." in good


def test_the_same_rows_give_the_same_page(html: str) -> None:
    assert page_of(BAD) == html
    assert page_of(GOOD) != html


def test_a_run_in_which_nothing_was_mapped_has_a_page_without_plots() -> None:
    assert plots(NOTHING) == ()
    assert Page(page_of(NOTHING)).attributes("img", "src") == []
    assert len(plots(Rows((case([held()]),)))) == 4, "held lesions alone can be drawn"
    assert len(plots(Rows((case([lesion(disagreement_mm=0.0)]),)))) == 4


def test_markdown_has_every_table() -> None:
    text = render_markdown(mapping_section(BAD), MADE, OTHER)
    assert text.startswith("# Validation: mapping\n\nMade by `psdt commission --out DIR --seeds 1` with psdt 0.1.0")
    assert "contours: [validation-contours.md](validation-contours.md)" in text
    for one in tables(BAD):
        assert f"\n## {one.title}\n" in text
        for row in one.rows:
            assert "| " + " | ".join(row) + " |" in text
    assert all(text_line.count("|") > 2 for text_line in text.splitlines() if text_line.startswith("|"))


def test_json_holds_every_row_and_figure() -> None:
    report = json_of(BAD)
    assert json.loads(json.dumps(report, allow_nan=False))["schema"] == 1
    assert (report["made"], report["psdt"]) == ("2024-01-18T10:15:00+00:00", "0.1.0")
    assert report["missed"] == [one["key"] for one in report["figures"] if one["missed"]]
    assert {"starts_right", "covered", "refused", "wrong_patient"} <= set(report["missed"])
    covered = next(one for one in report["figures"] if one["key"] == "covered")
    assert covered["bar"] == {"at": "least", "value": 95.0}
    assert covered["value"] == pytest.approx(200 / 3)
    assert report["by_deformation"]["1.8"]["covered"] == 100.0
    assert [one["name"] for one in report["cases"]] == ["pelvis 1 ×1", "thorax 2 ×1.8"]
    assert [one["started_right"] for one in report["cases"]] == [True, False]
    assert report["cases"][0]["lesions"][1]["reasons"] == ("lesion-uncertain",)
    assert report["trials"][-1] == {"kind": "wrong_patient", "case": "pelvis 3 ×1", "noticed": False, "codes": ()}


def keys_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for one in value.values() for key in keys_of(one)}
    if isinstance(value, (list, tuple)):
        return {key for one in value for key in keys_of(one)}
    return set()


def test_the_physicists_page_names_every_key_and_every_figure() -> None:
    page = (Path(__file__).parents[2] / "docs" / "physicist.md").read_text(encoding="utf-8")
    _, section = page.split("## Commissioning")
    named = set(re.findall(r"`([a-z0-9_]+)`", section.split("\n## ")[0]))
    sections = [mapping_section(BAD), contours_section(CONTOURS)]
    report = report_json(BAD, CONTOURS, sections, MADE)
    del report["by_deformation"]
    assert len(report["figures"]) == sum(len(section.figures) for section in sections)
    assert keys_of(report) | {one["key"] for one in report["figures"]} <= named


def test_both_parts_stand_on_one_page_with_one_verdict() -> None:
    html = Page(render_html([mapping_section(GOOD), contours_section(SPOILT)], MADE))
    assert html.open == []
    assert "BARS MISSED" in html.text
    assert html.text.index("Every bar with data is met.") < html.text.index("Missed bars: CT mask of 4 mm")
    ids = html.attributes("h3", "id")
    assert len(set(ids)) == len(ids) == len(tables(GOOD)) + len(contours_section(SPOILT).tables) + 2
    assert len(html.attributes("img", "src")) == 6
    report = report_json(GOOD, SPOILT, [mapping_section(GOOD), contours_section(SPOILT)], MADE)
    assert report["missed"] == ["ct_volume_4"]


def test_a_part_that_was_not_run_has_no_rows_and_no_figures() -> None:
    report = report_json(Rows(()), CONTOURS, [contours_section(CONTOURS)], MADE)
    assert (report["cases"], report["trials"], report["by_deformation"]) == ([], [], {})
    assert "starts_right" not in [one["key"] for one in report["figures"]]
    assert report["contours"]["trips"][0] == {"solid": "ring", "place": 0, "reader": "psdt", "dice": 0.99}
    assert json_of(BAD)["contours"] == {"masks": (), "flags": (), "trips": ()}


def test_rows_of_several_deformations_keep_their_order() -> None:
    names = [f"pelvis {n} ×1" for n in range(5)]
    rows = Rows(tuple(replace(case(GOOD_LESIONS), name=name) for name in names))
    assert [row[0] for row in table(rows, "By case").rows] == names
