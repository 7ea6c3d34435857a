"""GTV, CTV and PTV of one lesion: what the protocol makes of margins at bone, vertebra, organs and skin."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from psdt_planner.exam import Organ
from psdt_planner.findings import Finding, Level
from psdt_planner.geometry import Grid
from psdt_planner.images import Volume
from psdt_planner.planning.targets import TargetMaker, Targets, plain
from psdt_planner.protocol import Overlaps, Protocol, Skin, Spare
from psdt_planner.shapes import Contour, RoiKind
from psdt_planner.structures import Margin
from tests.structures.bodies import (
    AIR,
    CORTEX,
    MARROW,
    TISSUE,
    ball,
    ct_of,
    everywhere,
    fine_ct,
    holds,
    tube,
    volume_ml,
)

CITED = {"source": "Book", "place": "Table 1", "basis": "read", "certainty": "H"}


def changed(protocol: Protocol, site: str, **rule: object) -> Protocol:
    sites = {**protocol.sites, site: protocol.sites[site].model_copy(update=rule)}
    return protocol.model_copy(update={"sites": sites})


def spare(organ: str, gap_mm: float = 0.0, gtv_inside: str = "warn", stands_for: tuple[str, ...] = ()) -> Spare:
    return Spare.model_validate(
        {**CITED, "organ": organ, "gap_mm": gap_mm, "gtv_inside": gtv_inside, "stands_for": stands_for}
    )


def square_rings(ct: Grid, centre_mm: ArrayLike, half_mm: ArrayLike, slices: Iterable[int]) -> tuple[Contour, ...]:
    """Rectangles along the patient's axes, with a point every millimetre or so."""
    half = np.asarray(half_mm, dtype=float)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * half
    outline: NDArray[np.float64] = np.concatenate([np.linspace(a, b, 12, endpoint=False) for a, b in pairwise(corners)])
    rings = []
    for k in slices:
        z = ct.slice_origins_mm[k, 2]
        rings.append(Contour(np.column_stack([outline + np.asarray(centre_mm), np.full(len(outline), z)]), k))
    return tuple(rings)


def organ(name: str, ct: Grid, centre_mm: ArrayLike, half_mm: ArrayLike, slices: Iterable[int] | None = None) -> Organ:
    return Organ(name, 1, "1.8", square_rings(ct, centre_mm, half_mm, range(ct.shape[0]) if slices is None else slices))


TRUNK = ct_of(fine_ct("FFS"), [(tube(27.0), TISSUE)], AIR)
SHAFT = ct_of(fine_ct("HFP"), [(everywhere, TISSUE), (tube(12.0), CORTEX), (tube(9.0), MARROW)])
FLESH = ct_of(fine_ct(), [(everywhere, TISSUE)])


def made(
    protocol: Protocol,
    site: str,
    *organs: Organ,
    ct: Volume = FLESH,
    at_mm: ArrayLike = (0.0, 0.0, 0.0),
    radius_mm: float = 4.0,
    widening_mm: float = 0.0,
) -> Targets:
    return TargetMaker(ct, organs, protocol).made("L1", site, ball(ct.grid, at_mm, radius_mm), widening_mm)


def told(targets: Targets, code: str) -> Finding:
    (finding,) = (finding for finding in targets.findings if finding.code == code)
    assert finding.lesion == "L1"
    return finding


def codes(targets: Targets) -> set[str]:
    return {finding.code for finding in targets.findings}


# margins --------------------------------------------------------------------------------------------------------------


def test_a_site_without_a_rule_gets_a_gtv_alone(protocol: Protocol) -> None:
    found = made(protocol, "unknown")
    assert list(found.shapes) == [RoiKind.GTV]
    assert (found.ctv, found.cuts, found.findings) == ("", (), ())


def test_margins_differ_by_direction_and_widen_in_quadrature(protocol: Protocol) -> None:
    """The prostate's PTV: 5 mm, 3 mm towards the back; with a bound of 4 mm: 6.4 and 5 mm."""
    plain_margin, wider = (made(protocol, "prostate", widening_mm=mm).shapes[RoiKind.PTV] for mm in (0.0, 4.0))
    ctv_mm = 4.0 + 5.0
    assert holds(plain_margin, [(0, ctv_mm + 2.8, 0), (0, -ctv_mm - 4.8, 0), (ctv_mm + 4.8, 0, 0)]).all()
    assert not holds(plain_margin, [(0, ctv_mm + 3.3, 0), (0, -ctv_mm - 5.3, 0)]).any()
    assert holds(wider, [(0, ctv_mm + 4.8, 0), (0, -ctv_mm - 6.2, 0)]).all()
    assert not holds(wider, [(0, ctv_mm + 5.3, 0), (0, -ctv_mm - 6.8, 0)]).any()


