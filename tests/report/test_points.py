"""What only points, or only a place, told: both the page and plan.json say where it came from and what to do."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from psdt_planner.dossier.plan_json import plan_json
from psdt_planner.lesions import FlaggedPoint, FlagSource, Side
from psdt_planner.planning import Plan
from psdt_planner.report import render_report, words
from tests.report.conftest import MADE_AT
from tests.report.test_page import Page


def point(identity: str, at_mm: tuple[float, float, float], frame: str, **said: Any) -> FlaggedPoint:
    values = {"label": "", "site": "unknown", "site_source": "", "side": Side.UNKNOWN, "tracking_uid": "", **said}
    return FlaggedPoint(id=identity, point_mm=at_mm, frame=frame, source=FlagSource("", "sha256:0a", 3), **values)


@pytest.fixture(scope="module")
def pointed(plan: Plan) -> Plan:
    """One point in the first flag, one that nothing stands for."""
    flag = plan.exam.flags[0]
    x, y, z = (float(mm) for mm in flag.centroid_mm)
    inside = point("L5", (x, y, z), flag.grid.frame)
    told = {"label": "<b>left rib", "site": "bone", "site_source": "label", "side": Side.LEFT, "side_source": "table"}
    outside = point("L6", (1.25, -900.0, 3.0), flag.grid.frame, tracking_uid="1.2.3", **told)
    return dataclasses.replace(plan, exam=dataclasses.replace(plan.exam, points=(inside, outside)))


def test_plan_json_lists_points_with_what_to_do(pointed: Plan) -> None:
    inside, outside = json.loads(json.dumps(plan_json(pointed), allow_nan=False))["points"]
    first = pointed.exam.flags[0].id
    assert (inside["lesion"], inside["todo"]) == (first, f"nothing: {first} stands for it")
    assert outside["lesion"] is None
    assert "psdt candidates" in outside["todo"]
    assert {key: outside[key] for key in ("id", "label", "site", "site_source", "side", "side_source")} == {
        "id": "L6", "label": "<b>left rib", "site": "bone", "site_source": "label", "side": "left",
        "side_source": "table",
    }  # fmt: skip
    assert (outside["tracking_uid"], outside["source"]) == ("1.2.3", {"sop_instance_uid": "sha256:0a", "item": 3})
    assert outside["point_mm"] == [1.25, -900.0, 3.0]
    assert outside["frame_of_reference_uid"] == pointed.exam.flags[0].grid.frame


def test_plan_json_says_where_site_and_side_came_from(plan: Plan) -> None:
    lesion = dataclasses.replace(
        plan.lesions[0],
        flag=dataclasses.replace(plan.lesions[0].flag, site_source="place", side_source="point"),
    )
    told = plan_json(dataclasses.replace(plan, lesions=(lesion, *plan.lesions[1:])))["lesions"][0]
    assert (told["site_source"], told["side_source"]) == ("place", "point")


def test_the_page_lists_points_with_what_to_do(pointed: Plan) -> None:
    html = render_report(pointed, version="0.1.0", made_at=MADE_AT)
    page = Page(html)
    assert "Marked points" in page.texts
    for text in ("L6: <b>left rib", "bone (from the label)", "left (from the table)"):
        assert text in page.texts, text
    assert any(text.startswith("1.2, -900.0, 3.0 mm in frame ") for text in page.texts)
    assert any(text.startswith("psdt candidates grows a region") for text in page.texts)
    assert "<b>left rib" not in html


def test_without_points_the_page_says_nothing_of_them(plan: Plan) -> None:
    assert "Marked points" not in Page(render_report(plan, version="0.1.0", made_at=MADE_AT)).texts


@pytest.mark.parametrize(
    ("what", "source", "text"),
    [
        ("spine", "code", "spine (from the code)"),
        ("unknown", "", "unknown"),
        ("bone", "place", "bone (from the place: confirm it)"),
        ("left", "point", "left (from the point)"),
    ],
)
def test_what_told_a_site_or_side_stands_beside_it(what: str, source: str, text: str) -> None:
    assert words.sourced(what, source) == text


def test_a_lesions_figures_name_site_and_side_apart(plan: Plan) -> None:
    lesion = plan.lesions[0]
    shown = dict(words.figures(lesion))
    assert shown["Site"] == words.sourced(lesion.flag.site, lesion.flag.site_source)
    assert shown["Side"] == words.sourced(lesion.flag.side.value, lesion.flag.side_source)
