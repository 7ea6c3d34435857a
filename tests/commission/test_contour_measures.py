"""What contours are measured with, against formulas and slow oracles."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from scipy.spatial.transform import Rotation

from psdt_planner.commission.contours.ct_masks import FINER, FRAME, MaskJob, ideal, placed
from psdt_planner.commission.contours.measures import (
    STEP_MM,
    Drawn,
    dice,
    hd95_mm,
    mean_sd,
    outline,
    sphere_errors_mm,
)
from psdt_planner.commission.contours.solids import CORNERS, Solid, ball, ellipsoid, together
from psdt_planner.geometry import Grid

TURN = Rotation.from_euler("xyz", (25.0, -40.0, 70.0), degrees=True).as_matrix()
SQUARE = np.array([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)])


def ct(slices: int = 21, gap_mm: float = 2.0) -> Grid:
    """Slices around z = 0."""
    matrix = np.eye(4)[:, [2, 1, 0, 3]]
    matrix[2, 0] = gap_mm
    matrix[:3, 3] = (-20.0, -20.0, -gap_mm * (slices - 1) / 2)
    return Grid.regular(matrix, (slices, 41, 41), FRAME)


def sections(solid: Solid, grid: Grid) -> dict[int, shapely.Geometry]:
    return Drawn.of(ideal(solid, grid)).areas


class TestSolids:
    def test_an_ellipse_has_the_area_of_its_formula(self) -> None:
        """pi a b (1 - z2 / c2), for an ellipsoid along the axes."""
        solid = ellipsoid("", (3.0, 5.0, 8.0), (1.0, 2.0, 3.0))
        assert solid.section(3.0).area == pytest.approx(np.pi * 15.0, rel=1e-12)
        assert solid.section(7.0).area == pytest.approx(np.pi * 15.0 * (1 - 16 / 64), rel=1e-12)
        assert solid.section(11.01).is_empty
        assert len(shapely.get_coordinates(solid.section(3.0))) == CORNERS + 1

    def test_the_sections_of_a_turned_ellipsoid_sum_up_to_its_volume(self) -> None:
        solid = ellipsoid("", (3.0, 5.0, 8.0)).moved(TURN, (1.0, 2.0, 3.0))
        heights = np.arange(-10.0, 16.0, 0.01) + 0.005
        assert sum(solid.section(z).area for z in heights) * 0.01 == pytest.approx(solid.volume_mm3, rel=1e-5)
        assert solid.volume_mm3 == pytest.approx(4 / 3 * np.pi * 120.0)

    def test_a_section_is_where_the_solid_holds_its_points(self) -> None:
        solid = together("", [ball(5.0), ellipsoid("", (3.0, 5.0, 8.0), (4.0, 0.0, 1.0))]).moved(TURN, (1.0, 2.0, 3.0))
        points = np.random.default_rng(1).uniform(-12, 12, (4000, 2))
        for z in (0.0, 3.0, 6.0):
            inside = solid.holds(np.column_stack([points, np.full(len(points), z)]))
            section = solid.section(z)
            off = inside != shapely.contains_xy(section, points)
            assert inside.any()
            assert shapely.distance(section.boundary, shapely.points(points[off])).max(initial=0.0) < 1e-3

    def test_the_volume_of_two_balls_leaves_out_what_they_share(self) -> None:
        """Two balls of radius r whose centres are d apart share pi (4r + d) (2r - d)2 / 12."""
        both = together("", [ball(5.0), ball(5.0, (6.0, 0.0, 0.0))])
        shared = np.pi * 26.0 * 16.0 / 12.0
        assert both.volume_mm3 == pytest.approx(2 * 4 / 3 * np.pi * 125.0 - shared, rel=1e-4)

    def test_bounds_are_those_of_the_surface_and_the_surface_lies_on_it(self) -> None:
        solid = together("", [ball(5.0), ellipsoid("", (3.0, 5.0, 8.0), (4.0, 0.0, 1.0))]).moved(TURN, (1.0, 2.0, 3.0))
        surface = solid.surface()
        low, high = solid.bounds_mm
        assert surface.min(axis=0) == pytest.approx(low, abs=0.05)
        assert surface.max(axis=0) == pytest.approx(high, abs=0.05)
        centre = surface.mean(axis=0)
        inwards, outwards = (surface + step * (surface - centre) for step in (-1e-9, 1e-9))
        parts = np.stack([part.holds(inwards) != part.holds(outwards) for part in solid.parts])
        assert parts.any(axis=0).mean() > 0.99


class TestDrawn:
    def test_a_ring_within_a_ring_is_a_hole(self) -> None:
        drawn = Drawn.of([(3, SQUARE), (3, SQUARE * 0.4 + 3.0), (5, SQUARE)])
        assert {k: area.area for k, area in drawn.areas.items()} == {3: pytest.approx(84.0), 5: pytest.approx(100.0)}
        assert drawn.volume_mm3(2.0) == pytest.approx(368.0)
        assert (drawn.rings, drawn.points) == (3, 12)

    def test_rings_without_an_area_count_with_their_points_only(self) -> None:
        drawn = Drawn.of([(0, SQUARE[:1]), (0, SQUARE[:2]), (1, SQUARE)])
        assert (drawn.rings, drawn.points, list(drawn.areas)) == (3, 7, [1])

    def test_a_ring_that_runs_back_on_itself_has_the_area_of_what_it_encloses(self) -> None:
        spike = np.array([(0, 0), (10, 0), (10, 10), (10, 20), (10, 10), (0, 10)], dtype=float)
        assert Drawn.of([(0, spike)]).volume_mm3(1.0) == pytest.approx(100.0)

    def test_outlines_are_sampled_evenly_along_their_lines(self) -> None:
        points = outline(shapely.Polygon(SQUARE, [SQUARE * 0.4 + 3.0]))
        assert len(points) == round(40.0 / STEP_MM) + round(16.0 / STEP_MM)
        assert len(outline(shapely.Polygon())) == 0


class TestErrors:
    @pytest.mark.parametrize("off_mm", [-0.3, 0.0, 0.2])
    def test_a_ball_drawn_too_large_is_off_by_as_much(self, off_mm: float) -> None:
        """Circles of every slice grown by the same width, not a larger ball: the error is in the slice."""
        grid, centre = ct(), np.array([0.3, -0.4, 0.5])
        areas = {k: area.buffer(off_mm, quad_segs=64) for k, area in sections(ball(9.0, centre), grid).items()}
        errors = sphere_errors_mm(Drawn(areas, 0, 0), grid, centre, 9.0)
        assert errors.mean() == pytest.approx(off_mm, abs=0.002)
        assert errors.std() < 0.002

    def test_a_shifted_circle_errs_as_its_cosine(self) -> None:
        grid = ct(1 + 2 * 10)
        k = 10
        circle = shapely.Point(0.5, 0.0).buffer(10.0, quad_segs=256)
        errors = sphere_errors_mm(Drawn({k: circle}, 0, 0), grid, np.zeros(3), 10.0)
        assert np.sqrt((errors**2).mean()) == pytest.approx(0.5 / np.sqrt(2.0), rel=0.01)

    def test_a_slice_beyond_the_ball_has_no_circle(self) -> None:
        grid = ct()
        areas = {0: shapely.Polygon(SQUARE)}
        assert sphere_errors_mm(Drawn(areas, 0, 0), grid, np.zeros(3), 10.0).size == 0


class TestOverlap:
    def test_dice_of_half_shifted_squares_is_a_half(self) -> None:
        one, other = shapely.Polygon(SQUARE), shapely.Polygon(SQUARE + np.array([5.0, 0.0]))
        assert dice({0: one}, {0: other}) == pytest.approx(0.5)
        assert dice({0: one, 1: one}, {0: one}) == pytest.approx(2 / 3)
        assert dice({0: one}, {1: one}) == 0.0

    def test_two_shifted_balls_lie_apart_as_far_as_95_of_100_directions_say(self) -> None:
        """Seen from one surface, the other lies |s cos| away, and cos is even on a sphere: 95 % are below 0.95 s."""
        grid, shift = ct(81, 0.5), 1.0
        one, other = ball(9.0), ball(9.0, (0.0, 0.0, shift))
        found = hd95_mm(sections(one, grid), sections(other, grid), other.surface(), grid)
        assert found == pytest.approx(0.95 * shift, abs=0.05)

    def test_the_right_rings_are_no_distance_apart(self) -> None:
        grid, solid = ct(), ellipsoid("", (4.0, 6.0, 10.0)).moved(TURN, (0.0, 0.0, 0.0))
        assert hd95_mm(sections(solid, grid), sections(solid, grid), solid.surface(), grid) < 0.15

    def test_a_slice_that_was_missed_counts_with_its_way_to_the_next_ring(self) -> None:
        grid, solid = ct(), ellipsoid("", (6.0, 6.0, 1e3))
        truth = sections(solid, grid)
        surface = np.concatenate([[(x, y, z) for x, y in outline(truth[10])] for z in np.arange(-20.0, 20.1, 0.5)])
        cut = {k: area for k, area in truth.items() if k >= 4}
        found = hd95_mm(cut, truth, surface, grid)
        assert found == pytest.approx(6.0, abs=0.01), "of 21 slices one is 8 mm away, which is less than 5 %, one 6 mm"

    def test_nothing_drawn_is_infinitely_far(self) -> None:
        grid = ct()
        assert hd95_mm({}, sections(ball(5.0), grid), ball(5.0).surface(), grid) == np.inf


def test_mean_and_sd_are_of_a_sample() -> None:
    assert mean_sd([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_sd([4.0]) == (4.0, 0.0)


def test_places_lie_within_a_voxel_of_the_middle_and_are_the_same_again() -> None:
    job = MaskJob(FINER, 10.0, 50, 7)
    grid, spheres = placed(job)
    index = grid.index_from_mm([sphere.parts[0].centre_mm for sphere in spheres]) - (np.array(grid.shape) - 1) / 2
    assert np.abs(index).max() < 0.5
    assert index.std(axis=0) == pytest.approx(0.289, abs=0.06)
    assert grid.spacing_kji_mm == pytest.approx((2.0, 1.0, 1.0))
    again = placed(job)[1]
    assert all((a.parts[0].centre_mm == b.parts[0].centre_mm).all() for a, b in zip(spheres, again, strict=True))
