"""Where in the body a flag lies, as its reader said it: SNOMED CT codes first, else the words of its label.

Site keys are those of the protocol tables. Regions are named as in pydicom's dictionary of DICOM's own context groups;
vertebral bodies, which these lack, as in the HL7 mCODE map of TG-263 names. What neither code nor label tells is
``unknown``: nothing is inferred from the place of the lesion here. The sacrum counts as bone, not as spine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from psdt_planner.dicom.attributes import items_if_any, text_or_empty
from psdt_planner.lesions import Side
from psdt_planner.timeline.regions import BONE_NAMES, REGION_OF_CODE, any_of, plain

UNKNOWN = "unknown"

LEVELS = [*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6))]

SITE_REGIONS: dict[str, str] = {
    "spine": "Vertebra CervicalSpine ThoracicSpine LumbarSpine StructureOfVertebralColumn ArchOfVertebra "
    "LaminaOfVertebra StructureOfPedicleOfVertebra StructureOfSpinousProcessOfVertebra "
    "StructureOfTransverseProcessOfVertebra " + " ".join(f"{level}Vertebra" for level in LEVELS),
    "bone": "Bone BoneStructureOfPelvis Ilium IliacCrest Ischium SymphysisPubis Acetabulum Sacrum Coccyx Sternum "
    "BodyOfSternum Scapula Clavicle Humerus",
    "femur": "Femur HeadOfFemur BoneStructureOfFemur BoneStructureOfProximalFemur BoneStructureOfShaftOfFemur "
    "BoneStructureOfDistalFemur DistalFemur Tibia BoneStructureOfTibia BoneStructureOfShaftOfTibia",
    "rib": "Rib",
    "skull": "Skull FrontalBone ParietalBone TemporalBone OccipitalBone",
    "pelvic-node": "PelvicLymphNode IliacLymphNode ExternalIliacLymphNode HypogastricLymphNode InguinalLymphNode "
    "DeepInguinalLymphNode StructureOfObturatorLymphNode StructureOfSacralLymphNode StructureOfPararectalLymphNode",
    "paraaortic-node": "AorticLymphNode StructureOfRetroperitonealLymphNode",
    "mediastinal-node": "MediastinalLymphNode AnteriorMediastinalLymphNode HighestMediastinalLymphNode HilarLymphNode",
    "neck-node": "CervicalLymphNode CervicalLymphNodeStructure DeepCervicalLymphNode SupraclavicularLymphNode",
    "lung": "Lung LobeOfLung UpperLobeOfLung MiddleLobeOfRightLung LowerLobeOfLung",
    "liver": "Liver",
    "adrenal": "AdrenalGland AdrenalStructure",
    "prostate": "Prostate StructureOfPeripheralGlandularZoneOfProstate StructureOfTransitionZoneOfProstate",
    "brain": "Brain Cerebellum CerebralHemisphere",
}
"""Names of regions in pydicom's SNOMED dictionary, by site key."""

SITES = frozenset([*SITE_REGIONS, "lung-peripheral", "lung-central", "prostate-recurrence"])
"""Site keys of the protocol tables; and ``lung``, of which no code tells whether it is central."""

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
    **dict.fromkeys(SACRAL_VERTEBRAE.split(), "bone"),
    **dict.fromkeys(RIBS.split(), "rib"),
    **dict.fromkeys(PELVIC_NODES.split(), "pelvic-node"),
}

LEVEL_OF_CODE: dict[str, str] = {
    **{getattr(codes.SCT, f"{level}Vertebra").value: level for level in LEVELS},
    **dict(zip(VERTEBRAL_BODIES.split(), LEVELS[2:], strict=True)),
}
"""Vertebra of a code: of C1 and C2 the whole bone, of the others bone or body."""

LEVEL_WORDS = (
    ("C", re.compile(r"\b(?:c|hwk|halswirbel\w*) ?([1-7])\b")),
    ("T", re.compile(r"\b(?:t|th|d|bwk|brustwirbel\w*) ?(1[0-2]|0?[1-9])\b")),
    ("L", re.compile(r"\b(?:l|lwk|lendenwirbel\w*) ?([1-5])\b")),
)
"""Vertebrae in the label of a lesion in the spine, where ``T2`` is no weighting and ``L3`` no third lesion."""

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

