"""The nine states, the undefined cell, every missing fact and the boundary of six months; and castration resistance."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import psdt_planner
from psdt_planner.criteria import parse_criteria
from psdt_planner.history import History, Psa
from psdt_planner.oligomets import (
    WITHOUT_HISTORY,
    Classification,
    OmCrpc,
    Sites,
    State,
    castration_resistant,
    classify,
    months_later,
    psa_progressed,
)

CRITERIA = parse_criteria(
    (Path(psdt_planner.__file__).parent / "criteria" / "psdt.toml").read_text(encoding="utf-8"), "psdt"
)
DIAGNOSED = date(2019, 5, 14)
EXAM = date(2026, 3, 2)
ON_ADT = {"name": "leuprorelin", "kind": "adt", "start": date(2019, 6, 3), "ongoing": True}
ADT_OVER = {"name": "leuprorelin", "kind": "adt", "start": date(2019, 6, 3), "end": date(2020, 6, 3)}
CASTRATE = {"date": date(2026, 1, 20), "value": 20.0, "unit": "ng/dl"}


def psa(*values: float, start: date = date(2025, 1, 1), apart_days: int = 30) -> list[dict[str, Any]]:
    days = (start + timedelta(days=n * apart_days) for n in range(len(values)))
    return [{"date": day, "value": value, "unit": "ng/ml"} for day, value in zip(days, values, strict=True)]


RISING = psa(0.5, 1.0, 2.0, 4.0)


def history(**tables: Any) -> History:
    """All facts of a castration-resistant patient on therapy, but for those given; None takes one away."""
    facts: dict[str, Any] = {
        "diagnosis": {"date": DIAGNOSED},
        "disease": {"polymetastatic": False, "oligometastatic": False, "oligometastatic_since": EXAM},
        "therapies": [ON_ADT],
        "testosterone": [CASTRATE],
        "psa": RISING,
        "radiographic_progression": [],
    }
    own = {"name": "history.toml", "sha256": "0" * 64, "source": "history.toml", "reference_date": EXAM}
    told = {**facts, **tables}
    return History.model_validate({**own, **{key: value for key, value in told.items() if value is not None}})


def sites(progressive: int = 2, flagged: int = 3, limit: int = 5) -> Sites:
    return Sites(flagged=flagged, progressive=progressive, limit=limit)


def disease(poly: bool | None, oligo: bool | None, since: date | None = EXAM) -> dict[str, Any]:
    told = {"polymetastatic": poly, "oligometastatic": oligo, "oligometastatic_since": since}
    return {key: value for key, value in told.items() if value is not None}


ON, OFF = [ON_ADT], [ADT_OVER]
SIX_MONTHS = date(2019, 11, 14)
DAY = timedelta(days=1)

ADT_SINCE = date(2019, 6, 3)
DEPRIVATION, IMAGES = "start of the androgen deprivation", "whether there was progression on images"
NO_START = [{"name": "leuprorelin", "kind": "adt", "ongoing": True}]
QUIET = psa(1.0, 0.9, 0.8, 0.7)


def images(day: date) -> list[dict[str, Any]]:
    return [{"date": day, "finding": "two new bone lesions"}]


class Row(NamedTuple):
    """Facts, and what they are to lead to; ``tables`` are those that differ from a patient of all facts."""

    poly: bool | None
    oligo: bool | None
    since: date | None
    therapies: list[dict[str, Any]] | None
    progressive: int
    state: State
    missing: tuple[str, ...] = ()
    resistant: bool | None = True
    tables: dict[str, Any] = {}  # noqa: RUF012


def crpc(resistant: bool | None, *missing: str, therapies: Any = ON, **tables: Any) -> Row:
    """A row of castration resistance: the state is determined whether it is or not."""
    state = State.METACHRONOUS_PROGRESSION
    return Row(False, False, EXAM, therapies, 2, state, missing, resistant, tables)


TABLE: dict[str, Row] = {
    # name: poly, oligo, since, therapies, progressive, state, facts missing, castration-resistant
    "synchronous": Row(False, False, DIAGNOSED, ON, 2, State.SYNCHRONOUS),
    "synchronous, to the day": Row(False, False, SIX_MONTHS, ON, 2, State.SYNCHRONOUS),
    "a day after six months": Row(False, False, SIX_MONTHS + DAY, ON, 2, State.METACHRONOUS_PROGRESSION),
    "synchronous, off therapy, nothing progressive": Row(
        False, False, DIAGNOSED, OFF, 0, State.SYNCHRONOUS, (DEPRIVATION,), None
    ),
    "metachronous, off therapy": Row(
        False, False, EXAM, OFF, 2, State.METACHRONOUS_RECURRENCE, (DEPRIVATION,), None
    ),
    "metachronous, off therapy, quiet": Row(
        False, False, EXAM, OFF, 0, State.METACHRONOUS_RECURRENCE, (DEPRIVATION,), None
    ),
    "metachronous, no therapy ever": Row(
        False, False, EXAM, [], 2, State.METACHRONOUS_RECURRENCE, (DEPRIVATION,), None
    ),
    "metachronous, on therapy": Row(False, False, EXAM, ON, 2, State.METACHRONOUS_PROGRESSION),
    "the undefined cell": Row(False, False, EXAM, ON, 0, State.UNCLASSIFIABLE),
    "repeat, off therapy": Row(False, True, EXAM, OFF, 2, State.REPEAT_RECURRENCE, (DEPRIVATION,), None),
    "repeat, on therapy": Row(False, True, EXAM, ON, 1, State.REPEAT_PROGRESSION),
    "repeat, quiet": Row(False, True, EXAM, ON, 0, State.REPEAT_PERSISTENCE),
    "repeat within six months": Row(False, True, DIAGNOSED, ON, 2, State.REPEAT_PROGRESSION),
    "induced, off therapy": Row(True, False, EXAM, OFF, 2, State.INDUCED_RECURRENCE, (DEPRIVATION,), None),
    "induced, on therapy": Row(True, True, EXAM, ON, 2, State.INDUCED_PROGRESSION),
    "induced, quiet": Row(True, False, EXAM, ON, 0, State.INDUCED_PERSISTENCE),
    "induced, oligo history unknown": Row(True, None, None, ON, 2, State.INDUCED_PROGRESSION),
    "repeat, since unknown": Row(False, True, None, ON, 2, State.REPEAT_PROGRESSION),
    "more sites than oligo": Row(False, False, EXAM, ON, 6, State.UNCLASSIFIABLE),
    "poly unknown": Row(None, False, EXAM, ON, 2, State.UNDETERMINED, ("history of polymetastatic disease",)),
    "oligo unknown": Row(False, None, EXAM, ON, 2, State.UNDETERMINED, ("history of oligometastatic disease",)),
    "since unknown": Row(
        False, False, None, ON, 2, State.UNDETERMINED,
        ("date of the first diagnosis of the present oligometastatic disease",),
    ),
    "diagnosis unknown": Row(
        False, False, EXAM, ON, 2, State.UNDETERMINED, ("date of the primary diagnosis",), tables={"diagnosis": None}
    ),
    "diagnosis unknown, repeat": Row(
        False, True, EXAM, ON, 2, State.REPEAT_PROGRESSION, tables={"diagnosis": None}
    ),
    "diagnosis unknown, induced": Row(
        True, False, EXAM, ON, 2, State.INDUCED_PROGRESSION, tables={"diagnosis": None}
    ),
    "therapy unknown": Row(
        False, False, EXAM, None, 2, State.UNDETERMINED, ("systemic therapy at present", DEPRIVATION), None
    ),
    "therapy unknown, repeat": Row(
        False, True, EXAM, None, 2, State.UNDETERMINED, ("systemic therapy at present", DEPRIVATION), None
    ),
    "therapy unknown, induced": Row(
        True, False, EXAM, None, 2, State.UNDETERMINED, ("systemic therapy at present", DEPRIVATION), None
    ),
    "therapy unknown, synchronous": Row(
        False, False, DIAGNOSED, None, 2, State.SYNCHRONOUS, (DEPRIVATION,), None
    ),
    "images progressed a day after deprivation began": crpc(
        True, psa=QUIET, radiographic_progression=images(ADT_SINCE + DAY)
    ),
    "images progressed on the day that deprivation began": crpc(
        False, psa=QUIET, radiographic_progression=images(ADT_SINCE)
    ),
    "images progressed before deprivation alone": crpc(
        False, psa=QUIET, radiographic_progression=images(date(2018, 6, 3))
    ),
    "images progressed before deprivation, PSA unknown": crpc(
        None, "PSA series", psa=None, radiographic_progression=images(date(2018, 6, 3))
    ),
    "images progressed, start of deprivation unknown": crpc(
        None, DEPRIVATION, therapies=NO_START, radiographic_progression=images(EXAM)
    ),
    "images progressed between two deprivations": crpc(
        False,
        therapies=[ADT_OVER, {**ON_ADT, "start": date(2024, 6, 1)}],
        psa=QUIET,
        radiographic_progression=images(date(2022, 1, 1)),
    ),
    "images unknown, PSA quiet": crpc(None, IMAGES, psa=QUIET, radiographic_progression=None),
    "testosterone of 180 days ago": crpc(True, testosterone=[{**CASTRATE, "date": EXAM - 180 * DAY}]),
    "testosterone of 181 days ago": crpc(
        None,
        "serum testosterone (the last is of 2025-09-02, more than 180 days before)",
        testosterone=[{**CASTRATE, "date": EXAM - 181 * DAY}],
    ),
    "testosterone of 2019": crpc(
        None,
        "serum testosterone (the last is of 2019-08-01, more than 180 days before)",
        testosterone=[{**CASTRATE, "date": date(2019, 8, 1)}],
    ),
    "an old testosterone that was not castrate": crpc(
        None,
        "serum testosterone (the last is of 2019-08-01, more than 180 days before)",
        testosterone=[{**CASTRATE, "date": date(2019, 8, 1), "value": 400.0}],
    ),
    "testosterone from before deprivation": crpc(
        None,
        "serum testosterone (the last is of 2026-01-20, before androgen deprivation began on 2026-01-21)",
        therapies=[{**ON_ADT, "start": date(2026, 1, 21)}],
        testosterone=[{**CASTRATE, "value": 400.0}],
        radiographic_progression=images(EXAM),
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_every_state_and_every_missing_fact(row: Row) -> None:
    told = history(
        **{
            "disease": disease(row.poly, row.oligo, row.since),
            "therapies": row.therapies,
            "radiographic_progression": images(EXAM),
            **row.tables,
        }
    )
    found = classify(told, sites(row.progressive, flagged=6), CRITERIA)
    assert found.estro_eortc is row.state
    assert found.facts_missing == row.missing
    assert found.castration_resistant is row.resistant
    no_state = any("no state" in reason or "not oligometastatic" in reason for reason in found.reasons)
    assert no_state is (found.estro_eortc is State.UNCLASSIFIABLE)
    determined = row.resistant and row.poly is not None and 0 < row.progressive <= 5
    assert (found.om_crpc is OmCrpc.UNDETERMINED) is not determined


def test_the_table_has_every_state() -> None:
    assert {row.state for row in TABLE.values()} == set(State)


def test_metastases_at_an_exam_within_six_months_are_synchronous_whenever_they_were_found() -> None:
    told = history(diagnosis={"date": date(2025, 9, 2)}, disease=disease(False, False, None))
    assert classify(told, sites(), CRITERIA).estro_eortc is State.SYNCHRONOUS


def test_nothing_flagged_is_no_state() -> None:
    found = classify(history(), sites(0, flagged=0), CRITERIA)
    assert found.estro_eortc is State.UNDETERMINED
    assert found.facts_missing == ("flagged lesions",)


def test_without_a_history_everything_is_missing() -> None:
    found = classify(None, sites(), CRITERIA)
    assert (found.om_crpc, found.estro_eortc) == (OmCrpc.UNDETERMINED, State.UNDETERMINED)
    assert found.facts_missing == WITHOUT_HISTORY
    assert found.facts_used == ("progressive sites: 2 of 3 flagged",)
    assert found.findings == ()


def oracle(poly: bool, oligo: bool, late: bool, on: bool, progressive: bool) -> str:
    """The paper's tree as one expression of names."""
    branch = "Induced" if poly else "Repeat" if oligo else "Metachronous"
    if branch == "Metachronous" and not late:
        return "Synchronous oligometastatic disease"
    name = f"{branch} oligo{'recurrence' if not on else 'progression' if progressive else 'persistence'}"
    return "unclassifiable" if name == "Metachronous oligopersistence" else name


