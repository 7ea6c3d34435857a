"""Pictures of a lesion: the MR with the flag and the CT with the contours, as PNG bytes.

Drawn with matplotlib's Figure alone: no pyplot, no display, no state between calls; same input, same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from psdt_planner.exam import Exam
from psdt_planner.geometry import Points
from psdt_planner.images import Kind, Quantity, Volume
from psdt_planner.lesions import FlaggedLesion, MappedLesion
from psdt_planner.planning import PlannedLesion
from psdt_planner.report.sections import View, Window, on_slice, outlines
from psdt_planner.shapes import RoiKind

PIXELS = 400
"""Side of a picture."""

CT_WINDOW_HU = (-200.0, 500.0)
"""Grey values of the CT pictures: soft tissue and bone at once. For display only."""

AIR_HU = -1000.0
MR_BRIGHTEST_PERCENTILE = 99.7
"""Of a picture's own numbers; MR signal has no scale of its own."""

HALF_SIDE_MM = (45.0, 140.0)
"""Smallest and largest half side of a picture."""

AROUND = 1.4
"""How much more than the largest region a picture shows."""

FLAG_COLOUR = "#ffd400"
LINE_STYLE = {RoiKind.GTV: "-", RoiKind.CTV: "--", RoiKind.PTV: ":"}
"""Beside its colour, so that a line can be told without it."""

LINE_WIDTH = {RoiKind.GTV: 1.5, RoiKind.CTV: 1.5, RoiKind.PTV: 2.2}
FLAG_WIDTH = 1.5

SCALE_BAR_MM = 20.0
EDGE = withStroke(linewidth=2.0, foreground="black")
"""A dark edge, so that letters and bar can be read on bright tissue."""

ANATOMICAL = (Kind.T1, Kind.DIXON_IN, Kind.DIXON_WATER, Kind.DIXON_FAT, Kind.T2)
DIFFUSION = (Kind.DWI_TRACE, Kind.DWI, Kind.DWI_CALCULATED)


@dataclass(frozen=True)
class Picture:
    """One picture with what it shows in words.

    Attributes:
        png: the bytes of a PNG file.
        caption: below it.
        words: in place of it, for those who do not see it.
    """

    png: bytes
    caption: str
    words: str


def pictures(lesion: PlannedLesion, exam: Exam) -> tuple[Picture, ...]:
    """The MR with the flag and, where the lesion was mapped, the CT with its contours, or with its place alone."""
    half_mm = _half_side_mm(lesion)
    found = list(_mr_pictures(lesion.flag, exam, half_mm))
    if lesion.mapped is not None and exam.planning_ct is not None:
        found += [_ct_picture(lesion, lesion.mapped, exam.planning_ct, view, half_mm) for view in View]
    return tuple(found)


def _half_side_mm(lesion: PlannedLesion) -> float:
    """Room for the largest region, or for the flag, around its centre."""
    if lesion.rois and lesion.mapped is not None:
        rings = [ring.points_mm for roi in lesion.rois for ring in roi.contours]
        points_mm = np.concatenate(rings) - lesion.mapped.centroid_ct_mm if rings else np.zeros((1, 3))
    else:
        inside = np.argwhere(lesion.flag.mask > 0).astype(np.float64)
        points_mm = lesion.flag.grid.mm_from_index(inside) - lesion.flag.centroid_mm
    return float(np.clip(AROUND * np.linalg.norm(points_mm, axis=-1).max() + 20.0, *HALF_SIDE_MM))


def _mr_pictures(flag: FlaggedLesion, exam: Exam, half_mm: float) -> Iterator[Picture]:
    """The strongest diffusion weighting and the first anatomical image of the flag's frame, as far as there are any."""
    window = Window(View.AXIAL, flag.centroid_mm, half_mm, flag.grid.frame)
    if abs(window.normal @ flag.grid.normal) > np.sqrt(0.5):
        window = on_slice(window, flag.grid)
    for volume in _shown_mr(flag, exam):
        axes, figure = _canvas(window)
        grey = window.cut(volume, PIXELS, outside=0.0)
        brightest = max(float(np.percentile(grey, MR_BRIGHTEST_PERCENTILE)), float(np.finfo(np.float32).tiny))
        _show(axes, grey, window, (0.0, brightest))
        _draw_flag(axes, flag, window)
        name = series_name(volume)
        words = f"Axial {name} image through {flag.id}, with the outline of the flag."
        yield Picture(_png(figure), f"MR {name}, axial, flag", words)