NODE_WORDS = re.compile(
    r"\b(nodes?|nodal|lns?|lks?|node\d+|ln\d+|lk\d+|lymph\w*|adenopat\w*"
    r"|ganglio\w*|linf\w*)\b"
)
STATION_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("paraaortic-node", re.compile(r"\b((para|latero|lombo) ?aort\w*|retroperitone\w*|(inter)?aorto ?caval)\b")),
    (
        "mediastinal-node",
        re.compile(r"\b(mediastin\w*|hil(ar|ous|us|um|aire?|ario)|subcarin\w*|para ?trache\w*)\b"),
    ),
    (
        "neck-node",
        re.compile(r"\b(cervical\w*|zervikal\w*|neck|hals|cou|cuello|collo|supra ?[ck]la[vw]\w*|jugul\w*)\b"),
    ),
    (
        "pelvic-node",
        re.compile(
            r"\b(pelvi\w*|ilia[ck]\w*|iliaqu\w*|obturat\w*|otturat\w*|obturad\w*|pr[ae] ?sa[ck]r\w*|(meso|peri) ?rectal"
            r"|inguin\w*|becken\w*|leisten\w*)\b"
        ),
    ),
)
"""Stations of lymph nodes. In a label with a word for node these, and nothing else, tell the site."""

BARE_STATION = re.compile(r"\b(para ?aort\w*|(inter)?aorto ?caval)\b")
SITE_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "spine",
        re.compile(
            r"\b((?<!iliac )(?<!ischial )(?<!scapular )spine|spinal|spinous|vertebr\w*|pedicle|laminae?"
            r"|(hals|brust|lenden)?wirbel\w*|rachis|rachid\w*|columna|colonna|colonne"
            r"|[hbl]wk\d*|vb)\b"
        ),
    ),
    ("prostate", re.compile(r"\bprostat(e|a|ic|ique|ic[ao])\b")),
    ("bone", any_of(*BONE_NAMES.values())),
    ("femur", re.compile(r"\b(fem(ur|oral)|oberschenkel\w*|femore|tibia\w*|schienbein)\b")),
    ("rib", re.compile(r"\b(ribs?|rippen?|cotes?|costillas?|costa|coste|costol[ae])\b")),
    ("skull", re.compile(r"\b(skull|calvari\w*|schadel\w*|crane|craneo|cranio)\b")),
    ("lung", re.compile(r"\b(lungs?|pulmonary|lungen?|poumons?|pulmon\w*|polmon\w*)\b")),
    ("liver", re.compile(r"\b(liver|hepatic|leber|foie|higado|fegato)\b")),
    ("adrenal", re.compile(r"\b(adrenals?|nebenniere\w*|surrenal\w*|suprarrenal\w*|surrene)\b")),
    ("brain", re.compile(r"\b(brain|cerebral|cerebell\w*|hirn|gehirn|cerveau|cerebro|cervello)\b")),
    (
        OTHER,
        re.compile(
            r"\b(pleura\w*|bladder|rect(um|al)|bowel|colon|kidneys?|renal"
            r"|spleen|pancrea\w*|seminal|urethra\w*|penis|penile|muscles?|skin|soft tissue|thyroid"
            r"|heart|mediastin\w*|(o?esophag|stomach)\w*|(spinal )?(cord|canal)|epidural|dura\w*|nerves?|plexus"
            r"|vessels?|arter(y|ies)|veins?|blase|niere|myelon|perine\w+"
            r"|milz|vessie|vejiga|vescica|reins?|rinon\w*|rene|reni"
            r"|rate|bazo|milza|intestin\w*|moelle|medula|midollo)\b"
        ),
    ),
)
"""Words of a label in English, German, French, Spanish and Italian, without their accents.

A bare ``L3`` is no spine: it may as well be the third lesion, as ``T2`` may be a weighting. A bare ``iliac`` is no
bone: it may as well be a node.
"""

