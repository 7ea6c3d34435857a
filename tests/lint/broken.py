"""One broken file for each complaint: what is done to the sound set and its CT, and the codes that must come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset, FileDataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from tests.dicom_in.objects import item, renamed
from tests.lint.builder import (
    CT_FRAME,
    GAP_MM,
    SHAPE,
    add_roi,
    contour,
    disc,
    frame_item,
    in_slice,
    planning_ct,
    reference,
    rings_of,
    series_item,
    set_text,
    text_of,
)

Break = Callable[[FileDataset, list[FileDataset]], object]


@dataclass(frozen=True)
class Case:
    """What is broken, and the codes that lint must give: these, and no other."""

    name: str
    break_it: Break
    codes: frozenset[str]


CASES: list[Case] = []


def broken(name: str, *codes: str) -> Callable[[Break], Break]:
    """A case: the function changes the set and its CT in place."""

    def keep(break_it: Break) -> Break:
        CASES.append(Case(name, break_it, frozenset(codes)))
        return break_it

    return keep


def attribute(name: str, keyword: str, value: object, *codes: str) -> None:
    """A case in which one attribute of the set has another value, or none."""

    def change(ds: FileDataset, _ct: list[FileDataset]) -> None:
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)

    CASES.append(Case(name, change, frozenset(codes)))


def raw(ds: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """An element with bytes that pydicom would not write."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, True, True)


def first_ring(ds: Dataset) -> Dataset:
    return rings_of(ds)[0]


def redraw(ds: FileDataset, ct: Sequence[FileDataset], points: np.ndarray, kind: str = "CLOSED_PLANAR") -> None:
    """The target's ring on slice 2 has other points."""
    ds.ROIContourSequence[1].ContourSequence[0] = contour(points, ct[2], kind)


def draw_more(ds: FileDataset, k: int, points: np.ndarray, ct: Sequence[FileDataset]) -> None:
    ds.ROIContourSequence[1].ContourSequence.append(contour(points, ct[k]))


# the file

attribute("a dose by its modality", "Modality", "RTDOSE", "modality-wrong")
attribute("another SOP class", "SOPClassUID", "1.2.840.10008.5.1.4.1.1.481.5", "modality-wrong")
attribute("a UID with a leading zero", "SeriesInstanceUID", "1.2.03.4", "uid-invalid")
attribute("no label", "StructureSetLabel", None, "type-1-missing")
attribute("an empty label", "StructureSetLabel", "", "type-1-missing")
attribute("no OperatorsName, as rt-utils and MIM write", "OperatorsName", None, "type-2-missing")
attribute("no StudyID, which Varian asks for", "StudyID", None, "type-2-missing")
attribute("a label of 20 characters", "StructureSetLabel", "A label of 20 charac", "label-too-long")
attribute("a StudyID of 17 characters", "StudyID", "12345678901234567", "text-too-long")
attribute("a character set of no such name", "SpecificCharacterSet", "ISO_IR_192", "character-set-unknown")
attribute("approved", "ApprovalStatus", "APPROVED", "approved")


@broken("another object in the file's header", "file-meta-differs")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.99"


@broken("all that Slicer leaves out", "type-2-missing")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    for keyword in ("AccessionNumber", "ReferringPhysicianName", "StructureSetTime", "Manufacturer"):
        delattr(ds, keyword)


@broken("a Latin-1 name that is said to be UTF-8", "character-set-wrong", "roi-name-not-ascii")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[2].ROIName = "<a in Latin-1>"


@broken("letters without any character set", "character-set-wrong", "roi-name-not-ascii")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    del ds.SpecificCharacterSet
    ds.StructureSetROISequence[2].ROIName = "<a in Latin-1>"


@broken("a name that went through a wrong character set", "patient-name-damaged", "patient-name-differs")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.PatientName = "D?e^Jo"


@broken("a private block", "private-attributes")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.private_block(0x3287, "SOMEBODY", create=True).add_new(0, "LO", "theirs")


# references


@broken("no references, as some research tools write", "references-missing")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    del ds.ReferencedFrameOfReferenceSequence


@broken("two series", "series-several")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    other = renamed(deepcopy(ct), "other", "other")
    (frame,) = ds.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    study.RTReferencedSeriesSequence.append(series_item(other[0].SeriesInstanceUID, [ct[0]]))


@broken("two frames of reference", "frames-several", "frame-differs")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[2].ReferencedFrameOfReferenceUID = "1.2.3.150"
    ds.ReferencedFrameOfReferenceSequence.append(frame_item("1.2.3.150", series_item(ct[0].SeriesInstanceUID, ct)))


@broken("a frame that is not listed", "frame-unreferenced")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3.150"


@broken("rings without their image", "ring-image-missing")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    for ring in rings_of(ds):
        del ring.ContourImageSequence


