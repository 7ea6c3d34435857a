"""The report: one file, nothing from outside, what needs a person first, everything escaped."""

from __future__ import annotations

import dataclasses
import itertools
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from psdt_planner.findings import Finding, Level
from psdt_planner.fractionation import Proposal
from psdt_planner.planning import Plan, PlanStatus
from psdt_planner.report import render_report
from psdt_planner.report.words import BANNER
from tests.report.conftest import MADE_AT

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """The elements of a page in order, each with its attributes and the text inside."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open) and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def attributes(self, tag: str, name: str) -> list[str]:
        return [str(attrs[name]) for element, attrs in self.elements if element == tag and name in attrs]


def rendered(plan: Plan, **changes: Any) -> str:
    return render_report(plan, **{"version": "0.1.0", "made_at": MADE_AT, "patient": "ID 4711", **changes})


@pytest.fixture(scope="module")
def html(plan: Plan) -> str:
    return rendered(plan)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def held_page(held_plan: Plan) -> Page:
    return Page(rendered(held_plan))


def test_the_banner_comes_before_everything_else(page: Page) -> None:
    assert page.texts[0] == BANNER
    for words in ("not a prescription", "not a medical device", "Research software"):
        assert words in BANNER


def test_nothing_comes_from_outside(html: str, page: Page) -> None:
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("img", "src"))
    assert all(target.startswith("#") for target in page.attributes("a", "href"))
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in page.attributes("meta", "content")[1]


def test_the_page_is_well_formed(page: Page) -> None:
    assert page.open == []
    identifiers = [str(attrs["id"]) for _, attrs in page.elements if "id" in attrs]
    assert len(set(identifiers)) == len(identifiers)
    assert {target[1:] for target in page.attributes("a", "href")} <= set(identifiers)


def test_the_page_can_be_read_without_seeing_it(page: Page) -> None:
    assert [attrs["lang"] for tag, attrs in page.elements if tag == "html"] == ["en"]
    assert all(len(words) > 20 for words in page.attributes("img", "alt"))
    assert len(page.attributes("img", "alt")) == len(page.attributes("img", "src")) == 20
    assert all("scope" in attrs for tag, attrs in page.elements if tag == "th")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_what_needs_a_person_comes_before_the_lesions(held_page: Page) -> None:
    text = held_page.text
    order = [
        "What needs a person",
        "No structure set was written",
        "The body fit is weak.",
        "L2 is uncertain by 9.0 mm.",
        "L3 lies 22 mm above the CT.",
        "Excluded by A. Physician: patient's wish",
        "Lesions",
        "30 Gy in 3 fractions of 10 Gy",
        "Findings",
        "Inputs",
        "Methods",
    ]
    at = -1
    for words in order:
        found = text.find(words, at + 1)
        assert found > at, words
        at = found


def test_a_lesion_without_a_dose_is_named_before_those_with_one(page: Page) -> None:
    first = page.text.split("Lesions")[0]

    assert "L4: ? : mapped, no dose proposed" in first
    assert "The site of the lesion is unknown" in first
    assert "L1" not in first


def test_a_plan_without_doubt_says_that_it_is_still_to_be_checked(plan: Plan) -> None:
    sure = dataclasses.replace(plan, lesions=plan.lesions[:3], findings=())

    text = Page(rendered(sure)).text

    assert "every flagged lesion has a proposal. All of it is still to be checked and approved." in text
    assert "Nothing was found that speaks against the plan." in text


def test_a_held_plan_never_says_that_nothing_is_held(held_page: Page) -> None:
    assert "Nothing is held" not in held_page.text
    assert "HELD" in held_page.texts


def test_each_lesion_has_its_figures(page: Page) -> None:
    for words in (
        "Volume of the flag",
        "Volume of PTV1 28.7 ml",
        "Uncertainty of place 2.2 mm",
        "Disagreement of the fits 0.6 mm",
        "Centre on the CT -61.8, 18.0, 12.1 mm (left, posterior, superior)",
        "ADC, median 0.85 × 10⁻³ mm²/s",
        "Tracking UID 1.2.826.0.1.9.1",
        "Flag item 1 of 1.2.826.0.1.77",
    ):
        assert words in page.text


def test_each_dose_stands_with_what_it_means_and_rests_on(page: Page, plan: Plan) -> None:
    assert "30 Gy in 3 fractions of 10 Gy" in page.texts
    assert "ends in _1000x3" in page.text
    assert "BED (Gy) 230.0 130.0 60.0 BED by LQ-L (Gy) 132.0 114.0 60.0 EQD2 (Gy) 98.6 78.0 50.0" in page.text
    for lesion in plan.lesions:
        if isinstance(lesion.proposal, Proposal):
            for words in (*lesion.proposal.cautions, *lesion.proposal.sources, lesion.proposal.rule):
                assert words in page.text
            for other in lesion.proposal.alternatives:
                assert f"{other.schedule} {other.why_not} {other.source} {other.certainty}" in page.text


def test_a_ground_of_low_certainty_is_marked(page: Page, plan: Plan) -> None:
    assert "Low certainty: CTV margin, distance to the skin." in page.text
    marks = [attrs for tag, attrs in page.elements if tag == "td" and attrs.get("class") == "level-warn"]
    low = sum(
        ground.certainty == "L"
        for lesion in plan.lesions
        if isinstance(lesion.proposal, Proposal)
        for ground in (*lesion.proposal.grounds, *lesion.proposal.alternatives)
    )
    warnings = sum(finding.level is Level.WARN for finding in plan.findings)
    assert len(marks) == low + warnings > warnings


def test_findings_are_listed_by_weight_with_their_figures(held_page: Page) -> None:
    table = held_page.text.split("Who must act")[1].split("Inputs")[0]

    assert re.findall(r"\b(hold|warn|info)\b", table) == ["hold", "hold", "warn", "info"]
    assert "hold lesion-uncertain L2 L2 is uncertain by 9.0 mm. 9 (limit 8) mm person" in table
    assert "info ct-slices-uneven case Two gaps differ by 0.02 mm. 0.02 (limit 0.01) mm sender" in table


def test_an_alternative_of_low_certainty_is_marked(plan: Plan) -> None:
    html = rendered(plan)
    unsure = [
        other
        for lesion in plan.lesions
        if isinstance(lesion.proposal, Proposal)
        for other in lesion.proposal.alternatives
        if other.certainty == "L"
    ]
    assert unsure
    alternatives = html.split("<h3>Alternatives</h3>")[1:]
    marked = sum(part.split("<h3>What decided</h3>")[0].count('<td class="level-warn">L</td>') for part in alternatives)
    assert marked == len(unsure)


def test_every_input_is_listed(page: Page) -> None:
    table = page.text.split("Inputs")[1].split("Methods")[0]

    assert "planning CT 44 × 124 × 212 voxels of 2.5 × 1.6 × 1.5 mm; frame 1.2.826.0.1.1 1.2.826.0.1.30" in table
    for row in ("MR b900", "MR b50", "MR adc", "MR t1", "flags L1, L2, L3, L4 1.2.826.0.1.77"):
        assert row in table
    assert "organs Bladder, Rectum; screened by distance, their dose was not computed 1.2.826.0.1.88" in table
    assert "registration rigid 1.2.826.0.1.99" in table


def test_what_came_in_as_text_is_escaped_everywhere(plan: Plan) -> None:
    bad = '<script>alert("x")</script>'
    lesion = plan.lesions[3]
    flag = dataclasses.replace(lesion.flag, label=bad, tracking_uid=bad, site_source=bad)
    organ = dataclasses.replace(plan.exam.organs[0], name=bad)
    exam = dataclasses.replace(plan.exam, organs=(organ,))
    finding = Finding("file-unreadable", Level.WARN, bad)
    broken = dataclasses.replace(
        plan,
        lesions=(*plan.lesions[:3], dataclasses.replace(lesion, flag=flag)),
        exam=exam,
        findings=(finding,),
    )

    html = rendered(broken, patient=bad)

    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 8
    assert bad in Page(html).text


def test_a_label_cannot_break_out_of_an_attribute(plan: Plan) -> None:
    flag = dataclasses.replace(plan.lesions[3].flag, id='L4" onload="alert(1)')
    broken = dataclasses.replace(plan, lesions=(dataclasses.replace(plan.lesions[3], flag=flag),))

    assert not [attrs for _, attrs in Page(rendered(broken)).elements if "onload" in attrs]


def test_an_exam_without_anything_is_still_a_report(plan: Plan) -> None:
    exam = dataclasses.replace(plan.exam, planning_ct=None, mr=(), flags=(), organs=(), registrations=())
    absent = Finding("ct-absent", Level.HOLD, "There is no planning CT.")
    nothing = dataclasses.replace(
        plan,
        status=PlanStatus.HELD,
        exam=exam,
        findings=(absent,),
        lesions=(),
        registration=None,
        structure_set=None,
    )

    text = Page(rendered(nothing)).text

    assert "There is no planning CT." in text.split("Lesions")[0]
    assert "No lesion was flagged." in text
    assert "Nothing that could be used came in." in text


def test_the_same_plan_gives_the_same_page(plan: Plan, html: str) -> None:
    assert rendered(plan) == html
    assert rendered(plan, version="0.2.0") != html


def test_nobody_is_named_unless_asked(plan: Plan, page: Page) -> None:
    assert "Patient ID 4711" in page.text
    assert "Patient" not in Page(rendered(plan, patient="")).text
