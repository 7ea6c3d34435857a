"""A plan as its destination takes it: holes by the rule, what changed said, and only the objects that it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from psdt_planner.destination import Destination
from psdt_planner.dicom.rtstruct_rings import contour_texts
from psdt_planner.dossier import for_destination, load_destination, load_protocol
from psdt_planner.dossier.plan_json import plan_json
from psdt_planner.errors import ConfigurationError, UnsupportedError
from psdt_planner.exam import Exam, Organ
from psdt_planner.findings import Finding, Level
from psdt_planner.fractionation import Abstention
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.planning import LesionStatus, Plan, PlannedLesion, PlanStatus
from psdt_planner.shapes import GeometricType, HoleRule, Roi, StructureSet, rings_volume_ml
from tests.dicom_out.scene import CT, column, flags, structure_set

RING_AREA = np.pi * (11.0**2 - 4.0**2)


def plan() -> Plan:
    """Two lesions; the PTV of the first has a hole of 4 mm radius over five slices, as planning leaves it."""
    drawn = structure_set().rois[:3]
    contours = column((-12.0, -8.0), 11.0, 4.0)
    ptv = replace(drawn[1], contours=contours, volume_ml=rings_volume_ml(contours, CT))
    rois = (drawn[0], ptv, drawn[2])
    volume = Volume(CT, np.zeros(CT.shape, dtype=np.float32), Quantity(Kind.PLANNING_CT, "HU"), "1.2.3")
    exam = Exam(volume, (), tuple(flags().values()), (), (), ())
    lesions = tuple(
        PlannedLesion(
            flag,
            LesionStatus.MAPPED,
            (),
            None,
            tuple(roi for roi in rois if roi.lesion == flag.id),
            flag.volume_ml,
            None,
            Abstention((Finding("dose-abstained", Level.WARN, "none"),)),
        )
        for flag in exam.flags
    )
    made = StructureSet(CT, "psdt PROPOSAL", "PROPOSAL", rois)
    return Plan(PlanStatus.PROPOSED, (), exam, None, lesions, made, load_protocol(None), ())


def over_an_organ(name: str) -> Plan:
    """The same with an organ of 3 mm radius in the hole, and one beside the targets."""
    made = plan()
    organ = Organ(name, 1, "1.8", column((-12.0, -8.0), 3.0))
    beside = Organ("Bladder", 2, "1.8", column((20.0, -20.0), 5.0))
    return replace(made, exam=replace(made.exam, organs=(organ, beside)))


def ptv_of(made: Plan) -> Roi:
    assert made.structure_set is not None
    return made.structure_set.rois[1]


@pytest.mark.parametrize(
    ("name", "rule", "types", "rings"),
    [
        ("generic", HoleRule.KEYHOLE, {GeometricType.CLOSED_PLANAR}, 5),
        ("eclipse", HoleRule.KEYHOLE, {GeometricType.CLOSED_PLANAR}, 5),
        ("monaco", HoleRule.FILLED, {GeometricType.CLOSED_PLANAR}, 5),
        ("mim", HoleRule.XOR, {GeometricType.XOR}, 10),
    ],
)
def test_a_hole_is_drawn_by_the_destinations_rule(
    name: str, rule: HoleRule, types: set[GeometricType], rings: int
) -> None:
    made = for_destination(plan(), load_destination(name))
    ptv = ptv_of(made)
    assert len(ptv.contours) == rings
    assert {ring.geometric_type for ring in ptv.contours} == types
    assert not any(ring.holes_mm for ring in ptv.contours)
    assert ptv.volume_ml == pytest.approx(rings_volume_ml(ptv.contours, CT))
    part = 1.0 if rule is HoleRule.FILLED else RING_AREA / (np.pi * 11.0**2)
    whole_ml = rings_volume_ml(column((-12.0, -8.0), 11.0), CT)
    assert ptv.volume_ml == pytest.approx(part * whole_ml, rel=0.002)


@pytest.mark.parametrize("name", ["raystation", "monaco", "elements"])
def test_a_hole_that_is_filled_is_told_with_its_size(name: str) -> None:
    (finding,) = for_destination(plan(), load_destination(name)).findings
    hole_ml = rings_volume_ml(column((-12.0, -8.0), 4.0), CT)
    assert (finding.code, finding.level, finding.lesion) == ("contour-hole-filled", Level.WARN, "L1")
    assert finding.value == pytest.approx(hole_ml, rel=1e-9)
    assert finding.message.startswith(f"PTV1 has a hole of {hole_ml:.2f} ml. Destination {name} takes none")


@pytest.mark.parametrize("name", ["raystation", "monaco", "elements"])
def test_a_hole_around_a_spared_organ_is_never_filled_but_holds_the_plan(name: str) -> None:
    """The organ was cut out of the PTV, and the report says so: a filled PTV would make that untrue."""
    before = over_an_organ("Rectum")
    made = for_destination(before, load_destination(name))
    (finding,) = made.findings
    assert (finding.code, finding.level, finding.lesion) == ("contour-organ-covered", Level.HOLD, "L1")
    assert finding.value == pytest.approx(rings_volume_ml(column((-12.0, -8.0), 3.0), CT), rel=1e-6)
    assert f"destination {name} takes none: filled, it would hold 0.27 ml of Rectum" in finding.message
    assert (made.status, made.structure_set) == (PlanStatus.HELD, None)
    shown = made.lesions[0].rois[1]
    assert shown.volume_ml == pytest.approx(ptv_of(before).volume_ml, rel=1e-3), "shown as it was cut"


def test_a_hole_around_what_is_not_spared_is_filled_and_told() -> None:
    made = for_destination(over_an_organ("Kidney_L"), load_destination("monaco"))
    assert [finding.code for finding in made.findings] == ["contour-hole-filled"]
    assert made.status is PlanStatus.PROPOSED


@pytest.mark.parametrize("name", ["generic", "eclipse", "mim"])
def test_a_hole_that_is_kept_spares_its_organ(name: str) -> None:
    made = for_destination(over_an_organ("Rectum"), load_destination(name))
    assert (made.status, made.findings) == (PlanStatus.PROPOSED, ())


@pytest.mark.parametrize("name", ["generic", "eclipse", "mim"])
def test_a_hole_that_is_kept_needs_no_word(name: str) -> None:
    assert for_destination(plan(), load_destination(name)).findings == ()


def test_what_is_told_elsewhere_is_what_is_written() -> None:
    """plan.json and the report show the lesions' ROIs: they must be those of the structure set."""
    made = for_destination(plan(), load_destination("monaco"))
    told = plan_json(made)["lesions"][0]["roi_volumes_ml"]["PTV1"]
    assert told == pytest.approx(ptv_of(made).volume_ml, abs=1e-3)
    assert told > ptv_of(plan()).volume_ml


