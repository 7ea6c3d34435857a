"""Earlier radiotherapy in words: what is not known is said so, in page and PDF alike."""

from __future__ import annotations

import dataclasses

import numpy as np

from psdt_planner.planning import Plan
from psdt_planner.planning.earlier import Earlier
from psdt_planner.reirradiation import Sampled, organ_record
from psdt_planner.report.earlier import earlier_section, target_rows
from psdt_planner.report.pdf import _earlier, _register_fonts
from tests.earlier.test_reirradiation import cord, flat, rectum, region, rule


def with_earlier(plan: Plan) -> Plan:
    rows, courses = rule(cord(), rectum()), (flat(45.0),)
    far = Sampled(np.full((3, 3), 300.0), np.ones(3))
    records = (
        organ_record(("Cord", "SpinalCord"), region(), courses, rows, [3.0]),
        organ_record(("Rectum", "Rectum"), far, courses, rows, [3.0]),
    )
    protocol = plan.protocol.model_copy(update={"reirradiation": rows})
    return dataclasses.replace(plan, protocol=protocol, earlier=Earlier(courses=courses, organs=records))


def test_an_organ_is_told_with_its_limit_and_what_is_left(plan: Plan) -> None:
    section = earlier_section(with_earlier(plan))
    assert section is not None
    of_cord, of_rectum = section.organs
    assert (of_cord.known, of_cord.most, of_cord.figure, of_cord.left) == ("100 %", "45.0 Gy", "42.8 Gy", "25.0 Gy")
    assert of_cord.limit == "maximum: 70 Gy at α/β 2 Gy"
    assert (of_rectum.known, of_rectum.most, of_rectum.left, of_rectum.source) == ("0 %", "not known", "not known", "")
    assert section.recovery.startswith("Recovery is off")
    (course,) = section.courses
    assert (course.prescribed, course.interval, course.sure) == ("50 Gy in 25", "at most 23 months", "not checked")


def test_the_pdf_claims_nothing_of_a_limit_where_the_dose_is_not_known(plan: Plan) -> None:
    section = earlier_section(with_earlier(plan))
    assert section is not None
    _register_fonts()
    told = {row[0].text: row[1].text for row in _earlier(section, 480.0)._cellvalues[1:]}
    assert "42.8 Gy of it used, 25.0 Gy left (made up, here; certainty H)" in told["Cord"]
    assert "used" not in told["Rectum"]
    assert "dose known in 0 %" in told["Rectum"]


def test_without_earlier_courses_nothing_is_said(plan: Plan) -> None:
    assert earlier_section(plan) is None
    assert target_rows(None) is None
