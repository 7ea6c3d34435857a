"""``psdt candidates``: regions around marked points, and places that meet the rule and that nobody flagged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from psdt_planner.cli.console import err, out, print_findings, progress_bar, table
from psdt_planner.cli.errors import Exit
from psdt_planner.dicom.files import Header, read_headers
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.intake import Intake, read_inputs
from psdt_planner.dicom.seg_out import Grown, segmentation
from psdt_planner.dicom.series import Series, group, stacks_of
from psdt_planner.dossier.files import write_whole
from psdt_planner.errors import ConfigurationError, DecisionNeededError, InputError
from psdt_planner.findings import Level, holds
from psdt_planner.geometry import Grid, Points
from psdt_planner.images import Kind
from psdt_planner.lesions import FlaggedPoint
from psdt_planner.regions import (
    Body,
    NotGrownError,
    Pair,
    Region,
    Rule,
    body_of,
    find_candidates,
    grow,
    pairs,
    parse_rule,
)

Inputs = Annotated[list[Path], typer.Argument(metavar="EXAM...", exists=True, help="DICOM files, folders and tables.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", dir_okay=False, help="The SEG to write.")]
RuleFile = Annotated[Path | None, typer.Option("--rule", metavar="FILE", help="A site's own rule, a TOML file.")]
Accept = Annotated[
    list[str] | None, typer.Option("--accept", metavar="ID", help="Write only these, as accepted. Needs --by.")
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who looked at the accepted regions.")]
At = Annotated[str, typer.Option("--at", metavar="TIME", help="ISO time with its zone to write; now without it.")]

LENGTH_STEP_MM = 100.0
"""Of volumes that are about as long, the one of the better kind shows the body."""

Row = tuple[str, str, Region, bool, str]
"""Id, label, region, whether it grew around a marked point, and that point's Tracking UID."""

ABOUT_IMAGES = (
    *("adc-", "b-value-", "diffusion-", "dwi-", "stations-", "flag-station-", "pixels-", "mr-geometry", "multi-frame-"),
    *("attribute-", "protocol-", "patient-", "duplicate-"),
)
"""Beginnings of the codes of findings on which a region stands; that nothing is flagged yet is none of them."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where regions are written: over which series' images, and on which lattice in their frame."""

    series_uid: str
    grid: Grid
    images: tuple[Header, ...]


def candidates_command(
    inputs: Inputs, out_file: Out, *, rule: RuleFile = None, accept: Accept = None, by: By = "", at: At = ""
) -> None:
    """Grow a region around each marked point, and find places that meet the same rule and are not flagged.

    They are for the reader to look at, never targets: a SEG of them holds the case until a person has looked and runs
    this again with --accept ID and --by NAME, or saves them from a viewer. Places that are bright by nature are named
    as far as the outline of the body tells. A region over a station that the whole exam shows elsewhere is written
    where that station's own images have it, in a SEG of its own. Exit status 1 where nothing was found, a point did not
    grow, or something about the images holds.

    Example: [bold]psdt candidates mr/ points.csv --out seg.dcm --accept L1 --accept C3 --by "A. Reader"[/]
    """
    if accept and not by.strip():
        raise typer.BadParameter("--accept needs --by NAME: to accept a region is a person's decision")
    created = _created(at)
    text = _rule_text(rule)
    wanted = parse_rule(text, rule.name if rule else "regions")
    with progress_bar(shown=True) as progress:
        intake = read_inputs(inputs, progress=lambda done, total: progress("reading", done, total))
    found = pairs(intake.exam.mr, wanted)
    if not found:
        raise InputError(
            "no high-b image with an ADC map in its frame of reference",
            todo=f"Send a DWI of b >= {wanted.images.least_b_s_per_mm2:g} s/mm2 and its ADC map.",
        )
    rows, refused = _rows(intake, found, wanted)
    chosen, by = _chosen(rows, accept or []), by.strip() if accept else ""
    _print(rows, refused, str(wanted))
    print_findings(one for one in intake.exam.findings if one.level is not Level.INFO)
    placed = _by_place(chosen, group(read_headers(inputs)[0])[0])
    for number, (place, of_place) in enumerate(placed.items(), start=1):
        path = out_file if number == 1 else out_file.with_stem(f"{out_file.stem}-{number}")
        write_whole(path, _segmentation(of_place, place, wanted, created=created, by=by))
        out.print(str(path), soft_wrap=True)
    about_images = [one for one in intake.exam.findings if one.code.startswith(ABOUT_IMAGES)]
    if refused or not rows or holds(about_images):
        raise typer.Exit(Exit.HELD)