@pytest.mark.parametrize("facts", list(itertools.product([False, True], repeat=5)))
def test_all_thirty_two_cases_against_the_tree(facts: tuple[bool, bool, bool, bool, bool]) -> None:
    poly, oligo, late, on, progressive = facts
    told = history(
        disease=disease(poly, oligo, EXAM if late else DIAGNOSED), therapies=ON if on else OFF, testosterone=None
    )
    assert classify(told, sites(2 if progressive else 0), CRITERIA).estro_eortc.value == oracle(*facts)


@pytest.mark.parametrize(
    ("day", "months", "later"),
    [
        (date(2019, 5, 14), 6, date(2019, 11, 14)),
        (date(2019, 8, 31), 6, date(2020, 2, 29)),
        (date(2018, 8, 31), 6, date(2019, 2, 28)),
        (date(2019, 12, 1), 6, date(2020, 6, 1)),
        (date(2019, 6, 30), 6, date(2019, 12, 30)),
        (date(2019, 6, 30), 0, date(2019, 6, 30)),
    ],
)
def test_months_are_calendar_months(day: date, months: int, later: date) -> None:
    assert months_later(day, months) == later


# Genuine or induced --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("poly", "kind"), [(False, OmCrpc.GENUINE), (True, OmCrpc.INDUCED)])
@pytest.mark.parametrize("oligo", [False, True])
def test_earlier_polymetastatic_disease_tells_induced_from_genuine(poly: bool, kind: OmCrpc, oligo: bool) -> None:
    found = classify(history(disease=disease(poly, oligo)), sites(), CRITERIA)
    assert found.om_crpc is kind
    assert found.castration_resistant is True
    assert found.facts_missing == ()
    assert found.findings == ()


