"""What an ROI is, in codes: category, type and side (PS3.3 C.8.8.8.3), which say it whatever a site calls the ROI."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from psdt_planner.shapes import TARGET_KINDS, Roi, RoiKind
from psdt_planner.tg263 import Code, recognise

RT_TARGET = Code("130041", "DCM", "RT Target")
EXTERNAL_BODY = Code("130047", "DCM", "External Body Model")
ANATOMICAL = Code("91723000", "SCT", "Anatomical Structure")

TARGETS = {
    (RoiKind.GTV, ""): Code("228791009", "SCT", "GTV"),
    (RoiKind.CTV, ""): Code("228792002", "SCT", "CTV"),
    (RoiKind.PTV, ""): Code("228793007", "SCT", "PTV"),
    (RoiKind.GTV, "n"): Code("130051", "DCM", "GTV Nodal"),
    (RoiKind.CTV, "n"): Code("130049", "DCM", "CTV Nodal"),
    (RoiKind.PTV, "n"): Code("130053", "DCM", "PTV Nodal"),
    (RoiKind.GTV, "p"): Code("130052", "DCM", "GTV Primary"),
    (RoiKind.CTV, "p"): Code("130050", "DCM", "CTV Primary"),
    (RoiKind.PTV, "p"): Code("130054", "DCM", "PTV Primary"),
}
"""CID 9534 by kind and TG-263 classifier."""

CONTEXT_OF_TARGETS = {"ContextIdentifier": "9534", "MappingResource": "DCMR", "ContextGroupVersion": "20181112"}
"""Where the codes of targets stand: without its ContextGroupVersion Eclipse drops the code of a structure."""


@dataclass(frozen=True)
class Meaning:
    """The codes of an ROI.

    Attributes:
        category: SegmentedPropertyCategoryCodeSequence.
        type: RTROIIdentificationCodeSequence; None where no code is known.
        laterality: SegmentedPropertyTypeModifierCodeSequence of the type; None where it has no side.
    """

    category: Code
    type: Code | None
    laterality: Code | None


def meaning_of(roi: Roi) -> Meaning:
    """What is known of an ROI from its kind and name; nothing is guessed from a name that is not a standard one."""
    if roi.kind in TARGET_KINDS:
        classifier = roi.name.removeprefix(roi.kind.value)[:1]
        return Meaning(RT_TARGET, TARGETS.get((roi.kind, classifier), TARGETS[roi.kind, ""]), None)
    if roi.kind is RoiKind.EXTERNAL:
        return Meaning(EXTERNAL_BODY, None, None)
    anatomy = recognise(roi.name)
    if anatomy is None or anatomy.code is None:
        return Meaning(ANATOMICAL, None, None)
    return Meaning(ANATOMICAL, anatomy.code, anatomy.laterality)


def add_meaning(observation: Dataset, roi: Roi) -> None:
    """Write the codes of an ROI into its item of RTROIObservationsSequence."""
    meaning = meaning_of(roi)
    observation.SegmentedPropertyCategoryCodeSequence = [code_item(meaning.category)]
    if meaning.type is None:
        return
    item = code_item(meaning.type)
    if meaning.category is RT_TARGET:
        for keyword, text in CONTEXT_OF_TARGETS.items():
            setattr(item, keyword, text)
    if meaning.laterality is not None:
        item.SegmentedPropertyTypeModifierCodeSequence = [code_item(meaning.laterality)]
    observation.RTROIIdentificationCodeSequence = [item]


def code_item(code: Code) -> Dataset:
    """An item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item
