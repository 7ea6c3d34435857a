"""Sectors of a vertebra from nine landmarks: names, what contradicts what, and sectors that it was built of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial.transform import Rotation

from psdt_planner.geometry import Points
from psdt_planner.images import Volume
from psdt_planner.structures import (
    LEVELS,
    POINTS,
    LandmarkName,
    Part,
    Vertebra,
    contradictions,
    landmark_of,
    out_of_line,
    part_of,
    sectors_of,
)
from tests.structures.spines import LUMBAR, THORACIC, Form, Standing, ct_with, neighbours, truth_on

SECTORS = [("body", ""), ("lamina", "L"), ("lamina", "R"), ("pedicle", "L"), ("pedicle", "R"), ("spinous", "")]


def turned(*degrees: float) -> Rotation:
    return Rotation.from_euler("xyz", degrees, degrees=True)


def vertebra(form: Form = LUMBAR, *degrees: float, **moved: ArrayLike) -> Vertebra:
    """A vertebra, some of its landmarks moved by so much (up, back, left)."""
    one = Standing(replace(form), turned(*degrees) if degrees else Rotation.identity())
    return marked(one.landmarks(), {name: one.turn.apply(np.asarray(by, float)[::-1]) for name, by in moved.items()})


def marked(landmarks: Mapping[str, Points], moved: Mapping[str, Points]) -> Vertebra:
    found = Vertebra.of("L3", {name: at + moved.get(name, 0.0) for name, at in landmarks.items()})
    assert found is not None
    return found


# names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("VB_L4_Pt_Top", LandmarkName("L4", "Top")),
        (" vb_t04_pt_trl ", LandmarkName("T4", "TrL")),
        ("VB_T12_Pt_CANB", LandmarkName("T12", "CanB")),
    ],
)
def test_a_landmark_is_known_by_its_name(name: str, read: LandmarkName) -> None:
    assert landmark_of(name) == read
    assert read.known
    assert part_of(name) is None, "a landmark is no sector"


@pytest.mark.parametrize("name", ["VB_L4", "VB_L4_Top", "VB_L4_Pt", "VB_L4_Pt_Top_L", "VB_X4_Pt_Top", "ISO"])
def test_any_other_name_is_no_landmark(name: str) -> None:
    assert landmark_of(name) is None


@pytest.mark.parametrize("name", ["VB_L4_Pt_Middle", "VB_C5_Pt_Top", "VB_S1_Pt_Top", "VB_L7_Pt_Top"])
def test_a_landmark_of_another_level_or_point_is_named_and_not_known(name: str) -> None:
    read = landmark_of(name)
    assert read is not None
    assert not read.known


def test_every_name_fits_tg263() -> None:
    names = {f"VB_{level[0]}{int(level[1:]):02d}_Pt_{point}" for level in LEVELS for point in POINTS}
    assert max(map(len, names)) <= 16
    assert len({landmark_of(name) for name in names}) == len(LEVELS) * len(POINTS)


# axes -----------------------------------------------------------------------------------------------------------------


def test_the_axes_are_the_vertebra_s_own() -> None:
    turn = turned(10, -30, 25)
    one = Standing(LUMBAR, turn, (7.0, -5.0, 30.0))
    found = marked(one.landmarks(), {})
    np.testing.assert_allclose(found.axes, turn.apply([[0, 0, 1], [0, 1, 0], [1, 0, 0]]), atol=1e-9)
    np.testing.assert_allclose(found.centre_mm, (7.0, -5.0, 30.0), atol=1e-9)
    assert (found.height_mm, found.width_mm, found.mid_canal_mm) == pytest.approx((26.0, 44.0, 24.0))
    assert found.at["Spin"] == pytest.approx((-8.0, 64.0, 0.0))


@pytest.mark.parametrize("pair", [("Top", "Low"), ("Left", "Right")])
def test_points_that_coincide_make_no_vertebra(pair: tuple[str, str]) -> None:
    points = Standing(LUMBAR, Rotation.identity()).landmarks()
    assert Vertebra.of("L3", {**points, pair[0]: points[pair[1]]}) is None


# contradictions -------------------------------------------------------------------------------------------------------

CRUSHED = replace(LUMBAR, height=9.0)
TALL = Form("T1", 18, 26, 18, 15, tip=(-20, 52), process=(4, 14, 36))


@pytest.mark.parametrize("form", [LUMBAR, THORACIC, CRUSHED, TALL], ids=["lumbar", "thoracic", "crushed", "T1"])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (10, -30, 25), (40, 10, -10), (-20, 35, -25)])
def test_a_vertebra_in_any_posture_contradicts_nothing(form: Form, degrees: tuple[float, float, float]) -> None:
    assert contradictions(vertebra(form, *degrees)) == ()


def swapped(one: str, other: str, form: Form = LUMBAR) -> Vertebra:
    points = Standing(form, turned(10, -30, 25)).landmarks()
    found = Vertebra.of("L3", {**points, one: points[other], other: points[one]})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("Left", "Right"), "Left lies to the right of Right by the CT's axes"),
        (("Top", "Low"), "Top lies below Low by the CT's axes"),
        (("TrL", "TrR"), "TrL lies to the right of TrR"),
        (("CanF", "CanB"), "CanF, CanB and Spin do not follow each other from the body backwards"),
        (("CanB", "Spin"), "CanF, CanB and Spin do not follow each other from the body backwards"),
    ],
)
def test_two_points_that_were_swapped_are_told(pair: tuple[str, str], words: str) -> None:
    assert contradictions(swapped(*pair)) == (words,)


def test_a_vertebra_that_is_mirrored_as_a_whole_is_told() -> None:
    """All sides swapped: the points agree with each other, and not with the CT."""
    points = Standing(LUMBAR, turned(0, 10, 0)).landmarks()
    mirrored = {name: point * (-1, 1, 1) for name, point in points.items()}
    names = {"Left": "Right", "Right": "Left", "TrL": "TrR", "TrR": "TrL"}
    assert contradictions(marked({name: mirrored[names.get(name, name)] for name in points}, {})) == ()
    assert contradictions(marked(mirrored, {})) == ("Left lies to the right of Right by the CT's axes",)


def test_a_vertebra_that_lies_across_the_patient_is_told() -> None:
    words = "the vertebra would be turned by more than 60 degrees against the patient"
    assert contradictions(vertebra(LUMBAR, 65, 0, 0)) == (words,)


@pytest.mark.parametrize("name", ["Left", "Right", "CanF", "CanB", "TrL", "TrR"])
@pytest.mark.parametrize("form", [LUMBAR, THORACIC], ids=["lumbar", "thoracic"])
@pytest.mark.parametrize("by", [1.0, -1.0], ids=["above", "below"])
def test_one_point_of_the_next_vertebra_is_told(form: Form, name: str, by: float) -> None:
    """The disc is 6 mm high; end plates are looked at below."""
    assert contradictions(vertebra(form, 10, -20, 15, **{name: (by * (form.height + 6.0), 0, 0)}))


@pytest.mark.parametrize("form", [LUMBAR, THORACIC], ids=["lumbar", "thoracic"])
@pytest.mark.parametrize(("name", "by"), [("Top", 1.0), ("Low", -1.0)])
def test_an_end_plate_of_the_next_vertebra_makes_a_body_too_high(form: Form, name: str, by: float) -> None:
    told = contradictions(vertebra(form, 10, -20, 15, **{name: (by * (form.height + 6.0), 0, 0)}))
    assert "times as high as wide" in " ".join(told)


@pytest.mark.parametrize(
    ("moved", "words"),
    [
        ({"Left": (0, 0, 40)}, "the body is 84 mm wide"),
        ({"CanB": (0, 24, 0)}, "the canal is 40 mm deep"),
        ({"CanF": (0, -12, 0)}, "CanF lies 4 mm behind the middle of the body"),
        ({"Spin": (0, 60, 0)}, "Spin lies 92 mm behind CanB"),
        ({"TrL": (0, 0, 35)}, "TrL lies 75 mm beside the middle of the body"),
        ({"TrR": (0, 0, 25)}, "TrR lies 15 mm beside the middle of the body"),
        ({"CanF": (0, 0, 15)}, "CanF lies beside the middle"),
        ({"Spin": (20, 0, 0)}, ""),
    ],
)
def test_points_too_far_apart_are_told(moved: dict[str, ArrayLike], words: str) -> None:
    told = contradictions(vertebra(LUMBAR, **moved))
    assert (words in told) if words else told == ()


def test_two_levels_at_one_place_or_in_the_wrong_order_are_told() -> None:
    here, below = (Standing(LUMBAR, turned(10, -20, 15), (0.0, 0.0, z)) for z in (0.0, -33.0))
    named = {level: marked(one.landmarks(), {}) for level, one in (("L3", here), ("L4", below))}
    named = {level: replace(one, level=level) for level, one in named.items()}
    assert out_of_line(named) == {}
    words = "the bodies of L3 and L4 do not lie one below the other"
    wrong = {"L3": replace(named["L4"], level="L3"), "L4": replace(named["L3"], level="L4")}
    assert out_of_line(wrong) == {"L3": words, "L4": words}
    assert out_of_line({"L3": named["L3"], "L4": replace(named["L3"], level="L4")}) == {"L3": words, "L4": words}


# sectors --------------------------------------------------------------------------------------------------------------

UNEVEN = tuple(np.cumsum([2.0, 2.5, 1.5, 3.0] * 13))
PATIENTS = {
    "lumbar, supine": (LUMBAR, (0, 0, 0), {}),
    "scoliosis, feet first and prone": (replace(LUMBAR, tilt=5.0), (10, -30, 25), {"position": "FFP"}),
    "thoracic with ribs, kyphosis, feet first": (THORACIC, (35, 12, -15), {"position": "FFS"}),
    "lateral, uneven slices": (THORACIC, (-15, 20, -20), {"position": "HFDL", "offsets_mm": UNEVEN}),
}


@pytest.mark.parametrize("patient", PATIENTS)
def test_sectors_are_those_that_the_vertebra_was_built_of(patient: str) -> None:
    """Nothing of a sector is left out, and little lies beyond half a slice of it, ribs and neighbours least of all."""
    form, degrees, options = PATIENTS[patient]
    one = Standing(form, turned(*degrees))
    ct = ct_with(one, *neighbours(one), ribs=form is THORACIC, **options)
    found = sectors_of(marked(one.landmarks(), {}), ct)
    assert found.against == ()
    assert [(part.sector, part.side) for part in sorted(found.shapes)] == SECTORS
    for part, shape in found.shapes.items():
        known = truth_on(one, shape.grid)[Part(form.level, part.sector, part.side)]
        inside = shape.field > 0
        away_mm = ndimage.distance_transform_edt(~known, shape.grid.spacing_kji_mm)
        assert (known & ~inside).sum() < 0.04 * known.sum(), part
        assert (inside & (away_mm > 2.5)).sum() < 0.08 * inside.sum(), part


@pytest.fixture(scope="module")
def standing() -> Standing:
    return Standing(LUMBAR, turned(10, -20, 15))


@pytest.fixture(scope="module")
def ct(standing: Standing) -> Volume:
    return ct_with(standing, *neighbours(standing))


def test_a_wall_that_disease_opened_is_part_of_the_body(standing: Standing, ct: Volume) -> None:
    hole = standing.own(ct.grid.centres_mm()) - (0.0, -10.0, 14.0)
    eaten = np.where(np.linalg.norm(hole, axis=-1) < 8.0, 40.0, ct.array).astype(np.float32)
    shape = sectors_of(marked(standing.landmarks(), {}), replace(ct, array=eaten)).shapes[Part("L3", "body")]
    known = truth_on(standing, shape.grid)[Part("L3", "body")]
    assert (known & ~(shape.field > 0)).sum() < 0.02 * known.sum()


def test_the_tip_of_the_next_spinous_process_is_told_by_the_ct(standing: Standing, ct: Volume) -> None:
    below = next(iter(list(neighbours(standing))[1:]))
    wrong = marked({**standing.landmarks(), "Spin": below.landmarks()["Spin"]}, {})
    assert contradictions(wrong) == (), "thoracic processes are as steep"
    found = sectors_of(wrong, ct)
    assert found.shapes == {}
    assert "of the way from CanB to Spin runs outside bone" in found.against[0]


def test_landmarks_where_the_ct_shows_no_bone_are_told(standing: Standing, ct: Volume) -> None:
    flesh = replace(ct, array=np.full(ct.grid.shape, 40.0, dtype=np.float32))
    found = sectors_of(marked(standing.landmarks(), {}), flesh)
    assert found.shapes == {}
    assert "the CT shows 0.0 ml of a body where the landmarks span 28.8 ml" in found.against


def test_landmarks_beyond_the_ct_are_told(standing: Standing, ct: Volume) -> None:
    away = Standing(LUMBAR, standing.turn, (0.0, 0.0, 50.0))
    found = sectors_of(marked(away.landmarks(), {}), ct)
    assert found.shapes == {}
    assert "Top" in found.against[0]
    assert found.against[0].endswith("lie outside the planning CT")
