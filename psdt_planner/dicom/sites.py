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

OTHER, NODE = "other", "node"
"""What a label may name beside the sites: another part of the body, or a lymph node of no known station."""

NODE_WORDS = re.compile(r"\b(nodes?|nodal|lns?|lks?|node\d+|ln\d+|lk\d+|lymph\w*|adenopath\w*)\b")
STATION_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("paraaortic-node", re.compile(r"\b(para ?aort\w*|retroperitoneal|(inter)?aorto ?caval)\b")),
    (
        "pelvic-node",
        re.compile(r"\b(pelvi\w*|iliac\w*|iliakal\w*|obturator\w*|presacral|(meso|peri) ?rectal|inguin\w*)\b"),
    ),
)
"""Stations of lymph nodes. In a label with a word for node these, and nothing else, tell the site."""

BARE_STATION = re.compile(r"\b(para ?aort\w*|(inter)?aorto ?caval)\b")
SITE_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "spine",
        re.compile(
            r"\b((?<!iliac )(?<!ischial )(?<!scapular )spine|spinal|spinous|vertebra\w*|pedicle|laminae?|wirbel\w*"
            r"|[hbl]wk\d*|vb)\b"
        ),
    ),
    ("prostate", re.compile(r"\bprostat(e|a|ic)\b")),
    (
        "bone",
        re.compile(
            r"\b(sacr(um|al)|ilium|iliac (crest|wing|spine)|ischi\w+|pub(is|ic)|acetabul\w+|fem(ur|oral)|ribs?"
            r"|stern(um|al)|scapula\w*|clavicle|humer(us|al)|skull|coccyx)\b"
        ),
    ),
    (
        OTHER,
        re.compile(
            r"\b(lungs?|pulmonary|pleura\w*|liver|hepatic|bladder|rect(um|al)|bowel|colon|kidneys?|renal|adrenals?"
            r"|brain|cerebral|spleen|pancrea\w*|seminal|urethra\w*|penis|penile|muscles?|skin|soft tissue|thyroid"
            r"|heart|mediastin\w*|(o?esophag|stomach)\w*|(spinal )?(cord|canal)|epidural|dura\w*|nerves?|plexus"
            r"|vessels?|arter(y|ies)|veins?|lunge|leber|blase|niere|hirn|myelon|perine\w+)\b"
        ),
    ),
)
"""Words of a label.

A bare ``L3`` is no spine: it may as well be the third lesion, as ``T2`` may be a weighting. A bare ``iliac`` is no
bone: it may as well be a node.
"""

ANY_BONE = re.compile(r"\b(bones?|bony|osseous|knochen)\b")
"""Bone without saying which; a vertebra is one too."""

DISEASE_WORDS = re.compile(
    r"\b(cancer|\w*carcinoma|p?ca|mets?|metasta\w*|bed|bett|fossa|loge|\w*karzinom|\w*krebs|metastase\w*)\b"
)
"""Beside one of these, ``prostate`` is where the disease came from, or was, and not where the lesion lies."""

BESIDE_WORDS = re.compile(
    r"\b(near|next|adjacent|beside|besides|close|abutting|not|no|without|neben|nahe|bei|kein\w*|outside|versus|vs)\b"
)
"""Words that make of a named place another one."""

SIDE_WORDS: tuple[tuple[Side, re.Pattern[str]], ...] = (
    (Side.LEFT, re.compile(r"\b(left|lt|l|links|li)\b")),
    (Side.RIGHT, re.compile(r"\b(right|rt|r|rechts|re)\b")),
    (Side.MIDLINE, re.compile(r"\b(midline|central|median)\b")),
)


@dataclass(frozen=True)
class Place:
    """Site key and side of a flag.

    ``source`` is ``code`` or ``label`` by what told the site, empty where none did; ``contradictory`` says that the
    label names another place than the code, which was followed.
    """

    site: str
    side: Side
    source: str
    contradictory: bool = False


def place(regions: Sequence[Dataset], label: str) -> Place:
    """The place that coded regions (AnatomicRegionSequence or SegmentedPropertyType items) or else the label tell.

    Codes that contradict each other tell nothing, nor does a label that names several places, a place beside one, or
    the disease alone.
    """
    words = re.sub(r"[_\W]+", " ", label.lower())
    coded = {SITE_OF_CODE[code] for region in regions if (code := text_or_empty(region, "CodeValue")) in SITE_OF_CODE}
    named = _named(words)
    side = _coded_side(regions)
    if side is Side.UNKNOWN:
        side = _only(side for side, known in SIDE_WORDS if known.search(words))
    if len(coded) == 1:
        (site,) = coded
        alike = {NODE: ("pelvic-node", "paraaortic-node"), "bone": ("spine",)}
        agrees = not named or site in named or any(site in alike.get(other, ()) for other in named)
        return Place(site, side, "code", not agrees)
    if coded or len(named) != 1 or named & {OTHER, NODE} or BESIDE_WORDS.search(words):
        return Place(UNKNOWN, side, "")
    return Place(named.pop(), side, "label")


def _named(words: str) -> set[str]:
    """Every place that a label names: site keys, `OTHER` and `NODE`."""
    if not NODE_WORDS.search(words):
        return _named_outside_nodes(words) | ({"paraaortic-node"} if BARE_STATION.search(words) else set())
    stations = {site for site, known in STATION_WORDS if known.search(words)}
    rest = words
    for _, known in STATION_WORDS:
        rest = known.sub(" ", rest)
    return (stations or {NODE}) | ({OTHER} if _named_outside_nodes(rest) else set())


def _named_outside_nodes(words: str) -> set[str]:
    found = {site for site, known in SITE_WORDS if known.search(words)}
    if DISEASE_WORDS.search(words):
        found.discard("prostate")
    if ANY_BONE.search(words) and "spine" not in found:
        found.add("bone")
    return found


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