@pytest.mark.parametrize(
    ("taken_away", "missing"),
    [
        ("testosterone", "serum testosterone"),
        ("psa", "PSA series"),
        ("therapies", "start of the androgen deprivation"),
        ("disease", "history of polymetastatic disease"),
    ],
)
def test_a_missing_fact_leaves_it_undetermined(taken_away: str, missing: str) -> None:
    found = classify(history(**{taken_away: None}), sites(), CRITERIA)
    assert found.om_crpc is OmCrpc.UNDETERMINED
    assert missing in found.facts_missing
    assert [finding.code for finding in found.findings] == ["history-incomplete"]


@pytest.mark.parametrize(
    ("count", "reason"), [(0, "no progressive site"), (6, "more than 5 progressive sites: not oligometastatic")]
)
def test_what_is_not_oligoprogressive_is_neither(count: int, reason: str) -> None:
    found = classify(history(disease=disease(True, False)), sites(count, flagged=6), CRITERIA)
    assert found.om_crpc is OmCrpc.UNDETERMINED
    assert reason in found.reasons


def test_hormone_sensitive_disease_is_neither_and_is_said() -> None:
    found = classify(history(testosterone=[{**CASTRATE, "value": 50.0}]), sites(), CRITERIA)
    assert found.om_crpc is OmCrpc.UNDETERMINED
    assert found.castration_resistant is False
    assert [finding.code for finding in found.findings] == ["crpc-not-met"]
    assert found.estro_eortc is State.METACHRONOUS_PROGRESSION