def test_what_has_no_hole_stays_the_same_object() -> None:
    before = plan()
    after = for_destination(before, load_destination("mim"))
    assert before.structure_set is not None
    assert after.structure_set is not None
    assert after.structure_set.rois[0] is before.structure_set.rois[0]
    assert after.structure_set.rois[2] is before.structure_set.rois[2]


def test_a_held_plan_is_drawn_alike_and_nothing_is_checked_that_is_not_sent() -> None:
    held = replace(plan(), status=PlanStatus.HELD, structure_set=None)
    after = for_destination(held, short_names())
    assert after.structure_set is None
    assert not any(ring.holes_mm for lesion in after.lesions for roi in lesion.rois for ring in roi.contours)


def test_a_plan_without_a_ct_stays_as_it_is() -> None:
    bare = plan()
    bare = replace(bare, exam=replace(bare.exam, planning_ct=None), structure_set=None)
    assert for_destination(bare, load_destination("mim")) is bare


def test_a_name_that_the_destination_would_cut_stops_the_plan() -> None:
    with pytest.raises(ConfigurationError, match="destination generic does not take the name GTVn2 of 5 characters"):
        for_destination(plan(), short_names())


def short_names() -> Destination:
    generic = load_destination("generic")
    return generic.model_copy(update={"names": generic.names.model_copy(update={"max_length": 4})})