# ROIs


@broken("an ROI without a number", "type-1-missing", "roi-unobserved", "roi-empty")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    del ds.StructureSetROISequence[1].ROINumber
    ds.ROIContourSequence.pop(1)
    ds.RTROIObservationsSequence.pop(1)


@broken("one number twice, as rt-utils gives after one was deleted", "roi-number-duplicate")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    for sequence, keyword in (
        (ds.StructureSetROISequence, "ROINumber"),
        (ds.ROIContourSequence, "ReferencedROINumber"),
        (ds.RTROIObservationsSequence, "ReferencedROINumber"),
    ):
        sequence[2][keyword].value = 2
    # Both would have the rings of both.
    ds.ROIContourSequence[2].ContourSequence = [contour(disc(k, 4.0, (-4.0, 9.0)), None) for k in (2, 3, 4)]
    for k, ring in zip((2, 3, 4), ds.ROIContourSequence[2].ContourSequence, strict=True):
        ring.ContourImageSequence = [reference(_ct[k])]


@broken("no name", "roi-name-missing")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[1].ROIName = ""


@broken("a name of 80 characters, which rt-utils writes", "roi-name-too-long")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[1].ROIName = "n" * 80


@broken("a name of 25 characters", "roi-name-long")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[1].ROIName = "PTV_LN_Iliac_Ext_L_1000x3"


@broken("two names that differ in capitals", "roi-name-duplicate")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[1].ROIName = "RECTUM"


@broken("two names that are the same once cut", "roi-names-collide", "roi-name-long")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[1].ROIName = "PTV_LN_Iliac_Ext_L"
    ds.StructureSetROISequence[2].ROIName = "PTV_LN_Iliac_Ext_R"


@broken("a name beyond ASCII", "roi-name-not-ascii")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[1].ROIName = "<a in UTF-8>"


@broken("a target's name with the dose of the course before its fractions", "target-dose-unlikely")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[2].ROIName = "PTV_6000x30"
    ds.RTROIObservationsSequence[2].RTROIInterpretedType = "PTV"


@broken("a metastasis named with an m, which TG-263 does not know", "target-name-other")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.StructureSetROISequence[2].ROIName = "GTVm1"
    ds.RTROIObservationsSequence[2].RTROIInterpretedType = "GTV"


@broken("a long observation label", "text-too-long")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.RTROIObservationsSequence[1].ROIObservationLabel = "seventeen letters"


@broken("no interpreted type, as rt-utils writes", "roi-type-missing")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.RTROIObservationsSequence[1].RTROIInterpretedType = ""


@broken("a type that is none", "roi-type-unknown")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.RTROIObservationsSequence[1].RTROIInterpretedType = "LESION"


@broken("two outlines of the body", "external-several")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.RTROIObservationsSequence[2].RTROIInterpretedType = "EXTERNAL"


@broken("an ROI without an observation", "roi-unobserved")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.RTROIObservationsSequence.pop(1)


@broken("no observations at all", "type-1-missing")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    del ds.RTROIObservationsSequence


@broken("an empty ROI, which RayStation leaves out of the contours", "roi-empty")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.ROIContourSequence.pop(1)


@broken("an empty ContourSequence, as rt-utils writes for an empty mask", "contour-sequence-empty")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.ROIContourSequence[1].ContourSequence = []


@broken("contours of an ROI that is not there", "contours-of-no-roi")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.ROIContourSequence.append(item(ReferencedROINumber=9, ContourSequence=rings_of(ds)))


@broken("contours of one ROI in two items", "contours-twice")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    rings = rings_of(ds)
    ds.ROIContourSequence[1].ContourSequence = rings[:1]
    ds.ROIContourSequence.append(item(ReferencedROINumber=2, ContourSequence=rings[1:]))


@broken("an observation of an ROI that is not there", "observation-of-no-roi")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    made = item(ObservationNumber=9, ReferencedROINumber=9, RTROIInterpretedType="GTV", ROIInterpreter="")
    ds.RTROIObservationsSequence.append(made)


# rings as they are written


@broken("a term of 17 characters for XOR", "geometric-type-unknown")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    first_ring(ds).ContourGeometricType = "CLOSED_PLANAR_XOR"


@broken("rings of type XOR, which plastimatch loses", "contour-xor")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    draw_more(ds, 2, disc(2, 1.5, (3.0, -2.0)), ct)
    for ring in rings_of(ds):
        ring.ContourGeometricType = "CLOSEDPLANAR_XOR"


@broken("eight points said, one there", "point-count-differs", "ring-too-few-points")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0)[:1])
    first_ring(ds).NumberOfContourPoints = 8


@broken("a number lost", "coordinates-no-triples")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    set_text(first_ring(ds), text_of(disc(2, 4.0)).rpartition("\\")[0])


