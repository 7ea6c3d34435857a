"""The contours' part of the report: tables, plots and words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes

from psdt_planner.commission.contours.ct_masks import CTS, FINER, RADII_MM, VOXELS, Ct, MaskRow, Value, values
from psdt_planner.commission.contours.figures import contour_figures
from psdt_planner.commission.contours.flags import METHODS, SOLIDS, FlagKind, FlagRow, chosen, voxels_name
from psdt_planner.commission.contours.flags import VOXELS as DWI_VOXELS
from psdt_planner.commission.contours.measures import mean_sd
from psdt_planner.commission.contours.methods import ISO_LINE, OURS, PLASTIMATCH, RT_UTILS
from psdt_planner.commission.contours.rows import ContourRows
from psdt_planner.commission.contours.trips import READERS, TripRow
from psdt_planner.commission.figures import Figure
from psdt_planner.commission.plots import ACCENT, INK, SECOND, STOP, Plot, drawn
from psdt_planner.commission.section import Section
from psdt_planner.commission.tables import Table, said, said_bar, said_figure, verdict

WORDS = (
    "Spheres, ellipsoids and lobed bodies whose surface is known are made masks on a CT, or flags on the voxels of a "
    "DWI that lies turned and shifted against the CT. Each method makes rings of them, which are compared with the "
    "true outline on every slice, at points all along the lines and not only at corners. Volumes are ring area times "
    "slice distance: where a lesion falls between slices, they differ from its own even if every ring is right, as "
    "the row of the ideal polygon shows.",
    "Masks on a CT take the way of `psdt contour`: from voxels of the CT itself to rings. Flags take the way of `psdt "
    "plan`: from voxels of the DWI to a smooth shape on the CT, and its rings. The same rings go into a file, and both "
    "ways share what simplifies and writes them: masks read back are of the first.",
    "rt-utils and plastimatch are run, not imitated; the iso-line is marching squares at 0.5, as many scripts do it. "
    "*Gaussian, cubic, volume kept* is the best that was known for each kind of flag before psdt: a Gaussian of 2.5 mm "
    "over a binary flag's signed distance, of 1 mm over a soft and of 1.5 mm over a noisy one, cubic splines, and the "
    "level that keeps the volume. "
    "A real lesion has no known surface, and a reader's flag no known error: these figures say what drawing adds.",
)


def contours_section(rows: ContourRows) -> Section:
    """Everything that is said of the rows; the same rows give the same section."""
    found = contour_figures(rows)
    tables = (
        _bars(found),
        *(_masks(rows.masks, ct) for ct in CTS),
        *(_flags(rows.flags, spacing, kind) for spacing, kind in product(DWI_VOXELS, FlagKind)),
        _trips(rows.trips),
    )
    counts = (
        f"Masks on CT: {len({(row.ct, row.radius_mm, row.place) for row in rows.masks})}; flags on DWI: "
        f"{len({(row.voxels, row.solid, row.place, row.kind) for row in rows.flags})}; masks read back: "
        f"{len({(row.solid, row.place) for row in rows.trips})}"
    )
    return Section(
        "Contours", counts, WORDS, "", found, tuple(table for table in tables if table.rows), _plots(rows.masks)
    )


def _bars(found: Sequence[Figure]) -> Table:
    head = ("figure", "bar", "reached", "of", "verdict")
    note = (
        "Flags on voxels of 1.6 × 1.6 × 5 mm, but for the two rows about other methods: those are over both sizes, and "
        "a method is better where the mean of the differences, place by place, is above two of its standard errors. "
        "HD95 is the greater of two 95th percentiles: of the distances of the rings to the lesion's surface, and of "
        "the lesion's outlines on the slices to the nearest ring, both in space."
    )
    lines = [(one.name, said_bar(one), said_figure(one), str(one.count), verdict(one)) for one in found]
    return Table("Figures of contours", note, head, tuple(lines))


MASK_METHODS = ("ideal polygon", VOXELS, OURS, RT_UTILS, PLASTIMATCH, ISO_LINE)


def _masks(rows: Sequence[MaskRow], ct: Ct) -> Table:
    head = (
        "method",
        *(f"volume, r {radius:g}" for radius in RADII_MM),
        *(f"of the mask's, r {radius:g}" for radius in RADII_MM[:3]),
        "signed, r 6", "rms, r 4", "rms, r 10", "rms, r 40", "points, r 10",
    )  # fmt: skip
    note = (
        "Spheres of radius r mm, at random places. Volume beyond the sphere's and beyond the mask's in %, mean (SD) "
        "over places; distance to the sphere's circle on each slice in mm, outwards positive, mean over places; points "
        "of all rings of a sphere."
    )
    lines = (_mask_line(rows, ct, method) for method in MASK_METHODS)
    return Table(f"Masks on a CT of {ct.name}", note, head, tuple(line for line in lines if line))


def _mask_line(rows: Sequence[MaskRow], ct: Ct, method: str) -> tuple[str, ...]:
    if not any((row.ct, row.method) == (ct.name, method) for row in rows):
        return ()

    def one(radius_mm: float, value: Value, words: Callable[[Sequence[float]], str]) -> str:
        found = values(rows, ct, radius_mm, method, value)
        return words(found) if found else "–"

    return (
        method,
        *(one(radius, lambda row: row.of_true, _spread) for radius in RADII_MM),
        *(one(radius, lambda row: row.of_mask, _spread) for radius in RADII_MM[:3]),
        one(6.0, lambda row: row.signed_mm, lambda found: f"{np.mean(found) + 0.0:+.2f}"),
        *(one(radius, lambda row: row.rms_mm, lambda found: f"{np.mean(found):.2f}") for radius in (4.0, 10.0, 40.0)),
        one(10.0, lambda row: row.points or None, lambda found: f"{np.mean(found):.0f}"),
    )


def _spread(found: Sequence[float]) -> str:
    mean, sd = mean_sd(found)
    return f"{mean:+.1f} ({sd:.1f})"


def _flags(rows: Sequence[FlagRow], spacing: tuple[float, float, float], kind: FlagKind) -> Table:
    what = {
        FlagKind.BINARY: "A voxel is flagged where at least half of it is lesion.",
        FlagKind.SOFT: "The flag tells the part of each voxel that is lesion.",
        FlagKind.NOISY: "The same with noise (SD 0.15) on the voxels that the surface crosses.",
    }[kind]
    note = (
        f"{what} Volume beyond the lesion's in %, mean (SD); Dice; HD95 in mm; means over places. The mask's own "
        "volume is that of its voxels, weighted by their part."
    )
    name = voxels_name(spacing)
    lines = (_flag_line(rows, name, kind, solid) for solid in SOLIDS)
    head = ("lesion", "the mask's own volume", *METHODS)
    return Table(f"{kind.value.capitalize()} flags on DWI of {name}", note, head, tuple(line for line in lines if line))


def _flag_line(rows: Sequence[FlagRow], voxels: str, kind: FlagKind, solid: str) -> tuple[str, ...]:
    cells = [chosen(rows, voxels, kind, solid, method) for method in METHODS]
    if not all(cells):
        return ()
    own = _spread([100.0 * (row.mask_mm3 / row.true_mm3 - 1.0) for row in cells[0]])
    return (solid, own, *(_flag_cell(cell) for cell in cells))


def _flag_cell(cell: Sequence[FlagRow]) -> str:
    dice, hd95_mm = (float(np.mean(column)) for column in zip(*((row.dice, row.hd95_mm) for row in cell), strict=True))
    return f"{_spread([row.of_true for row in cell])}; {dice:.2f}; {hd95_mm:.1f}"


def _trips(rows: Sequence[TripRow]) -> Table:
    def line(solid: str) -> Iterator[str]:
        yield solid
        for reader in READERS:
            found = [row.dice for row in rows if (row.solid, row.reader) == (solid, reader)]
            yield f"{np.mean(found):.3f} / {min(found):.3f}" if found else "–"

    note = (
        "A mask on a CT of 1 × 1 × 2 mm, its rings in an RTSTRUCT with a channel to each hole, and the mask that a "
        "reader makes of the file: Dice with the first one, mean / worst. psdt's own reading is exact: by even and odd "
        "at the voxels' centres. highdicom reads no structure sets; rt-utils' reader counts a ring's own pixels as "
        "inside, and is left to the tests. On uneven slices, which this table has not, plastimatch lays the rings on "
        "slices of one distance, so that a ball comes back at 0.94 or more; psdt's own reading at 0.99. The tests hold "
        "both."
    )
    solids = dict.fromkeys(row.solid for row in rows)
    return Table("Masks read back", note, ("form", *READERS), tuple(tuple(line(solid)) for solid in solids))


LOOKS = {
    OURS: (ACCENT, "o", "-"),
    RT_UTILS: (STOP, "s", "--"),
    PLASTIMATCH: (SECOND, "^", "-."),
    ISO_LINE: (INK, "x", ":"),
}
"""Colour, marker and line of each method."""


def _plots(rows: Sequence[MaskRow]) -> tuple[Plot, ...]:
    if not rows:
        return ()
    return (
        drawn(
            lambda axes: _by_radius(axes, rows, lambda row: row.rms_mm, "rms distance to the circle in mm"),
            f"Surface error by radius, CT of {FINER.name}",
            "Mean rms distance of each method's rings to the sphere's circle in mm, over the sphere's radius.",
        ),
        drawn(
            lambda axes: _by_radius(axes, rows, lambda row: row.of_mask, "volume beyond the mask's in %"),
            f"Volume by radius, CT of {FINER.name}",
            "Mean volume of each method's rings beyond the mask's in percent, over the sphere's radius.",
        ),
    )


def _by_radius(axes: Axes, rows: Sequence[MaskRow], value: Value, label: str) -> None:
    for method, (colour, marker, line) in LOOKS.items():
        means = [float(np.mean(found)) for r in RADII_MM if (found := values(rows, FINER, r, method, value))]
        if len(means) == len(RADII_MM):
            axes.plot(RADII_MM, means, color=colour, marker=marker, ls=line, lw=1.2, ms=5, label=method)
    axes.axhline(0.0, color=INK, lw=0.6)
    axes.set(xscale="log", xlabel="radius in mm", ylabel=label)
    axes.set_xticks(RADII_MM, [said(radius).removesuffix(".00") for radius in RADII_MM])
    axes.minorticks_off()
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", frameon=False)
