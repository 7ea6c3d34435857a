"""The fourteen regions of MET-RADS-P (Padhani et al., Eur Urol 2017;71:81-92) from codes, site and words.

A region is told by the code of a flag's place, else by its site and label; where none tells it, it is unknown and
nothing is guessed. Names of bones are shared with the sites of flags, so that each that tells bone tells its region.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Region(StrEnum):
    """In the order of the MET-RADS-P template."""

    PRIMARY = "primary tumour or local soft tissue"
    PELVIC_NODES = "pelvic nodes"
    RETROPERITONEAL_NODES = "retroperitoneal nodes"
    OTHER_NODES = "other nodes"
    SKULL = "skull"
    CERVICAL_SPINE = "cervical spine"
    DORSAL_SPINE = "dorsal spine"
    LUMBOSACRAL_SPINE = "lumbosacral spine"
    THORAX = "thorax (bone)"
    PELVIS = "pelvis (bone)"
    LIMBS = "limbs"
    LUNGS = "lungs"
    LIVER = "liver"
    OTHER = "other sites"

    @property
    def number(self) -> int:
        """1 to 14."""
        return list(Region).index(self) + 1


OF_SITE: Final = {
    "prostate": Region.PRIMARY,
    "prostate-recurrence": Region.PRIMARY,
    "pelvic-node": Region.PELVIC_NODES,
    "paraaortic-node": Region.RETROPERITONEAL_NODES,
    "mediastinal-node": Region.OTHER_NODES,
    "neck-node": Region.OTHER_NODES,
    "skull": Region.SKULL,
    "rib": Region.THORAX,
    "femur": Region.LIMBS,
    "lung": Region.LUNGS,
    "lung-peripheral": Region.LUNGS,
    "lung-central": Region.LUNGS,
    "liver": Region.LIVER,
    "adrenal": Region.OTHER,
    "brain": Region.OTHER,
}
"""Sites that tell the region by themselves."""

_CODES: Final[Mapping[Region, str]] = {
    Region.PRIMARY: "41216001 279706003 399384005 64739004 42320003 74308000",
    Region.PELVIC_NODES: "54268001 84219008 65349008 69255009 8928004 65266007 36086000 79926007 21875007 245294005 "
    "245357003 245299000 1187336003 279763008",
    Region.RETROPERITONEAL_NODES: "35783009 91394001",
    Region.OTHER_NODES: "81105003 68171009 76838003 62683002 53074004 9659009 5296000 127926002 279145002",
    Region.SKULL: "89546000 91609006 91397008",
    Region.CERVICAL_SPINE: "122494005 14806007 39976000 113205007 5329002 36978003 36054005 87391001 "
    "91116008 14705001 67479001 88298007 16126006",
    Region.DORSAL_SPINE: "122495006 64864005 53733008 1626008 73071006 56401006 45296009 62487009 11068009 82687006 "
    "7610001 12989004 23215003 "
    "56094003 50060007 73138009 86197001 6105006 32430008 71737002 77435000 33766003 48405002 52120002 280849005",
    Region.LUMBOSACRAL_SPINE: "122496007 1217253001 54735007 66794005 14293000 36470004 11994002 49668003 "
    "61032001 53983007 55492004 71996003 21799000 65985001 11808007 49967005 69950008 21452006",
    Region.THORAX: "113197003 56873002 52509009 79601000 51299004 272710004 37285002 "
    "48535007 78247007 25888004 25523003 15339008 59558009 24915002 5953002 22565002 77644006 58830002 43993008",
    Region.PELVIS: "118645006 22356005 29850006 85710004 82561000 37783008 64688005",
    Region.LIMBS: "71341001 2812003 310651003 41111004 310652005 85050009 12611008 87342007 131190003 23416004 "
    "72001000 371195002",
    Region.LUNGS: "39607008 31094006 45653009 90572001 72481006 3120008",
    Region.LIVER: "10200004",
    Region.OTHER: "12738006 64033007 23451007 78961009 15776009 89837001 34402009 2748008 71616004 39937001",
}

REGION_OF_CODE: Final = {code: region for region, codes in _CODES.items() for code in codes.split()}
"""SNOMED CT codes as DICOM's context groups and the mCODE map of TG-263 names have them."""