# Castration resistance -----------------------------------------------------------------------------------------------


def resistant(**tables: Any) -> bool | None:
    return castration_resistant(history(**tables), CRITERIA).answer


def test_the_last_testosterone_counts() -> None:
    earlier = {**CASTRATE, "date": date(2025, 1, 1), "value": 400.0}
    assert resistant(testosterone=[CASTRATE, earlier]) is True
    assert resistant(testosterone=[{**earlier, "value": 10.0}, {**CASTRATE, "value": 400.0}]) is False


def test_progression_on_images_is_enough() -> None:
    assert resistant(psa=None, radiographic_progression=images(EXAM)) is True
    assert resistant(psa=psa(1, 1, 1, 1), radiographic_progression=images(EXAM)) is True


def test_progression_on_images_before_deprivation_is_said_and_does_not_count() -> None:
    found = castration_resistant(history(psa=QUIET, radiographic_progression=images(date(2018, 6, 3))), CRITERIA)
    told = "progression on images: two new bone lesions, 2018-06-03, not after androgen deprivation began on 2019-06-03"
    assert found.answer is False
    assert told in found.used


def test_no_is_said_only_where_both_ways_are_known() -> None:
    quiet = psa(1.0, 0.9, 0.8, 0.7)
    assert resistant(psa=quiet) is False
    assert resistant(psa=quiet, radiographic_progression=None) is None
    assert resistant(psa=None) is None


def test_a_short_series_proves_nothing() -> None:
    found = castration_resistant(history(psa=psa(1, 2, 4)), CRITERIA)
    assert found.answer is None
    assert found.missing == ("PSA series (3 values since 2019-06-03; 4 are needed for 3 rises)",)


def test_rises_before_androgen_deprivation_do_not_count() -> None:
    late = {**ON_ADT, "start": date(2025, 6, 1)}
    values = [*psa(0.5, 1.0, 2.0, 4.0), *psa(4.0, 1.0, 0.5, 0.5, start=date(2025, 6, 2))]
    assert resistant(psa=values, therapies=[late]) is False
    assert resistant(psa=values) is True


