"""The course of disease in the report: in words, with what is missing, and escaped."""

from __future__ import annotations

import dataclasses
from datetime import date

from psdt_planner.dossier import load_criteria
from psdt_planner.geometry import Rigid
from psdt_planner.history import History
from psdt_planner.lesions import MappedLesion
from psdt_planner.planning import Compared, Plan, course_of
from psdt_planner.registration import ExamsRegistration, RegistrationSource
from psdt_planner.report import course_lines, course_section, render_report
from psdt_planner.timeline import Seen, SeenLesion, everywhere, place_lesion
from tests.report.conftest import MADE_AT
from tests.report.test_page import Page

CRITERIA = load_criteria()


def history(name: str = "leuprorelin") -> History:
    therapy = {"name": name, "kind": "adt", "start": date(2019, 6, 3), "ongoing": True}
    testosterone = {"date": date(2026, 1, 20), "value": 20.0, "unit": "ng/dl"}
    progression = {"date": date(2026, 2, 10), "finding": "two new bone lesions"}
    return History.model_validate(
        {
            "name": "history.toml",
            "sha256": "0" * 64,
            "source": "history.toml",
            "reference_date": date(2026, 3, 2),
            "disease": {"polymetastatic": True},
            "therapies": [therapy],
            "testosterone": [testosterone],
            "radiographic_progression": [progression],
            "rac": [{"lesion": "L1", "rac": 5, "secondary": 2}],
        }
    )


def with_course(plan: Plan, told: History | None, *, prior: bool = False) -> Plan:
    compared = None
    if prior:
        mapped = [lesion.mapped for lesion in plan.lesions if lesion.mapped]
        frame = mapped[0].ct_from_mr.target
        now = Seen(frame, tuple(seen(one, frame) for one in mapped), everywhere)
        same = ExamsRegistration(Rigid.identity(frame), RegistrationSource.SHARED_FRAME, "both share their frame")
        before = dataclasses.replace(now, lesions=now.lesions[:-1])
        compared = Compared(now, before, 91, same, flags=tuple(one.flag for one in before.lesions))
    course = course_of(plan.exam.flags, told, CRITERIA, plan.protocol, compared=compared)
    return dataclasses.replace(plan, course=course)


def seen(mapped: MappedLesion, frame: str) -> SeenLesion:
    bound_mm = mapped.uncertainty_mm
    return place_lesion(
        mapped.flag, mapped.ct_from_mr, frame=frame, uncertainty_mm=bound_mm, adc_median_mm2_per_s=0.9e-3
    )


def page(plan: Plan) -> str:
    return Page(render_report(plan, version="0.1.0", made_at=MADE_AT)).text


def test_without_a_history_it_says_what_is_missing(plan: Plan) -> None:
    text = page(with_course(plan, None))
    assert "Course of disease Genuine or induced: undetermined; castration resistance undetermined." in text
    assert "ESTRO/EORTC: undetermined. 4 progressive sites of 4 flagged." in text
    assert "Facts that are missing history of polymetastatic disease history of oligometastatic disease" in text
    assert "No prior exam was compared with this one." in text


def test_a_history_is_told_with_the_facts_it_rests_on(plan: Plan) -> None:
    text = page(with_course(plan, history()))
    assert "Induced oligometastatic disease; castration-resistant. ESTRO/EORTC: Induced oligoprogression." in text
    assert "serum testosterone: 20 ng/dl on 2026-01-20, castrate" in text
    assert "progression on images: two new bone lesions, 2026-02-10" in text
    assert "5, secondary 2 (history) yes: the reader's RAC" in text
    assert "Facts that are missing" not in text


def test_with_a_prior_every_change_stands_beside_its_error(plan: Plan) -> None:
    made = with_course(plan, None, prior=True)
    assert made.course
    section = course_section(made.course)
    assert [row.fate for row in section.rows] == ["stable"] * (len(section.rows) - 1) + ["new"]
    assert section.rows[0].adc == "0.90 × 10⁻³ mm²/s to 0.90 × 10⁻³ mm²/s: +0 % (error -13 % to +15 %)"
    assert "ml: +0 % (error -" in section.rows[0].volume
    assert section.sites == "1 progressive site of 4 flagged, 1 of them proposed from the time-line."
    assert any("Messiou" in source for source in section.sources)
    text = page(made)
    assert "Measurement error: " in text
    assert "Compared with the exam of 91 days before, with 3 flagged lesions. Prior exam to this one: both" in text


def test_a_plan_that_nobody_asked_for_its_course_has_no_section(plan: Plan) -> None:
    assert "Course of disease" not in page(plan)
    assert list(course_lines(plan.course)) == []


def test_what_came_in_as_text_is_escaped(plan: Plan) -> None:
    html = render_report(with_course(plan, history("<b>leuprorelin")), version="0.1.0", made_at=MADE_AT)
    assert "<b>leuprorelin" not in html
    assert "&lt;b&gt;leuprorelin" in html


def test_a_screen_has_it_in_two_lines(plan: Plan) -> None:
    lines = list(course_lines(with_course(plan, None).course))
    assert len(lines) == 2
    assert lines[1].startswith("Facts missing: history of polymetastatic disease, ")


def test_a_screen_tells_the_fates_in_a_line(plan: Plan) -> None:
    lines = list(course_lines(with_course(plan, None, prior=True).course))
    assert lines[0].startswith("Compared with the exam of 91 days before")
    assert lines[1] == "Since then: L1 stable, L2 stable, L3 stable, L4 new."