ANY_BONE = re.compile(r"\b(bones?|bony|osseous|knochen|os|osse\w*|huesos?|ose[ao]s?|oss[oa])\b")
"""Bone without saying which; a vertebra is one too."""

DISEASE_WORDS = re.compile(
    r"\b(cancer\w*|\w*carcinom\w*|cancro|tumore|lecho|loggia|lit|p?ca|mets?|metasta\w*|bed|bett|fossa|loge|\w*karzinom|\w*krebs|metastase\w*)\b"
)
"""Beside one of these, ``prostate`` is where the disease came from, or was, and not where the lesion lies."""

LOCAL_RECURRENCE = re.compile(
    r"\b(local(ly)? recurren\w*|lokalrezidiv\w*|recidive locale|recidiva locale?|(recidiva )?local de prostata)\b"
)
"""Beside a word for the prostate: what came back in the gland or its bed after treatment."""

PROSTATE = re.compile(r"\bprostat\w*\b")

LUNG_PARTS = (("lung-peripheral", re.compile(r"\bperipher\w*\b")), ("lung-central", re.compile(r"\b[cz]entral\w*\b")))
"""Where in the lung; a label that says neither leaves it at ``lung``, of which the protocol has no rule."""

FINER = {
    "bone": ("spine", "femur", "rib", "skull"),
    "lung": ("lung-peripheral", "lung-central"),
    "prostate": ("prostate-recurrence",),
    NODE: ("pelvic-node", "paraaortic-node", "mediastinal-node", "neck-node"),
}
"""Sites that are a part of what a coarser word names: neither contradicts the other."""

BESIDE_WORDS = re.compile(
    r"\b(near|next|adjacent|beside|besides|close|abutting|not|no|without|neben|nahe|bei|kein\w*|outside|versus|vs"
    r"|pres|proche|sans|pas|cerca|junto|sin|vicino|accanto|senza|non)\b"
)
"""Words that make of a named place another one."""

SIDE_WORDS: tuple[tuple[Side, re.Pattern[str]], ...] = (
    (
        Side.LEFT,
        re.compile(r"\b(left|lt|l|links|linke[rsn]?|li|gauches?|izquierd[oa]s?|izq|izda|izdo|sinistr[oaei]|sx)\b"),
    ),
    (
        Side.RIGHT,
        re.compile(r"\b(right|rt|r|rechts|rechte[rsn]?|re|droite?s?|derech[oa]s?|dcha|dcho|destr[oaei]|dx)\b"),
    ),
    (Side.MIDLINE, re.compile(r"\b(midline|central|median[aeo]?|mittellinie|mittig|linea media|ligne mediane)\b")),
)


@dataclass(frozen=True)
class Place:
    """Site key and side of a flag.

    ``source`` and ``side_source`` are ``code``, ``label`` or ``table`` by what told the site and the side, empty where
    none did;
    ``contradictory`` says that the label names another place than the code, which was followed. ``level`` is the
    vertebra of a place in the spine, such as ``L4``; empty where it is not told. ``code`` is the SNOMED CT code that
    tells the region of the body, empty where none does or several differ; it may be of no site.
    """

    site: str
    side: Side
    source: str
    contradictory: bool = False
    side_source: str = ""
    level: str = ""
    code: str = ""


def place(regions: Sequence[Dataset], label: str) -> Place:
    """The place that coded regions (AnatomicRegionSequence or SegmentedPropertyType items) or else the label tell.

    Codes that contradict each other tell nothing, nor does a label that names several places, a place beside one, or
    the disease alone.
    """
    words = plain(label)
    known = [_known_code(region) for region in regions]
    coded, code = {SITE_OF_CODE[one] for one in known if one in SITE_OF_CODE}, _one_region(known)
    named = _named(words)
    side, side_source = _side(regions, words, in_lung="lung" in named)
    if len(coded) == 1:
        (site,) = coded
        finer = _finer(site, named, regions)
        agrees = not named or bool(finer) or any(site == other or _alike(site, other) for other in named)
        site, source = (finer, "label") if finer else (site, "code")
        level = _level(site, regions, words)
        return Place(_part_of_lung(site, words), side, source, not agrees, side_source, level, code)
    if code and not coded:
        return Place(UNKNOWN, side, "", bool(named & SITES), side_source, code=code)
    if coded or len(named) != 1 or named & {OTHER, NODE} or BESIDE_WORDS.search(words):
        return Place(UNKNOWN, side, "", side_source=side_source)
    site = _part_of_lung(named.pop(), words)
    return Place(site, side, "label", side_source=side_source, level=_level(site, regions, words))