def with_rings(**limits: int) -> Destination:
    generic = load_destination("generic")
    return generic.model_copy(update={"rings": generic.rings.model_copy(update=limits)})


@pytest.mark.parametrize("limits", [{"max_points": 60}, {"max_bytes": 1600}])
def test_a_ring_beyond_the_destinations_limits_is_simplified_with_its_channel_and_that_is_told(
    limits: dict[str, int],
) -> None:
    """A keyhole has the points of outline and hole together: 96 and four of its channel."""
    before, made = plan(), for_destination(plan(), with_rings(**limits))
    assert max(len(ring.points_mm) for ring in ptv_of(made).contours) <= 60
    assert max(len(text) for text in contour_texts([r.points_mm for r in ptv_of(made).contours])) <= 1600
    (finding,) = made.findings
    assert (finding.code, finding.level, finding.lesion) == ("contour-coarse", Level.WARN, "L1")
    assert finding.value is not None
    assert 0.01 < finding.value < 0.4
    assert ptv_of(made).volume_ml == pytest.approx(ptv_of(before).volume_ml, rel=0.01)


def test_a_ring_that_no_tolerance_makes_short_enough_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="needs more than 8 points"):
        for_destination(plan(), with_rings(max_points=8))


def test_a_ring_that_is_too_long_all_the_same_never_passes() -> None:
    """The last look before writing: by points, and by the bytes that are written."""
    made = plan().structure_set
    assert made is not None
    length = len(contour_texts([made.rois[0].contours[0].points_mm])[0])
    with_rings(max_bytes=length).check(replace(made, rois=made.rois[:1]))
    with pytest.raises(ConfigurationError, match=rf"a ring of GTV1 with {length} bytes \(at most {length - 2}\)"):
        with_rings(max_bytes=length - 2).check(replace(made, rois=made.rois[:1]))
    with pytest.raises(ConfigurationError, match=r"a ring of GTV1 with 48 points \(at most 47\)"):
        with_rings(max_points=47).check(replace(made, rois=made.rois[:1]))


# the node ------------------------------------------------------------------------------------------------------------

TOML = (Path(__file__).parents[2] / "docs" / "psdt.toml").read_text(encoding="utf-8")


def configured(folder: Path, profile: str) -> Path:
    file = folder / "psdt.toml"
    assert '# profile = "generic"' in TOML
    file.write_text(TOML.replace('# profile = "generic"', f'profile = "{profile}"'), encoding="utf-8")
    return file


def test_the_node_hands_its_profile_to_every_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from psdt_planner.cli import planner as node
    from psdt_planner.worker import load_config

    seen = []
    monkeypatch.setattr(node, "make_dossier", lambda *_, destination, **__: seen.append(destination.name))
    node.planner(load_config(configured(tmp_path, "raystation")))([], tmp_path)
    (tmp_path / "ours.toml").write_text(
        (Path(__file__).parents[2] / "psdt_planner/destinations/monaco.toml").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    node.planner(load_config(configured(tmp_path, "ours.toml")))([], tmp_path)
    assert seen == ["raystation", "ours"], "by name, and by a file beside psdt.toml"


@pytest.mark.parametrize("profile", ["raystatoin", "absent.toml"])
def test_a_wrong_profile_stops_the_node_before_it_plans(tmp_path: Path, profile: str) -> None:
    from psdt_planner.cli import planner as node
    from psdt_planner.worker import load_config

    with pytest.raises(ConfigurationError):
        node.planner(load_config(configured(tmp_path, profile)))