def _rule_text(path: Path | None) -> str:
    if path is None:
        return resources.files("psdt_planner").joinpath("protocols", "regions.toml").read_text(encoding="utf-8")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the rule cannot be read: {error}", where=path.name) from error


def _rows(intake: Intake, found: Sequence[Pair], rule: Rule) -> tuple[list[Row], list[str]]:
    """Regions around points, then candidates; and why points did not grow."""
    rows: list[Row] = []
    refused: list[str] = []
    for point in intake.exam.points:
        region = _grown(point, point.point_mm - intake.exam.moved_mm(point.series_uid), found, rule)
        if isinstance(region, str):
            refused.append(f"{point.id} {point.label}: {region}")
            continue
        same = next((row[0] for row in rows if row[2].pair is region.pair and (row[2].mask == region.mask).all()), "")
        if same:
            err.print(f"{point.id} lies in the region of {same}, which stands for both", soft_wrap=True)
            continue
        rows.append((point.id, point.label or point.id, region, True, point.tracking_uid))
    flags, points = intake.exam.flags, intake.exam.points
    try:
        candidates = find_candidates(
            found, rule, flags=flags, points=points, bodies=_bodies(intake), moved_mm=intake.exam.moved_mm
        )
    except NotGrownError as error:
        return rows, [*refused, str(error)]
    for one in candidates:
        place = f", {one.place}" if one.place else ""
        side = f", {one.side.value}" if one.side.value in ("left", "right") else ""
        rows.append((one.id, f"{one.id} {one.times_muscle:.1f} x muscle{side}{place}", one.region, False, ""))
    return rows, refused


def _grown(point: FlaggedPoint, at_mm: Points, found: Sequence[Pair], rule: Rule) -> Region | str:
    """What grows around a point on the first pair of its frame on which something does; else why nothing does."""
    why = "no high-b image with an ADC map is in its frame of reference"
    for pair in (one for one in found if one.high_b.grid.frame == point.frame):
        try:
            return grow(pair, at_mm, rule)
        except NotGrownError as error:
            why = str(error)
    return why


