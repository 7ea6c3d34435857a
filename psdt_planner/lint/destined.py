"""Will it open at one destination: its own rules in place of what holds for most."""

from __future__ import annotations

from collections.abc import Iterator

from psdt_planner.destination import Destination
from psdt_planner.dicom.rtstruct_file import RoiInFile, StructureSetFile
from psdt_planner.lint.codes import Complaint
from psdt_planner.lint.rois import rings_that, told
from psdt_planner.lint.will_it_open import NAME_LIMIT, XOR
from psdt_planner.shapes import MAX_RING_BYTES, HoleRule

DECIDED = frozenset({"roi-name-long", "roi-names-collide", "ring-many-points", "contour-xor"})
"""Complaints about what most systems do, which give way to what the destination says."""


def for_destination(file: StructureSetFile, destination: Destination) -> Iterator[Complaint]:
    """What the destination refuses, cuts or renames."""
    for roi in file.rois:
        yield from _name(roi, destination)
        yield from _rings(roi, destination)
    if destination.rois is not None and len(file.rois) > destination.rois.max_count:
        message = f"{len(file.rois)} ROIs; destination {destination.name} takes {destination.rois.max_count} well"
        yield Complaint("roi-count-many", message, uid=file.text["SOPInstanceUID"], count=len(file.rois))
    rule, stated = destination.character_set.rule, "\\".join(file.character_sets)
    if rule != "keep" and file.has_wide_text and stated != rule:
        message = f"texts in {stated or 'no character set'}; destination {destination.name} takes {rule}"
        yield Complaint("destination-character-set", message, uid=file.text["SOPInstanceUID"])


def _name(roi: RoiInFile, destination: Destination) -> Iterator[Complaint]:
    longest = destination.names.max_length
    if longest < len(roi.name) <= NAME_LIMIT:
        message = f"its name has {len(roi.name)} characters; destination {destination.name} takes {longest}"
        yield Complaint("destination-name-long", message, told(roi))
    letters = {letter for letter in roi.name if letter.isascii() and not letter.isalnum()}
    strange = "".join(sorted(letters - set(destination.names.characters)))
    if strange:
        message = f"its name has {strange!r}, which destination {destination.name} may not keep"
        yield Complaint("destination-name-letters", message, told(roi))


def _rings(roi: RoiInFile, destination: Destination) -> Iterator[Complaint]:
    limits, name = destination.rings, destination.name
    large = [
        ring
        for ring in roi.rings
        if ring.bytes <= MAX_RING_BYTES and (ring.bytes > limits.max_bytes or ring.values > 3 * limits.max_points)
    ]
    say = (
        f"has {{ring.stated_points}} points; destination {name} takes {limits.max_points}, of {limits.max_bytes} bytes"
    )
    yield from rings_that("destination-ring-long", roi, large, say)
    if destination.holes.rule is not HoleRule.XOR:
        xor = [ring for ring in roi.rings if ring.geometric_type == XOR]
        then = f"; destination {name} takes holes by the rule {destination.holes.rule.value}"
        yield from rings_that("destination-xor", roi, xor, "is of type {ring.geometric_type}", then)
