"""The tumour load on the page and in plan.json: the same figures, with the rule that made the masks."""

from __future__ import annotations

import dataclasses

import pytest

from psdt_planner.dicom.assembly import acquisition_criteria
from psdt_planner.dossier.plan_json import plan_json
from psdt_planner.planning import Plan, load_of
from psdt_planner.report import render_report
from psdt_planner.report.load import load_section
from tests.report.conftest import MADE_AT


@pytest.fixture(scope="module")
def loaded(plan: Plan) -> Plan:
    return dataclasses.replace(plan, load=load_of(plan, acquisition_criteria().adc_histogram))


def test_every_flag_counts_and_the_patient_is_their_sum(loaded: Plan) -> None:
    assert loaded.load is not None
    assert [one.of for one in loaded.load.lesions] == [lesion.flag.id for lesion in loaded.lesions]
    assert loaded.load.patient.volume_ml == pytest.approx(sum(lesion.volume_ml for lesion in loaded.lesions))
    assert sum(one.volume_ml for one in loaded.load.regions) == pytest.approx(loaded.load.patient.volume_ml)


def test_plan_json_and_the_page_tell_the_load_and_its_rule(loaded: Plan) -> None:
    told = plan_json(loaded)["tumour_load"]
    assert loaded.load is not None
    assert told["patient"]["volume_ml"] == round(loaded.load.patient.volume_ml, 4)
    assert told["rule"] == list(loaded.load.rule)
    page = render_report(loaded, version="1", made_at=MADE_AT, patient="", series=())
    assert "Tumour load" in page
    for sentence in load_section(loaded.load).rule:
        assert sentence.split(":")[0] in page


def test_a_plan_without_a_load_says_nothing_of_it(plan: Plan) -> None:
    assert plan_json(plan)["tumour_load"] is None
    assert "Tumour load" not in render_report(plan, version="1", made_at=MADE_AT, patient="", series=())


def test_where_nothing_is_flagged_there_is_no_load(plan: Plan) -> None:
    assert load_of(dataclasses.replace(plan, lesions=()), acquisition_criteria().adc_histogram) is None
