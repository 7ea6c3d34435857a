"""What a series is: from its SOP class, and for MR from ImageType, b-value and the words of its description."""

from __future__ import annotations

import re

from pydicom import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    CTImageStorage,
    DeformableSpatialRegistrationStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    EnhancedSRStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
    RTIonPlanStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    SpatialRegistrationStorage,
)

from psdt_planner.dicom.attributes import text_or_empty, words
from psdt_planner.images import Kind

LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"

KIND_OF_CLASS: dict[str, Kind] = {
    CTImageStorage: Kind.CT,
    EnhancedCTImageStorage: Kind.CT,
    LegacyConvertedEnhancedCTImageStorage: Kind.CT,
    MRImageStorage: Kind.MR_OTHER,
    EnhancedMRImageStorage: Kind.MR_OTHER,
    LegacyConvertedEnhancedMRImageStorage: Kind.MR_OTHER,
    PositronEmissionTomographyImageStorage: Kind.PET,
    EnhancedPETImageStorage: Kind.PET,
    LegacyConvertedEnhancedPETImageStorage: Kind.PET,
    SegmentationStorage: Kind.SEG,
    LABEL_MAP_SEGMENTATION_STORAGE: Kind.SEG,
    EnhancedSRStorage: Kind.SR,
    ComprehensiveSRStorage: Kind.SR,
    Comprehensive3DSRStorage: Kind.SR,
    RTStructureSetStorage: Kind.RTSTRUCT,
    SpatialRegistrationStorage: Kind.REGISTRATION,
    DeformableSpatialRegistrationStorage: Kind.REGISTRATION,
    RTPlanStorage: Kind.RTPLAN,
    RTIonPlanStorage: Kind.RTPLAN,
    RTDoseStorage: Kind.RTDOSE,
}

SINGLE_FRAME = (CTImageStorage, MRImageStorage)
"""The image classes that are read to volumes; multi-frame classes are listed with a finding."""

DIFFUSION_KINDS = (Kind.DWI, Kind.DWI_TRACE)
MAPPING_KINDS = (
    *DIFFUSION_KINDS,
    Kind.ADC,
    Kind.T1,
    Kind.T2,
    Kind.DIXON_IN,
    Kind.DIXON_OUT,
    Kind.DIXON_WATER,
    Kind.DIXON_FAT,
)
"""MR kinds that planning may use, so that an irregularity in them holds the case."""

DIXON_WORDS: tuple[tuple[Kind, frozenset[str], re.Pattern[str]], ...] = (
    (Kind.DIXON_IN, frozenset({"IN_PHASE", "IP"}), re.compile(r"(^|[\W_])(in[\W_]*phase|in|ip)($|[\W_])")),
    (
        Kind.DIXON_OUT,
        frozenset({"OPP_PHASE", "OUT_PHASE", "OP"}),
        re.compile(r"(^|[\W_])((out|opp)(osed)?([\W_]*of)?[\W_]*(phase)?|op)($|[\W_])"),
    ),
    (Kind.DIXON_WATER, frozenset({"WATER", "W"}), re.compile(r"(^|[\W_])(water|w)($|[\W_])")),
    (Kind.DIXON_FAT, frozenset({"FAT", "F"}), re.compile(r"(^|[\W_])(fat|f)($|[\W_])")),
)
"""A Dixon image's part: the word of ImageType that says so, and the word in its description where Dixon is named."""

ADC_TEXT = re.compile(r"(^|[\W_])adc($|[\W_])|apparent[\W_]*diffusion")
NOT_ADC_TEXT = re.compile(r"(^|[\W_])(eadc|exponential)|exp[\W_]*adc")
CALCULATED_TEXT = re.compile(r"calc[\W_]*b|(^|[\W_])(c|s|syn|synthetic|computed)[\W_]*(dwi|dw)($|[\W_])")
DIFFUSION_TEXT = re.compile(r"(^|[\W_])(dwi|dti|dwibs|diff(usion)?)($|[\W_\d])")
T1_TEXT = re.compile(r"(^|[^a-z0-9])t1($|[^0-9*])")
T2_TEXT = re.compile(r"(^|[^a-z0-9])t2($|[^0-9*])")
DIXON_TEXT = re.compile(r"dixon|(^|[\W_])(lava[\W_]*flex|ideal)($|[\W_])")
PARAMETER_MAPS = frozenset({"FA", "TENSOR", "COLFA", "EXP", "EADC", "MIP", "PROJECTION IMAGE", "CSA MIP"})


def is_localizer(ds: Dataset) -> bool:
    """Whether an image is a scout view."""
    return "LOCALIZER" in words(ds, "ImageType")


def mr_kind(ds: Dataset, *, diffusion: bool) -> Kind:
    """What an MR image is; ``diffusion`` says whether its series has an image with b > 0 or says so itself."""
    kinds = set(words(ds, "ImageType"))
    told = " ".join((text_or_empty(ds, "SeriesDescription"), text_or_empty(ds, "ProtocolName"))).lower()
    if is_localizer(ds) or kinds & PARAMETER_MAPS:
        return Kind.MR_OTHER
    derived = "DERIVED" in kinds
    if "ADC" in kinds or (derived and ADC_TEXT.search(told) and not NOT_ADC_TEXT.search(told)):
        return Kind.ADC
    if "CALC_BVALUE" in kinds or (diffusion and derived and CALCULATED_TEXT.search(told)):
        return Kind.DWI_CALCULATED
    if diffusion:
        return Kind.DWI_TRACE if _is_trace(ds, kinds) else Kind.DWI
    return _anatomical_kind(kinds, told)


def _is_trace(ds: Dataset, kinds: set[str]) -> bool:
    name = text_or_empty(ds, "SequenceName")
    return "TRACEW" in kinds or "ISOTROPIC" in words(ds, "DiffusionDirectionality") or name.endswith("t")


def _anatomical_kind(kinds: set[str], told: str) -> Kind:
    dixon = DIXON_TEXT.search(told) is not None or "DIXON" in kinds
    for kind, code, text in DIXON_WORDS:
        if kinds & code:
            return kind
        if dixon and text.search(told):
            return kind
    if T1_TEXT.search(told):
        return Kind.T1
    return Kind.T2 if T2_TEXT.search(told) else Kind.MR_OTHER


def says_diffusion(ds: Dataset) -> bool:
    """Whether the description calls a series diffusion weighted."""
    return DIFFUSION_TEXT.search(text_or_empty(ds, "SeriesDescription").lower()) is not None
