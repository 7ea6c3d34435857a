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
        ("femoral lymph node left", "unknown", Side.LEFT),
        ("sternal lymph node", "unknown", Side.UNKNOWN),
        ("mediastinal node next to T5 vertebra", "unknown", Side.UNKNOWN),
        ("iliac LN2 right", "pelvic-node", Side.RIGHT),
        ("pelvic and para-aortic nodes", "unknown", Side.UNKNOWN),
        ("left iliac", "unknown", Side.LEFT),
        ("iliac vessel", "unknown", Side.UNKNOWN),
        ("presacral LN, prostate cancer", "pelvic-node", Side.UNKNOWN),
        ("anterior superior iliac spine", "bone", Side.UNKNOWN),
        ("bone met L4 vertebra", "spine", Side.UNKNOWN),
        ("sacrum and L5 vertebra", "unknown", Side.UNKNOWN),
        ("spinal cord", "unknown", Side.UNKNOWN),
        ("prostate", "prostate", Side.UNKNOWN),
        ("prostate cancer", "unknown", Side.UNKNOWN),
        ("Ca prostate", "unknown", Side.UNKNOWN),
        ("prostate met", "unknown", Side.UNKNOWN),
        ("Prostata-Ca", "unknown", Side.UNKNOWN),
        ("Prostatakarzinom", "unknown", Side.UNKNOWN),
        ("prostate bed", "unknown", Side.UNKNOWN),
        ("prostate bett", "unknown", Side.UNKNOWN),
        ("metastasis of the prostate", "unknown", Side.UNKNOWN),
        ("rib after prostatectomy", "bone", Side.UNKNOWN),
        ("liver metastasis of prostate cancer", "unknown", Side.UNKNOWN),
        ("Prostate cancer bone met, rib 5", "bone", Side.UNKNOWN),
        ("prostate and rib", "unknown", Side.UNKNOWN),
        ("lung met, rib adjacent", "unknown", Side.UNKNOWN),
        ("close to the rib", "unknown", Side.UNKNOWN),
        ("bladder wall near pubic", "unknown", Side.UNKNOWN),
    ],
)
def test_a_label_tells_the_site_and_side_where_no_code_does(label: str, site: str, side: Side) -> None:
    found = place([], label)
    assert (found.site, found.side) == (site, side)
    assert found.source == ("label" if site != "unknown" else "")


def test_a_code_wins_over_the_label() -> None:
    found = place([region(codes.SCT.Ilium.value, RIGHT)], "left iliac node")
    assert (found.site, found.side, found.source, found.contradictory) == ("bone", Side.RIGHT, "code", True)


@pytest.mark.parametrize(
    ("name", "label", "contradictory"),
    [
        ("Rib", "liver lesion", True),
        ("Rib", "lymph node", True),
        ("Femur", "femoral lymph node", True),
        ("Rib", "Lesion 3", False),
        ("Rib", "bone met of prostate cancer", False),
        ("PelvicLymphNode", "lymph node 2", False),
        ("L5Vertebra", "L5 vertebral body", False),
        ("L5Vertebra", "bone lesion", False),
    ],
)
def test_a_label_that_names_another_place_than_the_code_is_said(name: str, label: str, contradictory: bool) -> None:
    found = place([region(getattr(codes.SCT, name).value)], label)
    assert (found.source, found.contradictory) == ("code", contradictory)


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
