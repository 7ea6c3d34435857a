"""The record of each registration: images, dates, direction, method, region, figures, and how far it may be used."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Rigid
from psdt_planner.planning import Plan
from psdt_planner.registration import CaseRegistration, LevelCheck, RegistrationSource
from psdt_planner.registration.levels import Ghost
from psdt_planner.registration.spine import Spine
from psdt_planner.report import ImageSeries, registration_records, render_report
from psdt_planner.report.registration_record import Figure
from tests.report.conftest import CENTRES_MM, CT_FRAME, MADE_AT, MR_FRAME
from tests.report.test_page import Page

SERIES = (
    ImageSeries("1.2.826.0.1.30", "CT", "Planning", "20260503"),
    ImageSeries("1.2.826.0.1.31", "MR", "DWI b900 <tra>", "20260420"),
    ImageSeries("1.2.826.0.1.34", "MR", "T1 Dixon", "20260420"),
    ImageSeries("1.2.826.0.1.55", "MR", "another exam", "20250101"),
)


def with_registration(plan: Plan, **changes: object) -> Plan:
    assert plan.registration is not None
    return dataclasses.replace(plan, registration=dataclasses.replace(plan.registration, **changes))


class TestTheCase:
    def test_it_comes_first_with_images_dates_and_direction(self, plan: Plan) -> None:
        record = registration_records(plan, SERIES)[0]
        assert record.of == "case"
        assert record.stationary == SERIES[0]
        assert record.moving == (
            SERIES[1], ImageSeries("1.2.826.0.1.32", "MR"), ImageSeries("1.2.826.0.1.33", "MR"), SERIES[2],
        ), "all of the flags' frame and none else; one that nobody described by its UID"  # fmt: skip
        assert (record.stationary_frame, record.moving_frame) == (CT_FRAME, MR_FRAME)
        assert record.direction == "MR (moving) to CT (stationary)"

    def test_a_computed_one_says_how_it_was_found_and_by_what_margin(self, plan: Plan) -> None:
        record = registration_records(plan, SERIES)[0]
        assert record.source == "computed"
        assert record.method == "global rigid fit of t1 to the CT from the best of 96 starts"
        assert record.region == "the body, as far as the planning CT shows it"
        assert record.figures == (Figure("mutual information over the second-best place", 0.12, ""),)
        assert str(record.figures[0]) == "0.12"

    def test_what_the_spine_says_stands_among_its_figures(self, plan: Plan) -> None:
        places = [np.array([0.0, 0.0, z]) for z in (0.0, 30.0, 60.0)]
        spine = Spine(np.array([[0.0, 0.0, z] for z in np.arange(-4.0, 65.0, 4.0)]), {"hip bones": np.zeros(3)})
        ghosts = tuple(Ghost(at, 0.01 * at, 0.01 * at, 0.08, 0.06) for at in places)
        checked = dataclasses.replace(plan, levels=LevelCheck(spine, ghosts, 2.5, (), (0.004, 0.006)))
        figures = {figure.name: figure for figure in registration_records(checked, SERIES)[0].figures}
        assert figures["places compared along the spine"].value == 3
        assert figures["gain of the vertebral level over its neighbours"].value == pytest.approx(0.06)
        assert str(figures["difference in length of the spine"]) == "1 %"
        assert str(figures["difference in width of the pelvis"]) == "0.5 %"

    @pytest.mark.parametrize(
        ("source", "region"),
        [
            (RegistrationSource.REG_OBJECT, "what the registration object is meant for"),
            (RegistrationSource.SHARED_FRAME, "the whole frame of reference"),
        ],
    )
    def test_a_given_one_is_of_what_it_was_given_for(self, plan: Plan, source: RegistrationSource, region: str) -> None:
        given = with_registration(plan, source=source, margin=None)
        record = registration_records(given, SERIES)[0]
        assert (record.source, record.region, record.figures) == (source.value, region, ())

    def test_what_speaks_against_it_is_named_by_code(self, plan: Plan) -> None:
        weak = Finding("registration-weak", Level.WARN, "Little in common.", Who.PERSON, 0.1, 0.2)
        records = registration_records(with_registration(plan, findings=(weak,)), SERIES)
        assert records[0].findings == ("registration-weak",)

    def test_nobody_has_assessed_it_yet(self, plan: Plan) -> None:
        assert {record.use for record in registration_records(plan, SERIES)} == {"not assessed"}


class TestALesion:
    def test_each_mapped_lesion_has_one_and_no_other(self, plan: Plan, held_plan: Plan) -> None:
        assert [record.of for record in registration_records(plan, SERIES)] == ["case", "L1", "L2", "L3", "L4"]
        assert [record.of for record in registration_records(held_plan, SERIES)] == ["case", "L1", "L2"]

    def test_its_figures_are_in_mm(self, plan: Plan) -> None:
        """Mapped by a transform that lies 3 mm to the left of the case's."""
        first = plan.lesions[0]
        assert first.mapped is not None
        matrix = np.eye(4)
        matrix[0, 3] = 3.0
        moved = Rigid(matrix, CT_FRAME, CT_FRAME) @ first.mapped.ct_from_mr
        lesion = dataclasses.replace(first, mapped=dataclasses.replace(first.mapped, ct_from_mr=moved))
        record = registration_records(dataclasses.replace(plan, lesions=(lesion,)), SERIES)[1]
        figures = {figure.name: (figure.value, figure.unit) for figure in record.figures}
        assert figures == {
            "bound on the error": (2.2, "mm"),
            "disagreement of independent fits": (0.6, "mm"),
            "distance from the case's transform": (pytest.approx(3.0), "mm"),
            "largest voxel of the flag, TG-132's tolerance": (pytest.approx(5.0), "mm"),
        }
        assert str(record.figures[0]) == "2.2 mm"

    def test_its_region_is_the_box_that_was_fitted(self, plan: Plan) -> None:
        record = registration_records(plan, SERIES)[1]
        x, y, z = (round(mm) for mm in CENTRES_MM["L1"])
        assert record.region == f"the 9 cm box around {x}, {y}, {z} mm on the CT"
        given = registration_records(with_registration(plan, source=RegistrationSource.REG_OBJECT), SERIES)[1]
        assert given.region == f"what the registration object is meant for, checked in {record.region}"

    def test_where_nothing_was_fitted_the_region_is_the_cases(self, plan: Plan) -> None:
        first = plan.lesions[0]
        assert first.mapped is not None
        lesion = dataclasses.replace(first, mapped=dataclasses.replace(first.mapped, disagreement_mm=None))
        record = registration_records(dataclasses.replace(plan, lesions=(lesion,)), SERIES)[1]
        assert record.region == "the body, as far as the planning CT shows it"
        assert "disagreement of independent fits" not in {figure.name for figure in record.figures}

    def test_findings_of_the_case_are_not_repeated(self, held_plan: Plan) -> None:
        weak = Finding("registration-weak", Level.WARN, "Little in common.", Who.PERSON, 0.1, 0.2)
        l1, l2, *rest = held_plan.lesions
        assert l2.mapped is not None
        l2 = dataclasses.replace(l2, mapped=dataclasses.replace(l2.mapped, findings=(weak, *l2.mapped.findings)))
        plan = with_registration(dataclasses.replace(held_plan, lesions=(l1, l2, *rest)), findings=(weak,))
        assert registration_records(plan, SERIES)[2].findings == ("lesion-uncertain",)