@broken("a ring without data", "type-1-missing")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    del first_ring(ds).ContourData


@broken("z with 19 characters, as rt-utils writes", "coordinate-too-long")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    set_text(first_ring(ds), "\\".join(f"{number:.15f}" for number in disc(2, 4.0, (3.0, -2.0)).ravel()))


@broken("nan among the coordinates", "coordinate-no-number", "roi-one-slice")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    for n, word in enumerate(("nan", "1,5")):
        points = text_of(disc(2 + n, 4.0)).split("\\")
        set_text(rings_of(ds)[n], "\\".join([word, *points[1:]]))


@broken("numbers with an exponent", "coordinate-exponent")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    points = disc(2, 4.0, (3.0, -2.0))
    set_text(first_ring(ds), "\\".join(f"{number:.8e}" for number in points.ravel()))


@broken("a hop through Explicit VR with a ring of more than 64 kB", "ring-unknown-vr")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0, (3.0, -2.0), points=3200))
    raw(first_ring(ds), "ContourData", "UN", first_ring(ds).get_item("ContourData").value)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


@broken("a ring of more than 65,534 bytes", "ring-too-long")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0, (3.0, -2.0), points=3200))


@broken("a ring of 2,001 points", "ring-many-points")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0, (3.0, -2.0), points=2001))


# rings by themselves


@broken("a closed ring of two points, as rt-utils writes for a small hole", "ring-too-few-points")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0)[:2])


@broken("a closed ring of three points, the third the first", "ring-too-few-points")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0)[[0, 1, 0]])


@broken("a point with two points", "point-several")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0)[:2], "POINT")


@broken("a ring that leaves its plane", "ring-not-planar")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    points = disc(2, 4.0, (3.0, -2.0))
    points[::2, 2] += 0.4
    redraw(ds, ct, points)


@broken("a ring there and back", "ring-no-area")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, in_slice(2, [(0, 0), (3, 0), (5, 0), (2, 0)]))


@broken("a ring smaller than a voxel", "ring-speck")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 0.4, (3.0, -2.0)))


@broken("a figure of eight", "ring-crosses-itself")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, in_slice(2, [(0, 0), (6, 5), (6, 0), (0, 5)]))


@broken("a small loop in a large ring", "ring-crosses-slightly")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, in_slice(2, [(0, 0), (6, 0), (6, 5), (3, 5), (3, 5.3), (3.3, 5.3), (3.3, 4.7), (0, 4.7)]))


@broken("a keyhole", "ring-touches-itself")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    outer, inner = [(0, 0), (8, 0), (8, 8), (0, 8)], [(3, 3), (3, 5), (5, 5), (5, 3)]
    redraw(ds, ct, in_slice(2, [*outer, outer[0], *inner, inner[0]]))


@broken("the first point again at the end", "ring-closed-twice")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    points = disc(2, 4.0, (3.0, -2.0))
    redraw(ds, ct, np.vstack([points, points[:1]]))


@broken("a point twice in a row", "points-repeated")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, np.repeat(disc(2, 4.0, (3.0, -2.0)), 2, axis=0))


@broken("the same ring twice, begun elsewhere and the other way round", "ring-duplicate", "points-repeated")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0, (3.0, -2.0)))
    draw_more(ds, 2, np.roll(disc(2, 4.0, (3.0, -2.0)), 7, axis=0)[::-1], ct)
    redraw(ds, ct, np.repeat(disc(2, 4.0, (3.0, -2.0)), 2, axis=0))


@broken("a hole as a nested ring, which plastimatch fills", "ring-nested")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    draw_more(ds, 2, disc(2, 1.5, (3.0, -2.0)), ct)


@broken("two rings across each other", "rings-overlap")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    draw_more(ds, 2, disc(2, 4.0, (7.0, -2.0)), ct)


@broken("a slice left out", "roi-gap")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.ROIContourSequence[1].ContourSequence.pop(1)


@broken("one slice alone", "roi-one-slice")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.ROIContourSequence[1].ContourSequence = rings_of(ds)[:1]


# rings beside the images


@broken("no images", "ct-absent")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    ct.clear()


@broken("two series that fit, and a set that names none", "ct-ambiguous", "references-missing")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    del ds.ReferencedFrameOfReferenceSequence
    for roi in range(3):
        for ring in rings_of(ds, roi):
            ring.ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.9"
    ct += renamed(planning_ct(), "other", "other")


@broken("the last slice of the series was not sent", "ct-incomplete")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    ct.pop()


@broken("a slice within the series was not sent", "ct-incomplete", "ct-slice-missing")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    ct.pop(3)


@broken("the same images under other UIDs, as an anonymiser leaves them", "image-not-in-ct")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    renamed(ct, "anonymised", "anonymised")


