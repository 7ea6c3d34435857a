"""``psdt contour``: the segments of a SEG on a CT as a structure set."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from psdt_planner import __version__
from psdt_planner.cli.console import out, print_findings, table
from psdt_planner.dicom.files import quiet, read_headers
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.masks_in import SegmentOnCt, ct_alone, segments_on
from psdt_planner.dicom.series import group
from psdt_planner.dossier import Contoured, contour_masks, write_whole
from psdt_planner.errors import InputError
from psdt_planner.images import Kind
from psdt_planner.shipped import GENERIC, load_destination

Seg = Annotated[
    Path, typer.Argument(metavar="SEG", exists=True, dir_okay=False, resolve_path=True, help="A DICOM segmentation.")
]
Ct = Annotated[Path, typer.Option("--ct", metavar="DIR", exists=True, resolve_path=True, help="The CT it lies on.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", dir_okay=False, help="The structure set to write.")]
Name = Annotated[str, typer.Option("--destination", metavar="NAME", help="Whose rules hold for names and rings.")]


def contour_command(seg: Seg, *, ct: Ct, out_file: Out, destination: Name = GENERIC) -> None:
    """Contours of a segmentation on the CT's own grid: one organ a segment, smooth and of the segment's volume.

    Nothing is resampled: a SEG on another grid is refused, and so are segments that are coded as lesions, which
    `psdt plan` takes, with margins and dose. docs/physicist.md says how exact the rings are.

    Example: [bold]psdt contour organs.dcm --ct ct/ --out rtstruct.dcm --destination eclipse[/]
    """
    rules = load_destination(destination)
    with quiet():
        headers, unreadable = read_headers([ct])
        images, lattice, odd = ct_alone(group(headers)[0])
        sources, failed = read_headers([seg])
        if not sources or group(sources)[0][0].kind is not Kind.SEG:
            raise InputError("no DICOM segmentation", where=seg.name, todo="Name a SEG.")
        segments = segments_on(sources[0], lattice)
    _refuse_lesions(segments)
    facts = [__version__, rules.sha256, *sorted(file.file.sha256 for file in (*headers, *sources))]
    stamp = Stamp(datetime.now(UTC), hashlib.sha256("\n".join(facts).encode()).hexdigest())
    masks = ((one.label or f"Segment {one.number}", one.mask(lattice)) for one in segments)
    found = contour_masks(masks, lattice, images.images, rules, stamp)
    write_whole(out_file, found.data)
    _print(segments, found)
    print_findings((*unreadable, *failed, *odd, *found.findings))
    out.print(str(out_file), soft_wrap=True)


def _refuse_lesions(segments: tuple[SegmentOnCt, ...]) -> None:
    lesions = [f"{one.number} {one.label}".strip() for one in segments if one.is_lesion]
    if lesions:
        raise InputError(
            f"segments coded as lesions: {', '.join(lesions)}",
            todo="Use psdt plan, which gives a lesion its margins and looks at its dose; or take them out of the SEG.",
        )


def _print(segments: tuple[SegmentOnCt, ...], found: Contoured) -> None:
    shown = table("", "segment", "label", "ROI", "mask, ml", "rings, ml", "rings")
    for one, roi, mask_ml in zip(segments, found.rois, found.masks_ml, strict=True):
        volumes = (f"{mask_ml:.2f}", f"{roi.volume_ml:.2f}")
        shown.add_row(str(one.number), one.label, roi.name, *volumes, str(len(roi.contours)))
    out.print(shown)