def test_nothing_registered_leaves_no_record(plan: Plan) -> None:
    assert registration_records(dataclasses.replace(plan, registration=None), SERIES) == ()


def test_flags_without_any_mr_of_their_frame_are_what_moves(plan: Plan) -> None:
    same = CaseRegistration(Rigid.identity(CT_FRAME), RegistrationSource.SHARED_FRAME, "they share their frame")
    alone = dataclasses.replace(plan, registration=same, lesions=())
    (record,) = registration_records(alone, SERIES)
    assert record.moving == ()
    assert record.direction == "flags (moving) to CT (stationary)"


@pytest.mark.parametrize(
    ("sent", "day"), [("20260503", "2026-05-03"), ("", "date not stated"), ("2026.05.03", "2026.05.03")]
)
def test_a_date_is_shown_as_a_day_or_as_it_was_sent(sent: str, day: str) -> None:
    assert ImageSeries("1.2", date=sent).day == day


class TestTheReport:
    def test_it_shows_images_with_their_dates_and_each_record(self, plan: Plan) -> None:
        html = render_report(plan, version="0.1.0", made_at=MADE_AT, series=SERIES)
        text = Page(html).text
        section = text[text.index("Registrations") : text.index("Inputs What")]
        for words in (
            "MR (moving) to CT (stationary)",
            "stationary CT Planning 2026-05-03 1.2.826.0.1.30",
            "moving MR DWI b900 <tra> 2026-04-20 1.2.826.0.1.31",
            "moving MR date not stated 1.2.826.0.1.32",
            "bound on the error 2.2 mm; disagreement of independent fits 0.6 mm",
            "not assessed",
            "psdt release ID --by NAME --registration-use LEVEL",
        ):
            assert words in section
        assert "another exam" not in text
        assert "b900 <tra>" not in html, "what came in as text is escaped"

    def test_it_shows_the_scale_and_what_carries_targets(self, plan: Plan) -> None:
        text = Page(render_report(plan, version="0.1.0", made_at=MADE_AT)).text
        assert "0 whole scan aligned" in text
        assert "4 not acceptable The anatomy of the two images does not come together. no" in text

    def test_a_plan_that_registered_nothing_says_so(self, plan: Plan) -> None:
        nothing = dataclasses.replace(plan, registration=None)
        assert "Nothing was registered." in Page(render_report(nothing, version="0.1.0", made_at=MADE_AT)).text