def test_the_recipe_is_van_herks_but_for_its_linear_part(protocol: Protocol) -> None:
    """2.5 SD of all systematic errors and 0.7 of the random: 7.4 mm; the site's margin widened falls 0.2 mm short."""
    registration, delineation, setup, random = 2.0, 1.5, 1.0, 1.0
    asked = 2.5 * np.sqrt(registration**2 + delineation**2 + setup**2) + 0.7 * random
    without = 2.5 * np.hypot(delineation, setup) + 0.7 * random
    assert protocol.registration_margin is not None
    widened = Margin.uniform(without).widened(protocol.registration_margin.factor * 2.8 * registration).left
    assert asked == pytest.approx(7.43, abs=0.01)
    assert asked - 0.25 < widened < asked


# CTV ------------------------------------------------------------------------------------------------------------------


def test_the_ctv_keeps_to_the_bone_and_says_what_that_took(protocol: Protocol) -> None:
    found = made(protocol, "bone", ct=SHAFT, at_mm=(5.5, 0, 0))
    assert found.ctv == "GTV + 5 mm, within the bone"
    lost = told(found, "ctv-kept-in-bone")
    grown = 4 / 3 * np.pi * 9.0**3 / 1000
    assert (lost.level, lost.unit) == (Level.INFO, "ml")
    assert lost.value == pytest.approx(grown - volume_ml(found.shapes[RoiKind.CTV]), rel=0.12)


def test_a_ctv_that_the_bone_does_not_cut_is_not_told_of(protocol: Protocol) -> None:
    wide = ct_of(fine_ct(), [(tube(20.0), CORTEX), (tube(17.0), MARROW)])
    found = made(protocol, "bone", ct=wide)
    assert found.ctv == "GTV + 5 mm, within the bone"
    assert "ctv-kept-in-bone" not in codes(found)


def test_a_breached_cortex_is_a_warning(protocol: Protocol) -> None:
    found = made(protocol, "bone", ct=SHAFT, at_mm=(12.0, 0, 0), radius_mm=6.0)
    breach = told(found, "ctv-cortex-breached")
    assert (breach.level, breach.limit, breach.unit) == (Level.WARN, 5.0, "%")
    assert breach.value is not None
    assert 10.0 < breach.value < 35.0
    assert "The CTV was not cut at the bone." in breach.message
    assert holds(found.shapes[RoiKind.CTV], [(22.5, 0, 0)]).all()


def test_no_bone_near_is_a_warning(protocol: Protocol) -> None:
    found = made(protocol, "bone")
    unknown = told(found, "ctv-bone-unknown")
    assert (unknown.level, unknown.value, unknown.limit) == (Level.WARN, 0.0, 25.0)
    assert found.ctv == "GTV + 5 mm, not cut at the bone"


def test_a_spine_without_sectors_is_said_to_lack_them(protocol: Protocol) -> None:
    found = made(protocol, "spine", organ("SpinalCanal", FLESH.grid, (0, 22), (4, 4)))
    unknown = told(found, "ctv-sectors-unknown")
    assert unknown.level is Level.WARN
    assert "the CTV is GTV + 0 mm. Complete it by hand." in unknown.message
    np.testing.assert_array_equal(found.shapes[RoiKind.CTV].field > 0, found.shapes[RoiKind.GTV].field > 0)


def test_sectors_of_the_structure_set_make_the_ctv(protocol: Protocol) -> None:
    grid = FLESH.grid
    level = range(10, 20)
    sectors = (
        organ("VB_L4", grid, (0, -2), (14, 10), level),
        organ("VB_L4_Ped_L", grid, (11, 12), (3, 3), level),
        organ("VB_L4_Ped_R", grid, (-11, 12), (3, 3), level),
    )
    found = made(protocol, "spine", *sectors, at_mm=(8, -2, 0))
    added = told(found, "ctv-from-sectors")
    assert added.level is Level.INFO
    assert "body of L4, left pedicle of L4" in added.message
    missing = told(found, "ctv-sectors-incomplete")
    assert missing.level is Level.WARN
    assert "left lamina of L4" in missing.message
    assert "right" not in missing.message
    ctv = found.shapes[RoiKind.CTV]
    assert holds(ctv, [(-13, -2, 0), (11, 12, 0)]).all()
    assert not holds(ctv, [(-11, 13, 0), (15.5, -2, 0)]).any()


def test_sectors_of_the_wrong_side_are_said(protocol: Protocol) -> None:
    level = range(10, 20)
    body = organ("VB_L4", FLESH.grid, (0, -2), (14, 10), level)
    left, right = (organ(f"VB_L4_Ped_{s}", FLESH.grid, (x, 12), (3, 3), level) for s, x in (("L", -11), ("R", 11)))
    found = made(protocol, "spine", body, left, right)
    assert "L4" in told(found, "ctv-sectors-swapped").message
    assert "ctv-sectors-unknown" in codes(found)


