"""Every complaint that lint knows: its code, how much it weighs, what it means and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a complaint weighs."""

    ERROR = "error"
    """A planning system refuses it, or the shape or its place is wrong, or differs from system to system."""
    WARNING = "warning"
    """Some systems change, cut or refuse it, or it may be meant: to be looked at."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True)
class Code:
    """What a code means in general, in one sentence, and what to do about it."""

    level: Level
    means: str
    do: str


@dataclass(frozen=True)
class Complaint:
    """One kind of thing that is wrong with a file or with one of its ROIs, however often.

    Attributes:
        code: a key of `CODES`.
        message: one plain sentence with the figures of this file.
        roi: the ROI's number and name; empty where it is about the file.
        ring: the first ring that it is about, by its place in the ROI's ContourSequence, from 1.
        uid: the image, series or object that it is about.
        count: how many rings, values or images it is about.
    """

    code: str
    message: str
    roi: str = ""
    ring: int | None = None
    uid: str = ""
    count: int = 1

    @property
    def level(self) -> Level:
        """How much it weighs."""
        return CODES[self.code].level

    @property
    def do(self) -> str:
        """What to do about it."""
        return CODES[self.code].do


_E, _W, _N = Level.ERROR, Level.WARNING, Level.NOTE
_AGAIN = "export the structure set again"
_CORRECT = "correct it where the set was made"
_REDRAW = "redraw the ring"

WILL_IT_OPEN: dict[str, Code] = {
    # the file
    "file-unreadable": Code(_E, "the file is empty, cut short or no DICOM", _AGAIN),
    "file-truncated": Code(_E, "the file ends before its last element does", _AGAIN),
    "sequence-damaged": Code(_E, "a sequence cannot be taken apart", _AGAIN),
    "modality-wrong": Code(_E, "SOP class and Modality do not both say structure set", _CORRECT),
    "file-meta-differs": Code(_E, "the file's header names another object than the data", _AGAIN),
    "uid-invalid": Code(_E, "a text that stands for a UID is none", _CORRECT),
    "uid-reused": Code(
        _E, "two files with different content have the same SOP Instance UID", "give each version UIDs of its own"
    ),
    "type-1-missing": Code(_E, "an attribute that must have a value is absent or empty", _CORRECT),
    "type-2-missing": Code(
        _W, "an attribute that may be empty, but must be there, is absent; some systems refuse", "write it, empty"
    ),
    "text-too-long": Code(_W, "a text is longer than its value representation allows", "shorten it"),
    "character-set-unknown": Code(_E, "the stated character set is none that DICOM knows", _CORRECT),
    "character-set-wrong": Code(_E, "texts cannot be read in the stated character set", _CORRECT),
    "patient-name-damaged": Code(
        _W, "the patient's name holds question marks, as left by a wrong character set", "compare it with the images"
    ),
    "approved": Code(_W, "the set is approved, so that planning systems lock it", "approve it in the planning system"),
    "private-attributes": Code(_N, "private attributes, which other systems drop", ""),
    "label-too-long": Code(_E, "the structure set's label has more than 16 characters", "shorten it"),
    # references
    "references-missing": Code(_E, "the set names no series of images", "export it with its references"),
    "series-several": Code(_W, "the set names several series of images", "keep one structure set a series"),
    "frames-several": Code(_E, "the ROIs lie in several frames of reference", "keep one structure set a frame"),
    "frame-unreferenced": Code(_E, "an ROI's frame of reference is not among those that the set lists", _CORRECT),
    "ring-image-missing": Code(_E, "rings do not name the image that they were drawn on", "export them with it"),
    # ROIs
    "roi-number-duplicate": Code(_E, "two ROIs have the same number", "number them apart"),
    "roi-name-missing": Code(_W, "an ROI has no name", "name it"),
    "roi-name-too-long": Code(_E, "an ROI's name has more than 64 characters", "shorten it to 16"),
    "roi-name-long": Code(_W, "an ROI's name has more than 16 characters; some systems cut it", "shorten it to 16"),
    "roi-name-duplicate": Code(_E, "two ROIs have the same name but for capitals", "name them apart"),
    "roi-names-collide": Code(_W, "two names are the same once cut to 16 characters", "name them apart"),
    "roi-name-not-ascii": Code(_W, "an ROI's name has letters beyond ASCII", "write it in ASCII"),
    "target-name-other": Code(
        _N, "a target's name begins as TG-263 has it and goes on otherwise", "name it as GTV1 or PTVn2"
    ),
    "target-dose-unlikely": Code(
        _W,
        "the dose in a target's name, read by TG-263, is not between 1 and 100 Gy in all",
        "write it in cGy; before fractions that of one: 30 Gy in 3 is 1000x3",
    ),
    "roi-type-missing": Code(_N, "an ROI has no interpreted type", "set one, such as GTV or ORGAN"),
    "roi-type-unknown": Code(_W, "an ROI's interpreted type is no defined term", "use one of PS3.3 C.8.8.8"),
    "external-several": Code(_E, "more than one ROI is of type EXTERNAL", "leave one EXTERNAL"),
    "roi-unobserved": Code(_W, "an ROI has no item in RTROIObservationsSequence", _CORRECT),
    "roi-empty": Code(_W, "an ROI has no rings; some systems drop it", "draw it or take it out"),
    "contour-sequence-empty": Code(_E, "a ContourSequence without items", "leave the sequence out"),
    "contours-of-no-roi": Code(_E, "contours refer to an ROI that is not there", _CORRECT),
    "contours-twice": Code(_E, "several items of ROIContourSequence refer to one ROI", _CORRECT),
    "observation-of-no-roi": Code(_E, "an observation refers to an ROI that is not there", _CORRECT),
    # rings as they are written
    "geometric-type-unknown": Code(_E, "ContourGeometricType is no defined term", _CORRECT),
    "contour-xor": Code(
        _W, "rings of type CLOSEDPLANAR_XOR, which some systems lose", "use a keyhole or fill the hole"
    ),
    "point-count-differs": Code(_E, "NumberOfContourPoints is not the number of points", _CORRECT),
    "coordinates-no-triples": Code(_E, "ContourData is not made of triples", _CORRECT),
    "coordinate-too-long": Code(_E, "coordinates of more than 16 characters", "write them with three decimals"),
    "coordinate-no-number": Code(_E, "coordinates that are no finite numbers", _CORRECT),
    "coordinate-exponent": Code(_N, "coordinates written with an exponent", "write them with three decimals"),
    "ring-unknown-vr": Code(_E, "ContourData came through as UN: a hop knew no better", "send it as Implicit VR"),
    "ring-too-long": Code(_E, "a ring of more than 65,534 bytes, which Explicit VR cannot hold", "use fewer points"),
    "ring-many-points": Code(_W, "a ring of more than 2,000 points", "use fewer points"),
}

FOR_DESTINATION: dict[str, Code] = {
    "destination-name-long": Code(_E, "an ROI's name is longer than the destination takes", "shorten it"),
    "destination-name-letters": Code(
        _W, "an ROI's name has characters that the destination may not keep", "use letters, digits and underscores"
    ),
    "destination-ring-long": Code(_E, "a ring is longer than the destination takes", "use fewer points"),
    "destination-xor": Code(
        _E, "rings of type CLOSEDPLANAR_XOR, which the destination does not take", "export it by the destination's rule"
    ),
    "roi-count-many": Code(_W, "more ROIs than the destination takes well", "send those that are needed"),
    "destination-character-set": Code(
        _W, "texts beyond ASCII in another character set than the destination takes", "write it in that one"
    ),
}

IS_IT_RIGHT: dict[str, Code] = {
    # rings by themselves
    "ring-too-few-points": Code(_E, "a closed ring of fewer than three points", "delete or redraw it"),
    "point-several": Code(_E, "a contour of type POINT with several points", _CORRECT),
    "ring-not-planar": Code(_E, "the points of a ring do not lie in one plane of the slices", _REDRAW),
    "ring-no-area": Code(_E, "a closed ring that encloses nothing", "delete or redraw it"),
    "ring-speck": Code(_W, "a closed ring of less than 1 mm²", "look whether it is meant"),
    "ring-crosses-itself": Code(_E, "a ring crosses itself, so that systems disagree about its inside", _REDRAW),
    "ring-crosses-slightly": Code(_W, "a ring crosses itself, by less than 1 mm²", "redraw it where systems refuse it"),
    "ring-touches-itself": Code(_N, "a ring touches itself: a keyhole, or a spike", ""),
    "ring-closed-twice": Code(_N, "a closed ring repeats its first point at its end", "leave the last point out"),
    "points-repeated": Code(_N, "a ring has the same point twice in a row", ""),
    "ring-duplicate": Code(_E, "a ring stands in the file twice; where rings cancel out, it is gone", "delete one"),
    "ring-nested": Code(
        _W, "a ring within another: some systems cut a hole, others fill it", "use a keyhole or fill the hole"
    ),
    "rings-overlap": Code(_W, "rings of one slice overlap: some systems join them, others cut", "join them"),
    "roi-gap": Code(_W, "slices without a ring within an ROI", "look whether it is meant, or draw them"),
    "roi-one-slice": Code(_N, "an ROI on one slice only", "look whether it is meant"),
    # rings beside the images
    "ct-absent": Code(_N, "no images to hold the rings against: their place was not checked", "name them by --ct"),
    "ct-ambiguous": Code(_W, "several series fit the set: its place was not checked", "name the series by --ct"),
    "ct-incomplete": Code(_E, "images that the set refers to are missing from the series", "send the whole series"),
    "image-not-in-ct": Code(
        _E, "the set refers to images that are not those of the series", "export it on this series, or send the other"
    ),
    "images-of-several-series": Code(_E, "images listed under one series belong to another", _CORRECT),
    "images-unlisted": Code(_W, "the set does not list every image of the series", "list all of them"),
    "frame-differs": Code(_E, "the ROIs lie in another frame of reference than the images", "look which is right"),
    "patient-differs": Code(_E, "the Patient ID is not that of the images", "find out whose set it is"),
    "patient-name-differs": Code(
        _W, "the patient's name is not that of the images", "look whether it is the same person"
    ),
    "study-differs": Code(_W, "the set lies in another study than the images", "look whether it is meant"),
    "institution-differs": Code(_N, "the institution is not that of the images", ""),
    "ring-off-slice": Code(_E, "a ring lies on no slice of the images", "export it again on this series"),
    "ring-beside-slice": Code(_W, "a ring lies beside its slice by a rounding", "export it with three decimals"),
    "ring-off-ct": Code(_E, "a ring lies beyond the first or last slice", "look at its place; send a longer series"),
    "ring-off-image": Code(_W, "a ring reaches beyond the edge of the images", "look whether it is meant"),
    "ring-wrong-image": Code(_E, "a ring names another image than the one that it lies on", _CORRECT),
    "ring-image-unknown": Code(_E, "a ring names an image that neither the set lists nor the series has", _CORRECT),
    # the images
    "ct-slice-missing": Code(_E, "a slice is missing from the series", "send it"),
    "ct-slice-duplicate": Code(_E, "two slices lie at one place", "send each slice once"),
    "ct-slices-uneven": Code(
        _W, "slice distances differ; some systems take them for even", "look whether that is meant"
    ),
    "ct-gantry-tilt": Code(_E, "the slices shift sideways: a tilted gantry", "reconstruct without tilt"),
    "ct-not-axial": Code(_E, "the slices are not axial", "send the axial series"),
    "ct-orientation-mixed": Code(_E, "slices of several orientations: the place was not checked", "send one series"),
    "ct-size-mixed": Code(_E, "slices of several sizes or spacings", "send one series"),
    "ct-frame-missing": Code(_E, "images name no frame of reference", "correct it at the sender"),
    "ct-frames-mixed": Code(_E, "slices of several frames of reference", "send one"),
    "ct-single-slice": Code(_E, "one slice alone", "send the series"),
    "ct-geometry": Code(_E, "the slices make no lattice for another reason", "see the message"),
}

CODES: dict[str, Code] = WILL_IT_OPEN | FOR_DESTINATION | IS_IT_RIGHT