def test_drugs_that_take_over_from_each_other_are_one_deprivation() -> None:
    first = {**ADT_OVER, "end": date(2025, 6, 1)}
    second = {"name": "degarelix", "kind": "adt", "start": date(2025, 6, 1), "ongoing": True}
    assert resistant(psa=RISING, therapies=[second, first]) is True
    gap = {**first, "end": date(2024, 6, 1)}
    assert resistant(psa=RISING, therapies=[second, gap]) is None  # no values since the present one began


SERIES = {
    "three rises, two of them half above nadir": (psa(1.0, 1.6, 1.8, 2.1), True),
    "exactly half above nadir counts": (psa(2.0, 2.1, 3.0, 3.1), True),
    "only one high value": (psa(2.0, 2.1, 2.9, 3.1), False),
    "exactly 2 ng/ml is not above": (psa(0.5, 1.0, 1.5, 2.0), False),
    "2.01 ng/ml is": (psa(0.5, 1.0, 1.5, 2.01), True),
    "two rises": (psa(1.0, 0.9, 2.0, 4.0), False),
    "a fall between": (psa(1.0, 2.0, 4.0, 3.0, 6.0), False),
    "a plateau between": (psa(1.0, 2.0, 4.0, 4.0, 6.0), False),
    "a week apart": (psa(1.0, 2.0, 4.0, 6.0, apart_days=7), True),
    "six days apart": (psa(1.0, 2.0, 4.0, 6.0, apart_days=6), False),
    "six days apart, but long": (psa(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, apart_days=6), True),
    "a later nadir": (psa(4.0, 0.1, 1.0, 2.0, 3.0), True),
}


@pytest.mark.parametrize(("rows", "progressed"), SERIES.values(), ids=SERIES.keys())
def test_psa_progression(rows: list[dict[str, Any]], progressed: bool) -> None:
    values = [Psa.model_validate(row) for row in rows]
    assert (psa_progressed(values, CRITERIA.psa_progression) is not None) is progressed


@given(st.lists(st.floats(0.01, 50.0), min_size=4, max_size=12))
def test_psa_progression_against_trying_every_run(numbers: list[float]) -> None:
    """Monthly values: some run of at least three rises in a row ends high enough over all before."""
    ends = range(3, len(numbers))
    met = False
    for end in ends:
        run = end
        while run > 0 and numbers[run] > numbers[run - 1]:
            run -= 1
        rises, nadir = numbers[run + 1 : end + 1], min(numbers[: end + 1])
        high = [value for value in rises if value >= nadir * 1.5]
        met |= len(rises) >= 3 and len(high) >= 2 and numbers[end] > 2.0
    values = [Psa.model_validate(row) for row in psa(*numbers)]
    assert (psa_progressed(values, CRITERIA.psa_progression) is not None) is met


# What comes out ------------------------------------------------------------------------------------------------------


def test_the_json_is_the_contract_of_plan_json() -> None:
    found = classify(history(), sites(), CRITERIA)
    told = found.as_json()
    assert told["om_crpc"] == "genuine"
    assert told["estro_eortc"] == "Metachronous oligoprogression"
    assert told["progressive_sites"] == 2
    assert told["facts_missing"] == []
    assert told["facts_used"] == [
        "progressive sites: 2 of 3 flagged",
        "history of polymetastatic disease: no",
        "history of oligometastatic disease: no",
        "date of the primary diagnosis: 2019-05-14",
        "date of the first diagnosis of the present oligometastatic disease: 2026-03-02, "
        "more than 6 months after the primary diagnosis",
        "systemic therapy at present: leuprorelin",
        "serum testosterone: 20 ng/dl on 2026-01-20, castrate",
        "PSA progressed by 2025-04-01, under androgen deprivation since 2019-06-03",
    ]


def test_what_a_bundle_held_and_could_not_be_used_is_a_finding() -> None:
    told = history(source="FHIR bundle", unread=["Observation/psa1 does not say the day"])
    found: Classification = classify(told, sites(), CRITERIA)
    assert [(one.code, "psa1" in one.message) for one in found.findings] == [("history-entry-unread", True)]


def test_a_bundle_without_ongoing_therapy_does_not_say_that_there_is_none() -> None:
    told = history(source="FHIR bundle", therapies=OFF)
    assert "systemic therapy at present" in classify(told, sites(), CRITERIA).facts_missing


def test_single_doses_leave_it_open_whether_therapy_goes_on() -> None:
    told = history(source="FHIR bundle", therapies=[{"name": "goserelin", "kind": "adt", "start": EXAM}])
    missing = classify(told, sites(), CRITERIA).facts_missing
    assert "systemic therapy at present (whether goserelin goes on)" in missing