# organs ---------------------------------------------------------------------------------------------------------------


def test_a_ptv_is_cut_around_an_organ_by_its_gap_and_the_loss_is_told(protocol: Protocol) -> None:
    """A node of 4 mm with a PTV of 9 mm, 12.25 mm in front of a rectum's wall of which 5 mm are to be kept."""
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum", gap_mm=5.0),))
    found = made(asked, "pelvic-node", organ("Rectum", FLESH.grid, (0, 22.25), (25, 10)))
    height = 9.0 - 7.25
    cap_ml = np.pi * height**2 * (27.0 - height) / 3 / 1000
    (cut,) = found.cuts
    assert (cut.target, cut.by, cut.gap_mm) == ("PTV", "Rectum", 5.0)
    assert cut.lost_ml == pytest.approx(cap_ml, rel=0.15)
    assert (cut.ctv_ml, cut.gtv_ml) == (0.0, 0.0)
    finding = told(found, "ptv-cut-by-organ")
    assert (finding.level, finding.value) == (Level.INFO, cut.lost_ml)
    assert "at Rectum and 5 mm around it" in finding.message
    ptv = found.shapes[RoiKind.PTV]
    assert holds(ptv, [(0, 6.7, 0), (0, -8.7, 0)]).all()
    assert not holds(ptv, [(0, 7.4, 0)]).any()


def test_a_cut_into_the_ctv_is_a_warning(protocol: Protocol) -> None:
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum", gap_mm=5.0),))
    found = made(asked, "pelvic-node", organ("Rectum", FLESH.grid, (0, 16.5), (25, 10)))
    finding = told(found, "ptv-cut-by-organ")
    assert finding.level is Level.WARN
    assert "ml of CTV" in finding.message
    assert found.cuts[0].gtv_ml == pytest.approx(np.pi * 2.5**2 * (12 - 2.5) / 3 / 1000, rel=0.25)
    assert "gtv-in-organ" not in codes(found)


@pytest.mark.parametrize("level", ["warn", "hold"])
def test_the_protocol_says_what_a_gtv_in_an_organ_means(protocol: Protocol, level: str) -> None:
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum", gtv_inside=level),))
    found = made(asked, "pelvic-node", organ("Rectum", FLESH.grid, (0, 11), (25, 9)))
    finding = told(found, "gtv-in-organ")
    assert finding.level == level
    assert finding.value == pytest.approx(np.pi * 2.0**2 * (12 - 2.0) / 3 / 1000, rel=0.25)
    assert finding.limit == 0.03


def test_a_touch_below_the_limit_is_no_overlap(protocol: Protocol) -> None:
    """0.2 mm into the ball: 0.0005 ml."""
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum", gtv_inside="hold"),))
    found = made(asked, "pelvic-node", organ("Rectum", FLESH.grid, (0, 13.8), (25, 10)))
    assert "gtv-in-organ" not in codes(found)
    limit = Overlaps.model_validate({**CITED, "least_ml": 0.9, "targets": "keep-apart"})
    larger = asked.model_copy(update={"overlaps": limit})
    assert "gtv-in-organ" not in codes(made(larger, "pelvic-node", organ("Rectum", FLESH.grid, (0, 9), (25, 9))))


def test_nothing_left_of_a_ptv_is_a_hold(protocol: Protocol) -> None:
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum"),))
    found = made(asked, "pelvic-node", organ("Rectum", FLESH.grid, (0, 0), (25, 25)))
    assert told(found, "ptv-cut-away").level is Level.HOLD


def test_organs_are_known_by_name_without_case_and_blanks(protocol: Protocol) -> None:
    asked = changed(protocol, "pelvic-node", spare=(spare("Bowel_Small"),))
    assert plain("Bowel_Small") == plain("bowel small") == "bowelsmall"
    found = made(asked, "pelvic-node", organ("bowel small", FLESH.grid, (0, 17), (25, 10)))
    assert [cut.by for cut in found.cuts] == ["Bowel_Small"]
    assert "organ-not-evaluated" not in codes(found)


def test_an_organ_that_nobody_contoured_is_said_not_to_be_evaluated(protocol: Protocol) -> None:
    asked = changed(protocol, "pelvic-node", spare=(spare("Rectum"), spare("Bladder")))
    empty = Organ("Bladder", 2, "1.8", ())
    finding = told(made(asked, "pelvic-node", empty), "organ-not-evaluated")
    assert finding.level is Level.WARN
    assert "Rectum, Bladder" in finding.message


