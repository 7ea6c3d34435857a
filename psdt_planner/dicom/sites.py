"""Where in the body a flag lies, as its reader said it: SNOMED CT codes first, else the words of its label.

Site keys are those of the protocol tables. Regions are named as in pydicom's dictionary of DICOM's own context groups;
vertebral bodies, which these lack, as in the HL7 mCODE map of TG-263 names. What neither code nor label tells is
``unknown``: nothing is inferred from the place of the lesion here. The sacrum counts as bone, not as spine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.sr.codedict import codes

from psdt_planner.dicom.attributes import items_if_any, text_or_empty
from psdt_planner.lesions import Side

UNKNOWN = "unknown"

LEVELS = [*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6))]

SITE_REGIONS: dict[str, str] = {
    "spine": "Vertebra CervicalSpine ThoracicSpine LumbarSpine StructureOfVertebralColumn ArchOfVertebra "
    "LaminaOfVertebra StructureOfPedicleOfVertebra StructureOfSpinousProcessOfVertebra "
    "StructureOfTransverseProcessOfVertebra " + " ".join(f"{level}Vertebra" for level in LEVELS),
    "bone": "Bone BoneStructureOfPelvis Ilium IliacCrest Ischium SymphysisPubis Acetabulum Sacrum Coccyx Femur "
    "HeadOfFemur BoneStructureOfProximalFemur BoneStructureOfShaftOfFemur Rib Sternum BodyOfSternum Scapula Clavicle "
    "Humerus Skull",
    "pelvic-node": "PelvicLymphNode IliacLymphNode ExternalIliacLymphNode HypogastricLymphNode InguinalLymphNode "
    "DeepInguinalLymphNode StructureOfObturatorLymphNode StructureOfSacralLymphNode StructureOfPararectalLymphNode",
    "paraaortic-node": "AorticLymphNode StructureOfRetroperitonealLymphNode",
    "prostate": "Prostate StructureOfPeripheralGlandularZoneOfProstate StructureOfTransitionZoneOfProstate",
}
"""Names of regions in pydicom's SNOMED dictionary, by site key."""

VERTEBRAL_BODIES = (
    "91116008 14705001 67479001 88298007 16126006 "  # C3 to C7
    "56094003 50060007 73138009 86197001 6105006 32430008 71737002 77435000 33766003 48405002 52120002 280849005 "
    "61032001 53983007 55492004 71996003 21799000"  # L1 to L5, after T1 to T12
)
SACRAL_VERTEBRAE = "65985001 11808007 49967005 69950008 21452006"
RIBS = "48535007 78247007 25888004 25523003 15339008 59558009 24915002 5953002 22565002 77644006 58830002 43993008"
PELVIC_NODES = "245294005 84219008 245357003 245299000 1187336003 279763008"

SITE_OF_CODE: dict[str, str] = {
    **{getattr(codes.SCT, name).value: site for site, names in SITE_REGIONS.items() for name in names.split()},
    **dict.fromkeys(VERTEBRAL_BODIES.split(), "spine"),
    **dict.fromkeys((SACRAL_VERTEBRAE + " " + RIBS).split(), "bone"),
    **dict.fromkeys(PELVIC_NODES.split(), "pelvic-node"),
}

SIDE_OF_CODE: dict[str, Side] = {
    "7771000": Side.LEFT,
    "24028007": Side.RIGHT,
    "260528009": Side.MIDLINE,
    "G-A101": Side.LEFT,
    "G-A100": Side.RIGHT,
}
"""Laterality modifiers: SNOMED CT, and the SRT codes that older objects carry."""

PELVIC_NODE_WORDS = (
    r"(?=.*\b(nodes?|nodal|ln|lymph\w*|lk)\b)"
    r".*\b(pelvi\w*|iliac\w*|iliakal\w*|obturator\w*|presacral|(meso|peri)rectal|inguin\w*)"
)
SITE_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("paraaortic-node", re.compile(r"\bpara ?aort\w*|\bretroperitoneal|\b(inter)?aortocaval")),
    ("pelvic-node", re.compile(PELVIC_NODE_WORDS)),
    (
        "spine",
        re.compile(r"\b(spine|spinal|spinous|vertebra\w*|pedicle|laminae?|wirbel\w*|[hbl]wk|vb)\b"),
    ),
    ("prostate", re.compile(r"\bprostat\w*")),
    (
        "bone",
        re.compile(
            r"\b(bone|osseous|sacr(um|al)|ili(um|ac)|ischi\w+|pub(is|ic)|acetabul\w+|fem(ur|oral)|ribs?|stern(um|al)"
            r"|scapula\w*|clavicle|humer(us|al)|skull|coccyx|pelvic bone|knochen)\b"
        ),
    ),
)
"""Words of a label, tried in this order, so that an iliac node is no iliac bone.

A bare ``L3`` is no spine: it may as well be the third lesion, as ``T2`` may be a weighting.
"""

SIDE_WORDS: tuple[tuple[Side, re.Pattern[str]], ...] = (
    (Side.LEFT, re.compile(r"\b(left|lt|l|links|li)\b")),
    (Side.RIGHT, re.compile(r"\b(right|rt|r|rechts|re)\b")),
    (Side.MIDLINE, re.compile(r"\b(midline|central|median)\b")),
)


@dataclass(frozen=True)
class Place:
    """Site key and side of a flag; ``source`` is ``code`` or ``label`` by what told the site, empty where none did."""

    site: str
    side: Side
    source: str


def place(regions: Sequence[Dataset], label: str) -> Place:
    """The place that coded regions (AnatomicRegionSequence or SegmentedPropertyType items) or else the label tell.

    Codes or words that contradict each other tell nothing.
    """
    words = re.sub(r"[_\W]+", " ", label.lower())
    coded = {SITE_OF_CODE[code] for region in regions if (code := text_or_empty(region, "CodeValue")) in SITE_OF_CODE}
    named = next((site for site, known in SITE_WORDS if known.search(words)), UNKNOWN)
    if coded:
        site, source = (coded.pop(), "code") if len(coded) == 1 else (UNKNOWN, "")
    else:
        site, source = named, "label" if named != UNKNOWN else ""
    side = _coded_side(regions)
    if side is Side.UNKNOWN:
        side = _only(side for side, known in SIDE_WORDS if known.search(words))
    return Place(site, side, source)


def _coded_side(regions: Iterable[Dataset]) -> Side:
    keywords = (
        "AnatomicRegionModifierSequence",
        "PrimaryAnatomicStructureModifierSequence",
        "SegmentedPropertyTypeModifierCodeSequence",
    )
    modifiers = [
        text_or_empty(modifier, "CodeValue")
        for region in regions
        for keyword in keywords
        for modifier in items_if_any(region, keyword)
    ]
    return _only(SIDE_OF_CODE[code] for code in modifiers if code in SIDE_OF_CODE)


def _only(sides: Iterable[Side]) -> Side:
    """The one side that is told; unknown where none is, or several contradict each other."""
    told = set(sides)
    return told.pop() if len(told) == 1 else Side.UNKNOWN