def _shown_mr(flag: FlaggedLesion, exam: Exam) -> list[Volume]:
    diffusion = [volume for volume in exam.of_kind(*DIFFUSION) if volume.grid.frame == flag.grid.frame]
    anatomical = [volume for volume in exam.of_kind(*ANATOMICAL) if volume.grid.frame == flag.grid.frame]
    strongest = sorted(diffusion, key=lambda volume: volume.quantity.b_value_s_per_mm2 or 0.0)[-1:]
    return [*strongest, *anatomical[:1]]


def series_name(volume: Volume) -> str:
    """Kind and b-value in words: ``b900`` or ``t1``."""
    b_value = volume.quantity.b_value_s_per_mm2
    return volume.quantity.kind.value if b_value is None else f"b{b_value:g}"


def _ct_picture(lesion: PlannedLesion, mapped: MappedLesion, ct: Volume, view: View, half_mm: float) -> Picture:
    window = Window(view, mapped.centroid_ct_mm, half_mm, ct.grid.frame)
    if view is View.AXIAL:
        window = on_slice(window, ct.grid)
    axes, figure = _canvas(window)
    _show(axes, window.cut(ct, PIXELS, outside=AIR_HU), window, CT_WINDOW_HU)
    for roi in reversed(lesion.rois):
        for line in outlines(roi.contours, ct.grid, window):
            closed = np.concatenate([line, line[:1]])
            colour = tuple(channel / 255.0 for channel in roi.colour)
            axes.plot(*closed.T, color=colour, linestyle=LINE_STYLE[roi.kind], linewidth=LINE_WIDTH[roi.kind])
    shown = f"with {', '.join(roi.name for roi in lesion.rois)}"
    if not lesion.rois:
        _draw_place(axes, window.on_screen(mapped.centroid_ct_mm), mapped.uncertainty_mm)
        shown = "with the mapped place and a circle of its uncertainty; no contours"
    name = view.name.lower()
    return Picture(_png(figure), f"CT, {name}", f"{name.capitalize()} CT through {lesion.flag.id}, {shown}.")


def _canvas(window: Window) -> tuple[Axes, Figure]:
    """Axes in mm that fill a square figure, with letters at the sides and a bar for scale."""
    figure = Figure(figsize=(PIXELS / 100.0, PIXELS / 100.0), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    half = window.half_mm
    axes.set_xlim(-half, half)
    axes.set_ylim(half, -half)
    at = 0.94 * half
    for letter, (x, y) in zip(window.view.letters, ((-at, 0), (at, 0), (0, -at), (0, at)), strict=True):
        axes.text(x, y, letter, color="white", fontsize=15, ha="center", va="center", path_effects=[EDGE])
    left = -0.92 * half
    # Cut off at its ends: a cap would make the bar longer than it says.
    bar = Line2D([left, left + SCALE_BAR_MM], [0.9 * half] * 2, color="white", linewidth=2.5, solid_capstyle="butt")
    bar.set_path_effects([EDGE])
    axes.add_line(bar)
    axes.text(left, 0.88 * half, f"{SCALE_BAR_MM:g} mm", color="white", fontsize=13, va="bottom", path_effects=[EDGE])
    return axes, figure


def _show(axes: Axes, grey: NDArray[np.float32], window: Window, limits: tuple[float, float]) -> None:
    half = window.half_mm
    low, high = limits
    axes.imshow(grey, cmap="gray", vmin=low, vmax=high, extent=(-half, half, half, -half), interpolation="nearest")


def _draw_flag(axes: Axes, flag: FlaggedLesion, window: Window) -> None:
    mask = Volume(flag.grid, flag.mask, Quantity(Kind.SEG, "1"), flag.source.sop_instance_uid)
    cut = window.cut(mask, PIXELS, outside=0.0)
    level = 0.5 * float(flag.mask.max())
    if cut.max() > level:
        side = window.half_mm * ((2.0 * np.arange(PIXELS) + 1.0) / PIXELS - 1.0)
        axes.contour(side, side, cut, levels=[level], colors=[FLAG_COLOUR], linewidths=FLAG_WIDTH)


def _draw_place(axes: Axes, at_mm: Points, uncertainty_mm: float) -> None:
    x, y = float(at_mm[0]), float(at_mm[1])
    axes.plot([x], [y], marker="+", markersize=12, color=FLAG_COLOUR)
    axes.add_patch(
        Circle((x, y), uncertainty_mm, fill=False, edgecolor=FLAG_COLOUR, linestyle=":", linewidth=FLAG_WIDTH)
    )


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
