"""Standard names of organs, bones, vessels and nodes with their SNOMED CT codes.

Names: AAPM report 263. Codes: the concept map from TG-263 to SNOMED CT of the HL7 mCODE implementation guide, with its
known slips left behind: a right lung that is coded as a lobe, femoral necks with their sides swapped, a thirteenth
thoracic vertebra under ``VB_T12``, a misspelt ``LN_Iliac_Int_R``, and a space between bowels coded as an observation.
The brain stem has the code that DICOM uses (PS3.16). Where no code is known there is none, and none is made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.3 8.8): value, scheme and the words for it."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Anatomy:
    """A structure that TG-263 names.

    Attributes:
        name: with laterality, such as ``Kidney_L``.
        code: what it is, whatever its side; None where no code is known.
        laterality: left, right or both; None where the structure has no side, or the name does not tell it.
    """

    name: str
    code: Code | None
    laterality: Code | None


LATERALITIES: Final = {
    "L": Code("7771000", "SCT", "Left"),
    "R": Code("24028007", "SCT", "Right"),
    "LR": Code("51440002", "SCT", "Right and left"),
}
"""CID 244. A plural of a paired organ, such as ``Lungs``, is both."""

_SINGLE: Final = """
SpinalCord       2748008    Spinal cord
SpinalCanal      61853006   Vertebral canal
ThecalSac        37554007   Thecal sac
CaudaEquina      7173007    Cauda equina
SacralPlex       62397004   Sacral plexus
Esophagus        32849002   Esophagus
Heart            80891009   Heart
Pericardium      76848001   Pericardium
GreatVes         3711007    Great vessel
A_Aorta          15825003   Aorta
A_Pulmonary      81040000   Pulmonary artery
V_Venacava_I     -          Inferior vena cava
V_Venacava_S     -          Superior vena cava
Trachea          44567001   Trachea
Carina           28700002   Carina
Bronchus         955009     Bronchus
Bronchus_Main    102297006  Main bronchus
Chestwall        78904004   Chest wall
Rib              113197003  Rib
Skin             39937001   Skin
Stomach          69695003   Stomach
Duodenum         38848004   Duodenum
Jejunum_Ileum    90228003   Jejunum and ileum
Bowel            113276009  Intestine
Bowel_Small      30315005   Small intestine
Bowel_Large      14742008   Large intestine
Bowel_Bag        -          Bowel bag
Spc_Bowel        -          Bowel space
Colon            71854001   Colon
Colon_Sigmoid    60184004   Sigmoid colon
Rectum           34402009   Rectum
Canal_Anal       34381000   Anal canal
Bladder          89837001   Urinary bladder
Bladder_Wall     393006     Wall of urinary bladder
Liver            10200004   Liver
BileDuct_Common  79741001   Common bile duct
Kidney_Cortex    50403003   Cortex of kidney
Urethra          13648007   Urethra
PenileBulb       52737000   Bulb of penis
Prostate         41216001   Prostate
SeminalVes       64739004   Seminal vesicle
SeminalVes_Dist  -          Distal seminal vesicle
SeminalVes_Prox  -          Proximal seminal vesicle
Brainstem        119238007  Brain stem
Brain            12738006   Brain
OpticChiasm      244453006  Optic chiasm
Skull            89546000   Skull
Bone_Ilium       22356005   Ilium
Bone_Pelvic      118645006  Pelvis
PubicSymphys     82561000   Symphysis pubis
LN               59441001   Lymph node
LN_Pelvics       245294005  Pelvic lymph nodes
LN_Paraaortic    35783009   Aortic lymph node
LN_Iliac         84219008   Iliac lymph node
LN_Iliac_Ext     65349008   External iliac lymph node
LN_Iliac_Int     245357003  Internal iliac lymph node
LN_Presacral     1187336003 Presacral lymph node
LN_Inguinofem    279763008  Inguinofemoral lymph node
LN_Mediastinals  62683002   Mediastinal lymph nodes
LN_Portahepatis  245288002  Porta hepatis lymph node
External         123037004  Body structure
Body             38266002   Entire body
"""
"""Name, SNOMED CT code (``-`` where none is known), meaning."""

_PAIRED: Final = """
BrachialPlex   36582005   Brachial plexus
Bronchus_Main  102297006  Main bronchus
Lung           39607008   Lung
Chestwall      78904004   Chest wall
Kidney         64033007   Kidney
Liver          -          Liver
Kidney_Cortex  50403003   Cortex of kidney
Kidney_Hilum   74033008   Hilum of kidney
Ureter         87953007   Ureter
Femur          71341001   Femur
Femur_Head     2812003    Head of femur
OpticNrv       18234004   Optic nerve
Lens           78076003   Lens of eye
Eye            81745001   Eye proper
Cochlea        80169004   Cochlea
Glnd_Adrenal   23451007   Adrenal gland
Acetabulum     37783008   Acetabulum
Scapula        79601000   Scapula
Clavicle       51299004   Clavicle
Humerus        85050009   Humerus
Bone_Ilium     22356005   Ilium
Bone_Ischium   85710004   Ischium
LN_Iliac_Ext   65349008   External iliac lymph node
LN_Iliac_Int   245357003  Internal iliac lymph node
LN_Obturator   36086000   Obturator lymph node
LN_Sclav       76838003   Supraclavicular lymph node
"""
"""Root of names that end in ``_L`` and ``_R``."""

_PLURALS: Final = {"Lungs": "Lung", "Kidneys": "Kidney", "Femurs": "Femur", "Eyes": "Eye"}
"""Names of both sides together (rule 3)."""

_LOBES: Final = ("RUL", "RML", "RLL", "LUL", "LLL")

_VERTEBRAE: Final = """
C1 14806007 C2 39976000 C3 91116008 C4 14705001 C5 67479001 C6 88298007 C7 16126006
T01 56094003 T02 50060007 T03 73138009 T04 86197001 T05 6105006 T06 32430008
T07 71737002 T08 77435000 T09 33766003 T10 48405002 T11 52120002 T12 280849005
L1 61032001 L2 53983007 L3 55492004 L4 71996003 L5 21799000
S1 65985001 S2 11808007 S3 49967005 S4 69950008 S5 21452006
"""
"""Bodies of C3 to L5; the whole bones of C1, C2 and the sacrum."""

_RIBS: Final = """
48535007 78247007 25888004 25523003 15339008 59558009 24915002 5953002 22565002 77644006 58830002 43993008
"""
"""Of the first rib to the twelfth."""


def _code(value: str, meaning: str) -> Code | None:
    return None if value == "-" else Code(value, "SCT", meaning)


def _rows(table: str) -> Iterator[tuple[str, Code | None]]:
    for line in table.strip().splitlines():
        name, value, meaning = line.split(maxsplit=2)
        yield name, _code(value, meaning)


def _anatomy() -> Iterator[Anatomy]:
    paired = dict(_rows(_PAIRED))
    yield from (Anatomy(name, code, None) for name, code in _rows(_SINGLE))
    for root, code in paired.items():
        yield from (Anatomy(f"{root}_{side}", code, LATERALITIES[side]) for side in ("L", "R"))
    yield from (Anatomy(name, paired[root], LATERALITIES["LR"]) for name, root in _PLURALS.items())
    yield from (Anatomy(f"Lung_{lobe}", None, None) for lobe in _LOBES)
    vertebrae = _VERTEBRAE.split()
    for level, value in zip(vertebrae[::2], vertebrae[1::2], strict=True):
        whole = level in ("C1", "C2") or level.startswith("S")
        yield Anatomy(f"VB_{level}", _code(value, f"{level} vertebra" if whole else f"Body of {level} vertebra"), None)
    for number, value in enumerate(_RIBS.split(), start=1):
        code = _code(value, f"Rib {number}")
        yield from (Anatomy(f"Rib{number:02d}_{side}", code, LATERALITIES[side]) for side in ("L", "R"))


ANATOMY: Final[Mapping[str, Anatomy]] = MappingProxyType({anatomy.name: anatomy for anatomy in _anatomy()})
"""By standard name."""
