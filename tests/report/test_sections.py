"""Cuts through volumes and rings, on lattices that are turned, upside down, uneven and anything but square."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon

from psdt_planner.errors import FrameError
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.report.sections import View, Window, on_slice, outlines
from psdt_planner.shapes import Contour
from tests.report.conftest import axial_grid, ball_rings

FRAME = "1.2.3"
LEFT, POSTERIOR, SUPERIOR = np.eye(3)


def upside_down(grid: Grid) -> Grid:
    """Feet first: the same slices in the other order, rows from left to right of the patient turned about."""
    return Grid(grid.slice_origins_mm[::-1], grid.step_j_mm, grid.step_i_mm, grid.shape, grid.frame)


def uneven(grid: Grid) -> Grid:
    stretched = grid.slice_origins_mm.copy()
    stretched[:, 2] += 0.03 * stretched[:, 2] ** 2 * np.sign(stretched[:, 2])
    return Grid(stretched, grid.step_j_mm, grid.step_i_mm, grid.shape, grid.frame)


EVEN = axial_grid((2.5, 1.3, 1.1), (23, 70, 90), FRAME)
GRIDS = {
    "head-first": EVEN,
    "feet-first": upside_down(EVEN),
    "uneven": uneven(EVEN),
    "turned": axial_grid((2.5, 1.3, 1.1), (23, 70, 90), FRAME, turn_degrees=17.0),
}


@pytest.fixture(params=GRIDS, ids=str)
def grid(request: pytest.FixtureRequest) -> Grid:
    return GRIDS[request.param]


@pytest.mark.parametrize(
    ("view", "right_of_screen", "bottom_of_screen", "letters"),
    [
        (View.AXIAL, LEFT, POSTERIOR, "RLAP"),
        (View.CORONAL, LEFT, -SUPERIOR, "RLSI"),
        (View.SAGITTAL, POSTERIOR, -SUPERIOR, "APSI"),
    ],
)
def test_the_screen_shows_the_patient_as_radiologists_do(
    view: View, right_of_screen: Points, bottom_of_screen: Points, letters: str
) -> None:
    centre = np.array([3.0, -4.0, 5.0])
    window = Window(view, centre, 20.0, FRAME)

    assert view.letters == letters
    np.testing.assert_allclose(window.on_screen(centre), [0.0, 0.0])
    np.testing.assert_allclose(window.on_screen(centre + 7.0 * right_of_screen), [7.0, 0.0])
    np.testing.assert_allclose(window.on_screen(centre + 7.0 * bottom_of_screen), [0.0, 7.0])
    np.testing.assert_allclose(window.on_screen(centre + 7.0 * window.normal), [0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("view", list(View))
def test_a_cut_of_a_ramp_is_the_ramp(grid: Grid, view: View) -> None:
    slope = np.array([0.7, -1.3, 2.1])
    ramp = Volume(grid, (grid.centres_mm() @ slope).astype(np.float32), Quantity(Kind.CT, "HU"), "1")
    window = Window(view, np.array([2.0, -3.0, 1.0]), 12.0, FRAME)

    cut = window.cut(ramp, 16, outside=np.nan)

    for row, column in [(0, 0), (0, 15), (15, 0), (7, 4)]:
        across, down = ((np.array([column, row]) + 0.5) / 16 - 0.5) * 24.0
        point = window.centre_mm + across * view.across + down * view.down
        assert cut[row, column] == pytest.approx(point @ slope, abs=1e-3)


def test_a_cut_beyond_the_volume_is_what_lies_outside(grid: Grid) -> None:
    full = Volume(grid, np.ones(grid.shape, dtype=np.float32), Quantity(Kind.CT, "HU"), "1")
    far = Window(View.AXIAL, np.array([500.0, 0.0, 0.0]), 10.0, FRAME)

    assert (far.cut(full, 5, outside=-1000.0) == -1000.0).all()


def test_a_cut_of_another_frame_is_refused(grid: Grid) -> None:
    volume = Volume(grid, np.ones(grid.shape, dtype=np.float32), Quantity(Kind.CT, "HU"), "1")

    with pytest.raises(FrameError):
        Window(View.AXIAL, np.zeros(3), 10.0, "9.9.9").cut(volume, 5, outside=0.0)


def test_a_window_moves_to_the_nearest_slice(grid: Grid) -> None:
    z = grid.slice_origins_mm[:, 2]
    at = 0.7 * z[8] + 0.3 * z[9]

    moved = on_slice(Window(View.AXIAL, np.array([5.0, 6.0, at]), 10.0, FRAME), grid)

    np.testing.assert_allclose(moved.centre_mm, [5.0, 6.0, z[8]])


def test_along_the_slices_the_rings_themselves_are_shown(grid: Grid) -> None:
    centre = np.array([4.0, -2.0, 1.0])
    rings = ball_rings(grid, centre, 11.0)
    window = on_slice(Window(View.AXIAL, centre, 30.0, FRAME), grid)

    [line] = outlines(rings, grid, window)

    [ring] = [ring for ring in rings if abs(ring.points_mm[0, 2] - window.centre_mm[2]) < 1e-9]
    np.testing.assert_allclose(line, (ring.points_mm - window.centre_mm)[:, :2])


def slab_mm(grid: Grid, k: int) -> tuple[float, float]:
    """Lowest and highest z that a slice stands for: half-way to its neighbours."""
    z = np.sort(grid.slice_origins_mm[:, 2])
    k = int(np.argmin(np.abs(z - grid.slice_origins_mm[k, 2])))
    below = z[k] - z[k - 1] if k else z[1] - z[0]
    above = z[k + 1] - z[k] if k + 1 < z.size else z[-1] - z[-2]
    return z[k] - below / 2.0, z[k] + above / 2.0


def oracle_inside(rings: tuple[Contour, ...], grid: Grid, point: Points) -> bool:
    """The slow way: in the slab of a ring, and inside the ring by the crossing number."""
    for ring in rings:
        low, high = slab_mm(grid, ring.slice_index)
        if low < point[2] < high:
            x, y = ring.points_mm[:, 0], ring.points_mm[:, 1]
            after_x, after_y = np.roll(x, -1), np.roll(y, -1)
            spans = (y > point[1]) != (after_y > point[1])
            at = x[spans] + (point[1] - y[spans]) / (after_y - y)[spans] * (after_x - x)[spans]
            if int((at > point[0]).sum()) % 2:
                return True
    return False


@pytest.mark.parametrize("view", [View.CORONAL, View.SAGITTAL])
@given(
    off=st.tuples(st.floats(-9.0, 9.0), st.floats(-9.0, 9.0), st.floats(-6.0, 6.0)),
    probes=st.lists(st.tuples(st.floats(-16.0, 16.0), st.floats(-16.0, 16.0)), min_size=20, max_size=20),
    name=st.sampled_from(sorted(GRIDS)),
)
def test_across_the_slices_a_point_is_in_the_outline_where_it_is_in_the_volume(
    view: View, off: tuple[float, ...], probes: list[tuple[float, float]], name: str
) -> None:
    grid = GRIDS[name]
    rings = ball_rings(grid, np.array([1.0, 2.0, 0.7]), 11.0)
    window = Window(view, np.array([1.0, 2.0, 0.7]) + off, 30.0, FRAME)

    shapes = [Polygon(line) for line in outlines(rings, grid, window)]

    for across, down in probes:
        point = window.centre_mm + across * view.across + down * view.down
        boundary = min(
            (shape.exterior.distance(Polygon([(across, down)] * 4).centroid) for shape in shapes), default=9.0
        )
        if boundary > 1e-3:
            inside = any(shape.contains(Polygon([(across, down)] * 4).centroid) for shape in shapes)
            assert inside == oracle_inside(rings, grid, point)


def test_an_outline_across_has_the_area_of_its_chords(grid: Grid) -> None:
    # A square of 10 mm on five slices: the cut is as wide as the square and as high as the five slabs.
    rings = tuple(
        Contour(np.array([[-5.0, -5.0, z], [5.0, -5.0, z], [5.0, 5.0, z], [-5.0, 5.0, z]]), k)
        for k, z in enumerate(grid.slice_origins_mm[:, 2])
        if 9 <= k <= 13
    )
    height_mm = sum(high - low for low, high in (slab_mm(grid, ring.slice_index) for ring in rings))

    for view in (View.CORONAL, View.SAGITTAL):
        [line] = outlines(rings, grid, Window(view, np.array([0.4, -0.9, 0.0]), 30.0, FRAME))
        assert Polygon(line).area == pytest.approx(10.0 * height_mm, rel=1e-4)


def test_a_ring_that_is_cut_twice_gives_two_outlines(grid: Grid) -> None:
    u_shape = [(-9, -6), (9, -6), (9, 6), (4, 6), (4, -2), (-4, -2), (-4, 6), (-9, 6)]
    z = grid.slice_origins_mm[10, 2]
    ring = Contour(np.array([[x, y, z] for x, y in u_shape], dtype=np.float64), 10)

    through_both_arms = list(outlines([ring], grid, Window(View.CORONAL, np.array([0.0, 3.0, z]), 30.0, FRAME)))
    through_the_base = list(outlines([ring], grid, Window(View.CORONAL, np.array([0.0, -4.0, z]), 30.0, FRAME)))

    assert sorted(round(float(line[:, 0].min())) for line in through_both_arms) == [-9, 4]
    assert [round(float(np.ptp(line[:, 0]))) for line in through_the_base] == [18]


def test_beside_the_volume_there_is_no_outline(grid: Grid) -> None:
    rings = ball_rings(grid, np.zeros(3), 8.0)

    for view in View:
        assert not list(outlines(rings, grid, Window(view, np.full(3, 15.0), 30.0, FRAME)))


def test_without_rings_there_is_no_outline(grid: Grid) -> None:
    assert not list(outlines([], grid, Window(View.CORONAL, np.zeros(3), 30.0, FRAME)))


@pytest.mark.parametrize("view", list(View))
def test_a_hole_in_a_ring_is_drawn(view: View) -> None:
    """A shell: a ball of 20 mm with a ball of 10 mm left out of it."""
    outer, inner = (ball_rings(EVEN, np.zeros(3), radius) for radius in (20.0, 10.0))
    holes = {ring.slice_index: ring.points_mm for ring in inner}
    shell = [
        Contour(ring.points_mm, ring.slice_index, (holes[ring.slice_index],) if ring.slice_index in holes else ())
        for ring in outer
    ]
    window = on_slice(Window(view, np.zeros(3), 30.0, FRAME), EVEN)
    lines = sorted((Polygon(line).area for line in outlines(shell, EVEN, window)), reverse=True)
    assert len(lines) == 2
    assert lines[0] == pytest.approx(np.pi * 20.0**2, rel=0.03)
    assert lines[1] == pytest.approx(np.pi * 10.0**2, rel=0.06)
