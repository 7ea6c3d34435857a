"""What the report says of organs, other lesions and cuts: by distance, and nothing of other lesions' targets."""

from __future__ import annotations

import dataclasses

import pytest

from psdt_planner.planning import Plan
from psdt_planner.report import render_report
from psdt_planner.report.surroundings import NOT_DRAWN, surroundings
from psdt_planner.structures import Cut, Relation
from tests.report.conftest import MADE_AT

RELATIONS = (
    Relation("GTV1", "Rectum", "organ", 0.0, 12.34),
    Relation("CTV1", "Rectum", "organ", 0.0, 7.3),
    Relation("PTV1", "Rectum", "organ", 0.456, 0.0),
    Relation("GTV1", "Bladder", "organ", 0.0, 3.0),
    Relation("PTV1", "Bladder", "organ", 0.0, 0.0),
    Relation("PTV1", "Liver", "organ", 0.0, 180.0),
    Relation("PTV1", "Heart", "organ", 0.0, 50.1),
    Relation("PTV2", "Kidney_L", "organ", 0.0, 2.0),
    Relation("PTV1", "PTV2", "target", 0.0, 8.25),
    Relation("PTV1", "PTVn3", "target", 0.0, 60.0),
    Relation("PTV2", "PTVn3", "target", 0.0, 5.0),
)
CUTS = (Cut("PTV", "Rectum", 0.0, 1.25, 0.051, 0.0, 0.0), Cut("PTV", "skin", 3.0, 0.4, 0.02, 0.125, 0.25))


def test_organs_stand_by_distance_and_far_ones_by_name(plan: Plan) -> None:
    found = surroundings(plan.lesions[0], RELATIONS)
    assert found.targets == ("GTV1", "CTV1", "PTV1")
    assert [(row.name, row.cells) for row in found.near] == [
        ("Rectum", ("12.3 mm", "7.3 mm", "overlap 0.46 ml")),
        ("Bladder", ("3.0 mm", NOT_DRAWN, "overlap 0.00 ml")),
    ]
    assert found.far == ("Heart", "Liver")


def test_other_lesions_are_told_where_they_are_near(plan: Plan) -> None:
    assert surroundings(plan.lesions[0], RELATIONS).others == ("PTV1 and PTV2: 8.2 mm",)
    assert surroundings(plan.lesions[1], RELATIONS).others == ("PTV1 and PTV2: 8.2 mm", "PTV2 and PTVn3: 5.0 mm")


def test_a_cut_tells_what_it_took(plan: Plan) -> None:
    lesion = dataclasses.replace(plan.lesions[0], cuts=CUTS)
    assert surroundings(lesion, ()).cuts == (
        "PTV at Rectum: 1.25 ml (5 %)",
        "PTV at skin, 3 mm kept: 0.40 ml (2 %); of it CTV 0.25 ml, GTV 0.12 ml",
    )


@pytest.fixture(scope="module")
def html(plan: Plan) -> str:
    lesion = dataclasses.replace(plan.lesions[0], cuts=CUTS, ctv="GTV + 5 mm, within the bone")
    lesions = (lesion, *plan.lesions[1:])
    return render_report(
        dataclasses.replace(plan, lesions=lesions, relations=RELATIONS), version="0.1.0", made_at=MADE_AT
    )


def test_the_page_shows_it_with_each_lesion(html: str) -> None:
    first = html.split('id="L1"')[1].split('id="L2"', maxsplit=1)[0]
    assert "CTV: GTV + 5 mm, within the bone." in first
    assert "<li>PTV at Rectum: 1.25 ml (5 %)</li>" in first
    assert "overlap 0.46 ml" in first
    assert "More than 50 mm away: Heart, Liver." in first
    assert "Other lesions within 50 mm: PTV1 and PTV2: 8.2 mm." in first
    fourth = html.split('id="L4"')[1]
    assert "No organ that was contoured lies within 50 mm." in fourth


def test_the_methods_tell_the_rules_and_the_cuts(html: str) -> None:
    methods = html.split('id="methods"')[1]
    assert "CTV of L1: GTV + 5 mm, within the bone." in methods
    assert "PTVs were cut: L1 at Rectum (1.25 ml), L1 at skin (0.40 ml)." in methods