@broken("images of two series under one, as rt-utils lists a mixed folder", "images-of-several-series")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    other = renamed(planning_ct(FrameOfReferenceUID="1.2.3.150"), "other", "other")
    images = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    images.ContourImageSequence += [reference(one) for one in other]
    ct += other


@broken("a slice that is not listed, as rt-utils skips one that it cannot read", "images-unlisted")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    series = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    series.ContourImageSequence.pop()


@broken("a frame that was made up, as rt-utils does where there is none", "frame-differs")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    ds.FrameOfReferenceUID = ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3.150"
    for roi in ds.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "1.2.3.150"


attribute("another patient", "PatientID", "P-2", "patient-differs")
attribute("another name", "PatientName", "Roe^Jo", "patient-name-differs")
attribute("another study", "StudyInstanceUID", "1.2.3.102", "study-differs")
attribute("an institution of the writer's, as rt-utils puts", "InstitutionName", "Qurit", "institution-differs")


def shift(ds: FileDataset, mm: float) -> None:
    """The whole target along z."""
    for k, ring in zip((2, 3, 4), rings_of(ds), strict=True):
        set_text(ring, text_of(disc(k, 4.0, (3.0, -2.0)) + np.array([0.0, 0.0, mm])))


@broken("rings half a slice off", "ring-off-slice")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    shift(ds, GAP_MM / 2)


@broken("rings with one decimal", "ring-beside-slice")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    shift(ds, 0.05)


@broken("a ring beyond the first slice", "ring-off-ct")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    for k in (-1, 0, 1):
        draw_more(ds, max(k, 0), disc(k, 4.0, (3.0, -2.0)), ct)


@broken("rows and columns swapped, as rt-utils does with pixels that are not square", "ring-off-image")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    redraw(ds, ct, disc(2, 4.0, (0.0, 25.0)))


@broken("the images of the neighbouring slices", "ring-wrong-image")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    for k, ring in zip((3, 4, 5), rings_of(ds), strict=True):
        ring.ContourImageSequence = [reference(ct[k])]


@broken("an image that nobody knows", "ring-image-unknown")
def _(ds: FileDataset, _ct: list[FileDataset]) -> None:
    first_ring(ds).ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.9"


# the images


def move(ct: list[FileDataset], k: int, axis: int, mm: float) -> None:
    place = [float(number) for number in ct[k].ImagePositionPatient]
    place[axis] += mm
    ct[k].ImagePositionPatient = [f"{number:.3f}" for number in place]


@broken("two slices at one place", "ct-slice-duplicate")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    move(ct, 7, 2, GAP_MM)
    del ds.ROIContourSequence[0].ContourSequence[6:]


@broken("uneven slices", "ct-slices-uneven")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    move(ct, 7, 2, -0.5)
    ds.ROIContourSequence[0].ContourSequence[7] = contour(disc(7 + 0.5 / GAP_MM, 17.0, points=60), ct[7])


@broken("a tilted gantry", "ct-gantry-tilt")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    for k in range(SHAPE[0]):
        move(ct, k, 1, 0.3 * k)


@broken("slices of two sizes", "ct-size-mixed")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    ct[5].PixelSpacing = [1.3, 0.9]


@broken("a slice turned by a thirtieth of a degree", "ct-orientation-mixed")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    ct[5].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0.0005]


@broken("slices of two orientations", "ct-orientation-mixed", "ct-not-axial", "ct-gantry-tilt")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    ct[5].ImageOrientationPatient = [-1, 0, 0, 0, 0.999, 0.0447]


@broken("an image without a frame", "ct-frame-missing")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    del ct[5].FrameOfReferenceUID


@broken("images in two frames", "ct-frames-mixed")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    ct[5].FrameOfReferenceUID = "1.2.3.150"


@broken("one slice alone", "ct-single-slice", "ct-incomplete")
def _(_ds: FileDataset, ct: list[FileDataset]) -> None:
    del ct[1:]


@broken("an oblique CT, which rt-utils takes without a word", "ct-not-axial")
def _(ds: FileDataset, ct: list[FileDataset]) -> None:
    angle = np.deg2rad(20.0)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    for image in ct:
        position = turn @ np.array(image.ImagePositionPatient, dtype=float)
        image.ImagePositionPatient = [f"{number:.6f}" for number in position]
        cosines = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3) @ turn.T
        image.ImageOrientationPatient = [f"{number:.8f}" for number in cosines.ravel()]
    for roi in range(3):
        for ring in rings_of(ds, roi):
            points = np.array(ring.ContourData, dtype=float).reshape(-1, 3) @ turn.T
            set_text(ring, text_of(points))


__all__ = ["CASES", "CT_FRAME", "Case", "add_roi"]
