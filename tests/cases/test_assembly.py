"""What a case is made of: roles from kinds, references and frames; what it waits for; whose objects they are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psdt_planner.case import (
    DEFAULT_REQUIRED,
    Facts,
    Item,
    Received,
    Reopened,
    Role,
    State,
    Strayed,
    advance,
    keyed_hash,
    lacking,
    parts,
)
from psdt_planner.case.assembly import WORDS
from psdt_planner.images import Kind
from tests.cases.stories import STORIES, item, tell

TODAY, LAST_YEAR = 739_000, 738_640


def thing(uid: str, kind: str, number: int = 1, *, frame: str = "", day: int | None = TODAY, **facts: object) -> Item:
    """One object of a series; of whatever modality, which says nothing here."""
    told = Facts(kind, day=day, frames=(frame,) if frame else (), **facts)  # type: ignore[arg-type]
    return replace(
        item("XX", number, facts=told),
        sop_instance_uid=f"{uid}.{number}",
        series_instance_uid=uid,
        frame_of_reference_uid=frame,
    )


CT = thing("1.1", "ct", frame="F.CT")
B0 = thing("1.2", "t2", 1, frame="F.MR", b_values_s_per_mm2=(0.0,))
B900 = thing("1.2", "dwi", 2, frame="F.MR", b_values_s_per_mm2=(900.0,))
T1 = thing("1.3", "t1", frame="F.MR")
SEG = thing("1.4", "seg", frame="F.MR", series=("1.2",))
REG = replace(thing("1.5", "registration"), facts=Facts("registration", frames=("F.CT", "F.MR")))
ORGANS = thing("1.6", "rtstruct", frame="F.CT", series=("1.1",))
OLD_DWI = thing("2.2", "dwi", frame="F.OLD", day=LAST_YEAR, b_values_s_per_mm2=(50.0, 900.0))
OLD_SEG = thing("2.4", "seg", day=TODAY, series=("2.2",))
OLD_CT = thing("3.1", "ct", frame="F.OLDCT", day=LAST_YEAR)
PLAN = thing("3.2", "rtplan", day=LAST_YEAR)
DOSE = thing("3.3", "rtdose", frame="F.OLDCT", day=LAST_YEAR, objects=("3.2.1",))
ALL = (CT, B0, B900, T1, SEG, REG, ORGANS, OLD_DWI, OLD_SEG, OLD_CT, PLAN, DOSE)

ROLES: Mapping[str, Role] = {
    "1.1": Role.PLANNING_CT,
    "1.2": Role.DWI,
    "1.3": Role.MR,
    "1.4": Role.FLAGS,
    "1.5": Role.REGISTRATION,
    "1.6": Role.ORGANS,
    "2.2": Role.PRIOR_EXAM,
    "2.4": Role.PRIOR_FLAGS,
    "3.1": Role.OTHER_CT,
    "3.2": Role.PRIOR_PLAN,
    "3.3": Role.PRIOR_DOSE,
}


def roles(*items: Item) -> dict[str, Role]:
    return {part.series_instance_uid: part.role for part in parts(items)}


def test_every_part_of_a_whole_case_has_its_role() -> None:
    assert roles(*ALL) == ROLES
    assert lacking(ALL, Role.__members__.values()) == (WORDS[Role.OTHER],)


def test_a_diffusion_series_counts_its_b_values_whatever_its_b0_looks_like() -> None:
    (dwi,) = (part for part in parts(ALL) if part.role is Role.DWI)
    assert (dwi.kind, dwi.objects, dwi.b_values_s_per_mm2) == (Kind.DWI, 2, ((0.0, 1), (900.0, 1)))
    assert (dwi.frames, dwi.refers_to, dwi.absent) == (("F.MR",), (), ())


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_arrival_does_not_matter(seed: int) -> None:
    assert parts(random.Random(seed).sample(ALL, len(ALL))) == parts(ALL)


def test_marks_are_flags_or_organs_by_what_they_were_drawn_on() -> None:
    on_mr = thing("1.7", "rtstruct", series=("1.3",))
    by_frame = thing("1.8", "seg", frame="F.MR")
    report = thing("1.9", "sr", series=("1.4",))
    ct_seg = thing("1.10", "seg", series=("1.1",))
    found = roles(*ALL, on_mr, by_frame, report, ct_seg)
    assert [found[uid] for uid in ("1.7", "1.8", "1.9", "1.10")] == [Role.FLAGS, Role.FLAGS, Role.FLAGS, Role.ORGANS]


def test_organs_that_came_first_are_not_taken_for_flags() -> None:
    assert lacking((CT, B900, ORGANS), DEFAULT_REQUIRED) == (WORDS[Role.FLAGS],)


def test_flags_on_the_older_exam_are_not_those_of_the_newest() -> None:
    assert lacking((CT, B900, OLD_DWI, OLD_SEG), DEFAULT_REQUIRED) == (WORDS[Role.FLAGS],)
    assert lacking((CT, OLD_DWI, OLD_SEG), DEFAULT_REQUIRED) == (), "it is the only exam"


def test_the_only_ct_is_the_planning_ct_even_with_a_dose_on_it() -> None:
    assert roles(OLD_CT, DOSE, PLAN)["3.1"] is Role.PLANNING_CT
    assert roles(OLD_CT, DOSE, PLAN, CT)["3.1"] is Role.OTHER_CT


@pytest.mark.parametrize(
    ("without", "waits"),
    [
        (B900, ()),  # the other b-value still makes the series that the flags name
        (T1, ()),
        (PLAN, ("object 3.2.1, which rtdose refers to",)),
        (OLD_DWI, ("series 2.2, which seg refers to",)),
        (ORGANS, ()),
    ],
    ids=["b900", "t1", "plan", "prior", "organs"],
)
def test_what_is_referred_to_is_waited_for(without: Item, waits: tuple[str, ...]) -> None:
    rest = [one for one in ALL if one is not without]
    assert lacking(rest, (Role.PLANNING_CT,)) == waits


def test_a_series_that_flags_refer_to_is_waited_for_though_another_exam_is_there() -> None:
    other = thing("1.20", "dwi", frame="F.OTHER", b_values_s_per_mm2=(800.0,))
    assert lacking((CT, other, SEG), DEFAULT_REQUIRED) == (
        WORDS[Role.FLAGS],
        "series 1.2, which seg refers to",
    )


def test_a_registration_waits_for_images_in_both_its_frames() -> None:
    assert lacking((CT, REG), ()) == ("an image in frame F.MR, which registration refers to",)
    assert lacking((CT, T1, REG), ()) == ()


def test_a_structure_set_that_lies_on_something_here_waits_for_nothing_else() -> None:
    assert lacking((CT, replace_facts(ORGANS, series=("1.1", "9.9"))), ()) == ()
    assert lacking((CT, replace_facts(ORGANS, series=("9.9",), frames=("F.X",))), ()) == (
        "series 9.9, which rtstruct refers to",
    )


def replace_facts(one: Item, **changes: object) -> Item:
    assert one.facts is not None
    frame = "" if "frames" in changes else one.frame_of_reference_uid
    return replace(one, facts=replace(one.facts, **changes), frame_of_reference_uid=frame)  # type: ignore[arg-type]


def test_an_object_that_cannot_be_read_is_shown_and_plays_no_part() -> None:
    assert roles(thing("9.9", "other")) == {"9.9": Role.OTHER}


@given(some=st.lists(st.sampled_from(ALL), unique_by=lambda one: one.sop_instance_uid))
def test_more_objects_of_the_whole_set_never_lose_one(some: list[Item]) -> None:
    made = parts(some)
    assert sum(part.objects for part in made) == len(some)
    assert {part.series_instance_uid for part in made} == {one.series_instance_uid for one in some}
    there = {one.series_instance_uid for one in some}
    assert all(set(part.refers_to) <= there for part in made)


ONE = keyed_hash(b"salt", "ADAM", "ONE")
TWO = keyed_hash(b"salt", "BERT", "TWO")


class TestIdentity:
    def test_a_keyed_hash_says_nothing_of_what_it_stands_for(self) -> None:
        assert len(ONE) == 24
        assert ONE == keyed_hash(b"salt", "ADAM", "ONE") != keyed_hash(b"other", "ADAM", "ONE")
        assert keyed_hash(b"salt", "A", "B") != keyed_hash(b"salt", "AB", "")
        assert keyed_hash(b"salt", "", "") == keyed_hash(b"salt") == ""

    @pytest.mark.parametrize("what", ["name", "born"])
    @pytest.mark.parametrize("state", [State.ASSEMBLING, State.PLANNING, State.PROPOSED, State.RELEASED, State.SENT])
    def test_two_values_hold_the_case_in_every_state(self, what: str, state: State) -> None:
        first = tell(Received(2000.0, (thing("7.1", "pet", **{what: ONE}),)), case=tell(*STORIES[state]))
        case = tell(Received(2001.0, (thing("7.1", "pet", 2, **{what: TWO}),)), case=first)
        assert (case.state, case.stopped) == (State.HELD, True)
        assert case.findings[-1].code == "patient-inconsistent"
        assert "7.1.2" in case.findings[-1].message
        assert ONE not in case.findings[-1].message

    def test_two_values_in_one_lot_hold_it_too(self) -> None:
        case = tell(Received(1.0, (thing("7.1", "ct", name=ONE), thing("7.1", "ct", 2, name=TWO))))
        assert [finding.code for finding in case.findings] == ["patient-inconsistent"]

    def test_one_value_and_objects_that_tell_none_are_no_doubt(self) -> None:
        case = tell(Received(1.0, (thing("7.1", "ct", name=ONE), thing("7.1", "ct", 2), item("CT"))))
        assert (case.state, case.findings) == (State.ASSEMBLING, ())

    def test_what_a_person_has_looked_at_does_not_hold_the_case_again(self) -> None:
        case = tell(Received(1.0, (thing("7.1", "ct", name=ONE), thing("7.1", "ct", 2, name=TWO))))
        case = tell(Reopened(2.0, "A. Person"), Received(3.0, (thing("7.1", "ct", 3, name=ONE),)), case=case)
        assert (case.state, case.findings) == (State.ASSEMBLING, ())
        third = tell(Received(4.0, (thing("7.1", "ct", 4, name=keyed_hash(b"salt", "C")),)), case=case)
        assert (third.state, third.findings[-1].value) == (State.HELD, 3)

    def test_a_coerced_identity_holds_the_case_once_for_each_former_one(self) -> None:
        case = tell(Received(1.0, (CT, thing("7.1", "ct", was=ONE))))
        assert (case.state, [finding.code for finding in case.findings]) == (State.HELD, ["patient-coerced"])
        case = tell(Reopened(2.0, "A. Person"), Received(3.0, (thing("7.1", "ct", 2, was=ONE),)), case=case)
        assert case.state is State.ASSEMBLING
        assert tell(Received(4.0, (thing("7.1", "ct", 3, was=TWO),)), case=case).state is State.HELD


class TestStrayed:
    def test_it_is_told_once_for_each_series(self) -> None:
        event = Strayed(2000.0, ("1.4",), "ZZZZZ-ZZZZZ")
        case = tell(event, case=tell(*STORIES[State.PROPOSED]))
        assert case.findings[-1].code == "reference-elsewhere"
        assert "case ZZZZZ-ZZZZZ, of another patient, by series 1.4" in case.findings[-1].message
        reopened = tell(Reopened(2001.0, "A. Person"), case=case)
        assert advance(reopened, event)[0].state is State.ASSEMBLING
        assert tell(replace(event, series=("1.4", "1.9")), case=reopened).state is State.HELD
