"""Landmarks of vertebrae as the planner sends them: sectors for the CTV, or a finding that says why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from psdt_planner.exam import Landmark
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Points
from psdt_planner.images import Volume
from psdt_planner.planning.targets import TargetMaker, Targets
from psdt_planner.planning.vertebrae import Vertebrae, about_landmarks
from psdt_planner.protocol import Protocol
from psdt_planner.shapes import RoiKind
from tests.planning.test_targets import codes, organ, told
from tests.structures.bodies import ball, holds
from tests.structures.spines import LUMBAR, Standing, ct_with, neighbours

L3 = Standing(LUMBAR, Rotation.from_euler("xyz", (10, -20, 15), degrees=True))
L2, L4 = neighbours(L3)


@pytest.fixture(scope="module")
def ct() -> Volume:
    return ct_with(L3, L2, L4, position="FFS")


def landmarks(level: str = "L3", one: Standing = L3, **changed: Points | None) -> tuple[Landmark, ...]:
    """The nine of a level, some elsewhere, those that are None left out."""
    points: Mapping[str, Points | None] = {**one.landmarks(), **changed}
    return tuple(
        Landmark(f"VB_{level}_Pt_{name}", number, "1.8", np.atleast_2d(at))
        for number, (name, at) in enumerate(points.items(), start=1)
        if at is not None
    )


def made(
    protocol: Protocol, ct: Volume, marks: tuple[Landmark, ...], own: tuple[float, float, float], radius_mm: float = 4.0
) -> Targets:
    """The targets of a ball at a place of L3, by its own (up, back, left)."""
    maker = TargetMaker(ct, (), protocol, Vertebrae(ct, marks))
    return maker.made("L1", "spine", ball(ct.grid, L3.patient(own), radius_mm), 0.0)


def held(found: Targets) -> list[Finding]:
    return [finding for finding in found.findings if finding.level is Level.HOLD]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ((0, 0, 0), "body of L3"),
        ((0, 0, 12), "body of L3, left lamina of L3, left pedicle of L3"),
        ((0, 0, -12), "body of L3, right lamina of L3, right pedicle of L3"),
        ((-7, 48, 0), "left lamina of L3, right lamina of L3, spinous of L3"),
    ],
)
def test_the_sectors_that_landmarks_tell_make_the_ctv(
    protocol: Protocol, ct: Volume, own: tuple[float, float, float], words: str
) -> None:
    found = made(protocol, ct, landmarks(), own)
    assert f"holds the GTV with {words}, by" in told(found, "ctv-from-sectors").message
    assert told(found, "ctv-from-landmarks").level is Level.WARN
    assert codes(found).isdisjoint({"ctv-sectors-unknown", "ctv-sectors-incomplete", "ctv-landmarks-missing"})
    assert held(found) == []
    body = L3.patient([(8, 0, -15), (-8, -10, 8)])
    assert holds(found.shapes[RoiKind.CTV], body).tolist() == [words.startswith("body")] * 2
    assert not holds(found.shapes[RoiKind.CTV], [L2.patient((0, 0, 0)), L4.patient((0, 0, 0))]).any()


def test_a_landmark_that_is_missing_is_named_and_none_of_its_level_is_used(protocol: Protocol, ct: Volume) -> None:
    found = made(protocol, ct, landmarks(CanF=None, TrR=None), (0, 0, 0))
    missing = told(found, "ctv-landmarks-missing")
    assert missing.level is Level.WARN
    assert missing.message == "Landmarks of L3 near L1 are missing: CanF, TrR. None of L3 was used."
    assert told(found, "ctv-sectors-unknown").level is Level.WARN
    assert "ctv-from-landmarks" not in codes(found)


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        (landmarks(TrL=L3.landmarks()["TrR"], TrR=L3.landmarks()["TrL"]), "TrL lies to the right of TrR"),
        (landmarks(CanB=L4.landmarks()["CanB"]), "CanB lies at the height of another vertebra"),
        (landmarks(Spin=L4.landmarks()["Spin"] - (0, 0, 20)), "Spin"),
        (landmarks(Low=L3.landmarks()["Top"]), "Top and Low, or Left and Right, are one point"),
        ((*landmarks(), *landmarks()[:1]), "Top is marked 2 times"),
        ((*landmarks(), *landmarks("L4", L2)), "the bodies of L3 and L4 do not lie one below the other"),
    ],
)
def test_landmarks_that_contradict_hold_the_lesion(
    protocol: Protocol, ct: Volume, marks: tuple[Landmark, ...], words: str
) -> None:
    found = made(protocol, ct, marks, (0, 0, 0))
    assert {finding.code for finding in held(found)} == {"ctv-landmarks-contradict"}
    assert "The landmarks of L3 near L1 contradict each other or the CT: " in held(found)[0].message
    assert words in held(found)[0].message
    assert "ctv-from-sectors" not in codes(found)


def test_landmarks_of_a_vertebra_far_from_the_lesion_say_nothing_of_it(protocol: Protocol, ct: Volume) -> None:
    away = Standing(LUMBAR, L3.turn, tuple(L3.patient((-60, 0, 0))))
    crossed = landmarks("L5", away, TrL=away.landmarks()["TrR"], TrR=away.landmarks()["TrL"])
    found = made(protocol, ct, crossed, (8, 0, 0))
    assert codes(found).isdisjoint({"ctv-landmarks-contradict", "ctv-from-landmarks"})
    assert "ctv-sectors-unknown" in codes(found)


def test_what_was_contoured_goes_before_landmarks(protocol: Protocol, ct: Volume) -> None:
    """Half of the body, contoured: the CTV takes that one in."""
    contoured = organ("VB_L3", ct.grid, (0, -2), (22, 10), range(20, 24))
    maker = TargetMaker(ct, (contoured,), protocol, Vertebrae(ct, landmarks()))
    found = maker.made("L1", "spine", ball(ct.grid, L3.patient((0, 0, 0)), 3.0), 0.0)
    assert "body of L3" in told(found, "ctv-from-sectors").message
    assert not holds(found.shapes[RoiKind.CTV], [L3.patient((10, 0, 0))]).any()


def test_landmarks_without_a_lesion_in_the_spine_are_not_looked_at(protocol: Protocol, ct: Volume) -> None:
    maker = TargetMaker(ct, (), protocol, Vertebrae(ct, landmarks(CanF=None)))
    found = maker.made("L1", "pelvic-node", ball(ct.grid, L3.patient((0, 0, 0)), 3.0), 0.0)
    assert not any("landmarks" in code for code in codes(found))


def test_names_that_are_no_landmarks_of_a_vertebra_are_said_once() -> None:
    odd = (*landmarks("S1"), *landmarks())[8:]
    assert odd[0].name == "VB_S1_Pt_Spin"
    (finding,) = about_landmarks([*odd, replace(odd[0], name="ISO"), replace(odd[0], name="VB_L3_Pt_Mid")])
    assert (finding.code, finding.level) == ("landmark-unknown", Level.WARN)
    assert finding.message == "No landmarks of a vertebra, and not used: VB_S1_Pt_Spin, VB_L3_Pt_Mid."
    assert list(about_landmarks(landmarks())) == []
