"""Names, numbers and words of the structure set."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psdt_planner.contours import lesion_shape, trace
from psdt_planner.errors import FaultError
from psdt_planner.shapes import TARGET_KINDS, RoiKind, rings_volume_ml
from psdt_planner.structures import COLOURS, Margin, Target, build_structure_set, grow, lesion_number, roi_name
from tests.structures.scenes import STILL, ct_grid, flag, mr_grid, occupancy, sphere

CT = ct_grid()


def rings_of_a_lesion():
    grid = mr_grid((0, 0, 0), 20.0)
    gtv = lesion_shape(flag(grid, occupancy(grid, sphere((1, 2, 3), 6))), STILL, CT)
    ctv = grow(gtv, Margin.uniform(2.0), CT)
    shapes = {RoiKind.GTV: gtv, RoiKind.CTV: ctv, RoiKind.PTV: grow(ctv, Margin.uniform(3.0), CT)}
    return {kind: trace(shape, CT).contours for kind, shape in shapes.items()}


RINGS = rings_of_a_lesion()


def target(lesion: str = "L1", site: str = "bone", text: str = "24 Gy in 1 fraction.") -> Target:
    return Target(lesion, "Sclerotic lesion", site, text, RINGS, "1.2.3.4")


def built(*targets: Target, label: str = "psdt PROPOSAL"):
    return build_structure_set(targets, CT, label=label, description="PROPOSAL, not for treatment")


@pytest.mark.parametrize(
    ("kind", "site", "number", "name"),
    [
        (RoiKind.GTV, "bone", 1, "GTV1"),
        (RoiKind.PTV, "spine", 12, "PTV12"),
        (RoiKind.GTV, "pelvic-node", 2, "GTVn2"),
        (RoiKind.CTV, "paraaortic-node", 4, "CTVn4"),
        (RoiKind.GTV, "prostate", 3, "GTVp3"),
        (RoiKind.PTV, "unknown", 5, "PTV5"),
    ],
)
def test_names_follow_tg_263(kind, site, number, name):
    assert roi_name(kind, site, number) == name


@given(
    kind=st.sampled_from(TARGET_KINDS),
    site=st.sampled_from(["spine", "bone", "pelvic-node", "paraaortic-node", "prostate", "unknown"]),
    number=st.integers(1, 99_999),
)
def test_names_are_short_ascii_and_tell_kind_and_number(kind, site, number):
    name = roi_name(kind, site, number)
    match = re.fullmatch(r"(GTV|CTV|PTV)(n|p|)([1-9][0-9]*)", name, flags=re.ASCII)
    assert match
    assert len(name) <= 16
    assert (match[1], int(match[3])) == (kind.value, number)
    assert match[2] != "m"


@pytest.mark.parametrize(
    ("kind", "number", "words"),
    [
        (RoiKind.GTV, 0, "'GTV0' does not tell"),
        (RoiKind.GTV, -1, "'GTV-1' does not tell"),
        (RoiKind.GTV, 10**13, "cannot be written in 16 characters"),
        (RoiKind.ORGAN, 1, "TG-263 knows no ORGAN"),
    ],
)
def test_what_makes_no_name_is_refused(kind, number, words):
    with pytest.raises(FaultError, match=words):
        roi_name(kind, "bone", number)


def test_lesion_numbers_come_from_the_ids():
    assert lesion_number("L17") == 17
    for bad in ("17", "L0", "L", "l3", "L3a", "L03"):
        with pytest.raises(FaultError, match="is not a lesion id"):
            lesion_number(bad)


def test_each_lesion_gives_three_rois_in_order():
    structure_set = built(target("L2", "pelvic-node"), target("L1"))
    assert [(roi.number, roi.name) for roi in structure_set.rois] == [
        (1, "GTV1"),
        (2, "CTV1"),
        (3, "PTV1"),
        (4, "GTVn2"),
        (5, "CTVn2"),
        (6, "PTVn2"),
    ]
    assert [roi.kind for roi in structure_set.rois] == 2 * list(TARGET_KINDS)
    assert {roi.lesion for roi in structure_set.rois} == {"L1", "L2"}
    assert structure_set.grid == CT


def test_numbers_stay_when_a_lesion_is_left_out():
    both, later = built(target("L1"), target("L2")), built(target("L2"))
    assert [roi.number for roi in later.rois] == [roi.number for roi in both.rois if roi.lesion == "L2"]


def test_volumes_are_those_of_the_rings_and_targets_hold_one_another():
    gtv, ctv, ptv = built(target()).rois
    for roi in (gtv, ctv, ptv):
        assert roi.volume_ml == pytest.approx(rings_volume_ml(roi.contours, CT))
    assert 0.5 < gtv.volume_ml < ctv.volume_ml < ptv.volume_ml
    slices = [{ring.slice_index for ring in roi.contours} for roi in (gtv, ctv, ptv)]
    assert slices[0] < slices[1] < slices[2]


def test_descriptions_say_proposal_lesion_and_flag():
    gtv = built(target()).rois[0]
    assert gtv.description == (
        "PROPOSAL, not a prescription. GTV of L1, bone. Tracking UID 1.2.3.4. Flagged as: Sclerotic lesion. "
        "24 Gy in 1 fraction."
    )


def test_long_words_are_cut_where_the_attribute_ends():
    gtv = built(target(text="word " * 400)).rois[0]
    assert len(gtv.description) == 1024
    assert gtv.description.endswith(" [...]"), "a reader sees that this is not all"
    assert gtv.description.startswith("PROPOSAL")
    assert "1.2.3.4" in gtv.description


def test_a_description_that_does_not_say_proposal_is_made_to():
    structure_set = build_structure_set([target()], CT, label="psdt", description="Whole-body MRI of today")
    assert structure_set.description == "PROPOSAL, not a prescription. Whole-body MRI of today"


def test_colours_tell_the_kinds_apart():
    assert [roi.colour for roi in built(target()).rois] == [COLOURS[kind] for kind in TARGET_KINDS]
    assert len(set(COLOURS.values())) == len(RoiKind)


def test_a_kind_without_a_rule_is_left_out_and_an_empty_one_is_kept():
    only = Target("L1", "x", "bone", "", {RoiKind.GTV: RINGS[RoiKind.GTV]})
    assert [roi.name for roi in built(only).rois] == ["GTV1"]
    empty = Target("L1", "x", "bone", "", {RoiKind.GTV: ()})
    assert [(roi.name, roi.volume_ml) for roi in built(empty).rois] == [("GTV1", 0.0)]


def test_two_targets_of_one_lesion_or_a_long_label_are_refused():
    with pytest.raises(FaultError, match="two targets have the same lesion id"):
        built(target("L1"), target("L1", "prostate"))
    for label in ("", "seventeen letters"):
        with pytest.raises(FaultError, match="the label"):
            built(target(), label=label)
