"""Where a flag lies, as its reader said it."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes

from psdt_planner.dicom.sites import SITE_OF_CODE, place
from psdt_planner.lesions import Side
from tests.dicom_in.objects import item

LEFT, RIGHT, BOTH = "7771000", "24028007", "51440002"


def region(code: str, *modifiers: str) -> Dataset:
    ds = item(CodeValue=code)
    ds.AnatomicRegionModifierSequence = [item(CodeValue=modifier) for modifier in modifiers]
    return ds


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("L5Vertebra", "spine"),
        ("T12Vertebra", "spine"),
        ("C1Vertebra", "spine"),
        ("ThoracicSpine", "spine"),
        ("Sacrum", "bone"),
        ("Ilium", "bone"),
        ("Femur", "bone"),
        ("Rib", "bone"),
        ("Sternum", "bone"),
        ("PelvicLymphNode", "pelvic-node"),
        ("ExternalIliacLymphNode", "pelvic-node"),
        ("AorticLymphNode", "paraaortic-node"),
        ("Prostate", "prostate"),
        ("Liver", "unknown"),
    ],
)
def test_a_region_of_dicom_s_own_groups_tells_the_site(name: str, site: str) -> None:
    found = place([region(getattr(codes.SCT, name).value)], "")
    assert (found.site, found.source) == (site, "code" if site != "unknown" else "")


@pytest.mark.parametrize(
    ("code", "site"),
    [
        ("71996003", "spine"),
        ("56094003", "spine"),
        ("48535007", "bone"),
        ("245294005", "pelvic-node"),
        ("65985001", "bone"),
    ],
)
def test_codes_of_tg_263_names_tell_the_site(code: str, site: str) -> None:
    assert SITE_OF_CODE[code] == site


@pytest.mark.parametrize(
    ("label", "site", "side"),
    [
        ("L5 vertebral body", "spine", Side.UNKNOWN),
        ("LWK 3 links", "spine", Side.LEFT),
        ("GTV_VB_L4", "spine", Side.UNKNOWN),
        ("right iliac node", "pelvic-node", Side.RIGHT),
        ("GTV_LN_Iliac_L", "pelvic-node", Side.LEFT),
        ("left iliac bone", "bone", Side.LEFT),
        ("Rt ilium", "bone", Side.RIGHT),
        ("left para-aortic node", "paraaortic-node", Side.LEFT),
        ("paraaortic LN", "paraaortic-node", Side.UNKNOWN),
        ("prostate midline", "prostate", Side.MIDLINE),
        ("rib 7 right", "bone", Side.RIGHT),
        ("sternum", "bone", Side.UNKNOWN),
        ("left and right pubis", "bone", Side.UNKNOWN),
        ("Lesion 1", "unknown", Side.UNKNOWN),
        ("L3", "unknown", Side.UNKNOWN),
        ("T2 hyperintensity", "unknown", Side.UNKNOWN),
        ("", "unknown", Side.UNKNOWN),
    ],
)
def test_a_label_tells_the_site_and_side_where_no_code_does(label: str, site: str, side: Side) -> None:
    found = place([], label)
    assert (found.site, found.side) == (site, side)
    assert found.source == ("label" if site != "unknown" else "")


def test_a_code_wins_over_the_label() -> None:
    found = place([region(codes.SCT.Ilium.value, RIGHT)], "left iliac node")
    assert (found.site, found.side, found.source) == ("bone", Side.RIGHT, "code")


def test_a_code_without_side_leaves_the_side_to_the_label() -> None:
    assert place([region(codes.SCT.Ilium.value)], "left ilium").side is Side.LEFT


def test_codes_that_contradict_each_other_tell_nothing() -> None:
    found = place([region(codes.SCT.Ilium.value, LEFT), region(codes.SCT.L5Vertebra.value, RIGHT)], "x")
    assert (found.site, found.side, found.source) == ("unknown", Side.UNKNOWN, "")


@pytest.mark.parametrize(
    ("modifier", "side"),
    [(LEFT, Side.LEFT), (RIGHT, Side.RIGHT), ("260528009", Side.MIDLINE), ("G-A101", Side.LEFT), (BOTH, Side.UNKNOWN)],
)
def test_laterality_is_a_modifier(modifier: str, side: Side) -> None:
    assert place([region(codes.SCT.Rib.value, modifier)], "").side is side
