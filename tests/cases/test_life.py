"""What becomes of a case: what it waits for, who may do what, and what never happens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psdt_planner.case import (
    NOT_ASSESSED,
    REGISTRATION_USES,
    Assembled,
    Case,
    Conflicted,
    Delivered,
    Discarded,
    Event,
    Held,
    MakePlan,
    PlanHeld,
    Proposed,
    Received,
    Released,
    Reopened,
    Send,
    SendFailed,
    State,
    advance,
    case_id,
    due,
    is_old_news,
    missing,
    quiet_at_s,
    retry_at_s,
    use_in_words,
    waits_for,
    wanted,
)
from psdt_planner.errors import CaseStateError, FaultError
from tests.cases.stories import (
    EVENTS,
    HOLD,
    PLANNED,
    PROPOSED,
    RECEIVED,
    RELEASED,
    REQUIRED,
    RULES,
    SENT,
    WARN,
    in_state,
    item,
    outputs,
    tell,
)

LATE = Received(2000.0, (item("CT", 2, 2000.0),))


def test_the_plain_story_from_objects_to_sent() -> None:
    case = Case("7K3MQ-2ZDXW")
    states = []
    for event in SENT:
        case, _ = advance(case, event)
        states.append(case.state.value)
    assert states == ["assembling", "planning", "proposed", "released", "released", "released", "sent"]
    assert case.released_by == "A. Person"
    assert case.delivered == {output.sop_instance_uid for output in outputs()}
    assert wanted(case) == ()


class TestAssembling:
    @pytest.mark.parametrize(
        ("items", "lacks"),
        [
            ((), ("a CT series", "an MR series", "flags (SEG or RTSTRUCT)")),
            ((item("CT"), item("SEG")), ("an MR series",)),
            ((item("CT"), item("MR")), ("flags (SEG or RTSTRUCT)",)),
            ((item("MR"), item("RTSTRUCT")), ("a CT series",)),
            ((item("CT"), item("MR"), item("RTSTRUCT")), ()),
            (REQUIRED, ()),
            ((*REQUIRED, item("CT", 2, patient_known=False)), ("a Patient ID on every object",)),
        ],
    )
    def test_the_required_set(self, items: tuple[object, ...], lacks: tuple[str, ...]) -> None:
        case = tell(Received(1000.0, items))  # type: ignore[arg-type]
        assert missing(case) == lacks
        assert (due(case, 1e9, RULES) is None) == bool(lacks)
        assert waits_for(case) == (lacks or ("quiet",))

    def test_a_complete_set_is_planned_once_it_has_been_quiet(self) -> None:
        case = tell(RECEIVED)
        assert due(case, 1059.9, RULES) is None
        assert due(case, 1060.0, RULES) == Assembled(1060.0, 1)

    def test_quiet_counts_from_the_last_object_of_the_patient(self) -> None:
        case = tell(RECEIVED, Received(1042.5, (item("PT", 1, 1042.5), item("PT", 2, 1030.0))))
        assert quiet_at_s(case, RULES) == 1102.5
        assert due(case, 1102.0, RULES) is None
        assert due(case, 1103.0, RULES) == Assembled(1103.0, 1)

    @pytest.mark.parametrize("state", [state for state in State if state is not State.ASSEMBLING])
    def test_time_alone_moves_no_other_state(self, state: State) -> None:
        assert due(in_state(state), 1e12, RULES) is None

    def test_an_object_that_is_heard_of_again_is_no_news(self) -> None:
        case = tell(*PROPOSED)
        again, actions = advance(case, RECEIVED)
        assert again == replace(case, version=case.version + 1)
        assert actions == ()
        assert is_old_news(case, RECEIVED)

    def test_our_own_output_that_comes_back_is_no_news(self) -> None:
        """An archive may route what we sent straight back to us."""
        ours = replace(item("RTSTRUCT"), sop_instance_uid=outputs()[2].sop_instance_uid)
        assert tell(*SENT, Received(3000.0, (ours,))).state is State.SENT


class TestPlanning:
    def test_the_plan_is_asked_for_with_all_objects_in_a_fixed_order(self) -> None:
        one, other = tell(*PLANNED), tell(Received(1000.0, REQUIRED[::-1]), Assembled(1060.0, 1))
        assert wanted(one) == (MakePlan(1, ("objects/CT-1", "objects/MR-1", "objects/SEG-1")),)
        assert wanted(other) == wanted(one)

    def test_an_object_that_comes_while_planning_makes_the_plan_worthless(self) -> None:
        case = tell(*PLANNED, LATE)
        assert case.state is State.ASSEMBLING
        with pytest.raises(CaseStateError):
            advance(case, Proposed(2001.0, 1, outputs(), ()))
        again = tell(Assembled(2060.0, 2), case=case)
        with pytest.raises(CaseStateError, match="at plan 2, not 1"):
            advance(again, Proposed(2061.0, 1, outputs(), ()))
        assert tell(Proposed(2062.0, 2, outputs(2), ()), case=again).outputs == outputs(2)

    def test_plans_are_counted(self) -> None:
        with pytest.raises(CaseStateError, match="at plan 0, not 6"):
            advance(tell(RECEIVED), Assembled(1060.0, 7))

    def test_a_plan_that_holds_is_waited_for_by_its_codes(self) -> None:
        case = tell(*PLANNED, PlanHeld(1100.0, 1, (WARN, HOLD)))
        assert case.findings == (WARN, HOLD)
        assert waits_for(case) == ("a person: ct-slice-missing",)
        assert not case.stopped

    def test_a_new_plan_may_not_change_bytes_under_a_uid(self) -> None:
        changed = tuple(replace(output, sha256="f" * 64) for output in outputs())
        case = tell(*PROPOSED, LATE, Assembled(2060.0, 2))
        with pytest.raises(FaultError, match="other bytes under the UID"):
            advance(case, Proposed(2061.0, 2, changed, ()))
        assert tell(Proposed(2061.0, 2, outputs(), ()), case=case).state is State.PROPOSED

    def test_a_plan_has_outputs(self) -> None:
        with pytest.raises(FaultError, match="without outputs"):
            advance(tell(*PLANNED), Proposed(1100.0, 1, (), ()))


class TestLateObjects:
    @pytest.mark.parametrize("state", [State.PLANNING, State.HELD, State.PROPOSED])
    def test_before_a_release_they_reopen_the_case(self, state: State) -> None:
        case = tell(LATE, case=in_state(state))
        assert case.state is State.ASSEMBLING
        assert (case.outputs, case.findings, case.since_s) == ((), (), 2000.0)
        assert due(case, 2059.0, RULES) is None
        assert due(case, 2060.0, RULES) == Assembled(2060.0, 2)

    @pytest.mark.parametrize("state", [State.RELEASED, State.SENT, State.FAILED, State.DISCARDED])
    def test_after_a_release_they_hold_it_for_a_person(self, state: State) -> None:
        case = tell(LATE, case=in_state(state))
        assert (case.state, case.stopped) == (State.HELD, True)
        assert [finding.code for finding in case.findings][-1] == "object-late"
        assert wanted(case) == ()
        assert len(case.items) == 4
        assert tell(Received(2001.0, (item("MR", 2),)), case=case).state is State.HELD, "only a person reopens it"

    def test_what_a_person_holds_stays_held_when_more_comes(self) -> None:
        case = tell(*PROPOSED, Held(1500.0, "B. Person", "wrong patient?"), LATE)
        assert (case.state, len(case.items)) == (State.HELD, 4)
        assert waits_for(case) == ("a person: held-by-person",)
        assert tell(Reopened(2100.0, "B. Person"), case=case).state is State.ASSEMBLING

    @pytest.mark.parametrize("state", list(State))
    def test_other_bytes_under_a_known_uid_hold_in_every_state(self, state: State) -> None:
        conflict = Conflicted(2000.0, REQUIRED[0].sop_instance_uid, "ab" * 32)
        case = tell(conflict, case=in_state(state))
        assert (case.state, case.stopped) == (State.HELD, True)
        assert case.findings[-1].code == "object-conflict"
        again = tell(conflict, case=case)
        assert again.findings == case.findings, "the same copy again is no news"


class TestPersons:
    @pytest.mark.parametrize("name", ["", " ", "\t"])
    @pytest.mark.parametrize("kind", ["released", "held", "reopened", "discarded"])
    def test_a_decision_needs_a_name(self, kind: str, name: str) -> None:
        case = in_state(State.PROPOSED)
        with pytest.raises(CaseStateError, match="needs the name"):
            advance(case, replace(EVENTS[kind](case), by=name))  # type: ignore[call-arg]

    def test_a_release_is_of_the_plan_that_was_looked_at(self) -> None:
        case = tell(*PROPOSED, LATE, Assembled(2060.0, 2), Proposed(2061.0, 2, outputs(2), ()))
        with pytest.raises(CaseStateError, match="at plan 2, not 1"):
            advance(case, Released(2100.0, "A. Person", 1))
        released = tell(Released(2100.0, "A. Person", 2), case=case)
        assert released.cleared == {output.sop_instance_uid for output in outputs(2)}

    def test_a_refusal_says_what_is_possible(self) -> None:
        with pytest.raises(CaseStateError, match=r"Possible: conflicted, received, reopened\."):
            advance(in_state(State.SENT), Released(2000.0, "A. Person", 1))

    def test_a_hold_and_a_discard_keep_their_reason(self) -> None:
        case = tell(*PROPOSED, Held(1500.0, "B. Person", "wrong patient?"), Discarded(1600.0, "C. Person", "yes"))
        assert [(f.code, f.message) for f in case.findings[1:]] == [
            ("held-by-person", "B. Person: wrong patient?"),
            ("discarded", "C. Person: yes"),
        ]


class TestRegistrationUse:
    """The level that the releasing person gives the registration, by AAPM TG-132: 0 to 2 carry targets."""

    @pytest.mark.parametrize("level", [None, 0, 1, 2])
    def test_a_level_that_carries_targets_stays_with_the_release(self, level: int | None) -> None:
        case = tell(*PROPOSED, Released(1200.0, "A. Person", 1, level))
        assert (case.state, case.released_by, case.registration_use) == (State.RELEASED, "A. Person", level)

    @pytest.mark.parametrize("level", [3, 4])
    @pytest.mark.parametrize("state", [State.PROPOSED, State.FAILED])
    def test_a_level_that_carries_none_refuses_the_release(self, state: State, level: int) -> None:
        with pytest.raises(CaseStateError, match=rf"\(level {level}\) carries no targets: the plan is not released"):
            advance(in_state(state), Released(2000.0, "A. Person", 1, level))

    @pytest.mark.parametrize("level", [-1, 5])
    def test_a_level_off_the_scale_is_refused(self, level: int) -> None:
        with pytest.raises(CaseStateError, match=f"a level from 0 to 4, not {level}"):
            advance(in_state(State.PROPOSED), Released(2000.0, "A. Person", 1, level))

    def test_each_release_stands_for_itself(self) -> None:
        failed = tell(*PROPOSED, Released(1200.0, "A. Person", 1, 1), SendFailed(1210.0, "away", None))
        assert tell(Released(3000.0, "B. Person", 1), case=failed).registration_use is None, "B. gave none"
        assert tell(Reopened(3000.0, "B. Person"), case=failed).registration_use is None, "another plan comes"

    def test_the_scale_has_five_levels_in_order_and_words_for_each(self) -> None:
        assert [use.level for use in REGISTRATION_USES] == [0, 1, 2, 3, 4]
        assert [use.for_targets for use in REGISTRATION_USES] == [True, True, True, False, False]
        assert use_in_words(2) == "level 2, usable with a risk of deformation"
        assert use_in_words(None) == NOT_ASSESSED == "not assessed"


class TestSending:
    def test_a_release_asks_for_every_output_at_once(self) -> None:
        assert wanted(tell(*RELEASED)) == (Send(outputs(), 1200.0),)

    def test_only_what_was_not_delivered_is_asked_for_again(self) -> None:
        case = tell(*RELEASED, Delivered(1210.0, "1.9.1.1", ""), SendFailed(1210.0, "away", 1220.0))
        assert wanted(case) == (Send((outputs()[0], outputs()[2]), 1220.0),)
        assert waits_for(case) == ("delivery of proposal.dcm", "delivery of rtstruct.dcm")

    def test_a_delivery_that_is_heard_of_twice_counts_once(self) -> None:
        case = tell(*RELEASED, Delivered(1210.0, "1.9.1.1", ""), Delivered(1211.0, "1.9.1.1", ""))
        assert case.delivered == {"1.9.1.1"}

    def test_pauses_double_up_to_a_limit_and_end(self) -> None:
        case, pauses = tell(*RELEASED), []
        while (again := retry_at_s(case, 5000.0, replace(RULES, send_attempts=5))) is not None:
            pauses.append(again - 5000.0)
            case = tell(SendFailed(5000.0, "away", again), case=case)
        assert pauses == [10.0, 15.0, 15.0, 15.0]
        failed = tell(SendFailed(5000.0, "away", None), case=case)
        assert failed.state is State.FAILED
        assert failed.findings[-1].code == "send-failed"
        assert failed.findings[-1].message == "away"
        assert failed.findings[-1].value == 5

    def test_a_person_may_release_a_failed_case_again(self) -> None:
        failed = in_state(State.FAILED)
        case = tell(Released(3000.0, "B. Person", 1), case=failed)
        assert (case.state, case.attempts, case.released_by) == (State.RELEASED, 0, "B. Person")
        assert "send-failed" not in {finding.code for finding in case.findings}
        assert wanted(case) == (Send(outputs(), 3000.0),)

    def test_the_same_plan_after_a_reopening_goes_out_again(self) -> None:
        reopened = (Reopened(3000.0, "A. Person"), Assembled(3001.0, 2), Proposed(3002.0, 2, outputs(), ()))
        case = tell(*SENT, *reopened, Released(3003.0, "A. Person", 2))
        assert wanted(case) == (Send(outputs(), 3003.0),)

    def test_a_warning_of_the_destination_is_kept(self) -> None:
        case = tell(*RELEASED, *(Delivered(1210.0, o.sop_instance_uid, "Coercion (B000)") for o in outputs()))
        assert case.state is State.SENT
        assert {finding.code for finding in case.findings} == {"dwi-absent", "send-warning"}

    def test_what_was_on_its_way_when_a_person_stopped_the_case_is_recorded(self) -> None:
        stopped = tell(*RELEASED, Held(1205.0, "B. Person", "stop"))
        for case in (
            stopped,
            tell(Reopened(1206.0, "B. Person"), case=stopped),
            tell(Discarded(1206.0, "B. Person", "no"), case=stopped),
        ):
            after = tell(Delivered(1210.0, "1.9.1.0", ""), case=case)
            assert after.state is case.state
            assert after.delivered == {"1.9.1.0"}

    def test_an_object_that_nobody_released_is_a_fault_of_ours(self) -> None:
        with pytest.raises(FaultError, match="nobody released"):
            advance(tell(*RELEASED), Delivered(1210.0, "1.2.3.4", ""))


class TestIds:
    def test_an_id_is_short_readable_and_the_same_again(self) -> None:
        made = case_id(b"salt", "patient", "HOSPITAL", "4711")
        assert made == case_id(b"salt", "patient", "HOSPITAL", "4711")
        left, right = made.split("-")
        assert len(left) == len(right) == 5
        assert set(left + right) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")

    def test_it_depends_on_the_salt_and_on_every_part(self) -> None:
        parts = [("patient", "A", "B"), ("patient", "AB", ""), ("patient", "", "AB"), ("study", "A", "B")]
        ids = {case_id(salt, *part) for salt in (b"one", b"two") for part in parts}
        assert len(ids) == 8

    def test_ten_thousand_patients_have_ten_thousand_ids(self) -> None:
        assert len({case_id(b"salt", "patient", "", str(number)) for number in range(10_000)}) == 10_000


ANY_EVENT = st.one_of(
    st.sampled_from(sorted(EVENTS)),
    st.sampled_from([LATE, RECEIVED, *SENT, Reopened(1.0, "X"), Released(1.0, "X", 1), Released(1.0, "X", 2)]),
)


@given(steps=st.lists(ANY_EVENT, max_size=40))
@settings(max_examples=400)
def test_whatever_happens_nothing_goes_out_without_a_release(steps: list[str | Event]) -> None:
    """A diary kept beside the case knows which outputs a person cleared; the case never asks for others."""
    case, cleared, released = Case("7K3MQ-2ZDXW"), set[str](), False
    for step in steps:
        event = EVENTS[step](case) if isinstance(step, str) else step
        try:
            after, actions = advance(case, event)
        except (CaseStateError, FaultError):
            continue
        if isinstance(event, Released) and after.state is State.RELEASED:
            cleared |= {output.sop_instance_uid for output in case.outputs}
            released = True
        for action in actions:
            if isinstance(action, Send):
                assert after.released_by
                assert {output.sop_instance_uid for output in action.outputs} <= cleared
        assert after.delivered <= cleared
        if after.state in {State.RELEASED, State.SENT}:
            assert released
        else:
            assert not any(isinstance(action, Send) for action in actions)
        assert after.items.keys() >= case.items.keys(), "nothing that came in is forgotten"
        assert after.plan >= case.plan
        assert after.version == case.version + 1
        case = after


@given(steps=st.lists(st.sampled_from(sorted(EVENTS)), max_size=30))
def test_the_same_events_make_the_same_case(steps: list[str]) -> None:
    case, accepted = Case("7K3MQ-2ZDXW"), []
    for step in steps:
        event = EVENTS[step](case)
        try:
            case, _ = advance(case, event)
        except (CaseStateError, FaultError):
            continue
        accepted.append(event)
    assert tell(*accepted) == case
    assert wanted(tell(*accepted)) == wanted(case)
