"""A SEG on a CT as a structure set: names, holes and rings as the destination takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psdt_planner.contours import mask_rings
from psdt_planner.destination import Destination
from psdt_planner.dicom.files import Header
from psdt_planner.dicom.identity import Stamp
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.dicom.rtstruct_read_back import read_back
from psdt_planner.dossier.destinations import as_taken
from psdt_planner.findings import Finding
from psdt_planner.geometry import Grid
from psdt_planner.shapes import Roi, RoiKind, StructureSet, rings_volume_ml
from psdt_planner.structures import COLOURS, DESCRIPTION_LENGTH, shortened

LABEL = "psdt contours"
DESCRIPTION = "PROPOSAL: contours of masks by psdt, research software; not approved."

Mask = NDArray[np.bool_] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Contoured:
    """A structure set that was made of masks.

    Attributes:
        data: the file, read back and compared with what was meant.
        rois: as written, in the order of the masks.
        masks_ml: the volume of each mask, in the same order.
        findings: what the rings do not show of the masks, and what the destination's rules changed.
    """

    data: bytes
    rois: tuple[Roi, ...]
    masks_ml: tuple[float, ...]
    findings: tuple[Finding, ...]


def contour_masks(
    masks: Iterable[tuple[str, Mask]], ct: Grid, ct_images: Sequence[Header], destination: Destination, stamp: Stamp
) -> Contoured:
    """Masks on a CT as a structure set of organs; one mask is held at a time.

    Names are cut and mended to what the destination takes, and told apart; the whole label stands in ROIDescription.

    Args:
        masks: label and mask of each region, as `mask_rings` takes them.
        ct: the grid of the masks.
        ct_images: its images, in any order.
        destination: its rules.
        stamp: date, time and UIDs.

    Raises:
        DecisionNeededError: a mask of which no ring is left.
        ConfigurationError: the destination's character set cannot write the patient's name.
        GeometryError, UnsupportedError: as `mask_rings` and `write_rtstruct`.
    """
    rois: list[Roi] = []
    masks_ml: list[float] = []
    findings: list[Finding] = []
    for number, (label, mask) in enumerate(masks, start=1):
        name = name_for(label, number, [roi.name for roi in rois], destination)
        masks_ml.append(float(mask.sum(axis=(1, 2), dtype=np.float64) @ ct.voxel_volumes_ml))
        tracing = mask_rings(mask, ct)
        text = shortened(f"PROPOSAL, not approved. Contours of: {label}", DESCRIPTION_LENGTH)
        volume_ml = rings_volume_ml(tracing.contours, ct)
        colour = COLOURS[RoiKind.ORGAN]
        roi = Roi(number, name, RoiKind.ORGAN, "", tracing.contours, volume_ml, text, colour)
        roi, found = as_taken(roi, ct, destination)
        rois.append(roi)
        # "lesion" is a target's: a region that was only contoured belongs to none.
        findings += [replace(one, lesion="") for one in (*tracing.findings(label, name), *found)]
    made = StructureSet(ct, LABEL, DESCRIPTION, tuple(rois))
    destination.check(made)
    headers = [image.dataset for image in ct_images]
    data = write_rtstruct(made, headers, {}, stamp, character_set=destination.character_set.rule)
    read_back(data, made, headers, {})
    return Contoured(data, tuple(rois), tuple(masks_ml), tuple(findings))


def name_for(label: str, number: int, taken: Sequence[str], destination: Destination) -> str:
    """A label as an ROI name that the destination takes, unlike those taken: ``Lung_upper_lob~2``."""
    others = {name.casefold() for name in taken}
    allowed = re.escape(destination.names.characters)
    plain = re.sub(rf"[^A-Za-z0-9{allowed}]+", "_", label).strip("_") or f"ROI_{number}"
    longest = destination.names.max_length
    joint = next((one for one in "~_-" if one in destination.names.characters), "")
    name, again = plain[:longest], 2
    while name.casefold() in others:
        end = f"{joint}{again}"
        name, again = plain[: longest - len(end)] + end, again + 1
    return name
