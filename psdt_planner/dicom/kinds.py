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

ADC_TEXT = re.compile(r"(^|[\W_])d?adc($|[\W_\d])|apparent[\W_]*diff|(^|[\W_])(average|avg)[\W_]*dc($|[\W_])")
"""Words for the apparent diffusion coefficient: GE calls it ``Average DC``, Philips ``dADC``."""

CALCULATED_TEXT = re.compile(
    r"calc[\W_]*b|(^|[\W_])(c|syn|synth|synthetic|computed|calculated)[\W_]*(dwi|dw|b[\W_]*\d+|b[\W_]*value)($|[\W_\d])"
)
SYNTHETIC_TEXT = re.compile(r"(^|[\W_])s[\W_]*(dwi|dw|b[\W_]*\d+|b[\W_]*value)($|[\W_])")
"""Of a derived image alone: a measured series may be called ``sDWI`` for its single shot."""

DIFFUSION_TEXT = re.compile(r"(^|[\W_])(dwi|dti|dwibs|diff(usion)?)($|[\W_\d])")
T1_TEXT = re.compile(r"(^|[^a-z0-9])t1($|[^0-9*])")
T2_TEXT = re.compile(r"(^|[^a-z0-9])t2($|[^0-9*])")
DIXON_TEXT = re.compile(r"dixon|(^|[\W_])(lava[\W_]*flex|ideal)($|[\W_])")
PARAMETER_MAPS = frozenset(
    {
        "FA",
        "TENSOR",
        "COLFA",
        "EXP",
        "EADC",
        "MD",
        "MIP",
        "PROJECTION IMAGE",
        "CSA MIP",
        "MPR",
        "CSA MPR",
        "REFORMATTED",
    }
)
"""Words of ImageType for maps of something else, and for what was reformatted: no slice of it was measured."""

PARAMETER_TEXT = re.compile(
    r"(^|[\W_])(fa(?![\W_]*\d)|colfa|fractional[\W_]*anis\w*|relative[\W_]*anis\w*|e[\W_]*adc"
    r"|exp(onential)?[\W_]*(adc|map|apparent|coeff\w*|diff\w*|atten\w*)|(mean|radial|axial)[\W_]*diffusivity"
    r"|volume[\W_]*ratio|mip)($|[\W_\d])"
)
FLIP_OR_FA_TEXT = re.compile(r"(^|[\W_])fa[\W_]*\d")
"""Words of a map of something else than diffusion, though it stems from diffusion images; ``FA90`` of a measured image
is its flip angle."""

TRACE_TEXT = re.compile(r"(^|[\W_])(tracew?|isotropic)($|[\W_])")
KNOWN_DERIVED = (frozenset({"TRACEW"}), frozenset({"TENSOR_B0"}), frozenset({"DIFFUSION", "NONE"}))
"""Words of ImageType of derived images that still are b-images: their mean, or without a derived contrast."""


def is_localizer(ds: Dataset) -> bool:
    """Whether an image is a scout view."""
    return "LOCALIZER" in words(ds, "ImageType")


def mr_kind(ds: Dataset, *, diffusion: bool) -> Kind:
    """What an MR image is; ``diffusion`` says whether its series has an image with b > 0 or says so itself.

    A map is what its ImageType or its words call one: maps carry b-values and the word ORIGINAL, too. What is derived
    of diffusion images, and nothing says how, is no b-image; `is_unclear` tells of it.
    """
    kinds = set(words(ds, "ImageType"))
    told = _told(ds)
    if is_localizer(ds) or kinds & PARAMETER_MAPS:
        return Kind.MR_OTHER
    if "ADC" in kinds:
        return Kind.ADC
    by_words = _map_by_words(ds, diffusion=diffusion)
    if by_words is not None:
        return by_words
    if "CALC_BVALUE" in kinds:
        return Kind.DWI_CALCULATED
    if diffusion and _is_trace(ds, kinds):
        return Kind.DWI_TRACE
    if diffusion:
        return Kind.DWI if _is_measured(kinds) else Kind.MR_OTHER
    return _anatomical_kind(kinds, told)


def is_unclear(ds: Dataset) -> bool:
    """Whether an image of a diffusion series is derived of diffusion images, and nothing says how."""
    kinds = set(words(ds, "ImageType"))
    told = bool(is_localizer(ds) or kinds & {*PARAMETER_MAPS, "ADC", "CALC_BVALUE"}) or _is_trace(ds, kinds)
    return not told and not _is_measured(kinds) and _map_by_words(ds, diffusion=True) is None


def is_map_by_words(ds: Dataset) -> bool:
    """Whether only the description of an image that calls itself original makes it a map."""
    kinds = set(words(ds, "ImageType"))
    coded = kinds & {*PARAMETER_MAPS, "ADC", "CALC_BVALUE", "DERIVED"}
    return not coded and not is_localizer(ds) and _map_by_words(ds, diffusion=True) is not None


def _told(ds: Dataset) -> str:
    return " ".join((text_or_empty(ds, "SeriesDescription"), text_or_empty(ds, "ProtocolName"))).lower()


def _map_by_words(ds: Dataset, *, diffusion: bool) -> Kind | None:
    """What the description makes of an image: a map, a calculated image, or None where it names neither.

    The protocol's name is that of the whole acquisition, and speaks for what was derived of it alone.
    """
    kinds = set(words(ds, "ImageType"))
    derived = "DERIVED" in kinds
    told = _told(ds) if derived else text_or_empty(ds, "SeriesDescription").lower()
    coded = "TRACEW" in kinds or (not derived and {"DIFFUSION", "NONE"} <= kinds)
    if coded and not CALCULATED_TEXT.search(told):
        return None
    if not (derived or diffusion):
        return None
    if PARAMETER_TEXT.search(told) or (derived and FLIP_OR_FA_TEXT.search(told)):
        return Kind.MR_OTHER
    if ADC_TEXT.search(told):
        return Kind.ADC
    synthetic = CALCULATED_TEXT.search(told) or (derived and SYNTHETIC_TEXT.search(told))
    return Kind.DWI_CALCULATED if diffusion and synthetic else None


def _is_measured(kinds: set[str]) -> bool:
    return "DERIVED" not in kinds or any(known <= kinds for known in KNOWN_DERIVED)


def _is_trace(ds: Dataset, kinds: set[str]) -> bool:
    name = text_or_empty(ds, "SequenceName")
    if "TRACEW" in kinds or "ISOTROPIC" in words(ds, "DiffusionDirectionality"):
        return True
    return name.endswith("t") or ("DERIVED" in kinds and TRACE_TEXT.search(_told(ds)) is not None)


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