BONE_NAMES: Final[Mapping[Region, str]] = {
    Region.THORAX: r"stern(um|al)|scapula\w*|clavicle|brustbein|schulterblatt|schlusselbein|omoplate|clavicule|escapula"
    r"|clavicula|esternon|scapola|clavicola|sterno",
    Region.PELVIS: r"ilium|iliac (crest|wing|spine)|ischi\w+|pub(is|ic)|acetabul\w+|coccyx|darmbein\w*|sitzbein"
    r"|schambein|ilion|(aile|crete|ala|pala|cresta) ilia\w+",
    Region.LIMBS: "humer(us|al)|omero|humero",
    Region.LUMBOSACRAL_SPINE: "sacr(um|al)|kreuzbein|sacro",
}
"""Names that tell a bone of no site of its own: in five languages, without their accents."""

MORE_OF_BONE: Final[Mapping[Region, str]] = {
    Region.SKULL: r"skull|schadel\w*|crani\w*|crane\w*|occip\w*|mandib\w*|clivus",
    Region.THORAX: r"ribs?|rippen?|cotes?|costillas?|cost(a|e|ae|ola|ole)|manubri\w*|clavic\w*|stern\w*",
    Region.PELVIS: r"pelvi\w*|becken|ili(ac|aque)|crista",
    Region.LIMBS: r"fem(ur|or\w*)|humer\w*|tibia\w*|fibula\w*|radius|ulna\w*|oberschenkel\w*|limbs?",
    Region.LUMBOSACRAL_SPINE: r"sakr\w*|s ?[1-5]",
}
"""What tells the region of a lesion that is known to lie in bone, and no bone by itself."""

VERTEBRAE: Final[Mapping[Region, str]] = {
    Region.CERVICAL_SPINE: r"(c|hwk|halswirbel(korper)?) ?[1-7]|halswirbel\w*|(cervi[ck]al|zervikal)\w*|atlas|axis",
    Region.DORSAL_SPINE: r"(t|th|d|bwk|brustwirbel(korper)?) ?([1-9]|1[0-2])|brustwirbel\w*"
    r"|(thora[ck]al|thoraci|dorsal|toraci)\w*",
    Region.LUMBOSACRAL_SPINE: r"(l|lwk|lendenwirbel(korper)?) ?[1-6]|lendenwirbel\w*|s ?[1-5]"
    r"|(lumb|lomb|sacr|sakr)\w*",
}
"""In the label of a lesion that lies in the spine, ``T2`` is a vertebra and not a weighting."""


def plain(label: str) -> str:
    """A label in small letters without accents, its words apart; French ``côté``, a side, is no rib (``côte``)."""
    lower = unicodedata.normalize("NFC", label.lower()).replace("côté", " ")
    letters = [one for one in unicodedata.normalize("NFD", lower) if not unicodedata.combining(one)]
    return re.sub(r"[_\W]+", " ", "".join(letters))


def any_of(*alternatives: str) -> re.Pattern[str]:
    """A pattern for whole words out of lists of alternatives."""
    return re.compile(rf"\b({'|'.join(alternatives)})\b")


def region_of(site: str, label: str, code: str = "") -> Region | None:
    """The region of a flag by the code of its place, else by site key and label; None where they tell none or two."""
    if code in REGION_OF_CODE:
        return REGION_OF_CODE[code]
    if site in OF_SITE:
        return OF_SITE[site]
    tables = {"spine": (VERTEBRAE,), "bone": (BONE_NAMES, MORE_OF_BONE)}
    words = plain(label)
    told = {region for table in tables.get(site, ()) for region, names in table.items() if any_of(names).search(words)}
    return told.pop() if len(told) == 1 else None
