"""The fourteen regions of MET-RADS-P from site and label."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from psdt_planner.dicom.sites import SITE_OF_CODE, place
from psdt_planner.timeline import Region, region_of
from psdt_planner.timeline.regions import BONE_NAMES, OF_SITE, REGION_OF_CODE, VERTEBRAE

VAGUE = (
    *("Vertebra", "StructureOfVertebralColumn", "Bone", "ArchOfVertebra", "LaminaOfVertebra"),
    *(f"Structure{part}OfVertebra" for part in ("OfPedicle", "OfSpinousProcess", "OfTransverseProcess")),
)
"""Codes that say what a place is and not where in the body."""


def test_there_are_fourteen_in_the_order_of_the_template() -> None:
    assert [region.number for region in Region] == list(range(1, 15))


@pytest.mark.parametrize(
    ("site", "label", "region"),
    [
        ("prostate", "prostate apex", Region.PRIMARY),
        ("pelvic-node", "left iliac node", Region.PELVIC_NODES),
        ("paraaortic-node", "aortocaval", Region.RETROPERITONEAL_NODES),
        ("spine", "C5 vertebral body", Region.CERVICAL_SPINE),
        ("spine", "T7 vertebral body", Region.DORSAL_SPINE),
        ("spine", "Th 12, BWK 12", Region.DORSAL_SPINE),
        ("spine", "L3_vertebral_body", Region.LUMBOSACRAL_SPINE),
        ("spine", "LWK2", Region.LUMBOSACRAL_SPINE),
        ("spine", "thoracolumbar: T12 and L1", None),
        ("spine", "vertebral body", None),
        ("spine", "RAC 4", None),
        ("bone", "sacrum right", Region.LUMBOSACRAL_SPINE),
        ("bone", "Rippe links", Region.THORAX),
        ("bone", "5th rib left", Region.THORAX),
        ("bone", "left iliac wing", Region.PELVIS),
        ("bone", "right acetabulum", Region.PELVIS),
        ("bone", "femur shaft", Region.LIMBS),
        ("bone", "skull base", Region.SKULL),
        ("bone", "sacro", Region.LUMBOSACRAL_SPINE),
        ("bone", "costilla 5 izquierda", Region.THORAX),
        ("bone", "escápula derecha", Region.THORAX),
        ("bone", "femore sinistro", Region.LIMBS),
        ("femur", "femore sinistro", Region.LIMBS),
        ("bone", "Darmbein rechts", Region.PELVIS),
        ("bone", "Schädel", Region.SKULL),
        ("bone", "côté gauche, os", None),
        ("bone", "7e côte gauche", Region.THORAX),
        ("spine", "Lendenwirbel 3", Region.LUMBOSACRAL_SPINE),
        ("spine", "Halswirbelkörper 5", Region.CERVICAL_SPINE),
        ("spine", "Brustwirbel 12", Region.DORSAL_SPINE),
        ("spine", "vertebra lombare", Region.LUMBOSACRAL_SPINE),
        ("bone", "bone lesion", None),
        ("bone", "rib and femur", None),
        ("unknown", "liver", None),
    ],
)
def test_region(site: str, label: str, region: Region | None) -> None:
    assert region_of(site, label) is region


@pytest.mark.parametrize(
    ("code", "region"),
    [
        ("36470004", Region.LUMBOSACRAL_SPINE),
        ("71996003", Region.LUMBOSACRAL_SPINE),
        ("1626008", Region.DORSAL_SPINE),
        ("113197003", Region.THORAX),
        ("68171009", Region.OTHER_NODES),
        ("10200004", Region.LIVER),
        ("64033007", Region.OTHER),
    ],
)
def test_the_code_goes_before_the_words(code: str, region: Region) -> None:
    assert region_of("bone", "left femur", code) is region
    assert region_of("unknown", "", code) is region


def test_every_region_is_told_by_a_code_and_by_site_and_words() -> None:
    assert set(REGION_OF_CODE.values()) == set(Region)
    assert {*OF_SITE.values(), *BONE_NAMES, *VERTEBRAE} == set(Region)


def test_every_code_of_a_site_but_the_vaguest_tells_its_region() -> None:
    vague = {code for code, site in SITE_OF_CODE.items() if code not in REGION_OF_CODE and site not in OF_SITE}
    assert vague <= {getattr(codes.SCT, name).value for name in VAGUE}
    for code, site in SITE_OF_CODE.items():
        if code in REGION_OF_CODE and site in OF_SITE:
            assert REGION_OF_CODE[code] is OF_SITE[site], code


def test_every_name_that_tells_bone_tells_its_region() -> None:
    names = ["darmbein", "scapola", "humero", "omoplate", "esternon", "sacro", "cresta_iliaca", "sitzbein", "clavicola"]
    assert [place((), name).site for name in names] == ["bone"] * len(names)
    assert all(region_of("bone", name) for name in names)
