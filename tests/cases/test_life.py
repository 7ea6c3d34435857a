"""What becomes of a case: what it waits for, who may do what, and what never happens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psdt_planner.case import (
    DEFAULT_REQUIRED,
    NOT_ASSESSED,
    REGISTRATION_USES,
    Asked,
    Assembled,
    Case,
    Confirm,
    Confirmed,
    Conflicted,
    Delivered,
    Discarded,
    Event,
    Held,
    Incomplete,
    MakePlan,
    NotConfirmed,
    PlanHeld,
    Proposed,
    Received,
    Released,
    Removed,
    Reopened,
    Role,
    Send,
    SendFailed,
    SendStarted,
    State,
    advance,
    became_of,
    case_id,
    due,
    is_old_news,
    missing,
    quiet_at_s,
    rests_until_s,
    retry_at_s,
    use_in_words,
    waits_for,
    wanted,
)
from psdt_planner.case.assembly import WORDS
from psdt_planner.errors import CaseStateError, FaultError
from tests.cases.stories import (
    ASKED,
    CONFIRMING,
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

CT, DWI, FLAGS = (WORDS[role] for role in DEFAULT_REQUIRED)
LATE = Received(2000.0, (item("CT", 2, 2000.0),))


def case_held(case: Case) -> Case:
    return tell(Held(9.15e5, "B. Person", "stop"), case=case)


def test_the_plain_story_from_objects_to_sent() -> None:
    case = Case("7K3MQ-2ZDXW")
    states = []
    for event in SENT:
        case, _ = advance(case, event)
        states.append(case.state.value)
    assert states == ["assembling", "planning", "proposed", *["released"] * 4, "sent"]
    assert case.released_by == "A. Person"
    assert case.delivered == {output.sop_instance_uid for output in outputs()}
    assert wanted(case) == ()


class TestAssembling:
    @pytest.mark.parametrize(
        ("items", "lacks"),
        [
            ((), (CT, DWI, FLAGS)),
            ((item("CT"), item("SEG")), (DWI, FLAGS)),  # drawn on the CT, and no flags
            ((item("CT"), item("MR")), (FLAGS,)),
            ((item("MR"), item("RTSTRUCT")), (CT,)),
            ((item("CT"), item("MR"), item("RTSTRUCT")), ()),
            (REQUIRED, ()),
            ((*REQUIRED, item("CT", 2, patient_known=False)), ("a Patient ID on every object",)),
        ],
    )
    def test_the_required_set(self, items: tuple[object, ...], lacks: tuple[str, ...]) -> None:
        case = tell(Received(1000.0, items))  # type: ignore[arg-type]
        assert missing(case) == lacks
        assert (due(case, 2000.0, RULES) is None) == bool(lacks)
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

    def test_a_set_that_stays_incomplete_is_held_with_what_is_missing(self) -> None:
        case = tell(Received(1000.0, (item("CT"),)))
        end_s = 1000.0 + RULES.longest_wait_s
        assert (case.since_s, rests_until_s(case, RULES)) == (1000.0, end_s)
        assert due(case, end_s - 1, RULES) is None
        event = due(case, end_s, RULES)
        assert event == Incomplete(end_s, (DWI, FLAGS))
        held = tell(event, case=case)
        (finding,) = held.findings
        assert (held.state, finding.code, finding.value) == (State.HELD, "case-incomplete", 2)
        assert finding.message == f"the set did not become complete in time; missing: {DWI}; {FLAGS}"

    def test_what_was_missing_lets_the_wait_begin_anew(self) -> None:
        held = tell(Received(1000.0, (item("CT"),)), Incomplete(9e5, (DWI, FLAGS)))
        case = tell(Received(9.1e5, (item("MR", 1, 9.1e5),)), case=held)
        assert (case.state, case.since_s, missing(case)) == (State.ASSEMBLING, 9.1e5, (FLAGS,))
        again = tell(Reopened(9.2e5, "A. Person"), case=held)
        assert due(again, 9.2e5 + RULES.longest_wait_s - 1, RULES) is None

    def test_a_person_may_say_not_to_wait_for_it(self) -> None:
        held = tell(Received(1000.0, (item("CT"),)), Incomplete(9e5, (DWI, FLAGS)))
        case = tell(Reopened(9.1e5, "A. Person", as_it_is=True), case=held)
        assert (missing(case), waits_for(case)) == ((), ("quiet",))
        assert due(case, 9.1e5, RULES) == Assembled(9.1e5, 1)
        assert missing(tell(Reopened(9.2e5, "A. Person"), case=case_held(case))) == (DWI, FLAGS), "said once, for once"

    def test_a_set_that_never_comes_to_rest_is_held_too(self) -> None:
        busy = tell(RECEIVED, Received(1e6, (item("PT", 1, 1e6),)))
        assert due(busy, 1e6 + 1, RULES) == Incomplete(1e6 + 1, ("quiet",))

    def test_a_site_says_what_a_set_must_have(self) -> None:
        case = tell(RECEIVED)
        rules = replace(RULES, required=(*DEFAULT_REQUIRED, Role.REGISTRATION, Role.PRIOR_DOSE))
        lacks = ("a registration object", "an RTDOSE of an earlier course")
        assert missing(case, rules.required) == waits_for(case, rules.required) == lacks
        assert due(case, 5000.0, rules) is None

    @pytest.mark.parametrize("state", [s for s in State if s not in {State.ASSEMBLING, State.CONFIRMING}])
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

    @pytest.mark.parametrize(
        "state",
        [State.RELEASED, State.CONFIRMING, State.SENT, State.FAILED, State.UNCONFIRMED, State.DISCARDED],
    )
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
        with pytest.raises(CaseStateError, match=r"Possible: conflicted, received, removed, reopened, strayed\."):
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
        case, pauses, begun = tell(*RELEASED), [], SendStarted(5000.0, "")
        case = tell(begun, case=case)
        while (again := retry_at_s(case, 5000.0, replace(RULES, send_attempts=5))) is not None:
            pauses.append(again - 5000.0)
            case = tell(SendFailed(5000.0, "away", again), begun, case=case)
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

    def test_an_attempt_that_never_ends_is_an_attempt(self) -> None:
        """A process that is killed while it sends, each time again, does not do so for ever."""
        begun = SendStarted(1300.0, "")
        case = tell(*RELEASED, begun, begun)
        assert due(case, 1300.0, RULES) is None
        dead = due(tell(begun, case=case), 1300.0, RULES)
        assert dead == SendFailed(1300.0, "sending was begun 3 times, and the last time it did not end", None)
        assert tell(begun, dead, case=case).state is State.FAILED


class TestConfirming:
    """Where the destination confirms, a case is sent only when it has said that it keeps every output."""

    ALL = tuple(output.sop_instance_uid for output in outputs())

    def test_the_last_output_that_is_taken_leads_to_the_question(self) -> None:
        case = tell(*CONFIRMING)
        assert (case.state, case.confirm) == (State.CONFIRMING, "commitment")
        assert wanted(case) == (Confirm(outputs(), 1210.0),)
        assert waits_for(case)[0] == "the destination's word that it keeps proposal.dcm"

    def test_while_a_question_is_open_it_is_not_asked_again(self) -> None:
        case = tell(*ASKED)
        assert (wanted(case), case.transactions, case.asks) == ((), ("2.25.1",), 1)

    def test_it_is_sent_when_every_output_is_confirmed(self) -> None:
        case = tell(*ASKED, Confirmed(1212.0, self.ALL[:2], "storage commitment"))
        assert case.state is State.CONFIRMING
        assert waits_for(case) == ("the destination's word that it keeps rtstruct.dcm",)
        case = tell(Confirmed(1213.0, self.ALL[2:], "storage commitment"), case=case)
        assert (case.state, case.confirmed) == (State.SENT, dict.fromkeys(self.ALL, "storage commitment"))
        assert (case.answer_by_s, wanted(case)) == (None, ())

    def test_no_answer_in_time_is_asked_again_and_then_left_to_a_person(self) -> None:
        case = tell(*ASKED)
        assert due(case, 1810.9, RULES) is None
        silence = due(case, 1811.0, RULES)
        assert silence == NotConfirmed(1811.0, "the destination did not answer in time", 1821.0, ())
        case = tell(silence, case=case)
        assert wanted(case) == (Confirm(outputs(), 1821.0),)
        case = tell(Asked(1821.0, "2.25.2", 2421.0), case=case)
        last = due(case, 2421.0, RULES)
        assert last == NotConfirmed(2421.0, "the destination did not answer in time", None, ())
        case = tell(last, case=case)
        assert (case.state, case.findings[-1].code) == (State.UNCONFIRMED, "send-not-confirmed")
        assert waits_for(case) == ("a person: send-not-confirmed",)

    def test_what_became_of_each_output_in_words(self) -> None:
        first, second, third = outputs()
        assert became_of(tell(*RELEASED), first) == "not sent"
        assert became_of(tell(*SENT), first) == "stored, not confirmed"
        case = tell(*ASKED, Confirmed(1212.0, (second.sop_instance_uid,), "storage commitment"))
        case = tell(NotConfirmed(1213.0, "no", None, (third.sop_instance_uid,)), case=case)
        assert [became_of(case, output) for output in outputs()] == [
            "stored, not confirmed",
            "stored, confirmed by storage commitment",
            "taken, but not kept",
        ]

    def test_an_answer_that_comes_late_still_counts(self) -> None:
        case = tell(Confirmed(9000.0, self.ALL, "storage commitment"), case=in_state(State.UNCONFIRMED))
        assert (case.state, [f.code for f in case.findings]) == (State.SENT, ["dwi-absent"])

    def test_released_again_only_what_was_lost_goes_out_again(self) -> None:
        lost = in_state(State.UNCONFIRMED)
        assert lost.lost == {"1.9.1.0"}
        case = tell(Released(3000.0, "B. Person", 1), case=lost)
        assert (case.state, wanted(case)) == (State.RELEASED, (Send(outputs()[:1], 3000.0),))
        case = tell(SendStarted(3000.0, "commitment"), Delivered(3001.0, "1.9.1.0", ""), case=case)
        assert (case.state, wanted(case)) == (State.CONFIRMING, (Confirm(outputs(), 3001.0),))

    def test_released_again_what_was_never_answered_is_only_asked_again(self) -> None:
        silent = tell(*ASKED, NotConfirmed(1811.0, "no answer", None, ()))
        case = tell(Released(3000.0, "B. Person", 1), case=silent)
        assert (case.state, wanted(case), case.asks) == (State.CONFIRMING, (Confirm(outputs(), 3000.0),), 0)

    def test_what_is_lost_and_then_confirmed_is_not_sent_again(self) -> None:
        case = tell(*ASKED, NotConfirmed(1212.0, "too early", 1222.0, ("1.9.1.0",)))
        assert case.lost == {"1.9.1.0"}
        case = tell(Asked(1222.0, "2.25.2", 1822.0), Confirmed(1223.0, ("1.9.1.0",), "storage commitment"), case=case)
        case = tell(NotConfirmed(1224.0, "no", None, ("1.9.1.0", "1.9.1.1")), case=case)
        assert case.lost == {"1.9.1.1"}, "what was confirmed once stays so"

    def test_a_confirmation_of_something_else_is_a_fault_of_ours(self) -> None:
        with pytest.raises(FaultError, match="confirmed that was not delivered"):
            advance(tell(*ASKED), Confirmed(1212.0, ("1.2.3",), "found"))

    def test_the_same_plan_after_a_reopening_is_asked_about_again(self) -> None:
        again = (Reopened(3000.0, "A. Person"), Assembled(3001.0, 2), Proposed(3002.0, 2, outputs(), ()))
        case = tell(*ASKED, Confirmed(1212.0, self.ALL, "found"), *again, Released(3003.0, "A. Person", 2))
        assert (case.confirmed, wanted(case)) == ({}, (Send(outputs(), 3003.0),))


class TestRemoved:
    def test_the_case_keeps_its_story_and_knows_what_is_gone(self) -> None:
        case = tell(*SENT, Removed(9000.0, 3))
        assert (case.state, dict(case.items), set(case.gone)) == (
            State.SENT,
            {},
            {i.sop_instance_uid for i in REQUIRED},
        )
        assert case.removed_at_s == 9000.0
        assert case.released_by == "A. Person"

    def test_what_comes_again_holds_it(self) -> None:
        case = tell(*SENT, Removed(9000.0, 3), Received(9100.0, (REQUIRED[0],)))
        assert (case.state, case.findings[-1].code) == (State.HELD, "object-late")

    def test_reopened_it_waits_for_everything(self) -> None:
        case = tell(*SENT, Removed(9000.0, 3), Reopened(9100.0, "A. Person"))
        assert missing(case) == (CT, DWI, FLAGS)


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
    st.sampled_from([LATE, RECEIVED, *SENT, *ASKED, Confirmed(1.0, ("1.9.1.0", "1.9.1.1", "1.9.1.2"), "found")]),
    st.sampled_from(
        [NotConfirmed(1.0, "lost", None, ("1.9.1.1",)), Asked(1.0, "2.25.3", 2.0), SendStarted(1.0, "get")]
    ),
    st.sampled_from([Reopened(1.0, "X"), Released(1.0, "X", 1), Released(1.0, "X", 2)]),
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
        if isinstance(event, Released):
            cleared |= {output.sop_instance_uid for output in case.outputs}
            released = True
        for action in actions:
            if isinstance(action, Send):
                assert after.released_by
                assert {output.sop_instance_uid for output in action.outputs} <= cleared
        assert after.delivered <= cleared
        if after.state in {State.CONFIRMING, State.SENT, State.UNCONFIRMED}:
            assert after.delivered >= {output.sop_instance_uid for output in after.outputs}
        if after.state in {State.RELEASED, State.CONFIRMING, State.SENT, State.UNCONFIRMED}:
            assert released
        else:
            assert not any(isinstance(action, Send) for action in actions)
        assert after.items.keys() | after.gone.keys() >= case.items.keys(), "nothing that came in is forgotten"
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