def _bodies(intake: Intake) -> list[Body]:
    """The body's outline in each frame, in the longest volume of the best kind that shows it."""
    kinds = (Kind.T1, Kind.DIXON_IN, Kind.DIXON_OUT, Kind.DIXON_WATER, Kind.T2, Kind.DWI_TRACE, Kind.DWI)
    usable = [one for one in intake.exam.of_kind(*kinds) if one.grid.shape[0] > 1 and one.grid.is_even]
    usable.sort(key=lambda one: (-one.grid.slice_offsets_mm[-1] // LENGTH_STEP_MM, kinds.index(one.quantity.kind)))
    first = {volume.grid.frame: volume for volume in reversed(usable)}
    return [body_of(volume) for volume in first.values()]


def _chosen(rows: Sequence[Row], accept: Sequence[str]) -> list[Row]:
    known = [row[0] for row in rows]
    unknown = sorted(set(accept) - set(known))
    if unknown:
        raise DecisionNeededError(f"there is no region {', '.join(unknown)}", todo=f"Known are {', '.join(known)}.")
    return [row for row in rows if not accept or row[0] in accept]


def _print(rows: Sequence[Row], refused: Sequence[str], rule: str) -> None:
    shown = table("", "id", "what", "ml", "median ADC 10^-3 mm2/s", "at mm (LPS)")
    for identity, label, region, _, _ in rows:
        at = ", ".join(f"{mm:.0f}" for mm in region.centroid_mm)
        shown.add_row(identity, label, f"{region.volume_ml:.2f}", f"{1000 * region.adc_median_mm2_per_s:.2f}", at)
    out.print(shown)
    for line in refused:
        err.print(f"not grown: {line}", soft_wrap=True)
    out.print(f"SEMIAUTOMATIC, for a person to look at: {rule}.", soft_wrap=True)


def _created(at: str) -> datetime:
    """The time that the objects are to carry.

    Raises:
        BadParameter: it is no time with a zone.
    """
    try:
        created = datetime.fromisoformat(at) if at else datetime.now(UTC)
    except ValueError:
        created = None
    if created is None or created.tzinfo is None:
        raise typer.BadParameter(f"{at!r} is no ISO time with a zone, such as 2026-01-31T12:00:00+01:00")
    return created


def _by_place(rows: Sequence[Row], series: Sequence[Series]) -> dict[_Place, list[Row]]:
    """The rows by the images that each is written over, in their order."""
    known: dict[tuple[str, str, float], _Place] = {}
    placed: dict[_Place, list[Row]] = {}
    for row in rows:
        place = _place_of(row[2], series)
        key = place.series_uid, place.grid.frame, float(place.grid.slice_origins_mm.sum())
        placed.setdefault(known.setdefault(key, place), []).append(row)
    return placed


def _place_of(region: Region, series: Sequence[Series]) -> _Place:
    """Over the station of a composed volume that has the most of the region; else over the series of its volume.

    A station that was moved has the region as far off as it was moved.
    """
    volume = region.pair.high_b
    b = volume.quantity.b_value_s_per_mm2 or 0.0
    voxels_mm = region.grid.mm_from_index(np.argwhere(region.mask))
    moved = [one for one in volume.stations if any(one.moved_mm)]
    if moved:
        stations = [(one, *_images(series, one.series_uid, b)) for one in volume.stations]
        counts = [_shown(grid, voxels_mm + np.array(one.moved_mm)) for one, grid, _ in stations]
        station, _, images = stations[int(np.argmax(counts))]
        if station in moved:
            return _Place(station.series_uid, _moved(region.grid, np.array(station.moved_mm)), tuple(images))
    return _Place(volume.series_uid, region.grid, tuple(_images(series, volume.series_uid, b)[1]))


def _shown(grid: Grid, points_mm: Points) -> int:
    """How many of the points ``(N, 3)`` lie between the first and the last slice, counted half a slice further."""
    k = grid.index_from_mm(points_mm)[:, 0]
    return int(((k >= -0.5) & (k <= grid.shape[0] - 0.5)).sum())


def _moved(grid: Grid, by_mm: Points) -> Grid:
    return Grid(grid.slice_origins_mm + by_mm, grid.step_j_mm, grid.step_i_mm, grid.shape, grid.frame)


def _segmentation(rows: Sequence[Row], place: _Place, rule: Rule, *, created: datetime, by: str) -> bytes:
    """The SEG of the regions over one series; ``by`` is who accepted them, empty where nobody did."""
    entropy = hashlib.sha256("".join(sorted(image.file.sha256 for image in place.images)).encode())
    entropy.update(rule.sha256.encode())
    grown = [
        Grown(label, region.mask, tracking, seeded, rule.words(seeded=seeded))
        for _, label, region, seeded, tracking in rows
    ]
    stamp = Stamp(created, entropy.hexdigest())
    return segmentation(grown, place.grid, place.images, stamp=stamp, accepted_by=by)


def _images(series: Sequence[Series], uid: str, b_s_per_mm2: float) -> tuple[Grid, list[Header]]:
    """A series' own lattice and images at the b-value; where it has none there, at the nearest one."""
    for one in (one for one in series if one.uid == uid):
        stacks = [
            (abs(each.b_value.s_per_mm2 - b_s_per_mm2), each.stack.grid, each)
            for each in stacks_of(one)[0]
            if each.b_value is not None and each.stack.grid is not None
        ]
        if stacks:
            _, grid, nearest = min(stacks, key=lambda each: each[0])
            return grid, [images[0] for images in nearest.images]
    raise InputError("the images of the high-b volume are no longer there", where=uid)
