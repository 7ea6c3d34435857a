"""What stands in the object: codes, types, sources, colours, and the read-back that holds each of them."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes

from psdt_planner.dicom import identity
from psdt_planner.dicom.rtstruct_codes import meaning_of
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.dicom.rtstruct_read_back import read_back
from psdt_planner.errors import DecisionNeededError, FaultError, ReadBackError
from psdt_planner.shapes import Contour, GeometricType, HoleRule, Roi, RoiKind, StructureSet, rings_volume_ml
from psdt_planner.tg263 import ANATOMY
from tests.dicom_out.scene import CT, HEADERS, circle, data, flags, read, spoilt, structure_set
from tests.structures.scenes import STAMP, ct_grid, ct_headers

NAMES = ["GTV1", "PTV1", "GTVn2", "Kidney_L", "External"]


# codes ---------------------------------------------------------------------------------------------------------------


def roi(name: str, kind: RoiKind) -> Roi:
    return Roi(1, name, kind, "", (), 1.0, "", (0, 0, 0))


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("GTV1", RoiKind.GTV, codes.SCT.GTV),
        ("CTV12", RoiKind.CTV, codes.SCT.CTV),
        ("PTV3", RoiKind.PTV, codes.SCT.PTV),
        ("GTV_VB_L4", RoiKind.GTV, codes.SCT.GTV),
        ("GTVn2", RoiKind.GTV, codes.DCM.GTVNodal),
        ("CTVn2", RoiKind.CTV, codes.DCM.CTVNodal),
        ("PTVn2", RoiKind.PTV, codes.DCM.PTVNodal),
        ("GTVp1", RoiKind.GTV, codes.DCM.GTVPrimary),
        ("CTVp1", RoiKind.CTV, codes.DCM.CTVPrimary),
        ("PTVp1", RoiKind.PTV, codes.DCM.PTVPrimary),
    ],
)
def test_a_target_is_an_rt_target_of_its_kind(name: str, kind: RoiKind, code: object) -> None:
    meaning = meaning_of(roi(name, kind))
    assert meaning.type is not None
    assert (meaning.type.value, meaning.type.scheme) == (
        getattr(code, "value", 0),
        getattr(code, "scheme_designator", 0),
    )
    assert meaning.category.value == codes.DCM.RTTarget.value


@pytest.mark.parametrize("name", ["Kidney_L", "kidney_l", "Lungs", "VB_T09", "Rectum"])
def test_an_organ_of_a_standard_name_has_its_code_and_side(name: str) -> None:
    meaning = meaning_of(roi(name, RoiKind.ORGAN))
    anatomy = next(one for one in ANATOMY.values() if one.name.casefold() == name.casefold())
    assert (meaning.type, meaning.laterality) == (anatomy.code, anatomy.laterality)
    assert meaning.category.value == codes.SCT.AnatomicalStructure.value


@pytest.mark.parametrize(
    ("name", "kind"), [("Cord", RoiKind.ORGAN), ("Bowel_Bag", RoiKind.ORGAN), ("Body", RoiKind.EXTERNAL)]
)
def test_nothing_is_guessed_of_other_names(name: str, kind: RoiKind) -> None:
    meaning = meaning_of(roi(name, kind))
    assert (meaning.type, meaning.laterality) == (None, None)


def test_codes_stand_where_readers_look_with_the_version_of_their_group() -> None:
    observations = read(data()).RTROIObservationsSequence
    assert [item.RTROIInterpretedType for item in observations] == ["GTV", "PTV", "GTV", "ORGAN", "EXTERNAL"]
    assert [item.ROIObservationLabel for item in observations] == NAMES
    assert [item.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning for item in observations] == [
        *3 * ["RT Target"],
        "Anatomical Structure",
        "External Body Model",
    ]
    nodal = observations[2].RTROIIdentificationCodeSequence[0]
    assert (nodal.CodeValue, nodal.CodingSchemeDesignator, nodal.CodeMeaning) == ("130051", "DCM", "GTV Nodal")
    assert (nodal.ContextIdentifier, nodal.MappingResource, nodal.ContextGroupVersion) == ("9534", "DCMR", "20181112")
    kidney = observations[3].RTROIIdentificationCodeSequence[0]
    assert (kidney.CodeValue, kidney.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert "ContextIdentifier" not in kidney
    assert "RTROIIdentificationCodeSequence" not in observations[4]


def test_targets_say_where_they_come_from_and_the_rest_does_not_pretend_to() -> None:
    gtv, ptv, node, kidney, _ = read(data()).StructureSetROISequence
    for item, lesion in ((gtv, "L1"), (ptv, "L1"), (node, "L2")):
        source = flags()[lesion].source
        (defined,) = item.DefinitionSourceSequence
        assert (defined.ReferencedSOPInstanceUID, defined.ReferencedSegmentNumber) == (
            source.sop_instance_uid,
            source.item,
        )
        assert item.ROIGenerationAlgorithm == "SEMIAUTOMATIC"
        assert flags()[lesion].tracking_uid in item.ROIDescription
    assert "DefinitionSourceSequence" not in kidney
    assert not kidney.ROIGenerationAlgorithm
    assert kidney.ROIDerivationAlgorithmIdentificationSequence[0].AlgorithmVersion == "0.1.0"
    volumes = [float(item.ROIVolume) for item in read(data()).StructureSetROISequence]
    assert volumes == pytest.approx([one.volume_ml for one in structure_set().rois], rel=1e-5)


# holes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "kind", "rings"),
    [
        (HoleRule.FILLED, "CLOSED_PLANAR", 5),
        (HoleRule.KEYHOLE, "CLOSED_PLANAR", 5),
        (HoleRule.XOR, "CLOSEDPLANAR_XOR", 10),
    ],
)
def test_a_hole_is_written_by_the_rule(rule: HoleRule, kind: str, rings: int) -> None:
    file = data(rule)
    read_back(file, structure_set(rule), HEADERS, flags())
    ptv = read(file).ROIContourSequence[1].ContourSequence
    assert [ring.ContourGeometricType for ring in ptv] == rings * [kind]
    others = read(file).ROIContourSequence[0].ContourSequence
    assert {ring.ContourGeometricType for ring in others} == {"CLOSED_PLANAR"}
    ring_ml = structure_set(HoleRule.XOR).rois[1].volume_ml
    tolerance = 0.002 if rule is HoleRule.KEYHOLE else 1e-9
    filled_ml = ring_ml * 11**2 / (11**2 - 4**2)
    wanted = filled_ml if rule is HoleRule.FILLED else ring_ml
    assert structure_set(rule).rois[1].volume_ml == pytest.approx(wanted, rel=tolerance)


def test_a_hole_that_no_rule_has_turned_into_rings_is_refused() -> None:
    made = structure_set()
    hole = Contour(circle(4, (0, 0), 9.0), 4, (circle(4, (0, 0), 3.0),))
    made = replace(made, rois=(replace(made.rois[0], contours=(hole,)), *made.rois[1:]))
    with pytest.raises(FaultError, match="holes that no rule has turned into rings"):
        write_rtstruct(made, HEADERS, flags(), STAMP)


@pytest.mark.parametrize("points", [1, 2])
def test_a_ring_of_too_few_points_is_told_as_a_difference(points: int) -> None:
    def shorten(dataset: Dataset) -> None:
        ring = dataset.ROIContourSequence[0].ContourSequence[1]
        ring.ContourData, ring.NumberOfContourPoints = ring.ContourData[: 3 * points], points

    with pytest.raises(ReadBackError, match=rf"GTV1: ring 2 on slice 4 has {points} points, not 48"):
        read_back(spoilt(shorten), structure_set(), HEADERS, flags())


def overlapping(apart_mm: float) -> StructureSet:
    """Two discs of 4 mm radius on a slice, so far apart."""
    made = structure_set()
    rings = (Contour(circle(4, (0, 0), 4.0), 4), Contour(circle(4, (0, apart_mm), 4.0), 4))
    two = replace(made.rois[0], contours=rings, volume_ml=rings_volume_ml(rings, CT))
    return replace(made, rois=(two, *made.rois[1:]))


def test_rings_of_a_region_that_overlap_never_pass() -> None:
    made = overlapping(5.0)
    with pytest.raises(ReadBackError, match="GTV1: rings 1 and 2 on slice 4 overlap"):
        read_back(write_rtstruct(made, HEADERS, flags(), STAMP), made, HEADERS, flags())


@pytest.mark.parametrize("apart_mm", [7.9, 8.5])
def test_rings_that_touch_by_a_tenth_of_a_millimetre_pass(apart_mm: float) -> None:
    made = overlapping(apart_mm)
    read_back(write_rtstruct(made, HEADERS, flags(), STAMP), made, HEADERS, flags())


def test_nested_closed_planar_rings_never_pass() -> None:
    made = structure_set()
    rings = (Contour(circle(4, (0, 0), 9.0), 4), Contour(circle(4, (0, 0), 3.0), 4), Contour(circle(5, (0, 0), 3.0), 5))
    nested = replace(made.rois[0], contours=rings, volume_ml=rings_volume_ml(rings, CT))
    made = replace(made, rois=(nested, *made.rois[1:]))
    with pytest.raises(ReadBackError, match="GTV1: rings 1 and 2 on slice 4 lie within each other"):
        read_back(write_rtstruct(made, HEADERS, flags(), STAMP), made, HEADERS, flags())


def test_rings_beside_each_other_pass() -> None:
    made = structure_set()
    rings = (Contour(circle(4, (0, -10), 4.0), 4), Contour(circle(4, (0, 10), 3.0), 4))
    beside = replace(made.rois[0], contours=rings, volume_ml=rings_volume_ml(rings, CT))
    made = replace(made, rois=(beside, *made.rois[1:]))
    read_back(write_rtstruct(made, HEADERS, flags(), STAMP), made, HEADERS, flags())


# what is refused -----------------------------------------------------------------------------------------------------


def test_an_organ_needs_rings_and_a_target_its_flag() -> None:
    made = structure_set()
    bare = replace(made, rois=(*made.rois[:3], replace(made.rois[3], contours=()), made.rois[4]))
    with pytest.raises(DecisionNeededError, match="Kidney_L has no ring"):
        write_rtstruct(bare, HEADERS, flags(), STAMP)
    lost = replace(made, rois=(replace(made.rois[0], lesion=""), *made.rois[1:]))
    with pytest.raises(FaultError, match="GTV1 belongs to a lesion without its flag"):
        write_rtstruct(lost, HEADERS, flags(), STAMP)


def test_a_ring_too_long_for_explicit_vr_is_refused() -> None:
    made = structure_set()
    long = Contour(circle(4, (0, 0), 30.0, points=4000), 4)
    made = replace(made, rois=(replace(made.rois[0], contours=(long,)), *made.rois[1:]))
    with pytest.raises(FaultError, match="a ring of 4000 points is longer than 65534 bytes"):
        write_rtstruct(made, HEADERS, flags(), STAMP)


# reading back --------------------------------------------------------------------------------------------------------


def item(ds: Dataset, n: int = 0) -> Dataset:
    found: Dataset = ds.StructureSetROISequence[n]
    return found


def seen(ds: Dataset, n: int = 0) -> Dataset:
    found: Dataset = ds.RTROIObservationsSequence[n]
    return found


DIFFERENCES: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "name": (lambda ds: setattr(item(ds), "ROIName", "GTV9"), "GTV1: ROIName is 'GTV9', not 'GTV1'"),
    "words": (
        lambda ds: setattr(item(ds), "ROIDescription", "x"),
        "GTV1: ROIDescription is 'x', not 'PROPOSAL of a test",
    ),
    "frame": (
        lambda ds: setattr(item(ds), "ReferencedFrameOfReferenceUID", "1.2"),
        "ReferencedFrameOfReferenceUID is '1.2'",
    ),
    "volume": (lambda ds: setattr(item(ds), "ROIVolume", "1"), "GTV1: ROIVolume is '1', not '"),
    "algorithm": (lambda ds: setattr(item(ds), "ROIGenerationAlgorithm", "MANUAL"), "is 'MANUAL', not 'SEMIAUTOMATIC'"),
    "algorithm's words": (
        lambda ds: delattr(item(ds), "ROIGenerationDescription"),
        "ROIGenerationDescription is missing",
    ),
    "version": (
        lambda ds: setattr(item(ds).ROIDerivationAlgorithmIdentificationSequence[0], "AlgorithmVersion", "9"),
        "GTV1: AlgorithmVersion is '9', not '0.1.0'",
    ),
    "family": (
        lambda ds: item(ds).ROIDerivationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence.clear(),
        "GTV1: AlgorithmFamilyCodeSequence has 0 items, not 1",
    ),
    "source": (
        lambda ds: setattr(item(ds, 2).DefinitionSourceSequence[0], "ReferencedSegmentNumber", 7),
        "GTVn2: ReferencedSegmentNumber is '7', not '2'",
    ),
    "source's class": (
        lambda ds: setattr(item(ds).DefinitionSourceSequence[0], "ReferencedSOPClassUID", "1.2"),
        "GTV1: ReferencedSOPClassUID is '1.2'",
    ),
    "no source": (
        lambda ds: delattr(item(ds), "DefinitionSourceSequence"),
        "GTV1: DefinitionSourceSequence is missing",
    ),
    "too much": (
        lambda ds: setattr(item(ds, 3), "ROIGenerationDescription", "x"),
        "Kidney_L: ROIGenerationDescription is there",
    ),
    "colour": (
        lambda ds: setattr(ds.ROIContourSequence[1], "ROIDisplayColor", [1, 2, 3]),
        "PTV1: ROIDisplayColor is '1, 2, 3', not '20, 20, 30'",
    ),
    "type": (
        lambda ds: setattr(seen(ds), "RTROIInterpretedType", "ORGAN"),
        "RTROIInterpretedType is 'ORGAN', not 'GTV'",
    ),
    "label": (lambda ds: setattr(seen(ds), "ROIObservationLabel", "x"), "ROIObservationLabel is 'x', not 'GTV1'"),
    "interpreter": (lambda ds: setattr(seen(ds), "ROIInterpreter", "A^B"), "ROIInterpreter is 'A^B', not ''"),
    "code": (
        lambda ds: setattr(seen(ds).RTROIIdentificationCodeSequence[0], "CodeValue", "228793007"),
        "GTV1: CodeValue is '228793007', not '228791009'",
    ),
    "context": (
        lambda ds: delattr(seen(ds).RTROIIdentificationCodeSequence[0], "ContextGroupVersion"),
        "GTV1: ContextGroupVersion is missing",
    ),
    "category": (
        lambda ds: delattr(seen(ds), "SegmentedPropertyCategoryCodeSequence"),
        "GTV1: SegmentedPropertyCategoryCodeSequence is missing",
    ),
    "side": (
        lambda ds: setattr(
            seen(ds, 3).RTROIIdentificationCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0],
            "CodeValue",
            "24028007",
        ),
        "Kidney_L: CodeValue is '24028007', not '7771000'",
    ),
    "label of the set": (lambda ds: setattr(ds, "StructureSetLabel", "x"), "StructureSetLabel differs"),
    "words of the set": (lambda ds: setattr(ds, "StructureSetDescription", "x"), "StructureSetDescription differs"),
    "modality": (lambda ds: setattr(ds, "Modality", "RTDOSE"), "Modality differs"),
    "equipment": (lambda ds: setattr(ds, "Manufacturer", "Qurit"), "Manufacturer differs"),
    "hospital": (lambda ds: setattr(ds, "InstitutionName", "Qurit"), "InstitutionName differs"),
    "study": (lambda ds: setattr(ds, "StudyInstanceUID", "1.2"), "StudyInstanceUID differs"),
    "instance": (lambda ds: setattr(ds, "SOPInstanceUID", ""), "SOPInstanceUID is not that of the file"),
    "series": (
        lambda ds: setattr(
            ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0],
            "SeriesInstanceUID",
            "1.2",
        ),
        "the planning CT's series is not referenced alone",
    ),
    "one image twice": (
        lambda ds: images_of(ds).append(images_of(ds)[0]),
        "13 images are referenced, not 12",
    ),
    "kind of ring": (
        lambda ds: setattr(ds.ROIContourSequence[0].ContourSequence[0], "ContourGeometricType", "CLOSEDPLANAR_XOR"),
        "GTV1: ring 1 on slice 3 is not CLOSED_PLANAR",
    ),
    "no rings": (lambda ds: delattr(ds.ROIContourSequence[4], "ContourSequence"), "External: 0 rings, not 5"),
}


def images_of(ds: Dataset) -> list[Dataset]:
    found: list[Dataset] = (
        ds.ReferencedFrameOfReferenceSequence[0]
        .RTReferencedStudySequence[0]
        .RTReferencedSeriesSequence[0]
        .ContourImageSequence
    )
    return found


@pytest.mark.parametrize("what", DIFFERENCES)
def test_what_reads_back_otherwise_is_named(what: str) -> None:
    change, words = DIFFERENCES[what]
    with pytest.raises(ReadBackError, match=re.escape(words)):
        read_back(spoilt(change), structure_set(), HEADERS, flags())


def test_an_untouched_copy_reads_back() -> None:
    read_back(spoilt(lambda ds: None), structure_set(), HEADERS, flags())


def test_xor_rings_written_as_closed_planar_are_named() -> None:
    def flattened(ds: Dataset) -> None:
        for ring in ds.ROIContourSequence[1].ContourSequence:
            ring.ContourGeometricType = GeometricType.CLOSED_PLANAR.value

    with pytest.raises(ReadBackError, match="PTV1: ring 1 on slice 3 is not CLOSEDPLANAR_XOR"):
        read_back(spoilt(flattened, data(HoleRule.XOR)), structure_set(HoleRule.XOR), HEADERS, flags())


def test_every_single_item_and_element_is_looked_at() -> None:
    """Whatever attribute of an ROI is taken away, reading back says so."""
    whole = read(data())
    for sequence in ("StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence"):
        for tag in whole[sequence].value[0]:
            with pytest.raises(ReadBackError):
                read_back(
                    spoilt(lambda ds, s=sequence, t=tag.tag: ds[s].value[0].pop(t)),  # type: ignore[misc]
                    structure_set(),
                    HEADERS,
                    flags(),
                )


# bytes ---------------------------------------------------------------------------------------------------------------


def test_elements_stand_in_the_order_of_their_tags_with_even_lengths() -> None:
    """The rings are encoded by hand: pydicom would put up with disorder, others would not."""

    def looked_at(dataset: Dataset) -> None:
        tags = list(dataset.keys())
        assert tags == sorted(tags)
        for element in dataset:
            if element.VR == "SQ":
                for one in element.value:
                    looked_at(one)

    looked_at(read(data()))
    offsets = [match.start() for match in re.finditer(struct.pack("<HH", 0x3006, 0x0050), data())]
    assert len(offsets) == 25
    lengths = [struct.unpack_from("<L", data(), offset + 4)[0] for offset in offsets]
    assert all(length % 2 == 0 for length in lengths)
    assert all(after > before + 8 + length for (before, after), length in zip(pairwise(offsets), lengths, strict=False))


def test_elements_that_are_ready_stand_in_their_places() -> None:
    dataset = Dataset()
    dataset.ROINumber, dataset.ROIName = "1", "GTV1"
    plain = identity.encoded(dataset)
    ready = struct.pack("<HHL", 0x3006, 0x0024, 4) + b"1.2\0"
    spliced = identity.encoded(dataset, {0x30060024: ready})
    assert spliced == plain[:10] + ready + plain[10:]
    assert identity.encoded(dataset, {0x30060001: b"", 0x30060099: b""}) == plain


def test_ten_organs_with_the_body_take_no_time() -> None:
    """A 300-slice CT with ten ROIs, the body among them: half a second of the processor, and never five."""
    grid = ct_grid(offsets_mm=1.0 * np.arange(300))
    headers = ct_headers(grid)
    rois = []
    for number in range(1, 11):
        radius, points = (30.0, 800) if number == 1 else (8.0, 150)
        rings = tuple(Contour(circle(k, (0, 0), radius, points, grid), k) for k in range(300))
        rois.append(Roi(number, f"R{number}", RoiKind.ORGAN, "", rings, 1.0, "PROPOSAL", (1, 2, 3)))
    start = time.process_time()
    file = write_rtstruct(StructureSet(grid, "psdt", "PROPOSAL", tuple(rois)), headers, {}, STAMP)
    assert time.process_time() - start < 5.0
    assert len(read(file).ROIContourSequence[9].ContourSequence) == 300
