"""Flags on a station whose images the composed volume shows elsewhere: their ADC and their transform."""

from __future__ import annotations

import numpy as np
import pytest

from psdt_planner.exam import Exam
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.images import Kind, Quantity, Station, Volume
from psdt_planner.lesions import FlaggedLesion, FlagSource, MaskKind, Side
from psdt_planner.planning.flagged import adc_median, as_flagged, place_of

FRAME, MOVED_MM = "1.2.3.200", (0.0, 5.6, 0.0)


def flag(series: str) -> FlaggedLesion:
    """A block of 2 x 3 x 3 voxels of 5 x 2.8 x 2.5 mm with an empty border."""
    grid = Grid.regular([[0, 0, 2.5, 10], [0, 2.8, 0, 20], [5, 0, 0, 30], [0, 0, 0, 1]], (4, 5, 5), FRAME)
    mask = np.zeros(grid.shape, np.float32)
    mask[1:3, 1:4, 1:4] = 1
    source = FlagSource("", "1.2.9", 1)
    return FlaggedLesion(
        "L1", "rib", "bone", "label", Side.LEFT, "", grid, mask, MaskKind.BINARY, source, series, "dwi-trace"
    )


def exam() -> Exam:
    """An ADC map that grows by 1 for each mm towards the back, of a station that was moved and one that was not."""
    grid = Grid.regular([[0, 0, 2.5, 0], [0, 2.8, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]], (20, 20, 20), FRAME)
    array = np.broadcast_to(2.8 * np.arange(20)[None, :, None], grid.shape).astype(np.float32)
    stations = (Station("1.2.1", MOVED_MM), Station("1.2.2"))
    adc = Volume(grid, array, Quantity(Kind.ADC, "mm2/s"), "1.2.2", None, stations)
    return Exam(None, (adc,), (), (), (), ())


@pytest.mark.parametrize(("series", "moved_mm"), [("1.2.1", 5.6), ("1.2.2", 0.0), ("1.2.99", 0.0), ("", 0.0)])
def test_a_flag_is_looked_up_where_the_volume_shows_its_station(series: str, moved_mm: float) -> None:
    one = flag(series)
    assert one.centroid_mm == pytest.approx([15.0, 25.6, 37.5])
    assert place_of(one, exam()).centre_mm == pytest.approx([15.0, 25.6 - moved_mm, 37.5])
    assert adc_median(exam(), one) == pytest.approx(25.6 - moved_mm, abs=1e-4)


def test_its_transform_takes_it_to_where_its_images_go() -> None:
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turn[:3, 3] = 7, 8, 9
    ct_from_mr = Rigid(turn, "1.2.3.100", FRAME)
    shown = np.array([15.0, 20.0, 37.5])
    assert as_flagged(ct_from_mr, flag("1.2.1"), exam()).apply(shown + MOVED_MM) == pytest.approx(
        ct_from_mr.apply(shown)
    )
    assert as_flagged(ct_from_mr, flag("1.2.2"), exam()) is ct_from_mr