def _finer(site: str, named: Iterable[str], regions: Sequence[Dataset]) -> str:
    """The one part that a label names of what the code leaves open; empty where the code itself names a part."""
    values = {text_or_empty(region, "CodeValue") for region in regions}
    if site == "bone" and values != {codes.SCT.Bone.value}:
        return ""
    told = [other for other in named if other in FINER.get(site, ())]
    return told[0] if len(told) == 1 else ""


def _alike(site: str, other: str) -> bool:
    return site in FINER.get(other, ()) or (other in FINER.get(site, ()) and site != "bone")


def _part_of_lung(site: str, words: str) -> str:
    """``lung`` with what the label says of where in it."""
    told = {part for part, known in LUNG_PARTS if known.search(words)} if site == "lung" else set()
    return told.pop() if len(told) == 1 else site


def _side(regions: Sequence[Dataset], words: str, *, in_lung: bool) -> tuple[Side, str]:
    """The side and what told it; ``central`` in a lung is no middle of the body."""
    coded = _coded_side(regions)
    if coded is not Side.UNKNOWN:
        return coded, "code"
    known = [(side, pattern) for side, pattern in SIDE_WORDS if not (in_lung and side is Side.MIDLINE)]
    told = _only(side for side, pattern in known if pattern.search(words))
    return told, "label" if told is not Side.UNKNOWN else ""


def _level(site: str, regions: Sequence[Dataset], words: str) -> str:
    """The one vertebra that codes, or else the label, name; empty where they name none, or several."""
    if site != "spine":
        return ""
    coded = {LEVEL_OF_CODE[value] for one in regions if (value := text_or_empty(one, "CodeValue")) in LEVEL_OF_CODE}
    named = {f"{region}{int(number)}" for region, known in LEVEL_WORDS for number in known.findall(words)}
    told = coded or named
    return told.pop() if len(told) == 1 else ""


def _known_code(region: Dataset) -> str:
    """The code of a place that is known; one of the older SRT scheme as pydicom knows it in SNOMED CT; else empty."""
    value, scheme = text_or_empty(region, "CodeValue"), text_or_empty(region, "CodingSchemeDesignator")
    known = {**SITE_OF_CODE, **REGION_OF_CODE}
    if scheme != "SRT":
        return value if value in known else ""
    older = Code(value, scheme, "")
    return next((code for code in known if older == Code(code, "SCT", "")), "")


def _one_region(known: Iterable[str]) -> str:
    """The first code that tells a region, where all that do tell the same one."""
    telling = [code for code in known if code in REGION_OF_CODE]
    return telling[0] if len({REGION_OF_CODE[code] for code in telling}) == 1 else ""


def stated_place(regions: Sequence[Dataset], label: str, site: str, side: str) -> Place:
    """As `place`, where the reader filled in a site (its key, or words) or a side of their own: these go first.

    Their source is ``table``. A site that is neither a key nor words for one leaves the site unknown.
    """
    found = place(regions, label)
    if site:
        key = site if site in SITES else place((), site).site
        found = replace(found, site=key, source="table" if key != UNKNOWN else "", contradictory=False, code="")
    if side:
        told = place((), side).side
        found = replace(found, side=told, side_source="table" if told is not Side.UNKNOWN else "")
    return found


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
    if LOCAL_RECURRENCE.search(words) and PROSTATE.search(words):
        return {*(found - {"prostate"}), "prostate-recurrence"}
    if DISEASE_WORDS.search(words):
        found.discard("prostate")
    if ANY_BONE.search(words) and not found & set(FINER["bone"]):
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