@pytest.mark.parametrize(("inside", "level"), [("warn", Level.INFO), ("hold", Level.WARN)])
def test_an_organ_contoured_elsewhere_is_not_evaluated_here(protocol: Protocol, inside: str, level: Level) -> None:
    asked = changed(protocol, "pelvic-node", spare=(spare("SpinalCord", gtv_inside=inside),))
    found = made(asked, "pelvic-node", organ("SpinalCord", FLESH.grid, (0, 10), (3, 3), range(3)))
    finding = told(found, "organ-not-evaluated")
    assert finding.level is level
    assert "Not contoured at the height of L1" in finding.message


def test_the_canal_stands_for_the_cord(protocol: Protocol) -> None:
    rows = (spare("SpinalCord"), spare("CaudaEquina"), spare("SpinalCanal", stands_for=("SpinalCord", "CaudaEquina")))
    asked = changed(protocol, "spine", spare=rows)
    assert "organ-not-evaluated" not in codes(made(asked, "spine", organ("SpinalCanal", FLESH.grid, (0, 12), (4, 4))))
    cord = organ("SpinalCord", FLESH.grid, (0, 12), (4, 4))
    assert told(made(asked, "spine", cord), "organ-not-evaluated").message.endswith("for L1: CaudaEquina.")
    nothing = told(made(asked, "spine"), "organ-not-evaluated")
    assert nothing.message.endswith("for L1: SpinalCord, CaudaEquina.")
    elsewhere = organ("SpinalCanal", FLESH.grid, (0, 12), (4, 4), range(3))
    assert "organ-not-evaluated" in codes(made(asked, "spine", elsewhere)), "a canal two levels up stands for nothing"


# skin -----------------------------------------------------------------------------------------------------------------


def with_skin(protocol: Protocol, ctv_mm: float, ptv_mm: float) -> Protocol:
    rule = Skin.model_validate({**CITED, "ctv_mm": ctv_mm, "ptv_mm": ptv_mm, "gtv_in_air_part": 0.1})
    return protocol.model_copy(update={"skin": rule})


def test_targets_end_below_the_skin_and_say_so(protocol: Protocol) -> None:
    """A trunk of 27 mm half-width with a lesion 9 mm below its skin: CTV to 2 mm, PTV to 4 mm below."""
    found = made(with_skin(protocol, 2.0, 4.0), "prostate", ct=TRUNK, at_mm=(18.0, 0, 0))
    assert holds(found.shapes[RoiKind.CTV], [(24.2, 0, 0)]).all()
    assert not holds(found.shapes[RoiKind.CTV], [(25.8, 0, 0)]).any()
    assert holds(found.shapes[RoiKind.PTV], [(22.2, 0, 0)]).all()
    assert not holds(found.shapes[RoiKind.PTV], [(23.8, 0, 0)]).any()
    finding = told(found, "ptv-cut-at-skin")
    assert finding.level is Level.WARN
    assert "within 4 mm of the skin" in finding.message
    assert found.cuts[-1].by == "skin"


def test_the_gtv_is_never_cut(protocol: Protocol) -> None:
    found = made(with_skin(protocol, 5.0, 5.0), "prostate", ct=TRUNK, at_mm=(22.5, 0, 0))
    inside = [(25.9, 0, 0), (22.5, 3.5, 0), (22.5, 0, -3.5)]
    assert holds(found.shapes[RoiKind.GTV], inside).all()
    assert holds(found.shapes[RoiKind.CTV], inside).all()
    assert found.cuts[-1].gtv_ml > 0.05


def test_a_contoured_body_goes_before_the_ct(protocol: Protocol) -> None:
    body = organ("External", FLESH.grid, (0, 0), (10, 25))
    found = made(with_skin(protocol, 0.0, 3.0), "pelvic-node", body)
    ptv = found.shapes[RoiKind.PTV]
    assert holds(ptv, [(6.7, 0, 0), (0, 8.6, 0)]).all()
    assert not holds(ptv, [(7.4, 0, 0), (-7.4, 0, 0)]).any()


@pytest.mark.parametrize("at_mm", [(40.0, 0, 0), (29.0, 0, 0)])
def test_a_lesion_in_the_air_is_held(protocol: Protocol, at_mm: tuple[float, float, float]) -> None:
    trunk = ct_of(fine_ct("HFS", 50.0), [(tube(27.0), TISSUE)], AIR)
    finding = told(made(with_skin(protocol, 0.0, 3.0), "prostate", ct=trunk, at_mm=at_mm), "gtv-outside-body")
    assert finding.level is Level.HOLD
    assert finding.value is not None
    assert finding.value > 60.0


def test_without_a_rule_the_skin_is_not_looked_at(protocol: Protocol) -> None:
    found = made(protocol.model_copy(update={"skin": None}), "prostate", ct=TRUNK, at_mm=(22.5, 0, 0))
    assert holds(found.shapes[RoiKind.PTV], [(29.0, 0, 0)]).all()
    assert not codes(found) & {"ptv-cut-at-skin", "gtv-outside-body"}
